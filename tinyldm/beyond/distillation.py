"""Progressive distillation, 2022: one step of a student does what two of its teacher's did. 16 → 8 → 4 → 2 → 1.

    z_t ─teacher─► z_t' ─teacher─► z_t''        two DDIM steps, guided the first time
    z_t ─────────student─────────► z_t''        one: the ẑ0 that leads there is known, and is what the student learns

What changed against the article's sampling: nothing in the network, the data or the sampler. The steps that are skipped
have been learnt. Guidance is learnt with them (Meng et al.): the first teacher asks the U-Net with and without the
caption, its student only with it, so that a step costs half. w is fixed from then on; no negative captions any more.

What is lost: a student regresses on the mean of what its teacher does, so that pictures of very few steps get soft, and
each halving keeps its teacher's mistakes. *Consistency* distillation (Song et al. 2023, arXiv 2303.01469; LCM, Luo et
al. 2023, arXiv 2310.04378) learns in one stage to jump from anywhere to z0 instead; such networks are sampled by `lcm`
in `more_samplers`.

Source: Salimans & Ho 2022, arXiv 2202.00512, algorithm 2 and appendix G; Meng et al. 2023, arXiv 2210.03142.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tinyldm.formats.diffusers_unet import load_unet
from tinyldm.formats.places import SHIPPED
from tinyldm.forward_diffusion import NoiseSchedule
from tinyldm.reverse_diffusion import Model, trailing
from tinyldm.unet import UNet

Batches = Callable[[], tuple[Tensor, Tensor]]  # () -> z0 (B, C, h, w) and context (B, L, D), a new batch each time
Teacher = Callable[[Tensor], Model]  # context -> the model (z_t, t) -> prediction that is imitated


def four_step_unet() -> UNet:
    """The shipped student: the U-Net for `tiny` that draws in 4 steps, each one call, with guidance 3 built in.

        model = LatentDiffusion.from_pretrained("tiny")
        model.unet = four_step_unet()
        images = model.generate(captions, steps=4, guidance_scale=1)

    Returns: the network in float32, on the CPU. All other parts are tiny's own.
    Raises: ValueError where this copy of the package came without it.
    """
    return load_unet(SHIPPED / "tiny" / "unet_4_steps").float().eval().requires_grad_(False)


def ddim_step(
    model: Model, z: Tensor, t: Tensor, alpha_bar: Tensor, next_alpha_bar: Tensor, schedule: NoiseSchedule
) -> Tensor:
    """One step of `ddim` in which each latent has its own timestep: t (B,); ᾱ now and after (B, 1, 1, 1)."""
    output = model(z, t)
    z0_hat, eps_hat = schedule.prediction.to_z0(output, z, alpha_bar), schedule.prediction.to_eps(output, z, alpha_bar)
    return next_alpha_bar.sqrt() * z0_hat + (1 - next_alpha_bar).sqrt() * eps_hat


def z0_that_leads_to(z_next: Tensor, z: Tensor, alpha_bar: Tensor, next_alpha_bar: Tensor) -> Tensor:
    """The ẑ0 with which one DDIM step goes from z to z_next.  Salimans & Ho 2022, eq. 43.

    ẑ0 = (z_next - r z) / (√ᾱ_next - r √ᾱ),  r = √((1-ᾱ_next) / (1-ᾱ)).  At the last step r = 0, and it is z_next.
    """
    ratio = ((1 - next_alpha_bar) / (1 - alpha_bar)).sqrt()
    return (z_next - ratio * z) / (next_alpha_bar.sqrt() - ratio * alpha_bar.sqrt())


def student_levels(steps: int, schedule: NoiseSchedule) -> tuple[Tensor, Tensor]:
    """The teacher's timesteps (2 · steps,), every second of them the student's; ᾱ (2 · steps + 1,), ending at 1."""
    if not 1 <= steps <= schedule.T // 2:
        raise ValueError(f"a student of {steps} steps; expected 1 … {schedule.T // 2}, half of its teacher's")
    ts = trailing(2 * steps, schedule.T).to(schedule.alpha_bar.device)
    return ts, torch.cat([schedule.at(ts), schedule.alpha_bar.new_ones(1)])


def distillation_loss(
    student: Callable[..., Tensor],
    teacher: Model,
    schedule: NoiseSchedule,
    z0: Tensor,
    context: Tensor,
    step: Tensor,
    eps: Tensor,
    steps: int,
) -> Tensor:
    """How far the student's one step is from two of the teacher's, in what the student predicts.

    In the velocity, that is the paper's weight "SNR + 1" on the error of ẑ0.

    Args:
        student: (z_t, t, context) -> prediction; teacher: (z_t, t) -> prediction.
        step: (B,) int64 in 0 … steps - 1, which of the student's steps; z0, eps: (B, C, h, w); context: (B, L, D).
    Returns: a scalar; no gradient reaches the teacher.
    """
    ts, alpha_bars = student_levels(steps, schedule)
    first, middle, last = (alpha_bars[2 * step + k].view(-1, 1, 1, 1) for k in range(3))
    t, t_middle = ts[2 * step], ts[2 * step + 1]
    z = first.sqrt() * z0 + (1 - first).sqrt() * eps
    with torch.no_grad():
        z_middle = ddim_step(teacher, z, t, first, middle, schedule)
        z_last = ddim_step(teacher, z_middle, t_middle, middle, last, schedule)
        z0_target = z0_that_leads_to(z_last, z, first, last)
        eps_target = (z - first.sqrt() * z0_target) / (1 - first).sqrt()
        target = schedule.prediction.from_z0_and_eps(z0_target, eps_target, first)
    return (student(z, t, context) - target).square().mean()


def distil(
    unet: nn.Module,
    teacher: Teacher,
    schedule: NoiseSchedule,
    batches: Batches,
    steps: int,
    updates: int,
    generator: torch.Generator,
    lr: float = 3e-4,
) -> tuple[nn.Module, list[float]]:
    """One stage: a copy of `unet` learns to make the pictures of a teacher of 2 · `steps` steps in `steps`.

    Args:
        unet: where the student starts: the teacher's own network.
        teacher: the first time `lambda context: guided(unet, context, null_context, w)`; then the student before,
            `lambda context: lambda z, t: unet(z, t, context)`.
    Returns: the student, and the loss at every update.
    """
    student = copy.deepcopy(unet).requires_grad_(True)
    optimizer = torch.optim.Adam(student.parameters(), lr)
    schedule_lr = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda update: 1 - update / updates)
    losses = []
    for _ in range(updates):
        z0, context = batches()
        step = torch.randint(steps, (len(z0),), generator=generator).to(z0.device)
        eps = torch.randn(z0.shape, generator=generator).to(z0)
        loss = distillation_loss(student, teacher(context), schedule, z0, context, step, eps, steps)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        schedule_lr.step()
        losses.append(loss.item())
    return student.eval().requires_grad_(False), losses
