"""The command line as a newcomer meets it: every command, good input and bad."""

import errno
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_folder import save_small_folder

import tinyldm
from tinyldm import LatentDiffusion
from tinyldm.cli import generate, options, pages
from tinyldm.cli import main as cli
from tinyldm.data import pictures, scenes
from tinyldm.training import train_all


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return str(save_small_folder(tmp_path_factory.mktemp("cli") / "model"))


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    """A picture that is neither square nor of the model's size."""
    file = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(scenes.batch(3, [0])[0][0]).resize((120, 80)).save(file)
    return file


def shell(*arguments, **options) -> subprocess.CompletedProcess:
    """The program in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "tinyldm", *map(str, arguments)], capture_output=True, text=True, timeout=300, **options
    )


def pixels(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file))


def error_line(capsys, *arguments) -> str:
    """The single line that the program says to a mistake."""
    capsys.readouterr()
    code = cli.main(list(map(str, arguments)))
    said = capsys.readouterr()
    lines = said.err.strip().splitlines()
    assert code == 2 and len(lines) == 1 and lines[0].startswith("tinyldm") and not said.out, said
    return lines[0]


# ── Every command, in a process of its own ───────────────────────────────────────────────────────────


def test_generate(folder, tmp_path):
    out = tmp_path / "new" / "folders" / "grid.png"
    done = shell(
        "generate",
        "a red circle above a zebra",
        "-n",
        2,
        "--steps",
        2,
        "--seed",
        7,
        "--model",
        folder,
        "--out",
        out,
        "--device",
        "cpu",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"wrote {out}: 2 pictures of 64×64, seed 7\n"
    assert [file.name for file in out.parent.iterdir()] == ["grid.png"]  # nothing temporary is left
    page = Image.open(out)
    facts = json.loads(page.text["tinyldm"])
    assert facts["seed"] == 7 and facts["caption"] == "a red circle above a zebra" and facts["sampler"] == "ddim"
    assert page.width == 2 * 192 + pages.GAP + 2 * pages.MARGIN and page.height > 192


@pytest.mark.parametrize("command", [["img2img"], ["inpaint", "--box", "30,10,90,70"]], ids=lambda command: command[0])
def test_img2img_and_inpaint(folder, photo, tmp_path, command):
    out = tmp_path / "x.png"
    done = shell(
        command[0],
        photo,
        "a star",
        "-n",
        1,
        "--steps",
        2,
        "--model",
        folder,
        "--out",
        out,
        "--device",
        "cpu",
        *command[1:],
    )
    assert done.returncode == 0, done.stderr
    assert Image.open(out).width == 2 * 192 + pages.GAP + 2 * pages.MARGIN  # the original beside it


def test_info(folder):
    done = shell("info", "--model", folder, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    for expected in (
        f"torch {torch.__version__.split('+')[0]}",
        "device cpu",
        "859,520,964",
        "83,653,863",
        "123,060,480",
        "Stable Diffusion 1",
    ):
        assert expected in done.stdout
    model = LatentDiffusion.from_pretrained(folder)
    for part in (model.unet, model.vae, model.image_encoder):
        assert f"{sum(p.numel() for p in part.parameters()):,}" in done.stdout


def test_info_without_shipped_weights(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("tinyldm.formats.places.SHIPPED", tmp_path)
    assert cli.main(["info"]) == 0
    assert "tinyldm train all" in capsys.readouterr().out
    assert cli.main(["generate", "a red circle", "--out", str(tmp_path / "x.png")]) == 2
    assert "tinyldm train all" in capsys.readouterr().err


def test_evaluate(folder, tmp_path):
    done = shell(
        "evaluate",
        "--model",
        folder,
        "--captions",
        8,
        "--steps",
        1,
        "--training-images",
        20,
        "--device",
        "cpu",
        "--json",
        tmp_path / "new" / "e.json",
        "--figure",
        tmp_path / "e.png",
    )
    assert done.returncode == 0, done.stderr
    assert "held-out captions" in done.stdout and "dB" in done.stdout
    report = json.loads((tmp_path / "new" / "e.json").read_text(encoding="utf-8"))
    assert report["settings"]["captions"] == 8 and report["captions"]["all"]["strict"]["of"] == 8
    assert Image.open(tmp_path / "e.png").width > 1000


def test_train(tmp_path):
    run = tmp_path / "run"
    done = shell("train", "clip", "--out", run, "--steps", 2, "--batch", 4, "--scenes", 30, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert (run / "clip" / "model.safetensors").is_file()


@pytest.mark.slow
def test_from_training_to_pictures_to_numbers(tmp_path, capsys):
    """The way of a newcomer, at the size of a toy: train all, draw with the result, measure it."""
    trained = tmp_path / "run" / "model"
    assert (
        cli.main(
            [
                "train",
                "all",
                "--steps",
                "20",
                "--batch",
                "4",
                "--scenes",
                "40",
                "--device",
                "cpu",
                "--out",
                str(tmp_path / "run"),
            ]
        )
        == 0
    )
    run(trained, "generate", "a red ring", "-n", 1, "--steps", 2, "--out", tmp_path / "x.png")
    run(trained, "evaluate", "--captions", 8, "--steps", 2, "--training-images", 40)
    said = capsys.readouterr().out
    assert "done: see" in said and "wrote" in said and "CLIP" in said and "image context" in said


SLOW_TO_IMPORT = ("torch", "numpy", "PIL", "transformers", "tokenizers", "matplotlib", "diffusers", "tqdm", "sklearn")


@pytest.mark.parametrize(
    "arguments, code",
    [
        (["--help"], 0),
        (["--version"], 0),
        ([], 2),
        (["genrate"], 2),
        (["generate", "--help"], 0),
        (["generate", "x", "--stepz", "4"], 2),
        (["inpaint", "--help"], 0),
        (["train", "--help"], 0),
        (["evaluate", "--captions", "x"], 2),
        (["info", "--nonsense"], 2),
        (["grade", "--help"], 0),
    ],
    ids=str,
)
def test_help_and_mistyped_options_answer_before_anything_slow_is_imported(arguments, code):
    program = (
        f"import sys; from tinyldm.cli.main import main; code = main({arguments})\n"
        f"print([name for name in {SLOW_TO_IMPORT} if name in sys.modules], file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == code and done.stderr.splitlines()[-1] == "[]", done.stderr


def test_help_names_every_command(capsys):
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(re.search(rf"^    {command}(  |$)", said, re.M) for command in cli.commands())


class Entry:
    """An entry point of some other package."""

    name, value = "theirs", "their_package:COMMANDS"

    def __init__(self, load):
        self.load = load


def test_another_package_brings_a_command(capsys, monkeypatch):
    theirs = {"hello": cli.COMMANDS["info"]._replace(run=lambda options: print("hello", options.model)), "info": None}
    monkeypatch.setattr(cli.metadata, "entry_points", lambda group: [Entry(lambda: theirs)])
    assert cli.main(["hello", "--model", "x"]) == 0 and capsys.readouterr().out == "hello x\n"
    assert cli.commands()["info"] is cli.COMMANDS["info"]  # ours are not replaced


@pytest.mark.parametrize("load", [lambda: 1 / 0, lambda: 3, lambda: {"hello": 3}, lambda: __import__("no_such_module")])
def test_another_packages_broken_command_is_one_line(capsys, monkeypatch, load):
    monkeypatch.setattr(cli.metadata, "entry_points", lambda group: [Entry(load)])
    assert cli.main(["--version"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("tinyldm ") and len(said.err.splitlines()) == 1
    assert said.err.startswith("tinyldm: warning: the commands of theirs (their_package:COMMANDS) cannot be loaded: ")


def listens_to_ctrl_c() -> None:
    """What a shell starts with `&` ignores SIGINT, and so would what that starts: pytest in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_is_one_line_and_130(folder, tmp_path):
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tinyldm",
            "generate",
            "a ring",
            "--steps",
            "1000",
            "-n",
            "64",
            "--model",
            folder,
            "--device",
            "cpu",
            "--out",
            str(tmp_path / "x.png"),
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=listens_to_ctrl_c,
    )
    seen = b""
    while b"generating" not in seen and process.poll() is None:
        seen += process.stderr.read(1)
    process.send_signal(signal.SIGINT)
    out, rest = process.communicate(timeout=60)
    assert process.returncode == 130 and rest.decode().splitlines()[-1] == "tinyldm: interrupted"
    assert not out and not list(tmp_path.iterdir()) and b"Traceback" not in rest


