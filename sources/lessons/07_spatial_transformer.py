# %% [markdown]
# # 07 · The SpatialTransformer: where pixels read the words
#
# **Goal.** Build attention by hand on six numbers, then the transformer through which a caption enters the picture.
#
# **Time.** 45 minutes to read and play; the cells compute for under half a minute on 2 CPU cores.
#
# **Before this.** Lesson 06; matrix products; softmax (positive numbers that sum to 1).
#
# **You will be able to**
# - work out attention with pen and paper, and write it with heads;
# - turn a feature map into queries, one per pixel, without scrambling it;
# - say what keys and values do, and why there are two projections;
# - build a SpatialTransformer that equals Stable Diffusion's;
# - show where in a picture each word was read.

# %%
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

from tinyldm import LatentDiffusion
from tinyldm import spatial_transformer as package
from tinyldm.machine import choose_device
from tinyldm_course.lessons import plots, widgets
from tinyldm_course.lessons.helpers import confirm_equal, photograph
from tinyldm_course.lessons.model_map import show_model_map
from tinyldm_course.lessons.word_maps import word_maps

plots.use_style()
DEVICE = choose_device()     # CUDA, else Apple's MPS, else the CPU
torch.manual_seed(0)
print("This lesson runs on", DEVICE.type)

# %% [markdown]
# ## Where we are
#
# The ResBlock knows the time and sees 5 × 5 pixels. It cannot do two things: let the left half of a picture know what
# the right half does, and read a caption. Both are the same operation, *attention*; the only difference is who is
# asked. (The words come as vectors from the text encoder, which is built in lesson 09.)

# %%
show_model_map("SpatialTransformer", "text encoder")

# %% [markdown]
# ## Attention on six numbers
#
# Imagine a room full of people asking around. Everybody has a question (*query*), wears a badge that says what they
# know about (*key*), and has something to say (*value*). You compare your question with all badges, and take a mixture
# of what is said: much from those who match, little from the others.
#
# $$ \operatorname{attention}(q, k, v) = \operatorname{softmax}\!\Big(\frac{q k^\top}{\sqrt d}\Big)\, v $$
#
# (Vaswani et al. 2017, eq. 1.) $q$ (`q`) has one row for each person who asks, $k$ and $v$ (`k`, `v`) have one for each
# person who answers; each row is $d$ (`d`) numbers wide. The softmax is taken over each row of $q k^\top$.

# %% [markdown]
# Three people, two numbers each: a 3 × 2 tensor. To begin with, let everybody's query, key and value be the same two
# numbers.
#
# $$ A = (2, 0), \qquad B = (0, 2), \qquad C = (1.5, 1.5) $$
#
# > **Predict.** The score of a pair is the dot product of query and key (multiply number by number, then add). Whom
# > does $A$ listen to most? Does $B$ listen more to $A$ or to $C$? And $C$: mostly to itself, or equally to all?

# %%
x = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.5, 1.5]])     # (3, 2)
q = k = v = x
scores = q @ k.T / math.sqrt(2)   # (3, 3): row = who asks, column = who answers
weights = scores.softmax(dim=-1)  # each row sums to 1
mixed = weights @ v               # (3, 2): what each of them hears

fig, axes = plt.subplots(1, 3, figsize=(9.2, 2.9))
for ax, values, name in ((axes[0], scores, "scores"),
                         (axes[1], weights, "weights: each row sums to 1")):
    plots.heat_map(ax, values, "answers", "asks", name, signed=False, aspect="equal")
    ax.set(xticks=range(3), xticklabels="ABC", yticks=range(3), yticklabels="ABC")
    for i in range(3):
        for j in range(3):
            ax.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", fontsize=9,
                    color="white" if values[i, j] < values.max() * 0.6 else "black")
for i, name in enumerate("ABC"):
    axes[2].annotate("", mixed[i], x[i],
                     arrowprops={"arrowstyle": "->", "color": plots.CYCLE[i],
                                 "linewidth": 1.8})
    axes[2].plot(*x[i], plots.MARKERS[i], color=plots.CYCLE[i], markersize=8)
    axes[2].text(x[i, 0] + 0.08, x[i, 1] + 0.08, name)
axes[2].set(xlim=(-0.2, 2.4), ylim=(-0.2, 2.4), xlabel="first number",
            ylabel="second number", title="Before → after")
plots.show(fig)

