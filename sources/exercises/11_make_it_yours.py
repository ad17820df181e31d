# %% [markdown]
# # Exercises 11: make it yours
#
# A trained model learns something new: a word, a style, your own pictures. The trick is to change what must change,
# and nothing else. Lesson 11 changes the whole U-Net a little, and keeps what it knows by rehearsal. Here are ways
# that change less: a row for a new word in the text encoder, a step that trains only that row (textual inversion),
# freezing all but a few layers; and the learning rate.

# %%
import math

import torch

# %% [markdown] exercise="with_new_word"
# Each word of the text encoder is a row of its embedding, (V, D). A new word needs a new row, number $V$; all others
# keep their numbers and their values. Start it at the mean of words that are like it: a new shape at the mean of some
# shapes.

# %% solution="with_new_word"

# %% [markdown] exercise="step_one_row"
# Only the new row should learn. One step of gradient descent with weight decay, as AdamW decays, is
#
# $$\theta \leftarrow \theta - \text{lr}\,(g + \text{decay}\cdot\theta), \qquad \text{decay} = \texttt{weight\_decay}$$
#
# Do it to one row $\theta$ of the embedding; the other rows stay as they are, to the last digit, however large their
# gradients are. This *is* the step: $g$ is known, and nobody asks for a gradient through it.

# %% solution="step_one_row"

# %% [markdown] exercise="train_only"
# Train only the parameters whose name *begins* with one of the prefixes; freeze all others. A prefix may end within a
# word: `"inner.weight"` begins with `"in"`.
#
# - `requires_grad` ends up True for what is trained and False for all else, whatever it was before.
# - Take one step of `torch.optim.SGD` on the loss `model(z_t, t, context).square().mean()`. The model changes in
#   place.
# - Return the names of the parameters that were trained, sorted.
#
# In a counter-example, `PartlyFrozen(width=1, words=4, seed=799, frozen=["outer.bias"])` is a small network from
# `tinyldm_course/checks/makers.py` with random weights: z_t is 1 wide, the context 4, and one parameter is frozen
# at first.

# %% solution="train_only"

# %% [markdown] exercise="learning_rate"
# The learning rate of step $n = 0, 1, \dots$: a linear warm-up, multiplied by half a cosine from 1 to 0 over all
# steps (Loshchilov & Hutter 2017, eq. 5, without restarts):
#
# $$\text{peak}\cdot\min\!\left(1, \frac{n + 1}{\text{warmup}}\right)\cdot
# \frac{1}{2}\left(1 + \cos\frac{\pi\, n}{\text{total}}\right)$$

# %% solution="learning_rate"

# %% [markdown]
# **Done?** Then teach the shipped model a word of your own, as lesson 11 does. Next: lesson 12, samplers and
# guidance.
