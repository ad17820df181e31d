# %% [markdown]
# # 00 · A picture from a sentence
#
# **Goal.** Type a sentence, get a picture, and look inside the model that made it.
#
# **Time.** 25 minutes to read and play; the cells compute for under half a minute on 2 CPU cores.
#
# **Before this.** Nothing but some Python. The self-test at the end tells you whether you know enough PyTorch and
# statistics for the rest.
#
# **You will be able to**
# - make pictures from your own sentences, and make the same picture twice;
# - name the five parts of a latent diffusion model, and what each hands to the next;
# - find the lessons and the file in which each section of the encyclopedia's article is built.

# %%
import matplotlib.pyplot as plt
import torch

from tinyldm import LatentDiffusion, ddim, guided, timesteps, to_unit
from tinyldm.data.captions import unknown_words
from tinyldm.data.world import BACKGROUNDS, COLOURS, RELATIONS, SHAPES, SIZES
from tinyldm.machine import choose_device
from tinyldm.trace import on_meta
from tinyldm.versions import SD1
from tinyldm_course.lessons import plots, widgets
from tinyldm_course.lessons.helpers import confirm_equal
from tinyldm_course.lessons.model_map import show_model_map

plots.use_style()
torch.set_grad_enabled(False)     # nothing is trained in this lesson
DEVICE = choose_device()          # CUDA, else Apple's MPS, else the CPU
print("This lesson runs on", DEVICE.type)

# %% [markdown]
# ## Your sentence
#
# The model in this package is small: it was trained on a world of simple things and knows only the words for them.
# (Stable Diffusion is the same machine with bigger numbers, and knows most things that people put on the internet.)
# **Type a sentence** into the box under the pictures and press Enter. (The box appears only in a running notebook.)

# %%
CAPTION = "a small red circle above a large blue square"
model = LatentDiffusion.from_pretrained("tiny").to(DEVICE)


def plot_four(ax, sentence):
    noise = torch.Generator().manual_seed(0)
    images = model.generate([sentence] * 4, generator=noise)
    unknown = unknown_words(sentence)
    title = f"{sentence} (never seen: {', '.join(unknown)})" if unknown else sentence
    plots.plot_image(ax, plots.in_a_row(images), title)


widgets.dial(plot_four, {"sentence": str}, strip=[{"sentence": CAPTION}],
             size=(8.4, 2.4))

# %% [markdown] alt
# Four pictures in a row, made from the sentence '{CAPTION}'. The network that reads such pictures (lesson 15) sees:
# {'; '.join(seen_in(model.generate([CAPTION] * 4, generator=torch.Generator().manual_seed(0))))}.

# %% [markdown]
# Four pictures, one sentence. They should agree in what the sentence says; what it leaves open (the background, the
# exact places) may differ. A model this small is not always right: look for yourself. Lesson 15 counts how often it is.
# It knows these words:

# %%
print("Things: ", ", ".join(SHAPES))
print("Colours:", ", ".join(COLOURS), "· sizes:", ", ".join(SIZES))
print("Places: ", ", ".join(RELATIONS), "· backgrounds:", ", ".join(BACKGROUNDS))

# %% [markdown]
# ## The way from noise
#
# A picture does not appear row by row. It starts as pure noise, *everywhere at once*, and becomes a little less noisy
# in each of 25 steps.
#
# > **Predict.** At each step the model also guesses what the finished picture will be. What does its very first guess
# > look like, when it has seen nothing but noise and the sentence?

# %%
frames, guesses = [], []


def look(step, z, z0_hat):
    """Called after each step: decode the state and the model's guess of the final
    latent."""
    frames.append(to_unit(model.vae.decode(z))[0])
    guesses.append(to_unit(model.vae.decode(z0_hat))[0])


made = model.generate([CAPTION], generator=torch.Generator().manual_seed(1),
                      callback=look)
stops = (0, 3, 6, 9, 12, 16, 20, 24)
titles = [f"step {i + 1}" for i in stops]
fig = plots.image_grid([*(frames[i] for i in stops), *(guesses[i] for i in stops)],
                       titles, columns=8, size=1.05,
                       rows=["the picture\nso far", "the guess\nof the end"])
plots.show(fig)

