"""Dead letters and redrive in bounded steps; failing messages and unneeded blocks in bounded numbers."""

from typing import Any

import pytest

from penstock.core import delivery
from penstock.core.broker import DROP_BLOCKS_MAX
from penstock.engine.engine import Engine
from penstock.engine.interface import EngineLimits
from penstock.engine.recovery import Recovery, fingerprint, snapshot_head, snapshot_queue
from penstock.net.codec import WireBlockCodec
from penstock.storage.journal import Journal
from penstock.storage.memory import MemoryFileSystem
from penstock_client.wire.blocks import encode_block

ACK, NACK, REJECT = 1, 2, 4
MIB = 1024 * 1024


class Peer:
    """A sink that remembers replies and counts deliveries."""

    def __init__(self) -> None:
        self.replies: list[dict[str, Any]] = []
        self.delivered = 0

    def deliver(self, entries: list[Any]) -> None:
        self.delivered += sum(entry.message_count for entry in entries)

    def reply(self, request: int, result: dict[str, Any]) -> None:
        self.replies.append(result)

    def refuse(self, request: int, refusal: object) -> None:
        raise AssertionError(refusal)

    def confirm(self, entries: object) -> None: ...

    def peeked(self, request: int, entries: object) -> None: ...

    def stale(self, outcome: int, ranges: object) -> None: ...

    def cancelled(self, consumer: int, refusal: object) -> None: ...

    def replied(self, replied_at_ms: int, blocks: object) -> None: ...

    def unsent_bytes(self) -> int:
        return 0

    def abort(self, refusal: object) -> None: ...


class World:
    """An engine over memory, with one session; commits happen when a test says so."""

    def __init__(self, cache_bytes: int = 64 * MIB) -> None:
        self.journal = Journal.open(MemoryFileSystem(), "journal", boot_epoch=1)
        assert not list(self.journal.replay())
        self.journal.accept()
        self.engine = Engine(self.journal, WireBlockCodec(), EngineLimits(cache_bytes=cache_bytes), 1, lambda: 1_000)
        Recovery(self.engine).finish()
        self.peer = Peer()
        self.session = self.engine.open_session(self.peer, "peer")
        self.sequence = 1
        self.request("queue_declare", queue="jobs")
        self.request("producer_open", producer=None)
        self.request("route_open", route=1, routing_key="jobs")

    def request(self, command: str, **arguments: Any) -> None:
        self.engine.request(self.session, 1, command, arguments)

    def publish(self, *bodies: bytes) -> None:
        self.engine.publish(self.session, [(1, 0, self.sequence, len(bodies), encode_block(list(bodies)))])
        self.sequence += len(bodies)

    def turn(self) -> None:
        self.engine.turn()
        loads, self.engine.loads = self.engine.loads, []
        for load in loads:
            load.done({b.position: load.parse(self.journal.read(b.position, b.size_bytes)) for b in load.blocks})

    def commit(self) -> bool:
        self.turn()
        commit = self.engine.begin()
        if commit is not None:
            self.journal.write(commit.batch)
            self.journal.sync()
            self.engine.written(commit)
            self.engine.committed(commit)
        return commit is not None or bool(self.engine.jobs)

    def settle_all(self, outcome: int, delay_ms: int = 0) -> None:
        last = self.engine.broker.sessions[self.session].next_tag - 1
        self.engine.settle(self.session, outcome, [(1, last)], delay_ms, "no", 0)

    def run(self) -> None:
        for _ in range(10_000):
            if not self.commit():
                return
        raise AssertionError("it does not come to rest")


@pytest.mark.parametrize("cache_bytes", [64 * MIB, 0])
def test_thousands_of_rejected_messages_are_buried_in_steps(cache_bytes: int) -> None:
    """SEMANTICS 30: no turn of the loop takes longer than 20 ms."""
    world = World(cache_bytes)
    world.publish(*[b"%d" % n for n in range(2_000)])
    world.request("consume", queue="jobs", consumer=1, prefetch_messages=2_000)
    world.run()
    assert world.peer.delivered == 2_000
    world.settle_all(REJECT)
    buried = 0
    steps = 0
    while buried < 2_000:
        world.commit()
        found = world.engine.broker.names.get("jobs.dead")
        now = found.log.next_offset if found else 0
        assert now - buried <= 200
        buried = now
        steps += 1
    assert steps >= 10
    world.run()
    assert world.engine.broker.names["jobs"].group.dying_count == 0
    assert not world.engine.jobs


