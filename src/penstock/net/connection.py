"""One connection: a protocol towards asyncio, a sink (``sink.py``) towards the engine.

Received bytes become frames, frames become calls of the engine, in order. The engine's effects become bytes in
``_out``, written once per loop turn. Frames are taken while nothing halts that:

    PRESSURE   the engine holds too much that is not durable yet
    WRITING    the peer does not read what was written
    ANSWERING  as many requests as a connection may have open wait for their answers, or one whose answer may be large
    STOPPING   the broker is stopping
    CLOSING    the connection ends

The rest of what was received waits in ``_parked`` and the socket is not read. PRESSURE and WRITING are noticed between
two receptions. An error ends the connection with CLOSE: it is written, our side is shut down, then what still arrives
is dropped until the peer closes or LINGER_TICKS have passed. Closing at once would reset the connection, and that might
take the CLOSE with it.
"""

import asyncio
from itertools import chain
from typing import TYPE_CHECKING, Final, cast

from penstock.core.transacting import Transaction
from penstock.core.values import Refusal, Refused
from penstock.engine.interface import ReplyIn
from penstock.net.encode import code_of
from penstock.net.handshake import Handshake, Offer
from penstock.net.heartbeat import Heartbeat, Pulse, ticks_within
from penstock.net.selecting import parse_where
from penstock.net.sink import CLOSING, PRESSURE, STOPPING, WRITING, FrameSink
from penstock_client.wire import control
from penstock_client.wire.blocks import ASKS, COLUMN_ROUTING, decode_routing
from penstock_client.wire.connection import Connection as WireConnection
from penstock_client.wire.connection import Role, State
from penstock_client.wire.entries import Publication, decode_publish, decode_settle
from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.frames import PREAMBLE, Frame, FrameType, encode_frame
from penstock_client.wire.limits import CONTROL_BYTES_MAX
from penstock_client.wire.replies import decode_reply
from penstock_client.wire.transaction import TransactedBlock, decode_transaction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from penstock.net.hub import Hub

LINGER_TICKS: Final = ticks_within(1_000)
"""How long a closed connection is kept for its peer to read why."""

JOIN_BYTES_MAX: Final = 64 * 1024
"""Outgoing buffers up to this size together are joined: one small write is cheaper than a vector of them."""

COMMANDS: Final = {
    int(frame_type): frame_type.name.lower()
    for frame_type in (
        FrameType.QUEUE_DECLARE,
        FrameType.QUEUE_DESCRIBE,
        FrameType.QUEUE_LIST,
        FrameType.QUEUE_PURGE,
        FrameType.QUEUE_DELETE,
        FrameType.QUEUE_REDRIVE,
        FrameType.QUEUE_PAUSE,
        FrameType.GROUP_DECLARE,
        FrameType.GROUP_DELETE,
        FrameType.GROUP_LIST,
        FrameType.GROUP_DESCRIBE,
        FrameType.PEEK,
        FrameType.FIND,
        FrameType.SCHEDULED_PEEK,
        FrameType.SCHEDULED_CANCEL,
        FrameType.SCHEDULE_ADD,
        FrameType.SCHEDULE_LIST,
        FrameType.SCHEDULE_REMOVE,
        FrameType.SCHEDULE_PAUSE,
        FrameType.STATUS,
        FrameType.MESSAGE_DESCRIBE,
        FrameType.PRODUCER_OPEN,
        FrameType.ROUTE_OPEN,
        FrameType.ROUTE_CLOSE,
        FrameType.CONNECTION_LIST,
        FrameType.CONNECTION_CLOSE,
        FrameType.CONSUMER_LIST,
        FrameType.CONSUMER_CLOSE,
        FrameType.LEASE_REVOKE,
        FrameType.QUEUE_ALTER,
        FrameType.GROUP_ALTER,
        FrameType.TRANSFER,
        FrameType.CONSUME,
        FrameType.FLOW,
        FrameType.CANCEL,
        FrameType.REPLY_OPEN,
        FrameType.EXCHANGE_DECLARE,
        FrameType.EXCHANGE_DESCRIBE,
        FrameType.EXCHANGE_LIST,
        FrameType.EXCHANGE_DELETE,
        FrameType.EXCHANGE_BIND,
        FrameType.EXCHANGE_UNBIND,
        FrameType.EXCHANGE_BINDINGS,
        FrameType.NAMESPACE_DECLARE,
        FrameType.NAMESPACE_ALTER,
        FrameType.NAMESPACE_DESCRIBE,
        FrameType.NAMESPACE_DELETE,
        FrameType.NAMESPACE_LIST,
        FrameType.GROUP_STATE,
    )
}
"""Frames that are requests to the engine, by the engine's name for them."""

