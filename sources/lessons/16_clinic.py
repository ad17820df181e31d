# %% [markdown]
# # 16 · The clinic: pipelines that run and are wrong
#
# **Goal.** Find out what is broken in eight pipelines, none of which raises an error.
#
# **Time.** 45 minutes to look and think; the cells compute for about a minute on 2 idle CPU cores.
#
# **Before this.** Lessons 02, 05, 06, 10 and 12: schedule, scale, time embedding, moving average, guidance. The
# shipped model.
#
# **You will be able to**
# - examine a diffusion pipeline with three instruments, each a few lines long;
# - tell a sick network from a sick sampler, and both from a sick decoder;
# - name the cause of eight classic mistakes from their symptoms;
# - say which mistakes a test does not catch.
# %%
import copy

import matplotlib.pyplot as plt
import torch

from tinyldm import (
    LatentDiffusion,
    UNet,
    UNetConfig,
    diffusion_loss,
    to_signed,
    to_unit,
)
from tinyldm.data.digits import Digits
from tinyldm.data.scenes import Scenes
from tinyldm.machine import choose_device
from tinyldm.training.run import MovingAverage
from tinyldm_course.lessons import clinic, plots
from tinyldm_course.lessons.helpers import confirm_equal, full_or_fast, progress
from tinyldm_course.lessons.model_map import show_model_map

plots.use_style()
DEVICE = choose_device()     # CUDA, else Apple's MPS, else the CPU
print("This lesson runs on", DEVICE.type)
model = LatentDiffusion.from_pretrained("tiny", device=DEVICE)

# %% [markdown]
# ## Where we are
#
# Everywhere. Any part can be broken, and so can any interface between two parts. Most mistakes in a diffusion model do
# not crash it: the shapes fit, the loss is a number, a picture comes out. It is just not a good picture. So this lesson
# always asks the same question: *where do I look?*

# %%
show_model_map("text encoder", "U-Net", "sampler", "guidance", "VAE decoder")

# %% [markdown]
# ## First instrument: the pulse
#
# A sampler walks through latents that should look like those of training. There, the variances of signal and noise sum
# to 1 (lesson 02). So without knowing anything about the picture we can measure something after every step: the
# standard deviation of `z`. We call it the **pulse**. The standard deviation of the estimate $\hat z_0$ (`z0_hat`) we
# call the **clarity**.
#
# > **Predict.** Take the healthy model without guidance. Where does the pulse start, and where does it end? Does the
# > clarity start high or low? And what will guidance 4 do to both?

# %%
STEPS, SEED = full_or_fast(25, 2), 3
captions = list(clinic.CAPTIONS)


def generate_and_measure(guidance_scale):
    """Pictures from a healthy model, and the standard deviations of z and z0_hat after
    each step."""
    deviations = []
    images = model.generate(
        captions,
        steps=STEPS,
        guidance_scale=guidance_scale,
        generator=torch.Generator().manual_seed(SEED),
        callback=lambda step, z, z0_hat: deviations.append(
            (z.std().item(), z0_hat.std().item())
        ),
    )
    return images, *zip(*deviations)


_, free_z_std, free_z0_hat_std = generate_and_measure(guidance_scale=1.0)
healthy_images, z_std, z0_hat_std = generate_and_measure(guidance_scale=4.0)

fig, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True)
for ax, p, c, w in zip(axes, (free_z_std, z_std), (free_z0_hat_std, z0_hat_std),
                       (1, 4)):
    ax.plot(p, color=plots.BLUE, label=r"pulse: std of $z$")
    ax.plot(c, color=plots.ORANGE, linestyle="--", label=r"clarity: std of $\hat z_0$")
    ax.axhline(1, color=plots.GREY, linewidth=0.8)
    ax.set(xlabel="sampler step", title=f"guidance {w}", ylim=(0, 2.8))
axes[0].set_ylabel("standard deviation")
axes[0].legend()
assert max(z_std + z0_hat_std) < 2.8
plots.show(fig)

