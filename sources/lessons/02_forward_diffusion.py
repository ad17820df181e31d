# %% [markdown]
# # 02 · Forward diffusion: drowning a picture in noise
#
# **Goal.** Build the one-way street from a picture to pure noise: step by step first, then in a single jump.
#
# **Time.** 35 minutes to read and play; the cells compute for under half a minute on 2 CPU cores.
#
# **Before this.** Lesson 00; mean, variance and the normal distribution; broadcasting in PyTorch.
#
# **You will be able to**
# - noise a latent to any `t` in one line, as Stable Diffusion does;
# - derive that line from a thousand small steps;
# - read a noise schedule, and compare two of them;
# - say why the last step must leave almost no signal, and what goes wrong if it leaves some.

# %%
import matplotlib.pyplot as plt
import torch

from tinyldm import LatentDiffusion, NoiseSchedule, to_signed, to_unit
from tinyldm.data.digits import Digits
from tinyldm.data.scenes import Scenes
from tinyldm.forward_diffusion import cosine_betas, linear_betas, scaled_linear_betas
from tinyldm.machine import choose_device
from tinyldm_course.lessons import plots, widgets
from tinyldm_course.lessons.helpers import confirm_equal, photograph
from tinyldm_course.lessons.model_map import show_model_map

plots.use_style()
DEVICE = choose_device()     # CUDA, else Apple's MPS, else the CPU
print("This lesson runs on", DEVICE.type)
seed = torch.Generator().manual_seed(0)     # the source of every random number below

# %% [markdown]
# ## Where we are
#
# A diffusion model learns to remove noise. To train it, we need pictures with a *known* amount of noise: that is all
# that forward diffusion does. Nothing is learnt in this lesson, and the only network that runs is a VAE, which encodes
# and decodes one latent. In a latent diffusion model the "picture" is the VAE's latent `z0`. The arithmetic is the
# same for both, so we mostly look at photographs.

# %%
show_model_map("forward diffusion")

# %% [markdown]
# ## One number, one step
#
# A picture is a collection of numbers, and each is treated alike, independently of the others. So take one number,
# $z_0$ (`z0`). One step of forward diffusion shrinks it a little and adds a little noise:
#
# $$ z_t = \sqrt{1-\beta_t}\; z_{t-1} + \sqrt{\beta_t}\;\epsilon_t, \qquad \epsilon_t \sim \mathcal N(0, 1) $$
#
# (Ho et al. 2020, "DDPM", eq. 2.)
#
# - $t$ (`t`), the *timestep*, counts the steps; there are $T$ (`T`) of them;
# - $\beta_t$ (`beta[t]`), between 0 and 1, is the *variance* of the noise that step $t$ adds;
# - $\epsilon_t$ (`eps`) is a fresh random number from the normal distribution with mean 0 and variance 1.

# %%
def noise_step(z, beta_t, eps):
    """One step: z_{t-1} -> z_t."""
    return (1 - beta_t) ** 0.5 * z + beta_t**0.5 * eps


print(f"0.8 becomes {noise_step(0.8, beta_t=0.1, eps=-0.5):.3f} when beta is 0.1 and "
      f"eps is -0.5")

# %% [markdown]
# Now a thousand steps. Stable Diffusion lets $\sqrt{\beta_t}$ rise in a straight line, and $\beta_t$ with it from
# 0.00085 to 0.012: small steps first, while there is fine detail to lose, larger ones when little is left to destroy.
# That takes three numbers and one line.

# %%
T = 1000
beta = torch.linspace(0.00085**0.5, 0.012**0.5, T, dtype=torch.float64) ** 2     # (T,)

print(confirm_equal(beta, scaled_linear_betas()))

# %% [markdown]
# > **Predict.** Send the number 0.8 through all 1,000 steps, 2,000 times, each time with different noise. Where are
# > the 2,000 numbers at the end?
# >
# > (a) still around 0.8, but spread out · (b) all at 0 · (c) around 0, with a spread of about 1 · (d) spread out by
# > about 30, because a thousand random steps add up
# >
# > Decide before you run the next cell.

