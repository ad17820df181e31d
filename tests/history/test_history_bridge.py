"""2021's bridge, the change of data, and the translator: against closed forms, diffusers and each other."""

import math

import pytest
import torch

from tinyldm import forward_diffusion
from tinyldm.history import data, ddpm_2020, latent_space, network, notation, probability_flow, score_matching_2019

DOUBLE = torch.float64


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=DOUBLE)


ONE_GAUSSIAN = data.GaussianMixture("one", torch.tensor([[0.5, -0.2]], dtype=DOUBLE), 0.6, torch.ones(1, dtype=DOUBLE))


def gaussian_flow(x: torch.Tensor, now: float, after: float) -> torch.Tensor:
    """The exact solution for N(m, s^2): distances from m scale with sqrt(s^2 + sigma^2)."""
    m = ONE_GAUSSIAN.means
    return m + (x - m) * math.sqrt((0.36 + after**2) / (0.36 + now**2))


# The flow.


def test_flow_of_one_gaussian_is_the_closed_form():
    x, eps = 3 * randn(50, 2), probability_flow.noise_of_data(ONE_GAUSSIAN)
    end = probability_flow.heun(eps, x, probability_flow.karras_sigmas(5.0, 0.01, 200))[-1]
    torch.testing.assert_close(end, gaussian_flow(x, 5.0, 0.01), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("solver, order", [(probability_flow.euler, 1), (probability_flow.heun, 2)])
def test_solvers_have_their_order(solver, order):
    x, eps = 3 * randn(50, 2), probability_flow.noise_of_data(ONE_GAUSSIAN)

    def error(steps: int) -> float:
        end = solver(eps, x, torch.linspace(5.0, 0.5, steps + 1).tolist())[-1]
        return (end - gaussian_flow(x, 5.0, 0.5)).abs().max().item()

    assert math.log2(error(64) / error(128)) == pytest.approx(order, abs=0.15)


def test_euler_step_is_ddim():
    """One step in x_bar against DDIM's eq. 12 with sigma_t = 0, written in x_t."""
    a, b = 0.3, 0.7  # alpha_bar now and after
    x_t, eps = randn(20, 2), randn(20, 2, seed=1)
    x0 = (x_t - math.sqrt(1 - a) * eps) / math.sqrt(a)
    ddim = math.sqrt(b) * x0 + math.sqrt(1 - b) * eps
    levels = [math.sqrt((1 - v) / v) for v in (a, b)]
    ours = probability_flow.euler(lambda x, sigma: eps, x_t / math.sqrt(a), levels)[-1] * math.sqrt(b)
    torch.testing.assert_close(ours, ddim)


def test_euler_is_diffusers_ddim():
    from diffusers import DDIMScheduler

    theirs = DDIMScheduler(clip_sample=False, set_alpha_to_one=True)
    theirs.set_timesteps(50)
    alpha_bar = theirs.alphas_cumprod.double()
    now, after = int(theirs.timesteps[10]), int(theirs.timesteps[11])
    x_t, eps = randn(20, 2), randn(20, 2, seed=1)
    expected = theirs.step(eps, now, x_t).prev_sample
    levels = [math.sqrt((1 - alpha_bar[t]) / alpha_bar[t]) for t in (now, after)]
    x_bar = probability_flow.euler(lambda x, sigma: eps, x_t / alpha_bar[now].sqrt(), levels)[-1]
    ours = x_bar * alpha_bar[after].sqrt()
    torch.testing.assert_close(ours, expected.double(), rtol=1e-4, atol=1e-5)


def test_flow_there_and_back_returns():
    chosen = data.ring_of_gaussians()
    x = chosen.sample(200, generator()).double()
    eps, levels = probability_flow.noise_of_data(chosen), probability_flow.karras_sigmas(8.0, 0.05, 150)
    up = probability_flow.heun(eps, x, levels[::-1])[-1]
    assert up.std() > 6
    torch.testing.assert_close(probability_flow.heun(eps, up, levels)[-1], x, rtol=0, atol=0.02)


def test_flow_likelihood_is_the_exact_density():
    """Pushed up the flow of the exact score, points get the mixture's own log-density, within 0.01 nats."""
    chosen, low, high = data.ring_of_gaussians(), 0.05, 30.0
    x = chosen.sample(100, generator()).double() + low * randn(100, 2, seed=1)
    ours = probability_flow.log_likelihood(probability_flow.noise_of_data(chosen), x, low, high, steps=150)
    torch.testing.assert_close(ours, chosen.log_density(x, 1.0, low), rtol=0, atol=0.01)


def test_divergence_is_the_trace_of_the_jacobian():
    eps = probability_flow.noise_of_data(data.two_moons())
    x = randn(5, 2)
    value, divergence = probability_flow.noise_and_divergence(eps, x, 0.3)
    torch.testing.assert_close(value, eps(x, 0.3))
    for i in range(5):
        jacobian = torch.autograd.functional.jacobian(lambda p: eps(p[None], 0.3)[0], x[i])
        torch.testing.assert_close(divergence[i], jacobian.trace(), rtol=1e-5, atol=1e-6)


def test_flow_keeps_the_marginals():
    """Points of N(0, 1 + 100) carried down the exact flow are distributed as the data (eq. 13's promise)."""
    from tinyldm_course.history.compare import sliced_wasserstein

    chosen = data.two_moons()
    start = math.sqrt(101) * torch.randn(4000, 2, generator=generator())
    levels = probability_flow.karras_sigmas(10.0, 0.01, 40)
    end = probability_flow.heun(probability_flow.noise_of_data(chosen), start, levels)[-1]
    floor = sliced_wasserstein(chosen.sample(4000, generator(1)), chosen.sample(4000, generator(2)))
    assert sliced_wasserstein(end, chosen.sample(4000, generator(3))) < 2 * floor + 0.02


def test_time_of_sigma_inverts_the_schedule():
    sigmas = ddpm_2020.linear_schedule().sigma()
    for t in (0, 1, 57, 500, 999):
        assert probability_flow.time_of_sigma(sigmas[t].item(), sigmas) == pytest.approx(t, abs=0.01)
    between = probability_flow.time_of_sigma(math.sqrt(sigmas[99] * sigmas[100]), sigmas)
    assert between == pytest.approx(99.5, abs=0.01)
    assert probability_flow.time_of_sigma(1e6, sigmas) == 999 and probability_flow.time_of_sigma(1e-6, sigmas) == 0


def test_karras_levels_fall_from_high_to_low():
    levels = probability_flow.karras_sigmas(80.0, 0.002, 18)
    assert levels[0] == pytest.approx(80) and levels[-1] == pytest.approx(0.002)
    assert all(a > b for a, b in zip(levels, levels[1:])) and levels[9] < 4  # half of the steps below 5 % of the range
    with pytest.raises(ValueError, match="sigma_max > sigma_min > 0"):
        probability_flow.karras_sigmas(1.0, 1.0, 5)


def test_network_adapters_are_the_networks_in_x_bar():
    """noise_of_ddpm at a schedule's own sigma is the network at that t; noise_of_ncsn is -sigma times its score."""
    q = ddpm_2020.linear_schedule()
    eps_theta = ddpm_2020.NoisePredictor(q, generator())
    x_t, t = torch.randn(6, 2, generator=generator(1)), 300
    x_bar, sigma = x_t / q.alpha_bar[t].sqrt(), q.sigma()[t].item()
    expected = eps_theta(x_t, torch.full((6,), t))
    torch.testing.assert_close(probability_flow.noise_of_ddpm(eps_theta)(x_bar, sigma), expected, rtol=1e-3, atol=1e-4)
    s = score_matching_2019.ScoreNetwork(score_matching_2019.geometric_levels(), generator())
    torch.testing.assert_close(probability_flow.noise_of_ncsn(s)(x_bar, 0.5), -0.5 * s(x_bar, torch.full((6,), 0.5)))


# A latent space.


def hidden_points(n: int = 2000):
    frame = latent_space.hidden_frame(generator())
    return frame, latent_space.hide(data.two_moons().sample(n, generator(1)), frame, generator(2))


def test_autoencoder_finds_the_plane_and_scales_to_variance_1():
    frame, x = hidden_points()
    coder = latent_space.fit_autoencoder(x)
    z = coder.encode(x)
    assert z.var(dim=0, unbiased=False).mean().item() == pytest.approx(1.0, abs=1e-4)
    assert torch.linalg.svdvals(coder.frame.T @ frame).min() > 0.999  # the same plane
    assert coder.scale == pytest.approx(1 / 5, rel=0.05)  # hidden at size 5
    torch.testing.assert_close(coder.encode(coder.decode(z)), z, rtol=1e-3, atol=1e-4)
    lost = (coder.decode(z) - x).square().sum(dim=1).mean().item()
    assert lost == pytest.approx(30 * 0.02**2, rel=0.05)  # only the dust of 30 dropped directions
    with pytest.raises(ValueError, match="1 <= k <= D"):
        latent_space.fit_autoencoder(x, k=33)


def test_score_of_hidden_data_is_the_hidden_score():
    """Within the plane, the score in 32 dimensions is frame @ score / size: diffusing latents loses nothing."""
    frame, size, sigma = latent_space.hidden_frame(generator()).double(), 5.0, 2.0
    chosen = data.two_moons()
    x = size * chosen.sample(4, generator(1)).double() @ frame.T
    means = size * chosen.means.double() @ frame.T  # the same mixture in 32 dimensions
    variance = (size * chosen.std) ** 2 + sigma**2
    weights = (-torch.cdist(x, means).square() / (2 * variance)).softmax(dim=1)
    in_32 = (weights @ means - x) / variance
    in_2 = chosen.score(x @ frame / size, 1.0, sigma / size)
    torch.testing.assert_close(in_32, in_2 @ frame.T / size, rtol=1e-5, atol=1e-7)


# The translator.


def levels(n: int = 400) -> torch.Tensor:
    return torch.rand(n, 1, generator=generator(5), dtype=DOUBLE) * 0.998 + 0.001


def test_levels_round_trip():
    a = levels()
    torch.testing.assert_close(notation.alpha_bar_from_sigma(notation.sigma_from_alpha_bar(a)), a)
    torch.testing.assert_close(notation.alpha_bar_from_log_snr(notation.log_snr_from_alpha_bar(a)), a)
    torch.testing.assert_close(notation.log_snr_from_alpha_bar(a), -2 * notation.sigma_from_alpha_bar(a).log())
    assert notation.sigma_from_alpha_bar(0.5).item() == 1.0


def test_preserving_coordinates_are_x_t():
    a, x_t = levels(), randn(400, 2)
    x_bar = x_t / a.sqrt()
    torch.testing.assert_close(notation.preserving_from_exploding(x_bar, notation.sigma_from_alpha_bar(a)), x_t)


@pytest.mark.parametrize("alpha_bar", [0.9, 0.5, 0.1])
def test_score_of_both_coordinates_comes_from_one_noise(alpha_bar):
    """The exact score in x_t and in x_bar, from the mixture's closed form, translate to the same eps."""
    chosen, x_t = data.ring_of_gaussians(), randn(50, 2)
    signal, noise = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    sigma = notation.sigma_from_alpha_bar(alpha_bar)
    eps = notation.eps_from_score(chosen.score(x_t / signal, 1.0, sigma.item()), sigma)
    torch.testing.assert_close(eps, -noise * chosen.score(x_t, signal, noise))


def test_float_levels_keep_the_points_dtype():
    x = torch.randn(3, 2, generator=generator())
    assert notation.preserving_from_exploding(x, 0.3).dtype == torch.float32
    assert notation.eps_from_score(x, 0.3).dtype == torch.float32


@pytest.mark.parametrize("wrong", [0.0, 1.0, 1.5, -0.1])
def test_translator_names_an_impossible_level(wrong):
    with pytest.raises(ValueError, match="between 0 and 1"):
        notation.sigma_from_alpha_bar(wrong)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan])
