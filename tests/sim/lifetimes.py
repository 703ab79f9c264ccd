"""Which queues may end by themselves, and which have to (I12, I20)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.state import Place, ShadowQueue
from tests.sim.violation import Violation

from penstock.core.lifetimes import LOOKS_PER_LIFE

if TYPE_CHECKING:
    from tests.sim.shadow import Shadow


def check_may_end(shadow: Shadow, number: int, now_ms: int, leaving: bool) -> None:
    """A queue ends and no operator deleted it. ``leaving``: one of its consumers is just being taken away."""
    queue = shadow.queues[number]
    consumers = [one.name for group in queue.groups.values() for one in shadow.consumers_of(group)]
    if queue.settings.ephemeral and len(consumers) <= leaving:
        return
    unused_ms, expires_ms = now_ms - queue.used_ms, queue.settings.expires_ms
    if consumers or _is_needed(shadow, queue) or _holds(queue) or not 0 < expires_ms <= unused_ms:
        raise Violation("I12", f"{queue.name} ends, used {unused_ms} ms ago, by {consumers}: {queue.settings}")


def check_none_lingers(shadow: Shadow, now_ms: int) -> None:
    """After a turn: what nobody uses and what nobody lives by is gone."""
    for queue in shadow.queues.values():
        consumers = any(shadow.consumers_of(group) for group in queue.groups.values())
        if queue.settings.ephemeral and not consumers and queue.declarer not in shadow.sessions:
            raise Violation("I20", f"{queue.name} outlives its consumers and session {queue.declarer}")
        if queue.settings.expires_ms:
            _check_expiry(shadow, queue, consumers, now_ms)


def _check_expiry(shadow: Shadow, queue: ShadowQueue, consumers: bool, now_ms: int) -> None:
    """Once idle for a step it was found idle in that turn; and has to be gone when its time is over from there."""
    expires_ms = queue.settings.expires_ms
    in_use = consumers or _holds(queue) or _is_needed(shadow, queue)
    if in_use or queue.used_ms >= queue.turned_ms:
        queue.idle_ms, queue.found_idle_ms = now_ms, 0
    elif not queue.found_idle_ms and now_ms >= queue.idle_ms + expires_ms // LOOKS_PER_LIFE:
        queue.found_idle_ms = now_ms
    elif queue.found_idle_ms and now_ms >= queue.found_idle_ms + expires_ms:
        raise Violation("I20", f"{queue.name} is unused since {queue.idle_ms} and still there: {queue.settings}")
    queue.turned_ms = now_ms


def _holds(queue: ShadowQueue) -> bool:
    held = any(group.count(place) for group in queue.groups.values() for place in (Place.LEASED, Place.DYING))
    return held or bool(queue.scheduled)


def _is_needed(shadow: Shadow, queue: ShadowQueue) -> bool:
    others = (other for other in shadow.queues.values() if other is not queue)
    fires = any(one.definition.queue == queue.name and not one.paused for one in shadow.recurring.values())
    return fires or any(other.dead_letter_name == queue.name for other in others)
