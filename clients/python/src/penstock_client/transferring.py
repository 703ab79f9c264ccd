"""Cancelling, redriving, moving, copying and replacing messages that were found: batch by batch, at a rate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from penstock_client.errors import error_of
from penstock_client.finding import FoundMessage
from penstock_client.message import Publishable
from penstock_client.outgoing import encode_parts, prepare
from penstock_client.rates import Rate, per_second
from penstock_client.wire.frames import FrameType

if TYPE_CHECKING:
    from penstock_client.client import Client

BATCH_MAX: Final = 500
"""Messages of one request: the broker takes up to 1,000, and progress is told after each."""
_BATCHES_PER_S: Final = 5
"""At a rate: how many requests share a second's worth."""

CANCEL: Final = "cancel"
REDRIVE: Final = "redrive"
MOVE: Final = "move"
COPY: Final = "copy"
REPLACE: Final = "replace"

Progress = Callable[[int], object]
"""Told how many messages were looked at so far."""


class Transferred(NamedTuple):
    """What became of the messages that were found. ``refused`` names the first of them, with the reasons."""

    found: int
    done: int
    refused: list[tuple[int, str]]
    refused_count: int


async def transfer_one(
    client: Client, queue: str, group: str, action: str, offset: int, message: Publishable | None = None
) -> None:
    """Do one thing to one message. Raises why it was refused."""
    block = None if message is None else next(iter(encode_parts([prepare(message)])))[0]
    reply = await _call(client, queue, group, action, [offset], None, block)
    for _, code, text in reply["refused"]:
        raise error_of(code, text)


async def transfer_found(
    client: Client,
    found: AsyncIterator[FoundMessage],
    action: str,
    *,
    group: str = "",
    target: str | None = None,
    rate: Rate | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Transferred:
    """Do one thing to every message that was found, each in one step; with ``dry_run`` only count them.

    Raises ValueError for a ``rate`` that is none; None and 0 are no limit.
    """
    pace = per_second(rate) if rate else 0.0
    if not 0 <= pace < float("inf"):
        raise ValueError(f"a rate is messages a second, above 0, not {rate!r}")
    size = BATCH_MAX if not pace else max(1, min(BATCH_MAX, int(pace / _BATCHES_PER_S)))
    outcome = Transferred(0, 0, [], 0)
    wait_s = 0.0
    async for queue, offsets in _batches(found, size):
        if not dry_run:
            await asyncio.sleep(wait_s)
            wait_s = len(offsets) / pace if pace else 0.0
            reply = await _call(client, queue, group, action, offsets, target, None)
            refused = outcome.refused + [(offset, text) for offset, _, text in reply["refused"]]
            outcome = outcome._replace(
                done=outcome.done + reply["done"],
                refused=refused[:100],
                refused_count=outcome.refused_count + reply["refused_count"],
            )
        outcome = outcome._replace(found=outcome.found + len(offsets))
        if progress is not None:
            progress(outcome.found)
    return outcome


async def _batches(found: AsyncIterator[FoundMessage], size: int) -> AsyncIterator[tuple[str, list[int]]]:
    """Gather offsets of one queue."""
    queue, offsets = "", list[int]()
    async for message in found:
        if offsets and (message.queue != queue or len(offsets) == size):
            yield queue, offsets
            offsets = []
        queue = message.queue
        offsets.append(message.offset)
    if offsets:
        yield queue, offsets


async def _call(
    client: Client, queue: str, group: str, action: str, offsets: list[int], target: str | None, block: bytes | None
) -> dict[str, Any]:
    arguments = {"queue": queue, "group": group, "action": action, "offsets": offsets, "target": target, "block": block}
    given = {name: value for name, value in arguments.items() if value is not None}
    return await client.call(FrameType.TRANSFER, given, once=True)
