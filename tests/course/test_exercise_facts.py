"""What the exercises of lessons 10 to 16 say in words: numbers are computed again, broken code is run."""

import math
import re
from pathlib import Path

import pytest
import torch

from tinyldm import LatentDiffusion, diffusion_loss, to_signed, to_unit
from tinyldm.data.scenes import Scenes
from tinyldm.evaluation.statistics import share
from tinyldm.reverse_diffusion import leading
from tinyldm.training.train_unet import UnetSettings
from tinyldm.versions import SD1, SD2, TINY
from tinyldm_course.checks import makers
from tinyldm_course.checks.calls import perform
from tinyldm_course.checks.diagnoses import GENERAL
from tinyldm_course.checks.pipeline import run_check
from tinyldm_course.exercises import find

CLINIC = Path(__file__).parents[2] / "sources" / "exercises" / "16_clinic.py"


def patients() -> dict[str, str]:
    """Exercise -> the broken code that its text shows."""
    lines = CLINIC.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines)
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return {re.search(r"def (\w+)", block)[1]: block for block in blocks}


def made_of(code: str, name: str):
    """The function that the code defines."""
    names = {"torch": torch, "math": math}
    exec(code, names)
    return names[name]


# Patient -> each of its mistakes and how it is mended. A line that moves takes its place in the loop.
MENDINGS = {
    "mended_encode": (("images)", "2 * images - 1)"), (") / scale", ") * scale")),
    "mended_embedding": (("(half - 1)", "half"), ("[angle.sin(), angle.cos()]", "[angle.cos(), angle.sin()]")),
    "mended_guidance": (
        ("with_caption = model(z, t, null_context)", "with_caption = model(z, t, context)"),
        ("without - guidance_scale", "without + guidance_scale"),
    ),
    "mended_average": (
        ("    average = decay", "        average = decay"),
        ("decay * weights + (1 - decay) * average", "decay * average + (1 - decay) * weights"),
    ),
    "mended_walk": (
        ("t - 1, device", "t, device"),
        ("alpha_bar[t - 1]\n", "alpha_bar[ts[ts.index(t) + 1]] if t != ts[-1] else alpha_bar[t - 1]\n"),
        ("alpha_bar[t - 1]\n", "(alpha_bar[t - 1] if t != ts[-1] else 1.0)\n"),
    ),
}


def test_there_are_five_patients():
    assert len(patients()) == 5 and patients().keys() == MENDINGS.keys()


def diagnosis(name: str, code: str) -> str:
    """What a check says of it; "" where it passes."""
    function = made_of(code, name)
    return run_check(find(name), lambda call: perform(function, call)).diagnosis


@pytest.mark.parametrize("name", patients())
def test_the_patients_of_the_clinic_have_the_mistakes_that_are_announced(name):
    """As many as the text says; with all of them mended it passes, and half mended it is known by name."""
    code, mendings = patients()[name], MENDINGS[name]
    announced = re.search(rf"def {name}\(.*?```\n#\n# (\w+) mistakes", CLINIC.read_text(encoding="utf-8"), re.DOTALL)
    assert announced[1] == {2: "Two", 3: "Three"}[len(mendings)]
    assert diagnosis(name, code) == "still-broken"
    for chosen in range(1, 2 ** len(mendings)):
        mended = code
        for place, (sick, healthy) in enumerate(mendings):
            assert mended.count(sick) == 1
            mended = mended.replace(sick, healthy) if chosen >> place & 1 else mended
        all_of_them = chosen == 2 ** len(mendings) - 1
        assert (diagnosis(name, mended) == "") == all_of_them, mended
        assert diagnosis(name, mended) not in GENERAL, mended


def patient(name: str):
    """The broken function itself."""
    return made_of(patients()[name], name)


def complains(name: str, words: str) -> bool:
    """Are these words in the patient's complaint?"""
    lines = CLINIC.read_text(encoding="utf-8").partition(f'[markdown] exercise="{name}"\n')[2].splitlines()
    complaint = " ".join(line.removeprefix("# ") for line in lines[: lines.index("# ```python")])
    return words in complaint


def says(name: str, *words: str) -> bool:
    """Are these words in what a right answer to the exercise is told?"""
    return all(word in find(name).insight for word in words)


def test_the_first_patients_latents_are_swollen():
    scale, images = SD1.vae.scale, torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    unit = (2 * images - 1).std()
    latents = patient("mended_encode")(lambda x: x / unit / scale, images, scale)
    assert complains("mended_encode", f"is about {latents.std():.0f} instead of 1")
    last = SD1.schedule().alpha_bar[-1]  # where sampling begins as if there were noise alone
    assert last.sqrt() * latents.std() > (1 - last).sqrt()


