"""Kinds of mistakes that a check must not let through, phase by phase; and right answers that it must not refuse."""

import subprocess
import sys

import pytest
import torch

from tinyldm_course.checks import makers, phases, pipeline
from tinyldm_course.checks.calls import Call, Outcome, Seeded
from tinyldm_course.checks.exercise import Exercise
from tinyldm_course.checks.in_process import InProcessRunner
from tinyldm_course.checks.pipeline import run_check
from tinyldm_course.checks.randomness import noise_diagnosis, same
from tinyldm_course.exercises import find

NOISY = ("noise_one_step", "langevin_step", "posterior_sample", "ddpm_step")


def result_of(answer, name):
    return run_check(find(name), InProcessRunner(answer, 60.0), seed=0)


def test_the_phases_are_run_in_the_order_that_is_announced():
    names = [phase.__name__ for phase, _ in pipeline.PHASES]
    assert names == ["values", "inputs", "dtype", "gradients", "generator", "device"]
    assert " → ".join(names) in phases.__doc__ and " → ".join(names) in pipeline.__doc__


# ── Generator ────────────────────────────────────────────────────────────────────────────────────────


def copied(generator):
    other = torch.Generator()
    other.set_state(generator.get_state())
    return other


def made_again(generator):
    return torch.Generator().manual_seed(generator.initial_seed())


def set_back(generator):
    return generator.manual_seed(generator.initial_seed())


def set_back_after_use(generator):
    torch.rand(3, generator=generator)
    return torch.Generator().manual_seed(generator.initial_seed())


@pytest.mark.parametrize("name", NOISY)
@pytest.mark.parametrize("other", [copied, made_again, set_back, set_back_after_use])
def test_a_generator_that_stands_still_is_found(name, other):
    """The numbers are those of the right answer; but in a loop of steps they would be the same in each step."""
    right = find(name).answer
    result = result_of(lambda *args: right(*args[:-1], other(args[-1])), name)
    assert result.diagnosis == "generator-stands-still" and "the right values on" in result.verified[0]


@pytest.mark.parametrize("name", NOISY)
def test_noise_of_another_generator_that_moves_on_passes(name):
    """Its seed comes from the given one, whose state moves on with it: other numbers, as good."""
    right = find(name).answer

    def other(generator):
        return torch.Generator().manual_seed(int(torch.randint(2**40, (), generator=generator)))

    result = result_of(lambda *args: right(*args[:-1], other(args[-1])), name)
    assert result.passed, result


def test_a_function_that_fails_in_the_second_call_does_not_pass():
    right, calls = find("noise_one_step").answer, []

    def noise_one_step(z, beta, generator):
        if generator in calls:
            raise RuntimeError("once is enough")
        calls.append(generator)
        return right(z, beta, generator)

    result = result_of(noise_one_step, "noise_one_step")
    assert result.diagnosis == "crash" and result.error.message == "once is enough"


# ── Gradients and dtypes of other draws ──────────────────────────────────────────────────────────────


def negative_noise(z, beta, generator):
    return -torch.randn(z.shape, generator=generator, dtype=z.dtype).to(z.device) * beta**0.5


def test_with_other_draws_gradients_are_still_compared():
    """-ε is as good as ε; a gradient that is half the right one is not."""

    def cut(z, beta, generator):
        return (1 - beta) ** 0.5 * z.detach() + negative_noise(z, beta, generator)

    def halved(z, beta, generator):
        return (1 - beta) ** 0.5 * (0.5 * z + 0.5 * z.detach()) + negative_noise(z, beta, generator)

    def right(z, beta, generator):
        return (1 - beta) ** 0.5 * z + negative_noise(z, beta, generator)

    exercise = Exercise(**vars(find("noise_one_step")) | {"constants": ()})
    results = [run_check(exercise, InProcessRunner(answer)) for answer in (right, cut, halved)]
    assert [result.diagnosis for result in results] == ["", "gradient-cut", "gradient-wrong"]
    result = results[-1]
    assert result.diagnosis == "gradient-wrong" and "gradient of z is 0.5 times" in result.message


def test_the_gradient_through_a_standard_deviation_is_compared_with_other_draws():
    def posterior_sample(moments, generator, through=True):
        mean, logvar = moments.chunk(2, dim=1)
        std = torch.exp(logvar.clamp(-30, 20) / 2)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        return mean - (std if through else std.detach()) * noise

    assert result_of(posterior_sample, "posterior_sample").passed
    cut = result_of(lambda *args: posterior_sample(*args, through=False), "posterior_sample")
    assert cut.diagnosis == "gradient-wrong"


