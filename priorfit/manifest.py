"""The manifest: which trained networks exist under a name, and what their files must be.

`manifest.json` lies beside the files that it lists, in `checkpoints/` of the repository and in
`priorfit/_checkpoints/` of an installed package:

    {"schema_version": 1, "base_url": "https://…/",
     "checkpoints": {name: {"file", "sha256", "size" (bytes), "description", "metrics"}}}
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from priorfit.checkpoint_file import SCHEMA_VERSION, CheckpointError
from priorfit.checkpoints import AnyPath, read
from priorfit.files import file_sha256, replacing

# A name has no path separator, so neither it nor its file can lead out of a folder.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Entry:
    """What the manifest says of one checkpoint; `size` is in bytes."""

    name: str
    file: str
    sha256: str
    size: int
    description: str
    metrics: dict[str, Any]

    def __post_init__(self) -> None:
        plain_names = NAME.fullmatch(self.name) and NAME.fullmatch(self.file)
        if not plain_names or not self.file.endswith(".safetensors"):
            raise CheckpointError(f"'{self.name}' or its file '{self.file}' is not a plain name.")
        if not re.fullmatch("[0-9a-f]{64}", self.sha256) or not isinstance(self.size, int):
            raise CheckpointError(f"'{self.name}' has no proper sha256 and size.")


@dataclass(frozen=True)
class Manifest:
    """All entries by name, and the address that their files are downloaded from."""

    base_url: str
    entries: dict[str, Entry]


def folder() -> Path:
    """The folder of the manifest: inside an installed package, or beside the package in a checkout."""
    packaged = Path(__file__).with_name("_checkpoints")
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[1] / "checkpoints"


def read_manifest() -> Manifest:
    """Reads and checks the manifest.

    Raises:
        CheckpointError: it is missing, damaged, or of a newer schema.
    """
    path = folder() / "manifest.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema_version"] > SCHEMA_VERSION:
            raise CheckpointError("it is newer than this priorfit; pip install --upgrade priorfit")
        entries = {name: Entry(name, **entry) for name, entry in document["checkpoints"].items()}
        return Manifest(str(document["base_url"]), entries)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"The manifest '{path}' cannot be used, so no checkpoint can be found by name: {error!r}"
        raise CheckpointError(message) from error


def register_file(
    path: AnyPath, name: str, *, description: str | None = None, metrics: dict[str, Any] | None = None
) -> Entry:
    """Copies a checkpoint into the manifest's folder as `name`.safetensors and writes its entry.

    Args:
        path: a checkpoint; it is read and verified first.
        name: what `priorfit.load` will know it as: letters, digits, ".", "_" and "-".
        description: instead of the one in the file.
        metrics: instead of those in the file.

    Raises:
        CheckpointError: the file is no sound checkpoint, or `name` is not a plain name.
        OSError: the copy or the manifest cannot be written.
    """
    metadata = read(path).metadata
    described = metadata["description"] if description is None else description
    measured = metadata["metrics"] if metrics is None else metrics
    path = Path(path)
    entry = Entry(name, f"{name}.safetensors", file_sha256(path), path.stat().st_size, described, measured)
    read_manifest()  # a manifest that cannot be extended is reported before anything is copied
    with replacing(folder() / entry.file) as temporary:
        temporary.write_bytes(path.read_bytes())
    _write_entry(entry)
    return entry


def _write_entry(entry: Entry) -> None:
    """Adds or replaces one entry of the manifest."""
    path = folder() / "manifest.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    fields = {key: value for key, value in vars(entry).items() if key != "name"}
    document["checkpoints"] = dict(sorted({**document["checkpoints"], entry.name: fields}.items()))
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
