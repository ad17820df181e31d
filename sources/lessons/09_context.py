# %% [markdown]
# # 09 · Context: words, pictures and labels become vectors
#
# **Goal.** Turn a caption, a picture and a label into what the U-Net reads: a sequence of vectors.
#
# **Time.** 45 minutes to read and play; the cells compute for three to four minutes on 2 idle CPU cores.
#
# **Before this.** Lesson 07 (attention and cross-attention), lesson 08 (the U-Net).
#
# **You will be able to**
# - split a word that you have never seen into pieces that you have;
# - build CLIP's text transformer, and load trained weights into it;
# - say what padding does to a context;
# - train a small CLIP, and find out what it does not understand;
# - condition the same U-Net on a picture or a label instead of words.

# %%
import math
import textwrap
from collections import Counter

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

from tinyldm import LatentDiffusion, UNet, UNetConfig, diffusion_loss, to_unit
from tinyldm.conditioning import ClassEncoder, tokenize
from tinyldm.data import scenes
from tinyldm.data.captions import swapped_captions
from tinyldm.data.digits import Digits
from tinyldm.evaluation.statistics import share
from tinyldm.formats.places import model_folder
from tinyldm.machine import choose_device
from tinyldm.reverse_diffusion import ddim, guided, timesteps
from tinyldm.training import tokenizer as package
from tinyldm.training.clip import pad_tokens, place_waves
from tinyldm.training.export import clip_of
from tinyldm_course.lessons import plots, widgets
from tinyldm_course.lessons.helpers import (
    confirm_equal,
    full_or_fast,
    photograph,
    progress,
)
from tinyldm_course.lessons.model_map import show_model_map

plots.use_style()
DEVICE = choose_device()     # CUDA, else Apple's MPS, else the CPU
print("This lesson runs on", DEVICE.type)
torch.manual_seed(0)
model = LatentDiffusion.from_pretrained("tiny", device=DEVICE)
tokenizer = model.text_encoder.tokenizer
VOCABULARY = model.text_encoder.clip.config.vocab_size

# %% [markdown]
# ## Where we are
#
# On the way from the caption to the U-Net. Cross-attention (lesson 07) reads a sequence of vectors, the *context*, and
# does not care where it comes from. This lesson makes three kinds of context.

# %%
show_model_map("caption", "text encoder")

# %% [markdown]
# ## Pieces of words
#
# A network needs numbers, so each word gets one. But a list of all words is never complete. A list of letters is
# complete, but spelling everything out makes texts too long. *Byte-pair encoding* lies in between (Sennrich et al.
# 2016, algorithm 1): start with letters, and join the most frequent pair of neighbours; repeat. Frequent words end up
# as one piece, rare ones as a few.
#
# The last letter of a word is marked with `</w>`, so that no spaces need to be stored.
#
# > **Predict.** The words are *low, lower, lowest, slow*. Which pair is joined first?

# %% tags=["nbval-check-output"]
END = package.WORD_END


def join(pieces, pair):
    """Make one piece of each occurrence of the pair."""
    result = []
    for piece in pieces:
        if result and (result[-1], piece) == pair:
            result[-1] += piece
        else:
            result.append(piece)
    return result


def learn_merges(words):
    """Join the most frequent pair until every word is one piece. Returns the pairs in
    order."""
    spelled, merges = [[*word[:-1], word[-1] + END] for word in words], []
    while any(len(pieces) > 1 for pieces in spelled):
        counts = Counter(pair for pieces in spelled for pair in zip(pieces, pieces[1:]))
        # the most frequent; ties in alphabetical order
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        spelled = [join(pieces, best) for pieces in spelled]
        merges.append(best)
        print(f"{counts[best]} times {best[0]!r} + {best[1]!r}  ->",
              " ".join("·".join(p) for p in spelled))
    return merges


words = ["low", "lower", "lowest", "slow"]
assert learn_merges(words) == package.learn_merges(words)
print("The same merges as tinyldm's.")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# `l` + `o`: it occurs four times. `o` + `w` does not: in *low* and *slow* the last letter is another piece, `w</w>`.
# </details>
#
# The shipped tokenizer was made in this way from the words of the small world. Each of them is one piece. Other words
# are spelled out. Nothing is ever unknown, because the smallest pieces are not letters but the 256 bytes that every
# text consists of:

# %% tags=["nbval-check-output"]
for text in ("a red circle", "a turquoise disc", "a hot potato"):
    print(f"{text:18}", " ".join(tokenizer.pieces(text)))
tokens = tokenize(tokenizer, ["a red circle above a blue square"], 32)
print("As numbers, with start, end and padding:\n", tokens[0].tolist())

