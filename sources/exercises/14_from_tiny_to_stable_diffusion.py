# %% [markdown]
# # Exercises 14: from tiny to Stable Diffusion
#
# The classes are the same at every size; what differs is what other people call things. You write a table of names, a
# load that hides no problems, and a schedule from its file.

# %%
import torch

# %% [markdown] exercise="package_key"
# diffusers names weights by their place, this package by what they do. Translate a name:
#
# | diffusers | here |
# |---|---|
# | `down_blocks.1.resnets.0.…`, `….attentions.0.…` | `down.1.resblocks.0.…`, `….transformers.0.…` |
# | `down_blocks.1.downsamplers.0.…` | `down.1.downsample.…` |
# | `up_blocks.…`, `….upsamplers.0.…` | `up.…`, `….upsample.…` |
# | `mid_block.resnets.0.…`, `mid_block.resnets.1.…` | `middle.resblock1.…`, `middle.resblock2.…` |
# | `mid_block.attentions.0.…` | `middle.transformer.…` |
# | `….transformer_blocks.0.…` | `….blocks.0.…` |
# | `….attn1.…`, `….attn2.…` | `….self_attention.…`, `….cross_attention.…` |
# | `….to_out.0.…` | `….to_out.…` |
# | `….conv_shortcut.…` | `….shortcut.…` |
#
# All else stays, such as `conv_norm_out`, `….time_emb_proj.…` and `….ff.net.…`: the package renames those, too
# (`tinyldm/formats/diffusers_unet.py`), but this table is enough to see how it works.

# %% solution="package_key"

# %% [markdown] exercise="load_problems"
# Before weights are loaded, say what does not fit. `state` is what the file holds, name → tensor; `wanted` what the
# model wants, name → shape. Return three sorted lists of names:
#
# - *missing*: the model wants it, the file lacks it;
# - *unknown*: the file has it, the model does not want it;
# - *misshapen*: in both, but of another shape.
#
# One other shape fits: a 1×1 convolution `(C_out, C_in, 1, 1)` in the *file* where the *model* wants a linear layer
# `(C_out, C_in)`. It holds the same numbers. Nothing else fits, not even the reverse; a 1 elsewhere is a size like
# any other.

# %% solution="load_problems"

# %% [markdown] exercise="betas_from_config"
# `scheduler_config.json` says which noise a network was trained with. Return its $\beta$: (T,), both ends included.
#
# - `"beta_schedule"`: `"linear"` is $\beta$ in equal steps, `"scaled_linear"` is $\sqrt\beta$ in equal steps. For any
#   other name raise a `ValueError`, also for those that diffusers knows, such as `"squaredcos_cap_v2"`: a guess would
#   give bad pictures and no error.
# - `"num_train_timesteps"` is T. `"beta_start"` may be absent, then it is 0.0001; so may `"beta_end"`, then it is 0.02.
# - Other entries do not matter here.

# %% solution="betas_from_config"

# %% [markdown] exercise="head_width"
# **Predict**: the file `unet/config.json` of Stable Diffusion 1 says `"attention_head_dim": 8`, and
# `"block_out_channels": [320, 640, 1280, 1280]`. How many numbers wide is one head at 1280 channels?
#
# **Then explain**, in two sentences of your own, what a program that believes the name would do, and why it would not
# stop with an error.

# %% solution="head_width"

# %% [markdown]
# *Your explanation:*

# %% [markdown]
# **Done?** `tinyldm/formats/` does these three for whole models. Next: lesson 15, is it any good?
