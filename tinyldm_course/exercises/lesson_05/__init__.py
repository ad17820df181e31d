"""Exercises of lesson 05, the autoencoder: image range, the asymmetric downsample, posterior, KL, the scale."""

TITLE = "The autoencoder"
NAMES = (
    "image_to_signed",
    "signed_to_image",
    "asymmetric_downsample",
    "posterior_sample",
    "kl",
    "scale_factor",
    "slip_in_percent",
)
