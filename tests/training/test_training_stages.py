"""Each stage of training, small enough for a test: it learns, it resumes to the bit, it exports."""

import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tinyldm.clip import TextConfig, VisionConfig
from tinyldm.conditioning import ImageEncoder, TextEncoder
from tinyldm.data.corpus import WORDS, scenes_corpus
from tinyldm.data.description import EMPTY
from tinyldm.data.pixels import to_signed_float
from tinyldm.evaluation.statistics import psnr
from tinyldm.formats.diffusers_unet import load_unet
from tinyldm.latent_diffusion import LatentDiffusion
from tinyldm.training.checkpoints import load_checkpoint, read_facts, save_checkpoint
from tinyldm.training.clip import Clip, new_clip, pad_tokens
from tinyldm.training.export import clip_of
from tinyldm.training.latents import build_cache
from tinyldm.training.model_card import write_card
from tinyldm.training.run import adamw, read_log
from tinyldm.training.tokenizer import build_tokenizer
from tinyldm.training.train_all import CPU, GPU, Plan, is_done, train_all
from tinyldm.training.train_clip import ClipSettings, train_clip
from tinyldm.training.train_unet import UnetSettings, context_of, draw_batch
from tinyldm.training.train_vae import PerceptualDistance, VaeSettings, new_vae, train_vae
from tinyldm.unet import UNetConfig
from tinyldm.vae import VAE, VAEConfig
from tinyldm.versions import TINY

TEXT = TextConfig(
    vocab_size=701,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=1,
    num_attention_heads=2,
    max_position_embeddings=32,
    projection_dim=32,
    pad_token_id=700,
)
VISION = VisionConfig(
    image_size=64,
    patch_size=16,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=1,
    num_attention_heads=2,
    projection_dim=32,
)
SMALL_VAE = VAEConfig(channels=(8, 8, 16, 16), blocks_per_level=1, groups=4)
SMALL_UNET = UNetConfig(
    channels=(16, 16), blocks_per_level=1, transformer_depth=(1, 1), heads=(2, 2), context_dim=32, groups=4
)


@pytest.fixture(scope="module")
def corpus():
    return scenes_corpus(64)


def plan(out, **settings):
    common = dict(out=out, batch=8, warmup=5, progress=False, **settings)
    return Plan(
        64,
        ClipSettings(text=TEXT, vision=VISION, **common),
        VaeSettings(config=SMALL_VAE, adversarial_start=0.5, **common),
        UnetSettings(config=SMALL_UNET, sample_seconds=1e9, **common),
    )


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """The folder of a whole small training."""
    out = tmp_path_factory.mktemp("run")
    small = plan(out, steps=60)
    train_all(
        replace(small, vae=replace(small.vae, lr=3e-3), unet=replace(small.unet, lr=5e-3, steps=160)),
        corpus,
        out / "model",
    )
    return out


# ── Each stage learns ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.parametrize("stage, name", [("clip", "loss"), ("vae", "loss"), ("unet", "loss")])
def test_the_loss_goes_down(trained, stage, name):
    log = read_log(trained / f"{stage}.log.jsonl")
    assert [line["step"] for line in log][:3] == [20, 40, 60]
    assert log[-1][name] < 0.97 * log[0][name]


@pytest.mark.slow
def test_the_adversary_joins_late(trained):
    log = read_log(trained / "vae.log.jsonl")
    assert "discriminator" not in log[0] and "discriminator" in log[-1]


def test_what_a_run_leaves(trained):
    names = {path.name for path in trained.iterdir()}
    assert {"clip", "vae", "model", "samples", "snapshots", "unet.loss.png", "unet.log.jsonl"} <= names
    assert not [name for name in names if name.endswith(".partial")]
    assert [path.name for path in (trained / "samples").iterdir()] == ["final.png"]


