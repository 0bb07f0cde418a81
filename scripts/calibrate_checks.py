"""Learns what draws of a network's prior look like, for warnings of other data, and writes that into its checkpoint.

    python scripts/calibrate_checks.py                            # all checkpoints of the manifest
    python scripts/calibrate_checks.py gp-1d runs/mine/checkpoint.safetensors   # a name, or a file

Takes ten seconds to two minutes per checkpoint on one core. Training does it for new networks by itself. Only the
document of a checkpoint changes, the weights stay as they are; the manifest follows. See `priorfit.prior_check`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tqdm import tqdm

from priorfit.checkpoints import CheckpointError, read, update_prior_check
from priorfit.manifest import folder, read_manifest, register_file
from priorfit.prior_check import FEWEST, PriorCheck


def calibrate(path: Path, tasks: int, seed: int) -> bool:
    """Writes the check of a checkpoint file; returns whether its network and prior allow one."""
    checkpoint = read(path)
    check = PriorCheck.fit(checkpoint.network, checkpoint.prior, tasks=tasks, seed=seed)
    if check is not None:
        update_prior_check(path, check.document())
    return check is not None


def calibrate_shipped(name: str, tasks: int, seed: int) -> bool:
    """The same for a checkpoint of the manifest, which is to list the new file."""
    entry = read_manifest().entries[name]
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / entry.file
        copy.write_bytes((folder() / entry.file).read_bytes())
        if not calibrate(copy, tasks, seed):
            return False
        register_file(copy, name, description=entry.description, metrics=entry.metrics)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "checkpoints", nargs="*", help="names of the manifest, or files; all of the manifest by default"
    )
    parser.add_argument("--tasks", type=int, default=4000, help="draws of the prior")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.tasks < FEWEST:
        parser.error(f"--tasks must be at least {FEWEST}.")
    shipped = read_manifest().entries
    progress = tqdm(arguments.checkpoints or sorted(shipped))
    for which in progress:
        progress.set_postfix_str(which)
        try:
            settings = arguments.tasks, arguments.seed
            done = calibrate_shipped(which, *settings) if which in shipped else calibrate(Path(which), *settings)
        except (CheckpointError, OSError, ValueError) as error:
            parser.exit(1, f"{which}: {error}\n")
        if not done:
            progress.write(
                f"{which}: its network offers no summaries, or its prior does not tell sizes; left as it is."
            )


if __name__ == "__main__":
    main()
