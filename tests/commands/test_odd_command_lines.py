"""Command lines that nobody wrote with care: the answer is a picture or one line, never a traceback."""

import os
from pathlib import Path

import pytest
from PIL import Image
from small_folder import save_small_folder

from tinyldm.cli import main as cli

# FOLDER is a small model, PHOTO a picture, OUT a file that can be written; they are replaced below.
DRAW = ["-n", "1", "--steps", "2", "--model", "FOLDER", "--out", "OUT", "--device", "cpu"]
ODD = [
    # Nothing, and too much
    [],
    [""],
    ["--"],
    ["-"],
    ["\x00"],
    ["--nonsense"],
    ["GENERATE", "x"],
    ["generate"],
    ["generate", "a", "red", "circle"],
    ["generate", "--", "-x", *DRAW],
    ["help"],
    ["x" * 10_000],
    # Captions
    ["generate", "", *DRAW],
    ["generate", " \t\n", *DRAW],
    ["generate", "-red circle"],
    ["generate", "🟥⭕ naïve 猫 \u202eright to left", *DRAW],
    ["generate", "\x1b[2J\x07", *DRAW],
    ["generate", "<|endoftext|> <|startoftext|>", *DRAW],
    ["generate", "x" * 100_000, *DRAW],
    ["generate", "word " * 20_000, *DRAW],
    ["generate", "%s %(prog)s {0} %", *DRAW],
    ["generate", "x", *DRAW, "--negative", ""],
    ["generate", "x", *DRAW, "--negative", "y" * 10_000],
    ["generate", "\udce9", *DRAW],
    # Numbers
    ["generate", "x", *DRAW, "-n", "1e3"],
    ["generate", "x", *DRAW, "-n", ""],
    ["generate", "x", *DRAW, "-n", "9" * 5000],
    ["generate", "x", *DRAW, "--seed", "0x10"],
    ["generate", "x", *DRAW, "--seed", "٣"],
    ["generate", "x", *DRAW, "--seed", str(2**63)],
    ["generate", "x", *DRAW, "--seed", str(2**63 - 1)],
    ["generate", "x", *DRAW, "--index", "-1"],
    ["generate", "x", *DRAW, "--index", "3"],
    ["generate", "x", *DRAW, "--steps", "1001"],
    ["generate", "x", *DRAW, "--guidance", "inf"],
    ["generate", "x", *DRAW, "--guidance", "-7"],
    ["generate", "x", *DRAW, "--guidance", "1e38"],
    ["generate", "x", *DRAW, "--guidance", "1e400"],
    ["generate", "x", *DRAW, "--size", "64"],
    ["generate", "x", *DRAW, "--size", "64x64x3"],
    ["generate", "x", *DRAW, "--size", "1x1"],
    ["generate", "x", *DRAW, "--size", "16x1008"],
    # Devices, number formats, models
    ["generate", "x", *DRAW, "--device", "cuda:-1"],
    ["generate", "x", *DRAW, "--device", "meta"],
    ["generate", "x", *DRAW, "--device", "cpu:3"],
    ["generate", "x", *DRAW, "--device", ""],
    ["generate", "x", *DRAW, "--dtype", "int8"],
    ["generate", "x", *DRAW, "--dtype", "float16"],
    ["generate", "x", *DRAW, "--model", ""],
    ["generate", "x", *DRAW, "--model", "."],
    ["generate", "x", *DRAW, "--model", "/dev/null"],
    ["generate", "x", *DRAW, "--model", "PHOTO"],
    ["generate", "x", *DRAW, "--model", "FOLDER/unet"],
    ["generate", "x", *DRAW, "--model", "x" * 5000],
    ["generate", "x", *DRAW, "--variant", "../fp16"],
    ["info", "--model", "nowhere"],
    ["info", "--model", "PHOTO"],
    ["trace", "x", "--model", "PHOTO"],
    ["evaluate", "--model", "PHOTO"],
    # Files
    ["generate", "x", *DRAW, "--out", ""],
    ["generate", "x", *DRAW, "--out", "."],
    ["generate", "x", *DRAW, "--out", ".png"],
    ["generate", "x", *DRAW, "--out", "/dev/null"],
    ["generate", "x", *DRAW, "--out", "/dev/null/x.png"],
    ["generate", "x", *DRAW, "--out", "/proc/x.png"],
    ["generate", "x", *DRAW, "--out", "x" * 300 + ".png"],
    ["generate", "x", *DRAW, "--out", "PHOTO/x.png"],
    ["generate", "x", *DRAW, "--image-context", "."],
    ["img2img", "FOLDER", "x", *DRAW],
    ["img2img", "", "x", *DRAW],
    ["img2img", "/dev/null", "x", *DRAW],
    ["img2img", "x" * 5000, "x", *DRAW],
    ["img2img", "PHOTO", "x", *DRAW, "--strength", "1e-9"],
    ["img2img", "PHOTO", "x", *DRAW, "--strength", "1.0001"],
    ["inpaint", "PHOTO", "x", *DRAW, "--mask", "PHOTO", "--box", "1,2,3,4"],
    ["inpaint", "PHOTO", "x", *DRAW, "--mask", "."],
    ["inpaint", "PHOTO", "x", *DRAW, "--box", "0,0,0,0"],
    ["inpaint", "PHOTO", "x", *DRAW, "--box", "9,9,1,1"],
    ["inpaint", "PHOTO", "x", *DRAW, "--box", "-1,0,5,5"],
    ["inpaint", "PHOTO", "x", *DRAW, "--box", "1,2,3," + "9" * 5000],
    ["trace", "x", "--html", "."],
    ["trace", "x", "--html", "PHOTO/x.html"],
    ["evaluate", "--json", "/proc/x.json"],
    # Training and the course
    ["train", "clip", "--out", "PHOTO", "--steps", "1", "--scenes", "20"],
    ["train", "clip", "--data", "", "--steps", "1"],
    ["train", "clip", "--data", "PHOTO", "--steps", "1"],
    ["train", "clip", "--steps", "-1"],
    ["train", "clip", "--minutes", "nan"],
    ["train", "clip", "--lr", "1e400"],
    ["train", "all", "--start-from", "tiny"],
    ["train", "unet", "--start-from", "nowhere", "--out", "run"],
    ["grade", "."],
    ["grade", "PHOTO"],
    ["grade", "", "--out", "x.csv"],
    ["grade", ".", "--jobs", "0"],
    ["progress", "everything"],
]


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("odd")
    Image.new("RGB", (100, 70), "red").save(root / "photo.png")
    return {"FOLDER": str(save_small_folder(root / "model")), "PHOTO": str(root / "photo.png")}


