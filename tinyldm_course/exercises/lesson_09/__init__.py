"""Exercises of lesson 09, the context: tokens padded, a causal mask, CLIP's end token and loss, a label as context."""

TITLE = "Words, pictures and labels as context"
NAMES = ("pad_tokens", "causal_attention", "end_token_vector", "contrastive_loss", "class_context")
