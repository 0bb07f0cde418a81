"""One file per trained network: safetensors weights, and one JSON document that says how to use them.

The document is the value of "priorfit" in the file's metadata:

    schema_version   1
    network, prior   {"name": a registered name, "arguments": the constructor's}
    training         how it was trained          metrics      what was measured of it
    description      one sentence                provenance   versions, date, commit
    weights_sha256   digest of the tensors
    prior_check      where there is one: what data like the prior's look like, see `priorfit.prior_check`

and "priorfit_sha256" beside it is the digest of the document's text.

Reading runs no code from a file: weights are safetensors, never pickles, and names resolve through the
registries of classes that were imported already. Digests find damage and careless edits; a forger can compute
them anew, so a file is as trustworthy as its source (named checkpoints: see `priorfit.hub`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from priorfit.files import replacing

SCHEMA_VERSION = 1
KEY = "priorfit"
DIGEST_KEY = "priorfit_sha256"
FIELDS = {
    "network": dict,
    "prior": dict,
    "training": dict,
    "metrics": dict,
    "description": str,
    "provenance": dict,
    "weights_sha256": str,
}


class CheckpointError(ValueError):
    """A checkpoint that cannot be found, read, trusted or written; the message says what to do."""


def plain(value: Any) -> Any:
    """`value` as JSON holds it: arrays and tensors become numbers or lists, NaN and infinity None."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write(path: Path, document: Mapping[str, Any], tensors: dict[str, Tensor]) -> Path:
    """Adds the digests to `document` and writes the file: all of it or nothing.

    Raises:
        CheckpointError: a document that JSON does not hold, or a file that cannot be written.
    """
    complete = {**document, "weights_sha256": _weights_sha256(tensors)}
    try:
        text = json.dumps(complete, allow_nan=False, default=_number)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"it is described by more than plain numbers and strings: {error}.") from error
    content = to_safetensors(tensors, {KEY: text, DIGEST_KEY: _sha256(text)})
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise CheckpointError(f"{error}. It takes {len(content):,} bytes in a folder you may write to.") from error
    return path


def _weights_sha256(tensors: Mapping[str, Tensor]) -> str:
    """The digest of every tensor's name, type, shape and bytes, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _number(value: Any) -> Any:
    """What JSON makes of a value that it does not know: NumPy's numbers are numbers."""
    if not hasattr(value, "tolist"):
        raise TypeError(f"{value!r} is a {type(value).__name__}")
    return value.tolist()


def open_file(path: Path, *, weights: bool = True) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The verified document and the verified tensors, as stored (none of them without `weights`).

    Raises:
        CheckpointError: no such file, not a checkpoint, damaged, or of a newer schema.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Cloned, because they are views of the file: a later change to it must not reach the network.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()} if weights else {}  # noqa: SIM118
    except Exception as error:
        raise CheckpointError(_why_unreadable(path, error)) from error
    document = _parse(metadata)
    if weights and _weights_sha256(tensors) != document["weights_sha256"]:
        raise CheckpointError("its weights were changed or damaged after it was written; get it again.")
    return document, tensors


def _why_unreadable(path: Path, error: Exception) -> str:
    """What is wrong with a file that safetensors refuses."""
    if not path.exists():
        return "there is no such file."
    if not path.is_file():
        return "it is a folder, not a checkpoint."
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as problem:
        return f"{problem}."
    # A safetensors file starts with the length of its header, 8 bytes, and a brace.
    if start[:2] == b"PK" or (start[:1] == b"\x80" and start[8:] != b"{"):
        return "it looks like a pickle (torch.save): refused, because loading one can run any code."
    return f"it is not a safetensors file, or it is damaged or incomplete ({error}); get it again."


def _parse(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The document in a file's metadata, with its form and digest checked."""
    if KEY not in metadata:
        raise CheckpointError("it is a safetensors file, but not one that priorfit wrote.")
    try:
        document = json.loads(metadata[KEY])
    except (ValueError, RecursionError) as error:
        raise CheckpointError("what describes it is not valid JSON; get it again.") from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if type(version) is not int or version < 1:
        raise CheckpointError("what describes it has no schema version; get it again.")
    if version > SCHEMA_VERSION:
        raise CheckpointError(
            f"its schema version is {version} and this priorfit knows {SCHEMA_VERSION} at most. Upgrade it: "
            "pip install --upgrade priorfit"
        )
    _check_fields(document)
    if metadata.get(DIGEST_KEY) != _sha256(metadata[KEY]):
        raise CheckpointError("what describes it was changed or damaged after it was written; get it again.")
    return document


def _check_fields(document: dict[str, Any]) -> None:
    """Raises CheckpointError where a document lacks something."""
    for key, kind in FIELDS.items():
        if not isinstance(document.get(key), kind):
            raise CheckpointError(f"what describes it lacks a proper '{key}'; get it again.")
    for key in ("network", "prior"):
        name, arguments = document[key].get("name"), document[key].get("arguments")
        if not (isinstance(name, str) and isinstance(arguments, dict)):
            raise CheckpointError(f"its {key} lacks a proper name or arguments; get it again.")
