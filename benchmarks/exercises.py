"""How good are the checks of the exercises? Every known answer on many seeds, and mutants that nobody thought of.

    python benchmarks/exercises.py --seeds 20 --out benchmarks/exercises.md

For each exercise: its right answers must pass and its wrong ones must be rejected with their own diagnosis, on every
seed. Then the solution of its notebook is changed in one place (an operator, a constant, an axis, a dropped term), and
each such mutant must be rejected, unless it computes the same: `EQUIVALENT` lists those, with the reason.
"""

import argparse
import ast
import copy
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "sources"))
import build_exercises  # noqa: E402

from tinyldm_course.checks.exercise import Exercise  # noqa: E402
from tinyldm_course.checks.in_process import InProcessRunner  # noqa: E402
from tinyldm_course.checks.pipeline import Result, run_check  # noqa: E402
from tinyldm_course.checks.slips import alternatives
from tinyldm_course.exercises import find, lesson, numbers, of_lesson  # noqa: E402

# (exercise, what was changed) -> why it is no mistake
ANY_ENTRY = "ones like any entry"
SWAPPED = "a transposition swaps two dimensions, whichever is named first"
NEAR = "an estimate is asked for, and this is as near"
NUMBER = "a tensor of one number is as good as the number"
EVEN = "an even power of the number with a minus"
KEYS = "beside a view of keys, a dictionary counts as its keys"
EQUIVALENT: dict[tuple[str, str], str] = {
    ("alpha_bar_from_beta", "return torch.cumprod(1 - beta, dim=-1)"): "β has one dimension",
    ("noise_one_step", "return (1 - beta) ** 0.5 * z - beta ** 0.5 * noise"): "-ε is as normal as ε",
    ("posterior_mean", "before = alpha_bar[t - 1] if t > 0 else torch.ones_like(alpha_bar[1])"): ANY_ENTRY,
    ("posterior_mean", "before = alpha_bar[t - 1] if t > 0 else torch.ones_like(alpha_bar[-1])"): ANY_ENTRY,
    ("posterior_variance", "before = alpha_bar[t - 1] if t > 0 else torch.ones_like(alpha_bar[1])"): ANY_ENTRY,
    ("posterior_variance", "before = alpha_bar[t - 1] if t > 0 else torch.ones_like(alpha_bar[-1])"): ANY_ENTRY,
    ("langevin_step", "return x + step / 2 * score(x) - step ** 0.5 * noise"): "-ε is as normal as ε",
    ("image_to_signed", "image = pixels / 255"): "torch makes floats of whole numbers when it divides them",
    (
        "asymmetric_downsample",
        "return F.conv2d(F.pad(x, (0, 2, 0, 1)), weight, bias, stride=2)",
    ): "sides are even, so the second column of zeros is never read",
    (
        "asymmetric_downsample",
        "return F.conv2d(F.pad(x, (0, 1, 0, 2)), weight, bias, stride=2)",
    ): "sides are even, so the second row of zeros is never read",
    ("posterior_sample", "return mean - std * noise"): "-ε is as normal as ε",
    ("scale_factor", "return 1 / latents.std()"): NUMBER,
    ("slip_in_percent", "slip_in_percent = 101 * (0.18215 / 0.18125 - 1)"): NEAR,
    ("slip_in_percent", "slip_in_percent = 99 * (0.18215 / 0.18125 - 1)"): NEAR,
    ("attention", "scores = q @ k.transpose(2, 1) / q.shape[-1] ** 0.5"): SWAPPED,
    ("multi_head_attention", "q, k, v = (y.unflatten(-1, (heads, -1)).transpose(2, 1) for y in (q, k, v))"): SWAPPED,
    ("multi_head_attention", "return mixed.transpose(2, 1).flatten(2)"): SWAPPED,
    ("CrossAttention", "q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(2, 1) for y in (q, k, v))"): SWAPPED,
    ("CrossAttention", "return self.to_out(mixed.transpose(2, 1).flatten(2))"): SWAPPED,
    ("SpatialTransformer", "pixels = self.norm(x).flatten(2).transpose(2, 1)"): SWAPPED,
    ("SpatialTransformer", "return x + pixels.transpose(2, 1).reshape(x.shape)"): SWAPPED,
    ("SmallUNet", "skips.append(self.down_block0(skips[-0], t_emb))"): "the first of one is the last",
    ("SmallUNet", "skips.append(self.downsample(skips[1]))"): "the second of two is the last",
    ("up_to_down", "up_to_down = 510795841 / 249612480"): NEAR,
    ("up_to_down", "up_to_down = 510795839 / 249612480"): NEAR,
    ("up_to_down", "up_to_down = 510795840 / 249612481"): NEAR,
    ("up_to_down", "up_to_down = 510795840 / 249612479"): NEAR,
    ("causal_attention", "scores = q @ k.transpose(2, 1) / d ** 0.5"): SWAPPED,
    ("train_steps", "losses.append(loss)"): NUMBER,
    (
        "step_one_row",
        "mask = (torch.arange(len(weight), device=weight.device) == row)[:, None]",
    ): "a product takes True for 1",
    ("ddpm_step", "return mean - variance ** 0.5 * noise"): "-ε is as normal as ε",
    ("load_problems", "for name in state & wanted.keys():"): KEYS,
    ("load_problems", "for name in state.keys() & wanted:"): KEYS,
    **{
        ("load_problems", f"return (sorted({missing}), sorted({unknown}), sorted(misshapen))"): KEYS
        for missing, unknown in (
            ("wanted - state.keys()", "state.keys() - wanted.keys()"),
            ("wanted.keys() - state", "state.keys() - wanted.keys()"),
            ("wanted.keys() - state.keys()", "state - wanted.keys()"),
            ("wanted.keys() - state.keys()", "state.keys() - wanted"),
        )
    },
    (
        "wilson_interval",
        "if not -1 <= right <= of or of < 1:",
    ): "for -1 there is the root of a negative number: a ValueError, too",
    ("wilson_interval", "return (max(-0.0, middle - half), min(1.0, middle + half))"): "-0.0 equals 0.0",
    ("wilson_interval", "return (max(0.0, middle - half), min(2.0, middle + half))"): "only rounding passes 1",
    ("ema_memory", "ema_memory = 0.9995 ** 1001"): NEAR,
    ("ema_memory", "ema_memory = 0.9995 ** 999"): NEAR,
    ("ema_memory", "ema_memory = -0.9995 ** 1000"): EVEN,
    ("low_end_of_100", "low_end_of_100 = 100 / (100 + -1.96 ** 2)"): EVEN,
    ("outline", "line = (distance.abs() <= width / 2).to(distance.dtype)"): "no distance is exactly half the width",
    (
        "closest_low_rank",
        "U, S, Vh = torch.linalg.svd(after - before, full_matrices=True)",
    ): "what is added is not read",
    ("frechet", "return means + cov_a.trace() + cov_b.trace() - 2 * values.sqrt().sum()"): NUMBER,
}

