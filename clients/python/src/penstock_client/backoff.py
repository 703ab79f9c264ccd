"""How long to wait before the next attempt to connect: exponential, with jitter, capped."""

from __future__ import annotations

import random
from typing import Final

FIRST_S: Final = 0.05
MAX_S: Final = 5.0


class Backoff:
    """A sequence of waits; ``reset`` after a success. Half of each is random, so that a fleet does not come at once."""

    def __init__(self, first_s: float = FIRST_S, max_s: float = MAX_S) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._attempts = 0

    def reset(self) -> None:
        """Begin again with the shortest wait."""
        self._attempts = 0

    def next_s(self) -> float:
        """Return the next wait in seconds."""
        full_s = min(self._max_s, self._first_s * 2**self._attempts)
        self._attempts = min(self._attempts + 1, 20)
        return float(full_s * (0.5 + 0.5 * random.random()))
