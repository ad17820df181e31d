# %% [markdown]
# # 06 · The ResBlock: telling a network how noisy its input is
#
# **Goal.** Build the block that a U-Net is mostly made of, and the clock that tells it the time.
#
# **Time.** 40 minutes to read and play; the cells compute for under half a minute on 2 CPU cores.
#
# **Before this.** Lessons 02 and 03. You should know convolutions (3 × 3, padding, stride) and `nn.Module`.
#
# **You will be able to**
# - write a timestep as a vector, and say why one number would not do;
# - build a ResBlock that equals Stable Diffusion's, weight for weight;
# - show what `t` does inside it, and how one setting of GroupNorm silently erases `t`;
# - say how far a block sees.

# %%
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

from tinyldm import NoiseSchedule, to_unit
from tinyldm import resblock as package
from tinyldm.data.digits import Digits
from tinyldm.forward_diffusion import scaled_linear_betas
from tinyldm.machine import choose_device
from tinyldm_course.lessons import plots, widgets
from tinyldm_course.lessons.helpers import (
    confirm_equal,
    full_or_fast,
    photograph,
    progress,
)
from tinyldm_course.lessons.model_map import show_model_map

plots.use_style()
DEVICE = choose_device()     # CUDA, else Apple's MPS, else the CPU
torch.manual_seed(0)
print("This lesson runs on", DEVICE.type)

# %% [markdown]
# ## Where we are
#
# One network removes noise at *every* level: a whisper at `t = 10`, a storm at `t = 900`. The two tasks have little in
# common, so the network must be told which one it faces. The ResBlock is where it is told.

# %%
show_model_map("ResBlock")

# %% [markdown]
# ## How to write the time
#
# `t` is a whole number from 0 to 999. Why not simply give the network $t / 1000$? Because `t = 10` and `t = 14` would
# be 0.010 and 0.014: nearly the same to a linear layer; yet in those four steps the noise grows by a sixth.
#
# A clock has the same problem, a long day and short seconds, and solves it with several hands. The slow hand says
# roughly what time it is, the fast one exactly.

# %% [markdown]
# Give each hand a speed $f_i$ and write down where its tip is, as cosine and sine of its angle:
#
# $$ \operatorname{emb}(t) = \big[\cos(t f_0), \dots, \cos(t f_{n-1}),\ \sin(t f_0), \dots, \sin(t f_{n-1})\big],
# \qquad f_i = 10000^{-i/n} $$
#
# (Vaswani et al. 2017, § 3.5, there for positions in a sentence; Ho et al. 2020, appendix B, for `t`.) $n$ (`half`)
# is the number of hands. The fastest turns once in 6 timesteps. With many hands the slowest takes almost 10,000 times
# as long, so it has not moved far when $t$ ends (with $n = 2$ it takes only 100 times as long).
#
# > **Predict.** With $n = 2$, what are the four numbers for $t = 0$? And which two have hardly changed at $t = 1$?

# %%
def timestep_embedding(t, dim):
    """t (B,) -> (B, dim): dim / 2 cosines, then dim / 2 sines."""
    half = dim // 2
    exponent = torch.arange(half, device=t.device) / half  # (half,) from 0 to almost 1
    f = torch.exp(-math.log(10_000) * exponent)  # from 1 down to almost 1 / 10,000
    angle = t[:, None] * f  # (B,) -> (B, half)
    return torch.cat([angle.cos(), angle.sin()], dim=1)


print("t = 0:", timestep_embedding(torch.tensor([0]), 4)[0])
print("t = 1:", timestep_embedding(torch.tensor([1]), 4)[0])

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# At $t=0$ all cosines are 1 and all sines 0: $(1, 1, 0, 0)$. At $t = 1$ the fast hand (numbers 1 and 3) has moved by
# one radian, the slow one (2 and 4) by a hundredth: number 4 has changed by 0.01, number 2 by even less.
# </details>
#
# All cosines first, then all sines: every Stable Diffusion checkpoint was trained with this order. Many texts (and the
# original for sentences) alternate them: just as good for a new network, useless with an existing checkpoint.

# %%
t = torch.randint(1000, (64,))
# 320, as in Stable Diffusion
print(confirm_equal(timestep_embedding(t, 320), package.timestep_embedding(t, 320)))

# %% [markdown]
# Turn the time yourself. Each clock below is one pair (cosine, sine). Which hand distinguishes `t = 10` from `t = 12`,
# and which distinguishes 10 from 900?

