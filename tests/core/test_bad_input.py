"""A caller's mistake is a ValueError that names both sides: what was given and what was expected.

Each row of a table is: what is called, and what the message has to contain, in this order.
"""

import math
import pickle
import shutil
from dataclasses import replace

import PIL.Image
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import SMALL_UNET, SMALL_VAE, make_model

from tinyldm import LatentDiffusion
from tinyldm.conditioning import ClassEncoder
from tinyldm.forward_diffusion import NoiseSchedule, scaled_linear_betas
from tinyldm.resblock import ResBlock, timestep_embedding
from tinyldm.reverse_diffusion import ddim, ddpm, dpm_solver_pp, euler, guided, timesteps
from tinyldm.spatial_transformer import Attention
from tinyldm.training.train_vae import calibrate_scale
from tinyldm.unet import UNet, UNetConfig
from tinyldm.vae import VAE, VAEConfig

NAN = math.nan


def refuses(call, *parts):
    """`call` raises a ValueError that contains all the parts, in order."""
    with pytest.raises(ValueError) as caught:
        call()
    rest = str(caught.value)
    for part in parts:
        assert part in rest, f"{part!r} is missing in: {caught.value}"
        rest = rest.split(part, 1)[1]


def table(*rows):
    cases = [pytest.param(call, parts, id=" … ".join(parts)) for call, *parts in rows]
    return pytest.mark.parametrize("call, parts", cases)


# ── Configurations ───────────────────────────────────────────────────────────────────────────────────


@table(
    (lambda: UNetConfig(channels=(30,), transformer_depth=(0,), heads=(1,)), "30 channels", "32"),
    (lambda: UNetConfig(channels=(32,), transformer_depth=(0,), heads=(1,), groups=0), "32 channels", "0"),
    (lambda: UNetConfig(channels=(32, 32)), "transformer_depth has 4", "channels has 2"),
    (lambda: UNetConfig(channels=(32, 32), transformer_depth=(0, 0), heads=(1,)), "heads has 1", "channels has 2"),
    (lambda: UNetConfig(channels=(9,), transformer_depth=(0,), heads=(1,), groups=3), "9", "even"),
    (lambda: UNetConfig(channels=(), transformer_depth=(), heads=()), "channels", "()"),
    (lambda: replace(SMALL_UNET, blocks_per_level=0), "blocks_per_level", "0", "1"),
    (lambda: UNet(replace(SMALL_UNET, heads=(3, 4))), "16", "3 heads"),
    (lambda: UNet(replace(SMALL_UNET, heads=(0, 4))), "16", "0 heads"),
    (lambda: VAEConfig(channels=(128, 100)), "100 channels", "32"),
    (lambda: VAEConfig(channels=()), "channels", "()"),
    (lambda: replace(SMALL_VAE, blocks_per_level=0), "blocks_per_level", "0", "1"),
    (lambda: replace(SMALL_VAE, scale=0.0), "scale is 0.0", "above 0"),
    (lambda: replace(SMALL_VAE, scale=-1.0), "scale is -1.0", "above 0"),
    (lambda: replace(SMALL_VAE, scale=NAN), "scale is nan", "above 0"),
    (lambda: Attention(10, 10, 4), "10", "4 heads"),
)
def test_configurations(call, parts):
    refuses(call, *parts)


# ── Networks ─────────────────────────────────────────────────────────────────────────────────────────

UNET, VAE_ = UNet(SMALL_UNET).eval(), VAE(SMALL_VAE).eval()
XL = UNet(replace(SMALL_UNET, added_dim=12)).eval()
Z, T, CONTEXT = torch.randn(2, 4, 8, 8), torch.tensor([1, 2]), torch.randn(2, 5, 24)


