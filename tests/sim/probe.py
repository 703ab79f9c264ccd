"""The auditor's ears: wraps an engine so that the shadow hears every fact, hand-out and session, as they happen."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from tests.sim import recurring
from tests.sim.bodies import uids_of
from tests.sim.comparison import adopt_delays, adopt_sieves, compare
from tests.sim.dropping import check_aged, check_ages, check_room_was_made
from tests.sim.hearing import note_definition
from tests.sim.judge import Recorded
from tests.sim.lifetimes import check_may_end, check_none_lingers
from tests.sim.mail import Mail
from tests.sim.recurring import check_fired, check_none_is_late
from tests.sim.replay import Known
from tests.sim.scheduled import Cuts
from tests.sim.shadow import Shadow
from tests.sim.state import Place, ShadowConsumer, ShadowSession
from tests.sim.violation import Violation

from penstock.core.broker import Delivery
from penstock.core.facts import (
    STORED,
    Acked,
    Asked,
    Dead,
    Deleted,
    Discarded,
    Due,
    Expired,
    Fact,
    Fired,
    GroupDeleted,
    Held,
    Noted,
    Published,
    PublishedTo,
    Resumed,
    Scheduled,
    Unscheduled,
)
from penstock.core.records import PUBLISHED_HEADER_BYTES, encode
from penstock.core.values import DROPPED, ELSEWHERE, TRANSFERRED
from penstock.engine.deadletters import Redrive
from penstock.engine.engine import Engine
from penstock.engine.interface import Sink
from penstock.storage.format import LENGTH_BYTES

if TYPE_CHECKING:
    from tests.sim.history import History


class Outgoing(NamedTuple):
    """A hand-out that has to reach its session, in this order."""

    consumer: int
    attempt: int
    failures: int
    first_tag: int
    queue: int
    first: int
    end: int


class Probe:
    """Listens to one life of an engine."""

    def __init__(self, engine: Engine, shadow: Shadow, history: History) -> None:
        self.engine = engine
        self.shadow = shadow
        self.history = history
        self.settling = False
        """True while a client's own settle is under way: its acks are no redrive."""
        self.publishing = False
        """True while a client's publish is under way: dead letters are of what it dropped."""
        self.stored: list[Recorded] = []
        """Blocks stored for clients since someone last looked."""
        self.last_position = -1
        """Of the latest fact in the journal."""
        self.transaction = 0
        """The transaction under way: its facts are in one batch."""
        self._transaction_end = -1
        self.deleting = False
        """True while an operator deletes a queue."""
        self.leaving = False
        """True while a consumer is taken away."""
        self.removed = 0
        """Messages that the latest purge or delete took."""
        self.outgoing: dict[int, deque[Outgoing]] = {}
        self.mail = Mail(engine.limits.reply_bytes_max)
        self.cuts = Cuts(shadow, engine.clock_ms)
        self._moved: tuple[int, int, int] | None = None
        self._moved_end = -1
        self._part_end = -1
        self._copy: Published | None = None
        self._block_end = -1
        self._died_into: set[int] = set()
        self._wrap(engine)

    def _wrap(self, engine: Engine) -> None:
        self._turn = engine.turn
        self._open_session = engine.open_session
        self._close_session = engine.close_session
        self._deliver = engine.outbox.deliver
        self._emit = engine.broker.emit
        engine.broker.recorder = self
        for name in ("turn", "open_session", "close_session"):
            setattr(engine, name, getattr(self, name))
        engine.outbox.deliver = self.deliver  # type: ignore[method-assign]
        engine.broker.emit = self.emit  # type: ignore[method-assign]

    # -- facts ---------------------------------------------------------------------------------------------------------

    def record(self, fact: Fact) -> int:
        """A fact goes to the journal."""
        position = self.engine.record(fact)
        self.last_position = position
        if isinstance(fact, (*STORED, PublishedTo)):
            self._block_end = position + len(encode(fact))
        uids = uids_of(fact.block) if isinstance(fact, (Published, PublishedTo, Scheduled)) and fact.block else ()
        self.history.recorded(Known(position, fact, uids, self.transaction))
        if self.transaction:
            self._check_transaction(fact, position)
        self._note(fact, position)
        return position

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is recorded within has to be in one batch; a dead letter made its room in that."""
        together = self.engine.together()
        with together:
            yield
        if not together.depth:
            for number in self._died_into:
                check_room_was_made(self.shadow.queues[number])
            self._died_into.clear()

    def hold(self, fact: Published) -> int:
        """A block of a memory queue is kept."""
        self.history.held(fact, uids_of(fact.block))
        self._note(fact, -1)
        return self.engine.hold(fact)

    def emit(self, durable: bool, fact: Fact) -> None:
        """A fact is applied; those of memory queues and ephemeral groups are heard of here only."""
        if not durable:
            self._note(fact, -1)
        self._emit(durable, fact)

    def _note(self, fact: Fact, position: int) -> None:
        shadow = self.shadow
        match fact:
            case Published() | Scheduled() | Discarded() if self._is_of_a_publish(fact):
                self.stored.append((position, fact))
            case PublishedTo():
                self._check_parts(fact, position)
                self.stored.append((position, fact))
            case Scheduled() | Due() | Unscheduled():
                self.cuts.note(fact, position)
            case Published():
                uids = uids_of(fact.block)
                shadow.stored(fact, position, uids)
                self._moved = (uids[0], fact.queue, fact.first)
                if self.history.copying:
                    self.history.resent[uids[0]] = None
                self._moved_end = position + PUBLISHED_HEADER_BYTES + len(fact.block) if position >= 0 else -1
                self._copy = fact
            case Dead() | Held() | Resumed():
                self._died(fact, position)
            case Acked():
                self._acked(fact, position)
            case Discarded() | Expired():
                self._discarded(fact, position)
            case GroupDeleted():
                self._begun_anew(fact)
                self.removed += note_definition(shadow, fact)
            case Fired():
                self._fired(fact, position)
            case Asked() | Noted():
                self._check_beside_block(fact, position)
            case _:
                self._defined(fact)

    def _defined(self, fact: Fact) -> None:
        if isinstance(fact, Deleted) and not self.deleting:
            check_may_end(self.shadow, fact.queue, self.engine.clock_ms(), self.leaving)
        self.removed += note_definition(self.shadow, fact)

    def _is_of_a_publish(self, fact: Published | Scheduled | Discarded) -> bool:
        if self.publishing or self.transaction:
            return True
        return not isinstance(fact, Discarded) and fact.producer != 0

    def _acked(self, fact: Acked, position: int) -> None:
        if not (self.settling or self.transaction):  # else who asked for it tells the shadow
            self._check_one_batch(fact, position)
            self._redriven(fact)

    def _transferred(self, fact: Discarded) -> None:
        """A message that an operator moved: its copy, or for a marker the end of the hold, was the fact before."""
        [(first, end)] = fact.ranges
        message = self.shadow.queues[fact.queue].groups[fact.group].messages.get(first)
        if end != first + 1 or message is None or self._moved is None or self._moved[0] != message.stored.uid:
            raise Violation("I14", f"{fact} of {message} without its copy; the last copy is {self._moved}")
        self.history.resent[message.stored.uid] = None  # what one group moved goes to every group of the target
        self._moved = None

    def leave(self, session: int, number: int) -> None:
        """A consumer is about to be taken away: its queue was used until now."""
        consumer = self.shadow.sessions[session].consumers.get(number)
        self.leaving = consumer is not None
        if consumer is not None:
            consumer.group.queue.used_ms = self.engine.clock_ms()

    def begin_transaction(self, number: int) -> None:
        """What is recorded from now on, until it is ended with 0, belongs to this transaction."""
        self.transaction = number
        self.stored.clear()
        self.last_position = self._transaction_end = -1

    def _check_transaction(self, fact: Fact, position: int) -> None:
        """Its facts are neighbours in one batch, or a crash may come between them."""
        if self._transaction_end >= 0 and position != self._transaction_end + LENGTH_BYTES:
            raise Violation("I5", f"{fact} is in another batch than what its transaction did before: {position:#x}")
        self._transaction_end = position + len(encode(fact))

    def _dropped(self, fact: Discarded, position: int) -> None:
        queue = self.shadow.queues[fact.queue]
        check_aged(queue, fact, self.engine.clock_ms())
        if queue.settings.overflow_dead_letter:
            self._check_one_batch(fact, position)
            [(first, end)] = fact.ranges
            if self._moved is None or end != first + 1 or self._moved[0] != queue.stored[first].uid:
                raise Violation("I14", f"{fact} without its copy; the last copy is {self._moved}")
            self._died_into.add(self._moved[1])
            if position < 0:  # a restart forgets the queue, and its producer may send the message again
                self.history.resent[self._moved[0]] = None
            self._moved = None

    def _died(self, fact: Dead | Held | Resumed, position: int) -> None:
        if isinstance(fact, Resumed):
            self._resumed(fact, position)
            return
        self._check_one_batch(fact, position)
        if isinstance(fact, Dead):
            self._buried(fact, position)
        else:
            self._held(fact)

    def _begun_anew(self, fact: GroupDeleted) -> None:
        """What died in a default group is there again when that was deleted and begins anew."""
        queue = self.shadow.queues[fact.queue]
        if fact.group == queue.default:
            self.history.resent |= dict.fromkeys(one.uid for one in queue.stored.values())

    def _discarded(self, fact: Discarded | Expired, position: int) -> None:
        now_ms = self.engine.clock_ms()
        if isinstance(fact, Expired):
            self.shadow.expired(fact, now_ms)
            return
        if fact.reason == DROPPED:
            self._dropped(fact, position)
        elif fact.reason == TRANSFERRED:
            self._check_one_batch(fact, position)
            self._transferred(fact)
        elif self._moved_end >= 0 and position >= 0 and fact.reason == ELSEWHERE:
            self._check_one_batch(fact, position)
            self._moved_end = position + len(encode(fact))
        self.removed += self.shadow.discarded(fact, now_ms)

    def _check_beside_block(self, fact: Asked | Noted, position: int) -> None:
        """What messages ask for, and their ids, are recorded with them (I5); in a transaction anywhere in its batch."""
        if position < 0 or (self.transaction and isinstance(fact, Noted)):
            return
        if position != self._block_end + LENGTH_BYTES:
            raise Violation("I5", f"{fact} is in another batch than its block: {position:#x}, {self._block_end:#x}")
        self._block_end = self._part_end = position + len(encode(fact))
        if self._moved is not None:
            self._moved_end = self._block_end

    def _check_one_batch(self, fact: Fact, position: int) -> None:
        """The copy and the end of the original are neighbours in one batch, or a crash may come between them."""
        if position >= 0 and self._moved_end >= 0 and position != self._moved_end + LENGTH_BYTES:
            raise Violation("I14", f"{fact} is in another batch than its copy: {position:#x}, {self._moved_end:#x}")

    def _check_parts(self, fact: PublishedTo, position: int) -> None:
        """The parts of a block are neighbours in one batch, or a crash may come between them."""
        if fact.continues and position != self._part_end + LENGTH_BYTES:
            raise Violation("I5", f"{fact[:8]} is in another batch than the part before it: {self._part_end:#x}")
        self._part_end = position + len(encode(fact))

    def _fired(self, fact: Fired, position: int) -> None:
        """A recurring schedule fired: with its message, in one batch, at the right time."""
        started_ms = self.engine.recurrence.started_ms
        message = self._copy if self._moved is not None else None
        check_fired(self.shadow, fact, message, self.engine.clock_ms(), started_ms)
        if message is not None:
            self._check_one_batch(fact, position)
        self._moved = None
        recurring.apply(self.shadow, fact)

    def _buried(self, fact: Dead, position: int) -> None:
        group = self.shadow.queues[fact.queue].groups[fact.group]
        message = group.messages.get(fact.offset)
        if message is None or message.place is not Place.DYING:
            raise Violation("I14", f"{fact} of {message}, which was not dying")
        if self._moved != (message.stored.uid, fact.target, fact.target_offset):
            raise Violation("I14", f"{fact} of {message.stored.uid} without its copy; the last copy is {self._moved}")
        if position < 0:  # no fact says in which group it died
            self.history.resent[message.stored.uid] = None
        group.finish(fact.offset)
        group.dead += 1
        self._moved = None
        self._died_into.add(fact.target)

    def _held(self, fact: Held) -> None:
        group = self.shadow.queues[fact.queue].groups[fact.group]
        message = group.messages.get(fact.offset)
        if message is None or message.place is not Place.DYING or group.settings.on_dead != "hold":
            raise Violation("I14", f"{fact} of {message} in {group.label}, which does not hold it")
        if self._moved != (message.stored.uid, fact.target, fact.target_offset):
            raise Violation("I14", f"{fact} of {message.stored.uid} without its marker; the last copy is {self._moved}")
        group.put(message, Place.HELD)
        self._moved = None
        self._died_into.add(fact.target)

    def _resumed(self, fact: Resumed, position: int) -> None:
        group = self.shadow.queues[fact.queue].groups[fact.group]
        message = group.messages.get(fact.offset)
        if message is None or message.place is not Place.HELD:
            raise Violation("I14", f"{fact} of {message}, which is not held")
        group.resume(message)
        self._moved = (message.stored.uid, fact.queue, fact.offset)
        self._moved_end = position + len(encode(fact)) if position >= 0 else -1

    def _redriven(self, fact: Acked) -> None:
        [(first, end)] = fact.ranges
        group = self.shadow.queues[fact.queue].groups[fact.group]
        message = group.messages.get(first)
        if end != first + 1 or message is None or self._moved is None or self._moved[0] != message.stored.uid:
            raise Violation("I10", f"{fact} and no client acknowledged; the last copy is {self._moved}")
        for number, sink in self.engine.sinks.items():
            if isinstance(sink, Redrive):
                session = self.shadow.sessions[number]
                for tag in [t for t, held in session.tags.items() if (held.group, held.offset) == (group, first)]:
                    self.shadow.untag(session, tag)
                    self.shadow.acknowledged(group, first)
                    self._moved = None
                    return
        raise Violation("I10", f"{fact} by a redrive that does not hold it")

    # -- sessions and turns --------------------------------------------------------------------------------------------

    def open_session(self, sink: Sink, peer_name: str, namespace: str = "") -> int:
        """A session begins: a client's, or a redrive's."""
        number = self._open_session(sink, peer_name, namespace)
        self.shadow.sessions[number] = ShadowSession(number, peer_name, namespace)
        self.outgoing[number] = deque()
        return number

    def close_session(self, session: int, lost: bool = True) -> None:
        """A session ends."""
        if session in self.shadow.sessions:
            self.adopt()
            for consumer in self.shadow.sessions[session].consumers.values():
                consumer.group.queue.used_ms = self.engine.clock_ms()
            self.shadow.close_session(session, lost, self.engine.clock_ms())
        self._close_session(session, lost)
        self.mail.closed(session)
        self.adopt()

    def turn(self) -> None:
        """Time passes first, in both."""
        now_ms = self.engine.clock_ms()
        self.adopt()
        self.shadow.expire(now_ms)
        self.shadow.wake(now_ms)
        if self.history.copying:
            self._moved = None  # a copy that an operator made is of no original that has to end
        self._turn()
        self.adopt()
        self.shadow.look_at_breakers()
        self.cuts.check(self.engine.next_due_ms())
        check_none_is_late(self.shadow, self.engine.next_due_ms(), now_ms)
        if self._moved is not None and not self.history.copying:
            raise Violation("I14", f"a copy without the end of its original: {self._moved}")
        check_none_lingers(self.shadow, now_ms)
        waiting = [group.queue.number for group in self.engine.broker.ready_groups]
        for number, queue in self.shadow.queues.items():
            check_ages(queue, now_ms)
            if number not in waiting:
                queue.visible = self.engine.broker.queues[number].log.visible
                self.shadow.check_none_starves(queue, self._looking(), now_ms)

    def _looking(self) -> set[int]:
        """The keyed groups that wait for keys."""
        groups = [group for queue in self.engine.broker.queues.values() for group in queue.groups.values()]
        loading = {group.number for group in groups if group.index is not None and group.index.loading}
        return loading | {group.number for group in self.engine.broker.looking}

    def deliver(self, deliveries: list[Delivery]) -> None:
        """What a dispatch handed out, before it leaves."""
        self.adopt()
        self._check_visible()
        now_ms = self.engine.clock_ms()
        for delivery in deliveries:
            self.shadow.handed_out(delivery, now_ms)
            out = Outgoing(*delivery[1:5], delivery.queue.number, delivery.first, delivery.end)
            self.outgoing[delivery.session].append(out)
        self._deliver(deliveries)

    def adopt(self) -> None:
        """Look up what the shadow cannot know: jitter, and the credit that redrives give themselves."""
        adopt_delays(self.engine.broker, self.shadow)
        adopt_sieves(self.engine.broker, self.shadow)
        for number, sink in self.engine.sinks.items():
            if isinstance(sink, Redrive):
                self._adopt_redrive(number)

    def _adopt_redrive(self, number: int) -> None:
        session = self.engine.broker.sessions[number]
        self.shadow.sessions[number].marks_started = session.marks_started
        for lease in session.leases:  # it extends what it keeps back
            for tag in range(lease.first_tag, lease.first_tag + lease.count):
                held = self.shadow.sessions[number].tags.get(tag)
                if held is not None:
                    held.deadline_ms = lease.deadline_ms
        mine = self.shadow.sessions[number].consumers
        for consumer in session.consumers.values():
            credit = (consumer.prefetch_messages, consumer.prefetch_bytes)
            known = mine.get(consumer.number)
            if known is None:
                group = self.shadow.queues[consumer.group.queue.number].groups[consumer.group.number]
                one = ShadowConsumer(consumer.number, group, *credit, consumer.name)
                self.shadow.add_consumer(number, one)
            else:
                known.prefetch_messages, known.prefetch_bytes = credit

    def compare(self) -> None:
        """Hold everything against everything."""
        self.adopt()
        broker, blocks = self.engine.broker, self.engine.blocks
        compare(broker, self.shadow)
        self.mail.compare(self.engine.reply_boxes)
        kept = {
            block.position: block.size_bytes
            for queue in broker.queues.values()
            if queue.settings.durable
            for block in queue.log.all_blocks()
        }
        schedules = [queue.schedule for queue in broker.queues.values() if queue.schedule is not None]
        kept |= {position: size_bytes for schedule in schedules for position, size_bytes in schedule.kept()}
        if not broker.dropped and not broker.draining and blocks.live_bytes != sum(kept.values()):
            raise Violation("I12", f"{blocks.live_bytes} live bytes are counted, {sum(kept.values())} are needed")

    def look_at_memory(self) -> None:
        """Look up what the shadow cannot know before a publish: what memory queues have not dropped yet."""
        for number, queue in self.engine.broker.queues.items():
            if not queue.settings.durable:
                self.shadow.memory_bytes[number] = queue.log.live_bytes
        self.shadow.space_bytes = sum(one.stored_bytes for one in self.engine.broker.namespaces.by_name.values())

    def _check_visible(self) -> None:
        for number, queue in self.shadow.queues.items():
            visible = self.engine.broker.queues[number].log.visible
            for offset in range(queue.visible, visible):
                stored = queue.stored.get(offset)
                if stored is not None and not self.history.is_durable(stored.position):
                    raise Violation("I3", f"{queue.name} {offset} may be delivered and is not durable")
            queue.visible = visible
