"""The number of threads: what the process may use, whom it gives way to, and what the user has set."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinyldm import threads


def tree(root: Path, **files: str) -> Path:
    """A made-up /proc and /sys: tree(tmp_path, **{"proc/self/cgroup": "0::/"})."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


V1 = "sys/fs/cgroup/cpu"


@pytest.mark.parametrize(
    "files, expected",
    [
        ({}, math.inf),
        ({"proc/self/cgroup": "0::/\n"}, math.inf),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, math.inf),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "50000 100000\n"}, 0.5),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "200000 100000\n"}, 2),  # a parent's limit
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/cpu.max": "200000 100000",
                "sys/fs/cgroup/a/b/cpu.max": "300000 100000",
            },
            2,
        ),
        # A container that sees its host's path, and its own group at the top.
        ({"proc/self/cgroup": "0::/docker/0123\n", "sys/fs/cgroup/cpu.max": "400000 100000"}, 4),
        ({"proc/self/cgroup": "4:cpu,cpuacct:/x\n", f"{V1}/x/cpu.cfs_quota_us": "-1"}, math.inf),
        (
            {
                "proc/self/cgroup": "7:memory:/m\n4:cpu,cpuacct:/x\n0::/\n",
                f"{V1}/x/cpu.cfs_quota_us": "250000\n",
                f"{V1}/x/cpu.cfs_period_us": "100000\n",
            },
            2.5,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/host/path\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "100000",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "50000",
            },
            2,
        ),
        ({"proc/self/cgroup": "nonsense\n0::/\n", "sys/fs/cgroup/cpu.max": "what is this"}, math.inf),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "0 0"}, math.inf),
    ],
)
def test_quota_of_control_groups(tmp_path, files, expected):
    assert threads.cgroup_quota(tree(tmp_path, **files)) == expected


@pytest.mark.parametrize(
    "quota, allowed, expected",
    [("max", 4, 4), ("50000", 4, 1), ("150000", 4, 2), ("140000", 4, 1), ("800000", 4, 4), ("300000", 1, 1)],
)
def test_available_is_the_smaller_of_mask_and_quota(tmp_path, monkeypatch, quota, allowed, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(allowed)), raising=False)
    root = tree(tmp_path, **{"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": f"{quota} 100000"})
    assert threads.available(root) == expected


def test_available_without_an_affinity_mask(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert threads.available(tmp_path) == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert threads.available(tmp_path) == 1


def test_waiting_share_is_that_since_the_last_call(tmp_path):
    crowd = threads.Crowd()
    assert crowd.waiting_share(tree(tmp_path, **{"proc/self/schedstat": "900 100 5"})) == pytest.approx(0.1)
    assert crowd.waiting_share(tree(tmp_path, **{"proc/self/schedstat": "1000 400 6"})) == pytest.approx(0.75)
    assert crowd.waiting_share(tmp_path) == 0  # it has slept: neither ran nor waited


def test_waiting_share_by_the_load_where_the_kernel_does_not_count(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for load, expected in ((0.5, 0), (2, 0), (8, 0.75)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0, 0), raising=False)
        assert threads.Crowd().waiting_share(tmp_path) == expected
    monkeypatch.delattr(os, "getloadavg", raising=False)
    assert threads.Crowd().waiting_share(tmp_path) == 0


class Shares(threads.Crowd):
    """A crowd of known size."""

    def waiting_share(self, root: Path = Path("/")) -> float:
        return self.share


def test_large_work_gets_all_threads_and_small_work_one():
    crowd = Shares()
    crowd.share = 0.0
    decision = threads.Decision(crowd, most=4)
    assert decision.begin(math.inf, now=0) == 4
    assert decision.begin(threads.SMALL_WORK / 2, now=0) == 1
    assert decision.again(now=100) == 1  # the work is as small as before, however free the processors are


def test_it_gives_way_to_a_crowd_and_comes_back():
    crowd = Shares()
    crowd.share = 0.0
    decision = threads.Decision(crowd, most=2)
    assert decision.begin(math.inf, now=0) == 2
    crowd.share = 0.8
    assert decision.again(now=0.5) == 2  # not looked at yet
    assert decision.again(now=1.5) == 1
    crowd.share = 0.0
    assert decision.again(now=3) == 1  # on one thread there may be no wait because there is only one
    assert decision.again(now=1.5 + threads.RETRY_AFTER + 1) == 2
    crowd.share = 0.8
    assert decision.again(now=100) == 1
    assert decision.begin(math.inf, now=200) == 1  # a crowd from the start


def test_prepare_respects_the_users_settings(monkeypatch):
    monkeypatch.setattr(threads, "_decision", threads.Decision(threads.Crowd()))
    environment = {"OMP_NUM_THREADS": "3"}
    threads.prepare(environment=environment)
    assert environment == {"OMP_NUM_THREADS": "3"} | threads.WAIT_BRIEFLY and threads._decision.most == 0
    environment = {"OMP_WAIT_POLICY": "active", "MKL_NUM_THREADS": "2"}
    threads.prepare(environment=environment)
    assert environment == {"OMP_WAIT_POLICY": "active", "MKL_NUM_THREADS": "2"} and threads._decision.most == 0
    environment = {"KMP_BLOCKTIME": "0"}
    threads.prepare(environment=environment)
    assert environment == {"KMP_BLOCKTIME": "0", "OMP_NUM_THREADS": "1"}
    assert threads._decision.most == threads.available()
    threads.prepare(2, environment)  # again: the number is now as if the user had set it
    assert environment["OMP_NUM_THREADS"] == "1"


def test_threads_are_set_in_pytorch_only_after_prepare():
    """In a process of its own, as the number of threads is the process's."""
    program = """
import os, sys
from tinyldm import threads
assert "torch" not in sys.modules
threads.fit(); threads.adapt()
assert "torch" not in sys.modules and "OMP_NUM_THREADS" not in os.environ
threads.prepare()
import torch
assert torch.get_num_threads() == 1
threads._decision.most = 3
threads._decision.crowd.waiting_share = lambda: 0.0
assert threads.fit() == torch.get_num_threads() == 3
threads._decision.crowd.waiting_share = lambda: 0.9
threads._decision.checked -= 10
assert threads.adapt() == torch.get_num_threads() == 1
"""
    environment = {k: v for k, v in os.environ.items() if k not in threads.NUMBER_SETTINGS + threads.WAIT_SETTINGS}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
