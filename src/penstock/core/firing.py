"""Recurring schedules: adding, firing, pausing, removing them. What they are is in ``recurring``."""

from __future__ import annotations

from typing import Any, Final

from penstock.core.bounds import is_overrun
from penstock.core.broker import Broker
from penstock.core.facts import (
    Fired,
    RecurringAdded,
    RecurringPaused,
    RecurringRemoved,
)
from penstock.core.intake import look_at_bounds
from penstock.core.namespacing import check_new_name, check_together
from penstock.core.recurring import Recurring
from penstock.core.storing import append_internal
from penstock.core.values import Refused, check_name

RECURRING_MAX: Final = 10_000
"""Each is looked at only when it fires, but all are in every snapshot's head."""
_DEFINITION: Final = {
    "cron": "cron line",
    "zone": "time zone",
    "queue": "queue",
    "block64": "message",
    "missed": "missed",
}


def add(broker: Broker, definition: dict[str, Any], next_ms: int, now_ms: int) -> bool:
    """Add a schedule; False when it is there already, just so. Raises Refused: settings-differ names what differs."""
    name = check_name(definition["name"])
    found = broker.recurrings.by_name.get(name)
    if found is not None:
        differing = [what for key, what in _DEFINITION.items() if getattr(found, key) != definition[key]]
        if differing:
            raise Refused(
                "settings-differ", f"schedule {name!r} exists with another {', '.join(differing)}; remove it first"
            )
        return False
    check_new_name(broker, name)
    check_together(name, definition["queue"], "the queue of schedule", "bad-setting")
    if definition["queue"] not in broker.names:
        check_name(definition["queue"])
        raise Refused("unknown-queue", f"there is no queue {definition['queue']!r}; declare it first")
    if len(broker.recurrings.by_name) >= RECURRING_MAX:
        raise Refused("limit-reached", f"there are {RECURRING_MAX} recurring schedules already")
    fact = RecurringAdded(broker.next_number, next_ms=next_ms, created_at_ms=now_ms, **definition)
    broker.emit(True, fact)
    return True


def find(broker: Broker, name: str) -> Recurring:
    """Return a schedule; raises Refused (unknown-schedule)."""
    found = broker.recurrings.by_name.get(name)
    if found is None:
        raise Refused("unknown-schedule", f"there is no recurring schedule {name!r}")
    return found


def fire(broker: Broker, one: Recurring, block: bytes, at_ms: int, next_ms: int, now_ms: int) -> None:
    """Publish its message for the firing of ``at_ms``; if its queue is gone, or takes nothing any more from anyone, the
    firing is lost, and counted.
    """
    queue = broker.names.get(one.queue)
    if queue is not None and queue.is_judged and is_overrun(queue):
        queue = None
    with broker.recorder.together():
        if queue is not None:
            append_internal(broker, queue, block, now_ms)
        broker.emit(True, Fired(one.number, at_ms, next_ms, published=queue is not None))
        if queue is not None and queue.is_judged:
            look_at_bounds(broker, queue)


def skip(broker: Broker, one: Recurring, at_ms: int, next_ms: int) -> None:
    """Let the firings up to ``at_ms`` go without a message; they count as one lost."""
    broker.emit(True, Fired(one.number, at_ms, next_ms, published=False))


def remove(broker: Broker, one: Recurring) -> None:
    """Take a schedule away; what it has published stays."""
    broker.emit(True, RecurringRemoved(one.number))


def pause(broker: Broker, one: Recurring, paused: bool, next_ms: int) -> None:
    """Stop its firings, or let them go on with that of ``next_ms``: those of the pause are not made up for."""
    if one.paused != paused:
        broker.emit(True, RecurringPaused(one.number, paused, next_ms))
