"""Recurring schedules: a message that is published again and again, at times that a calendar knows.

Core knows no calendar. Whoever fires a schedule says when it fires next, and that is a fact like any other: FIRED and
the message are recorded together, so that each firing gives exactly one message, whatever crashes (I14). The commands
are in ``firing``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from penstock.core.facts import (
    Fired,
    RecurringAdded,
    RecurringPaused,
    RecurringRemoved,
)

MISSED: Final = ("once", "skip", "all")
"""What becomes of firings whose time passed while the broker was down: one message for all, none, or one for each."""
NEVER: Final = 1 << 62
"""The next firing of a schedule that will not fire (any more)."""


@dataclass(slots=True)
class Recurring:
    """One recurring schedule. ``block64`` is its message's block in base64, ``last_ms`` the latest firing or 0."""

    number: int
    name: str
    cron: str
    zone: str
    queue: str
    block64: str
    missed: str
    next_ms: int
    created_at_ms: int
    paused: bool = False
    last_ms: int = 0
    fired_count: int = 0
    lost_count: int = 0
    """Firings without a message: those missed that gave none, and those whose queue did not exist."""

    def values(self) -> dict[str, Any]:
        """All of it, for snapshots and fingerprints."""
        return asdict(self)


class Recurrings:
    """All recurring schedules, by name."""

    def __init__(self) -> None:
        self.by_name: dict[str, Recurring] = {}
        self.by_number: dict[int, Recurring] = {}
        self._next_ms: int | None = None

    @property
    def next_ms(self) -> int:
        """When the next one fires, NEVER if none does."""
        if self._next_ms is None:
            self._next_ms = min((one.next_ms for one in self.by_name.values() if not one.paused), default=NEVER)
        return self._next_ms

    def due(self, now_ms: int) -> list[Recurring]:
        """Those whose time has come, the earliest first."""
        due = [one for one in self.by_name.values() if one.next_ms <= now_ms and not one.paused]
        return sorted(due, key=lambda one: (one.next_ms, one.number))

    def restore(self, states: list[dict[str, Any]]) -> None:
        """Take what a snapshot holds."""
        for state in states:
            self._add(Recurring(**state))

    def _add(self, one: Recurring) -> None:
        self.by_name[one.name] = self.by_number[one.number] = one

    def apply(self, fact: RecurringAdded | RecurringRemoved | RecurringPaused | Fired) -> None:
        """Change them as a fact says."""
        self._next_ms = None
        if isinstance(fact, RecurringAdded):
            self._add(Recurring(**fact._asdict()))
            return
        one = self.by_number[fact.number]
        if isinstance(fact, RecurringRemoved):
            del self.by_number[fact.number], self.by_name[one.name]
        elif isinstance(fact, RecurringPaused):
            one.paused, one.next_ms = fact.paused, fact.next_ms
        else:
            one.next_ms, one.last_ms = fact.next_ms, fact.at_ms
            one.fired_count += fact.published
            one.lost_count += not fact.published
