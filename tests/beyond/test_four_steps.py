"""The shipped U-Net of four steps: what it is, how good it is, and how the command uses it."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from tinyldm import LatentDiffusion
from tinyldm.beyond.distillation import four_step_unet
from tinyldm.cli import main as cli
from tinyldm.data import pictures
from tinyldm.evaluation.judge import Judge
from tinyldm.evaluation.measure import EvaluationSettings, fresh_world, generate, judged
from tinyldm.formats.places import SHIPPED

FOLDER = SHIPPED / "tiny" / "unet_4_steps"
CAPTION = "a small red circle above a large blue square"


@pytest.fixture(scope="module")
def model() -> LatentDiffusion:
    model = LatentDiffusion.from_pretrained("tiny")
    model.unet = four_step_unet()
    return model


def stored() -> dict:
    return json.loads((FOLDER / "evaluation.json").read_text(encoding="utf-8"))


def test_it_is_tinys_architecture_with_other_weights(model):
    tiny = LatentDiffusion.from_pretrained("tiny")
    assert model.unet.config == tiny.unet.config and model.unet.conv_in.weight.dtype == torch.float32
    assert not model.unet.training and not any(p.requires_grad for p in model.unet.parameters())
    assert not torch.equal(model.unet.conv_in.weight, tiny.unet.conv_in.weight)
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 6e6


def test_the_judge_reads_what_the_model_card_says(model):
    """96 captions instead of its 1,000: within four standard errors. (4 such steps of tiny's own U-Net: 67 %.)"""
    settings = EvaluationSettings(captions=96, steps=4, guidance_scale=1.0, progress=False)
    world = fresh_world(1, 96, settings)
    verdicts = judged(Judge.load(), generate(model, world.captions, settings, ""), world)
    right, said = np.mean([found["strict"] for found in verdicts]), stored()["captions"]["all"]["strict"]["share"]
    assert abs(right - said) < 4 * np.sqrt(said * (1 - said) / 96)


def test_how_it_was_measured_and_what_it_loses():
    report, of_tiny = stored(), json.loads((SHIPPED / "tiny" / "evaluation.json").read_text(encoding="utf-8"))
    settings = report["settings"]
    assert (settings["captions"], settings["steps"], settings["guidance_scale"]) == (1000, 4, 1.0)
    shares = [found["captions"]["all"]["strict"]["share"] for found in (report, of_tiny)]
    assert shares == [0.867, 0.927]
    card = (SHIPPED / "tiny" / "README.md").read_text(encoding="utf-8")
    assert "| strict | 86.7 % (84.5 … 88.7), n = 1,000 |" in card.partition("## In four steps")[2]


def test_the_command_draws_what_the_library_draws(model, tmp_path):
    out = tmp_path / "out.png"
    settings = ("-n", "2", "--seed", "5", "--plain", "--device", "cpu", "--out", str(out))
    assert cli.main(["generate", CAPTION, "--four-steps", *settings]) == 0
    noise = torch.Generator().manual_seed(5)
    images = model.generate([CAPTION] * 2, steps=4, guidance_scale=1, generator=noise)
    expected = np.concatenate([np.asarray(pictures.to_picture(image)) for image in images], axis=1).astype(int)
    assert abs(np.asarray(Image.open(out)).astype(int) - expected).max() <= 1
    note = json.loads(Image.open(out).text["tinyldm"])
    assert (note["four_steps"], note["steps"], note["guidance"]) == (True, 4, 1.0)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--steps", "8"], "--steps 8 does not go with --four-steps"),
        (["--guidance", "5"], "--guidance 5.0 does not go with --four-steps"),
        (["--negative", "a star"], "--negative a star does not go with --four-steps"),
        (["--model", "pictures"], "for the model tiny alone"),
        (["--model", "somewhere"], "for the model tiny alone; --model is 'somewhere'"),
    ],
)
def test_what_contradicts_it_is_refused(arguments, message, tmp_path, capsys):
    assert cli.main(["generate", "a star", "--four-steps", *arguments, "--out", str(tmp_path / "x.png")]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    if arguments != ["--model", "pictures"]:  # this copy may lack its weights, which is said first
        assert message in error


def test_what_agrees_with_it_is_accepted(tmp_path):
    out = tmp_path / "out.png"
    agreed = ["--four-steps", "--steps", "4", "--guidance", "1", "-n", "1", "--plain", "--out", str(out)]
    assert cli.main(["generate", "a star", *agreed]) == 0 and out.is_file()