# %%
def plot_clocks(ax, t):
    n = 5
    for i in range(n):
        emb = timestep_embedding(torch.tensor([t]), 2 * n)[0]
        x, y = emb[i].item(), emb[n + i].item()
        ax.add_patch(plt.Circle((2.4 * i, 0), 1, fill=False, color=plots.GREY))
        ax.plot([2.4 * i, 2.4 * i + x], [0, y], color=plots.CYCLE[i], linewidth=2.5)
        ax.text(2.4 * i, -1.5, f"$f_{i}$", ha="center")
    ax.set(xlim=(-1.2, 10.8), ylim=(-1.9, 1.2), aspect="equal")
    ax.set_title(f"t = {t}", loc="center")
    plots.hide_axes(ax)


widgets.dial(plot_clocks, {"t": range(0, 1000)},
             strip=[{"t": t} for t in (10, 12, 900)], size=(3.0, 1.1))

# %% [markdown] alt
# Five clock hands, from fast to slow, at t = 10, 12 and 900. From 10 to 12 only the two fast hands move visibly; from
# 12 to 900 the slow ones do, too.

# %%
table = timestep_embedding(torch.arange(1000), 64)                 # (1000, 64)
# (1000,) similarity to t = 500
near = F.normalize(table, dim=1) @ F.normalize(table[500], dim=0)

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), width_ratios=[3, 2])
plots.heat_map(left, table.T, "timestep t", "index in the embedding",
               "All timesteps, 64 numbers each")
left.axhline(31.5, color=plots.BLACK, linewidth=0.8)
left.text(985, 29, "cosines", ha="right")
left.text(985, 60, "sines", ha="right")
right.plot(near, color=plots.BLUE)
right.set(xlabel="timestep t", ylabel="cosine similarity to t = 500",
          title="Neighbours are similar")
plots.show(fig)

# %% [markdown] alt
# Left: a heat map of the embedding, timesteps across and its 64 numbers down. The first rows of each half change sign
# every few timesteps and look like fine stripes, the later rows change ever more slowly. Right: the similarity of each
# timestep to t = 500, a sharp peak there with gently falling, rippled sides.

# %% [markdown]
# The fast hands tell 10 from 12. By 900 they have gone round many times; the two slowest, not even once: they tell 10
# from 900 beyond doubt.
#
# In the map, each column is the signature of one timestep: fine stripes at the top of each half (the fast hands),
# hardly any change at the bottom (the slow ones). The plot on the right shows the benefit: apart from its ripples, the
# similarity falls with the distance. What the network learns for 500 helps it at 501.

# %% [markdown]
# ## A small network for the time
#
# Nothing in the embedding is learnt. Before the blocks get it, a small learnt network mixes its numbers, once for the
# whole U-Net: linear, SiLU, linear. Its output is called $t_{emb}$ (`t_emb`, of width $D_t$, four times the width of
# the embedding).
#
# SiLU is $x \cdot \sigma(x)$ with the logistic function $\sigma$: a smooth relative of ReLU that lets a little of the
# negative side through.

# %%
class TimeMLP(nn.Module):
    def __init__(self, in_dim, out_dim):
        super().__init__()
        self.linear1 = nn.Linear(in_dim, out_dim)
        self.linear2 = nn.Linear(out_dim, out_dim)

    def forward(self, sinusoids):
        # no SiLU after the second: each block has its own
        return self.linear2(F.silu(self.linear1(sinusoids)))

# %% [markdown]
# ## The block
#
# Now follow a feature map $x$ (`x`, shape `(B, C, H, W)`: $C$ channels, each a picture of $H \times W$) through the
# block:
#
# 1. **GroupNorm**: normalise it to mean 0 and variance 1;
# 2. **SiLU**;
# 3. a 3 × 3 **convolution**;
# 4. add the **time**: one number for each channel, the same at all pixels;
# 5. GroupNorm, SiLU and convolution **once more**;
# 6. **add the input**: the block only learns a *change*. Hence "residual" (He et al. 2016).

# %% [markdown]
# GroupNorm is the part that people most easily get wrong. It splits the channels of each picture into groups, and takes
# mean and variance over *all pixels and all channels of a group*:
#
# $$ \hat x = \gamma \, \frac{x - \mathrm{mean}}{\sqrt{\mathrm{var} + \varepsilon}} + \delta $$
#
# (Wu & He 2018, eq. 1 and 2; $\gamma$, `weight`, and $\delta$, `bias`, are learnt, one per channel; the small
# $\varepsilon$, `eps`, is not the noise: it only prevents a division by 0.)
#
# > **Predict.** Two channels in one group, one pixel each, with values 1 and 3. What comes out ($\gamma = 1$, $\delta
# > = 0$)? And with two groups of one channel each?