# %% [markdown] alt
# Left and middle: 3 by 3 tables of scores and of weights. A gives itself 0.64, C 0.32 and B 0.04; C gives itself 0.59
# and each of the others 0.20. Right: the three points in the plane, with arrows that pull A and B towards C, and C
# towards the middle.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# $A$ listens most to itself ($2\cdot2 + 0\cdot0 = 4$), then to $C$ (3), and hardly to $B$ (0): they have nothing in
# common. In the same way, $B$ prefers $C$ to $A$. $C$ scores 4.5 with itself and 3 with both others. (The left table
# shows these products divided by $\sqrt 2$; the reason comes next.)
# </details>
#
# Attention has moved each point towards those that it resembles. Note two sizes: the scores are (who asks) × (who
# answers), and the result has one row for each person who *asks*. Nothing depends on there being three people.

# %% [markdown]
# ## Why divide by √d?
#
# A score is a sum of $d$ products. If all numbers are independent, with mean 0 and variance 1, each product has
# variance 1 and the score has variance $d$: the longer the vectors, the larger the scores. The softmax of large scores
# is nearly "winner takes all". There, a small change in a score changes no weight, so there is hardly a gradient to
# learn from.
#
# > **Predict.** There are 64 random keys. How much of the attention does the winner get at $d = 4$, without the root?
# > And at $d = 256$?

# %%
def winners_share(d, scale):
    q, k = torch.randn(500, 1, d), torch.randn(500, 64, d)
    return (q @ k.transpose(1, 2) * scale).softmax(-1).amax(-1).mean().item()


widths = (1, 4, 16, 40, 64, 256, 768)
fig, ax = plt.subplots(figsize=plots.NARROW)
ax.plot(widths, [winners_share(d, 1.0) for d in widths], "s--", color=plots.ORANGE,
        label="without")
ax.plot(widths, [winners_share(d, d**-0.5) for d in widths], "o-", color=plots.BLUE,
        label="divided by √d")
ax.set(xscale="log", xlabel="width d", ylabel="share of the winner", ylim=(0, 1),
       title="Random vectors, 64 keys")
ax.legend()
plots.show(fig)

# %% [markdown] alt
# The largest of 64 attention weights between random vectors, over the width d. Without the division it rises towards 1,
# from 0.1 at d = 1 over 0.3 at 4 to 0.9 at 256; divided by the root of d it stays near 0.1 at every width.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# About 0.3 at $d = 4$ and 0.9 at $d = 256$. With the root it is 0.1 at every width.
# </details>

# %% [markdown]
# ## Projections and heads
#
# So far query, key and value were the same. In a network each is a *learnt* linear map of its input: what I ask for
# need not be what I am.
#
# > **Predict.** Let the query's map exchange the two numbers: $A$, who is $(2, 0)$, asks for $(0, 2)$. Whom does $A$
# > listen to now? And $C$?

# %% tags=["nbval-check-output"]
W_q = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
asked = ((x @ W_q) @ x.T / math.sqrt(2)).softmax(dim=-1)
for name, row in zip("ABC", asked):
    print(f"{name} listens to A {row[0]:.2f}, B {row[1]:.2f}, C {row[2]:.2f}")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# $A$ listens to $B$, as $B$ does to $A$: each looks for its opposite, not for its like. For $C$ nothing changes,
# because $(1.5, 1.5)$ exchanged is itself. With one map for both, a score could only say how alike two vectors are.
# </details>
#
# And one question is not enough; a pixel may want to know about colour *and* about edges. So the
# width $C$ (`C`, the number of channels) is split into `heads` questions of $d = C /$ `heads` numbers, each with its
# own attention. At the end the answers are concatenated, and one more linear map (`to_out`) mixes them.

# %% [markdown]
# `context` is who answers. If it is `None`, those who ask also answer. In the shapes, $B$ (`B`) is the number of
# pictures, $N$ (`N`) the number of those who ask, $L$ (`L`) of those who answer.

