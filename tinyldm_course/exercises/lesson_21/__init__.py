"""Exercises of lesson 21: the teacher's two steps, the ẑ0 that leads there, guidance, a consistency target."""

TITLE = "Four steps"
NAMES = ("two_steps", "z0_that_leads_to", "guided_loss", "consistency_loss")
