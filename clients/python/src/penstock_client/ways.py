"""Where messages are published to: a queue, or an exchange with a routing key."""

from __future__ import annotations

from typing import Any, NamedTuple

from penstock_client.errors import BadBinding
from penstock_client.wire.blocks import encode_routing
from penstock_client.wire.limits import NAME_BYTES_MAX


class Way(NamedTuple):
    """Through an exchange, under a routing key. ``mandatory``: that no queue takes a message is an error."""

    exchange: str
    routing_key: str
    mandatory: bool = True


def way_of(exchange: str, routing_key: str, mandatory: bool) -> Way:
    """Return a way; raises BadBinding for a routing key that none can have."""
    size_bytes = len(routing_key.encode("utf-8", "surrogateescape"))
    if size_bytes > NAME_BYTES_MAX:
        raise BadBinding(f"a routing key of {size_bytes} bytes; at most {NAME_BYTES_MAX} are allowed")
    return Way(exchange, routing_key, mandatory)


Target = str | Way
"""A queue's name, or a way through an exchange."""


def label_of(target: Target) -> str:
    """Return what errors call it."""
    if isinstance(target, Way):
        return f"exchange {target.exchange!r}, routing key {target.routing_key!r}"
    return f"queue {target!r}"


def column_of(target: Target) -> bytes:
    """Return the routing column that its blocks carry; a queue's have none."""
    return encode_routing(target.exchange, target.routing_key) if isinstance(target, Way) else b""


def route_arguments(target: Target) -> dict[str, Any]:
    """Return what its ROUTE_OPEN says."""
    if isinstance(target, Way):
        return target._asdict()
    return {"exchange": "", "routing_key": target}
