"""LoRA (2021): teach a model with 1 % of its weights, or less.

    y = W x + α/r · B A x       W (out, in) frozen;  A (r, in) random;  B (out, r), zero at first;  r ≪ in, out

The article's models were adapted by training all their weights: a second file of gigabytes for each style. LoRA's
guess is that a small change is a *low-rank* change. At rank 4, Stable Diffusion 1 needs 797,184 numbers, a thousandth
of its U-Net: 3 MB. Three things follow from the equation:

* B = 0 at first, so that training starts from the model as it is, not from noise;
* after training, α/r · B A can be added to W ("merge"): the model is as fast as before, and subtracting undoes it;
* α/r keeps the size of the change about the same when r is changed, so that the learning rate need not be.

In Stable Diffusion the layers are those of the attention, `to_q`, `to_k`, `to_v` and `to_out`.

Source: Hu et al. 2021 (LoRA), § 4.1 and eq. 3; Ryu 2022, `lora_diffusion`; diffusers' `train_text_to_image_lora.py`.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from tinyldm import shapes
from tinyldm.formats.files import write_safetensors
from tinyldm.formats.lora_files import names_of, read_lora
from tinyldm.latent_diffusion import LatentDiffusion

ATTENTION = re.compile(r"(self|cross)_attention\.to_(q|k|v|out)$|self_attn\.(q|k|v|out)_proj$")
Layer = nn.Linear | nn.Conv2d


class LowRank(nn.Module):
    """The change of one layer: ΔW = α/r · B A.  Hu et al. 2021, eq. 3.

    Args:
        A: (r, in): what the layer reads, in r numbers. Of a convolution: (r, in, kernel, kernel).
        B: (out, r): what these numbers change in its output. Of a convolution: (out, r, 1, 1).
        alpha: α, the scale at which r numbers count; r itself leaves B A as it is.
    """

    def __init__(self, A: Tensor, B: Tensor, alpha: float):
        super().__init__()
        self.A, self.B, self.alpha = nn.Parameter(A), nn.Parameter(B), alpha

    @property
    def scale(self) -> float:
        """α/r."""
        return self.alpha / len(self.A)

    def delta(self, weight: Tensor) -> Tensor:
        """ΔW in the shape of the layer's weight, float32."""
        return self.scale * (self.B.float().flatten(1) @ self.A.float().flatten(1)).view(weight.shape)

    def forward(self, x: Tensor) -> Tensor:
        """x (…, in) -> ΔW x (…, out), without ever making ΔW: r (in + out) products instead of in · out."""
        return self.scale * F.linear(F.linear(x, self.A), self.B)  # (…, in) -> (…, r) -> (…, out)


class LoRA(nn.Module):
    """Low-rank changes of some of a model's layers.

    Args: changes: of each layer, such as "unet.middle.transformer.blocks.0.cross_attention.to_q", its change.
    """

    def __init__(self, changes: dict[str, LowRank]):
        super().__init__()
        self.names, self.changes = tuple(changes), nn.ModuleList(changes.values())

    def pairs(self, model: LatentDiffusion) -> list[tuple[Layer, LowRank]]:
        """The layers of a model, each with its change. Raises ValueError where a change does not fit."""
        layers = layers_of(model)
        found = []
        for name, change in zip(self.names, self.changes):
            assert isinstance(change, LowRank)
            if name not in layers:
                raise ValueError(f"this LoRA changes {name}, which the model does not have; it is for another model")
            require_fit(name, layers[name], change.A, change.B)
            found.append((layers[name], change))
        return found


def require_fit(name: str, layer: Layer, A: Tensor, B: Tensor) -> None:
    """Raise ValueError unless B A has the shape of the layer's weight."""
    out, inputs = len(layer.weight), layer.weight[0].numel()
    if A[0].numel() != inputs or len(B) != out or B[0].numel() != len(A):
        raise ValueError(
            f"the LoRA's {name} goes from {A[0].numel()} to {len(B)} numbers, through {len(A)} and {B[0].numel()}; "
            f"the model's goes from {inputs} to {out}: it is for another version"
        )


