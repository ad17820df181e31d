"""The networks' parts against references that share no code with them, and the networks as wholes."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tinyldm.conditioning import ClassEncoder, tokenize
from tinyldm.resblock import Downsample, ResBlock, Upsample, timestep_embedding
from tinyldm.spatial_transformer import Attention, SpatialTransformer
from tinyldm.trace import attention_probabilities, capture_attention
from tinyldm.unet import UNet, UNetConfig
from tinyldm.vae import VAE, AsymmetricDownsample, DiagonalGaussian, PixelAttention, VAEConfig

SMALL_VAE = VAEConfig(channels=(8, 16, 16, 16), blocks_per_level=1, groups=4)
SMALL_UNET = UNetConfig(
    channels=(16, 32), blocks_per_level=1, transformer_depth=(1, 0), heads=(2, 4), context_dim=24, groups=8
)

# Levels, widths, depths, heads and groups that no checkpoint has.
UNETS = [
    UNetConfig(channels=(8,), blocks_per_level=1, transformer_depth=(1,), heads=(1,), context_dim=8, groups=1),
    UNetConfig(
        channels=(8, 24, 16),
        blocks_per_level=2,
        transformer_depth=(0, 2, 1),
        middle_depth=3,
        heads=(1, 3, 4),
        context_dim=10,
        groups=8,
    ),
    UNetConfig(
        channels=(12, 6, 18, 6),
        blocks_per_level=1,
        transformer_depth=(2, 0, 0, 1),
        heads=(4, 1, 3, 2),
        context_dim=5,
        groups=3,
        in_channels=9,
        out_channels=3,
    ),
    UNetConfig(
        channels=(16, 16),
        blocks_per_level=3,
        transformer_depth=(0, 0),
        heads=(2, 2),
        context_dim=7,
        groups=4,
        added_dim=11,
    ),
]


def inputs(config: UNetConfig, batch=3, size=(16, 8), dtype=torch.float32):
    """z_t, t, context and added for a U-Net."""
    z_t = torch.randn(batch, config.in_channels, *size, dtype=dtype)
    added = None if config.added_dim is None else torch.randn(batch, config.added_dim, dtype=dtype)
    return z_t, torch.randint(1000, (batch,)), torch.randn(batch, 6, config.context_dim, dtype=dtype), added


# ── ResBlock and its neighbours ──────────────────────────────────────────────────────────────────────


def group_norm_by_hand(x, groups, eps, weight=None, bias=None):
    B, C, H, W = x.shape
    grouped = x.reshape(B, groups, -1)
    centred = grouped - grouped.mean(-1, keepdim=True)
    normal = (centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()).reshape(B, C, H, W)
    return normal if weight is None else normal * weight.view(1, C, 1, 1) + bias.view(1, C, 1, 1)


@pytest.mark.parametrize("channels", [(8, 8), (8, 12), (12, 8)])
@pytest.mark.parametrize("t_emb_dim", [None, 10])
def test_resblock_and_its_gradients_by_hand(channels, t_emb_dim):
    block = ResBlock(*channels, t_emb_dim, groups=4, eps=1e-3).double()  # a large eps, to see that it is used
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)  # GroupNorm starts with weights of 1 and biases of 0, which hide mistakes
    x = torch.randn(3, channels[0], 5, 7, dtype=torch.float64, requires_grad=True)
    t_emb = None if t_emb_dim is None else torch.randn(3, t_emb_dim, dtype=torch.float64, requires_grad=True)

    def silu(v):
        return v / (1 + torch.exp(-v))

    def norm(v, layer):
        return group_norm_by_hand(v, 4, 1e-3, layer.weight, layer.bias)

    h = F.conv2d(silu(norm(x, block.norm1)), block.conv1.weight, block.conv1.bias, padding=1)
    if t_emb is not None:
        h = h + (silu(t_emb) @ block.time_proj.weight.T + block.time_proj.bias).reshape(3, -1, 1, 1)
    h = F.conv2d(silu(norm(h, block.norm2)), block.conv2.weight, block.conv2.bias, padding=1)
    if channels[0] != channels[1]:
        across = torch.einsum("oc,bchw->bohw", block.shortcut.weight[:, :, 0, 0], x)
        h = h + across + block.shortcut.bias.view(1, -1, 1, 1)
    else:
        h = h + x
    out = block(x, t_emb)
    assert torch.allclose(out, h, atol=1e-12)

    wanted = [x, *block.parameters()] + ([] if t_emb is None else [t_emb])
    direction = torch.randn_like(out)
    for got, expected in zip(torch.autograd.grad(out, wanted, direction), torch.autograd.grad(h, wanted, direction)):
        assert torch.allclose(got, expected, atol=1e-10)


def test_timestep_embedding_closed_form():
    t = torch.tensor([0.0, 1.0, 250.5, 999.0])
    expected = [[wave(ti / 10_000 ** (i / 5)) for wave in (math.cos, math.sin) for i in range(5)] for ti in t.tolist()]
    # float32 angles up to 999 are right to 6e-5.
    assert torch.allclose(timestep_embedding(t, 10), torch.tensor(expected), atol=2e-4)
    assert timestep_embedding(t.long(), 10)[3].equal(timestep_embedding(t, 10)[3])
    assert timestep_embedding(t, 10, max_period=100.0)[1, 4] == torch.cos(torch.tensor(100.0**-0.8))


def test_timestep_embedding_is_float32_whatever_t_is():
    """In half precision t = 2049 would be t = 2048, and a fraction of a step would vanish."""
    assert timestep_embedding(torch.tensor([7], dtype=torch.float16), 8).dtype == torch.float32
    assert timestep_embedding(torch.tensor([7.0], dtype=torch.float64), 8).dtype == torch.float32


def test_vae_downsample_pads_right_and_bottom_only():
    layer, x = AsymmetricDownsample(2), torch.randn(1, 2, 4, 6)
    padded = torch.zeros(1, 2, 5, 7)
    padded[:, :, :4, :6] = x
    expected = torch.zeros(1, 2, 2, 3)
    for i in range(2):
        for j in range(3):
            window = padded[0, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            expected[0, :, i, j] = (layer.conv.weight * window).sum((1, 2, 3)) + layer.conv.bias
    assert torch.allclose(layer(x), expected, atol=1e-6)


def test_unet_downsample_pads_all_sides():
    layer, x = Downsample(2), torch.randn(1, 2, 4, 6)
    assert layer(x).shape == (1, 2, 2, 3)
    # At the top left corner the kernel's first row and column lie on padding.
    corner = (layer.conv.weight[:, :, 1:, 1:] * x[0, :, :2, :2]).sum((1, 2, 3)) + layer.conv.bias
    assert torch.allclose(layer(x)[0, :, 0, 0], corner, atol=1e-6)


def test_upsample_repeats_pixels_then_smooths():
    layer, x = Upsample(2), torch.randn(1, 2, 3, 4)
    repeated = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.allclose(layer(x), F.conv2d(repeated, layer.conv.weight, layer.conv.bias, padding=1), atol=1e-6)


# ── Attention ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_equals_torchs_own_module(heads):
    ours = Attention(16, 10, heads).double()
    reference = nn.MultiheadAttention(16, heads, bias=True, kdim=10, vdim=10, batch_first=True).double()
    with torch.no_grad():
        reference.q_proj_weight.copy_(ours.to_q.weight)
        reference.k_proj_weight.copy_(ours.to_k.weight)
        reference.v_proj_weight.copy_(ours.to_v.weight)
        reference.in_proj_bias.zero_()
        reference.out_proj.load_state_dict(ours.to_out.state_dict())
    x = torch.randn(3, 7, 16, dtype=torch.float64, requires_grad=True)
    context = torch.randn(3, 5, 10, dtype=torch.float64, requires_grad=True)
    got = ours(x, context)
    expected, weights = reference(x, context, context, average_attn_weights=False)
    assert torch.allclose(got, expected, atol=1e-12)
    assert torch.allclose(attention_probabilities(ours, x, context), weights, atol=1e-12)
    direction = torch.randn_like(got)
    for a, b in zip(
        torch.autograd.grad(got, [x, context], direction), torch.autograd.grad(expected, [x, context], direction)
    ):
        assert torch.allclose(a, b, atol=1e-11)


def test_attention_by_hand():
    """Two heads of three numbers each, with einsum and a softmax written out."""
    attention, x, context = Attention(6, 4, 2), torch.randn(2, 5, 6), torch.randn(2, 3, 4)
    q = (x @ attention.to_q.weight.T).reshape(2, 5, 2, 3)
    k = (context @ attention.to_k.weight.T).reshape(2, 3, 2, 3)
    v = (context @ attention.to_v.weight.T).reshape(2, 3, 2, 3)
    scores = torch.einsum("bnhd,blhd->bhnl", q, k) / math.sqrt(3)
    weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
    mixed = torch.einsum("bhnl,blhd->bnhd", weights, v).reshape(2, 5, 6)
    assert torch.allclose(attention(x, context), attention.to_out(mixed), atol=1e-6)


def test_pixel_attention_by_hand():
    """The VAE's: one head of width C, scale C^-½, biases everywhere, and the input added."""
    attention, x = PixelAttention(8, groups=2), torch.randn(2, 8, 3, 4)
    pixels = group_norm_by_hand(x, 2, 1e-6).reshape(2, 8, 12).transpose(1, 2)
    q, k, v = attention.to_q(pixels), attention.to_k(pixels), attention.to_v(pixels)
    mixed = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(8), -1) @ v
    expected = x + attention.to_out(mixed).transpose(1, 2).reshape(2, 8, 3, 4)
    assert torch.allclose(attention(x), expected, atol=1e-5)
    assert all(layer.bias is not None for layer in (attention.to_q, attention.to_k, attention.to_v))


