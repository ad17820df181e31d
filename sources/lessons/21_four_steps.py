# %% [markdown]
# # 21 · Four steps: distillation
#
# **Goal.** Teach the shipped U-Net to draw in four steps, in two and in one, guidance included; and see what is lost.
#
# **Time.** 40 minutes to read and play; the cells compute for about three minutes on 2 CPU cores, most of it in two
# trainings and in judging.
#
# **Before this.** Lessons 03 (velocity), 10 (the loop), 12 (DDIM, guidance) and 15 (the judge, intervals).
#
# **You will be able to**
# - write the answer that a student must give so that its one step equals its teacher's two;
# - fold guidance into a network, and say what you can no longer change afterwards;
# - measure accuracy against the number of network calls, with intervals.

# %%
import copy
import textwrap
import time

import matplotlib.pyplot as plt
import torch

from tinyldm import LatentDiffusion, dpm_solver_pp
from tinyldm.beyond import distillation as package
from tinyldm.data.corpus import scenes_corpus
from tinyldm.evaluation.judge import Judge
from tinyldm.evaluation.measure import EvaluationSettings, fresh_world, generate, judged
from tinyldm.evaluation.statistics import share
from tinyldm.machine import choose_device
from tinyldm.reverse_diffusion import ddim, guided, timesteps, trailing
from tinyldm.training.latents import build_cache
from tinyldm.vae import DiagonalGaussian
from tinyldm_course.lessons import plots, widgets
from tinyldm_course.lessons.helpers import confirm_equal, full_or_fast
from tinyldm_course.lessons.model_map import show_model_map

plots.use_style()
DEVICE = choose_device()  # CUDA, else Apple's MPS, else the CPU
print("This lesson runs on", DEVICE.type)
model = LatentDiffusion.from_pretrained(device=DEVICE)
teacher, schedule = model.unet, model.schedule
W = 3.0  # the guidance scale that is folded in
draw = torch.Generator().manual_seed(3)

# %% [markdown]
# ## Where we are
#
# The article's models are trained, and slow: each step asks the U-Net, and with guidance it asks twice. Lesson 12
# looked for better *samplers*. Here the sampler stays, and the *network* is changed so that few steps suffice.

# %%
show_model_map("U-Net", "sampler", "guidance")

# %% [markdown]
# ## Where the time goes
#
# One picture: 25 steps, and in each the U-Net runs with the caption and without. The VAE and the text encoder run once.
# So almost all time goes into 50 calls of the U-Net.
#
# > **Predict.** Just take fewer steps: 8, 4, 2, 1. At which number does the picture break?

# %%
caption = "a large red circle above a small blue square"
z = torch.randn(4, 4, 8, 8, generator=draw).to(DEVICE)


def counted(number, what):
    return f"{number} {what}" + "s" * (number != 1)


def drawn(unet, steps, guidance_scale, captions=(caption,) * 4, noise=z):
    """Pictures by this U-Net; all other parts are the model's."""
    drawing = copy.copy(model)
    drawing.unet = unet
    return drawing.generate(list(captions), steps=steps, guidance_scale=guidance_scale,
                            noise=noise).cpu()


counts = (25, 8, 4, 2, 1)
rows = [drawn(teacher, steps, W) for steps in counts]
fig = plots.image_grid(torch.cat(rows), columns=4, size=1.2,
                       rows=[counted(steps, "step") for steps in counts])
plots.show(fig)

# %% [markdown] alt
# Four pictures of one caption from the same noise with 25, 8, 4, 2 and 1 guided steps of the shipped model, a row each.

# %% [markdown]
# A number instead of an impression: the judge of lesson 15 reads a picture for each of some fresh captions. A share of
# $n$ captions has an error of about $\sqrt{p(1-p)/n}$; we show 95 % intervals. Beside DDIM stands DPM-Solver++, the
# best sampler of lesson 12: a student must beat the better of them.

# %%
N = full_or_fast(80, fast=8)
judge, settings = Judge.load(), EvaluationSettings(captions=N, progress=False)
world = fresh_world(0, N, settings)