# %% [markdown]
# ## Reading from left to right
#
# Here 699 is the start; 700 is the end and the padding. A number has no meaning yet. The text transformer looks up a
# learnt vector for each token, adds one for its position, and lets them look at each other (attention, lesson 07).
# There is one rule: **nobody looks to the right**. Position $i$ sees positions $0 \dots i$. In attention this is a
# *causal mask*: the scores of later positions become $-\infty$ before the softmax.
#
# > **Predict.** Three positions, all scores equal. What are the attention weights of the first, second and third?

# %% tags=["nbval-check-output"]
def causal_mask(L, device=None):
    """(L, L): 0 where position i (row) may look at position j (column), minus infinity
    where it may not."""
    return torch.full((L, L), -math.inf, device=device).triu(1)


print((torch.zeros(3, 3) + causal_mask(3)).softmax(-1))

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# (1, 0, 0), then (½, ½, 0), then (⅓, ⅓, ⅓). The first position has only itself to look at.
# </details>
#
# Why such a handicap? This text transformer comes from *CLIP*, a model of texts and pictures that you meet below. Its
# authors kept the mask so that they could initialise it from a language model, or also train it as one (Radford et al.
# 2021, § 2.4). For us it has a consequence that you will see in the padding.

# %% [markdown]
# ## The text transformer
#
# Each block has two residual halves: attention, then a small network for each position alone, both after a LayerNorm.
# The layers have the names of the `transformers` library, so that its weights fit.

# %%
class SelfAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            nn.Linear(width, width) for _ in range(4)
        )

    def forward(self, x, mask):
        B, L, D = x.shape
        q, k, v = (layer(x).view(B, L, self.heads,
                                 -1).transpose(1, 2)             # (B, heads, L, d)
                   for layer in (self.q_proj, self.k_proj, self.v_proj))
        # (B, heads, L, L)
        weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5 + mask).softmax(-1)
        return self.out_proj((weights @ v).transpose(1, 2).reshape(B, L, D))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.layer_norm1, self.self_attn = (
            nn.LayerNorm(width),
            SelfAttention(width, heads),
        )
        self.layer_norm2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width),
                                  "fc2": nn.Linear(4 * width, width)})

    def forward(self, x, mask):
        x = x + self.self_attn(self.layer_norm1(x), mask)
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.layer_norm2(x))))

# %%
class TextTransformer(nn.Module):
    def __init__(self, vocabulary, length, width, layers, heads):
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.position_embedding = nn.Embedding(length, width)
        self.layers = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, tokens, causal=True):
        L = tokens.shape[1]
        # (B, L) -> (B, L, D)
        x = self.token_embedding(tokens) + self.position_embedding.weight[:L]
        mask = causal_mask(L, tokens.device) if causal else 0.0
        for layer in self.layers:
            x = layer(x, mask)
        return self.final_layer_norm(x)  # the context: (B, L, D)


state = {
    name.removeprefix("text_model.")
    .removeprefix("embeddings.")
    .removeprefix("encoder."): weight
    for name, weight in model.text_encoder.clip.state_dict().items()
}
mine = TextTransformer(VOCABULARY, 32, width=128, layers=3, heads=4).to(DEVICE)
mine.load_state_dict(state)
mine.requires_grad_(False)

captions = ["a red circle above a blue square", "a large yellow star", ""]
tokens = tokenize(tokenizer, captions, 32).to(DEVICE)
print(confirm_equal(mine(tokens), model.encode_text(captions), tolerance=1e-4))

# %% [markdown]
# That is the whole text encoder. Stable Diffusion 1's has 12 such layers of width 768, 77 positions instead of 32, and
# a cheaper approximation of GELU.

# %% tags=["nbval-check-output"]
print(f"{sum(p.numel() for p in mine.parameters()):,} parameters here, 123,060,480 "
      f"there")

# %% [markdown]
# ## What padding says
#
# All captions of a batch are padded to one length. What follows the end is padding: more end tokens, here as in Stable
# Diffusion 1. No mask hides their vectors from the U-Net.
#
# > **Predict.** Two captions differ in their third word only: *a red circle*, *a red star*. Which of the 32 vectors
# > differ: only that one, or more? And if only the *second* word differs?

# %%
pairs = {"circle / star": ("a red circle", "a red star"),
         "red / blue": ("a red circle", "a blue circle"),
         "a / the": ("a red circle", "the red circle")}
with torch.no_grad():
    changes = torch.stack([
        (model.encode_text([a]) - model.encode_text([b]))[0].norm(dim=-1)
        for a, b in pairs.values()])                                # (3, 32)

