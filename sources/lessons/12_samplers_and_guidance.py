# %% [markdown]
# # 12 · Samplers and guidance: from noise to a picture in few steps, and nearer to the caption
#
# **Goal.** Build four samplers and classifier-free guidance, and find out what each of them costs and buys.
#
# **Time.** 45 minutes to read and play; the cells compute for about two minutes on 2 CPU cores.
#
# **Before this.** Lesson 02 ($\bar\alpha_t$ and the jump), lesson 03 (one step back), lesson 08 (the U-Net) and lesson 10
# (why one caption in ten was dropped in training).
#
# **You will be able to**
# - write DDIM, Euler, DDPM and DPM-Solver++, each in three lines, and say how they differ;
# - predict what half as many steps cost;
# - write guidance, with and without a negative caption, and say what too much of it does;
# - make the same picture twice, or never.

# %%
import math
import time
import warnings

import matplotlib.pyplot as plt
import torch

import tinyldm
from tinyldm import LatentDiffusion, to_unit
from tinyldm.course import plots, widgets
from tinyldm.course.lesson import budget, same
from tinyldm.course.where import where_we_are
from tinyldm.reverse_diffusion import leading
from tinyldm.workshop.data.world import COLOURS, HELD_OUT_PAIRS, SHAPES, Scene, Thing
from tinyldm.workshop.evaluation import share
from tinyldm.workshop.judge import Judge, verdict
from tinyldm.workshop.machine import choose_device

plots.use()
torch.set_grad_enabled(False)     # nothing is trained in this lesson
DEVICE = choose_device()          # CUDA, else Apple's MPS, else the CPU
print("This lesson runs on", DEVICE.type)
seed = torch.Generator().manual_seed(0)

# %% [markdown]
# ## Where we are
#
# Training is over; the weights stay as they are. What is left is to *ask* the U-Net again and again, and to make the next
# question out of the answer. That loop is the sampler. It knows nothing of captions: guidance stands between it and the
# U-Net.

# %%
where_we_are("sampler", "guidance")

# %% [markdown]
# ## What the network tells us
#
# From a noisy $z_t$ (`z`) and its $t$ (`t`), the network says in effect two things at once: a clean latent $\hat z_0$
# (`z0_hat`) and the noise $\hat\epsilon$ (`eps_hat`). They are two readings of one answer, because
# $z_t = \sqrt{\bar\alpha_t}\,\hat z_0 + \sqrt{1-\bar\alpha_t}\,\hat\epsilon$ must hold. The tiny model's answer is a velocity
# $\hat v$ (`v`), and
#
# $$ \hat z_0 = \sqrt{\bar\alpha_t}\, z_t - \sqrt{1-\bar\alpha_t}\,\hat v, \qquad
# \hat\epsilon = \sqrt{\bar\alpha_t}\,\hat v + \sqrt{1-\bar\alpha_t}\, z_t $$
#
# (Salimans & Ho 2022, appendix D). A number for each: with $\bar\alpha_t = 0.36$ the factors are 0.6 and 0.8.

# %%
# NBVAL_CHECK_OUTPUT
def z0_and_eps(v, z, alpha_bar_t):
    """One answer, read in two ways."""
    signal, noise = alpha_bar_t**0.5, (1 - alpha_bar_t) ** 0.5
    return signal * z - noise * v, signal * v + noise * z


z0_hat, eps_hat = z0_and_eps(v=-0.5, z=1.0, alpha_bar_t=0.36)
print(f"z0_hat = {z0_hat:.2f}, eps_hat = {eps_hat:.2f}; mixed again: {0.6 * z0_hat + 0.8 * eps_hat:.2f}")

# %% [markdown]
# ## A world with a perfect network
#
# To compare samplers fairly we first need a network that makes no mistakes. For very simple data it can be written
# down. Let the whole data set be *one number*, near 1 two times out of three, near -1 otherwise: two bells
# $\mathcal N(m_k, s^2)$ with $m = (-1, 1)$ (`MEANS`), weights $(\tfrac13, \tfrac23)$ (`WEIGHTS`) and $s = 0.25$ (`SPREAD`). Noised,
# each bell is a bell again, so the best possible $\hat z_0$ is a weighted mean: how probable is each bell, given
# $z_t$, and where in it would the number have been?

# %%
T = 1000
alpha_bar = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, T, dtype=torch.float64) ** 2, 0).float()
MEANS, WEIGHTS, SPREAD = torch.tensor([-1.0, 1.0]).double(), torch.tensor([1 / 3, 2 / 3]).double(), 0.25


