"""What a learner sees: the check in the notebook's own process, its limits, its words, and the progress file."""

import copy
import json
import os
import subprocess
import sys
import threading
import time
import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tinyldm import forward_diffusion
from tinyldm.cli import main as cli
from tinyldm_course.checking import CheckFailed, check
from tinyldm_course.checks import progress
from tinyldm_course.checks.calls import Call, Made, Outcome, Seeded, perform
from tinyldm_course.checks.comparing import first_difference
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.checks.feedback import Feedback
from tinyldm_course.checks.in_process import InProcessRunner
from tinyldm_course.checks.pipeline import run_check
from tinyldm_course.exercises import find
from tinyldm_course.exercises.lesson_02 import q_sample as noising
from tinyldm_course.exercises.lesson_02.signal_to_noise import signal_to_noise


@pytest.fixture(autouse=True)
def file(tmp_path, monkeypatch):
    """A progress file of the test's own."""
    monkeypatch.setenv("TINYLDM_PROGRESS", str(tmp_path / "deep" / "progress.json"))
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    return tmp_path / "deep" / "progress.json"


def result_of(answer, name="q_sample", seconds=60.0):
    """The limit is long, so that a busy machine changes no diagnosis; where it is tested it is given."""
    return run_check(find(name), InProcessRunner(answer, seconds), seed=0)


# ── Mistakes that belong to no exercise ──────────────────────────────────────────────────────────────


def test_a_crash_shows_the_learners_line():
    def q_sample(z0, t, eps, alpha_bar):
        return z0 @ alpha_bar  # the line

    result = result_of(q_sample)
    assert result.diagnosis == "crash" and result.error.type == "RuntimeError"
    assert result.error.code == "return z0 @ alpha_bar  # the line"


def test_a_loop_is_stopped_in_time_at_its_line():
    def q_sample(z0, t, eps, alpha_bar):
        while True:
            try:
                time.sleep(0.01)
            except Exception:
                pass

    start = time.perf_counter()
    result = result_of(q_sample, seconds=0.05)  # of computing, so at most ten times that asleep
    assert result.diagnosis == "too-slow" and result.error.line > 0
    assert time.perf_counter() - start < 2


def compute(seconds: float) -> None:
    """Keep the processor busy."""
    start = time.thread_time()
    while time.thread_time() - start < seconds:
        pass


def test_a_loop_that_computes_is_stopped_after_its_processor_time():
    def q_sample(z0, t, eps, alpha_bar):
        while True:
            pass

    start = time.thread_time()
    result = result_of(q_sample, seconds=0.2)
    assert result.diagnosis == "too-slow" and "0.2 s of computing" in result.error.message
    assert time.thread_time() - start < 1


def test_a_loop_that_catches_everything_is_interrupted_again():
    rung = []

    def q_sample(z0, t, eps, alpha_bar):
        while len(rung) < 2:
            try:
                while True:
                    pass
            except BaseException:
                rung.append(1)
        return z0

    assert result_of(q_sample, seconds=0.1).diagnosis == "too-slow" and len(rung) == 2


def test_a_right_answer_that_waits_for_a_processor_is_not_too_slow():
    """On a busy machine the clock runs on while others compute; what counts is the time that the answer computes."""

    def q_sample(z0, t, eps, alpha_bar):
        time.sleep(0.1)
        return noising.q_sample(z0, t, eps, alpha_bar)

    start = time.perf_counter()
    assert result_of(q_sample, seconds=0.3).passed
    assert time.perf_counter() - start > 0.3


@pytest.mark.parametrize("spend, seconds", [(compute, 0.1), (time.sleep, 0.01)])
def test_many_slow_calls_count_together(spend, seconds):
    def q_sample(z0, t, eps, alpha_bar):
        spend(0.06)
        return noising.q_sample(z0, t, eps, alpha_bar)

    runner = InProcessRunner(q_sample, seconds)
    assert run_check(find("q_sample"), runner).diagnosis == "too-slow" and runner.calls > 1


@pytest.mark.parametrize("spend", [lambda: compute(0.2), lambda: time.sleep(1.2)])
def test_outside_the_main_thread_a_slow_call_is_told_afterwards(spend):
    results = []
    runner = InProcessRunner(lambda *args: spend(), seconds=0.1)
    thread = threading.Thread(target=lambda: results.append(run_check(find("q_sample"), runner)))
    thread.start()
    thread.join()
    assert results[0].diagnosis == "too-slow"


