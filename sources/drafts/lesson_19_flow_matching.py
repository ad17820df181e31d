# %% [markdown]
# # 19 · Straight lines: flow matching
#
# **Goal.** Train and sample along straight lines between noise and data, as Stable Diffusion 3 does, and see what is
# new in it and what is old.
#
# **Time.** 40 minutes to read and play; the cells compute for about a minute on 2 CPU cores.
#
# **Before this.** Lessons 02, 03 and 04.
#
# **You will be able to**
# - write the straight path, its target and its loss: three lines;
# - measure how straight the paths of sampling are, and make them straighter;
# - translate between $\bar\alpha$, $\sigma$ and flow time, and sample the shipped model in flow time without training;
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

plots.use_style()
torch.manual_seed(0)

# %% [markdown]
# ## Where we are
#
# The article's story ends in July 2023. Its models noise data along a curve: the factors $\sqrt{\bar\alpha}$ and
# $\sqrt{1 - \bar\alpha}$ lie on a *circle*, their squares sum to 1. In 2022 three groups asked at the same time: why
# not along the *chord*?
#
# $$ z_\tau = (1 - \tau)\, z_0 + \tau\, \varepsilon, \qquad \tau \text{ from } 0 \text{ (data) to } 1 \text{ (noise)} $$
#
# (Liu et al. 2023; Lipman et al. 2023; Albergo & Vanden-Eijnden 2023; in this form Esser et al. 2024, eq. 13.) No
# $\beta$, no table of 1,000 steps, and at $\tau = 1$ there is nothing but noise.

# %% [markdown]
# ## The path and its target
#
# Walk along the line at constant speed. In which direction? $\mathrm dz_\tau / \mathrm d\tau$ is what the network shall
# predict: the **flow** $u$.
#
# > **Predict.** Take the derivative of $z_\tau$ by $\tau$ on paper. Does it depend on $\tau$?

# %%
def z_at(z0, eps, tau):
    """z0, eps (B, …), tau (B,) -> the point on the line."""
    tau = tau.view(-1, *(1 for _ in z0.shape[1:]))          # (B,) -> (B, 1, …)
    return (1 - tau) * z0 + tau * eps


def flow_target(z0, eps):
    return eps - z0


z0, eps = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]])
for tau in (0.0, 0.5, 1.0):
    print(f"tau = {tau}: at {z_at(z0, eps, torch.tensor([tau]))[0].tolist()}, going {flow_target(z0, eps)[0].tolist()}")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# $u = \varepsilon - z_0$: no. On one line the direction never changes. (The velocity of lesson 02, $v =
# \sqrt{\bar\alpha}\,\varepsilon - \sqrt{1-\bar\alpha}\,z_0$, turns with the circle.)
# </details>
#
# $u$ points from data to noise; sampling walks against it. The papers of 2022 count time the other way; Stable
# Diffusion 3 and this course let $\tau = 1$ be noise.

# %%
z0, eps, tau = torch.randn(5, 4, 8, 8), torch.randn(5, 4, 8, 8), torch.rand(5)
print(confirm_equal(z_at(z0, eps, tau), package.z_at(z0, eps, tau)))

# %% [markdown]
# ## Train it on two moons
#
# The loop is the one you know, with another point and another target. The network is the one of lesson 04. It is given
# $t = 1000\,\tau$, because the timestep embeddings of large networks expect numbers up to 1,000.

# %%
class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = NoiseMLP(2, 2, torch.Generator().manual_seed(0))

    def forward(self, z, t):
        return self.net(z, t / 1000)


draw = torch.Generator().manual_seed(1)
points = two_moons().sample(20_000, draw)                                   # (20000, 2)
noise = torch.randn(20_000, 2, generator=draw)


def independent():
    """A batch of data and noise that know nothing of each other."""
    i, j = torch.randint(20_000, (2, 256), generator=draw)
    return points[i], noise[j]


