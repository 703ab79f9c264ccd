"""Transactions: publishes, acknowledgements and group state that happen together or not at all.

    async with client.transaction() as tx:                  # leaving commits; an exception rolls back
        tx.publish("invoices", Message(b"..."))
        tx.ack(message)
        tx.state["seen"] = 7

Everything is kept here until the block is left, and sent in one frame then; the broker knows nothing of a transaction
before, so there is nothing to time out and nothing to clean up. A message acknowledged in a transaction is held by it:
its lease is extended as before, and other outcomes of it change nothing, until the outcome of the transaction is known:

    open --tx.ack--> TRANSACTED --committed--> SETTLED
      ^                  |  |
      +---rolled back----+  +--nobody waits for the answer any more--> SETTLED   once it comes; given back by then if
          or refused                                                             it was refused
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, NoReturn, Self

from penstock_client.delivery import HANDED, LOST, PEEKED, SETTLED, STARTED, TRANSACTED, Delivery, MessageView
from penstock_client.errors import (
    ConnectionLost,
    PenstockError,
    ProtocolViolation,
    RequestTimeout,
    TransactionStale,
    TransactionTooLarge,
    TransactionUnknown,
)
from penstock_client.gathering import BLOCK_MESSAGES
from penstock_client.groupstate import GroupAddress, State
from penstock_client.holdings import Settling, tag_ranges
from penstock_client.link import read_reply, reply_error
from penstock_client.message import Confirm, Publishable
from penstock_client.outgoing import Outgoing, body_bytes, encode_parts, prepare
from penstock_client.producer import too_large
from penstock_client.queue import Queue
from penstock_client.wire.entries import Outcome
from penstock_client.wire.frames import Frame, FrameType
from penstock_client.wire.limits import PUBLISH_ENTRIES_MAX, SETTLE_RANGES_MAX, STATE_WRITES_MAX
from penstock_client.wire.transaction import StateWrite, encode_transaction

if TYPE_CHECKING:
    from penstock_client.client import Client
    from penstock_client.group import Group
    from penstock_client.link import Link


class _Held(NamedTuple):
    """A message that the transaction acknowledges, and the mark it had before."""

    delivery: Delivery
    place: int
    mark: int

    def is_leased_over(self, link: Link) -> bool:
        """True while the connection that it came by is this one."""
        return self.delivery.marks[self.place] == TRANSACTED and self.delivery.holdings.link is link


class _Sent(NamedTuple):
    """A published message: where to, what, and which of the transaction's publishes it is."""

    queue: str
    message: Outgoing
    number: int


class _Block(NamedTuple):
    """A block of the frame, and which publishes are in it."""

    queue: str
    data: bytes
    numbers: list[int]