def test_other_draws_are_looked_at_in_float64_too():
    def noise_one_step(z, beta, generator):
        factor = 1 if z.dtype == torch.float32 else 2
        return (1 - beta) ** 0.5 * z + factor * negative_noise(z, beta, generator)

    assert not result_of(noise_one_step, "noise_one_step").passed


# ── The part without noise ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sign", [1, -1])
def test_noise_is_not_blamed_for_a_wrong_factor_beside_it(sign):
    def noise_one_step(z, beta, generator):
        return (1 - beta) ** 1.5 * z + sign * torch.randn(z.shape, generator=generator, dtype=z.dtype) * beta**0.5

    result = result_of(noise_one_step, "noise_one_step")
    expected = {
        1: ("one-slip", "`(1 - beta) ** 1.5` in place of"),
        -1: ("wrong-mean", "The noise in your result is right"),
    }
    assert result.diagnosis == expected[sign][0] and expected[sign][1] in result.message


def test_what_is_certain_about_the_part_without_noise_is_said():
    right = find("langevin_step").answer

    def langevin_step(x, score, step, generator):
        noise = right(x, score, step, generator) - x - step / 2 * score(x)
        return 3 * (x + step / 2 * score(x)) + noise

    result = result_of(langevin_step, "langevin_step")
    assert result.diagnosis == "wrong-mean" and "The part without noise is 3 times the expected one" in result.message


def test_channels_that_are_split_wrongly_are_not_called_noise_that_is_not_normal():
    """A standard deviation of 3e-7 beside a mean of -60 shows float32's steps, and no distribution."""

    def posterior_sample(moments, generator):
        mean, logvar = moments[:, ::2], moments[:, 1::2]
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        return mean + torch.exp(logvar.clamp(-30, 20) / 2) * noise

    def flipped(moments, generator):
        mean, logvar = moments[:, ::2], moments[:, 1::2]
        noise = torch.randn(mean.shape, generator=generator).to(mean).flip(0, 1, 2, 3)
        return mean + torch.exp(logvar.clamp(-30, 20) / 2) * noise

    assert result_of(posterior_sample, "posterior_sample").diagnosis == "every-second-channel"
    assert result_of(flipped, "posterior_sample").diagnosis in ("every-second-channel", "noise-spread")


def test_what_is_certain_about_the_factor_of_the_noise_is_said():
    def posterior_sample(moments, generator):
        mean, logvar = moments.chunk(2, dim=1)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        return mean - 0.25 * torch.exp(logvar.clamp(-30, 20) / 2) * noise

    result = result_of(posterior_sample, "posterior_sample")
    assert result.diagnosis == "noise-spread" and "The factor of the noise is 0.25 times" in result.message


def test_wrong_noise_is_still_blamed():
    right = find("noise_one_step").answer

    def more_noise(z, beta, generator):
        return 3 * right(z, beta, generator) - 2 * (1 - beta) ** 0.5 * z

    assert result_of(more_noise, "noise_one_step").diagnosis == "noise-spread"


def test_results_of_any_kind_are_judged_without_an_error():
    """As a forger, or a function that changes its mind, may give them."""
    exercise, call = find("noise_one_step"), Call((torch.ones(2, 3), 0.2, Seeded(4)))
    shapes = iter(range(1000))
    values = [
        lambda: None,
        lambda: torch.ones(2, 3, dtype=torch.complex64),
        lambda: torch.ones(2, 3, device="meta"),
        lambda: {"a": torch.rand(2, 3)},
        lambda: torch.rand(next(shapes) % 3 + 1, 3),
        lambda: [torch.rand(2, 3), None],
        lambda: torch.ones(2, 3, dtype=torch.bool),
    ]
    for value in values:
        assert noise_diagnosis(exercise, lambda call, value=value: Outcome(value=value()), call) is not None
    for calls in range(100):  # the rest of them end in an error, as where the time is up
        left = iter(range(calls))
        lost = lambda call: Outcome(value=torch.rand(2, 3) if next(left, None) is not None else None)  # noqa: B023, E731
        assert noise_diagnosis(exercise, lost, call) is not None


