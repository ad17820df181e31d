"""The live page: a folder of static files in which a model draws inside the reader's browser.

    site/index.html, style.css, js/, runtime/     the page, and ONNX Runtime Web: copied from `page/`
    site/model/*.onnx, model.json                 the model: its networks, and all else that the page has to know
    site/files.json                               what to keep for use without a network: read by sw.js

Any web server can serve it, such as `python -m http.server`, and nothing in it asks another one.
"""

import hashlib
import inspect
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn

from tinyldm import forward_diffusion, reverse_diffusion
from tinyldm.clip import TextTransformer
from tinyldm.conditioning import TextEncoder, tokenize
from tinyldm.formats.diffusers_unet import load_unet
from tinyldm.formats.files import read_json, write_bytes, write_json
from tinyldm.formats.places import SHIPPED
from tinyldm.formats.tokenizers import Tokenizer
from tinyldm.latent_diffusion import LatentDiffusion
from tinyldm.resblock import Downsample, ResBlock, TimeMLP, Upsample
from tinyldm.seeds import randn
from tinyldm.spatial_transformer import Attention, SpatialTransformer
from tinyldm.unet import UNet
from tinyldm.vae import VAE, DiagonalGaussian
from tinyldm.web import onnx_export
from tinyldm.web.onnx_export import Inside
from tinyldm.web.worlds import world_of

PACKAGE = Path(__file__).parents[1]
PAGE = PACKAGE / "web" / "page"
SPACINGS = ("trailing", "leading", "leading_from_zero", "linspace")  # that page/js/reverse_diffusion.js knows
SAMPLERS = {"ddim": "ddim", "ddpm": "ddpm", "euler": "euler", "dpm_solver_pp": "dpm"}  # function here -> name there
ON_DEMAND = "on_demand"  # a folder of files that are fetched only when a reader asks for them
# What the page calls a piece of the model -> the function or class whose lines it shows.
CODE: dict[str, Callable[..., Any] | type[nn.Module]] = {
    "tokens": tokenize,
    "text_encoder": TextTransformer,
    "noise": randn,
    "unet": UNet,
    "t_emb": TimeMLP,
    "ResBlock": ResBlock,
    "SpatialTransformer": SpatialTransformer,
    "Downsample": Downsample,
    "Upsample": Upsample,
    "words": Attention,
    "guidance": reverse_diffusion.guided,
    "sampler": reverse_diffusion.ddim,
    "prediction": forward_diffusion.z0_from_velocity,
    "decoder": VAE.decode,
    "encoder": DiagonalGaussian,
}


@dataclass(frozen=True)
class Student:
    """A U-Net that was distilled to draw in few steps, each one call: guidance is learnt with them.

    Args: folder: of the U-Net, in the folder of its model.
    """

    steps: int
    folder: Path

    def described(self, name: str) -> dict[str, Any]:
        """What the page has to know: the lines of Python that use it, and how good it is. name: of the model."""
        path = f"{name}/{self.folder.name}"
        python = ["from tinyldm.formats.diffusers_unet import load_unet", f'model.unet = load_unet("{path}")']
        if self.folder == SHIPPED / "tiny" / "unet_4_steps":
            python = ["from tinyldm.beyond.distillation import four_step_unet", "model.unet = four_step_unet()"]
        told = f"It learnt to do in {self.steps} calls what the model’s own U-Net does in many, guidance included."
        own, model = accuracy(self.folder), accuracy(self.folder.parent)
        if own and model:
            told += f" Everything in the picture is right for {own} of the captions, with the model’s own for {model}."
        return {"steps": self.steps, "python": python, "told": told}


def accuracy(folder: Path) -> str | None:
    """Of how many captions the pictures are right in everything, such as "92.7 %"; None where it was not measured."""
    if not (folder / "evaluation.json").is_file():
        return None
    captions = read_json(folder / "evaluation.json").get("captions", {}).get("all", {})
    return f"{100 * captions['strict']['share']:.1f} %" if "strict" in captions else None  # not of drawings


def export_site(
    model: LatentDiffusion,
    folder: Path,
    name: str,
    snapshots: Mapping[str, Path] = MappingProxyType({}),
    students: Sequence[Student] = (),
    course: str | None = None,
    names: tuple[str, ...] | None = None,
) -> Iterator[tuple[str, int]]:
    """Write the live page of a model to a folder, file by file.

    Args:
        name: what the page calls the model.
        snapshots: U-Nets of other moments of its training, such as {"1 %": folder of a U-Net}.
        students: distilled U-Nets, to choose instead of the model's own.
        course: address of the course's site, seen from the page; None: the page names lessons without links.
        names: of the drawings on which the model was trained, where they were not all; the page offers them.
    Yields: the path of each file of the model in the folder, and its size in bytes, when it is written.
    Raises: ValueError where the folder holds something else, or where the page cannot run the model.
    """
    onnx_export.require_exportable(model)
    if model.spacing.__name__ not in SPACINGS:
        raise ValueError(
            f"the model visits timesteps with {model.spacing.__name__!r}; the live page knows {', '.join(SPACINGS)}"
        )
    prepare(folder)
    latent = latent_of(model)
    unet, insides = onnx_export.unet_to_onnx(model.unet, latent, model.text_encoder.length)
    yield written(folder, "model/unet.onnx", unet)
    yield written(folder, "model/text_encoder.onnx", onnx_export.text_encoder_to_onnx(model))
    yield written(folder, "model/decoder.onnx", onnx_export.decoder_to_onnx(model.vae, latent))
    yield written(folder, "model/encoder.onnx", onnx_export.encoder_to_onnx(model.vae, model.image_size))
    listed: dict[str, list[dict[str, Any]]] = {"snapshots": [], "students": []}
    known = [("snapshots", source, {"title": title}) for title, source in snapshots.items()]
    known += [("students", student.folder, student.described(name)) for student in students]
    for kind, source, told in known:
        content, _ = onnx_export.unet_to_onnx(load_unet(source), latent, model.text_encoder.length)
        path, size = written(folder, f"model/{ON_DEMAND}/{source.name}.onnx", content)
        yield path, size
        listed[kind].append(told | {"file": path, "bytes": size})
    write_json(folder / "model" / "model.json", description(model, name, insides, names) | listed | {"course": course})
    yield "model/model.json", (folder / "model" / "model.json").stat().st_size
    write_json(folder / "files.json", contents(folder))