class Transaction:
    """Made by ``client.transaction``, used once, as ``async with``."""

    def __init__(self, client: Client, group: Group | None) -> None:
        self.confirms: list[Confirm] = []
        """After the commit: where each published message is, in the order of publishing."""
        self._client = client
        self._group = group
        self._sent: list[_Sent] = []
        self._held: list[_Held] = []
        self._states: dict[GroupAddress, State] = {}
        self._unread = State(None)
        self._over = False

    async def __aenter__(self) -> Self:
        if self._group is not None:
            await self.state_of(self._group)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None and not self._over:
            await self._commit()
        else:
            self.rollback()

    # -- what belongs to it --------------------------------------------------------------------------------------------

    def publish(self, queue: str | Queue, message: Publishable) -> None:
        """Publish with the commit. The order within a queue is kept. Raises TypeError or ValueError for what cannot be
        published.
        """
        self._check_open()
        name = queue.name if isinstance(queue, Queue) else queue
        self._sent.append(_Sent(name, prepare(message), len(self._sent)))

    def ack(self, *messages: MessageView) -> None:
        """Acknowledge with the commit; until its outcome is known, the transaction holds them.

        Raises TransactionStale when one's connection is gone: it is delivered again, so this cannot be committed.
        """
        self._check_open()
        for message in messages:
            self._held.append(_hold(message))

    @property
    def state(self) -> State:
        """The state of the group that the transaction was made with.

        Without one it is that of the messages acknowledged here, which must all be of one group; not having been read,
        it can only be assigned.
        """
        return self._unread if self._group is None else self._states[self._group.queue, self._group.name]

    async def state_of(self, group: Group) -> State:
        """Read the state of any group; what is changed in it belongs to the transaction."""
        self._check_open()
        address = (group.queue, group.name)
        if address not in self._states:
            self._states[address] = State(await group.read_state())
        return self._states[address]

    def rollback(self) -> None:
        """Have nothing of it happen; its messages are open again. An exception that leaves the block does that."""
        if not self._over:
            self._over = True
            _give_back(self._held)

    def _check_open(self) -> None:
        if self._over:
            raise RuntimeError("the transaction is over; begin another one")

    # -- the commit ----------------------------------------------------------------------------------------------------

    async def _commit(self) -> None:
        try:
            blocks = list(_blocks(self._sent))
            writes = self._writes()
            if not (blocks or writes or self._held):
                self._over = True
                return
            ranges = tag_ranges([held.delivery.first_tag + held.place for held in self._held])
            _check_counts(len(ranges), len(blocks), len(writes))
            payload = encode_transaction(ranges, [("", block.queue, block.data) for block in blocks], writes)
            link = await self._ready_link(len(payload))
        except BaseException:
            self.rollback()
            raise
        self._over = True
        self._place(blocks, await self._send(link, payload))

    async def _ready_link(self, payload_bytes: int) -> Link:
        """Return the connection to send it on: that of its messages. Raises what says that it cannot be sent."""
        client = self._client
        try:
            async with asyncio.timeout(client.request_timeout_s):
                link = await client.link()
        except TimeoutError as error:
            raise RequestTimeout(
                f"no connection within {client.request_timeout_s:g} s; the transaction was not sent"
            ) from error
        if not all(held.is_leased_over(link) for held in self._held):
            _refuse_lost()
        for sent in self._sent:
            if body_bytes(sent.message) > link.limits.body_bytes_max:
                raise too_large(body_bytes(sent.message), link.limits.body_bytes_max)
        if payload_bytes > link.limits.frame_bytes_max:
            text = f"{payload_bytes} bytes; a transaction is one frame, of at most {link.limits.frame_bytes_max}"
            raise TransactionTooLarge(text)
        return link

    async def _send(self, link: Link, payload: bytes) -> list[list[list[int]]]:
        """Send it and return where its messages are; its acknowledged ones get their marks."""
        asked = link.ask(FrameType.TRANSACT, payload)
        try:
            async with asyncio.timeout(self._client.request_timeout_s):
                frame = await asyncio.shield(asked)
        except (ConnectionLost, TimeoutError) as error:
            asked.add_done_callback(self._learn)
            raise TransactionUnknown(
                f"whether the transaction was committed is not known: {str(error) or 'no answer in time'};"
                " its messages are delivered again only if it was not"
            ) from error
        except BaseException:  # cancelled: it is with the broker, whatever becomes of the caller
            asked.add_done_callback(self._learn)
            raise
        try:
            reply = read_reply(frame)
        except PenstockError:
            _give_back(self._held)
            raise
        _settle(self._held)
        return _placed(reply)

    def _learn(self, asked: asyncio.Future[Frame]) -> None:
        """The answer, or the loss of the connection, that nobody waits for any more."""
        if asked.exception() is None and reply_error(asked.result()) is not None:
            _release(self._held)
        else:
            _settle(self._held)

    def _writes(self) -> list[StateWrite]:
        writes = [write for address, state in self._states.items() for write in state.writes(address)]
        if self._unread.is_changed:
            writes += self._unread.writes(self._acked_group())
        return writes

    def _acked_group(self) -> GroupAddress:
        found = {held.delivery.holdings.address for held in self._held}
        if len(found) != 1:
            known = "no messages" if not found else f"messages of {len(found)} groups"
            raise ValueError(
                f"the transaction sets `state` and acknowledges {known}: whose state that is, is to be said with"
                " client.transaction(group=...)"
            )
        return found.pop()

    def _place(self, blocks: list[_Block], placed: list[list[list[int]]]) -> None:
        confirms: dict[int, Confirm] = {}
        for block, parts in zip(blocks, placed, strict=True):
            offsets = [(offset + i, bool(again)) for offset, count, again in parts for i in range(count)]
            for number, (offset, duplicate) in zip(block.numbers, offsets, strict=True):
                confirms[number] = Confirm(block.queue, offset, "synced", duplicate)
        self.confirms = [confirms[number] for number in sorted(confirms)]


