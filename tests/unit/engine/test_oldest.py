from typing import Any

import pytest
from tests.unit.engine.harness import Bench, Peer

from penstock.core.values import ACK
from penstock.engine import oldest as module
from penstock_client.wire import blocks


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.declare()
    return bench


def age(bench: Bench, queue: str = "jobs") -> Any:
    return bench.peer().call("queue_describe", queue=queue)["oldest_age_ms"]


def group_age(bench: Bench, group: str) -> Any:
    return bench.peer().call("group_describe", queue="jobs", group=group)["oldest_age_ms"]


def schedule(peer: Peer, sequence: int, delay_ms: int) -> None:
    block = blocks.encode_block([b"later"], properties=[{"delay_ms": delay_ms}])
    peer.bench.engine.publish(peer.session, [(1, 0, sequence, 1, block)], [0])
    peer.bench.work()


def test_a_queue_without_messages_has_no_age(bench: Bench) -> None:
    assert age(bench) is None
    peer = bench.peer().open("jobs").consume("jobs")
    peer.publish(1, b"one")
    bench.work()
    peer.settle(ACK, (1, 1))
    bench.work()
    assert age(bench) is None, "somebody is done with all of it"


def test_the_age_is_that_of_the_first_message_that_is_still_needed(bench: Bench) -> None:
    peer = bench.peer().open("jobs").consume("jobs")
    peer.publish(1, b"one")
    bench.pass_time(5000)
    peer.publish(2, b"two")
    bench.pass_time(1000)
    assert age(bench) == 6000
    peer.settle(ACK, (1, 1))
    bench.work()
    assert age(bench) == 1000


@pytest.mark.parametrize("restarted", [False, True])
def test_what_is_no_longer_in_memory_is_looked_up_in_the_journal_and_once(bench: Bench, restarted: bool) -> None:
    bench.peer().open("jobs").publish(1, b"one")
    bench.pass_time(700)
    if restarted:
        bench.start()
    bench.empty_cache()
    asking = bench.peer()
    request = asking.ask("queue_describe", queue="jobs")
    [load] = bench.engine.loads
    assert [block.size_bytes for block in load.blocks] < [60], "the head of a record is all that is read"
    bench.work()
    assert asking.replies[request]["oldest_age_ms"] == 700
    bench.now_ms += 300
    asking.ask("queue_describe", queue="jobs")
    assert bench.engine.loads == []


def test_a_moved_block_keeps_its_age() -> None:
    bench = Bench(snapshot_bytes=1)
    bench.declare("old")
    bench.declare("busy")
    bench.peer().open("old").publish(1, b"pinned")
    busy = bench.peer().open("busy").consume("busy")
    before = bench.engine.broker.names["old"].log.block_at(0).position
    for sequence in range(1, 40):
        busy.publish(sequence, b"x" * 1000)
        bench.pass_time(100)
        busy.settle(ACK, (sequence, sequence))
        bench.work()
    bench.keep_house()
    bench.work()
    assert bench.engine.broker.names["old"].log.block_at(0).position > before, "it was moved"
    bench.start()
    assert age(bench, "old") == 3900


@pytest.mark.parametrize("moved", [False, True])
def test_what_was_scheduled_ages_from_when_it_was_due(moved: bool) -> None:
    bench = Bench(snapshot_bytes=1)
    bench.declare()
    bench.declare("busy")
    peer = bench.peer().open("jobs", "busy").consume("busy")
    schedule(peer, 1, 60_000)
    assert age(bench) is None, "it is in no log yet"
    bench.pass_time(60_000)
    before = bench.engine.broker.names["jobs"].log.block_at(0).position
    for sequence in range(1, 40) if moved else ():
        peer.publish(sequence, b"x" * 1000, route=2)
        bench.work()
        peer.settle(ACK, (sequence, sequence))
        bench.work()
    if moved:
        bench.keep_house()
    assert (bench.engine.broker.names["jobs"].log.block_at(0).position > before) == moved
    bench.pass_time(2000)
    bench.empty_cache()
    assert age(bench) == 2000


