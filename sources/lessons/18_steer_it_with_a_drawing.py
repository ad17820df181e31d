# %% [markdown]
# # 18 · Steer it with a drawing: ControlNet
#
# **Goal.** Give a finished model a new input, a drawing, without touching one of its weights.
#
# **Time.** 40 minutes to read and play; the cells compute for about six minutes on 2 CPU cores.
#
# **Before this.** Lesson 08 (the U-Net and its skips), lesson 10 (the training loop), lesson 17.
#
# **You will be able to**
# - say what is copied, what is frozen and what is zero in a ControlNet;
# - compute why a layer of zeros learns all the same;
# - train one on outlines, and measure whether pictures follow them;
# - draw with the mouse, and let the model paint;
# - name three other ways to tell a model more.

# %%
import copy
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tinyldm import LatentDiffusion, timestep_embedding, to_unit
from tinyldm.beyond.controlnet import ControlNet, save_controlnet, steered
from tinyldm.beyond.teaching import examples_of, teach_controlnet
from tinyldm.data import scenes
from tinyldm.evaluation.judge import Judge, verdict
from tinyldm.evaluation.statistics import share
from tinyldm.machine import choose_device
from tinyldm_course.lessons import plots, widgets
from tinyldm_course.lessons.easel import easel, rectangle
from tinyldm_course.lessons.helpers import confirm_equal, full_or_fast, progress
from tinyldm_course.lessons.model_map import show_model_map

plots.use_style()
DEVICE = choose_device()  # CUDA, else Apple's MPS, else the CPU
print("This lesson runs on", DEVICE.type)
torch.manual_seed(0)
model = LatentDiffusion.from_pretrained("tiny", device=DEVICE)
judge = Judge.load()

# %% [markdown]
# ## Where we are
#
# A caption says *what*. It says badly *where*: "to the left" is one word for a hundred places. The article's model has
# two ways to be told more, cross-attention and further channels of $z_t$. Both change the U-Net, so that it has to be
# trained again. *ControlNet* (Zhang et al. 2023) leaves it alone.

# %%
show_model_map("U-Net")

# %% [markdown]
# ## What is copied, what is zero
#
# ```
# drawing ─► convolutions ─► 0 ─┐
# z_t ─► conv_in ──────────────►+─► down ─► middle      a copy of the U-Net's encoder: trained
#                               │     │       │
#                               0     0       0         1×1 convolutions that start at zero: trained
#                               └──┬──┘       │
#           ┌────────┬─── skips ──►+──────────┼───┐     what was found is added to the skips
#           │        │                        ▼   ▼     and to what leaves the middle
# z_t ─► conv_in ─► down ─► middle ──────────►+─► up ─► the U-Net: frozen
# ```
#
# The copy already knows what a picture is. It only has to learn to read the drawing. What it finds is added to the
# skips (lesson 08) after they leave the frozen way down, and to the output of the middle.

# %%
SKIPS = (64, 64, 64, 96)  # the widths of this U-Net's skips, as they are pushed


def zero(conv):
    """A convolution that gives zeros, until it is trained."""
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    return conv


def way_down(part, x, t_emb, context):
    """The encoder of a U-Net, or of a copy: its skips, and what leaves the middle."""
    skips = [x]
    for level in part.down:
        x, pushed = level(x, t_emb, context)
        skips += pushed
    return skips, part.middle(x, t_emb, context)

# %% [markdown]
# The copies start with the U-Net's weights. The drawing has 64 × 64 pixels and the latent 8 × 8, so three of the
# convolutions that read it halve its sides.

