"""Exercises of lesson 05, the autoencoder: image range, the asymmetric downsample, posterior, KL, the scale."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from tinyldm_course.checks.calls import Call, Seeded
from tinyldm_course.checks.exercise import Exercise, Wrong
from tinyldm_course.exercises.inputs import integer

TITLE = "The autoencoder"


# ── [0, 255] → [-1, 1] ───────────────────────────────────────────────────────────────────────────────


def pixel_cases(generator: Generator) -> list[Call]:
    """uint8 (B, H, W, 3); no picture is so kind as to reach 255."""
    calls = [Call((torch.tensor([[[[0, 51, 102], [153, 204, 50]]]], dtype=torch.uint8),))]
    for B, H, W in ((2, 4, 4), (1, 3, 5), (3, 8, 8)):
        calls.append(Call((torch.randint(0, 230, (B, H, W, 3), generator=generator, dtype=torch.uint8),)))
    return calls


def signed_right(pixels: Tensor) -> Tensor:
    """uint8 (B, H, W, 3) -> (B, 3, H, W) in [-1, 1]."""
    return 2 * (pixels.float() / 255).permute(0, 3, 1, 2) - 1


def signed_only_to_one(pixels):
    return (pixels.float() / 255).permute(0, 3, 1, 2)


def signed_by_maximum(pixels):
    return 2 * (pixels.float() / pixels.max()).permute(0, 3, 1, 2) - 1


def signed_by_256(pixels):
    return 2 * (pixels.float() / 256).permute(0, 3, 1, 2) - 1


def signed_by_127(pixels):
    return pixels.float().permute(0, 3, 1, 2) / 127 - 1


def signed_by_half(pixels):
    return (pixels.float() / 255).permute(0, 3, 1, 2) - 0.5


def signed_overflowing(pixels):
    return (2 * pixels / 255).permute(0, 3, 1, 2) - 1


def signed_overflowing_below(pixels):
    return (2 * pixels - 255).permute(0, 3, 1, 2) / 255


def signed_normalised(pixels):
    x = pixels.float().permute(0, 3, 1, 2)
    return (x - x.mean()) / x.std()


def signed_not_permuted(pixels):
    return 2 * (pixels.float() / 255) - 1


def signed_viewed(pixels):
    B, H, W, C = pixels.shape
    return 2 * (pixels.float() / 255).reshape(B, C, H, W) - 1


def signed_turned(pixels):
    return 2 * (pixels.float() / 255).permute(0, 3, 2, 1) - 1


def signed_by_movedim(pixels):
    return torch.movedim(pixels, -1, 1).to(torch.float32).sub(127.5).div(127.5)


def signed_in_float64(pixels):
    return torch.stack([pixels[..., c] for c in range(3)], dim=1).double() * (2 / 255) - 1


IMAGE_TO_SIGNED = Exercise(
    name="image_to_signed",
    title="What the encoder expects",
    stars=1,
    minutes=6,
    answer=signed_right,
    cases=pixel_cases,
    hints=(
        "Make floats first: whole numbers of 8 bits cannot hold 2 · 200.",
        "0 … 255 → 0 … 1 → 0 … 2 → -1 … 1.",
        ".permute(0, 3, 1, 2) brings the colours to the front; reshape would only rename the dimensions.",
    ),
    insight="0 is now mid-grey, so zeros padded around a picture are grey, not black. A wrong range "
    "is the commonest silent bug of all: the encoder takes any numbers, and pictures come out pale or burnt.",
    wrong=(
        Wrong(
            "only-to-one",
            signed_only_to_one,
            "Your image lies in [0, 1]. The encoder was trained on [-1, 1]: to it, yours has no dark half.",
        ),
        Wrong(
            "image-maximum",
            signed_by_maximum,
            "You divided by the image's own maximum. A dark picture would become as bright as a light one: it is "
            "always 255.",
        ),
        Wrong(
            "by-256",
            signed_by_256,
            "You divided by 256 (or by 128, before subtracting 1): white, 255, becomes 0.992 instead of 1.",
        ),
        Wrong("by-127", signed_by_127, "You divided by 127: white, 255, becomes 1.008. Half of 255 is 127.5."),
        Wrong("half-range", signed_by_half, "Your image lies in [-0.5, 0.5]: multiply by 2 before subtracting 1."),
        Wrong(
            "overflow",
            signed_overflowing,
            "You doubled while the numbers were still uint8: above 127 they wrap round, 2 · 200 = 144. Convert to "
            "float first.",
        ),
        Wrong(
            "overflow-below",
            signed_overflowing_below,
            "You computed 2 · pixels - 255 while the numbers were still uint8, which know no minus: 2 · 100 - 255 "
            "became 201 instead of -55. Convert to float first.",
        ),
        Wrong(
            "standardised",
            signed_normalised,
            "You subtracted the mean and divided by the spread of this batch: one image changes with the others. "
            "The range is fixed: 0 … 255 to -1 … 1.",
        ),
        Wrong(
            "channels-last",
            signed_not_permuted,
            "The numbers are right; the colours are still last. Convolutions want (B, 3, H, W).",
        ),
        Wrong(
            "reshaped",
            signed_viewed,
            'You reshaped (B, H, W, 3) into (B, 3, H, W): each "colour" is then a third of the rows. Permute.',
        ),
        Wrong(
            "turned", signed_turned, "Height and width are swapped: the picture lies on its side. permute(0, 3, 1, 2)."
        ),
    ),
    right=(signed_by_movedim, signed_in_float64),
)


# ── [-1, 1] → [0, 255] ───────────────────────────────────────────────────────────────────────────────


def decoded_cases(generator: Generator) -> list[Call]:
    """(B, 3, H, W) between -1 and 1, with overshoot; no number lies where rounding could go either way."""
    calls = [Call((torch.tensor([[[[-1.0, 0.9965]], [[1.2, -0.5]], [[-1.1, 0.42]]]]),))]
    for B, H, W in ((2, 4, 4), (1, 3, 5), (3, 8, 8)):
        whole = torch.randint(-40, 296, (B, 3, H, W), generator=generator)
        between = 0.8 * torch.rand(B, 3, H, W, generator=generator) - 0.4
        calls.append(Call(((whole + between) / 127.5 - 1,)))
    return calls


def back_right(image: Tensor) -> Tensor:
    """(B, 3, H, W) in [-1, 1], with overshoot -> uint8 (B, H, W, 3)."""
    return (((image + 1) / 2).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def back_not_clipped(image):
    return ((image + 1) / 2 * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def back_truncated(image):
    return (((image + 1) / 2).clamp(0, 1) * 255).to(torch.uint8).permute(0, 2, 3, 1)


def back_truncated_and_not_clipped(image):
    return ((image + 1) / 2 * 255).to(torch.uint8).permute(0, 2, 3, 1)


def back_not_shifted(image):
    return (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def back_clipped_too_early(image):
    return ((image.clamp(0, 1) + 1) / 2 * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def back_by_256(image):
    return (((image + 1) / 2).clamp(0, 1) * 256).round().clamp(max=255).to(torch.uint8).permute(0, 2, 3, 1)


def back_stretched(image):
    low, high = image.min(), image.max()
    return ((image - low) / (high - low) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def back_as_floats(image):
    return (((image + 1) / 2).clamp(0, 1) * 255).round().permute(0, 2, 3, 1)


def back_not_permuted(image):
    return (((image + 1) / 2).clamp(0, 1) * 255).round().to(torch.uint8)


def back_viewed(image):
    B, C, H, W = image.shape
    return (((image + 1) / 2).clamp(0, 1) * 255).round().to(torch.uint8).reshape(B, H, W, C)


def back_turned(image):
    return (((image + 1) / 2).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 3, 2, 1)


def back_in_place(image):
    return ((image.clamp_(-1, 1) + 1) / 2 * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def back_at_once(image):
    return torch.einsum("bchw->bhwc", image).mul(127.5).add(127.5).clamp(0, 255).round().byte()


def back_by_floor(image):
    bright = torch.floor(127.5 * (image.double() + 1) + 0.5)
    return torch.minimum(bright.clamp(min=0), torch.full_like(bright, 255)).to(torch.uint8).movedim(1, -1)


SIGNED_TO_IMAGE = Exercise(
    name="signed_to_image",
    title="Back to pixels",
    stars=1,
    minutes=6,
    answer=back_right,
    cases=decoded_cases,
    hints=(
        "Undo the steps in the opposite order: -1 … 1 → 0 … 2 → 0 … 1 → 0 … 255.",
        "A decoder overshoots a little: clip to [0, 1] before the numbers become whole.",
        ".round(), .to(torch.uint8), and .permute(0, 2, 3, 1).",
    ),
    insight="Clipping belongs here, at the very end, and not into the decoder: a clipped pixel has no gradient, so in "
    "training nothing would pull an overshooting pixel back.",
    wrong=(
        Wrong(
            "not-clipped",
            back_not_clipped,
            "You did not clip, or only after .to(torch.uint8), when it is too late: 1.02 becomes 258, and in 8 bits "
            "that wraps round to 2, black specks in white places. Clip while the numbers are floats.",
        ),
        Wrong(
            "truncated",
            back_truncated,
            "You cut off the fraction, as .to(torch.uint8) does: every pixel gets darker, by half a step on average. "
            "Round before the conversion.",
        ),
        Wrong(
            "truncated-and-not-clipped",
            back_truncated_and_not_clipped,
            "Two things. You cut off the fraction, as .to(torch.uint8) does: round before. And you did not clip, or "
            "only after it, when 258 has become 2 already: clip while the numbers are floats.",
        ),
        Wrong(
            "not-shifted",
            back_not_shifted,
            "You took [-1, 1] for [0, 1]: everything darker than mid-grey turns black. First (image + 1) / 2.",
        ),
        Wrong(
            "clipped-too-early",
            back_clipped_too_early,
            "You clipped to [0, 1] before shifting, so everything darker than mid-grey is lost.",
        ),
        Wrong("by-256", back_by_256, "You multiplied by 256; 1 must become 255, so that the way there and back fits."),
        Wrong(
            "stretched",
            back_stretched,
            "You stretched each batch to its own darkest and brightest pixel, as a plot does. The range is fixed.",
        ),
        Wrong("not-uint8", back_as_floats, "The numbers are right, but they are still floats: .to(torch.uint8)."),
        Wrong("channels-first", back_not_permuted, "The colours are still first. Picture files want (B, H, W, 3)."),
        Wrong("reshaped", back_viewed, "You reshaped where a permutation is needed: colours and places get mixed."),
        Wrong(
            "turned", back_turned, "Height and width are swapped: the picture lies on its side. permute(0, 2, 3, 1)."
        ),
        Wrong("inputs-changed", back_in_place),
    ),
    right=(back_at_once, back_by_floor),
)


# ── The asymmetric downsample ────────────────────────────────────────────────────────────────────────


def down_cases(generator: Generator) -> list[Call]:
    """x (B, C, H, W) with even sides, weight (C', C, 3, 3), bias (C',)."""
    weight = torch.arange(1.0, 10.0).view(1, 1, 3, 3)
    calls = [Call((torch.arange(16.0).view(1, 1, 4, 4), weight, torch.tensor([0.5])))]
    for B, C, H, W in ((2, 3, 4, 4), (1, 2, 6, 10), (3, 4, 8, 8)):
        shapes = ((B, C, H, W), (C, C, 3, 3), (C,))
        calls.append(Call(tuple(torch.randn(shape, generator=generator) for shape in shapes)))
    return calls


def down_right(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Zeros right and bottom, then a 3×3 convolution of stride 2."""
    return F.conv2d(F.pad(x, (0, 1, 0, 1)), weight, bias, stride=2)


