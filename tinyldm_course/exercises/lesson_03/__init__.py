"""Exercises of lesson 03, reverse diffusion: three names for one prediction, the score, the posterior, the loss."""

TITLE = "Reverse diffusion"
NAMES = (
    "z0_from_eps",
    "velocity",
    "eps_from_velocity",
    "score_from_eps",
    "posterior_mean",
    "posterior_variance",
    "diffusion_loss",
)
