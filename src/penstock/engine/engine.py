"""The engine: commands in, facts to the journal, effects out when what they promise holds.

    command --> core decides --> facts staged in the journal, effects gathered in ``Pending``
    turn()       time passes in core, ready messages are handed out, deliveries leave
    begin()      the gathered facts become one batch: one write, one sync, for everyone
    written()    confirms of level ``written`` leave
    committed()  confirms and replies leave; what was published becomes visible and is handed out (I2, I3)

Hand-outs and plain acks are journaled but nobody waits for them: such a batch is not urgent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

from penstock.core import (
    definitions,
    delivery,
    dropping,
    expiring,
    lifetimes,
    namespacing,
    publishing,
    scheduling,
    settling,
    transacting,
)
from penstock.core.broker import Broker, Confirm
from penstock.core.facts import (
    STORED,
    Acked,
    Fact,
    Leased,
    MovedTo,
    Published,
    PublishedTo,
)
from penstock.core.log import BlockRef
from penstock.core.queue import Queue
from penstock.core.records import (
    encode,
    shared_record,
    stored_header,
)
from penstock.core.replies import ReplyBoxes
from penstock.core.session import Session
from penstock.core.storing import Publication
from penstock.core.transacting import Transaction, TransactionLimits
from penstock.core.values import MEMORY, REFUSED, WRITTEN, Refusal, Refused
from penstock.engine import replies, requests
from penstock.engine.alarms import Alarms
from penstock.engine.backpressure import Backpressure
from penstock.engine.blocks import BlockStore, parse_stored
from penstock.engine.chroot import ChrootSink, inward_transaction
from penstock.engine.deadletters import DeadLetters
from penstock.engine.finding import Finder
from penstock.engine.interface import (
    BlockCodec,
    Calendar,
    ConfirmEntry,
    EngineLimits,
    Load,
    ReplyIn,
    Sink,
    StoredBlock,
    TagRange,
)
from penstock.engine.looking import Looker
from penstock.engine.oldest import OldestTimes
from penstock.engine.outbox import Outbox
from penstock.engine.recurrence import Recurrence
from penstock.engine.scheduler import Scheduler
from penstock.engine.setaside import SettingAside
from penstock.engine.sifting import Sifter
from penstock.storage.format import position_of
from penstock.storage.interface import Batch
from penstock.storage.journal import Journal

BATCH_CLOSE_BYTES: Final = 8 * 1024 * 1024
"""A gathering batch is closed at this size and the next begun: one record more (a 64 MiB body) still fits a batch, and
so does all of the largest transaction that may be configured."""


@dataclass(slots=True)
class Pending:
    """Effects that wait for the facts gathered with them."""

    confirms: list[Confirm] = field(default_factory=list)
    replies: list[tuple[int, int, dict[str, Any] | Refusal]] = field(default_factory=list)
    visible: dict[Queue, int] = field(default_factory=dict)
    has_written: bool = False

    def __bool__(self) -> bool:
        return bool(self.confirms or self.replies or self.visible)


@dataclass(slots=True)
class Commit:
    """One batch on its way to the disk, and what waits for it."""

    batch: Batch
    pending: Pending


class Together:
    """While it is entered, the engine's gathering batch is not closed for its size."""

    __slots__ = ("_engine", "depth")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.depth = 0

    def __enter__(self) -> None:
        self._engine.close_full_batch()
        self.depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.depth -= 1


