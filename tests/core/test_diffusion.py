"""Forward and reverse diffusion against closed forms.

The trick of this file: for Gaussian data the perfect denoiser is known, so a sampler has a right answer that
no network and no other library is needed for. If z0 ~ N(m, s²), then z_t ~ N(√ᾱ m, ᾱ s² + 1-ᾱ), and the best
estimate of the noise in z_t is √(1-ᾱ) (z_t - √ᾱ m) / (ᾱ s² + 1-ᾱ).
"""

import math
import warnings

import pytest
import torch

from tinyldm import forward_diffusion as forward
from tinyldm.forward_diffusion import EPS, VELOCITY, NoiseSchedule, diffusion_loss
from tinyldm.reverse_diffusion import ddim, ddpm, dpm_solver_pp, euler, guided, leading, linspace, timesteps, trailing
from tinyldm.versions import SD1

SAMPLERS = [ddim, ddpm, euler, dpm_solver_pp]
BETAS = [forward.scaled_linear_betas, forward.linear_betas, forward.cosine_betas]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sd_schedule(prediction=EPS, final_alpha_bar=1.0) -> NoiseSchedule:
    return NoiseSchedule(forward.scaled_linear_betas(), prediction, final_alpha_bar)


def gaussian_model(schedule, m, s):
    """The exact network for z0 ~ N(m, s²): (z_t, t) -> eps, or the velocity."""

    def model(z_t, t):
        a = schedule.at(t).to(z_t.dtype).view(-1, 1, 1, 1)
        eps = (1 - a).sqrt() * (z_t - a.sqrt() * m) / (a * s**2 + 1 - a)
        return eps if schedule.prediction is EPS else (eps - (1 - a).sqrt() * z_t) / a.sqrt()

    return model


def mixture_model(schedule, m=1.2, s=0.4):
    """The exact network for two Gaussians N(±m, s²), equally likely: a velocity field with real curvature."""

    def model(z_t, t):
        a = schedule.at(t).to(z_t.dtype).view(-1, 1, 1, 1)
        variance = a * s**2 + 1 - a
        mean = m * torch.tanh(a.sqrt() * m * z_t / variance)  # of the component, given z_t
        return (1 - a).sqrt() * (z_t - a.sqrt() * mean) / variance

    return model


# ── Forward: the schedule ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("betas", BETAS)
def test_alpha_bar_is_float32_computed_in_float64(betas):
    beta = betas()
    assert beta.dtype == torch.float64 and beta.shape == (1000,)
    product, expected = 1.0, []
    for b in beta.tolist():  # Python floats are float64
        product *= 1 - b
        expected.append(product)
    schedule = NoiseSchedule(beta)
    assert schedule.alpha_bar.dtype == torch.float32
    # Correctly rounded: within half a unit of the last place, 2^-24. A product in float32 strays to 1e-5.
    assert torch.allclose(schedule.alpha_bar.double(), torch.tensor(expected, dtype=torch.float64), rtol=2**-23, atol=0)
    assert (schedule.alpha_bar.diff() < 0).all()


def test_published_numbers():
    """Stable Diffusion's √ᾱ and σ: 14.6146 is `sigma_max` in every k-diffusion script, 0.0292 its `sigma_min`."""
    schedule = sd_schedule()
    sigma = ((1 - schedule.alpha_bar) / schedule.alpha_bar).sqrt()
    assert math.isclose(sigma[-1], 14.6146, abs_tol=1e-4) and math.isclose(sigma[0], 0.0292, abs_tol=5e-5)
    # diffusers multiplies XL's start noise by √(σ² + 1) = 13.158, at 50 "leading" steps.
    assert math.isclose((sigma[leading(50, 1000)[0]] ** 2 + 1).sqrt(), 13.158, abs_tol=1e-3)
    assert math.isclose(NoiseSchedule(forward.linear_betas()).alpha_bar[-1], 4.0358e-5, rel_tol=1e-3)
    assert forward.cosine_betas().max() == 0.999  # clipped, as the paper says


