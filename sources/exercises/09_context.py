# %% [markdown]
# # Exercises 09: words, pictures and labels as context
#
# The U-Net reads a sequence of vectors. Where do they come from? You bring captions to one length, keep words from
# seeing the next, find the vector that stands for a whole caption, write the loss that brings pictures and captions
# together, and make a label into a context.

# %%
import torch
import torch.nn.functional as F

# %% [markdown] exercise="pad_tokens"
# A tokenizer has cut captions into word pieces, each a number. A text encoder wants rows of one length: `start`, the
# pieces, `end`, then `pad` as often as needed. Of a caption that is too long, only the first pieces are kept; `start`
# and `end` are never lost.

# %% solution="pad_tokens"
def pad_tokens(pieces, length, start, end, pad):
    """Captions as rows of one length.

    pieces: a list of B lists of ints, each of any length, also 0; length: an int; start, end, pad: ints, the tokens to
    add.  Returns (B, length) int64.
    """
    ### BEGIN SOLUTION
    rows = [[start, *piece[:length - 2], end] for piece in pieces]
    return torch.tensor([row + [pad] * (length - len(row)) for row in rows])
    ### END SOLUTION

# %% [markdown] exercise="causal_attention"
# CLIP's text transformer reads from left to right: position $i$ attends to positions $0 \dots i$, itself included, and
# to nothing after it. Write attention, $\operatorname{softmax}(q k^\top / \sqrt d)\, v$, with that mask.

# %% solution="causal_attention"
def causal_attention(q, k, v):
    """Attention in which no position sees a later one.  q, k, v: (B, L, d).  Returns (B, L, d)."""
    ### BEGIN SOLUTION
    L, d = q.shape[1:]
    scores = q @ k.transpose(1, 2) / d**0.5  # (B, L, L)
    future = torch.ones(L, L, dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(future, float("-inf")).softmax(dim=-1) @ v
    ### END SOLUTION

# %% [markdown] exercise="end_token_vector"
# The encoder gives one vector for each token. To compare a caption with a picture, CLIP needs one for the whole: it
# takes that of the end token, the **first** one in the row. (Stable Diffusion 1 pads with more end tokens.)

# %% solution="end_token_vector"
def end_token_vector(hidden, tokens, end):
    """The vector at each caption's first end token.

    hidden: (B, L, D); tokens: (B, L) int64, at least one end token in each row; end: an int.  Returns (B, D).
    """
    ### BEGIN SOLUTION
    place = (tokens == end).int().argmax(dim=1)  # the first of the largest: (B,)
    return hidden[torch.arange(len(hidden), device=hidden.device), place]
    ### END SOLUTION

# %% [markdown] exercise="contrastive_loss"
# $B$ pictures, $B$ captions, number $i$ belongs to number $i$. With all vectors scaled to length 1, the logits are
#
# $$\ell_{ij} = \text{scale} \cdot \text{image}_i \cdot \text{text}_j$$
#
# Row $i$ is a question with $B$ answers: which caption belongs to picture $i$? Its loss is the cross-entropy; column
# $j$ asks the same of caption $j$. Return the mean of both, each averaged over the batch (Radford et al. 2021, fig. 3).

# %% solution="contrastive_loss"
def contrastive_loss(image, text, scale):
    """CLIP's loss.  image, text: (B, D), not yet of length 1; scale: a number above 0.  Returns a scalar."""
    ### BEGIN SOLUTION
    logits = scale * F.normalize(image, dim=1) @ F.normalize(text, dim=1).T  # (B, B)
    labels = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    ### END SOLUTION

# %% [markdown] exercise="class_context"
# The simplest context: a class label picks a row of a table. The table has one row more than there are classes, the
# last: it stands for "no label". Where `drop` is True, give that row instead.

# %% solution="class_context"
def class_context(label, table, drop):
    """Labels as context.

    label: (B,) int64 in 0 … K-1; table: (K + 1, D), the last row for "no label"; drop: (B,) bool.  Returns (B, 1, D).
    """
    ### BEGIN SOLUTION
    row = torch.where(drop, len(table) - 1, label)
    return table[row][:, None]  # (B, D) -> (B, 1, D)
    ### END SOLUTION

# %% [markdown]
# **All right?** Then you have every part. Next: lesson 10, where they learn.
