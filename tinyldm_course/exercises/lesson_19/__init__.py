"""Exercises of lesson 19: the straight path, its ends, the flow from a velocity, times with a shift, straightness."""

TITLE = "Straight lines"
NAMES = ("straight_path", "z0_from_flow", "flow_from_velocity", "shifted_times", "straightness")