# ── The options do what they say ─────────────────────────────────────────────────────────────────────


def run(folder, *arguments) -> None:
    assert cli.main([*map(str, arguments), "--model", str(folder), "--device", "cpu"]) == 0


def as_bytes(images: torch.Tensor) -> np.ndarray:
    """Images side by side, as --plain writes them."""
    return np.concatenate([np.asarray(pictures.to_picture(image)) for image in images], axis=1)


def test_generate_is_the_library_call(folder, photo, tmp_path):
    model = LatentDiffusion.from_pretrained(folder)
    model.spacing = tinyldm.reverse_diffusion.linspace
    context = model.encode_image(pictures.fitted(pictures.open_picture(photo), (64, 64))).expand(2, -1, -1)
    expected = model.generate(
        ["a star"] * 2,
        steps=3,
        guidance_scale=2.5,
        sampler=tinyldm.dpm_solver_pp,
        negative=["a ring"] * 2,
        image_context=context,
        size=(32, 64),
        generator=torch.Generator().manual_seed(4),
    )
    run(
        folder,
        "generate",
        "a star",
        "-n",
        2,
        "--plain",
        "--out",
        tmp_path / "x.png",
        "--seed",
        4,
        "--steps",
        3,
        "--guidance",
        2.5,
        "--sampler",
        "dpm",
        "--spacing",
        "linspace",
        "--negative",
        "a ring",
        "--size",
        "32x64",
        "--image-context",
        photo,
    )
    assert np.array_equal(pixels(tmp_path / "x.png"), as_bytes(expected))