class Engine:
    """One broker's data plane. All methods are called from one thread."""

    def __init__(
        self,
        journal: Journal,
        codec: BlockCodec,
        limits: EngineLimits,
        boot_epoch: int,
        clock_ms: Callable[[], int],
        calendar: Calendar | None = None,
    ) -> None:
        self.journal = journal
        self.codec = codec
        self.limits = limits
        self.clock_ms = clock_ms
        self.calendar = calendar
        self.blocks = BlockStore(limits.cache_bytes)
        self.broker = Broker(self, boot_epoch, codec)
        self.broker.dead_letter_settings = limits.dead_letters
        self.reply_boxes = ReplyBoxes(boot_epoch, limits.reply_bytes_max)
        self.sinks: dict[int, Sink] = {}
        self.loads: list[Load] = []
        """Reads that the driver is to make."""
        self.loading: dict[int, list[BlockRef]] = {}
        self.jobs: list[Callable[[], bool]] = []
        """Steps of longer work (redrive): called every turn until they return True."""
        self.wake: Callable[[], None] = lambda: None
        """Set by the driver: called when a command wants a turn."""
        self.on_expired: Callable[[lifetimes.Expired], None] = lambda _: None
        """Set by whoever composes the broker: told of each queue that ended because nobody used it."""
        self.failure: Exception | None = None
        self.commits = 0
        self.recorded_bytes = 0
        self.delivered = 0
        self.outbox = Outbox(self)
        self.backpressure = Backpressure(self)
        self.dead_letters = DeadLetters(self)
        self.setting_aside = SettingAside(self)
        self.finder = Finder(self)
        self.looker = Looker(self)
        self.oldest = OldestTimes(self)
        self.alarms = Alarms(self)
        self.scheduler = Scheduler(self)
        self.recurrence = Recurrence(self)
        self.sifter = Sifter(self)
        self._pending = Pending()
        self._closed: deque[Commit] = deque()
        self._in_flight: Commit | None = None
        self._unconfirmed: dict[int, int] = {}
        self._next_session = 1
        self._together = Together(self)
        self._stage = journal.stage

    # -- Recorder: how core's facts reach the journal ------------------------------------------------------------------

    def record(self, fact: Fact) -> int:
        """Stage a fact in the gathering batch."""
        if self.journal.staged_bytes > BATCH_CLOSE_BYTES:
            self.close_full_batch()
        if not isinstance(fact, (Leased, Acked)):  # the most frequent ones need not be compared with all others
            if isinstance(fact, STORED):
                header, block = stored_header(fact), fact.block
                size_bytes = len(header) + len(block)
                position = self._stage((header, block), size_bytes)
                self.blocks.add(position, fact.time_ms, block, len(header))
                self.recorded_bytes += size_bytes
                return position
            if isinstance(fact, (PublishedTo, MovedTo)):
                return self._record_shared(fact)
        record = encode(fact)
        self.recorded_bytes += len(record)
        return self._stage((record,), len(record))

    def _record_shared(self, fact: PublishedTo | MovedTo) -> int:
        """Stage a block that came through an exchange, and count it as live, once, if any queue needs it."""
        parts = shared_record(fact)
        size_bytes = sum(map(len, parts))
        position = self._stage(parts, size_bytes)
        self.recorded_bytes += size_bytes
        if fact.targets:
            self.blocks.add(position, fact.time_ms, fact.block)
            if len(fact.targets) > 1:
                self.blocks.shared.add(position, len(fact.targets))
        return position

    def together(self) -> Together:
        """What is recorded within is in one batch: a crash leaves all of it or nothing (I5, I14). May be nested."""
        return self._together

    def hold(self, fact: Published) -> int:
        """Keep a memory queue's block."""
        return self.blocks.hold(fact.time_ms, fact.block)

    # -- commands ------------------------------------------------------------------------------------------------------

    def open_session(self, sink: Sink, peer_name: str, namespace: str = "") -> int:
        """Begin a session, in a namespace or in the root; return its number.

        Raises Refused (unknown-namespace, namespace-full).
        """
        number = self._next_session
        session = Session(number, peer_name, self.broker.deadlines, self.clock_ms())
        if namespace:
            namespacing.enter(self.broker, session, namespace)
            sink = ChrootSink(sink, namespace)
        self._next_session += 1
        self.broker.sessions[number] = session
        self.sinks[number] = sink
        self._unconfirmed[number] = 0
        return number

    def close_session(self, session: int, lost: bool = True) -> None:
        """End a session: its leases return at once; nothing more reaches its sink."""
        if self.sinks.pop(session, None) is None:
            return
        del self._unconfirmed[session]
        self.outbox.forget(session)
        self.reply_boxes.close(session)
        self.backpressure.forget(session)
        settling.close_session(self.broker, self.broker.sessions[session], lost, self.clock_ms())
        self.wake()

    def publish(self, session: int, entries: Sequence[Publication], asking: Sequence[int] = ()) -> None:
        """Store blocks (structure checked before); every one is confirmed, once.

        ``asking`` are the indices of those whose properties may ask something of the broker.
        """
        count = entries[0][3] if len(entries) == 1 else sum([entry[3] for entry in entries])
        confirms = self.broker.confirms
        if self._unconfirmed[session] > 2 * self.limits.window_messages:
            self.broker.sessions[session].confirms_in_line = True
            confirms += [
                Confirm(session, route, REFUSED, level, "window-exceeded", first, messages, 0)
                for route, level, first, messages, _ in entries
            ]
        elif asking:
            self.scheduler.publish(self.broker.sessions[session], entries, asking)
        else:
            publishing.publish(self.broker, self.broker.sessions[session], entries, self.clock_ms())
        self._unconfirmed[session] += count
        self.wake()

    def way_of(self, session: int, route: int) -> tuple[str, str] | None:
        """Return the exchange and routing key of a route, None when it is not open."""
        found = self.broker.sessions[session].routes.get(route)
        return None if found is None else (found.exchange, found.routing_key)

    def settle(
        self, session: int, outcome: int, ranges: list[TagRange], duration_ms: int, reason: str, request: int
    ) -> None:
        """Apply an outcome to deliveries. With a request id the answer comes when it is durable (I4)."""
        stale = settling.settle(
            self.broker, self.broker.sessions[session], outcome, ranges, duration_ms, reason, self.clock_ms()
        )
        if request:
            result: dict[str, Any] | Refusal = {"stale": 0}
            if stale:
                result = Refusal(
                    "stale-delivery",
                    f"{len(stale)} of {len(ranges)} tag ranges are not held by this connection any more;"
                    " those messages are delivered again",
                )
            self._pending.replies.append((session, request, result))
        elif stale:
            self.sinks[session].stale(outcome, stale)
        self.wake()

    def reply(self, session: int, entries: Sequence[ReplyIn], request: int) -> None:
        """Pass replies on to who asked, at once: nothing of it is durable. With a request id the outcomes come back."""
        outcomes = replies.forward(self, self.broker.sessions[session], entries)
        if request:
            self.sinks[session].reply(request, {"outcomes": outcomes})

    def transact(self, session: int, request: int, transaction: Transaction) -> None:
        """Carry out a transaction; it is answered when all of it is durable, or refused with nothing changed."""
        if namespace := self.broker.sessions[session].namespace:
            transaction = inward_transaction(namespace, transaction)
        limits = TransactionLimits(self.limits.transaction_operations_max, self.limits.transaction_bytes_max)
        try:
            placed = transacting.transact(
                self.broker, self.broker.sessions[session], transaction, limits, self.clock_ms()
            )
        except Refused as refused:
            self.sinks[session].refuse(request, refused.refusal)
            return
        self.later(session, request, {"placed": [[[*part] for part in parts] for parts in placed]})

    def request(self, session: int, request: int, command: str, arguments: dict[str, Any]) -> None:
        """Carry out a named command; the sink gets one reply, refusal or peek for it."""
        try:
            result = requests.perform(self, self.broker.sessions[session], request, command, arguments)
        except Refused as refused:
            self.sinks[session].refuse(request, refused.refusal)
            return
        if result is not None:
            self._pending.replies.append((session, request, result))
        self.wake()

    def later(self, session: int, request: int, result: dict[str, Any] | Refusal) -> None:
        """Reply once everything recorded so far is durable."""
        self._pending.replies.append((session, request, result))
        self.wake()

    # -- time and commits ----------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Let time pass, hand out what is ready, and sort what core decided into effects."""
        now_ms = self.clock_ms()
        broker = self.broker
        settling.expire_leases(broker, now_ms)
        if broker.delayed_groups:
            delivery.wake_delayed(broker, now_ms)
        if broker.orphans:
            settling.skip_orphans(broker)
        if broker.timers.heap:
            scheduling.release_due(broker, now_ms)
        if broker.recurrings.by_name:
            self.recurrence.turn(now_ms)
        outdated = broker.expirations.heap or broker.overdue or broker.aging_queues or broker.age_deadlines
        if outdated or broker.use_deadlines:
            self._grow_older(now_ms)
        self._collect()
        if broker.ready_groups:
            delivery.dispatch(broker, now_ms)
        if broker.looking:
            self.looker.look()
            delivery.dispatch(broker, now_ms)
            if broker.looking:
                self.wake()
        self._send()
        if broker.sifting:
            self.sifter.step()
        if self.jobs:
            self.jobs = [step for step in self.jobs if not step()]
        if self._pending and not self._in_flight and not self.gathered_bytes:
            pending, self._pending = self._pending, Pending()
            self._release(pending)

    def _grow_older(self, now_ms: int) -> None:
        """What is over or too old leaves its queue (what is both, is over), and what nobody uses ends."""
        if expiring.expire(self.broker, now_ms):
            self.wake()
        dropping.drop_aged(self.broker, now_ms)
        for expired in lifetimes.end_unused(self.broker, now_ms):
            self.on_expired(expired)

    @property
    def gathered_bytes(self) -> int:
        """Bytes that are not with a commit yet."""
        return self.journal.staged_bytes + sum(commit.batch.nbytes for commit in self._closed)

    @property
    def urgent(self) -> bool:
        """True when something waits for the gathered facts."""
        return bool(self._pending or self._closed)

    def begin(self) -> Commit | None:
        """Close the gathering batch; None when there is nothing to write or a commit is under way."""
        if self._in_flight:
            return None
        if not self._closed:
            self._close_batch()
        self._in_flight = self._closed.popleft() if self._closed else None
        return self._in_flight

    def close_full_batch(self) -> None:
        """Close the gathering batch if it is full, and nothing is going on that has to be in one."""
        if self.journal.staged_bytes > BATCH_CLOSE_BYTES and not self._together.depth:
            self._close_batch()

    def _close_batch(self) -> None:
        batch = self.journal.take(self.clock_ms())
        if batch is not None:
            self._closed.append(Commit(batch, self._pending))
            self._pending = Pending()

    def written(self, commit: Commit) -> None:
        """The batch is with the operating system: confirms of that level leave, unless an older one waits (I9)."""
        waiting = {confirm.session for confirm in commit.pending.confirms if confirm.level != WRITTEN}
        early = [c for c in commit.pending.confirms if c.level == WRITTEN and c.session not in waiting]
        if early:
            left = set(map(id, early))
            commit.pending.confirms = [c for c in commit.pending.confirms if id(c) not in left]
            self.send_confirms(self.backpressure.take(early))

    def committed(self, commit: Commit) -> None:
        """The batch is on disk: release what waited for it, and hand out what became visible."""
        self._in_flight = None
        self.commits += 1
        self.blocks.durable_position = commit.batch.end
        self._release(commit.pending)
        self.turn()

    def failed(self, error: Exception, code: str) -> None:
        """Storage failed: nothing is confirmed any more, at any level (I2); every connection is told and closed."""
        self.failure = error
        self._pending = Pending()
        refusal = Refusal(code, f"the broker's storage failed and it stops: {error}")
        for sink in list(self.sinks.values()):
            sink.abort(refusal)

    def load(
        self,
        blocks: list[BlockRef],
        done: Callable[[dict[int, StoredBlock]], None],
        parse: Callable[[bytes], StoredBlock] = parse_stored,
    ) -> None:
        """Have blocks read from the journal; their segments stay until ``done`` has been called with them."""
        load = Load(blocks, done, parse)
        self.loading[id(load)] = blocks

        def arrived(found: dict[int, StoredBlock]) -> None:
            del self.loading[id(load)]
            done(found)

        load.done = arrived
        self.loads.append(load)

    def first_needed_position(self) -> int | None:
        """The lowest position that anything needs: blocks of open messages, deliveries on their way, reads."""
        positions = [block.position for blocks in self.loading.values() for block in blocks]
        positions += self.outbox.waiting_positions()
        if self.blocks.live_bytes_by_segment:
            positions.append(position_of(min(self.blocks.live_bytes_by_segment), 0))
        return min(positions, default=None)

    def next_due_ms(self) -> int | None:
        """When time alone makes something happen: a lease ends, a message is due, is over, or is too old."""
        times = [due for group in self.broker.delayed_groups if (due := group.next_due_ms()) is not None]
        broker = self.broker
        others = (
            broker.deadlines.next_ms(),
            broker.timers.next_ms(),
            expiring.next_ms(broker),
            self.recurrence.next_ms(),
        )
        times += [ms for ms in others if ms is not None]
        times += [heap[0][0] for heap in (self.broker.age_deadlines, self.broker.use_deadlines) if heap]
        return min(times, default=None)

    def expire_idle_producers(self) -> None:
        """Forget producers idle for longer than the configured time."""
        definitions.expire_producers(self.broker, self.clock_ms() - self.limits.producer_idle_ms)

    # -- effects -------------------------------------------------------------------------------------------------------

    def _collect(self) -> None:
        """Take what core decided since the last turn."""
        broker, pending = self.broker, self._pending
        if broker.published_queues:
            for queue in broker.published_queues:
                if queue.settings.durable:
                    pending.visible[queue] = queue.log.next_offset
                else:
                    delivery.make_visible(broker, queue, queue.log.next_offset)
            broker.published_queues.clear()
        if broker.confirms:
            confirms, broker.confirms = broker.confirms, []
            levels = {confirm.level for confirm in confirms}
            if MEMORY in levels:
                confirms = self.backpressure.take_memory(confirms)
            pending.confirms += confirms
            pending.has_written |= WRITTEN in levels

    def _send(self) -> None:
        broker = self.broker
        if broker.deliveries:
            deliveries, broker.deliveries = broker.deliveries, []
            self.outbox.deliver(deliveries)
        if broker.dying:
            dying, broker.dying = broker.dying, []
            self.dead_letters.bury(dying)
        if broker.overfull_queues:
            self.setting_aside.begin()
        if broker.cancelled:
            cancelled, broker.cancelled = broker.cancelled, []
            for session, consumer, refusal in cancelled:
                if (sink := self.sinks.get(session)) is not None:
                    sink.cancelled(consumer, refusal)
        if broker.orphans:
            self.wake()
        if broker.draining and not broker.dropped:
            broker.drain()
        if broker.dropped:
            dropped, broker.dropped = broker.dropped, []
            self.blocks.drop(dropped)
        if broker.draining:
            self.wake()
        if broker.relieved_queues:
            self.backpressure.release()

    def _release(self, pending: Pending) -> None:
        for queue, end_offset in pending.visible.items():
            delivery.make_visible(self.broker, queue, end_offset)
        self.send_confirms(self.backpressure.take(pending.confirms))
        for session, request, result in pending.replies:
            sink = self.sinks.get(session)
            if sink is None:
                continue
            if isinstance(result, Refusal):
                sink.refuse(request, result)
            else:
                sink.reply(request, result)

    def send_confirms(self, confirms: list[Confirm]) -> None:
        """Release confirms whose level holds: one call of the sink for each session."""
        by_session: dict[int, list[ConfirmEntry]] = {}
        unconfirmed = self._unconfirmed
        for confirm in confirms:
            session = confirm[0]
            entries = by_session.get(session)
            if entries is None:
                if session not in self.sinks:
                    continue
                entries = by_session[session] = []
            entries.append(confirm[1:])
            unconfirmed[session] -= confirm[6]
        for session, entries in by_session.items():
            self.sinks[session].confirm(entries)
