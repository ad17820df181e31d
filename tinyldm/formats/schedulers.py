"""scheduler_config.json: what the folder says about the noise, the timesteps and the sampler, followed or refused.

diffusers' scheduler classes mix four decisions that are apart here: the noise schedule, which timesteps are visited,
the sampler, and the size of the noise to start from. A class reads its own keys and no others, with defaults of its
own; so does this file. What a class would do with a value that this package cannot follow is refused by name.

Source: diffusers `schedulers/scheduling_*.py`, and what its pipelines change in a configuration before they use it.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tinyldm import shapes
from tinyldm.formats.files import explained, read_json, refuse_others, require_numbers, require_whole
from tinyldm.forward_diffusion import (
    EPS,
    VELOCITY,
    NoiseSchedule,
    cosine_betas,
    linear_betas,
    log_sigma,
    scaled_linear_betas,
)
from tinyldm.more_samplers import along, euler_ancestral, extrapolated, lcm, lcm_timesteps, pndm
from tinyldm.reverse_diffusion import (
    Callback,
    Model,
    ddim,
    ddpm,
    dpm_solver_pp,
    euler,
    finish_step,
    leading,
    leading_from_zero,
    linspace,
    predict,
    trailing,
)
from tinyldm.seeds import Generators, per_picture

Spacing = Callable[[int, int], Tensor]
MAX_TIMESTEPS = 100_000  # of a schedule; all models of the hub have 1000


@dataclass(frozen=True)
class Sampling:
    """What a scheduler's folder decides."""

    schedule: NoiseSchedule
    spacing: Spacing  # which timesteps sampling visits
    sampler: Callable[..., Tensor] = ddim  # used where the caller names no other
    scales_noise: bool = False  # start from noise · √(1-ᾱ), the share that noise has in z_t, instead of from noise


# ── What only diffusers has ──────────────────────────────────────────────────────────────────────────


def zero_terminal_snr(beta: Tensor) -> Tensor:
    """Shift and stretch √ᾱ so that it ends at exactly 0: the last z_t is pure noise. Lin et al. 2024, algorithm 1.

    (T,) -> (T,) float64. The other schedules leave some signal in the last z_t, so that sampling, which starts from
    pure noise, starts from what training never showed. The last ᾱ being 0, the network must predict a velocity.
    """
    root = torch.cumprod(1 - beta.double(), 0).sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])  # ends at 0; the first keeps its value
    alpha_bar = root**2
    return 1 - torch.cat([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]])


@dataclass(frozen=True, eq=False)
class Karras:
    """Fractional timesteps at which σ^(1/ρ) falls evenly: small steps where little noise is left.

    σ_i = (σ_max^(1/ρ) + i/(S-1) · (σ_min^(1/ρ) - σ_max^(1/ρ)))^ρ, ρ = 7.   Karras et al. 2022, eq. 5.
    """

    schedule: NoiseSchedule
    ends: Spacing = linspace  # the spacing whose first and last timesteps give σ_max and σ_min

    def __call__(self, steps: int, T: int) -> Tensor:
        """`steps` falling timesteps in [0, T - 1]: (steps,), float32."""
        alpha_bar = self.schedule.alpha_bar
        first, last = log_sigma(self.schedule.at(self.ends(steps, T)[[0, -1]].to(alpha_bar.device))).cpu().double()
        roots = torch.lerp((first / 7).exp(), (last / 7).exp(), torch.linspace(0, 1, steps, dtype=torch.float64))
        wanted, table = 7 * roots.log(), log_sigma(alpha_bar).cpu().double()  # both log σ
        above = torch.searchsorted(table, wanted).clamp(1, T - 1)
        return (above - 1 + (wanted - table[above - 1]) / (table[above] - table[above - 1])).clamp(0, T - 1).float()


def linspace_whole(steps: int, T: int) -> Tensor:
    """From T - 1 to 0 with both ends, rounded: diffusers' "linspace" of DDPM."""
    return torch.linspace(T - 1, 0, steps, dtype=torch.float64).round().long()


def linspace_above_zero(steps: int, T: int) -> Tensor:
    """From T - 1 to 0, rounded, without the 0: diffusers' "linspace" of DPM-Solver and its kin."""
    return torch.linspace(T - 1, 0 if steps < T else -1, steps + 1, dtype=torch.float64).round().long()[:-1]


