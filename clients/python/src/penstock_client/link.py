"""One TCP connection: handshake, requests and their replies, heartbeats. It does not come back; ``client.py`` makes
the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast

from penstock_client.errors import (
    BadSetting,
    ConnectionLost,
    ConnectionRefused,
    PenstockError,
    ProtocolViolation,
    again,
    error_of,
)
from penstock_client.url import Address
from penstock_client.wire import control
from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.frames import PREAMBLE, Frame, FrameReader, FrameType, encode_frame
from penstock_client.wire.limits import CONTROL_BYTES_MAX, FRAME_BYTES_MAX_BEFORE_READY, HEARTBEAT_MS_DEFAULT

VERSION: Final = "0.1.0"
_CONTROL_REPLY_BYTES_MAX: Final = 64 * 1024 * 1024
_OK: Final = int(FrameType.OK)
_ERROR: Final = int(FrameType.ERROR)
_CONFIRM: Final = int(FrameType.CONFIRM)
_DELIVER: Final = int(FrameType.DELIVER)


class Limits(NamedTuple):
    """What the broker said it takes on this connection."""

    frame_bytes_max: int
    body_bytes_max: int
    window_messages: int
    window_bytes: int


class Handlers(NamedTuple):
    """Who takes what arrives unasked. Called on the loop; may raise WireError, which ends the connection."""

    confirm: Callable[[bytes], None]
    deliver: Callable[[bytes], None]
    stale: Callable[[bytes], None]
    cancelled: Callable[[dict[str, Any]], None]
    replied: Callable[[bytes], None]
    lost: Callable[[Link, PenstockError], None]


class Link(asyncio.Protocol):
    """A connection to a broker; use ``open_link``."""

    def __init__(self, handlers: Handlers, heartbeat_ms: int) -> None:
        self.session = 0
        self.limits = Limits(0, 0, 0, 0)
        self.error: PenstockError | None = None
        self._handlers = handlers
        self._heartbeat_s = heartbeat_ms / 1000
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader(FRAME_BYTES_MAX_BEFORE_READY)
        self._replies: dict[int, asyncio.Future[Frame]] = {}
        self._next_request = 1
        self._transport: asyncio.Transport
        self._heard = True
        self._silent_checks = 0
        self._spoke = False
        self._ready = False
        self._timer: asyncio.TimerHandle | None = None
        self._closed = asyncio.Event()

    # -- asking --------------------------------------------------------------------------------------------------------

    def send(self, frame_type: int, payload: bytes, request: int = 0) -> None:
        """Write a frame; lost silently when the connection is, which ``lost`` tells."""
        if self.error is None:
            self._spoke = True
            self._transport.write(encode_frame(frame_type, payload, request))

    def ask(self, frame_type: int, payload: bytes) -> asyncio.Future[Frame]:
        """Send a request; the future gets its reply frame, or ConnectionLost."""
        future: asyncio.Future[Frame] = self._loop.create_future()
        if self.error is not None:
            future.set_exception(again(self.error))
            return future
        request = self._next_request
        self._next_request = request % 0xFFFFFFFF + 1
        self._replies[request] = future
        future.add_done_callback(lambda _: self._replies.pop(request, None))
        self.send(frame_type, payload, request)
        return future

    async def request(self, frame_type: int, arguments: dict[str, Any]) -> dict[str, Any]:
        """Send a control request and return the map of its reply. Raises what the broker refused it with."""
        return read_reply(await self.ask(frame_type, pack_arguments(arguments)))

    async def handshake(self, name: str, namespace: str) -> None:
        """Introduce this client and authenticate. Raises ConnectionRefused or ConnectionLost."""
        self._transport.write(PREAMBLE)
        heartbeat_ms = int(self._heartbeat_s * 1000)
        hello = {"client": name, "version": VERSION, "heartbeat_ms": heartbeat_ms}
        if namespace:
            hello["namespace"] = namespace
        welcome = await self.request(FrameType.HELLO, hello)
        if "ANONYMOUS" not in welcome.get("mechanisms", ()):
            raise ConnectionRefused("the broker wants a user, which this version of the client cannot give")
        ready = await self.request(FrameType.AUTH, {"mechanism": "ANONYMOUS", "response": b""})
        try:
            self.session = int(ready["session"])
            self.limits = Limits(*(int(ready[field]) for field in Limits._fields))
            heartbeat_s = int(ready["heartbeat_ms"]) / 1000
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolViolation(f"READY lacks what it must have: {error!r}") from error
        # Replies may be larger than what we may send: a page of queues, a peek.
        self._reader.frame_bytes_max = max(self.limits.frame_bytes_max, _CONTROL_REPLY_BYTES_MAX)
        self._heartbeat_s = min(self._heartbeat_s, heartbeat_s)
        self._ready = True
        self._timer = self._loop.call_later(self._heartbeat_s / 2, self._beat)

    async def close(self) -> None:
        """Say goodbye; the socket is closed when this returns. What the broker still confirms before is taken."""
        try:
            if self.error is None:
                await asyncio.wait_for(self.ask(FrameType.CLOSE, control.pack({})), 2)
        except (PenstockError, TimeoutError):
            pass
        finally:
            self.abort(ConnectionLost("the connection was closed"))
        await self._closed.wait()

    def abort(self, error: PenstockError) -> None:
        """End the connection now."""
        if self.error is None:
            self._lose(error)
        self._transport.abort()

    # -- asyncio.Protocol ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(1024 * 1024)

    def data_received(self, data: bytes) -> None:
        """Hand complete frames to whom they belong."""
        self._heard = True
        try:
            for frame in self._reader.feed(data):
                self._take(frame)
            if self._reader.error is not None:
                raise self._reader.error
        except WireError as error:
            self.abort(_refused(error.code, error.message))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what waits."""
        self._closed.set()
        if self.error is None:
            self._lose(ConnectionLost(f"the connection to the broker was lost: {exc or 'it was closed'}"))

    # -- inside --------------------------------------------------------------------------------------------------------

    def _take(self, frame: Frame) -> None:
        frame_type, _, request, payload = frame
        if frame_type == _CONFIRM:
            self._handlers.confirm(payload)
        elif frame_type == _DELIVER:
            self._handlers.deliver(payload)
        elif request and frame_type != FrameType.PING:
            future = self._replies.get(request)
            if future is not None and not future.done():
                future.set_result(frame)
        elif frame_type == FrameType.PING:
            self.send(FrameType.PONG, payload, request)
        elif frame_type == FrameType.REPLIED:
            self._handlers.replied(payload)
        elif frame_type == FrameType.STALE:
            self._handlers.stale(payload)
        elif frame_type == FrameType.CANCELLED:
            self._handlers.cancelled(control.unpack(payload))
        elif frame_type == FrameType.CLOSE:
            reason = control.unpack(payload)
            self.send(FrameType.CLOSED, b"")
            self.abort(_refused(reason.get("code", 0), str(reason.get("message", ""))))
        elif frame_type != FrameType.PONG:
            self.abort(ProtocolViolation(f"the broker sent a frame of type {frame_type:#04x} that was not expected"))

    def _beat(self) -> None:
        if self.error is not None:
            return
        self._timer = self._loop.call_later(self._heartbeat_s / 2, self._beat)
        self._silent_checks = 0 if self._heard else self._silent_checks + 1
        if self._silent_checks > 4:
            self.abort(ConnectionLost(f"the broker was silent for {2 * self._heartbeat_s:g} s"))
            return
        if not self._spoke:
            self.send(FrameType.PING, b"")
        self._heard = self._spoke = False

    def _lose(self, error: PenstockError) -> None:
        self.error = error
        if self._timer:
            self._timer.cancel()
        for future in list(self._replies.values()):
            if not future.done():
                future.set_exception(again(error))
        if self._ready:
            self._handlers.lost(self, error)