def test_translator_names_an_impossible_sigma(wrong):
    for translate in (notation.alpha_bar_from_sigma, lambda sigma: notation.eps_from_score(torch.ones(1), sigma)):
        with pytest.raises(ValueError, match="sigma > 0"):
            translate(wrong)


def test_the_cores_conversions_serve_points_and_agree_with_diffusers():
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(clip_sample=False)
    x0, eps = torch.randn(4, 2, generator=generator()), torch.randn(4, 2, generator=generator(1))
    t = torch.tensor([3, 250, 600, 999])
    a = theirs.alphas_cumprod[t][:, None]
    x_t = theirs.add_noise(x0, eps, t)
    velocity = theirs.get_velocity(x0, eps, t)
    torch.testing.assert_close(forward_diffusion.velocity(x0, eps, a), velocity, rtol=1e-5, atol=1e-6)
    for kind, output, ours in (
        ("epsilon", eps, forward_diffusion.z0_from_eps(eps, x_t, a)),
        ("v_prediction", velocity, forward_diffusion.z0_from_velocity(velocity, x_t, a)),
        ("sample", x0, x0),
    ):
        scheduler = DDPMScheduler(clip_sample=False, prediction_type=kind)
        expected = scheduler.step(output[1:2], 250, x_t[1:2], generator=generator()).pred_original_sample
        torch.testing.assert_close(ours[1:2], expected, rtol=1e-4, atol=1e-4)


