# %% [markdown]
# # 03 · Reverse diffusion: from noise to a digit
#
# **Goal.** Train a network to find the noise in a digit, and walk back from pure noise in small steps.
#
# **Time.** 50 minutes to read and play; the cells compute for two to three minutes on 2 CPU cores.
#
# **Before this.** Lesson 02: the schedule, $\bar\alpha_t$, the jump to $z_t$. You should know `nn.Module`.
#
# **You will be able to**
# - derive the step back that would be right if the clean picture were known;
# - train a network that guesses it, and read its loss at each `t`;
# - write the DDPM sampler, equal to the package's, and generate digits that nobody wrote;
# - convert between noise, clean picture, velocity and score.

# %%
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

from tinyldm import (
    NoiseSchedule,
    ddpm,
    diffusion_loss,
    timestep_embedding,
    timesteps,
    to_unit,
)
from tinyldm import forward_diffusion as package
from tinyldm.data.digits import Digits
from tinyldm.machine import choose_device
from tinyldm_course.lessons import plots, widgets
from tinyldm_course.lessons.helpers import confirm_equal, full_or_fast, progress
from tinyldm_course.lessons.model_map import show_model_map

plots.use_style()
DEVICE = choose_device()     # CUDA, else Apple's MPS, else the CPU
print("This lesson runs on", DEVICE.type)
torch.manual_seed(0)


def seeded(number):
    """A generator on the CPU: one seed gives the same numbers on every device."""
    return torch.Generator().manual_seed(number)

# %% [markdown]
# ## Where we are
#
# Lesson 02 went from a picture to noise. Here is the way back: the **sampler**. It needs a network that says which
# part of its input is noise. For a latent that is the U-Net; for the digits of 8 × 8 pixels in this lesson, two dozen
# lines will do. There is no autoencoder here: we noise the pixels themselves, as in the paper that introduced the
# method (Ho et al. 2020, "DDPM").

# %%
show_model_map("sampler", "U-Net")

# %% [markdown]
# ## The digits, and the way to noise
#
# Our data are 1,797 handwritten digits (from scikit-learn; UCI 1998). We hold out 300 of them, to test later whether
# the network has learnt digits in general or *these* digits. All are shifted and scaled to mean 0 and variance 1,
# because the noise has variance 1 (lesson 02).

# %%
data = Digits(8)
pixels = torch.stack([data[i][0][:1] for i in range(len(data))])  # (1797, 1, 8, 8)
values = torch.tensor(data.values)
MEAN, STD = pixels.mean(), pixels.std()
order = torch.randperm(len(pixels), generator=seeded(0))
digits = ((pixels - MEAN) / STD)[order].to(DEVICE)
unseen, seen = digits[:300], digits[300:]


def shown(z):
    """Back to [0, 1], for display."""
    return to_unit(z.cpu() * STD + MEAN)


# DDPM's own: β from 0.0001 to 0.02
schedule = NoiseSchedule(package.linear_betas()).to(DEVICE)
alpha_bar = schedule.alpha_bar.tolist()  # 1,000 numbers, as plain floats
moments = (0, 100, 200, 300, 500, 999)
eps = torch.randn(1, 1, 8, 8, generator=seeded(1)).to(DEVICE)
noised = torch.cat([schedule.q_sample(unseen[:1], torch.tensor([t], device=DEVICE),
                                      eps) for t in moments])

fig = plots.film_strip(shown(noised), [f"t = {t}" for t in moments])
plots.show(fig)

# %% [markdown] alt
# A handwritten digit, noised to t = 0, 100, 200, 300, 500 and 999: clear, grainy, hard to read from 300 on, and noise.

# %% [markdown]
# ## One step back, if we knew the end
#
# Take a single number instead of a picture. It started as $z_0 = 1$. Noising has reached $\bar\alpha_{t-1} = 0.7$;
# the next step, with $\beta_t = 0.2$, leads to $\bar\alpha_t = 0.8 \cdot 0.7 = 0.56$; and there we see $z_t = -0.5$.
#
# Where was it one step before? We know two things: it cannot have gone far from $z_0$, and it must be able to reach
# $z_t$ in one step.
#
# > **Predict.** Before we see $z_t$, $z_{t-1}$ is spread around $\sqrt{0.7} \cdot 1 = 0.84$. Now we see that
# > $z_t = -0.5$. Where is $z_{t-1}$ likely to be, and is it more or less certain than before?

