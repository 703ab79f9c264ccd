"""What a load on a real broker did and saw, in the order in which it happened in the one process that ran the load."""

from dataclasses import dataclass, field
from typing import NamedTuple


class MessageId(NamedTuple):
    """The load's own name for a message: which producer, and its how manieth."""

    producer: int
    number: int


@dataclass(frozen=True, slots=True)
class Published:
    """A message was handed to the client library."""

    message: MessageId
    checksum: bytes


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The publish was confirmed. ``offset`` is None for a duplicate whose offset is no longer known."""

    message: MessageId
    offset: int | None


@dataclass(frozen=True, slots=True)
class Unknown:
    """The publish was reported to have an unknown outcome, or to be refused."""

    message: MessageId
    reason: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message reached the application. ``life`` counts the starts of the broker."""

    consumer: str
    life: int
    message: MessageId
    offset: int
    attempt: int
    checksum: bytes


@dataclass(frozen=True, slots=True)
class Acked:
    """The application acknowledged a delivery, and was told nothing yet."""

    delivery: Delivered


@dataclass(frozen=True, slots=True)
class AckConfirmed:
    """The acknowledgement of a delivery was confirmed."""

    delivery: Delivered


@dataclass(frozen=True, slots=True)
class AckRefused:
    """The acknowledgement of a delivery did not count: stale, or the connection was lost before its confirm."""

    delivery: Delivered


Event = Published | Confirmed | Unknown | Delivered | Acked | AckConfirmed | AckRefused


@dataclass(slots=True)
class History:
    """The events of one run, and the figures the load steers by."""

    events: list[Event] = field(default_factory=list)
    life: int = 0
    published: int = 0
    settled: int = 0

    def record(self, event: Event) -> None:
        """Append an event."""
        self.events.append(event)
        if isinstance(event, Published):
            self.published += 1
        elif isinstance(event, Acked):
            self.settled += 1

    def count(self, kind: type[Event]) -> int:
        """Return how many events of a kind there are."""
        return sum(isinstance(event, kind) for event in self.events)
