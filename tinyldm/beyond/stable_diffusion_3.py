"""Stable Diffusion 3: its folder in the diffusers layout, and its way from captions to pictures.

    captions ─┬─ CLIP L ─┬─ penultimate layers, side by side, zeros up to T5's width ─┐
              ├─ CLIP G ─┴─ pooled, side by side ─► added                             ├─► context (B, 77 + 256, 4096)
              └─ T5 ──────────────────────────────────────────────────────────────────┘
    noise (B, 16, h, w) ─► euler( guided(MM-DiT) ) over shifted times ─► z0 ─► z0 / scale + shift ─VAE─► picture

T5 has more parameters (4.8 billion) than the denoiser of "medium" (2.0 billion). It may be left out: its part of the
context is then zeros, which training has seen, because it dropped each encoder at random. What it costs is long
captions and letters in pictures (Esser et al. 2024, § 5.3, reported).

The VAE has 16 channels instead of 4: the same classes, reconstructing more and leaving more to the denoiser. Its
latents are centred before they are scaled, and it has no quant convolutions; identities stand in for them here.

Source: Esser et al. 2024, arXiv 2403.03206; diffusers' StableDiffusion3Pipeline.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tinyldm.beyond.flow_matching import euler, flow_of, flow_times
from tinyldm.beyond.mm_dit import MMDiT, MMDiTConfig
from tinyldm.conditioning import Encoding, TextEncoderXL, tokenize
from tinyldm.formats.diffusers_vae import DIFFUSERS_VAE, vae_config_from_diffusers
from tinyldm.formats.files import explained, read_json, refuse_others, require_whole
from tinyldm.formats.text_encoders import load_text_encoder
from tinyldm.formats.tokenizers import load_tokenizer
from tinyldm.formats.weights import DIFFUSERS_STEMS, load_weights, read_weights, rename, rename_all, without_memory
from tinyldm.reverse_diffusion import guided
from tinyldm.seeds import Generators, randn
from tinyldm.vae import VAE, to_unit

T5_LENGTH = 256  # tokens
T5 = Callable[[list[str]], Tensor]  # captions -> (B, 256, D_c)

# ── The folder ───────────────────────────────────────────────────────────────────────────────────────

DIFFUSERS_MM_DIT = [
    ("pos_embed.proj.", "patch_in."),
    ("pos_embed.pos_embed", "positions"),
    ("time_text_embed.timestep_embedder.linear_#.", "time_mlp.linear#."),
    ("time_text_embed.text_embedder.linear_#.", "added_mlp.linear#."),
    ("context_embedder.", "context_in."),
    ("transformer_blocks.#.", "blocks.#."),
    (".norm1.linear.", ".pixels.modulation."),
    (".norm1_context.linear.", ".words.modulation."),
    *((f".attn.to_{name}.", f".pixels.to_{name}.") for name in "qkv"),
    *((f".attn.add_{name}_proj.", f".words.to_{name}.") for name in "qkv"),
    (".attn.to_out.0.", ".pixels.to_out."),
    (".attn.to_add_out.", ".words.to_out."),
    *((f".attn.norm_{name}.", f".pixels.norm_{name}.") for name in "qk"),
    *((f".attn.norm_added_{name}.", f".words.norm_{name}.") for name in "qk"),
    (".ff.net.0.proj.", ".pixels.mlp.0."),
    (".ff.net.2.", ".pixels.mlp.2."),
    (".ff_context.net.0.proj.", ".words.mlp.0."),
    (".ff_context.net.2.", ".words.mlp.2."),
    ("norm_out.linear.", "final.modulation."),
    ("proj_out.", "final.linear."),
]
SIZES = {
    "in_channels": 64,
    "patch_size": 16,
    "num_layers": 128,
    "attention_head_dim": 1024,
    "num_attention_heads": 256,
    "joint_attention_dim": 16_384,
    "pooled_projection_dim": 16_384,
    "pos_embed_max_size": 1024,
    "sample_size": 4096,
}


def config_from_diffusers(config: dict[str, Any]) -> MMDiTConfig:
    """transformer/config.json -> MMDiTConfig. Raises ValueError for what Stable Diffusion 3 and 3.5 large never do."""
    require_whole(config, SIZES)
    width = config["attention_head_dim"] * config["num_attention_heads"]
    channels = {"out_channels": config["in_channels"]}
    refuse_others(config, {"caption_projection_dim": width, "dual_attention_layers": [], **channels})
    if (norm := config.get("qk_norm")) not in (None, "rms_norm"):
        raise ValueError(f"qk_norm is {norm!r:.60}; expected null or 'rms_norm'")
    return MMDiTConfig(
        channels=config["in_channels"],
        patch=config["patch_size"],
        width=width,
        depth=config["num_layers"],
        heads=config["num_attention_heads"],
        context_dim=config["joint_attention_dim"],
        added_dim=config["pooled_projection_dim"],
        grid=config["pos_embed_max_size"],
        trained_grid=config["sample_size"] // config["patch_size"],
        normalize_qk=norm is not None,
    )


def weights_from_diffusers(state: dict[str, Tensor], depth: int) -> dict[str, Tensor]:
    """The tensors of an SD3Transformer2DModel under this package's names, and in its order of numbers."""
    state = rename_all(state, lambda key: rename(key, DIFFUSERS_MM_DIT))
    if (patches := state.get("patch_in.weight")) is not None and patches.dim() == 4:
        # There a convolution (D, C, p, p); here a linear layer that reads (row, column, channel).
        state["patch_in.weight"] = patches.permute(0, 2, 3, 1).flatten(1)
    for name in (f"blocks.{depth - 1}.words.modulation", "final.modulation"):
        for key in (f"{name}.weight", f"{name}.bias"):  # in these two, diffusers has the scale before the shift
            if key in state:
                state[key] = torch.cat(state[key].chunk(2)[::-1])
    return state


