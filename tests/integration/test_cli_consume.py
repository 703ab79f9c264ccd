"""`penstock consume` against a real broker: what it acknowledges is what was read."""

import json
import subprocess
from pathlib import Path
from typing import IO, Any

import pytest
from tests.integration.commands import SECONDS_GUARD, Broker, interrupt


def bodies(lines: list[Any]) -> list[str]:
    return [line["body"] for line in lines]


def output_of(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdout is not None
    return process.stdout


def test_piped_messages_are_json_lines_and_acknowledged(broker: Broker, queue: str, lines_file: Path) -> None:
    broker.run("publish", queue, "--lines", lines_file)
    consumed = broker.lines("consume", queue, "--no-follow")
    assert bodies(consumed) == [f"line {number}" for number in range(1000)]
    assert consumed[0]["offset"] == 0
    assert consumed[0]["attempt"] == 1
    assert consumed[0]["queue"] == queue
    assert broker.count(queue) == 0


def test_an_empty_queue_ends_at_once_without_following(broker: Broker, queue: str) -> None:
    assert broker.lines("consume", queue, "--no-follow") == []


def test_a_count_takes_exactly_so_many(broker: Broker, queue: str, lines_file: Path) -> None:
    broker.run("publish", queue, "--lines", lines_file)
    assert len(broker.lines("consume", queue, "--count", "7")) == 7
    assert broker.count(queue) == 993
    (following,) = broker.lines("consume", queue, "--count", "1")
    assert (following["body"], following["failures"]) == ("line 7", 0)


def test_raw_output_is_the_bodies(broker: Broker, queue: str) -> None:
    broker.run("publish", queue, "--lines", "-", stdin=b"one\n\xff\xfe\n")
    assert broker.run("consume", queue, "--no-follow", "--format", "raw").stdout == b"one\n\xff\xfe\n"


def test_following_waits_for_messages_and_ctrl_c_ends_it(broker: Broker, queue: str) -> None:
    with broker.started("consume", queue) as process:
        broker.run("publish", queue, "one")
        assert json.loads(output_of(process).readline())["body"] == "one"
        broker.run("publish", queue, "two")
        assert json.loads(output_of(process).readline())["body"] == "two"
        assert interrupt(process) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert broker.count(queue) == 0


@pytest.mark.parametrize("wanted", [1, 50])
def test_a_reader_that_closes_early_loses_nothing(broker: Broker, queue: str, lines_file: Path, wanted: int) -> None:
    broker.run("publish", queue, "--lines", lines_file)
    with broker.started("consume", queue) as process:
        read = [json.loads(output_of(process).readline())["body"] for _ in range(wanted)]
        output_of(process).close()
        assert process.wait(SECONDS_GUARD) == 141
        assert process.stderr is not None
        assert process.stderr.read() == b""
    rest = bodies(broker.lines("consume", queue, "--no-follow"))
    assert sorted({*read, *rest}) == sorted(f"line {number}" for number in range(1000))


def test_a_reader_that_does_not_read_acknowledges_nothing_and_ctrl_c_still_ends_it(broker: Broker, queue: str) -> None:
    broker.run("publish", queue, "--lines", "-", stdin=b"".join(b"%d" % n * 50_000 + b"\n" for n in range(10, 20)))
    with broker.started("consume", queue) as process:
        assert output_of(process).read(1)
        assert interrupt(process) == 0
    assert broker.count(queue) == 10


def test_what_was_not_printed_counts_no_failure(broker: Broker, queue: str, lines_file: Path) -> None:
    broker.run("publish", queue, "--lines", lines_file)
    with broker.started("consume", queue) as process:
        output_of(process).readline()
        output_of(process).close()
        process.wait(SECONDS_GUARD)
    rest = broker.lines("consume", queue, "--no-follow")
    assert {line["failures"] for line in rest} == {0}


def test_output_into_a_file_is_complete(broker: Broker, queue: str, lines_file: Path, tmp_path: Path) -> None:
    broker.run("publish", queue, "--lines", lines_file)
    with (tmp_path / "out").open("wb") as out, broker.started("consume", queue, "--no-follow", stdout=out) as process:
        assert process.wait(SECONDS_GUARD) == 0
    assert len((tmp_path / "out").read_text().splitlines()) == 1000
    assert broker.count(queue) == 0


def test_an_unknown_queue_is_refused(broker: Broker) -> None:
    done = broker.run("consume", "no-such-queue")
    assert done.exit_code == 66
    assert done.stderr.count("\n") == 1


def test_a_queue_deleted_meanwhile_ends_it_with_a_reason(broker: Broker, queue: str) -> None:
    broker.run("publish", queue, "one")
    with broker.started("consume", queue) as process:
        output_of(process).readline()
        broker.run("queue", "delete", queue, "--yes")
        assert process.wait(SECONDS_GUARD) == 66
        assert process.stderr is not None
        assert b"deleted" in process.stderr.read()
