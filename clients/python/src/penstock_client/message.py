"""Messages to publish, and what is known of them afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

Headers = dict[str, Any]


@dataclass(slots=True)
class Message:
    """A message to publish. Only the body is needed; ``timestamp`` is when it happened, as the producer says."""

    body: bytes
    key: str | None = None
    headers: Headers | None = None
    message_id: str | None = None
    content_type: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    timestamp: datetime | None = None

    def properties(self) -> dict[str, Any] | None:
        """The wire's properties map, None when there are none."""
        values: dict[str, Any] = {}
        if self.message_id is not None:
            values["message_id"] = self.message_id
        if self.content_type is not None:
            values["content_type"] = self.content_type
        if self.correlation_id is not None:
            values["correlation_id"] = self.correlation_id
        if self.reply_to is not None:
            values["reply_to"] = self.reply_to
        if self.timestamp is not None:
            values["timestamp"] = round(self.timestamp.timestamp() * 1000)
        return values or None


Publishable = bytes | bytearray | memoryview | Message
"""A body, or a message with more than a body."""


class Confirm(NamedTuple):
    """The broker has the message. ``level`` says how: ``synced``, ``written`` or ``memory``.

    Published through an exchange it has no ``queue`` (empty), and an ``offset`` only where exactly one queue took it.

    ``duplicate``: it had it before, by this sending or, in a queue that deduplicates, by its id; ``offset`` is that of
    then, None when it is no longer remembered.
    """

    queue: str
    offset: int | None
    level: str
    duplicate: bool
