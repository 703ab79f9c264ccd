"""A real broker as a child process: started, awaited, stopped or killed by its own process id."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"
BOOT_SECONDS_GUARD: Final = 20.0
"""Ten times the promised 2 s."""
EXIT_SECONDS_GUARD: Final = 10.0
"""The promise for a drain; a guard here, as it holds ten times what a drain of these loads takes."""


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class BrokerProcess:
    """One broker over its restarts: the same data directory and port each time."""

    def __init__(self, directory: Path, port: int = 0, settings: Mapping[str, str] | None = None) -> None:
        """Take ``directory`` for the log; the data directory is made in it. ``settings`` go into the environment."""
        self.data = directory / "data"
        self.port = port or free_port()
        self.url = f"penstock://{HOST}:{self.port}"
        self.log = directory / "broker.log"
        self.boot_seconds: list[float] = []
        self.wrapper: Sequence[str] = ()
        self.process: Process | None = None
        self._environment = {**os.environ, "PENSTOCK_LOG__FORMAT": "json", **(settings or {})}

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    async def spawn(self) -> None:
        """Start the process and return at once."""
        serve = [sys.executable, "-m", "penstock", "serve", "--data", str(self.data)]
        command = [*self.wrapper, *serve, "--host", HOST, "--port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command, stdout=log, stderr=log, stdin=DEVNULL, env=self._environment, process_group=0
            )

    async def start(self) -> None:
        """Start the process and wait until it accepts connections; note how long that took."""
        began = asyncio.get_running_loop().time()
        await self.spawn()
        await self.wait_until_ready()
        self.boot_seconds.append(asyncio.get_running_loop().time() - began)

    async def wait_until_ready(self) -> None:
        """Wait until it accepts connections. Fails with its log when it ends instead."""
        assert self.process is not None
        async with asyncio.timeout(BOOT_SECONDS_GUARD):
            while not await self._accepts():
                assert self.process.returncode is None, f"the broker did not start: {self.log_tail()}"
                await asyncio.sleep(0.01)

    async def _accepts(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(HOST, self.port)
        except OSError:
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True

    async def kill(self) -> None:
        """SIGKILL and wait for the end; nothing when it has ended."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGKILL)
            await self.process.wait()

    async def terminate(self) -> int:
        """SIGTERM; return the exit code. Fails when the drain takes longer than its guard."""
        assert self.process is not None
        self.process.terminate()
        return await self.wait()

    async def wait(self) -> int:
        """Return the exit code once it ended by itself. Fails when that takes longer than the guard."""
        assert self.process is not None
        async with asyncio.timeout(EXIT_SECONDS_GUARD):
            return await self.process.wait()

    def log_tail(self, size: int = 3000) -> str:
        """Return the end of what it wrote to standard output and error."""
        return self.log.read_text(errors="replace")[-size:]


MakeBroker = Callable[..., BrokerProcess]
"""What the fixture ``make_broker`` gives: (directory, port, settings), all optional."""
