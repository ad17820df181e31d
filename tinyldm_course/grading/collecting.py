"""Who handed in what: each student's files, wherever they lie and however they are named. Nobody is left out.

    class/ada/02.ipynb                        a folder for each student
    class/ada/week 1/lesson02.py              sub-folders, and words around the number
    class/doejane_LATE_1234_5678_02.ipynb     a download of Canvas, which has no folders: doejane_1234
    class/Jane Doe_42_assignsubmission_file_  a folder in a download of Moodle: Jane Doe_42
    class/02_ada.ipynb                        a file without a folder

A file that cannot be used becomes a sentence about it, in the line of the student who handed it in.
"""

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tinyldm_course.exercises import lesson, numbers
from tinyldm_course.grading.submissions import WHOLE, Submission, read_submission

MAX_DEPTH = 8  # folders below a student's own
MAX_ENTRIES = 2000  # files and folders of a student that are inspected
MAX_NAMED = 3  # files that a sentence lists
MAX_NAME = 80  # characters of a student's name in the table
ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".xz", ".bz2")
NOT_THEIRS = ("__macosx", "__pycache__", "node_modules", "site-packages")  # made by programs, as are dot folders
NOT_STUDENTS = (*NOT_THEIRS, ".git", ".github", ".vscode", ".idea", ".ipynb_checkpoints", ".pytest_cache", ".venv")
CODE = re.compile(r"\.(ipynb|py)(\.(json|txt))?$|\.json$", re.IGNORECASE)
COPY = re.compile(r"([ _-]*\(\d+\)|[ _-]+copy[ _-]*\d*|-\d{1,2})+$", re.IGNORECASE)  # "02 (1)", "02-Copy1", "02-1"
CANVAS = re.compile(r"(?P<who>[^_]+)_(?:LATE_)?(?P<user>\d+)_\d+_(?P<file>.+)", re.IGNORECASE)
MOODLE = re.compile(r"(?P<student>.+_\d+)_assignsubmission_(file|onlinetext)_?")


