"""Exercises of lesson 17, 1 % of the weights: a LoRA counted, attached, merged and extracted; DreamBooth's loss."""

TITLE = "1 % of the weights"
NAMES = ("lora_parameters", "with_lora", "merged_weight", "closest_low_rank", "prior_preservation_loss")
