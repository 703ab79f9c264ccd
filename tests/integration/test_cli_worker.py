"""`penstock worker` as processes: it works, it stops in peace, and it says what is wrong with an application."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.commands import SECONDS_GUARD, Broker, interrupt

APPLICATION = """
import os
import time

from penstock_client.worker import App

app = App(name="shop")
other = App()


@app.worker("QUEUE", results="QUEUE.done")
def handle(body: str) -> str:
    if body == "sleep":
        time.sleep(600)
    return f"{body} by {os.getpid()}"
"""


@pytest.fixture
def application(queue: str, tmp_path: Path) -> Path:
    """A directory with an application of the test's queue in it."""
    (tmp_path / "shop.py").write_text(APPLICATION.replace("QUEUE", queue))
    return tmp_path


def log_lines(process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    """What a process logs, until it and everything it started have ended."""
    assert process.stderr is not None
    for line in process.stderr:
        yield json.loads(line)


def result_of(broker: Broker, queue: str, body: str) -> str:
    """Have a message handled and return what comes of it."""
    broker.run("publish", queue, body)
    (line,) = broker.lines("consume", f"{queue}.done", "--count", "1")
    return str(line["body"])


@pytest.mark.parametrize("name", ["shop:app", "shop"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_works_until_a_signal(
    broker: Broker, queue: str, application: Path, name: str, number: signal.Signals
) -> None:
    broker.declare(f"{queue}.done")
    with broker.started("worker", name, cwd=application) as process:
        assert result_of(broker, queue, "one") == f"one by {process.pid}"
        process.send_signal(number)
        assert process.wait(SECONDS_GUARD) == 0
        assert process.stdout is not None
        assert process.stdout.read() == b""
        events = [line["event"] for line in log_lines(process)]
    assert events == [f"handle takes messages of {queue!r}, 10 at once", "stopping: handlers have 30 s to finish"]


def test_what_does_not_finish_in_time_goes_back(broker: Broker, queue: str, application: Path) -> None:
    broker.declare(f"{queue}.done")
    broker.run("publish", queue, "sleep")
    with broker.started("worker", "shop:app", "--grace", "0", cwd=application) as process:
        assert result_of(broker, queue, "one") == f"one by {process.pid}"
        process.terminate()
        assert process.wait(SECONDS_GUARD) == 0
        assert "1 handler(s) did not finish in time" in [*log_lines(process)][-1]["event"]
    (message,) = broker.lines("queue", "peek", queue)
    assert (message["body"], message["failures"]) == ("sleep", 0)


def test_a_second_signal_does_not_wait(broker: Broker, queue: str, application: Path) -> None:
    broker.declare(f"{queue}.done")
    broker.run("publish", queue, "sleep")
    with broker.started("worker", "shop:app", cwd=application) as process:
        assert result_of(broker, queue, "one") == f"one by {process.pid}"
        process.terminate()
        lines = log_lines(process)
        while "stopping" not in next(lines)["event"]:
            pass
        process.terminate()
        assert process.wait(SECONDS_GUARD) == -signal.SIGTERM


def started_pids(lines: Iterator[dict[str, Any]], count: int) -> list[int]:
    pids: list[int] = []
    while len(pids) < count:
        line = next(lines)
        if line["event"] == "started a worker process":
            pids.append(int(line["pid"]))
    return pids


def test_several_processes_work_and_one_that_dies_is_replaced(broker: Broker, queue: str, application: Path) -> None:
    broker.declare(f"{queue}.done")
    with broker.started("worker", "shop:app", "--processes", "2", cwd=application) as process:
        lines = log_lines(process)
        first, second = started_pids(lines, 2)
        assert result_of(broker, queue, "one") in {f"one by {first}", f"one by {second}"}
        os.kill(first, signal.SIGKILL)
        while "was killed by SIGKILL; another starts in" not in next(lines)["event"]:
            pass
        (third,) = started_pids(lines, 1)
        os.kill(second, signal.SIGKILL)
        assert result_of(broker, queue, "two") != f"two by {first}"
        assert third not in {first, second}
        assert interrupt(process) == 0
        assert "stopping: handlers have 30 s to finish" in [line["event"] for line in lines]


def test_processes_stop_when_their_parent_is_killed(broker: Broker, queue: str, application: Path) -> None:
    broker.declare(f"{queue}.done")
    with broker.started("worker", "shop:app", "--processes", "2", cwd=application) as process:
        lines = log_lines(process)
        started_pids(lines, 2)
        result_of(broker, queue, "one")
        process.kill()
        events = [line["event"] for line in lines]  # ends when nobody holds the log any more
    assert events.count("stopping: handlers have 30 s to finish") == 2


def test_without_a_broker_it_ends_and_says_so(broker: Broker, application: Path) -> None:
    done = broker.run("worker", "shop:app", "--url", "penstock://127.0.0.1:1", cwd=application)
    assert done.exit_code == 69
    assert done.stderr.startswith("penstock: ")
    assert "Is the broker running?" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "line"),
    [
        (["nowhere"], 64, "penstock: there is no module 'nowhere'. Looked in "),
        (["shop.parts:app"], 64, "penstock: there is no module 'shop.parts'. Looked in "),
        (["shop.py"], 64, "penstock: 'shop.py' names no module. Write it as in an import: package.module:app.\n"),
        (["shop:handle"], 64, "'handle' in module 'shop' is a function, not an App. It has shop:app, shop:other."),
        (["shop:main"], 64, "penstock: there is no 'main' in module 'shop'. It has shop:app, shop:other.\n"),
        (["empty"], 64, "penstock: there is no 'app' in module 'empty'. It has no App at all.\n"),
        (["missing"], 78, "importing 'missing' failed with ModuleNotFoundError: No module named 'nonesuch' ("),
        (["broken"], 78, "penstock: importing 'broken' failed with ZeroDivisionError: division by zero ("),
        (["broken", "-p", "2"], 78, "penstock: importing 'broken' failed with ZeroDivisionError: division by zero ("),
        (["syntax"], 78, "penstock: importing 'syntax' failed with SyntaxError: invalid syntax (syntax.py, line 1)."),
        (["leaves"], 78, "penstock: importing 'leaves' failed with SystemExit: 3 ("),
        (["shop:other"], 64, "penstock: the app has no workers; it has none\n"),
        (["shop:app", "--queue", "mails"], 64, "penstock: the app has no worker of 'mails'; it has 'test_"),
    ],
)
def test_what_is_wrong_with_an_application_is_one_line(
    broker: Broker, application: Path, arguments: list[str], exit_code: int, line: str
) -> None:
    modules = {
        "empty": "",
        "missing": "import nonesuch",
        "broken": "1 / 0",
        "syntax": "1 +",
        "leaves": "raise SystemExit(3)",
    }
    for name, text in modules.items():
        (application / f"{name}.py").write_text(text)
    done = broker.run("worker", *arguments, cwd=application)
    assert done.exit_code == exit_code, done.stderr
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" in broker.run("worker", *arguments, cwd=application, PENSTOCK_DEBUG="1").stderr


def test_settings_that_differ_end_all_processes(broker: Broker, queue: str, tmp_path: Path) -> None:
    text = APPLICATION.replace('"QUEUE", ', '"QUEUE", lease=77, ').replace("QUEUE", queue)
    (tmp_path / "shop.py").write_text(text)
    done = broker.run("worker", "shop:app", "--processes", "2", cwd=tmp_path)
    assert done.exit_code == 78
    assert "exists with other settings than handle asks for: lease is 30.0, not 77" in done.stderr