def accuracy(unet, steps, guidance_scale, sampler=ddim):
    """The share of captions of which the judge finds everything in the picture."""
    drawing = copy.copy(model)
    drawing.unet = unet
    chosen = EvaluationSettings(captions=N, steps=steps, guidance_scale=guidance_scale,
                                sampler=sampler, progress=False)
    verdicts = judged(judge, generate(drawing, world.captions, chosen, ""), world)
    return share(sum(verdict["strict"] for verdict in verdicts), N)


def say(name, found):
    measured[name] = found
    for calls, right in found:
        print(f"{name}, {counted(calls, 'call')}: {right.value:.1%} "
              f"({right.low:.1%} to {right.high:.1%})")


measured = {}
say("DDIM, guided", [(2 * steps, accuracy(teacher, steps, W)) for steps in counts])
say("DPM-Solver++, guided", [(2 * steps, accuracy(teacher, steps, W, dpm_solver_pp))
                             for steps in (10, 8, 6, 4, 2)])
say("DDIM, w = 1", [(steps, accuracy(teacher, steps, 1.0)) for steps in (8, 4, 2, 1)])

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Between 4 and 2 steps: of 80 captions 81 % come true in 4 guided steps of DDIM, 16 % in 2. In the pictures the colours
# go wrong first. DPM-Solver++ is no help with so few: 89 % in 8 steps, but 69 % in 4 steps, 16 % in 2, because its
# extrapolation fails when steps get long. So what a student must beat is DDIM in 8 guided steps: 90 % for 16 calls. (In
# 2 steps guidance does harm: without it 38 % come true.)
# </details>

# %% [markdown]
# ## Two steps of the teacher, one of the student
#
# A DDIM step mixes the estimates $\hat z_0$ and $\hat\epsilon$ anew, with less noise. On its way from $z$, at
# $\bar\alpha$, to $z''$, at $\bar\alpha''$, the teacher takes two steps, and its estimates change in between. Which
# $\hat z_0$ must a *student* predict, so that its one large step ends at the same $z''$?
#
# $$ z'' = \sqrt{\bar\alpha''}\, \hat z_0 + \sqrt{1-\bar\alpha''}\; \frac{z - \sqrt{\bar\alpha}\, \hat z_0}{\sqrt{1 -
# \bar\alpha}} $$
#
# > **Predict.** Everything but $\hat z_0$ is known. Solve it on paper. What is the answer at the last step, where
# > $\bar\alpha'' = 1$?

# %%
def z0_that_leads_to(z_end, z, alpha_bar, end_alpha_bar):
    ratio = ((1 - end_alpha_bar) / (1 - alpha_bar)).sqrt()
    return (z_end - ratio * z) / (end_alpha_bar.sqrt() - ratio * alpha_bar.sqrt())


ts = timesteps(schedule, 8)  # the teacher's; every second one is the student's
now, after = schedule.at(ts[2].to(DEVICE)), schedule.at(ts[4].to(DEVICE))
context, null = model.encode_text([caption] * 4), model.encode_text([""])
guided_teacher = guided(teacher, context, null, W)
latents = model.encode(rows[0].to(DEVICE))  # of the pictures with 25 steps, above
z_mid = now.sqrt() * latents + (1 - now).sqrt() * z  # noised to ts[2]
with torch.no_grad():
    two, one = (ddim(guided_teacher, z_mid, schedule, some,
                     final_alpha_bar=after.item()) for some in (ts[2:4], ts[2:3]))
z0 = z0_that_leads_to(two, z_mid, now, after)
print(confirm_equal(z0, package.z0_that_leads_to(two, z_mid, now, after)))
eps = (z_mid - now.sqrt() * z0) / (1 - now).sqrt()
end = after.sqrt() * z0 + (1 - after).sqrt() * eps
print(confirm_equal(end, two, claim="One step with this answer ends where two do"))
print(f"One large step of the teacher itself misses by {(one - two).std():.3f} (std)")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# $\hat z_0 = (z'' - r z) / (\sqrt{\bar\alpha''} - r \sqrt{\bar\alpha})$ with $r = \sqrt{(1-\bar\alpha'') /
# (1-\bar\alpha)}$ (Salimans & Ho 2022, appendix G). At the last step $r = 0$, and the target is simply where the
# teacher ended.
# </details>
#
# That is *progressive distillation*: a student starts as a copy of its teacher, learns to do two of its steps in one,
# and becomes the next teacher: 8 → 4 → 2 → 1.

