"""What leaves the program besides pictures: one line per message, text that any terminal takes, places for files."""

import codecs
import errno
import os
import select
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

MAX_LINE = 600
LOOKALIKES = {"×": "x", "…": "...", "─": "-", "·": "-", "→": "->", "−": "-", "–": "-", "’": "'", "ᾱ": "alpha_bar"}


# ── Messages ─────────────────────────────────────────────────────────────────────────────────────────


def to_stderr(message: str) -> None:
    """Write one line to stderr, whatever the message's length and content."""
    if sys.stderr is not None:
        with suppress(OSError):  # a full disk or a closed pipe: there is nowhere left to say so
            print(one_line(f"tinyldm: {message}"), file=sys.stderr)


def one_line(message: str) -> str:
    """A message without line breaks and without characters that would move the terminal's cursor."""
    line = "".join(character if character.isprintable() else "�" for character in " ".join(message.split()))
    return line if len(line) <= MAX_LINE else line[:MAX_LINE] + " …"


@contextmanager
def one_line_warnings() -> Iterator[None]:
    """In this block, warnings are one line each, without the file and line of code that they come from."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)  # each of them once
        usual = warnings.showwarning

        def show(message, category, filename, lineno, file=None, line=None) -> None:
            if issubclass(category, UserWarning):
                to_stderr(f"warning: {message}")
            else:
                usual(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield


# ── Standard streams ─────────────────────────────────────────────────────────────────────────────────


def accept_any_character() -> None:
    """Let stdout and stderr replace the characters that their encoding lacks, instead of failing.

    On Windows, pipes and files use legacy encodings: cp1252, cp437, cp932.
    """
    codecs.register_error("tinyldm", replacement)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # a program without a console, on Windows; or closed by the shell
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif getattr(stream, "errors", None) in ("strict", "backslashreplace") and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="tinyldm")


def replacement(error: UnicodeError) -> tuple[str, int]:
    """A codecs error handler: something similar in ASCII, or "?"; a byte of a file name that was not UTF-8 as \\xe9."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(in_ascii, error.object[error.start : error.end])), error.end


def in_ascii(character: str) -> str:
    """An ASCII substitute for one character."""
    if "\udc80" <= character <= "\udcff":  # how Python keeps a byte that it could not decode
        return f"\\x{ord(character) - 0xDC00:02x}"
    return LOOKALIKES.get(character, "?")


def without_surrogates(text: str) -> str:
    """Text that UTF-8 can hold: bytes of a file name that were not UTF-8 become "\\xe9"."""
    codecs.register_error("tinyldm", replacement)
    return text.encode("utf-8", "tinyldm").decode()


def flush_stderr() -> None:
    """Write what is still in the buffer, or drop it: there is nowhere left to say that it cannot be written."""
    try:
        sys.stderr.flush()
    except OSError:
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Drop what is in a stream's buffer and all that follows."""
    with suppress(OSError, ValueError):  # not a real file: a test's, a notebook's
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def reader_is_gone() -> bool:
    """Has whoever read our output closed it, as in `tinyldm info | head -1`?"""
    try:
        stdout = select.poll()
        stdout.register(sys.stdout.fileno(), select.POLLOUT)
        return any(events & select.POLLERR for _, events in stdout.poll(0))
    except (AttributeError, OSError, ValueError):  # Windows; a test's or a notebook's stdout
        return False


def flush_stdout() -> bool:
    """Write what is still in the buffer, and return whether anybody reads it. If not, it is dropped.

    Raises: OSError where it cannot be written for another reason, such as a full disk. What is left is dropped then,
        too, so that Python does not complain when it ends.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        discard(sys.stdout)
        if error.errno in (errno.EPIPE, errno.EINVAL):  # the second is Windows's
            return False
        raise
    return True


# ── Places for files ─────────────────────────────────────────────────────────────────────────────────


def require_writable(file: Path, suffixes: tuple[str, ...]) -> None:
    """Create the parent folder of a file to be written, before the long work starts.

    Raises: ValueError if the name has none of `suffixes`, or no file can be written there.
    """
    if file.is_dir():
        raise ValueError(f"{file} is a folder; expected the name of a file")
    if file.suffix.lower() not in suffixes:
        raise ValueError(f"{str(file)!r} cannot be written; expected a name that ends in {' or '.join(suffixes)}")
    try_to_write(file, file.with_name(file.name + ".partial"))


def require_writable_folder(folder: Path) -> None:
    """Make a folder in which many files will be written. Raises ValueError if none can be."""
    try_to_write(folder, folder / ".partial")


def try_to_write(place: Path, probe: Path) -> None:
    """Write the empty file `probe`, and remove it. Raises ValueError that names `place`."""
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"cannot write {place}: a part of the path is a file") from None
    except OSError as error:
        raise ValueError(f"cannot write {place}: {error.strerror}") from None
