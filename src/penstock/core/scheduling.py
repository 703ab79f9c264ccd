"""Scheduled messages: publishing them, what becomes of them when they are due, cancelling them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

from penstock.core import publishing
from penstock.core.broker import Broker
from penstock.core.expiring import watch
from penstock.core.facts import (
    Due,
    Scheduled,
    Unscheduled,
)
from penstock.core.fanout import ExchangeRoute
from penstock.core.intake import look_at_bounds
from penstock.core.namespacing import stop_code
from penstock.core.queue import SCHEDULED_MARK, Queue, Stream
from penstock.core.records import SCHEDULED_HEADER_BYTES
from penstock.core.schedule import Entry, Schedule
from penstock.core.session import Session
from penstock.core.storing import Publication, note_asked
from penstock.core.values import OFFSET_UNKNOWN, SCHEDULED, Refused

MOVES_MAX: Final = 2000
"""Entries that become due, or come nearer in the wheel, in one turn: about 5 ms of work. Millions that are due at once
neither hold the loop nor keep others waiting."""


class Part(NamedTuple):
    """Messages ``start`` to ``stop`` (exclusive) of a block, due together; ``block`` holds them alone."""

    start: int
    stop: int
    due_ms: int
    block: bytes


def runs_of(dues_ms: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return (start, stop, due time) of the neighbours that are due together."""
    starts = [index for index, due_ms in enumerate(dues_ms) if not index or due_ms != dues_ms[index - 1]]
    return [(start, stop, dues_ms[start]) for start, stop in zip(starts, [*starts[1:], len(dues_ms)], strict=True)]


def publish(broker: Broker, session: Session, publication: Publication, parts: Sequence[Part], now_ms: int) -> None:
    """Schedule a block, or what ``publishing.publish`` would refuse, refuse; the Confirm goes to ``broker.confirms``.

    Each part becomes an entry of its own; all of them are stored or none (I5). Memory queues take no scheduled messages
    (``unsupported``): they would hold their bounded memory, and the confirms of their producers, for days. Nor do
    queues that deduplicate by message id, for what their window remembers is an offset, nor exchanges, for when it
    is due another queue may be bound.
    """
    queue = publishing.queue_of(broker, session, publication)
    if isinstance(session.routes.get(publication[0]), ExchangeRoute):
        publishing.refuse(broker, session, publication, "unsupported")
        return
    if queue is not None and (queue.dedup is not None or not queue.settings.durable):
        publishing.refuse(broker, session, publication, "unsupported")
        return
    is_new = queue is not None and publication[2] > queue.stream_of(session.producer).last_sequence
    if is_new and queue is not None and not broker.stops_producers and (code := stop_code(queue, now_ms)):
        publishing.refuse(broker, session, publication, code)
        return
    publishing.publish(broker, session, (publication,), now_ms, partial(_store, parts=parts))
    confirm = broker.confirms[-1]
    if confirm.offset != OFFSET_UNKNOWN and confirm.offset & SCHEDULED_MARK:
        broker.confirms[-1] = confirm._replace(status=SCHEDULED, offset=confirm.offset ^ SCHEDULED_MARK)


def _store(
    broker: Broker,
    queue: Queue,
    producer: int,
    stream: Stream,  # noqa: ARG001  a Store's signature
    publication: Publication,
    now_ms: int,
    *,
    parts: Sequence[Part],
) -> int:
    _, level, first_sequence, _, _ = publication
    if queue.schedule is None:
        queue.schedule = Schedule(now_ms)
    schedule = queue.schedule
    first_id = schedule.next_id
    with broker.recorder.together():
        for start, stop, due_ms, block in parts:
            number, count, sequence = first_id + start, stop - start, first_sequence + start
            fact = Scheduled(queue.number, number, count, producer, sequence, level, now_ms, block, due_ms)
            entry = Entry(number, count, due_ms, len(block) + SCHEDULED_HEADER_BYTES, broker.recorder.record(fact))
            broker.apply_scheduled(queue, entry, producer, sequence, now_ms)
        if broker.asks is not None:
            note_asked(broker, queue, first_id, publication[3], first_sequence, now_ms, scheduled=True)
    broker.timers.set(queue.number, schedule)
    return first_id | SCHEDULED_MARK


def release_due(broker: Broker, now_ms: int) -> None:
    """Let what is due into the logs, about MOVES_MAX entries at once; it is visible when that is durable (I3).

    It enters full queues, too: it was confirmed long ago. Where the oldest has to leave for it, it does.
    """
    moves = MOVES_MAX
    while moves > 0 and (timer := broker.timers.pop(now_ms)) is not None:
        timer_ms, number = timer
        queue = broker.queues.get(number)
        schedule = queue.schedule if queue is not None else None
        if queue is None or schedule is None or schedule.timer_ms != timer_ms:
            continue
        schedule.timer_ms = None
        first_ids, moves = schedule.due(now_ms, moves)
        if first_ids:
            with broker.recorder.together():
                broker.emit(queue.durable, Due(number, queue.log.next_offset, schedule.ranges(first_ids)))
                if queue.is_judged:
                    look_at_bounds(broker, queue)
            broker.published_queues[queue] = None
            watch(broker, queue)
        broker.timers.set(number, schedule)


def find_scheduled(queue: Queue, number: int) -> Entry:
    """Return the entry that holds a scheduled message; raises Refused (not-scheduled)."""
    entry = queue.schedule.find(number) if queue.schedule is not None else None
    if entry is None:
        raise Refused(
            "not-scheduled",
            f"queue {queue.name!r} has no scheduled message {number}: it is due or was cancelled, or never was there",
        )
    return entry


def cancel(broker: Broker, queue: Queue, entry: Entry, rest: Sequence[Part], time_ms: int) -> None:
    """Cancel one message of an entry; ``rest`` are its others, as blocks of their own, ``time_ms`` when it came."""
    with broker.recorder.together():
        broker.emit(queue.durable, Unscheduled(queue.number, entry.first_id, entry.end_id, 1))
        for start, stop, due_ms, block in rest:
            first_id = entry.first_id + start
            fact = Scheduled(queue.number, first_id, stop - start, 0, 0, 0, time_ms, block, due_ms)
            size_bytes = len(block) + SCHEDULED_HEADER_BYTES
            broker.apply_scheduled(
                queue, Entry(first_id, stop - start, due_ms, size_bytes, broker.recorder.record(fact))
            )
    assert queue.schedule is not None, "it had an entry"
    broker.timers.set(queue.number, queue.schedule)


def cancel_all(broker: Broker, queue: Queue) -> int:
    """Cancel everything that is scheduled; return how many messages."""
    schedule = queue.schedule
    if schedule is None or not schedule.message_count:
        return 0
    count = schedule.message_count
    broker.emit(queue.durable, Unscheduled(queue.number, 0, schedule.next_id, count))
    return count


def scheduled_count(queue: Queue) -> int:
    """Messages that wait for their time."""
    return queue.schedule.message_count if queue.schedule is not None else 0
