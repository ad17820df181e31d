"""CLIP's two transformers and its tokenizer against those of transformers."""

import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
)

import tinyldm
from tinyldm import LatentDiffusion, versions
from tinyldm.clip import TextConfig, TextTransformer, VisionConfig
from tinyldm.conditioning import tokenize
from tinyldm.formats.places import SHIPPED
from tinyldm.formats.text_encoders import load_clip_weights, load_text_encoder, save_text_encoder
from tinyldm.formats.tokenizers import END, START, Tokenizer, clip_bpe, load_tokenizer, save_tokenizer
from tinyldm.formats.vision_transformer import VisionTransformer
from tinyldm.training.tokenizer import learn_merges, vocabulary

TOLERANCE = 1e-6  # of the largest number


def narrow(config):
    """A version's configuration, with its depth and activation but little width."""
    heads = min(config.num_attention_heads, 4)
    return replace(config, hidden_size=8 * heads, intermediate_size=64, num_attention_heads=heads, projection_dim=24)


ENCODERS = {
    "SD1": (narrow(versions.SD1.text[0]), False),
    "SD2": (narrow(versions.SD2.text[0]), False),
    "XL, first": (narrow(versions.SDXL.text[0]), False),
    "XL, second": (narrow(versions.SDXL.text[1]), True),
    "tiny": (versions.TINY.text[0], False),
}


def shaken(model):
    """Weights as if trained: no gain of exactly 1, no bias of exactly 0."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model.eval()


def close(ours, theirs):
    return (ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max().clamp(min=1e-3)


def assert_same_gradients(ours, gradients: dict[str, torch.Tensor]) -> None:
    assert gradients.keys() == dict(ours.named_parameters()).keys()
    largest = max(gradient.abs().max() for gradient in gradients.values())
    for key, parameter in ours.named_parameters():
        assert (parameter.grad - gradients[key]).abs().max() <= TOLERANCE * largest, key


def random_tokens(config: TextConfig, count: int = 3) -> torch.Tensor:
    """Random captions, each with an end, and after it whatever pads: the end again, or a small number."""
    tokens = torch.randint(1, config.vocab_size - 2, (count, config.max_position_embeddings))
    for row, end in zip(tokens, torch.randint(1, config.max_position_embeddings, (count,)).tolist()):
        row[end], row[end + 1 :] = config.vocab_size - 1, config.pad_token_id
    return tokens


def both_text(config: TextConfig, projects: bool, end: int | None = None):
    """Ours and theirs, with the same weights. end: what their configuration calls the end token."""
    their_class = CLIPTextModelWithProjection if projects else CLIPTextModel
    end = config.vocab_size - 1 if end is None else end
    torch.manual_seed(1)
    theirs = shaken(their_class(CLIPTextConfig(**asdict(config), eos_token_id=end)))
    ours = TextTransformer(config, projects)
    load_clip_weights(ours, {key: tensor.clone() for key, tensor in theirs.state_dict().items()}, "transformers")
    return ours, theirs


@pytest.mark.parametrize("name", ENCODERS)
def test_text_as_in_transformers(name):
    """What each version reads of it: the last layer, the one before it, the pooled vector; and every gradient."""
    config, projects = ENCODERS[name]
    ours, theirs = both_text(config, projects)
    tokens = random_tokens(config)
    mine, other = ours(tokens), theirs(input_ids=tokens, output_hidden_states=True)
    pooled = other.text_embeds if projects else other.pooler_output
    assert close(mine.last, other.last_hidden_state) and close(mine.pooled, pooled)
    assert len(mine.layers) == len(other.hidden_states) == config.num_hidden_layers + 1
    for layer, hidden in zip(mine.layers[:-1], other.hidden_states[:-1]):  # theirs may end with `last`
        assert close(layer, hidden)

    weight = torch.randn_like(mine.last), torch.randn_like(mine.pooled)
    ((mine.last * weight[0]).sum() + (mine.pooled * weight[1]).sum()).backward()
    ((other.last_hidden_state * weight[0]).sum() + (pooled * weight[1]).sum()).backward()
    gradients = {key.removeprefix("text_model."): parameter.grad for key, parameter in theirs.named_parameters()}
    assert_same_gradients(ours, gradients)


def test_the_end_token_of_old_configurations():
    """Stable Diffusion's own files say 2, where transformers then looks for the largest number, as CLIP did."""
    config, _ = ENCODERS["XL, second"]
    ours, theirs = both_text(config, True, end=2)
    tokens = random_tokens(config)
    assert close(ours(tokens).pooled, theirs(input_ids=tokens).text_embeds)


@pytest.mark.parametrize("act", ["gelu", "quick_gelu"])
def test_vision_as_in_transformers(act):
    config = VisionConfig(32, 64, 3, 4, act, image_size=48, patch_size=16)
    torch.manual_seed(2)
    theirs = shaken(CLIPVisionModel(CLIPVisionConfig(**asdict(config))))
    ours = VisionTransformer(config)
    ours.load_state_dict({key.removeprefix("vision_model."): tensor for key, tensor in theirs.state_dict().items()})
    image = torch.randn(2, 3, 48, 48)
    mine, other = ours(image), theirs(pixel_values=image, output_hidden_states=True)
    assert close(mine.last, other.last_hidden_state) and close(mine.pooled, other.pooler_output)
    assert all(close(layer, hidden) for layer, hidden in zip(mine.layers, other.hidden_states, strict=True))
    mine.pooled.square().sum().backward()
    other.pooler_output.square().sum().backward()
    gradients = {key.removeprefix("vision_model."): parameter.grad for key, parameter in theirs.named_parameters()}
    assert_same_gradients(ours, gradients)


