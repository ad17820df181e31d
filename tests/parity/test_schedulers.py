"""The scheduler's folder decides: every key of every scheduler class of diffusers is followed, or refused by name.

The oracle is diffusers' class itself, after one of diffusers' pipelines has changed its configuration (it forces some
values), walked with a model that costs nothing.
"""

import inspect
import warnings

import diffusers
import pytest
import small_pipelines as sd
import torch
from torch import Tensor

from tinyldm import LatentDiffusion, ddim, ddpm, euler_ancestral, timesteps
from tinyldm.formats.schedulers import (
    FOLLOWED,
    INPAINTING,
    NEAREST,
    TEXT_TO_IMAGE,
    XL,
    Karras,
    Sampling,
    ddim_by_stride,
    landings,
    pndm_by_stride,
    sampling_from_diffusers,
    sampling_to_diffusers,
    zero_terminal_snr,
)
from tinyldm.forward_diffusion import EPS, VELOCITY, NoiseSchedule, linear_betas, scaled_linear_betas
from tinyldm.reverse_diffusion import leading, linspace, trailing

TOLERANCE = 1e-4  # of latents, relative, after all steps
CLASSES = sorted(
    name
    for name in dir(diffusers)
    if name.endswith("Scheduler") and not name.startswith("Flax") and inspect.isclass(getattr(diffusers, name))
)
SD_BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*steps with"),  # "leading" starts early, with few steps
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # what diffusers calls a deprecation, such as steps_offset 0
]


def model(z: Tensor, t: Tensor) -> Tensor:
    """Stands for a U-Net: bounded, and different for every t."""
    return torch.tanh(z * (0.4 + t.view(-1, 1, 1, 1) / 2000)) + 0.1 * torch.sin(3 * z.flip(1))


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in (5, 6)]


def noise() -> Tensor:
    return torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(11))


def in_pipeline(scheduler, kind: dict):
    """The scheduler as one of diffusers' pipelines leaves it."""
    if kind is TEXT_TO_IMAGE:
        return diffusers.StableDiffusionPipeline(*[None] * 4, scheduler, None, None, None, False).scheduler
    if kind is INPAINTING:
        return diffusers.StableDiffusionInpaintPipeline(*[None] * 4, scheduler, None, None, None, False).scheduler
    return scheduler


def walk_theirs(scheduler, steps: int) -> Tensor:
    """diffusers' own loop, as its pipelines have it; latents of unit variance."""
    scheduler.set_timesteps(steps)
    z, draws = noise() * scheduler.init_noise_sigma, generators()
    has_generator = "generator" in inspect.signature(scheduler.step).parameters
    options = {"generator": draws} if has_generator else {}
    for t in scheduler.timesteps:
        output = model(scheduler.scale_model_input(z, t), t.expand(len(z)))
        z = scheduler.step(output, t, z, **options).prev_sample
    return z


def walk_ours(sampling: Sampling, steps: int) -> Tensor:
    ts = timesteps(sampling.schedule, steps, sampling.spacing)
    z = noise() * (1 - sampling.schedule.at(ts[:1])).sqrt() if sampling.scales_noise else noise()
    return sampling.sampler(model, z, sampling.schedule, ts, generator=generators())


# ── Every key ────────────────────────────────────────────────────────────────────────────────────────

VALUES = {
    "num_train_timesteps": [500, 1100],
    "beta_start": [0.0001],
    "beta_end": [0.02],
    "beta_schedule": ["linear", "squaredcos_cap_v2", "laplace", "sigmoid"],
    "trained_betas": [[0.001] * 1000],
    "prediction_type": ["v_prediction", "sample", "flow_prediction"],
    "timestep_spacing": ["leading", "trailing", "linspace"],
    "steps_offset": [0, 1, 5],
    "solver_order": [1, 3],
    "algorithm_type": ["dpmsolver", "sde-dpmsolver++", "deis"],
    "solver_type": ["heun", "midpoint", "bh1", "bh2", "logrho"],
    "final_sigmas_type": ["sigma_min"],
    "lambda_min_clipped": [-5.1],
    "variance_type": ["learned", "fixed_large", "fixed_small_log", "learned_range"],
    "interpolation_type": ["log_linear"],
    "timestep_type": ["continuous"],
    "time_shift_type": ["linear"],
    "original_inference_steps": [40],
    "disable_corrector": [[0, 1]],
    "flow_shift": [3.0],
}