@table(
    (lambda: UNET(torch.randn(2, 3, 8, 8), T, CONTEXT), "(2, 3, 8, 8)", "(B, 4"),
    (lambda: UNET(torch.randn(4, 8, 8), T, CONTEXT), "(4, 8, 8)", "(B, 4"),
    (lambda: UNET(torch.randn(2, 4, 0, 8), T, CONTEXT), "0×8", "multiples of 1", "1×8"),
    (lambda: UNET(Z, torch.tensor([1, 2, 3]), CONTEXT), "t has shape (3,)", "(2,)"),
    (lambda: UNET(Z, T[:, None], CONTEXT), "t has shape (2, 1)", "(2,)"),
    (lambda: UNET(Z, T.to("meta"), CONTEXT), "t ", "meta", "cpu"),
    (lambda: UNET(Z, T, CONTEXT[:1]), "context", "1", "2"),
    (lambda: UNET(Z, T, CONTEXT[0]), "context", "(5, 24)", "(B, L, 24)"),
    (lambda: UNET(Z, T, CONTEXT[:, :, :20]), "20", "24"),
    (lambda: UNET(Z, T, CONTEXT.double()), "context is torch.float64", "torch.float32"),
    (lambda: UNET(Z, T, CONTEXT.to("meta")), "context", "meta", "cpu"),
    (lambda: UNET(Z.double(), T, CONTEXT), "z_t is torch.float64", "torch.float32"),
    (lambda: UNET(Z.to("meta"), T, CONTEXT), "z_t", "meta", "cpu"),
    (lambda: UNET(Z, T), "16 wide", "24"),
    (lambda: UNET(Z, T, CONTEXT, torch.randn(2, 12)), "added is given", "None"),
    (lambda: XL(Z, T, CONTEXT), "added is missing", "12"),
    (lambda: XL(Z, T, CONTEXT, torch.randn(2, 11)), "added", "11", "12"),
    (lambda: XL(Z, T, CONTEXT, torch.randn(1, 12)), "added", "1", "2"),
    (lambda: timestep_embedding(T, 5), "5", "even"),
    (lambda: timestep_embedding(T[:, None], 4), "(2, 1)", "(B,)"),
    (lambda: ResBlock(8, 8, 12, groups=4)(torch.randn(1, 8, 4, 4)), "t_emb", "None", "12"),
    (lambda: ResBlock(8, 8, groups=4)(torch.randn(1, 8, 4, 4), torch.randn(1, 12)), "t_emb", "12", "None"),
)
def test_unet(call, parts):
    refuses(call, *parts)


def test_unet_says_so_before_it_has_computed_anything():
    """A context of the wrong width is refused at once, not at the first attention after several convolutions."""
    ran = []
    hook = UNET.conv_in.register_forward_hook(lambda *_: ran.append(1))
    with pytest.raises(ValueError):
        UNET(Z, T, CONTEXT[:, :, :20])
    hook.remove()
    assert not ran


@table(
    (lambda: VAE_.encode(torch.randn(2, 4, 16, 16)), "(2, 4, 16, 16)", "(B, 3"),
    (lambda: VAE_.encode(torch.randn(3, 16, 16)), "(3, 16, 16)", "(B, 3"),
    (lambda: VAE_.encode(torch.randn(2, 3, 20, 16)), "20×16", "multiples of 8", "16×16"),
    (lambda: VAE_.encode(torch.randn(2, 3, 0, 16)), "0×16", "multiples of 8", "8×16"),
    (lambda: VAE_.encode(torch.randn(2, 3, 16, 16).double()), "torch.float64", "torch.float32"),
    (lambda: VAE_.encode(torch.zeros(2, 3, 16, 16, dtype=torch.uint8)), "torch.uint8", "torch.float32"),
    (lambda: VAE_.encode(torch.empty(2, 3, 16, 16, device="meta")), "meta", "cpu"),
    (lambda: VAE_.decode(torch.randn(2, 3, 2, 2)), "(2, 3, 2, 2)", "(B, 4"),
    (lambda: VAE_.decode(torch.randn(2, 4, 2, 2).half()), "torch.float16", "torch.float32"),
    (lambda: calibrate_scale(VAE(SMALL_VAE), torch.full((2, 3, 16, 16), NAN)), "nan", "above 0"),
)
def test_vae(call, parts):
    refuses(call, *parts)


