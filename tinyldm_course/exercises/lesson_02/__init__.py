"""Exercises of lesson 02, forward diffusion: schedules, ᾱ, q_sample, the signal-to-noise ratio, one noising step."""

TITLE = "Forward diffusion"
NAMES = ("scaled_linear_betas", "alpha_bar_from_beta", "q_sample", "signal_to_noise", "noise_one_step")
