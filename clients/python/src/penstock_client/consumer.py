"""Consuming, below the API: what this client holds, and what is said of it to the broker.

Outcomes are gathered into tag ranges and sent by count, after FLUSH_S, or before the consumer would wait. What has been
handed to the application and is still open at a flush is marked *started*, so that only those count as failed if this
process dies (SEMANTICS 2). Leases of everything held are extended every third of a lease, by a timer that depends on no
handler. When the connection is lost, what was held belongs to the broker again: acknowledging it changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from penstock_client.errors import PenstockError, StaleDelivery, UnknownQueue, error_of
from penstock_client.link import read_reply
from penstock_client.received import Delivery
from penstock_client.wire.entries import Delivery as Entry
from penstock_client.wire.entries import Outcome, encode_settle
from penstock_client.wire.errors import WireError
from penstock_client.wire.frames import FrameType

if TYPE_CHECKING:
    from penstock_client.client import Client
    from penstock_client.link import Link

FLUSH_S: Final = 0.002
ACKS_MAX: Final = 1000
"""Acks gathered at the most before they are sent."""
log: Final = logging.getLogger("penstock_client")


class Consumer:
    """One subscription, over as many connections as it takes."""

    def __init__(self, client: Client, queue: str, number: int, prefetch: int, prefetch_bytes: int, name: str) -> None:
        self.queue = queue
        self.number = number
        self.error: PenstockError | None = None
        self.closed = False
        self._client = client
        self._prefetch = prefetch
        self._prefetch_bytes = prefetch_bytes
        self._name = name
        self._lease_s = 30.0
        self._link: Link | None = None
        self._arrived: deque[Delivery] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._held: dict[int, Delivery] = {}
        self._acks: list[list[int]] = []
        self._ack_count = 0
        self._acks_max = max(1, min(ACKS_MAX, prefetch // 4))
        self._started_up_to = 0
        self.handed_up_to = 0
        self._loop = asyncio.get_running_loop()
        self.flush_timer: asyncio.TimerHandle | None = None
        self._extend_timer: asyncio.TimerHandle | None = None
        self._extend_due_s = 0.0

    # -- connections come and go ---------------------------------------------------------------------------------------

    async def attach(self, link: Link) -> None:
        """Subscribe on a connection. Raises what the broker refuses."""
        result = await link.request(
            FrameType.CONSUME,
            {
                "consumer": self.number,
                "queue": self.queue,
                "group": "",
                "prefetch_messages": self._prefetch,
                "prefetch_bytes": self._prefetch_bytes,
                "name": self._name,
            },
        )
        self._link = link
        self._lease_s = result["lease_ms"] / 1000
        self._plan_extension()

    def detach(self) -> None:
        """The connection is gone and every lease with it; what is buffered here will be delivered again."""
        self._link = None
        for delivery in self._held.values():
            delivery.bodies.clear()  # whoever iterates over them goes on with what is delivered next
        self._arrived.clear()
        self._held.clear()
        self._acks.clear()
        self._ack_count = 0
        self._started_up_to = self.handed_up_to = 0

    def fail(self, error: PenstockError) -> None:
        """Nothing comes any more: whoever waits gets this error."""
        if self.error is None:
            self.error = error
        self._wake()

    def cancelled(self, notice: dict[str, Any]) -> None:
        """The broker ended this subscription."""
        error = error_of(str(notice.get("error", "")), str(notice.get("message", "")))
        if isinstance(error, UnknownQueue):
            error = error_of("queue-deleted", str(error))
        self.fail(error)

    # -- messages arrive -----------------------------------------------------------------------------------------------

    def deliver(self, entry: Entry) -> None:
        """Take an arriving run of messages."""
        try:
            delivery = Delivery(entry, self.queue, self)
        except WireError as error:
            self._reject_unreadable(entry, error)
            return
        self._held[entry.first_tag] = delivery
        self._arrived.append(delivery)
        self._wake()

    def _reject_unreadable(self, entry: Entry, error: WireError) -> None:
        """Bodies that are no bytes come from a broken producer: to the dead letters, or they come again for ever."""
        log.warning("queue %r: messages from offset %d on cannot be read: %s", self.queue, entry.offset, error)
        if self._link is not None:
            ranges = [(entry.first_tag, entry.first_tag + entry.count - 1)]
            payload = encode_settle(Outcome.REJECT, ranges, 0, f"the client cannot read it: {error}")
            self._link.send(FrameType.SETTLE, payload)

    def take_arrived(self) -> Delivery | None:
        """Return the next run that arrived, if any."""
        return self._arrived.popleft() if self._arrived else None

    @property
    def has_arrived(self) -> bool:
        """True when a run of messages is waiting to be taken."""
        return bool(self._arrived)

    def plan_flush(self) -> None:
        """Have a flush soon."""
        self.flush_timer = self._loop.call_later(FLUSH_S, self._flush_due)

    async def wait(self, timeout_s: float | None = None) -> None:
        """Return when something arrived or the time is over; raises when nothing will arrive any more."""
        self.flush()
        if self._arrived:
            return
        if self.error is not None:
            raise self.error
        if self.closed:
            return
        waiter = self._waiter = self._loop.create_future()
        try:
            await asyncio.wait_for(waiter, timeout_s)
        except TimeoutError:
            pass
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- outcomes ------------------------------------------------------------------------------------------------------

    def ack(self, delivery: Delivery, tag: int) -> None:
        """One message is done."""
        delivery.open_count -= 1
        if not delivery.open_count:
            if self._held.pop(delivery.first_tag, None) is not delivery:
                self._client.count_stale(1)
                return
        elif delivery.first_tag not in self._held:
            self._client.count_stale(1)
            return
        acks = self._acks
        if acks and acks[-1][1] == tag - 1:
            acks[-1][1] = tag
        else:
            acks.append([tag, tag])
        self._ack_count += 1
        if self._ack_count >= self._acks_max:
            self._send_acks()
        elif self.flush_timer is None:
            self.plan_flush()

    def settle(
        self, delivery: Delivery, indexes: list[int], outcome: int, duration_ms: int = 0, reason: str = ""
    ) -> None:
        """Send an outcome of some messages of a run, gathered acks first."""
        if self._held.get(delivery.first_tag) is not delivery or self._link is None:
            self._client.count_stale(len(indexes))
            return
        self._close(delivery, len(indexes))
        ranges = tag_ranges(delivery.first_tag, indexes)
        if outcome == Outcome.ACK:
            self._acks += [list(pair) for pair in ranges]
            self._ack_count += len(indexes)
            if self._ack_count >= self._acks_max:
                self._send_acks()
            elif self.flush_timer is None:
                self.plan_flush()
            return
        self._send_acks()
        self._link.send(FrameType.SETTLE, encode_settle(outcome, ranges, duration_ms, reason))

    async def settle_confirmed(self, delivery: Delivery, indexes: list[int]) -> None:
        """Acknowledge and return when that is durable. Raises StaleDelivery, ConnectionLost."""
        link = self._link
        if self._held.get(delivery.first_tag) is not delivery or link is None:
            raise StaleDelivery("the connection that held this message was lost; it is delivered again")
        self._close(delivery, len(indexes))
        self._send_acks()
        read_reply(
            await link.ask(FrameType.SETTLE, encode_settle(Outcome.ACK, tag_ranges(delivery.first_tag, indexes)))
        )

    def extend(self, delivery: Delivery, indexes: list[int], duration_ms: int) -> None:
        """Hold messages of a run for so long from now."""
        if self._held.get(delivery.first_tag) is not delivery or self._link is None:
            raise StaleDelivery("the connection that held this message was lost; it is delivered again")
        ranges = tag_ranges(delivery.first_tag, indexes)
        self._link.send(FrameType.SETTLE, encode_settle(Outcome.EXTEND, ranges, duration_ms))

    def flush(self) -> None:
        """Send the gathered acks, and mark as started what the application has had since the last flush."""
        self._send_acks()
        first, end = max(self._started_up_to, self._first_open()), self.handed_up_to
        if first < end and self._link is not None:
            self._link.send(FrameType.SETTLE, encode_settle(Outcome.STARTED, [(first, end - 1)]))
        self._started_up_to = end

    def _first_open(self) -> int:
        for delivery in self._held.values():
            settled = len(delivery.bodies) - delivery.open_count
            return delivery.first_tag + settled
        return self.handed_up_to

    def _flush_due(self) -> None:
        self.flush_timer = None
        self.flush()

    def _send_acks(self) -> None:
        if self._acks and self._link is not None:
            ranges = [(first, last) for first, last in self._acks]
            self._link.send(FrameType.SETTLE, encode_settle(Outcome.ACK, ranges))
        self._acks = []
        self._ack_count = 0

    def _close(self, delivery: Delivery, count: int) -> None:
        delivery.open_count -= count
        if delivery.open_count <= 0:
            self._held.pop(delivery.first_tag, None)

    # -- leases --------------------------------------------------------------------------------------------------------

    def _plan_extension(self) -> None:
        if self._extend_timer:
            self._extend_timer.cancel()
        self._extend_due_s = self._loop.time() + self._lease_s / 3
        self._extend_timer = self._loop.call_at(self._extend_due_s, self._extend_held)

    def _extend_held(self) -> None:
        late_s = self._loop.time() - self._extend_due_s
        if late_s > self._lease_s / 3:
            log.warning(
                "the event loop was blocked for %.1f s, a third of the lease of queue %r or more: its messages may be"
                " delivered twice; do blocking work in a thread (asyncio.to_thread) or use penstock_client.sync",
                late_s, self.queue,
            )  # fmt: skip
        if self._held and self._link is not None:
            ranges = [(tag, tag + len(delivery.bodies) - 1) for tag, delivery in self._held.items()]
            payload = encode_settle(Outcome.EXTEND, ranges, int(self._lease_s * 1000))
            self._link.send(FrameType.SETTLE, payload)
        self._plan_extension()

    # -- the end -------------------------------------------------------------------------------------------------------

    async def stop_credit(self) -> None:
        """Have nothing more delivered; what is held stays held."""
        if self._link is not None:
            arguments = {"consumer": self.number, "prefetch_messages": 0, "prefetch_bytes": 0}
            await self._link.request(FrameType.FLOW, arguments)

    def end(self) -> None:
        """Have the iteration end when what it has at hand is through."""
        self.closed = True
        self._wake()

    def release_arrived(self) -> None:
        """Give back what the application has not been handed."""
        while self._arrived:
            delivery = self._arrived.popleft()
            self.settle(delivery, list(range(len(delivery.bodies))), Outcome.RELEASE)

    def release_rest(self, delivery: Delivery, first_index: int) -> None:
        """Give back the messages of a run from ``first_index`` on."""
        indexes = list(range(first_index, len(delivery.bodies)))
        if indexes:
            self.settle(delivery, indexes, Outcome.RELEASE)

    async def close(self) -> None:
        """Unsubscribe: acks are sent, what was not handed out goes back. Never raises for a lost connection."""
        self.closed = True
        self._wake()
        link = self._link
        self.flush()
        self.release_arrived()
        for timer in (self.flush_timer, self._extend_timer):
            if timer:
                timer.cancel()
        self._client.forget_consumer(self)
        if link is not None and self.error is None:
            try:
                await link.request(FrameType.CANCEL, {"consumer": self.number, "release": True})
            except PenstockError as error:
                log.debug("cancel of consumer %d: %s", self.number, error)


def tag_ranges(first_tag: int, indexes: list[int]) -> list[tuple[int, int]]:
    """Return the (first, last) tag ranges of ascending message indexes."""
    if len(indexes) == indexes[-1] - indexes[0] + 1:
        return [(first_tag + indexes[0], first_tag + indexes[-1])]
    ranges: list[tuple[int, int]] = []
    for index in sorted(indexes):
        tag = first_tag + index
        if ranges and ranges[-1][1] == tag - 1:
            ranges[-1] = (ranges[-1][0], tag)
        else:
            ranges.append((tag, tag))
    return ranges