def test_which_projections_have_biases():
    """The U-Net's queries, keys and values have none; its output has one."""
    attention = Attention(8, 8, 2)
    assert attention.to_q.bias is attention.to_k.bias is attention.to_v.bias is None
    assert attention.to_out.bias is not None


def test_captured_probabilities_reproduce_the_output():
    unet = UNet(SMALL_UNET).eval()
    args = inputs(SMALL_UNET, batch=2, size=(8, 8))
    plain = unet(*args)
    seen = {}
    for name, module in unet.named_modules():
        if isinstance(module, Attention):
            module.register_forward_hook(lambda *call, name=name: seen.update({name: call}))
    with capture_attention(unet) as maps:
        assert unet(*args).equal(plain)  # recording changes nothing
    assert set(maps) == set(seen) and "middle.transformer.blocks.0.cross_attention" in maps
    for name, (module, given, out) in seen.items():
        (probabilities,) = maps[name]
        assert torch.allclose(probabilities.sum(-1), torch.ones(1), atol=1e-5) and probabilities.min() >= 0
        source = given[1] if len(given) > 1 and given[1] is not None else given[0]
        v = module.to_v(source).unflatten(-1, (module.heads, -1)).transpose(1, 2)
        assert torch.allclose(module.to_out((probabilities @ v).transpose(1, 2).flatten(2)), out, atol=1e-5)
    pixels, words = 4 * 4, args[2].shape[1]  # in the middle
    assert maps["middle.transformer.blocks.0.cross_attention"][0].shape == (2, 4, pixels, words)
    assert maps["middle.transformer.blocks.0.self_attention"][0].shape == (2, 4, pixels, pixels)