# %%
def group_norm(x, groups, weight, bias, eps=1e-5):
    B, C, H, W = x.shape
    together = x.reshape(B, groups, -1)  # (B, groups, C / groups · H · W)
    mean = together.mean(-1, keepdim=True)
    var = together.var(-1, keepdim=True, unbiased=False)
    normal = ((together - mean) / (var + eps).sqrt()).reshape(B, C, H, W)
    return normal * weight[:, None, None] + bias[:, None, None]


x = torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1)
for groups in (1, 2):
    print(groups, "group(s):",
          group_norm(x, groups, torch.ones(2), torch.zeros(2)).flatten().tolist())
x, gamma, delta = torch.randn(2, 8, 5, 5), torch.randn(8), torch.randn(8)
print(confirm_equal(group_norm(x, 4, gamma, delta), F.group_norm(x, 4, gamma, delta),
                    claim="Yours equals PyTorch's"))

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# One group: mean 2, variance 1, so -1 and 1 (almost, because of $\varepsilon$). Two groups: each value *is* its own
# mean, and both become 0. The difference between the channels is gone. Remember this; it comes back as a bug.
# </details>

# %%
class ResBlock(nn.Module):
    def __init__(self, in_channels, out_channels, t_emb_dim, groups):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_proj = nn.Linear(t_emb_dim, out_channels)
        self.norm2 = nn.GroupNorm(groups, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Identity()    # the input passes unchanged …
        if in_channels != out_channels:  # … or to another width, by a 1 × 1 one
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x, t_emb):
        h = self.conv1(F.silu(self.norm1(x)))  # 1-3: (B, C_out, H, W)
        shift = self.time_proj(F.silu(t_emb))  # (B, D_t) -> (B, C_out)
        h = h + shift[:, :, None, None]        # 4: to every pixel
        h = self.conv2(F.silu(self.norm2(h)))  # 5
        return self.shortcut(x) + h            # 6

# %% [markdown]
# That is all: 12 lines that matter; the numbers in the comments are those of the list. To compare it with the
# package's, give both the *same weights*. They only fit if every layer has the same name and shape; and then the
# outputs must agree, number by number.

# %%
theirs = package.ResBlock(32, 64, t_emb_dim=128, groups=8).to(DEVICE)
mine = ResBlock(32, 64, t_emb_dim=128, groups=8).to(DEVICE)
mine.load_state_dict(theirs.state_dict())

x, t_emb = torch.randn(4, 32, 16, 16, device=DEVICE), torch.randn(4, 128, device=DEVICE)
print(confirm_equal(mine(x, t_emb), theirs(x, t_emb)))

# %% [markdown]
# ## Look inside
#
# Send the photograph (turned into 32 channels) through an untrained block, and look at one channel after each layer.
# All pictures share one scale: blue is negative, orange positive. (We raise this channel's time bias by hand, to make
# its effect visible.)

# %%
photo = (photograph(96) * 2 - 1).to(DEVICE)
to_features = nn.Conv2d(3, 32, 3, padding=1).to(DEVICE)
block = ResBlock(32, 32, t_emb_dim=128, groups=8).to(DEVICE)
block.time_proj.bias.data[5] += 0.9  # by hand: the effect of the time, easier to see

with torch.no_grad():
    x = to_features(photo[None])
    stages = {"x": x, "norm1": block.norm1(x)}
    stages["SiLU"] = F.silu(stages["norm1"])
    stages["conv1"] = block.conv1(stages["SiLU"])
    stages["+ time"] = (
        stages["conv1"] + block.time_proj(F.silu(t_emb[:1]))[:, :, None, None]
    )
    stages["norm2, SiLU"] = F.silu(block.norm2(stages["+ time"]))
    stages["conv2"] = block.conv2(stages["norm2, SiLU"])
    stages["x + conv2"] = x + stages["conv2"]

fig, axes = plt.subplots(1, 8, figsize=(9.4, 1.6))
for ax, (name, maps) in zip(axes, stages.items()):
    ax.imshow(maps[0, 5].cpu(), cmap=plots.DIVERGING, vmin=-2.5, vmax=2.5)
    ax.set_title(name, loc="center", fontsize=8.5)
    plots.hide_axes(ax)
plots.show(fig)

# %% [markdown] alt
# One channel of the flower after each layer of the block: the input; normalised, with stronger contrast; SiLU, the
# negative side flattened; the first convolution, faint edges; the time added, the whole map shifted to orange; norm and
# SiLU; the second convolution; and the sum of the first map and the seventh, an orange flower on a pale ground.

# %% [markdown]
# Compare the fourth picture with the fifth: adding the time shifts the whole channel, every pixel alike. And the last
# picture is the first plus the seventh: the block only *adds* to its input.