def test_names_exist_in_diffusers():
    """The table's diffusers column, looked up in diffusers."""
    import inspect

    from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler

    scheduler = DDPMScheduler()
    assert scheduler.betas.shape == scheduler.alphas_cumprod.shape == (1000,)
    assert EulerDiscreteScheduler().sigmas.ndim == 1 and hasattr(EulerDiscreteScheduler, "scale_model_input")
    assert {"original_samples", "noise"} <= set(inspect.signature(DDPMScheduler.add_noise).parameters)
    assert {"model_output", "sample"} <= set(inspect.signature(DDPMScheduler.step).parameters)
    solver = DPMSolverMultistepScheduler()
    solver.set_timesteps(10)
    alpha_t, sigma_t = solver._sigma_to_alpha_sigma_t(solver.sigmas[3])
    torch.testing.assert_close(alpha_t**2 + sigma_t**2, torch.ones_like(alpha_t))
    half_log_snr = notation.log_snr_from_alpha_bar(alpha_t**2).item() / 2
    assert math.log(alpha_t / sigma_t) == pytest.approx(half_log_snr, rel=1e-3)
    table = notation.names_table()
    for word in ("alphas_cumprod", "sqrt_one_minus_alphas_cumprod", "v_prediction", "x_start"):
        assert word in table
    assert len(table.splitlines()) == 2 + len(notation.NAMES)


