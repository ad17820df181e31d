# %% [markdown]
# # Exercises 19: straight lines
#
# The straight path from data to noise, what a network learns on it, and how one samples along it. Flow time $\tau$ is 0
# at the data and 1 at the noise, as in Stable Diffusion 3.

# %%
import torch

# %% [markdown] exercise="straight_path"
# A point on the line between a clean latent and its noise, and the direction in which it moves as $\tau$ grows:
#
# $$ z_\tau = (1 - \tau)\, z_0 + \tau\, \epsilon, \qquad u = \frac{\mathrm dz_\tau}{\mathrm d\tau} $$
#
# (Liu et al. 2023; Esser et al. 2024, eq. 13.) Each item of the batch has a $\tau$ of its own.

# %% solution="straight_path"

# %% [markdown] exercise="z0_from_flow"
# The network has predicted $u = \epsilon - z_0$ at $z_\tau$. Where on the line is the data? This is what a progress
# picture shows in the middle of sampling.

# %% solution="z0_from_flow"

# %% [markdown] exercise="flow_from_velocity"
# A network that predicts the velocity of diffusion is a flow network, too, in other coordinates. From
#
# $$ v = \sqrt{\bar\alpha}\,\epsilon - \sqrt{1-\bar\alpha}\,z_0, \qquad z_t = \sqrt{\bar\alpha}\,z_0 +
# \sqrt{1-\bar\alpha}\,\epsilon $$
#
# find $u = \epsilon - z_0$ (lesson 03 solved the two equations; Salimans & Ho 2022, appendix D).

# %% solution="flow_from_velocity"

# %% [markdown] exercise="shifted_times"
# Stable Diffusion 3 spends more steps where there is much noise, because a large picture shows its scene through more
# noise than a small one (Esser et al. 2024, eq. 23). Space the times evenly from 1 to 0, then shift them:
#
# $$ \tau' = \frac{s\,\tau}{1 + (s - 1)\,\tau} $$

# %% solution="shifted_times"

# %% [markdown] exercise="straightness"
# How far are the paths of a sampler from straight lines (Liu et al. 2023, § 2)?
#
# $$ S = \int_0^1 \mathbb E\, \Big\lVert (z_1 - z_0) - \frac{\mathrm dz_\tau}{\mathrm d\tau} \Big\rVert^2 \mathrm d\tau
# $$
#
# A solver has left its states and their times, which are not evenly spaced. Between two of them the path is straight.

# %% solution="straightness"

# %% [markdown]
# **Done?** The package's versions are in `tinyldm/beyond/flow_matching.py` and `tinyldm/history/notation.py`. Next:
# lesson 20, the transformer.