@table(
    (lambda: ClassEncoder(10, 4)(torch.tensor([3, 10])), "[3, 10]", "0 … 9"),
    (lambda: ClassEncoder(10, 4)(torch.tensor([-1])), "[-1]", "0 … 9"),
    (lambda: ClassEncoder(10, 4)(torch.tensor([1.0])), "[1.0]", "whole"),
    (lambda: ClassEncoder(10, 4)(torch.tensor([[1]])), "[[1]]", "(B,)"),
)
def test_class_labels(call, parts):
    refuses(call, *parts)


# ── Diffusion ────────────────────────────────────────────────────────────────────────────────────────

SCHEDULE = NoiseSchedule(scaled_linear_betas())


@table(
    (lambda: NoiseSchedule(torch.tensor([0.1, 1.0, 0.1])), "0.1", "1", "between 0 and 1"),
    (lambda: NoiseSchedule(torch.tensor([1.0, 0.1])), "0.1", "1", "between 0 and 1"),
    (lambda: NoiseSchedule(torch.tensor([0.1, 1.1])), "0.1", "1.1", "between 0 and 1"),
    (lambda: NoiseSchedule(torch.tensor([0.0, 0.1])), "0", "between 0 and 1"),
    (lambda: NoiseSchedule(torch.tensor([0.1, NAN])), "nan", "between 0 and 1"),
    (lambda: NoiseSchedule(torch.full((2, 2), 0.1)), "(2, 2)", "(T,)"),
    (lambda: NoiseSchedule(torch.tensor([])), "(0,)", "(T,)"),
    (lambda: SCHEDULE.at(torch.tensor([-1])), "-1", "0 … 999"),
    (lambda: SCHEDULE.at(torch.tensor([5, 1000])), "1000", "0 … 999"),
    (lambda: SCHEDULE.at(torch.tensor([999.5])), "999.5", "0 … 999"),
    (lambda: SCHEDULE.at(torch.tensor([NAN])), "nan", "0 … 999"),
    (lambda: SCHEDULE.at(T.to("meta")), "meta", "cpu"),
    (lambda: SCHEDULE.q_sample(Z, T, Z[:1]), "(2, 4, 8, 8)", "(1, 4, 8, 8)"),
    (lambda: SCHEDULE.q_sample(Z, torch.tensor([1]), Z), "(1,)", "(B,)"),
    (lambda: SCHEDULE.q_sample(Z, torch.tensor(1), Z), "t ()", "(B,)"),
    (lambda: SCHEDULE.q_sample(Z.long(), T, Z.long()), "torch.int64", "float"),
    (lambda: SCHEDULE.q_sample(Z, T, Z.double()), "torch.float32", "torch.float64"),
    (lambda: SCHEDULE.q_sample(Z.to("meta"), T, Z), "meta", "cpu"),
    (lambda: SCHEDULE.target(Z, T, Z[:1]), "(2, 4, 8, 8)", "(1, 4, 8, 8)"),
    (lambda: timesteps(SCHEDULE, 0), "0 steps", "1 … 1000"),
    (lambda: timesteps(SCHEDULE, -3), "-3 steps", "1 … 1000"),
    (lambda: timesteps(SCHEDULE, 1001), "1001 steps", "1 … 1000"),
    (lambda: timesteps(SCHEDULE, 2.5), "2.5 steps", "1 … 1000"),
    (lambda: timesteps(SCHEDULE, NAN), "nan steps", "1 … 1000"),
)
def test_schedule(call, parts):
    refuses(call, *parts)


def predict(z_t, t):
    return z_t


@pytest.mark.parametrize("sampler", [ddim, ddpm, euler, dpm_solver_pp])
@pytest.mark.parametrize(
    "ts, final, parts",
    [
        ([1, 500], 1.0, ["falling"]),
        ([500, 500], 1.0, ["falling"]),
        ([], 1.0, ["0 timesteps", "at least 1"]),
        ([1000, 0], 1.0, ["1000", "999"]),
        ([5, -1], 1.0, ["-1", "999"]),
        ([[5, 1]], 1.0, ["(1, 2)", "(S,)"]),
        ([500], 0.1, ["0.1", "0.27"]),
        ([500], 1.5, ["1.5", "1"]),
        ([500], NAN, ["nan", "0.27"]),
    ],
)
def test_samplers(sampler, ts, final, parts):
    refuses(lambda: sampler(predict, Z, SCHEDULE, torch.tensor(ts), final_alpha_bar=final), *parts)


