from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.engine.harness import Bench

from penstock.core.log import BlockRef
from penstock.core.values import ACK, HOLD_MS_MAX
from penstock.engine.interface import StoredBlock
from penstock_client.wire import blocks

U32 = 1 << 32
U64 = 1 << 64


@pytest.mark.parametrize(
    ("command", "arguments", "code", "named"),
    [
        ("fly", {}, "unsupported", "fly"),
        ("queue_declare", {}, "bad-setting", "queue"),
        ("queue_declare", {"queue": 7}, "bad-setting", "queue"),
        ("queue_declare", {"queue": ""}, "bad-name", "name"),
        ("queue_declare", {"queue": "q", "passive": 1}, "bad-setting", "passive"),
        ("queue_declare", {"queue": "q", "passive": True}, "unknown-queue", "'q'"),
        ("queue_declare", {"queue": "q", "colour": "red"}, "bad-setting", "colour"),
        ("queue_describe", {"queue": "q"}, "unknown-queue", "'q'"),
        ("queue_describe", {"queue": "jobs", "deep": True}, "bad-setting", "'deep'"),
        ("queue_list", {"limit": 0}, "bad-setting", "limit"),
        ("queue_list", {"limit": 1001}, "bad-setting", "limit"),
        ("queue_list", {"prefix": None}, "bad-setting", "prefix"),
        ("queue_list", {"sort": "name"}, "bad-setting", "'sort'"),
        ("queue_purge", {"queue": "q"}, "unknown-queue", "'q'"),
        ("queue_delete", {"queue": "jobs", "if_empty": "yes"}, "bad-setting", "if_empty"),
        ("queue_delete", {"queue": "jobs", "if_unused": 0}, "bad-setting", "if_unused"),
        ("queue_redrive", {"queue": "jobs", "limit": -1}, "bad-setting", "limit"),
        ("producer_open", {"producer": "one"}, "bad-setting", "producer"),
        ("producer_open", {"producer": True}, "bad-setting", "producer"),
        ("producer_open", {"producer": 99}, "producer-expired", "99"),
        ("producer_open", {"id": 1}, "bad-setting", "'id'"),
        ("route_open", {"routing_key": "jobs"}, "bad-setting", "route"),
        ("route_open", {"route": U32, "routing_key": "jobs"}, "bad-setting", "route"),
        ("route_open", {"route": 1, "routing_key": "jobs"}, "no-producer", "producer"),
        ("route_close", {"route": 1}, "unknown-route", "1"),
        ("route_close", {"route": 1, "force": True}, "bad-setting", "'force'"),
        ("consume", {"queue": "jobs"}, "bad-setting", "consumer"),
        ("consume", {"queue": "jobs", "consumer": -1}, "bad-setting", "consumer"),
        ("consume", {"queue": "jobs", "consumer": 1, "prefetch_messages": 0}, "bad-setting", "prefetch_messages"),
        ("consume", {"queue": "jobs", "consumer": 1, "prefetch_bytes": U64}, "bad-setting", "prefetch_bytes"),
        ("consume", {"queue": "jobs", "consumer": 1, "group": "g"}, "unknown-group", "'g'"),
        ("consume", {"queue": "q", "consumer": 1}, "unknown-queue", "'q'"),
        ("flow", {"consumer": 1}, "unknown-consumer", "1"),
        ("flow", {"consumer": 1, "pause": True}, "bad-setting", "'pause'"),
        ("cancel", {"consumer": 1}, "unknown-consumer", "1"),
        ("cancel", {"consumer": 1, "release": 2}, "bad-setting", "release"),
        ("peek", {"queue": "jobs", "partition": 1}, "bad-setting", "partition"),
        ("peek", {"queue": "jobs", "count": 0}, "bad-setting", "count"),
        ("peek", {"queue": "jobs", "offset": 1.5}, "bad-setting", "offset"),
        ("status", {"verbose": True}, "bad-setting", "'verbose'"),
    ],
)
def test_a_bad_request_is_refused_by_name_and_changes_nothing(
    bench: Bench, command: str, arguments: dict[str, Any], code: str, named: str
) -> None:
    bench.declare()
    bench.work()
    recorded = bench.engine.recorded_bytes
    refusal = bench.peer().refusal(command, **arguments)
    assert refusal.code == code
    assert named in refusal.message
    assert bench.engine.recorded_bytes == recorded