def test_the_shipped_encoders_are_read_alike():
    """Opened by each library from the same folder."""
    config = SHIPPED / "tiny" / "text_encoder"
    ours, theirs = load_text_encoder(config).float(), CLIPTextModel.from_pretrained(config)
    tokens = random_tokens(versions.TINY.text[0])
    with torch.no_grad():
        assert close(ours(tokens).last, theirs(input_ids=tokens).last_hidden_state)
    assert ours.config == versions.TINY.text[0]


@pytest.mark.parametrize("projects", [False, True])
def test_transformers_opens_what_is_saved(projects, tmp_path):
    config, _ = ENCODERS["XL, second"]
    ours, _ = both_text(config, projects)
    save_text_encoder(ours, tmp_path)
    theirs = (CLIPTextModelWithProjection if projects else CLIPTextModel).from_pretrained(tmp_path)
    tokens = random_tokens(config)
    with torch.no_grad():
        other = theirs(input_ids=tokens)
        assert close(ours(tokens).last, other.last_hidden_state)
        assert close(ours(tokens).pooled, other.text_embeds if projects else other.pooler_output)
    assert load_text_encoder(tmp_path, projects=projects).config == config


def test_an_activation_that_is_not_known(tmp_path):
    ours, _ = both_text(*ENCODERS["SD1"])
    save_text_encoder(ours, tmp_path)
    file = tmp_path / "config.json"
    file.write_text(file.read_text().replace('"quick_gelu"', '"relu"'))
    with pytest.raises(ValueError, match="relu"):
        load_text_encoder(tmp_path)


# ── Tokenizer ────────────────────────────────────────────────────────────────────────────────────────

TEXTS = [
    "a red circle above a blue square",
    "",
    "  A\tRed\n\nCircle!! it's THE 42nd one's, we'll see…",
    "naïve café 中文 🙂 Ångström é",  # one letter in one piece, and the same in two
    "<|startoftext|> a <|endoftext|> b <|ENDOFTEXT|>",
    "x" * 300,
    "-- --red--blue_green 'sse' 1234",
]


def words_of(folder: Path) -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def test_the_shipped_tokenizer_cuts_as_transformers_does():
    folder = SHIPPED / "tiny" / "tokenizer"
    ours, theirs = load_tokenizer(folder), words_of(folder)
    for text in TEXTS:
        expected = theirs(text, add_special_tokens=False, verbose=False)["input_ids"]
        assert ours.numbers([text]) == [expected], text
        assert ours.pieces(text) == theirs.convert_ids_to_tokens(expected), text
        assert ours.text(expected) == theirs.decode(expected), text
    assert (ours.start, ours.end, ours.pad) == (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id)
    assert ours.length == theirs.model_max_length


@pytest.mark.filterwarnings("ignore:only the first")
@pytest.mark.parametrize("pad", [END, "!"])
@pytest.mark.parametrize("old", [False, True], ids=["tokenizer.json", "vocab.json and merges.txt"])
def test_a_saved_tokenizer_is_read_by_both(pad, old, tmp_path):
    merges = learn_merges(["red", "circle", "above"])
    save_tokenizer(Tokenizer(clip_bpe(vocabulary(merges), merges), pad, 77), tmp_path)
    if old:
        (tmp_path / "tokenizer.json").unlink()
    ours, theirs = load_tokenizer(tmp_path), words_of(tmp_path)
    expected = theirs(TEXTS, padding="max_length", max_length=77, truncation=True, return_tensors="pt")["input_ids"]
    assert torch.equal(tokenize(ours, TEXTS, 77), expected)
    assert ours.length == theirs.model_max_length == 77


def test_what_transformers_saves_is_read(tmp_path):
    merges = learn_merges(["red", "circle", "above"])
    theirs = CLIPTokenizer(vocab=vocabulary(merges), merges=merges, pad_token="!", model_max_length=40)
    theirs.save_pretrained(tmp_path)
    ours = load_tokenizer(tmp_path)
    assert ours.pad == theirs.pad_token_id and ours.length == 40
    assert ours.numbers(TEXTS) == theirs(TEXTS, add_special_tokens=False, verbose=False)["input_ids"]


def test_padding_as_older_files_tell_it(tmp_path):
    """special_tokens_map.json, with a token as a dictionary."""
    merges = learn_merges(["red"])
    save_tokenizer(Tokenizer(clip_bpe(vocabulary(merges), merges)), tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "special_tokens_map.json").write_text('{"pad_token": {"content": "!", "lstrip": false}}')
    assert load_tokenizer(tmp_path).pad == vocabulary(merges)["!"]
    (tmp_path / "special_tokens_map.json").write_text('{"pad_token": "<pad>"}')
    with pytest.raises(ValueError, match="'<pad>' is not one of the tokenizer's pieces"):
        load_tokenizer(tmp_path)
    assert {START, END} <= vocabulary(merges).keys()


# ── Import ───────────────────────────────────────────────────────────────────────────────────────────


def test_generating_and_saving_need_no_transformers(tmp_path):
    """Importing it takes longer than everything else together. Nor is PyTorch's compiler needed."""
    program = (
        "import sys; sys.modules['transformers'] = sys.modules['diffusers'] = None\n"
        "from tinyldm import LatentDiffusion\n"
        "model = LatentDiffusion.from_pretrained('tiny')\n"
        "context = model.encode_image(model.generate(['a red circle'], steps=1))\n"
        "assert 'torch._dynamo' not in sys.modules, 'the compiler takes a second to import'\n"
        f"model.save_pretrained({str(tmp_path / 'model')!r})\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(tinyldm.__file__).parents[1])
    assert LatentDiffusion.from_pretrained(tmp_path / "model").image_encoder is not None
