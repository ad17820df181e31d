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
from tinyldm import guided
from tinyldm.history import timeline
from tinyldm.history.data import GaussianMixture, swiss_roll
from tinyldm.history.probability_flow import euler, noise_of_data
from tinyldm_course.history import figures
from tinyldm_course.history.compare import Row, sliced_wasserstein
from tinyldm_course.lessons import plots, widgets
from tinyldm_course.lessons.helpers import confirm_equal, photograph
from tinyldm_course.lessons.model_map import show_model_map

plots.use_style()
print("This lesson runs on cpu: everything in it is a formula for points in the plane.")
seed = torch.Generator().manual_seed(0)  # the source of every random number below

# %% [markdown]
# ## Where we are
#
# Before we build the parts, this lesson tells where the sampler, the latent and guidance come from, and in which order.
# Below the map is a timeline. Its labels need not make sense yet: they return at the end.

# %%
show_model_map("forward diffusion", "sampler", "guidance", "VAE encoder", "VAE decoder",
               "text encoder", "U-Net")

# %%
fig = figures.history_line()
plots.show(fig)

# %% [markdown] alt
# A timeline. Papers: 2015 diffusion probabilistic models; July 2019 NCSN; 2020 DDPM in June, DDIM in October, the score
# SDE in November; December 2021 latent diffusion; July 2022 classifier-free guidance. Stable Diffusion: 1.1 to 1.4 in
# August 2022, 1.5 in October, 2.0 in November, 2.1 in December; XL in July 2023.

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
# November.) Each starting point has one end point.

# %%
def chain_step(x, eps, sigma, after, z):
    """Guess the clean point, keep some of the old noise, add some fresh noise: from
    noise `sigma` to `after`."""
    clean, share = x - sigma * eps, after**2 / sigma**2
    return clean + share * (x - clean) + after * (1 - share) ** 0.5 * z


def langevin_step(x, eps, sigma, after, z):
    """One step uphill and a random stagger, at one noise size."""
    return x - 0.5 * sigma / 2 * eps + 0.5**0.5 * sigma * z


def flow_step(x, eps, sigma, after, z):
    """Straight along the noise, as far as the noise shrinks."""
    return x + (after - sigma) * eps


def walk(model, step, calls, n=2000, top=5.0, each=1):
    """From noise of size `top` to data with `calls` calls of the model; returns all
    clouds on the way."""
    sizes = torch.logspace(math.log10(top), math.log10(0.02),
                           calls // each).tolist() + [0.0]
    path = [math.sqrt(1 + top**2) * torch.randn(n, 2, generator=seed)]
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

# %%
methods = {"chain (2015, 2020)": (chain_step, 1, plots.GREEN),
           "Langevin (2019)": (langevin_step, 10, plots.ORANGE),
           "flow (2020)": (flow_step, 1, plots.PINK)}
fig, axes = plt.subplots(3, 5, figsize=(8.4, 5.3))
for row, (name, (step, each, colour)) in zip(axes, methods.items()):
    path = walk(oracle, step, 200, each=each)
    for ax, share in zip(row, (0, 0.35, 0.6, 0.75, 1.0)):
        at = round(share * (len(path) - 1))
        figures.cloud(ax, path[at], colour, view=3.4)
        ax.set_title(f"call {at * each}", fontsize=9)
    row[0].set_ylabel(name)
plots.show(fig)

# %% [markdown] alt
# Three rows of clouds, from wide noise on the left to a spiral on the right, each with 200 calls of the oracle. All
# three end as the same sharp spiral.

# %% [markdown]
# All three arrive, with the *same* oracle. That is why DDIM was such a gift: nobody had to retrain anything. Next we
# measure a distance: roughly, how far points must move to turn one cloud into the other (*sliced Wasserstein*).
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
    distance = [sliced_wasserstein(walk(oracle, step, number, each=each)[-1], truth)
                for number in calls]
    ax.plot(calls, distance, color=colour, marker=marker, label=name)
ax.axhline(floor, color=plots.GREY, linestyle="--", label="two samples of the data")
ax.set(xscale="log", yscale="log", xlabel="calls of the oracle",
       ylabel="distance to the data", title="Swiss roll")
ax.set_xticks(CALLS, [str(number) for number in CALLS])
ax.minorticks_off()
ax.legend()
plots.show(fig)

# %% [markdown] alt
# Distance to the data against the number of calls, both on logarithmic scales. The flow and the chain fall quickly
# within ten to twenty calls; Langevin starts far above and meets the chain at 50. At 200 all three are near the dashed
# line, the distance between two samples of the data.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# With ten calls the flow is closest to the data, then the chain; Langevin, which must take several small steps at each
# noise size, is far behind. For a good spiral, near the dashed line, the flow needs about 50 calls, the chain 100 and
# Langevin 200. (The dashed line is itself measured on one sample, so slightly below it is no better than on it.)
# </details>

# %% [markdown]
# And with *trained* networks, which make errors? This is from the committed report (five seeds, 95 % intervals;
# `benchmarks/history/README.md`). From 20 to 100 calls, no method is clearly better than the flow. Note 2015: its chain
# is retrained for each number of steps, and at about ten steps it is the best of all. The networks of 2019 and 2020 are
# trained once and sampled with any number of steps. The horizontal lines are for comparison: a single Gaussian; a
# small Gaussian around each training point ("KDE", of two widths); and fresh data, the floor. In lesson 04 you train
# all three yourself.

# %%
root = Path(tinyldm.__file__).parents[1]
report = root / "benchmarks" / "history" / "measurements.jsonl"
rows = [Row(**json.loads(line)) for line in report.read_text().splitlines()]
fig = figures.distance_against_calls([row for row in rows
                                      if row.data in ("swiss roll", "two moons")])
fig.set_size_inches(8.6, 4.2)
plots.show(fig)

# %% [markdown] alt
# Two panels, Swiss roll and two moons: distance to fresh data against network calls. 2015 is best at ten calls; the
# flow of the 2020 network is near its best at 20; the chain of 2020 still improves at 1,000 and 2019 at 500. Lines mark
# simple models and the floor.

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
photo = photograph(256)
fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.4), width_ratios=[1, 1])
plots.plot_image(left, photo, "3 × 512 × 512 numbers")
right.add_patch(plt.Rectangle((1, 1), 509, 509, fill=False, edgecolor=plots.GREY))
small = torch.nn.functional.interpolate(photo[None], (64, 64), mode="area")[0]
right.imshow(plots.pixels(small), extent=(224, 288, 288, 224))
right.set(xlim=(0, 512), ylim=(512, 0), aspect="equal")
right.set_title("4 × 64 × 64 numbers", loc="center", fontsize=9)
plots.hide_axes(right)
plots.show(fig)