# %%
# (walkers, time); column 0 is z0
paths = torch.full((2000, T + 1), 0.8, dtype=torch.float64)
for t in range(T):
    eps = torch.randn(2000, generator=seed, dtype=torch.float64)
    paths[:, t + 1] = noise_step(paths[:, t], beta[t], eps)

fig, (left, right) = plt.subplots(1, 2, figsize=plots.WIDE, sharey=True,
                                  width_ratios=[5, 1])
left.plot(range(0, T + 1, 10), paths[:40, ::10].T, color=plots.SKY, linewidth=0.7,
          antialiased=False)
left.plot(paths[0], color=plots.BLUE, linewidth=1.4, label="one of them")
left.axhline(0.8, color=plots.ORANGE, linestyle="--", label="where all start: 0.8")
left.set(xlabel="steps of noise so far", ylabel="value of the number",
         title="Forty of 2,000 walks from one number")
left.legend(loc="lower left")
right.hist(paths[:, -1], bins=40, orientation="horizontal", color=plots.SKY)
right.set(xlabel="how many", title="all, at the end")
plots.show(fig)
print(f"at the end: mean {paths[:, -1].mean():.2f}, variance {paths[:, -1].var():.2f}")

# %% [markdown] alt
# Forty random walks that all start at 0.8. Over 1,000 steps they fan out and sink, until they lie between about -2 and
# 2, on both sides of 0; a histogram of 2,000 ends beside them is a bell with its middle near 0.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# (c). Shrinking and adding balance: whatever the start, the number all but forgets it and ends as a random number with
# mean near 0 and variance near 1. Without the shrinking, the spread would keep
# growing, as in (d), though only to 2.3 here, because each step adds so little. Below, we break it that way.
# </details>
#
# This is the point of the whole construction. The end hardly depends on the beginning, so a sampler can *start* there,
# with nothing but random numbers.

# %% [markdown]
# ## A photograph, step by step
#
# Now the same for 9,408 numbers at once: a photograph of 56 × 56 pixels in 3 colours. Its values run from -1 to 1,
# as everywhere inside the model. We stop six times on the way to look.

# %%
photo = to_signed(photograph(56)).to(DEVICE)     # (3, 56, 56) in [-1, 1]
stops = (0, 99, 249, 499, 749, 999)

z, frames = photo, []
for t in range(T):
    eps = torch.randn(photo.shape, generator=seed).to(DEVICE)
    z = noise_step(z, beta[t].item(), eps)
    if t in stops:
        frames.append(to_unit(z))

fig = plots.film_strip([to_unit(photo), *frames],
                       ["z0, no noise", *(f"t = {t}" for t in stops)], size=1.2)
plots.show(fig)

# %% [markdown] alt
# A photograph of a flower after 0, 1, 100, 250, 500, 750 and 1,000 steps of noise. At t = 99 it is only grainy; at t =
# 499 the flower's outline and colour are still there but no petal; at t = 749 it can hardly be made out; at t = 999
# nothing but noise is left.

# %% [markdown]
# Look at the second picture, `t = 0`. The formula counts its steps from 1; Python counts from 0, and so does `t` in
# this course. So `t = 0` is the state after the *first* step: it already has one step of noise in it. A clean picture,
# `z0`, has no `t` at all. Getting this off by one is a common bug in home-made samplers.

# %% [markdown]
# ## A thousand steps in one jump
#
# Training needs pictures at random `t`, millions of times. Walking there step by step is far too slow. Luckily, we need
# not walk.
#
# Take two steps, and substitute the first into the second:
#
# $$ z_2 = \sqrt{(1-\beta_1)(1-\beta_2)}\; z_0 \;+\; \underbrace{\sqrt{(1-\beta_2)\beta_1}\;\epsilon_1 +
# \sqrt{\beta_2}\;\epsilon_2}_{\text{noise}} $$
#
# The two random numbers are independent, so their *variances add*: the noise is normal again, with variance
#
# $$ (1-\beta_2)\,\beta_1 + \beta_2 = 1 - (1-\beta_1)(1-\beta_2). $$
#
# The same product appears in both places: the squares of the two factors sum to 1. Signal and noise share one budget.