# %% [markdown] alt
# The standard deviation of z and of the estimated clean latent over the sampler's {STEPS} steps. Without guidance they
# begin at {free_z_std[0]:.2f} and {free_z0_hat_std[0]:.2f} and meet at {free_z_std[-1]:.2f}. With guidance 4 they begin
# at {z_std[0]:.2f} and {z0_hat_std[0]:.2f}; the first rises to {max(z_std):.2f}, the second falls, and they meet at
# {z_std[-1]:.2f}.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# The pulse starts at 1, because the noise does, and stays near it. Without guidance the clarity starts low: at first
# the network can only guess an average picture, and averages are pale. It rises as the picture takes shape.
#
# With guidance 4 it starts *high* and falls. Guidance exaggerates the effect of the caption, and while the input is
# almost pure noise, the caption is nearly all the network has to go by. The pulse bulges a little, too.
#
# At the end the two are equal, because the last step lands on $\hat z_0$. Guided curves are healthy too, so we compare
# a patient with the *healthy* curve, not with 1.
# </details>

# %% [markdown]
# ## Second instrument: the blood test
#
# The pulse depends on everything. The training loss (lesson 10) depends on less: add noise to *real* latents, run the
# network, compare. No sampler, no guidance, no decoder. We measure the loss at a few fixed `t`: a single mean would
# hide an illness that affects only some of them. (This model predicts the velocity. At small `t` that is nearly all
# noise, hidden behind a clear picture; at large `t` nearly all picture, hidden behind noise. Both ends are hard.)

# %%
world = Scenes(64, seed=1_000_000)  # scenes that were never trained on
# (48, 3, 64, 64) in [0, 1]
real = to_unit(torch.stack([world[i][0] for i in range(full_or_fast(48, 6))]))
real_captions = [world[i][1] for i in range(len(real))]