# %% [markdown] alt
# A photograph of a flower; next to it, in an empty frame of the same size, the same photograph an eighth as wide and as
# high: that is how many positions the latent has.

# %% [markdown]
# Each side is 8 times shorter: 64 times fewer positions, and 64 × 64 times fewer pairs. (The small picture only shows
# the size. What a latent looks like, and what the autoencoder loses, is lesson 05.)
#
# The trick made pictures of this size affordable on a single graphics card. Eight months later came Stable Diffusion.

# %% [markdown]
# ## July 2022: guidance
#
# One piece is missing: samples that clearly show their caption. Ho and Salimans found an astonishingly cheap way,
# *classifier-free guidance* (at a workshop in 2021, on arXiv in July 2022): run the network twice, with the
# caption and without; then **exaggerate the difference**:
#
# $$ \hat\epsilon = \epsilon_\text{without} + w\,(\epsilon_\text{with} - \epsilon_\text{without}) $$
#
# where $\epsilon$ (`eps`) is the noise that the network predicts, and $w$ (`guidance_scale`) the strength. (Ho &
# Salimans 2022, eq. 6, whose own $w$ is one less.) $w = 1$ is the plain model with its caption; $w = 0$ ignores it.

# %%
def with_guidance(eps_without, eps_with, w):
    return eps_without + w * (eps_with - eps_without)


without, with_caption = torch.randn(2, 8, 4, 8, 8, generator=seed)


def answers(z_t, t, context):
    """A stand-in for a network: its output depends on the context only."""
    return torch.where(context[:, :, :1, None] > 0,
                       with_caption.repeat(len(context) // 8, 1, 1, 1),
                       without.repeat(len(context) // 8, 1, 1, 1))


model = guided(answers, torch.ones(8, 1, 4), -torch.ones(8, 1, 4), 3.0)
theirs = model(torch.zeros(8, 4, 8, 8), torch.zeros(8, dtype=torch.long))
print(confirm_equal(with_guidance(without, with_caption, 3.0), theirs))

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

    return walk(model, flow_step, 40, n=1000)[-1]


def plot_guided(ax, w):
    figures.cloud(ax, background, "#C9C9C9", view=4)
    figures.cloud(ax, guided_cloud(w), plots.BLUE, view=4, size=1.5)
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
# The labels of the timeline again; most of them you can read now. The papers' dates are those of arXiv. (The "bound" is
# the loss of 2015, and the "weights" that DDPM dropped are factors in it: lesson 04. LAION is a collection of captioned
# pictures from the web.)

# %% tags=["nbval-check-output"]
for event in timeline.EVENTS:
    print(f"{event.date:<10}  {event.name:<31} {event.added}")

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