fig, ax = plt.subplots(figsize=(9, 2.3))
plots.heat_map(ax, changes, "position: start, three words, end, padding", "",
               "How much each vector changes", signed=False)
ax.set_yticks(range(3), list(pairs))
plots.show(fig)

# %% [markdown] alt
# A heat map, three pairs of captions down, 32 positions across: the distance between the two vectors of each position.
# All positions before the word that differs are equal; that word and everything after it, the end and 27 paddings
# included, differ: much for another shape or colour, hardly for 'the' instead of 'a'.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# That word, and everything to its right, padding included: every later position has seen it. To the left nothing
# changes. With another colour the word's own vector changes little; the vector at *circle*, which reads both words,
# changes most of all. (The third pair is hardly visible: the encoder has learnt that "a" and "the" mean the same
# picture.)
# </details>
#
# So padding is not empty: each of the 27 padding vectors has read the whole caption. Do they hold what it says? Give
# the U-Net only a part of the context. (Cross-attention takes any number of vectors.)
#
# > **Predict.** What will the pictures show without the padding? And with *nothing but* the padding: no word, no end?

# %%
def from_part(caption, first, last):
    """Four pictures from the vectors first … last - 1 of a caption's context."""
    context = model.encode_text([caption] * 4)[:, first:last]
    nothing = model.encode_text([""] * 4)[:, first:last]
    noise = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(4))
    z0 = ddim(guided(model.unet, context, nothing, 3.0), noise.to(DEVICE),
              model.schedule, timesteps(model.schedule, full_or_fast(25, 2)))
    return to_unit(model.vae.decode(z0))


caption = "a large red circle above a small blue square on white"
end = 2 + len(tokenizer.pieces(caption))  # start, the words, the end
parts = {"everything": (0, 32), "no padding": (0, end), "only padding": (end, 32)}
with torch.no_grad():
    pictures = {name: from_part(caption, *part) for name, part in parts.items()}
fig = plots.image_grid(torch.cat(list(pictures.values())), columns=4, size=1.4,
                       rows=list(parts))
plots.show(fig)

# %% [markdown] alt
# Four pictures each of the caption '{caption}' from all 32 vectors of its context, without the padding, and from the
# padding alone. The reader network (lesson 15) sees: {"; ".join(f"{name}: {', '.join(seen_in(made))}"
# for name, made in pictures.items())}.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Without the padding nothing is missing here. The padding alone still says "white", "two things" and "one above the
# other"; but it makes both a square, and mixes red and blue into purple.
# </details>
#
# In short, padding summarises: the details are in the words' own vectors. (This is one caption; try
# others. The U-Net has read full contexts all through its training, so a shorter one could have confused it.)

# %% [markdown]
# ## Where the meaning comes from: CLIP
#
# What trains the text transformer? A task that needs no labels except captions: **which caption belongs to which
# picture?** (Radford et al. 2021.) Two networks, the *towers*, one for texts and one for pictures, each output a vector
# of length 1. For $B$ pairs, take all $B \times B$ dot products; the diagonal should win, in its row and in its column:
#
# $$ \ell_{ij} = s \; \mathrm{image}_i \cdot \mathrm{text}_j , \qquad
# \text{loss} = \tfrac12 \big( \mathrm{CE}(\ell, \text{rows}) + \mathrm{CE}(\ell, \text{columns}) \big) $$
#
# (their figure 3). $s$ (`scale`) is learnt; CE is the cross-entropy, and the diagonal is the right answer. A caption's
# vector is read at its end token, the first position that has seen all words.
#
# > **Predict.** 64 pairs, and a network that knows nothing. What is the loss?

# %% tags=["nbval-check-output"]
def contrastive_loss(image, text, scale):
    """image, text: (B, P) unit vectors, where image i belongs to text i. Returns a
    scalar, in nats."""
    similarity = scale * image @ text.T                                     # (B, B)
    matching = torch.arange(len(image), device=image.device)
    return (F.cross_entropy(similarity, matching)
            + F.cross_entropy(similarity.T, matching)) / 2