def test_the_exported_model_works(trained):
    model = LatentDiffusion.from_pretrained(trained / "model")
    images = model.generate(["a red circle"], steps=2, generator=torch.Generator().manual_seed(0))
    assert images.shape == (1, 3, 64, 64) and images.isfinite().all()
    weights = load_file(trained / "model" / "unet" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    for share in ("01", "10", "50"):
        load_unet(trained / "model" / "snapshots" / f"unet_at_{share}")
    assert model.vae.config.scale != SMALL_VAE.scale  # measured
    latents = model.vae.encode(to_signed_float(scenes_corpus(64).images), torch.Generator().manual_seed(1))
    assert latents.std().item() == pytest.approx(1, abs=0.05)


def test_the_exported_clip_is_the_trained_one(trained):
    image = torch.rand(3, 3, 64, 64) * 2 - 1
    before, after = Clip.load(trained / "clip"), clip_of(trained / "model")
    torch.testing.assert_close(after.embed_image(image)[0], before.embed_image(image)[0], atol=5e-3, rtol=0)
    tokens = pad_tokens(build_tokenizer(WORDS, 32), ["a red circle"], 32)
    torch.testing.assert_close(after.embed_text(tokens)[0], before.embed_text(tokens)[0], atol=5e-3, rtol=0)


def test_the_exported_model_opens_in_diffusers(trained):
    diffusers = pytest.importorskip("diffusers")
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(trained / "model")  # no dtype: float32
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline("a red circle", num_inference_steps=2, height=64, width=64).images[0].size == (64, 64)


def test_the_unet_goes_on_from_a_model(trained, corpus, tmp_path):
    small = plan(tmp_path, steps=1, lr=1e-12)
    start = replace(small.unet, start_from=str(trained / "model"))
    train_all(replace(small, unet=start), corpus, tmp_path / "model", ("unet",))
    before, after = (
        load_file(folder / "model" / "unet" / "diffusion_pytorch_model.safetensors") for folder in (trained, tmp_path)
    )
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)  # one step of hardly any length
    card = (tmp_path / "model" / "README.md").read_text()
    assert "It started from weights that had seen 1,280 images" in card and "| VAE | 60 | 480 |" in card


def test_the_model_card_names_what_was_done(trained):
    card = (trained / "model" / "README.md").read_text()
    assert "| U-Net | 160 | 1,280 | 64 |" in card and "Not yet evaluated" in card
    (trained / "model" / "evaluation.json").write_text('{"captions": {"colour": 0.5}}')
    write_card(trained / "model")
    assert "| captions: colour | 0.5 |" in (trained / "model" / "README.md").read_text()
    shares = '{"captions": {"all": {"colour": {"share": 0.5, "low": 0.25, "high": 0.75, "right": 4, "of": 8}}}}'
    (trained / "model" / "evaluation.json").write_text(shares)
    write_card(trained / "model")
    assert (
        "| captions | all |\n|---|---|\n| colour | 50.0 % (25.0 … 75.0), n = 8 |"
        in (trained / "model" / "README.md").read_text()
    )


def test_frozen_parts_stay_as_they_were(trained):
    """The U-Net's stage changes neither CLIP nor the VAE."""
    before = Clip.load(trained / "clip").text.state_dict()
    model = LatentDiffusion.from_pretrained(trained / "model")
    for name, value in model.text_encoder.clip.state_dict().items():
        torch.testing.assert_close(value, before[name], atol=2e-3, rtol=0)


def test_a_stage_without_the_one_before_says_so(corpus, tmp_path):
    with pytest.raises(ValueError, match="tinyldm train clip"):
        train_all(plan(tmp_path, steps=2), corpus, tmp_path / "model", ("vae",))
    with pytest.raises(ValueError, match="tinyldm train vae"):
        train_all(plan(tmp_path, steps=2), corpus, tmp_path / "model", ("unet",))


def test_a_finished_stage_is_not_done_again_but_goes_on_if_given_more(corpus, tmp_path):
    settings = plan(tmp_path, steps=4).clip
    assert not is_done(replace(settings, resume=True), "clip")
    train_clip(settings, corpus)
    assert not is_done(settings, "clip")  # without --resume it starts again
    assert is_done(replace(settings, resume=True), "clip")
    assert not is_done(replace(settings, resume=True, steps=8), "clip")


# ── Resuming ─────────────────────────────────────────────────────────────────────────────────────────

CHILD = """
import sys
import torch
from pathlib import Path
torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
from test_training_stages import *
out = Path(sys.argv[1])
train_all(plan(out, steps=40, save_seconds=0.0, resume=True), scenes_corpus(64), out / "model")
"""


