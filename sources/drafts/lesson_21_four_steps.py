# %% [markdown]
# # 21 · Four steps
#
# **Goal.** Teach the shipped U-Net to draw in four steps, in two and in one, guidance included; and see what is lost.
#
# **Time.** 40 minutes to read and play; the cells compute for about 8 minutes on 2 CPU cores, nearly all of it in three
# trainings.
#
# **Before this.** Lessons 03, 10, 12 and 15.
#
# **You will be able to**
# - write the answer that a student must give so that its one step equals its teacher's two;
# - fold guidance into a network, and say what you can no longer change afterwards;
# - measure accuracy against the number of network calls, with intervals.

# %%
import copy

import matplotlib.pyplot as plt
import torch

from tinyldm import LatentDiffusion
from tinyldm.beyond import distillation as package
from tinyldm.data.corpus import scenes_corpus
from tinyldm.evaluation.judge import Judge
from tinyldm.evaluation.measure import EvaluationSettings, fresh_world, generate, judged
from tinyldm.evaluation.statistics import share
from tinyldm.reverse_diffusion import ddim, guided, timesteps, trailing
from tinyldm.training.latents import build_cache
from tinyldm.vae import DiagonalGaussian
from tinyldm_course.lessons import plots
from tinyldm_course.lessons.helpers import confirm_equal, full_or_fast

plots.use_style()
torch.manual_seed(0)
model = LatentDiffusion.from_pretrained()
teacher = model.unet
W = 3.0                                        # the guidance scale that is folded in

# %% [markdown]
# ## Where the time goes
#
# One picture: 25 steps, and in each the U-Net runs twice, with the caption and without. The VAE and the text encoder
# run once. So almost all time goes into 50 calls of the U-Net.
#
# > **Predict.** Just take fewer steps: 8, 4, 2, 1. At which number does the picture break?

# %%
caption = "a large red circle above a small blue square"
z = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(3))
counts = (25, 8, 4, 2, 1)
rows = [model.generate([caption] * 4, steps=steps, guidance_scale=W, noise=z) for steps in counts]
fig = plots.image_grid(torch.cat(rows), columns=4, rows=[f"{steps} steps" for steps in counts], size=1.2)
plots.show(fig, "Four pictures of one caption from the same noise with 25, 8, 4, 2 and 1 steps of the shipped model. "
           "Eight are nearly as good as 25; with four the shapes get soft, with two they dissolve, and one step gives "
           "blurred blots of colour.")

# %% [markdown]
# A number instead of an impression: the judge of lesson 15 reads a picture for each of some fresh captions. A share of
# $n$ captions has an error of about $\sqrt{p(1-p)/n}$; we show 95 % intervals.

# %%
N = full_or_fast(200, fast=8)
judge, settings = Judge.load(), EvaluationSettings(captions=N, progress=False)
world = fresh_world(0, N, settings)


def accuracy(unet, steps, guidance_scale):
    """The share of captions of which the judge finds everything in the picture, with its interval."""
    drawing = copy.copy(model)
    drawing.unet = unet
    chosen = EvaluationSettings(captions=N, steps=steps, guidance_scale=guidance_scale, progress=False)
    verdicts = judged(judge, generate(drawing, world.captions, chosen, ""), world)
    return share(sum(verdict["strict"] for verdict in verdicts), N)


measured = {
    "teacher, guided": [(2 * steps, accuracy(teacher, steps, W)) for steps in (25, 8, 4, 2, 1)],
    "teacher, w = 1": [(steps, accuracy(teacher, steps, 1.0)) for steps in (16, 8, 4, 2, 1)],
}
for name, found in measured.items():
    for calls, right in found:
        print(f"{name}, {calls:2d} calls: {right.value:.1%} ({right.low:.1%} to {right.high:.1%})")

# %% [markdown]
# ## Two steps of the teacher, one of the student
#
# A DDIM step goes from $z$ to $z'$ along the line that $\hat z_0$ and $\hat\varepsilon$ span. Two small steps turn a
# little on the way. Which $\hat z_0$ must a *student* predict, so that its one large step ends at the same $z''$?
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


schedule = model.schedule
ts = timesteps(schedule, 8)                                   # the teacher's, every second of which is the student's
now, after = schedule.at(ts[2]), schedule.at(ts[4])
context, null = model.encode_text([caption] * 4), model.encode_text([""])
guided_teacher = guided(teacher, context, null, W)
with torch.no_grad():
    two = ddim(guided_teacher, z, schedule, ts[2:4], final_alpha_bar=after.item())
    one = ddim(guided_teacher, z, schedule, ts[2:3], final_alpha_bar=after.item())
