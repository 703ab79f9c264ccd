"""A broker on a file system in memory, and peers whose sockets are in memory too."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from penstock.app import Broker
from penstock.net.connection import Connection
from penstock.net.handshake import Offer
from penstock.observe.logging import make_silent_logger
from penstock.settings import Settings
from penstock.storage.memory import MemoryFileSystem
from penstock_client.wire import control
from penstock_client.wire.blocks import encode_block
from penstock_client.wire.entries import encode_publish_entry
from penstock_client.wire.frames import PREAMBLE, Frame, FrameReader, FrameType, encode_frame

HANG_GUARD_S = 10.0
OFFER = Offer(
    version="0.1.0",
    boot_epoch=1,
    heartbeat_ms=10_000,
    frame_bytes_max=2 * 1024 * 1024,
    body_bytes_max=1024 * 1024,
    window_messages=1000,
    window_bytes=1024 * 1024,
)


class MemoryTransport(asyncio.Transport):
    """Keeps what is written, and closes when the broker shuts its side down, as honest peers do.

    With ``stuck`` set the peer reads nothing and what is written stays unsent; with ``lingers`` set it does not close.
    """

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 50_000)})
        self.protocol: Connection | None = None
        self.written = bytearray()
        self.wrote = asyncio.Event()
        self.stuck = False
        self.lingers = False
        self.unsent_bytes = 0
        self.high_bytes = 64 * 1024
        self.reading = True
        self.ended = False
        self.closed = False
        self.aborted = False
        self.writes = 0
        self._paused = False

    def write(self, data: Any) -> None:
        assert not self.ended, "write after write_eof"
        self.writes += 1
        self.written += data
        self.wrote.set()
        if self.stuck:
            self.unsent_bytes += len(data)
            self._check_high()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def _check_high(self) -> None:
        if self.unsent_bytes > self.high_bytes and not self._paused and self.protocol:
            self._paused = True
            self.protocol.pause_writing()

    def read_by_peer(self) -> None:
        self.stuck = False
        self.unsent_bytes = 0
        if self._paused and self.protocol:
            self._paused = False
            self.protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None
        self.high_bytes = high

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def write_eof(self) -> None:
        self.ended = True
        self.wrote.set()
        if not self.lingers:
            self._lose()

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self._lose()

    def abort(self) -> None:
        self.aborted = True
        self._lose()

    def _lose(self) -> None:
        if not self.closed:
            self.closed = True
            self.wrote.set()
            assert self.protocol is not None
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)


class Peer:
    """The other end of a connection, speaking raw frames."""

    def __init__(self, broker: Broker, address: str = "127.0.0.1", offer: Offer = OFFER) -> None:
        self.broker = broker
        self.transport = MemoryTransport(address)
        self.connection = Connection(broker.hub, offer)
        self.transport.protocol = self.connection
        self._reader = FrameReader(1 << 30)
        self._read_bytes = 0
        self._frames: list[Frame] = []
        self.connection.connection_made(self.transport)

    def receive(self, data: bytes) -> None:
        """Have the broker receive bytes, unless it does not read."""
        assert self.transport.reading, "the broker is not reading"
        self.connection.data_received(data)

    def send(self, frame_type: int, arguments: dict[str, Any] | bytes = b"", request: int = 0) -> None:
        payload = arguments if isinstance(arguments, bytes) else control.pack(arguments)
        self.receive(encode_frame(frame_type, payload, request))

    def publish(self, sequence: int, *bodies: bytes, route: int = 1, level: int = 0) -> None:
        self.send(FrameType.PUBLISH, encode_publish_entry(route, level, sequence) + encode_block(bodies))

    def hello(self, heartbeat_ms: int = 0, **more: Any) -> None:
        arguments = {"client": "test", "version": "1", "heartbeat_ms": heartbeat_ms, **more}
        self.receive(PREAMBLE + encode_frame(FrameType.HELLO, control.pack(arguments), 1))

    def authenticate(self) -> None:
        self.send(FrameType.AUTH, {"mechanism": "ANONYMOUS", "response": b""}, 2)

    def ready(self, heartbeat_ms: int = 0) -> "Peer":
        self.hello(heartbeat_ms)
        self.authenticate()
        assert [frame.type for frame in self.frames()] == [FrameType.WELCOME, FrameType.READY]
        return self

    def frames(self) -> list[Frame]:
        """Return the frames that were written and not taken yet."""
        self.broker.hub.flush()
        self._split()
        frames, self._frames = self._frames, []
        return frames

    def _split(self) -> None:
        new = bytes(self.transport.written[self._read_bytes :])
        self._read_bytes += len(new)
        if new:
            self._frames += self._reader.feed(new)

    async def next(self, frame_type: int) -> Frame:
        """Wait for the next frame, which has this type."""
        async with asyncio.timeout(HANG_GUARD_S):
            while True:
                self._split()
                if self._frames:
                    frame = self._frames.pop(0)
                    assert frame.type == frame_type, f"{FrameType(frame.type).name}: {frame.payload!r}"
                    return frame
                self.transport.wrote.clear()
                await self.transport.wrote.wait()

    async def call(self, frame_type: int, request: int = 7, **arguments: Any) -> dict[str, Any]:
        """Send a request and return its result."""
        self.send(frame_type, arguments, request)
        frame = await self.next(FrameType.OK)
        assert frame.request == request
        return control.unpack(frame.payload, 1 << 30)

    async def route(self, queue: str = "jobs", **settings: Any) -> None:
        """Declare a queue and open route 1 to it."""
        await self.call(FrameType.QUEUE_DECLARE, queue=queue, **settings)
        await self.call(FrameType.PRODUCER_OPEN, producer=None)
        await self.call(FrameType.ROUTE_OPEN, route=1, exchange="", routing_key=queue)

    def closed_with(self) -> dict[str, Any]:
        """Return the map of the CLOSE that must be the last thing written."""
        frames = self.frames()
        assert frames, "nothing was written"
        assert frames[-1].type == FrameType.CLOSE
        assert self.transport.ended
        return control.unpack(frames[-1].payload)


@asynccontextmanager
async def running_broker(settings: Settings | None = None) -> AsyncIterator[Broker]:
    """A broker in memory, stopped at the end."""
    broker = Broker(settings or Settings(), make_silent_logger(), fs=MemoryFileSystem())
    try:
        yield broker
    finally:
        await broker.stop()


def advance(broker: Broker, ticks: int) -> None:
    """Let time pass on every connection."""
    for _ in range(ticks):
        broker.hub.wheel.advance()
