"""LoRA files that diffusers, peft and kohya's scripts write, and ours, against diffusers and peft."""

import re

import diffusers
import pytest
import small_pipelines as sd
import torch
from diffusers.training_utils import _collate_lora_metadata
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn

from tinyldm import LatentDiffusion
from tinyldm.beyond.lora import attached, layers_of, load_lora, merge, new_lora, save_lora, unmerge

pytestmark = pytest.mark.filterwarnings("ignore:.*steps with")
CAPTION = "a red horse on the moon"
SD2 = dict(unet=sd.UNET_SD2, act="gelu", pad="!")
MODELS = {"SD1": sd.pipeline, "SD2": lambda: sd.pipeline(**SD2), "XL": sd.pipeline_xl}
UNET_ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
TEXT_ATTENTION = ["q_proj", "k_proj", "v_proj", "out_proj"]


@pytest.fixture(scope="module", params=MODELS)
def both(request, tmp_path_factory):
    """A model of ours and one of diffusers', with the same weights."""
    pipe = MODELS[request.param]()
    return LatentDiffusion.from_pretrained(sd.saved(pipe, tmp_path_factory.mktemp("lora"))), pipe


def noise() -> Tensor:
    return torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(21))


def ours(model: LatentDiffusion) -> Tensor:
    return model.generate([CAPTION], steps=4, guidance_scale=5.0, noise=noise())


def theirs(pipe) -> Tensor:
    keywords = dict(num_inference_steps=4, guidance_scale=5.0, height=64, width=64, output_type="pt")
    return pipe(CAPTION, latents=noise(), **keywords).images


def unet_inputs(pipe) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    generator = torch.Generator().manual_seed(4)
    config = pipe.unet.config
    z_t, context = (torch.randn(2, *s, generator=generator) for s in ((4, 8, 8), (77, config.cross_attention_dim)))
    is_xl = config.addition_embed_type is not None
    pooled, sizes = torch.randn(2, 24, generator=generator), torch.tensor([[64.0, 64, 0, 0, 64, 64]] * 2)
    return z_t, torch.tensor([3, 700]), context, pooled if is_xl else None, sizes if is_xl else None


def unets_agree(model: LatentDiffusion, pipe) -> None:
    from tinyldm.conditioning import size_embedding

    z_t, t, context, pooled, sizes = unet_inputs(pipe)
    added = None if pooled is None else size_embedding(pooled, sizes)
    conditions = None if pooled is None else {"text_embeds": pooled, "time_ids": sizes}
    with torch.no_grad():
        expected = pipe.unet(z_t, t, context, added_cond_kwargs=conditions).sample
        assert sd.relative(model.unet(z_t, t, context, added), expected) < 1e-5


def agree(model: LatentDiffusion, pipe, file, weight: float = 1.0) -> None:
    """Our model with the LoRA in `file` draws what diffusers' draws, which has it already; and then it is undone."""
    before = ours(model)
    lora = load_lora(file, model)
    merge(lora, model, weight)
    expected = theirs(pipe)
    assert (before - expected).abs().max() > 0.02, "the LoRA changes nothing"
    unets_agree(model, pipe)
    assert (ours(model) - expected).abs().max() < 1 / 255
    unmerge(lora, model, weight)
    assert (ours(model) - before).abs().max() < 1e-4
    if all(isinstance(layers_of(model)[name], nn.Linear) for name in lora.names):
        with attached(lora, model, weight):
            assert (ours(model) - expected).abs().max() < 1 / 255


def test_a_lora_that_diffusers_wrote(both, tmp_path):
    """As its training scripts write it: with α in the file's header, and of all text encoders."""
    model, pipe = both
    of_unet = LoraConfig(r=4, lora_alpha=2, target_modules=UNET_ATTENTION, init_lora_weights=False)
    of_text = LoraConfig(r=3, lora_alpha=6, target_modules=TEXT_ATTENTION, init_lora_weights=False)
    parts = {name: getattr(pipe, name) for name in ("unet", "text_encoder", "text_encoder_2") if hasattr(pipe, name)}
    layers = {}
    for name, part in parts.items():
        part.add_adapter(of_unet if name == "unet" else of_text)
        layers[f"{name}_lora_layers"] = convert_state_dict_to_diffusers(get_peft_model_state_dict(part))
    type(pipe).save_lora_weights(tmp_path, **layers, **_collate_lora_metadata(parts))
    agree(model, pipe, tmp_path)
    pipe.unload_lora_weights()