# %% [markdown]
# No formula yet: try it. Noise two million numbers, and keep only those that end up near $-0.5$. Where were they one
# step before? (In the figure, $q(\cdot \mid \cdot)$ is the distribution that noising gives; read the bar as "given".)

# %%
g = seeded(2)
# z_{t-1}
before = math.sqrt(0.7) * 1 + math.sqrt(0.3) * torch.randn(2_000_000, generator=g)
# z_t
after = math.sqrt(0.8) * before + math.sqrt(0.2) * torch.randn(len(before), generator=g)
kept = before[(after + 0.5).abs() < 0.02]
print(f"{len(kept):,} of them: mean {kept.mean():.3f}, variance {kept.var():.3f}")

fig, ax = plt.subplots(figsize=plots.NARROW)
bins = torch.linspace(-2, 3, 80)
ax.hist(before, bins, density=True, color=plots.SKY, alpha=0.6,
        label="all: q(z before | z₀ = 1)")
ax.hist(kept, bins, density=True, color=plots.ORANGE, alpha=0.7,
        label="those with z after ≈ -0.5")
ax.axvline(-0.5, color=plots.BLACK, linestyle="--", linewidth=1)
ax.text(-0.55, 1.05, "z after", ha="right")
ax.set(xlabel="the number one step before", ylabel="density", ylim=(0, 1.5),
       title="Where was it?")
ax.legend(fontsize=8.5)
plots.show(fig)

# %% [markdown] alt
# Two histograms of the number one step before. Of all numbers: broad, around 0.84. Of those that then moved to -0.5:
# narrower, around 0.08, between the two.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Between the two, near 0.08, and more certain: the variance fell from 0.3 to 0.14, which is even less than the 0.2 of
# the step itself.
# </details>
#
# The orange histogram is the **posterior** $q(z_{t-1} \mid z_t, z_0)$. Multiply the two Gaussians (Bayes' rule), and it
# turns out to be a Gaussian itself (Ho et al. 2020, eq. 6 and 7), with $\alpha_t = 1 - \beta_t$:
#
# $$ \tilde\mu_t = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\, z_0
#    + \frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}\, z_t, \qquad
#    \tilde\beta_t = \frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\,\beta_t $$

# %%
def posterior(z0, z_t, now, before):
    """Mean (like z0) and variance (a number) of q(z_{t-1} | z_t, z0); now, before:
    alpha_bar at t and at t - 1."""
    beta = 1 - now / before
    of_z0, of_z_t = math.sqrt(before) * beta, math.sqrt(1 - beta) * (1 - before)
    mean = (of_z0 * z0 + of_z_t * z_t) / (1 - now)
    return mean, (1 - before) / (1 - now) * beta


mean, variance = posterior(1.0, -0.5, now=0.56, before=0.7)
print(f"by the formula: mean {mean:.3f}, variance {variance:.3f}")

# %% [markdown]
# This agrees with the experiment. Now for all 1,000 steps of the schedule: what is the mean mixed from?
#
# > **Predict.** At `t = 500`: is $\tilde\mu_t$ mostly $z_0$ or mostly $z_t$? And at `t = 0`?

# %%
pairs = list(zip(alpha_bar, [1.0, *alpha_bar[:-1]]))  # (now, before) for t = 0 … 999
of_z0 = [posterior(1.0, 0.0, *pair)[0] for pair in pairs]
of_z_t = [posterior(0.0, 1.0, *pair)[0] for pair in pairs]
stds = [math.sqrt(posterior(0.0, 0.0, *pair)[1]) for pair in pairs]

fig, (left, right) = plt.subplots(1, 2, figsize=plots.WIDE)
for ax in (left, right):
    ax.plot(of_z0, color=plots.BLUE, label=r"share of $z_0$")
    ax.plot(of_z_t, "--", color=plots.ORANGE, label=r"share of $z_t$")
    ax.plot(stds, ":", color=plots.GREEN, label="fresh noise")
    ax.set(xlabel="timestep t", ylim=(-0.02, 1.02))
left.set(ylabel="factor", title="All steps")
right.set(xlim=(-1, 40), title="The last forty")
left.legend(loc="center right")
plots.show(fig)