def test_what_is_not_on_disk_yet_is_known_from_memory(bench: Bench) -> None:
    peer = bench.peer().open("jobs")
    schedule(peer, 1, 10)
    bench.pass_time(10)
    bench.peer().consume("jobs").settle(ACK, (1, 1))
    peer.publish(2, b"now")
    oldest = bench.engine.oldest
    ages: list[int | None] = []
    queue = bench.engine.broker.names["jobs"]
    oldest.look([module._at(queue, 1)], ages.extend)
    assert (ages, bench.engine.loads) == ([0], [])


def test_a_memory_queue_has_an_age(bench: Bench) -> None:
    bench.declare("quick", durable=False)
    bench.peer().open("quick").publish(1, b"one", level=2)
    bench.pass_time(50)
    assert age(bench, "quick") == 50
    bench.start()
    assert age(bench, "quick") is None


def test_every_group_has_its_own_age(bench: Bench) -> None:
    asking = bench.peer()
    for group in ("fast", "slow"):
        asking.call("group_declare", queue="jobs", group=group)
    peer = bench.peer().open("jobs")
    peer.ask("consume", consumer=1, queue="jobs", group="fast")
    peer.publish(1, b"one")
    bench.pass_time(400)
    peer.settle(ACK, (1, 1))
    bench.work()
    assert (group_age(bench, "fast"), group_age(bench, "slow"), age(bench)) == (None, 400, 400)
    listed = bench.peer().call("group_list", queue="jobs")["groups"]
    assert {one["group"]: one["oldest_age_ms"] for one in listed} == {"fast": None, "slow": 400}


def test_a_message_that_came_through_an_exchange_has_an_age(bench: Bench) -> None:
    bench.declare("other")
    peer = bench.peer()
    peer.call("exchange_declare", exchange="all", type="fanout")
    for queue in ("jobs", "other"):
        peer.call("exchange_bind", exchange="all", queue=queue)
    peer.call("producer_open", producer=None)
    peer.call("route_open", route=1, exchange="all", routing_key="")
    block = blocks.encode_block([b"one"], routing=("all", ""))
    bench.engine.publish(peer.session, [(1, 0, 1, 1, block)])
    bench.pass_time(90)
    bench.start()
    bench.empty_cache()
    assert (age(bench), age(bench, "other")) == (90, 90)


def test_a_list_reads_the_heads_of_many_queues_a_few_at_a_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READS_AT_ONCE", 2)
    monkeypatch.setattr(module, "REMEMBERED_MAX", 3)
    names = [f"q{number}" for number in range(5)]
    for name in names:
        bench.declare(name)
        bench.peer().open(name).publish(1, name.encode())
        bench.pass_time(10)
    bench.empty_cache()
    asking = bench.peer()
    request = asking.ask("queue_list", prefix="q")
    sizes = []
    while bench.engine.loads:
        sizes += [len(load.blocks) for load in bench.engine.loads]
        bench.load()
    bench.work()
    assert sizes == [2, 2, 1]
    ages = {one["queue"]: one["oldest_age_ms"] for one in asking.replies[request]["queues"]}
    assert ages == {"q0": 50, "q1": 40, "q2": 30, "q3": 20, "q4": 10}
    asking.ask("queue_list", prefix="q")
    assert sum(len(load.blocks) for load in bench.engine.loads) == 2, "three of five are remembered"


def test_a_queue_that_is_deleted_while_it_is_looked_up_is_described_as_it_was(bench: Bench) -> None:
    bench.peer().open("jobs").publish(1, b"one")
    bench.pass_time(30)
    bench.empty_cache()
    asking = bench.peer()
    request = asking.ask("queue_describe", queue="jobs")
    bench.peer().ask("queue_delete", queue="jobs")
    bench.work()
    assert (asking.replies[request]["messages"], asking.replies[request]["oldest_age_ms"]) == (1, 30)


def test_an_age_is_never_negative_though_a_clock_may_lag(bench: Bench) -> None:
    bench.peer().open("jobs").publish(1, b"one")
    bench.work()
    bench.now_ms -= 10
    assert age(bench) == 0
