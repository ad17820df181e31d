"""A Result as the learner sees it: a small page in Jupyter, text elsewhere. Its meaning never depends on colour."""

from dataclasses import dataclass
from html import escape

from tinyldm_course.checks.counter_example import CounterExample
from tinyldm_course.checks.exercise import Exercise
from tinyldm_course.checks.pipeline import Result

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#6B6B6B"  # Okabe and Ito's: safe for the colour-blind


@dataclass(frozen=True)
class Feedback:
    """What `check` returns. Truthy if the exercise is solved.

    Attributes:
        hint: the next hint, "" if none is left or none is needed.
        printed: what the learner's code printed in its first call.
        note: anything else, such as that the progress could not be saved.
    """

    exercise: Exercise
    result: Result
    hint: str = ""
    printed: str = ""
    note: str = ""

    def __bool__(self) -> bool:
        return self.result.passed

    def headline(self) -> str:
        """One line."""
        if self.result.passed:
            return f"✔ {self.exercise.name}: right"
        waiting = self.result.diagnosis == "not-written"
        return f"… {self.exercise.name}: not written yet" if waiting else f"✘ {self.exercise.name}: not yet"

    def _repr_html_(self) -> str:
        colour = BLUE if self.result.passed else GREY if self.result.diagnosis == "not-written" else ORANGE
        return (
            f'<div style="border-left:6px solid {colour};padding:.4em 1em;max-width:60em">'
            f"<b>{escape(self.headline())}</b>{''.join(_html(part) for part in self.parts())}</div>"
        )

    def __str__(self) -> str:
        return "\n".join([self.headline(), *(_text(part) for part in self.parts())])

    def __repr__(self) -> str:
        return str(self)

    def parts(self) -> list:
        """What there is to say below the headline: (label, text), or a table [(label, text), …]."""
        result = self.result
        if result.passed:
            return [
                ("verified", "; ".join(result.verified)),
                ("insight", self.exercise.insight),
                *self._printed(),
                *[("note", self.note)] * bool(self.note),
            ]
        parts = [("note", self.note)] * bool(self.note) + [("", result.message)]
        if result.error is not None and result.diagnosis != "not-written":
            where = f"line {result.error.line}: {result.error.code}" if result.error.line else ""
            parts.append([(result.error.type, result.error.message)] + [("your code", where)] * bool(where))
        if result.counter_example is not None:
            parts.append(_table(result.counter_example, crashed=result.error is not None))
        if result.verified:
            parts.append(("right so far", "; ".join(result.verified)))
        return parts + ([("hint", self.hint)] if self.hint else []) + self._printed()

    def _printed(self) -> list:
        return [("your code printed", self.printed)] if self.printed else []


def _table(example: CounterExample, crashed: bool) -> list[tuple[str, str]]:
    """The rows of a counter-example. After a crash there is no result, and the error has been shown already."""
    rows = [*example.inputs, *([] if crashed else [("yours", example.yours)])]
    return rows + [
        (label, text) for label, text in (("expected", example.expected), ("difference", example.difference)) if text
    ]


def _html(part) -> str:
    if isinstance(part, list):
        rows = "".join(
            f'<tr><th style="text-align:left;vertical-align:top">{escape(label)}</th>'
            f'<td style="text-align:left"><code>{escape(text)}</code></td></tr>'
            for label, text in part
        )
        return f'<table style="margin:.4em 0;font-size:inherit">{rows}</table>'
    label, text = part
    return f'<p style="margin:.4em 0">{f"<i>{escape(label)}:</i> " if label else ""}{escape(text)}</p>'


def _text(part) -> str:
    if isinstance(part, list):
        width = max(len(label) for label, _ in part)
        return "\n".join(f"    {label:<{width}}  {text}" for label, text in part)
    label, text = part
    return f"  {label}: {text}" if label else f"  {text}"
