"""A report as one HTML file that needs nothing else: tables, figures, and how to read them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from priorfit.evaluation.calibration_writers import calibration_cells, calibration_notes, verdict
from priorfit.evaluation.cells import Cells
from priorfit.evaluation.guides import GUIDES
from priorfit.evaluation.report import Report
from priorfit.evaluation.shift_writers import shift_cells, shift_conclusion, shift_notes
from priorfit.evaluation.writers import cells, changes, conclusion, notes, origin, write_text

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: 0.2rem 0.6rem; text-align: right; border-bottom: 1px solid #e6e6e6; white-space: nowrap; }
.scroll { overflow-x: auto; }
figure { margin: 2rem 0; } img { max-width: 100%; } figcaption, li, footer { color: #555; font-size: 14px; }
"""


def html(report: Report, folder: Path, figures: Sequence[str]) -> str:
    """The report as an HTML document with the figures, files in `folder`, inside it."""
    parts = [
        f"<h1>Evaluation of {escape(report.name)}</h1>",
        _paragraph(report.checkpoint.metadata["description"]),
        _paragraph(changes(report)),
        f"<p><strong>{escape(conclusion(report))}</strong></p>",
        _paragraph(verdict(report)),
        _paragraph(shift_conclusion(report)),
        _table(cells(report)),
        _list(notes(report)),
        *_section("Calibration", calibration_cells(report), calibration_notes(report)),
        *_section("Shifts of the prior", shift_cells(report), shift_notes(report)),
        "<h2>Figures</h2>",
        *(_figure(name, folder / name) for name in figures),
        f"<footer>{escape(origin(report))}</footer>",
    ]
    title, body = escape(f"Evaluation of {report.name}"), "\n".join(part for part in parts if part)
    head = f'<meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


def write_html(report: Report, folder: Path, figures: Sequence[str]) -> None:
    """Writes report.html into `folder`, where the figures are already."""
    write_text(folder / "report.html", html(report, folder, figures))


def _section(title: str, found: Cells | None, lines: Sequence[str]) -> list[str]:
    """A table and what its columns mean, where there is one."""
    return [] if found is None else [f"<h2>{title}</h2>", _table(found), _list(lines)]


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>" if text else ""


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _table(found: Cells) -> str:
    """A table; scrolls where it is too wide."""
    header, rows = found
    lines = [_row("th", header), *(_row("td", row) for row in rows)]
    return '<div class="scroll"><table>' + "\n".join(lines) + "</table></div>"


def _row(tag: str, values: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(value)}</{tag}>" for value in values) + "</tr>"


def _figure(name: str, path: Path) -> str:
    """A figure as part of the document, and how to read it."""
    title, guide = GUIDES[name]
    data = base64.b64encode(path.read_bytes()).decode()
    image = f'<img alt="{escape(title)}" src="data:image/png;base64,{data}">'
    return f"<figure><h3>{escape(title)}</h3>{image}<figcaption>{escape(guide)}</figcaption></figure>"
