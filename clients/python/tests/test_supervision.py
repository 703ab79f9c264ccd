"""A client has one connection at a time, whenever the last one was lost."""

import asyncio
from collections.abc import Callable
from typing import Any

from penstock_client import connect
from penstock_client.wire import control
from penstock_client.wire.frames import PREAMBLE, FrameReader, FrameType, encode_frame

WELCOME = {"server": "scripted", "version": "0", "mechanisms": ["ANONYMOUS"], "boot_epoch": 1, "heartbeat_ms": 10_000}
READY = {
    "session": 1,
    "frame_bytes_max": 2 * 1024 * 1024,
    "body_bytes_max": 1024 * 1024,
    "window_messages": 1000,
    "window_bytes": 1024 * 1024,
    "heartbeat_ms": 10_000,
}
REPLIES: dict[FrameType, tuple[FrameType, dict[str, Any]]] = {
    FrameType.HELLO: (FrameType.WELCOME, WELCOME),
    FrameType.AUTH: (FrameType.READY, READY),
    FrameType.CONSUME: (FrameType.OK, {"lease_ms": 30_000, "queue_id": 1}),
    FrameType.CANCEL: (FrameType.OK, {}),
    FrameType.CLOSE: (FrameType.CLOSED, {}),
}


class ScriptedBroker:
    """Answers the handshake and subscriptions; ``on_consume`` is asked whether to drop the connection instead."""

    def __init__(self, on_consume: Callable[[int], bool]) -> None:
        self.subscribed: set[asyncio.StreamWriter] = set()
        self.changed = asyncio.Condition()
        self._subscriptions = 0
        self._drop = on_consume

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = FrameReader(1024 * 1024)
        writer.write(PREAMBLE)
        try:
            while data := await reader.read(65_536):
                for frame in frames.feed(data):
                    if frame.type == FrameType.CONSUME:
                        self._subscriptions += 1
                        if self._drop(self._subscriptions):
                            return
                        self.subscribed.add(writer)
                    if frame.type in REPLIES:
                        kind, reply = REPLIES[FrameType(frame.type)]
                        writer.write(encode_frame(kind, control.pack(reply), frame.request))
                await self._notify()
        except ConnectionError:
            pass
        finally:
            self.subscribed.discard(writer)
            writer.close()
            await self._notify()

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(30), self.changed:
            await self.changed.wait_for(reached)


async def test_a_connection_lost_while_it_is_restored_does_not_leave_two() -> None:
    broker = ScriptedBroker(on_consume=lambda nth: nth in (2, 3))
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, connect(f"penstock://127.0.0.1:{port}") as client, client.queue("jobs").consume():
        next(iter(broker.subscribed)).close()
        await broker.until(lambda: not broker.subscribed)
        await broker.until(lambda: bool(broker.subscribed))
        started = [task for task in asyncio.all_tasks() if "_reconnect" in repr(task.get_coro())]
        assert len(broker.subscribed) == 1
        assert len(started) <= 1, "two tasks are winning the connection back"