def test_img2img_is_the_library_call(folder, photo, tmp_path):
    model = LatentDiffusion.from_pretrained(folder)
    image = pictures.fitted(pictures.open_picture(photo), (64, 64)).expand(2, -1, -1, -1)
    expected = model.img2img(image, ["a star"] * 2, strength=0.5, steps=4, generator=torch.Generator().manual_seed(0))
    run(
        folder,
        "img2img",
        photo,
        "a star",
        "-n",
        2,
        "--plain",
        "--out",
        tmp_path / "x.png",
        "--steps",
        4,
        "--strength",
        0.5,
    )
    assert np.array_equal(pixels(tmp_path / "x.png"), as_bytes(expected))


def test_inpaint_by_box_and_by_mask(folder, photo, tmp_path):
    mask = np.zeros((80, 120), np.uint8)
    mask[10:70, 30:90] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    model = LatentDiffusion.from_pretrained(folder)
    picture = pictures.open_picture(photo)
    image, where = (pictures.fitted(p, (64, 64)) for p in (picture, Image.fromarray(mask).convert("RGB")))
    expected = model.inpaint(
        image, where[:, :1].round(), ["a star"], steps=3, generator=torch.Generator().manual_seed(0)
    )
    for way in (["--box", "30,10,90,70"], ["--mask", tmp_path / "mask.png"]):
        run(folder, "inpaint", photo, "a star", "-n", 1, "--plain", "--out", tmp_path / "x.png", "--steps", 3, *way)
        assert np.array_equal(pixels(tmp_path / "x.png"), as_bytes(expected)), way


