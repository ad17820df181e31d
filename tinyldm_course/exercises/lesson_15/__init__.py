"""Exercises of lesson 15: caption accuracy, its interval, the Fréchet distance."""

TITLE = "Is it any good?"
NAMES = ("caption_accuracy", "wilson_interval", "frechet", "low_end_of_100")
