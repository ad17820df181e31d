# %% [markdown]
# # 20 · From U-Net to transformer: DiT, MM-DiT, Stable Diffusion 3
#
# **Goal.** Replace the U-Net by a transformer over patches, and cross-attention by one attention of pixels and words.
#
# **Time.** 45 minutes to read and play; the cells compute for two minutes on 2 CPU cores.
#
# **Before this.** Lessons 06 (ResBlock, the time), 07 (attention), 08 (the U-Net) and 19 (flow matching).
#
# **You will be able to**
# - turn a latent into a sequence and back;
# - write a block whose norms are set by time and caption;
# - let pixels and words read each other in one attention, as Stable Diffusion 3 does;
# - compare two architectures at one budget, and say what such a race does not show.

# %%
import time
from unittest import mock

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

from tinyldm import LatentDiffusion, UNet, versions
from tinyldm.beyond import dit as package
from tinyldm.beyond.flow_matching import euler, flow_loss, flow_of, flow_times
from tinyldm.beyond.mm_dit import SD3_MEDIUM, TINY_MM_DIT, JointBlock, MMDiT
from tinyldm.data.corpus import scenes_corpus
from tinyldm.machine import choose_device
from tinyldm.training.latents import build_cache
from tinyldm.vae import DiagonalGaussian
from tinyldm_course.lessons import plots, widgets
from tinyldm_course.lessons.helpers import confirm_equal, full_or_fast
from tinyldm_course.lessons.model_map import show_model_map

plots.use_style()
DEVICE = choose_device()  # CUDA, else Apple's MPS, else the CPU
print("This lesson runs on", DEVICE.type)
seed = torch.Generator().manual_seed(0)

# %% [markdown]
# ## Where we are
#
# The U-Net of lesson 08 knows two things before it has seen a picture: neighbours matter (convolutions), and large
# things are made of small ones (levels). Peebles & Xie 2023 asked whether it needs to know. Their **DiT** (diffusion
# transformer) knows neither: it is the transformer of language models, with patches of the latent for words.
# Everything around it can stay: VAE, text encoder, guidance, sampler.

# %%
show_model_map("U-Net")

# %% [markdown]
# ## Patches
#
# > **Predict.** A latent of Stable Diffusion 3 is 16 × 128 × 128. With patches of 2 × 2, how long is the sequence, and
# > how many numbers has each vector? And the tiny latent, 4 × 8 × 8?

