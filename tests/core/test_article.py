"""The article, sentence by sentence, as assertions.

"L nnn" is the line of the article's text that a test is about. Where article and reference code disagree,
the test's name says so and the reference wins. The tests stand in the article's order.
"""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tinyldm.conditioning import size_embedding
from tinyldm.forward_diffusion import (
    EPS,
    VELOCITY,
    NoiseSchedule,
    cosine_betas,
    diffusion_loss,
    linear_betas,
    scaled_linear_betas,
    velocity,
)
from tinyldm.resblock import ResBlock, TimeMLP, timestep_embedding
from tinyldm.reverse_diffusion import ddim, ddpm, guided, leading
from tinyldm.spatial_transformer import Attention, FeedForward, SpatialTransformer, TransformerBlock
from tinyldm.trace import capture_attention
from tinyldm.training.train_vae import calibrate_scale
from tinyldm.unet import UNet, UNetConfig
from tinyldm.vae import VAE, DiagonalGaussian, PixelAttention, VAEConfig, to_signed, to_unit
from tinyldm.versions import SD1, SD2, SD2_V, SDXL, TINY

SMALL_VAE = VAEConfig(channels=(8, 16, 16, 16), blocks_per_level=1, groups=4)
SMALL_UNET = UNetConfig(
    channels=(16, 32), blocks_per_level=1, transformer_depth=(1, 0), heads=(2, 4), context_dim=24, groups=8
)


def on_meta(build, config):
    """A network without numbers: shapes and parameter counts of Stable Diffusion, in no memory and no time."""
    with torch.device("meta"):
        return build(config)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture(scope="module")
def schedule():
    """Stable Diffusion's."""
    return NoiseSchedule(scaled_linear_betas())


# ── Version history ──────────────────────────────────────────────────────────────────────────────────


def test_L11_versions_1_2_and_xl_are_the_same_classes_with_other_numbers():
    """L 3 says 1.1 to 2.1, L 11 says 1.1 to XL. One class builds them all; the counts are those of the checkpoints."""
    assert parameters(on_meta(UNet, SD1.unet)) == 859_520_964
    assert parameters(on_meta(UNet, SD2.unet)) == 865_910_724
    assert parameters(on_meta(UNet, SDXL.unet)) == 2_567_463_684
    for version in (SD1, SD2, SDXL):
        assert parameters(on_meta(VAE, version.vae)) == 83_653_863


def test_L11_xl_has_a_larger_unet_and_two_text_encoders():
    assert len(SDXL.text) == 2 and len(SD1.text) == len(SD2.text) == 1
    assert SDXL.unet.context_dim == sum(text.hidden_size for text in SDXL.text) == 2048
    assert SDXL.vae.scale == 0.13025 and SD1.vae.scale == SD2.vae.scale == 0.18215


def test_L12_ten_percent_without_caption_trains_a_branch_that_guidance_can_subtract():
    """Guidance needs nothing but a second context: the empty caption's. See test_L447 for the formula."""
    seen = []
    guided(lambda z, t, context: seen.append(context) or z, torch.ones(2, 3, 4), torch.zeros(1, 3, 4), 5.0)(
        torch.zeros(2, 4, 2, 2), torch.zeros(2)
    )
    assert seen[0].shape == (4, 3, 4)  # both halves in one batch, the empty caption's first
    assert seen[0][:2].eq(0).all() and seen[0][2:].eq(1).all()


# ── Architecture ─────────────────────────────────────────────────────────────────────────────────────


def test_L18_noise_applied_iteratively_is_one_jump(schedule):
    """The mean and the variance of the chain, followed step by step in float64, are √ᾱ and 1-ᾱ."""
    mean, variance = 1.0, 0.0
    for t, beta in enumerate(scaled_linear_betas()):
        mean, variance = mean * math.sqrt(1 - beta), variance * (1 - beta) + beta
        # ᾱ is stored in float32: relative error up to 2^-24 = 6e-8, of which √ keeps half.
        assert math.isclose(mean, schedule.alpha_bar[t].sqrt(), rel_tol=1e-6)
        assert math.isclose(variance, 1 - schedule.alpha_bar[t].double(), rel_tol=1e-4)  # 1-ᾱ cancels at small t


