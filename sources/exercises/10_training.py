# %% [markdown]
# # Exercises 10: training
#
# Noise a latent, predict, compare, learn: that is all. Two habits surround it: some captions are dropped, so that
# guidance works, and an average of the weights is kept. You write all three.

# %%
import torch

# %% [markdown] exercise="drop_captions"
# Guidance needs a network that also knows what to do *without* a caption (Ho & Salimans 2022). So in training some
# captions, each with the probability `share`, are replaced by the empty one, whose context is `null_context`.
#
# The random numbers are given: `chance` holds a uniform number from $[0, 1)$ for each caption. Drop where `chance <
# share`, strictly: a share of 0 drops none.

# %% solution="drop_captions"

# %% [markdown] exercise="ema_update"
# Along with the weights $\theta$, training keeps their moving average $\bar\theta$. After step number $n = 0, 1,
# \dots$:
#
# $$\bar\theta \leftarrow d\,\bar\theta + (1 - d)\,\theta, \qquad
# d = \min\!\left(\text{decay},\ \frac{1 + n}{10 + n}\right)$$
#
# Both are dictionaries, name → tensor, like a `state_dict`: the same names, perhaps in another order. Return a new one;
# leave both as they are.

# %% solution="ema_update"

# %% [markdown] exercise="train_steps"
# Now the loop (Ho et al. 2020, algorithm 1). The random numbers are given again: each batch is a tuple `(z0, context,
# t, eps)`. For each of them
#
# - noise $z_0$ to $t$ with $\epsilon$, each item with its own $\bar\alpha_t$;
# - `model(z_t, t, context)` predicts the noise;
# - the loss is the mean squared difference between prediction and $\epsilon$;
# - one step of plain gradient descent, `torch.optim.SGD`.
#
# Train the model that you are given, not a copy of it. Return the losses, each as it was before its step.

# %% solution="train_steps"

# %% [markdown] exercise="ema_memory"
# **Predict**, before you compute: an average with decay 0.9995 starts at the random weights, and its decay is 0.9995
# from the first step on (no smaller one early). What share of those random weights is left in it after 1000 steps, to
# two decimals?
#
# **Then explain**, in two sentences of your own: when does this do harm, and what does the formula of `ema_update` do
# about it? The check shows a model answer.

# %% solution="ema_memory"

# %% [markdown]
# *Your explanation:*

# %% [markdown]
# **Done?** Next: lesson 11, where you train the shipped model further on something of your own.