same_vector = F.normalize(torch.ones(64, 8), dim=1)
print(f"knows nothing: {contrastive_loss(same_vector, same_vector, 10.0):.3f}   log 64 "
      f"= {math.log(64):.3f}")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Each of the 64 answers gets the probability 1/64, so the loss is $-\log \tfrac{1}{64} = \log 64 = 4.16$ (in *nats*:
# the logarithm is the natural one).
# </details>
#
# The picture tower is a *Vision Transformer* (Dosovitskiy et al. 2021): cut the picture into 8 × 8 = 64 patches, make a
# vector of each, add a vector for its position, and send the 64 vectors through the same blocks as above, without a
# mask: a picture has no left-to-right order. Here, the mean of the outputs becomes the picture's vector.

# %%
class ImageTransformer(nn.Module):
    def __init__(self, width, layers, heads):
        super().__init__()
        # each patch of 8 × 8 pixels: one vector
        self.patches = nn.Conv2d(3, width, kernel_size=8, stride=8)
        # initialised with waves of row and column
        self.places = nn.Parameter(place_waves(8, width))
        self.layers = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, image):
        # (B, 3, 64, 64) -> (B, 64, D)
        x = self.patches(image).flatten(2).transpose(1, 2) + self.places
        for layer in self.layers:
            x = layer(x, 0.0)
        return self.final_layer_norm(x)


class SmallClip(nn.Module):
    def __init__(self, width=96, layers=2, heads=4):
        super().__init__()
        self.text = TextTransformer(VOCABULARY, 32, width, layers, heads)
        self.image = ImageTransformer(width, layers, heads)
        self.from_text, self.from_image = (nn.Linear(width, 64, bias=False)
                                           for _ in range(2))
        self.log_scale = nn.Parameter(torch.tensor(2.0))

    def embed_text(self, tokens):
        h = self.text(tokens)
        end = (tokens == tokenizer.end).int().argmax(1)  # the first of the end tokens
        return F.normalize(self.from_text(h[torch.arange(len(h)), end]), dim=-1)

    def embed_image(self, image):
        return F.normalize(self.from_image(self.image(image).mean(1)), dim=-1)

# %% [markdown]
# ## Two minutes of training
#
# Six thousand scenes with their captions, and a training loop. Two things in it come from lesson 10: the learning rate
# rises for 50 steps and then falls along a cosine, and gradients that are too long are shortened.

# %%
LONGEST = 24  # tokens; no caption of the small world has more


def scenes_with_captions(seed, count):
    """Images (B, 3, 64, 64) in [-1, 1], captions, scenes."""
    pixels, said, made = scenes.batch(seed, range(count))
    return scenes.to_tensor(pixels).to(DEVICE), said, made


def as_tokens(captions):
    return pad_tokens(tokenizer, captions, 32)[:, :LONGEST].to(DEVICE)


images, said, _ = scenes_with_captions(0, full_or_fast(6000, 200))
texts = as_tokens([caption.text for caption in said])

STEPS = full_or_fast(900, 4)
torch.manual_seed(0)
clip = SmallClip().to(DEVICE)
optimizer = torch.optim.AdamW(clip.parameters(), weight_decay=0.05)
losses = []
for step in progress(range(STEPS), "training"):
    for group in optimizer.param_groups:
        group["lr"] = (1e-3 * min(1, (step + 1) / 50)
                       * (1 + math.cos(math.pi * step / STEPS)) / 2)
    i = torch.randint(len(images), (64,)).to(DEVICE)
    loss = contrastive_loss(clip.embed_image(images[i]), clip.embed_text(texts[i]),
                            clip.log_scale.exp().clamp(max=100))
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(clip.parameters(), 1.0)
    optimizer.step()
    losses.append(loss.item())
_ = clip.eval().requires_grad_(False)

# %%
fig, ax = plt.subplots(figsize=plots.NARROW)
ax.plot(losses, color=plots.BLUE, linewidth=0.8)
ax.axhline(math.log(64), color=plots.GREY, linestyle=":")
ax.text(STEPS, math.log(64) - 0.03, "knows nothing", ha="right", va="top")
ax.set(xlabel="training step", ylabel="loss, nats", ylim=(0, None),
       title="Which caption belongs to which picture?")
plots.show(fig)

# %% [markdown] alt
# The contrastive loss begins at {losses[0]:.2f}, near log 64, the loss without any knowledge, and falls to
# {sum(losses[-20:]) / len(losses[-20:]):.2f} in {STEPS} steps.

# %% [markdown]
# ## What has it learnt?
#
# (The loss begins above $\log 64$: random vectors do not abstain, they prefer wrong answers as readily as right ones.)
# Now eight fresh scenes, their captions, and all similarities. Each number on the diagonal should be the largest of its
# row and of its column.

# %%
test_images, test_said, test_scenes = scenes_with_captions(5, full_or_fast(512, 64))
test_texts = as_tokens([caption.text for caption in test_said])
similarity = clip.embed_image(test_images[:8]) @ clip.embed_text(test_texts[:8]).T

