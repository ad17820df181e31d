# %% [markdown]
# # 14 · From tiny to Stable Diffusion: the same classes with other numbers
#
# **Goal.** See that what you built *is* Stable Diffusion: other sizes and names, the same results.
#
# **Time.** 40 minutes to read and play; the cells compute for under half a minute on 2 idle CPU cores.
#
# **Before this.** Lessons 05 to 09 and 13. The library `diffusers` (`pip install "diffusers>=0.35" accelerate`).
#
# **You will be able to**
# - compute each version's size without a download;
# - load a checkpoint of one library into the classes of another, strictly;
# - say which details a checkpoint forces, and what a mistake in each costs;
# - run the real Stable Diffusion if you have its files, and open your tiny model in `diffusers`.

# %%
import dataclasses
import math
import os
import re
import tempfile
from pathlib import Path
from unittest import mock

import diffusers
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
import transformers

from tinyldm import EPS, VAE, VELOCITY, LatentDiffusion, UNet, versions
from tinyldm.conditioning import size_embedding
from tinyldm.formats import compvis_file, weights
from tinyldm.formats.diffusers_unet import DIFFUSERS_UNET
from tinyldm.formats.diffusers_vae import DIFFUSERS_VAE
from tinyldm.machine import choose_device
from tinyldm.training.tokenizer import learn_merges, vocabulary
from tinyldm_course.lessons import plots, widgets
from tinyldm_course.lessons.helpers import confirm_equal
from tinyldm_course.lessons.model_map import show_model_map

diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.disable_progress_bar()
plots.use_style()
DEVICE = choose_device()     # CUDA, else Apple's MPS, else the CPU
print("This lesson runs on", DEVICE.type)
# full float32 on a GPU too, so that numbers can be compared there
torch.backends.cudnn.allow_tf32 = False
torch.manual_seed(0)
seed = torch.Generator().manual_seed(0)

# %% [markdown]
# ## Where we are
#
# Everywhere: there is no new part, only new numbers.

# %%
show_model_map("VAE encoder", "text encoder", "U-Net", "ResBlock", "SpatialTransformer",
               "guidance", "sampler", "VAE decoder")

# %% [markdown]
# ## Everything divided by eight, but not the weights
#
# The sides of the tiny model's pictures and latents are an eighth of Stable Diffusion 1's. Its networks are smaller for
# another reason: fewer channels. A ResBlock is, above all, two 3 × 3 convolutions from C channels to C.
#
# > **Predict.** The first level of the tiny model has 64 channels, that of Stable Diffusion 320. How many times as many
# > weights does one ResBlock have: about 5, 25 or 125 times?

# %% tags=["nbval-check-output"]
def resblock_weights(c, t_emb_dim):
    """The weights of a ResBlock with C channels in and out: two norms, two
    convolutions, one linear for the time."""
    norms = 2 * (2 * c)                       # a gain and a bias per channel, twice
    convolutions = 2 * (9 * c * c + c)        # 3 × 3 × in × out, and a bias
    return norms + convolutions + (t_emb_dim * c + c)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


for name, version in {"tiny": versions.TINY,
                      "Stable Diffusion 1": versions.SD1}.items():
    with torch.device("meta"):  # shapes without memory: nothing is allocated
        block = UNet(version.unet).down[0].resblocks[0]
    c = version.unet.channels[0]
    assert resblock_weights(c, 4 * c) == count(block)
    print(f"{name}: {c} channels, {count(block):,} weights in the first ResBlock")

# %% [markdown]
# 25 times: a convolution connects every channel that it reads with every one that it writes, so its weights grow like
# C²; so do those of the linear layer for the time, from 4C numbers to C. Now the whole U-Nets. On PyTorch's `meta`
# device a network has shapes but no numbers, so even the largest is built in a second.

# %%
def built(version):
    """The U-Net and the VAE of a version, on the meta device."""
    with torch.device("meta"):
        return UNet(version.unet), VAE(version.vae)


NAMED = {"tiny": versions.TINY, "SD 1": versions.SD1, "SD 2": versions.SD2,
         "XL": versions.SDXL}
networks = {name: built(version) for name, version in NAMED.items()}

print(f"{'':5} {'image':>12} {'latent':>12} {'context':>10} {'U-Net':>14} {'VAE':>11}")
for name, version in NAMED.items():
    unet, vae = networks[name]
    side, factor = version.image_size, version.vae.factor
    length, width = version.text[0].max_position_embeddings, version.unet.context_dim
    print(f"{name:5} {f'(3,{side},{side})':>12} "
          f"{f'(4,{side // factor},{side // factor})':>12} "
          f"{f'({length},{width})':>10} {count(unet):>14,} {count(vae):>11,}")

assert (
    count(networks["SD 1"][0]) == 859_520_964
    and count(networks["SD 1"][1]) == 83_653_863
)

# %%
def weights_by_place(unet):
    """Millions of weights in each level down, the middle and each level up; and how
    many are in transformers."""
    places = {f"down {i}": level
              for i, level in enumerate(unet.down)} | {"middle": unet.middle}
    places |= {f"up {i}": level for i, level in enumerate(unet.up)}
    inside = {name: sum(count(m) for m in level.modules()
                        if type(m).__name__ == "SpatialTransformer")
              for name, level in places.items()}
    return {name: (count(level) / 1e6, inside[name] / 1e6)
            for name, level in places.items()}


