"""A queue's handle: no I/O until something is asked of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Unpack

from penstock_client import holders
from penstock_client.consumer import PREFETCH, PREFETCH_BYTES, Subscription
from penstock_client.delivery import looked_at
from penstock_client.finding import Finding, finding, peeking
from penstock_client.gathering import level_of
from penstock_client.group import Group, GroupInfo, Start, breaker_settings, ephemeral_name, group_settings
from penstock_client.history import History
from penstock_client.holders import ConsumerInfo
from penstock_client.link import pack_arguments, read_reply
from penstock_client.message import Confirm, Message, Publishable
from penstock_client.messages import Messages
from penstock_client.outgoing import as_bytes, prepare
from penstock_client.publisher import Publisher
from penstock_client.queue_info import QueueInfo
from penstock_client.queue_settings import AlterableSettings, QueueSettings, altered, declared
from penstock_client.rates import Rate
from penstock_client.received import ReceivedMessage
from penstock_client.scheduled import ScheduledMessage, scheduled_messages
from penstock_client.transferring import (
    CANCEL,
    COPY,
    MOVE,
    REDRIVE,
    REPLACE,
    Progress,
    Transferred,
    transfer_found,
    transfer_one,
)
from penstock_client.wire.entries import decode_deliver
from penstock_client.wire.frames import FrameType

if TYPE_CHECKING:
    from penstock_client.client import Client

_PEEK_PAGE: Final = 1000


class Queue:
    """A named queue of one client."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self.name = name

    def __repr__(self) -> str:
        return f"<queue {self.name!r}>"

    # -- the queue itself ----------------------------------------------------------------------------------------------

    async def declare(self, *, passive: bool = False, **settings: Unpack[QueueSettings]) -> bool:
        """Have the queue exist; True when it is new. What is None gets the broker's default.

        ``lease``, ``backoff`` (shortest, longest) and ``dedup_window`` are in seconds; ``max_failures`` 0 means no
        limit. With ``dedup_window`` a message whose ``message_id`` was published within that time, and among the latest
        ``dedup_count_max``, is not stored again: its confirm says ``duplicate`` with the first one's offset. With
        ``rate`` (``"100/s"``, or messages a second) its consumers together are handed no more than that, redeliveries
        included, and at most ``rate_burst`` at once (None: a tenth of a second's worth). Named groups have their own.

        ``max_messages`` and ``max_bytes`` bound what the queue holds that someone still needs (0: no bound). At its
        bound ``overflow`` decides: ``backpressure`` (the default: confirms wait), ``reject`` (QueueFull),
        ``drop_oldest`` (never what is leased), ``drop_newest`` (the confirm says ``dropped``). What nobody took within
        ``max_age`` seconds is dropped too. With ``overflow_dead_letter`` what is dropped becomes a dead letter.

        From ``alarm_messages`` messages on, or when the oldest is ``alarm_age`` seconds old, the broker raises an alarm
        (0: never): ``info().alarms``, ``client.alarms()``, and its log.

        With ``breaker_failures`` (0: never) the default group hands out nothing once so many attempts failed while
        fewer than a twentieth as many were acknowledged: a downstream is gone. After ``breaker_wait`` seconds, twice as
        many after each try that fails, it tries one message, then two, four, until as many are done. ``resume()`` has
        it hand out everything again at once. Named groups have their own.

        A queue that ``expires`` is deleted, with what is in it, when nobody used it for so many seconds (0: never):
        consumers, declaring it and publishing into it are use. An ``ephemeral`` one lives in memory and ends with its
        last consumer, or with this connection if it has none: after a lost connection it has to be declared again.

        Messages that nobody was handed within ``ttl`` seconds (0: no limit) expire: they are dropped and counted, or
        moved to the dead letters with ``on_expired="dead-letter"``. Priorities above ``priority_max`` (9) count as it.

        Raises SettingsDiffer when it exists with other settings; with ``passive`` only UnknownQueue when it does not
        exist.
        """
        arguments = {"queue": self.name, **declared(settings), **({"passive": True} if passive else {})}
        reply = await self._client.call(FrameType.QUEUE_DECLARE, arguments)
        return bool(reply["created"])

    async def alter(self, **settings: Unpack[AlterableSettings]) -> dict[str, tuple[Any, Any]]:
        """Give the living queue other settings, those that are given; return what changed, by the protocol's names.

        They hold from the next hand-out, failure and publish on; one that drops its oldest is brought to a lower bound
        at once. A ``rate`` of 0 takes the rate away; with ``expires`` the time in which nobody uses it begins anew.
        An id that counts in the ``dedup_window`` before and in the new one goes on counting; with 0 none does.
        ``ttl`` and ``priority_max`` are of what is published from now on, ``on_expired`` of what expires from now on.
        """
        reply = await self._client.call(FrameType.QUEUE_ALTER, {"queue": self.name, **altered(settings)})
        return {name: (before, after) for name, (before, after) in reply["changed"].items()}

    async def info(self) -> QueueInfo:
        """Describe the queue. Raises UnknownQueue."""
        return QueueInfo.of(await self._client.call(FrameType.QUEUE_DESCRIBE, {"queue": self.name}))

    async def purge(self, *, scheduled: bool = False) -> int:
        """Drop what is not leased, for all groups; what is to be delivered later only with ``scheduled``.

        Returns how many messages.
        """
        arguments = {"queue": self.name, "scheduled": scheduled}
        reply = await self._client.call(FrameType.QUEUE_PURGE, arguments, once=True)
        return int(reply["purged"]) + int(reply["cancelled"])

    async def delete(self, *, if_empty: bool = False, if_unused: bool = False) -> int:
        """Remove the queue with everything in it; return how many messages that were. Its consumers are told."""
        arguments = {"queue": self.name, "if_empty": if_empty, "if_unused": if_unused}
        reply = await self._client.call(FrameType.QUEUE_DELETE, arguments, once=True)
        return int(reply["deleted"])

    async def redrive(
        self,
        limit: int = 0,
        *,
        where: str | None = None,
        text: str | bytes | None = None,
        rate: Rate | None = None,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> int:
        """Have its dead letters (up to ``limit``, 0: all) tried again, each by the group in which it died; return how
        many went back.

        With ``where`` or ``text`` only those that ``find`` finds; ``rate`` (``"100/s"``) spares what they went to;
        ``dry_run`` changes nothing and returns how many it would be.
        """
        if where is not None or text is not None or rate or dry_run:
            found = self.find(state="dead", where=where, text=text, limit=limit or None)
            outcome = await transfer_found(
                self._client, aiter(found), REDRIVE, rate=rate, dry_run=dry_run, progress=progress
            )
            return outcome.found if dry_run else outcome.done
        arguments = {"queue": self.name, "limit": limit}
        reply = await self._client.call(FrameType.QUEUE_REDRIVE, arguments, once=True)
        return int(reply["redriven"])

    async def history(self, offset: int, *, group: str = "") -> History:
        """Tell what became of one message so far: its state, its failures, who has it. Changes nothing.

        Raises UnknownMessage when the group is done with it, or it was never there.
        """
        arguments = {"queue": self.name, "group": group, "offset": offset}
        return History.of(await self._client.call(FrameType.MESSAGE_DESCRIBE, arguments))

    # -- publishing ----------------------------------------------------------------------------------------------------

    async def publish(
        self,
        message: Publishable,
        *,
        durability: str = "synced",
        delay: float | timedelta | None = None,
        at: datetime | None = None,
    ) -> Confirm:
        """Publish one message; it is on disk when this returns (``written``: with the operating system).

        ``delay`` and ``at`` as in Message: the confirm then has a ``scheduled_id``.
        """
        if delay is not None or at is not None:
            whole = message if isinstance(message, Message) else Message(as_bytes(message))
            message = replace(whole, delay=delay, at=at)
        return await self._client.publish(self.name, prepare(message), level_of(durability))

    async def publish_many(self, messages: Iterable[Publishable], *, durability: str = "synced") -> list[Confirm]:
        """Publish messages together; return one confirm each, in order. Raises the first error, after all are known."""
        outgoing = [prepare(message) for message in messages]
        return await self._client.publish_many(self.name, outgoing, level_of(durability))

    def publisher(self, *, durability: str = "synced") -> Publisher:
        """Publish a stream of messages: ``async with queue.publisher() as publisher: await publisher.send(body)``."""
        return Publisher(self._client, self.name, durability)

    def scheduled(self, first: int = 0) -> AsyncIterator[ScheduledMessage]:
        """Iterate over what is scheduled and not due yet, by schedule id, from ``first`` on. Changes nothing."""
        return scheduled_messages(self._client, self.name, first)

    async def cancel_scheduled(self, scheduled_id: int) -> None:
        """Take a scheduled message back, for good. Raises NotScheduled when it does not wait (any more)."""
        arguments = {"queue": self.name, "id": scheduled_id}
        await self._client.call(FrameType.SCHEDULED_CANCEL, arguments, once=True)

    # -- consuming -----------------------------------------------------------------------------------------------------

    def consume(
        self,
        *,
        group: str = "",
        prefetch: int = PREFETCH,
        prefetch_bytes: int = PREFETCH_BYTES,
        name: str = "",
        priority: int = 0,
        exclusive: bool = False,
        where: str | None = None,
    ) -> Messages:
        """Consume: ``async with queue.consume() as messages: async for message in messages: ...``.

        ``group`` names a declared group; without, it is the default group that every plain consumer shares.
        ``prefetch`` messages (and ``prefetch_bytes``) at the most are held unacknowledged; ``name`` is how failure
        histories call this consumer. Those of higher ``priority`` get messages as long as they have credit, lower ones
        what they leave. ``exclusive``: the group's only consumer, or ExclusiveConsumer. With ``where``, a selector, it
        gets only what that selects and leaves the rest to others (mode ``shared``); BadSelector.
        """
        subscription = Subscription(self.name, prefetch, prefetch_bytes, name, group, priority, exclusive, where=where)
        return Messages(self._client, subscription)

    # -- groups --------------------------------------------------------------------------------------------------------

    def group(
        self,
        name: str = "",
        *,
        mode: str | None = None,
        start: Start | None = None,
        ephemeral: bool = False,
        on_dead: str | None = None,
        rate: Rate | None = None,
        rate_burst: int | None = None,
        where: str | None = None,
        breaker_failures: int | None = None,
        breaker_wait: float | None = None,
    ) -> Group:
        """Return a handle on a group, "" being the default one; no I/O. What is None gets the broker's default.

        ``mode`` is ``shared`` (competing consumers), ``keyed`` (competing consumers, messages of one key one at a time
        and in order) or ``single`` (one active consumer, total order). ``start`` is
        where a new one begins: ``earliest``, ``latest``, an offset or a time. An ``ephemeral`` one lives in memory,
        ends with its last consumer, begins at ``latest`` unless told otherwise, and needs no name. ``on_dead="hold"``
        keeps the order when a message dies: what is behind it waits until it is redriven, or its dead letter removed.
        ``rate`` and ``rate_burst`` bound what its consumers are handed, ``breaker_failures`` and ``breaker_wait`` have
        it stop when nearly everything fails, as in ``declare``; those of "" are the queue's.
        With ``where``, a selector, it is done with every message that is not selected: ``filtered`` in its info counts
        them.
        """
        if ephemeral and not name:
            name = ephemeral_name()
        settings = group_settings(mode, start, ephemeral, on_dead, rate, rate_burst, where)
        settings |= {k: v for k, v in breaker_settings(breaker_failures, breaker_wait).items() if v is not None}
        return Group(self._client, self.name, name, settings)

    async def groups(self) -> list[GroupInfo]:
        """Describe the queue's groups, by name. Raises UnknownQueue."""
        reply = await self._client.call(FrameType.GROUP_LIST, {"queue": self.name})
        return [GroupInfo.of(raw) for raw in reply["groups"]]

    async def consumers(self, group: str | None = None) -> list[ConsumerInfo]:
        """Describe the consumers of the queue, or of one of its groups."""
        return await holders.consumers(self._client, self.name, group)

    async def revoke(self, offset: int, *, group: str = "", failed: bool = False) -> str:
        """Take a leased message away from its holder; return the holder's name.

        It goes back to its place, or with ``failed`` counts a failure. What its holder says of it later is stale.
        Raises NotLeased.
        """
        return await holders.revoke(self._client, self.name, group, offset, failed)

    # -- single messages -----------------------------------------------------------------------------------------------

    async def cancel(self, offset: int, *, group: str = "") -> None:
        """Have the group be done with a message that nobody holds. Raises UnknownMessage, MessageLeased."""
        await transfer_one(self._client, self.name, group, CANCEL, offset)

    async def replace(self, offset: int, message: Publishable, *, group: str = "") -> None:
        """Put an edited message in the place of one that nobody holds, in one step: the old one is cancelled, the new
        one is published to the group alone, at the end, with the property ``edited_from``. An edited dead letter stays
        one, and may be redriven. At most 60 KiB, and nothing for later (``delay``).
        """
        await transfer_one(self._client, self.name, group, REPLACE, offset, message)

    async def redrive_one(self, offset: int) -> None:
        """Have one dead letter of this dead-letter queue tried again where it died. Raises what it is refused for."""
        await transfer_one(self._client, self.name, "", REDRIVE, offset)

    async def move(
        self,
        target: str,
        *,
        group: str = "",
        where: str | None = None,
        text: str | bytes | None = None,
        key: str | None = None,
        limit: int | None = None,
        rate: Rate | None = None,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Transferred:
        """Move what is ready (and found by the conditions) to another queue, each message in one step."""
        found = self.find(state="ready", group=group, where=where, text=text, key=key, limit=limit)
        options: dict[str, Any] = {"group": group, "target": target, "rate": rate, "dry_run": dry_run}
        return await transfer_found(self._client, aiter(found), MOVE, progress=progress, **options)

    async def copy(
        self,
        target: str,
        *,
        group: str = "",
        where: str | None = None,
        text: str | bytes | None = None,
        key: str | None = None,
        limit: int | None = None,
        rate: Rate | None = None,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Transferred:
        """Publish what is ready (and found by the conditions) to another queue as well."""
        found = self.find(state="ready", group=group, where=where, text=text, key=key, limit=limit)
        options: dict[str, Any] = {"group": group, "target": target, "rate": rate, "dry_run": dry_run}
        return await transfer_found(self._client, aiter(found), COPY, progress=progress, **options)

    async def pause(self) -> None:
        """Stop the hand-outs of all its groups; publishing goes on, what is leased stays leased."""
        await self._client.call(FrameType.QUEUE_PAUSE, {"queue": self.name, "paused": True})

    async def resume(self) -> None:
        """Let the hand-outs go on; breakers of its groups that are not closed are."""
        await self._client.call(FrameType.QUEUE_PAUSE, {"queue": self.name, "paused": False})

    async def peek(
        self, start: int = 0, count: int = 10, *, group: str = "", where: str | None = None
    ) -> AsyncIterator[ReceivedMessage]:
        """Look at up to ``count`` messages from offset ``start`` on that the group is not done with, leased ones too.
        Changes nothing.

        ``where`` is a selector: only messages that it selects. Raises BadSelector.
        """
        if where is not None:
            async for found in peeking(self._client, self.name, group, where, start, count):
                yield ReceivedMessage(found._delivery, found._index, found.body)
            return
        offset, left = start, count
        while left > 0:
            arguments = {"queue": self.name, "group": group, "offset": offset, "count": min(left, _PEEK_PAGE)}
            frame = await self._client.ask(FrameType.PEEK, pack_arguments(arguments))
            if frame.type != FrameType.PEEKED:
                read_reply(frame)
            entries = decode_deliver(frame.payload)
            if not entries:
                return
            for entry in entries:
                delivery = looked_at(entry, self.name)
                for index, body in enumerate(delivery.bodies):
                    yield ReceivedMessage(delivery, index, body)
                left -= len(delivery.bodies)
                offset = entry.offset + len(delivery.bodies)

    def find(
        self,
        *,
        group: str | None = None,
        state: str | None = None,
        where: str | None = None,
        text: str | bytes | None = None,
        key: str | None = None,
        reason: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> Finding:
        """Look for messages: ``async for found in queue.find(state="dead", text="timeout"): ...``. Changes nothing.

        All that is given must hold. ``group`` is whose state is looked at: the default one's, and dead letters of any,
        unless it is named. ``state`` is ``ready``, ``scheduled``, ``leased``, ``dying``, ``held``, ``dead`` (of this
        queue, in its dead-letter queue) or ``expired`` (about to be dropped, and the dead letters that expired); None
        is all of them, the dead last. ``where`` is a selector; ``text`` is part of the body, case and all; ``reason``
        is what dead letters died of; ``since`` (included) and ``until`` are about when the broker took the message.
        The whole queue is read through, some megabytes a request. Raises UnknownQueue, BadSelector, BadSetting.
        """
        return finding(
            self._client,
            self.name,
            group=group,
            state=state,
            where=where,
            text=text,
            key=key,
            reason=reason,
            since=since,
            until=until,
            limit=limit,
        )
