"""Exercises of lesson 07, the SpatialTransformer: attention, heads, cross-attention, GEGLU, one query a pixel."""

TITLE = "SpatialTransformer"
NAMES = ("attention", "multi_head_attention", "CrossAttention", "geglu", "SpatialTransformer", "attention_weights")
