# %% [markdown]
# # 12 · Samplers and guidance: from noise to a picture in few steps, and closer to the caption
#
# **Goal.** Build four samplers and classifier-free guidance; find out what each costs and gains.
#
# **Time.** 45 minutes to read and play; the cells compute for about two minutes on 2 idle CPU cores.
#
# **Before this.** Lesson 02 ($\bar\alpha_t$ and the jump), lesson 03 (one step back), lesson 08 (the U-Net) and
# lesson 10 (why some captions are dropped in training).
#
# **You will be able to**
# - write DDIM, Euler, DDPM and DPM-Solver++, and say how they differ;
# - predict what half as many steps cost;
# - write guidance, also with a negative caption;
# - make the same picture twice, or never.

# %%
import math
import time
import warnings
from collections import Counter

import matplotlib.pyplot as plt
import torch

import tinyldm
from tinyldm import LatentDiffusion, to_unit
from tinyldm.data.world import COLOURS, HELD_OUT_PAIRS, SHAPES, Scene, Thing
from tinyldm.evaluation.judge import Judge, verdict
from tinyldm.evaluation.statistics import share
from tinyldm.formats.diffusers_unet import load_unet
from tinyldm.formats.places import model_folder
from tinyldm.machine import choose_device
from tinyldm.reverse_diffusion import leading
from tinyldm_course.lessons import plots, widgets
from tinyldm_course.lessons.helpers import confirm_equal, full_or_fast, progress
from tinyldm_course.lessons.model_map import show_model_map

plots.use_style()
torch.set_grad_enabled(False)     # nothing is trained in this lesson
DEVICE = choose_device()          # CUDA, else Apple's MPS, else the CPU
print("This lesson runs on", DEVICE.type)
seed = torch.Generator().manual_seed(0)

# %% [markdown]
# ## Where we are
#
# Training is over; the weights stay as they are. What is left is to *ask* the U-Net many times, and to make the next
# question out of each answer. That loop is the sampler. It knows nothing about captions: guidance stands between it
# and the U-Net.

# %%
show_model_map("sampler", "guidance")

# %% [markdown]
# ## What the network tells us
#
# From a noisy $z_t$ (`z`) and its $t$ (`t`), the network effectively says two things at once: a clean latent $\hat z_0$
# (`z0_hat`) and the noise $\hat\epsilon$ (`eps_hat`). They are two readings of one answer, because $z_t =
# \sqrt{\bar\alpha_t}\,\hat z_0 + \sqrt{1-\bar\alpha_t}\,\hat\epsilon$ must hold. The tiny model's answer is a
# velocity $\hat v$ (`v`), and
#
# $$ \hat z_0 = \sqrt{\bar\alpha_t}\, z_t - \sqrt{1-\bar\alpha_t}\,\hat v, \qquad
# \hat\epsilon = \sqrt{\bar\alpha_t}\,\hat v + \sqrt{1-\bar\alpha_t}\, z_t $$
#
# (Salimans & Ho 2022, appendix D). An example with one number: for $\bar\alpha_t = 0.36$ the factors are 0.6 and 0.8.

# %% tags=["nbval-check-output"]
def z0_and_eps(v, z, alpha_bar_t):
    """One answer, read in two ways."""
    signal, noise = alpha_bar_t**0.5, (1 - alpha_bar_t) ** 0.5
    return signal * z - noise * v, signal * v + noise * z


z0_hat, eps_hat = z0_and_eps(v=-0.5, z=1.0, alpha_bar_t=0.36)
print(f"z0_hat = {z0_hat:.2f}, eps_hat = {eps_hat:.2f}; mixed again: "
      f"{0.6 * z0_hat + 0.8 * eps_hat:.2f}")

# %% [markdown]
# ## A world with a perfect network
#
# To compare samplers fairly, we first need a network that makes no mistakes. For very simple data we can write it down.
# Let each data point be *one number*, near 1 in two out of three cases, near -1 otherwise: two Gaussian bells
# $\mathcal N(m_k, s^2)$ with $m = (-1, 1)$ (`MEANS`), weights $(\tfrac13, \tfrac23)$ (`WEIGHTS`) and $s = 0.25$
# (`SPREAD`). A noised bell is a bell again, so the best possible $\hat z_0$ is a weighted mean: how probable is each
# bell given $z_t$, and where in it would the number have been?

# %%
T = 1000
alpha_bar = torch.cumprod(
    1 - torch.linspace(0.00085**0.5, 0.012**0.5, T, dtype=torch.float64) ** 2,
    0).float()
MEANS, WEIGHTS = torch.tensor([[-1.0, 1.0], [1 / 3, 2 / 3]]).double()
SPREAD = 0.25


def perfect(z, t):
    """The best answer for the two bells: z (B,) at timestep t -> z0_hat (B,), eps_hat
    (B,)."""
    a = alpha_bar[t].item()
    variance = a * SPREAD**2 + 1 - a  # of each bell, noised to t
    off = z[:, None] - a**0.5 * MEANS  # (B, 2): distance from the middle of each
    # (B, 2): which bell was it?
    which = (WEIGHTS.log() - off**2 / (2 * variance)).softmax(1)
    z0_hat = (which * (MEANS + a**0.5 * SPREAD**2 / variance * off)).sum(1)
    return z0_hat, (z - a**0.5 * z0_hat) / (1 - a) ** 0.5


z = torch.linspace(-2.5, 2.5, 200).double()
fig, ax = plt.subplots(figsize=plots.NARROW)
for t, colour, dash in zip((999, 600, 300, 50), plots.CYCLE, ("-", "--", "-.", ":")):
    ax.plot(z, perfect(z, t)[0], color=colour, linestyle=dash, label=f"t = {t}")
ax.set(xlabel="$z_t$", ylabel=r"best guess $\hat z_0$",
       title="The answers of a perfect network", ylim=(-1.7, 1.7))
ax.legend()
plots.show(fig)

# %% [markdown] alt
# The best guess of the clean number against the noisy one. At t = 999 a nearly flat line at about 0.33; at smaller t it
# becomes an S from -1 to 1; at t = 50 it is nearly the number itself, with a steep jump between the bells.

# %% [markdown]
# At $t = 999$ the noisy number says next to nothing, so the best guess is the *mean of all data*, $\tfrac23 \cdot 1 +
# \tfrac13\cdot(-1) = 0.33$, a number that hardly occurs in the data! For pictures the corresponding guess is a blur,
# the mean of all pictures that fit the caption.
#
# > **Predict.** A sampler with a single step believes the first guess and stops. Where do 4,000 numbers end? And where
# > should they end?

