"""Core alone beside the shadow: every command is given to both, and every fact goes through its journal form."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from tests.sim.bodies import SELECTOR, block_of, headers_of, key_of, uids_of
from tests.sim.comparison import adopt_delays, adopt_sieves, compare
from tests.sim.hearing import note_definition
from tests.sim.judge import Publication, Recorded
from tests.sim.lifetimes import check_may_end, check_none_lingers
from tests.sim.replay import Known, replayed
from tests.sim.shadow import Shadow
from tests.sim.state import Place, ShadowConsumer, ShadowGroup, ShadowQueue, ShadowSession
from tests.sim.transacting import carry_out, check_states, refusal
from tests.sim.violation import Violation

from penstock.core import asking, definitions, delivery, expiring, groups, lifetimes, publishing, settling, transacting
from penstock.core.asks import parse_asks
from penstock.core.broker import Broker
from penstock.core.facts import (
    Acked,
    Asked,
    Dead,
    Deleted,
    Discarded,
    Expired,
    Fact,
    Held,
    Published,
    PublishedTo,
    Resumed,
)
from penstock.core.group import Group
from penstock.core.keyed import look_at, wants_to_look
from penstock.core.operands import Fields
from penstock.core.queue import Queue
from penstock.core.records import (
    PUBLISHED_HEADER_BYTES,
    decode,
    encode,
)
from penstock.core.session import Session
from penstock.core.transacting import Transaction, TransactionLimits
from penstock.core.values import GroupSettings, QueueSettings, Refused
from penstock.net.codec import WireBlockCodec
from penstock_client.wire.blocks import BlockChecker, decode_properties

MEMORY_POSITION = 1 << 63
QUEUES_MAX = 8
GROUPS_MAX = 8
LIMITS = TransactionLimits(10_000, 1 << 20)


class Publishing(NamedTuple):
    """A block to publish, on a route."""

    route: int
    level: int
    first_sequence: int
    uids: tuple[int, ...]
    asks: bool = False
    """Its messages ask for times to live and priorities: which ones follows from their numbers."""

    def block(self) -> bytes:
        """What is published."""
        asks = [_TERMS[uid % len(_TERMS)] for uid in self.uids] if self.asks else None
        return block_of(self.uids, with_ids=True, asks=asks)


_TERMS: tuple[dict[str, Any] | None, ...] = (
    None,
    {"priority": 9},
    {"ttl_ms": 100},
    {"priority": 0, "ttl_ms": 3000},
    {"priority": 9, "ttl_ms": 500},
)


class CoreUnderTest:
    """A broker's core, its recorder, and the shadow."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000
        self.facts: list[Known] = []
        self.stored: list[Recorded] = []
        self.removed = 0
        self.settling = False
        self.transacting = False
        self.expiring = False
        """True while queues that nobody uses are ended."""
        self.dying: list[tuple[int, int]] = []
        self._next_position = 1
        self._next_session = 1
        self._next_uid = 1
        self._start(Broker(self, 1, WireBlockCodec()), Shadow(1))

    def _start(self, broker: Broker, shadow: Shadow) -> None:
        self.broker, self.shadow = broker, shadow
        self._emit: Callable[[bool, Fact], None] = broker.emit
        broker.emit = self.emit  # type: ignore[method-assign]

    # -- the recorder --------------------------------------------------------------------------------------------------

    def record(self, fact: Fact) -> int:
        """Keep a fact as the journal would: what is kept is what comes back from its bytes."""
        kept = decode(memoryview(encode(fact)))
        if kept != fact:
            raise Violation("I18", f"{fact} comes back from the journal as {kept}")
        position = self._next_position
        self._next_position += 1
        uids = uids_of(fact.block) if isinstance(fact, (Published, PublishedTo)) and fact.block else ()
        self.facts.append(Known(position, kept, uids, self.transacting))
        self._note(fact, position)
        return position

    def together(self) -> AbstractContextManager[None]:
        """Nothing is cut apart here."""
        return nullcontext()

    def hold(self, fact: Published) -> int:
        """Keep a memory queue's block."""
        self._next_position += 1
        self._note(fact, -1)
        return MEMORY_POSITION + self._next_position

    def emit(self, durable: bool, fact: Fact) -> None:
        """Facts of memory queues and ephemeral groups are heard of here."""
        if not durable:
            self._note(fact, -1)
        self._emit(durable, fact)

    def _note(self, fact: Fact, position: int) -> None:
        shadow = self.shadow
        match fact:
            case Published() if fact.producer or self.transacting:
                self.stored.append((position, fact))
            case PublishedTo():
                self.stored.append((position, fact))
            case Published():
                shadow.stored(fact, position, uids_of(fact.block))
            case Dead():
                group = shadow.queues[fact.queue].groups[fact.group]
                group.finish(fact.offset)
                group.dead += 1
            case Held():
                group = shadow.queues[fact.queue].groups[fact.group]
                group.put(group.messages[fact.offset], Place.HELD)
            case Resumed():
                group = shadow.queues[fact.queue].groups[fact.group]
                group.resume(group.messages[fact.offset])
            case Acked() if not (self.settling or self.transacting):
                for first, end in fact.ranges:
                    for offset in range(first, end):
                        self._take(shadow.queues[fact.queue].groups[fact.group], offset)
            case Discarded():
                self.removed += shadow.discarded(fact, self.now_ms)
            case Expired():
                shadow.expired(fact, self.now_ms)
            case _:
                self._defined(fact)

    def _defined(self, fact: Fact) -> None:
        if isinstance(fact, Deleted) and self.expiring:
            check_may_end(self.shadow, fact.queue, self.now_ms, leaving=False)
        self.removed += note_definition(self.shadow, fact)

    def _take(self, group: ShadowGroup, offset: int) -> None:
        for session in self.shadow.sessions.values():
            for tag in [t for t, held in session.tags.items() if (held.group, held.offset) == (group, offset)]:
                self.shadow.untag(session, tag)
        self.shadow.acknowledged(group, offset)

    # -- commands ------------------------------------------------------------------------------------------------------

    def declare(self, name: str, settings: QueueSettings) -> None:
        """Declare a queue that may exist."""
        known = self.shadow.names.get(name)
        queue, created = definitions.declare(self.broker, name, settings, self.now_ms, QUEUES_MAX)
        if created != (known is None) or queue.name != name:
            raise Violation("I12", f"{name} was declared: {created}, {known}")
        self.shadow.names[name].used_ms = self.now_ms

    def open_session(self) -> Session:
        """A connection begins, with a producer."""
        number = self._next_session
        self._next_session += 1
        session = self.broker.sessions[number] = Session(number, f"peer-{number}", self.broker.deadlines)
        self.shadow.sessions[number] = ShadowSession(number, session.name)
        return session

    def open_producer(self, session: Session, producer: int | None) -> None:
        """Bind a session to a producer."""
        number = definitions.open_producer(self.broker, session, producer, self.now_ms)
        self.shadow.sessions[session.number].producer = number

    def open_route(self, session: Session, number: int, queue: str) -> None:
        """Open a route."""
        found = publishing.open_route(self.broker, session, number, queue, 100)
        self.shadow.sessions[session.number].routes[number] = (queue, found.number)

    def new_uids(self, count: int) -> tuple[int, ...]:
        """Return numbers for new messages."""
        self._next_uid += count
        return tuple(range(self._next_uid - count, self._next_uid))

    def publish(self, session: Session, blocks: list[Publishing]) -> None:
        """Publish a frame; the confirms have to say what the shadow says."""
        entries = [(b.route, b.level, b.first_sequence, len(b.uids), b.block()) for b in blocks]
        self.publish_entries(session, entries)

    def publish_entries(self, session: Session, entries: list[Publication]) -> None:
        """Publish a frame of blocks that are encoded already."""
        self.stored.clear()
        for number, queue in self.broker.queues.items():
            self.shadow.memory_bytes[number] = queue.log.live_bytes
        for entry in entries:
            if BlockChecker(1 << 20).check(entry[4]):
                asks = parse_asks(decode_properties(entry[4]) or [], self.now_ms)
                asking.publish(self.broker, session, entry, asks, (), self.now_ms)
            else:
                publishing.publish(self.broker, session, [entry], self.now_ms)
        expected = self.shadow.publish(session.number, entries, self.stored, self.now_ms)
        confirms = [tuple(confirm) for confirm in self.broker.confirms]
        if confirms != [(session.number, *one[:7]) for one in expected]:
            raise Violation("I9", f"{confirms} for {entries}, expected {expected}")
        self.broker.confirms.clear()

    def make_visible(self, number: int, part: int) -> None:
        """A commit: some, or all, of what was published is durable."""
        mine, queue = self.shadow.queues[number], self.broker.queues[number]
        ends = [block.end for block in mine.blocks if block.end > mine.visible]
        if ends:
            end = ends[min(part, len(ends) - 1)]
            delivery.make_visible(self.broker, queue, end)
            mine.visible = end
            if end == queue.log.next_offset:
                self.broker.published_queues.pop(queue, None)

    def declare_group(self, queue: Queue, name: str, settings: GroupSettings, start: int) -> None:
        """Declare a group that may exist."""
        known = queue.group_names.get(name)
        new = known is None or not known.declared
        group, created = groups.declare_group(self.broker, queue, name, settings, start, self.now_ms, GROUPS_MAX)
        if created != new or group.name != name:
            raise Violation("I12", f"group {name} was declared: {created}")

    def delete_group(self, group: Group) -> None:
        """Delete a group; its consumers are told."""
        consumers = {(c.session.number, c.number) for c in group.consumers}
        self._deleting(lambda: groups.delete_group(self.broker, group), consumers, group.name)

    def pause(self, owner: Queue | Group, paused: bool) -> None:
        """Stop hand-outs, or let them go on."""
        groups.pause(self.broker, owner, paused)
        if not paused:
            queue, name = (owner, None) if isinstance(owner, Queue) else (owner.queue, owner.name)
            self.shadow.close_breakers(self.shadow.queues[queue.number], name)

    def consume(
        self,
        session: Session,
        group: Group,
        number: int,
        credit: tuple[int, int],
        priority: int = 0,
        choosy: bool = False,
    ) -> None:
        """Start a consumer."""
        if not group.declared:
            group = groups.default_group(self.broker, group.queue, self.now_ms)
        choosy = choosy and group.settings.mode == "shared"
        where = SELECTOR if choosy else None
        consumer = delivery.consume(self.broker, session, group, number, *credit, "", 100, priority, where=where)
        mine = self.shadow.queues[group.queue.number].groups[group.number]
        one = ShadowConsumer(number, mine, *credit, consumer.name, priority, choosy=choosy)
        self.shadow.add_consumer(session.number, one)

    def set_credit(self, session: Session, number: int, messages: int, size_bytes: int) -> None:
        """Change a consumer's credit."""
        delivery.set_credit(self.broker, session, number, messages, size_bytes)
        mine = self.shadow.sessions[session.number].consumers[number]
        mine.prefetch_messages, mine.prefetch_bytes = messages, size_bytes

    def cancel(self, session: Session, number: int, release: bool) -> None:
        """End a consumer."""
        delivery.remove_consumer(self.broker, delivery.find_consumer(session, number))
        self.shadow.sessions[session.number].consumers[number].group.queue.used_ms = self.now_ms
        if release:
            settling.release_unstarted(self.broker, session, number)
        self.shadow.cancel(session.number, number, release)

    def settle(
        self, session: Session, outcome: int, ranges: list[tuple[int, int]], duration_ms: int, reason: str
    ) -> None:
        """Settle tags, held or not; the stale ones have to be named."""
        self.settling = True
        rest = (outcome, ranges, duration_ms, reason, self.now_ms)
        stale = settling.settle(self.broker, session, *rest)
        self.settling = False
        expected = self.shadow.settle(session.number, *rest)
        if stale != expected:
            raise Violation("I10", f"settling {ranges}: {stale} are reported stale, {expected} are")
        self.adopt()

    def transact(self, session: Session, transaction: Transaction) -> None:
        """Carry out a transaction, possible or not: all of it, or nothing and the right refusal."""
        code = refusal(self.shadow, session.number, transaction)
        count, found = len(self.facts), ""
        placed: list[list[list[int]]] = []
        self.stored.clear()
        self.transacting = True
        try:
            parts = transacting.transact(self.broker, session, transaction, LIMITS, self.now_ms)
            placed = [[[*part] for part in block] for block in parts]
        except Refused as refused:
            found = refused.refusal.code
        self.transacting = False
        if found != code or (code and len(self.facts) > count):
            raise Violation("I5", f"{transaction} was refused with {found!r}, it had to be {code!r}")
        if not code:
            wanted = carry_out(self.shadow, session.number, transaction, self.stored, self.now_ms)
            check_states(self.shadow, transaction.writes)
            if placed != wanted:
                raise Violation("I6", f"{transaction} answered {placed}, it had to be {wanted}")
        self.stored.clear()
        self.adopt()

    def close_session(self, session: Session, lost: bool) -> None:
        """A connection is gone."""
        for consumer in self.shadow.sessions[session.number].consumers.values():
            consumer.group.queue.used_ms = self.now_ms
        settling.close_session(self.broker, session, lost, self.now_ms)
        self.shadow.close_session(session.number, lost, self.now_ms)
        self.adopt()

    def pass_time(self, duration_ms: int) -> None:
        """Time passes: leases end, delays are over."""
        self.now_ms += duration_ms
        settling.expire_leases(self.broker, self.now_ms)
        delivery.wake_delayed(self.broker, self.now_ms)
        self.shadow.expire(self.now_ms)
        self.shadow.wake(self.now_ms)
        self.adopt()
        self.expiring = True
        lifetimes.end_unused(self.broker, self.now_ms)
        self.expiring = False
        check_none_lingers(self.shadow, self.now_ms)

    def dispatch(self) -> None:
        """Hand out what is ready; every hand-out has to be legal, and no one may be left wanting."""
        settling.skip_orphans(self.broker)
        while expiring.expire(self.broker, self.now_ms):
            pass
        delivery.dispatch(self.broker, self.now_ms)
        while self.broker.looking:
            self._look(self.broker.looking.popitem()[0])
            delivery.dispatch(self.broker, self.now_ms)
        for one in self.broker.deliveries:
            self.shadow.handed_out(one, self.now_ms)
        self.broker.deliveries.clear()
        self.shadow.look_at_breakers()
        for queue in self.shadow.queues.values():
            self.shadow.check_none_starves(queue, now_ms=self.now_ms)

    def _look(self, group: Group) -> None:
        index = group.index
        if index is not None and wants_to_look(group):
            block = group.queue.log.block_at(index.next_look)
            stored = self.shadow.queues[group.queue.number].stored
            keys = [
                key_of(stored[offset].uid) if offset in stored else None for offset in range(block.first, block.end)
            ]
            if look_at(group, block.first, keys):
                self.broker.delayed_groups[group] = None
            self.broker.ready_groups[group] = None

    def sift(self, number: int, count: int) -> None:
        """Have a selector look at the next messages, as the engine does with their blocks."""
        waiting = list(self.broker.sifting)
        sieve = waiting[number % len(waiting)]
        del self.broker.sifting[sieve]
        group = sieve.group
        first = None if group.deleted or group.queue.deleted else sieve.next_look()
        if first is None or sieve not in group.sieves:
            return
        stored = self.shadow.queues[group.queue.number].stored
        end = min(first + count, group.queue.log.visible)
        sieve.look(self.broker, first, [Fields(headers_of(stored[o].uid) or {}, {}) for o in range(first, end)])
        adopt_sieves(self.broker, self.shadow)

    def bury(self) -> None:
        """Move what is dying to the dead letters."""
        dying, self.broker.dying = self.broker.dying, []
        for one in dying:
            queue = one.group.queue
            message = self.shadow.queues[queue.number].groups[one.group.number].messages[one.offset]
            if message.place is not Place.DYING:
                raise Violation("I14", f"{message} of {queue.name} is not dying")
            settling.bury(self.broker, one, block_of((message.stored.uid,)), self.now_ms, QUEUES_MAX)

    def resume(self, session: Session, tag: int) -> None:
        """Redrive one marker that a session holds."""
        held = self.shadow.sessions[session.number].tags.get(tag)
        queue = self.broker.queues[held.group.queue.number] if held else None
        if held is None or queue is None or held.offset not in queue.markers:
            return
        if not settling.resume(self.broker, session, tag, queue, held.offset):
            raise Violation("I14", f"the marker under tag {tag} is held, and was not resumed")

    def move(self, session: Session, tag: int, target: Group) -> None:
        """Redrive one message that a session holds, or believes to hold."""
        held = self.shadow.sessions[session.number].tags.get(tag)
        uid = held.group.messages[held.offset].stored.uid if held else 0
        moved = settling.move(self.broker, session, tag, target, block_of((uid,)), self.now_ms)
        if moved != (held is not None):
            raise Violation("I14", f"moved {moved} under tag {tag}, which is held as {held}")

    def purge(self, queue: Queue) -> None:
        """Purge a queue."""
        self.removed = 0
        if definitions.purge(self.broker, queue.keepers()) != self.removed:
            raise Violation("I12", f"a purge of {queue.name} took {self.removed} messages and said otherwise")

    def delete(self, queue: Queue) -> None:
        """Delete a queue; its consumers are told."""
        consumers = {(c.session.number, c.number) for group in queue.groups.values() for c in group.consumers}
        self._deleting(lambda: definitions.delete(self.broker, queue, False, False), consumers, queue.name)

    def _deleting(self, delete: Callable[[], int], consumers: set[tuple[int, int]], name: str) -> None:
        self.removed = 0
        if delete() != self.removed:
            raise Violation("I12", f"deleting {name} took {self.removed} messages and said otherwise")
        told = {(one.session, one.consumer) for one in self.broker.cancelled}
        if told != consumers:
            raise Violation("I20", f"{name} is gone: {told} were told, {consumers} consumed")
        self.broker.cancelled.clear()

    def expire_producers(self) -> None:
        """Forget producers that are idle and not connected."""
        connected = {session.producer for session in self.shadow.sessions.values()}
        idle = {p for p, last_ms in self.shadow.producers.items() if last_ms < self.now_ms and p not in connected}
        definitions.expire_producers(self.broker, self.now_ms)
        if idle & set(self.broker.producers):
            raise Violation("I13", f"producers {idle} are idle and were kept")

    def restart(self, lost_facts: int) -> None:
        """The broker dies; the latest facts may be lost. What is rebuilt has to be what the rest says (I18).

        What messages ask for is in one batch with them, and so are both lost or none.
        """
        kept = len(self.facts) - lost_facts
        while kept < len(self.facts) and isinstance(self.facts[kept].fact, Asked):
            kept -= 1
        self.facts = self.facts[:kept]
        epoch = self.broker.boot_epoch + 1
        broker, shadow = Broker(self, epoch, WireBlockCodec()), replayed(self.facts, epoch)
        for known in self.facts:
            _apply(broker, known)
        broker.dropped.clear()
        broker.reopen(self.now_ms)
        for queue in shadow.queues.values():
            queue.used_ms = self.now_ms
        self._start(broker, shadow)

    # -- checks --------------------------------------------------------------------------------------------------------

    def adopt(self) -> None:
        """Look up what jitter decided."""
        adopt_delays(self.broker, self.shadow)
        adopt_sieves(self.broker, self.shadow)

    def check(self) -> None:
        """Hold everything against everything (I8, I10, I12, I13)."""
        compare(self.broker, self.shadow)
        dropped, self.broker.dropped = self.broker.dropped, []
        shared = {one.position for one in self.facts if isinstance(one.fact, PublishedTo)}
        kept = {block.position for queue in self.broker.queues.values() for block in queue.log.all_blocks()} - shared
        if kept & {block.position for block in dropped}:
            raise Violation("I1", "a block was dropped that its queue still has")

    def queue_of(self, number: int) -> tuple[Queue, ShadowQueue]:
        """Return a queue, twice."""
        return self.broker.queues[number], self.shadow.queues[number]


def _apply(broker: Broker, known: Known) -> None:
    fact = known.fact
    if isinstance(fact, PublishedTo):
        broker.apply_published_to(fact, fact.targets, len(fact.block) + PUBLISHED_HEADER_BYTES, known.position)
        return
    if not isinstance(fact, Published):
        broker.apply(fact)
        return
    queue = broker.queues.get(fact.queue)
    if queue is not None:
        size = len(fact.block) + PUBLISHED_HEADER_BYTES
        rest = (fact.producer, fact.first_sequence, fact.time_ms)
        broker.apply_published(queue, fact.message_count, size, known.position, *rest)