@pytest.mark.parametrize("eta", [-0.1, 1.5, NAN])
def test_eta(eta):
    refuses(lambda: ddim(predict, Z, SCHEDULE, T.flip(0), eta=eta), f"eta is {eta}", "0 … 1")


@table(
    (lambda: guided(UNET, CONTEXT, torch.randn(3, 5, 24), 2.0), "3", "2"),
    (lambda: guided(UNET, CONTEXT, torch.randn(1, 5, 20), 2.0), "20", "24"),
    (lambda: guided(UNET, CONTEXT, torch.randn(5, 24), 2.0), "(5, 24)", "(2, 5, 24)"),
    (lambda: guided(UNET, CONTEXT, CONTEXT, NAN), "guidance_scale is nan", "finite"),
    (lambda: guided(UNET, CONTEXT, CONTEXT, math.inf), "guidance_scale is inf", "finite"),
    (lambda: guided(XL, CONTEXT, CONTEXT, 2.0, torch.randn(2, 12)), "added", "null_added"),
)
def test_guidance(call, parts):
    refuses(call, *parts)


# ── The whole ────────────────────────────────────────────────────────────────────────────────────────

IMAGES, MASK = torch.rand(2, 3, 32, 32), torch.ones(2, 1, 32, 32)
MARKED = torch.cat([MASK[:, :, :16], 0 * MASK[:, :, :16]], dim=2)
BETWEEN = torch.zeros(2, 1, 32, 32)  # marks pixels, but the top left one of no patch
BETWEEN[:, :, 1:8, 1:8] = 1
TWO = ["a red circle", "a blue star"]