def train(pairs, steps):
    model = Network()
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        z0, eps = pairs()
        tau = torch.rand(len(z0), generator=draw)
        loss = (model(z_at(z0, eps, tau), 1000 * tau) - flow_target(z0, eps)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    return model.eval(), loss.item()


STEPS = full_or_fast(4000, fast=20)
model, loss = train(independent, STEPS)
print(f"loss of the last batch: {loss:.2f}")

# %% [markdown]
# The loss stays far above 0, and must: at $\tau = 0.5$ many lines pass through one point, with different directions.
# The network learns their **mean**. That mean is all that is needed: following it carries the whole cloud of noise onto
# the cloud of data (Lipman et al. 2023, theorem 1), though no single line is followed.
#
# ## Sample
#
# > **Predict.** Lines are straight. So will a *single* Euler step from noise, $z \leftarrow z - u(z, 1)$, land on the
# > moons?

# %%
@torch.no_grad()
def euler(model, z, times):
    path = [z]
    for tau, after in zip(times, times[1:]):
        t = torch.full((len(z),), 1000 * tau)
        path.append(path[-1] + (after - tau) * model(path[-1], t))
    return torch.stack(path)                                                 # (steps + 1, B, 2)


def even(steps):
    return [1 - i / steps for i in range(steps + 1)]


start = torch.randn(600, 2, generator=torch.Generator().manual_seed(2))
print(confirm_equal(euler(model, start, even(8)), package.euler(package.flow_of(model), start, even(8))))


def plot_paths(ax, path, title):
    for line in path[:, :60].transpose(0, 1):
        ax.plot(*line.T, color=plots.GREY, linewidth=0.5, zorder=1)
    ax.scatter(*path[0].T, s=2, color=plots.ORANGE, label="noise")
    ax.scatter(*path[-1].T, s=2, color=plots.BLUE, label="after")
    ax.set_title(title, loc="center")
    ax.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal")
    plots.hide_axes(ax)


fig, axes = plt.subplots(1, 4, figsize=(9.4, 2.6))
for ax, steps in zip(axes, (1, 2, 8, 50)):
    plot_paths(ax, euler(model, start, even(steps)), f"Euler steps: {steps}")
plots.show(fig, "Noise and where it goes in 1, 2, 8 and 50 Euler steps, with the paths of sixty points. One step ends "
           "in a small blob in the middle, two in a tilted bar; 8 and 50 steps give two moons, on paths that bend.")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# No. At $\tau = 1$ the point tells nothing about which data point it was paired with: the mean of all directions leads
# to the *mean of the data*, in the middle. Straight lines between pairs do not make straight paths of sampling.
# </details>
#
# How bent are they? Compare the direction at each moment with that from start to end (Liu et al. 2023, § 2):
#
# $$ S = \int_0^1 \mathbb E\, \big\| (z_1 - z_0) - \tfrac{\mathrm d z_\tau}{\mathrm d \tau} \big\|^2 \, \mathrm d\tau $$

# %%
def straightness(path, times):
    total = 0.0
    whole = (path[-1] - path[0]) / (times[-1] - times[0])
    for i in range(len(times) - 1):
        slope = (path[i + 1] - path[i]) / (times[i + 1] - times[i])
        total += (whole - slope).square().sum(1).mean() * abs(times[i + 1] - times[i])
    return total / abs(times[-1] - times[0])


fine = even(100)
path = euler(model, start, fine)
print(confirm_equal(straightness(path, fine), torch.tensor(package.straightness(path, fine))))
squared = (path[-1] - path[0]).square().sum(1).mean()
print(f"S = {straightness(path, fine):.2f}; the squared length from start to end is {squared:.2f}")

# %% [markdown]
# ## Make them straighter: reflow
#
# The paths bend because the lines of *independent* pairs cross. So pair differently: each noise with the point to which
# the trained flow carries it. These pairs do not cross, since two paths of a differential equation never meet. Train a
# second network on them (Liu et al. 2023, algorithm 1).
#
# > **Predict.** The second network never sees the data, only what the first one made. What gets better, what cannot?

# %%
made = package.reflow(package.flow_of(model), noise, even(25))              # (20000, 2)


def coupled():
    i = torch.randint(20_000, (256,), generator=draw)
    return made[i], noise[i]


straight, loss = train(coupled, STEPS)
print(f"loss of the last batch: {loss:.3f}")
second = euler(straight, start, fine)
print(f"S = {straightness(second, fine):.3f}")

fig, axes = plt.subplots(2, 4, figsize=(9.4, 5.0))
for row, network in zip(axes, (model, straight)):
    for ax, steps in zip(row, (1, 2, 8, 50)):
        plot_paths(ax, euler(network, start, even(steps)), f"Euler steps: {steps}")
axes[0, 0].set_ylabel("first")
axes[1, 0].set_ylabel("after reflow")
plots.show(fig, "The same pictures for the first network above and the second below. The second one's paths are nearly "
           "straight, and its single step already gives two moons.")

# %%
def energy_distance(a, b):
    """0 for equal clouds (Székely 2002)."""
    between, within = torch.cdist(a, b).mean(), (torch.cdist(a, a).mean() + torch.cdist(b, b).mean()) / 2
    return (between - within).item()


fresh, many = two_moons().sample(2000, torch.Generator().manual_seed(3)), torch.randn(2000, 2)
counts = (1, 2, 4, 8, 16, 32)
fig, ax = plt.subplots(figsize=plots.NARROW)
for network, name, style in ((model, "first", "o-"), (straight, "after reflow", "s--")):
    distances = [energy_distance(euler(network, many, even(steps))[-1], fresh) for steps in counts]
    ax.plot(counts, distances, style, markersize=4, label=name)
    print(name, {steps: round(distance, 4) for steps, distance in zip(counts, distances)})
ax.set(xscale="log", yscale="log", xlabel="Euler steps", ylabel="energy distance to the data", title="Fewer steps")
ax.set_xticks(counts, counts)
ax.legend()
plots.show(fig, "The distance to the data over the number of steps. The first network needs sixteen steps or more; the "
           "second is nearly as good with one as with thirty-two.")

# %% [markdown]
# What cannot get better: the second network imitates the first, mistakes included. Stable Diffusion 3 does not use
# reflow; few-step models such as InstaFlow did (Liu et al. 2024, reported). Lesson 21 has another way to few steps.
#
# ## The same thing in other coordinates
#
# Divide $z_\tau$ by the length of its two factors and you are back on the circle, with
#
# $$ \sigma = \frac{\tau}{1 - \tau}, \qquad
# \bar\alpha = \frac{1}{1 + \sigma^2} = \frac{(1-\tau)^2}{(1-\tau)^2 + \tau^2} $$
#
# Every straight path *is* a noising of lesson 02. And $u$ follows from $v$ and $z_t$ without a network:
# `notation.flow_from_velocity`.

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=plots.WIDE)
tau = torch.linspace(0, 1, 200, dtype=torch.float64)[1:-1]
alpha_bar = notation.alpha_bar_from_sigma(notation.sigma_from_tau(tau))
left.plot(1 - tau, tau, color=plots.BLUE, label="straight")
left.plot(alpha_bar.sqrt(), (1 - alpha_bar).sqrt(), "--", color=plots.ORANGE, label="diffusion")
for place in (40, 100, 160):
    on_the_circle = alpha_bar[place].sqrt(), (1 - alpha_bar[place]).sqrt()
    left.plot(*zip((1 - tau[place], tau[place]), on_the_circle), ":", color=plots.GREY)
