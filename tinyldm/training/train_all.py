"""All stages of training, one after the other: CLIP, VAE, U-Net; at the end, the model folder.

    tinyldm train all --out runs/tiny
    tinyldm train all --out runs/tiny --device cuda          # the settings of the shipped weights

Ctrl-C saves; the same command with --resume continues, in whichever stage it was.
"""

import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tinyldm.conditioning import TextEncoder
from tinyldm.data.corpus import WORDS, Corpus
from tinyldm.formats.diffusers_unet import read_unet_config
from tinyldm.formats.diffusers_vae import load_vae, save_vae
from tinyldm.formats.files import explained, read_json
from tinyldm.formats.places import model_folder
from tinyldm.latent_diffusion import LatentDiffusion
from tinyldm.training.checkpoints import read_facts
from tinyldm.training.clip import Clip
from tinyldm.training.export import PROJECTIONS, STARTED_FROM, clip_of, export, in_half
from tinyldm.training.model_card import training_table
from tinyldm.training.processes import ALONE, Processes
from tinyldm.training.resuming import say_other_settings
from tinyldm.training.run import Settings, describe, progress, require_vacant
from tinyldm.training.tokenizer import build_tokenizer
from tinyldm.training.train_clip import ClipSettings, train_clip
from tinyldm.training.train_unet import Frozen, UnetSettings, train_unet
from tinyldm.training.train_vae import VaeSettings, train_vae
from tinyldm.vae import VAE
from tinyldm.versions import SD1, TINY

STAGES = ("clip", "vae", "unet")


@dataclass(frozen=True)
class Plan:
    """The committed settings of a whole training."""

    scenes: int  # images in the corpus
    clip: ClipSettings
    vae: VaeSettings
    unet: UnetSettings


# For two CPU cores and two hours. In the VAE's share of them, the adversarial term costs more than it gains.
CPU = Plan(
    scenes=60_000,
    clip=ClipSettings(steps=5600, batch=48, bf16=True),
    vae=VaeSettings(minutes=33, batch=8, bf16=True, adversarial_weight=0.0),
    unet=UnetSettings(minutes=53, batch=64, bf16=True),
)
# For one large GPU and less than half an hour.
GPU = Plan(
    scenes=200_000,
    clip=ClipSettings(device="cuda", bf16=True, minutes=3.5, batch=512, lr=1e-3, warmup=300, ema=0.999),
    vae=VaeSettings(device="cuda", bf16=True, minutes=5, batch=64, lr=1e-3, warmup=300, ema=0.999),
    unet=UnetSettings(
        device="cuda", bf16=True, minutes=14, batch=1024, lr=1e-3, warmup=500, ema=0.9998, sample_seconds=120
    ),
)
# Stable Diffusion 1's U-Net, as its model card says it was trained: batch 2048, AdamW, 10,000 steps of warm-up to 1e-4,
# 10 % of the captions dropped. For many GPUs; its VAE and text encoder are read from a folder (--parts-from).
SD1_UNET = UnetSettings(
    device="cuda",
    bf16=True,
    steps=1_141_000,
    batch=2048,
    lr=1e-4,
    warmup=10_000,
    drop_caption=0.1,
    image_context=0.0,
    ema=0.9999,
    save_seconds=1800.0,
    sample_seconds=7200.0,
    config=SD1.unet,
)


# ── Checks, before any work ──────────────────────────────────────────────────────────────────────────


def require_trainable(plan: Plan, folder: Path, stages: tuple[str, ...] = STAGES) -> None:
    """Find what would stop a training later, or make it destroy something, before any work is done.

    Args: as `train_all`.
    Raises: ValueError where a stage that comes before is missing, an earlier run or another model would be
        overwritten, or the model to start from is not one that was trained here.
    Warns: where there is nothing to resume.
    """
    out = plan.unet.out
    for stage in stages:
        settings = getattr(plan, stage)
        require_vacant(settings, checkpoint_of(settings, stage), out / stage / "config.json")
    if plan.unet.start_from is not None and "unet" in stages:
        require_start(plan.unet)
    elif plan.unet.parts_from is not None and "unet" in stages:
        require_parts(plan.unet)
    else:
        _require_earlier_stages(plan, stages)
    if "unet" in stages:
        require_model_place(plan.unet, folder)
    if plan.unet.resume and not any(checkpoint_of(plan.unet, stage).exists() for stage in stages):
        warnings.warn(f"there is nothing to resume in {out}: starting from the beginning", stacklevel=2)


