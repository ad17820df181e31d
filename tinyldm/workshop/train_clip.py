"""Stage 1 of training: CLIP, from images and their captions.

    tinyldm train clip --minutes 30

A contrastive loss alone ends as a bag of words: it tells "red circle above blue square" from "blue circle
above red square" no better than a coin, because among other images' captions the right *words* suffice. Two
things are added, so that it must notice who has which colour:

* hard negatives: beside the captions of the other images, each image sees its own caption with one attribute
  exchanged between its two things, and has to prefer the true one (Yuksekgonul et al. 2023, "NegCLIP");
* a captioning loss: from one vector and the words so far, predict the next word. The vector is the image's,
  or that of the caption in another wording, and the decoder is the same for both. Without it the hard
  negatives stay at chance for long: the similarity is a product, so as long as *neither* vector knows who has
  which colour, neither has a gradient that would tell it to. (Yu et al. 2022, "CoCa", reads image patches
  instead of the one vector, which leaves that vector as it was.)
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm.checkpoints import save_tokenizer
from tinyldm.versions import TINY
from tinyldm.workshop.clip import Clip, new_clip, pad_tokens
from tinyldm.workshop.corpus import WORDS, Corpus, to_signed_float
from tinyldm.workshop.tokenizer import build_tokenizer
from tinyldm.workshop.training import MovingAverage, Run, Settings, adamw, batch_at, generator_at, mixed_precision


@dataclass(frozen=True)
class ClipSettings(Settings):
    """How CLIP is trained."""

    batch: int = 64
    lr: float = 1e-3
    caption_weight: float = 1.0          # of the two captioning losses; 0 switches them off
    binding_weight: float = 1.0          # of the own caption against its own swapped ones; 0 switches it off
    ema: float = 0.998                   # of the moving average that is kept in the end
    text: dict = None                    # arguments of CLIPTextConfig; None: TINY's
    vision: dict = None                  # arguments of CLIPVisionConfig; None: TINY's


class Captioner(nn.Module):
    """Predict each next word from the words before it and one vector of CLIP's common space.

    The words come as the text tower's own token vectors, which only know what came before; so a decoder of
    one layer is enough. It is thrown away after training.
    """

    def __init__(self, dim: int, heads: int, vocab_size: int, embedding_dim: int, memory: int = 4):
        super().__init__()
        self.to_memory = nn.Linear(embedding_dim, memory * dim)
        self.layer = nn.TransformerDecoderLayer(dim, heads, 4 * dim, dropout=0.0, activation="gelu",
                                                batch_first=True, norm_first=True)
        self.norm = nn.LayerNorm(dim)
        self.to_word = nn.Linear(dim, vocab_size)

    def forward(self, words: Tensor, embedding: Tensor) -> Tensor:
        """words (B, L, D), embedding (B, P) of unit length -> logits of the next word (B, L, V)."""
        memory = self.to_memory(embedding * embedding.shape[1] ** 0.5)  # each number about 1
        memory = memory.view(len(words), -1, words.shape[2])  # (B, memory · D) -> (B, memory, D)
        future = nn.Transformer.generate_square_subsequent_mask(words.shape[1], device=words.device, dtype=words.dtype)
        return self.to_word(self.norm(self.layer(words, memory, tgt_mask=future, tgt_is_causal=True)))


# ── The data: tokens of captions and of their swapped versions ───────────────────────────────────────

@dataclass(frozen=True)
class Words:
    """A corpus in tokens. Caption c = image · W + wording owns the negatives first[c] … first[c + 1] - 1."""

    tokens: Tensor      # (N · W, L) int16
    negatives: Tensor   # (M, L) int16
    first: Tensor       # (N · W + 1,) int64


def tokenized(corpus: Corpus, tokenizer, length: int, device: str) -> Words:
    """All captions and hard negatives of a corpus as tokens, on the device."""
    captions = [caption for wordings in corpus.captions for caption in wordings]
    groups = [group for wordings in corpus.negatives for group in wordings]
    flat = [caption for group in groups for caption in group]
    counts = torch.tensor([0] + [len(group) for group in groups])
    return Words(pad_tokens(tokenizer, captions, length).to(torch.int16).to(device),
                 pad_tokens(tokenizer, flat, length).to(torch.int16).to(device),
                 counts.cumsum(0).to(device))


def hard_negatives(words: Words, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All hard negatives of some captions.

    Args: chosen: (B,) numbers of captions.
    Returns: tokens (K, L) int64; owner (K,) which of the B each belongs to; slot (K,) its place among the owner's.
    """
    first, counts = words.first[chosen], words.first[chosen + 1] - words.first[chosen]
    owner = torch.repeat_interleave(torch.arange(len(chosen), device=chosen.device), counts)
    slot = torch.arange(len(owner), device=chosen.device) - (counts.cumsum(0) - counts)[owner]
    return words.negatives[first[owner] + slot].long(), owner, slot