# %% tags=["nbval-check-output"]
def patchify(z, patch):
    """(B, C, h, w) -> (B, h/p · w/p, p·p·C)."""
    B, C, h, w = z.shape
    z = z.reshape(B, C, h // patch, patch, w // patch, patch)
    # which patch (row, column), then where in it
    return z.permute(0, 2, 4, 3, 5, 1).reshape(B, -1, patch * patch * C)


z = torch.arange(16).reshape(1, 1, 4, 4)
print(z[0, 0])
print(patchify(z, 2)[0])
z = torch.randn(2, 4, 8, 8, generator=seed)
print(confirm_equal(patchify(z, 2), package.patchify(z, 2)))
back = package.unpatchify(patchify(z, 2), 2, 8, 8)
print(confirm_equal(back, z, claim="And back"))

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# 64 · 64 = 4,096 vectors of 2 · 2 · 16 = 64 numbers. The tiny one: 16 vectors of 16. Attention compares all pairs, so
# halving the patch costs 16 times as much in it.
# </details>
#
# Turn the dial: how long is the sequence of the tiny latent with other patches? (One of its four channels is drawn. The
# titles say how many vectors there are, times the numbers in each.)

# %%
model = LatentDiffusion.from_pretrained(device=DEVICE)
noise = torch.randn(1, 4, 8, 8, generator=seed).to(DEVICE)
picture = model.generate(["a large red circle above a small blue square"], noise=noise)
latent = model.encode(picture)[0].cpu()


def plot_patches(ax, patch):
    ax.imshow(latent[0], cmap=plots.SEQUENCE)
    for place in range(0, 9, patch):
        ax.axhline(place - 0.5, color="white", linewidth=2)
        ax.axvline(place - 0.5, color="white", linewidth=2)
    N = (8 // patch) ** 2
    ax.set_title(f"patch {patch}\n{N} vectors × {4 * patch**2}\npairs: {N * N:,}",
                 fontsize=9)
    plots.hide_axes(ax)


widgets.dial(plot_patches, {"patch": (1, 2, 4, 8)},
             strip=[{"patch": p} for p in (1, 2, 4, 8)], size=(1.9, 2.6))

# %% [markdown] alt
# One channel of a latent of 8 by 8, four times, cut by white lines into patches of 1, 2, 4 and 8: 64, 16, 4 and 1
# vectors, of 4, 16, 64 and 256 numbers; 4,096, 256, 16 and 1 pairs for attention to compare.

# %% [markdown]
# A set of patches has no order. Something must say where each was: a fixed vector of sines and cosines, of its column
# and of its row, is *added*. The hands of lesson 06's clock, twice. Below, the cosine similarity of these vectors to
# one of them, on a grid of 8 × 8: high close by, and along its row and column.

# %%
places = torch.arange(8)
table = F.normalize(package.sincos_positions(places, places, 64), dim=1)  # (64, 64)
similar = (table @ table.T).reshape(8, 8, 8, 8)
fig, axes = plt.subplots(1, 3, figsize=(9, 2.8))
for ax, (row, column) in zip(axes, ((0, 0), (3, 4), (7, 2))):
    title = f"cosine similarity to ({row}, {column})"
    plots.heat_map(ax, similar[row, column], "column", "row", title, signed=False,
                   vmin=0.7, vmax=1, aspect="equal")
plots.show(fig)

# %% [markdown] alt
# How similar the position vectors of an 8 by 8 grid are to that of one patch, for three patches: largest at the patch
# itself, and along its row and its column; falling with distance.

# %% [markdown]
# ## adaLN-zero: time and caption set the norms
#
# In a ResBlock the time was *added*. Here one linear layer in each block makes six vectors of $c$, the sum of the
# embeddings of time and condition: shift $b$, scale $s$ and gate $g$, for attention and for the MLP. (adaLN: adaptive
# LayerNorm.)
#
# $$ x \leftarrow x + g_1 \cdot \mathrm{Attention}\big(\mathrm{LN}(x)(1 + s_1) + b_1\big), \qquad
# x \leftarrow x + g_2 \cdot \mathrm{MLP}\big(\mathrm{LN}(x)(1 + s_2) + b_2\big) $$
#
# (Peebles & Xie 2023, figure 3; the best of four ways compared, reported.) The linear layer starts at zero.
#
# > **Predict.** What does a new block do to its input? Which layer of lesson 06's block had this part?

# %% tags=["nbval-check-output"]
def modulated(x, shift, scale):
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.modulation = heads, nn.Linear(width, 6 * width)
        self.to_q, self.to_k, self.to_v, self.to_out = (
            nn.Linear(width, width) for _ in range(4)
        )
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"),
                                 nn.Linear(4 * width, width))
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x, c):
        """x (B, N, D), c (B, D) -> (B, N, D)."""
        six = self.modulation(F.silu(c))[:, None].chunk(6, dim=2)
        b1, s1, g1, b2, s2, g2 = six  # each (B, 1, D)
        normal = modulated(x, b1, s1)
        made = (to(normal) for to in (self.to_q, self.to_k, self.to_v))
        q, k, v = (y.unflatten(2, (self.heads, -1)).transpose(1, 2) for y in made)
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, heads, N, d)
        x = x + g1 * self.to_out(mixed.transpose(1, 2).flatten(2))
        return x + g2 * self.mlp(modulated(x, b2, s2))


mine, theirs = Block(64, 4), package.DiTBlock(64, 4)
x, c = torch.randn(2, 16, 64, generator=seed), torch.randn(2, 64, generator=seed)
print("A new block changes nothing:", torch.equal(mine(x, c), x))
nn.init.normal_(theirs.modulation.weight, std=0.1)
mine.load_state_dict(theirs.state_dict())
print(confirm_equal(mine(x, c), theirs(x, c)))

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Nothing: both gates are 0. In lesson 06 the last convolution of each block started at zero. Here the *gate* does, and
# training opens it, for each time and condition differently.
# </details>
#
# The whole DiT is patches, positions, these blocks, one more such norm, and patches back: `tinyldm/beyond/dit.py`. At
# its published size (XL/2: the largest, with patches of 2), beside the network of the next section and the U-Net:

# %% tags=["nbval-check-output"]
def parameters(network):
    return sum(p.numel() for p in network.parameters())


with torch.device("meta"):  # shapes without memory
    dit, medium = package.DiT(package.DiTConfig()), MMDiT(SD3_MEDIUM)
    sd1 = UNet(versions.SD1.unet)
