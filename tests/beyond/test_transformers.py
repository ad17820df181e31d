"""DiT, MM-DiT and Stable Diffusion 3: against diffusers' networks and pipeline, at reduced width and on meta."""

import diffusers
import pytest
import small_pipelines as sd
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import CLIPTextModelWithProjection, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from tinyldm import UNet, versions
from tinyldm.beyond.dit import DiT, DiTConfig, patchify, sincos_positions, unpatchify
from tinyldm.beyond.flow_matching import flow_loss
from tinyldm.beyond.mm_dit import SD3_MEDIUM, SD35_LARGE, TINY_MM_DIT, MMDiT, MMDiTConfig
from tinyldm.beyond.stable_diffusion_3 import (
    StableDiffusion3,
    config_from_diffusers,
    load_mm_dit,
    load_vae_16,
    weights_from_diffusers,
)
from tinyldm.conditioning import ClassEncoder
from tinyldm.formats.weights import load_weights
from tinyldm.reverse_diffusion import guided
from tinyldm.vae import to_unit

TOLERANCE = 1e-5  # of one forward pass in float32
SMALL = dict(
    sample_size=8,
    patch_size=2,
    in_channels=16,
    out_channels=16,
    num_layers=3,
    attention_head_dim=8,
    num_attention_heads=4,
    joint_attention_dim=96,
    caption_projection_dim=32,
    pooled_projection_dim=48,
    pos_embed_max_size=12,
)
# The published transformer/config.json of the two releases.
MEDIUM = dict(
    sample_size=128,
    patch_size=2,
    in_channels=16,
    out_channels=16,
    num_layers=24,
    attention_head_dim=64,
    num_attention_heads=24,
    joint_attention_dim=4096,
    caption_projection_dim=1536,
    pooled_projection_dim=2048,
    pos_embed_max_size=192,
)
LARGE_35 = {
    **MEDIUM,
    "num_layers": 38,
    "num_attention_heads": 38,
    "caption_projection_dim": 2432,
    "qk_norm": "rms_norm",
}


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ── Pictures as sequences ────────────────────────────────────────────────────────────────────────────


def test_patchify_puts_each_number_where_it_says_and_unpatchify_back():
    z = torch.arange(2 * 3 * 4 * 6).view(2, 3, 4, 6)
    tokens = patchify(z, 2)
    assert tokens.shape == (2, 6, 12)
    assert tokens[1, 5].tolist() == [z[1, c, y, x].item() for y in (2, 3) for x in (4, 5) for c in range(3)]
    assert torch.equal(unpatchify(tokens, 2, 4, 6), z)


def test_a_latent_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="5×4 does not divide into patches of 2×2"):
        patchify(torch.zeros(1, 4, 5, 4), 2)
    with pytest.raises(ValueError, match="multiple of 4"):
        sincos_positions(torch.arange(2), torch.arange(2), 6)


def test_positions_are_diffusers():
    from diffusers.models.embeddings import get_2d_sincos_pos_embed

    expected = get_2d_sincos_pos_embed(32, (3, 3), base_size=3).float()
    torch.testing.assert_close(sincos_positions(torch.arange(3), torch.arange(3), 32), expected)
    asked = sincos_positions(torch.tensor([2.0]), torch.tensor([0.0, 1.0]), 32)
    torch.testing.assert_close(asked, expected.view(3, 3, 32)[2, :2])


# ── DiT ──────────────────────────────────────────────────────────────────────────────────────────────


def test_dit_xl_has_the_published_size():
    """675 million (Peebles & Xie 2023, table 4): 675,129,632 by the reference, which counts the fixed positions too."""
    with torch.device("meta"):
        total = parameters(DiT(DiTConfig())) + parameters(ClassEncoder(1000, 1152))
    assert total + 16 * 16 * 1152 == 675_129_632