def test_capture_attention_counts_runs_and_cleans_up_even_after_an_error():
    attention, x, context = Attention(8, 6, 2), torch.randn(1, 4, 8), torch.randn(1, 3, 6)
    with pytest.raises(KeyError):
        with capture_attention(attention) as maps:
            attention(x, context), attention(x, context)
            raise KeyError
    attention(x, context)
    assert len(maps[""]) == 2 and not attention._forward_hooks and not maps[""][0].requires_grad


def test_capture_attention_sees_a_context_given_by_name():
    attention, x, context = Attention(8, 8, 2), torch.randn(1, 4, 8), torch.randn(1, 3, 8)
    with capture_attention(attention) as maps:
        attention(x, context=context)
    assert torch.allclose(maps[""][0], attention_probabilities(attention, x, context))


@pytest.mark.parametrize("depth", [1, 3])
def test_spatial_transformer_depth(depth):
    transformer = SpatialTransformer(8, 6, heads=2, groups=4, depth=depth)
    assert len(transformer.blocks) == depth
    assert transformer(torch.randn(2, 8, 3, 5), torch.randn(2, 4, 6)).shape == (2, 8, 3, 5)


def test_spatial_transformer_tells_height_from_width():
    """On a non-square map the output of one changed pixel's residual stays at that pixel."""
    transformer = SpatialTransformer(8, 6, heads=2, groups=4)
    nn.init.zeros_(transformer.proj_out.weight), nn.init.zeros_(transformer.proj_out.bias)
    x = torch.randn(1, 8, 3, 5)
    assert transformer(x, torch.randn(1, 4, 6)).equal(x)
    nn.init.eye_(transformer.proj_out.weight), nn.init.eye_(transformer.proj_in.weight)
    nn.init.zeros_(transformer.proj_in.bias)
    for block in transformer.blocks:  # silence the block: only norm, flatten and un-flatten are left
        for layer in (block.self_attention.to_out, block.cross_attention.to_out, block.feed_forward.to_out):
            nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)
    assert torch.allclose(transformer(x, torch.randn(1, 4, 6)), x + group_norm_by_hand(x, 4, 1e-6), atol=1e-5)