# %% [markdown] alt
# The factors of z0 and of z_t in the posterior's mean, and the standard deviation of its noise, over t. Almost
# everywhere the factor of z_t is nearly 1 and that of z0 nearly 0; only in the last few steps do they cross, and at t =
# 0 that of z0 is 1. The noise is at most 0.14.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# At 500 almost only $z_t$; at 0 only $z_0$. (The right panel is the end of the walk; "fresh noise" is
# $\sqrt{\tilde\beta_t}$.)
# </details>
#
# So: a thousand times, move a tiny bit towards $z_0$ and jiggle; only in the last few steps does $z_0$ take over.
# Therefore **if we had $z_0$, we could walk back.** We do not have it. But a network can *guess* it at each step, from
# $z_t$. And because each guess moves us only a little, a poor early guess does little harm.

# %% [markdown]
# ## What to guess
#
# In $z_t = \sqrt{\bar\alpha_t}\, z_0 + \sqrt{1-\bar\alpha_t}\,\epsilon$ we know the left-hand side. If we know
# $\epsilon$ (`eps`), we know $z_0$:
#
# $$ \hat z_0 = \frac{z_t - \sqrt{1-\bar\alpha_t}\,\hat\epsilon}{\sqrt{\bar\alpha_t}} $$
#
# The hat marks a guess. So a network may predict either. DDPM's predicts the noise, and its loss could not be simpler
# (Ho et al. 2020, eq. 14):
#
# $$ L = \mathbb E\; \big\lVert\, \epsilon - \hat\epsilon(z_t, t)\, \big\rVert^2 $$
#
# where $\mathbb E$ is the mean over random pictures, random $t$ and random noise. (The code also takes the mean over
# the pixels instead of their sum, which only changes the scale. To test it, `half` stands in for a network.) Remember:
# `eps` is *all* the noise in $z_t$, not just that of step $t$.

# %%
def z0_from_eps(eps, z_t, alpha_bar):
    return (z_t - math.sqrt(1 - alpha_bar) * eps) / math.sqrt(alpha_bar)


def loss_of(model, z0, t, eps):
    z_t = schedule.q_sample(z0, t, eps)                       # lesson 02's jump
    return (eps - model(z_t, t)).square().mean()


z0, t = seen[:64], torch.randint(1000, (64,), device=DEVICE)
eps, half = torch.randn_like(z0), lambda z_t, t, context=None: z_t / 2
print(confirm_equal(z0_from_eps(eps, z0, 0.3), package.z0_from_eps(eps, z0, 0.3)))
print(confirm_equal(loss_of(half, z0, t, eps),
                    diffusion_loss(half, schedule, z0, None, t, eps)))

# %% [markdown]
# ## The network
#
# 64 numbers in, 64 out, and between them four blocks of width 384, each of which adds its result to its input. (SiLU is
# a smooth ReLU.) One thing is new: the network must know *how noisy* its input is, so $t$ goes into every block too, as
# 64 cosines and sines. (Lesson 06 explains how and why; for now, take them as a way to write $t$ that a network can
# read.)

# %%
class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.first, self.second = (
            nn.LayerNorm(width),
            nn.Linear(width, width),
            nn.Linear(width, width),
        )
        self.time = nn.Linear(128, width)

    def forward(self, x, t_emb):
        return x + self.second(F.silu(self.first(self.norm(x)) + self.time(t_emb)))


class Denoiser(nn.Module):
    def __init__(self, width=384, blocks=4):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(64, 128), nn.SiLU())
        self.first = nn.Linear(64, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.last = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 64))

    def forward(self, z_t, t):
        t_emb = self.time(timestep_embedding(t, 64))  # (B,) -> (B, 128)
        x = self.first(z_t.flatten(1))                # (B, 1, 8, 8) -> (B, width)
        for block in self.blocks:
            x = block(x, t_emb)
        return self.last(x).view_as(z_t)


torch.manual_seed(0)
model = Denoiser().to(DEVICE)
print(f"{sum(p.numel() for p in model.parameters()):,} parameters")

# %% [markdown]
# ## Training
#
# > **Predict.** A network that always answers 0 has a loss of 1. Where will yours end, averaged over all `t`: near
# > 0.01, near 0.1, near 0.5? And at which `t` is the task hard: with much noise, or with little?

