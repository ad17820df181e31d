"""Progressive distillation: against the sampler of the core, closed forms, and what a student is to do."""

import pytest
import torch
from torch import Tensor, nn

from tinyldm.beyond.distillation import ddim_step, distil, distillation_loss, student_levels, z0_that_leads_to
from tinyldm.forward_diffusion import EPS, VELOCITY, NoiseSchedule, scaled_linear_betas
from tinyldm.reverse_diffusion import ddim, timesteps, trailing

STD = 0.5  # of the data, N(0, STD²), whose best prediction is known
CONTEXT = torch.zeros(64, 1, 1)


def schedule(prediction=VELOCITY) -> NoiseSchedule:
    return NoiseSchedule(scaled_linear_betas(), prediction)


def perfect(noise: NoiseSchedule):
    """(z, t) -> the best velocity or noise for N(0, STD²)."""

    def model(z: Tensor, t: Tensor) -> Tensor:
        alpha_bar = noise.at(t).view(-1, 1, 1, 1)
        variance = alpha_bar * STD**2 + 1 - alpha_bar
        z0, eps = alpha_bar.sqrt() * STD**2 / variance * z, (1 - alpha_bar).sqrt() / variance * z
        return noise.prediction.from_z0_and_eps(z0, eps, alpha_bar)

    return model


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("prediction", [EPS, VELOCITY], ids=["eps", "v"])
def test_a_step_is_that_of_the_core_and_its_z0_is_found_again(prediction):
    noise, z = schedule(prediction), randn(3, 4, 2, 2)
    ts = timesteps(noise, 4)
    now, after = (noise.at(t).expand(3).view(-1, 1, 1, 1) for t in ts[:2])
    model = perfect(noise)
    stepped = ddim_step(model, z, ts[0].expand(3), now, after, noise)
    expected = ddim(model, z, noise, ts[:1], final_alpha_bar=after[0].item())
    torch.testing.assert_close(stepped, expected)
    z0 = z0_that_leads_to(stepped, z, now, after)
    torch.testing.assert_close(z0, prediction.to_z0(model(z, ts[0].expand(3)), z, now), atol=1e-5, rtol=1e-4)
    assert torch.equal(z0_that_leads_to(stepped, z, now, torch.ones_like(now)), stepped)


@pytest.mark.parametrize("steps", [1, 2, 4, 8, 25])
def test_a_students_times_are_every_second_of_its_teachers_and_those_of_sampling(steps):
    ts, alpha_bars = student_levels(steps, schedule())
    assert torch.equal(ts, trailing(2 * steps, 1000)) and torch.equal(ts[::2], trailing(steps, 1000))
    assert len(alpha_bars) == 2 * steps + 1 and alpha_bars[-1] == 1
    with pytest.raises(ValueError, match="half of its teacher's"):
        student_levels(501, schedule())


def test_on_one_point_all_paths_are_straight_and_the_teacher_is_its_own_student():
    noise, point = schedule(), randn(4, 2, 2)

    def exact(z: Tensor, t: Tensor, context: Tensor | None = None) -> Tensor:
        alpha_bar = noise.at(t).view(-1, 1, 1, 1)
        eps = (z - alpha_bar.sqrt() * point) / (1 - alpha_bar).sqrt()
        return VELOCITY.from_z0_and_eps(point.expand_as(z), eps, alpha_bar)

    step = torch.arange(64) % 4
    arguments = (exact, noise, point.expand(64, -1, -1, -1), CONTEXT, step, randn(64, 4, 2, 2, seed=1), 4)
    assert distillation_loss(exact, *arguments) < 1e-9
    assert distillation_loss(lambda z, t, context: exact(z, t) + 0.1, *arguments).item() == pytest.approx(0.01, 1e-3)


class OneFactorPerStep(nn.Module):
    """All that a perfect student of Gaussian data needs: prediction = factor(t) z."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.zeros(1000))

    def forward(self, z: Tensor, t: Tensor, context: Tensor) -> Tensor:
        return self.factor[t].view(-1, 1, 1, 1) * z


def test_a_student_samples_in_half_the_steps_what_its_teacher_does():
    noise, draw, unet = schedule(), torch.Generator().manual_seed(0), OneFactorPerStep()

    def batches():
        return STD * torch.randn(64, 4, 2, 2, generator=draw), CONTEXT

    student, losses = distil(unet, lambda context: perfect(noise), noise, batches, 2, 400, draw, lr=0.05)
    assert losses[-1] < 1e-6 < losses[0] and not unet.factor.any(), "the student is a copy"
    start = randn(5, 4, 2, 2, seed=2)
    teachers = ddim(perfect(noise), start, noise, timesteps(noise, 4))
    students = ddim(lambda z, t: student(z, t, CONTEXT), start, noise, timesteps(noise, 2))
    hurried = ddim(perfect(noise), start, noise, timesteps(noise, 2))
    torch.testing.assert_close(students, teachers, atol=1e-3, rtol=1e-3)
    assert (hurried - teachers).abs().max() > 10 * (students - teachers).abs().max()


def test_the_gradient_reaches_the_student_only():
    noise, student, own = schedule(), OneFactorPerStep(), nn.Parameter(torch.ones(()))
    step = torch.randint(4, (64,), generator=torch.Generator().manual_seed(0))
    z0, eps = randn(64, 4, 2, 2), randn(64, 4, 2, 2, seed=1)
    distillation_loss(student, lambda z, t: own * perfect(noise)(z, t), noise, z0, CONTEXT, step, eps, 4).backward()
    assert own.grad is None and student.factor.grad.count_nonzero() == 4
