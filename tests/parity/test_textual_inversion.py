"""One new word: embeddings of diffusers and of AUTOMATIC1111, and ours, against diffusers."""

import pytest
import small_pipelines as sd
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from tinyldm import LatentDiffusion
from tinyldm.beyond.textual_inversion import add_word, learning, load_word, save_word, vectors_of
from tinyldm.formats.tokenizers import load_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:.*steps with")


def opened(pipe, folder) -> LatentDiffusion:
    return LatentDiffusion.from_pretrained(sd.saved(pipe, folder))


def noise() -> Tensor:
    return torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(21))


def agree(model: LatentDiffusion, pipe, caption: str) -> None:
    """Contexts within 1e-5 and pixels within 1/255; and the word counts."""
    keywords = dict(num_inference_steps=4, guidance_scale=5.0, height=64, width=64, output_type="pt")
    theirs = pipe(caption, latents=noise(), **keywords).images
    ours = model.generate([caption], steps=4, guidance_scale=5.0, noise=noise())
    assert (ours - theirs).abs().max() < 1 / 255
    context = pipe.encode_prompt(caption, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)[0]
    assert sd.relative(model.encode_text([caption]), context) < 1e-5
    without = model.generate([caption.replace("<cat>", "horse")], steps=4, guidance_scale=5.0, noise=noise())
    assert (ours - without).abs().max() > 0.01


def vectors(count: int, width: int = 32, seed: int = 1) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("kind", ["diffusers", "bin", "AUTOMATIC1111", "folder"])
def test_the_words_of_others(kind, count, tmp_path):
    pipe = sd.pipeline()
    model = opened(pipe, tmp_path / "model")
    key = "emb_params" if kind == "AUTOMATIC1111" else "<cat>"
    file = tmp_path / {"bin": "cat.bin", "folder": "learned_embeds.safetensors"}.get(kind, "<cat>.safetensors")
    state = {key: vectors(count)[0] if count == 1 and kind == "diffusers" else vectors(count)}
    torch.save(state, file) if kind == "bin" else save_file(state, file)
    pipe.load_textual_inversion(str(tmp_path), weight_name=file.name, token="<cat>")
    assert load_word(tmp_path if kind == "folder" else file, model) == "<cat>"
    agree(model, pipe, "a red <cat> riding a horse, photo of <cat>")


def test_a_word_for_xl(tmp_path):
    """One file for both text encoders, as AUTOMATIC1111's trainers write it.

    The second encoder's folder has `eos_token_id` 2 in the published models: the pooled vector is that of the largest
    token, which a new word is. So it is here, and in diffusers.
    """
    pipe = sd.pipeline_xl()
    model = opened(pipe, tmp_path / "model")
    for module in pipe.text_encoder_2.modules():
        if hasattr(module, "eos_token_id"):
            module.eos_token_id = 2
    state = {"clip_l": vectors(2), "clip_g": vectors(2, 48, seed=2)}
    save_file(state, tmp_path / "<cat>.safetensors")
    pipe.load_textual_inversion(state["clip_l"], token="<cat>")
    second = dict(text_encoder=pipe.text_encoder_2, tokenizer=pipe.tokenizer_2)
    pipe.load_textual_inversion(state["clip_g"], token="<cat>", **second)
    assert load_word(tmp_path / "<cat>.safetensors", model) == "<cat>"
    agree(model, pipe, "a red <cat> on the moon")
    model.save_pretrained(tmp_path / "with a word")
    agree(model, StableDiffusionXLPipeline.from_pretrained(tmp_path / "with a word"), "a red <cat> on the moon")
    save_word(model, "<cat>", tmp_path / "again.safetensors")
    assert all(torch.equal(tensor, state[key]) for key, tensor in load_file(tmp_path / "again.safetensors").items())


def test_ours_opens_in_diffusers(tmp_path):
    pipe = sd.pipeline()
    model = opened(pipe, tmp_path / "model")
    add_word(model, "<cat>", vectors(2))
    save_word(model, "<cat>", tmp_path / "learned_embeds.safetensors")
    pipe.load_textual_inversion(str(tmp_path))
    agree(model, pipe, "<cat> photo")


def test_only_the_word_learns(tmp_path):
    """The gradient of its vectors is that of the table's rows, had the table been trained; nothing else has one."""
    model = opened(sd.pipeline(), tmp_path / "model")
    add_word(model, "<cat>", vectors_of(model, "horse on")[0])
    caption = ["a <cat> a <cat>"]
    given = torch.nn.Parameter(vectors(2))
    with learning(model, "<cat>", given):
        model.text_encoder.encode(caption).context.square().sum().backward()
    clip = model.text_encoder.clip
    assert not any(parameter.grad is not None for parameter in clip.parameters())
    table = clip.embeddings.token_embedding.weight
    numbers = model.text_encoder.tokenizer.numbers(["<cat>"])[0]
    with torch.no_grad():
        table[numbers] = given
    table.requires_grad_(True)
    model.text_encoder.encode(caption).context.square().sum().backward()
    torch.testing.assert_close(given.grad, table.grad[numbers])


def test_the_word_survives_saving_the_whole_model(tmp_path):
    model = opened(sd.pipeline(), tmp_path / "model")
    add_word(model, "<cat>", vectors(1))
    model.save_pretrained(tmp_path / "again")
    again = LatentDiffusion.from_pretrained(tmp_path / "again")
    assert load_tokenizer(tmp_path / "again" / "tokenizer").pieces("a <cat>") == ["a</w>", "<cat>"]
    torch.testing.assert_close(again.encode_text(["a <cat>"]), model.encode_text(["a <cat>"]))


def test_what_is_no_word_of_this_model_is_refused(tmp_path):
    model = opened(sd.pipeline(), tmp_path / "model")
    before = model.encode_text(["a horse"])
    for state, message in (
        ({"<cat>": vectors(1, 48)}, "has vectors 48 wide, and the text encoder reads vectors 32 wide"),
        ({"clip_l": vectors(1), "clip_g": vectors(1)}, "has vectors 32, 32 wide"),
        ({"horse</w>": vectors(1)}, "is no new word"),
        ({"<cat>": vectors(76)}, "76 vectors; expected 1 … 75"),
        ({"<cat>": vectors(1)[None]}, r"holds a tensor \(1, 1, 32\)"),
        ({"lora_unet_a.alpha": vectors(1)}, "holds LoRA weights in 1 tensors"),
        ({"a": vectors(1), "b": vectors(1)}, "holds something else in 2 tensors; expected a word's embedding"),
    ):
        file = tmp_path / "file.safetensors"
        save_file(state, file)
        with pytest.raises(ValueError, match=message) as caught:
            load_word(file, model)
        assert str(file) in str(caught.value) and "\n" not in str(caught.value)
    assert torch.equal(model.encode_text(["a horse"]), before)