@pytest.mark.parametrize(
    "answer, diagnosis",
    [
        (lambda z0, t: z0, "signature"),
        (lambda z0, t, eps, alpha_bar: None, "no-return"),
        (lambda z0, t, eps, alpha_bar: ..., "not-written"),
        (lambda z0, t, eps, alpha_bar: (z0, eps), "wrong-kind"),
        (lambda z0, t, eps, alpha_bar: z0[None], "wrong-shape"),
        (lambda z0, t, eps, alpha_bar: 3 * z0, "wrong-value"),
        (lambda z0, t, eps, alpha_bar: threading.Lock(), "wrong-kind"),
        (lambda z0, t, eps, alpha_bar: exit(), "crash"),
    ],
)
def test_general_diagnoses(answer, diagnosis):
    assert result_of(answer).diagnosis == diagnosis


def test_a_list_of_another_length_is_told_with_both_lengths():
    result = result_of(lambda channels, blocks_per_level: [channels[0]] * 3, "skip_channels")
    assert result.diagnosis == "wrong-length"
    example = result.counter_example
    assert example.yours == "3 entries: [1, 1, 1]" and example.expected == "4 entries: [1, 1, 1, 2]"
    assert example.difference == "-1 entry"


def test_whole_numbers_are_asked_for_as_such_and_a_whole_float_is_one():
    right = find("pad_tokens").answer
    result = result_of(lambda *args: right(*args).float(), "pad_tokens")
    assert result.diagnosis == "not-whole" and "Integers are expected" in result.message
    result = result_of(lambda *args: right(*args).int(), "pad_tokens")  # its docstring says int64
    assert result.diagnosis == "other-whole"
    assert result_of(lambda: 160.0, "head_width").passed
    assert result_of(lambda: 160.5, "head_width").diagnosis == "wrong-value"


def test_nothing_is_learnt_through_alpha_bar():
    """So a number may be taken out of it: no gradient comes through .item(), and none is asked for."""

    def posterior_variance(t, alpha_bar):
        now, before = alpha_bar[t].item(), float(alpha_bar[t - 1]) if t > 0 else 1.0
        return torch.tensor((1 - before) / (1 - now) * (1 - now / before), dtype=alpha_bar.dtype)

    def posterior_mean(z0, z_t, t, alpha_bar):
        return find("posterior_mean").answer(z0, z_t, t, torch.tensor(alpha_bar.tolist(), dtype=alpha_bar.dtype))

    def without_z0(z0, z_t, t, alpha_bar):
        return posterior_mean(z0.detach(), z_t, t, alpha_bar)

    assert result_of(posterior_variance, "posterior_variance").passed
    result = result_of(posterior_mean, "posterior_mean")
    assert result.passed and "gradients flow and are right" in result.verified
    assert result_of(without_z0, "posterior_mean").diagnosis == "gradient-cut"


def test_the_last_hint_about_noise_works_on_another_device():
    formula = find("noise_one_step").hints[-1].partition(". ")[0]
    noise = eval(formula, {"torch": torch, "z": torch.empty(2, 3, device="meta"), "generator": torch.Generator()})
    assert noise.is_meta and noise.shape == (2, 3)


