"""What the program writes is taken by every terminal, pipe, disk and file: no message and no picture is lost to it."""

import errno
import io
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from PIL import Image
from small_folder import save_small_folder

from tinyldm.cli import generate, output, pages
from tinyldm.cli import main as cli


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return str(save_small_folder(tmp_path_factory.mktemp("output") / "model"))


def shell(*arguments, **options) -> subprocess.CompletedProcess:
    """The program in a process of its own."""
    return subprocess.run([sys.executable, "-m", "tinyldm", *arguments], capture_output=True, timeout=300, **options)


class Terminal:
    """Standard streams of some encoding, as Python opens them where it is not UTF-8."""

    def __init__(self, monkeypatch, encoding: str):
        self.encoding = encoding
        self.bytes = {"stdout": io.BytesIO(), "stderr": io.BytesIO()}
        for name, errors in (("stdout", "strict"), ("stderr", "backslashreplace")):
            monkeypatch.setattr(sys, name, io.TextIOWrapper(self.bytes[name], encoding, errors, write_through=True))

    def shows(self, name: str) -> str:
        return self.bytes[name].getvalue().decode(self.encoding)


# ── Encodings ────────────────────────────────────────────────────────────────────────────────────────

ENCODINGS = ["cp1252", "cp1251", "cp437", "cp850", "cp932", "cp936", "cp949", "cp950", "cp874", "koi8-r", "ascii"]
ENCODINGS += ["latin-1", "shift_jis", "euc_jp", "mac_roman", "utf-8", "utf-16"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_text_in_the_encodings_of_other_systems(monkeypatch, encoding):
    """Every character that the program writes, and some that a user may bring, on both streams."""
    terminal = Terminal(monkeypatch, encoding)
    output.accept_any_character()
    print("64×64 … 1 ─── §  ·  → 猫 é ü ж ก \udce9")
    output.to_stderr("warning: tiny has never seen 'é', '猫', 'ж', 'ก' …")
    assert terminal.shows("stdout").startswith(("64×64 ", "64x64 ")) and r"\xe9" in terminal.shows("stdout")
    assert "tiny has never seen" in terminal.shows("stderr") and "\\u" not in terminal.shows("stderr")


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "cp932", "cp874", "ascii"])
@pytest.mark.parametrize("command", ["generate", "info", "trace"])
def test_commands_in_other_encodings(folder, tmp_path, monkeypatch, encoding, command):
    """Handed over as failing; where a character is lacking there is another one."""
    caption = {
        "generate": ["a 猫 circle", "-n", "1", "--out", str(tmp_path / "g.png")],
        "trace": ["a circle"],
        "info": [],
    }
    steps = [] if command == "info" else ["--steps", "2"]
    terminal = Terminal(monkeypatch, encoding)
    assert cli.main([command, *caption[command], *steps, "--model", folder, "--device", "cpu"]) == 0
    shown = terminal.shows("stdout")
    assert {"generate": "1 picture of 64", "info": "Stable Diffusion 1", "trace": "-" * 40}[command] in shown.replace(
        "─", "-"
    )
    assert "Traceback" not in terminal.shows("stderr")


def test_a_process_of_another_encoding():
    environment = os.environ | {"PYTHONUTF8": "0", "PYTHONIOENCODING": "cp437"}
    done = shell("trace", "--steps", "0", env=environment)  # 1 … is not in cp437
    assert done.returncode == 2 and b"expected at least 1" in done.stderr
    done = shell("generate", "-n", "0", "x", env=environment)
    assert done.returncode == 2 and b"expected 1 ... 1000" in done.stderr


@pytest.mark.parametrize("errors", ["surrogateescape", "xmlcharrefreplace", "ignore"])
def test_another_way_with_lacking_characters_is_kept(monkeypatch, errors):
    stream = io.TextIOWrapper(io.BytesIO(), "ascii", errors)
    monkeypatch.setattr(sys, "stdout", stream)
    output.accept_any_character()
    assert stream.errors == errors


