"""The three trainings of this room as bare loops: a LoRA, a word, a ControlNet. Minutes on the shipped model.

    L = ‖ε - ε̂(z_t, t, c)‖² + λ ‖ε' - ε̂(z'_t, t', c')‖²       new examples, and old ones: Ruiz et al. 2023, eq. 2

The second half is DreamBooth's prior preservation. A handful of pictures of *my* dog, shown as "a <v> dog", soon make
every dog mine: nothing in the first half says that "a dog" should stay what it was. So pictures that the model itself
drew before are shown between them (`drawn_by`): the teacher is the model's own past, and no old data is needed.

Nothing is saved on the way. What these loops train is small and done in minutes; see `training/run.py` for more.

Source: Ruiz et al. 2023 (DreamBooth), § 3.2; diffusers' `examples/dreambooth`, `textual_inversion`, `controlnet`.
"""

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from tinyldm.beyond.controlnet import ControlNet, steered
from tinyldm.beyond.lora import LoRA, attached
from tinyldm.beyond.textual_inversion import learning, vectors_of
from tinyldm.forward_diffusion import diffusion_loss
from tinyldm.latent_diffusion import LatentDiffusion

Show = Callable[[range], Iterable[int]]
DROP_CAPTION = 0.1  # the share of examples without a caption, which guidance needs


@dataclass(frozen=True)
class Examples:
    """What to learn from."""

    z0: Tensor  # (N, 4, h, w) scaled latents
    captions: list[str]  # N
    drawings: Tensor | None = None  # (N, 3, H, W) in [0, 1], for a ControlNet


@torch.no_grad()
def examples_of(
    model: LatentDiffusion, images: Tensor, captions: list[str], drawings: Tensor | None = None
) -> Examples:
    """Images (N, 3, H, W) in [0, 1] and their captions, encoded once."""
    return Examples(torch.cat([model.encode(part) for part in images.split(256)]), captions, drawings)


def drawn_by(model: LatentDiffusion, captions: list[str], generator: Generator, steps: int = 10) -> Examples:
    """What the model itself draws for these captions: examples of what it is to keep.  Ruiz et al. 2023, § 3.2."""
    return examples_of(model, model.generate(captions, steps=steps, generator=generator), captions)


def loss_on(
    model: LatentDiffusion, examples: Examples, batch: int, generator: Generator, control: ControlNet | None = None
) -> Tensor:
    """The loss of Ho et al. 2020, eq. 14, on `batch` examples drawn at random; with a ControlNet, Zhang's eq. 5.

    Captions are encoded here, not beforehand, because what is trained may be part of the text encoder.
    """
    z0 = examples.z0
    index = torch.randint(len(z0), (batch,), generator=generator)
    t = torch.randint(model.schedule.T, (batch,), generator=generator).to(z0.device)
    eps = torch.randn((batch, *z0.shape[1:]), generator=generator).to(z0)
    dropped = torch.rand(batch, generator=generator) < DROP_CAPTION
    captions = ["" if drop else examples.captions[i] for i, drop in zip(index.tolist(), dropped.tolist())]
    context = model.text_encoder.encode(captions).context
    block: AbstractContextManager[None] = nullcontext()
    if control is not None and examples.drawings is not None:
        block = steered(model.unet, control, examples.drawings[index])
    with block:
        return diffusion_loss(model.unet, model.schedule, z0[index.to(z0.device)], context, t, eps)


def prior_preservation_loss(
    model: LatentDiffusion, new: Examples, old: Examples | None, batch: int, generator: Generator, weight: float = 1.0
) -> Tensor:
    """The loss on half a batch of new examples, plus λ = `weight` times that on half a batch of old ones, if any."""
    if old is None:
        return loss_on(model, new, batch, generator)
    return loss_on(model, new, batch // 2, generator) + weight * loss_on(model, old, batch // 2, generator)


def descend(
    parameters: Iterable[nn.Parameter],
    loss_of: Callable[[Generator], Tensor],
    steps: int,
    lr: float,
    seed: int = 0,
    show: Show = iter,
) -> list[float]:
    """AdamW with a short warm-up and a cosine to 0; returns the losses.

    Args: show: what goes through the steps, such as a progress bar.
    Raises: FloatingPointError where a loss is not finite.
    """
    trained, generator, losses = list(parameters), torch.Generator().manual_seed(seed), []
    optimizer = torch.optim.AdamW(trained, lr)
    for step in show(range(steps)):
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1, (step + 1) / 20) * (1 + math.cos(math.pi * step / steps)) / 2
        loss = loss_of(generator)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(f"the loss of step {step} is {losses[-1]}; try a lower learning rate than {lr:g}")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
    return losses


def teach_lora(
    model: LatentDiffusion,
    lora: LoRA,
    new: Examples,
    old: Examples | None,
    steps: int,
    lr: float,
    batch: int = 32,
    show: Show = iter,
) -> list[float]:
    """Train a LoRA, in place, on new examples, and on old ones so that they stay; returns the losses."""
    with attached(lora, model):
        return descend(
            lora.parameters(), lambda g: prior_preservation_loss(model, new, old, batch, g), steps, lr, show=show
        )


def teach_word(
    model: LatentDiffusion, word: str, new: Examples, steps: int, lr: float, batch: int = 32, show: Show = iter
) -> list[float]:
    """Train the vectors of a word that has been added, in place; returns the losses.  Gal et al. 2022, eq. 2."""
    ((clip, tokenizer),) = model.text_encoder.towers
    vectors = nn.Parameter(vectors_of(model, word)[0])
    with learning(model, word, vectors):
        losses = descend([vectors], lambda g: loss_on(model, new, batch, g), steps, lr, show=show)
    table = clip.embeddings.token_embedding.weight.detach()
    for number, vector in zip(tokenizer.numbers([word])[0], vectors.detach()):
        table[number] = vector
    return losses


def teach_controlnet(
    model: LatentDiffusion,
    control: ControlNet,
    new: Examples,
    steps: int,
    lr: float,
    batch: int = 32,
    show: Show = iter,
) -> list[float]:
    """Train a ControlNet, in place, on examples with drawings; returns the losses.  Zhang et al. 2023, eq. 5.

    The drawing says where things are, the caption what they are. Without a caption, the drawing alone has to do.
    """
    if new.drawings is None:
        raise ValueError("these examples have no drawings; give them to examples_of")
    return descend(control.parameters(), lambda g: loss_on(model, new, batch, g, control), steps, lr, show=show)