def test_the_first_check_loads_no_library():
    """What torch loads late, more than a second's work, is loaded with `check` itself."""
    code = (
        "import sys; from tinyldm_course import checking; before = set(sys.modules)\n"
        "exercise = checking.find('q_sample')\n"
        "checking.run_check(exercise, checking.InProcessRunner(exercise.answer, 60))\n"
        "print({name.partition('.')[0] for name in set(sys.modules) - before} - {'tinyldm', 'tinyldm_course'})"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_a_hard_coded_size_is_told_as_such():
    def q_sample(z0, t, eps, alpha_bar):
        a = alpha_bar[t].view(1, 1)
        return a.sqrt() * z0 + (1 - a).sqrt() * eps

    assert result_of(q_sample).diagnosis == "one-shape-only"


def test_what_depends_on_a_number_is_not_put_down_to_the_shape():
    exercise = Exercise(**vars(find("img2img_start")) | {"wrong": ()})

    def one_missing(z0, eps, ts, strength, alpha_bar):
        z, left = exercise.answer(z0, eps, ts, strength, alpha_bar)
        return z, left[1:] if 0.5 < strength < 0.6 else left  # of a batch that no call before had

    result = run_check(exercise, lambda call: perform(one_missing, call))
    assert result.diagnosis == "wrong-shape"


def test_a_crash_under_autograd_alone_is_a_cut_gradient():
    def q_sample(z0, t, eps, alpha_bar):
        right = noising.q_sample(z0, t, eps, alpha_bar)
        return torch.from_numpy(right.numpy())

    assert result_of(q_sample).diagnosis == "gradient-cut"


def test_another_crash_is_not_taken_for_a_known_one():
    def right(x):
        return x + 1

    def with_known_crash(x):
        raise RuntimeError("sizes do not match")

    def with_other_crash(x):
        raise RuntimeError("out of luck")

    exercise = Exercise(
        "plus",
        "Plus one",
        1,
        1,
        right,
        lambda g: [Call((torch.ones(2),))],
        ("hint",),
        "insight",
        (Wrong("known", with_known_crash, "The sizes."),),
        (),
    )
    assert run_check(exercise, InProcessRunner(with_known_crash)).diagnosis == "known"
    assert run_check(exercise, InProcessRunner(with_other_crash)).diagnosis == "crash"


def test_what_is_plain_to_see_is_said_without_guessing():
    def doubled(z0, t, eps, alpha_bar):
        return 2 * noising.q_sample(z0, t, eps, alpha_bar)

    exercise = find("q_sample")
    cases = exercise.cases(torch.Generator().manual_seed(0))[1:]
    result = run_check(Exercise(**vars(exercise) | {"cases": lambda _: cases}), InProcessRunner(doubled))
    assert result.diagnosis == "wrong-value" and "2 times the expected" in result.message


def test_a_list_that_looks_like_a_tensor_is_called_a_list():
    result = result_of(lambda *args: list(noising.q_sample(*args)))
    assert result.diagnosis == "wrong-kind"
    assert result.counter_example.yours == "a list of 1: [[1, -0.4]]"
    assert result.counter_example.expected == "a tensor: [[1, -0.4]]"


def test_torchs_own_not_implemented_error_is_not_the_stubs():
    result = result_of(lambda z0, t, eps, alpha_bar: z0 ^ eps)
    assert result.error.type == "NotImplementedError" and result.diagnosis == "crash"

    def stub(z0, t, eps, alpha_bar):
        raise NotImplementedError("still to do")

    assert result_of(stub).diagnosis == "not-written"


def test_an_argument_changed_on_the_way_to_a_wrong_value_is_told():
    def aliased(weights, gradients, lr, decay):
        average = weights
        for gradient in gradients:
            weights -= 2 * lr * gradient
        return weights, average

    assert "also changed in place" in result_of(aliased, "mended_average").message
    assert "in place" not in result_of(lambda z0, t, eps, alpha_bar: 3 * z0).message


def test_a_number_made_of_a_tensor_warns_nobody():
    features = torch.randn(4, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert perform(lambda x: float(x.sum()), Call((features,), gradients=True)).error is None


def test_another_way_to_draw_the_same_noise_passes_and_bad_noise_does_not():
    def drawn(noise):
        return lambda z, beta, generator: (1 - beta) ** 0.5 * z + beta**0.5 * noise(z, generator)

    def right(z, generator):
        return -torch.randn(z.shape, generator=generator).to(z)

    def uneven(z, generator):
        return torch.empty(z.shape).exponential_(generator=generator) - 1

    assert result_of(drawn(right), "noise_one_step").passed
    assert result_of(drawn(uneven), "noise_one_step").diagnosis == "noise-not-normal"
    shifted = result_of(drawn(lambda z, g: right(z, g) + 1), "noise_one_step")
    assert shifted.diagnosis == "one-slip" and "`1 - noise` stands in place of `noise`" in shifted.message
    assert result_of(drawn(lambda z, g: right(z, g) + 3), "noise_one_step").diagnosis == "noise-mean"
    assert result_of(drawn(lambda z, g: right(z, g) * 2), "noise_one_step").diagnosis == "noise-spread"
    assert result_of(drawn(lambda z, g: -torch.randn_like(z)), "noise_one_step").diagnosis == "generator-ignored"
    one = result_of(drawn(lambda z, g: torch.randn(1, generator=g).to(z)), "noise_one_step")
    assert one.diagnosis == "noise-shared" and "the shape of the result" in one.message
    both = result_of(drawn(lambda z, g: right(z, g) * 2 + 1), "noise_one_step")
    assert both.diagnosis == "noise-spread", "whatever the mean is"
    flat = result_of(drawn(lambda z, g: 12**0.5 * (torch.rand(z.shape, generator=g).to(z) - 0.5)), "noise_one_step")
    assert flat.diagnosis == "noise-not-normal"


def noise_but_at_0(x, t, generator):
    return x + torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device) if t > 0 else x * 1


NOISE = Exercise(
    "noise",
    "Noise",
    1,
    1,
    noise_but_at_0,
    lambda g: [Call((torch.randn(3, 4, generator=g), t, Seeded(4 + t))) for t in (0, 1)],
    ("hint",),
    "insight",
    (),
    (),
    moments=lambda x, t, generator: (x, float(t > 0)),
)


def test_other_draws_are_right_in_all_but_the_numbers():
    def other(x, t, generator):
        return x - torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device) if t > 0 else x * 1

    def promoted(x, t, generator):
        return other(x, t, generator).double()

    def noisy_end(x, t, generator):
        return x - torch.randn(x.shape, generator=generator, dtype=x.dtype)

    def changing(x, t, generator):
        x += 1
        return other(x - 1, t, generator)

    results = [run_check(NOISE, InProcessRunner(answer)) for answer in (noise_but_at_0, other, promoted, noisy_end)]
    assert [result.diagnosis for result in results] == ["", "", "wrong-dtype", "wrong-value"]
    assert results[0].verified == results[1].verified
    assert run_check(NOISE, InProcessRunner(changing)).diagnosis == "inputs-changed"