left.set(xlabel="factor of the data", ylabel="factor of the noise", title="Chord and circle", aspect="equal")
left.legend()
schedule = LatentDiffusion.from_pretrained().schedule
t = torch.arange(1000) / 999
right.plot(t, notation.tau_from_sigma(notation.sigma_from_alpha_bar(schedule.alpha_bar)), color=plots.ORANGE)
right.plot(t, t, ":", color=plots.GREY)
right.set(xlabel="t / 999 of Stable Diffusion 1", ylabel="flow time τ", title="Its timesteps in flow time")
plots.show(fig, "Left: the factors of data and noise, on a straight line and on a quarter circle; dotted lines join "
           "the points of equal noise, on rays from the origin. Right: Stable Diffusion 1's timesteps in flow time, "
           "from 0.03 to 0.94: steep at first, then nearly a straight line.")

# %% [markdown]
# So the shipped model, trained for velocity on the circle, can be sampled along the chord. Nothing is trained here;
# only the arguments are translated.

# %%
tiny = LatentDiffusion.from_pretrained()
captions = ["a large red circle above a small blue square", "a large yellow star on a black background"] * 2
context, null = tiny.encode_text(captions), tiny.encode_text([""])
sigmas = notation.sigma_from_alpha_bar(tiny.schedule.alpha_bar)                                # (1000,) rising


def flow_of_tiny(guidance_scale):
    v = guided(tiny.unet, context, null, guidance_scale)

    def flow(z, tau):
        sigma = notation.sigma_from_tau(min(max(tau, 0.005), 0.935)).item()                    # what the table has
        x_t = notation.preserving_from_straight(z, tau)
        t = torch.full((len(z),), time_of_sigma(sigma, sigmas))
        return notation.flow_from_velocity(v(x_t, t), x_t, tau).float()

    return flow


z = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(5))
with torch.no_grad():
    rows = [tiny.generate(captions, steps=12, noise=z)]
    for shift in (1.0, 3.0):
        z0 = package.euler(flow_of_tiny(3.0), z, package.flow_times(12, shift))[-1]
        rows.append((tiny.vae.decode(z0) + 1) / 2)
fig = plots.image_grid(torch.cat(rows), columns=4, rows=["DDIM", "flow", "flow, shift 3"], size=1.3)
plots.show(fig, "Four pictures from the same noise in 12 steps: by DDIM, by Euler in flow time, and with shift 3. All "
           "three rows show the same scenes with small differences.")

