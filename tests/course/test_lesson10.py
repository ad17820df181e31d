"""Lesson 10's small world is learnt on every seed: the stored numbers are good, and of the lesson as it is."""

import importlib.util
import json
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "lesson10.py"
SPEC = importlib.util.spec_from_file_location("benchmark_of_lesson10", FILE)
benchmark = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(benchmark)


@pytest.fixture(scope="module")
def stored() -> dict:
    if not benchmark.STORED.is_file():
        pytest.skip("lesson 10 was not measured yet: python benchmarks/lesson10.py")
    return json.loads(benchmark.STORED.read_text(encoding="utf-8"))


def test_the_small_world_comes_true_on_three_seeds(stored):
    assert len({run["seed"] for run in stored["runs"]}) == len(stored["runs"]) >= 3
    for run in stored["runs"]:
        assert run["colour"] >= 0.95 and run["shape"] >= 0.80 and run["pictures"] >= 240, run


def test_it_takes_at_most_eight_minutes_on_two_cores(stored):
    assert stored["hardware"]["device"] == "cpu" and stored["hardware"]["threads"] <= 2
    assert all(run["minutes"] <= 8 for run in stored["runs"])


def test_the_numbers_are_of_the_lessons_present_code(stored):
    assert stored["code"] == benchmark.fingerprint(), "lesson 10's code has changed: run benchmarks/lesson10.py"


def test_the_seed_reaches_the_lesson():
    first = benchmark.cells()[0]
    assert first.count("\nSEED = 0 ") == 1
