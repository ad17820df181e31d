"""One training in many processes, one on each GPU: which images each computes, and how they stay one training.

    accelerate launch --multi_gpu --num_processes 8 -m tinyldm train unet --device cuda …

Data parallelism needs four rules, and the training loops show where each of them applies:

1. Every process draws the random numbers of the whole batch, and computes its share of it (`shares`).
2. The mean over the batch is the mean over the shares' means. So after the backward pass the gradients are averaged
   (`average_gradients`), and all processes take the same step: weights are never sent, they stay equal.
3. What is no mean over images needs more: CLIP compares all images of a batch with each other (`gather`), and the
   VAE's adaptive weight is a ratio of norms of whole gradients (`mean`).
4. The first process alone writes files and shows progress. What depends on a clock or on a signal is agreed on, so
   that all processes end at the same step (`agree`).

So N processes with B / N images each give the weights of one process with B images, up to the rounding of sums.

`Processes` is one process by itself, for which each rule is trivial and nothing is imported. `Team` follows the rules
with the library Accelerate, which knows the launcher, the devices, and the way to send tensors between them.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor, nn

BUCKET = 32 * 2**20  # bytes of gradients that are sent together: long enough to be fast, short beside the weights


class Processes:
    """One process by itself: it computes every batch as a whole."""

    number = 0  # of this process, from 0
    count = 1
    device: str | None = None  # the one that the launcher has given to this process

    @property
    def is_first(self) -> bool:
        """The one that writes files, logs and shows progress."""
        return self.number == 0

    def shares(self, batch: int, pieces: int = 1) -> list[slice]:
        """Which images of a batch this process computes: slices of equal length, one after the other.

        Args:
            batch: images in the whole batch, of all processes.
            pieces: how many slices; with more than one, gradients are accumulated, and a smaller part of the batch
                is in memory at a time.
        Raises: ValueError where the batch cannot be divided evenly.
        """
        length, rest = divmod(batch, self.count * pieces)
        if rest or not length:
            raise ValueError(
                f"a batch of {batch} images cannot be divided evenly among {self.count} process(es) with {pieces} "
                f"piece(s) each; expected a multiple of {self.count * pieces}: change --batch"
            )
        first = self.number * pieces * length
        return [slice(first + i * length, first + (i + 1) * length) for i in range(pieces)]

    def share(self, batch: int) -> slice:
        """As `shares`, in one piece."""
        return self.shares(batch)[0]

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its mean over all processes: that of the whole batch."""

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all processes of a tensor, without gradient."""
        return value.detach()

    def gather(self, rows: Tensor) -> Tensor:
        """The rows (b, …) of all processes: (B, …), in the order of the batch. Gradients flow back to all of them."""
        return rows

    def agree(self, seconds: float, stop: bool) -> tuple[float, bool]:
        """The first process's clock, and whether any process was told to stop."""
        return seconds, stop

    def wait(self) -> None:
        """Wait until all processes are here."""


class Team(Processes):
    """Several processes of one training, started by `accelerate launch` or `torchrun`."""

    def __init__(self, device: str):
        """Join the others.  device: "cpu"; or "cuda", of which each process gets a GPU of its own.

        Raises: ValueError where the library is missing.
        """
        try:
            from accelerate import Accelerator
        except ImportError:
            raise ValueError(
                'training in several processes needs the library accelerate: pip install "tinyldm[train]"'
            ) from None
        self.accelerator = Accelerator(cpu=torch.device(device).type == "cpu")
        self.number, self.count = self.accelerator.process_index, self.accelerator.num_processes
        self.device = "cpu" if self.accelerator.device.type == "cpu" else str(self.accelerator.device)
        # Short messages go between the CPUs, so that no GPU has to finish its work before they can be read.
        # A process that has ended is noticed at once; one that prepares data for hours is waited for.
        self.cpus = torch.distributed.new_group(backend="gloo", timeout=timedelta(days=1))

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """As in `Processes`. A weight without a gradient has none in any process."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for bucket in buckets(gradients):
            flat = self.reduced(torch.cat([gradient.reshape(-1) for gradient in bucket]), "mean")
            for gradient, mean in zip(bucket, flat.split([gradient.numel() for gradient in bucket])):
                gradient.copy_(mean.view(gradient.shape))

    def mean(self, value: Tensor) -> Tensor:
        """As in `Processes`."""
        return self.reduced(value.detach(), "mean")

    def gather(self, rows: Tensor) -> Tensor:
        """As in `Processes`."""
        return _Gather.apply(rows, self)

    def reduced(self, value: Tensor, how: str) -> Tensor:
        """The "mean" or "sum" of a tensor over all processes."""
        with self._explained():
            return self.accelerator.reduce(value, how)

    def gathered(self, rows: Tensor) -> Tensor:
        """As `gather`, without gradient."""
        with self._explained():
            return self.accelerator.gather(rows.contiguous())

    def agree(self, seconds: float, stop: bool) -> tuple[float, bool]:
        """As in `Processes`."""
        both = torch.tensor([seconds if self.is_first else 0.0, float(stop)], dtype=torch.float64)
        with self._explained():
            torch.distributed.all_reduce(both, group=self.cpus)
        return both[0].item(), both[1].item() > 0

    def wait(self) -> None:
        """As in `Processes`."""
        self.agree(0.0, False)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """A connection that breaks means that another process has ended; the libraries' messages do not say so."""
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            reason = str(error).strip().partition("\n")[0]
            raise ConnectionError(
                f"process {self.number} of {self.count} has lost the others: one of them has ended. The last "
                f"checkpoint is whole, and the same command with --resume continues from there ({reason:.120})"
            ) from error


class _Gather(torch.autograd.Function):
    """The rows of all processes, side by side; a gradient of them goes back to the process that each row came from.

    Every process computes the same loss L of all rows. Summed over the processes, the gradient of a row is N ∂L/∂row;
    after `average_gradients` has divided by N, weights before the gathering and weights after it both have ∂L/∂θ.
    """

    @staticmethod
    def forward(ctx, rows: Tensor, team: Team) -> Tensor:
        ctx.team, ctx.length = team, len(rows)
        return team.gathered(rows)

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor, None]:
        summed = ctx.team.reduced(gradients[0].contiguous(), "sum")
        return summed[ctx.team.number * ctx.length :][: ctx.length], None


def buckets(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in their order, in groups of about BUCKET bytes."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        bucket.append(tensor)
        if sum(one.nbytes for one in bucket) >= BUCKET:
            yield bucket
            bucket = []
    if bucket:
        yield bucket


ALONE = Processes()


def join(device: str) -> Processes:
    """The processes of this training: as many as the launcher has started; without one, this process alone."""
    return Team(device) if int(os.environ.get("WORLD_SIZE", "1")) > 1 else ALONE