def prepare(folder: Path) -> None:
    """Copy the page to a new or empty folder, or over the page that it holds.

    Raises: ValueError, and writes nothing, where the folder holds something else.
    """
    if folder.is_file() or folder.is_dir() and any(folder.iterdir()) and not (folder / "files.json").is_file():
        raise ValueError(f"{folder} exists and is not a live page; expected a new or an empty folder, or a page's")
    if folder.is_dir():
        for part in ("model", "js"):
            shutil.rmtree(folder / part, ignore_errors=True)
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    (folder / "model").mkdir(exist_ok=True)
    (folder / "files.json").unlink(missing_ok=True)


def written(folder: Path, path: str, content: bytes) -> tuple[str, int]:
    """Write one file; return its path in the folder and its size in bytes."""
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / path, content)
    return path, len(content)


def contents(folder: Path) -> dict[str, Any]:
    """Which files the page needs to run without a network, and a version that changes when one of them does."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    files = [path for path in files if ON_DEMAND not in path.split("/") and path != "files.json"]
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.encode() + (folder / path).read_bytes())
    sizes = {path: (folder / path).stat().st_size for path in files}
    return {"version": digest.hexdigest()[:16], "files": sizes}


# ── What the page has to know ────────────────────────────────────────────────────────────────────────


def latent_of(model: LatentDiffusion) -> tuple[int, int, int]:
    """(C, h, w) of the latent of an image of the model's own size."""
    factor = model.vae.config.factor
    return model.vae.config.latent_channels, model.image_size[0] // factor, model.image_size[1] // factor


def description(
    model: LatentDiffusion, name: str, insides: list[Inside], names: tuple[str, ...] | None = None
) -> dict[str, Any]:
    """The content of model.json, without what is fetched on demand."""
    parts: dict[str, nn.Module] = {"text_encoder": model.text_encoder, "unet": model.unet, "decoder": model.vae.decoder}
    encoder = model.text_encoder
    assert isinstance(encoder, TextEncoder)  # see require_exportable
    return {
        "name": name,
        "image_size": list(model.image_size),
        "image_channels": model.vae.config.image_channels,
        "latent": list(latent_of(model)),
        "factor": model.vae.config.factor,
        "scale": model.vae.config.scale,
        "context_dim": model.unet.config.context_dim,
        "alpha_bar": model.schedule.alpha_bar.tolist(),
        "final_alpha_bar": model.schedule.final_alpha_bar,
        "prediction": model.schedule.prediction.name,
        "spacing": model.spacing.__name__,
        "sampler": SAMPLERS.get(model.sampler.__name__, "ddim"),
        "scales_noise": model.scales_noise,
        "tokenizer": tokenizer_of(encoder),
        "parameters": {part: sum(weight.numel() for weight in parts[part].parameters()) for part in parts},
        "insides": [{"name": inside.name, "kind": inside.kind, "shape": list(inside.shape)} for inside in insides],
        "code": {piece: lines_of(thing) for piece, thing in CODE.items()},
    } | asdict(world_of(encoder.tokenizer, names))


def tokenizer_of(encoder: TextEncoder) -> dict[str, Any]:
    """The vocabulary and the merges of a CLIP tokenizer, and the numbers of its special tokens."""
    tokenizer: Tokenizer = encoder.tokenizer
    content = json.loads(tokenizer.bpe.to_str())
    merges = [pair.split(" ") if isinstance(pair, str) else list(pair) for pair in content["model"]["merges"]]
    return {
        "vocabulary": content["model"]["vocab"],
        "merges": merges,
        "special": {token["content"]: token["id"] for token in content["added_tokens"]},
        "start": tokenizer.start,
        "end": tokenizer.end,
        "pad": tokenizer.pad,
        "unknown": tokenizer.end,
        "length": encoder.length,
    }


def lines_of(thing: Callable[..., Any] | type[nn.Module]) -> dict[str, Any]:
    """The lines of a function, or of what a network does with its input, and where they are."""
    shown = thing.forward if isinstance(thing, type) and issubclass(thing, nn.Module) else thing
    lines, first = inspect.getsourcelines(shown)
    file = Path(inspect.getsourcefile(shown) or "").relative_to(PACKAGE.parent)
    return {"file": file.as_posix(), "line": first, "text": inspect.cleandoc("\n" + "".join(lines))}


def snapshots_of(folder: Path) -> dict[str, Path]:
    """The U-Nets that a model folder keeps of its training: {"1 %": its folder}, in order."""
    found = sorted((folder / "snapshots").glob("unet_at_*"))
    return {f"{int(path.name.rpartition('_')[2])} %": path for path in found if (path / "config.json").is_file()}


def students_of(folder: Path) -> list[Student]:
    """The distilled U-Nets that a model folder keeps, fewest steps first: "unet_4_steps" draws in 4."""
    found = [path for path in folder.glob("unet_*_steps") if (path / "config.json").is_file()]
    return sorted((Student(int(path.name.split("_")[1]), path) for path in found), key=lambda student: student.steps)
