"""Answering: replies to the requests that were consumed, gathered and sent together, each with its outcome.

Replies of one turn of the loop leave in one frame. A reply is sent once: when the connection is lost before its outcome
is known it is not sent again, since an asker must not get two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from penstock_client.delivery import MessageView
from penstock_client.errors import (
    ConnectionLost,
    NotARequest,
    PenstockError,
    ProtocolViolation,
    RequestTimeout,
    again,
    error_of,
)
from penstock_client.gathering import level_of
from penstock_client.link import read_reply
from penstock_client.message import Message, Publishable
from penstock_client.outgoing import Outgoing, as_bytes, body_bytes, encode_parts, prepare
from penstock_client.producer import FRAME_BYTES_TARGET, too_large
from penstock_client.reply import ReplyError, ReplyOutcome
from penstock_client.wire.frames import Frame, FrameType
from penstock_client.wire.limits import REPLY_ENTRIES_MAX
from penstock_client.wire.replies import ADDRESS_PREFIX, encode_reply_entry

if TYPE_CHECKING:
    from penstock_client.client import Client
    from penstock_client.link import Link

_Outcome = asyncio.Future[str]
_OUTCOMES: Final = frozenset(ReplyOutcome)


@dataclass(slots=True)
class Answer(Message):
    """A reply on its way: a message that may say why the request failed."""

    error: ReplyError | None = None

    def properties(self) -> dict[str, Any] | None:
        """The wire's properties map."""
        values = Message.properties(self) or {}
        if self.error is not None:
            values["error"] = self.error._asdict()
        return values or None


class _Entry(NamedTuple):
    """One encoded entry of a REPLY frame, and who waits for its outcome."""

    data: bytes
    waiting: list[_Outcome]


@dataclass(slots=True)
class _Gathered:
    """Replies to one address that leave together."""

    messages: list[Outgoing] = field(default_factory=list)
    waiting: list[_Outcome] = field(default_factory=list)

    def entries(self, address: str) -> Iterator[_Entry]:
        """The replies as entries: one, or more where a block would be too large."""
        start = 0
        for block, count in encode_parts(self.messages):
            yield _Entry(encode_reply_entry(address) + block, self.waiting[start : start + count])
            start += count


class Replier:
    """The replies of one client. All of it happens on the loop."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._gathered: dict[str, _Gathered] = {}

    async def reply(
        self, request: MessageView, body: Publishable, error: ReplyError | BaseException | None
    ) -> ReplyOutcome:
        """Answer a request; return what became of the reply. Raises NotARequest, ConnectionLost, BodyTooLarge."""
        address = request.reply_to
        if not address:
            raise NotARequest(f"{request!r} names no reply_to: nobody waits for an answer")
        outgoing = prepare(answer_to(request, body, error))
        if not address.startswith(ADDRESS_PREFIX):
            await self._client.publish(address, outgoing, level_of("synced"))
            return ReplyOutcome.STORED
        try:
            async with asyncio.timeout(self._client.request_timeout_s):
                outcome = await self._sent(address, outgoing)
        except ConnectionLost as lost:
            raise ConnectionLost(f"{lost}; whether the reply was delivered is not known") from lost
        except TimeoutError as late:
            raise RequestTimeout(f"no outcome of a reply within {self._client.request_timeout_s:g} s") from late
        if outcome in _OUTCOMES:
            return ReplyOutcome(outcome)
        raise error_of(outcome, f"the broker refused the reply to {request!r}: {outcome}")

    async def _sent(self, address: str, outgoing: Outgoing) -> str:
        link = await self._client.link()
        if body_bytes(outgoing) > link.limits.body_bytes_max:
            raise too_large(body_bytes(outgoing), link.limits.body_bytes_max)
        if not self._gathered:
            asyncio.get_running_loop().call_soon(self._send, link)
        gathered = self._gathered.setdefault(address, _Gathered())
        outcome: _Outcome = asyncio.get_running_loop().create_future()
        gathered.messages.append(outgoing)
        gathered.waiting.append(outcome)
        return await outcome

    def _send(self, link: Link) -> None:
        """Send what is gathered."""
        gathered, self._gathered = self._gathered, {}
        entries = [entry for address, replies in gathered.items() for entry in replies.entries(address)]
        for frame in _frames(entries):
            asked = link.ask(FrameType.REPLY, b"".join(entry.data for entry in frame))
            asked.add_done_callback(partial(_answered, frame))


def answer_to(request: MessageView, body: Publishable, error: ReplyError | BaseException | None) -> Answer:
    """Return the reply to a request. It answers the request's correlation id, or its message id where it has none."""
    correlation_id = request.correlation_id or request.message_id
    if isinstance(error, BaseException):
        error = ReplyError.of(error)
    if not isinstance(body, Message):
        return Answer(as_bytes(body), correlation_id=correlation_id, error=error)
    values = {name: getattr(body, name) for name in Message.__dataclass_fields__}
    return replace(Answer(**values), correlation_id=correlation_id, error=error)


def _frames(entries: list[_Entry]) -> Iterator[list[_Entry]]:
    """Split entries into frames of about FRAME_BYTES_TARGET."""
    frame: list[_Entry] = []
    frame_bytes = 0
    for entry in entries:
        if frame and (frame_bytes + len(entry.data) > FRAME_BYTES_TARGET or len(frame) == REPLY_ENTRIES_MAX):
            yield frame
            frame, frame_bytes = [], 0
        frame.append(entry)
        frame_bytes += len(entry.data)
    if frame:
        yield frame


def _answered(frame: list[_Entry], asked: asyncio.Future[Frame]) -> None:
    """Tell every reply of a frame what became of it."""
    try:
        outcomes = read_reply(asked.result()).get("outcomes")
        if not isinstance(outcomes, list) or len(outcomes) != len(frame):
            raise ProtocolViolation(f"{len(frame)} replies have the outcomes {outcomes!r:.100}")
    except PenstockError as error:
        for waiting in _waiting(frame):
            waiting.set_exception(again(error))
        return
    for entry, outcome in zip(frame, outcomes, strict=True):
        for waiting in _waiting([entry]):
            waiting.set_result(str(outcome))


def _waiting(frame: list[_Entry]) -> Iterator[_Outcome]:
    return (waiting for entry in frame for waiting in entry.waiting if not waiting.done())