@torch.no_grad()
def loss_by_t(model, at=clinic.LOSS_AT):
    """The loss on real pictures at each t of `at`."""
    z0 = model.vae.encode(to_signed(real).to(DEVICE))
    eps = torch.randn(z0.shape, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    context = model.encode_text(real_captions)
    ts = [torch.full((len(z0),), t, device=DEVICE) for t in at]
    return torch.stack([diffusion_loss(model.unet, model.schedule, z0, context, t, eps)
                        for t in ts]).cpu()


healthy_loss = loss_by_t(model)
print(confirm_equal(healthy_loss, clinic.loss_by_t(model, real, real_captions),
                    tolerance=1e-4))
for t, loss in zip(clinic.LOSS_AT, healthy_loss.tolist()):
    print(f"t = {t:3d}   loss {loss:.3f}")

# %% [markdown]
# ## Third instrument: change one thing
#
# The simplest instrument: generate twice from the same noise, with two different captions. Whatever changes in the
# picture is the effect of the caption. If nothing changes, that is a diagnosis.
#
# The first four captions, also those of all patients below, ask for one large thing each: a red circle on white, a blue
# square on cream, a green star on black, and a yellow ring on gray. The others differ only in the colour of the thing.

# %%
others = model.generate(list(clinic.OTHER_CAPTIONS), steps=STEPS, guidance_scale=4.0,
                        generator=torch.Generator().manual_seed(SEED))
effect = (others - healthy_images).abs().mean().item()

ASKED = ["red circle\non white", "blue square\non cream", "green star\non black",
         "yellow ring\non gray"]  # the captions, in short
fig = plots.image_grid([*healthy_images, *others], ASKED, columns=4, size=1.6,
                       rows=["caption", "another\ncolour"])
plots.show(fig)

# %% [markdown] alt
# Four pictures from four captions, and below them four from the same noise, with another colour in each caption. On
# average a pixel changes by {effect:.3f} of its range.

# %% [markdown]
# Only a colour was changed, and yet square and star have moved: the same first steps settle colours and places.
#
# > **Predict.** Which of the three notices a mistake in the very last line, where the decoder's $[-1, 1]$ becomes $[0,
# > 1]$?
# >
# > <details><summary><b>Answer</b></summary>
# >
# > Only the third could, because it looks at pixels, and even so it would not tell what is wrong. Pulse and blood test
# > never decode. What is left is the oldest instrument: your eye.
# > </details>

# %% [markdown]
# ## The ward
#
# Eight patients, A to H. Each is a copy of the model with one thing changed; captions, noise and settings are the same.
# The first row is healthy. Look before you read on, and write down what you notice. Beware: this model is forgiving;
# a row that looks healthy need not be. (At work you rarely have a healthy twin. Then compare with a pulse near 1 at
# guidance 1, and with the loss at the end of training.)

# %%
measured = {}
everybody = {"healthy": lambda model: model, **clinic.PATIENTS}
for name, breaks in progress(everybody.items(), "examining"):
    measured[name] = clinic.examine(breaks(model), real, real_captions, seed=SEED,
                                    steps=STEPS)

everything = torch.cat([one.images for one in measured.values()])
fig = plots.image_grid(everything, ASKED, columns=4, size=1.05, rows=list(measured))
plots.show(fig)

# %% [markdown] alt
# Nine rows of four pictures: the healthy model's circle, square, star and ring, and what patients A to H make of the
# same captions and the same noise. A and H: nearly the healthy four. B: other things in other colours on other
# backgrounds. C: the same outlines, too dark and with too much contrast. D: coloured confetti. E: other, blurred
# things, with the opposite colours. F: outlines at best, in pale, wrong colours. G: nearly right, with spots.

# %% [markdown]
# ## The patients' pulses
# %%
fig, axes = plt.subplots(2, 4, figsize=(9, 4.4), sharex=True, sharey=True)
healthy = measured["healthy"]
for ax, name in zip(axes.flat, clinic.PATIENTS):
    ax.plot(healthy.z_std, color=plots.GREY, linewidth=3, alpha=0.5,
            label="healthy pulse")
    ax.plot(healthy.z0_hat_std, color=plots.GREY, linestyle="--", label="and clarity")
    ax.plot(measured[name].z_std, color=plots.BLUE, label="pulse")
    ax.plot(measured[name].z0_hat_std, color=plots.ORANGE, linestyle="--",
            label="clarity")
    ax.set_title(f"patient {name}")
axes[0, 0].set_ylim(0, 1.05 * max(one.z0_hat_std.max() for one in measured.values()))
axes[0, 0].legend(fontsize=7)
fig.supxlabel("sampler step", fontsize=10)
fig.supylabel("standard deviation", fontsize=10)
ends = ", ".join(f"{name} {one.z0_hat_std[0]:.1f} and {one.z_std[-1]:.2f}"
                 for name, one in measured.items())
plots.show(fig)
for name in clinic.PATIENTS:
    away = (measured[name].z_std - healthy.z_std).abs().max().item()
    print(f"{name}: the pulse is {away:.3f} away from the healthy one at most")

# %% [markdown] alt
# Eight small plots, one per patient: pulse and clarity over the steps, with the healthy pulse and clarity in grey. The
# first clarity and the last pulse of each: {ends}.

# %% [markdown]
# Two pulses lie exactly on the healthy one (the next cell compares them bit by bit). Whatever ails these two begins
# after the walk, when the latents are finished. Two others lack the high initial clarity that guidance causes: little
# or nothing pulls their walks towards a caption. For all patients off the line, the pulse alone does not tell whether
# the *network* or the *walk* is sick. The next instrument does.

# %%
untouched = [name for name in clinic.PATIENTS
             if torch.equal(measured[name].z_std, measured["healthy"].z_std)]
assert len(untouched) == 2
print("Pulse equal to the healthy one, to the last bit:", " and ".join(untouched))

# %% [markdown]
# ## The patients' blood

# %%
fig, axes = plt.subplots(2, 4, figsize=(9, 4.4), sharex=True, sharey=True)
for ax, name in zip(axes.flat, clinic.PATIENTS):
    ax.plot(clinic.LOSS_AT, measured["healthy"].loss_by_t, color=plots.GREY,
            linewidth=3, alpha=0.5, label="healthy")
    ax.plot(clinic.LOSS_AT, measured[name].loss_by_t, color=plots.BLUE, marker="o",
            markersize=3, label="patient")
    ax.set(title=f"patient {name}", yscale="log", ylim=(0.03, 60))
    ax.yaxis.set_major_formatter("{x:g}")
axes[0, 0].legend(fontsize=7)
fig.supxlabel("timestep t", fontsize=10)
fig.supylabel("loss on real pictures", fontsize=10)
means = ", ".join(f"{name} {measured[name].loss_by_t.mean():.3f}"
                  for name in clinic.PATIENTS)
plots.show(fig)

# %% [markdown] alt
# Eight small plots of the loss over t, with the healthy loss in grey. The mean loss of each: {means}; healthy:
# {measured['healthy'].loss_by_t.mean():.3f}.

# %%
sound = [name for name in clinic.PATIENTS
         if torch.equal(measured[name].loss_by_t, measured["healthy"].loss_by_t)]
assert len(sound) == 3
print("Blood test equal to the healthy one, to the last bit:", ", ".join(sound))

# %% [markdown]
# Three have exactly the healthy model's loss. Their networks, schedules, scales and text encoders are right; the
# mistake happens *after* them, in the walk or in the last line. This is the most useful distinction of all: **if the
# loss is right and the pictures are wrong, stop looking at the network.**
#
# Two more numbers: how much the caption changes, and what share of the U-Net's gains (the factors that normalisation
# layers learn) is *exactly* 1, their value before training.

# %%
names = list(measured)
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 2.9), sharey=True)
left.barh(names, [measured[name].caption_effect for name in names], color=plots.BLUE)
left.set(xlabel="mean change of a pixel", title="What another caption changes")
left.invert_yaxis()
right.barh(names, [measured[name].untouched_gains for name in names],
           color=plots.ORANGE)
