"""Exercises of lesson 04, three ancestors: a term of 2015's bound, 2019's score and Langevin step, and σ against ᾱ."""

TITLE = "Three ancestors"
NAMES = (
    "kl_between",
    "geometric_levels",
    "mixture_score",
    "denoising_score_matching",
    "langevin_step",
    "alpha_bar_from_sigma",
)