def down_symmetric(x, weight, bias):
    return F.conv2d(x, weight, bias, stride=2, padding=1)


def down_not_padded(x, weight, bias):
    return F.conv2d(F.pad(x, (0, 0, 0, 0)), weight, bias, stride=2)


def down_padded_in_width_only(x, weight, bias):
    return F.conv2d(F.pad(x, (0, 1)), weight, bias, stride=2)


def down_padded_twice(x, weight, bias):
    return F.conv2d(F.pad(x, (0, 1, 0, 1)), weight, bias, stride=2, padding=1)


def down_right_and_top(x, weight, bias):
    return F.conv2d(F.pad(x, (0, 1, 1, 0)), weight, bias, stride=2)


def down_replicated(x, weight, bias):
    return F.conv2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), weight, bias, stride=2)


def down_without_stride(x, weight, bias):
    return F.conv2d(x, weight, bias, padding=1)


def down_padded_without_stride(x, weight, bias):
    return F.conv2d(F.pad(x, (0, 1, 0, 1)), weight, bias)


def down_with_neither(x, weight, bias):
    return F.conv2d(x, weight, bias)


def down_without_bias(x, weight, bias):
    return F.conv2d(F.pad(x, (0, 1, 0, 1)), weight, stride=2)


def down_pooled(x, weight, bias):
    return F.avg_pool2d(F.conv2d(x, weight, bias, padding=1), 2)


