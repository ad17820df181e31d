"""Exercises of lesson 11, make it yours: a new word's row, a step for that row alone, what is frozen, the rate."""

TITLE = "Make it yours"
NAMES = ("with_new_word", "step_one_row", "train_only", "learning_rate")
