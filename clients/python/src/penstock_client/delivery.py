"""Messages that arrived: what they are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from penstock_client.message import PRIORITY_DEFAULT, Headers
from penstock_client.wire.blocks import COLUMN_BODIES, Columns, block_columns, decode_block, decode_bodies
from penstock_client.wire.entries import Delivery as Entry
from penstock_client.wire.readable import readable_block

if TYPE_CHECKING:
    from penstock_client.holdings import Holdings

HELD: Final = 0
"""Delivered, not yet handed to the application."""
HANDED: Final = 1
"""With the application; the broker does not know."""
STARTED: Final = 2
"""With the application; the broker knows. Up to here a message is open: it may be settled."""
ACKED: Final = 3
"""Acknowledged by the application; the broker does not know."""
SETTLED: Final = 4
"""Its outcome is said; there is nothing more to do."""
LOST: Final = 5
"""The connection it came by is gone before its outcome was said: it is delivered again."""
PEEKED: Final = 6
"""Looked at, never leased."""
TRANSACTED: Final = 7
"""Acknowledged in a transaction whose outcome is not known: leased, and not to be settled otherwise."""


class Failure(NamedTuple):
    """One failed attempt: ``consumer`` had the message from ``leased_at`` until ``time``, when it failed."""

    time: datetime
    attempt: int
    consumer: str
    reason: str
    leased_at: datetime

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Failure:
        """Return the failure in a map of the wire."""
        _check(raw, attempt=int, consumer=str, reason=str)
        return cls(moment(raw["time_ms"]), raw["attempt"], raw["consumer"], raw["reason"], moment(raw["leased_at_ms"]))


class DeadLetter(NamedTuple):
    """Where a dead letter comes from, and why it died. ``earlier`` is its life before that, if it was redriven."""

    queue: str
    offset: int | None
    """None: it never was in the queue, which was full."""
    attempts: int
    reason: str
    failures: list[Failure]
    group: str
    """The group in which it died; "" is the default one."""
    published_at: datetime
    earlier: DeadLetter | None

    @classmethod
    def of(cls, raw: Any) -> DeadLetter | None:
        """Return the provenance in a property of the wire; None when it is none, but something a producer wrote."""
        try:
            if not isinstance(raw, dict):
                return None
            letter, earlier = cls._of(raw), raw.get("earlier")  # of one life before the broker tells
            return letter._replace(earlier=cls._of(earlier)) if isinstance(earlier, dict) else letter
        except (KeyError, TypeError, ValueError, OverflowError, OSError):
            return None

    @classmethod
    def _of(cls, raw: dict[str, Any]) -> DeadLetter:
        _check(raw, queue=str, attempts=int, reason=str)
        failures = [Failure.of(failure) for failure in raw.get("failures", ())]
        published_at = moment(raw["published_at_ms"])
        group = raw.get("group", "")
        return cls(raw["queue"], raw.get("offset"), raw["attempts"], raw["reason"], failures, group, published_at, None)


def _check(raw: dict[str, Any], **kinds: type) -> None:
    """Raise KeyError or TypeError unless these are in a map of the wire, and are what they have to be."""
    for name, kind in kinds.items():
        if not isinstance(raw[name], kind):
            raise TypeError(f"{name} is {raw[name]!r}, not {kind.__name__}")


def moment(time_ms: int) -> datetime:
    """Return a time of the wire."""
    return datetime.fromtimestamp(time_ms / 1000, UTC)


class Run:
    """Messages that arrived together; columns beside the bodies are decoded when first touched."""

    __slots__ = ("_columns", "block", "bodies")

    def __init__(self, block: bytes) -> None:
        self.block = block
        self.bodies: list[bytes] = decode_bodies(block)
        self._columns: Columns | None = None

    @property
    def columns(self) -> Columns:
        """All columns of the block."""
        columns = self._columns
        if columns is None:
            plain = block_columns(self.block) == COLUMN_BODIES
            columns = self._columns = Columns(self.bodies) if plain else decode_block(self.block)
        return columns


class Delivery(Run):
    """A run of messages of a queue.

    ``marks`` has one of the marks above for each message. ``clean`` is False while its holdings are to look at them.
    """

    __slots__ = ("attempt", "clean", "failures", "first_tag", "holdings", "marks", "offset", "published_at_ms", "queue")

    holdings: Holdings

    def __init__(self, entry: Entry, queue: str, mark: int) -> None:
        super().__init__(entry.block)
        self.attempt = entry.attempt
        self.failures = entry.failures
        self.first_tag = entry.first_tag
        self.offset = entry.offset
        self.published_at_ms = entry.published_at_ms
        self.queue = queue
        self.marks = bytearray((mark,)) * len(self.bodies)
        self.clean = True


def looked_at(entry: Entry, queue: str) -> Delivery:
    """Return a run that was peeked at or found, never leased: also one that a consumer could not read."""
    return Delivery(entry._replace(block=readable_block(entry.block)), queue, PEEKED)


class Content:
    """What whoever sent a message put into it."""

    __slots__ = ("_delivery", "_index", "body")

    def __init__(self, delivery: Run, index: int, body: bytes) -> None:
        self._delivery = delivery
        self._index = index
        self.body = body

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
        return self._text("message_id")

    @property
    def content_type(self) -> str | None:
        """What the body is, such as ``application/json``."""
        return self._text("content_type")

    @property
    def correlation_id(self) -> str | None:
        """What it answers or belongs to."""
        return self._text("correlation_id")

    @property
    def reply_to(self) -> str | None:
        """Where an answer is expected."""
        return self._text("reply_to")

    @property
    def timestamp(self) -> datetime | None:
        """When it happened, as its producer said."""
        try:
            return moment(self._properties["timestamp"])
        except (KeyError, TypeError, ValueError, OverflowError, OSError):  # none, or none that is a time
            return None

    def _text(self, name: str) -> str | None:
        """A property that is a text; None also where a producer that breaks the protocol wrote something else."""
        value = self._properties.get(name)
        return value if isinstance(value, str) else None

    def _whole(self, name: str) -> int | None:
        """As _text, for a whole number."""
        value = self._properties.get(name)
        return value if type(value) is int else None

    @property
    def properties(self) -> dict[str, Any]:
        """All its properties as the wire has them."""
        return dict(self._properties)

    @property
    def _properties(self) -> dict[str, Any]:
        properties = self._delivery.columns.properties
        return (properties[self._index] if properties else None) or {}


class MessageView(Content):
    """What a received message is."""

    __slots__ = ()

    _delivery: Delivery

    def __repr__(self) -> str:
        attempt = self._delivery.attempt  # of this life: what it says of earlier ones may be unreadable
        return f"<message {self.offset} of {self.queue!r}, attempt {attempt}, {len(self.body)} bytes>"

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def exchange(self) -> str:
        """The exchange it was published through; empty: straight to a queue."""
        routing = self._delivery.columns.routing
        return routing[0] if routing else ""

    @property
    def routing_key(self) -> str:
        """The routing key it was published with: without an exchange, the name of the queue it was published to."""
        routing = self._delivery.columns.routing
        if routing:
            return routing[1]
        dead = self._properties.get("dead")
        return str(dead.get("queue")) if isinstance(dead, dict) else self.queue

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
        before = earlier.get("attempts") if isinstance(earlier, dict) else 0
        return self._delivery.attempt + (before if isinstance(before, int) else 0)

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
        return moment(self._delivery.published_at_ms)

    @property
    def priority(self) -> int:
        """Its priority, as its producer said."""
        priority = self._whole("priority")
        return PRIORITY_DEFAULT if priority is None else priority

    @property
    def ttl(self) -> float | None:
        """Its time to live in seconds, as its producer said."""
        ttl_ms = self._whole("ttl_ms")
        return None if ttl_ms is None else ttl_ms / 1000

    @property
    def dead(self) -> DeadLetter | None:
        """Where it comes from, if it is a dead letter."""
        return DeadLetter.of(self._properties.get("dead"))

    @property
    def redriven(self) -> DeadLetter | None:
        """Its life before it was redriven, if it was."""
        return DeadLetter.of(self._properties.get("redriven"))
