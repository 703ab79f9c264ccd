"""The helpers for tests of handlers: messages without a broker, and what becomes of them."""

from typing import Any

import msgpack
import pytest

from penstock_client import Message, ReceivedMessage
from penstock_client.worker import App, Verdict
from penstock_client.worker.testing import receive, run

app = App()


@app.worker("orders")
async def orders(order: dict[str, Any], message: ReceivedMessage) -> Any:
    return order, message.content_type, message.headers, message.attempt, message.failures, message.queue


@app.worker("images")
async def images(image: bytes) -> bytes:
    return image


async def test_a_decorated_function_is_still_the_function() -> None:
    assert await images(b"x") == b"x"


async def test_a_value_is_written_as_its_sender_would() -> None:
    as_json = await run(orders, {"a": 1}, headers={"h": 2})
    assert as_json.result == ({"a": 1}, "application/json", {"h": 2}, 1, 0, "orders")
    as_msgpack = await run(orders, {"a": 1}, content_type="application/msgpack", attempt=3)
    assert as_msgpack.result == ({"a": 1}, "application/msgpack", {}, 3, 2, "orders")


async def test_bytes_are_a_body_and_a_message_is_taken_whole() -> None:
    assert (await run(orders, b'{"a":1}', content_type="application/json")).result[0] == {"a": 1}
    whole = Message(msgpack.packb({"a": 1}), content_type="application/msgpack", headers={"h": 3})
    assert (await run(orders, whole)).result[:3] == ({"a": 1}, "application/msgpack", {"h": 3})


async def test_an_app_s_worker_is_named_by_its_queue() -> None:
    assert (await run(app, b"x", queue="images")).result == b"x"
    with pytest.raises(LookupError, match="does not have exactly one worker; it has those of: 'orders', 'images'"):
        await run(app, b"x")
    with pytest.raises(LookupError, match="does not have a worker of 'jobs'; it has those of: 'orders', 'images'"):
        await run(app, b"x", queue="jobs")
    with pytest.raises(LookupError, match="does not have exactly one worker; it has those of: none"):
        await run(print, b"x")


async def test_a_function_may_handle_several_queues() -> None:
    several = App()

    @several.worker("a")
    @several.worker("b")
    async def handle(message: ReceivedMessage) -> str:
        return message.queue

    assert (await run(handle, b"x", queue="a")).result == "a"
    assert (await run(handle, b"x", queue="b")).result == "b"


@pytest.mark.parametrize(
    ("how", "verdict", "delay", "reason"),
    [
        ("ack", Verdict.ACKED, None, ""),
        ("ack confirmed", Verdict.ACKED, None, ""),
        ("nack", Verdict.RETRIED, None, "why"),
        ("nack later", Verdict.RETRIED, 2.5, "why"),
        ("reject", Verdict.REJECTED, None, "why"),
        ("release", Verdict.RELEASED, None, ""),
    ],
)
async def test_a_handler_may_settle_its_message_by_hand(
    how: str, verdict: Verdict, delay: float | None, reason: str
) -> None:
    by_hand = App()

    @by_hand.worker("jobs")
    async def handle(message: ReceivedMessage) -> None:
        await message.extend(60)
        match how:
            case "ack":
                await message.ack()
            case "ack confirmed":
                await message.ack(confirm=True)
            case "nack":
                await message.nack(reason="why")
            case "nack later":
                await message.nack(delay=2.5, reason="why")
            case "reject":
                await message.reject(reason="why")
            case "release":
                await message.release()
        raise ValueError("too late to matter")

    outcome = await run(by_hand, b"x")
    assert (outcome.verdict, outcome.delay, outcome.reason) == (verdict, delay, reason)


def test_a_message_can_be_made_for_what_is_called_with_one() -> None:
    message = receive(Message(b"x", key="k", reply_to="r"), queue="jobs", offset=7, attempt=2, failures=0)
    assert (message.body, message.key, message.reply_to, message.queue) == (b"x", "k", "r", "jobs")
    assert (message.offset, message.attempt, message.failures, message.redelivered) == (7, 2, 0, True)


async def test_a_handler_may_answer_by_hand() -> None:
    asked = App()

    @asked.worker("jobs")
    async def handle(message: ReceivedMessage) -> None:
        assert await message.reply(b"yes") == "delivered"

    assert (await run(asked, b"x", reply_to="me")).verdict is Verdict.ACKED
    assert (await run(asked, b"x")).reason.startswith("NotARequest")
