"""Tables of known jump processes that no network was trained on: for `compare_jump.py`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Generator, Tensor
from tqdm import tqdm

from priorfit.evaluation import jump_systems
from priorfit.evaluation.scoring import Array
from priorfit.evaluation.writers import markdown_table
from priorfit.predictors.jump_posterior import off_diagonal
from priorfit.predictors.jump_quantities import (
    entropy_production_rate,
    mean_first_passage_times,
    stationary_distribution,
)
from scripts.jump_methods import POINTS, Answer, Method, Panel, error, mean

# RMSE on the ratchet at V = 1 by number of paths, 100 points each: the released FIM network, means of two runs.
PUBLISHED = {1: 0.657, 30: 0.325, 100: 0.211, 300: 0.161, 500: 0.163, 1000: 0.228, 5000: 0.724}
LARGE = 500  # paths from which on the ratchet is repeated twice only; also at irregular times, where fits are slow


def ratchet_part(ways: Mapping[str, Method], options: argparse.Namespace) -> str:
    """The flashing ratchet at V = 1 by number of paths."""
    ways = clean(ways)
    rows, rates = [], jump_systems.flashing_ratchet()
    for n_paths in tqdm(options.ratchet_paths, "ratchet", unit="size"):
        repeats = options.repeats if n_paths < LARGE else 2
        answers = ratchet_answers(ways, rates, n_paths, repeats, options.seed)
        published = f"{PUBLISHED[n_paths]:.3f}" if n_paths in PUBLISHED else ""
        rows.append([str(n_paths), *ratchet_cells(answers, rates), published])
    uneven = ratchet_answers(ways, rates, options.system_paths, 2, options.seed, uneven=True)
    rows.append([f"{options.system_paths}, 50 uniform times", *ratchet_cells(uneven, rates), ""])
    header = ["paths", *(cell for way in ways for cell in (way, "V, r, b")), "published"]
    return "## Flashing ratchet, V = r = b = 1: RMSE of the rates, parameters\n\n" + markdown_table(header, rows)


def clean(ways: Mapping[str, Method]) -> dict[str, Method]:
    """The methods for paths without wrong labels, of which all likelihood fits are one."""
    return {"ML" if way == "naive ML" else way: own for way, own in ways.items() if way != "ML, noise known"}


def ratchet_answers(
    ways: Mapping[str, Method], rates: Tensor, n_paths: int, repeats: int, seed: int, uneven: bool = False
) -> dict[str, list[Answer]]:
    """Answers on fresh sets of clean paths."""
    generator = torch.Generator().manual_seed(seed)
    answers: dict[str, list[Answer]] = {way: [] for way in ways}
    for _ in range(repeats):
        times = ratchet_times(n_paths, uneven, generator)
        states = jump_systems.stationary_paths(rates, times, generator)
        for way, method in ways.items():
            answers[way].append(method(Panel(times, states, len(rates), 0.0)))
    return answers


def ratchet_times(n_paths: int, uneven: bool, generator: Generator) -> Tensor:
    """100 regular times, or 50 uniform ones in the first half."""
    horizon = jump_systems.RATCHET_HORIZON
    if uneven:
        return jump_systems.uniform_times(n_paths, POINTS // 2, horizon / 2, generator)
    return jump_systems.regular_times(n_paths, POINTS, horizon)


def ratchet_cells(answers: Mapping[str, Sequence[Answer]], rates: Tensor) -> Iterator[str]:
    """For every method its error and the parameters that it finds."""
    for own in answers.values():
        yield mean([error(answer.rates, rates.numpy()) for answer in own])
        found = torch.stack([jump_systems.ratchet_parameters(torch.from_numpy(answer.rates)) for answer in own])
        yield " ".join(f"{value:.3f}" for value in found.mean(0).tolist())


def potentials_part(ways: Mapping[str, Method], options: argparse.Namespace) -> str:
    """The ratchet by potential."""
    ways, rows = clean(ways), []
    for potential in tqdm(options.potentials, "potentials", unit="V"):
        rates = jump_systems.flashing_ratchet(potential)
        answers = ratchet_answers(ways, rates, options.system_paths, options.repeats, options.seed)
        law, production = stationary_distribution(rates.numpy()), entropy_production_rate(rates.numpy())
        cells = list(ratchet_cells(answers, rates))
        for index, own in enumerate(answers.values()):
            laws = np.stack([stationary_distribution(answer.rates) for answer in own])
            made = np.mean([entropy_production_rate(answer.rates) for answer in own])
            cells.insert(4 * index + 2, f"{np.abs(laws - law).max(1).mean():.3f}")
            cells.insert(4 * index + 3, f"{made:.3f}")
        rows.append([f"{potential:g}", f"{production:.3f}", *cells])
    columns = ("V, r, b", "law", "entropy")
    header = ["V", "true entropy", *(cell for way in ways for cell in (way, *columns))]
    what = "RMSE, parameters, largest error of the stationary law, entropy production"
    title = f"## Flashing ratchet, {options.system_paths} paths: {what}"
    return f"{title}\n\n{markdown_table(header, rows)}"


def channel_part(ways: Mapping[str, Method], options: argparse.Namespace) -> str:
    """The ion channel: 50 paths of 100 points."""
    ways = clean(ways)
    generator, rates = torch.Generator().manual_seed(options.seed), jump_systems.ion_channel()
    times = jump_systems.regular_times(50, POINTS, jump_systems.CHANNEL_STEP * (POINTS - 1))
    panel = Panel(times, jump_systems.stationary_paths(rates, times, generator), len(rates), 0.0)
    rows = [system_row("truth", rates.numpy())]
    rows += [system_row(way, method(panel).rates) for way, method in ways.items()]
    title = "## Ion channel of three states, 50 paths of 100 points (one second at 5 kHz), times in seconds"
    header = ["method", "stationary law", "mean first-passage times 01 02 10 12 20 21"]
    return f"{title}\n\n{markdown_table(header, rows)}"


def folding_part(ways: Mapping[str, Method], options: argparse.Namespace) -> str:
    """The folding protein: stationary law and mean first-passage times."""
    generator = torch.Generator().manual_seed(options.seed)
    times, states = jump_systems.protein_folding(options.folding_paths, POINTS, generator)
    share = states.double().mean().item()
    rows = [["share of observations", f"{1 - share:.3f} {share:.3f}", ""]]
    panel = Panel(times, states, 2, 0.01)
    rows += [system_row(way, method(panel).rates) for way, method in ways.items()]
    title = f"## Folding protein, {options.folding_paths} paths of {POINTS} frames; published: 0.73 0.27"
    return f"{title}\n\n{markdown_table(['method', 'stationary law', 'mean first-passage times 01 10'], rows)}"


def system_row(name: str, rates: Array) -> list[str]:
    """What follows from the rates."""
    law = " ".join(f"{value:.3f}" for value in stationary_distribution(rates))
    passage = mean_first_passage_times(rates)[off_diagonal(len(rates))]
    return [name, law, " ".join(f"{value:.3g}" for value in passage)]