z0 = z0_that_leads_to(two, z, now, after)
print(confirm_equal(z0, package.z0_that_leads_to(two, z, now, after)))
eps = (z - now.sqrt() * z0) / (1 - now).sqrt()
end = after.sqrt() * z0 + (1 - after).sqrt() * eps
print(confirm_equal(end, two, claim="One step with this answer ends where two do"))
print(f"One large step of the teacher itself misses by {(one - two).std():.3f} (standard deviation)")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# $\hat z_0 = (z'' - r z) / (\sqrt{\bar\alpha''} - r \sqrt{\bar\alpha})$ with $r = \sqrt{(1-\bar\alpha'') /
# (1-\bar\alpha)}$ (Salimans & Ho 2022, appendix G). At the last step $r = 0$, and the target is simply where the
# teacher ended.
# </details>
#
# That is progressive distillation: a student starts as a copy of its teacher, learns to do two of its steps in one, and
# becomes the next teacher: 8 → 4 → 2 → 1.
#
# **Guidance comes for free.** The first teacher's two steps are *guided*: four calls of the U-Net. The student is asked
# once, with the caption. What it learns is the guided answer (Meng et al. 2023). So its 4 steps cost 4 calls, where 8
# guided steps cost 16. (Salimans & Ho start from 1,024 steps. The numbers above say that 8 are enough to start from.)
#
# ## Train
#
# The data are latents of training pictures, noised to the student's timesteps. The target comes from the teacher,
# without a gradient.

# %%
corpus = scenes_corpus(full_or_fast(4000, fast=200))
cache = build_cache(corpus, model.vae, model.text_encoder, None, "cpu", progress=False)
draw = torch.Generator().manual_seed(1)


def batch(size=64):
    i = torch.randint(len(cache.moments), (size,), generator=draw)
    z0 = model.vae.config.scale * DiagonalGaussian(cache.moments[i].float()).sample(draw)
    wording = torch.randint(cache.caption.shape[1], (size,), generator=draw)
    return z0, cache.contexts[cache.caption[i, wording]].float()


def ddim_step(predict, z, t, now, after):
    v = predict(z, t)                                          # tiny predicts the velocity
    z0, eps = now.sqrt() * z - (1 - now).sqrt() * v, now.sqrt() * v + (1 - now).sqrt() * z
    return after.sqrt() * z0 + (1 - after).sqrt() * eps


def distil(unet, predict_of, steps, updates, lr=5e-4):
    """A copy of unet learns to do in `steps` what a teacher does in 2 · steps. predict_of: context -> the teacher."""
    student = copy.deepcopy(unet).requires_grad_(True)
    optimizer = torch.optim.Adam(student.parameters(), lr)
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda update: 1 - update / updates)
    ts = trailing(2 * steps, schedule.T)
    alpha_bars = torch.cat([schedule.at(ts), torch.ones(1)])
    losses = []
    for _ in range(updates):
        z0, context = batch()
        k = 2 * torch.randint(steps, (len(z0),), generator=draw)
        first, middle, last = (alpha_bars[k + j].view(-1, 1, 1, 1) for j in range(3))
        z = first.sqrt() * z0 + (1 - first).sqrt() * torch.randn(z0.shape, generator=draw)
        with torch.no_grad():
            predict = predict_of(context)
            end = ddim_step(predict, ddim_step(predict, z, ts[k], first, middle), ts[k + 1], middle, last)
            target = z0_that_leads_to(end, z, first, last)
            v = (first.sqrt() * z - target) / (1 - first).sqrt()             # the same answer as a velocity
        loss = (student(z, ts[k], context) - v).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        decay.step()
        losses.append(loss.item())
    return student.eval().requires_grad_(False), losses


student4, losses4 = distil(teacher, lambda context: guided(teacher, context, null, W), 4, full_or_fast(260, fast=2))
student2, losses2 = distil(student4, lambda context: lambda z, t: student4(z, t, context), 2, full_or_fast(200, fast=2))
student1, losses1 = distil(student2, lambda context: lambda z, t: student2(z, t, context), 1, full_or_fast(150, fast=2))

# %%
fig, ax = plt.subplots(figsize=plots.NARROW)
stages = {"8 guided → 4": losses4, "4 → 2": losses2, "2 → 1": losses1}
for (name, losses), style in zip(stages.items(), ("-", "--", ":")):
    smooth = torch.tensor(losses).unfold(0, min(20, len(losses)), 1).mean(1)
    ax.plot(smooth, style, label=name)
ax.set(xlabel="updates of 64 pictures", ylabel="loss (mean of 20)", yscale="log", title="Distillation")
ax.legend()
plots.show(fig, "Three falling loss curves. The first stage, which also has to learn guidance, falls by more than half "
           "within a hundred updates, then slowly.")

# %% [markdown]
# ## Judge
#
# > **Predict.** With equal numbers of *calls*, student against teacher: at which number is the gain largest? And what
# > happens if the 4-step student is sampled in 2 steps, for which it was not trained?

