"""The figures of the report: pure functions of points, models and measurements.

Each returns a matplotlib figure; `plots.save` writes it.  Call them under `plots.style()`.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from PIL import Image
from torch import Tensor

from tinyldm.history import timeline
from tinyldm.history.data import DataSet
from tinyldm.history.ddpm_2020 import Diffusion2020, bound_weight
from tinyldm.history.probability_flow import Noise
from tinyldm_course.history.compare import Row, mean_and_interval
from tinyldm_course.lessons import plots

VIEW = 2.6  # clouds are plotted on [-2.6, 2.6]^2
METHOD_STYLE = {  # colour and marker of each method in every plot
    "2015": (plots.BLUE, "o"),
    "2019": (plots.ORANGE, "s"),
    "2020": (plots.GREEN, "^"),
    "2020 network, flow": (plots.PINK, "D"),
}


def cloud(ax: plt.Axes, points: Tensor, color: str = plots.BLUE, view: float = VIEW, size: float = 1.0) -> None:
    """A scatter of points (N, 2) without axes."""
    ax.scatter(*points.T.numpy(), s=size, color=color, alpha=0.5, linewidths=0)
    ax.set(xlim=(-view, view), ylim=(-view, view), aspect="equal")
    plots.hide_axes(ax)


def gallery(columns: Mapping[str, Sequence[Tensor]], names: Sequence[str]) -> plt.Figure:
    """Samples of every method on every data set: columns maps a title to one cloud (N, 2) per data set."""
    fig, axes = plt.subplots(len(names), len(columns), figsize=(1.55 * len(columns), 1.6 * len(names)))
    for j, (title, clouds) in enumerate(columns.items()):
        for i, points in enumerate(clouds):
            cloud(axes[i, j], points, METHOD_STYLE.get(title[:4], (plots.GREY, ""))[0])
            axes[i, j].set_ylabel(names[i] if j == 0 else "")
        axes[0, j].set_title(title)
    return fig


def strips(paths: dict[str, Tensor], titles: dict[str, Sequence[str]]) -> plt.Figure:
    """One row per path, one column per moment: paths maps a name to clouds (moments, N, 2)."""
    moments = max(len(path) for path in paths.values())
    fig, axes = plt.subplots(len(paths), moments, figsize=(1.5 * moments, 1.75 * len(paths)), squeeze=False)
    for row, (method, path) in zip(axes, paths.items()):
        for ax, points, title in zip(row, path, titles[method]):
            cloud(ax, points, METHOD_STYLE.get(method, (plots.GREY, ""))[0])
            ax.set_title(title, fontsize=8.5)
        row[0].set_ylabel(method)
    return fig


def _grid(view: float, n: int) -> Tensor:
    side = torch.linspace(-view, view, n)
    return torch.cartesian_prod(side, side)


@torch.no_grad()
def fields(data: DataSet, models: dict[str, Noise], sigmas: Sequence[float]) -> plt.Figure:
    """The exact field and the learnt ones, -eps = sigma * score, at several sigmas, over the exact density.

    Above each learnt field stands its root-mean-square error on noised data.
    """
    names = list(models)
    fig, axes = plt.subplots(len(sigmas), len(names), figsize=(2.7 * len(names), 2.75 * len(sigmas)), squeeze=False)
    generator = torch.Generator().manual_seed(0)
    for i, sigma in enumerate(sigmas):
        grid = _grid(VIEW, 17)
        fine = _grid(VIEW, 120)
        density = data.log_density(fine, 1.0, sigma).exp().reshape(120, 120).T
        noised = data.sample(4000, generator) + sigma * torch.randn(4000, 2, generator=generator)
        exact = models[names[0]](noised, sigma)
        for ax, name in zip(axes[i], names):
            arrows = -models[name](grid, sigma)
            ax.imshow(density, extent=(-VIEW, VIEW) * 2, origin="lower", cmap="Greys", vmax=density.max() * 1.6)
            ax.quiver(*grid.T, *arrows.T, color=plots.ORANGE, angles="xy", scale=28, width=0.006)
            error = (models[name](noised, sigma) - exact).square().sum(dim=1).mean().sqrt().item()
            ax.set_title(f"{name}, σ = {sigma:g}" if name == names[0] else f"{name}, error {error:.2f}", fontsize=9)
            plots.hide_axes(ax)
    return fig


def plain_against_annealed(plain: Tensor, annealed: Tensor, weight: float) -> plt.Figure:
    """Samples of the distant modes by plain and annealed Langevin dynamics on the exact score, each (N, 2)."""
    fig, axes = plt.subplots(1, 3, figsize=(8.4, 3.0), width_ratios=(1, 1, 1.1))
    shares = [(points.sum(dim=1) > 0).float().mean().item() for points in (plain, annealed)]
    for ax, points, title in zip(axes, (plain, annealed), ("plain Langevin", "annealed Langevin")):
        cloud(ax, points, plots.ORANGE, view=9, size=2)
        ax.set_title(title)
    colors = [plots.GREY, plots.ORANGE, plots.BLUE]
    axes[2].bar(["truth", "plain", "annealed"], [weight, *shares], color=colors, width=0.6)
    for i, value in enumerate([weight, *shares]):
        axes[2].text(i, value + 0.02, f"{value:.2f}", ha="center")
    axes[2].set(ylim=(0, 1), title="share of points in the upper mode")
    return fig


def loss_weights(q: Diffusion2020) -> plt.Figure:
    """The weight of the squared error of the noise in the bound of 2015, against the constant of 2020."""
    fig, axes = plt.subplots(1, 2, figsize=plots.WIDE)
    t, weight = range(1, q.T + 1), bound_weight(q)
    axes[0].plot(t, weight, color=plots.BLUE, label="the bound (2015): β²/(2σ²α(1-ᾱ))")
    axes[0].axhline(1, color=plots.GREEN, linestyle="--", label="L_simple (2020): 1")
    axes[0].set(yscale="log", xlabel="t", title="weight of |ε - ε_θ|² in the loss")
    axes[0].legend(loc="center right", bbox_to_anchor=(1, 0.7), fontsize=9)
    axes[1].plot(t, weight.cumsum(0) / weight.sum(), color=plots.BLUE)
    axes[1].plot(t, torch.arange(1, q.T + 1) / q.T, color=plots.GREEN, linestyle="--")
    half = int((weight.cumsum(0) < weight.sum() / 2).sum()) + 1
    axes[1].axvline(half, color=plots.GREY, linewidth=1)
    axes[1].text(half + 15, 0.1, f"half of the bound's weight\nlies at t ≤ {half}")
    axes[1].set(xlabel="t", title="share of all weight up to t")
    return fig


def flow_against_chain(flow: Tensor, chain: Tensor, data_points: Tensor) -> plt.Figure:
    """Paths to the same data: the differential equation's and the ancestral chain's, (steps, N, 2) each, in x_t."""
    fig, axes = plt.subplots(1, 2, figsize=(8.0, 4.2))
    for ax, path, title, color in (
        (axes[0], flow, "probability flow: no noise", plots.PINK),
        (axes[1], chain, "ancestral sampling: fresh noise each step", plots.GREEN),
    ):
        cloud(ax, data_points, "#CFCFCF", view=3.2, size=2)
        ax.plot(path[:, :, 0], path[:, :, 1], color=color, linewidth=1.0, alpha=0.8)
        ax.scatter(*path[0].T, s=16, color=color, edgecolor="white", linewidth=0.5, label="start", zorder=3)
        ax.scatter(*path[-1].T, s=16, color=plots.BLACK, marker="s", label="end", zorder=3)
        ax.set_title(f"{title} ({path.shape[1]} paths)")
        ax.legend(loc="lower left", fontsize=8)
    return fig


def heartbeat(path: Tensor, bits: dict[str, float]) -> plt.Figure:
    """Sequences in the reverse process, path (T+1, N, 20), and the bound next to the entropy, in bits."""
    fig, axes = plt.subplots(1, 6, figsize=(10, 3.2), width_ratios=(1, 1, 1, 1, 1, 2.1))
    T = len(path) - 1
    for ax, share in zip(axes, (0, 0.5, 0.9, 0.99, 1)):
        ax.imshow(path[round(share * T)], cmap="Greys", aspect="auto")
        ax.set_title(f"t = {T - round(share * T)}", fontsize=9)
        plots.hide_axes(ax)
    axes[5].barh(list(bits), list(bits.values()), color=[plots.GREY, plots.SKY, plots.BLUE][: len(bits)], height=0.6)
    for i, value in enumerate(bits.values()):
        axes[5].text(value - 0.08, i, f"{value:.2f}", va="center", ha="right", color="white")
    axes[5].set(xlabel="bits per sequence", title="-K next to the entropy")
    axes[5].invert_yaxis()
    return fig


def latent_space(hidden: Tensor, latents: Tensor, decoded: Tensor, fresh: Tensor) -> plt.Figure:
    """Hidden data (2 of 32 numbers), their latents, decoded samples in the hidden plane, fresh data; (N, 2) each."""
    fig, axes = plt.subplots(1, 4, figsize=(9.6, 2.7))
    clouds = (
        (hidden, plots.GREY, "data: 2 of 32 numbers"),
        (latents, plots.BLUE, "latents of the data"),
        (decoded, plots.GREEN, "new latents, decoded"),
        (fresh, plots.GREY, "fresh data"),
    )
    for ax, (points, color, title) in zip(axes, clouds):
        cloud(ax, points, color)
        ax.set_title(title)
    return fig


def _series(rows: Sequence[Row], data: str, method: str) -> tuple[list[int], list[float], list[float]]:
    """Calls, mean distance and interval of one method on one data set."""
    chosen = [r for r in rows if r.data == data and r.method == method]
    calls = sorted({r.calls for r in chosen})
    stats = [mean_and_interval([r.distance for r in chosen if r.calls == c]) for c in calls]
    return calls, [s[0] for s in stats], [s[1] for s in stats]


def distance_against_calls(rows: Sequence[Row]) -> plt.Figure:
    """Sliced Wasserstein distance against network evaluations, one panel per data set, 95 % intervals over seeds.

    Of the methods that make no calls, which become horizontal lines, those are drawn of which there are rows.
    """
    names = list(dict.fromkeys(r.data for r in rows))
    fig, axes = plt.subplots(1, len(names), figsize=(2.9 * len(names), 3.7), sharey=True, squeeze=False)
    lines = (
        ("one Gaussian", ":", plots.BLACK),
        ("KDE, Scott's rule", "--", plots.BLACK),
        ("KDE, tuned", "-.", plots.GREY),
        ("fresh data (floor)", "-", plots.GREY),
    )
    for ax, name in zip(axes[0], names):
        for method, (color, marker) in METHOD_STYLE.items():
            calls, mean, half = _series(rows, name, method)
            ax.errorbar(calls, mean, half, color=color, marker=marker, markersize=4, capsize=2, lw=1.2, label=method)
        for method, dash, color in [line for line in lines if line[0] in {r.method for r in rows}]:
            ax.axhline(_series(rows, name, method)[1][0], color=color, linestyle=dash, linewidth=1, label=method)
        ax.set(xscale="log", yscale="log", xlabel="network evaluations per sample", title=name, ylim=(0.015, 0.5))
    axes[0, 0].set_ylabel("sliced Wasserstein distance")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=9)
    return fig


def bits_beside_entropy(rows: Sequence[Row], entropies: dict[str, float]) -> plt.Figure:
    """Bits per point above the entropy, each method's mean over seeds with 95 % interval: 0 is perfect."""
    methods = ("one Gaussian", "KDE, Scott's rule", "KDE, tuned", "2015", "2019", "2020")
    colors = (plots.BLACK, plots.GREY, "#C4C4C4", plots.BLUE, plots.ORANGE, plots.GREEN)
    fig, ax = plt.subplots(figsize=(9.0, 3.8))
    for k, (method, color) in enumerate(zip(methods, colors)):
        for i, (name, entropy) in enumerate(entropies.items()):
            chosen = [r for r in rows if r.data == name and r.method == method]
            longest = max(r.calls for r in chosen)
            mean, half = mean_and_interval([r.bits for r in chosen if r.calls == longest and r.bits is not None])
            where = i + (k - 2.5) * 0.13
            ax.bar(where, mean - entropy, 0.12, yerr=half, color=color, capsize=2, label=method if i == 0 else None)
            ax.text(where, mean - entropy + half + 0.03, f"{mean - entropy:.2f}", ha="center", fontsize=7)
    ax.set_xticks(range(len(entropies)), [f"{name}\nH = {h:.2f} bits" for name, h in entropies.items()])
    ax.set(ylabel="bits above the entropy", title="excess bits (2015: its bound; 2019, 2020: the flow's likelihood)")
    ax.axhline(0, color=plots.BLACK, linewidth=0.8)
    fig.legend(ncols=6, loc="outside lower center", fontsize=9)
    return fig


