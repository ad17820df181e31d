# %% [markdown]
# # Exercises 10: training
#
# Noise a latent, ask, compare, learn: that is all. Around it stand two habits: some captions are dropped, so that
# guidance works, and an average of the weights is kept. You write the three.

# %%
import torch

# %% [markdown] exercise="drop_captions"
# Guidance needs a network that also knows what to do *without* a caption (Ho & Salimans 2022). So in training some
# captions, each with the probability `share`, are replaced by the empty one, whose context is `null_context`.
#
# Chance is given: `chance` holds a uniform number from $[0, 1)$ for each caption. Drop where `chance < share`,
# strictly: a share of 0 drops none.

# %% solution="drop_captions"
def drop_captions(context, null_context, chance, share):
    """The context of the empty caption where a caption is dropped, else the caption's own.

    context: (B, L, D); null_context: (1, L, D); chance: (B,) in [0, 1); share: a number.  Returns (B, L, D).
    """
    ### BEGIN SOLUTION
    return torch.where((chance < share)[:, None, None], null_context, context)
    ### END SOLUTION

# %% [markdown] exercise="ema_update"
# Beside the weights $\theta$, training keeps their moving average $\bar\theta$. After step number $n = 0, 1, \dots$:
#
# $$\bar\theta \leftarrow d\,\bar\theta + (1 - d)\,\theta, \qquad
# d = \min\!\left(\text{decay},\ \frac{1 + n}{10 + n}\right)$$
#
# Both are dictionaries, name → tensor, like a `state_dict`: the same names, perhaps in another order. Return a new one;
# leave both as they are.

# %% solution="ema_update"
def ema_update(average, weights, decay, step):
    """The moving average after step number `step` (counted from 0).

    average, weights: dictionaries with the same names, name -> tensor; decay: such as 0.999.  Returns a new dictionary.
    """
    ### BEGIN SOLUTION
    d = min(decay, (1 + step) / (10 + step))
    return {name: d * average[name] + (1 - d) * weights[name] for name in average}
    ### END SOLUTION

# %% [markdown] exercise="train_steps"
# Now the loop (Ho et al. 2020, algorithm 1). Chance is given again: each batch is a tuple `(z0, context, t, eps)`. For
# each of them
#
# - noise $z_0$ to $t$ with $\varepsilon$, each item with its own $\bar\alpha_t$;
# - `model(z_t, t, context)` predicts the noise;
# - the loss is the mean squared difference between prediction and $\varepsilon$;
# - one step of plain gradient descent, `torch.optim.SGD`.
#
# Train the model that you are given, not a copy of it. Return the losses, each as it was before its step.

# %% solution="train_steps"
def train_steps(model, batches, alpha_bar, lr):
    """Train the model itself on each batch once, with SGD; return the losses, one number for each batch.

    model: an nn.Module, (z_t (B, D), t (B,), context (B, L, D_c)) -> predicted noise (B, D); batches: a list of tuples
    (z0 (B, D), context (B, L, D_c), t (B,) int64, eps (B, D)); alpha_bar: (T,); lr: the learning rate.
    """
    ### BEGIN SOLUTION
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    losses = []
    for z0, context, t, eps in batches:
        a = alpha_bar[t][:, None]      # (B, 1)
        z_t = a.sqrt() * z0 + (1 - a).sqrt() * eps
        loss = (model(z_t, t, context) - eps).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
    ### END SOLUTION

# %% [markdown] exercise="ema_memory"
# **Predict**, before you compute: an average with decay 0.9995 starts at the random weights, and its decay is 0.9995
# from the first step on (no smaller one early). What share of those random weights is left in it after 1000 steps, to
# two decimals?
#
# **Then explain**, in two sentences of your own: when does this do harm, and what does the formula of `ema_update` do
# about it? The check shows a model answer.

# %% solution="ema_memory"
### BEGIN SOLUTION
ema_memory = 0.61
### END SOLUTION

# %% [markdown]
# *Your explanation:*

# %% [markdown]
# **All right?** Next: lesson 11, where you train the shipped model further on something of your own.