# %% [markdown]
# ## DDIM: change the mixture, keep the parts
#
# Start with the simplest idea. If the answer were exact, $z_t$ would consist of $\hat z_0$ and $\hat\epsilon$. Then a
# state with less noise consists of the same two, in another mixture. Write $\bar\alpha$ (`now`) for where we are and
# $\bar\alpha'$ (`after`) for where we want to land, any number of timesteps further down:
#
# $$ z' = \sqrt{\bar\alpha'}\;\hat z_0 + \sqrt{1-\bar\alpha'}\;\hat\epsilon $$
#
# (Song et al. 2021, "DDIM", eq. 12 with $\sigma = 0$.) Around it goes a loop: ask, step, ask again. The last step lands
# on $\bar\alpha' = 1$, the clean latent.

# %%
def trailing(steps):
    """Evenly spaced timesteps, counted down from the last: (steps,)."""
    return torch.tensor([round(T - i * T / steps) - 1 for i in range(steps)])


def ddim_step(z, z0_hat, eps_hat, now, after):
    return after**0.5 * z0_hat + (1 - after) ** 0.5 * eps_hat


def walk(estimate, z, ts, step, final=1.0, look=None):
    """From noise to a clean latent: at each t ask once, step once. `look` gets (t, z
    after the step, z0_hat)."""
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
bells = (-((curve[:, None] - MEANS) ** 2) / (2 * SPREAD**2)).exp()
bells = (WEIGHTS * bells).sum(1) / (SPREAD * (2 * math.pi) ** 0.5)
for ax, steps in zip(axes, few):
    ends = walk(perfect, start, trailing(steps), ddim_step)
    heights, edges, _ = ax.hist(ends, bins=60, range=(-2, 2), density=True,
                                color=plots.SKY)
    if heights.max() > 1.6:  # the bar is cut off
        ax.text(edges[heights.argmax()] + 0.15, 1.5, f"↑ {heights.max():.1f}",
                fontsize=9)
    ax.plot(curve, bells, color=plots.ORANGE, linewidth=1.2)
    ax.set(xlabel="end point", title=f"{steps} step" + "s" * (steps > 1), ylim=(0, 1.6))
axes[0].set_ylabel("density")
plots.show(fig)

# %% [markdown] alt
# Histograms of 4,000 end points of DDIM after 1, 2, 4, 8 and 50 steps, over the two bells of the data. One step puts
# all at 0.33, between the bells; with more steps two peaks appear, and at 50 they fill the bells.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# With one step all end near 0.33, where there is hardly any data. (Bars with an arrow are cut off.) One third of them
# should end in the left bell, two thirds in the right one. With few steps some are still on the way between the bells,
# and the peaks are *too narrow*: a guess is a mean of what is possible, and a mean has less spread.
# </details>
#
# So a picture from too few steps is not noisy. It is too smooth.

# %% [markdown]
# ## Euler: a path, followed in straight lines
#
# Divide $z_t$ by the factor of its signal, $x = z_t/\sqrt{\bar\alpha}$, and write $\sigma =
# \sqrt{(1-\bar\alpha)/\bar\alpha}$ (`sigma`) for the noise per signal. Then $x = \hat z_0 + \sigma\hat\epsilon$, and
# DDIM's step becomes
#
# $$ x' = x - (\sigma - \sigma')\,\hat\epsilon. $$
#
# This is Euler's method for the differential equation $\mathrm dx/\mathrm d\sigma = \hat\epsilon$ (Karras et al.
# 2022, algorithm 1 without its correction): scale the noise down, subtract it. So sampling is *following a path*, and a
# step is a straight piece of it. DDIM and Euler are one method in two coordinates.

# %% tags=["nbval-check-output"]
def euler_step(z, z0_hat, eps_hat, now, after):
    sigma, next_sigma = ((1 - now) / now) ** 0.5, ((1 - after) / after) ** 0.5
    x = z / now**0.5 - (sigma - next_sigma) * eps_hat
    return after**0.5 * x


with_ddim, with_euler = (walk(perfect, start, trailing(7), step)
                         for step in (ddim_step, euler_step))
print(confirm_equal(with_euler, with_ddim, claim="DDIM and Euler"))

# %% [markdown]
# ## DDPM: step back, and add a little noise
#
# The oldest of the four takes the name "reverse diffusion" seriously. Given $z_t$ *and* $\hat z_0$, the previous state
# is again a bell (Ho et al. 2020, "DDPM", eq. 7). With $\alpha = \bar\alpha/\bar\alpha'$ (`alpha`), the share of signal
# that survives the steps in between:
#
# $$ z' = \frac{\sqrt{\bar\alpha'}(1-\alpha)\,\hat z_0 + \sqrt{\alpha}\,(1-\bar\alpha')\,z_t}{1-\bar\alpha} +
# \sqrt{\frac{1-\bar\alpha'}{1-\bar\alpha}(1-\alpha)}\;\epsilon_{\text{fresh}} $$
#
# The mean mixes the noisy state with the guess; the rest is *fresh* noise. So there is random noise at the start, and
# again at every step.

# %%
def ddpm(generator):
    """A DDPM step that takes its noise from `generator`."""
    def step(z, z0_hat, eps_hat, now, after):
        alpha = now / after
        mean = (after**0.5 * (1 - alpha) * z0_hat + alpha**0.5 * (1 - after)
                * z) / (1 - now)
        variance = (1 - after) / (1 - now) * (1 - alpha)
        # the same on every device
        fresh = torch.randn(z.shape, generator=generator, dtype=z.dtype).to(z.device)
        return mean + variance**0.5 * fresh if variance > 0 else mean
    return step

# %% [markdown]
# > **Predict.** Plot the paths of forty numbers from noise to the bells, once with DDIM, once with DDPM, 100 steps
# > each, from the same forty starting points. Which are smooth? Can two paths cross?

# %%
def paths(step, z, steps=100):
    seen = [z]
    walk(perfect, z, trailing(steps), step, look=lambda t, z, z0_hat: seen.append(z))
    return torch.stack(seen)     # (steps + 1, walkers)


forty = torch.randn(40, generator=seed, dtype=torch.float64)
fig, axes = plt.subplots(1, 2, figsize=(7, 3), sharey=True)
for ax, step, name in ((axes[0], ddim_step, "DDIM: nothing random"),
                       (axes[1], ddpm(seed), "DDPM: fresh noise each step")):
    path = paths(step, forty)
    ax.plot([*trailing(100).tolist(), -1], path, color=plots.SKY, linewidth=0.7,
            antialiased=False)
    for i, colour, dash in ((0, plots.BLUE, "-"), (1, plots.ORANGE, "--")):
        ax.plot([*trailing(100).tolist(), -1], path[:, i], color=colour, linestyle=dash,
                linewidth=1.4)
    ax.set(xlabel="timestep t (falls from left to right)", xlim=(1000, -10), title=name)