matching = torch.arange(8, device=DEVICE)
rows, columns = ((similarity.argmax(dim) == matching).sum().item() for dim in (0, 1))

fig, ax = plt.subplots(figsize=(9, 5))
plots.heat_map(ax, similarity.T, "", "", "Similarity of captions and pictures")
ax.set_yticks(range(8), [textwrap.fill(caption.text, 46) for caption in test_said[:8]],
              fontsize=8)
ax.set_xticks([])
for i, picture in enumerate(to_unit(test_images[:8])):  # below its column
    thumbnail = ax.inset_axes([i / 8 + 0.005, -0.21, 0.115, 0.2])
    plots.plot_image(thumbnail, picture)
plots.show(fig)

# %% [markdown] alt
# A heat map of eight captions and eight pictures, which stand below: the similarity of each caption with each picture.
# The largest is on the diagonal in {rows} of 8 rows and {columns} of 8 columns.

# %%
def retrieval(embed_image, embed_text):
    """The share of pictures whose own caption is the most similar of 64."""
    right = 0
    for picture, text in zip(test_images.split(64), test_texts.split(64)):
        best = (embed_image(picture) @ embed_text(text).T).argmax(1)
        right += (best == torch.arange(len(picture), device=DEVICE)).sum().item()
    return share(right, len(test_images))


print("Small CLIP, own caption of 64:", retrieval(clip.embed_image, clip.embed_text))

# %% [markdown]
# ## A bag of words
#
# Two minutes, and it finds most captions. (All of them it cannot: a short caption may fit several of 64 pictures.) Does
# it *understand* them? Take a scene of two things and swap one attribute in the caption: "a red circle above a blue
# square" becomes "a blue circle above a red square". (A swap of *position* exchanges the things.) The same words,
# another meaning: knowing which attribute belongs to which thing is called *binding*. Is the picture more similar to
# the true caption? Chance is 50 %. (The brackets, here and above, contain the 95 % interval.)
#
# > **Predict.** How often does your CLIP prefer the true caption?

# %%
def binding(embed_image, embed_text, kinds=("colour", "shape", "size", "position")):
    """For each kind of swap: how often a picture prefers its own caption to the swapped
    one."""
    result = {}
    for kind in kinds:
        asked = [(i, said.text, swapped_captions(scene, said.wording).get(kind))
                 for i, (said, scene) in enumerate(zip(test_said, test_scenes))]
        asked = [(i, true, other.text) for i, true, other in asked if other is not None]
        picture = embed_image(test_images[[i for i, _, _ in asked]])
        true, other = (embed_text(as_tokens([a[place] for a in asked]))
                       for place in (1, 2))
        better = ((true - other) * picture).sum(1) > 0
        result[kind] = share(better.sum().item(), len(asked))
    return result


mine_binds = binding(clip.embed_image, clip.embed_text)
for kind, seen in mine_binds.items():
    print(f"{kind:9} {seen}")

# %% [markdown]
# It guesses: all four intervals contain 50 %. Among 64 captions, the right *words* are usually enough to find the right
# one, so the contrastive loss gives little reason to learn which thing has which colour: the network can get by as a
# *bag of words* (Yuksekgonul et al. 2023 found this in large models too). And a U-Net cannot read from the text
# encoder's vectors what they do not hold: it, too, could only guess. (We tested only the end token's vector. The U-Net
# reads all 32, and the others may hold more.)

# %% [markdown]
# ## What the shipped CLIP got in addition
#
# The shipped CLIP (`tinyldm/training/train_clip.py`) was trained longer, and with two more losses:
#
# - **hard negatives**: each picture also sees its own caption with one attribute swapped, and has to prefer the true
#   one;
# - **a form to fill in**: from the single vector, a linear layer must read colour, shape and size of each thing,
#   relation and background. With hard negatives alone, training stays at chance for a long time: the similarity is a
#   product, so each vector's gradient is made of the other vector. While *neither* knows which thing has which colour,
#   neither can teach it to the other.

# %% [markdown]
# > **Predict.** Which improves more with these losses and the longer training: finding the own caption among 64 (yours:
# > the share printed above), or binding?

# %%
shipped = clip_of(model_folder("tiny")).to(DEVICE)


def shipped_image(image):
    return shipped.embed_image(image)[0]


def shipped_text(tokens):
    return shipped.embed_text(tokens)[0]


with torch.no_grad():
    shipped_binds = binding(shipped_image, shipped_text)
    print("Shipped CLIP, own caption of 64:", retrieval(shipped_image, shipped_text))

