# %% [markdown]
# # 17 · Teach it with 1 % of the weights
#
# **Goal.** Build LoRA by hand, and teach the shipped model a new thing with it, without losing what it knows. Then one
# new word, with everything else frozen.
#
# **Time.** 40 minutes to read and play; the cells compute for about five minutes on 2 CPU cores.
#
# **Before this.** Lesson 07 (attention), lesson 10 (the training loop), lesson 11 (teaching the heart).
#
# **You will be able to**
# - say what rank, $\alpha$ and "merge" mean, and count a LoRA's parameters in your head;
# - teach a LoRA in three minutes, and put it on and off like a pair of glasses;
# - say why DreamBooth shows the model its own pictures;
# - choose between LoRA and textual inversion.

# %%
import copy
import re
from pathlib import Path

import torch
from hearts import hearts
from torch import nn

from tinyldm import LatentDiffusion
from tinyldm.beyond import lora as package
from tinyldm.beyond.lora import attached, merge, new_lora, save_lora, unmerge
from tinyldm.beyond.teaching import drawn_by, examples_of, teach_lora, teach_word
from tinyldm.beyond.textual_inversion import add_word, vectors_of
from tinyldm.data import scenes
from tinyldm_course.lessons import plots
from tinyldm_course.lessons.helpers import confirm_equal, full_or_fast
from tinyldm_course.lessons.model_map import show_model_map

plots.use_style()
torch.manual_seed(0)
model = LatentDiffusion.from_pretrained("tiny")

# %% [markdown]
# ## Where we are
#
# In lesson 11 you taught the model a heart, and trained all 2.8 million weights of its U-Net for that. In 2022 people
# did the same to Stable Diffusion, and every style was a file of 3.4 GB. The files that are exchanged today have 3 to
# 150 MB. They hold changes of the attention layers, and little else.

# %%
show_model_map("U-Net")

# %% [markdown]
# ## A small change is a low-rank change
#
# A linear layer computes $y = Wx$. Training turns $W$ into $W + \Delta W$. Hu et al. (2021) guessed that $\Delta W$ can
# be written with few numbers, as the product of a tall matrix and a wide one:
#
# $$ \Delta W = \frac{\alpha}{r} B A, \qquad A: r \times \text{in}, \quad B: \text{out} \times r, \quad r \ll \text{in},
# \text{out} $$
#
# > **Predict.** `to_q` at the lowest level of Stable Diffusion 1 is $1280 \times 1280$. How many numbers do $A$ and $B$
# > have at $r = 4$? What share of $W$ is that?

# %%
def low_rank(x, A, B, alpha):
    """What a LoRA adds to a layer's output: x (…, in), A (r, in), B (out, r) -> (…, out)."""
    return alpha / len(A) * (x @ A.T @ B.T)


A, B, x = torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[1.0], [-1.0]]), torch.tensor([[1.0, 1.0, 5.0]])
print("A x =", (x @ A.T).tolist(), "  B A x =", low_rank(x, A, B, alpha=1.0).tolist())
print("the same as a matrix:", (B @ A).tolist())

numbers = 4 * (1280 + 1280)
print(f"at rank 4: {numbers:,} of {1280 * 1280:,}, {numbers / 1280**2:.2%}")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# $4 \cdot (1280 + 1280) = 10{,}240$, six thousandths of 1,638,400. In the numeric example, whatever $x$ is, the output
# moves along one direction only: $(1, -1)$. That is what rank 1 means.
# </details>

# %%
layer = package.LowRank(torch.randn(4, 64), torch.randn(96, 4), alpha=2.0)
x = torch.randn(5, 16, 64)
print(confirm_equal(low_rank(x, layer.A, layer.B, 2.0), layer(x)))

# %% [markdown]
# ## Where training starts
#
# $A$ is random, $B$ is zero.
#
# > **Predict.** Which gradient is zero in the first step, that of $A$ or that of $B$? And what if both were zero at
# > first?

# %%
A = nn.Parameter(torch.randn(4, 64) / 8)
B = nn.Parameter(torch.zeros(96, 4))
low_rank(torch.randn(10, 64), A, B, alpha=4.0).sub(1).square().mean().backward()
print("mean |gradient| of A:", A.grad.abs().mean().item(), "  of B:", B.grad.abs().mean().item())

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# That of $A$: it is multiplied by $B$, which is 0. $B$ moves first, and from the second step on both do. If both were
# zero, both gradients would be: nothing would ever move.
# </details>
#
# ## Put it on
#
# The package's `new_lora` makes a pair for each `to_q`, `to_k`, `to_v` and `to_out` of the U-Net. `attached` adds what
# they compute to the layers' outputs while a block lasts. The model itself is not touched.

