"""From prompt to pixels: whole models against diffusers' pipelines, which wrote the folders that are opened here.

Every test asks for the latents to agree within 1e-4 relative and for every pixel to agree within 1/255.
"""

import warnings

import diffusers
import pytest
import small_pipelines as sd
import torch
from torch import Tensor

from tinyldm import LatentDiffusion, ddim, ddpm, dpm_solver_pp, euler
from tinyldm.reverse_diffusion import leading, trailing

CAPTIONS = ["a red astronaut riding a horse", "photo of the moon"]
NEGATIVE = ["blurry photo", ""]

# Few steps start early in the table; that is the caller's business, and what is tested here is agreement.
pytestmark = pytest.mark.filterwarnings("ignore:.*steps with")


def reopened(pipe: diffusers.DiffusionPipeline, folder) -> LatentDiffusion:
    return LatentDiffusion.from_pretrained(sd.saved(pipe, folder))


@pytest.fixture(scope="module")
def sd1(tmp_path_factory):
    pipe = sd.pipeline()
    return reopened(pipe, tmp_path_factory.mktemp("sd1")), pipe


@pytest.fixture(scope="module")
def xl(tmp_path_factory):
    pipe = sd.pipeline_xl()
    return reopened(pipe, tmp_path_factory.mktemp("xl")), pipe


def noise(batch: int = 2, height: int = 8, width: int = 8) -> Tensor:
    return torch.randn(batch, 4, height, width, generator=torch.Generator().manual_seed(21))


def generators(count: int, seed: int = 3) -> list[torch.Generator]:
    """One generator per picture, the form that means the same here and in diffusers."""
    return [torch.Generator().manual_seed(seed + k) for k in range(count)]


def generate_both(
    model: LatentDiffusion,
    pipe,
    steps: int,
    *,
    captions=CAPTIONS,
    start=None,
    negative=None,
    scale=5.0,
    sampler=ddim,
    in_sigma: bool = False,
    seed: int = 3,
) -> None:
    """Run both and compare latents and pixels."""
    start = noise(len(captions)) if start is None else start
    height, width = (8 * side for side in start.shape[-2:])
    latents = []
    ours = model.generate(
        captions,
        steps=steps,
        guidance_scale=scale,
        sampler=sampler,
        negative=negative,
        noise=start,
        generator=generators(len(captions), seed),
        callback=lambda i, z, z0: latents.append(z),
    )
    if in_sigma:  # of what a pipeline is given it makes x_T = init_noise_sigma · noise; ours is z_T = x_T / √(σ² + 1)
        pipe.scheduler.set_timesteps(steps)
        start = start * (pipe.scheduler.sigmas[0] ** 2 + 1) ** 0.5 / pipe.scheduler.init_noise_sigma
    theirs = []
    pixels = pipe(
        captions,
        latents=start,
        num_inference_steps=steps,
        guidance_scale=scale,
        negative_prompt=negative,
        height=height,
        width=width,
        generator=generators(len(captions), seed),
        output_type="pt",
        callback_on_step_end=lambda pipe, i, t, given: theirs.append(given["latents"]) or given,
    ).images
    assert sd.relative(latents[-1], theirs[-1]) < 1e-4
    assert (ours - pixels).abs().max() < 1 / 255


# ── Text to image ────────────────────────────────────────────────────────────────────────────────────

VERSIONS = {
    "SD1": {},
    "SD2": dict(unet=sd.UNET_SD2, act="gelu", pad="!"),
    "SD2_V": dict(unet=sd.UNET_SD21, act="gelu", pad="!", prediction_type="v_prediction"),
}


@pytest.mark.parametrize("negative", [None, NEGATIVE], ids=["absent", "negative"])
@pytest.mark.parametrize("name", VERSIONS)
def test_text_to_image(name, negative, tmp_path):
    pipe = sd.pipeline(**VERSIONS[name])
    generate_both(reopened(pipe, tmp_path), pipe, 20, negative=negative)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1.5, 12.0])
def test_guidance(sd1, scale):
    """At w = 1 both leave it out; below 1 only diffusers does, so there w = 0 is the empty caption's picture."""
    model, pipe = sd1
    if scale == 0:
        generate_both(model, pipe, 7, captions=["", ""], scale=1.0)
        ours = [
            model.generate(captions, steps=7, guidance_scale=w, noise=noise())
            for captions, w in ((CAPTIONS, 0.0), (["", ""], 1.0))
        ]
        assert (ours[0] - ours[1]).abs().max() < 1e-4
    else:
        generate_both(model, pipe, 7, scale=scale)


def test_a_portrait(sd1):
    model, pipe = sd1
    generate_both(model, pipe, 4, captions=CAPTIONS[:1], start=noise(1, 40, 24))