right.set(xlabel="share of all gains", title="Gains that are exactly 1", xlim=(0, 1.02))
plots.show(fig)

# %% [markdown] alt
# Two bar charts. The effect of another caption is zero for one patient. The share of gains that are exactly 1 is one
# for another patient and about zero for all others.

# %%
silent = [name for name in clinic.PATIENTS if measured[name].caption_effect == 0]
untrained = [name for name in clinic.PATIENTS if measured[name].untouched_gains == 1]
assert len(silent) == len(untrained) == 1 and measured["healthy"].untouched_gains < 0.5
print("Change of exactly 0:", *silent, "   all gains exactly 1:", *untrained)

# %% [markdown]
# ## The book
#
# | name of the ailment | what was done |
# |---|---|
# | the scale is left out | the VAE neither multiplies nor divides by it (by 0.18215) |
# | the range is wrong | the decoder's output in $[-1,1]$ is clipped to $[0,1]$ directly |
# | t is off by one | the U-Net is given the `t` that the step leads to |
# | the schedules differ | the whole pipeline uses DDPM's $\bar\alpha$, training used another |
# | cosines and sines are swapped | in the time embedding |
# | the caption is not passed | both halves of guidance read the empty caption |
# | guidance has the wrong sign | $\hat v_\varnothing - w\,(\hat v_c - \hat v_\varnothing)$ |
# | the average is never updated | we sample with the EMA of the weights, which was never updated |

# %% [markdown]
# ## Your diagnoses
#
# > **Predict.** Match each patient with one line of the book before you run the next cell. Write your eight answers
# > into `MINE`. One guess is already there, to show what a wrong one gets.

# %% tags=["nbval-check-output"]
MINE = {
    "H": "the range is wrong",
}
for patient, ailment in MINE.items():
    print(clinic.diagnose(patient, ailment), end="\n\n")

# %% [markdown]
# For a wrong answer you are told what that ailment *would* look like. Compare, and try again. When all eight are right,
# you have done what takes a day in real life, where nobody tells you that there is exactly one mistake.
#
# The work-up below goes from the surest sign to the least certain one. Unfold it when you are done, or stuck.

# %% [markdown]
# <details><summary><b>Work-up 1: two patients identified by a single number</b></summary>
#
# **B.** Another caption changes no pixel at all. Nothing else produces an exact zero: *the caption is not passed*. The
# pictures may be fine, which is why people miss it: they ask for a dog, get a good cat, and train for another week.
#
# **D.** All gains are exactly 1: no optimizer ever touched these weights. The training loss that you watched belongs
# to another copy: *the average is never updated*. Below, we watch this happen.
# </details>

