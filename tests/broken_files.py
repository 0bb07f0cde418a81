"""Ways in which an HDF5 file can be none of ours."""

from __future__ import annotations

from pathlib import Path

import h5py


def text(path: Path) -> None:
    path.write_text("not HDF5 at all")


def foreign(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = 1


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])
