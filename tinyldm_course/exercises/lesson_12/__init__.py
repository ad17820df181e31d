"""Exercises of lesson 12: which timesteps, the steps of four samplers, guidance, negative captions."""

TITLE = "Samplers and guidance"
NAMES = (
    "leading_timesteps",
    "trailing_timesteps",
    "ddim_step",
    "euler_step",
    "ddpm_step",
    "dpm_solver_pp_step",
    "guided_prediction",
    "contexts_for_guidance",
    "signal_at_the_start",
)