def random_pairs(names: dict[str, nn.Module], down: str, up: str, alpha: bool) -> dict[str, Tensor]:
    """Two random matrices of rank 4 for each layer, under the names given."""
    generator = torch.Generator().manual_seed(2)
    state = {}
    for name, layer in names.items():
        out, inputs, *kernel = layer.weight.shape
        state[f"{name}.{down}.weight"] = 0.3 * torch.randn(4, inputs, *kernel, generator=generator) / inputs**0.5
        state[f"{name}.{up}.weight"] = 0.3 * torch.randn(out, 4, *(1 for _ in kernel), generator=generator)
        if alpha:
            state[f"{name}.alpha"] = torch.tensor(2.0)
    return state


def linears(network: nn.Module, pattern: str) -> dict[str, nn.Module]:
    found = {name: module for name, module in network.named_modules() if re.search(pattern, name)}
    return {name: module for name, module in found.items() if isinstance(module, (nn.Linear, nn.Conv2d))}


def kohya(pipe) -> dict[str, Tensor]:
    """What kohya's scripts write by default, all layers of the transformers and of CLIP, and some convolutions.

    For XL with the names of the original code, made by the rules of the tests, not by the tables of the package.
    """
    of_unet = linears(pipe.unet, r"attn[12]\.to_|ff\.net\.|proj_(in|out)$|resnets\.0\.conv[12]$")
    if hasattr(pipe, "text_encoder_2"):
        renamed = sd.compvis_unet({f"{name}.weight": module for name, module in of_unet.items()}, sd.UNET_XL)
        prefix = "model.diffusion_model."
        of_unet = {key.removeprefix(prefix).removesuffix(".weight"): module for key, module in renamed.items()}
    layers = {f"lora_unet_{name.replace('.', '_')}": module for name, module in of_unet.items()}
    texts = {"te": "text_encoder"}
    if hasattr(pipe, "text_encoder_2"):
        texts = {"te1": "text_encoder", "te2": "text_encoder_2"}
    for short, part in texts.items():
        for name, module in linears(getattr(pipe, part), r"self_attn\.|mlp\.").items():
            name = name.removeprefix("text_model.").replace(".", "_")
            layers[f"lora_{short}_text_model_{name}"] = module
    return random_pairs(layers, "lora_down", "lora_up", alpha=True)


def test_a_lora_in_kohyas_layout(both, tmp_path):
    (model, pipe), weight = both, 0.6
    file = tmp_path / "style.safetensors"
    save_file(kohya(pipe), file)
    pipe.load_lora_weights(tmp_path, weight_name=file.name, adapter_name="style")
    pipe.set_adapters("style", weight)
    agree(model, pipe, file, weight)
    pipe.unload_lora_weights()


def test_a_lora_of_the_first_diffusers(tmp_path):
    """Its attention processors of early 2023: …attn1.processor.to_out_lora.down.weight."""
    pipe = sd.pipeline()
    model = LatentDiffusion.from_pretrained(sd.saved(pipe, tmp_path / "model"))
    names = {}
    for name, module in linears(pipe.unet, r"attn[12]\.to_").items():
        head, _, tail = name.removesuffix(".0").rpartition(".")
        names[f"unet.{head}.processor.{tail}_lora"] = module
    file = tmp_path / "old.safetensors"
    save_file(random_pairs(names, "down", "up", alpha=False), file)
    pipe.load_lora_weights(tmp_path, weight_name=file.name)
    agree(model, pipe, file)


