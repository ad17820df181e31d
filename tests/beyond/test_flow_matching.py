"""Straight paths: against closed forms, diffusers' scheduler and diffusers' pipeline."""

import math

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import nn

from tinyldm import forward_diffusion
from tinyldm.beyond import flow_matching as fm
from tinyldm.history import notation
from tinyldm.history.data import ring_of_gaussians
from tinyldm.history.network import NoiseMLP

DOUBLE = torch.float64


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=DOUBLE)


# Gaussian to Gaussian: x0 ~ N(m, s²), so that x_τ ~ N((1 - τ) m, V), V = (1 - τ)² s² + τ², and
# u = E[eps - x0 | x_τ] = (τ - (1 - τ) s²) / V · (x_τ - (1 - τ) m) - m.
MEAN, STD = torch.tensor([0.8, -0.3], dtype=DOUBLE), 0.5


def variance(tau: float) -> float:
    return ((1 - tau) * STD) ** 2 + tau**2


def gaussian_flow(z: torch.Tensor, tau: float) -> torch.Tensor:
    return (tau - (1 - tau) * STD**2) / variance(tau) * (z - (1 - tau) * MEAN) - MEAN


def gaussian_solution(z: torch.Tensor, now: float, after: float) -> torch.Tensor:
    return (1 - after) * MEAN + (z - (1 - now) * MEAN) * math.sqrt(variance(after) / variance(now))


# ── The path ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_target_is_the_slope_of_the_path_and_gives_both_ends_back():
    z0, eps, tau = randn(5, 4, 3, 3), randn(5, 4, 3, 3, seed=1), torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0], dtype=DOUBLE)
    _, slope = torch.func.jvp(lambda time: fm.z_at(z0, eps, time), (tau,), (torch.ones_like(tau),))
    target = fm.flow_target(z0, eps)
    torch.testing.assert_close(target, slope)
    z, share = fm.z_at(z0, eps, tau), tau.view(-1, 1, 1, 1)
    torch.testing.assert_close(fm.z0_from_flow(target, z, share), z0)
    torch.testing.assert_close(fm.eps_from_flow(target, z, share), eps)


def test_the_best_prediction_is_the_closed_form():
    """Among all linear functions of z_τ, least squares on the target finds the flow from Gaussian to Gaussian."""
    z0, eps = MEAN + STD * randn(400_000, 2), randn(400_000, 2, seed=1)
    z = fm.z_at(z0, eps, torch.full((len(z0),), 0.3, dtype=DOUBLE))
    found = torch.linalg.lstsq(torch.cat([z, torch.ones(len(z), 1)], 1), fm.flow_target(z0, eps)).solution
    at = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=DOUBLE)
    expected = torch.cat([at, torch.ones(3, 1)], 1) @ found
    torch.testing.assert_close(gaussian_flow(at, 0.3), expected, atol=0.01, rtol=0)


def test_path_is_diffusers():
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    z0, eps, chosen = torch.randn(4, 3), torch.randn(4, 3), [0, 400, 700, 999]
    expected = scheduler.scale_noise(z0, scheduler.timesteps[chosen], eps)
    torch.testing.assert_close(fm.z_at(z0, eps, scheduler.sigmas[chosen]), expected)


def test_logit_normal_is_normal_in_logits():
    logits = torch.logit(fm.logit_normal(200_000, generator(), mean=0.5, std=2.0).double())
    assert logits.mean().item() == pytest.approx(0.5, abs=0.02) and logits.std().item() == pytest.approx(2, abs=0.02)


def test_logit_normal_is_diffusers():
    from diffusers.training_utils import compute_density_for_timestep_sampling

    theirs = compute_density_for_timestep_sampling("logit_normal", 8, 0.3, 0.7, generator=generator(5))
    torch.testing.assert_close(fm.logit_normal(8, generator(5), 0.3, 0.7), theirs)


def test_loss_asks_the_network_for_t_from_0_to_1000():
    z0, eps, tau, asked = torch.randn(3, 2), torch.randn(3, 2), torch.tensor([0.0, 0.25, 1.0]), []

    def right(z, t):
        asked.append(t)
        return eps - z0

    assert fm.flow_loss(right, z0, eps, tau) == 0
    assert asked[0].tolist() == [0, 250, 1000]
    assert fm.flow_loss(lambda z, t: eps - z0 + 0.5, z0, eps, tau).item() == pytest.approx(0.25)


# ── Time ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0, 6.0])
@pytest.mark.parametrize("steps", [1, 2, 7, 28, 50, 1000])
def test_times_and_euler_are_diffusers(shift, steps):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(steps)
    times = fm.flow_times(steps, shift)
    torch.testing.assert_close(torch.tensor(times), scheduler.sigmas, rtol=0, atol=1e-6)
    matrix = torch.randn(6, 6, generator=generator())

    def model(z, t):
        return torch.tanh(z @ matrix) + (t / 500).sin()[:, None]

    z = start = torch.randn(3, 6, generator=generator(1))
    for t in scheduler.timesteps:
        z = scheduler.step(model(z, t.expand(3)), t, z).prev_sample
    ours = fm.euler(fm.flow_of(model), start, times)[-1]
    assert (ours - z).abs().max() / z.abs().max() < 1e-5


def test_shift_multiplies_sigma_and_keeps_the_ends():
    tau = torch.tensor([0.1, 0.5, 0.9], dtype=DOUBLE)
    sigma = notation.sigma_from_tau(tau)
    torch.testing.assert_close(notation.sigma_from_tau(fm.shifted(tau, 3.0)), 3 * sigma)
    assert fm.shifted(torch.tensor([0.0, 1.0]), 3.0).tolist() == [0, 1]
    torch.testing.assert_close(fm.shifted(fm.shifted(tau, 2.0), 1.5), fm.shifted(tau, 3.0))


