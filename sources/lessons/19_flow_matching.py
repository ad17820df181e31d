# %% [markdown]
# # 19 · Straight lines: flow matching, the way of Stable Diffusion 3
#
# **Goal.** Train and sample along straight lines between noise and data; see what is new in it and what is old.
#
# **Time.** 40 minutes to read and play; the cells compute for about a minute on 2 CPU cores.
#
# **Before this.** Lesson 02 ($\bar\alpha$), lesson 03 (velocity), lesson 04 (the two moons) and lesson 12 (Euler).
#
# **You will be able to**
# - write the straight path, its target and its loss: three lines;
# - measure how straight the paths of sampling are, and make them straighter;
# - translate between $\bar\alpha$, $\sigma$ and flow time, and sample the shipped model in it without training;
# - say what `shift` does in Stable Diffusion 3.

# %%
import matplotlib.pyplot as plt
import torch
from torch import nn

from tinyldm import LatentDiffusion
from tinyldm.beyond import flow_matching as package
from tinyldm.history import notation
from tinyldm.history.data import two_moons
from tinyldm.history.network import NoiseMLP
from tinyldm.history.probability_flow import time_of_sigma
from tinyldm.reverse_diffusion import guided
from tinyldm_course.lessons import plots, widgets
from tinyldm_course.lessons.helpers import confirm_equal, full_or_fast
from tinyldm_course.lessons.model_map import show_model_map

plots.use_style()
print("This lesson runs on cpu, whatever you have: its networks are small.")
draw = torch.Generator().manual_seed(1)  # the source of every random number below
POINTS, STEPS = full_or_fast(20_000, fast=1000), full_or_fast(4000, fast=20)

# %% [markdown]
# ## Where we are
#
# The article's story ends in July 2023. Its models noise data along a curve: the factors $\sqrt{\bar\alpha}$ and
# $\sqrt{1 - \bar\alpha}$ lie on a *circle*, because their squares sum to 1. In 2022 three groups asked at the same
# time: why not along the *chord*?
#
# $$ z_\tau = (1 - \tau)\, z_0 + \tau\, \epsilon, \qquad \tau \text{ from } 0 \text{ (data) to } 1 \text{ (noise)} $$
#
# (Liu et al. 2023; Lipman et al. 2023; Albergo & Vanden-Eijnden 2023; in this form Esser et al. 2024, eq. 13.) No
# $\beta$, no table of 1,000 steps, and at $\tau = 1$ there is nothing but noise.

# %%
show_model_map("forward diffusion", "sampler")

# %% [markdown]
# ## The path and its target
#
# Walk along the line at constant speed. The direction, $\mathrm dz_\tau / \mathrm d\tau$, is what the network is to
# predict: the **flow** $u$.
#
# > **Predict.** Differentiate $z_\tau$ with respect to $\tau$ on paper. Does the result depend on $\tau$?

# %% tags=["nbval-check-output"]
def z_at(z0, eps, tau):
    """z0, eps (B, …), tau (B,) -> the point on the line."""
    tau = tau.view(-1, *(1 for _ in z0.shape[1:]))  # (B,) -> (B, 1, …)
    return (1 - tau) * z0 + tau * eps


def flow_target(z0, eps):
    return eps - z0


z0, eps = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]])
for tau in (0.0, 0.5, 1.0):
    place = z_at(z0, eps, torch.tensor([tau]))[0].tolist()
    print(f"tau = {tau}: at {place}, going {flow_target(z0, eps)[0].tolist()}")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# $u = \epsilon - z_0$: no. On one line the direction never changes. (The velocity of lesson 03, $v =
# \sqrt{\bar\alpha}\,\epsilon - \sqrt{1-\bar\alpha}\,z_0$, turns with the circle.)
# </details>
#
# $u$ points from data to noise; sampling walks against it. The papers of 2022 count time the other way; Stable
# Diffusion 3 and this course let $\tau = 1$ be noise.

