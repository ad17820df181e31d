# %% [markdown]
# # 05 · The autoencoder: pictures made small
#
# **Goal.** Build the networks that turn a picture into a latent and back, train a pair, and see what they keep.
#
# **Time.** 50 minutes to read and play; the cells compute for about five minutes on 2 CPU cores.
#
# **Before this.** Lesson 02. You should know convolutions (padding, stride) and `nn.Module`.
#
# **You will be able to**
# - build encoder and decoder, and say which pixels a number of the latent sees through three halvings;
# - sample from the posterior so that gradients pass through the sample, and compute its KL;
# - say what a factor of 2, 4, 8 or 16 keeps of a photograph;
# - compute the scale, and say what goes wrong without it.

# %%
import itertools

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

from tinyldm import NoiseSchedule, ResBlock, to_signed, to_unit
from tinyldm import vae as package
from tinyldm.data import scenes
from tinyldm.formats.diffusers_vae import load_vae
from tinyldm.formats.places import model_folder
from tinyldm.forward_diffusion import scaled_linear_betas
from tinyldm.machine import choose_device
from tinyldm.training.train_vae import calibrate_scale
from tinyldm_course.lessons import photo_vaes, plots, widgets
from tinyldm_course.lessons.helpers import confirm_equal, full_or_fast, progress
from tinyldm_course.lessons.model_map import show_model_map

plots.use_style()
DEVICE = choose_device()     # CUDA, else Apple's MPS, else the CPU
torch.manual_seed(0)
print("This lesson runs on", DEVICE.type)

# %% [markdown]
# ## Where we are
#
# The two boxes at the ends. Everything between them happens on *latents*: the encoder makes them once, for training
# (and for image-to-image, lesson 13); the decoder turns the last one into a picture. The two are trained first, without
# captions and without diffusion, and then never change again.

# %%
show_model_map("VAE encoder", "VAE decoder")

# %% [markdown]
# ## Why make pictures small?
#
# | | picture | latent | numbers |
# |---|---|---|---|
# | Stable Diffusion | 3 × 512 × 512 | 4 × 64 × 64 | 786,432 → 16,384 |
# | tiny | 3 × 64 × 64 | 4 × 8 × 8 | 12,288 → 256 |
#
# 48 times fewer in both. The U-Net runs dozens of times for each picture, so *its* input is where saving pays. And most
# numbers of a picture carry little information: a pixel has nearly the colour of its neighbour.
#
# The factor by which each side shrinks is called $f$ (`config.factor`; Rombach et al. 2022, § 3.1). Here $f = 8$.

# %% [markdown]
# The simplest "encoder" is not a network at all: average each block of $f \times f$ pixels. Let us see how far that
# goes, with a piece of a real photograph. The error is given as PSNR, $10 \log_{10}(1 / \text{mean squared error})$ for
# pictures in [0, 1], in decibels: 10 dB more means a tenth of the squared error; above about 30 dB the eye is content.
#
# > **Predict.** At which $f$ do you lose the pillars of the tower? At which $f$ the tower itself?

# %%
def psnr(image, original):
    """PSNR in decibels; both (…, 3, H, W) in [0, 1]."""
    return -10 * (image - original).square().mean().log10().item()


def averages_of(image, f):
    return F.interpolate(F.avg_pool2d(image[None], f), scale_factor=f)[0]


temple = photo_vaes.held_out("china")  # (3, 128, 128) in [0, 1]
FACTORS = (2, 4, 8, 16)
averages = [averages_of(temple, f) for f in FACTORS]

fig = plots.image_grid([temple, *averages], columns=5, size=1.75, titles=[
    "original", *(f"f = {f}: {psnr(a, temple):.1f} dB"
                  for f, a in zip(FACTORS, averages))])
plots.show(fig)

# %% [markdown] alt
# A piece of a Chinese tower, and its averages over blocks of 2, 4, 8 and 16 pixels. At 4 the pillars blur, at 8 roofs,
# sky and a red floor can be told apart, at 16 only patches of colour are left.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# At $f = 4$ the pillars melt into stripes; at 8 they are gone, though red, green and orange floors are still there. At
# 16 you only find the tower if you know where it was.
# </details>
#
# The mean of a block is three numbers, its colour. A *learnt* encoder may choose other numbers, and a learnt decoder
# knows what roofs look like. Remember these decibels: at the end of the lesson, networks with four numbers per block
# try to beat them.

# %% [markdown]
# ## Numbers from -1 to 1
#
# Files hold whole numbers from 0 to 255. Divide by **255** and you have $x$ in [0, 1]; $2x - 1$ (`to_signed`) is in
# [-1, 1], so that the network's input is centred. On the way back (`to_unit`), clip: a decoder may overshoot.
#
# > **Predict.** A picture of a cellar has no pixel above 51. If you divided by *the picture's own maximum*, what would
# > come back?

# %% tags=["nbval-check-output"]
cellar = torch.tensor([0.0, 17, 51])
print("over 255:     ", [round(v, 2) for v in to_signed(cellar / 255).tolist()])
print("over its max: ", [round(v, 2)
                         for v in to_signed(cellar / cellar.max()).tolist()])
print("there and back:", (255 * to_unit(to_signed(cellar / 255))).round().tolist())

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# A cellar with the lights on: its brightest pixel would be white. And nothing could undo it, because the maximum is not
# stored.
# </details>
#
# ## Down: halve by hand
#
# A convolution with *stride 2* computes only every second output. With a 3 × 3 kernel it needs some padding at the
# edge, and there is a choice: one pixel on both sides, or none on the left and one on the right. Take a kernel that
# only copies its middle, and a row of eight pixels named 0 to 7. In both cases four of them come out.
#
# > **Predict.** Which four, in each case?

# %% tags=["nbval-check-output"]
row, copy_the_middle = torch.arange(8.0)[None], torch.tensor([[[0.0, 1, 0]]])
for name, pad in (("both sides", (1, 1)), ("right only", (0, 1))):
    print(f"{name}:", F.conv1d(F.pad(row, pad)[None], copy_the_middle,
                               stride=2)[0, 0].tolist())

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Both sides: 0, 2, 4, 6. Right only: 1, 3, 5, 7. Each output looks one pixel further to the right in *its* input.
# </details>
#
# Stable Diffusion's VAE pads right and bottom only; its U-Net pads both sides. Neither is better. But a network is
# trained with one of the two, and every weight relies on it.

# %%
class AsymmetricDownsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=0)

    def forward(self, x):
        # left, right, top, bottom   -> (B, C, H/2, W/2)
        return self.conv(F.pad(x, (0, 1, 0, 1)))


x = torch.randn(2, 16, 8, 8, device=DEVICE)
theirs = package.AsymmetricDownsample(16).to(DEVICE)
mine = AsymmetricDownsample(16).to(DEVICE)
mine.load_state_dict(theirs.state_dict())
print(confirm_equal(mine(x), theirs(x)))