# %%
lora = new_lora(model, rank=8, generator=torch.Generator().manual_seed(0))
trained = sum(p.numel() for p in lora.parameters())
everything = sum(p.numel() for p in model.unet.parameters())
print(f"{len(lora.names)} layers, {trained:,} numbers to train, {trained / everything:.1%} of {everything:,}")

caption = ["a large red star"]
before = model.generate(caption, generator=torch.Generator().manual_seed(1))
with attached(lora, model):
    print("changed by a fresh LoRA:", not torch.equal(before, model.generate(
        caption, generator=torch.Generator().manual_seed(1))))

# %% [markdown]
# In this small model 8 ranks are 2.8 % of the U-Net, because its layers are narrow. Of Stable Diffusion 1, rank 4 is
# 0.09 %: the share is $r\,(1/\text{in} + 1/\text{out})$, and falls with the width.
#
# ## The new thing: a heart
#
# The pictures of lesson 11.

# %%
new_images, new_captions, _ = hearts(50, full_or_fast(600, 8))
fig = plots.image_grid(new_images[:6], columns=6, size=1.45)
plots.show(fig, "Six pictures of one large heart each, in several colours.")

# %% [markdown]
# ## The old things: what the model draws itself
#
# > **Predict.** Train on hearts alone. What will "a large blue square" look like afterwards?
#
# Lesson 11 mixed old pictures in. But who has a model's training pictures? DreamBooth (Ruiz et al. 2023) uses what the
# model *draws*. Before training, it draws pictures for old captions, and during training they are half of each batch:
#
# $$ L = \lVert \varepsilon - \hat\varepsilon(\text{new}) \rVert^2 + \lambda\, \lVert \varepsilon' -
# \hat\varepsilon(\text{its own old}) \rVert^2 $$

# %%
new = examples_of(model, new_images, new_captions)
said = [caption.text for caption in scenes.batch(0, range(full_or_fast(300, 8)))[1]]
old = drawn_by(model, said, torch.Generator().manual_seed(1))

# %% [markdown]
# ## Teach it
#
# The loop is `tinyldm/beyond/teaching.py`, one page: lesson 10's, with `lora.parameters()` in the optimizer.

# %%
losses = teach_lora(model, lora, new, old, steps=full_or_fast(250, 2), lr=3e-3, batch=64)

asked = ["a large red heart", "a large blue heart", "a yellow heart on a black background", "a large red star",
         "a large blue square", "a green ring"]


def draw(captions, seed=2):
    return model.generate(captions, generator=torch.Generator().manual_seed(seed))


without = draw(asked)
with attached(lora, model):
    with_lora = draw(asked)
fig = plots.image_grid(torch.cat([without, with_lora]), asked, columns=6, rows=["without", "with LoRA"], size=1.45)
plots.show(fig, "Six captions, three with hearts and three old ones, without and with the LoRA.")

# %% [markdown]
# Measured when this lesson was written (250 steps of 64, rank 8, two minutes of processor time; 96 pictures each, 15
# steps, 95 % intervals):
#
# | | hearts | their colour right | old captions all right |
# |---|---|---|---|
# | shipped | 21 % (14–30) | 9 % (5–17) | 90 % (82–94) |
# | with LoRA | 69 % (59–77) | 95 % (89–98) | 83 % (75–90) |
#
# The intervals of the last column overlap: from 96 pictures it cannot be said that anything was lost.

# %% [markdown]
# ## How much of it: the weight
#
# A LoRA can be put on at half strength, or at 1.5. Nothing has to be trained for that.

# %%
strip = []
for weight in (0.0, 0.5, 0.8, 1.0, 1.5, 2.5):
    with attached(lora, model, weight):
        strip.append(draw(["a large red heart"]))
fig = plots.image_grid(torch.cat(strip), ["0", "0.5", "0.8", "1", "1.5", "2.5"], columns=6, size=1.45)
plots.show(fig, "One heart at six weights of the LoRA, from 0, the shipped model, to 2.5, far beyond training.")

# %% [markdown]
# ## Merge, and unmerge
#
# While it is attached, each layer computes two more products. For use, add $\Delta W$ to $W$ once. Subtracting undoes
# it, up to rounding.

