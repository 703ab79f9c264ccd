"""How old the oldest message is that a queue, or one of its groups, is not done with: looked up when somebody asks.

A log does not know times; its stored blocks do. So a publish pays nothing, and a question costs one look at one block:
in memory, or at the head of its record in the journal, which the I/O thread reads. What was read once is remembered by
the block, so a backlog that does not move is read once. A block that cleaning moved keeps its times.

The age is counted from when a message entered the log: when it was published, or when it was due if it was scheduled.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from penstock.core.group import Group
from penstock.core.log import BlockRef
from penstock.core.queue import Queue
from penstock.core.records import (
    DUE_MOVED,
    PUBLISHED_HEADER,
    SCHEDULED,
    SCHEDULED_HEADER,
    SCHEDULED_HEADER_BYTES,
    SCHEDULED_MOVED,
)

if TYPE_CHECKING:
    from penstock.engine.engine import Engine
    from penstock.engine.interface import StoredBlock

_DUE_KINDS: Final = frozenset({SCHEDULED, SCHEDULED_MOVED, DUE_MOVED})
READS_AT_ONCE: Final = 32
"""Heads read before others have their turn with the journal's reader: each may cost the batch around it."""
REMEMBERED_MAX: Final = 20_000
"""Times of blocks that were read: some 4 MB."""


class Oldest(NamedTuple):
    """The block of an oldest message."""

    queue: Queue
    block: BlockRef


class OldestTimes:
    """When the oldest messages came."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._read: OrderedDict[tuple[int, int], int] = OrderedDict()

    def of_queue(self, queue: Queue) -> Oldest | None:
        """Return the oldest of what some group needs, None when no group needs anything."""
        return _at(queue, queue.low_offset)

    def of_group(self, group: Group) -> Oldest | None:
        """Return the oldest of what one group is not done with."""
        return _at(group.queue, group.low_offset)

    def look(self, wanted: Sequence[Oldest | None], done: Callable[[list[int | None]], None]) -> None:
        """Call ``done`` with how old each is by then, in ms, None for none; at once unless the journal is read."""
        times = [None if one is None else self._time_ms(one) for one in wanted]
        missing = [(index, one) for index, one in enumerate(wanted) if one is not None and times[index] is None]

        def read_more() -> None:
            some = [missing.pop() for _ in range(min(READS_AT_ONCE, len(missing)))]
            if not some:
                now_ms = self._engine.clock_ms()
                done([None if time_ms is None else max(0, now_ms - time_ms) for time_ms in times])
                return

            def arrived(loaded: dict[int, StoredBlock]) -> None:
                for index, one in some:
                    times[index] = time_ms = loaded[one.block.position][0]
                    self._remember(one, time_ms)
                read_more()

            heads = [
                one.block._replace(size_bytes=min(one.block.size_bytes, SCHEDULED_HEADER_BYTES)) for _, one in some
            ]
            self._engine.load(heads, arrived, parse_head)

        read_more()

    def _remember(self, one: Oldest, time_ms: int) -> None:
        self._read[one.queue.number, one.block.first] = time_ms
        if len(self._read) > REMEMBERED_MAX:
            self._read.popitem(last=False)

    def _time_ms(self, one: Oldest) -> int | None:
        queue, block = one
        known = self._read.get((queue.number, block.first))
        if known is not None:
            return known
        # In memory blocks do not say whether they were scheduled; what is not durable yet is no older than its publish.
        blocks = self._engine.blocks
        if queue.schedule is None or block.position >= blocks.durable_position:
            stored = blocks.get(block.position)
            return None if stored is None else stored[0]
        return None


def _at(queue: Queue, offset: int) -> Oldest | None:
    log = queue.log
    offset = max(offset, log.start_offset)
    return Oldest(queue, log.block_at(offset)) if offset < log.next_offset else None


def parse_head(payload: bytes | memoryview) -> StoredBlock:
    """Return when a record's block entered its log, from the record's first bytes, and no block."""
    if payload[0] in _DUE_KINDS:
        return SCHEDULED_HEADER.unpack_from(payload)[9], b""
    return PUBLISHED_HEADER.unpack_from(payload)[8], b""
