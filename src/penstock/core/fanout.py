"""Publishing through an exchange: one block into the logs of all its queues, by one fact.

    route --> plan: which queues (kept with the route until a binding changes)
                |
                +-- the same for the whole block: one fact that holds the block once and names every queue
                +-- by content (headers, hash of a key): the block is cut where its messages part ways, a fact for each
                    part, all in one batch of the journal: after a crash all of the block is there or none (I5)

A queue that deduplicates is left out where it knows a message's id, and the block is cut there too (SEMANTICS 7). What
all of its queues know already is confirmed as a duplicate.

Memory queues hold a copy of their own and are in no fact. A confirm then says ``memory``, the weakest of what is true,
and still waits for the fact of the others: so confirms of a stream stay in order (I9), and none says more than holds.
A part that no queue takes is refused, unless its producer said that this is no error: then that is a fact, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Final, NamedTuple

from penstock.core.bindings import find_exchange
from penstock.core.bounds import is_full_for
from penstock.core.broker import Broker, Confirm
from penstock.core.dedup import NO_ID
from penstock.core.dropping import drop_oldest
from penstock.core.exchange_settings import check_routing_key
from penstock.core.exchanges import Exchange, ExchangeStream
from penstock.core.facts import Published, PublishedTo
from penstock.core.intake import digests_in, note
from penstock.core.names import local_name
from penstock.core.namespacing import stop_code
from penstock.core.queue import Queue, Stream
from penstock.core.records import PUBLISHED_HEADER_BYTES
from penstock.core.routing import Plan, plan_for, plan_of
from penstock.core.session import Route, Session
from penstock.core.storing import note_terms
from penstock.core.values import DROP_OLDEST, DUPLICATE, MEMORY, OFFSET_UNKNOWN, REFUSED, STORED, QueueSettings

FANOUT_QUEUES_MAX: Final = 4096
"""Queues that one message may go to: about 5 ms of the loop, and 64 KiB of targets in the record."""
FANOUT_BYTES_MAX: Final = 256 * 1024 * 1024
"""A block's bytes times its queues. It is stored once, and sent as often as it has queues (SEMANTICS 21)."""

NOWHERE: Final = Queue(0, 0, "", QueueSettings(), 0, 0)
"""What a route through an exchange has for its queue: deleted, so that publishing looks again."""
NOWHERE.deleted = True

_NO_STREAM: Final = Stream()
"""A route through an exchange has its stream there."""

Publication = tuple[int, int, int, int, bytes]
"""(route, level, first sequence, count, block)"""


class ExchangeRoute(Route):
    """A route through an exchange, with the plan that holds while ``version`` is that of the exchanges."""

    __slots__ = ("mandatory", "plan", "source", "version")

    def __init__(self, exchange: Exchange, said: str, routing_key: str, mandatory: bool) -> None:
        super().__init__(said, routing_key, exchange.name, NOWHERE, _NO_STREAM)
        self.source = exchange
        self.mandatory = mandatory
        self.plan = Plan(())
        self.version = 0

    def current_plan(self, broker: Broker) -> Plan:
        """Return where messages go as bindings are now."""
        if self.version != broker.exchanges.version:
            self.plan = plan_of(broker, self.source, self.routing_key)
            self.version = broker.exchanges.version
        return self.plan


class _Part(NamedTuple):
    """Neighbours of a block that go to the same queues, and how many cycles were broken on their ways."""

    first: int
    end: int
    plan: Plan
    cycles: int


def open_exchange_route(
    broker: Broker, session: Session, number: int, exchange: str, routing_key: str, mandatory: bool, routes_max: int
) -> Exchange:
    """Have route ``number`` of a session lead through an exchange. Raises Refused (unknown-exchange, bad-binding)."""
    session.check_route(number, routes_max)
    source = find_exchange(broker, exchange)
    session.routes[number] = ExchangeRoute(source, session.said(exchange), check_routing_key(routing_key), mandatory)
    return source


def publish_through(broker: Broker, session: Session, route: ExchangeRoute, block: Publication, now_ms: int) -> None:
    """Store a block in every queue that its exchange leads to; its confirms go to ``broker.confirms``.

    There is one confirm for each part of the block, in order: nearly always one for all of it.
    """
    broker.confirms += _Publish(broker, session, route, block, now_ms).confirms()