# %% [markdown]
# Three of them in a row make $f = 8$. Consider the fifth number of a row of the latent, which stands for pixels 32 to
# 39. Which pixels does it see? Take its gradient with respect to the pixels: it sees those where the gradient is not
# zero. (All weights are 1 here, so the gradient counts the *paths* that lead from a pixel to the number.)

# %%
def seen(pad, layers=3, pixels=64, number=4):
    """Which of 64 pixels in a row the fifth number sees after three halvings."""
    row = torch.zeros(1, 1, pixels, requires_grad=True)
    h = row
    for _ in range(layers):
        h = F.conv1d(F.pad(h, pad), torch.ones(1, 1, 3), stride=2)
    return torch.autograd.grad(h[0, 0, number], row)[0][0, 0]


fig, axes = plt.subplots(2, 1, figsize=(8, 2.8), sharex=True)
for ax, pad, name in zip(axes, ((1, 1), (0, 1)), ("both sides", "right only")):
    look = seen(pad)
    ax.bar(range(64), look, width=0.9, color=plots.BLUE)
    ax.axvspan(31.5, 39.5, color=plots.GOLD, alpha=0.35)
    ax.set(ylabel="paths", xlim=(20, 52),
           title=f"padded {name}: sees pixels {int(look.nonzero()[0])} to "
           f"{int(look.nonzero()[-1])}")
axes[1].set(xlabel="pixel (gold: the block of eight that the number stands for)")
plots.show(fig)

# %% [markdown] alt
# Which pixels the fifth number of a latent row sees after three halvings, as bars. Padded on both sides: pixels 25 to
# 39, centred on the left edge of its own block of eight; padded on the right only: 32 to 46, centred on the block's
# right edge.

# %% [markdown]
# The two differ by seven pixels, $1 + 2 + 4$: each halving looks one pixel further in its own input, and one pixel
# there is 1, then 2, then 4 pixels of the picture. Run a trained VAE with the other padding, and each layer gets a
# picture that is shifted by a pixel. Later we break this on purpose.
#
# The bars are for the halvings alone. A whole encoder has more layers, and one that reads everything (*attention*,
# below). So in a whole encoder every pixel has some influence on every number; further down we measure how much comes
# from nearby.

# %% [markdown]
# ## Up: double
#
# Repeat each pixel 2 × 2, then smooth the steps with a convolution. (Lesson 06 shows what happens with a transposed
# convolution instead.)

# %%
class Upsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        # -> (B, C, 2H, 2W)
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


theirs, mine = package.Upsample(16).to(DEVICE), Upsample(16).to(DEVICE)
mine.load_state_dict(theirs.state_dict())
print(confirm_equal(mine(x), theirs(x)))

# %% [markdown]
# ## A level, an encoder, a decoder
#
# Between two halvings a network should *process* what it has. Two modules do that, which later lessons open:
#
# - `ResBlock`: two 3 × 3 convolutions whose result is *added* to their input (lesson 06);
# - `Middle`: a ResBlock, then *attention*, in which each pixel reads all others (lesson 07), then a ResBlock.
#
# A level is a few ResBlocks followed by a resampling layer (none at the last level). *GroupNorm* splits a picture's
# channels into `groups` and normalises each group to mean 0 and variance 1 (a tiny `eps` prevents a division by 0).
# SiLU is a smooth ReLU.

# %%
class Level(nn.Module):
    def __init__(self, in_channels, out_channels, blocks, groups, resample):
        super().__init__()
        widths = [in_channels] + [out_channels] * (blocks - 1)
        self.resblocks = nn.ModuleList(ResBlock(w, out_channels, groups=groups,
                                                eps=1e-6) for w in widths)
        self.resample = resample

    def forward(self, x):
        for resblock in self.resblocks:
            x = resblock(x)
        return self.resample(x)


class Ends(nn.Module):
    """What encoder and decoder share: a convolution in, and norm, SiLU, convolution
    out."""

    def __init__(self, in_channels, first, last, out_channels, groups):
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, first, 3, padding=1)
        self.norm_out = nn.GroupNorm(groups, last, eps=1e-6)
        self.conv_out = nn.Conv2d(last, out_channels, 3, padding=1)

    def out(self, x):
        return self.conv_out(F.silu(self.norm_out(x)))

# %% [markdown]
# The encoder goes down, the decoder up. Each level has a width: more channels where there are fewer pixels.
# `config.channels` lists them, for the tiny model (16, 32, 64, 96): four levels, so three halvings. The decoder has one
# more ResBlock in each level, as in Stable Diffusion.
#
# The encoder has its `Middle` at the *end*, the decoder at the *start*: where the map is smallest, because the cost of
# attention grows with the square of the number of pixels.
#
# > **Predict.** The encoder's last convolution has 8 output channels, not 4. What could the other four be? (The answer
# > comes in the section *The posterior*.)

# %%
class Encoder(Ends):
    def __init__(self, config):
        widths, groups = config.channels, config.groups
        super().__init__(3, widths[0], widths[-1], 2 * config.latent_channels, groups)
        self.down = nn.ModuleList()
        for i, width in enumerate(widths):
            last = i == len(widths) - 1
            resample = nn.Identity() if last else AsymmetricDownsample(width)
            self.down.append(Level(widths[max(i - 1, 0)], width,
                                   config.blocks_per_level, groups, resample))
        self.middle = package.Middle(widths[-1], groups)

    def forward(self, image):
        x = self.conv_in(image)                # (B, 3, H, W) -> (B, C, H, W)
        for level in self.down:
            x = level(x)                 # half the size, at all levels but the last
        return self.out(self.middle(x))  # -> (B, 8, H/f, W/f)


class Decoder(Ends):
    def __init__(self, config):
        widths, groups = config.channels[::-1], config.groups  # the smallest map first
        super().__init__(config.latent_channels, widths[0], widths[-1], 3, groups)
        self.middle = package.Middle(widths[0], groups)
        self.up = nn.ModuleList()
        for i, width in enumerate(widths):
            resample = Upsample(width) if i < len(widths) - 1 else nn.Identity()
            self.up.append(Level(widths[max(i - 1, 0)], width,
                                 config.blocks_per_level + 1, groups, resample))

    def forward(self, latent):
        x = self.middle(self.conv_in(latent))  # (B, 4, h, w) -> (B, C, h, w)
        for level in self.up:
            x = level(x)    # twice the size, at all levels but the last
        return self.out(x)  # -> (B, 3, f h, f w)

