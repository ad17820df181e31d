"""Exercises of lesson 16, the clinic: find what is wrong in five broken pieces of a pipeline, and mend it."""

TITLE = "The clinic"
NAMES = ("mended_encode", "mended_embedding", "mended_guidance", "mended_average", "mended_walk", "symptoms")
