"""Exercises of lesson 13: where image-to-image starts, keeping the known in inpainting, slerp, and the capstone."""

TITLE = "The full sampler"
NAMES = ("img2img_start", "keep_known", "slerp", "caption_to_image")
