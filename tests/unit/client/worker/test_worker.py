"""One worker: what a message comes to, with middleware around the handler, in the loop and in threads."""

import asyncio
import threading
from typing import Any

import pytest

from penstock_client import Message, ReceivedMessage
from penstock_client.worker import App, CallNext, Outcome, Reject, Retry, RetryLater, Verdict
from penstock_client.worker.testing import receive, run


async def outcome_of(error: BaseException, retry: Retry | None = None, **how: Any) -> Outcome:
    app = App()

    @app.worker("jobs", retry=retry or Retry())
    async def handle(body: bytes) -> None:
        raise error

    return await run(app, b"x", **how)


async def test_a_handler_that_returns_nothing_is_done() -> None:
    app = App()

    @app.worker("jobs", results="done")
    async def handle(body: bytes) -> None: ...

    assert await run(app, b"x") == Outcome(Verdict.ACKED)


async def test_what_a_handler_returns_is_the_result_and_the_answer() -> None:
    app = App()

    @app.worker("jobs", results="done")
    async def double(number: int) -> int:
        return 2 * number

    outcome = await run(app, 21, message_id="m")
    assert (outcome.verdict, outcome.result) == (Verdict.ACKED, 42)
    assert outcome.answer == ("done", Message(b"42", content_type="application/json", correlation_id="m"))
    assert (await run(app, 21, reply_to="me")).answer == ("me", Message(b"42", content_type="application/json"))


async def test_a_result_that_goes_nowhere_is_no_answer() -> None:
    app = App()

    @app.worker("jobs")
    async def handle(body: bytes) -> object:
        return object()

    outcome = await run(app, b"x")
    assert (outcome.verdict, outcome.answer) == (Verdict.ACKED, None)


async def test_a_result_that_cannot_be_published_is_a_failure() -> None:
    app = App()

    @app.worker("jobs", results="done")
    async def handle(body: bytes) -> object:
        return object()

    assert (await run(app, b"x")).verdict is Verdict.RETRIED


async def test_a_body_that_is_not_valid_goes_to_the_dead_letters_and_the_handler_is_not_called() -> None:
    app = App()

    @app.worker("jobs")
    async def handle(body: dict[str, int]) -> None:
        raise AssertionError

    outcome = await run(app, b'{"a":"b"}')
    assert outcome.verdict is Verdict.REJECTED
    assert outcome.reason.startswith("the body is not a valid dict")
    assert "a: Input should be a valid integer" in outcome.reason


async def test_failures_are_counted_with_this_one() -> None:
    retry = Retry(delay=lambda failures, error: float(failures))
    assert (await outcome_of(ValueError(), retry)).delay == 1
    assert (await outcome_of(ValueError(), retry, attempt=4)).delay == 4
    assert (await outcome_of(ValueError(), retry, attempt=9, failures=2)).delay == 3
    assert (await outcome_of(RetryLater(5))).delay == 5
    assert (await outcome_of(Reject("no"))).verdict is Verdict.REJECTED


async def test_the_traceback_in_a_reason_begins_in_the_application() -> None:
    reason = (await outcome_of(ValueError("boom"))).reason
    assert reason.startswith("ValueError: boom\n\nTraceback")
    assert "penstock_client" not in reason
    assert "in handle\n" in reason


async def test_the_traceback_of_a_thread_begins_in_the_application_too() -> None:
    app = App()

    @app.worker("jobs")
    def handle(body: bytes) -> None:
        raise ValueError("boom")

    reason = (await run(app, b"x")).reason
    assert "penstock_client" not in reason
    assert "in handle\n" in reason


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError()])
async def test_a_handler_that_ends_itself_fails_its_message_and_nothing_else(error: BaseException) -> None:
    outcome = await outcome_of(error)
    assert outcome.verdict is Verdict.RETRIED
    assert outcome.reason.startswith(f"RuntimeError: the handler ended with {error!r}")


async def test_a_blocking_handler_that_exits_fails_its_message_too() -> None:
    app = App()

    @app.worker("jobs")
    def handle(body: bytes) -> None:
        raise SystemExit(3)

    assert (await run(app, b"x")).verdict is Verdict.RETRIED


async def test_a_cancelled_worker_is_cancelled() -> None:
    app = App()
    begun = asyncio.Event()

    @app.worker("jobs")
    async def handle(body: bytes) -> None:
        begun.set()
        await asyncio.Event().wait()

    running = asyncio.ensure_future(run(app, b"x"))
    await begun.wait()
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()


async def test_a_blocking_handler_does_not_run_in_the_loop_s_thread() -> None:
    app = App()

    @app.worker("jobs")
    def handle(body: bytes) -> str:
        return threading.current_thread().name

    assert (await run(app, b"x")).result == "penstock-jobs-1"


async def test_middleware_goes_around_the_handler_the_first_added_outermost() -> None:
    app = App()
    said: list[str] = []

    @app.middleware
    async def outer(message: ReceivedMessage, call_next: CallNext) -> Any:
        said.append(f"outer {message.headers['who']}")
        result = await call_next(message)
        said.append("outer again")
        return f"{result}!"

    @app.worker("jobs")
    async def handle(body: str) -> str:
        said.append("handler")
        return body

    @app.middleware
    async def inner(message: ReceivedMessage, call_next: CallNext) -> Any:
        said.append("inner")
        return await call_next(message)

    assert (await run(app, "hello", headers={"who": "me"})).result == "hello!"
    assert said == ["outer me", "inner", "handler", "outer again"]


async def test_middleware_may_refuse_before_the_body_is_read_and_may_change_it() -> None:
    app = App()

    @app.middleware
    async def guard(message: ReceivedMessage, call_next: CallNext) -> Any:
        if message.key != "mine":
            raise Reject("not mine")
        message.body = message.body[::-1]
        return await call_next(message)

    @app.worker("jobs")
    async def handle(body: dict[str, Any]) -> dict[str, Any]:
        return body

    assert (await run(app, b"not json")).reason == "not mine"
    assert (await run(app, b'}1:"a"{', key="mine")).result == {"a": 1}


async def test_a_failure_goes_through_the_middleware() -> None:
    app = App()
    seen: list[str] = []

    @app.middleware
    async def watch(message: ReceivedMessage, call_next: CallNext) -> Any:
        try:
            return await call_next(message)
        except KeyError as error:
            seen.append(repr(error))
            raise Reject("gone") from error

    @app.worker("jobs")
    async def handle(body: bytes) -> None:
        raise KeyError("id")

    assert (await run(app, b"x")).reason == "gone"
    assert seen == ["KeyError('id')"]


def test_a_closed_worker_can_go_on() -> None:
    app = App()

    @app.worker("jobs")
    def handle(body: bytes) -> str:
        return threading.current_thread().name

    async def twice() -> list[Any]:
        first = await run(app, b"x")
        app.workers[0].close()
        return [first.result, (await run(app, b"x")).result]

    assert asyncio.run(twice()) == ["penstock-jobs-1", "penstock-jobs-1"]


def test_a_worker_says_which_it_is() -> None:
    app = App()

    @app.worker("jobs")
    async def handle(message: ReceivedMessage) -> None: ...

    assert repr(app.workers[0]).endswith("handle of 'jobs'>")
    assert receive(Message(b"x")).queue == "test"
