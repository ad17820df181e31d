# %% [markdown]
# # 01 · A short history: what each step made possible
#
# **Goal.** Walk from 2015 to Stable Diffusion XL, and see what each step made possible.
#
# **Time.** 25 minutes to read and play; the cells compute for under half a minute on 2 CPU cores.
#
# **Before this.** Lesson 00. Nothing is trained here, and you need not understand the formulas yet: later lessons
# build everything that appears.
#
# **You will be able to**
# - name the papers and say in one sentence what each added;
# - explain what guidance does to the samples, and what it costs;
# - read the family tree of the Stable Diffusion checkpoints.

# %%
import json
import math
from pathlib import Path

import matplotlib.pyplot as plt
import torch

import tinyldm
from tinyldm.history import timeline
from tinyldm.history.data import GaussianMixture, swiss_roll
from tinyldm.history.probability_flow import euler, noise_of_data
from tinyldm_course.history import figures
from tinyldm_course.history.compare import Row, sliced_wasserstein
from tinyldm_course.lessons import plots, widgets
from tinyldm_course.lessons.helpers import confirm_equal
from tinyldm_course.lessons.model_map import show_model_map

plots.use_style()
print("This lesson runs on cpu: everything in it is a formula for points in the plane.")
seed = torch.Generator().manual_seed(0)  # the source of every random number below

# %% [markdown]
# ## Where we are
#
# Before we build the parts, this lesson tells where the sampler, the latent and guidance come from, and in which order.
# At the end stands a timeline.

# %%
show_model_map("forward diffusion", "sampler", "guidance", "VAE encoder", "VAE decoder")

# %% [markdown]
# ## An oracle instead of a network
#
# All these methods need someone who looks at a noisy point and says **which noise is in it**. In practice that is a
# trained network. For points in the plane with a known distribution it is a formula, and no network can do better: an
# oracle. With it we can see what each *method* does before anything is trained.
#
# The smallest case: all data are one single point, at 3. We see 3.5 and know that the noise has size 0.25. Then the
# noise is (3.5 - 3) / 0.25 = 2 standard deviations. (In the code the point has a second coordinate, without noise.)

# %% tags=["nbval-check-output"]
one_point = GaussianMixture("one point", torch.tensor([[3.0, 3.0]]), 1e-4,
                            torch.ones(1))
oracle = noise_of_data(one_point)
answer = oracle(torch.tensor([[3.5, 3.0]]), 0.25)[0]
print(f"the noise in (3.5, 3.0): {abs(answer[0]):.3f} to the right, "
      f"{abs(answer[1]):.3f} upwards")

# %% [markdown]
# Real data are many points. Then the oracle gives the *average* over all clean points that could be behind what it
# sees. Our data form a Swiss roll. With much noise the average says "somewhere in the middle"; with little, "right
# there, on the curve". Here are the oracle's estimates of the clean points at four sizes of noise $\sigma$ (`sigma`).

# %%
roll = swiss_roll()
oracle = noise_of_data(roll)
clean = roll.sample(1500, seed)

fig, axes = plt.subplots(2, 4, figsize=(8.4, 4.5))
for (above, below), sigma in zip(axes.T, (0.05, 0.3, 1.0, 3.0)):
    noisy = clean + sigma * torch.randn(clean.shape, generator=seed)
    figures.cloud(above, noisy, plots.GREY)
    above.set_title(f"noise of size {sigma:g}", fontsize=9.5)
    figures.cloud(below, noisy - sigma * oracle(noisy, sigma), plots.BLUE)
axes[0, 0].set_ylabel("what it sees")
axes[1, 0].set_ylabel("its estimate")
plots.show(fig)

# %% [markdown] alt
# Above, a spiral of points under more and more noise. Below, the oracle's estimates of the clean points: at noise 0.05
# a sharp spiral; at 0.3 a spiral with points between its arms; at 1 a round patch; at 3 a small spot in the middle.

# %% [markdown]
# With much noise, one look gives only the middle. (At 0.3 the spiral is even thinner than the data: averages spread
# less.) So even with an oracle nobody can go from noise to data in a single step. **All of the history below is about
# how to use it many times.**

# %% [markdown]
# ## 2015 and 2020: the chain
#
# Sohl-Dickstein and others destroyed data in small steps and learnt the way back. Ho and others (DDPM) made it simple
# enough for pictures. One step back: guess the clean point, go part of the way, *add a little fresh noise*.
#
# ## 2019: the staggering walk
#
# Song and Ermon used no chain. They walk uphill, to where data are dense: against the predicted noise, with a random
# stagger, at one noise size after another (*Langevin dynamics*).
#
# ## 2020, four months later: the flow
#
# Four months after DDPM, DDIM uses the same network but no fresh noise at all. (Nor does the flow of the score SDE, in
# November.)