# %%
STEPS, BATCH, LR = full_or_fast(6000, fast=30), 128, 1e-3
optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=(0.9, 0.99),
                              fused=DEVICE.type != "mps")
g, history = seeded(3), []
for step in progress(range(STEPS)):
    # warm up for 100 steps, then half a cosine down to 0
    share = min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / STEPS))
    for group in optimizer.param_groups:
        group["lr"] = LR * share
    z0 = seen[torch.randint(len(seen), (BATCH,), generator=g).to(DEVICE)]
    t = torch.randint(1000, (BATCH,), generator=g).to(DEVICE)
    eps = torch.randn(z0.shape, generator=g).to(DEVICE)
    loss = loss_of(model, z0, t, eps)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    history.append(loss.item())
model.eval().requires_grad_(False)

curve = torch.tensor(history).unfold(0, min(50, STEPS), 1).mean(1)
fig, ax = plt.subplots(figsize=plots.NARROW)
ax.plot(curve, color=plots.BLUE)
ax.set(xlabel="training step", ylabel="loss, mean of 50 steps", ylim=(0, 0.5),
       title="The loss")
plots.show(fig)
print(f"the last 500 steps: {torch.tensor(history[-500:]).mean():.3f}")

# %% [markdown] alt
# The training loss: it falls steeply within the first few hundred steps and then ever more slowly.

# %% [markdown]
# The curve falls steeply for a few hundred steps, then slowly to the end. But it is an average over all $t$, and hides
# what happens at each; so look at each $t$.
#
# For comparison, two guesses that need no network: "there is no noise" ($\hat\epsilon = 0$, loss 1) and "everything is
# noise" ($\hat\epsilon = z_t$, loss $2 - 2\sqrt{1-\bar\alpha_t}$).

# %%
def loss_at(pictures, t):
    eps = torch.randn(pictures.shape, generator=seeded(4)).to(DEVICE)
    return loss_of(model, pictures, torch.full((len(pictures),), t, device=DEVICE),
                   eps).item()


ts = [0, 5, 10, 20, 40, 70, 100, 150, 200, 300, 400, 500, 600, 700, 850, 999]
fig, (left, right) = plt.subplots(1, 2, figsize=plots.WIDE)
for ax in (left, right):
    ax.plot(ts, [loss_at(seen, t) for t in ts], "o-", color=plots.BLUE, markersize=4,
            label="training digits")
    ax.plot(ts, [loss_at(unseen, t) for t in ts], "s--", color=plots.ORANGE,
            markersize=4, label="unseen digits")
    ax.plot([2 - 2 * math.sqrt(1 - a) for a in alpha_bar], ":", color=plots.GREY,
            label="“everything is noise”")
    ax.set(xlabel="timestep t")
left.set(ylabel="loss", ylim=(0, 1.05), title="The loss at each t")
left.legend(fontsize=8.5)
right.set(yscale="log", ylim=(1e-5, 2), title="The same, logarithmic")
plots.show(fig)

# %% [markdown] alt
# The loss over t, for training digits and unseen ones, next to the guess that everything is noise. The network's loss
# falls from about 1 at t = 0 to 0.001 at t = 999; that of the guess falls from 2 and is far higher up to t = 500, but
# lower beyond t = 800. Below t = 200 the loss is clearly higher for unseen digits, later the same.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# It ends at 0.09. The task is hard with *little* noise: there `eps` is a whisper of 1 % that must be told apart from
# the unevenness of a pen stroke. In pure noise, the input itself is the answer.
# </details>
#
# But do not read this as "large $t$ is solved". There, the little that is *not* noise decides which digit it will be.
# And beyond about $t = 750$ the network does worse than "everything is noise" (right panel), because its errors of a
# few hundredths are larger than the signal. What does the network believe it sees?

# %%
moments = (20, 100, 200, 300, 400, 600, 900)
digit = unseen[3:4]
eps = torch.randn(1, 1, 8, 8, generator=seeded(5)).to(DEVICE)
z_ts = torch.cat([schedule.q_sample(digit, torch.tensor([t], device=DEVICE), eps)
                  for t in moments])
eps_hats = model(z_ts, torch.tensor(moments, device=DEVICE))
guesses = torch.stack([z0_from_eps(e, z, alpha_bar[t])
                       for e, z, t in zip(eps_hats, z_ts, moments)])