# %% [markdown]
# ## Does it matter? Train with and without
#
# Two small denoisers for the 8 × 8 digits that differ in one thing: one is told `t`, the other always gets zeros in
# place of `t_emb`. Each is a convolution, two of your ResBlocks, and a convolution back; the task is that of lesson 03:
# find the noise `eps` in `z_t`.
#
# > **Predict.** The second never learns how noisy its input is. At which `t` will it be worse: small, medium, large? Is
# > it twice as bad, or ten times?

# %%
class Denoiser(nn.Module):
    def __init__(self, told, width=32, groups=8):
        super().__init__()
        self.told = told
        self.time_mlp = TimeMLP(32, 128)
        self.conv_in = nn.Conv2d(1, width, 3, padding=1)
        self.blocks = nn.ModuleList(ResBlock(width, width, 128, groups)
                                    for _ in range(2))
        self.norm_out = nn.GroupNorm(groups, width)
        self.conv_out = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, z_t, t):
        t_emb = self.time_mlp(timestep_embedding(t, 32))
        x = self.conv_in(z_t)
        for block in self.blocks:
            x = block(x, t_emb if self.told else torch.zeros_like(t_emb))
        return self.conv_out(F.silu(self.norm_out(x)))


data = Digits(8)
digits = torch.stack([data[i][0][:1] for i in range(len(data))])  # (1797, 1, 8, 8)
digits = (digits / digits.std()).to(DEVICE)  # variance 1: lesson 02
schedule = NoiseSchedule(scaled_linear_betas()).to(DEVICE)

# %%
def train(told, steps, groups=8):
    torch.manual_seed(0)  # the same initial weights and the same digits for all
    model = Denoiser(told, groups=groups).to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in progress(range(steps), "training"):
        z0 = digits[torch.randint(len(digits), (64,))]
        t = torch.randint(1000, (64,)).to(DEVICE)
        eps = torch.randn(64, 1, 8, 8).to(DEVICE)
        loss = (model(schedule.q_sample(z0, t, eps), t) - eps).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@torch.no_grad()
def losses(model, ts):
    torch.manual_seed(1)
    eps = torch.randn(len(digits), 1, 8, 8).to(DEVICE)
    every = [torch.full((len(digits),), t, device=DEVICE) for t in ts]
    return [(model(schedule.q_sample(digits, t, eps), t) - eps).square().mean().item()
            for t in every]


STEPS = full_or_fast(400, fast=10)
told, untold = train(True, STEPS), train(False, STEPS)

# %%
ts = (0, 5, 20, 60, 120, 250, 400, 550, 700, 850, 999)
with_t, without_t = losses(told, ts), losses(untold, ts)


def over_told(model_losses):
    return [b / a for a, b in zip(with_t, model_losses)]


def plot_ratio(ax, name, ratio, colour, marker):
    ax.plot(ts, ratio, marker + "--", color=colour, markersize=4, label=name)
    ax.axhline(1, color=plots.BLUE)
    ax.set(xlabel="timestep t", ylim=(0, 6.5), title="Loss, divided by that of told t")


fig, (left, right) = plt.subplots(1, 2, figsize=plots.WIDE)
left.plot(ts, with_t, "o-", color=plots.BLUE, markersize=4, label="told t")
left.plot(ts, without_t, "s--", color=plots.ORANGE, markersize=4, label="not told")
left.set(xlabel="timestep t", ylabel="mean squared error of eps", yscale="log",
         title="The loss at each t")
left.legend()
plot_ratio(right, "not told", over_told(without_t), plots.ORANGE, "s")
plots.show(fig)
print("loss without t over loss with t:",
      ", ".join(f"{r:.2f} at {t}" for t, r in zip(ts, over_told(without_t))))

# %% [markdown] alt
# Left: the loss of the two denoisers over t, on a logarithmic axis. Both fall from near 1 at t = 0 to a hundredth or
# less at t = 999. Right: the loss of the one that is not told t, divided by the other's: close to 1 up to t = 700, then
# rising steeply to about 4 at t = 999.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Less than you may have thought: up to `t = 700` its loss is higher by 5 to 19 %, at `t = 999` it is four times as
# high.
# </details>
#
# At most `t` the network can *see* how noisy a picture is, and hardly needs
# telling. At the very end it cannot see well enough: the best answer there is "everything is noise",
# $\hat\epsilon \approx z_t$, and to give exactly that answer it must know that this *is* the end. Sampling starts
# there, and there an error in $\hat\epsilon$ is magnified most (lesson 03): telling it pays.