# %% [markdown]
# > **Predict.** Two steps with $\beta_1 = 0.1$ and $\beta_2 = 0.2$, starting from $z_0 = 2$. What are the mean and
# > the variance of $z_2$? Work them out from the two formulas above.
# >
# > <details><summary><b>Answer</b></summary>
# >
# > $(1-0.1)(1-0.2) = 0.72$. The mean is $\sqrt{0.72}\cdot 2 = 1.70$, the variance $1 - 0.72 = 0.28$.
# > </details>

# %%
many = 100_000
z_1 = noise_step(torch.full((many,), 2.0), 0.1, torch.randn(many, generator=seed))
z_2 = noise_step(z_1, 0.2, torch.randn(many, generator=seed))
in_one_jump = 0.72**0.5 * 2.0 + 0.28**0.5 * torch.randn(many, generator=seed)

fig, ax = plt.subplots(figsize=plots.NARROW)
ax.hist(z_2, bins=80, range=(-1, 4.5), density=True, color=plots.SKY, label="two steps")
ax.hist(in_one_jump, bins=80, range=(-1, 4.5), density=True, histtype="step",
        color=plots.ORANGE, linewidth=1.6, label="one jump")
ax.set(xlabel="value of $z_2$", ylabel="density", title="100,000 numbers, two ways")
ax.legend()
plots.show(fig)

# %% [markdown] alt
# Two histograms of 100,000 values, one made by two noise steps and one by a single jump. They coincide: a bell around
# 1.7 with a standard deviation of about 0.53.

# %% [markdown]
# Continue in this way, and every step adds one factor to the product. The product has a name:
#
# $$ \bar\alpha_t = \prod_{s \le t} (1-\beta_s), \qquad
# z_t = \sqrt{\bar\alpha_t}\; z_0 + \sqrt{1-\bar\alpha_t}\;\epsilon, \qquad \epsilon \sim \mathcal N(0, 1) $$
#
# (DDPM, eq. 4.) $\bar\alpha_t$ (`alpha_bar[t]`, say "alpha bar") is the share of the variance that is still signal, if
# $z_0$ has variance 1. Now $\epsilon$ (`eps`) is *all* the noise in $z_t$, not the noise of one step. This is what the
# network will have to find.

# %%
alpha_bar = torch.cumprod(1 - beta, dim=0).float()     # (T,), multiplied in float64


def q_sample(z0, t, eps):
    """Noise z0 (B, C, H, W) to the timesteps t (B,) in one jump: z_t (B, C, H, W)."""
    # (B,) -> (B, 1, 1, 1): one number per picture
    share = alpha_bar.to(z0.device)[t].view(-1, 1, 1, 1)
    return share.sqrt() * z0 + (1 - share).sqrt() * eps

# %% [markdown]
# Is it right? Compare it with the package's `NoiseSchedule.q_sample` on random latents at random timesteps. (Each
# picture of the batch has its own `t`; the `.view` aligns it with the right picture. The `q` is DDPM's letter for
# forward diffusion.)

# %%
# 16 latents, 16 noises
z0, eps = torch.randn(2, 16, 4, 8, 8, generator=seed).to(DEVICE)
t = torch.randint(T, (16,), generator=seed).to(DEVICE)
schedule = NoiseSchedule(scaled_linear_betas()).to(DEVICE)

print(confirm_equal(q_sample(z0, t, eps), schedule.q_sample(z0, t, eps)))

# %% [markdown]
# ## Turn the dial
#
# Now any amount of noise is one line away. The strip shows four values of `t`; in a running notebook the dial below it
# offers every third `t`. The noise itself is always the same, only its share grows.

# %%
dial_eps = torch.randn(photo.shape, generator=seed).to(DEVICE)


def noised_photo(ax, t):
    z_t = q_sample(photo[None], torch.tensor([t], device=DEVICE), dial_eps[None])[0]
    plots.plot_image(ax, to_unit(z_t), f"t = {t}")


