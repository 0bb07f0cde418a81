"""What early stopping saves on real training curves: the network's rule beside patience and full runs.

    python -m scripts.study_early_stopping curves.npz --output study     # prints Markdown tables, draws a figure

The file holds `y` (curves, epochs) in [0, 1], higher is better, NaN after each curve's `length`, and its `group`. A
group is a task: its curves are runs that start one after the other, in random order. Each is followed until a rule
stops it or it is complete, until as many epochs are spent as 20 full runs take. Regret is the best value of the whole
group minus the best value found, relative to what it is on average after one full run. Curves of a group differ in
length: they are cut to the length that three quarters of them have, and the shorter ones are left out.

Rules: the network's, asked after every epoch from the second ("every epoch") or at 10, 20, 40 and 80 % of a run
("four times"); patience k, which stops a run after k epochs in a row without a new best of its own; and foresight,
the network's rule for one who knows the rest of each curve.

Source: Adriaensen et al. 2023, "Efficient Bayesian Learning Curve Extrapolation using Prior-Data Fitted Networks",
predictive early stopping: its rule, budget and number of orders.
Letters: n runs of a group, m epochs of each, O orders.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy import ndarray
from tqdm import tqdm

from priorfit.checkpoints import AnyPath, Checkpoint, CheckpointError
from priorfit.evaluation.metrics import Estimate, estimate
from priorfit.evaluation.style import NETWORK, REFERENCE, style
from priorfit.evaluation.writers import markdown_table, with_error, write_text
from priorfit.files import replacing
from priorfit.predictors.early_stopping import EarlyStopper
from scripts.compare_real_curves import read_arrays
from scripts.stopping_game import (
    FULL,
    PATIENCE,
    Outcome,
    all_thresholds,
    average,
    network_thresholds,
    play,
    single_regret,
    speed_up,
)

COLORS = {FULL: REFERENCE, "network, every epoch": NETWORK, "network, four times": "#7fb6e0", "foresight": "#3a9a5b"}


def read_groups(path: Path) -> dict[str, ndarray]:
    """The curves of each group, cut to a common length, (n, m) each.

    Raises:
        OSError: no such file.
        ValueError: it does not hold y, length and group, or a curve has gaps.
    """
    y, lengths, names = read_arrays(path)
    groups = {str(name): cut(y[names == name], lengths[names == name]) for name in np.unique(names)}
    for name, curves in groups.items():
        if not np.isfinite(curves).all():
            raise ValueError(f"'{path}' has NaN or infinite values inside curves of '{name}'; fill or drop them.")
    return groups


def cut(curves: ndarray, lengths: ndarray) -> ndarray:
    """The curves (n, m) cut to the length that three quarters of them have, without the shorter ones."""
    m = int(np.quantile(lengths, 0.25, method="lower"))
    return curves[lengths >= m, :m]


def mean_and_error(values: ndarray) -> Estimate:
    """Mean over the orders (O,) and its standard error."""
    return estimate(values[:, None], np.arange(len(values)))


def table(outcomes: Mapping[str, Outcome]) -> str:
    """One line per rule, in Markdown."""
    full, rows = outcomes[FULL], []
    for name, outcome in outcomes.items():
        difference = with_error(mean_and_error(outcome.final - full.final), 3)
        factor = speed_up(outcome, full)
        cells = [with_error(mean_and_error(outcome.final), 3), "" if name == FULL else difference]
        rows.append([name, *cells, f"{factor:.2f}" if factor else "never", f"{outcome.runs.mean():.1f}"])
    return markdown_table(["rule", "final regret", f"minus {FULL}'s", "speed-up", "runs started"], rows)


def report(groups: Mapping[str, ndarray], results: Mapping[str, Mapping[str, Outcome]], runs: int) -> str:
    """All tables in Markdown: the mean over the groups, then each group."""
    overall = average(list(results.values()))
    orders = len(overall[FULL].final)
    intro = (
        f"Budget: the epochs of {runs} full runs; {orders} random orders, the same for every rule; ± is one standard "
        "error over them. Regret: 1 is the mean after one full run. Speed-up: the epochs that full runs need for the "
        "regret that they end with, divided by those that the rule needs for it."
    )
    faster = [
        f"{name}: {sum(speed_up(group[name], group[FULL]) > 1 for group in results.values())}"
        for name in overall
        if name != FULL
    ]
    parts = [intro, f"**Mean over the {len(groups)} groups**", table(overall)]
    parts.append(f"Groups with a speed-up above 1, of {len(groups)}: {'; '.join(faster)}.")
    for name, curves in groups.items():
        size = f"{len(curves)} runs of {curves.shape[1]} epochs; a regret of 1 is {single_regret(curves):.3g}"
        parts += [f"**{name}**: {size}", table(results[name])]
    return "\n\n".join(parts)


def draw(results: Mapping[str, Mapping[str, Outcome]], runs: int) -> Figure:
    """Regret against epochs spent: the mean over the groups, then each group."""
    panels = {"mean over the groups": average(list(results.values())), **results}
    columns = min(4, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(3.4 * columns, 2.8 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, (name, outcomes) in zip(axes, panels.items(), strict=False):
        _draw_panel(axis, name, outcomes, runs)
    for axis in axes[len(panels) :]:
        axis.remove()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _draw_panel(axis: Axes, title: str, outcomes: Mapping[str, Outcome], runs: int) -> None:
    """Mean regret of every rule, down to a tenth of what full runs end with."""
    greys = iter(np.linspace(0.78, 0.45, len(PATIENCE)))
    for name, outcome in outcomes.items():
        regret = outcome.regret.mean(0)
        spent = runs * np.arange(1, len(regret) + 1) / len(regret)
        axis.plot(spent, regret, color=COLORS.get(name) or str(next(greys)), lw=1.4, label=name)
    axis.set(yscale="log", xlabel="epochs spent, in full runs", ylabel="regret")
    axis.set_ylim(max(outcomes[FULL].final.mean() / 10, 1e-4), 2)
    axis.set_title(title, fontsize="medium")
    style(axis)


def study(
    groups: Mapping[str, ndarray], checkpoint: AnyPath | Checkpoint, orders: int, runs: int, delta: float, seed: int
) -> dict[str, dict[str, Outcome]]:
    """The outcomes of every rule in every group.

    Args:
        groups: curves (n, m) of each.
        checkpoint: of a network that extrapolates learning curves.
        orders: O.
        runs: the budget, in full runs.
        delta: probability of a new best at which the network stops a run.
        seed: of the orders.

    Raises:
        CheckpointError: no such checkpoint, or not one for learning curves.
        ValueError: impossible settings.
    """
    if orders < 1 or runs < 1:
        raise ValueError("orders and runs must be at least 1.")
    generator, results = np.random.default_rng(seed), {}
    with tqdm(total=sum(curves.shape[1] - 2 for curves in groups.values()), unit="epoch") as bar:
        for name, curves in groups.items():
            bar.set_description(name)
            stopper = EarlyStopper(curves.shape[1], checkpoint, delta=delta)
            rules = all_thresholds(curves, network_thresholds(curves, stopper, bar.update))
            random_orders = [generator.permutation(len(curves)) for _ in range(orders)]
            results[name] = play(curves, rules, random_orders, runs)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", type=Path, help=".npz with y, length and group")
    parser.add_argument("--checkpoint", default="learning-curve", help="a name or a file")
    parser.add_argument("--orders", type=int, default=40, help="random orders of the runs")
    parser.add_argument("--runs", type=int, default=20, help="budget, in full runs")
    parser.add_argument("--delta", type=float, default=0.05, help="probability of a new best that stops a run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="folder for early_stopping.md and early_stopping.png")
    options = parser.parse_args()
    settings = options.orders, options.runs, options.delta, options.seed
    try:
        groups = read_groups(options.curves)
        results = study(groups, options.checkpoint, *settings)
    except (CheckpointError, OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    text = report(groups, results, options.runs)
    print(text)
    if options.output:
        write_text(options.output / "early_stopping.md", f"{text}\n")
        with replacing(options.output / "early_stopping.png") as temporary:
            draw(results, options.runs).savefig(temporary, format="png", dpi=150)


if __name__ == "__main__":
    main()
