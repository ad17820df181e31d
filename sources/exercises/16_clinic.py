# %% [markdown]
# # Exercises 16: the clinic
#
# Five patients: pieces of a pipeline that run without an error and make bad pictures. Each has more than one mistake.
# Read the code, find them, and write the piece as it should be. Then match five symptoms to their faults, without any
# code.

# %%
import math

import torch

# %% [markdown] exercise="mended_encode"
# **Complaint**: the loss falls, the pictures are bad. The latents' standard deviation is about 15 instead of 1. The
# images are in $[0, 1]$, the encoder was trained on $[-1, 1]$. It gives latents that are too large; `scale` (as Stable
# Diffusion's 0.18215) brings them to variance 1.
#
# ```python
# def mended_encode(encode, images, scale):
#     return encode(images) / scale
# ```
#
# Two mistakes.

# %% solution="mended_encode"

# %% [markdown] exercise="mended_embedding"
# **Complaint**: my own code, with weights that others trained the way Stable Diffusion was. The shapes fit, but the
# pictures are spotted and frayed. Stable Diffusion embeds a timestep as $[\cos(t f_0), \dots, \cos(t f_{n-1}), \sin(t
# f_0), \dots, \sin(t f_{n-1})]$ with $n$ = dim/2 and $f_i = 10000^{-i/n}$.
#
# ```python
# def mended_embedding(t, dim):
#     half = dim // 2
#     f = torch.exp(-math.log(10000) * torch.arange(half, device=t.device) / (half - 1))
#     angle = t.float()[:, None] * f
#     return torch.cat([angle.sin(), angle.cos()], dim=1)
# ```
#
# Two mistakes.

# %% solution="mended_embedding"

# %% [markdown] exercise="mended_guidance"
# **Complaint**: good pictures, whatever the caption says; `guidance_scale` changes nothing.
#
# ```python
# def mended_guidance(model, z, t, context, null_context, guidance_scale):
#     without = model(z, t, null_context)
#     with_caption = model(z, t, null_context)
#     return without - guidance_scale * (with_caption - without)
# ```
#
# Two mistakes; the first hides the second.

# %% solution="mended_guidance"

# %% [markdown] exercise="mended_average"
# **Complaint**: the average does not help. Saved after this step or the next, it differs as much as the weights do.
# To look at the loop alone, the gradients are given, one row for each step.
#
# ```python
# def mended_average(weights, gradients, lr, decay):
#     average = weights
#     for gradient in gradients:
#         weights = weights - lr * gradient
#     average = decay * weights + (1 - decay) * average
#     return weights, average
# ```
#
# Two mistakes. The decay is the same in every step here.

# %% solution="mended_average"

# %% [markdown] exercise="mended_walk"
# **Complaint**: with all timesteps, 999, 998, …, 1, the pictures are good; with fifty of them nothing but confetti.
#
# ```python
# def mended_walk(model, z, context, ts, alpha_bar):
#     for t in ts:
#         now, after = alpha_bar[t], alpha_bar[t - 1]
#         eps = model(z, torch.full((len(z),), t - 1, device=z.device), context)
#         z0_hat = (z - (1 - now) ** 0.5 * eps) / now**0.5
#         z = after**0.5 * z0_hat + (1 - after) ** 0.5 * eps
#     return z
# ```
#
# Three mistakes. (DDIM's formula itself is right.)

# %% solution="mended_walk"

# %% [markdown]
# Five symptoms:
#
# 1. good pictures, the same for every caption
# 2. pictures from the saved weights look as on the first day
# 3. ask for red, and you get anything but red
# 4. everything that should be dark is pure black
# 5. right pictures, with a fine grain all over

# %% [markdown]
# Five faults, in another order:
#
# - **A**: $[-1, 1]$ is shown as if it were $[0, 1]$
# - **B**: the average of the weights is never updated
# - **C**: the last step does not land on the clean latent
# - **D**: the context does not reach the U-Net
# - **E**: the sign of guidance

# %% [markdown] exercise="symptoms"
# **Predict**: the fault behind each symptom, as five different letters, A to E, in the order of the symptoms, such as
# `"ABCDE"`. **Then explain** each in one sentence of your own, and say what the training *loss* looks like in all five
# cases.

# %% solution="symptoms"

# %% [markdown]
# *Your explanation:*

# %% [markdown]
# **Done?** Then you can mend what others have built. `tinyldm progress` shows what is left.