widgets.dial(noised_photo, {"t": range(0, T, 3)},
             strip=[{"t": t} for t in (0, 249, 498, 750)], size=(1.5, 1.8))

# %% [markdown] alt
# The flower noised in one jump to t = 0, 249, 498 and 750: as noisy as after the thousand single steps, from hardly
# grainy to almost pure noise.

# %% [markdown]
# ## Signal and noise
#
# > **Predict.** Sketch two curves over `t`: the factor of the signal, $\sqrt{\bar\alpha_t}$, and the factor of the
# > noise, $\sqrt{1-\bar\alpha_t}$. Where do they start and end? Where do they cross? And what are the two factors at
# > $t = 100$, which the article on latent diffusion calls "much noise"?

# %%
fig, ax = plt.subplots(figsize=plots.WIDE)
ax.plot(alpha_bar.sqrt(), color=plots.BLUE, label=r"signal $\sqrt{\bar\alpha_t}$")
ax.plot((1 - alpha_bar).sqrt(), color=plots.ORANGE, linestyle="--",
        label=r"noise $\sqrt{1-\bar\alpha_t}$")
for t in (100, 999):
    # next to the curves, not on them
    places = ((4, 10), (4, -16)) if t < 500 else ((-42, -6), (-4, -16))
    factors = (alpha_bar[t].sqrt().item(), (1 - alpha_bar[t]).sqrt().item())
    for factor, place in zip(factors, places):
        ax.plot(t, factor, "o", color=plots.BLACK, markersize=5)
        ax.annotate(f"t = {t}: {factor:.3f}", (t, factor), textcoords="offset points",
                    xytext=place, ha="left" if t < 500 else "right")
crossing = int((alpha_bar < 0.5).nonzero()[0])
ax.axvline(crossing, color=plots.GREY, linewidth=0.8)
ax.text(crossing + 6, 0.05, f"as much noise as signal: t = {crossing}",
        color=plots.BLACK)
ax.set(xlabel="timestep t", ylabel="factor", ylim=(0, 1.03),
       title="What is left of the picture, and what covers it")
ax.legend(loc="center right")
plots.show(fig)

# %% [markdown] alt
# The signal's factor falls from 1 to 0.068 in an S-shape over 1,000 timesteps, the noise's factor rises from 0.03 to
# 0.998. They cross near t = 354. At t = 100 the signal is still 0.946, the noise 0.325.

# %% [markdown]
# So `t = 100` is not much noise; signal and noise are even only at `t = 354`.
#
# The squares of the two factors sum to 1 at every `t`. So **if `z0` has variance 1, every `z_t` has variance 1**: the
# network sees numbers of the same size at all noise levels. That is why the VAE multiplies its latents by a scale
# (lesson 05): the budget only balances for a signal of variance 1.
#
# The ratio of the two squares is the *signal-to-noise ratio*, $\mathrm{SNR}_t = \bar\alpha_t/(1-\bar\alpha_t)$. Its
# logarithm is the honest ruler for "how noisy": at the same SNR, two schedules pose the same task, whatever their `t`.

# %% [markdown]
# ## Three schedules
#
# Other models spend the thousand steps differently. `linear` is DDPM's (2020): $\beta$ itself is a straight line.
# `cosine` (Nichol & Dhariwal 2021, eq. 17) starts from the result instead: it lets $\bar\alpha_t$ fall like a squared
# cosine, and works out the $\beta_t$ that this takes. `scaled linear` is Stable Diffusion's, which you built.
#
# > **Predict.** A step is wasted if the picture is no worse after it than before. Which of the three schedules wastes
# > the most steps, and where?

# %%
schedules = {"linear (DDPM)": linear_betas(), "cosine": cosine_betas(),
             "scaled linear (SD)": scaled_linear_betas()}
shares = {name: torch.cumprod(1 - b, 0) for name, b in schedules.items()}