def as_diffusers(state: dict[str, Tensor], labels: Tensor, depth: int) -> dict[str, Tensor]:
    """There every block has its own copy of the embeddings of time and class."""
    made = {"pos_embed.proj.weight": state["patch_in.weight"].unflatten(1, (2, 2, 4)).permute(0, 3, 1, 2)}
    made["pos_embed.proj.bias"] = state["patch_in.bias"]
    for kind in ("weight", "bias"):
        made[f"proj_out_1.{kind}"], made[f"proj_out_2.{kind}"] = (
            state[f"final.{name}.{kind}"] for name in ("modulation", "linear")
        )
        for i in range(depth):
            block, ours = f"transformer_blocks.{i}", f"blocks.{i}"
            for j in (1, 2):
                embedder = f"{block}.norm1.emb.timestep_embedder.linear_{j}.{kind}"
                made[embedder] = state[f"time_mlp.linear{j}.{kind}"]
            made[f"{block}.norm1.emb.class_embedder.embedding_table.weight"] = labels
            names = {"norm1.linear": "modulation", "ff.net.0.proj": "mlp.0", "ff.net.2": "mlp.2"}
            names |= {"attn1.to_out.0": "to_out"} | {f"attn1.to_{name}": f"to_{name}" for name in "qkv"}
            made |= {f"{block}.{theirs}.{kind}": state[f"{ours}.{name}.{kind}"] for theirs, name in names.items()}
    return made


def test_dit_is_diffusers():
    config = DiTConfig(width=32, depth=2, heads=4)
    ours, labels = sd.shaken(DiT(config)), sd.shaken(ClassEncoder(10, 32))
    theirs = diffusers.DiTTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=8,
        out_channels=8,
        num_layers=2,
        sample_size=8,
        num_embeds_ada_norm=10,
        norm_eps=1e-6,
    ).eval()
    theirs.load_state_dict(as_diffusers(ours.state_dict(), labels.table.weight, 2))
    for block in theirs.transformer_blocks:  # diffusers' embedding of time here is not the reference's, but for this
        block.norm1.emb.time_proj.downscale_freq_shift = 0
    z_t, t, label = randn(3, 4, 8, 8), torch.tensor([0, 500, 999]), torch.tensor([1, 7, 3])
    with torch.no_grad():
        expected = theirs(z_t, t, label).sample
        assert sd.relative(ours(z_t, t, labels(label)), expected) < TOLERANCE


def test_a_new_dit_predicts_zeros_and_its_blocks_change_nothing():
    """adaLN-zero."""
    torch.manual_seed(0)
    model = DiT(DiTConfig(width=32, depth=2, heads=4))
    context = randn(2, 1, 32)
    assert not model(randn(2, 4, 8, 8), torch.tensor([1, 2]), context).any()
    x = randn(2, 16, 32)
    assert torch.equal(model.blocks[0](x, context[:, 0]), x)


def test_dit_refuses_a_sequence():
    with pytest.raises(ValueError, match=r"expected one vector each: \(B, 1, 32\)"):
        DiT(DiTConfig(width=32, depth=1, heads=4))(randn(2, 4, 8, 8), torch.zeros(2), randn(2, 5, 32))


# ── MM-DiT ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "ours, theirs, published", [(SD3_MEDIUM, MEDIUM, 2_028_328_000), (SD35_LARGE, LARGE_35, 8_056_627_520)]
)
def test_size_of_the_releases(ours, theirs, published):
    """2 and 8.1 billion; "published" is the sum over the tensors that diffusers builds from the published sizes."""
    assert config_from_diffusers(theirs) == ours
    with torch.device("meta"):
        assert parameters(MMDiT(ours)) == parameters(diffusers.SD3Transformer2DModel(**theirs)) == published


def make_transformer(**changes) -> diffusers.SD3Transformer2DModel:
    torch.manual_seed(0)
    return sd.shaken(diffusers.SD3Transformer2DModel(**{**SMALL, **changes}))


def inputs(height: int = 8, width: int = 12) -> tuple[Tensor, ...]:
    return (
        randn(3, 16, height, width),
        torch.tensor([3.0, 501.5, 1000.0]),
        randn(3, 7, 96, seed=1),
        randn(3, 48, seed=2),
    )