def test_no_streams_at_all(monkeypatch):
    """As `pythonw` on Windows starts a program, and a shell with `>&-`."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert cli.main(["--version"]) == 0 and cli.main(["generate"]) == 2


def test_a_message_is_one_line_without_control_characters(capsys):
    output.to_stderr("two\nlines\tand \x1b[31mred\r \udce9" + "x" * 5000)
    said = capsys.readouterr().err
    assert said.startswith("tinyldm: two lines and �[31mred �") and len(said) < 700 and said.count("\n") == 1


# ── Bytes that are not UTF-8 ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "arguments", [["a \udce9 circle"], ["x", "--negative", "\udcff"], ["\ud800 lone half of a pair"]]
)
@pytest.mark.parametrize("command", [["generate"], ["img2img", "photo.png"]], ids=lambda command: command[0])
def test_a_caption_that_is_not_utf8_is_refused(capsys, command, arguments):
    assert cli.main([*command, *arguments]) == 2
    said = capsys.readouterr().err
    assert "is not valid UTF-8" in said and len(said.splitlines()) == 1


def test_a_traced_caption_that_is_not_utf8_is_refused(capsys):
    assert cli.main(["trace", "a caf\udce9 circle"]) == 2
    assert "is not valid UTF-8" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are Unicode there")
def test_file_names_that_are_not_utf8(folder, tmp_path, capfd):
    """A picture of such a name is read and written, and named in the metadata."""
    name = os.fsdecode(b"\xe9.png")
    common = ["-n", "1", "--steps", "2", "--model", folder, "--device", "cpu"]
    assert cli.main(["generate", "a ring", "--plain", "--out", str(tmp_path / name), *common]) == 0
    assert (tmp_path / name).is_file()
    for out in ("b.png", "b.jpg"):
        assert cli.main(["img2img", str(tmp_path / name), "a ring", "--out", str(tmp_path / out), *common]) == 0
    metadata = json.loads(Image.open(tmp_path / "b.png").text["tinyldm"])
    assert metadata["image"].endswith(r"\xe9.png")
    assert json.loads(Image.open(tmp_path / "b.jpg").info["comment"]) == metadata
    assert cli.main(["img2img", str(tmp_path / os.fsdecode(b"\xff.png")), "x"]) == 2
    assert "does not exist" in capfd.readouterr().err


def test_a_model_folder_whose_name_is_not_utf8(tmp_path):
    arguments = ["generate", "x", "--model", os.fsdecode(b"mod\xe8le"), "--out", str(tmp_path / "x.png")]
    options = cli.parser_for(arguments).parse_args(arguments)
    generate.check_before_loading(options)
    options.sampler = "ddim"
    assert generate.note(options).startswith(r"mod\xe8le · ")
    assert generate.metadata(options, (64, 64))["model"] == r"mod\xe8le"


# ── Streams and disks that take no more ──────────────────────────────────────────────────────────────


def piped(command: str, where: str, unbuffered: bool) -> subprocess.CompletedProcess:
    """The program in a shell; its output goes `where`."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1" if unbuffered else ""}
    program = f"{sys.executable} -m tinyldm {command} {where}"
    return subprocess.run(["bash", "-c", program], capture_output=True, text=True, env=environment)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such shell")
@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("command", ["--help", "--version", "train --help", "info"])
def test_a_reader_who_goes_early(command, unbuffered):
    """`tinyldm info | head -1`: no traceback, no complaint."""
    done = piped(command, "| true; echo ${PIPESTATUS[0]}", unbuffered)
    assert done.stdout == "0\n" and not done.stderr, done


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(
    "command, unbuffered", [("--help", False), ("--version", False), ("info", False), ("info", True)]
)
def test_a_full_disk_behind_stdout(command, unbuffered):
    done = piped(command, ">/dev/full", unbuffered)
    assert done.returncode == 2 and done.stderr == "tinyldm: No space left on device\n", done


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_behind_stderr():
    assert piped("generate --nonsense", "2>/dev/full", False).returncode == 2


# ── Metadata ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize(
    "caption", ["", "a ring", "猫 é ж \x01 \n \t", "x" * 70_000, "猫" * 40_000, "a ring " * 20_000]
)
def test_captions_of_any_length_are_in_the_file(tmp_path, caption, suffix):
    file = tmp_path / f"x{suffix}"
    metadata = {"seed": 7, "caption": caption, "negative": "a star"}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        pages.save(Image.new("RGB", (8, 8)), file, metadata)
    image = Image.open(file)
    written = json.loads(image.text["tinyldm"] if suffix == ".png" else image.info["comment"])
    is_cut = suffix == ".jpg" and len(caption.encode()) > 65_000
    assert written["seed"] == 7 and written["negative"] == "a star"
    assert written["caption"] == (written["caption"][:-1] + "…" if is_cut else caption)
    assert caption.startswith(written["caption"][:-1]) and len(written["caption"]) >= min(len(caption), 10_000)
    assert bool(said) == is_cut


def test_a_long_caption_costs_no_time_on_the_page():
    """A word of 100,000 characters took minutes to be broken into lines."""
    for caption in ("x" * 100_000, "word " * 20_000, "\u0301" * 100_000):
        page = pages.captioned(Image.new("RGB", (300, 200)), caption, "note")
        assert page.width == 324 and page.height < 600


def test_a_full_disk_leaves_nothing_behind(folder, tmp_path, monkeypatch, capsys):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for command, option in (("trace", "--html"), ("generate", "--out")):
        out = tmp_path / ("x.html" if command == "trace" else "x.png")
        arguments = [command, "x", "--steps", "1", "--model", folder, option, str(out), "--device", "cpu"]
        assert cli.main(arguments) == 2
        assert capsys.readouterr().err.splitlines()[-1] == "tinyldm: No space left on device"
    assert not list(tmp_path.iterdir())