# %% [markdown]
# ## The same block at t = 10 and at t = 900
#
# Now keep the picture fixed and lie about the time. One noised digit, one trained network; only `t` differs.
#
# > **Predict.** The digit was noised to `t = 300`. The network is told `t = 10`. Will it find too much noise, or too
# > little?

# %%
z_t = schedule.q_sample(digits[3:4], torch.tensor([300], device=DEVICE),
                        torch.randn(1, 1, 8, 8).to(DEVICE))


@torch.no_grad()
def features(t):
    """The first block's change to its input, and the noise that the network predicts,
    when it is told t."""
    t = torch.tensor([t], device=DEVICE)
    t_emb = told.time_mlp(timestep_embedding(t, 32))
    x = told.conv_in(z_t)
    return (told.blocks[0](x, t_emb) - x)[0], told(z_t, t)[0]


both = {t: features(t) for t in (10, 900)}
strength = [change.square().mean((1, 2)).sqrt() for change, _ in both.values()]
order = (strength[1] / strength[0]).argsort().tolist()  # of the 32 channels
shown = order[-3:] + order[:3]  # three that grow most, three that shrink most

fig, axes = plt.subplots(2, 7, figsize=(9.2, 2.7))
for row, (t, (change, eps_hat)) in zip(axes, both.items()):
    for ax, channel in zip(row, shown):
        ax.imshow(change[channel].cpu(), cmap=plots.DIVERGING, vmin=-2, vmax=2)
    row[6].imshow(eps_hat[0].cpu(), cmap=plots.DIVERGING, vmin=-3, vmax=3)
    row[0].set_ylabel(f"told t = {t}\nnoise std {eps_hat.std():.2f}", rotation=0,
                      ha="right", va="center")
for ax, name in zip(axes[0], [f"channel {i}" for i in shown] + ["noise found"]):
    ax.set_title(name, loc="center", fontsize=8.5)
for ax in axes.flat:
    plots.hide_axes(ax)
plots.show(fig)
print("of all 32 channels,", int((strength[1] > 1.5 * strength[0]).sum()),
      "are at least half as strong again at 900, and",
      int((strength[0] > 1.5 * strength[1]).sum()), "at 10")

# %% [markdown] alt
# Six channels of what the first block adds, and the noise that the network finds, for one noised digit: above when told
# t = 10, below when told t = 900. Three channels are faint above and strong below, three the other way round; the noise
# found is stronger above.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Too much: a standard deviation of 1.56, although the true noise has about 1. At `t = 10` noise has the factor 0.1, at
# `t = 300` about 0.64: a network that fully believed in `t = 10` would find six times too much. This one also looks at
# the picture, and finds half too much.
# </details>

# %% [markdown]
# Same weights, same input, different features: half of all channels are clearly stronger at `t = 900`, a fifth at
# `t = 10`. The time adds one number to each channel; a channel that it pushes far down is shut by the next SiLU. So the
# time decides *which detectors are on*. On the left are these numbers. On the right you see their effect on the digit
# above: how many of a channel's pixels are still on (positive) when they enter SiLU.

# %%
with torch.no_grad():
    every_fifth = torch.arange(0, 1000, 5, device=DEVICE)
    t_emb = told.time_mlp(timestep_embedding(every_fifth, 32))
    shifts = told.blocks[0].time_proj(F.silu(t_emb))  # (200, 32): one per channel and t

    first = told.blocks[0]
    h = first.conv1(F.silu(first.norm1(told.conv_in(z_t))))  # (1, 32, 8, 8)
    h = first.norm2(h + shifts[:, :, None, None])            # (200, 32, 8, 8)
    on = (h > 0).float().mean((2, 3))                        # (200, 32)

fig, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.6))
plots.heat_map(left, shifts.T, "timestep t", "channel", "Added to each channel",
               extent=(0, 1000, 31.5, -0.5))
plots.heat_map(right, on.T, "timestep t", "channel", "Share of its pixels that are on",
               signed=False, vmin=0, vmax=1, extent=(0, 1000, 31.5, -0.5))
plots.show(fig)
moved = (on[180] - on[2]).abs()  # t = 900 and t = 10
print(f"from t = 10 to t = 900 the share moves by more than a quarter in "
      f"{int((moved > 0.25).sum())} of 32 channels, by more than half in "
      f"{int((moved > 0.5).sum())}")

# %% [markdown] alt
# Two heat maps of the 32 channels over t. Left, the number that the time adds: most rows are pale at small t and become
# strongly blue or orange towards t = 999; a few change sign on the way. Right, the share of pixels that are on: rows
# brighten where the number rises, and darken where it falls.