# %% [markdown]
# **Guidance comes for free.** The first teacher's two steps are *guided*: four calls of the U-Net. The student is asked
# once, with the caption. What it learns is the guided answer (Meng et al. 2023; their student is told $w$ as well). So
# its 4 steps cost 4 calls, where 8 guided steps cost 16. (Salimans & Ho start from as many as 8,192 steps. The numbers
# above say that 8 are enough to start from.)
#
# ## Train
#
# The data are latents of training pictures, noised to the student's timesteps. The target comes from the teacher,
# without a gradient. The two are compared as velocities, because that is what this U-Net predicts.

# %%
cache = build_cache(scenes_corpus(full_or_fast(1500, fast=200)), model.vae,
                    model.text_encoder, None, DEVICE, progress=False)


def batch(size=48):
    i = torch.randint(len(cache.moments), (size,), generator=draw)
    posterior = DiagonalGaussian(cache.moments[i].float())
    eps = torch.randn(2, size, 4, 8, 8, generator=draw).to(DEVICE)
    z0 = model.vae.config.scale * posterior.reparameterize(eps[0])
    wording = torch.randint(cache.caption.shape[1], (size,), generator=draw)
    return z0, eps[1], cache.contexts[cache.caption[i, wording]].float()


def ddim_step(predict, z, t, now, after):
    v = predict(z, t)  # tiny predicts the velocity
    z0 = now.sqrt() * z - (1 - now).sqrt() * v
    eps = now.sqrt() * v + (1 - now).sqrt() * z
    return after.sqrt() * z0 + (1 - after).sqrt() * eps

# %%
def distil(unet, predict_of, steps, updates, lr=5e-4):
    """A copy of unet learns to do in `steps` what a teacher does in 2 · steps.

    predict_of: context -> the teacher, a function of (z, t)."""
    student = copy.deepcopy(unet).requires_grad_(True)
    optimizer = torch.optim.Adam(student.parameters(), lr)
    ts = trailing(2 * steps, schedule.T).to(DEVICE)
    alpha_bars = torch.cat([schedule.at(ts), torch.ones(1, device=DEVICE)])
    losses = []
    for update in range(updates):
        z0, eps, context = batch()
        k = 2 * torch.randint(steps, (len(z0),), generator=draw).to(DEVICE)
        first, middle, last = (alpha_bars[k + j].view(-1, 1, 1, 1) for j in range(3))
        z = first.sqrt() * z0 + (1 - first).sqrt() * eps
        with torch.no_grad():
            predict = predict_of(context)
            half = ddim_step(predict, z, ts[k], first, middle)
            end = ddim_step(predict, half, ts[k + 1], middle, last)
            target = z0_that_leads_to(end, z, first, last)
            v = (first.sqrt() * z - target) / (1 - first).sqrt()  # as a velocity
        loss = (student(z, ts[k], context) - v).square().mean()
        optimizer.param_groups[0]["lr"] = lr * (1 - update / updates)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return student.eval().requires_grad_(False), losses

# %% [markdown]
# The shipped student took two stages and ten minutes: 16 guided steps to 8, then 8 to 4. Here we only watch the loss
# begin to fall on the way from 8 guided steps to 4. Then we load the student, and train the next two stages ourselves.

# %%
def one_call(student):
    """A student as a teacher: context -> (z, t) -> v."""
    return lambda context: lambda z, t: student(z, t, context)


def guided_of(context):
    return guided(teacher, context, null, W)


_, losses4 = distil(teacher, guided_of, 4, full_or_fast(12, fast=2))
student4 = package.four_step_unet().to(DEVICE)
UPDATES = full_or_fast(45, fast=2)
student2, losses2 = distil(student4, one_call(student4), 2, UPDATES)
student1, losses1 = distil(student2, one_call(student2), 1, UPDATES)

