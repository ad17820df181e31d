"""The whole: captions to images, images to images, inpainting, interpolation; saving and opening again.

The model has random weights (see conftest.py): its pictures show nothing, but everything that a trained model
needs to do with noise, captions, masks and files can be seen on it.
"""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from small_models import SMALL_UNET, make_model

from tinyldm import LatentDiffusion, ddim, ddpm, dpm_solver_pp, euler, to_signed
from tinyldm.formats import files
from tinyldm.latent_diffusion import paste_back, slerp
from tinyldm.reverse_diffusion import guided, leading, timesteps

SAMPLERS = [ddim, ddpm, euler, dpm_solver_pp]
TWO = ["a red circle", "a blue star above a green square"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def different(a: torch.Tensor, b: torch.Tensor) -> bool:
    """More than rounding apart, in each image."""
    return bool(((a - b).abs().flatten(1).amax(1) > 1e-3).all())


def are_images(images: torch.Tensor, count: int, height: int = 32, width: int = 32) -> bool:
    return (
        images.shape == (count, 3, height, width)
        and images.dtype == torch.float32
        and not images.requires_grad
        and images.min() >= 0
        and images.max() <= 1
        and images.std() > 0
    )


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 32, 32, generator=seeded(9))


# ── generate ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_generate_with_every_sampler(small_model, sampler):
    first = small_model.generate(TWO, steps=4, sampler=sampler, generator=seeded(1))
    assert are_images(first, 2)
    assert first.equal(small_model.generate(TWO, steps=4, sampler=sampler, generator=seeded(1)))
    assert different(first, small_model.generate(TWO, steps=4, sampler=sampler, generator=seeded(2)))


def test_generate_is_its_parts_put_together(small_model):
    """Noise, context, guidance, timesteps, sampler, decoder: by hand."""
    model = small_model
    noise = torch.cat([torch.randn(1, 4, 4, 4, generator=seeded(seed)) for seed in (3, 4)])
    with torch.no_grad():
        denoiser = guided(model.unet, model.encode_text(TWO), model.encode_text([""]), 3.0)
        z0 = ddim(denoiser, noise, model.schedule, timesteps(model.schedule, 5))
        expected = ((model.vae.decode(z0) + 1) / 2).clamp(0, 1)
    generators = [seeded(3), seeded(4)]
    assert torch.allclose(model.generate(TWO, steps=5, guidance_scale=3.0, generator=generators), expected, atol=1e-5)
    assert torch.allclose(model.generate(TWO, steps=5, guidance_scale=3.0, noise=noise), expected, atol=1e-5)


def test_generate_leaves_the_global_random_state_alone(small_model):
    state = torch.get_rng_state()
    small_model.generate(TWO, steps=2, sampler=ddpm, generator=seeded(1))
    assert torch.get_rng_state().equal(state)


def test_given_noise_is_used_and_not_changed(small_model):
    noise = torch.randn(2, 4, 4, 4)
    copy = noise.clone()
    first = small_model.generate(TWO, steps=3, noise=noise)
    assert first.equal(small_model.generate(TWO, steps=3, noise=noise, generator=seeded(5))) and noise.equal(copy)
    assert different(first, small_model.generate(TWO, steps=3, noise=-noise))


def test_an_images_batch_does_not_matter(small_model):
    """The first of two is the same alone; only the order of float32 sums may differ."""
    noise = torch.randn(2, 4, 4, 4)
    both = small_model.generate(TWO, steps=3, noise=noise)
    assert torch.allclose(both[:1], small_model.generate(TWO[:1], steps=3, noise=noise[:1]), atol=1e-4)


def test_caption_negative_caption_guidance_and_picture_all_matter(small_model, images):
    def generate(captions=TWO, **options):
        return small_model.generate(captions, steps=3, generator=seeded(), **options)

    plain = generate()
    assert different(plain, generate(["a green square", "a red star"]))
    assert different(plain, generate(guidance_scale=1.0))
    assert different(plain, generate(negative=["a blue star", "a red circle"]))
    assert different(plain, generate(image_context=small_model.encode_image(images)))
    assert torch.allclose(plain, generate(negative=["", ""]), atol=1e-5)  # the empty caption is the default
    assert torch.allclose(generate(guidance_scale=1.0), generate(guidance_scale=1.0, negative=TWO))  # … unused at 1
    assert torch.allclose(generate(guidance_scale=0.0), generate(["a", "a"], guidance_scale=0.0), atol=1e-5)
    assert torch.allclose(generate(negative=TWO), generate(guidance_scale=1.0), atol=1e-4)  # nothing to exaggerate


