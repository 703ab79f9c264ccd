"""The shadow's recurring schedules: which firings there must be, and with which message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.sim.violation import Violation

from penstock.core.facts import (
    Fired,
    Published,
    RecurringAdded,
    RecurringFact,
    RecurringPaused,
    RecurringRemoved,
)
from penstock.cron import CronCalendar
from penstock.engine import recurrence
from penstock_client.wire import blocks

if TYPE_CHECKING:
    from tests.sim.shadow import Shadow

CALENDAR = CronCalendar()


@dataclass(slots=True)
class ShadowRecurring:
    """One recurring schedule."""

    definition: RecurringAdded
    next_ms: int
    paused: bool = False
    last_ms: int = 0
    fired: int = 0
    lost: int = 0

    def state(self) -> dict[str, Any]:
        """What the broker has to say of it."""
        mine = {"next_ms": self.next_ms, "paused": self.paused, "last_ms": self.last_ms}
        return self.definition._asdict() | mine | {"fired_count": self.fired, "lost_count": self.lost}


def apply(shadow: Shadow, fact: RecurringFact) -> None:
    """Note a fact. Each firing comes after all that were before it, so none comes twice (I14)."""
    if isinstance(fact, RecurringAdded):
        shadow.recurring[fact.number] = ShadowRecurring(fact, fact.next_ms)
        return
    one = shadow.recurring[fact.number]
    if isinstance(fact, RecurringRemoved):
        del shadow.recurring[fact.number]
    elif isinstance(fact, RecurringPaused):
        one.paused, one.next_ms = fact.paused, fact.next_ms
    else:
        if fact.at_ms < one.next_ms or fact.next_ms <= fact.at_ms:
            raise Violation("I14", f"{fact} of {one.definition.name}, whose next firing is that of {one.next_ms}")
        one.next_ms, one.last_ms = fact.next_ms, fact.at_ms
        one.fired += fact.published
        one.lost += not fact.published


def check_fired(shadow: Shadow, fact: Fired, message: Published | None, now_ms: int, started_ms: int) -> None:
    """Check a firing as it happens: its time, its rule, its message."""
    one = shadow.recurring[fact.number]
    name, cron, zone, missed = one.definition.name, one.definition.cron, one.definition.zone, one.definition.missed
    queue = shadow.names.get(one.definition.queue)
    is_missed = fact.at_ms < started_ms
    if one.paused or fact.at_ms > now_ms:
        raise Violation("I14", f"{fact} of {name}, paused: {one.paused}, at {now_ms}")
    if not is_missed and (fact.at_ms != one.next_ms or fact.published != (queue is not None)):
        raise Violation("I14", f"{fact} of {name}: a firing was left out before it, or has no message")
    if is_missed and missed == "all" and fact.at_ms != one.next_ms:
        raise Violation("I14", f"{fact} of {name}: the missed firing of {one.next_ms} was left out")
    if is_missed and missed != "all" and fact.at_ms != CALENDAR.previous_ms(cron, zone, started_ms):
        raise Violation("I14", f"{fact} of {name} is not the last missed firing before {started_ms}")
    if is_missed and missed == "all" and fact.at_ms < (first_ms := _made_up_from(one, started_ms)):
        if fact.published or fact.next_ms != first_ms:
            raise Violation("I14", f"{fact} of {name}: missed firings are made up for from {first_ms} on")
        return
    if is_missed and fact.published != (missed != "skip" and queue is not None):
        raise Violation("I14", f"{fact} of {name}, whose rule is {missed}")
    if fact.next_ms != CALENDAR.next_ms(cron, zone, fact.at_ms):
        raise Violation("I14", f"{fact} of {name} does not go on with the next firing")
    if fact.published != (message is not None):
        raise Violation("I14", f"{fact} of {name} beside the message {message and message[:5]}")
    if message is not None and queue is not None:
        properties = (blocks.decode_properties(message.block) or [None])[0] or {}
        schedule = properties.get("schedule", {})
        if (message.queue, schedule.get("name"), schedule.get("at_ms")) != (queue.number, name, fact.at_ms):
            raise Violation("I14", f"{fact} of {name} in queue {queue.number} published {schedule} in {message.queue}")


def _made_up_from(one: ShadowRecurring, started_ms: int) -> int:
    """The first of the latest missed firings, of as many as are made up for."""
    first_ms = started_ms
    for _ in range(recurrence.MISSED_MAX):
        before_ms = CALENDAR.previous_ms(one.definition.cron, one.definition.zone, first_ms)
        if before_ms is None or before_ms < one.next_ms:
            break
        first_ms = before_ms
    return first_ms


def check_none_is_late(shadow: Shadow, next_due_ms: int | None, now_ms: int) -> None:
    """After a turn that wants no other one at once, every firing whose time has come has happened (I20)."""
    if shadow.storage_full or (next_due_ms is not None and next_due_ms <= now_ms):
        return
    late = [one.definition.name for one in shadow.recurring.values() if not one.paused and one.next_ms <= now_ms]
    if late:
        raise Violation("I20", f"{late} did not fire")
