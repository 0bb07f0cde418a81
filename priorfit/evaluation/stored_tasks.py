"""Tasks of an evaluation that are read from a file, with the reference that is stored beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from priorfit.evaluation.scoring import Truth, truth
from priorfit.evaluation.settings import Settings
from priorfit.priors import Prior, Task
from priorfit.task_files import TaskFile

POSTERIOR = "posterior"  # the stored reference that is what the prior itself would compute


@dataclass(frozen=True)
class StoredTasks:
    """A file of tasks for an evaluation, and which of its references is used.

    Attributes:
        file: of fixed context sizes.
        reference: its name; None: what the prior itself knows is computed.

    Raises:
        ValueError: a file without fixed context sizes or not complete, or without that reference.
    """

    file: TaskFile
    reference: str | None = None

    def __post_init__(self) -> None:
        if not self.file.check_complete().context_sizes:
            raise ValueError(
                f"The tasks in '{self.file.path}' have whatever sizes the prior drew: they are for training. For an "
                "evaluation write a file with scripts/dump_tasks.py --context-sizes."
            )
        if self.reference is not None:
            self.file.check_reference(self.reference)

    @classmethod
    def of(cls, settings: Settings) -> StoredTasks | None:
        """What the settings name; None where tasks are to be drawn."""
        if settings.path is None:
            return None
        file = TaskFile(settings.path)
        return cls(file, settings.reference or (POSTERIOR if POSTERIOR in file.references else None))

    @property
    def label(self) -> str | None:
        """What a report calls the reference; None for what the prior itself would compute."""
        return None if self.reference in (None, POSTERIOR) else f"{self.reference}, stored"

    def settings(self, settings: Settings) -> Settings:
        """The settings with the file's own numbers and seed, and without shifts, which would have to be drawn.

        Raises:
            ValueError: context sizes that the file does not have.
        """
        key, sizes = self.file.key, settings.context_sizes or self.file.context_sizes
        for n_context in sizes:
            self.file.batches_of(n_context)
        own = {name: key[name] for name in ("tasks", "queries", "batch_size", "seed")}
        return replace(settings, context_sizes=sizes, shifts=False, **own)

    def batches(self, prior: Prior, n_context: int, settings: Settings) -> Iterator[tuple[Task, Truth]]:
        """The tasks of one context size and the truth about them, batch by batch; as `scoring.drawn`."""
        for number in self.file.batches_of(n_context):
            task = self.file.batch(number).to(settings.device)
            if self.reference is None:
                yield task, truth(prior, task)
            else:
                found = self.file.reference(self.reference, number)
                yield task, Truth(found["log_prob"], found.get("effective_sample_size"))
