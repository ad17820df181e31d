# %% [markdown]
# # 04 · Three ancestors: one idea, found three times
#
# **Goal.** Build the methods of 2015, 2019 and 2020 on one data set, and see that their three networks are the same.
#
# **Time.** 45 minutes to read and play; the cells compute for under a minute on 2 CPU cores.
#
# **Before this.** Lessons 02 and 03. Logarithms, and what a gradient is.
#
# **You will be able to**
# - say what 2015 bounds, what 2019 learns and what 2020 drops;
# - write the three losses, and the three ways to sample, in a few lines each;
# - convert between noise, score and mean;
# - explain why Langevin dynamics needs many noise levels.

# %%
import math

import matplotlib.pyplot as plt
import torch

from tinyldm.history import data, ddpm_2020, nonequilibrium_2015, score_matching_2019
from tinyldm.history.network import Budget, minibatch, minimise
from tinyldm_course.history.compare import sliced_wasserstein
from tinyldm_course.history.figures import (
    METHOD_STYLE,
    cloud,
    fields,
    plain_against_annealed,
)
from tinyldm_course.lessons import plots, widgets
from tinyldm_course.lessons.helpers import confirm_equal, full_or_fast, progress
from tinyldm_course.lessons.model_map import show_model_map

plots.use_style()
print("This lesson runs on cpu, whatever you have: its networks have 30,000 weights, "
      "too few for a GPU.")
seed = torch.Generator().manual_seed(0)  # the source of every random number below
# the same for each of the three papers
TRAINING = Budget(steps=full_or_fast(full=4000, fast=150))
COLOURS = {name: colour for name, (colour, _) in METHOD_STYLE.items()}

# %% [markdown]
# ## Where we are
#
# This is the history of the two highlighted parts. Nothing here is obsolete: Stable Diffusion's training uses the loss
# of 2020, its samplers come from the mathematics of 2019, and the bound of 2015 ties both to the data's likelihood.

# %%
show_model_map("forward diffusion", "sampler")

# %% [markdown]
# ## A world where the truth is known
#
# Pictures have thousands of numbers, and nobody knows their probability. So our data are points in the plane: eight
# small clouds on a ring, every second one three times as heavy. Their density $p(x)$ is a formula. So is the density
# of the *noised* points, because noise turns a mixture of Gaussians into a mixture of wider Gaussians.
#
# Each paper gets the same 2,000 points, the same small network and the same number of steps.

# %%
ring = data.ring_of_gaussians()
x_train = ring.sample(2000, seed)  # (2000, 2)
fresh = ring.sample(4000, seed)    # for testing; no model sees these
side = torch.linspace(-2.6, 2.6, 150)
plane = torch.cartesian_prod(side, side)                       # (22500, 2)

fig, axes = plt.subplots(1, 4, figsize=(9, 2.6))
cloud(axes[0], x_train)
axes[0].set_title("2,000 points")
for ax, sigma in zip(axes[1:], (0.1, 0.4, 1.0)):
    density = ring.log_density(plane, 1.0, sigma).exp().reshape(150, 150).T
    ax.imshow(density, extent=(-2.6, 2.6) * 2, origin="lower", cmap=plots.SEQUENCE)
    ax.set_title(f"density, noise {sigma}")
    plots.hide_axes(ax)
plots.show(fig)

# %% [markdown] alt
# Eight small clouds of points on a ring, four of them dense and four sparse. Next to them the density of the points
# with noise of size 0.1, 0.4 and 1.0: the eight spots grow, melt into a ring with four bright spots, and end as one
# round hill.

# %% [markdown]
# ## 2015: the chain and its bound
#
# Sohl-Dickstein et al. 2015 destroy the data in $T$ steps and learn to reverse each step. Here $T = 40$; $\beta_t$
# (`beta[t]`) and $\bar\alpha_t$ (`alpha_bar[t]`) are as in lesson 02, but chosen so that every step destroys about an
# equal share of the signal's variance. Only the first is smaller: it sets the finest detail that the model can show.

# %%
T = 40
beta = 1 / torch.linspace(T, 2, T, dtype=torch.float64)  # (T,) from 1/40 up to 1/2
beta[0] = 1e-3  # the finest detail that the model can show
alpha_bar = (1 - beta).cumprod(0).float()  # (T,)
beta = beta.float()
q_2015 = nonequilibrium_2015.constant_share_schedule(T)

print(confirm_equal(alpha_bar, q_2015.alpha_bar))

# %% [markdown]
# (The formulas count from 1, with $x_0$ clean; the code counts from 0, as in lesson 02. The last step back, to the
# clean point, is fixed and not learnt: 39 steps are left.)

# %% [markdown]
# What is the right step back? If we knew the clean $x_0$, two witnesses would testify about $x_{t-1}$:
#
# - the past: $x_0$, noised $t-1$ times, a Gaussian around $\sqrt{\bar\alpha_{t-1}}\,x_0$;
# - the future: $x_t$, one step back, a Gaussian around $x_t/\sqrt{1-\beta_t}$.
#
# The product of two Gaussians is a third: *precisions* (one over the variance) add, and the mean is the
# precision-weighted average. That is the whole posterior $q(x_{t-1} \mid x_t, x_0)$.
#
# > **Predict.** The past says 0 with variance 1. The future says 3 with variance 2. What do they say together?
# >
# > <details><summary><b>Answer</b></summary>
# >
# > Precisions 1 and 1/2, together 3/2, so the variance is 2/3. The mean is $(1\cdot 0 + \tfrac12\cdot 3)/\tfrac32 =
# > 1$.
# > </details>