# %%
own = ((student4, 4), (student2, 2), (student1, 1))
measured["student, one call a step"] = [(steps, accuracy(unet, steps, 1.0)) for unet, steps in own]
measured["student of 4 in 2 steps"] = [(2, accuracy(student4, 2, 1.0))]
fig, ax = plt.subplots(figsize=plots.WIDE)
for (name, found), marker in zip(measured.items(), "osD^"):
    calls, values = [c for c, _ in found], [100 * s.value for _, s in found]
    errors = [[100 * (s.value - s.low) for _, s in found], [100 * (s.high - s.value) for _, s in found]]
    ax.errorbar(calls, values, errors, fmt=marker + "-", capsize=3, markersize=5, label=name)
    print(name, {c: f"{s.value:.1%}" for c, s in found})
ax.set(xscale="log", xlabel="calls of the U-Net", ylabel="everything right, %", ylim=(0, 100), title=f"{N} captions")
ax.set_xticks([1, 2, 4, 8, 16, 50], ["1", "2", "4", "8", "16", "50"])
ax.legend()
plots.show(fig, "The share of captions that are drawn right over the number of U-Net calls, with intervals: the "
           "teacher's curve, and above it, at few calls, that of the students.")

# %% [markdown]
# A longer run, for comparison (2026-11-30; 300 captions, 95 % intervals of at most ± 6 points; one thread, AMD EPYC):
# 16 guided steps were distilled to 8 (260 updates of 64, 270 s), 4 (340, 302 s), 2 (40, 35 s) and 1 (40, 33 s).
#
# | steps | teacher, guided (2 calls each) | teacher, $w = 1$ | student |
# |---|---|---|---|
# | 8 | 90.3 % | 75.3 % | 89.0 % |
# | 4 | 84.7 % | 67.0 % | 88.0 % |
# | 2 | 15.3 % | 36.3 % | 81.3 % |
# | 1 | 4.3 % | 0.7 % | 50.7 % |
#
# The 8-step student, sampled in 4 steps, got 86.0 %.

# %%
students = {"25 guided": (teacher, 25, W), "4": (student4, 4, 1.0), "2": (student2, 2, 1.0), "1": (student1, 1, 1.0)}
rows = []
for unet, steps, guidance_scale in students.values():
    drawing = copy.copy(model)
    drawing.unet = unet
    rows.append(drawing.generate([caption] * 4, steps=steps, guidance_scale=guidance_scale, noise=z))
fig = plots.image_grid(torch.cat(rows), columns=4, rows=list(students), size=1.3)
plots.show(fig, "The same caption and noise: 25 guided steps, and the students of 4, 2 and 1 steps. The scenes are "
           "the same; edges get softer from row to row.")

# %% [markdown]
# ## What is lost
#
# * **The dial.** $w = 3$ is in the weights now. And there is no negative caption any more: nothing is subtracted.
# * **Sharpness and variety, in the end.** A student learns the *mean* of what its teacher does from similar $z$. With
#   few steps it has little chance to correct itself. One step is a mean picture, unless something other than a squared
#   error judges it: a discriminator (SDXL Turbo, Sauer et al. 2023) or the teacher's score (distribution matching, Yin
#   et al. 2024; both reported).
# * **Its teacher's mistakes** stay, and no data put them right.
#
# Latent *consistency* models (Luo et al. 2023) skip the halving: a network learns in one stage that its $\hat z_0$ be
# the same along a whole path. Such a network jumps to $\hat z_0$, adds noise, and jumps again: `lcm` in
# `more_samplers.py` is that sampler, for released networks.
#
# ## Break it on purpose
#
# The student is guided already. Guide it once more.

# %%
drawing = copy.copy(model)
drawing.unet = student4
rows = [drawing.generate([caption] * 4, steps=4, guidance_scale=scale, noise=z) for scale in (1.0, 2.0, 4.0)]
fig = plots.image_grid(torch.cat(rows), columns=4, rows=["w = 1", "w = 2", "w = 4"], size=1.2)
plots.show(fig, "The 4-step student, guided with 1, 2 and 4.")

# %% [markdown]
# It never learnt what to say without a caption: only its answers *with* one were trained. The difference of the two
# means nothing any more, and is multiplied.
#
# ## What the article says
#
# That the number of steps is a matter of choice, fewer being faster and worse. True for one network. Here the *network*
# was changed so that few steps suffice.
#
# ## Three quick questions
#
# **1.** A picture takes 25 guided steps, or 4 of the student. How many times fewer calls?
#
# <details><summary>Answer</summary>
#
# 50 / 4 = 12.5 times.
# </details>
#
# **2.** Why does the student start as a copy of its teacher, and not from random weights?
#
# <details><summary>Answer</summary>
#
# The teacher's answer is nearly right already: for one step from $z$ it is off by as much as the path bends. Some
# hundred updates are enough.
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
# `../exercises/21_four_steps.ipynb`: two steps, the answer that leads there, guidance, a consistency loss.
#
# To try here: start from 16 guided steps instead of 8. Distil with $w = 6$ instead of 3.
#
# ## What next
#
# You have seen all that the field changed between 2022 and 2024. `docs/limits.md` ends with three questions that code
# does not answer. The package's version of this lesson is `tinyldm/beyond/distillation.py`.
