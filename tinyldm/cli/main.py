"""The command `tinyldm`: generate, img2img, inpaint, train, evaluate, trace, export-web, info, and other packages' own.

Names are resolved to functions only here, and only commands print. A user's mistake is one line on stderr and exit
code 2; Ctrl-C is one line and 130; a traceback means a bug in this package.

Only what the given command needs is imported, and only that command gets its options: so `tinyldm --help` and a
mistyped option answer at once.
"""

import argparse
import sys
import traceback
from collections.abc import Sequence
from importlib import metadata

from tinyldm import threads
from tinyldm.cli import options as add
from tinyldm.cli.command import Command, Parser, imported_later
from tinyldm.cli.output import (
    accept_any_character,
    flush_stderr,
    flush_stdout,
    one_line_warnings,
    reader_is_gone,
    to_stderr,
)

COMMANDS = {
    "generate": Command(
        "generate pictures for a caption",
        (
            'tinyldm generate "a small red circle above a large blue square"',
            'tinyldm generate "a large yellow star on a black background" -n 8 --seed 3 --out stars.png',
            'tinyldm generate "a large yellow star on a black background" --seed 3 --index 5 --out star.png',
            'tinyldm generate "a green ring" --negative "a white background" --sampler dpm --steps 15',
            'tinyldm generate "" --image-context circle.png',
            'tinyldm generate "a photo of an astronaut" --model FOLDER --device cuda --dtype float16 --guidance 7.5',
            'tinyldm generate "a <cat>" --model FOLDER --lora style.safetensors:0.8 --embedding cat.safetensors',
            'tinyldm generate "a house" --model FOLDER --controlnet CONTROLNET_FOLDER --control edges.png',
        ),
        add.add_generate,
        imported_later("tinyldm.cli.generate", "generate"),
    ),
    "img2img": Command(
        "change a picture to fit a caption",
        (
            'tinyldm generate "a red circle" -n 1 --plain --out circle.png',
            'tinyldm img2img circle.png "a blue square" --strength 0.8',
            'tinyldm img2img photo.jpg "an oil painting" --model FOLDER --size 512x768 --guidance 7.5',
        ),
        add.add_img2img,
        imported_later("tinyldm.cli.generate", "img2img"),
    ),
    "inpaint": Command(
        "repaint part of a picture",
        (
            'tinyldm inpaint circle.png "a red circle above a yellow star" --box 0,32,64,64',
            'tinyldm inpaint photo.jpg "a cat on a bench" --mask mask.png --model FOLDER --guidance 7.5',
        ),
        add.add_inpaint,
        imported_later("tinyldm.cli.generate", "inpaint"),
    ),
    "train": Command(
        "train CLIP, the VAE, the U-Net, or all three",
        (
            "tinyldm train all --minutes 30 --out runs/mine",
            "tinyldm train all --minutes 30 --out runs/mine --resume",
            "tinyldm train unet --start-from tiny --data FOLDER --minutes 20 --out runs/pictures",
            'tinyldm generate "a red circle" --model runs/mine/model',
        ),
        add.add_train,
        imported_later("tinyldm.cli.train", "run"),
    ),
    "evaluate": Command(
        "measure how good a model is",
        (
            "tinyldm evaluate",
            "tinyldm evaluate --model runs/mine/model --captions 200 --json mine.json --figure mine.png",
        ),
        add.add_evaluate,
        imported_later("tinyldm.cli.evaluate", "run"),
    ),
    "trace": Command(
        "show every tensor from a caption to its picture, beside Stable Diffusion's",
        (
            'tinyldm trace "a small red circle above a large blue square"',
            'tinyldm trace "a green ring" --all --html trace.html',
        ),
        add.add_trace,
        imported_later("tinyldm.cli.trace", "run"),
    ),
    "export-web": Command(
        "write a web page in which a model draws inside the browser",
        ("tinyldm export-web tiny --out site --serve", "tinyldm export-web runs/mine/model --out site"),
        add.add_export_web,
        imported_later("tinyldm.cli.export_web", "run"),
    ),
    "info": Command(
        "show versions, the device, and the sizes of the parts",
        ("tinyldm info", "tinyldm info --model FOLDER"),
        add.add_info,
        imported_later("tinyldm.cli.info", "run"),
    ),
}