@pytest.mark.parametrize("changes", [{}, {"qk_norm": "rms_norm"}, {"patch_size": 4, "sample_size": 16}], ids=str)
def test_mm_dit_and_its_gradients_are_diffusers(changes, tmp_path):
    theirs = make_transformer(**changes)
    theirs.save_pretrained(tmp_path)
    ours = load_mm_dit(tmp_path)
    z_t, t, context, added = inputs()
    a = ours(z_t, t, context, added)
    b = theirs(z_t, encoder_hidden_states=context, pooled_projections=added, timestep=t).sample
    assert sd.relative(a, b) < TOLERANCE
    for prediction in (a, b):
        (prediction - z_t).square().mean().backward()
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    gradients = weights_from_diffusers(gradients, ours.config.depth)
    rounding = 1e-6 * max(gradient.abs().max().item() for gradient in gradients.values())
    for name, parameter in ours.named_parameters():
        expected = gradients.pop(name)
        difference = (parameter.grad - expected).abs().max().item()
        assert difference <= 1e-5 * expected.abs().max().item() + rounding, name
    assert not gradients


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"dual_attention_layers": (0,)}, "dual_attention_layers"),
        ({"qk_norm": "layer_norm"}, "qk_norm is 'layer_norm'"),
        ({"caption_projection_dim": 24}, "caption_projection_dim"),
        ({"num_layers": 0}, "num_layers"),
    ],
)
def test_what_stable_diffusion_3_never_does_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        config_from_diffusers({**SMALL, **changes})


def test_weights_of_another_network_are_refused():
    model = MMDiT(config_from_diffusers(SMALL))
    state = weights_from_diffusers(make_transformer(num_layers=2).state_dict(), 3)
    with pytest.raises(ValueError, match="does not fit MMDiT"):
        load_weights(model, state, "a test")


def test_a_picture_that_is_larger_than_the_table_is_refused():
    model = MMDiT(config_from_diffusers(SMALL))
    with pytest.raises(ValueError, match="13×4 patches; expected at most 12×12"):
        model.positions_of(13, 4)


def test_words_are_read_whatever_their_order_and_are_rewritten():
    """Their order is known to the text encoders only."""
    model = sd.shaken(MMDiT(config_from_diffusers(SMALL)))
    z_t, t, context, added = inputs()
    with torch.no_grad():
        answer = model(z_t, t, context, added)
        torch.testing.assert_close(model(z_t, t, context.flip(1), added), answer, atol=1e-5, rtol=1e-4)
        assert (model(z_t, t, context + 1, added) - answer).abs().max() > 1e-4
        words = model.context_in(context)
        assert not torch.equal(model.blocks[0](randn(3, 24, 32), words, randn(3, 32))[1], words)


