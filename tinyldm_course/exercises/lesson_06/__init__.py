"""Exercises of lesson 06, the ResBlock: sinusoids for t, GroupNorm by hand, the block, how far it sees."""

TITLE = "ResBlock with time embedding"
NAMES = ("timestep_embedding", "group_norm", "ResBlock", "receptive_field")
