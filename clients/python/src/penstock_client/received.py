"""Messages that arrived: what they are, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from traceback import format_exception
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from penstock_client.message import Headers
from penstock_client.wire.blocks import COLUMN_BODIES, Columns, block_columns, decode_block, decode_bodies
from penstock_client.wire.entries import NO_DELAY, Outcome
from penstock_client.wire.entries import Delivery as Entry
from penstock_client.wire.limits import REASON_BYTES_MAX

if TYPE_CHECKING:
    from penstock_client.consumer import Consumer


class Failure(NamedTuple):
    """One failed attempt, from a dead letter's history."""

    time: datetime
    attempt: int
    consumer: str
    reason: str


class DeadLetter(NamedTuple):
    """Where a dead letter comes from, and why it died."""

    queue: str
    offset: int
    attempts: int
    reason: str
    failures: list[Failure]


class Delivery:
    """A run of messages that arrived together; columns beside the bodies are decoded when first touched."""

    __slots__ = ("_columns", "attempt", "block", "bodies", "consumer", "failures", "first_tag", "offset", "open_count",
                 "published_at_ms", "queue")  # fmt: skip

    def __init__(self, entry: Entry, queue: str, consumer: Consumer | None) -> None:
        self.block = entry.block
        self.bodies: list[bytes] = decode_bodies(entry.block)
        self.attempt = entry.attempt
        self.failures = entry.failures
        self.first_tag = entry.first_tag
        self.offset = entry.offset
        self.published_at_ms = entry.published_at_ms
        self.queue = queue
        self.consumer = consumer
        self.open_count = len(self.bodies)
        self._columns: Columns | None = None

    @property
    def columns(self) -> Columns:
        """All columns of the block."""
        columns = self._columns
        if columns is None:
            plain = block_columns(self.block) == COLUMN_BODIES
            columns = self._columns = Columns(self.bodies) if plain else decode_block(self.block)
        return columns


class MessageView:
    """What a received message is."""

    __slots__ = ("_delivery", "_index", "_settled", "body")

    def __init__(self, delivery: Delivery, index: int, body: bytes) -> None:
        self._delivery = delivery
        self._index = index
        self._settled = False
        self.body = body

    def __repr__(self) -> str:
        return f"<message {self.offset} of {self.queue!r}, attempt {self.attempt}, {len(self.body)} bytes>"

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def queue(self) -> str:
        """The name of its queue."""
        return self._delivery.queue

    @property
    def offset(self) -> int:
        """Its place in the queue's log."""
        return self._delivery.offset + self._index

    @property
    def attempt(self) -> int:
        """How often it was handed out, this time included and its lives before a redrive too."""
        earlier = self._properties.get("redriven")
        return self._delivery.attempt + (int(earlier.get("attempts", 0)) if isinstance(earlier, dict) else 0)

    @property
    def failures(self) -> int:
        """How often it failed since it was published or redriven."""
        return self._delivery.failures

    @property
    def redelivered(self) -> bool:
        """True when it was handed out before."""
        return self._delivery.attempt > 1

    @property
    def published_at(self) -> datetime:
        """When the broker took it."""
        return datetime.fromtimestamp(self._delivery.published_at_ms / 1000, UTC)

    @property
    def key(self) -> str | None:
        """Its key."""
        keys = self._delivery.columns.keys
        return keys[self._index] if keys else None

    @property
    def headers(self) -> Headers:
        """Its headers; empty when it has none."""
        headers = self._delivery.columns.headers
        return (headers[self._index] if headers else None) or {}

    @property
    def message_id(self) -> str | None:
        """The producer's id for it."""
        return self._properties.get("message_id")

    @property
    def content_type(self) -> str | None:
        """What the body is, such as ``application/json``."""
        return self._properties.get("content_type")

    @property
    def correlation_id(self) -> str | None:
        """What it answers or belongs to."""
        return self._properties.get("correlation_id")

    @property
    def reply_to(self) -> str | None:
        """Where an answer is expected."""
        return self._properties.get("reply_to")

    @property
    def timestamp(self) -> datetime | None:
        """When it happened, as its producer said."""
        value = self._properties.get("timestamp")
        return None if value is None else datetime.fromtimestamp(value / 1000, UTC)

    @property
    def dead(self) -> DeadLetter | None:
        """Where it comes from, if it is a dead letter."""
        value = self._properties.get("dead")
        if not isinstance(value, dict):
            return None
        failures = [
            Failure(datetime.fromtimestamp(f["time_ms"] / 1000, UTC), f["attempt"], f["consumer"], f["reason"])
            for f in value.get("failures", ())
        ]
        return DeadLetter(value["queue"], value["offset"], value["attempts"], value["reason"], failures)

    @property
    def properties(self) -> dict[str, Any]:
        """All its properties as the wire has them."""
        return dict(self._properties)

    @property
    def _properties(self) -> dict[str, Any]:
        properties = self._delivery.columns.properties
        return (properties[self._index] if properties else None) or {}