fig = plots.image_grid([*shown(z_ts), *shown(guesses)], [f"t = {t}" for t in moments],
                       columns=len(moments), rows=["$z_t$", r"$\hat z_0$"], size=1.1)
plots.show(fig)

# %% [markdown] alt
# Above, an unseen digit noised to seven timesteps; below, the network's estimate of the clean digit. Up to t = 200 it
# is nearly the original; then it becomes blurred, at t = 600 it is a grey blob, and at t = 900 black and white noise.

# %% [markdown]
# A squared error is smallest at the *mean* of everything that is possible. With little noise only one digit is
# possible; with much noise many are, and the guess is their average: a blur. That is why you cannot jump from noise to
# a picture in one go, and must walk.
#
# At $t = 900$ not even the average is left. The guess divides by $\sqrt{\bar\alpha_t}$, which is 0.016 there, so every
# error of the network is magnified sixty times. More on that below ("One prediction, four names").

# %% [markdown]
# ## The walk
#
# One step: guess, then sample from the posterior *as if the guess were true*:
#
# $$ z_{t-1} = \tilde\mu_t(\hat z_0, z_t) + \sqrt{\tilde\beta_t}\;\epsilon', \qquad \epsilon' \sim \mathcal N(0, 1)
#    \text{ fresh} $$
#
# At $t = 0$ the step before is the clean picture: $\bar\alpha_{-1} = 1$, so $\tilde\beta_0 = 0$ and no noise is
# added.
#
# > **Predict.** At which `t` will you first recognise a digit in $z_t$? Noised digits were hard to read from 300 on.
# > (The figure shows four walks side by side: $z_t$ above, the guess $\hat z_0$ below.)

# %%
def step(z_t, t, generator):
    """Return z_{t-1}, and the guess of z0 on which it rests."""
    now, before = alpha_bar[t], alpha_bar[t - 1] if t > 0 else 1.0
    eps_hat = model(z_t, torch.full((len(z_t),), t, device=DEVICE))
    z0_hat = z0_from_eps(eps_hat, z_t, now)
    mean, variance = posterior(z0_hat, z_t, now, before)
    if variance == 0:
        return mean, z0_hat
    noise = torch.randn(z_t.shape, generator=generator).to(DEVICE)
    return mean + math.sqrt(variance) * noise, z0_hat


def walk(count, seed):
    """Return, for each t from 999 to 0, (z_t, the guess of z0) before the step; and the
    pictures at the end."""
    z = torch.randn(count, 1, 8, 8, generator=seeded(seed)).to(DEVICE)
    path, generator = {}, seeded(seed + 1)
    for t in progress(range(999, -1, -1), "walking"):
        after, guess = step(z, t, generator)
        path[t] = (z, guess)
        z = after
    return path, z


path, generated = walk(64, seed=10)

# %%
def on_the_way(ax, t):
    rows = [plots.in_a_row(shown(part[:4])) for part in path[t]]  # z_t, and the guess
    plots.plot_image(ax, torch.cat(rows, dim=1), f"t = {t}")


widgets.dial(on_the_way, {"t": range(1000)},
             strip=[{"t": t} for t in (999, 600, 400, 200, 80, 0)],
             size=(3.1, 1.85), columns=3)

# %% [markdown] alt
# Four walks at t = 999, 600, 400, 200, 80 and 0: above z_t, below the guess of the clean digit. The guesses are noise
# at 999, grey blobs at 600, begin to differ by 400, and are digits by 200; z_t itself is readable only near the end.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# From about 200 downwards.
# </details>
#
# The lower row decides long before the upper one shows it. At 600 the four guesses are still alike; by 400 they have
# taken sides. Early steps choose *which* digit, from next to nothing; late steps do the pen strokes.
#
# Now the package's sampler, for one digit, with the same starting noise and the same generator. (A list: the package
# gives each picture a generator of its own.) It visits the timesteps it is given, here all; lesson 12 skips most.

# %%
_, mine = walk(1, seed=10)
z_T = torch.randn(1, 1, 8, 8, generator=seeded(10)).to(DEVICE)
theirs = ddpm(model, z_T, schedule, timesteps(schedule, 1000), generator=[seeded(11)])
# a thousand network calls let rounding errors grow
print(confirm_equal(mine, theirs, tolerance=1e-3))

