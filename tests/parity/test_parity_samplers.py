"""Schedules, timesteps and samplers against the schedulers of diffusers, with the spacing set on both sides.

The model is a smooth function of latent and timestep that costs nothing, so that 1000 steps are affordable; the
networks have tests of their own.
"""

import diffusers
import pytest
import small_pipelines as sd
import torch
from torch import Tensor

from tinyldm.formats.schedulers import XL, Sampling, sampling_from_diffusers, sampling_to_diffusers
from tinyldm.forward_diffusion import EPS, VELOCITY, NoiseSchedule, cosine_betas, linear_betas, scaled_linear_betas
from tinyldm.reverse_diffusion import (
    ddim,
    ddpm,
    dpm_solver_pp,
    euler,
    leading,
    leading_from_zero,
    linspace,
    timesteps,
    trailing,
)

TOLERANCE = 1e-4  # of latents, relative, after all steps
STEPS = [1, 7, 20, 30, 50, 999, 1000]
BETAS = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
PREDICTIONS = {"epsilon": EPS, "v_prediction": VELOCITY}

pytestmark = pytest.mark.filterwarnings("ignore:1 steps with")  # one step from t = 1: senseless, but defined


def sd_schedule(prediction: str, final_is_first: bool) -> NoiseSchedule:
    beta = scaled_linear_betas()
    return NoiseSchedule(beta, PREDICTIONS[prediction], 1 - beta[0].item() if final_is_first else 1.0)


def model(z: Tensor, t: Tensor) -> Tensor:
    """Stands for a U-Net: bounded, and different for every t."""
    return torch.tanh(z * (0.4 + t.view(-1, 1, 1, 1) / 2000)) + 0.1 * torch.sin(3 * z.flip(1))


def start() -> Tensor:
    return torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(11))


def generators() -> list[torch.Generator]:
    """One generator per latent of `start`, the form that means the same here and in diffusers."""
    return [torch.Generator().manual_seed(seed) for seed in (5, 6)]


def run_diffusers(scheduler, z: Tensor, steps: int, in_sigma: bool = False, **options) -> Tensor:
    """diffusers' own loop. Euler's latents are x = z / √ᾱ, so z = x / √(σ² + 1)."""
    scheduler.set_timesteps(steps)
    if in_sigma:
        z = z * (scheduler.sigmas[0] ** 2 + 1) ** 0.5
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(z, t)
        z = scheduler.step(model(scaled, t.expand(len(z))), t, z, **options).prev_sample
    return z


# ── Schedules ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "ours, config",
    [
        (scaled_linear_betas(), dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)),
        (linear_betas(), dict(beta_schedule="linear", beta_start=0.0001, beta_end=0.02)),
        (cosine_betas(), dict(beta_schedule="squaredcos_cap_v2")),
    ],
    ids=["scaled_linear", "linear", "cosine"],
)
def test_alpha_bar(ours, config):
    theirs = diffusers.DDIMScheduler(**config)
    alpha_bar = NoiseSchedule(ours).alpha_bar
    # diffusers computes in float32; the last entry of the cosine schedule is about 1e-9, all of it rounding.
    torch.testing.assert_close(alpha_bar, theirs.alphas_cumprod, rtol=1e-5, atol=1e-8)
    z0, eps, t = start(), torch.randn(2, 4, 6, 5), torch.tensor([3, 750])
    noised = NoiseSchedule(ours).q_sample(z0, t, eps)
    torch.testing.assert_close(noised, theirs.add_noise(z0, eps, t), rtol=1e-5, atol=1e-5)
    velocity = NoiseSchedule(ours, VELOCITY).target(z0, t, eps)
    torch.testing.assert_close(velocity, theirs.get_velocity(z0, eps, t), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "spacing, config",
    [
        (leading, dict(timestep_spacing="leading", steps_offset=1)),
        (leading_from_zero, dict(timestep_spacing="leading", steps_offset=0)),
        (trailing, dict(timestep_spacing="trailing")),
    ],
    ids=["leading", "leading_from_zero", "trailing"],
)
@pytest.mark.parametrize("scheduler", [diffusers.DDIMScheduler, diffusers.DDPMScheduler])
def test_timesteps(spacing, config, scheduler):
    """Every number of steps from 1 to 1000."""
    theirs = scheduler(**BETAS, **config)
    for steps in range(1, 1001):
        theirs.set_timesteps(steps)
        expected = theirs.timesteps[:steps]  # in floating point, their trailing has one too many here and there
        if spacing is leading and steps == 1000:  # theirs is 1000 … 1, and 1000 is outside the table
            expected = expected - 1
        difference = spacing(steps, 1000) - expected
        if spacing is trailing and steps % 16 == 0:  # halves: rounded to even here, either way by their arithmetic
            assert difference.abs().max() <= 1, steps
        else:
            assert not difference.any(), steps


def test_timesteps_of_euler():
    theirs = diffusers.EulerDiscreteScheduler(**BETAS, timestep_spacing="linspace")
    for steps in (2, 7, 20, 50, 999):
        theirs.set_timesteps(steps)
        torch.testing.assert_close(linspace(steps, 1000), theirs.timesteps, rtol=1e-6, atol=2e-4)


# ── Samplers ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", STEPS)
def test_ddim(steps, eta, prediction):
    offset = int(steps < 1000)  # 1000 steps with offset 1 leave diffusers' table
    theirs = diffusers.DDIMScheduler(
        **BETAS,
        prediction_type=prediction,
        timestep_spacing="leading",
        steps_offset=offset,
        set_alpha_to_one=False,
        clip_sample=False,
    )
    expected = run_diffusers(theirs, start(), steps, eta=eta, generator=generators())
    schedule = sd_schedule(prediction, final_is_first=True)
    ours = ddim(model, start(), schedule, timesteps(schedule, steps, leading), eta=eta, generator=generators())
    assert sd.relative(ours, expected) < TOLERANCE


