"""What a check says about wrong numbers is true, and is not said of random ones."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tinyldm_course.checks.calls import Call, Outcome, perform
from tinyldm_course.checks.exercise import Exercise
from tinyldm_course.checks.in_process import InProcessRunner
from tinyldm_course.checks.pipeline import run_check
from tinyldm_course.checks.relations import relation
from tinyldm_course.checks.trials import Trial
from tinyldm_course.exercises import find, lessons


def made(answer: Callable, cases: Callable) -> Exercise:
    """An exercise without known mistakes."""
    return Exercise("made", "Made", 1, 1, answer, cases, ("hint",), "insight", (), ())


def batches(generator) -> list[Call]:
    """x, y (B, 4, 6) above 0, and t, of three batch sizes."""
    return [
        Call(
            (
                torch.rand(B, 4, 6, generator=generator) + 0.1,
                torch.rand(B, 4, 6, generator=generator) + 0.1,
                torch.randint(1, 9, (B,), generator=generator),
            )
        )
        for B in (1, 2, 3)
    ]


def right(x: Tensor, y: Tensor, t: Tensor) -> Tensor:
    """Something that depends on everything, with numbers of both signs."""
    return x.sqrt() - 2 * y**2 * t.view(-1, 1, 1).sqrt() / 3


def first_alone(x, y, t):
    value = right(x, y, t)
    return torch.cat([value[:1], right(y, x, t)[1:]])


def each_channel_scaled(x, y, t):
    return right(x, y, t) * torch.tensor([0.5, 2, 3, 4])[:, None]


CHANGES = [
    (lambda *args: right(*args) * 0.5, "0.5 times the expected one"),
    (lambda *args: -right(*args), "opposite sign"),
    (lambda *args: right(*args) + 3, "plus 3"),
    (lambda *args: right(*args) * 0, "0 everywhere"),
    (lambda *args: right(*args) ** 2, "is the square of the expected one"),
    (lambda *args: 1 / right(*args), "is 1 divided by the expected one"),
    (lambda *args: right(*args).abs(), "is the absolute value of the expected one"),
    (lambda *args: right(*args).clamp(-1, 1), "clipped to [-1, 1]"),
    (lambda *args: right(*args) * float("nan"), "NaN or infinity"),
    (lambda x, y, t: right(x, y, t) * len(x), "times the size of dimension 0 of x"),
    (lambda x, y, t: right(x, y, t) / len(x), "divided by the size of dimension 0 of x"),
    (lambda *args: right(*args).flip(2), "in reverse order along dimension 2"),
    (lambda *args: right(*args).roll(3, 2), "two halves swapped along dimension 2"),
    (lambda *args: right(*args).roll(1, 1), "shifted by one place along dimension 1"),
    (lambda *args: torch.cat([right(*args)[..., 1:], torch.zeros(len(args[0]), 4, 1)], 2), "one place too early"),
    (lambda *args: right(*args)[:, :, torch.tensor([1, 0, 3, 2, 5, 4])], "the right numbers in a different order"),
    (first_alone, "right for the first item of the batch only"),
    (each_channel_scaled, "a factor that differs for each position along dimension 1"),
    (lambda x, y, t: right(x, y, t - 1), "the right one for t - 1 in place of t"),
    (lambda x, y, t: right(x, y, t + 1), "the right one for t + 1 in place of t"),
    (lambda x, y, t: right(y, x, t), "the right one for x and y swapped"),
    (lambda x, y, t: right(x, y.sqrt(), t), "the right one for √y in place of y"),
    (lambda x, y, t: right(x, y[:1], t), "if every item uses the first entry of y"),
    (lambda x, y, t: right(1 - x, y, t), ""),  # the root of a negative number: NaN where there is none
    (lambda *args: right(*args).transpose(1, 2), "with dimensions 1 and 2 swapped"),
    (lambda *args: right(*args).flatten(1), "only the shape is wrong"),
    (lambda *args: right(*args).mean(0), "the mean of the expected one over dimension 0"),
    (lambda *args: right(*args).sum(), "the sum of all of the expected numbers"),
    (lambda *args: list(right(*args)), "The numbers are right"),
]


@pytest.mark.parametrize("answer, words", CHANGES)
def test_what_is_certain_is_said(answer, words):
    result = run_check(made(right, batches), InProcessRunner(answer))
    assert not result.passed and words in result.message, result.message


def test_a_mean_over_everything_is_told_from_a_sum_by_the_sizes():
    exercise = made(lambda x, y, t: ((x - y) ** 2).mean(), batches)
    result = run_check(exercise, InProcessRunner(lambda x, y, t: ((x - y) ** 2).sum()))
    assert "times the number of entries of x" in result.message


def test_no_factor_is_seen_in_results_of_equal_numbers():
    exercise = made(lambda x: torch.full((2, 2), 0.25), lambda g: [Call((torch.ones(1),))])
    assert "times" not in run_check(exercise, InProcessRunner(lambda x: torch.full((2, 2), 0.5))).message


def test_the_answer_to_a_question_is_not_given_away():
    exercise = made(lambda: torch.arange(1.0, 6), lambda g: [Call(())])
    result = run_check(exercise, InProcessRunner(lambda: 2 * torch.arange(1.0, 6)))
    assert result.diagnosis == "wrong-value" and "times" not in result.message


def test_a_relation_that_holds_on_some_inputs_only_is_not_stated():
    exercise = made(right, batches)
    result = run_check(exercise, InProcessRunner(lambda x, y, t: right(x, y, t) * (2 if len(x) > 1 else 3)))
    assert "times the expected" not in result.message and "a factor that differs for each input" in result.message
    result = run_check(exercise, InProcessRunner(lambda x, y, t: right(x, y, t) * (2 if len(x) > 1 else 1)))
    assert "It is right on 1 of the 3 inputs that were tried." in result.message


def test_of_a_part_that_is_right_nothing_is_said():
    """With noise of the right size, only the part without noise has a relation."""
    ddpm_step = find("ddpm_step")
    exercise = Exercise(**vars(ddpm_step) | {"wrong": ()})

    def with_the_mean_twice(*args):
        return ddpm_step.answer(*args) + ddpm_step.moments(*args)[0]

    message = run_check(exercise, InProcessRunner(with_the_mean_twice)).message
    assert "The part without noise is 2 times the expected one." in message and "factor" not in message


def test_of_words_it_is_said_how_many_are_right():
    exercise = made(lambda word: word + "s", lambda g: [Call((word,)) for word in ("bus", "tree", "ring")])
    message = run_check(exercise, InProcessRunner(lambda word: word + "s" * (word[-1] != "s"))).message
    assert "It is right on 2 of the 3 inputs that were tried." in message
    assert "It is right" not in run_check(exercise, InProcessRunner(lambda word: word)).message


def test_of_lists_of_another_length_it_is_said_how_many_are_right():
    exercise = made(lambda n: [["a"] * n, ["b"]], lambda g: [Call((n,)) for n in (3, 1, 2)])
    result = run_check(exercise, InProcessRunner(lambda n: [["a"] * min(n, 2), ["b"]]))
    assert result.diagnosis == "wrong-length" and "It is right on 2 of the 3 inputs that were tried." in result.message


def test_a_gradient_with_a_factor_is_told():
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return 2 * gradient

    result = run_check(made(right, batches), InProcessRunner(lambda x, y, t: right(Doubled.apply(x), y, t)))
    assert result.diagnosis == "gradient-wrong" and "gradient of x is 2 times" in result.message


def random_like(value, generator):
    """A value of the same structure, of random numbers about as large."""
    if isinstance(value, Tensor) and value.is_floating_point():
        spread = value.std().item() if value.numel() > 1 else 1.0
        return spread * torch.randn(value.shape, generator=generator).to(value) + value.mean()
    if isinstance(value, Tensor):
        low, high = (int(value.min()), int(value.max()) + 2) if value.numel() else (0, 2)
        return torch.randint(low, high, value.shape, generator=generator).to(value)
    if isinstance(value, (list, tuple)):
        return type(value)(random_like(item, generator) for item in value)
    if isinstance(value, dict):
        return {key: random_like(item, generator) for key, item in value.items()}
    if isinstance(value, float):
        return value + torch.randn((), generator=generator).item()
    return int(torch.randint(0, 9, (), generator=generator)) if type(value) is int else value


@pytest.mark.parametrize("lesson", lessons())
def test_random_answers_have_no_relation(lesson):
    """Numbers that have nothing to do with the expected ones. (Small whole numbers may be right by chance.)"""
    for exercise in lessons()[lesson]:
        for seed in range(2):
            generator = torch.Generator().manual_seed(seed)
            trials = []
            for call in exercise.cases(generator):
                want = perform(exercise.answer, call)
                if want.error is None:
                    trials.append(Trial(call, Outcome(value=random_like(want.value, generator)), want))
            found = relation(exercise, trials) if trials else ""
            if "It is right on" not in found:
                assert found == "", (exercise.name, seed)


def test_a_relation_is_found_in_a_real_exercise():
    answer = find("signal_to_noise").answer
    exercise = Exercise(**vars(find("signal_to_noise")) | {"wrong": ()})
    assert "the square root of the expected" in run_check(exercise, InProcessRunner(lambda a: answer(a) ** 0.5)).message
    assert "√alpha_bar in place of alpha_bar" in run_check(exercise, InProcessRunner(lambda a: answer(a**0.5))).message