def step_of(checkpoint: Path) -> int:
    """The step of a checkpoint that another process is writing; 0 where it is replaced during this very look."""
    try:
        return read_facts(checkpoint)["step"] if checkpoint.exists() else 0
    except (RuntimeError, ValueError):
        return 0


@pytest.mark.slow
def test_killed_at_a_random_step_and_resumed_to_the_same_bits(tmp_path):
    """SIGKILL, which nothing can catch, somewhere in each stage; in the end the weights are as if undisturbed."""
    child = [sys.executable, "-c", CHILD.format(tests=str(Path(__file__).parent))]
    subprocess.run([*child, str(tmp_path / "whole")], check=True)
    killed = tmp_path / "killed"
    for stage in ("clip", "vae", "unet"):
        checkpoint, step = killed / f"{stage}.checkpoint.safetensors", random.randint(2, 30)
        process = subprocess.Popen([*child, str(killed)])
        while process.poll() is None and step_of(checkpoint) < step:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    subprocess.run([*child, str(killed)], check=True)
    for stage in ("clip", "vae", "unet"):
        name = f"{stage}.checkpoint.safetensors"
        whole, resumed = load_file(tmp_path / "whole" / name), load_file(killed / name)
        assert whole.keys() == resumed.keys()
        assert all(torch.equal(whole[key], resumed[key]) for key in whole), stage


# ── Mixed precision ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_every_stage_runs_in_bfloat16(corpus, tmp_path):
    """The weights stay float32; the losses stay near those of float32."""
    for bf16 in (False, True):
        train_all(plan(tmp_path / str(bf16), steps=20, bf16=bf16), corpus, tmp_path / str(bf16) / "model")
    for stage in ("clip", "vae", "unet"):
        (exact,), (rounded,) = (read_log(tmp_path / name / f"{stage}.log.jsonl") for name in ("False", "True"))
        assert rounded["loss"] == pytest.approx(exact["loss"], rel=0.05), stage
        weights = load_file(tmp_path / "True" / f"{stage}.checkpoint.safetensors")
        assert all(value.dtype == torch.float32 for value in weights.values())


# ── CLIP ─────────────────────────────────────────────────────────────────────────────────────────────


def test_images_of_which_only_the_caption_is_known_train_too(tmp_path):
    corpus = scenes_corpus(16, wordings=1)
    corpus = replace(
        corpus,
        negatives=[[[]] for _ in corpus.negatives],
        image_form=torch.full_like(corpus.image_form, EMPTY),
        caption_form=torch.full_like(corpus.caption_form, EMPTY),
    )
    train_clip(plan(tmp_path, steps=3).clip, corpus)
    assert (tmp_path / "clip" / "model.safetensors").exists() and (tmp_path / "tokenizer" / "vocab.json").exists()


# ── VAE ──────────────────────────────────────────────────────────────────────────────────────────────


def test_perceptual_distance():
    distance = PerceptualDistance(new_clip(TEXT, VISION))
    image = (torch.rand(2, 3, 64, 64) * 2 - 1).requires_grad_()
    original = torch.rand(2, 3, 64, 64) * 2 - 1
    assert distance(original, original).item() == 0
    distance(image, original).backward()
    assert image.grad.abs().sum() > 0
    assert all(not p.requires_grad for p in distance.parameters())


def test_every_term_can_be_switched_off(corpus, tmp_path):
    settings = replace(
        plan(tmp_path, steps=20).vae,
        square_weight=0.0,
        edge_weight=0.0,
        kl_weight=0.0,
        perceptual_weight=0.0,
        adversarial_weight=0.0,
    )
    vae = train_vae(settings, corpus, clip=None)
    images = to_signed_float(corpus.images[:8])
    assert 0 < psnr(vae.decode(vae.encode(images)).detach(), images, peak=2).mean() < 60
    (line,) = read_log(tmp_path / "vae.log.jsonl")
    assert line["loss"] == pytest.approx(line["l1"])
    assert not {"edges", "perceptual", "discriminator"} & line.keys()


