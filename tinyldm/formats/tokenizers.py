"""The folder of CLIP's tokenizer.

It is read by the `tokenizers` library alone: transformers, which wraps it, takes seconds to import.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyldm import shapes
from tinyldm.clip import TextTransformer
from tinyldm.conditioning import tokenize
from tinyldm.formats.files import (
    MAX_JSON,
    MAX_SHOWN,
    explained,
    read_bytes,
    read_json,
    require_whole,
    write_bytes,
    write_json,
)

if TYPE_CHECKING:
    import tokenizers

KINDS_OF_WORDS = ("single_word", "lstrip", "rstrip", "normalized", "special")  # what tokenizer.json says of one
START, END = "<|startoftext|>", "<|endoftext|>"
# A word, a number, a run of other signs, or one of English's endings, is cut into pieces on its own.
WORD = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"  # OpenAI's, as is


class Tokenizer:
    """Cuts captions into word pieces, and numbers them.

    Args: bpe: the byte-pair encoding; pad: the piece that fills up short captions; length: L, if all had one length.
    """

    def __init__(self, bpe: "tokenizers.Tokenizer", pad: str = END, length: int = 77):
        self.bpe, self.length = bpe, length
        self.start, self.end, self.pad = (shapes.require_piece(bpe, piece) for piece in (START, END, pad))
        bpe.add_special_tokens([pad])  # in a caption it stays whole, too: so Stable Diffusion 2 reads each "!"
        self.continued: dict[int, list[int]] = {}  # a learnt word of several vectors: its first piece -> the others

    def pieces(self, caption: str) -> list[str]:
        """The word pieces of a caption, without start and end. One that ends a word ends in "</w>"."""
        return self.bpe.encode(caption, add_special_tokens=False).tokens

    def numbers(self, captions: list[str]) -> list[list[int]]:
        """The numbers of the pieces of each caption."""
        encodings = self.bpe.encode_batch(captions, add_special_tokens=False)
        return [[n for first in one.ids for n in (first, *self.continued.get(first, []))] for one in encodings]

    def text(self, numbers: list[int]) -> str:
        """What pieces say, put together again."""
        return self.bpe.decode(numbers, skip_special_tokens=False).replace("</w>", " ").strip()


def clip_bpe(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> "tokenizers.Tokenizer":
    """CLIP's way to cut a text: lower case, words, bytes, and byte pairs joined in the order of `merges`."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    bpe = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=merges,
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
            fuse_unk=False,
            unk_token=END,
        )
    )
    bpe.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(WORD), "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    bpe.post_processor = processors.RobertaProcessing(
        (END, vocabulary[END]), (START, vocabulary[START]), trim_offsets=False, add_prefix_space=False
    )
    bpe.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in (START, END)])
    return bpe


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read CLIP's tokenizer from its folder.

    Of tokenizer.json only the pieces are read: how a text is cut into words is CLIP's own, and no stranger's pattern.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} does not exist; expected a folder with CLIP's tokenizer")
    whole, old = folder / "tokenizer.json", [folder / name for name in ("vocab.json", "merges.txt")]
    if not whole.exists() and (missing := [file for file in old if not file.is_file()]):
        raise ValueError(f"{missing[0]} does not exist, nor does tokenizer.json beside it; fetch them again")
    with _panics_explained(folder):
        bpe = clip_bpe(*(_pieces_of(whole) if whole.exists() else _old_pieces_of(*old)))
        _add(bpe, whole if whole.exists() else folder / "added_tokens.json")
        with explained(folder / "tokenizer_config.json"):
            return Tokenizer(bpe, *_pad_and_length(folder))