axes[0].set_ylabel("value")
plots.show(fig)

# %% [markdown] alt
# Forty paths from noise at t = 999 to the two bells at 1 and -1. Left, DDIM: smooth curves that never cross and part in
# the middle. Right, DDPM: jagged walks that cross freely and end in the same two bells.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# DDIM's paths are smooth, and two of them cannot cross: where they met, they would continue together. So the starting
# noise decides everything. DDPM's are jagged and cross: its fresh noise decides, too. Both end in the two bells. The
# shares, one third and two thirds, need many numbers to show: of 4,000, DDIM brings 34 % and DDPM 31 % to the lower
# bell. Of these forty, DDIM brings 19 there and DDPM 14, because 25 of the starting points happen to lie below 0, and
# DDIM cannot forget its start.
# </details>
#
# Between the two lies DDIM's parameter $\eta$ (`eta`), which scales the fresh noise from 0 (DDIM) to 1 (DDPM). Try
# it with `tinyldm.ddim(…, eta=0.5)`.

# %% [markdown]
# ## DPM-Solver++: look where the guess is going
#
# A path is easiest to follow in coordinates in which it is nearly straight. With $\lambda =
# \log\sqrt{\bar\alpha/(1-\bar\alpha)}$ (`lambda_`, half the log SNR of lesson 02) as the time, the *exact* step is
# DDIM's with a weighted mean of all the guesses on the way in place of $\hat z_0$; DDIM takes the first one for all.
# DPM-Solver++ (Lu et al. 2022, algorithm 2, "2M") also uses the previous guess, and extrapolates by half a step,
# without an extra call:
#
# $$ z' = \sqrt{\tfrac{1-\bar\alpha'}{1-\bar\alpha}}\; z_t + \sqrt{\bar\alpha'}\,(1-e^{-h})\,D, \qquad
# D = \hat z_0 + \tfrac{h}{2 h_{\text{prev}}}\big(\hat z_0 - \hat z_0^{\text{prev}}\big) $$
#
# with $h = \lambda' - \lambda$ (`h`); $h_{\text{prev}}$ and $\hat z_0^{\text{prev}}$ are those of the previous step.
# With $D = \hat z_0$ it is DDIM once more.

# %%
def half_log_snr(share_of_signal):
    return (
        math.inf
        if share_of_signal == 1
        else 0.5 * math.log(share_of_signal / (1 - share_of_signal))
    )


def dpm_solver_pp():
    """A DPM-Solver++ step, which remembers the previous guess."""
    before = {}

    def step(z, z0_hat, eps_hat, now, after):
        lambda_, D = half_log_snr(now), z0_hat
        h = half_log_snr(after) - lambda_
        # at the clean latent λ is infinite: there it stays first order
        if before and after < 1:
            h_prev, z0_prev = lambda_ - before["lambda_"], before["z0_hat"]
            D = z0_hat + h / (2 * h_prev) * (z0_hat - z0_prev)
        before.update(lambda_=lambda_, z0_hat=z0_hat)
        return ((1 - after) / (1 - now)) ** 0.5 * z - after**0.5 * math.expm1(-h) * D
    return step

# %% [markdown]
# > **Predict.** Twice as many steps, each half as long. By how much does the error of DDIM shrink, and by how much that
# > of DPM-Solver++? ("Order" $n$ means: an error proportional to the step's length to the power $n$.)

# %%
def down_to(stop, steps):
    return torch.tensor([round(999 - i * (999 - stop) / steps) for i in range(steps)])


def errors(stop):
    """Root mean square distance from the path's true point at `stop` (below 0: the
    clean end), by sampler."""
    final = alpha_bar[stop].item() if stop >= 0 else 1.0
    ts = (lambda steps: down_to(stop, steps)) if stop >= 0 else trailing
    truth = walk(perfect, start, ts(999 - max(stop, 0)), dpm_solver_pp(), final)
    return [[(walk(perfect, start, ts(n), step, final)
              - truth).square().mean().sqrt().item() for n in counts]
            for step in (ddim_step, dpm_solver_pp())]


counts = (4, 8, 16, 32, 64, 128)
fig, axes = plt.subplots(1, 2, figsize=(7, 3), sharey=True)
for ax, stop, title in ((axes[0], 100, "Down to t = 100"),
                        (axes[1], -1, "Down to the clean number")):
    ddim_errors, dpm_errors = errors(stop)
    ax.loglog(counts, ddim_errors, "o-", color=plots.BLUE, label="DDIM = Euler")
    ax.loglog(counts, dpm_errors, "s--", color=plots.ORANGE, label="DPM-Solver++")
    ax.set(xlabel="steps = calls of the network", title=title, xticks=counts,
           xticklabels=counts)
    ax.minorticks_off()
    if stop == 100:
        gain = [e[-2] / e[-1] for e in (ddim_errors, dpm_errors)]
axes[0].set_ylabel("error (root mean square)")
axes[0].legend()
plots.show(fig)

# %% [markdown] alt
# Error against steps, both axes logarithmic. Down to t = 100: straight lines; from 64 to 128 steps DDIM's error shrinks
# {gain[0]:.1f} times, DPM-Solver++'s {gain[1]:.1f} times. Down to the clean number both fall slowly, close together.

# %% tags=["nbval-check-output"]
print(f"Twice as many steps: DDIM's error is {gain[0]:.1f} times smaller, "
      f"DPM-Solver++'s {gain[1]:.1f} times.")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Order 1: DDIM's error is halved. Order 2: DPM-Solver++'s falls to a quarter.
# </details>
#
# The right panel is a warning. The *last* step, onto the clean latent, is first order for every sampler here, because
# $\lambda$ is infinite there, and with evenly spaced timesteps it is a long step. In this toy it eats most of the gain.
# How much it costs in a picture is a question for the real network.

# %% [markdown]
# ## The same four on the real network
#
# Now `estimate` asks the U-Net, at first without guidance. Your four steps must give exactly the numbers of the
# package's samplers; we check on random noise, with a random context for a caption.

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
# a network with its caption built in
network = lambda z, t: model.unet(z, t, context[:1])

