"""The report: measurements in, Markdown and a folder of figures out."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from tinyldm.history import (
    data,
    ddpm_2020,
    heartbeat_2015,
    latent_space,
    nonequilibrium_2015,
    notation,
    probability_flow,
    score_matching_2019,
    timeline,
)
from tinyldm.history.network import Budget, Progress
from tinyldm_course.history import compare, figures
from tinyldm_course.history.compare import Row, mean_and_interval
from tinyldm_course.lessons import plots

BASELINES = ("fresh data (floor)", "one Gaussian", "KDE, Scott's rule", "KDE, tuned")
METHODS = (*BASELINES, "2015", "2019", "2020", "2020 network, flow")
ProgressBars = Callable[[str], Progress]  # a label -> a progress bar for one loop


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """One JSON object per line."""
    path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))


def read_rows(path: Path) -> list[Row]:
    """The inverse of write_rows.  Raises ValueError where the file is missing, saying how to create it."""
    if not path.exists():
        raise ValueError(f"{path} does not exist; run `python -m tinyldm_course.history compare` first")
    return [Row(**json.loads(line)) for line in path.read_text().splitlines()]


def longest(rows: Sequence[Row], name: str, method: str) -> list[Row]:
    """A method's rows on one data set at its largest number of network evaluations."""
    chosen = [r for r in rows if r.data == name and r.method == method]
    most = max(r.calls for r in chosen)
    return [r for r in chosen if r.calls == most]