@pytest.mark.parametrize("call", [lambda: fm.flow_times(0), lambda: fm.shifted(torch.ones(1), 0.0)])
def test_a_wrong_number_is_refused(call):
    with pytest.raises(ValueError, match="expected"):
        call()


# ── Sampling ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("solver, order", [(fm.euler, 1), (fm.heun, 2)])
def test_solvers_have_their_order(solver, order):
    z = randn(50, 2)

    def error(steps: int) -> float:
        end = solver(gaussian_flow, z, torch.linspace(1, 0, steps + 1).tolist())[-1]
        return (end - gaussian_solution(z, 1, 0)).abs().max().item()

    assert math.log2(error(64) / error(128)) == pytest.approx(order, abs=0.1)


def test_there_and_back_returns():
    z, times = randn(50, 2), fm.flow_times(100)
    there = fm.heun(gaussian_flow, z, times)[-1]
    torch.testing.assert_close(fm.heun(gaussian_flow, there, times[::-1])[-1], z, atol=1e-3, rtol=1e-3)


def test_straight_paths_need_one_step_and_have_straightness_0():
    z, end = randn(20, 3), randn(20, 3, seed=1)
    path = fm.euler(lambda state, tau: z - end, z, fm.flow_times(7))
    torch.testing.assert_close(path[-1], end)
    torch.testing.assert_close(fm.euler(lambda state, tau: z - end, z, [1.0, 0.0])[-1], end)
    assert fm.straightness(path, fm.flow_times(7)) == pytest.approx(0, abs=1e-20)


def test_straightness_of_a_parabola():
    """z = τ² a: the slope is 2 τ a, its mean a, and ∫ (2 τ - 1)² dτ = 1/3."""
    times, a = torch.linspace(1, 0, 2001, dtype=DOUBLE), randn(10, 2, 3)
    path = times.view(-1, 1, 1, 1) ** 2 * a
    expected = a.square().flatten(1).sum(1).mean().item() / 3
    assert fm.straightness(path, times.tolist()) == pytest.approx(expected, rel=1e-5)


class OfTwo(nn.Module):
    """The network of the history, with t = 1000 τ."""

    def __init__(self):
        super().__init__()
        self.net = NoiseMLP(2, 2, generator())

    def forward(self, z, t):
        return self.net(z, t / 1000)


@pytest.mark.slow
def test_training_learns_the_flow_and_reflow_straightens_it():
    draw, points, model = generator(1), ring_of_gaussians().sample(20_000, generator()), OfTwo()
    noise = torch.randn(20_000, 2, generator=draw)

    def independent():
        index = torch.randint(20_000, (2, 256), generator=draw)
        return points[index[0]], noise[index[1]]

    losses = fm.train_flow(model, independent, 1500, draw)
    assert sum(losses[-100:]) < 0.9 * sum(losses[:100])
    times, start = fm.flow_times(50), torch.randn(1000, 2, generator=generator(9))
    before = fm.straightness(fm.euler(fm.flow_of(model), start, times), times)
    made = fm.reflow(fm.flow_of(model), noise, fm.flow_times(20))

    def coupled():
        index = torch.randint(20_000, (256,), generator=draw)
        return made[index], noise[index]

    fm.train_flow(model, coupled, 1500, draw)
    after = fm.straightness(fm.euler(fm.flow_of(model), start, times), times)
    assert after < before / 3, (before, after)


# ── One noising, in other coordinates ────────────────────────────────────────────────────────────────


def test_tau_is_the_same_noise_as_alpha_bar_and_sigma():
    tau = torch.tensor([0.01, 0.3, 0.5, 0.99], dtype=DOUBLE)
    sigma = notation.sigma_from_tau(tau)
    alpha_bar = notation.alpha_bar_from_sigma(sigma)
    torch.testing.assert_close(notation.tau_from_sigma(sigma), tau)
    torch.testing.assert_close(alpha_bar, (1 - tau) ** 2 / ((1 - tau) ** 2 + tau**2))
    x0, eps = randn(4, 2), randn(4, 2, seed=1)
    x_tau, x_t = fm.z_at(x0, eps, tau), alpha_bar[:, None].sqrt() * x0 + (1 - alpha_bar[:, None]).sqrt() * eps
    column = tau[:, None]
    torch.testing.assert_close(notation.straight_from_preserving(x_t, column), x_tau)
    torch.testing.assert_close(notation.preserving_from_straight(x_tau, column), x_t)
    torch.testing.assert_close(notation.straight_from_exploding(x0 + sigma[:, None] * eps, sigma[:, None]), x_tau)


def test_flow_is_velocity_in_other_coordinates():
    tau = torch.tensor([[0.01], [0.3], [0.5], [0.99]], dtype=DOUBLE)
    alpha_bar = notation.alpha_bar_from_sigma(notation.sigma_from_tau(tau))
    x0, eps = randn(4, 2), randn(4, 2, seed=1)
    x_t = alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps
    velocity = forward_diffusion.velocity(x0, eps, alpha_bar)
    flow = notation.flow_from_velocity(velocity, x_t, tau)
    torch.testing.assert_close(flow, fm.flow_target(x0, eps))
    torch.testing.assert_close(flow[2], math.sqrt(2) * velocity[2])


@pytest.mark.parametrize("tau", [0.0, 1.0, 500.0])
def test_tau_outside_is_refused(tau):
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        notation.sigma_from_tau(tau)
