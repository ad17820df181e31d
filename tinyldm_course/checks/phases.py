"""The six phases of a check, in their order. Each takes the trials and returns what is wrong, or None.

    values → inputs → dtype → gradients → generator → device

Next to each phase is a function that says what it verified if it found nothing: the "verified" line of the feedback.
"""

from tinyldm_course.checks.calls import Call, Outcome
from tinyldm_course.checks.comparing import ASPECTS, UP_TO_VALUE
from tinyldm_course.checks.diagnoses import GENERAL
from tinyldm_course.checks.naming import Diagnosis, Failure, diagnose
from tinyldm_course.checks.randomness import generator_diagnosis, takes_generator
from tinyldm_course.checks.trials import Trial, Trials, changes_argument, error_diagnosis, shapes_of


def first_failure(trials: Trials, chosen: list[Trial], aspects: tuple[str, ...] = ASPECTS) -> Failure | None:
    """The first of the chosen trials that fails in one of these aspects."""
    faults = [trials.fault(trial) for trial in chosen]
    for index, fault in enumerate(faults):
        if fault is not None and fault.aspect in aspects:
            return Failure(chosen, faults, index)
    return None


# ── 1. Values ────────────────────────────────────────────────────────────────────────────────────────


def values(trials: Trials) -> Diagnosis | None:
    """Does every input give the right result, or the right error?"""
    failure = first_failure(trials, trials.plain, UP_TO_VALUE)
    return None if failure is None else diagnose(trials, failure)


def values_verified(trials: Trials) -> list[str]:
    """How many inputs were tried."""
    if not any(trial.call.args for trial in trials.plain):
        return ["the right answer"]
    shapes = len({shapes_of(trial.call) for trial in trials.plain if shapes_of(trial.call)})
    refused = sum(trial.want.error is not None for trial in trials.plain)
    tried = len(trials.plain) - refused
    words = [f"the right values on {tried} fresh input{'s' * (tried > 1)}" + f" of {shapes} shapes" * (shapes > 1)]
    return words + [f"{refused} invalid input{'s' * (refused > 1)} rejected"] * bool(refused)


# ── 2. Inputs ────────────────────────────────────────────────────────────────────────────────────────


def inputs(trials: Trials) -> Diagnosis | None:
    """Are the arguments afterwards what they should be: unchanged, unless changing them is the task?"""
    failure = first_failure(trials, trials.plain, ("inputs",))
    return None if failure is None else diagnose(trials, failure)


def inputs_verified(trials: Trials) -> list[str]:
    """Report that the inputs are unchanged, if they could have been changed."""
    if any(changes_argument(trial, index) for trial in trials.plain[:1] for index in range(len(trial.call.args))):
        return ["the argument to change ends up as it should"]
    changeable = any(
        shapes_of(trial.call) or any(isinstance(arg, (list, dict)) for arg in trial.call.args) for trial in trials.plain
    )
    return ["the inputs are unchanged"] * changeable


# ── 3. Dtype ─────────────────────────────────────────────────────────────────────────────────────────


def dtype(trials: Trials) -> Diagnosis | None:
    """Is the result's dtype the one that is asked for, and float64 for float64 inputs?"""
    failure = first_failure(trials, trials.plain)
    if failure is not None:
        return diagnose(trials, failure)
    failure = first_failure(trials, trials.in_float64)
    return None if failure is None else diagnose(trials, failure, passed_plain=True)


def dtype_verified(trials: Trials) -> list[str]:
    """Report that float64 was tried."""
    return ["float64 in, float64 out"] * bool(trials.in_float64)


# ── 4. Gradients ─────────────────────────────────────────────────────────────────────────────────────


def gradients(trials: Trials) -> Diagnosis | None:
    """Does the gradient reach every float argument that needs one, and is it right?"""
    failure = first_failure(trials, trials.with_gradients)
    return None if failure is None else diagnose(trials, failure, passed_plain=True)


def gradients_verified(trials: Trials) -> list[str]:
    """Report that gradients were compared."""
    return ["gradients flow and are right"] * bool(trials.with_gradients)


# ── 5. Generator ─────────────────────────────────────────────────────────────────────────────────────


def generator(trials: Trials) -> Diagnosis | None:
    """Do the random numbers come from the generator, and does it advance with each call?"""
    if not uses_generator(trials):
        return None
    errors = []

    def run(call: Call) -> Outcome:
        outcome = trials.runner(call)
        errors.extend([outcome.error] if outcome.error is not None else [])
        return outcome

    name = generator_diagnosis(run, trials.largest_valid_call)
    if name is None and errors:  # the plain call worked, so the error comes from the repeated call
        name = error_diagnosis(errors[0]) or "crash"
    return None if name is None else Diagnosis(name, GENERAL[name], error=errors[0] if errors else None)


def generator_verified(trials: Trials) -> list[str]:
    """Report that the generator was tried."""
    return ["same generator, same result; a different generator or a second draw, a different result"] * uses_generator(
        trials
    )


def uses_generator(trials: Trials) -> bool:
    """Does the right answer draw from a generator in the largest valid call?"""
    call = trials.largest_valid_call
    if call is None or not takes_generator(call):
        return False
    return generator_diagnosis(trials.right, call) is None


# ── 6. Device ────────────────────────────────────────────────────────────────────────────────────────


def device(trials: Trials) -> Diagnosis | None:
    """Are new tensors made where the inputs are? On "meta", a CPU tensor fails wherever it would fail on a GPU."""
    failure = first_failure(trials, trials.on_meta)
    return None if failure is None else diagnose(trials, failure, passed_plain=True)


def device_verified(trials: Trials) -> list[str]:
    """Report that another device was tried."""
    return ["new tensors are made on the input's device"] * bool(trials.on_meta)
