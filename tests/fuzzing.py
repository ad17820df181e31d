"""Inputs that nobody should send: broken and hostile files of every kind that the package opens.

An input is made from its kind and a number, so that each can be made again. Reading it must end in one of two ways: it
is accepted, or a ValueError names the file; within ten seconds and a gigabyte.
"""

import collections
import contextlib
import copy
import functools
import io
import json
import random
import shutil
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from PIL import Image
from safetensors.torch import save
from torch import nn

from tinyldm import LatentDiffusion, UNetConfig, VAEConfig
from tinyldm.cli import main as cli
from tinyldm.data.metadata import captions_of
from tinyldm.data.pictures import open_picture
from tinyldm.formats.compvis_file import read_single_file, version_of
from tinyldm.training.checkpoints import load_checkpoint, save_checkpoint
from tinyldm.training.run import adamw, drop_lines_after, read_log

MAX_SECONDS, MAX_BYTES = 10.0, 2**30
ODD_VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 3, 7, 64, 77, 1000, 10**6, 10**9, 2**63, 10**30, -(10**30)),
    *(0.0, -0.0, 0.5, 1.5, 1e-300, 1e308, -1e308, float("nan"), float("inf"), float("-inf")),
    *("", "8", "nope", "gelu", "v_prediction", "../../etc/passwd", "\x00", "\udcff", "猫", "x" * 100_000),
    *([], [1], [1] * 9, [1] * 100_000, [[1]], [None], ["x"], {}, {"a": 1}, {"__class__": "os.system"}),
]
NESTED = "[" * 100_000


# One level each: an input costs as much time as there are layers to build.
UNET = UNetConfig(channels=(16,), blocks_per_level=1, transformer_depth=(1,), heads=(2,), context_dim=24, groups=8)
VAE = VAEConfig(channels=(8, 8), blocks_per_level=1, groups=4, scale=0.5)


@dataclass
class Places:
    """What the inputs are made from, and where they are written."""

    model: Path  # a small model folder, not to be changed
    room: Path  # to be filled and emptied

    def fresh(self) -> Path:
        """An empty folder."""
        shutil.rmtree(self.room / "x", ignore_errors=True)
        (self.room / "x").mkdir(parents=True)
        return self.room / "x"

    def copy(self) -> Path:
        """The model, to be spoiled."""
        shutil.rmtree(self.room / "x", ignore_errors=True)
        return Path(shutil.copytree(self.model, self.room / "x"))


# ── Changes ──────────────────────────────────────────────────────────────────────────────────────────


def changed_bytes(rng: random.Random, content: bytes) -> bytes:
    """One to five changes: cut off, flipped, filled, repeated, moved."""
    for _ in range(rng.randint(1, 5)):
        at = rng.randrange(len(content) + 1) if rng.random() < 0.5 else rng.randrange(min(len(content), 200) + 1)
        length = rng.choice((1, 1, 2, 4, 8, 64, 1000))
        content = rng.choice(
            (
                content[:at],
                content[:at] + rng.randbytes(length) + content[at + length :],
                content[:at] + rng.choice((b"\x00", b"\xff", b"9", b"{", b'"', b"[")) * length + content[at + length :],
                content[:at] + content[at + length :],
                content[:at] + content[at : at + length] * rng.choice((2, 3, 50)) + content[at + length :],
                content[:at] + rng.randbytes(8) + content[at:],
            )
        )
    return content


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from places_in(inner)


