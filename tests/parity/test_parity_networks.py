"""The networks against those of diffusers: the same random weights and inputs, the same outputs and gradients."""

import random

import diffusers
import pytest
import small_pipelines as sd
import torch
from torch import nn

from tinyldm import VAE as TinyVAE
from tinyldm import LatentDiffusion, UNet, UNetConfig, VAEConfig, versions
from tinyldm.clip import TextTransformer
from tinyldm.conditioning import TextEncoder, size_embedding
from tinyldm.formats.diffusers_unet import DIFFUSERS_UNET, load_unet, unet_config_to_diffusers
from tinyldm.formats.diffusers_vae import DIFFUSERS_VAE, load_vae, vae_config_to_diffusers
from tinyldm.formats.text_encoders import load_text_encoder
from tinyldm.formats.tokenizers import load_tokenizer
from tinyldm.formats.weights import load_weights, rename, rename_all
from tinyldm.spatial_transformer import Attention
from tinyldm.vae import DiagonalGaussian

TOLERANCE = 1e-5  # of one forward pass in float32; the order of summation is all that differs


def unet_inputs(config: dict, batch: int = 3, height: int = 16, width: int = 8) -> dict:
    generator = torch.Generator().manual_seed(7)
    inputs = {
        "z_t": torch.randn(batch, config["in_channels"], height, width, generator=generator),
        "t": torch.randint(0, 1000, (batch,), generator=generator),
        "context": torch.randn(batch, 77, config["cross_attention_dim"], generator=generator),
    }
    if "projection_class_embeddings_input_dim" in config:
        inputs["pooled"] = torch.randn(batch, 24, generator=generator)
        inputs["sizes"] = torch.randint(0, 1024, (batch, 6), generator=generator)
    return inputs


def run_both(ours: UNet, theirs: diffusers.UNet2DConditionModel, inputs: dict) -> tuple[torch.Tensor, torch.Tensor]:
    z_t, t, context = inputs["z_t"], inputs["t"], inputs["context"]
    if "pooled" in inputs:
        added = size_embedding(inputs["pooled"], inputs["sizes"])
        conditions = {"text_embeds": inputs["pooled"], "time_ids": inputs["sizes"]}
        return ours(z_t, t, context, added), theirs(z_t, t, context, added_cond_kwargs=conditions).sample
    return ours(z_t, t, context), theirs(z_t, t, context).sample


def assert_same_gradients(ours: nn.Module, theirs: nn.Module, table: list) -> None:
    gradients = {rename(name, table): parameter.grad for name, parameter in theirs.named_parameters()}
    # Some gradients are zero but for rounding: of a key's bias, which softmax does not see, and of a bias before
    # a GroupNorm with one channel a group. Hence the second term.
    rounding = 1e-6 * max(gradient.abs().max().item() for gradient in gradients.values())
    for name, parameter in ours.named_parameters():
        expected = gradients.pop(name).reshape(parameter.shape)
        difference = (parameter.grad - expected).abs().max().item()
        assert difference <= 1e-3 * expected.abs().max().item() + rounding, name
    assert not gradients


# ── U-Net ────────────────────────────────────────────────────────────────────────────────────────────

UNETS = {
    "SD1": sd.UNET,
    "SD2": sd.UNET_SD2,
    "SD2.1": sd.UNET_SD21,
    "XL": sd.UNET_XL,
    "inpainting": {**sd.UNET, "in_channels": 9},
}


@pytest.mark.parametrize("name", UNETS)
def test_unet(name, tmp_path):
    theirs = sd.make_unet(UNETS[name])
    theirs.save_pretrained(tmp_path)
    ours = load_unet(tmp_path)
    a, b = run_both(ours, theirs, unet_inputs(UNETS[name]))
    assert sd.relative(a, b) < TOLERANCE


@pytest.mark.parametrize("name", ["SD1", "XL"])
def test_unet_gradients(name, tmp_path):
    theirs = sd.make_unet(UNETS[name])
    theirs.save_pretrained(tmp_path)
    ours = load_unet(tmp_path)
    inputs = unet_inputs(UNETS[name])
    target = torch.randn_like(inputs["z_t"])
    for prediction in run_both(ours, theirs, inputs):
        (prediction - target).square().mean().backward()
    assert_same_gradients(ours, theirs, DIFFUSERS_UNET)