# %%
class Control(nn.Module):
    """Reads z_t and a drawing, and says what to add to the skips and the middle."""

    def __init__(self, unet, widths=(8, 16, 32, 64)):
        super().__init__()
        self.time_mlp = copy.deepcopy(unet.time_mlp)
        self.conv_in = copy.deepcopy(unet.conv_in)
        layers = [nn.Conv2d(3, widths[0], 3, padding=1), nn.SiLU()]
        for width, wider in zip(widths, widths[1:]):  # each pair halves the sides
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.SiLU()]
            layers += [nn.Conv2d(width, wider, 3, padding=1, stride=2), nn.SiLU()]
        last = zero(nn.Conv2d(widths[-1], unet.config.channels[0], 3, padding=1))
        self.drawing = nn.Sequential(*layers, last)
        self.down, self.middle = copy.deepcopy(unet.down), copy.deepcopy(unet.middle)
        self.zeros = nn.ModuleList(zero(nn.Conv2d(c, c, 1)) for c in SKIPS)
        self.zero_middle = zero(nn.Conv2d(SKIPS[-1], SKIPS[-1], 1))
        self.requires_grad_(True)  # the shipped U-Net, which was copied, is frozen

    def forward(self, z_t, wave, context, drawing):
        x = self.conv_in(z_t) + self.drawing(drawing)  # (B, 64, 8, 8)
        skips, x = way_down(self, x, self.time_mlp(wave), context)
        of_skips = [conv(skip) for conv, skip in zip(self.zeros, skips)]
        return of_skips, self.zero_middle(x)

# %% [markdown]
# The U-Net itself is called as in lesson 08, with two additions.
#
# > **Predict.** The copy's outputs go through convolutions that are zero. What is the loss of the whole in the first
# > step of training, compared with that of the U-Net alone?


# %%
def steered_unet(unet, control, z_t, t, context, drawing, scale=1.0):
    """The U-Net's answer, with what the control finds added on the way."""
    wave = timestep_embedding(t, unet.config.channels[0])  # lesson 06
    t_emb = unet.time_mlp(wave)
    skips, x = way_down(unet, unet.conv_in(z_t), t_emb, context)
    of_skips, of_middle = control(z_t, wave, context, drawing)
    x = x + scale * of_middle
    skips = [skip + scale * more for skip, more in zip(skips, of_skips)]
    for level in unet.up:
        x = level(x, skips, t_emb, context)
    return unet.conv_out(F.silu(unet.norm_out(x)))


z_t, drawing = torch.randn(2, 4, 8, 8).to(DEVICE), torch.rand(2, 3, 64, 64).to(DEVICE)
t = torch.tensor([100, 700]).to(DEVICE)
context = model.encode_text(["a star", "a ring"])
mine = Control(model.unet).to(DEVICE)
with torch.no_grad():
    plain = model.unet(z_t, t, context)
    same = torch.equal(steered_unet(model.unet, mine, z_t, t, context, drawing), plain)
print("with a fresh control the answer is the same, to the bit:", same)
for name, network in (("U-Net", model.unet), ("control", mine)):
    print(f"{name:8}{sum(p.numel() for p in network.parameters()):>10,} parameters")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Exactly the same: $x + 0$. Training starts from a model that works; no layer with random weights disturbs it.
# </details>
#
# The package's `ControlNet` is the same network, and `steered` adds it to the U-Net while a block lasts. With the same
# weights, the zeros replaced by random numbers as if trained:

# %%
control = ControlNet.copy_of(model.unet, drawing_widths=(8, 16, 32, 64))
with torch.no_grad():
    for ours, theirs in zip(mine.parameters(), control.parameters(), strict=True):
        theirs.add_(0.02 * torch.randn(theirs.shape).to(DEVICE))
        ours.copy_(theirs)
    yours = steered_unet(model.unet, mine, z_t, t, context, drawing)
    with steered(model.unet, control, drawing):
        print(confirm_equal(yours, model.unet(z_t, t, context)))

# %% [markdown]
# ## Why zeros learn
#
# A *zero convolution* is $y = wx + b$ with $w = b = 0$.
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
# See it in the whole network: which parts have a gradient in the first step, in the second, in the third?


# %%
def has_gradient(module):
    return any(p.grad is not None and p.grad.any() for p in module.parameters())


fresh_control = Control(model.unet).to(DEVICE)
parts = dict(fresh_control.named_children())
parts["drawing's last"] = parts["drawing"][-1]
parts["drawing"] = parts["drawing"][:-1]
optimizer = torch.optim.SGD(fresh_control.parameters(), 0.1)
for step in (1, 2, 3):
    optimizer.zero_grad()
    answer = steered_unet(model.unet, fresh_control, z_t, t, context, drawing)
    answer.sub(1).square().mean().backward()
    moves = [name for name, part in parts.items() if has_gradient(part)]
    print(f"step {step}:", ", ".join(moves))
    optimizer.step()