def commands() -> dict[str, Command]:
    """The commands of this package, and those that other packages bring, such as the course's.

    An installed package brings commands by an entry point of the group "tinyldm.commands": a dict of `Command`s. One
    that cannot be loaded causes a warning, and nothing else.
    """
    found = dict(COMMANDS)
    for entry in metadata.entry_points(group="tinyldm.commands"):
        try:
            brought = entry.load()
            found |= {str(name): Command(*command) for name, command in brought.items() if name not in COMMANDS}
        except Exception as error:  # noqa: BLE001  another package's code may raise anything
            reason = traceback.format_exception_only(error)[-1].strip()
            to_stderr(f"warning: the commands of {entry.name} ({entry.value}) cannot be loaded: {reason}")
    return found


# ── Running ──────────────────────────────────────────────────────────────────────────────────────────


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code. None means `sys.argv`."""
    accept_any_character()
    if "torch" not in sys.modules:  # a caller that has imported it has set its own threads
        threads.prepare()
    with one_line_warnings():
        try:
            run(sys.argv[1:] if arguments is None else list(arguments))
            flush_stdout()
        except SystemExit as stop:  # argparse has printed its message: --help, --version, a mistyped option
            return 0 if stop.code is None else int(stop.code)
        except (Exception, KeyboardInterrupt) as error:
            return report(error)
        finally:
            flush_stderr()
    return 0


def run(arguments: list[str]) -> None:
    """Read the command line and run the command. Raises SystemExit where there is nothing to run."""
    parser = parser_for(arguments)
    try:
        options = parser.parse_args(arguments)
        if "run" not in options:
            parser.print_help()
            raise SystemExit(2)
    except SystemExit:
        flush_stdout()
        raise
    options.run(options)


def report(error: BaseException) -> int:
    """Tell the user about an error, and return the exit code. Errors that can only be bugs are raised again."""
    if isinstance(error, BrokenPipeError) and (reader_is_gone() or not flush_stdout()):
        return 0  # the reader has seen enough
    explanation = explain(error)
    if explanation is None:
        raise error
    message, code = explanation
    to_stderr(message)
    return code


def explain(error: BaseException) -> tuple[str, int] | None:
    """What to tell the user about an error, and the exit code; None for what only a bug can cause."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", 130
    if isinstance(error, MemoryError) and str(error):  # training's own message says what to lower
        return str(error), 2
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror, 2
    if isinstance(error, OSError) or isinstance(error, FloatingPointError):
        return str(error) or type(error).__name__, 2
    if isinstance(error, ValueError) and raised_here(error):
        return str(error), 2
    return explain_pytorch(error)


def explain_pytorch(error: BaseException) -> tuple[str, int] | None:
    """As `explain`, for errors of PyTorch and of training. Without PyTorch there are none, and it is not imported."""
    if "torch" not in sys.modules:
        return ("out of memory", 2) if isinstance(error, MemoryError) else None
    from tinyldm.training.run import Stopped, is_out_of_memory

    if isinstance(error, Stopped):
        return str(error), 130
    if isinstance(error, MemoryError) or is_out_of_memory(error):
        return "out of memory; lower -n, --size or --batch, or use --dtype float16 (on a GPU) or bfloat16", 2
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        first_line = str(error).partition("\n")[0]
        return f"the U-Net could not be compiled ({first_line}); leave out --compile", 2
    return None


def raised_here(error: BaseException) -> bool:
    """Was the error raised by this package? Its ValueErrors are written for users; those of torch mean a bug."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    return module.split(".")[0] in ("tinyldm", "tinyldm_course")


# ── The parser ───────────────────────────────────────────────────────────────────────────────────────


def parser_for(arguments: list[str]) -> Parser:
    """The parser of all commands; only the given command gets its options."""
    parser = Parser(
        prog="tinyldm",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Latent diffusion models: generate pictures, train models, measure them.",
        epilog='To begin:  tinyldm generate "a small red circle above a large blue square"',
    )
    parser.add_argument("--version", action=ShowVersion, help="show the version and exit")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, command in commands().items():
        subparser = subparsers.add_parser(
            name,
            help=command.help,
            description=command.help[0].upper() + command.help[1:] + ".",
            allow_abbrev=False,
            epilog="examples:\n" + "\n".join(f"  {example}" for example in command.examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if arguments[:1] == [name]:
            command.add_options(subparser)
            subparser.set_defaults(run=command.run)
    return parser


class ShowVersion(argparse.Action):
    """`--version`."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None):
        super().__init__(option_strings, dest=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser, *_) -> None:
        """Print the version and exit."""
        from tinyldm import __version__

        print(f"tinyldm {__version__}")
        parser.exit()
