"""Exchanges in a snapshot: frozen when it begins, written out in parts small enough not to hold the loop.

Unlike queues, exchanges are all of one moment, that of the snapshot's position: every fact about them that follows it
is replayed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from penstock.core.exchange_settings import ExchangeSettings
from penstock.core.exchanges import Binding, Exchange, Exchanges
from penstock.core.facts import Bound, ExchangeDeclared

PART_ENTRIES: Final = 2000
"""Exchanges with their streams, or bindings, in one part: about 5 ms."""


class ExchangesFrozen:
    """What exchanges are now."""

    def __init__(self, exchanges: Exchanges) -> None:
        self._heads = [_head_of(exchange) for exchange in exchanges.by_number.values()]
        self._bindings = [binding for exchange in exchanges.by_number.values() for binding in _lasting(exchange)]

    @property
    def part_count(self) -> int:
        """How many parts there will be."""
        return -(-len(self._heads) // PART_ENTRIES) + -(-len(self._bindings) // PART_ENTRIES)

    def parts(self) -> Iterator[bytes]:
        """Yield the parts: first all exchanges, then all bindings."""
        for name, entries in (("exchanges", self._heads), ("bindings", self._bindings)):
            for start in range(0, len(entries), PART_ENTRIES):
                yield json.dumps({name: entries[start : start + PART_ENTRIES]}).encode()


def _lasting(exchange: Exchange) -> list[Binding]:
    return [binding for binding in exchange.bindings if binding.destination.is_recorded]


def _head_of(exchange: Exchange) -> dict[str, Any]:
    return {
        "exchange": exchange.number,
        "name": exchange.name,
        "settings": exchange.settings.as_map(),
        "time_ms": exchange.created_at_ms,
        "published": exchange.published,
        "unrouted": exchange.unrouted,
        "streams": [(producer, *stream.values()) for producer, stream in exchange.streams.items()],
    }


def restore_part(exchanges: Exchanges, part: bytes) -> None:
    """Take one part of a snapshot in, in the order of ``parts``."""
    content = json.loads(part)
    for head in content.get("exchanges", ()):
        _restore_exchange(exchanges, head)
    for exchange, (kind, number), routing_key, arguments in content.get("bindings", ()):
        exchanges.apply_bound(Bound(exchange, (kind, number), routing_key, arguments))


def _restore_exchange(exchanges: Exchanges, head: dict[str, Any]) -> None:
    settings = ExchangeSettings(**head["settings"])
    exchanges.apply_declared(ExchangeDeclared(head["exchange"], head["name"], settings, head["time_ms"]))
    exchange = exchanges.by_number[head["exchange"]]
    exchange.published, exchange.unrouted = head["published"], head["unrouted"]
    for producer, last_sequence, gaps, in_memory in head["streams"]:
        stream = exchange.stream_of(producer)
        stream.last_sequence = last_sequence
        stream.gaps.extend((low, high) for low, high in gaps)
        stream.in_memory.extend((low, high) for low, high in in_memory)


def exchange_fingerprints(exchanges: Exchanges) -> Iterator[Any]:
    """The durable state of exchanges as comparable values (I18)."""
    for number in sorted(exchanges.by_number):
        exchange = exchanges.by_number[number]
        yield number, exchange.name, exchange.settings, _lasting(exchange), exchange.published, exchange.unrouted
        yield sorted((p, *stream.values()) for p, stream in exchange.streams.items() if stream.last_sequence)
