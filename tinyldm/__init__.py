"""tinyldm: latent diffusion models, small enough to read in an evening.

Reading order is import order: shapes → seeds → resblock → vae → spatial_transformer → unet → clip → conditioning →
forward_diffusion → reverse_diffusion → more_samplers → versions → latent_diffusion.

The classes and functions below are imported when they are first used: PyTorch takes seconds, and `tinyldm --help` needs
none of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinyldm import versions
    from tinyldm.conditioning import ClassEncoder, ImageEncoder, TextEncoder
    from tinyldm.forward_diffusion import EPS, VELOCITY, NoiseSchedule, diffusion_loss
    from tinyldm.latent_diffusion import LatentDiffusion
    from tinyldm.more_samplers import euler_ancestral, lcm, pndm
    from tinyldm.resblock import ResBlock, timestep_embedding
    from tinyldm.reverse_diffusion import ddim, ddpm, dpm_solver_pp, euler, guided, timesteps
    from tinyldm.spatial_transformer import SpatialTransformer
    from tinyldm.trace import capture_attention
    from tinyldm.unet import UNet, UNetConfig
    from tinyldm.vae import VAE, VAEConfig, to_signed, to_unit

__version__ = "0.2.0"

__all__ = [
    "EPS",
    "VELOCITY",
    "VAE",
    "ClassEncoder",
    "ImageEncoder",
    "LatentDiffusion",
    "NoiseSchedule",
    "ResBlock",
    "SpatialTransformer",
    "TextEncoder",
    "UNet",
    "UNetConfig",
    "VAEConfig",
    "capture_attention",
    "ddim",
    "ddpm",
    "diffusion_loss",
    "dpm_solver_pp",
    "euler",
    "euler_ancestral",
    "guided",
    "lcm",
    "pndm",
    "timestep_embedding",
    "timesteps",
    "to_signed",
    "to_unit",
    "versions",
]

# In reading order: a file imports only those before it.
CORE_FILES = (
    "shapes",
    "seeds",
    "resblock",
    "vae",
    "spatial_transformer",
    "unet",
    "clip",
    "conditioning",
    "forward_diffusion",
    "reverse_diffusion",
    "more_samplers",
    "versions",
    "latent_diffusion",
)


def __getattr__(name: str) -> object:
    """Import a public name, or a file of the core, when it is first used (PEP 562)."""
    if name in (*CORE_FILES, "trace"):
        return import_module(f"{__name__}.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Files import only those before them, so the first that knows a name is the one that defines it.
    files = (import_module(f"{__name__}.{file}") for file in (*CORE_FILES, "trace"))
    value = next(getattr(file, name) for file in files if hasattr(file, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
