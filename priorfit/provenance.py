"""Where a result came from: versions, date and commit."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]


def provenance() -> dict[str, str]:
    """The versions of priorfit and torch, the time in UTC and, in a checkout with commits, the commit."""
    try:
        own_version = version("priorfit")
    except PackageNotFoundError:  # run from a folder that was never installed
        own_version = "unknown"
    created = datetime.now(UTC).isoformat(timespec="seconds")
    facts = {"priorfit": own_version, "torch": str(torch.__version__), "created": created}
    commit = git_commit()
    return {**facts, "git_commit": commit} if commit else facts


def git_commit() -> str | None:
    """The commit of this checkout, with "-dirty" after it if files were changed; None outside of one.

    An installed package may lie inside somebody else's repository: only a `.git` beside the package counts.
    """
    if not (ROOT / ".git").exists():
        return None
    # --no-optional-locks: do not touch the index while another git command may be running.
    describe = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    command = ["git", "--no-optional-locks", "-C", str(ROOT), *describe]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):  # git is missing, or its disk hangs
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
