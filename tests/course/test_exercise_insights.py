"""The numbers in what exercises 04 to 09 teach after a right answer: computed here, and looked up in the text."""

import math

import pytest
import torch

from tinyldm.resblock import ResBlock, timestep_embedding
from tinyldm.unet import UNet
from tinyldm.versions import SD1, SD2, SDXL, TINY
from tinyldm_course.exercises import find


def parameters(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def unet():
    with torch.device("meta"):
        return UNet(SD1.unet)


def says(name: str, *texts: str) -> None:
    for text in texts:
        assert text in find(name).insight, (name, text)


def test_noise_levels_of_2019_and_2020():
    levels = torch.linspace(3, 0.03, 10)
    says("geometric_levels", f"{levels[-2]:.2f} and {levels[-1]:.2f}")
    alpha_bar = SD1.schedule().alpha_bar
    sigma = ((1 - alpha_bar) / alpha_bar).sqrt()
    says(
        "alpha_bar_from_sigma",
        f"{alpha_bar[0]:.5f} down to {alpha_bar[-1]:.4f}",
        f"from {sigma[0]:.3f} to {sigma[-1]:.1f}",
    )


def test_the_scale():
    scale = SD1.vae.scale
    says("scale_factor", str(scale), f"about {1 / scale:.1f}")
    says("slip_in_percent", f"{100 * (scale / 0.18125 - 1):.1f} %", f"{1 / scale:.2f} times")
    says("asymmetric_downsample", f"1 + 2 + 4 = {sum(2**level for level in range(3))} pixels")


def test_the_slowest_wave():
    slowest = timestep_embedding(torch.tensor([1000.0]), 320)[0, 159].acos()
    says("timestep_embedding", f"only {slowest:.1f} radians in 1000 steps")


def test_the_time_has_no_effect_on_groups_of_one_channel():
    """Said of the ResBlock: norm2 takes out what all channels of a group have in common."""
    x, t_emb = torch.randn(2, 4, 5, 5), torch.randn(2, 6)
    alone, pairs = ResBlock(4, 4, 6, groups=4), ResBlock(4, 4, 6, groups=2)
    assert torch.allclose(alone(x, t_emb), alone(x, 2 * t_emb), atol=1e-5)
    assert not torch.allclose(pairs(x, t_emb), pairs(x, 2 * t_emb), atol=1e-3)
    scaled = find("ResBlock").answer(4, 4, 6, groups=4)  # after the norm the time gets through
    assert not torch.allclose(scaled(x, t_emb), scaled(x, 2 * t_emb), atol=1e-3)
    says("ResBlock", "With one channel a group, t would have no effect", "Scale and shift after the norm")


def test_receptive_fields():
    field = find("receptive_field").answer
    halved = [(3, 2)] * 3
    assert field([(3, 1)] * 2) == 5 and field([*halved, (3, 1)]) - field(halved) == 16
    says("receptive_field", "see 5 pixels", "adds 16")


def test_attention():
    queries, heads = 64 * 64, SD1.unet.heads[0]
    says(
        "attention_weights",
        f"8 · 4096² = {heads * queries**2:,}",
        f"{heads * queries**2 * 4 // 2**20} MiB",
        f"{(512 * 512) ** 2 // queries**2} times",
        f"8 · 4096 · 77 = {heads * queries * 77:,}",
    )
    widths = sorted({width // heads for width, heads in zip(SD1.unet.channels, SD1.unet.heads)})
    says("multi_head_attention", f"{heads} heads of {widths[0]} to {widths[-1]} numbers")
    assert {width // heads for width, heads in zip(SD2.unet.channels, SD2.unet.heads)} == {64}
    assert {width // heads for width, heads in zip(SDXL.unet.channels, SDXL.unet.heads)} == {64}


def test_the_unet(unet):
    config = SD1.unet
    skips = find("skip_channels").answer(list(config.channels), config.blocks_per_level)
    inputs = find("up_in_channels").answer(list(config.channels), config.blocks_per_level)
    built = [block.conv1.in_channels for level in unet.up for block in level.resblocks]
    assert inputs == built and len(skips) == len(built)
    says("skip_channels", ", ".join(map(str, skips)), f"Four of these {len(skips)}")
    says("up_in_channels", ", ".join(map(str, inputs)))
    says("skip_stack", f"pushes {len(skips)} maps and pops {len(skips)}")


def test_parameters(unet):
    up, down = parameters(unet.up), parameters(unet.down)
    assert find("up_to_down").answer() == up / down
    says("up_to_down", f"{up / down:.2f}: {down:,} parameters down, {up:,} up")
    with torch.device("meta"):
        block, tiny = ResBlock(2560, 1280, 1280), UNet(TINY.unet)
    says(
        "resblock_parameters",
        f"{parameters(block):,} parameters",
        "Nine tenths",
        f"more than {parameters(block) // parameters(tiny)} of the whole tiny U-Net",
    )
    assert 0.85 < (parameters(block.conv1) + parameters(block.conv2)) / parameters(block) < 0.95


def test_context():
    says("contrastive_loss", f"ln B: {math.log(32):.2f} in a batch of 32")
    says("pad_tokens", f"length is {SD1.text[0].max_position_embeddings}", "so 75 pieces")
    assert SD1.text[0].pad_token_id == SD1.text[0].vocab_size - 1 and SD2.text[0].pad_token_id == 0
    says("end_token_vector", str(SD1.text[0].vocab_size - 1), str(SD1.text[0].vocab_size))
    says("class_context", f"{(TINY.vision.image_size // TINY.vision.patch_size) ** 2 + 1} parts of a picture")