fig, ax = plt.subplots(figsize=plots.NARROW)
stages = {"8 guided → 4, the start": losses4, "4 → 2": losses2, "2 → 1": losses1}
for (name, losses), style in zip(stages.items(), ("-", "--", ":")):
    ax.plot(torch.tensor(losses).unfold(0, min(5, len(losses)), 1).mean(1), style,
            label=name)
    print(f"{name}: {losses[0]:.3f} to {sum(losses[-10:]) / len(losses[-10:]):.3f}")
ax.set(xlabel="updates of 48 pictures", ylabel="loss (mean of 5)", yscale="log",
       title="Distillation")
ax.yaxis.set_major_formatter("{x:g}")
ax.yaxis.set_minor_formatter("{x:g}")
ax.legend()
plots.show(fig)

# %% [markdown] alt
# Three falling loss curves, of the beginning of the first stage and of the two others, on a logarithmic axis.

# %% [markdown]
# ## Judge
#
# From 2 steps to 1 the loss stays larger than from 4 to 2: the longer the step, the more its path bends.
#
# > **Predict.** With equal numbers of *calls*, student against teacher, guided or not: at which number is the gain over
# > the better of these largest? And what happens if the 4-step student is sampled in 2 steps, for which it was not
# > trained?

# %%
students = ((student4, 4), (student2, 2), (student1, 1))
say("students, one call a step",
    [(steps, accuracy(unet, steps, 1.0)) for unet, steps in students])
say("student of 4 in 2 and 1 steps", [(n, accuracy(student4, n, 1.0)) for n in (2, 1)])

# %%
fig, ax = plt.subplots(figsize=plots.WIDE)
for (name, found), marker in zip(measured.items(), plots.MARKERS):
    calls, values = [c for c, _ in found], [100 * s.value for _, s in found]
    errors = [[100 * (s.value - s.low) for _, s in found],
              [100 * (s.high - s.value) for _, s in found]]
    ax.errorbar(calls, values, errors, fmt=marker + "-", capsize=3, markersize=5,
                label=name)
ax.set(xscale="log", xlabel="calls of the U-Net for one picture", ylim=(0, 100),
       ylabel="everything right, %", title=f"{N} captions, 95 % intervals")
ticks = [1, 2, 4, 8, 16, 50]
ax.set_xticks(ticks, [str(tick) for tick in ticks])
ax.legend(fontsize=8)
plots.show(fig)

# %% [markdown] alt
# The share of captions that are drawn right over the number of U-Net calls, with intervals. The students' curve lies
# above all others from 1 to 4 calls: {measured["students, one call a step"][2][1].value:.0%},
# {measured["students, one call a step"][1][1].value:.0%} and {measured["students, one call a step"][0][1].value:.0%}.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# At one call: 50 % against 0 %. At two calls: 75 % for the student of two steps, 38 % for the teacher without guidance,
# 10 % for one guided step. At four: 90 % against 70 %. The 4-step student gets 59 % in 2 steps: it was trained to make
# steps of one length, from four places.
# </details>

# %% [markdown]
# With 80 captions an interval is up to 22 points wide. The shipped student on 1,000: 86.7 % (84.5 to 88.7) in 4 calls;
# the teacher in 50 calls: 92.7 % (`tinyldm/weights/tiny/README.md`). A longer run, for comparison
# (2026-11-30; 300 captions, intervals of at most ± 6 points): 16 guided steps were distilled to 8 (260 updates of 64,
# 270 s of one thread), 4 (340, 302 s), 2 (40, 35 s) and 1 (40, 33 s).
#
# | steps | teacher, guided (2 calls each) | teacher, $w = 1$ | student |
# |---|---|---|---|
# | 8 | 90.3 % | 75.3 % | 89.0 % |
# | 4 | 84.7 % | 67.0 % | 88.0 % |
# | 2 | 15.3 % | 36.3 % | 81.3 % |
# | 1 | 4.3 % | 0.7 % | 50.7 % |
#
# Below, one caption from the same noise.

