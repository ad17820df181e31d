"""`tinyldm generate`, `img2img` and `inpaint`: captions and pictures in, a page of pictures out."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

import tinyldm
from tinyldm import LatentDiffusion, reverse_diffusion, threads
from tinyldm.beyond.distillation import four_step_unet
from tinyldm.cli import pages
from tinyldm.cli.beside import check_files, put_beside, steering
from tinyldm.cli.models import check_model, load, name_of_sampler
from tinyldm.cli.options import DEFAULT_COUNT, DEFAULT_GUIDANCE, DEFAULT_STEPS, QUICK_SAMPLER, QUICK_STEPS, SAMPLERS
from tinyldm.cli.output import require_writable, to_stderr, without_surrogates
from tinyldm.data import drawings, pictures, unknown_words
from tinyldm.data.world import COLOURS, SHAPES
from tinyldm.formats.places import draws_drawings, model_folder, names_of_drawings
from tinyldm.seeds import children

MAX_BATCH_PIXELS = 2**20  # of one batch: 256 pictures of 64×64, 4 of 512×512, 1 of 1024×1024
# Not written into a picture: its path, the layout of the page, and internal values.
NOT_METADATA = ("run", "out", "plain")

Generate = Callable[..., Tensor]  # a method of the model, as a function of captions and keywords


def generate(options: argparse.Namespace) -> None:
    """Caption -> a page of pictures."""
    if options.model == "tiny" and not options.four_steps and options.steps is None and options.sampler is None:
        options.sampler, options.steps = QUICK_SAMPLER, QUICK_STEPS
    check_before_loading(options)
    model = open_model(options)
    size = options.size or model.image_size

    def method(captions: list[str], **keywords) -> Tensor:
        return model.generate(captions, size=size, **keywords)

    write_page(in_batches(model, options, size, options.steps, method), options, size)


def img2img(options: argparse.Namespace) -> None:
    """A picture and a caption -> variations of the picture."""
    check_before_loading(options)
    original = pictures.open_picture(options.image)
    model = open_model(options)
    size = options.size or model.image_size
    image = pictures.fitted(original, size)

    def method(captions: list[str], **keywords) -> Tensor:
        return model.img2img(image.expand(len(captions), -1, -1, -1), captions, strength=options.strength, **keywords)

    steps = max(int(options.steps * options.strength), 1)
    write_page(in_batches(model, options, size, steps, method), options, size, image)


def inpaint(options: argparse.Namespace) -> None:
    """A picture, a mask and a caption -> the picture, repainted where the mask is white."""
    check_before_loading(options)
    original = pictures.open_picture(options.image)
    mask = pictures.open_mask(options.mask) if options.mask else pictures.mask_from_box(options.box, original)
    pictures.fitted_mask(mask, original, options.size or (64, 64))  # reports a mistake in it before the model is loaded
    model = open_model(options)
    size = options.size or model.image_size
    image, where = pictures.fitted(original, size), pictures.fitted_mask(mask, original, size)

    def method(captions: list[str], **keywords) -> Tensor:
        originals = image.expand(len(captions), -1, -1, -1)
        if options.raw:
            return model.inpaint(originals, where, captions, blend=None, **keywords)
        return model.inpaint(originals, where, captions, **keywords)

    shown = image * (1 - where) + 0.5 * where  # grey where it is repainted
    write_page(in_batches(model, options, size, options.steps, method), options, size, shown)


# ── Before ───────────────────────────────────────────────────────────────────────────────────────────


def check_before_loading(options: argparse.Namespace) -> None:
    """Report mistakes before a model is loaded, which takes seconds. Sets `n` and `steps` where the user has not."""
    require_writable(options.out, pages.SUFFIXES)
    check_model(options)
    read_four_steps(options)
    read_style(options)
    if options.image_context is not None:
        pictures.open_picture(options.image_context)
    check_files(options)
    if options.n is None:
        options.n = DEFAULT_COUNT if options.index is None else 1
    if options.steps is None:
        options.steps = DEFAULT_STEPS


def read_four_steps(options: argparse.Namespace) -> None:
    """Turn --four-steps into --steps 4 --guidance 1. Raises ValueError where another option contradicts it."""
    if not options.four_steps:
        return
    if options.model != "tiny":
        raise ValueError(f"--four-steps is a U-Net for the model tiny alone; --model is {options.model!r}")
    for name, fits in (("steps", (None, 4)), ("guidance", (DEFAULT_GUIDANCE, 1)), ("negative", (None,))):
        if (value := getattr(options, name)) not in fits:
            raise ValueError(
                f"--{name} {value} does not go with --four-steps, which was trained for 4 steps and a guidance of its "
                f"own; leave out one of them"
            )
    options.steps, options.guidance = 4, 1.0


def read_style(options: argparse.Namespace) -> None:
    """Turn --style into what a model reads: a word ends the caption, a picture becomes the --image-context.

    Raises: ValueError where it is neither, or where the model does not know the word.
    """
    style, options.style = options.style, None
    if style is None:
        return
    if style not in drawings.styles():
        if not Path(style).is_file():
            raise ValueError(
                f"--style is {style!r}; expected a picture file, or one of the styles of drawings: "
                f"{', '.join(drawings.styles())}"
            )
        if options.image_context is not None:
            raise ValueError("--style and --image-context both name a picture to read; expected one of them")
        options.image_context = Path(style)
    elif draws_drawings(model_folder(options.model)):
        options.caption = f"{options.caption}, {style} style" if options.caption.strip() else f"{style} style"
    else:
        raise ValueError(
            f"--style {style} is a word that only models of drawings know, and {options.model} is not one; "
            'give --model pictures, or a model that "tinyldm train all --data drawings" wrote'
        )


def open_model(options: argparse.Namespace) -> LatentDiffusion:
    """Load the model that the options name."""
    if not options.embedding:
        leave_out_unknown_words(options)
    if sys.stderr.isatty():
        to_stderr(f"loading {options.model} …")
    model = load(options, getattr(torch, options.dtype))
    if options.four_steps:
        model.unet = four_step_unet().to(model.device, model.dtype)
    put_beside(model, options)
    if options.sampler not in (None, name_of_sampler(model.sampler)):
        model.sampler = getattr(tinyldm, SAMPLERS[options.sampler])
    options.sampler = name_of_sampler(model.sampler)  # for the note and the metadata
    if options.spacing is not None:
        model.spacing = getattr(reverse_diffusion, options.spacing)
    if options.compile:
        model.unet.compile()
    return model


def leave_out_unknown_words(options: argparse.Namespace) -> None:
    """Warn of words that a model has never seen, and say what may be meant. Of models from elsewhere nothing is known.

    From captions for models of drawings they are left out: such a model learnt its text encoder from its captions
    alone, and a word that was in none of them disturbs it more than a missing one.
    """
    text = f"{options.caption} {getattr(options, 'negative', None) or ''}"
    if options.model == "tiny":
        unseen = unknown_words.of_scenes().in_words(text)
        can = f"it can draw one or two objects: {', '.join(SHAPES)}; in {', '.join(COLOURS)}"
    elif draws_drawings(model_folder(options.model)):
        names = names_of_drawings(model_folder(options.model))
        words = unknown_words.of_drawings(names)
        unseen, can = words.in_words(text), f"left out; {what_it_can_draw(options.model, names)}"
        options.caption = words.without_unknown(options.caption)
        if getattr(options, "negative", None):
            options.negative = words.without_unknown(options.negative)
    else:
        return
    if unseen:
        to_stderr(f"warning: {Path(options.model).name} has never seen {unseen}; {can}")


def what_it_can_draw(model: str, names: tuple[str, ...] | None) -> str:
    """What a model of drawings was trained on, as one phrase. names: None for all of them."""
    if names is None:
        return "it can draw what has an emoji, and portraits of people"
    some = ", ".join(names[:: max(1, len(names) // 8)][:8])
    more = " …" if len(names) > 8 else ""
    return f"it can draw {len(names)} things ({some}{more}); `tinyldm info --model {model}` lists them"


def image_context(model: LatentDiffusion, options: argparse.Namespace) -> Tensor | None:
    """The context (1, N, D) of the picture that --image-context names, or None."""
    if options.image_context is None:
        return None
    return model.encode_image(pictures.fitted(pictures.open_picture(options.image_context), model.image_size))


# ── Generating ───────────────────────────────────────────────────────────────────────────────────────


def in_batches(
    model: LatentDiffusion, options: argparse.Namespace, size: tuple[int, int], steps: int, method: Generate
) -> Tensor:
    """Generate all the pictures behind a progress bar: (N, 3, H, W) in [0, 1].

    Args:
        size: (height, width), pixels; steps: calls of the U-Net per batch.
        method: called with the captions of a batch and the keywords that all methods of the model have.
    Raises: ValueError where a picture is not finite.
    """
    generators = children(torch.Generator().manual_seed(options.seed), options.n, options.index or 0)
    batch = min(max(1, MAX_BATCH_PIXELS // (size[0] * size[1])), options.n)
    starts = range(0, options.n, batch)
    context = image_context(model, options)
    threads.fit(work_of(model, size, batch))
    batches = []
    # The delay keeps a bar away from the message of a mistake that shows at once.
    bar_of = tqdm(total=steps * len(starts), desc="generating", unit="step", delay=0.2)
    with bar_of as bar, steering(model, options, size):

        def after_step(*_) -> None:
            bar.update()
            threads.adapt()

        for start in starts:
            of_batch = generators[start : start + batch]
            count = len(of_batch)
            images = method(
                [options.caption] * count,
                steps=options.steps,
                guidance_scale=options.guidance,
                generator=of_batch,
                callback=after_step,
                negative=None if options.negative is None else [options.negative] * count,
                image_context=None if context is None else context.expand(count, -1, -1),
            )
            batches.append(images.cpu())
    return require_finite(torch.cat(batches), options)


def work_of(model: LatentDiffusion, size: tuple[int, int], batch: int) -> float:
    """How much one call of the U-Net computes, as `threads.fit` counts it. With guidance, images are seen twice."""
    weights = sum(parameter.numel() for parameter in model.unet.parameters())
    return 2.0 * weights * batch * size[0] * size[1] / model.vae.config.factor**2


def require_finite(images: Tensor, options: argparse.Namespace) -> Tensor:
    """The images. Raises ValueError, and says what may help, where one is not finite."""
    if not images.isfinite().all():
        remedy = "--dtype float32" if options.dtype != "float32" else f"a --guidance below {options.guidance:g}"
        raise ValueError(f"the values overflowed, so no picture was made; try {remedy}")
    return images


# ── After ────────────────────────────────────────────────────────────────────────────────────────────


def write_page(
    images: Tensor, options: argparse.Namespace, size: tuple[int, int], original: Tensor | None = None
) -> None:
    """Write a page with the pictures, the original first if there is one, and say so on stdout."""
    if options.plain:
        page = pages.tiles(images, enlarge=False, gap=0)
    else:
        shown = images if original is None else torch.cat([original, images])
        page = pages.captioned(pages.tiles(shown), options.caption, note(options))
    pages.save(page, options.out, metadata(options, size))
    print(
        f"wrote {options.out}: {options.n} {'picture' if options.n == 1 else 'pictures'} of {size[0]}×{size[1]}, "
        f"{seed_and_index(options)}"
    )


def seed_and_index(options: argparse.Namespace) -> str:
    """What names a picture, besides the settings: "seed 7", "seed 7, index 2" or "seed 7, index 2 to 4"."""
    if options.index is None:
        return f"seed {options.seed}"
    last = options.index + options.n - 1
    return f"seed {options.seed}, index {options.index}" + (f" to {last}" if last > options.index else "")


def note(options: argparse.Namespace) -> str:
    """The small print of a page: what is needed to make its pictures again."""
    parts = [
        without_surrogates(Path(options.model).resolve().name) + (" of four steps" if options.four_steps else ""),
        seed_and_index(options),
        f"{options.steps} steps of {options.sampler}",
        f"guidance {options.guidance:g}",
    ]
    if "strength" in options:
        parts.append(f"strength {options.strength:g}")
    return " · ".join(parts)


def metadata(options: argparse.Namespace, size: tuple[int, int]) -> dict[str, object]:
    """What is written into the picture: all options that matter for its pixels, and the versions.

    Its picture k, counted from 0, can be generated again alone with --index (index + k).
    """
    written = {name: value for name, value in vars(options).items() if name not in NOT_METADATA and value is not None}
    for name, value in written.items():
        if isinstance(value, (str, Path)):
            written[name] = without_surrogates(str(value))
        elif name in ("lora", "embedding"):
            written[name] = [without_surrogates(str(file)) for file in value]
    versions = {"tinyldm": tinyldm.__version__, "torch": torch.__version__}
    return written | {"index": options.index or 0, "size": list(size)} | versions