def test_L18_the_chain_of_draws_agrees_with_q_sample_in_distribution(schedule):
    """50,000 latents walked through 300 steps, against one jump: the same mean and the same variance."""
    generator = torch.Generator().manual_seed(0)
    start, N = 1.5, 50_000
    z = torch.full((N,), start)
    for beta in scaled_linear_betas()[:300].tolist():
        z = math.sqrt(1 - beta) * z + math.sqrt(beta) * torch.randn(N, generator=generator)
    jump = schedule.q_sample(torch.full((N,), start), torch.full((N,), 299), torch.randn(N, generator=generator))
    # Standard error of a mean: 1/√N = 0.0045, of a variance: √(2/N) = 0.0063. Five of them.
    assert abs(z.mean() - jump.mean()) < 5 * math.sqrt(2 / N)
    assert abs(z.var() - jump.var()) < 5 * math.sqrt(4 / N)


def test_L19_conditioning_by_concatenation_has_nine_input_channels():
    """Beyond cross-attention: the inpainting model reads z_t, mask and masked latent side by side."""
    unet = UNet(replace(SMALL_UNET, in_channels=9))
    z_t, beside = torch.randn(1, 4, 8, 8), torch.randn(1, 5, 8, 8)
    out = unet(torch.cat([z_t, beside], 1), torch.tensor([5]), torch.randn(1, 3, 24))
    assert unet.conv_in.in_channels == 9 and out.shape == (1, 4, 8, 8)


def test_L19_conditioning_by_an_added_vector_moves_the_time_embedding():
    """XL: the pooled caption and six sizes are added to t_emb; 1280 + 6 × 256 = 2816 numbers."""
    added = size_embedding(torch.randn(2, 1280), torch.tensor([[1024.0, 1024, 0, 0, 1024, 1024]] * 2))
    assert added.shape == (2, 2816) and SDXL.unet.added_dim == 2816
    assert added[0, 1280:1536].equal(timestep_embedding(torch.tensor([1024.0]), 256)[0])

    unet = UNet(replace(SMALL_UNET, added_dim=12))
    z_t, t, context = torch.randn(1, 4, 8, 8), torch.tensor([5]), torch.randn(1, 3, 24)
    added = torch.randn(1, 12)
    got = unet(z_t, t, context, added)
    # The same as a plain U-Net whose time embedding had that vector in its last bias.
    plain = UNet(SMALL_UNET)
    plain.load_state_dict(unet.state_dict(), strict=False)
    plain.time_mlp.linear2.bias.data += unet.added_mlp(added)[0]
    assert torch.allclose(got, plain(z_t, t, context), atol=1e-5)  # float32, two orders of summation


def test_L19_text_is_encoded_by_clip_vit_l_14():
    assert SD1.text[0].hidden_size == SD1.unet.context_dim == 768
    assert SD1.text[0].max_position_embeddings == 77


# ── Variational Autoencoder ──────────────────────────────────────────────────────────────────────────


def test_L36_pixels_are_divided_by_255_not_by_the_images_own_maximum():
    """A dim picture stays dim: nothing here stretches 0 … 0.5 to 0 … 1."""
    dim = torch.rand(1, 3, 8, 8) / 2
    assert to_signed(dim).max() <= 0
    assert torch.allclose(to_unit(to_signed(dim)), dim, atol=1e-6)


def test_L58_L99_an_image_of_512_becomes_a_latent_of_64():
    vae = on_meta(VAE, SD1.vae)
    image = torch.empty(1, 3, 512, 512, device="meta")
    assert vae.encode(image).shape == (1, 4, 64, 64)


def test_L58_L99_tiny_is_everything_divided_by_eight():
    vae = on_meta(VAE, TINY.vae)
    assert vae.encode(torch.empty(1, 3, 64, 64, device="meta")).shape == (1, 4, 8, 8)
    assert vae.decode(torch.empty(1, 4, 8, 8, device="meta")).shape == (1, 3, 64, 64)


def test_L88_the_encoded_vector_is_the_scale_times_E_of_2x_minus_1():
    vae, x = VAE(replace(SMALL_VAE, scale=0.18215)), torch.rand(2, 3, 16, 16)
    E = vae.quant_conv(vae.encoder(2 * x - 1))[:, :4]
    assert torch.allclose(vae.encode(to_signed(x)), 0.18215 * E, atol=1e-7)


def test_L105_the_scale_brings_a_batch_of_latents_to_unit_variance():
    vae, image = VAE(SMALL_VAE), torch.rand(16, 3, 32, 32) * 2 - 1
    scale = calibrate_scale(vae, image)
    z0 = vae.encode(image, torch.Generator().manual_seed(0))  # the same draw that calibrate_scale used
    assert scale == vae.config.scale != SMALL_VAE.scale
    assert abs(z0.std().item() - 1) < 1e-4