# %%
def both_witnesses(mean_a, var_a, mean_b, var_b):
    """The product of two Gaussians: its mean and its variance."""
    var = 1 / (1 / var_a + 1 / var_b)
    return var * (mean_a / var_a + mean_b / var_b), var


def posterior(x0, x_t, t):
    """q(x_{t-1} | x_t, x_0): mean (B, 2), variance (B, 1); t (B,) from 1."""
    b, before = beta[t][:, None], alpha_bar[t - 1][:, None]
    return both_witnesses(before.sqrt() * x0, 1 - before, x_t / (1 - b).sqrt(),
                          b / (1 - b))


x0, x_t = torch.randn(2, 16, 2, generator=seed)
t = torch.randint(1, T, (16,), generator=seed)
print("0 ± √1 and 3 ± √2 together:", both_witnesses(0, 1, 3, 2))
print(confirm_equal(posterior(x0, x_t, t)[0],
                    nonequilibrium_2015.forward_posterior(x0, x_t, t, q_2015)[0]))

# %% [markdown]
# A model does not know $x_0$. The network of 2015 answers with a Gaussian of its own: a mean *and* a variance. The loss
# is how far that Gaussian is from the posterior, as a Kullback-Leibler (KL) divergence: the extra cost of coding
# samples of one distribution with a code made for the other, in nats (1 nat is 1.44 bits). For one coordinate
#
# $$ \mathrm{KL} = \tfrac12\Big(\log\frac{v_p}{v_q} + \frac{v_q + (\mu_q-\mu_p)^2}{v_p} - 1\Big). $$
#
# Summed over all steps, plus a constant for the two ends of the chain, it gives the *bound* (2015, eq. 14): **the model
# needs at most this many bits per point.** No model can need fewer than the data's *entropy*, the mean of
# $-\log_2 p(x)$.

# %%
def gaussian_kl(mean_q, var_q, mean_p, var_p):
    """KL(q || p) in nats, summed over the coordinates: (B,)."""
    return 0.5 * ((var_p / var_q).log() + (var_q + (mean_q - mean_p) ** 2) / var_p
                  - 1).sum(dim=1)


kernel = nonequilibrium_2015.ReverseKernel(q_2015, seed)  # the network: 29,860 weights


def reverse_2015(x_t, t):
    """p(x_{t-1} | x_t): the step that shrinks and adds beta, with mean and variance
    corrected by the network."""
    b = beta[t][:, None]
    shift, log_odds = kernel.net(x_t, t / T).chunk(2, dim=1)   # (B, 4) -> 2 × (B, 2)
    variance = torch.sigmoid(torch.logit(b) + log_odds)
    return (1 - b).sqrt() * x_t + b.sqrt() * shift, variance


def loss_2015(x0, t, eps):
    """The KL of step t at a noised point, in nats: (B,)."""
    x_t = alpha_bar[t][:, None].sqrt() * x0 + (1 - alpha_bar[t][:, None]).sqrt() * eps
    return gaussian_kl(*posterior(x0, x_t, t), *reverse_2015(x_t, t))


t = torch.randint(1, T, (256,), generator=seed)
one, two = (torch.Generator().manual_seed(1) for _ in range(2))
mine = loss_2015(fresh[:256], t, torch.randn(256, 2, generator=one))
print(confirm_equal(mine, nonequilibrium_2015.step_kl(kernel, fresh[:256], t, two)))

# %%
def batch_loss_2015():
    x0 = minibatch(x_train, TRAINING.batch, seed)
    t = torch.randint(1, T, (TRAINING.batch,), generator=seed)
    return loss_2015(x0, t, torch.randn(x0.shape, generator=seed)).mean()


@torch.no_grad()
def sample_2015(n):
    """From x_T ~ N(0, 1) back to x_0; returns all clouds on the way."""
    path = [torch.randn(n, 2, generator=seed)]
    for step in range(T - 1, 0, -1):
        mean, variance = reverse_2015(path[-1], torch.full((n,), step))
        path.append(mean + variance.sqrt() * torch.randn(n, 2, generator=seed))
    path.append((1 - beta[0]).sqrt() * path[-1] + beta[0].sqrt()
                * torch.randn(n, 2, generator=seed))
    return path


minimise(batch_loss_2015, kernel, TRAINING, progress)
path_2015 = sample_2015(2000)

# %%
def strip(path, stops, label, method):
    """Clouds of one walk side by side, from noise to points."""
    fig, axes = plt.subplots(1, len(stops), figsize=(1.6 * len(stops), 1.95))
    for ax, k in zip(axes, stops):
        cloud(ax, path[k], COLOURS[method])
        ax.set_title(label(k), fontsize=9)
    return fig


fig = strip(path_2015, (0, 20, 30, 35, 38, 40), lambda k: f"after {k} steps", "2015")
plots.show(fig)

# %% [markdown] alt
# The reverse chain of 2015: over 40 steps a round cloud of noise becomes a ring with four dense clouds and four smeared
# ones, mostly in the last ten steps.

# %% [markdown]
# Now the bill. Each bar is the cost of one step in bits, averaged over fresh points. Their sum, plus a constant for the
# two ends of the chain, is the bound. (The constant is negative, as it may be: in the plane $p$ is a density and can
# exceed 1, so only differences between bits mean something.)

