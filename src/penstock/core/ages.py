"""How old the messages of a log are, for queues that keep none beyond an age: a mark now and then, nothing per message.

A mark is a time and the first offset published from then on. A new one is made when the last is STEPS_PER_AGE-th of the
age old, so the marks of everything that is young enough are about as many. What is between two marks is taken for as
young as its youngest may be: messages leave late by up to that step, never early.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

STEPS_PER_AGE: Final = 128

AgeState = tuple[int, list[int], list[int]]
"""``aged_offset``, and the times (ms since 1970) and first offsets of the marks, for a snapshot."""


class Ages:
    """The marks of one log. Times never run backward, as facts do not."""

    __slots__ = ("_firsts", "_times", "aged_offset", "is_rechecked", "is_watched", "max_age_ms", "step_ms")

    def __init__(self, max_age_ms: int) -> None:
        self.max_age_ms = max_age_ms
        self.step_ms = max(1, max_age_ms // STEPS_PER_AGE)
        self.aged_offset = 0
        """Everything below is too old; what of it was leased then is still there."""
        self.is_watched = False
        """True while a time is set for when the next messages are too old."""
        self.is_rechecked = False
        """True while one is set for looking again at what was too old and leased."""
        self._times: list[int] = []
        self._firsts: list[int] = []

    def note(self, first: int, time_ms: int) -> None:
        """Messages from offset ``first`` on are of this time."""
        if not self._times or time_ms >= self._times[-1] + self.step_ms:
            self._times.append(time_ms)
            self._firsts.append(first)

    def age(self, now_ms: int, next_offset: int) -> int:
        """Return below which offset everything is too old by now; the log ends at ``next_offset``."""
        count = bisect_right(self._times, now_ms - self.max_age_ms - self.step_ms)
        if count:
            self.aged_offset = self._firsts[count] if count < len(self._firsts) else next_offset
            del self._times[:count], self._firsts[:count]
        return self.aged_offset

    def next_due_ms(self) -> int | None:
        """When the next messages are too old."""
        return self._times[0] + self.step_ms + self.max_age_ms if self._times else None

    def take_over(self, before: Ages) -> None:
        """Go on with the marks of another age. Where they are farther apart, what is behind each may be that much
        younger than these are: it is taken for the youngest it may be.
        """
        aged_offset, times, firsts = before.state()
        later_ms = max(0, before.step_ms - self.step_ms)
        self.restore((aged_offset, [time_ms + later_ms for time_ms in times], firsts))

    def state(self) -> AgeState:
        """Return what a snapshot keeps."""
        return self.aged_offset, list(self._times), list(self._firsts)

    def restore(self, state: AgeState) -> None:
        """Replace everything by what a snapshot kept."""
        self.aged_offset, times, firsts = state
        self._times, self._firsts = list(times), list(firsts)
