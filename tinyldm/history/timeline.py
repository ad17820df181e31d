"""From 2015 to Stable Diffusion XL: the papers, the checkpoints and the errors of the article, as data.

Sources: the arXiv pages; the CompVis and Runway `stable-diffusion` READMEs (weights 1.1 to 1.5); the model cards of
stable-diffusion-2-base, -2 and -2-1; the SDXL report, arXiv 2307.01952.  A fact that no source states is None.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """One step of the field."""

    date: str  # YYYY-MM-DD or YYYY-MM
    name: str
    added: str  # what is new, in a few words
    source: str  # "arXiv NNNN.NNNNN" or a README


@dataclass(frozen=True)
class Stage:
    """One stretch of training."""

    thousand_steps: int | None
    resolution: int
    images: str


@dataclass(frozen=True)
class Checkpoint:
    """A released text-to-image latent diffusion model."""

    name: str
    date: str  # of the weights
    by: str
    parent: str | None  # whose weights training resumed from
    stages: tuple[Stage, ...]  # after the parent
    caption_dropout: float | None  # share of captions replaced by the empty one in these stages
    predicts: str  # "eps" or "velocity"
    text_encoder: str
    context_width: int  # numbers a token
    unet_parameters: float  # in millions, as the source rounds it


EVENTS = (
    Event("2015-03-12", "Diffusion probabilistic models", "reverse slow noising; a bound in bits", "arXiv 1503.03585"),
    Event("2019-07-12", "NCSN / SMLD", "learn the score at many noise levels", "arXiv 1907.05600"),
    Event("2020-06-19", "DDPM", "2015's chain, predict the noise, drop the weights", "arXiv 2006.11239"),
    Event("2020-10-06", "DDIM", "the same network, deterministic, in few steps", "arXiv 2010.02502"),
    Event("2020-11-26", "Score SDE", "one equation over both; an ODE with likelihoods", "arXiv 2011.13456"),
    Event("2021-12-20", "Latent diffusion", "the same in a VAE's latents, with cross-attention", "arXiv 2112.10752"),
    Event("2022-07-26", "Classifier-free guidance", "drop some captions, extrapolate at sampling", "arXiv 2207.12598"),
    Event("2022-08", "Stable Diffusion 1.1-1.4", "latent diffusion trained on LAION", "CompVis README"),
    Event("2022-10-20", "Stable Diffusion 1.5", "1.2 trained on, longer than 1.3 and 1.4", "Runway README"),
    Event("2022-11", "Stable Diffusion 2.0", "a new text encoder; 768 px predicts velocity", "Stability README"),
    Event("2022-12", "Stable Diffusion 2.1", "2.0 trained on with a milder image filter", "Stability model card"),
    Event("2023-07-04", "Stable Diffusion XL", "a 3x larger U-Net, two text encoders", "arXiv 2307.01952"),
)

_AESTHETIC = "LAION-aesthetics v2 5+"
_CLIP_L, _CLIP_H = "CLIP ViT-L/14", "OpenCLIP ViT-H/14"
_SAFE = "LAION-5B subset, filtered"

CHECKPOINTS = (
    Checkpoint(
        "1.1",
        "2022-08",
        "CompVis",
        None,
        (Stage(237, 256, "laion2B-en"), Stage(194, 512, "laion-high-resolution")),
        0.0,
        "eps",
        _CLIP_L,
        768,
        860,
    ),  # the READMEs name the dropping as what 1.3 adds
    Checkpoint("1.2", "2022-08", "CompVis", "1.1", (Stage(515, 512, _AESTHETIC),), 0.0, "eps", _CLIP_L, 768, 860),
    Checkpoint("1.3", "2022-08", "CompVis", "1.2", (Stage(195, 512, _AESTHETIC),), 0.1, "eps", _CLIP_L, 768, 860),
    Checkpoint("1.4", "2022-08", "CompVis", "1.2", (Stage(225, 512, _AESTHETIC),), 0.1, "eps", _CLIP_L, 768, 860),
    Checkpoint("1.5", "2022-10", "Runway", "1.2", (Stage(595, 512, _AESTHETIC),), 0.1, "eps", _CLIP_L, 768, 860),
    Checkpoint(
        "2.0-base",
        "2022-11",
        "Stability AI",
        None,
        (Stage(550, 256, _SAFE), Stage(850, 512, _SAFE)),
        None,
        "eps",
        _CLIP_H,
        1024,
        865,
    ),
    Checkpoint(
        "2.0",
        "2022-11",
        "Stability AI",
        "2.0-base",
        (Stage(150, 512, _SAFE), Stage(140, 768, _SAFE)),
        None,
        "velocity",
        _CLIP_H,
        1024,
        865,
    ),
    Checkpoint(
        "2.1",
        "2022-12",
        "Stability AI",
        "2.0",
        (Stage(55, 768, _SAFE), Stage(155, 768, "the same, filtered less")),
        None,
        "velocity",
        _CLIP_H,
        1024,
        865,
    ),
    Checkpoint(
        "XL",
        "2023-07",
        "Stability AI",
        None,
        (Stage(600, 256, "internal"), Stage(200, 512, "internal"), Stage(None, 1024, "internal, many shapes")),
        None,
        "eps",
        f"{_CLIP_L} + OpenCLIP ViT-bigG/14",
        2048,
        2600,
    ),
)


@dataclass(frozen=True)
class Remark:
    """A statement of the article about this history, in our words, and what the sources say."""

    article: str
    record: str
    seen_in: str  # the code that shows it


REMARKS = (
    Remark(
        "Stable Diffusion is latent diffusion from 1.1 to 2.1 (its opening), from 1.1 to XL (its version history)",
        "the second: XL keeps the architecture, with a larger U-Net and two text encoders",
        "timeline.CHECKPOINTS",
    ),
    Remark(
        "1.1 was trained on laion2B-en",
        "for 237k steps at 256 px; then 194k at 512 px on laion-high-resolution",
        "timeline.CHECKPOINTS",
    ),
    Remark(
        "1.2 was fine-tuned to 1.3, 1.4 and 1.5",
        "right, and easy to misread: three siblings, each resumed from 1.2, not a chain",
        "timeline.lineage",
    ),
    Remark(
        "10 % of the text conditioning was dropped",
        "from 1.3 on; 1.1 and 1.2 were trained without it",
        "timeline.CHECKPOINTS",
    ),
    Remark(
        "diffusion models remove successive applications of noise",
        "training never applies noise in succession: x_t comes from x_0 in one jump",
        "ddpm_2020.q_sample",
    ),
    Remark(
        "the network predicts the noise added at each step; elsewhere, noise that is scaled and subtracted",
        "both are one thing: the total noise in x_t, of which a step removes a part",
        "ddpm_2020.reverse_mean",
    ),
    Remark(
        "DDPM improved on the previous method by variational inference",
        "2015's loss was the variational bound already; DDPM fixed the variance and dropped the bound's weights",
        "ddpm_2020.bound_weight",
    ),
)


def lineage(name: str) -> list[str]:
    """The checkpoints that `name` was resumed from, oldest first, itself last.

    Raises ValueError for an unknown name, naming the known ones.
    """
    parents = {checkpoint.name: checkpoint.parent for checkpoint in CHECKPOINTS}
    if name not in parents:
        raise ValueError(f"no checkpoint {name!r}; there are {', '.join(parents)}")
    ancestor = parents[name]
    return ([] if ancestor is None else lineage(ancestor)) + [name]


def thousand_steps(name: str) -> int | None:
    """Training steps in thousands from random weights to `name`, through its ancestors; None where one is unknown."""
    family = set(lineage(name))
    steps = [stage.thousand_steps for c in CHECKPOINTS if c.name in family for stage in c.stages]
    known = [count for count in steps if count is not None]
    return sum(known) if len(known) == len(steps) else None


def events_table() -> str:
    """EVENTS as a Markdown table."""
    rows = (f"| {e.date} | {e.name} | {e.added} | {e.source} |" for e in EVENTS)
    return "| date | what | added | source |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


def checkpoints_table() -> str:
    """CHECKPOINTS as a Markdown table; a dash is what the sources do not state."""
    head = (
        "| version | weights | by | from | trained on (thousand steps @ pixels) | captions dropped | predicts "
        "| text encoder (width) | U-Net, M |\n|---|---|---|---|---|---|---|---|---|\n"
    )
    lines = []
    for c in CHECKPOINTS:
        steps = (f"{s.thousand_steps}k" if s.thousand_steps else "-" for s in c.stages)
        stages = "; ".join(f"{s.images}: {n} @ {s.resolution}" for s, n in zip(c.stages, steps))
        dropped = "-" if c.caption_dropout is None else f"{c.caption_dropout:.0%}"
        lines.append(
            f"| {c.name} | {c.date} | {c.by} | {c.parent or 'scratch'} | {stages} | {dropped} | {c.predicts} "
            f"| {c.text_encoder} ({c.context_width}) | {c.unet_parameters:.0f} |"
        )
    return head + "\n".join(lines) + "\n"


def remarks_table() -> str:
    """REMARKS as a Markdown table."""
    rows = (f"| {r.article} | {r.record} | `{r.seen_in}` |" for r in REMARKS)
    return "| the article | the record | seen in |\n|---|---|---|\n" + "\n".join(rows) + "\n"
