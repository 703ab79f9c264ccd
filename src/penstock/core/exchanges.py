"""Exchanges and their bindings: what they are, and how facts change them.

An exchange takes messages and passes them to queues and other exchanges, by its type and its bindings (AMQP 0-9-1,
2.1.3). Every exchange and binding is durable. Destinations are kept by number: a binding may name a queue that is gone
by the time recovery comes to it, and leads nowhere then. ``version`` grows with every change that could lead a message
elsewhere, which is how routes know that what they found still holds.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any, Final, NamedTuple

from penstock.core.exchange_settings import ExchangeSettings
from penstock.core.facts import (
    Bound,
    ExchangeDeclared,
    ExchangeDeleted,
    ExchangeFact,
    PublishedTo,
    Unbound,
)
from penstock.core.matching import Destination, Matcher, make_matcher
from penstock.core.ranges import OffsetRange
from penstock.core.values import MEMORY

_GAPS_MAX: Final = 16_384
"""Remembered ranges of refused sequences per stream. Where every second message of a client's window (20,000 of this
project's) is refused, each is a range."""
_MEMORY_RANGES_MAX: Final = 1024
"""Remembered ranges of sequences that a memory queue took; such come in runs."""


class Binding(NamedTuple):
    """A rule that leads from an exchange to a destination. Two that are equal are one (AMQP 0-9-1, queue.bind).

    ``arguments`` is canonical JSON, so that 1 and true are different and order means nothing.
    """

    exchange: int
    destination: Destination
    routing_key: str
    arguments: str

    def values(self) -> dict[str, Any]:
        """The arguments as a map."""
        return dict(json.loads(self.arguments))


class ExchangeStream:
    """What one producer published through one exchange: enough to recognise a re-send, wherever it went (SEMANTICS 6).

    Bindings may have changed since, so it is kept with the exchange and not with the queues.
    """

    __slots__ = ("_known_from", "gaps", "in_memory", "last_sequence")

    def __init__(self) -> None:
        self.last_sequence = 0
        self._known_from = 0
        self.gaps: deque[OffsetRange] = deque(maxlen=_GAPS_MAX)
        """Sequences below the last that were refused, which uses theirs up (I9)."""
        self.in_memory: deque[OffsetRange] = deque(maxlen=_MEMORY_RANGES_MAX)
        """Sequences of which a copy went into memory: their confirm never says more than ``memory``."""

    def advance(self, first_sequence: int, count: int, level: int) -> None:
        """Note messages that were taken."""
        end = first_sequence + count
        if first_sequence > self.last_sequence + 1:
            self.gaps.append((self.last_sequence + 1, first_sequence))
        self.last_sequence = end - 1
        if level == MEMORY:
            last = self.in_memory[-1] if self.in_memory else (0, 0)
            if last[1] == first_sequence:
                self.in_memory[-1] = (last[0], end)
            else:
                self.in_memory.append((first_sequence, end))

    @property
    def known_from(self) -> int:
        """Sequences before this one may have been in a gap that is not remembered any more."""
        return self.gaps[0][0] if len(self.gaps) == _GAPS_MAX else self._known_from

    def between(self, first_sequence: int, end: int) -> ExchangeStream:
        """Return what is known of these sequences: each question about one of them goes through all that is known."""
        part = ExchangeStream()
        part.last_sequence = self.last_sequence
        part._known_from = self.known_from
        for mine, theirs in ((part.gaps, self.gaps), (part.in_memory, self.in_memory)):
            mine.extend(found for found in theirs if found[0] < end and found[1] > first_sequence)
        return part

    def cuts(self, first_sequence: int, end: int) -> list[int]:
        """Where the outcome may change between these sequences, both ends included."""
        cuts = {first_sequence, end, min(max(first_sequence, self.last_sequence + 1), end)}
        for low, high in (*self.gaps, *self.in_memory, (self.known_from, first_sequence)):
            cuts.update(cut for cut in (low, high) if first_sequence < cut < end)
        return sorted(cuts)

    def was_taken(self, sequence: int) -> bool:
        """True when it was seen, and surely not refused (I1)."""
        is_known = self.known_from <= sequence <= self.last_sequence
        return is_known and not any(low <= sequence < high for low, high in self.gaps)

    def was_in_memory(self, sequence: int) -> bool:
        """True when a memory queue took a copy."""
        return any(low <= sequence < high for low, high in self.in_memory)

    def values(self) -> tuple[int, list[OffsetRange], list[OffsetRange]]:
        """All of it, for snapshots and fingerprints."""
        return self.last_sequence, list(self.gaps), list(self.in_memory)