def _require_earlier_stages(plan: Plan, stages: tuple[str, ...]) -> None:
    needed = {"clip": [], "vae": ["clip"] if plan.vae.perceptual_weight else [], "unet": ["clip", "vae"]}
    missing = [
        earlier
        for earlier in ("clip", "vae")
        if earlier not in stages
        and any(earlier in needed[stage] for stage in stages)
        and not (plan.unet.out / earlier / "config.json").is_file()
    ]
    if missing:
        commands = ", then ".join(f"tinyldm train {earlier}" for earlier in missing)
        raise ValueError(f"{plan.unet.out} has no trained {' and no '.join(missing)}; run first: {commands}")


def require_start(settings: UnetSettings) -> None:
    """Raise ValueError unless training can start from the model that the settings name.

    It must have been trained by this program and have the U-Net's sizes, and the run must have no CLIP or VAE of its
    own, which it would replace.
    """
    folder = model_folder(settings.start_from)
    if not (folder / PROJECTIONS).is_file():
        raise ValueError(
            f'training cannot start from {settings.start_from!r}; expected "tiny" or a model folder that was trained '
            f"here, which has a {PROJECTIONS}"
        )
    found = read_unet_config(folder / "unet")
    if found != settings.config:
        raise ValueError(f"the U-Net in {folder} has other sizes: {found}; expected {settings.config}")
    if (history := folder / "training.json").exists():  # which becomes part of the new model's card
        with explained(history):
            list(training_table(read_json(history)))
    for stage in ("clip", "vae"):
        if checkpoint_of(settings, stage).exists() and not settings.overwrite:
            raise ValueError(
                f"{settings.out} has a trained {stage}, which that of {settings.start_from!r} would replace; choose "
                "another folder with --out, or say --overwrite"
            )


def require_parts(settings: UnetSettings) -> None:
    """Raises ValueError unless the folder of the frozen parts is a model folder whose captions the U-Net can read."""
    folder = Path(str(settings.parts_from))
    if not (folder / "model_index.json").is_file():
        raise ValueError(
            f"{folder} is not a model folder; expected one in the diffusers layout, whose VAE and text encoder are used"
        )
    width = read_json(folder / "text_encoder" / "config.json").get("hidden_size")
    if width != settings.config.context_dim:
        raise ValueError(
            f"the text encoder in {folder} gives vectors of {width} numbers, and the U-Net reads "
            f"{settings.config.context_dim}; choose another --model-size, or another folder"
        )


def require_model_place(settings: Settings, folder: Path) -> None:
    """Raises ValueError where the finished model cannot be written to `folder`, or would replace another one."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; expected a folder for the finished model")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not (folder / "model_index.json").is_file():
        raise ValueError(f"{folder} is a folder with other files in it; expected a new one, an empty one, or a model's")
    trained_here = (folder / "training.json").is_file()
    if not (settings.overwrite or settings.resume and trained_here):
        raise ValueError(f"there is a model in {folder} already; replace it with --overwrite, or choose another folder")


# ── Stages; each finds the results of those before it in the run's folder ────────────────────────────


def clip_stage(settings: ClipSettings, corpus: Corpus, processes: Processes) -> Clip:
    """Train CLIP and leave it in `clip/`."""
    return train_clip(settings, corpus, processes)


def vae_stage(settings: VaeSettings, corpus: Corpus, processes: Processes) -> VAE:
    """Train the VAE, with CLIP's features, and leave it in `vae/`."""
    clip = Clip.load(settings.out / "clip") if settings.perceptual_weight else None
    vae = train_vae(settings, corpus, clip, processes)
    if processes.is_first:
        (settings.out / "vae").mkdir(exist_ok=True)
        save_vae(vae, settings.out / "vae", corpus.images.shape[-1])
    return vae