fig, (left, right) = plt.subplots(1, 2, figsize=plots.WIDE)
inset = right.inset_axes([0.62, 0.71, 0.36, 0.23])
for (name, share), colour, dash in zip(shares.items(), plots.CYCLE, ("-", "--", "-.")):
    left.plot(share, color=colour, linestyle=dash, label=name)
    log_snr = (share / (1 - share)).log()
    right.plot(log_snr, color=colour, linestyle=dash)
    inset.plot(log_snr[:100], color=colour, linestyle=dash)
left.set(xlabel="timestep t", ylabel=r"$\bar\alpha_t$", title="Share of the signal")
right.set(xlabel="timestep t", ylabel="log SNR", ylim=(-12, 10),
          title="The honest ruler")
inset.set(xlim=(0, 100), ylim=(1, 11), xticks=(0, 100), yticks=(2, 10))
inset.set_title("the first 100", fontsize=8)
right.axhline(0, color=plots.GREY, linewidth=0.8)
right.text(1000, 0.3, "as much noise as signal", fontsize=9, ha="right")
left.legend()
plots.show(fig)

# %% [markdown] alt
# Left: the share of the signal over t. The linear schedule falls fastest and is almost 0 by t = 700; the cosine
# schedule falls last, in an even S; from t = 100 on, Stable Diffusion's lies between. Right: the logarithm of the
# signal-to-noise ratio. At the end linear reaches -10, cosine plunges below, and Stable Diffusion's stops at about -5.
# An inset of the first 100 timesteps: Stable Diffusion's starts lowest, at 7.

# %%
moments = (249, 399, 549, 699, 849)
eps = torch.randn(photo.shape, generator=seed).to(DEVICE)
pictures = [to_unit(share[t] ** 0.5 * photo + (1 - share[t]) ** 0.5 * eps)
            for share in shares.values() for t in moments]

fig = plots.image_grid(pictures, [f"t = {t}" for t in moments], columns=len(moments),
                       rows=list(shares), size=1.0)
plots.show(fig)

# %% [markdown] alt
# The flower at five timesteps under three schedules, one per row. With the linear schedule it is a faint patch at t =
# 549 and gone by t = 699; with the cosine one it is still visible at t = 699 and hardly at t = 849; Stable Diffusion's
# row lies between the two.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# The linear one, at the end: the last two pictures of its row look the same, noise. A network learns little there, and
# that is three tenths of all timesteps.
# </details>
#
# In the cosine row each picture loses about as much as the one before. Stable Diffusion's row lies
# between, though its first steps are the largest of the three: its log SNR starts lowest (see the inset). Use the two
# dials to see how soon each schedule drowns the flower:

# %%
def under_schedule(ax, schedule, t):
    share = shares[schedule][t]
    plots.plot_image(ax, to_unit(share**0.5 * photo + (1 - share) ** 0.5 * eps),
                     f"{schedule}, t = {t}")


widgets.dial(under_schedule, {"schedule": list(shares), "t": range(0, T, 3)},
             size=(2.1, 2.4), strip=[{"schedule": name, "t": 600} for name in shares])

# %% [markdown] alt
# The flower at t = 600 under three schedules: covered by noise under the linear one, clearly visible under the cosine
# one, a faint patch under Stable Diffusion's.

# %% [markdown]
# ## A photograph, a digit, a latent
#
# The formula does not care what it noises. But *we* can ask what survives. Three things go through the same schedule:
# the photograph (56 × 56), a handwritten digit (8 × 8) and the latent of a small scene (4 × 8 × 8). For the latent we
# show one channel, and below it what the VAE's decoder makes of all four. (The first three rows are shown at half
# contrast, so that the noise fits the grey scale; each `t` has its own noise.)
#
# > **Predict.** All three get the same amount of noise at each `t`. Which can be recognised longest?

# %%
vae = LatentDiffusion.from_pretrained("tiny").vae.to(DEVICE)
digit = Digits(8)[3][0][:1].to(DEVICE)            # (1, 8, 8) in [-1, 1]
scene, caption, _ = Scenes(64)[5]                 # (3, 64, 64) in [-1, 1]
with torch.no_grad():
    latent = vae.encode(scene[None].to(DEVICE))[0]  # (4, 8, 8), about unit variance


