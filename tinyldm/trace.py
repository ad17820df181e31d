"""Every tensor on the way from a caption to a picture: name, shape, file and line, compared with Stable Diffusion's.

    tinyldm trace "a red circle above a blue square" --html trace.html

Nothing here is written by hand. The model generates a picture while Python reports each function that returns
(`sys.setprofile`). What a layer of the networks or one of SYMBOLS returns becomes a row, with the line that
returned it; for a layer of a library, the line of this package that called it. The article's section is the one
named in the first line of the file ("§ U-Net: …"). Stable Diffusion's shapes come from the same run through the
same classes on the meta device, where tensors have shapes and no numbers.
"""

import base64
import html
import inspect
import io
import linecache
import re
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import tinyldm
from tinyldm import more_samplers, reverse_diffusion
from tinyldm.clip import ClipLayer, TextTransformer
from tinyldm.conditioning import TextEncoder, TextEncoderXL, tokenize
from tinyldm.data.pictures import to_picture
from tinyldm.formats.weights import without_memory
from tinyldm.forward_diffusion import NoiseSchedule
from tinyldm.latent_diffusion import LatentDiffusion
from tinyldm.resblock import Downsample, ResBlock, Upsample, timestep_embedding
from tinyldm.reverse_diffusion import Callback, Model, Sampler, ddim, guided
from tinyldm.seeds import Generators
from tinyldm.spatial_transformer import Attention, SpatialTransformer
from tinyldm.unet import UNet
from tinyldm.vae import VAE, PixelAttention, to_unit
from tinyldm.versions import SD1, Version

PACKAGE = Path(tinyldm.__file__).parent


def _code(function: Callable) -> types.CodeType:
    return inspect.unwrap(function).__code__


def _inside(function: Callable, name: str) -> types.CodeType:
    """The code of a function that is defined inside another one."""
    return next(part for part in _code(function).co_consts if getattr(part, "co_name", "") == name)


SAMPLERS = (
    reverse_diffusion.ddim,
    reverse_diffusion.ddpm,
    reverse_diffusion.euler,
    more_samplers.euler_ancestral,
    reverse_diffusion.dpm_solver_pp,
    more_samplers.pndm,
    more_samplers.lcm,
)
# What a function's result is called in this course. Several names: of the parts of a tuple, or of the results of
# one call after another.
SYMBOLS: dict[types.CodeType, tuple[str, ...]] = {
    _code(tokenize): ("tokens",),
    _code(LatentDiffusion.condition): ("context", "null_context", "added", "null_added"),
    _code(LatentDiffusion.initial_noise): ("z_T",),
    _code(reverse_diffusion.timesteps): ("timesteps",),
    _code(timestep_embedding): ("sinusoids",),
    _code(Attention.split_heads): ("q", "k", "v"),
    _inside(guided, "guided_model"): ("prediction",),
    _code(reverse_diffusion.read_prediction): ("z0_hat", "eps_hat"),
    _code(reverse_diffusion.finish_step): ("z_next",),
    **{_code(sampler): ("z0",) for sampler in SAMPLERS},
    _code(VAE.decode): ("image",),
    _code(to_unit): ("image in [0, 1]",),
}
ARGUMENTS = {UNet: ("z_t", "t", "context", "added"), ResBlock: ("x", "t_emb")}  # their inputs are shown, too
PASSES_THROUGH = (nn.Identity, nn.Dropout)  # return their input: nothing new to show
# In a short table the insides of these are shown once.
BLOCKS = {block.__name__ for block in (ResBlock, SpatialTransformer, PixelAttention, Downsample, Upsample, ClipLayer)}


@dataclass
class Node:
    """One tensor, and those that were computed inside the layer that returned it."""

    name: str  # "unet.down.0.resblocks.0", "context"
    kind: str  # the class of the layer, or the function: "ResBlock", "tokenize()"
    file: str  # "tinyldm/resblock.py"
    line: int
    section: str  # of the article
    shape: tuple[int, ...] | None = None
    times: int = 1  # how often it was computed on the way to one picture
    children: list["Node"] = field(default_factory=list)

    @property
    def source(self) -> str:
        """The line of code that made it."""
        return linecache.getline(str(PACKAGE.parent / self.file), self.line).strip()


