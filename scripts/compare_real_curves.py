"""Compares curve networks with parametric fits and the last value on real training curves.

    python scripts/compare_real_curves.py curves.npz --output runs/real-curves
    python scripts/compare_real_curves.py curves.npz --checkpoint learning-curve --checkpoint runs/own.safetensors

The file holds `y` (curves, steps) in [0, 1], higher is better, NaN after each curve's `length`, and its `group`. Every
curve is cut at the same shares of its own length, and all later steps are scored. Takes about 0.15 seconds per curve,
nearly all of it for the fits; writes report.md and curves.png into the folder --output.

Letters: N curves, n observed steps at most, m later ones at most, C cutoffs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch.distributions import Distribution
from tqdm import tqdm

from priorfit.checkpoints import CheckpointError
from priorfit.evaluation.curve_fits import last_value, parametric_fits
from priorfit.evaluation.quantiles import quantile
from priorfit.evaluation.scoring import Array
from priorfit.evaluation.style import FAINT, NETWORK, style
from priorfit.evaluation.writers import markdown_table, write_text
from priorfit.files import replacing
from priorfit.hub import load
from priorfit.models import Network
from priorfit.priors import Curves

BASELINES: dict[str, Callable[..., Distribution]] = {"parametric fits": parametric_fits, "last value": last_value}
BATCH = 64
FAILURES = 10
BANDS = ((0.05, 0.95), (0.25, 0.75))


class RealCurves(NamedTuple):
    """N curves on the steps 1 … length, at most L."""

    y: Array  # (N, L), NaN past the length
    length: Array  # (N,)
    group: Array  # (N,), names


class Scores(NamedTuple):
    """One method's scores, means over the later steps of each curve and cutoff, (N, C) each."""

    mse: Array  # of the median
    log_score: Array


class Measure(NamedTuple):
    """A column of the tables: how a group's curves become one number, and how it is written."""

    name: str
    of_group: Callable[[Scores, Array, int], float]  # scores, rows, cutoff
    sign: int  # 1 where more is better
    form: str


MEASURES = (
    Measure("1000 MSE", lambda s, rows, c: 1000 * float(s.mse[rows, c].mean()), -1, ".3g"),
    Measure("log score", lambda s, rows, c: float(s.log_score[rows, c].mean()), 1, ".2f"),
    Measure("its median", lambda s, rows, c: float(np.median(s.log_score[rows, c])), 1, ".2f"),
)


def read_arrays(path: Path) -> RealCurves:
    """The arrays of a file, as they are.

    Raises:
        OSError: no such file.
        ValueError: it does not hold y, length and group.
    """
    with np.load(path) as file:
        if not {"y", "length", "group"} <= set(file):
            raise ValueError(f"'{path}' needs the arrays y (curves, steps), length and group (curves,).")
        return RealCurves(file["y"].astype(float), file["length"], file["group"])


def read_curves(path: Path) -> RealCurves:
    """The curves of a file.

    Raises:
        OSError: no such file.
        ValueError: it does not hold y, length and group, or curves that cannot be cut and scored.
    """
    curves = read_arrays(path)
    inside = np.arange(curves.y.shape[1]) < curves.length[:, None]
    if not np.isfinite(curves.y[inside]).all() or (inside.sum(1) < 2).any():
        raise ValueError(f"'{path}' has curves with gaps, or of fewer than 2 values: fill or drop them.")
    return curves


def cut(curves: RealCurves, percent: int) -> tuple[Curves, Array]:
    """What is observed of each curve up to a share of its length, and what is hidden, (N, m), padded with NaN."""
    seen = np.clip(np.round(percent / 100 * curves.length), 1, curves.length - 1).astype(int)  # (N,)
    later = seen[:, None] + np.arange(1, (curves.length - seen).max() + 1)  # (N, m)
    queries = np.minimum(later, curves.length[:, None])  # padded with the last step
    hidden = np.where(later == queries, np.take_along_axis(curves.y, queries - 1, 1), np.nan)
    values = np.nan_to_num(curves.y[:, : seen.max()])
    steps = np.broadcast_to(np.arange(1.0, seen.max() + 1), values.shape)
    visible = np.broadcast_to(seen[:, None], queries.shape)
    observed = [torch.tensor(part, dtype=torch.float32) for part in (steps, values, queries)]
    return Curves(*observed, visible=torch.tensor(visible)), hidden