def history_line() -> plt.Figure:
    """The events of timeline.EVENTS on an axis of years, labels alternating in height so that none overlaps."""
    fig, ax = plt.subplots(figsize=(10.5, 5.0))
    heights = (1.0, 0.9, -0.9, 1.7, -1.9, 0.9, -0.9, 2.5, 1.6, -2.0, 0.8, -1.1)
    for event, height in zip(timeline.EVENTS, heights):
        year, month, day = (int(part) for part in (event.date + "-15").split("-")[:3])
        when = year + (date(year, month, day).timetuple().tm_yday - 1) / 365
        when = 2017.6 + (when - 2015.2) * 0.25 if when < 2018.5 else when  # the gap of four years, shortened
        color = plots.ORANGE if event.name.startswith("Stable") else plots.BLUE
        ax.plot([when, when], [0, height], color=plots.GREY, linewidth=0.8)
        ax.scatter([when], [0], color=color, marker="s" if color == plots.ORANGE else "o", zorder=3)
        text = f"{event.date[:7]}  {event.name}\n{_wrapped(event.added)}"
        right = event.name in ("DDPM", "Score SDE", "Latent diffusion", "Classifier-free guidance") or height > 2
        ax.text(
            when,
            height,
            text,
            fontsize=7.6,
            ha="right" if right else "left",
            va="bottom" if height > 0 else "top",
            linespacing=1.15,
        )
    ax.axhline(0, color=plots.BLACK, linewidth=1)
    ax.text(2018.2, 0.06, "≈", ha="center", va="center", fontsize=16, backgroundcolor="white")
    ax.set_xticks([2017.6 - 0.05, *range(2019, 2024)], ["2015", *(str(y) for y in range(2019, 2024))])
    ax.set(ylim=(-3.0, 3.4), xlim=(2017.3, 2024.6))
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.set_yticks([])
    ax.set_title("papers (blue circles) and Stable Diffusion weights (orange squares)")
    return fig


