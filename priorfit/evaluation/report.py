"""An evaluation from end to end, and its result as plain data."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from priorfit import hub
from priorfit.checkpoint_file import plain
from priorfit.checkpoints import AnyPath, Checkpoint, CheckpointError, update_metrics
from priorfit.evaluation.metrics import Row, summarize
from priorfit.evaluation.scoring import Scores, drawn, score
from priorfit.evaluation.settings import Settings, changed_prior
from priorfit.evaluation.shifts import Shift, measure_shifts
from priorfit.evaluation.stored_tasks import StoredTasks
from priorfit.models import Network
from priorfit.prior_check import PriorCheck
from priorfit.priors import Prior
from priorfit.provenance import provenance

IDENTITY = ("network", "prior", "description", "training", "provenance", "weights_sha256")


@dataclass(frozen=True)
class Report:
    """What was measured of a checkpoint.

    Attributes:
        name: the checkpoint's name or path.
        checkpoint: the checkpoint, its network on the device that it was measured on.
        prior: what the tasks were drawn from.
        settings: how many, and of which sizes.
        rows: the metrics by context size.
        scores: what they were computed from, by context size.
        seconds: how long it took.
        parts: the same for each part of the prior, by name; see `Prior.parts`.
        shifts: what was measured under shifts of the prior, by name, first without any; empty where none were.
        stored: the file that the tasks were read from; None where they were drawn.
    """

    name: str
    checkpoint: Checkpoint
    prior: Prior
    settings: Settings
    rows: list[Row]
    scores: list[Scores]
    seconds: float
    parts: Mapping[str, Report] = field(default_factory=dict)
    shifts: Mapping[str, Shift] = field(default_factory=dict)
    stored: StoredTasks | None = None

    @property
    def reference(self) -> str | None:
        """How the truth was known that the gap is measured to: as the prior says, or by an "oracle"; None without."""
        if self.stored is not None and self.stored.label is not None:
            return self.stored.label
        known = all(one.reference is not None for one in self.scores)
        return self.prior.reference or ("oracle" if known else None)

    @property
    def worst(self) -> Row | None:
        """The row of the largest gap among those whose reference can be trusted, or None without any."""
        trusted = [row for row in self.rows if row.trusted]
        return max(trusted, key=lambda row: row.gap.mean if row.gap else 0.0, default=None)

    def named_rows(self, name: str = "") -> Iterator[tuple[str, Row]]:
        """All rows, with the name of their part before them; "" for those of the whole."""
        yield from ((name, row) for row in self.rows)
        for key, part in self.parts.items():
            yield from part.named_rows(f"{name} / {key}" if name else key)

    def measured(self) -> dict[str, Any]:
        """The numbers, as JSON holds them (what is not finite becomes None)."""
        return {
            "prior": {"name": self.prior.registered_name, "arguments": plain(self.prior.arguments)},
            "reference": self.reference,
            "sizes": plain([asdict(row) for row in self.rows]),
            "parts": {name: part.measured() for name, part in self.parts.items()},
        }

    def document(self) -> dict[str, Any]:
        """All numbers and where they come from, as JSON holds them."""
        metadata = {key: self.checkpoint.metadata[key] for key in IDENTITY}
        return {
            "schema_version": 1,
            "checkpoint": {"name": self.name, **metadata},
            "settings": asdict(self.settings),
            **self.measured(),
            "shifts": {name: shift.measured() for name, shift in self.shifts.items()},
            "seconds": round(self.seconds, 1),
            "provenance": provenance(),
        }


def evaluate_checkpoint(checkpoint: Checkpoint | AnyPath, *, progress: bool = True, **options: Any) -> Report:
    """Scores a trained network on fixed tasks of each context size.

    Args:
        checkpoint: a checkpoint, or its name or path as for `priorfit.hub.load`.
        progress: whether to show a progress bar.
        options: as for `Settings`.

    Raises:
        CheckpointError: no such checkpoint, or one whose prior is not known here.
        ValueError: impossible settings, or a prior whose tasks the network does not take.

    Example:
        >>> report = evaluate_checkpoint("gp-1d", context_sizes=[1, 10], tasks=500)  # doctest: +SKIP
        >>> report.rows[0].gap.mean  # doctest: +SKIP
    """
    settings = Settings(**options)
    name = "in memory" if isinstance(checkpoint, Checkpoint) else str(checkpoint)
    checkpoint = checkpoint if isinstance(checkpoint, Checkpoint) else hub.load(checkpoint)
    stored = StoredTasks.of(settings)
    prior = changed_prior(checkpoint, settings.prior) if stored is None else stored.file.prior
    settings = settings if stored is None else stored.settings(settings)
    if settings.context_sizes is None:
        settings = replace(settings, context_sizes=prior.context_sizes())
    sizes = list(settings.context_sizes or ())
    network = checkpoint.network.to(settings.device).eval()
    total = len(sizes) * settings.tasks * (count_parts(prior) if stored is None else 1)
    with tqdm(total=total, unit="task", disable=not progress) as bar:
        report = measure(Report(name, checkpoint, prior, settings, [], [], 0.0, stored=stored), network, bar)
    drawn_live = stored is None  # else a file's reference would be compared with the shifted priors' own
    return with_shifts(report, network, progress) if settings.shifts and drawn_live else report


def count_parts(prior: Prior) -> int:
    """This prior, its parts, and theirs."""
    return 1 + sum(map(count_parts, prior.parts().values()))


def measure(report: Report, network: Network, bar: tqdm, label: str = "") -> Report:
    """The report with its numbers, and those of the parts of its prior."""
    started, settings, scores, stored = time.perf_counter(), report.settings, [], report.stored
    source, parts = (drawn, report.prior.parts()) if stored is None else (stored.batches, {})
    for n_context in settings.context_sizes or ():
        bar.set_description(f"{label}n = {n_context}")
        scores.append(score(network, report.prior, n_context, settings, bar.update, source))
    measured = {
        name: measure(replace(report, prior=prior), network, bar, f"{label}{name}, ") for name, prior in parts.items()
    }
    rows = [summarize(one, settings.levels) for one in scores]
    return replace(report, rows=rows, scores=scores, seconds=time.perf_counter() - started, parts=measured)


def with_shifts(report: Report, network: Network, progress: bool) -> Report:
    """The report with what was measured under shifts of its prior."""
    started = time.perf_counter()
    check = PriorCheck.from_document(report.checkpoint.metadata.get("prior_check"))
    shifts = measure_shifts(network, report.prior, report.scores, report.settings, check, progress)
    return replace(report, shifts=shifts, seconds=report.seconds + time.perf_counter() - started)


def check_storable(checkpoint: AnyPath) -> Path:
    """The file that `store` would write to; called before measuring.

    Raises:
        CheckpointError: not a file of one's own.
    """
    path = Path(checkpoint).expanduser()
    if not path.is_file():
        raise CheckpointError(f"store=true writes into a checkpoint's file, and '{path}' is a name, not a file.")
    return path


def store(report: Report, path: Path) -> None:
    """Writes the metrics into the checkpoint's file as `metrics["evaluation"]`; the weights stay.

    A measurement on a changed prior, or on a file, is kept beside it, under a name such as "evaluation,
    sizes.features=5" or "evaluation, path=tasks.h5, reference=mcmc".
    """
    document = report.document()
    kept = ("settings", "reference", "sizes", "parts", "shifts", "provenance")
    stored = report.stored
    of_file = {} if stored is None else {"path": stored.file.path.name, "reference": stored.reference or "own"}
    key = ", ".join(["evaluation", *flattened({**report.settings.prior, **of_file})])
    update_metrics(path, {key: {name: document[name] for name in kept}})


def flattened(changes: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Nested changes as "a.b=value", one after the other."""
    for key, value in changes.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={value}"
