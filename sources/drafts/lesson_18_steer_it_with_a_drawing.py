# %% [markdown]
# # 18 · Steer it with a drawing
#
# **Goal.** Give a finished model a new input, a drawing, without touching one of its weights: ControlNet.
#
# **Time.** 35 minutes to read and play; the cells compute for about six minutes on 2 CPU cores.
#
# **Before this.** Lesson 08 (the U-Net and its skips), lesson 10 (the training loop), lesson 17.
#
# **You will be able to**
# - say what is copied, what is frozen and what is zero in a ControlNet;
# - compute why a layer of zeros learns all the same;
# - train one on outlines, and measure whether pictures follow them;
# - name three other ways to tell a model more.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from tinyldm import LatentDiffusion
from tinyldm.beyond.controlnet import ControlNet, save_controlnet, steered
from tinyldm.beyond.teaching import examples_of, teach_controlnet
from tinyldm.data import scenes
from tinyldm_course.lessons import plots
from tinyldm_course.lessons.helpers import confirm_equal, full_or_fast
from tinyldm_course.lessons.model_map import show_model_map

plots.use_style()
torch.manual_seed(0)
model = LatentDiffusion.from_pretrained("tiny")

# %% [markdown]
# ## Where we are
#
# A caption says *what*. It says badly *where*: "to the left" is one word for a hundred places. The U-Net has two inputs
# for more, cross-attention and further channels of $z_t$. Both change the U-Net, so that it has to be trained again.
# Zhang et al. (2023) found a third way, which leaves it alone.

# %%
show_model_map("U-Net")

# %% [markdown]
# ## What is copied, what is zero
#
# ```
# drawing ─► convolutions ─┐
# z_t ─► conv_in ─────────►+─► down ─► middle         a copy of the U-Net's encoder: trained
#                          0     0       0            1×1 convolutions that start at zero: trained
#                          ▼     ▼       ▼
# z_t ─► conv_in ─► down ─► middle ─►  +  ─► up ─►    the U-Net: frozen
# ```
#
# The copy knows already what a picture is. It only has to learn to read the drawing.
#
# > **Predict.** The copy's outputs go through convolutions that are zero. What is the loss of the whole in the first
# > step, compared with that of the U-Net alone?

# %%
control = ControlNet.copy_of(model.unet, drawing_widths=(8, 16, 32, 64))
z_t, t, context = torch.randn(2, 4, 8, 8), torch.tensor([100, 700]), model.encode_text(["a star", "a ring"])
drawing = torch.rand(1, 3, 64, 64)
plain = model.unet(z_t, t, context)
with steered(model.unet, control, drawing):
    print("the same:", torch.equal(model.unet(z_t, t, context), plain))
for name, network in (("U-Net", model.unet), ("ControlNet", control)):
    print(f"{name:11} {sum(p.numel() for p in network.parameters()):>10,} parameters")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Exactly the same: $x + 0$. Training starts from a model that works, and an early, bad gradient cannot spoil it.
# </details>
#
# ## Why zeros learn
#
# A zero convolution is $y = wx + b$ with $w = b = 0$.
#
# > **Predict.** $\partial y / \partial w$ and $\partial y / \partial x$ at $w = 0$: which of the two is zero?

# %%
x = torch.tensor([3.0], requires_grad=True)
w = torch.zeros(1, requires_grad=True)
(w * x - 1).square().backward()
print("gradient of w:", w.grad.item(), "  of x:", x.grad.item())

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# $\partial y/\partial w = x$ is not zero; $\partial y/\partial x = w$ is. So the zero convolution moves in the first
# step, and what is behind it waits one step longer.
# </details>
#
# See it in the whole network: which parts have a gradient in the first step, and which in the second?

# %%
def moving(steps):
    """The share of weights with a gradient in each step, for the parts of a fresh ControlNet."""
    fresh = ControlNet.copy_of(model.unet, drawing_widths=(8, 16, 32, 64))
    optimizer, seen = torch.optim.SGD(fresh.parameters(), 0.1), []
    for _ in range(steps):
        optimizer.zero_grad()
        with steered(model.unet, fresh, drawing):
            model.unet(z_t, t, context).sub(1).square().mean().backward()
        seen.append({part: any(p.grad is not None and p.grad.abs().max() > 0 for p in module.parameters())
                     for part, module in fresh.named_children() if any(True for _ in module.parameters())})
        optimizer.step()
    return seen


for step, parts in enumerate(moving(3), 1):
    print(f"step {step}:", ", ".join(part for part, moves in parts.items() if moves))

# %% [markdown]
# The drawing's encoder ends in a zero convolution too: its last layer moves in the second step, the rest of it in the
# third.
#
# ## The same by hand
#
# What a ControlNet gives is a list of tensors, one for each skip and one for the middle. Here they are added by hand,
# in the U-Net's forward pass of lesson 08.