# %%
class Attention(nn.Module):
    def __init__(self, query_dim, context_dim, heads):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(query_dim, query_dim, bias=False)
        self.to_k = nn.Linear(context_dim, query_dim, bias=False)
        self.to_v = nn.Linear(context_dim, query_dim, bias=False)
        self.to_out = nn.Linear(query_dim, query_dim)

    def split(self, x):
        B, N, C = x.shape
        # (B, N, C) -> (B, heads, N, d)
        return x.reshape(B, N, self.heads, C // self.heads).transpose(1, 2)

    def forward(self, x, context=None):
        context = x if context is None else context  # self-attention is the default
        q = self.split(self.to_q(x))                # (B, heads, N, d)
        k = self.split(self.to_k(context))          # (B, heads, L, d)
        v = self.split(self.to_v(context))
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        weights = scores.softmax(dim=-1)            # (B, heads, N, L)
        joined = (weights @ v).transpose(1, 2).flatten(2)  # -> (B, N, C)
        return self.to_out(joined)

# %%
theirs = package.Attention(query_dim=32, context_dim=24, heads=4).to(DEVICE)
mine = Attention(query_dim=32, context_dim=24, heads=4).to(DEVICE)
mine.load_state_dict(theirs.state_dict())

x = torch.randn(2, 100, 32, device=DEVICE)
context = torch.randn(2, 7, 24, device=DEVICE)
print(confirm_equal(mine(x, context), theirs(x, context)))

# %% [markdown]
# Yours builds the table of weights; the package's calls `F.scaled_dot_product_attention`, which gives the same numbers
# without ever storing the table. (We shall see how much that saves.)

# %% [markdown]
# ## One query per pixel
#
# A feature map has the shape `(B, C, H, W)`; attention wants `(B, N, C)`. Each *pixel* becomes a query, and its $C$
# channels become the numbers of the query.
#
# > **Predict.** A feature map has the shape (128, 32, 32). How many queries are there, and how wide are they?

# %%
x = torch.randn(1, 128, 32, 32)
queries = x.flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, C, HW) -> (B, HW, C)
print(f"{tuple(x.shape[1:])} becomes {queries.shape[1]} queries of {queries.shape[2]} "
      f"numbers")

# %% [markdown]
# The `transpose` matters. `x.reshape(B, H * W, C)` gives the *same shape*, raises no error, and cuts the numbers in
# the wrong places: memory holds all of channel 0, then all of channel 1 …, so three neighbours in *one* channel become
# the "colour" of a pixel. When a shape can be right by accident, look at a picture:

# %%
photo = photograph(64)[None]              # (1, 3, 64, 64) in [0, 1]
right = photo.flatten(2).transpose(1, 2)  # (1, 4096, 3)
wrong = photo.reshape(1, 64 * 64, 3)


def as_picture(pixels):
    """(1, 4096, 3): each query as the colour of its pixel."""
    return pixels[0].reshape(64, 64, 3).permute(2, 0, 1)


fig = plots.image_grid([as_picture(right), as_picture(wrong)],
                       ["flatten, transpose", "reshape only"], size=2.2)
plots.show(fig)

# %% [markdown] alt
# The flower after flattening, with each query shown as the colour of its pixel. With the transpose it is the flower;
# with reshape alone it is nine small grey flowers in three rows.

# %% [markdown]
# ## Self-attention: every pixel asks all pixels
#
# It takes no training to see what this can do. Let queries and keys be the pixels' colours, minus the mean colour and
# stretched to length 4 (the longer, the more selective). Pick one pixel (the cross): which pixels answer it? The
# brighter a pixel, the larger its weight; each map has its own scale.

# %%
small = F.interpolate(photo, size=(32, 32), mode="area")       # (1, 3, 32, 32)
colours = small.flatten(2).transpose(1, 2)[0]                  # (1024, 3)
# direction of the colour; 4 makes it selective
asking = F.normalize(colours - colours.mean(0), dim=1) * 4


def plot_answers(ax, row, column):
    weights = (asking @ asking[32 * row + column]).softmax(0).reshape(32, 32)
    plots.plot_image(ax, weights / weights.max(), f"row {row}, column {column}")
    ax.plot(column, row, "+", color=plots.ORANGE, markersize=12, markeredgewidth=2.5)


fig, ax = plt.subplots(figsize=(2.2, 2.3))
plots.plot_image(ax, small[0], "32 × 32 pixels")
plots.show(fig)
places = ((13, 16), (16, 18), (3, 4), (30, 20))
widgets.dial(plot_answers, {"row": range(32), "column": range(32)},
             strip=[{"row": row, "column": column} for row, column in places])

# %% [markdown] alt
# The flower, reduced to 32 by 32 pixels: orange petals on a dark green background.
#
# Four maps of the pixels that one pixel listens to. Asked from the red centre, the centre lights up; asked from an
# orange petal next to it, a ring around the centre; asked from the bluish background at the upper left, the bluish
# background on all sides; asked from the second flower at the lower edge, that flower and, far away, the outer petals
# of the first.

