# %% [markdown]
# # 08 · The U-Net: down, across and up again
#
# **Goal.** Assemble the denoiser from the blocks of the last two lessons, and know where its parameters and its work
# are.
#
# **Time.** 40 minutes to read and play; the cells compute for under half a minute on 2 idle CPU cores.
#
# **Before this.** Lessons 03, 05, 06 and 07.
#
# **You will be able to**
# - write a U-Net that loads Stable Diffusion's weights, and explain each of its shapes;
# - say what is on the skip stack at any moment;
# - tell which level holds the parameters and which does the work;
# - build the same class at Stable Diffusion's size without using any memory.

# %%
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tinyldm import LatentDiffusion, to_unit, versions
from tinyldm import unet as package
from tinyldm.data import scenes
from tinyldm.machine import choose_device

# yours from lesson 06
from tinyldm.resblock import Downsample, ResBlock, TimeMLP, Upsample, timestep_embedding
from tinyldm.spatial_transformer import SpatialTransformer  # yours from lesson 07
from tinyldm_course.lessons import plots
from tinyldm_course.lessons.helpers import confirm_equal
from tinyldm_course.lessons.model_map import show_model_map
from tinyldm_course.lessons.unet_flow import flow, plot_flow

plots.use_style()
DEVICE = choose_device()     # CUDA, else Apple's MPS, else the CPU
torch.manual_seed(0)
print("This lesson runs on", DEVICE.type)

# %% [markdown]
# ## Where we are
#
# This is the box in the middle: noisy latent, time and context in, a prediction of the latent's shape out. The blocks
# are the ones that you built; the imports above stand for them. (You showed that they are equal. The package's
# SpatialTransformer also takes a `depth`, the number of its transformer blocks, which was 1 in lesson 07.) What is left
# is the plumbing, and the plumbing is where U-Nets go wrong.

# %%
show_model_map("U-Net", "ResBlock", "SpatialTransformer")

# %% [markdown]
# ## Why a U?
#
# Noise must be removed pixel by pixel, at full resolution. But *what* belongs there is a question about the whole
# picture. A network that works at full resolution throughout is slow and short-sighted. So:
#
# - **down**: halve the resolution, widen the channels: see more, but more coarsely;
# - **middle**: at the bottom, every pixel is close to every other;
# - **up**: double again, back to the size of the input.
#
# On the way down, detail is lost. That is what the **skips** are for: each feature map of the way down is kept, and
# handed *across* to the way up at the same resolution (Ronneberger et al. 2015).

# %% [markdown]
# ## The stack
#
# The skips form a *stack*: the way down pushes each map on it, the way up pops them off. No map needs a label. Here it
# is with names in place of tensors.
#
# > **Predict.** Down pushes a, b, c, d. In which order do they come back: the large maps first, or the small ones?

# %% tags=["nbval-check-output"]
stack = []
for feature_map in ("a: 64 channels, 8×8", "b: 64 channels, 8×8", "c: 64 channels, 4×4",
                    "d: 96 channels, 4×4"):
    stack.append(feature_map)
while stack:
    print("up reads", stack.pop())

# %% [markdown]
# Last in, first out: the way up begins with the small maps that it needs first. These four are the real ones of the
# tiny model: (a) the first convolution, (b) the blocks of level 0, (c) the downsample, (d) the blocks of level 1. Note
# that (a) and (c) are pushed too. Forgetting them is the usual mistake: then the way up lacks one map per level.
#
# The sizes come from a configuration, a few numbers per level:

# %%
config = versions.TINY.unet
for name, meaning in (("channels", "width of each level, full resolution first"),
                      ("blocks_per_level", "on the way down; one more on the way up"),
                      ("heads", "of attention, at each level"),
                      ("transformer_depth", "of a SpatialTransformer, at each level"),
                      ("middle_depth", "the same, in the middle"),
                      ("groups", "of each GroupNorm"),
                      ("context_dim", "numbers in a vector of the context")):
    print(f"{name:18} {getattr(config, name)!s:9} {meaning}")

