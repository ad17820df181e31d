"""How many threads compute, and how they wait for each other: decided by what this process may really use.

PyTorch starts one thread per processor of the machine, and each spins while it waits for the others. Beside other busy
programs, or in a container with a CPU quota, most of the time is then spent waiting: with ten busy processes on two
processors, a picture took ten times as long with two threads as with one (benchmarks/crowded.py).

    threads.prepare()     # before PyTorch is imported: wait without spinning for long
    threads.fit()         # before heavy computing: set the number of threads
    threads.adapt()       # now and then in a long loop: give way where the processors are busy

The commands and the lessons call these; `import tinyldm` alone changes nothing. Whoever sets OMP_NUM_THREADS or
OMP_WAIT_POLICY keeps that. Sums are rounded differently with another number of threads, so only what generates
pictures adapts on its way; a training keeps the number that it started with.
"""

import math
import os
import sys
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path

NUMBER_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
WAIT_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
# A thread spins for under a millisecond, then sleeps. Never to spin would make a small network slower than one thread
# does: generating one picture took 0.31 s with one thread, 0.52 s with two that sleep at once, 0.29 s with two that
# spin this long (AMD EPYC, tiny).
WAIT_BRIEFLY = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "20000", "KMP_BLOCKTIME": "1"}

SMALL_WORK = 1e9  # weights × latent positions × images of one U-Net call; below, a second thread gains nothing
CROWDED = 0.2  # of the time that this process could have run, it waited for a processor
CALM = 0.02
CHECK_EVERY = 1.0  # seconds
RETRY_AFTER = 30.0  # seconds on one thread before more are tried


# ── What this process may use ────────────────────────────────────────────────────────────────────────


def available(root: Path = Path("/")) -> int:
    """The number of processors this process may use: those it may run on, or fewer where a quota limits it; at least 1.

    root: where /proc and /sys are; for tests.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.floor(min(allowed, cgroup_quota(root) + 0.5)))


def cgroup_quota(root: Path = Path("/")) -> float:
    """How many processors' time the Linux control groups grant this process, such as 1.5; infinity without a limit.

    A group is limited by its own quota and by those of all groups above it. Inside a container the group's path may be
    the host's, which is not visible there; then the limits of the visible top are the container's own.
    """
    mounted, quota = root / "sys/fs/cgroup", math.inf
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        group = Path(path.lstrip("/"))
        for above in (group, *group.parents):
            if not controllers:  # version 2: one tree for all controllers
                quota = min(quota, *(_quota_v2(top / above) for top in (mounted, mounted / "unified")))
            elif "cpu" in controllers.split(","):
                quota = min(quota, *(_quota_v1(mounted / name / above) for name in {"cpu", controllers}))
    return quota


def _quota_v2(group: Path) -> float:
    """`cpu.max` holds "150000 100000": microseconds granted, of how many; or "max 100000"."""
    return _ratio((_text(group / "cpu.max").split() + ["", ""])[:2])


def _quota_v1(group: Path) -> float:
    return _ratio([_text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")])


def _ratio(texts: list[str]) -> float:
    """Quota / period; infinity where there is none: absent, "max", or -1."""
    try:
        quota, period = map(int, texts)
    except ValueError:
        return math.inf
    return quota / period if quota > 0 and period > 0 else math.inf


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


# ── How crowded it is ────────────────────────────────────────────────────────────────────────────────


def time_running_and_waiting(root: Path = Path("/")) -> tuple[int, int] | None:
    """Nanoseconds for which the main thread has run, and has been ready and had to wait. None where nobody counts."""
    try:
        running, waiting, _ = map(int, _text(root / "proc/self/schedstat").split())
    except ValueError:
        return None
    return running, waiting


@dataclass
class Crowd:
    """Measures how long this process has to wait for a processor.

    On Linux the kernel counts it. Elsewhere the load of the machine is the best estimate.
    """

    running: int = 0
    waiting: int = 0

    def waiting_share(self, root: Path = Path("/")) -> float:
        """Of the time since the last call in which the main thread could have run, the share in which it did not."""
        times = time_running_and_waiting(root)
        if times is None:
            return _share_by_load()
        running, waiting = times[0] - self.running, times[1] - self.waiting
        self.running, self.waiting = times
        return waiting / max(running + waiting, 1)


def _share_by_load() -> float:
    """What a process waits if all that are ready share the processors evenly."""
    try:
        load = os.getloadavg()[0]
    except (OSError, AttributeError):  # Windows
        return 0.0
    return max(0.0, 1 - (os.cpu_count() or 1) / max(load, 1e-9))


# ── Deciding ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Decision:
    """How many threads this process uses, followed through time.

    Attributes:
        most: the number to use where the work is large and the processors are free; 0: not ours to decide.
        count: the number in use.
        checked: when the crowd was last measured, seconds of a monotonic clock; lowered: when it made us give way.
    """

    crowd: Crowd
    most: int = 0
    count: int = 1
    checked: float = -math.inf
    lowered: float = -math.inf

    def begin(self, work: float, now: float) -> int:
        """The number for some work that starts now."""
        crowded = self.crowd.waiting_share() > CROWDED
        self.checked, self.lowered = now, now if crowded else -math.inf
        self.count = 1 if crowded or work < SMALL_WORK else self.most
        return self.count

    def again(self, now: float) -> int:
        """The number from now on: one where the processors are busy; where they are free again, as many as before."""
        if now - self.checked < CHECK_EVERY or self.most < 2:
            return self.count
        share, self.checked = self.crowd.waiting_share(), now
        if self.count > 1 and share > CROWDED:
            self.count, self.lowered = 1, now
        elif self.lowered > -math.inf and share < CALM and now - self.lowered > RETRY_AFTER:
            self.count = self.most
        return self.count


_decision = Decision(Crowd())


def prepare(initial: int = 1, environment: MutableMapping[str, str] = os.environ) -> None:
    """Let `fit` and `adapt` decide from now on, unless the user has. Call it before PyTorch is imported.

    What is set already stays as it is. If PyTorch has been imported, the way its threads wait is settled.

    Args:
        initial: the number of threads until `fit` is called. Models load fastest with one.
    """
    if not any(name in environment for name in WAIT_SETTINGS):
        environment.update(WAIT_BRIEFLY)
    if not any(name in environment for name in NUMBER_SETTINGS):
        environment["OMP_NUM_THREADS"] = str(initial)
        _decision.most = available()


def fit(work: float = math.inf) -> int:
    """Set the number of threads for the work that follows, and return it.

    work: weights × latent positions × images of one call of the network: what one call multiplies.
    """
    return _set(_decision.begin(work, time.monotonic())) if _decision.most else _in_use()


def adapt() -> int:
    """Set the number of threads again if the processors have become busy or free, and return it. Cheap."""
    return _set(_decision.again(time.monotonic())) if _decision.most else _in_use()


def _set(count: int) -> int:
    import torch  # here: this file must be importable before PyTorch

    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
    return count


def _in_use() -> int:
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch is not None else available()