# %% [markdown]
# <details><summary><b>Work-up 2: two with a perfect pulse</b></summary>
#
# **C and F** have the healthy latents, to the last bit. So the fault is in what the decoder is given, or in what is
# done with its output. C: what is darker than mid-grey is black, and the rest has too much contrast: *the range is
# wrong*. F: the right outlines at best, wrong colours, and the worst blood test of all, since real pictures, too, are
# encoded to latents of the wrong size: *the scale is left out*. (The decoder's GroupNorms restore some contrast.)
#
# The tiny VAE's own scale, printed below, is so close to 1 that nobody would notice; F has a VAE like Stable
# Diffusion's.
# </details>

# %% [markdown]
# <details><summary><b>Work-up 3: two with a normal blood test and a sick walk</b></summary>
#
# **E and H.** The network gives right answers to right questions. So either the question is wrong, or the answers are
# combined wrongly. E's pictures do react to the caption, but in the opposite direction: red on white becomes cyan on
# black, and the pulse rises far above the healthy one. *Guidance has the wrong sign.* H looks healthy; only its pulse
# is a little below the line: *t is off by one*. At every step the network is told that there is less noise than there
# is. Here that hardly shows; below it will.
# </details>

# %% [markdown]
# <details><summary><b>Work-up 4: two with a bad blood test and trained weights</b></summary>
#
# **A and G** are the hardest pair. G reads every `t` as another one, and its loss is worst at small `t`: *cosines and
# sines are swapped*. A: the real latents are noised with a different $\bar\alpha_t$. At small `t` the two schedules
# nearly agree. Then A's share of signal falls behind: to a ninth of what the network expects at t = 650, where A's loss
# is furthest above the healthy one: *the schedules differ*.
#
# A's pictures look fine, probably because the walk ends at small `t`, and the last steps repair what the first did
# wrong (not tested).
#
# The next cell plots this.
# </details>

# %%
theirs = clinic.other_schedule(model).schedule.alpha_bar.cpu()
ours = model.schedule.alpha_bar.cpu()
apart = (theirs - ours).abs().tolist()

fig, (left, right) = plt.subplots(1, 2, figsize=plots.WIDE)
left.plot(ours, color=plots.BLUE, label="of training")
left.plot(theirs, color=plots.ORANGE, linestyle="--", label="of patient A")
left.set(xlabel="timestep t", ylabel=r"$\bar\alpha_t$", title="Two schedules")
left.legend()
for name, colour, marker in (("A", plots.ORANGE, "s"), ("G", plots.PINK, "^")):
    right.plot(clinic.LOSS_AT, measured[name].loss_by_t - measured["healthy"].loss_by_t,
               color=colour, marker=marker, label=f"patient {name}")
right.axhline(0, color=plots.GREY, linewidth=0.8)
right.set(xlabel="timestep t", ylabel="loss above the healthy loss",
          title="Where it hurts")
right.legend()
worst = {name: clinic.LOSS_AT[(measured[name].loss_by_t
                               - measured["healthy"].loss_by_t).argmax()]
                               for name in "AG"}
plots.show(fig)

# %% [markdown] alt
# Left: the two schedules' share of signal over t; they cross near t = 100, and patient A's falls faster, to as much as
# {max(apart):.2f} below. Right: the excess of A's and G's loss over the healthy loss at each t: A's is largest at
# {worst['A']}, G's at {worst['G']}.

# %% [markdown]
# ## How an average is forgotten
#
# Patient D's illness arises during training, so here is a short training run: a small U-Net on digits, with two moving
# averages of its weights (lesson 10). One is updated after every step. For the other, that line is missing.
#
# > **Predict.** Sketch three loss curves: of the network itself, of its average, and of the forgotten average.

# %%
digits = Digits(8)
z0 = torch.stack([digits[i][0] for i in range(0, 1797, 3)])  # (599, 3, 8, 8) in [-1, 1]
seed = torch.Generator().manual_seed(0)
torch.manual_seed(0)
unet = UNet(UNetConfig(in_channels=3, out_channels=3, channels=(32,),
                       blocks_per_level=1, transformer_depth=(0,),
                       heads=(4,), context_dim=32, groups=8))
