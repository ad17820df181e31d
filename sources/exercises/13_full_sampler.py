# %% [markdown]
# # Exercises 13: the full sampler
#
# A picture as the start of another, a picture with a hole, a path between two noises. And the capstone: everything
# that you have written, wired together, makes a picture from a caption with the shipped weights.

# %%
import torch

# %% [markdown] exercise="img2img_start"
# Image-to-image (Meng et al. 2022, "SDEdit") noises a picture part of the way and walks back, guided by a caption.
# `ts` are the $S$ falling timesteps of a full walk. Only the last $\lfloor S \cdot \text{strength} \rfloor$ of them
# are used, at least one. With a strength of 0.7, of the four timesteps 3, 2, 1, 0 the last $\lfloor 2.8 \rfloor = 2$
# are left: 1, 0.
#
# Return `z`, where the walk starts, and the timesteps that are left. A strength outside $(0, 1]$ is a mistake: raise
# a `ValueError`.

# %% solution="img2img_start"

# %% [markdown] exercise="keep_known"
# Inpainting with an ordinary U-Net: let the sampler step the whole latent, and after each step put the known part
# back. The step led from the noise level $\bar\alpha$ to $\bar\alpha'$. `mask` is 1 where to repaint, 0 where to keep
# the picture, whose clean latent is `z0`; `eps` is one noise for all steps.

# %% solution="keep_known"

# %% [markdown] exercise="slerp"
# To walk from one picture to another, walk from noise $a$ to noise $b$. Gaussian noise of many numbers lies near a
# sphere, so walk on it (Shoemake 1985). $\theta$ is the angle of $a$ and $b$; $\omega$ (`weight`) runs from 0 to 1:
#
# $$\frac{\sin((1-\omega)\,\theta)\; a + \sin(\omega\,\theta)\; b}{\sin\theta}, \qquad
# \cos\theta = \frac{a \cdot b}{\lVert a\rVert\,\lVert b\rVert}$$

# %% solution="slerp"

# %% [markdown] exercise="caption_to_image"
# Everything together. Use what you wrote before: "trailing" timesteps (`trailing_timesteps` in notebook 12: $t_i =
# \operatorname{round}(T - i\,T/\text{steps}) - 1$), guidance with the empty caption `""`, deterministic DDIM, and the
# velocity, which is what the tiny model predicts:
#
# $$\hat z_0 = \sqrt{\bar\alpha}\,z - \sqrt{1-\bar\alpha}\,v, \qquad
# \hat\epsilon = \sqrt{\bar\alpha}\,v + \sqrt{1-\bar\alpha}\,z$$
#
# Guide first, then read the guided $v$. The last step lands on $\bar\alpha' = 1$. The U-Net wants one timestep and
# one context for *each* image. The check uses small stand-ins for the three networks; the real ones follow below.

# %% solution="caption_to_image"

# %% [markdown]
# **Now with the real parts.** When the check has passed, write `True` below and run the cell: your function, the
# shipped networks, a caption of your choice.

# %%
WITH_THE_SHIPPED_WEIGHTS = False

if WITH_THE_SHIPPED_WEIGHTS:
    import matplotlib.pyplot as plt

    from tinyldm import LatentDiffusion

    model = LatentDiffusion.from_pretrained("tiny")
    captions = ["a large red circle above a small blue square", "a yellow star on a black background"]
    noise = torch.randn(len(captions), 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        images = caption_to_image(captions, model.encode_text, model.unet, model.vae.decode,
                                  model.schedule.alpha_bar.tolist(), noise, steps=25, guidance_scale=4.0)
    fig, axes = plt.subplots(1, len(captions), figsize=(7, 3.6))
    for ax, image, caption in zip(axes, images, captions):
        ax.imshow(image.permute(1, 2, 0))
        ax.set_title(caption, fontsize=8)
        ax.axis("off")
    plt.show()

# %% [markdown]
# **Done?** Then you have turned a caption into a picture yourself. Next: lesson 14, the same classes at the size of
# Stable Diffusion.
