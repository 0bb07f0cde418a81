"""Runs all comparisons with published systems and writes what they found into one page, RESULTS.md.

    python -m scripts.results                                 # about three hours of one core
    python -m scripts.results --only posteriors filters
    python -m scripts.results --tables FOLDER --curves FILE   # also those that need data of your own

Parts that were run already, by the same command with the same weights, are kept unless --again is given; a run that
was interrupted goes on with the next part. Every part says when it was run, at which commit, and how long it took.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from priorfit.checkpoints import CheckpointError
from priorfit.evaluation.writers import write_text
from priorfit.hub import load
from priorfit.provenance import ROOT, provenance

INTRODUCTION = """# Results

Every comparison of priorfit's networks with published systems and with exact references: ours, the published number
and the exact one side by side. Written by `make results`; do not edit. Each part gives its command, and what stands in
it is that command's output. Times are processor times of one thread, measured in the same run; minutes do not count
MCMC that was run before and is read from its cache. Comparisons on real tables and curves need data of your own (`make
results ARGS="--tables FOLDER --curves FILE"`): see the README for ours.
"""


@dataclass(frozen=True)
class Part:
    """One comparison.

    Attributes:
        title: of its part of the page.
        command: module and arguments; {output} stands for the file that it writes, {folder} for one, and {tables} and
            {curves} for data that the user brings.
        checkpoints: that it looks at, by name or path.
        report: the file that it writes into {folder}; None where it writes {output}.
    """

    title: str
    command: str
    checkpoints: tuple[str, ...]
    report: str | None = None


PARTS = {
    "gaussian-process": Part(
        "PFN: the fixed Gaussian process",
        "scripts.compare_gp --output {output}",
        ("quickstart", "gp-1d"),
    ),
    "hyperprior": Part(
        "PFN: Gaussian processes with hyperpriors, against MAP and NUTS",
        "scripts.compare_map gp-hyperprior --output {output}",
        ("gp-hyperprior",),
    ),
    "bnn-small": Part(
        'PFN: the smaller "Bayesian neural network", against NUTS and SVI',
        "scripts.compare_linear_bnn bnn-small --output {output}",
        ("bnn-small",),
    ),
    "bnn-big": Part(
        'PFN: the larger "Bayesian neural network", against NUTS and SVI',
        "scripts.compare_linear_bnn bnn-big --output {output}",
        ("bnn-big",),
    ),
    "curves": Part(
        "LC-PFN: learning curves, against MCMC",
        "scripts.compare_curves --output {output}",
        ("learning-curve",),
    ),
    "posteriors": Part(
        "Distribution Transformer: posteriors under drawn priors",
        "scripts.compare_posteriors --output {output}",
        ("dt-conjugate", "dt-linear-gaussian", "dt-gp", "dt-quantum"),
    ),
    "filters": Part(
        "Distribution Transformer: tracking, against particle filters",
        "scripts.compare_filters --output {output}",
        ("dt-sensor-fusion",),
    ),
    "jump": Part(
        "FIM-MJP: Markov jump processes, against maximum likelihood and MCMC",
        "scripts.compare_jump --output {output}",
        ("markov-jump",),
    ),
    "tables": Part(
        "TabPFN: tables",
        "scripts.compare_tables {tables} --checkpoint tabular-classifier tabular-regressor --output {folder}",
        ("tabular-classifier", "tabular-regressor"),
        "report.md",
    ),
    "few-rows": Part(
        "PFN: tables of 30 rows",
        "scripts.compare_bnn {tables} --checkpoint tabular-classifier --output {folder}",
        ("tabular-classifier",),
        "report.md",
    ),
    "real-curves": Part(
        "LC-PFN: real learning curves",
        "scripts.compare_real_curves {curves} --checkpoint learning-curve-wide --checkpoint learning-curve "
        "--output {folder}",
        ("learning-curve-wide", "learning-curve"),
        "report.md",
    ),
}


def needs(part: Part, given: dict[str, Path | None]) -> list[str]:
    """Options that a part needs and that were not given."""
    return [name for name, path in given.items() if path is None and f"{{{name}}}" in part.command]


def run(name: str, part: Part, given: dict[str, Path | None], folder: Path, again: bool) -> None:
    """Runs one part, unless its result is there.

    Raises:
        CheckpointError: no such checkpoint.
        subprocess.CalledProcessError: the comparison failed.
    """
    document, output = folder / f"{name}.json", folder / f"{name}.md"
    weights = {key: load(key).metadata["weights_sha256"] for key in part.checkpoints}
    data = {key: str(path) for key, path in given.items() if f"{{{key}}}" in part.command}
    asked = {"command": part.command, "weights": weights, **data}
    known = document.exists() and output.exists() and json.loads(document.read_text())["asked"] == asked
    if known and not again:
        return
    places = {"output": output, "folder": folder / name, **given}
    arguments = shlex.split(part.command.format_map({key: shlex.quote(str(path)) for key, path in places.items()}))
    print(f"\n{name}: python -m {shlex.join(arguments)}", flush=True)
    started = time.perf_counter()
    execute(arguments)
    facts = {"asked": asked, "seconds": time.perf_counter() - started, "provenance": provenance()}
    if part.report is not None:
        write_text(output, (folder / name / part.report).read_text(encoding="utf-8"))
    write_text(document, json.dumps(facts, indent=2) + "\n")


def execute(arguments: list[str]) -> None:
    """Runs a module of this checkout."""
    subprocess.run([sys.executable, "-m", *arguments], check=True, cwd=ROOT)


def page(folder: Path) -> str:
    """The whole page, of the parts that have been run."""
    sections = [INTRODUCTION]
    for name, part in PARTS.items():
        document, output = folder / f"{name}.json", folder / f"{name}.md"
        if document.exists() and output.exists():
            found = output.read_text(encoding="utf-8")
            sections.append(section(part, found, json.loads(document.read_text())))
    return "\n".join(sections)


def section(part: Part, found: str, facts: dict[str, Any]) -> str:
    """One part of the page; headings of what was found become smaller."""
    body = re.sub(r"^(#+) ", r"##\1 ", found, flags=re.MULTILINE).strip()
    names = {"output": "FILE", "folder": "FOLDER", "tables": "TABLES", "curves": "CURVES"}
    command = f"python -m {facts['asked']['command'].format_map(names)}"
    own = facts["provenance"]
    origin = (
        f"{facts['seconds'] / 60:.0f} minutes on {own['created'][:10]}, commit {own.get('git_commit', 'unknown')[:12]}"
    )
    return f"## {part.title}\n\n```sh\n{command}   # {origin}\n```\n\n{body}\n"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run")
    parser.add_argument("--again", action="store_true", help="run them even if their results are there")
    parser.add_argument("--tables", type=Path, help="folder of real tables, as for scripts/compare_tables.py")
    parser.add_argument("--curves", type=Path, help="file of real curves, as for scripts/compare_real_curves.py")
    parser.add_argument("--folder", type=Path, default=Path("runs/results"), help="where each part's result is kept")
    parser.add_argument("--output", type=Path, default=ROOT / "RESULTS.md", help="the page")
    return parser


def main() -> None:
    own = parser()
    options = own.parse_args()
    given = {"tables": options.tables, "curves": options.curves}
    try:
        for name in options.only:
            missing = needs(PARTS[name], given)
            if missing:
                print(f"{name}: left out without --{missing[0]}")
                continue
            run(name, PARTS[name], given, options.folder, options.again)
            write_text(options.output, page(options.folder))
    except (CheckpointError, OSError) as error:
        own.exit(1, f"{error}\n")
    except subprocess.CalledProcessError as error:
        own.exit(1, f"The comparison failed; those before it are kept: {shlex.join(map(str, error.cmd))}\n")
    print(f"\n{options.output}")


if __name__ == "__main__":
    main()
