"""`penstock publish` against a real broker."""

import json
import subprocess
from pathlib import Path

import pytest
from tests.integration.commands import SECONDS_GUARD, Broker, command_line, environment, interrupt


def test_each_body_is_a_confirmed_message(broker: Broker, queue: str) -> None:
    confirms = broker.lines("publish", queue, "one", "größe", "")
    assert [confirm["offset"] for confirm in confirms] == [0, 1, 2]
    assert {confirm["level"] for confirm in confirms} == {"synced"}
    assert [message["body"] for message in broker.lines("queue", "peek", queue)] == ["one", "größe", ""]


def test_what_is_given_travels_with_the_message(broker: Broker, queue: str) -> None:
    broker.lines(
        *("publish", queue, "{}", "--key", "k", "--message-id", "m-1", "--content-type", "application/json"),
        *("--header", "a=1", "--header", "b=x=y", "--durability", "written"),
    )
    (message,) = broker.lines("queue", "peek", queue)
    assert message["key"] == "k"
    assert message["message_id"] == "m-1"
    assert message["content_type"] == "application/json"
    assert message["headers"] == {"a": "1", "b": "x=y"}


def test_written_is_confirmed_as_written(broker: Broker, queue: str) -> None:
    (confirm,) = broker.lines("publish", queue, "x", "--durability", "written")
    assert confirm["level"] == "written"


def test_each_line_of_a_file_is_a_message(broker: Broker, queue: str, lines_file: Path) -> None:
    (summary,) = broker.lines("publish", queue, "--lines", lines_file)
    assert summary["confirmed"] == 1000
    (last,) = broker.lines("queue", "peek", queue, "--start", "999")
    assert last["body"] == "line 999"


def test_lines_come_from_standard_input_too(broker: Broker, queue: str) -> None:
    (summary,) = broker.lines("publish", queue, "--lines", "-", stdin=b"one\n\xff\xfe\nlast without end")
    assert summary["confirmed"] == 3
    first, second, third = broker.lines("queue", "peek", queue)
    assert first["body"] == "one"
    assert second["body_base64"] == "//4="
    assert third["body"] == "last without end"


def test_an_empty_file_publishes_nothing(broker: Broker, queue: str) -> None:
    (summary,) = broker.lines("publish", queue, "--lines", "-", stdin=b"")
    assert summary["confirmed"] == 0


def test_lines_are_published_while_more_may_come(broker: Broker, queue: str) -> None:
    process = subprocess.Popen(
        command_line("publish", queue, "--lines", "-"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(PENSTOCK_URL=broker.url),
    )
    assert process.stdin is not None
    process.stdin.write(b"early\n")
    process.stdin.flush()
    (early,) = broker.lines("consume", queue, "--count", "1")
    assert early["body"] == "early"
    stdout, _ = process.communicate(b"late\n", timeout=SECONDS_GUARD)
    assert json.loads(stdout)["confirmed"] == 2


def test_ctrl_c_says_how_far_it_came(broker: Broker, queue: str) -> None:
    process = subprocess.Popen(
        command_line("publish", queue, "--lines", "-"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(PENSTOCK_URL=broker.url),
    )
    assert process.stdin is not None
    process.stdin.write(b"one\ntwo\nthr")
    process.stdin.flush()
    assert len(broker.lines("consume", queue, "--count", "2")) == 2
    assert interrupt(process) == 130
    stdout, stderr = process.communicate()
    assert json.loads(stdout)["confirmed"] == 2
    assert stderr.decode() == "penstock: interrupted. The first 2 lines are confirmed; tail -n +3 has the others.\n"


def test_a_file_that_is_not_there_is_named(broker: Broker, queue: str) -> None:
    done = broker.run("publish", queue, "--lines", "/nonexistent/file")
    assert done.exit_code == 66
    assert done.stderr == "penstock: cannot read /nonexistent/file: No such file or directory\n"


def test_an_unknown_queue_is_refused(broker: Broker) -> None:
    done = broker.run("publish", "no-such-queue", "body")
    assert done.exit_code == 66
    assert "no-such-queue" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("size_bytes", [1536 * 1024, 5 * 1024 * 1024], ids=["by little", "by far"])
def test_a_body_over_the_limit_is_refused_and_the_count_is_said(
    broker: Broker, queue: str, tmp_path: Path, size_bytes: int
) -> None:
    path = tmp_path / "large.txt"
    path.write_bytes(b"small\n" + b"x" * size_bytes + b"\nnever read\n")
    done = broker.run("publish", queue, "--lines", path)
    assert done.exit_code == 65
    assert "1 of 2 lines confirmed" in done.stderr
    assert broker.count(queue) == 1


@pytest.mark.parametrize("arguments", [("{}",), ("--lines", "-")])
def test_nothing_is_printed_when_nothing_was_confirmed(broker: Broker, arguments: tuple[str, ...]) -> None:
    done = broker.run("publish", "queue", *arguments, "--url", "penstock://127.0.0.1:1", stdin=b"x\n")
    assert done.exit_code == 69
    assert done.stdout == b""


def test_a_message_id_that_was_published_before_is_said_to_be_a_duplicate(broker: Broker) -> None:
    broker.declare("unique", "--dedup-window", "60", "--dedup-count-max", "10")
    (first,) = broker.lines("publish", "unique", "x", "--message-id", "m-1")
    (again,) = broker.lines("publish", "unique", "x", "--message-id", "m-1")
    assert (first["offset"], first["duplicate"], again["offset"], again["duplicate"]) == (0, False, 0, True)
    (summary,) = broker.lines("publish", "unique", "--lines", "-", stdin=b"one\ntwo\n")
    assert (summary["confirmed"], summary["duplicates"]) == (2, 0)
    shown = broker.json("queue", "show", "unique")
    assert (shown["dedup_window"], shown["dedup_count_max"], shown["messages"]) == (60, 10, 3)
