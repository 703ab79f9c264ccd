"""What clients do with exchanges: declare, bind, publish through them, unbind, delete."""

from __future__ import annotations

from typing import Any

from tests.sim.bodies import view_of
from tests.sim.client import Asked, Client, Connection
from tests.sim.exchanges import Rule, ShadowExchange, Way
from tests.sim.options import EXCHANGES, QUEUES, ROUTING_KEYS, draw_rule
from tests.sim.terms import draw_terms
from tests.sim.world import World

from penstock.core.exchange_settings import check_binding
from penstock.core.values import SYNCED, WRITTEN


def publish_through(world: World) -> None:
    """Publish a block through an exchange, which is there nearly always."""
    client = world.rng.choice(world.clients[1:])
    connection = client.connection
    if (
        connection is None
        or client.space
        or not connection.producer_known
        or client.resend
        or _window_is_full(world, client)
    ):
        return
    rng = world.rng
    name = rng.choice(EXCHANGES)
    if rng.random() < 0.95 and name not in world.shadow.exchanges.names:
        world.ensure_exchange(connection, name)
        for _ in range(rng.choice([0, 2, 5])):
            _bind(world, connection, world.shadow.exchanges.names[name])
    way = Way(name, 0, rng.choice(ROUTING_KEYS), rng.random() < 0.7)
    if _fills_what_is_pinned(world, way) and rng.random() < 0.8:
        return
    count = rng.choice([1, 1, 2, 5, 9])
    asks = draw_terms(rng, world.options.terms_odds, count)
    client.send_through(way, rng.choice([SYNCED, SYNCED, WRITTEN]), count, asks)


def bind(world: World) -> None:
    """Bind a queue or an exchange, in cycles too."""
    connection, exchange = _connection(world), _exchange(world)
    if connection is not None and exchange is not None:
        _bind(world, connection, exchange)


def _bind(world: World, connection: Connection, exchange: ShadowExchange) -> None:
    rng = world.rng
    routing_key, arguments = draw_rule(rng, exchange.settings.type)
    where: dict[str, str] = {"queue": rng.choice(QUEUES)}
    if rng.random() < 0.25:
        where = {"to_exchange": rng.choice(EXCHANGES)}
        world.ensure_exchange(connection, where["to_exchange"])
    else:
        world.ensure_declared(connection, where["queue"])
    rule = _rule(world, exchange, where, routing_key, arguments)
    if rule is not None:
        asked = Asked("exchange_bind", -1, {"created": rule not in exchange.rules})
        connection.ask(asked, _arguments(exchange, where, routing_key, arguments))


def unbind(world: World) -> None:
    """Take back a binding that is there, or one that is not."""
    connection, exchange = _connection(world), _exchange(world)
    if connection is None or exchange is None:
        return
    routing_key, arguments = draw_rule(world.rng, exchange.settings.type)
    where = {"queue": world.rng.choice(QUEUES)}
    rule = _rule(world, exchange, where, routing_key, arguments)
    if rule is not None:
        asked = Asked("exchange_unbind", -1, {"removed": rule in exchange.rules})
        connection.ask(asked, _arguments(exchange, where, routing_key, arguments))


def declare(world: World) -> None:
    """Declare an exchange that may be there, with its settings or others."""
    connection = _connection(world)
    if connection is None:
        return
    name = world.rng.choice(EXCHANGES)
    known = world.shadow.exchanges.names.get(name)
    settings = dict(world.options.exchanges[name])
    asked = Asked("exchange_declare", -1, {"created": known is None})
    if known is not None and world.rng.random() < 0.3:
        settings["alternate"] = "another"
        asked.code = "settings-differ"
    connection.ask(asked, {"exchange": name, **settings})


def delete(world: World) -> None:
    """Delete an exchange with what is bound to it, and what it is bound to."""
    connection, exchange = _connection(world), _exchange(world)
    if connection is None or exchange is None or world.rng.random() < 0.5:
        return
    if_unused = world.rng.random() < 0.5
    into = [
        rule
        for other in world.shadow.exchanges.by_number.values()
        for rule in other.rules
        if other is not exchange and (rule.kind, rule.number) == ("exchange", exchange.number)
    ]
    asked = Asked("exchange_delete", -1, {"deleted_bindings": len(exchange.rules) + len(into)})
    if if_unused and exchange.rules:
        asked.code = "exchange-in-use"
    connection.ask(asked, {"exchange": exchange.name, "if_unused": if_unused})


def _fills_what_is_pinned(world: World, way: Way) -> bool:
    """True when a message by this way would likely go to a queue that is to get few."""
    exchanges, names = world.shadow.exchanges, world.shadow.names
    exchange = exchanges.names.get(way.exchange)
    pinned = {names[name].number for name in world.options.pinned if name in names}
    return exchange is not None and not pinned.isdisjoint(
        exchanges.queues_for(exchange, way.routing_key, view_of(world.rng.randrange(9)))
    )


def _window_is_full(world: World, client: Client) -> bool:
    return sum(len(sent.uids) for sent in client.unconfirmed) > world.options.window_messages


def _connection(world: World) -> Connection | None:
    """One to the root, where the exchanges are."""
    client = world.rng.choice(world.clients[1:])
    return None if client.space else client.connection


def _exchange(world: World) -> ShadowExchange | None:
    return world.shadow.exchanges.names.get(world.rng.choice(EXCHANGES))


def _rule(
    world: World, exchange: ShadowExchange, where: dict[str, str], routing_key: str, arguments: dict[str, Any]
) -> Rule | None:
    canonical = check_binding(exchange.settings, routing_key, arguments)
    if "queue" in where:
        queue = world.shadow.names.get(where["queue"])
        return None if queue is None else Rule("queue", queue.number, routing_key, canonical)
    other = world.shadow.exchanges.names.get(where["to_exchange"])
    return None if other is None else Rule("exchange", other.number, routing_key, canonical)


def _arguments(
    exchange: ShadowExchange, where: dict[str, str], routing_key: str, arguments: dict[str, Any]
) -> dict[str, Any]:
    return {"exchange": exchange.name, **where, "routing_key": routing_key, "arguments": arguments}
