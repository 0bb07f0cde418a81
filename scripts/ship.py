"""Puts a trained network into checkpoints/ and its manifest, from where it travels in the package.

    python scripts/ship.py runs/gp-1d gp-1d          # a run's folder that holds one checkpoint
    python scripts/ship.py model.safetensors gp-1d   # or the file itself

Takes a second. Description and metrics are the file's own; evaluate first, so that they are in it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from priorfit.checkpoints import CheckpointError
from priorfit.manifest import folder, register_file


def find(run_or_file: Path) -> Path:
    """The file itself, or the one checkpoint in a run's folder.

    Raises:
        CheckpointError: the folder holds none, or several.
    """
    if not run_or_file.is_dir():
        return run_or_file
    found = sorted(run_or_file.rglob("*.safetensors"))
    if len(found) != 1:
        held = ", ".join(str(path.relative_to(run_or_file)) for path in found) or "none"
        raise CheckpointError(f"'{run_or_file}' must hold one checkpoint, or name the file. It holds: {held}.")
    return found[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_or_file", type=Path, help="a run's folder, or a .safetensors file")
    parser.add_argument("name", help="what priorfit.load will know it as")
    arguments = parser.parse_args()
    try:
        entry = register_file(find(arguments.run_or_file), arguments.name)
    except (CheckpointError, OSError) as error:
        parser.exit(1, f"{error}\n")
    print(f"{folder() / entry.file}: {entry.size:,} bytes, sha256 {entry.sha256}")


if __name__ == "__main__":
    main()