# %%
def chain_step(x, eps, sigma, after, z):
    """Guess the clean point, keep some of the old noise, add some fresh noise: from
    noise `sigma` to `after`."""
    clean, share = x - sigma * eps, after**2 / sigma**2
    return clean + share * (x - clean) + after * (1 - share) ** 0.5 * z

def langevin_step(x, eps, sigma, after, z):
    """One step uphill and a random stagger, at one noise size."""
    step, uphill = 0.5 * sigma**2, -eps / sigma
    return x + step / 2 * uphill + step**0.5 * z

def flow_step(x, eps, sigma, after, z):
    """Straight along the noise, as far as the noise shrinks."""
    return x + (after - sigma) * eps

def noise_sizes(number):
    """From 5 down to 0.02 by a constant ratio, then 0."""
    return torch.logspace(math.log10(5), math.log10(0.02), number).tolist() + [0.0]

def pure_noise(n):
    """n points as far apart as data with noise of size 5."""
    return math.sqrt(1 + 5**2) * torch.randn(n, 2, generator=seed)

def walk(model, step, calls, start, each=1):
    """From noise to data with `calls` calls of the model, `each` of them at one noise
    size; returns the clouds after each size."""
    sizes, path = noise_sizes(calls // each), [start]
    for sigma, after in zip(sizes, sizes[1:]):
        x = path[-1]
        for _ in range(each):
            x = step(x, model(x, sigma), sigma, after,
                     torch.randn(x.shape, generator=seed))
        path.append(x)
    return path

start, sizes = torch.randn(64, 2, generator=seed) * 5, [5.0, 2.0, 0.7, 0.2, 0.05]
mine = start
for sigma, after in zip(sizes, sizes[1:]):
    mine = flow_step(mine, oracle(mine, sigma), sigma, after, None)
print(confirm_equal(mine, euler(oracle, start, sizes)[-1]))

# %% [markdown]
# Each method walks three points *twice* from the same start, and then 1,500 points once, with 200 calls each.
#
# > **Predict.** For which methods do the two walks from one start end at the same point?

# %%
methods = {"chain (2015, 2020)": (chain_step, 1, plots.GREEN),
           "Langevin (2019)": (langevin_step, 5, plots.ORANGE),
           "flow (2020)": (flow_step, 1, plots.PINK)}


def plot_walks(ax, start, step, each):
    """Two walks from each start (+), each cloud shrunk to the size of the data."""
    figures.cloud(ax, clean, "#B5B5B5", view=2.9)
    shrink = (1 + torch.tensor(noise_sizes(200 // each)).square()).rsqrt()
    for dash, marker in (("-", "s"), (":", "o")):
        path = torch.stack(walk(oracle, step, 200, start, each)) * shrink[:, None, None]
        for point, colour in zip(path.unbind(1), (plots.BLUE, plots.GOLD, plots.BLACK)):
            ax.plot(*point.T, dash, color=colour, linewidth=1.2)
            ax.plot(*point[0], "+", color=colour, markersize=11, markeredgewidth=2)
            ax.plot(*point[-1], marker, color=colour, markersize=6, mec="white")


fig, axes = plt.subplots(2, 3, figsize=(8.6, 5.9))
start = 5 * torch.tensor([[-2.1, 1.6], [0.6, 0.4], [0.9, -2.3]])
for (above, below), (name, (step, each, colour)) in zip(axes.T, methods.items()):
    plot_walks(above, start, step, each)
    above.set_title(name)
    figures.cloud(below, walk(oracle, step, 200, pure_noise(1500), each)[-1], colour,
                  view=2.9)
axes[0, 0].set_ylabel("three points, twice")
axes[1, 0].set_ylabel("where 1,500 points end")
plots.show(fig)

# %% [markdown] alt
# Three methods side by side. Above, the paths of three points from noise to a spiral, each walked twice: by the chain
# and by Langevin, ragged paths all over the place; by the flow, short smooth curves. Below, where 1,500 points
# end: the same sharp spiral three times.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Only for the flow: without fresh noise, each starting point has one end point, and the dotted path lies on the solid
# one. The chain jitters, Langevin staggers, and two walks from one start end at different points.
# </details>
#
# All three arrive at the data, with the *same* oracle. That is why DDIM was such a gift: nobody had to retrain
# anything. Next we measure a distance: roughly, how far points must move to turn one cloud into the other (*sliced
# Wasserstein*).
#
# > **Predict.** Calling the network is what costs time. How many calls does each method need for a good spiral? Rank
# > chain, Langevin and flow by what they achieve with *ten* calls.

# %%
CALLS = (3, 5, 10, 20, 50, 100, 200)
truth = roll.sample(2000, seed)
floor = sliced_wasserstein(roll.sample(2000, seed), truth)

fig, ax = plt.subplots(figsize=plots.WIDE)
for (name, (step, _, colour)), marker in zip(methods.items(), plots.MARKERS):
    # steps per noise level; 2 is the fewest that stagger
    each = 2 if "Langevin" in name else 1
    calls = [number for number in CALLS if number >= 2 * each]
    ends = [walk(oracle, step, number, pure_noise(2000), each)[-1] for number in calls]
    distance = [sliced_wasserstein(end, truth) for end in ends]
    ax.plot(calls, distance, color=colour, marker=marker, label=name)
ax.axhline(floor, color=plots.GREY, linestyle="--", label="two samples of the data")
ax.set(xscale="log", yscale="log", xlabel="calls of the oracle",
       ylabel="distance to the data", title="Swiss roll")
ax.set_xticks(CALLS, [str(number) for number in CALLS])
ax.set_yticks(marks := (0.03, 0.1, 0.3, 1, 3), [str(mark) for mark in marks])
ax.minorticks_off()
ax.legend()
plots.show(fig)

# %% [markdown] alt
# Distance to the data against the number of calls, both on logarithmic scales. The flow and the chain fall quickly
# within ten to twenty calls; Langevin starts far above and stays above them. At 200 flow and chain are near the dashed
# line, the distance between two samples of the data, and Langevin at nearly twice that.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# With ten calls the flow is closest to the data, then the chain; Langevin, which must take several small steps at each
# noise size, is far behind. For a good spiral, near the dashed line, the flow needs about 20 calls and the chain 50;
# Langevin is not there at 200. (The dashed line is itself measured on one sample, so slightly below it is no better
# than on it.)
# </details>

# %% [markdown]
# And with *trained* networks, which make errors? This is from the committed report (five seeds, 95 % intervals;
# `benchmarks/history/README.md`). From 20 to 100 calls, no method is clearly better than the flow. Note 2015: its chain
# is retrained for each number of steps, and at about ten steps it is the best of all. The networks of 2019 and 2020 are
# trained once and sampled with any number of steps; the flow takes Heun's steps here, two calls each, so that ten calls
# are only five steps. The horizontal lines are for comparison: a single Gaussian; a
# small Gaussian around each training point ("KDE"); and fresh data, the floor. In lesson 04 you train all three
# yourself.

# %%
root = Path(tinyldm.__file__).parents[1]
report = root / "benchmarks" / "history" / "measurements.jsonl"
rows = [Row(**json.loads(line)) for line in report.read_text().splitlines()]
fig = figures.distance_against_calls([row for row in rows if row.data == "swiss roll"
                                      and row.method != "KDE, Scott's rule"])
fig.set_size_inches(8.0, 4.4)
for axis, marks in ((fig.axes[0].yaxis, (0.02, 0.05, 0.1, 0.2, 0.4)),
                    (fig.axes[0].xaxis, (10, 20, 50, 100, 200, 500, 1000))):
    axis.set_ticks(marks, [str(mark) for mark in marks])
    axis.set_ticks([], minor=True)
plots.show(fig)

# %% [markdown] alt
# Swiss roll: distance to fresh data against network calls. 2015 is best at ten calls; the flow of the 2020 network is
# near its best at 20; the chain of 2020 still improves at 1,000 and 2019 at 500. Lines mark simple models and the
# floor.

# %% [markdown]
# ## December 2021: not in pixels
#
# A picture of 512 × 512 pixels has 786,432 numbers, and every call of the network processes them all. Rombach and
# others first compress the picture with an autoencoder, and run the whole diffusion on the small *latent*. Their
# network also looks at the caption, by cross-attention (lesson 07).
#
# > **Predict.** The latent of such a picture is 4 × 64 × 64: 48 times fewer numbers (lesson 00). But self-attention
# > compares every position with every other: by what factor do the *pairs of positions* shrink?

# %% tags=["nbval-check-output"]
image, latent = 3 * 512 * 512, 4 * 64 * 64
print(f"numbers: {image:,} and {latent:,}: {image // latent} times fewer")
print(f"positions: {512 * 512:,} and {64 * 64:,}; "
      f"pairs of positions: {(512 * 512) ** 2 // (64 * 64) ** 2:,} times fewer")

# %%
fig, axes = plt.subplots(1, 2, figsize=(5.2, 2.8))
for ax, side, name in zip(axes, (512, 64), ("picture: 512 × 512", "latent: 64 × 64")):
    ax.add_patch(plt.Rectangle((0, 0), 512, 512, fill=False, edgecolor=plots.GREY))
    ax.add_patch(plt.Rectangle((0, 0), side, side, color=plots.GREY))
    ax.set(xlim=(0, 512), ylim=(0, 512), aspect="equal")
    ax.set_title(f"{name} positions", loc="center", fontsize=9.5)
    plots.hide_axes(ax)
plots.show(fig)

# %% [markdown] alt
# A large grey square for the positions of a picture, and on the same scale a small one, an eighth as wide and as high,
# for those of its latent.

# %% [markdown]
# Each side is 8 times shorter: 64 times fewer positions, and 64 × 64 times fewer pairs. (What a latent looks like, and
# what the autoencoder loses, is lesson 05.)
#
# The trick made pictures of this size affordable on a single graphics card. Eight months later came Stable Diffusion.

# %% [markdown]
# ## 2021 and 2022: guidance
#
# One piece is missing: samples that clearly show their caption. Ho and Salimans found an astonishingly cheap way,
# *classifier-free guidance* (at a workshop in 2021, on arXiv in July 2022): run the network twice, with the
# caption and without; then **exaggerate the difference**:
#
# $$ \hat\epsilon = \epsilon_\text{without} + w\,(\epsilon_\text{with} - \epsilon_\text{without}) $$
#
# where $\epsilon$ (`eps`) is the noise that the network predicts, and $w$ (`guidance_scale`) the strength. (Ho &
# Salimans 2022, eq. 6, whose own $w$ is one less.) $w = 1$ is the plain model with its caption; $w = 0$ ignores it.

# %% tags=["nbval-check-output"]
def with_guidance(eps_without, eps_with, w):
    return eps_without + w * (eps_with - eps_without)


for w in (0, 1, 3):
    print(f"without 1.0, with 2.0, w = {w}: {with_guidance(1.0, 2.0, w):.1f}")

# %% [markdown]
# Take a world with three captions, "north", "southeast" and "southwest", each a wide cloud that overlaps the others. We
# ask for "north".
#
# > **Predict.** With $w = 1$ you get the cloud of the caption. What happens to it with $w = 4$? Does it grow, shrink,
# > move?

# %%
angle = torch.tensor([90.0, 330.0, 210.0]).deg2rad()
centres = 1.1 * torch.stack([angle.cos(), angle.sin()], dim=1)
everything = GaussianMixture("world", centres, 0.65, torch.ones(3) / 3)
north = GaussianMixture("north", centres[:1], 0.65, torch.ones(1))
background = everything.sample(1500, seed)


def guided_cloud(w):
    """1,000 samples of "north" under guidance w, by 40 steps of the flow."""
    eps_with, eps_without = noise_of_data(north), noise_of_data(everything)

    def model(x, sigma):
        return with_guidance(eps_without(x, sigma), eps_with(x, sigma), w)

    return walk(model, flow_step, 40, pure_noise(1000))[-1]


def plot_guided(ax, w):
    figures.cloud(ax, background, "#A8A8A8", view=4)
    figures.cloud(ax, guided_cloud(w), plots.BLUE, view=4, size=1.5)
    for x, y, name in ((0, 3.6, "north"), (2, -3.3, "southeast"),
                       (-2, -3.3, "southwest")):
        ax.text(x, y, name, ha="center", va="center", fontsize=7)
    ax.set_title(f"w = {w:g}", fontsize=9.5)


widgets.dial(plot_guided, {"w": [0, 0.5, 1, 1.5, 2, 3, 4, 5, 6, 8, 10]},
             strip=[{"w": w} for w in (0, 1, 2, 4, 8)], size=(1.8, 2.0))

# %% [markdown] alt
# The world as a grey three-leaved cloud, samples of the caption north in blue. w = 0: all three leaves. w = 1: the
# northern cloud, overlapping the others. w = 2 to 8: the cloud shrinks and moves away from the other two.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# It moves away from the other captions until no sample could be mistaken for one of theirs. And it shrinks: the samples
# are more alike. Pictures show both effects: they are clearer and less varied. With a very large $w$ the samples end up
# at the edge of the data, or beyond.
# </details>
#
# The network must also work *without* a caption. So in training a share of the captions is replaced by the empty one
# ("dropped"); the next chart marks where.

# %% [markdown]
# ## August 2022 to July 2023: Stable Diffusion
#
# From here on it is mostly *training*: more data, better selected, and larger networks. The numbers start at 1.1. In
# the chart, each bar starts where its parent's training ended (k: thousand steps). The labels name what the network
# predicts, and its text encoder.
#
# > **Predict.** The first versions are 1.1, 1.2, 1.3, 1.4 and 1.5. Was each trained from the one before it?

# %%
fig = figures.family_tree()
plots.show(fig)

# %% [markdown] alt
# Bars of training steps for the checkpoints 1.1 to XL. 1.2 starts where 1.1 ended; 1.3, 1.4 and 1.5 all start where 1.2
# ended and are hatched, for 10 % of captions dropped; 2.0-base starts from scratch and leads to 2.0 and 2.1, which
# predict velocity; XL starts from scratch, with a stretch of unknown length.

# %% [markdown]
# Read it in the chart, then run the cell: which checkpoints were trained on the way to 1.5? And which of 1.1 … 1.5 are
# suited to guidance?

# %% tags=["nbval-check-output"]
for version in ("1.4", "1.5", "2.1"):
    print(f"{version}: {' → '.join(timeline.lineage(version))}, "
          f"{1000 * timeline.thousand_steps(version):,} steps from random weights")
dropped = [c.name for c in timeline.CHECKPOINTS if c.caption_dropout]
print("trained with dropped captions:", ", ".join(dropped))

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# No. 1.3, 1.4 and 1.5 are siblings, all resumed from 1.2. So on the way to 1.5 were 1.1 and 1.2, but not 1.4. The
# siblings are also the ones that were trained with a tenth of the captions dropped, which guidance relies on. (For 2.0
# and later the sources do not say whether captions were dropped.)
# </details>
#
# What changed, in a line each: **2.0** has another text encoder, and at 768 pixels the network predicts a velocity
# (lesson 03) instead of noise; **2.1** is 2.0 trained further with a milder image filter; **XL** has a U-Net three
# times as large, two text encoders and 1,024 pixels. In lesson 14 you build all of them from one class.

# %% [markdown]
# ## What each step added
#
# The timeline, whose labels you can read now. The papers' dates are those of arXiv. (The "bound" is the loss of 2015,
# and the "weights" that DDPM dropped are factors in it: lesson 04. LAION is a collection of captioned pictures from the
# web. The score is the direction uphill in which Langevin walks.)

# %%
plots.show(figures.history_line())

# %% [markdown] alt
# A timeline of papers and of Stable Diffusion's weights. {"; ".join(f"{event.date}, {event.name}: {event.added}"
# for event in timeline.EVENTS)}.

# %% [markdown]
# ## What the article says
#
# - *Diffusion models came in 2015, from non-equilibrium thermodynamics.* True.
# - *A 2019 paper proposed NCSN, or SMLD.* True: two names of one method.
# - *DDPM improved on the previous method by variational inference.* Hardly: 2015's loss already was the variational
#   bound. DDPM simplified it. Lesson 04 shows what remained.
# - *1.2 was fine-tuned to 1.3, 1.4 and 1.5.* True, but easily misread as a chain.
# - *Versions 1.1 to 2.1* (its opening) or *1.1 to XL* (its history) *are latent diffusion models.* The second is right.

# %% [markdown]
# ## Three quick questions
#
# **1.** Why could DDIM make old networks faster without retraining them?
#
# <details><summary>Answer</summary>
#
# The network only says which noise is in a point. How to walk with that information is the sampler's business, and DDIM
# is another sampler.
# </details>
#
# **2.** What does guidance with $w = 4$ cost, besides variety?
#
# <details><summary>Answer</summary>
#
# Time: two runs of the network per step, with the caption and without.
# </details>
#
# **3.** What did latent diffusion change: the question to the network, the walk, or the space?
#
# <details><summary>Answer</summary>
#
# The space: the noise is in a VAE's latents instead of in pixels. Question and walk stayed what they were in 2020.
# </details>

# %% [markdown]
# ## What next
#
# To try here: replace `swiss_roll` by `two_moons` (in the import too) and run all cells.
#
# Lesson 02 starts to build: how to drown a picture in noise, exactly. `python -m tinyldm_course.history compare` runs
# the three papers on four data sets; `--help` lists what else it can do.
