"""Exercises of lesson 14: other people's names for the same weights, a strict load, a schedule from its file."""

TITLE = "From tiny to Stable Diffusion"
NAMES = ("package_key", "load_problems", "betas_from_config", "head_width")