# %% tags=["nbval-check-output"]
z0, eps = torch.randn(2, 5, 4, 8, 8, generator=draw)
tau = torch.rand(5, generator=draw)
print(confirm_equal(z_at(z0, eps, tau), package.z_at(z0, eps, tau)))

# %% [markdown]
# ## Train it on two moons
#
# The loop is the one you know, with another point and another target. The network is lesson 04's. It is called with
# $t = 1000\,\tau$, as large networks are, whose timestep embeddings expect numbers up to 1,000; inside, it divides by
# 1,000 again.

# %%
class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = NoiseMLP(2, 2, torch.Generator().manual_seed(0))

    def forward(self, z, t):
        return self.net(z, t / 1000)


points = two_moons().sample(POINTS, draw)  # (POINTS, 2)
noise = torch.randn(POINTS, 2, generator=draw)


def independent():
    """A batch of data and noise that know nothing of each other."""
    i, j = torch.randint(POINTS, (2, 256), generator=draw)
    return points[i], noise[j]


def train(pairs):
    model = Network()
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        z0, eps = pairs()
        tau = torch.rand(len(z0), generator=draw)
        u = model(z_at(z0, eps, tau), 1000 * tau)
        loss = (u - flow_target(z0, eps)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    return model.eval(), loss.item()

# %%
model, loss = train(independent)
print(f"loss of the last batch: {loss:.2f}")

# %% [markdown]
# The loss stays far above 0, and must: at $\tau = 0.5$ many lines pass through one point, with different directions.
# The network learns their **mean**. That mean is all that is needed: following it carries the whole cloud of noise onto
# the cloud of data (Lipman et al. 2023, theorem 1), though no single line is followed.
#
# Here is what it learnt: in blue the noised data, and as arrows the way that sampling goes, $-u$. Turn the dial from
# noise to data. (At $\tau = 0$ the mean of the unknown noise is 0, so $-u = z_0$: on the moons, arrows point outwards.
# Far from the points it was never asked.)

# %%
grid = torch.cartesian_prod(torch.linspace(-3, 3, 15), torch.linspace(-3, 3, 15))


@torch.no_grad()
def plot_field(ax, tau):
    z = z_at(points[:800], noise[:800], torch.full((800,), tau))
    u = model(grid, torch.full((len(grid),), 1000 * tau))
    ax.scatter(*z.T, s=2, color=plots.SKY)
    ax.quiver(*grid.T, *-u.T, color=plots.BLACK, scale=45, width=0.006)
    ax.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal")
    ax.set_title(f"τ = {tau}")
    plots.hide_axes(ax)


TAUS = [round(1 - 0.05 * i, 2) for i in range(21)]
strip = [{"tau": tau} for tau in (1.0, 0.75, 0.5, 0.25, 0.0)]
widgets.dial(plot_field, {"tau": TAUS}, strip=strip, size=(1.9, 2.1))

# %% [markdown] alt
# Five clouds of points with arrows, for τ = 1, 0.75, 0.5, 0.25 and 0. At 1 a round cloud of noise, and all arrows point
# to its middle; towards 0 the cloud becomes two moons, and arrows close to them point in different directions.

# %% [markdown]
# ## Sample
#
# > **Predict.** Straight lines lead from noise to data. So will a *single* Euler step from noise,
# > $z \leftarrow z - u(z, 1)$, land on the moons? (In the figure the ends of 600 paths are blue; of sixty the start,
# > orange, and the path are drawn as well.)

# %%
@torch.no_grad()
def euler(model, z, times):
    path = [z]
    for tau, after in zip(times, times[1:]):
        t = torch.full((len(z),), 1000 * tau)
        path.append(path[-1] + (after - tau) * model(path[-1], t))
    return torch.stack(path)  # (steps + 1, B, 2)


def even(steps):
    return [1 - i / steps for i in range(steps + 1)]


def plot_paths(ax, path, title):
    ax.scatter(*path[-1].T, s=2, color=plots.BLUE)
    for line in path[:, :60].transpose(0, 1):
        ax.plot(*line.T, color=plots.BLACK, linewidth=0.6, alpha=0.6)
    ax.scatter(*path[0, :60].T, s=5, color=plots.ORANGE, zorder=3)
    ax.set_title(title, loc="center")
    ax.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal")
    plots.hide_axes(ax)


start = torch.randn(600, 2, generator=draw)
path = euler(model, start, even(8))
print(confirm_equal(path, package.euler(package.flow_of(model), start, even(8))))

# %%
fig, axes = plt.subplots(1, 4, figsize=(9.4, 2.6))
for ax, steps in zip(axes, (1, 2, 8, 50)):
    plot_paths(ax, euler(model, start, even(steps)), f"Euler steps: {steps}")
plots.show(fig)

# %% [markdown] alt
# The ends of 600 paths in blue after 1, 2, 8 and 50 Euler steps, and sixty starts in orange with their paths. One step
# ends in a small blob in the middle, two in a tilted bar; 8 and 50 steps give two moons, on paths that bend.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# No. At $\tau = 1$ the point tells nothing about which data point it was paired with: the mean of all directions leads
# to the *mean of the data*, in the middle. Straight lines between pairs do not make straight paths of sampling. (With
# 50 steps a few points still end between the moons: this network is small and smooth, and cannot part the cloud
# sharply.)
# </details>
#
# How bent are they? Compare the direction at each moment with that from start to end, where $z_1$ and $z_0$ are the two
# ends of one *sampled* path (Liu et al. 2023, § 2):
#
# $$ S = \int_0^1 \mathbb E\, \big\| (z_1 - z_0) - \tfrac{\mathrm d z_\tau}{\mathrm d \tau} \big\|^2 \, \mathrm d\tau $$

# %%
def straightness(path, times):
    total = 0.0
    whole = (path[-1] - path[0]) / (times[-1] - times[0])
    for i in range(len(times) - 1):
        length = times[i + 1] - times[i]
        slope = (path[i + 1] - path[i]) / length
        total += (whole - slope).square().sum(1).mean() * abs(length)
    return total / abs(times[-1] - times[0])


fine = even(100)
path = euler(model, start, fine)
bent = straightness(path, fine)
print(confirm_equal(bent, torch.tensor(package.straightness(path, fine))))
length = (path[-1] - path[0]).square().sum(1).mean()
print(f"S = {bent:.2f}; the squared length from start to end is {length:.2f}")

# %% [markdown]
# ## Make them straighter: reflow
#
# Straight paths at constant speed have $S = 0$; 0.89 is more than the squared length itself. The paths bend because the
# lines of *independent* pairs cross. So pair differently: each noise with the point to which the trained flow carries
# it. Two paths of one differential equation never meet, so the straight lines between their ends hardly cross. Train a
# second network on these pairs (Liu et al. 2023, algorithm 1).
#
# > **Predict.** The second network never sees the data, only what the first one made. What gets better, what cannot?

# %%
made = package.reflow(package.flow_of(model), noise, even(25))  # (POINTS, 2)


def coupled():
    i = torch.randint(POINTS, (256,), generator=draw)
    return made[i], noise[i]


straight, loss = train(coupled)
print(f"loss of the last batch: {loss:.3f}")
print(f"S = {straightness(euler(straight, start, fine), fine):.3f}")

fig, axes = plt.subplots(1, 3, figsize=(7.5, 2.7))
for ax, steps in zip(axes, (1, 2, 50)):
    plot_paths(ax, euler(straight, start, even(steps)), f"Euler steps: {steps}")
plots.show(fig)

# %% [markdown] alt
# The same noise by the second network, in 1, 2 and 50 steps. Its paths are nearly straight, and its single step already
# gives two moons.

# %%
def energy_distance(a, b):
    """0 for equal clouds (Székely 2002)."""
    within = (torch.cdist(a, a).mean() + torch.cdist(b, b).mean()) / 2
    return (torch.cdist(a, b).mean() - within).item()


fresh = two_moons().sample(2000, draw)
many = torch.randn(2000, 2, generator=draw)
again = two_moons().sample(2000, torch.Generator().manual_seed(7))
floor = energy_distance(again, fresh)  # of two samples of the data themselves
counts = (1, 2, 4, 8, 16, 32, 64, 128)
fig, ax = plt.subplots(figsize=plots.NARROW)
ax.axhline(floor, color=plots.GREY, linestyle=":", label="data and data")
for network, name, style in ((model, "first", "o-"), (straight, "reflow", "s--")):
    ends = [euler(network, many, even(steps))[-1] for steps in counts]
    distances = [energy_distance(end, fresh) for end in ends]
    ax.plot(counts, distances, style, markersize=4, label=name)
    print(f"{name:6}", " ".join(f"{n}: {d:.4f} " for n, d in zip(counts, distances)))
print(f"two samples of the data: {floor:.4f}")
ax.set(xscale="log", yscale="log", title="Fewer steps")
ax.set(xlabel="Euler steps", ylabel="energy distance to the data")
ax.set_xticks(counts, counts)
ax.legend()
plots.show(fig)

# %% [markdown] alt
# The distance to the data over the number of steps, both axes logarithmic. The first network's line falls steeply up to
# sixteen steps; the second one's is nearly level from one step on. A dotted line: two samples of the data.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Fewer steps are needed: $S$ falls from 0.89 to 0.001, and one step of the second network is closer to the data than 32
# of the first. What it cannot do is beat what it imitates: the first network in many small steps, mistakes included.
# With 128 steps the two lines nearly meet, a little above the dotted one, the distance of two samples of the data.
# </details>
#
# Stable Diffusion 3 does not use reflow; few-step models such as InstaFlow did (Liu et al. 2024, reported). Lesson 21
# has another way to few steps.

# %% [markdown]
# ## The same thing in other coordinates
#
# Divide $z_\tau$ by the length of its two factors and you are back on the circle, with
#
# $$ \sigma = \frac{\tau}{1 - \tau}, \qquad
# \bar\alpha = \frac{1}{1 + \sigma^2} = \frac{(1-\tau)^2}{(1-\tau)^2 + \tau^2} $$
#
# Every straight path *is* a noising of lesson 02: in the figure below, dotted lines join points of equal noise. And $u$
# follows from $v$ and $z_t$ without a network: solve lesson 03's two equations for $z_0$ and $\epsilon$, and subtract.

# %% tags=["nbval-check-output"]
print("τ      σ       ᾱ       SNR")
for tau in (0.1, 0.25, 0.5, 0.75, 0.9):
    sigma = notation.sigma_from_tau(tau)
    alpha_bar = notation.alpha_bar_from_sigma(sigma)
    print(f"{tau:<6} {sigma:<7.3f} {alpha_bar:<7.3f} {1 / sigma**2:.3f}")

alpha_bar = notation.alpha_bar_from_sigma(notation.sigma_from_tau(0.3)).float()
signal, rest = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
z_t, v = signal * z0 + rest * eps, signal * eps - rest * z0
u = (signal * v + rest * z_t) - (signal * z_t - rest * v)
print(confirm_equal(u, flow_target(z0, eps), claim="u from v and z_t is ε - z0"))
print(confirm_equal(u, notation.flow_from_velocity(v, z_t, 0.3).float()))

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=plots.WIDE)
tau = torch.linspace(0, 1, 200, dtype=torch.float64)[1:-1]
alpha_bar = notation.alpha_bar_from_sigma(notation.sigma_from_tau(tau))
left.plot(1 - tau, tau, color=plots.BLUE, label="flow")
left.plot(alpha_bar.sqrt(), (1 - alpha_bar).sqrt(), "--", color=plots.ORANGE,
          label="diffusion")
