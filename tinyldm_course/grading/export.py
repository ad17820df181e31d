"""Files for the systems that a school has: what a system needs to grade this course by itself, or to take grades in.

    gradescope    a zip to upload as the autograder of an assignment
    github        a workflow that grades at every push
    jupyterhub    a Dockerfile and configurations for a class with nbgrader
    kubernetes    two jobs: grade in many pods, then merge
    slurm         two batch scripts: the same
    canvas        a CSV that Canvas imports, from a table of `tinyldm grade`
    moodle        a CSV that Moodle imports, from a table

The files lie in `templates/`; @NAMES@ in them are filled in.
"""

import re
import secrets
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import metadata, requires, version
from pathlib import Path

import tinyldm
import tinyldm_course
from tinyldm.formats.files import write_bytes

TEMPLATES = Path(__file__).parent / "templates"
PACKAGES = (Path(tinyldm.__file__).parent, Path(tinyldm_course.__file__).parent)
LEFT_OUT = {"weights", "sheets", "page", "__pycache__"}  # what grading does not read
EXECUTABLE = ("run_autograder", "setup.sh")
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # so that the same files give the same zip


@dataclass(frozen=True)
class Choices:
    """What the files say.

    Attributes:
        lesson: the lesson to grade, where the system grades one at a time.
        hidden: the folder with the teacher's own checks, or None.
        shares: into how many jobs a class is divided.
        trust: grade where nothing isolates a submission?
    """

    lesson: int = 0
    hidden: Path | None = None
    shares: int = 20
    trust: bool = False

    def filled(self, text: str) -> str:
        """A template with these choices in it."""
        options = " --trust-students" * self.trust
        for name, value in (
            ("LESSON", f"{self.lesson:02d}"),
            ("SEED", str(secrets.randbelow(2**31))),  # which no student knows, other than one of a single submission
            ("SHARES", str(self.shares)),
            ("TORCH", pinned("torch")),
            ("REPOSITORY", repository()),
            ("OPTIONS", options.strip()),
        ):
            text = text.replace(f" @{name}@" if not value else f"@{name}@", value)
        return text


def repository() -> str:
    """OWNER/NAME on GitHub, as the package's metadata tell it."""
    urls = metadata("tinyldm").get_all("Project-URL") or []
    match = re.search(r"github\.com/([\w.-]+/[\w.-]+)", " ".join(urls))
    return match[1] if match else "OWNER/tinyldm"


def pinned(name: str) -> str:
    """ "torch==2.13.0": the version that is installed here, without the part that names a build."""
    return f"{name}=={version(name).partition('+')[0]}"


def requirements() -> list[str]:
    """What the package needs, in the versions that are installed here; not PyTorch, which has several builds."""
    names = [re.split(r"[^\w.-]", one)[0] for one in requires("tinyldm") or () if "extra ==" not in one]
    return [pinned(name) for name in names if name != "torch"]


# ── Folders ──────────────────────────────────────────────────────────────────────────────────────────


def write_folder(system: str, folder: Path, choices: Choices) -> list[Path]:
    """Write a system's files into a folder. Returns them. Raises ValueError where a file is there already, OSError."""
    templates = sorted(path for path in (TEMPLATES / system).rglob("*") if path.is_file())
    targets = [folder / template.relative_to(TEMPLATES / system) for template in templates]
    there = [str(target) for target in targets if target.exists()]
    if there:
        raise ValueError(f"{', '.join(there)} exist already; delete them, or give another --out")
    for template, target in zip(templates, targets):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(target, choices.filled(template.read_text(encoding="utf-8")).encode())
    return targets


# ── Gradescope ───────────────────────────────────────────────────────────────────────────────────────


def write_gradescope(file: Path, choices: Choices) -> None:
    """Write the zip. Raises OSError, or ValueError where the hidden checks are none."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in sorted(gradescope_files(choices)):
            entry = zipfile.ZipInfo(name, LONG_AGO)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o755 if name in EXECUTABLE else 0o644) << 16
            bundle.writestr(entry, content)


def gradescope_files(choices: Choices) -> Iterator[tuple[str, bytes]]:
    """(name, content) of all that goes into the zip: scripts, this package without its large files, hidden checks."""
    for name in EXECUTABLE:
        yield name, choices.filled((TEMPLATES / "gradescope" / name).read_text(encoding="utf-8")).encode()
    yield "requirements.txt", "".join(f"{one}\n" for one in requirements()).encode()
    for package in PACKAGES:
        for file in sorted(package.rglob("*")):
            relative = file.relative_to(package.parent)
            if file.is_file() and not LEFT_OUT & set(relative.parts) and file.suffix != ".pyc":
                yield f"python/{relative.as_posix()}", file.read_bytes()
    # By these two files Python knows the package as installed, and finds its commands.
    distribution = f"python/tinyldm-{tinyldm.__version__}.dist-info"
    yield f"{distribution}/METADATA", f"Metadata-Version: 2.1\nName: tinyldm\nVersion: {tinyldm.__version__}\n".encode()
    yield f"{distribution}/entry_points.txt", b"[tinyldm.commands]\ncourse = tinyldm_course.cli:COMMANDS\n"
    if choices.hidden:
        for file in sorted(choices.hidden.glob("*.py")):
            yield f"hidden/{file.name}", file.read_bytes()