# %%
fig = plots.image_grid(shown(generated[:32]), columns=8, size=1.0)
plots.show(fig)

# %% [markdown] alt
# Thirty-two digits from the walk, none of which anybody wrote. Most are easy to read.

# %% [markdown]
# ## Are these digits? And are they new?
#
# "Looks fine" is no measurement. Measure the distance of a picture to the *nearest* digit of the training set. A copy
# has distance 0; a picture that is not a digit is far away. Real digits that the network never saw tell us what is
# normal.
#
# > **Predict.** Where should good, new digits lie: closer than the unseen real ones, equally close, or further away?

# %%
def nearest(pictures):
    """Distance to the nearest training digit, per pixel, and which one it is."""
    distance, index = torch.cdist(pictures.flatten(1), seen.flatten(1)).min(1)
    return distance.cpu() / 8, index


noise = torch.randn(300, 1, 8, 8, generator=seeded(6)).to(DEVICE)
fig, ax = plt.subplots(figsize=plots.WIDE)
bins = torch.linspace(0, 1.5, 60)
for name, pictures, colour in (("real, unseen", unseen, plots.ORANGE),
                               ("generated", generated, plots.BLUE),
                               ("noise", noise, plots.GREY)):
    distance = nearest(pictures)[0]
    print(f"{name}: {distance.median():.2f} (the middle half "
          f"{distance.quantile(0.25):.2f} … "
          f"{distance.quantile(0.75):.2f})")
    ax.hist(distance.clamp(max=1.5), bins, density=True, color=colour, alpha=0.6,
            label=name)
ax.set(xlabel="distance to the nearest training digit", ylabel="density",
       title="How digit-like, how new")
ax.legend()
plots.show(fig)

# %% [markdown] alt
# Histograms of the distance to the nearest training digit, for real unseen digits, generated ones and noise. The first
# two overlap; noise lies far to the right.

# %%
index = nearest(generated[:8])[1]
fig = plots.image_grid([*shown(generated[:8]), *shown(seen[index])], columns=8,
                       rows=["generated", "nearest\nreal one"], size=1.0)
plots.show(fig)

# %% [markdown] alt
# Eight generated digits, and below each the training digit that is nearest to it: usually the same digit in another
# handwriting.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Equally close: closer would mean copies, further away no digits. Both medians are 0.34.
# </details>
#
# Equal medians do not rule out a few copies. Look for yourself: the same digit in another handwriting, or the same
# picture? 1,497 digits are few, and the network saw each of them hundreds of times; some copying would be no surprise.
# The gap between the two loss curves above is the same question in another form. Lesson 15 asks it of the tiny model.

# %% [markdown]
# ## One prediction, four names
#
# A network may predict the noise $\epsilon$, or $z_0$, or something between the two: with
# $\sqrt{\bar\alpha} = \cos\varphi$ and $\sqrt{1-\bar\alpha} = \sin\varphi$, $z_t$ moves along an arc from $z_0$ to
# $\epsilon$, and its **velocity** there is (Salimans & Ho 2022, appendix D)
#
# $$ v = \frac{d z_t}{d \varphi} = \sqrt{\bar\alpha}\,\epsilon - \sqrt{1-\bar\alpha}\, z_0 $$
#
# The fourth is the **score**, $-\hat\epsilon / \sqrt{1-\bar\alpha}$: the direction in which pictures become more
# likely (lesson 04).

# %%
def velocity(z0, eps, alpha_bar):
    return math.sqrt(alpha_bar) * eps - math.sqrt(1 - alpha_bar) * z0


def z0_from_velocity(v, z_t, alpha_bar):
    return math.sqrt(alpha_bar) * z_t - math.sqrt(1 - alpha_bar) * v


z0, eps, a = seen[:8], torch.randn(8, 1, 8, 8, generator=seeded(7)).to(DEVICE), 0.3
z_t = math.sqrt(a) * z0 + math.sqrt(1 - a) * eps
v = velocity(z0, eps, a)
print(confirm_equal(v, package.velocity(z0, eps, a)))
print(confirm_equal(z0_from_velocity(v, z_t, a), package.z0_from_velocity(v, z_t, a)))

