"""`penstock queue` and `penstock status` against a real broker."""

import json

from tests.integration.commands import Broker

from penstock_client import sync


def test_declaring_twice_changes_nothing(broker: Broker) -> None:
    assert broker.json("queue", "declare", "twice", "--lease", "5")["created"] is True
    again = broker.json("queue", "declare", "twice", "--lease", "5")
    assert again["created"] is False
    assert again["name"] == "twice"


def test_declaring_with_other_settings_names_the_difference(broker: Broker) -> None:
    broker.declare("strict", "--max-failures", "3")
    done = broker.run("queue", "declare", "strict", "--max-failures", "4")
    assert done.exit_code == 78
    assert "max_failures" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == b""


def test_a_list_shows_queues_by_prefix_as_table_and_as_json(broker: Broker) -> None:
    broker.declare("list.a")
    broker.declare("list.b", "--no-durable")
    broker.run("publish", "list.a", "one", "two")
    listed = broker.lines("queue", "list", "--prefix", "list.", "--json")
    assert [(info["name"], info["ready"]) for info in listed] == [("list.a", 2), ("list.b", 0)]
    table = broker.run("queue", "list", "--prefix", "list.").stdout.decode().splitlines()
    assert table[0].split()[:2] == ["queue", "ready"]
    assert table[1].split()[:2] == ["list.a", "2"]


def test_altering_says_what_changed(broker: Broker, queue: str) -> None:
    altered = broker.run("queue", "alter", queue, "--lease", "7").stdout.decode()
    assert altered == "lease_ms: 30,000 is now 7,000\n"
    assert broker.run("queue", "alter", queue, "--lease", "7").stdout == b"nothing changed\n"
    assert broker.json("queue", "alter", queue, "--rate", "10/s")["changed"] == {"rate_per_s": [None, 10]}
    assert broker.json("queue", "alter", queue, "--rate", "0")["changed"] == {"rate_per_s": [10, None]}
    assert broker.json("queue", "alter", queue, "--max-failures", "9")["changed"] == {"max_failures": [5, 9]}
    window = broker.json("queue", "alter", queue, "--dedup-window", "0.0001")["changed"]
    assert window == {"dedup_window_ms": [0, 1]}, "what is not 0 stays so"
    assert broker.json("queue", "show", queue)["overflow_dead_letter"] is False
    bounds = broker.json("queue", "alter", queue, "--max-messages", "5", "--overflow", "drop-oldest")["changed"]
    assert bounds == {"max_messages": [0, 5], "overflow": ["backpressure", "drop_oldest"]}


def test_what_is_without_limit_is_shown_as_none(broker: Broker, queue: str) -> None:
    shown = dict(
        line.rstrip().rsplit("  ", 1) for line in broker.run("queue", "show", queue).stdout.decode().splitlines()
    )
    facts = {name.strip(): value.strip() for name, value in shown.items()}
    assert (facts["max messages"], facts["ttl"], facts["lease"]) == ("none", "none", "30 s")


def test_showing_an_unknown_queue_says_what_to_do(broker: Broker) -> None:
    done = broker.run("queue", "show", "nowhere")
    assert done.exit_code == 66
    assert done.stderr.startswith("penstock: ")
    assert "nowhere" in done.stderr
    assert "penstock queue declare" in done.stderr


def test_a_bad_name_is_a_usage_error(broker: Broker) -> None:
    done = broker.run("queue", "declare", "bell\x07")
    assert done.exit_code == 64
    assert "\x07" not in done.stderr


def test_peeking_takes_nothing(broker: Broker, queue: str) -> None:
    broker.run("publish", queue, "one", "two", "three", "--header", "kind=test")
    peeked = broker.lines("queue", "peek", queue, "--start", "1", "--count", "5")
    assert [message["body"] for message in peeked] == ["two", "three"]
    assert peeked[0]["headers"] == {"kind": "test"}
    assert broker.count(queue, "ready") == 3


def test_peeking_at_nothing_prints_nothing(broker: Broker, queue: str) -> None:
    assert broker.lines("queue", "peek", queue) == []


def test_purging_needs_a_yes(broker: Broker, queue: str) -> None:
    broker.run("publish", queue, "one", "two")
    refused = broker.run("queue", "purge", queue)
    assert refused.exit_code == 64
    assert "--yes" in refused.stderr
    assert broker.count(queue) == 2
    assert broker.json("queue", "purge", queue, "--yes") == {"queue": queue, "purged": 2}
    assert broker.count(queue) == 0


def test_deleting_can_be_made_conditional(broker: Broker, queue: str) -> None:
    broker.run("publish", queue, "one")
    refused = broker.run("queue", "delete", queue, "--if-empty", "--yes")
    assert refused.exit_code == 75
    assert broker.json("queue", "delete", queue, "--yes") == {"queue": queue, "deleted": 1}
    assert broker.run("queue", "show", queue).exit_code == 66


def test_redriving_nothing_redrives_nothing(broker: Broker, queue: str) -> None:
    assert broker.json("queue", "redrive", queue) == {"queue": queue, "redriven": 0}


def test_status_is_a_health_check(broker: Broker) -> None:
    status = broker.json("status")
    assert status["storage"] == "ok"
    assert status["data_dir"] == str(broker.data)
    table = broker.run("status").stdout.decode()
    assert "storage" in table
    assert json.dumps(status["version"]).strip('"') in table