@pytest.mark.parametrize("seed", range(8))
def test_unet_of_any_configuration(seed):
    """Widths, depths, heads, odd batches and sizes that are not square, drawn at random."""
    draw = random.Random(seed)
    levels, groups = draw.randint(2, 4), draw.choice([4, 8])
    heads = [draw.choice([1, 2, 4]) for _ in range(levels)]
    middle = draw.randint(1, 2)
    depth = [draw.randint(0, 2) for _ in range(levels - 1)] + [draw.choice([0, middle])]
    config = UNetConfig(
        in_channels=draw.choice([3, 4, 9]),
        out_channels=draw.choice([3, 4]),
        channels=tuple(8 * draw.randint(1, 4) for _ in range(levels)),
        blocks_per_level=draw.randint(1, 3),
        transformer_depth=tuple(depth),
        middle_depth=middle,
        heads=tuple(heads),
        context_dim=draw.choice([12, 32]),
        groups=groups,
        added_dim=draw.choice([None, 24 + 6 * 256]),
    )
    described = unet_config_to_diffusers(config, 8)
    theirs = sd.shaken(diffusers.UNet2DConditionModel.from_config(described), seed)
    with torch.device("meta"):
        ours = UNet(config)
    load_weights(ours, rename_all(theirs.state_dict(), lambda key: rename(key, DIFFUSERS_UNET)), "diffusers")
    a, b = run_both(ours, theirs, unet_inputs(described, draw.choice([1, 3]), draw.randint(1, 24), draw.randint(1, 24)))
    assert sd.relative(a, b) < TOLERANCE, config


@pytest.mark.parametrize("size", [(40, 24), (36, 28), (9, 15), (1, 2)])
def test_latents_that_are_not_square(size, tmp_path):
    """40×24, as a portrait of 320×192 pixels has; and sides that are odd at some level, where up is not twice down."""
    theirs = sd.make_unet()
    theirs.save_pretrained(tmp_path)
    a, b = run_both(load_unet(tmp_path), theirs, unet_inputs(sd.UNET, batch=1, height=size[0], width=size[1]))
    assert sd.relative(a, b) < TOLERANCE


def test_attention_is_float32_where_the_configuration_says_so(tmp_path, monkeypatch):
    """Stable Diffusion 2.1's scores exceed what float16 can hold."""
    sd.make_unet(sd.UNET_SD21).save_pretrained(tmp_path)
    ours = load_unet(tmp_path).half()
    assert all(module.upcast for module in ours.modules() if isinstance(module, Attention))
    seen, attention = set(), torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        "torch.nn.functional.scaled_dot_product_attention", lambda q, k, v: (seen.add(q.dtype), attention(q, k, v))[1]
    )
    inputs = {name: x.half() if x.is_floating_point() else x for name, x in unet_inputs(sd.UNET_SD21).items()}
    prediction = ours(**inputs)
    assert seen == {torch.float32} and prediction.dtype == torch.float16 and prediction.isfinite().all()


# ── VAE ──────────────────────────────────────────────────────────────────────────────────────────────


def test_vae(tmp_path):
    theirs = sd.make_vae()
    theirs.save_pretrained(tmp_path)
    ours = load_vae(tmp_path)
    image = torch.rand(2, 3, 64, 48) * 2 - 1
    posterior = theirs.encode(image).latent_dist
    assert sd.relative(ours.posterior(image).mean, posterior.mean) < TOLERANCE
    assert sd.relative(ours.posterior(image).logvar, posterior.logvar) < TOLERANCE
    draws = [[torch.Generator().manual_seed(seed) for seed in range(len(image))] for _ in range(2)]
    sample = posterior.sample(draws[0]) * theirs.config.scaling_factor
    assert sd.relative(ours.encode(image, draws[1]), sample) < TOLERANCE
    assert sd.relative(ours.encode(image), posterior.mode() * theirs.config.scaling_factor) < TOLERANCE
    z0 = torch.randn(2, 4, 8, 6)
    assert sd.relative(ours.decode(z0), theirs.decode(z0 / theirs.config.scaling_factor).sample) < TOLERANCE
    moments = 40 * torch.randn(2, 8, 4, 4)  # far outside the clamp of the log-variance
    a, b = DiagonalGaussian(moments), diffusers.models.autoencoders.vae.DiagonalGaussianDistribution(moments)
    assert torch.equal(a.std, b.std) and sd.relative(a.kl(), b.kl()) < TOLERANCE


def test_vae_gradients(tmp_path):
    theirs = sd.make_vae()
    theirs.save_pretrained(tmp_path)
    ours = load_vae(tmp_path)
    image = torch.rand(1, 3, 64, 48) * 2 - 1
    for vae, encode in (
        (ours, lambda x: ours.posterior(x).mean * 0.18215),
        (theirs, lambda x: theirs.encode(x).latent_dist.mean * 0.18215),
    ):
        decoded = vae.decode(encode(image)) if vae is ours else vae.decode(encode(image) / 0.18215).sample
        (decoded - image).square().mean().backward()
    assert_same_gradients(ours, theirs, DIFFUSERS_VAE)


