# %% [markdown]
# # 20 · From U-Net to transformer
#
# **Goal.** Replace the U-Net by a transformer over patches, and cross-attention by one attention of pixels and words:
# the network of Stable Diffusion 3.
#
# **Time.** 45 minutes to read and play; the cells compute for about 6 minutes on 2 CPU cores, nearly all of it in one
# race.
#
# **Before this.** Lessons 06, 07, 08 and 19.
#
# **You will be able to**
# - turn a latent into a sequence and back, and tell the network where each patch was;
# - write a block whose norms are set by time and caption, and which starts as nothing;
# - let pixels and words read each other, with Stable Diffusion 3's own class and sizes;
# - compare two architectures at the same budget, and say what such a race does not show.

# %%
import time

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

from tinyldm import LatentDiffusion, UNet, versions
from tinyldm.beyond import dit as package
from tinyldm.beyond.flow_matching import flow_loss
from tinyldm.beyond.mm_dit import SD3_MEDIUM, TINY_MM_DIT, JointBlock, MMDiT
from tinyldm.data.corpus import scenes_corpus
from tinyldm.training.latents import build_cache
from tinyldm.vae import DiagonalGaussian
from tinyldm_course.lessons import plots
from tinyldm_course.lessons.helpers import confirm_equal, full_or_fast

plots.use_style()
torch.manual_seed(0)

# %% [markdown]
# ## Where we are
#
# The U-Net of lesson 08 knows two things before it has seen a picture: neighbours matter (convolutions), and large
# things are made of small ones (levels). Peebles & Xie asked in 2022 whether it needs to know. Their DiT knows neither:
# it is the transformer that language models use, with patches for words.
#
# ## Patches
#
# > **Predict.** A latent of Stable Diffusion 3 is 16 × 128 × 128. With patches of 2 × 2, how long is the sequence, and
# > how many numbers has each vector? And the tiny latent, 4 × 8 × 8?

# %%
def patchify(z, patch):
    """(B, C, h, w) -> (B, h/p · w/p, p·p·C)."""
    B, C, h, w = z.shape
    z = z.reshape(B, C, h // patch, patch, w // patch, patch)
    return z.permute(0, 2, 4, 3, 5, 1).reshape(B, -1, patch * patch * C)     # which patch, then where in it


z = torch.arange(16).reshape(1, 1, 4, 4)
print(z[0, 0])
print(patchify(z, 2)[0])
z = torch.randn(2, 4, 8, 8)
print(confirm_equal(patchify(z, 2), package.patchify(z, 2)))
print(confirm_equal(package.unpatchify(patchify(z, 2), 2, 8, 8), z, claim="And back"))

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# 64 · 64 = 4,096 vectors of 2 · 2 · 16 = 64 numbers. The tiny one: 16 vectors of 16. Attention compares all pairs, so
# halving the patch costs 16 times as much in it.
# </details>
#
# A set of patches has no order. Something must say where each was: a fixed vector of sines and cosines, of its column
# and of its row, is *added*. The hands of lesson 06's clock, twice.

# %%
table = package.sincos_positions(torch.arange(8), torch.arange(8), 64)                          # (64, 64)
similar = (F.normalize(table, dim=1) @ F.normalize(table, dim=1).T).reshape(8, 8, 8, 8)
fig, axes = plt.subplots(1, 3, figsize=(9, 2.8))
for ax, (row, column) in zip(axes, ((0, 0), (3, 4), (7, 2))):
    title = f"to the patch at ({row}, {column})"
    plots.heat_map(ax, similar[row, column], "column", "row", title, signed=False, vmin=0.4)
plots.show(fig, "How similar the position vectors of an 8 by 8 grid are to that of one patch, for three patches: "
           "largest at the patch itself, and along its row and its column; falling with distance.")

# %% [markdown]
# ## adaLN-zero: time and caption set the norms
#
# In a ResBlock the time was *added*. Here six vectors are made of it, by one linear layer in each block: shift, scale
# and gate for attention; shift, scale and gate for the MLP.
#
# $$ x \leftarrow x + g_1 \cdot \mathrm{Attention}\big(\mathrm{LN}(x)(1 + s_1) + b_1\big), \qquad
# x \leftarrow x + g_2 \cdot \mathrm{MLP}\big(\mathrm{LN}(x)(1 + s_2) + b_2\big) $$
#
# (Peebles & Xie 2023, figure 3.) The linear layer starts at zero.
#
# > **Predict.** What does a new block do to its input? What did lesson 06 have in its place?

# %%
class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.modulation = heads, nn.Linear(width, 6 * width)
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(width, width) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x, c):
        """x (B, N, D), c (B, D) -> (B, N, D)."""
        b1, s1, g1, b2, s2, g2 = self.modulation(F.silu(c))[:, None].chunk(6, dim=2)     # six times (B, 1, D)
        normal = F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + s1) + b1
        made = (to(normal).unflatten(2, (self.heads, -1)) for to in (self.to_q, self.to_k, self.to_v))
        q, k, v = (y.transpose(1, 2) for y in made)                                      # (B, heads, N, d)
        x = x + g1 * self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + g2 * self.mlp(F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + s2) + b2)


