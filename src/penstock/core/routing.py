"""Routing: from an exchange and a routing key to the queues that get the message.

A message goes through every exchange it reaches once. Where bindings lead back to one it is going through, that is a
cycle: it is broken there, and counted. An exchange none of whose bindings takes the message passes it to its alternate
exchange, if it has one that exists. A queue that is reached by several ways gets the message once.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from penstock.core.broker import Broker
from penstock.core.exchanges import Exchange
from penstock.core.matching import NO_MESSAGE, QUEUE, MessageView
from penstock.core.queue import Queue


class Plan(NamedTuple):
    """Where a message goes: ``queues`` are the durable ones and then the ``memory`` ones.

    ``by_content``: that depends on the message, and is to be asked for each.
    """

    queues: tuple[Queue, ...]
    cycles: int = 0
    by_content: bool = False
    memory: tuple[Queue, ...] = ()


ASK_EACH: Final = Plan((), by_content=True)


def plan_of(broker: Broker, exchange: Exchange, routing_key: str) -> Plan:
    """Return where all messages with this routing key go, or ASK_EACH when an exchange on the way looks into them."""
    return _Walk(broker, routing_key, None).plan_from(exchange)


def plan_for(broker: Broker, exchange: Exchange, routing_key: str, message: MessageView) -> Plan:
    """Return where one message goes."""
    return _Walk(broker, routing_key, message).plan_from(exchange)


class _Walk:
    """One message's way through the exchanges, depth first, without recursion: chains may be long."""

    def __init__(self, broker: Broker, routing_key: str, message: MessageView | None) -> None:
        self._broker = broker
        self._routing_key = routing_key
        self._message = message
        self._queues: dict[int, Queue] = {}
        self._waiting: list[tuple[Exchange, bool]] = []

    def plan_from(self, exchange: Exchange) -> Plan:
        visited: set[int] = set()
        on_the_way: set[int] = set()
        cycles = 0
        self._waiting.append((exchange, False))
        while self._waiting:
            exchange, leaving = self._waiting.pop()
            if leaving:
                on_the_way.remove(exchange.number)
            elif exchange.number in visited:
                cycles += exchange.number in on_the_way
            elif exchange.settings.by_content and self._message is None:
                return ASK_EACH
            else:
                visited.add(exchange.number)
                on_the_way.add(exchange.number)
                self._waiting.append((exchange, True))
                self._follow(exchange)
        queues = [self._queues[number] for number in sorted(self._queues)]
        memory = tuple([queue for queue in queues if not queue.settings.durable])
        durable = tuple([queue for queue in queues if queue.settings.durable]) if memory else tuple(queues)
        return Plan(durable + memory, cycles, False, memory)

    def _follow(self, exchange: Exchange) -> None:
        exchanges = self._broker.exchanges
        matched = False
        for kind, number in exchange.matcher.match(self._routing_key, self._message or NO_MESSAGE):
            matched = True
            if kind == QUEUE:
                if (queue := self._broker.queues.get(number)) is not None:
                    self._queues[number] = queue
            else:
                self._waiting.append((exchanges.by_number[number], False))
        if not matched and exchange.settings.alternate is not None:
            alternate = exchanges.names.get(exchange.settings.alternate)
            if alternate is not None:
                self._waiting.append((alternate, False))


def leads_to(broker: Broker, start: Exchange, wanted: Exchange) -> bool:
    """True when bindings or alternates lead from one exchange to another, or they are the same."""
    exchanges = broker.exchanges
    visited: set[int] = set()
    waiting = [start]
    while waiting:
        exchange = waiting.pop()
        if exchange is wanted:
            return True
        if exchange.number in visited:
            continue
        visited.add(exchange.number)
        waiting += [
            exchanges.by_number[binding.destination.number]
            for binding in exchange.bindings
            if binding.destination.kind != QUEUE
        ]
        if (alternate := exchanges.names.get(exchange.settings.alternate or "")) is not None:
            waiting.append(alternate)
    return False
