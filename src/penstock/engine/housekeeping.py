"""Housekeeping: snapshots keep recovery short, discarding keeps the disk small, cleaning unpins it from old messages.

The journal is where messages live: there is no second copy of them. A snapshot holds the state and where each block is;
segments in front of the oldest block and of the older snapshot are deleted. When more than half of the journal is no
longer needed, the oldest segment is *cleaned*: its blocks that are still needed are appended again (MOVED), which frees
it at a later snapshot. Every byte that is appended thus pays for at most one byte that is moved.

``cycle`` is a generator: it yields what it needs done (a pause, durability, I/O) and whoever drives it does that; so it
runs under asyncio and in the simulator alike.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from penstock.core.facts import (
    DueMoved,
    Moved,
    MovedTo,
    ScheduledMoved,
)
from penstock.core.records import (
    BLOCK_STARTS,
    DUE_MOVED,
    MOVED_TO,
    PUBLISHED_HEADER,
    PUBLISHED_HEADER_BYTES,
    PUBLISHED_TO,
    SCHEDULED,
    SCHEDULED_HEADER,
    SCHEDULED_MOVED,
    decode_shared,
)
from penstock.engine.exchange_snapshots import ExchangesFrozen
from penstock.engine.recovery import snapshot_head, snapshot_queue
from penstock.storage.format import position_of, segment_of

if TYPE_CHECKING:
    from penstock.core.log import QueueLog
    from penstock.core.schedule import Schedule
    from penstock.engine.engine import Engine
    from penstock.storage.interface import RecoveredBatch
    from penstock.storage.journal import Journal
    from penstock.storage.snapshot import SnapshotStore

SLICE_BYTES: Final = 256 * 1024
SLICE_QUEUES: Final = 200
"""Work between two pauses: about 5 ms, so that the loop is never held for 20 (SEMANTICS 30)."""
LOG_BLOCKS: Final = 50_000
"""Blocks of a log that are looked through between two pauses: about 5 ms."""
WAITED: Final = (SCHEDULED, SCHEDULED_MOVED)
"""Records of blocks that waited in a schedule: by now they may be in the log."""
GARBAGE_SEGMENTS: Final = 4
"""Segments' worth of unneeded bytes that are not worth any effort."""
LOOK_BYTES: Final = 64 * 1024
"""Recorded between two looks at how much could be freed."""
FULL_DIVISOR: Final = 256


class Pause(NamedTuple):
    """Let others run."""


class AwaitDurable(NamedTuple):
    """Go on when everything below ``position`` is on disk."""

    position: int


class Io(NamedTuple):
    """Call this on the I/O thread and send back what it returns."""

    call: Callable[[], Any]


Step = Pause | AwaitDurable | Io
Cycle = Generator[Step, Any, None]