def shortened(tokens: Tensor, end: int) -> Tensor:
    """Cut off the columns in which every caption has ended: no vector that is used can see them. (B, L) -> (B, L')."""
    longest = (tokens != end).sum(1).max().item() + 1
    return tokens[:, :longest]


# ── The losses ───────────────────────────────────────────────────────────────────────────────────────

def contrastive_losses(similarity: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """The symmetric contrastive loss with hard negatives, and the loss against the hard negatives only.

    Args:
        similarity: (B, B) scaled, image i with caption j; the diagonal belongs together.
        own: (B, S) scaled, image i with its own hard negatives; -inf where there are fewer than S.
    Returns: two scalars, in nats.
    """
    right = torch.arange(len(similarity), device=similarity.device)
    to_text = F.cross_entropy(torch.cat([similarity, own], dim=1), right)
    to_image = F.cross_entropy(similarity.T, right)
    against_own = torch.cat([similarity.diagonal()[:, None], own], dim=1)
    binding = F.cross_entropy(against_own, torch.zeros_like(right), reduction="none")  # 0 without negatives
    has_own = own.isfinite().any(1).float()
    return (to_text + to_image) / 2, (binding * has_own).sum() / has_own.sum().clamp(min=1)


def caption_loss(logits: Tensor, tokens: Tensor, end: int) -> Tensor:
    """Cross-entropy of each next word, up to and with the first end token.  logits (B, L, V), tokens (B, L)."""
    target = tokens[:, 1:]
    counts = (tokens[:, :-1] != end).flatten()  # nothing follows the end
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), target.flatten(), reduction="none")
    return (loss * counts).sum() / counts.sum()


def clip_losses(clip: Clip, captioner: Captioner, images: Tensor, tokens: Tensor, reworded: Tensor,
                negatives: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
    """The four losses of a batch.

    Args:
        images: (B, 3, S, S) in [-1, 1]; tokens: (B, L) a caption of each; reworded: (B, L) another caption, or
            the same; negatives: `hard_negatives` of the first.
    """
    other, owner, slot = negatives
    end, B = clip.text.config.eos_token_id, len(images)
    everything = shortened(torch.cat([tokens, reworded, other]), end)
    text, words = clip.embed_text(everything)
    image, _ = clip.embed_image(images)
    with torch.autocast(images.device.type, enabled=False):  # times 100, bfloat16 would be off by more than a margin
        similarity = clip.scale * image @ text[:B].T
        own = similarity.new_full((B, 4), float("-inf"))
        own[owner, slot] = clip.scale * (image[owner] * text[2 * B:]).sum(1)
    contrastive, binding = contrastive_losses(similarity, own)
    target, said = everything[B:2 * B], words[B:2 * B]
    return {"contrastive": contrastive, "binding": binding,
            "caption_of_image": caption_loss(captioner(said, image), target, end),
            "caption_of_text": caption_loss(captioner(said, text[:B]), target, end)}


# ── The loop ─────────────────────────────────────────────────────────────────────────────────────────

def train_clip(settings: ClipSettings, corpus: Corpus) -> Clip:
    """Train CLIP; write the folder `clip` and `tokenizer` in `settings.out`. Returns the moving average.

    Raises: Stopped after Ctrl-C (saved); OSError when the disk is full (the last checkpoint is whole).
    """
    device = settings.device
    torch.manual_seed(settings.seed)
    clip = new_clip(settings.text or TINY.text[0], settings.vision or TINY.vision).to(device)
    text = clip.text.config
    captioner = Captioner(text.hidden_size, text.num_attention_heads, text.vocab_size, text.projection_dim).to(device)
    average = MovingAverage(clip, settings.ema)
    optimizer = adamw([*clip.parameters(), *captioner.parameters()], settings.lr, weight_decay=0.05)
    tokenizer = build_tokenizer(WORDS, text.max_position_embeddings)
    words = tokenized(corpus, tokenizer, text.max_position_embeddings, device)
    images, wordings = corpus.images.to(device), len(corpus.captions[0])

    modules = {"clip": clip, "captioner": captioner, "average": average.module}
    with Run("clip", settings, modules, {"optimizer": optimizer}, len(corpus)) as run:
        for step in run.steps():
            index = batch_at(settings.seed, step, settings.batch, len(corpus))
            wording = torch.randint(wordings, (2, len(index)), generator=generator_at(settings.seed, step))
            index, (chosen, reworded) = index.to(device), (index * wordings + wording).to(device)
            with mixed_precision(device, settings.bf16):
                losses = clip_losses(clip, captioner, to_signed_float(images[index]), words.tokens[chosen].long(),
                                     words.tokens[reworded].long(), hard_negatives(words, chosen))
            loss = (losses["contrastive"] + settings.binding_weight * losses["binding"]
                    + settings.caption_weight * (losses["caption_of_image"] + losses["caption_of_text"]))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(modules["clip"].parameters(), 1.0)
            optimizer.step()
            average.update(clip, step)
            run.log(loss=loss, **losses)
    average.module.save(settings.out / "clip")
    save_tokenizer(tokenizer, settings.out / "tokenizer")
    return average.module