# %%
fig, ax = plt.subplots(figsize=plots.WIDE)
places = torch.arange(4)
for offset, (name, seen), colour, hatch in ((-0.2, ("your small CLIP", mine_binds),
                                             plots.ORANGE, "//"),
                                            (0.2, ("the shipped CLIP", shipped_binds),
                                             plots.BLUE, "")):
    bars = ax.bar(places + offset, [100 * s.value for s in seen.values()], 0.38,
                  color=colour, hatch=hatch, label=name)
    ax.bar_label(bars, fmt="%.0f", padding=2,
                 bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
ax.axhline(50, color=plots.BLACK, linestyle=":", zorder=1)
ax.text(3.5, 51, "chance", ha="left", va="bottom")
ax.set_xticks(places, list(mine_binds))
ax.set(ylabel="prefers the true caption, %", ylim=(0, 112), xlim=(-0.5, 3.85))
ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2,
          title="One attribute swapped between the two things")
plots.show(fig)

# %% [markdown] alt
# How often the true caption is preferred to one with a swapped attribute. Small CLIP: {', '.join((f'{kind}
# {seen.value:.0%}' for kind, seen in mine_binds.items()))}. Shipped CLIP: {', '.join((f'{kind} {seen.value:.0%}' for
# kind, seen in shipped_binds.items()))}.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Binding: from chance to almost always right, while retrieval had less to gain. (This comparison cannot tell the two
# losses from the longer training. But more of the same would not do: finding the caption among 64 needs hardly any
# binding.)
# </details>

# %% [markdown]
# ## A picture as context
#
# The picture tower's vectors are a sequence, too. (The shipped tower has 65: one learnt vector precedes the 64 patches,
# and is read as that of the whole picture.) One linear layer brings them to the U-Net's context width, and they can
# follow the caption's vectors, or replace them. That is all that "conditioning on an image" takes: the cross-attention
# stays as it is.

# %%
encoder = model.image_encoder
example = test_images[:1]
with torch.no_grad():
    seen = encoder.clip(encoder.clip.preprocess(example)).last  # (1, 1 + 64, 128)
    patches = seen @ encoder.to_context.weight.T + encoder.to_context.bias
print(confirm_equal(patches, model.encode_image(to_unit(example)), tolerance=1e-4))

# %% [markdown]
# Now generate with the empty caption's vectors followed by those of a picture. In a fifth of the shipped model's
# training batches, the U-Net read such contexts. The last column is a photograph: nothing like it was in the small
# world.
#
# > **Predict.** What will come back from the scenes: colours, shapes, places, the background, fine detail? And what
# > from the photograph?

# %%
given = torch.cat([to_unit(test_images[:4]).cpu(), photograph(64)[None]]).to(DEVICE)
made = [model.generate([""] * len(given), image_context=model.encode_image(given),
                       steps=full_or_fast(25, 2),
                       generator=torch.Generator().manual_seed(seed))
                       for seed in (0, 1)]
fig = plots.image_grid(torch.cat([given, *made]), columns=5,
                       rows=["given", "seed 0", "seed 1"], size=1.5)
plots.show(fig)

# %% [markdown] alt
# Top row: four scenes of the small world and a photograph of a flower. Below, two pictures each that the model
# generated from the vectors of the given picture alone, without words. Backgrounds, places and most colours are similar
# to those of the given scene, the shapes often are not. For the photograph there are simple shapes of the small world.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Mostly the background, the number of things, their places and sizes, and many of the colours. The shapes often do not:
# the square comes back as a star or a cross. Words are better trained: only a fifth of the batches had a picture to
# read, and half of those had a caption as well.
#
# The photograph can only come back as what exists in the small world: a background of about the right brightness, and
# pieces in about the right colours. The model knows nothing else.
# </details>

# %% [markdown]
# ## A label as context
#
# The simplest of all: ten classes, a table of ten vectors, pick a row. One more row stands for "no label", which
# guidance needs (lesson 12). The context is a single vector.
#
# > **Predict.** Attention over a single vector: what are the weights? How can two pixels of the attention's output then
# > differ?

# %%
class Labels(nn.Module):
    def __init__(self, classes, context_dim):
        super().__init__()
        self.table = nn.Embedding(classes + 1, context_dim)  # the last row: no label

    def forward(self, label):
        return self.table(label)[:, None]  # (B,) -> (B, 1, D)

    def null(self):
        return self.table.weight[-1].view(1, 1, -1)