# %%
with torch.no_grad():
    costs = torch.stack([loss_2015(fresh, torch.full((4000,), step),
                                   torch.randn(4000, 2, generator=seed)).mean()
                         for step in range(1, T)]) / math.log(2)
# three entropies of Gaussians: no network in it
ends = -nonequilibrium_2015.entropy_terms(q_2015) / math.log(2)
bound, entropy = costs.sum().item() + ends, data.entropy_bits(ring)

fig, ax = plt.subplots(figsize=plots.WIDE)
ax.bar(range(1, T), costs, color=plots.BLUE)
ax.set(xlabel="step t of the chain (small t: fine detail)", ylabel="bits",
       title=f"ends {ends:.2f} + all bars {costs.sum():.2f} = bound {bound:.2f} bits "
       f"per point;  "
             f"entropy of the data {entropy:.2f}")
plots.show(fig)
sizes = ((1 - alpha_bar) / alpha_bar).sqrt()
print(f"The tallest bar is the step to the finest detail: from noise of size "
      f"{sizes[1]:.2f} to {sizes[0]:.2f} at once.")

# %% [markdown] alt
# The cost in bits of each of the 39 learnt steps. The first bar is by far the tallest; the bound is {bound:.2f} bits
# per point, above the data's entropy of {entropy:.2f}.

# %% [markdown]
# The model states a number, and it is above the entropy, as it must be. That is the gift of 2015: two models can be
# compared without looking at a sample. (Over five seeds: 1.32 ± 0.07 bits with this budget; the entropy is 0.599. The
# committed report is `benchmarks/history/README.md`.)
#
# Part of the gap is not the network's fault. Seen from $x_t$, several clouds may be where it came from, so the true
# step back is not a Gaussian, while the model's is. For a tiny step it nearly is one. That is why 2020 takes a thousand
# of them.

# %% [markdown]
# ## 2019: no chain, only a slope
#
# Song & Ermon 2019 ask for much less: in which direction does the density rise? That is the *score*, $\nabla_x \log
# p(x)$ (`score`), an arrow at each point. With it you can walk uphill to where the data are.
#
# How can we learn arrows without knowing $p$? Noise a point, $\tilde x = x + \sigma\epsilon$ ($\sigma$, `sigma`: the
# size of the noise), and point back to where it came from: $-(\tilde x - x)/\sigma^2$. One such arrow is wrong. But
# **the average over all points that could have become $\tilde x$ is exactly the score** (Vincent 2011).

# %% [markdown]
# > **Predict.** The data are two numbers, -1 and 1. With noise of $\sigma = 0.8$ you see 0.5. Does the average arrow
# > point right or left? Multiplied by $\sigma^2$, does it reach all the way to 1?

# %% tags=["nbval-check-output"]
clean, sigma = torch.tensor([-1.0, 1.0]), 0.8
seen = torch.tensor(0.5, requires_grad=True)

closeness = -((seen - clean) ** 2) / (2 * sigma**2)
came_from = closeness.softmax(dim=0)  # how likely is each as the origin?
arrows = -(seen - clean) / sigma**2
average = (came_from * arrows).sum()
# the slope of log p, by calculus
exact = torch.autograd.grad(closeness.logsumexp(dim=0), seen)[0]

print("origin -1 or 1: ", [f"{share:.3f}" for share in came_from.tolist()])
print("arrow back to:  ", [f"{arrow:.3f}" for arrow in arrows.tolist()])
print(f"average arrow {average.item():.4f}, slope of log p {exact.item():.4f}")
assert torch.isclose(average, exact)

# %% [markdown]
# It points right, but not all the way: 1 is the likely origin, and the unlikely -1 pulls back. Times $\sigma^2$ it
# leads from 0.5 to 0.65, the mean of the two origins. A network trained by squared error on the single arrows learns
# their average, which is the score. Nobody had to know $p$.
#
# The loss of 2019 (*denoising score matching*) is weighted by $\sigma^2$ so that all noise levels count alike (eqs. 5
# and 6). We use 25 levels from 3 down to 0.03. (The paper uses ten.)

# %%
# (25,) each 0.83 of the one before
sigmas = torch.logspace(math.log10(3), math.log10(0.03), 25)
# 29,666 weights
s = score_matching_2019.ScoreNetwork(score_matching_2019.geometric_levels(L=25), seed)


def score_2019(x, sigma):
    """x (B, 2), sigma (B,) -> score (B, 2). Scale to size 1, tell the network the
    level, divide by sigma at the end."""
    clock = (sigma / 0.03).log() / math.log(3 / 0.03)
    return s.net(x / (1 + sigma**2).sqrt()[:, None], clock) / sigma[:, None]


def loss_2019(x, sigma, eps):
    """sigma² times half the squared distance to the arrow that points back: (B,)."""
    x_noisy = x + sigma[:, None] * eps
    arrow = -(x_noisy - x) / sigma[:, None] ** 2
    return 0.5 * sigma**2 * (score_2019(x_noisy, sigma) - arrow).square().sum(dim=1)


level = sigmas[torch.randint(25, (256,), generator=seed)]
one, two = (torch.Generator().manual_seed(1) for _ in range(2))
mine = loss_2019(fresh[:256], level, torch.randn(256, 2, generator=one))
theirs = score_matching_2019.denoising_score_matching(s, fresh[:256], level, two)
print(confirm_equal(mine, theirs))

