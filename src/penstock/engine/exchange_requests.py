"""The named commands on exchanges and bindings."""

from __future__ import annotations

from typing import Any, Final

from penstock.core import bindings
from penstock.core.definitions import find_queue
from penstock.core.exchange_settings import parse_exchange_settings
from penstock.core.exchanges import Exchange
from penstock.core.matching import Destination
from penstock.core.values import Refused
from penstock.engine.arguments import Call, Handler

LIST_LIMIT_MAX: Final = 1000
"""Exchanges, or bindings, in one answer."""


def _declare(call: Call) -> dict[str, Any]:
    name = call.arguments.text("exchange", None)
    passive = call.arguments.flag("passive", False)
    values = call.arguments.rest()
    broker = call.engine.broker
    if passive:
        exchange, created = bindings.find_exchange(broker, name), False
    else:
        settings = parse_exchange_settings(values)
        limit = call.engine.limits.exchanges_max
        exchange, created = bindings.declare_exchange(broker, name, settings, call.engine.clock_ms(), limit)
    return {"exchange": exchange.name, "id": exchange.number, "created": created}


def _describe(call: Call) -> dict[str, Any]:
    exchange = _named_exchange(call)
    call.arguments.end()
    return bindings.describe_exchange(exchange)


def _list(call: Call) -> dict[str, Any]:
    prefix = call.arguments.text("prefix", "")
    after = call.arguments.text("after", "")
    limit = call.arguments.number("limit", 500, 1, LIST_LIMIT_MAX)
    call.arguments.end()
    broker = call.engine.broker
    page, more = bindings.list_exchanges(broker, prefix, after, limit)
    return {"exchanges": [bindings.describe_exchange(exchange) for exchange in page], "more": more}


def _bindings(call: Call) -> dict[str, Any]:
    exchange = _named_exchange(call)
    start = call.arguments.number("start", 0)
    limit = call.arguments.number("limit", 500, 1, LIST_LIMIT_MAX)
    call.arguments.end()
    page, more = bindings.list_bindings(call.engine.broker, exchange, start, limit)
    return {"bindings": page, "more": more}


def _delete(call: Call) -> dict[str, Any]:
    if_unused = call.arguments.flag("if_unused", False)
    exchange = _named_exchange(call)
    call.arguments.end()
    return {"deleted_bindings": bindings.delete_exchange(call.engine.broker, exchange, if_unused)}


def _bind(call: Call) -> dict[str, Any]:
    exchange, destination, routing_key, arguments = _binding(call)
    limit = call.engine.limits.bindings_max
    outcome = bindings.bind(call.engine.broker, exchange, destination, routing_key, arguments, limit)
    return {"created": outcome.created, "cycle": outcome.cycle}


def _unbind(call: Call) -> dict[str, Any]:
    exchange, destination, routing_key, arguments = _binding(call)
    return {"removed": bindings.unbind(call.engine.broker, exchange, destination, routing_key, arguments)}


def _binding(call: Call) -> tuple[Exchange, Destination, Any, Any]:
    exchange = _named_exchange(call)
    queue = call.arguments.optional("queue")
    to_exchange = call.arguments.optional("to_exchange")
    routing_key = call.arguments.text("routing_key", "")
    arguments = call.arguments.optional("arguments")
    call.arguments.end()
    if (queue is None) == (to_exchange is None):
        raise Refused("bad-binding", "a binding leads to either a queue or an exchange (to_exchange): name one")
    broker = call.engine.broker
    if queue is not None:
        destination = Destination.to_queue(find_queue(broker, queue).number)
    else:
        destination = Destination.to_exchange(bindings.find_exchange(broker, to_exchange).number)
    return exchange, destination, routing_key, {} if arguments is None else arguments


def _named_exchange(call: Call) -> Exchange:
    return bindings.find_exchange(call.engine.broker, call.arguments.text("exchange", None))


EXCHANGE_COMMANDS: Final[dict[str, Handler]] = {
    "exchange_declare": _declare,
    "exchange_describe": _describe,
    "exchange_list": _list,
    "exchange_bindings": _bindings,
    "exchange_delete": _delete,
    "exchange_bind": _bind,
    "exchange_unbind": _unbind,
}
