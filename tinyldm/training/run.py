"""What the three training loops share: settings, the bookkeeping of a run, and a few formulas.

The loops themselves are in `train_clip.py`, `train_vae.py` and `train_unet.py`, each written out in full:
choose a batch, compute a loss, step. A `Run` keeps count for them.

No random state is carried from one step to the next: step s draws all that it needs from a generator seeded with
(seed, s). So a checkpoint holds no generator's state, and a run that was killed and resumed ends with the
same weights, bit for bit, as an undisturbed one (on the CPU; a GPU adds numbers in no fixed order).
"""

import copy
import json
import math
import signal
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint
from tqdm import tqdm

from tinyldm.data.scenes import FRESH
from tinyldm.formats.files import read_bytes, write_bytes
from tinyldm.machine import hardware
from tinyldm.training.checkpoints import load_checkpoint, save_checkpoint, where_to_resume
from tinyldm.training.processes import ALONE, Processes
from tinyldm.training.resuming import say_other_settings

MAX_LOG = 2**30  # bytes of a log: some five million lines
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Settings:
    """The settings that every stage of training has."""

    out: Path = Path("runs/tiny")  # folder of this run: checkpoints, logs, figures
    steps: int | None = None  # end after this many steps …
    minutes: float | None = None  # … or after this many minutes, whichever comes first
    batch: int = 64  # images a step
    lr: float = 1e-3  # peak learning rate
    warmup: int = 100  # steps from 0 to the peak; then half a cosine down to 0
    device: str = "cpu"  # "cpu", "cuda", "mps"
    bf16: bool = False  # bfloat16 where autocast finds it safe
    seed: int = 0  # of weights, batches and noise
    resume: bool = False  # continue from the checkpoint in `out`, if there is one
    overwrite: bool = False  # start again where `out` holds a run, and lose it
    save_seconds: float = 60.0  # time between two checkpoints
    progress: bool = True  # show a progress bar

    def __post_init__(self):
        if self.steps is None and self.minutes is None:
            raise ValueError("neither steps nor minutes is given; expected at least one, to know when to end")
        for name in ("steps", "minutes", "batch", "lr"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:  # written so that NaN fails too
                raise ValueError(f"{name} is {value}; expected a number above 0")
        if not 0 <= self.seed < FRESH:
            raise ValueError(
                f"seed is {self.seed}; expected 0 … {FRESH - 1:,} (scenes of larger seeds are kept for measuring)"
            )
        if self.resume and self.overwrite:
            raise ValueError("both resume and overwrite are given; expected one: to continue a run, or to replace it")


class Stopped(Exception):
    """Training was interrupted and saved; the message says how to continue."""


class Run:
    """The bookkeeping of one training loop: when to end, the learning rate, the log, checkpoints, Ctrl-C and SIGTERM.

        with Run("vae", settings, {"vae": vae}, {"optimizer": optimizer}) as run:
            for step in run.steps():
                …
                run.log(loss=loss)

    Files in `settings.out`: NAME.checkpoint.safetensors and NAME.log.jsonl, one line of JSON every few steps.
    Of several processes the first one writes them, and all of them end at the same step.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        modules: dict[str, nn.Module],
        optimizers: dict[str, torch.optim.Optimizer],
        images: int = 0,
        processes: Processes = ALONE,
    ):
        self.name, self.settings, self.modules, self.optimizers = name, settings, modules, optimizers
        self.images = images  # in the data set; noted in the checkpoint
        self.processes = processes
        self.checkpoint = settings.out / f"{name}.checkpoint.safetensors"
        self.log_file = settings.out / f"{name}.log.jsonl"
        self.step, self.seconds = 0, 0.0
        self.signalled = False  # this process was told to stop
        self.interrupted = False  # all of them know that one was
        self.pending: dict[str, list[Tensor]] = {}

    def __enter__(self) -> "Run":
        require_vacant(self.settings, self.checkpoint)
        self.settings.out.mkdir(parents=True, exist_ok=True)
        if self.checkpoint.exists() and self.settings.resume:
            facts = load_checkpoint(self.checkpoint, self.modules, self.optimizers)
            self.step, self.seconds = facts["step"], facts["seconds"]
            self._say_what_changes(facts)
            if self.processes.is_first:
                drop_lines_after(self.log_file, self.step)
        elif self.processes.is_first:
            self.checkpoint.unlink(missing_ok=True)  # of the run that is replaced: nothing may resume from it
            self.log_file.unlink(missing_ok=True)
        try:  # a terminal sends SIGINT on Ctrl-C; SLURM, Kubernetes and launchers send SIGTERM before they kill
            self.old_handlers = {number: signal.signal(number, self._signal) for number in STOP_SIGNALS}
        except ValueError:
            self.old_handlers = {}  # not the main thread, which alone may handle signals
        self.bar = tqdm(
            total=100,
            desc=self.name,
            disable=not (self.settings.progress and self.processes.is_first),
            mininterval=1.0,
            bar_format="{desc}: {percentage:3.0f}% |{bar}| {elapsed} < {remaining} {postfix}",
        )
        return self

    def __exit__(self, _type, error: BaseException | None, _traceback) -> None:
        self.bar.close()
        for number, handler in self.old_handlers.items():
            signal.signal(number, handler)
        if is_out_of_memory(error):
            raise MemoryError(
                f"a batch of {self.settings.batch} images does not fit into the memory of "
                f"{self.settings.device}; lower the batch, or the number of images"
            ) from error

    def steps(self) -> Iterator[int]:
        """Count steps from where the checkpoint left off until it is time to end; save regularly, and at the end.

        Raises: Stopped after Ctrl-C or SIGTERM, when the checkpoint has been written; FloatingPointError, without
            writing one, where weights are no longer finite.
        """
        last_save = time.monotonic()
        while self.progress() < 1 and not self.interrupted:
            start = time.monotonic()
            for optimizer in self.optimizers.values():
                for group in optimizer.param_groups:
                    group["lr"] = self.settings.lr * self.lr_factor()
            yield self.step
            self.step += 1
            seconds = self.seconds + time.monotonic() - start
            self.seconds, self.interrupted = self.processes.agree(seconds, self.signalled)
            self._show()
            if time.monotonic() - last_save > self.settings.save_seconds:
                self.save()
                last_save = time.monotonic()
        if self.pending and not self.interrupted:  # a stopped run logs these steps when it continues
            self._write_means(self.step)
        self.save()
        if self.interrupted:
            raise Stopped(
                f"stopped and saved at step {self.step} in {self.checkpoint}; the same command with "
                "--resume continues from there"
            )

    def progress(self) -> float:
        """How much of the training is done, 0 … 1."""
        return progress(self.settings, self.step, self.seconds)

    def lr_factor(self) -> float:
        """Warm-up times half a cosine: the share of the peak learning rate at this step."""
        return min(1.0, (self.step + 1) / self.settings.warmup) * 0.5 * (1 + math.cos(math.pi * self.progress()))

    def log(self, **values: Tensor) -> None:
        """Record some numbers of this step; every 20 steps their means become a line of the log."""
        for name, value in values.items():
            self.pending.setdefault(name, []).append(value.detach())
        if self.step % 20 == 19:  # .item() waits for the GPU, so not at every step
            self._write_means(self.step + 1)

    def _write_means(self, steps: int) -> None:
        """Append to the log the means of what was recorded since its last line, after this many steps."""
        here = torch.stack([torch.stack(seen).float().mean() for seen in self.pending.values()])
        means = dict(zip(self.pending, self.processes.mean(here).tolist()))
        self.pending.clear()
        for name, value in means.items():
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"{name} of {self.name} is {value} after {steps} steps, with a learning rate of "
                    f"{self.settings.lr:g}; {where_to_resume(self.checkpoint)}"
                )
        if not self.processes.is_first:
            return
        line = {"step": steps, "seconds": round(self.seconds, 1), "lr": self.settings.lr * self.lr_factor()}
        with open(self.log_file, "a", encoding="utf-8") as file:
            file.write(json.dumps(line | means) + "\n")
        self.bar.set_postfix({name: f"{value:.4f}" for name, value in means.items()}, refresh=False)

    def save(self) -> None:
        """Write the checkpoint, in the first process. Raises: as `save_checkpoint`."""
        if not self.processes.is_first:
            return
        facts = {
            "step": self.step,
            "seconds": self.seconds,
            "progress": self.progress(),
            "images": self.images,
            "processes": self.processes.count,
            "settings": describe(self.settings),
            "hardware": hardware(self.settings.device),
        }
        save_checkpoint(self.checkpoint, self.modules, self.optimizers, facts)

    def _show(self) -> None:
        self.bar.update(100 * self.progress() - self.bar.n)

    def _signal(self, number: int, _frame) -> None:
        # The second Ctrl-C does not wait. (Launchers pass the first one on, so that several processes get it twice.)
        if self.signalled and number == signal.SIGINT and self.processes.count == 1:
            raise KeyboardInterrupt
        self.signalled = True

    def _say_what_changes(self, facts: dict[str, Any]) -> None:
        """Warn where a run goes on with other settings, or with another number of processes."""
        if not self.processes.is_first:
            return
        say_other_settings(self.name, facts, describe(self.settings), self.images)
        before, now, batch = facts.get("processes", 1), self.processes.count, self.settings.batch
        if before != now:
            warnings.warn(
                f"{self.name} was trained by {before} process(es) up to step {self.step} and goes on with {now}: each "
                f"computes {batch // now} of the {batch} images of a step instead of {batch // before}. Batches, noise "
                "and learning rate stay the same; sums are rounded differently, so the weights will differ in their "
                "last digits",
                stacklevel=4,
            )


def require_vacant(settings: Settings, *files: Path) -> None:
    """Raises ValueError where one of the files of an earlier run exists, unless settings say what to do with it."""
    for file in files:
        if file.exists() and not (settings.resume or settings.overwrite):
            raise ValueError(
                f"{file} is there already, from an earlier run; continue it with --resume, replace it with "
                "--overwrite, or choose another folder with --out"
            )


def progress(settings: Settings, step: int, seconds: float) -> float:
    """How much of a training is done, 0 … 1: by steps or by time, whichever is further."""
    by_steps = step / settings.steps if settings.steps else 0.0
    by_time = seconds / (60 * settings.minutes) if settings.minutes else 0.0
    return min(max(by_steps, by_time), 1.0)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Did a device run out of memory? On a CPU, PyTorch reports it with an ordinary RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or isinstance(error, RuntimeError) and "allocate" in str(error)


def describe(settings: Any) -> dict[str, Any]:
    """A settings dataclass as JSON can hold it."""
    return json.loads(json.dumps(asdict(settings), default=str))


def drop_lines_after(log_file: Path, step: int) -> None:
    """Remove what was logged after the checkpoint was written: those steps are about to be repeated. And half lines."""
    if log_file.exists():
        kept = [line for line in read_log(log_file) if line["step"] <= step]
        write_bytes(log_file, "".join(json.dumps(line) + "\n" for line in kept).encode())


def read_log(log_file: Path) -> list[dict[str, float]]:
    """The lines of a log. A full disk or a kill leaves half a line, or a line of zeros, which are passed over."""
    return [entry for line in read_bytes(log_file, MAX_LOG).split(b"\n") if (entry := _log_entry(line)) is not None]


def _log_entry(line: bytes) -> dict[str, float] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_one = isinstance(entry, dict) and all(isinstance(value, (int, float)) for value in entry.values())
    return entry if is_one and isinstance(entry.get("step"), int) else None


# ── Randomness and batches ───────────────────────────────────────────────────────────────────────────


def generator_at(seed: int, step: int, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator that depends on nothing but the run's seed and the step."""
    return torch.Generator(device).manual_seed(seed * 1_000_000_007 + step)


def batch_at(seed: int, step: int, batch: int, count: int) -> Tensor:
    """Which examples step `step` takes: (batch,) int64. Each epoch is a new shuffle of all `count` examples.

    A small data set is repeated within a batch. Nothing is stored: the shuffle follows from the seed.
    """
    first = step * batch
    chosen, last = [], first + batch
    while first < last:
        epoch, offset = divmod(first, count)
        chosen.append(_shuffle(seed, epoch, count)[offset : offset + last - first])
        first += len(chosen[-1])
    return torch.cat(chosen)


@lru_cache(maxsize=2)  # one epoch's order serves many steps
def _shuffle(seed: int, epoch: int, count: int) -> Tensor:
    return torch.randperm(count, generator=generator_at(seed + 1, epoch))


# ── Formulas ─────────────────────────────────────────────────────────────────────────────────────────


class MovingAverage:
    """An exponential moving average of a module's weights: θ̄ ← d θ̄ + (1 - d) θ after each step.

    At first d is smaller, min(decay, (1 + n) / (10 + n)), so that the random initial weights are soon forgotten.
    """

    def __init__(self, module: nn.Module, decay: float, device: str | torch.device | None = None):
        """device: where the averages are kept; None: where the weights are. On the CPU they take no memory of a GPU."""
        self.module = copy.deepcopy(module).eval().requires_grad_(False).to(device)
        self.decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Average in the weights after step number `step`, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages: list[Tensor] = list(self.module.parameters())
        weights = [weight.detach().to(average.device) for weight, average in zip(module.parameters(), averages)]
        torch._foreach_lerp_(averages, weights, 1 - decay)


def mixed_precision(device: str, bf16: bool) -> AbstractContextManager:
    """Autocast to bfloat16, or nothing at all.

    On a CPU the backward pass of fused attention is some twenty times slower in bfloat16, so there attention
    is computed as two plain matrix products instead.
    """
    stack = ExitStack()
    if bf16:
        stack.enter_context(torch.autocast(torch.device(device).type, torch.bfloat16))
        if torch.device(device).type == "cpu":
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
    return stack


def recompute_activations(network: nn.Module, kinds: tuple[type[nn.Module], ...]) -> None:
    """Keep only the inputs of the blocks of some kinds for the backward pass, which then computes the rest again.

    A third more arithmetic for a fraction of the memory (Chen et al. 2016). The numbers stay the same.
    """
    for block in network.modules():
        if isinstance(block, kinds):
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def adamw(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float = 1e-2) -> torch.optim.AdamW:
    """AdamW in one fused kernel, the fastest on CPUs and GPUs alike. β₂ = 0.99: short runs adapt sooner."""
    parameters = list(parameters)
    return torch.optim.AdamW(
        parameters,
        lr=lr,
        weight_decay=weight_decay,
        betas=(0.9, 0.99),
        fused=parameters[0].device.type in ("cpu", "cuda"),
    )