@dataclass(frozen=True)
class Pair:
    """The tensors of the same name in two models; one of the two may be missing."""

    node: Node
    ours: tuple[int, ...] | None
    theirs: tuple[int, ...] | None
    children: list["Pair"]


# ── Recording ────────────────────────────────────────────────────────────────────────────────────────


def trace(
    model: LatentDiffusion,
    caption: str,
    *,
    steps: int = 25,
    guidance_scale: float = 3.0,
    sampler: Sampler = ddim,
    seed: int = 0,
) -> tuple[list[Node], Tensor]:
    """Generate one picture and record every tensor on the way.

    Args: model: also one on the meta device; the others: as `LatentDiffusion.generate` takes them.
    Returns: the tensors in the order in which they were computed, and the picture (1, 3, H, W) in [0, 1].
    """
    generator = None if model.device.type == "meta" else torch.Generator().manual_seed(seed)
    with recording(model) as nodes:
        images = model.generate(
            [caption], steps=steps, guidance_scale=guidance_scale, sampler=sampler, generator=generator
        )
    return nodes, images


@contextmanager
def recording(model: LatentDiffusion) -> Iterator[list[Node]]:
    """While the block lasts, every tensor that `model` computes is added to the list."""
    recorder = _Recorder(model)
    usual = sys.getprofile()
    sys.setprofile(recorder)
    try:
        yield recorder.nodes
    finally:
        sys.setprofile(usual)


@dataclass
class _Open:
    """A call that has not returned yet."""

    frame: types.FrameType | None
    node: Node | None  # of a layer; None of a function, whose node is made when it returns
    inside: list[Node] | None  # receives what is computed inside; None: it has been seen before
    module: str = ""  # the layer we are in