for i in (40, 100, 160):
    across = (1 - tau[i], alpha_bar[i].sqrt()), (tau[i], (1 - alpha_bar[i]).sqrt())
    left.plot(*across, ":", color=plots.GREY)
left.set(xlabel="factor of the data", ylabel="factor of the noise", aspect="equal",
         title="Chord and circle")
left.legend()
tiny = LatentDiffusion.from_pretrained()
sigmas = notation.sigma_from_alpha_bar(tiny.schedule.alpha_bar)  # (1000,) rising
t = torch.arange(1000) / 999
right.plot(t, notation.tau_from_sigma(sigmas), color=plots.ORANGE)
right.plot(t, t, ":", color=plots.GREY, label="τ = t / 999")
right.legend()
right.set(xlabel="t / 999 of Stable Diffusion 1", ylabel="flow time τ",
          title="Its timesteps in flow time")
plots.show(fig)
ends = notation.tau_from_sigma(sigmas)[[0, -1]].tolist()
print("τ of t = 0 and t = 999: {:.3f} and {:.3f}".format(*ends))

# %% [markdown] alt
# Left: the factors of data and noise, on a straight line and on a quarter circle; dotted lines join the points of equal
# noise, on rays from the origin. Right: Stable Diffusion 1's timesteps in flow time, from 0.03 to 0.94: steep at first,
# then nearly a straight line.

