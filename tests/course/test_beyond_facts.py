"""What lessons 17 and 18 and their exercises say: numbers are computed again, answers are compared with the package."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tinyldm.beyond.controlnet import ControlNet, ControlNetConfig, steered
from tinyldm.beyond.lora import ATTENTION, LowRank
from tinyldm.data import scenes
from tinyldm.unet import UNet
from tinyldm.versions import SD1, TINY
from tinyldm_course.exercises import find
from tinyldm_course.lessons import easel, hearts

LESSONS = Path(__file__).parents[2] / "sources" / "lessons"


def text(lesson: str) -> str:
    """What a lesson says, in one line."""
    (file,) = LESSONS.glob(f"{lesson}_*.py")
    lines = (line.removeprefix("#").strip() for line in file.read_text(encoding="utf-8").splitlines())
    return " ".join(" ".join(lines).split())


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def lora_numbers(unet: UNet, rank: int) -> int:
    """As exercise `lora_parameters` counts, of the attention layers of a U-Net."""
    widths = [
        (layer.in_features, layer.out_features)
        for name, layer in unet.named_modules()
        if isinstance(layer, nn.Linear) and ATTENTION.search(name)
    ]
    return find("lora_parameters").answer(widths, rank)


# ── Lesson 17 ────────────────────────────────────────────────────────────────────────────────────────


def test_how_small_a_lora_is():
    with torch.device("meta"):
        large, tiny = UNet(SD1.unet), UNet(TINY.unet)
    numbers, whole = lora_numbers(large, 4), parameters(large)
    for said in (
        f"{numbers:,} numbers, {100 * numbers / whole:.2f} % of the U-Net",
        f"{numbers:,} numbers, {4 * numbers / 1e6:.1f} MB",
        f"{whole:,} numbers, {4 * whole / 1e9:.1f} GB",
        f"{SD1.text[0].hidden_size} numbers, {4 * SD1.text[0].hidden_size / 1000:.0f} KB",
        f"rank 8 is {100 * lora_numbers(tiny, 8) / parameters(tiny):.1f} % of the U-Net",
        f"= {4 * 2 * 1280:,}".replace(",", "{,}"),
    ):
        assert said in text("17"), said
    insight = find("lora_parameters").insight
    assert f"{numbers:,}" in insight and f"{whole:,}" in insight


def test_the_answers_of_lesson_17_are_the_packages():
    generator = torch.Generator().manual_seed(0)
    A, B, W, x = (torch.randn(shape, generator=generator) for shape in ((3, 5), (4, 3), (4, 5), (2, 6, 5)))
    change = LowRank(A, B, alpha=2.0)
    torch.testing.assert_close(find("with_lora").answer(x, W, A, B, 2.0), x @ W.T + change(x).detach())
    torch.testing.assert_close(find("merged_weight").answer(W, A, B, 2.0, 0.8), W + 0.8 * change.delta(W).detach())


def test_no_other_low_rank_matrix_is_closer():
    generator = torch.Generator().manual_seed(0)
    before, after = torch.randn(2, 6, 5, generator=generator)
    found = find("closest_low_rank").answer(before, after, 2)
    assert torch.linalg.matrix_rank(found) == 2
    distance, near = (after - before - found).square().sum(), torch.linalg.svd(found)
    left_out = torch.linalg.svdvals(after - before)[2:].square().sum()
    torch.testing.assert_close(distance, left_out)
    for _ in range(20):
        U, Vh = (M + 0.05 * torch.randn(M.shape, generator=generator) for M in (near.U[:, :2], near.Vh[:2]))
        assert (after - before - U * near.S[:2] @ Vh).square().sum() > distance


def of_lesson_11() -> dict:
    """The functions that lesson 11 defines in its cells, under their names there."""
    tree = ast.parse((LESSONS / "11_make_it_yours.py").read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.Import | ast.ImportFrom)]
    tree.body = [
        node for node in tree.body if not isinstance(node, ast.FunctionDef) or not node.decorator_list
    ]  # those with torch.no_grad() need the lesson's model
    names: dict = {}
    exec(compile(tree, "lesson 11", "exec"), names)
    return names


def test_the_hearts_are_those_of_lesson_11():
    theirs = of_lesson_11()
    x, y = np.meshgrid(np.arange(64) - 31.5, np.arange(64) - 31.5)
    np.testing.assert_array_equal(theirs["heart_distance"](x, y, 17.0), hearts.heart_distance(x, y, 17.0))
    images, captions, _ = hearts.hearts(52, 3)
    their_images, their_captions, _ = theirs["hearts"](52, 3)
    torch.testing.assert_close(images, their_images / 2 + 0.5)
    assert captions == their_captions
    torch.testing.assert_close(hearts.silhouette(images[0]), theirs["silhouette"](images[0]))


def test_the_reader_knows_all_shapes():
    assert [hearts.shape_of(image) for image in hearts.hearts(52, 4)[0]] == ["heart"] * 4
    single = [scene for scene in (scenes.scene_at(53, i) for i in range(20)) if len(scene.things) == 1]
    images = scenes.to_tensor(scenes.render(single)) / 2 + 0.5
    assert [hearts.shape_of(image) for image in images] == [scene.things[0].shape for scene in single]
    assert hearts.shape_of(torch.full((3, 64, 64), 0.3)) == "nothing"


# ── Lesson 18 ────────────────────────────────────────────────────────────────────────────────────────


def test_how_large_a_controlnet_is():
    with torch.device("meta"):
        control, large = ControlNet(ControlNetConfig()), UNet(SD1.unet)
    said = f"{parameters(control) / 1e6:.0f} million parameters. Why not {parameters(large) / 1e6:.0f}"
    assert said in text("18"), said
    built = [conv.out_channels for conv in control.zero_convs]
    assert find("zero_conv_widths").answer(SD1.unet.channels, SD1.unet.blocks_per_level) == built
    insight = find("zero_conv_widths").insight
    assert f"has {len(built)} of them" in insight
    for count, width in (("four times", 320), ("three times", 640), ("five times", 1280)):
        assert {"four": 4, "three": 3, "five": 5}[count.split()[0]] == built.count(width)
        assert re.search(rf"{width}\s{count}", insight)


def test_the_gradient_is_that_of_autograd():
    generator = torch.Generator().manual_seed(0)
    x, upstream = torch.randn(2, 3, 4, 5, generator=generator), torch.randn(2, 6, 4, 5, generator=generator)
    conv = nn.Conv2d(3, 6, 1, bias=False)
    nn.init.zeros_(conv.weight)
    conv(x).backward(upstream)
    torch.testing.assert_close(find("zero_conv_gradient").answer(x, upstream), conv.weight.grad[:, :, 0, 0])


def test_which_part_moves_in_which_step():
    """As lesson 18 says: the zeros first, then the copy and the drawing's last layer, then the layers before it."""
    torch.manual_seed(0)
    unet = UNet(TINY.unet).requires_grad_(False)
    control = ControlNet.copy_of(unet, drawing_widths=(4, 4, 4, 4))
    parts = {
        "zeros": control.zero_convs,
        "copy": control.down,
        "last": control.drawing.conv_out,
        "drawing": control.drawing.conv_in,
    }
    optimizer = torch.optim.SGD(control.parameters(), 0.1)
    inputs = torch.randn(2, 4, 8, 8), torch.tensor([100, 700]), torch.randn(2, 5, 128)
    first: dict[str, int] = {}
    for step in (1, 2, 3):
        optimizer.zero_grad()
        with steered(unet, control, torch.rand(2, 3, 64, 64)):
            unet(*inputs).sub(1).square().mean().backward()
        for name, part in parts.items():
            if any(p.grad is not None and p.grad.any() for p in part.parameters()):
                first.setdefault(name, step)
        optimizer.step()
    assert first == {"zeros": 1, "copy": 2, "last": 2, "drawing": 3}