def perfect(z, t):
    """The best answer for the two bells: z (B,) at timestep t -> z0_hat (B,), eps_hat (B,)."""
    a = alpha_bar[t].item()
    variance = a * SPREAD**2 + 1 - a                                     # of each bell, noised to t
    off = z[:, None] - a**0.5 * MEANS                                    # (B, 2): how far from the middle of each
    which = (WEIGHTS.log() - off**2 / (2 * variance)).softmax(1)         # (B, 2): which bell was it?
    z0_hat = (which * (MEANS + a**0.5 * SPREAD**2 / variance * off)).sum(1)
    return z0_hat, (z - a**0.5 * z0_hat) / (1 - a) ** 0.5


z = torch.linspace(-2.5, 2.5, 200).double()
fig, ax = plt.subplots(figsize=plots.NARROW)
for t, colour, dash in zip((999, 600, 300, 50), plots.CYCLE, ("-", "--", "-.", ":")):
    ax.plot(z, perfect(z, t)[0], color=colour, linestyle=dash, label=f"t = {t}")
ax.set(xlabel="$z_t$", ylabel=r"best guess $\hat z_0$", title="The answers of a perfect network", ylim=(-1.7, 1.7))
ax.legend()
plots.show(fig, "The best guess of the clean number against the noisy one. At t = 999 a nearly flat line at about 0.33; at "
                "smaller t it becomes an S that jumps from -1 to 1; at t = 50 nearly a straight line.")

# %% [markdown]
# At $t = 999$ the noisy number says next to nothing, so the best guess is the *mean of all data*,
# $\tfrac23 \cdot 1 + \tfrac13\cdot(-1) = 0.33$, a number that hardly occurs in the data! For pictures the same guess is a blur, the
# mean of all pictures that fit the caption.
#
# > **Predict.** A sampler of a single step believes the first guess and stops. Where do forty numbers end? And where
# > should they end?

# %% [markdown]
# ## DDIM: change the mixture, keep the parts
#
# The simplest idea. If the answer were exact, $z_t$ would consist of $\hat z_0$ and $\hat\epsilon$. Then a state with less noise
# consists of the same two, in another mixture. Write $\bar\alpha$ (`now`) for where we are and $\bar\alpha'$ (`after`) for where we
# want to land, any number of timesteps further down:
#
# $$ z' = \sqrt{\bar\alpha'}\;\hat z_0 + \sqrt{1-\bar\alpha'}\;\hat\epsilon $$
#
# (Song et al. 2021, "DDIM", eq. 12 with $\sigma = 0$.) The loop around it: ask, step, ask again. The last step lands on
# $\bar\alpha' = 1$, the clean latent.

# %%
def trailing(steps):
    """Evenly spaced timesteps, counted down from the last: (steps,)."""
    return torch.tensor([round(T - i * T / steps) - 1 for i in range(steps)])


def ddim_step(z, z0_hat, eps_hat, now, after):
    return after**0.5 * z0_hat + (1 - after) ** 0.5 * eps_hat


def walk(estimate, z, ts, step, final=1.0, look=None):
    """From noise to a clean latent: at each t ask once, step once. `look` gets (t, z after the step, z0_hat)."""
    levels = [*alpha_bar[ts].tolist(), final]
    for t, now, after in zip(ts.tolist(), levels, levels[1:]):
        z0_hat, eps_hat = estimate(z, t)
        z = step(z, z0_hat, eps_hat, now, after)
        if look is not None:
            look(t, z, z0_hat)
    return z

# %%
start = torch.randn(4000, generator=seed, dtype=torch.float64)
few = (1, 2, 4, 8, 50)

fig, axes = plt.subplots(1, len(few), figsize=(9.2, 2.5), sharey=True)
curve = torch.linspace(-2, 2, 200).double()
bells = (WEIGHTS * (-((curve[:, None] - MEANS) ** 2) / (2 * SPREAD**2)).exp()).sum(1) / (SPREAD * (2 * math.pi) ** 0.5)
for ax, steps in zip(axes, few):
    ends = walk(perfect, start, trailing(steps), ddim_step)
    ax.hist(ends, bins=60, range=(-2, 2), density=True, color=plots.SKY)
    ax.plot(curve, bells, color=plots.ORANGE, linewidth=1.2)
    ax.set(xlabel="end", title=f"{steps} step" + "s" * (steps > 1), ylim=(0, 1.6))
