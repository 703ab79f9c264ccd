from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.engine.harness import Bench, Peer

from penstock.core.log import BlockRef
from penstock.core.values import ACK, NACK, REJECT
from penstock.engine import finding
from penstock.engine.interface import StoredBlock
from penstock.selectors import parse_selector
from penstock_client.wire import blocks


def find(bench: Bench, queue: str = "jobs", where: str = "", **arguments: Any) -> dict[str, Any]:
    """One request."""
    if where:
        arguments["where"] = parse_selector(where)
    return bench.peer().call("find", queue=queue, **arguments)


def offsets(bench: Bench, queue: str = "jobs", **arguments: Any) -> list[int]:
    """All that is found, over as many requests as it takes."""
    found: list[int] = []
    offset: int | None = 0
    while offset is not None:
        reply = find(bench, queue, offset=offset, **arguments)
        found += [entry["offset"] for entry in reply["found"]]
        offset = reply["next_offset"]
    return found


def publish(peer: Peer, first: int, *messages: dict[str, Any]) -> None:
    """Publish one block of messages with headers, key or properties."""
    block = blocks.encode_block(
        [message.get("body", b"%d" % (first + index - 1)) for index, message in enumerate(messages)],
        [message.get("key") for message in messages],
        [message.get("headers") for message in messages],
        [message.get("properties") for message in messages],
    )
    peer.bench.engine.publish(peer.session, [(1, 0, first, len(messages), block)])


def filled(bench: Bench) -> Peer:
    """Offsets 0 to 9: kind a and b in turns, amount the offset, key k0 to k2."""
    bench.declare()
    peer = bench.peer().open("jobs")
    for first in range(1, 11, 2):
        publish(
            peer,
            first,
            *(
                {"headers": {"kind": "ab"[number % 2], "amount": number}, "key": f"k{number % 3}"}
                for number in (first - 1, first)
            ),
        )
    bench.work()
    return peer


def test_a_selector_finds_what_it_selects(bench: Bench) -> None:
    filled(bench)

    assert offsets(bench, where="kind = 'a' AND amount > 2") == [4, 6, 8]
    assert offsets(bench, where="JMSXGroupID = 'k1' OR amount = 0") == [0, 1, 4, 7]
    assert offsets(bench, where="nothing = 1") == []


def test_key_and_text_and_time_narrow_it_down(bench: Bench) -> None:
    peer = filled(bench)
    bench.pass_time(1000)
    publish(peer, 11, {"body": "ein größerer Fehler".encode(), "key": "k1"})
    bench.work()

    assert offsets(bench, key="k1") == [1, 4, 7, 10]
    assert offsets(bench, text="größer") == [10]
    assert offsets(bench, text=b"\xc3\xb6") == [10]
    assert offsets(bench, key="k1", since_ms=bench.now_ms) == [10]
    assert offsets(bench, key="k1", until_ms=bench.now_ms) == [1, 4, 7]
    assert offsets(bench, text="größer", key="k2") == []


def test_states_are_found_with_what_is_known_of_them(bench: Bench) -> None:
    filled(bench)
    worker = bench.peer("worker-7").consume("jobs", prefetch=6)
    bench.work()
    worker.settle(ACK, (1, 1))
    worker.settle(NACK, (3, 3), duration_ms=5000, reason="TimeoutError: slow")
    worker.ask("flow", consumer=1, prefetch_messages=0)
    bench.work()

    assert offsets(bench, state="leased") == [1, 3, 4, 5]
    assert offsets(bench, state="scheduled") == [2]
    assert offsets(bench, state="ready") == [6, 7, 8, 9]
    assert offsets(bench) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    [leased] = find(bench, state="leased", count=1)["found"]
    assert (leased["consumer"], leased["attempts"], leased["failures"]) == ("worker-7", 1, 0)
    assert 0 < leased["until_ms"] - bench.now_ms <= 30_000
    [scheduled] = find(bench, state="scheduled")["found"]
    assert (scheduled["reason"], scheduled["failures"]) == ("TimeoutError: slow", 1)
    assert scheduled["until_ms"] == bench.now_ms + 5000