# %% [markdown]
# Look at the last map: a petal of the *second* flower, at the lower edge, listens to the outer petals of the first, in
# one step and across the whole picture. No chain of 5 × 5 patches is needed. That is what self-attention adds to
# convolutions: one look at everything that is *similar*, wherever it is.

# %% [markdown]
# ## Cross-attention: every pixel asks the words
#
# Now let others answer: the *words*. Keys and values now come from the `context`; the table of weights is 1024 pixels ×
# 3 words. Suppose each of the three words stands for a colour $c$.
#
# If $c$ itself were the key, the short one of "dark" would lose everywhere. So a word's key is $(2c, -\lVert
# c\rVert^2)$, and a pixel of colour $p$ asks with $(p, 1)$. Their dot product is $2\,p\cdot c - \lVert c\rVert^2$:
# largest for the word whose colour is nearest to $p$.

# %%
words = ("orange", "green", "dark")
# (3 words, red-green-blue)
stands_for = torch.tensor([[0.95, 0.55, 0.30], [0.15, 0.35, 0.30], [0.02, 0.05, 0.06]])
length = stands_for.square().sum(1, keepdim=True)       # (3, 1)
keys = torch.cat([2 * stands_for, -length], dim=1)      # (3, 4)
queries = F.pad(colours, (0, 1), value=1.0)             # (1024, 4): a 1 at the end
scores = 20 * queries @ keys.T                          # (1024, 3); 20: selective
weights = scores.softmax(-1)

maps = [weights[:, i].reshape(32, 32) for i in range(3)]
fig = plots.image_grid([small[0], *maps], ["picture", *(f"“{word}”" for word in words)],
                       size=1.9)
plots.show(fig)

# %% [markdown] alt
# The flower, and three maps of how much each pixel listens to the words orange, green and dark: orange covers the
# petals, green and dark share the background.

# %% [markdown]
# That is all there is to "a pixel reads a word". So what are the *values* for? The key decides **who is heard**, the
# value **what is said**. Both come from one word, through two different learnt maps. We can exploit that: keep the
# keys, and let "orange" *say* blue.

# %%
blue = torch.tensor([[0.20, 0.45, 0.95]])
says = {"its own colours": stands_for,
        "“orange” says blue": torch.cat([blue, stands_for[1:]])}
repainted = [(weights @ values).T.reshape(3, 32, 32) for values in says.values()]

fig = plots.image_grid([small[0], *repainted], ["picture", *says], size=1.9)
plots.show(fig)

# %% [markdown] alt
# The flower, and two pictures painted with only three values, mixed by the attention weights. With the words' own
# colours it is a flat orange flower; when the word orange says blue, the same flower is blue.

# %% [markdown]
# The same petals, found by the same key, painted with another value. In a trained network both maps are learnt: a word
# can be found by one property and deliver another, whatever helps the next layer.

# %% [markdown]
# ## With no context, self-attention
#
# > **Predict.** In Stable Diffusion a caption is 77 vectors of 768 numbers; in its U-Net's first attention layers a
# > pixel has 320. What happens to cross-attention there if you pass `context=None`?

# %%
for whose, kind in (("yours", Attention), ("the package's", package.Attention)):
    try:
        kind(query_dim=320, context_dim=768, heads=8)(torch.randn(1, 64, 320))
    except (RuntimeError, ValueError) as error:
        print(f"{whose}: {error}")

# %% [markdown]
# It fails: the pixels would have to answer, and `to_k` expects 768 numbers. So in Stable Diffusion "no caption" is not
# the absence of a context; it is the encoding of the *empty* caption. The default exists in the code, and only works if
# the two widths are equal.

# %% [markdown]
# ## The rest of the block: GEGLU
#
# Attention mixes vectors; a *feed-forward* part then works on each vector by itself. Stable Diffusion's is gated:
#
# $$ \operatorname{GEGLU}(x) = (x W) \odot \operatorname{GELU}(x V) $$

# %% [markdown]
# (Shazeer 2020, eq. 6; there without biases, and with the letters swapped.) $W$ and $V$ are learnt matrices, both
# halves of one linear layer in the code, and $\odot$ multiplies number by number. The first half, the *value* (not that
# of attention), is multiplied by the second, the *gate*, after the gate has passed a GELU: $\operatorname{GELU}(g) =
# g\,\Phi(g)$, where $\Phi$ is the cumulative normal distribution. Well below 0 it is almost 0, well above 0 almost $g$
# itself: the gate is shut on the left, and opens further to the right.