print(f"DiT-XL/2, without its table of classes: {parameters(dit):,}")
print(f"MM-DiT of Stable Diffusion 3 medium: {parameters(medium):,}")
print(f"U-Net of Stable Diffusion 1: {parameters(sd1):,}")

# %% [markdown]
# ## Pixels and words in one attention
#
# DiT's condition is a single vector: a class. A caption is a sequence. Lesson 07 let pixels read it, by
# cross-attention, and left the words as they were. The **MM-DiT** (multimodal DiT) of Stable Diffusion 3 puts both into
# one sequence: each token makes query, key and value, and everybody reads everybody. Only the weights differ: pixels
# have theirs, words have theirs. (From here on, "pixels" are patches.)
#
# > **Predict.** In cross-attention a pixel's weights over the *words* sum to 1. And here?

# %%
def joint_attention(pixels, words):
    """Two triples q, k, v (B, heads, N or L, d) -> what each kind found."""
    q, k, v = (torch.cat(both, dim=2) for both in zip(pixels, words))
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    N, L = pixels[0].shape[2], words[0].shape[2]
    return mixed.split([N, L], dim=1)  # (B, N, D), (B, L, D)


block, c = JointBlock(TINY_MM_DIT, last=False), torch.randn(2, 128, generator=seed)
for stream in (block.pixels, block.words):
    nn.init.normal_(stream.modulation.weight, std=0.05)
pixels = torch.randn(2, 16, 128, generator=seed)
words = torch.randn(2, 32, 128, generator=seed)
b, s, *rest = block.pixels.modulations(c)
b_words, s_words, *rest_words = block.words.modulations(c)
qkv = block.pixels.qkv(pixels, b, s)
qkv_words = block.words.qkv(words, b_words, s_words)
for_pixels, for_words = joint_attention(qkv, qkv_words)
yours = (block.pixels.add(pixels, for_pixels, *rest),
         block.words.add(words, for_words, *rest_words))
for one, of_package in zip(yours, block(pixels, words, c)):
    print(confirm_equal(one, of_package))

q, (_, k, _), (_, k_words, _) = qkv[0], qkv, qkv_words
scores = q @ torch.cat([k, k_words], dim=2).transpose(2, 3) / q.shape[-1] ** 0.5
share = scores.softmax(3)[..., 16:].sum(3).mean().item()  # of a pixel's weights
print(f"32 of the 48 keys are words; pixels give them {share:.2f} of their weight")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# They sum to less than 1: the pixels take their share. (Two thirds is no preference: untrained, the words get the part
# that their number gives them, 32 of 48.) A pixel that has read enough of the caption can turn to its neighbours.
# </details>
#
# The caption also enters a second way: its pooled vector, one for the whole caption, is added to that of the time, and
# so sets all norms.

# %% [markdown]
# ## A race
#
# A U-Net like the shipped one and an MM-DiT with as many parameters, both from random weights; the same latents,
# batches, loss (lesson 19's) and optimizer; the same *processor time*.
#
# > **Predict.** Which has seen more pictures at the end? Which has the lower loss?

# %%
SECONDS, COUNT = full_or_fast(30, fast=1), full_or_fast(1500, fast=200)
HELD_BACK, BATCH = full_or_fast(256, fast=16), 32
clock = time.process_time if DEVICE.type == "cpu" else time.perf_counter
cache = build_cache(scenes_corpus(COUNT), model.vae, model.text_encoder, None, DEVICE,
                    progress=False)


def batch(generator, index):
    """-> z0, context, eps, tau of some training pictures."""
    drawn = torch.randn(2, len(index), 4, 8, 8, generator=generator).to(DEVICE)
    posterior = DiagonalGaussian(cache.moments[index].float())
    z0 = model.vae.config.scale * posterior.reparameterize(drawn[0])
    context = cache.contexts[cache.caption[index, 0]].float()
    tau = torch.rand(len(index), generator=generator).to(DEVICE)
    return z0, context, drawn[1], tau


def loss_of(network, z0, context, eps, tau):
    return flow_loss(lambda z, t: network(z, t, context), z0, eps, tau)