def test_declaring_says_whether_it_created(bench: Bench) -> None:
    peer = bench.peer()
    first = peer.call("queue_declare", queue="jobs")
    assert first["created"] is True
    assert peer.call("queue_declare", queue="jobs") == {**first, "created": False}
    assert peer.call("queue_declare", queue="jobs", passive=True, lease_ms=7) == {**first, "created": False}
    assert peer.refusal("queue_declare", queue="jobs", lease_ms=700).code == "settings-differ"


def test_naming_the_default_dead_letter_queue_is_not_naming_one(bench: Bench) -> None:
    peer = bench.peer()
    peer.call("queue_declare", queue="jobs", dead_letter="jobs.dead")
    assert peer.call("queue_declare", queue="jobs")["created"] is False


def test_queues_are_listed_in_pages(bench: Bench) -> None:
    peer = bench.peer()
    for name in ("b", "a", "c"):
        peer.call("queue_declare", queue=name)
    page = peer.call("queue_list", limit=2)
    assert ([info["queue"] for info in page["queues"]], page["more"]) == (["a", "b"], True)
    page = peer.call("queue_list", after="b")
    assert ([info["queue"] for info in page["queues"]], page["more"]) == (["c"], False)


def test_purge_and_delete_say_how_many_messages_went(bench: Bench) -> None:
    bench.declare()
    peer = bench.peer().open("jobs")
    peer.publish(1, b"a", b"b", b"c")
    bench.work()
    assert peer.call("queue_purge", queue="jobs") == {"purged": 3, "cancelled": 0}
    peer.publish(4, b"d")
    bench.work()
    assert peer.refusal("queue_delete", queue="jobs", if_empty=True).code == "queue-not-empty"
    assert peer.call("queue_delete", queue="jobs") == {"deleted": 1}


def test_routes_open_and_close(bench: Bench) -> None:
    bench.declare()
    peer = bench.peer().open()
    opened = peer.call("route_open", route=5, routing_key="jobs")
    assert opened["durable"] is True
    assert peer.call("route_close", route=5) == {}
    assert peer.refusal("route_open", route=5, exchange="x", routing_key="jobs").code == "unknown-exchange"


def test_a_consumer_is_told_its_lease(bench: Bench) -> None:
    bench.declare(lease_ms=1234)
    assert bench.peer().call("consume", consumer=1, queue="jobs")["lease_ms"] == 1234


def test_prefetch_is_cut_to_the_broker_s_maximum(bench: Bench) -> None:
    """I13."""
    bench = Bench(prefetch_messages_max=3, prefetch_bytes_max=1000)
    bench.declare()
    peer = bench.peer()
    peer.call("consume", consumer=1, queue="jobs", prefetch_messages=U32 - 1, prefetch_bytes=U64 - 1)
    consumer = bench.engine.broker.sessions[peer.session].consumers[1]
    assert (consumer.prefetch_messages, consumer.prefetch_bytes) == (3, 1000)
    peer.call("flow", consumer=1, prefetch_messages=0, prefetch_bytes=0)
    assert consumer.prefetch_messages == 0


def test_a_cancel_may_hand_back_what_was_not_begun(bench: Bench) -> None:
    bench.declare()
    peer = bench.peer().open("jobs").consume("jobs")
    peer.publish(1, b"a", b"b")
    bench.work()
    peer.call("cancel", consumer=1)
    assert peer.call("queue_describe", queue="jobs")["leased"] == 2
    peer.consume("jobs", number=1)
    peer.call("cancel", consumer=1, release=True)
    assert peer.call("queue_describe", queue="jobs")["ready"] == 2


# -- peek --------------------------------------------------------------------------------------------------------------


