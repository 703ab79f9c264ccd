"""What became of one message in a handler: a value, so that tests look at it and one place carries it out."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, NamedTuple

from penstock_client.message import Message


class Verdict(StrEnum):
    """What is said to the broker of a message."""

    ACKED = "acked"
    RETRIED = "retried"
    REJECTED = "rejected"
    RELEASED = "released"


class Answer(NamedTuple):
    """A return value as it is published, and the queue it is published to."""

    queue: str
    message: Message


class Outcome(NamedTuple):
    """What became of a message.

    ``result`` is what the handler returned. ``delay`` is in seconds; None is the queue's backoff. ``error`` is what the
    handler raised, ``reason`` what the failure history says.
    """

    verdict: Verdict
    result: Any = None
    answer: Answer | None = None
    delay: float | None = None
    reason: str = ""
    error: BaseException | None = None


DONE: Final = Outcome(Verdict.ACKED)
"""Done, with nothing to say: what most messages come to."""
