# %% [markdown]
# # Exercises 13: the full sampler
#
# A picture as the start of another, a picture with a hole, a way between two noises. And the capstone: everything that
# you have written, wired together, makes a picture from a caption with the weights that the package ships.

# %%
import torch

# %% [markdown] exercise="img2img_start"
# Image-to-image (Meng et al. 2022, "SDEdit") noises a picture part of the way and walks back under a caption. `ts` are
# the $S$ falling timesteps of a full walk. Of them the last $\lfloor S \cdot \text{strength} \rfloor$ are walked, at
# least one. With a strength of 0.7, of the four timesteps 3, 2, 1, 0 the last $\lfloor 2.8 \rfloor = 2$ are left: 1, 0.
#
# Return `z`, where the walk starts, and the timesteps that are left. A strength outside of $(0, 1]$ is a mistake: raise
# a `ValueError`.

# %% solution="img2img_start"
def img2img_start(z0, eps, ts, strength, alpha_bar):
    """Where image-to-image starts: z (B, …), noised to the first timestep that is left, and the timesteps left (n,).

    z0, eps: (B, …) the picture's latent, and noise; ts: (S,) falling int64; strength: in (0, 1]; alpha_bar: T
    numbers, a list.  Returns (z, left).  Raises ValueError for another strength.
    """
    ### BEGIN SOLUTION
    if not 0 < strength <= 1:
        raise ValueError(f"strength is {strength}; expected above 0 and at most 1")
    left = ts[len(ts) - max(int(len(ts) * strength), 1):]
    a = alpha_bar[left[0]]
    return a**0.5 * z0 + (1 - a) ** 0.5 * eps, left
    ### END SOLUTION

# %% [markdown] exercise="keep_known"
# Inpainting with an ordinary U-Net: let the sampler step the whole latent, and after each step put back what is known.
# The step led from the noise level $\bar\alpha$ to $\bar\alpha'$. `mask` is 1 where to repaint, 0 where to keep the
# picture, whose clean latent is `z0`; `eps` is one noise for all steps.

# %% solution="keep_known"
def keep_known(z, z0, eps, mask, alpha_bar, next_alpha_bar):
    """z where the mask is 1; the known picture, as noisy as z is now, where it is 0.

    z: (B, C, h, w) after a step; z0, eps: like z; mask: (B, 1, h, w) int64, 0 or 1; alpha_bar, next_alpha_bar: numbers,
    ᾱ before and after the step.  Returns (B, C, h, w).
    """
    ### BEGIN SOLUTION
    known = next_alpha_bar**0.5 * z0 + (1 - next_alpha_bar) ** 0.5 * eps
    return mask * z + (1 - mask) * known
    ### END SOLUTION

# %% [markdown] exercise="slerp"
# To walk from one picture to another, walk from noise $a$ to noise $b$. Gaussian noise of many numbers lies near a
# sphere, so walk on it (Shoemake 1985). With $\theta$ the angle between $a$ and $b$:
#
# $$\frac{\sin((1-w)\,\theta)\; a + \sin(w\,\theta)\; b}{\sin\theta}, \qquad
# \cos\theta = \frac{a \cdot b}{\lVert a\rVert\,\lVert b\rVert}$$

# %% solution="slerp"
def slerp(a, b, weight):
    """Walk from a to b on a sphere.  a, b: one shape, each a single noise, not parallel; weight: a number in [0, 1]."""
    ### BEGIN SOLUTION
    angle = ((a * b).sum() / (a.norm() * b.norm())).arccos()
    return (torch.sin((1 - weight) * angle) * a + torch.sin(weight * angle) * b) / angle.sin()
    ### END SOLUTION

# %% [markdown] exercise="caption_to_image"
# Everything together. Use what you wrote before: "trailing" timesteps (`trailing_timesteps` in notebook 12:
# $t_i = \operatorname{round}(T - i\,T/\text{steps}) - 1$), guidance with the empty caption `""`, DDIM without chance,
# and the velocity, which is what the tiny model predicts:
#
# $$\hat z_0 = \sqrt{\bar\alpha}\,z - \sqrt{1-\bar\alpha}\,v, \qquad
# \hat\varepsilon = \sqrt{\bar\alpha}\,v + \sqrt{1-\bar\alpha}\,z$$
#
# Guide first, then read the guided $v$. The last step lands on $\bar\alpha' = 1$. The U-Net wants one timestep and one
# context for *each* image. The check uses small stand-ins for the three networks; below it the real ones wait.

# %% solution="caption_to_image"
def caption_to_image(captions, encode, unet, decode, alpha_bar, noise, steps, guidance_scale):
    """B captions -> B images in [0, 1], clipped.

    encode: list of n strings -> (n, L, D); unet: (z (n, C, h, w), t (n,), context (n, L, D)) -> velocity (n, C, h, w);
    decode: z0 -> images in [-1, 1], with a little overshoot; alpha_bar: T numbers, a list; noise: (B, C, h, w)
    to start from.
    """
    ### BEGIN SOLUTION
    null_context, context = encode([""] * len(captions)), encode(captions)
    T, z = len(alpha_bar), noise
    ts = [round(T - i * T / steps) - 1 for i in range(steps)]
    levels = [alpha_bar[t] for t in ts] + [1.0]
    for t, a, next_a in zip(ts, levels, levels[1:]):
        t = torch.full((len(z),), t, device=z.device)
        without, with_caption = unet(z, t, null_context), unet(z, t, context)
        v = without + guidance_scale * (with_caption - without)
        z0_hat = a**0.5 * z - (1 - a) ** 0.5 * v
        eps_hat = a**0.5 * v + (1 - a) ** 0.5 * z
        z = next_a**0.5 * z0_hat + (1 - next_a) ** 0.5 * eps_hat
    return ((decode(z) + 1) / 2).clamp(0, 1)
    ### END SOLUTION

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
# **All right?** Then a caption became a picture by your own hands. Next: lesson 14, the same classes at the size of
# Stable Diffusion.