def test_image_context_is_read_after_the_captions_own_vectors(small_model, images):
    seen = []
    hook = small_model.unet.register_forward_pre_hook(lambda module, given: seen.append(given[2]))
    context = small_model.encode_image(images)
    small_model.generate(TWO, steps=1, guidance_scale=1.0, image_context=context)
    hook.remove()
    assert seen[0].shape == (2, 12 + 5, 24)
    assert seen[0][:, :12].equal(small_model.encode_text(TWO)) and seen[0][:, 12:].equal(context)


@pytest.mark.parametrize("size", [(32, 64), (48, 16), (40, 24)])
def test_other_sizes(small_model, size):
    assert are_images(small_model.generate(TWO, steps=2, size=size), 2, *size)


def test_callback_sees_every_step_and_can_replace_the_latent(small_model):
    seen = []
    plain = small_model.generate(TWO, steps=4, generator=seeded())
    watched = small_model.generate(TWO, steps=4, generator=seeded(), callback=lambda i, z, z0: seen.append((i, z, z0)))
    assert watched.equal(plain) and [i for i, _, _ in seen] == [0, 1, 2, 3]
    assert all(z.shape == z0.shape == (2, 4, 4, 4) for _, z, z0 in seen)
    target = torch.randn(2, 4, 4, 4)
    replaced = small_model.generate(TWO, steps=4, callback=lambda i, z, z0: target if i == 3 else None)
    assert torch.allclose(replaced, ((small_model.vae.decode(target) + 1) / 2).clamp(0, 1), atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, pytest.param(1000, marks=pytest.mark.slow)])
def test_extreme_numbers_of_steps(small_model, steps):
    seen = []
    small_model.generate(["a"], steps=steps, guidance_scale=1.0, callback=lambda i, z, z0: seen.append(i))
    assert seen == list(range(steps))


def test_a_spacing_of_its_own():
    """As a Stable Diffusion folder has it: "leading", so that four steps start at t = 751."""
    model, seen = make_model(vision=False, spacing=leading), []
    model.unet.register_forward_pre_hook(lambda module, given: seen.append(given[1][0].item()))
    with pytest.warns(UserWarning, match="start at t = 751"):
        model.generate(["a"], steps=4)
    assert seen == [751, 501, 251, 1]


def test_bfloat16_networks_float32_sampling():
    model, seen = make_model(vision=False).to("cpu", torch.bfloat16), []
    exact = make_model(vision=False).generate(["a red star"], steps=4, generator=seeded())
    got = model.generate(["a red star"], steps=4, generator=seeded(), callback=lambda i, z, z0: seen.append(z.dtype))
    assert set(seen) == {torch.float32} and model.dtype == torch.bfloat16
    assert model.schedule.alpha_bar.dtype == torch.float32  # never rounded
    assert are_images(got, 1) and (got - exact).abs().mean() < 0.05  # bfloat16 has 8 bits, over four steps


# ── img2img ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("strength", [0.01, 0.5, 1.0])
def test_img2img_with_every_sampler(small_model, images, sampler, strength):
    out = small_model.img2img(images, TWO, strength=strength, steps=5, sampler=sampler, generator=seeded())
    assert are_images(out, 2)
    assert out.equal(small_model.img2img(images, TWO, strength=strength, steps=5, sampler=sampler, generator=seeded()))


def test_img2img_walks_back_the_share_of_steps_that_strength_says(small_model, images):
    for strength, steps, expected in [(0.6, 25, 15), (1.0, 25, 25), (0.5, 5, 2), (0.01, 10, 1)]:
        seen = []
        small_model.img2img(images, TWO, strength=strength, steps=steps, callback=lambda i, *_: seen.append(i))  # noqa: B023
        assert len(seen) == expected


def test_img2img_starts_at_the_very_step_it_noised_to(small_model, images):
    """The first z_t that the U-Net sees is q_sample(z0, t, eps) with the t that it is told, at strength 1 too."""
    noise = torch.randn(2, 4, 4, 4)
    for strength in (0.4, 1.0):
        seen = []
        hook = small_model.unet.register_forward_pre_hook(lambda module, given: seen.append(given))  # noqa: B023
        small_model.img2img(images, TWO, strength=strength, steps=10, noise=noise, guidance_scale=1.0)
        hook.remove()
        z_t, t = seen[0][:2]
        with torch.no_grad():
            z0 = small_model.vae.encode(to_signed(images))
        assert t.tolist() == [999 if strength == 1 else 399] * 2
        assert torch.allclose(z_t, small_model.schedule.q_sample(z0, t, noise), atol=1e-6)