# %% [markdown]
# Now both in one class. Three names need a word:
#
# - `moments`: the encoder's output, all eight channels;
# - `quant_conv`, `post_quant_conv`: two 1 × 1 convolutions between encoder and decoder, which mix the channels of a
#   position. The names come from a relative whose latents are quantised, that is, rounded; nothing is rounded here;
# - `config.scale`: one number by which latents are multiplied for the U-Net, and divided before decoding. It has its
#   own section.
#
# Then your VAE gets the weights of the tiny one that tinyldm ships, and must give the same results.

# %%
class VAE(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config, channels = config, config.latent_channels
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        # 1 × 1: they mix the channels of a pixel
        self.quant_conv = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.post_quant_conv = nn.Conv2d(channels, channels, 1)

    def moments(self, image):
        return self.quant_conv(self.encoder(image))  # (B, 3, H, W) -> (B, 8, h, w)

    def decode(self, z0):
        # (B, 4, h, w) -> (B, 3, H, W)
        return self.decoder(self.post_quant_conv(z0 / self.config.scale))


# the trained VAE that tinyldm ships
tiny = load_vae(model_folder("tiny") / "vae").float().eval().to(DEVICE)
mine = VAE(tiny.config).eval().to(DEVICE)
mine.load_state_dict(tiny.state_dict())
pixels = scenes.batch(1, range(full_or_fast(128, fast=8)))[0]
pictures = scenes.to_tensor(pixels).to(DEVICE)  # (128, 3, 64, 64), [-1, 1]

with torch.no_grad():
    moments, z0 = mine.moments(pictures[:8]), tiny.encode(pictures[:8])
    print(confirm_equal(moments, tiny.quant_conv(tiny.encoder(pictures[:8])),
                        tolerance=1e-4))
    print(confirm_equal(mine.decode(z0), tiny.decode(z0), tolerance=1e-4))

# %% [markdown]
# With the trained weights, your classes give what the package gives; and the package gives what `diffusers` gives
# (`tests/parity/test_parity_networks.py`). So we can look inside *yours*. One channel after each stage, for one scene:

# %%
with torch.no_grad():
    x = mine.encoder.conv_in(pictures[:1])
    stages = {"conv_in": x}
    for i, level in enumerate(mine.encoder.down):
        stages[f"level {i}"] = x = level(x)
    stages["middle"] = x = mine.encoder.middle(x)

fig, axes = plt.subplots(1, 8, figsize=(9.4, 1.75))
plots.plot_image(axes[0], to_unit(pictures[0]), "picture\n3 × 64 × 64")
for ax, (name, maps) in zip(axes[1:], stages.items()):
    strongest = maps[0].std(dim=(1, 2)).argmax()
    limit = maps[0, strongest].abs().max()
    ax.imshow(maps[0, strongest].cpu(), cmap=plots.DIVERGING, vmin=-limit, vmax=limit)
    ax.set_title(f"{name}\n{' × '.join(map(str, maps.shape[1:]))}", loc="center",
                 fontsize=8.5)
    plots.hide_axes(ax)
plots.plot_image(axes[7], to_unit(mine.decode(z0[:1]).detach()[0]),
                 "decoded\n3 × 64 × 64")
plots.show(fig)

# %% [markdown] alt
# One scene on its way through the trained encoder, one channel per stage: a flat disc at 64 × 64, then coarser maps of
# 32, 16 and 8 pixels, where a few squares are left of it, and last the decoded picture, which looks like the first.

# %% [markdown]
# Six maps inside the encoder: the first convolution, four levels (the last does not halve), the middle. Each is
# represented by its most active channel, with blue and orange for the two signs. The disc is in all of them, at last as
# a handful of squares; the pale rim on the right and bottom is the one-sided padding. The picture on the right is what
# the decoder made of 256 numbers. Small objects are the hard part: a star of 15 pixels covers about two by two numbers.

# %% [markdown]
# How local is such a number? Take the gradient of the ones in the middle, at row and column 4, with respect to the
# pixels, and see how much of it lies in the quarter of the picture around them:

# %%
watched = pictures[:4].clone().requires_grad_()
middle = mine.moments(watched)[:, :4, 4, 4].sum()
gradient = torch.autograd.grad(middle, watched)[0].abs()     # (4, 3, 64, 64)
near = gradient[:, :, 20:52, 20:52].sum() / gradient.sum()
print(f"from the quarter around them: {near:.0%} of the gradient")

# %% [markdown]
# ## The posterior
#
# Back to the eight channels. The encoder does not output a latent but a *distribution* of latents, the **posterior**
# $q(z \mid x)$ of $z$ given the picture $x$ (not the posterior of lesson 03): for each number a mean $\mu$ (`mean`) and
# a standard deviation $\sigma$, independent of the others (Kingma & Welling 2014, eq. 9). Four channels hold the means,
# four the widths. A network's output can be negative and a width cannot, so the network outputs $\log \sigma^2$
# (`logvar`), the *logarithm* of the *variance*.

# %% [markdown]
# From there to $\sigma$:
#
# $$ \sigma = \sqrt{\sigma^2} = \sqrt{\exp(\log\sigma^2)} = \exp\!\big(\tfrac12 \log \sigma^2\big) $$
#
# > **Predict.** The network outputs $\log\sigma^2 = -4$. What is $\sigma$? And what would you get without the factor ½?

# %% tags=["nbval-check-output"]
logvar = torch.tensor(-4.0)
print(f"sigma = {torch.exp(0.5 * logvar):.3f}; without the factor ½ "
      f"{torch.exp(logvar):.3f}, which is the variance")

# %% [markdown]
# Now sample. `torch.normal(mean, std)` would do for looking, but not for training: it rolls a die, and no gradient
# passes through a die (PyTorch returns 0, without a warning). The trick, called *reparameterisation* (Kingma & Welling
# 2014, eq. 10): roll a die that depends on nothing, then shift and scale it.
#
# $$ z = \mu + \sigma \, \epsilon, \qquad \epsilon \sim \mathcal N(0, 1) $$
#
# Now $z$ is a plain formula in $\mu$ and $\sigma$.
#
# > **Predict.** What are $\partial z / \partial \mu$ and $\partial z / \partial \sigma$?

# %%
mu, sigma = torch.tensor(2.0, requires_grad=True), torch.tensor(0.5, requires_grad=True)
eps = torch.tensor(-1.2)
(mu + sigma * eps).backward()
print(f"dz/dmu = {mu.grad:.1f}, dz/dsigma = {sigma.grad:.1f}; the die showed {eps:.1f}")
through_the_die = torch.autograd.grad(torch.normal(mu, sigma), (mu, sigma))
print("through torch.normal:", [f"{gradient:.1f}" for gradient in through_the_die])

# %%
def sample(moments, generator):
    """moments (B, 8, h, w) -> a sample of the latent, (B, 4, h, w)."""
    mean, logvar = moments.chunk(2, dim=1)
    # clamped: exp() must neither vanish nor explode
    std = torch.exp(0.5 * logvar.clamp(-30, 20))
    # on the CPU: one seed, one latent on every device
    eps = torch.randn(mean.shape, generator=generator)
    return mean + std * eps.to(mean.device)


def seed():
    return torch.Generator().manual_seed(0)


one = moments[:1]     # the package takes a list of generators, one per image
print(confirm_equal(sample(one, seed()),
                    package.DiagonalGaussian(one).sample([seed()])))

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# 1 and $\epsilon$. If the die showed -1.2, a larger $\sigma$ moves $z$ down. That number, useless alone, tells the
# encoder whether its latents may be wider.
# </details>
#
# How wide are they in a trained VAE? For comparison: over all scenes, the latents of this one have a standard deviation
# of 1.0. Turn the noise up: `times` multiplies $\sigma$. At 1 you see what training sees.

# %%
def plot_sampled(ax, times):
    posterior = tiny.posterior(pictures[2:3])
    eps = torch.randn(posterior.mean.shape, generator=seed()).to(DEVICE)
    latent = posterior.mean + times * posterior.std * eps
    plots.plot_image(ax, to_unit(tiny.decode(tiny.config.scale * latent)[0]).detach(),
                     f"{times} σ")


sigmas = tiny.posterior(pictures).std.detach()     # (128, 4, 8, 8)
low, high = sigmas.quantile(0.1), sigmas.quantile(0.9)
print(f"sigma: {low:.3f} … {high:.3f}, the middle 80 %; medians of the channels:",
      ", ".join(f"{sigmas[:, c].median():.2f}" for c in range(4)))
widgets.dial(plot_sampled, {"times": range(0, 31)},
             strip=[{"times": n} for n in (0, 1, 5, 10, 20, 30)], size=(1.5, 1.8))

# %% [markdown] alt
# One scene, decoded from its mean and from samples with the posterior's noise 1, 5, 10, 20 and 30 times as strong. At 1
# the noise is invisible; at 5 stains appear on the background; at 30 the yellow circle can hardly be found among them.

# %% [markdown]
# The noise of training is invisible in the picture. It has already done its work: a decoder that receives slightly
# wrong latents all through training learns that *nearby latents mean similar pictures*. It has to, because a sampler's
# latents will never be exactly right either.

# %% [markdown]
# How can a $\sigma$ of 0.4 be invisible? The encoder is free to be precise where it matters. The median $\sigma$ of
# channels 1 and 2 is a third of that of channels 0 and 3; further down you will push each of them, and 1 and 2 are the
# ones that change the picture most.
#
# So for looking it hardly matters whether you take the mean or a sample. Training samples; `vae.encode` without a
# generator takes the mean.

# %% [markdown]
# ## The KL: a leash
#
# Left alone, the encoder would make $\sigma$ vanish and spread the means far apart: then the noise does no harm, and
# the latents can be arbitrarily wild. So a second term pulls each posterior towards $\mathcal N(0, 1)$. For Gaussians
# the *Kullback-Leibler divergence* is a formula (Kingma & Welling 2014, appendix B), summed over all numbers of a
# latent:
#
# $$ \mathrm{KL} = \tfrac12 \sum \big( \mu^2 + \sigma^2 - 1 - \log\sigma^2 \big) $$

# %% [markdown]
# $\mu^2$ punishes a mean far from 0, $\sigma^2$ a width that is too large, $-\log\sigma^2$ one that is too small. The
# sum measures how much the latent tells the decoder, in *nats*: bits with the natural logarithm; one nat is 1.44 bits.
#
# > **Predict.** For which $\mu$ and $\sigma$ is it 0? Which costs more: $\sigma = 0.1$ or $\sigma = 2$?

# %%
def kl(mean, logvar):
    """(B, C, h, w) twice -> (B,) nats."""
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).flatten(1).sum(1)


