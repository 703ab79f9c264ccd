"""What the engine needs from its surroundings, and what it gives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from penstock.core.broker import BlockReader
from penstock.core.log import BlockRef
from penstock.core.operands import HEADERS, KEYS, PROPERTIES
from penstock.core.values import QueueSettings, Refusal

ConfirmEntry = tuple[Any, ...]
"""(route, status, level, code label or "", first sequence, message count, offset)"""

TagRange = tuple[int, int]
"""(first tag, last tag), both included."""


class DeliveryOut(NamedTuple):
    """Consecutive messages of one queue on their way to a consumer (or, with tag 0, to who peeked)."""

    consumer: int
    attempt: int
    failures: int
    first_tag: int
    offset: int
    published_at_ms: int
    lease_ms: int
    block: bytes
    message_count: int


class ReplyIn(NamedTuple):
    """A block of replies for one address, from whoever answers. ``refusal`` is why its bytes cannot be delivered."""

    address: str
    message_count: int
    block: bytes
    refusal: str = ""


class Sink(Protocol):
    """A connection as the engine sees it. Called on the engine's thread; must not raise, must not wait."""

    def confirm(self, entries: list[ConfirmEntry]) -> None:
        """Outcomes of published blocks, once per commit."""

    def deliver(self, entries: list[DeliveryOut]) -> None:
        """Messages handed out to this connection's consumers."""

    def reply(self, request: int, result: dict[str, Any]) -> None:
        """A request succeeded."""

    def refuse(self, request: int, refusal: Refusal) -> None:
        """A request was refused and changed nothing (except where the refusal says so)."""

    def peeked(self, request: int, entries: list[DeliveryOut]) -> None:
        """Messages that were asked to be looked at."""

    def stale(self, outcome: int, ranges: list[TagRange]) -> None:
        """A settle named tags this session does not hold."""

    def cancelled(self, consumer: int, refusal: Refusal) -> None:
        """A consumer ended by the broker's doing."""

    def replied(self, replied_at_ms: int, blocks: list[bytes]) -> None:
        """Replies to what this connection asked. Only to one that opened its reply box."""

    def unsent_bytes(self) -> int:
        """How much, of anything, waits to be written to the peer. Asked of one that opened its reply box."""
        ...

    def abort(self, refusal: Refusal) -> None:
        """Close the connection."""


BODIES: Final = "bodies"
COLUMNS: Final = frozenset((BODIES, KEYS, HEADERS, PROPERTIES))
"""What a block may be asked for."""


class BlockColumns(NamedTuple):
    """Decoded columns of a block, one element per message; None where not asked for, absent, or not to be decoded."""

    bodies: list[bytes] | None = None
    keys: list[str | None] | None = None
    headers: list[dict[str, Any] | None] | None = None
    properties: list[dict[str, Any] | None] | None = None


class Calendar(Protocol):
    """Knows when cron lines fire; times are ms since 1970."""

    def check(self, cron: str, zone: str) -> None:
        """Raise Refused (bad-setting) unless line and time zone make sense."""

    def next_ms(self, cron: str, zone: str, after_ms: int) -> int | None:
        """Return the first time after ``after_ms`` at which it fires; None when it never does."""
        ...

    def previous_ms(self, cron: str, zone: str, before_ms: int) -> int | None:
        """Return the last time before ``before_ms`` at which it fired; None when it never did."""
        ...


class BlockCodec(BlockReader, Protocol):
    """What the engine asks of the block format, which it does not know itself."""

    def columns(self, block: bytes, wanted: frozenset[str]) -> BlockColumns:
        """Decode the wanted columns; one that its producer wrote wrongly is as if it were absent."""
        ...

    def edited(self, block: bytes, original: bytes, queue: str, offset: int) -> bytes:
        """Return a lone message as what replaces ``original``, which it names in its property ``edited_from``; what the
        broker noted with that one (where it died, by which exchange it came) stays.
        """
        ...

    def keys(self, block: bytes) -> Sequence[str | None]:
        """Return the key of each message; None where it has none, or one that cannot be decoded."""
        ...

    def properties(self, block: bytes) -> list[dict[Any, Any] | None] | None:
        """Return the properties of each message of a block that has any; None when they cannot be decoded."""
        ...

    def single_problem(self, block: Any) -> str:
        """Return why these are not the bytes of a block of one message for now; empty when they are."""
        ...

    def fired(self, block: bytes, provenance: dict[str, Any]) -> bytes:
        """Return the block of a recurring schedule's message, with which firing it is in its properties."""
        ...

    def dead_letter(self, block: bytes, index: int, provenance: dict[str, Any]) -> bytes:
        """Return message ``index`` alone, with its provenance added to its properties."""
        ...

    def redriven(self, block: bytes) -> tuple[bytes, str | None, str]:
        """Return a dead letter as the message it was, the queue (None: not a dead letter) and group it came from."""
        ...


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Bounds of the engine; the settings file documents each with its reason."""

    queues_max: int = 100_000
    groups_per_queue_max: int = 1000
    exchanges_max: int = 10_000
    bindings_max: int = 100_000
    routes_per_session_max: int = 65_536
    consumers_per_session_max: int = 65_536
    transaction_operations_max: int = 10_000
    transaction_bytes_max: int = 1024 * 1024
    prefetch_messages_max: int = 100_000
    prefetch_bytes_max: int = 256 * 1024 * 1024
    window_messages: int = 50_000
    window_bytes: int = 16 * 1024 * 1024
    cache_bytes: int = 64 * 1024 * 1024
    snapshot_bytes: int = 256 * 1024 * 1024
    producer_idle_ms: int = 7 * 24 * 3600 * 1000
    reply_bytes_max: int = 8 * 1024 * 1024
    dead_letters: QueueSettings = field(default_factory=QueueSettings)
    """Bounds and alarms of dead-letter queues that nobody declared."""


StoredBlock = tuple[int, bytes]
"""A block in memory, after the time it was published, ms since 1970. A plain tuple: there is one per block."""


@dataclass(slots=True)
class Load:
    """Blocks to read from the journal, by whoever drives the engine, who has each record parsed and hands them to
    ``done`` by position.
    """

    blocks: list[BlockRef]
    done: Callable[[dict[int, StoredBlock]], None]
    parse: Callable[[bytes], StoredBlock]