# %% [markdown] alt
# Eight of 25 steps for '{CAPTION}'. Above, the picture so far, from noise to the finished picture; below, the model's
# guess of the final picture at the same step, which starts soft and without edges and becomes sharp. In the finished
# picture the reader network sees: {seen_in(made)[0]}.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# It is close to the *average* of all pictures that fit the sentence: something soft, red above and blue below, without
# edges. One look at pure noise tells the model next to nothing about where the things will be. The steps settle that
# little by little, and a guess on the way may be wrong, even in a colour. (Lesson 12 shows all this with a single
# number.)
# </details>
#
# The upper row is not grainy like a noisy photograph: the noise is in the *latent* (explained below), and the decoder
# turns it into blobs of colour.

# %% [markdown]
# ## Three dials
#
# All pictures in the strip start from the same noise; only two words change. In a running notebook, turn the dials: two
# for words, and one for the *seed*, the number from which the noise is generated.

# %%
def plot_generated(ax, colour, shape, seed):
    noise = torch.randn(1, 4, 8, 8,
                        generator=torch.Generator().manual_seed(seed)).to(DEVICE)
    image = model.generate([f"a large {colour} {shape}"], noise=noise)[0]
    plots.plot_image(ax, image, f"{colour} {shape}")


settings = (("red", "circle"), ("blue", "circle"), ("blue", "star"), ("green", "star"),
            ("green", "ring"), ("yellow", "square"))
strip = [{"colour": colour, "shape": shape, "seed": 4} for colour, shape in settings]
widgets.dial(plot_generated,
             {"colour": list(COLOURS), "shape": list(SHAPES), "seed": range(20)},
             strip=strip, size=(1.5, 1.8))

# %% [markdown] alt
# Six pictures from the same noise for six sentences: a large red circle, blue circle, blue star, green star, green ring
# and yellow square.

# %% [markdown]
# Colour and shape follow the words, if not exactly (look at the yellow square). Background and place were left open, so
# they may change as well: a changed word affects the whole picture.

# %% [markdown]
# ## The box, opened
#
# A *latent* is a small, dense code of a picture. Noise and steps live there, not in pixels: hence *latent* diffusion.
#
# Five parts make the picture. The first three are *networks*, whose numbers were learnt; the other two are a few lines
# of arithmetic.
#
# | part | reads | makes | lesson |
# |---|---|---|---|
# | **text encoder** | a caption | the *context*: a vector for each *token* (a word or a mark) | 09 |
# | **U-Net** | a noisy latent, how noisy it is, the context | an estimate of what to remove | 06-08 |
# | **VAE** | a latent | the picture (and the reverse, in training) | 05 |
# | **guidance** | two outputs of the U-Net | one that follows the caption more closely | 12 |
# | **sampler** | noise | a clean latent, in many steps | 03, 12 |

# %% [markdown]
# ## Where we are
#
# Every lesson has this map and highlights its own parts on it. Today it is only the two ends: a sentence goes in at the
# lower left, an image comes out on the right. In between are the parts of the table. (The picture at the upper left is
# for training. "Prediction" is what the U-Net finds: in Stable Diffusion the noise, in the tiny model a mixture of
# noise and picture, from which the noise follows: lesson 03.)

# %%
show_model_map("caption", "image")

# %% [markdown]
# > **Predict.** A tiny picture has 3 × 64 × 64 numbers, its latent 4 × 8 × 8. By what factor is the latent smaller? And
# > in Stable Diffusion, with 3 × 512 × 512 and 4 × 64 × 64?

# %% tags=["nbval-check-output"]
for name, side in (("tiny", 64), ("Stable Diffusion", 512)):
    picture, latent = 3 * side**2, 4 * (side // 8) ** 2
    print(f"{name:17} {picture:7,} numbers in a picture, {latent:6,} in its latent: "
          f"{picture // latent} times fewer")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# By 48 in both. Each side is 8 times shorter, so there are 64 times fewer positions; but three channels become four:
# 64 × 3 / 4 = 48.
# </details>
#
# Now call the five parts by hand, for the same sentence and new noise. Each line has a lesson, or several; here you
# only see what one part hands to the next. The last line checks that `model.generate` makes the same picture.

# %%
noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2)).to(DEVICE)

context = model.encode_text([CAPTION])  # text encoder: words -> vectors
nothing = model.encode_text([""])  # the same for the empty caption
# U-Net under guidance
denoiser = guided(model.unet, context, nothing, guidance_scale=3.0)
# sampler: noise -> latent
z0 = ddim(denoiser, noise, model.schedule, timesteps(model.schedule, 25))
image = to_unit(model.vae.decode(z0))  # VAE decoder: latent -> picture

