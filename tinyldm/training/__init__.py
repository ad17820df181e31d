"""The training loops: CLIP, the VAE and the U-Net, each written out in full, and what they have in common."""