def test_tiny_mm_dit_learns_a_batch_and_is_as_large_as_the_u_net():
    torch.manual_seed(0)
    with torch.device("meta"):
        u_net = parameters(UNet(versions.TINY.unet))
    model = MMDiT(TINY_MM_DIT)
    assert abs(parameters(model) / u_net - 1) < 0.1, (parameters(model), u_net)
    small = MMDiT(MMDiTConfig(4, 2, 64, 2, 4, 16, 16, 8, 4))
    z0, eps, context, added = randn(8, 4, 8, 8), randn(8, 4, 8, 8, seed=1), randn(8, 5, 16), randn(8, 16)
    tau, optimizer = torch.linspace(0.05, 0.95, 8), torch.optim.AdamW(small.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss = flow_loss(lambda z, t: small(z, t, context, added), z0, eps, tau)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_guidance_takes_it_as_it_is():
    model = sd.shaken(MMDiT(config_from_diffusers(SMALL)))
    z_t, t, context, added = inputs()
    null, null_added = torch.zeros(1, 7, 96), torch.zeros(3, 48)
    with torch.no_grad():
        answer = guided(model, context, null, 3.0, added, null_added)(z_t, t)
        without = model(z_t, t, null.expand(3, -1, -1), null_added)
        torch.testing.assert_close(answer, without + 3 * (model(z_t, t, context, added) - without))


# ── The pipeline ─────────────────────────────────────────────────────────────────────────────────────


def t5_tokenizer() -> PreTrainedTokenizerFast:
    """Words instead of T5's pieces; as T5's, it ends a caption with </s> and fills up with <pad>."""
    vocabulary = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", *sd.WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=words, **special)


def make_pipeline(with_t5: bool) -> diffusers.StableDiffusion3Pipeline:
    torch.manual_seed(0)
    words, words2 = sd.tokenizer(), sd.tokenizer("!")
    t5 = None
    if with_t5:
        t5 = sd.shaken(T5EncoderModel(T5Config(vocab_size=20, d_model=96, d_kv=12, d_ff=64, num_layers=2, num_heads=4)))
    pipe = diffusers.StableDiffusion3Pipeline(
        transformer=make_transformer(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=sd.make_vae(
            latent_channels=16,
            use_quant_conv=False,
            use_post_quant_conv=False,
            shift_factor=0.0609,
            scaling_factor=1.5305,
        ),
        text_encoder=sd.shaken(CLIPTextModelWithProjection(sd.text_config(words))),
        tokenizer=words,
        text_encoder_2=sd.shaken(CLIPTextModelWithProjection(sd.text_config(words2, width=48, act="gelu")), 2),
        tokenizer_2=words2,
        text_encoder_3=t5,
        tokenizer_3=t5_tokenizer() if with_t5 else None,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("with_t5", [False, True], ids=["without T5", "with T5"])
def test_pipeline(with_t5, tmp_path):
    """From captions to pixels; of a folder that diffusers wrote."""
    pipe = make_pipeline(with_t5)
    pipe.save_pretrained(tmp_path)
    ours = StableDiffusion3.from_pretrained(tmp_path)
    assert (ours.t5 is not None) == with_t5 and ours.time_shift == 3.0
    captions, negative = ["a red astronaut riding a horse", "photo of the moon"], ["blurry photo", ""]
    context, added = ours.encode_text(captions)
    expected, _, pooled, _ = pipe.encode_prompt(captions, None, None, do_classifier_free_guidance=False)
    assert context.shape == (2, 77 + 256, 96) and with_t5 == bool(context[:, 77:].any())
    assert sd.relative(context, expected) < TOLERANCE and sd.relative(added, pooled) < TOLERANCE
    options = {"num_inference_steps": 7, "guidance_scale": 5.0, "negative_prompt": negative, "output_type": "pt"}
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    theirs = pipe(captions, height=64, width=48, generator=generators, **options).images
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    images = ours.generate(
        captions, steps=7, guidance_scale=5.0, negative=negative, generator=generators, size=(64, 48)
    )
    assert images.shape == (2, 3, 64, 48) and images.std() > 0.05
    assert (images - theirs).abs().max() < 1 / 255


def test_vae_with_16_channels(tmp_path):
    pipe = make_pipeline(False)
    pipe.vae.save_pretrained(tmp_path)
    vae, shift = load_vae_16(tmp_path)
    image = randn(1, 3, 32, 32).clamp(-1, 1)
    with torch.no_grad():
        mean = pipe.vae.encode(image).latent_dist.mean
        assert sd.relative(vae.posterior(image).mean, mean) < TOLERANCE
        expected = pipe.vae.decode(mean).sample
        z0 = (mean - shift) * vae.config.scale
        ours = vae.decode(z0 + shift * vae.config.scale)
    assert sd.relative(to_unit(ours), to_unit(expected)) < TOLERANCE
    sd.make_vae().save_pretrained(tmp_path / "usual")
    with pytest.raises(ValueError, match="use_quant_conv"):
        load_vae_16(tmp_path / "usual")