# %% [markdown]
# So the shipped model, trained for velocity on the circle, can be sampled along the chord. Nothing is trained here;
# only the arguments are translated. Its table ends at $\tau = 0.936$: it never saw pure noise (lesson 02), and beyond
# that it is asked for the last timestep.

# %%
captions = ["a large red circle above a small blue square",
            "a large yellow star on a black background"] * 2
context, null = tiny.encode_text(captions), tiny.encode_text([""])


def flow_of_tiny(guidance_scale):
    v = guided(tiny.unet, context, null, guidance_scale)

    def flow(z, tau):
        within = min(max(tau, 0.028), 0.936)  # what its table of timesteps has
        t = time_of_sigma(notation.sigma_from_tau(within).item(), sigmas)
        x_t = notation.preserving_from_straight(z, tau)
        answer = v(x_t, torch.full((len(z),), t))
        return notation.flow_from_velocity(answer, x_t, tau).float()

    return flow


@torch.no_grad()
def drawn(z, steps, shift=1.0):
    """Pictures by Euler steps in flow time."""
    times = package.flow_times(steps, shift)
    return tiny.decode(package.euler(flow_of_tiny(3.0), z, times)[-1])


z_tiny = torch.randn(4, 4, 8, 8, generator=draw)
titles = ["red circle,\nblue square", "yellow star\non black"] * 2
fig = plots.image_grid(torch.cat([tiny.generate(captions, steps=12, noise=z_tiny),
                                  drawn(z_tiny, 12)]), titles, columns=4, size=1.3,
                       rows=["DDIM", "flow"])
