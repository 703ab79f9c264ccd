"""What becomes of messages published into a queue that deduplicates, or rejects or drops what is newest, one by one."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tests.sim.bodies import id_of, uids_of
from tests.sim.state import SCHEDULED_MARK, NotedId, ShadowQueue, Stream
from tests.sim.violation import Violation

from penstock.core.dedup import digest_of
from penstock.core.facts import (
    Discarded,
    Published,
    PublishedTo,
    Scheduled,
)
from penstock.core.values import (
    BACKPRESSURE,
    DROP_NEWEST,
    DROP_OLDEST,
    DROPPED_NEWEST,
    DUPLICATE,
    DUPLICATE_SCHEDULED,
    OFFSET_UNKNOWN,
    REFUSED,
    STORED,
)

if TYPE_CHECKING:
    from tests.sim.shadow import Shadow

Publication = tuple[int, int, int, int, bytes]
Recorded = tuple[int, Published | PublishedTo | Scheduled | Discarded]
STREAM_RUNS_KEPT = 64


class Expected(NamedTuple):
    """What the confirm of a block has to say. ``position`` is its last fact's, -1 where nothing has to be durable."""

    route: int
    status: int
    level: int
    code: str
    first_sequence: int
    message_count: int
    offset: int
    position: int
    kept: bool = True
    """False where no queue took it, and that is no error."""