fed, forgotten = MovingAverage(unet, 0.98), MovingAverage(unet, 0.98)
optimizer = torch.optim.AdamW(unet.parameters(), lr=2e-3)
schedule = copy.deepcopy(model.schedule).cpu()
curves = {"the network": [], "its average": [], "the forgotten average": []}
for step in range(full_or_fast(240, 16)):
    batch = z0[torch.randint(len(z0), (64,), generator=seed)]
    t, eps = torch.randint(1000, (64,),
                           generator=seed), torch.randn(batch.shape, generator=seed)
    if step % 8 == 0:
        with torch.no_grad():
            for name, some in zip(curves, (unet, fed.module, forgotten.module)):
                curves[name].append(diffusion_loss(some, schedule, batch, None, t,
                                                   eps).item())
    loss = diffusion_loss(unet, schedule, batch, None, t, eps)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    fed.update(unet, step)  # there is no such line for `forgotten`
print("at the end:",
      ", ".join(f"{name} {losses[-1]:.2f}" for name, losses in curves.items()))

# %%
fig, ax = plt.subplots(figsize=plots.NARROW)
for (name, losses), colour, dash in zip(curves.items(), plots.CYCLE, ("-", "--", "-.")):
    ax.plot(range(0, 8 * len(losses), 8), losses, color=colour, linestyle=dash,
            label=name)
ax.set(xlabel="training step", ylabel="loss", title="One line is missing",
       ylim=(0, None))
ax.legend()
ends = ", ".join(f"{name} {losses[-1]:.2f}" for name, losses in curves.items())
plots.show(fig)
assert curves["the forgotten average"][-1] > curves["its average"][-1]

# %% [markdown] alt
# Loss over training steps. The loss of the network and of its average fall together; that of the forgotten average
# stays at its initial value. At the end: {ends}.

# %% [markdown]
# Training prints the network's curve, and it looks perfect. Only those who *sample with the average* see that it
# never moved. So log the loss of what you will ship, not only of what you train.

# %% [markdown]
# ## Break it on purpose
#
# Now the opposite case: tests that pass and miss an illness.
#
# **The round trip.** Encode a picture and decode it. If it comes back, the VAE is used correctly.
#
# > **Predict.** Or is it? What does the round trip of patient F look like?

# %%
def round_trip(some):
    with torch.no_grad():
        return to_unit(
            some.vae.decode(some.vae.encode(to_signed(real[:6]).to(DEVICE)))
        ).cpu()


sick = clinic.scale_left_out(model)
print(f"The tiny VAE's own scale is {model.vae.config.scale:.3f}; F leaves out one of "
      f"0.18215.")
assert 0.8 < model.vae.config.scale < 1.25
print(confirm_equal(round_trip(sick), round_trip(model), tolerance=1e-4,
                    claim="The sick round trip equals the healthy one"))
with torch.no_grad():
    for name, some in (("healthy", model), ("scale left out", sick)):
        print(f"{name:15s} standard deviation of the latents: "
              f"{some.vae.encode(to_signed(real).to(DEVICE)).std().item():.2f}")

# %% [markdown]
# The round trip is perfect: the missing multiplication and the missing division cancel. Two wrongs make a right, and
# the test is blind. The standard deviation of the latents shows the error at once.
#
# **More steps.** Patient H is given the `t` of the *next* step. With many steps, the next one is close.

# %%
counts = (5, 10, 25, 50)[:full_or_fast(4, 1)]
distances = []
for steps in counts:
    pair = [some.generate(captions, steps=steps,
                          generator=torch.Generator().manual_seed(0))
            for some in (model, clinic.next_timestep(model))]
    distances.append((pair[0] - pair[1]).abs().mean().item())

fig, ax = plt.subplots(figsize=plots.NARROW)
ax.plot(counts, distances, color=plots.BLUE, marker="o")
ax.set(xlabel="sampler steps", ylabel="mean error of a pixel",
       title="Off by one, with more and more steps", ylim=(0, None))
plots.show(fig)

