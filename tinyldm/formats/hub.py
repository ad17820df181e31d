"""The Hugging Face hub: fetching what this package reads of a model, and nothing else."""

from pathlib import Path

WEIGHTS = ("unet", "vae", "text_encoder")  # the parts whose weights every model has


def download(name: str, variant: str | None) -> Path:
    """Fetch what this package reads of a model on the hub, or find it in the local cache.

    Args: name: "owner/name"; variant: such as "fp16", or None.  Returns: its folder.
    Raises: ValueError, with the way to get the files, where the hub cannot be reached or refuses.
    """
    from huggingface_hub import snapshot_download

    folder = Path()
    try:
        for some, ending in _kinds(variant):
            patterns = ["*.json", "*/merges.txt", *_patterns(some, ending)]
            folder = Path(snapshot_download(name, allow_patterns=patterns, ignore_patterns=["safety_checker/*"]))
            if all(any((folder / part).glob(f"*.{ending}")) for part in WEIGHTS):
                break
        return folder
    except (OSError, ValueError) as error:  # all of the hub's errors are kinds of these
        raise ValueError(
            f"{name!r} is no folder here, and the hub did not give it ({type(error).__name__}). Where "
            f"there is a connection, run: hf download {name} --local-dir FOLDER; then give FOLDER"
        ) from None


def _kinds(variant: str | None) -> list[tuple[str | None, str]]:
    """(variant, ending) of the weights to ask for, one after the other, until there are some."""
    if variant is not None:
        return [(variant, "safetensors"), (variant, "bin")]
    return [(None, "safetensors"), ("fp16", "safetensors"), (None, "bin"), ("fp16", "bin")]


def _patterns(variant: str | None, ending: str) -> list[str]:
    suffix, shard = "" if variant is None else f".{variant}", "-?????-of-?????"
    stems = ("diffusion_pytorch_model", "model" if ending == "safetensors" else "pytorch_model")
    # In the names of shards, both orders are on the hub.
    return [f"*/{stem}{end}.{ending}" for stem in stems for end in {suffix, shard + suffix, suffix + shard}]