# %%
for guidance_scale in (1.0, 3.0):
    times = even(50)
    path = package.euler(flow_of_tiny(guidance_scale), z, times)
    length = (path[-1] - path[0]).square().flatten(1).sum(1).mean()
    print(f"w = {guidance_scale}: straightness / squared length = {package.straightness(path, times) / length:.3f}")

# %% [markdown]
# ## Which τ to train at, and where to spend steps
#
# At $\tau$ near 0 or 1 the best prediction is easy and the same for all; in the middle the picture is decided. Stable
# Diffusion 3 draws $\tau$ there more often: $\operatorname{logit} \tau \sim \mathcal N(0, 1)$ (Esser et al. 2024, eq.
# 19: best of 61 variants that they compared, reported).
#
# And a large picture shows its scene through more noise than a small one, because neighbouring pixels repeat each
# other.
# **Shift** moves all times towards noise, $\tau' = s\tau / (1 + (s - 1)\tau)$: in $\sigma$ simply $\sigma' =
# s\,\sigma$.
#
# > **Predict.** With $s = 3$ and 4 steps, which of the times 1, 0.75, 0.5, 0.25 moves most?

# %%
def plot_times(ax, shift):
    times = package.flow_times(12, shift)
    ax.vlines(times, 0, 1, color=plots.BLUE, linewidth=1)
    ax.set(xlim=(-0.02, 1.02), ylim=(0, 1), xlabel="τ", title=f"shift {shift}")
    ax.set_yticks([])


widgets.dial(plot_times, {"shift": (0.5, 1.0, 2.0, 3.0, 6.0)}, strip=[{"shift": s} for s in (1.0, 3.0, 6.0)],
             size=(3.0, 1.0), alt="The twelve times of sampling as lines between 0 and 1: even for shift 1, crowded "
                                  "towards 1 for 3 and 6.")
fig, ax = plt.subplots(figsize=plots.NARROW)
ax.hist(package.logit_normal(20_000, draw), bins=60, density=True, color=plots.BLUE)
ax.axhline(1, linestyle="--", color=plots.ORANGE)
ax.set(xlabel="τ", ylabel="density", title="Logit-normal τ; uniform dashed")
plots.show(fig, "A histogram of logit-normal τ: a hill with its top at one half, falling to zero at both ends.")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# They become 1, 0.9, 0.75, 0.5: 0.25 and 0.5 move by 0.25 each, 0.75 by 0.15, 1 not at all.
# </details>
#
# ## Break it on purpose
#
# Two mistakes that raise no error. The first network is asked (a) with $\tau$ instead of $1000\,\tau$, and (b) is
# followed in the wrong direction.

# %%
wrong = {
    "right": euler(model, start, even(20)),
    "τ instead of 1000 τ": euler(lambda z, t: model(z, t / 1000), start, even(20)),
    "the other way": euler(lambda z, t: -model(z, t), start, even(20)),
}
fig, axes = plt.subplots(1, 3, figsize=(7.5, 2.7))
for ax, (name, path) in zip(axes, wrong.items()):
    plot_paths(ax, path, name)
plots.show(fig, "Right: two moons. With τ instead of 1000 τ: two moons that are too large, and joined by strays. The "
           "other way: most points fly outwards.")

# %% [markdown]
# The second is the dangerous one. The network believes that it sees data with no noise in it, and yet the picture is
# nearly right: you would look for the mistake in the training. (A large network, whose every block reads the time,
# forgives less.)

# %% [markdown]
# ## What the article says
#
# Nothing: it ends with XL. Its sentences about *why* noise is removed step by step hold here word for word; of its
# formulas only the two factors change.
#
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
#
# **3.** A network was trained to predict $v$ with a weight of 1 at every uniform $t$. You train another for $u$ with
# uniform $\tau$. Are these the same training?
#
# <details><summary>Answer</summary>
#
# The same predictions are best for both. But each noise level gets another weight, and occurs with another frequency.
# That, not the straight line, is most of the difference in practice (Kingma & Gao 2023, arXiv 2303.00848).
# </details>

# %% [markdown]
# ## Exercises
#
# `../exercises/19_flow_matching.ipynb`: the target, the Euler step, straightness, the shift; each is checked at once.
#
# To try here: train on `checkerboard()` instead. Reflow a second time: what happens to $S$, and to the picture?
#
# ## What next
#
# Stable Diffusion 3 changed the path, and the network: lesson 20 replaces the U-Net by a transformer. The package's
# version of this lesson is `tinyldm/beyond/flow_matching.py`.