@torch.inference_mode()
def score(predict: Callable[..., Distribution], observed: Curves, hidden: Array, bar: tqdm) -> tuple[Array, Array]:
    """Mean squared error of the median and mean log density of each curve, (N,) each."""
    parts = []
    for rows in torch.arange(len(hidden)).split(BATCH):
        predicted, truth = predict(*(part[rows] for part in observed)), hidden[rows.numpy()]
        target = torch.from_numpy(np.nan_to_num(truth)).to(predicted.mean.dtype)
        errors = quantile(predicted, 0.5).double().numpy() - truth
        log_prob = np.where(np.isnan(truth), np.nan, predicted.log_prob(target).double().numpy())
        parts.append((np.nanmean(np.square(errors), 1), np.nanmean(log_prob, 1)))
        bar.update(len(rows))
    mse, log_score = (np.concatenate(part) for part in zip(*parts, strict=True))
    return mse, log_score


def score_all(
    methods: Mapping[str, Callable[..., Distribution]], curves: RealCurves, cutoffs: Sequence[int]
) -> dict[str, Scores]:
    """Every method's scores at every cutoff."""
    found: dict[str, list[tuple[Array, Array]]] = {name: [] for name in methods}
    with tqdm(total=len(methods) * len(cutoffs) * len(curves.y), unit="curve") as bar:
        for percent in cutoffs:
            observed, hidden = cut(curves, percent)
            for name, predict in methods.items():
                bar.set_description(f"{name}, {percent} %")
                found[name].append(score(predict, observed, hidden, bar))
    return {name: Scores(*(np.stack(part, 1) for part in zip(*pairs, strict=True))) for name, pairs in found.items()}


def values(
    measure: Measure, scores: Mapping[str, Scores], curves: RealCurves, cutoff: int
) -> dict[str, dict[str, float]]:
    """A measure by group and method at cutoff number `cutoff`."""
    groups = {str(name): curves.group == name for name in np.unique(curves.group)}
    return {
        group: {name: measure.of_group(one, rows, cutoff) for name, one in scores.items()}
        for group, rows in groups.items()
    }


def table(scores: Mapping[str, Scores], curves: RealCurves, cutoff: int) -> str:
    """One row per group, the best method of each measure in bold."""
    header = ["group", "curves", *(f"{measure.name}: {name}" for measure in MEASURES for name in scores)]
    columns = [values(measure, scores, curves, cutoff) for measure in MEASURES]
    rows = []
    for group in np.unique(curves.group):
        row = [str(group), str((curves.group == group).sum())]
        for measure, by_group in zip(MEASURES, columns, strict=True):
            own = by_group[str(group)]
            best = max(own.values(), key=lambda value, sign=measure.sign: sign * value)
            cells = [format(value, measure.form) for value in own.values()]
            row += [f"**{cell}**" if value == best else cell for cell, value in zip(cells, own.values(), strict=True)]
        rows.append(row)
    return markdown_table(header, rows)


def wins(network: str, scores: Mapping[str, Scores], curves: RealCurves, cutoffs: Sequence[int]) -> str:
    """On how many groups a network is better than both baselines, by measure, at each cutoff and over all of them."""
    rivals = {name: scores[name] for name in (network, *BASELINES)}
    averages = {name: Scores(*(part.mean(1, keepdims=True) for part in one)) for name, one in rivals.items()}
    cases = [(f"{percent} %", rivals, index) for index, percent in enumerate(cutoffs)] + [("all", averages, 0)]
    rows = []
    for title, some, cutoff in cases:
        row = [title]
        for measure in MEASURES:
            groups = values(measure, some, curves, cutoff).values()
            won = [all(measure.sign * (own[network] - own[name]) > 0 for name in BASELINES) for own in groups]
            row.append(f"{sum(won)} of {len(won)}")
        rows.append(row)
    return markdown_table(["cutoff", *(measure.name for measure in MEASURES)], rows)


def failures(network: str, scores: Mapping[str, Scores], curves: RealCurves, cutoffs: Sequence[int]) -> str:
    """The curves and cutoffs with a network's lowest log scores, and what the baselines score there."""
    lowest = np.argsort(scores[network].log_score, axis=None)[:FAILURES]
    shown = [network, *BASELINES]
    rows = []
    for curve, cutoff in zip(*np.unravel_index(lowest, scores[network].log_score.shape), strict=True):
        cells = [f"{scores[name].log_score[curve, cutoff]:.2f}" for name in shown]
        rows.append([str(curve), str(curves.group[curve]), f"{cutoffs[cutoff]} %", *cells])
    return markdown_table(["curve", "group", "cutoff", *(f"log score: {name}" for name in shown)], rows)