axes[0].set_ylabel("density")
plots.show(fig, "Histograms of 4,000 ends of DDIM after 1, 2, 4, 8 and 50 steps, over the two bells of the data. One step "
                "puts all at 0.33, between the bells; with more steps two peaks appear, and at 50 they fill the bells.")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# With one step all end at about 0.33, between the bells, where hardly any data is. They should end one third in the left
# bell, two thirds in the right one. The few-step ones are *too narrow*: each takes the mean of what is possible and
# leaves out its spread.
# </details>
#
# So a picture from too few steps is not noisy. It is too smooth.

# %% [markdown]
# ## Euler: a path, followed in straight lines
#
# Divide $z_t$ by its signal's factor, $x = z_t/\sqrt{\bar\alpha}$, and write $\sigma = \sqrt{(1-\bar\alpha)/\bar\alpha}$ (`sigma`) for the noise
# per signal. Then $x = \hat z_0 + \sigma\hat\epsilon$, and DDIM's step becomes
#
# $$ x' = x - (\sigma - \sigma')\,\hat\epsilon. $$
#
# That is Euler's method for the differential equation $\mathrm dx/\mathrm d\sigma = \hat\epsilon$ (Karras et al. 2022, algorithm 1 without its
# correction): noise, "scaled down and subtracted". So sampling is *following a path*, and a step is a straight piece of
# it. DDIM and Euler are one method in two coordinates.

# %%
# NBVAL_CHECK_OUTPUT
def euler_step(z, z0_hat, eps_hat, now, after):
    sigma, next_sigma = ((1 - now) / now) ** 0.5, ((1 - after) / after) ** 0.5
    x = z / now**0.5 - (sigma - next_sigma) * eps_hat
    return after**0.5 * x


with_ddim, with_euler = (walk(perfect, start, trailing(7), step) for step in (ddim_step, euler_step))
print(f"largest difference of 4,000 ends: {(with_ddim - with_euler).abs().max():.0e}"[:-2] + "something tiny"
      if (with_ddim - with_euler).abs().max() > 1e-10 else "DDIM and Euler end at the same 4,000 numbers")

# %% [markdown]
# ## DDPM: step back, and add a little noise
#
# The oldest of the four takes the name "reverse diffusion" seriously. Given $z_t$ *and* $\hat z_0$, the state just before is
# again a bell (Ho et al. 2020, "DDPM", eq. 7). With $\alpha = \bar\alpha/\bar\alpha'$ (`alpha`), the share of signal that
# survives the steps in between:
#
# $$ z' = \frac{\sqrt{\bar\alpha'}(1-\alpha)\,\hat z_0 + \sqrt{\alpha}\,(1-\bar\alpha')\,z_t}{1-\bar\alpha}
# + \sqrt{\frac{1-\bar\alpha'}{1-\bar\alpha}(1-\alpha)}\;\epsilon_{\text{fresh}} $$
#
# The mean lies between the noisy state and the guess; the rest is *fresh* noise. Twice the noise is drawn, once at the
# start, once at each step.

# %%
def ddpm(generator):
    """A DDPM step that draws its noise from `generator`."""
    def step(z, z0_hat, eps_hat, now, after):
        alpha = now / after
        mean = (after**0.5 * (1 - alpha) * z0_hat + alpha**0.5 * (1 - after) * z) / (1 - now)
        variance = (1 - after) / (1 - now) * (1 - alpha)
        fresh = torch.randn(z.shape, generator=generator, dtype=z.dtype).to(z.device)     # one seed on every device
        return mean + variance**0.5 * fresh if variance > 0 else mean
    return step

# %% [markdown]
# > **Predict.** Draw the paths of forty numbers from noise to the bells, once with DDIM, once with DDPM, 100 steps each,
# > from the same forty starts. Which are smooth? May two paths cross?

# %%
def paths(step, z, steps=100):
    seen = [z]
    walk(perfect, z, trailing(steps), step, look=lambda t, z, z0_hat: seen.append(z))
    return torch.stack(seen)     # (steps + 1, walkers)


forty = torch.randn(40, generator=seed, dtype=torch.float64)
fig, axes = plt.subplots(1, 2, figsize=plots.WIDE, sharey=True)
for ax, step, name in ((axes[0], ddim_step, "DDIM: nothing random"), (axes[1], ddpm(seed), "DDPM: fresh noise each step")):
    way = paths(step, forty)
    ax.plot([*trailing(100).tolist(), -1], way, color=plots.SKY, linewidth=0.7)
    for i, colour, dash in ((0, plots.BLUE, "-"), (1, plots.ORANGE, "--")):
        ax.plot([*trailing(100).tolist(), -1], way[:, i], color=colour, linestyle=dash, linewidth=1.4)
    ax.set(xlabel="timestep t (read to the right)", xlim=(1000, -10), title=name)