mean, logvar = moments.chunk(2, dim=1)
yours = kl(mean, logvar)
print(confirm_equal(yours, package.DiagonalGaussian(moments).kl()))
given = torch.distributions.Normal(mean, torch.exp(0.5 * logvar))
standard = torch.distributions.Normal(0.0, 1.0)
torch_kl = torch.distributions.kl_divergence(given, standard).flatten(1).sum(1)
print(f"PyTorch's own agrees to {(yours / torch_kl - 1).abs().max():.0e}; "
      f"a scene's latent carries {yours.mean():.0f} nats, {yours.mean() / 256:.1f} per "
      f"number")

fig, ax = plt.subplots(figsize=plots.NARROW)
std = torch.linspace(0.03, 3, 300)
for m, colour, dash in ((0.0, plots.BLUE, "-"), (1.0, plots.ORANGE, "--"),
                        (2.0, plots.GREEN, "-.")):
    ax.plot(std, 0.5 * (m**2 + std**2 - 1 - 2 * std.log()), dash, color=colour,
            label=f"μ = {m:g}")
ax.set(xlabel="σ", ylabel="KL of one number, nats", ylim=(0, 5), title="The leash")
ax.legend()
plots.show(fig)

# %% [markdown] alt
# The KL of a single number over its width, for means 0, 1 and 2. Each curve has its lowest point at a width of 1, where
# it is 0, 0.5 and 2; towards width 0 all rise steeply, towards 3 gently.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# At $\mu = 0$, $\sigma = 1$: a number that tells nothing. $\sigma = 0.1$ costs 1.81 nats, $\sigma = 2$ costs 0.81:
# precision is expensive.
# </details>
#
# A latent that costs nothing also tells nothing. So the leash must be long: in Stable Diffusion the KL has a weight of
# one *millionth* in the loss. It only keeps the numbers from running away. That is why a VAE of this kind is a poor
# generator by itself: decode a sample of $\mathcal N(0, 1)$ and you get mush. Diffusion has to find the good latents.

# %% [markdown]
# ## Train one
#
# Now train your own, from scratch: scenes of 32 × 32 pixels, $f = 4$, so that its latents are 4 × 8 × 8. The loss:
#
# $$ L = \text{mean}\,\lvert\hat x - x\rvert + \text{mean}\,(\hat x - x)^2 + 10^{-6} \cdot \mathrm{KL} $$
#
# with $\hat x$ the decoded sample. The reference has no squared error, and it *sums* the errors of a picture where we
# average, so the same millionth is a longer leash there. It also adds a *perceptual* and an *adversarial* term. A plain
# error is smallest for the average of everything that is possible, a blur; these two terms sharpen it. The article
# omits the loss. `tinyldm/training/train_vae.py` has all terms.
#
# > **Predict.** What does the network learn first: the objects' places, their colours, the background, or the edges?

# %%
pixels = scenes.batch(0, range(full_or_fast(3000, fast=64)))[0]
small = F.avg_pool2d(scenes.to_tensor(pixels), 2).to(DEVICE)      # (N, 3, 32, 32)
CONFIG = package.VAEConfig(channels=(16, 32, 64), blocks_per_level=1, groups=4,
                           scale=1.0)


