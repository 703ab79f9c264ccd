"""The broker and the workers as child processes: started, watched, killed by their own process ids."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"
REPOSITORY: Final = Path(__file__).resolve().parents[2]
START_SECONDS_MAX: Final = 20.0
STOP_SECONDS_MAX: Final = 10.0


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def kill_now(process: Process | None) -> None:
    """Send SIGKILL to one child, if it still runs."""
    if process is not None and process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


async def kill(process: Process | None) -> None:
    """End one child at once, if it still runs, and wait for it."""
    kill_now(process)
    if process is not None:
        await process.wait()


async def _spawn(*arguments: str, stdout: int, log: Path) -> Process:
    # A process group of its own: Ctrl-C reaches the demo alone, which then ends its children itself.
    with log.open("ab") as errors:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *arguments),
            stdout=stdout,
            stderr=errors,
            stdin=DEVNULL,
            cwd=REPOSITORY,
            process_group=0,
        )


class Broker:
    """A broker on a data directory and a port, which it keeps over its restarts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"penstock://{HOST}:{self.port}"
        self.process: Process | None = None
        self._log = directory / "broker.log"

    async def start(self) -> float:
        """Start it and wait until it accepts connections. Returns how many seconds that took."""
        began = asyncio.get_running_loop().time()
        arguments = (
            "penstock",
            "serve",
            "--data",
            str(self.directory / "data"),
            "--host",
            HOST,
            "--port",
            str(self.port),
        )
        self.process = await _spawn(*arguments, stdout=DEVNULL, log=self._log)
        while not await self._accepts():
            waited = asyncio.get_running_loop().time() - began
            if self.process.returncode is not None or waited > START_SECONDS_MAX:
                raise DemoError(f"the broker did not start: {self._log.read_text()[-2000:]}")
            await asyncio.sleep(0.02)
        return asyncio.get_running_loop().time() - began

    async def _accepts(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(HOST, self.port)
        except OSError:
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True

    async def end(self) -> None:
        """SIGKILL, if it still runs: no drain, no farewell."""
        await kill(self.process)

    async def stop(self) -> int:
        """SIGTERM, and wait for the drain. Returns the exit code."""
        assert self.process is not None
        self.process.terminate()
        async with asyncio.timeout(STOP_SECONDS_MAX):
            return await self.process.wait()


class Worker:
    """A worker process and what it last said it was doing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.process: Process | None = None
        self.held: list[str] = []
        self.indexed = 0
        self.acked = 0
        self.ended = False
        self._watch: asyncio.Task[None] | None = None
        self._log = Path()

    async def start(self, url: str, directory: Path) -> None:
        """Start it; it connects by itself."""
        self._log = directory / f"{self.name}.log"
        module = "examples.stdlib_index.worker"
        self.process = await _spawn(module, "--url", url, "--name", self.name, stdout=PIPE, log=self._log)
        self._watch = asyncio.create_task(self._read_events(self.process))

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def mid_job(self) -> bool:
        """True while it holds jobs that it has begun and not acknowledged: some are done, some are not."""
        return 0 < self.indexed < len(self.held)

    def check_alive(self) -> None:
        """Raise DemoError when it ended by itself."""
        if not self.ended and self.process is not None and self.process.returncode is not None:
            raise DemoError(f"{self.name} ended by itself: {self._log.read_text()[-2000:]}")

    async def pause(self) -> None:
        """SIGSTOP, and take in everything it still said before that."""
        os.kill(self.pid, signal.SIGSTOP)
        await asyncio.sleep(0.1)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    async def end(self) -> None:
        """SIGKILL, if it still runs."""
        self.ended = True
        await kill(self.process)
        if self._watch is not None:
            await self._watch

    async def _read_events(self, process: Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            if not line.endswith(b"\n"):
                return  # cut off by a kill
            self._note(json.loads(line))

    def _note(self, said: dict[str, list[str] | str]) -> None:
        files = list(said["files"])
        match said["event"]:
            case "took":
                self.held, self.indexed = files, 0
            case "indexed":
                self.indexed += 1
            case "acked":
                self.acked += len(files)
                self.held = []
            case "stale":
                self.held = []
