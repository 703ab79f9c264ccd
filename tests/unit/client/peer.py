"""A broker played by a test: it speaks the wire package, answers what every client asks, and does the rest on request.

What real brokers do only when something fails (a cut in the middle, a confirm that stays away, a refusal, silence) is
one line of a test here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Self, TypeVar

from penstock_client.wire import control
from penstock_client.wire.blocks import decode_properties, encode_block
from penstock_client.wire.connection import Connection, Role
from penstock_client.wire.entries import (
    CONFIRM_ENTRY,
    DELIVER_ENTRY,
    OFFSET_UNKNOWN,
    ConfirmStatus,
    Outcome,
    Publication,
    Settlement,
    decode_publish,
    decode_settle,
    encode_stale,
)
from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.frames import PREAMBLE, Frame, FrameType, encode_frame
from penstock_client.wire.replies import REPLIED_ENTRY, Reply, decode_reply

T = TypeVar("T")

HANG_GUARD_S: Final = 10.0
PUBLISHED_AT_MS: Final = 1_700_000_000_000

Answer = dict[str, Any] | WireError | None
"""What a request is answered with: a map, an error, or nothing at all."""


class PeerConnection(asyncio.Protocol):
    """One connection of a client, seen from the broker."""

    def __init__(self, peer: "ScriptedPeer") -> None:
        self.peer = peer
        self.frames: list[Frame] = []
        self.publications: list[Publication] = []
        self.held: list[Publication] = []
        """Those of them that were not confirmed at once."""
        self.settlements: list[Settlement] = []
        self.settle_requests: list[int] = []
        self.replies: list[Reply] = []
        self.routes: dict[int, str] = {}
        self.consumers: dict[int, dict[str, Any]] = {}
        self.closed = False
        self.next_tag = 1
        self._wire = Connection(Role.SERVER)
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.peer.connections.append(self)

    def data_received(self, data: bytes) -> None:
        for frame in self._wire.receive(data):
            self.frames.append(frame)
            self._take(frame)
        self.peer.changed()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.peer.changed()

    # What a test asks

    def cut(self) -> None:
        """The network fails."""
        self._transport.abort()

    def arguments(self, frame_type: FrameType) -> list[dict[str, Any]]:
        """The maps of every request of a type so far."""
        return [control.unpack(frame.payload) for frame in self.frames if frame.type == frame_type]

    def count(self, frame_type: FrameType) -> int:
        """How many frames of a type came so far."""
        return sum(frame.type == frame_type for frame in self.frames)

    def deliver(self, bodies: Sequence[bytes], consumer: int | None = None, offset: int = 0, **columns: Any) -> int:
        """Hand messages to a consumer (the first there is); return their first tag."""
        number = next(iter(self.consumers)) if consumer is None else consumer
        first_tag, self.next_tag = self.next_tag, self.next_tag + len(bodies)
        attempt = columns.pop("attempt", 1)
        header = DELIVER_ENTRY.pack(
            number, attempt, attempt - 1, 0, first_tag, offset, PUBLISHED_AT_MS, self.peer.lease_ms, 0
        )
        block = columns.pop("block", None) or encode_block(list(bodies), **columns)
        self.write(FrameType.DELIVER, header + block)
        return first_tag

    def confirm(self, *publications: Publication, code: ErrorCode | None = None, duplicate: bool = False) -> None:
        """Tell the outcome of published blocks; offsets are their sequences, to tell them apart."""
        stored = ConfirmStatus.DUPLICATE if duplicate else ConfirmStatus.STORED
        status = stored if code is None else ConfirmStatus.REFUSED
        entries = [
            CONFIRM_ENTRY.pack(
                p.route,
                status,
                p.level,
                code or 0,
                p.first_sequence,
                p.count,
                0,
                0,
                OFFSET_UNKNOWN if code else p.first_sequence,
            )
            for p in publications
        ]
        if entries:
            self.write(FrameType.CONFIRM, b"".join(entries))

    def confirm_dropped(self, *publications: Publication) -> None:
        """Tell that blocks were dropped, as their queue was told to."""
        for p in publications:
            entry = CONFIRM_ENTRY.pack(
                p.route, ConfirmStatus.DROPPED, p.level, 0, p.first_sequence, p.count, 0, 0, OFFSET_UNKNOWN
            )
            self.write(FrameType.CONFIRM, entry)

    def cancel(self, consumer: int, error: WireError) -> None:
        """End a consumer by the broker's doing."""
        self.write(FrameType.CANCELLED, control.pack({"consumer": consumer, **error.as_map()}))

    def stale(self, outcome: Outcome, first_tag: int, last_tag: int) -> None:
        """Tell that these tags were not held."""
        self.write(FrameType.STALE, encode_stale(outcome, [(first_tag, last_tag)]))

    def close(self, error: WireError) -> None:
        """End the connection with an error."""
        self.write(FrameType.CLOSE, control.pack(error.as_map()))
        self._transport.close()

    def answer_and_close(self, answer: dict[str, Any], error: WireError) -> None:
        """Answer the request being handled and end the connection, so that the client reads both at once."""
        request = self.frames[-1].request
        answered = encode_frame(FrameType.OK, control.pack(answer), request)
        self._transport.write(answered + encode_frame(FrameType.CLOSE, control.pack(error.as_map())))
        self._transport.close()

    def replied(self, *correlation_ids: str | None, body: bytes = b"yes", **properties: Any) -> None:
        """Hand over replies, one for each correlation id, in one block."""
        columns = [{"correlation_id": one, **properties} if one else properties or None for one in correlation_ids]
        block = encode_block([body] * len(columns), properties=columns)
        self.write(FrameType.REPLIED, REPLIED_ENTRY.pack(PUBLISHED_AT_MS) + block)

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The properties of every published message that has any, in order."""
        columns = [decode_properties(publication.block) or () for publication in self.publications]
        return [properties for column in columns for properties in column if properties]

    def tags(self, outcome: Outcome) -> list[int]:
        """Every tag settled so, in order of arrival."""
        return [
            tag
            for settlement in self.settlements
            if settlement.outcome == outcome
            for first, last in settlement.ranges
            for tag in range(first, last + 1)
        ]

    def write(self, frame_type: FrameType, payload: bytes = b"", request: int = 0) -> None:
        """Send a frame as it is."""
        if not self.closed:
            self._transport.write(encode_frame(frame_type, payload, request))

    # What it does by itself

    def _take(self, frame: Frame) -> None:
        match frame.type:
            case FrameType.HELLO:
                welcome = {
                    "server": "scripted",
                    "version": "0",
                    "boot_epoch": 1,
                    "heartbeat_ms": self.peer.heartbeat_ms,
                }
                self._transport.write(PREAMBLE)
                self._handshake(FrameType.WELCOME, welcome | {"mechanisms": self.peer.mechanisms}, frame.request)
            case FrameType.AUTH:
                self._handshake(FrameType.READY, self.peer.ready(len(self.peer.connections)), frame.request)
            case FrameType.PING if not self.peer.mute:
                self.write(FrameType.PONG, frame.payload, frame.request)
            case _ if FrameType(frame.type).name.lower() in self.peer.silent:
                pass
            case FrameType.CLOSE:
                self.write(FrameType.CLOSED, b"", frame.request)
                self._transport.close()
            case FrameType.PUBLISH:
                self._publish(decode_publish(frame.payload))
            case FrameType.SETTLE:
                self._settle(frame)
            case FrameType.REPLY:
                self.replies += (entries := decode_reply(frame.payload))
                self.reply(frame.request, self.peer.reply_answer(entries))
            case _ if frame.request:
                self._answer(frame)

    def _handshake(self, frame_type: FrameType, values: dict[str, Any], request: int) -> None:
        if self.peer.mute:
            return
        self._wire.sending(frame_type)
        self.write(frame_type, control.pack(values), request)

    def _publish(self, publications: list[Publication]) -> None:
        self.publications += publications
        held = [
            p for p in publications if self.peer.holds_confirms or self.routes.get(p.route) in self.peer.full_queues
        ]
        self.confirm(*(p for p in publications if p not in held))
        self.held += held

    def _settle(self, frame: Frame) -> None:
        self.settlements.append(decode_settle(frame.payload))
        if frame.request:
            self.settle_requests.append(frame.request)
            self.reply(frame.request, self.peer.settle_answer)

    def _answer(self, frame: Frame) -> None:
        arguments = {} if frame.type == FrameType.TRANSACT else control.unpack(frame.payload)
        name = FrameType(frame.type).name.lower()
        answer = self.peer.answers.get(name, {})
        if callable(answer):
            answer = answer(arguments)
        if isinstance(answer, dict):
            answer = self._defaults(frame.type, arguments) | answer
        self.reply(frame.request, answer)

    def reply(self, request: int, answer: Answer) -> None:
        """Answer a request."""
        if isinstance(answer, WireError):
            self.write(FrameType.ERROR, control.pack(answer.as_map()), request)
        elif answer is not None:
            self.write(FrameType.OK, control.pack(answer), request)

    def _defaults(self, frame_type: int, arguments: dict[str, Any]) -> dict[str, Any]:
        match frame_type:
            case FrameType.PRODUCER_OPEN:
                return {"producer": arguments.get("producer") or 7}
            case FrameType.ROUTE_OPEN:
                self.routes[arguments["route"]] = arguments["routing_key"]
                return {"queue_id": 1, "durable": True}
            case FrameType.CONSUME:
                self.consumers[arguments["consumer"]] = arguments
                return {"lease_ms": self.peer.lease_ms, "queue_id": 1}
            case FrameType.CANCEL:
                self.consumers.pop(arguments["consumer"], None)
                return {}
            case FrameType.REPLY_OPEN:
                return {"address": f"$reply.1.{len(self.peer.connections)}", "bytes_max": 1000}
            case FrameType.QUEUE_DECLARE:
                return {"queue": arguments["queue"], "created": True, "id": 1}
            case _:
                return {}


class ScriptedPeer:
    """Listens on a free loopback port; an async context manager."""

    def __init__(self) -> None:
        self.connections: list[PeerConnection] = []
        self.answers: dict[str, Answer | Callable[[dict[str, Any]], Answer]] = {}
        self.settle_answer: Answer = {"stale": 0}
        self.reply_answer: Callable[[list[Reply]], Answer] = lambda entries: {"outcomes": ["delivered"] * len(entries)}
        self.silent: set[str] = set()
        """Requests that are not answered, by the names of their frames."""
        self.holds_confirms = False
        self.full_queues: set[str] = set()
        """Queues whose confirms wait for room."""
        self.mute = False
        """Neither shakes hands nor answers a ping: a half-open connection."""
        self.mechanisms = ["ANONYMOUS"]
        self.heartbeat_ms = 10_000
        self.lease_ms = 30_000
        self.window_messages = 10_000
        self.window_bytes = 8 * 1024 * 1024
        self.port = 0
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Event()

    @property
    def url(self) -> str:
        """Where to connect."""
        return f"penstock://127.0.0.1:{self.port}"

    @property
    def last(self) -> PeerConnection:
        """The newest connection."""
        return self.connections[-1]

    def ready(self, session: int) -> dict[str, Any]:
        """What READY says."""
        return {
            "session": session,
            "frame_bytes_max": 2 * 1024 * 1024,
            "body_bytes_max": 1024 * 1024,
            "window_messages": self.window_messages,
            "window_bytes": self.window_bytes,
            "heartbeat_ms": self.heartbeat_ms,
        }

    async def listen(self) -> None:
        """Listen; on the port it had before, if it had one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: PeerConnection(self), "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def vanish(self) -> None:
        """Cut everything and refuse new connections."""
        assert self._server is not None
        server, self._server = self._server, None
        server.close()
        for connection in self.connections:
            if not connection.closed:
                connection.cut()
        await self.until(lambda: all(connection.closed for connection in self.connections))

    def changed(self) -> None:
        """Something came or went."""
        self._changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Return when a condition holds."""
        async with asyncio.timeout(HANG_GUARD_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._server is not None:
            await self.vanish()


async def guarded(awaitable: Awaitable[T]) -> T:
    """Await something that must have an outcome."""
    async with asyncio.timeout(HANG_GUARD_S):
        return await awaitable