for name, tensor in (("context", context), ("noise", noise), ("z0", z0),
                     ("image", image)):
    print(f"{name:8} {tuple(tensor.shape)}")
print(confirm_equal(image, model.generate([CAPTION], noise=noise), tolerance=1e-4,
                    claim="By hand equals model.generate"))

# %%
fig, axes = plt.subplots(1, 4, figsize=(9.4, 2.6), width_ratios=[1.5, 1, 1, 1])
plots.heat_map(axes[0], context[0], "128 numbers per token", "32 tokens", "context",
               vmax=3)
plots.heat_map(axes[1], noise[0, 0], "", "", "noise, channel 0", vmax=3, aspect="equal")
plots.heat_map(axes[2], z0[0, 0], "", "", "z0, channel 0", vmax=3, aspect="equal")
plots.plot_image(axes[3], image[0], "image")
from_ground = (image[0] - image[0, :, :1, :1]).norm(dim=0).cpu()  # (64, 64)
for ax, last in ((axes[2], 7.5), (axes[3], 63.5)):  # where the things begin
    ax.contour(from_ground, [0.35], colors="black", linewidths=1,
               extent=(-0.5, last, -0.5, last))
plots.show(fig)

# %% [markdown] alt
# Four tensors on the way from sentence to picture: the context as a heat map of 32 rows, one for each token, and 128
# columns; one channel of 8 by 8 numbers of the noise, and of the latent that the sampler made from it; and the picture
# of 64 by 64 pixels, in which the reader network sees: {seen_in(image)[0]}. The outlines of its things are drawn over
# the latent, too.

# %% [markdown]
# The first ten rows of the context are the start mark and the nine words. The others, nearly alike, are the end mark,
# repeated until there are 32. The latent is not a small picture, but it has the picture's layout: the numbers far
# from 0 lie mostly in and around the things, whose outlines are drawn over it.

# %% [markdown]
# ## How large is it?
#
# Count the learnt numbers ("parameters") of each network, in the tiny model and in Stable Diffusion 1. The latter needs
# no download: PyTorch's *meta* device builds networks that have shapes but hold no numbers.
#
# > **Predict.** How many times as large is Stable Diffusion: 10, 200 or 4,000 times? And which of its parts grew most?

# %%
def parameters(model):
    parts = {"text encoder": model.text_encoder, "U-Net": model.unet,
             "VAE encoder": model.vae.encoder, "VAE decoder": model.vae.decoder}
    return {name: sum(p.numel() for p in part.parameters())
            for name, part in parts.items()}


sizes = {"tiny": parameters(model),
         "Stable Diffusion 1": parameters(on_meta(SD1, model.text_encoder.tokenizer))}
fig, ax = plt.subplots(figsize=plots.WIDE)
for i, (small, large) in enumerate(zip(*(named.values() for named in sizes.values()))):
    ax.plot([small, large], [i, i], color=plots.GREY)
    for n, colour, marker in ((small, plots.ORANGE, "o"), (large, plots.BLUE, "s")):
        ax.plot(n, i, marker, color=colour, markersize=8)
        ax.text(n, i - 0.2, f"{n:,}", ha="center", fontsize=9)
    ax.text((small * large) ** 0.5, i - 0.1, f"× {large / small:.0f}", ha="center")
ax.set_yticks(range(4), sizes["tiny"])
ax.set(xscale="log", xlabel="parameters (each tick is ten times the one before)",
       xlim=(3e4, 6e9), ylim=(3.4, -0.6), title="tiny (●) and Stable Diffusion 1 (■)")
ax.minorticks_off()
plots.show(fig)
ratio = sum(sizes["Stable Diffusion 1"].values()) / sum(sizes["tiny"].values())
print(f"Stable Diffusion 1 has {ratio:.0f} times as many parameters. The classes are "
      f"the same.")