@pytest.mark.parametrize("height, width", [(36, 28), (9, 7), (1, 3)])
def test_sizes_that_are_odd_on_the_way_down(sd1, height, width):
    """288×224 pixels are 36×28 numbers, then 18×14, 9×7 and 5×4: up again, 5 does not become 10."""
    model, pipe = sd1
    generate_both(model, pipe, 3, captions=CAPTIONS[:1], start=noise(1, height, width))


SAMPLERS = {
    "ddpm": (ddpm, diffusers.DDPMScheduler, dict(clip_sample=False)),
    "euler": (euler, diffusers.EulerDiscreteScheduler, {}),
    "dpm_solver_pp": (dpm_solver_pp, diffusers.DPMSolverMultistepScheduler, {}),
}


@pytest.mark.parametrize("spacing", [leading, trailing])
@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers(sd1, name, spacing):
    model, pipe = sd1
    sampler, scheduler, options = SAMPLERS[name]
    if name == "dpm_solver_pp" and spacing is leading:
        pytest.skip("diffusers divides by n + 1 there; test_parity_samplers hands its timesteps over")
    pipe.scheduler, original = (
        scheduler.from_config(pipe.scheduler.config, timestep_spacing=spacing.__name__, **options),
        pipe.scheduler,
    )
    model.spacing = spacing
    try:
        generate_both(model, pipe, 20, sampler=sampler, in_sigma=name == "euler")
    finally:
        pipe.scheduler, model.spacing = original, leading


@pytest.mark.parametrize("negative", [None, ["", ""], NEGATIVE], ids=["absent", "empty", "negative"])
def test_xl(xl, negative):
    """With Euler, as its folder says. An absent negative caption is zeros; an empty one is encoded."""
    generate_both(*xl, 20, negative=negative, sampler=euler, in_sigma=True)


def test_xl_reads_absent_and_empty_negatives_differently(xl):
    pictures = [xl[0].generate(CAPTIONS, steps=4, noise=noise(), negative=negative) for negative in (None, ["", ""])]
    assert (pictures[0] - pictures[1]).abs().max() > 1e-3


def test_xl_reads_sizes(xl):
    model, pipe = xl
    generate_both(model, pipe, 4, captions=CAPTIONS[:1], start=noise(1, 12, 20), sampler=euler, in_sigma=True)


# ── Image to image ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def photograph() -> Tensor:
    """A part of the photograph that matplotlib ships: (1, 3, 128, 192), in [0, 1]."""
    from matplotlib.cbook import get_sample_data
    from matplotlib.image import imread

    with get_sample_data("grace_hopper.jpg") as file:
        pixels = torch.from_numpy(imread(file, format="jpg").copy())
    return pixels.permute(2, 0, 1)[None, :, 40:168, 130:322] / 255


@pytest.mark.parametrize("strength", [0.3, 0.75, 1.0])
def test_img2img(sd1, photograph, strength):
    model, pipe = sd1
    pipe = diffusers.StableDiffusionImg2ImgPipeline.from_pipe(pipe)
    pipe.set_progress_bar_config(disable=True)
    ours = model.img2img(
        photograph, CAPTIONS[:1], strength=strength, steps=10, guidance_scale=5.0, generator=generators(1)
    )
    theirs = pipe(
        CAPTIONS[:1],
        image=photograph,
        strength=strength,
        num_inference_steps=10,
        guidance_scale=5.0,
        generator=generators(1),
        output_type="pt",
    ).images
    assert (ours - theirs).abs().max() < 1 / 255


@pytest.mark.parametrize("name", SAMPLERS)
def test_text_to_image_from_a_list_of_generators(sd1, name):
    """No noise is given: both draw it, and DDPM's fresh noise after it, from each picture's own generator."""
    model, pipe = sd1
    sampler, scheduler, options = SAMPLERS[name]
    pipe.scheduler, original = (
        scheduler.from_config(pipe.scheduler.config, timestep_spacing="trailing", **options),
        pipe.scheduler,
    )
    model.spacing = trailing
    try:
        common = dict(height=64, width=64, num_inference_steps=10, guidance_scale=5.0, output_type="pt")
        theirs = pipe(CAPTIONS, generator=generators(2), **common).images
        ours = model.generate(
            CAPTIONS, steps=10, guidance_scale=5.0, size=(64, 64), generator=generators(2), sampler=sampler
        )
    finally:
        pipe.scheduler, model.spacing = original, leading
    # Theirs starts Euler at σ · noise instead of √(σ² + 1) · noise: less than 1/200 less.
    assert (ours - theirs).abs().max() < (3 if name == "euler" else 1) / 255


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_img2img_from_a_list_of_generators(sd1, photograph, sampler):
    """The posterior's sample, the noise and the fresh noise, in this order, from each picture's own generator."""
    model, pipe = sd1
    pipe = diffusers.StableDiffusionImg2ImgPipeline.from_pipe(pipe)
    pipe.set_progress_bar_config(disable=True)
    if sampler == "ddpm":
        pipe.scheduler = diffusers.DDPMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    pictures = torch.cat([photograph, photograph.flip(3)])
    ours = model.img2img(
        pictures,
        CAPTIONS,
        strength=0.7,
        steps=10,
        guidance_scale=5.0,
        generator=generators(2),
        sampler={"ddim": ddim, "ddpm": ddpm}[sampler],
    )
    theirs = pipe(
        CAPTIONS,
        image=pictures,
        strength=0.7,
        num_inference_steps=10,
        guidance_scale=5.0,
        generator=generators(2),
        output_type="pt",
    ).images
    assert (ours - theirs).abs().max() < 1 / 255