share = torch.tensor(alpha_bar)
fig, ax = plt.subplots(figsize=plots.NARROW)
ax.plot(0.1 * ((1 - share) / share).sqrt(), color=plots.BLUE,
        label="predicting the noise")
ax.plot(0.1 * (1 - share).sqrt(), "--", color=plots.ORANGE,
        label="predicting the velocity")
ax.axhline(0.1, linestyle=":", color=plots.GREEN, label="predicting $z_0$")
ax.set(xlabel="timestep t", ylabel=r"error in $\hat z_0$", yscale="log",
       title="The effect of an error of 0.1")
ax.legend()
plots.show(fig)

# %% [markdown] alt
# The error in the clean picture that an error of 0.1 in the network's output causes, over t, on a logarithmic scale.
# Predicting the noise: from a thousandth at t = 0 to over 10 at t = 999. Predicting the velocity: never over 0.1.
# Predicting z0: always 0.1.

# %% [markdown]
# With $z_t$ given, each follows from the others; no network knows more than another. What differs is the effect of an
# *error*: in a noise prediction, an error of 0.1 at the end of the schedule moves $\hat z_0$ by 16, and only the
# posterior's caution saves the walk. In a velocity prediction it is harmless everywhere. The tiny model of this course
# predicts the velocity, and so does Stable Diffusion 2 at 768 pixels; Stable Diffusion 1 and XL predict the noise.

# %% [markdown]
# ## Why the plain square is the right loss
#
# Ho et al. start from a bound on the likelihood (lesson 04). Its terms compare two Gaussians of *equal width*: the
# posterior with the true $z_0$, and the one with the guess. Their KL divergence, which measures how far apart they are,
# is the squared distance of the means over twice the variance; and since the means differ only through the guess, it is
#
# $$ \frac{\beta_t^2}{2\,\tilde\beta_t\,\alpha_t\,(1-\bar\alpha_t)}\;\lVert \epsilon - \hat\epsilon \rVert^2 $$
#
# (eq. 12, with $\sigma_t^2 = \tilde\beta_t$). Their one bold move was to *drop the factor*.
#
# > **Predict.** Which `t` gain weight when it is dropped?

# %%
weight = [(1 - now / before) ** 2
          / (2 * posterior(0.0, 0.0, now, before)[1] * (now / before) * (1 - now))
          for now, before in pairs[1:]]

fig, ax = plt.subplots(figsize=plots.NARROW)
ax.plot(range(1, 1000), weight, color=plots.BLUE, label="in the bound")
ax.axhline(sum(weight) / len(weight), color=plots.ORANGE, linestyle="--",
           label="in the plain loss: equal for all t")
ax.set(xlabel="timestep t", ylabel="weight of the squared error", yscale="log",
       title="What was dropped")
ax.legend()
plots.show(fig)

# %% [markdown] alt
# The factor of the squared error over t, on a logarithmic scale: 0.6 at t = 1, a hundredth at t = 100, half of that at
# t = 350, a hundredth again at t = 999. The plain loss weighs all t equally: a line at a hundredth.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# All above about 100. The bound counts bits, so it cares most about the smallest $t$, the last steps of the walk, and
# about grain that no eye sees. The plain loss directs the network to larger $t$, where the picture is decided. Better
# pictures, a slightly worse likelihood: that was the paper's finding.
# </details>

# %% [markdown]
# ## Break it on purpose
#
# Three walks that differ from the right one in half a line:
#
# 1. **no fresh noise**: $z_{t-1} = \tilde\mu_t$;
# 2. **variance for standard deviation**: $\tilde\beta_t\,\epsilon'$ instead of $\sqrt{\tilde\beta_t}\,\epsilon'$;
# 3. **"scaled down and subtracted"**, as the article puts it: $z_{t-1} = z_t - \sqrt{\beta_t}\,\hat\epsilon$.
#
# > **Predict.** The right walk generates digits of many kinds. What do the other three generate, and which two behave
# > alike?

# %%
def broken_walk(change, count=8):
    """A walk with `change(mean, variance, z_t, eps_hat, beta, noise)` in place of the
    right step."""
    z, generator = torch.randn(count, 1, 8, 8,
                               generator=seeded(10)).to(DEVICE), seeded(11)
    for t in reversed(range(1000)):
        now, before = alpha_bar[t], alpha_bar[t - 1] if t > 0 else 1.0
        eps_hat = model(z, torch.full((count,), t, device=DEVICE))
        mean, variance = posterior(z0_from_eps(eps_hat, z, now), z, now, before)
        noise = torch.randn(z.shape, generator=generator).to(DEVICE)
        z = change(mean, variance, z, eps_hat, 1 - now / before, noise)
    return z