# %% [markdown]
# The drawing's encoder ends in a zero convolution, too, behind those of the outputs: that one moves in the second
# step, and the layers before it in the third.
#
# ## Outlines of the small world
#
# Training needs pairs of a picture and a drawing. For photographs, programs that find edges, depth or poses make the
# drawings. In the small world we know each shape's signed distance, and an outline is where it is near zero.

# %%
Y, X = np.mgrid[0:64, 0:64].astype(np.float32)


def distance(scene):
    """From each pixel to the nearest edge, negative inside: (64, 64)."""
    things = scene.things
    return np.min(
        [scenes.DISTANCE[a.shape](X - a.x, Y - a.y, a.radius) for a in things], 0
    )


def outlines(some):
    """White lines on black, 2.4 pixels wide: (B, 3, 64, 64) in [0, 1]."""
    lines = np.stack([np.abs(distance(scene)) < 1.2 for scene in some])
    return torch.from_numpy(lines).float()[:, None].repeat(1, 3, 1, 1)


pixels, captions, shown = scenes.batch(0, range(full_or_fast(1500, 16)))
images, drawings = to_unit(scenes.to_tensor(pixels)), outlines(shown)
fig = plots.image_grid(
    torch.cat([images[:6], drawings[:6]]),
    columns=6,
    rows=["picture", "drawing"],
    size=1.45,
)
plots.show(fig)

# %% [markdown] alt
# Six pictures of the small world, and below each its outlines in white on black.

# %% [markdown]
# ## A measure
#
# Does a picture follow its drawing? Take what is not background, and compare it with what the outline encloses: the
# **intersection over union**, the number of pixels in both over the number in either. It is 1 where they are the same.


# %%
def iou(pictures, some):
    """The mean intersection over union of what is seen and what was drawn."""
    edges = [pictures[:, :, 0], pictures[:, :, -1], pictures[..., 0], pictures[..., -1]]
    background = torch.cat(edges, dim=2).median(2).values[:, :, None, None]
    seen = (pictures - background).abs().amax(1) > 0.2
    drawn = torch.from_numpy(np.stack([distance(scene) < 0 for scene in some]))
    both, either = (seen & drawn).sum((1, 2)), (seen | drawn).sum((1, 2))
    return (both / either.clamp(min=1)).mean().item()


_, fresh_captions, fresh = scenes.batch(77, range(full_or_fast(40, 4)))
asked = [caption.text for caption in fresh_captions]
fresh_drawings = outlines(fresh)


def draw(drawings, scale=1.0, captions=asked):
    """Pictures (B, 3, 64, 64) for captions, steered by drawings (1 or B, 3, 64, 64)."""
    generator = torch.Generator().manual_seed(3)
    with steered(model.unet, control, drawings.to(DEVICE), scale):
        pictures = model.generate(
            captions, steps=full_or_fast(10, 2), generator=generator
        )
    return pictures.cpu()


print(f"real pictures and their own outlines: {iou(images, shown):.2f}")

# %% [markdown]
# Real pictures do not reach 1, because their backgrounds have gradients and some colours are close to them.
#
# ## Train it
#
# The U-Net stays frozen; only the control's parameters are in the optimizer (`tinyldm/beyond/teaching.py`). Every 80
# steps we measure on captions and outlines that training has not seen.
#
# > **Predict.** Sketch the curve of this measure over 400 steps. Does it rise evenly?

# %%
control = ControlNet.copy_of(model.unet, drawing_widths=(8, 16, 32, 64))
said = [caption.text for caption in captions]
examples = examples_of(model, images.to(DEVICE), said, drawings)
STEPS, EVERY = full_or_fast(400, 2), full_or_fast(80, 1)
curve = []


def measured(steps):
    """Go through the steps of the training, and measure on the way."""
    for step in progress(steps, "training"):
        if step % EVERY == 0:
            curve.append(iou(draw(fresh_drawings), fresh))
        yield step


