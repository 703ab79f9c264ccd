"""Workers at work, from the connection to the last acknowledgement."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final

from penstock_client.client import Client
from penstock_client.errors import SettingsDiffer
from penstock_client.queue import Queue
from penstock_client.worker.crew import Crew
from penstock_client.worker.worker import Worker

log: Final = logging.getLogger("penstock_client.worker")


class Running:
    """Workers over one connection, which is there inside ``async with``."""

    def __init__(self, url: str, name: str, workers: Sequence[Worker], grace_s: float) -> None:
        process = f"{socket.gethostname()}:{os.getpid()}"
        self._client = Client(url, name=f"{name}@{process}" if name else process)
        self._workers = workers
        self._grace_s = grace_s

    async def __aenter__(self) -> Client:
        return await self._client.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.close()

    async def work(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set. Raises what ended a worker before that, when the others have stopped."""
        for worker in self._workers:
            if worker.settings.declare:
                await declare(self._client, worker)
        crews = [Crew(self._client, worker) for worker in self._workers]
        try:
            for crew in crews:
                await crew.start()
            for worker in self._workers:
                log.info("%s takes messages of %r, %d at once", *_said(worker))
            await _first_of(stop, crews)
        finally:
            if stop.is_set():
                log.info("stopping: handlers have %g s to finish", self._grace_s)
            given_back = sum(await asyncio.gather(*(crew.stop(self._grace_s) for crew in crews)))
            if given_back:
                log.warning("%d handler(s) did not finish in time: their messages went back", given_back)


def _said(worker: Worker) -> tuple[str, str, int]:
    return worker.handler.name, worker.queue, worker.settings.concurrency


async def _first_of(stop: asyncio.Event, crews: Sequence[Crew]) -> None:
    """Return when ``stop`` is set; raises what ended a crew, if that comes first."""
    waits = [asyncio.ensure_future(wait) for wait in (stop.wait(), *(crew.ended() for crew in crews))]
    try:
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in done:
            wait.result()
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)


async def declare(client: Client, worker: Worker) -> None:
    """Have a worker's queues there. Raises SettingsDiffer when its own has other settings than the worker said."""
    queue = client.queue(worker.queue)
    await declare_with(queue, worker)
    if worker.settings.group:
        await _declare_group(queue, worker)
    if worker.settings.results is not None:
        await _have(client.queue(worker.settings.results))


async def declare_with(queue: Queue, worker: Worker) -> None:
    """Declare a queue with what the worker said. What it did not say is left as it is on a queue that exists."""
    said = worker.settings.queue_settings(worker.retry)
    try:
        await queue.declare(**said)
    except SettingsDiffer as error:
        _compare(f"queue {queue.name!r}", worker, said, await queue.info(), error)


async def _declare_group(queue: Queue, worker: Worker) -> None:
    settings = worker.settings
    said = {name: value for name, value in settings.rates().items() if value is not None}
    group = queue.group(settings.group, **said)
    try:
        await group.declare()
    except SettingsDiffer as error:
        _compare(f"group {group.name!r} of queue {queue.name!r}", worker, said, await group.info(), error)


def _compare(what: str, worker: Worker, said: dict[str, Any], found: object, error: SettingsDiffer) -> None:
    """Raise SettingsDiffer for what a worker said and what is different; the rest is nobody's business here."""
    differing = [
        f"{name} is {getattr(found, name)!r}, not {value!r}"
        for name, value in said.items()
        if getattr(found, name) != value
    ]
    if differing:
        raise SettingsDiffer(
            f"{what} exists with other settings than {worker.handler.name} asks for: {', '.join(differing)};"
            " change one or the other, or give the worker declare=False"
        ) from error


async def _have(queue: Queue) -> None:
    try:
        await queue.declare()
    except SettingsDiffer:
        pass  # it is there