def _wrapped(text: str, width: int = 28) -> str:
    """text broken into lines of at most `width` characters, at spaces."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) + 1 > width and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def family_tree() -> plt.Figure:
    """The checkpoints: each bar starts where its parent's ended; hatched where captions were dropped."""
    fig, ax = plt.subplots(figsize=(9.5, 4.2))
    ends: dict[str | None, float] = {None: 0.0}
    shades = {256: plots.SKY, 512: plots.BLUE, 768: plots.GREEN, 1024: plots.GREY}
    for i, c in enumerate(timeline.CHECKPOINTS):
        at = ends[c.parent]
        for stage in c.stages:
            length = stage.thousand_steps or 150
            ax.barh(
                i,
                length,
                left=at,
                height=0.62,
                color=shades[stage.resolution],
                edgecolor="white",
                hatch="///" if c.caption_dropout else None,
                alpha=1 if stage.thousand_steps else 0.45,
            )
            ax.text(
                at + length / 2,
                i,
                f"{stage.thousand_steps or '?'}k",
                ha="center",
                va="center",
                fontsize=7.5,
                color="white",
                bbox={"facecolor": shades[stage.resolution], "edgecolor": "none", "pad": 1},
            )
            at += length
        ends[c.name] = at
        ax.text(at + 12, i, f"{c.predicts}, {c.text_encoder}", va="center", fontsize=7.5)
    ax.set_yticks(range(len(timeline.CHECKPOINTS)), [f"SD {c.name}" for c in timeline.CHECKPOINTS])
    ax.invert_yaxis()
    ax.set(xlabel="thousand training steps since random weights", xlim=(0, 2300))
    for pixels, color in shades.items():
        ax.bar(0, 0, color=color, label=f"{pixels} px")
    ax.bar(0, 0, color="white", edgecolor=plots.BLACK, hatch="///", label="10 % of captions dropped")
    ax.legend(loc="upper right", fontsize=8)
    ax.set_title("each bar starts where its parent's weights ended: 1.3, 1.4 and 1.5 are siblings")
    return fig


