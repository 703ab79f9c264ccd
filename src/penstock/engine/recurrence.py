"""Recurring schedules fire: at their times, and for those that passed while the broker was down, by their rule.

What is *missed* is a firing whose time was before the broker was started. Whatever comes later is only late, by a long
recovery, a stall of the loop or a full disk, and is made up for one by one.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from penstock.core import firing
from penstock.core.names import local_name
from penstock.core.recurring import NEVER, Recurring
from penstock.core.values import Refused

if TYPE_CHECKING:
    from penstock.engine.engine import Engine
    from penstock.engine.interface import Calendar

FIRINGS_PER_TURN: Final = 100
"""About 5 ms of work."""
LOOKUPS_PER_TURN: Final = 200
"""Missed firings looked for in one turn, but that those of one schedule are looked for at once: each takes a calendar
20 to 60 us, and hundreds of schedules that fire every minute have missed hundreds of thousands in a night."""
MISSED_MAX: Final = 1000
"""Missed firings that are looked for, and with ``missed="all"`` made up for: the latest. A line that fires every second
missed 600,000 in a week, and no one wants those."""


class Recurrence:
    """Fires what is due."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.started_ms: Final = engine.clock_ms()
        self._lookup_count = 0
        self._made_up_from: dict[int, int] = {}
        """By schedule: the first missed firing that ``missed="all"`` makes up for."""

    def next_ms(self) -> int | None:
        """When the next schedule fires; None when none does. On a full disk they wait, as publishes do."""
        broker = self._engine.broker
        if not broker.recurrings.by_name or broker.storage_full:
            return None
        next_ms = broker.recurrings.next_ms
        return None if next_ms == NEVER else next_ms

    def turn(self, now_ms: int) -> None:
        """Fire what is due, some at a time. Called while there are schedules.

        One that the calendar cannot tell the next firing of is paused: the broker must start without it, too.
        """
        broker = self._engine.broker
        if broker.recurrings.next_ms <= now_ms and not broker.storage_full:
            self._lookup_count = 0
            for one in broker.recurrings.due(now_ms)[:FIRINGS_PER_TURN]:
                try:
                    self._fire(one, now_ms, self.started_ms)
                except Refused:  # the calendar does not know its time zone (any more): whoever resumes it is told
                    firing.pause(broker, one, paused=True, next_ms=NEVER)
                if self._lookup_count >= LOOKUPS_PER_TURN:
                    break

    def _fire(self, one: Recurring, now_ms: int, started_ms: int) -> None:
        at_ms = one.next_ms
        if at_ms >= started_ms:
            self._publish(one, at_ms, 0, now_ms)
            return
        if one.missed == "all":
            first_ms = self._made_up_from.get(one.number)
            if first_ms is None:
                first_ms = self._made_up_from[one.number] = self._missed(one, started_ms)[-1]
            if at_ms < first_ms:
                firing.skip(self._engine.broker, one, at_ms, first_ms)
            else:
                self._publish(one, at_ms, 1, now_ms)
            return
        missed = self._missed(one, started_ms)
        if one.missed == "once":
            self._publish(one, missed[0], len(missed), now_ms)
        else:
            firing.skip(self._engine.broker, one, missed[0], self._next(one, missed[0]))

    def _missed(self, one: Recurring, started_ms: int) -> list[int]:
        """Its missed firings, the latest first."""
        missed: list[int] = []
        before_ms: int | None = self.calendar.previous_ms(one.cron, one.zone, started_ms)
        while before_ms is not None and before_ms > one.next_ms and len(missed) < MISSED_MAX:
            missed.append(before_ms)
            before_ms = self.calendar.previous_ms(one.cron, one.zone, before_ms)
        self._lookup_count += len(missed) + 1
        return missed if len(missed) == MISSED_MAX else [*missed, one.next_ms]

    def _publish(self, one: Recurring, at_ms: int, missed_count: int, now_ms: int) -> None:
        provenance: dict[str, Any] = {"name": local_name(one.name), "at_ms": at_ms}
        if missed_count:
            provenance["missed"] = missed_count
        block = self._engine.codec.fired(base64.b64decode(one.block64), provenance)
        firing.fire(self._engine.broker, one, block, at_ms, self._next(one, at_ms), now_ms)

    def _next(self, one: Recurring, after_ms: int) -> int:
        found = self.calendar.next_ms(one.cron, one.zone, after_ms)
        return NEVER if found is None else found

    @property
    def calendar(self) -> Calendar:
        """What knows when cron lines fire; raises Refused where the broker was composed without one."""
        calendar = self._engine.calendar
        if calendar is None:
            raise Refused("unsupported", "this broker was made without a calendar: it knows no recurring schedules")
        return calendar