plots.show(fig)

# %% [markdown] alt
# Four pictures from the same noise in 12 steps: by DDIM, and by Euler in flow time. Both rows show the same scenes; one
# star stands a little higher in the second.

# %% [markdown]
# Nearly the same scenes in both rows: another path, the same model.
#
# Are the shipped model's paths straighter than those of the moons? We compare $S$ with the squared length from start to
# end, because 256 numbers make longer paths than two.

# %%
for guidance_scale in (0.0, 1.0, 3.0):  # 0: without the caption
    path = package.euler(flow_of_tiny(guidance_scale), z_tiny, even(50))
    length = (path[-1] - path[0]).square().flatten(1).sum(1).mean()
    share = package.straightness(path, even(50)) / length
    print(f"w = {guidance_scale}: S / squared length = {share:.3f}")
bent_share = bent / (euler(model, start, fine)[[0, -1]].diff(dim=0) ** 2).sum(2).mean()
print(f"the two moons: {bent_share:.3f}")

# %% [markdown]
# They are: 0.155 without guidance and 0.242 with it, where the moons have 1.775. A caption leaves less open, so less
# has to be decided on the way: without it ($w = 0$) the paths are bent more, 0.295. The rest of the difference has a
# likely reason that we have not tested: most of the 256 numbers carry noise that has to go, straight, whatever the
# picture is. Guidance bends the paths again.

