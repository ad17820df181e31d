"""Where a model is: shipped with the package, in a folder, or on the Hugging Face hub."""

import re
from pathlib import Path
from typing import Any

from tinyldm.formats.files import explained, read_json
from tinyldm.formats.hub import download

SHIPPED = Path(__file__).parents[1] / "weights"  # what the package ships
# The models that have a name, and how each is trained. A copy of the package may lack their weights.
NAMED = {
    "tiny": ("tinyldm train all", "runs/tiny/model"),
    "pictures": ("tinyldm train all --data drawings --names everyday --out runs/pictures", "runs/pictures/model"),
}


def model_folder(name: str | Path) -> Path:
    """Where a model is on disk: a name of NAMED is in the package, all else is a folder."""
    return SHIPPED / name if str(name) in NAMED else Path(name)


def draws_drawings(folder: Path) -> bool:
    """Whether a model was trained here on the drawings of `data/drawings.py`; its training.json says so.

    Raises: ValueError where that file is broken.
    """
    return _unet_settings(folder).get("data") == "drawings"


def names_of_drawings(folder: Path) -> tuple[str, ...] | None:
    """The names of the drawings on which a model was trained here, where they were not all. Raises: as above."""
    chosen = _unet_settings(folder).get("names")
    return None if chosen is None else tuple(map(str, chosen))


def _unet_settings(folder: Path) -> dict[str, Any]:
    file = folder / "training.json"
    if not file.is_file():
        return {}
    with explained(file):
        settings = read_json(file).get("unet", {}).get("settings", {})
        if not isinstance(settings, dict) or not isinstance(settings.get("names"), list | None):
            raise ValueError("its settings of the U-Net are none that training writes")
        return settings


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
    if str(name) in NAMED and not folder.is_dir():
        command, written = NAMED[str(name)]
        raise ValueError(
            f"the weights of {str(name)!r} did not come with this copy of tinyldm; train them with: {command} "
            f"(then give --model {written}), or give the folder of a model that somebody else trained"
        )
    if folder.is_file():
        raise ValueError(f"{folder} is a file; a model that is one file is opened by from_single_file")
    return folder
