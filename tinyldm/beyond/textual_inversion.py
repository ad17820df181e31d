"""Textual inversion (2022): teach a model one new word, and nothing else.

    "a <cat> on the moon" ─tokenizer─► tokens ─table─► vectors, that of <cat> is v* ─► text transformer ─► context

    v* = argmin over v of E ‖ε - ε̂(z_t, t, context(v))‖²        all weights frozen: Gal et al. 2022, eq. 2

The article's model is not changed at all: the table of word vectors gets one more row, and the gradient goes through
the whole U-Net and the text transformer to that row alone. What is learnt is 768 numbers, 3 KB. So it can only be what
the model could have drawn before, had there been a word for it; what the model cannot draw needs LoRA, or more.

A word may have several vectors; the caption then gets as many tokens in its place. (diffusers calls them <cat>,
<cat>_1, <cat>_2.) Files have one of three forms:

    diffusers                  {"<cat>": (D,) or (n, D)}                       the word is in the file
    AUTOMATIC1111              {"emb_params": (n, D)}                          the word is the file's name
    both, for XL               {"clip_l": (n, 768), "clip_g": (n, 1280)}       one for each text encoder

Source: Gal et al. 2022, § 3; diffusers `loaders/textual_inversion.py` and `examples/textual_inversion`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tinyldm.clip import TextTransformer
from tinyldm.formats.files import write_safetensors
from tinyldm.formats.refusals import require_file, what_file_is
from tinyldm.formats.tokenizers import Tokenizer
from tinyldm.formats.weights import read_safetensors, read_torch
from tinyldm.latent_diffusion import LatentDiffusion

LEARNED = "learned_embeds.safetensors"  # in a folder of diffusers
MAX_VECTORS = 75  # of one word: a caption of Stable Diffusion has no room for more


def add_word(model: LatentDiffusion, word: str, *vectors: Tensor) -> None:
    """Give a model a new word, in place.

    Args:
        word: such as "<cat>"; a name that is no word yet.
        vectors: (n, D) or (D,), one for each text encoder: one for Stable Diffusion 1 and 2, two for XL.
    Raises: ValueError, and changes nothing, where the word is known already or the vectors have another width.
    """
    towers = model.text_encoder.towers
    rows = [one.reshape(-1, one.shape[-1]) for one in vectors]
    widths = [clip.config.hidden_size for clip, _ in towers]
    if [one.shape[1] for one in rows] != widths:
        raise ValueError(
            f"{word!r:.60} has vectors {', '.join(str(one.shape[1]) for one in rows)} wide, and the text encoder reads "
            f"vectors {', '.join(map(str, widths))} wide: it is for another version"
        )
    for (_, tokenizer), one in zip(towers, rows):
        require_new(tokenizer, word, len(one))
    for (clip, tokenizer), one in zip(towers, rows):
        _append_rows(clip, tokenizer, _add_pieces(tokenizer, word, len(one)), one)


def require_new(tokenizer: Tokenizer, word: str, count: int) -> None:
    """Raise ValueError unless a tokenizer can get this word, and captions have room for its vectors."""
    if not word.strip() or tokenizer.bpe.token_to_id(word) is not None:
        raise ValueError(f"{word!r:.60} is no new word for this model; choose another one, such as '<{word[:40]}>'")
    if not 1 <= count <= MAX_VECTORS:
        raise ValueError(f"{word!r:.60} has {count:,} vectors; expected 1 … {MAX_VECTORS}")


def _add_pieces(tokenizer: Tokenizer, word: str, count: int) -> list[int]:
    """The numbers of the new pieces <cat>, <cat>_1, …, which stand together wherever <cat> is written."""
    names = [word, *(f"{word}_{i}" for i in range(1, count))]
    tokenizer.bpe.add_tokens(names)
    numbers = [number for name in names if (number := tokenizer.bpe.token_to_id(name)) is not None]
    tokenizer.continued[numbers[0]] = numbers[1:]
    return numbers


def _append_rows(clip: TextTransformer, tokenizer: Tokenizer, numbers: list[int], rows: Tensor) -> None:
    """Put vectors behind the others of a text transformer, where the tokenizer's numbers point to."""
    old = clip.embeddings.token_embedding.weight
    table = old.new_zeros(max(tokenizer.bpe.get_vocab_size(), len(old)), old.shape[1])
    table[: len(old)] = old.detach()
    for number, row in zip(numbers, rows.detach().to(table)):
        table[number] = row
    clip.embeddings.token_embedding = nn.Embedding.from_pretrained(table)  # frozen
    clip.config = replace(clip.config, vocab_size=len(table))


def vectors_of(model: LatentDiffusion, word: str) -> list[Tensor]:
    """The vectors (n, D) of a word, one for each text encoder: of a learnt one, or of the pieces of a known one."""
    return [
        clip.embeddings.token_embedding.weight[tokenizer.numbers([word])[0]].detach().clone()
        for clip, tokenizer in model.text_encoder.towers
    ]


@contextmanager
def learning(model: LatentDiffusion, word: str, vectors: Tensor) -> Iterator[None]:
    """While the block lasts, a word that has been added is read as `vectors` (n, D), to which gradients flow.

    The table is looked up as before, and its answer replaced where the word stands: all other rows stay frozen.
    """
    ((clip, tokenizer),) = model.text_encoder.towers
    numbers = tokenizer.numbers([word])[0]

    def replaced(_: nn.Module, inputs: tuple[Tensor], looked_up: Tensor) -> Tensor:
        for number, vector in zip(numbers, vectors):
            looked_up = torch.where((inputs[0] == number)[..., None], vector, looked_up)  # (B, L, D)
        return looked_up

    handle = clip.embeddings.token_embedding.register_forward_hook(replaced)
    try:
        yield
    finally:
        handle.remove()


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────


def load_word(file: str | Path, model: LatentDiffusion, word: str | None = None) -> str:
    """Give a model the word in a file, and return it.

    Args: file: .safetensors or .bin, or a folder with learned_embeds.safetensors; word: None is that of the file.
    Raises: ValueError where the file is missing, broken, something else, or for another model.
    """
    file = Path(file)
    file = file / LEARNED if (file / LEARNED).is_file() else file
    require_file(file, "a word's embedding")
    state = read_torch(file) if file.suffix in (".bin", ".pt") else read_safetensors(file)
    inside, vectors = next(iter(state), ""), list(state.values())
    if state.keys() == {"clip_l", "clip_g"}:
        inside, vectors = file.stem, [state["clip_l"], state["clip_g"]]
    elif state.keys() == {"emb_params"}:
        inside = file.stem
    elif len(state) != 1 or inside.endswith((".alpha", ".weight", ".bias")):
        raise ValueError(f"{file} holds {what_file_is(state)} in {len(state)} tensors; expected a word's embedding")
    if bad := [one for one in vectors if one.dim() not in (1, 2) or not one.is_floating_point()]:
        raise ValueError(f"{file} holds a tensor {tuple(bad[0].shape)}, {bad[0].dtype}; expected a word's vectors")
    word = inside if word is None else word
    try:
        add_word(model, word, *vectors)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    return word


def save_word(model: LatentDiffusion, word: str, file: str | Path) -> None:
    """Write a word's vectors to a .safetensors file that diffusers' `load_textual_inversion` opens."""
    vectors: Any = vectors_of(model, word)
    write_safetensors(Path(file), {word: vectors[0]} if len(vectors) == 1 else dict(zip(("clip_l", "clip_g"), vectors)))
