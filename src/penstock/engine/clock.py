"""The broker's clock: milliseconds since 1970 that never run backward and never jump (I11, SEMANTICS 22)."""

from __future__ import annotations

import time
from collections.abc import Callable


class BrokerClock:
    """Wall time at boot, or the journal's last time if that is later, plus monotonic time since.

    A wall clock that is set while the broker runs changes nothing; ``behind_ms`` says how far the wall clock was behind
    the journal at boot, which is worth an alarm.
    """

    def __init__(
        self,
        last_ms: int,
        wall_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        wall_ms = int(wall_s() * 1000)
        self.behind_ms = max(0, last_ms - wall_ms)
        self._monotonic_s = monotonic_s
        self._base_ms = max(wall_ms, last_ms) - int(monotonic_s() * 1000)

    def __call__(self) -> int:
        """Return now, ms since 1970."""
        return self._base_ms + int(self._monotonic_s() * 1000)
