"""A callback that makes a tiny training slow enough to be killed in the middle."""

from __future__ import annotations

import time
from typing import Any

from lightning import Callback


class SlowSteps(Callback):
    """Sleeps in every step."""

    def on_train_batch_start(self, *args: Any) -> None:
        time.sleep(0.3)