# %% [markdown]
# What is that good for? The layer can compute a product of two features, "red" *and* "round", which a plain GELU layer
# can only approximate. Shazeer found it better than a plain GELU layer of the same size.

# %%
class FeedForward(nn.Module):
    def __init__(self, dim):
        super().__init__()
        # both at once, each 4 · dim wide
        self.to_value_and_gate = nn.Linear(dim, 8 * dim)
        self.to_out = nn.Linear(4 * dim, dim)

    def forward(self, x):
        value, gate = self.to_value_and_gate(x).chunk(2, dim=-1)
        return self.to_out(value * F.gelu(gate))


line = torch.linspace(-3, 3, 61)
fig, axes = plt.subplots(1, 2, figsize=(8, 3))
plots.heat_map(axes[0], line[:, None] * F.gelu(line)[None], "gate", "value",
               "value · GELU(gate)", extent=(-3, 3, 3, -3))
axes[1].plot(line, F.gelu(line), color=plots.BLUE, label="GELU")
axes[1].plot(line, F.relu(line), "--", color=plots.GREY, label="ReLU")
axes[1].set(xlabel="gate", ylabel="how far it opens", title="The gate")
axes[1].legend()
plots.show(fig)

# %% [markdown] alt
# Left: a heat map of value times GELU of gate: the left half, with a negative gate, is almost blank; the right half
# passes the value, the stronger the larger the gate. Right: GELU, a smooth ReLU.

# %% [markdown]
# ## Put together
#
# A *transformer block* does three things in turn: ask the other pixels, ask the words, think (the feed-forward part).
# Each first normalises its input (LayerNorm: mean 0 and variance 1 within each vector; "pre-LN", because the norm comes
# first), and adds its result to its input.
#
# Around it, the *SpatialTransformer* turns a feature map into a sequence of pixels and back, between two more
# projections (linear; Stable Diffusion 1 writes them as 1 × 1 convolutions, which is the same), and adds its own input
# at the end. It holds a list of blocks, here only one; Stable Diffusion XL has up to ten.

# %%
class TransformerBlock(nn.Module):
    def __init__(self, dim, context_dim, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)
        self.self_attention = Attention(dim, dim, heads)
        self.cross_attention = Attention(dim, context_dim, heads)
        self.feed_forward = FeedForward(dim)

    def forward(self, x, context=None):
        x = x + self.self_attention(self.norm1(x))            # ask the other pixels
        x = x + self.cross_attention(self.norm2(x), context)  # ask the words
        return x + self.feed_forward(self.norm3(x))           # think it over


class SpatialTransformer(nn.Module):
    def __init__(self, channels, context_dim, heads, groups):
        super().__init__()
        # 1e-6 here, 1e-5 in the ResBlocks
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.blocks = nn.ModuleList([TransformerBlock(channels, context_dim, heads)])
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, x, context=None):
        # (B, C, H, W) -> (B, HW, C)
        pixels = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))
        for block in self.blocks:
            pixels = block(pixels, context)
        # (B, HW, C) -> (B, C, H, W)
        return x + self.proj_out(pixels).transpose(1, 2).reshape(x.shape)

# %%
theirs = package.SpatialTransformer(64, context_dim=24, heads=4, groups=16).to(DEVICE)
mine = SpatialTransformer(64, context_dim=24, heads=4, groups=16).to(DEVICE)
mine.load_state_dict(theirs.state_dict())

x = torch.randn(2, 64, 8, 8, device=DEVICE)
context = torch.randn(2, 7, 24, device=DEVICE)
print(confirm_equal(mine(x, context), theirs(x, context)))

# %% [markdown]
# ## It does not know where anything is
#
# > **Predict.** Shuffle the pixels of the feature map, run the SpatialTransformer, and shuffle the result *back*. How
# > different is it from the unshuffled result?

# %%
order = torch.randperm(64, device=DEVICE)
shuffled = x.flatten(2)[:, :, order].reshape(x.shape)
with torch.no_grad():
    out = mine(shuffled, context).flatten(2)
    back = torch.empty_like(out)
    back[:, :, order] = out
    print(confirm_equal(back.reshape(x.shape), mine(x, context),
                        claim="Shuffled and back equals unshuffled"))

