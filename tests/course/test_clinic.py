"""The clinic: each ailment breaks one thing, shows in the output, and leaves the right pipeline untouched."""

import pytest
import torch
from small_models import SMALL_UNET, make_model

from tinyldm import UNet, to_unit
from tinyldm.versions import SD1
from tinyldm_course.lessons import clinic

SETTINGS = {"steps": 3, "guidance_scale": 4.0}
# In the tests' model these words are known.
CAPTION, OTHER = "a red circle above a blue square", "a green star"


def generated(model, caption: str = CAPTION, **options) -> torch.Tensor:
    return model.generate([caption], generator=torch.Generator().manual_seed(0), **{**SETTINGS, **options})


@pytest.fixture(scope="module")
def model():
    """Not to be changed by a test, and no ailment changes it: that is tested."""
    made = make_model()
    with torch.no_grad():  # as if trained: no norm with gains of exactly 1
        for parameter in made.unet.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return made


@pytest.fixture(scope="module")
def real() -> torch.Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def examined(model, real, steps: int) -> clinic.Measurements:
    return clinic.examine(model, real, [CAPTION, OTHER], steps=steps, asked=[CAPTION, CAPTION], instead=[OTHER, OTHER])


AILMENTS = list(clinic.AILMENTS.values())


@pytest.mark.parametrize("ailment", AILMENTS, ids=clinic.AILMENTS)
def test_each_changes_the_picture_and_not_the_model(model, ailment):
    weights = [value.clone() for part in model.networks for value in part.state_dict().values()]
    healthy, schedule, scale = generated(model), model.schedule.alpha_bar.clone(), model.vae.config.scale
    state = torch.random.get_rng_state()
    broken = generated(ailment.breaks(model))
    assert torch.equal(torch.random.get_rng_state(), state)  # the notebook's own random numbers go on as before
    assert broken.shape == healthy.shape and broken.min() >= 0 and broken.max() <= 1
    assert (broken - healthy).abs().max() > 1e-3
    assert torch.equal(generated(model), healthy)
    assert torch.equal(model.schedule.alpha_bar, schedule) and model.vae.config.scale == scale
    now = [value for part in model.networks for value in part.state_dict().values()]
    assert all(torch.equal(value, before) for value, before in zip(now, weights))


def test_no_two_are_alike(model):
    pictures = [generated(ailment.breaks(model)) for ailment in AILMENTS]
    for i, one in enumerate(pictures):
        assert all((one - other).abs().max() > 1e-3 for other in pictures[:i])


def test_scale_left_out(model):
    kept = {}
    generated(model, callback=lambda i, z, z0_hat: kept.update(z0=z))
    expected = to_unit(model.vae.decode(kept["z0"] * SD1.vae.scale))
    assert torch.allclose(generated(clinic.scale_left_out(model)), expected, atol=1e-6)
    image = torch.rand(2, 3, 32, 32)
    ratio = clinic.scale_left_out(model).vae.encode(image).std() / model.vae.encode(image).std()
    assert ratio.item() == pytest.approx(1 / SD1.vae.scale, rel=1e-5)


def test_wrong_range(model):
    right, wrong = generated(model), generated(clinic.wrong_range(model))
    inside = right < 1  # where the right picture was not clipped above
    assert torch.allclose(wrong[inside], (2 * right - 1).clamp(0, 1)[inside], atol=1e-6)


def test_next_timestep(model):
    told, asked = [], []
    for pipeline, seen in ((model, asked), (clinic.next_timestep(model), told)):
        hook = model.unet.register_forward_pre_hook(lambda module, inputs, seen=seen: seen.append(inputs[1][0].item()))
        generated(pipeline)
        hook.remove()
    assert told == [*asked[1:], 0]


def test_other_schedule(model):
    other = clinic.other_schedule(model).schedule
    assert other.T == model.schedule.T and other.prediction is model.schedule.prediction
    assert (other.alpha_bar - model.schedule.alpha_bar).abs().max() > 0.1


def test_sines_first(model):
    sinusoids = torch.randn(3, SMALL_UNET.channels[0])
    swapped = torch.cat(
        [sinusoids[:, SMALL_UNET.channels[0] // 2 :], sinusoids[:, : SMALL_UNET.channels[0] // 2]], dim=1
    )
    assert torch.equal(clinic.sines_first(model).unet.time_mlp(sinusoids), model.unet.time_mlp(swapped))


def test_caption_not_passed(model):
    broken = clinic.caption_not_passed(model)
    assert torch.equal(generated(broken), generated(broken, OTHER))
    assert torch.allclose(generated(broken), generated(model, "", guidance_scale=1.0), atol=1e-5)


def test_guidance_backwards(model):
    assert torch.equal(generated(clinic.guidance_backwards(model)), generated(model, guidance_scale=-4.0))


def test_average_never_updated(model):
    torch.manual_seed(0)
    untrained = UNet(SMALL_UNET)
    broken = clinic.average_never_updated(model).unet
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(untrained.parameters(), broken.parameters()))


# ── Instruments ──────────────────────────────────────────────────────────────────────────────────────


def test_examine(model, real):
    measured = examined(model, real, 4)
    assert measured.images.shape == (2, 3, 32, 32) and len(measured.z_std) == len(measured.z0_hat_std) == 4
    assert (
        measured.loss_by_t.shape == (len(clinic.LOSS_AT),)
        and measured.untouched_gains == 0
        and measured.caption_effect > 0
    )
    assert examined(clinic.average_never_updated(model), real, 1).untouched_gains == 1
    assert examined(clinic.caption_not_passed(model), real, 1).caption_effect == 0


def test_loss_by_t_tells_the_network_from_the_sampler(model, real):
    healthy = clinic.loss_by_t(model, real, [CAPTION, OTHER])
    same = {
        ailment.breaks
        for ailment in AILMENTS
        if torch.equal(clinic.loss_by_t(ailment.breaks(model), real, [CAPTION, OTHER]), healthy)
    }
    assert same == {clinic.wrong_range, clinic.next_timestep, clinic.guidance_backwards}


def test_z_std_depends_on_latents_only(model, real):
    healthy = examined(model, real, 2).z_std
    same = {
        ailment.breaks for ailment in AILMENTS if torch.equal(examined(ailment.breaks(model), real, 2).z_std, healthy)
    }
    assert same == {clinic.wrong_range, clinic.scale_left_out}


# ── The check ────────────────────────────────────────────────────────────────────────────────────────


def test_every_ailment_has_one_patient():
    assert sorted(clinic.PATIENTS.values(), key=repr) == sorted((a.breaks for a in AILMENTS), key=repr)
    assert len(clinic.CAPTIONS) == len(clinic.OTHER_CAPTIONS)
    in_order = [ailment.breaks for ailment in AILMENTS]
    assert all(mine is not theirs for mine, theirs in zip(clinic.PATIENTS.values(), in_order))


def test_diagnose():
    for patient, breaks in clinic.PATIENTS.items():
        for name, ailment in clinic.AILMENTS.items():
            answer = clinic.diagnose(patient, name)
            assert answer.startswith("Right") == (ailment.breaks is breaks)
            assert (ailment.cure in answer) == (ailment.breaks is breaks) and (ailment.sign in answer) == (
                ailment.breaks is not breaks
            )


def test_diagnose_refuses():
    with pytest.raises(ValueError, match="no patient 'Z'; expected one of A, B"):
        clinic.diagnose("Z", "the scale is left out")
    with pytest.raises(ValueError, match="not in the book; expected one of: the scale"):
        clinic.diagnose("A", "flu")