@pytest.mark.parametrize("stabilised", [False, True])
def test_an_adapter_that_peft_wrote(stabilised, tmp_path):
    """A folder with adapter_config.json, whose names do not say that they are the U-Net's."""
    pipe = sd.pipeline()
    model = LatentDiffusion.from_pretrained(sd.saved(pipe, tmp_path / "model"))
    config = LoraConfig(
        r=4,
        lora_alpha=3,
        target_modules=UNET_ATTENTION,
        init_lora_weights=False,
        use_rslora=stabilised,
        alpha_pattern={"attn1.to_q": 8},
    )
    wrapped = get_peft_model(pipe.unet, config)
    wrapped.save_pretrained(tmp_path / "adapter")
    agree(model, pipe, tmp_path / "adapter")


def test_ours_opens_in_diffusers(both, tmp_path):
    model, pipe = both
    lora = new_lora(model, 4, 3, parts=("unet", "text_encoder"), generator=torch.Generator().manual_seed(5))
    before = ours(model)
    with attached(lora, model):
        assert torch.equal(ours(model), before), "B is 0 at first, so that nothing changes"
    for change in lora.changes:
        nn.init.normal_(change.B, std=0.3)
    file = tmp_path / "ours.safetensors"
    save_lora(lora, model, file)
    pipe.load_lora_weights(tmp_path, weight_name=file.name)
    agree(model, pipe, file)
    pipe.unload_lora_weights()
    merge(lora, model)
    after = ours(model)
    unmerge(lora, model)
    merge(load_lora(file, model), model)
    assert (ours(model) - after).abs().max() < 1e-4
    unmerge(lora, model)


def test_the_parameters_of_stable_diffusion_1s_lora():
    """797,184 at rank 4 in the attention of the U-Net, as peft counts them."""
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(
            cross_attention_dim=768, attention_head_dim=8, block_out_channels=(320, 640, 1280, 1280)
        )
    unet.add_adapter(LoraConfig(r=4, target_modules=UNET_ATTENTION))
    expected = sum(parameter.numel() for name, parameter in unet.named_parameters() if "lora_" in name)
    from tinyldm import UNet, UNetConfig
    from tinyldm.formats.weights import without_memory

    class Whole:
        text_encoder = nn.Module()

    with without_memory():
        Whole.unet = UNet(UNetConfig())
        lora = new_lora(Whole)
    assert sum(parameter.numel() for parameter in lora.parameters()) == expected == 797_184


@pytest.fixture(scope="module")
def sd1(tmp_path_factory):
    pipe = sd.pipeline()
    return LatentDiffusion.from_pretrained(sd.saved(pipe, tmp_path_factory.mktemp("sd1"))), kohya(pipe)


@pytest.mark.parametrize(
    "rename, message",
    [
        (lambda key: key.replace("lora_down", "hada_w1_a"), "LoHa"),
        (lambda key: key.replace(".alpha", ".dora_scale"), "DoRA"),
        (lambda key: key.replace("down_blocks_0", "down_blocks_7"), "LoRA for another model"),
        (lambda key: key.replace("lora_up", "lora_down") if "mid_block" in key else key, "only one of the two"),
        (lambda key: f"control_model.{key.replace('.', '_')}", "a ControlNet"),
        (lambda key: f"emb_params.{key.replace('lora', '').replace('.', '_')}", "a textual inversion"),
    ],
    ids=["LoHa", "DoRA", "other layers", "half", "ControlNet", "word"],
)
def test_what_is_no_lora_of_this_model_is_refused(sd1, rename, message, tmp_path):
    model, state = sd1
    file = tmp_path / "file.safetensors"
    save_file({rename(key): tensor for key, tensor in state.items()}, file)
    with pytest.raises(ValueError, match=message) as caught:
        load_lora(file, model)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_a_lora_of_another_width_is_refused(sd1, tmp_path):
    """Stable Diffusion 2's U-Net has the names of 1's, and reads a wider context."""
    model, state = sd1
    file = tmp_path / "file.safetensors"
    key = next(key for key in state if "attn2_to_k.lora_down" in key)
    save_file({**state, key: torch.zeros(4, 48)}, file)
    with pytest.raises(ValueError, match="goes from 48 to .* the model's goes from 32 to .*another version"):
        load_lora(file, model)
