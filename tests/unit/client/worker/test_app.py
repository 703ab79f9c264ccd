"""The application: what it refuses, which workers run, and how a signal ends it."""

import asyncio
import os
import signal
from typing import Any

import pytest
from tests.unit.client.peer import ScriptedPeer, guarded

from penstock_client import BadSetting
from penstock_client.wire.frames import FrameType
from penstock_client.worker import App, BadHandler
from penstock_client.worker.signals import stopping_on_signals


async def handle(body: bytes) -> None: ...


@pytest.mark.parametrize(
    ("settings", "trouble"),
    [
        ({"concurrency": 0}, "concurrency is from 1 to 10000, not 0"),
        ({"concurrency": 10_001}, "concurrency is from 1 to 10000, not 10001"),
        ({"concurrency": 5, "prefetch": 4}, "a prefetch of 4 leaves some of 5 handlers idle for ever"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], trouble: str) -> None:
    with pytest.raises(ValueError, match=trouble):
        App().worker("jobs", **settings)


@pytest.mark.parametrize(("concurrency", "prefetch"), [(1, 1), (4, 5), (100, 125)])
def test_prefetch_follows_concurrency(concurrency: int, prefetch: int) -> None:
    app = App()
    app.worker("jobs", concurrency=concurrency)(handle)
    assert app.workers[0].settings.prefetch_messages == prefetch


def test_a_queue_has_one_handler_in_an_app() -> None:
    app = App()
    app.worker("jobs")(handle)
    with pytest.raises(BadHandler, match="queue 'jobs' has a handler in this app already"):
        app.worker("jobs")(handle)


def test_middleware_that_cannot_be_awaited_is_refused() -> None:
    def plain(message: object, call_next: object) -> None: ...

    with pytest.raises(BadHandler, match="a middleware is `async def"):
        App().middleware(plain)  # type: ignore[arg-type] # that is the point


async def test_an_app_without_workers_or_without_the_named_one_does_not_run() -> None:
    app = App()
    with pytest.raises(BadSetting, match="the app has no workers; it has none"):
        await app.serve(asyncio.Event())
    app.worker("jobs")(handle)
    app.worker("more")(handle)
    with pytest.raises(BadSetting, match="the app has no worker of 'mails'; it has 'jobs', 'more'"):
        await app.serve(asyncio.Event(), queues=["jobs", "mails"])


async def test_only_the_named_queues_are_worked_on(peer: ScriptedPeer) -> None:
    app = App(peer.url)
    app.worker("jobs")(handle)
    app.worker("more")(handle)
    stop = asyncio.Event()
    running = asyncio.create_task(app.serve(stop, queues=["more"]))
    await peer.until(lambda: peer.connections and peer.last.consumers)
    stop.set()
    await guarded(running)
    assert [arguments["queue"] for arguments in peer.last.arguments(FrameType.CONSUME)] == ["more"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_sets_the_event_and_the_second_is_left_to_the_process(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    stop = asyncio.Event()
    with stopping_on_signals(stop):
        os.kill(os.getpid(), number)
        await guarded(stop.wait())
        assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler, before)