SECONDS = 20  # for an answer: a busy machine must not make a right one "too slow"


@dataclass(frozen=True)
class Mutant:
    """A solution with one change."""

    exercise: str
    change: str  # the statement with the change, as source
    tree: ast.Module


# ── Mutants ──────────────────────────────────────────────────────────────────────────────────────────


def mutants(name: str, source: str) -> list[Mutant]:
    """All mutants of the part of a cell that lies between ### BEGIN SOLUTION and ### END SOLUTION."""
    inside = {
        number
        for match in build_exercises.SOLUTION.finditer(source)
        for number in range(source.count("\n", 0, match.start()) + 1, source.count("\n", 0, match.end()) + 2)
    }
    tree, found = ast.parse(source), {}
    before = ast.unparse(tree)
    for index, node in enumerate(ast.walk(tree)):
        if getattr(node, "lineno", None) not in inside:
            continue
        for new in alternatives(node):
            changed, statement = _replaced(tree, index, new)
            if ast.unparse(changed) == before:  # such as f(L, L) with its arguments swapped
                continue
            found.setdefault((node.lineno, statement), Mutant(name, statement, changed))
    return list(found.values())


def _replaced(tree: ast.Module, index: int, new: ast.AST) -> tuple[ast.Module, str]:
    """A copy of a tree with another node in the place of the index-th, and the first line of its statement."""
    changed = copy.deepcopy(tree)
    old = list(ast.walk(changed))[index]
    around = [node for node in ast.walk(changed) if isinstance(node, ast.stmt) and old in ast.walk(node)]
    for parent in ast.walk(changed):
        for field, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, field, copy.deepcopy(new))
            elif isinstance(value, list) and any(item is old for item in value):
                setattr(parent, field, [copy.deepcopy(new) if item is old else item for item in value])
    return ast.fix_missing_locations(changed), ast.unparse(around[-1]).splitlines()[0]


def all_mutants(chosen: list[int]) -> Iterator[tuple[Exercise, Mutant, dict]]:
    """(exercise, mutant, what its notebook defines beside it) for the notebooks of some lessons."""
    for source in build_exercises.sources():
        if int(source.stem[:2]) not in chosen:
            continue
        namespace: dict = {}
        for cell in build_exercises.with_solutions(source).cells:
            facts = cell.metadata.get("nbgrader", {})
            if cell.cell_type == "code" and not facts.get("grade"):
                exec(compile(cell.source, cell["id"], "exec"), namespace)
            if facts.get("solution"):
                for mutant in mutants(facts["grade_id"], cell.source):
                    yield find(facts["grade_id"]), mutant, dict(namespace)