@pytest.mark.parametrize("steps", [1, 20, 50, 1000])
def test_ddim_trailing_to_the_clean_latent(steps):
    """As TINY samples. Only where 1000 divides: elsewhere diffusers leaves its own row of timesteps."""
    theirs = diffusers.DDIMScheduler(
        **BETAS, prediction_type="v_prediction", timestep_spacing="trailing", set_alpha_to_one=True, clip_sample=False
    )
    schedule = sd_schedule("v_prediction", final_is_first=False)
    ours = ddim(model, start(), schedule, timesteps(schedule, steps, trailing))
    assert sd.relative(ours, run_diffusers(theirs, start(), steps)) < TOLERANCE


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("spacing", [leading, trailing])
@pytest.mark.parametrize("steps", STEPS)
def test_ddpm(steps, spacing, prediction):
    offset = int(spacing is leading and steps < 1000)
    theirs = diffusers.DDPMScheduler(
        **BETAS,
        prediction_type=prediction,
        timestep_spacing=spacing.__name__,
        steps_offset=offset,
        clip_sample=False,
        variance_type="fixed_small",
    )
    expected = run_diffusers(theirs, start(), steps, generator=generators())
    schedule = sd_schedule(prediction, final_is_first=False)
    ours = ddpm(model, start(), schedule, timesteps(schedule, steps, spacing), generator=generators())
    assert sd.relative(ours, expected) < TOLERANCE


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("spacing", [leading, trailing, linspace])
@pytest.mark.parametrize("steps", STEPS)
def test_euler(steps, spacing, prediction):
    offset = int(spacing is leading and steps < 1000)
    theirs = diffusers.EulerDiscreteScheduler(
        **BETAS,
        prediction_type=prediction,
        steps_offset=offset,
        timestep_spacing=spacing.__name__,
        final_sigmas_type="zero",
    )
    expected = run_diffusers(theirs, start(), steps, in_sigma=True)
    schedule = sd_schedule(prediction, final_is_first=False)
    ts = timesteps(schedule, steps, spacing)
    if spacing is linspace and steps == 1:  # theirs is the one step from t = 0, where there is nothing to do
        ts = torch.zeros(1)
    ours = euler(model, start(), schedule, ts)
    assert sd.relative(ours, expected) < TOLERANCE


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
@pytest.mark.parametrize("steps", STEPS)
def test_dpm_solver_pp(steps, spacing, prediction):
    """Two of diffusers' three spacings of this solver are its own, so the timesteps are handed over."""
    theirs = diffusers.DPMSolverMultistepScheduler(
        **BETAS,
        prediction_type=prediction,
        timestep_spacing=spacing,
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        lower_order_final=True,
        final_sigmas_type="zero",
    )
    theirs.set_timesteps(steps)
    ts = theirs.timesteps
    if len(set(ts.tolist())) < len(ts):
        pytest.skip("diffusers visits one timestep twice here, which is no step")
    schedule = sd_schedule(prediction, final_is_first=False)
    ours = dpm_solver_pp(model, start(), schedule, ts)
    assert sd.relative(ours, run_diffusers(theirs, start(), steps)) < TOLERANCE
    if spacing == "trailing":
        assert ts.tolist() == trailing(steps, 1000).tolist()


# ── The scheduler's file ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scheduler", ["PNDMScheduler", "EulerDiscreteScheduler", "DDIMScheduler", "DDPMScheduler"])
def test_ddim_may_take_over_with_the_numbers_of_the_file(scheduler):
    config = {**sd.SCHEDULER, "_class_name": scheduler, "skip_prk_steps": True}
    theirs = diffusers.DDIMScheduler.from_config({**config, "_class_name": "DDIMScheduler"}, clip_sample=False)
    expected = run_diffusers(theirs, start(), 20)
    sampling = sampling_from_diffusers(config)
    ours = ddim(model, start(), sampling.schedule, timesteps(sampling.schedule, 20, sampling.spacing))
    assert sd.relative(ours, expected) < TOLERANCE


@pytest.mark.parametrize("spacing", [leading, leading_from_zero, trailing])
@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("betas", [scaled_linear_betas, linear_betas, cosine_betas])
def test_a_schedule_survives_its_file(betas, final, spacing):
    beta = betas()
    schedule = NoiseSchedule(beta, VELOCITY, 1 - beta[0].item() if final else 1.0)
    again = sampling_from_diffusers(sampling_to_diffusers(Sampling(schedule, spacing)), XL)
    torch.testing.assert_close(again.schedule.alpha_bar, schedule.alpha_bar, rtol=1e-4, atol=1e-7)
    assert again.schedule.final_alpha_bar == pytest.approx(schedule.final_alpha_bar, abs=1e-7)
    assert again.schedule.prediction is VELOCITY and again.spacing is spacing


@pytest.mark.parametrize(
    "change",
    [
        {"beta_schedule": "sigmoid"},
        {"prediction_type": "sample"},
        {"timestep_spacing": "odd"},
        {"steps_offset": 5},
        {"trained_betas": [0.1, 0.2]},
        {"thresholding": True},
        {"clip_sample": True},
    ],
)
def test_what_is_not_known_is_refused(change):
    with pytest.raises(ValueError, match=next(iter(change)).replace("steps_offset", "timestep_spacing")):
        sampling_from_diffusers({**sd.SCHEDULER, **change}, XL)