class Housekeeping:
    """Decides when a cycle is due, and what it does."""

    def __init__(self, engine: Engine, journal: Journal, snapshots: SnapshotStore, segment_bytes: int) -> None:
        self._engine = engine
        self._journal = journal
        self._snapshots = snapshots
        self._segment_bytes = segment_bytes
        self._recorded_at_snapshot = 0
        self._recorded_at_look = 0
        self._unfinished = False

    def is_due(self, *, idle: bool = False) -> bool:
        """True when enough was recorded since the last snapshot, or when there is much to free.

        On a full disk it comes much earlier, to free what can be. An idle broker looks at once, and finishes a cycle
        that met a full disk.
        """
        recorded = self._engine.recorded_bytes
        threshold = self._engine.limits.snapshot_bytes
        if self._engine.broker.storage_full:
            threshold //= FULL_DIVISOR
        if recorded - self._recorded_at_snapshot >= threshold or (idle and self._unfinished):
            return True
        if recorded == self._recorded_at_snapshot or (recorded - self._recorded_at_look < LOOK_BYTES and not idle):
            return False
        self._recorded_at_look = recorded
        return self._garbage_bytes() > self._garbage_bytes_max()

    def cycle(self) -> Cycle:
        """One round: snapshot, discard, clean; a second snapshot where the older one alone keeps much from going."""
        self._recorded_at_snapshot = self._engine.recorded_bytes
        self._unfinished = True
        yield from self._snapshot()
        yield from self._discard()
        if self._garbage_bytes() > self._garbage_bytes_max():
            yield from self._snapshot()
            yield from self._discard()
        yield from self._clean()
        self._unfinished = False

    def _garbage_bytes(self) -> int:
        return self._journal.total_bytes - self._engine.blocks.live_bytes

    def _garbage_bytes_max(self) -> int:
        return max(self._engine.blocks.live_bytes, GARBAGE_SEGMENTS * self._segment_bytes)

    def _snapshot(self) -> Cycle:
        broker = self._engine.broker
        position = self._journal.next_position
        exchanges = ExchangesFrozen(broker.exchanges)
        head = snapshot_head(broker, self._engine.clock_ms(), exchanges.part_count)
        parts: list[tuple[bytes, ...]] = [(head,), (self._engine.blocks.shared.positions(),)]
        for chunk in exchanges.parts():
            parts.append((chunk,))
            yield Pause()
        sliced_bytes = sliced_queues = 0
        for number in list(broker.queues):
            queue = broker.queues.get(number)
            if queue is None or queue.settings.ephemeral:
                continue
            part = snapshot_queue(queue, self._journal.next_position)
            parts.append(part)
            sliced_bytes += sum(map(len, part))
            sliced_queues += 1
            if sliced_bytes > SLICE_BYTES or sliced_queues >= SLICE_QUEUES:
                sliced_bytes = sliced_queues = 0
                yield Pause()
        # The parts hold facts that may not be on disk yet: a snapshot must not know more than the journal (I18).
        yield AwaitDurable(self._journal.next_position)
        yield Io(lambda: self._snapshots.write(position, map(b"".join, parts)))

    def _discard(self) -> Cycle:
        older = self._snapshots.older_position
        if older is None:
            return
        needed = self._engine.first_needed_position()
        first = older if needed is None else min(older, needed)
        # What made a block unneeded (an ack, a move) has to be durable before the block goes (storage rule 8).
        yield AwaitDurable(self._journal.next_position)
        yield Io(lambda: self._journal.discard_before(first))

    def _clean(self) -> Cycle:
        while self._is_wasteful():
            segment_id = min(self._engine.blocks.live_bytes_by_segment)
            released = Released(self._engine, segment_id)
            batches: list[RecoveredBatch] = yield Io(partial(self._journal.read_segment, segment_id))
            moved_bytes = 0
            for batch in batches:
                for position, payload in batch.records:
                    if payload[0] in BLOCK_STARTS:
                        if payload[0] in WAITED:
                            yield from released.look(payload)
                        moved_bytes += self._move(position, payload, released)
                    elif payload[0] in (PUBLISHED_TO, MOVED_TO):
                        moved_bytes += self._move_shared(position, payload)
                if moved_bytes > SLICE_BYTES:
                    moved_bytes = 0
                    self._engine.wake()
                    yield AwaitDurable(self._journal.next_position)
            if self._engine.blocks.live_bytes_by_segment.get(segment_id):
                return  # what is left was not found in the segment's records: leave it alone

    def _is_wasteful(self) -> bool:
        live = self._engine.blocks.live_bytes_by_segment
        if not live or min(live) >= segment_of(self._journal.next_position) - 1:
            return False
        # What lies in front of the oldest needed block is freed by the next snapshots anyway.
        kept_bytes = sum(info.nbytes for info in self._journal.segments if info.segment_id >= min(live))
        return kept_bytes - self._engine.blocks.live_bytes > self._garbage_bytes_max()

    def _move(self, position: int, payload: memoryview, released: Released) -> int:
        """Append a block again if its queue still needs it here; return its size or 0."""
        engine = self._engine
        kind = payload[0]
        _, level, _, count, number, first, producer, sequence, time_ms = PUBLISHED_HEADER.unpack_from(payload)
        queue = engine.broker.queues.get(number)
        if queue is None:
            return 0
        log: QueueLog | Schedule = queue.log
        if kind in WAITED:
            if queue.schedule is not None and queue.schedule.position_of(first) == position:
                log = queue.schedule
            else:
                first = released.offset_of(number, position)
        if log.position_of(first) != position:
            return 0
        fields = (number, first, count, producer, sequence, level, time_ms, bytes(payload[BLOCK_STARTS[kind] :]))
        if log is queue.schedule:
            position_now = engine.record(ScheduledMoved(*fields, SCHEDULED_HEADER.unpack_from(payload)[9]))
        elif kind in (*WAITED, DUE_MOVED):
            position_now = engine.record(DueMoved(*fields, SCHEDULED_HEADER.unpack_from(payload)[9]))
        else:
            position_now = engine.record(Moved(*fields))
        log.relocate(first, position_now)
        engine.blocks.forget_live(position, len(payload))
        return len(payload)

    def _move_shared(self, position: int, payload: memoryview) -> int:
        """Append a block again for every queue that still needs it here; return its size or 0."""
        engine = self._engine
        stored = decode_shared(payload, with_block=False)
        needed = []
        for number, first in stored.targets:
            queue = engine.broker.queues.get(number)
            if queue is not None and queue.log.position_of(first) == position:
                needed.append((queue, first))
        if not needed:
            return 0
        fact = MovedTo(*decode_shared(payload))._replace(
            targets=tuple((queue.number, first) for queue, first in needed)
        )
        moved_to = engine.record(fact)
        size_bytes = PUBLISHED_HEADER_BYTES + len(fact.block)
        for queue, first in needed:
            queue.log.relocate(first, moved_to)
            if engine.blocks.shared.release(position):
                engine.blocks.forget_live(position, size_bytes)
        return size_bytes


class Released:
    """Where in their logs the blocks of one segment are that were scheduled: their records know no offsets.

    A log that may have some is searched once, in slices.
    """

    def __init__(self, engine: Engine, segment_id: int) -> None:
        self._engine = engine
        self._low, self._end = position_of(segment_id, 0), position_of(segment_id + 1, 0)
        self._offsets: dict[int, dict[int, int]] = {}

    def look(self, payload: memoryview) -> Cycle:
        """Search the log of this record's queue, unless that was done."""
        number = PUBLISHED_HEADER.unpack_from(payload)[4]
        if number in self._offsets:
            return
        offsets = self._offsets[number] = {}
        queue = self._engine.broker.queues.get(number)
        offset = queue.log.start_offset if queue is not None else 0
        while queue is not None and offset < queue.log.next_offset:
            found, offset = queue.log.kept_within(offset, self._low, self._end, LOG_BLOCKS)
            offsets.update(found)
            yield Pause()

    def offset_of(self, number: int, position: int) -> int:
        """The first offset of the block at this position; one that no log has when there was none."""
        return self._offsets[number].get(position, -1)
