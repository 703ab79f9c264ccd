"""Times to live and priorities on the command line, against a real broker."""

from tests.integration.commands import Broker

from penstock.cli.exits import ExitCode


def test_messages_are_published_with_a_priority_and_a_time_to_live(broker: Broker, queue: str) -> None:
    broker.lines("publish", queue, "plain")
    broker.lines("publish", queue, "urgent", "--priority", "9", "--ttl", "3600")
    broker.lines("publish", queue, "idle", "--priority", "0")
    shown = broker.lines("consume", queue, "--count", "3")
    assert [(one["body"], one.get("priority"), one.get("ttl")) for one in shown] == [
        ("urgent", 9, 3600.0),
        ("plain", None, None),
        ("idle", 0, None),
    ]


def test_a_queue_is_declared_with_a_time_to_live(broker: Broker) -> None:
    created = broker.json(
        "queue", "declare", "timed", "--ttl", "60", "--on-expired", "dead-letter", "--priority-max", "255"
    )
    assert (created["ttl"], created["on_expired"], created["priority_max"]) == (60.0, "dead-letter", 255)


def test_what_expired_is_found_by_its_state_and_by_its_reason(broker: Broker) -> None:
    broker.run("queue", "declare", "short", "--on-expired", "dead-letter")
    altered = broker.json("queue", "alter", "short", "--ttl", "0.001", "--priority-max", "20")
    assert altered["changed"] == {"ttl_ms": [0, 1], "priority_max": [9, 20]}
    broker.lines("publish", "short", "late")
    while not (found := broker.lines("queue", "find", "short", "--state", "dead", "--json")):
        pass  # every look is a command, and takes a while
    assert broker.lines("queue", "find", "short", "--state", "expired", "--json") == found
    assert broker.lines("queue", "find", "short", "--reason", "expired", "--json") == found
    assert (found[0]["body"], found[0]["state"], found[0]["reason"]) == ("late", "dead", "expired")
    assert broker.lines("queue", "find", "short", "--reason", "no use", "--json") == []


def test_what_makes_no_sense_is_a_usage_error(broker: Broker, queue: str) -> None:
    for wrong in (["--ttl", "0"], ["--priority", "256"], ["--priority", "high"]):
        assert broker.run("publish", queue, "x", *wrong).exit_code == ExitCode.USAGE