def _check_counts(range_count: int, block_count: int, write_count: int) -> None:
    """Raise TransactionTooLarge for what one frame does not carry: a broker would end the connection for it."""
    counts = ((range_count, SETTLE_RANGES_MAX), (block_count, PUBLISH_ENTRIES_MAX), (write_count, STATE_WRITES_MAX))
    if any(count > count_max for count, count_max in counts):
        raise TransactionTooLarge(
            f"{range_count} ranges of acknowledged messages, {block_count} blocks of messages for queues and"
            f" {write_count} values of state; at most {SETTLE_RANGES_MAX}, {PUBLISH_ENTRIES_MAX} and {STATE_WRITES_MAX}"
        )


def _placed(reply: dict[str, object]) -> list[list[list[int]]]:
    placed = reply.get("placed")
    if not isinstance(placed, list):
        raise ProtocolViolation("the answer to a transaction does not say where its messages are")
    return placed


def _blocks(sent: Iterable[_Sent]) -> Iterable[_Block]:
    """Gather the messages of each queue into blocks, in order."""
    by_queue: dict[str, list[_Sent]] = {}
    for one in sent:
        by_queue.setdefault(one.queue, []).append(one)
    for queue, messages in by_queue.items():
        for start in range(0, len(messages), BLOCK_MESSAGES):
            chunk = messages[start : start + BLOCK_MESSAGES]
            numbers = [one.number for one in chunk]
            for data, count in encode_parts([one.message for one in chunk]):
                yield _Block(queue, data, numbers[:count])
                numbers = numbers[count:]


def _hold(message: MessageView) -> _Held:
    delivery, index = message._delivery, message._index
    mark = delivery.marks[index]
    if mark == PEEKED:
        raise TypeError(f"{message!r} was peeked at, not leased: there is nothing to acknowledge")
    if mark == LOST:
        _refuse_lost()
    if mark > STARTED:
        raise ValueError(f"{message!r} has an outcome already, or is in a transaction")
    delivery.marks[index] = TRANSACTED
    return _Held(delivery, index, mark)


def _refuse_lost() -> NoReturn:
    raise TransactionStale(
        "nothing was done: a message of the transaction is not held any more, since its connection was lost or its"
        " queue or group deleted"
    )


def _give_back(held: Iterable[_Held]) -> None:
    """Have the messages open again, as they were."""
    for delivery, index, mark in held:
        if delivery.marks[index] == TRANSACTED:
            delivery.marks[index] = mark
            if mark == HANDED and delivery.clean:
                delivery.holdings.touched(delivery)


def _release(held: Iterable[_Held]) -> None:
    """The transaction was refused, and the application has gone on: the messages go back untried."""
    for delivery, index, _ in held:
        if delivery.marks[index] == TRANSACTED:
            delivery.holdings.settle(delivery, index, Settling(Outcome.RELEASE))


def _settle(held: Iterable[_Held]) -> None:
    """Nothing more is to be said of the messages."""
    for delivery, index, _ in held:
        if delivery.marks[index] == TRANSACTED:
            delivery.marks[index] = SETTLED
            delivery.holdings.settled(delivery)
        else:  # the connection is gone, and with it whatever could still be said
            delivery.marks[index] = SETTLED
