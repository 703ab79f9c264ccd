"""A worker at work on a scripted broker: what is said of its messages, how many run at once, and how it stops."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.unit.client.peer import ScriptedPeer, guarded

from penstock_client import ConnectionLost, Message, QueueDeleted
from penstock_client.wire import control
from penstock_client.wire.blocks import encode_block, replace_properties
from penstock_client.wire.entries import Outcome, Settlement
from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.frames import FrameType
from penstock_client.worker import App, Reject, Retry, RetryLater


@asynccontextmanager
async def serving(app: App, peer: ScriptedPeer, grace: float = 10) -> AsyncIterator[asyncio.Event]:
    """Run an app on a scripted broker; it is asked to stop at the end, and has to."""
    stop = asyncio.Event()
    running = asyncio.create_task(app.serve(stop, peer.url, grace=grace))
    try:
        await peer.until(lambda: running.done() or (peer.connections and len(peer.last.consumers) == len(app.workers)))
        yield stop
        stop.set()
        await guarded(running)
    finally:
        running.cancel()
        await asyncio.wait([running])


def settled(peer: ScriptedPeer, outcome: Outcome) -> list[Settlement]:
    return [settlement for settlement in peer.last.settlements if settlement.outcome == outcome]


async def test_handled_messages_are_acknowledged(peer: ScriptedPeer) -> None:
    app = App()
    bodies: list[bytes] = []

    @app.worker("jobs", concurrency=3)
    async def handle(body: bytes) -> None:
        bodies.append(body)

    async with serving(app, peer):
        peer.last.deliver([b"%d" % number for number in range(50)])
        await peer.until(lambda: len(peer.last.tags(Outcome.ACK)) == 50)
    assert sorted(peer.last.tags(Outcome.ACK)) == list(range(1, 51))
    assert bodies == [b"%d" % number for number in range(50)]


async def test_a_failure_is_said_with_its_reason_and_delay(peer: ScriptedPeer) -> None:
    app = App()
    errors = {b"later": RetryLater(90, "busy"), b"never": Reject("not ours"), b"wrong": ValueError("no stock")}

    @app.worker("jobs", retry=Retry(delay=lambda failures, error: 7.0))
    async def handle(body: bytes) -> None:
        raise errors[body]

    async with serving(app, peer):
        peer.last.deliver([b"later", b"never", b"wrong"])
        await peer.until(lambda: sum(len(peer.last.tags(o)) for o in (Outcome.NACK, Outcome.REJECT)) == 3)
    nacks = {s.reason.partition("\n")[0]: s.duration_ms for s in settled(peer, Outcome.NACK)}
    assert nacks == {"busy": 90_000, "ValueError: no stock": 7_000}
    assert [(s.reason, s.ranges) for s in settled(peer, Outcome.REJECT)] == [("not ours", [(2, 2)])]


async def test_a_failure_is_logged_with_its_traceback_and_what_was_meant_without(
    peer: ScriptedPeer, caplog: pytest.LogCaptureFixture
) -> None:
    app = App()

    @app.worker("jobs")
    async def handle(body: bytes) -> None:
        raise ValueError("no stock") if body == b"wrong" else Reject("not ours")

    with caplog.at_level(logging.WARNING, "penstock_client.worker"):
        async with serving(app, peer):
            peer.last.deliver([b"wrong", b"never"])
            await peer.until(
                lambda: len(peer.last.tags(Outcome.REJECT)) == 1 and len(peer.last.tags(Outcome.NACK)) == 1
            )
    first, second = caplog.records
    assert first.getMessage().endswith("handle: <message 0 of 'jobs', attempt 1, 5 bytes> failed: ValueError: no stock")
    assert first.exc_info
    assert second.getMessage().endswith("<message 1 of 'jobs', attempt 1, 5 bytes> goes to the dead letters: not ours")
    assert not second.exc_info


async def test_as_many_run_at_once_as_asked_for_and_little_more_is_fetched(peer: ScriptedPeer) -> None:
    app = App()
    running = 0
    peak = 0
    go_on = asyncio.Event()

    @app.worker("jobs", concurrency=8)
    async def handle(body: bytes) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        peer.changed()
        await go_on.wait()
        running -= 1

    async with serving(app, peer):
        (consumer,) = peer.last.consumers.values()
        assert consumer["prefetch_messages"] == 10
        peer.last.deliver([b"x"] * 10)
        await peer.until(lambda: running == 8)
        go_on.set()
        await peer.until(lambda: len(peer.last.tags(Outcome.ACK)) == 10)
    assert peak == 8


async def test_messages_that_come_one_by_one_find_a_handler_each(peer: ScriptedPeer) -> None:
    app = App()
    begun: list[bytes] = []
    go_on = asyncio.Event()

    @app.worker("jobs", concurrency=20)
    async def handle(body: bytes) -> None:
        begun.append(body)
        peer.changed()
        await go_on.wait()

    async with serving(app, peer):
        for number in range(20):
            peer.last.deliver([b"%d" % number])
            await peer.until(lambda number=number: len(begun) > number)  # type: ignore[misc]
        go_on.set()
        await peer.until(lambda: len(peer.last.tags(Outcome.ACK)) == 20)


async def test_an_answer_is_confirmed_before_its_message_is_acknowledged(peer: ScriptedPeer) -> None:
    app = App()
    peer.holds_confirms = True

    @app.worker("jobs", results="done")
    async def handle(body: bytes) -> bytes:
        return body.upper()

    async with serving(app, peer):
        peer.last.deliver([b"one"])
        await peer.until(lambda: peer.last.publications)
        assert not peer.last.tags(Outcome.ACK)
        assert peer.last.routes[peer.last.publications[0].route] == "done"
        peer.last.confirm(*peer.last.publications)
        await peer.until(lambda: peer.last.tags(Outcome.ACK) == [1])


async def test_a_result_that_is_not_taken_is_a_failure(peer: ScriptedPeer) -> None:
    app = App()
    peer.answers["route_open"] = WireError(ErrorCode.UNKNOWN_QUEUE, "there is no queue 'done'")
    peer.holds_confirms = True

    @app.worker("jobs", results="done")
    async def handle(body: bytes) -> bytes:
        return body

    async with serving(app, peer):
        peer.last.deliver([b"one"])
        await peer.until(lambda: peer.last.publications)
        peer.last.confirm(*peer.last.publications, code=ErrorCode.UNKNOWN_ROUTE)
        await peer.until(lambda: peer.last.tags(Outcome.NACK) == [1])
    assert settled(peer, Outcome.NACK)[0].reason.startswith("UnknownQueue: queue 'done': the queue does not exist")


async def test_an_answer_that_nobody_takes_any_more_leaves_its_message_done(
    peer: ScriptedPeer, caplog: pytest.LogCaptureFixture
) -> None:
    app = App()
    peer.holds_confirms = True

    @app.worker("jobs")
    async def handle(body: bytes) -> bytes:
        return body

    async with serving(app, peer):
        peer.last.deliver([b"one"], properties=[{"reply_to": "gone"}])
        await peer.until(lambda: peer.last.publications)
        peer.last.confirm(*peer.last.publications, code=ErrorCode.UNKNOWN_QUEUE)
        await peer.until(lambda: peer.last.tags(Outcome.ACK) == [1])
    assert "cannot be sent to 'gone': queue 'gone': the queue was deleted" in caplog.text


async def test_stopping_lets_what_runs_finish_and_gives_the_rest_back(peer: ScriptedPeer) -> None:
    app = App()
    go_on = asyncio.Event()

    @app.worker("jobs", concurrency=2, prefetch=5)
    async def handle(body: bytes) -> None:
        await go_on.wait()

    async with serving(app, peer) as stop:
        peer.last.deliver([b"x"] * 5)
        await peer.until(lambda: peer.last.tags(Outcome.STARTED) == [1, 2])
        stop.set()
        await peer.until(lambda: peer.last.tags(Outcome.RELEASE) == [3, 4, 5])
        await peer.until(lambda: peer.last.count(FrameType.FLOW))
        assert peer.last.arguments(FrameType.FLOW)[0]["prefetch_messages"] == 0
        go_on.set()
    assert sorted(peer.last.tags(Outcome.ACK)) == [1, 2]
    assert not peer.last.tags(Outcome.NACK)


async def test_what_does_not_finish_in_time_goes_back_without_a_failure(
    peer: ScriptedPeer, caplog: pytest.LogCaptureFixture
) -> None:
    app = App()
    go_on = threading.Event()

    @app.worker("jobs")
    async def wait_for_ever(body: bytes) -> None:
        await asyncio.Event().wait()

    @app.worker("more")
    def block(body: bytes) -> None:
        go_on.wait(10)

    async with serving(app, peer, grace=0):
        for consumer in list(peer.last.consumers):
            peer.last.deliver([b"x"], consumer=consumer)
        await peer.until(lambda: sorted(peer.last.tags(Outcome.STARTED)) == [1, 2])
    assert sorted(peer.last.tags(Outcome.RELEASE)) == [1, 2]
    assert not peer.last.tags(Outcome.NACK)
    assert "2 handler(s) did not finish in time: their messages went back" in caplog.text
    go_on.set()


async def test_handlers_that_had_nothing_to_do_are_not_counted_as_late(
    peer: ScriptedPeer, caplog: pytest.LogCaptureFixture
) -> None:
    app = App()

    @app.worker("jobs", concurrency=100)
    async def handle(body: bytes) -> None: ...

    async with serving(app, peer, grace=0):
        peer.last.deliver([b"x"])
        await peer.until(lambda: peer.last.tags(Outcome.ACK) == [1])
    assert "did not finish" not in caplog.text


async def test_a_handler_that_refuses_to_end_is_left_behind(
    peer: ScriptedPeer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock_client.worker.crew.CANCEL_WAIT_S", 0.01)
    app = App()
    go_on = asyncio.Event()
    ended = asyncio.Event()

    @app.worker("jobs")
    async def stay(body: bytes) -> None:
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue
        ended.set()

    try:
        async with serving(app, peer, grace=0):
            peer.last.deliver([b"x"])
            await peer.until(lambda: peer.last.tags(Outcome.STARTED) == [1])
        assert "1 handler(s) did not finish in time" in caplog.text
        assert not peer.last.tags(Outcome.ACK)
    finally:
        go_on.set()
    await guarded(ended.wait())


async def test_a_deleted_queue_ends_the_app_when_the_others_have_stopped(peer: ScriptedPeer) -> None:
    app = App()
    done: list[bytes] = []
    go_on = asyncio.Event()

    @app.worker("jobs")
    async def jobs(body: bytes) -> None: ...

    @app.worker("more")
    async def more(body: bytes) -> None:
        await go_on.wait()
        done.append(body)

    running = asyncio.create_task(app.serve(asyncio.Event(), peer.url))
    await peer.until(lambda: peer.connections and len(peer.last.consumers) == 2)
    first, second = peer.last.consumers
    peer.last.deliver([b"x"], consumer=second)
    await peer.until(lambda: peer.last.tags(Outcome.STARTED) == [1])
    peer.last.cancel(first, WireError(ErrorCode.QUEUE_DELETED, "gone"))
    await peer.until(lambda: peer.last.count(FrameType.FLOW))
    go_on.set()
    with pytest.raises(QueueDeleted):
        await guarded(running)
    assert done == [b"x"]


async def test_a_lost_connection_is_won_back_and_the_work_goes_on(peer: ScriptedPeer) -> None:
    app = App()

    @app.worker("jobs", concurrency=2)
    async def handle(body: bytes) -> None: ...

    async with serving(app, peer):
        peer.last.cut()
        await peer.until(lambda: len(peer.connections) == 2 and peer.last.consumers)
        peer.last.deliver([b"x", b"y"])
        await peer.until(lambda: sorted(peer.last.tags(Outcome.ACK)) == [1, 2])


async def test_a_broker_that_is_not_there_is_said(peer: ScriptedPeer) -> None:
    app = App()

    @app.worker("jobs")
    async def handle(body: bytes) -> None: ...

    await peer.vanish()
    with pytest.raises(ConnectionLost):
        await guarded(app.serve(asyncio.Event(), peer.url))


async def test_a_worker_s_queues_are_declared_with_what_it_says(peer: ScriptedPeer) -> None:
    app = App()

    @app.worker("jobs", lease=60, retry=Retry(max_failures=3, backoff=(1, 9)), dead_letter="bad", results="done")
    async def handle(body: bytes) -> None: ...

    @app.worker("more")
    async def more(body: bytes) -> None: ...

    @app.worker("theirs", declare=False)
    async def theirs(body: bytes) -> None: ...

    async with serving(app, peer):
        assert peer.last.arguments(FrameType.QUEUE_DECLARE) == [
            {"queue": "jobs", "lease_ms": 60_000, "max_failures": 3, "backoff_min_ms": 1000, "backoff_max_ms": 9000,
             "dead_letter": "bad"},
            {"queue": "done"},
            {"queue": "more"},
        ]  # fmt: skip


async def test_consumers_are_named_after_the_app_or_as_the_worker_says(peer: ScriptedPeer) -> None:
    app = App(name="shop")

    @app.worker("jobs")
    async def jobs(body: bytes) -> None: ...

    @app.worker("more", name="more@here")
    async def more(body: bytes) -> None: ...

    async with serving(app, peer):
        names = [consumer["name"] for consumer in peer.last.consumers.values()]
        (hello,) = [control.unpack(frame.payload) for frame in peer.last.frames if frame.type == FrameType.HELLO]
    assert names[0].startswith("shop@")
    assert names[0] == hello["client"]
    assert names[1] == "more@here"


async def test_hooks_run_around_the_work_and_state_is_shared(peer: ScriptedPeer) -> None:
    app = App()
    said: list[Any] = []

    @app.on_startup
    async def open_pool() -> None:
        assert app.client.url == peer.url
        app.state.pool = "pool"
        said.append("open")

    @app.on_shutdown
    def last() -> None:
        said.append("last")

    @app.on_shutdown
    async def close_pool() -> None:
        await app.client.queue("audit").publish(b"closed")
        said.append("close")

    @app.worker("jobs")
    async def handle(body: bytes) -> None:
        said.append(app.state.pool)

    async with serving(app, peer):
        peer.last.deliver([b"x"])
        await peer.until(lambda: peer.last.tags(Outcome.ACK) == [1])
    assert said == ["open", "pool", "close", "last"]
    assert len(peer.last.publications) == 1
    with pytest.raises(RuntimeError, match="not running"):
        _ = app.client


async def test_a_startup_hook_that_fails_ends_the_app_before_it_takes_anything(peer: ScriptedPeer) -> None:
    app = App()
    shut_down: list[bool] = []

    @app.on_startup
    def fail() -> None:
        raise OSError("no database")

    @app.on_shutdown
    def close() -> None:
        shut_down.append(True)

    @app.worker("jobs")
    async def handle(body: bytes) -> None: ...

    with pytest.raises(OSError, match="no database"):
        await guarded(app.serve(asyncio.Event(), peer.url))
    assert not peer.last.count(FrameType.CONSUME)
    assert shut_down == [True]


@pytest.mark.parametrize("reply_to", [5, ["reply"], {"to": "me"}])
async def test_who_asks_without_an_address_gets_no_answer_and_its_message_is_done(
    peer: ScriptedPeer, reply_to: object
) -> None:
    app = App()

    @app.worker("jobs")
    async def handle(body: bytes) -> bytes:
        return body

    async with serving(app, peer):
        peer.last.deliver([b"one"], properties=[{"reply_to": reply_to}])
        await peer.until(lambda: peer.last.tags(Outcome.ACK) == [1])


async def test_a_message_that_cannot_be_read_may_still_be_rejected(peer: ScriptedPeer) -> None:
    app = App()

    @app.worker("jobs")
    async def handle(body: bytes) -> None:
        raise Reject("not ours")

    broken = replace_properties(encode_block([b"one"]), [{}]).replace(b"\x91\x80", b"\x91\x07")
    async with serving(app, peer):
        peer.last.deliver([b"one"], block=broken)
        await peer.until(lambda: peer.last.tags(Outcome.REJECT) == [1])


@pytest.mark.parametrize("columns", [{}, {"properties": [{"reply_to": "asker"}]}])
async def test_an_answer_that_has_no_form_does_not_end_the_app(peer: ScriptedPeer, columns: dict[str, Any]) -> None:
    app = App()

    @app.worker("jobs", results="done")
    async def handle(body: bytes) -> Message:
        return Message(body, headers={"number": 1 << 70})

    async with serving(app, peer):
        peer.last.deliver([b"one"], **columns)
        await peer.until(lambda: peer.last.tags(Outcome.ACK) + peer.last.tags(Outcome.NACK) == [1])


async def test_a_handler_that_cancels_its_own_task_fails_its_message_and_the_work_goes_on(peer: ScriptedPeer) -> None:
    app = App()

    @app.worker("jobs", concurrency=1)
    async def handle(body: bytes) -> None:
        if body == b"cancel":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

    async with serving(app, peer):
        peer.last.deliver([b"cancel", b"next"])
        await peer.until(lambda: peer.last.tags(Outcome.ACK) == [2])
        assert settled(peer, Outcome.NACK)[0].reason.startswith("RuntimeError: the handler ended with CancelledError")
