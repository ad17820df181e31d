"""The command `tinyldm`: generate, img2img, inpaint, train, evaluate, trace, info, and what other packages bring.

Only here do names become functions, and only here is anything printed. A user's mistake is one line on
stderr and exit code 2; Ctrl-C is one line and 130; a traceback means a bug in this package.

What takes long to import is imported inside the command that needs it, and only the command that was asked
for gets its options: so `tinyldm --help` and a mistyped option answer as soon as Python can.
"""

import argparse
import json
import math
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from tinyldm.latent_diffusion import LatentDiffusion

SAMPLERS = {"ddim": "ddim", "ddpm": "ddpm", "euler": "euler", "dpm": "dpm_solver_pp"}  # name here -> function
SPACINGS = ("trailing", "leading", "linspace")
DTYPES = ("float32", "float16", "bfloat16")
AT_ONCE = 2**20  # pixels that are drawn in one batch: 256 pictures of 64×64, 4 of 512×512, 1 of 1024×1024


# ── Running ──────────────────────────────────────────────────────────────────────────────────────────


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code. None takes the command line of the process."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = parser_for(arguments)
    options = parser.parse_args(arguments)
    if "run" not in options:
        parser.print_help()
        return 2
    with short_warnings():
        try:
            options.run(options)
        except (Exception, KeyboardInterrupt) as error:
            explanation = explained(error)
            if explanation is None:
                raise
            message, code = explanation
            say(message)
            return code
    return 0


def explained(error: BaseException) -> tuple[str, int] | None:
    """What to tell the user about an error, and the exit code; None for what only a bug can cause."""
    from tinyldm.training.run import Stopped, is_out_of_memory

    if isinstance(error, Stopped):
        return str(error), 130
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", 130
    if isinstance(error, MemoryError) and str(error):  # training says itself what to lower
        return str(error), 2
    if isinstance(error, MemoryError) or is_out_of_memory(error):
        return "out of memory; lower -n, --size or --batch, or take --dtype float16 (on a GPU) or bfloat16", 2
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return f"the U-Net could not be compiled ({str(error).partition(chr(10))[0]}); leave --compile away", 2
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}", 2
    if isinstance(error, (OSError, FloatingPointError)) or isinstance(error, ValueError) and raised_here(error):
        return str(error), 2
    return None