# %%
for conv in (*control.zero_convs, control.zero_conv_middle):
    nn.init.normal_(conv.weight, std=0.05)          # as if trained

with torch.no_grad():
    *of_skips, of_middle = control(z_t, t, context, None, drawing)
    unet = model.unet
    from tinyldm import timestep_embedding
    t_emb = unet.time_mlp(timestep_embedding(t, unet.config.channels[0]))
    x = unet.conv_in(z_t)
    skips = [x]
    for level in unet.down:
        x, pushed = level(x, t_emb, context)
        skips += pushed
    x = unet.middle(x, t_emb, context) + of_middle
    skips = [skip + more for skip, more in zip(skips, of_skips)]
    for level in unet.up:
        x = level(x, skips, t_emb, context)
    by_hand = unet.conv_out(torch.nn.functional.silu(unet.norm_out(x)))
    with steered(unet, control, drawing):
        print(confirm_equal(by_hand, unet(z_t, t, context)))

# %% [markdown]
# ## Outlines of the small world
#
# Training needs pairs of a picture and a drawing. For photographs, edge detectors, depth or pose estimators make the
# drawings. In the small world we know each shape's signed distance, and an outline is where it is near zero.

# %%
Y, X = np.mgrid[0:64, 0:64].astype(np.float32)


def distance(scene):
    """The signed distance of each pixel to the nearest thing's edge: (64, 64), negative inside."""
    return np.min([scenes.DISTANCE[a.shape](X - a.x, Y - a.y, a.radius) for a in scene.things], axis=0)


def outlines(some):
    """White lines on black: (B, 3, 64, 64) in [0, 1]."""
    lines = np.stack([np.abs(distance(scene)) < 1.2 for scene in some])
    return torch.from_numpy(lines).float()[:, None].repeat(1, 3, 1, 1)


pixels, captions, shown = scenes.batch(0, range(full_or_fast(1500, 16)))
images, drawings = scenes.to_tensor(pixels) * 0.5 + 0.5, outlines(shown)
fig = plots.image_grid(torch.cat([images[:6], drawings[:6]]), columns=6, rows=["picture", "drawing"], size=1.45)
plots.show(fig, "Six pictures of the small world, and their outlines in white on black.")

# %% [markdown]
# ## A measure
#
# Does a picture follow its drawing? Take what is not background, and compare it with what the outline encloses:
# intersection over union, 1 where they are the same.

# %%
def iou(pictures, some):
    """The mean intersection over union of what is seen and what was drawn."""
    border = torch.cat([pictures[:, :, 0], pictures[:, :, -1], pictures[..., 0], pictures[..., -1]], dim=2)
    seen = (pictures - border.median(2).values[:, :, None, None]).abs().amax(1) > 0.2
    drawn = torch.from_numpy(np.stack([distance(scene) < 0 for scene in some]))
    return ((seen & drawn).sum((1, 2)) / (seen | drawn).sum((1, 2)).clamp(min=1)).mean().item()


print(f"the pictures themselves: {iou(images, shown):.2f}")

_, fresh_captions, fresh = scenes.batch(77, range(full_or_fast(48, 4)))


def draw(scale=1.0):
    """Pictures for fresh captions, steered by the outlines of fresh scenes."""
    with steered(model.unet, control, outlines(fresh), scale):
        return model.generate([caption.text for caption in fresh_captions], steps=full_or_fast(12, 2),
                              generator=torch.Generator().manual_seed(3))

# %% [markdown]
# ## Train it
#
# > **Predict.** Draw the curve of this measure over training. Does it rise evenly?

# %%
control = ControlNet.copy_of(model.unet, drawing_widths=(8, 16, 32, 64))
new = examples_of(model, images, [caption.text for caption in captions], drawings)
curve = [iou(draw(), fresh)]
for _ in range(full_or_fast(4, 1)):
    teach_controlnet(model, control, new, steps=full_or_fast(120, 2), lr=1e-3)
    curve.append(iou(draw(), fresh))

fig, ax = plt.subplots(figsize=plots.WIDE)
ax.plot([120 * i for i in range(len(curve))], curve, marker="o", color=plots.BLUE)
ax.set(xlabel="steps of 32", ylabel="intersection over union", ylim=(0, 1))
plots.show(fig, "How well pictures follow their outlines over training: " + ", ".join(f"{x:.2f}" for x in curve) + ".")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# No. For the first steps nothing is to be seen, then it follows almost at once. The paper calls it *sudden convergence*
# (Zhang et al. 2023, § 3.3): the gradient has to travel through one zero after the other first.
#
# Measured when this lesson was written (64 fresh captions, 12 steps; 190 s of processor time for all 480 steps):
#
# | steps of 32 | 0 | 120 | 240 | 360 | 480 | the pictures themselves |
# |---|---|---|---|---|---|---|
# | intersection over union | 0.17 | 0.17 | 0.52 | 0.69 | 0.74 | 0.88 |
# | all that the caption says, % | 86 | 83 | 89 | 89 | 94 | |
# </details>