mine, theirs = Block(64, 4), package.DiTBlock(64, 4)
x, c = torch.randn(2, 16, 64), torch.randn(2, 64)
print("A new block changes nothing:", torch.equal(mine(x, c), x))
nn.init.normal_(theirs.modulation.weight, std=0.1)
mine.load_state_dict(theirs.state_dict())
print(confirm_equal(mine(x, c), theirs(x, c)))

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Nothing: both gates are 0. Lesson 06 set the last convolution of each block to zero. Here it is the *gate*, which the
# time opens.
# </details>
#
# The whole DiT is patches, positions, these blocks, one more such norm, and patches back: `dit.py`, a hundred lines. At
# its published sizes:

# %%
with torch.device("meta"):                                  # shapes without memory
    dit = package.DiT(package.DiTConfig())
    print(f"DiT-XL/2: {sum(p.numel() for p in dit.parameters()) / 1e6:.0f} million, without its table of classes")
    print(f"Stable Diffusion 3 medium: {sum(p.numel() for p in MMDiT(SD3_MEDIUM).parameters()):,}")

# %% [markdown]
# ## Pixels and words in one attention
#
# DiT's condition is a single vector: a class. A caption is a sequence. Lesson 07 let pixels read it, by
# cross-attention, and left the words as they were. MM-DiT puts both into **one sequence**: each token makes query, key
# and value, and everybody reads everybody. Only the weights differ: pixels have theirs, words have theirs.
#
# > **Predict.** In cross-attention a pixel's weights over the *words* sum to 1. And here?

# %%
def joint_attention(pixels, words):
    """Two triples q, k, v (B, heads, N or L, d) -> what each kind found."""
    q, k, v = (torch.cat(both, dim=2) for both in zip(pixels, words))
    mixed = F.scaled_dot_product_attention(q, k, v)
    return mixed.split([pixels[0].shape[2], words[0].shape[2]], dim=2)


torch.manual_seed(1)
block, c = JointBlock(TINY_MM_DIT, last=False), torch.randn(2, 128)
for stream in (block.pixels, block.words):
    nn.init.normal_(stream.modulation.weight, std=0.05)
pixels, words = torch.randn(2, 16, 128), torch.randn(2, 32, 128)
b, s, *rest = block.pixels.modulations(c)
b_words, s_words, *rest_words = block.words.modulations(c)
for_pixels, for_words = joint_attention(block.pixels.qkv(pixels, b, s), block.words.qkv(words, b_words, s_words))
together = (
    block.pixels.add(pixels, for_pixels.transpose(1, 2).flatten(2), *rest),
    block.words.add(words, for_words.transpose(1, 2).flatten(2), *rest_words),
)
for yours, package_s in zip(together, block(pixels, words, c)):
    print(confirm_equal(yours, package_s))

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# They sum to less than 1: pixels and words share it. A pixel that has read enough of the caption can turn to its
# neighbours.
# </details>
#
# The caption also enters a second way: its pooled vector is added to the time, and so sets all norms.
#
# ## A race
#
# The shipped U-Net's class and an MM-DiT with as many parameters, both from random weights; the same latents, batches,
# loss (lesson 19's) and optimizer; the same *processor time*.
#
# > **Predict.** Which has seen more pictures at the end? Which has the lower loss?

# %%
SECONDS, COUNT = full_or_fast(110, fast=1), full_or_fast(3000, fast=300)
model = LatentDiffusion.from_pretrained()
cache = build_cache(scenes_corpus(COUNT), model.vae, model.text_encoder, None, "cpu", progress=False)
HELD_BACK = full_or_fast(256, fast=16)


def batch(generator, index):
    posterior = DiagonalGaussian(cache.moments[index].float())
    z0 = posterior.reparameterize(torch.randn(len(index), 4, 8, 8, generator=generator))
    context = cache.contexts[cache.caption[index, 0]].float()
    return model.vae.config.scale * z0, context, torch.randn(z0.shape, generator=generator)


draw = torch.Generator().manual_seed(9)
fixed, fixed_tau = batch(draw, torch.arange(HELD_BACK)), torch.rand(HELD_BACK, generator=draw)


def loss_of(network, data, tau):
    z0, context, eps = data
    return flow_loss(lambda z, t: network(z, t, context), z0, eps, tau)


