"""§ Inference: a seed means a picture. Every picture draws its random numbers from a generator of its own.

    generator ─┬─ first number ──► child 0 ─► z_T of picture 0, then its fresh noise, step by step
               ├─ second number ─► child 1 ─► z_T of picture 1, …
               └─ …

One stream of random numbers for a whole batch would tie each picture to the size of its batch: ask for one more,
and all of them change. So wherever this package is given one `generator` for a batch, it draws one number per
picture from it, in order, and seeds a child generator with each. Picture k then depends on the seed and k alone,
and the given generator advances, so that two batches of two are the same four pictures as one batch of four.

A list of generators, one per picture, is used as it is; that is also what diffusers' pipelines accept.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from tinyldm import shapes

Generators = Generator | Sequence[Generator] | None  # one for a batch; one per picture; PyTorch's global one


def children(generator: Generator, count: int, first: int = 0) -> list[Generator]:
    """The generators of pictures `first` … `first + count - 1` of what `generator` makes.

        children(torch.Generator().manual_seed(7), 1, first=2)   # of the third picture of seed 7, alone

    They live on the generator's device. It advances by `first + count` numbers.
    """
    # One number at a time: on a GPU the first numbers of a longer draw are others than those of a shorter one.
    seeds = [
        torch.randint(2**31, (), generator=generator, device=generator.device).item() for _ in range(first + count)
    ]
    return [Generator(generator.device).manual_seed(int(seed)) for seed in seeds[first:]]


def per_picture(generator: Generators, count: int) -> list[Generator] | None:
    """One generator for each of `count` pictures: children of one, or the given list; None stays None.

    Raises: TypeError for anything else, ValueError for a list of another length.
    """
    if generator is None:
        return None
    if isinstance(generator, Generator):
        return children(generator, count)
    shapes.require_generators(generator, count)
    return list(generator)


def randn(
    shape: Sequence[int], generator: Generators, device: torch.device, dtype: torch.dtype = torch.float32
) -> Tensor:
    """N(0, 1) noise of shape (B, …), each picture's drawn from its own generator, on its generator's device.

    Drawn there and then moved, so that a CPU seed gives the same picture on every device.
    """
    generators = per_picture(generator, shape[0])
    if generators is None:
        return torch.randn(*shape, device=device, dtype=dtype)
    one = (1, *shape[1:])
    return torch.cat([torch.randn(one, generator=g, device=g.device, dtype=dtype).to(device) for g in generators])
