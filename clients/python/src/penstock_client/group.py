"""A group's handle: a named cursor over a queue, with a state per message of its own."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from uuid import uuid4

from penstock_client.breakers import BreakerInfo
from penstock_client.consumer import PREFETCH, PREFETCH_BYTES, Subscription
from penstock_client.durations import milliseconds, seconds_of
from penstock_client.groupstate import Known, known_values
from penstock_client.messages import Messages
from penstock_client.rates import Rate, altered_rate, per_second
from penstock_client.wire.frames import FrameType

if TYPE_CHECKING:
    from penstock_client.client import Client

Start = str | int | datetime
"""Where a new group begins: ``earliest``, ``latest``, an offset, or the first message published at or after a time."""


class GroupInfo(NamedTuple):
    """A group as it is now. Counts are messages; ``next_offset`` is the first that it never handed out. ``oldest_age``
    is how many seconds ago the oldest message entered the queue that it is not done with; None when there is none.
    """

    queue: str
    name: str
    id: int
    mode: str
    ephemeral: bool
    on_dead: str
    where: str
    paused: bool
    ready: int
    scheduled: int
    leased: int
    held: int
    messages: int
    oldest_age: float | None
    consumers: int
    acked: int
    redelivered: int
    dead_lettered: int
    filtered: int
    next_offset: int
    low_offset: int
    rate: float | None
    rate_burst: int | None
    breaker_failures: int
    breaker_wait: float
    breaker: BreakerInfo | None
    """None where it has none."""
    raw: dict[str, Any]

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Self:
        """Return the info in a reply."""
        known = {field: raw[field] for field in cls._fields if field in raw and field != "breaker"}
        return cls(
            **known,
            name=raw["group"],
            rate=raw["rate_per_s"],
            oldest_age=seconds_of(raw["oldest_age_ms"]),
            breaker_wait=raw["breaker_wait_ms"] / 1000,
            breaker=BreakerInfo.of(raw["breaker"], raw["group"]) if raw["breaker"] else None,
            raw=raw,
        )


class Group:
    """A group of one queue; made by ``queue.group``."""

    def __init__(self, client: Client, queue: str, name: str, settings: dict[str, Any]) -> None:
        self._client = client
        self._settings = settings
        self.queue = queue
        self.name = name

    def __repr__(self) -> str:
        return f"<group {self.name!r} of queue {self.queue!r}>"

    @property
    def _address(self) -> dict[str, Any]:
        return {"queue": self.queue, "group": self.name}

    async def declare(self) -> bool:
        """Have the group exist; True when it is new.

        Raises BadSelector, UnknownQueue, SettingsDiffer when it exists with other settings, and QueueNotEmpty when it
        would be the queue's first and begin behind messages that nobody would ever get then.
        """
        reply = await self._client.call(FrameType.GROUP_DECLARE, {**self._address, **self._settings})
        return bool(reply["created"])

    def consume(
        self,
        *,
        prefetch: int = PREFETCH,
        prefetch_bytes: int = PREFETCH_BYTES,
        name: str = "",
        priority: int = 0,
        exclusive: bool = False,
        where: str | None = None,
    ) -> Messages:
        """Consume, as ``queue.consume`` does. An ephemeral group is declared by that, again after every reconnect."""
        declaration = {**self._address, **self._settings} if self._settings.get("ephemeral") else None
        subscription = Subscription(
            self.queue, prefetch, prefetch_bytes, name, self.name, priority, exclusive, declaration, where
        )
        return Messages(self._client, subscription)

    async def info(self) -> GroupInfo:
        """Describe the group. Raises UnknownQueue, UnknownGroup."""
        reply = await self._client.call(FrameType.GROUP_DESCRIBE, self._address)
        return GroupInfo.of(reply)

    async def alter(
        self,
        *,
        on_dead: str | None = None,
        rate: Rate | None = None,
        rate_burst: int | None = None,
        where: str | None = None,
        breaker_failures: int | None = None,
        breaker_wait: float | None = None,
    ) -> dict[str, tuple[Any, Any]]:
        """Give the living group other settings, those that are given; return what changed.

        A ``rate`` of 0 takes the rate away, a ``where`` of "" the selector. Another selector looks at all that nobody
        was handed yet; what was filtered stays so. Raises BadSelector.
        """
        settings = {"on_dead": on_dead, "where": where, **breaker_settings(breaker_failures, breaker_wait)}
        given = {name: value for name, value in settings.items() if value is not None}
        arguments = {**self._address, **given, **altered_rate(rate, rate_burst)}
        reply = await self._client.call(FrameType.GROUP_ALTER, arguments)
        return {name: (before, after) for name, (before, after) in reply["changed"].items()}

    async def state(self) -> dict[str, Any]:
        """Return what its consumers keep in its state: small values by key. It is changed in transactions only."""
        return {key: known.value for key, known in (await self.read_state()).items()}

    async def read_state(self) -> dict[str, Known]:
        """Return its state with the version of each value, for a transaction."""
        return known_values(await self._client.call(FrameType.GROUP_STATE, self._address))

    async def purge(self) -> int:
        """Have the group be done with what nobody holds; return how many messages. Other groups keep theirs."""
        reply = await self._client.call(FrameType.QUEUE_PURGE, self._address, once=True)
        return int(reply["purged"])

    async def redrive(self, limit: int = 0) -> int:
        """Have its dead letters (up to ``limit``, 0: all) tried again, by this group alone; return how many."""
        reply = await self._client.call(FrameType.QUEUE_REDRIVE, {**self._address, "limit": limit}, once=True)
        return int(reply["redriven"])

    async def pause(self) -> None:
        """Stop its hand-outs; what is leased stays leased."""
        await self._client.call(FrameType.QUEUE_PAUSE, {**self._address, "paused": True})

    async def resume(self) -> None:
        """Let its hand-outs go on; a breaker that is not closed is."""
        await self._client.call(FrameType.QUEUE_PAUSE, {**self._address, "paused": False})

    async def delete(self, *, if_unused: bool = False) -> int:
        """Remove the group; return how many messages it was not done with. Its consumers are told."""
        reply = await self._client.call(FrameType.GROUP_DELETE, {**self._address, "if_unused": if_unused}, once=True)
        return int(reply["deleted"])


def group_settings(
    mode: str | None,
    start: Start | None,
    ephemeral: bool,
    on_dead: str | None = None,
    rate: Rate | None = None,
    rate_burst: int | None = None,
    where: str | None = None,
) -> dict[str, Any]:
    """Return the settings of a declaration, those that were given."""
    settings: dict[str, Any] = {}
    if where is not None:
        settings["where"] = where
    if mode is not None:
        settings["mode"] = mode
    if on_dead is not None:
        settings["on_dead"] = on_dead
    if ephemeral:
        settings["ephemeral"] = True
        start = "latest" if start is None else start  # JMS 2.0: a non-durable subscription sees what comes from then on
    if rate is not None:
        settings["rate_per_s"] = per_second(rate)
    if rate_burst is not None:
        settings["rate_burst"] = rate_burst
    if isinstance(start, datetime):
        settings["start_ms"] = round(start.timestamp() * 1000)
    elif start is not None:
        settings["start"] = start
    return settings


def breaker_settings(failures: int | None, wait: float | None) -> dict[str, Any]:
    """Return the protocol's settings of a breaker, None where not given."""
    return {"breaker_failures": failures, "breaker_wait_ms": None if wait is None else milliseconds(wait)}


def ephemeral_name() -> str:
    """Return a name that no other group has."""
    return f"ephemeral-{uuid4().hex}"
