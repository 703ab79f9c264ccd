"""The application: its workers, what goes around them, and how they run."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any, Final, TypeVar

from penstock_client.client import Client
from penstock_client.errors import BadSetting
from penstock_client.loop import new_event_loop
from penstock_client.rates import Rate
from penstock_client.worker.errors import bad_handler
from penstock_client.worker.handlers import inspect_handler
from penstock_client.worker.retry import DEFAULT, Retry
from penstock_client.worker.running import Running
from penstock_client.worker.settings import CONCURRENCY, WorkerSettings
from penstock_client.worker.signals import stopping_on_signals
from penstock_client.worker.worker import WORKERS_ATTRIBUTE, Middleware, Worker

GRACE_S: Final = 30.0
"""How long handlers may finish after a request to stop: what supervisors of processes usually wait before they kill."""

_Handler = TypeVar("_Handler", bound=Callable[..., Any])
_Hook = TypeVar("_Hook", bound=Callable[[], Any])


class App:
    """Workers that run together, over one connection.

    ``name`` is what failure histories call it, before its host and process. ``state`` is for what handlers share, such
    as a pool that ``on_startup`` opens.
    """

    def __init__(self, url: str = "penstock://127.0.0.1:7419", *, name: str = "") -> None:
        self.url = url
        self.name = name
        self.state = SimpleNamespace()
        self.workers: list[Worker] = []
        self._middleware: list[Middleware] = []
        self._startup: list[Callable[[], Any]] = []
        self._shutdown: list[Callable[[], Any]] = []
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The connection, while it runs: for handlers and hooks that publish."""
        if self._client is None:
            raise RuntimeError("the app has no connection: it is not running")
        return self._client

    # -- what it is made of --------------------------------------------------------------------------------------------

    def worker(
        self,
        queue: str,
        *,
        concurrency: int = CONCURRENCY,
        prefetch: int | None = None,
        retry: Retry = DEFAULT,
        dead_letter: str | None = None,
        lease: float | None = None,
        results: str | None = None,
        group: str = "",
        rate: Rate | None = None,
        rate_burst: int | None = None,
        declare: bool = True,
        name: str = "",
    ) -> Callable[[_Handler], _Handler]:
        """Have the decorated function handle the messages of a queue, ``concurrency`` at a time in this process.

        A coroutine function runs as a task, any other in a thread. Its parameters say what it takes (``handlers.py``).
        What it returns goes to the message's ``reply_to``, or else to the queue ``results``; None goes nowhere. It is
        published before the message is acknowledged, so that a crash in between publishes it twice, and never not.

        With ``rate`` (``"100/s"``, ``"5/min"``) the broker hands all workers of the queue together no more than that,
        in whatever process, redeliveries included, and at most ``rate_burst`` at once. ``group`` is a named group of
        the queue, "" the one that workers share by default.

        With ``declare`` the queue (and the group) is made when there is none, with ``lease`` (seconds), ``retry``'s
        limit and backoff, ``dead_letter`` and the rate; one that is there with other values of those is an error when
        the app starts. ``prefetch`` is how many messages are held at the most; ``name`` what failure histories call
        this worker.

        Raises BadHandler for a function that cannot be one, and ValueError for settings that make no sense.
        """
        settings = WorkerSettings(
            concurrency=concurrency,
            prefetch=prefetch,
            results=results,
            lease=lease,
            dead_letter=dead_letter,
            group=group,
            rate=rate,
            rate_burst=rate_burst,
            declare=declare,
            name=name,
        )

        def decorate(call: _Handler) -> _Handler:
            handler = inspect_handler(call)
            if any((worker.queue, worker.settings.group) == (queue, group) for worker in self.workers):
                raise bad_handler(call, f"queue {queue!r} has a handler in this app already")
            worker = Worker(queue, handler, retry, settings, self._middleware)
            self.workers.append(worker)
            setattr(call, WORKERS_ATTRIBUTE, [*getattr(call, WORKERS_ATTRIBUTE, []), worker])
            return call

        return decorate

    def middleware(self, function: Middleware) -> Middleware:
        """Have ``async def function(message, call_next)`` go around every handler; the first added is the outermost.

        It returns what ``await call_next(message)`` did, or something else; what it raises is the handler's failure.
        """
        if not inspect.iscoroutinefunction(function):
            raise bad_handler(function, "a middleware is `async def middleware(message, call_next)`")
        self._middleware.append(function)
        return function

    def on_startup(self, hook: _Hook) -> _Hook:
        """Call ``hook()`` when the app is connected and before it takes messages. May be a coroutine function."""
        self._startup.append(hook)
        return hook

    def on_shutdown(self, hook: _Hook) -> _Hook:
        """Call ``hook()`` when no handler runs any more and the connection is still there; the last added first."""
        self._shutdown.insert(0, hook)
        return hook

    # -- how it runs ---------------------------------------------------------------------------------------------------

    def run(self, url: str | None = None, *, queues: Collection[str] = (), grace: float = GRACE_S) -> None:
        """Run until SIGTERM or Ctrl-C, then stop as ``serve`` does. A second signal does not wait.

        Raises PenstockError for what ended it otherwise.
        """

        async def until_signal() -> None:
            stop = asyncio.Event()
            with stopping_on_signals(stop):
                await self.serve(stop, url, queues=queues, grace=grace)

        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(until_signal())

    async def serve(
        self, stop: asyncio.Event, url: str | None = None, *, queues: Collection[str] = (), grace: float = GRACE_S
    ) -> None:
        """Run the workers (of these queues, if any are named) until ``stop`` is set.

        Then no message is taken any more, running handlers have ``grace`` seconds to finish, and what is not finished
        goes back to the queue without counting a failure. Raises BadSetting when there is nothing to run, what
        ``connect`` and startup hooks raise, and what ended a worker: its queue deleted, the connection not won back.
        """
        workers = self._chosen(queues)
        running = Running(url or self.url, self.name, workers, grace)
        async with running as client, AsyncExitStack() as hooks:
            self._client = client
            hooks.callback(self._disconnected)
            hooks.push_async_callback(_call_all, self._shutdown)
            await _call_all(self._startup)
            await running.work(stop)

    def _chosen(self, queues: Collection[str]) -> list[Worker]:
        known = [worker.queue for worker in self.workers]
        unknown = sorted(set(queues).difference(known))
        if unknown or not known:
            missing = f"no worker of {', '.join(map(repr, unknown))}" if unknown else "no workers"
            raise BadSetting(f"the app has {missing}; it has {', '.join(map(repr, sorted(known))) or 'none'}")
        return [worker for worker in self.workers if not queues or worker.queue in queues]

    def _disconnected(self) -> None:
        self._client = None


async def _call_all(hooks: list[Callable[[], Any]]) -> None:
    for hook in hooks:
        result = hook()
        if inspect.isawaitable(result):
            await result
