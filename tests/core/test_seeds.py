"""A seed means a picture: picture k depends on the seed and k alone, whatever else is made with it."""

from dataclasses import replace

import pytest
import torch
from small_models import SMALL_UNET, make_model

from tinyldm import NoiseSchedule, ddim, ddpm, dpm_solver_pp, euler, timesteps
from tinyldm.forward_diffusion import scaled_linear_betas
from tinyldm.seeds import children, per_picture, randn
from tinyldm.vae import DiagonalGaussian

SAMPLERS = [ddim, ddpm, euler, dpm_solver_pp]
COUNT = 4
CAPTION = "a red circle"


def seeded(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ── Generators ───────────────────────────────────────────────────────────────────────────────────────


def first_numbers(generators: list[torch.Generator]) -> list[float]:
    return [torch.randn((), generator=one).item() for one in generators]


def test_children_do_not_depend_on_their_number_or_on_how_they_are_asked_for():
    four = first_numbers(children(seeded(), 4))
    assert len(set(four)) == 4
    assert first_numbers(children(seeded(), 1)) == four[:1]
    assert first_numbers(children(seeded(), 1, first=2)) == four[2:3]
    parent = seeded()
    assert first_numbers(children(parent, 1)) + first_numbers(children(parent, 3)) == four  # it advances
    assert first_numbers(children(seeded(8), 4)) != four


def test_one_generator_is_its_children_and_a_list_is_itself():
    assert first_numbers(per_picture(seeded(), 3)) == first_numbers(children(seeded(), 3))
    given = [seeded(1), seeded(2)]
    assert per_picture(given, 2) == given and per_picture(tuple(given), 2) == given
    assert per_picture(None, 2) is None


def test_randn_draws_each_picture_from_its_own_generator():
    noise = randn((2, 4, 3, 3), [seeded(1), seeded(2)], torch.device("cpu"))
    for part, seed in zip(noise, (1, 2)):
        assert part.equal(torch.randn(1, 4, 3, 3, generator=seeded(seed))[0])
    assert randn((2, 4), seeded(), torch.device("cpu"), torch.float64).dtype == torch.float64
    before = torch.get_rng_state()
    randn((2, 4), seeded(), torch.device("cpu"))
    assert torch.get_rng_state().equal(before)
    randn((2, 4), None, torch.device("cpu"))
    assert not torch.get_rng_state().equal(before)


@pytest.mark.parametrize("wrong", [7, "7", torch.tensor(7), [1, 2], [seeded(), 7]])
def test_what_is_no_generator_is_refused_with_what_to_pass(wrong):
    with pytest.raises(TypeError, match=r"torch\.Generator\(\)\.manual_seed\(7\).*list"):
        per_picture(wrong, 2)


def test_a_list_of_another_length_is_refused():
    with pytest.raises(ValueError, match="3 generators for 2 pictures"):
        per_picture([seeded()] * 3, 2)


# ── Samplers and the VAE ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sampler", [*SAMPLERS, lambda *args, **options: ddim(*args, eta=1.0, **options)])
def test_a_sampler_gives_a_picture_alone_what_it_gives_it_in_a_batch(sampler):
    schedule, z = NoiseSchedule(scaled_linear_betas()), torch.randn(COUNT, 4, 4, 4)

    def sample(start, generator):
        return sampler(lambda z_t, t: torch.tanh(z_t), start, schedule, timesteps(schedule, 6), generator=generator)

    batch = sample(z, seeded())
    for k in range(COUNT):
        assert torch.allclose(sample(z[k : k + 1], children(seeded(), 1, first=k)), batch[k : k + 1], atol=1e-6)
    parent = seeded()
    halves = torch.cat([sample(z[:2], parent), sample(z[2:], parent)])
    assert torch.allclose(halves, batch, atol=1e-6)
    assert sample(z, children(seeded(), COUNT)).equal(batch)


def test_a_posterior_gives_an_image_alone_what_it_gives_it_in_a_batch():
    moments = torch.randn(COUNT, 8, 3, 3)
    batch = DiagonalGaussian(moments).sample(seeded())
    for k in range(COUNT):
        assert DiagonalGaussian(moments[k : k + 1]).sample(children(seeded(), 1, first=k)).equal(batch[k : k + 1])


# ── Every method of the model ────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def inpainting_model():
    return make_model(replace(SMALL_UNET, in_channels=9), vision=False)


def method(name: str, model, sampler):
    """(count, generator) -> that many images by one of the model's methods, all from the same picture and caption."""
    image = torch.rand(1, 3, 32, 32, generator=seeded(9))
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 16:] = 1

    def make(count, generator):
        options = dict(steps=3, sampler=sampler, generator=generator)
        captions, images = [CAPTION] * count, image.expand(count, -1, -1, -1)
        if name == "generate":
            return model.generate(captions, **options)
        if name == "img2img":
            return model.img2img(images, captions, strength=0.7, **options)
        return model.inpaint(images, mask, captions, **options)

    return make


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("name", ["generate", "img2img", "inpaint", "inpaint with nine channels"])
def test_a_picture_depends_on_seed_and_index_alone(small_model, inpainting_model, name, sampler):
    make = method(name, inpainting_model if "nine" in name else small_model, sampler)
    batch = make(COUNT, seeded())
    assert len({tuple(image.flatten().tolist()) for image in batch}) == COUNT
    close = dict(atol=1e-4)  # batches of another size add up in another order
    assert torch.allclose(make(1, seeded()), batch[:1], **close)
    assert torch.allclose(make(1, children(seeded(), 1, first=2)), batch[2:3], **close)
    parent = seeded()
    assert torch.allclose(torch.cat([make(3, parent), make(1, parent)]), batch, **close)
    assert torch.allclose(make(COUNT, children(seeded(), COUNT)), batch, **close)


def test_encode_samples_each_image_from_its_own_generator(small_model):
    image = torch.rand(COUNT, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        batch = small_model.vae.encode(image, seeded())
        alone = small_model.vae.encode(image[2:3], children(seeded(), 1, first=2))
    assert torch.allclose(alone, batch[2:3], atol=1e-5)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_interpolate_takes_a_generator_for_each_end(small_model, sampler):
    def walk(generator, frames=3):
        return small_model.interpolate(
            (CAPTION, "a blue star"), frames=frames, steps=3, sampler=sampler, generator=generator
        )

    assert walk(seeded()).equal(walk(seeded())) and walk(children(seeded(), 2)).equal(walk(seeded()))
    if sampler is not ddpm:  # whose fresh noise is each frame's own
        ends = small_model.generate([CAPTION, "a blue star"], steps=3, sampler=sampler, generator=seeded())
        assert torch.allclose(walk(seeded())[[0, -1]], ends, atol=1e-4)
    assert torch.allclose(walk(seeded(), frames=2)[0], walk(seeded(), frames=4)[0], atol=1e-4)