def leading_above_zero(steps: int, T: int) -> Tensor:
    """Multiples of T // (steps + 1), plus 1, without the smallest: diffusers' "leading" of DPM-Solver and its kin."""
    stride = max(T // (steps + 1), 1)
    return torch.arange(steps, 0, -1) * stride + min(1, T - 1 - steps * stride)


def leading_above_zero_from_zero(steps: int, T: int) -> Tensor:
    """The same with `steps_offset` 0."""
    stride = max(T // (steps + 1), 1)
    return torch.arange(steps, 0, -1) * stride + min(0, T - 1 - steps * stride)


def landings(timesteps: Tensor, T: int) -> list[float]:
    """Where diffusers' DDIM and PNDM land with "trailing" spacing: T // steps below each timestep; below 0 is the end.

    Where the number of steps does not divide T, that is beside the next timestep: each step then starts at a noise
    level that the one before has not quite reached. Here to draw what diffusers draws.

    Args: timesteps: a whole walk, or the end of one (image-to-image).  For other spacings: the next timesteps.
    """
    ts = timesteps.tolist()
    for steps in range(len(ts), T + 1):
        if trailing(steps, T)[-len(ts) :].tolist() == ts:
            return [t - T // steps for t in ts]
    return [*ts[1:], -1]


def ddim_by_stride(
    model: Model,
    z: Tensor,
    schedule: NoiseSchedule,
    timesteps: Tensor,
    *,
    eta: float = 0.0,
    generator: Generators = None,
    final_alpha_bar: float | None = None,
    callback: Callback = None,
) -> Tensor:
    """`ddim`, one step at a time, each of which ends at `landings`."""
    shapes.require_walk(timesteps)
    generators = per_picture(generator, len(z))
    final = schedule.final_alpha_bar if final_alpha_bar is None else final_alpha_bar
    for i, t in enumerate(landings(timesteps, schedule.T)):

        def numbered(_: int, z: Tensor, z0_hat: Tensor, i: int = i) -> Tensor:
            return finish_step(callback, i, z, z0_hat)

        options = dict(eta=eta, generator=generators, final_alpha_bar=level_at(schedule, t, final))
        z = ddim(model, z, schedule, timesteps[i : i + 1], **options, callback=numbered)
    return z


def pndm_by_stride(
    model: Model,
    z: Tensor,
    schedule: NoiseSchedule,
    timesteps: Tensor,
    *,
    generator: Generators = None,
    final_alpha_bar: float | None = None,
    callback: Callback = None,
) -> Tensor:
    """`pndm`, each step of which ends at `landings`; its first one starts a stride above the second timestep."""
    shapes.require_walk(timesteps)
    final = schedule.final_alpha_bar if final_alpha_bar is None else final_alpha_bar
    outputs: list[Tensor] = []
    for i, (t, next_t) in enumerate(zip(timesteps, landings(timesteps, schedule.T))):
        alpha_bar, next_alpha_bar = level_at(schedule, t.item(), final), level_at(schedule, next_t, final)
        outputs = [predict(model, z, t), *outputs[:3]]
        mixed = extrapolated(outputs)
        if i == 0 and len(timesteps) > 1:
            ahead, _ = along(outputs[0], z, schedule, alpha_bar, next_alpha_bar)
            mixed = (outputs[0] + predict(model, ahead, timesteps[1])) / 2
            second = timesteps[1].item()
            alpha_bar, next_alpha_bar = (level_at(schedule, u, final) for u in (second + t.item() - next_t, second))
        z, z0_hat = along(mixed, z, schedule, alpha_bar, next_alpha_bar)
        z = finish_step(callback, i, z, z0_hat)
    return z


def level_at(schedule: NoiseSchedule, t: float, final_alpha_bar: float) -> float:
    """ᾱ at a timestep; the final one below 0."""
    if t < 0:
        return final_alpha_bar
    return schedule.at(torch.tensor([t], device=schedule.alpha_bar.device)).item()


def dpm_solver_pp_whole(
    model: Model,
    z: Tensor,
    schedule: NoiseSchedule,
    timesteps: Tensor,
    *,
    generator: Generators = None,
    final_alpha_bar: float = 1.0,
    callback: Callback = None,
) -> Tensor:
    """`dpm_solver_pp` that rounds the timesteps for the network, but not the noise: diffusers', with Karras' sigmas."""

    def rounding(z_t: Tensor, t: Tensor) -> Tensor:
        return model(z_t, t.round())

    options = dict(generator=generator, final_alpha_bar=final_alpha_bar, callback=callback)
    return dpm_solver_pp(rounding, z, schedule, timesteps, **options)


BY_STRIDE = {ddim: ddim_by_stride, pndm: pndm_by_stride}
# What only diffusers has -> what it is called here.
VARIANTS = {dpm_solver_pp_whole: dpm_solver_pp} | {variant: sampler for sampler, variant in BY_STRIDE.items()}


# ── What each class reads ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Family:
    """One of diffusers' scheduler classes."""

    sampler: Callable[..., Tensor]
    spacings: dict[tuple[str, int], Spacing]  # (timestep_spacing, steps_offset) -> which timesteps sampling visits
    defaults: dict[str, Any]  # of the keys that it reads and that this package follows
    fixed: dict[str, Any] = field(default_factory=dict)  # the one value that this package knows of the others
    scales_noise: bool = False


BETAS = dict(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
COMMON = dict(**BETAS, prediction_type="epsilon", steps_offset=0)
NO_BETAS = dict(trained_betas=None)
NO_CLIPPING = dict(clip_sample=False, thresholding=False)
NO_OTHER_SIGMAS = dict(use_exponential_sigmas=False, use_beta_sigmas=False)
KARRAS = dict(use_karras_sigmas=False)
ZERO_SNR = dict(rescale_betas_zero_snr=False)

# `steps_offset` matters for "leading" only; for the others it is written as 1, because diffusers warns of all else.
WALKS = {("leading", 1): leading, ("leading", 0): leading_from_zero, ("trailing", 1): trailing}
SIGMA_WALKS = {**WALKS, ("linspace", 1): linspace}
SOLVER_WALKS = {
    ("leading", 1): leading_above_zero,
    ("leading", 0): leading_above_zero_from_zero,
    ("trailing", 1): trailing,
    ("linspace", 1): linspace_above_zero,
}

DDIM = Family(
    ddim,
    WALKS,  # "linspace" is refused: diffusers then lands beside the timesteps that it visits
    dict(**COMMON, **ZERO_SNR, timestep_spacing="leading", set_alpha_to_one=True, clip_sample=True),
    NO_BETAS | NO_CLIPPING,
)
DDPM = Family(
    ddpm,
    {**WALKS, ("linspace", 1): linspace_whole},
    dict(**COMMON, **ZERO_SNR, timestep_spacing="leading", clip_sample=True),
    NO_BETAS | NO_CLIPPING | dict(variance_type="fixed_small"),
)
PNDM = Family(
    pndm,
    WALKS,
    dict(**COMMON, timestep_spacing="leading", set_alpha_to_one=False, skip_prk_steps=False),
    NO_BETAS | dict(skip_prk_steps=True),  # False starts with Runge-Kutta steps, four calls each
)
EULER = Family(
    euler,
    SIGMA_WALKS,
    dict(**COMMON, **KARRAS, **ZERO_SNR, timestep_spacing="linspace"),
    NO_BETAS
    | NO_OTHER_SIGMAS
    | dict(interpolation_type="linear", timestep_type="discrete", final_sigmas_type="zero", sigma_min=None)
    | dict(sigma_max=None),
    scales_noise=True,
)
EULER_ANCESTRAL = Family(
    euler_ancestral, SIGMA_WALKS, dict(**COMMON, **ZERO_SNR, timestep_spacing="linspace"), NO_BETAS, scales_noise=True
)
SOLVER_FIXED = NO_BETAS | NO_OTHER_SIGMAS | dict(thresholding=False, use_flow_sigmas=False)
DPM_SOLVER = Family(
    dpm_solver_pp,
    SOLVER_WALKS,
    dict(**COMMON, **KARRAS, **ZERO_SNR, timestep_spacing="linspace"),
    SOLVER_FIXED
    | dict(algorithm_type="dpmsolver++", solver_type="midpoint", solver_order=2, use_lu_lambdas=False)
    | dict(final_sigmas_type="zero", lambda_min_clipped=-math.inf, variance_type=None),
)
LCM = Family(
    lcm,
    {("leading", 1): lcm_timesteps},  # it has a spacing of its own, whatever the file says
    dict(prediction_type="epsilon", num_train_timesteps=1000, set_alpha_to_one=True, clip_sample=False, **ZERO_SNR)
    | dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
    NO_BETAS | NO_CLIPPING | dict(original_inference_steps=50, timestep_scaling=10.0),
)
FOLLOWED = {
    "DDIMScheduler": DDIM,
    "DDPMScheduler": DDPM,
    "PNDMScheduler": PNDM,
    "EulerDiscreteScheduler": EULER,
    "EulerAncestralDiscreteScheduler": EULER_ANCESTRAL,
    "DPMSolverMultistepScheduler": DPM_SOLVER,
    "LCMScheduler": LCM,
    "DDIMParallelScheduler": DDIM,
    "DDPMParallelScheduler": DDPM,
}

# Solvers of the same differential equation that this package lacks. With the same noise and timesteps the nearest
# that it has draws nearly the same picture, which a warning says.
LINSPACE = dict(**COMMON, **KARRAS, timestep_spacing="linspace")
NEAREST = {
    "UniPCMultistepScheduler": Family(
        dpm_solver_pp,
        SOLVER_WALKS,
        DPM_SOLVER.defaults,
        SOLVER_FIXED | dict(final_sigmas_type="zero", sigma_min=None, sigma_max=None, shift_terminal=None),
    ),
    "DEISMultistepScheduler": Family(dpm_solver_pp, SOLVER_WALKS, LINSPACE, SOLVER_FIXED),
    "DPMSolverSinglestepScheduler": Family(
        dpm_solver_pp,
        {("linspace", 1): linspace_above_zero},
        dict(**BETAS, **KARRAS, prediction_type="epsilon"),
        SOLVER_FIXED | dict(algorithm_type="dpmsolver++", final_sigmas_type="zero", lambda_min_clipped=-math.inf),
    ),
    "LMSDiscreteScheduler": Family(euler, SIGMA_WALKS, LINSPACE, NO_BETAS | NO_OTHER_SIGMAS, scales_noise=True),
    "HeunDiscreteScheduler": Family(
        euler,
        SIGMA_WALKS,
        LINSPACE | dict(beta_start=0.00085, beta_end=0.012),
        NO_BETAS | NO_OTHER_SIGMAS | dict(clip_sample=False),
        scales_noise=True,
    ),
    "KDPM2DiscreteScheduler": Family(
        euler,
        SIGMA_WALKS,
        LINSPACE | dict(beta_start=0.00085, beta_end=0.012),
        NO_BETAS | NO_OTHER_SIGMAS,
        scales_noise=True,
    ),
}

# Why some others are refused, by what their names contain.
OTHER_KINDS = {
    "EDM": "trained with the preconditioning of EDM (Karras et al. 2022), which this package does not have",
    "FlowM": "a flow-matching model, not one of diffusion",
    "TCD": "trajectory consistency distillation, which this package does not have; LCM is near, as a sampler",
    "SDE": "a stochastic solver that this package does not have; euler_ancestral is one that it has",
    "Ancestral": "an ancestral sampler that this package does not have; euler_ancestral is one that it has",
}

# What diffusers' pipelines for Stable Diffusion 1 and 2 change in a scheduler, whatever its file says. XL's change
# nothing.
TEXT_TO_IMAGE = {"steps_offset": 1, "clip_sample": False}
INPAINTING = {"steps_offset": 1, "skip_prk_steps": True}
XL: dict[str, Any] = {}


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────


def load_scheduler(folder: Path, forced: dict[str, Any], class_name: str | None = None) -> Sampling:
    """Read a scheduler's folder.

    Args:
        forced: TEXT_TO_IMAGE, INPAINTING or XL.
        class_name: diffusers' class, as model_index.json names it; None takes the file's own.
    Raises: ValueError for a class or a value that is not followed.
    Warns: where the class is a solver that this package lacks, and which one takes its place.
    """
    file = folder / "scheduler_config.json"
    config = read_json(file)
    with explained(file):
        return sampling_from_diffusers(config if class_name is None else {**config, "_class_name": class_name}, forced)


def sampling_from_diffusers(config: dict[str, Any], forced: dict[str, Any] = TEXT_TO_IMAGE) -> Sampling:
    """scheduler_config.json -> Sampling. Arguments as `load_scheduler`."""
    name = config.get("_class_name", "DDIMScheduler")
    family = family_of(name)
    asked = {key: config.get(key, default) for key, default in family.defaults.items()}
    asked |= {key: config[key] for key in family.fixed if key in config}
    asked |= {key: value for key, value in forced.items() if key in asked}
    _refuse_what_is_fixed(asked, family.fixed)
    schedule = _schedule(asked, config)
    spacing = _spacing(asked, family, schedule)
    is_scaled = family.scales_noise and asked.get("timestep_spacing") in ("linspace", "trailing")
    if name in NEAREST:
        warnings.warn(
            f"the folder's scheduler is {name}, which this package lacks; {family.sampler.__name__} takes its place, "
            "with the same noise schedule and timesteps: pictures differ a little from those of diffusers",
            stacklevel=2,
        )
    sampler = family.sampler
    if isinstance(spacing, Karras) and sampler is dpm_solver_pp:
        sampler = dpm_solver_pp_whole
    if spacing is trailing:
        sampler = BY_STRIDE.get(sampler, sampler)
    return Sampling(schedule, spacing, sampler, is_scaled)


def family_of(name: Any) -> Family:
    """What one of diffusers' scheduler classes reads. Raises ValueError for one that is not followed."""
    if isinstance(name, str) and name in FOLLOWED:
        return FOLLOWED[name]
    if isinstance(name, str) and name in NEAREST:
        return NEAREST[name]
    reason = next((reason for part, reason in OTHER_KINDS.items() if part in str(name)), None)
    known = ", ".join([*FOLLOWED, *NEAREST])
    raise ValueError(f"the scheduler is {name}: " + (reason or f"not one that this package knows ({known})"))


def _refuse_what_is_fixed(asked: dict[str, Any], fixed: dict[str, Any]) -> None:
    if asked.get("solver_type") in ("logrho", "bh1", "bh2"):  # which diffusers' DPM-Solver reads as its own
        asked = {**asked, "solver_type": "midpoint"}
    refuse_others(asked, fixed)


def _schedule(asked: dict[str, Any], config: dict[str, Any]) -> NoiseSchedule:
    require_whole(asked, {"num_train_timesteps": MAX_TIMESTEPS})
    require_numbers(asked, 0, 1, "beta_start", "beta_end")
    T, start, end = asked["num_train_timesteps"], asked["beta_start"], asked["beta_end"]
    betas = {
        "scaled_linear": lambda: scaled_linear_betas(T, start, end),
        "linear": lambda: linear_betas(T, start, end),
        "squaredcos_cap_v2": lambda: cosine_betas(T),
    }
    predictions = {prediction.name: prediction for prediction in (EPS, VELOCITY)}
    for what, known in (("beta_schedule", betas), ("prediction_type", predictions)):
        if asked[what] not in known:
            raise ValueError(f"the scheduler's {what} is {asked[what]!r}; this package knows {', '.join(known)}")
    beta = betas[asked["beta_schedule"]]()
    # A scheduler that does not read `set_alpha_to_one` may still have it in its file, for when another takes over.
    final_is_one = asked.get("set_alpha_to_one", config.get("set_alpha_to_one", True))
    if _is_on(asked, "rescale_betas_zero_snr"):
        if asked["prediction_type"] == EPS.name:
            raise ValueError(
                "rescale_betas_zero_snr needs prediction_type 'v_prediction': in pure noise, the noise tells nothing"
            )
        beta = zero_terminal_snr(beta)
    return NoiseSchedule(beta, predictions[asked["prediction_type"]], 1.0 if final_is_one else 1 - beta[0].item())


def _spacing(asked: dict[str, Any], family: Family, schedule: NoiseSchedule) -> Spacing:
    if family is LCM:
        return lcm_timesteps
    name = asked.get("timestep_spacing", "linspace")
    offset = asked["steps_offset"] if name == "leading" else 1
    if (name, offset) not in family.spacings:
        raise ValueError(
            f"the scheduler's timestep_spacing is {name!r} with steps_offset {offset!r}; this package "
            f"knows {', '.join(f'{name} with {offset}' for name, offset in family.spacings)}"
        )
    spacing = family.spacings[name, offset]
    if not _is_on(asked, "use_karras_sigmas"):
        return spacing
    if family.sampler is dpm_solver_pp:  # it takes the whole table, whatever the spacing, and whole timesteps
        if asked["beta_schedule"] == "squaredcos_cap_v2":
            raise ValueError(
                "use_karras_sigmas with beta_schedule 'squaredcos_cap_v2'; this package knows only one of them"
            )
        return Karras(schedule, linspace)
    return Karras(schedule, spacing)


def _is_on(asked: dict[str, Any], key: str) -> bool:
    if asked.get(key) not in (True, False, None):
        raise ValueError(f"{key} is {asked[key]!r}; expected true or false")
    return bool(asked.get(key))


# ── Writing ──────────────────────────────────────────────────────────────────────────────────────────

CLASSES = {family.sampler: name for name, family in reversed(FOLLOWED.items())}
CLASSES |= {variant: CLASSES[sampler] for variant, sampler in VARIANTS.items()}


def sampling_to_diffusers(sampling: Sampling) -> dict[str, Any]:
    """Sampling -> scheduler_config.json of the class that does the same in diffusers.

    A schedule keeps only ᾱ, so the families of betas are tried in turn.
    Raises: ValueError for what no class of diffusers does.
    """
    if sampling.sampler not in CLASSES:
        raise ValueError(
            f"{sampling.sampler!r} is a sampler that a diffusers folder cannot name; it can name "
            f"{', '.join(sampler.__name__ for sampler in CLASSES)}"
        )
    name = CLASSES[sampling.sampler]
    family = FOLLOWED[name]
    spacing, uses_karras = sampling.spacing, isinstance(sampling.spacing, Karras)
    if isinstance(spacing, Karras):
        spacing = linspace_above_zero if family is DPM_SOLVER else spacing.ends
    names = {function: key for key, function in family.spacings.items()}
    if spacing not in names or uses_karras and "use_karras_sigmas" not in family.defaults:
        raise ValueError(
            f"{sampling.spacing!r} is a spacing that diffusers does not have for {name}; it has "
            f"{', '.join(function.__name__ for function in names)}"
        )
    written = {
        **_betas_to_diffusers(sampling.schedule),
        "prediction_type": sampling.schedule.prediction.name,
        "set_alpha_to_one": math.isclose(sampling.schedule.final_alpha_bar, 1.0),
        "timestep_spacing": names[spacing][0],
        "steps_offset": names[spacing][1],
        "use_karras_sigmas": uses_karras,
    }
    known = {**family.defaults, **family.fixed}
    finite = {key: value for key, value in known.items() if value != -math.inf}  # which JSON cannot express
    return {"_class_name": name, **finite, **{key: value for key, value in written.items() if key in known}}


def _betas_to_diffusers(schedule: NoiseSchedule) -> dict[str, Any]:
    alpha_bar = schedule.alpha_bar.double().cpu()
    beta = 1 - alpha_bar / torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
    start, is_rescaled = _tidy(beta[0].item()), alpha_bar[-1].item() == 0
    # Rescaling moves the last β to 1, so where it was is tried: 0.012 in Stable Diffusion, 0.02 in DDPM.
    for end in (0.012, 0.02) if is_rescaled else (_tidy(beta[-1].item()),):
        families = {
            "scaled_linear": scaled_linear_betas(schedule.T, start, end),
            "linear": linear_betas(schedule.T, start, end),
            "squaredcos_cap_v2": cosine_betas(schedule.T),
        }
        for name, candidate in families.items():
            candidate = zero_terminal_snr(candidate) if is_rescaled else candidate
            if torch.allclose(torch.cumprod(1 - candidate, 0), alpha_bar, rtol=1e-4, atol=1e-6):
                return {
                    "num_train_timesteps": schedule.T,
                    "beta_schedule": name,
                    "beta_start": start,
                    "beta_end": end,
                    "rescale_betas_zero_snr": is_rescaled,
                }
    raise ValueError("this schedule is neither scaled-linear, linear nor cosine; a diffusers folder cannot express it")


def _tidy(beta: float) -> float:
    return float(f"{beta:.4g}")  # ᾱ is stored in float32, so β read back from it has a rounding error
