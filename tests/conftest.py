"""The order of tests."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts tests that start jax last: its threads would be lost in processes that later tests fork."""
    items.sort(key=lambda item: item.get_closest_marker("jax") is not None)