# %%
def batch_loss_2019():
    x = minibatch(x_train, TRAINING.batch, seed)
    level = sigmas[torch.randint(25, (TRAINING.batch,), generator=seed)]
    return loss_2019(x, level, torch.randn(x.shape, generator=seed)).mean()


minimise(batch_loss_2019, s, TRAINING, progress)
grid = torch.cartesian_prod(torch.linspace(-2.4, 2.4, 15),
                            torch.linspace(-2.4, 2.4, 15))


@torch.no_grad()
def plot_arrows(ax, sigma):
    density = ring.log_density(plane, 1.0, sigma).exp().reshape(150, 150).T
    ax.imshow(density, extent=(-2.6, 2.6) * 2, origin="lower", cmap="Greys",
              vmax=density.max() * 1.6)
    # times sigma: arrows of similar length
    arrow = sigma * score_2019(grid, torch.full((len(grid),), sigma))
    ax.quiver(*grid.T, *arrow.T, color=plots.ORANGE, angles="xy", scale=26, width=0.007)
    ax.set_title(f"σ = {sigma:g}", fontsize=9)
    plots.hide_axes(ax)


widgets.dial(plot_arrows,
             {"sigma": [0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0]},
             strip=[{"sigma": value} for value in (2.0, 0.7, 0.3, 0.1)],
             size=(2.2, 2.4))

# %% [markdown] alt
# The learnt arrows over the true density at four noise levels. At 2.0 all point to the middle; at 0.7 to the ring; at
# 0.3 and 0.1 each points to the nearest of the eight clouds.

# %% [markdown]
# Large noise sees the forest, small noise the trees. (Each arrow is drawn $\sigma$ times as long as the score.)
#
# ## Walking uphill, with a stagger
#
# Langevin dynamics (2019, eq. 4) repeats a small step along the score and a little noise:
#
# $$ x \leftarrow x + \tfrac{\alpha}{2}\,\nabla_x\log p(x) + \sqrt{\alpha}\; z, \qquad z \sim \mathcal N(0, 1), $$
#
# with step size $\alpha$ (`step`; unrelated to $\bar\alpha_t$). Make it small and walk forever, and your positions are
# samples of $p$.
#
# > **Predict.** Two clouds far apart, at (-5, -5) with 20 % of the points and at (5, 5) with 80 %. We give Langevin
# > dynamics the *exact* score, start everywhere, and walk 1,000 steps. What share ends in the heavy cloud: 80 %, 50 %,
# > or all?

# %%
@torch.no_grad()
def langevin(score, x, step, steps, generator):
    """Langevin dynamics from x (B, 2)."""
    for _ in range(steps):
        z = torch.randn(x.shape, generator=generator)
        x = x + step / 2 * score(x) + step**0.5 * z
    return x


def annealed(score, x, levels, share, steps, generator):
    """2019's Algorithm 1: Langevin dynamics at each noise level, from large to small,
    with steps of `share` sigma²."""
    for sigma in levels.tolist():
        x = langevin(lambda x, sigma=sigma: score(x, sigma), x, share * sigma**2, steps,
                     generator)
    return x


modes = data.two_distant_modes()
everywhere = 16 * torch.rand(2000, 2, generator=seed) - 8
plain = langevin(modes.score, everywhere, 0.1, 1000, seed)
levels = score_matching_2019.geometric_levels(20.0, 0.1, 10)
fig = plain_against_annealed(plain,
                             annealed(lambda x, sigma: modes.score(x, 1.0, sigma),
                                      everywhere, levels, 0.1,
                                             100, seed), 0.8)
reached = (plain.sum(dim=1) > 0).float().mean().item()
plots.show(fig)

# %% [markdown] alt
# Plain Langevin dynamics puts {reached:.0%} of the points into the heavy cloud, about as many as started closest to it,
# instead of 80 %. Annealed Langevin dynamics comes close to 80 %.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# About half: each point climbs the hill on which it started. Between the hills the density is so small that nobody
# crosses, and *within* a hill the score does not say how heavy the hill is ($\log$ turns the weight into a constant,
# and the slope of a constant is 0).
# </details>
#
# With large noise the two hills are one, the weights show in the slope, and the points distribute correctly. Then the
# noise falls, level by level, and they stay: *annealed* Langevin dynamics. That is why there are noise levels. The same
# walk with what our network learnt:

# %%
one, two = (torch.Generator().manual_seed(2) for _ in range(2))
start = 3 * torch.randn(64, 2, generator=seed)
score = s.at
mine = annealed(score, start, s.sigmas, 0.2, 20, one)
theirs = score_matching_2019.annealed_langevin(score, start, s.sigmas, 0.2 * 0.03**2,
                                               20, two)[-1]
print(confirm_equal(mine, theirs, 1e-3))

path_2019 = [3 * torch.randn(2000, 2, generator=seed)]
for i in range(25):
    path_2019.append(annealed(score, path_2019[-1], s.sigmas[i : i + 1], 0.2, 20, seed))

fig = strip(path_2019, (0, 6, 11, 15, 20, 25),
            lambda k: f"σ = {s.sigmas[k - 1]:.2f}" if k else "start", "2019")
plots.show(fig)

# %% [markdown] alt
# Annealed Langevin dynamics: a cloud of points, at first wider than the frame, contracts as the noise level falls from
# 3 to 0.03, becomes a ring, and splits into eight sharp clouds.

