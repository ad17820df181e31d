"""Exercise up_to_down of lesson 08: Predict: up against down."""

from torch import Generator

from tinyldm_course.checks.calls import Call
from tinyldm_course.checks.exercise import Exercise, Wrong

### BEGIN SOLUTION
up_to_down = 510_795_840 / 249_612_480
### END SOLUTION


def one_number(generator: Generator) -> list[Call]:
    """Nothing to try it on: the answer is a number."""
    return [Call(())]


EXERCISE = Exercise(
    name="up_to_down",
    title="Predict: up against down",
    stars=1,
    minutes=6,
    answer=lambda: up_to_down,
    cases=one_number,
    tolerance=0.0911,
    hints=(
        "Count blocks first: 2 per level down, 3 per level up.",
        "And a block up reads x and a skip: what does that do to conv1, what to conv2?",
        "Three blocks for two make 1.5; wider first convolutions and shortcuts add about a third more.",
    ),
    insight="2.05: 249,612,480 parameters down, 510,795,840 up. Three blocks for two make 1.5; the rest comes from "
    "the skips, which double what conv1 and the shortcut read, but neither conv2 nor the transformers. The U is "
    "symmetrical in its sizes only.",
    wrong=(
        Wrong(
            "symmetrical",
            lambda: 1.0,
            "The U looks symmetrical, but the way up has one block more a level, and each reads a skip beside its x.",
        ),
        Wrong(
            "not-enough",
            lambda: 1.7,
            "Nearly: it is more than the 3 blocks for 2, but the skips add more than you say. Twice the channels "
            "to read make conv1 twice as large, and they give every block up a shortcut.",
        ),
        Wrong(
            "blocks-only",
            lambda: 1.5,
            "3 blocks per level in place of 2 make 1.5 already, before any skip. Each block up also reads twice "
            "the channels, so its conv1 is larger.",
        ),
        Wrong(
            "skips-only",
            lambda: 4 / 3,
            "It is more. The skips alone, with a wider conv1 and shortcuts, add about a third; and there are 3 "
            "blocks per level for the 2 on the way down.",
        ),
        Wrong(
            "transformers-forgotten",
            lambda: 338_128_000 / 137_265_280,
            "A little less. 2.46 would be right for the ResBlocks alone; but a level has as many transformers as "
            "blocks, and a skip makes none of them larger: of those there are just 3 for 2.",
        ),
        Wrong(
            "everything-doubled",
            lambda: 3.0,
            "Too much: 1.5 · 2 would double whole blocks. Only conv1 and the shortcut read the skip; conv2 and the "
            "transformer have the same size as on the way down.",
        ),
        Wrong("upside-down", lambda: 249_612_480 / 510_795_840, "Invert the fraction: up over down."),
        Wrong(
            "squared",
            lambda: 4.0,
            "Twice the channels *in and out* would be four times the weights. Only what goes in is doubled.",
        ),
    ),
    right=(lambda: 2, lambda: 2.05, lambda: 2.25),
)
