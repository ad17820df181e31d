"""U-Net and text encoder trained together: both learn, some captions are dropped, a resumed run is the same."""

from dataclasses import replace

import pytest
import torch

from tinyldm.clip import TextConfig, VisionConfig
from tinyldm.data import drawings
from tinyldm.data.captions import words_of
from tinyldm.data.corpus import drawings_corpus
from tinyldm.data.drawing_captions import vocabulary
from tinyldm.forward_diffusion import diffusion_loss
from tinyldm.latent_diffusion import LatentDiffusion
from tinyldm.training import train_drawings
from tinyldm.training import train_joint as stage
from tinyldm.training.checkpoints import read_facts
from tinyldm.training.hands import hands_of
from tinyldm.training.run import read_log
from tinyldm.training.tokenizer import build_tokenizer
from tinyldm.training.train_joint import JointSettings, build_cache, draw_batch, train_joint
from tinyldm.training.train_vae import new_vae
from tinyldm.unet import UNetConfig
from tinyldm.vae import VAEConfig

LENGTH = 20


@pytest.fixture(scope="module")
def parts():
    """A corpus of two animals, a VAE of random weights, a tokenizer, and settings of a very short training."""
    torch.manual_seed(0)
    shown = [one for one in drawings.named() if one.name in ("panda", "fox") and one.style in ("noto", "flat")]
    corpus = drawings_corpus(shown, copies=4, wordings=2)
    vae = new_vae(VAEConfig(channels=(8, 8, 16), blocks_per_level=1, groups=4, scale=1.0)).eval()
    tokenizer = build_tokenizer([word for said in corpus.captions for one in said for word in words_of(one)], LENGTH)
    end = tokenizer.end
    text = TextConfig(32, 64, 1, 2, "gelu", 32, vocab_size=end + 1, max_position_embeddings=LENGTH, pad_token_id=end)
    unet = UNetConfig(
        channels=(16, 16), blocks_per_level=1, transformer_depth=(0, 1), heads=(2, 2), context_dim=32, groups=4
    )
    settings = JointSettings(
        steps=60, batch=8, warmup=2, config=unet, text=text, progress=False, sample_captions=("a fox",)
    )
    return corpus, vae, tokenizer, settings


def test_it_learns_and_can_be_written_and_opened(parts, tmp_path):
    corpus, vae, tokenizer, settings = parts
    model = train_joint(replace(settings, out=tmp_path, lr=3e-3), corpus, vae, tokenizer)
    losses = [line["loss"] for line in read_log(tmp_path / "unet.log.jsonl")]
    assert losses[-1] < 0.92 * losses[0]
    assert (tmp_path / "samples" / "final.png").is_file()
    model.save_pretrained(tmp_path / "model")
    again = LatentDiffusion.from_pretrained(tmp_path / "model")
    one, two = (m.generate(["a fox"], steps=2, generator=torch.Generator().manual_seed(0)) for m in (model, again))
    assert again.schedule.alpha_bar[-1] == 0  # pure noise at the end, also for whoever opens the folder
    assert one.shape == (1, 3, 64, 64) and torch.allclose(one, two, atol=1e-4)


def test_the_text_encoder_is_trained_too(parts, tmp_path):
    corpus, vae, tokenizer, settings = parts
    model = train_joint(replace(settings, out=tmp_path / "a", steps=4), corpus, vae, tokenizer)
    later = train_joint(replace(settings, out=tmp_path / "b", steps=8), corpus, vae, tokenizer)
    numbers = tokenizer.numbers(["a fox"])[0]
    table = [m.text_encoder.clip.embeddings.token_embedding.weight for m in (model, later)]
    assert (table[0][numbers] - table[1][numbers]).abs().max() > 1e-4


def test_a_resumed_run_is_the_same_to_the_bit(parts, tmp_path, monkeypatch):
    corpus, vae, tokenizer, settings = parts
    whole = train_joint(replace(settings, out=tmp_path / "whole", steps=6), corpus, vae, tokenizer)
    broken = replace(settings, out=tmp_path / "broken", steps=6, save_seconds=0.0)  # saved after every step
    left = iter(range(3))

    def breaks_down(*arguments):
        if next(left, None) is None:
            raise ConnectionError
        return diffusion_loss(*arguments)

    monkeypatch.setattr(stage, "diffusion_loss", breaks_down)
    with pytest.raises(ConnectionError):
        train_joint(broken, corpus, vae, tokenizer)
    monkeypatch.undo()
    assert read_facts(tmp_path / "broken" / "unet.checkpoint.safetensors")["step"] == 3
    resumed = train_joint(replace(broken, resume=True), corpus, vae, tokenizer)
    for part in ("unet", "text_encoder"):
        weights = getattr(resumed, part).state_dict()
        assert all(torch.equal(weight, weights[name]) for name, weight in getattr(whole, part).state_dict().items())


def test_a_batch(parts):
    corpus, vae, tokenizer, settings = parts
    cache = build_cache(corpus, vae, tokenizer, LENGTH, "cpu", progress=False)
    assert cache.moments.shape == (16, 8, 16, 16) and cache.tokens.shape == (16, 2, LENGTH)
    index = torch.arange(16).repeat(50)
    batch = draw_batch(cache, index, 1.0, 1000, replace(settings, drop_caption=0.25), step=0)
    dropped = (batch.tokens == cache.empty).all(1)
    assert 0.18 < dropped.float().mean() < 0.32
    kept, of = batch.tokens[~dropped], cache.tokens[index[~dropped]].long()
    own = (kept[:, None] == of).all(2)  # (B, W)
    assert own.any(1).all()  # each has a caption of its own image …
    assert 0.3 < own.float().mean() < 0.8  # … now in this wording, now in that
    assert abs(batch.t.float().mean() - 1000 / 1.6) < 40  # the mean of u^0.6
    other = draw_batch(cache, index, 1.0, 1000, settings, step=1)
    assert not torch.equal(batch.eps, other.eps) and batch.t.min() >= 0 and batch.t.max() < 1000


