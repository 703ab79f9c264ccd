"""An engine on files in memory: what a publish costs without sockets, disk and threads."""

from __future__ import annotations

from typing import Any

from penstock.core.values import Refusal
from penstock.engine.engine import Engine
from penstock.engine.interface import ConfirmEntry, DeliveryOut, EngineLimits, TagRange
from penstock.net.codec import WireBlockCodec
from penstock.storage.journal import Journal
from penstock.storage.memory import MemoryFileSystem


class _Silent:
    """A connection that hears nothing, and must not be refused anything."""

    def confirm(self, entries: list[ConfirmEntry]) -> None:
        assert all(entry[1] == 0 for entry in entries), entries

    def deliver(self, entries: list[DeliveryOut]) -> None: ...

    def reply(self, request: int, result: dict[str, Any]) -> None: ...

    def refuse(self, request: int, refusal: Refusal) -> None:
        raise AssertionError(refusal)

    def peeked(self, request: int, entries: list[DeliveryOut]) -> None: ...

    def stale(self, outcome: int, ranges: list[TagRange]) -> None: ...

    def cancelled(self, consumer: int, refusal: Refusal) -> None: ...

    def replied(self, replied_at_ms: int, blocks: list[bytes]) -> None: ...

    def unsent_bytes(self) -> int:
        return 0

    def abort(self, refusal: Refusal) -> None: ...


class MemoryEngine:
    """One engine with one session that publishes."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000
        self.journal = Journal.open(MemoryFileSystem(), "journal", boot_epoch=1, replay_from=0)
        for _ in self.journal.replay():
            pass
        self.journal.accept()
        limits = EngineLimits(window_messages=1 << 40)
        self.engine = Engine(self.journal, WireBlockCodec(), limits, 1, lambda: self.now_ms)
        self.session = self.engine.open_session(_Silent(), "benchmark")
        self._requests = 0
        self.ask("producer_open")

    def ask(self, command: str, **arguments: Any) -> None:
        """Send a request."""
        self._requests += 1
        self.engine.request(self.session, self._requests, command, arguments)

    def commit(self) -> None:
        """A turn, and a whole commit."""
        self.engine.turn()
        commit = self.engine.begin()
        if commit is not None:
            self.journal.write(commit.batch)
            self.journal.sync()
            self.engine.committed(commit)


def queues_named(count: int) -> list[str]:
    """Return so many names."""
    return [f"q{number}" for number in range(count)]


def connect(queues: list[str], topic: str = "", key: str = "") -> MemoryEngine:
    """Return an engine with these queues, a route to each from 1 on, and with a topic exchange the route 100 to all."""
    engine = MemoryEngine()
    if topic:
        engine.ask("exchange_declare", exchange=topic, type="topic")
    for number, name in enumerate(queues, 1):
        engine.ask("queue_declare", queue=name)
        engine.ask("route_open", route=number, routing_key=name)
        if topic:
            engine.ask("exchange_bind", exchange=topic, queue=name, routing_key="orders.*.new")
    if topic:
        engine.ask("route_open", route=100, exchange=topic, routing_key=key)
    engine.commit()
    return engine
