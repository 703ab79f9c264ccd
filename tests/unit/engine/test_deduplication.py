"""Message ids through the journal: what a queue has seen is known after every stop, and confirmed no sooner than it is
durable.
"""

from __future__ import annotations

import pytest
from tests.unit.engine.harness import Bench, Peer

from penstock.core.values import DUPLICATE, STORED, SYNCED, WRITTEN
from penstock.engine import engine as engine_module
from penstock.engine.recovery import fingerprint
from penstock_client.wire import blocks


def publish(peer: Peer, first: int, *ids: str, level: int = SYNCED) -> None:
    block = blocks.encode_block([one.encode() for one in ids], properties=[{"message_id": one} for one in ids])
    peer.bench.engine.publish(peer.session, [(1, level, first, len(ids), block)])


def outcomes(peer: Peer) -> list[tuple[int, int, int, int]]:
    """(status, first sequence, count, offset) of every confirm so far."""
    return [(entry[1], entry[4], entry[5], entry[6]) for entry in peer.confirms]


def producer(bench: Bench, producer_id: int | None = None) -> Peer:
    peer = bench.peer().open("jobs", producer=producer_id)
    bench.work()
    return peer


@pytest.mark.parametrize("snapshot", [False, True])
def test_ids_are_known_after_a_restart(bench: Bench, snapshot: bool) -> None:
    """I9, I18: from the journal alone, and from a snapshot and the journal after it."""
    bench.declare("jobs", dedup_window_ms=60_000)
    peer = producer(bench)
    publish(peer, 1, "a", "b")
    bench.work()
    if snapshot:
        bench.keep_house()
    publish(peer, 3, "c")
    bench.work()
    before = list(fingerprint(bench.engine.broker))
    bench.start()
    assert list(fingerprint(bench.engine.broker)) == before
    again = producer(bench)
    publish(again, 1, "b", "c", "d")
    bench.work()
    assert outcomes(again) == [(DUPLICATE, 1, 2, 1), (STORED, 3, 1, 3)]


def test_a_window_goes_on_by_the_broker_s_time_over_a_restart(bench: Bench) -> None:
    bench.declare("jobs", dedup_window_ms=1000)
    peer = producer(bench)
    publish(peer, 1, "a")
    bench.work()
    bench.start()
    bench.now_ms += 1000
    again = producer(bench)
    publish(again, 1, "a")
    bench.work()
    assert outcomes(again) == [(STORED, 1, 1, 1)]


@pytest.mark.parametrize("level", [SYNCED, WRITTEN])
def test_a_duplicate_waits_for_the_level_it_asked_for(bench: Bench, level: int) -> None:
    """I2, SEMANTICS 7: its original is still in the gathering batch."""
    bench.declare("jobs", dedup_window_ms=1000)
    peer, other = producer(bench), producer(bench)
    publish(peer, 1, "a")
    publish(other, 1, "a", level=level)
    bench.engine.turn()
    assert outcomes(other) == []
    commit = bench.begin()
    bench.journal.write(commit.batch)
    bench.engine.written(commit)
    assert outcomes(other) == ([(DUPLICATE, 1, 1, 0)] if level == WRITTEN else [])
    bench.journal.sync()
    bench.engine.committed(commit)
    assert outcomes(other) == [(DUPLICATE, 1, 1, 0)]


def test_a_block_and_its_ids_are_in_one_batch(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """I9: a crash between them would store the block once more."""
    monkeypatch.setattr(engine_module, "BATCH_CLOSE_BYTES", 0)
    bench.declare("jobs", dedup_window_ms=1000)
    peer = producer(bench)
    publish(peer, 1, "a")
    publish(peer, 2, "b")
    bench.engine.turn()
    batches = 0
    while bench.commit():
        batches += 1
    assert batches == 2


def test_a_producer_of_nothing_but_duplicates_is_not_idle(bench: Bench) -> None:
    bench.declare("jobs", dedup_window_ms=1 << 31)
    peer = producer(bench)
    publish(peer, 1, "a")
    bench.now_ms += bench.engine.limits.producer_idle_ms
    publish(peer, 2, "a")
    bench.work()
    bench.engine.close_session(peer.session)
    bench.now_ms += 10
    bench.engine.expire_idle_producers()
    assert bench.engine.broker.producers


def test_a_queue_tells_how_many_ids_it_keeps(bench: Bench) -> None:
    bench.declare("jobs", dedup_window_ms=1000, dedup_count_max=2)
    peer = producer(bench)
    publish(peer, 1, "a", "b", "c")
    info = bench.peer().call("queue_describe", queue="jobs")
    assert (info["dedup_window_ms"], info["dedup_count_max"], info["dedup_ids"]) == (1000, 2, 2)
    assert bench.peer().call("queue_declare", queue="plain")["created"]
    assert bench.peer().call("queue_describe", queue="plain")["dedup_ids"] == 0


@pytest.mark.parametrize(
    "settings",
    [{"dedup_window_ms": -1}, {"dedup_window_ms": 1 << 40}, {"dedup_count_max": 0}, {"dedup_window_ms": "1"}],
)
def test_a_wrong_window_is_refused(bench: Bench, settings: dict[str, object]) -> None:
    refusal = bench.peer().refusal("queue_declare", queue="jobs", **settings)
    assert refusal.code == "bad-setting"
    assert next(iter(settings)) in refusal.message
