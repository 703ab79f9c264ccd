"""The parent of several worker processes: restarts with a growing wait, ends that are final, and what does not stop."""

import asyncio
import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.cli import supervisor
from penstock.cli.exits import ExitCode
from penstock.cli.supervisor import Supervisor
from penstock.observe.logging import make_logger

GUARD_S = 30


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "RESTART_FIRST_S", 0.001)
    monkeypatch.setattr(supervisor, "KILL_AFTER_GRACE_S", 0.0)


def supervise(code: str, count: int = 1, grace_s: float = GUARD_S) -> tuple[int, list[dict[str, Any]]]:
    """Run processes of this code under a supervisor; return its exit code and what it logged."""
    stream = io.StringIO()
    log = make_logger("json", "info", stream)

    async def run() -> int:
        async with asyncio.timeout(GUARD_S):
            return await Supervisor([sys.executable, "-c", code], count, grace_s, log).run()

    exit_code = asyncio.run(run())
    return exit_code, [json.loads(line) for line in stream.getvalue().splitlines()]


STOP_PARENT = f"import os, signal; os.kill({os.getpid()}, signal.SIGTERM)"


@pytest.mark.parametrize("code", [ExitCode.USAGE, ExitCode.CONFIG, ExitCode.NO_PERMISSION])
def test_what_another_attempt_would_not_change_ends_everything(code: ExitCode) -> None:
    exit_code, lines = supervise(f"import sys; sys.exit({int(code)})")
    assert exit_code == code
    assert [line["event"] for line in lines] == ["started a worker process"]


def test_a_process_that_ends_is_replaced_and_that_is_said(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    code = f"""
import sys
with open({str(marks)!r}, "a+") as marks:
    marks.write("x")
    marks.seek(0)
    sys.exit({{1: 3, 2: 0, 3: 75}}.get(len(marks.read()), 78))
"""
    exit_code, lines = supervise(code)
    assert exit_code == 78
    assert marks.read_text() == "xxxx"
    ended = [line["event"] for line in lines if line["level"] == "warning"]
    assert [text.partition(";")[0] for text in ended] == [
        f"a worker process ended with exit code {code}" for code in (3, 0, 75)
    ]


def test_a_request_to_stop_reaches_every_process(tmp_path: Path) -> None:
    """The last of them to start asks, once: a second request would not wait for them."""
    code = f"""
import signal, sys, threading
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
marks = open({str(tmp_path / "marks")!r}, "ab", buffering=0)
marks.write(b"x")
if marks.tell() == 3:
    {STOP_PARENT}
threading.Event().wait()
"""
    exit_code, _ = supervise(code, count=3)
    assert exit_code == 0


def test_a_process_that_does_not_stop_in_time_is_killed_and_that_is_no_success() -> None:
    code = f"""
import signal, threading
signal.signal(signal.SIGTERM, signal.SIG_IGN)
{STOP_PARENT}
threading.Event().wait()
"""
    exit_code, lines = supervise(code, grace_s=0)
    assert exit_code == ExitCode.SOFTWARE
    assert "a worker process did not stop in time and is killed" in [line["event"] for line in lines]


def test_a_second_signal_kills_at_once() -> None:
    code = f"""
import signal, threading
signal.signal(signal.SIGTERM, lambda *_: os.kill({os.getpid()}, signal.SIGTERM))
{STOP_PARENT}
threading.Event().wait()
"""
    exit_code, _ = supervise(code)
    assert exit_code == ExitCode.SOFTWARE


def test_a_process_that_fails_while_it_stops_is_no_success() -> None:
    code = f"""
import signal, sys, threading
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
{STOP_PARENT}
threading.Event().wait()
"""
    assert supervise(code)[0] == 5


def test_a_request_to_stop_ends_the_wait_for_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "RESTART_FIRST_S", 600.0)
    monkeypatch.setattr(supervisor, "RESTART_MAX_S", 600.0)
    exit_code, _ = supervise(f"import sys\n{STOP_PARENT}\nsys.exit(75)")
    assert exit_code in (0, 75)  # its end and the request are a race: whichever is first, nobody waits ten minutes


def test_the_signals_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    supervise("import sys; sys.exit(64)")
    assert signal.getsignal(signal.SIGTERM) == before