# ── The VAE ──────────────────────────────────────────────────────────────────────────────────────────


def test_kl_equals_torch_distributions():
    posterior = DiagonalGaussian(3 * torch.randn(5, 8, 3, 2, dtype=torch.float64))
    ours = torch.distributions.Normal(posterior.mean, posterior.std)
    standard = torch.distributions.Normal(torch.zeros_like(posterior.mean), torch.ones_like(posterior.std))
    expected = torch.distributions.kl_divergence(ours, standard).sum((1, 2, 3))
    assert posterior.kl().shape == (5,) and torch.allclose(posterior.kl(), expected)
    assert DiagonalGaussian(torch.zeros(1, 8, 2, 2)).kl() == 0


def test_posterior_samples_have_its_mean_and_variance():
    mean, logvar, N = torch.tensor([-1.0, 2.0]), torch.tensor([math.log(0.25), math.log(4.0)]), 40_000
    moments = torch.cat([mean, logvar]).view(1, 4, 1, 1).expand(N, -1, -1, -1)
    sample = DiagonalGaussian(moments).sample(torch.Generator().manual_seed(0))[:, :, 0, 0]
    std = torch.tensor([0.5, 2.0])
    assert ((sample.mean(0) - mean).abs() < 5 * std / math.sqrt(N)).all()  # five standard errors
    assert ((sample.std(0) - std).abs() < 5 * std / math.sqrt(2 * N)).all()
    standard = (sample - mean) / std
    assert abs(standard.pow(3).mean()) < 5 * math.sqrt(15 / (2 * N))  # normal: not skewed …
    assert abs(standard.pow(4).mean() - 3) < 5 * math.sqrt(96 / (2 * N))  # … and of kurtosis 3


def test_reparameterisation_gradients():
    """z = μ + σ ε: dz/dμ = 1, and dz/d log σ² = ½ σ ε = ½ (z - μ)."""
    moments = torch.randn(2, 8, 3, 3, requires_grad=True)
    posterior = DiagonalGaussian(moments)
    z, direction = posterior.sample(torch.Generator().manual_seed(0)), torch.randn(2, 4, 3, 3)
    (gradient,) = torch.autograd.grad(z, moments, direction)
    assert torch.allclose(gradient[:, :4], direction)
    assert torch.allclose(gradient[:, 4:], direction * (z - posterior.mean) / 2, atol=1e-6)


