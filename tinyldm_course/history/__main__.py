"""`python -m tinyldm_course.history`: train, compare and plot the papers of 2015, 2019 and 2020."""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from tinyldm.history import data, ddpm_2020, nonequilibrium_2015, notation, score_matching_2019
from tinyldm.history.network import Budget, Progress
from tinyldm_course.history import compare, report

DATA: dict[str, Callable[[], data.GaussianMixture | data.Checkerboard]] = {
    "swiss-roll": data.swiss_roll,
    "two-moons": data.two_moons,
    "ring": data.ring_of_gaussians,
    "checkerboard": data.checkerboard,
}


def progress_bar(label: str) -> Progress:
    """A progress bar with the time left, for one training loop."""
    return partial(tqdm, desc=label, unit="step")


def samples_2015(x: torch.Tensor, n: int, generator: torch.Generator, budget: Budget) -> torch.Tensor:
    """Train on x and sample n points, as in 2015."""
    q = nonequilibrium_2015.constant_share_schedule()
    kernel = nonequilibrium_2015.train(x, q, generator, budget, progress_bar("2015"))
    return nonequilibrium_2015.sample(kernel, n, generator)[-1]


def samples_2019(x: torch.Tensor, n: int, generator: torch.Generator, budget: Budget) -> torch.Tensor:
    """Train on x and sample n points, as in 2019."""
    sigmas = score_matching_2019.geometric_levels()
    s = score_matching_2019.train(x, sigmas, generator, budget, progress_bar("2019"))
    return score_matching_2019.sample(s, n, generator)[-1]


def samples_2020(x: torch.Tensor, n: int, generator: torch.Generator, budget: Budget) -> torch.Tensor:
    """Train on x and sample n points, as in 2020."""
    q = ddpm_2020.linear_schedule()
    eps_theta = ddpm_2020.train(x, q, generator, budget, progress_bar("2020"))
    return ddpm_2020.sample(eps_theta, n, generator)[-1]


METHODS: dict[str, Callable[[torch.Tensor, int, torch.Generator, Budget], torch.Tensor]] = {
    "2015": samples_2015,
    "2019": samples_2019,
    "2020": samples_2020,
}


def run_train(args: argparse.Namespace) -> None:
    """One paper on one data set."""
    generator = torch.Generator().manual_seed(args.seed)
    chosen = DATA[args.data]()
    x_train = chosen.sample(compare.N_TRAIN, generator)
    judge = compare.Judge(chosen, args.seed, generator)
    points = METHODS[args.method](x_train, compare.N_TEST, generator, Budget(steps=args.steps))
    row = judge.row(args.method, 0, points)
    floor, _, kde, _ = compare.baselines(judge, x_train, generator)
    print(f"{args.method} on {chosen.name}, seed {args.seed}: sliced Wasserstein distance {row.distance:.3f}")
    print(f"for comparison: fresh data {floor.distance:.3f}, kernel density (Scott) {kde.distance:.3f}")


def run_compare(args: argparse.Namespace) -> None:
    """All papers, data sets and seeds; about 70 s per seed and data set on an idle core."""
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    with tqdm(total=args.seeds * len(DATA) * compare.ROWS_A_SEED, unit="row") as progress:
        for seed in range(args.seeds):
            for chosen in data.four_sets():
                for row in compare.one_seed(chosen, seed, Budget(steps=args.steps)):
                    rows.append(row)
                    progress.set_postfix_str(f"{chosen.name}, {row.method}")
                    progress.update()
                    report.write_rows(rows, args.out / "measurements.jsonl")
    report.plot_comparison(args.out, rows)
    print(report.markdown_tables(rows))


def run_plot(args: argparse.Namespace) -> None:
    """All figures; trains fourteen small networks, about 5 minutes on an idle core."""
    args.out.mkdir(parents=True, exist_ok=True)
    for name, value in report.plot_all(args.out, args.seed, Budget(steps=args.steps), progress_bar).items():
        print(f"{name}: {value:.3f}")


def run_tables(args: argparse.Namespace) -> None:
    """The tables and figures of measurements that are already there."""
    rows = report.read_rows(args.out / "measurements.jsonl")
    report.plot_comparison(args.out, rows)
    print(report.markdown_tables(rows))


def run_timeline(args: argparse.Namespace) -> None:
    """The timeline as Markdown."""
    print(report.timeline_markdown())


def run_notation(args: argparse.Namespace) -> None:
    """The names, and one noise level in every dialect."""
    print(notation.names_table())
    if args.log_snr is not None:
        alpha_bar = notation.alpha_bar_from_log_snr(args.log_snr)
    else:
        alpha_bar = notation.alpha_bar_from_sigma(args.sigma)
    print(
        f"sigma = {notation.sigma_from_alpha_bar(alpha_bar):.6g},  alpha_bar = {alpha_bar:.6g},  "
        f"signal = {alpha_bar.sqrt():.6g},  noise = {(1 - alpha_bar).sqrt():.6g},  "
        f"log-SNR = {notation.log_snr_from_alpha_bar(alpha_bar):.6g}"
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m tinyldm_course.history", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="command")

    def command(name: str, run: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        sub.set_defaults(run=run)
        return sub

    train = command("train", run_train)
    train.add_argument("method", choices=METHODS, help="the paper's year")
    train.add_argument("--data", choices=DATA, default="swiss-roll")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--steps", type=int, default=Budget.steps, help="training steps (default %(default)s)")
    comparison = command("compare", run_compare)
    comparison.add_argument("--seeds", type=int, choices=range(2, 11), default=5, metavar="2...10")
    comparison.add_argument("--steps", type=int, default=Budget.steps, help="training steps (default %(default)s)")
    comparison.add_argument("--out", type=Path, default=Path("outputs/history"), help="folder (default %(default)s)")
    figures = command("plot", run_plot)
    figures.add_argument("--seed", type=int, default=0)
    figures.add_argument("--steps", type=int, default=Budget.steps, help="training steps (default %(default)s)")
    figures.add_argument("--out", type=Path, default=Path("outputs/history"), help="folder (default %(default)s)")
    tables = command("tables", run_tables)
    tables.add_argument("--out", type=Path, default=Path("outputs/history"), help="folder with measurements.jsonl")
    command("timeline", run_timeline)
    names = command("notation", run_notation)
    level = names.add_mutually_exclusive_group()
    level.add_argument("--sigma", type=float, default=1.0, help="the noise level to translate (default %(default)s)")
    level.add_argument("--log-snr", type=float, help="the same level, given as its log signal-to-noise ratio")
    return top


def main() -> None:
    """Parse and run; a caller's mistake becomes one line, not a traceback."""
    args = parser().parse_args()
    try:
        args.run(args)
    except ValueError as mistake:
        print(f"tinyldm_course.history: {mistake}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
