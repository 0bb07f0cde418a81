"""Reads tables that scripts write."""

from __future__ import annotations

from itertools import groupby


def tables(text: str) -> list[list[dict[str, str]]]:
    """The rows of every Markdown table, their cells by column; of columns of one name the last."""
    found = []
    for is_table, lines in groupby(text.splitlines(), lambda line: line.startswith("|")):
        if is_table:
            header, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
            found.append([dict(zip(header, row, strict=True)) for row in rows])
    return found
