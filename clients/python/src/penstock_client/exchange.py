"""An exchange's handle: no I/O until something is asked of it."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from penstock_client.exchange_publisher import ExchangePublisher
from penstock_client.gathering import level_of
from penstock_client.message import Confirm, Headers, Publishable
from penstock_client.outgoing import prepare
from penstock_client.reply import REPLY_TIMEOUT_S, Reply
from penstock_client.ways import way_of
from penstock_client.wire.frames import FrameType

if TYPE_CHECKING:
    from penstock_client.client import Client

_PAGE: Final = 500
log: Final = logging.getLogger("penstock_client")


class ExchangeInfo(NamedTuple):
    """An exchange as it is now.

    ``published`` messages were taken since it was declared, ``unrouted`` of them by no queue (and that was no error);
    ``unroutable`` ones were refused, and ``cycles_broken`` times one came back to where it had been, since the broker
    started.
    """

    name: str
    id: int
    type: str
    alternate: str | None
    hash_by: str
    hash_header: str | None
    bindings: int
    published: int
    unrouted: int
    unroutable: int
    cycles_broken: int
    created_at: datetime
    raw: dict[str, Any]

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Self:
        """Return the info in a describe's reply."""
        return cls(
            name=raw["exchange"],
            created_at=datetime.fromtimestamp(raw["created_at_ms"] / 1000, UTC),
            raw=raw,
            **{field: raw[field] for field in cls._fields if field in raw},
        )


class Binding(NamedTuple):
    """A rule of an exchange: messages that match it go to ``destination``, a ``queue`` or an ``exchange``."""

    kind: str
    destination: str
    routing_key: str
    arguments: dict[str, Any]


