"""What the exercises of lessons 10 to 16 say in words: numbers are computed again, broken code is run."""

import math
import re
from pathlib import Path

import pytest
import torch

from tinyldm.course.calls import perform
from tinyldm.course.exercises import find
from tinyldm.course.judging import run_check
from tinyldm.reverse_diffusion import leading
from tinyldm.versions import SD1, SD2, TINY
from tinyldm.workshop.evaluation import share
from tinyldm.workshop.train_unet import UnetSettings

CLINIC = Path(__file__).parents[1] / "sources" / "exercises" / "16_clinic.py"


def patients() -> dict[str, str]:
    """Exercise -> the broken code that its text shows."""
    lines = CLINIC.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines)
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return {re.search(r"def (\w+)", block)[1]: block for block in blocks}


@pytest.mark.parametrize("name", patients())
def test_the_patients_of_the_clinic_are_ill_as_described(name):
    names = {"torch": torch, "math": math}
    exec(patients()[name], names)
    result = run_check(find(name), lambda call: perform(names[name], call))
    assert result.diagnosis == "still-broken", result


def test_there_are_five_patients():
    assert len(patients()) == 5


def says(name: str, *words: str) -> bool:
    """Are these words in what a right answer to the exercise is told?"""
    return all(word in find(name).insight for word in words)


def test_where_leading_timesteps_start():
    starts = [leading(steps, 1000)[0].item() for steps in (50, 10, 5)]
    assert says("leading_timesteps", *map(str, starts)) and starts == [981, 901, 801]


def test_the_signal_at_the_first_step():
    alpha_bar = SD1.schedule().alpha_bar
    assert says("signal_at_the_start", f"{alpha_bar[901].sqrt():.3f}", f"{alpha_bar[999].sqrt():.3f}")


def test_the_straight_middle_of_two_noises_is_short():
    a, b = torch.randn(2, 100_000, generator=torch.Generator().manual_seed(0))
    assert says("slerp", "0.71") and abs((a + b).norm() / 2 / a.norm() - 0.71) < 0.01


def test_how_long_an_average_remembers():
    assert says("ema_memory", f"{0.9995**1000:.2f}", str(round(math.log(0.5) / math.log(0.9995))))


def test_how_many_captions_are_dropped():
    assert says("drop_captions", "1 in 8") and UnetSettings.drop_caption == 1 / 8


def test_intervals():
    assert says("wilson_interval", f"{share(20, 20).low:.0%}".replace("%", " %"))
    assert says("low_end_of_100", f"{share(100, 100).low:.3f}", "381")
    assert share(381, 381).low > 0.99 > share(380, 380).low
    assert says("caption_accuracy", f"{100 * 0.9**3:.0f} %")


def test_widths_of_heads():
    widths = [c // h for c, h in zip(SD1.unet.channels, SD1.unet.heads)][:3]
    assert widths == [40, 80, 160] and says("head_width", *map(str, widths), ", ".join(map(str, SD2.unet.heads)))


def test_the_scale_of_latents():
    assert says("mended_encode", f"{1 / SD1.vae.scale:.1f}")


def test_the_capstone_makes_the_pictures_that_the_package_makes(small_model):
    captions, noise = ["a red circle", "a blue star"], torch.randn(2, 4, 4, 4)
    parts = small_model.encode_text, small_model.unet, small_model.vae.decode
    alpha_bar = small_model.schedule.alpha_bar.tolist()
    with torch.no_grad():
        images = find("caption_to_image").answer(captions, *parts, alpha_bar, noise, 4, 3.0)
    expected = small_model.generate(captions, steps=4, guidance_scale=3.0, noise=noise)
    assert torch.allclose(images, expected, atol=1e-4) and expected.std() > 0.01


def test_the_tiny_model_does_what_the_exercises_say():
    assert TINY.prediction.name == "v_prediction" and TINY.spacing.__name__ == "trailing"
