"""`python evaluate.py`: measures a checkpoint and writes a report with figures."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from priorfit.evaluation.calibration_writers import verdict
from priorfit.evaluation.figures import write_figures
from priorfit.evaluation.html_report import write_html
from priorfit.evaluation.report import check_storable, evaluate_checkpoint, store
from priorfit.evaluation.settings import Settings
from priorfit.evaluation.shift_writers import shift_conclusion
from priorfit.evaluation.writers import conclusion, table, write_report
from priorfit.training.instantiate import plain_config, run_with_hints

SETTINGS = tuple(Settings.__dataclass_fields__)


def evaluate(config: DictConfig) -> float:
    """Evaluates as configured; returns the largest gap (without a reference: the largest NLL), for sweeps.

    Writes `report.json`, `report.md`, `report.html` and the figures into the output folder, and with `store` the
    metrics into the checkpoint's file.

    Raises:
        CheckpointError: no such checkpoint, or one that cannot be measured or stored to.
        ValueError: impossible settings.
    """
    if OmegaConf.is_missing(config, "checkpoint"):
        raise ValueError(
            "Which network? Give checkpoint=NAME, or checkpoint=FILE such as runs/…/checkpoint.safetensors"
        )
    if OmegaConf.is_missing(config, "path"):
        raise ValueError("data=hdf5 reads tasks from a file: which one? Give path=FILE.")
    options = plain_config(config)
    settings = Settings(**{key: options[key] for key in SETTINGS})
    target = check_storable(config.checkpoint) if config.store else None
    report = evaluate_checkpoint(config.checkpoint, **vars(settings))
    folder = Path(config.output)
    figures = write_figures(report, folder)
    write_report(report, folder, figures)
    write_html(report, folder, figures)
    if target is not None:
        store(report, target)
    lines = [f"Report: {folder / 'report.html'}", verdict(report), shift_conclusion(report), conclusion(report)]
    print(f"\n{table(report)}\n\n" + "\n".join(line for line in lines if line))
    worst = report.worst
    return worst.gap.mean if worst and worst.gap else max(row.nll.mean for row in report.rows)


def checkpoint_name(checkpoint: str) -> str:
    """A short name for a checkpoint's results: its file's, or for a `checkpoint.safetensors` its run's."""
    path = Path(checkpoint)
    stem = path.name.removesuffix(".safetensors")
    return path.absolute().parent.name if stem == "checkpoint" and stem != path.name else stem


OmegaConf.register_new_resolver("checkpoint_name", checkpoint_name, replace=True)


@hydra.main(version_base="1.3", config_path="pkg://priorfit.configs", config_name="evaluate")
def _main(config: DictConfig) -> float:
    try:
        return evaluate(config)
    except ValueError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        sys.exit(f"Error: {error}")


def main() -> None:
    """Entry point; after a failure over a configuration's names it adds the nearest valid ones."""
    run_with_hints(_main)


if __name__ == "__main__":
    main()
