"""Captions of a folder of pictures: `metadata.jsonl`, `metadata.csv` or `metadata.parquet`, as Hugging Face names them.

Each row has a `file_name` and a caption, which is called `text`, `caption` or `prompt`. In metadata.jsonl a row is one
line of JSON: {"file_name": "cat.jpg", "text": "a cat on a chair"}. A row that cannot be used is skipped, and named.
"""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinyldm.formats.files import read_bytes

MAX_METADATA = 2**28  # bytes of a list of captions: a million lines and more
CAPTION_KEYS = ("text", "caption", "prompt")  # in this order, where a row has more than one
MARKS = {b"\xff\xfe\x00\x00": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}  # how such files begin

Row = tuple[str, dict | ValueError]  # where it stands ("line 3"), and what is there or what is wrong with it


def captions_of(folder: Path) -> list[tuple[str, str | ValueError]]:
    """Read which pictures a folder has, and their captions.

    Returns: for each row its file name and caption; or where it stands ("line 3"), and what is wrong with it.
    Raises: ValueError where there is no such file, more than one, or none that can be read.
    """
    file = _metadata_file(folder)
    read_rows = {".jsonl": _json_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}[file.suffix]
    entries: list[tuple[str, str | ValueError]] = []
    for where, row in read_rows(file):
        try:
            entries.append(_entry(row))
        except ValueError as error:
            entries.append((where, error))
    return entries


def _metadata_file(folder: Path) -> Path:
    found = [file for end in ("jsonl", "csv", "parquet") if (file := folder / f"metadata.{end}").is_file()]
    if not found:
        raise ValueError(
            f"{folder} has no metadata.jsonl (nor metadata.csv or metadata.parquet); expected a folder with one line "
            '{"file_name": "cat.jpg", "text": "a cat"} in that file for each image'
        )
    if len(found) > 1:
        raise ValueError(f"{folder} has {' and '.join(file.name for file in found)}; expected one of them")
    return found[0]


def _entry(row: dict | ValueError) -> tuple[str, str]:
    """File name and caption of a row. Raises ValueError for a row without."""
    if isinstance(row, ValueError):
        raise row
    name = row.get("file_name")
    if not isinstance(name, str) or not name.strip():
        raise ValueError('"file_name" is missing, empty or not text')
    return name, caption_of(row)


def caption_of(row: dict[str, Any]) -> str:
    """The caption in a row, whatever it is called. Raises ValueError for a row without."""
    captions = [row.get(key) for key in CAPTION_KEYS]
    caption = next((text for text in captions if isinstance(text, str) and text.strip()), None)
    if caption is None:
        raise ValueError('"text" (or "caption", or "prompt") is missing, empty or not text')
    return caption.strip()


# ── The three formats ────────────────────────────────────────────────────────────────────────────────


def _json_rows(file: Path) -> Iterator[Row]:
    """One row a line. Lines end with "\\n" alone: JSON allows every other kind of line end inside a text."""
    for number, line in enumerate(_utf8(file).split(b"\n"), start=1):
        if line.strip():
            try:
                yield f"line {number}", _json_row(line)
            except ValueError as error:
                yield f"line {number}", error


def _json_row(line: bytes) -> dict:
    try:
        row = json.loads(line.decode(), strict=False)  # not strict: a tab inside a text is no reason to skip it
    except UnicodeDecodeError as error:
        raise ValueError(_not_utf8(error)) from None
    except (json.JSONDecodeError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(row, dict):
        raise ValueError('not an object in braces, such as {"file_name": "cat.jpg", "text": "a cat"}')
    return row


def _csv_rows(file: Path) -> Iterator[Row]:
    """Columns with a header, separated by commas, semicolons or tabs."""
    try:
        content = _utf8(file).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is {_not_utf8(error)}") from None
    header = content.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(content, newline=""), delimiter=separator)
    try:
        columns = reader.fieldnames or ()
    except csv.Error as error:
        raise ValueError(f"{file} is not CSV: {error}") from None
    if "file_name" not in columns:
        raise ValueError(
            f"{file} begins with {header.strip()!r:.80}; expected the names of its columns: file_name,text"
        )
    try:
        for row in reader:
            yield f"line {reader.line_num}", row
    except csv.Error as error:
        yield f"line {reader.line_num}", ValueError(f"not CSV: {error}")


def _parquet_rows(file: Path) -> Iterator[Row]:
    for number, row in enumerate(_parquet_table(file), start=1):
        yield f"row {number}", row


def _parquet_table(file: Path) -> list[dict[str, Any]]:
    """All rows, by whichever library is there. Raises ValueError where none is, or the file is broken."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        pass
    else:
        try:
            return parquet.read_table(file).to_pylist()
        except (ArrowException, OSError) as error:
            raise ValueError(f"{file} is not a Parquet file that can be read ({error})") from None
    try:
        import pandas

        return pandas.read_parquet(file).to_dict("records")
    except ImportError:
        raise ValueError(f"reading {file} needs pyarrow; install it with: pip install pyarrow") from None


# ── Encodings ────────────────────────────────────────────────────────────────────────────────────────


def _utf8(file: Path) -> bytes:
    """The bytes of a text file in UTF-8, without a byte-order mark. From UTF-16 and UTF-32 they are converted.

    Bytes that are no UTF-8 are left as they are. Raises: ValueError for UTF-16 that does not say so, or is damaged.
    """
    content = read_bytes(file, MAX_METADATA, "a list of captions")
    encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), None)
    if encoding is None and b"\0" in content:
        raise ValueError(f"{file} is not UTF-8 but UTF-16, or not text at all: save it as UTF-8")
    if encoding is None:
        return content.removeprefix(b"\xef\xbb\xbf")
    try:
        return content.decode(encoding).encode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} begins like {encoding.upper()} and is damaged ({error}): save it as UTF-8") from None


def _not_utf8(error: UnicodeDecodeError) -> str:
    byte = error.object[error.start]
    windows = bytes([byte]).decode("cp1252", errors="replace")
    return f"not UTF-8: its byte {byte:#04x} is {windows!r} in Windows-1252; save the file as UTF-8"