class _Recorder:
    """Called by Python whenever a function starts or returns."""

    def __init__(self, model: LatentDiffusion):
        self.nodes: list[Node] = []
        self.open = [_Open(None, None, self.nodes)]
        self.names: dict[int, tuple[str, nn.Module]] = {}
        self.roots: dict[str, str] = {}  # "unet" -> the article's section
        for root in ("text_encoder", "unet", "vae"):
            network = getattr(model, root)
            self.roots[root] = section_of(inspect.getsourcefile(type(network)))
            for name, module in network.named_modules(prefix=root):
                if not isinstance(module, PASSES_THROUGH):
                    self.names[id(module)] = (name, module)

    def __call__(self, frame: types.FrameType, event: str, result: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_name == "forward":
            name, module = self.names.get(id(frame.f_locals.get("self")), ("", None))
            if name and name != self.open[-1].module:  # (a class may call its parent's forward)
                self._layer_starts(frame, name, module)
        elif event == "call" and code in SYMBOLS:
            outer = self.open[-1]
            self.open.append(_Open(frame, None, outer.inside, outer.module))
        elif event == "return" and self.open[-1].frame is frame:
            self._returns(frame, self.open.pop(), result)

    def _layer_starts(self, frame: types.FrameType, name: str, module: nn.Module) -> None:
        inside = self.open[-1].inside
        if inside is None or self._seen(inside, name):
            self.open.append(_Open(frame, None, None, name))
            return
        file, line = place(frame)
        node = Node(name, type(module).__name__, file, line, self.roots[name.split(".")[0]])
        inside.append(node)
        self.open.append(_Open(frame, node, node.children, name))
        for argument in ARGUMENTS.get(type(module), ()):
            given = frame.f_locals.get(argument)
            if isinstance(given, Tensor):
                caller = place(frame.f_back)
                node.children.append(Node(f"{name}.{argument}", "read", *caller, node.section, tuple(given.shape)))

    def _returns(self, frame: types.FrameType, call: _Open, result: Any) -> None:
        tensors = tensors_of(result)
        if call.inside is None or not tensors:
            return
        file, line = place(frame)
        if call.node is not None:
            call.node.shape, call.node.file, call.node.line = tuple(tensors[0].shape), file, line
            return
        section = self.roots[call.module.split(".")[0]] if call.module else section_of(str(PACKAGE.parent / file))
        symbols = [f"{call.module}.{symbol}" if call.module else symbol for symbol in SYMBOLS[frame.f_code]]
        left = [symbol for symbol in symbols if all(node.name != symbol for node in call.inside)]
        for symbol in () if left else symbols[: len(tensors)]:
            self._seen(call.inside, symbol)
        for symbol, tensor in zip(left, tensors):
            call.inside.append(Node(symbol, f"{frame.f_code.co_name}()", file, line, section, tuple(tensor.shape)))

    @staticmethod
    def _seen(nodes: list[Node], name: str) -> bool:
        for node in nodes:
            if node.name == name:
                node.times += 1
                return True
        return False


def tensors_of(result: Any) -> list[Tensor]:
    """The tensors in what a function returned: itself, or those in a tuple."""
    if isinstance(result, Tensor):
        return [result]
    parts = result if isinstance(result, tuple) else ()
    return [part for part in parts if isinstance(part, Tensor)]


def place(frame: types.FrameType | None) -> tuple[str, int]:
    """("tinyldm/unet.py", 171): where a call is now, or the line of this package that called the library it is in."""
    while frame is not None and PACKAGE not in Path(frame.f_code.co_filename).parents:
        frame = frame.f_back
    if frame is None:
        raise RuntimeError("a traced layer was called from outside the package; trace() calls it from inside")
    return Path(frame.f_code.co_filename).relative_to(PACKAGE.parent).as_posix(), frame.f_lineno


def section_of(file: str) -> str:
    """The article's section that a file mirrors, as its first line says: "§ U-Net: …" -> "U-Net"."""
    module = next(m for m in list(sys.modules.values()) if getattr(m, "__file__", None) == file)
    found = re.match(r"§ ([^:,]+)", module.__doc__ or "")
    return found[1] if found else "outside the article"


# ── Attention ────────────────────────────────────────────────────────────────────────────────────────


def attention_probabilities(attention: Attention, x: Tensor, context: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √d): how much each query attends to each key. (B, heads, N, L), rows sum to 1."""
    q = attention.split_heads(attention.to_q(x))
    k = attention.split_heads(attention.to_k(attention.context_or_self(x, context)))
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(dim=-1)


@contextmanager
def capture_attention(model: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """Record the attention probabilities of every `Attention` inside `model`, while the block lasts.

        with capture_attention(unet) as maps:
            unet(z_t, t, context)
        maps["middle.transformer.blocks.0.cross_attention"][0]   # (B, heads, N, L), on the CPU

    Yields a dict: the module's name -> one tensor for each time it ran. The model's output is not changed: the
    fused kernel never forms the probabilities, so they are computed once more.
    """
    maps: dict[str, list[Tensor]] = {}

    def recorder(name: str) -> Callable[..., None]:
        def record(module: Attention, inputs: tuple[Any, ...], named_inputs: dict[str, Any], _output: Tensor) -> None:
            with torch.no_grad():
                maps.setdefault(name, []).append(attention_probabilities(module, *inputs, **named_inputs).cpu())

        return record

    hooks = [
        module.register_forward_hook(recorder(name), with_kwargs=True)
        for name, module in model.named_modules()
        if isinstance(module, Attention)
    ]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


# ── Compared with Stable Diffusion ───────────────────────────────────────────────────────────────────


def on_meta(version: Version, tokenizer) -> LatentDiffusion:
    """A version of Stable Diffusion with shapes and no numbers: it takes no memory, and needs no file.

    tokenizer: any; tokens are padded to the version's own length, and their values change no shape.
    """
    with without_memory():
        unet, vae = UNet(version.unet), VAE(version.vae)
        towers = [TextTransformer(sizes, projects) for sizes, projects in zip(version.text, (False, True))]
    encoder = (
        TextEncoder(towers[0], tokenizer)
        if len(towers) == 1
        else TextEncoderXL(towers[0], tokenizer, towers[1], tokenizer)
    )
    return LatentDiffusion(
        unet,
        vae,
        encoder,
        version.schedule(),
        spacing=version.spacing,
        image_size=(version.image_size, version.image_size),
    )


def first_step_of(sampler: Sampler) -> Sampler:
    """A sampler that stops after its first step: the others have the same shapes."""

    def one_step(
        model: Model, z: Tensor, schedule: NoiseSchedule, timesteps: Tensor, generator: Generators, callback: Callback
    ) -> Tensor:
        return sampler(model, z, schedule, timesteps[:1], generator=generator, callback=callback)

    return one_step


def compare_with_stable_diffusion(
    model: LatentDiffusion,
    caption: str,
    *,
    version: Version = SD1,
    steps: int = 25,
    guidance_scale: float = 3.0,
    sampler: Sampler = ddim,
    seed: int = 0,
) -> tuple[list[Pair], Tensor]:
    """`trace` a model, and then `version`. Returns their tensors in pairs, and the model's picture."""
    options = {"steps": steps, "guidance_scale": guidance_scale, "seed": seed}
    ours, images = trace(model, caption, sampler=sampler, **options)
    large = on_meta(version, model.text_encoder.towers[0][1])
    with warnings.catch_warnings():  # about the caption and the steps; given once already
        warnings.simplefilter("ignore")
        theirs, _ = trace(large, caption, sampler=first_step_of(sampler), **options)
    return paired(ours, theirs), images


def paired(ours: list[Node], theirs: list[Node]) -> list[Pair]:
    """Merge two lists of tensors by name; what only one model has keeps its place in that model's order."""
    mine, others = ({node.name: node for node in nodes} for nodes in (ours, theirs))
    order = list(mine)
    for before, name in zip([None, *others], others):
        if name not in mine:
            order.insert(order.index(before) + 1 if before is not None else 0, name)
    pairs = []
    for name in order:
        one, other = mine.get(name), others.get(name)
        some = one or other
        pairs.append(
            Pair(
                replace(some, children=[]),
                one and one.shape,
                other and other.shape,
                paired(one.children if one else [], other.children if other else []),
            )
        )
    return pairs


# ── As text ──────────────────────────────────────────────────────────────────────────────────────────

COLUMNS = (31, 20, 20, 19, 26)  # name, made by, tiny, Stable Diffusion, where: 120 with a space between them


def table(pairs: list[Pair], name: str = "tiny", everything: bool = False) -> str:
    """The tensors as lines of at most 120 characters, under the article's sections.

    everything: the insides of every block, not only of the first of each kind.
    """
    lines = [_line("tensor", "made by", name, "Stable Diffusion 1", "file:line"), "─" * (sum(COLUMNS) + 4)]
    section, opened = "", set()

    def walk(pairs: list[Pair], depth: int, outer: str) -> None:
        nonlocal section
        for pair in pairs:
            node = pair.node
            if node.section != section:
                section = node.section
                lines.append(f"§ {section}")
            short = node.name.removeprefix(outer + ".")
            times = f" ×{node.times}" if node.times > 1 else ""
            lines.append(
                _line(
                    "  " * depth + short + times,
                    node.kind,
                    written(pair.ours),
                    written(pair.theirs),
                    f"{Path(node.file).name}:{node.line}",
                )
            )
            if everything or node.kind not in opened:
                opened.update({node.kind} & BLOCKS)
                walk(pair.children, depth + 1, node.name)

    walk(pairs, 0, "")
    return "\n".join(lines)


def written(shape: tuple[int, ...] | None) -> str:
    """(2, 4, 8, 8), or a dash for what a model does not have."""
    return "—" if shape is None else f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def _line(*cells: str) -> str:
    cut = (cell if len(cell) <= width else cell[: width - 1] + "…" for cell, width in zip(cells, COLUMNS))
    return " ".join(f"{cell:<{width}}" for cell, width in zip(cut, COLUMNS)).rstrip()


# ── As a page ────────────────────────────────────────────────────────────────────────────────────────

STYLE = """
:root { color-scheme: light dark; --faint: #6b7280; --line: #8884; --mark: #0072B2; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 88rem; padding: 0 1rem; }
h2 { margin: 2rem 0 .3rem; font-size: 1.1rem; color: var(--mark); }
.row { display: grid; grid-template-columns: 19rem 11rem 9.5rem 11rem minmax(8rem, 1fr); gap: .6rem; padding: .15rem 0;
  border-bottom: 1px solid var(--line); align-items: baseline; }
.head { font-weight: 600; }
.name { padding-left: calc(var(--depth) * 1.1rem); }
summary { cursor: pointer; list-style: none; }
summary .name::before { content: "▸ "; color: var(--mark); }
details[open] > summary .name::before { content: "▾ "; }
.name, .shape, code { font-family: ui-monospace, monospace; font-size: 13px; overflow-wrap: anywhere; }
.made, .where { color: var(--faint); font-size: 13px; overflow-wrap: anywhere; }
.where code { display: block; white-space: pre; overflow: hidden; text-overflow: ellipsis; color: CanvasText; }
img { image-rendering: pixelated; width: 12rem; border-radius: .4rem; }
"""


def page(pairs: list[Pair], caption: str, image: Tensor, name: str = "tiny") -> str:
    """A self-contained HTML page: all tensors with their lines of code, to unfold, and the picture (3, H, W)."""
    file = io.BytesIO()
    to_picture(image).save(file, "PNG")
    data, said, model = base64.b64encode(file.getvalue()).decode(), html.escape(caption), html.escape(name)
    number = sum(1 for _ in every(pairs))
    head = _row("tensor", "made by", model, "Stable Diffusion 1", "file:line and the line itself", kind="row head")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width"><title>{said or "(no caption)"}</title>\n'
        f"<style>{STYLE}</style></head><body>\n<h1>From caption to picture</h1>\n"
        f'<img alt="The picture that was made" src="data:image/png;base64,{data}">\n'
        f"<p>“{said}”: {number} tensors in the order in which they were computed, each with the line that did it. "
        f"The shapes were measured while {model} generated this picture, and in a run of the same classes at Stable "
        "Diffusion's size. A row with ▸ unfolds. ×25: computed 25 times; the first is shown.</p>\n"
        f"{head}\n{_sections(pairs)}</body></html>\n"
    )