fig, axes = plt.subplots(1, 3, figsize=(9.2, 3.6))
for ax, name in zip(axes, ("tiny", "SD 1", "XL")):
    bars = weights_by_place(networks[name][0])
    total, inner = zip(*bars.values())
    ax.barh(list(bars), total, color=plots.SKY, label="all")
    ax.barh(list(bars), inner, color=plots.BLUE, hatch="//", edgecolor="white",
            label="in SpatialTransformers")
    for row, number in enumerate(total):
        ax.text(number, row, f" {number:.2g}" if number < 10 else f" {number:.0f}",
                va="center", fontsize=8)
    ax.invert_yaxis()
    ax.set(title=f"{name}: {count(networks[name][0]) / 1e6:,.1f} M",
           xlabel="million weights", xlim=(0, 1.2 * max(total)))
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
plots.show(fig)

# %% [markdown] alt
# Weights by place in the U-Nets of tiny, Stable Diffusion 1 and XL. In all three, the lower levels, the middle and the
# first levels on the way up hold most. In XL four fifths of all weights are in the SpatialTransformers of the lowest
# level, down and up, and of the middle.

# %% [markdown]
# One class, three shapes. `down 0` works at full resolution and holds few weights; deep levels are wide and hold most.
# Stable Diffusion 1 has no transformer in its lowest level (`down 3`, `up 0`), XL has none in its highest.
#
# ## The same numbers out
#
# Equal sizes prove little. So let `diffusers`, the library that most people use to run Stable Diffusion, build a U-Net
# with Stable Diffusion 1's structure and random weights: four levels, transformers in three, eight heads. Only the
# widths are about a tenth, to make it fast.

# %%
STRUCTURE = dict(        # unet/config.json of Stable Diffusion 1, in diffusers' words
    act_fn="silu", attention_head_dim=8, block_out_channels=(320, 640, 1280, 1280),
    cross_attention_dim=768,
    down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",), in_channels=4,
    layers_per_block=2,
    out_channels=4, sample_size=64,
    up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3)
NARROW = dict(block_out_channels=(32, 64, 128, 128), cross_attention_dim=64,
              norm_num_groups=8, sample_size=8)


def perturb(model):
    """Make the weights look trained: otherwise all norms had gain 1 and bias 0, and
    mistakes there would not show."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=seed)
    return model.eval().requires_grad_(False).to(DEVICE)


theirs = perturb(diffusers.UNet2DConditionModel(**{**STRUCTURE, **NARROW}))
state = theirs.state_dict()
print(f"{len(state)} tensors, {count(theirs):,} weights; for example")
for key in list(state)[16:20]:
    print(f"  {key}  {tuple(state[key].shape)}")

# %% [markdown]
# Its names are not ours. `transformer_blocks.0.attn2.to_q` is what we call `blocks.0.cross_attention.to_q`. A *rename
# table* translates: pairs of templates, where `#` stands for any number, which is carried over.
#
# > **Predict.** The U-Net has 686 tensors. How many rules do we need: about 20, 100 or 686?

# %% tags=["nbval-check-output"]
RULES = [("down_blocks.#.resnets.#.", "down.#.resblocks.#."),
         (".time_emb_proj.", ".time_proj.")]


def pattern_of(old):
    """A rule's left side as a regular expression: each # catches a number."""
    # only at the start of a part of the name
    begins = "" if old.startswith(".") else r"(?:^|(?<=\.))"
    return begins + re.escape(old).replace(r"\#", r"(\d+)")


def rename(key, rules):
    """Apply each rule to a name, in order."""
    for old, new in rules:
        numbers = iter(range(1, 1 + new.count("#")))  # the groups, in order
        replacement = re.sub("#", lambda _, numbers=numbers: rf"\g<{next(numbers)}>",
                             new)
        key = re.sub(pattern_of(old), replacement, key)
    return key


print(RULES[0][0], "as a pattern:", pattern_of(RULES[0][0]))
print(rename("down_blocks.0.resnets.1.time_emb_proj.weight", RULES))

table = DIFFUSERS_UNET
for key in state:
    assert rename(key, table) == weights.rename(key, table)
print(f"Yours equals tinyldm's on all {len(state)} names; the table has {len(table)} "
      f"rules.")

# %% [markdown]
# Twenty rules, because the structure repeats. Now load *strictly*: each name used once, each shape checked, nothing
# left over. A loader that skips what it does not know leaves you with a network that is partly random, without a word.

# %%
def load_strictly(model, tensors, rules):
    """Copy renamed tensors into a model; ValueError for anything that does not fit."""
    renamed = {rename(key, rules): tensor for key, tensor in tensors.items()}
    expected = model.state_dict()
    if renamed.keys() != expected.keys() or len(renamed) != len(tensors):
        raise ValueError(f"these do not match: "
                         f"{sorted(renamed.keys() ^ expected.keys())[:4]}")
    for name, weight in expected.items():
        tensor = renamed[name]
        # a 1×1 convolution is a linear layer
        if tensor.shape[2:] == (1, 1) and weight.dim() == 2:
            tensor = tensor[:, :, 0, 0]
        if tensor.shape != weight.shape:
            raise ValueError(f"{name} is {tuple(tensor.shape)}, expected "
                             f"{tuple(weight.shape)}")
        weight.copy_(tensor)
    return model.eval()


