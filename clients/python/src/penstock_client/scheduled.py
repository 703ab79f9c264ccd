"""Messages that wait for their time: looking at them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from penstock_client.link import pack_arguments, read_reply
from penstock_client.message import Headers
from penstock_client.wire.blocks import decode_block
from penstock_client.wire.entries import Delivery, decode_deliver
from penstock_client.wire.frames import FrameType
from penstock_client.wire.readable import readable_block

if TYPE_CHECKING:
    from penstock_client.client import Client

_PAGE: Final = 500


class ScheduledMessage(NamedTuple):
    """A message that is not due yet; ``id`` is what ``cancel_scheduled`` takes."""

    queue: str
    id: int
    due_at: datetime
    published_at: datetime
    body: bytes
    key: str | None
    headers: Headers
    message_id: str | None


async def scheduled_messages(client: Client, queue: str, first: int) -> AsyncIterator[ScheduledMessage]:
    """Iterate over a queue's scheduled messages by id; what becomes due meanwhile is missing. Raises UnknownQueue."""
    while True:
        arguments = {"queue": queue, "first": first, "count": _PAGE}
        frame = await client.ask(FrameType.SCHEDULED_PEEK, pack_arguments(arguments))
        if frame.type != FrameType.PEEKED:
            read_reply(frame)
        entries = decode_deliver(frame.payload)
        if not entries:
            return
        for entry in entries:
            for message in _messages(queue, entry):
                yield message
        first = entries[-1].offset + entries[-1].count


def _messages(queue: str, entry: Delivery) -> list[ScheduledMessage]:
    columns = decode_block(readable_block(entry.block))
    due_at, published_at = _time(entry.first_tag), _time(entry.published_at_ms)
    nothing = [None] * entry.count
    rows = zip(
        columns.bodies, columns.keys or nothing, columns.headers or nothing, columns.properties or nothing, strict=True
    )
    return [
        ScheduledMessage(
            queue,
            entry.offset + index,
            due_at,
            published_at,
            body,
            key,
            headers or {},
            (properties or {}).get("message_id"),
        )
        for index, (body, key, headers, properties) in enumerate(rows)
    ]


def _time(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)