class Exchange:
    """A named exchange of one client. ``type`` is said when it is declared."""

    def __init__(self, client: Client, name: str, type: str) -> None:  # noqa: A002  the API's word
        self._client = client
        self.name = name
        self.type = type

    def __repr__(self) -> str:
        return f"<exchange {self.name!r}>"

    # -- the exchange itself -------------------------------------------------------------------------------------------

    async def declare(
        self,
        *,
        alternate: str | None = None,
        hash_by: str | None = None,
        hash_header: str | None = None,
        passive: bool = False,
    ) -> bool:
        """Have the exchange exist; True when it is new.

        ``alternate`` names the exchange that gets what no binding of this one takes. ``hash_by`` is what a
        consistent-hash exchange hashes: ``routing-key``, the message's ``key``, or a ``header``, which ``hash_header``
        names then.
        Raises SettingsDiffer when it exists with other settings; with ``passive`` only UnknownExchange.
        """
        arguments: dict[str, Any] = {
            "type": self.type,
            "alternate": alternate,
            "hash_by": hash_by,
            "hash_header": hash_header,
        }
        given = (
            {"passive": True} if passive else {name: value for name, value in arguments.items() if value is not None}
        )
        reply = await self._client.call(FrameType.EXCHANGE_DECLARE, {"exchange": self.name, **given})
        return bool(reply["created"])

    async def info(self) -> ExchangeInfo:
        """Describe the exchange. Raises UnknownExchange."""
        return ExchangeInfo.of(await self._client.call(FrameType.EXCHANGE_DESCRIBE, {"exchange": self.name}))

    async def bindings(self) -> list[Binding]:
        """Return its bindings, the oldest first."""
        found: list[Binding] = []
        more = True
        while more:
            arguments = {"exchange": self.name, "start": len(found), "limit": _PAGE}
            page = await self._client.call(FrameType.EXCHANGE_BINDINGS, arguments)
            found += [Binding(**raw) for raw in page["bindings"]]
            more = bool(page["more"]) and bool(page["bindings"])
        return found

    async def delete(self, *, if_unused: bool = False) -> int:
        """Remove the exchange; return how many bindings, from it and to it, went with it."""
        arguments = {"exchange": self.name, "if_unused": if_unused}
        reply = await self._client.call(FrameType.EXCHANGE_DELETE, arguments, once=True)
        return int(reply["deleted_bindings"])

    # -- bindings ------------------------------------------------------------------------------------------------------

    async def bind(
        self,
        queue: str | None = None,
        routing_key: str = "",
        *,
        exchange: str | None = None,
        headers: Headers | None = None,
        match: str = "all",
        weight: int | None = None,
    ) -> bool:
        """Lead messages that match to a queue, or to another exchange; True when the binding is new.

        What matches is said by the exchange's type: an equal ``routing_key`` (direct), words with ``*`` for one and
        ``#`` for any number of them (topic), ``all`` or ``any`` of the ``headers`` (headers; None asks for the header
        alone, whatever its value), everything (fanout), or a share by ``weight`` (consistent-hash). Raises BadBinding,
        which says what is wrong and where.
        """
        arguments = _binding(self.name, queue, routing_key, exchange, headers, match, weight)
        reply = await self._client.call(FrameType.EXCHANGE_BIND, arguments)
        if reply["cycle"]:
            log.warning("binding exchange %r to %r closes a cycle, which routing breaks", self.name, exchange)
        return bool(reply["created"])

    async def unbind(
        self,
        queue: str | None = None,
        routing_key: str = "",
        *,
        exchange: str | None = None,
        headers: Headers | None = None,
        match: str = "all",
        weight: int | None = None,
    ) -> bool:
        """Take a binding back, said as it was made; False when there is none."""
        arguments = _binding(self.name, queue, routing_key, exchange, headers, match, weight)
        return bool((await self._client.call(FrameType.EXCHANGE_UNBIND, arguments))["removed"])

    # -- publishing ----------------------------------------------------------------------------------------------------

    async def publish(
        self, routing_key: str, message: Publishable, *, durability: str = "synced", mandatory: bool = True
    ) -> Confirm:
        """Publish one message; it is in all of its queues, and on disk there, when this returns.

        Raises Unroutable when no queue takes it; with ``mandatory=False`` it is dropped then, and counted.
        """
        way = way_of(self.name, routing_key, mandatory)
        return await self._client.publish(way, prepare(message), level_of(durability))

    async def publish_many(
        self, routing_key: str, messages: Iterable[Publishable], *, durability: str = "synced", mandatory: bool = True
    ) -> list[Confirm]:
        """Publish messages together; return one confirm each, in order. Raises the first error, after all are known."""
        outgoing = [prepare(message) for message in messages]
        way = way_of(self.name, routing_key, mandatory)
        return await self._client.publish_many(way, outgoing, level_of(durability))

    # -- asking --------------------------------------------------------------------------------------------------------

    async def request(
        self,
        routing_key: str,
        message: Publishable = b"",
        *,
        timeout: float = REPLY_TIMEOUT_S,  # noqa: ASYNC109  it is part of the question, and told in the answer
        durability: str = "synced",
    ) -> Reply:
        """Publish a request and return the first reply, as ``client.request`` does. Raises Unroutable at once."""
        way = way_of(self.name, routing_key, mandatory=True)
        return await self._client.asker.request(way, message, timeout, level_of(durability))

    def requests(
        self,
        routing_key: str,
        message: Publishable = b"",
        *,
        timeout: float = REPLY_TIMEOUT_S,
        count: int | None = None,
        durability: str = "synced",
    ) -> AsyncGenerator[Reply, None]:
        """Publish a request and yield every reply, as ``client.requests`` does: of all queues that the message goes to.

        Raises Unroutable at once when it goes to none.
        """
        way = way_of(self.name, routing_key, mandatory=True)
        return self._client.asker.requests(way, message, timeout, count, level_of(durability))

    def publisher(self, *, durability: str = "synced", mandatory: bool = True) -> ExchangePublisher:
        """Publish a stream of messages: ``async with events.publisher() as p: await p.send("orders.new", body)``."""
        return ExchangePublisher(self._client, self.name, durability, mandatory)


def _binding(
    name: str,
    queue: str | None,
    routing_key: str,
    exchange: str | None,
    headers: Headers | None,
    match: str,
    weight: int | None,
) -> dict[str, Any]:
    arguments: dict[str, Any] = {"exchange": name, "routing_key": routing_key if weight is None else str(weight)}
    if queue is not None:
        arguments["queue"] = queue
    if exchange is not None:
        arguments["to_exchange"] = exchange
    if headers is not None:
        arguments["arguments"] = {**headers, "x-match": match}
    return arguments
