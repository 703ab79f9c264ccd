"""One worker: a queue, its handler, and what was said of both. What a message comes to is decided here, and is a value;
nothing here talks to a broker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from penstock_client.received import ReceivedMessage
from penstock_client.worker.answers import make_answer
from penstock_client.worker.handlers import Handler
from penstock_client.worker.outcomes import DONE, Outcome, Verdict
from penstock_client.worker.retry import Retry
from penstock_client.worker.settings import WorkerSettings
from penstock_client.worker.threads import Threads

CallNext = Callable[[ReceivedMessage], Awaitable[Any]]
Middleware = Callable[[ReceivedMessage, CallNext], Awaitable[Any]]
"""``async def middleware(message, call_next)``: goes around a handler, and around the middleware added after it."""

WORKERS_ATTRIBUTE: Final = "__penstock_workers__"
"""Where a decorated function keeps its workers, for the test helpers to find."""


class Worker:
    """A handler of one queue."""

    def __init__(
        self, queue: str, handler: Handler, retry: Retry, settings: WorkerSettings, middleware: Sequence[Middleware]
    ) -> None:
        self.queue = queue
        self.handler = handler
        self.retry = retry
        self.settings = settings
        self._middleware = middleware
        self._call: CallNext | None = None
        self._threads = self._new_threads()

    def __repr__(self) -> str:
        return f"<worker {self.handler.name} of {self.queue!r}>"

    async def handle(self, message: ReceivedMessage) -> Outcome:
        """Run the handler on a message and return what becomes of it.

        Raises CancelledError when this task is cancelled, and nothing else.
        """
        call = self._call or self._compose()
        try:
            result = await call(message)
            if result is None:
                return DONE
            return Outcome(Verdict.ACKED, result, make_answer(result, message, self.settings.results))
        except (SystemExit, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            return self.ended(message, error)
        except Exception as error:  # noqa: BLE001  whatever the application's code raises is the message's outcome
            return self.retry.outcome(error, message.failures + 1)

    def ended(self, message: ReceivedMessage, error: BaseException) -> Outcome:
        """Return what becomes of a message whose handler ended itself: no process and no task is to end for that."""
        failure = RuntimeError(f"the handler ended with {error!r}")
        failure.__cause__ = error
        return self.retry.outcome(failure, message.failures + 1)

    def close(self) -> None:
        """Have its threads end when their calls have; it may go on with others."""
        self._threads.close()
        self._threads = self._new_threads()

    def _new_threads(self) -> Threads:
        return Threads(self.settings.concurrency, f"penstock-{self.queue}")

    def _compose(self) -> CallNext:
        """Put the middleware around the handler, once, when the first message comes: all of it is known by then."""
        call: CallNext = self._in_thread if self.handler.blocking else self._in_loop
        for middleware in reversed(self._middleware):
            call = _around(middleware, call)
        self._call = call
        return call

    async def _in_loop(self, message: ReceivedMessage) -> Any:
        handler = self.handler
        return await handler.call(*handler.arguments(message))

    async def _in_thread(self, message: ReceivedMessage) -> Any:
        handler = self.handler
        return await self._threads.run(handler.call, *handler.arguments(message))


def _around(middleware: Middleware, call_next: CallNext) -> CallNext:
    async def call(message: ReceivedMessage) -> Any:
        return await middleware(message, call_next)

    return call


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