def test_the_second_patients_weights_do_worse(monkeypatch):
    """Whole walks of the shipped model gave the words of the complaint: spots, frayed edges."""
    tiny, scenes = LatentDiffusion.from_pretrained("tiny"), Scenes(64, seed=1_000_000)
    images, captions = zip(*(scenes[i][:2] for i in range(4)))
    eps, t = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.full((4,), 100)
    with torch.no_grad():
        z0, context = tiny.vae.encode(to_signed(to_unit(torch.stack(images)))), tiny.encode_text(list(captions))
        healthy = diffusion_loss(tiny.unet, tiny.schedule, z0, context, t, eps)
        monkeypatch.setattr("tinyldm.unet.timestep_embedding", patient("mended_embedding"))
        assert diffusion_loss(tiny.unet, tiny.schedule, z0, context, t, eps) > 1.5 * healthy


def test_the_third_patient_is_deaf():
    z, t = torch.randn(2, 3, 4, 4), torch.tensor([3, 5])
    context, other, null = torch.randn(3, 2, 5, 6)
    drawn = [
        patient("mended_guidance")(makers.toy_unet(), z, t, *rest)
        for rest in ((context, null, 2.0), (other, null, 2.0), (context, null, 7.0))
    ]
    assert complains("mended_guidance", "`guidance_scale` changes nothing")
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])


def test_the_fourth_patients_average_averages_nothing():
    weights, gradients = torch.zeros(5), torch.randn(2000, 5, generator=torch.Generator().manual_seed(0)) - 0.1

    def moves(descend) -> float:
        """By how much the average moves in the last step, in shares of what the weights move."""
        before, after = (descend(weights, gradients[:steps], 0.01, 0.999) for steps in (1999, 2000))
        return ((after[1] - before[1]).norm() / (after[0] - before[0]).norm()).item()

    assert complains("mended_average", "it differs as much as the weights do")
    assert moves(patient("mended_average")) > 0.99 and moves(find("mended_average").answer) < 0.2
    code = patients()["mended_average"].replace(*MENDINGS["mended_average"][1])  # the factors alone are mended
    last, average = made_of(code, "mended_average")(weights + 3, gradients, 0.01, 0.999)
    share = ((average - last) / (weights + 3 - last)).mean()
    assert says("mended_average", f"at decay 0.999 it is {100 * share:.1f} % day one")


def test_the_fifth_patient_is_ill_with_fifty_steps_and_well_with_all():
    """Of clean numbers -1 and 1, where the best network is known."""
    alpha_bar = SD1.schedule().alpha_bar.double()

    def model(z, t, context):
        level = alpha_bar[t][:, None]
        z0_hat = (level.sqrt() * z / (1 - level)).tanh()
        return (z - level.sqrt() * z0_hat) / (1 - level).sqrt()

    z = torch.randn(20, 10, generator=torch.Generator().manual_seed(0)).double()
    steps = {"all": list(range(999, 0, -1)), "fifty": list(range(981, 0, -20))}
    off = {
        name: (patient("mended_walk")(model, z, None, ts, alpha_bar.tolist()).abs() - 1).abs().mean()
        for name, ts in steps.items()
    }
    assert complains("mended_walk", "with all timesteps, 999, 998, …, 1, the pictures are good; with fifty of them")
    assert len(steps["fifty"]) == 50 and off["all"] < 0.05 and off["fifty"] > 0.2
    well = find("mended_walk").answer(model, z, None, steps["fifty"], alpha_bar.tolist())
    assert (well.abs() - 1).abs().mean() < 0.01


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
    of_ten_steps = math.prod((10 + n) / (1 + n) for n in range(10))
    assert says("ema_memory", "a tenth of the start", f"one part in {round(of_ten_steps):,}")


def test_how_many_captions_are_dropped():
    assert says("drop_captions", "1 in 8") and UnetSettings.drop_caption == 1 / 8


def test_intervals():
    assert says("wilson_interval", f"{share(20, 20).low:.0%}".replace("%", " %"))
    assert says("low_end_of_100", f"{share(100, 100).low:.3f}", "381")
    assert share(381, 381).low > 0.99 > share(380, 380).low
    most, few = share(100, 100), share(97, 100)
    assert says(
        "low_end_of_100",
        *(f"{100 * one.low:.1f} to {100 * one.high:.{digits}f} %" for one, digits in ((most, 0), (few, 1))),
    )
    down = math.hypot(most.value - most.low, few.high - few.value)  # Newcombe 1998, method 10, as lesson 15 has it
    up = math.hypot(most.high - most.value, few.value - few.low)
    apart = most.value - few.value
    assert says("low_end_of_100", f"{100 * (apart - down):.0f} to {100 * (apart + up):.0f} points")
    assert says("caption_accuracy", f"{100 * 0.9**3:.0f} %")


def test_widths_of_heads():
    widths = [c // h for c, h in zip(SD1.unet.channels, SD1.unet.heads)][:3]
    assert widths == [40, 80, 160] and says("head_width", *map(str, widths), ", ".join(map(str, SD2.unet.heads)))


def test_the_scale_of_latents():
    assert says("mended_encode", f"{1 / SD1.vae.scale:.1f} times")


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