class Judge:
    """Publishing into one queue for one producer: message by message, in the order of a block."""

    def __init__(self, shadow: Shadow, queue: ShadowQueue, stream: Stream, producer: int, now_ms: int) -> None:
        self._shadow = shadow
        self._queue = queue
        self._stream = stream
        self._producer = producer
        self._now_ms = now_ms
        self._runs: list[Expected] = []

    def judged(self, publication: Publication, level: int, recorded: deque[Recorded]) -> list[Expected]:
        """Return what the confirms have to say: neighbours with one fate share one."""
        route, _, first, _, block = publication
        known, last = self._queue.known_ids(self._now_ms), self._stream.last
        used = last
        room = self._room()
        new: list[int] = []
        for sequence, uid in enumerate(uids_of(block), first):
            message_id = id_of(uid) if self._queue.settings.dedup_window_ms else None
            digest = digest_of(message_id) if message_id else None
            is_full = len(new) >= room
            status, code, offset = self._fate(sequence, known.get(digest) if digest else None, last, is_full)
            if status == DROPPED_NEWEST and sequence > last:
                self._queue.dropped_newest += 1
                self._shadow.producers[self._producer] = self._now_ms
            if status == STORED:
                offset = self._queue.next_offset + len(new)
                new.append(uid)
                if digest:
                    known[digest] = offset
            elif status == DUPLICATE and sequence > last:
                self._stream.offsets[sequence] = offset
                self._shadow.producers[self._producer] = self._now_ms
            used = sequence if sequence > last and status != REFUSED else used
            expected = Expected(route, status, level, code, sequence, 1, offset, self._position_of(status, offset))
            self._add(expected, sequence == last + 1)
        self._settle(recorded, new, uids_of(block), last)
        self._stream.last = used
        return self._runs

    def _room(self) -> int:
        settings = self._queue.settings
        if settings.overflow in (BACKPRESSURE, DROP_OLDEST):
            return 1 << 60
        return max(0, settings.max_messages - len(self._queue.needed()))

    def _fate(self, sequence: int, known_offset: int | None, last: int, is_full: bool) -> tuple[int, str, int]:
        overflowing = (REFUSED, "queue-full", OFFSET_UNKNOWN)
        if self._queue.settings.overflow == DROP_NEWEST:
            overflowing = (DROPPED_NEWEST, "", OFFSET_UNKNOWN)
        if sequence > last and self._shadow.storage_full and self._queue.settings.durable:
            return REFUSED, "disk-full", OFFSET_UNKNOWN
        if known_offset is not None:
            return DUPLICATE, "", known_offset
        if sequence > last:
            return overflowing if is_full else (STORED, "", 0)
        if sequence not in self._stream.offsets and self._queue.settings.overflow == DROP_NEWEST:
            return overflowing
        if sequence not in self._stream.offsets:
            return REFUSED, "sequence-order", OFFSET_UNKNOWN
        offset = self._stream.offsets[sequence]
        if self._stream.breaks_since(sequence) > STREAM_RUNS_KEPT:
            return DUPLICATE, "", OFFSET_UNKNOWN
        return (
            (DUPLICATE_SCHEDULED, "", offset ^ SCHEDULED_MARK) if offset & SCHEDULED_MARK else (DUPLICATE, "", offset)
        )

    def _position_of(self, status: int, offset: int) -> int:
        if status == DUPLICATE_SCHEDULED:
            waiting = self._queue.scheduled.get(offset)
            return waiting.position if waiting else -1
        message = self._queue.stored.get(offset) if status == DUPLICATE else None
        return message.position if message else -1

    def _add(self, one: Expected, begins_unseen: bool) -> None:
        if self._runs and not begins_unseen:
            run = self._runs[-1]
            offset = run.offset if run.offset == OFFSET_UNKNOWN else run.offset + run.message_count
            if (run.status, run.code, offset) == (one.status, one.code, one.offset):
                position = max(run.position, one.position)
                self._runs[-1] = run._replace(message_count=run.message_count + 1, position=position)
                return
        self._runs.append(one)

    def _settle(self, recorded: deque[Recorded], new: list[int], uids: Sequence[int], last: int) -> None:
        """Hold what was recorded against the runs that had to be stored, and give those their positions."""
        first = self._runs[0].first_sequence
        for index, run in enumerate(self._runs):
            if run.status == DROPPED_NEWEST and run.first_sequence > last:
                start = run.first_sequence - first
                self._bury(recorded, uids[start : start + run.message_count])
            if run.status != STORED:
                continue
            if not recorded:
                raise Violation("I1", f"nothing was recorded for {run} of {self._queue.name}")
            position, fact = next_block(recorded)
            wanted = (self._queue.number, run.offset, run.message_count, self._producer, run.first_sequence)
            if fact[:5] != wanted or not isinstance(fact, Published):
                raise Violation("I6", f"recorded {fact[:5]}, it had to be {wanted}")
            stored, new = new[: run.message_count], new[run.message_count :]
            self._shadow.stored(fact, position, stored)
            self._note(stored, run.offset)
            self._runs[index] = run._replace(position=position)

    def _bury(self, recorded: deque[Recorded], uids: Sequence[int]) -> None:
        """What was dropped is in the dead letters, in order, where the queue says so."""
        queue = self._queue
        if queue.settings.overflow_dead_letter and queue.dead_letter_name != queue.name:
            left = tuple(uids)
            while left:
                position, fact = next_block(recorded)
                target = self._shadow.names.get(queue.dead_letter_name)
                buried, left = left[: fact.message_count], left[fact.message_count :]
                into = self._shadow.queues.get(fact.queue)
                if target is None or (fact.producer, into, uids_of(fact.block)) != (0, target, buried):
                    raise Violation("I14", f"{fact[:7]} of {uids_of(fact.block)}, it had to bury {buried}")
                self._shadow.stored(fact, position, buried)

    def _note(self, uids: list[int], first: int) -> None:
        for offset, uid in enumerate(uids, first):
            message_id = id_of(uid)
            if message_id and self._queue.settings.dedup_window_ms:
                self._queue.ids.append(NotedId(digest_of(message_id), offset, self._now_ms))


def next_block(recorded: deque[Recorded]) -> tuple[int, Published]:
    """Take the next block that was recorded, where there has to be one."""
    position, fact = recorded.popleft()
    if not isinstance(fact, Published):
        raise Violation("I13", f"{fact} came before what made it necessary was stored")
    return position, fact