class WithPooled(nn.Module):
    """An MM-DiT that takes the mean of the context for the pooled caption."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, z, t, context):
        return self.network(z, t, context, context.mean(1))


fixed = batch(torch.Generator().manual_seed(9), torch.arange(HELD_BACK))

# %%
def race(network, lr=1e-3):
    """Train for SECONDS: [(seconds, pictures seen, loss on those held back)]."""
    draw = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(network.parameters(), lr)
    curve, spent, step = [], 0.0, 0
    while True:
        if spent >= len(curve) * SECONDS / 12:
            with torch.no_grad():
                curve.append((spent, BATCH * step, loss_of(network, *fixed).item()))
        if spent >= SECONDS:
            return curve
        start = clock()
        optimizer.param_groups[0]["lr"] = lr * min(1, (step + 1) / 30)
        index = torch.randint(HELD_BACK, COUNT, (BATCH,), generator=draw)
        loss = loss_of(network, *batch(draw, index))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        spent, step = spent + clock() - start, step + 1


torch.manual_seed(0)
runners = {"U-Net": UNet(versions.TINY.unet), "MM-DiT": WithPooled(MMDiT(TINY_MM_DIT))}
curves = {name: race(network.to(DEVICE)) for name, network in runners.items()}
for name, curve in curves.items():
    seconds, seen, loss = curve[-1]
    size = parameters(runners[name]) / 1e6
    print(f"{name}: {size:.2f} million parameters, {seen:,} pictures "
          f"in {seconds:.0f} s, loss {loss:.3f}")

# %%
fig, axes = plt.subplots(1, 2, figsize=plots.WIDE, sharey=True)
labels = ("seconds of processor time", "pictures seen")
for ax, place, label in zip(axes, (0, 1), labels):
    for (name, curve), style in zip(curves.items(), ("o-", "s--")):
        ax.plot([point[place] for point in curve], [point[2] for point in curve], style,
                markersize=4, label=name)
    ax.set(xlabel=label)
axes[0].set_ylabel("loss, held-back pictures")
axes[0].legend()
plots.show(fig)

# %% [markdown] alt
# Two falling curves of the loss on held-back pictures, for the U-Net and the MM-DiT: over processor time on the left,
# over the number of pictures on the right. The U-Net ends at {curves["U-Net"][-1][2]:.2f} after
# {curves["U-Net"][-1][1]:,} pictures, the MM-DiT at {curves["MM-DiT"][-1][2]:.2f} after {curves["MM-DiT"][-1][1]:,}.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# The MM-DiT has seen more, 4,192 against 3,488: its steps are cheaper. The U-Net has the lower loss, 1.16 against 1.38,
# and that after equally many pictures, too. A likely reason: it knows from the start that neighbours belong together.
# </details>
#
# And what can they draw? The same noise, the same captions, 20 Euler steps, no guidance.

# %%
captions = ["a large red circle", "a large blue square on a white background",
            "a green star", "a yellow ring on a black background"]
context = model.encode_text(captions)
noise = torch.randn(4, 4, 8, 8, generator=seed).to(DEVICE)
rows = []
for network in runners.values():
    flow = flow_of(lambda z, t, network=network: network(z, t, context))
    rows.append(model.decode(euler(flow, noise, flow_times(20))[-1]).cpu())
titles = [caption.replace(" on ", "\non ") for caption in captions]
fig = plots.image_grid(torch.cat(rows), titles, columns=4, rows=list(runners), size=1.5)
plots.show(fig)

# %% [markdown] alt
# Four pictures by the U-Net and four by the MM-DiT from the same noise, for a red circle, a blue square on white, a
# green star and a yellow ring on black. The white and the black ground are there. The U-Net draws a red and a green
# lump where they were asked for; the MM-DiT's lumps have other colours.

# %% [markdown]
# After half a minute neither draws a shape. Both have learnt the ground where a caption names one. The U-Net has begun
# to obey the colours red and green, the MM-DiT has not. (One noise for each caption: a hint, not a measurement.)
#
# Untrained, pixels gave the words two thirds of their weight. And now, block by block?

# %%
shares = []


def listening(q, k, v):
    """Attention that notes how much of a pixel's weight goes to words."""
    weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(3)
    shares.append(weights[:, :, :16, 16:].sum(3).mean().item())
    return weights @ v


with mock.patch.object(F, "scaled_dot_product_attention", listening), torch.no_grad():
    loss_of(runners["MM-DiT"], *fixed)
print("share of words:", ", ".join(f"{share:.2f}" for share in shares))