# %% [markdown] alt
# The number of parameters of each part on a logarithmic scale, a dot for tiny and a square for Stable Diffusion 1,
# joined by a line: {"; ".join(f"{part} {n:,} and {sizes['Stable Diffusion 1'][part]:,}" for part, n in
# sizes["tiny"].items())}.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# 200 times in all. The U-Net grew most, the VAE's decoder least.
# </details>
#
# ## What the seed decides
#
# The noise comes from a *seed*. What does the noise decide, and what the sentence?
#
# > **Predict.** Below: seed 7, seed 7 again, seed 8, and seed 7 with one word changed. Which pictures are equal, which
# > are similar?

# %%
def from_seed(seed, caption=CAPTION):
    return model.generate([caption], generator=torch.Generator().manual_seed(seed))[0]


other = CAPTION.replace("red", "green")
four = [from_seed(7), from_seed(7), from_seed(8), from_seed(7, other)]
print("seed 7 twice, equal to the last bit:", torch.equal(four[0], four[1]))
fig = plots.image_grid(four,
                       ["seed 7", "seed 7 again", "seed 8", "seed 7, one word"],
                       size=2.1)
plots.show(fig)

# %% [markdown] alt
# Two equal pictures from seed 7 under '{CAPTION}', another from seed 8, and one from seed 7 under '{other}'. The reader
# network sees: {'; '.join(seen_in(torch.stack(four)))}.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# The first two are equal to the last bit: sentence and noise together decide everything, so anyone who has the model,
# the sentence and the seed has the picture (on another device, up to rounding). Seed 8 gives another picture of the
# same sentence. The fourth starts from the same noise as the first, so it usually has a similar layout and background.
# </details>

# %% [markdown]
# ## The same machine, other pictures
#
# Nothing in the code says that pictures are made of circles and squares. Here are the same classes with another
# configuration and other weights, trained on drawings of a hundred things in six styles: "flat", "3d", "noto", …
#
# > **Predict.** Six captions name things that this model has seen. The last two do not: in its training there was "red
# > heart" and "red apple", but no circle, no square, no "above". What will it draw?

# %%
second = LatentDiffusion.from_pretrained("pictures").to(DEVICE)
captions = ["a panda", "a panda, flat style", "a penguin", "a sunflower, flat style",
            "a red apple, 3d style", "a rocket, flat style", "a red circle", CAPTION]
drawn = second.generate(captions, generator=torch.Generator().manual_seed(0))
titles = [*captions[:-1], "… above a large blue square"]
plots.show(plots.image_grid(drawn, titles, columns=4, size=2.1))

# %% [markdown] alt
# Eight pictures of the second model, in two rows. 'a panda', 'a panda, flat style', 'a penguin', 'a sunflower, flat
# style'; then 'a red apple, 3d style', 'a rocket, flat style', 'a red circle' and '{CAPTION}'. The first six show what
# they should; the seventh shows something between a heart and an apple, the last a pink thing like a face on a blue
# ground.

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# "A red circle" became half a heart and half an apple: "red" was hardly ever said of anything else. In the last picture
# "blue" is the ground, because "on a blue background" is how it mostly met that word. A model draws what it was trained
# on. Between this one, the first one and Stable Diffusion, data, size and training differ; not the machine.
# </details>
#
# You can ask it for more: `tinyldm generate "a fox" --style noto --model pictures`; `tinyldm info --model pictures`
# lists what it knows. Who drew the drawings: [the page about them](../docs/drawings.md).

# %% [markdown]
# ## A map: from the article to lessons and code
#
# The course follows an encyclopedia's article, "Latent diffusion model" (linked below). Each of its sections has its
# lessons, and a file that you can read in minutes.
#
# | the article's section | lessons | code in `tinyldm/` |
# |---|---|---|
# | Version history | 01, 04, 14 | `versions.py`, `history/` |
# | Architecture (overview) | 00, 13 | `latent_diffusion.py` |
# | Architecture: conditions | 09 | `conditioning.py` |
# | Variational Autoencoder | 05 | `vae.py` |
# | U-Net: ResBlock | 06 | `resblock.py` |
# | U-Net: SpatialTransformer | 07 | `spatial_transformer.py` |
# | U-Net: the whole | 08 | `unet.py` |
# | Training and inference: forward | 02, 10 | `forward_diffusion.py` |
# | Training and inference: reverse | 03, 12 | `reverse_diffusion.py` |