for package, step in ((tinyldm.ddim, ddim_step), (tinyldm.euler, euler_step),
                      (tinyldm.dpm_solver_pp, dpm_solver_pp()),
                      (tinyldm.ddpm, ddpm(torch.Generator().manual_seed(7)))):
    yours = walk(ask(network), z_T[:1], trailing(6), step)
    # a list: one generator per picture
    theirs = package(network, z_T[:1], model.schedule,
                     tinyldm.timesteps(model.schedule, 6),
                     generator=[torch.Generator().manual_seed(7)])
    print(f"{package.__name__:14}", confirm_equal(yours, theirs, tolerance=1e-4))

# %% [markdown]
# ## Guidance: exaggerate what the caption changes
#
# Asked with a caption, the network answers $\hat v_c$; asked with the empty caption `""`, it answers $\hat
# v_\varnothing$ (it knows that one because a share of the captions was dropped in training). The difference is *what
# the caption changes*. Classifier-free guidance takes more of it:
#
# $$ \hat v = \hat v_\varnothing + w\,(\hat v_c - \hat v_\varnothing) $$
#
# (Ho & Salimans 2022, eq. 6, whose $w$ is one less than `guidance_scale`, our $w$.)
#
# > **Predict.** $\hat v_\varnothing = 0.2$, $\hat v_c = 0.5$. What is $\hat v$ for $w = 0$, 1, 4? Which $w$ ignores
# > the caption?

# %% tags=["nbval-check-output"]
for w in (0, 1, 4):
    print(f"w = {w}: {0.2 + w * (0.5 - 0.2):.1f}")


def guide(unet, context, null_context, w):
    """A network (z, t) -> prediction from one that also reads a context; both questions
    in one batch."""
    def network(z, t):
        # (2B, 4, h, w)
        both = unet(torch.cat([z, z]), torch.cat([t, t]),
                    torch.cat([null_context, context]))
        without, with_caption = both.chunk(2)
        return without + w * (with_caption - without)
    return network

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# 0.2, 0.5 and 1.4. $w = 0$ ignores the caption, $w = 1$ is the plain conditional model, and $w = 4$ goes *beyond*
# anything that the network ever answered.
# </details>
#
# Nothing was trained for this: it is one line. The price is that each step needs two calls. Your line equals the
# package's:

# %%
null_context = torch.randn(3, 32, 128, generator=seed).to(DEVICE)
t = torch.tensor([999, 500, 20], device=DEVICE)
yours = guide(model.unet, context, null_context, 4.0)(z_T, t)
print(confirm_equal(yours,
                    tinyldm.guided(model.unet, context, null_context, 4.0)(z_T, t)))

# %% [markdown]
# ## Pictures at last
#
# We need a function from captions to `estimate`, and one from a latent to a picture. We watch one walk from noise, with
# 8 DDIM steps: above the state *after* each step, below the guess $\hat z_0$ that the step used, both through the VAE's
# decoder.

# %%
def asked(captions, w=4.0, negative=None, unet=model.unet):
    """captions -> (z, t) -> (z0_hat, eps_hat), guided."""
    null = model.encode_text([""] * len(captions) if negative is None else negative)
    return ask(guide(unet, model.encode_text(captions), null, w))


def decode(z0):
    return to_unit(model.vae.decode(z0)).clamp(0, 1)


noise = torch.randn(8, 4, 8, 8, generator=torch.Generator().manual_seed(3)).to(DEVICE)
caption = "a large red circle on a white background"
seen = []
walk(asked([caption]), noise[:1], trailing(8), ddim_step,
     look=lambda t, z, z0_hat: seen.append((t, z, z0_hat)))

fig = plots.image_grid([*(decode(z)[0] for _, z, _ in seen),
                        *(decode(z0_hat)[0] for _, _, z0_hat in seen)],
                       [f"t = {t}" for t, _, _ in seen], columns=8,
                       rows=["state\nafter", "guess"], size=0.8)
plots.show(fig)

# %% [markdown] alt
# Eight steps from noise for the caption '{caption}', at t = 999 down to 124. Above, the decoded state after each step:
# violet and green patches, in which a red disc forms from t = 749 on, then the white background. Below, the guess: a
# blurred orange blob on white at first, a red circle from t = 749 on, and finally a white background from t = 499.

# %% [markdown]
# The state is a mixture, so it gets less noisy step by step. The guess decodes to something like a picture from the
# start. The perfect network's first guess was the mean of the data; this one is a blurred blob on white, much as a mean
# of circles in all places would look. But it is not red yet, and at $t = 749$ and 624 the background is bluish, then
# green, before it turns white again: perhaps the guidance of 4 exaggerates the early guesses.

# %%
subject = "a small blue square to the left of a large yellow star"
few = (1, 2, 4, 8, 16, 50)
rows = {"DDIM": lambda: ddim_step, "DPM-\nSolver++": dpm_solver_pp,
        "DDPM": lambda: ddpm(torch.Generator().manual_seed(1))}

estimate = asked([subject])
images = [decode(walk(estimate, noise[1:2], trailing(steps), step()))[0]
          for step in rows.values() for steps in few]

fig = plots.image_grid(images, [f"{n} step" + "s" * (n > 1) for n in few],
                       columns=len(few), rows=list(rows), size=0.95)
plots.show(fig)

# %% [markdown] alt
# '{subject}' from the same noise: DDIM, DPM-Solver++ and DDPM, one row each, with 1 to 50 steps. DDPM puts its things
# elsewhere, because it adds fresh noise.

# %% [markdown]
# Read it row by row. (Euler's would be DDIM's once more.) DDIM and DPM-Solver++ follow *one* path, so more steps
# refine one picture. With 1 or 2 steps they are equal, because DPM-Solver++'s first and last steps are DDIM's. DDPM
# adds fresh noise and ends elsewhere (with one step there is no room for noise). Its formula is meant for many small
# steps; with few of them it falls behind, which is why DDIM was proposed (Song et al. 2021, table 1).

# %% [markdown]
# ## Quality against steps
#
# Looking at one picture proves little. So we make two measurements: how far the latent is from the end of its path (50
# steps of DPM-Solver++ stand in for the truth), and how many of 44 captions, one for each colour and shape of the
# training world, come true in every stated word (`strict`). The *judge* decides that, a network that reads pictures of
# this small world (lesson 15); a `Scene` is what it compares with, a caption as data. 44 captions make wide intervals,
# so we plot the intervals, too.

# %%
PAIRS = [(colour, shape) for colour in COLOURS for shape in SHAPES
         if (colour, shape) not in HELD_OUT_PAIRS]
