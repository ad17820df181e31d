"""All stages of training, one after the other: CLIP, VAE, U-Net; and the model folder in the end.

    python -m tinyldm.training.train_all --plan cpu --out runs/tiny --model runs/tiny/model
    python -m tinyldm.training.train_all --plan gpu --device cuda          # the shipped weights' own settings

Ctrl-C saves; the same command with --resume goes on, in whichever stage it was.
"""

import argparse
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch

from tinyldm.data.corpus import WORDS, Corpus, digits_corpus, folder_corpus, scenes_corpus
from tinyldm.data.folder import summary
from tinyldm.formats.diffusers_folder import load_vae, save_vae
from tinyldm.latent_diffusion import LatentDiffusion, model_folder
from tinyldm.training.checkpoints import read_facts
from tinyldm.training.clip import Clip
from tinyldm.training.export import STARTED_FROM, clip_of, export
from tinyldm.training.run import Settings, Stopped, progress
from tinyldm.training.tokenizer import build_tokenizer
from tinyldm.training.train_clip import ClipSettings, train_clip
from tinyldm.training.train_unet import UnetSettings, train_unet
from tinyldm.training.train_vae import VaeSettings, train_vae
from tinyldm.vae import VAE

STAGES = ("clip", "vae", "unet")


@dataclass(frozen=True)
class Plan:
    """The committed settings of a whole training."""

    scenes: int  # images in the corpus
    clip: ClipSettings
    vae: VaeSettings
    unet: UnetSettings


# For two CPU cores and two hours. In the VAE's minutes the adversarial term costs more than it brings.
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


# ── Stages; each finds the results of those before it in the run's folder ────────────────────────────


def clip_stage(settings: ClipSettings, corpus: Corpus) -> Clip:
    """Train CLIP and leave it in `clip/`."""
    return train_clip(settings, corpus)


def vae_stage(settings: VaeSettings, corpus: Corpus) -> VAE:
    """Train the VAE, with CLIP's features, and leave it in `vae/`."""
    clip = Clip.load(settings.out / "clip") if settings.perceptual_weight else None
    vae = train_vae(settings, corpus, clip)
    (settings.out / "vae").mkdir(exist_ok=True)
    save_vae(vae, settings.out / "vae", corpus.images.shape[-1])
    return vae


def unet_stage(settings: UnetSettings, corpus: Corpus, folder: Path) -> LatentDiffusion:
    """Train the U-Net on what the other stages left, and write the model folder."""
    start = take_over(settings) if settings.start_from else None
    if not (settings.out / "vae" / "config.json").is_file():
        raise ValueError(f"no VAE at {settings.out / 'vae'}; train one first: tinyldm train vae")
    clip, vae = Clip.load(settings.out / "clip"), load_vae(settings.out / "vae")
    tokenizer = build_tokenizer(WORDS, clip.text.config.max_position_embeddings)
    model = train_unet(settings, corpus, vae, clip, tokenizer, start)
    export(model, clip, settings.out, folder)
    return model


def take_over(settings: UnetSettings) -> LatentDiffusion:
    """Lay CLIP, VAE and history of the model to start from into the run's folder, as if they had been trained there."""
    start = LatentDiffusion.from_pretrained(settings.start_from)
    folder = model_folder(settings.start_from)
    clip_of(folder).save(settings.out / "clip")
    (settings.out / "vae").mkdir(exist_ok=True)
    save_vae(start.vae, settings.out / "vae", start.image_size[0])
    if (folder / "training.json").is_file():
        shutil.copyfile(folder / "training.json", settings.out / STARTED_FROM)
    return start


def train_all(plan: Plan, corpus: Corpus, folder: Path, stages: tuple[str, ...] = STAGES) -> None:
    """Run the stages of a plan. With `resume` in its settings, what is finished is not done again.

    Args: folder: where the model folder is written; stages: some of STAGES, in this order.
    """
    run: dict[str, Callable[[], object]] = {
        "clip": lambda: clip_stage(plan.clip, corpus),
        "vae": lambda: vae_stage(plan.vae, corpus),
        "unet": lambda: unet_stage(plan.unet, corpus, folder),
    }
    for stage in stages:
        if stage == "unet" or not is_done(getattr(plan, stage), stage):
            run[stage]()