def test_L105_the_scale_neither_centres_nor_decorrelates():
    """ "Whiten" says more than one number can do: the channels keep their means and their correlations."""
    vae, image = VAE(SMALL_VAE), torch.rand(16, 3, 32, 32) * 2 - 1
    before, scale = vae.posterior(image).mean, calibrate_scale(vae, image)
    z0 = vae.encode(image)
    assert torch.allclose(z0.mean((0, 2, 3)), scale * before.mean((0, 2, 3)), atol=1e-5)

    def correlation(z):
        return torch.corrcoef(z.transpose(0, 1).flatten(1))

    assert torch.allclose(correlation(z0), correlation(before), atol=1e-4)
    assert correlation(z0).fill_diagonal_(0).abs().max() > 0.1  # there was something to decorrelate


def test_L125_wrong_in_the_article_one_scale_serves_both_ways():
    """The article decodes with 0.18125. The decoder here sees exactly what the encoder gave."""
    vae, latent, seen = VAE(replace(SMALL_VAE, scale=0.18215)), torch.randn(1, 4, 2, 2), []
    vae.post_quant_conv.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    vae.decode(0.18215 * latent)
    assert torch.allclose(seen[0], latent, rtol=1e-6)


def test_L125_wrong_in_the_article_the_slip_is_half_a_percent():
    """Decoding with 0.18125 hands the decoder a latent that is too long by 0.18215 / 0.18125 - 1 = 0.497 %."""
    vae, latent, seen = VAE(replace(SMALL_VAE, scale=0.18215)), torch.randn(1, 4, 2, 2), []
    z0 = vae.config.scale * latent
    vae.config = replace(vae.config, scale=0.18125)
    vae.post_quant_conv.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    vae.decode(z0)
    assert math.isclose(seen[0].norm() / latent.norm() - 1, 0.004966, abs_tol=1e-5)


def test_L136_the_decoded_image_is_D_plus_one_halved_and_clipped():
    vae, z0 = VAE(SMALL_VAE), 40 * torch.randn(1, 4, 2, 2)
    vae.decoder.conv_out.weight.data *= 20  # so that it does overshoot
    y = vae.decode(z0)
    assert y.abs().max() > 1
    assert to_unit(y).min() == 0 and to_unit(y).max() == 1
    inside = y.abs() < 1
    assert torch.allclose(to_unit(y)[inside], ((y + 1) / 2)[inside])


def test_L152_the_encoder_has_one_self_attention_near_its_end():
    encoder = VAE(SMALL_VAE).encoder
    assert sum(isinstance(module, PixelAttention) for module in encoder.modules()) == 1
    assert order_of_attention(encoder, torch.randn(1, 3, 16, 16)) > 0.7


def order_of_attention(network: nn.Module, x: torch.Tensor) -> float:
    """Run a network; at which share of its convolutions does the attention come?"""
    kinds, hooks = [], []
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, PixelAttention)):
            hooks.append(module.register_forward_hook(lambda module, *_: kinds.append(type(module))))
    network(x)
    for hook in hooks:
        hook.remove()
    return kinds.index(PixelAttention) / len(kinds)


def test_L190_the_encoder_gives_eight_channels_of_an_eighth_of_the_size():
    vae = on_meta(VAE, SD1.vae)
    moments = vae.quant_conv(vae.encoder(torch.empty(1, 3, 512, 768, device="meta")))
    assert moments.shape == (1, 8, 64, 96)
    posterior = vae.posterior(torch.empty(1, 3, 512, 768, device="meta"))
    assert posterior.mean.shape == posterior.logvar.shape == (1, 4, 64, 96)


def test_L190_wrong_in_the_article_the_second_half_is_the_log_variance():
    moments = torch.tensor([2.0, math.log(9.0)]).view(1, 2, 1, 1)  # mean 2, variance 9
    posterior = DiagonalGaussian(moments)
    assert posterior.mean.item() == 2 and math.isclose(posterior.std.item(), 3, rel_tol=1e-6)
    assert DiagonalGaussian(-moments).std > 0  # a variance could not be negative; a log-variance can