def train(steps, kl_weight, watch=()):
    """Return the VAE, its errors and KLs on the way, and the reconstructions of five
    scenes at the steps in `watch`."""
    torch.manual_seed(0)
    vae, generator, log, film = VAE(CONFIG).to(DEVICE), seed(), [], []
    vae.quant_conv.bias.data[4:] = -5.0          # start with little noise: σ = 0.08
    optimizer = torch.optim.AdamW(vae.parameters(), lr=2e-3, betas=(0.9, 0.99))
    for step in progress(range(steps)):
        for group in optimizer.param_groups:     # warm up, then decrease to 0
            group["lr"] = 2e-3 * min(1, (step + 1) / 50) * (1 - step / steps)
        image = small[torch.randint(len(small), (32,))]
        moments = vae.moments(image)
        error = vae.decode(sample(moments, generator)) - image
        cost = kl(*moments.chunk(2, dim=1)).mean()
        loss = error.abs().mean() + error.square().mean() + kl_weight * cost
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        log.append((error.square().mean().item(), cost.item()))
        if step + 1 in watch:
            with torch.no_grad():
                film += to_unit(vae.decode(vae.moments(small[:5]).chunk(2, dim=1)[0]))
    return vae.eval(), torch.tensor(log), film

# %%
STEPS = full_or_fast(1500, fast=12)
watch = tuple(sorted({max(1, round(STEPS * share)) for share in (0.02, 0.1, 0.3, 1)}))
trained, log, film = train(STEPS, 1e-6, watch)

fig = plots.image_grid([*to_unit(small[:5]), *film], columns=5, size=1.1,
                       rows=["original", *(f"step {n}" for n in watch)])
plots.show(fig)

# %% [markdown] alt
# Five scenes and their reconstructions during training. First blobs in the right places and wrong colours, then the
# backgrounds, then the shapes, and the colours of the things last.

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=plots.WIDE)
smooth = log.unfold(0, min(20, len(log)), 1).mean(-1)               # means of 20 steps
# PSNR is 10 log10 of the range squared (from -1 to 1 it is 2) over the mean squared
# error.
left.plot(10 * (2**2 / smooth[:, 0]).log10(), color=plots.BLUE)
left.set(xlabel="training step", ylabel="PSNR, dB", title="How close to the original")
right.plot(smooth[:, 1], color=plots.ORANGE)
right.set(xlabel="training step", ylabel="nats", title="KL: how much the latent tells",
          ylim=(0, None))
plots.show(fig)
print(f"at the end {10 * (2**2 / log[-50:, 0].mean()).log10():.1f} dB with "
      f"{log[-50:, 1].mean():.0f} nats per scene")

# %% [markdown] alt
# Two curves over the training steps: the PSNR rises, quickly at first; the KL of a latent rises for about a hundred
# steps and then falls by about a fifth.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Light and dark first, and the places: after 30 steps most scenes have blobs where the objects are, but hardly a colour
# is right. At 150 the backgrounds are right, at 450 the shapes begin. The objects' colours come last: some are still
# wrong at 450, or even at the end. The background covers most pixels, and so makes up most of the loss.
# </details>

# %% [markdown]
# The first nats come fast: the KL climbs from about 550 to over 1,000 in little more than a hundred steps, while the
# network learns what is where. Then the pictures gain ten more decibels while the KL *falls* by a fifth: the latent
# tells less, but what matters more. (Why the 4 in the code? In [-1, 1] squared errors are four times as large as in
# [0, 1].)

# %% [markdown]
# ## The scale
#
# Noise has variance 1 (lesson 02), and the schedule is designed for a signal of variance 1. Nothing has given the
# latents that variance: a leash of one millionth is loose. So measure their standard deviation, once, and multiply all
# latents by $s = 1 / \text{std}$ (`config.scale`). Diffusion gets $z_0 = s \, z$, and before decoding $z_0$ is divided
# by $s$ again.
#
# Stable Diffusion's scale is *0.18215*: its raw latents have a standard deviation of $1 / 0.18215 = 5.49$.

# %%
with torch.no_grad():
    raw = sample(trained.moments(small[:512]), seed())
    yours = 1 / raw.std().item()
    theirs = package.VAE(CONFIG).to(DEVICE)
    theirs.load_state_dict(trained.state_dict())
    calibrate_scale(theirs, small[:512])
print(f"the one you trained:   std {raw.std():.3f}, scale {yours:.3f}; tinyldm "
      f"measures {theirs.config.scale:.3f}")
print(f"the shipped tiny one:  std {1 / tiny.config.scale:.3f}, scale "
      f"{tiny.config.scale:.3f} (its leash was shorter)")
print(f"Stable Diffusion's:    std {1 / 0.18215:.3f}, scale 0.18215")

# %% [markdown]
# The shipped VAE was trained with a KL weight of $10^{-5}$, ten times yours, and its latents came out with a standard
# deviation of 1: there is next to nothing to scale. So borrow Stable Diffusion's number. We make one scene's latent as
# large as Stable Diffusion's raw latents, 5.49, and noise it to four timesteps: with the scale 0.18215 and without it.
# (Before decoding, each is divided by its standard deviation, so that the decoder gets the size it knows.)
#
# > **Predict.** At `t = 999`, where sampling starts from pure noise, the signal has the factor
# > $\sqrt{\bar\alpha_{999}} = 0.068$ (lesson 02), and without the scale 5.49 times that. What is left of the picture?

# %%
schedule = NoiseSchedule(scaled_linear_betas()).to(DEVICE)
timesteps = (250, 500, 750, 999)
SD_SCALE = 0.18215


@torch.no_grad()
def noised_and_decoded(z0, t, scale):
    """z0 has variance 1; q_sample gets it divided by SD_SCALE, as a raw latent, and
    multiplied by `scale`."""
    t = torch.tensor([t], device=DEVICE)
    eps = torch.randn(z0.shape, generator=seed()).to(DEVICE)
    z_t = schedule.q_sample(z0 / SD_SCALE * scale, t, eps)
    # the decoder gets variance 1 in both cases
    return to_unit(tiny.decode(z_t / z_t.std()))[0]


scene = tiny.encode(pictures[4:5]).detach()
with torch.no_grad():  # for comparison: the same noise with no scene in it
    noise = torch.randn(scene.shape, generator=seed()).to(DEVICE)
    noise = to_unit(tiny.decode(noise))[0]
rows = []
for scale in (SD_SCALE, 1.0):
    rows += [noised_and_decoded(scene, t, scale) for t in timesteps] + [noise]
fig = plots.image_grid(rows, [*(f"t = {t}" for t in timesteps), "pure noise"],
                       columns=5, rows=["with the scale", "without"], size=1.4)
plots.show(fig)

