"""Interleaved timing: two implementations of one thing take turns, so that a noisy machine disturbs both alike."""

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Row:
    """One line of a table: median seconds of both, and how many times faster ours is."""

    name: str
    ours: float
    peer: float
    ratio: float  # median over rounds of peer / ours; > 1 means that ours is faster
    low: float  # the middle half of those ratios: 25 % …
    high: float  # … and 75 % quantile
    rounds: int

    def markdown(self) -> str:
        return (
            f"| {self.name} | {1000 * self.ours:.1f} ms | {1000 * self.peer:.1f} ms | **{self.ratio:.2f}** "
            f"({self.low:.2f} … {self.high:.2f}) | {self.rounds} |"
        )


def compare(name: str, ours: Callable[[], object], peer: Callable[[], object], *, rounds: int = 15) -> Row:
    """Run both in turn, `rounds` times after two warm-ups, swapping who goes first each round."""
    times: dict[str, list[float]] = {"ours": [], "peer": []}
    for i in range(rounds + 2):
        order = [("ours", ours), ("peer", peer)]
        for which, function in order if i % 2 else reversed(order):
            seconds = _time(function)
            if i >= 2:
                times[which].append(seconds)
    ratios = sorted(b / a for a, b in zip(times["ours"], times["peer"]))
    quartiles = statistics.quantiles(ratios, n=4)
    return Row(
        name,
        statistics.median(times["ours"]),
        statistics.median(times["peer"]),
        statistics.median(ratios),
        quartiles[0],
        quartiles[2],
        rounds,
    )


def geometric_mean(rows: list[Row]) -> float:
    return statistics.geometric_mean([row.ratio for row in rows])


def hardware() -> str:
    """The machine, in words."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            name = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass  # not Linux: the platform's own name will do
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    return f"{name}{gpu}, {torch.get_num_threads()} threads, {versions}"


def _time(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start