def noised(z0, t):
    own = torch.Generator().manual_seed(t + z0.numel())
    eps = torch.randn(z0.shape, generator=own).to(DEVICE)
    return q_sample(z0[None], torch.tensor([t], device=DEVICE), eps[None])[0]


moments = (0, 99, 249, 399, 549, 749)
latents = torch.stack([noised(latent, t) for t in moments])  # (6, 4, 8, 8)
with torch.no_grad():
    decoded = vae.decode(latents)
rows = [*(to_unit(noised(photo, t) / 2) for t in moments),
        *(to_unit(noised(digit, t) / 2) for t in moments),
        *(to_unit(z[:1] / 2) for z in latents), *to_unit(decoded)]

fig = plots.image_grid(rows, [f"t = {t}" for t in moments], columns=len(moments),
                       size=1.4,
                       rows=["photograph\n56 × 56", "digit\n8 × 8",
                             "latent\nchannel 0", "latent,\ndecoded"])
plots.show(fig)

# %% [markdown] alt
# Four rows over six timesteps: the photograph, the digit three, one channel of the latent of '{caption}', and the
# picture that the decoder makes of the noised latent. The digit is hard to read at t = 249 and gone at t = 399; in the
# decoded row both things are lost at t = 549; the photograph's flower can be seen to t = 549, and hardly at t =
# 749.

# %% [markdown]
# The photograph, by far. Not because it gets less noise: each *number* gets the same. (And the digit's pixels even have
# the stronger contrast, a standard deviation of 0.68 against 0.53.) But in the photograph the flower covers over a
# thousand pixels, and our eye averages over them. Averaging $n \times n$ pixels divides the standard deviation of the
# noise by $n$, while the flower's colour stays. The next cell does with a computer what your eye does. (To equalise the
# contrast, each of the four pictures is divided by its own standard deviation.)

# %%
noisy = noised(photo, 649)[None]  # (1, 3, 56, 56)
averaged = [torch.nn.functional.avg_pool2d(noisy, n) for n in (1, 2, 4, 8)]

fig = plots.image_grid([to_unit((a[0] - a.mean()) / a.std() / 2) for a in averaged],
                       ["as it is", "means of 2 × 2", "means of 4 × 4",
                        "means of 8 × 8"], size=1.6)
plots.show(fig)

# %% [markdown] alt
# The flower at t = 649, where noise covers it. Averaged over blocks of 2 by 2, 4 by 4 and 8 by 8 pixels, it emerges
# from the noise more and more clearly, as a coarse mosaic: orange with a red middle.

# %% [markdown]
# Look back at the last row of the figure before: noise in a latent does not look like grain. The decoder turns it into
# *things*, in clear colours and in wrong places. That is how noise looks in the film strips of this course.

# %% [markdown]
# So "how much noise is `t = 649`?" has no answer without "in what?". Large pictures are redundant, and it takes more
# noise to destroy them than small ones. A latent is already compressed: its numbers are hardly redundant, so the noise
# hurts at once. This is one reason why a schedule designed for pixels does not suit latents, and why later models shift
# their schedule with the resolution (Hoogeboom et al. 2023; lesson 19).

# %% [markdown]
# ## The last step must leave (almost) nothing
#
# Sampling starts from pure noise. Training ends at $z_{T-1} = \sqrt{\bar\alpha_{T-1}}\, z_0 + \dots$ These agree only
# if $\bar\alpha_{T-1}$ is near 0. In Stable Diffusion it is 0.0047: the factor of the signal is 0.068. Is that small?
#
# > **Predict.** Call a latent white if its numbers are all 1, and black if they are all -1. Noise both to `t = 999`.
# > Could you tell which is which from a single number? From the mean of all 4,096 numbers of a 64 × 64 channel?

# %%
leak = alpha_bar[-1].sqrt().item()
noise_share = (1 - leak**2) ** 0.5
white, black = (sign * leak + noise_share * torch.randn(500, 4096, generator=seed)
                for sign in (1, -1))