class WithPooled(nn.Module):
    """An MM-DiT that takes the mean of the context for the pooled caption."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, z, t, context):
        return self.network(z, t, context, context.mean(1))


def race(network, lr=1e-3):
    """Train for SECONDS of processor time; [(seconds, pictures seen, loss on the pictures held back)]."""
    draw, optimizer = torch.Generator().manual_seed(1), torch.optim.AdamW(network.parameters(), lr)
    curve, spent, step = [], 0.0, 0
    while spent < SECONDS:
        if spent >= len(curve) * SECONDS / 11:
            with torch.no_grad():
                curve.append((spent, 64 * step, loss_of(network, fixed, fixed_tau).item()))
        start = time.process_time()
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1, (step + 1) / 30)
        index = torch.randint(HELD_BACK, COUNT, (64,), generator=draw)
        loss = loss_of(network, batch(draw, index), torch.rand(64, generator=draw))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        spent, step = spent + time.process_time() - start, step + 1
    with torch.no_grad():
        return [*curve, (spent, 64 * step, loss_of(network, fixed, fixed_tau).item())]


torch.manual_seed(0)
runners = {"U-Net": UNet(versions.TINY.unet), "MM-DiT": WithPooled(MMDiT(TINY_MM_DIT))}
curves = {name: race(network) for name, network in runners.items()}
for name, curve in curves.items():
    parameters = sum(p.numel() for p in runners[name].parameters())
    spent, seen, loss = curve[-1]
    print(f"{name}: {parameters / 1e6:.2f} million parameters, {seen:,} pictures in {spent:.0f} s, loss {loss:.3f}")

# %%
fig, axes = plt.subplots(1, 2, figsize=plots.WIDE)
for ax, place, label in zip(axes, (0, 1), ("seconds of processor time", "pictures seen")):
    for (name, curve), style in zip(curves.items(), ("o-", "s--")):
        ax.plot([point[place] for point in curve], [point[2] for point in curve], style, markersize=4, label=name)
    ax.set(xlabel=label, ylabel="loss, held-back pictures")
axes[0].legend()
plots.show(fig, "The loss on held-back pictures of the two networks, over processor time on the left and over the "
           "number of pictures on the right.")

# %% [markdown]
# Be careful with this race. It is short, small, run once with one learning rate, on latents of 4 × 4 patches, where
# attention costs nothing. What Peebles & Xie found, and Esser et al. after them, is about the *other* end: with more
# compute the transformer keeps getting better, in a way that can be predicted (reported; it takes thousands of GPU
# hours to repeat).
#
# ## Sixteen channels
#
# The other change of Stable Diffusion 3 is its VAE: 16 channels instead of 4, so that less is lost before the denoiser
# starts. More channels are harder to predict and easier to decode; a larger denoiser is what makes it worthwhile (Esser
# et al. 2024, § 5.1.1, reported). Its latents are also *shifted* by their mean before they are scaled: `load_vae_16` in
# `stable_diffusion_3.py`.
#
# ## Break it on purpose
#
# Take the positions away. Shuffle the patches of a latent: what does the network say now?

# %%
torch.manual_seed(2)
network = MMDiT(TINY_MM_DIT)
for parameter in network.parameters():
    parameter.data += 0.05 * torch.randn_like(parameter)             # so that it does not predict zeros
z_t, t, context = torch.randn(1, 4, 8, 8), torch.tensor([500.0]), torch.randn(1, 32, 128)
order = torch.randperm(16)
shuffled = package.unpatchify(patchify(z_t, 2)[:, order], 2, 8, 8)
with torch.no_grad():
    for name in ("with positions", "without"):
        plain, moved = (network(z, t, context, context.mean(1)) for z in (z_t, shuffled))
        difference = (patchify(plain, 2)[:, order] - patchify(moved, 2)).abs().max().item()
        print(f"{name}: shuffling the input and shuffling the output differ by {difference:.6f}")
        network.positions.zero_()

# %% [markdown]
# Without positions the network cannot tell a picture from its jigsaw: shuffled patches get shuffled answers. A U-Net
# has no such table, and does not need one: its convolutions see who stands beside whom.
#
# ## What the article says
#
# That the denoiser of a latent diffusion model is a U-Net "in practice". It was, until 2022. The rest of the
# architecture, VAE, text encoders, guidance, stands.
#
# ## Three quick questions
#
# **1.** A DiT block of width $D$ has a modulation of $6 D^2 + 6 D$ parameters. Compare with its attention ($4 D^2$) and
# MLP ($8 D^2$).
#
# <details><summary>Answer</summary>
#
# A third of the block's 18 $D^2$ only says how to normalise. Later models share one modulation among all blocks.
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
# To try here: give the MM-DiT of the race patches of 1 instead of 2. It sees four times as many tokens: what happens
# per second, and per picture?
#
# ## What next
#
# Lesson 21: the same networks in four steps. The package's versions of this lesson are `tinyldm/beyond/dit.py`,
# `mm_dit.py` and `stable_diffusion_3.py`, which opens the released folder.