def test_an_untrained_vae_passes_signals_on():
    torch.manual_seed(0)
    image = to_signed_float(scenes_corpus(16).images)
    posterior = new_vae(TINY.vae).posterior(image)
    assert 0.1 < posterior.mean.std() < 10 and posterior.std.mean() < 0.5


def test_moments_are_resumed_in_the_memory_order_of_their_weights(tmp_path):
    """The fused AdamW walks through memory without a look at strides, and files do not keep strides."""

    def step(conv, optimizer):
        conv(torch.ones(1, 3, 4, 4)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    torch.manual_seed(0)
    conv = torch.nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last)
    optimizer = adamw(conv.parameters(), 0.1)
    step(conv, optimizer)
    save_checkpoint(tmp_path / "c", {"conv": conv}, {"optimizer": optimizer}, {})
    other = torch.nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last)
    other_optimizer = adamw(other.parameters(), 0.1)
    load_checkpoint(tmp_path / "c", {"conv": other}, {"optimizer": other_optimizer})
    step(conv, optimizer)
    step(other, other_optimizer)
    assert torch.equal(conv.weight, other.weight)


# ── U-Net ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def cache(corpus):
    clip = new_clip(TEXT, VISION)
    image_encoder = ImageEncoder(clip.vision, 32)
    text_encoder = TextEncoder(clip.text, build_tokenizer(WORDS, 32))
    kept = build_cache(corpus, VAE(SMALL_VAE), text_encoder, image_encoder, "cpu", progress=False)
    return kept, image_encoder, text_encoder


def test_cached_contexts_are_those_of_the_captions(cache, corpus):
    kept, _, text_encoder = cache
    with torch.no_grad():
        fresh = text_encoder.encode(["", corpus.captions[5][1]]).context
    assert torch.allclose(kept.contexts[torch.stack([torch.tensor(0), kept.caption[5, 1]])].float(), fresh, atol=5e-3)


def test_latents_are_sampled_anew_at_each_use(cache):
    index, settings = torch.arange(8), UnetSettings(steps=1)
    one, two, again = (draw_batch(cache[0], index, 1.0, 1000, settings, step).z0 for step in (0, 1, 0))
    assert torch.equal(one, again) and not torch.equal(one, two)
    mean, logvar = cache[0].moments[index].float().chunk(2, dim=1)
    many = torch.stack([draw_batch(cache[0], index, 1.0, 1000, settings, step).z0 for step in range(400)])
    assert ((many.mean(0) - mean).abs() < 5 * (0.5 * logvar).exp() / 20).all()


def test_shares_of_captions_images_and_nothing(cache):
    """70 % of the images with their caption, 20 % with an image, 10 % with nothing."""
    index, settings, counts = torch.arange(64), UnetSettings(steps=1), {"caption": 0, "image": 0, "nothing": 0}
    for step in range(2000):
        batch = draw_batch(cache[0], index, 1.0, 1000, settings, step)
        nothing = int((batch.text == 0).sum())
        if batch.with_image:
            counts["image"] += 64
        else:
            counts["nothing"] += nothing
            counts["caption"] += 64 - nothing
    shares = {name: count / (64 * 2000) for name, count in counts.items()}
    assert shares["image"] == pytest.approx(0.2, abs=0.03)
    assert shares["nothing"] == pytest.approx(0.1, abs=0.01)
    assert shares["caption"] == pytest.approx(0.7, abs=0.03)


def test_the_image_follows_the_caption_in_the_context(cache):
    kept, image_encoder, _ = cache
    settings = UnetSettings(steps=1, image_context=1.0)
    index = torch.arange(4)
    batch = draw_batch(kept, index, 1.0, 1000, settings, 0)
    context = context_of(kept, batch, index, image_encoder)
    assert context.shape == (4, 32 + 1 + 16, 32)
    assert torch.equal(context[:, :32], kept.contexts[batch.text].float())
    text_only = context_of(kept, replace(batch, with_image=False), index, image_encoder)
    assert text_only.shape == (4, 32, 32)


def test_the_committed_plans_end():
    for plan_ in (CPU, GPU):
        for settings in (plan_.clip, plan_.vae, plan_.unet):
            assert settings.minutes or settings.steps