# %% [markdown]
# Not at all! There is no "left" and no "above" in it: a transformer over pixels treats them as a bag. Language models
# add position embeddings; this one has none. How then can a model learn "a circle *above* a square"? From the
# convolutions around it. They pad the border with zeros, and from the border a sense of position seeps inwards (Islam
# et al. 2020).

# %% [markdown]
# ## What it costs
#
# The table of weights has one number for each pair. Twice the side means four times the pixels and *sixteen* times the
# pairs. Here is its memory for one picture and one head, at 4 bytes per number.

# %%
sides = torch.tensor([8, 16, 32, 64, 128, 256, 512])
gigabytes = 4 * sides.double() ** 4 / 1e9

fig, ax = plt.subplots(figsize=plots.WIDE)
ax.plot(sides, gigabytes, "o-", color=plots.BLUE)
for side, text, place in ((8, "the tiny latent: 16 KB", (10, -13)),
                          (64, "Stable Diffusion's latent: 67 MB", (8, -12)),
                          (512, "512 × 512 pixels: 275 GB", (-12, -2))):
    ax.annotate(text, (side, 4 * side**4 / 1e9), textcoords="offset points",
                xytext=place, ha="left" if side < 500 else "right")
ax.set(xscale="log", yscale="log", xlabel="side of the feature map",
       ylabel="GB for one table", ylim=(2e-6, 1e3), title="One head's attention table")
ax.set_xticks(sides.tolist(), [str(s) for s in sides.tolist()])
ax.minorticks_off()
plots.show(fig)

# %% [markdown] alt
# Memory of one attention table over the side of the feature map, both logarithmic, a straight line: 16 kilobytes at 8
# by 8, 67 megabytes at 64 by 64, 275 gigabytes at 512 by 512 pixels.

# %% [markdown]
# This is what the package saves by not storing the table. The *work* remains, because each number of the table is still
# computed, and it grows just as steeply. One good reason for *latent* diffusion: on 512 × 512 pixels self-attention is
# out of reach; on the latent, an eighth as large on each side, it is $8^4 = 4096$ times cheaper.

# %% [markdown]
# ## Where was each word read?
#
# Enough of toys: now the trained model. While it makes a picture, `word_maps` (`tinyldm_course/lessons/word_maps.py`)
# records the weights of all its cross-attentions. We show for each word how much each position listened to it: the mean
# over heads, steps and the three layers that work on 8 × 8 positions. (The other four work on 4 × 4.) The tokenizer
# puts a start mark before the words, and an end mark and padding after them, up to 32: so word `i` is column `1 + i`.
#
# > **Predict.** Where will "circle" be read? Where "above"? And "red", and "white", the word for the background?

# %%
CAPTION = "a large red circle above a large blue square on white"
model = LatentDiffusion.from_pretrained("tiny", device=DEVICE)
seen = word_maps(model, CAPTION)
pieces = seen.words                # the caption's tokens, without start and end
print("by step", tuple(seen.by_step.shape), "· by head", tuple(seen.by_head.shape))

# %%
def where_read(seen, maps, i):
    """The picture, darkened where word i was not read; maps (64, L)."""
    place = maps[:, 1 + i]  # column 0 is the start mark
    place = (place / place.max()).reshape(1, 1, 8, 8)
    place = F.interpolate(place, size=seen.image.shape[1:], mode="bilinear")
    return seen.image * (0.12 + 0.88 * place[0])


by_word = [where_read(seen, seen.by_step.mean(0), i) for i in range(len(pieces))]
fig = plots.image_grid([seen.image, *by_word], ["the picture", *pieces], columns=6,
                       size=1.5)
plots.show(fig)

# each map as a vector of length 1
maps = seen.by_step / seen.by_step.norm(dim=1, keepdim=True)
alike = (maps[0] * maps[-1]).sum(0)  # cosine of the first step and the last
print("First and last step alike:",
      ", ".join(f"{pieces[i]} {alike[1 + i]:.2f}" for i in (3, 4, 8)))
print(f"For comparison, at the last step: circle and square "
      f"{(maps[-1, :, 4] * maps[-1, :, 9]).sum():.2f}, "
      f"circle and an even map {maps[-1, :, 4].mean() * 8:.2f}")
shares = seen.by_step.mean((0, 1))  # (L,)
print(f"Read at the start mark: {shares[0]:.0%}, at the end marks and the padding: "
      f"{shares[1 + len(pieces):].sum():.0%}")