def test_all_stages_leave_a_model_with_its_credits(parts, tmp_path, monkeypatch):
    corpus, vae, tokenizer, settings = parts
    few = tuple(one for one in drawings.for_training() if one.name in ("panda", "fox"))
    monkeypatch.setattr(drawings, "for_training", lambda names: few)
    monkeypatch.setattr(drawings, "for_autoencoder", lambda: few[:3])
    text = replace(settings.text, vocab_size=3561, pad_token_id=3560, max_position_embeddings=32)
    unet = replace(settings, out=tmp_path, steps=2, batch=2, text=text)
    small_vae = replace(train_drawings.CPU.vae, out=tmp_path, steps=2, minutes=None, batch=2, config=vae.config)
    plan = train_drawings.DrawingsPlan(copies=2, vae=replace(small_vae, progress=False), unet=unet)
    train_drawings.train_drawings(plan, tmp_path / "model")
    assert len(train_drawings.unet_corpus(plan)) == 2 * len(few)
    model = LatentDiffusion.from_pretrained(tmp_path / "model")
    assert model.generate(["a blob fox"], steps=1).shape == (1, 3, 64, 64)
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "NOTICE" in card and "coloured shapes" not in card and "| U-Net | 2 |" in card
    with pytest.raises(ValueError, match="--resume"):
        train_drawings.train_drawings(plan, tmp_path / "model")
    again = replace(plan, vae=replace(plan.vae, resume=True), unet=replace(plan.unet, resume=True, steps=3))
    train_drawings.train_drawings(again, tmp_path / "model")  # the VAE is done; the U-Net goes on
    assert read_facts(tmp_path / "unet.checkpoint.safetensors")["step"] == 3


def test_the_text_encoder_of_the_plan_knows_every_word():
    """Its number of tokens follows from the words; whoever changes the captions changes it too."""
    tokenizer = build_tokenizer(vocabulary(), 32)
    assert tokenizer.end + 1 == stage.PICTURES.text[0].vocab_size and tokenizer.pad == tokenizer.end
    for word in ("panda", "hamburger", "streamline", "smiling", "person"):
        assert len(tokenizer.numbers([word])[0]) == 1


def test_a_unet_needs_a_vae(tmp_path):
    plan = replace(train_drawings.CPU, unet=replace(train_drawings.CPU.unet, out=tmp_path))
    with pytest.raises(ValueError, match="tinyldm train vae --data drawings"):
        train_drawings.require_trainable(plan, tmp_path / "model", ("unet",))


def test_style_is_read_from_pictures(parts, tmp_path):
    corpus, vae, tokenizer, settings = parts
    shown = [one for one in drawings.named() if one.name in ("panda", "fox") and one.style in ("noto", "flat")]
    hands = hands_of(shown, corpus)
    tower = VisionConfig(16, 32, 1, 2, "gelu", 16, image_size=64, patch_size=32)
    settings = replace(settings, out=tmp_path, steps=6, vision=tower, picture_batches=0.5)
    cache = build_cache(corpus, vae, tokenizer, LENGTH, "cpu", progress=False)
    batches = [draw_batch(cache, torch.arange(16), 1.0, 1000, settings, step, hands) for step in range(60)]
    reading = [batch for batch in batches if batch.style_of is not None]
    assert 15 < len(reading) < 45
    for batch in reading:
        assert (hands.style[batch.style_of] == hands.style[:16]).all()
        assert (hands.thing[batch.style_of] != hands.thing[:16]).all()
        for image, tokens in enumerate(batch.tokens):
            assert shown[image % 4].style not in words_of(tokenizer.text(tokens.tolist()))
    without = draw_batch(cache, torch.arange(16), 1.0, 1000, settings, 0)
    assert without.style_of is None and torch.equal(without.eps, batches[0].eps)
    model = train_joint(settings, corpus, vae, tokenizer, hands)
    model.save_pretrained(tmp_path / "model")
    again = LatentDiffusion.from_pretrained(tmp_path / "model")
    context = again.encode_image(torch.rand(1, 3, 64, 64))
    assert context.shape == (1, 5, 32)
    assert again.generate(["a fox"], steps=1, image_context=context).shape == (1, 3, 64, 64)
    with pytest.raises(ValueError, match="hands"):
        train_joint(settings, corpus, vae, tokenizer)


def test_the_image_tower_is_trained_along(parts, tmp_path):
    corpus, vae, tokenizer, settings = parts
    shown = [one for one in drawings.named() if one.name in ("panda", "fox") and one.style in ("noto", "flat")]
    tower = VisionConfig(16, 32, 1, 2, "gelu", 16, image_size=64, patch_size=32)
    settings = replace(settings, vision=tower, picture_batches=1.0)
    models = [
        train_joint(
            replace(settings, out=tmp_path / str(steps), steps=steps), corpus, vae, tokenizer, hands_of(shown, corpus)
        )
        for steps in (2, 6)
    ]
    first, later = (model.image_encoder.state_dict() for model in models)
    changed = [name for name, weight in first.items() if not torch.equal(weight, later[name])]
    assert any("patch_embedding" in name for name in changed) and any("to_context" in name for name in changed)
