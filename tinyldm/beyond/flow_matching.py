"""Flow matching, 2022: noise and data joined by straight lines. Stable Diffusion 3's way to train and to sample.

    z_τ = (1 - τ) z0 + τ ε,   τ from 0 (data) to 1 (noise)       the straight path
    u = dz_τ/dτ = ε - z0                                         what the network predicts, the same at every τ
    sampling: follow dz/dτ = u(z, τ) from τ = 1 down to 0

What changed against `forward_diffusion`: no β, no ᾱ, no table of T steps; noise is reached exactly at τ = 1; and the
way is straight *for each pair* (z0, ε). The network learns the mean of u over all pairs that pass through a point, so
the paths of sampling bend where pairs cross. `straightness` measures how much.

What did not change: z_τ is the noised latent of diffusion in other coordinates, and u is a linear function of the
velocity v and z. `history/notation.py` has the translation. So a trained v-network samples here unchanged, and the
gain is in the weighting of τ (`logit_normal`), in the spacing of steps (`shifted`), and in `reflow`.

The sign: as in Stable Diffusion 3, τ = 1 is noise. Lipman et al. and Liu et al. count time the other way.

Source: Lipman et al. 2023, arXiv 2210.02747; Liu et al. 2023 (rectified flow), arXiv 2209.03003; Esser et al. 2024
(Stable Diffusion 3), arXiv 2403.03206; diffusers' FlowMatchEulerDiscreteScheduler.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tinyldm.reverse_diffusion import Model

Flow = Callable[[Tensor, float], Tensor]  # (z (B, …), τ) -> u (B, …): where z goes as τ grows
Pairs = Callable[[], tuple[Tensor, Tensor]]  # () -> z0 (B, …) and ε (B, …), a new batch each time

# ── Training ─────────────────────────────────────────────────────────────────────────────────────────


def z_at(z0: Tensor, eps: Tensor, tau: Tensor) -> Tensor:
    """z_τ = (1 - τ) z0 + τ ε.  Esser et al. 2024, eq. 13. z0, eps: (B, …); tau: (B,) in [0, 1]."""
    tau = tau.to(z0.dtype).view(-1, *(1 for _ in z0.shape[1:]))  # (B,) -> (B, 1, 1, 1)
    return (1 - tau) * z0 + tau * eps


def flow_target(z0: Tensor, eps: Tensor) -> Tensor:
    """u = dz_τ/dτ = ε - z0. It does not depend on τ.  Lipman et al. 2023, eq. 23 (with time reversed)."""
    return eps - z0


def z0_from_flow(u: Tensor, z: Tensor, tau: float | Tensor) -> Tensor:
    """z0 = z_τ - τ u: go straight on to τ = 0."""
    return z - tau * u


def eps_from_flow(u: Tensor, z: Tensor, tau: float | Tensor) -> Tensor:
    """ε = z_τ + (1 - τ) u: go straight back to τ = 1."""
    return z + (1 - tau) * u


def logit_normal(
    n: int, generator: torch.Generator | None = None, mean: float = 0.0, std: float = 1.0, device: str = "cpu"
) -> Tensor:
    """Draw τ where it is hard to predict u, in the middle: logit(τ) ~ N(mean, std²).  Esser et al. 2024, eq. 19.

    Near τ = 0 and 1, u is nearly known: there it is z_τ minus the mean of the noise, or of the data.
    Returns: (n,) float32 in (0, 1).
    """
    return torch.sigmoid(mean + std * torch.randn(n, generator=generator, device=device))


def shifted(tau: Tensor, shift: float) -> Tensor:
    """τ' = s τ / (1 + (s - 1) τ): more time where there is much noise.  Esser et al. 2024, eq. 23.

    n times as many pixels show a scene n times as clearly through the same noise; s = √n makes up for it. Stable
    Diffusion 3 samples with s = 3. In σ = τ / (1 - τ), it is σ' = s σ.
    """
    if not shift > 0:
        raise ValueError(f"the shift is {shift}; expected a number above 0, such as 3; 1 changes nothing")
    return shift * tau / (1 + (shift - 1) * tau)


def flow_loss(model: Model, z0: Tensor, eps: Tensor, tau: Tensor) -> Tensor:
    """Conditional flow matching: E ‖model(z_τ, 1000 τ) - (ε - z0)‖².  Lipman et al. 2023, eq. 14.

    Args:
        model: (z, t) -> u. It reads t = 1000 τ, so that networks with a timestep embedding serve unchanged.
        z0, eps: (B, …); tau: (B,) in [0, 1], uniform or `logit_normal`.
    Returns: a scalar.
    """
    return (model(z_at(z0, eps, tau), 1000 * tau) - flow_target(z0, eps)).square().mean()


def train_flow(model: nn.Module, pairs: Pairs, steps: int, generator: torch.Generator, lr: float = 2e-3) -> list[float]:
    """Train a network on pairs of data and noise, with τ uniform; returns the loss at every step.

    Args:
        model: (z, t = 1000 τ) -> u, changed in place.
        pairs: independent noise and data for flow matching; `reflow`'s for rectification.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses = []
    for _ in range(steps):
        z0, eps = pairs()
        loss = flow_loss(model, z0, eps, torch.rand(len(z0), generator=generator))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