def alternatives(key: str, default) -> list:
    if key in VALUES:
        return VALUES[key]
    if isinstance(default, bool):
        return [not default, None]
    if isinstance(default, int | float):
        return [2 * default + 1]
    return [0.5] if default is None else ["another"]


def keys_of(name: str) -> dict:
    parameters = inspect.signature(getattr(diffusers, name).__init__).parameters
    return {key: one.default for key, one in parameters.items() if key not in ("self", "args", "kwargs")}


CASES = [
    (name, key, value)
    for name in FOLLOWED
    for key, default in keys_of(name).items()
    for value in alternatives(key, default)
]


def base_of(name: str) -> dict:
    """Stable Diffusion's numbers in a file of the class, all else left to its defaults."""
    known = {"skip_prk_steps": True, "clip_sample": False}
    return {**SD_BETAS, **{key: value for key, value in known.items() if key in keys_of(name)}, "_class_name": name}


def outcome(config: dict, kind: dict, steps: int = 20, tolerance: float = TOLERANCE) -> str:
    """ "refused", or "followed" where diffusers draws the same; anything else is a failure."""
    name = config["_class_name"]
    try:
        ours = sampling_from_diffusers(config, kind)
    except ValueError as error:
        changed = [key for key in config if key in str(error)] or [name in str(error)]
        assert any(changed), f"refused without naming what: {error}"
        return "refused"
    keys = {key: value for key, value in config.items() if key in keys_of(name)}
    try:
        theirs = in_pipeline(getattr(diffusers, name)(**keys), kind)
    except TypeError:
        assert None in config.values()  # null for true or false, which some of diffusers' classes add up
        return "impossible"
    difference = sd.relative(walk_ours(ours, steps), walk_theirs(theirs, steps))
    assert difference < tolerance, f"differs by {difference:.2g}"
    return "followed"


@pytest.mark.slow
@pytest.mark.parametrize("name, key, value", CASES)
def test_each_key_is_followed_or_refused(name, key, value):
    for kind in (TEXT_TO_IMAGE, XL):
        outcome({**base_of(name), key: value}, kind)


FOLLOWED_VALUES = {
    "prediction_type": ["v_prediction"],
    "timestep_spacing": ["leading", "trailing"],
    "beta_schedule": ["linear", "squaredcos_cap_v2"],
    "num_train_timesteps": [500, 1100],
    "steps_offset": [0, 1],
}


@pytest.mark.parametrize("name", FOLLOWED)
@pytest.mark.parametrize("key, value", [(key, value) for key, some in FOLLOWED_VALUES.items() for value in some])
@pytest.mark.parametrize("kind", [TEXT_TO_IMAGE, INPAINTING, XL], ids=["text", "inpainting", "xl"])
def test_what_is_common_is_followed(name, key, value, kind):
    if name == "PNDMScheduler" and value == 1100:
        pytest.skip("diffusers' PNDM lands on T // steps below each timestep; here only where that is its next one")
    config = {**base_of(name), "clip_sample": False, key: value}
    if key in keys_of(name):
        assert outcome(config, kind) == "followed"


@pytest.mark.parametrize("name", FOLLOWED)
def test_defaults_are_those_of_the_class(name):
    """A file with nothing but its class, in the pipeline that forces no value of the noise."""
    config = {"_class_name": name, "skip_prk_steps": True} if name == "PNDMScheduler" else {"_class_name": name}
    assert outcome(config, TEXT_TO_IMAGE) == "followed"
    family = FOLLOWED[name]
    defaults = keys_of(name)
    assert {key: defaults[key] for key in family.defaults} == family.defaults
    assert set(family.fixed) <= set(defaults)


@pytest.mark.parametrize("steps", [1, 4, 20, 30, 50])
@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "DPMSolverMultistepScheduler"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_karras_sigmas(name, steps, prediction):
    """Euler takes fractional timesteps, DPM-Solver++ rounds them: both as diffusers."""
    if steps == 1 and name == "EulerDiscreteScheduler":
        pytest.skip("one step of linspace is t = 0 there")
    config = {**base_of(name), "use_karras_sigmas": True, "prediction_type": prediction}
    assert outcome(config, XL, steps) == "followed"
    assert outcome({**config, "timestep_spacing": "trailing"}, XL, steps) == "followed"