def test_a_redrive_does_not_gather_more_than_the_disk_takes() -> None:
    """I13: a dead-letter queue larger than memory is redriven at the pace of its commits."""
    world = World(cache_bytes=MIB)
    for _ in range(400):
        world.publish(b"x" * 100_000)
    world.request("consume", queue="jobs", consumer=1, prefetch_messages=400, prefetch_bytes=256 * MIB)
    world.run()
    world.settle_all(REJECT)
    world.run()
    world.request("cancel", consumer=1)
    world.request("queue_redrive", queue="jobs")
    for _ in range(1_000):
        world.turn()
    assert world.engine.gathered_bytes < 20 * MIB
    world.engine.broker.storage_full = True
    for _ in range(100):
        world.commit()
    assert {"redriven": 400} not in world.peer.replies
    world.engine.broker.storage_full = False
    world.run()
    assert {"redriven": 400} in world.peer.replies
    assert world.engine.broker.names["jobs"].group.ready_count == 400


def test_redrives_of_a_shared_dead_letter_queue_find_all_of_theirs() -> None:
    """One that runs holds what belongs to others: the next begins when it has given that back."""
    world = World()
    for route, name in ((2, "first"), (3, "second")):
        world.request("queue_declare", queue=name, dead_letter="shared")
        world.request("route_open", route=route, routing_key=name)
        world.request("consume", queue=name, consumer=route, prefetch_messages=1_000)
    for number in range(300):
        for route in (2, 3):
            world.engine.publish(world.session, [(route, 0, number + 1, 1, encode_block([b"x"]))])
    world.run()
    world.settle_all(REJECT)
    world.run()
    for route in (2, 3):
        world.request("cancel", consumer=route)
    world.request("queue_redrive", queue="first")
    world.request("queue_redrive", queue="second")
    world.run()
    assert world.peer.replies[-2:] == [{"redriven": 300}] * 2
    assert not world.engine.broker.names["shared"].group.ready_count


@pytest.mark.parametrize("command", ["queue_purge", "queue_delete"])
def test_a_huge_queue_is_given_up_in_steps(command: str) -> None:
    """SEMANTICS 30: no turn of the loop takes longer than 20 ms."""
    world = World()
    queue = world.engine.broker.names["jobs"]
    for _ in range(3 * DROP_BLOCKS_MAX):
        world.publish(b"x")
    world.run()
    world.request(command, queue="jobs")
    steps = 0
    while queue.log.block_count:
        assert len(world.engine.broker.dropped) <= DROP_BLOCKS_MAX
        before = queue.log.block_count
        world.commit()
        assert before - queue.log.block_count <= 2 * DROP_BLOCKS_MAX  # a turn, and another after the commit
        steps += 1
    world.run()
    assert steps >= 1
    assert not world.engine.blocks.live_bytes
    assert not world.engine.broker.draining


def test_a_snapshot_taken_while_a_purge_drains_restores_what_is_needed() -> None:
    """I18: blocks that are done are dropped at recovery, whether they had been by the snapshot or not."""
    world = World()
    for _ in range(2 * DROP_BLOCKS_MAX):
        world.publish(b"x")
    world.run()
    world.request("queue_purge", queue="jobs")
    assert world.engine.broker.names["jobs"].log.block_count
    parts = [snapshot_head(world.engine.broker, 1_000, 0), b""]
    position = world.journal.next_position
    parts += [b"".join(snapshot_queue(queue, position)) for queue in world.engine.broker.queues.values()]
    world.run()
    other = World()
    other.engine = Engine(other.journal, WireBlockCodec(), EngineLimits(), 2, lambda: 1_000)
    recovery = Recovery(other.engine)
    recovery.restore(parts)
    recovery.finish()
    assert list(fingerprint(other.engine.broker)) == list(fingerprint(world.engine.broker))
    assert other.engine.blocks.live_bytes == world.engine.blocks.live_bytes == 0


def test_a_downstream_outage_pauses_hand_outs_before_its_failures_fill_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """SEMANTICS 31: messages that failed alike are one run, but each has its history."""
    monkeypatch.setattr(delivery, "EXCEPTIONS_MAX", 1_000)
    world = World()
    for _ in range(50):
        world.publish(*[b"x"] * 100)
    world.request("consume", queue="jobs", consumer=1, prefetch_messages=100)
    for _ in range(50):
        world.commit()
        world.settle_all(NACK, 3_600_000)
    world.run()
    group = world.engine.broker.names["jobs"].group
    assert 1_000 <= len(group.history) <= 1_200
    assert group.ready_count == 5_000 - len(group.history)