teach_controlnet(model, control, examples, STEPS, lr=1e-3, show=measured)
followed = draw(fresh_drawings)
curve.append(iou(followed, fresh))

fig, ax = plt.subplots(figsize=plots.NARROW)
ax.plot(
    [EVERY * i for i in range(len(curve))], curve, marker="o", color=plots.BLUE
)
ax.axhline(iou(images, shown), color=plots.GREY, linestyle="--", label="real pictures")
ax.set(xlabel="steps of 32 pictures", ylabel="intersection over union", ylim=(0, 1))
ax.set_title("Does the picture follow the drawing?")
ax.legend(loc="lower right")
plots.show(fig)

# %% [markdown] alt
# How well pictures follow their outlines, measured every 80 steps of training: {', '.join(f'{x:.2f}' for x in
# curve)}. A dashed line shows real pictures, {iou(images, shown):.2f}.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# No. After 80 steps nothing is to be seen: 0.15, as without it. At step 160 it is 0.62, and then it creeps up to 0.73.
# The paper calls this *sudden convergence* (its § 3.3). The zeros are only part of the reason: from step 3 on, every
# part has a gradient, as you saw. Probably it also matters that small weights are multiplied by small weights: their
# effect stays tiny for long, then grows fast. After that little is left to learn: the copy knows pictures already.
# </details>
#
# Does it still draw what the caption says?


# %%
def come_true(pictures):
    """In how many pictures the judge reads all that the caption says."""
    readings = judge.read(pictures)
    right = [
        verdict(reading, scene, caption.stated)["strict"]
        for reading, scene, caption in zip(readings, fresh, fresh_captions)
    ]
    return share(sum(right), len(right))


alone = draw(fresh_drawings, scale=0.0)
for name, pictures in (("alone", alone), ("steered", followed)):
    print(f"{name:8} follows {iou(pictures, fresh):.2f}  true {come_true(pictures)}")
fig = plots.image_grid(
    torch.cat([fresh_drawings[:6], alone[:6], followed[:6]]),
    columns=6,
    rows=["drawing", "alone", "steered"],
    size=1.45,
)
plots.show(fig)

# %% [markdown] alt
# Six outlines, what the model draws for their captions alone, and what it draws from the same noise when it is steered.

# %% [markdown]
# From the same noise, things now stand where the lines are. (Some backgrounds change, too.) And no loss shows: 36 of 40
# captions come true with the drawing as without it, though 40 are too few to see a small one.
#
# ## How strictly: the scale
#
# What the control finds can be added at half strength, or at twice.
#
# > **Predict.** The caption asks for a circle, the drawing is a square. Who wins at scale 0, 0.5, 1 and 1.5?