class Exchange:
    """A named exchange. ``published`` and ``unrouted`` are messages since it was declared, and durable."""

    __slots__ = ("bindings", "created_at_ms", "cycles_broken", "deleted", "matcher", "name", "number", "published",
                 "settings", "streams", "unroutable", "unrouted")  # fmt: skip

    def __init__(self, number: int, name: str, settings: ExchangeSettings, created_at_ms: int) -> None:
        self.number = number
        self.name = name
        self.settings = settings
        self.created_at_ms = created_at_ms
        self.bindings: dict[Binding, None] = {}
        self.matcher: Matcher = make_matcher(settings)
        self.streams: dict[int, ExchangeStream] = {}
        self.deleted = False
        self.published = 0
        """Messages that producers sent here and that were taken."""
        self.unrouted = 0
        """Those that no queue took, and whose producer said that this is no error."""
        self.unroutable = 0
        """Messages refused because no queue took them, since the broker started."""
        self.cycles_broken = 0
        """How often a message came back to an exchange it had been through, since the broker started."""

    def stream_of(self, producer: int) -> ExchangeStream:
        """Return what a producer has published here."""
        stream = self.streams.get(producer)
        if stream is None:
            stream = self.streams[producer] = ExchangeStream()
        return stream


class Exchanges:
    """All exchanges of a broker. ``apply_*`` methods are the only ones that change durable state (I18)."""

    def __init__(self) -> None:
        self.by_number: dict[int, Exchange] = {}
        self.names: dict[str, Exchange] = {}
        self.version = 1
        self.binding_count = 0
        self._into: dict[Destination, dict[Binding, None]] = {}

    def apply(self, fact: ExchangeFact) -> None:
        """An exchange or a binding came to be, or is gone."""
        match fact:
            case ExchangeDeclared():
                self.apply_declared(fact)
            case ExchangeDeleted():
                self.apply_deleted(fact)
            case Bound():
                self.apply_bound(fact)
            case Unbound():
                self.apply_unbound(fact)

    def apply_declared(self, fact: ExchangeDeclared) -> None:
        """An exchange came to be."""
        exchange = Exchange(fact.exchange, fact.name, fact.settings, fact.time_ms)
        self.by_number[fact.exchange] = self.names[fact.name] = exchange
        self.version += 1  # it may be the alternate of others

    def apply_deleted(self, fact: ExchangeDeleted) -> None:
        """An exchange is gone, with the bindings from it and to it."""
        self.forget(Destination.to_exchange(fact.exchange))
        exchange = self.by_number.pop(fact.exchange)
        del self.names[exchange.name]
        exchange.deleted = True
        for binding in exchange.bindings:
            self._unlink(binding)
        self.version += 1

    def apply_bound(self, fact: Bound) -> None:
        """A binding came to be."""
        binding = Binding(fact.exchange, Destination(*fact.destination), fact.routing_key, fact.arguments)
        exchange = self.by_number[fact.exchange]
        exchange.bindings[binding] = None
        exchange.matcher.add(binding.destination, binding.routing_key, binding.values())
        self._into.setdefault(binding.destination, {})[binding] = None
        self.binding_count += 1
        self.version += 1

    def apply_unbound(self, fact: Unbound) -> None:
        """A binding is gone."""
        self._remove(Binding(fact.exchange, Destination(*fact.destination), fact.routing_key, fact.arguments))
        self.version += 1

    def apply_published(self, fact: PublishedTo) -> None:
        """Messages were taken; which queues have them is in the fact."""
        exchange = self.by_number.get(fact.exchange)
        if exchange is not None:
            exchange.stream_of(fact.producer).advance(fact.first_sequence, fact.message_count, fact.level)
            exchange.published += fact.message_count
            if not fact.targets and fact.level != MEMORY:
                exchange.unrouted += fact.message_count

    def expire_producers(self, producers: set[int]) -> None:
        """Producers are gone: their streams are forgotten."""
        for exchange in self.by_number.values():
            for producer in producers.intersection(exchange.streams):
                del exchange.streams[producer]

    def forget(self, destination: Destination) -> None:
        """A queue or exchange is gone: so is every binding to it."""
        bindings = self._into.get(destination)
        if bindings:
            for binding in list(bindings):
                self._remove(binding)
            self.version += 1

    def _remove(self, binding: Binding) -> None:
        exchange = self.by_number.get(binding.exchange)
        if exchange is not None:
            del exchange.bindings[binding]
            exchange.matcher.remove(binding.destination, binding.routing_key, binding.values())
        self._unlink(binding)

    def _unlink(self, binding: Binding) -> None:
        into = self._into[binding.destination]
        del into[binding]
        if not into:
            del self._into[binding.destination]
        self.binding_count -= 1
