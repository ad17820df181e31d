"""The networks of a model as ONNX files, which run outside Python, such as in a browser.

    tokens ─text_encoder.onnx─► context        (z_t, t, context) ─unet.onnx─► prediction, and what is inside
    z0 ─decoder.onnx─► image                   image ─encoder.onnx─► moments

Each file holds the package's own classes, as PyTorch traces them. The samplers, guidance, the noise schedule and the
tokenizer are not in them: `page/js/` has those, in files named like the ones here.

The U-Net's file has further outputs: the feature map behind each of its blocks, and who reads which word in each
cross-attention. They cost a few milliseconds a step.

Source: PyTorch's `torch.onnx` exporter; ONNX operator set 18.
"""

import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from tinyldm import shapes
from tinyldm.clip import TextTransformer
from tinyldm.conditioning import TextEncoderXL
from tinyldm.latent_diffusion import LatentDiffusion
from tinyldm.resblock import Downsample, ResBlock, Upsample
from tinyldm.spatial_transformer import Attention, SpatialTransformer, TransformerBlock
from tinyldm.trace import attention_probabilities
from tinyldm.unet import UNet
from tinyldm.vae import VAE

Module = TypeVar("Module", bound=nn.Module)

OPSET = 18
BLOCKS = (ResBlock, SpatialTransformer, Downsample, Upsample)  # whose results the page shows
WORDS = "words"  # the kind of an attention of pixels to words
TRACED_BATCH = 2  # of the example inputs; the files take any batch


@dataclass(frozen=True)
class Inside:
    """One further output of the U-Net's file."""

    name: str  # of the layer: "down.0.resblocks.0"
    kind: str  # its class: "ResBlock"; "words" for the attention of pixels to words
    shape: tuple[int, ...]  # without the batch: (C, h, w); of "words" (heads, N, L)


# ── The parts ────────────────────────────────────────────────────────────────────────────────────────


class ContextOf(nn.Module):
    """tokens (B, L) int64 -> context (B, L, D)."""

    def __init__(self, clip: TextTransformer):
        super().__init__()
        self.clip = clip

    def forward(self, tokens: Tensor) -> Tensor:
        # As `TextTransformer.forward`, without the pooled vector, which asks how large the batch is.
        return self.clip.final_layer_norm(self.clip.encoder(self.clip.embeddings(tokens))[-1])


class Moments(nn.Module):
    """image (B, 3, H, W) in [-1, 1] -> moments (B, 2C, h, w) of the unscaled latent: mean ‖ log-variance."""

    def __init__(self, vae: VAE):
        super().__init__()
        self.encoder, self.quant_conv = vae.encoder, vae.quant_conv

    def forward(self, image: Tensor) -> Tensor:
        return self.quant_conv(self.encoder(image))


class Decode(nn.Module):
    """z0 (B, C, h, w), scaled -> image (B, 3, H, W), about [-1, 1]."""

    def __init__(self, vae: VAE):
        super().__init__()
        self.vae = vae

    def forward(self, z0: Tensor) -> Tensor:
        return self.vae.decode(z0)


class UNetWithInsides(nn.Module):
    """A U-Net that also returns what each of its blocks made, in the order in which it was computed.

    (z_t (B, C, h, w), t (B,) float32, context (B, L, D)) -> (prediction, *one tensor for each `Inside`).
    """

    def __init__(self, unet: UNet):
        super().__init__()
        self.unet = unet
        self.seen: list[tuple[str, str, Tensor]] = []  # name, kind and tensor, of the last call
        for name, module in unet.named_modules():
            if name == "conv_in" or isinstance(module, BLOCKS):
                module.register_forward_hook(self._keep_output(name))
            elif isinstance(module, TransformerBlock):
                module.cross_attention.register_forward_hook(self._keep_probabilities(f"{name}.cross_attention"))

    def _keep_output(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: tuple[Any, ...], made: Tensor) -> None:
            self.seen.append((name, type(module).__name__, made))

        return hook

    def _keep_probabilities(self, name: str) -> Callable[..., None]:
        def hook(module: Attention, given: tuple[Any, ...], made: Tensor) -> None:
            self.seen.append((name, WORDS, attention_probabilities(module, *given)))

        return hook

    def forward(self, z_t: Tensor, t: Tensor, context: Tensor) -> tuple[Tensor, ...]:
        self.seen.clear()
        prediction = self.unet(z_t, t, context)
        return (prediction, *(tensor for _, _, tensor in self.seen))

    @torch.no_grad()
    def insides(self, *example: Tensor) -> list[Inside]:
        """What the further outputs are, in their order."""
        self(*example)
        return [Inside(name, kind, tuple(tensor.shape[1:])) for name, kind, tensor in self.seen]