def changed_json(rng: random.Random, value: Any) -> Any:
    """One or two entries that are odd, missing, or new."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 2)):
        known = list(places_in(value))
        if len(known) > 500:  # a vocabulary: its entries are alike
            known = known[:20] + rng.sample(known, 20)
        container, key = rng.choice(known) if known else (value, "new")
        action = rng.random()
        if action < 0.15:
            del container[key]
        elif action < 0.25 and isinstance(container, dict):
            container[rng.choice(EXTRA_KEYS)] = copy.deepcopy(rng.choice(ODD_VALUES))
        else:
            old = container[key] if known else None
            near = [old * 2, old + 1, -old, old / 3, str(old), [old] * 3] if type(old) in (int, float) else []
            container[key] = copy.deepcopy(rng.choice(ODD_VALUES + 3 * near))
    return value


EXTRA_KEYS = (
    *("attn_implementation", "_attn_implementation", "torch_dtype", "quantization_config", "num_attention_heads"),
    *("addition_embed_type", "projection_class_embeddings_input_dim", "use_karras_sigmas", "trained_betas"),
    *("rescale_betas_zero_snr", "sample_size", "scaling_factor", "dropout", "auto_map", "controlnet", "text_encoder_2"),
    *("model_max_length", "pad_token", "added_tokens_decoder", "tokenizer_class", "weight_map", "model_type", ""),
)


# ── Kinds of input ───────────────────────────────────────────────────────────────────────────────────

Read = Callable[[], object]
Kind = Callable[
    [random.Random, Places], tuple[Read, Path]
]  # a way to read an input, and the file or folder to be named


def drawn(folder: Path) -> None:
    """Open a model; one that opens must also draw, in at most 256 pixels: more would test the processor."""
    model = LatentDiffusion.from_pretrained(folder)
    height, width = model.image_size
    model.generate(["a red circle"], steps=1, size=(min(height, 256), min(width, 256)))


def configurations(rng: random.Random, places: Places) -> tuple[Read, Path]:
    """A model folder with an odd value in one of its JSON files."""
    folder = places.copy()
    file = folder / rng.choice(sorted(str(one.relative_to(places.model)) for one in places.model.rglob("*.json")))
    if file.parent.name not in ("unet", "vae", "text_encoder", "scheduler", "tinyldm_image_encoder", "tokenizer"):
        file = folder / "model_index.json"
    value = changed_json(rng, json.loads(file.read_text(encoding="utf-8")))
    text = json.dumps(value) if rng.random() < 0.98 else NESTED
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    return lambda: drawn(folder), folder


def folder_bytes(rng: random.Random, places: Places) -> tuple[Read, Path]:
    """A model folder with one file that is damaged."""
    folder = places.copy()
    parts = ("unet", "vae", "text_encoder", "scheduler", "tinyldm_image_encoder", "tokenizer")
    files = [folder / "model_index.json", *(file for part in parts for file in sorted((folder / part).iterdir()))]
    file = rng.choice(files)
    file.write_bytes(changed_bytes(rng, file.read_bytes()))
    return lambda: drawn(folder), folder


def pickles(rng: random.Random, places: Places) -> tuple[Read, Path]:
    """A .ckpt that is damaged, or made to take memory or to run something."""
    file = places.fresh() / "x.ckpt"
    kind = rng.randrange(6)
    buffer = io.BytesIO()
    if kind < 3:
        old = rng.random() < 0.3
        torch.save(rng.choice(STATES)(rng), buffer, _use_new_zipfile_serialization=not old)
        content = changed_bytes(rng, buffer.getvalue()) if kind else buffer.getvalue()
    elif kind == 3:
        content = pickled(rng)
    elif kind == 4:
        torch.save({"a": torch.zeros(2 ** rng.randint(10, 20))}, buffer)
        content = repacked(buffer.getvalue(), zipfile.ZIP_DEFLATED)
    else:
        torch.save({"a": torch.ones(3)}, buffer)
        content = repacked(buffer.getvalue(), zipfile.ZIP_STORED, pickled(rng))
    file.write_bytes(content)
    return lambda: version_of(read_single_file(file), str(file)), file


STATES: list[Callable[[random.Random], Any]] = [
    lambda rng: {"a": torch.ones(2, 3), "b": {"c": [1, 2]}},
    lambda rng: {"state_dict": {"a": torch.ones(2, 3, 1, 1)}, "epoch": 3},
    lambda rng: {"a": torch.zeros(1).expand(2 ** rng.randint(0, 40), 2, 2, 2)},
    lambda rng: {"a": torch.zeros(4).as_strided((2 ** rng.randint(0, 30), 2, 2, 2), (0, 1, 1, 1))},
    lambda rng: {rng.choice((3, None, (1,), b"a")): torch.ones(1)},
    lambda rng: {"a": torch.ones(2, 2).to_sparse(), "b": torch.ones(2, device="meta")},
    lambda rng: {"a": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)},
    lambda rng: [torch.ones(1)] * 3,
    lambda rng: {"model.diffusion_model.input_blocks.0.0.weight": torch.ones(rng.choice(((), (3,), (2, 4, 3, 3))))},
    lambda rng: {f"{prefix}{i}": torch.ones(2) for i in range(9) for prefix in ("model.diffusion_model.", "lora_")},
    lambda rng: {str(i): torch.ones(1) for i in range(rng.choice((10,) * 40 + (20_001,)))},
]


def pickled(rng: random.Random) -> bytes:
    """A pickle out of random operations, some of which mean something."""
    globals_ = [b"builtins\nbytearray\n", b"torch\nUntypedStorage\n", b"torch\nFloatStorage\n", b"os\nsystem\n"]
    globals_ += [
        b"collections\nOrderedDict\n",
        b"torch._utils\n_rebuild_tensor_v2\n",
        b"torch\nSize\n",
        b"torch\nTensor\n",
    ]
    globals_ += [b"torch._utils\n_rebuild_sparse_tensor\n", b"_codecs\nencode\n", b"builtins\nset\n", b"numpy\narray\n"]
    content = b"\x80\x02"
    for _ in range(rng.randint(1, 40)):
        content += rng.choice(
            (
                b"c" + rng.choice(globals_),
                *(b"(", b")", b"]", b"}", b"\x85", b"\x86", b"R", b"b", b"Q", b"a", b"e", b"s", b"u", b"2", b"0", b"N"),
                b"J" + rng.choice((b"\xff\xff\xff\x7f", b"\x05\x00\x00\x00")),
                b"X" + rng.choice((b"\x03\x00\x00\x00abc", b"\xff\xff\xff\xffabc")),
                b"q" + rng.randbytes(1),
                b"h" + rng.randbytes(1),
            )
        )
    return content + b"."


def repacked(archive: bytes, compression: int, table: bytes | None = None) -> bytes:
    """An archive of `torch.save` with its parts compressed, or with another table of contents."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, table if table is not None and name.endswith(".pkl") else old.read(name))
    return buffer.getvalue()


