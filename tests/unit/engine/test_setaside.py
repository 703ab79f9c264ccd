"""Dropping into the dead letters, through the engine."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.engine.harness import Bench, Peer

from penstock.engine import setaside
from penstock_client.wire.blocks import decode_bodies, decode_properties


def bounded(bench: Bench, **settings: Any) -> Peer:
    bench.declare("jobs", **{"overflow_dead_letter": True, **settings})
    peer = bench.peer().open("jobs")
    bench.work()
    return peer


def letters(bench: Bench) -> list[tuple[bytes, dict[str, Any]]]:
    """(body, provenance) of every dead letter."""
    peer = bench.peer()
    request = peer.ask("peek", queue="jobs.dead", count=1000)
    bench.work()
    found = []
    for entry in peer.peeks[request]:
        properties = decode_properties(entry.block) or []
        found += [(body, (p or {})["dead"]) for body, p in zip(decode_bodies(entry.block), properties, strict=True)]
    return found


@pytest.mark.parametrize("cached", [True, False])
def test_the_oldest_become_dead_letters_with_the_reason(bench: Bench, cached: bool) -> None:
    peer = bounded(bench, max_messages=2, overflow="drop_oldest")
    peer.publish(1, b"0", b"1")
    bench.work()
    if not cached:
        bench.empty_cache()
    peer.publish(3, b"2", b"3", b"4")
    bench.work()
    found = letters(bench)
    assert [body for body, _ in found] == [b"0", b"1", b"2"]
    assert found[0][1] == {
        "queue": "jobs",
        "offset": 0,
        "attempts": 0,
        "reason": "dropped: the queue was full",
        "published_at_ms": bench.now_ms,
        "failures": [],
    }
    info = bench.peer().call("queue_describe", queue="jobs")
    assert (info["messages"], info["dropped"], info["dead"]) == (2, 3, 3)


def test_what_is_too_old_becomes_a_dead_letter(bench: Bench) -> None:
    peer = bounded(bench, max_age_ms=1000)
    peer.publish(1, b"0", b"1")
    bench.work()
    due_ms = bench.engine.next_due_ms()
    assert due_ms is not None
    assert 1000 <= due_ms - bench.now_ms <= 1010
    bench.pass_time(due_ms - bench.now_ms)
    assert [(body, one["reason"]) for body, one in letters(bench)] == [
        (b"0", "dropped: too old"),
        (b"1", "dropped: too old"),
    ]
    bench.pass_time(1000)
    assert bench.engine.next_due_ms() is None


def test_thousands_go_in_slices(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setaside, "_SLICE_MESSAGES", 3)
    peer = bounded(bench, max_messages=1, overflow="drop_oldest")
    peer.publish(1, *[b"%d" % number for number in range(20)])
    bench.engine.turn()
    assert bench.engine.broker.names["jobs"].group.counters.discarded[3] == 3
    bench.work()
    assert [body for body, _ in letters(bench)] == [b"%d" % number for number in range(19)]
    assert not bench.engine.jobs


def test_copies_wait_for_the_disk(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """I13."""
    monkeypatch.setattr(setaside, "_STAGED_BYTES_MAX", 0)
    peer = bounded(bench, max_messages=1, overflow="drop_oldest")
    peer.publish(1, b"0", b"1")
    bench.engine.turn()
    assert "jobs.dead" not in bench.engine.broker.names
    bench.work()
    assert [body for body, _ in letters(bench)] == [b"0"]


def test_a_queue_deleted_meanwhile_leaves_nothing_to_do(bench: Bench) -> None:
    peer = bounded(bench, max_messages=1, overflow="drop_oldest")
    peer.publish(1, b"0", b"1")
    bench.empty_cache()
    peer.ask("queue_delete", queue="jobs")
    bench.work()
    assert not bench.engine.broker.overfull_queues
    assert not bench.engine.jobs


@pytest.mark.parametrize("snapshot", [False, True])
def test_ages_go_on_after_a_restart(bench: Bench, snapshot: bool) -> None:
    peer = bounded(bench, max_age_ms=1000, overflow_dead_letter=False)
    peer.publish(1, b"0", b"1")
    bench.work()
    bench.now_ms += 500
    peer.publish(3, b"2")
    bench.work()
    if snapshot:
        bench.keep_house()
    bench.start()
    bench.pass_time(600)
    info = bench.peer().call("queue_describe", queue="jobs")
    assert (info["messages"], info["dropped"]) == (1, 2)
