import io

from examples.stdlib_index.check import Verdict
from examples.stdlib_index.extract import index_source
from examples.stdlib_index.processes import Worker
from examples.stdlib_index.progress import Depth, Display, Rate, State, show_outcome
from rich.console import Console


def state() -> State:
    shown = State(files=1790, workers=[Worker("worker-1")], phase="indexing", jobs=Depth(1_200, 32, 0, 0))
    record = index_source("a.py", b"import os\n")
    shown.collected.add(0, record.encode(), {"file": "a.py", "worker": "worker-1", "attempt": 2, "failures": 1})
    return shown


def console(terminal: bool) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, width=100), out


def test_a_pipe_gets_plain_lines_without_control_characters() -> None:
    target, out = console(terminal=False)
    with Display(target, state()) as display:
        display.event("killed [worker-1]")
        display.update()
        display.update()
    events, line = out.getvalue().splitlines()
    assert events.endswith("killed [worker-1]")
    assert "indexing: 1 of 1,790 files indexed" in line
    assert "jobs 1,200 ready 32 leased" in line
    assert "redelivered 1" in line
    assert "\x1b" not in out.getvalue()


def test_a_terminal_gets_the_live_display() -> None:
    target, out = console(terminal=True)
    with Display(target, state()) as display:
        display.update()
    for expected in ("indexing", "1,200", "worker-1", "redelivered"):
        assert expected in out.getvalue()


def test_a_rate_is_that_of_the_last_moments() -> None:
    rate = Rate()
    assert rate.update(0.0, 0) == 0.0
    assert rate.update(1.0, 100) == 100.0
    assert rate.update(10.0, 100) == 0.0


def test_the_outcome_says_what_failed() -> None:
    target, out = console(terminal=False)
    show_outcome(target, state(), [Verdict("nothing lost", False, "1 of 2 files: b.py"), Verdict("fine", True, "yes")])
    assert "FAILED nothing lost: 1 of 2 files: b.py" in out.getvalue()
    assert "ok     fine: yes" in out.getvalue()
    assert "jobs redelivered, 1 of them counted as failed before" in out.getvalue()