@pytest.mark.parametrize(
    "arguments", ODD, ids=lambda arguments: " ".join(arguments)[:60].encode("ascii", "replace").decode()
)
def test_the_answer_is_one_line(arguments, places, tmp_path, monkeypatch, capsys):
    """Or success. `main` raises nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    replaced = places | {"OUT": "out.png"}
    for name, value in replaced.items():
        arguments = [argument.replace(name, value) if argument.startswith(name) else argument for argument in arguments]
    code = cli.main(arguments)
    said = capsys.readouterr()
    assert code in (0, 2)
    messages = [line for line in said.err.splitlines() if line.startswith("tinyldm") and "warning:" not in line]
    if code == 2 and arguments:
        assert len(messages) == 1 and len(messages[0]) < 900, said.err
        assert not [name for name in os.listdir() if name.endswith(".png")]
    if code == 0 and "--out" in arguments:
        assert "wrote" in said.out
    assert "Traceback" not in said.err and "\x1b" not in said.err and "\x07" not in said.err + said.out


def test_it_is_as_many_as_it_says():
    assert len(ODD) > 60 and len({tuple(arguments) for arguments in ODD}) == len(ODD)


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root may write anywhere; Windows has no modes")
def test_a_folder_that_is_read_only(tmp_path, capsys, places):
    closed = Path(tmp_path / "closed")
    closed.mkdir(mode=0o500)
    for option in (["generate", "x", "--out", str(closed / "x.png")], ["trace", "x", "--html", str(closed / "x.html")]):
        assert cli.main([*option, "--model", places["FOLDER"]]) == 2
        assert "Permission denied" in capsys.readouterr().err


def test_progress_without_a_home_folder(monkeypatch, capsys):
    """A user without an entry in /etc/passwd and without HOME: containers, services."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("TINYLDM_PROGRESS", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert cli.main(["progress"]) == 2
    said = capsys.readouterr()
    assert not said.out and "no home folder" in said.err and len(said.err.splitlines()) == 1