def layers_of(model: LatentDiffusion) -> dict[str, Layer]:
    """The linear layers and convolutions of a model's U-Net and text encoder, by name."""
    parts = {"unet": model.unet, "text_encoder": model.text_encoder}
    return {
        f"{part}.{name}": module
        for part, network in parts.items()
        for name, module in network.named_modules()
        if isinstance(module, Layer)
    }


def new_lora(
    model: LatentDiffusion,
    rank: int = 4,
    alpha: float | None = None,
    *,
    parts: tuple[str, ...] = ("unet",),
    generator: Generator | None = None,
) -> LoRA:
    """A LoRA of the attention layers that changes nothing yet.  Hu et al. 2021, § 4.1.

    Args:
        rank: r, at least 1; alpha: α, or None for r.
        parts: "unet", "text_encoder", or both.
        generator: source of A, from N(0, 1/in): A x then has about the variance of x.
    """
    shapes.require_whole("rank", rank, 1)
    changes = {}
    for name, layer in layers_of(model).items():
        if ATTENTION.search(name) and name.split(".")[0] in parts:
            out, inputs = layer.weight.shape
            A = torch.randn(rank, inputs, generator=generator).to(layer.weight) / math.sqrt(inputs)
            changes[name] = LowRank(A, layer.weight.new_zeros(out, rank), rank if alpha is None else alpha)
    return LoRA(changes)


@contextmanager
def attached(lora: LoRA, model: LatentDiffusion, weight: float = 1.0) -> Iterator[None]:
    """While the block lasts, the layers compute W x + weight · ΔW x: for training, and to try it on.

    The model's weights stay as they are. Raises: ValueError where the LoRA does not fit, or changes a convolution.
    """
    pairs = lora.pairs(model)
    if not all(isinstance(layer, nn.Linear) for layer, _ in pairs):
        raise ValueError("this LoRA changes convolutions, too; merge it instead")

    def hook(change: LowRank):
        return lambda layer, inputs, output: output + weight * change(inputs[0])

    handles = [layer.register_forward_hook(hook(change)) for layer, change in pairs]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def merge(lora: LoRA, model: LatentDiffusion, weight: float = 1.0) -> None:
    """W ← W + weight · ΔW, in all layers of the LoRA. Several LoRAs may be merged, one after the other.

    Raises: ValueError, and changes nothing, where the LoRA does not fit.
    """
    for layer, change in lora.pairs(model):
        W = layer.weight
        merged = (W.float() + weight * change.delta(W).to(W.device)).to(W)
        layer.weight = nn.Parameter(merged, W.requires_grad)  # a new one: W may be a file, mapped into memory


def unmerge(lora: LoRA, model: LatentDiffusion, weight: float = 1.0) -> None:
    """W ← W - weight · ΔW: undoes `merge`, up to rounding."""
    merge(lora, model, -weight)


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────


def load_lora(file: str | Path, model: LatentDiffusion) -> LoRA:
    """Read a LoRA of diffusers, of peft or of kohya's scripts that was made for this kind of model.

    Args: file: .safetensors or .bin; or a folder of diffusers or peft that has one.
    Raises: ValueError where it is missing, broken, something else, or for another model.
    """
    layers, changes = layers_of(model), {}
    here = {theirs: name for name, names in names_of(layers, model.unet.config).items() for theirs in names}
    for name, (A, B, alpha) in read_lora(Path(file), here).items():
        if isinstance(layers[name], nn.Linear):  # stored as a 1×1 convolution, perhaps
            A, B = A.flatten(1), B.flatten(1)
        require_fit(name, layers[name], A, B)
        changes[name] = LowRank(A.to(layers[name].weight), B.to(layers[name].weight), alpha)
    return LoRA(changes).requires_grad_(False)


def save_lora(lora: LoRA, model: LatentDiffusion, file: str | Path) -> None:
    """Write a LoRA to a .safetensors file that diffusers' `load_lora_weights` opens.

    Not every reader asks for α, so B is written times α/r, which then means the same with α = r.
    """
    names, state = names_of(lora.names, model.unet.config), dict[str, Tensor]()
    for name, change in zip(lora.names, lora.changes):
        assert isinstance(change, LowRank)
        state[f"{names[name][0]}.lora_A.weight"] = change.A
        state[f"{names[name][0]}.lora_B.weight"] = change.scale * change.B
    write_safetensors(Path(file), state)