def checkpoints(rng: random.Random, places: Places) -> tuple[Read, Path]:
    """A training checkpoint with odd facts, odd keys, odd tensors, or damage."""
    file = places.fresh() / "x.checkpoint.safetensors"
    model = nn.Linear(3, 2)
    optimizer = adamw(model.parameters(), 1e-3)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    facts = {"step": 5, "seconds": 1.5, "images": 4, "settings": {"lr": 0.1, "seed": 0}}
    save_checkpoint(file, {"m": model}, {"o": optimizer}, facts)
    kind = rng.randrange(3)
    if kind == 0:
        file.write_bytes(changed_bytes(rng, file.read_bytes()))
    else:
        tensors = {f"m/{key}": value for key, value in model.state_dict().items()}
        tensors |= {
            f"o/{i}/{key}": value for i, one in optimizer.state_dict()["state"].items() for key, value in one.items()
        }
        if kind == 1:
            tensors = changed_tensors(rng, tensors)
        said = json.dumps(changed_json(rng, facts)) if kind == 2 else json.dumps(facts)
        file.write_bytes(
            save(tensors, {"facts": rng.choice((said, said, said, NESTED, "", "3"))} if kind == 2 else {"facts": said})
        )

    def read() -> None:
        found = load_checkpoint(file, {"m": model}, {"o": optimizer})
        found["step"] + found["seconds"]
        optimizer.step()

    return read, file