@pytest.mark.parametrize(
    "command", [["generate"], ["generate", "--sampler", "ddpm"], ["img2img"], ["inpaint", "--box", "30,10,90,70"]]
)
def test_seed_and_index_name_a_picture(folder, photo, tmp_path, monkeypatch, command):
    """However many are generated with it, and in batches of whatever size."""
    image = [photo] if command[0] in ("img2img", "inpaint") else []
    common = [command[0], *image, "a star", *command[1:], "--plain", "--steps", 3, "--seed", 7]
    run(folder, *common, "-n", 3, "--out", tmp_path / "three.png")
    run(folder, *common, "-n", 1, "--out", tmp_path / "one.png")
    run(folder, *common, "--index", 2, "--out", tmp_path / "third.png")
    run(folder, *common, "--index", 1, "-n", 2, "--out", tmp_path / "last two.png")
    monkeypatch.setattr(generate, "MAX_BATCH_PIXELS", 64 * 64)  # one picture a batch
    run(folder, *common, "-n", 3, "--out", tmp_path / "one by one.png")
    names = ("three", "one", "third", "last two", "one by one")
    three, one, third, last_two, one_by_one = (pixels(tmp_path / f"{name}.png").astype(int) for name in names)
    assert three.shape == (64, 192, 3) and last_two.shape == (64, 128, 3) and third.shape == (64, 64, 3)
    for same, expected in (
        (one, three[:, :64]),
        (third, three[:, 128:]),
        (last_two, three[:, 64:]),
        (one_by_one, three),
    ):
        assert abs(same - expected).max() <= 1  # rounding differs with the size of the batch
    assert abs(three[:, :64] - three[:, 64:128]).max() > 5


def test_the_file_says_how_to_make_a_single_picture_again(folder, tmp_path):
    """Read from a page, as a person or a program would."""
    run(folder, "generate", "a star", "-n", 3, "--steps", 2, "--seed", 7, "--index", 1, "--out", tmp_path / "page.png")
    said = json.loads(Image.open(tmp_path / "page.png").text["tinyldm"])
    picture = 1  # the second of the three on the page
    again = ["--seed", said["seed"], "--index", said["index"] + picture, "--steps", said["steps"]]
    run(folder, "generate", said["caption"], *again, "--plain", "--out", tmp_path / "again.png")
    page = Image.open(tmp_path / "page.png")
    left = pages.MARGIN + picture * (192 + pages.GAP)
    shown = page.crop((left, pages.MARGIN, left + 192, pages.MARGIN + 192)).resize((64, 64), Image.Resampling.NEAREST)
    assert abs(np.asarray(shown).astype(int) - pixels(tmp_path / "again.png")).max() <= 1


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ([], "tiny · seed 0 · 25 steps of ddim · guidance 3"),
        (["--seed", "7", "--index", "2"], "tiny · seed 7, index 2 · 25 steps of ddim · guidance 3"),
        (["--index", "2", "-n", "3", "--steps", "9"], "tiny · seed 0, index 2 to 4 · 9 steps of ddim · guidance 3"),
        (["--four-steps"], "tiny of four steps · seed 0 · 4 steps of ddim · guidance 1"),
    ],
)
def test_note_of_a_page(arguments, expected, tmp_path):
    options = cli.parser_for(["generate"]).parse_args(["generate", "x", *arguments, "--out", str(tmp_path / "x.png")])
    generate.check_before_loading(options)
    options.sampler = options.sampler or "ddim"  # as the model says, when it is open
    assert generate.note(options) == expected


def test_options_that_are_as_literal_here_as_in_the_library():
    """`cli/options.py` imports no PyTorch, so it repeats some names."""
    assert all(callable(getattr(tinyldm, function)) for function in options.SAMPLERS.values())
    assert all(callable(getattr(tinyldm.reverse_diffusion, name)) for name in options.SPACINGS)
    assert all(
        isinstance(getattr(tinyldm.versions, name), tinyldm.versions.Version) for name in options.SD_VERSIONS.values()
    )
    assert all(isinstance(getattr(torch, name), torch.dtype) for name in options.DTYPES)
    assert options.STAGES == train_all.STAGES and options.MAX_TRAINING_SEED == scenes.FRESH - 1


@pytest.mark.parametrize(
    "options",
    [
        ["--sampler", "ddpm"],
        ["--sampler", "euler"],
        ["--dtype", "bfloat16"],
        ["--spacing", "leading"],
        ["--guidance", 1],
    ],
)
def test_other_options_work(folder, tmp_path, options):
    run(folder, "generate", "", "-n", 1, "--steps", 10, "--out", tmp_path / "x.jpg", *options)
    assert json.loads(Image.open(tmp_path / "x.jpg").info["comment"])["steps"] == 10


