"""§ Architecture: CLIP's text transformer, which reads captions.

    tokens (B, L) ─► embeddings ─► layer × N, causal ─► final_layer_norm ─► context (B, L, D)

The names of weights and sizes are those of the `transformers` library, so that its files fit; tests compare the two.
Its own CLIP is not used, because it takes 5 s to import. CLIP's other half, which reads pictures, is a stack of the
same layers: `formats/vision_transformer.py`. No Stable Diffusion has it.

Source: Radford et al. 2021 (CLIP), § 2.4; Vaswani et al. 2017; OpenAI `clip/model.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm import shapes


@dataclass(frozen=True)
class ClipConfig:
    """What both transformers have. Names and defaults are those of transformers."""

    hidden_size: int = 512  # D
    intermediate_size: int = 2048  # of the MLP in each layer
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    hidden_act: str = "quick_gelu"  # OpenAI's; OpenCLIP has "gelu"
    projection_dim: int = 512  # width of the space in which captions and pictures are compared
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        shapes.require_heads(self.hidden_size, self.num_attention_heads)


@dataclass(frozen=True)
class TextConfig(ClipConfig):
    """The sizes of a text transformer."""

    vocab_size: int = 49408  # the last two are start and end
    max_position_embeddings: int = 77  # L
    pad_token_id: int = 1  # what fills up short captions


@dataclass(frozen=True)
class VisionConfig(ClipConfig):
    """The sizes of a vision transformer: `formats/vision_transformer.py`."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_attention_heads: int = 12
    image_size: int = 224  # S, pixels
    patch_size: int = 32  # pixels


def quick_gelu(x: Tensor) -> Tensor:
    """OpenAI's approximation of GELU: x · σ(1.702 x)."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"quick_gelu": quick_gelu, "gelu": F.gelu}


class ClipLayer(nn.Module):
    """Self-attention, then an MLP; each normalised first and added to its input: (B, L, D) -> (B, L, D).

    causal: position i reads positions 0 … i only, as in a language model.
    """

    def __init__(self, config: ClipConfig, causal: bool):
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.heads, self.causal, self.activation = config.num_attention_heads, causal, ACTIVATIONS[config.hidden_act]
        self.layer_norm1, self.layer_norm2 = (nn.LayerNorm(width, config.layer_norm_eps) for _ in range(2))
        self.self_attn = nn.ModuleDict({f"{name}_proj": nn.Linear(width, width) for name in ("q", "k", "v", "out")})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, inner), "fc2": nn.Linear(inner, width)})

    def forward(self, x: Tensor) -> Tensor:
        """x (B, L, D) -> (B, L, D)."""
        x = x + self.attention(self.layer_norm1(x))
        return x + self.mlp["fc2"](self.activation(self.mlp["fc1"](self.layer_norm2(x))))

    def attention(self, x: Tensor) -> Tensor:
        """softmax(q kᵀ / √d) v with several heads, as in `spatial_transformer`, but with biases."""
        q, k, v = (self.self_attn[f"{name}_proj"](x).unflatten(2, (self.heads, -1)).transpose(1, 2) for name in "qkv")
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)  # (B, heads, L, d)
        return self.self_attn["out_proj"](mixed.transpose(1, 2).flatten(2))  # -> (B, L, D)


class ClipOutput(NamedTuple):
    """What a transformer of CLIP says."""

    last: Tensor  # (B, L, D) one vector per token or patch
    pooled: Tensor  # (B, D or projection_dim) one for the whole caption or picture
    layers: list[Tensor]  # N + 1 times (B, L, D): what each layer reads, and what the last one gives


class ClipEncoder(nn.Module):
    """The stack of layers: (B, L, D) -> the input of each layer, and the output of the last."""

    def __init__(self, config: ClipConfig, causal: bool):
        super().__init__()
        self.layers = nn.ModuleList(ClipLayer(config, causal) for _ in range(config.num_hidden_layers))

    def forward(self, x: Tensor) -> list[Tensor]:
        """x (B, L, D) through all layers -> (B, L, D)."""
        passed = [x]
        for layer in self.layers:
            passed.append(layer(passed[-1]))
        return passed


class TextEmbeddings(nn.Module):
    """A learnt vector for each token, plus one for each position: (B, L) -> (B, L, D)."""

    def __init__(self, config: TextConfig):
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, L) int64 -> (B, L, D)."""
        return self.token_embedding(tokens) + self.position_embedding.weight[: tokens.shape[1]]


class TextTransformer(nn.Module):
    """Captions as tokens -> one vector per token, which knows the words up to its own.

    Args: projects: the pooled vector goes through `text_projection`: Stable Diffusion XL's second encoder.
    """

    def __init__(self, config: TextConfig, projects: bool = False):
        super().__init__()
        self.config, self.projects, width = config, projects, config.hidden_size
        self.embeddings = TextEmbeddings(config)
        self.encoder = ClipEncoder(config, causal=True)
        self.final_layer_norm = nn.LayerNorm(width, config.layer_norm_eps)
        self.text_projection = nn.Linear(width, config.projection_dim, bias=False) if projects else nn.Identity()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.final_layer_norm.weight.device

    def forward(self, tokens: Tensor) -> ClipOutput:
        """tokens (B, L) int64. `last` is after the final LayerNorm, `layers` are before it."""
        layers = self.encoder(self.embeddings(tokens))
        last = self.final_layer_norm(layers[-1])
        # The end token has the largest number. The first one is meant; it has read the whole caption.
        end = last[torch.arange(len(tokens), device=tokens.device), tokens.argmax(1)]  # (B, L, D) -> (B, D)
        return ClipOutput(last, self.text_projection(end), layers)