walks = {
    "right": broken_walk(
        lambda mean, variance, z, eps_hat, beta, noise: (
            mean + math.sqrt(variance) * noise
        )
    ),
    "no fresh noise": broken_walk(lambda mean, variance, z, eps_hat, beta, noise: mean),
    "variance\nfor std": broken_walk(
        lambda mean, variance, z, eps_hat, beta, noise: mean + variance * noise
    ),
    "subtracted": broken_walk(
        lambda mean, variance, z, eps_hat, beta, noise: z - math.sqrt(beta) * eps_hat
    ),
}
fig = plots.image_grid([image for z in walks.values() for image in shown(z)], columns=8,
                       size=0.9,
                       rows=[f"{name}\nstd {z.std():.2f}" for name, z in walks.items()])
plots.show(fig)

# %% [markdown] alt
# Eight digits from each of four walks, with their standard deviation. Right: different digits, about 1. Without fresh
# noise, and with the variance in place of its root: the same two or three kinds of digit again and again. Subtracted:
# eight times nearly the same digit.

# %% [markdown]
# The first two mistakes behave alike: $\tilde\beta_t \le 0.02$ is next to nothing as a standard deviation. Every step
# removes noise and hardly any comes back, so the differences between the eight starting points die out before the
# picture is decided, and most walks end in the same few digits. (DDIM needs no fresh noise, but it does not use this
# mean: lesson 12.)
#
# The last walk subtracts far too much: at large `t` a seventh of everything at each step, so that after a few dozen
# steps nothing is left of its starting point, and all walks end alike. The signal shrank on the way to noise; it must
# be stretched on the way back.

# %% [markdown]
# ## What the article says
#
# - *The predicted noise is scaled down and subtracted.* Roughly. Taken literally it fails, as you saw. Instead,
#   estimate $z_0$ and mix it with $z_t$; DDPM then adds fresh noise.
# - *The model predicts the noise that was added at each step.* No: all the noise in $z_t$.
# - *It is a Markov chain on images.* In latent diffusion, on latents. And training draws `t` at random; it never runs
#   the chain.
# - *Sampling is the reverse process.* Yes; in practice with guidance (lesson 12).

# %% [markdown]
# ## Three quick questions
#
# **1.** Why does training not need a single step of the walk?
#
# <details><summary>Answer</summary>
#
# The loss at $t$ needs only $z_t$, which one jump gives. Each $t$ is a task of its own.
# </details>
#
# **2.** At `t = 999` an error of 0.1 moves $\hat z_0$ by 16. Why does the walk survive it?
#
# <details><summary>Answer</summary>
#
# The posterior takes only $\sqrt{\bar\alpha_{998}}\,\beta_{999} / (1-\bar\alpha_{999}) \approx 0.00013$ of it: an error
# of 0.002.
# </details>
#
# **3.** A walk of 1,000 steps takes seconds with this network. What would it take with Stable Diffusion's U-Net, at 50
# ms per call?
#
# <details><summary>Answer</summary>
#
# 50 seconds per picture. Hence samplers that skip: DDIM and DPM-Solver++ need 20 to 50 calls (lesson 12).
# </details>

# %% [markdown]
# ## Exercises
#
# `../exercises/03_reverse_diffusion.ipynb`: convert between noise, velocity and score, and write the posterior's mean
# and variance and the loss; each is checked at once.
#
# To try here: walk twice from the same $z_T$ with different generators. Is it the same digit? Sample with $\beta_t$ in
# place of $\tilde\beta_t$ (the paper tried both): what changes? Train for a tenth of the steps: which `t` suffer?

# %% [markdown]
# ## What next
#
# You have a diffusion model: a schedule, a loss, a network and a walk. Lesson 04 meets it twice more, in 2015 and
# 2019, under other names. Lesson 05 makes it affordable for large pictures. The package's version of this lesson is
# the second half of `tinyldm/forward_diffusion.py`, and `ddpm` in `tinyldm/reverse_diffusion.py`.
