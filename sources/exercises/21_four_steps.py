# %% [markdown]
# # Exercises 21: four steps
#
# Progressive distillation in three functions: where two steps of the teacher lead, what the student must answer to get
# there in one, and guidance folded in. Then the loss of the other way, consistency.

# %%
import torch

# %% [markdown] exercise="two_steps"
# The teacher takes two steps of DDIM, from $\bar\alpha$ over $\bar\alpha'$ to $\bar\alpha''$, which the student has to
# match in one. Its noise predictions in the two steps are given. One step is
#
# $$ \hat z_0 = \frac{z - \sqrt{1-\bar\alpha}\,\hat\epsilon}{\sqrt{\bar\alpha}}, \qquad z' =
# \sqrt{\bar\alpha'}\,\hat z_0 + \sqrt{1-\bar\alpha'}\,\hat\epsilon $$

# %% solution="two_steps"

# %% [markdown] exercise="z0_that_leads_to"
# Which $\hat z_0$ must the student predict at $z$, so that *one* step of DDIM ends at `z_end` (Salimans & Ho 2022,
# appendix G)? The step keeps the noise that belongs to its $\hat z_0$.

# %% solution="z0_that_leads_to"

# %% [markdown] exercise="guided_loss"
# The first teacher is guided (Meng et al. 2023). Its student is asked once, with the caption, and has to give the
# guided answer: the mean squared difference from $\hat v_\varnothing + w\,(\hat v_c - \hat v_\varnothing)$. The teacher
# learns nothing.

# %% solution="guided_loss"

# %% [markdown] exercise="consistency_loss"
# A consistency model gives the same $\hat z_0$ along a whole path (Song et al. 2023). Its loss compares its own answers
# at two neighbouring points. The answer with less noise is the better one, and serves as the target.

# %% solution="consistency_loss"

# %% [markdown]
# **Done?** The package's version is `tinyldm/beyond/distillation.py`. You have reached the end of the course:
# `tinyldm progress` shows what is left.
