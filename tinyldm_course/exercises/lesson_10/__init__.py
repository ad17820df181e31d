"""Exercises of lesson 10, training: caption dropout, the moving average of the weights, some steps of training."""

TITLE = "Training"
NAMES = ("drop_captions", "ema_update", "train_steps", "ema_memory")