labels, theirs = Labels(10, 64).to(DEVICE), ClassEncoder(10, 64).to(DEVICE)
theirs.load_state_dict(labels.state_dict())
label = torch.tensor([3, 1, 4], device=DEVICE)
print(confirm_equal(labels(label), theirs(label)))
print("weights of four pixels over one vector:",
      torch.randn(4, 1).softmax(-1).flatten().tolist())

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# All weights are 1, whatever the scores: every pixel gets the same vector, projected. So they do not differ.
# Cross-attention to a single vector is an addition to all pixels, like the time embedding of lesson 06. It says *what*,
# never *where*; the rest of the network has to decide where.
# </details>
#
# This is enough for digits. As in lesson 03 we noise the pixels themselves; here a small U-Net (lesson 08) removes the
# noise, with its label as context. For sampling, *guidance* weighs the label: 0 ignores it altogether, 1 is the plain
# network, more than 1 exaggerates it (lesson 12).

# %%
data = Digits(8)
# (1797, 1, 8, 8)
digits = torch.stack([data[i][0][:1] for i in range(len(data))]).to(DEVICE)
digits, spread = digits / digits.std(), digits.std()
values = torch.tensor(data.values, device=DEVICE)
schedule = model.schedule

torch.manual_seed(0)
unet = UNet(UNetConfig(in_channels=1, out_channels=1, channels=(32, 48),
                       blocks_per_level=1, transformer_depth=(1, 1),
                       heads=(2, 3), context_dim=64, groups=8)).to(DEVICE)
optimizer = torch.optim.AdamW([*unet.parameters(), *labels.parameters()],
                              betas=(0.9, 0.99))
STEPS = full_or_fast(600, 4)
for step in progress(range(STEPS), "training"):
    for group in optimizer.param_groups:
        group["lr"] = (2e-3 * min(1, (step + 1) / 50)
                       * (1 + math.cos(math.pi * step / STEPS)) / 2)
    i = torch.randint(len(digits), (64,)).to(DEVICE)
    # 10: "no label"
    asked = torch.where(torch.rand(64).to(DEVICE) < 0.1, 10, values[i])
    t, eps = torch.randint(1000, (64,)).to(DEVICE), torch.randn(64, 1, 8, 8).to(DEVICE)
    loss = diffusion_loss(unet, schedule, digits[i], labels(asked), t, eps)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
    optimizer.step()
_ = unet.eval()

# %%
@torch.no_grad()
def write(label, guidance_scale=2.0, seed=0):
    """Digits (B, 1, 8, 8) in [0, 1] for labels (B,)."""
    z = torch.randn(len(label), 1, 8, 8,
                    generator=torch.Generator().manual_seed(seed)).to(DEVICE)
    network = guided(unet, labels(label), labels.null().expand(len(label), -1, -1),
                     guidance_scale)
    z0 = ddim(network, z, schedule, timesteps(schedule, full_or_fast(25, 2)))
    return to_unit(z0 * spread)


WRITTEN = {w: write(torch.arange(10, device=DEVICE).repeat(4), w)
           for w in (0.0, 1.0, 2.0, 4.0)}


def plot_sheet(ax, guidance):
    """Four rows of digits, a column for each label."""
    # a grey frame around each digit
    apart = F.pad(WRITTEN[guidance], (1, 1, 1, 1), value=0.35)
    rows = apart.reshape(4, 10, 10, 10).permute(0, 2, 1, 3).reshape(40, 100)
    plots.plot_image(ax, rows, f"guidance {guidance:g}")


widgets.dial(plot_sheet, {"guidance": tuple(WRITTEN)},
             strip=[{"guidance": w} for w in (0.0, 1.0, 4.0)], size=(3.1, 1.6))

# %% [markdown] alt
# Forty small handwritten digits, four for each label from 0 to 9, a column each, at guidance 0, 1 and 4. At 0 the
# labels are ignored: any digit can be anywhere. At 1 and 4 the columns show their digits.

# %% [markdown]
# Are they what was asked for? Let a classifier decide that has never seen a generated digit: nearest neighbours among
# the real ones. We first test the classifier itself, on real digits that it was not given.
#
# > **Predict.** It reads most real digits right. Will it read the generated ones as often? And what does it say at
# > guidance 0?

# %%
from sklearn.neighbors import KNeighborsClassifier

flat = to_unit(digits * spread).flatten(1).cpu()
reader = KNeighborsClassifier(3).fit(flat[:1400], values[:1400].cpu())
print("reads real digits right:",
      share(int((reader.predict(flat[1400:]) == values[1400:].cpu().numpy()).sum()),
            397))
many = torch.arange(10, device=DEVICE).repeat(20)
rights = {w: share(int((reader.predict(write(many, w, seed=1).flatten(1).cpu())
                        == many.cpu().numpy()).sum()), 200)
          for w in (0.0, 1.0, 2.0, 4.0)}