PAIRS = PAIRS[:: full_or_fast(1, 8)]
CAPTIONS = [f"a large {colour} {shape} on a white background"
            for colour, shape in PAIRS]
ASKED = [Scene((Thing(colour, shape, "large", 32, 32, 15),), None, "white", (0, 0))
         for colour, shape in PAIRS]
STATED = frozenset({"colour 1", "shape 1", "size 1", "background"})
judge = Judge.load()
many_z = torch.randn(len(CAPTIONS), 4, 8, 8, generator=seed).to(DEVICE)


def come_true(images):
    """How many of the pictures, one per caption, show all that their caption says: a
    Share with its 95 % interval."""
    verdicts = [verdict(reading, scene, STATED)
                for reading, scene in zip(judge.read(images.cpu()), ASKED)]
    return share(sum(v["strict"] for v in verdicts), len(verdicts))

# %% [markdown]
# > **Predict.** 44 pictures, 50 steps, guided: how many latents pass through the U-Net? Which of the samplers takes
# > longest for a step? And which makes the most captions come true in 4 steps?

# %%
def measured(step, steps):
    """How many captions come true (a Share), and the distance to the reference, for one
    sampler at one number of steps."""
    z0 = walk(estimate, many_z, trailing(steps), step)
    return come_true(decode(z0)), (z0 - reference).square().mean().sqrt().item()


estimate, many_steps = asked(CAPTIONS), full_or_fast(50, 8)
began = time.perf_counter()
reference = walk(estimate, many_z, trailing(many_steps), dpm_solver_pp())
a_step = (time.perf_counter() - began) / many_steps
print(f"{len(CAPTIONS)} captions; the reference: {come_true(decode(reference))} come "
      f"true; a step took {a_step:.2f} s")

counts = (1, 2, 4, 8, 16, 32)[: full_or_fast(6, 4)]
results = {"DDIM": [], "DPM-Solver++": [], "DDPM": []}
for name, n in progress([(name, n) for name in results for n in counts], "sampling"):
    step = rows[name.replace("-S", "-\nS")]()
    results[name].append(measured(step, n))

# %%
def plot_shares(ax, at, shares, **look):
    """Shares with their 95 % intervals."""
    spread = [[s.value - s.low for s in shares], [s.high - s.value for s in shares]]
    ax.errorbar(at, [s.value for s in shares], spread, linewidth=1.3, elinewidth=0.7,
                markersize=5, **look)


fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3))
for i, (name, found) in enumerate(results.items()):
    look = dict(color=plots.CYCLE[i], marker=plots.MARKERS[i], label=name,
                linestyle=("-", "--", "-.")[i])
    plot_shares(left, [n * 1.06 ** (i - 1) for n in counts], [s for s, _ in found],
                **look)
    if name != "DDPM":
        right.plot(counts, [distance for _, distance in found], markersize=5, **look)
left.set(ylabel="share of captions come true", ylim=(-0.02, 1.02),
         title="What the judge sees")
right.set(yscale="log", ylabel="distance of the latent to the reference",
          title="How close to the end of the path")
for ax in (left, right):
    ax.set(xscale="log", xlabel="steps")
    ax.set_xticks(counts, counts)
    ax.minorticks_off()
left.legend()
plots.show(fig)
ends = ", ".join(f"{name} {found[-1][0].value:.0%}" for name, found in results.items())

# %% [markdown] alt
# Left: the share of captions that came true against 1 to {counts[-1]} steps, with 95 % intervals; at {counts[-1]}
# steps: {ends}. Right: the latent's distance to the reference against the steps, both axes logarithmic: it falls for
# DDIM and DPM-Solver++. DDPM has no such path and is left out.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# $44 \cdot 50 \cdot 2 = 4{,}400$: the 2 is guidance. All take about the same time: a step costs one (doubled) call of
# the U-Net, and the sampler's few sums cost next to nothing. So seconds mean steps, and the only way to be fast is to
# need few of them. In 4 steps DDIM does best, by far (left).
# </details>
#
# See where the left curves stop rising: beyond that point, more steps still move the latent towards the reference
# (right), but the judge sees no gain. Where is that? Take the fewest steps whose share is at most 5 points below that
# of 32 steps:

# %%
for name, found in results.items():
    goal = found[-1][0].value - 0.05
    enough = next(n for n, (s, _) in zip(counts, found) if s.value >= goal)
    print(f"{name:13} {enough} steps")

# %% [markdown]
# The surprise is at 4 steps: DPM-Solver++ is no better than DDPM, with 43 % against DDIM's 89 %. The cyan square
# further up is such a miss. Extrapolating from the previous guess pays off when guesses change steadily. Under
# guidance the first guesses leap (look at the colours after 2 steps), so it probably overshoots there. An order is a
# promise for *short* steps. (DPM-Solver++ leads at 32 in the right panel; but the reference is its own, which helps
# it.)

# %% [markdown]
# ## Turn up the guidance
#
# The shipped model hardly needs guidance: its world is small, and it knows it well. What guidance does shows better
# with a model that knows its captions only roughly. So we take the same U-Net after a tenth of its training (a copy was
# kept, lesson 10), three captions, one noise, and `guidance_scale` from 0 to 15.

# %%
young = load_unet(model_folder("tiny") / "snapshots" / "unet_at_10").float().to(DEVICE)
scales = (0, 1, 2, 4, 7.5, 15)
three = ["a large red star on a white background",
         "a large blue ring on a cream background",
         "a large green cross on a gray background"]
columns = [decode(walk(asked(three, w, unet=young), noise[[2, 2, 2]], trailing(12),
                       dpm_solver_pp())) for w in scales]
fig = plots.image_grid([column[i] for i in range(3) for column in columns],
                       [f"w = {w:g}" for w in scales], columns=len(scales), size=1.0,
                       rows=["red star,\nwhite", "blue ring,\ncream",
                             "green cross,\ngray"])
plots.show(fig)

# %% [markdown] alt
# Three captions, each from the same noise at guidance 0, 1, 2, 4, 7.5 and 15, by the U-Net after a tenth of its
# training. Red star on white: yellow and blue lumps on green at 0, orange and pink lumps on white at 1 and 2, two red
# lumps at 4 and 7.5, dark ones at 15. Blue ring on cream: a lump at 1, an open ring at 2, a ring with a tail at 4, one
# ring at 7.5, a blurred one at 15. Green cross on gray: a lump on green at 1, on gray from 2 on, never a cross.