@dataclass
class Found:
    """What one student handed in.

    Attributes:
        files: lesson -> (file, what to call it).
        remarks: sentences about what could not be used.
        others: about files that nobody means to have graded: a README, a picture. Told where there is nothing else.
    """

    files: dict[int, list[tuple[Path, str]]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def sentences(self) -> list[str]:
        """What to say about all of it: each thing once, and of many only the first few."""
        said = list(dict.fromkeys(self.remarks if self.files else self.remarks + self.others))
        if len(said) > MAX_NAMED:
            said[MAX_NAMED:] = [f"and {len(said) - MAX_NAMED} more"]
        if self.files:
            return said
        return ["nothing to grade", *said] if said else ["nothing was handed in: the folder is empty"]


def read_class(folder: Path, ignored: Iterable[Path] = (), only: int | None = None) -> list[Submission]:
    """All submissions, by student and lesson.

    A submission of the lesson WHOLE says what could not be used of all that a student handed in.

    Args:
        ignored: files and folders in it that no student made, such as the table to write.
        only: the lesson that was to be handed in. Then a file that names no lesson answers it; those of other lessons
            are left out.

    Raises: ValueError if the folder contains no submissions at all.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; expected FOLDER/<student>/NN.ipynb or NN.py")
    skipped = {os.path.realpath(path) for path in ignored}
    found: dict[str, Found] = {}
    for entry in sorted(folder.iterdir()):
        if os.path.realpath(entry) in skipped:
            continue
        if entry.is_dir() and not entry.is_symlink():
            if entry.name.lower() not in NOT_STUDENTS:
                moodle = MOODLE.fullmatch(entry.name)
                collect_folder(entry, found.setdefault(moodle["student"] if moodle else entry.name, Found()), only)
        elif CODE.search(entry.name) or entry.suffix.lower() in ARCHIVES or entry.is_symlink():
            student, name = owner(entry.name)
            sort_in(entry, name, found.setdefault(student, Found()), only)
    if not found or only is None and not any(one.files for one in found.values()):
        seen = ". ".join(
            f"{shown(name)}: {', '.join(one.sentences())}" for name, one in list(found.items())[:MAX_NAMED]
        )
        raise ValueError(
            f"{folder} contains no submissions; expected FOLDER/<student>/NN.ipynb or NN.py, "
            f"such as {folder}/ada/03.ipynb" + f". {seen}" * bool(seen)
        )
    return [one for name, each in named(found).items() for one in submissions_of(name, each, only)]


def of_share(submissions: list[Submission], which: int, shares: int) -> list[Submission]:
    """Those of every `shares`th student, beginning with the number `which`, from 1."""
    students = sorted({one.student for one in submissions})[which - 1 :: shares]
    return [one for one in submissions if one.student in set(students)]


def submissions_of(student: str, found: Found, only: int | None) -> list[Submission]:
    """A student's submissions. What is said about all of them comes first."""
    if only is not None and not found.files:
        return [Submission(student, only, problem=", ".join(found.sentences()))]
    read = [read_submission(student, number, *chosen(each, found.remarks)) for number, each in found.files.items()]
    if sentences := found.sentences():
        read.append(Submission(student, WHOLE, problem=", ".join(sentences)))
    return sorted(read, key=lambda one: one.lesson)


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────


def collect_folder(folder: Path, found: Found, only: int | None) -> None:
    """Look through a student's folder and the folders in it."""
    waiting, seen = [(folder, 0)], 0
    while waiting:
        place, depth = waiting.pop(0)
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as error:
            found.remarks.append(f"{place.relative_to(folder.parent)} cannot be opened ({error.strerror})")
            continue
        for entry in entries[: MAX_ENTRIES - seen]:
            name = Path(entry.path).relative_to(folder).as_posix()
            if not entry.is_dir(follow_symlinks=False):
                sort_in(Path(entry.path), name, found, only)
            elif depth < MAX_DEPTH and entry.name.lower() not in NOT_THEIRS and not entry.name.startswith("."):
                waiting.append((Path(entry.path), depth + 1))
            elif depth >= MAX_DEPTH:
                found.remarks.append(f"folders more than {MAX_DEPTH} deep were not searched")
        seen += len(entries)
        if seen > MAX_ENTRIES:
            found.remarks.append(f"only the first {MAX_ENTRIES:,} files were inspected")
            break


def sort_in(file: Path, name: str, found: Found, only: int | None) -> None:
    """Put a file where it belongs: to a lesson, or among what cannot be used. name: what to call it."""
    short = name.rpartition("/")[2]
    if short.startswith("._") or short in (".DS_Store", "Thumbs.db", "desktop.ini"):
        return  # written by an operating system
    if file.is_symlink():
        found.remarks.append(f"{shown(name)} is a link; hand in the file itself")
    elif file.suffix.lower() in ARCHIVES:
        found.remarks.append(f"{shown(name)} is an archive; unpack it")
    elif not CODE.search(short):
        found.others.append(f"{shown(name)} is neither a notebook (.ipynb) nor a script (.py)")
    else:
        number = lesson_of(short)
        number = only if number is None else number
        if number is None:
            found.remarks.append(
                f"{shown(name)} does not say which lesson it answers; name it after the lesson: 03.ipynb"
            )
        elif only in (None, number):
            found.files.setdefault(number, []).append((file, shown(name)))
        else:
            found.others.append(f"{shown(name)} is of lesson {number:02d}, not of {only:02d}")


def chosen(files: list[tuple[Path, str]], remarks: list[str]) -> tuple[list[Path], list[str]]:
    """One file for a lesson, where that can be told: the highest of them, or any of copies. Otherwise all of them."""
    depth = min(name.count("/") for _, name in files)
    highest = [each for each in files if each[1].count("/") == depth]
    if len({content(file) for file, _ in highest}) == 1:
        highest = highest[:1]
    if len(highest) == 1:
        remarks += [f"{name} was not used, but {highest[0][1]}" for _, name in files if name != highest[0][1]][
            :MAX_NAMED
        ]
    return [file for file, _ in highest], [name for _, name in highest]


def content(file: Path) -> bytes | str:
    """Equal for files with the same content, different for others."""
    try:
        if file.is_file() and not file.is_symlink() and file.stat().st_size < 2**24:
            return hashlib.sha256(file.read_bytes()).digest()
    except OSError:
        pass
    return str(file)


# ── Names ────────────────────────────────────────────────────────────────────────────────────────────


def lesson_of(name: str) -> int | None:
    """The lesson that a file's name indicates; None if it indicates none, or several.

    Two digits at its beginning always count. After that the only number that is a lesson with exercises, the only one
    of them with two digits, and the only title of a lesson.
    """
    whole = CODE.sub("", name)
    for stem in (COPY.sub("", whole), whole):
        if match := re.match(r"(\d\d)(?!\d)", stem):
            return int(match[1])
        written = [text for text in re.findall(r"(?<!\d)\d{1,2}(?!\d)", stem) if int(text) in numbers()]
        for texts in (written, [text for text in written if len(text) == 2]):
            if len({int(text) for text in texts}) == 1:
                return int(texts[0])
        if written:
            return None
    titles = {number: letters(lesson(number).TITLE).removeprefix("the") for number in numbers()}
    found = {number: title for number, title in titles.items() if title in letters(whole)}
    # "From U-Net to transformer" also holds "The U-Net".
    longest = [number for number, title in found.items() if not any(title in o and title != o for o in found.values())]
    return longest[0] if len(longest) == 1 else None


def letters(text: str) -> str:
    """Only its letters, in lower case."""
    return "".join(filter(str.isalpha, text.lower()))


def owner(name: str) -> tuple[str, str]:
    """(student, file name) of a file that lies in no student's folder."""
    if match := CANVAS.fullmatch(name):
        return f"{match['who']}_{match['user']}", match["file"]
    stem = COPY.sub("", CODE.sub("", name))
    number = lesson_of(name)
    if number is not None:
        title = r"[ _-]*".join(re.findall(r"\w+", lesson(number).TITLE)) if number in numbers() else r"$^"
        rest = re.sub(title, "", re.sub(rf"(?<!\d)0?{number}(?!\d)", "", stem, count=1), flags=re.IGNORECASE)
        stem = rest.strip(" _-.") or stem
    return stem, name


def shown(name: str) -> str:
    """A name without characters that a terminal, a table or a page could take for a command; and not too long.

    A name that had to be changed ends in eight digits of its own, so that two of them stay two.
    """
    clean = "".join(character if character.isprintable() else "�" for character in name).strip()
    clean = re.sub(r" +", " ", clean)
    if clean == name and len(name) <= MAX_NAME:
        return name
    return f"{clean[:MAX_NAME]}~{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}"


def named(found: dict[str, Found]) -> dict[str, Found]:
    """The same, by the names that are shown, in their order."""
    unique: dict[str, Found] = {}
    for name, one in sorted(found.items()):
        short = shown(name)
        while short in unique:
            short += "~"
        unique[short] = one
    return {name: unique[name] for name in sorted(unique)}