# %% [markdown]
# ## Start as nothing: zero-initialised residuals
#
# A U-Net stacks many of these blocks; Stable Diffusion's has 22. If each adds something random at the start, the signal
# is badly distorted by the time it has passed them all. The original code (`zero_module` in CompVis) has a remedy: it
# sets the *last* convolution of each block to zero when training begins. Each block then passes its input on unchanged,
# and learns its change from there.
#
# > **Predict.** The photograph's features pass through 30 untrained blocks with the usual start. What does their
# > standard deviation do: stay the same, grow like the number of blocks, or grow like its square root?

# %%
def through(number, zero):
    """The features of the photograph after `number` untrained blocks, and their
    standard deviations on the way."""
    torch.manual_seed(2)
    x, t_emb = to_features(photo[None]), torch.randn(1, 128, device=DEVICE)
    x = x / x.std()
    stds = [x.std().item()]
    for _ in range(number):
        block = ResBlock(32, 32, 128, groups=8).to(DEVICE)
        if zero:
            nn.init.zeros_(block.conv2.weight)
            nn.init.zeros_(block.conv2.bias)
        x = block(x, t_emb)
        stds.append(x.std().item())
    return x[0, 5], stds


with torch.no_grad():
    shown = [through(n, zero) for zero in (False, True) for n in (0, 5, 30)]

fig, ax = plt.subplots(figsize=plots.NARROW)
ax.plot(shown[2][1], color=plots.ORANGE, label="usual start")
ax.plot(shown[5][1], "--", color=plots.BLUE, label="zero start")
growth = (shown[2][1][-1] ** 2 - 1) / 30  # of the variance, per block
ax.plot([(1 + growth * n) ** 0.5 for n in range(31)], ":", color=plots.GREY,
        label="a square root")
ax.set(xlabel="blocks passed", ylabel="standard deviation", ylim=(0, None),
       title="Thirty untrained blocks")
ax.legend()
plots.show(fig)

# %% [markdown] alt
# The standard deviation of the features over the number of blocks. With the usual start it grows like a square root,
# with the zero start it stays at 1.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Like the square root. Each block normalises its input, so each adds something random of about the same variance; and
# variances add (lesson 02 again).
# </details>
#
# And what becomes of the picture? Each map is divided by its own standard deviation here, to compare their contents:

# %%
pictures = [to_unit(maps / maps.std() / 2.5) for maps, _ in shown]
fig = plots.image_grid(pictures, ["before", "after 5", "after 30 blocks"], columns=3,
                       rows=["usual start", "zero start"], size=1.4)
plots.show(fig)

# %% [markdown] alt
# One channel of the flower before, after 5 and after 30 untrained blocks. With the usual start light and dark are
# reversed and the background fills with random texture; with the zero start all three are the same.

# %% [markdown]
# The package's `ResBlock` starts in the usual way, because it mostly *loads* weights;
# with only 8 blocks, as in the tiny model, less is at stake. With Stable Diffusion's 22 you would want the zeros.

# %% [markdown]
# ## How far does a block see?
#
# A pixel of the output depends on some pixels of the input: its *receptive field*. We can measure it: take the gradient
# of one output pixel with respect to the input, and see where it is not zero.
#
# > **Predict.** One block has two 3 × 3 convolutions. How large is the patch that one output pixel sees? And after four
# > blocks in a row?

# %%
def seen(number):
    """|gradient| of the middle output pixel after `number` blocks, for each input
    pixel: (33, 33)."""
    torch.manual_seed(3)
    blocks = [ResBlock(16, 16, 128, groups=4).to(DEVICE) for _ in range(number)]
    x = torch.randn(1, 16, 33, 33, device=DEVICE, requires_grad=True)
    h = x
    for block in blocks:
        h = block(h, torch.zeros(1, 128, device=DEVICE))
    return torch.autograd.grad(h[0, :, 16, 16].sum(), x)[0][0].abs().sum(0)


fig, axes = plt.subplots(1, 3, figsize=(9, 2.9))
for ax, number in zip(axes, (1, 2, 4)):
    plots.heat_map(ax, (seen(number) + 1e-12).log10(), "x", "y",
                   f"{number} block{'s' * (number > 1)}", signed=False,
                   vmin=-4, vmax=1, aspect="equal")
axes[-1].images[0].colorbar.set_label("log₁₀ |gradient|")
plots.show(fig)