def every(pairs: list[Pair]) -> Iterator[Pair]:
    """All pairs, also those inside others."""
    for pair in pairs:
        yield pair
        yield from every(pair.children)


def _sections(pairs: list[Pair]) -> str:
    parts, section = [], ""
    for pair in pairs:
        if pair.node.section != section:
            section = pair.node.section
            parts.append(f"<h2>§ {html.escape(section)}</h2>")
        parts.append(_entry(pair, "", 0))
    return "\n".join(parts)


def _entry(pair: Pair, outer: str, depth: int) -> str:
    node = pair.node
    times = f" ×{node.times}" if node.times > 1 else ""
    where = f"{html.escape(node.file)}:{node.line} <code>{html.escape(node.source)}</code>"
    row = _row(
        html.escape(node.name.removeprefix(outer + ".") + times),
        html.escape(node.kind),
        written(pair.ours),
        written(pair.theirs),
        where,
        depth,
    )
    if not pair.children:
        return row
    inside = "\n".join(_entry(child, node.name, depth + 1) for child in pair.children)
    unfolded = "" if node.kind in BLOCKS else " open"
    return f"<details{unfolded}><summary>{row}</summary><div>\n{inside}\n</div></details>"


def _row(name: str, made: str, ours: str, theirs: str, where: str, depth: int = 0, kind: str = "row") -> str:
    return (
        f'<div class="{kind}" style="--depth:{depth}">'
        f'<span class="name">{name}</span><span class="made">{made}</span>'
        f'<span class="shape">{ours}</span><span class="shape">{theirs}</span>'
        f'<span class="where">{where}</span></div>'
    )
