"""The load processes of a visit, as the harness sees them: submit jobs, let them go together, collect outcomes."""

import contextlib
import os
import selectors
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from benchmarks.jobs import Job, Outcome, decode_outcome, encode_line

PREPARE_SECONDS_MAX = 120.0
FINISH_SECONDS_MAX = 60.0
"""How long a load may take beyond its own bound before it is ended."""
_REASON_CHARACTERS_MAX = 300


class LoadFailed(Exception):
    """A load process ended or did not answer in time."""


class Worker:
    """One load process."""

    def __init__(self, log: Path) -> None:
        self._log = log
        with log.open("ab") as errors:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
            )
        self._pending = b""

    def prepare(self, job: Job) -> None:
        """Give a job; returns when it is ready to go. Raises LoadFailed."""
        self._write(encode_line(job))
        self._read_line(PREPARE_SECONDS_MAX)

    def go(self) -> None:
        """Let a prepared job start."""
        self._write("go\n")

    def outcome(self, seconds: float) -> Outcome:
        """Wait for the outcome of a job whose own bound is ``seconds``. Raises LoadFailed."""
        return decode_outcome(self._read_line(seconds + FINISH_SECONDS_MAX))

    def stop(self) -> None:
        """End the process: by the end of its input, else by its process id."""
        with contextlib.suppress(OSError):
            self._stdin.close()
        try:
            self._popen.wait(3)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._stdout.close()

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._popen.stdin
        return self._popen.stdin

    @property
    def _stdout(self) -> IO[bytes]:
        assert self._popen.stdout
        return self._popen.stdout

    def _write(self, line: str) -> None:
        try:
            self._stdin.write(line.encode())
        except OSError as error:
            raise LoadFailed(f"a load process ended: {self._tail()}") from error

    def _read_line(self, seconds_max: float) -> str:
        deadline = time.monotonic() + seconds_max
        descriptor = self._stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    self._popen.kill()
                    raise LoadFailed(f"a load process did not answer within {seconds_max:.0f} s: {self._tail()}")
                data = os.read(descriptor, 1 << 20)
                if not data:
                    raise LoadFailed(f"a load process ended: {self._tail()}")
                self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode()

    def _tail(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:_REASON_CHARACTERS_MAX] if lines else "it left no word"


class Crew:
    """A producer and a consumer process, started once and used for every load of a visit."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._workers: dict[str, Worker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._dismiss()

    def produce(self, job: Job) -> Outcome:
        """Run one job in the producer process. Raises LoadFailed."""
        return self._run({"producer": job})[0]

    def consume(self, job: Job) -> Outcome:
        """Run one job in the consumer process. Raises LoadFailed."""
        return self._run({"consumer": job})[0]

    def both(self, produce: Job, consume: Job) -> tuple[Outcome, Outcome]:
        """Run a producer and a consumer at once; both are connected before either starts. Raises LoadFailed."""
        produced, consumed = self._run({"producer": produce, "consumer": consume})
        return produced, consumed

    def _run(self, jobs: dict[str, Job]) -> list[Outcome]:
        try:
            return _run([(self._worker(role), job) for role, job in jobs.items()])
        except LoadFailed:
            self._dismiss()
            raise

    def _worker(self, role: str) -> Worker:
        if role not in self._workers:
            self._workers[role] = Worker(self._directory / f"{role}.log")
        return self._workers[role]

    def _dismiss(self) -> None:
        """End the processes; a broken load leaves the other one waiting, so both are started anew when needed."""
        while self._workers:
            self._workers.popitem()[1].stop()


def _run(pairs: list[tuple[Worker, Job]]) -> list[Outcome]:
    for worker, job in pairs:
        worker.prepare(job)
    for worker, _ in reversed(pairs):
        worker.go()
    return [worker.outcome(job.seconds) for worker, job in pairs]
