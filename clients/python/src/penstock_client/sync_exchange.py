"""Exchanges of the blocking API."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from penstock_client.exchange import Binding, ExchangeInfo
from penstock_client.exchange import Exchange as AsyncExchange
from penstock_client.exchange_publisher import ExchangePublisher as AsyncExchangePublisher
from penstock_client.message import Confirm, Publishable
from penstock_client.outgoing import Outgoing
from penstock_client.reply import REPLY_TIMEOUT_S, Reply
from penstock_client.sync_publisher import BlockingPublisher
from penstock_client.sync_replies import iterate

if TYPE_CHECKING:
    from penstock_client.sync import _LoopThread


class ExchangePublisher(BlockingPublisher[tuple[str, Outgoing]]):
    """``with events.publisher() as publisher: publisher.send("orders.new", body)``."""

    def __init__(self, thread: _LoopThread, publisher: AsyncExchangePublisher) -> None:
        super().__init__(thread, publisher, publisher.send_prepared)

    def send(self, routing_key: str, message: Publishable) -> None:
        """Publish soon; blocks while the window is full.

        Raises PublishFailed as soon as it is known that something sent before failed, and at the end of the publisher.
        """
        self._put((routing_key, self._publisher.prepare(message)))


class Exchange:
    """A named exchange of one client; a handle, no I/O. Arguments are those of the asyncio API."""

    def __init__(self, thread: _LoopThread, exchange: AsyncExchange) -> None:
        self._thread = thread
        self._exchange = exchange
        self.name = exchange.name
        self.type = exchange.type

    def declare(self, **settings: Any) -> bool:
        """Have the exchange exist; True when it is new."""
        return self._thread.run(self._exchange.declare(**settings))

    def info(self) -> ExchangeInfo:
        """Describe the exchange."""
        return self._thread.run(self._exchange.info())

    def bindings(self) -> list[Binding]:
        """Return its bindings, the oldest first."""
        return self._thread.run(self._exchange.bindings())

    def delete(self, *, if_unused: bool = False) -> int:
        """Remove the exchange; return how many bindings went with it."""
        return self._thread.run(self._exchange.delete(if_unused=if_unused))

    def bind(self, queue: str | None = None, routing_key: str = "", **how: Any) -> bool:
        """Lead messages that match to a queue, or to another exchange; True when the binding is new."""
        return self._thread.run(self._exchange.bind(queue, routing_key, **how))

    def unbind(self, queue: str | None = None, routing_key: str = "", **how: Any) -> bool:
        """Take a binding back, said as it was made; False when there is none."""
        return self._thread.run(self._exchange.unbind(queue, routing_key, **how))

    def publish(
        self, routing_key: str, message: Publishable, *, durability: str = "synced", mandatory: bool = True
    ) -> Confirm:
        """Publish one message; it is in all of its queues when this returns. Raises Unroutable."""
        return self._thread.run(
            self._exchange.publish(routing_key, message, durability=durability, mandatory=mandatory)
        )

    def publish_many(
        self, routing_key: str, messages: Iterable[Publishable], *, durability: str = "synced", mandatory: bool = True
    ) -> list[Confirm]:
        """Publish messages together; return one confirm each, in order."""
        return self._thread.run(
            self._exchange.publish_many(routing_key, messages, durability=durability, mandatory=mandatory)
        )

    def request(
        self,
        routing_key: str,
        message: Publishable = b"",
        *,
        timeout: float = REPLY_TIMEOUT_S,
        durability: str = "synced",
    ) -> Reply:
        """Publish a request and return the first reply. Raises Unroutable at once."""
        return self._thread.run(self._exchange.request(routing_key, message, timeout=timeout, durability=durability))

    def requests(
        self,
        routing_key: str,
        message: Publishable = b"",
        *,
        timeout: float = REPLY_TIMEOUT_S,
        count: int | None = None,
        durability: str = "synced",
    ) -> Iterator[Reply]:
        """Publish a request and yield every reply, of all queues that it goes to. Raises Unroutable at once."""
        return iterate(
            self._thread,
            self._exchange.requests(routing_key, message, timeout=timeout, count=count, durability=durability),
        )

    def publisher(self, *, durability: str = "synced", mandatory: bool = True) -> ExchangePublisher:
        """Publish a stream of messages."""
        publisher = self._exchange.publisher(durability=durability, mandatory=mandatory)
        return ExchangePublisher(self._thread, publisher)
