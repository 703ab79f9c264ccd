"""Processes of a benchmark: started with their own directory and port, measured from /proc, ended by process id."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_LOOPBACK = "127.0.0.1"
STOP_SECONDS_MAX = 10.0


class ProcessFailed(Exception):
    """A broker did not start, or ended by itself; carries the last line of its log."""


def free_port() -> int:
    """Return a TCP port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


class BrokerProcess:
    """A broker as the operating system sees it.

    ``program`` names the process that is the broker where ``command`` starts it through a shell (RabbitMQ's
    ``beam.smp``); measurements are of that process.
    """

    def __init__(
        self, command: Sequence[str], directory: Path, environment: Mapping[str, str] | None = None, program: str = ""
    ) -> None:
        self._log = directory / "broker.log"
        self._program = program
        self.started_at = time.perf_counter()
        with self._log.open("ab") as log:
            self._popen = subprocess.Popen(
                list(command),
                cwd=directory,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._pid = 0 if program else self._popen.pid

    @property
    def pid(self) -> int:
        """The process id of the broker itself."""
        if not self._pid:
            self._pid = _find_descendant(self._popen.pid, self._program)
        return self._pid

    def check_alive(self) -> None:
        """Raise ProcessFailed when the process has ended."""
        if self._popen.poll() is not None:
            lines = self._log.read_text(errors="replace").strip().splitlines() or ["it left no word"]
            raise ProcessFailed(f"the broker ended with {self._popen.returncode}: {lines[-1][:300]}")

    def wait_for_port(self, port: int, seconds_max: float) -> None:
        """Return when ``port`` accepts connections. Raises ProcessFailed after ``seconds_max``."""
        deadline = time.perf_counter() + seconds_max
        while time.perf_counter() < deadline:
            self.check_alive()
            with contextlib.suppress(OSError), socket.create_connection((_LOOPBACK, port), timeout=1):
                return
            time.sleep(0.003)
        raise ProcessFailed(f"the broker does not listen on port {port} after {seconds_max} s")

    def cpu_seconds(self) -> float:
        """User and system time of the broker so far, in seconds (10 ms resolution)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND

    def rss_mb(self) -> float:
        """Resident memory now, in MB (10^6 bytes)."""
        return _status_kib(self.pid, "VmRSS") * 1024 / 1e6

    def rss_peak_mb(self) -> float:
        """The most resident memory so far, in MB (10^6 bytes)."""
        return _status_kib(self.pid, "VmHWM") * 1024 / 1e6

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the broker by its process id; SIGKILL after STOP_SECONDS_MAX."""
        if self._popen.poll() is None:
            with contextlib.suppress(ProcessLookupError, ProcessFailed):
                os.kill(self.pid, how)
            try:
                self._popen.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError, ProcessFailed):
                    os.kill(self.pid, signal.SIGKILL)
                self._popen.kill()
                self._popen.wait()


def _status_kib(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    return 0


def _find_descendant(root: int, program: str) -> int:
    children: dict[int, list[int]] = {}
    names: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                head, _, tail = (entry / "stat").read_text().rpartition(")")
                names[int(entry.name)] = head.partition("(")[2]
                children.setdefault(int(tail.split()[1]), []).append(int(entry.name))
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        if names.get(pid) == program:
            return pid
        waiting.extend(children.get(pid, ()))
    raise ProcessFailed(f"process {root} has no descendant {program}")