# %%
alone, followed = draw(0.0), draw()
fig = plots.image_grid(torch.cat([outlines(fresh)[:6], alone[:6], followed[:6]]),
                       columns=6, rows=["drawing", "alone", "steered"], size=1.45)
plots.show(fig, "Six outlines, what the model draws for their captions alone, and what it draws when it is steered.")

# %% [markdown]
# ## Your own drawing
#
# Change the numbers, or draw with the mouse in any program, 64 × 64, white on black, and open it with
# `tinyldm.data.pictures.open_picture`. From the command line, the same for real models:
#
# ```
# tinyldm generate "a house" --model FOLDER --controlnet CONTROLNET_FOLDER --control edges.png
# ```

# %%
mine = torch.zeros(1, 3, 64, 64)
mine[..., 14:50, 14:16] = mine[..., 14:50, 48:50] = 1          # two upright lines
mine[..., 14:16, 14:50] = mine[..., 48:50, 14:50] = 1          # two level ones
with steered(model.unet, control, mine):
    tries = model.generate(["a large red square", "a large blue square", "a large red circle", "a green star"],
                           generator=torch.Generator().manual_seed(4))
fig = plots.image_grid(torch.cat([mine, tries]), ["drawing", "red square", "blue square", "red circle", "green star"],
                       columns=5, size=1.5)
plots.show(fig, "A square drawn by hand, and what comes out for four captions, two of which contradict it.")
save_controlnet(control, "outlines")        # diffusers' ControlNetModel.from_pretrained opens it

# %% [markdown]
# ## Break it on purpose
#
# Many edge detectors, and most people with a pencil, draw black on white. Give it the same drawings, inverted.
#
# > **Predict.** Will the pictures follow the black lines, ignore them, or something else?

# %%
with steered(model.unet, control, 1 - outlines(fresh)):
    inverted = model.generate([caption.text for caption in fresh_captions], steps=full_or_fast(12, 2),
                              generator=torch.Generator().manual_seed(3))
print(f"intersection over union: {iou(inverted, fresh):.2f}, with white on black {iou(followed, fresh):.2f}")
fig = plots.image_grid(torch.cat([1 - outlines(fresh)[:6], inverted[:6]]), columns=6, rows=["drawing", "steered"],
                       size=1.45)
plots.show(fig, "Six outlines in black on white, and what comes out: the right things, but nowhere near the lines.")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# It does worse than ignore them: 0.08 (of 24 pictures), where the model alone gets 0.17. The things are mostly those of
# the caption, but they keep away from the lines. To this network a black line on white is the *absence* of a line. No
# error tells you. What a drawing looks like is a contract, and only the makers of a ControlNet know it.
# </details>
#
# Another idea: does it need the zeros? With PyTorch's usual small random weights in their place, before any training,
# 18 of 24 captions came true; without a ControlNet, 20. In a network this small the damage can hardly be measured.
# Zeros make it none at all, in any network.
#
# ## Other ways to say more
#
# | | the new condition goes | the U-Net is |
# |---|---|---|
# | inpainting (lesson 13) | into further channels of $z_t$ | trained again |
# | image context (the article's own) | through cross-attention, beside the caption | trained again |
# | IP-Adapter | through a cross-attention of its own, for a picture | frozen |
# | ControlNet | to the skips, from a copy that reads $z_t$ and drawing | frozen |
# | T2I-Adapter | to the skips, from a small encoder that reads the drawing alone, once for all steps | frozen |
#
# ## What the article says
#
# The article conditions through cross-attention. That is true of its model, and no longer all of what people use.
# ControlNet came half a year after Stable Diffusion, and could come because the weights were public.

# %% [markdown]
# ## Three quick questions
#
# **1.** Why is $z_t$ an input of the ControlNet, and not the drawing alone?
#
# <details><summary>Answer</summary>
#
# So that what it adds fits what is there already, at this noise level. It costs a run of the copy in each step.
# </details>
#
# **2.** Stable Diffusion 1's ControlNet has 361 million parameters. Why not 860, like the U-Net?
#
# <details><summary>Answer</summary>
#
# Only the encoder and the middle are copied. The decoder, which reads the skips twice as wide, is the larger half.
# </details>
#
# **3.** You fine-tune the U-Net afterwards. Does its ControlNet still fit?
#
# <details><summary>Answer</summary>
#
# Mostly: what it adds was learnt for features that have moved a little. ControlNets for Stable Diffusion 1.5 are used
# with hundreds of its descendants.
# </details>
#
# ## Exercises
#
# `../exercises/18_steer_it.ipynb`: the gradient of a zero convolution, where the zeros stand, adding to the skips, an
# outline from a distance.
#
# ## What next
#
# You have changed what a U-Net reads. Lesson 19 changes the road on which it walks from noise to picture.
