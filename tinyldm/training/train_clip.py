"""Stage 1 of training: CLIP, from images and their captions.

    tinyldm train clip --minutes 30

A contrastive loss alone yields a bag of words: it tells "red circle above blue square" from "blue circle
above red square" no better than chance, because the right *words* are enough to reject the captions of other images.
Two things are added, so that CLIP must learn which thing has which colour:

* hard negatives: besides the captions of the other images, each image is compared with its caption after one
  attribute was exchanged between its two things, and has to prefer the true one (Yuksekgonul et al. 2023, "NegCLIP");
* a describing loss: from the one vector of the picture, or of the caption, a linear layer that both share
  fills in the form of `data/description.py`: colour, shape and size of the left or upper thing, … It is a
  captioning loss with fixed wording, so no words have to be predicted one after the other. Without it
  the hard negatives stay at chance for a long time: the similarity is a product, so as long as *neither* vector
  encodes which thing has which colour, neither gets a gradient towards it. (Yu et al. 2022, "CoCa", predict the
  caption from the patches of the image, which does not train the one vector that is compared.)

Pictures of which only a caption is known (digits, a folder of pictures) have the contrastive loss alone.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm.clip import TextConfig, VisionConfig
from tinyldm.data.corpus import WORDS, Corpus
from tinyldm.data.description import EMPTY, FIELDS
from tinyldm.data.pixels import to_signed_float
from tinyldm.formats.tokenizers import save_tokenizer
from tinyldm.training.clip import Clip, new_clip, pad_tokens
from tinyldm.training.processes import ALONE, Processes
from tinyldm.training.run import MovingAverage, Run, Settings, adamw, batch_at, generator_at, mixed_precision
from tinyldm.training.tokenizer import build_tokenizer
from tinyldm.versions import TINY


@dataclass(frozen=True)
class ClipSettings(Settings):
    """How CLIP is trained."""

    batch: int = 64
    lr: float = 1e-3
    describe_weight: float = 1.0  # of the two describing losses; 0 switches them off
    binding_weight: float = 1.0  # of each caption against its swapped versions; 0 switches it off
    ema: float = 0.998  # of the moving average that is kept at the end
    text: TextConfig = TINY.text[0]
    vision: VisionConfig = TINY.vision


class Describer(nn.Module):
    """Fill in the form of `data/description.py` from one vector of CLIP's common space.

    One linear layer, for pictures and captions alike, so that both must encode each field in their vectors
    in the same way. It is discarded after training.
    """

    def __init__(self, embedding_dim: int):
        super().__init__()
        self.options = [len(options) for options in FIELDS.values()]
        self.fill_in = nn.Linear(embedding_dim, sum(self.options))

    def forward(self, embedding: Tensor) -> tuple[Tensor, ...]:
        """embedding (B, P) of unit length -> the logits of each field, (B, options) each."""
        return self.fill_in(embedding * embedding.shape[1] ** 0.5).split(self.options, dim=1)  # each number about 1


# ── The data: tokens of captions and of their swapped versions ───────────────────────────────────────


@dataclass(frozen=True)
class Words:
    """A corpus in tokens. Caption c = image · W + wording has the negatives first[c] … first[c + 1] - 1."""

    tokens: Tensor  # (N · W, L) int16
    negatives: Tensor  # (M, L) int16
    first: Tensor  # (N · W + 1,) int64


def tokenized(corpus: Corpus, tokenizer, length: int, device: str) -> Words:
    """All captions and hard negatives of a corpus as tokens, on the device."""
    captions = [caption for wordings in corpus.captions for caption in wordings]
    groups = [group for wordings in corpus.negatives for group in wordings]
    flat = [caption for group in groups for caption in group]
    counts = torch.tensor([0] + [len(group) for group in groups])
    return Words(
        pad_tokens(tokenizer, captions, length).to(torch.int16).to(device),
        pad_tokens(tokenizer, flat, length).to(torch.int16).to(device),
        counts.cumsum(0).to(device),
    )


def hard_negatives(words: Words, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All hard negatives of some captions.

    Args: chosen: (B,) numbers of captions.
    Returns: tokens (K, L) int64; owner (K,), which of the B captions each belongs to; slot (K,), its number there.
    """
    first, counts = words.first[chosen], words.first[chosen + 1] - words.first[chosen]
    owner = torch.repeat_interleave(torch.arange(len(chosen), device=chosen.device), counts)
    slot = torch.arange(len(owner), device=chosen.device) - (counts.cumsum(0) - counts)[owner]
    return words.negatives[first[owner] + slot].long(), owner, slot


def shortened(tokens: Tensor, end: int) -> Tensor:
    """Cut off the columns after every caption's end: no vector that is used attends to them. (B, L) -> (B, L')."""
    longest = (tokens != end).sum(1).max().item() + 1
    return tokens[:, :longest]


# ── The losses ───────────────────────────────────────────────────────────────────────────────────────


def contrastive_losses(similarity: Tensor, hard: Tensor) -> tuple[Tensor, Tensor]:
    """The symmetric contrastive loss with hard negatives, and the loss against the hard negatives only.

    Args:
        similarity: (B, B) scaled, image i with caption j; the pairs that belong together are on the diagonal.
        hard: (B, S) scaled, image i with its hard negatives; -inf where there are fewer than S.
    Returns: two scalars, in nats.
    """
    right = torch.arange(len(similarity), device=similarity.device)
    to_text = F.cross_entropy(torch.cat([similarity, hard], dim=1), right)
    to_image = F.cross_entropy(similarity.T, right)
    against_hard = torch.cat([similarity.diagonal()[:, None], hard], dim=1)
    binding = F.cross_entropy(against_hard, torch.zeros_like(right), reduction="none")  # 0 without negatives
    has_hard = hard.isfinite().any(1).float()
    return (to_text + to_image) / 2, (binding * has_hard).sum() / has_hard.sum().clamp(min=1)