pure = torch.randn(500, 4096, generator=seed)  # where sampling starts

fig, axes = plt.subplots(1, 2, figsize=plots.WIDE)
for ax, look, title in ((axes[0], lambda z: z[:, 0], "One number of each latent"),
                        (axes[1], lambda z: z.mean(1),
                         "The mean of its 4,096 numbers")):
    values = torch.cat([look(white), look(black)])
    bins = torch.linspace(values.min(), values.max(), 40)
    ax.hist(look(black), bins, color=plots.BLACK, alpha=0.7, label="was black")
    ax.hist(look(white), bins, color=plots.GOLD, alpha=0.7, label="was white")
    ax.hist(look(pure), bins, histtype="step", color=plots.BLUE, linewidth=1.6,
            label="pure noise")
    ax.set(xlabel="value at t = 999", ylabel="latents (of 500)", title=title)
axes[0].legend(loc="upper left", frameon=True, framealpha=1, edgecolor="white")
axes[0].set_ylim(0, 80)
plots.show(fig)

# %% [markdown] alt
# Left: histograms of one number of white and of black latents at t = 999, and of pure noise; all three overlap almost
# completely. Right: histograms of the latents' means: two separate peaks at -0.068 and 0.068, and between them a third
# one, of pure noise, which hardly touches them.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# A single number tells next to nothing; the mean gives the brightness away every time.
# </details>
#
# A network trained on such
# latents *will* use it: "the mean is above 0, so the picture is bright". Then sampling starts from noise whose mean is
# 0, give or take 1/64, and the network faithfully makes a picture of medium brightness. Indeed, Stable Diffusion 1 and
# 2 produce neither a black night nor a white page on demand (found by Lin et al. 2024).
#
# Their remedy takes one line: shift $\sqrt{\bar\alpha_t}$ so that the last value is 0, and stretch it so that the
# first value stays.

# %%
root = alpha_bar.sqrt()
# Lin et al. 2024, algorithm 1
root_rescaled = (root - root[-1]) * root[0] / (root[0] - root[-1])

fig, ax = plt.subplots(figsize=plots.NARROW)
ax.plot(root, color=plots.BLUE, label="Stable Diffusion")
ax.plot(root_rescaled, color=plots.ORANGE, linestyle="--", label="rescaled: ends at 0")
ax.set(xlabel="timestep t", ylabel=r"signal $\sqrt{\bar\alpha_t}$",
       title="Zero signal at the end", xlim=(600, 1000), ylim=(-0.01, 0.4))
ax.legend()
plots.show(fig)

# %% [markdown] alt
# The last 400 timesteps of the signal's factor. Stable Diffusion's curve ends at 0.068; the rescaled one, a little
# below it, ends at exactly 0.

# %% [markdown]
# With no signal left at the last `t`, "find the noise" becomes trivial there: $z_t$ *is* the noise. So such models
# predict another target, the *velocity* (lesson 03). The tiny model of this course predicts it too, though its schedule
# is Stable Diffusion's original one.

# %% [markdown]
# ## Break it on purpose
#
# Two mistakes that are easy to make, and what they look like:
#
# 1. **No shrinking**: $z_t = z_{t-1} + \sqrt{\beta_t}\,\epsilon_t$. Nothing is ever taken away, so the variance only
#    grows.
# 2. **The noise of one step in the jump**: $\sqrt{\beta_t}$ where $\sqrt{1-\bar\alpha_t}$ belongs. (The article's words
#    "the noise added at each step" invite it.)
#
# > **Predict.** For each mistake: is the last picture too flat, too wild, or just right?

# %%
moments = (249, 499, 749, 999)
eps = torch.randn(photo.shape, generator=seed).to(DEVICE)
z0 = (photo - photo.mean()) / photo.std()  # variance 1, as a scaled latent has
right = [alpha_bar[t] ** 0.5 * z0 + (1 - alpha_bar[t]) ** 0.5 * eps for t in moments]
# variances add: the sum of all betas
no_shrink = [z0 + beta[: t + 1].sum() ** 0.5 * eps for t in moments]
step_noise = [alpha_bar[t] ** 0.5 * z0 + beta[t] ** 0.5 * eps for t in moments]