def test_img2img_samples_the_posterior_with_a_generator_and_takes_its_mean_without(small_model, images):
    noise = torch.randn(2, 4, 4, 4)
    options = dict(strength=0.3, steps=10, noise=noise)
    plain = small_model.img2img(images, TWO, **options)
    assert plain.equal(small_model.img2img(images, TWO, **options))
    assert different(plain, small_model.img2img(images, TWO, generator=seeded(1), **options))


def test_img2img_keeps_more_of_the_picture_at_less_strength(small_model, images):
    """Measured in the latent, where the last estimate is compared with where it came from."""
    with torch.no_grad():
        z0 = small_model.vae.encode(to_signed(images))
    distances = []
    for strength in (0.1, 0.5, 1.0):
        last = []
        small_model.img2img(
            images,
            TWO,
            strength=strength,
            steps=10,
            guidance_scale=1.0,
            noise=torch.randn(2, 4, 4, 4),
            callback=lambda i, z, z0_hat, last=last: last.append(z),
        )
        distances.append((last[-1] - z0).norm().item())
    assert distances == sorted(distances)


# ── inpaint ──────────────────────────────────────────────────────────────────────────────────────────


def half_mask(count=2):
    mask = torch.zeros(count, 1, 32, 32)
    mask[:, :, :, 16:] = 1
    return mask


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_inpaint_keeps_the_known_latents_exactly(small_model, images, sampler):
    """Where the mask is 0, the latent that is decoded is the picture's own; elsewhere it is not."""
    last = []
    out = small_model.inpaint(
        images, half_mask(), TWO, steps=4, sampler=sampler, callback=lambda i, z, z0: last.append(z)
    )
    with torch.no_grad():
        z0 = small_model.vae.encode(to_signed(images))
    assert are_images(out, 2)
    assert last[-1][..., :2].equal(z0[..., :2])
    assert different(last[-1][..., 2:], z0[..., 2:])


def test_inpaint_keeps_the_known_part_as_noisy_as_the_rest_at_every_step(small_model, images):
    noise, seen = torch.randn(2, 4, 4, 4), []
    hook = small_model.unet.register_forward_pre_hook(lambda module, given: seen.append(given[:2]))
    small_model.inpaint(images, half_mask(), TWO, steps=5, noise=noise, guidance_scale=1.0)
    hook.remove()
    with torch.no_grad():
        z0 = small_model.vae.encode(to_signed(images))
    for z_t, t in seen[1:]:
        assert torch.allclose(z_t[..., :2], small_model.schedule.q_sample(z0, t, noise)[..., :2], atol=1e-5)


def test_inpaint_keeps_every_pixel_that_the_mask_protects(small_model, images):
    """Bit for bit; and behind the border the old picture fades out over `blend` pixels of the marked part."""
    noise = torch.randn(2, 4, 4, 4)
    out = small_model.inpaint(images, half_mask(), TWO, steps=2, noise=noise)
    raw = small_model.inpaint(images, half_mask(), TWO, steps=2, noise=noise, blend=None)
    assert out[..., :16].equal(images[..., :16]) and not torch.allclose(raw[..., :16], images[..., :16], atol=0.01)
    for distance, share in enumerate((0.25, 0.5, 0.75, 1.0), start=1):
        column = 15 + distance
        expected = torch.lerp(images[..., column], raw[..., column], share)
        assert torch.allclose(out[..., column], expected, atol=1e-6)
    assert torch.allclose(out[..., 20:], raw[..., 20:], atol=1e-6)
    hard = small_model.inpaint(images, half_mask(), TWO, steps=2, noise=noise, blend=1)
    assert torch.allclose(hard[..., 16:], raw[..., 16:], atol=1e-6) and hard[..., :16].equal(images[..., :16])


def test_inpaint_protects_pixels_in_a_patch_that_is_repainted(small_model, images):
    """One mark in the top left pixel repaints the latent of the whole patch; 63 of its pixels are protected."""
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8, 8] = 1
    out = small_model.inpaint(images, mask, TWO, steps=2)
    changed = (out != images).any(1, keepdim=True).float()
    assert changed.equal(mask.expand(2, -1, -1, -1))


