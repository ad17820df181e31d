"""Several processes train as one does: the same weights, each image once, one log; and they survive each other."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tinyldm.training.checkpoints import read_facts
from tinyldm.training.processes import ALONE, Processes, buckets, join
from tinyldm.training.run import Run, Settings, adamw, batch_at, read_log

CHILD = Path(__file__).with_name("in_processes.py")
TESTS, REPOSITORY = CHILD.parents[1], CHILD.parents[2]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def launched(count: int, *arguments, module: bool = False) -> subprocess.CompletedProcess:
    """Run a program by itself, or in several processes as `accelerate launch` starts them."""
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", count, "--num_machines", 1]
    launcher += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", free_port()]
    command = [sys.executable, *(launcher if count > 1 else []), *(["-m"] if module else []), *arguments]
    path = os.pathsep.join([str(TESTS), str(CHILD.parent), str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True)


def distance(one: Path, other: Path) -> float:
    """‖a - b‖ / ‖a‖ over all tensors of two checkpoints."""
    a, b = load_file(one), load_file(other)
    assert a.keys() == b.keys()
    error = sum((a[name].double() - b[name].double()).square().sum().item() for name in a)
    return (error / sum(value.double().square().sum().item() for value in a.values())) ** 0.5


# ── Who computes what ────────────────────────────────────────────────────────────────────────────────


class Numbered(Processes):
    def __init__(self, number, count):
        self.number, self.count = number, count


@pytest.mark.parametrize("count, pieces", [(1, 1), (1, 4), (2, 1), (4, 2), (8, 1)])
def test_the_shares_of_a_batch_are_the_batch(count, pieces):
    batch = torch.arange(16)
    shares = [share for number in range(count) for share in Numbered(number, count).shares(16, pieces)]
    assert len(shares) == count * pieces and len({share.stop - share.start for share in shares}) == 1
    assert torch.equal(torch.cat([batch[share] for share in shares]), batch)


def test_a_batch_that_cannot_be_divided_is_refused():
    with pytest.raises(ValueError, match="batch of 10 .* evenly among 4 .* expected a multiple of 4: change --batch"):
        Numbered(0, 4).share(10)
    with pytest.raises(ValueError, match="multiple of 6"):
        Numbered(0, 2).shares(4, 3)


def test_each_image_is_computed_once_an_epoch():
    """25 epochs of 48 images in batches of 16, of which each of 4 processes computes 4."""
    for epoch in range(25):
        seen = [
            batch_at(7, step, 16, 48)[Numbered(number, 4).share(16)]
            for step in range(3 * epoch, 3 * epoch + 3)
            for number in range(4)
        ]
        assert sorted(torch.cat(seen).tolist()) == list(range(48))


def test_without_a_launcher_there_is_one_process(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join("cpu") is ALONE and ALONE.is_first
    x = torch.ones(3, requires_grad=True)
    assert ALONE.gather(x) is x and ALONE.agree(1.5, True) == (1.5, True)
    assert torch.equal(ALONE.mean(x), x) and not ALONE.mean(x).requires_grad


def test_without_the_library_the_message_names_it(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ValueError, match=r"needs the library accelerate: pip install \"tinyldm\[train\]\""):
        join("cpu")


def test_gradients_are_sent_inbuckets(monkeypatch):
    monkeypatch.setattr("tinyldm.training.processes.BUCKET", 100)
    tensors = [torch.zeros(n) for n in (10, 20, 1, 1, 50)]  # of 4 bytes each
    assert [[len(one) for one in bucket] for bucket in buckets(tensors)] == [[10, 20], [1, 1, 50]]


class Recorder(Processes):
    """A second process of two: writes nothing, and is told to stop by the first after 5 steps."""

    number, count = 1, 2
    steps = 0

    def agree(self, seconds, stop):
        self.steps += 1
        return 10.0 * self.steps, self.steps == 5


def test_other_processes_write_nothing_and_end_with_the_first(tmp_path, capfd):
    from tinyldm.training.run import Stopped

    model = nn.Linear(2, 1)
    modules, optimizers = {"m": model}, {"o": adamw(model.parameters(), 0.1)}
    with pytest.raises(Stopped):
        with Run("x", Settings(out=tmp_path, minutes=1.0, batch=4), modules, optimizers, 0, Recorder()) as run:
            for _ in run.steps():
                run.log(loss=torch.tensor(1.0))
    assert run.step == 5 and run.seconds == 50.0  # the clock of the first one
    assert not list(tmp_path.iterdir()) and "x:" not in capfd.readouterr().err


def test_the_moving_average_may_live_elsewhere():
    from tinyldm.training.run import MovingAverage

    module = nn.Linear(2, 2)
    here, there = MovingAverage(module, 0.9), MovingAverage(module, 0.9, "cpu")
    nn.init.ones_(module.weight)
    for average in (here, there):
        average.update(module, 5)
    assert torch.equal(here.module.weight, there.module.weight)
    assert {weight.device.type for weight in MovingAverage(module, 0.9, "meta").module.parameters()} == {"meta"}


# ── The same numbers ─────────────────────────────────────────────────────────────────────────────────

# What the loops logged at commit e49672f, the last one in which they knew of one process only.
BEFORE = {
    "clip": [(6.708193778991699, 2.1811535358428955), (6.351960182189941, 2.0662922859191895)],
    "vae": [(1.200446367263794, 0.5474706888198853), (0.8303073644638062, 0.42408251762390137)],
    "unet": [(0.8688017129898071,), (0.7083126306533813,)],
}
NAMES = {"clip": ("loss", "contrastive"), "vae": ("loss", "l1"), "unet": ("loss",)}


@pytest.mark.slow
def test_one_process_trains_as_before(tmp_path):
    from test_training_stages import plan

    from tinyldm.data.corpus import scenes_corpus
    from tinyldm.training.train_all import train_all

    train_all(plan(tmp_path, steps=40), scenes_corpus(64), tmp_path / "model")
    for stage, losses in BEFORE.items():
        log = read_log(tmp_path / f"{stage}.log.jsonl")
        for line, expected in zip(log, losses, strict=True):
            assert [line[name] for name in NAMES[stage]] == pytest.approx(expected, rel=1e-4), stage


@pytest.mark.slow
@pytest.mark.parametrize("dtype, most", [("float64", 1e-9), ("float32", 1e-4)])
def test_two_processes_give_the_weights_of_one(tmp_path, dtype, most):
    """20 steps of each stage with a batch of 8, or of 4 in each of two processes; the second half with an adversary."""
    for count in (1, 2):
        result = launched(count, CHILD, tmp_path / str(count), 20, dtype)
        assert result.returncode == 0, result.stderr
    for stage in ("clip", "vae", "unet"):
        alone, both = (tmp_path / name / f"{stage}.checkpoint.safetensors" for name in ("1", "2"))
        if dtype == "float64":
            assert distance(alone, both) <= most, stage
        (one,), (two,) = (read_log(file.with_name(f"{stage}.log.jsonl")) for file in (alone, both))
        assert two["loss"] == pytest.approx(one["loss"], rel=most), stage
        assert read_facts(alone)["processes"] == 1 and read_facts(both)["processes"] == 2


@pytest.mark.slow
def test_pieces_give_the_weights_of_the_whole(tmp_path):
    for pieces in (1, 4):
        out = tmp_path / str(pieces)
        result = launched(1, CHILD, out, 20, "float64", "--stages", "unet", "--accumulate", pieces)
        assert result.returncode == 0, result.stderr
    files = [tmp_path / name / "unet.checkpoint.safetensors" for name in ("1", "4")]
    assert distance(*files) <= 1e-9


# ── When one of them dies ────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_a_killed_process_ends_the_job_and_it_resumes_to_the_same_weights(tmp_path):
    unet = ("float64", "--stages", "unet")
    assert launched(2, CHILD, tmp_path / "whole", 20, *unet).returncode == 0
    killed = launched(2, CHILD, tmp_path / "killed", 20, *unet, "--die-at", 7)
    assert killed.returncode != 0
    (line,) = [line for line in killed.stderr.splitlines() if "has lost the others" in line]
    assert "process 0 of 2" in line and "one of them has ended" in line and "--resume continues" in line
    checkpoint = tmp_path / "killed" / "unet.checkpoint.safetensors"
    assert 6 <= read_facts(checkpoint)["step"] <= 8
    content = checkpoint.read_bytes()

    result = launched(2, CHILD, tmp_path / "killed", 20, *unet)
    assert result.returncode == 0, result.stderr
    assert distance(tmp_path / "whole" / "unet.checkpoint.safetensors", checkpoint) == 0
    assert [line["step"] for line in read_log(checkpoint.with_name("unet.log.jsonl"))] == [20]

    checkpoint.write_bytes(content)  # once more, by one process alone
    result = launched(1, CHILD, tmp_path / "killed", 20, *unet)
    assert result.returncode == 0, result.stderr
    assert "trained by 2 process(es) up to step" in result.stderr and "goes on with 1" in result.stderr
    assert "8 of the 8 images of a step instead of 4" in result.stderr
    assert distance(tmp_path / "whole" / "unet.checkpoint.safetensors", checkpoint) <= 1e-9


# ── The command ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_the_command_in_two_processes(tmp_path):
    """`accelerate launch -m tinyldm train clip`: one log, one progress bar, one last line."""
    run = ("tinyldm", "train", "clip", "--scenes", 64, "--steps", 4, "--batch", 8, "--device", "cpu")
    result = launched(2, *run, "--out", tmp_path / "run", module=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("done: see") == 1
    assert result.stderr.count("clip:   0%") == 1  # a bar is drawn once at its beginning, and any number of times later
    assert [line["step"] for line in read_log(tmp_path / "run" / "clip.log.jsonl")] == [4]
    assert read_facts(tmp_path / "run" / "clip.checkpoint.safetensors")["processes"] == 2
    odd = launched(2, *run, "--out", tmp_path / "odd", "--batch", 9, module=True)
    assert odd.returncode != 0 and "a batch of 9 images cannot be divided evenly among 2" in odd.stderr