def is_done(settings: Settings, stage: str) -> bool:
    """Did an earlier call of a resumed run finish this stage? More steps or minutes than it had go on with it."""
    checkpoint = settings.out / f"{stage}.checkpoint.safetensors"
    left = settings.out / stage / "config.json"
    if not (settings.resume and left.is_file() and checkpoint.exists()):
        return False
    facts = read_facts(checkpoint)
    return progress(settings, facts["step"], facts["seconds"]) >= 1


# ── The command line ─────────────────────────────────────────────────────────────────────────────────


def load_corpus(data: str, scenes: int, seed: int) -> Corpus:
    """ "scenes", "digits", or the path of a folder of images -> images and captions."""
    if data == "scenes":
        return scenes_corpus(scenes, seed)
    if data == "digits":
        return digits_corpus()
    corpus, skipped = folder_corpus(data)
    if skipped:
        print(f"tinyldm: {summary(skipped)}", file=sys.stderr)
    return corpus


def with_options(plan: Plan, options: argparse.Namespace) -> Plan:
    """The plan with what was said on the command line in place of its own settings."""
    said = {
        field.name: getattr(options, field.name)
        for field in fields(Settings)
        if getattr(options, field.name, None) is not None
    }
    unet = {"start_from": options.start_from} if options.start_from else {}
    # Steps or minutes of one's own are meant to end the training, not the plan's.
    if "steps" in said and "minutes" not in said:
        said["minutes"] = None
    return Plan(
        options.scenes or plan.scenes,
        replace(plan.clip, **said),
        replace(plan.vae, **said),
        replace(plan.unet, **said, **unet),
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that every stage has. None means: as the plan says."""
    parser.add_argument(
        "--plan", choices=("cpu", "gpu"), help="settings to start from (default: gpu with --device cuda, else cpu)"
    )
    parser.add_argument(
        "--data", default="scenes", help='"scenes", "digits", or a folder with metadata.jsonl (default: scenes)'
    )
    parser.add_argument("--scenes", type=int, help="how many scenes are rendered")
    parser.add_argument("--out", type=Path, default=Path("runs/tiny"), help="folder of the run (default: %(default)s)")
    parser.add_argument("--model", type=Path, help="folder of the finished model (default: OUT/model)")
    parser.add_argument("--steps", type=int, help="end each stage after so many steps")
    parser.add_argument("--minutes", type=float, help="end each stage after so many minutes")
    parser.add_argument("--batch", type=int, help="images a step")
    parser.add_argument("--lr", type=float, help="peak learning rate")
    parser.add_argument("--device", help="cpu, cuda or mps")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="bfloat16: mixed precision")
    parser.add_argument("--seed", type=int, help="of data, weights and noise (default: 0)")
    parser.add_argument(
        "--start-from",
        metavar="MODEL",
        help='train unet only: go on from the weights of "tiny" or of a model folder trained here',
    )
    parser.add_argument("--resume", action="store_true", default=None, help="go on from the checkpoints in OUT")


def run_options(options: argparse.Namespace, stages: tuple[str, ...]) -> None:
    """Do what the command line says. Raises ValueError, OSError, MemoryError, Stopped with one line to show."""
    if options.start_from and stages != ("unet",):
        raise ValueError(f"--start-from goes with the U-Net alone, not with {', '.join(stages)}: tinyldm train unet")
    plan = GPU if options.plan == "gpu" or (options.plan is None and str(options.device).startswith("cuda")) else CPU
    options.bf16 = None if options.dtype is None else options.dtype == "bfloat16"
    plan = with_options(plan, options)
    if plan.unet.device.startswith("cuda"):
        if not torch.cuda.is_available():
            raise ValueError("this PyTorch sees no CUDA device; leave --device away, or say --device cpu")
        torch.set_float32_matmul_precision("high")
    corpus = load_corpus(options.data, plan.scenes, plan.clip.seed)
    train_all(plan, corpus, options.model or options.out / "model", stages)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tinyldm.training.train_all", description=__doc__.splitlines()[0])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="which stages (default: all)")
    add_options(parser)
    options = parser.parse_args()
    try:
        run_options(options, tuple(options.stages))
    except Stopped as stopped:
        sys.exit(f"tinyldm: {stopped}")
    except (ValueError, OSError, MemoryError, FloatingPointError) as error:
        print(f"tinyldm: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
