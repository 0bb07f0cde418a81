"""Where rows of observations come from, and how rows of several sources share one tensor.

A row holds the fields of every source side by side, zeros where it is from another one, followed by one indicator per
source. Letters: B tasks, N rows, D numbers per row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Source:
    """One kind of observation.

    Attributes:
        name: what it is called where data are given.
        size: how many numbers one observation has.
        angle: whether these are angles, in radians: values that differ by 2 pi mean the same.
        not_measured: how many of the numbers, the first ones, are no measurements of a real number, but inputs (times,
            places, settings) or outcomes that are counted.

    Raises:
        ValueError: an empty name, a size that is not a whole number >= 1, or more numbers not measured than there are.
    """

    name: str
    size: int
    angle: bool = False
    not_measured: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"A source needs a name, not {self.name!r}.")
        if not isinstance(self.size, int) or isinstance(self.size, bool) or self.size < 1:
            raise ValueError(f"The size of source '{self.name}' must be a whole number >= 1, not {self.size!r}.")
        if not 0 <= self.not_measured <= self.size:
            raise ValueError(f"Of source '{self.name}', 0 to {self.size} numbers can be not measured.")


def as_sources(sources: Iterable[Source | Mapping[str, Any]]) -> tuple[Source, ...]:
    """Sources, also where they are given as dictionaries (name, size, angle).

    Raises:
        ValueError: none at all, a name twice, or arguments that a source does not take.
    """
    try:
        known = tuple(source if isinstance(source, Source) else Source(**source) for source in sources)
    except TypeError as error:
        raise ValueError(f"A source takes name, size and angle: {error}") from None
    names = [source.name for source in known]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"Sources need names of their own, and there must be one at least; got {names}.")
    return known


def row_width(sources: Iterable[Source]) -> int:
    """D, the number of fields of all sources plus one indicator for each."""
    return sum(source.size + 1 for source in sources)


def pack(sources: Iterable[Source], values: Mapping[str, Tensor]) -> Tensor:
    """Rows of all sources, one source after the other, (B, N, D), float32.

    Args:
        sources: what a row has fields for.
        values: observations by source name, (B, N_s, size) each, N_s may be 0; sources may be left out.

    Raises:
        ValueError: unknown names, wrong shapes, other numbers of tasks, NaN or infinite values, or no source at all.
    """
    sources = tuple(sources)
    _check(sources, values)
    parts = [values[source.name].float() for source in sources if source.name in values]
    places = [place for source, place in zip(sources, _places(sources), strict=True) if source.name in values]
    width, parts_of_rows = row_width(sources), []
    for part, (fields, indicator) in zip(parts, places, strict=True):
        rows = part.new_zeros(*part.shape[:-1], width)
        rows[..., fields], rows[..., indicator] = part, 1.0
        parts_of_rows.append(rows)
    return torch.cat(parts_of_rows, 1)  # (B, N, D)


def unpack(sources: Iterable[Source], rows: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Fields (B, N, size) and indicators (B, N) of every source, by its name.

    Raises:
        ValueError: rows that are not (B, N, D).
    """
    sources = tuple(sources)
    if rows.ndim != 3 or rows.shape[-1] != row_width(sources):
        names = ", ".join(f"{source.name} ({source.size})" for source in sources)
        raise ValueError(f"Rows of {names} are (B, N, {row_width(sources)}), not {tuple(rows.shape)}.")
    places = zip(sources, _places(sources), strict=True)
    return {source.name: (rows[..., fields], rows[..., indicator]) for source, (fields, indicator) in places}


def measured(sources: Iterable[Source], rows: Tensor) -> Tensor:
    """Which numbers of rows (B, N, D) were measured, of that shape: those of a row's own source, without its inputs.

    Raises:
        ValueError: rows that are not (B, N, D).
    """
    sources, found = tuple(sources), torch.zeros_like(rows, dtype=torch.bool)
    parts = unpack(sources, rows).values()
    for source, (fields, _), (_, present) in zip(sources, _places(sources), parts, strict=True):
        found[..., fields.start + source.not_measured : fields.stop] = present[..., None] > 0
    return found


def _places(sources: tuple[Source, ...]) -> list[tuple[slice, int]]:
    """Where each source's fields are in a row, and its indicator."""
    first_indicator = sum(source.size for source in sources)
    starts = [sum(source.size for source in sources[:index]) for index in range(len(sources))]
    return [
        (slice(start, start + source.size), first_indicator + index)
        for index, (start, source) in enumerate(zip(starts, sources, strict=True))
    ]


def _check(sources: tuple[Source, ...], values: Mapping[str, Tensor]) -> None:
    """Refuses values that are not observations of the sources."""
    sizes = {source.name: source.size for source in sources}
    unknown = [name for name in values if name not in sizes]
    if unknown or not values:
        found = f"unknown: {', '.join(unknown)}" if unknown else "none was given"
        raise ValueError(f"Observations must be of the sources {', '.join(sizes)}; {found}.")
    for name, value in values.items():
        if value.ndim != 3 or value.shape[-1] != sizes[name]:
            raise ValueError(f"Observations of '{name}' must be (B, N, {sizes[name]}), not {tuple(value.shape)}.")
        if not value.isfinite().all():
            raise ValueError(f"Observations of '{name}' have NaN or infinite values: leave those rows out.")
    if len({len(value) for value in values.values()}) > 1:
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in values.items())
        raise ValueError(f"All sources must have observations of the same number of tasks; got {shapes}.")
