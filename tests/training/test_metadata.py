"""Captions of a folder: every way of writing them down is read, or named; no caption is mangled or lost in silence."""

import builtins
import json
import sys
import types

import pytest
from PIL import Image

from tinyldm.data.folder import Folder
from tinyldm.data.metadata import captions_of


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    return tmp_path


def write(folder, content: str | bytes, suffix: str = "jsonl", encoding: str = "utf-8"):
    (folder / f"metadata.{suffix}").write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return folder


def row(name: str, text: str) -> str:
    return json.dumps({"file_name": name, "text": text}, ensure_ascii=False)


LINE = '{"file_name": "a.png", "text": "a dog’s café"}\n'


# ── Lines ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("inside", ["\u2028", "\u2029", "\x85", "\v", "\f", "\x1c", "\x1e", "\t", "\\n", "\\u2028"])
def test_only_a_newline_ends_a_line(folder, inside):
    line = f'{{"file_name": "a.png", "text": "one{inside}two"}}'
    data = Folder(write(folder, line + "\n" + row("b.png", "three")))
    decoded = {"\\n": "\n", "\\u2028": "\u2028"}.get(inside, inside)
    assert data.captions == [f"one{decoded}two", "three"] and data.skipped == []


def test_lines_of_windows_and_a_missing_last_newline(folder):
    assert captions_of(write(folder, row("a.png", "one") + "\r\n\r\n" + row("b.png", "two"))) == [
        ("a.png", "one"),
        ("b.png", "two"),
    ]


@pytest.mark.parametrize("key", ["text", "caption", "prompt"])
def test_names_of_the_caption(folder, key):
    assert captions_of(write(folder, json.dumps({"file_name": "a.png", key: " one "}))) == [("a.png", "one")]


def test_the_first_caption_that_is_one_counts(folder):
    rows = [{"text": "one", "caption": "two"}, {"text": None, "prompt": "three"}, {"text": " ", "caption": "four"}]
    content = "\n".join(json.dumps({"file_name": "a.png"} | some) for some in rows)
    assert [caption for _, caption in captions_of(write(folder, content))] == ["one", "three", "four"]


# ── Encodings ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_that_say_what_they_are_are_read(folder, encoding):
    """UTF-16 with a mark is what PowerShell's `>` writes."""
    data = Folder(write(folder, LINE, encoding=encoding))
    assert data.captions == ["a dog’s café"] and data.skipped == []


def test_a_line_that_is_not_utf8_is_named(folder):
    """Case 11. The lines around it are used."""
    data = Folder(write(folder, LINE.encode("cp1252") + row("b.png", "größer").encode()))
    assert data.captions == ["größer"]
    ((where, why),) = data.skipped
    assert where == "line 1" and "not UTF-8" in why and "0x92" in why and "’" in why and "Windows-1252" in why


def test_nothing_in_utf8_is_an_error_that_says_so(folder):
    with pytest.raises(ValueError, match="nothing usable .* line 1 .*not UTF-8.*save the file as UTF-8"):
        Folder(write(folder, LINE, encoding="cp1252"))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_named(folder, encoding):
    with pytest.raises(ValueError, match="not UTF-8 but UTF-16"):
        Folder(write(folder, LINE, encoding=encoding))


def test_damaged_utf16_is_named(folder):
    with pytest.raises(ValueError, match="begins like UTF-16 and is damaged"):
        Folder(write(folder, LINE.encode("utf-16") + b"\x00"))


# ── CSV ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv(folder, separator):
    rows = [["file_name", "prompt"], ["a.png", f'"one{separator} two"'], ["b.png", '"three\nfour"'], ["gone.png", "x"]]
    content = "\r\n".join(separator.join(row) for row in rows)
    data = Folder(write(folder, content, "csv", "utf-8-sig"))
    assert data.captions == [f"one{separator} two", "three\nfour"]
    assert data.skipped == [("gone.png", "no such file")]


def test_csv_that_cannot_be_used(folder):
    with pytest.raises(ValueError, match="begins with 'a.png,one'.*file_name,text"):
        Folder(write(folder, "a.png,one\n", "csv"))
    with pytest.raises(ValueError, match="not UTF-8: its byte 0x92"):
        Folder(write(folder, "file_name,text\na.png,a dog’s", "csv", "cp1252"))
    with pytest.raises(ValueError, match=r'line 2 \("text" \(or "caption", or "prompt"\) is missing'):
        Folder(write(folder, "file_name,text\na.png\n", "csv"))


def test_two_lists_of_captions_are_refused(folder):
    write(folder, "file_name,text\na.png,one\n", "csv")
    with pytest.raises(ValueError, match="metadata.jsonl and metadata.csv; expected one"):
        Folder(write(folder, row("a.png", "one")))


# ── Parquet ──────────────────────────────────────────────────────────────────────────────────────────

ROWS = [{"file_name": "a.png", "caption": "one"}, {"file_name": "b.png", "caption": None}]


def forbid(monkeypatch, *names: str) -> None:
    """Let these packages be as if they were not installed."""
    real = builtins.__import__

    def importing(name, *rest, **named):
        if name.partition(".")[0] in names:
            raise ImportError(name)
        return real(name, *rest, **named)

    for name in [module for module in sys.modules if module.partition(".")[0] in names]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", importing)


def test_parquet_says_what_to_install(folder, monkeypatch):
    forbid(monkeypatch, "pyarrow", "pandas")
    with pytest.raises(ValueError, match="metadata.parquet needs pyarrow; install it with: pip install pyarrow"):
        Folder(write(folder, b"PAR1", "parquet"))


def test_parquet_through_pandas_where_that_is_there(folder, monkeypatch):
    forbid(monkeypatch, "pyarrow")
    pandas = types.ModuleType("pandas")
    pandas.read_parquet = lambda file: types.SimpleNamespace(to_dict=lambda kind: ROWS if kind == "records" else None)
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    data = Folder(write(folder, b"PAR1", "parquet"))
    assert data.captions == ["one"] and data.skipped[0][0] == "row 2"


def test_parquet(folder):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(ROWS), folder / "metadata.parquet")
    data = Folder(folder)
    assert data.captions == ["one"] and data.skipped[0][0] == "row 2"
    with pytest.raises(ValueError, match="not a Parquet file"):
        Folder(write(folder, b"PAR1", "parquet"))