# %%
square = rectangle(14, 14, 50, 50)  # (3, 64, 64)
contradiction = ["a large red circle on a white background"]
PICTURE_AT = {
    scale: draw(square[None], scale, contradiction)[0]
    for scale in (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
}


def plot_scale(ax, scale):
    plots.plot_image(ax, PICTURE_AT[scale], f"scale {scale}")


widgets.dial(
    plot_scale,
    {"scale": tuple(PICTURE_AT)},
    strip=[{"scale": s} for s in (0.0, 0.5, 1.0, 1.5)],
    size=(1.6, 1.8),
)

# %% [markdown] alt
# Pictures for "a large red circle on a white background", steered by the drawing of a square at scales 0, 0.5, 1 and
# 1.5.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Each wins in its own field. The caption says *what*: a circle at every scale. The drawing says *where*: the circle
# moves up into the square (you see the drawing in the next figure). In training the two never contradicted each other,
# so nobody taught the model which one to believe.
# </details>
#
# ## Your own drawing
#
# Draw with the mouse: press, move, release, and the model paints. (This needs a running notebook. Without one, look at
# the four pictures: the same square under four captions, two of which contradict it.)


# %%
def paint(drawing, caption):
    """A picture (3, 64, 64) for a drawing (3, 64, 64): the easel calls this."""
    return draw(drawing[None], captions=[caption])[0]


tried = [
    "a large red square",
    "a large blue square",
    "a large green circle",
    "a yellow star",
]
pictures = [paint(square, caption) for caption in tried]
fig = plots.image_grid([square, *pictures], ["drawing", *tried], columns=5, size=1.75)
plots.show(fig)
easel(paint, square, caption="a large blue square on a cream background")

# %% [markdown] alt
# A square drawn with four lines, and what comes out for the captions {', '.join(tried)}.

# %% [markdown]
# The squares obey, though smaller than drawn: the small world has none so large. The star does not keep to the drawing:
# "what" and "where" are not strictly divided.
#
# Try a shape that the world does not have, an open line, two shapes for one thing. Or draw in any program, white on
# black, and hand the file over; the command line does the same with real models:
#
#     tinyldm generate "a house" --model FOLDER --controlnet CONTROLNET_FOLDER --control edges.png
#
# The folder is that of diffusers' `ControlNetModel`, and ours opens there:

# %%
folder = Path(tempfile.mkdtemp())
save_controlnet(control, folder)
for file in sorted(folder.iterdir()):
    print(f"{file.name:40}{file.stat().st_size / 1000:>8,.0f} KB")

# %% [markdown]
# ## Break it on purpose
#
# Most people with a pencil draw black on white. Give it the same drawings, inverted.
#
# > **Predict.** Will the pictures follow the black lines, ignore them, or something else?

# %%
inverted = draw(1 - fresh_drawings)
for name, pictures in (
    ("white on black", followed),
    ("alone", alone),
    ("black on white", inverted),
):
    print(f"{name:15} follows {iou(pictures, fresh):.2f}  true {come_true(pictures)}")
fig = plots.image_grid(
    torch.cat([1 - fresh_drawings[:6], inverted[:6]]),
    columns=6,
    rows=["drawing", "steered"],
    size=1.45,
)
plots.show(fig)

# %% [markdown] alt
# Six outlines in black on white, and what comes out when they steer.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# It does worse than ignore them: 0.11, below the 0.15 of the model alone, and 27 of 40 captions come true instead of
# 36. (The second is the surer sign: 40 pictures hardly separate 0.11 from 0.15.) To this network a white sheet is
# probably full of lines, and a black line is a gap.
# </details>
#
# No error tells you. What a drawing looks like is a contract, and only the makers of a ControlNet know it.

# %% [markdown]
# ## Other ways to say more
#
# | | the new condition goes | the U-Net is |
# |---|---|---|
# | inpainting models | into five further channels of $z_t$: concatenation | trained again |
# | image context (the article's own, lesson 13) | through cross-attention, as the caption does | trained for it |
# | IP-Adapter (Ye et al. 2023) | through a cross-attention of its own, beside that of the caption | frozen |
# | ControlNet | to the skips, from a copy that reads $z_t$ and the drawing | frozen |
# | T2I-Adapter (Mou et al. 2023) | to the encoder, from a small network that reads the drawing alone | frozen |
#
# A T2I-Adapter runs once for a picture, a ControlNet in every step: it is the dearer one, and sees how noisy $z_t$ is.

# %% [markdown]
# ## What the article says
#
# The article conditions by *cross-attention*. That is true of its model, and no longer all of what people use.
# ControlNet came in February 2023, half a year after Stable Diffusion's weights, and could come because these weights
# were public: nobody had to train the large model again. The field moved from *one model that is told more* to *one
# frozen model, and smaller ones beside it*: lesson 17's LoRA is the other example.

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
# Only encoder and middle are copied. The decoder, whose blocks read a skip beside their input, is the larger half.
# </details>
#
# **3.** You finetune the U-Net afterwards. Does its ControlNet still fit?
#
# <details><summary>Answer</summary>
#
# Mostly: the features that it adds to have moved a little. So one ControlNet serves many finetuned models.
# </details>

# %% [markdown]
# ## Exercises
#
# `../exercises/18_steer_it_with_a_drawing.ipynb`: the gradient of a zero convolution, where the zeros stand, adding to
# the skips, an outline from a distance.
#
# And here: give the control only the first four of its five outputs, without the middle's. What is lost? Or steer with
# the LoRA of lesson 17 attached: a heart where you draw one.

# %% [markdown]
# ## What next
#
# You have changed what a U-Net is told. Lesson 19 changes the road on which it walks from noise to a picture.
