"""The shadow's schedules: what waits, message by message, and what may become of it (SEMANTICS 8)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tests.sim.bodies import uids_of
from tests.sim.state import SCHEDULED_MARK, Block, ShadowQueue, Stored, Stream, Waiting
from tests.sim.terms import asked_in
from tests.sim.violation import Violation

from penstock.core.facts import (
    Due,
    Scheduled,
    Unscheduled,
)
from penstock.core.records import SCHEDULED_HEADER_BYTES, encode
from penstock.core.values import DROP_OLDEST
from penstock.storage.format import LENGTH_BYTES
from penstock_client.wire import blocks

if TYPE_CHECKING:
    from tests.sim.shadow import Shadow

_YEARS_10_MS = 10 * 366 * 86_400_000


def dues_of(block: bytes, now_ms: int) -> list[int] | None:
    """When each message of a block is due, as its producer asked; None where it asked what makes no sense."""
    dues = []
    for asked in blocks.decode_properties(block) or ():
        delay, time = (asked or {}).get("delay_ms", 0), (asked or {}).get("deliver_at_ms", now_ms)
        if not isinstance(delay, int) or not 0 <= delay <= _YEARS_10_MS or not _makes_sense(asked or {}):
            return None
        dues.append(max(time, now_ms + delay))
    return dues


def _makes_sense(asked: dict[str, Any]) -> bool:
    ttl_ms, priority = asked.get("ttl_ms", 1), asked.get("priority", 0)
    return ttl_ms in range(1, _YEARS_10_MS + 1) and priority in range(256)


def check_parts(parts: Sequence[tuple[int, Scheduled]], dues: Sequence[int], first_id: int) -> None:
    """What was recorded of one block: its messages in order, at the times they asked for, in one batch (I5)."""
    ids = [fact.first + index for _, fact in parts for index in range(fact.message_count)]
    times = [fact.due_ms for _, fact in parts for _ in range(fact.message_count)]
    if ids != list(range(first_id, first_id + len(dues))) or times != list(dues):
        raise Violation("I6", f"{[fact[:5] for _, fact in parts]} recorded for {dues} from id {first_id} on")
    for (position, fact), (following, _) in itertools.pairwise(parts):
        if following != position + SCHEDULED_HEADER_BYTES + len(fact.block) + LENGTH_BYTES:
            raise Violation("I5", f"{fact[:5]} and what follows of its block are in different batches")


def scheduled(queue: ShadowQueue, fact: Scheduled, position: int, uids: Sequence[int]) -> None:
    """A block waits."""
    if len(uids) != fact.message_count:
        raise Violation("I6", f"a block of {len(uids)} messages recorded as {fact.message_count}")
    size_bytes = len(fact.block) + SCHEDULED_HEADER_BYTES
    unit_bytes = max(1, (len(fact.block) + 8) // fact.message_count)
    asked = asked_in(fact.block, len(uids), queue.settings)
    for index, uid in enumerate(uids):
        number = fact.first + index
        if number in queue.scheduled:
            raise Violation("I6", f"schedule id {number} of {queue.name} is used twice")
        queue.scheduled[number] = Waiting(uid, fact.due_ms, position, fact.first, size_bytes, unit_bytes, asked[index])
    queue.next_id = max(queue.next_id, fact.first + fact.message_count)
    if fact.producer:
        stream = queue.streams.setdefault(fact.producer, Stream())
        stream.last = fact.first_sequence + fact.message_count - 1
        for index in range(fact.message_count):
            stream.offsets[fact.first_sequence + index] = (fact.first + index) | SCHEDULED_MARK


def due(queue: ShadowQueue, fact: Due, position: int, now_ms: int | None) -> dict[int, int]:
    """Messages enter the log; return which message is at which offset."""
    if fact.first != queue.next_offset:
        raise Violation("I6", f"queue {queue.name}: {fact}, the next offset is {queue.next_offset}")
    placed: dict[int, int] = {}
    for first, end in fact.ranges:
        for number in range(first, end):
            waiting = queue.scheduled.pop(number, None)
            if waiting is None:
                raise Violation("I6", f"{fact}: {number} does not wait: it is released twice, or was cancelled")
            if now_ms is not None and waiting.due_ms > now_ms:
                raise Violation("I11", f"{fact}: {number} is due at {waiting.due_ms}, now is {now_ms}")
            offset = queue.next_offset
            if number == waiting.entry:
                queue.blocks.append(Block(offset, offset, waiting.entry_bytes))
            queue.blocks[-1].end = queue.next_offset = offset + 1
            block_first = queue.blocks[-1].first
            queue.newest_ms = max(queue.newest_ms, waiting.due_ms)
            # What is due is bound by nothing, but where it makes the oldest leave.
            queue.filled_otherwise = queue.filled_otherwise or queue.settings.overflow != DROP_OLDEST
            terms = (waiting.asked.over_ms(queue.settings, waiting.due_ms), waiting.asked.priority)
            one = Stored(waiting.uid, offset, waiting.unit_bytes, block_first, position, queue.newest_ms, *terms)
            stored = queue.stored[offset] = one
            for group in queue.groups.values():
                group.add(stored)
            queue.released += 1
            placed[offset] = waiting.uid
    return placed


def unscheduled(queue: ShadowQueue, fact: Unscheduled) -> dict[int, Waiting]:
    """Entries left the schedule; return their messages."""
    gone = {number: one for number, one in queue.scheduled.items() if fact.first <= one.entry < fact.end}
    for number in gone:
        del queue.scheduled[number]
    queue.unscheduled += fact.cancelled
    return gone


def check_counts(queue: ShadowQueue) -> None:
    """Every id that was given is in one state (I12)."""
    if queue.next_id - 1 != len(queue.scheduled) + queue.released + queue.unscheduled:
        raise Violation(
            "I12",
            f"{queue.name}: {queue.next_id - 1} were scheduled, {len(queue.scheduled)} wait, {queue.released} were"
            f" released, {queue.unscheduled} cancelled",
        )


class Cuts:
    """Listens to what leaves schedules: by time, or because someone asked for it, whole or cut out of its block."""

    def __init__(self, shadow: Shadow, clock_ms: Callable[[], int]) -> None:
        self.purging = False
        """True while a purge that takes scheduled messages too is under way."""
        self.asked: set[tuple[int, int]] = set()
        """(queue number, schedule id) of what someone asked to cancel."""
        self._shadow = shadow
        self._clock_ms = clock_ms
        self._left: dict[int, Waiting] = {}
        """What is left to account for of an entry of which one message was cancelled."""
        self._fact: Unscheduled | None = None
        self._end = -1

    def note(self, fact: Scheduled | Due | Unscheduled, position: int) -> None:
        """Take a fact that no client's publish made."""
        queue = self._shadow.queues[fact.queue]
        if isinstance(fact, Due):
            due(queue, fact, position, self._clock_ms())
        elif isinstance(fact, Unscheduled):
            gone = unscheduled(queue, fact)
            if self.purging or len(gone) == 1:
                self._check_cancelled(fact, gone)
            else:
                self._left, self._fact, self._end = gone, fact, position + len(encode(fact))
        else:
            self._again(queue, fact, position)

    def check(self, next_due_ms: int | None) -> None:
        """After a turn: all is accounted for; if no other turn is wanted at once, nothing that is due waits (I20)."""
        if self._left:
            raise Violation("I14", f"{self._fact} and nothing became of {list(self._left)}")
        now_ms = self._clock_ms()
        if next_due_ms is None or next_due_ms > now_ms:
            for queue in self._shadow.queues.values():
                late = [number for number, waiting in queue.scheduled.items() if waiting.due_ms <= now_ms]
                if late:
                    raise Violation("I20", f"{queue.name} {late} are due and still wait")

    def _again(self, queue: ShadowQueue, fact: Scheduled, position: int) -> None:
        """What a cancel leaves of an entry waits on, in the same batch."""
        if position != self._end + LENGTH_BYTES:
            raise Violation("I14", f"{fact[:5]} is in another batch than {self._fact}")
        scheduled(queue, fact, position, uids_of(fact.block))
        self._end = position + SCHEDULED_HEADER_BYTES + len(fact.block)
        for number in range(fact.first, fact.first + fact.message_count):
            before, now = self._left.pop(number, None), queue.scheduled[number]
            if before is None or (before.uid, before.due_ms) != (now.uid, now.due_ms):
                raise Violation("I6", f"{now} waits again as {number}, where {before} waited")
        if len(self._left) == 1 and self._fact is not None:
            self._check_cancelled(self._fact, self._left)
            self._left = {}

    def _check_cancelled(self, fact: Unscheduled, gone: dict[int, Waiting]) -> None:
        """Only what was asked for is cancelled."""
        if fact.cancelled != len(gone):
            raise Violation("I12", f"{fact} counts {fact.cancelled}, {list(gone)} are gone")
        unasked = [] if self.purging else [number for number in gone if (fact.queue, number) not in self.asked]
        if unasked:
            raise Violation("I1", f"{fact} and no one asked for {unasked}")