def test_dead_letters_are_found_by_the_queue_they_came_from(bench: Bench) -> None:
    filled(bench)
    bench.declare("other", dead_letter="jobs.dead")
    for queue, count in (("other", 2), ("jobs", 1)):
        if queue == "other":
            publish(bench.peer().open("other"), 1, {"body": b"x"}, {"body": b"y"})
            bench.work()
        worker = bench.peer().consume(queue, prefetch=count)
        bench.work()
        worker.settle(REJECT, (1, count), reason=f"no {queue}")
        worker.ask("cancel", consumer=1)
        bench.work()

    reply = find(bench, state="dead")
    [entry] = reply["found"]
    assert (reply["queue"], entry["state"]) == ("jobs.dead", "dead")
    [properties] = blocks.decode_properties(entry["block"]) or [None]
    assert properties is not None
    assert (properties["dead"]["queue"], properties["dead"]["reason"]) == ("jobs", "no jobs")
    assert len(find(bench, "other", state="dead")["found"]) == 2
    assert len(find(bench, "jobs.dead", state="dead")["found"]) == 3, "of the dead-letter queue itself: all of them"
    assert find(bench, "other", state="dead", text="x")["found"][0]["published_at_ms"] > 0


def test_dead_letters_are_found_by_what_they_died_of(bench: Bench) -> None:
    bench.declare(ttl_ms=200, on_expired="dead-letter")
    publish(bench.peer().open("jobs"), 1, {"body": b"x"}, {"body": b"y"})
    bench.work()
    worker = bench.peer().consume("jobs", prefetch=1)
    bench.work()
    worker.ask("flow", consumer=1, prefetch_messages=0)
    worker.settle(REJECT, (1, 1), reason="no")
    bench.pass_time(200)
    bench.work()

    assert len(find(bench, state="dead")["found"]) == 2
    [expired] = find(bench, state="dead", reason="expired")["found"]
    [rejected] = find(bench, state="dead", reason="no")["found"]
    assert [blocks.decode_block(one["block"]).bodies for one in (expired, rejected)] == [[b"y"], [b"x"]]
    assert find(bench, state="dead", reason="of age")["found"] == []


def test_a_queue_without_dead_letters_has_none(bench: Bench) -> None:
    bench.declare()

    assert find(bench, state="dead") == {"queue": "jobs.dead", "found": [], "next_offset": None, "end_offset": 0}


def test_finding_changes_nothing(bench: Bench) -> None:
    filled(bench)
    before = bench.peer().call("queue_describe", queue="jobs")
    staged = bench.journal.staged_bytes

    offsets(bench, where="amount >= 0", text=b"")

    assert bench.peer().call("queue_describe", queue="jobs") == before
    assert bench.journal.staged_bytes == staged


def test_a_reply_is_bounded_in_messages_and_bytes_and_says_where_to_go_on(bench: Bench) -> None:
    """I13."""
    filled(bench)

    first = find(bench, where="kind = 'a'", count=2)
    assert [entry["offset"] for entry in first["found"]] == [0, 2]
    assert first["next_offset"] == 3
    small = find(bench, bytes_max=1)
    assert [entry["offset"] for entry in small["found"]] == [0], "one message always fits"
    assert small["next_offset"] == 1
    assert offsets(bench, bytes_max=1) == list(range(10))


def test_what_comes_during_a_search_is_no_part_of_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """I20: it would never end where as much is published as it looks at, or what it finds is put back."""
    monkeypatch.setattr(finding, "SCAN_BYTES_MAX", 1)
    monkeypatch.setattr(finding, "SLICE_BYTES", 1)
    peer = filled(bench)
    found: list[int] = []
    offset, end = 0, None
    for sequence in range(11, 111):
        reply = find(bench, offset=offset, **({} if end is None else {"end": end}))
        found += [entry["offset"] for entry in reply["found"]]
        offset, end = reply["next_offset"], reply["end_offset"]
        if offset is None:
            break
        publish(peer, sequence, {"body": b"more"})
    assert found == list(range(10))
    assert end == 10


@pytest.mark.parametrize(("end", "expected"), [(0, []), (1, [0]), (5, [0, 1, 2, 3, 4]), (99, list(range(10)))])
def test_a_search_ends_where_it_is_told_to(bench: Bench, end: int, expected: list[int]) -> None:
    filled(bench)
    reply = find(bench, end=end)
    assert [entry["offset"] for entry in reply["found"]] == expected
    assert (reply["next_offset"], reply["end_offset"]) == (None, min(end, 10))