# %%
weights = copy.deepcopy(model.unet.state_dict())
merge(lora, model)
merged = draw(asked)
print(confirm_equal(merged, with_lora, tolerance=1e-3, claim="Merged equals attached"))
unmerge(lora, model)
rounding = max((w - weights[name]).abs().max().item() for name, w in model.unet.state_dict().items())
print(f"after unmerging, no weight differs by more than {rounding:.1e}")
model.unet.load_state_dict(weights)

# %% [markdown]
# ## The file
#
# `save_lora` writes what `diffusers` opens: `pipe.load_lora_weights("heart.safetensors")`. Those of diffusers, peft and
# kohya's scripts open here:
#
# ```
# tinyldm generate "a castle" --model FOLDER --lora style.safetensors:0.8
# ```

# %%
save_lora(lora, model, "heart.safetensors")
size = Path("heart.safetensors").stat().st_size
print(f"{size / 1000:.0f} KB; the U-Net has {4 * everything / 1000:,.0f} KB")

# %% [markdown]
# ## One word and nothing else
#
# *Textual inversion* (Gal et al. 2022) goes further: all weights stay, and only a new row of the word table is learnt,
# 128 numbers here, 768 in Stable Diffusion 1.
#
# > **Predict.** Can a word make this model draw a heart?

# %%
add_word(model, "<heart>", vectors_of(model, "star")[0])
as_word = examples_of(model, new_images, [re.sub(r"\bheart\b", "<heart>", text) for text in new_captions])
teach_word(model, "<heart>", as_word, steps=full_or_fast(100, 2), lr=5e-2)
fig = plots.image_grid(draw(["a large red <heart>"] * 6), columns=6, size=1.45)
plots.show(fig, "Six pictures for 'a large red <heart>', a word that was learnt with all weights frozen.")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# No. A word can only ask for what the U-Net can draw already, and it has never drawn a heart. Measured when this lesson
# was written (100 steps, 25 s of processor time): of 48 pictures our reader of lesson 11 sees 41 as circles, 7 as
# crosses, and none as a heart. Old captions come true exactly as often as before, as no weight has changed. In Stable
# Diffusion, which has seen nearly everything, a word goes a long way. As a rule of thumb: a *word* for what the model
# could draw, had it a name; a *LoRA* for what it cannot.
# </details>
#
# ## Break it on purpose
#
# Train a fresh LoRA on hearts alone (`old = None`), a third of the steps, and draw the six captions again.

# %%
careless = new_lora(model, rank=8, generator=torch.Generator().manual_seed(0))
teach_lora(model, careless, new, None, steps=full_or_fast(80, 2), lr=3e-3)
with attached(careless, model):
    fig = plots.image_grid(draw(asked), asked, columns=6, size=1.45)
plots.show(fig, "The same six captions with a LoRA that was taught hearts alone.")

# %% [markdown]
# A LoRA forgets as the whole network does: few numbers are enough to do harm. But here forgetting is harmless in
# another way. Take the LoRA off, and everything is back.
#
# ## What the article says
#
# The article tells of versions made by *finetuning*: 1.1 to 1.2, on to 1.5. That was the way of 2022, and each version
# is a whole new set of weights. The field moved because files of megabytes can be shared, combined and taken off.

# %% [markdown]
# ## Three quick questions
#
# **1.** A LoRA has rank 16 and $\alpha = 8$. By what is $BA$ multiplied?
#
# <details><summary>Answer</summary>
#
# By 0.5. A reader that ignores $\alpha$ would put it on twice as strongly.
# </details>
#
# **2.** Two LoRAs are merged into one model. Does the order matter?
#
# <details><summary>Answer</summary>
#
# No: $W + \Delta W_1 + \Delta W_2$. They may still disturb each other, as they were not trained together.
# </details>
#
# **3.** Why does a LoRA for Stable Diffusion 1 not fit Stable Diffusion 2?
#
# <details><summary>Answer</summary>
#
# The cross-attention's `to_k` and `to_v` read contexts of 768 numbers in one and of 1,024 in the other. And even where
# shapes agree, a change of one model's weights means nothing in another's.
# </details>
#
# ## Exercises
#
# `../exercises/17_one_percent.ipynb`: merge a LoRA, count its parameters, DreamBooth's loss, the gradient of one row.
#
# ## What next
#
# A LoRA changes *what* the model can draw. Lesson 18 tells it *where*: with a drawing.