@table(
    (lambda m: m.generate("a red circle"), "'a red circle'", "list of strings"),
    (lambda m: m.generate(["a", None]), "None", "list of strings"),
    (lambda m: m.generate(None), "None", "list of strings"),
    (lambda m: m.generate([]), "[]", "list of strings"),
    (lambda m: m.encode_text("ab"), "'ab'", "list of strings"),
    (lambda m: m.generate(TWO, negative=["a"]), "1 negative", "2 captions"),
    (lambda m: m.generate(TWO, negative="ab"), "'ab'", "list of strings"),
    (lambda m: m.generate(TWO, steps=0), "0 steps", "1000"),
    (lambda m: m.generate(TWO, steps=1001), "1001 steps", "1000"),
    (lambda m: m.generate(TWO, guidance_scale=NAN), "nan", "finite"),
    (lambda m: m.generate(TWO, noise=torch.randn(1, 4, 4, 4)), "(1, 4, 4, 4)", "(2, 4"),
    (lambda m: m.generate(TWO, noise=torch.randn(2, 3, 4, 4)), "(2, 3, 4, 4)", "(2, 4"),
    (lambda m: m.generate(TWO, noise=torch.randn(4, 4)), "(4, 4)", "(2, 4"),
    (lambda m: m.generate(TWO, noise=torch.full((2, 4, 4, 4), NAN)), "(2, 4, 4, 4)", "finite"),
    (lambda m: m.generate(TWO, size=(44, 32)), "44×32", "multiples of 8", "48×32"),
    (lambda m: m.generate(TWO, size=(0, 32)), "0×32", "multiples of 8", "8×32"),
    (lambda m: m.generate(TWO, size=(-32, 32)), "-32×32", "multiples of 8"),
    (lambda m: m.generate(TWO, image_context=torch.randn(1, 5, 24)), "(1, 5, 24)", "(2, N, 24)"),
    (lambda m: m.generate(TWO, image_context=torch.randn(2, 5, 20)), "(2, 5, 20)", "(2, N, 24)"),
    (lambda m: m.generate(TWO, image_context=torch.randn(2, 24)), "(2, 24)", "(2, N, 24)"),
    (lambda m: m.img2img(IMAGES, TWO, strength=0.0), "0.0", "above 0"),
    (lambda m: m.img2img(IMAGES, TWO, strength=1.1), "1.1", "at most 1"),
    (lambda m: m.img2img(IMAGES, TWO, strength=NAN), "nan", "at most 1"),
    (lambda m: m.img2img(IMAGES, TWO[:1]), "1 captions", "2 images"),
    (lambda m: m.img2img((255 * IMAGES).to(torch.uint8), TWO), "torch.uint8", "float"),
    (lambda m: m.img2img(255 * IMAGES, TWO), "25", "0 … 1"),
    (lambda m: m.img2img(2 * IMAGES - 1, TWO), "-", "0 … 1"),
    (lambda m: m.img2img(IMAGES * NAN, TWO), "nan", "0 … 1"),
    (lambda m: m.img2img(IMAGES[:, :1], TWO), "(2, 1, 32, 32)", "(B, 3"),
    (lambda m: m.img2img(IMAGES[0], TWO), "(3, 32, 32)", "(B, 3"),
    (lambda m: m.img2img(IMAGES[:, :, :20], TWO), "20×32", "multiples of 8", "16×32"),
    (lambda m: m.img2img(IMAGES[:0], []), "(0, 3, 32, 32)", "(B, 3"),
    (lambda m: m.img2img(IMAGES, TWO, noise=torch.randn(2, 4, 2, 2)), "(2, 4, 2, 2)", "(2, 4, 4, 4)"),
    (lambda m: m.inpaint(IMAGES, MASK[:, 0], TWO), "(2, 32, 32)", "(2, 1, 32, 32)"),
    (lambda m: m.inpaint(IMAGES, MASK[:, :, :16], TWO), "(2, 1, 16, 32)", "(2, 1, 32, 32)"),
    (lambda m: m.inpaint(IMAGES, MASK.expand(2, 3, -1, -1), TWO), "(2, 3, 32, 32)", "(2, 1, 32, 32)"),
    (lambda m: m.inpaint(IMAGES, 255 * MASK, TWO), "255", "0 … 1"),
    (lambda m: m.inpaint(IMAGES, MASK * NAN, TWO), "nan", "0 … 1"),
    (lambda m: m.inpaint(IMAGES, MASK, TWO[:1]), "1 captions", "2 images"),
    (lambda m: m.inpaint(IMAGES, 0 * MASK, TWO), "marks nothing", "8×8"),
    (lambda m: m.inpaint(IMAGES, BETWEEN, TWO), "marks nothing", "8×8"),
    (lambda m: m.inpaint(IMAGES, torch.cat([MASK[:1], 0 * MASK[:1]]), TWO), "marks nothing", "8×8"),
    (lambda m: m.inpaint(IMAGES, MARKED, TWO, blend=0), "blend is 0", "at least 1"),
    (lambda m: m.inpaint(IMAGES, MARKED, TWO, blend=2.5), "blend is 2.5", "whole"),
    (lambda m: m.inpaint(IMAGES, MASK, TWO, noise=torch.randn(2, 4, 2, 2)), "(2, 4, 2, 2)", "(2, 4, 4, 4)"),
    (lambda m: m.interpolate(("a",)), "1 captions", "two"),
    (lambda m: m.interpolate("ab"), "'ab'", "two"),
    (lambda m: m.interpolate(TWO, frames=1), "1 frames", "2"),
    (lambda m: m.interpolate(TWO, noise=torch.randn(3, 4, 4, 4)), "(3, 4, 4, 4)", "(2, 4"),
    (lambda m: m.interpolate(TWO, noise=torch.ones(2, 4, 4, 4) * torch.tensor([1.0, -1]).view(2, 1, 1, 1)), "opposite"),
    (lambda m: m.interpolate(TWO, noise=torch.zeros(2, 4, 4, 4)), "zero"),
    (lambda m: m.encode_image(torch.rand(1, 4, 32, 32)), "(1, 4, 32, 32)", "(B, 3"),
    (lambda m: m.encode_image(2 * torch.ones(1, 3, 32, 32)), "2", "0 … 1"),
)
def test_latent_diffusion(small_model, call, parts):
    refuses(lambda: call(small_model), *parts)