def test_a_request_looks_at_a_bounded_part_of_the_backlog(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """I13."""
    monkeypatch.setattr(finding, "SCAN_BYTES_MAX", 1)
    monkeypatch.setattr(finding, "SLICE_BYTES", 1)
    filled(bench)

    reply = find(bench, where="amount = 9")
    assert (reply["found"], reply["next_offset"]) == ([], 2)
    assert offsets(bench, where="amount = 9") == [9]


def test_each_turn_looks_at_one_slice_of_one_search(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "SLICE_BYTES", 1)
    filled(bench)
    peer = bench.peer()
    first, second = peer.ask("find", queue="jobs"), peer.ask("find", queue="jobs")

    for _ in range(9):
        bench.engine.turn()
    assert peer.replies == {}
    bench.work()
    assert len(peer.replies[first]["found"]) == len(peer.replies[second]["found"]) == 10


def test_a_state_that_few_messages_are_in_is_found_without_reading_the_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(bench)
    worker = bench.peer().consume("jobs", prefetch=1)
    bench.work()
    bench.empty_cache()
    read: list[int] = []
    load = bench.engine.load

    def noted(wanted: list[BlockRef], done: Callable[[dict[int, StoredBlock]], None]) -> None:
        read.extend(block.first for block in wanted)
        load(wanted, done)

    monkeypatch.setattr(bench.engine, "load", noted)

    assert offsets(bench, state="leased") == [0]
    assert read == [0]
    assert worker.deliveries


def test_a_backlog_is_read_from_the_journal(bench: Bench) -> None:
    filled(bench)
    bench.start()

    assert offsets(bench, where="kind = 'b'") == [1, 3, 5, 7, 9]


def test_a_search_of_someone_who_left_ends(bench: Bench) -> None:
    filled(bench)
    bench.start()
    peer = bench.peer()
    peer.ask("find", queue="jobs")
    bench.engine.close_session(peer.session)
    bench.work()
    assert peer.replies == {}
    assert not bench.engine.jobs
    peer = bench.peer()
    peer.ask("find", queue="jobs")
    bench.engine.turn()
    bench.engine.close_session(peer.session)
    bench.work()
    assert peer.replies == {}


def test_a_queue_that_is_deleted_meanwhile_ends_the_search(bench: Bench) -> None:
    filled(bench)
    peer = bench.peer()
    request = peer.ask("find", queue="jobs")
    peer.ask("queue_delete", queue="jobs")
    bench.work()

    assert peer.refusals[request].code == "queue-deleted"


def test_a_memory_queue_is_searched_too(bench: Bench) -> None:
    bench.declare(durable=False)
    publish(bench.peer().open("jobs"), 1, {"headers": {"a": 1}}, {"headers": {"a": 2}})
    bench.work()

    assert len(offsets(bench, where="a = 2 AND JMSDeliveryMode = 'NON_PERSISTENT'")) == 1


def test_a_column_that_cannot_be_decoded_is_as_if_it_were_absent(bench: Bench) -> None:
    bench.declare()
    peer = bench.peer().open("jobs")
    block = blocks.encode_block([b"a", b"b"], headers=[5, {"a": 1}])  # type: ignore[list-item]
    bench.engine.publish(peer.session, [(1, 0, 1, 2, block)])
    bench.work()

    assert offsets(bench, where="a = 1") == []
    assert offsets(bench, where="a IS NULL") == [0, 1]
    assert offsets(bench, text="b") == [1]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"state": "lost"}, "bad-setting"),
        ({"state": 3}, "bad-setting"),
        ({"where": "a = 1"}, "bad-setting"),
        ({"text": 3}, "bad-setting"),
        ({"key": b"k"}, "bad-setting"),
        ({"since_ms": -1}, "bad-setting"),
        ({"until_ms": "now"}, "bad-setting"),
        ({"count": 0}, "bad-setting"),
        ({"count": 1001}, "bad-setting"),
        ({"bytes_max": 0}, "bad-setting"),
        ({"offset": -1}, "bad-setting"),
        ({"reason": "expired"}, "bad-setting"),
        ({"reason": "expired", "state": "expired"}, "bad-setting"),
        ({"reason": 7, "state": "dead"}, "bad-setting"),
        ({"colour": "red"}, "bad-setting"),
        ({"queue": "nowhere"}, "unknown-queue"),
    ],
)
def test_wrong_arguments_are_refused(bench: Bench, arguments: dict[str, Any], code: str) -> None:
    bench.declare()

    assert bench.peer().refusal("find", **({"queue": "jobs"} | arguments)).code == code