@pytest.mark.parametrize("seed", range(4))
def test_vae_of_any_configuration(seed):
    draw = random.Random(seed)
    config = VAEConfig(
        image_channels=draw.choice([1, 3]),
        latent_channels=draw.choice([3, 4, 16]),
        channels=tuple(8 * draw.randint(1, 4) for _ in range(draw.randint(2, 4))),
        blocks_per_level=draw.randint(1, 3),
        groups=draw.choice([4, 8]),
        scale=0.3,
    )
    theirs = sd.shaken(diffusers.AutoencoderKL.from_config(vae_config_to_diffusers(config, 64)), seed)
    with torch.device("meta"):
        ours = TinyVAE(config)
    load_weights(ours, rename_all(theirs.state_dict(), lambda key: rename(key, DIFFUSERS_VAE)), "diffusers")
    size = config.factor * draw.randint(2, 4), config.factor * draw.randint(2, 4)
    image = torch.rand(3, config.image_channels, *size) * 2 - 1
    assert sd.relative(ours.posterior(image).mean, theirs.encode(image).latent_dist.mean) < TOLERANCE
    z0 = torch.randn(3, config.latent_channels, 4, 3)
    assert sd.relative(ours.decode(z0), theirs.decode(z0 / 0.3).sample) < TOLERANCE


# ── Text ─────────────────────────────────────────────────────────────────────────────────────────────

CAPTIONS = ["a red astronaut riding a horse", "", "blurry!", "a " * 100]


@pytest.mark.parametrize("act, pad", [("quick_gelu", "<|endoftext|>"), ("gelu", "!")], ids=["SD1", "SD2"])
@pytest.mark.filterwarnings("ignore:only the first 75 pieces")
def test_text_context(act, pad, tmp_path):
    pipe = sd.pipeline(act=act, pad=pad)
    sd.saved(pipe, tmp_path)
    ours = TextEncoder(load_text_encoder(tmp_path / "text_encoder"), load_tokenizer(tmp_path / "tokenizer"))
    with torch.no_grad():
        theirs, _ = pipe.encode_prompt(CAPTIONS, "cpu", 1, False)
        assert sd.relative(ours.encode(CAPTIONS).context, theirs) < 1e-6


@pytest.mark.filterwarnings("ignore:only the first 75 pieces")
def test_text_context_of_xl(tmp_path):
    pipe = sd.pipeline_xl()
    ours = LatentDiffusion.from_pretrained(sd.saved(pipe, tmp_path)).text_encoder
    with torch.no_grad():
        context, _, pooled, _ = pipe.encode_prompt(CAPTIONS, device="cpu", do_classifier_free_guidance=False)
        encoding = ours.encode(CAPTIONS)
    assert sd.relative(encoding.context, context) < 1e-6 and sd.relative(encoding.pooled, pooled) < 1e-6


# ── Full size ────────────────────────────────────────────────────────────────────────────────────────

SIZES = {  # of the published checkpoints
    "SD1": (versions.SD1, 859_520_964, [123_060_480]),
    "SD2": (versions.SD2, 865_910_724, [340_387_840]),
    "SD2_V": (versions.SD2_V, 865_910_724, [340_387_840]),
    "SDXL": (versions.SDXL, 2_567_463_684, [123_060_480, 694_659_840]),
}


@pytest.mark.parametrize("name", SIZES)
def test_published_sizes(name):
    version, unet_size, text_sizes = SIZES[name]
    with torch.device("meta"):
        unet, vae = UNet(version.unet), TinyVAE(version.vae)
        text = [TextTransformer(sizes, projects) for sizes, projects in zip(version.text, (False, True))]
    count = [sum(p.numel() for p in part.parameters()) for part in (unet, vae, *text)]
    assert count == [unet_size, 83_653_863, *text_sizes]


@pytest.mark.slow
def test_sd1_at_full_width(tmp_path):
    """A latent of 32×24, so that it takes a minute rather than ten."""
    with torch.device("meta"):
        ours = UNet(versions.SD1.unet)
    theirs = diffusers.UNet2DConditionModel.from_config(unet_config_to_diffusers(versions.SD1.unet, 64)).eval()
    load_weights(ours, rename_all(theirs.state_dict(), lambda key: rename(key, DIFFUSERS_UNET)), "diffusers")
    with torch.no_grad():
        a, b = run_both(ours, theirs, unet_inputs({"in_channels": 4, "cross_attention_dim": 768}, 2, 32, 24))
    assert sd.relative(a, b) < TOLERANCE
    del ours, theirs

    with torch.device("meta"):
        vae = TinyVAE(versions.SD1.vae)
    theirs = diffusers.AutoencoderKL.from_config(vae_config_to_diffusers(versions.SD1.vae, 512)).eval()
    load_weights(vae, rename_all(theirs.state_dict(), lambda key: rename(key, DIFFUSERS_VAE)), "diffusers")
    image = torch.rand(1, 3, 256, 192) * 2 - 1
    with torch.no_grad():
        assert sd.relative(vae.posterior(image).mean, theirs.encode(image).latent_dist.mean) < TOLERANCE
        z0 = vae.encode(image)
        # Sums of up to 4,608 products, whose order depends on memory layout and threads: measured 1.1e-5 on one thread.
        assert sd.relative(vae.decode(z0), theirs.decode(z0 / 0.18215).sample) < 3 * TOLERANCE
