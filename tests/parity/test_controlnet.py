"""ControlNets of diffusers, and ours, against diffusers: the network, the pipelines, the folder."""

import diffusers
import pytest
import small_pipelines as sd
import torch
from torch import Tensor

from tinyldm import LatentDiffusion, UNetConfig
from tinyldm.beyond.controlnet import ControlNet, ControlNetConfig, load_controlnet, save_controlnet, steered
from tinyldm.conditioning import size_embedding
from tinyldm.formats.files import read_json, write_json
from tinyldm.formats.weights import without_memory

pytestmark = pytest.mark.filterwarnings("ignore:.*steps with")
WIDTHS = (8, 8, 16, 16)
PIPELINES = {
    "SD1": (sd.pipeline, diffusers.StableDiffusionControlNetPipeline),
    "SD2": (lambda: sd.pipeline(unet=sd.UNET_SD21, act="gelu", pad="!"), diffusers.StableDiffusionControlNetPipeline),
    "XL": (sd.pipeline_xl, diffusers.StableDiffusionXLControlNetPipeline),
}


@pytest.fixture(scope="module", params=PIPELINES)
def both(request, tmp_path_factory):
    """(model, ControlNet) of ours, and the pipeline of diffusers that wrote them."""
    folder = tmp_path_factory.mktemp("control")
    make, pipeline_class = PIPELINES[request.param]
    pipe = make()
    control = diffusers.ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=WIDTHS)
    sd.shaken(control, seed=6).save_pretrained(folder / "control")  # no convolution is zero any more
    parts = dict(pipe.components, controlnet=control)
    parts.pop("image_encoder", None)
    extra = {} if request.param == "XL" else dict(requires_safety_checker=False)
    steered_pipe = pipeline_class(**parts, **extra)
    steered_pipe.set_progress_bar_config(disable=True)
    model = LatentDiffusion.from_pretrained(sd.saved(pipe, folder / "model"))
    return model, load_controlnet(folder / "control"), steered_pipe


def drawing(count: int = 1, size: int = 64) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(8))


def test_the_network(both):
    model, control, pipe = both
    generator = torch.Generator().manual_seed(4)
    config = pipe.unet.config
    z_t, context = (torch.randn(2, *s, generator=generator) for s in ((4, 8, 8), (77, config.cross_attention_dim)))
    t, added, conditions = torch.tensor([3, 700]), None, None
    if config.addition_embed_type is not None:
        pooled, sizes = torch.randn(2, 24, generator=generator), torch.tensor([[64.0, 64, 0, 0, 64, 64]] * 2)
        added, conditions = size_embedding(pooled, sizes), {"text_embeds": pooled, "time_ids": sizes}
    with torch.no_grad():
        *skips, middle = control(z_t, t, context, added, drawing(2))
        theirs = pipe.controlnet(z_t, t, context, drawing(2), added_cond_kwargs=conditions)
        assert len(skips) == len(theirs.down_block_res_samples)
        for a, b in zip([*skips, middle], [*theirs.down_block_res_samples, theirs.mid_block_res_sample]):
            assert sd.relative(a, b) < 1e-5
        with steered(model.unet, control, drawing(2), scale=0.7):
            ours = model.unet(z_t, t, context, added)
        expected = pipe.unet(
            z_t,
            t,
            context,
            added_cond_kwargs=conditions,
            down_block_additional_residuals=[0.7 * residual for residual in theirs.down_block_res_samples],
            mid_block_additional_residual=0.7 * theirs.mid_block_res_sample,
        ).sample
        assert sd.relative(ours, expected) < 1e-5
        assert sd.relative(model.unet(z_t, t, context, added), expected) > 1e-2, "after the block it is itself again"


@pytest.mark.parametrize("scale", [1.0, 0.6])
def test_the_pipeline(both, scale):
    model, control, pipe = both
    captions, noise = ["a red horse", "photo of the moon"], torch.randn(2, 4, 8, 8)
    theirs = pipe(
        captions,
        image=drawing(),
        latents=noise,
        num_inference_steps=4,
        guidance_scale=5.0,
        height=64,
        width=64,
        output_type="pt",
        controlnet_conditioning_scale=scale,
    ).images
    with steered(model.unet, control, drawing(), scale):
        ours = model.generate(captions, steps=4, guidance_scale=5.0, noise=noise)
    assert (ours - theirs).abs().max() < 1 / 255
    assert (model.generate(captions, steps=4, guidance_scale=5.0, noise=noise) - theirs).abs().max() > 0.02