def describing_loss(fields: tuple[Tensor, ...], facts: Tensor) -> Tensor:
    """The cross-entropy of each field, in nats, averaged over what is known; 0 if nothing is.

    Args: fields: logits (B, options) of each of the F fields; facts: (B, F) int64, EMPTY where unknown.
    """
    losses = [
        F.cross_entropy(logits.float(), known, ignore_index=EMPTY, reduction="sum")
        for logits, known in zip(fields, facts.T)
    ]
    return sum(losses) / (facts != EMPTY).sum().clamp(min=1)


def clip_losses(clip: Clip, describer: Describer, batch: "Batch", processes: Processes = ALONE) -> dict[str, Tensor]:
    """The four losses of a batch, scalars; where several processes have a share of it each, those of all together."""
    end, B = clip.text.config.vocab_size - 1, len(batch.images)
    text, _ = clip.embed_text(shortened(torch.cat([batch.tokens, batch.negatives]), end))
    image, _ = clip.embed_image(batch.images)
    with torch.autocast(
        batch.images.device.type, enabled=False
    ):  # times 100, the errors of bfloat16 exceed the margins
        # Each image is compared with the captions of all, those of the other processes too.
        images, texts = processes.gather(image), processes.gather(text[:B])
        similarity = clip.scale * images @ texts.T
        hard = similarity.new_full((B, 4), float("-inf"))
        hard[batch.owner, batch.slot] = clip.scale * (image[batch.owner] * text[B:]).sum(1)
        contrastive, binding = contrastive_losses(similarity, processes.gather(hard))
        return {
            "contrastive": contrastive,
            "binding": binding,
            "describe_image": describing_loss(describer(images), processes.gather(batch.image_form)),
            "describe_text": describing_loss(describer(texts), processes.gather(batch.caption_form)),
        }


@dataclass(frozen=True)
class Batch:
    """B images, one caption of each, its hard negatives, and the forms of image and caption."""

    images: Tensor  # (B, 3, S, S) in [-1, 1]
    tokens: Tensor  # (B, L) int64
    negatives: Tensor  # (K, L) int64, the hard negatives of all …
    owner: Tensor  # (K,) … to which image each belongs …
    slot: Tensor  # (K,) … and its number there
    image_form: Tensor  # (B, F) int64, the form of the image
    caption_form: Tensor  # (B, F) int64, the form as far as the caption fills it in


# ── The loop ─────────────────────────────────────────────────────────────────────────────────────────


def train_clip(settings: ClipSettings, corpus: Corpus, processes: Processes = ALONE) -> Clip:
    """Train CLIP; write the folder `clip` and `tokenizer` in `settings.out`. Returns the moving average.

    Args: processes: those that share the work.
    Raises: Stopped after Ctrl-C (saved); FloatingPointError when a loss or a weight is no longer finite, and OSError
        when the disk is full (the last checkpoint is intact).
    """
    device = settings.device
    torch.manual_seed(settings.seed)
    clip = new_clip(settings.text, settings.vision).to(device)
    text = clip.text.config
    describer = Describer(text.projection_dim).to(device)
    average = MovingAverage(clip, settings.ema)
    optimizer = adamw([*clip.parameters(), *describer.parameters()], settings.lr, weight_decay=0.05)
    tokenizer = build_tokenizer(WORDS, text.max_position_embeddings)
    words = tokenized(corpus, tokenizer, text.max_position_embeddings, device)
    images, wordings = corpus.images.to(device), len(corpus.captions[0])
    image_form, caption_form = corpus.image_form.to(device), corpus.caption_form.flatten(0, 1).to(device)

    modules = {"clip": clip, "describer": describer, "average": average.module}
    share = processes.share(settings.batch)
    with Run("clip", settings, modules, {"optimizer": optimizer}, len(corpus), processes) as run:
        for step in run.steps():
            index = batch_at(settings.seed, step, settings.batch, len(corpus))
            wording = torch.randint(wordings, (len(index),), generator=generator_at(settings.seed, step))
            index, chosen = index[share].to(device), (index * wordings + wording)[share].to(device)
            batch = Batch(
                to_signed_float(images[index]),
                words.tokens[chosen].long(),
                *hard_negatives(words, chosen),
                image_form[index].long(),
                caption_form[chosen].long(),
            )
            with mixed_precision(device, settings.bf16):
                losses = clip_losses(clip, describer, batch, processes)
            loss = (
                losses["contrastive"]
                + settings.binding_weight * losses["binding"]
                + settings.describe_weight * (losses["describe_image"] + losses["describe_text"])
            )
            optimizer.zero_grad()
            loss.backward()
            processes.average_gradients([*clip.parameters(), *describer.parameters()])
            nn.utils.clip_grad_norm_(clip.parameters(), 1.0)
            optimizer.step()
            average.update(clip, step)
            run.log(loss=loss, **losses)
    if processes.is_first:
        average.module.save(settings.out / "clip")
        save_tokenizer(tokenizer, settings.out / "tokenizer")
    return average.module
