"""Transactions through the journal: whole or not at all after any crash, answered and visible when they are durable."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.unit.engine.harness import Bench, Peer

from penstock.core.groupstate import state_values
from penstock.core.transacting import StateWrite, TransactedBlock, Transaction
from penstock.engine import engine as engine_module
from penstock.engine.recovery import fingerprint
from penstock_client.wire.blocks import encode_block


def transact(
    peer: Peer,
    *,
    acks: Sequence[tuple[int, int]] = (),
    blocks: Sequence[TransactedBlock] = (),
    writes: Sequence[StateWrite] = (),
    request: int = 500,
) -> None:
    peer.bench.engine.transact(peer.session, request, Transaction(acks, blocks, writes))


def block(queue: str, *bodies: bytes) -> TransactedBlock:
    return "", queue, len(bodies), encode_block(bodies)


def holding(bench: Bench) -> Peer:
    """Queues ``jobs`` and ``out``, and a peer that holds two messages of ``jobs`` under the tags 1 and 2."""
    bench.declare("jobs")
    bench.declare("out")
    peer = bench.peer().open("jobs").consume("jobs")
    peer.publish(1, b"one", b"two")
    bench.work()
    return peer


def state_of(bench: Bench) -> tuple[int, int, int]:
    """Messages in ``out``, messages acknowledged in ``jobs``, and values in its state."""
    jobs, out = bench.engine.broker.names["jobs"], bench.engine.broker.names["out"]
    return out.log.next_offset, jobs.group.counters.acked, len(state_values(jobs.group))


def test_it_is_answered_when_it_is_durable(bench: Bench) -> None:
    """I4."""
    peer = holding(bench)
    transact(peer, acks=[(1, 1)], blocks=[block("out", b"a", b"b"), block("jobs", b"c")])
    bench.engine.turn()
    assert 500 not in peer.replies
    bench.work()
    assert peer.replies[500] == {"placed": [[[0, 2, False]], [[2, 1, False]]]}


def test_what_it_publishes_is_visible_when_it_is_durable_and_together(bench: Bench) -> None:
    """I3, I5."""
    peer = holding(bench)
    bench.declare("more")
    peer.consume("out", number=2).consume("more", number=3)
    bench.work()
    seen = len(peer.deliveries)
    transact(peer, blocks=[block("out", b"a"), block("more", b"b")])
    bench.engine.turn()
    assert len(peer.deliveries) == seen
    bench.commit()
    assert sorted(peer.bodies()[2:]) == [b"a", b"b"]


def test_a_crash_leaves_all_of_it_or_nothing_however_full_the_batch(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I5."""
    monkeypatch.setattr(engine_module, "BATCH_CLOSE_BYTES", 1)
    peer = holding(bench)
    blocks = [block("out", bytes([n]) * 100) for n in range(5)]
    transact(peer, acks=[(1, 2)], blocks=blocks, writes=[("jobs", "", "seen", 0, b"\x02")])
    for _ in range(10):
        if not bench.commit():
            break
        bench.start()
        assert state_of(bench) in ((0, 0, 0), (5, 2, 1))
    assert state_of(bench) == (5, 2, 1)


def test_one_that_was_not_written_is_gone_and_its_messages_come_again(bench: Bench) -> None:
    peer = holding(bench)
    transact(peer, acks=[(1, 2)], blocks=[block("out", b"a")], writes=[("jobs", "", "seen", 0, b"\x02")])
    bench.start()
    assert state_of(bench) == (0, 0, 0)
    again = bench.peer().consume("jobs")
    bench.work()
    assert again.bodies() == [b"one", b"two"]


def test_a_refusal_is_immediate_and_changes_nothing(bench: Bench) -> None:
    peer = holding(bench)
    before = [repr(part) for part in fingerprint(bench.engine.broker)]
    transact(peer, acks=[(1, 1), (7, 7)], blocks=[block("out", b"a")])
    assert peer.refusals[500].code == "transaction-stale"
    bench.work()
    assert [repr(part) for part in fingerprint(bench.engine.broker)] == before
    peer.settle(1, (1, 2), request=501)
    bench.work()
    assert peer.replies[501] == {"stale": 0}


def test_an_empty_one_is_answered(bench: Bench) -> None:
    peer = bench.peer()
    transact(peer)
    bench.work()
    assert peer.replies[500] == {"placed": []}


def test_the_limits_are_those_of_the_engine() -> None:
    bench = Bench(transaction_operations_max=2)
    bench.declare("out")
    peer = bench.peer()
    transact(peer, blocks=[block("out", b"a", b"b", b"c")])
    assert peer.refusals[500].code == "transaction-too-large"


@pytest.mark.parametrize("snapshot", [False, True])
def test_state_survives_a_restart(bench: Bench, snapshot: bool) -> None:
    """I18."""
    peer = holding(bench)
    transact(peer, writes=[("jobs", "", "seen", 0, b"\x02"), ("jobs", "", "gone", 0, b"\xa1x")])
    version = state_values(bench.engine.broker.names["jobs"].group)["gone"].version
    transact(peer, writes=[("jobs", "", "gone", version, b"")], request=501)
    bench.work()
    if snapshot:
        bench.keep_house()
    before = [repr(part) for part in fingerprint(bench.engine.broker)]
    bench.start()
    assert [repr(part) for part in fingerprint(bench.engine.broker)] == before
    reply = bench.peer().call("group_state", queue="jobs")
    assert {key: value for key, (_, value) in reply["state"].items()} == {"seen": b"\x02"}
    transact(bench.peer(), writes=[("jobs", "", "gone", version, b"\x01")])
    assert state_of(bench)[2] == 1  # the removed value's version is still too old


def test_asking_for_the_state_of_no_group_is_refused(bench: Bench) -> None:
    bench.declare("jobs")
    assert bench.peer().refusal("group_state", queue="jobs", group="who").code == "unknown-group"
    assert bench.peer().call("group_state", queue="jobs") == {"id": 2, "state": {}}