def test_ours_opens_in_diffusers(both, tmp_path):
    model, _, pipe = both
    control = ControlNet.copy_of(model.unet, WIDTHS)
    fresh = diffusers.ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=WIDTHS)
    assert sum(p.numel() for p in control.parameters()) == sum(p.numel() for p in fresh.parameters())
    sd.shaken(control)
    save_controlnet(control, tmp_path)
    theirs = diffusers.ControlNetModel.from_pretrained(tmp_path)
    config = {key: theirs.config[key] for key in ("cross_attention_dim", "upcast_attention", "addition_embed_type")}
    assert config == {key: pipe.unet.config[key] for key in config}
    again = load_controlnet(tmp_path)
    assert again.config == control.config
    save_controlnet(again, tmp_path / "again")
    assert (tmp_path / "again" / "config.json").read_text() == (tmp_path / "config.json").read_text()
    assert all(torch.equal(a, b) for a, b in zip(control.parameters(), again.parameters()))


def test_a_copy_changes_nothing_and_learns(both):
    """Zero convolutions: y = x + 0, and ∂y/∂w = x is not 0."""
    model, _, _ = both
    if model.unet.config.added_dim is not None:
        return  # the same, with one more input
    control = ControlNet.copy_of(model.unet, WIDTHS)
    z_t, t, context = torch.randn(2, 4, 8, 8), torch.tensor([3, 700]), torch.randn(2, 7, model.unet.config.context_dim)
    plain = model.unet(z_t, t, context)
    with steered(model.unet, control, drawing()):
        output = model.unet(z_t, t, context)
    assert torch.equal(output, plain)
    output.square().sum().backward()
    moving = {name.split(".")[0] for name, p in control.named_parameters() if p.grad is not None and p.grad.any()}
    assert moving == {"zero_convs", "zero_conv_middle"}, "behind zeros, nothing learns in the first step"


def test_stable_diffusion_1s_has_361_million_parameters():
    """As published: lllyasviel/sd-controlnet-canny."""
    with without_memory():
        control = ControlNet(ControlNetConfig(UNetConfig()))
    assert sum(parameter.numel() for parameter in control.parameters()) == 361_279_120


@pytest.mark.parametrize(
    "change, message",
    [
        ({"_class_name": "UNet2DConditionModel"}, "holds a U-Net alone; expected the folder of a ControlNet"),
        ({"global_pool_conditions": True}, "global_pool_conditions is True"),
        ({"controlnet_conditioning_channel_order": "bgr"}, "channel_order is 'bgr'"),
        ({"conditioning_embedding_out_channels": [10**9]}, "conditioning_embedding_out_channels"),
        ({"conditioning_channels": 0}, "conditioning_channels is 0"),
    ],
    ids=["U-Net", "pool", "bgr", "wide", "none"],
)
def test_what_is_no_controlnet_of_this_kind_is_refused(change, message, tmp_path):
    unet = UNetConfig(
        channels=(16, 32), blocks_per_level=1, transformer_depth=(1, 1), heads=(2, 4), context_dim=24, groups=8
    )
    save_controlnet(ControlNet(ControlNetConfig(unet, drawing_widths=WIDTHS)), tmp_path)
    load_controlnet(tmp_path)
    write_json(tmp_path / "config.json", {**read_json(tmp_path / "config.json"), **change})
    with pytest.raises(ValueError, match=message) as caught:
        load_controlnet(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_mistakes_are_explained(both):
    model, control, _ = both
    other = ControlNet(ControlNetConfig(UNetConfig(channels=(32,), transformer_depth=(1,), heads=(2,), context_dim=8)))
    with pytest.raises(ValueError, match="another version"), steered(model.unet, other, drawing()):
        pass
    with steered(model.unet, control, drawing(size=32)), pytest.raises(ValueError, match="of 64×64 pixels"):
        model.generate(["a horse"], steps=2, noise=torch.randn(1, 4, 8, 8))
