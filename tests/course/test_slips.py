"""The right answer with one change: what a learner's result equals is said in words that are true."""

import torch

from tinyldm_course.checks.calls import perform
from tinyldm_course.checks.pipeline import run_check
from tinyldm_course.checks.slips import slips_of
from tinyldm_course.exercises import find, lessons


def diagnosis(name, answer, seed=0):
    return run_check(find(name), lambda call: perform(answer, call), seed)


def test_a_slip_is_named():
    def q_sample(z0, t, eps, alpha_bar):
        a = alpha_bar[t].reshape(-1, *[1] * (z0.dim() - 1))
        return torch.sqrt(a) * z0 + torch.sqrt(1 + a) * eps

    for seed in range(3):
        result = diagnosis("q_sample", q_sample, seed)
        assert result.diagnosis == "one-slip"
        assert "`1 + a` in place of `1 - a`" in result.message


def test_the_other_half_of_a_sum_is_not_told():
    slips = {slip.change for slip in slips_of(find("kl").answer)}
    assert "what you get with only `mean ** 2 + logvar.exp()`: what is subtracted from it is missing" in slips
    assert not any("return" in change for change in slips)


def test_slips_of_a_layer_and_a_line():
    changes = [slip.change for slip in slips_of(find("ResBlock").answer)]
    assert "what you get with `self.norm1` in place of `self.norm2`" in changes
    changes = [slip.change for slip in slips_of(find("train_steps").answer)]
    assert "what you get without the line `optimizer.zero_grad()`" in changes


def test_a_number_with_a_minus_is_one_number():
    changes = [slip.change for slip in slips_of(find("up_in_channels").answer)]
    assert "what you get with `channels[0]`, where `0` stands in place of `-1`" in changes
    assert "what you get with `channels[1]`, where `1` stands in place of `-1`" in changes
    assert not any("-0" in change for change in changes)


def test_what_no_source_is_known_of_has_no_slips():
    assert slips_of(find("slip_in_percent").answer) == ()
    assert slips_of(eval("lambda x: x + 1")) == ()


def test_no_loop_goes_on_for_ever():
    """One slip lets a list grow while a loop walks through it."""
    exercise = find("skip_channels")
    call = exercise.cases(torch.Generator().manual_seed(0))[0]
    errors = [perform(slip.answer, call).error for slip in slips_of(exercise.answer)]
    assert any(error is not None and "does not end" in error.message for error in errors)


def test_the_right_answer_itself_stays():
    for exercises in lessons().values():
        before = exercises[0].answer
        slips_of(before)
        assert diagnosis(exercises[0].name, before).passed
