"""Exercises of lesson 18, a drawing: a zero convolution's gradient, where zeros stand, adding to skips, an outline."""

TITLE = "Steer it with a drawing"
NAMES = ("zero_conv_gradient", "zero_conv_widths", "steered_skips", "outline")