def survives(exercise: Exercise, mutant: Mutant, namespace: dict, seed: int = 0) -> bool:
    """Is a mutant taken for a right answer?"""
    try:
        exec(compile(mutant.tree, "mutant", "exec"), namespace)
    except Exception:  # it breaks before it is called
        return False
    answer = namespace[exercise.name]
    return run_check(exercise, InProcessRunner(answer if callable(answer) else lambda: answer, SECONDS), seed).passed


def survivors(chosen: list[int]) -> tuple[int, list[Mutant]]:
    """How many mutants were tried (without those that are known to be equivalent), and those that passed."""
    tried, passed = 0, []
    for exercise, mutant, namespace in all_mutants(chosen):
        if (exercise.name, mutant.change) in EQUIVALENT:
            continue
        tried += 1
        if survives(exercise, mutant, namespace):
            passed.append(mutant)
    return tried, passed


# ── The known answers ────────────────────────────────────────────────────────────────────────────────


def timed(exercise: Exercise, answer, seed: int, seconds: list[float]) -> Result:
    """A check's result; its processor time goes to `seconds`: a clock would measure what else the machine does."""
    start = time.process_time()
    result = run_check(exercise, InProcessRunner(answer, seconds=60), seed)
    seconds.append(time.process_time() - start)
    return result


def matrix(chosen: list[int], seeds: int) -> tuple[list[str], list[float]]:
    """One row of a table for each exercise, and the seconds of all checks."""
    rows, seconds = [], []
    for number in chosen:
        for exercise in of_lesson(number):
            right = [
                timed(exercise, answer, seed, seconds)
                for seed in range(seeds)
                for answer in (exercise.answer, *exercise.right)
            ]
            wrong = [
                (wrong, timed(exercise, wrong.answer, seed, seconds))
                for seed in range(seeds)
                for wrong in exercise.wrong
            ]
            named = sum(result.diagnosis == wrong.diagnosis for wrong, result in wrong)
            rejected = sum(not result.passed for _, result in wrong)
            passed = sum(result.passed for result in right)
            rows.append(
                f"| {number:02d} | {exercise.name} | {passed} of {len(right)} | {rejected} of {len(wrong)} | "
                f"{named} of {len(wrong)} |"
            )
    return rows, seconds


def equivalents(number: int) -> dict[tuple[str, str], str]:
    """Those of one lesson."""
    return {key: why for key, why in EQUIVALENT.items() if key[0] in lesson(number).NAMES}


def of_mutants(chosen: list[int]) -> str:
    """The part of the page about mutants."""
    by_lesson = {number: survivors([number]) for number in chosen}
    same = {number: equivalents(number) for number in chosen}
    tried, passed = sum(count for count, _ in by_lesson.values()), sum((some for _, some in by_lesson.values()), [])
    rows = "\n".join(
        f"| {number:02d} | {count} | {count - len(some)} | {len(same[number])} |"
        for number, (count, some) in by_lesson.items()
    )
    lines = "\n".join(f"* {mutant.exercise}: `{mutant.change}`" for mutant in passed) or "None."
    equal = "\n".join(f"* {name}: `{change}`: {why}" for keys in same.values() for (name, change), why in keys.items())
    return f"""\
| lesson | mutants that compute something else | rejected | mutants that compute the same |
|---|---|---|---|
{rows}

{tried:,} mutants that compute something else: {tried - len(passed):,} rejected ({(tried - len(passed)) / tried:.2%}).
Taken for right:

{lines}

{sum(map(len, same.values()))} mutants compute the same as the solution and are not counted:

{equal}
"""


def report(chosen: list[int], seeds: int) -> str:
    """The page."""
    rows, seconds = matrix(chosen, seeds)
    table = "\n".join(
        [
            "| lesson | exercise | right answers pass | wrong ones rejected | with their own diagnosis |",
            "|---|---|---|---|---|",
            *rows,
        ]
    )
    return f"""# The checks of the exercises, checked

Written by `python benchmarks/exercises.py --seeds {seeds} --lessons {" ".join(map(str, chosen))}`.
torch {torch.__version__}, CPU.

## Known answers, {seeds} seeds each

{table}

{len(seconds):,} checks: processor time {statistics.median(seconds) * 1e3:.0f} ms in the median, at most
{max(seconds) * 1e3:.0f} ms.

## Mutants of the solutions

{of_mutants(chosen)}"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lessons", type=int, nargs="+", default=numbers(), metavar="NN", help="default: all")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, help="write the report here; else print it")
    arguments = parser.parse_args()
    text = report(arguments.lessons, arguments.seeds)
    if arguments.out is None:
        print(text)
    else:
        arguments.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