# %% [markdown]
# ## Down
#
# One level: a ResBlock and a SpatialTransformer, once or more; after each pair, push. Then halve (except at the last
# level), and push again.

# %%
def transformers(config, i, number):
    """As many SpatialTransformers as ResBlocks, or none at a level of depth 0."""
    depth = config.transformer_depth[i]
    return nn.ModuleList(
        SpatialTransformer(config.channels[i], config.context_dim, config.heads[i],
                           config.groups, depth)
        for _ in range(number if depth else 0))


class DownLevel(nn.Module):
    def __init__(self, config, i, t_emb_dim):
        super().__init__()
        width, last = config.channels[i], len(config.channels) - 1
        above = config.channels[max(i - 1, 0)]  # what enters this level
        widths_in = [above] + [width] * (config.blocks_per_level - 1)
        self.resblocks = nn.ModuleList(ResBlock(w, width, t_emb_dim, config.groups)
                                       for w in widths_in)
        self.transformers = transformers(config, i, len(widths_in))
        self.downsample = None if i == last else Downsample(width)

    def forward(self, x, t_emb, context, skips):
        for j, resblock in enumerate(self.resblocks):
            x = resblock(x, t_emb)
            if self.transformers:
                x = self.transformers[j](x, context)
            skips.append(x)                          # push
        if self.downsample is not None:
            x = self.downsample(x)                   # (B, C, H, W) -> (B, C, H/2, W/2)
            skips.append(x)                          # push this one, too
        return x

# %% [markdown]
# ## Up
#
# The mirror image, with one more ResBlock: at each resolution the way down pushed one map per pair, and before them the
# map that entered the level (from `conv_in` or a downsample). Each ResBlock pops one map and reads it *along with* its
# own input: their channels are concatenated (`torch.cat`), so the block's input is wider.
#
# > **Predict.** Consider the tiny model's way up at 4 × 4: the middle outputs 96 channels. How many channels do the two
# > ResBlocks there read?

# %%
class UpLevel(nn.Module):
    def __init__(self, config, i, t_emb_dim):
        super().__init__()
        width, last = config.channels[i], len(config.channels) - 1
        above = config.channels[max(i - 1, 0)]     # what entered this level going down
        below = config.channels[min(i + 1, last)]  # what comes up from the one below
        skip_widths = [width] * config.blocks_per_level + [above]  # as they are popped
        widths_in = [below] + [width] * config.blocks_per_level
        self.resblocks = nn.ModuleList(
            ResBlock(w + skip, width, t_emb_dim, config.groups)
            for w, skip in zip(widths_in, skip_widths))
        self.transformers = transformers(config, i, len(widths_in))
        self.upsample = None if i == 0 else Upsample(width)

    def forward(self, x, t_emb, context, skips):
        for j, resblock in enumerate(self.resblocks):
            # pop: (B, C_in + C_skip, H, W) -> (B, C, H, W)
            x = resblock(torch.cat([x, skips.pop()], dim=1), t_emb)
            if self.transformers:
                x = self.transformers[j](x, context)
        return x if self.upsample is None else self.upsample(x)  # -> (B, C, 2H, 2W)


lowest = UpLevel(config, 1, 256)
print("At 4 × 4 the ResBlocks read",
      [block.conv1.in_channels for block in lowest.resblocks], "channels")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# $96 + 96 = 192$ with map (d), then $96 + 64 = 160$ with map (c), which the downsample pushed with the width of level
# 0.
# </details>

# %% [markdown]
# ## The whole
#
# A first convolution widens the latent's 4 channels; the middle is ResBlock, SpatialTransformer, ResBlock; at the end
# come GroupNorm, SiLU and a convolution back to 4.

