# %% [markdown]
# # Exercises 20: from U-Net to transformer
#
# A latent becomes a sequence and a latent again; six vectors set the norms of a block; pixels and words share one
# attention. With these four functions you have written most of Stable Diffusion 3's denoiser.

# %%
import torch
import torch.nn.functional as F

# %% [markdown] exercise="patchify"
# Cut a latent into patches of $p \times p$, row by row, each a vector of $p \cdot p \cdot C$ numbers (Peebles & Xie
# 2023, figure 4). For $p = 2$ and one channel:
#
# $$ \begin{pmatrix} 0 & 1 & 2 & 3 \\ 4 & 5 & 6 & 7 \end{pmatrix} \;\to\; (0, 1, 4, 5),\; (2, 3, 6, 7) $$
#
# Where $p$ does not divide the sides, raise a `ValueError`.

# %% solution="patchify"

# %% [markdown] exercise="unpatchify"
# And back: the network's answer is a sequence, the sampler needs a latent.

# %% solution="unpatchify"

# %% [markdown] exercise="adaln_zero"
# In a DiT block, time and condition set shift, scale and gate of both halves (Peebles & Xie 2023, figure 3). Six
# vectors come from one linear layer, which starts at zero. Attention and MLP are left out here, so that you see what is
# left:
#
# $$ x \leftarrow x + g_1 \cdot \big(\mathrm{LN}(x)(1 + s_1) + b_1\big), \qquad
# x \leftarrow x + g_2 \cdot \big(\mathrm{LN}(x)(1 + s_2) + b_2\big) $$

# %% solution="adaln_zero"

# %% [markdown] exercise="joint_attention"
# In MM-DiT each token, of a pixel or of a word, reads all tokens (Esser et al. 2024, figure 2):
#
# $$ \operatorname{softmax}\!\big(q k^\top / \sqrt d\big)\, v \quad \text{with} \quad q = [q_\text{pixels};
# q_\text{words}],\; k = [k_\text{pixels}; k_\text{words}],\; v = [v_\text{pixels}; v_\text{words}] $$

# %% solution="joint_attention"

# %% [markdown]
# **Done?** The package's versions are in `tinyldm/beyond/dit.py` and `mm_dit.py`. Next: lesson 21, pictures in four
# steps.
