"""Make `exercises/NN_name.ipynb` and `exercises/solutions/NN_name.ipynb` from `sources/exercises/NN_name.py`.

    python sources/build_exercises.py             # write them all
    python sources/build_exercises.py --check     # are the committed notebooks what the sources generate?

A source holds the text; `RULES`, which hold for all exercises, follow its first cell. A cell
`# %% [markdown] exercise="q_sample"` gets a heading with stars and minutes. The marker `# %% solution="q_sample"`
becomes three cells: the solution (or its stub), the folded hints, and the call of the check. All of this comes from
`tinyldm_course/exercises/lesson_02/q_sample.py`. The first code cell imports `check`. The cells carry nbgrader's
metadata: what is in `exercises/solutions/` is what nbgrader calls a source notebook.
"""

import argparse
import ast
import html
import re
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell
from percent_format import ROOT, generated, with_setup, write

from tinyldm_course.checks.exercise import Exercise
from tinyldm_course.exercises import find, lesson, module_of, numbers

SOURCES, NOTEBOOKS = ROOT / "sources" / "exercises", ROOT / "exercises"
SOLUTION = re.compile(
    r"^(?P<indent>[ ]*)### BEGIN SOLUTION\n(?P<body>.*?)^[ ]*### END SOLUTION$", re.DOTALL | re.MULTILINE
)
IMPORT = "from tinyldm_course.checking import check"
ASSIGNED = re.compile(r"^(\w+) = ", re.MULTILINE)
POINTS = 10  # for each star
RULES = """Write each piece, then run the cell below it: it tells you at once what is right, or which mistake it sees. \
Hints are folded; open them one at a time.

Where the text says nothing else: a result has the dtype of its float inputs (float32 where there are none) and is on \
their device; gradients get through to all that a network or an encoder gave (the numbers of a schedule, $\\beta$ and \
$\\bar\\alpha$, are constants); inputs are left as they were; random numbers come from the given generator, \
however you draw them. "A number" may be a Python number or a tensor of one. The check looks at all of that."""


def sources() -> list[Path]:
    """All sources, in the order of the course."""
    return sorted(SOURCES.glob("[0-9][0-9]_*.py"))


def with_solutions(source: Path) -> NotebookNode:
    """The notebook for the teacher. Raises ValueError where source and exercises of the lesson do not match."""
    notebook = generated(source)
    names = [cell.metadata["solution"] for cell in notebook.cells if "solution" in cell.metadata]
    number = int(source.stem[:2])
    expected = list(lesson(number).NAMES) if number in numbers() else []
    if names != expected:
        raise ValueError(f"{source.name} has solutions for {names}; lesson {number:02d} has the exercises {expected}")
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source += f"\n\n{IMPORT}"
    cells = []
    for index, cell in enumerate(notebook.cells):
        name = cell.metadata.pop("exercise", None)
        if name is not None:
            cell.source = f"{heading(find(name), f'{number}.{names.index(name) + 1}')}\n\n{cell.source}"
        name = cell.metadata.pop("solution", None)
        if name is None:
            cell["id"] = f"text-{index:03d}"
            cells.append(cell)
            if index == 0:
                cells.append(new_markdown_cell(RULES, id="rules"))
        else:
            cells += solution_cells(find(name), cell)
    notebook.cells = cells
    return with_setup(notebook)


def heading(exercise: Exercise, number: str) -> str:
    """Number, title, stars of three, minutes."""
    stars = "★" * exercise.stars + "☆" * (3 - exercise.stars)
    return f"## Exercise {number}: {exercise.title}\n\n{stars} · about {exercise.minutes} minutes"


def solution_cells(exercise: Exercise, cell: NotebookNode) -> list[NotebookNode]:
    """The cell to fill in, the folded hints, and the cell that checks."""
    cell.source = solution(exercise.name)
    slug = exercise.name.replace("_", "-")
    cell["id"], cell.metadata["nbgrader"] = f"solve-{slug}", graded(exercise.name, solution=True)
    hints = "\n".join(
        f"<details><summary>Hint {number}</summary>\n\n{html.escape(hint, quote=False)}\n\n</details>"
        for number, hint in enumerate(exercise.hints, 1)
    )
    checks = new_code_cell(f'check("{exercise.name}", {exercise.name})', id=f"check-{slug}")
    checks.metadata["nbgrader"] = graded(f"check_{exercise.name}", points=POINTS * exercise.stars)
    return [cell, new_markdown_cell(hints, id=f"hints-{slug}"), checks]


def solution(name: str) -> str:
    """The right answer as the notebook shows it, from its file: the definition of that name, or the marked lines."""
    file = Path(module_of(name).__file__)
    text = file.read_text(encoding="utf-8")
    marked = list(SOLUTION.finditer(text))
    if len(marked) != 1:
        raise ValueError(f"{file} has {len(marked)} parts from ### BEGIN SOLUTION to ### END SOLUTION; expected 1")
    first, last = (text.count("\n", 0, place) + 1 for place in marked[0].span())
    for definition in ast.parse(text).body:
        if isinstance(definition, (ast.FunctionDef, ast.ClassDef)) and definition.name == name:
            first, last = definition.lineno, max(last, definition.end_lineno)
    return "\n".join(text.splitlines()[first - 1 : last])


def graded(grade_id: str, solution: bool = False, points: int | None = None) -> dict:
    """nbgrader's metadata of a cell to fill in, or of one that gives points."""
    found = {
        "grade": points is not None,
        "grade_id": grade_id,
        "locked": not solution,
        "schema_version": 3,
        "solution": solution,
        "task": False,
    }
    return found if points is None else found | {"points": points}


def for_students(solved: NotebookNode) -> NotebookNode:
    """The same notebook with stubs in the place of solutions."""
    notebook = nbformat.from_dict(solved)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = SOLUTION.sub(stub, cell.source)
    return notebook


def stub(match: re.Match) -> str:
    """What stands where a solution was: a line that says "not written yet" when it runs; `…` for plain answers."""
    indent = match["indent"]
    if indent:
        return f"{indent}# Your code here, in the place of the next line.\n{indent}raise NotImplementedError"
    names = ASSIGNED.findall(match["body"])
    return "\n".join(f"{name} = ...      # your answer in the place of the dots" for name in names)


def notebooks(source: Path) -> dict[Path, NotebookNode]:
    """File -> what belongs in it."""
    solved = with_solutions(source)
    return {
        NOTEBOOKS / f"{source.stem}.ipynb": for_students(solved),
        NOTEBOOKS / "solutions" / f"{source.stem}.ipynb": solved,
    }


def stale() -> list[str]:
    """What is wrong between sources and committed notebooks, in words; nothing if all is well."""
    expected = {file: notebook for source in sources() for file, notebook in notebooks(source).items()}
    problems = []
    for file, notebook in expected.items():
        name = file.relative_to(ROOT)
        if not file.is_file():
            problems.append(f"{name} is missing")
        elif file.read_text(encoding="utf-8") != nbformat.writes(notebook) + "\n":
            problems.append(f"{name} is not what its source generates")
    found = [*NOTEBOOKS.glob("*.ipynb"), *NOTEBOOKS.glob("solutions/*.ipynb")]
    return problems + [f"{file.relative_to(ROOT)} has no source" for file in sorted(found) if file not in expected]


def main() -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; say what differs")
    if parser.parse_args().check:
        problems = stale()
        print("\n".join(problems), end="\n" if problems else "", file=sys.stderr)
        return bool(problems)
    for source in sources():
        for file, notebook in notebooks(source).items():
            write(notebook, file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
