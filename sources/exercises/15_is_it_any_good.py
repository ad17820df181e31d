# %% [markdown]
# # Exercises 15: is it any good?
#
# Pictures are judged, counted and compared. You write the share of captions that come true, how certain that share
# is, and a distance between two sets of pictures.

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

# %% [markdown] exercise="wilson_interval"
# Of $n$ pictures a share $p$ is right. Between which limits does the model's *true* share lie, with 95 % confidence?
# Wilson (1927), $z = 1.96$:
#
# $$\frac{1}{1 + z^2/n}\left(p + \frac{z^2}{2n} \pm z\sqrt{\frac{p(1-p)}{n} + \frac{z^2}{4n^2}}\right)$$
#
# Some inputs are invalid: no pictures at all (`of` = 0), negative numbers, more right than there are. Raise a
# `ValueError` for them. None right, `right` = 0, is fine.

# %% solution="wilson_interval"

# %% [markdown] exercise="frechet"
# A network describes each picture by $D$ numbers, its features. Treat the features of real and of generated pictures
# each as a Gaussian, with mean $\mu$ and covariance $C$ (divided by $N - 1$). How far apart are the two (Heusel et
# al. 2017, eq. 6)?
#
# $$d^2 = \lVert\mu_1 - \mu_2\rVert^2 + \operatorname{tr}\!\left(C_1 + C_2 - 2\,(C_1 C_2)^{1/2}\right)$$
#
# The trace of a matrix's square root is the sum of the square roots of its eigenvalues.

# %% solution="frechet"

# %% [markdown] exercise="low_end_of_100"
# **Predict**, before you compute: a model got a hundred of a hundred pictures right. Where is the *lower* end of
# Wilson's 95 % interval of its true share ($z = 1.96$)? Give a number between 0 and 1, to three decimals.
#
# **Then explain**, in two sentences of your own: two models have 100 of 100 and 97 of 100. What can you say? The check
# shows a model answer.

# %% solution="low_end_of_100"

# %% [markdown]
# *Your explanation:*

# %% [markdown]
# **Done?** `tinyldm evaluate` counts like this; see `tinyldm/evaluation/statistics.py`. Next: lesson 16, the clinic.