config = dataclasses.replace(versions.SD1.unet, channels=(32, 64, 128, 128),
                             context_dim=64, groups=8)
ours = UNet(config).requires_grad_(False).to(DEVICE)
load_strictly(ours, state, table)

try:
    load_strictly(UNet(config).requires_grad_(False),
                  {k: v for k, v in state.items() if k != "conv_in.bias"}, table)
except ValueError as error:
    print("Without one of the tensors:", error)

# %% [markdown]
# > **Predict.** The same random latents go through both, in float32. Is the largest difference 0, about a millionth
# > of the largest number, or about a thousandth?

# %%
z_t = torch.randn(2, 4, 16, 16, generator=seed).to(DEVICE)
context = torch.randn(2, 77, 64, generator=seed).to(DEVICE)
t = torch.tensor([10, 900], device=DEVICE)
a, b = ours(z_t, t, context), theirs(z_t, t, context).sample
print(confirm_equal(a, b).replace("tinyldm's", "diffusers'"))

fig, axes = plt.subplots(1, 3, figsize=(9, 2.9))
for ax, values, title in zip(axes, (a, b, 1e6 * (a - b)),
                             ("tinyldm", "diffusers", "difference × 1,000,000")):
    shown = ax.imshow(values[0, 0].cpu(), cmap=plots.DIVERGING, vmin=-1.5, vmax=1.5)
    ax.set_title(title)
    plots.hide_axes(ax)
fig.colorbar(shown, ax=axes.tolist(), fraction=0.03)
plots.show(fig)

# %% [markdown] alt
# One channel of the two U-Nets' outputs as heat maps on one scale; they look identical. Their difference, times a
# million, is speckle without a pattern: the rounding of float32.

# %% [markdown]
# About a millionth. It is not 0, because float32 rounds and the two libraries add in different orders; but nothing else
# differs. These are the classes that you built in lessons 06 to 08.

# %% [markdown]
# ## The details that a checkpoint forces
#
# A trained checkpoint is merciless: it was trained with *one* reading of each detail, and the file does not say which.
# Let us misread six of them, one at a time, and measure the damage.
#
# > **Predict.** Order these mistakes by the damage: (a) the transformer norm's epsilon 1e-5 instead of 1e-6; (b) the
# > ResBlock norms' 1e-6 instead of 1e-5; (c) GELU approximated by a tanh; (d) cosines and sines of the time swapped;
# > (e) 8 read as the *width* of a head instead of the number of heads; (f) gate and value of the GEGLU swapped.

# %%
def halves_swapped(weight, dim):
    """Swap the two halves of a weight."""
    weight.copy_(torch.cat(weight.chunk(2, dim=dim)[::-1], dim=dim))


def misread(name):
    """A fresh copy of the network with one detail misread."""
    model = load_strictly(UNet(config).requires_grad_(False).to(DEVICE), state, table)
    for part in model.modules():
        kind = type(part).__name__
        if name == "transformer's norm: eps 1e-5" and kind == "SpatialTransformer":
            part.norm.eps = 1e-5
        elif name == "ResBlock's norms: eps 1e-6" and kind == "ResBlock":
            part.norm1.eps = part.norm2.eps = 1e-6
        elif name == "heads of 8 numbers, not 8 heads" and kind == "Attention":
            part.heads = part.to_q.out_features // 8
        elif name == "gate and value swapped" and kind == "FeedForward":
            halves_swapped(part.to_value_and_gate.weight, 0)
            halves_swapped(part.to_value_and_gate.bias, 0)
    if name == "cosines and sines swapped":
        halves_swapped(model.time_mlp.linear1.weight, 1)
    return model


MISTAKES = ("none", "ResBlock's norms: eps 1e-6", "transformer's norm: eps 1e-5",
            "GELU by tanh",
            "heads of 8 numbers, not 8 heads", "gate and value swapped",
            "cosines and sines swapped")
exact_gelu, damage = F.gelu, {}
for name in MISTAKES:
    rough = name == "GELU by tanh"
    with mock.patch.object(
        F,
        "gelu",
        lambda x, rough=rough: exact_gelu(x, approximate="tanh" if rough else "none"),
    ):
        output = misread(name)(z_t, t, context)
    damage[name] = ((output - b).abs().max() / b.abs().max()).item()
damage = dict(sorted(damage.items(), key=lambda item: item[1]))

# %%
fig, ax = plt.subplots(figsize=plots.WIDE)
ax.barh(list(damage), [max(value, 1e-8) for value in damage.values()],
        color=[plots.GREEN] + [plots.ORANGE] * (len(damage) - 1))
for i, value in enumerate(damage.values()):
    ax.text(value * 1.2, i, f"{value:.0e}", va="center", fontsize=9)
ax.axvline(1e-5, color=plots.BLACK, linestyle="--", linewidth=1)
ax.text(1.1e-5, -0.75, "what the tests allow", fontsize=9)
ax.set(xscale="log", xlim=(1e-8, 20),
       xlabel="largest difference, as a share of the largest value")
ax.invert_yaxis()
plots.show(fig)
assert damage["none"] < 1e-5 and list(damage)[0] == "none"

# %% [markdown] alt
# Bars on a logarithmic scale: the right reading differs from diffusers by about 1e-6; wrong epsilons and an approximate
# GELU by 1e-5 to 1e-4; wrong heads, swapped gates and swapped cosines by 4 to 20 percent.

