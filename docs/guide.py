"""The teacher's guide as a page: its time plans become tables, and the minutes of all lessons stand at its top."""

import re

PLAN = re.compile(r"^- \*\*Plan, (\d+) min\*\*: (.*(?:\n  .*)*)", re.MULTILINE)
LESSON = re.compile(r"^## (\d\d) · (.*)$", re.MULTILINE)


def parts(plan: str) -> list[tuple[int, str]]:
    """ "10 live page · 15 the walk" -> [(10, "live page"), (15, "the walk")]."""
    found = [re.fullmatch(r"(\d+) (.*)", part.strip()) for part in " ".join(plan.split()).split("·")]
    if not all(found):
        raise ValueError(f"a plan is minutes and words, with · between its parts; this is {plan!r}")
    return [(int(part[1]), part[2]) for part in found if part]


def table(found: re.Match) -> str:
    """One plan as an item of the list, with a table in it. Raises ValueError if its parts do not add up."""
    rows = parts(found[2])
    if sum(minutes for minutes, _ in rows) != int(found[1]):
        raise ValueError(f"the parts of this plan are not {found[1]} minutes: {found[2]!r}")
    lines = ["| minutes | what |", "|---:|---|", *(f"| {minutes} | {what} |" for minutes, what in rows)]
    return f"- **Plan, {found[1]} minutes**\n\n" + "\n".join(f"  {line}" for line in lines) + "\n"


def overview(text: str) -> str:
    """A table of all lessons and their minutes."""
    pieces = LESSON.split(text)[1:]
    rows = []
    for number, title, body in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
        plan = PLAN.search(body)
        if plan:
            rows.append((number, title, int(plan[1])))
    total = sum(minutes for _, _, minutes in rows)
    lines = [f"| {number} | {title} | {minutes} |" for number, title, minutes in rows]
    return "\n".join(["| lesson | title | minutes |", "|---|---|---:|", *lines, f"| | **all** | **{total}** |"])


def as_page(text: str) -> str:
    """The guide with its tables."""
    first = LESSON.search(text)
    if first is None:
        raise ValueError('the guide has no section such as "## 05 · The autoencoder"')
    made = PLAN.sub(table, text[first.start() :])
    return f"{text[: first.start()]}## Minutes in class\n\n{overview(text)}\n\n{made}"
