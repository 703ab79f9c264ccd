"""Expiry: letting go of messages whose time is over, in every group for itself, a slice a turn.

A message is looked at when its time comes, and again when it comes back from a consumer after that
(``Broker.look_again``); so are a group's messages when the group comes to be, and a queue's after a restart. Each
group's part is one fact: Discarded, or where the queue says ``on_expired="dead-letter"`` Expired, which makes them
dying as failed ones are: their copies follow (I14). What a filtered group does not want is no dead letter of it: there,
what its selector has not looked at yet expires when that has let it through.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final

from penstock.core.broker import Broker, Dying, Overdue
from penstock.core.facts import Discarded, Expired
from penstock.core.group import Group
from penstock.core.queue import Queue
from penstock.core.ranges import OffsetRange
from penstock.core.values import DEAD_LETTER, EXPIRED

MOVES_MAX: Final = 1000
"""Ranges of messages that become due, or come nearer in the wheel, in one turn: some 8 ms of work. Millions that are
due at once neither hold the loop nor keep others waiting."""
DYING_MAX: Final = 1000
"""Messages of one group on their way to the dead letters by expiry: the next ones wait until these are buried, for each
of them is an object."""


def watch(broker: Broker, queue: Queue) -> None:
    """The terms of a queue's messages changed: look at it in time."""
    if queue.terms is not None:
        queue.terms.wake()
        broker.expirations.set(queue.number, queue.terms)


def look_through(broker: Broker, queue: Queue) -> None:
    """Groups came or went: what is due in those that remain may not have been let go of."""
    for group in queue.keepers():
        broker.look_again(group, group.low_offset, queue.log.next_offset)


def expire(broker: Broker, now_ms: int) -> bool:
    """Let go of what is due, a slice of it; True when there is more that need not wait."""
    in_time = _is_full(broker) or _take_due(broker, now_ms)
    looks, waiting = MOVES_MAX, deque[Overdue]()
    found: dict[Group, list[OffsetRange]] = {}
    while broker.overdue and looks > 0:
        one = broker.overdue.popleft()
        terms = one.group.queue.terms
        if one.group.deleted or one.group.queue.deleted or terms is None:
            continue
        if one.group.dying_count >= DYING_MAX:
            waiting.append(one)
            continue
        first = max(one.first, one.group.low_offset)
        due = list(islice(terms.due_within(first, one.end, now_ms), looks))
        if len(due) == looks:
            broker.overdue.appendleft(one._replace(first=due[-1][1]))
        looks -= len(due) + 1
        found.setdefault(one.group, []).extend(due)
    more = bool(broker.overdue) or not in_time
    broker.overdue += waiting
    for group, ranges in found.items():
        _let_go(broker, group, sorted(set(ranges)))
    return more


def next_ms(broker: Broker) -> int | None:
    """When something will be due; None while what is due waits for burials."""
    return None if _is_full(broker) else broker.expirations.next_ms()


def _is_full(broker: Broker) -> bool:
    return len(broker.overdue) >= MOVES_MAX


def _take_due(broker: Broker, now_ms: int) -> bool:
    """Note what became due; False when there is more."""
    moves = MOVES_MAX
    while moves > 0:
        timer = broker.expirations.pop(now_ms)
        if timer is None:
            return True
        timer_ms, number = timer
        queue = broker.queues.get(number)
        if queue is None or queue.terms is None or queue.terms.timer_ms != timer_ms:
            continue
        queue.terms.timer_ms = None
        ranges, moves = queue.terms.take_due(now_ms, moves)
        broker.overdue += [Overdue(group, *one) for group in queue.keepers() for one in ranges]
        broker.expirations.set(number, queue.terms)
    return False


def _let_go(broker: Broker, group: Group, ranges: Sequence[OffsetRange]) -> None:
    """The time of these messages is over, for those of them that are a group's and that nobody holds."""
    queue = group.queue
    moves_on = queue.settings.on_expired == DEAD_LETTER and queue.dead_letter_name != queue.name
    if moves_on:
        ranges = _cut(broker, group, ranges)
    sieve = group.sieve if moves_on else None
    gone = tuple(group.take_waiting(ranges, None if sieve is None else sieve.until))
    if not gone:
        return
    if moves_on:
        broker.emit(group.durable, Expired(queue.number, group.number, gone))
        offsets = [offset for first, end in gone for offset in range(first, end)]
        group.dying_count += len(offsets)
        broker.dying += [Dying(group, offset) for offset in offsets]
    else:
        broker.emit(group.durable, Discarded(queue.number, group.number, EXPIRED, gone))
    broker.ready_groups[group] = None


def _cut(broker: Broker, group: Group, ranges: Sequence[OffsetRange]) -> list[OffsetRange]:
    """Return as many as may be dying at once; the others are looked at later."""
    room = DYING_MAX - group.dying_count
    taken: list[OffsetRange] = []
    for first, end in ranges:
        stop = min(end, first + max(0, room))
        if first < stop:
            taken.append((first, stop))
        if stop < end:
            broker.overdue.append(Overdue(group, stop, end))
        room -= stop - first
    return taken