# %% [markdown]
# ## Which τ to train at
#
# At $\tau = 1$, $u$ is the noise you see minus an unknown picture; at $\tau = 0$ it is an unknown noise minus the
# picture you see. In the middle both are unknown and the prediction is hardest, so Stable Diffusion 3 draws $\tau$
# there more often: $\operatorname{logit} \tau \sim \mathcal N(0, 1)$ (Esser et al. 2024, eq. 19: the best of 61
# variants that they compared, reported). Below: the error that is left on the two moons, and that density.

# %%
levels = torch.linspace(0.02, 0.98, 25)
with torch.no_grad():
    unknown = []
    for tau in levels:
        z = z_at(points, noise, tau.expand(POINTS))
        u = model(z, (1000 * tau).expand(POINTS))
        unknown.append((u - flow_target(points, noise)).square().mean().item())
fig, (left, right) = plt.subplots(1, 2, figsize=plots.WIDE)
left.plot(levels, unknown, "o-", markersize=4)
left.set(xlabel="τ", ylabel="mean squared error of u", title="What stays unknown")
left.set_ylim(0)
right.hist(package.logit_normal(POINTS, draw), bins=60, density=True)
right.axhline(1, linestyle="--", color=plots.ORANGE)
right.set(xlabel="τ", ylabel="density", title="Logit-normal τ; uniform dashed")
plots.show(fig)

# %% [markdown] alt
# Left: the error of the trained network over τ: about 1 at both ends, highest near 0.55. Right: a histogram of
# logit-normal τ, a hill with its top at one half that falls to zero at both ends.

# %% [markdown]
# The error is 1.0 at both ends, the variance of what is unknown there, and 1.75 at $\tau = 0.56$. (The dip at 0.13: the
# moons are thin, so a point near them tells some of its noise.)
#
# ## Where to spend steps: shift
#
# A large picture shows its scene through more noise than a small one, because neighbouring pixels repeat each other.
# **Shift** moves all times towards noise, $\tau' = s\tau / (1 + (s - 1)\tau)$: in $\sigma$ simply $\sigma' =
# s\,\sigma$ (Esser et al. 2024, eq. 23).
#
# > **Predict.** With the $s = 3$ of Stable Diffusion 3: near which $\tau$ is the move $\tau' - \tau$ largest?

# %% tags=["nbval-check-output"]
for tau in (0.0, 0.1, 0.25, 0.37, 0.5, 0.75, 0.9, 1.0):
    moved = package.shifted(torch.tensor(tau), 3.0).item()
    print(f"{tau:4} -> {moved:.3f}, by {moved - tau:.3f}")

# %%
def plot_times(ax, shift):
    ax.vlines(package.flow_times(12, shift), 0, 1, color=plots.BLUE, linewidth=1)
    ax.set(xlim=(-0.02, 1.02), ylim=(0, 1), xlabel="τ", title=f"shift {shift}")
    ax.set_yticks([])


widgets.dial(plot_times, {"shift": (0.5, 1.0, 2.0, 3.0, 6.0)},
             strip=[{"shift": s} for s in (1.0, 3.0, 6.0)], size=(3.0, 1.0))

# %% [markdown] alt
# The twelve times of sampling, and 0, as lines between 0 and 1: even for shift 1, crowded towards 1 for 3 and 6.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# At $\tau = 1 / (1 + \sqrt s) = 0.37$, where the derivative of $\tau'$ is 1. Both ends stay. (The line close to 0 is
# the last time, 1/1,000 before the shift.)
# </details>
#
# With few steps it matters. Six steps of the shipped model, the same noise:

