"""Threads for blocking handlers.

Daemon threads, which is why this is no ``ThreadPoolExecutor``: an interpreter that ends waits for an executor's
threads, and a handler that hangs would keep the process past the grace it was given to stop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import Context, copy_context
from queue import SimpleQueue
from typing import Any, NamedTuple


class _Job(NamedTuple):
    """A call, its context, and who waits for it."""

    context: Context
    call: Callable[..., Any]
    arguments: tuple[Any, ...]
    future: asyncio.Future[tuple[Any, BaseException | None]]


class Threads:
    """Up to so many threads, started as they are needed."""

    def __init__(self, count_max: int, name: str) -> None:
        self._count_max = count_max
        self._name = name
        self._count = 0
        self._idle_count = 0
        """Below 0 it is how many calls wait for a thread."""
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()

    async def run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call something in a thread, with this task's context variables; return or raise what it does.

        A cancelled wait leaves a call that runs alone, since a thread cannot be stopped; one that waits for a thread
        is not begun any more.
        """
        future: asyncio.Future[tuple[Any, BaseException | None]] = asyncio.get_running_loop().create_future()
        if self._idle_count <= 0 and self._count < self._count_max:
            self._start()
        self._idle_count -= 1
        self._jobs.put(_Job(copy_context(), call, arguments, future))
        result, error = await future
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """Have the threads end when their calls have."""
        for _ in range(self._count):
            self._jobs.put(None)

    def _start(self) -> None:
        self._count += 1
        self._idle_count += 1
        threading.Thread(target=self._work, name=f"{self._name}-{self._count}", daemon=True).start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            result, error = None, None
            try:
                if not job.future.done():  # or its wait was given up before it began: its message has gone elsewhere
                    result = job.context.run(job.call, *job.arguments)
            except BaseException as raised:  # noqa: BLE001  raised again where the call is awaited
                error = raised
            try:
                job.future.get_loop().call_soon_threadsafe(self._done, job.future, (result, error))
            except RuntimeError:
                return  # the loop is closed: nobody waits any more

    def _done(self, future: asyncio.Future[tuple[Any, BaseException | None]], outcome: Any) -> None:
        self._idle_count += 1
        if not future.done():
            future.set_result(outcome)
