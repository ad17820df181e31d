# %% [markdown]
# # Exercises 14: from tiny to Stable Diffusion
#
# The classes are the same at every size; what differs is what other people call things. You write a table of names, a
# load that hides nothing, and a schedule from its file.

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
# | `….transformer_blocks.0.attn1.to_out.0.…` | `….blocks.0.self_attention.to_out.…` |
# | `….transformer_blocks.0.attn2.…` | `….blocks.0.cross_attention.…` |
# | `….conv_shortcut.…` | `….shortcut.…` |
#
# All else stays, such as `conv_norm_out`, `….time_emb_proj.…` and `….ff.net.…`: the package renames those, too
# (`tinyldm/formats/diffusers_folder.py`), but this table is enough for the art.

# %% solution="package_key"
def package_key(key):
    """The name of a weight of diffusers' U-Net, translated as in the table above.  key: a string -> a string."""
    ### BEGIN SOLUTION
    table = [      # the special before the general
        ("mid_block.resnets.0", "middle.resblock1"), ("mid_block.attentions.0", "middle.transformer"),
        ("mid_block.resnets.1", "middle.resblock2"), ("down_blocks", "down"), ("up_blocks", "up"),
        ("downsamplers.0", "downsample"), ("upsamplers.0", "upsample"), ("resnets", "resblocks"),
        ("attentions", "transformers"), ("transformer_blocks", "blocks"), ("attn1", "self_attention"),
        ("attn2", "cross_attention"), ("to_out.0", "to_out"), ("conv_shortcut", "shortcut"),
    ]
    for old, new in table:
        key = key.replace(old, new)
    return key
    ### END SOLUTION

# %% [markdown] exercise="load_problems"
# Before weights are loaded, say what does not fit. `state` is what the file holds, name → tensor; `wanted` what the
# model wants, name → shape. Return three sorted lists of names:
#
# - *missing*: the model wants it, the file lacks it;
# - *unknown*: the file has it, the model does not want it;
# - *misshapen*: in both, but of another shape.
#
# One other shape fits: a 1×1 convolution `(C_out, C_in, 1, 1)` in the *file* where the *model* wants a linear layer
# `(C_out, C_in)`. It holds the same numbers. Nothing else fits, not the reverse either; a 1 elsewhere is a size like
# any other.

# %% solution="load_problems"
def load_problems(state, wanted):
    """(missing, unknown, misshapen): three sorted lists of names.

    state: name -> tensor; wanted: name -> shape, a tuple.
    """
    ### BEGIN SOLUTION
    misshapen = []
    for name in state.keys() & wanted.keys():
        shape, right = tuple(state[name].shape), tuple(wanted[name])
        if shape != right and not (len(right) == 2 and shape == (*right, 1, 1)):
            misshapen.append(name)
    return sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys()), sorted(misshapen)
    ### END SOLUTION

# %% [markdown] exercise="betas_from_config"
# `scheduler_config.json` tells which noise a network was trained with. Return its $\beta$: (T,), both ends included.
#
# - `"beta_schedule"`: `"linear"` is $\beta$ in equal steps, `"scaled_linear"` is $\sqrt\beta$ in equal steps. For any
#   other name raise a `ValueError`, also for one that diffusers knows, such as `"squaredcos_cap_v2"`: a guess would
#   give bad pictures and no error.
# - `"num_train_timesteps"` is T. `"beta_start"` may be absent, then it is 0.0001; so may `"beta_end"`, then it is 0.02.
# - Other entries do not matter here.

# %% solution="betas_from_config"
def betas_from_config(config):
    """β of a diffusers scheduler: (T,).

    config: a dictionary, as read from scheduler_config.json.  Raises ValueError for an unknown beta_schedule.
    """
    ### BEGIN SOLUTION
    T = config["num_train_timesteps"]
    start, end = config.get("beta_start", 0.0001), config.get("beta_end", 0.02)
    if config["beta_schedule"] == "linear":
        return torch.linspace(start, end, T)
    if config["beta_schedule"] == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, T) ** 2
    raise ValueError(f"beta_schedule is {config['beta_schedule']!r}; expected linear or scaled_linear")
    ### END SOLUTION

# %% [markdown] exercise="head_width"
# **Predict**: the file `unet/config.json` of Stable Diffusion 1 says `"attention_head_dim": 8`, and
# `"block_out_channels": [320, 640, 1280, 1280]`. How many numbers wide is one head at 1280 channels?
#
# **Then explain**, in two sentences of your own, what a program would do that believes the name, and why it would not
# stop with an error.

# %% solution="head_width"
### BEGIN SOLUTION
head_width = 160
### END SOLUTION

# %% [markdown]
# *Your explanation:*

# %% [markdown]
# **All right?** `tinyldm/formats/diffusers_folder.py` does these three for whole models. Next:
# lesson 15, is it any good?
