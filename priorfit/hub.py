"""Trained networks by name: in the package, in the cache, or downloaded and verified.

Environment variables:

    PRIORFIT_CHECKPOINT_URL   where to download from, in place of the manifest's address
    PRIORFIT_CACHE            where downloads are kept, in place of the user's cache folder
    PRIORFIT_OFFLINE          set to 1, nothing is downloaded
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from priorfit.checkpoint_file import CheckpointError
from priorfit.checkpoints import AnyPath, Checkpoint, read
from priorfit.files import file_sha256, replacing
from priorfit.manifest import Entry, folder, read_manifest, register_file
from priorfit.registry import closest

__all__ = ["DownloadError", "Listed", "list_checkpoints", "load", "locate", "register_file"]

TIMEOUTS = 10, 60  # seconds to connect, and between two pieces of an answer


class DownloadError(CheckpointError):
    """A checkpoint that is not held here and could not be downloaded. No part of it is kept."""


@dataclass(frozen=True)
class Listed(Entry):
    """A checkpoint of the manifest; `local` tells whether it can be loaded without a download."""

    local: bool


def load(name_or_path: AnyPath) -> Checkpoint:
    """Loads a trained network: one of `list_checkpoints()` by name, or any checkpoint file by its path.

    A name that is not held locally is downloaded once (see the top of this module for the settings).

    Raises:
        CheckpointError: no such name or file, or a file that is damaged, too new or not a checkpoint.
        DownloadError: a kind of CheckpointError: the file could not be had.
    """
    name = os.fspath(name_or_path)
    path = Path(name).expanduser()
    looks_like_path = name != path.name or name.endswith(".safetensors") or not isinstance(name_or_path, str)
    if looks_like_path or (path.exists() and name not in read_manifest().entries):
        return read(path)
    return read(locate(name))


def list_checkpoints() -> list[Listed]:
    """The checkpoints that `load` knows by name, in alphabetical order.

    Raises:
        CheckpointError: the manifest is missing or damaged.
    """
    entries = sorted(read_manifest().entries.values(), key=lambda entry: entry.name)
    return [Listed(**vars(entry), local=_held(entry) is not None) for entry in entries]


def locate(name: str) -> Path:
    """The file of a named checkpoint, downloaded if need be; its sha256 is the manifest's.

    Raises:
        CheckpointError: no such name, or the file in the package is not the one that the manifest lists.
        DownloadError: the file is not here, and offline or not to be had.
    """
    manifest = read_manifest()
    if name not in manifest.entries:
        known = closest(name, manifest.entries)
        raise CheckpointError(f"There is no checkpoint and no file named '{name}': {known}")
    entry = manifest.entries[name]
    url = (os.environ.get("PRIORFIT_CHECKPOINT_URL") or manifest.base_url).rstrip("/") + "/" + entry.file
    held = _held(entry)
    if held is None:
        return _download(entry, url)
    if file_sha256(held) == entry.sha256:
        return held
    if held.parent == folder():
        raise CheckpointError(
            f"'{held}' is not the file that the manifest beside it lists. Restore it (git checkout, or "
            "reinstall priorfit), delete it so that it is downloaded, or ship it again (scripts/ship.py)."
        )
    return _download(entry, url)


def _held(entry: Entry) -> Path | None:
    """Where the file seems to be already, if anywhere: beside the manifest, or in the cache."""
    packaged = folder() / entry.file
    if packaged.is_file():
        return packaged
    cached = _cached(entry)
    return cached if cached.is_file() and cached.stat().st_size == entry.size else None


def _cached(entry: Entry) -> Path:
    """Where a download is kept. The digest in its name keeps different releases of a network apart."""
    where = os.environ.get("PRIORFIT_CACHE")
    if not where:
        import pooch

        where = pooch.os_cache("priorfit")
    return Path(where).expanduser() / f"{entry.name}-{entry.sha256[:12]}.safetensors"


def _download(entry: Entry, url: str) -> Path:
    """Downloads, verifies and caches one file, or leaves nothing.

    Each process writes to a name of its own and renames it, so that two at once do no harm.
    """
    path = _cached(entry)
    if os.environ.get("PRIORFIT_OFFLINE", "").lower() not in ("", "0", "false", "no"):
        raise DownloadError(
            f"'{entry.name}' is not held here (or damaged), and PRIORFIT_OFFLINE forbids downloading it. "
            f"Unset that, or put {url} at '{path}'."
        )
    import requests

    try:
        with replacing(path) as temporary:
            _fetch(url, temporary, entry)
    except requests.RequestException as error:
        raise DownloadError(
            f"Downloading {url} failed: {error}. Check the connection and try again, set "
            f"PRIORFIT_CHECKPOINT_URL to a mirror, or put the file at '{path}'."
        ) from error
    except OSError as error:
        raise DownloadError(
            f"Storing {url} at '{path}' failed: {error}. It takes {entry.size:,} bytes; "
            "PRIORFIT_CACHE chooses another folder."
        ) from error
    return path


def _fetch(url: str, path: Path, entry: Entry) -> None:
    """Downloads `url` to `path` with a progress bar and compares it with the manifest."""
    import pooch
    from tqdm import tqdm

    with tqdm(total=entry.size, desc=entry.name, unit="B", unit_scale=True) as progress:
        # pooch takes any progress bar, though its annotation says bool.
        download = pooch.HTTPDownloader(progress, 2**16, timeout=TIMEOUTS)  # pyright: ignore[reportArgumentType]
        download(url, str(path), None)
    found = file_sha256(path)
    if found != entry.sha256:
        raise DownloadError(
            f"{url} is not the file that the manifest lists: {path.stat().st_size:,} bytes with sha256 "
            f"{found}, not {entry.size:,} with {entry.sha256}. It was deleted; the server may "
            "hold another release."
        )
