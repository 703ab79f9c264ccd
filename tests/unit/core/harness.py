"""A broker's core with a recorder that remembers, and short names for common steps."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from penstock.core import asking, definitions, delivery, expiring, groups, publishing, settling
from penstock.core.asks import Ask
from penstock.core.broker import Broker, Delivery
from penstock.core.facts import Fact, Published
from penstock.core.group import Group
from penstock.core.queue import Queue
from penstock.core.session import Consumer, Session
from penstock.core.values import GroupSettings, QueueSettings
from penstock.net.codec import WireBlockCodec

UNLIMITED_BYTES = 1 << 30
BLOCK = b"x" * 100


class Core:
    """The core, its facts, and a clock."""

    def __init__(self, boot_epoch: int = 1) -> None:
        self.facts: list[Fact] = []
        self.held: list[Published] = []
        self.now_ms = 1_000_000
        self.broker = Broker(self, boot_epoch, WireBlockCodec())
        self._sessions = 0

    def record(self, fact: Fact) -> int:
        self.facts.append(fact)
        return len(self.facts)

    def together(self) -> AbstractContextManager[None]:
        return nullcontext()

    def hold(self, fact: Published) -> int:
        self.held.append(fact)
        return (1 << 63) + len(self.held)

    def queue(self, name: str = "jobs", **settings: Any) -> Queue:
        return definitions.declare(self.broker, name, QueueSettings(**settings), self.now_ms, 100)[0]

    def session(self, producer: bool = True) -> Session:
        self._sessions += 1
        session = Session(self._sessions, f"peer-{self._sessions}", self.broker.deadlines)
        self.broker.sessions[session.number] = session
        if producer:
            definitions.open_producer(self.broker, session, None, self.now_ms)
        return session

    def route(self, session: Session, number: int, queue: str) -> Queue:
        return publishing.open_route(self.broker, session, number, queue, 100)

    def publish(self, session: Session, *blocks: tuple[int, int], route: int = 1, block: bytes = BLOCK) -> None:
        """Publish blocks of (first sequence, count)."""
        entries = [(route, 0, first, count, block) for first, count in blocks]
        publishing.publish(self.broker, session, entries, self.now_ms)

    def fill(self, queue: Queue, *counts: int, block: bytes = BLOCK, visible: bool = True) -> Session:
        """Publish a block of each count into a queue, visible at once."""
        session = self.session()
        self.route(session, 1, queue.name)
        first = 1
        for count in counts:
            self.publish(session, (first, count), block=block)
            first += count
        if visible:
            delivery.make_visible(self.broker, queue, queue.log.next_offset)
        return session

    def consume(
        self,
        session: Session,
        queue: Queue,
        messages: int = 100,
        size_bytes: int = UNLIMITED_BYTES,
        number: int = 1,
        name: str = "",
        group: Group | None = None,
        **options: Any,
    ) -> Consumer:
        group = group or groups.default_group(self.broker, queue, self.now_ms)
        return delivery.consume(self.broker, session, group, number, messages, size_bytes, name, 100, **options)

    def group(self, queue: Queue, name: str, start: int = 0, **settings: Any) -> Group:
        return groups.declare_group(self.broker, queue, name, GroupSettings(**settings), start, self.now_ms, 100)[0]

    def dispatch(self) -> list[Delivery]:
        delivery.wake_delayed(self.broker, self.now_ms)
        self.expire()
        delivery.dispatch(self.broker, self.now_ms)
        deliveries, self.broker.deliveries = self.broker.deliveries, []
        return deliveries

    def expire(self) -> None:
        """Let go of everything that is due."""
        while expiring.expire(self.broker, self.now_ms):
            pass

    def publish_asking(self, session: Session, first_sequence: int, *asks: Ask, route: int = 1) -> None:
        """Publish a block of messages that ask, visible at once."""
        publication = (route, 0, first_sequence, len(asks), BLOCK)
        asking.publish(self.broker, session, publication, asks, (), self.now_ms)
        queue = session.routes[route].queue
        delivery.make_visible(self.broker, queue, queue.log.next_offset)

    def settle(
        self, session: Session, outcome: int, *ranges: tuple[int, int], duration_ms: int = 0, reason: str = "why"
    ) -> list[tuple[int, int]]:
        return settling.settle(self.broker, session, outcome, ranges, duration_ms, reason, self.now_ms)

    def pass_time(self, duration_ms: int) -> None:
        self.now_ms += duration_ms
        settling.expire_leases(self.broker, self.now_ms)

    def recorded(self, kind: type) -> list[Any]:
        return [fact for fact in self.facts if type(fact) is kind]


def offsets(deliveries: list[Delivery]) -> list[int]:
    """The offsets of deliveries, one by one."""
    return [offset for one in deliveries for offset in range(one.first, one.end)]
