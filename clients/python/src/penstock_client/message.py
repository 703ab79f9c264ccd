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
        values = {
            "message_id": self.message_id,
            "content_type": self.content_type,
            "correlation_id": self.correlation_id,
            "reply_to": self.reply_to,
            "timestamp": None if self.timestamp is None else int(self.timestamp.timestamp() * 1000),
        }
        return {name: value for name, value in values.items() if value is not None} or None


Publishable = bytes | bytearray | memoryview | Message
"""A body, or a message with more than a body."""


class Confirm(NamedTuple):
    """The broker has the message. ``level`` says how: ``synced``, ``written`` or ``memory``."""

    queue: str
    offset: int | None
    level: str
    duplicate: bool
