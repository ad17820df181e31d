"""The options of all commands, and the argparse types that read them. Nothing here needs PyTorch."""

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path

from tinyldm.cli.command import Parser

SAMPLERS = {  # name here -> function in tinyldm
    "ddim": "ddim",
    "ddpm": "ddpm",
    "euler": "euler",
    "euler-a": "euler_ancestral",
    "dpm": "dpm_solver_pp",
    "pndm": "pndm",
    "lcm": "lcm",
}
SD_VERSIONS = {"1": "SD1", "2": "SD2", "2-v": "SD2_V", "xl": "SDXL"}  # name here -> constant in tinyldm.versions
SINGLE_FILES = (".safetensors", ".ckpt")
SPACINGS = ("trailing", "leading", "linspace")
DTYPES = ("float32", "float16", "bfloat16")
STAGES = ("clip", "vae", "unet")
MODEL_SIZES = ("tiny", "sd1")
DEFAULT_COUNT = 4  # pictures
DEFAULT_STEPS = 25  # of sampling
# Of `generate` with the model `tiny`: the cheapest whose accuracy is within a point of the best (benchmarks/steps.py).
QUICK_SAMPLER, QUICK_STEPS = "dpm", 10
DEFAULT_GUIDANCE = 3.0
MAX_TRAINING_SEED = 999_999  # scenes of larger seeds are kept for measuring
MAX_SCENES = 10_000_000  # 120 GB of images
MAX_CAPTIONS = 100_000
MAX_BATCH = 65_536


# ── Types ────────────────────────────────────────────────────────────────────────────────────────────


def whole_number(minimum: int, maximum: float = math.inf) -> Callable[[str], int]:
    """An argparse type: a whole number in a range."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r:.40} is not a whole number") from None
        if not minimum <= value <= maximum:
            expected = f"at least {minimum}" if maximum == math.inf else f"{minimum} … {maximum}"
            raise argparse.ArgumentTypeError(f"{value} given, expected {expected}")
        return value

    return parse


def finite_number(text: str) -> float:
    """An argparse type: a number that is neither infinite nor NaN."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r:.40} is not a number") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} given, expected a finite number")
    return value


def positive_number(text: str) -> float:
    """An argparse type: a finite number above 0."""
    value = finite_number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} given, expected a number above 0")
    return value


def fraction(text: str) -> float:
    """An argparse type: a number above 0 and at most 1."""
    value = finite_number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} given, expected a number above 0 and at most 1")
    return value


def size(text: str) -> tuple[int, int]:
    """An argparse type: "512x768" is 512 pixels high and 768 wide."""
    match = re.fullmatch(r"(\d{1,5})[x×](\d{1,5})", text)
    if not match or not all(0 < int(side) <= 4096 for side in match.groups()):
        raise argparse.ArgumentTypeError(f"{text!r:.40} is not a size; expected HEIGHTxWIDTH up to 4096, such as 64x64")
    return int(match[1]), int(match[2])


def box(text: str) -> tuple[int, int, int, int]:
    """An argparse type: "10,20,40,50" is left, top, right, bottom."""
    match = re.fullmatch(r"(\d{1,6}),(\d{1,6}),(\d{1,6}),(\d{1,6})", text)
    if not match:
        raise argparse.ArgumentTypeError(
            f"{text!r:.40} is not a box; expected LEFT,TOP,RIGHT,BOTTOM, such as 10,20,40,50"
        )
    left, top, right, bottom = map(int, match.groups())
    return left, top, right, bottom


