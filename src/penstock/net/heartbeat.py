"""Time on connections: one wheel of slots, advanced by one timer, for every deadline of every connection.

A connection is in one slot at most. When its slot comes up it is asked what to do and when to be asked again; nothing
is rescheduled when bytes arrive, so receiving costs one attribute store. A stall of the loop advances the wheel by one
tick however long it was, so a broker that was asleep does not declare its peers dead for its own silence.
"""

from enum import Enum
from typing import Final, Protocol

TICK_MS: Final = 250
"""Grain of every deadline; half of the shortest heartbeat's check interval."""

CHECKS_PER_HEARTBEAT: Final = 2
"""Twice an interval: a side that was silent for a whole check pings, so gaps stay below one interval."""

SILENT_CHECKS_MAX: Final = 2 * CHECKS_PER_HEARTBEAT
"""A peer silent for two intervals is dead."""


class Timed(Protocol):
    """Something the wheel asks when its time has come."""

    def due(self) -> int:
        """Act; return after how many ticks to be asked again, 0 for never."""


class TimerWheel:
    """Deadlines of many, in ticks of TICK_MS. Adding, removing and coming due cost one dictionary operation each."""

    def __init__(self) -> None:
        self._now = 0
        self._slots: dict[int, dict[Timed, None]] = {}
        self._slot_of: dict[Timed, int] = {}

    def __len__(self) -> int:
        return len(self._slot_of)

    def set(self, timed: Timed, ticks: int) -> None:
        """Ask ``timed`` after ``ticks`` advances, instead of at any earlier appointment."""
        self.remove(timed)
        slot = self._now + max(1, ticks)
        self._slot_of[timed] = slot
        self._slots.setdefault(slot, {})[timed] = None

    def remove(self, timed: Timed) -> None:
        """Forget ``timed``; harmless when it is not there."""
        slot = self._slot_of.pop(timed, None)
        if slot is not None:
            waiting = self._slots[slot]
            del waiting[timed]
            if not waiting:
                del self._slots[slot]

    def advance(self) -> None:
        """Let one tick pass and ask everyone whose time has come."""
        self._now += 1
        for timed in list(self._slots.get(self._now, ())):
            if self._slot_of.get(timed) != self._now:
                continue  # removed by one asked before it
            self.remove(timed)
            ticks = timed.due()
            if ticks:
                self.set(timed, ticks)


class Pulse(Enum):
    """What a heartbeat check asks for."""

    NOTHING = 0
    PING = 1
    DEAD = 2


class Heartbeat:
    """Counts the silence of one connection, both ways, in checks."""

    __slots__ = ("_silent_checks", "check_ticks")

    def __init__(self, heartbeat_ms: int) -> None:
        self.check_ticks = max(1, heartbeat_ms // (CHECKS_PER_HEARTBEAT * TICK_MS))
        self._silent_checks = 0

    def check(self, heard: bool, spoke: bool) -> Pulse:
        """Take whether each side sent anything since the last check; return what to do."""
        self._silent_checks = 0 if heard else self._silent_checks + 1
        if self._silent_checks >= SILENT_CHECKS_MAX:
            return Pulse.DEAD
        return Pulse.NOTHING if spoke else Pulse.PING


def ticks_within(duration_ms: int) -> int:
    """Return the most ticks that have surely passed before ``duration_ms`` have, one at least."""
    return max(1, duration_ms // TICK_MS)
