"""`tinyldm train`: its options, all of them checked before any work, and the training that they describe."""

import argparse
from dataclasses import fields, replace
from pathlib import Path

from tinyldm.cli.main import number, say, whole_number
from tinyldm.data.corpus import Corpus, digits_corpus, folder_corpus, scenes_corpus
from tinyldm.data.folder import summary
from tinyldm.data.scenes import FRESH
from tinyldm.machine import choose_device
from tinyldm.training.run import Settings
from tinyldm.training.train_all import CPU, GPU, STAGES, Plan, require_trainable, train_all

MAX_SCENES = 10_000_000  # 120 GB of images
MAX_BATCH = 65_536


def positive_number(text: str) -> float:
    """An argparse type: a finite number above 0."""
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} given, expected a number above 0")
    return value


def add_train(parser: argparse.ArgumentParser) -> None:
    """The options of `train`. A default of None means: as in the plan."""
    parser.add_argument("stage", choices=(*STAGES, "all"), help="which part; all trains one after the other")
    parser.add_argument(
        "--plan", choices=("cpu", "gpu"), help="settings to start from (default: gpu with --device cuda, else cpu)"
    )
    parser.add_argument(
        "--data",
        default="scenes",
        metavar="WHAT",
        help='"scenes", "digits", or a folder of pictures with metadata.jsonl (default: scenes)',
    )
    parser.add_argument("--scenes", type=whole_number(1, MAX_SCENES), metavar="N", help="number of scenes to render")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/tiny"), metavar="FOLDER", help="folder of the run (default: %(default)s)"
    )
    parser.add_argument(
        "--model", type=Path, metavar="FOLDER", help="where to write the finished model (default: OUT/model)"
    )
    parser.add_argument("--steps", type=whole_number(1), metavar="N", help="end each stage after N steps")
    parser.add_argument("--minutes", type=positive_number, metavar="M", help="end each stage after M minutes")
    parser.add_argument("--batch", type=whole_number(1, MAX_BATCH), metavar="N", help="images a step")
    parser.add_argument("--lr", type=positive_number, metavar="RATE", help="peak learning rate")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 or mps (default: as in the plan)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="bfloat16: mixed precision")
    parser.add_argument(
        "--seed", type=whole_number(0, FRESH - 1), metavar="N", help="of data, weights and noise (default: 0)"
    )
    parser.add_argument(
        "--start-from",
        metavar="MODEL",
        help='train unet only: start from the weights of "tiny" or of a model folder trained here',
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", default=None, help="continue from the checkpoints in OUT")
    again.add_argument("--overwrite", action="store_true", default=None, help="replace the run that is in OUT")


def run_train(options: argparse.Namespace) -> None:
    """Train the parts of a model."""
    stages = STAGES if options.stage == "all" else (options.stage,)
    require_matching(options, stages)
    plan = plan_of(options)
    choose_device(plan.unet.device)
    folder = options.model or options.out / "model"
    require_trainable(plan, folder, stages)
    require_writable(options.out)
    corpus = load_corpus(options.data, plan)
    if plan.unet.device.startswith("cuda"):
        import torch

        torch.set_float32_matmul_precision("high")
    train_all(plan, corpus, folder, stages)
    print(f"done: see {options.out}")


def require_matching(options: argparse.Namespace, stages: tuple[str, ...]) -> None:
    """Raises ValueError for an option that another one makes pointless."""
    if options.start_from is not None and stages != ("unet",):
        raise ValueError(f"--start-from is for the U-Net alone, not for {', '.join(stages)}: tinyldm train unet")
    if options.scenes is not None and options.data != "scenes":
        raise ValueError(f"--scenes is for --data scenes, not for --data {options.data}")
    if options.data not in ("scenes", "digits") and not Path(options.data).is_dir():
        raise ValueError(
            f'--data is {options.data!r}; expected "scenes", "digits", or a folder of pictures with metadata.jsonl'
        )
    if options.model is not None and "unet" not in stages:
        raise ValueError(f"--model is for the finished model, which train unet and train all write, not {stages[0]}")


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan with what the command line says in place of its own settings."""
    plan = GPU if options.plan == "gpu" or (options.plan is None and str(options.device).startswith("cuda")) else CPU
    given = {field.name: getattr(options, field.name, None) for field in fields(Settings)}
    given["bf16"] = None if options.dtype is None else options.dtype == "bfloat16"
    given = {name: value for name, value in given.items() if value is not None}
    if "steps" in given and "minutes" not in given:  # the plan's minutes could end the training earlier
        given["minutes"] = None
    unet = {} if options.start_from is None else {"start_from": options.start_from}
    return Plan(
        options.scenes or plan.scenes,
        replace(plan.clip, **given),
        replace(plan.vae, **given),
        replace(plan.unet, **given, **unet),
    )


def require_writable(out: Path) -> None:
    """Make the folder of a run. Raises ValueError where nothing can be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".partial"
        probe.touch()
        probe.unlink()
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"cannot write to {out}: there is a file in place of one of its folders") from None
    except OSError as error:
        raise ValueError(f"cannot write to {out}: {error.strerror}") from None


def load_corpus(data: str, plan: Plan) -> Corpus:
    """ "scenes", "digits", or the path of a folder of pictures -> images and captions."""
    if data == "scenes":
        return scenes_corpus(plan.scenes, plan.clip.seed)
    if data == "digits":
        return digits_corpus()
    corpus, skipped = folder_corpus(data)
    if skipped:
        say(summary(skipped))
    return corpus