def test_the_learners_random_numbers_are_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    result_of(noising.q_sample)
    assert torch.equal(torch.rand(3), expected)


# ── Classes, plain answers, refusals ─────────────────────────────────────────────────────────────────


class Scaled(nn.Module):
    """A layer and its scale."""

    def __init__(self, width):
        super().__init__()
        self.scale, self.layer = nn.Parameter(torch.ones(width)), nn.Linear(width, width)

    def forward(self, x):
        return self.scale * self.layer(x)


class OtherOrder(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer, self.scale = nn.Linear(width, width), nn.Parameter(torch.zeros(width))

    def forward(self, x):
        return self.layer(x) * self.scale


class Unscaled(Scaled):
    def forward(self, x):
        return self.layer(x)


class NoScale(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(width, width)

    def forward(self, x):
        return self.layer(x)


def layer_cases(generator):
    return [Call((torch.randn(n, width, generator=generator),), build=(width,)) for n, width in ((1, 2), (3, 5))]


LAYER = Exercise(
    "scaled",
    "A layer",
    1,
    1,
    Scaled,
    layer_cases,
    ("hint",),
    "insight",
    (Wrong("unscaled", Unscaled, "The scale is missing."),),
    (OtherOrder,),
)


@pytest.mark.parametrize(
    "answer, diagnosis", [(Scaled, ""), (OtherOrder, ""), (Unscaled, "unscaled"), (NoScale, "wrong-parameters")]
)
def test_classes_are_built_filled_and_called(answer, diagnosis):
    result = run_check(LAYER, InProcessRunner(answer))
    assert result.diagnosis == diagnosis
    assert result.passed == (not diagnosis)
    if result.passed:
        assert "gradients flow and are right" in result.verified


def test_an_object_in_the_place_of_its_class_is_told_as_such():
    result = run_check(LAYER, InProcessRunner(Scaled(2)))
    assert result.diagnosis == "crash" and "pass the class itself" in result.error.message
    assert ("__init__", "width=2") in run_check(LAYER, InProcessRunner(Unscaled)).counter_example.inputs


def refusing(x):
    if x.numel() == 0:
        raise ValueError("empty")
    return x * 2


REFUSAL = Exercise(
    "refuse",
    "Refuse",
    1,
    1,
    refusing,
    lambda g: [Call((torch.ones(2),)), Call((torch.ones(0),))],
    ("hint",),
    "insight",
    (),
    (),
)


def test_senseless_inputs_must_be_refused():
    assert "1 invalid input rejected" in run_check(REFUSAL, InProcessRunner(refusing)).verified
    assert run_check(REFUSAL, InProcessRunner(lambda x: x * 2)).diagnosis == "should-refuse"


def test_a_refusal_by_another_error_is_told_as_such():
    def asserting(x):
        assert x.numel()
        return x * 2

    result = run_check(REFUSAL, InProcessRunner(asserting))
    assert result.diagnosis == "other-error" and "AssertionError" == result.error.type
    assert (
        "returned instead of raised: use raise ValueError"
        in run_check(REFUSAL, InProcessRunner(lambda x: x * 2 if x.numel() else ValueError("empty"))).error.message
    )


def test_with_what_words_a_value_error_refuses_hides_no_known_mistake():
    def of_wald(right, of):
        if not 0 <= right <= of or of < 1:
            raise ValueError("words of my own")
        half = 1.96 * (right / of * (1 - right / of) / of) ** 0.5
        return right / of - half, right / of + half

    result = result_of(of_wald, "wilson_interval")
    assert result.diagnosis == "wald"
    assert result.counter_example.yours == "(0.55208, 1.0479)"  # both ends, not the first alone
    assert result.counter_example.difference == "[0]: 0.061921"


GUESS = Exercise(
    "guess",
    "Predict",
    1,
    1,
    lambda: 0.36,
    lambda g: [Call(())],
    ("hint",),
    "insight",
    (Wrong("rooted", lambda: 0.6, "That is the root."),),
    (),
    tolerance=0.1,
)


def test_the_expected_answer_to_a_question_is_not_given_away():
    result = run_check(GUESS, InProcessRunner(lambda: 0.1))
    assert result.counter_example.yours == "0.1"
    assert "0.36" not in str(Feedback(GUESS, result))
    assert run_check(GUESS, InProcessRunner(lambda: 0.36)).verified == ("the right answer",)


@pytest.mark.parametrize(
    "answer, diagnosis",
    [
        (0.36, ""),
        (0.37, ""),
        (torch.tensor(0.35), ""),
        (0.6, "rooted"),
        (0.1, "wrong-value"),
        ("much", "wrong-kind"),
        (..., "not-written"),
    ],
)
def test_plain_answers_are_checked_as_they_are(monkeypatch, answer, diagnosis):
    monkeypatch.setattr("tinyldm_course.checking.find", lambda name: GUESS)
    feedback = check("guess", answer)
    assert feedback.result.diagnosis == diagnosis
    assert bool(feedback) == (not diagnosis)


@pytest.mark.parametrize(
    "answer, passed",
    [
        ("DBEAC", True),
        ("d, b, e, a, c", True),
        (list("DBEAC"), True),
        ("DBEA", False),
        (list("DBECA"), False),
        (list("12345"), False),
    ],
)
def test_letters_count_and_not_how_they_are_written(answer, passed):
    assert result_of(lambda: answer, "symptoms").passed == passed


def test_gradients_are_wanted_where_a_notebook_has_switched_them_off():
    with torch.no_grad():
        assert "gradients flow and are right" in result_of(find("q_sample").answer).verified
        assert not torch.is_grad_enabled()


def test_a_made_module_is_compared_after_the_call():
    def step(model):
        with torch.no_grad():
            model.weight.mul_(2)
        return 1.0

    call = Call((Made(nn.Linear, (2, 2)),))
    want, kept = perform(step, call), perform(lambda model: 1.0, call)
    assert first_difference(perform(step, call), want, call, 1e-4) is None
    assert first_difference(kept, want, call, 1e-4).aspect == "inputs"


def test_a_seeded_argument_is_a_generator():
    draw = perform(lambda generator: torch.rand(2, generator=generator), Call((Seeded(3),))).value
    assert torch.equal(draw, torch.rand(2, generator=torch.Generator().manual_seed(3)))


# ── What is shown ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "cell, success, told",
    [
        ("def q_sample(z0", False, True),
        ("x = 1\nq_sample = 2 *", False, True),
        ("def q_sample(z0): ...", True, False),
        ("def other(): ...", False, False),
        ("def q_sample(): ...\ncheck('q_sample', q_sample)", False, False),
    ],
)
def test_a_cell_that_failed_is_not_mistaken_for_what_is_checked(monkeypatch, cell, success, told):
    last = SimpleNamespace(
        success=success, info=SimpleNamespace(raw_cell=cell), error_before_exec=SyntaxError(), error_in_exec=None
    )
    shell = SimpleNamespace(last_execution_result=last, has_trait=lambda name: False)
    monkeypatch.setattr("tinyldm_course.checking.shell", lambda: shell)
    feedback = check("q_sample", lambda *args: 3 * args[0])
    assert ("stopped with SyntaxError" in str(feedback)) == told


def test_feedback_as_text(capsys):
    def noisy(z0, t, eps, alpha_bar):
        print("debugging", tuple(z0.shape))
        return noising.q_sample_with_beta(z0, t, eps, alpha_bar)

    assert not check("q_sample", noisy)
    text = capsys.readouterr().out
    for part in ("✘ q_sample", "√β_t", "yours", "expected", "difference", "debugging (1, 2)"):
        assert part in text
    assert text.count("debugging") == 1
    assert check("q_sample", noising.q_sample_by_loop)
    assert find("q_sample").insight in capsys.readouterr().out


def test_a_hint_belongs_to_the_diagnosis(capsys):
    """None beside the name of a mistake; one about the shape if only that is wrong; else the next about the formula."""

    def strange(z0, t, eps, alpha_bar):
        return z0 + t.view(-1, *[1] * (z0.dim() - 1)) * eps.tanh() + 7 * alpha_bar.sum()

    def clashing(z0, t, eps, alpha_bar):
        return alpha_bar[t].view(-1, 7) * z0

    def shown(answer):
        return check("q_sample", answer).hint

    hints = find("q_sample").hints
    assert shown(noising.q_sample_with_beta) == "" and "hint" not in capsys.readouterr().out
    assert shown(clashing) == shown(lambda *args: strange(*args)[..., None]) == hints[1]
    assert [shown(strange) for _ in range(2)] == list(hints[:2]) and hints[1] in capsys.readouterr().out
    assert shown(noising.q_sample_with_beta) == shown(lambda z0: z0) == shown(lambda *args: ...) == ""
    assert [shown(strange) for _ in range(3)] == [hints[2]] * 3
    assert shown(lambda *args: noising.q_sample(*args).float().detach()) == ""  # right values: no help with a formula


def test_a_progress_file_from_before_hints_were_counted_is_read(tmp_path, monkeypatch):
    file = tmp_path / "progress.json"
    file.write_text('{"version": 1, "exercises": {"q_sample": {"attempts": 2, "passed": ""}}}', encoding="utf-8")
    monkeypatch.setenv("TINYLDM_PROGRESS", str(file))
    assert progress.read() == {"q_sample": progress.Record(2, "", 0)}


def test_feedback_as_a_page_is_escaped():
    def q_sample(z0, t, eps, alpha_bar):
        raise KeyError("<script>")

    page = Feedback(find("q_sample"), result_of(q_sample), hint="a < b")._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page and "a &lt; b" in page
    assert "✔" in Feedback(find("q_sample"), result_of(noising.q_sample))._repr_html_()


def test_a_terminal_without_these_letters_gets_others(monkeypatch, tmp_path):
    with open(tmp_path / "out.txt", "w", encoding="ascii") as out:
        monkeypatch.setattr("sys.stdout", out)
        check("q_sample", noising.q_sample)
    assert "q_sample: right" in (tmp_path / "out.txt").read_text(encoding="ascii")


def test_nbgrader_sees_a_failure_as_an_error(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    with pytest.raises(CheckFailed, match="not yet"):
        check("q_sample", noising.q_sample_swapped)
    assert check("q_sample", noising.q_sample)


def test_an_unknown_exercise_names_those_that_are_like_it():
    with pytest.raises(ValueError, match="q_sample"):
        check("qsample", noising.q_sample)


def test_true_numbers_in_insights():
    schedule = forward_diffusion.NoiseSchedule(forward_diffusion.scaled_linear_betas())
    snr = signal_to_noise(schedule.alpha_bar)
    insight = find("signal_to_noise").insight
    assert f"from {snr[0]:.0f} at t = 0 to {snr[-1]:.4f} at t = 999" in insight
    assert f"t = {(snr >= 1).sum()}" in insight
    assert f"{schedule.alpha_bar[0]:.5f}" in find("alpha_bar_from_beta").insight


# ── Progress ─────────────────────────────────────────────────────────────────────────────────────────


def test_progress_is_kept(file):
    check("q_sample", noising.q_sample_swapped)
    check("q_sample", noising.q_sample)
    check("q_sample", noising.q_sample_swapped)  # what is solved stays solved
    record = progress.read()["q_sample"]
    assert record.attempts == 2 and record.passed.endswith("+00:00")
    assert json.loads(file.read_text())["version"] == 1
    assert {path.name for path in file.parent.iterdir()} == {"progress.json", "progress.json.lock"}


def test_a_stub_is_no_attempt(file):
    def stub(z0, t, eps, alpha_bar):
        raise NotImplementedError

    check("q_sample", stub)
    assert not file.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"exercises": 3}',
        b'{"exercises": {"q_sample": {"x": 1}}}',
        b'{"exercises": {"q_sample": {"attempts": "2"}}}',
        b"\xff\xfe",
    ],
)
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(file, content):
    file.parent.mkdir()
    file.write_bytes(content)
    assert progress.read() == {}
    assert check("q_sample", noising.q_sample)
    assert progress.read()["q_sample"].passed
    assert file.with_name("progress.json.damaged").read_bytes() == content