def changed_tensors(rng: random.Random, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A tensor that is missing, renamed, of another shape or kind, or not finite."""
    key = rng.choice(sorted(tensors))
    value = tensors.pop(key)
    other = rng.choice(
        ("", "o", "o/", "o/x/y", "o/-1/step", "o/9/step", "o/²/step", "o/0/x", "m/", "m/z", key + "/", None)
    )
    if other is not None and rng.random() < 0.5:
        return tensors | {other: value}
    odd = rng.choice(
        (
            None,
            value.double(),
            value.half(),
            value.to(torch.int64),
            value[..., None],
            torch.zeros(0),
            value * float("nan"),
        )
    )
    return tensors if odd is None else tensors | {key: odd.contiguous()}


def logs(rng: random.Random, places: Places) -> tuple[Read, Path]:
    """The log of a run, damaged."""
    file = places.fresh() / "x.log.jsonl"
    lines = [json.dumps({"step": 20 * i, "seconds": 0.5 * i, "loss": 1 / i}) for i in range(1, 9)]
    file.write_bytes(changed_bytes(rng, ("\n".join(lines) + "\n").encode()))

    def read() -> None:
        drop_lines_after(file, rng.choice((0, 50, 10**9)))
        assert all(isinstance(line["step"], int) for line in read_log(file))

    return read, file


def captions(rng: random.Random, places: Places) -> tuple[Read, Path]:
    """A list of captions that is damaged."""
    folder = places.fresh()
    file = folder / rng.choice(("metadata.jsonl", "metadata.csv"))
    rows = [
        {"file_name": f"{i}.png", "text": text} for i, text in enumerate(("a cat", "ein Hund, groß", "猫\u2028", '"'))
    ]
    if file.suffix == ".jsonl":
        rows = [changed_json(rng, row) if rng.random() < 0.5 else row for row in rows]
        text = "\n".join(json.dumps(row) for row in rows)
    else:
        text = "file_name,text\n" + "\n".join(f'{row["file_name"]},"{row["text"]}"' for row in rows)
    encoding = rng.choice(("utf-8", "utf-8", "utf-16", "utf-32", "utf-16-le", "cp1252"))
    content = text.encode(encoding, "replace")
    file.write_bytes(changed_bytes(rng, content) if rng.random() < 0.7 else content)
    return lambda: captions_of(folder), folder


def photographs(rng: random.Random, places: Places) -> tuple[Read, Path]:
    """A picture file that is damaged, or no picture."""
    form = rng.choice(
        ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM", "TGA", "ICO", "EPS", "PCX", "SGI", "JPEG2000")
    )
    mode = rng.choice(("RGB", "L", "RGBA", "P", "CMYK", "1", "I", "F", "I;16", "LA"))
    image = Image.new("RGB", (24, 16), (200, 30, 40)).convert("L" if mode in ("I;16", "LA", "F") else mode)
    buffer = io.BytesIO()
    try:
        image.convert(mode).save(buffer, form)
    except (OSError, ValueError, KeyError):
        Image.new("RGB", (24, 16)).save(buffer, form)
    file = places.fresh() / "x.png"
    file.write_bytes(changed_bytes(rng, buffer.getvalue()) if rng.random() < 0.9 else buffer.getvalue())
    return lambda: open_picture(file), file


COMMANDS = functools.cache(cli.commands)  # looking for other packages' takes longer than all else
OPTIONS = {
    "generate": (
        "--size",
        "--steps",
        "-n",
        "--seed",
        "--index",
        "--guidance",
        "--dtype",
        "--sampler",
        "--spacing",
        "--lora",
    ),
    "inpaint": ("--box", "--mask", "--size"),
    "img2img": ("--strength", "--image-context"),
    "train": ("--scenes", "--steps", "--minutes", "--batch", "--lr", "--seed", "--device", "--dtype", "--plan"),
    "evaluate": ("--captions", "--seed", "--steps", "--training-images", "--sampler"),
    "trace": ("--steps", "--guidance", "--sd-version"),
    "info": ("--device",),
}
TEXTS = ("", "0", "-1", "1", "7", "1e400", "nan", "inf", "9" * 5000, str(2**70), "0x10", "٣", "1_000", "64x64", "9x9x9")
TEXTS += (
    "1,2,3,4",
    "0,0,9,9",
    "cuda:99",
    "foo",
    "float32",
    "\x00",
    "\udce9",
    "x" * 4000,
    "½",
    "1.5",
    " 3 ",
    "--",
    "-0",
)


def command_lines(rng: random.Random, places: Places) -> tuple[Read, Path]:
    """A command with odd values, read by its parser: an exit code of 2, or options."""
    name = rng.choice(sorted(OPTIONS))
    arguments = [name, *({"train": ["clip"], "generate": ["x"], "trace": ["x"]}.get(name, []))]
    arguments += ["photo.png", "x"] if name in ("inpaint", "img2img") else []
    for option in rng.sample(OPTIONS[name], rng.randint(1, len(OPTIONS[name]))):
        arguments += [option, rng.choice(TEXTS)]

    def read() -> None:
        try:
            with contextlib.redirect_stderr(io.StringIO()), mock.patch.object(cli, "commands", COMMANDS):
                cli.parser_for(arguments).parse_args(arguments)
        except SystemExit as stop:
            if stop.code == 2:
                raise ValueError(f"{places.room} was not even looked at") from None
            raise

    return read, places.room


KINDS: dict[str, Kind] = {
    "configurations": configurations,
    "files of a model, damaged": folder_bytes,
    ".ckpt": pickles,
    "checkpoints of training": checkpoints,
    "logs": logs,
    "lists of captions": captions,
    "pictures": photographs,
    "command lines": command_lines,
}


# ── Trying ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Tally:
    """What came of the inputs of one kind."""

    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)  # another class than ValueError, or one that does not name the file
    slow: list[str] = field(default_factory=list)
    large: list[str] = field(default_factory=list)
    seconds: float = 0.0  # of processor time, the longest
    bytes: int = 0  # of memory, the most that one input added

    def add(self, other: "Tally") -> None:
        """Count other inputs of the kind too."""
        for name in ("inputs", "accepted", "refused", "wrong", "slow", "large"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.seconds, self.bytes = max(self.seconds, other.seconds), max(self.bytes, other.bytes)

    def found(self) -> list[str]:
        """Everything that should not have been."""
        return [*self.wrong, *self.slow, *self.large]


def tried(kind: str, number: int, places: Places, tally: Tally) -> None:
    """Make input `number` of a kind, read it, and note what came of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read, file = KINDS[kind](random.Random(f"{kind} {number}"), places)
        what, before, start = f"{kind} {number}", memory(reset=True), time.process_time()
        try:
            read()
            tally.accepted += 1
        except ValueError as error:
            tally.refused += 1
            ours = type(error) is ValueError or type(error).__module__.startswith("tinyldm.")
            if not ours or str(file) not in str(error):
                tally.wrong.append(f"{what}: {type(error).__name__}, or not the file's name: {str(error)[:200]}")
        except BaseException as error:  # noqa: BLE001  that is what is looked for
            if isinstance(error, KeyboardInterrupt):
                raise
            tally.wrong.append(f"{what}: {type(error).__name__}: {str(error)[:200]}")
    seconds, added = time.process_time() - start, memory() - before
    tally.inputs += 1
    tally.seconds, tally.bytes = max(tally.seconds, seconds), max(tally.bytes, added)
    if seconds > MAX_SECONDS:
        tally.slow.append(f"{what}: {seconds:.0f} s")
    if added > MAX_BYTES:
        tally.large.append(f"{what}: {added / 2**20:,.0f} MiB")


def memory(reset: bool = False) -> int:
    """The most memory that this process has held since the last reset, in bytes; 0 where Linux's /proc is not there."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def fuzz(counts: dict[str, int], places: Places) -> dict[str, Tally]:
    """Try so many inputs of each kind."""
    tallies: dict[str, Tally] = collections.defaultdict(Tally)
    for kind, count in counts.items():
        for number in range(count):
            tried(kind, number, places, tallies[kind])
    return dict(tallies)
