"""Speed at Stable Diffusion 1.5's size, against diffusers with the same weights, and the memory that loading takes.

    python benchmarks/stable_diffusion.py --threads 2            # U-Net and VAE on this CPU, fp32 and bf16
    python benchmarks/stable_diffusion.py --loading              # peak memory on synthetic full-size files
    python benchmarks/stable_diffusion.py --cuda                 # 50 guided steps at 512×512, where there is a GPU

Each prints a Markdown table. Weights are random: no checkpoint is needed, and speed does not depend on them.
"""

import argparse
import logging
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from common import compare, geometric_mean, hardware
from safetensors.torch import load_file, save_file

from tinyldm import VAE, LatentDiffusion, TextEncoder, UNet, ddim, guided, timesteps, versions
from tinyldm.formats import compvis_file as compvis
from tinyldm.formats.diffusers_unet import DIFFUSERS_UNET, unet_config_to_diffusers
from tinyldm.formats.diffusers_vae import DIFFUSERS_VAE, vae_config_to_diffusers
from tinyldm.formats.schedulers import Sampling, sampling_to_diffusers
from tinyldm.formats.weights import TRANSFORMER, rename, rename_all, reverse
from tinyldm.reverse_diffusion import leading

SD1 = versions.SD1
STEP_TFLOP = 1.607  # of the U-Net, latents (2, 4, 64, 64): one guided step at 512×512
H100_TFLOPS = 790  # what its matrix multiplication reaches in practice: a bound of 2.03 ms a step


def make_pair(ours: torch.nn.Module, peer: torch.nn.Module, table: list, **to) -> tuple:
    """Both with the same numbers. Where the memory layout is the same too, they share one copy."""
    ours = ours.eval().requires_grad_(False).to(**to)
    state = {rename(name, reverse(table)): weight for name, weight in ours.state_dict().items()}
    if "memory_format" not in to:  # diffusers as it comes: channels first
        state = {name: weight.contiguous() for name, weight in state.items()}
    peer.load_state_dict(state, assign=True)
    return ours, peer.eval().requires_grad_(False)


def make_unets(**to) -> tuple:
    import diffusers

    config = {**unet_config_to_diffusers(SD1.unet, 64), "use_linear_projection": True}
    with torch.device("meta"):
        peer = diffusers.UNet2DConditionModel.from_config(config)
    return make_pair(UNet(SD1.unet), peer, DIFFUSERS_UNET, **to)


def make_vaes(**to) -> tuple:
    import diffusers

    with torch.device("meta"):
        peer = diffusers.AutoencoderKL.from_config(vae_config_to_diffusers(SD1.vae, 512))
    return make_pair(VAE(SD1.vae), peer, DIFFUSERS_VAE, **to)


# ── CPU ──────────────────────────────────────────────────────────────────────────────────────────────

LAYOUTS = {"fp32": {}, "bf16 channels_last": dict(dtype=torch.bfloat16, memory_format=torch.channels_last)}


@torch.no_grad()
def unet_row(name: str, batch: int, side: int, rounds: int):
    ours, peer = make_unets(**LAYOUTS[name])
    dtype = ours.conv_in.weight.dtype
    z_t, t = torch.randn(batch, 4, side, side, dtype=dtype), torch.tensor([500] * batch)
    context = torch.randn(batch, 77, 768, dtype=dtype)
    a, b = ours(z_t, t, context).float(), peer(z_t, t, context).sample.float()
    assert (a - b).abs().max() <= (1e-4 if dtype == torch.float32 else 0.1) * b.abs().max()
    return compare(
        f"U-Net {name}, latents ({batch}, 4, {side}, {side})",
        lambda: ours(z_t, t, context),
        lambda: peer(z_t, t, context).sample,
        rounds=rounds,
    )