# %%
def plot_drawn(ax, network, steps):
    unet, w = (teacher, W) if network == "teacher" else (by_name[network], 1.0)
    image = drawn(unet, steps, w, (caption,), z[:1])[0]
    plots.plot_image(ax, image, f"{network}:\n{counted(steps, 'step')}")


by_name = {"student of 4": student4, "student of 2": student2, "student of 1": student1}
widgets.dial(plot_drawn, {"network": ("teacher", *by_name), "steps": (1, 2, 4, 8, 25)},
             strip=[{"network": "teacher", "steps": 25},
                    {"network": "teacher", "steps": 4},
                    {"network": "student of 4", "steps": 4},
                    {"network": "student of 2", "steps": 2},
                    {"network": "student of 1", "steps": 1}], size=(1.7, 1.9))

# %% [markdown] alt
# One picture from one noise, five times: by the teacher in 25 and in 4 guided steps, and by the students of 4, 2 and 1
# steps.

# %%
everyone = {"25 guided": (teacher, 25, W), "8 guided": (teacher, 8, W),
            "4": (student4, 4, 1.0), "2": (student2, 2, 1.0), "1": (student1, 1, 1.0)}
rows = [drawn(*who) for who in everyone.values()]
fig = plots.image_grid(torch.cat(rows), columns=4, rows=list(everyone), size=1.2)
plots.show(fig)
for name, pictures in list(zip(everyone, rows))[2:]:
    print(f"{counted(int(name), 'step')}: "
          f"{(pictures - rows[1]).abs().mean():.3f} from 8 guided steps, "
          f"{(pictures - rows[1].roll(1, 0)).abs().mean():.3f} from other pictures")

# %% [markdown] alt
# The same caption and the same four noises: 25 and 8 guided steps, and the students of 4, 2 and 1 steps, a row each.

# %% [markdown]
# A student's pictures are those of few guided steps, which it was taught, not those of 25: look at the first column.
# That of 4 steps is 0.046 away from 8 guided ones (the mean difference of a pixel), other pictures are 0.197 away.
#
# ## What is lost
#
# Two things that accuracy does not see: how steep the edges are, and how many different looks one caption gets. (A look
# is the background and the colours that the judge reads.)

# %%
COUNT = full_or_fast(24, fast=4)
noises = torch.randn(COUNT, 4, 8, 8, generator=draw).to(DEVICE)
for name, who in {**everyone, "25, w = 1": (teacher, 25, 1.0)}.items():
    start = time.process_time()
    images = drawn(*who, ["a star"] * COUNT, noises)
    spent = time.process_time() - start
    read = judge.read(images)
    looks = {(seen.background, *(thing["colour"] for thing in seen.things))
             for seen in read}
    edge = (images[..., 1:] - images[..., :-1]).abs().amax((1, 2, 3)).mean()
    print(f"{name:>9}: {len(looks):2d} different looks among {COUNT}, steepest edge "
          f"{edge:.2f}, {1000 * spent / COUNT:.0f} ms of processor time each")

# %% [markdown]
# In this small world neither falls much: 16 looks with the teacher, 17, 19 and 18 with the students; edges of 0.46,
# 0.42, 0.45 and 0.42. (Both measures are crude: the smears in the pictures above escape them.) What is lost is
# *accuracy*. The gain is 163 milliseconds against 28: 6 times, less than the calls promise, because VAE and text
# encoder still run.

# %% [markdown]
# What distillation costs elsewhere, too:
#
# * **The dial.** $w = 3$ is in the weights now. And there is no negative caption any more: nothing is subtracted.
# * **Corrections.** Its teacher's mistakes stay, and no data put them right.
# * **Sharpness**, in photographs. A student learns the *mean* of what its teacher does from similar $z$. One step tends
#   to a mean picture, unless something other than a squared error judges it: a discriminator (SDXL Turbo, Sauer et al.
#   2023) or the teacher's score (distribution matching, Yin et al. 2024; both reported).

