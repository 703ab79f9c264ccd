"""Listening and stopping, on real sockets of this machine."""

import asyncio
import socket

import pytest
from tests.unit.net.harness import HANG_GUARD_S, running_broker

from penstock.app import Broker
from penstock.auth.guard import ListenRefusedError
from penstock.settings import ServerSettings, Settings
from penstock_client.wire import control
from penstock_client.wire.blocks import encode_block
from penstock_client.wire.entries import decode_confirm, encode_publish_entry
from penstock_client.wire.frames import PREAMBLE, Frame, FrameReader, FrameType, encode_frame

FREE_PORT = Settings(server=ServerSettings(port=0))


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._frames: list[Frame] = []
        self._splitter = FrameReader(1 << 24)

    async def next(self) -> Frame:
        async with asyncio.timeout(HANG_GUARD_S):
            while not self._frames:
                data = await self.reader.read(65_536)
                assert data, "the broker closed the connection"
                self._frames += self._splitter.feed(data)
            return self._frames.pop(0)

    async def call(self, frame_type: int, **arguments: object) -> Frame:
        self.writer.write(encode_frame(frame_type, control.pack(arguments), 1))
        return await self.next()

    async def ended(self) -> bool:
        async with asyncio.timeout(HANG_GUARD_S):
            return await self.reader.read() == b""


async def connect(broker: Broker) -> Client:
    host, port = broker.server.addresses[0]
    client = Client(*await asyncio.open_connection(host, port))
    hello = {"client": "test", "version": "1", "heartbeat_ms": 0}
    client.writer.write(PREAMBLE + encode_frame(FrameType.HELLO, control.pack(hello), 1))
    assert (await client.next()).type == FrameType.WELCOME
    assert (await client.call(FrameType.AUTH, mechanism="ANONYMOUS")).type == FrameType.READY
    return client


async def test_a_client_is_served_over_tcp() -> None:
    async with running_broker(FREE_PORT) as broker:
        await broker.listen()
        client = await connect(broker)
        status = control.unpack((await client.call(FrameType.STATUS)).payload)
        assert status["connections"] == 1
        client.writer.close()


async def test_stopping_confirms_what_was_read_then_says_so_and_closes() -> None:
    async with running_broker(FREE_PORT) as broker:
        await broker.listen()
        client = await connect(broker)
        await client.call(FrameType.QUEUE_DECLARE, queue="jobs")
        await client.call(FrameType.PRODUCER_OPEN)
        await client.call(FrameType.ROUTE_OPEN, route=1, routing_key="jobs")
        session = next(iter(broker.hub.connections))
        publish = encode_frame(FrameType.PUBLISH, encode_publish_entry(1, 0, 1) + encode_block([b"last"]))
        session.data_received(publish)
        await broker.stop()
        confirm = await client.next()
        assert decode_confirm(confirm.payload)[0].first_sequence == 1
        close = await client.next()
        assert close.type == FrameType.CLOSE
        assert control.unpack(close.payload)["error"] == "server-stopping"
        assert await client.ended()
        client.writer.close()


async def test_a_client_that_does_not_leave_is_cut_off_when_the_time_is_up() -> None:
    async with running_broker(Settings(server=ServerSettings(port=0, stop_timeout_ms=100))) as broker:
        await broker.listen()
        client = await connect(broker)
        await broker.stop()
        assert not broker.hub.connections
        client.writer.close()


async def test_a_stopped_broker_accepts_no_one() -> None:
    async with running_broker(FREE_PORT) as broker:
        (host, port), *_ = await broker.listen()
        broker.server.stop_accepting()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host, port)


async def test_an_address_beyond_this_machine_is_refused_without_users() -> None:
    async with running_broker(Settings(server=ServerSettings(host="0.0.0.0", port=0))) as broker:
        with pytest.raises(ListenRefusedError, match="--allow-anonymous"):
            await broker.listen()


async def test_an_address_beyond_this_machine_is_taken_when_allowed_out_loud() -> None:
    settings = Settings(server=ServerSettings(host="0.0.0.0", port=0, allow_anonymous=True))
    async with running_broker(settings) as broker:
        assert (await broker.listen())[0][0] == "0.0.0.0"


async def test_a_port_in_use_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with running_broker(Settings(server=ServerSettings(port=port))) as broker:
            with pytest.raises(OSError, match="in use"):
                await broker.listen()