def test_without_a_place_for_progress_the_check_still_works(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TINYLDM_PROGRESS", str(tmp_path / "file" / "progress.json"))
    assert check("q_sample", noising.q_sample)
    assert "could not be saved" in capsys.readouterr().out


def test_the_command_shows_a_bar_for_each_lesson(capsys):
    check("q_sample", noising.q_sample)
    capsys.readouterr()
    assert cli.main(["progress"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "Forward diffusion" in lines[0] and "####" in lines[0] and "1 of 5" in lines[0]
    assert lines[-2].startswith("1 of ") and os.environ["TINYLDM_PROGRESS"] in lines[-1]


def test_bars():
    lessons = {2: ("Noise", ("a", "b")), 10: ("Training", ("c",))}
    lines = progress.in_words({"a": progress.Record(1, "2026"), "c": progress.Record(3, "")}, lessons)
    assert lines == [
        f"02  Noise     [{'#' * 10}{'.' * 10}]  1 of 2   next: b",
        f"10  Training  [{'.' * 20}]  0 of 1",
        "1 of 3 exercises solved",
    ]


def test_what_a_right_answer_changes_itself_is_not_called_changed_in_place():
    right = find("train_steps").answer

    def of_a_copy(model, batches, alpha_bar, lr):
        return right(copy.deepcopy(model), batches, alpha_bar, lr)

    def of_twice_the_rate_squared(model, batches, alpha_bar, lr):
        return [3 * loss for loss in right(model, batches, alpha_bar, 1.7 * lr)]

    result = result_of(right, "train_steps")
    assert result.passed and "the inputs are unchanged" not in result.verified
    assert "changed in place" not in result_of(of_a_copy, "train_steps").message
    assert "changed in place" not in result_of(of_twice_the_rate_squared, "train_steps").message


def test_a_lost_gradient_is_not_taken_for_a_change_in_place():
    right = find("drop_captions").answer
    result = result_of(lambda *args: right(*args).detach(), "drop_captions")
    assert result.diagnosis == "gradient-cut" and result.counter_example.yours == "gradient of context: none"


def test_float64_may_be_drawn_in_float32():
    def posterior_sample(moments, generator):
        mean, logvar = moments.chunk(2, dim=1)
        eps = torch.randn(mean.shape, generator=generator)
        return mean + torch.exp(logvar.clamp(-30, 20) / 2) * eps.to(mean.device)

    assert result_of(posterior_sample, "posterior_sample").passed


def test_a_generator_of_the_cpu_does_not_draw_on_a_gpu():
    right = find("posterior_sample").answer

    def posterior_sample(moments, generator):
        mean, logvar = moments.chunk(2, dim=1)
        eps = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        return mean + torch.exp(logvar.clamp(-30, 20) / 2) * eps

    result = result_of(posterior_sample, "posterior_sample")
    assert result.diagnosis == "generator-elsewhere" and ".to(x.device)" in result.message
    assert result_of(right, "posterior_sample").passed


def test_whole_numbers_of_another_dtype_are_said_to_be_whole():
    right = find("signed_to_image").answer
    result = result_of(lambda *args: right(*args).int(), "signed_to_image")
    assert result.diagnosis == "other-whole" and result.counter_example.yours == "torch.int32"


def test_an_error_that_is_returned_was_not_raised():
    right = find("img2img_start").answer

    def returned(*args):
        try:
            return right(*args)
        except ValueError as error:
            return error

    result = result_of(returned, "img2img_start")
    assert result.diagnosis == "wrong-kind" and "returned instead of raised" in result.error.message


def test_float64_for_float32_in_a_dictionary():
    right = find("ema_update").answer
    result = result_of(lambda *args: {name: value.double() for name, value in right(*args).items()}, "ema_update")
    assert result.diagnosis == "wrong-dtype"


def test_a_refusal_of_ones_own_is_recognised_whatever_its_words():
    right = find("wilson_interval").answer

    def none_refused(right_ones, of):
        if right_ones == 0:
            raise ValueError("nothing is right")
        return right(right_ones, of)

    assert result_of(none_refused, "wilson_interval").diagnosis == "zero-refused"


def test_checks_side_by_side_lose_nothing(file):
    """Each reads the file, adds its own and writes it; in between nobody else does."""
    code = """
import sys
from tinyldm_course.checking import check
for name in sys.argv[1:]:
    check(name, lambda *args: 0)
"""
    names = ["q_sample", "velocity", "kl", "slerp", "attention", "geglu", "group_norm", "ema_update"]
    started = [
        subprocess.Popen([sys.executable, "-c", code, *names[part::2]], stdout=subprocess.PIPE, text=True)
        for part in (0, 1)
    ]
    said = "".join(process.communicate(timeout=120)[0] for process in started)
    assert "could not be saved" not in said
    assert progress.read().keys() == set(names)


def test_a_file_that_another_notebook_keeps_is_told(file, monkeypatch, capsys):
    monkeypatch.setattr(progress, "LOCK_TIMEOUT", 0.05)
    with progress.locked():
        assert check("q_sample", find("q_sample").answer)
    assert "could not be saved" in capsys.readouterr().out and progress.read() == {}


def test_a_mistake_that_fails_the_values_is_not_named_for_the_device():
    """Right numbers, but noise that stays on the CPU: that is no scaling with β, which breaks there as well."""

    def noise_one_step(z, beta, generator):
        return (1 - beta) ** 0.5 * z + beta**0.5 * torch.randn(z.shape, generator=generator, dtype=z.dtype)

    assert result_of(noise_one_step, "noise_one_step").diagnosis == "wrong-device"


def test_too_few_numbers_are_not_taken_for_a_generator_that_is_not_used():
    def noise_one_step(z, beta, generator):
        return (1 - beta) ** 0.5 * z + beta**0.5 * torch.randn(len(z), generator=generator, dtype=z.dtype)

    assert result_of(noise_one_step, "noise_one_step").diagnosis not in ("always-the-same", "generator-ignored")


def test_a_dtype_that_is_asked_for_is_not_the_inputs():
    right = find("timestep_embedding").answer
    assert result_of(lambda t, dim, base: right(t, dim, base).double(), "timestep_embedding").diagnosis == "other-dtype"


def test_numbers_may_be_given_in_any_way():
    assert result_of(lambda: torch.tensor(find("attention_weights").answer()), "attention_weights").passed
    right = find("posterior_variance").answer

    def posterior_variance(t, alpha_bar):
        return right(t, alpha_bar) if t else 0

    assert result_of(posterior_variance, "posterior_variance").passed


def test_a_value_error_of_ones_own_is_one():
    class Senseless(ValueError):
        pass

    def wilson_interval(right, of):
        if not 0 <= right <= of or of < 1:
            raise Senseless("no")
        return find("wilson_interval").answer(right, of)

    assert result_of(wilson_interval, "wilson_interval").passed


def test_a_set_is_said_to_be_one():
    result = result_of(lambda channels, blocks: set(channels), "skip_channels")
    assert result.diagnosis == "wrong-kind" and "an object of type set was returned" in result.error.message


@pytest.mark.parametrize("name", ["diffusion_loss", "denoising_score_matching"])
def test_of_a_loss_the_models_gradient_is_asked_for(name):
    right = find(name).answer
    result = result_of(lambda *args: right(*args).detach(), name)
    assert result.diagnosis == "gradient-cut" and "gradient of" in result.counter_example.yours

    def no_gradient_of_the_data(model, *args):
        with torch.no_grad():
            noised = [arg.clone() if isinstance(arg, torch.Tensor) else arg for arg in args]
        return right(model, *noised)

    assert result_of(no_gradient_of_the_data, name).passed


def test_no_number_is_near_to_infinity():
    want = Outcome(value=torch.tensor([1.0, -torch.inf]))
    call = Call((torch.zeros(2),))
    assert first_difference(Outcome(value=torch.tensor([1.0, -46.0])), want, call, 1e-3).aspect == "value"
    assert first_difference(Outcome(value=torch.tensor([1.0, -torch.inf])), want, call, 1e-3) is None


@pytest.mark.parametrize("root", [lambda x: torch.complex(x, x), lambda x: complex(0, 1)])
def test_complex_numbers_are_told_as_such(root):
    result = result_of(lambda z0, t, eps, alpha_bar: root(z0), "q_sample")
    assert result.diagnosis == "complex" and "negative number" in result.message


def test_a_refusal_on_one_line_is_one():
    right = find("wilson_interval").answer

    def none_refused(hits, of):
        if hits == 0:
            raise ValueError("nothing is right")  # noqa: E701
        return right(hits, of)

    assert result_of(none_refused, "wilson_interval").diagnosis == "zero-refused"


def test_nan_twice_is_no_ignored_generator():
    def noise_one_step(z, beta, generator):
        return z * float("nan") + torch.randn(z.shape, generator=generator).to(z)

    assert result_of(noise_one_step, "noise_one_step").diagnosis not in ("generator-ignored", "always-the-same")
