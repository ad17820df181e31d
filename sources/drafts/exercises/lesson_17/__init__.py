"""Exercises of lesson 17, 1 % of the weights: merging a LoRA, its parameters, its forward pass, DreamBooth's loss."""

TITLE = "1 % of the weights"
NAMES = ("lora_parameters", "with_lora", "merged_weight", "prior_preservation_loss")