everything = right + no_shrink + step_noise
snr = [*(alpha_bar[t] / (1 - alpha_bar[t]) for t in moments),
       *(1 / beta[: t + 1].sum() for t in moments),
       *(alpha_bar[t] / beta[t] for t in moments)]
titles = [f"t = {t}\nstd {z.std():.2f}, SNR {ratio:.3g}"
          for t, z, ratio in zip(moments * 3, everything, snr)]
fig = plots.image_grid([to_unit(z / 2.5) for z in everything], titles, columns=4,
                       size=1.35, rows=["right", "no\nshrinking", "√β in\nthe jump"])
fig.supxlabel("all pictures at 40 % contrast", fontsize=9)
plots.show(fig)

# %% [markdown] alt
# Three rows over four timesteps, with standard deviation and SNR above each picture. Right: the deviation stays at
# 1.00. Without shrinking it grows to 2.5, and the flower shows through to the end. With the step's noise in the jump it
# falls to 0.13: the flower fades into grey instead of drowning in noise.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# The first is too wild: to the picture's variance of 1, the noise adds 5.35, together $2.52^2$. The second is too flat.
# In both the flower never disappears: at `t = 999` the SNR should be 0.0047, and is many times as high.
# </details>
#
# Neither raises an error, and either would train: the network would learn to undo the wrong thing. The numbers above
# each picture give both away.
# **If you test one thing about forward diffusion, test that the variance stays 1.**

# %% [markdown]
# ## What the article says
#
# - *Noise is put on the latent again and again, step by step.* True as a definition; in practice nobody computes it
#   that way. You showed that one jump gives the same distribution.
# - *An embedding of `t = 0` says that the image is noiseless.* Not quite: index 0 has had one step, $\bar\alpha_0 =
#   0.99915$.
# - *`t = 100` means much noise.* No: there the signal's factor is still 0.946, against 0.325 for the noise.
# - *The model predicts the noise added at each step.* No: the target is `eps`, all the noise in $z_t$. You saw what
#   the other reading leads to.

# %% [markdown]
# ## Three quick questions
#
# **1.** $\bar\alpha_t = 0.25$. What are the factors of signal and noise, and what is the SNR?
#
# <details><summary>Answer</summary>
#
# Signal $\sqrt{0.25} = 0.5$, noise $\sqrt{0.75} = 0.866$, SNR $0.25/0.75 = 1/3$.
# </details>
#
# **2.** Your latents have a standard deviation of 5, because you forgot the VAE's scale. What is wrong at `t = 999`?
#
# <details><summary>Answer</summary>
#
# The remaining signal is $5 \cdot 0.068 = 0.34$ instead of 0.068, and the variance exceeds 1. The noisiest latents of
# training look much less like the pure noise from which sampling starts.
# </details>
#
# **3.** Why may the jump use *one* random number where the chain used a thousand?
#
# <details><summary>Answer</summary>
#
# A sum of independent normal random numbers is normal; only its variance matters, and that is $1-\bar\alpha_t$.
# </details>

# %% [markdown]
# ## Exercises
#
# `../exercises/02_forward_diffusion.ipynb`: write Stable Diffusion's schedule, $\bar\alpha_t$, `q_sample`, the
# SNR and the single step yourself; each is checked at once.
#
# To try here: make the film strip of the `china` photograph (`photograph(56, "china")`). Does the temple last longer
# than the flower? Find the `t` at which the cosine schedule has the same SNR as Stable Diffusion's at `t = 500`, and
# compare the two pictures.

# %% [markdown]
# ## What next
#
# So far the street is one-way. In lesson 03 we drive it backwards: a network learns to say which `eps` is in a $z_t$,
# and a sampler uses that to walk from pure noise to digits. The package's version of this lesson is
# `tinyldm/forward_diffusion.py`: you can now read its schedules and `q_sample`; its targets and its loss come in lesson
# 03.
