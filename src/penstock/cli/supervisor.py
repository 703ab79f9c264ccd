"""The parent of ``penstock worker --processes N``: starts N, starts another when one ends, stops them all.

The processes are in sessions of their own, so that Ctrl-C on a terminal reaches this one alone and each of them once.
They watch a pipe whose other end only this process has: when it is killed they stop by themselves.
"""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from penstock.cli.exits import ExitCode
from penstock_client.backoff import Backoff

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

FINAL_EXITS: Final = frozenset({ExitCode.USAGE, ExitCode.CONFIG, ExitCode.NO_PERMISSION})
"""What another attempt would not change: the application or its settings are wrong."""

RESTART_FIRST_S: Final = 0.5
RESTART_MAX_S: Final = 30.0
STEADY_S: Final = 60.0
"""A process that ran for so long had started well: the next one starts without a long wait."""

KILL_AFTER_GRACE_S: Final = 10.0
"""How long a process may take beyond the grace: to give messages back and close its connection."""


class Supervisor:
    """Keeps so many processes running."""

    def __init__(self, command: Sequence[str], count: int, grace_s: float, log: "FilteringBoundLogger") -> None:
        self._command = command
        self._count = count
        self._grace_s = grace_s
        self._log = log
        self._running: set[Process] = set()
        self._stop = asyncio.Event()
        self._final: int = ExitCode.OK

    async def run(self) -> int:
        """Run until a signal, or until a process ends in a way that would repeat itself; return the exit code."""
        self._handle_signals()
        read_end, write_end = os.pipe()
        try:
            keepers = [asyncio.create_task(self._keep(read_end)) for _ in range(self._count)]
            for keeper in keepers:
                keeper.add_done_callback(lambda _: self._stop.set())
            await self._stop.wait()
            self._send(signal.SIGTERM)
            _, late = await asyncio.wait(keepers, timeout=self._grace_s + KILL_AFTER_GRACE_S)
            if late:
                self._log.error("a worker process did not stop in time and is killed", count=len(late))
                self._send(signal.SIGKILL)
            return self._exit_code(await asyncio.gather(*keepers))
        finally:
            os.close(write_end)
            os.close(read_end)

    def _exit_code(self, codes: Sequence[int]) -> int:
        """Return 0 when every process stopped as it was asked to, also one that had not quite started."""
        if self._final:
            return self._final
        bad = [code for code in codes if code not in (ExitCode.OK, -signal.SIGTERM)]
        return max(*bad, ExitCode.SOFTWARE if min(bad) < 0 else 0) if bad else ExitCode.OK

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)

    def _signalled(self) -> None:
        if self._stop.is_set():  # the second one
            self._send(signal.SIGKILL)
        self._stop.set()

    def _send(self, number: signal.Signals) -> None:
        for process in self._running:
            _signal(process, number)

    async def _keep(self, parent: int) -> int:
        """Keep one process running; return the exit code of the last one."""
        loop = asyncio.get_running_loop()
        backoff = Backoff(RESTART_FIRST_S, RESTART_MAX_S)
        code: int = ExitCode.OK
        while not self._stop.is_set():
            started_s = loop.time()
            code = await self._run_one(parent)
            if self._stop.is_set():
                break
            if code in FINAL_EXITS:
                self._final = code
                break
            if loop.time() - started_s > STEADY_S:
                backoff.reset()
            await self._wait_to_restart(code, backoff.next_s())
        return code

    async def _run_one(self, parent: int) -> int:
        options: dict[str, Any] = {"pass_fds": (parent,), "start_new_session": True}
        process = await asyncio.create_subprocess_exec(*self._command, "--parent", str(parent), **options)
        self._running.add(process)
        if self._stop.is_set():  # while it was started
            _signal(process, signal.SIGTERM)
        self._log.info("started a worker process", pid=process.pid)
        code = await process.wait()
        self._running.discard(process)
        return code

    async def _wait_to_restart(self, code: int, wait_s: float) -> None:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        self._log.warning(f"a worker process {how}; another starts in {wait_s:.1f} s")
        try:
            async with asyncio.timeout(wait_s):
                await self._stop.wait()
        except TimeoutError:
            pass


def _signal(process: Process, number: signal.Signals) -> None:
    """Send a signal to a process that may have ended.

    Not by ``process.send_signal``, which looks whether it has ended and so takes its exit code away from asyncio.
    """
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