_PUBLISH: Final = int(FrameType.PUBLISH)
_SETTLE: Final = int(FrameType.SETTLE)


class Connection(FrameSink, asyncio.Protocol):
    """A peer. Everything happens on the loop's thread."""

    __slots__ = (
        "_address",
        "_admitted",
        "_engine",
        "_handshake",
        "_heard",
        "_heartbeat",
        "_lingering_refused",
        "_parked",
        "_spoke",
        "_transport",
        "_unsent_bytes",
        "_wire",
        "peer",
        "session",
    )

    def __init__(self, hub: "Hub", offer: Offer) -> None:
        super().__init__(hub)
        self._engine = hub.engine
        self._wire = WireConnection(Role.SERVER, hub.options.frame_bytes_max)
        self._handshake = Handshake(offer, hub.guard)
        self._heartbeat = Heartbeat(offer.heartbeat_ms)
        self.session = 0
        self.peer = ""
        self._address = ""
        self._admitted = False
        self._lingering_refused = False
        self._parked: Iterator[Frame] = iter(())
        self._heard = self._spoke = True
        self._unsent_bytes = 0

    @property
    def state(self) -> State:
        """Where the connection is in the protocol."""
        return self._wire.state

    # What asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the peer in, or tell it why not."""
        self._transport = cast("asyncio.Transport", transport)
        host, port = (transport.get_extra_info("peername") or ("unknown", 0))[:2]
        self._address = str(host)
        self.peer = f"{host}:{port}"
        refusal = self._hub.admit(self, self._address)
        if not refusal:
            self._admitted = True
            self._hub.wheel.set(self, ticks_within(self._hub.options.handshake_timeout_ms))
            return
        self._lingering_refused = self._hub.may_linger_refused()
        if self._lingering_refused:
            code = ErrorCode.SERVER_STOPPING if self._hub.stopping else ErrorCode.TOO_MANY_CONNECTIONS
            self.fail(code, refusal)
        else:
            self.cut_off()

    def data_received(self, data: bytes) -> None:
        """Act on every frame that the bytes complete."""
        self._heard = True
        halted = self._halted
        if not halted:
            self._take(self._wire.receive(data))
        elif not halted & CLOSING:
            self._parked = chain(self._parked, self._wire.receive(data))
        if self._hub.pressure and not self._halted & (PRESSURE | CLOSING):
            self._hub.hold_reading(self)
            self._halt(PRESSURE)

    def pause_writing(self) -> None:
        """The peer is behind: take no more requests from it."""
        self._halt(WRITING)

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self._heard = True
        self._go_on(WRITING)

    def eof_received(self) -> None:
        """A peer that stops sending without CLOSE is lost; asyncio closes the transport."""
        if not self._halted & CLOSING:
            self._halted |= CLOSING
            self._end_session(lost=True)
            self._out = []
            self._hub.wheel.set(self, LINGER_TICKS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Return everything the connection held."""
        hub = self._hub
        self._halted |= CLOSING
        self._end_session(lost=True)
        self._parked = iter(())
        self._out = []
        hub.wheel.remove(self)
        hub.leave(self, self._address if self._admitted else "", self._lingering_refused)
        hub.log.debug("connection closed", peer=self.peer, reason=str(exc) if exc else "end")

    # What the wheel asks

    def due(self) -> int:
        """Check the handshake's deadline, the heartbeat, or the end of lingering."""
        if self._halted & CLOSING:
            self._transport.abort()
            return 0
        if not self.session:
            limit_ms = self._hub.options.handshake_timeout_ms
            self.fail(ErrorCode.HANDSHAKE_TIMEOUT, f"the handshake took longer than {limit_ms} ms")
            return LINGER_TICKS
        unsent_bytes = self._transport.get_write_buffer_size()
        heard = self._heard or bool(self._halted & ~WRITING) or unsent_bytes < self._unsent_bytes
        pulse = self._heartbeat.check(heard, self._spoke or bool(unsent_bytes))
        self._heard = self._spoke = False
        self._unsent_bytes = unsent_bytes
        if pulse is Pulse.DEAD:
            silent_ms = 2 * self._handshake.heartbeat_ms
            self._hub.log.info("peer silent", peer=self.peer, silent_ms=silent_ms)
            self.fail(ErrorCode.HEARTBEAT_TIMEOUT, f"nothing was heard for {silent_ms} ms")
            return LINGER_TICKS
        if pulse is Pulse.PING:
            self._send(encode_frame(FrameType.PING))
        return self._heartbeat.check_ticks

    # Frames

    def _take(self, frames: "Iterator[Frame]") -> None:
        try:
            for frame in frames:
                frame_type, _, request, payload = frame
                if frame_type == _PUBLISH:
                    self._publish(request, payload)
                elif frame_type == _SETTLE:
                    self._settle(request, payload)
                else:
                    self._take_rare(frame)
                if self._halted:
                    self._parked = frames
                    return
        except WireError as error:
            self.fail(error.code, error.message)

    def _publish(self, request: int, payload: bytes) -> None:
        if request:
            raise WireError(ErrorCode.MALFORMED_FRAME, "PUBLISH is answered by CONFIRM and carries no request id")
        publications = decode_publish(payload)
        check_block = self._hub.check_block
        asking: list[int] = []
        for index, publication in enumerate(publications):
            try:
                if look_at := check_block(publication.block):
                    if look_at & COLUMN_ROUTING:
                        self._check_routing(publication)
                    if look_at & ASKS:
                        asking.append(index)
            except WireError as error:
                reason = error.message
                self._hub.log.info("block refused", peer=self.peer, error=error.code.label, reason=reason)
                publications[index] = self._without_block(publication, error.code.label)
        self._engine.publish(self.session, publications, asking)

    def _check_routing(self, publication: Publication) -> None:
        """What a block says of the way it comes has to be true: it is delivered so, and kept in dead letters."""
        way = self._engine.way_of(self.session, publication.route)
        if way is not None and decode_routing(publication.block) != way:
            raise WireError(ErrorCode.BAD_BLOCK, f"a block's routing column is not that of its route: {way!r}")

    def _settle(self, request: int, payload: bytes) -> None:
        outcome, duration_ms, reason, ranges = decode_settle(payload)
        if request:
            self._count_request()
        self._engine.settle(self.session, outcome, ranges, duration_ms, reason, request)

    def _transact(self, request: int, payload: bytes) -> None:
        acks, blocks, writes = decode_transaction(payload)
        if request:
            self._count_request()
        try:
            for block in blocks:
                self._check_transacted(block)
        except WireError as error:
            self.refuse(request, Refusal(error.code.label, f"nothing was done: {error.message}"))
            return
        self._engine.transact(self.session, request, Transaction(acks, blocks, writes))

    def _check_transacted(self, block: TransactedBlock) -> None:
        look_at = self._hub.check_block(block.block)
        if look_at & COLUMN_ROUTING and decode_routing(block.block) != (block.exchange, block.routing_key):
            raise WireError(ErrorCode.BAD_BLOCK, f"a block's routing column is not where it goes: {block[:2]!r}")
        if look_at & ASKS:
            raise WireError(
                ErrorCode.UNSUPPORTED, "no message of a transaction may ask for a delay, a time to live or a priority"
            )

    def _take_rare(self, frame: Frame) -> None:
        command = COMMANDS.get(frame.type)
        if command:
            self._request(frame, command)
        elif frame.type == FrameType.REPLY:
            self._reply(frame.request, frame.payload)
        elif frame.type == FrameType.TRANSACT:
            self._transact(frame.request, frame.payload)
        elif frame.type == FrameType.PING:
            if len(frame.payload) > CONTROL_BYTES_MAX:
                raise WireError(ErrorCode.FRAME_TOO_LARGE, f"a ping carries at most {CONTROL_BYTES_MAX} bytes")
            self._send(encode_frame(FrameType.PONG, frame.payload, frame.request))
        elif frame.type == FrameType.HELLO:
            self._send(self._handshake.welcome(frame))
            self._wire.sending(FrameType.WELCOME)
        elif frame.type == FrameType.AUTH:
            self._handshake.authenticate(frame)
            self._open_session(frame.request)
        elif frame.type == FrameType.CLOSE:
            self._end_session(lost=False)
            self._close(FrameType.CLOSED, request=frame.request)

    def _reply(self, request: int, payload: bytes) -> None:
        entries = [ReplyIn(*reply, self._refusal_of(reply.block)) for reply in decode_reply(payload)]
        if request:
            self._count_request()
        self._engine.reply(self.session, entries, request)

    def _refusal_of(self, block: bytes) -> str:
        """Return why a block may not be passed on; empty when it may."""
        try:
            self._hub.check_block(block)
        except WireError as error:
            self._hub.log.info("reply refused", peer=self.peer, error=error.code.label, reason=error.message)
            return error.code.label
        return ""

    def _open_session(self, request: int) -> None:
        hub, handshake = self._hub, self._handshake
        name, namespace = f"{handshake.client_name}@{self.peer}", handshake.namespace
        try:
            self.session = self._engine.open_session(self, name, namespace)
        except Refused as refused:
            raise WireError(code_of(refused.refusal.code), refused.refusal.message) from refused
        self._sees_all = not namespace
        self._send(handshake.ready(request, self.session))
        self._wire.sending(FrameType.READY)
        self._raise_write_limit()
        self._heartbeat = Heartbeat(handshake.heartbeat_ms)
        hub.wheel.set(self, self._heartbeat.check_ticks)
        hub.log.debug("session opened", peer=self.peer, client=handshake.client_name, session=self.session)

    def _request(self, frame: Frame, command: str) -> None:
        request = frame.request
        arguments = control.unpack(frame.payload)
        self._opened(request, frame.type, command, arguments)
        if "where" in arguments and (refusal := parse_where(arguments)):
            self.refuse(request, refusal)
            return
        self._engine.request(self.session, request, command, arguments)

    # Writing

    def flush(self) -> None:
        """Write what has gathered; cut off a peer that does not read."""
        out = self._out
        if not out:
            return
        self._out = []
        self._spoke = True
        transport = self._transport
        if len(out) == 1:
            transport.write(out[0])
        elif sum(map(len, out)) <= JOIN_BYTES_MAX:
            transport.write(b"".join(out))
        else:
            transport.writelines(out)
        if self._halted & WRITING and transport.get_write_buffer_size() > self._budget.abort_bytes:
            unsent_bytes = transport.get_write_buffer_size()
            self._hub.log.warning(
                "peer cut off", peer=self.peer, error=ErrorCode.SLOW_PEER.label, unsent_bytes=unsent_bytes
            )
            self.cut_off()

    def unsent_bytes(self) -> int:
        """Return what waits to be written, of any kind."""
        return self._transport.get_write_buffer_size() + sum(map(len, self._out))

    def _raise_write_limit(self) -> None:
        self._transport.set_write_buffer_limits(self._budget.pause_bytes)

    # Reading

    def _halt(self, reason: int) -> None:
        if not self._halted:
            self._transport.pause_reading()
        self._halted |= reason

    def _go_on(self, reason: int) -> None:
        """Take frames again, in the loop's next turn: this may be the engine's."""
        self._halted &= ~reason
        if not self._halted:
            self._hub.soon(self._resume)

    def _resume(self) -> None:
        if self._halted:
            return
        parked, self._parked = self._parked, iter(())
        self._take(parked)
        if not self._halted:
            self._transport.resume_reading()

    def relieve(self) -> None:
        """The engine can take more."""
        self._go_on(PRESSURE)

    def drain(self) -> None:
        """Take nothing more: the broker is stopping."""
        self._halt(STOPPING)

    # Closing

    def abort(self, refusal: Refusal) -> None:
        """Close, because the engine wants it."""
        self.fail(code_of(refusal.code), refusal.message)

    def fail(self, code: ErrorCode, message: str) -> None:
        """End the connection with an error that the peer is told."""
        if self._halted & CLOSING:
            return
        self._hub.log.debug("connection refused", peer=self.peer, error=code.label, reason=message)
        self._end_session(lost=True)
        self._close(FrameType.CLOSE, control.pack(WireError(code, message).as_map()))

    def _close(self, frame_type: FrameType, payload: bytes = b"", request: int = 0) -> None:
        if not self._handshake.welcomed:
            self._out.append(PREAMBLE)
        self._out.append(encode_frame(frame_type, payload, request))
        self._wire.sending(frame_type)
        self.flush()
        if self._halted & CLOSING:  # cut off: the last words did not fit any more
            return
        if self._halted:
            self._transport.resume_reading()
        self._halted |= CLOSING
        self._hub.wheel.set(self, LINGER_TICKS)
        try:
            self._transport.write_eof()
        except OSError:  # the peer has gone already
            self._transport.abort()

    def cut_off(self) -> None:
        """End the connection without a word."""
        self._halted |= CLOSING
        self._end_session(lost=True)
        self._transport.abort()

    def _end_session(self, lost: bool) -> None:
        session, self.session = self.session, 0
        if session and not self._hub.engine_stopped:
            self._engine.close_session(session, lost)