# %% [markdown] alt
# The picture made from the caption “{CAPTION}”, and the same picture once for each word, bright where that word was
# read most. “circle” and “above” light up at the circle, “square” at the square; under the other words, colours and
# background among them, large parts of the picture are more or less bright.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# "circle" is read at the circle, and so is "above", which says something about the circle. "square" is read at the
# square. But "red", "blue" and "white" are read in many places: "red" more around the circle than on it, "white" not
# only in the background! A word is not the only place that holds its meaning: each token has seen all tokens before it
# (lesson 09), so "circle" may well carry "red", and the marks after the last word the whole sentence.
# </details>

# %% [markdown]
# Each map is scaled to its own maximum: compare positions within a map, not brightness between maps. The last printed
# line says how much the maps leave out: half of all attention goes to the marks and the padding, not to a word. This is
# one caption and one seed; its background is white because on a dark one you could not see the map.

# %% [markdown]
# Are the nouns in their places from the beginning? Largely: 1 would be the same map, and the printed numbers are well
# above those of the two comparisons. The strip shows the map of "circle" at four steps over the *finished* picture. In
# a running notebook, turn both dials:

# %%
def plot_word(ax, word, step):
    read = where_read(seen, seen.by_step[step], seen.words.index(word))
    plots.plot_image(ax, read, f"{word}, step {step}")


words = list(dict.fromkeys(pieces))  # each once
widgets.dial(plot_word, {"word": words, "step": range(20)},
             strip=[{"word": pieces[3], "step": s} for s in (0, 5, 10, 19)])

# %% [markdown] alt
# Where the word “{pieces[3]}” was read at four steps, from the noisiest to the last: at the place where the circle will
# be, from the first steps on, and more precisely at the last.

# %% [markdown]
# At step 0 the latent is pure noise, and "circle" is already read near the place where the circle will be: the layout
# is decided in the first steps. (Film strips in lessons 00 and 12 show the same from outside.)
#
# All these maps are means: over the layers, and over the *heads* of each. Do the heads agree? Here are the four heads
# of the last layer that works on 8 × 8 pixels, each with the share of its attention that the word gets.

# %%
def plot_head(ax, seen, word, head):
    i = seen.words.index(word)
    share = seen.by_head[head, :, 1 + i].mean()
    plots.plot_image(ax, where_read(seen, seen.by_head[head], i),
                     f"{word}, head {head}: {share:.1%}")


def plot_word_of_head(ax, word, head):
    plot_head(ax, seen, word, head)


widgets.dial(plot_word_of_head, {"word": words, "head": range(4)}, size=(2.0, 2.4),
             strip=[{"word": pieces[3], "head": head} for head in range(4)])
heard = seen.by_head[:, :, 1:1 + len(pieces)].sum(2).mean(1).tolist()
print("All words together get:",
      ", ".join(f"head {head} {share:.0%}" for head, share in enumerate(heard)))

# %% [markdown] alt
# Where each of four heads read the word “{pieces[3]}”. The heads that give it the most attention read it at the circle;
# others read it elsewhere, or nearly everywhere.

# %% [markdown]
# They do not. The percentage above each picture says how much that head listens to "circle", and the picture where. Two
# heads read it at the circle, one at the *square* (who knows why), one hardly at all. The printed line says how much
# attention each head pays to the words at all; the rest goes to the marks and the padding, which can hold the whole
# sentence. A mean over heads hides all this.
#
# Is the square an accident of this picture? The same heads and the same word, for the caption with the two things
# exchanged:

# %%
exchanged = word_maps(model, "a large blue square above a large red circle on white")
fig, axes = plt.subplots(1, 5, figsize=(9.4, 2.2))
plots.plot_image(axes[0], exchanged.image, "the picture")
for head, ax in enumerate(axes[1:]):
    plot_head(ax, exchanged, "circle", head)
plots.show(fig)

# %% [markdown] alt
# The picture of a blue square above a red circle, and where each of four heads read the word “circle” in it.

# %% [markdown]
# No accident: the things have changed places, and the heads have followed them. Heads 0 and 3 read "circle" at the
# circle, and head 1 reads it at the square again. So heads have roles; what this one's is for, a map of attention does
# not tell.