# %% [markdown]
# ## What changed, and why the field moved
#
# In the article's model, only the weights, and the price of a picture. One that takes one to four calls can follow a
# pen while it draws, and runs on a phone. Latent *consistency* models (Luo et al. 2023, after Song et al. 2023) skip
# the halving: a network learns in one stage to give the same $\hat z_0$ along a whole path. Such a network jumps to
# $\hat z_0$, adds noise, and jumps again: `lcm` in `more_samplers.py` is that sampler, for released networks.

# %% [markdown]
# ## Break it on purpose
#
# The student is guided already. Guide it once more.

# %%
scales = (1.0, 2.0, 4.0)
rows = [drawn(student4, 4, scale) for scale in scales]
fig = plots.image_grid(torch.cat(rows), columns=4, size=1.2,
                       rows=[f"w = {scale:g}" for scale in scales])
plots.show(fig)
right = accuracy(student4, 4, scales[-1])
print(f"w = {scales[-1]:g}: {right.value:.1%} ({right.low:.1%} to {right.high:.1%})")
t = ts[2].repeat(4).to(DEVICE)  # 749, one of the student's four
with torch.no_grad():
    for name, unet in (("teacher", teacher), ("student", student4)):
        change = unet(z_mid, t, context) - unet(z_mid, t, null.expand(4, -1, -1))
        print(f"{name}: the caption changes the answer by {change.std():.2f} (std)")

# %% [markdown] alt
# Four pictures by the 4-step student, guided once more with 1, 2 and 4, a row each.

# %% [markdown]
# At 2 the scenes still hold; at 4 the colours go wrong, and 30 % of 80 captions come true instead of 90 %. The guidance
# in the weights is exaggerated once more: a caption changes the student's answer more than twice as much as the
# teacher's (0.99 against 0.44), and $w$ multiplies that. Besides, its answer *without* a caption was never trained.

# %% [markdown]
# ## What the article says
#
# That the number of steps is a matter of choice, fewer being faster and worse. True for one network. Here the *network*
# was changed so that few steps suffice.

# %% [markdown]
# ## Three quick questions
#
# **1.** A picture takes 25 guided steps, or 4 of the student. How many fewer calls?
#
# <details><summary>Answer</summary>
#
# 50 / 4 = 12.5 times. But 8 guided steps of DDIM were as accurate (90 %): against their 16 calls it is 4 times.
# </details>
#
# **2.** Why does the student start as a copy of its teacher, and not from random weights?
#
# <details><summary>Answer</summary>
#
# The teacher's answer is nearly right already: it is off by as much as the path bends. A few hundred
# updates are enough.
# </details>
#
# **3.** You distil Stable Diffusion 1 on pictures that it made itself. Under which licence is your student?
#
# <details><summary>Answer</summary>
#
# OpenRAIL-M counts it among the "Derivatives of the Model", so its use restrictions go with it: `docs/limits.md`.
# </details>

# %% [markdown]
# ## Exercises
#
# `../exercises/21_four_steps.ipynb`: the two steps that a student has to match, the answer that leads there, guidance
# folded in, a consistency loss; each is checked at once.
#
# To try here: start the two stages from 16 guided steps instead of the shipped student. Distil with $w = 6$ instead of
# 3. On the command line: `tinyldm generate "a green star" --four-steps`.

# %% [markdown]
# ## What next
#
# You have seen most of what the field changed between 2022 and 2024. `docs/limits.md` ends with three questions that
# code does not answer. The package's version of this lesson is `tinyldm/beyond/distillation.py`; the shipped student's
# record is in the model card, `tinyldm/weights/tiny/README.md`.
#
# One thing is left: your own words, drawn in four calls.

# %%
def plot_words(ax, words):
    image = drawn(student4, 4, 1.0, (words,), z[1:2])[0]
    plots.plot_image(ax, image, textwrap.fill(words, 24))


widgets.dial(plot_words, {"words": str},
             strip=[{"words": words} for words in (
                 "a large yellow star", "a green ring on a black background",
                 "a pink triangle to the left of a blue cross")],
             size=(1.9, 2.3))

# %% [markdown] alt
# Three pictures in four calls each, of a yellow star, a green ring on black, and a triangle to the left of a cross.