# %% [markdown]
# None of them raises an error: every shape fits. An epsilon is tiny beside the variance that it is added to; a swap
# hands a layer the wrong numbers altogether. You would notice the large mistakes in a picture. The small ones would
# only make all your pictures slightly different from everybody else's, for ever. So the package's parity tests ask for
# 1e-5 of the largest value, just below the smallest mistake here. (In another random network the order may differ.)
#
# ## How the real files are mapped
#
# The names do not depend on the widths. So we can take Stable Diffusion's *real* structure, on the meta device, and try
# the table on every key in its file.

# %%
with torch.device("meta"):
    real_unet = diffusers.UNet2DConditionModel(**STRUCTURE)
    real_vae = diffusers.AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, latent_channels=4)

for theirs_real, ours_real, rules in ((real_unet, networks["SD 1"][0], DIFFUSERS_UNET),
                                      (real_vae, networks["SD 1"][1], DIFFUSERS_VAE)):
    mapped = {rename(key, rules): tensor.numel()
              for key, tensor in theirs_real.state_dict().items()}
    here = {name: tensor.numel() for name, tensor in ours_real.state_dict().items()}
    assert mapped == here
    print(f"{type(theirs_real).__name__}: {len(mapped)} tensors, "
          f"{sum(mapped.values()):,} weights, "
          f"{len(rules)} rules: each tensor has its place, none is left over")

# %%
used = {f"{old}  →  {new}": 0 for old, new in DIFFUSERS_UNET}
for key in real_unet.state_dict():
    for rule, (old, new) in zip(used, DIFFUSERS_UNET):
        renamed = rename(key, [(old, new)])
        used[rule] += renamed != key
        key = renamed

fig, ax = plt.subplots(figsize=(9, 5.2))
ax.barh(list(used), list(used.values()), color=plots.BLUE)
for i, number in enumerate(used.values()):
    ax.text(number + 4, i, str(number), va="center", fontsize=8)
ax.tick_params(axis="y", labelsize=8)
ax.invert_yaxis()
ax.set(
    xlabel="names that the rule changes",
    title=f"The {len(used)} rules on Stable Diffusion 1's "
    f"{len(real_unet.state_dict())} U-Net tensors",
)
plots.show(fig)

# %% [markdown] alt
# A bar for each rename rule: how many of the U-Net's 686 names it changes. The most used is the one for transformer
# blocks; add_embedding, which only XL has, changes none.

# %% [markdown]
# The rule that changes nothing here is for XL. The same weights also circulate as *single files*, with the names of
# CompVis, the original code. There, the blocks of
# the way down are numbered consecutively, `input_blocks.0 … 11`, including the first convolution and the downsamplings,
# so the rules depend on the configuration. One weight, three names:

# %% tags=["nbval-check-output"]
name = "down.1.transformers.0.blocks.0.cross_attention.to_k.weight"
print("here:      ", name)
print("diffusers: ", rename(name, weights.reverse(DIFFUSERS_UNET)))
print("CompVis:   ", next(
    key for key in (f"input_blocks.{i}.1.transformer_blocks.0.attn2.to_k.weight"
                    for i in range(12))
    if rename(key, compvis_file.unet_table(versions.SD1.unet)) == name))

# %% [markdown]
# Real files hold three more traps, each handled by a line in `tinyldm/formats/`:
#
# - the VAE's attention was called `query`, `key`, `value` in older folders, and still is in those of version 1;
# - 1 × 1 convolutions and linear layers hold the same numbers in different shapes: (C, C, 1, 1) and (C, C);
# - the decoder's levels count from full resolution in CompVis and from the lowest in diffusers. A wrong order does
#   not always raise an error: some shapes agree.

# %% [markdown]
# ## The whole pipeline, side by side
#
# Parts that agree could still be wired differently: timesteps, guidance, scale, rounding. So let diffusers build a
# whole pipeline (text encoder, U-Net, VAE, scheduler; random weights), write it to a folder, and open that folder here
# with one line.

# %%
merges = learn_merges(["a", "red", "astronaut", "riding", "horse", "on", "the", "moon"])
words = transformers.CLIPTokenizer(vocab=vocabulary(merges), merges=merges,
                                   model_max_length=77)
text = perturb(transformers.CLIPTextModel(transformers.CLIPTextConfig(
    vocab_size=len(words), hidden_size=64, intermediate_size=128, num_hidden_layers=3,
    num_attention_heads=4,
    max_position_embeddings=77, hidden_act="quick_gelu",
    bos_token_id=words.bos_token_id,
    eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id)))
vae = perturb(diffusers.AutoencoderKL(
    block_out_channels=(32, 32, 64, 64), down_block_types=("DownEncoderBlock2D",) * 4,
    norm_num_groups=8,
    up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, latent_channels=4,
    scaling_factor=0.18215))
scheduler = diffusers.DDIMScheduler(      # scheduler_config.json of Stable Diffusion 1
    beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
    clip_sample=False, set_alpha_to_one=False,
    steps_offset=1, timestep_spacing="leading")
pipe = diffusers.StableDiffusionPipeline(
    unet=theirs, vae=vae, text_encoder=text, tokenizer=words, scheduler=scheduler,
    safety_checker=None, feature_extractor=None, requires_safety_checker=False)
pipe.set_progress_bar_config(disable=True)

