"""Commands on exchanges and bindings: declare, describe, list, delete; bind and unbind."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any, NamedTuple

from penstock.core.broker import Broker
from penstock.core.exchange_settings import CONSISTENT_HASH, ExchangeSettings, check_binding, check_exchange_name
from penstock.core.exchanges import Binding, Exchange
from penstock.core.facts import (
    Bound,
    ExchangeDeclared,
    ExchangeDeleted,
    ExchangeFact,
    Unbound,
)
from penstock.core.hashring import WEIGHTS_MAX
from penstock.core.matching import QUEUE, Destination
from penstock.core.namespacing import check_new_name, check_together
from penstock.core.routing import leads_to
from penstock.core.values import Refused, check_name


def find_exchange(broker: Broker, name: Any) -> Exchange:
    """Return the exchange of that name; raises Refused (unknown-exchange)."""
    exchange = broker.exchanges.names.get(name) if isinstance(name, str) else None
    if exchange is None:
        if name == "":
            check_exchange_name(name)
        check_name(name)
        raise Refused("unknown-exchange", f"there is no exchange {name!r}; declare it first")
    return exchange


def declare_exchange(
    broker: Broker, name: str, settings: ExchangeSettings, now_ms: int, exchanges_max: int
) -> tuple[Exchange, bool]:
    """Return the exchange and whether it is new. Raises Refused: settings-differ names every difference."""
    exchange = broker.exchanges.names.get(check_exchange_name(name))
    if exchange is not None:
        differences = settings.differences(exchange.settings)
        if differences:
            raise Refused("settings-differ", f"exchange {name!r} exists with other settings: {differences} there")
        return exchange, False
    check_new_name(broker, name)
    if settings.alternate is not None:
        check_together(name, settings.alternate, "the alternate exchange", "bad-setting")
    if len(broker.exchanges.by_number) >= exchanges_max:
        raise Refused("limit-reached", f"there are {exchanges_max} exchanges already (limits.exchanges_max)")
    number = broker.next_number
    _decide(broker, ExchangeDeclared(number, name, settings, now_ms))
    return broker.exchanges.by_number[number], True


def delete_exchange(broker: Broker, exchange: Exchange, if_unused: bool) -> int:
    """Remove the exchange with its bindings, those to it included; return how many. Raises Refused: exchange-in-use."""
    if if_unused and exchange.bindings:
        raise Refused("exchange-in-use", f"exchange {exchange.name!r} has {len(exchange.bindings)} bindings")
    before = broker.exchanges.binding_count
    _decide(broker, ExchangeDeleted(exchange.number))
    return before - broker.exchanges.binding_count


class BindOutcome(NamedTuple):
    """What a bind did: ``created`` is False when it was there; ``cycle``: it closes a cycle of exchanges."""

    created: bool
    cycle: bool


def bind(
    broker: Broker, exchange: Exchange, destination: Destination, routing_key: Any, arguments: Any, bindings_max: int
) -> BindOutcome:
    """Have messages led from an exchange to a destination. Raises Refused: bad-binding says where and why.

    A binding that closes a cycle of exchanges is legal, as in AMQP brokers, and said: routing breaks cycles.
    """
    binding = _binding(exchange, destination, routing_key, arguments)
    to_exchange = destination.kind != QUEUE
    cycle = to_exchange and leads_to(broker, broker.exchanges.by_number[destination.number], exchange)
    if binding in exchange.bindings:
        return BindOutcome(False, cycle)
    check_together(exchange.name, _name_of(broker, destination), "a binding", "bad-binding")
    if broker.exchanges.binding_count >= bindings_max:
        raise Refused("limit-reached", f"there are {bindings_max} bindings already (limits.bindings_max)")
    if exchange.settings.type == CONSISTENT_HASH:
        _check_weights(exchange, binding)
    _decide(broker, Bound(*binding), destination.is_recorded)
    return BindOutcome(True, cycle)


def unbind(broker: Broker, exchange: Exchange, destination: Destination, routing_key: Any, arguments: Any) -> bool:
    """Remove a binding; False when there is none, which is no error (as AMQP brokers have it)."""
    binding = _binding(exchange, destination, routing_key, arguments)
    if binding not in exchange.bindings:
        return False
    _decide(broker, Unbound(*binding), destination.is_recorded)
    return True


def describe_exchange(exchange: Exchange) -> dict[str, Any]:
    """Everything a person wants to know of an exchange. Counts are messages."""
    return {
        "exchange": exchange.name,
        "id": exchange.number,
        **exchange.settings.as_map(),
        "bindings": len(exchange.bindings),
        "published": exchange.published,
        "unrouted": exchange.unrouted,
        "unroutable": exchange.unroutable,
        "cycles_broken": exchange.cycles_broken,
        "created_at_ms": exchange.created_at_ms,
    }


def list_exchanges(broker: Broker, prefix: str, after: str, limit: int) -> tuple[list[Exchange], bool]:
    """Return up to ``limit`` exchanges by name, with ``prefix`` and after ``after``; and whether there are more."""
    names = sorted(name for name in broker.exchanges.names if name.startswith(prefix))
    start = bisect_right(names, after) if after else 0
    page = names[start : start + limit]
    return [broker.exchanges.names[name] for name in page], start + limit < len(names)


def list_bindings(broker: Broker, exchange: Exchange, start: int, limit: int) -> tuple[list[dict[str, Any]], bool]:
    """Return up to ``limit`` bindings from the ``start``-th on, oldest first; and whether there are more."""
    page = list(exchange.bindings)[start : start + limit]
    return [_describe_binding(broker, binding) for binding in page], start + limit < len(exchange.bindings)


def _describe_binding(broker: Broker, binding: Binding) -> dict[str, Any]:
    return {
        "kind": binding.destination.kind,
        "destination": _name_of(broker, binding.destination),
        "routing_key": binding.routing_key,
        "arguments": binding.values(),
    }


def _name_of(broker: Broker, destination: Destination) -> str:
    found = broker.queues if destination.kind == QUEUE else broker.exchanges.by_number
    return found[destination.number].name


def _binding(exchange: Exchange, destination: Destination, routing_key: Any, arguments: Any) -> Binding:
    canonical = check_binding(exchange.settings, routing_key, arguments)
    return Binding(exchange.number, destination, routing_key, canonical)


def _check_weights(exchange: Exchange, binding: Binding) -> None:
    weights = sum(int(one.routing_key) for one in (*exchange.bindings, binding))
    if weights > WEIGHTS_MAX:
        raise Refused(
            "limit-reached",
            f"the weights of exchange {exchange.name!r} would add up to {weights}; at most {WEIGHTS_MAX}: give its"
            " bindings smaller ones in the same proportion",
        )


def _decide(broker: Broker, fact: ExchangeFact, recorded: bool = True) -> None:
    broker.emit(recorded, fact)