# %%
class MiddleLevel(nn.Module):
    def __init__(self, config, t_emb_dim):
        super().__init__()
        width = config.channels[-1]
        self.resblock1 = ResBlock(width, width, t_emb_dim, config.groups)
        self.transformer = SpatialTransformer(width, config.context_dim,
                                              config.heads[-1], config.groups,
                                              config.middle_depth)
        self.resblock2 = ResBlock(width, width, t_emb_dim, config.groups)

    def forward(self, x, t_emb, context):
        return self.resblock2(self.transformer(self.resblock1(x, t_emb), context),
                              t_emb)

# %%
class UNet(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.width, levels = config.channels[0], range(len(config.channels))
        t_emb_dim = 4 * self.width
        self.time_mlp = TimeMLP(self.width, t_emb_dim)
        self.conv_in = nn.Conv2d(config.in_channels, self.width, 3, padding=1)
        self.down = nn.ModuleList(DownLevel(config, i, t_emb_dim) for i in levels)
        self.middle = MiddleLevel(config, t_emb_dim)
        self.up = nn.ModuleList(UpLevel(config, i, t_emb_dim) for i in reversed(levels))
        self.norm_out = nn.GroupNorm(config.groups, self.width)
        self.conv_out = nn.Conv2d(self.width, config.out_channels, 3, padding=1)

    def forward(self, z_t, t, context):
        t_emb = self.time_mlp(timestep_embedding(t, self.width))  # (B,) -> (B, D_t)
        x = self.conv_in(z_t)  # (B, 4, h, w) -> (B, C_0, h, w)
        skips = [x]
        for level in self.down:
            x = level(x, t_emb, context, skips)
        x = self.middle(x, t_emb, context)
        for level in self.up:
            x = level(x, t_emb, context, skips)
        return self.conv_out(F.silu(self.norm_out(x)))  # (B, C_0, h, w) -> (B, 4, h, w)

# %% [markdown]
# Does it equal the package's? Give yours the package's weights (they only fit if every name and every shape is the
# same), and compare.

# %%
theirs = package.UNet(config).to(DEVICE)
mine = UNet(config).to(DEVICE)
mine.load_state_dict(theirs.state_dict())

z_t, t = torch.randn(2, 4, 8, 8, device=DEVICE), torch.tensor([10, 900], device=DEVICE)
context = torch.randn(2, 32, config.context_dim, device=DEVICE)
with torch.no_grad():
    print(confirm_equal(mine(z_t, t, context), theirs(z_t, t, context), tolerance=1e-4))

# %% [markdown]
# ## Watch the sizes flow
#
# `flow` (`tinyldm_course/lessons/unet_flow.py`) runs your levels, and hands them a stack that notes what they push and
# pop. Below, each bar is one feature map: its height is the resolution, its width the number of channels. Each arc
# leads from the block that pushed a map to the block that popped it.

# %%
fig = plot_flow(*flow(mine, z_t, t, context), "The tiny U-Net: latents of 4 × 8 × 8")
plots.show(fig)

# %% [markdown] alt
# The tiny U-Net as bars from left to right: tall ones at 8 by 8, a downsample, short wide ones at 4 by 4 with the
# middle, an upsample, tall ones again. Four nested arcs connect each map of the way down with the ResBlock that reads
# it on the way up.

# %% [markdown]
# Nested arcs that never cross: that is what "last in, first out" looks like. And now **the same class** with Stable
# Diffusion 1's numbers. On PyTorch's `meta` device tensors have shapes but no contents, so even the largest network
# needs no memory.
#
# > **Predict.** How many parameters does your U-Net have at that size? (The tiny one has 2.8 million.)

# %%
with torch.device("meta"):
    sd = UNet(versions.SD1.unet)
    sd_inputs = (torch.empty(1, 4, 64, 64), torch.empty(1), torch.empty(1, 77, 768))

fig = plot_flow(*flow(sd, *sd_inputs),
                "The same class as Stable Diffusion 1: latents of 4 × 64 × 64")
plots.show(fig)

# %% [markdown] alt
# Stable Diffusion's U-Net in the same style: four levels of 64, 32, 16 and 8 pixels per side, 320 to 1280 channels, and
# twelve nested arcs. The lowest level has no SpatialTransformers except for one in the middle.

# %% tags=["nbval-check-output"]
def parameters(module):
    return sum(p.numel() for p in module.parameters())


print(f"Yours at Stable Diffusion's size: {parameters(sd):,} parameters")
print(f"Yours at the tiny size:           {parameters(mine):,}")

# %% [markdown]
# 859,520,964 is the number in the released checkpoint, to the last digit. It is a good test: a forgotten bias or an
# extra layer would show.

# %% [markdown]
# ## Where are the parameters, and where is the work?
#
# The number of a convolution's parameters does not depend on the size of the picture; its work does. So they need not
# be in the same place. (Below, a level is its way down and its way up together.)
#
# > **Predict.** In Stable Diffusion's U-Net, which level has the most parameters: 64², 32², 16² or 8²? Which does the
# > most work?

# %%
def by_level(unet, inputs):
    """{level: (parameters, operations)} of the levels, and of the middle."""
    levels = {f"level {i}": [unet.down[i], unet.up[len(unet.up) - 1 - i]]
              for i in range(len(unet.down))}
    levels["middle"] = [unet.middle]
    counter = FlopCounterMode(display=False, depth=None)
    with counter, torch.no_grad():
        unet(*inputs)
    work = counter.get_flop_counts()
    names = {module: name for name, module in unet.named_modules()}
    total = {}
    for level, modules in levels.items():
        flops = sum(sum(work.get(f"{type(unet).__name__}.{names[m]}", {}).values())
                    for m in modules)
        total[level] = (sum(parameters(m) for m in modules), flops)
    return total


counts = {"tiny": by_level(mine.to("meta"),
                           [x.to("meta") for x in (z_t[:1], t[:1], context[:1])]),
          "Stable Diffusion 1": by_level(sd, sd_inputs)}

# %%
fig, axes = plt.subplots(1, 2, figsize=plots.WIDE)
for ax, (title, levels) in zip(axes, counts.items()):
    columns = torch.tensor(list(levels.values()), dtype=torch.float64)
    share = 100 * columns / columns.sum(0)
    place = torch.arange(len(levels)).double()
    ax.bar(place - 0.2, share[:, 0], 0.38, color=plots.BLUE, label="parameters")
    ax.bar(place + 0.2, share[:, 1], 0.38, color=plots.ORANGE, hatch="//",
           edgecolor="white", label="operations")
    ax.set_xticks(place.tolist(), levels)
    ax.set(ylabel="percent",
           title=f"{title}: {columns[:, 1].sum() / 1e9:,.3g} billion operations")
axes[0].legend()
plots.show(fig)

# %% [markdown] alt
# Percent of parameters and of operations by level. Stable Diffusion: level 0, the finest, has 3 percent of the
# parameters and 38 of the operations; level 2 has nearly half of the parameters, level 3 a quarter of them and 4
# percent of the operations. Tiny: level 0 does half of the work, level 1 has half of the parameters.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Level 2, of 16² pixels, has the most parameters, almost half; level 0, of 64², does more of the work than any other
# (38 %).
# </details>
#
# The wide, coarse levels *know* most, and the fine, narrow ones *work* most. Doubling the channels multiplies a
# convolution's parameters and work by four; halving the sides divides its work by four again. That would balance, but
# self-attention costs far more at 4,096 pixels. Level 3 is no wider than level 2 and has no SpatialTransformers: hence
# fewer parameters, and little work. This is why later versions moved their transformers down: XL has none at its finest
# level and ten in a row at its coarsest.

# %% [markdown]
# ## Any size that divides
#
# Nothing in the network says 8 × 8. Convolutions and attention take any height and width, as long as they can be halved
# often enough.
#
# > **Predict.** Which of these latents fails: 8 × 16, 24 × 4 or 8 × 7?

# %% tags=["nbval-check-output"]
mine = UNet(config)
for h, w in ((8, 8), (8, 16), (24, 4)):
    out = mine(torch.randn(1, 4, h, w), torch.tensor([500]),
               torch.randn(1, 32, config.context_dim))
    print(f"{h} × {w} in, {out.shape[2]} × {out.shape[3]} out")
try:
    mine(torch.randn(1, 4, 8, 7), torch.tensor([500]),
         torch.randn(1, 32, config.context_dim))
except RuntimeError as error:
    print("8 × 7:", str(error).split(".")[0])

# %% [markdown]
# The last: 7 is halved to 4 and doubled to 8, and then the skip does not fit. (The package's U-Net says so in plainer
# words.) So the sides of a picture must be multiples of 16 pixels here: the VAE divides by 8, the U-Net by 2. Whether
# pictures are *good* away from the size that the model was trained at is another matter.

# %% [markdown]
# ## Look inside the trained one
#
# We noise a scene of the small world to `t = 600`, and run the shipped U-Net. It predicts the velocity (lesson 03), so
# `to_z0` turns its output into a clean latent, and the VAE (lesson 05) decodes that into a picture.

# %% [markdown]
# What does it know on the way? Its 64 or 96 channels are no picture. But we can ask how much of the clean latent a
# *linear* map can read from them at each position (a *probe*). We fit such a map for each stage on 256 other scenes
# (least squares), and decode what it reads from this one.
#
# > **Predict.** Where along the way does the noise disappear: on the way down, in the middle, or on the way up?

# %%
model = LatentDiffusion.from_pretrained("tiny", device=DEVICE)
pixels, said, _ = scenes.batch(0, range(320))  # 64 to test, 256 for the probes
pictures, captions = scenes.to_tensor(pixels), [caption.text for caption in said]
t = torch.tensor([600], device=DEVICE)
with torch.no_grad():
    true_z0 = model.vae.encode(pictures.to(DEVICE))  # (320, 4, 8, 8)
    contexts = model.encode_text(captions)
eps = torch.randn(true_z0.shape, generator=torch.Generator().manual_seed(1)).to(DEVICE)
noised = model.schedule.q_sample(true_z0, t.expand(320), eps)


def to_z0(prediction, z_t):
    """The clean latent that a prediction for z_t stands for."""
    return model.schedule.prediction.to_z0(prediction, z_t, model.schedule.at(t).item())


def as_image(latent):
    """A latent (1, 4, 8, 8) as a picture: (3, 64, 64) in [0, 1]."""
    with torch.no_grad():
        return to_unit(model.vae.decode(latent)[0])

# %%
stops = {"conv_in": "conv_in", "down.0.transformers.0": "level 0",
         "down.1.transformers.0": "level 1",
         "middle": "middle", "up.0.transformers.1": "up, level 1",
         "up.1.transformers.1": "up, level 0"}
maps = {}


def keep(label):
    # a hook's return value would replace the output: return nothing
    def hook(module, inputs, out):
        maps[label] = out
    return hook


hooks = [model.unet.get_submodule(name).register_forward_hook(keep(label))
         for name, label in stops.items()]
with torch.no_grad():
    predictions = model.unet(noised, t.expand(320), contexts)
for hook in hooks:
    hook.remove()

# %%
def by_position(maps):
    """(B, C, H, W) -> (B · 64, C): a row for each position of the latent."""
    return F.interpolate(maps, size=(8, 8)).permute(0, 2, 3, 1).flatten(0, 2)


def read(features):
    """What a linear map, fitted on the last 256, reads from the first 64."""
    rows = F.pad(by_position(features), (0, 1), value=1.0)  # a 1 for the bias
    fit = torch.linalg.lstsq(rows[64 * 64:], by_position(true_z0[64:])).solution
    return (rows[:64 * 64] @ fit).reshape(64, 8, 8, 4).permute(0, 3, 1, 2)


reads = {label: read(features) for label, features in maps.items()}
reads["its guess"] = to_z0(predictions, noised)[:64]
which = 5
shown = [to_unit(pictures[which]), as_image(noised[[which]]),
         *(as_image(latents[[which]]) for latents in reads.values())]
wrong = {label: (latents - true_z0[:64]).square().mean().sqrt().item()
         for label, latents in reads.items()}
fig = plots.image_grid(
    shown, ["the scene", "z_t, decoded",
               *(f"{label}\nerror {error:.2f}" for label, error in wrong.items())],
    columns=5, size=1.6)
plots.show(fig)

# %% [markdown] alt
# A scene ({captions[which]}); what the decoder makes of its noised latent; what a linear map reads from the feature
# maps of six stages of the U-Net; and the U-Net's own guess. The error over 64 scenes: {"; ".join(f"{label}
# {error:.2f}" for label, error in wrong.items())}.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# On the way up, at its very end. Up to the middle hardly more of the clean latent can be read than from the first
# convolution. At 4 × 4 even a perfect map could not draw an outline, because each position stands for four of the
# latent's; so do not compare those numbers with the others.
# </details>

# %% [markdown]
# The probe reads only what a linear map can. Still, look at the background: it turns green at level 1. This
# suggests that *what* the picture shows is settled below, and that *where*, to the pixel, needs the skips. The last
# step, from 0.54 to 0.42, is the output's norm, SiLU and convolution. The guess has both things in their places and
# colours, although at `t = 600` more of `z_t` is noise than signal (lesson 02).

# %% [markdown]
# ## Break it on purpose
#
# Swap two skips. At the tiny model's level 0, the two maps that are popped last, (b) and (a), have the *same shape*: 64
# channels at 8 × 8. A queue in place of the stack would fail at once (an 8 × 8 map would meet a 4 × 4 one), but these
# two can change places without an error. And what if a skip is silenced altogether? *Your* U-Net gets the trained
# weights, and its `forward` one more line.
#
# > **Predict.** Which does more harm to the guess: (a) and (b) swapped, or (b) set to zero? Or is there hardly any
# > harm?

# %%
trained = UNet(config).to(DEVICE)
trained.load_state_dict(model.unet.state_dict())


@torch.no_grad()
def answer_with(change, z_t, t, context):
    """The output of your U-Net after `change` was applied to its skips."""
    t_emb = trained.time_mlp(timestep_embedding(t, trained.width))
    x = trained.conv_in(z_t)
    skips = [x]
    for level in trained.down:
        x = level(x, t_emb, context, skips)
    skips = change(skips)  # the new line
    x = trained.middle(x, t_emb, context)
    for level in trained.up:
        x = level(x, t_emb, context, skips)
    return trained.conv_out(F.silu(trained.norm_out(x)))


changes = {"as it is": lambda s: s, "a, b swapped": lambda s: [s[1], s[0], *s[2:]],
           "a silenced": lambda s: [0 * s[0], *s[1:]],
           "b silenced": lambda s: [s[0], 0 * s[1], *s[2:]],
           "c, d silenced": lambda s: [s[0], s[1], 0 * s[2], 0 * s[3]],
           "all silenced": lambda s: [0 * x for x in s]}
z0_hats = {name: to_z0(answer_with(change, noised[:64], t.expand(64), contexts[:64]),
                       noised[:64]) for name, change in changes.items()}
fig = plots.image_grid([as_image(z0_hat[[which]]) for z0_hat in z0_hats.values()],
                       list(changes), size=1.5)
plots.show(fig)

# %% [markdown] alt
# The trained U-Net's guess with its skips as they are: a triangle and a rounded square. With a and b swapped both are
# too large and the triangle is darker; with a or b silenced they lose their corners; with c and d silenced nothing is
# worse; with all silenced both things are misshapen.

# %% [markdown]
# One scene proves little. So measure over all 64 scenes how far the guessed latent is from the true one.

# %%
errors = {name: (z0_hat - true_z0[:64]).square().mean().sqrt().item()
          for name, z0_hat in z0_hats.items()}
errors["the guess 0"] = true_z0[:64].square().mean().sqrt().item()

fig, ax = plt.subplots(figsize=(8.0, 2.6))
bars = ax.barh(list(errors), list(errors.values()), color=plots.BLUE)
ax.bar_label(bars, fmt=" %.2f", fontsize=9)
ax.invert_yaxis()
ax.set(xlabel="distance of the guessed latent from the true one (root mean square)",
       title="64 scenes at t = 600", xlim=(0, 1.15))
plots.show(fig)

# %% [markdown] alt
# Bars of the error of the guess over 64 scenes: {'; '.join((f'{name} {error:.2f}' for name, error in errors.items()))}.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Silencing (b) does more harm than swapping, and both do a lot; so does silencing (a) alone. At this size the *fine*
# skips carry the guess; without the coarse ones, (c) and (d), it is hardly worse (0.43 against 0.42): the middle is
# also at 4 × 4, so nothing was lost on the way to it. With all skips silenced it is worst, 0.88, not far from guessing
# 0 everywhere (0.99), although in the one scene above both things can still be made out.
# </details>
#
# The swap also shows why a test that compares numbers is worth more than one that compares shapes: no error, no
# warning, only a worse picture.

# %% [markdown]
# ## What the article says
#
# - *The dimensions are (channel, width, height).* In the code (channel, height, width), the usual order in PyTorch.
# - *A predicted noise vector comes out.* A tensor of the latent's shape; whether it means noise or velocity is a
#   convention between training and sampling, not part of the network.
# - *Down-scaling layers, then up-scaling layers, each with a ResBlock and a SpatialTransformer.* Right for the finer
#   levels; the lowest of Stable Diffusion 1 has no SpatialTransformers, but the middle has one. The article does not
#   mention the skips that go across.

# %% [markdown]
# ## Three quick questions
#
# **1.** `blocks_per_level` is 2 and there are 4 levels. How many skips are pushed?
#
# <details><summary>Answer</summary>
#
# $1 + 4 \cdot 2 + 3 = 12$: `conv_in`, the pairs, three downsamples. And $4 \cdot 3 = 12$ ResBlocks pop them.
# </details>
#
# **2.** Inpainting models (lesson 13) get 9 input channels instead of 4. What changes in the U-Net?
#
# <details><summary>Answer</summary>
#
# Only `conv_in`: 9 → 320. (4 for `z_t`, 4 for the masked picture's latent, 1 for the mask.)
# </details>
#
# **3.** Why does the U-Net need `t`, although the noise is visible in `z_t`?
#
# <details><summary>Answer</summary>
#
# Lesson 06 measured it: the network can guess, but not exactly, least of all at the largest `t`, where sampling starts.
# </details>

# %% [markdown]
# ## Exercises
#
# `../exercises/08_unet.ipynb`: the skip stack, the widths of the way up, the whole U-Net; each is checked at once.
#
# To try here: plot the flow of `versions.SDXL.unet` (latents of 4 × 128 × 128, a context of 77 × 2048; yours lacks its
# `added_mlp`, but the flow is the same). How many parameters does a U-Net of three levels have, with channels of your
# own choice?

# %% [markdown]
# ## What next
#
# The network is complete. Lesson 09 makes its context: how a caption, a picture or a label becomes vectors. Lesson 10
# trains it. The package's version of this lesson is `tinyldm/unet.py`.