def test_fractional_t_interpolates_sigma():
    schedule = sd_schedule()
    t = torch.tensor([0.0, 17.25, 998.5, 999.0])
    sigma = ((1 - schedule.alpha_bar.double()) / schedule.alpha_bar.double()).sqrt()
    expected = torch.stack([sigma[0], 0.75 * sigma[17] + 0.25 * sigma[18], (sigma[998] + sigma[999]) / 2, sigma[999]])
    assert torch.allclose(schedule.at(t).double(), 1 / (1 + expected**2), rtol=1e-5)
    # At whole numbers float t and int t agree.
    every = torch.arange(1000)
    assert torch.allclose(schedule.at(every), schedule.at(every.float()), rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_q_sample_keeps_dtype_and_arguments(dtype):
    z0, eps, t = torch.randn(3, 4, 2, 2).to(dtype), torch.randn(3, 4, 2, 2).to(dtype), torch.tensor([0, 500, 999])
    copies = z0.clone(), t.clone(), eps.clone()
    z_t = sd_schedule().q_sample(z0, t, eps)
    assert z_t.dtype == dtype and z_t.shape == z0.shape
    assert z0.equal(copies[0]) and t.equal(copies[1]) and eps.equal(copies[2])


def test_q_sample_uses_each_images_own_t():
    schedule, z0, eps, t = sd_schedule(), torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2), torch.tensor([999, 0, 500])
    together = schedule.q_sample(z0, t, eps)
    for i in range(3):
        assert together[i : i + 1].equal(schedule.q_sample(z0[i : i + 1], t[i : i + 1], eps[i : i + 1]))


def test_q_sample_keeps_unit_variance():
    """Unit-variance latents stay so at every t, which is why the VAE has a scale."""
    z0, eps = torch.randn(1000, 4, 8, 8), torch.randn(1000, 4, 8, 8)
    z_t = sd_schedule().q_sample(z0, torch.arange(1000), eps)
    variance = z_t.flatten(1).var(1)
    assert abs(variance.mean() - 1) < 5 * math.sqrt(2 / 256_000)  # five standard errors


# ── Forward: conversions, targets, weights ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("alpha_bar", [1e-4, 0.0047, 0.5, 0.99915])
def test_conversions_round_trip(alpha_bar):
    """With z_t, the noise gives z0, and the velocity gives both; in float64."""
    z0, eps = torch.randn(2, 4, 8, 8).double(), torch.randn(2, 4, 8, 8).double()
    z_t = math.sqrt(alpha_bar) * z0 + math.sqrt(1 - alpha_bar) * eps
    v = forward.velocity(z0, eps, alpha_bar)
    for got, expected in [
        (forward.z0_from_eps(eps, z_t, alpha_bar), z0),
        (forward.z0_from_velocity(v, z_t, alpha_bar), z0),
        (forward.eps_from_velocity(v, z_t, alpha_bar), eps),
    ]:
        # float64 has 2e-16; dividing by √ᾱ = 0.01 costs two digits, by 1-ᾱ = 8e-4 three more.
        assert torch.allclose(got, expected, atol=1e-12)


@pytest.mark.parametrize("prediction", [EPS, VELOCITY])
def test_a_prediction_reads_its_own_target(prediction):
    schedule = sd_schedule(prediction)
    z0, eps, t = torch.randn(5, 4, 2, 2), torch.randn(5, 4, 2, 2), torch.tensor([0, 100, 500, 900, 999])
    z_t, target = schedule.q_sample(z0, t, eps), schedule.target(z0, t, eps)
    a = schedule.at(t).view(-1, 1, 1, 1)
    # float32, 6e-8, is magnified by at most 1/√ᾱ = 15 (z0 from eps).
    assert torch.allclose(prediction.to_z0(target, z_t, a), z0, atol=2e-5)
    assert torch.allclose(prediction.to_eps(target, z_t, a), eps, atol=2e-5)


def test_velocity_has_unit_variance_at_every_t():
    schedule = sd_schedule(VELOCITY)
    v = schedule.target(torch.randn(1000, 4, 8, 8), torch.arange(1000), torch.randn(1000, 4, 8, 8))
    assert abs(v.var() - 1) < 5 * math.sqrt(2 / 256_000)


def test_the_loss_is_least_where_the_prediction_is_right_and_its_gradient_says_where_to_go():
    schedule, z0, eps, t = sd_schedule(), torch.randn(2, 4, 2, 2), torch.randn(2, 4, 2, 2), torch.tensor([10, 900])
    guess = torch.randn(2, 4, 2, 2, requires_grad=True)
    diffusion_loss(lambda *_: guess, schedule, z0, None, t, eps).backward()
    assert torch.allclose(guess.grad, 2 * (guess.detach() - eps) / eps.numel(), atol=1e-7)


