"""Breakers: a group in which nearly everything fails stops handing out, and tries again with little.

When a downstream is gone, every attempt fails, and a queue that goes on would carry its whole backlog to the dead
letters. So a group may have a *circuit breaker* (M. Nygard, "Release It!", 2007), which counts attempts that failed:

    closed  everything is handed out
      --``failures`` attempts failed, and fewer than a twentieth as many were acknowledged since the first of them-->
    open    nothing is handed out
      --the wait is over-->
    trial   a run of 1 message is handed out, then one of 2, 4, ... as soon as all of the run before are acknowledged
      --one of the run failed--> open, with twice the wait
      --a run of ``failures`` messages was acknowledged--> closed

Trial runs go on through what waits, from what was tried last, and the untouched before what failed: so no message is
used up by an outage, and one that is bad itself does not keep the group from seeing that others are not. Only a total
order, and priorities, leave no choice.

What was in consumers' hands when it opened is no part of a run: its failures say nothing new. A run in which messages
were given back or rejected, but none failed, says nothing either, and is followed by another of its size.

All of it is volatile: after a restart a breaker is closed. Acknowledging costs nothing: how many were is read when
something fails, and what became of a run is seen from the leases that are left, when there is a hand-out to decide on.
Failures are counted only where they are dealt with one by one anyway.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from penstock.core.session import Session

BREAKER_FAILURES_MAX: Final = 10_000
"""The longest trial run: its deliveries are kept track of, a hundred bytes each at worst."""
BREAKER_WAIT_MS_MAX: Final = 60_000
"""Where doubling ends: a downstream that is back is noticed within a minute."""
ACKED_FRACTION: Final = 20
"""A group that gets this part of its attempts done is not broken; its failures are those of single messages."""

_BEHIND_ALL: Final = 1 << 62

CLOSED: Final = "closed"
OPEN: Final = "open"
TRIAL: Final = "trial"


class Part(NamedTuple):
    """Deliveries of a trial run: tags from ``first_tag`` to below ``end_tag``, offsets ``first`` to ``end``."""

    session: Session
    first_tag: int
    end_tag: int
    first: int
    end: int

    def is_held(self) -> bool:
        """True while any of them is leased."""
        return bool(self.session.leases_of(self.first_tag, self.end_tag))


def make_breaker(failures: int, wait_ms: int) -> Breaker | None:
    """Return the breaker that these settings ask for, None for none."""
    return Breaker(failures, wait_ms) if failures else None


class Breaker:
    """The breaker of one group: whether, and how much, it may hand out."""

    __slots__ = (
        "_acked",
        "_handed_out",
        "_is_spoiled",
        "_next_wait_ms",
        "_run",
        "_wait_ms",
        "failed_count",
        "failures",
        "retry_ms",
        "since_ms",
        "size",
        "state",
        "tried_until",
    )

    def __init__(self, failures: int, wait_ms: int) -> None:
        self.failures = failures
        self._wait_ms = wait_ms
        self.state = CLOSED
        self.since_ms = 0
        """When it opened: since then it was not closed."""
        self.retry_ms = 0
        """When it is open: until then."""
        self.size = 0
        """Of the trial run."""
        self.tried_until = 0
        """What comes next in a trial run begins here."""
        self._next_wait_ms = wait_ms
        self.failed_count = 0
        """Attempts that failed and let it open, those of trial runs included; while it is closed, those that may."""
        self._acked = 0
        self._handed_out = 0
        self._run: deque[Part] = deque()
        self._is_spoiled = False

    @property
    def settings(self) -> tuple[int, int]:
        """What it was made of: failures, wait in ms."""
        return self.failures, self._wait_ms

    def failed(self, first: int, end: int, acked: int, now_ms: int) -> bool:
        """Attempts at messages ``first`` to ``end`` failed, with so many acknowledged ever; True when it opens."""
        if self.state == CLOSED:
            if (acked - self._acked) * ACKED_FRACTION >= self.failed_count:
                self.failed_count, self._acked = 0, acked
            self.failed_count += end - first
            opens = self.failed_count >= self.failures
        else:
            opens = self.state == TRIAL and self._is_of_run(first, end)
            self.failed_count += end - first if opens else 0
        if opens:
            self._open(now_ms)
        return opens

    def given_back(self, first: int, end: int) -> None:
        """Messages came back, or were rejected, and that is no failure."""
        if self.state == TRIAL and self._is_of_run(first, end):
            self._is_spoiled = True

    def look(self, now_ms: int) -> bool:
        """Go on to the next trial run if it is time for it, or to closed: then it returns True."""
        if self.state == OPEN and now_ms >= self.retry_ms:
            self._begin_run(1)
        elif self.state == TRIAL and self._handed_out == self.size and self._is_over():
            if self._is_spoiled:
                self._begin_run(self.size)
            elif self.size == self.failures:
                self.close()
                return True
            else:
                self._begin_run(min(2 * self.size, self.failures))
        return False

    def allowed(self) -> int:
        """Return how many messages may be handed out before the next look, when it is not closed."""
        return self.size - self._handed_out if self.state == TRIAL else 0

    def handed_out(self, part: Part) -> None:
        """These belong to the trial run."""
        self._run.append(part)
        self._handed_out += part.end - part.first
        self.tried_until = part.end
        assert self._handed_out <= self.size, "handed out more than the trial run"

    def close(self) -> None:
        """Hand out everything again."""
        self.state = CLOSED
        self.since_ms = self.retry_ms = self.size = self.failed_count = self._handed_out = 0
        self._next_wait_ms = self._wait_ms
        self._run.clear()

    def as_map(self) -> dict[str, Any]:
        """How it is, for people: ``until_ms`` where it is open, ``size`` of the run where it tries."""
        return {
            "state": self.state,
            "since_ms": self.since_ms or None,
            "until_ms": self.retry_ms if self.state == OPEN else None,
            "size": self.size if self.state == TRIAL else None,
        }

    def _open(self, now_ms: int) -> None:
        if self.state == CLOSED:
            self.since_ms = now_ms
            self.tried_until = _BEHIND_ALL
        self.state = OPEN
        self.size = 0
        self._run.clear()
        self.retry_ms = now_ms + self._next_wait_ms
        self._next_wait_ms = min(2 * self._next_wait_ms, BREAKER_WAIT_MS_MAX)

    def _begin_run(self, size: int) -> None:
        self.state = TRIAL
        self.size = size
        self._handed_out = 0
        self._is_spoiled = False
        self._run.clear()

    def _is_over(self) -> bool:
        while self._run and not self._run[0].is_held():
            self._run.popleft()
        return not self._run

    def _is_of_run(self, first: int, end: int) -> bool:
        return any(part.first < end and first < part.end for part in self._run)
