"""Finding the first message published at or after a time: a bisection over blocks, each looked up where it is kept.

A log does not know times; its stored blocks do. About twenty of a million blocks are read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from penstock.core.queue import Queue

if TYPE_CHECKING:
    from penstock.engine.engine import Engine
    from penstock.engine.interface import StoredBlock


class TimeSearch:
    """One search; ``done`` gets the offset. Blocks that go meanwhile are older than what is looked for, or all are."""

    def __init__(self, engine: Engine, queue: Queue, time_ms: int, done: Callable[[int], None]) -> None:
        self._engine = engine
        self._queue = queue
        self._time_ms = time_ms
        self._done = done
        self._low = queue.log.start_offset
        self._high = queue.log.next_offset

    def step(self) -> None:
        """Look at the block in the middle of what is left."""
        log = self._queue.log
        self._low = max(self._low, log.start_offset)
        if self._low >= self._high or self._queue.deleted:
            self._done(min(self._low, log.next_offset))
            return
        block = log.block_at((self._low + self._high) // 2)

        def arrived(loaded: dict[int, StoredBlock]) -> None:
            published_ms = next(iter(loaded.values()))[0]
            if published_ms < self._time_ms:
                self._low = block.end
            else:
                self._high = block.first
            self.step()

        stored = self._engine.blocks.get(block.position)
        if stored is None:
            self._engine.load([block], arrived)
        else:
            arrived({block.position: stored})
