"""What a message may ask of the broker beside being stored, as its properties say it.

Only blocks that are marked as asking are looked at, so plain messages pay nothing for what others ask (the mark is
the block format's). A message may ask to be delivered later (a delivery delay in JMS 2.0), to be handed out within a
time only (its time to live), and before or behind others (its priority).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

from penstock.core.facts import AskedRun
from penstock.core.operands import PRIORITY_DEFAULT
from penstock.core.values import PRIORITY_HIGHEST, TTL_MS_MAX, Refused

DELAY_MS_MAX: Final = 10 * 366 * 24 * 3600 * 1000
"""Ten years: longer than any queue will be run unchanged, short enough that seconds taken for milliseconds the wrong
way round, or a year typed wrong, are noticed by who publishes and not by who waits."""


class Ask(NamedTuple):
    """What one message asks; None is nothing.

    ``delay_ms`` counts from the broker's receiving it, ``deliver_at_ms`` is a time, ms since 1970. ``ttl_ms`` 0 is no
    limit; it counts from the message's entering the log.
    """

    delay_ms: int | None = None
    deliver_at_ms: int | None = None
    ttl_ms: int = 0
    priority: int = PRIORITY_DEFAULT

    def due_ms(self, now_ms: int) -> int:
        """When the message may enter the log: ``now_ms`` where it does not ask for later (a past time is now)."""
        if self.delay_ms is not None:
            return now_ms + self.delay_ms
        return max(now_ms, self.deliver_at_ms or 0)


NOTHING: Final = Ask()


class Asks(NamedTuple):
    """What the messages of a block ask, by their sequences from ``first_sequence`` on."""

    first_sequence: int
    asks: Sequence[Ask]

    def runs(self, first_sequence: int, count: int, priority_max: int) -> tuple[AskedRun, ...]:
        """Return times to live and priorities of some of the messages; empty when none of them asks for either."""
        start = first_sequence - self.first_sequence
        terms = [(one.ttl_ms, min(one.priority, priority_max)) for one in self.asks[start : start + count]]
        if all(one == (0, PRIORITY_DEFAULT) for one in terms):
            return ()
        return tuple(AskedRun(ttl, len(list(group)), priority) for (ttl, priority), group in groupby(terms))


def parse_asks(properties: Sequence[dict[Any, Any] | None], now_ms: int) -> list[Ask]:
    """Return what each message asks. Raises Refused (bad-setting) for the first that asks what makes no sense."""
    return [_parse(one, index, now_ms) if one else NOTHING for index, one in enumerate(properties)]


def lone_ask(properties: Sequence[dict[Any, Any] | None] | None, now_ms: int) -> Ask:
    """Return what a single message asks that the broker moves; a dead letter asks nothing where it is.

    Nor does one that was not marked as asking when it was published, and says so in words of its own.
    """
    one = properties[0] if properties else None
    if not one or "dead" in one:
        return NOTHING
    try:
        return _parse(one, 0, now_ms)
    except Refused:
        return NOTHING


def _parse(properties: dict[Any, Any], index: int, now_ms: int) -> Ask:
    delay, time = properties.get("delay_ms"), properties.get("deliver_at_ms")
    if delay is not None and time is not None:
        raise Refused("bad-setting", f"message {index} of the block has both delay_ms and deliver_at_ms; give one")
    if delay is not None:
        _check("delay_ms", delay, index, 0, DELAY_MS_MAX)
    if time is not None:
        _check("deliver_at_ms", time, index, 0, now_ms + DELAY_MS_MAX)
    ttl, priority = properties.get("ttl_ms"), properties.get("priority")
    if ttl is not None:
        _check("ttl_ms", ttl, index, 1, TTL_MS_MAX)
    if priority is not None:
        _check("priority", priority, index, 0, PRIORITY_HIGHEST)
    return Ask(delay, time, ttl or 0, PRIORITY_DEFAULT if priority is None else priority)


def _check(name: str, value: Any, index: int, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise Refused(
            "bad-setting", f"{name} of message {index} of the block must be a whole number from {low} to {high}"
        )
