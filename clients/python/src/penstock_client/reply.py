"""Replies as values: what arrives, what became of one that was sent, and how a failure is told."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, NamedTuple, Self

from penstock_client.delivery import Content, Run
from penstock_client.errors import text_of

REPLY_TIMEOUT_S: Final = 30.0
"""How long a request waits that does not say."""


class ReplyError(NamedTuple):
    """Why a request failed, as its answerer says. ``code`` is for programs, ``message`` for people."""

    code: str
    message: str

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Return an exception as the answer to a request: its class is the code."""
        return cls(type(error).__name__, text_of(error))


class ReplyOutcome(StrEnum):
    """What became of a reply."""

    DELIVERED = "delivered"
    """Handed to the connection that asked."""
    GONE = "gone"
    """The connection that asked has ended: nobody waits for this any more."""
    FULL = "full"
    """The asker does not read: too much waits for it already. A later attempt may do better."""
    STORED = "stored"
    """``reply_to`` names a queue: it is there."""


class Reply(Content):
    """A reply that arrived: body, key, headers and properties, as its sender made them."""

    __slots__ = ("_replied_at_ms",)

    def __init__(self, run: Run, index: int, replied_at_ms: int) -> None:
        super().__init__(run, index, run.bodies[index])
        self._replied_at_ms = replied_at_ms

    def __repr__(self) -> str:
        return f"<reply to {self.correlation_id!r}, {len(self.body)} bytes>"

    @property
    def replied_at(self) -> datetime:
        """When the broker took it."""
        return datetime.fromtimestamp(self._replied_at_ms / 1000, UTC)

    @property
    def error(self) -> ReplyError | None:
        """Why the request failed, if its answerer says so."""
        value = self._properties.get("error")
        if not isinstance(value, dict):
            return None
        return ReplyError(str(value.get("code", "")), str(value.get("message", "")))
