"""An engine on a file system in memory, driven step by step, and peers that keep what they are told."""

from __future__ import annotations

from typing import Any

from penstock.core.values import Refusal
from penstock.cron import CronCalendar
from penstock.engine.engine import Commit, Engine
from penstock.engine.housekeeping import Housekeeping, Io
from penstock.engine.interface import ConfirmEntry, DeliveryOut, EngineLimits, TagRange
from penstock.engine.recovery import Recovery
from penstock.net.codec import WireBlockCodec
from penstock.storage.journal import Journal
from penstock.storage.memory import MemoryFileSystem
from penstock.storage.snapshot import SnapshotStore
from penstock_client.wire import blocks

SEGMENT_BYTES = 4096


class Peer:
    """A connection: keeps what the engine tells it."""

    def __init__(self, bench: Bench, name: str = "peer", namespace: str = "") -> None:
        self.bench = bench
        self.confirms: list[ConfirmEntry] = []
        self.deliveries: list[DeliveryOut] = []
        self.replies: dict[int, dict[str, Any]] = {}
        self.refusals: dict[int, Refusal] = {}
        self.peeks: dict[int, list[DeliveryOut]] = {}
        self.stales: list[tuple[int, list[TagRange]]] = []
        self.cancels: list[tuple[int, Refusal]] = []
        self.aborts: list[Refusal] = []
        self.replied_blocks: list[bytes] = []
        self.unsent = 0
        """What it has not read of its replies."""
        self.session = bench.engine.open_session(self, name, namespace)
        self._requests = 0

    def confirm(self, entries: list[ConfirmEntry]) -> None:
        self.confirms += entries

    def deliver(self, entries: list[DeliveryOut]) -> None:
        self.deliveries += entries

    def reply(self, request: int, result: dict[str, Any]) -> None:
        self.replies[request] = result

    def refuse(self, request: int, refusal: Refusal) -> None:
        self.refusals[request] = refusal

    def peeked(self, request: int, entries: list[DeliveryOut]) -> None:
        self.peeks[request] = entries

    def stale(self, outcome: int, ranges: list[TagRange]) -> None:
        self.stales.append((outcome, ranges))

    def cancelled(self, consumer: int, refusal: Refusal) -> None:
        self.cancels.append((consumer, refusal))

    def replied(self, replied_at_ms: int, blocks: list[bytes]) -> None:
        self.replied_blocks += blocks
        self.unsent += sum(map(len, blocks))

    def unsent_bytes(self) -> int:
        return self.unsent

    def abort(self, refusal: Refusal) -> None:
        self.aborts.append(refusal)

    # -- what it asks --------------------------------------------------------------------------------------------------

    def ask(self, command: str, **arguments: Any) -> int:
        """Send a request; return its id."""
        self._requests += 1
        self.bench.engine.request(self.session, self._requests, command, arguments)
        return self._requests

    def call(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and work until it is answered; a refusal is an error here."""
        request = self.ask(command, **arguments)
        self.bench.work()
        assert request not in self.refusals, self.refusals[request]
        return self.replies[request]

    def refusal(self, command: str, **arguments: Any) -> Refusal:
        """Send a request that has to be refused."""
        request = self.ask(command, **arguments)
        self.bench.work()
        return self.refusals[request]

    def open(self, *queues: str, producer: int | None = None) -> Peer:
        """Open a producer, and routes 1, 2, ... to these queues."""
        self.ask("producer_open", producer=producer)
        for route, queue in enumerate(queues, 1):
            self.ask("route_open", route=route, routing_key=queue)
        return self

    def publish(self, first: int, *bodies: bytes, route: int = 1, level: int = 0) -> None:
        """Publish one block."""
        entry = (route, level, first, len(bodies), blocks.encode_block(bodies))
        self.bench.engine.publish(self.session, [entry])

    def consume(self, queue: str, prefetch: int = 100, number: int = 1) -> Peer:
        """Start a consumer."""
        self.ask("consume", consumer=number, queue=queue, prefetch_messages=prefetch)
        return self

    def settle(self, outcome: int, *ranges: TagRange, duration_ms: int = 0, reason: str = "", request: int = 0) -> None:
        """Settle tags."""
        self.bench.engine.settle(self.session, outcome, list(ranges), duration_ms, reason, request)

    def bodies(self) -> list[bytes]:
        """Every body that was delivered, in order."""
        return [body for one in self.deliveries for body in blocks.decode_bodies(one.block)]


class Bench:
    """One life after the other of a broker on the same files."""

    def __init__(self, **limits: Any) -> None:
        self.fs = MemoryFileSystem()
        self.limits = limits
        self.now_ms = 1_000_000
        self.boot_epoch = 0
        self.wakes = 0
        self.start()

    def start(self) -> Engine:
        """Recover and start; what was not written is gone."""
        self.boot_epoch += 1
        self.snapshots = SnapshotStore(self.fs, "snapshots")
        snapshot = self.snapshots.load()
        position = snapshot.position if snapshot else 0
        self.journal = Journal.open(
            self.fs, "journal", segment_bytes=SEGMENT_BYTES, boot_epoch=self.boot_epoch, replay_from=position
        )
        limits, epoch = EngineLimits(**self.limits), self.boot_epoch
        self.engine = Engine(self.journal, WireBlockCodec(), limits, epoch, lambda: self.now_ms, CronCalendar())
        self.recovery = Recovery(self.engine)
        if snapshot:
            self.recovery.restore(snapshot.parts)
        for batch in self.journal.replay():
            self.recovery.replay(batch)
        self.recovery.check_end(position, "journal")
        self.journal.accept()
        self.recovery.finish()
        self.housekeeping = Housekeeping(self.engine, self.journal, self.snapshots, SEGMENT_BYTES)
        self.engine.wake = self._count_wake
        return self.engine

    def _count_wake(self) -> None:
        self.wakes += 1

    def peer(self, name: str = "peer", namespace: str = "") -> Peer:
        """A new connection, to a namespace or to the root."""
        return Peer(self, name, namespace)

    def declare(self, name: str = "jobs", **settings: Any) -> None:
        """Declare a queue, durably."""
        self.peer().call("queue_declare", queue=name, **settings)

    # -- the driver's steps --------------------------------------------------------------------------------------------

    def begin(self) -> Commit:
        """Begin a commit that has to be there."""
        commit = self.engine.begin()
        assert commit is not None
        return commit

    def commit(self) -> bool:
        """A whole commit, if there is anything to write."""
        commit = self.engine.begin()
        if commit is not None:
            self.journal.write(commit.batch)
            self.engine.written(commit)
            self.journal.sync()
            self.engine.committed(commit)
        return commit is not None

    def load(self) -> bool:
        """Read what is asked for."""
        loads, self.engine.loads = self.engine.loads, []
        for load in loads:
            found = {ref.position: load.parse(self.journal.read(ref.position, ref.size_bytes)) for ref in load.blocks}
            load.done(found)
        return bool(loads)

    def work(self) -> None:
        """Turns, loads and commits until nothing is left to do."""
        for _ in range(1000):
            before = self.wakes
            self.engine.turn()
            if not any((self.load(), self.commit(), self.wakes > before)):
                return
        raise AssertionError("I20: the engine never comes to rest")

    def empty_cache(self) -> None:
        """What is durable has to be read from the journal."""
        self.engine.blocks._cache.clear()
        self.engine.blocks.cache_bytes = 0

    def pass_time(self, duration_ms: int) -> None:
        """Let time pass, and work."""
        self.now_ms += duration_ms
        self.work()

    def keep_house(self) -> None:
        """One whole cycle of housekeeping."""
        cycle = self.housekeeping.cycle()
        result = None
        try:
            while True:
                step = cycle.send(result)
                result = step.call() if isinstance(step, Io) else None
                self.commit()
        except StopIteration:
            pass