fig, ax = plt.subplots(figsize=plots.NARROW)
for w, seen in rights.items():
    ax.errorbar(w, 100 * seen.value,
                [[100 * (seen.value - seen.low)], [100 * (seen.high - seen.value)]],
                fmt="o", color=plots.BLUE, capsize=3)
ax.axhline(10, color=plots.GREY, linestyle=":")
ax.set(xlabel="guidance scale", ylabel="read as asked, %", ylim=(0, 105),
       title="Labels (dotted: chance)")
plots.show(fig)

# %% [markdown] alt
# The share of generated digits that are read as the label asked for, by guidance scale: {', '.join((f'{w:g}:
# {seen.value:.0%}' for w, seen in rights.items()))}.

# %% [markdown]
# At 0 it is chance, as it must be: the label is ignored. At 2 and 4 generated digits are read at least as well as real
# ones: guidance makes them more typical, and more alike (compare the rows of the sheets above).

# %% [markdown]
# ## Break it on purpose
#
# Your own text transformer holds the shipped weights. Remove its causal mask: every position sees all others. More
# information, one might think.
#
# > **Predict.** Does retrieval with these vectors get better, stay the same, or get worse?

# %%
def vectors(causal):
    """A function tokens -> unit vectors: the shipped weights in the reader's own
    transformer."""
    def embed(tokens):
        end = (tokens == tokenizer.end).int().argmax(1)
        return F.normalize(
            shipped.text_projection(
                mine(tokens, causal)[torch.arange(len(tokens)), end]
            ),
            dim=-1,
        )
    return embed


with torch.no_grad():
    found = {name: retrieval(shipped_image, vectors(causal))
             for name, causal in (("with", True), ("without", False))}

fig, ax = plt.subplots(figsize=(5.5, 1.6))
bars = ax.barh(list(found), [100 * seen.value for seen in found.values()],
               color=[plots.BLUE, plots.ORANGE])
ax.bar_label(bars, fmt="%.0f", padding=3)
ax.set(xlabel="own caption found among 64, %", ylabel="causal mask", xlim=(0, 105))
plots.show(fig)

# %% [markdown] alt
# Two bars, retrieval with the mask and without: {', '.join((f'{name} {seen.value:.0%}' for name, seen in
# found.items()))}.

# %% [markdown]
# Far worse. Weights only make sense in the computation that they were trained in. Every vector is now mixed with what
# stands to its right, later words and padding, which it never saw in training. All shapes fit, and nothing complains.

# %% [markdown]
# ## What the article says
#
# - *Text prompts are transformed to an embedding space by a fixed, pretrained CLIP text encoder.* Right. But the U-Net
#   does not read one vector per caption, it reads one per token: 77 of them, padding included.
# - *Conditioning is exposed by cross-attention.* Right, for all three kinds. Two more ways exist: inpainting
#   models concatenate to `z_t`, and Stable Diffusion XL adds a vector to the time embedding.
# - *A Vision Transformer can process an image into a sequence of vectors, to generate an image in the same style.*
#   That is `encode_image`.
# - *Without context, cross-attention becomes self-attention.* In practice "no caption" is the context of `""`.

# %% [markdown]
# ## Three quick questions
#
# **1.** A caption has 100 pieces, the model 77 positions. What happens?
#
# <details><summary>Answer</summary>
#
# Two positions are start and end, so 75 pieces are read, and the rest is cut off. `tokenize` warns, and quotes it.
# </details>
#
# **2.** Why is the caption's vector read at the end token, and not at the start token?
#
# <details><summary>Answer</summary>
#
# With the causal mask the start sees only itself: its vector is the same for every caption.
# </details>
#
# **3.** Your text encoder finds the right caption of 64 in 99 % of the cases. Are you sure that "red above blue" will
# be drawn correctly?
#
# <details><summary>Answer</summary>
#
# No: a bag of words can do that. Test it with swapped captions.
# </details>

# %% [markdown]
# ## Exercises
#
# `../exercises/09_context.ipynb`: padding tokens, the causal mask, the end token, the contrastive loss, a label as
# context.
#
# To try here: add hard negatives to the loop (`swapped_captions` makes them) and see how long binding stays at chance.
# Generate digits with the mean of two rows of the table: what is between a 3 and a 5?

# %% [markdown]
# ## What next
#
# The U-Net has its latents, its time and its context. Lesson 10 trains it. The package's version of this lesson is
# `tinyldm/conditioning.py`, with `tinyldm/training/tokenizer.py` and `train_clip.py`.