AS_NUMPY = IMAGES.permute(0, 2, 3, 1).mul(255).byte().numpy()
AS_PIL = PIL.Image.fromarray(AS_NUMPY[0])
HOW = r"torch\.from_numpy\(numpy\.array\(x\)\)"  # the conversion to write


@pytest.mark.parametrize(
    "wrong", [AS_NUMPY, AS_PIL, [AS_PIL, AS_PIL], "photo.png", None], ids=lambda x: type(x).__name__
)
@pytest.mark.parametrize(
    "call",
    [
        lambda m, x: m.img2img(x, TWO),
        lambda m, x: m.inpaint(x, MASK, TWO),
        lambda m, x: m.inpaint(IMAGES, x, TWO),
        lambda m, x: m.encode_image(x),
        lambda m, x: m.vae.encode(x),
        lambda m, x: m.vae.posterior(x),
        lambda m, x: m.vae.decode(x),
        lambda m, x: m.unet(x, T, CONTEXT),
    ],
    ids=["img2img", "inpaint", "mask", "encode_image", "vae.encode", "vae.posterior", "vae.decode", "unet"],
)
def test_other_libraries_pictures_are_refused_with_the_conversion(small_model, call, wrong):
    library = type(wrong).__module__.startswith(("numpy", "PIL")) or isinstance(wrong, list)
    with pytest.raises(TypeError, match="expected a torch tensor.*" + (HOW if library else "")):
        call(small_model, wrong)


@pytest.mark.parametrize(
    "options, message",
    [
        (
            dict(generator=7),
            r"generator is 7; expected a torch\.Generator, such as torch\.Generator\(\)\.manual_seed\(7\)",
        ),
        (dict(generator=[7, 8]), r"torch\.Generator\(\)\.manual_seed\(7\)"),
        (dict(sampler="euler"), r"sampler is 'euler'; expected a function, such as tinyldm\.euler"),
        (dict(sampler=7), r"sampler is 7; expected a function"),
        (dict(callback="print"), r"callback is 'print'; expected a function"),
        (dict(noise=Z.numpy()), "noise is a numpy.ndarray; expected a torch tensor"),
        (dict(steps="ten"), "ten steps; expected 1 … 1000"),
        (dict(guidance_scale="7.5"), "guidance_scale is '7.5'; expected a number"),
    ],
)
@pytest.mark.parametrize("name", ["generate", "img2img", "inpaint", "interpolate"])
def test_options_of_another_kind_are_refused_with_what_to_pass(small_model, name, options, message):
    given = {"generate": [TWO], "img2img": [IMAGES, TWO], "inpaint": [IMAGES, MARKED, TWO], "interpolate": [TWO]}
    with pytest.raises((TypeError, ValueError), match=message):
        getattr(small_model, name)(*given[name], **options)


def test_a_strength_of_another_kind_is_refused(small_model):
    with pytest.raises(TypeError, match="strength is '0.5'; expected a number"):
        small_model.img2img(IMAGES, TWO, strength="0.5")


@pytest.mark.parametrize("size", [64, "64x64", (64,), (64.0, 64.0), torch.tensor(64)])
def test_a_size_of_another_kind_is_refused(small_model, size):
    with pytest.raises(TypeError, match=r"size is .*; expected \(height, width\) in pixels"):
        small_model.generate(TWO, size=size)


def test_a_picture_is_no_image_context(small_model):
    for wrong in (AS_PIL, AS_NUMPY):
        with pytest.raises(TypeError, match="image_context is a .*; expected a torch tensor .*encode_image"):
            small_model.generate(TWO, image_context=wrong)


