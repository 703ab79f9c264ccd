"""What became of one message so far."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple, Self

from penstock_client.delivery import Failure, looked_at, moment
from penstock_client.received import ReceivedMessage
from penstock_client.wire.entries import Delivery as Entry


class History(NamedTuple):
    """A message, how it is now for a group, and its failures there, the oldest first.

    ``state`` is ``ready``, ``scheduled`` (until ``until``), ``leased`` (by ``consumer``, from ``leased_at``, until
    ``until``), ``dying``, on its way to the dead letters, or ``held``, dead and kept in its place. ``attempts`` counts
    hand-outs, of which at most the first and the latest fifteen that failed are in ``failures``. ``message.dead`` and
    ``message.redriven`` have its earlier lives.
    """

    message: ReceivedMessage
    group: str
    state: str
    attempts: int
    failures: list[Failure]
    consumer: str
    leased_at: datetime | None
    until: datetime | None

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Self:
        """Return the history in a reply of the broker."""
        failures = [Failure.of(failure) for failure in raw["history"]]
        entry = Entry(
            0, raw["attempts"], raw["failures"], 0, 0, raw["offset"], raw["published_at_ms"], 0, 1, raw["block"]
        )
        delivery = looked_at(entry, raw["queue"])
        return cls(
            message=ReceivedMessage(delivery, 0, delivery.bodies[0]),
            group=raw["group"],
            state=raw["state"],
            attempts=raw["attempts"],
            failures=failures,
            consumer=raw["consumer"],
            leased_at=moment(raw["leased_at_ms"]) if raw["leased_at_ms"] else None,
            until=moment(raw["until_ms"]) if raw["until_ms"] else None,
        )