# ── Exporting ────────────────────────────────────────────────────────────────────────────────────────


def require_exportable(model: LatentDiffusion) -> None:
    """Raises ValueError where the page cannot run a model, and says why."""
    if isinstance(model.text_encoder, TextEncoderXL):
        raise ValueError("this is Stable Diffusion XL; the live page runs models with one text encoder")
    if model.is_inpainting_model:
        raise ValueError(
            "this U-Net was trained for inpainting and reads a mask; the live page runs U-Nets that read z_t alone"
        )


def text_encoder_to_onnx(model: LatentDiffusion) -> bytes:
    """tokens (B, L) int64 -> context (B, L, D)."""
    tokens = torch.zeros(TRACED_BATCH, model.text_encoder.length, dtype=torch.int64)
    return to_onnx(in_float32(ContextOf(model.text_encoder.towers[0][0])), {"tokens": tokens}, ["context"])


def unet_to_onnx(unet: UNet, latent: tuple[int, int, int], length: int) -> tuple[bytes, list[Inside]]:
    """(z_t, t, context) -> prediction, and what is inside; and the list of the latter.

    Args: latent: (C, h, w), the size to trace; length: L, of the context.
    """
    module = UNetWithInsides(in_float32(unet))
    example = {
        "z_t": torch.randn(TRACED_BATCH, *latent),
        "t": torch.tensor([999.0, 1.0]),
        "context": torch.randn(TRACED_BATCH, length, unet.config.context_dim),
    }
    insides = module.insides(*example.values())
    return to_onnx(module, example, ["prediction", *(inside.name for inside in insides)]), insides


def decoder_to_onnx(vae: VAE, latent: tuple[int, int, int]) -> bytes:
    """z0 (B, C, h, w) -> image (B, 3, H, W), about [-1, 1]. The scale is in it."""
    return to_onnx(in_float32(Decode(vae)), {"z0": torch.randn(TRACED_BATCH, *latent)}, ["image"])


def encoder_to_onnx(vae: VAE, size: tuple[int, int]) -> bytes:
    """image (B, 3, H, W) in [-1, 1] -> moments (B, 2C, h, w), unscaled."""
    image = torch.randn(TRACED_BATCH, vae.config.image_channels, *size)
    return to_onnx(in_float32(Moments(vae)), {"image": image}, ["moments"])


def in_float32(module: Module) -> Module:
    """A copy of a network whose weights are float32."""
    return copy.deepcopy(module).float().eval().requires_grad_(False)


def to_onnx(module: nn.Module, example: dict[str, Tensor], outputs: list[str]) -> bytes:
    """One network as the content of an ONNX file that takes any batch, its weights stored in half the bytes.

    Args:
        module: in float32. (A copy of one that has hooks would not do: they belong to the original.)
        example: the arguments of `module`, in order; their first dimension is the batch.
    """
    batch = torch.export.Dim("batch", min=1, max=1024)
    with without_guards(), quiet():
        program = torch.onnx.export(
            module,
            tuple(example.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(example),
            output_names=outputs,
            dynamic_shapes=tuple({0: batch} for _ in example),
            verbose=False,
        )
    assert program is not None
    return without_notes(with_halved_weights(program.model_proto)).SerializeToString()


def with_halved_weights(model: Any) -> Any:
    """Store each weight that is a float16 number as one, and cast it to float32 where it is used.

    Nothing is lost: what is no float16 number stays as it is, and all computing stays in float32.

    Args: model: an onnx.ModelProto, which is changed. Returns: the same.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if values.size < 16 or not np.array_equal(half.astype(np.float32), values):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def without_notes(model: Any) -> Any:
    """Drop what the exporter notes about where each tensor came from: a fifth of the file, and paths of this machine.

    Args: model: an onnx.ModelProto, which is changed. Returns: the same.
    """
    del model.graph.value_info[:]
    del model.metadata_props[:]
    for noted in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        del noted.metadata_props[:]
        noted.doc_string = ""
    return model


@contextmanager
def without_guards() -> Iterator[None]:
    """In this block, the package does not check arguments.

    Tracing a guard that compares the batch with a number would freeze the batch at that number.
    """
    guards = {name: value for name, value in vars(shapes).items() if name.startswith("require_")}
    try:
        for name in guards:
            setattr(shapes, name, lambda *arguments, **named: None)
        yield
    finally:
        for name, guard in guards.items():
            setattr(shapes, name, guard)


@contextmanager
def quiet() -> Iterator[None]:
    """In this block, the exporter does not tell what it does."""
    logger = logging.getLogger("torch.onnx")
    usual = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(usual)