def raised_here(error: BaseException) -> bool:
    """Was the error raised by this package? Its ValueErrors are written for users; those of torch mean a bug."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    module = trace.tb_frame.f_globals.get("__name__", "")
    return module.split(".")[0] in ("tinyldm", "tinyldm_course")


def say(message: str) -> None:
    """One line on stderr, however long and broken the message is."""
    line = " ".join(message.split())
    print(f"tinyldm: {line if len(line) <= 600 else line[:600] + ' …'}", file=sys.stderr)


@contextmanager
def short_warnings() -> Iterator[None]:
    """Warnings as one line each, without the file and line that they come from."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)  # each of them once
        usual = warnings.showwarning

        def show(message, category, filename, lineno, file=None, line=None) -> None:
            if issubclass(category, UserWarning):
                say(f"warning: {message}")
            else:
                usual(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield


# ── The parser ───────────────────────────────────────────────────────────────────────────────────────


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that says what is wrong in one line."""

    def error(self, message: str) -> None:
        """Exit with code 2."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def parser_for(arguments: list[str]) -> Parser:
    """The parser of all commands, of which only the one that is asked for has its options."""
    parser = Parser(
        prog="tinyldm",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Latent diffusion models: draw, train and measure them.",
        epilog='Start with:  tinyldm generate "a small red circle above a large blue square"',
    )
    parser.add_argument("--version", action=ShowVersion, help="show the version and exit")
    found = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, command in commands().items():
        one = found.add_parser(
            name,
            help=command.help,
            description=command.help[0].upper() + command.help[1:] + ".",
            allow_abbrev=False,
            epilog="examples:\n" + "\n".join(f"  {example}" for example in command.examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if arguments[:1] == [name]:
            command.add_options(one)
            one.set_defaults(run=command.run)
    return parser


class ShowVersion(argparse.Action):
    """`--version`, which imports the package only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, **keywords):
        super().__init__(option_strings, dest=argparse.SUPPRESS, nargs=0, **keywords)

    def __call__(self, parser, *_) -> None:
        """Print the version and exit."""
        from tinyldm import __version__

        print(f"tinyldm {__version__}")
        parser.exit()


def whole_number(least: int, most: float = math.inf) -> Callable[[str], int]:
    """An argparse type: a whole number in a range."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if not least <= value <= most:
            beyond = f"at least {least}" if most == math.inf else f"{least} … {most}"
            raise argparse.ArgumentTypeError(f"{value} given, expected {beyond}")
        return value

    return parse


def number(text: str) -> float:
    """An argparse type: a number that is finite."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} given, expected a finite number")
    return value


def share(text: str) -> float:
    """An argparse type: above 0 and at most 1."""
    value = number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} given, expected above 0 and at most 1")
    return value


def size(text: str) -> tuple[int, int]:
    """An argparse type: "512x768" is 512 pixels high and 768 wide."""
    match = re.fullmatch(r"(\d{1,5})[x×](\d{1,5})", text)
    if not match or not all(0 < int(side) <= 4096 for side in match.groups()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; expected HEIGHTxWIDTH up to 4096, such as 64x64")
    return int(match[1]), int(match[2])


def box(text: str) -> tuple[int, int, int, int]:
    """An argparse type: "10,20,40,50" is left, top, right, bottom."""
    match = re.fullmatch(r"(\d+),(\d+),(\d+),(\d+)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a box; expected LEFT,TOP,RIGHT,BOTTOM, such as 10,20,40,50")
    return tuple(map(int, match.groups()))


# ── Options of the three commands that draw ──────────────────────────────────────────────────────────


def add_drawing(parser: Parser, out: str) -> None:
    """What generate, img2img and inpaint have in common."""
    parser.add_argument("caption", help='what to draw; "" for anything')
    parser.add_argument(
        "-n", type=whole_number(1, 1000), default=4, metavar="N", help="how many pictures (default: %(default)s)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(out),
        metavar="FILE",
        help="where to write, .png or .jpg (default: %(default)s)",
    )
    parser.add_argument(
        "--plain", action="store_true", help="write the bare pixels, side by side: not enlarged, no caption, no margins"
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0, 2**63 - 1),
        default=0,
        metavar="N",
        help="another seed, other pictures (default: %(default)s)",
    )
    add_sampling(parser)
    parser.add_argument("--spacing", choices=SPACINGS, help="which timesteps are visited (default: the model's own)")
    parser.add_argument("--negative", metavar="CAPTION", help="what to steer away from")
    parser.add_argument(
        "--image-context",
        type=Path,
        metavar="FILE",
        help="a picture to be read beside the caption, by models with an image encoder",
    )
    parser.add_argument(
        "--size", type=size, metavar="HxW", help="height and width in pixels (default: the model's own)"
    )
    add_model(parser)
    parser.add_argument("--variant", help='read the files with this in their name, such as "fp16"')
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of the networks (default: %(default)s)")
    parser.add_argument(
        "--compile", action="store_true", help="compile the U-Net first: a minute more, then faster steps on a GPU"
    )


def add_sampling(parser: Parser) -> None:
    """How to get from noise to a picture."""
    parser.add_argument(
        "--steps", type=whole_number(1), default=25, metavar="N", help="calls of the U-Net (default: %(default)s)"
    )
    parser.add_argument(
        "--guidance",
        type=number,
        default=3.0,
        metavar="W",
        help="how strictly to follow the caption; 1 is no guidance (default: %(default)s; Stable "
        "Diffusion is mostly run at 7.5)",
    )
    parser.add_argument("--sampler", choices=tuple(SAMPLERS), default="ddim", help="(default: %(default)s)")


def add_model(parser: Parser) -> None:
    """Which model, and where it runs."""
    parser.add_argument(
        "--model",
        default="tiny",
        metavar="FOLDER",
        help='"tiny", which is shipped; a folder in the diffusers layout; or "owner/name" on the '
        "Hugging Face hub (default: %(default)s)",
    )
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 or mps (default: the best there is)")


def add_generate(parser: Parser) -> None:
    """The options of `generate`."""
    add_drawing(parser, "grid.png")


def add_img2img(parser: Parser) -> None:
    """The options of `img2img`."""
    parser.add_argument("image", type=Path, help="a picture file; its middle is cut out and resized")
    add_drawing(parser, "img2img.png")
    parser.add_argument(
        "--strength",
        type=share,
        default=0.6,
        metavar="S",
        help="how much may change: near 0 nothing, 1 nearly everything (default: %(default)s)",
    )


def add_inpaint(parser: Parser) -> None:
    """The options of `inpaint`."""
    parser.add_argument("image", type=Path, help="a picture file; its middle is cut out and resized")
    add_drawing(parser, "inpaint.png")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--mask", type=Path, metavar="FILE", help="a picture of the same size, white where to paint")
    where.add_argument("--box", type=box, metavar="LEFT,TOP,RIGHT,BOTTOM", help="where to paint, pixels of the picture")


# ── generate, img2img, inpaint ───────────────────────────────────────────────────────────────────────


def run_generate(options: argparse.Namespace) -> None:
    """Captions -> a grid of pictures."""
    check_before_loading(options)
    model = open_model(options)
    shape = options.size or model.image_size
    images = drawn(
        model,
        options,
        shape,
        options.steps,
        lambda captions, **arguments: model.generate(captions, size=shape, **arguments),
    )
    write_pictures(images, options, shape)


def run_img2img(options: argparse.Namespace) -> None:
    """A picture and a caption -> variations of the picture."""
    from tinyldm.data import pictures

    check_before_loading(options)
    original = pictures.open_picture(options.image)
    model = open_model(options)
    shape = options.size or model.image_size
    image = pictures.fitted(original, shape)
    images = drawn(
        model,
        options,
        shape,
        max(int(options.steps * options.strength), 1),
        lambda captions, **arguments: model.img2img(
            image.expand(len(captions), -1, -1, -1), captions, strength=options.strength, **arguments
        ),
    )
    write_pictures(images, options, shape, image)


def run_inpaint(options: argparse.Namespace) -> None:
    """A picture, a mask and a caption -> the picture, repainted where the mask says."""
    from tinyldm.data import pictures

    check_before_loading(options)
    original = pictures.open_picture(options.image)
    mask = pictures.open_mask(options.mask) if options.mask else pictures.mask_from_box(options.box, original)
    pictures.fitted_mask(mask, original, options.size or (64, 64))  # a mistake in it is told at once
    model = open_model(options)
    shape = options.size or model.image_size
    image, where = pictures.fitted(original, shape), pictures.fitted_mask(mask, original, shape)
    images = drawn(
        model,
        options,
        shape,
        options.steps,
        lambda captions, **arguments: model.inpaint(
            image.expand(len(captions), -1, -1, -1), where, captions, **arguments
        ),
    )
    write_pictures(images, options, shape, image * (1 - where) + 0.5 * where)


def check_before_loading(options: argparse.Namespace) -> None:
    """What can be wrong is told before a model is loaded, which takes seconds."""
    from tinyldm import machine
    from tinyldm.data import pictures

    pictures.require_place(options.out, pictures.SUFFIXES)
    machine.choose_device(options.device)
    if options.image_context is not None:
        pictures.open_picture(options.image_context)


def warn_of_unknown_words(model: str, text: str) -> None:
    """Name the words that the shipped model never saw. Of other models it is not known what they saw."""
    from tinyldm.data.captions import unknown_words
    from tinyldm.data.world import COLOURS, SHAPES

    strange = unknown_words(text)
    if model == "tiny" and strange:
        say(
            f"warning: tiny never saw {', '.join(map(repr, strange))}; it draws one or two of {', '.join(SHAPES)} in "
            f"{', '.join(COLOURS)}"
        )


def open_model(options: argparse.Namespace) -> "LatentDiffusion":
    """Load the model that the options name, ready to draw."""
    import torch

    from tinyldm import LatentDiffusion, machine, reverse_diffusion

    warn_of_unknown_words(options.model, f"{options.caption} {options.negative or ''}")
    if sys.stderr.isatty():
        say(f"loading {options.model} …")
    model = LatentDiffusion.from_pretrained(
        options.model,
        device=machine.choose_device(options.device),
        dtype=getattr(torch, options.dtype),
        variant=options.variant,
    )
    if options.spacing is not None:
        model.spacing = getattr(reverse_diffusion, options.spacing)
    if options.compile:
        model.unet.compile()
    return model


def drawn(
    model: "LatentDiffusion",
    options: argparse.Namespace,
    shape: tuple[int, int],
    steps: int,
    draw: Callable[..., "Tensor"],
) -> "Tensor":
    """Draw all the pictures behind a progress bar, at most AT_ONCE pixels in a batch: (N, 3, H, W) in [0, 1].

    Args:
        shape: (height, width); steps: how often the U-Net will be called for a batch.
        draw: a method of the model, as a function of the captions and the arguments that all of them have.
    """
    import torch
    from tqdm import tqdm

    from tinyldm import reverse_diffusion

    most = max(1, AT_ONCE // (shape[0] * shape[1]))
    counts = [min(most, options.n - first) for first in range(0, options.n, most)]
    generator = torch.Generator().manual_seed(options.seed)
    context = read_context(model, options)
    batches = []
    # The delay keeps a bar away from the message of a mistake that shows at once.
    with tqdm(total=steps * len(counts), desc="drawing", unit="step", delay=0.2) as bar:

        def tick(*_) -> None:
            bar.update()

        for count in counts:
            batches.append(
                draw(
                    [options.caption] * count,
                    steps=options.steps,
                    guidance_scale=options.guidance,
                    generator=generator,
                    sampler=getattr(reverse_diffusion, SAMPLERS[options.sampler]),
                    callback=tick,
                    negative=None if options.negative is None else [options.negative] * count,
                    image_context=None if context is None else context.expand(count, -1, -1),
                ).cpu()
            )
    images = torch.cat(batches)
    if not images.isfinite().all():
        cure = "--dtype float32" if options.dtype != "float32" else f"less than --guidance {options.guidance:g}"
        raise ValueError(f"the numbers ran out of range and there is no picture; try {cure}")
    return images


def read_context(model: "LatentDiffusion", options: argparse.Namespace) -> "Tensor | None":
    """The context (1, N, D) of the picture that --image-context names, or None."""
    from tinyldm.data import pictures

    if options.image_context is None:
        return None
    return model.encode_image(pictures.fitted(pictures.open_picture(options.image_context), model.image_size))


def write_pictures(
    images: "Tensor", options: argparse.Namespace, shape: tuple[int, int], original: "Tensor | None" = None
) -> None:
    """Write a page with the pictures, the original first where there is one, and say so."""
    import torch

    from tinyldm import __version__
    from tinyldm.data import pictures

    facts = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in vars(options).items()
        if name not in ("run", "out", "plain") and value is not None
    }
    facts |= {"size": list(shape), "tinyldm": __version__, "torch": torch.__version__}
    if options.plain:
        page = pictures.tiles(images, enlarge=False, gap=0)
    else:
        shown = images if original is None else torch.cat([original, images])
        note = (
            f"{Path(options.model).resolve().name} · seed {options.seed} · {options.steps} steps of "
            f"{options.sampler} · guidance {options.guidance:g}"
        )
        page = pictures.captioned(pictures.tiles(shown), options.caption, note)
    pictures.save_picture(page, options.out, facts)
    print(
        f"wrote {options.out}: {options.n} {'picture' if options.n == 1 else 'pictures'} of {shape[0]}×{shape[1]}, "
        f"seed {options.seed}"
    )


# ── train ────────────────────────────────────────────────────────────────────────────────────────────


def add_train(parser: Parser) -> None:
    """The options of `train`."""
    from tinyldm.cli import train

    train.add_train(parser)


def run_train(options: argparse.Namespace) -> None:
    """Train the parts of a model."""
    from tinyldm.cli import train

    train.run_train(options)


# ── evaluate ─────────────────────────────────────────────────────────────────────────────────────────


def add_evaluate(parser: Parser) -> None:
    """The options of `evaluate`."""
    add_model(parser)
    parser.add_argument(
        "--captions",
        type=whole_number(8),
        default=1000,
        metavar="N",
        help="fresh captions to draw; more, narrower intervals (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0, 10**6 - 1),
        default=0,
        metavar="N",
        help="of the captions and the noise (default: %(default)s)",
    )
    add_sampling(parser)
    parser.add_argument(
        "--training-images",
        type=whole_number(1),
        default=30_000,
        metavar="N",
        help="among which copies are looked for (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers here")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw bars and sample pictures here")


def run_evaluate(options: argparse.Namespace) -> None:
    """Measure a model; print the numbers, and write them where asked."""
    from tinyldm import machine, reverse_diffusion
    from tinyldm.data import pictures
    from tinyldm.evaluation import report
    from tinyldm.evaluation.measure import EvaluationSettings, evaluate
    from tinyldm.formats.files import write_bytes

    if options.json is not None:
        pictures.require_place(options.json, (".json",))
    if options.figure is not None:
        pictures.require_place(options.figure, (*pictures.SUFFIXES, ".pdf", ".svg"))
    settings = EvaluationSettings(
        captions=options.captions,
        seed=options.seed,
        steps=options.steps,
        guidance_scale=options.guidance,
        sampler=getattr(reverse_diffusion, SAMPLERS[options.sampler]),
        training_images=options.training_images,
    )
    found, gallery = evaluate(options.model, settings, machine.choose_device(options.device))
    if options.json is not None:
        write_bytes(options.json, json.dumps(found, indent=2, ensure_ascii=False).encode())
    if options.figure is not None:
        report.save_figure(found, gallery, options.figure)
    print("\n".join(report.in_words(found)))


# ── trace ────────────────────────────────────────────────────────────────────────────────────────────


def add_trace(parser: Parser) -> None:
    """The options of `trace`."""
    parser.add_argument("caption", help='what to draw; "" for anything')
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page to unfold, with each line's code, here")
    parser.add_argument(
        "--all", action="store_true", help="show the insides of every block, not only of the first of each kind"
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0, 2**63 - 1),
        default=0,
        metavar="N",
        help="of the picture on the page (default: %(default)s)",
    )
    add_sampling(parser)
    add_model(parser)


def run_trace(options: argparse.Namespace) -> None:
    """Every tensor from a caption to its picture, beside Stable Diffusion's."""
    from tinyldm import LatentDiffusion, machine, reverse_diffusion, trace
    from tinyldm.data import pictures
    from tinyldm.formats.files import write_bytes

    if options.html is not None:
        pictures.require_place(options.html, (".html", ".htm"))
    device = machine.choose_device(options.device)
    warn_of_unknown_words(options.model, options.caption)
    model = LatentDiffusion.from_pretrained(options.model, device=device)
    pairs, images = trace.beside_stable_diffusion(
        model,
        options.caption,
        steps=options.steps,
        guidance_scale=options.guidance,
        seed=options.seed,
        sampler=getattr(reverse_diffusion, SAMPLERS[options.sampler]),
    )
    name = Path(options.model).resolve().name
    print(trace.table(pairs, name, options.all))
    if options.html is not None:
        write_bytes(options.html, trace.page(pairs, options.caption, images[0], name).encode())
        print(f"wrote {options.html}: {sum(1 for _ in trace.every(pairs)):,} tensors")


# ── info ─────────────────────────────────────────────────────────────────────────────────────────────


def add_info(parser: Parser) -> None:
    """The options of `info`."""
    add_model(parser)


def run_info(options: argparse.Namespace) -> None:
    """What is installed, where it would run, and how large everything is."""
    from tinyldm import machine
    from tinyldm.latent_diffusion import WEIGHTS

    device = machine.choose_device(options.device)
    print("versions   " + ", ".join(f"{name} {version}" for name, version in machine.versions().items()))
    print("machine    " + ", ".join(f"{name} {value}" for name, value in machine.hardware(device).items()))
    print()
    print_table()
    print()
    if options.model == "tiny" and not (WEIGHTS / "tiny").is_dir():
        print("no trained weights came with this copy; make your own with:  tinyldm train all")
    else:
        print_files(options.model)


def print_table() -> None:
    """The two sizes of everything."""
    from tinyldm import versions
    from tinyldm.evaluation import sizes

    columns = [versions.TINY, versions.SD1]
    shapes = []
    for version in columns:
        side, latent = version.image_size, version.image_size // version.vae.factor
        text = version.text[0]
        shapes.append(
            (
                f"3×{side}×{side}",
                f"{version.vae.latent_channels}×{latent}×{latent}",
                f"{text['max_position_embeddings']}×{text['hidden_size']}",
            )
        )
    parts = [sizes.of_version(version) for version in columns]
    print(f"{'in float32':<16}{'tiny':>26}{'Stable Diffusion 1':>26}")
    for name, (left, right) in zip(("image", "latent", "context"), zip(*shapes)):
        print(f"{name:<16}{left:>26}{right:>26}")
    for name in dict.fromkeys(name for part in parts for name in part):
        left, right = (str(part.get(name, "none")) for part in parts)
        print(f"{name:<16}{left:>26}{right:>26}")


def print_files(model: str) -> None:
    """The parts of one model as they are on disk."""
    from tinyldm.evaluation import sizes

    found = sizes.of_folder(model)
    total = sizes.Size(sum(part.parameters for part in found.values()), sum(part.bytes for part in found.values()))
    print(f"{model} on disk")
    for name, part in (found | {"all": total}).items():
        print(f"{name:<16}{str(part):>26}")


# ── The commands ─────────────────────────────────────────────────────────────────────────────────────


class Command(NamedTuple):
    """One command of the program."""

    help: str
    examples: tuple[str, ...]
    add_options: Callable[[Parser], None]
    run: Callable[[Any], None]


COMMANDS = {
    "generate": Command(
        "draw pictures for a caption",
        (
            'tinyldm generate "a small red circle above a large blue square"',
            'tinyldm generate "a large yellow star on a black background" -n 8 --seed 3 --out stars.png',
            'tinyldm generate "a green ring" --negative "a white background" --sampler dpm --steps 15',
            'tinyldm generate "" --image-context circle.png',
            'tinyldm generate "a photo of an astronaut" --model FOLDER --device cuda --dtype float16 --guidance 7.5',
        ),
        add_generate,
        run_generate,
    ),
    "img2img": Command(
        "change a picture under a caption",
        (
            'tinyldm generate "a red circle" -n 1 --plain --out circle.png',
            'tinyldm img2img circle.png "a blue square" --strength 0.8',
            'tinyldm img2img photo.jpg "an oil painting" --model FOLDER --size 512x768 --guidance 7.5',
        ),
        add_img2img,
        run_img2img,
    ),
    "inpaint": Command(
        "repaint a part of a picture",
        (
            'tinyldm inpaint circle.png "a red circle above a yellow star" --box 0,32,64,64',
            'tinyldm inpaint photo.jpg "a cat on a bench" --mask mask.png --model FOLDER --guidance 7.5',
        ),
        add_inpaint,
        run_inpaint,
    ),
    "train": Command(
        "train CLIP, the VAE, the U-Net, or all three",
        (
            "tinyldm train all --minutes 30 --out runs/mine",
            "tinyldm train all --minutes 30 --out runs/mine --resume",
            "tinyldm train unet --start-from tiny --data FOLDER --minutes 20 --out runs/pictures",
            'tinyldm generate "a red circle" --model runs/mine/model',
        ),
        add_train,
        run_train,
    ),
    "evaluate": Command(
        "measure how good a model is",
        (
            "tinyldm evaluate",
            "tinyldm evaluate --model runs/mine/model --captions 200 --json mine.json --figure mine.png",
        ),
        add_evaluate,
        run_evaluate,
    ),
    "trace": Command(
        "show every tensor from a caption to its picture, beside Stable Diffusion's",
        (
            'tinyldm trace "a small red circle above a large blue square"',
            'tinyldm trace "a green ring" --all --html trace.html',
        ),
        add_trace,
        run_trace,
    ),
    "info": Command(
        "show versions, the device, and the sizes of the parts",
        ("tinyldm info", "tinyldm info --model FOLDER"),
        add_info,
        run_info,
    ),
}


if __name__ == "__main__":
    sys.exit(main())


def commands() -> dict[str, Command]:
    """The commands of this package, and those that other packages bring, such as the course's.

    An installed package brings commands by an entry point of the group "tinyldm.commands": a dict of `Command`s.
    """
    found = dict(COMMANDS)
    for entry in metadata.entry_points(group="tinyldm.commands"):
        found |= entry.load()
    return found