class _Publish:
    """One block on its way through an exchange."""

    def __init__(
        self, broker: Broker, session: Session, route: ExchangeRoute, publication: Publication, now_ms: int
    ) -> None:
        self._broker = broker
        self._session = session
        self._route = route
        self._number, self._level, self._first, self._count, self._block = publication
        self._now_ms = now_ms
        self._recorded = False
        self._crowded: dict[Queue, None] = {}
        """Queues that may have to drop something, once all parts are recorded, one after the other."""

    def confirms(self) -> list[Confirm]:
        route, exchanges = self._route, self._broker.exchanges
        if route.source.deleted:
            found = exchanges.names.get(route.name)
            if found is None:
                return [self._refused("unknown-exchange")]
            route.source, route.version = found, 0
        stream = route.source.stream_of(self._session.producer)
        if self._first <= stream.last_sequence:
            return list(self._again(stream))
        if self._broker.stops_producers:
            return [self._refused(self._broker.stop_code(durable=True))]
        kept_as = local_name(route.name)
        block = self._broker.block_reader.came_by(self._block, route.exchange, route.routing_key, kept_as)
        parts = self._parts(block) if block is not None else None
        if block is None or parts is None:
            return [self._refused("bad-block")]
        self._block = block
        with self._broker.recorder.together():
            confirms = [confirm for part in parts for confirm in self._take(part)]
            for queue in self._crowded:
                drop_oldest(self._broker, queue)
        return confirms

    def _parts(self, block: bytes) -> list[_Part] | None:
        """Cut the block where its messages part ways; None when what decides that cannot be decoded."""
        plan = self._route.current_plan(self._broker)
        if not plan.by_content:
            return [_Part(0, self._count, plan, plan.cycles * self._count)]
        views = self._broker.block_reader.views(block)
        if views is None:
            return None
        parts: list[_Part] = []
        for index, view in enumerate(views):
            plan = plan_for(self._broker, self._route.source, self._route.routing_key, view)
            last = parts[-1] if parts else None
            if last is not None and last.plan.queues == plan.queues:
                parts[-1] = last._replace(end=index + 1, cycles=last.cycles + plan.cycles)
            else:
                parts.append(_Part(index, index + 1, plan, plan.cycles))
        return parts

    def _take(self, part: _Part) -> Iterator[Confirm]:
        """Take a part: in runs that the same queues know already, where any of them deduplicates."""
        judging = [queue for queue in part.plan.queues if queue.dedup is not None]
        digests = self._digests if judging else None
        if digests is None:
            yield self._take_run(part, (), ())
            return
        first = part.first
        while first < part.end:
            known, end = self._run(digests, first, part.end, judging)
            yield self._take_run(part._replace(first=first, end=end), known, digests[first:end])
            part = part._replace(cycles=0)
            first = end

    @cached_property
    def _digests(self) -> list[bytes] | None:
        """The ids in the block, None when it has none: decoded once, however many parts it is cut into."""
        return digests_in(self._broker, self._block)

    def _run(
        self, digests: Sequence[bytes], first: int, end: int, judging: Sequence[Queue]
    ) -> tuple[tuple[Queue, ...], int]:
        """Return which queues know the id of message ``first``, and where the messages end that the same ones know.

        An id twice in one block is new once: the second begins a run of its own.
        """
        windows = [
            (queue, queue.dedup, queue.dedup.live_from(self._now_ms)) for queue in judging if queue.dedup is not None
        ]

        def knowing(digest: bytes) -> tuple[Queue, ...]:
            if digest is NO_ID:
                return ()
            return tuple([queue for queue, window, live in windows if window.find(digest, live) is not None])

        known = knowing(digests[first])
        seen = {digests[first]}
        for index in range(first + 1, end):
            digest = digests[index]
            if (digest is not NO_ID and digest in seen) or knowing(digest) != known:
                return known, index
            seen.add(digest)
        return known, end

    def _take_run(self, part: _Part, known: tuple[Queue, ...], digests: Sequence[bytes]) -> Confirm:
        source, plan, count = self._route.source, part.plan, part.end - part.first
        level = MEMORY if plan.memory else self._level
        if known:
            queues = tuple([queue for queue in plan.queues if queue not in known])
            plan = plan._replace(queues=queues, memory=tuple([one for one in plan.memory if one in queues]))
        code = "" if known and not plan.queues else self._refusal_of(plan, count)
        if code:
            source.unroutable += count if code == "unroutable" else 0
            return self._refused(code, part.first, count)
        source.cycles_broken += part.cycles
        if level == MEMORY:
            self._session.confirms_in_line = True
        confirm = self._store(part._replace(plan=plan), level, digests)
        return confirm._replace(status=DUPLICATE) if known and not plan.queues else confirm

    def _refusal_of(self, plan: Plan, count: int) -> str:
        queues = plan.queues
        if not queues:
            return "unroutable" if self._route.mandatory else ""
        if len(queues) > FANOUT_QUEUES_MAX or len(queues) * len(self._block) > FANOUT_BYTES_MAX:
            return "limit-reached"
        size_bytes = (len(self._block) + PUBLISHED_HEADER_BYTES) * count // self._count
        if code := stop_code(queues[0], self._now_ms):  # all of them are in the namespace of the exchange
            return code
        return "queue-full" if any(is_full_for(queue, count, size_bytes) for queue in queues) else ""

    def _store(self, part: _Part, level: int, digests: Sequence[bytes]) -> Confirm:
        broker, queues, memory = self._broker, part.plan.queues, part.plan.memory
        durable = queues[: len(queues) - len(memory)]
        count, sequence = part.end - part.first, self._first + part.first
        block = self._block if count == self._count else broker.block_reader.slice(self._block, part.first, part.end)
        offset = queues[0].log.next_offset if len(queues) == 1 else OFFSET_UNKNOWN
        if memory:
            self._hold(memory, sequence, count, block)
        targets = tuple([(queue.number, queue.log.next_offset) for queue in durable])
        fact = PublishedTo(
            self._route.source.number, count, self._session.producer, sequence, level, self._now_ms, targets,
            self._recorded, block if targets else b"",
        )  # fmt: skip
        position = broker.recorder.record(fact)
        self._recorded = True
        broker.apply_published_to(fact, targets, len(block) + PUBLISHED_HEADER_BYTES, position)
        for queue in queues:
            broker.published_queues[queue] = None
            if queue.settings.overflow == DROP_OLDEST:
                self._crowded[queue] = None
            if queue.terms is not None or broker.asks is not None:
                note_terms(broker, queue, queue.log.next_offset - count, count, sequence, self._now_ms)
        for queue in queues if digests else ():
            if queue.dedup is not None:
                note(broker, queue, queue.log.next_offset - count, digests, self._now_ms)
        return self._confirm(STORED, level, sequence, count, offset)

    def _hold(self, queues: tuple[Queue, ...], sequence: int, count: int, block: bytes) -> None:
        """Put a copy into memory queues; their streams are the exchange's."""
        for queue in queues:
            fact = Published(
                queue.number,
                queue.log.next_offset,
                count,
                self._session.producer,
                sequence,
                MEMORY,
                self._now_ms,
                block,
            )
            position = self._broker.recorder.hold(fact)
            offset = queue.log.append(count, len(block) + PUBLISHED_HEADER_BYTES, position)
            if queue.ages is not None:
                self._broker.note_age(queue, offset, self._now_ms)

    def _again(self, stream: ExchangeStream) -> Iterator[Confirm]:
        """Say again what became of a block that was sent before: each stretch of it by its own outcome."""
        stream = stream.between(self._first, self._first + self._count)
        for first, end in pairwise(stream.cuts(self._first, self._first + self._count)):
            if not stream.was_taken(first):
                yield self._refused("sequence-order", first - self._first, end - first)
            else:
                level = MEMORY if stream.was_in_memory(first) else self._level
                if level == MEMORY:
                    self._session.confirms_in_line = True
                yield self._confirm(DUPLICATE, level, first, end - first, OFFSET_UNKNOWN)

    def _refused(self, code: str, start: int = 0, count: int | None = None) -> Confirm:
        count = self._count if count is None else count
        return self._confirm(REFUSED, self._level, self._first + start, count, OFFSET_UNKNOWN, code)

    def _confirm(self, status: int, level: int, first: int, count: int, offset: int, code: str = "") -> Confirm:
        return Confirm(self._session.number, self._number, status, level, code, first, count, offset)