axes[0].set_ylabel("value")
plots.show(fig, "Forty paths from noise at t = 999 to the two bells at 1 and -1. Left, DDIM: smooth curves that never cross "
                "and part in the middle. Right, DDPM: jagged walks that cross freely and end in the same two bells.")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# DDIM's are smooth, and two of them cannot cross: where they met, they would get the same answer and go on together. So
# the starting noise decides everything. DDPM's are jagged and cross: its fresh noise decides, too. Both end in the right
# two bells, one third to two thirds.
# </details>
#
# Between the two lies a dial, DDIM's $\eta$ (`eta`): it scales the fresh noise from 0 (DDIM) to 1 (DDPM). You can try it
# with `tinyldm.ddim(…, eta=0.5)`.

# %% [markdown]
# ## DPM-Solver++: look where the guess is going
#
# A path is followed best in coordinates in which it is nearly straight. With $\lambda = \log\sqrt{\bar\alpha/(1-\bar\alpha)}$ (`lambda_`,
# half the log SNR of lesson 02) as the time, the *exact* step is a weighted mean of all the guesses $\hat z_0$ on the
# way; DDIM takes the first one for all. DPM-Solver++ (Lu et al. 2022, algorithm 2, "2M") has the previous guess too, and
# extrapolates by half a step, at no extra call:
#
# $$ z' = \sqrt{\tfrac{1-\bar\alpha'}{1-\bar\alpha}}\; z_t + \sqrt{\bar\alpha'}\,(1-e^{-h})\,D, \qquad
# D = \hat z_0 + \tfrac{h}{2 h_{\text{prev}}}\big(\hat z_0 - \hat z_0^{\text{prev}}\big) $$
#
# with $h = \lambda' - \lambda$ (`h`). With $D = \hat z_0$ it is DDIM once more.

# %%
def half_log_snr(share_of_signal):
    return math.inf if share_of_signal == 1 else 0.5 * math.log(share_of_signal / (1 - share_of_signal))


def dpm_solver_pp():
    """A DPM-Solver++ step, which remembers the guess before."""
    before = {}

    def step(z, z0_hat, eps_hat, now, after):
        lambda_, h = half_log_snr(now), half_log_snr(after) - half_log_snr(now)
        D = z0_hat
        if before and after < 1:     # at the clean latent λ is infinite: there it stays first order
            D = z0_hat + h / (2 * (lambda_ - before["lambda_"])) * (z0_hat - before["z0_hat"])
        before.update(lambda_=lambda_, z0_hat=z0_hat)
        return ((1 - after) / (1 - now)) ** 0.5 * z - after**0.5 * math.expm1(-h) * D
    return step

# %% [markdown]
# > **Predict.** Twice as many steps, half as long. By how much does the error of DDIM shrink, by how much that of
# > DPM-Solver++? ("Order" $n$ means: an error proportional to the step's length to the power $n$.)

# %%
def down_to(stop, steps):
    return torch.tensor([round(999 - i * (999 - stop) / steps) for i in range(steps)])


def errors(stop):
    """Root mean square distance from the path's true point at `stop` (below 0: the clean end), by sampler."""
    final = alpha_bar[stop].item() if stop >= 0 else 1.0
    ts = (lambda steps: down_to(stop, steps)) if stop >= 0 else trailing
    truth = walk(perfect, start, ts(999 - max(stop, 0)), dpm_solver_pp(), final)
    return [[(walk(perfect, start, ts(n), step, final) - truth).square().mean().sqrt().item() for n in counts]
            for step in (ddim_step, dpm_solver_pp())]


counts = (4, 8, 16, 32, 64, 128)
fig, axes = plt.subplots(1, 2, figsize=plots.WIDE, sharey=True)
for ax, stop, title in ((axes[0], 100, "Down to t = 100"), (axes[1], -1, "Down to the clean number")):
    ddim_errors, dpm_errors = errors(stop)
    ax.loglog(counts, ddim_errors, "o-", color=plots.BLUE, label="DDIM = Euler")
    ax.loglog(counts, dpm_errors, "s--", color=plots.ORANGE, label="DPM-Solver++")
    ax.set(xlabel="steps = calls of the network", title=title, xticks=counts, xticklabels=counts)
    ax.minorticks_off()
    if stop == 100:
        gain = [e[-2] / e[-1] for e in (ddim_errors, dpm_errors)]