def down_by_every_second(x, weight, bias):
    return F.conv2d(x, weight, bias, padding=1)[:, :, 1::2, 1::2]


def down_by_layers(x, weight, bias):
    padded = nn.ZeroPad2d((0, 1, 0, 1))(x)
    patches = padded.unfold(2, 3, 2).unfold(3, 3, 2)
    return torch.einsum("bchwij,ocij->bohw", patches, weight) + bias.view(-1, 1, 1)


DOWNSAMPLE = Exercise(
    name="asymmetric_downsample",
    title="The encoder's down block",
    stars=1,
    minutes=6,
    answer=down_right,
    cases=down_cases,
    hints=(
        "Two steps: F.pad, then F.conv2d with stride 2 and no padding of its own.",
        "F.pad counts from the *last* dimension: (left, right, top, bottom).",
        "F.pad(x, (0, 1, 0, 1))",
    ),
    insight="padding=1 gives the same shape, but every result is moved by one pixel of its input. Over the three "
    "downsamples of a VAE that is 1 + 2 + 4 = 7 pixels of the picture. The U-Net's own downsample does pad on "
    "all sides: the two differ only because their checkpoints do.",
    wrong=(
        Wrong(
            "symmetric-padding",
            down_symmetric,
            "You padded on all sides (padding=1), or left and top: with stride 2 that is the same, for the right and "
            "bottom border is never read. The shape fits, but each result looks one pixel further up and left than "
            "the VAE was trained with. F.pad's order is (left, right, top, bottom).",
        ),
        Wrong(
            "right-and-top",
            down_right_and_top,
            "You padded right and *top*. F.pad's order is (left, right, top, bottom): (0, 1, 0, 1).",
        ),
        Wrong(
            "not-padded",
            down_not_padded,
            "Without padding the last row and column get lost: H/2 - 1 rows instead of H/2.",
        ),
        Wrong(
            "width-only",
            down_padded_in_width_only,
            "You padded the width only. F.pad takes two numbers for each dimension, the last dimension first.",
        ),
        Wrong(
            "padded-twice",
            down_padded_twice,
            "You padded by hand, and the convolution pads again. Leave out its padding=1.",
        ),
        Wrong("replicated", down_replicated, "You repeated the border. The reference pads with zeros."),
        Wrong("no-stride", down_without_stride, "The size is not halved: stride=2."),
        Wrong(
            "stride-forgotten",
            down_padded_without_stride,
            "You padded, but the convolution visits every pixel, so the size is not halved: stride=2.",
        ),
        Wrong(
            "neither-padded-nor-halved", down_with_neither, "You neither padded nor halved: F.pad first, then stride=2."
        ),
        Wrong("pooled", down_pooled, "You averaged 2×2 pixels. Here the convolution itself takes every second place."),
        Wrong("no-bias", down_without_bias, "The bias is missing."),
    ),
    right=(down_by_every_second, down_by_layers),
)