def test_paste_back_reaches_one_in_the_middle_of_a_narrow_mark_in_each_picture():
    painted, original, mask = torch.ones(2, 3, 9, 9), torch.zeros(2, 3, 9, 9), torch.zeros(2, 1, 9, 9)
    mask[0, :, 4] = 1  # a line of one pixel
    mask[1, :, 2:7] = 1  # five rows: the middle one is the third from the border
    share = paste_back(painted, original, mask)[:, 0, :, 4]
    assert torch.allclose(share[0], torch.tensor([0, 0, 0, 0, 1.0, 0, 0, 0, 0]))
    assert torch.allclose(share[1], torch.tensor([0, 0, 1, 2, 3, 2, 1, 0, 0]) / 3)
    # Neither depends on its batch.
    assert paste_back(painted[:1], original[:1], mask[:1])[:, 0, :, 4].equal(share[:1])
    # The edge of the picture is no border of the mask.
    assert paste_back(painted, original, torch.ones(2, 1, 9, 9)).equal(painted)


def test_inpaint_everything_is_generate_and_a_warning(small_model, images):
    noise = torch.randn(2, 4, 4, 4)
    with pytest.warns(UserWarning, match="the mask marks everything"):
        everything = small_model.inpaint(images, torch.ones(1, 1, 32, 32), TWO, steps=4, noise=noise)
    assert torch.allclose(everything, small_model.generate(TWO, steps=4, noise=noise), atol=1e-5)


def test_inpaint_changes_none_of_its_arguments(small_model, images):
    mask, picture = half_mask(), images.clone()
    small_model.inpaint(picture, mask, TWO, steps=2)
    assert mask.equal(half_mask()) and picture.equal(images)


def test_inpaint_with_a_unet_of_nine_channels(images):
    """It reads z_t, mask and masked picture in this order, the same in both halves of the guidance batch."""
    model, seen = make_model(replace(SMALL_UNET, in_channels=9), vision=False), []
    model.unet.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    noise = torch.randn(2, 4, 4, 4)
    out = model.inpaint(images, half_mask(), TWO, steps=3, noise=noise)
    assert are_images(out, 2) and seen[0].shape == (4, 9, 4, 4)
    assert seen[0][:2, :4].equal(noise) and seen[0][:2].equal(seen[0][2:])
    mask = torch.zeros(2, 1, 4, 4)
    mask[..., 2:] = 1
    assert seen[0][:2, 4:5].equal(mask)
    with torch.no_grad():
        masked = model.vae.encode(to_signed(images) * (1 - half_mask()))  # grey, 0 in [-1, 1], where to repaint
    assert torch.allclose(seen[0][:2, 5:], masked, atol=1e-6)
    assert different(out, model.inpaint(1 - images, half_mask(), TWO, steps=3, noise=noise))


# ── interpolate ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sampler", [ddim, euler, dpm_solver_pp])
def test_interpolate_ends_in_generates_pictures(small_model, sampler):
    noise = torch.randn(2, 4, 4, 4)
    frames = small_model.interpolate(tuple(TWO), frames=5, steps=4, sampler=sampler, noise=noise)
    ends = small_model.generate(TWO, steps=4, sampler=sampler, noise=noise)
    assert are_images(frames, 5)
    assert torch.allclose(frames[[0, -1]], ends, atol=1e-4)  # batches of 5 and 2 sum in another order
    steps = (frames[1:] - frames[:-1]).flatten(1).norm(dim=1)
    assert (steps > 1e-3).all()  # every frame is another picture


def test_interpolate_between_equal_captions_or_equal_noises(small_model):
    noise = torch.randn(1, 4, 4, 4).repeat(2, 1, 1, 1)
    same = small_model.interpolate(("a star", "a star"), frames=3, steps=3, noise=noise)
    assert torch.allclose(same, same[:1].expand(3, -1, -1, -1), atol=1e-4)
    assert different(*small_model.interpolate(tuple(TWO), frames=2, steps=3, noise=noise)[:, None])
    assert different(*small_model.interpolate(("a star", "a star"), frames=2, steps=3, generator=seeded())[:, None])
    seeds = [small_model.interpolate(tuple(TWO), frames=2, steps=3, generator=seeded(s)) for s in (1, 1, 2)]
    assert seeds[0].equal(seeds[1]) and different(seeds[0], seeds[2])


def test_slerp_keeps_the_length_and_moves_by_equal_angles():
    a, b = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    b *= a.norm() / b.norm()
    weight = torch.linspace(0, 1, 5).view(-1, 1, 1, 1)
    path = slerp(a, b, weight)
    assert torch.allclose(path[0], a[0], atol=1e-6) and torch.allclose(path[-1], b[0], atol=1e-5)
    assert torch.allclose(path.flatten(1).norm(dim=1), a.norm().expand(5), rtol=1e-4)
    cosines = torch.cosine_similarity(path[:-1].flatten(1), path[1:].flatten(1))
    assert torch.allclose(cosines, cosines[:1].expand(4), atol=1e-4)
    assert torch.allclose(slerp(a, a, weight), a.expand(5, -1, -1, -1), atol=1e-6)


