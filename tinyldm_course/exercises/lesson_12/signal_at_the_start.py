"""Exercise signal_at_the_start of lesson 12: Predict: ten steps of Stable Diffusion."""

from tinyldm import forward_diffusion
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import no_inputs

### BEGIN SOLUTION
signal_at_the_start = 0.118
### END SOLUTION


def alpha_bar_at(t: int) -> float:
    """ᾱ of Stable Diffusion's schedule."""
    return forward_diffusion.NoiseSchedule(forward_diffusion.scaled_linear_betas()).alpha_bar[t].item()


def signal_of_variance():
    return alpha_bar_at(901)


def signal_none():
    return 0.0


def signal_of_trailing():
    return alpha_bar_at(999) ** 0.5


def signal_is_noise():
    return (1 - alpha_bar_at(901)) ** 0.5


def signal_of_fifty_steps():
    return alpha_bar_at(981) ** 0.5


def signal_of_t_800():
    return alpha_bar_at(800) ** 0.5


def signal_to_three_digits():
    return 0.118


def signal_to_two_digits():
    return 0.12


def signal_nearly():
    return 0.114


EXERCISE = Exercise(
    name="signal_at_the_start",
    title="Predict: ten steps of Stable Diffusion",
    stars=1,
    minutes=10,
    answer=lambda: signal_at_the_start,
    cases=no_inputs,
    tolerance=0.04,  # 0.005 either way
    hints=(
        'With "leading" spacing ten steps are at 901, 801, … 1.',
        "Signal means the factor of z0 in z_t.",
        "√ᾱ of Stable Diffusion's schedule at t = 901.",
    ),
    insight="0.118: in training, nearly 12 % of the picture's amplitude was still in z_t there, its mean "
    "brightness above all. Sampling starts from pure noise, whose mean is near 0, and the network believes it: "
    'with few steps all pictures come out of medium brightness (Lin et al. 2024). "Trailing" spacing starts at '
    "0.068.",
    wrong=(
        Wrong(
            "variance",
            signal_of_variance,
            "That is ᾱ, the share of the *variance*, or ᾱ/(1-ᾱ), which is nearly the same here. The signal in z_t "
            "is scaled by √ᾱ.",
        ),
        Wrong(
            "nothing",
            signal_none,
            "Nothing, or next to it. Sampling starts from pure noise, true; but the question is what the network "
            "was *trained* on at that t, and Stable Diffusion's ᾱ never is 0. (If you computed it: √β rises "
            "linearly, and is squared to β before 1-β is taken.)",
        ),
        Wrong(
            "t-999",
            signal_of_trailing,
            '0.068 is the signal at t = 999, where "trailing" spacing starts; "leading" with ten steps does not. '
            "(0.070 is that at the right t, but with *β* rising linearly; here √β does.)",
        ),
        Wrong(
            "noise-factor",
            signal_is_noise,
            "Close to 1 there are the factor of the noise, √(1-ᾱ), its variance, 1-ᾱ, and what a single step "
            "keeps, √(1-β); and the signal itself only at the clean end, in the *last* step. The exercise asks for "
            "√ᾱ in the first.",
        ),
        Wrong("fifty-steps", signal_of_fifty_steps, "That is where fifty steps start, at t = 981. Ten start at 901."),
        Wrong(
            "t-800",
            signal_of_t_800,
            "That is the signal at the second step. The first timestep of ten leading ones is 901.",
        ),
    ),
    right=(signal_to_three_digits, signal_to_two_digits, signal_nearly),
)