def test_L190_wrong_in_the_article_the_log_variance_is_clamped():
    moments = torch.tensor([0.0, 0, 0, -1000.0, 1000.0, 5.0]).view(1, 6, 1, 1)
    posterior = DiagonalGaussian(moments)
    assert posterior.logvar.flatten().tolist() == [-30, 20, 5]
    assert posterior.kl().isfinite().all()


def test_L213_wrong_in_the_article_training_samples_and_the_mean_is_a_choice():
    vae, image = VAE(SMALL_VAE), torch.rand(1, 3, 16, 16) * 2 - 1
    mean = vae.encode(image)
    first, second = (vae.encode(image, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert torch.allclose(mean, vae.config.scale * vae.posterior(image).mean)
    assert not torch.allclose(first, second) and not torch.allclose(first, mean)


def test_L214_wrong_in_the_article_the_decoder_attends_near_its_start():
    decoder = VAE(SMALL_VAE).decoder
    assert sum(isinstance(module, PixelAttention) for module in decoder.modules()) == 1
    assert order_of_attention(decoder, torch.randn(1, 4, 2, 2)) < 0.3


def test_L214_L250_the_decoder_turns_an_eighth_back_into_the_whole():
    vae = on_meta(VAE, SD1.vae)
    assert vae.decode(torch.empty(1, 4, 64, 96, device="meta")).shape == (1, 3, 512, 768)


def test_silent_in_the_article_1x1_quant_convolutions_stand_on_both_sides_of_the_latent():
    vae = on_meta(VAE, SD1.vae)
    assert vae.quant_conv.weight.shape == (8, 8, 1, 1) and vae.post_quant_conv.weight.shape == (4, 4, 1, 1)
    small, image = VAE(SMALL_VAE), torch.randn(1, 3, 8, 8)
    nn.init.zeros_(small.quant_conv.weight), nn.init.ones_(small.quant_conv.bias)
    assert small.posterior(image).mean.eq(1).all()  # the latent has passed through it
    nn.init.zeros_(small.post_quant_conv.weight), nn.init.zeros_(small.post_quant_conv.bias)
    assert small.decode(torch.randn(1, 4, 1, 1)).equal(small.decoder(torch.zeros(1, 4, 1, 1)))


# ── U-Net ────────────────────────────────────────────────────────────────────────────────────────────


def test_L258_in_text_to_image_the_encoder_is_not_used(small_model):
    """The latent starts as pure noise; the encoder works in training, image-to-image and inpainting."""
    calls = []
    hook = small_model.vae.encoder.register_forward_hook(lambda *_: calls.append(1))
    small_model.generate(["a red circle"], steps=1)
    assert not calls
    small_model.img2img(torch.rand(1, 3, 32, 32), ["a red circle"], steps=1)
    hook.remove()
    assert len(calls) == 1


def test_L277_wrong_in_the_article_height_comes_before_width():
    """A latent of height 8 and width 16: a picture 64 high and 128 wide."""
    vae = on_meta(VAE, SD1.vae)
    assert vae.decode(torch.empty(1, 4, 8, 16, device="meta")).shape == (1, 3, 64, 128)
    unet = on_meta(UNet, SMALL_UNET)
    z_t, t = torch.empty(1, 4, 8, 16, device="meta"), torch.zeros(1, device="meta")
    assert unet(z_t, t, torch.empty(1, 3, 24, device="meta")).shape == (1, 4, 8, 16)


def test_L306_the_latent_of_stable_diffusion_goes_through_its_unet():
    unet = on_meta(UNet, SD1.unet)
    z_t, context = torch.empty(2, 4, 64, 64, device="meta"), torch.empty(2, 77, 768, device="meta")
    assert unet(z_t, torch.zeros(2, device="meta"), context).shape == (2, 4, 64, 64)


def test_L309_the_timestep_embedding_tells_timesteps_apart():
    embedding = timestep_embedding(torch.arange(1000), 320)
    assert embedding.shape == (1000, 320)
    assert torch.cdist(embedding, embedding).fill_diagonal_(1).min() > 0.1
    # Cosines first: at t = 0 the embedding is 160 ones and 160 zeros.
    assert embedding[0].tolist() == [1] * 160 + [0] * 160


def test_L320_wrong_in_the_article_t_0_is_already_one_step_of_noise(schedule):
    assert math.isclose(schedule.alpha_bar[0], 0.99915, abs_tol=1e-6)
    z0 = torch.randn(1, 4, 8, 8)
    assert not torch.allclose(schedule.q_sample(z0, torch.tensor([0]), torch.randn_like(z0)), z0, atol=0.01)


def test_L329_wrong_in_the_article_t_100_is_not_much_noise(schedule):
    """Signal 0.946 against noise 0.325: the picture is easily seen. Half and half is at t = 342 … 343."""
    alpha_bar = schedule.alpha_bar[100]
    assert math.isclose(alpha_bar.sqrt(), 0.946, abs_tol=5e-4)
    assert math.isclose((1 - alpha_bar).sqrt(), 0.325, abs_tol=5e-4)


def test_L332_the_second_example_a_vision_transformer_makes_a_sequence_of_vectors(small_model):
    """Pictures 32×32 in patches of 16: one vector for the whole and four for the patches, as wide as the text's."""
    context = small_model.encode_image(torch.rand(2, 3, 32, 32))
    assert context.shape == (2, 1 + 4, small_model.encode_text(["a"]).shape[-1])


def test_L333_wrong_in_the_article_a_step_estimates_z0_and_mixes_again(schedule):
    """Not "scaled down and subtracted": √ᾱ' ẑ0 + √(1-ᾱ') ε̂ (DDIM). Checked with one step from 500 to 0."""
    z, eps_hat = torch.randn(1, 4, 2, 2), torch.randn(1, 4, 2, 2)
    a, final = schedule.alpha_bar[500].item(), schedule.alpha_bar[0].item()
    got = ddim(lambda z_t, t: eps_hat, z, schedule, torch.tensor([500]), final_alpha_bar=final)
    z0_hat = (z - math.sqrt(1 - a) * eps_hat) / math.sqrt(a)
    assert torch.allclose(got, math.sqrt(final) * z0_hat + math.sqrt(1 - final) * eps_hat, atol=1e-5)


def test_L333_ddpm_adds_fresh_noise_and_ddim_does_not(schedule):
    z, ts = torch.randn(1, 4, 2, 2), torch.tensor([900, 500, 100])

    def draw(sampler, seed):
        return sampler(lambda z_t, t: z_t, z, schedule, ts, generator=torch.Generator().manual_seed(seed))

    assert draw(ddim, 0).equal(draw(ddim, 1))
    assert draw(ddpm, 0).equal(draw(ddpm, 0)) and not torch.allclose(draw(ddpm, 0), draw(ddpm, 1), atol=0.01)


def test_L335_down_then_up_the_skips_are_a_stack():
    """Last in, first out: the feature map of `conv_in`, pushed first, is read by the very last ResBlock."""
    unet = UNet(SMALL_UNET)
    order, inputs = [], []
    unet.conv_in.register_forward_hook(lambda module, given, out: order.append(out))
    for level in unet.down:
        for block, transformer in zip(level.resblocks, [*level.transformers, None]):
            (transformer or block).register_forward_hook(lambda module, given, out: order.append(out))
        if level.downsample is not None:
            level.downsample.register_forward_hook(lambda module, given, out: order.append(out))
    for level in unet.up:
        for block in level.resblocks:
            block.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    unet(torch.randn(1, 4, 8, 8), torch.tensor([3]), torch.randn(1, 5, 24))
    assert len(order) == len(inputs) == 4  # conv_in, pair, downsample, block
    for pushed, read in zip(reversed(order), inputs):
        assert read[:, -pushed.shape[1] :].equal(pushed)  # [x, skip]: the skip is the second half


def test_L335_skips_of_stable_diffusion_are_twelve():
    """conv_in, 4 levels of two pairs, 3 downsamples; as many ResBlocks on the way up."""
    unet = on_meta(UNet, SD1.unet)
    assert [len(level.resblocks) for level in unet.up] == [3, 3, 3, 3]
    assert [block.norm1.num_channels for level in unet.up for block in level.resblocks] == [
        2560,
        2560,
        2560,
        2560,
        2560,
        1920,
        1920,
        1280,
        960,
        960,
        640,
        640,
    ]


def test_L338_a_resblock_is_what_the_reference_does():
    """normalise → activate → conv; + linear(activate(t_emb)); normalise → activate → conv; + shortcut."""
    block = ResBlock(8, 16, t_emb_dim=12, groups=4)
    x, t_emb = torch.randn(2, 8, 5, 6), torch.randn(2, 12)
    h = F.conv2d(
        F.silu(F.group_norm(x, 4, block.norm1.weight, block.norm1.bias, 1e-5)),
        block.conv1.weight,
        block.conv1.bias,
        padding=1,
    )
    h = h + F.linear(F.silu(t_emb), block.time_proj.weight, block.time_proj.bias).reshape(2, 16, 1, 1)
    h = F.conv2d(
        F.silu(F.group_norm(h, 4, block.norm2.weight, block.norm2.bias, 1e-5)),
        block.conv2.weight,
        block.conv2.bias,
        padding=1,
    )
    expected = F.conv2d(x, block.shortcut.weight, block.shortcut.bias) + h
    assert torch.allclose(block(x, t_emb), expected, atol=1e-5)
    assert ResBlock(64, 64).norm1.num_groups == SpatialTransformer(64, 8, 1).norm.num_groups == 32  # Stable Diffusion's


def test_L338_silent_in_the_article_the_residual_sum():
    """With the second convolution at zero, a block changes nothing: what a residual is for."""
    block, x = ResBlock(8, 8, t_emb_dim=12, groups=4), torch.randn(1, 8, 4, 4)
    nn.init.zeros_(block.conv2.weight), nn.init.zeros_(block.conv2.bias)
    assert block(x, torch.randn(1, 12)).equal(x)


def test_L339_the_time_embedding_is_broadcast_over_all_pixels():
    """One number for each channel: what reaches norm2 differs by a constant over each channel."""
    block, x, seen = ResBlock(8, 16, t_emb_dim=12, groups=4), torch.randn(1, 8, 4, 4), []
    block.norm2.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    block(x, torch.randn(1, 12)), block(x, torch.randn(1, 12))
    difference = seen[1] - seen[0]
    assert difference.flatten(2).std(-1).max() < 1e-5  # the same at every pixel, up to float32
    assert difference.mean((2, 3)).std() > 0.1  # but another one for each channel


def test_L340_wrong_in_the_article_the_time_embedding_is_added_once():
    """One projection in a block. After the second conv no channel gets a constant from t any more.

    With norm2 silenced, t is gone from the output.
    """
    block, x = ResBlock(8, 16, t_emb_dim=12, groups=4), torch.randn(1, 8, 4, 4)
    assert sum(isinstance(module, nn.Linear) for module in block.modules()) == 1
    nn.init.zeros_(block.norm2.weight)
    assert block(x, torch.randn(1, 12)).equal(block(x, torch.randn(1, 12)))


def test_L340_silent_in_the_article_one_two_layer_time_mlp_for_the_whole_network():
    unet = UNet(SMALL_UNET)
    assert sum(isinstance(module, TimeMLP) for module in unet.modules()) == 1
    sinusoids = torch.randn(2, 16)
    mlp = unet.time_mlp
    expected = F.linear(
        F.silu(F.linear(sinusoids, mlp.linear1.weight, mlp.linear1.bias)), mlp.linear2.weight, mlp.linear2.bias
    )  # no activation after the second
    assert torch.allclose(mlp(sinusoids), expected) and expected.shape == (2, 4 * 16)


def test_L341_a_pre_ln_block_each_part_normalised_first_and_added_to_its_input():
    block = TransformerBlock(16, 24, heads=2)
    x, context = torch.randn(2, 9, 16), torch.randn(2, 5, 24)
    a = x + block.self_attention(F.layer_norm(x, (16,)))
    b = a + block.cross_attention(F.layer_norm(a, (16,)), context)
    assert torch.allclose(block(x, context), b + block.feed_forward(F.layer_norm(b, (16,))), atol=1e-6)


def test_L341_no_causal_masking():
    """The first pixel hears of a change at the last one."""
    block, x = TransformerBlock(16, 16, heads=2), torch.randn(1, 9, 16)
    changed = x.clone()
    changed[:, -1] = torch.randn(16)  # (adding a constant would not do: LayerNorm subtracts it again)
    assert not torch.allclose(block(x)[:, 0], block(changed)[:, 0], atol=1e-4)


def test_L341_silent_in_the_article_geglu_with_the_value_first_and_the_exact_gelu():
    feed_forward, x = FeedForward(8), torch.randn(3, 8)
    value, gate = (x @ feed_forward.to_value_and_gate.weight.T + feed_forward.to_value_and_gate.bias).split(32, dim=1)
    gelu = gate * 0.5 * (1 + torch.erf(gate / math.sqrt(2)))
    expected = (value * gelu) @ feed_forward.to_out.weight.T + feed_forward.to_out.bias
    assert torch.allclose(feed_forward(x), expected, atol=1e-6)  # tanh's GELU would be off by up to 5e-4


def test_L341_silent_in_the_article_no_positions():
    """Shuffle the pixels going in, and the same shuffle comes out: the transformer does not know where they are."""
    transformer = SpatialTransformer(16, 24, heads=2, groups=4).double()
    x, context = torch.randn(1, 16, 4, 6).double(), torch.randn(1, 5, 24).double()
    shuffle = torch.randperm(24)

    def shuffled(image):
        return image.flatten(2)[:, :, shuffle].view_as(image)

    assert torch.allclose(transformer(shuffled(x), context), shuffled(transformer(x, context)), atol=1e-12)


def test_L341_silent_in_the_article_norm_projections_and_an_outer_residual():
    transformer = SpatialTransformer(16, 24, heads=2, groups=4, depth=2)
    x, context = torch.randn(1, 16, 3, 5), torch.randn(1, 5, 24)
    pixels = F.group_norm(x, 4, eps=1e-6).permute(0, 2, 3, 1).reshape(1, 15, 16)
    pixels = transformer.proj_in(pixels)
    for block in transformer.blocks:
        pixels = block(pixels, context)
    expected = x + transformer.proj_out(pixels).reshape(1, 3, 5, 16).permute(0, 3, 1, 2)
    assert torch.allclose(transformer(x, context), expected, atol=1e-5)


def test_L341_no_transformer_at_the_lowest_level_but_one_in_the_middle():
    for version in (SD1, SD2):
        unet = on_meta(UNet, version.unet)
        assert [len(level.transformers) for level in unet.down] == [2, 2, 2, 0]
        assert [len(level.transformers) for level in unet.up] == [0, 3, 3, 3]
        assert len(unet.middle.transformer.blocks) == 1
    xl = on_meta(UNet, SDXL.unet)  # the other way round: none at the highest
    assert [[len(t.blocks) for t in level.transformers] for level in xl.down] == [[], [2, 2], [10, 10]]
    assert len(xl.middle.transformer.blocks) == 10


def test_L375_one_query_a_pixel_1024_of_128_dimensions():
    transformer, queries, keys, values = SpatialTransformer(128, 64, heads=4), [], [], []
    attention = transformer.blocks[0].cross_attention
    attention.to_q.register_forward_hook(lambda module, inputs, out: queries.append(out))
    attention.to_k.register_forward_hook(lambda module, inputs, out: keys.append((inputs[0], out)))
    attention.to_v.register_forward_hook(lambda module, inputs, out: values.append((inputs[0], out)))
    context = torch.randn(1, 77, 64)
    transformer(torch.randn(1, 128, 32, 32), context)
    assert queries[0].shape == (1, 1024, 128)
    # The context is both: but through separate projections, so that keys and values differ.
    assert keys[0][0] is context and values[0][0] is context
    assert keys[0][1].shape == values[0][1].shape == (1, 77, 128)
    assert not torch.allclose(keys[0][1], values[0][1], atol=0.1)


def test_L376_with_no_context_cross_attention_is_self_attention():
    attention, x = Attention(16, 16, heads=2), torch.randn(2, 9, 16)
    assert attention(x).equal(attention(x, x))
    with capture_attention(attention) as maps:
        attention(x)
    assert maps[""][0].shape == (2, 2, 9, 9)  # every pixel reads every pixel
    # In the whole U-Net too, where the context is as wide as the one level that attends.
    unet = UNet(replace(SMALL_UNET, transformer_depth=(0, 1), context_dim=32))
    assert unet(torch.randn(1, 4, 8, 8), torch.tensor([0])).shape == (1, 4, 8, 8)


def test_L376_where_widths_differ_that_is_impossible_and_said_so():
    """SD 1's context is 768 wide, its pixels 320 and more: its "unconditional" is the empty caption's encoding."""
    with pytest.raises(ValueError, match=r"16 wide.* reads 24.*empty caption"):
        Attention(16, 24, heads=2)(torch.randn(1, 9, 16))
    with pytest.raises(ValueError, match="16 wide"):
        UNet(SMALL_UNET)(torch.randn(1, 4, 8, 8), torch.tensor([0]))
    assert SD1.unet.context_dim not in SD1.unet.channels


# ── Training and inference ───────────────────────────────────────────────────────────────────────────


def test_L383_the_schedule_never_reaches_pure_noise(schedule):
    """ᾱ[999] = 0.0047: 6.8 % of the signal's amplitude is left, in a latent from which sampling must start without."""
    assert math.isclose(schedule.alpha_bar[999], 0.0047, abs_tol=5e-5)
    assert math.isclose(schedule.alpha_bar[999].sqrt(), 0.0683, abs_tol=5e-5)


def test_L386_the_noise_schedules_are_the_published_ones():
    """β from 0.00085 to 0.012 with √β linear (SD), 1e-4 to 0.02 linear (DDPM), ᾱ ∝ cos² (Nichol & Dhariwal)."""
    sd, ddpm_betas, cosine = scaled_linear_betas(), linear_betas(), cosine_betas()
    assert [math.isclose(sd[i], b) for i, b in ((0, 0.00085), (-1, 0.012))] == [True, True]
    assert math.isclose(sd[1].sqrt() - sd[0].sqrt(), sd[-1].sqrt() - sd[-2].sqrt(), rel_tol=1e-9)
    assert ddpm_betas[0] == 1e-4 and ddpm_betas[-1] == 0.02
    assert math.isclose(torch.cumprod(1 - ddpm_betas, 0)[-1], 4.04e-5, rel_tol=0.01)  # Ho et al.: "≈ 0"
    halfway = math.cos((0.5 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert math.isclose(torch.cumprod(1 - cosine, 0)[499], halfway, rel_tol=1e-9)


def test_L431_wrong_in_the_article_the_target_is_the_total_noise(schedule):
    """Not the noise that step t added: with the target subtracted whole, the clean latent is left."""
    z0, eps, t = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.tensor([100, 900])
    z_t, alpha_bar = schedule.q_sample(z0, t, eps), schedule.alpha_bar[t].view(2, 1, 1, 1)
    target = schedule.target(z0, t, eps)
    assert target.equal(eps)
    assert torch.allclose((z_t - (1 - alpha_bar).sqrt() * target) / alpha_bar.sqrt(), z0, atol=1e-5)


def test_L431_stable_diffusion_2_at_768_predicts_velocity():
    assert SD1.prediction is SD2.prediction is EPS and SD2_V.prediction is VELOCITY
    same_network = replace(SD2_V.unet, upcast_attention=False)  # a matter of float16, not of the architecture
    assert same_network == SD2.unet and SD2_V.image_size == 768  # the weights do not tell which
    z0, eps, a = torch.randn(4), torch.randn(4), torch.tensor(0.3)
    v = velocity(z0, eps, a)
    # On the circle z(φ) = cos φ z0 + sin φ ε the velocity is dz/dφ.
    phi = math.acos(math.sqrt(0.3))
    assert torch.allclose(v, -math.sin(phi) * z0 + math.cos(phi) * eps, atol=1e-6)


def test_L446_the_loss_is_the_mean_squared_error(schedule):
    z0, eps, t = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.tensor([5, 700])
    z_t = schedule.q_sample(z0, t, eps)
    loss = diffusion_loss(lambda z, t, context: z / 2, schedule, z0, None, t, eps)
    assert torch.allclose(loss, F.mse_loss(z_t / 2, eps))
    assert diffusion_loss(lambda z, t, context: eps, schedule, z0, None, t, eps) == 0


def test_L447_in_practice_sampling_is_guided():
    """ε̂ = ε_null + w (ε_caption - ε_null): the coefficient of ε_null is 1-w, not w-1."""
    unet = UNet(SMALL_UNET)
    z, t = torch.randn(2, 4, 8, 8), torch.tensor([10, 10])
    caption, null = torch.randn(2, 5, 24), torch.randn(1, 5, 24)
    with torch.no_grad():
        got = guided(unet, caption, null, 7.5)(z, t)
        expected = (1 - 7.5) * unet(z, t, null.expand(2, -1, -1)) + 7.5 * unet(z, t, caption)
    assert torch.allclose(got, expected, atol=1e-5)


def test_L447_stable_diffusions_own_timesteps():
    """50 steps: 981, 961, … 1, and the last one lands on ᾱ[0]. Its default guidance scale is 7.5."""
    ts = leading(50, 1000)
    assert ts.tolist() == list(range(981, 0, -20))
    assert math.isclose(SD1.schedule().final_alpha_bar, SD1.schedule().alpha_bar[0], abs_tol=1e-7)
    assert TINY.schedule().final_alpha_bar == 1
