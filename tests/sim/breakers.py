"""What a breaker must not let through, counted message by message (decision 0018)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from penstock.core.breaker import ACKED_FRACTION, BREAKER_WAIT_MS_MAX

Tag = tuple[int, int]
"""(session, tag)"""


@dataclass(slots=True)
class ShadowBreaker:
    """The breaker of one group, in one life of the broker. ``size`` 0: it is closed, or open until ``retry_ms``."""

    failures: int
    wait_ms: int
    failed: list[int] = field(default_factory=list)
    """For each counted failure: how many had been acknowledged by then."""
    retry_ms: int = 0
    size: int = 0
    waited_ms: int = 0
    handed_out: int = 0
    run: dict[Tag, int] = field(default_factory=dict)
    """The trial run: tags to offsets."""
    is_spoiled: bool = False

    @property
    def is_closed(self) -> bool:
        """Everything may be handed out."""
        return not self.size and not self.retry_ms

    def count_failure(self, offset: int, acked: int, now_ms: int) -> None:
        """An attempt failed."""
        if self.is_closed:
            if self.failed and (acked - self.failed[0]) * ACKED_FRACTION >= len(self.failed):
                self.failed.clear()
            self.failed.append(acked)
            if len(self.failed) >= self.failures:
                self._open(now_ms)
        elif self.size and offset in self.run.values():
            self._open(now_ms)

    def give_back(self, offset: int) -> None:
        """A message came back without a failure."""
        self.is_spoiled = self.is_spoiled or offset in self.run.values()

    def look(self, is_held: Callable[[Tag], bool]) -> None:
        """Where a trial run is over: the next one, or closed."""
        if self.size and self.handed_out == self.size and not any(map(is_held, self.run)):
            if self.is_spoiled:
                self._begin(self.size)
            elif self.size == self.failures:
                self.reset()
            else:
                self._begin(min(self.failures, 2 * self.size))

    def hand_out(self, tag: Tag, offset: int, now_ms: int, is_held: Callable[[Tag], bool]) -> str:
        """A message is handed out; return why it must not be."""
        self.look(is_held)
        if self.is_closed:
            return ""
        if not self.size:
            if now_ms < self.retry_ms:
                return f"its breaker is open until {self.retry_ms}"
            self._begin(1)
        if self.handed_out == self.size:
            return f"its trial run of {self.size} is out"
        self.handed_out += 1
        self.run[tag] = offset
        return ""

    def reset(self) -> None:
        """It is closed."""
        self.retry_ms = self.size = self.waited_ms = 0
        self.failed.clear()
        self.run.clear()

    def _open(self, now_ms: int) -> None:
        self.waited_ms = min(2 * self.waited_ms, BREAKER_WAIT_MS_MAX) if self.waited_ms else self.wait_ms
        self.retry_ms, self.size = now_ms + self.waited_ms, 0
        self.run.clear()

    def _begin(self, size: int) -> None:
        self.size, self.handed_out, self.is_spoiled = size, 0, False
        self.run.clear()
