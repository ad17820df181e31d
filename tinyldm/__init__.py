"""tinyldm: latent diffusion models, small enough to read in an evening."""
