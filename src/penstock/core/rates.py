"""Rates: a token bucket that hand-outs draw from, redeliveries included (SEMANTICS 19).

A bucket fills by ``per_s`` tokens a second up to ``burst`` and starts empty, also after a restart: so in any span of t
seconds at most ``burst + per_s * t`` messages are handed out, whoever the consumers are. It is counted in whole parts
of a token, so that nothing drifts, and time is an argument: a clock that stands still gives nothing.
"""

from __future__ import annotations

from typing import Final

RATE_PER_S_MIN: Final = 1 / 86_400
"""One message a day: below it a pause is meant."""
RATE_PER_S_MAX: Final = 1_000_000.0
"""Above what a broker hands out: no rate is meant."""
BURST_MAX: Final = 1_000_000

_PARTS: Final = 10**12
"""Parts of a token: the lowest rate has some ten thousand a millisecond, which is exact to a hundredth of a percent."""
_STEP_MS: Final = 10
"""Tokens that come faster are waited for together: a hundred hand-outs a second, not one for each message."""


def make_bucket(per_s: float | None, burst: int | None) -> Bucket | None:
    """Return the bucket that these settings ask for; None when hand-outs have no rate."""
    return None if per_s is None else Bucket(per_s, burst or default_burst(per_s))


def default_burst(per_s: float) -> int:
    """Return a tenth of a second's worth, at least one: enough to make up for a loop that was busy, and little more."""
    return max(1, round(per_s / 10))


class Bucket:
    """The tokens of one group. It fills from the first look at it on."""

    __slots__ = ("_capacity_parts", "_filled_ms", "_parts", "_parts_per_ms", "_worth_waiting_parts")

    def __init__(self, per_s: float, burst: int) -> None:
        self._parts_per_ms = round(per_s * _PARTS / 1000)
        self._capacity_parts = burst * _PARTS
        self._worth_waiting_parts = min(self._capacity_parts, max(_PARTS, self._parts_per_ms * _STEP_MS))
        self._parts = 0
        self._filled_ms = 0

    def available(self, now_ms: int) -> int:
        """Return how many messages may be handed out now."""
        if not self._filled_ms:
            self._filled_ms = now_ms
        elif now_ms > self._filled_ms:
            gained = (now_ms - self._filled_ms) * self._parts_per_ms
            self._parts = min(self._capacity_parts, self._parts + gained)
            self._filled_ms = now_ms
        return self._parts // _PARTS

    def take(self, count: int) -> None:
        """So many messages were handed out, no more than were ``available``."""
        self._parts -= count * _PARTS
        assert self._parts >= 0, "handed out more than the rate allows"

    def next_ms(self) -> int:
        """Return when it is worth looking again: there is a token then, or as many as come in 10 ms."""
        missing_parts = max(0, self._worth_waiting_parts - self._parts)
        return self._filled_ms - (-missing_parts // self._parts_per_ms)
