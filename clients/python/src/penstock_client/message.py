"""Messages to publish, and what is known of them afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

Headers = dict[str, Any]

PRIORITY_DEFAULT: Final = 4
"""That of a message that says nothing (JMS 2.0, 3.4.9)."""
PRIORITY_HIGHEST: Final = 255
"""The highest that a queue may be declared to know."""


@dataclass(slots=True)
class Message:
    """A message to publish. Only the body is needed; ``timestamp`` is when it happened, as the producer says.

    ``delay`` (seconds, or a timedelta) or ``at`` has the broker keep it back: it enters the queue that long after the
    broker received it, or at that time (one without a time zone is local time). What is past is delivered at once.

    ``ttl`` (seconds, or a timedelta): if nobody was handed it that long after it entered the queue, it expires. Shared
    groups hand out a higher ``priority``, 0 to 9 (a queue may declare up to 255), before every lower one; without one
    it is 4.
    """

    body: bytes
    key: str | None = None
    headers: Headers | None = None
    message_id: str | None = None
    content_type: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    timestamp: datetime | None = None
    delay: float | timedelta | None = None
    at: datetime | None = None
    ttl: float | timedelta | None = None
    priority: int | None = None

    def ask(self) -> tuple[str, int] | None:
        """The property that says when to deliver it; None: at once. Raises ValueError for what makes no sense."""
        if self.delay is None:
            return None if self.at is None else ("deliver_at_ms", max(0, round(self.at.timestamp() * 1000)))
        if self.at is not None:
            raise ValueError("a message is delivered after a delay or at a time, not both")
        return "delay_ms", _milliseconds("delay", self.delay, 0)

    @property
    def has_terms(self) -> bool:
        """True when it asks for a time to live or a priority."""
        return self.ttl is not None or self.priority is not None

    def properties(self) -> dict[str, Any] | None:
        """The wire's properties map, None when there are none. Raises TypeError for what is no text and has to be."""
        values: dict[str, Any] = {}
        if self.message_id is not None:
            values["message_id"] = _text("message_id", self.message_id)
        if self.content_type is not None:
            values["content_type"] = _text("content_type", self.content_type)
        if self.correlation_id is not None:
            values["correlation_id"] = _text("correlation_id", self.correlation_id)
        if self.reply_to is not None:
            values["reply_to"] = _text("reply_to", self.reply_to)
        if self.timestamp is not None:
            values["timestamp"] = round(self.timestamp.timestamp() * 1000)
        if (ask := self.ask()) is not None:
            values[ask[0]] = ask[1]
        if self.ttl is not None:
            values["ttl_ms"] = _milliseconds("ttl", self.ttl, 1)
        if self.priority is not None:
            if type(self.priority) is not int or not 0 <= self.priority <= PRIORITY_HIGHEST:
                raise ValueError(f"a priority is a whole number from 0 to {PRIORITY_HIGHEST}, not {self.priority!r}")
            values["priority"] = self.priority
        return values or None


def _milliseconds(name: str, duration: float | timedelta, least: int) -> int:
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if not 0 <= seconds < float("inf") or (least and not seconds):
        raise ValueError(f"a {name} is seconds {'above 0' if least else 'from 0 on'}, not {seconds!r}")
    return max(least, round(seconds * 1000))


def _text(name: str, value: object) -> object:
    if not isinstance(value, str):
        raise TypeError(f"{name} is a text, not {value!r:.100}")
    return value


Publishable = bytes | bytearray | memoryview | Message
"""A body, or a message with more than a body."""


class Confirm(NamedTuple):
    """What became of a publish. ``level`` says how it is kept: ``synced``, ``written`` or ``memory``.

    Published through an exchange it has no ``queue`` (empty), and an ``offset`` only where exactly one queue took it.

    ``duplicate``: it had it before, by this sending or, in a queue that deduplicates, by its id; ``offset`` is that of
    then, None when it is no longer remembered.
    A scheduled message has a ``scheduled_id`` and no offset yet.
    ``dropped``: the queue was full and drops what is newest; the message is not in it (``offset`` is None), and
    publishing it again is not asked for.
    """

    queue: str
    offset: int | None
    level: str
    duplicate: bool
    scheduled_id: int | None = None
    dropped: bool = False
