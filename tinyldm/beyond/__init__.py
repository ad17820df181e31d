"""What came after: one short file for each idea, on the classes of the core.

    lora                2021  teach a model with 1 % of its weights
    textual_inversion   2022  teach it one word, and nothing else
    flow_matching       2022  straight lines between noise and data
    dit                 2022  the denoiser as a plain transformer
    distillation        2022  one step for two, guidance included
    controlnet          2023  steer it with a drawing
    mm_dit              2024  pixels and words in one attention
    stable_diffusion_3  2024  all of it, and its folder

Nothing in the core depends on this room. It imports the core, `formats/` and `history/`, and none of the training
code: its loops are a few lines each, in `teaching`.
"""
