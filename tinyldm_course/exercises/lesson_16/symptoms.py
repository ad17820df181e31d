"""Exercise symptoms of lesson 16: Predict: which fault has which symptom?"""

from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import no_inputs

### BEGIN SOLUTION
symptoms = "DBEAC"
### END SOLUTION


def letters_deaf_and_average():
    return "BDEAC"


def letters_deaf_and_sign():
    return "EBDAC"


def letters_range_and_clean():
    return "DBECA"


def letters_average_and_clean():
    return "DCEAB"


def letters_backwards():
    return symptoms[::-1]


def letters_exchanged(first, second):
    """A wrong answer with two of the letters exchanged."""
    return lambda: symptoms.translate(str.maketrans(first + second, second + first))


def letters_by_join():
    return "".join(["D", "B", "E", "A", "C"])


def letters_by_table():
    return "".join({1: "D", 2: "B", 3: "E", 4: "A", 5: "C"}[symptom] for symptom in range(1, 6))


EXCHANGED = "Three of your letters are right. Two are exchanged."


EXERCISE = Exercise(
    name="symptoms",
    title="Predict: which fault has which symptom?",
    stars=2,
    minutes=10,
    answer=lambda: symptoms,
    cases=no_inputs,
    hints=(
        "Begin with the surest: with one of the faults even the final latent is right, to the last bit. Which one, "
        "and what does it do to pixels?",
        "Two faults concern the caption. Ask of each what *another* caption, from the same noise, would change. A "
        "third concerns neither captions nor sampling, but which weights generate the picture.",
        "Symptom 4 is A, symptom 5 is C.",
    ),
    insight="Only the pictures tell: in all five cases the training loss falls. So look at pictures early, with a "
    "fixed seed, with two different captions, and from both sets of weights.",
    wrong=(
        Wrong(
            "context-and-average",
            letters_deaf_and_average,
            "1 and 2 are swapped. A network that never reads its captions still makes good pictures; an average "
            "that never moved makes none.",
        ),
        Wrong(
            "context-and-sign",
            letters_deaf_and_sign,
            "1 and 3 are swapped. Without context the caption has *no* effect; with the wrong sign it has the "
            "opposite one.",
        ),
        Wrong(
            "range-and-last-step",
            letters_range_and_clean,
            "4 and 5 are swapped. Grain is noise that is left; a black half is a matter of range.",
        ),
        Wrong(
            "average-and-last-step",
            letters_average_and_clean,
            "2 and 5 are swapped. A walk that stops a little early leaves a little noise; it does not depend on "
            "which weights are used.",
        ),
        Wrong(
            "backwards", letters_backwards, "Your letters are in reverse order: the first belongs to the first symptom."
        ),
        Wrong("exchanged-a-and-b", letters_exchanged("A", "B"), EXCHANGED),
        Wrong("exchanged-a-and-d", letters_exchanged("A", "D"), EXCHANGED),
        Wrong("exchanged-a-and-e", letters_exchanged("A", "E"), EXCHANGED),
        Wrong("exchanged-b-and-e", letters_exchanged("B", "E"), EXCHANGED),
        Wrong("exchanged-c-and-d", letters_exchanged("C", "D"), EXCHANGED),
        Wrong("exchanged-c-and-e", letters_exchanged("C", "E"), EXCHANGED),
    ),
    right=(letters_by_join, letters_by_table),
)
