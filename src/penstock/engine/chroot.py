"""The inside of a namespace: what a session in one says becomes full names, what it is told becomes local ones.

    connection --> request, transaction --> ``inward``  --> engine and core: full names only
    connection <-- sink <-- ``ChrootSink`` <-------------- replies, refusals

Both are in one place each, so that no command has to know of it. Messages are passed as they are: names in their
properties (where a dead letter died, which schedule fired) and in their routing column are local ones in every
namespace, for nothing leads from one into another. Routes keep both names (``core.session.Route``).

Sessions in the root have no such sink and pay nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from penstock.core.names import SEPARATOR, full_name, local_name
from penstock.core.transacting import Transaction

if TYPE_CHECKING:
    from penstock.core.values import Refusal
    from penstock.engine.interface import Sink

_NAMES: Final = frozenset({"queue", "exchange", "to_exchange", "target", "dead_letter", "alternate"})
"""Arguments that are names of queues and exchanges, in every command that has them."""
_TOLD: Final = _NAMES | {"destination"}
"""And what replies have."""
_OF_SCHEDULES: Final = frozenset({"schedule_add", "schedule_remove", "schedule_pause"})
"""Commands in which ``name`` is the schedule's, and not a consumer's."""
_PAGED: Final = frozenset({"queue_list", "exchange_list", "schedule_list"})
_SENTENCES: Final = frozenset({"refused"})
"""What replies say of single messages that were refused."""
_OPAQUE: Final = frozenset({"arguments", "state"})
"""What is the users' own in replies."""


def inward(space: str, command: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return a command's arguments with full names. What is no text is left to be refused."""
    names = _NAMES | {"name"} if command in _OF_SCHEDULES else _NAMES
    full = {key: _full(space, key, value) if key in names else value for key, value in values.items()}
    if command in _PAGED:
        for key in ("prefix", "after"):
            value = values.get(key, "")
            if isinstance(value, str) and (value or key == "prefix"):
                full[key] = full_name(space, value)
    if command == "route_open" and not values.get("exchange") and isinstance(values.get("routing_key"), str):
        full["routing_key"] = full_name(space, values["routing_key"])
    return full


def _full(space: str, key: str, value: Any) -> Any:
    """The default exchange "" is everywhere."""
    if not isinstance(value, str) or (not value and key in ("exchange", "to_exchange")):
        return value
    return full_name(space, value)


def inward_transaction(space: str, transaction: Transaction) -> Transaction:
    """Return a transaction with full names."""
    blocks = [
        (full_name(space, exchange) if exchange else "", key if exchange else full_name(space, key), count, block)
        for exchange, key, count, block in transaction.blocks
    ]
    writes = [
        (full_name(space, queue), group, key, version, value)
        for queue, group, key, version, value in transaction.writes
    ]
    return Transaction(transaction.acks, blocks, writes)


class ChrootSink:
    """Stands before the sink of a session in a namespace."""

    def __init__(self, sink: Sink, space: str) -> None:
        self._sink = sink
        self._quoted = re.compile(f"(?<=['\"]){re.escape(space + SEPARATOR)}")
        self.confirm = sink.confirm
        self.deliver = sink.deliver
        self.peeked = sink.peeked
        self.stale = sink.stale
        self.replied = sink.replied
        self.unsent_bytes = sink.unsent_bytes

    def reply(self, request: int, result: dict[str, Any]) -> None:
        """A request succeeded."""
        self._sink.reply(request, self._told(result))

    def refuse(self, request: int, refusal: Refusal) -> None:
        """A request was refused."""
        self._sink.refuse(request, self._local(refusal))

    def cancelled(self, consumer: int, refusal: Refusal) -> None:
        """A consumer ended by the broker's doing."""
        self._sink.cancelled(consumer, self._local(refusal))

    def abort(self, refusal: Refusal) -> None:
        """Close the connection."""
        self._sink.abort(self._local(refusal))

    def _local(self, refusal: Refusal) -> Refusal:
        return refusal._replace(message=self._sentence(refusal.message))

    def _sentence(self, text: str) -> str:
        """Sentences have names in quotes."""
        return self._quoted.sub("", text)

    def _told(self, result: dict[str, Any]) -> dict[str, Any]:
        names = _TOLD | {"name"} if "cron" in result else _TOLD
        told = dict(result)
        for key, value in result.items():
            if key in _SENTENCES:
                told[key] = self._value(value, self._sentence)
            elif key not in _OPAQUE:
                told[key] = self._value(value, local_name if key in names else str)
        return told

    def _value(self, value: Any, text: Callable[[str], str]) -> Any:
        """Return a value of a reply with its texts, at any depth of lists, as ``text`` makes them."""
        if isinstance(value, str):
            return text(value)
        if isinstance(value, dict):
            return self._told(value)
        if isinstance(value, list | tuple):
            return [self._value(one, text) for one in value]
        return value
