"""The real commands against a real broker, each in a process of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

SECONDS_GUARD: Final = 60
"""Against hanging only: a command takes a fraction of a second."""


def environment(**more: str) -> dict[str, str]:
    """Return an environment for commands: nothing of the tester's own settings, and output that does not wrap."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    return kept | {"COLUMNS": "200", "PENSTOCK_LOG__FORMAT": "json"} | more


def command_line(*arguments: str | Path) -> list[str]:
    """Return how a command is started here."""
    return [sys.executable, "-m", "penstock", *map(str, arguments)]


class Broker:
    """A broker process and commands that talk to it."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.process = subprocess.Popen(
            command_line("serve", "--data", data, "--port", "0"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment(),
            text=True,
        )
        self.url = f"penstock://127.0.0.1:{self._port()}"

    def _port(self) -> int:
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        if '"listening"' not in line:
            line += self.process.communicate(timeout=SECONDS_GUARD)[1]
            raise AssertionError(f"the broker ended with {self.process.returncode}: {line}")
        return int(json.loads(line)["port"])

    def stop(self) -> int:
        """Stop it as an operator does; return its exit code."""
        self.process.terminate()
        _, _ = self.process.communicate(timeout=SECONDS_GUARD)
        return self.process.returncode

    def run(
        self, *arguments: str | Path, stdin: bytes | None = None, cwd: Path | None = None, **more: str
    ) -> "Completed":
        """Run a command to its end, with ``more`` in its environment."""
        done = subprocess.run(
            command_line(*arguments),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            env=environment(PENSTOCK_URL=self.url, **more),
            timeout=SECONDS_GUARD,
            cwd=cwd,
        )
        return Completed(done.returncode, done.stdout, done.stderr.decode())

    def json(self, *arguments: str | Path) -> Any:
        """Run a command that must succeed and return its one line of JSON."""
        (line,) = self.lines(*arguments, "--json")
        return line

    def lines(self, *arguments: str | Path, stdin: bytes | None = None) -> list[Any]:
        """Run a command that must succeed and return its lines of JSON."""
        done = self.run(*arguments, stdin=stdin)
        assert done.exit_code == 0, done.stderr
        assert done.stderr == ""
        return [json.loads(line) for line in done.stdout.splitlines()]

    @contextmanager
    def started(
        self, *arguments: str | Path, stdout: int | IO[bytes] = subprocess.PIPE, cwd: Path | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Start a command; it is killed in the end if it still runs."""
        process = subprocess.Popen(
            command_line(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=environment(PENSTOCK_URL=self.url),
            cwd=cwd,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def declare(self, name: str, *settings: str) -> str:
        """Create a queue and return its name."""
        assert self.json("queue", "declare", name, *settings)["created"] is True
        return name

    def count(self, name: str, what: str = "messages") -> int:
        """Return one of a queue's counts."""
        return int(self.json("queue", "show", name)[what])


class Completed:
    """What a command ended with and printed."""

    def __init__(self, exit_code: int, stdout: bytes, stderr: str) -> None:
        self.exit_code = exit_code
        self.stdout = stdout
        self.stderr = stderr


def interrupt(process: subprocess.Popen[bytes]) -> int:
    """Press Ctrl-C; return the exit code."""
    process.send_signal(signal.SIGINT)
    return process.wait(SECONDS_GUARD)
