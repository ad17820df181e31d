"""What Python computes and the page has to compute too, as JSON: read by `web/test/`."""

import base64
import json
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from tinyldm import LatentDiffusion, NoiseSchedule, ddim, ddpm, dpm_solver_pp, euler, reverse_diffusion
from tinyldm.beyond.distillation import four_step_unet
from tinyldm.conditioning import tokenize
from tinyldm.data import scenes
from tinyldm.forward_diffusion import cosine_betas, linear_betas, scaled_linear_betas
from tinyldm.latent_diffusion import paste_back, slerp
from tinyldm.seeds import children, randn

WEB = Path(__file__).parents[2] / "web"  # the tests that run outside Python
CAPTION = "a small red circle above a large blue square"
SAMPLERS = {"ddim": ddim, "ddpm": ddpm, "euler": euler, "dpm": dpm_solver_pp}
ODD_CAPTIONS = [
    "",
    " ",
    "A RED CIRCLE",
    "  a \t red\n\ncircle  ",
    "a re\u0301d circle",
    "ΟΔΥΣΣΕΥΣ ΣΑΣ",
    "İstanbul",
    "a red\ufeffcircle",
    "a red\u0085circle",
    "a\u00a0red\u3000circle\u2028x",
    "what's here? it'll don't I'd we've you're I'm",
    "'s 's''s!'s",
    "<|endoftext|> a red circle",
    "<|ENDOFTEXT|> a red circle <|startoftext|>!",
    "a<|endoftext|>b!<|endoftext|>!",
    "constructor __proto__ toString",
    "1234 12½ ٣ Ⅷ",
    "red,circle;blue-square!!! (a)[b]{c} #$%&*+/=?^_`|~",
    "紅い丸 красный круг 빨간 원",
    "🟥🔵 👩‍👩‍👧 a red circle",
    "\u0000\u0001 a",
    "word " * 60,
    "a" * 300,
    "ﬁne ﬂag ǅ ß ẞ",
    "e\u0327\u0301 \u1e9b\u0323",
    "\ud83d".encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
]


def captions() -> list[str]:
    """200 captions: those of the small world, and odd ones."""
    _, worded, _ = scenes.batch(scenes.FRESH + 70, range(200 - len(ODD_CAPTIONS)))
    return [caption.text for caption in worded] + ODD_CAPTIONS


def packed(tensor: Tensor) -> dict[str, Any]:
    """A tensor as JSON: its shape, and its float32 numbers in base64."""
    numbers = tensor.detach().float().contiguous().numpy().tobytes()
    return {"dims": list(tensor.shape), "data": base64.b64encode(numbers).decode()}


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def noise_of(seed: int, count: int, size: int) -> dict[str, Any]:
    return {"seed": seed, "count": count, "size": size} | packed(
        randn((count, size), seeded(seed), torch.device("cpu"))
    )


def mask_of(model: LatentDiffusion) -> Tensor:
    """(1, 1, H, W): the right half, and a notch."""
    height, width = model.image_size
    mask = torch.zeros(1, 1, height, width)
    mask[..., width // 2 :] = 1
    mask[..., : height // 4, : width // 4 + 3] = 1
    return mask


def random_numbers() -> dict[str, Any]:
    """What has nothing to do with a model."""
    a, b = torch.randn(2, 1, 4, 8, 8, generator=seeded(5))
    painted, original = torch.rand(2, 1, 3, 16, 16, generator=seeded(6))
    mask = (torch.rand(1, 1, 16, 16, generator=seeded(7)) < 0.8).float()
    between = torch.linspace(0, 1, 5).view(-1, 1, 1, 1)
    return {
        "children": {str(seed): [g.initial_seed() for g in children(seeded(seed), 3)] for seed in (0, 1, 7, 2**32 - 1)},
        "noise": [noise_of(0, 1, 256), noise_of(7, 4, 256), noise_of(2**32 - 1, 1, 1000), noise_of(3, 2, 16)],
        "alpha_bar": {
            "linear": packed(NoiseSchedule(linear_betas(1000)).alpha_bar),
            "scaled_linear": packed(NoiseSchedule(scaled_linear_betas(1000)).alpha_bar),
        },
        "timesteps": {
            name: {
                str(steps): getattr(reverse_diffusion, name)(steps, 1000).tolist()
                for steps in (1, 3, 7, 16, 25, 64, 400)
            }
            for name in ("trailing", "leading", "leading_from_zero", "linspace")
        },
        "fractional": [NoiseSchedule(cosine_betas(50)).at(torch.tensor([0.0, 0.25, 17.5, 48.999, 49.0])).tolist()],
        "cosine": packed(NoiseSchedule(cosine_betas(50)).alpha_bar),
        "slerp": {"a": packed(a), "b": packed(b), "between": packed(slerp(a, b, between))},
        "paste_back": {
            "painted": packed(painted),
            "original": packed(original),
            "mask": packed(mask),
            "pasted": packed(paste_back(painted, original, mask)),
        },
    }


def of_a_student() -> dict[str, Any]:
    """Pictures of the shipped U-Net of four steps."""
    model = LatentDiffusion.from_pretrained("tiny")
    model.unet = four_step_unet()
    captions = [CAPTION, "a green star"]
    images = model.generate(captions, steps=4, guidance_scale=1.0, sampler=ddim, generator=seeded(16))
    return {"captions": captions, "steps": 4, "made": packed(images)}


def pictures_of(model: LatentDiffusion, steps: int = 6) -> dict[str, Any]:
    """Pictures of each sampler and each way of making them, with what was asked for."""
    image = torch.rand(1, 3, *model.image_size, generator=seeded(8))
    two = [CAPTION, "a green star"]
    made = {}
    for name, sampler in SAMPLERS.items():
        images = model.generate(
            two,
            steps=steps,
            guidance_scale=4.0,
            sampler=sampler,
            negative=["a white background"] * 2,
            generator=seeded(11),
        )
        made[f"generate {name}"] = packed(images)
    made["no guidance"] = packed(
        model.generate(two, steps=steps, guidance_scale=1.0, sampler=ddim, generator=seeded(12))
    )
    common = {"steps": steps, "guidance_scale": 3.0}
    made["img2img"] = packed(model.img2img(image, two[:1], strength=0.5, sampler=ddpm, generator=seeded(13), **common))
    made["inpaint"] = packed(
        model.inpaint(image, mask_of(model), two[:1], sampler=ddim, generator=seeded(14), **common)
    )
    made["interpolate"] = packed(
        model.interpolate((two[0], two[1]), frames=3, sampler=ddpm, generator=seeded(15), **common)
    )
    return {"captions": two, "steps": steps, "image": packed(image), "mask": packed(mask_of(model)), "made": made}


def write_facts(model: LatentDiffusion, file: Path) -> None:
    """Compute them all for a model."""
    tokens = tokenize(model.text_encoder.tokenizer, captions(), model.text_encoder.length)
    content = random_numbers() | {
        "captions": captions(),
        "tokens": tokens.tolist(),
        "model_alpha_bar": packed(model.schedule.alpha_bar),
        "pictures": pictures_of(model),
        "student": of_a_student(),
    }
    file.write_text(json.dumps(content), encoding="utf-8")
