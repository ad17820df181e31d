# %% [markdown]
# # Exercises 15: is it any good?
#
# Pictures are judged, counted and compared. You write the share of captions that come true, how sure that share is, and
# a distance between two sets of pictures.

# %%
import math

import torch

# %% [markdown] exercise="caption_accuracy"
# A judge looks at each picture and compares it with its caption, attribute by attribute: `{"shape": True, "colour":
# False}`. It judges only what the caption names, so not every verdict has the same attributes.
#
# Caption accuracy is the share of the pictures on which *nothing* is wrong. Where nothing was judged, `{}`, nothing is
# wrong: such a picture counts as right.

# %% solution="caption_accuracy"
def caption_accuracy(verdicts):
    """The share of pictures that show all of their caption.

    verdicts: a list of dictionaries, attribute -> True or False, one for each picture; some may be empty.  Returns a
    number in [0, 1].
    """
    ### BEGIN SOLUTION
    return sum(all(verdict.values()) for verdict in verdicts) / len(verdicts)
    ### END SOLUTION

# %% [markdown] exercise="wilson_interval"
# Of $n$ pictures a share $p$ is right. Between which ends does the model's *true* share lie, with 95 % confidence?
# Wilson (1927), $z = 1.96$:
#
# $$\frac{1}{1 + z^2/n}\left(p + \frac{z^2}{2n} \pm z\sqrt{\frac{p(1-p)}{n} + \frac{z^2}{4n^2}}\right)$$
#
# Some inputs make no sense: no pictures at all (`of` = 0), negative numbers, more right than there are. Raise a
# `ValueError` for them. None right, `right` = 0, is fine.

# %% solution="wilson_interval"
def wilson_interval(right, of):
    """The two ends (low, high) of the 95 % interval of a share.

    right, of: whole numbers, 0 ≤ right ≤ of, of ≥ 1.  Raises ValueError for others.
    """
    ### BEGIN SOLUTION
    if not 0 <= right <= of or of < 1:
        raise ValueError(f"a share needs 0 ≤ right ≤ of and of ≥ 1, got right = {right} and of = {of}")
    p, z = right / of, 1.96
    middle = (p + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z / (1 + z**2 / of) * math.sqrt(p * (1 - p) / of + z**2 / (4 * of**2))
    return max(0.0, middle - half), min(1.0, middle + half)      # but for rounding, they are anyway
    ### END SOLUTION

# %% [markdown] exercise="frechet"
# A network describes each picture by $D$ numbers, its features. Take the features of real and of made pictures each for
# a Gaussian, with mean $\mu$ and covariance $C$ (divided by $N - 1$). How far apart are the two (Heusel et al. 2017,
# eq. 6)?
#
# $$d^2 = \lVert\mu_1 - \mu_2\rVert^2 + \operatorname{tr}\!\left(C_1 + C_2 - 2\,(C_1 C_2)^{1/2}\right)$$
#
# The trace of a matrix's root is the sum of the roots of its eigenvalues.

# %% solution="frechet"
def frechet(features, others):
    """d² between two sets of features, each taken for a Gaussian.

    features: (N, D) float; others: (M, D) float; N, M > D.  Returns a number.
    """
    ### BEGIN SOLUTION
    a, b = features.double(), others.double()
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    values = torch.linalg.eigvals(cov_a @ cov_b).real.clamp(min=0)      # real and ≥ 0, but for rounding
    means = (a.mean(0) - b.mean(0)).square().sum()
    return (means + cov_a.trace() + cov_b.trace() - 2 * values.sqrt().sum()).item()
    ### END SOLUTION

# %% [markdown] exercise="low_end_of_100"
# **Predict**, before you compute: of a hundred pictures a model made a hundred right. Where is the *lower* end of
# Wilson's 95 % interval of its true share ($z = 1.96$)? Give a number between 0 and 1, to three decimals.
#
# **Then explain**, in two sentences of your own: two models have 100 of 100 and 97 of 100. What can you say? The check
# shows a model answer.

# %% solution="low_end_of_100"
### BEGIN SOLUTION
low_end_of_100 = 0.963
### END SOLUTION

# %% [markdown]
# *Your explanation:*

# %% [markdown]
# **All right?** `tinyldm evaluate` counts like this; see `tinyldm/evaluation/statistics.py`. Next: lesson 16,
# the clinic.