# %% [markdown]
# ## 2020: the old chain, a new target
#
# Ho et al. 2020 take the chain of 2015 with $T = 1000$ small steps, fix the variance, and ask the network for one thing
# only: which noise `eps` is in $x_t$? The loss is that of lesson 03 (eq. 14),
#
# $$ L_\text{simple} = \mathbb E\,\big\|\epsilon - \epsilon_\theta(\sqrt{\bar\alpha_t}\,x_0 +
# \sqrt{1-\bar\alpha_t}\,\epsilon,\; t)\big\|^2 $$
#
# where $\epsilon_\theta$ is the network (`eps_theta`) with weights $\theta$. (As in lesson 03, the code takes the mean
# over the coordinates, here two, instead of their sum: half of this.)

# %%
q_2020 = ddpm_2020.linear_schedule()  # beta from 1e-4 to 0.02 in 1,000 steps
eps_theta = ddpm_2020.NoisePredictor(q_2020, seed)  # 29,666 weights


def loss_2020(x0, t, eps):
    """The squared error of the noise, averaged over the coordinates: (B,)."""
    share = q_2020.alpha_bar[t][:, None]
    x_t = share.sqrt() * x0 + (1 - share).sqrt() * eps
    return (eps - eps_theta(x_t, t)).square().mean(dim=1)


def batch_loss_2020():
    x0 = minibatch(x_train, TRAINING.batch, seed)
    t = torch.randint(1000, (TRAINING.batch,), generator=seed)
    return loss_2020(x0, t, torch.randn(x0.shape, generator=seed)).mean()


def step_2020(x, t, eps, q):
    """One step back: remove the share of the noise that step t added (2020, eq. 11)."""
    b, share = q.beta[t][:, None], q.alpha_bar[t][:, None]
    return (x - b / (1 - share).sqrt() * eps) / (1 - b).sqrt()


minimise(batch_loss_2020, eps_theta, TRAINING, progress)
t = torch.randint(1000, (16,), generator=seed)
print(confirm_equal(step_2020(x0, t, x_t, q_2020),
                    ddpm_2020.reverse_mean(x0, t, x_t, q_2020)))

# %%
path_2020 = [torch.randn(1000, 2, generator=seed)]
with torch.no_grad():
    for step in range(999, -1, -1):
        t = torch.full((1000,), step)
        mean = step_2020(path_2020[-1], t, eps_theta(path_2020[-1], t), q_2020)
        noise = torch.randn(1000, 2, generator=seed) if step > 0 else 0.0
        path_2020.append(mean + q_2020.beta[step].sqrt() * noise)

fig = strip(path_2020, (0, 600, 800, 900, 960, 1000), lambda k: f"after {k} steps",
            "2020")
plots.show(fig)

# %% [markdown] alt
# The reverse chain of 2020 over 1,000 steps: the round cloud becomes a ring after about 900 steps and, in the last
# hundred, four dense clouds and four smeared ones.

# %% [markdown]
# Three papers, three languages: a bound, a slope, a noise. Now watch them become one.
#
# ## One: the noise is the score
#
# 2019 adds noise without shrinking, 2020 shrinks. Divide by the shrinking: $\bar x = x_t/\sqrt{\bar\alpha_t} = x_0 +
# \sigma_t\,\epsilon$ with $\sigma_t = \sqrt{(1-\bar\alpha_t)/\bar\alpha_t}$. The arrow back is $-(\bar x -
# x_0)/\sigma_t^2 = -\epsilon/\sigma_t$. So
#
# $$ \text{score} = -\frac{\epsilon}{\sigma_t}\ \text{ at } \bar x, \qquad \text{score} =
# -\frac{\epsilon}{\sqrt{1-\bar\alpha_t}}\ \text{ at } x_t. $$
#
# > **Predict.** Put the network of 2020, converted in this way, into the loss of 2019. How does the result compare with
# > `loss_2020`, point by point: proportional, similar, or equal?

# %%
t = torch.randint(1000, (4000,), generator=seed)
eps = torch.randn(4000, 2, generator=seed)
sigma_t = ((1 - q_2020.alpha_bar) / q_2020.alpha_bar).sqrt()[t]  # (4000,)

x_bar = fresh + sigma_t[:, None] * eps
shrunk = x_bar * q_2020.alpha_bar[t][:, None].sqrt()  # x_t, the input of the network
with torch.no_grad():
    as_score = -eps_theta(shrunk, t) / sigma_t[:, None]
    arrow = -(x_bar - fresh) / sigma_t[:, None] ** 2
    by_2019 = 0.5 * sigma_t**2 * (as_score - arrow).square().sum(dim=1)
    by_2020 = loss_2020(fresh, t, eps)

difference = (by_2019 - by_2020).abs().max().item() / by_2020.max().item()
assert difference < 1e-3
print(f"4,000 losses by the formulas of 2019 and 2020; the largest difference is "
      f"{difference:.0e} of the largest loss")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Equal, point by point, up to rounding. (The factor ½ and the sum over two coordinates give the mean.) DDPM's loss *is*