# %% [markdown]
# ## Break it on purpose
#
# You have already seen two ways (no root, no transpose). A third is nastier: softmax over the *wrong axis*.
# `softmax(dim=-2)` (here `dim=0`: the table has two axes) makes each *column* sum to 1: every word distributes itself
# over the pixels, instead of every pixel over the words. The shapes fit.
#
# > **Predict.** We paint the three-word flower from above with the wrong axis. How bright will it be? And will the red
# > centre, far from the key of "orange" but even further from the others, still be orange?
# %%
wrong = scores.softmax(dim=0)  # columns sum to 1: over the pixels
painted = {"right axis": weights @ stands_for, "wrong axis": wrong @ stands_for,
           "wrong, × 300": 300 * wrong @ stands_for}

fig = plots.image_grid([p.T.reshape(3, 32, 32) for p in painted.values()],
                       list(painted), size=1.9)
plots.show(fig)

# %% [markdown] alt
# The flower painted with three word values. With the right axis it is an orange flower; with the wrong one the picture
# is black; made 300 times brighter, it has glowing outer petals around a black centre.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# It is almost black: a word's total weight of 1 is now shared by a thousand pixels. And if you brighten it, the centre
# is dark. Before, the *words* competed for each pixel, and "orange" won there; now the *pixels* compete for each word,
# and the brightest petals, whose dot product with its key is largest, take everything.
# </details>
#
# A network with normalisation would hide the darkness, train on, and be worse for no visible reason. The test that
# catches it is one line: **each row of the weights sums to 1**.

# %% [markdown]
# ## What the article says
#
# - *(128, 32, 32) gives 1024 queries of 128 numbers, one for each pixel.* Right, as you saw.
# - *The context is both the key sequence and the value sequence.* Through two different learnt projections; the blue
#   flower shows why that matters.
# - *With no context it defaults to self-attention.* In the code, yes; in Stable Diffusion the widths forbid it.
# - *Essentially a standard pre-LN transformer decoder without causal mask* (without it everybody may ask everybody,
#   not only those who came before). Essentially: but with GroupNorm and projections around it, GEGLU inside, no
#   position embeddings, and one more residual.

# %% [markdown]
# ## Three quick questions
#
# **1.** A caption has 77 vectors, the map 16 × 16 pixels, 8 heads. What is the shape of the cross-attention weights
# for one picture?
#
# <details><summary>Answer</summary>
#
# (8, 256, 77): heads, pixels (who ask), words (who answer).
# </details>
#
# **2.** All words of a caption have the same key. What does each pixel receive?
#
# <details><summary>Answer</summary>
#
# Equal scores, so equal weights: the mean of all values, the same at every pixel.
# </details>
#
# **3.** Why is the feed-forward part needed at all?
#
# <details><summary>Answer</summary>
#
# Attention only *mixes* values, with weights that sum to 1. Without a non-linear step in between, two attentions in a
# row could hardly compute more than a mixture of mixtures.
# </details>

# %% [markdown]
# ## Exercises
#
# `../exercises/07_spatial_transformer.ipynb`: attention, heads, cross-attention, GEGLU and the SpatialTransformer; each
# is checked at once.
#
# To try here: change `CAPTION` and see where its words are read. Then swap "red" and "blue" in the *values* only: do
# the colours swap in the picture? Then put "circle" and "square" into `pair` instead.
#
# ```python
# pair = ("red", "blue")
# a, b = (1 + pieces.index(word) for word in pair)
#
# def swap(module, inputs, values):
#     values = values.clone()
#     values[:, [a, b]] = values[:, [b, a]]
#     return values
#
# def six():
#     return model.generate([CAPTION] * 6, generator=torch.Generator().manual_seed(3))
#
# before = six()
# hooks = [module.to_v.register_forward_hook(swap) for name, module in model.unet.named_modules()
#          if name.endswith("cross_attention")]
# after = six()
# for hook in hooks:
#     hook.remove()
# plots.show(plots.image_grid([*before, *after], columns=6, rows=["as it is", "swapped"]))
# ```
#
# <details><summary>What we saw</summary>
#
# In six pictures each: swapping "red" and "blue" changes nothing visible. With "circle" and "square" swapped, the
# shapes stay, but the colours change: the circle turns purple and blue, the square red. So in this model the nouns'
# vectors carry the colour.
# </details>

# %% [markdown]
# ## What next
#
# You have both kinds of block. Lesson 08 stacks them into the whole U-Net, and counts where its parameters and its work
# are. The package's version of this lesson is `tinyldm/spatial_transformer.py`; you have now written all of it except
# `upcast`, which lesson 14 explains.