# %%
rows = [tiny.generate(captions, steps=25, noise=z_tiny)]
rows += [drawn(z_tiny, 6, shift) for shift in (1.0, 3.0)]
fig = plots.image_grid(torch.cat(rows), titles, columns=4, size=1.3,
                       rows=["25 steps\nof DDIM", "6, shift 1", "6, shift 3"])
plots.show(fig)

# %% [markdown] alt
# Four pictures from the same noise: by 25 steps of DDIM, and by six Euler steps in flow time with shift 1 and with
# shift 3. With shift 3 one square falls apart, and one star is a lump.

# %% [markdown]
# Here shift 3 does harm: most of the six steps see hardly anything but noise, and too few are left for the shapes. It
# is meant for latents of 128 × 128, not of 8 × 8.
#
# ## What changed, and why the field moved
#
# The path and the target: no $\beta$, no table, no last step that is not quite noise (lesson 02), one target for all
# $\tau$. Not the network, not the VAE, not guidance. It is *simpler*, and that is the reason people give first. The
# gain in quality comes mostly from where $\tau$ is drawn, and that could have been had on the circle, too (Kingma & Gao
# 2023).

# %% [markdown]
# ## Break it on purpose
#
# Two mistakes that raise no error. The first network (a) is given $\tau$ instead of $1000\,\tau$, or (b) is followed in
# the wrong direction.

# %%
wrong = {
    "right": euler(model, start, even(20)),
    "τ instead of 1000 τ": euler(lambda z, t: model(z, t / 1000), start, even(20)),
    "the other way": euler(lambda z, t: -model(z, t), start, even(20)),
}
fig, axes = plt.subplots(1, 3, figsize=(7.5, 2.7))
for ax, (name, path) in zip(axes, wrong.items()):
    plot_paths(ax, path, name)
    print(f"{name}: energy distance {energy_distance(path[-1], fresh):.3f}")
plots.show(fig)

# %% [markdown] alt
# Right: two moons. With τ instead of 1000 τ: a thin line, like two moons that are too large and joined. The other way:
# most points fly outwards.

# %% [markdown]
# Mistake (a) is the dangerous one. The network believes that it sees data with no noise in it, and yet something like
# two moons comes out, only too large: you would look for the mistake in the training.

# %% [markdown]
# ## What the article says
#
# Nothing: it ends with XL. Its sentences about *why* noise is removed step by step hold here word for word; of its
# formulas only the two factors change.

# %% [markdown]
# ## Three quick questions
#
# **1.** At $\tau = 0.5$, what is $\bar\alpha$, and how are $u$ and $v$ related?
#
# <details><summary>Answer</summary>
#
# $\bar\alpha = 1/2$, and $u = \sqrt 2\, v$: only there are they parallel whatever $z$ is.
# </details>
#
# **2.** Data and noise are both single points. How many Euler steps does sampling need?
#
# <details><summary>Answer</summary>
#
# One: there is one line, and the mean over one line is that line. $S = 0$.
# </details>

# %% [markdown]
# **3.** A network was trained to predict $v$ with a weight of 1 at every uniform $t$. You train another for $u$ with
# uniform $\tau$. Are these the same training?
#
# <details><summary>Answer</summary>
#
# The same predictions are best for both. But each noise level gets another weight, and occurs with another frequency.
# That, not the straight line, is most of the difference in practice (Kingma & Gao 2023).
# </details>

# %% [markdown]
# ## Exercises
#
# `../exercises/19_flow_matching.ipynb`: the path and its target, the data that a flow points to, one network with two
# names, the shifted times, straightness; each is checked at once.
#
# To try here: train on `checkerboard()` (from `tinyldm.history.data`) instead. Reflow a second time: what happens to
# $S$, and to the moons?

# %% [markdown]
# ## What next
#
# Stable Diffusion 3 changed the path, and the network: lesson 20 replaces the U-Net by a transformer. The package's
# version of this lesson is `tinyldm/beyond/flow_matching.py`, and `tinyldm/history/notation.py` translates between the
# coordinates of all papers.
