"""Runs a program on a pretend GPU: it computes on the CPU, and refuses what a GPU refuses.

    python tests/pretend_gpu.py sources/lessons/07_spatial_transformer.py       # a script
    python tests/pretend_gpu.py -m tinyldm generate "a red circle"              # a module with its arguments

Most machines that run these tests have no GPU, but most programs that have never seen one break there: a mask made on
the CPU meets features on the GPU; a picture goes to matplotlib without .cpu(); noise is drawn on the GPU with a
generator of the CPU. So PyTorch gets one more device here, "pretend". A tensor on it wraps one on the CPU, and each
operation on it is done on what is wrapped; mixing the devices raises the error that CUDA raises, in its words.
`choose_device()` says that it is the best device there is.

Not pretended: speed, memory, bfloat16 under autocast, rounding, and what a GPU's own kernels lack.
"""

import runpy
import sys
from pathlib import Path

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

_setup_privateuseone_for_python_backend("pretend")

DEVICE = torch.device("pretend", 0)
aten = torch.ops.aten
COPIES = {aten.copy_, aten._to_copy, aten._copy_from, aten._copy_from_and_resize}  # these cross between devices
INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}  # indices may stay on the CPU
CpuGenerator = torch.Generator
GENERATORS = {}  # address in C++ -> generator of the pretend GPU; kept, so that no address is used again


class There(torch.Tensor):
    """A tensor on the pretend GPU; `wrapped` is on the CPU."""

    @staticmethod
    def __new__(cls, wrapped):
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            wrapped.shape,
            strides=wrapped.stride(),
            storage_offset=wrapped.storage_offset(),
            dtype=wrapped.dtype,
            device=DEVICE,
        )
        made.wrapped = wrapped
        return made

    @classmethod
    def __torch_dispatch__(cls, op, types, args=(), kwargs=None):
        return perform(op, args, kwargs or {})

    def numpy(self, *args, **kwargs):
        raise TypeError(
            "can't convert pretend:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to "
            "host memory first."
        )

    __array__ = numpy

    # PyTorch does these for plain tensors of any device, but not for subclasses.

    def __repr__(self):
        return f"There({self.wrapped})"

    def __format__(self, spec):
        return format(self.detach().cpu(), spec)

    def __getitem__(self, index):
        parts = index if isinstance(index, tuple) else (index,)
        return super().__getitem__(tuple(torch.tensor(part) if isinstance(part, list) else part for part in parts))

    def tolist(self):
        return self.detach().cpu().tolist()

    def new_tensor(self, data, **kwargs):
        return torch.tensor(data, **{"dtype": self.dtype, "device": DEVICE, **kwargs})

    def untyped_storage(self):
        return self.wrapped.untyped_storage()


def is_there(device) -> bool:
    """Is this the pretend GPU? (None is no device.)"""
    return device is not None and torch.device(device).type == "pretend"


def on_cpu(value):
    """What the CPU computes with instead."""
    if isinstance(value, There):
        return value.wrapped
    return torch.device("cpu") if isinstance(value, torch.device) and is_there(value) else value


def require_generator_of(there: bool, generator) -> None:
    """Raises RuntimeError where numbers are made on one device with the generator of another, as CUDA does."""
    if generator is not None and there != (generator._cdata in GENERATORS):
        expected, found = ("pretend", "cpu") if there else ("cpu", "pretend")
        raise RuntimeError(f"Expected a '{expected}' device type for generator but found '{found}'")


def perform(op, args, kwargs):
    """One operation with tensors of the pretend GPU, or one that makes some."""
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    there = [tensor for tensor in given if isinstance(tensor, There)]
    here = [tensor for tensor in given if not isinstance(tensor, There) and tensor.dim()]  # a number may come along
    packet, device = op.overloadpacket, kwargs.get("device")
    if packet in INDEXED:
        here = [tensor for tensor in here if tensor is args[0] or len(args) > 2 and tensor is args[2]]
    if there and here and packet not in COPIES:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, pretend:0 "
            f"({tuple(there[0].shape)}) and cpu ({tuple(here[0].shape)})! (in {op})"
        )
    require_generator_of(bool(there) or is_there(device), kwargs.get("generator"))
    made = op(*tree_map(on_cpu, args), **tree_map(on_cpu, kwargs))
    written = [argument for argument in op._schema.arguments if argument.alias_info and argument.alias_info.is_write]
    if written and op._schema.returns and op._schema.returns[0].alias_info:
        return _written(op, args, kwargs, [argument.name for argument in written])
    leaves = device is not None and not is_there(device) or packet is aten._to_copy and device is None and not there
    return made if leaves else tree_map(lambda value: There(value) if type(value) is torch.Tensor else value, made)


def _perform_anywhere(op, *args, **kwargs):
    return perform(op, args, kwargs)


LIBRARY = torch.library.Library("_", "IMPL")  # kept: what it registers ends with it
LIBRARY.fallback(_perform_anywhere, "PrivateUse1")


def _written(op, args, kwargs, names):
    """An operation in place returns what it was given, not something new."""
    if torch.Tag.inplace_view in op.tags:  # such as squeeze_: the wrapper's own shape changes, too
        with no_dispatch():
            op(*args, **kwargs)
    places = [argument.name for argument in op._schema.arguments]
    returned = [kwargs[name] if name in kwargs else args[places.index(name)] for name in names]
    return returned[0] if len(op._schema.returns) == 1 else tuple(returned)


class Factories(TorchFunctionMode):
    """torch.arange(…, device="pretend") and its like: made on the CPU, then moved there."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        makes_there = is_there(kwargs.get("device"))
        there = makes_there or any(isinstance(leaf, There) for leaf in tree_leaves((args, kwargs)))
        require_generator_of(there, kwargs.get("generator"))
        if not makes_there or function.__name__ == "to":
            return function(*args, **kwargs)
        needs_gradient = kwargs.pop("requires_grad", False)
        made = function(*args, **{**kwargs, "device": "cpu"})
        return (made if isinstance(made, There) else There(made)).requires_grad_(needs_gradient)


class GeneratorThere(CpuGenerator):
    """A generator that says that it is there."""

    device = DEVICE


class Generators(type):
    """`torch.Generator` is a class: what it makes are its instances, on whatever device."""

    def __call__(cls, device="cpu"):
        if not is_there(device):
            return CpuGenerator(device)
        made = GeneratorThere()
        GENERATORS[made._cdata] = made
        return made

    def __instancecheck__(cls, value):
        return isinstance(value, CpuGenerator)


class Generator(metaclass=Generators):
    """Takes the place of torch.Generator, which knows no Python devices."""


def switch_on() -> None:
    """From here on the pretend GPU is there, and is the best device."""
    from tinyldm import machine

    torch.Generator = Generator
    Factories().__enter__()
    without_it = machine.choose_device
    machine.choose_device = lambda name=None: DEVICE if name is None or is_there(name) else without_it(name)


def main() -> None:
    import matplotlib

    matplotlib.use("agg")
    switch_on()
    if sys.argv[1] == "-m":
        sys.argv = sys.argv[2:]
        sys.path.insert(0, str(Path.cwd()))
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = sys.argv[1:]
        runpy.run_path(sys.argv[0], run_name="lesson")


if __name__ == "__main__":
    main()
