"""The folder of CLIP's tokenizer."""

from pathlib import Path
from typing import TYPE_CHECKING

from tinyldm.formats.files import read_json, write_bytes, write_json

if TYPE_CHECKING:
    from transformers import CLIPTokenizer


def load_tokenizer(folder: Path) -> "CLIPTokenizer":
    """Read CLIP's tokenizer from its folder."""
    from transformers import CLIPTokenizer

    if not folder.is_dir():
        raise ValueError(f"{folder} does not exist; expected a folder with CLIP's tokenizer")
    # Without them transformers makes a tokenizer without words, which reads every caption as the same.
    old = [folder / name for name in ("vocab.json", "merges.txt")]
    if not (folder / "tokenizer.json").is_file() and (missing := [file for file in old if not file.is_file()]):
        raise ValueError(f"{missing[0]} does not exist, nor does tokenizer.json beside it; fetch them again")
    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the library behind it raises nothing narrower
        raise ValueError(f"the tokenizer in {folder} cannot be read ({error}); fetch it again") from None


def save_tokenizer(tokenizer: "CLIPTokenizer", folder: Path) -> None:
    """Write a tokenizer for transformers 5 (tokenizer.json) and for older ones (vocab.json and merges.txt)."""
    tokenizer.save_pretrained(folder)
    if (folder / "tokenizer.json").is_file():
        model = read_json(folder / "tokenizer.json")["model"]
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
        write_json(folder / "vocab.json", tokenizer.get_vocab())
        write_bytes(folder / "merges.txt", "\n".join(["#version: 0.2", *merges, ""]).encode())