def test_structures_are_compared_in_every_number():
    a, b = torch.rand(2, 3), torch.rand(2, 3)
    assert same({"x": [a, 1]}, {"x": [a.clone(), 1]}) and not same({"x": [a]}, {"x": [b]})
    assert not same([a], [a, a]) and not same({"x": a}, {"y": a}) and not same(a, 1.0)


# ── Dtype ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["pad_tokens", "leading_timesteps", "trailing_timesteps"])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8, torch.float32, torch.float64])
def test_whole_numbers_have_the_dtype_that_is_asked_for(name, dtype):
    right = find(name).answer
    assert not result_of(lambda *args: right(*args).to(dtype), name).passed
    result = result_of(lambda *args: right(*args).int(), name)
    assert result.diagnosis == "other-whole" and result.counter_example.expected == "torch.int64"


@pytest.mark.parametrize("name", ["mended_embedding", "contexts_for_guidance", "timestep_embedding"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_float_dtype_that_is_asked_for_is_compared(name, dtype):
    right = find(name).answer
    assert not result_of(lambda *args: right(*args).to(dtype), name).passed


@pytest.mark.parametrize("name", ["scaled_linear_betas", "geometric_levels", "betas_from_config", "image_to_signed"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_where_none_is_asked_for_any_float_dtype_is_right(name, dtype):
    right = find(name).answer
    assert result_of(lambda *args: right(*args).to(dtype), name).passed


# ── Device ───────────────────────────────────────────────────────────────────────────────────────────


def with_timesteps_on_the_cpu(model):
    return lambda z, t, context: model(z, torch.as_tensor(t).cpu() if not t.is_meta else torch.zeros(len(z)), context)


@pytest.mark.parametrize("name", ["mended_walk", "mended_guidance", "guided_prediction"])
def test_no_stand_in_hides_a_timestep_on_another_device(name):
    """As the package's U-Net does, the stand-in refuses it."""
    right = find(name).answer
    result = result_of(lambda model, *rest: right(with_timesteps_on_the_cpu(model), *rest), name)
    assert result.diagnosis == "wrong-device"


def test_no_stand_in_moves_what_it_is_given():
    """Every network of the exercises, called as in a check, with one of its arguments on another device."""
    meta = {"device": "meta"}
    z, t, context = torch.ones(2, 3, 4, 4, **meta), torch.ones(2, **meta), torch.ones(2, 5, 6, **meta)
    networks = [(made(), (z, t, context)) for made in (makers.toy_unet, makers.strict_unet)]
    networks += [(makers.z_plus_square_of_context(), (z, context, context))]
    networks += [(makers.ToyModel().to("meta"), (z, t)), (makers.ToyScoreNetwork().to("meta"), (torch.ones(2, 2), t))]
    networks += [(makers.ToyDenoiser(4, 6, 0).to("meta"), (torch.ones(2, 4, **meta), t, context))]
    for network, args in networks:
        args = tuple(arg.to("meta") for arg in args)
        assert network(*args).is_meta
        for place in range(len(args)):
            if isinstance(network, type(makers.z_plus_square_of_context())) and place == 1 and args[1] is args[2]:
                continue  # it does not read t
            moved = (*args[:place], torch.ones(args[place].shape), *args[place + 1 :])
            with pytest.raises((RuntimeError, ValueError, NotImplementedError)):
                network(*moved)


def test_right_answers_make_a_claim_about_devices_where_they_can():
    claim = "new tensors are made on the input's device"
    for name in ("mended_walk", "guided_prediction", "q_sample", *NOISY):
        assert claim in result_of(find(name).answer, name).verified, name


# ── No home ──────────────────────────────────────────────────────────────────────────────────────────

WITHOUT_HOME = """
import os, pathlib
os.environ.pop("HOME", None)
os.environ.pop("USERPROFILE", None)
os.environ.pop("TINYLDM_PROGRESS", None)

def home():
    raise RuntimeError("Could not determine home directory.")

pathlib.Path.home = home
from tinyldm_course.checking import check
assert check("alpha_bar_from_beta", lambda beta: (1 - beta).cumprod(0))
assert not check("alpha_bar_from_beta", lambda beta: beta)
"""


def test_without_a_home_folder_the_verdict_is_given():
    done = subprocess.run([sys.executable, "-c", WITHOUT_HOME], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "✔ alpha_bar_from_beta: right" in done.stdout and "✘ alpha_bar_from_beta: not yet" in done.stdout
    assert done.stdout.count("Your progress was not saved: there is no home folder; set TINYLDM_PROGRESS") == 2