def pack_arguments(arguments: dict[str, Any]) -> bytes:
    """Return the arguments of a request for its frame. Raises BadSetting for what no broker reads: it would end the
    connection, and that of the next attempt.
    """
    try:
        payload = control.pack(arguments)
    except (OverflowError, UnicodeEncodeError) as error:
        raise BadSetting(f"a request cannot carry this: {error}") from error
    if len(payload) > CONTROL_BYTES_MAX:
        raise BadSetting(f"a request of {len(payload)} bytes; at most {CONTROL_BYTES_MAX} are allowed")
    return payload


def read_reply(frame: Frame) -> dict[str, Any]:
    """Return the map of a reply frame; raises what it says was refused."""
    error = reply_error(frame)
    if error is not None:
        raise error
    try:
        return control.unpack(frame.payload, _CONTROL_REPLY_BYTES_MAX)
    except WireError as violation:
        raise ProtocolViolation(violation.message) from violation


def reply_error(frame: Frame) -> PenstockError | None:
    """Return what a reply frame says was refused, if it does."""
    if frame.type != _ERROR:
        return None
    try:
        refusal = control.unpack(frame.payload)
    except WireError as violation:
        return ProtocolViolation(violation.message)
    return error_of(str(refusal.get("error", "")), str(refusal.get("message", "")))


def _refused(code: int, message: str) -> PenstockError:
    """An error that ends the connection: some are worth another attempt, some are not."""
    lasting = {ErrorCode.PROTOCOL_VERSION, ErrorCode.AUTHENTICATION_FAILED, ErrorCode.UNKNOWN_NAMESPACE}
    try:
        known = ErrorCode(code)
    except ValueError:
        return ConnectionLost(f"the broker closed the connection: {message}")
    if known in lasting:
        return ConnectionRefused(message, known.label)
    lost = ConnectionLost(f"the broker closed the connection ({known.label}): {message}")
    lost.closed_for = known.label
    return lost


async def open_link(address: Address, handlers: Handlers, name: str, timeout_s: float) -> Link:
    """Connect and shake hands. Raises ConnectionLost or ConnectionRefused; never leaves a socket behind."""
    loop = asyncio.get_running_loop()
    link: Link | None = None
    try:
        async with asyncio.timeout(timeout_s):
            _, link = await loop.create_connection(lambda: Link(handlers, HEARTBEAT_MS_DEFAULT), *address[:2])
            await link.handshake(name, address.namespace)
            return link
    except TimeoutError as error:
        _discard(link)
        raise ConnectionLost(f"{address.host}:{address.port} did not answer within {timeout_s:g} s") from error
    except OSError as error:
        raise ConnectionLost(f"no broker at {address.host}:{address.port}: {error}") from error
    except BaseException:
        _discard(link)
        raise


def _discard(link: Link | None) -> None:
    if link is not None:
        link.abort(ConnectionLost("the connection was given up"))


__all__ = ["Handlers", "Limits", "Link", "open_link", "pack_arguments", "read_reply", "reply_error"]