def test_scale_model_input_is_the_change_of_coordinates():
    from diffusers import EulerDiscreteScheduler

    scheduler = EulerDiscreteScheduler()
    scheduler.set_timesteps(10)
    x_bar = torch.randn(3, 2, generator=generator())
    expected = scheduler.scale_model_input(x_bar, scheduler.timesteps[4])
    torch.testing.assert_close(notation.preserving_from_exploding(x_bar, scheduler.sigmas[4]), expected)


@pytest.mark.slow
def test_latent_diffusion_is_the_same_training_on_other_data():
    """ddpm_2020.train and sample, unchanged, on latents of 32-dimensional data; decoded samples are like fresh data."""
    from tinyldm_course.history.compare import sliced_wasserstein

    frame, x_train = hidden_points()
    coder = latent_space.fit_autoencoder(x_train)
    budget = network.Budget(steps=2500)
    eps_theta = ddpm_2020.train(coder.encode(x_train), ddpm_2020.linear_schedule(), generator(3), budget)
    decoded = coder.decode(ddpm_2020.sample_respaced(eps_theta, 3000, 100, generator(4)))
    fresh = data.two_moons().sample(3000, generator(5))
    assert sliced_wasserstein(decoded @ frame / 5, fresh) < 0.12
    off_plane = decoded - decoded @ frame @ frame.T
    assert off_plane.norm(dim=1).mean() < 0.2  # of a size of 5: the decoder stays on it


@pytest.mark.slow
def test_both_networks_learn_the_one_exact_field():
    """2019's score and 2020's noise, translated, against the ring's exact field (of size 0.7 and more)."""
    chosen, budget, g = data.ring_of_gaussians(), network.Budget(steps=2000), generator()
    x_train = chosen.sample(2000, g)
    learnt = (
        probability_flow.noise_of_ncsn(
            score_matching_2019.train(x_train, score_matching_2019.geometric_levels(), g, budget)
        ),
        probability_flow.noise_of_ddpm(ddpm_2020.train(x_train, ddpm_2020.linear_schedule(), g, budget)),
    )
    exact = probability_flow.noise_of_data(chosen)
    for sigma, most in ((1.0, 0.2), (0.4, 0.3)):
        x_bar = chosen.sample(4000, g) + sigma * torch.randn(4000, 2, generator=g)
        truth = exact(x_bar, sigma)
        assert truth.square().sum(dim=1).mean().sqrt() > 0.7
        for eps in learnt:
            with torch.no_grad():
                error = (eps(x_bar, sigma) - truth).square().sum(dim=1).mean().sqrt().item()
            assert error < most, (sigma, error)