# %% [markdown]
# At $w = 0$ the caption plays no part. At $w = 1$, the plain conditional model, it shows only roughly: an orange lump,
# a blue lump, a green background. At 4 the star's lumps are red, the ring has its hole, the background is grey: the
# guidance has brought out what the model knew faintly. At 15 the colours are overdone and the edges dissolve. (It never
# becomes a cross: guidance exaggerates what the model knows, and adds nothing.)
#
# In a running notebook, ask for your own words, from this U-Net or from the wholly trained one. The strip shows the
# trained one for "a small blue square to the left of a large yellow star":

# %%
def plot_guided(ax, caption, training, w, steps, noise_number):
    """A picture for a caption, by either U-Net, from one of the eight noises."""
    unet = model.unet if training == "all" else young
    z0 = walk(asked([caption], w, unet=unet), noise[noise_number][None],
              trailing(steps), dpm_solver_pp())
    plots.plot_image(ax, decode(z0)[0], f"w = {w:g}, {steps} steps,\n"
                                        f"noise {noise_number}, {training} training")


widgets.dial(plot_guided,
             {"caption": str, "training": ("all", "a tenth of the"),
              "w": (0, 1, 2, 3, 4, 5, 7.5, 10, 12.5, 15),
              "steps": (1, 2, 4, 8, 12, 16), "noise_number": range(8)},
             strip=[{"caption": subject, "training": "all", "w": w, "steps": 12,
                     "noise_number": 2} for w in (0, 1, 4, 7.5, 15)],
             size=(1.55, 1.95))

# %% [markdown] alt
# '{subject}' by the wholly trained U-Net from one noise at guidance 0, 1, 4, 7.5 and 15. At 0 the caption plays no
# part: a dark disc on cream. At 1 and 4 a blue square next to a yellow star on a pale background. At 7.5 the square is
# cyan, at 15 dark green and out of shape, and the star glows.

# %% [markdown]
# > **Predict.** Sketch two curves over $w$ from 0 to 15, for either U-Net: the share of captions that come true, and
# > the standard deviation of the final latents, which is about 1 in training. Does either have an optimum?

# %%
def at_scale(unet, w):
    """The share of captions that come true, the standard deviation of the latents, and
    the share of pixel values out of range."""
    z0 = walk(asked(CAPTIONS, w, unet=unet), many_z, trailing(12), dpm_solver_pp())
    outside = (model.vae.decode(z0).abs() > 1.02).float().mean().item()
    return come_true(decode(z0)), z0.std().item(), 100 * outside


measured_at = {"all training": [], "a tenth": []}
for name, w in progress([(name, w) for name in measured_at for w in scales], "guiding"):
    measured_at[name].append(at_scale(young if name == "a tenth" else model.unet, w))

fig, axes = plt.subplots(1, 3, figsize=(8.4, 2.6))
for (name, found), colour, marker, dash in zip(measured_at.items(), plots.CYCLE,
                                               plots.MARKERS, ("-", "--")):
    look = dict(color=colour, marker=marker, linestyle=dash, label=name)
    shares, spreads, outside = zip(*found)
    plot_shares(axes[0], scales, shares, **look)
    axes[1].plot(scales, spreads, **look)
    axes[2].plot(scales, outside, **look)
axes[0].set(ylim=(-0.02, 1.02), title="captions come true")
axes[0].legend()
axes[1].axhline(1, color=plots.GREY, linewidth=0.8)
axes[1].set(title="std of the final latents", ylim=(0, None))
axes[2].set(title="pixel values out of range, %", ylim=(0, None))
for ax in axes:
    ax.set_xlabel("guidance scale w")
plots.show(fig)
for name, found in measured_at.items():
    print(f"{name:13}", ", ".join(f"{s.value:.0%} at w = {w:g}"
                                  for w, (s, _, _) in zip(scales, found)))

# %% [markdown] alt
# Over the guidance scale, for the wholly trained U-Net and for the one after a tenth of the training: the share of
# {len(CAPTIONS)} captions that come true ({'; '.join(f'{name}: ' + ', '.join(f'{s.value:.0%}' for s, _, _ in found)
# for name, found in measured_at.items())}), the std of the final latents, and the share of pixel values that overshoot;
# the last two rise with the scale.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# At $w = 0$ a caption only comes true by chance, here never. The trained U-Net is nearly perfect from 1 to 4, so
# guidance has little to gain there; at 15, less than a quarter of the captions come true. The young one needs it: none
# of the 44 at 1, 11 % at 2, 18 % at 4. For both, the standard deviation grows far above 1; and the VAE's decoder,
# trained on latents with one of about 1, then leaves the range of pixel values (right). The package's default is 3,
# Stable Diffusion's usually 7.5: the optimum belongs to a model, not to the method.
# </details>

# %% [markdown]
# Guidance is not honest sampling. At $w = 1$ the pictures are samples of what the model learnt for the caption; above,
# they are pushed towards whatever sets the caption apart from the empty one.

# %% [markdown]
# ## Less variety
#
# Eight noises with one caption that leaves much open. Look along each row.

# %%
open_caption = "a star"
images = [picture for w in (1, 4, 10)
          for picture in decode(walk(asked([open_caption] * 8, w), noise, trailing(16),
                                     dpm_solver_pp()))]
fig = plots.image_grid(images, columns=8, rows=["w = 1", "w = 4", "w = 10"], size=0.8)
plots.show(fig)

# %% [markdown] alt
# Eight pictures of '{open_caption}' from the same eight noises in three rows. Guidance 1: violet, orange, red and pink
# stars on grey and cream, last a green ring on black. Guidance 4: seven pink to red stars, last an empty black picture.
# Guidance 10: pink stars on green, blue, white and yellow backgrounds, last a violet one on black.

# %% [markdown]
# At $w = 1$ the stars are violet, orange, red, pink; at 4 and 10 nearly all are pink to red, although the caption says
# nothing about colour. And a caption need not come true: the eighth noise gives a green thing that is no star at 1,
# nothing at all at 4, a star at 10. Nothing was selected here: the noises are the first eight of seed 3. To measure the
# variety, let the judge read the colours in 44 pictures:

# %%
for w in (1, 4, 10):
    z0 = walk(asked([open_caption] * len(many_z), w), many_z, trailing(12),
              dpm_solver_pp())
    colours = Counter(reading.things[0]["colour"]
                      for reading in judge.read(decode(z0).cpu()) if reading.things)
    print(f"w = {w:2}:", ", ".join(f"{n} {name}" for name, n in colours.most_common()))

