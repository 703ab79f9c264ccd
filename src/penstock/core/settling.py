"""Settling: what becomes of leased messages, by their holder's word, by time, or by the loss of its connection."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.core import namespacing
from penstock.core.asks import NOTHING, Ask
from penstock.core.breaker import Breaker
from penstock.core.broker import Broker, Dying
from penstock.core.dropping import bound_dead_letters
from penstock.core.facts import (
    Acked,
    Dead,
    Discarded,
    Failed,
    Held,
    Resumed,
)
from penstock.core.group import Group
from penstock.core.lifetimes import end_with_session
from penstock.core.overflow import dead_letter_queue
from penstock.core.queue import Queue
from penstock.core.ranges import OffsetRange
from penstock.core.session import Session, Taken
from penstock.core.storing import append_internal
from penstock.core.values import (
    ACK,
    CANCELLED,
    ELSEWHERE,
    EXTEND,
    HOLD_MS_MAX,
    NACK,
    NO_DELAY,
    REJECT,
    RELEASE,
    REQUEUE,
    STARTED,
    Failure,
    backoff_ms,
)

TagRange = tuple[int, int]
"""(first tag, last tag), both included."""


def settle(
    broker: Broker,
    session: Session,
    outcome: int,
    ranges: Iterable[TagRange],
    duration_ms: int,
    reason: str,
    now_ms: int,
) -> list[TagRange]:
    """Apply an outcome to the deliveries of these tags; return the ranges that named any the session does not hold."""
    stale: list[TagRange] = []
    taken: list[Taken] = []
    if outcome == STARTED:
        session.marks_started = True  # also without ranges: that says only that this session marks what it starts
    for first_tag, last_tag in ranges:
        wanted = last_tag + 1 - first_tag
        if outcome == EXTEND:
            held = session.extend(first_tag, last_tag + 1, now_ms + min(duration_ms, HOLD_MS_MAX))
        elif outcome == STARTED:
            held = session.mark_started(first_tag, last_tag + 1)
        else:
            ended = session.take(first_tag, last_tag + 1)
            held = sum(part.end - part.first for part in ended)
            taken += ended
        if held != wanted:
            stale.append((first_tag, last_tag))
    if outcome == ACK:
        acknowledge(broker, taken)
    elif outcome == RELEASE:
        _release(broker, taken, now_ms + min(duration_ms, HOLD_MS_MAX) if duration_ms else 0)
    elif outcome == REQUEUE:
        _requeue(broker, taken)
    elif outcome in (NACK, REJECT):
        for part in taken:
            _fail(broker, part, reason, duration_ms, outcome == REJECT, now_ms)
    return stale


def expire_leases(broker: Broker, now_ms: int) -> None:
    """End the leases whose deadline has passed. Only what was started counts as failed (SEMANTICS 2)."""
    for lease in broker.deadlines.pop_due(now_ms):
        session = lease.consumer.session
        taken = session.take(lease.first_tag, lease.first_tag + lease.count)
        lease.count = 0
        _lose(broker, session, taken, "the lease expired", now_ms)


def close_session(broker: Broker, session: Session, lost: bool, now_ms: int) -> None:
    """The connection is gone: its leases return at once, each to its own place. After a clean close none counts."""
    taken = session.take_all()
    groups = dict.fromkeys(consumer.group for consumer in session.consumers.values())
    for consumer in session.consumers.values():
        consumer.group.remove_consumer(consumer)
        broker.ready_groups[consumer.group] = None
    session.consumers.clear()
    del broker.sessions[session.number]
    namespacing.leave(broker, session)
    if lost:
        _lose(broker, session, taken, "the connection was lost", now_ms)
    else:
        _release(broker, taken)
    end_with_session(broker, session, groups)


def release_unstarted(broker: Broker, session: Session, consumer_number: int) -> None:
    """Hand back what a cancelled consumer was given and has not begun."""
    tags = [
        (lease.first_tag, lease.first_tag + lease.count)
        for lease in session.leases
        if lease.consumer.number == consumer_number and not lease.started
    ]
    for first_tag, end_tag in tags:
        _release(broker, session.take(first_tag, end_tag))


def bury(broker: Broker, dying: Dying, block: bytes, now_ms: int, queues_max: int) -> None:
    """Move a dying message to its dead-letter queue: the copy and the end of the original are in one batch (I14).

    ``block`` is the message alone with its provenance already in its properties.
    """
    group, offset = dying
    queue = group.queue
    target = dead_letter_queue(broker, queue, now_ms, queues_max)
    group.dying_count -= 1
    broker.ready_groups[group] = None
    with broker.recorder.together():
        target_offset = append_internal(broker, target, block, now_ms)
        place = (queue.number, group.number, offset, target.number, target_offset)
        if group.settings.on_dead == "hold" and group.outstanding.holding_keys(offset, offset + 1):
            broker.emit(group.durable, Held(*place))
            target.markers[target_offset] = (group, offset)
        else:
            broker.emit(group.durable, Dead(*place))
        bound_dead_letters(broker, target)


def resume(broker: Broker, session: Session, tag: int, marker_queue: Queue, marker_offset: int) -> bool:
    """Have the message tried again that a leased marker stands for: in its own place, for its group.

    False when the session does not hold the marker any more.
    """
    taken = session.take(tag, tag + 1)
    if taken:
        with broker.recorder.together():
            resume_held(broker, marker_queue, marker_offset)
            acknowledge(broker, taken)
    return bool(taken)


def resume_held(broker: Broker, marker_queue: Queue, marker_offset: int) -> Group:
    """Make ready again what a marker stands for; return its group. The marker has to end in the same batch (I14)."""
    group, offset = marker_queue.markers.pop(marker_offset)
    broker.emit(group.durable, Resumed(group.queue.number, group.number, offset))
    group.give_back(offset, offset + 1)
    broker.look_again(group, offset, offset + 1)
    broker.ready_groups[group] = None
    return group


def skip_orphans(broker: Broker) -> None:
    """Removing a marker skips its message: what is held lets those behind it go on (SEMANTICS 12)."""
    orphans, broker.orphans = broker.orphans, []
    for group, offset in orphans:
        if not group.deleted and offset in group.held:
            discard(broker, group, offset, CANCELLED)


def move(
    broker: Broker, session: Session, tag: int, target: Group, block: bytes, now_ms: int, ask: Ask = NOTHING
) -> bool:
    """Move a leased message of an internal session to another queue, for one of its groups alone, atomically: redrive.

    It gets there what it asked for at first, its time to live anew.

    False when the session does not hold it any more: then it must not be copied either (I14).
    """
    taken = session.take(tag, tag + 1)
    if taken:
        with broker.recorder.together():
            append_for(broker, target, block, now_ms, ask)
            acknowledge(broker, taken)
    return bool(taken)


def append_for(broker: Broker, target: Group, block: bytes, now_ms: int, ask: Ask = NOTHING) -> int:
    """Append a message for one group alone; return its offset. The caller has it all in one batch (I14)."""
    offset = append_internal(broker, target.queue, block, now_ms, asks=(ask,))
    for group in target.queue.keepers():
        if group is not target:
            discard(broker, group, offset, ELSEWHERE)
    return offset


def discard(broker: Broker, group: Group, offset: int, reason: int) -> None:
    """Have a group be done with a message unprocessed; whoever may hand it out has it no more."""
    broker.emit(group.durable, Discarded(group.queue.number, group.number, reason, ((offset, offset + 1),)))
    broker.ready_groups[group] = None


def acknowledge(broker: Broker, taken: list[Taken]) -> None:
    """What was taken from its holders is done."""
    if len(taken) == 1:
        consumer, first, end = taken[0][:3]
        _emit_acked(broker, consumer.group, ((first, end),))
        return
    by_group: dict[Group, list[OffsetRange]] = {}
    for part in taken:
        ranges = by_group.setdefault(part.consumer.group, [])
        if ranges and ranges[-1][1] == part.first:
            ranges[-1] = (ranges[-1][0], part.end)
        else:
            ranges.append((part.first, part.end))
    for group, ranges in by_group.items():
        _emit_acked(broker, group, tuple(ranges))


def _emit_acked(broker: Broker, group: Group, ranges: tuple[OffsetRange, ...]) -> None:
    broker.emit(group.durable, Acked(group.queue.number, group.number, ranges))
    broker.ready_groups[group] = None


def _release(broker: Broker, taken: list[Taken], due_ms: int = 0) -> None:
    for part in taken:
        group = part.consumer.group
        if group.breaker is not None:
            group.breaker.given_back(part.first, part.end)
        if due_ms:
            group.delay(part.first, part.end, due_ms)
            broker.delayed_groups[group] = None
        else:
            group.give_back(part.first, part.end)
        _came_back(broker, group, part)


def _came_back(broker: Broker, group: Group, part: Taken) -> None:
    broker.ready_groups[group] = None
    if group.queue.terms is not None:
        broker.look_again(group, part.first, part.end)


def _requeue(broker: Broker, taken: list[Taken]) -> None:
    """Behind everything that is in the queue now. Only a shared group may change its order (SEMANTICS 10)."""
    for part in taken:
        group = part.consumer.group
        if group.settings.mode == "shared":
            if group.breaker is not None:
                group.breaker.given_back(part.first, part.end)
            group.put_at_tail(part.first, part.end)
            _came_back(broker, group, part)
        else:
            _release(broker, [part])


def take_back(broker: Broker, taken: list[Taken], reason: str | None, now_ms: int) -> None:
    """Leases were taken away: the messages go back to their places, or with a reason count a failure."""
    for part in taken:
        if reason is None:
            _release(broker, [part])
        else:
            _fail(broker, part, reason, NO_DELAY, False, now_ms)


def _lose(broker: Broker, session: Session, taken: list[Taken], reason: str, now_ms: int) -> None:
    for part in taken:
        if session.counts_as_failed(part.started):
            _fail(broker, part, reason, NO_DELAY, False, now_ms)
        else:
            _release(broker, [part])


def _fail(broker: Broker, part: Taken, reason: str, delay_ms: int, rejected: bool, now_ms: int) -> None:
    group = part.consumer.group
    queue = group.queue
    settings = queue.settings
    failures = part.failures + 1
    limit_reached = rejected or 0 < settings.max_failures <= failures
    dying = limit_reached and queue.dead_letter_name != queue.name
    wait_ms = backoff_ms(settings, failures, part.first) if delay_ms == NO_DELAY else min(delay_ms, HOLD_MS_MAX)
    due_ms = 0 if dying else now_ms + wait_ms
    failure = Failure(now_ms, part.attempts, part.consumer.name, reason, part.leased_at_ms)
    broker.emit(group.durable, Failed(queue.number, group.number, part.first, part.end, due_ms, dying, failure))
    if group.breaker is not None:
        _tell_breaker(broker, group, group.breaker, part, rejected, now_ms)
    if dying:
        group.dying_count += part.end - part.first
        broker.dying += [Dying(group, offset) for offset in range(part.first, part.end)]
    elif wait_ms:
        group.delay(part.first, part.end, due_ms)
        broker.delayed_groups[group] = None
    else:
        group.give_back(part.first, part.end)
    _came_back(broker, group, part)


def _tell_breaker(broker: Broker, group: Group, breaker: Breaker, part: Taken, rejected: bool, now_ms: int) -> None:
    """A rejected message says that it is bad, not that nothing works."""
    if rejected:
        breaker.given_back(part.first, part.end)
    elif group.trips(part.first, part.end, now_ms):
        broker.tripped_groups[group] = None
