"""Who is connected, who consumes, and who holds what: for operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

from penstock_client.wire.frames import FrameType

if TYPE_CHECKING:
    from penstock_client.client import Client

_PAGE = 500


class ConnectionInfo(NamedTuple):
    """A connection to the broker. ``age`` is in seconds, ``leased`` in messages."""

    session: int
    name: str
    namespace: str
    age: float
    producer: int | None
    routes: int
    consumers: int
    leased: int

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Self:
        """Return the info in a reply."""
        known = {field: raw[field] for field in cls._fields if field in raw}
        return cls(age=raw["age_ms"] / 1000, **known)


class ConsumerInfo(NamedTuple):
    """A consumer, and what it holds. ``active`` is False for those that stand by in a group of mode ``single``."""

    session: int
    consumer: int
    name: str
    queue: str
    group: str
    priority: int
    exclusive: bool
    active: bool
    prefetch: int
    leased: int
    leased_bytes: int
    lease_ends_in: float | None
    """Seconds until the first of its leases ends; None when it holds nothing."""

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Self:
        """Return the info in a reply."""
        known = {field: raw[field] for field in cls._fields if field in raw}
        ends_ms = raw["lease_ends_in_ms"]
        return cls(
            prefetch=raw["prefetch_messages"], lease_ends_in=None if ends_ms is None else ends_ms / 1000, **known
        )


async def connections(client: Client) -> list[ConnectionInfo]:
    """Describe every connection of the broker, by number."""
    found: list[ConnectionInfo] = []
    more = True
    while more:
        after = found[-1].session if found else 0
        reply = await client.call(FrameType.CONNECTION_LIST, {"after": after, "limit": _PAGE})
        found += [ConnectionInfo.of(raw) for raw in reply["connections"]]
        more = bool(reply["more"])
    return found


async def consumers(client: Client, queue: str | None, group: str | None) -> list[ConsumerInfo]:
    """Describe the consumers of a group, of a queue, or of all queues."""
    where = {"queue": queue, "group": group, "limit": _PAGE}
    found: list[ConsumerInfo] = []
    more = True
    while more:
        after = {"after_session": found[-1].session, "after_consumer": found[-1].consumer} if found else {}
        reply = await client.call(FrameType.CONSUMER_LIST, {**where, **after})
        found += [ConsumerInfo.of(raw) for raw in reply["consumers"]]
        more = bool(reply["more"])
    return found


async def close_connection(client: Client, session: int) -> None:
    """Have the broker end a connection. Its leases go back; what it had started counts as failed."""
    await client.call(FrameType.CONNECTION_CLOSE, {"session": session}, once=True)


async def close_consumer(client: Client, session: int, consumer: int) -> int:
    """Have the broker end a consumer; it is told. Returns how many messages went back."""
    arguments = {"session": session, "consumer": consumer}
    return int((await client.call(FrameType.CONSUMER_CLOSE, arguments, once=True))["released"])


async def revoke(client: Client, queue: str, group: str, offset: int, failed: bool) -> str:
    """Take a message away from who holds it; return the holder's name."""
    arguments = {"queue": queue, "group": group, "offset": offset, "failed": failed}
    return str((await client.call(FrameType.LEASE_REVOKE, arguments, once=True))["holder"])