def test_the_outlines_of_the_lesson_are_those_of_the_exercise():
    names: dict = {"np": np, "torch": torch, "scenes": scenes}
    source = (LESSONS / "18_steer_it_with_a_drawing.py").read_text(encoding="utf-8")
    cell = next(cell for cell in source.split("\n# %%") if "def outlines(" in cell)
    exec(cell.partition("\n")[2].partition("pixels, captions")[0], names)
    shown = scenes.batch(0, range(3))[2]
    distances = torch.from_numpy(np.stack([names["distance"](scene) for scene in shown]))
    torch.testing.assert_close(names["outlines"](shown), find("outline").answer(distances, 2.4).float())


# ── The easel ────────────────────────────────────────────────────────────────────────────────────────


def test_a_drawing_is_sent_and_read():
    drawing = easel.rectangle(3, 10, 40, 60)
    assert drawing[:, 10, 3].tolist() == [1, 1, 1] and drawing[0, 30, 20] == 0
    assert torch.equal(easel.from_hex(easel.to_hex(drawing)), drawing)
    with pytest.raises(ValueError, match="1024 hexadecimal digits, got 3"):
        easel.from_hex("0ff")


def test_the_easel_shows_nothing_without_a_kernel(capsys):
    easel.easel(lambda drawing, caption: pytest.fail("it painted"), easel.rectangle(0, 0, 9, 9), "a star")
    assert capsys.readouterr().out == ""


def test_what_is_painted_is_as_large_as_the_sheet():
    tag = easel.picture_html(torch.rand(3, 64, 64), 'a "red" star')
    assert 'alt="a &quot;red&quot; star"' in tag and f'width="{easel.SHOWN}"' in tag