class ReceivedMessage(MessageView):
    """A message handed to this consumer, or one that was peeked at.

    As a context manager it acknowledges itself on success, and on failure gives the exception to the broker as the
    reason (nack), which is how it ends up in the failure history.
    """

    __slots__ = ()

    # -- what becomes of it --------------------------------------------------------------------------------------------

    async def ack(self, *, confirm: bool = False) -> None:
        """It is done. With ``confirm`` this returns when that is on disk and raises StaleDelivery if the lease had
        ended; without, it is sent soon and costs nothing.
        """
        if self._settled:
            return
        self._settled = True
        delivery = self._delivery
        consumer = delivery.consumer
        if consumer is None:
            raise _not_leased(self)
        if confirm:
            await consumer.settle_confirmed(delivery, [self._index])
        else:
            consumer.ack(delivery, delivery.first_tag + self._index)

    async def nack(self, *, delay: float | None = None, reason: str = "") -> None:
        """It failed: it comes again after ``delay`` seconds (None: the queue's backoff), or dies at the limit."""
        self._settle(Outcome.NACK, NO_DELAY if delay is None else max(0, int(delay * 1000)), reason)

    async def release(self) -> None:
        """Give it back untried: no failure is counted."""
        self._settle(Outcome.RELEASE)

    async def reject(self, *, reason: str = "") -> None:
        """It will never succeed: straight to the dead letters."""
        self._settle(Outcome.REJECT, 0, reason)

    async def extend(self, seconds: float) -> None:
        """Hold it for ``seconds`` from now. The client extends by itself what it holds; this is for longer plans."""
        consumer = self._delivery.consumer
        if consumer is None:
            raise _not_leased(self)
        consumer.extend(self._delivery, [self._index], int(seconds * 1000))

    def _settle(self, outcome: int, duration_ms: int = 0, reason: str = "") -> None:
        consumer = self._delivery.consumer
        if consumer is None:
            raise _not_leased(self)
        if not self._settled:
            self._settled = True
            consumer.settle(self._delivery, [self._index], outcome, duration_ms, reason)

    async def __aenter__(self) -> ReceivedMessage:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            await self.ack()
        elif isinstance(error, Exception):
            await self.nack(reason=reason_of(error))
        else:  # cancelled, or the program ends: not the message's fault
            await self.release()


class Batch(list[ReceivedMessage]):
    """Messages handed over together."""

    async def ack(self, *, confirm: bool = False) -> None:
        """All of them are done, except those that were settled one by one."""
        for consumer, delivery, indexes in self._unsettled(self):
            if confirm:
                await consumer.settle_confirmed(delivery, indexes)
            else:
                consumer.settle(delivery, indexes, Outcome.ACK)

    async def nack(
        self, messages: Sequence[ReceivedMessage] | None = None, *, delay: float | None = None, reason: str = ""
    ) -> None:
        """These (None: all that are not settled) failed."""
        duration_ms = NO_DELAY if delay is None else max(0, int(delay * 1000))
        for consumer, delivery, indexes in self._unsettled(self if messages is None else messages):
            consumer.settle(delivery, indexes, Outcome.NACK, duration_ms, reason)

    @staticmethod
    def _unsettled(messages: Sequence[ReceivedMessage]) -> list[tuple[Consumer, Delivery, list[int]]]:
        runs: list[tuple[Consumer, Delivery, list[int]]] = []
        last: Delivery | None = None
        indexes: list[int] = []
        for message in messages:
            if message._settled:
                continue
            message._settled = True
            delivery = message._delivery
            if delivery is not last:
                if delivery.consumer is None:
                    raise _not_leased(message)
                last, indexes = delivery, []
                runs.append((delivery.consumer, delivery, indexes))
            indexes.append(message._index)
        return runs


_REASON_TAIL_BYTES: Final = REASON_BYTES_MAX - 8


def reason_of(error: BaseException) -> str:
    """Return an exception as a reason: its kind and message first, then the end of its traceback."""
    text = "".join(format_exception(error))
    head = f"{type(error).__name__}: {error}"
    room = _REASON_TAIL_BYTES - len(head.encode("utf-8", "replace"))
    if room <= 0:
        return head
    tail = text.encode("utf-8", "replace")[-room:].decode("utf-8", "ignore")
    return f"{head}\n\n{tail}"


def _not_leased(message: ReceivedMessage) -> Exception:
    return TypeError(f"{message!r} was peeked at, not leased: there is nothing to settle")
