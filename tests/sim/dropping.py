"""What may be dropped from the front of a queue, and what must not (I13, SEMANTICS 15)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from tests.sim.judge import Recorded
from tests.sim.state import Place, ShadowGroup, ShadowQueue
from tests.sim.violation import Violation

from penstock.core.ages import Ages
from penstock.core.dropping import RECHECK_MS
from penstock.core.facts import Discarded
from penstock.core.values import BACKPRESSURE, DROP_NEWEST, DROP_OLDEST, REJECT_NEWEST

if TYPE_CHECKING:
    from tests.sim.shadow import Shadow

_DEAD = (Place.DYING, Place.HELD)
_STAYS = (Place.LEASED, *_DEAD)


def is_full_for(queue: ShadowQueue, count: int) -> bool:
    """True when so many messages that come through an exchange are refused for this queue."""
    settings, needed = queue.settings, len(queue.needed())
    if settings.overflow in (REJECT_NEWEST, DROP_NEWEST):
        return 0 < settings.max_messages < needed + count
    return settings.overflow == BACKPRESSURE and 0 < settings.max_messages < needed


def check_dropped(shadow: Shadow, recorded: deque[Recorded], now_ms: int) -> None:
    """After a block was stored: what was dropped for it was the oldest, and no more than had to be."""
    while recorded and isinstance(recorded[0][1], Discarded):
        fact = recorded.popleft()[1]
        assert isinstance(fact, Discarded)
        queue = shadow.queues[fact.queue]
        if queue.settings.overflow != DROP_OLDEST:
            raise Violation("I13", f"{fact} of {queue.name}, which drops nothing")
        if len(_kept(queue)) <= queue.settings.max_messages and len(queue.keepers()) < 2:
            raise Violation("I13", f"{fact} of {queue.name}, which has room")
        shadow.discarded(fact, now_ms)
        if not queue.settings.durable:
            shadow.memory_bytes[queue.number] = sum(block.size_bytes for block in queue.blocks)
        _check_oldest(queue, queue.groups[fact.group], fact)
    for one in shadow.queues.values():
        check_bound(one)


def check_bound(queue: ShadowQueue) -> None:
    """A queue that drops the oldest is within its bound, as far as nothing holds it."""
    if not queue.filled_otherwise:
        check_room_was_made(queue)


def check_room_was_made(queue: ShadowQueue) -> None:
    """It was brought back to its bound just now, whatever had been put in before."""
    settings = queue.settings
    exact = not settings.overflow_dead_letter  # which takes a turn or two
    if settings.overflow == DROP_OLDEST and settings.max_messages and exact:
        kept = _kept(queue)
        loose = kept - _held(queue)
        if len(kept) > settings.max_messages and loose:
            raise Violation("I13", f"{queue.name} holds {len(kept)} messages, {len(loose)} could go: {settings}")


def check_ages(queue: ShadowQueue, now_ms: int) -> None:
    """Nothing waits that is much too old, but what somebody, perhaps of another group, held until just now."""
    if queue.settings.max_age_ms and len(queue.keepers()) == 1 and not queue.settings.overflow_dead_letter:
        step_ms = max(queue.age_step_ms, Ages(queue.settings.max_age_ms).step_ms)
        oldest_ms = now_ms - queue.settings.max_age_ms - step_ms - RECHECK_MS
        tried = {m.offset for m in queue.keepers()[0].messages.values() if m.attempts}
        for offset in _kept(queue) - tried:
            if max(queue.stored[offset].time_ms, queue.aging_since_ms) < oldest_ms:
                raise Violation("I13", f"{queue.name} {offset} of {queue.stored[offset].time_ms} is there at {now_ms}")


def check_aged(queue: ShadowQueue, fact: Discarded, now_ms: int) -> None:
    """Nothing was dropped for its age that is young enough."""
    if queue.settings.overflow == DROP_OLDEST and len(_kept(queue)) > queue.settings.max_messages > 0:
        return  # it was dropped as the oldest
    for first, end in fact.ranges:
        for offset in range(first, end):
            stored = queue.stored.get(offset)
            if stored is None:
                raise Violation("I12", f"{fact} of {queue.name}: there is no {offset}")
            if not queue.settings.max_age_ms or stored.time_ms > now_ms - queue.settings.max_age_ms:
                raise Violation("I13", f"{fact} of {queue.name}: {stored} is too young at {now_ms}")


def _check_oldest(queue: ShadowQueue, group: ShadowGroup, fact: Discarded) -> None:
    newest = max(end for _, end in fact.ranges)
    older = [m.offset for m in group.messages.values() if m.offset < newest and m.place not in _STAYS]
    left = set(older) - _held(queue)
    if left:
        raise Violation("I13", f"{fact} of {group.label} left older ones: {sorted(left)}")


def _kept(queue: ShadowQueue) -> set[int]:
    """Messages that some group needs and that are not dead there."""
    return {m.offset for group in queue.keepers() for m in group.messages.values() if m.place not in _DEAD}


def _held(queue: ShadowQueue) -> set[int]:
    return {m.offset for group in queue.keepers() for m in group.messages.values() if m.place is Place.LEASED}
