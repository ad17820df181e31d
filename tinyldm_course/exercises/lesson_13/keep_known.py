"""Exercise keep_known of lesson 13: Inpainting: put the known back."""

import torch
from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import uniform
from tinyldm_course.exercises.lesson_13.shared import noised


def keep_known(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    """z where the mask is 1; the known picture, as noisy as z is now, where it is 0.

    z: (B, C, h, w) after a step; z0, eps: like z; mask: (B, 1, h, w) int64, 0 or 1; alpha_bar, next_alpha_bar: numbers,
    ᾱ before and after the step.  Returns (B, C, h, w).
    """
    ### BEGIN SOLUTION
    known = next_alpha_bar**0.5 * z0 + (1 - next_alpha_bar) ** 0.5 * eps
    return mask * z + (1 - mask) * known
    ### END SOLUTION


def known_cases(generator: Generator) -> list[Call]:
    """z after a step, z0, ε, mask, ᾱ before and after the step; once the last step, onto the clean latent."""
    calls = [
        Call(
            (
                torch.tensor([[[[1.0, -2.0]]]]),
                torch.tensor([[[[3.0, 4.0]]]]),
                torch.tensor([[[[0.5, 1.0]]]]),
                torch.tensor([[[[1, 0]]]]),
                0.36,
                0.64,
            )
        )
    ]
    for shape, clean in (((2, 3, 4, 4), True), ((3, 4, 8, 8), False)):
        z, z0, eps = (torch.randn(shape, generator=generator) for _ in range(3))
        mask = (torch.rand(shape[0], 1, *shape[2:], generator=generator) < 0.5).long()
        mask[0, 0, 0, :2] = torch.tensor([0, 1])
        calls.append(
            Call((z, z0, eps, mask, uniform(0.2, 0.5, generator), 1.0 if clean else uniform(0.6, 0.9, generator)))
        )
    return calls


def known_inverted(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return keep_known(z, z0, eps, 1 - mask, alpha_bar, next_alpha_bar)


def known_clean(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return mask * z + (1 - mask) * z0


def known_of_old_level(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return keep_known(z, z0, eps, mask, alpha_bar, alpha_bar)


def known_added(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return mask * z + noised(z0, eps, next_alpha_bar)


def known_fresh_noise(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return keep_known(z, z0, torch.randn_like(z0), mask, alpha_bar, next_alpha_bar)


def known_without_roots(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return mask * z + (1 - mask) * (next_alpha_bar * z0 + (1 - next_alpha_bar) * eps)


def known_all_noised(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return noised(mask * z + (1 - mask) * z0, eps, next_alpha_bar)


def known_in_place(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    z *= mask
    return z + (1 - mask) * noised(z0, eps, next_alpha_bar)


def known_only_multiplied(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return mask * z


def known_swapped_factors(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return mask * z + (1 - mask) * noised(eps, z0, next_alpha_bar)


def known_everywhere(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return noised(z0, eps, next_alpha_bar)


def known_nowhere(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return z + 0


def known_of_ratio(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return keep_known(z, z0, eps, mask, alpha_bar, alpha_bar / next_alpha_bar)


def known_noise_not_rooted(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return mask * z + (1 - mask) * (next_alpha_bar**0.5 * z0 + (1 - next_alpha_bar) * eps)


def known_signal_not_scaled(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return mask * z + (1 - mask) * (z0 + (1 - next_alpha_bar) ** 0.5 * eps)


def known_subtracted(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return mask * z - (1 - mask) * noised(z0, eps, next_alpha_bar)


def known_without_noise(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return mask * z + (1 - mask) * next_alpha_bar**0.5 * z0


def known_noise_only(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return mask * z + (1 - mask) * (1 - next_alpha_bar) ** 0.5 * eps


def known_by_tilde(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return mask * z + ~mask * noised(z0, eps, next_alpha_bar)


def known_by_one_mask(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return keep_known(z, z0, eps, mask[:1].expand_as(mask), alpha_bar, next_alpha_bar)


def known_averaged(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return keep_known(z, z0, eps, mask, alpha_bar, next_alpha_bar) / 2 + z / 2


def known_noise_subtracted(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return keep_known(z, z0, -eps, mask, alpha_bar, next_alpha_bar)


def known_by_where(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return torch.where(mask.bool(), z, noised(z0, eps, next_alpha_bar))


def known_by_lerp(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return torch.lerp(noised(z0, eps, next_alpha_bar), z, mask.to(z).expand_as(z))


def known_by_difference(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    known = noised(z0, eps, next_alpha_bar)
    return known + mask * (z - known)


@torch.no_grad()
def known_without_gradient(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    return keep_known(z, z0, eps, mask, alpha_bar, next_alpha_bar)


EXERCISE = Exercise(
    name="keep_known",
    title="Inpainting: put the known back",
    stars=2,
    minutes=10,
    answer=keep_known,
    cases=known_cases,
    constants=("z", "z0", "eps"),
    hints=(
        "Where the mask is 1, z stays as the sampler made it. Where it is 0, the given picture belongs.",
        "But a clean picture does not fit a noisy z: noise z0 to the level that z has *now*.",
        "After the step that level is next_alpha_bar.",
    ),
    insight="The known part is overwritten after every step, so what the network thinks of it never counts; but it "
    "sees it, and so the repainted part learns to fit. In the last step ᾱ' = 1: the known comes back clean.",
    wrong=(
        Wrong(
            "mask-inverted",
            known_inverted,
            "The mask is read the wrong way round: 1 marks what is repainted, so z; 0 what is kept, so z0.",
        ),
        Wrong(
            "known-not-noised",
            known_clean,
            "You put the clean z0 into a noisy z. The network expects the same noise everywhere; it would see two "
            "pictures with an edge between them. Noise z0 to the level ᾱ'.",
        ),
        Wrong(
            "level-before-the-step",
            known_of_old_level,
            "You noised the known part to ᾱ, the level before the step. z has taken the step already: ᾱ'. (In the "
            "last one noise would be left in the picture.)",
        ),
        Wrong(
            "added",
            known_added,
            "You added the known part everywhere. Multiply it by 1 - mask, so that each number comes from one side.",
        ),
        Wrong(
            "fresh-noise",
            known_fresh_noise,
            "You drew new noise. Use the eps given: the same in every step, or the known part flickers.",
        ),
        Wrong(
            "no-roots",
            known_without_roots,
            "You mixed with ᾱ' and 1-ᾱ'. Those are shares of variance; the tensors are scaled by their roots.",
        ),
        Wrong(
            "all-noised",
            known_all_noised,
            "You noised the repainted part as well: it has its noise already. Noise z0 only, then blend.",
        ),
        Wrong("inputs-changed", known_in_place),
        Wrong(
            "known-zeroed",
            known_only_multiplied,
            "Where the mask is 0 your result is 0. The known picture belongs there, as noisy as z is now.",
        ),
        Wrong(
            "signal-and-noise-swapped",
            known_swapped_factors,
            "The factors of picture and noise are swapped: √ᾱ' belongs to z0, √(1-ᾱ') to ε.",
        ),
        Wrong("known-everywhere", known_everywhere, "The known picture is everywhere. Where the mask is 1, z stays."),
        Wrong(
            "nothing-kept",
            known_nowhere,
            "That is z as it was. Where the mask is 0, the known picture takes its place.",
        ),
        Wrong(
            "alpha-for-alpha-bar",
            known_of_ratio,
            "You noised with ᾱ/ᾱ'. The known picture has all the noise of the level after the step: ᾱ'.",
        ),
        Wrong("noise-not-rooted", known_noise_not_rooted, "You scaled the noise by 1-ᾱ'. It is the root √(1-ᾱ')."),
        Wrong(
            "signal-not-scaled",
            known_signal_not_scaled,
            "The known picture keeps its full size. Scale it by √ᾱ', as in q_sample.",
        ),
        Wrong("subtracted", known_subtracted, "You subtracted the known part. It is added."),
        Wrong(
            "noise-left-out",
            known_without_noise,
            "The known picture is scaled by √ᾱ', but its noise √(1-ᾱ') ε is missing: the network would see a "
            "patch without noise.",
        ),
        Wrong(
            "noise-alone",
            known_noise_only,
            "Where the mask is 0 you put the noise alone. The known picture is missing: √ᾱ' z0.",
        ),
        Wrong(
            "tilde-of-numbers",
            known_by_tilde,
            "The mask contains integers, for which ~ does not exchange 0 and 1: ~0 is -1, and ~1 is -2. Write 1"
            " - mask.",
        ),
        Wrong(
            "one-mask-for-all",
            known_by_one_mask,
            "You took the first picture's mask for all. Each has its own: mask is (B, 1, h, w).",
        ),
        Wrong(
            "averaged",
            known_averaged,
            "Where the mask is 0 you took the mean of z and the known picture. Nothing of z is kept there.",
        ),
        Wrong(
            "noise-subtracted",
            known_noise_subtracted,
            "You subtracted the noise from the known picture. It is added: √ᾱ' z0 + √(1-ᾱ') ε.",
        ),
    ),
    right=(known_by_where, known_by_lerp, known_by_difference, known_without_gradient),
)