def test_stable_diffusion_folders_and_a_real_photograph(tmp_path, capsys):
    """Reduced in width; written by diffusers, in float16 under the names of that variant."""
    pytest.importorskip("diffusers")
    from matplotlib.cbook import get_sample_data
    from small_pipelines import pipeline, saved

    photograph = get_sample_data("grace_hopper.jpg", asfileobj=False)
    model = str(saved(pipeline().to(torch.float16), tmp_path / "sd", variant="fp16"))
    common = ["--model", model, "--steps", 4, "-n", 1, "--out", tmp_path / "x.png", "--device", "cpu"]
    # The only variant that is there is opened without being named.
    assert cli.main(list(map(str, ["img2img", photograph, "a photo", *common]))) == 0
    common += ["--variant", "fp16", "--dtype", "float16", "--plain"]
    for command, extra in (("img2img", []), ("inpaint", ["--box", "100,100,300,400"])):
        arguments = [command, photograph, "a photo of the moon", *common, "--size", "128x192", *extra]
        assert cli.main(list(map(str, arguments))) == 0
        assert Image.open(tmp_path / "x.png").size == (192, 128)
    assert "such as 96×192" in error_line(capsys, "img2img", photograph, "a photo", *common, "--size", "100x192")


def test_unknown_words_are_named_for_tiny_only(folder, tmp_path, capsys, monkeypatch):
    words = "a RED zebra, flying over 2 naïve 猫 zebra"
    run(folder, "generate", words, "--steps", 1, "--out", tmp_path / "x.png")
    assert "has never seen" not in capsys.readouterr().err
    monkeypatch.setattr(tinyldm.formats.places, "SHIPPED", Path(folder).parent)
    shutil.copytree(folder, Path(folder).parent / "tiny", dirs_exist_ok=True)
    run("tiny", "generate", words, "--steps", 1, "--out", tmp_path / "x.png")
    assert "has never seen 'zebra', 'flying', '2', 'naïve', '猫'; it can draw" in capsys.readouterr().err
    run(
        "tiny",
        "generate",
        "A small red circle, above a Big square on a grey background",
        "--steps",
        1,
        "--out",
        tmp_path / "x.png",
    )
    assert "has never seen" not in capsys.readouterr().err


def test_what_is_cut_off_a_caption_is_said_once(folder, tmp_path, capsys):
    run(folder, "generate", "a red ring and " * 10, "--steps", 1, "--out", tmp_path / "x.png")
    lines = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(lines) == 1 and "cut off: 'ring and a red ring and" in lines[0] and ".py" not in lines[0]


