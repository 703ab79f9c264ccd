"""What the publishers of the blocking API share: messages are gathered and brought to the client's thread together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from penstock_client.errors import PublishFailed
from penstock_client.gathering import BLOCK_MESSAGES, FLUSH_S
from penstock_client.publisher import BasePublisher

if TYPE_CHECKING:
    from penstock_client.sync import _LoopThread

_Prepared = TypeVar("_Prepared")


class BlockingPublisher(Generic[_Prepared]):
    """A context manager over a publisher of the asyncio API; ``send`` of its subclasses ends with ``_put``."""

    def __init__(
        self,
        thread: _LoopThread,
        publisher: BasePublisher,
        send_prepared: Callable[[list[_Prepared]], Coroutine[Any, Any, None]],
    ) -> None:
        self._thread = thread
        self._publisher = publisher
        self._send_prepared = send_prepared
        self._lock = threading.Lock()
        self._gathered: list[_Prepared] = []
        self._crossing = asyncio.Lock()
        self._late: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._thread.run(self._publisher.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.run(self._cross())
        self._thread.run(self._publisher.__aexit__(kind, error, traceback))

    def flush(self) -> None:
        """Wait until everything sent so far has its outcome."""
        self._thread.run(self._cross())
        self._thread.run(self._publisher.flush())

    def _put(self, prepared: _Prepared) -> None:
        self._publisher.check_entered()
        self._raise_failures()
        with self._lock:
            self._gathered.append(prepared)
            count = len(self._gathered)
        if count == 1:
            self._thread.soon(lambda: self._thread.loop.call_later(FLUSH_S, self._cross_late))
        elif count >= BLOCK_MESSAGES:
            self._thread.run(self._cross())
            self._raise_failures()

    def _raise_failures(self) -> None:
        if self._publisher.errors:
            raise PublishFailed(self._publisher.errors, self._publisher.failed_count)

    def _cross_late(self) -> None:
        self._late = self._thread.loop.create_task(self._cross())  # kept, or it might be collected while it runs

    async def _cross(self) -> None:
        """Bring what is gathered to the client's thread, one bringing at a time: the order stays."""
        async with self._crossing:
            with self._lock:
                gathered, self._gathered = self._gathered, []
            await self._send_prepared(gathered)