# %% [markdown] alt
# One scene noised to t = 250, 500, 750 and 999 and decoded, and pure noise decoded. With the scale it dissolves, and at
# the end looks like the pure noise. Without it the scene is nearly clear at 750, and at 999 its things can still be
# guessed.

# %%
alpha_bar, t = schedule.alpha_bar.cpu(), torch.arange(1000)
fig, ax = plt.subplots(figsize=plots.NARROW)
for std, colour, dash, name in ((5.49, plots.ORANGE, "--", "raw, std 5.49"),
                                (1.0, plots.BLUE, "-", "scaled, std 1")):
    ax.plot(t, (alpha_bar * std**2 + 1 - alpha_bar).sqrt(), dash, color=colour,
            label=name)
ax.set(xlabel="timestep t", ylabel="standard deviation of z_t", ylim=(0, None),
       title="What the U-Net would receive")
ax.legend()
plots.show(fig)

# %% [markdown] alt
# The standard deviation of a noised latent over t. With scaled latents it is 1 at every t; with raw ones it falls from
# 5.5 to about 1.07.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# $0.068 \times 5.49 = 0.37$ of the scene against noise of 1: enough to guess where the disc and the star were, and in
# which colours. With the scale next to nothing is left: the picture is that of pure noise. The decoder still paints
# colourful shapes, because it knows nothing else to paint.
# </details>
#
# Without the scale, two things go wrong: the network receives numbers whose size changes with `t`; and the last `t`
# still shows the scene, so training never sees what sampling starts from. Lesson 16 shows the pictures that such a
# model makes.
#
# The scale is *one* number for all channels. It is often said to "whiten" latents. Does it?

# %%
with torch.no_grad():
    latents = tiny.encode(pictures)                                   # (128, 4, 8, 8)
channels = latents.transpose(0, 1).flatten(1).cpu()                   # (4, 8192)

fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2))
left.bar(torch.arange(4) - 0.2, channels.mean(1), width=0.4, color=plots.BLUE,
         label="mean")
left.bar(torch.arange(4) + 0.2, channels.std(1), width=0.4, color=plots.ORANGE,
         hatch="//", label="standard deviation")
left.axhline(0, color=plots.BLACK, linewidth=0.8)
left.axhline(1, color=plots.GREY, linewidth=0.8, linestyle="--")
left.set(xlabel="channel", xticks=range(4), title="Nearly centred, not alike",
         ylim=(None, 1.4))
left.legend(loc="upper left", ncols=2, fontsize=8.5)
plots.heat_map(right, torch.corrcoef(channels), "channel", "channel", "Correlations",
               vmax=1, aspect="equal")
right.set(xticks=range(4), yticks=range(4))
plots.show(fig)
print("channel means", [round(v, 2) for v in channels.mean(1).tolist()],
      "stds", [round(v, 2) for v in channels.std(1).tolist()])

# %% [markdown] alt
# Left: mean and standard deviation of each channel of the tiny model's latents; the means are near 0, the standard
# deviations 0.84 to 1.12. Right: the correlations between channels; that of channels 1 and 2 is -0.49.

# %% [markdown]
# It does not. Whitening would centre each channel, give each a variance of 1 and remove their correlations. The scale
# does only the second, and only on average: the standard deviations range from 0.84 to 1.12, and channels 1 and 2 have
# a correlation of -0.49. The means are near 0 here, but multiplication cannot centre anything: that was the KL's
# $\mu^2$. One number is enough all the same.
#
# ## A slip of two digits
#
# The article encodes with 0.18215 and decodes with **0.18125**: two digits swapped places. So the decoder's input is
# too large by the factor $0.18215 / 0.18125 = 1.00497$.
#
# > **Predict.** Could you see it?

# %%
@torch.no_grad()
def decoded(factor):
    """The scenes in [0, 255], decoded from latents that are `factor` times too
    large."""
    return 255 * to_unit(tiny.decode(latents * factor))


right_ones, slip = decoded(1.0), decoded(0.18215 / 0.18125)
change = (slip - right_ones).abs()
print(f"of 255: {change.mean():.2f} levels on average, {change.max():.1f} at worst; "
      f"{(change > 2).float().mean():.2%} of the numbers change by more than 2")

factors = (0.5, 0.8, 0.9, 0.95, 0.98, 1.005, 1.02, 1.05, 1.1, 1.25, 2.0)
levels = [(decoded(f) - right_ones).abs().mean().item() for f in factors]
fig, axes = plt.subplots(1, 4, figsize=(9.4, 2.4), width_ratios=[1, 1, 1, 1.7])
for ax, picture, title in zip(axes,
                              (right_ones[4] / 255, slip[4] / 255,
                               (change[4] / 255 * 200).clamp(0, 1)),
                              ("right", "0.5 % too large", "difference × 200")):
    plots.plot_image(ax, picture, title)
axes[3].plot(factors, levels, "o-", color=plots.BLUE, markersize=4)
axes[3].set(xscale="log", yscale="log", xlabel="latents too large by this factor",
            ylabel="levels of 255",
            xticks=[0.5, 1, 2], xticklabels=["0.5", "1", "2"],
            title="How much a picture changes")
axes[3].minorticks_off()
plots.show(fig)

# %% [markdown] alt
# A scene decoded correctly and with the slip: they look the same. Their difference, magnified 200 times, shows faint
# outlines. Next to it the mean change of a picture over the factor by which its latents are too large: a few hundredths
# of a level at half a percent, about ten levels at a factor of 2.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# No. On average it is well below one level of 255. That is why such a slip can stay in print for years: nothing looks
# wrong. A test finds it; an eye does not. In this package the number lives in one place, so it cannot disagree with
# itself.
# </details>
#
# ## Latents as pictures
#
# A latent has four channels; nothing stops us from looking at them. Here is one scene:

# %%
fig = plots.latent_maps(latents[4], "The latent of one scene")
plots.show(fig)

# %% [markdown] alt
# The four channels of a scene's latent as 8 × 8 maps in blue and orange. The places of the two objects can be
# recognised; each channel shows them with a different sign and contrast, over a gradient from the background.

# %% [markdown]
# It is a small, strange picture of the picture: what is where, in four false colours. That is why a U-Net, which is
# made for pictures, can work on it. What does a channel *mean*? Push one up or down everywhere, and decode.

# %%
@torch.no_grad()
def plot_pushed(ax, channel, amount):
    z = latents[4:5].clone()
    z[:, channel] += amount
    plots.plot_image(ax, to_unit(tiny.decode(z))[0],
                     f"channel {channel}: {amount:+.1f}")


amounts = [round(-3 + 0.5 * i, 1) for i in range(13)]
strip = [{"channel": 0, "amount": 0.0},
         *({"channel": c, "amount": 2.0} for c in range(4))]
widgets.dial(plot_pushed, {"channel": range(4), "amount": amounts}, strip=strip,
             size=(1.5, 1.75))