with tempfile.TemporaryDirectory() as folder:
    pipe.save_pretrained(folder)         # diffusers writes …
    # … and tinyldm opens it
    model = LatentDiffusion.from_pretrained(folder, device=DEVICE)

# %% [markdown]
# Both get the same noise. We keep the latent after each of 20 guided steps, and do so once more with a detail misread,
# an approximate GELU.
#
# > **Predict.** Each step rounds. After 20 steps, is the difference of the two libraries twenty times that of the first
# > step, larger still, or no larger? And that of the misread detail?

# %%
noise = torch.randn(2, 4, 16, 16, generator=seed).to(DEVICE)
captions = ["a red astronaut riding a horse", "the moon"]
in_diffusers, in_tinyldm, approximate = [], [], []     # the latent after each step


def note(pipe, step, t, tensors):
    in_diffusers.append(tensors["latents"])
    return tensors


def generate(latents):
    """Our pictures; the latent of each step is appended to `latents`."""
    return model.generate(captions, noise=noise, steps=20, guidance_scale=7.5,
                          callback=lambda step, z, z0_hat: latents.append(z))


other = pipe(captions, latents=noise, num_inference_steps=20, guidance_scale=7.5,
             height=128, width=128, output_type="pt", callback_on_step_end=note).images
mine = generate(in_tinyldm)
with mock.patch.object(F, "gelu", lambda x: exact_gelu(x, approximate="tanh")):
    rough = generate(approximate)

fig = plots.image_grid([*mine, *other.to(mine)], columns=2, size=1.5,
                       rows=["tinyldm", "diffusers"])
plots.show(fig)

# %% [markdown] alt
# Two pictures by tinyldm, and below the same two by diffusers: coloured texture without any shape.

# %% [markdown]
# Coloured texture: the weights are random, so no part can hide a mistake behind a pretty picture. By eye both are the
# same. In numbers:

# %%
def apart(ours):
    """After each step: the largest difference from diffusers' latent, as a share of the
    largest value."""
    return [((a - b.to(a)).abs().max() / b.abs().max()).item()
            for a, b in zip(ours, in_diffusers)]


fig, ax = plt.subplots(figsize=plots.WIDE)
ax.semilogy(range(1, 21), apart(in_tinyldm), "o-", color=plots.GREEN,
            label="tinyldm and diffusers")
ax.semilogy(range(1, 21), apart(approximate), "s--", color=plots.ORANGE,
            label="the same with an approximate GELU")
ax.set(xlabel="sampler step", ylabel="largest difference / largest value",
       xticks=range(2, 21, 2), title="How far apart the two latents are")
ax.legend()
plots.show(fig)


def levels_apart(images):
    """The largest difference of a pixel, in levels of 255."""
    return 255 * (images - other.to(images)).abs().max().item()


assert levels_apart(mine) < 1
print(f"After the decoder a pixel differs by {levels_apart(mine):.4f} of 255 levels at "
      f"most;\nwith the approximate GELU, by {levels_apart(rough):.4f}.")

# %% [markdown] alt
# The largest difference between the latents of the two libraries over 20 guided steps, on a logarithmic scale: from
# {apart(in_tinyldm)[0]:.0e} to {apart(in_tinyldm)[-1]:.0e}. A second curve, with an approximate GELU in tinyldm, lies
# far above it: from {apart(approximate)[0]:.0e} to {apart(approximate)[-1]:.0e}.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# No larger: the rounding of float32 stays at a millionth over all steps. The misread detail shows from the first step
# on, ten times above it, and grows no further after the third; yet it is far below one level of a picture file.
# </details>
#
# The test suite does this for versions 1, 2, 2 with velocity and XL, all samplers, image to image and inpainting
# (`tests/parity/`).

# %% [markdown]
# ## Run the real one, if you have it
#
# Stable Diffusion's files are several gigabytes, come with their own licence, and are not part of this course. If you
# have such a folder, name it in the environment variable `TINYLDM_SD_FOLDER`; the cell below then makes a picture.

# %%
folder = os.environ.get("TINYLDM_SD_FOLDER")
if folder is None:
    print("TINYLDM_SD_FOLDER names no folder, so there is no picture to show. To get "
          "one:\n"
          "  hf download OWNER/NAME --local-dir FOLDER     # a Stable Diffusion 1, 2 "
          "or XL model on the hub\n"
          "  TINYLDM_SD_FOLDER=FOLDER jupyter lab")
else:
    half = torch.float16 if DEVICE.type == "cuda" else torch.float32
    real = LatentDiffusion.from_pretrained(folder, device=DEVICE, dtype=half)
    picture = real.generate(["a photograph of a lighthouse on a cliff at dawn"],
                            steps=25, guidance_scale=7.5,
                            generator=torch.Generator().manual_seed(0))
    fig, ax = plt.subplots(figsize=(4.6, 4.6))
    plots.plot_image(ax,
                     torch.nn.functional.interpolate(picture, (384, 384),
                                                     mode="area")[0], Path(folder).name)
    plots.show(fig)

# %% [markdown]
# What it takes: memory for the weights (left), and time. Time grows with the numbers that the U-Net reads, those of the
# latent; the image, for comparison, has 48 times as many (right).

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=plots.WIDE)
# versions.py
TEXT = {"tiny": None, "SD 1": 123_060_480, "SD 2": 340_387_840,
        "XL": 123_060_480 + 694_659_840}
