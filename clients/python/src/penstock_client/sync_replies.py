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

    async def ended() -> None:
        await replies.aclose()

    try:
        while True:
            try:
                reply = thread.run(following())
            except StopAsyncIteration:
                return
            yield reply
    finally:
        # Nobody waits for it: this may be the collector's doing, in any thread, that of the loop among them.
        thread.soon(lambda: thread.loop.create_task(ended()))