def hole(image: Tensor) -> Tensor:
    mask = torch.zeros(1, 1, *image.shape[-2:])
    mask[..., 20:90, 60:130] = 1
    return mask


def inpaint_both(model, pipe, photograph: Tensor, start: Tensor | None = None) -> None:
    """Without `start`, both draw the noise: from each picture's own generator, in the same order."""
    pictures = torch.cat([photograph, photograph.flip(3)])
    ours = model.inpaint(
        pictures,
        hole(photograph),
        CAPTIONS,
        steps=10,
        guidance_scale=5.0,
        noise=start,
        generator=generators(2),
        blend=None,
    )
    theirs = pipe(
        CAPTIONS,
        image=pictures,
        mask_image=hole(photograph).expand(2, -1, -1, -1),
        num_inference_steps=10,
        height=128,
        width=192,
        guidance_scale=5.0,
        latents=start,
        strength=1.0,
        output_type="pt",
        generator=generators(2),
    ).images
    assert (ours - theirs).abs().max() < 1 / 255


def test_inpainting_by_blending_latents(sd1, photograph):
    model, pipe = sd1
    pipe = diffusers.StableDiffusionInpaintPipeline.from_pipe(pipe)
    pipe.set_progress_bar_config(disable=True)
    inpaint_both(model, pipe, photograph, noise(2, 16, 24))
    inpaint_both(model, pipe, photograph)


def test_inpainting_with_nine_channels(photograph, tmp_path):
    pipe = sd.pipeline({**sd.UNET, "in_channels": 9})
    model = reopened(pipe, tmp_path)
    inpaint_both(model, pipe, photograph, noise(2, 16, 24))
    inpaint_both(model, pipe, photograph)


# ── Half precision ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["SD2_V", "XL"])
def test_half_precision(name, dtype, tmp_path):
    pipe = sd.pipeline_xl() if name == "XL" else sd.pipeline(**VERSIONS[name])
    model = LatentDiffusion.from_pretrained(sd.saved(pipe, tmp_path), dtype=dtype)
    exact = LatentDiffusion.from_pretrained(tmp_path)
    assert model.dtype == dtype and model.schedule.alpha_bar.dtype == torch.float32
    stays = name == "XL" and dtype == torch.float16  # XL's VAE overflows in float16
    assert model.vae.quant_conv.weight.dtype == (torch.float32 if stays else dtype)
    images = [each.generate(CAPTIONS, steps=4, noise=noise()) for each in (model, exact)]
    assert images[0].dtype == torch.float32 and images[0].isfinite().all()
    assert (images[0] - images[1]).abs().mean() < (0.01 if dtype == torch.float16 else 0.05)
    picture = torch.rand(1, 3, 64, 64)
    assert model.img2img(picture, CAPTIONS[:1], steps=2).isfinite().all()
    marked = torch.zeros(1, 1, 64, 64)
    marked[..., 16:48, 16:48] = 1
    assert model.inpaint(picture, marked, CAPTIONS[:1], steps=2).isfinite().all()


# ── Errors that a caller meets ───────────────────────────────────────────────────────────────────────


def test_sizes_that_do_not_fit_name_the_nearest(sd1, photograph):
    with pytest.raises(ValueError, match="multiples of 8, such as 496×520"):
        sd1[0].generate(CAPTIONS, size=(500, 520))
    with pytest.raises(ValueError, match="multiples of 8, such as 96×192"):
        sd1[0].img2img(photograph[..., :100, :190], CAPTIONS[:1])
    with pytest.raises(ValueError, match="multiples of 8, such as 96×192"):
        sd1[0].inpaint(photograph[..., :100, :190], hole(photograph[..., :100, :190]), CAPTIONS[:1])


def test_a_truncated_prompt_is_reported_with_what_was_cut(sd1):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sd1[0].encode_text(["a red " * 37 + "horse on the moon"])
    assert [str(warning.message) for warning in caught] == [
        "only the first 75 pieces of a caption are read; cut off: 'on the moon'"
    ]