def test_posterior_sampling_is_seeded():
    posterior = DiagonalGaussian(torch.randn(2, 8, 3, 3))
    first, again, other = (posterior.sample(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first.equal(again) and not first.equal(other)


@pytest.mark.parametrize(
    "config",
    [
        SMALL_VAE,
        VAEConfig(channels=(6, 12), blocks_per_level=3, groups=3, image_channels=1, latent_channels=2),
        VAEConfig(channels=(8,), blocks_per_level=2, groups=8, latent_channels=5),
    ],
)
def test_vae_of_any_configuration(config):
    vae, f = VAE(config).eval(), config.factor
    assert f == 2 ** (len(config.channels) - 1)
    image = torch.rand(3, config.image_channels, 4 * f, 2 * f) * 2 - 1
    z0 = vae.encode(image)
    assert z0.shape == (3, config.latent_channels, 4, 2)
    assert vae.decode(z0).shape == image.shape
    every_parameter_has_a_gradient(vae, vae.decode(vae.encode(image, torch.Generator().manual_seed(0))))


def test_decode_undoes_the_scale():
    """The same latent, whatever the scale: encode with one number, decode with the same."""
    vae, image = VAE(SMALL_VAE).eval(), torch.rand(1, 3, 16, 16)
    before = vae.decode(vae.encode(image))
    vae.config = replace(vae.config, scale=7.0)
    assert torch.allclose(vae.decode(vae.encode(image)), before, atol=1e-5)


# ── The U-Net ────────────────────────────────────────────────────────────────────────────────────────


def every_parameter_has_a_gradient(network: nn.Module, out: torch.Tensor) -> None:
    network.zero_grad()
    (out * torch.randn_like(out)).sum().backward()
    # A bias of the keys adds the same to all scores of a query, which softmax ignores: its gradient is 0 by right.
    silent = [
        name
        for name, parameter in network.named_parameters()
        if not name.endswith("to_k.bias")
        if parameter.grad is None or not parameter.grad.isfinite().all() or parameter.grad.abs().max() == 0
    ]
    assert not silent


@pytest.mark.parametrize("config", UNETS)
def test_unet_of_any_configuration(config):
    unet = UNet(config)
    args = inputs(config, batch=3, size=(16, 8))
    out = unet(*args)
    assert out.shape == (3, config.out_channels, 16, 8) and out.isfinite().all()
    every_parameter_has_a_gradient(unet, out)


@pytest.mark.parametrize("config", UNETS)
def test_unet_in_float64_is_more_exact_and_the_same_network(config):
    unet = UNet(config).eval()
    args = inputs(config)
    single = unet(*args)
    double = unet.double()(*(a if a is None or not a.is_floating_point() else a.double() for a in args))
    assert double.dtype == torch.float64
    assert torch.allclose(single.double(), double, atol=1e-4)  # float32 through 10 … 40 layers


@pytest.mark.parametrize("config", UNETS)
def test_one_images_output_does_not_depend_on_the_others(config):
    unet = UNet(config).double().eval()
    z_t, t, context, added = inputs(config, batch=5, dtype=torch.float64)
    together = unet(z_t, t, context, added)
    for i in range(5):
        alone = unet(z_t[i : i + 1], t[i : i + 1], context[i : i + 1], None if added is None else added[i : i + 1])
        assert torch.allclose(together[i : i + 1], alone, atol=1e-10)


def test_every_input_reaches_the_output():
    config = UNETS[3]
    unet, args = UNet(config).eval(), list(inputs(UNETS[3]))
    plain = unet(*args)
    changes = [args[0] + 1, (args[1] + 300) % 1000, args[2] + torch.randn_like(args[2]), args[3] + 1]
    for i, changed in enumerate(changes):
        assert not torch.allclose(unet(*args[:i], changed, *args[i + 1 :]), plain, atol=1e-5)


def test_the_same_call_gives_the_same_bits_and_changes_nothing():
    unet = UNet(SMALL_UNET).eval()
    args = inputs(SMALL_UNET)[:3]
    copies = [a.clone() for a in args]
    assert unet(*args).equal(unet(*args))
    assert all(a.equal(b) for a, b in zip(args, copies))
    vae, image = VAE(SMALL_VAE).eval(), torch.rand(2, 3, 16, 16)
    copy = image.clone()
    z0 = vae.encode(image)
    z0_copy = z0.clone()
    assert vae.decode(z0).equal(vae.decode(z0)) and image.equal(copy) and z0.equal(z0_copy)


def test_one_timestep_for_all_and_fractions_of_a_timestep():
    unet = UNet(SMALL_UNET).eval()
    z_t, _, context, _ = inputs(SMALL_UNET)
    assert unet(z_t, torch.tensor(7), context).equal(unet(z_t, torch.tensor([7, 7, 7]), context))
    assert unet(z_t, torch.tensor(7.0), context).equal(unet(z_t, torch.tensor(7), context))
    assert not torch.allclose(unet(z_t, torch.tensor(7.5), context), unet(z_t, torch.tensor(7), context), atol=1e-6)


def test_dropout_is_before_the_second_convolution_and_only_in_training():
    config = replace(SMALL_UNET, dropout=0.5)
    unet, args = UNet(config), inputs(config)
    assert not unet(*args).equal(unet(*args))
    assert unet.eval()(*args).equal(unet(*args))
    without = UNet(SMALL_UNET).eval()
    without.load_state_dict(unet.state_dict())
    assert without(*args).equal(unet(*args))

    block, x = ResBlock(8, 8, groups=4, dropout=0.5), torch.randn(1, 8, 16, 16)
    seen = []
    block.conv2.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    block(x)
    assert 0.45 < seen[0].eq(0).float().mean() < 0.55  # 2048 numbers: a standard error of 0.011


@pytest.mark.parametrize("build", [lambda: UNet(UNETS[1]), lambda: VAE(SMALL_VAE)])
def test_state_dict_round_trip(build, tmp_path):
    first, second = build(), build()
    torch.save(first.state_dict(), tmp_path / "weights.pt")
    second.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    for a, b in zip(first.parameters(), second.parameters()):
        assert a.equal(b)
    if isinstance(first, UNet):
        args = inputs(UNETS[1])
        assert first.eval()(*args).equal(second.eval()(*args))


@pytest.mark.parametrize("network", ["unet", "vae"])
def test_autocast_works(network):
    """bfloat16 on the CPU: 8 bits of mantissa, so outputs of size 1 agree to a few hundredths."""
    if network == "unet":
        model = UNet(SMALL_UNET).eval()
        args = inputs(SMALL_UNET)
    else:
        model = VAE(SMALL_VAE).eval().decode
        args = (torch.randn(2, 4, 4, 4),)
    exact = model(*args)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(model(*args).float(), exact, atol=0.1)


def test_bfloat16_weights_work():
    unet = UNet(SMALL_UNET).eval()
    args = inputs(SMALL_UNET)
    exact = unet(*args)
    z_t, t, context, _ = args
    out = unet.to(torch.bfloat16)(z_t.bfloat16(), t, context.bfloat16())
    assert out.dtype == torch.bfloat16 and torch.allclose(out.float(), exact, atol=0.1)


# ── The other modalities ─────────────────────────────────────────────────────────────────────────────


def test_class_labels_are_rows_of_a_table():
    encoder = ClassEncoder(10, 6)
    context = encoder(torch.tensor([3, 0, 9]))
    assert context.shape == (3, 1, 6) and context[0, 0].equal(encoder.table.weight[3])
    assert encoder.null().shape == (1, 1, 6) and encoder.null()[0, 0].equal(encoder.table.weight[10])


def test_image_encoder_puts_colours_on_clips_scale_and_resizes(small_model):
    encoder = small_model.image_encoder
    grey = torch.full((1, 3, 32, 32), 0.5)
    mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    got = encoder.clip.preprocess(2 * grey - 1)
    assert torch.allclose(got[0, :, 0, 0], (0.5 - torch.tensor(mean)) / torch.tensor(std), atol=1e-6)
    assert encoder.clip.preprocess(torch.rand(2, 3, 64, 48)).shape == (2, 3, 32, 32)


def test_text_context_is_causal_and_padded_with_the_end_token(small_model):
    """A vector knows the words up to its own; no mask hides the padding."""
    one, other = small_model.encode_text(["a red circle above a blue square", "a red star above a blue square"])
    assert one.shape == (12, 24)
    assert torch.allclose(one[:3], other[:3], atol=1e-5)  # start, "a", "red"
    assert not torch.allclose(one[3:], other[3:], atol=1e-3)  # "circle" or "star", and all that follow
    tokens = tokenize(small_model.text_encoder.tokenizer, ["a red"], 12)[0].tolist()
    end = small_model.text_encoder.tokenizer.end
    assert tokens[3:] == [end] * 9