# %% [markdown] alt
# Where the middle output pixel looks, on a logarithmic scale, after 1, 2 and 4 blocks: a bright square of 5 and of 9
# pixels on a side, then a spot of about 12 that fades before the edge of its 17. Far outside, the gradient is hundreds
# to thousands of times smaller than in the middle, but not zero.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# 5 × 5: each convolution adds a pixel on every side. Four blocks: 17 × 17, though the rim of that square is almost as
# faint as the outside, because few paths lead there.
# </details>
#
# The faint light *outside* the square is no mistake: GroupNorm takes mean and variance over the whole picture, so every
# pixel has a whisper of influence everywhere. But that influence does not say *where* the pixel is. To compare two
# distant corners, a network of such blocks must first shrink the picture (next section), or use attention (lesson 07).

# %% [markdown]
# ## Halving and doubling
#
# Two more layers and the file `resblock.py` is complete. Down: a convolution that moves two pixels at a time (stride
# 2). Up: repeat each pixel 2 × 2, then a convolution.

# %%
class Downsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x):
        return self.conv(x)  # -> (B, C, H/2, W/2)


class Upsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        # -> (B, C, 2H, 2W)
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


x = torch.randn(2, 16, 8, 8, device=DEVICE)
pairs = ((Downsample(16), package.Downsample(16)), (Upsample(16), package.Upsample(16)))
for yours, their in pairs:
    yours.load_state_dict(their.state_dict())
    print(confirm_equal(yours.to(DEVICE)(x), their.to(DEVICE)(x)))

# %% [markdown]
# Halving also changes how far the layers *after* it see, because their neighbours are now two pixels apart. Measure it
# in one dimension, with the gradient again. A layer is written as (kernel, stride).
#
# > **Predict.** Two layers of kernel 3 see 5 pixels. How many do they see if the first has stride 2? And if the
# > *second* has?

# %%
def sees(*layers):
    """How many pixels of a row, from first to last, one output of these layers sees."""
    row = torch.zeros(1, 1, 64, requires_grad=True)
    x = row
    for kernel, stride in layers:
        x = F.conv1d(x, torch.ones(1, 1, kernel), stride=stride)
    seen = torch.autograd.grad(x[0, 0, 0], row)[0][0, 0].nonzero()
    return int(seen.max() - seen.min()) + 1


for layers in (((3, 1), (3, 1)), ((3, 2), (3, 1)), ((3, 1), (3, 2)),
               ((4, 1), (3, 1)), ((4, 2), (4, 2), (3, 1))):
    print(f"{str(layers):26} sees {sees(*layers):2}")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# 7: the second layer's three inputs are two pixels apart, so each of its two steps to a neighbour counts double. A
# stride in the *last* layer changes nothing: no later layer looks across it. Even kernels follow the same rule; they
# only have no middle pixel. (An exercise asks for the rule.)
# </details>
#
# Why not a *transposed* convolution, which doubles in one go? With a kernel of 3 and a stride of 2, its output pixels
# are covered by one, two or four input pixels in turn: even equal inputs come out unequal, and training must first
# learn to undo that pattern. Feed both layers a plain grey picture, untrained:

# %%
torch.manual_seed(4)
grey = torch.ones(1, 1, 12, 12)
with torch.no_grad():
    both = {"repeat, then convolve": Upsample(1)(grey),
            "transposed": nn.ConvTranspose2d(1, 1, 3, 2, 1, 1)(grey)}

fig, axes = plt.subplots(1, 2, figsize=(6.5, 3))
for ax, (name, y) in zip(axes, both.items()):
    inner = y[0, 0, 3:-3, 3:-3]  # without the border, where zeros were padded
    plots.heat_map(ax, inner - inner.mean(), "x", "y", name, vmax=0.5, aspect="equal")
plots.show(fig)

# %% [markdown] alt
# A plain grey picture, doubled in size in two ways, with its mean subtracted. Repeating and convolving leaves it plain;
# the transposed convolution puts a checkerboard on it.

# %% [markdown]
# ## Break it on purpose
#
# A harmless-looking change: as many GroupNorm groups as channels (`groups=32` for 32 channels, also known as
# *instance norm*). The shapes fit, nothing complains, the network trains.
#
# > **Predict.** What does the block now output at `t = 10` and at `t = 900`? (Think of the two groups of one channel
# > above.)

# %%
two_times = torch.tensor([10, 900], device=DEVICE)
t_emb = told.time_mlp(timestep_embedding(two_times, 32))  # (2, 128)
x = torch.randn(1, 32, 16, 16, device=DEVICE).expand(2, -1, -1, -1)  # one input
differences = {}
for groups in (1, 2, 4, 8, 16, 32):
    torch.manual_seed(5)
    early, late = ResBlock(32, 32, 128, groups).to(DEVICE)(x, t_emb).detach()
    differences[groups] = (early - late).square().mean().sqrt().item()