# %% [markdown]
# Less than half, in every block: training has turned the patches to each other first.
#
# Be careful with this race. It is short, small, run once with one learning rate, on latents of 4 × 4 patches, where
# attention costs next to nothing. What Peebles & Xie found, and Esser et al. after them, is about the *other* end: with
# more compute the transformer keeps getting better, in a way that can be predicted (reported; it takes thousands of GPU
# hours to repeat).

# %% [markdown]
# ## What changed, and why the field moved
#
# One shape of block instead of several levels with skips: it can be made wider and deeper by two numbers, runs well on
# hardware that is built for language models, and its quality grew smoothly with compute (Peebles & Xie 2023, figure 8,
# reported). The caption is no longer just read: words are rewritten block by block, with the picture in view. The
# price: what a convolution knows for nothing has to be learnt, and attention's cost grows with the square of the number
# of patches.

# %% [markdown]
# ## Sixteen channels
#
# The other change of Stable Diffusion 3 is its VAE: 16 channels instead of 4, so that less is lost before the denoiser
# starts. More channels are harder to predict and easier to decode; a larger denoiser is what makes it worthwhile (Esser
# et al. 2024, § 5.2, reported). The mean of its latents is subtracted before they are scaled: `load_vae_16` in
# `tinyldm/beyond/stable_diffusion_3.py`.
#
# ## Break it on purpose
#
# Shuffle the patches of a latent. Does a network with random weights give the shuffled answer? Once with positions, and
# once without.

# %%
torch.manual_seed(2)
network = MMDiT(TINY_MM_DIT)
for parameter in network.parameters():  # so that it does not predict zeros
    parameter.data += 0.05 * torch.randn_like(parameter)
z_t, t = torch.randn(1, 4, 8, 8, generator=seed), torch.tensor([500.0])
context = torch.randn(1, 32, 128, generator=seed)
order = torch.randperm(16, generator=seed)
shuffled = package.unpatchify(patchify(z_t, 2)[:, order], 2, 8, 8)
with torch.no_grad():
    for name in ("with positions", "without"):
        plain = network(z_t, t, context, context.mean(1))
        moved = network(shuffled, t, context, context.mean(1))
        apart = (patchify(plain, 2)[:, order] - patchify(moved, 2)).abs().max().item()
        size = plain.std().item()
        print(f"{name}: {apart:.6f} apart, where the answer's std is {size:.2f}")
        network.positions.zero_()
assert apart < 1e-4, "without positions, the order of the patches still matters"

# %% [markdown]
# Without positions the network cannot tell a picture from its jigsaw: shuffled patches get shuffled answers. A U-Net
# has no such table, and does not need one: its convolutions see who stands beside whom.

# %% [markdown]
# ## What the article says
#
# That the denoiser of a latent diffusion model is a U-Net. In the models that it describes, it is; since DiT it need
# not be. The rest of the architecture, VAE, text encoders, guidance, stands.

# %% [markdown]
# ## Three quick questions
#
# **1.** A DiT block of width $D$ has a modulation of $6 D^2 + 6 D$ parameters. Compare with its attention ($4 D^2$) and
# MLP ($8 D^2$).
#
# <details><summary>Answer</summary>
#
# A third of the block's 18 $D^2$ only says how to normalise. Later models, PixArt-α among them, share one modulation
# among all blocks.
# </details>
#
# **2.** Why does the last MM-DiT block have no MLP for words?
#
# <details><summary>Answer</summary>
#
# Nobody reads the words after it.
# </details>
#
# **3.** Words have no positions here. How does the network know their order?
#
# <details><summary>Answer</summary>
#
# From the text encoders, which had positions: each word's vector already says where it stands and beside what.
# </details>

# %% [markdown]
# ## Exercises
#
# `../exercises/20_transformers.ipynb`: patches and back, the six vectors, joint attention; each is checked at once.
#
# To try here: give the MM-DiT of the race patches of 1 instead of 2, with `dataclasses.replace(TINY_MM_DIT, patch=1)`.
# It sees four times as many tokens: what happens per second, and per picture?

# %% [markdown]
# ## What next
#
# Lesson 21: the U-Net in four steps. The package's versions of this lesson are `tinyldm/beyond/dit.py`,
# `tinyldm/beyond/mm_dit.py` and `tinyldm/beyond/stable_diffusion_3.py`.
#
# Released folders of Stable Diffusion 3 and 3.5 large open with `StableDiffusion3.from_pretrained(FOLDER)`; the tests
# compare it with diffusers' pipeline at a reduced width. There is no command for it, and it does not save.
