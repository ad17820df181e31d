"""Exercises of lesson 20: patches and back, the six vectors of adaLN-zero, joint attention."""

TITLE = "From U-Net to transformer"
NAMES = ("patchify", "unpatchify", "adaln_zero", "joint_attention")
