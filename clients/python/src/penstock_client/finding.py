"""Finding messages without touching them: by state, selector, text, key and time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from penstock_client.delivery import MessageView, looked_at
from penstock_client.wire.entries import Delivery as Entry
from penstock_client.wire.frames import FrameType

if TYPE_CHECKING:
    from penstock_client.client import Client

READY: Final = "ready"
SCHEDULED: Final = "scheduled"
LEASED: Final = "leased"
DYING: Final = "dying"
HELD: Final = "held"
EXPIRED: Final = "expired"
DEAD: Final = "dead"
_PAGE: Final = 1000
_Asked = dict[str, str]
"""The state that one pass over the messages looks for, and why they died."""


class FoundMessage(MessageView):
    """A message that was looked for, and how it was when it was found.

    ``state`` is ``ready``, ``scheduled``, ``leased``, ``dying`` (on its way to the dead letters), ``held``
    (dead, and kept in its place by a group with ``on_dead="hold"``), ``expired`` (its time is over, and it is about to
    be dropped or moved to the dead letters) or ``dead``;
    ``attempt`` counts hand-outs so far. Of a dead letter, ``queue`` and ``offset`` are those of the dead-letter queue;
    ``dead`` has where it came from and what became of it there.
    """

    __slots__ = ("_reason", "consumer", "state", "until")

    def __init__(self, raw: dict[str, Any], queue: str) -> None:
        entry = Entry(
            0, raw["attempts"], raw["failures"], 0, 0, raw["offset"], raw["published_at_ms"], 0, 1, raw["block"]
        )
        delivery = looked_at(entry, queue)
        super().__init__(delivery, 0, delivery.bodies[0])
        self.state: str = raw["state"]
        self.consumer: str = raw["consumer"]
        """Who holds it; "" unless it is leased."""
        self.until: datetime | None = datetime.fromtimestamp(raw["until_ms"] / 1000, UTC) if raw["until_ms"] else None
        """When its lease ends, or when it is due; None for what is neither leased nor scheduled."""
        self._reason: str = raw["reason"]

    def __repr__(self) -> str:
        return f"<{self.state} message {self.offset} of {self.queue!r}, {len(self.body)} bytes>"

    @property
    def reason(self) -> str:
        """What was said of its last failure; "" if it never failed."""
        dead = self.dead
        return dead.reason if dead and not self._reason else self._reason


class Finding:
    """One search: pages of messages until all of the queue was looked at that was there when it began, or ``limit``
    were found.
    """

    def __init__(self, client: Client, queue: str, arguments: dict[str, Any], states: list[_Asked]) -> None:
        self._client = client
        self._queue = queue
        self._arguments = {name: value for name, value in arguments.items() if value is not None}
        self._states = states
        self._limit = self._arguments.pop("limit", 1 << 63)
        self._offset = self._arguments.pop("start", 0)
        self._end: int | None = None

    @property
    def done(self) -> bool:
        """True when there is nothing more to ask for."""
        return not self._states or self._limit <= 0

    async def page(self) -> list[FoundMessage]:
        """Return what one request finds; may be nothing although more is to come. Raises UnknownQueue, BadSelector."""
        arguments = {
            "queue": self._queue,
            **self._arguments,
            **self._states[0],
            "offset": self._offset,
            "count": min(self._limit, _PAGE),
        }
        if self._end is not None:
            arguments["end"] = self._end
        reply = await self._client.call(FrameType.FIND, arguments)
        found = [FoundMessage(raw, reply["queue"]) for raw in reply["found"]]
        self._limit -= len(found)
        if reply["next_offset"] is None:
            del self._states[0]
            self._offset, self._end = 0, None
        else:
            self._offset, self._end = reply["next_offset"], reply["end_offset"]
        return found

    async def __aiter__(self) -> AsyncIterator[FoundMessage]:
        while not self.done:
            for message in await self.page():
                yield message


def finding(
    client: Client,
    queue: str,
    *,
    group: str | None,
    state: str | None,
    where: str | None,
    text: str | bytes | None,
    key: str | None,
    reason: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int | None,
) -> Finding:
    """Return the search that ``Queue.find`` describes."""
    arguments = {
        "group": group,
        "where": where,
        "text": text,
        "key": key,
        "since_ms": None if since is None else max(0, round(since.timestamp() * 1000)),
        "until_ms": None if until is None else max(0, round(until.timestamp() * 1000)),
        "limit": limit,
    }
    return Finding(client, queue, arguments, _passes(state, reason))


def peeking(client: Client, queue: str, group: str, where: str, start: int, count: int) -> Finding:
    """Return the search for what a peek with a selector shows: messages that are not done, from an offset on."""
    return Finding(client, queue, {"group": group, "where": where, "start": start, "limit": count}, [{}])


def _passes(state: str | None, reason: str | None) -> list[_Asked]:
    """What is asked for, one after the other: what expired may be in the queue still, or dead."""
    dead: _Asked = {"state": DEAD} if reason is None else {"state": DEAD, "reason": reason}
    if state == EXPIRED:
        return [{"state": EXPIRED}, {"state": DEAD, "reason": EXPIRED}]
    if state == DEAD or (state is None and reason is not None):
        return [dead]
    return [{}, dead] if state is None else [{"state": state}]
