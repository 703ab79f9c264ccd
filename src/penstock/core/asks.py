"""What a message may ask of the broker beside being stored, as its properties say it.

Only blocks that are marked as asking are looked at, so plain messages pay nothing for what others ask (the mark is
the block format's). Today a message may ask to be delivered later; JMS 2.0 calls that a delivery delay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from penstock.core.values import Refused

DELAY_MS_MAX: Final = 10 * 366 * 24 * 3600 * 1000
"""Ten years: longer than any queue will be run unchanged, short enough that seconds taken for milliseconds the wrong
way round, or a year typed wrong, are noticed by who publishes and not by who waits."""


class Ask(NamedTuple):
    """What one message asks; None is nothing.

    ``delay_ms`` counts from the broker's receiving it, ``deliver_at_ms`` is a time, ms since 1970.
    """

    delay_ms: int | None = None
    deliver_at_ms: int | None = None

    def due_ms(self, now_ms: int) -> int:
        """When the message may enter the log: ``now_ms`` where it does not ask for later (a past time is now)."""
        if self.delay_ms is not None:
            return now_ms + self.delay_ms
        return max(now_ms, self.deliver_at_ms or 0)


NOTHING: Final = Ask()


def parse_asks(properties: Sequence[dict[Any, Any] | None], now_ms: int) -> list[Ask]:
    """Return what each message asks. Raises Refused (bad-setting) for the first that asks what makes no sense."""
    return [_parse(one, index, now_ms) if one else NOTHING for index, one in enumerate(properties)]


def _parse(properties: dict[Any, Any], index: int, now_ms: int) -> Ask:
    delay, time = properties.get("delay_ms"), properties.get("deliver_at_ms")
    if delay is not None and time is not None:
        raise Refused("bad-setting", f"message {index} of the block has both delay_ms and deliver_at_ms; give one")
    if delay is not None:
        return Ask(delay_ms=_whole("delay_ms", delay, index, DELAY_MS_MAX))
    if time is not None:
        return Ask(deliver_at_ms=_whole("deliver_at_ms", time, index, now_ms + DELAY_MS_MAX))
    return NOTHING


def _whole(name: str, value: Any, index: int, high: int) -> int:
    if type(value) is not int or not 0 <= value <= high:
        raise Refused(
            "bad-setting",
            f"{name} of message {index} of the block must be a whole number from 0 to {high} (10 years), not {value!r}",
        )
    return value