# %% [markdown]
# At $w = 1$ the judge finds all eight colours but cyan. At 4 most are pink or "unclear" (between two colours), at 10
# nearly all 44 are pink. Yet only 3 were pink at 1: guidance does not pick what is most frequent. It exaggerates what
# the caption changes, and in this model "a star" seems to pull the colour towards pink.

# %% [markdown]
# ## A negative caption
#
# Nothing says that $\hat v_\varnothing$ must come from the *empty* caption. Put another one there, and the sampler
# walks away from it: $\hat v = \hat v_{\text{negative}} + w\,(\hat v_c - \hat v_{\text{negative}})$. It only works in
# the direction in which the two captions differ.
#
# > **Predict.** "a star", away from "a yellow star". None of the eight pictures has a yellow star to begin with. Will
# > anything change? And away from "a star on a black background"?

# %%
steered = {"": "", "away from\nyellow": "a yellow star",
           "away from\nblack": "a star on a black background",
           "away from\nlarge": "a large star"}
images = [picture for negative in steered.values()
          for picture in decode(walk(asked(["a star"] * 8, 4.0, [negative] * 8), noise,
                                     trailing(16), dpm_solver_pp()))]
fig = plots.image_grid(images, columns=8,
                       rows=["away from\n nothing", *list(steered)[1:]], size=0.8)
plots.show(fig)

# %% [markdown] alt
# Eight pictures of 'a star' from the same noises in four rows. With the empty negative caption: seven pink to red
# stars, and an empty black picture. Away from a yellow star: seven blue or cyan stars, and a cyan lump. Away from a
# black background: eight stars on white. Away from a large star: seven stars, most of them smaller, and the empty black
# picture.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# The push does not stop where nothing is yellow: all eight turn blue or cyan, as far from yellow as colours go. "Away
# from black" puts all of them on white, and even the eighth noise gets its star. "Away from large" makes six of the
# seven stars smaller. They stay stars, because that is in both captions and cancels in the difference. The eighth noise
# already fails with the empty negative caption, and is a cyan lump in the second row.
# </details>

# %% [markdown]
# ## Twice the same, or never
#
# DDIM, Euler and DPM-Solver++ are functions: the same noise gives the same picture, bit for bit on one machine. So is
# DDPM, if you also fix the seed of its fresh noise. Below: one starting noise, four seeds of the fresh noise.

# %%
def from_one_noise(step):
    return walk(asked([open_caption]), noise[4:5], trailing(25), step)


print("DDIM twice, equal bit for bit:",
      torch.equal(from_one_noise(ddim_step), from_one_noise(ddim_step)))
twice = [from_one_noise(ddpm(torch.Generator().manual_seed(5))) for _ in range(2)]
print("DDPM with one seed twice:     ", torch.equal(*twice))
images = [decode(from_one_noise(ddim_step))[0] for _ in range(2)]
images += [decode(from_one_noise(ddpm(torch.Generator().manual_seed(i))))[0]
           for i in range(4)]
fig = plots.image_grid(images,
                       ["DDIM", "DDIM again", *(f"DDPM, seed {i}" for i in range(4))],
                       size=1.4)
plots.show(fig)

# %% [markdown] alt
# From one starting noise: two equal pictures by DDIM, a red star on grey green, and four by DDPM with four seeds of the
# fresh noise: stars in different colours and places, on different backgrounds.

# %% [markdown]
# In `model.generate` each picture has its own noise, so the third picture of a batch is the same
# whatever the size of the batch. And a seed gives different numbers on a CPU and on a GPU; so the package generates
# noise where the `Generator` lives, and a CPU generator gives about the same picture everywhere.

# %% [markdown]
# ## Break it on purpose
#
# Three mistakes, first on the perfect network, where we know what should come out. (1) DDPM without its fresh noise,
# "to get cleaner pictures". (2) The network is told the wrong `t`: 50 too small, or 50 too large. (3) The walk starts
# late, at $t = 500$, but from pure noise, as if nothing were left of the picture there.
#
# > **Predict.** Two bells at -1 and 1, with 1/3 and 2/3 of the numbers. What does (1) do to the lower bell?

# %%
def told_wrong(shift):
    def estimate(z, t):
        return perfect(z, min(max(t + shift, 0), T - 1))
    return estimate


def ddpm_mean(z, z0_hat, eps_hat, now, after):
    alpha = now / after
    return (after**0.5 * (1 - alpha) * z0_hat
            + alpha**0.5 * (1 - after) * z) / (1 - now)


def from_t(first, steps=100):
    """Evenly spaced timesteps, counted down from `first`."""
    return torch.tensor([round(first - i * first / steps) for i in range(steps)])


ends = {"right (DDPM)": walk(perfect, start, trailing(100), ddpm(seed)),
        "1: no fresh noise": walk(perfect, start, trailing(100), ddpm_mean),
        "2: t too small": walk(told_wrong(-50), start, trailing(20), ddim_step),
        "2: t too large": walk(told_wrong(50), start, trailing(20), ddim_step),
        "3: starts at 500": walk(perfect, start, from_t(500), ddim_step)}
fig, axes = plt.subplots(1, len(ends), figsize=(9.4, 2.4), sharey=True)
for ax, (name, values) in zip(axes, ends.items()):
    heights, edges, _ = ax.hist(
        values, bins=60, range=(-2, 2), color=plots.SKY,
        weights=torch.full_like(values, 100 / len(values)))
    if heights.max() > 12:  # the bar is cut off
        ax.text(edges[heights.argmax()] - 0.15, 11, f"↑ {heights.max():.0f}",
                fontsize=9, ha="right")
    ax.set(xlabel="end point", ylim=(0, 12))
    ax.set_title(f"{name}\n{(values < 0).double().mean():.0%} below 0", fontsize=9)
axes[0].set_ylabel("% of end points")
plots.show(fig)
assert (ends["1: no fresh noise"] > 0).all()

# %% [markdown] alt
# Five histograms of end points: {'; '.join(f'{name}: {(v < 0).double().mean():.0%} below 0, std {v.std():.2f}' for
# name, v in ends.items())}.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# It empties it. Without fresh noise nothing pushes a number away from the mean of what is possible, which leans towards
# the larger bell. All 4,000 end in one spike near 1 (cut off in the figure): the rarer kind of data never occurs again.
# </details>

# %% [markdown]
# (2) If $t$ is too small, the network expects less noise than there is, and the two bells melt into one wide one; if it
# is too large, the bells become too narrow and the lower one too small. (3) sends too many numbers to the lower bell.
# Is it really the start? Keep everything else, 100 steps of DDIM, and vary the start alone. As a control, start from
# what the network expects at that $t$: numbers of the data, noised to $t$.