# denoising score matching, at a thousand noise levels.
# </details>
#
# ## Two: the noise is the bound
#
# The posterior's variance is known, and the model's is fixed: only its mean can be learnt. Take $\beta_t$ for both (the
# posterior's own is slightly smaller, which adds only a constant), and the KL is a squared distance. Both means are
# $(x_t - \beta_t\,\epsilon/\sqrt{1-\bar\alpha_t})/\sqrt{1-\beta_t}$ (eq. 11, `step_2020` above), one with the true
# noise and one with the predicted noise. So, up to that constant, each step of the bound of 2015 is
#
# $$ \mathrm{KL}_t = \frac{\beta_t}{2\,\alpha_t\,(1-\bar\alpha_t)}\ \|\epsilon-\epsilon_\theta\|^2, \qquad \alpha_t =
# 1-\beta_t $$
#
# (2020, eq. 12, with the reverse variance $\beta_t$).

# %%
t = torch.randint(1, 1000, (4000,), generator=seed)
# nearly equal means are subtracted: use float64
b_64 = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
q_64 = ddpm_2020.Diffusion2020(b_64, (1 - b_64).cumprod(0))
share, b = q_64.alpha_bar[t][:, None], q_64.beta[t][:, None]
x_t = share.sqrt() * fresh + (1 - share).sqrt() * eps
with torch.no_grad():
    guess = eps_theta(x_t.float(), t)

true_mean, _ = ddpm_2020.posterior(fresh, x_t, t, q_64)
# the same variance on both sides
by_2015 = gaussian_kl(true_mean, b, step_2020(x_t, t, guess, q_64), b)
weight = q_64.beta / (2 * (1 - q_64.beta) * (1 - q_64.alpha_bar))  # (1000,)
by_2020 = weight[t] * (eps - guess).square().sum(dim=1)

print(confirm_equal(weight, ddpm_2020.bound_weight(q_64)))
difference = ((by_2015 - by_2020).abs().max() / by_2020.max()).item()
assert difference < 1e-6
print(f"4,000 steps of the bound by 2015's KL and by the error of the noise: equal to "
      f"within {difference:.0e}")

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=plots.WIDE)
left.plot(range(1, 1001), weight, color=plots.BLUE, label="in the bound (2015)")
left.axhline(1, color=plots.GREEN, linestyle="--",
             label="in $L_\\mathrm{simple}$ (2020)")
left.set(yscale="log", xlabel="timestep t (from 1)", ylabel="weight",
         title="Weight of the noise's error at each t")
left.legend()
total = weight.cumsum(0) / weight.sum()
half = int((total < 0.5).sum()) + 1
right.plot(range(1, 1001), total, color=plots.BLUE)
right.plot([0, 1000], [0, 1], color=plots.GREEN, linestyle="--")
right.annotate(f"half of the bound's\nweight lies at t ≤ {half}", (half, 0.5),
               xytext=(half + 150, 0.28), arrowprops={"arrowstyle": "->"})
right.set(xlabel="timestep t (from 1)", ylabel="share of all weight up to t",
          title="The same, cumulative")
plots.show(fig)

# %% [markdown] alt
# Left: the bound's weight on a logarithmic scale falls from about 0.5 at t = 1 to about 0.005 near t = 340 and rises to
# 0.01. Right: half of the bound's weight lies at t up to {half}; the simplified loss spreads it evenly.

# %% [markdown]
# So, with the variance fixed and the noise predicted, 2020 changed *one thing*: it dropped the weight. The bound counts
# bits, and most bits of a picture are in its finest grain, which the eye does not notice. $L_\text{simple}$ spends the
# network's effort on the coarse steps, where the content of the picture is decided. On pictures, the samples get better
# and the bits get worse (2020, section 4).
#
# ## Three: all networks say the same
#
# The network of 2015 predicts noise too: its mean is eq. 11, so solve eq. 11 for the noise.

# %%
def eps_2015(x_bar, sigma):
    """2015's mean, converted to noise, at the step of its chain with the closest
    sigma."""
    chain = ((1 - alpha_bar) / alpha_bar).sqrt()
    step = int((chain.log() - math.log(sigma)).abs()[1:].argmin()) + 1
    x_t, b = x_bar * alpha_bar[step].sqrt(), beta[step]
    mean, _ = reverse_2015(x_t, torch.full((len(x_bar),), step))
    return (x_t - (1 - b).sqrt() * mean) * (1 - alpha_bar[step]).sqrt() / b


def eps_2019(x_bar, sigma):
    return -sigma * s.at(x_bar, sigma)


def eps_2020(x_bar, sigma):
    """2020's network at the (fractional) timestep that has this sigma."""
    chain = ((1 - q_2020.alpha_bar) / q_2020.alpha_bar).sqrt()
    step = max(int((chain < sigma).sum()) - 1, 0)
    low, high = chain[step].log(), chain[step + 1].log()
    part = (math.log(sigma) - low) / (high - low)
    return eps_theta(x_bar / math.sqrt(1 + sigma**2),
                     torch.full((len(x_bar),), step + float(part)))


def eps_exact(x_bar, sigma):
    return -sigma * ring.score(x_bar, 1.0, sigma)


networks = {"2015": eps_2015, "2019": eps_2019, "2020": eps_2020}
# levels of 2015, rising
CHAIN = [value for value in ((1 - alpha_bar) / alpha_bar).sqrt().tolist() if value <= 3]
chosen = [min(CHAIN, key=lambda value: abs(value - wanted)) for wanted in (1.0, 0.3)]
chosen = [round(value, 3) for value in chosen]
fig = fields(ring, {"exact": eps_exact, **networks}, chosen)
plots.show(fig)