@torch.no_grad()
def field_in_motion(eps: Noise, path: Tensor, sigmas: Sequence[float], out: Path, every: int = 3) -> Path:
    """A GIF: points ride the probability flow, path (steps, N, 2) in x_bar, over the field -eps at the same sigma.

    Both are drawn in x_t = x_bar / sqrt(1 + sigma^2), so that the cloud keeps its size.
    """
    frames = []
    for x_bar, sigma in list(zip(path, sigmas))[::every]:
        size = math.sqrt(1 + sigma**2)
        grid = _grid(VIEW, 15)
        arrows = -eps(grid * size, sigma)
        fig, ax = plt.subplots(figsize=(3.6, 3.8))
        ax.quiver(*grid.T, *arrows.T, color=plots.ORANGE, angles="xy", scale=30, width=0.005)
        ax.scatter(*(x_bar / size).T, s=2.5, color=plots.BLUE, linewidths=0, zorder=3)
        ax.set(xlim=(-VIEW, VIEW), ylim=(-VIEW, VIEW), aspect="equal")
        ax.set_title(f"σ × score, as the 2020 network learnt it\nσ = {sigma:.3f}", fontsize=9)
        plots.hide_axes(ax)
        frames.append(plots.to_image(fig))
    return plots.save_gif(frames, out)


def there_and_back(forward: Tensor, backward: Tensor, path: Path, frames_each_way: int = 22) -> Path:
    """A GIF: data dissolve into noise (forward), and noise becomes data again (backward); (steps, N, 2) each.

    Points are coloured by where they started, so that one sees that the two ways are not each other's rewind.
    """
    frames = []
    for title, states in (("forward: nothing is learnt", forward), ("reverse: every step is a network", backward)):
        angle = torch.atan2(states[0][:, 1], states[0][:, 0]) / math.pi
        for k in torch.linspace(0, len(states) - 1, frames_each_way).long().tolist():
            frames.append(_frame(states[k], angle, f"{title}\n{k / (len(states) - 1):.0%} of the steps"))
        frames += [frames[-1]] * 5
    return plots.save_gif(frames, path)


def _frame(points: Tensor, colour: Tensor, title: str) -> Image.Image:
    """One picture of the GIF."""
    fig, ax = plt.subplots(figsize=(3.2, 3.5))
    ax.scatter(*points.T, c=colour, cmap="twilight_shifted", s=2.5, linewidths=0)
    ax.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
    ax.set_title(title, fontsize=9)
    plots.hide_axes(ax)
    return plots.to_image(fig)