# ── Mistakes ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["genrate", "x"], "choose from"),
        (["generate"], "caption"),
        (["generate", "x", "--stepz", 4], "--stepz"),
        (["generate", "x", "-n", 0], "expected 1 … 1000"),
        (["generate", "x", "--size", "99999x64"], "up to 4096"),
        (["generate", "x", "-n", "four"], "not a whole number"),
        (["generate", "x", "--steps", 0], "at least 1"),
        (["generate", "x", "--seed", -1], "expected 0"),
        (["generate", "x", "--seed", 10**30], "expected 0"),
        (["generate", "x", "--guidance", "nan"], "finite"),
        (["generate", "x", "--sampler", "magic"], "choose from"),
        (["generate", "x", "--size", "banana"], "such as 64x64"),
        (["generate", "x", "--size", "0x64"], "such as 64x64"),
        (["generate", "x", "--device", "toaster"], "expected cpu, cuda"),
        (["generate", "x", "--out", "x.gif"], "ends in .png"),
        (["generate", "x", "--out", "grid"], "ends in .png"),
        (["generate", "x", "--model", "no/such/folder"], "'no/such/folder' is not a model folder"),
        (["generate", "x", "--image-context", "nowhere.png"], "nowhere.png does not exist"),
        (["img2img", "nowhere.png", "x"], "nowhere.png does not exist"),
        (["img2img", "photo.png", "x", "--strength", 0], "above 0"),
        (["inpaint", "photo.png", "x"], "--mask --box"),
        (["inpaint", "photo.png", "x", "--box", "1,2,3"], "LEFT,TOP,RIGHT,BOTTOM"),
        (["train"], "stage"),
        (["train", "everything"], "choose from"),
        (["train", "vae", "--scenes", 4, "--steps", 1], "tinyldm train clip"),
        (["train", "clip", "--data", "nowhere", "--steps", 1], "metadata.jsonl"),
        (["evaluate", "--captions", 3], "expected 8"),
        (["evaluate", "--json", "x.png"], "ends in .json"),
        (["evaluate", "--figure", "x.json"], "ends in .png"),
        (["evaluate", "--model", "nowhere"], "not a model folder"),
        (["info", "--device", "cuda:99"], "CUDA GPU"),
    ],
)
def test_a_mistake_is_one_line(capsys, arguments, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert expected in error_line(capsys, *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(capsys):
    assert "sees no CUDA GPU" in error_line(capsys, "generate", "x", "--device", "cuda")


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--steps", 5000], "5000 steps; expected 1 … 1000"),
        (["--size", "65x64"], "such as 64×64"),
        (["--size", "12x64"], "multiples of 8"),
        (["--variant", "fp16"], "fp16"),
    ],
)
def test_a_mistake_that_only_the_model_can_see(folder, capsys, tmp_path, arguments, expected):
    out = ["--out", tmp_path / "x.png", "--model", folder, "--device", "cpu"]
    assert expected in error_line(capsys, "generate", "x", *arguments, *out)
    assert not list(tmp_path.iterdir())


def test_numbers_out_of_range_are_not_written_as_a_picture(folder, capsys, tmp_path):
    code = cli.main(
        [
            "generate",
            "x",
            "--guidance",
            "1e30",
            "--steps",
            "9",
            "--model",
            folder,
            "--device",
            "cpu",
            "--out",
            str(tmp_path / "x.png"),
        ]
    )
    assert code == 2 and "a --guidance below" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_pictures_that_cannot_be_used(folder, photo, capsys, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(photo.read_bytes()[:150])
    (tmp_path / "text.png").write_text("not a picture")
    Image.new("L", (64, 64), 255).save(tmp_path / "small mask.png")
    Image.new("L", (120, 80), 0).save(tmp_path / "black mask.png")
    assert "broken.png is not a picture" in error_line(capsys, "img2img", broken, "x", "--model", folder)
    assert "in one of the formats" in error_line(capsys, "img2img", tmp_path / "text.png", "x", "--model", folder)
    assert "does not exist or is not a file" in error_line(capsys, "img2img", tmp_path, "x", "--model", folder)
    inpaint = ["inpaint", photo, "x", "--model", folder, "--out", tmp_path / "x.png"]
    assert "64×64 pixels and the picture 120×80" in error_line(capsys, *inpaint, "--mask", tmp_path / "small mask.png")
    assert "marks nothing" in error_line(capsys, *inpaint, "--mask", tmp_path / "black mask.png")
    assert "not inside the picture" in error_line(capsys, *inpaint, "--box", "100,10,130,40")
    assert "marks nothing" in error_line(capsys, *inpaint, "--box", "0,0,15,80")  # cut away to make a square


def test_models_that_lack_something(folder, photo, capsys, tmp_path):
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    shutil.rmtree(other / "tinyldm_image_encoder")
    out = ["--model", other, "--out", tmp_path / "x.png"]
    assert "no image encoder" in error_line(capsys, "generate", "x", "--image-context", photo, *out)
    weights = other / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "cut off" in error_line(capsys, "generate", "x", *out)


def test_places_where_nothing_can_be_written(folder, capsys, tmp_path, photo):
    assert "is a folder" in error_line(capsys, "generate", "x", "--out", tmp_path)
    assert "a part of the path is a file" in error_line(capsys, "generate", "x", "--out", photo / "x.png")
    if os.name == "posix" and os.geteuid():
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o500)
        assert "Permission denied" in error_line(capsys, "generate", "x", "--out", closed / "x.png")