def report(networks: Sequence[str], scores: Mapping[str, Scores], curves: RealCurves, cutoffs: Sequence[int]) -> str:
    """All tables as Markdown."""
    parts = [
        f"# {len(curves.y)} real curves",
        "Means over the later steps of each curve, then over the curves of a group (or their median). MSE is the "
        "median's, times 1000; log scores are in nats per step, more is better. The best of a row is bold.",
    ]
    for name in networks:
        parts += [
            f"## Groups on which {name} is better than {' and '.join(BASELINES)}",
            wins(name, scores, curves, cutoffs),
        ]
    for index, percent in enumerate(cutoffs):
        parts += [f"## {percent} % observed", table(scores, curves, index)]
    for name in networks:
        parts += [f"## Lowest log scores of {name}", failures(name, scores, curves, cutoffs)]
    return "\n\n".join(parts) + "\n"


@torch.inference_mode()
def figure(network: Network, scores: Scores, curves: RealCurves, cutoffs: Sequence[int]) -> Figure:
    """Of each group the curve whose log score is the median, at the second cutoff, with 50 and 90 % bands."""
    cutoff = min(1, len(cutoffs) - 1)
    groups = np.unique(curves.group)
    columns = min(3, len(groups))
    rows = -(-len(groups) // columns)
    drawn = Figure(figsize=(3.4 * columns, 2.6 * rows + 0.4), layout="constrained")
    axes = drawn.subplots(rows, columns, squeeze=False).flatten()
    for axis, group in zip(axes, groups, strict=False):
        own = np.flatnonzero(curves.group == group)
        middle = own[np.argsort(scores.log_score[own, cutoff])[len(own) // 2]]
        draw(axis, network, RealCurves(*(part[middle : middle + 1] for part in curves)), cutoffs[cutoff])
        axis.set_title(f"{group}, curve {middle}", fontsize=9)
    for axis in axes[len(groups) :]:
        axis.remove()
    handles, labels = axes[0].get_legend_handles_labels()
    for axis in axes[-columns:]:
        axis.set_xlabel("step")
    drawn.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return drawn


def draw(axis: Axes, network: Network, curve: RealCurves, percent: int) -> None:
    """One panel: the observed part of a curve, its rest, and the network's bands."""
    observed, hidden = cut(curve, percent)
    predicted = network(*observed)
    seen, steps = int(observed.visible[0, 0]), observed.query_steps[0].numpy()
    for (low, high), alpha in zip(BANDS, (0.18, 0.32), strict=True):
        below, above = (quantile(predicted, level)[0].numpy() for level in (low, high))
        axis.fill_between(steps, below, above, color=NETWORK, alpha=alpha, lw=0, label=f"network, {high - low:.0%}")
    axis.plot(steps, quantile(predicted, 0.5)[0].numpy(), color=NETWORK, lw=1.6, label="median")
    axis.plot(steps, hidden[0], ".", ms=3, color=FAINT, label="what came")
    axis.plot(np.arange(1, seen + 1), curve.y[0, :seen], "o", ms=3, color="black", label="observed")
    style(axis)


def compare(options: argparse.Namespace) -> str:
    """The whole comparison; writes the figure.

    Raises:
        CheckpointError: no such checkpoint.
        OSError: no such file, or none that may be written.
        ValueError: a file or cutoffs that cannot be used, or curves that go on past a network's trained horizon.
    """
    if not all(0 < percent < 100 for percent in options.cutoffs):
        raise ValueError(f"Cutoffs are per cents of a curve's length, between 0 and 100: {options.cutoffs}.")
    curves = read_curves(options.file)
    names = options.checkpoint or ["learning-curve"]
    networks = {name: load(name).network for name in names}
    for name, network in networks.items():
        horizon = float(getattr(network, "horizon", np.inf))
        if curves.length.max() > horizon:
            raise ValueError(
                f"'{name}' was trained on steps up to {horizon:g}, and some curves have {curves.length.max()}. "
                "Thin them out, or leave this checkpoint out."
            )
    scores = score_all({**networks, **BASELINES}, curves, options.cutoffs)
    with replacing(options.output / "curves.png") as temporary:
        drawn = figure(networks[names[0]], scores[names[0]], curves, options.cutoffs)
        drawn.savefig(temporary, format="png", dpi=150)
    return report(names, scores, curves, options.cutoffs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="curves as .npz")
    parser.add_argument("--checkpoint", action="append", help="name or file; may be given several times")
    parser.add_argument("--cutoffs", type=int, nargs="+", default=[10, 20, 40, 80], help="observed, in per cent")
    parser.add_argument("--output", type=Path, default=Path("runs/real-curves"), help="folder for report and figure")
    options = parser.parse_args()
    try:
        text = compare(options)
        write_text(options.output / "report.md", text)
    except (CheckpointError, OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    print(f"\n{text}")


if __name__ == "__main__":
    main()