# %%
lower = torch.rand(4000, generator=seed, dtype=torch.float64) < 1 / 3
data = torch.where(lower, -1.0, 1.0) + SPREAD * torch.randn(4000, generator=seed,
                                                            dtype=torch.float64)
firsts = (999, 900, 751, 600, 500, 400, 300)
below = {"from pure noise": [], "from data, noised to t": []}
for first in firsts:
    signal, rest = alpha_bar[first].item() ** 0.5, (1 - alpha_bar[first].item()) ** 0.5
    for found, z in zip(below.values(), (start, signal * data + rest * start)):
        z0 = walk(perfect, z, from_t(first), ddim_step)
        found.append(100 * (z0 < 0).double().mean().item())

fig, ax = plt.subplots(figsize=plots.NARROW)
for (name, found), colour, style in zip(below.items(), (plots.ORANGE, plots.BLUE),
                                        ("s--", "o-")):
    ax.plot(firsts, found, style, color=colour, label=name)
ax.axhline(100 / 3, color=plots.GREY, linewidth=0.8)
ax.set(xlabel="t of the first step", ylabel="end points below 0, %", xlim=(1020, 280),
       ylim=(20, 55), title="The same walk from two starts (grey: the data)")
ax.legend()
plots.show(fig)

# %% [markdown] alt
# The share of end points below 0 against the timestep of the first step, from 999 down to 300. From data noised to that
# t it stays near a third, {below['from data, noised to t'][0]:.0f} to {below['from data, noised to t'][-1]:.0f} %. From
# pure noise it rises from {below['from pure noise'][0]:.0f} to {below['from pure noise'][-1]:.0f} %.

# %% [markdown]
# It is the start. Pure noise lies around 0, the noised data around $\sqrt{\bar\alpha_t}$ times their mean, and the
# later the start, the more that shift is missing. Stable Diffusion makes this mistake by default, if a small one: its
# "leading" timesteps are multiples of 1000 / steps, plus 1. With 50 steps the first is 981; with 4 it is 751. For
# pictures it means that their mean brightness drifts towards the average (Lin et al. 2024).
#
# Now the real network, *without* guidance, because guidance hides much:

# %%
def wrong_t(network, shift):
    return lambda z, t: network(z, (t + shift).clamp(0, T - 1))


plain_unet = guide(model.unet, model.encode_text([open_caption] * 5),
                   model.encode_text([""] * 5), 1.0)
cases = {"right,\nDDPM": (ask(plain_unet), trailing(25),
                          ddpm(torch.Generator().manual_seed(0))),
         "1: no\nfresh noise": (ask(plain_unet), trailing(25), ddpm_mean),
         "right,\nDDIM": (ask(plain_unet), trailing(25), ddim_step),
         "2: t 50\ntoo small": (ask(wrong_t(plain_unet, -50)), trailing(25), ddim_step),
         "2: t 50\ntoo large": (ask(wrong_t(plain_unet, 50)), trailing(25), ddim_step),
         "3: starts\nat 500": (ask(plain_unet), from_t(500, 25), ddim_step)}
latents = {name: walk(estimate, noise[:5], ts, step)
           for name, (estimate, ts, step) in cases.items()}
fig = plots.image_grid([picture for z0 in latents.values() for picture in decode(z0)],
                       columns=5, size=0.85,
                       rows=[f"{name}\nstd {z0.std():.2f}"
                             for name, z0 in latents.items()])
plots.show(fig)

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    tinyldm.timesteps(model.schedule, 4, leading)
print("The package's warning for (3):", caught[0].message)

# %% [markdown] alt
# Five pictures of '{open_caption}' without guidance in six rows. DDPM: stars in several colours on several backgrounds.
# DDPM without fresh noise: plain backgrounds, and no star at all. DDIM: stars in several colours, most on grey. With a
# wrong t: nearly DDIM's pictures. Started at 500: some other stars, one smeared. The latents' standard deviations: {';
# '.join(' '.join(name.split()) + f' {z0.std():.2f}' for name, z0 in latents.items())}.

# %% [markdown]
# None of them raises an error. (1) shows at once: the stars are gone. As above, what is rarer vanishes without fresh
# noise: a star may be anywhere, so at each place background is the more frequent. With guidance 4 you
# would see clean stars again, and suspect nothing.
#
# The other two you would hardly find by looking: compare the last three rows with the third. Few pictures prove little;
# counting over many does (lesson 15). The package warns about (3), because it can detect that one; it cannot detect the
# other two.

# %% [markdown]
# ## What the article says
#
# - *The predicted noise is scaled down and subtracted.* Literally true of Euler, but from $z_t/\sqrt{\bar\alpha_t}$.
#   The others estimate $\hat z_0$ and mix again, and DDPM adds fresh noise. You showed that DDIM and Euler are equal.
# - *The model removes the noise gradually, from random noise to an image.* True, but *how* gradually is your choice:
#   the loop decides, not the training.
# - *10 % of the captions were dropped to improve guidance.* That is all that the article says about guidance. It
#   doubles the calls, and it is used in nearly every step of nearly every picture.

# %% [markdown]
# ## Three quick questions
#
# **1.** You have time for 10 calls of the U-Net, with guidance. How many steps is that, and which sampler would you
# take?
#
# <details><summary>Answer</summary>
#
# Five steps, because each asks twice. DDIM (or Euler, the same): at 4 steps it was far ahead of the other two.
# </details>
#
# **2.** A friend's DDIM gives the same picture for different seeds. Is that a bug?
#
# <details><summary>Answer</summary>
#
# Not if all runs start from the same given noise: DDIM itself uses no random numbers.
# </details>
#
# **3.** With $w = 4$ and the negative caption equal to the caption, what comes out?
#
# <details><summary>Answer</summary>
#
# The difference is 0, so it is the picture of $w = 1$.
# </details>

# %% [markdown]
# ## Exercises
#
# `../exercises/12_samplers_and_guidance.ipynb`: write timesteps, the samplers' steps and guidance yourself; each is
# checked at once.
#
# To try here: turn guidance off for the last half of the steps (let `guide` look at `t`). Write Heun's method (Karras
# et al. 2022, algorithm 1, the whole of it), which asks twice per step, and add it to the first error figure: at
# equal *calls*, does it beat DPM-Solver++?

# %% [markdown]
# ## What next
#
# Lesson 13 puts the loop between a text encoder and a VAE, and builds text to image, image to image, inpainting and
# more. The package's version of this lesson is `tinyldm/reverse_diffusion.py`; you can now read all of it.