fig, ax = plt.subplots(figsize=plots.NARROW)
ax.bar([str(g) for g in differences], list(differences.values()), color=plots.BLUE)
ax.set(xlabel="GroupNorm groups (of 32 channels)",
       ylabel="difference, t = 10 to t = 900",
       title="How much t changes the block's output")
for i, value in enumerate(differences.values()):
    ax.text(i, value, f"{value:.3f}", ha="center", va="bottom", fontsize=8.5)
plots.show(fig)

# %% [markdown] alt
# How much the block's output differs between t = 10 and t = 900: about 0.3 for 1, 2, 4, 8 and 16 groups, and zero for
# 32 groups, one channel per group.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# The same at both: the difference is 0.000. The time is one number for a whole channel, and the next GroupNorm
# subtracts the mean of each group. If the group *is* the channel, the number is subtracted again at once.
# </details>
#
# **The network is deaf to `t`**, and there is no error message. Train it like the two above, and compare it with the
# one that was never told:

# %%
deaf = losses(train(True, STEPS, groups=32), ts)

fig, ax = plt.subplots(figsize=plots.NARROW)
plot_ratio(ax, "not told", over_told(without_t), plots.ORANGE, "s")
plot_ratio(ax, "told, but deaf: 32 groups", over_told(deaf), plots.PINK, "^")
ax.legend()
plots.show(fig)
print("its loss over that of told t:",
      ", ".join(f"{r:.2f} at {t}" for t, r in zip(ts, over_told(deaf))))

# %% [markdown] alt
# The loss of two denoisers over t, divided by the loss of the one that is told t: not told, and told with 32 groups.
# Both rise steeply towards t = 999.

# %% [markdown]
# It was told `t` in every step, and fails where the untold one fails: at the largest `t`, six times the loss. (There
# it is clearly worse than the untold one, presumably because its norms also hide how strong one channel is beside
# another.) Nothing but this comparison shows it; a loss curve alone shows a model that is somewhat worse. (Nichol &
# Dhariwal 2021 avoid this: they let `t` scale and shift *after* the norm.)

# %% [markdown]
# ## What the article says
#
# - *The time embedding passes a one-layer network and is added, broadcast over the pixels, after the first
#   convolution.* Right: that is `time_proj`. Before it come a SiLU and, once for all blocks, a two-layer network.
# - *After the second convolution comes another time embedding.* No: `t` is added once, between the convolutions. Your
#   block has one addition and equals the package's, which in turn equals diffusers'
#   (`tests/parity/test_parity_networks.py`).
# - The article does not mention GroupNorm, SiLU and the residual sum. Without them, so deep a network hardly trains.

# %% [markdown]
# ## Three quick questions
#
# **1.** Stable Diffusion's first level has 320 channels in 32 groups, on 64 × 64 latents. Over how many numbers is
# each mean taken?
#
# <details><summary>Answer</summary>
#
# 10 channels × 4,096 pixels = 40,960.
# </details>
#
# **2.** A checkpoint was trained with sines first. You load it into this code. What happens?
#
# <details><summary>Answer</summary>
#
# It loads without complaint, and the pictures are bad: each weight of `linear1` that learnt a sine now reads a cosine,
# and the other way round.
# </details>
#
# **3.** Why is `t_emb` not added to the latent itself, once, at the start?
#
# <details><summary>Answer</summary>
#
# It could be, but then every layer would have to carry it along with the picture. Instead, each block reads it afresh,
# with a projection of its own.
# </details>

# %% [markdown]
# ## Exercises
#
# `../exercises/06_resblock.ipynb`: an embedding with a free base, GroupNorm on a sequence, a ResBlock that the time
# scales and shifts, and how far a stack of convolutions sees; each is checked at once.
#
# To try here: compute the angles in bfloat16 (`t.bfloat16()`). Which timesteps around 998 can the network still tell
# apart? And put 100 in place of 10,000 in the formula: when do the clocks of two different timesteps look alike?

# %% [markdown]
# <details><summary><b>What we saw</b></summary>
#
# Above 512, bfloat16 holds only multiples of 4. So 995, 996 and 997 all become 996, and 998 to 1,000 all become 1,000:
# four or so neighbours have one clock. With 100, the slowest of five hands goes round in 250 steps. So it shows the
# same at 100 and at 350, and only the faster hands, which have gone round many times, tell them apart.
# </details>

# %% [markdown]
# ## What next
#
# The block sees 5 × 5 pixels and knows the time. It does not know what the picture should *show*. Lesson 07 builds
# the part that reads the caption, and lets every pixel look at every other. The package's version of this lesson is
# `tinyldm/resblock.py`.