def load_mm_dit(folder: Path, variant: str | None = None) -> MMDiT:
    """Read a folder of diffusers' SD3Transformer2DModel, in the dtype of its file."""
    content = read_json(folder / "config.json")
    with explained(folder / "config.json"), without_memory():
        model = MMDiT(config_from_diffusers(content))
    state = read_weights(folder, DIFFUSERS_STEMS, variant)
    load_weights(model, weights_from_diffusers(state, model.config.depth), str(folder))
    return model


def load_vae_16(folder: Path, variant: str | None = None) -> tuple[VAE, float]:
    """A VAE without quant convolutions, and the shift of its latents: the mean of z0 / scale."""
    content = read_json(folder / "config.json")
    with explained(folder / "config.json"), without_memory():
        refuse_others(content, {"use_quant_conv": False, "use_post_quant_conv": False})
        usual = {"use_quant_conv": True, "use_post_quant_conv": True, "shift_factor": None}
        vae = VAE(vae_config_from_diffusers({**content, **usual}))
    state = rename_all(read_weights(folder, DIFFUSERS_STEMS, variant), lambda key: rename(key, DIFFUSERS_VAE))
    like = state["decoder.conv_in.weight"]
    for name, channels in (("quant_conv", 2), ("post_quant_conv", 1)):
        size = channels * vae.config.latent_channels
        state[f"{name}.weight"] = torch.eye(size, dtype=like.dtype).view(size, size, 1, 1)
        state[f"{name}.bias"] = torch.zeros(size, dtype=like.dtype)
    load_weights(vae, state, str(folder))
    return vae, float(content.get("shift_factor") or 0)


def load_t5(folder: Path) -> T5:
    """T5's encoder, by transformers, from the parts `text_encoder_3` and `tokenizer_3` of a model folder."""
    from transformers import AutoTokenizer, T5EncoderModel  # 5 s, and most folders do without

    encoder = T5EncoderModel.from_pretrained(folder / "text_encoder_3")
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer_3")
    options = {"padding": "max_length", "max_length": T5_LENGTH, "truncation": True, "return_tensors": "pt"}
    return lambda captions: encoder(tokenizer(captions, **options).input_ids)[0]


# ── From captions to pictures ────────────────────────────────────────────────────────────────────────


@dataclass
class StableDiffusion3:
    """The parts, and the way through them."""

    transformer: MMDiT
    vae: VAE
    latent_shift: float
    clips: TextEncoderXL  # CLIP L and CLIP G, both with a projection
    t5: T5 | None  # None: zeros
    time_shift: float = 3.0

    @classmethod
    def from_pretrained(cls, folder: str | Path, variant: str | None = None) -> "StableDiffusion3":
        """Open a folder of diffusers' StableDiffusion3Pipeline, with T5 where it has one."""
        folder = Path(folder)
        vae, latent_shift = load_vae_16(folder / "vae", variant)
        towers: list[Any] = []
        for ending in ("", "_2"):
            towers.append(load_text_encoder(folder / f"text_encoder{ending}", variant, projects=True))
            towers.append(load_tokenizer(folder / f"tokenizer{ending}"))
        t5 = load_t5(folder) if (folder / "text_encoder_3").is_dir() else None
        scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
        transformer = load_mm_dit(folder / "transformer", variant)
        return cls(transformer, vae, latent_shift, TextEncoderXL(*towers), t5, scheduler.get("shift", 1.0))

    @torch.no_grad()
    def encode_text(self, captions: list[str]) -> Encoding:
        """Captions -> context (B, L + 256, D_c) and pooled (B, D_a).  Esser et al. 2024, figure 2a."""
        outputs = [clip(tokenize(tokenizer, captions, self.clips.length)) for clip, tokenizer in self.clips.towers]
        words = torch.cat([output.layers[-2] for output in outputs], dim=2)
        words = F.pad(words, (0, self.transformer.config.context_dim - words.shape[2]))  # (B, L, D_c)
        t5 = words.new_zeros(len(words), T5_LENGTH, words.shape[2]) if self.t5 is None else self.t5(captions)
        return Encoding(torch.cat([words, t5], dim=1), torch.cat([output.pooled for output in outputs], dim=1))

    @torch.no_grad()
    def generate(
        self,
        captions: list[str],
        *,
        steps: int = 28,
        guidance_scale: float = 7.0,
        negative: list[str] | None = None,
        generator: Generators = None,
        size: tuple[int, int] = (1024, 1024),
    ) -> Tensor:
        """Captions -> images (B, 3, H, W) in [0, 1]; arguments as `LatentDiffusion.generate`."""
        context, added = self.encode_text(captions)
        null_context, null_added = self.encode_text([""] * len(captions) if negative is None else negative)
        model = guided(self.transformer, context, null_context, guidance_scale, added, null_added)
        factor, channels = self.vae.config.factor, self.transformer.config.channels
        shape = (len(captions), channels, size[0] // factor, size[1] // factor)
        z0 = euler(flow_of(model), randn(shape, generator, context.device), flow_times(steps, self.time_shift))[-1]
        return to_unit(self.vae.decode(z0 + self.latent_shift * self.vae.config.scale))