# %% [markdown] alt
# The exact field of arrows and those of the three networks at two noise levels, over the true density. They look alike:
# towards the middle at the large level, towards the eight clouds at the small one. Above each stands its
# root-mean-square error on noised data; there the arrows' length is about 1.

# %% [markdown]
# Above each field stands its root-mean-square error on noised data, where the arrows' length is about 1. Three losses,
# three parameterisations, one field of arrows. At the small level 2019 is closest, and its samples above are the
# sharpest: half of its levels lie at 0.3 or below, but fewer than a tenth of the steps of 2015 and 2020.

# %% [markdown]
# If the networks are the same, the *samplers* can be swapped. In $\bar x$, each kind of step is one line. With $\sigma$
# now and a smaller $\sigma'$ next, $\hat\epsilon$ the network's noise, $z$ fresh noise, and $\hat x_0 = \bar x -
# \sigma\hat\epsilon$ the guess of the clean point, they are:
#
# - chain (2015, 2020): $\hat x_0 + r\,(\bar x-\hat x_0) + \sigma'\sqrt{1-r}\;z$, with $r = \sigma'^2/\sigma^2$ (the
#   posterior's variance; above, 2020 used $\beta_t$, and 2015 learnt its own);
# - Langevin (2019): $\bar x - \frac{\alpha}{2\sigma}\hat\epsilon + \sqrt\alpha\,z$, a few times at each level;
# - flow (2020/21, DDIM and score SDE): $\bar x + (\sigma'-\sigma)\,\hat\epsilon$, no randomness at all.

# %%
def chain_step(x_bar, eps, sigma, after, z):
    x0_hat, r = x_bar - sigma * eps, after**2 / sigma**2
    return x0_hat + r * (x_bar - x0_hat) + after * (1 - r) ** 0.5 * z


def flow_step(x_bar, eps, sigma, after, z):
    return x_bar + (after - sigma) * eps


def langevin_step(x_bar, eps, sigma, after, z):
    return x_bar - 0.2 * sigma / 2 * eps + 0.2**0.5 * sigma * z  # alpha = 0.2 sigma²


@torch.no_grad()
def walk(model, step, x_bar, calls_a_level=1, temperature=1.0):
    """Through the levels of 2015 with any network and any step; `temperature` scales
    the added noise.

    Langevin dynamics walks long at the last level: the chain of 2015 gets there in one
    great leap, so it must catch up.
    """
    falling = CHAIN[::-1]
    for sigma, after in zip(falling, [*falling[1:], 0.0]):
        for _ in range(300 if calls_a_level > 1 and not after else calls_a_level):
            z = temperature * torch.randn(x_bar.shape, generator=seed)
            x_bar = step(x_bar, model(x_bar, sigma), sigma, after, z)
    return x_bar


# Is the chain's line really the posterior of 2020? From t = 500 to 499, with the true
# noise:
t = torch.full((4000,), 500)
share, before = q_2020.alpha_bar[500], q_2020.alpha_bar[499]
x_t = share.sqrt() * fresh + (1 - share).sqrt() * eps
level = [((1 - a) / a).sqrt() for a in (share, before)]
mine = chain_step(x_t / share.sqrt(), eps, *level, z=0.0) * before.sqrt()
print(confirm_equal(mine, ddpm_2020.posterior(fresh, x_t, t, q_2020)[0], 1e-4))

# %%
samplers = {"chain": (chain_step, 1), "Langevin": (langevin_step, 10),
            "flow": (flow_step, 1)}
fig, axes = plt.subplots(3, 3, figsize=(6.6, 6.9))
for row, (name, model) in zip(axes, networks.items()):
    row[0].set_ylabel(f"network of {name}")
    for ax, (title, (step, calls)) in zip(row, samplers.items()):
        points = walk(model, step,
                      math.sqrt(1 + CHAIN[-1] ** 2)
                      * torch.randn(4000, 2, generator=seed), calls)
        cloud(ax, points[:2000], COLOURS[name])
        ax.set_title(f"{title}: {sliced_wasserstein(points, fresh):.3f}", fontsize=9.5)
floor = sliced_wasserstein(ring.sample(4000, seed), fresh)
plots.show(fig)
print(f"The number is the distance to fresh data; two fresh samples are {floor:.3f} "
      f"apart.")

# %% [markdown] alt
# Nine clouds: the networks of 2015, 2019 and 2020, each sampled by the chain, by Langevin dynamics and by the flow. All
# show the ring with its four dense and four thin clouds, some smeared; above each stands its distance to fresh data.
# Two fresh samples are {floor:.3f} apart.

# %% [markdown]
# Every network works with every sampler; only that of 2015 with Langevin dynamics, at 0.099, is clearly further away.
# (The distance is the sliced Wasserstein distance: project both clouds on many directions, and measure how far the
# points would have to move. Two samples of the data are 0.070 apart, so below that it says nothing. It hardly notices
# the smeared clouds of 2015 and 2020; the eye does.) **What is learnt (the arrows) and how one walks along them are two
# separate choices.** That is why a Stable Diffusion checkpoint of 2022 runs with samplers invented later, and why
# `tinyldm/reverse_diffusion.py` contains samplers and no network.