def _pieces_of(file: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The pieces of a tokenizer.json, and the pairs that are joined to them."""
    with explained(file):
        model = read_json(file)["model"]
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
        return model["vocab"], [(first, second) for first, second in pairs]


def _old_pieces_of(vocabulary: Path, merges: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The same of the older two files."""
    pieces = read_json(vocabulary)
    with explained(merges):
        lines = read_bytes(merges, MAX_JSON, "CLIP's merges").decode().split("\n")
        pairs = [line.rstrip("\r").split(" ") for line in lines if line.strip() and not line.startswith("#version")]
        return pieces, [(first, second) for first, second in pairs]


def _add(bpe: "tokenizers.Tokenizer", file: Path) -> None:
    """Give a tokenizer the words that a model was taught later, as textual inversion does."""
    from tokenizers import AddedToken

    with explained(file):
        content = read_json(file) if file.exists() else {}
        listed = content.get("added_tokens", []) if "model" in content else _as_listed(content)
        for word in sorted(listed, key=lambda word: word["id"]):
            kind = {name: word[name] for name in KINDS_OF_WORDS if name in word}
            bpe.add_tokens([AddedToken(word["content"], **kind)])
            if bpe.token_to_id(word["content"]) != word["id"]:
                raise ValueError(
                    f"{word['content']!r:.60} has the number {word['id']!r:.60}, which is not the next one"
                )


def _as_listed(added: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"content": piece, "id": number} for piece, number in added.items()]


@contextmanager
def _panics_explained(folder: Path) -> Iterator[None]:
    """Whatever goes wrong inside the library, which is written in Rust and may panic, becomes a ValueError."""
    try:
        yield
    except (MemoryError, KeyboardInterrupt, SystemExit, ValueError) as error:
        if isinstance(error, ValueError) and str(folder) not in str(error):
            raise ValueError(f"the tokenizer in {folder} cannot be read ({str(error)[:MAX_SHOWN]})") from None
        raise
    except BaseException as error:
        reason = str(error)[:MAX_SHOWN] or type(error).__name__
        raise ValueError(f"the tokenizer in {folder} cannot be read ({reason}); fetch it again") from None


TRIAL = "a red circle, " + "".join(map(chr, range(32, 256))) + "猫🟥"  # words, and every byte that UTF-8 has


def require_words_of(tokenizer: Tokenizer, clip: TextTransformer, folder: Path) -> None:
    """Raise ValueError unless a tokenizer can read any caption, and gives numbers that its text transformer has.

    Args: folder: the tokenizer's.
    """
    entries, length = clip.config.vocab_size, clip.config.max_position_embeddings
    with _panics_explained(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a trial that is cut off
        tokenize(tokenizer, ["", TRIAL], length)
        largest = max(tokenizer.bpe.get_vocab().values())
    if largest >= entries:
        raise ValueError(
            f"the tokenizer in {folder} has pieces up to number {largest:,}, and its text encoder knows {entries:,}, "
            "counted from 0: they do not belong together"
        )


def _pad_and_length(folder: Path) -> tuple[str, int]:
    """What fills up short captions, and to which length, as the small files beside the tokenizer say."""
    config: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):  # the second one counts more
        config |= read_json(folder / name) if (folder / name).exists() else {}
    pad = config.get("pad_token") or END
    pad = pad["content"] if isinstance(pad, dict) else pad
    require_whole(config, {"model_max_length": 10**31})  # transformers writes 10³⁰ where there is no limit
    return pad, config.get("model_max_length", 77)


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write a tokenizer for transformers 5 (tokenizer.json) and for older ones (vocab.json and merges.txt)."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.bpe.save(str(folder / "tokenizer.json"))
    model = read_json(folder / "tokenizer.json")["model"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    write_json(folder / "vocab.json", tokenizer.bpe.get_vocab())
    write_bytes(folder / "merges.txt", "\n".join(["#version: 0.2", *merges, ""]).encode())
    special = {"bos_token": START, "eos_token": END, "unk_token": END}
    special["pad_token"] = str(tokenizer.bpe.id_to_token(tokenizer.pad))
    length = {"model_max_length": tokenizer.length, "tokenizer_class": "CLIPTokenizer"}
    write_json(folder / "tokenizer_config.json", {**special, **length})
