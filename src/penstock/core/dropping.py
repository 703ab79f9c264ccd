"""Dropping from the front of a queue: the oldest where it is above its bound, and what is too old.

What is with a consumer of any group is never dropped, nor for a group where it is dead: on its way to the dead letters,
or kept in its place (SEMANTICS 15). Everything else is, wherever it waits, for every group that still needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush, nsmallest
from operator import itemgetter
from typing import Final

from penstock.core.ages import Ages
from penstock.core.bounds import excess_messages
from penstock.core.broker import Broker
from penstock.core.facts import Discarded
from penstock.core.group import Group
from penstock.core.overflow import dead_letter_queue
from penstock.core.queue import Queue
from penstock.core.ranges import OffsetRange, RangeSet
from penstock.core.storing import append_internal
from penstock.core.values import DROP_OLDEST, DROPPED

LOOKED_THROUGH_MAX: Final = 1_000
"""Ranges of waiting messages that are looked through to drop one, about 0.5 ms. A hundred thousand, of a downstream
that is gone, are looked through for a hundred at once: so much is the queue above its bound then."""
RECHECK_MS: Final = 1_000
"""What is too old and leased is looked at again after this: it may have been given back."""


def drop_oldest(broker: Broker, queue: Queue) -> None:
    """Bring a queue back to its bound, as far as what is leased lets it; a little later where that takes long.

    Where that goes to the dead letters, it is left to whoever has the blocks: see ``next_to_set_aside``.
    """
    count = excess_messages(queue)
    if count > 0 and _sets_aside(queue):
        broker.overfull_queues[queue] = None
    elif count > 0 and count * LOOKED_THROUGH_MAX >= sum(group.waiting_range_count for group in queue.groups.values()):
        _drop(broker, queue, count, queue.log.next_offset)


def bound_dead_letters(broker: Broker, target: Queue) -> None:
    """A dead letter came in: where the oldest is dropped it has to make room. Anywhere else it is kept above the bound,
    for nothing may be lost that no one asked to lose; the queue's alarm says so.
    """
    if target.settings.overflow == DROP_OLDEST:
        drop_oldest(broker, target)


def _sets_aside(queue: Queue) -> bool:
    return queue.settings.overflow_dead_letter and queue.dead_letter_name != queue.name


def next_to_set_aside(queue: Queue, count_max: int) -> list[int]:
    """Return the first messages that the queue must not keep and that nobody holds, at most so many."""
    groups = queue.keepers()
    picked = _pick(groups, count_max, queue.ages.aged_offset) if queue.ages is not None else []
    excess = excess_messages(queue) if queue.settings.overflow == DROP_OLDEST else 0
    if excess > sum(end - first for first, end in picked):
        picked = _pick(groups, min(excess, count_max), queue.log.next_offset)
    return [offset for first, end in picked for offset in range(first, end)]


def take_aside(queue: Queue, offsets: Sequence[int]) -> list[tuple[Group, int]]:
    """Take those of these messages that nobody holds by now, from every group; the caller sets them aside at once."""
    ranges = [(offset, offset + 1) for offset in offsets]
    taken = [(group, part) for group in queue.keepers() for part in group.take_waiting(ranges)]
    singles = [(group, offset) for group, (first, end) in taken for offset in range(first, end)]
    return sorted(singles, key=itemgetter(1))


def set_aside(broker: Broker, group: Group, offset: int, block: bytes, now_ms: int) -> None:
    """Move a message that was taken to the dead letters: its copy and its end are in one batch (I14).

    ``block`` is the message alone with its provenance already in its properties.
    """
    queue = group.queue
    target = dead_letter_queue(broker, queue, now_ms, queues_max=0)
    with broker.recorder.together():
        append_internal(broker, target, block, now_ms)
        broker.emit(group.durable, Discarded(queue.number, group.number, DROPPED, ((offset, offset + 1),)))
        bound_dead_letters(broker, target)
    broker.ready_groups[group] = None


def drop_aged(broker: Broker, now_ms: int) -> None:
    """Drop what is too old by now, in every queue where something is."""
    queues, broker.aging_queues = broker.aging_queues, {}
    for queue in queues:
        if queue.deleted or queue.ages is None:
            continue
        if queue.low_offset < queue.ages.aged_offset:  # a group is gone
            _drop_aged(broker, queue, queue.ages, now_ms)
        else:
            _watch(broker, queue, queue.ages)
    while broker.age_deadlines and broker.age_deadlines[0][0] <= now_ms:
        _, number, is_recheck = heappop(broker.age_deadlines)
        found = broker.queues.get(number)
        if found is not None and found.ages is not None:
            if is_recheck:
                found.ages.is_rechecked = False
            else:
                found.ages.is_watched = False
            _drop_aged(broker, found, found.ages, now_ms)


def _drop_aged(broker: Broker, queue: Queue, ages: Ages, now_ms: int) -> None:
    aged_offset = ages.age(now_ms, queue.log.next_offset)
    if _sets_aside(queue):
        broker.overfull_queues[queue] = None
    else:
        _drop(broker, queue, queue.log.next_offset, aged_offset)
    if not ages.is_rechecked and any(_first_kept(group) < aged_offset for group in queue.keepers()):
        ages.is_rechecked = True
        heappush(broker.age_deadlines, (now_ms + RECHECK_MS, queue.number, True))
    _watch(broker, queue, ages)


def _watch(broker: Broker, queue: Queue, ages: Ages) -> None:
    """Have a queue looked at when its oldest messages are too old."""
    if not ages.is_watched and (due_ms := ages.next_due_ms()) is not None:
        ages.is_watched = True
        heappush(broker.age_deadlines, (due_ms, queue.number, False))


def _first_kept(group: Group) -> int:
    """The first message that a group is not done with and that is not dead; the end of the log when there is none."""
    return min(next((run.first for run in group.outstanding if not run.dying), group.next_offset), group.next_offset)


def _drop(broker: Broker, queue: Queue, count_max: int, below: int) -> None:
    """Drop up to ``count_max`` messages in front of offset ``below``."""
    groups = queue.keepers()
    picked = _pick(groups, count_max, below)
    for group in groups:
        taken = tuple(group.take_waiting(picked))
        if taken:
            broker.emit(group.durable, Discarded(queue.number, group.number, DROPPED, taken))
            broker.ready_groups[group] = None


def _pick(groups: Sequence[Group], count_max: int, below: int) -> list[OffsetRange]:
    """The first messages, in order, that wait in some group and are with a consumer of none."""
    if len(groups) == 1:
        return _pick_of_one(groups[0], count_max, below)
    loose, held = RangeSet(), RangeSet()
    for group in groups:
        waiting = RangeSet(group.loose_ranges())
        for first, end in waiting:
            loose.add(first, end)
        for run in group.outstanding if len(groups) > 1 else ():
            for first, end in () if run.dying else waiting.gaps(run.first, run.end):
                held.add(first, end)
    picked: list[OffsetRange] = []
    for first, end in loose:
        for start, stop in held.gaps(first, min(end, below)):
            stop = min(stop, start + count_max)  # noqa: PLW2901
            if start < stop:
                picked.append((start, stop))
                count_max -= stop - start
    return picked


def _pick_of_one(group: Group, count_max: int, below: int) -> list[OffsetRange]:
    """The same for a group that is alone: what waits is with nobody, and its ranges do not overlap."""
    waiting = [part for part in group.loose_ranges() if part[0] < below]
    picked: list[OffsetRange] = []
    for first, end in nsmallest(count_max, waiting) if count_max < len(waiting) // 8 else sorted(waiting):
        stop = min(end, below, first + count_max)
        picked.append((first, stop))
        count_max -= stop - first
        if not count_max:
            break
    return picked
