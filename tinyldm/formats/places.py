"""Where a model is: shipped with the package, in a folder, or on the Hugging Face hub."""

import re
from pathlib import Path

from tinyldm.formats.hub import download

SHIPPED = Path(__file__).parents[1] / "weights"  # what the package ships


def model_folder(name: str | Path) -> Path:
    """Where a model is on disk: "tiny" is the one that the package ships, all else is a folder."""
    return SHIPPED / name if str(name) == "tiny" else Path(name)


def find_model(name: str | Path, variant: str | None = None) -> Path:
    """The folder of a model; one that is "owner/name" and no folder here is fetched from the hub.

    Args: variant: which weights to fetch, such as "fp16".
    Raises: ValueError where there is none, or where the name is a single file's.
    """
    folder = model_folder(name)
    try:
        there = folder.exists()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise ValueError(f"{str(name)[:200]} cannot be opened ({error.strerror}); expected a model folder") from None
    if not there and re.fullmatch(r"[\w.-]+/[\w.-]+", str(name)):
        folder = download(str(name), variant)
    if str(name) == "tiny" and not folder.is_dir():
        raise ValueError(
            "no trained weights came with this copy of tinyldm; make your own with: tinyldm train all "
            "(then name the folder that it wrote)"
        )
    if folder.is_file():
        raise ValueError(f"{folder} is a file; a model that is one file is opened by from_single_file")
    return folder