def unet_stage(settings: UnetSettings, corpus: Corpus, folder: Path, processes: Processes) -> LatentDiffusion:
    """Train the U-Net on what the other stages left, and write the model folder."""
    start = LatentDiffusion.from_pretrained(settings.start_from) if settings.start_from else None
    if start is not None and processes.is_first:
        take_over(start, settings)
    processes.wait()
    clip, vae = Clip.load(settings.out / "clip"), load_vae(settings.out / "vae")
    tokenizer = build_tokenizer(WORDS, clip.text.config.max_position_embeddings)
    frozen = Frozen(vae, TextEncoder(clip.text, tokenizer), TINY.schedule(), clip.vision, corpus.images.shape[-1])
    model = train_unet(settings, corpus, frozen, start, processes)
    if processes.is_first:
        export(model, clip, settings.out, folder)
    return model


def unet_stage_around(settings: UnetSettings, corpus: Corpus, folder: Path, processes: Processes) -> LatentDiffusion:
    """Train a U-Net from nothing with the VAE and the text encoder of another model, and write the model folder."""
    parts = LatentDiffusion.from_pretrained(settings.parts_from)
    frozen = Frozen(parts.vae, parts.text_encoder, parts.schedule, None, corpus.images.shape[-1])
    model = train_unet(replace(settings, image_context=0.0), corpus, frozen, None, processes)
    if processes.is_first:
        in_half(model).save_pretrained(folder)
    return model


def take_over(start: LatentDiffusion, settings: UnetSettings) -> None:
    """Copy CLIP, VAE and history of the model to start from into the run's folder, as if trained there."""
    folder = model_folder(settings.start_from)
    for stage in ("clip", "vae"):
        checkpoint_of(settings, stage).unlink(missing_ok=True)  # of a run that is overwritten
    clip_of(folder).save(settings.out / "clip")
    (settings.out / "vae").mkdir(exist_ok=True)
    save_vae(start.vae, settings.out / "vae", start.image_size[0])
    if (folder / "training.json").is_file():
        shutil.copyfile(folder / "training.json", settings.out / STARTED_FROM)


def train_all(
    plan: Plan, corpus: Corpus, folder: Path, stages: tuple[str, ...] = STAGES, processes: Processes = ALONE
) -> None:
    """Run the stages of a plan. With `resume` in its settings, finished stages are not repeated.

    Args:
        folder: where the model folder is written.
        stages: some of STAGES, in this order.
        processes: those that share the work.
    Raises: ValueError as `require_trainable`.
    """
    require_trainable(plan, folder, stages)
    train_the_unet = unet_stage if plan.unet.parts_from is None else unet_stage_around
    run: dict[str, Callable[[], object]] = {
        "clip": lambda: clip_stage(plan.clip, corpus, processes),
        "vae": lambda: vae_stage(plan.vae, corpus, processes),
        "unet": lambda: train_the_unet(plan.unet, corpus, folder, processes),
    }
    processes.wait()  # all have looked at the folder before one of them changes it
    for stage in stages:
        if getattr(plan, stage).overwrite:  # of all stages at once: a later --resume may not mix two runs
            checkpoint_of(getattr(plan, stage), stage).unlink(missing_ok=True)
    for stage in stages:
        if stage == "unet" or not is_done(getattr(plan, stage), stage):
            run[stage]()
        processes.wait()  # the next stage reads what the first process has written


def is_done(settings: Settings, stage: str) -> bool:
    """Did an earlier call of a resumed run finish this stage? With more steps or minutes than it had, it continues."""
    checkpoint = checkpoint_of(settings, stage)
    result = settings.out / stage / "config.json"
    if not (settings.resume and result.is_file() and checkpoint.exists()):
        return False
    facts = read_facts(checkpoint)
    done = progress(settings, facts["step"], facts["seconds"]) >= 1
    if done:
        say_other_settings(f"{stage}, which is finished,", facts, describe(settings))
    return done


def checkpoint_of(settings: Settings, stage: str) -> Path:
    """The checkpoint file of a stage."""
    return settings.out / f"{stage}.checkpoint.safetensors"