def test_the_best_prediction_of_the_noise_is_the_exact_score():
    """Ties training to sampling: among linear predictors k · z_t the loss is least at the closed form's k."""
    schedule, s, t = sd_schedule(), 0.5, 400
    z0 = s * torch.randn(2000, 4, 8, 8, generator=seeded())
    eps, ts = torch.randn(z0.shape, generator=seeded(1)), torch.full((2000,), t)
    a = schedule.alpha_bar[t]
    best = ((1 - a).sqrt() / (a * s**2 + 1 - a)).item()

    def loss(k):
        return diffusion_loss(lambda z, t, context: k * z, schedule, z0, None, ts, eps).item()

    assert loss(best) < min(loss(best * 1.02), loss(best * 0.98))


# ── Which timesteps ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("spacing", [trailing, leading, linspace])
@pytest.mark.parametrize("T", [1000, 50])
def test_every_count_gives_that_many_falling_timesteps_inside_the_table(spacing, T):
    schedule = NoiseSchedule(forward.scaled_linear_betas(T))
    for steps in range(1, T + 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ts = timesteps(schedule, steps, spacing)
        assert len(ts) == steps and 0 <= ts.min() and ts.max() <= T - 1
        assert (ts.diff() < 0).all()
        assert (schedule.at(ts).diff() > 0).all()


def test_spacings_by_hand():
    assert trailing(4, 1000).tolist() == [999, 749, 499, 249]
    assert trailing(3, 1000).tolist() == [999, 666, 332]
    assert leading(4, 1000).tolist() == [751, 501, 251, 1]
    assert leading(3, 1000).tolist() == [667, 334, 1]  # CompVis's own script breaks at 3
    assert len(leading(30, 1000)) == 30  # … and gives 31 here
    assert leading(1000, 1000).tolist() == list(range(999, -1, -1))
    assert linspace(4, 1000).tolist() == [999, 666, 333, 0]


def test_a_warning_where_the_first_step_is_too_early():
    """Two "leading" steps start at t = 501, where 53 % of the signal's amplitude is left; noise has none."""
    schedule = SD1.schedule()
    with pytest.warns(UserWarning, match=r"2 steps with 'leading' spacing start at t = 501.*0\.5"):
        timesteps(schedule, 2, leading)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for steps in (1, 2, 25, 1000):
            timesteps(schedule, steps, trailing)
        timesteps(schedule, 50, leading)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("spacing", [trailing, leading, linspace])
@pytest.mark.parametrize("version_final", [True, False])
@pytest.mark.parametrize("betas", BETAS)
def test_all_thousand_steps_can_be_walked(sampler, spacing, version_final, betas):
    """Also onto ᾱ_0, from which the last step then starts: a step of no length."""
    beta = betas()
    schedule = NoiseSchedule(beta, final_alpha_bar=1 - beta[0].item() if version_final else 1.0)
    ts, z = timesteps(schedule, 1000, spacing), torch.randn(1, 4, 1, 1)
    out = sampler(
        gaussian_model(schedule, 0.0, 1.0),
        z,
        schedule,
        ts,
        generator=seeded(),
        final_alpha_bar=schedule.final_alpha_bar,
    )
    assert out.isfinite().all() and out.abs().max() < 10


# ── Samplers on Gaussians ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("prediction", [EPS, VELOCITY])
def test_ddim_with_the_exact_score_lands_on_mean_and_variance(prediction):
    """Started from q(z_T), not from pure noise; 1000 steps.

    On a Gaussian, DDIM is an affine map: z = c z_T + d. So two starting points give its mean and standard deviation
    without any sampling error.
    """
    schedule, m, s = sd_schedule(prediction), 0.7, 0.5
    a = schedule.alpha_bar[999].item()
    mean_T, std_T = math.sqrt(a) * m, math.sqrt(a * s**2 + 1 - a)
    z_T = torch.tensor([mean_T, mean_T + std_T], dtype=torch.float64).view(2, 1, 1, 1)
    z0 = ddim(gaussian_model(schedule, m, s), z_T, schedule, timesteps(schedule, 1000)).flatten()
    # First order, 1000 steps: the error left is about 1/1000 of the path.
    assert math.isclose(z0[0], m, abs_tol=1e-3)
    assert math.isclose(z0[1] - z0[0], s, abs_tol=5e-3)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_draws_from_the_gaussian(sampler):
    """20,000 numbers from q(z_T), 250 steps: mean and standard deviation of what comes out."""
    schedule, m, s, N = sd_schedule(), 0.7, 0.5, 20_000
    z_T = schedule.q_sample(
        m + s * torch.randn(1, 1, 1, N, generator=seeded()),
        torch.tensor([999]),
        torch.randn(1, 1, 1, N, generator=seeded(1)),
    )
    z0 = sampler(gaussian_model(schedule, m, s), z_T, schedule, timesteps(schedule, 250), generator=seeded(2))
    # Five standard errors (s/√N = 0.0035) plus the discretisation of 250 first-order steps.
    assert abs(z0.mean() - m) < 5 * s / math.sqrt(N) + 0.005
    assert abs(z0.std() - s) < 5 * s / math.sqrt(2 * N) + 0.02


@pytest.mark.parametrize("spacing", [trailing, leading])
@pytest.mark.parametrize("final_alpha_bar", [1.0, None])
def test_ddpm_is_ddim_with_eta_1(spacing, final_alpha_bar):
    """With matched timesteps, final ᾱ and generator the two formulas are one."""
    schedule = sd_schedule()
    final = schedule.alpha_bar[0].item() if final_alpha_bar is None else final_alpha_bar
    z, ts, model = torch.randn(2, 4, 4, 4).double(), timesteps(schedule, 40, spacing), mixture_model(schedule)
    one = ddpm(model, z, schedule, ts, generator=seeded(), final_alpha_bar=final)
    other = ddim(model, z, schedule, ts, eta=1.0, generator=seeded(), final_alpha_bar=final)
    assert torch.allclose(one, other, atol=1e-10) and not torch.allclose(one, ddim(model, z, schedule, ts), atol=0.01)


def test_euler_is_ddim_with_eta_0():
    schedule = sd_schedule(VELOCITY)
    z, ts = torch.randn(2, 4, 4, 4).double(), timesteps(schedule, 17)
    model = gaussian_model(schedule, 0.3, 0.6)
    assert torch.allclose(euler(model, z, schedule, ts), ddim(model, z, schedule, ts), atol=1e-11)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_step_to_the_clean_latent_is_the_models_estimate_of_it(sampler):
    schedule, z = sd_schedule(), torch.randn(2, 4, 2, 2).double()
    eps_hat, a = torch.randn(2, 4, 2, 2).double(), schedule.alpha_bar[700].item()
    got = sampler(lambda z_t, t: eps_hat, z, schedule, torch.tensor([700]), final_alpha_bar=1.0)
    assert torch.allclose(got, forward.z0_from_eps(eps_hat, z, a), atol=1e-12)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_model_that_knows_the_answer_arrives_at_it(sampler):
    """If every prediction is the noise that leads to z0, every sampler ends in z0, whatever the steps between."""
    schedule, z0, z_T = sd_schedule(), torch.randn(2, 4, 2, 2).double(), torch.randn(2, 4, 2, 2).double()

    def model(z_t, t):
        a = schedule.at(t).double().view(-1, 1, 1, 1)
        return (z_t - a.sqrt() * z0) / (1 - a).sqrt()

    assert torch.allclose(sampler(model, z_T, schedule, timesteps(schedule, 7), generator=seeded()), z0, atol=1e-6)


def orders(sampler, model_of, exact=None):
    """Halve the step between two fixed noise levels; the error shrinks by 2^order."""
    schedule = sd_schedule()
    start, end = 950.0, 150.0
    final = schedule.at(torch.tensor([end])).item()
    z = torch.linspace(-2, 2, 32, dtype=torch.float64).view(1, 1, 1, -1)

    def run(n, method=sampler):
        ts = torch.linspace(start, end, n + 1, dtype=torch.float64)[:-1]
        return method(model_of(schedule), z, schedule, ts, final_alpha_bar=final)

    reference = run(8192, dpm_solver_pp) if exact is None else exact(schedule, z, start, final)
    errors = [(run(n) - reference).abs().max().item() for n in (64, 128, 256)]
    return [math.log2(a / b) for a, b in zip(errors, errors[1:])]


def exact_gaussian_flow(m, s):
    """On a Gaussian the ODE keeps the number of standard deviations from the mean."""

    def flow(schedule, z, start, final):
        a = schedule.at(torch.tensor([start], dtype=torch.float64)).double().item()
        score = (z - math.sqrt(a) * m) / math.sqrt(a * s**2 + 1 - a)
        return math.sqrt(final) * m + math.sqrt(final * s**2 + 1 - final) * score

    return flow


@pytest.mark.parametrize("sampler, order", [(ddim, 1), (euler, 1), (dpm_solver_pp, 2)])
def test_order_on_a_gaussian(sampler, order):
    measured = orders(sampler, lambda schedule: gaussian_model(schedule, 0.7, 0.3), exact_gaussian_flow(0.7, 0.3))
    assert all(abs(o - order) < 0.2 for o in measured), measured


@pytest.mark.parametrize("sampler, order", [(ddim, 1), (euler, 1), (dpm_solver_pp, 2)])
def test_order_on_a_mixture(sampler, order):
    """No closed form here: the reference is 8192 steps, whose own error is (8192/256)² smaller still."""
    measured = orders(sampler, mixture_model)
    assert all(abs(o - order) < 0.2 for o in measured), measured


def test_any_eta_keeps_the_distribution():
    """Song et al.'s point: only the share of fresh noise differs, not what comes out on the whole."""
    schedule, m, s, N = sd_schedule(), -0.4, 0.8, 20_000
    z_T = schedule.q_sample(
        m + s * torch.randn(1, 1, 1, N, generator=seeded()),
        torch.tensor([999]),
        torch.randn(1, 1, 1, N, generator=seeded(1)),
    )
    z0 = ddim(gaussian_model(schedule, m, s), z_T, schedule, timesteps(schedule, 250), eta=0.5, generator=seeded(3))
    assert abs(z0.mean() - m) < 5 * s / math.sqrt(N) + 0.005 and abs(z0.std() - s) < 5 * s / math.sqrt(2 * N) + 0.02


# ── Samplers: manners ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_model_is_called_once_a_step_with_a_t_for_each_image(sampler):
    schedule, seen = sd_schedule(), []
    ts = timesteps(schedule, 5)
    sampler(lambda z, t: seen.append(t) or z, torch.randn(3, 4, 2, 2), schedule, ts)
    assert [t.tolist() for t in seen] == [[t] * 3 for t in ts.tolist()]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_float_timesteps(sampler):
    schedule = sd_schedule()
    ts = torch.tensor([999.0, 640.5, 320.25, 0.75])
    seen = []

    def model(z, t):
        seen.append(t[0].item())
        return gaussian_model(schedule, 0.0, 1.0)(z, t)

    assert sampler(model, torch.randn(1, 4, 2, 2), schedule, ts, generator=seeded()).isfinite().all()
    assert seen == ts.tolist()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_callback_sees_every_step_and_may_replace_the_latent(sampler):
    schedule, z = sd_schedule(), torch.randn(2, 4, 2, 2)
    ts, model = timesteps(schedule, 4), gaussian_model(schedule, 0.5, 0.5)
    seen = []
    plain = sampler(model, z, schedule, ts, generator=seeded())
    watched = sampler(model, z, schedule, ts, generator=seeded(), callback=lambda i, z, z0: seen.append((i, z, z0)))
    assert watched.equal(plain) and [i for i, _, _ in seen] == [0, 1, 2, 3]
    assert seen[-1][1].equal(plain)
    assert torch.allclose(seen[-1][2], plain, atol=1e-6)  # the last step lands on its own estimate
    first_z0 = forward.z0_from_eps(model(z, ts[:1].expand(2)), z, schedule.alpha_bar[999].item())
    assert torch.allclose(seen[0][2], first_z0, atol=1e-4)

    inputs = []

    def spying(z_t, t):
        inputs.append(z_t)
        return model(z_t, t)

    ours = torch.full_like(z, 0.25)
    end = sampler(spying, z, schedule, ts, callback=lambda i, z, z0: ours if i in (1, 3) else None)
    assert inputs[2].equal(ours) and end.equal(ours) and not inputs[1].equal(ours)


@pytest.mark.parametrize("sampler", [ddpm, lambda *args, **options: ddim(*args, eta=0.7, **options)])
def test_one_seed_one_result(sampler):
    schedule, z = sd_schedule(), torch.randn(2, 4, 2, 2)
    ts, model = timesteps(schedule, 6), gaussian_model(schedule, 0.0, 1.0)
    torch.manual_seed(5)
    first = sampler(model, z, schedule, ts, generator=seeded(1))
    torch.manual_seed(6)  # the global generator must not matter
    assert sampler(model, z, schedule, ts, generator=seeded(1)).equal(first)
    assert not torch.allclose(sampler(model, z, schedule, ts, generator=seeded(2)), first, atol=0.01)
    state = torch.get_rng_state()
    sampler(model, z, schedule, ts, generator=seeded(1))
    assert torch.get_rng_state().equal(state)  # nor be used


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_nothing_is_changed_in_place(sampler):
    schedule, z = sd_schedule(), torch.randn(2, 4, 2, 2)
    ts = timesteps(schedule, 6)
    copies = z.clone(), ts.clone(), schedule.alpha_bar.clone()
    sampler(gaussian_model(schedule, 0.0, 1.0), z, schedule, ts, generator=seeded())
    assert z.equal(copies[0]) and ts.equal(copies[1]) and schedule.alpha_bar.equal(copies[2])


# ── Guidance ─────────────────────────────────────────────────────────────────────────────────────────


def toy_model(z_t, t, context, added=None):
    """Anything that depends on all of its arguments, image by image."""
    out = z_t * context.mean((1, 2))[:, None, None, None] + t[:, None, None, None] / 1000
    return out if added is None else out + added.sum(1)[:, None, None, None]


@pytest.mark.parametrize("null_length", [5, 3])
@pytest.mark.parametrize("null_batch", [1, 2])
@pytest.mark.parametrize("with_added", [False, True])
def test_guidance_equals_two_separate_calls(null_length, null_batch, with_added):
    z, t = torch.randn(2, 4, 2, 2), torch.tensor([3, 700])
    caption, null = torch.randn(2, 5, 6), torch.randn(null_batch, null_length, 6)
    added = [(torch.randn(2, 7),), (torch.randn(2, 7),)] if with_added else [(), ()]
    got = guided(toy_model, caption, null, 3.0, *added[0], *added[1])(z, t)
    without = toy_model(z, t, null.expand(2, -1, -1), *added[1])
    expected = without + 3 * (toy_model(z, t, caption, *added[0]) - without)
    assert torch.allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("w, batches", [(1.0, [2]), (7.5, [4]), (0.0, [4])])
def test_how_often_the_model_runs(w, batches):
    """Once a step on twice the batch; at w = 1, where the empty caption would cancel, on the batch itself."""
    seen = []

    def model(z_t, t, context):
        seen.append(len(z_t))
        return toy_model(z_t, t, context)

    guided(model, torch.randn(2, 5, 6), torch.randn(1, 5, 6), w)(torch.randn(2, 4, 2, 2), torch.zeros(2))
    assert seen == batches


def test_special_scales():
    z, t, null = torch.randn(2, 4, 2, 2), torch.tensor([3, 700]), torch.randn(1, 5, 6)
    one, other = torch.randn(2, 5, 6), torch.randn(2, 5, 6)
    assert guided(toy_model, one, null, 1.0)(z, t).equal(toy_model(z, t, one))
    assert guided(toy_model, one, null, 0.0)(z, t).equal(guided(toy_model, other, null, 0.0)(z, t))  # caption ignored
    # A caption that is the null caption changes nothing, whatever w is.
    nothing = null.expand(2, -1, -1)
    assert torch.allclose(guided(toy_model, nothing, null, 9.0)(z, t), toy_model(z, t, nothing), atol=1e-6)


def test_guidance_sharpens_a_gaussian_as_it_should():
    """Closed form: both scores are linear, so the guided score is that of another Gaussian.

    Guidance moves its mean beyond the caption's, away from the null's: m_null + w (m - m_null), where both have the
    same width.
    """
    schedule, w, s = sd_schedule(), 2.0, 0.5

    def model(z_t, t, context):
        return gaussian_model(schedule, context.view(-1, 1, 1, 1).double(), s)(z_t, t)

    guided_model = guided(model, torch.tensor([[[1.0]]]), torch.tensor([[[0.25]]]), w)
    mean = 0.25 + w * (1.0 - 0.25)
    start = schedule.alpha_bar[999].sqrt().double() * mean
    z0 = ddim(guided_model, start.view(1, 1, 1, 1), schedule, timesteps(schedule, 1000))
    assert math.isclose(z0.item(), mean, abs_tol=2e-3)