def test_karras_sigmas_are_those_of_the_paper():
    schedule = NoiseSchedule(scaled_linear_betas())
    ts = Karras(schedule)(10, 1000)
    sigma = ((1 - schedule.at(ts)) / schedule.at(ts)).sqrt()
    roots = sigma ** (1 / 7)
    assert (roots.diff() - roots.diff().mean()).abs().max() < 1e-5 and ts[0] == 999 and ts[-1] < 1e-3
    theirs = diffusers.EulerDiscreteScheduler(**SD_BETAS, use_karras_sigmas=True)
    theirs.set_timesteps(10)
    torch.testing.assert_close(sigma, theirs.sigmas[:-1], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ts, theirs.timesteps, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("steps", [1, 4, 20, 50])
@pytest.mark.parametrize("name", [name for name in FOLLOWED if "rescale_betas_zero_snr" in FOLLOWED[name].defaults])
def test_zero_terminal_snr(name, steps):
    config = {**base_of(name), "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
    config |= {"timestep_spacing": "trailing", "clip_sample": False}
    # In float32, σ = 4096 leaves diffusers' Euler three digits, which the steps after the first win back.
    assert outcome(config, XL, steps, 5e-3 if "Euler" in name and steps < 20 else TOLERANCE) == "followed"
    with pytest.raises(ValueError, match="rescale_betas_zero_snr needs prediction_type"):
        sampling_from_diffusers({**config, "prediction_type": "epsilon"})


def test_zero_terminal_snr_ends_in_pure_noise():
    beta = zero_terminal_snr(scaled_linear_betas())
    alpha_bar = torch.cumprod(1 - beta, 0)
    assert alpha_bar[-1] == 0 and alpha_bar[0].item() == pytest.approx(1 - 0.00085)
    theirs = diffusers.DDIMScheduler(**SD_BETAS, rescale_betas_zero_snr=True)
    torch.testing.assert_close(alpha_bar.float(), theirs.alphas_cumprod, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("steps", [1, 2, 4, 8, 50])
def test_lcm(steps):
    assert outcome(base_of("LCMScheduler"), XL, steps) == "followed"


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 20, 50, 999])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_pndm(steps, prediction):
    config = {**base_of("PNDMScheduler"), "prediction_type": prediction}
    assert outcome(config, TEXT_TO_IMAGE, steps) == "followed"


@pytest.mark.parametrize("steps", [1, 2, 3, 6, 7, 12, 15, 23, 30, 35, 50, 60, 75, 99, 150])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", ["DDIMScheduler", "PNDMScheduler"])
def test_trailing_where_the_steps_do_not_divide(name, prediction, steps):
    """diffusers' DDIM and PNDM land T // steps below each timestep, and so beside the next one: off by up to 0.3."""
    config = {**base_of(name), "timestep_spacing": "trailing", "prediction_type": prediction}
    assert outcome(config, TEXT_TO_IMAGE, steps) == "followed"


def test_where_each_step_lands():
    for T, steps in ((1000, 7), (1000, 30), (1000, 150), (500, 499), (10, 3), (10, 10), (1000, 1)):
        ts = trailing(steps, T)
        assert landings(ts, T) == [t - T // steps for t in ts.tolist()]
        if steps > 5:  # the last part of a walk, of image-to-image
            assert landings(ts[2:], T) == [t - T // steps for t in ts[2:].tolist()]
    for other in (linspace(7, 1000), leading(7, 1000)):
        assert landings(other, 1000) == [*other[1:].tolist(), -1]


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ddim_by_stride_is_ddim_where_the_steps_divide(eta):
    schedule, ts = NoiseSchedule(scaled_linear_betas(), VELOCITY), trailing(20, 1000)
    options = dict(eta=eta, generator=None if eta == 0 else generators())
    walks = [sampler(model, noise(), schedule, ts, **options) for sampler in (ddim,)]
    options = dict(eta=eta, generator=None if eta == 0 else generators())
    assert torch.equal(walks[0], ddim_by_stride(model, noise(), schedule, ts, **options))


def test_a_callback_counts_all_steps_and_may_replace():
    schedule, ts, seen = NoiseSchedule(scaled_linear_betas()), trailing(7, 1000), []
    for sampler in (ddim_by_stride, pndm_by_stride):
        seen.clear()
        assert not sampler(model, noise(), schedule, ts, callback=lambda i, z, z0: seen.append(i) or 0 * z).any()
        assert seen == list(range(7))


def test_pndm_calls_the_model_once_more_than_it_has_steps():
    """Which is why Stable Diffusion 1's own folder takes 51 calls for 50 steps."""
    sampling, calls = sampling_from_diffusers(base_of("PNDMScheduler")), []

    def counted(z, t):
        calls.append(t[0].item())
        return model(z, t)

    ts = timesteps(sampling.schedule, 50, sampling.spacing)
    sampling.sampler(counted, noise(), sampling.schedule, ts)
    theirs = diffusers.PNDMScheduler(**SD_BETAS, skip_prk_steps=True, steps_offset=1)
    theirs.set_timesteps(50)
    assert calls == theirs.timesteps.tolist()


def test_euler_ancestral_is_ddpm_in_other_coordinates():
    schedule = NoiseSchedule(scaled_linear_betas(), VELOCITY)
    ts = timesteps(schedule, 20, linspace)
    a, b = (sampler(model, noise(), schedule, ts, generator=generators()) for sampler in (euler_ancestral, ddpm))
    assert sd.relative(a, b) < 1e-4


# ── Other classes ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", [name for name in CLASSES if name not in FOLLOWED and name not in NEAREST])
def test_other_classes_are_refused_by_name(name):
    with pytest.raises(ValueError, match=f"the scheduler is {name}"):
        sampling_from_diffusers({"_class_name": name})


def test_no_class_is_forgotten():
    assert set(FOLLOWED) | set(NEAREST) <= set(CLASSES) and len(CLASSES) > 40


NEAREST_CASES = [
    (name, key, value)
    for name in NEAREST
    for key, default in keys_of(name).items()
    for value in (*alternatives(key, default), default)
    if key not in ("solver_order", "solver_type", "predict_x0", "lower_order_final", "disable_corrector", "solver_p")
    if (name, key, value)
    not in (
        ("UniPCMultistepScheduler", "use_dynamic_shifting", True),  # asks for one more argument
        ("DEISMultistepScheduler", "algorithm_type", "sde-dpmsolver++"),  # diffusers has it not either
        ("DPMSolverSinglestepScheduler", "algorithm_type", "deis"),
    )
    and (key, value) != ("use_karras_sigmas", None)  # which diffusers adds up
]


@pytest.mark.slow
@pytest.mark.parametrize("name, key, value", NEAREST_CASES)
def test_where_a_solver_is_missing_the_noise_is_followed_and_a_warning_says_so(name, key, value):
    """The same table, the same timesteps, the same start; the keys that only shape the solver go with it."""
    config = {**SD_BETAS, "_class_name": name, key: value}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            ours = sampling_from_diffusers(config)
        except ValueError as error:
            assert key in str(error)
            return
    assert any(f"{name}, which this package lacks" in str(one.message) for one in caught)
    theirs = in_pipeline(
        getattr(diffusers, name)(**{k: v for k, v in config.items() if k != "_class_name"}), TEXT_TO_IMAGE
    )
    theirs.set_timesteps(20)
    torch.testing.assert_close(ours.schedule.alpha_bar, theirs.alphas_cumprod, rtol=1e-4, atol=1e-6)
    ts = timesteps(ours.schedule, 20, ours.spacing)
    wanted = ts.round() if ours.sampler.__name__.startswith("dpm_solver_pp") else ts
    distance = (wanted.double()[:, None] - theirs.timesteps.double()[None]).abs().min(1).values
    assert distance.max() < (1.01 if config.get("use_karras_sigmas") else 1e-2)
    scale = theirs.init_noise_sigma / (theirs.sigmas[0] ** 2 + 1) ** 0.5 if ours.scales_noise else 1.0
    ours_scale = (1 - ours.schedule.at(ts[:1])).sqrt() if ours.scales_noise else torch.ones(1)
    torch.testing.assert_close(ours_scale, torch.as_tensor(scale).float().view(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "config, message",
    [
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "a flow-matching model"),
        ({"_class_name": "EDMEulerScheduler"}, "the preconditioning of EDM"),
        ({"_class_name": "TCDScheduler"}, "trajectory consistency"),
        ({"_class_name": ["x"]}, "not one that this package knows"),
        ({"_class_name": "EulerDiscreteScheduler", "use_exponential_sigmas": True}, "use_exponential_sigmas is True"),
        ({"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++"}, "algorithm_type is"),
        ({"_class_name": "PNDMScheduler"}, "skip_prk_steps is False"),
        ({"_class_name": "DDIMScheduler", "timestep_spacing": "linspace"}, "timestep_spacing is 'linspace'"),
        ({"use_karras_sigmas": 3, "_class_name": "EulerDiscreteScheduler"}, "use_karras_sigmas is 3; expected true"),
    ],
)
def test_refusals_say_why(config, message):
    with pytest.raises(ValueError, match=message):
        sampling_from_diffusers(config)


# ── Whole models ─────────────────────────────────────────────────────────────────────────────────────

SCHEDULERS = {
    "DDIM": diffusers.DDIMScheduler(**sd.SCHEDULER),
    "PNDM": diffusers.PNDMScheduler(**SD_BETAS, skip_prk_steps=True, steps_offset=1),
    "DDPM": diffusers.DDPMScheduler(**SD_BETAS, clip_sample=False, steps_offset=1),
    "Euler": diffusers.EulerDiscreteScheduler(**SD_BETAS, steps_offset=1),
    "Euler Karras": diffusers.EulerDiscreteScheduler(**SD_BETAS, use_karras_sigmas=True, steps_offset=1),
    "Euler ancestral": diffusers.EulerAncestralDiscreteScheduler(
        **SD_BETAS, timestep_spacing="trailing", steps_offset=1
    ),
    "DPM++": diffusers.DPMSolverMultistepScheduler(**SD_BETAS, steps_offset=1),
    "DPM++ Karras": diffusers.DPMSolverMultistepScheduler(**SD_BETAS, use_karras_sigmas=True, steps_offset=1),
    "LCM": diffusers.LCMScheduler(steps_offset=1),
}


@pytest.fixture(scope="module")
def pipe():
    return sd.pipeline()


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_folder_draws_what_diffusers_draws(name, pipe, tmp_path):
    """With nothing said on either side; and again after it has been saved here."""
    pipe.scheduler = SCHEDULERS[name]
    ours = LatentDiffusion.from_pretrained(sd.saved(pipe, tmp_path / "theirs"))
    ours.save_pretrained(tmp_path / "ours")
    again = LatentDiffusion.from_pretrained(tmp_path / "ours")
    reopened = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "ours", low_cpu_mem_usage=False)
    reopened.set_progress_bar_config(disable=True)
    assert type(reopened.scheduler) is type(pipe.scheduler)
    caption, start = (
        "a red astronaut riding a horse",
        torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3)),
    )
    images = [
        model.generate([caption], steps=6, guidance_scale=3.0, noise=start, generator=generators()[:1])
        for model in (ours, again)
    ]
    images += [
        theirs(
            caption,
            num_inference_steps=6,
            guidance_scale=3.0,
            latents=start,
            height=64,
            width=64,
            generator=generators()[:1],
            output_type="pt",
        ).images
        for theirs in (pipe, reopened)
    ]
    assert torch.equal(images[0], images[1])
    assert (images[0] - images[2]).abs().max() < 1e-3 and (images[2] - images[3]).abs().max() < 1e-3


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_survives_its_file(name):
    first = sampling_from_diffusers({**SCHEDULERS[name].config, "_class_name": type(SCHEDULERS[name]).__name__})
    again = sampling_from_diffusers(sampling_to_diffusers(first))
    assert again.sampler is first.sampler and again.scales_noise == first.scales_noise
    assert torch.equal(again.spacing(20, 1000), first.spacing(20, 1000))
    torch.testing.assert_close(again.schedule.alpha_bar, first.schedule.alpha_bar, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("betas", [scaled_linear_betas, linear_betas])
def test_zero_terminal_snr_survives_its_file(betas):
    first = Sampling(NoiseSchedule(zero_terminal_snr(betas()), VELOCITY), trailing)
    config = sampling_to_diffusers(first)
    assert config["rescale_betas_zero_snr"] is True
    torch.testing.assert_close(
        sampling_from_diffusers(config).schedule.alpha_bar, first.schedule.alpha_bar, rtol=1e-4, atol=1e-7
    )


def test_what_no_class_does_is_not_written():
    schedule = NoiseSchedule(scaled_linear_betas(), EPS)
    with pytest.raises(ValueError, match="a sampler that a diffusers folder cannot name"):
        sampling_to_diffusers(Sampling(schedule, linspace, lambda *_: None))
    with pytest.raises(ValueError, match="a spacing that diffusers does not have for DDIMScheduler"):
        sampling_to_diffusers(Sampling(schedule, Karras(schedule)))