# ── Sampling ─────────────────────────────────────────────────────────────────────────────────────────


def flow_of(model: Model) -> Flow:
    """A network (z, t = 1000 τ) -> u as a `Flow`; also what `reverse_diffusion.guided` returns."""
    return lambda z, tau: model(z, torch.full((len(z),), 1000 * tau, dtype=torch.float32, device=z.device))


def flow_times(steps: int, shift: float = 1.0, T: int = 1000) -> list[float]:
    """1 = τ_0 > … > τ_steps = 0, as Stable Diffusion 3 samples: (steps + 1) numbers.

    Evenly spaced from 1 to the shifted 1/T, then all shifted (the last one a second time: so does the reference, and
    the released weights are used so), then 0.
    """
    if steps < 1:
        raise ValueError(f"{steps} steps; expected at least 1")
    smallest = shifted(torch.tensor(1 / T, dtype=torch.float64), shift).item()
    return [*shifted(torch.linspace(1, smallest, steps, dtype=torch.float64), shift).tolist(), 0.0]


@torch.no_grad()
def euler(flow: Flow, z: Tensor, times: list[float]) -> Tensor:
    """Straight steps z ← z + (τ' - τ) u(z, τ): all states, (len(times), B, …).

    Exact in one step if the paths are straight. Falling times sample, rising times encode.
    """
    path = [z]
    for tau, after in zip(times, times[1:]):
        path.append(path[-1] + (after - tau) * flow(path[-1], tau))
    return torch.stack(path)


@torch.no_grad()
def heun(flow: Flow, z: Tensor, times: list[float]) -> Tensor:
    """`euler` with the mean of the slopes at both ends of a step: second order, two calls a step.

    Unlike σ's ODE (Karras et al. 2022), this one has a slope at its last point, τ = 0, so no step is an exception.
    """
    path = [z]
    for tau, after in zip(times, times[1:]):
        slope = flow(path[-1], tau)
        ahead = flow(path[-1] + (after - tau) * slope, after)
        path.append(path[-1] + (after - tau) * (slope + ahead) / 2)
    return torch.stack(path)


def straightness(path: Tensor, times: list[float]) -> float:
    """S = ∫ E ‖(z_1 - z_0) - dz/dτ‖² dτ along sampled paths: 0 for straight ones.  Liu et al. 2023, § 2.

    Args: path (S + 1, B, …), the states of a solver with many steps at `times`, S + 1.
    Returns: the mean over the batch of the squared distance, summed over all numbers of a point.
    """
    tau = torch.tensor(times, dtype=path.dtype, device=path.device)
    length = (tau[1:] - tau[:-1]).view(-1, *(1 for _ in path.shape[1:]))  # (S, 1, …)
    slope = (path[1:] - path[:-1]) / length  # (S, B, …)
    whole = (path[-1] - path[0]) / (tau[-1] - tau[0])
    squared = (whole - slope).square().flatten(2).sum(2).mean(1)  # (S, B, …) -> (S,)
    return ((squared * length.flatten().abs()).sum() / (tau[-1] - tau[0]).abs()).item()


def reflow(flow: Flow, eps: Tensor, times: list[float]) -> Tensor:
    """z0 for given noise, by a trained flow: train again on these pairs, and the paths are straighter.

    The straight lines between such pairs hardly cross, so that the mean of u where they pass is nearly u itself.
    Liu et al. 2023, algorithm 1.
    """
    return heun(flow, eps, times)[-1]