# ── Conditions ───────────────────────────────────────────────────────────────────────────────────────


def test_encode_text_and_image(small_model, images):
    assert small_model.encode_text(TWO).shape == (2, 12, 24)
    assert small_model.encode_image(images).shape == (2, 5, 24)
    assert small_model.encode_image(torch.rand(1, 3, 50, 21)).shape == (1, 5, 24)  # of any size
    assert not small_model.encode_text(TWO).requires_grad and not small_model.encode_image(images).requires_grad


def test_a_sampling_model_is_frozen_and_in_eval_mode(small_model):
    for part in (small_model.unet, small_model.vae, small_model.text_encoder, small_model.image_encoder):
        assert not part.training and not any(parameter.requires_grad for parameter in part.parameters())


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────


def same_model(a: LatentDiffusion, b: LatentDiffusion, images: torch.Tensor) -> bool:
    # 4 divides T = 1,000. With other numbers, a folder's DDIM steps as that of diffusers does: `ddim_by_stride`.
    pairs = [
        (
            model.generate(TWO, steps=4, generator=seeded(), image_context=model.encode_image(images)),
            model.img2img(images, TWO, steps=4, generator=seeded()),
        )
        for model in (a, b)
    ]
    return all(one.equal(other) for one, other in zip(*pairs))


def test_save_and_open_again_bit_for_bit(small_model, images, tmp_path):
    small_model.save_pretrained(tmp_path / "new" / "model")
    opened = LatentDiffusion.from_pretrained(tmp_path / "new" / "model")
    assert same_model(small_model, opened, images)
    assert opened.unet.config == small_model.unet.config and opened.vae.config == small_model.vae.config
    assert opened.image_size == small_model.image_size and opened.spacing is small_model.spacing
    assert opened.schedule.prediction is small_model.schedule.prediction
    assert torch.allclose(opened.schedule.alpha_bar, small_model.schedule.alpha_bar, rtol=1e-6)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"model"}  # nothing is left beside it


def test_an_opened_model_is_laid_out_in_memory_as_a_new_one(small_model, tmp_path):
    """channels_last, which is faster, and without which the sums would be rounded in another order."""
    small_model.save_pretrained(tmp_path / "model")
    opened = LatentDiffusion.from_pretrained(tmp_path / "model")
    for part in ("unet", "vae"):
        new, read = getattr(small_model, part).state_dict(), getattr(opened, part).state_dict()
        assert [name for name in new if new[name].stride() != read[name].stride()] == []


def test_saving_twice_replaces_the_folder(small_model, images, tmp_path):
    folder = tmp_path / "model"
    make_model(vision=False).save_pretrained(folder)
    (folder / "left_over.txt").write_text("from another model")
    small_model.save_pretrained(folder)
    assert not (folder / "left_over.txt").exists()
    assert same_model(small_model, LatentDiffusion.from_pretrained(folder), images)
    small_model.save_pretrained(str(folder))  # over itself, and by name


@pytest.mark.parametrize("after", [0, 1, 2, 5])
@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_save_leaves_the_old_folder_whole(small_model, tmp_path, monkeypatch, after, error):
    folder = tmp_path / "model"
    small_model.save_pretrained(folder)
    before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    works, calls = files.replacing, []

    def breaks(file):
        calls.append(file)
        if len(calls) > after:
            raise error
        return works(file)

    monkeypatch.setattr(files, "replacing", breaks)
    other = make_model()
    other.unet.conv_in.weight.add_(1)
    with pytest.raises(type(error)):
        other.save_pretrained(folder)
    assert {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_file_that_is_cut_off_while_written_does_not_take_the_old_ones_place(tmp_path, monkeypatch):
    file = tmp_path / "weights.safetensors"
    files.write_safetensors(file, {"a": torch.ones(3)})

    def half(state, path, **_):
        path.write_bytes(b"half a fi")
        raise OSError("No space left on device")

    monkeypatch.setattr(files, "save_file", half)
    with pytest.raises(OSError, match="No space"):
        files.write_safetensors(file, {"a": torch.zeros(3)})
    assert load_file(file)["a"].equal(torch.ones(3)) and [path.name for path in tmp_path.iterdir()] == [file.name]
