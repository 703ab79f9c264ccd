"""Replies of the blocking API, one after the other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING

from penstock_client.reply import Reply

if TYPE_CHECKING:
    from penstock_client.sync import _LoopThread


def iterate(thread: _LoopThread, replies: AsyncGenerator[Reply, None]) -> Iterator[Reply]:
    """Yield the replies that come to a client's thread."""

    async def following() -> Reply:
        return await anext(replies)

    try:
        while True:
            try:
                reply = thread.run(following())
            except StopAsyncIteration:
                return
            yield reply
    finally:
        thread.run(replies.aclose())