axes[0].set_ylabel("error (root mean square)")
axes[0].legend()
plots.show(fig, f"Error against steps, both axes logarithmic. Down to t = 100: straight lines; from 64 to 128 steps DDIM's "
                f"error shrinks {gain[0]:.1f} times, DPM-Solver++'s {gain[1]:.1f} times. Down to the clean number both fall "
                "slowly, close together.")

# %%
# NBVAL_CHECK_OUTPUT
print(f"Twice as many steps: DDIM's error is {gain[0]:.1f} times smaller, DPM-Solver++'s {gain[1]:.1f} times.")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Order 1: DDIM's error halves. Order 2: DPM-Solver++'s shrinks to a quarter.
# </details>
#
# The right panel is a caution that papers seldom show. The *last* step, onto the clean latent, is first order for
# every sampler here, because $\lambda$ is infinite there, and with evenly spaced timesteps it is long. In this toy it eats
# most of the gain. How much it costs in a picture is a question for the real network.

# %% [markdown]
# ## The same four on the real network
#
# Now `estimate` asks the U-Net. First without guidance. Your four steps must land on the very numbers of the package's
# samplers; we check on random noise, with a random context for a caption.

# %%
model = LatentDiffusion.from_pretrained("tiny").to(DEVICE)


def ask(network):
    """(z, t) -> (z0_hat, eps_hat), from a network (z, t) -> velocity."""
    def estimate(z, t):
        v = network(z, torch.full((len(z),), t, device=z.device))
        return z0_and_eps(v, z, alpha_bar[t].item())
    return estimate


z_T = torch.randn(3, 4, 8, 8, generator=seed).to(DEVICE)
context = torch.randn(3, 32, 128, generator=seed).to(DEVICE)
network = lambda z, t: model.unet(z, t, context)     # noqa: E731  (a network with its caption built in)

for package, step in ((tinyldm.ddim, ddim_step), (tinyldm.euler, euler_step), (tinyldm.dpm_solver_pp, dpm_solver_pp()),
                      (tinyldm.ddpm, ddpm(torch.Generator().manual_seed(7)))):
    theirs = package(network, z_T, model.schedule, tinyldm.timesteps(model.schedule, 6),
                     generator=torch.Generator().manual_seed(7))
    print(f"{package.__name__:14}", same(walk(ask(network), z_T, trailing(6), step), theirs, tolerance=1e-4))

# %% [markdown]
# ## Guidance: exaggerate what the caption changes
#
# Asked with a caption, the network answers $\hat v_c$; asked with the empty caption `""`, it answers $\hat v_\varnothing$ (it knows
# that one because a part of the captions was dropped in training). The difference is *what the caption changes*.
# Classifier-free guidance takes more of it:
#
# $$ \hat v = \hat v_\varnothing + w\,(\hat v_c - \hat v_\varnothing) $$
#
# (Ho & Salimans 2022, eq. 6, whose $w$ is one less than `guidance_scale` $w$ here.)
#
# > **Predict.** $\hat v_\varnothing = 0.2$, $\hat v_c = 0.5$. What is $\hat v$ for $w = 0$, 1, 4? Which $w$ ignores the caption?

# %%
# NBVAL_CHECK_OUTPUT
for w in (0, 1, 4):
    print(f"w = {w}: {0.2 + w * (0.5 - 0.2):.1f}")


def guide(unet, context, null_context, w):
    """A network (z, t) -> prediction from one that also reads a context; both questions in one batch."""
    def network(z, t):
        both = unet(torch.cat([z, z]), torch.cat([t, t]), torch.cat([null_context, context]))     # (2B, 4, h, w)
        without, with_caption = both.chunk(2)
        return without + w * (with_caption - without)
    return network

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# 0.2, 0.5 and 1.4. $w = 0$ ignores the caption, $w = 1$ is the plain conditional model, and $w = 4$ goes *beyond* anything that
# the network ever answered.
# </details>
#
# Nothing was trained for this: it is two calls and one line. The price is that each step costs two calls. And here is
# the proof that the line is the package's:

