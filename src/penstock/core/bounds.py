"""Bounds of a queue: how much it holds that someone still needs, and whether there is room for more (SEMANTICS 15).

    0 ............ max_messages, max_bytes ................ + OVERRUN
      confirmed      backpressure: stored, confirms wait      refused: queue-full
                     reject, drop_newest: not stored
                     drop_oldest: stored, and the oldest leaves

A memory queue has ``memory_bytes_max`` beside them: there it is what is stored that counts, and the answer is always
backpressure. What moves within the broker (redrives, moves) is bound by nothing. Dead letters are always taken; where
the oldest is dropped they push out older ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from penstock.core.group import Group
from penstock.core.queue import Queue
from penstock.core.values import BACKPRESSURE, DROP_NEWEST, REJECT_NEWEST

OVERRUN_MESSAGES: Final = 200_000
OVERRUN_BYTES: Final = 64 * 1024 * 1024
"""What a queue may hold beyond its bound: the windows of the producers whose confirms it holds back. Past it publishes
are refused, or producers that come and go could fill memory and disk (I13)."""
ROOM_UNBOUNDED: Final = 1 << 62


def waiting_count(queue: Queue) -> int:
    """Return how many messages its groups are not done with, counted for each of them."""
    return sum(group.open_count for group in queue.keepers())


def needed_messages(queue: Queue) -> int:
    """Return how many messages some group still needs."""
    groups = queue.keepers() if len(queue.groups) > 1 else (queue.group,)
    return groups[0].open_count if len(groups) == 1 else _union_count(groups, dying=True)


def kept_messages(queue: Queue) -> int:
    """Return how many of those are not on their way to the dead letters."""
    groups = queue.keepers()
    return groups[0].open_count - groups[0].dying_count if len(groups) == 1 else _union_count(groups, dying=False)


def _union_count(groups: Iterable[Group], dying: bool) -> int:
    """Exact, by a walk over all that differs from "untouched": for when ``_needed_at_most`` does not answer."""
    count = reached = 0
    for first, end in sorted(part for group in groups for part in group.open_ranges(dying)):
        if end > reached:
            count += end - max(first, reached)
            reached = end
    return count


def _needed_at_most(queue: Queue, groups: Sequence[Group]) -> int:
    """As many as all need together, or as there are behind the first: at once, for it is asked with every publish."""
    span = queue.log.next_offset - min(group.low_offset for group in groups)
    return min(sum(group.open_count for group in groups), span)


def _needs_more_than(queue: Queue, count: int) -> bool:
    groups = queue.keepers() if len(queue.groups) > 1 else (queue.group,)
    if max(group.open_count for group in groups) > count:
        return True
    return len(groups) > 1 and _needed_at_most(queue, groups) > count and _union_count(groups, dying=True) > count


def needed_bytes(queue: Queue) -> int:
    """Return about how many bytes of blocks ``needed_messages`` is."""
    return _bytes_of(queue, needed_messages(queue))


def _bytes_of(queue: Queue, count: int) -> int:
    """What is stored, by the share of its messages.

    Blocks leave from the front of the log only. One message that stays there long must not fill the queue with what
    was done behind it, and the sizes of single messages are not known (decision 0004).
    """
    log = queue.log
    stored = log.next_offset - log.start_offset
    return log.live_bytes * count // stored if stored else 0


def _count_within(queue: Queue, size_bytes: int) -> int:
    """The largest count of messages for which ``_bytes_of`` is no more than this, of a log that has some bytes."""
    log = queue.log
    return ((size_bytes + 1) * (log.next_offset - log.start_offset) - 1) // log.live_bytes


def is_over(queue: Queue, more_messages: int = 0, more_bytes: int = 0) -> bool:
    """True when a queue that lets producers wait holds more than its bounds and this much beside."""
    settings, stored_bytes = queue.settings, queue.log.live_bytes
    if not settings.durable and stored_bytes > settings.memory_bytes_max + more_bytes:
        return True
    if settings.overflow != BACKPRESSURE:
        return False
    if settings.max_messages and _needs_more_than(queue, settings.max_messages + more_messages):
        return True
    bytes_max = settings.max_bytes + more_bytes
    return bool(
        settings.max_bytes and stored_bytes > bytes_max and _needs_more_than(queue, _count_within(queue, bytes_max))
    )


def is_overrun(queue: Queue) -> bool:
    """True when the queue takes nothing any more, whoever waits."""
    return is_over(queue, OVERRUN_MESSAGES, OVERRUN_BYTES)


def room(queue: Queue, unit_bytes: int, wanted: int = ROOM_UNBOUNDED) -> int:
    """Return how many messages of this size are taken before the bound is reached, where that is its end. Where all
    that are ``wanted`` fit it may be less, but never less than those.
    """
    if queue.settings.overflow not in (REJECT_NEWEST, DROP_NEWEST):
        return ROOM_UNBOUNDED
    if len(queue.groups) > 1:
        found = _room(queue, unit_bytes, _needed_at_most(queue, queue.keepers()))
        if found >= wanted:
            return found
    return _room(queue, unit_bytes, needed_messages(queue))


def _room(queue: Queue, unit_bytes: int, needed: int) -> int:
    settings, found = queue.settings, ROOM_UNBOUNDED
    if settings.max_messages:
        found = settings.max_messages - needed
    if settings.max_bytes:
        found = min(found, (settings.max_bytes - _bytes_of(queue, needed)) // unit_bytes)
    return max(0, found)


def is_full_for(queue: Queue, count: int, size_bytes: int) -> bool:
    """True where this much is refused by whoever can neither wait for room nor store a part: an exchange, for it is
    confirmed for all its queues at once, and a transaction.
    """
    return queue.is_judged and (is_over(queue) or count > room(queue, max(1, size_bytes // count), count))


def excess_messages(queue: Queue) -> int:
    """Return how many messages a queue holds beyond its bounds, without those on their way to the dead letters; none or
    less while it is within them.
    """
    if len(queue.groups) > 1:
        excess = _excess_of(queue, _needed_at_most(queue, queue.keepers()))
        if excess <= 0:
            return excess
    return _excess_of(queue, kept_messages(queue))


def _excess_of(queue: Queue, kept: int) -> int:
    settings = queue.settings
    excess = kept - settings.max_messages if settings.max_messages else 0
    kept_bytes = _bytes_of(queue, kept)
    if 0 < settings.max_bytes < kept_bytes:
        excess = max(excess, -(-(kept_bytes - settings.max_bytes) * kept // kept_bytes))
    return excess
