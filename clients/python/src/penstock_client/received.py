"""Messages that arrived: what becomes of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from traceback import format_exception
from types import TracebackType
from typing import Final

from penstock_client.delivery import ACKED, LOST, PEEKED, STARTED, Delivery, MessageView
from penstock_client.errors import text_of
from penstock_client.holdings import Holdings, Settling
from penstock_client.message import Publishable
from penstock_client.reply import ReplyError, ReplyOutcome
from penstock_client.wire.entries import NO_DELAY, Outcome
from penstock_client.wire.limits import REASON_BYTES_MAX


class ReceivedMessage(MessageView):
    """A message handed to this consumer, or one that was peeked at.

    As a context manager it acknowledges itself on success, and on failure gives the exception to the broker as the
    reason (nack), which is how it ends up in the failure history; the exception goes on. When it is cancelled it gives
    the message back, which is not a failure. A message is settled once: later outcomes change nothing.
    """

    __slots__ = ()

    async def ack(self, *, confirm: bool = False) -> None:
        """It is done. Without ``confirm`` that is sent soon, with others, and costs nothing. With it this returns when
        it is on disk; raises StaleDelivery when the lease had ended and ConnectionLost when nobody knows: in both cases
        the message comes again, or may.
        """
        delivery, index = self._delivery, self._index
        marks = delivery.marks
        if confirm or marks[index] > STARTED:
            if confirm:
                await settle_confirmed([self])
            else:
                _note_late(self)
            return
        marks[index] = ACKED
        holdings = delivery.holdings
        if delivery.clean:
            holdings.touched(delivery)
        holdings.room -= 1
        if holdings.room <= 0:
            holdings.flush()

    async def nack(self, *, delay: float | None = None, reason: str = "") -> None:
        """It failed: it comes again after ``delay`` seconds (None: the queue's backoff), or dies at the limit."""
        settle([self], Settling(Outcome.NACK, delay_ms(delay), reason))

    async def release(self, *, delay: float = 0) -> None:
        """Give it back untried: no failure is counted. To its own place, at once or after ``delay`` seconds (a broker
        that restarts meanwhile does not wait).
        """
        settle([self], Settling(Outcome.RELEASE, delay_ms(delay)))

    async def requeue(self) -> None:
        """Give it back untried, behind everything that is in the queue now. Only a ``shared`` group changes its order;
        in others this is ``release``.
        """
        settle([self], Settling(Outcome.REQUEUE))

    async def reject(self, *, reason: str = "") -> None:
        """It will never succeed: straight to the dead letters."""
        settle([self], Settling(Outcome.REJECT, 0, reason))

    async def extend(self, seconds: float) -> None:
        """Hold it for ``seconds`` from now, also while this process cannot say that it lives. Raises StaleDelivery.

        What is held is extended by itself; this is for a handler that is about to block the event loop.
        """
        await extend(self, seconds)

    async def reply(self, body: Publishable = b"", *, error: ReplyError | BaseException | None = None) -> ReplyOutcome:
        """Answer whoever asked (``reply_to``); return what became of the answer. It settles nothing: ack as well.

        ``error`` tells that the request failed, and raises ReplyFailed at the asker. An answer to a queue's name is
        published there, as JMS does it. Raises NotARequest, and ConnectionLost when nobody knows whether it arrived.
        """
        return await reply(self, body, error)

    async def __aenter__(self) -> ReceivedMessage:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            await self.ack()
        elif isinstance(error, Exception):
            await self.nack(reason=reason_of(error))
        else:  # cancelled, or the program ends: not the message's fault
            await self.release()


class Batch(list[ReceivedMessage]):
    """Messages handed over together."""

    async def ack(self, *, confirm: bool = False) -> None:
        """All of them are done, except those that were settled one by one."""
        if confirm:
            await settle_confirmed(self)
        else:
            acknowledge((message._delivery, message._index) for message in self)

    async def nack(
        self, messages: Sequence[ReceivedMessage] | None = None, *, delay: float | None = None, reason: str = ""
    ) -> None:
        """These (None: all that are not settled) failed."""
        settle(self if messages is None else messages, Settling(Outcome.NACK, delay_ms(delay), reason))


def acknowledge(places: Iterable[tuple[Delivery, int]]) -> None:
    """Acknowledge messages, each named by its run and its index there."""
    for delivery, index in places:
        if delivery.marks[index] <= STARTED:
            delivery.marks[index] = ACKED
            delivery.holdings.settled(delivery)
        elif delivery.marks[index] == LOST:
            delivery.holdings.note_lost(delivery, index)


def settle(messages: Iterable[MessageView], settling: Settling) -> None:
    """Give messages an outcome; those that have one already keep it."""
    for message in messages:
        delivery, index = message._delivery, message._index
        if delivery.marks[index] <= STARTED:
            delivery.holdings.settle(delivery, index, settling)
        else:
            _note_late(message)


async def settle_confirmed(messages: Iterable[MessageView]) -> None:
    """Acknowledge messages and return when that is durable. Raises StaleDelivery, ConnectionLost, RequestTimeout."""
    places: dict[Holdings, list[tuple[Delivery, int]]] = {}
    stale: Holdings | None = None
    for message in messages:
        _refuse_peeked(message)
        delivery, index = message._delivery, message._index
        if delivery.marks[index] == LOST:
            stale = delivery.holdings
        elif delivery.marks[index] <= STARTED:
            places.setdefault(delivery.holdings, []).append((delivery, index))
    for holdings, held in places.items():
        await holdings.ack_confirmed(held)
    if stale is not None:
        raise stale.stale_error()


async def reply(message: MessageView, body: Publishable, error: ReplyError | BaseException | None) -> ReplyOutcome:
    """Answer a request. Raises NotARequest, ConnectionLost, RequestTimeout, BodyTooLarge."""
    _refuse_peeked(message)
    return await message._delivery.holdings.replier.reply(message, body, error)


async def extend(message: MessageView, seconds: float) -> None:
    """Hold a message for so long from now; one that is settled already is left alone. Raises StaleDelivery."""
    _refuse_peeked(message)
    delivery, index = message._delivery, message._index
    if delivery.marks[index] == LOST:
        raise delivery.holdings.stale_error()
    if delivery.marks[index] <= STARTED:
        await delivery.holdings.extend(delivery, index, seconds)


def _note_late(message: MessageView) -> None:
    _refuse_peeked(message)
    delivery, index = message._delivery, message._index
    if delivery.marks[index] == LOST:
        delivery.holdings.note_lost(delivery, index)


def _refuse_peeked(message: MessageView) -> None:
    if message._delivery.marks[message._index] == PEEKED:
        raise TypeError(f"{message!r} was peeked at, not leased: there is nothing to settle or to answer")


def delay_ms(seconds: float | None) -> int:
    """Return a nack's delay for the wire; None is the queue's own backoff."""
    return NO_DELAY if seconds is None else round(min(NO_DELAY - 1, max(0, seconds * 1000)))


_REASON_TAIL_BYTES: Final = REASON_BYTES_MAX - 16
"""What a reason's head and its traceback have together, the lines between them and the mark of a cut apart."""


def reason_of(error: BaseException) -> str:
    """Return an exception as a reason: its kind and message first, then its traceback, or whole lines of its end.

    Frames of this package at the traceback's beginning are left out: they are the same in every one.
    """
    head = f"{type(error).__name__}: {text_of(error)}"
    room = _REASON_TAIL_BYTES - len(head.encode("utf-8", "replace"))
    if room <= 0:
        return head
    lines = "".join(format_exception(type(error), error, _outside(error.__traceback__))).encode("utf-8", "replace")
    if len(lines) <= room:
        return f"{head}\n\n{lines.decode()}"
    end = lines[-room:].partition(b"\n")[2].decode("utf-8", "ignore")
    return f"{head}\n\n...\n{end}"


def _outside(traceback: TracebackType | None) -> TracebackType | None:
    outer = traceback
    while outer is not None and str(outer.tb_frame.f_globals.get("__name__")).startswith("penstock_client."):
        outer = outer.tb_next
    return outer or traceback