def table(rows: Sequence[Row], value: Callable[[Row], float | None], digits: int) -> str:
    """Methods down, data sets across, each cell a mean over seeds ± its 95 % interval; a dash where not defined."""
    names = list(dict.fromkeys(r.data for r in rows))
    lines = ["| method (network evaluations) | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for method in METHODS:
        cells = []
        for name in names:
            chosen = longest(rows, name, method)
            values = [number for number in map(value, chosen) if number is not None]
            cells.append(
                "-" if len(values) < len(chosen) else "{0:.{2}f} ± {1:.{2}f}".format(*mean_and_interval(values), digits)
            )
        calls = longest(rows, names[0], method)[0].calls
        if set(cells) != {"-"}:
            lines.append(f"| {method}{f' ({calls})' if calls else ''} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def entropy_line(rows: Sequence[Row]) -> str:
    """The table row with each data set's entropy."""
    entropies = {d.name: data.entropy_bits(d) for d in data.four_sets()}
    return (
        "| **entropy (no model can be below)** | "
        + " | ".join(f"**{entropies[name]:.3f}**" for name in dict.fromkeys(r.data for r in rows))
        + " |\n"
    )


def markdown_tables(rows: Sequence[Row]) -> str:
    """The three tables of the comparison, with their headings."""
    seeds = len({r.seed for r in rows})
    parts = (
        ("Distance to fresh data (sliced Wasserstein)", table(rows, lambda r: r.distance, 3)),
        (f"Fine detail (squared MMD at scale {compare.FINE_SCALE}, × 1000)", table(rows, lambda r: r.fine_mmd, 2)),
        ("Bits per point on fresh data", table(rows, lambda r: r.bits, 2) + entropy_line(rows)),
    )
    return "\n".join(f"### {title}, {seeds} seeds\n\n{text}" for title, text in parts)


@dataclass(frozen=True)
class Trained:
    """The three papers' networks, trained on the same points of one data set."""

    data: data.DataSet
    of_2015: nonequilibrium_2015.ReverseKernel
    of_2019: score_matching_2019.ScoreNetwork
    of_2020: ddpm_2020.NoisePredictor


def train_all(chosen: data.DataSet, generator: torch.Generator, budget: Budget, bars: ProgressBars) -> Trained:
    """Train the three on one set of compare.N_TRAIN points."""
    x_train = chosen.sample(compare.N_TRAIN, generator)
    return Trained(
        chosen,
        nonequilibrium_2015.train(
            x_train, nonequilibrium_2015.constant_share_schedule(), generator, budget, bars(f"2015, {chosen.name}")
        ),
        score_matching_2019.train(
            x_train, score_matching_2019.geometric_levels(), generator, budget, bars(f"2019, {chosen.name}")
        ),
        ddpm_2020.train(x_train, ddpm_2020.linear_schedule(), generator, budget, bars(f"2020, {chosen.name}")),
    )


def plot_gallery(folder: Path, models: Sequence[Trained], generator: torch.Generator) -> None:
    """Samples of the three on all data sets, and their baselines."""
    n = compare.N_TRAIN
    training = [m.data.sample(n, generator) for m in models]
    kde = [compare.kernel_density(x, compare.scott_bandwidth(x)).sample(n, generator) for x in training]
    columns = {
        "data": training,
        "KDE, Scott's rule": kde,
        "2015 (39 calls)": [nonequilibrium_2015.sample(m.of_2015, n, generator)[-1] for m in models],
        "2019 (500 calls)": [score_matching_2019.sample(m.of_2019, n, generator, T=50)[-1] for m in models],
        "2020 (1000 calls)": [ddpm_2020.sample(m.of_2020, n, generator)[-1] for m in models],
    }
    plots.save(figures.gallery(columns, [m.data.name for m in models]), folder / "samples.jpg")


def plot_journeys(folder: Path, models: Trained, generator: torch.Generator) -> None:
    """The reverse processes as strips and a GIF, and the paths of the flow next to those of the chain."""
    n = 1500
    q15, q20 = models.of_2015.q, models.of_2020.q
    back_2015 = nonequilibrium_2015.sample(models.of_2015, n, generator)
    back_2019 = score_matching_2019.sample(models.of_2019, n, generator)
    back_2020 = ddpm_2020.sample(models.of_2020, n, generator)
    at_2015, at_2019, at_2020 = (0, 20, 30, 35, 38, 40), (0, 2, 4, 6, 8, 10), (0, 600, 800, 900, 960, 1000)
    sigmas = [math.inf, *models.of_2019.sigmas.tolist()]
    x0, eps = models.data.sample(n, generator), torch.randn(n, 2, generator=generator)

    def noised(t: int) -> torch.Tensor:
        return ddpm_2020.q_sample(x0, torch.full((n,), t), eps, q20)

    at_forward = (40, 100, 200, 400, 1000)
    fig = figures.strips(
        {
            "forward": torch.stack([x0, *(noised(t - 1) for t in at_forward)]),
            "2015": back_2015[list(at_2015)],
            "2019": back_2019[list(at_2019)],
            "2020": back_2020[list(at_2020)],
        },
        {
            "forward": [f"t = {t}" for t in (0, *at_forward)],
            "2015": [f"t = {q15.T - k}" for k in at_2015],
            "2019": ["start" if k == 0 else f"σ = {sigmas[k]:.2f}" for k in at_2019],
            "2020": [f"t = {q20.T - k}" for k in at_2020],
        },
    )
    plots.save(fig, folder / "journeys.jpg")
    forward = torch.stack([x0, *(noised(t) for t in range(0, 700, 10))])
    figures.there_and_back(forward, back_2020[300::10], folder / "there_and_back.gif")
    plot_flow(folder, models, generator)


def plot_flow(folder: Path, models: Trained, generator: torch.Generator) -> None:
    """Paths of the probability flow and of the ancestral chain over the data, in DDPM's coordinates."""
    eps = probability_flow.noise_of_ddpm(models.of_2020)
    levels = probability_flow.karras_sigmas(compare.FLOW_START, models.of_2020.q.sigma()[0].item(), 120)
    start = math.sqrt(1 + compare.FLOW_START**2) * torch.randn(60, 2, generator=generator)
    x_bar = probability_flow.heun(eps, start, levels)  # (120, 60, 2)
    x_t = notation.preserving_from_exploding(x_bar, torch.tensor(levels)[:, None, None])
    chain = ddpm_2020.sample(models.of_2020, 4, generator)[::5]
    fig = figures.flow_against_chain(x_t, chain, models.data.sample(1500, generator))
    plots.save(fig, folder / "flow.png")
    many = math.sqrt(1 + compare.FLOW_START**2) * torch.randn(800, 2, generator=generator)
    figures.field_in_motion(eps, probability_flow.heun(eps, many, levels), levels, folder / "field.gif")


def plot_fields(folder: Path, models: Trained) -> None:
    """The exact field next to the fields that 2019 and 2020 learnt."""
    named = {
        "exact": probability_flow.noise_of_data(models.data),
        "2019": probability_flow.noise_of_ncsn(models.of_2019),
        "2020": probability_flow.noise_of_ddpm(models.of_2020),
    }
    plots.save(figures.fields(models.data, named, (1.0, 0.4, 0.15)), folder / "fields.jpg")


def plot_langevin(folder: Path, generator: torch.Generator) -> None:
    """Song & Ermon's section 3.2.2: the exact score is not enough for plain Langevin dynamics."""
    modes = data.two_distant_modes()
    start = 16 * torch.rand(2000, 2, generator=generator) - 8
    plain = score_matching_2019.langevin(modes.score, start, 0.1, 1000, generator)[-1]
    annealed = distant_modes_annealed(start, generator)
    plots.save(figures.plain_against_annealed(plain, annealed, 0.8), folder / "langevin.png")


def distant_modes_annealed(start: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Algorithm 1 of 2019 on the exact scores of the two distant modes: 10 levels from 20 to 0.1, 100 steps each."""
    modes = data.two_distant_modes()
    sigmas = score_matching_2019.geometric_levels(20.0, 0.1, 10)

    def score(x: torch.Tensor, sigma: float) -> torch.Tensor:
        return modes.score(x, 1.0, sigma)

    return score_matching_2019.annealed_langevin(score, start, sigmas, 0.1 * 0.1**2, 100, generator)[-1]


def plot_heartbeat(folder: Path, generator: torch.Generator, bars: ProgressBars) -> dict[str, float]:
    """Train the binomial model, plot its reverse process; returns the measurements."""
    q = heartbeat_2015.BinomialDiffusion()
    x_train = heartbeat_2015.heartbeats(compare.N_TRAIN, generator)
    kernel = heartbeat_2015.train(x_train, q, generator, progress=bars("2015, heartbeat"))
    measured = {
        "entropy log2(5)": heartbeat_2015.ENTROPY_BITS,
        "best kernel": heartbeat_2015.bits(heartbeat_2015.exact_kernel(q), q, generator),
        "learnt kernel": heartbeat_2015.bits(kernel, q, generator),
    }
    path = heartbeat_2015.sample(kernel, 1000, q, generator)
    plots.save(figures.heartbeat(path[:, :40], measured), folder / "heartbeat.png")
    measured = {f"heartbeat, {name}, bits": value for name, value in measured.items()}
    return measured | {"heartbeat, share of samples that are heartbeats": heartbeat_2015.share_of_heartbeats(path[-1])}


def plot_latent_space(folder: Path, generator: torch.Generator, budget: Budget, bars: ProgressBars) -> dict[str, float]:
    """The 2020 model on the latents of 32-dimensional data; returns the distance of its decoded samples."""
    n, chosen = compare.N_TRAIN, data.two_moons()
    frame = latent_space.hidden_frame(generator)
    x_train = latent_space.hide(chosen.sample(n, generator), frame, generator)
    coder = latent_space.fit_autoencoder(x_train)
    z_train = coder.encode(x_train)
    eps_theta = ddpm_2020.train(z_train, ddpm_2020.linear_schedule(), generator, budget, bars("2020, latents"))
    decoded = coder.decode(ddpm_2020.sample(eps_theta, n, generator)[-1]) @ frame / 5
    fresh = chosen.sample(n, generator)
    plots.save(figures.latent_space(x_train[:, :2], z_train, decoded, fresh), folder / "latent.jpg")
    distance = compare.sliced_wasserstein(decoded, fresh)
    return {"latents, distance of decoded samples": distance, "latents, scale": coder.scale}


def plot_all(folder: Path, seed: int, budget: Budget, bars: ProgressBars) -> dict[str, float]:
    """Train what the figures need and write them all into `folder`; returns what was measured."""
    generator = torch.Generator().manual_seed(seed)
    with plots.style():
        plots.save(figures.history_line(), folder / "timeline.png")
        plots.save(figures.family_tree(), folder / "checkpoints.png")
        plots.save(figures.loss_weights(ddpm_2020.linear_schedule()), folder / "weights.png")
        plot_langevin(folder, generator)
        measured = plot_heartbeat(folder, generator, bars) | plot_latent_space(folder, generator, budget, bars)
        models = [train_all(chosen, generator, budget, bars) for chosen in data.four_sets()]
        plot_gallery(folder, models, generator)
        plot_journeys(folder, models[0], generator)
        plot_fields(folder, models[2])
    return measured


def plot_comparison(folder: Path, rows: Sequence[Row]) -> None:
    """The two figures that need measurements only."""
    with plots.style():
        plots.save(figures.distance_against_calls(rows), folder / "distance.png")
        entropies = {d.name: data.entropy_bits(d) for d in data.four_sets()}
        plots.save(figures.bits_beside_entropy(rows, entropies), folder / "bits.png")


def timeline_markdown() -> str:
    """The three tables of the timeline."""
    return (
        "### Papers and releases\n\n"
        + timeline.events_table()
        + "\n### Checkpoints\n\n"
        + timeline.checkpoints_table()
        + "\n### Where the article and the record differ\n\n"
        + timeline.remarks_table()
    )