# %% [markdown]
# Beyond the article: lesson 11 teaches the shipped model a new word, lesson 15 measures how good it is, and lesson 16
# is a clinic of eight broken pipelines. From lesson 17 on you meet what came after the article's model. Read the
# lessons in order, or follow one thread:
#
# - *I want to understand diffusion:* 02, 03, 12.
# - *I want to understand the network:* 05, 06, 07, 08.
# - *I want to understand words in pictures:* 07, 09, 13.
# - *I want to train:* 10, 11, 15, 16.
# - *I want to adapt a finished model:* 11, 17, 18.

# %% [markdown]
# ## A self-test
#
# Six questions, three minutes. Answer first, then run the cell below. If four are right, you know all that you need. If
# fewer, the notes beneath say what to read first.
#
# 1. `x` has shape (2, 3, 64, 64). What is the shape of `x.flatten(2).transpose(1, 2)`?
# 2. `a` has shape (8, 1, 1, 1), `z` has (8, 4, 8, 8). What does `a * z` do, and what is its shape?
# 3. What happens with `torch.ones(4) * z` for the same `z`?

# %% [markdown]
# 4. `q` has shape (2, 64, 16), `k` has (2, 32, 16). What is the shape of `q @ k.transpose(1, 2)`?
# 5. `e` is drawn from a normal distribution with mean 0 and variance 1. What are mean and variance of `3 * e + 2`?
# 6. Two independent random numbers have variances 0.36 and 0.64. What is the standard deviation of their sum?

# %% tags=["nbval-check-output"]
x, a, z = torch.zeros(2, 3, 64, 64), torch.ones(8, 1, 1, 1), torch.zeros(8, 4, 8, 8)
print("1.", tuple(x.flatten(2).transpose(1, 2).shape))
print("2.", tuple((a * z).shape))
try:
    torch.ones(4) * z
except RuntimeError as error:
    print("3. an error:", error)
print("4.", tuple((torch.zeros(2, 64, 16)
                   @ torch.zeros(2, 32, 16).transpose(1, 2)).shape))
e, f = torch.randn(2, 1_000_000, generator=torch.Generator().manual_seed(0))
print(f"5. mean {(3 * e + 2).mean():.1f}, variance {(3 * e + 2).var():.1f}")
print(f"6. {(0.6 * e + 0.8 * f).std():.2f}")

# %% [markdown]
# <details><summary><b>Why, and where to read more</b></summary>
#
# - 1 and 4, *shapes*: `flatten(2)` joins all axes from number 2 on; `@` multiplies matrices, batch by batch.
#   See PyTorch's tutorial "Tensors" (pytorch.org/tutorials, "Learn the Basics").
# - 2 and 3, *broadcasting*: shapes are aligned at their **last** axis; axes of size 1 are repeated. One number per
#   picture therefore needs the shape (B, 1, 1, 1). See "Broadcasting semantics" in PyTorch's documentation.
# - 5 and 6, *Gaussians*: the mean is 2, the variance $3^2 = 9$; variances of independent numbers add, so the standard
#   deviation is $\sqrt{0.36 + 0.64} = 1$. See any first course in statistics; lesson 02 uses little else.
# </details>

# %% [markdown]
# ## What the article says
#
# - *A latent diffusion model consists of a VAE, a modified U-Net and a text encoder.* True of the networks. You saw two
#   more parts, sampler and guidance, without which they generate nothing.
# - *The VAE's decoder makes the final image.* True: once, at the end. In this lesson it also decoded the steps in
#   between, only for you to look at.

# %% [markdown]
# ## Three quick questions
#
# **1.** Which of the five parts knows what "red" means?
#
# <details><summary>Answer</summary>
#
# The text encoder turns the word into a vector, and the U-Net has learnt what to make of it. Sampler, guidance and
# VAE know no words.
# </details>
#
# **2.** You change the seed. What stays the same, what changes?
#
# <details><summary>Answer</summary>
#
# The networks and the context stay the same; the noise changes, and with it everything that the sentence leaves open.
# </details>
#
# **3.** Where do the 25 steps of denoising take place: in pixels or in latents?
#
# <details><summary>Answer</summary>
#
# In latents, 256 numbers here. The pixels are made once, at the end.
# </details>

# %% [markdown]
# ## What next
#
# Lesson 01 tells in pictures how this machine came about; you can skip it. Lesson 02 begins to build: noise first,
# because everything else is about removing it.
#
# To try here: a sentence with words that the model never saw; the same sentence with its words in another order; the
# empty sentence `""`. On the command line: `tinyldm generate "a green ring"`.