# ── The posterior ────────────────────────────────────────────────────────────────────────────────────


def posterior_cases(generator: Generator) -> list[Call]:
    """moments (B, 2C, h, w), some with log-variances far too small or too large, some with large means; a generator."""
    calls = [Call((torch.tensor([[[[1.0, -2.0]], [[-1.0, 0.5]]]]), Seeded(3)))]
    # σ may not fall below e⁻¹⁵ = 3 · 10⁻⁷: beside a mean of 0 that can be seen.
    surest = torch.tensor([0.0, 0.0, -60.0, -60.0]).view(1, 4, 1, 1).expand(1, 4, 4, 4)
    calls.append(Call((surest, Seeded(integer(0, 10**6, generator)))))
    # Means far outside of [-30, 20]: the limits are the log-variance's alone.
    for B, C, h, w, far, top in ((2, 4, 4, 4, 1, 0), (1, 2, 3, 5, 1, 45), (2, 2, 4, 4, 60, 0), (3, 4, 6, 6, 1, 0)):
        moments = torch.randn(B, 2 * C, h, w, generator=generator)
        moments[:, :C] *= far
        moments[:, C:] += top
        calls.append(Call((moments, Seeded(integer(0, 10**6, generator)))))
    return calls


def halves(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and clamped log-variance."""
    mean, logvar = moments.chunk(2, dim=1)
    return mean, logvar.clamp(-30, 20)


def normal_like(mean: Tensor, generator: Generator) -> Tensor:
    """Numbers of a standard normal distribution, drawn where the generator lives."""
    return torch.randn(mean.shape, generator=generator).to(mean)


def sample_right(moments: Tensor, generator: Generator) -> Tensor:
    """μ + exp(½ log σ²) ε."""
    mean, logvar = halves(moments)
    return mean + (0.5 * logvar).exp() * normal_like(mean, generator)


def sample_moments(moments: Tensor, _generator) -> tuple:
    """Mean and standard deviation of the sample."""
    mean, logvar = halves(moments)
    return mean, (0.5 * logvar).exp()


def sample_with_variance(moments, generator):
    mean, logvar = halves(moments)
    return mean + logvar.exp() * normal_like(mean, generator)


def sample_with_logarithm(moments, generator):
    mean, logvar = halves(moments)
    return mean + logvar * normal_like(mean, generator)


def sample_with_half_logarithm(moments, generator):
    mean, logvar = halves(moments)
    return mean + 0.5 * logvar * normal_like(mean, generator)


def sample_with_double(moments, generator):
    mean, logvar = halves(moments)
    return mean + (2 * logvar).exp() * normal_like(mean, generator)


def sample_not_clamped(moments, generator):
    mean, logvar = moments.chunk(2, dim=1)
    return mean + (0.5 * logvar).exp() * normal_like(mean, generator)


def sample_within(low, high):
    """A wrong answer that clamps to other limits."""

    def answer(moments, generator):
        mean, logvar = moments.chunk(2, dim=1)
        return mean + (0.5 * logvar.clamp(low, high)).exp() * normal_like(mean, generator)

    return answer


def sample_of_clamped_moments(moments, generator):
    return sample_right(moments.clamp(-30, 20), generator)


def sample_of_clamped_half(moments, generator):
    mean, logvar = moments.chunk(2, dim=1)
    return mean + (0.5 * logvar).clamp(-30, 20).exp() * normal_like(mean, generator)


def sample_of_clamped_deviation(moments, generator):
    mean, logvar = moments.chunk(2, dim=1)
    return mean + (0.5 * logvar).exp().clamp(-30, 20) * normal_like(mean, generator)


def sample_of_clamped_variance(moments, generator):
    mean, logvar = moments.chunk(2, dim=1)
    return mean + logvar.exp().clamp(-30, 20) ** 0.5 * normal_like(mean, generator)


def sample_swapped(moments, generator):
    mean, logvar = moments.chunk(2, dim=1)
    return sample_right(torch.cat([logvar, mean], 1), generator)


def sample_of_unit_spread(moments, generator):
    mean, _ = halves(moments)
    return mean + normal_like(mean, generator)


def sample_mean_only(moments, generator):
    return halves(moments)[0]


def sample_noise_scaled_mean(moments, generator):
    mean, logvar = halves(moments)
    return (mean + normal_like(mean, generator)) * (0.5 * logvar).exp()


def sample_uniform(moments, generator):
    mean, logvar = halves(moments)
    noise = torch.rand(mean.shape, generator=generator).to(mean)
    return mean + (0.5 * logvar).exp() * noise


def sample_shared(moments, generator):
    mean, logvar = halves(moments)
    return mean + (0.5 * logvar).exp() * normal_like(mean[0], generator)


def sample_global(moments, generator):
    mean, logvar = halves(moments)
    return mean + (0.5 * logvar).exp() * torch.randn_like(mean)


def sample_left_on_cpu(moments, generator):
    mean, logvar = halves(moments)
    return mean + (0.5 * logvar).exp() * torch.randn(mean.shape, generator=generator)


def sample_by_torch(moments, generator):
    mean, logvar = halves(moments)
    return sample_right(moments, generator).detach() + 0 * (mean + logvar)


def sample_spread_cut(moments, generator):
    mean, logvar = halves(moments)
    return mean + (0.5 * logvar).exp().detach() * normal_like(mean, generator)


def sample_by_addcmul(moments, generator):
    C = moments.shape[1] // 2
    std = torch.exp(torch.clamp(moments[:, C:], min=-30.0, max=20.0)) ** 0.5
    return torch.addcmul(moments[:, :C], std, normal_like(std, generator))


def sample_drawn_backwards(moments, generator):
    mean, logvar = halves(moments)
    noise = torch.randn(mean.numel(), generator=generator).flip(0).view(mean.shape).to(mean)
    return mean + (logvar / 2).exp() * noise


def sample_drawn_in_the_dtype(moments, generator):
    mean, logvar = halves(moments)
    noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype).to(mean.device)
    return mean + logvar.exp().sqrt() * noise


POSTERIOR_SAMPLE = Exercise(
    name="posterior_sample",
    title="A draw from the posterior",
    stars=2,
    minutes=10,
    answer=sample_right,
    cases=posterior_cases,
    moments=sample_moments,
    hints=(
        "Cut the channels in two: .chunk(2, dim=1). Clamp the second half.",
        "log σ² = 2 log σ. So what is σ?",
        "mean + exp(0.5 · logvar) · noise, with noise = torch.randn(mean.shape, generator=generator).to(mean).",
    ),
    insight="μ + σ ε is the reparameterisation (Kingma & Welling 2014, § 2.4): the chance sits in ε, outside, so "
    "gradients reach both μ and σ. A network predicts log σ², because that may be any number, while σ must "
    "stay above 0.",
    wrong=(
        Wrong(
            "variance-for-deviation",
            sample_with_variance,
            "You multiplied the noise by exp(logvar), the *variance*. σ = exp(½ logvar): the half is the root.",
        ),
        Wrong(
            "logarithm-for-deviation",
            sample_with_logarithm,
            "You multiplied the noise by the log-variance itself. It may be negative; σ = exp(½ logvar).",
        ),
        Wrong(
            "exp-missing",
            sample_with_half_logarithm,
            "½ logvar is log σ. The exponential is missing: σ = exp(½ logvar).",
        ),
        Wrong("doubled", sample_with_double, "You doubled the log-variance; a root halves a logarithm."),
        Wrong(
            "not-clamped",
            sample_not_clamped,
            "Right but for the clamp: log-variances are kept in [-30, 20], so that exp() can neither overflow nor "
            "vanish.",
        ),
        Wrong(
            "not-clamped-below",
            sample_within(None, 20),
            "You clamped the log-variance from above only. It may not fall below -30 either.",
        ),
        Wrong(
            "not-clamped-above",
            sample_within(-30, None),
            "You clamped the log-variance from below only. It may not rise above 20 either.",
        ),
        Wrong(
            "limits-of-20",
            sample_within(-20, 20),
            "Wrong limits: you clamped the log-variance to [-20, 20]. The lower limit is -30: σ may be as small as "
            "e⁻¹⁵.",
        ),
        Wrong(
            "limits-of-30",
            sample_within(-30, 30),
            "Wrong limits: you clamped the log-variance to [-30, 30]. The upper limit is 20.",
        ),
        Wrong(
            "limits-exchanged",
            sample_within(-20, 30),
            "Wrong limits: you clamped the log-variance to [-20, 30]. It is the other way round: [-30, 20].",
        ),
        Wrong(
            "mean-clamped",
            sample_of_clamped_moments,
            "You clamped the mean as well. The limits are for the log-variance, which goes into exp(); a mean may "
            "be any number. Cut in two first.",
        ),
        Wrong(
            "half-clamped",
            sample_of_clamped_half,
            "You clamped ½ logvar, which is log σ. The limits are for logvar itself: clamp first, then halve.",
        ),
        Wrong(
            "deviation-clamped",
            sample_of_clamped_deviation,
            "You clamped σ, after exp(). The limits are for the log-variance (a σ is never negative): clamp before "
            "exp().",
        ),
        Wrong(
            "variance-clamped",
            sample_of_clamped_variance,
            "You clamped the variance, after exp(). The limits are for its logarithm: clamp before exp().",
        ),
        Wrong("halves-swapped", sample_swapped, "Mean and log-variance are swapped: the first half is the mean."),
        Wrong(
            "unit-noise",
            sample_of_unit_spread,
            "You added noise of variance 1 everywhere. The encoder says how sure it is: multiply by σ.",
        ),
        Wrong("mean-only", sample_mean_only, "That is the mean, the deterministic choice. Here a sample is asked for."),
        Wrong("mean-scaled", sample_noise_scaled_mean, "You multiplied the mean by σ too. Only the noise is scaled."),
        Wrong(
            "uniform-noise",
            sample_uniform,
            "torch.rand draws uniformly between 0 and 1, so it moves the mean too. Use torch.randn.",
        ),
        Wrong("noise-shared", sample_shared),
        Wrong("generator-ignored", sample_global),
        Wrong(
            "not-reparameterised",
            sample_by_torch,
            "The values are right, but no gradient reaches the moments, so the encoder cannot learn: torch.normal, "
            "detach() or no_grad() cut it. Write mean + std * noise.",
        ),
        Wrong(
            "noise-on-the-wrong-device",
            sample_left_on_cpu,
            "This breaks on a GPU. The generator lives on the CPU, so draw the noise there, and then move it: "
            ".to(mean).",
        ),
        Wrong("gradient-wrong", sample_spread_cut),
    ),
    right=(sample_by_addcmul, sample_drawn_backwards, sample_drawn_in_the_dtype),
)


# ── KL ───────────────────────────────────────────────────────────────────────────────────────────────


def kl_cases(generator: Generator) -> list[Call]:
    """mean and log-variance."""
    calls = [Call((torch.tensor([[[[1.0, -2.0]]]]), torch.tensor([[[[0.0, -1.0]]]])))]
    for shape in ((2, 4, 4, 4), (1, 2, 3, 5), (3, 4, 6, 6)):
        calls.append(Call(tuple(torch.randn(shape, generator=generator) for _ in range(2))))
    return calls


def kl_right(mean: Tensor, logvar: Tensor) -> Tensor:
    """½ Σ (μ² + σ² - 1 - log σ²) for each image."""
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).flatten(1).sum(1)


def kl_averaged(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).flatten(1).mean(1)


def kl_of_the_batch(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum()


def kl_elementwise(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar)


def kl_without_half(mean, logvar):
    return 2 * kl_right(mean, logvar)


def kl_negated(mean, logvar):
    return -kl_right(mean, logvar)


def kl_without_one(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - logvar).flatten(1).sum(1)


def kl_without_exp(mean, logvar):
    return 0.5 * (mean**2 - 1 + 0 * logvar).flatten(1).sum(1)


def kl_with_deviation(mean, logvar):
    return 0.5 * (mean**2 + (0.5 * logvar).exp() - 1 - logvar).flatten(1).sum(1)


def kl_with_log_of_deviation(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1 - 0.5 * logvar).flatten(1).sum(1)


def kl_with_doubled_logarithm(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1 - 2 * logvar).flatten(1).sum(1)


def kl_with_logarithm_added(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1 + logvar).flatten(1).sum(1)


def kl_with_squared_variance(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() ** 2 - 1 - logvar).flatten(1).sum(1)


def kl_with_logarithm_of_logarithm(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar.log()).flatten(1).sum(1)


def kl_logvar_as_variance(mean, logvar):
    return 0.5 * (mean**2 + logvar - 1 - logvar.abs().log()).flatten(1).sum(1)


def kl_logvar_as_deviation(mean, logvar):
    return 0.5 * (mean**2 + logvar**2 - 1 - (logvar**2).log()).flatten(1).sum(1)


def kl_mean_not_squared(mean, logvar):
    return 0.5 * (mean + logvar.exp() - 1 - logvar).flatten(1).sum(1)


def kl_backwards(mean, logvar):
    return 0.5 * ((mean**2 + 1) / logvar.exp() - 1 + logvar).flatten(1).sum(1)


def kl_by_library(mean, logvar):
    q = torch.distributions.Normal(mean, (0.5 * logvar).exp(), validate_args=False)
    p = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean), validate_args=False)
    return torch.distributions.kl_divergence(q, p).sum((1, 2, 3))


def kl_by_image(mean, logvar):
    return torch.stack([-0.5 * torch.sum(1 + s - m.pow(2) - s.exp()) for m, s in zip(mean, logvar)])


KL = Exercise(
    name="kl",
    title="How far from a standard normal?",
    stars=2,
    minutes=8,
    answer=kl_right,
    cases=kl_cases,
    hints=(
        "σ² = exp(logvar), and log σ² is logvar itself.",
        "First ½ (μ² + σ² - 1 - log σ²) for each number of the latent.",
        "Then the sum over all dimensions but the batch: .flatten(1).sum(1)",
    ),
    insight="It is 0 exactly where μ = 0 and σ = 1. Stable Diffusion weighs it with only 10⁻⁶: enough to keep the "
    "latent from growing without bound, too little to give it variance 1. That is why a scale is needed "
    "afterwards.",
    wrong=(
        Wrong(
            "averaged",
            kl_averaged,
            "You averaged over the latent. Independent numbers' divergences add up: the sum is the KL of the image; "
            "a mean changes its weight with the size of the latent.",
        ),
        Wrong(
            "one-for-the-batch",
            kl_of_the_batch,
            "You return one number for the whole batch. Sum over each image's latent only: (B,).",
        ),
        Wrong("not-summed", kl_elementwise, "These are the parts; sum them over each image's latent."),
        Wrong("half-missing", kl_without_half, "The ½ is missing."),
        Wrong(
            "sign",
            kl_negated,
            "The sign is turned round: a divergence is never below 0. (The bound of the papers has -KL in it.)",
        ),
        Wrong("one-missing", kl_without_one, "The -1 is missing: for μ = 0, σ = 1 it must be 0."),
        Wrong(
            "exp-missing",
            kl_without_exp,
            "You took logvar for σ², so it cancels and the spread no longer matters. σ² = exp(logvar).",
        ),
        Wrong(
            "deviation-for-variance", kl_with_deviation, "exp(½ logvar) is σ. The formula has σ², which is exp(logvar)."
        ),
        Wrong(
            "log-of-deviation",
            kl_with_log_of_deviation,
            "½ logvar is log σ. The formula has log σ², which is logvar itself.",
        ),
        Wrong(
            "logarithm-doubled",
            kl_with_doubled_logarithm,
            "You doubled logvar. It is log σ² already, the 2 is inside: it is 2 log σ.",
        ),
        Wrong(
            "logarithm-added",
            kl_with_logarithm_added,
            "You added the log-variance; it is subtracted. With + the result falls below 0 for a small spread, and a "
            "divergence never does.",
        ),
        Wrong(
            "variance-squared",
            kl_with_squared_variance,
            "You squared exp(logvar). That is σ² already; its square is σ⁴.",
        ),
        Wrong(
            "logarithm-of-logarithm",
            kl_with_logarithm_of_logarithm,
            "Your result is NaN: a negative number has no logarithm (and no root). logvar *is* log σ², and negative "
            "wherever σ < 1: take it as it is.",
        ),
        Wrong(
            "variance-for-logarithm",
            kl_logvar_as_variance,
            "You treated the second input as σ² and took its logarithm. It *is* the logarithm.",
        ),
        Wrong(
            "logarithm-for-deviation",
            kl_logvar_as_deviation,
            "You took logvar for σ. It is log σ²: so σ² is exp(logvar), and log σ² is logvar itself.",
        ),
        Wrong("mean-not-squared", kl_mean_not_squared, "The mean is not squared: a negative mean is as far off."),
        Wrong(
            "directions-swapped",
            kl_backwards,
            "That is KL(N(0, 1) ‖ q), the other direction. Asked for is KL(q ‖ N(0, 1)): the two differ.",
        ),
    ),
    right=(kl_by_library, kl_by_image),
)


# ── The scale ────────────────────────────────────────────────────────────────────────────────────────


def latent_cases(generator: Generator) -> list[Call]:
    """(B, C, h, w) with a mean, and spreads that differ from channel to channel and from image to image."""
    calls = []
    for B, C, h, w in ((2, 4, 4, 4), (3, 4, 6, 5), (5, 4, 8, 8)):
        size = 1 + 5 * torch.rand(1, C, 1, 1, generator=generator)
        shift = 1.5 + 2 * torch.arange(B).view(B, 1, 1, 1) + torch.rand(1, C, 1, 1, generator=generator)
        calls.append(Call((size * torch.randn(B, C, h, w, generator=generator) + shift,)))
    return calls


def scale_right(latents: Tensor) -> float:
    """1 / standard deviation of all numbers."""
    return 1 / latents.std().item()


def scale_is_deviation(latents):
    return latents.std().item()


def scale_by_variance(latents):
    return 1 / latents.var().item()


def scale_by_root_mean_square(latents):
    return 1 / latents.square().mean().sqrt().item()


def scale_by_channel(latents):
    return 1 / latents.std(dim=(0, 2, 3), keepdim=True)


def scale_by_channel_in_a_row(latents):
    return 1 / latents.std(dim=(0, 2, 3))


def scale_applied(latents):
    return latents / latents.std()


def scale_of_stable_diffusion(latents):
    return 0.18215


def scale_by_image(latents):
    return 1 / latents.std(dim=(1, 2, 3)).mean().item()


def scale_by_largest(latents):
    return 1 / latents.abs().max().item()


def scale_by_range(latents):
    return 2 / (latents.max() - latents.min()).item()


def scale_of_first(latents):
    return 1 / latents[0].std().item()


def scale_as_tensor(latents):
    return latents.flatten().var() ** -0.5


def scale_by_sums(latents):
    numbers = latents.double().flatten()
    return (numbers.pow(2).mean() - numbers.mean() ** 2).rsqrt().item()


SCALE = Exercise(
    name="scale_factor",
    title="Where 0.18215 comes from",
    stars=1,
    minutes=5,
    answer=scale_right,
    cases=latent_cases,
    tolerance=0.01,
    hints=(
        "By what must numbers of standard deviation s be multiplied to have standard deviation 1?",
        "One number for all: the standard deviation over batch, channels and pixels together.",
        "1 / latents.std()",
    ),
    insight="0.18215 means that Stable Diffusion's raw latents had a standard deviation of about 5.5. The noise "
    "schedule is made for variance 1: with raw latents, the signal would drown much later than the schedule "
    "says. It is one number: it neither centres nor decorrelates.",
    wrong=(
        Wrong("deviation-itself", scale_is_deviation, "That is the standard deviation s. The scale is 1/s."),
        Wrong("by-variance", scale_by_variance, "You divided by the variance; numbers scale with its root."),
        Wrong(
            "mean-not-removed",
            scale_by_root_mean_square,
            "You took the root of the mean square, which counts the mean too. 0.18215 is 1 / standard deviation.",
        ),
        Wrong(
            "per-channel",
            scale_by_channel,
            "You made one scale for each channel. It would be better whitening, but Stable Diffusion has a single "
            "number for all.",
        ),
        Wrong(
            "per-channel-in-a-row",
            scale_by_channel_in_a_row,
            "You made one scale for each channel. One number is asked for: the standard deviation over all of them.",
        ),
        Wrong(
            "applied", scale_applied, "These are the latents, scaled already. Return the number they are multiplied by."
        ),
        Wrong(
            "copied",
            scale_of_stable_diffusion,
            "0.18215 belongs to the latents of Stable Diffusion's VAE. Measure the latents that are given.",
        ),
        Wrong(
            "per-image",
            scale_by_image,
            "You averaged the standard deviations of the single images: how much images differ from each other is "
            "then left out.",
        ),
        Wrong("by-largest", scale_by_largest, "You scaled the largest number to 1. It is the *spread* that must be 1."),
        Wrong(
            "to-a-range",
            scale_by_range,
            "You scaled the whole range to a width of 2, as for pixels. The standard deviation must become 1.",
        ),
        Wrong("first-image-only", scale_of_first, "You measured the first image only; it does not speak for all."),
    ),
    right=(scale_as_tensor, scale_by_sums),
)


# ── Predict, then explain ────────────────────────────────────────────────────────────────────────────


def one_number(generator: Generator) -> list[Call]:
    """Nothing to try it on: the answer is a number."""
    return [Call(())]


SLIP = Exercise(
    name="slip_in_percent",
    title="Predict: a slip in the scale",
    stars=1,
    minutes=6,
    answer=lambda: 100 * (0.18215 / 0.18125 - 1),
    cases=one_number,
    tolerance=0.05,
    hints=(
        "Encoding multiplies by 0.18215, decoding divides by 0.18125. What is left of a latent of 1?",
        "0.18215 / 0.18125 = 1.00497",
        "In percent: 100 · (1.00497 - 1).",
    ),
    insight="0.5 % too large, in every picture: less than anyone sees, which is why such a slip lives long. Leave the "
    "scale out in one place only, and the decoder gets latents 5.49 times too small or too large: that shows "
    "at once. A constant that is used both ways belongs in one place.",
    wrong=(
        Wrong(
            "too-small",
            lambda: 100 * (0.18125 / 0.18215 - 1),
            "The size is right, the direction is not: dividing by the *smaller* number makes the result larger.",
        ),
        Wrong("fraction", lambda: 0.18215 / 0.18125 - 1, "That is the fraction; in percent it is 100 times as much."),
        Wrong("factor", lambda: 0.18215 / 0.18125, "That is the factor. How many percent is it above 1?"),
        Wrong(
            "difference",
            lambda: 100 * (0.18215 - 0.18125),
            "You subtracted the two scales. What matters is their ratio: the latent is multiplied and divided.",
        ),
        Wrong(
            "difference-itself",
            lambda: 0.18215 - 0.18125,
            "You subtracted the two scales. What matters is their ratio, in percent.",
        ),
        Wrong("ten-times", lambda: 1000 * (0.18215 / 0.18125 - 1), "Ten times too much: a decimal place slipped."),
    ),
    right=(lambda: 0.5, lambda: (0.18215 - 0.18125) / 0.18125 * 100),
)


EXERCISES = (IMAGE_TO_SIGNED, SIGNED_TO_IMAGE, DOWNSAMPLE, POSTERIOR_SAMPLE, KL, SCALE, SLIP)