names = [name for name in NAMED if TEXT[name]]
for shift, size, colour, label in ((-0.2, 4, plots.SKY, "float32"),
                                   (0.2, 2, plots.BLUE, "float16")):
    gigabytes = [size * (count(networks[n][0]) + count(networks[n][1]) + TEXT[n]) / 1e9
                 for n in names]
    left.bar([i + shift for i in range(len(names))], gigabytes, 0.4, color=colour,
             label=label)
    for i, value in enumerate(gigabytes):
        left.text(i + shift, value + 0.1, f"{value:.1f}", ha="center", fontsize=9)
left.set_xticks(range(len(names)), names)
left.set(ylabel="gigabytes of weights", title="U-Net + VAE + text encoders")
left.legend()
sides = {"tiny": 64, "SD 1, 2": 512, "SD 2-v": 768, "XL": 1024}
for shift, colour, label, numbers in ((-0.2, plots.GOLD, "image",
                                       lambda side: 3 * side**2),
                                      (0.2, plots.ORANGE, "latent",
                                       lambda side: 4 * (side // 8) ** 2)):
    right.bar([i + shift for i in range(len(sides))],
              [numbers(side) for side in sides.values()], 0.4, color=colour,
              label=label)
right.set_xticks(range(len(sides)), list(sides))
right.set(yscale="log", ylabel="numbers (logarithmic)", ylim=(100, 3e7),
          title="Numbers in an image and in its latent")
right.legend(ncols=2)
plots.show(fig)

# %% [markdown] alt
# Left: gigabytes of weights in float32 and float16: Stable Diffusion 1 needs 4.3 and 2.1, 2 needs 5.2 and 2.6, XL 13.9
# and 6.9. Right: the latent holds a forty-eighth of the image's numbers, at every size.

# %% [markdown]
# On two CPU cores, one call of Stable Diffusion 1's U-Net with one latent took 5.6 seconds in float32 and 3.0 in
# bfloat16 (`benchmarks/README.md`). A picture with 25 guided steps takes 25 calls with two latents each: a few minutes,
# on a laptop, with the classes that you built.
#
# ## What version 2 changed
#
# The same U-Net with other numbers. A configuration is a frozen dataclass, so the difference is a loop:

# %% tags=["nbval-check-output"]
# these follow from the width, or belong to a part that the model does not use
MINOR = ("intermediate_size", "num_attention_heads", "projection_dim")


def differences(old, new):
    """The fields in which two configurations differ, without the minor ones."""
    pairs = ((field.name, getattr(old, field.name), getattr(new, field.name))
             for field in dataclasses.fields(old) if field.name not in MINOR)
    return {name: (a, b) for name, a, b in pairs if a != b}


for title, old, new in (("1 → 2-base", versions.SD1, versions.SD2),
                        ("2-base → 2 at 768 pixels", versions.SD2, versions.SD2_V)):
    print(title)
    for name, (a, b) in differences(old.unet, new.unet).items():
        print(f"  U-Net {name}: {a} → {b}")
    for name, (a, b) in differences(old.text[0], new.text[0]).items():
        print(f"  text encoder {name}: {a} → {b}")
    for what, a, b in (("image size", old.image_size, new.image_size),
                       ("prediction", old.prediction.name, new.prediction.name)):
        print(f"  {what}: {a} → {b}" if a != b else f"  {what}: {a}, as before")

# %% [markdown]
# Heads of equal width (64 numbers) instead of equal number; another, wider text encoder (23 of its 24 layers) with the
# exact GELU, which pads captions with token 0. At 768 pixels, attention is computed in float32 (`upcast_attention`),
# and the network predicts the *velocity* (Salimans & Ho 2022) instead of the noise, as the tiny model does:
#
# $$ v = \sqrt{\bar\alpha_t}\,\epsilon - \sqrt{1-\bar\alpha_t}\,z_0. $$
#
# Think of an angle $\varphi$ with $\cos\varphi = \sqrt{\bar\alpha_t}$. Then $z_t = \cos\varphi\, z_0 +
# \sin\varphi\,\epsilon$ walks on a circle from picture to noise, and $v$ is the direction in which it walks: its
# derivative with respect to $\varphi$.
#
# > **Predict.** At the very end, $\varphi = 90°$: what is $v$? And what would `eps` tell you there that $z_t$ does not
# > tell you?

# %%
alpha_bar = versions.SD1.schedule().alpha_bar


def plot_circle(ax, t):
    signal, noise = alpha_bar[t].sqrt().item(), (1 - alpha_bar[t]).sqrt().item()
    turn = torch.linspace(0, torch.pi / 2, 60)
    ax.plot(turn.cos(), turn.sin(), color=plots.GREY, linewidth=1)
    for tip, place, colour, name in (((1, 0), (1, -0.2), plots.BLUE, "$z_0$"),
                                     ((0, 1), (-0.2, 0.5), plots.ORANGE, "$\\epsilon$"),
                                     ((signal, noise), (signal + 0.05, noise + 0.08),
                                      plots.BLACK, "$z_t$")):
        ax.annotate("", tip, (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour})
        ax.text(*place, name, color=colour, fontsize=11)
    ax.annotate("", (signal - 0.6 * noise, noise + 0.6 * signal), (signal, noise),
                arrowprops={"arrowstyle": "-|>", "color": plots.GREEN})
    ax.text(signal - 0.6 * noise - 0.12, noise + 0.6 * signal + 0.05, "$v$",
            color=plots.GREEN, fontsize=11)
    ax.set(xlim=(-0.85, 1.3), ylim=(-0.25, 1.45), aspect="equal")
    ax.set_title(f"t = {t}", fontsize=9)
    plots.hide_axes(ax)


widgets.dial(plot_circle, {"t": range(0, 1000, 3)},
             strip=[{"t": t} for t in (0, 300, 600, 999)], size=(2.2, 2.2))

z0, eps = torch.randn(2, 4, 4, 8, 8, generator=seed)
a = 0.3
z_t, v = a**0.5 * z0 + (1 - a) ** 0.5 * eps, a**0.5 * eps - (1 - a) ** 0.5 * z0
print(confirm_equal(a**0.5 * v + (1 - a) ** 0.5 * z_t, VELOCITY.to_eps(v, z_t, a)))

# %% [markdown] alt
# A quarter of a circle from the clean latent, to the right, to the noise, upwards. z_t moves along it as t grows; the
# velocity is the tangent arrow: at first it points towards the noise, at the end away from the clean latent.

# %% [markdown]
# At the end $v = -z_0$: the network must say what the *picture* is, while `eps` is $z_t$ itself and tells nothing new.
# At the beginning $v$ is the noise. So predicting the velocity is never trivial, and together with $z_t$ it gives `eps`
# and `z0` by a rotation, without a division that explodes.
#
# The weights do not reveal which of the two they predict: the same shapes, the same names. The scheduler's
# configuration does (`prediction_type`). Further down you will misread it, on purpose.
#
# ## What XL changed
#
# Three levels instead of four, more attention, two text encoders with their vectors side by side (768 + 1,280 = 2,048
# numbers), and four times the pixels.

# %%
fig, ax = plt.subplots(figsize=(8.4, 3.2))
for row, version in enumerate(NAMED.values()):
    depths = [*version.unet.transformer_depth,
              *[None] * (4 - len(version.unet.channels)), version.unet.middle_depth]
    for column, depth in enumerate(depths):
        if depth is None:
            continue
        ax.scatter(column, row, s=190 + 110 * depth,
                   color=plots.BLUE if depth else "white", edgecolor=plots.BLUE)
        ax.text(column, row, str(depth), ha="center", va="center",
                color="white" if depth else plots.BLUE, fontsize=9)
ax.set_xticks(range(5), ["level 0\n(full size)", "level 1", "level 2", "level 3",
                         "middle"])
ax.set_yticks(range(len(NAMED)), list(NAMED))
ax.set(xlim=(-0.5, 4.5), ylim=(len(NAMED) - 0.4, -0.7),
       title="Transformer blocks in each SpatialTransformer")
plots.show(fig)

# %% [markdown] alt
# Depth of the transformers: tiny 1, 1 and 1 in the middle; Stable Diffusion 1 and 2: 1, 1, 1, 0 and 1; XL: 0, 2, 10 and
# 10 in the middle, with no fourth level.

# %% [markdown]
# XL uses attention where it is cheap: none at full size, where a 128 × 128 latent would mean 16,384 queries, and ten
# blocks deep at the lowest level. And it is *told* more (Podell et al. 2023): in addition to the context, a vector is
# added to the time embedding. It is made of the pooled caption (one vector of 1,280 numbers for all of it) and six
# sizes: the original's height and width, how much was cropped at the top and on the left, the target's height and
# width. The sizes become sinusoids, as `t` does, 256 numbers for each.

# %%
def sinusoids(values, dim=256):
    """(N,) -> (N, dim), cosines first: the time embedding of lesson 06."""
    share = torch.arange(dim // 2) / (dim // 2)
    frequency = torch.exp(-math.log(10_000) * share)
    angle = values.float()[:, None] * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def added_vector(pooled, sizes):
    """XL's vector: pooled caption (B, 1280) and six sizes (B, 6) -> (B, 2816)."""
    return torch.cat([pooled, sinusoids(sizes.flatten()).reshape(len(sizes), -1)],
                     dim=1)


pooled, sizes = (
    torch.randn(3, 1280, generator=seed),
    torch.randint(0, 1025, (3, 6), generator=seed),
)
print(confirm_equal(added_vector(pooled, sizes), size_embedding(pooled, sizes)))
assert added_vector(pooled, sizes).shape[1] == versions.SDXL.unet.added_dim == 2816
assert versions.SDXL.unet.context_dim == 768 + 1280  # two text encoders, side by side

# %% [markdown]
# Why tell a network the size of the *original*? Because small originals were enlarged for training, and look soft. An
# uninformed model learns to make soft pictures now and then. If it is told the size, it learns what makes a picture
# soft; and when sampling, you ask for a large original.
#
# ## Your tiny model in diffusers
#
# It works in the other direction too. The model that this repository trained is saved in the same folder layout, and
# `diffusers`, which knows nothing about this course, opens it.

# %%
def side_by_side(mine, other, titles):
    """Pictures of both and 255 times their difference, one row per caption. Returns the
    figure, and the largest difference in levels of 255."""
    difference = (mine - other.to(mine)).abs()
    tiles = [tile for i in range(len(mine))
             for tile in (mine[i], other[i], (difference[i] * 255).clamp(0, 1))]
    return plots.image_grid(tiles, ["tinyldm", "diffusers", "difference × 255"],
                            columns=3, rows=titles,
                            size=1.7), difference.max().item() * 255


tiny = LatentDiffusion.from_pretrained("tiny", device=DEVICE)
with tempfile.TemporaryDirectory() as folder:
    tiny.save_pretrained(Path(folder) / "mine")
    opened = diffusers.StableDiffusionPipeline.from_pretrained(Path(folder) / "mine")
opened.to(DEVICE).set_progress_bar_config(disable=True)

captions = ["a large red circle on a white background",
            "a large blue star above a large yellow square"]
noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)).to(DEVICE)
here = tiny.generate(captions, noise=noise, steps=25, guidance_scale=4.0)
there = opened(captions, latents=noise, num_inference_steps=25, guidance_scale=4.0,
               output_type="pt").images

fig, levels = side_by_side(here, there, ["red circle", "blue star,\nyellow square"])
assert levels < 1
plots.show(fig)
print(f"opened as {type(opened).__name__}; no pixel differs by more than "
      f"{levels:.4f} of 255 levels")

# %% [markdown] alt
# Two captions, each generated by the tiny model in tinyldm and in diffusers: a red circle, and a blue star above a
# yellow square. The difference times 255 is black: the same pictures.

# %% [markdown]
# So whatever runs on `diffusers` (a web interface, say, or a script of your own) can use what you train here.
#
# ## Break it on purpose
#
# Above, you misread details of the U-Net. Now misread the pipeline's. The tiny model predicts the velocity: tell the
# sampler that it predicts noise. And, separately: a VAE has its own scale; the tiny one's is 0.999. Replace it by
# Stable Diffusion's 0.18215, as happens when a configuration is copied.
#
# > **Predict.** In one of the two the outlines stay clean, in the other they do not. In which?

# %%
right = tiny.schedule.prediction
tiny.schedule.prediction = EPS
as_noise = tiny.generate(captions, noise=noise, steps=25, guidance_scale=4.0)
tiny.schedule.prediction = right

copied = dataclasses.replace(tiny.vae.config, scale=versions.SD1.vae.scale)
print(f"scale {tiny.vae.config.scale:.3f} -> {copied.scale}: "
      f"every latent {tiny.vae.config.scale / copied.scale:.1f} times too large for "
      f"the decoder")
with mock.patch.object(tiny.vae, "config", copied):
    badly_scaled = tiny.generate(captions, noise=noise, steps=25, guidance_scale=4.0)

fig = plots.image_grid([*here, *as_noise, *badly_scaled], columns=2, size=1.5,
                       rows=["right", "velocity\nread as noise",
                             "another\nVAE's scale"])
plots.show(fig)

# %% [markdown] alt
# Three rows of two pictures. Right: the red circle; the blue star above a yellow square. Velocity read as noise: dark,
# ragged shapes among blotches, the square orange. Another VAE's scale: clean outlines, but the colours are
# far too strong, the red and the blue nearly black, and the backgrounds washed out.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# With another scale. Every latent is too large by one factor, so the pattern is intact, and only what the decoder makes
# of it is overdone. Velocity read as noise gives each step a wrong direction: noise stays in the picture. Both mistakes
# are one entry in a configuration file.
# </details>

# %% [markdown]
# ## What the article says
#
# - *All of Stable Diffusion 1.1 to XL were instantiations of the LDM architecture.* True, and you have just seen it:
#   one class, four configurations. (Its opening says 1.1 to 2.1; the article contradicts itself.)
# - *Conditions enter by cross-attention.* Not only: XL's sizes and pooled caption are added to the time embedding,
#   and inpainting models have 9 input channels (latent, mask, masked picture).
# - *Text is encoded by CLIP ViT-L/14.* True of version 1. Version 2 uses OpenCLIP ViT-H, XL both ViT-L and OpenCLIP
#   bigG.
# - *The U-Net predicts noise.* Version 2 at 768 pixels predicts velocity.

# %% [markdown]
# ## Three quick questions
#
# **1.** Stable Diffusion 1's configuration says `attention_head_dim: 8`. How wide is a head in its first level?
#
# <details><summary>Answer</summary>
#
# 320 / 8 = 40. In these files the name is misleading: it is the *number* of heads. You saw above what the other reading
# costs.
# </details>
#
# **2.** Why does a checkpoint load without complaint into a network with the wrong epsilon?
#
# <details><summary>Answer</summary>
#
# Epsilon is not a weight, so it is not in the file. Names and shapes all fit. Only a comparison of outputs finds it.
# </details>
#
# **3.** Besides the U-Net, what must a folder hold so that the U-Net's output can be interpreted?
#
# <details><summary>Answer</summary>
#
# The scheduler's configuration: the noise schedule and `prediction_type`. (And, for decoding, the VAE's scale.)
# </details>

# %% [markdown]
# ## Exercises
#
# `../exercises/14_from_tiny_to_stable_diffusion.ipynb`: a rename table of your own, a strict load, a schedule from
# its file, and a number that does not mean what its name says.
#
# To try here: add a mistake to `misread`, such as `part.norm.eps = 1e-3`, or `part.heads = 1` in every "Attention".
# Where on the axis does it land? On a GPU: name a real folder, and time 25 steps in float32 and in float16.

# %% [markdown]
# ## What next
#
# Two libraries agree to a millionth. But are their pictures any *good*? Lesson 15 measures the tiny model: captions
# read back by a judge, combinations that it never saw, and whether it has merely memorised its pictures.