# %% [markdown] alt
# The mean difference between the pictures of patient H and the healthy ones over the number of steps: {',
# '.join((f'{count} steps {value:.3f}' for count, value in zip(counts, distances)))}.

# %% [markdown]
# If you test with many steps, you may miss it; if you then ship with few, your users will not. Test with the *fewest*
# steps that the healthy model can manage.

# %% [markdown]
# ## A ninth patient, from the article
#
# The article encodes with 0.18215 and decodes with 0.18125. Is that an illness? Do the same to the tiny model: divide
# by a scale that is too small by the same factor.

# %% tags=["nbval-check-output"]
factor = 0.18215 / 0.18125
print(f"a latent that is {100 * (factor - 1):.2f} % too large")

# %%
with torch.no_grad():
    z0 = model.vae.encode(to_signed(real).to(DEVICE))
    change = (to_unit(model.vae.decode(factor * z0))
              - to_unit(model.vae.decode(z0))).abs().mean().item()
print(f"changes a pixel by {255 * change:.2f} of 255 levels on average")
assert 0 < 255 * change < 3

# %% [markdown]
# Nobody will ever see it. That is the worst kind of bug: it has no symptom, and only a number-by-number comparison with
# the reference finds it. `tests/parity/test_parity_networks.py` makes such a comparison.

# %% [markdown]
# ## What the article says
#
# - *Decode with 0.18125.* A slip, measured above: too small to see.
# - *The predicted noise is scaled down and subtracted.* The whole question is what it is scaled by: patient A uses the
#   numbers of another schedule, and patient H the right ones at the wrong `t`.
# - *The encoded caption is exposed to the U-Net by cross-attention.* Provided that it is: patient B's network reads a
#   context of the right shape, and nothing in the article's formulas would notice.

# %% [markdown]
# ## A table to keep
#
# | question | yes | no |
# |---|---|---|
# | Is the loss on real pictures right, at every `t`? | the walk, or the last line | network, schedule, scale or text |
# | Does the pulse equal the healthy one, to the last bit? | the decoder or its scale | anything before it |
# | Does another caption change the picture? | the text arrives, understood or not | it does not arrive |
# | Do the weights differ from their initial values? | they were trained | the wrong copy was saved |
# | Is it also right with few steps, and with guidance 1? | good | many steps or guidance hid something |

# %% [markdown]
# ## Three quick questions
#
# **1.** Your training loss is as low as in the paper, but your samples are noise. Name two suspects.
#
# <details><summary>Answer</summary>
#
# Whatever the loss does not use: the sampler (its schedule, its `t`), the decoder (its scale), or the copy of the
# weights that you sample with (the average).
# </details>
#
# **2.** The pictures are good, but never what you asked for. What do you try first?
#
# <details><summary>Answer</summary>
#
# Two captions, one noise. If no pixel changes, the caption does not arrive. If pixels do change, suspect guidance (its
# sign, its size) or a text encoder that cannot tell the words apart.
# </details>

# %% [markdown]
# **3.** Why is the pulse of a healthy guided sampler not exactly 1?
#
# <details><summary>Answer</summary>
#
# Guidance extrapolates: the result is not the output of any network trained to fit the data, so the variances of signal
# and noise no longer sum to 1. Besides, the latents of four pictures are a small sample.
# </details>

# %% [markdown]
# ## Exercises
#
# `../exercises/16_clinic.ipynb`: cure five patients, and match each fault with its symptom.
#
# To try here: give one patient *two* illnesses, as in `clinic.sines_first(clinic.other_schedule(model))`, and ask a
# friend for a diagnosis. (Four ailments replace methods of the pipeline: wrong range, `t` off by one, no caption, wrong
# sign. Apply such a one last, and only one of them.) Which pairs can you still tell apart?

# %% [markdown]
# ## What next
#
# You have built every part of a latent diffusion model, trained it, judged it, and broken it in eight ways. Use it:
# your own words, your own pictures (lesson 11), or the same classes with Stable Diffusion's numbers (lesson 14). And
# when something looks wrong: pulse, blood test, one change at a time.
#
# The article ends here; the field did not. Lesson 17 begins with what came after: how to teach such a model something
# new with 1 % of its weights.