def caption(text: str) -> str:
    """An argparse type: text that is valid Unicode. Python passes undecodable bytes through as surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(
            f"{text!r:.80} is not valid UTF-8; expected text in the encoding of this terminal"
        ) from None
    return text


def weighted(text: str) -> str:
    """An argparse type: a file, perhaps with a colon and a weight: "style.safetensors:0.8"."""
    split_weight(text)
    return text


def split_weight(text: str) -> tuple[str, float]:
    """The file and the weight of "style.safetensors:0.8"; the weight is 1 where none is given."""
    file, colon, weight = text.rpartition(":")
    if not colon or not re.fullmatch(r"[-+.\d]+(e[-+]?\d+)?|nan|[-+]?inf(inity)?", weight, re.IGNORECASE):
        return text, 1.0  # a colon may be part of a path, as in C:\styles
    value = finite_number(weight)
    if not file or abs(value) > 100:
        raise argparse.ArgumentTypeError(f"{text!r:.60} given, expected FILE or FILE:WEIGHT, such as style:0.8")
    return file, value


# ── Groups of options that several commands have ─────────────────────────────────────────────────────


def add_model(parser: Parser) -> None:
    """Which model, and where it runs."""
    parser.add_argument(
        "--model",
        default="tiny",
        metavar="MODEL",
        help='"tiny", which comes with the package; "pictures", where its weights came too; a folder in the diffusers '
        'layout; a single file; or "owner/name" on the Hugging Face hub (default: %(default)s)',
    )
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 or mps (default: the best available)")


def add_single_file(parser: Parser) -> None:
    """Extra options for a single-file model, with the names of the original code."""
    group = parser.add_argument_group("for a --model that is one file, .safetensors or .ckpt")
    group.add_argument(
        "--tokenizer",
        type=Path,
        metavar="FOLDER",
        help="folder with CLIP's tokenizer, which a single file lacks; that of any version works",
    )
    group.add_argument("--ema", action="store_true", help="use the moving average of the U-Net's weights, if present")
    group.add_argument(
        "--sd-version",
        choices=tuple(SD_VERSIONS),
        help="version of the model; required for Stable Diffusion 2 (2 predicts the noise, 2-v the velocity)",
    )


def add_beyond(parser: Parser) -> None:
    """What is put beside the model: LoRAs, learnt words, a ControlNet."""
    group = parser.add_argument_group("to teach or steer the model, with files made for this kind of model")
    group.add_argument(
        "--lora",
        type=weighted,
        action="append",
        metavar="FILE[:WEIGHT]",
        help="a LoRA of diffusers, peft or kohya's scripts, such as style.safetensors:0.8; may be given several times",
    )
    group.add_argument(
        "--embedding",
        type=Path,
        action="append",
        metavar="FILE",
        help="a word learnt by textual inversion, for use in the caption; may be given several times",
    )
    group.add_argument(
        "--controlnet",
        type=weighted,
        metavar="FOLDER[:WEIGHT]",
        help="a ControlNet in the diffusers layout, which follows --control",
    )
    group.add_argument(
        "--control", type=Path, metavar="FILE", help="the picture for --controlnet, such as edges in white on black"
    )


def add_sampling(parser: Parser, sampler: str | None, steps: int | None = DEFAULT_STEPS, note: str = "") -> None:
    """How to get from noise to a picture.

    Args: sampler: the default; None is the model's own. steps: the default; None is found out later, as `note` says.
    """
    default = f"{DEFAULT_STEPS}{note}"
    parser.add_argument(
        "--steps", type=whole_number(1), default=steps, metavar="N", help=f"sampling steps (default: {default})"
    )
    parser.add_argument(
        "--guidance",
        type=finite_number,
        default=DEFAULT_GUIDANCE,
        metavar="W",
        help="how closely to follow the caption; 1 means no guidance (default: %(default)s; 7.5 is usual for Stable "
        "Diffusion)",
    )
    default = "the model's own" if sampler is None else sampler
    parser.add_argument(
        "--sampler", choices=tuple(SAMPLERS), default=sampler, help=f"the sampling method (default: {default})"
    )


def add_seed(parser: Parser, of: str, maximum: int = 2**63 - 1) -> None:
    """`--seed`, the seed `of` something."""
    parser.add_argument(
        "--seed", type=whole_number(0, maximum), default=0, metavar="N", help=f"seed of {of} (default: %(default)s)"
    )


def add_pictures(parser: Parser, out: str, steps_note: str = "") -> None:
    """What generate, img2img and inpaint have in common.  steps_note: when the default of --steps is another one."""
    parser.add_argument("caption", type=caption, help='what the picture shows; "" for anything')
    parser.add_argument(
        "-n",
        type=whole_number(1, 1000),
        metavar="N",
        help=f"number of pictures (default: {DEFAULT_COUNT}, or 1 with --index)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path(out), metavar="FILE", help="file to write, .png or .jpg (default: %(default)s)"
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help="write only the pictures, side by side: not enlarged, no caption, no margins",
    )
    add_seed(parser, "the random numbers")
    parser.add_argument(
        "--index",
        type=whole_number(0, 10**6),
        metavar="K",
        help="generate only picture K of this seed, counted from 0; with -n N, pictures K to K + N - 1",
    )
    add_sampling(parser, None, None, steps_note)
    parser.add_argument(
        "--four-steps",
        action="store_true",
        help='with the U-Net of "tiny" that was distilled to 4 steps, guidance built in: a twelfth of the calls of 25 '
        "guided steps, and somewhat more mistakes",
    )
    parser.add_argument("--spacing", choices=SPACINGS, help="which timesteps to visit (default: the model's own)")
    parser.add_argument("--negative", type=caption, metavar="CAPTION", help="what to steer away from")
    parser.add_argument(
        "--image-context",
        type=Path,
        metavar="FILE",
        help="a picture to read along with the caption, for models with an image encoder",
    )
    parser.add_argument(
        "--style",
        type=caption,
        metavar="WORD|FILE",
        help='a style: a word that models of drawings know, such as "flat" (docs/drawings.md lists them); or a picture '
        "in that style, for models with an image encoder",
    )
    parser.add_argument(
        "--size", type=size, metavar="HxW", help="height and width in pixels (default: the model's own)"
    )
    add_model(parser)
    add_single_file(parser)
    add_beyond(parser)
    parser.add_argument("--variant", help='load the weight files of this variant, such as "fp16"')
    parser.add_argument(
        "--dtype", choices=DTYPES, default="float32", help="number format of the networks (default: %(default)s)"
    )
    parser.add_argument(
        "--compile", action="store_true", help="compile the U-Net first: takes a minute, then steps are faster on a GPU"
    )


# ── The options of each command ──────────────────────────────────────────────────────────────────────


def add_generate(parser: Parser) -> None:
    """The options of `generate`."""
    quick = f"; without --sampler, {QUICK_STEPS} of {QUICK_SAMPLER} for the model tiny"
    add_pictures(parser, "grid.png", quick)


def add_img2img(parser: Parser) -> None:
    """The options of `img2img`."""
    parser.add_argument("image", type=Path, help="a picture file; it is cropped around its centre and resized")
    add_pictures(parser, "img2img.png")
    parser.add_argument(
        "--strength",
        type=fraction,
        default=0.6,
        metavar="S",
        help="how much may change, from 0 (almost nothing) to 1 (almost everything) (default: %(default)s)",
    )


def add_inpaint(parser: Parser) -> None:
    """The options of `inpaint`."""
    parser.add_argument("image", type=Path, help="a picture file; it is cropped around its centre and resized")
    add_pictures(parser, "inpaint.png")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--mask", type=Path, metavar="FILE", help="a picture of the same size, white where it is to be repainted"
    )
    where.add_argument(
        "--box", type=box, metavar="LEFT,TOP,RIGHT,BOTTOM", help="the part to repaint, in pixels of the picture"
    )
    parser.add_argument(
        "--raw",
        action="store_true",
        help="do not paste the original over the part to keep, which the VAE has changed a little",
    )


def add_train(parser: Parser) -> None:
    """The options of `train`. A default of None means: as in the plan."""
    parser.add_argument(
        "stage", choices=(*STAGES, "all"), help="the part to train; 'all' trains clip, vae and unet in turn"
    )
    parser.add_argument(
        "--plan", choices=("cpu", "gpu"), help="settings to start from (default: gpu with --device cuda, else cpu)"
    )
    parser.add_argument(
        "--data",
        default="scenes",
        metavar="WHAT",
        help='"scenes", "digits", "drawings", a folder of pictures with metadata.jsonl, or .tar or .parquet files, '
        'such as "shards/*.tar" (default: scenes)',
    )
    parser.add_argument(
        "--on-disk",
        action="store_true",
        help="read a folder of pictures into memory-mapped files in OUT instead of memory, as .tar and .parquet files "
        "always are",
    )
    parser.add_argument("--scenes", type=whole_number(1, MAX_SCENES), metavar="N", help="number of scenes to render")
    parser.add_argument(
        "--names",
        metavar="FILE",
        help='with --data drawings: train the U-Net only on the things that this file names, one a line; "everyday" is '
        "a list of a hundred common ones (default: all 1,165, and the portraits)",
    )
    parser.add_argument(
        "--style-pictures",
        action="store_true",
        help="with --data drawings: train an image encoder along, so that a picture can show the style",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/tiny"), metavar="FOLDER", help="folder of the run (default: %(default)s)"
    )
    parser.add_argument(
        "--model", type=Path, metavar="FOLDER", help="where to write the finished model (default: OUT/model)"
    )
    parser.add_argument("--steps", type=whole_number(1), metavar="N", help="end each stage after N steps")
    parser.add_argument("--minutes", type=positive_number, metavar="M", help="end each stage after M minutes")
    parser.add_argument("--batch", type=whole_number(1, MAX_BATCH), metavar="N", help="images per step")
    parser.add_argument("--lr", type=positive_number, metavar="RATE", help="peak learning rate")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 or mps (default: as in the plan)")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), help="number format; bfloat16 means mixed precision"
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0, MAX_TRAINING_SEED),
        metavar="N",
        help="seed of data, weights and noise (default: 0)",
    )
    parser.add_argument(
        "--start-from",
        metavar="MODEL",
        help='train unet only: start from the weights of "tiny" or of a model folder trained here',
    )
    add_scale(parser)
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", default=None, help="continue from the checkpoints in OUT")
    again.add_argument("--overwrite", action="store_true", default=None, help="replace the run that is in OUT")


def add_scale(parser: Parser) -> None:
    """The options of `train` for large U-Nets and large machines; docs/scaling.md explains them."""
    group = parser.add_argument_group("for large U-Nets (docs/scaling.md)")
    group.add_argument(
        "--model-size",
        choices=MODEL_SIZES,
        default="tiny",
        help="of the U-Net; sd1: Stable Diffusion 1's (default: tiny)",
    )
    group.add_argument(
        "--parts-from",
        metavar="FOLDER",
        help="a model folder: train a U-Net from nothing, with the VAE and the text encoder in it",
    )
    group.add_argument(
        "--accumulate",
        type=whole_number(1, MAX_BATCH),
        metavar="N",
        help="compute each batch in N pieces, one after the other: less memory, the same gradients",
    )
    group.add_argument(
        "--recompute",
        action="store_true",
        default=None,
        help="activation checkpointing: compute activations twice instead of keeping them",
    )
    group.add_argument("--compile", action="store_true", default=None, help="compile the U-Net first: takes a minute")
    group.add_argument(
        "--ema-on-cpu", action="store_true", default=None, help="keep the moving average in the CPU's memory"
    )
    group.add_argument(
        "--estimate", action="store_true", help="print what such a training takes, memory and hours, and do not train"
    )
    group.add_argument("--gpus", type=whole_number(1, 10**6), metavar="N", help="for --estimate (default: 8)")
    group.add_argument(
        "--gpu-tflops",
        type=positive_number,
        metavar="X",
        help="for --estimate: peak of one GPU (default: an A100's 312)",
    )
    group.add_argument(
        "--gpu-memory", type=positive_number, metavar="GB", help="for --estimate: memory of one GPU (default: 80)"
    )
    group.add_argument(
        "--utilisation",
        type=fraction,
        metavar="U",
        help="for --estimate: share of the peak that is reached (default: 0.4)",
    )


def add_evaluate(parser: Parser) -> None:
    """The options of `evaluate`."""
    add_model(parser)
    parser.add_argument(
        "--captions",
        type=whole_number(8, MAX_CAPTIONS),
        default=1000,
        metavar="N",
        help="number of new captions to generate pictures for; more give narrower intervals (default: %(default)s)",
    )
    parser.add_argument(
        "--judge",
        type=Path,
        metavar="FOLDER",
        help="for models of drawings: the judge that tinyldm.evaluation.train_drawing_judge wrote",
    )
    add_seed(parser, "the captions and the noise", 10**6 - 1)
    add_sampling(parser, "ddim")
    parser.add_argument(
        "--training-images",
        type=whole_number(1, MAX_SCENES),
        default=30_000,
        metavar="N",
        help="number of training images to search for copies (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results to this file")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="plot the results, with sample pictures, here")


def add_trace(parser: Parser) -> None:
    """The options of `trace`."""
    parser.add_argument("caption", type=caption, help='what the picture shows; "" for anything')
    parser.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="also write a web page that unfolds and links each tensor to its line of code",
    )
    parser.add_argument("--all", action="store_true", help="show the inside of every block, not just one of each kind")
    add_seed(parser, "the random numbers")
    add_sampling(parser, "ddim")
    add_model(parser)
    add_single_file(parser)


def add_export_web(parser: Parser) -> None:
    """The options of `export-web`."""
    parser.add_argument("model", metavar="FOLDER", help='a model folder, or "tiny", the one that the package ships')
    parser.add_argument(
        "--out", type=Path, default=Path("site"), metavar="FOLDER", help="where to write (default: site)"
    )
    parser.add_argument(
        "--serve",
        type=whole_number(0, 65535),
        nargs="?",
        const=8000,
        metavar="PORT",
        help="then serve it to this machine until Ctrl-C (port 8000)",
    )
    parser.add_argument("--name", help="what the page calls the model (default: the name of its folder)")
    parser.add_argument(
        "--course", metavar="URL", help="address of the course's site, seen from the page, so that the page links to it"
    )
    parser.add_argument(
        "--no-snapshots", dest="snapshots", action="store_false", help="leave out the U-Nets of earlier in the training"
    )


def add_info(parser: Parser) -> None:
    """The options of `info`."""
    add_model(parser)
