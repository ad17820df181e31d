# %% [markdown]
# # Exercises 17: 1 % of the weights
#
# A LoRA is a pair of matrices for each layer. You count them, put them on, merge them, and get them out of a finetuned
# model. Then the loss with which DreamBooth keeps what a model knows.
#
# As everywhere in this course, a weight $W$ is (out, in), as in `nn.Linear`: $y = Wx$ is `x @ W.T` for rows of `x`.

# %%
import torch

# %% [markdown] exercise="lora_parameters"
# How large is the file? The change of a layer from `in` to `out` numbers is $\Delta W = \frac{\alpha}{r} B A$ with $A:
# r \times \text{in}$ and $B: \text{out} \times r$ (Hu et al. 2021, § 4.1). Count what is trained.

# %% solution="lora_parameters"

# %% [markdown] exercise="with_lora"
# While a LoRA is attached, $W$ stays as it is, and the change is computed beside it:
#
# $$ y = Wx + \frac{\alpha}{r}\, B A x $$

# %% solution="with_lora"

# %% [markdown] exercise="merged_weight"
# For use, the change is added to the weight once. A LoRA may be put on more weakly or more strongly than it was
# trained:
#
# $$ W' = W + w\,\frac{\alpha}{r}\, B A $$

# %% solution="merged_weight"

# %% [markdown] exercise="closest_low_rank"
# Somebody has finetuned all weights of a model. You have the model before and after, and want a LoRA of it: the matrix
# of rank $r$ that is closest to the change of a layer.
#
# Every matrix is a sum of matrices of rank 1, $\sum_i s_i\, u_i v_i^\top$, with $s_1 \ge s_2 \ge \dots$ (its singular
# value decomposition, `torch.linalg.svd`). The closest one of rank $r$ is the sum of the first $r$ (Eckart & Young
# 1936). A plain product $BA$ is asked for, with $\alpha = r$.

# %% solution="closest_low_rank"

# %% [markdown] exercise="prior_preservation_loss"
# A batch holds new pictures in its first half; in its second half are pictures that the model drew itself before
# training. DreamBooth's loss (Ruiz et al. 2023, eq. 2), with $\lambda$ as `weight`:
#
# $$ L = \operatorname{mean}\,(\hat\epsilon_\text{new} - \epsilon_\text{new})^2 + \lambda\,
# \operatorname{mean}\,(\hat\epsilon_\text{old} - \epsilon_\text{old})^2 $$

# %% solution="prior_preservation_loss"

# %% [markdown]
# **Done?** In lesson 17, `WithLoRA` is your second exercise, and `merge` your third. Next: lesson 18, a drawing that
# says where things go.
