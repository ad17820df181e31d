"""tinyldm: latent diffusion models, small enough to read in an evening.

Reading order is import order: seeds → resblock → vae → spatial_transformer → unet → conditioning →
forward_diffusion → reverse_diffusion → versions →
latent_diffusion.
"""

from tinyldm import versions
from tinyldm.conditioning import ClassEncoder, ImageEncoder, TextEncoder
from tinyldm.forward_diffusion import EPS, VELOCITY, NoiseSchedule, diffusion_loss
from tinyldm.latent_diffusion import LatentDiffusion
from tinyldm.resblock import ResBlock, timestep_embedding
from tinyldm.reverse_diffusion import ddim, ddpm, dpm_solver_pp, euler, guided, timesteps
from tinyldm.spatial_transformer import SpatialTransformer, capture_attention
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
    "guided",
    "timestep_embedding",
    "timesteps",
    "to_signed",
    "to_unit",
    "versions",
]
