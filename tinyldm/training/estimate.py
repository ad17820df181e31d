"""What training a U-Net takes, before it is begun: memory, arithmetic, hours. Nothing is allocated or computed.

The network is built on PyTorch's meta device, where tensors have shapes and no numbers. One training step is run there:
a counter adds up the FLOPs of each operation (a multiplication and an addition are two), and a hook sees each tensor
that is kept for the backward pass.

    hours = images × FLOPs per image / (GPUs × peak FLOP/s × utilisation) / 3600

The utilisation is the share of the peak that a training reaches. It is the one number here that is no arithmetic.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from tinyldm.clip import TextTransformer
from tinyldm.resblock import ResBlock
from tinyldm.spatial_transformer import SpatialTransformer
from tinyldm.unet import UNet
from tinyldm.vae import VAE
from tinyldm.versions import SD1, Version

UTILISATION = 0.4  # well-tuned training of large networks reaches 30 to 50 %; fixed before anything was compared
A100 = 312.0  # TFLOP/s in bfloat16, as NVIDIA states it, without sparsity
BYTES_PER_WEIGHT = {  # mixed precision with AdamW
    "weights, float32": 4,
    "gradients, float32": 4,
    "AdamW's two moments, float32": 8,
    "weights as bfloat16, kept by autocast": 2,
}
EMA_BYTES = 4


@dataclass(frozen=True)
class Machine:
    """The GPUs of a training."""

    gpus: int = 8
    tflops: float = A100  # peak of one, TFLOP/s
    memory: float = 80.0  # of one, GB
    utilisation: float = UTILISATION

    def hours(self, flops: float) -> float:
        """Hours for so many FLOPs."""
        return flops / (self.gpus * self.tflops * 1e12 * self.utilisation) / 3600


@dataclass(frozen=True)
class Estimate:
    """What one image costs in training."""

    parameters: int
    positions: int  # of a latent: the tokens of the SpatialTransformers at full resolution
    forward: float  # FLOPs of the U-Net
    backward: float
    encoding: float  # FLOPs of VAE encoder and text encoder: at each use, or once where latents are cached
    activations: float  # bytes kept for the backward pass
    recomputed: float  # the same, where each block keeps only its inputs; the largest block's own included

    def flops(self, recompute: bool = False, cached: bool = True) -> float:
        """FLOPs of one image in one step."""
        return self.forward * (1 + recompute) + self.backward + (0.0 if cached else self.encoding)

    def fixed_bytes(self, ema_on_cpu: bool = False) -> int:
        """Bytes of a GPU's memory that do not depend on the batch."""
        return self.parameters * (sum(BYTES_PER_WEIGHT.values()) + (0 if ema_on_cpu else EMA_BYTES))

    def largest_batch(self, machine: Machine, recompute: bool, ema_on_cpu: bool) -> int:
        """How many images fit into one GPU at a time; 0 if not even the weights do."""
        free = machine.memory * 1e9 - self.fixed_bytes(ema_on_cpu)
        return max(0, int(free // (self.recomputed if recompute else self.activations)))


def estimate(version: Version) -> Estimate:
    """Run one training step of a version's U-Net on the meta device, with one image, in bfloat16."""
    side = version.image_size // version.vae.factor
    with torch.device("meta"):
        unet = UNet(version.unet).to(torch.bfloat16)
        latent = torch.empty(1, version.unet.in_channels, side, side, dtype=torch.bfloat16)
        context = torch.empty(1, version.text[0].max_position_embeddings, version.unet.context_dim).bfloat16()
        t = torch.zeros(1, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        predicted = unet(latent, t, context)
        forward = counter.get_total_flops()
        predicted.square().mean().backward()
    with FusedAttention(), kept_for_backward(unet) as kept:
        unet(latent, t, context)
    return Estimate(
        parameters=sum(parameter.numel() for parameter in unet.parameters()),
        positions=side * side,
        forward=forward,
        backward=counter.get_total_flops() - forward,
        encoding=encoding_flops(version),
        activations=sum(kept.values()),
        recomputed=kept[""] + block_inputs(unet, latent, t, context) + max(kept.values()),
    )


def encoding_flops(version: Version) -> float:
    """FLOPs of one image through the VAE's encoder and one caption through the text encoders."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        VAE(version.vae).posterior(torch.empty(1, 3, version.image_size, version.image_size))
        for sizes in version.text:
            TextTransformer(sizes)(torch.zeros(1, sizes.max_position_embeddings, dtype=torch.int64))
    return counter.get_total_flops()


# ── Memory ───────────────────────────────────────────────────────────────────────────────────────────


class _Fused(torch.autograd.Function):
    """Attention as a fused kernel keeps it: q, k, v, the result and one number a row, never the N×N weights."""

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        mixed = q.new_empty(*q.shape[:-1], v.shape[-1])
        ctx.save_for_backward(q, k, v, mixed, q.new_empty(q.shape[:-1], dtype=torch.float32))
        return mixed

    @staticmethod
    def backward(ctx, *_gradients: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:3])


class FusedAttention(TorchFunctionMode):
    """Attention on the meta device as GPUs compute it; PyTorch itself takes plain matrix products there."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace attention, and nothing else."""
        if function is F.scaled_dot_product_attention:
            return _Fused.apply(*args)
        return function(*args, **(kwargs or {}))


def blocks_of(unet: nn.Module) -> dict[str, nn.Module]:
    """The blocks whose activations can be recomputed, by name."""
    return {name: one for name, one in unet.named_modules() if isinstance(one, (ResBlock, SpatialTransformer))}


@contextmanager
def kept_for_backward(unet: nn.Module) -> Iterator[dict[str, int]]:
    """The bytes of all tensors that are kept for the backward pass: of each block; "" is what is outside of them.

    A tensor that is kept twice counts once, and weights do not count.
    """
    weights = {StorageWeakRef(parameter.untyped_storage()).cdata for parameter in unet.parameters()}
    kept: dict[str, int] = {"": 0} | dict.fromkeys(blocks_of(unet), 0)
    seen: dict[int, Any] = {}  # the storages themselves, so that no number is given to another one
    inside = [""]

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        number = StorageWeakRef(storage).cdata
        if number not in weights and number not in seen:
            seen[number] = storage
            kept[inside[-1]] += storage.nbytes()
        return tensor

    handles = []
    for name, block in blocks_of(unet).items():
        handles.append(block.register_forward_pre_hook(lambda *_, name=name: inside.append(name)))
        handles.append(block.register_forward_hook(lambda *_: inside.pop() and None))
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            yield kept
    finally:
        for handle in handles:
            handle.remove()


def block_inputs(unet: nn.Module, *inputs: Tensor) -> int:
    """The bytes of the feature maps that enter the blocks."""
    total = 0

    def add(_block: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        nonlocal total
        total += arguments[0].nbytes

    handles = [block.register_forward_pre_hook(add) for block in blocks_of(unet).values()]
    with torch.no_grad():
        unet(*inputs)
    for handle in handles:
        handle.remove()
    return total


# ── Against what was published ───────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Published:
    """A training whose steps and GPU hours were published."""

    source: str
    batch: int
    phases: tuple[tuple[int, int], ...]  # (steps, pixels a side)
    gpu_hours: float


STABLE_DIFFUSION_1 = Published(
    "CompVis/stable-diffusion, Stable_Diffusion_v1_Model_Card.md: versions 1.1 to 1.3",
    batch=2048,
    phases=((237_000, 256), (194_000 + 515_000 + 195_000, 512)),
    gpu_hours=150_000,
)


def estimated_hours(published: Published, version: Version = SD1) -> float:
    """The GPU hours of a published training on A100s, latents and contexts computed anew at each use."""
    flops = 0.0
    for steps, side in published.phases:
        flops += steps * published.batch * estimate(replace(version, image_size=side)).flops(cached=False)
    return Machine(gpus=1).hours(flops)


# ── In words ─────────────────────────────────────────────────────────────────────────────────────────


def report(version: Version, settings: Any, machine: Machine) -> str:
    """The estimate of a training, line by line.

    settings: a UnetSettings, of which batch, steps, minutes, recompute and ema_on_cpu count.
    """
    found = estimate(version)
    return "\n".join(
        [
            *memory_lines(found, settings, machine),
            "",
            *time_lines(found, settings, machine),
            "",
            *assumption_lines(machine),
        ]
    )


def memory_lines(found: Estimate, settings: Any, machine: Machine) -> Iterator[str]:
    """Parameters, optimizer state, and activations by batch."""
    yield f"U-Net: {found.parameters:,} parameters"
    yield "memory of each GPU"
    parts = BYTES_PER_WEIGHT | ({} if settings.ema_on_cpu else {"moving average, float32": EMA_BYTES})
    for what, size in parts.items():
        yield f"  {what:<42} {found.parameters * size / 1e9:8.2f} GB"
    yield f"  {'all that does not depend on the batch':<42} {found.fixed_bytes(settings.ema_on_cpu) / 1e9:8.2f} GB"
    yield "  activations, bfloat16, by images at a time       kept   recomputed (--recompute)"
    for batch in (1, 2, 4, 8, 16, 32, 64):
        kept, recomputed = batch * found.activations / 1e9, batch * found.recomputed / 1e9
        yield f"  {batch:>42} {kept:8.2f} GB {recomputed:8.2f} GB"
    fits = found.largest_batch(machine, settings.recompute, settings.ema_on_cpu)
    yield f"  of {machine.memory:g} GB: {fits} images at a time"
    if fits:
        pieces = ceil(settings.batch / machine.gpus / fits)
        yield f"  a batch of {settings.batch} on {machine.gpus} GPUs: --accumulate {pieces} or more"


def time_lines(found: Estimate, settings: Any, machine: Machine) -> Iterator[str]:
    """FLOPs, speed, hours."""
    flops = found.flops(settings.recompute)
    speed = machine.gpus * machine.tflops * 1e12 * machine.utilisation / flops  # images a second
    forward, backward = found.forward / 1e12, found.backward / 1e12
    yield f"arithmetic of one image: forward {forward:.4f} TFLOP, backward {backward:.4f} TFLOP"
    yield f"  with the recomputing, if any: {flops / 1e12:.4f} TFLOP"
    yield f"  VAE and text encoder, once with cached latents: {found.encoding / 1e12:.4f} TFLOP"
    yield f"{machine.gpus} GPUs of {machine.tflops:g} TFLOP/s at {machine.utilisation:.0%} of their peak"
    yield f"  {speed:,.0f} images/s, {speed * found.positions:,.0f} latent positions (tokens) a second"
    if settings.steps:
        images = settings.steps * settings.batch
        hours = machine.hours(images * flops)
        gpu_hours = hours * machine.gpus
        yield f"  {settings.steps:,} steps of {settings.batch} images: {hours:,.1f} hours, {gpu_hours:,.0f} GPU hours"
        if settings.minutes:
            needed = images / (60 * settings.minutes)
            yield (
                f"  to end within {settings.minutes:g} minutes: {needed:,.0f} images/s, "
                f"{needed * found.positions:,.0f} tokens/s, {ceil(needed / speed * machine.gpus):,} such GPUs"
            )


def assumption_lines(machine: Machine) -> Iterator[str]:
    """What the numbers rest on, and how far they were from a training whose hours are known."""
    yield "assumed"
    yield f"  utilisation {machine.utilisation:.0%}; nothing waits for data, for other machines, or for checkpoints"
    yield "  latents and contexts come from the cache; fused attention; AdamW; all activations in bfloat16"
    yield "  (autocast keeps those around normalisations in float32, so more memory is needed than this)"
    hours, published = estimated_hours(STABLE_DIFFUSION_1), STABLE_DIFFUSION_1
    yield f"checked against {published.source}"
    yield f"  {' + '.join(f'{steps:,} steps at {side}²' for steps, side in published.phases)}, batch {published.batch}"
    yield f"  estimated {hours:,.0f} A100 hours ({A100:g} TFLOP/s, {UTILISATION:.0%}, nothing cached, kept activations)"
    yield f"  published {published.gpu_hours:,.0f}:"
    yield (
        f"  the published training took {published.gpu_hours / hours:.1f} times as long, which is a utilisation of "
        f"{UTILISATION * hours / published.gpu_hours:.1%}"
    )
