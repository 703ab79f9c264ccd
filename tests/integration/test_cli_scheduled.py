"""Commands about messages that are to be delivered later, against a real broker."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.integration.commands import Broker

from penstock.cli.exits import ExitCode


def test_a_message_is_scheduled_looked_at_and_taken_back(broker: Broker, queue: str) -> None:
    (confirm,) = broker.lines("publish", queue, "later", "--delay", "3600", "--key", "k")
    assert (confirm["offset"], confirm["scheduled_id"]) == (None, 1)
    (shown,) = broker.lines("queue", "scheduled", queue)
    assert (shown["id"], shown["body"], shown["key"]) == (1, "later", "k")
    assert shown["due_at"] > shown["published_at"]
    assert broker.json("queue", "cancel-scheduled", queue, "1") == {"queue": queue, "cancelled": 1}
    assert broker.lines("queue", "scheduled", queue) == []


def test_a_time_is_given_in_iso_format(broker: Broker, queue: str) -> None:
    due_at = (datetime.now(UTC) + timedelta(days=2)).replace(microsecond=0)
    broker.lines("publish", queue, "a", "b", "--at", due_at.isoformat())
    shown = broker.lines("queue", "scheduled", queue, "--start", "2")
    assert [(one["id"], datetime.fromisoformat(one["due_at"])) for one in shown] == [(2, due_at)]
    assert len(broker.lines("queue", "scheduled", queue, "--count", "1")) == 1
    assert broker.count(queue, "upcoming") == 2


def test_each_line_of_a_file_is_scheduled(broker: Broker, queue: str) -> None:
    broker.lines("publish", queue, "--lines", "-", "--delay", "3600", stdin=b"one\ntwo\n")
    assert [one["body"] for one in broker.lines("queue", "scheduled", queue)] == ["one", "two"]


def test_a_purge_takes_what_is_scheduled_when_told_to(broker: Broker, queue: str) -> None:
    broker.lines("publish", queue, "later", "--delay", "3600")
    assert broker.json("queue", "purge", queue, "--yes")["purged"] == 0
    assert broker.json("queue", "purge", queue, "--yes", "--scheduled")["purged"] == 1


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (("--at", "noon"), ExitCode.USAGE, "'noon' is no time"),
        (("--at", "0001-01-01"), ExitCode.USAGE, "'0001-01-01' is no time"),
        (("--delay", "inf"), ExitCode.USAGE, "has no end"),
        (("--at", "2099-01-01", "--delay", "5"), ExitCode.USAGE, "exclude each other"),
        (("--delay", "1e9"), ExitCode.USAGE, "10 years"),
    ],
)
def test_a_wrong_time_is_refused_saying_why(
    broker: Broker, queue: str, arguments: tuple[str, ...], exit_code: ExitCode, said: str
) -> None:
    done = broker.run("publish", queue, "x", *arguments)
    assert done.exit_code == exit_code
    assert said in done.stderr


def test_cancelling_what_does_not_wait_says_so(broker: Broker, queue: str) -> None:
    done = broker.run("queue", "cancel-scheduled", queue, "9")
    assert done.exit_code == ExitCode.NO_INPUT
    assert "no scheduled message 9" in done.stderr
