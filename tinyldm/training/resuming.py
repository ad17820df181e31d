"""Going on with a run: what has changed since it began, and that nobody else is writing to its folder."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

# Settings that say where, how long and how often, but not what is learnt.
FREE = {"out", "steps", "minutes", "device", "resume", "overwrite", "save_seconds", "progress", "sample_seconds"}
FREE |= {"accumulate", "recompute", "compile", "ema_on_cpu", "cache"}

# ── What has changed ─────────────────────────────────────────────────────────────────────────────────


def say_other_settings(name: str, facts: dict[str, Any], now: dict[str, Any], images: int = 0) -> None:
    """Warn where a run goes on with other settings, or with another number of images, than it began with.

    Args: facts: of its checkpoint; now: the settings as `describe` writes them; images: 0 if not known.
    """
    before = facts.get("settings", {})
    changed = [
        f"{key} {before[key]!s:.80} → {value!s:.80}"
        for key, value in now.items()
        if key not in FREE and key in before and before[key] != value
    ]
    if images and facts.get("images", images) != images:
        changed.append(f"images {facts['images']:,} → {images:,}")
    if changed:
        warnings.warn(
            f"{name} goes on from step {facts['step']:,} with other settings than it began with: {', '.join(changed)}",
            stacklevel=3,
        )


def say_other_runs(folder: Path, images: int, facts_of: dict[str, dict[str, Any]]) -> None:
    """Warn where the folder of a run holds stages that were trained on other images: then it is two runs in one.

    Args: images: of this run; facts_of: stage -> the facts of its checkpoint.
    """
    others = [
        f"{stage} was trained on {facts['images']:,}"
        for stage, facts in facts_of.items()
        if facts.get("images", images) not in (0, images)
    ]
    if others:
        warnings.warn(
            f"{folder} holds stages of another run: {', '.join(others)} images, and this one has {images:,}; choose "
            "another folder with --out, if they do not belong together",
            stacklevel=3,
        )


# ── Who else is there ────────────────────────────────────────────────────────────────────────────────


@contextmanager
def reserved(folder: Path) -> Iterator[None]:
    """While the block lasts, no other training writes to this folder. Several processes of one training are one.

    Raises: ValueError where another one does. (The lock goes with the process that holds it, however it ends.)
    """
    if os.environ.get("RANK", "0") != "0":  # the first process of this training holds it
        yield
        return
    lock = FileLock(folder / "training.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"another training is writing to {folder}; wait until it has ended, or choose another folder with --out"
        ) from None
    try:
        yield
    finally:
        lock.release()
