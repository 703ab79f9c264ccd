"""Run a handler on a message without a broker, and look at what becomes of it.

    outcome = await run(charge, Order(id="o-1", amount=5), headers={"region": "eu"})
    assert outcome.verdict is Verdict.ACKED

    outcome = await run(app, b'{"id": 1}', queue="orders")
    assert (outcome.verdict, outcome.reason) == (Verdict.REJECTED, "the body is not a valid Order...")

Middleware, retry rules and answers are those of the app; startup hooks are not called: what they put into ``app.state``
the test puts there. For a test with a queue around it, ``penstock.testing.TestBroker`` is the real broker in the
test's own process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from penstock_client.answering import Replier, answer_to
from penstock_client.delivery import ACKED, HANDED, SETTLED, Delivery, MessageView
from penstock_client.errors import NotARequest
from penstock_client.holdings import Holdings, Settling
from penstock_client.message import Headers, Message, Publishable
from penstock_client.outgoing import encode_parts, prepare
from penstock_client.received import ReceivedMessage
from penstock_client.reply import ReplyError, ReplyOutcome
from penstock_client.wire.entries import NO_DELAY
from penstock_client.wire.entries import Delivery as Entry
from penstock_client.wire.entries import Outcome as Settled
from penstock_client.worker.answers import make_message
from penstock_client.worker.app import App
from penstock_client.worker.outcomes import Outcome, Verdict
from penstock_client.worker.worker import WORKERS_ATTRIBUTE, Worker

_VERDICTS: Final = {
    Settled.ACK: Verdict.ACKED,
    Settled.NACK: Verdict.RETRIED,
    Settled.REJECT: Verdict.REJECTED,
    Settled.RELEASE: Verdict.RELEASED,
}


async def run(
    target: App | Callable[..., Any],
    body: Any,
    *,
    queue: str | None = None,
    headers: Headers | None = None,
    content_type: str | None = None,
    reply_to: str | None = None,
    message_id: str | None = None,
    key: str | None = None,
    attempt: int = 1,
    failures: int | None = None,
) -> Outcome:
    """Run a handler on one message and return what becomes of it.

    ``target`` is a decorated function, or an app; ``queue`` says which worker is meant where there are several.
    ``body`` is ``bytes`` as they arrive, a model or another value that is written as its sender would (the content type
    says whether in JSON or msgpack), or a whole ``Message``. ``failures`` are those before this attempt; None means
    that every earlier attempt failed. Raises LookupError when the target has no such worker.
    """
    worker = _worker_of(target, queue)
    if isinstance(body, Message):
        message = body
    else:
        made = make_message(body, content_type)
        message = replace(
            made,
            content_type=content_type or made.content_type,
            headers=headers,
            reply_to=reply_to,
            message_id=message_id,
            key=key,
        )
    received = receive(message, queue=worker.queue, attempt=attempt, failures=failures)
    outcome = await worker.handle(received)
    return _settled_by_itself(received, outcome)


def receive(
    message: Message, *, queue: str = "test", offset: int = 0, attempt: int = 1, failures: int | None = None
) -> ReceivedMessage:
    """Return a message as if it had been delivered from a queue: for what is called with one, such as middleware."""
    ((block, _),) = encode_parts([prepare(message)])
    failed = attempt - 1 if failures is None else failures
    entry = Entry(1, attempt, failed, 0, 1, offset, int(time.time() * 1000), 0, 1, block)
    delivery = Delivery(entry, queue, HANDED)
    delivery.holdings = _NoBroker()
    return ReceivedMessage(delivery, 0, delivery.bodies[0])


def _worker_of(target: App | Callable[..., Any], queue: str | None) -> Worker:
    known: Sequence[Worker] = target.workers if isinstance(target, App) else getattr(target, WORKERS_ATTRIBUTE, [])
    found = [worker for worker in known if queue in (None, worker.queue)]
    if len(found) == 1:
        return found[0]
    queues = ", ".join(repr(worker.queue) for worker in known) or "none"
    asked = f"a worker of {queue!r}" if queue is not None else "exactly one worker"
    raise LookupError(f"{target!r} does not have {asked}; it has those of: {queues}")


def _settled_by_itself(message: ReceivedMessage, outcome: Outcome) -> Outcome:
    """A handler may settle its message by hand: then that is what becomes of it, whatever it does afterwards."""
    delivery = message._delivery
    holdings = delivery.holdings
    assert isinstance(holdings, _NoBroker)
    said = Settling(Settled.ACK) if delivery.marks[0] == ACKED else holdings.said
    if said is None:
        return outcome
    settled, duration_ms, reason = said
    delay = duration_ms / 1000 if settled is Settled.NACK and duration_ms != NO_DELAY else None
    return outcome._replace(verdict=_VERDICTS[settled], delay=delay, reason=reason)


class _NoBroker(Holdings):
    """What a test's message is settled with: it notes what was said, and sends nothing."""

    def __init__(self) -> None:
        self.room = 1 << 30
        self.replier = _NoAsker()
        self.said: Settling | None = None

    def touched(self, delivery: Delivery) -> None:
        delivery.clean = False

    def settle(self, delivery: Delivery, index: int, settling: Settling) -> None:
        delivery.marks[index] = SETTLED
        self.said = settling

    async def ack_confirmed(self, places: Sequence[tuple[Delivery, int]]) -> None:
        for delivery, index in places:
            self.settle(delivery, index, Settling(Settled.ACK))

    async def extend(self, delivery: Delivery, index: int, seconds: float) -> None:
        """There is no lease."""


class _NoAsker(Replier):
    """What a handler answers with in a test: every answer arrives."""

    def __init__(self) -> None:
        pass

    async def reply(
        self, request: MessageView, body: Publishable, error: ReplyError | BaseException | None
    ) -> ReplyOutcome:
        if not request.reply_to:
            raise NotARequest(f"{request!r} names no reply_to: nobody waits for an answer")
        answer_to(request, body, error)  # what is wrong with it is an error here, too
        return ReplyOutcome.DELIVERED
