"""Judges a history against the invariants. Pure: events in, violations out, each citing the invariant it breaks.

What is checked, for a run that ended with an empty queue:

    outcome  every publish was confirmed or reported unknown
    I1       a confirmed message was delivered, and some delivery of it acknowledged without a refusal
    I4       no delivery after a confirmed acknowledgement
    I6       nothing invented, nothing altered, no position used twice, no message stored twice
    I7       the offsets of one producer rise, and, in one life of the broker, those of first deliveries to one consumer
    I8       attempts of one message grow within one life (a hand-out not yet on disk may be forgotten by a kill)
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.process.history import (
    AckConfirmed,
    Acked,
    AckRefused,
    Confirmed,
    Delivered,
    Event,
    MessageId,
    Published,
    Unknown,
)


@dataclass(slots=True)
class Trace:
    """What happened to one message so far."""

    checksum: bytes | None = None
    outcomes: int = 0
    confirmed: bool = False
    offset: int | None = None
    deliveries: int = 0
    acked: set[int] = field(default_factory=set)
    final: bool = False
    life_attempt: tuple[int, int] = (-1, 0)


class Checker:
    """Feeds on events in order; ``finish`` adds what only the end can tell."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self._traces: dict[MessageId, Trace] = {}
        self._owner: dict[int, MessageId] = {}
        self._first: dict[tuple[str, int], int] = {}

    def feed(self, event: Event) -> None:
        """Take in the next event."""
        match event:
            case Published():
                self._trace(event.message).checksum = event.checksum
            case Confirmed():
                trace = self._trace(event.message)
                trace.confirmed = True
                trace.outcomes += 1
                if event.offset is not None:
                    self._place(event.message, event.offset)
            case Unknown():
                self._trace(event.message).outcomes += 1
            case Delivered():
                self._deliver(event)
            case Acked():
                self._trace(event.delivery.message).acked.add(id(event.delivery))
            case AckRefused():
                self._trace(event.delivery.message).acked.discard(id(event.delivery))
            case AckConfirmed():
                self._trace(event.delivery.message).final = True

    def finish(self) -> list[str]:
        """Return every violation, the run having ended with an empty queue."""
        for message, trace in self._traces.items():
            if trace.checksum is not None and trace.outcomes != 1:
                self._violated("outcome", message, f"has {trace.outcomes} outcomes, not one")
            if trace.confirmed and not trace.deliveries:
                self._violated("I1", message, f"was confirmed at offset {trace.offset} and never delivered")
            elif trace.confirmed and not trace.final and not trace.acked:
                self._violated("I1", message, "was delivered, is not acknowledged, and never came back")
        self._check_producer_order()
        return self.violations

    def _trace(self, message: MessageId) -> Trace:
        return self._traces.setdefault(message, Trace())

    def _deliver(self, event: Delivered) -> None:
        trace = self._trace(event.message)
        trace.deliveries += 1
        if trace.checksum is None:
            self._violated("I6", event.message, "was delivered and never published")
        elif trace.checksum != event.checksum:
            self._violated("I6", event.message, "was delivered with another body than it was published with")
        if trace.final:
            self._violated(
                "I4", event.message, f"came back after its confirmed acknowledgement, attempt {event.attempt}"
            )
        self._place(event.message, event.offset)
        life, attempt = trace.life_attempt
        if life == event.life and event.attempt <= attempt:
            self._violated("I8", event.message, f"was attempt {attempt} and then attempt {event.attempt}")
        trace.life_attempt = (event.life, event.attempt)
        if event.attempt == 1:
            self._check_first_delivery(event)

    def _place(self, message: MessageId, offset: int) -> None:
        trace = self._trace(message)
        if trace.offset is not None and trace.offset != offset:
            self._violated("I6", message, f"is stored twice, at offsets {trace.offset} and {offset}")
        trace.offset = offset
        owner = self._owner.setdefault(offset, message)
        if owner != message:
            self._violated("I6", message, f"has offset {offset}, which is that of {tuple(owner)}")

    def _check_first_delivery(self, event: Delivered) -> None:
        reader = (event.consumer, event.life)
        last = self._first.get(reader, -1)
        if event.offset <= last:
            self._violated("I7", event.message, f"at offset {event.offset} was first delivered after offset {last}")
        self._first[reader] = max(last, event.offset)

    def _check_producer_order(self) -> None:
        last: dict[int, tuple[int, int]] = {}
        for message, trace in sorted(self._traces.items()):
            if trace.offset is None:
                continue
            index, offset = last.get(message.producer, (-1, -1))
            if trace.offset <= offset:
                self._violated("I7", message, f"has offset {trace.offset}, its elder {index} has {offset}")
            last[message.producer] = (message.number, trace.offset)

    def _violated(self, invariant: str, message: MessageId, text: str) -> None:
        self.violations.append(f"{invariant}: message {message.number} of producer {message.producer} {text}")


def check(events: Iterable[Event]) -> list[str]:
    """Return what a drained run's history violates; an empty list when nothing."""
    checker = Checker()
    for event in events:
        checker.feed(event)
    return checker.finish()