# %% [markdown] alt
# A scene as it is, and with one of its four latent channels raised by 2 everywhere. Channels 0 and 3 change the colours
# of the things, 1 and 2 also the background; the shapes stay where they are.

# %% [markdown]
# Raised by 2, channel 1 turns everything green or turquoise, channel 2 bleaches the objects, channels 0 and 3 recolour
# the objects and leave the background nearly unchanged. No channel is "red" or "edges": each is a mixture that training
# happened to find, and another seed would find another. Only position has kept its meaning.

# %% [markdown]
# ## What f = 2, 4, 8 and 16 keep of a photograph
#
# Four VAEs that differ only in their number of levels were trained on crops of two photographs
# (`tinyldm_course/lessons/photo_vaes.py`; same steps, same seed). You see a piece of each photograph that was held out
# of training, 3 × 128 × 128 = 49,152 numbers.
#
# > **Predict.** All have 4 channels. How many numbers does each keep? And which is the first whose loss *you* can see?

# %%
# says what to run if they are missing
photos = {f: vae.to(DEVICE) for f, vae in photo_vaes.load().items()}
pieces = {name: photo_vaes.held_out(name).to(DEVICE) for name in ("china", "flower")}
with torch.no_grad():
    kept = {(name, f): to_unit(vae.decode(vae.encode(to_signed(piece)[None])))[0]
            for name, piece in pieces.items() for f, vae in photos.items()}

quality = {key: psnr(image, pieces[key[0]]) for key, image in kept.items()}
shown = [image for name in pieces
         for image in (pieces[name], *(kept[name, f] for f in FACTORS))]
titles = [title for name in pieces
          for title in ("original",
                        *(f"f = {f}: {quality[name, f]:.1f} dB" for f in FACTORS))]
fig = plots.image_grid(shown, titles, columns=5, size=1.6)
plots.show(fig)

# %% [markdown] alt
# A piece of a tower and of a dahlia, and what four VAEs make of them. At f = 2 they look like the originals, at 4 fine
# lines soften, at 8 pillars and petals blur, at 16 only a grey tower and an orange cloud are left.

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=plots.WIDE, width_ratios=[3, 2])
for name, colour, marker in (("china", plots.BLUE, "o"), ("flower", plots.ORANGE, "s")):
    averaged = [psnr(averages_of(pieces[name], f), pieces[name]) for f in FACTORS]
    left.plot(FACTORS, [quality[name, f] for f in FACTORS], marker + "-", color=colour,
              label=f"{name}: VAE, 4 numbers")
    left.plot(FACTORS, averaged, marker + ":", color=colour,
              label=f"{name}: averages, 3 numbers")
left.set(xscale="log", xticks=FACTORS, xticklabels=FACTORS, xlabel="f",
         ylabel="PSNR, dB", title="How close")