# %% [markdown]
# ## Break it on purpose
#
# Three walks with the network of 2019, each with one thing wrong (they also differ in the number of steps, which does
# not matter here):
#
# 1. **No stagger**: Langevin dynamics without its noise $z$: only uphill.
# 2. **One level**: all steps at the smallest $\sigma = 0.03$.
# 3. **Downhill**: the sign of the score flipped, for a few steps.
#
# The four heavy clouds hold three quarters of the data. `heavy` is their share of the samples.
#
# > **Predict.** For each walk: what will the cloud look like? Which mistake is hardest to see?

# %%
def heavy(points):
    """The share of points whose nearest centre is one of the four heavy ones."""
    return (torch.cdist(points, ring.means).argmin(dim=1) % 2
            == 1).float().mean().item()


wide = 3 * torch.randn(2000, 2, generator=seed)
walks = {
    "right": annealed(s.at, wide, s.sigmas, 0.2, 20, seed),
    "1. no stagger": walk(eps_2019, langevin_step, wide, calls_a_level=10,
                          temperature=0.0),
    "2. one level": langevin(lambda x: s.at(x, 0.03), wide, 0.2 * 0.03**2, 500, seed),
    "3. downhill": annealed(lambda x, sigma: -s.at(x, sigma), wide, s.sigmas[:3], 0.2,
                            5, seed),
}
fig, axes = plt.subplots(1, 4, figsize=(9.2, 2.8))
for ax, (title, points) in zip(axes, walks.items()):
    cloud(ax, points, COLOURS["2019"], view=12 if "downhill" in title else 2.6, size=3)
    note = "view × 4.6" if "downhill" in title else f"heavy: {heavy(points):.0%}"
    ax.set_title(f"{title}\n{note}", fontsize=9.5)
print(f"heavy clouds of the data: {heavy(fresh):.0%}")
plots.show(fig)

# %% [markdown] alt
# Four clouds. Right: eight clouds, {heavy(walks['right']):.0%} of the points in the heavy ones. Without the noise: all
# 2,000 points in one spot. With one small level only: eight clouds, but {heavy(walks['2. one level']):.0%} in the heavy
# ones. Downhill: the points have flown apart, in a frame nearly five times as wide.

# %% [markdown]
# 1. At the largest level there is *one* peak, in the middle. All points climb it and stay together from then on: 2,000
#    copies of one sample. The stagger is what makes samples differ.
# 2. The hardest to see: eight fine clouds. But each point climbed the hill on which it started. So about half end in
#    the heavy clouds, and not three quarters.
# 3. The score points towards the data. For `eps` it is the other way round, $\text{score} = -\epsilon/\sigma$: forget
#    this minus sign in the conversion, and the samples fly away.

# %% [markdown]
# ## What the article says
#
# - *2015 used non-equilibrium thermodynamics.* True: for the chain, and for its bound, which the article does not
#   mention.
# - *DDPM improved on the previous method by variational inference.* Hardly: the bound already was the loss of 2015.
#   2020 fixed the variance, predicted noise and dropped the weights; its loss changed in nothing else (section Two).
# - *The network predicts the noise added at each step.* No: all the noise in $x_t$, which is
#   $\sqrt{1-\bar\alpha_t}\,\epsilon$. A step removes only $\beta_t/\sqrt{1-\bar\alpha_t}\;\epsilon$ (eq. 11), the
#   share $\beta_t/(1-\bar\alpha_t)$ of it.
# - *NCSN or SMLD.* Both are the method of 2019: the network, and the way to train and sample it.

# %% [markdown]
# ## Three quick questions
#
# **1.** A model reports a bound of 0.5 bits on our ring, whose entropy is 0.599. What do you reply?
#
# <details><summary>Answer</summary>
#
# There is a mistake: on fresh data, a bound on the bits cannot be below the entropy. (On its own training points it
# can: the model has memorised them.)
# </details>
#
# **2.** $\epsilon_\theta$ is (0.3, -1.2) at $\bar\alpha_t = 0.64$. What is the score at $x_t$?
#
# <details><summary>Answer</summary>
#
# $-\epsilon/\sqrt{1-0.64} = -\epsilon/0.6 = (-0.5, 2.0)$.
# </details>

# %% [markdown]
# **3.** Why does the flow need fewer steps than the chain?
#
# <details><summary>Answer</summary>
#
# It adds no noise that later steps must remove, and its paths are smooth: a long straight step along a smooth path
# makes a small error. In the committed report the flow with 19 calls is closer to the data than the chain with 20
# steps, on all four data sets.
# </details>

# %% [markdown]
# ## Exercises
#
# `../exercises/04_three_ancestors.ipynb`: a KL between Gaussians, the noise levels, the score of a mixture, the loss
# of 2019, a Langevin step.
#
# To try here: change `data.ring_of_gaussians()` to `data.checkerboard()` or `data.two_moons()` and run all cells up to
# "Break it on purpose" (`heavy` is for the ring only). Which network suffers most? Train 2020 with `weight[t] *
# loss_2020(…)`: do the samples get better or worse?

# %% [markdown]
# ## What next
#
# `python -m tinyldm_course.history --help` runs all this with progress bars on four data sets; the report is in
# `benchmarks/history/`. The package's files are `tinyldm/history/nonequilibrium_2015.py`, `score_matching_2019.py`,
# `ddpm_2020.py` and `probability_flow.py`, and you have now written most of their lines.
#
# From 2020 to Stable Diffusion, one step is missing: working on latents instead of pixels. Lesson 05 builds the
# autoencoder that makes them.
