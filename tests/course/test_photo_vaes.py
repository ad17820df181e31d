"""The four VAEs of photographs: small enough to ship, and blind to the squares on which they are judged."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tinyldm import VAE, to_signed, to_unit
from tinyldm_course.lessons import photo_vaes


@pytest.mark.parametrize("factor", photo_vaes.FACTORS)
def test_each_has_its_factor_and_fits_into_a_megabyte(factor):
    with torch.device("meta"):
        vae = VAE(photo_vaes.config_of(factor))
    assert vae.config.factor == factor
    assert vae.posterior(torch.zeros(1, 3, 64, 64, device="meta")).mean.shape == (1, 4, 64 // factor, 64 // factor)
    assert 2 * sum(parameter.numel() for parameter in vae.parameters()) < 990_000  # bytes in float16


def test_another_factor_is_refused():
    with pytest.raises(ValueError, match="2, 4, 8, 16"):
        photo_vaes.config_of(3)


def test_crops_leave_the_held_out_square_alone():
    photograph = torch.zeros(3, 200, 300, dtype=torch.uint8)
    photograph[:, 36 : 36 + 128, 86 : 86 + 128] = 255
    crops = photo_vaes.crops(photograph, (36, 86), 50, seed=0)
    assert crops.shape == (50, 3, 64, 64) and crops.max() == 0
    assert torch.equal(crops, photo_vaes.crops(photograph, (36, 86), 50, seed=0))


def test_crops_come_from_everywhere_else_and_are_mirrored():
    across = torch.arange(300).expand(3, 200, 300)
    crops = photo_vaes.crops(across, (36, 86), 200, seed=0)
    assert crops.min() == 0 and crops.max() == 299
    rising = crops[:, 0, 0, 1] > crops[:, 0, 0, 0]
    assert 60 < rising.sum() < 140


def test_the_held_out_square_is_cut_from_its_corner():
    photograph, square = photo_vaes.whole("china"), photo_vaes.held_out("china")
    assert square.shape == (3, 128, 128) and square.dtype == torch.float32
    assert torch.equal((square[:, 64, 64] * 255).round().byte(), photograph[:, 149 + 64, 256 + 64])


def test_a_linear_code_with_all_channels_is_exact_and_with_fewer_the_best():
    square = photo_vaes.held_out("flower")
    assert torch.allclose(photo_vaes.best_linear("flower", 2, 12, crops_each=20), square, atol=1e-4)
    averages = F.avg_pool2d(square[None], 4).repeat_interleave(4, 2).repeat_interleave(4, 3)[0]
    coded = [photo_vaes.best_linear("flower", 4, channels, crops_each=20) for channels in (3, 9, 27)]
    errors = [(image - square).square().mean().item() for image in coded]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < 1.05 * (averages - square).square().mean().item()  # three averages are a linear code, too


def test_what_is_missing_is_named_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(ValueError, match="f = 2, 4, 8, 16.*python -m tinyldm_course.lessons.photo_vaes"):
        photo_vaes.load(tmp_path)


def test_trained_ones_are_written_in_float16_and_loaded_in_float32(tmp_path):
    settings = replace(photo_vaes.SETTINGS, steps=1, batch=2, out=tmp_path / "work", progress=False)
    corpus = photo_vaes.photo_corpus(count=4)
    for factor in photo_vaes.FACTORS:
        assert photo_vaes.train(factor, settings, corpus, tmp_path).config.factor == factor
    vaes = photo_vaes.load(tmp_path)
    assert list(vaes) == list(photo_vaes.FACTORS)
    image = torch.rand(1, 3, 64, 64)
    for vae in vaes.values():
        assert vae.decode(vae.encode(image)).shape == image.shape
        assert vae.config.scale != 0.18215  # measured
        assert all(torch.equal(p, p.half().float()) for p in vae.parameters())


def test_a_finished_training_is_not_done_again(tmp_path):
    settings = replace(photo_vaes.SETTINGS, steps=1, batch=2, out=tmp_path / "work", progress=False)
    corpus = photo_vaes.photo_corpus(count=4)
    first = photo_vaes.train(2, settings, corpus, tmp_path)
    log = (tmp_path / "work" / "f2" / "vae.log.jsonl").read_text()
    second = photo_vaes.train(2, settings, corpus, tmp_path)
    assert torch.equal(first.encoder.conv_in.weight, second.encoder.conv_in.weight)
    assert (tmp_path / "work" / "f2" / "vae.log.jsonl").read_text() == log


@pytest.mark.skipif(not photo_vaes.SHIPPED.is_dir(), reason=f"not trained yet: {photo_vaes.COMMAND}")
@pytest.mark.parametrize("name", ["china", "flower"])
def test_the_shipped_ones_keep_less_the_larger_the_factor(name):
    image = photo_vaes.held_out(name)[None]
    errors = []
    for factor, vae in photo_vaes.load().items():
        with torch.no_grad():
            kept = to_unit(vae.decode(vae.encode(to_signed(image))))
        errors.append((kept - image).square().mean().item())
        assert (photo_vaes.SHIPPED / f"f{factor}" / "diffusion_pytorch_model.safetensors").stat().st_size < 1_000_000
    assert errors == sorted(errors) and errors[0] < image.var().item() / 20, errors


@pytest.mark.skipif(not photo_vaes.SHIPPED.is_dir(), reason=f"not trained yet: {photo_vaes.COMMAND}")
def test_lesson_05_is_right_about_how_much_they_are_ahead_of_plain_averages():
    """Up to five decibels at f = 2, next to nothing at f = 16."""
    ahead = {}
    for factor, vae in photo_vaes.load().items():
        for name in ("china", "flower"):
            image = photo_vaes.held_out(name)[None]
            averages = F.interpolate(F.avg_pool2d(image, factor), scale_factor=factor)
            with torch.no_grad():
                kept = to_unit(vae.decode(vae.encode(to_signed(image))))
            errors = [(some - image).square().mean() for some in (averages, kept)]
            ahead[name, factor] = 10 * (errors[0] / errors[1]).log10().item()
    assert round(max(ahead["china", 2], ahead["flower", 2])) == 5
    assert all(abs(ahead[name, 16]) < 0.3 for name in ("china", "flower"))
    assert all(ahead[name, factor] > 1 for name in ("china", "flower") for factor in (2, 4, 8))
