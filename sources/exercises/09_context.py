# %% [markdown]
# # Exercises 09: words, pictures and labels as context
#
# The U-Net reads a sequence of vectors. Where do they come from? You pad captions to one length, keep words from
# seeing later ones, find the vector that stands for a whole caption, write the loss that brings pictures and captions
# together, and turn a label into a context.

# %%
import torch
import torch.nn.functional as F

# %% [markdown] exercise="pad_tokens"
# A tokenizer has cut captions into word pieces, each a number. A text encoder needs rows of one length: `start`, the
# pieces, `end`, then `pad` as often as needed. If a caption is too long, only the first pieces are kept; `start` and
# `end` are never lost.

# %% solution="pad_tokens"

# %% [markdown] exercise="causal_attention"
# CLIP's text transformer reads from left to right: position $i$ attends to positions $0 \dots i$, itself included, and
# to nothing after it. Write attention, $\operatorname{softmax}(q k^\top / \sqrt d)\, v$, with that mask.

# %% solution="causal_attention"

# %% [markdown] exercise="end_token_vector"
# The encoder gives one vector for each token. To compare a caption with a picture, CLIP needs one for the whole: it
# takes that of the end token, the **first** one in the row. (Stable Diffusion 1 pads with more end tokens.)

# %% solution="end_token_vector"

# %% [markdown] exercise="contrastive_loss"
# $B$ pictures, $B$ captions, number $i$ belongs to number $i$. All vectors are scaled to length 1. With $s$
# (`scale`), the logits are
#
# $$\ell_{ij} = s \; \mathrm{image}_i \cdot \mathrm{text}_j$$
#
# Row $i$ is a question with $B$ answers: which caption belongs to picture $i$? Its loss is the cross-entropy; column
# $j$ asks the same of caption $j$. Return the mean of both, each averaged over the batch (Radford et al. 2021, fig. 3).

# %% solution="contrastive_loss"

# %% [markdown] exercise="class_context"
# The simplest context: a class label picks a row of a table. The table has one more row than there are classes; the
# last row stands for "no label". Where `drop` is True, give that row instead.

# %% solution="class_context"

# %% [markdown]
# **Done?** Then you have every part. Next: lesson 10, where they learn.
