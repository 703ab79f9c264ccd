"""Listening and stopping."""

import asyncio
from contextlib import suppress
from typing import Final

from penstock.net.connection import Connection
from penstock.net.handshake import Offer
from penstock.net.heartbeat import TICK_MS
from penstock.net.hub import Hub
from penstock_client.wire.errors import ErrorCode

BACKLOG: Final = 4096
"""Connections the kernel may complete before they are accepted: a whole fleet reconnects at once."""

ABORT_S: Final = 1.0
"""An aborted connection is gone after two turns of the loop."""


class Server:
    """Accepts connections until told to stop."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None
        self._tick_timer: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int) -> list[tuple[str, int]]:
        """Start accepting; return the addresses. Raises OSError, or ListenRefusedError where the guard says no."""
        self._hub.guard.check_listen(host)
        offer = self._offer()
        self._server = await self._loop.create_server(lambda: Connection(self._hub, offer), host, port, backlog=BACKLOG)
        self._tick_timer = self._loop.call_later(TICK_MS / 1000, self._tick)
        return self.addresses

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The addresses that are listened on."""
        if self._server is None:
            return []
        return [socket.getsockname()[:2] for socket in self._server.sockets]

    def stop_accepting(self) -> None:
        """Accept no one and read nothing more. What was read is finished by the engine."""
        self._hub.stopping = True
        if self._server is not None:
            self._server.close()
        for connection in list(self._hub.connections):
            connection.drain()

    async def close(self, timeout_s: float) -> None:
        """Write what has gathered, tell every client that the broker stops, and wait until they are gone.

        Who has not taken its last words after ``timeout_s`` is cut off. The engine must have stopped before.
        """
        hub = self._hub
        self.stop_accepting()
        hub.engine_stopped = True
        hub.flush()
        for connection in list(hub.connections):
            connection.fail(ErrorCode.SERVER_STOPPING, "the broker is stopping; connect again in a moment")
        await self._wait_until_everyone_left(timeout_s)
        if self._tick_timer is not None:
            self._tick_timer.cancel()
        for connection in list(hub.connections):
            connection.cut_off()
        await self._wait_until_everyone_left(ABORT_S)

    async def _wait_until_everyone_left(self, timeout_s: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hub.everyone_left.wait(), timeout_s)

    def _tick(self) -> None:
        self._tick_timer = self._loop.call_later(TICK_MS / 1000, self._tick)
        self._hub.wheel.advance()

    def _offer(self) -> Offer:
        hub, options = self._hub, self._hub.options
        return Offer(
            version=hub.version,
            boot_epoch=hub.boot_epoch,
            heartbeat_ms=options.heartbeat_ms,
            frame_bytes_max=options.frame_bytes_max,
            body_bytes_max=options.body_bytes_max,
            window_messages=options.window_messages,
            window_bytes=options.window_bytes,
        )