def test_numbers_where_tensors_belong():
    for call in (
        lambda: UNET(Z, 10, CONTEXT),
        lambda: SCHEDULE.at(10),
        lambda: SCHEDULE.q_sample(Z, 10, Z),
        lambda: SCHEDULE.q_sample(Z.numpy(), T, Z),
        lambda: ddim(predict, Z, SCHEDULE, [10, 5]),
        lambda: VAE_.encode(IMAGES, generator=7),
    ):
        with pytest.raises(TypeError, match="expected a torch"):
            call()


def test_a_model_without_an_image_tower_says_so():
    refuses(lambda: make_model(vision=False).encode_image(IMAGES), "no image encoder", "captions")


def test_a_caption_that_is_too_long_is_cut_with_a_warning(small_model):
    with pytest.warns(UserWarning, match="first 10 pieces.*cut off: 'star'"):
        small_model.encode_text(["a red circle above a blue square on a grey star"])


# ── Files ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    make_model().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy to be spoiled."""
    shutil.copytree(saved, tmp_path / "model")
    return tmp_path / "model"


WEIGHTS = [
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
    "tinyldm_image_encoder/model.safetensors",
]
CONFIGS = [
    "unet/config.json",
    "vae/config.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "tinyldm_image_encoder/config.json",
]


def test_no_such_folder(tmp_path):
    refuses(lambda: LatentDiffusion.from_pretrained(tmp_path / "nowhere"), "nowhere")
    refuses(lambda: LatentDiffusion.from_pretrained(tmp_path), str(tmp_path), "model_index.json")


@pytest.mark.parametrize("file", WEIGHTS)
def test_missing_weights(folder, file):
    (folder / file).unlink()
    refuses(lambda: LatentDiffusion.from_pretrained(folder), file.split("/")[0])


@pytest.mark.parametrize("file", WEIGHTS)
@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_truncated_weights(folder, file, length):
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[:length])
    refuses(lambda: LatentDiffusion.from_pretrained(folder), file.split("/")[0])


class Bomb:
    """What a hostile pickle does: run something of its own while it is read."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('the pickle was run')",))


@pytest.mark.parametrize("file", WEIGHTS)
def test_a_pickle_under_another_name_is_not_run(folder, file):
    (folder / file).write_bytes(pickle.dumps(Bomb()))
    refuses(lambda: LatentDiffusion.from_pretrained(folder), file.split("/")[0])


def change_weights(file, change):
    state = load_file(file)
    change(state, sorted(state)[3])
    save_file(state, file, metadata={"format": "pt"})
    return sorted(state)


@pytest.mark.parametrize("file", WEIGHTS)
def test_missing_key(folder, file):
    change_weights(folder / file, lambda state, key: state.pop(key))
    refuses(lambda: LatentDiffusion.from_pretrained(folder), file.split("/")[0], "missing")


@pytest.mark.parametrize("file", WEIGHTS)
def test_extra_key(folder, file):
    change_weights(folder / file, lambda state, key: state.update({"mystery.weight": torch.zeros(3)}))
    refuses(lambda: LatentDiffusion.from_pretrained(folder), file.split("/")[0], "mystery.weight")


@pytest.mark.parametrize("file", WEIGHTS)
def test_wrong_shape(folder, file):
    change_weights(folder / file, lambda state, key: state.update({key: torch.zeros(3, 7)}))
    refuses(lambda: LatentDiffusion.from_pretrained(folder), file.split("/")[0], "(3, 7)")


@pytest.mark.parametrize("file", CONFIGS)
@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\udcff"])
def test_broken_configuration(folder, file, content):
    (folder / file).write_bytes(content.encode("utf-8", "surrogateescape"))
    refuses(lambda: LatentDiffusion.from_pretrained(folder), file.split("/")[0])


@pytest.mark.parametrize("file", CONFIGS[:3])
def test_missing_configuration(folder, file):
    (folder / file).unlink()
    refuses(lambda: LatentDiffusion.from_pretrained(folder), file.split("/")[-1], "does not exist")


def test_missing_tokenizer(folder):
    shutil.rmtree(folder / "tokenizer")
    refuses(lambda: LatentDiffusion.from_pretrained(folder), "tokenizer")
