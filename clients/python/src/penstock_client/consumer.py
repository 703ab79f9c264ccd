"""Consuming, below the API: one subscription, over as many connections as it takes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from penstock_client.delivery import HELD, Delivery
from penstock_client.errors import PenstockError, UnknownQueue, again, error_of
from penstock_client.holdings import ACKS_MAX, Holdings, log
from penstock_client.wire.entries import Delivery as Entry
from penstock_client.wire.entries import Outcome, encode_settle
from penstock_client.wire.errors import WireError
from penstock_client.wire.frames import FrameType

if TYPE_CHECKING:
    from penstock_client.client import Client
    from penstock_client.link import Link

FLUSHES_PER_PREFETCH: Final = 4
"""Acks are sent when a quarter of the prefetch has gathered: the broker has sent more before the rest is used up."""


PREFETCH: Final = 200
"""Messages held at the most by a consumer that says nothing: enough to keep it busy over a network, few enough that it
cannot hoard what others could work on."""
PREFETCH_BYTES: Final = 16 * 1024 * 1024


class Subscription(NamedTuple):
    """What a consumer asks for."""

    queue: str
    prefetch: int
    prefetch_bytes: int
    name: str
    group: str = ""
    priority: int = 0
    exclusive: bool = False
    declaration: dict[str, Any] | None = None
    """Of an ephemeral group: it is declared again on every connection, since it ends with its last consumer."""
    where: str | None = None


class Consumer:
    """A subscription. It resumes after a lost connection, or says in ``error`` why it does not."""

    def __init__(self, client: Client, number: int, subscription: Subscription) -> None:
        self.queue = subscription.queue
        self.number = number
        self.error: PenstockError | None = None
        self.ended = False
        self.when_interrupted: Callable[[], None] = lambda: None
        """Called when what was handed to the iteration, and not by it to the application, is not to be handed out."""
        self._client = client
        self._subscription = subscription
        self._acks_max = max(1, min(ACKS_MAX, subscription.prefetch // FLUSHES_PER_PREFETCH))
        self._link: Link | None = None
        self._holdings: Holdings | None = None
        self._arrived: deque[Delivery] = deque()
        self._waiters: list[asyncio.Future[None]] = []
        self._cancelling = False

    # -- connections come and go ---------------------------------------------------------------------------------------

    async def attach(self, link: Link) -> None:
        """Subscribe on a connection. Raises what the broker refuses."""
        subscription = self._subscription
        arguments = {
            "consumer": self.number,
            "queue": subscription.queue,
            "group": subscription.group,
            "prefetch_messages": subscription.prefetch,
            "prefetch_bytes": subscription.prefetch_bytes,
            "name": subscription.name,
            "priority": subscription.priority,
            "exclusive": subscription.exclusive,
            **({"where": subscription.where} if subscription.where else {}),
        }
        if subscription.declaration is not None:
            await link.request(FrameType.GROUP_DECLARE, subscription.declaration)
            if self.ended:  # meanwhile: nobody would cancel what is begun now
                return
        # Before the reply is looked at: deliveries may be right behind it.
        self._link = link
        client = self._client
        address = (subscription.queue, subscription.group)
        self._holdings = Holdings(
            link, address, self._acks_max, client.request_timeout_s, client.count_stale, client.replier
        )
        # Without ranges it says that this session marks what it starts: if it dies before it has marked anything, what
        # was prefetched comes back without a failure (SEMANTICS 2).
        link.send(FrameType.SETTLE, encode_settle(Outcome.STARTED, []))
        await link.request(FrameType.CONSUME, arguments)

    def detach(self) -> None:
        """The connection is gone and every lease with it; what is at hand here is delivered again."""
        self._link = None
        self._arrived.clear()
        self.when_interrupted()
        if self._holdings is not None:
            self._holdings.lose()
            self._holdings = None

    def fail(self, error: PenstockError) -> None:
        """Nothing comes any more: whoever waits gets this error."""
        if self.error is None:
            self.error = error
        self._wake()

    def cancelled(self, notice: dict[str, Any]) -> None:
        """The broker ended this subscription; its leases are gone."""
        error = error_of(str(notice.get("error", "")), str(notice.get("message", "")))
        if isinstance(error, UnknownQueue):
            error = error_of("queue-deleted", str(error))
        self.detach()
        self.fail(error)

    # -- messages arrive -----------------------------------------------------------------------------------------------

    def deliver(self, entry: Entry) -> None:
        """Take an arriving run of messages."""
        holdings, link = self._holdings, self._link
        if holdings is None or link is None or self._cancelling:
            return  # the broker takes it back by itself
        if self.ended:
            self._answer(link, entry, Outcome.RELEASE)
            return
        try:
            delivery = Delivery(entry, self.queue, HELD)
        except WireError as error:  # a broken producer wrote it: to the dead letters, or it comes again for ever
            log.warning("queue %r: messages from offset %d on cannot be read: %s", self.queue, entry.offset, error)
            self._answer(link, entry, Outcome.REJECT, f"the client cannot read it: {error}")
            return
        holdings.take(delivery, entry.lease_ms / 1000)
        self._arrived.append(delivery)
        self._wake()

    def _answer(self, link: Link, entry: Entry, outcome: Outcome, reason: str = "") -> None:
        ranges = [(entry.first_tag, entry.first_tag + entry.count - 1)]
        link.send(FrameType.SETTLE, encode_settle(outcome, ranges, 0, reason))

    def take_arrived(self) -> Delivery | None:
        """Return the next run that arrived, if any."""
        return self._arrived.popleft() if self._arrived else None

    def flush(self) -> None:
        """Say every outcome now."""
        if self._holdings is not None:
            self._holdings.flush()

    async def wait(self) -> None:
        """Return when something arrived or this ended; outcomes are said first. Raises when nothing will come."""
        self.flush()
        if self.error is not None:
            raise again(self.error)
        if self._arrived or self.ended:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # -- the end -------------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Have the iteration end; what the application was not handed goes back."""
        self.ended = True
        self._arrived.clear()
        self.when_interrupted()
        if self._holdings is not None:
            self._holdings.flush()
            self._holdings.release_unhanded()
        self._wake()

    async def stop(self) -> None:
        """Have the iteration end and nothing more delivered; what the application was handed stays held.

        Never raises for a lost connection.
        """
        self.end()
        try:
            if self._link is not None:
                arguments = {"consumer": self.number, "prefetch_messages": 0, "prefetch_bytes": 0}
                await self._link.request(FrameType.FLOW, arguments)
        except PenstockError as error:
            log.debug("stopping consumer %d: %s", self.number, error)

    async def finished(self) -> None:
        """Return when the application has settled everything it was handed."""
        if self._holdings is not None:
            await self._holdings.finished()

    async def close(self) -> None:
        """Unsubscribe: acks are sent, what was not handed out goes back, leases of what is still open run out.

        Never raises for a lost connection.
        """
        self.end()
        if self._holdings is not None:
            self._holdings.stop_extending()
        link = self._link
        self._cancelling = True
        try:
            if link is not None:
                await link.request(FrameType.CANCEL, {"consumer": self.number, "release": True})
        except PenstockError as error:
            log.debug("cancel of consumer %d: %s", self.number, error)
        finally:
            self._client.forget_consumer(self)
