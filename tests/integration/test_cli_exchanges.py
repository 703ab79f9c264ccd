"""`penstock exchange`, and publishing through one, against a real broker."""

from pathlib import Path

from tests.integration.commands import Broker


def test_an_exchange_from_declaring_to_deleting(broker: Broker) -> None:
    broker.declare("ex.a")
    broker.declare("ex.b")
    made = broker.json("exchange", "declare", "ex", "--type", "topic")
    assert (made["created"], made["name"], made["type"]) == (True, "ex", "topic")
    assert broker.json("exchange", "bind", "ex", "ex.a", "-k", "orders.*.new")["bound"] is True
    assert broker.json("exchange", "bind", "ex", "ex.a", "-k", "orders.*.new")["bound"] is False
    broker.json("exchange", "bind", "ex", "ex.b", "--routing-key", "#")
    sent = broker.json("publish", "--exchange", "ex", "--routing-key", "orders.eu.new", "hello")
    assert (sent["offset"], sent["level"]) == (None, "synced")
    assert broker.count("ex.a", "ready") == broker.count("ex.b", "ready") == 1
    shown = broker.json("exchange", "show", "ex")
    assert [one["destination"] for one in shown["bindings"]] == ["ex.a", "ex.b"]
    assert broker.json("exchange", "unbind", "ex", "ex.b", "-k", "#")["unbound"] is True
    listed = broker.lines("exchange", "list", "--prefix", "ex", "--json")
    assert [(one["name"], one["bindings"], one["published"]) for one in listed] == [("ex", 1, 1)]
    assert broker.json("exchange", "delete", "ex", "--yes") == {"exchange": "ex", "deleted_bindings": 1}


def test_people_get_tables_and_sentences(broker: Broker) -> None:
    broker.declare("people.q")
    text = broker.run("exchange", "declare", "people", "--type", "headers").stdout.decode()
    assert text == "exchange people created\n"
    bound = broker.run(
        "exchange", "bind", "people", "people.q", "--header", "kind=new", "--header", "size", "--match", "any"
    )
    assert bound.stdout.decode() == "exchange people: people.q bound\n"
    shown = broker.run("exchange", "show", "people").stdout.decode()
    assert "any: kind=new, size" in shown
    table = broker.run("exchange", "list", "--prefix", "people").stdout.decode().splitlines()
    assert table[0].split()[:2] == ["exchange", "type"]
    broker.run("exchange", "declare", "people.out", "--type", "fanout")
    assert broker.run("exchange", "bind", "people", "--to-exchange", "people.out", "--header", "x").exit_code == 0
    gone = broker.run("exchange", "delete", "people", "--yes").stdout.decode()
    assert gone == "deleted, with 2 bindings\n"


def test_a_message_that_no_queue_takes_fails_unless_asked_not_to(broker: Broker) -> None:
    broker.json("exchange", "declare", "stray")
    failed = broker.run("publish", "--exchange", "stray", "-k", "x", "hello")
    assert failed.exit_code == 66
    assert "no queue takes" in failed.stderr
    assert broker.run("publish", "--exchange", "stray", "-k", "x", "--no-mandatory", "hello").exit_code == 0
    assert broker.json("exchange", "show", "stray")["unrouted"] == 1


def test_lines_are_published_through_an_exchange(broker: Broker, tmp_path: Path) -> None:
    broker.declare("lines.q")
    broker.json("exchange", "declare", "lines", "--type", "fanout")
    broker.json("exchange", "bind", "lines", "lines.q")
    path = tmp_path / "lines"
    path.write_text("one\ntwo\n", encoding="utf-8")
    done = broker.json("publish", "--exchange", "lines", "--lines", str(path))
    assert (done["exchange"], done["confirmed"]) == ("lines", 2)
    assert broker.count("lines.q", "ready") == 2


def test_wrong_input_is_a_usage_error_that_says_where(broker: Broker) -> None:
    broker.declare("wrong.q")
    broker.json("exchange", "declare", "wrong", "--type", "topic")
    for arguments, reason in (
        (("exchange", "bind", "wrong", "wrong.q", "-k", "a.b#"), "word 2"),
        (("exchange", "bind", "wrong"), "either a QUEUE or --to-exchange"),
        (("exchange", "bind", "wrong", "wrong.q", "--header", "=x"), "--header"),
        (("publish", "--no-mandatory", "wrong.q", "x"), "--exchange"),
        (("publish",), "QUEUE"),
    ):
        done = broker.run(*arguments)
        assert (done.exit_code, reason in done.stderr) == (64, True), (arguments, done.stderr)
    assert broker.run("exchange", "show", "no.such").exit_code == 66
