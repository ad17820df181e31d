"""The loops that teach a LoRA, a word and a ControlNet: what they change, and what they leave alone."""

import copy

import pytest
import torch
from small_models import make_model
from torch import nn

from tinyldm import LatentDiffusion, diffusion_loss
from tinyldm.beyond import teaching
from tinyldm.beyond.controlnet import ControlNet
from tinyldm.beyond.lora import attached, new_lora
from tinyldm.beyond.teaching import Examples
from tinyldm.beyond.textual_inversion import add_word, vectors_of


@pytest.fixture
def model() -> LatentDiffusion:
    return make_model(vision=False)


def examples(count: int = 4, seed: int = 0, drawings: bool = False) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.rand(count, 3, 32, 32, generator=generator) if drawings else None
    captions = [("a red circle", "a blue star")[i % 2] for i in range(count)]
    return Examples(torch.randn(count, 4, 4, 4, generator=generator), captions, pictures)


def weights(model: LatentDiffusion) -> list[torch.Tensor]:
    return [copy.deepcopy(w) for part in model.networks for w in part.state_dict().values()]


def untouched(model: LatentDiffusion, before: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(model), before))


@torch.no_grad()
def loss(model: LatentDiffusion, new: Examples, control: ControlNet | None = None) -> float:
    """On the same draws, whenever it is asked."""
    return teaching.loss_on(model, new, 64, torch.Generator().manual_seed(9), control).item()


def test_a_lora_learns_and_the_model_stays(model):
    before = weights(model)
    lora = new_lora(model, 4, parts=("unet", "text_encoder"))
    plain, new = loss(model, examples()), examples()
    teaching.teach_lora(model, lora, new, examples(seed=1), steps=15, lr=4e-2, batch=8)
    with attached(lora, model):
        assert loss(model, new) < 0.95 * plain
    assert loss(model, new) == plain
    assert all(change.B.any() for change in lora.changes) and untouched(model, before)


def test_the_same_seed_teaches_the_same(model):
    runs = []
    for _ in range(2):
        lora = new_lora(model, 2, generator=torch.Generator().manual_seed(0))
        runs.append(teaching.teach_lora(model, lora, examples(), None, steps=4, lr=1e-2, batch=4))
    assert runs[0] == runs[1]


def test_the_prior_preservation_loss_is_the_sum_of_two(model):
    """Ruiz et al. 2023, eq. 2, by hand."""
    new, old = examples(), examples(seed=1)
    with torch.no_grad():
        both = teaching.prior_preservation_loss(model, new, old, 8, torch.Generator().manual_seed(3), weight=0.3)
        generator = torch.Generator().manual_seed(3)
        of_new, of_old = (teaching.loss_on(model, part, 4, generator) for part in (new, old))
        assert both == of_new + 0.3 * of_old


def test_the_loss_is_the_cores(model, monkeypatch):
    monkeypatch.setattr(teaching, "DROP_CAPTION", 0.0)
    one = examples(1)
    generator = torch.Generator().manual_seed(5)
    torch.randint(1, (6,), generator=generator)
    t, eps = torch.randint(1000, (6,), generator=generator), torch.randn(6, 4, 4, 4, generator=generator)
    context = model.encode_text(one.captions * 6)
    with torch.no_grad():
        expected = diffusion_loss(model.unet, model.schedule, one.z0.expand(6, -1, -1, -1), context, t, eps)
        assert teaching.loss_on(model, one, 6, torch.Generator().manual_seed(5)) == expected


def test_a_word_learns_and_nothing_else_does(model):
    add_word(model, "<new>", vectors_of(model, "circle")[0])
    new = Examples(examples().z0[:1], ["a <new>"])
    before, old_vector = weights(model), vectors_of(model, "<new>")[0]
    plain = loss(model, new)
    teaching.teach_word(model, "<new>", new, steps=15, lr=0.3, batch=8)
    assert loss(model, new) < plain, "a word cannot do much with a random U-Net, but something"
    assert not torch.equal(vectors_of(model, "<new>")[0], old_vector)
    number = model.text_encoder.tokenizer.numbers(["<new>"])[0]
    model.text_encoder.clip.embeddings.token_embedding.weight.data[number] = old_vector
    assert untouched(model, before)


def test_a_controlnet_learns_what_only_the_drawing_tells(model):
    """Every picture has the same caption, so that the drawing alone tells them apart."""
    new = examples(8, drawings=True)
    new = Examples(new.z0, ["a star"] * 8, new.drawings)
    before = weights(model)
    control = ControlNet.copy_of(model.unet, (8, 8, 16, 16))
    plain = loss(model, new)
    assert loss(model, new, control) == plain
    teaching.teach_controlnet(model, control, new, steps=40, lr=1e-2, batch=8)
    swapped = Examples(new.z0, new.captions, new.drawings.flip(0))
    assert loss(model, new, control) < min(plain, loss(model, swapped, control))
    assert control.zero_conv_middle.weight.any() and untouched(model, before)


def test_what_the_model_drew_is_an_example(model):
    old = teaching.drawn_by(model, ["a star", "a circle"], torch.Generator().manual_seed(0), steps=30)
    assert old.z0.shape == (2, 4, 4, 4) and old.captions == ["a star", "a circle"] and not old.z0.requires_grad


def test_mistakes_are_explained(model):
    with pytest.raises(ValueError, match="no drawings"):
        teaching.teach_controlnet(model, ControlNet.copy_of(model.unet), examples(), steps=1, lr=1e-3)
    broken = Examples(examples().z0 * float("nan"), examples().captions)
    lora = new_lora(model)
    with pytest.raises(FloatingPointError, match="the loss of step 0 is nan; try a lower learning rate"):
        teaching.teach_lora(model, lora, broken, None, steps=3, lr=1e-3)
    assert not any(change.B.any() for change in lora.changes if isinstance(change, nn.Module))