def test_a_full_disk_leaves_the_old_picture(folder, capsys, tmp_path, monkeypatch):
    out = tmp_path / "x.png"
    out.write_bytes(b"old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code = cli.main(["generate", "x", "--steps", "1", "--model", folder, "--out", str(out), "--device", "cpu"])
    assert code == 2 and capsys.readouterr().err.splitlines()[-1] == "tinyldm: No space left on device"
    assert out.read_bytes() == b"old" and list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    "error, code, expected",
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried …"), 2, "lower -n, --size"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, "lower -n, --size"),
        (MemoryError("lower the batch"), 2, "lower the batch"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (FloatingPointError("two\n  lines"), 2, "two lines"),
        (torch._dynamo.exc.TorchDynamoException("no compiler"), 2, "leave out --compile"),
        (OSError(errno.ENOSPC, "No space left", "x.png"), 2, "x.png: No space left"),
    ],
)
def test_errors_become_lines(error, code, expected, capsys, monkeypatch):
    def fail(_):
        raise error

    monkeypatch.setitem(cli.COMMANDS, "info", cli.COMMANDS["info"]._replace(run=fail))
    assert cli.main(["info"]) == code
    said = capsys.readouterr().err
    assert said.startswith("tinyldm: ") and expected in said and len(said.splitlines()) == 1


@pytest.mark.parametrize("bug", [lambda _: {}["key"], lambda _: torch.zeros(2).view(3), lambda _: int("three")])
def test_a_bug_keeps_its_traceback(bug, monkeypatch):
    """Also a ValueError, if it is not one of this package's own."""
    monkeypatch.setitem(cli.COMMANDS, "info", cli.COMMANDS["info"]._replace(run=bug))
    with pytest.raises((KeyError, RuntimeError, ValueError)):
        cli.main(["info"])


# ── Help ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_has_examples_that_parse(command, capsys):
    assert cli.main([command, "--help"]) == 0
    assert "examples:" in capsys.readouterr().out
    for example in cli.COMMANDS[command].examples:
        program, *arguments = shlex.split(example)
        assert program == "tinyldm" and cli.parser_for(arguments).parse_args(arguments).run


def test_no_command_shows_the_help(capsys):
    assert cli.main([]) == 2 and "generate" in capsys.readouterr().out


def test_version_and_entry_point(capsys):
    assert cli.main(["--version"]) == 0 and capsys.readouterr().out.strip() == f"tinyldm {tinyldm.__version__}"
    project = (Path(tinyldm.__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert 'tinyldm = "tinyldm.cli.main:main"' in project


# ── Pages ────────────────────────────────────────────────────────────────────────────────────────────


def test_any_picture_file_can_be_opened(tmp_path):
    gradient = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(gradient).save(tmp_path / "deep.png")
    Image.new("RGBA", (9, 5), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    deep = pictures.fitted(pictures.open_picture(tmp_path / "deep.png"), (64, 64))
    assert deep.shape == (1, 3, 64, 64) and deep[0, 0, 32].mean() == pytest.approx(0.5, abs=0.02)
    assert pictures.fitted(pictures.open_picture(tmp_path / "clear.png"), (16, 16)).min() == 1  # laid on white


def test_a_page_holds_its_pictures_enlarged_and_in_rows():
    images = torch.rand(5, 3, 64, 64)
    page = np.asarray(pages.tiles(images))
    assert page.shape == (2 * 192 + pages.GAP, 4 * 192 + 3 * pages.GAP, 3)
    fifth = page[192 + pages.GAP :, :192]
    assert np.array_equal(fifth[::3, ::3], np.asarray(pictures.to_picture(images[4])))
    assert np.asarray(pages.tiles(torch.rand(2, 3, 512, 512))).shape == (512, 1024 + pages.GAP, 3)


def test_long_captions_are_broken_into_lines():
    font = pages.font_of_size(16)
    lines = pages.wrapped("a red circle " * 20 + "x" * 200, font, 300, max_lines=99)
    assert all(font.getlength(line) <= 300 for line in lines) and "".join(lines).count("x") == 200
    assert len(pages.wrapped("word " * 500, font, 300, max_lines=4)) == 4
    assert pages.wrapped("", font, 300, max_lines=4) == []
