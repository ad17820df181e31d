"""What is in a student's file: its code cells, as they are. `source.py` looks into them, in a process of its own."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 2**20 * 8  # of a notebook, with its pictures
MAX_CODE = 2**20  # of its code
WHOLE = -1  # the "lesson" of what is said about all that a student handed in


@dataclass(frozen=True)
class Submission:
    """One file of one student.

    Attributes:
        lesson: its number; WHOLE for what is said about everything together.
        cells: its code, a string for each cell.
        problem: why it cannot be graded; empty if it can.
    """

    student: str
    lesson: int
    cells: tuple[str, ...] = ()
    problem: str = ""


def read_submission(student: str, lesson: int, files: list[Path], names: list[str]) -> Submission:
    """What a student handed in for a lesson; a problem with it becomes a part of it. names: what to call the files."""
    if len(files) > 1:
        problem = f"more than one file was handed in for this lesson: {', '.join(names)[:200]}; keep one"
        return Submission(student, lesson, problem=problem)
    try:
        cells = cells_of(files[0])
    except (ValueError, OSError, RecursionError) as error:
        return Submission(student, lesson, problem=f"{names[0]} cannot be read: {in_words(error)}")
    return Submission(student, lesson, tuple(cells))


def in_words(error: Exception) -> str:
    """What is wrong with a file, in words for somebody who has never heard of JSON."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply to be a notebook"
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return str(error)[:200]


def is_notebook(name: str) -> bool:
    """Does a file's name promise a notebook? Some browsers and mail programs put another ending behind .ipynb."""
    return not re.search(r"\.py(\.txt)?$", name, re.IGNORECASE)


def cells_of(file: Path) -> list[str]:
    """The code cells of a notebook or a percent-format script. Raises ValueError that says what is wrong with it."""
    if file.is_symlink():
        raise ValueError("it is a link to another file")
    if not file.is_file():
        raise ValueError("it is not a regular file")
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(f"it has {file.stat().st_size:,} bytes; the limit is {MAX_BYTES:,}: clear the outputs")
    text = as_text(file.read_bytes())
    if not text.strip():
        raise ValueError("it is empty")
    cells = notebook_cells(text) if is_notebook(file.name) else script_cells(text)
    if not any(cell.strip() for cell in cells):
        raise ValueError("it contains no code")
    if sum(map(len, cells)) > MAX_CODE:
        raise ValueError(f"it has more than {MAX_CODE:,} characters of code")
    return cells


def as_text(data: bytes) -> str:
    """Text as editors save it: UTF-8, UTF-16 with its mark, or the old encoding of Windows. Raises ValueError."""
    if b"\0" in data and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("it is not a text file")
    for encoding in ("utf-16",) if b"\0" in data else ("utf-8-sig", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise ValueError("it is in an unknown encoding; save it as UTF-8")


def notebook_cells(text: str) -> list[str]:
    """The code cells of a notebook's JSON. Its outputs and its metadata are ignored."""
    try:
        whole = json.loads(text)
    except ValueError as error:
        raise ValueError(f"it is damaged, or not a notebook ({error})") from None
    if isinstance(whole, dict) and "worksheets" in whole:
        raise ValueError("it is a notebook of an old version; open it in Jupyter and save it again")
    try:
        code = [cell["source"] for cell in whole["cells"] if cell["cell_type"] == "code"]
        return ["".join(source) for source in code]
    except (KeyError, TypeError) as error:
        what = f"a part without {error}" if isinstance(error, KeyError) else "a part that no notebook has"
        raise ValueError(f"it is damaged, or not a notebook ({what}); open it in Jupyter and save it again") from None


def script_cells(text: str) -> list[str]:
    """The code cells of a script, divided by `# %%` or nbconvert's `# In[3]:`. `# %% [markdown]` does not start one."""
    parts = re.split(r"(?m)^# ?(?:%%|In ?\[)(.*)$", text)
    cells = [parts[0]] + [code for heading, code in zip(parts[1::2], parts[2::2]) if "[markdown]" not in heading]
    return [cell for cell in cells if cell.strip()]