def peek(bench: Bench, **arguments: Any) -> list[tuple[int, bytes]]:
    """(offset, body) of every message a peek shows."""
    peer = bench.peer()
    request = peer.ask("peek", queue="jobs", **arguments)
    bench.work()
    return [
        (entry.offset + index, body)
        for entry in peer.peeks[request]
        for index, body in enumerate(blocks.decode_bodies(entry.block))
    ]


def filled(bench: Bench) -> None:
    bench.declare()
    peer = bench.peer().open("jobs").consume("jobs", prefetch=4)
    for sequence in range(1, 11, 2):
        peer.publish(sequence, b"%d" % (sequence - 1), b"%d" % sequence)
    bench.work()
    peer.settle(ACK, (2, 3))
    bench.work()


def test_peek_shows_what_is_not_done_without_side_effect(bench: Bench) -> None:
    filled(bench)
    before = bench.peer().call("queue_describe", queue="jobs")
    assert [offset for offset, _ in peek(bench)] == [0, 3, 4, 5, 6, 7, 8, 9]
    assert peek(bench, offset=2, count=3) == [(3, b"3"), (4, b"4"), (5, b"5")]
    assert peek(bench, offset=9) == [(9, b"9")]
    assert peek(bench, offset=10) == []
    assert bench.peer().call("queue_describe", queue="jobs") == before


def test_peek_is_bounded_in_bytes_and_gives_at_least_one_block(bench: Bench) -> None:
    """I13."""
    filled(bench)
    assert [offset for offset, _ in peek(bench, offset=4, bytes_max=1)] == [4, 5]


def test_peek_reads_no_more_blocks_than_it_shows_messages_of(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(bench)
    bench.start()
    read: list[int] = []
    load = bench.engine.load

    def noted(wanted: list[BlockRef], done: Callable[[dict[int, StoredBlock]], None]) -> None:
        read.extend(block.first for block in wanted)
        load(wanted, done)

    monkeypatch.setattr(bench.engine, "load", noted)
    assert peek(bench, offset=4, count=1) == [(4, b"4")]
    assert read == [4]


def test_peek_finds_what_is_behind_much_that_is_done(bench: Bench) -> None:
    """One stuck message keeps a backlog; it must not end who looks for what is behind it."""
    bench.declare(lease_ms=HOLD_MS_MAX)
    peer = bench.peer().open("jobs").consume("jobs", prefetch=3000)
    for first in range(1, 2001, 100):
        peer.publish(first, *[b"x" * 1000] * 100)
        bench.work()
    peer.settle(ACK, (2, 1999))
    bench.work()
    assert [offset for offset, _ in peek(bench)] == [0, 1999]


def test_peek_reads_a_backlog_from_the_journal(bench: Bench) -> None:
    filled(bench)
    bench.start()
    assert len(peek(bench)) == 8


def test_peek_shows_nothing_that_is_not_durable(bench: Bench) -> None:
    """I3."""
    bench.declare()
    peer = bench.peer().open("jobs")
    bench.work()
    peer.publish(1, b"a")
    request = peer.ask("peek", queue="jobs")
    assert peer.peeks[request] == []


def test_a_peek_of_someone_who_left_is_dropped(bench: Bench) -> None:
    filled(bench)
    bench.start()
    peer = bench.peer()
    peer.ask("peek", queue="jobs")
    bench.engine.close_session(peer.session)
    bench.work()
    assert peer.peeks == {}


def test_peek_tells_attempts_and_failures(bench: Bench) -> None:
    filled(bench)
    peer = bench.peer()
    request = peer.ask("peek", queue="jobs", count=1)
    bench.work()
    [entry] = peer.peeks[request]
    assert (entry.consumer, entry.first_tag, entry.lease_ms, entry.attempt, entry.failures) == (0, 0, 0, 1, 0)


def test_status_adds_up(bench: Bench) -> None:
    """I12."""
    filled(bench)
    status = bench.peer().call("status")
    assert (status["queues"], status["consumers"], status["messages"], status["acked"]) == (1, 1, 8, 2)
    assert status["storage"] == "ok"
    bench.engine.broker.storage_full = True
    assert bench.peer().call("status")["storage"] == "full"
    assert status["journal_bytes"] >= status["live_bytes"] > 0