def test_no_broker_is_one_line_that_says_what_to_do(broker: Broker) -> None:
    done = broker.run("status", "--url", "penstock://127.0.0.1:1")
    assert done.exit_code == 69
    assert done.stderr.startswith("penstock: no broker answers at penstock://127.0.0.1:1: ")
    assert "penstock serve" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_url_that_is_none_is_a_usage_error(broker: Broker) -> None:
    done = broker.run("status", "--url", "http://127.0.0.1")
    assert done.exit_code == 64
    assert done.stderr.count("\n") == 1


def test_a_failing_message_is_told_as_a_story(broker: Broker, queue: str) -> None:
    broker.run("publish", queue, "one")
    reason = "ValueError: no stock\n\nTraceback (most recent call last):\n  File x"
    with sync.connect(broker.url, name="worker@here") as client, client.queue(queue).consume() as messages:
        next(iter(messages)).nack(delay=600, reason=reason)
    told = broker.run("queue", "history", queue, "0").stdout.decode()
    lines = told.splitlines()
    assert lines[0].startswith(f"Message 0 of {queue}, published ")
    assert lines[2].startswith("Attempt 1, after ")
    assert "worker@here had it from " in lines[2]
    assert lines[4:8] == ["    ValueError: no stock", "", "    Traceback (most recent call last):", "      File x"]
    assert lines[9].startswith("Now it waits until ")
    assert lines[-1] == "Its body, 3 bytes: one"
    found = broker.json("queue", "history", queue, "0")
    assert (found["state"], found["attempts"], found["body"]) == ("scheduled", 1, "one")
    assert found["failures"][0]["consumer"] == "worker@here"


def test_a_message_that_is_not_there_has_no_history(broker: Broker, queue: str) -> None:
    done = broker.run("queue", "history", queue, "7")
    assert done.exit_code == 66
    assert f"penstock: queue '{queue}' has no message 7" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_rate_is_declared_and_shown(broker: Broker) -> None:
    assert broker.json("queue", "declare", "rated", "--rate", "30/min", "--rate-burst", "3")["rate"] == 0.5
    shown = broker.json("queue", "show", "rated")
    assert (shown["rate"], shown["rate_burst"]) == (0.5, 3)
    assert "0.5/s" in broker.run("queue", "show", "rated").stdout.decode()
    assert broker.json("group", "declare", "rated", "billing", "--rate", "10/s")["rate"] == 10
    done = broker.run("queue", "declare", "rated", "--rate", "fast")
    assert (done.exit_code, done.stderr.count("\n")) == (64, 1)
    assert "'fast' is no rate" in done.stderr


def test_a_queue_with_a_bound_shows_how_full_it_is(broker: Broker) -> None:
    bounds = ("--max-messages", "2", "--max-bytes", "1000000")
    broker.declare("small", *bounds, "--overflow", "drop-newest", "--overflow-dead-letter")
    confirms = broker.lines("publish", "small", "one", "two", "three")
    assert [confirm["dropped"] for confirm in confirms] == [False, False, True]
    shown = broker.json("queue", "show", "small")
    assert (shown["max_messages"], shown["max_bytes"], shown["overflow"]) == (2, 1_000_000, "drop_newest")
    assert (shown["messages"], shown["dropped_newest"], shown["dead"]) == (2, 1, 1)


def test_a_queue_that_rejects_ends_a_publish_with_a_code_to_try_again(broker: Broker) -> None:
    broker.declare("rejecting", "--max-messages", "1", "--overflow", "reject")
    done = broker.run("publish", "rejecting", "one", "two")
    assert done.exit_code == 75
    assert "at its bound" in done.stderr


def test_a_queue_that_drops_the_oldest_is_declared_and_shown(broker: Broker) -> None:
    broker.declare("latest", "--max-messages", "1", "--max-age", "60", "--overflow", "drop-oldest")
    broker.lines("publish", "latest", "one", "two")
    shown = broker.json("queue", "show", "latest")
    assert (shown["messages"], shown["dropped"], shown["max_age"], shown["overflow"]) == (1, 1, 60, "drop_oldest")


def test_the_age_of_the_oldest_message_is_shown(broker: Broker) -> None:
    broker.declare("aging")
    broker.run("group", "declare", "aging", "billing")
    assert (
        broker.json("queue", "show", "aging")["oldest_age_ms"],
        broker.json("group", "show", "aging", "billing")["oldest_age_ms"],
    ) == (None, None)
    broker.lines("publish", "aging", "one")
    [listed] = broker.lines("queue", "list", "--prefix", "aging", "--json")
    assert 0 <= listed["oldest_age_ms"] < 60_000
    table = broker.run("queue", "list", "--prefix", "aging").stdout.decode().splitlines()
    assert table[0].split()[-2:] == ["oldest", "state"]
    assert table[1].split()[-2] in ("s", "ms")
    assert "oldest age" in broker.run("group", "show", "aging", "billing").stdout.decode()


def test_alarms_are_set_and_shown(broker: Broker) -> None:
    broker.declare("watched", "--alarm-messages", "2", "--alarm-age", "3600")
    broker.lines("publish", "watched", "one", "two")
    assert next(one for one in broker.json("status")["alarms"] if one["queue"] == "watched")["value"] == 2
    shown = broker.json("queue", "show", "watched")
    assert (shown["alarm_messages"], shown["alarm_age"]) == (2, 3600)
    assert shown["alarms"][0]["what"] == "messages"
    assert "2 messages, alarm at 2, since" in broker.run("queue", "show", "watched").stdout.decode()
    assert "watched: 2 messages, alarm at 2, since" in broker.run("status").stdout.decode()
    broker.run("queue", "alter", "watched", "--alarm-messages", "0")
    assert "watched" not in broker.run("status").stdout.decode()
