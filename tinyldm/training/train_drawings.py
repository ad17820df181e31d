"""The model of drawings, stage by stage: the VAE, then the U-Net and the text encoder together; then the model folder.

    tinyldm train all --data drawings --names everyday --out runs/pictures
    tinyldm train all --data drawings --out runs/pictures --device cuda

Ctrl-C saves; the same command with --resume continues, in whichever stage it was. The VAE never sees the drawings of
some names, so that its reconstructions of them can be measured (`data/drawings.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tinyldm.data import drawings
from tinyldm.data.corpus import Corpus, drawings_corpus
from tinyldm.data.drawing_captions import vocabulary
from tinyldm.formats.diffusers_vae import load_vae, save_vae
from tinyldm.latent_diffusion import LatentDiffusion
from tinyldm.training.export import export
from tinyldm.training.hands import hands_of
from tinyldm.training.run import require_vacant
from tinyldm.training.tokenizer import build_tokenizer
from tinyldm.training.train_all import checkpoint_of, is_done, require_model_place
from tinyldm.training.train_joint import PICTURES, JointSettings, train_joint
from tinyldm.training.train_vae import VaeSettings, train_vae
from tinyldm.vae import VAE

STAGES = ("vae", "unet")


@dataclass(frozen=True)
class DrawingsPlan:
    """The settings of a whole training on drawings."""

    copies: int  # of each drawing: on white, then on other grounds, moved, mirrored
    vae: VaeSettings
    unet: JointSettings


# There is no CLIP whose features could be compared, so no perceptual term. The plan for a GPU has not been run yet.
CPU = DrawingsPlan(
    copies=4,
    vae=VaeSettings(
        minutes=60,
        batch=8,
        bf16=True,
        perceptual_weight=0.0,
        half_size_weight=0.5,
        adversarial_weight=0.0,
        config=PICTURES.vae,
    ),
    unet=JointSettings(minutes=420, bf16=True),
)
GPU = DrawingsPlan(
    copies=8,
    vae=replace(CPU.vae, device="cuda", minutes=4, batch=64, warmup=300, ema=0.999),
    unet=replace(CPU.unet, device="cuda", minutes=8, batch=512, sample_seconds=120),
)


def require_trainable(plan: DrawingsPlan, folder: Path, stages: tuple[str, ...] = STAGES) -> None:
    """Find what would stop a training later, or make it destroy something, before any work is done.

    Raises: ValueError where the VAE is missing, or an earlier run or another model would be overwritten.
    """
    for stage in stages:
        settings = getattr(plan, stage)
        require_vacant(settings, checkpoint_of(settings, stage), settings.out / stage / "config.json")
    if "vae" not in stages and not (plan.unet.out / "vae" / "config.json").is_file():
        raise ValueError(f"{plan.unet.out} has no trained vae; run first: tinyldm train vae --data drawings")
    if "unet" in stages:
        require_model_place(plan.unet, folder)


def vae_stage(plan: DrawingsPlan) -> VAE:
    """Train the VAE on all drawings but those of the names that measure it, and leave it in `vae/`."""
    settings = plan.vae
    corpus = drawings_corpus(drawings.for_autoencoder(), plan.copies, settings.seed, wordings=1)
    vae = train_vae(settings, corpus, clip=None)
    (settings.out / "vae").mkdir(exist_ok=True)
    save_vae(vae, settings.out / "vae", corpus.images.shape[-1])
    return vae


def unet_stage(plan: DrawingsPlan, folder: Path) -> LatentDiffusion:
    """Train the U-Net and the text encoder on the latents of that VAE, and write the model folder."""
    settings = plan.unet
    tokenizer = build_tokenizer(vocabulary(), settings.text.max_position_embeddings)
    corpus = unet_corpus(plan)
    shown = drawings.for_training(settings.names)
    hands = None if settings.vision is None else hands_of(shown, corpus, settings.device)
    model = train_joint(settings, corpus, load_vae(settings.out / "vae"), tokenizer, hands)
    export(model, None, settings.out, folder)
    return model


def unet_corpus(plan: DrawingsPlan) -> Corpus:
    """All drawings of the plan's names that are not held out, with eight wordings of each copy."""
    return drawings_corpus(drawings.for_training(plan.unet.names), plan.copies, plan.unet.seed, wordings=8)


def train_drawings(plan: DrawingsPlan, folder: Path, stages: tuple[str, ...] = STAGES) -> None:
    """Run the stages of a plan. With `resume` in its settings, a finished VAE is not trained again.

    Args: folder: where the model folder is written; stages: some of STAGES, in this order.
    Raises: ValueError as `require_trainable`.
    """
    require_trainable(plan, folder, stages)
    run: dict[str, Callable[[], object]] = {"vae": lambda: vae_stage(plan), "unet": lambda: unet_stage(plan, folder)}
    for stage in stages:
        if getattr(plan, stage).overwrite:  # of all stages at once: a later --resume may not mix two runs
            checkpoint_of(getattr(plan, stage), stage).unlink(missing_ok=True)
    for stage in stages:
        if stage == "unet" or not is_done(getattr(plan, stage), stage):
            run[stage]()