# %%
null_context = torch.randn(3, 32, 128, generator=seed).to(DEVICE)
t = torch.tensor([999, 500, 20], device=DEVICE)
yours = guide(model.unet, context, null_context, 4.0)(z_T, t)
print(same(yours, tinyldm.guided(model.unet, context, null_context, 4.0)(z_T, t)))

# %% [markdown]
# ## Pictures at last
#
# A function from captions to `estimate`, and one from a latent to a picture. We watch one way from noise, with 8 DDIM
# steps: above the state $z_t$, below the guess $\hat z_0$, both through the VAE's decoder.

# %%
def asked(captions, w=4.0, negative=None):
    """captions -> (z, t) -> (z0_hat, eps_hat), guided."""
    null = model.encode_text([""] * len(captions) if negative is None else negative)
    return ask(guide(model.unet, model.encode_text(captions), null, w))


def decode(z0):
    return to_unit(model.vae.decode(z0)).clamp(0, 1)


noise = torch.randn(8, 4, 8, 8, generator=torch.Generator().manual_seed(3)).to(DEVICE)
caption = "a large red circle on a white background"
seen = []
walk(asked([caption]), noise[:1], trailing(8), ddim_step, look=lambda t, z, z0_hat: seen.append((t, z, z0_hat)))

fig = plots.grid([*(decode(z)[0] for _, z, _ in seen), *(decode(z0_hat)[0] for _, _, z0_hat in seen)],
                 [f"t = {t}" for t, _, _ in seen], columns=8, rows=["state\nafter", "guess"], size=1.0)
plots.show(fig, f"Eight steps from noise under the caption '{caption}'. Above, the decoded state after each step goes from "
                "noise to a picture; below, the guess of the clean picture at each step.")

# %% [markdown]
# The state is a mixture, so it gets less noisy step by step. The guess is a picture from the start: the perfect
# network's first guess was the mean of the data, and a trained one's comes near to the mean of what fits the caption.

# %%
subject = "a small blue square to the left of a large yellow star"
few = (1, 2, 4, 8, 16, 50)
rows = {"DDIM": lambda: ddim_step, "Euler": lambda: euler_step, "DPM-\nSolver++": dpm_solver_pp,
        "DDPM": lambda: ddpm(torch.Generator().manual_seed(1))}

estimate = asked([subject])
images = [decode(walk(estimate, noise[1:2], trailing(steps), step()))[0] for step in rows.values() for steps in few]

fig = plots.grid(images, [f"{n} step" + "s" * (n > 1) for n in few], columns=len(few), rows=list(rows), size=1.25)
plots.show(fig, f"'{subject}' from one and the same noise: four samplers, a row each, with 1 to 50 steps. The rows of DDIM "
                "and Euler are equal. DDPM's row goes to another picture in each column, as its fresh noise differs.")

# %% [markdown]
# Read it by rows. DDIM and Euler: equal, as derived. They and DPM-Solver++ follow *one* path, so more steps refine one
# picture. DDPM draws fresh noise, so each column is another picture, and it needs many steps, as each adds noise that
# later ones must take away.

# %% [markdown]
# ## Quality against steps against seconds
#
# Looking at one picture proves little. Two measurements: how far the latent is from the end of its path (100 steps of
# DPM-Solver++ stand in for the truth), and how many of 44 captions, one for each colour and shape of the training world,
# the *judge* finds come true in every stated word. The judge is a network that reads pictures of this small world
# (lesson 15). 44 captions make wide intervals; they are drawn.

# %%
PAIRS = [(colour, shape) for colour in COLOURS for shape in SHAPES if (colour, shape) not in HELD_OUT_PAIRS]
PAIRS = PAIRS[:: budget(1, 8)]
CAPTIONS = [f"a large {colour} {shape} on a white background" for colour, shape in PAIRS]
ASKED = [Scene((Thing(colour, shape, "large", 32, 32, 15),), None, "white", (0, 0)) for colour, shape in PAIRS]
STATED = frozenset({"colour 1", "shape 1", "size 1", "background"})
judge = Judge.load()
many_z = torch.randn(len(CAPTIONS), 4, 8, 8, generator=seed).to(DEVICE)


def come_true(images):
    """How many of the pictures, one a caption, show all that their caption says: a Share with its 95 % interval."""
    verdicts = [verdict(reading, scene, STATED) for reading, scene in zip(judge.read(images.cpu()), ASKED)]
    return share(sum(v["strict"] for v in verdicts), len(verdicts))


real, _, _ = __import__("tinyldm.workshop.data.scenes", fromlist=["batch"]).batch(5, range(1))     # placeholder