@torch.no_grad()
def vae_rows(name: str, side: int, rounds: int) -> list:
    ours, peer = make_vaes(**LAYOUTS[name])
    dtype, scale = ours.quant_conv.weight.dtype, SD1.vae.scale
    image, z0 = torch.rand(1, 3, side, side).to(dtype) * 2 - 1, torch.randn(1, 4, side // 8, side // 8).to(dtype)
    return [
        compare(
            f"VAE encode {name}, {side}×{side}",
            lambda: ours.encode(image),
            lambda: peer.encode(image).latent_dist.mode() * scale,
            rounds=rounds,
        ),
        compare(
            f"VAE decode {name}, {side}×{side}",
            lambda: ours.decode(z0),
            lambda: peer.decode(z0 / scale).sample,
            rounds=rounds,
        ),
    ]


# ── GPU ──────────────────────────────────────────────────────────────────────────────────────────────


@torch.no_grad()
def cuda_rows(rounds: int) -> list:
    """50 guided DDIM steps, both loops eager and both U-Nets compiled, in fp16 and bf16."""
    import diffusers

    schedule = SD1.schedule().to("cuda")
    scheduler = diffusers.DDIMScheduler.from_config(sampling_to_diffusers(Sampling(schedule, leading)))
    rows = []
    for dtype in (torch.float16, torch.bfloat16):
        ours, peer = make_unets(device="cuda", dtype=dtype, memory_format=torch.channels_last)
        z = torch.randn(1, 4, 64, 64, device="cuda")
        context, null = torch.randn(2, 1, 77, 768, device="cuda", dtype=dtype)
        for compiled in (False, True):
            if compiled:
                ours.compile(mode="reduce-overhead")
                peer.compile(mode="reduce-overhead")

            def our_loop(ours=ours, context=context, null=null, z=z, dtype=dtype):
                model = guided(ours, context, null, 7.5)
                return ddim(
                    lambda z_t, t: model(z_t.to(dtype), t).float(), z, schedule, timesteps(schedule, 50, leading)
                )

            def peer_loop(peer=peer, context=context, null=null, z=z, dtype=dtype):
                scheduler.set_timesteps(50, device="cuda")
                both, latents = torch.cat([null, context]), z.to(dtype)
                for t in scheduler.timesteps:
                    null_part, text_part = peer(torch.cat([latents, latents]), t, both).sample.chunk(2)
                    prediction = null_part + 7.5 * (text_part - null_part)
                    latents = scheduler.step(prediction, t, latents).prev_sample
                return latents

            name = f"50 guided steps, {str(dtype).removeprefix('torch.')}, {'compiled' if compiled else 'eager'}"
            rows.append(compare(name, our_loop, peer_loop, rounds=rounds))
    return rows


# ── Loading ──────────────────────────────────────────────────────────────────────────────────────────

# Run in a process of its own, so that nothing else is in the peak. VmHWM is the largest resident size so far.
MEASURE = """
import sys, torch
from tinyldm import LatentDiffusion, versions
from tinyldm.formats import compvis_file as compvis
def status(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) / 1024
place, tokenizer, dtype = sys.argv[1], sys.argv[2], getattr(torch, sys.argv[3])
before = status("VmRSS")
if place.endswith(("ckpt", "safetensors")):
    model = LatentDiffusion.from_single_file(place, tokenizer, version=versions.SD1, dtype=dtype)
else:
    model = LatentDiffusion.from_pretrained(place, dtype=dtype)
loaded = status("VmHWM") - before
for part in (model.unet, model.vae, model.text_encoder):
    for parameter in part.parameters():
        parameter.sum()
print(loaded, status("VmHWM") - before)
"""


def loading_rows() -> list[str]:
    """Peak memory of opening Stable Diffusion 1 in its own dtype, as a folder and as a single file."""
    rows = []
    for dtype in ("float16", "float32"):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "folder"
            write_full_size(folder, getattr(torch, dtype))
            rows.append(loading_row("diffusers folder", folder, folder, dtype))
            state = compvis_names(folder)
            save_file(state, Path(name) / "one.safetensors")
            rows.append(loading_row("single .safetensors", Path(name) / "one.safetensors", folder, dtype))
            torch.save({"state_dict": state}, Path(name) / "one.ckpt")
            del state
            rows.append(loading_row("single .ckpt", Path(name) / "one.ckpt", folder, dtype))
    return rows


def loading_row(what: str, place: Path, folder: Path, dtype: str) -> str:
    files = [place] if place.is_file() else place.rglob("*.safetensors")
    size = sum(file.stat().st_size for file in files) / 2**20
    command = [sys.executable, "-c", MEASURE, str(place), str(folder / "tokenizer"), dtype]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded, read = (float(number) for number in out.stdout.split()[-2:])
    return (
        f"| Stable Diffusion 1, {what}, {dtype} | {size:.0f} MiB | {loaded:.0f} MiB | **{loaded / size:.2f}** | "
        f"{read / size:.2f} |"
    )


def compvis_names(folder: Path) -> dict:
    """The weights of a folder as in a CompVis file: the tables of the package, backwards."""
    unet, vae = (
        rename_all(
            load_file(folder / part / "diffusion_pytorch_model.safetensors"),
            lambda key, table=table: rename(key, table),
        )
        for part, table in (("unet", DIFFUSERS_UNET), ("vae", DIFFUSERS_VAE))
    )
    inner = dict(old_new[::-1] for old_new in compvis.unet_table(SD1.unet) if old_new[0].startswith("."))
    backwards = reverse([entry for entry in compvis.unet_table(SD1.unet) if not entry[0].startswith(".")])
    # norm1 and norm2 are names of a ResBlock and of a TransformerBlock, so the inner names need a look at where.
    resblock = [entry for entry in inner.items() if entry not in reverse(TRANSFORMER)]
    state = {}
    for key, tensor in unet.items():
        key = rename(key, resblock if "resblock" in key else reverse(TRANSFORMER))
        state[compvis.UNET_PREFIX + rename(key, backwards)] = tensor
    state |= {compvis.VAE_PREFIX + rename(key, reverse(compvis.vae_table(SD1.vae))): w for key, w in vae.items()}
    text = load_file(folder / "text_encoder/model.safetensors")
    return state | {compvis.TEXT[0][0] + key: tensor for key, tensor in text.items()}


def write_full_size(folder: Path, dtype: torch.dtype) -> None:
    """Stable Diffusion 1 with constant weights."""
    from tinyldm.clip import TextTransformer
    from tinyldm.training.tokenizer import build_tokenizer

    with torch.device("meta"):
        unet, vae, clip = UNet(SD1.unet), VAE(SD1.vae), TextTransformer(SD1.text[0])
    for part in (unet, vae, clip):
        part.to_empty(device="cpu").to(dtype)
        for parameter in part.parameters():
            torch.nn.init.constant_(parameter, 0.01)
    text_encoder = TextEncoder(clip, build_tokenizer(["a", "photo"], 77))
    LatentDiffusion(
        unet, vae, text_encoder, SD1.schedule(), image_size=(512, 512), spacing=SD1.spacing
    ).save_pretrained(folder)


def show(rows: list, columns: str = "tinyldm | diffusers | times faster (middle half) | rounds") -> None:
    print(f"| | {columns} |\n|---|---|---|---|---|")
    for row in rows:
        print(row if isinstance(row, str) else row.markdown(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=2, help="2 is one guided image")
    parser.add_argument("--latent", type=int, default=64, help="side of the U-Net's latent: 64 is 512 pixels")
    parser.add_argument("--image", type=int, default=512, help="side of the VAE's image")
    parser.add_argument("--loading", action="store_true")
    parser.add_argument("--cuda", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    print(f"{hardware()}\n")
    if options.loading:
        show(loading_rows(), "files | peak while loading | of the files' size | after each weight was read")
        return
    if options.cuda:
        rows = cuda_rows(options.rounds)
        bound = 1000 * STEP_TFLOP / H100_TFLOPS
        print(
            f"Time a step beside the bound of {bound:.2f} ms on an H100: "
            f"{', '.join(f'{1000 * row.ours / 50:.2f} ms' for row in rows)}\n"
        )
    else:
        parts: list[Callable[[], list]] = []
        for name in LAYOUTS:
            parts += [
                lambda name=name: [unet_row(name, options.batch, options.latent, options.rounds)],
                lambda name=name: vae_rows(name, options.image, options.rounds),
            ]
        rows = sum((part() for part in parts), [])
    show(rows)
    print(f"\nGeometric mean {geometric_mean(rows):.2f}, lowest {min(row.ratio for row in rows):.2f}.")


if __name__ == "__main__":
    main()
