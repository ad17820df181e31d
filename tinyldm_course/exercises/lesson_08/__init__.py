"""Exercises of lesson 08, the U-Net: the skip stack, its widths, a small U-Net put together, parameters counted."""

TITLE = "The U-Net"
NAMES = ("skip_stack", "skip_channels", "up_in_channels", "SmallUNet", "resblock_parameters", "up_to_down")