left.minorticks_off()
left.legend(fontsize=8.5)
numbers = [4 * (128 // f) ** 2 for f in FACTORS]
right.bar([f"f = {f}" for f in FACTORS], numbers, color=plots.SKY)
right.set(yscale="log", ylim=(100, 60_000), title="Numbers kept, of 49,152")
for i, n in enumerate(numbers):
    right.text(i, n, f"{n:,}", ha="center", va="bottom", fontsize=9)
plots.show(fig)

# %% [markdown] alt
# Left: PSNR over f for the VAEs and for plain averages, on both photographs; all fall with f. The VAEs are ahead by up
# to five decibels at f = 2, and by next to nothing at f = 16. Right: the numbers kept, from 16,384 at f = 2 to 256 at f
# = 16, on a logarithmic axis.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# 16,384, 4,096, 1,024 and 256: doubling $f$ divides by four. Then look at the tiles and at the red of the railing at
# $f = 4$. At $f = 2$ the tower has only 26 dB, yet hardly anyone sees a difference: "above 30" was a rough guide, since
# fine texture costs decibels that nobody misses.
# </details>
#
# At $f = 16$ the network is no better than plain averages: 4 numbers for 256 pixels, a small network and little
# training. It keeps light and dark; the tower has lost the red that its averages still had.

# %% [markdown]
# ## Smaller f, or more channels?
#
# At $f = 8$ and 18.7 dB the tower is spoilt. There are two remedies: more positions, or more numbers at each position.
# To compare them without training anything, take the best *linear* code: cut the training crops into tiles of $f
# \times f$ pixels, and keep of each tile its $C$ strongest principal components. Tile by tile, no linear autoencoder
# with $C$ channels does better on those crops.
#
# > **Predict.** $f = 4$ with 4 channels and $f = 8$ with 16 channels keep equally many numbers. Which keeps more of the
# > picture?

# %%
coded = {c: photo_vaes.best_linear("china", 8, c) for c in (4, 16, 64)}
coded["f = 4"] = photo_vaes.best_linear("china", 4, 4)
piece = pieces["china"].cpu()
names = ["f = 8, 4 channels", "f = 8, 16 channels", "f = 8, 64 channels",
         "f = 4, 4 channels"]
titles = [f"{name}\n{psnr(image, piece):.1f} dB"
          for name, image in zip(names, coded.values())]
fig = plots.image_grid([piece, *coded.values()], ["original\n", *titles], size=1.8)
plots.show(fig)

fig, ax = plt.subplots(figsize=plots.WIDE)
for f, colour, marker in zip((4, 8, 16), plots.CYCLE, plots.MARKERS):
    channels = [c for c in (1, 2, 4, 8, 16, 32, 64, 128) if c <= 16 * f]
    ax.plot([c * (128 // f) ** 2 for c in channels],
            [psnr(photo_vaes.best_linear("china", f, c), piece) for c in channels],
            marker + "-", color=colour, label=f"f = {f}")
ax.set(xscale="log", xlim=(60, 60_000), ylim=(15, 45), xlabel="numbers kept, of 49,152",
       ylabel="PSNR, dB", title="The best linear code of the tower")
ax.legend()
plots.show(fig)

# %% [markdown] alt
# The tower from linear codes. With f = 8 and 4 channels it is a mosaic of soft tiles, with 16 channels the outlines
# return, with 64 it looks like the original; f = 4 with 4 channels, beside them, is softer than f = 8 with 16.
#
# Three curves of PSNR over the numbers kept, for f = 4, 8 and 16. All rise. The larger f is, the further left its curve
# begins; where they have equally many numbers, the larger f is higher.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# $f = 8$ with 16 channels, by half a decibel: a larger tile has more redundancy to save on. (Compare 4 channels at $f =
# 8$ with the VAE of the same size above: it has hardly learnt more than the best linear code. It is small, and saw two
# photographs.)
# </details>
#
# So a large $f$ loses nothing *if* the channels grow with it. Why then did Stable Diffusion stop at 4 channels?

# %% [markdown]
# Because of what comes next: a U-Net must *generate* all these numbers. At $f = 2$ it has 16 times as many positions as
# at $f = 8$; the paper trained a diffusion model at each factor (Rombach et al. 2022, § 4.1): with a small $f$ it
# learns slowly, with a large one the latent has lost too much; 4 to 8 was best. More channels cost hardly any
# computation, but they hold fine texture, which is hard to predict. With 4 channels a small U-Net could learn it; later
# and larger models have 16.

# %% [markdown]
# ## Break it on purpose
#
# Three mistakes with the trained tiny VAE, none of which raises an error:
#
# 1. **ordinary padding** in the three halvings;
# 2. pictures in **[0, 1]** instead of [-1, 1];
# 3. **halves swapped**: the log-variance is taken for the mean.
#
# > **Predict.** One moves the picture, one changes its colours, one destroys it. Which does what?

# %%
class OrdinaryDownsample(AsymmetricDownsample):
    def forward(self, x):
        # left and top instead: the same as padding 1 on even sizes
        return self.conv(F.pad(x, (1, 0, 1, 0)))


shifted = VAE(tiny.config).eval().to(DEVICE)
for level in shifted.encoder.down[:-1]:
    level.resample = OrdinaryDownsample(level.resample.conv.in_channels).to(DEVICE)
shifted.load_state_dict(tiny.state_dict())

scale = tiny.config.scale
with torch.no_grad():
    def through(vae, images, half=0):
        return to_unit(tiny.decode(scale * vae.moments(images).chunk(2, dim=1)[half]))

    broken = {"right": through(mine, pictures),
              "ordinary padding": through(shifted, pictures),
              "in [0, 1]": through(mine, to_unit(pictures)),
              "halves swapped": through(mine, pictures, half=1)}
fig = plots.image_grid([image for images in broken.values() for image in images[2:7]],
                       columns=5, rows=list(broken), size=1.2)
plots.show(fig)


def displacement(images, originals, limit=9):
    """By how many pixels to the right and down the images are displaced: the shift that
    fits best."""
    inner = slice(limit, 64 - limit)
    def error(shift):
        moved = images.roll((-shift[1], -shift[0]), (2, 3))
        return (moved - originals)[..., inner, inner].square().mean().item()

    each = range(-limit, limit + 1)
    return min(itertools.product(each, each), key=error)


print("ordinary padding moves the picture by (right, down)",
      displacement(broken["ordinary padding"], to_unit(pictures)))

# %% [markdown] alt
# Five scenes through the tiny VAE, correctly and with three mistakes. With ordinary padding they are moved to the lower
# right, and stripes appear at the opposite edges; in [0, 1] they are pale and in wrong colours; with the halves swapped
# a yellow fog is left, with a glow where a thing was.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# The padding moves it; the stripes at the top and left are where the network reads the padding. [0, 1] changes the
# colours, so that some things vanish into their background. The swapped halves destroy it: a glow where objects were is
# all that the log-variances tell.
# </details>
#
# Seven pixels, as the bars in *Down* predicted. With ordinary padding each number reads seven pixels further to the
# left and up, and the decoder paints what it read seven pixels too far to the right and down. This is a real bug of
# real ports of Stable Diffusion, and a nasty one: the picture is nearly right.

# %% [markdown]
# And a fourth mistake, in training: **a leash that is too short**. The weight of the KL is a hundred thousand times as
# large, 0.1 instead of $10^{-6}$.
#
# > **Predict.** What does the encoder do, and what does the decoder do?

# %%
short_leash, short_log, _ = train(full_or_fast(250, fast=4), kl_weight=0.1)
with torch.no_grad():
    mean, logvar = short_leash.moments(small[:5]).chunk(2, dim=1)
    collapsed = to_unit(short_leash.decode(mean))

fig = plots.image_grid([*to_unit(small[:5]), *collapsed], columns=5,
                       rows=["original", "KL weight 0.1"], size=1.2)
plots.show(fig)
print(f"KL {short_log[-20:, 1].mean():.1f} nats per scene; sigma "
      f"{torch.exp(0.5 * logvar).mean():.2f}, "
      f"std of the means {mean.std():.3f}")

# %% [markdown] alt
# Five scenes, and below them what a VAE with a strong KL term makes of each: five times the same grey with a greenish
# rim.

# %% [markdown]
# The encoder produces the cheapest latent, one that tells nothing: $\mu = 0$, $\sigma = 1$, KL = 0. The decoder, told
# nothing, paints one average of all scenes. This is called **posterior collapse**; you recognise it by a KL near 0.

# %% [markdown]
# ## What the article says
#
# The article's statement in italics, then what is true:
#
# - *Encode with 0.18215, decode with 0.18125.* One number serves both; the slip changes less than a level.
# - *The encoder predicts mean and variance.* The **log**-variance, clamped.
# - *After training usually only the mean is used.* Training the U-Net uses a sample, and so does
#   image-to-image.
# - *The decoder has attention near its end.* Near its **start**, in its middle block; the encoder's is near the end.
# - *0.18215 whitens the latents.* It is a single number: it neither centres nor decorrelates.
# - *Pixels are divided by the maximum.* By 255, not by the picture's own maximum.

# %% [markdown]
# ## Three quick questions
#
# **1.** A photograph of 768 × 512 pixels goes through Stable Diffusion's encoder. What shape is the latent?
#
# <details><summary>Answer</summary>
#
# (4, 64, 96): channels, height / 8, width / 8. (People say the width first; tensors have the height first.)
# </details>
#
# **2.** Your reconstructions are perfect, and your diffusion model makes mush. Which number do you check first?
#
# <details><summary>Answer</summary>
#
# The standard deviation of the latents that training sees. Reconstructions do not depend on the scale at all: it
# cancels out.
# </details>
#
# **3.** Why does the encoder's $\sigma$ not simply become 0?
#
# <details><summary>Answer</summary>
#
# $-\tfrac12\log\sigma^2$ in the KL grows without bound as $\sigma \to 0$. Even a weight of one millionth stops it.
# </details>

# %% [markdown]
# ## Exercises
#
# `../exercises/05_autoencoder.ipynb`: the range of images in both directions, the halving, the sample, the KL, the
# scale; each is checked at once.
#
# To try here: `train(STEPS, 1e-3)`, as long as the first training. What happens to decibels, nats and scale? Decode a
# latent of pure noise, `tiny.decode(torch.randn(1, 4, 8, 8, device=DEVICE))`: does it look like a scene? And walk in
# a straight line from one scene's latent to another's: is the picture half-way a scene?

# %% [markdown]
# ## What next
#
# You have both ends of the model. What stands between them is the U-Net. Lesson 06 opens the block that it is mostly
# made of, the one you used here as a black box. The package's version of this lesson is `tinyldm/vae.py`; you can now
# read all of it.
