"""`penstock group` against a real broker."""

from tests.integration.commands import Broker

from penstock_client import sync


def test_a_group_from_declare_to_delete(broker: Broker, queue: str) -> None:
    assert broker.json("group", "declare", queue, "billing", "--mode", "single")["created"] is True
    broker.run("publish", queue, "one", "two")
    consumed = broker.lines("consume", queue, "--group", "billing", "--count", "1", "--json")
    assert [message["body"] for message in consumed] == ["one"]
    shown = broker.json("group", "show", queue, "billing")
    assert (shown["mode"], shown["acked"], shown["ready"]) == ("single", 1, 1)
    [listed] = broker.lines("group", "list", queue, "--json")
    assert listed["name"] == "billing"
    table = broker.run("group", "list", queue).stdout.decode().splitlines()
    assert table[0].split()[:2] == ["group", "mode"]
    assert broker.run("group", "pause", queue, "billing").stdout == b"group billing paused\n"
    assert broker.json("group", "show", queue, "billing")["paused"] is True
    broker.run("group", "resume", queue, "billing")
    assert broker.json("group", "redrive", queue, "billing") == {"queue": queue, "group": "billing", "redriven": 0}
    assert broker.json("group", "purge", queue, "billing", "--yes")["purged"] == 1
    assert broker.run("group", "delete", queue, "billing", "--yes").stdout == b"0 messages deleted\n"
    assert broker.lines("group", "list", queue, "--json") == []


def test_the_state_of_a_group_is_shown(broker: Broker, queue: str) -> None:
    with sync.connect(broker.url) as client:
        group = client.queue(queue).group("billing")
        group.declare()
        with client.transaction(group=group) as tx:
            tx.state["seen"] = 7
            tx.state["cursor"] = b"\x00\xff"
            tx.state["names"] = ["a", {"b": None}]
    shown = broker.json("group", "state", queue, "billing")
    assert shown == {"cursor": "AP8=", "names": ["a", {"b": None}], "seen": 7}
    assert broker.run("group", "state", queue, "billing").stdout.decode().splitlines()[0].split() == ["cursor", "AP8="]
    assert broker.run("group", "state", queue, "nobody").exit_code == 66


def test_a_group_begins_where_it_is_told(broker: Broker, queue: str) -> None:
    broker.run("group", "declare", queue, "all")
    broker.run("publish", queue, "one", "two")
    done = broker.run("group", "declare", queue, "late", "--start", "latest")
    assert done.stdout == b"group late created, begins at offset 2\n"
    assert broker.json("group", "declare", queue, "second", "--start", "1")["next_offset"] == 1
    past = broker.json("group", "declare", queue, "past", "--start", "2020-01-01T00:00:00+00:00")
    assert past["next_offset"] == 0
    again = broker.run("group", "declare", queue, "late")
    assert again.stdout == b"group late exists with these settings\n"


def test_a_start_that_is_none_is_a_usage_error(broker: Broker, queue: str) -> None:
    done = broker.run("group", "declare", queue, "odd", "--start", "yesterday")
    assert done.exit_code == 64
    assert "2026-11-01" in done.stderr


def test_an_unknown_group_says_what_to_do(broker: Broker, queue: str) -> None:
    done = broker.run("group", "show", queue, "nobody")
    assert done.exit_code == 66
    assert "penstock group declare" in done.stderr


def test_a_queue_is_paused_and_resumed(broker: Broker, queue: str) -> None:
    broker.run("publish", queue, "one")
    assert broker.run("queue", "pause", queue).exit_code == 0
    assert broker.json("queue", "show", queue)["paused"] is True
    broker.run("queue", "resume", queue)
    assert [m["body"] for m in broker.lines("consume", queue, "--no-follow", "--json")] == ["one"]


def test_the_bare_command_shows_its_help(broker: Broker) -> None:
    assert b"penstock group declare" in broker.run("group").stdout


def test_a_group_is_given_another_selector(broker: Broker, queue: str) -> None:
    broker.run("group", "declare", queue, "eu", "--where", "n = 1")
    said = broker.run("group", "alter", queue, "eu", "--where", "n = 2").stdout.decode()
    assert said == "where: n = 1 is now n = 2\n"
    changed = broker.json("group", "alter", queue, "eu", "--where", "", "--rate", "5/s", "--json")["changed"]
    assert changed == {"where": ["n = 2", ""], "rate_per_s": [None, 5]}
    assert broker.run("group", "alter", queue, "eu", "--where", "").stdout == b"nothing changed\n"
    wrong = broker.run("group", "alter", queue, "eu", "--where", "n = = 2")
    assert (wrong.exit_code, "column 5" in wrong.stderr) == (64, True)


def test_a_breaker_is_declared_altered_shown_and_closed(broker: Broker) -> None:
    broker.declare("brittle", "--breaker-failures", "1", "--breaker-wait", "30")
    declared = broker.json("group", "declare", "brittle", "billing", "--breaker-failures", "9")
    assert (declared["breaker_failures"], declared["breaker_wait"], declared["breaker"]["state"]) == (9, 1, "closed")
    broker.lines("publish", "brittle", "one", "two")
    with sync.connect(broker.url) as client, client.queue("brittle").consume() as messages:
        next(iter(messages)).nack(reason="gone", delay=0)
        while not client.queue("brittle").info().breakers:
            pass
    shown = broker.json("queue", "show", "brittle")
    assert [(one["group"], one["state"]) for one in shown["breakers"]] == [("", "open")]
    assert "breaker open until" in broker.run("queue", "list", "--prefix", "brittle").stdout.decode()
    assert "breaker open until" in broker.run("group", "list", "brittle").stdout.decode()
    assert "(default) breaker open until" in broker.run("queue", "show", "brittle").stdout.decode()
    assert "brittle: breaker of group (default) open, 1 attempts failed" in broker.run("status").stdout.decode()
    assert broker.run("group", "resume", "brittle", "").exit_code == 0
    assert broker.json("queue", "show", "brittle")["breakers"] == []
    altered = broker.json("group", "alter", "brittle", "billing", "--breaker-failures", "5", "--rate", "3/s")
    assert altered["changed"] == {"rate_per_s": [None, 3], "breaker_failures": [9, 5]}
    assert "nothing changed" in broker.run("group", "alter", "brittle", "billing", "--rate", "3/s").stdout.decode()
    assert "closed" in broker.run("group", "show", "brittle", "billing").stdout.decode()
