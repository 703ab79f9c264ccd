"""Deliberately broken brokers (T27): the canaries. A simulator that lets one of them live proves nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Final
from unittest.mock import patch

from tests.sim.breaker_mutants import BREAKER_MUTANTS
from tests.sim.exchange_mutants import EXCHANGE_MUTANTS

from penstock.core import (
    definitions,
    delivery,
    dropping,
    intake,
    lifetimes,
    namespacing,
    scheduling,
    settling,
    transacting,
)
from penstock.core.bounds import room
from penstock.core.broker import Broker, Confirm, Delivery
from penstock.core.dedup import DedupWindow
from penstock.core.facts import (
    Due,
    Fact,
    Fired,
    Overflowed,
    Repeated,
)
from penstock.core.group import Group
from penstock.core.matching import Destination
from penstock.core.namespaces import Namespace, Namespaces
from penstock.core.operands import Fields
from penstock.core.priorities import Lanes, Next
from penstock.core.queue import Queue, Stream
from penstock.core.ranges import OffsetRange, RangeSet
from penstock.core.rates import Bucket
from penstock.core.recurring import Recurring
from penstock.core.replies import ReplyBoxes
from penstock.core.session import Consumer, Session
from penstock.core.sieve import Choice, Sieve
from penstock.core.terms import Terms
from penstock.core.usage import Usage
from penstock.core.values import ACK, REPLY_PREFIX, STORED
from penstock.engine import recovery, replies
from penstock.engine.backpressure import Backpressure
from penstock.engine.chroot import ChrootSink
from penstock.engine.engine import Commit, Engine
from penstock.engine.housekeeping import Cycle, Housekeeping, Io
from penstock.engine.recovery import Recovery as EngineRecovery
from penstock.engine.recurrence import Recurrence
from penstock.storage.errors import StorageError
from penstock.storage.recovery import Recovery
from penstock.storage.segments import Segment
from penstock.storage.writer import SegmentWriter


class _Apart(nullcontext[None]):
    """In place of ``Together``: what is recorded within may be in two batches."""

    depth = 0


@contextmanager
def no_sync() -> Iterator[None]:
    """Nothing is synced, and everything is said to be."""

    def sync(self: SegmentWriter) -> None:
        self.durable_position = self.written_end

    with patch.object(SegmentWriter, "_sync", sync):
        yield


@contextmanager
def no_directory_sync() -> Iterator[None]:
    """Segments are synced, their directory entries are not."""
    original = SegmentWriter._sync

    def sync(self: SegmentWriter) -> None:
        self._entry_durable = True
        original(self)

    with patch.object(SegmentWriter, "_sync", sync):
        yield


@contextmanager
def sync_again_after_failure() -> Iterator[None]:
    """A failed sync is tried once more, and believed."""
    original = SegmentWriter._sync

    def sync(self: SegmentWriter) -> None:
        try:
            original(self)
        except StorageError:
            original(self)

    with patch.object(SegmentWriter, "_sync", sync):
        yield


@contextmanager
def tail_not_rewritten() -> Iterator[None]:
    """After an unclean stop the page cache is taken for the disk (storage rule 5)."""

    def rewrite(self: Recovery, segment: Segment) -> None:
        self._proven = segment.end_position

    with patch.object(Recovery, "_rewrite", rewrite):
        yield


@contextmanager
def confirm_when_written() -> Iterator[None]:
    """Confirms of level synced leave after the write."""

    def written(self: Engine, commit: Commit) -> None:
        confirms, commit.pending.confirms = commit.pending.confirms, []
        self.send_confirms(confirms)

    with patch.object(Engine, "written", written):
        yield


@contextmanager
def deliver_before_durable() -> Iterator[None]:
    """What was published is visible at once."""
    original = Engine._collect

    def collect(self: Engine) -> None:
        for queue in self.broker.published_queues:
            delivery.make_visible(self.broker, queue, queue.log.next_offset)
        original(self)

    with patch.object(Engine, "_collect", collect):
        yield


@contextmanager
def settle_without_tag_check() -> Iterator[None]:
    """An ack counts whoever holds the tag."""
    original = settling.settle

    def settle(broker: Broker, session: Session, outcome: int, ranges: Iterable[tuple[int, int]], *rest: Any) -> Any:
        stale = original(broker, session, outcome, ranges, *rest)
        for first, last in stale if outcome == ACK else ():
            for other in list(broker.sessions.values()):
                settling.acknowledge(broker, other.take(first, last + 1))
        return stale

    with patch.object(settling, "settle", settle):
        yield


@contextmanager
def credit_off_by_one() -> Iterator[None]:
    """A consumer gets one message more than it asked for."""

    def wants(self: Consumer) -> bool:
        return self.leased_messages <= self.prefetch_messages and self.leased_bytes < self.prefetch_bytes

    def room_for(self: Consumer, unit_bytes: int) -> int:
        return max(1, min(self.prefetch_messages + 1 - self.leased_messages, 1))

    with patch.object(Consumer, "wants", wants), patch.object(Consumer, "room_for", room_for):
        yield


@contextmanager
def requeue_at_the_end() -> Iterator[None]:
    """What comes back is handed out in the order of coming back."""

    def give_back(self: Group, first: int, end: int) -> None:
        self._returned.append((first, end))
        self.returned_count += end - first

    with patch.object(Group, "give_back", give_back):
        yield


@contextmanager
def no_deduplication() -> Iterator[None]:
    """A block that is sent again is stored again."""
    original = Stream.advance

    def advance(self: Stream, first_sequence: int, count: int, offset: int) -> None:
        original(self, first_sequence, count, offset)
        self.last_sequence = 0

    with patch.object(Stream, "advance", advance):
        yield


@contextmanager
def ids_forgotten_at_restart() -> Iterator[None]:
    """Message ids are kept in memory only."""
    original = EngineRecovery.finish

    def finish(self: EngineRecovery) -> None:
        original(self)
        for queue in self._engine.broker.queues.values():
            if queue.dedup is not None:
                queue.dedup = DedupWindow(queue.dedup.window_ms, queue.dedup.count_max)

    with patch.object(EngineRecovery, "finish", finish):
        yield


@contextmanager
def ids_kept_for_ever() -> Iterator[None]:
    """An id never leaves by time."""
    with patch.object(DedupWindow, "live_from", lambda _self, _now_ms: 0):
        yield


@contextmanager
def duplicates_leave_no_trace() -> Iterator[None]:
    """A duplicate by its id does not use up its sequence."""
    original = Broker.emit

    def emit(self: Broker, durable: bool, fact: Fact) -> None:
        if not isinstance(fact, Repeated):
            original(self, durable, fact)

    with patch.object(Broker, "emit", emit):
        yield


@contextmanager
def confirms_do_not_wait_for_room() -> Iterator[None]:
    """A queue at its bound confirms as if it were not."""
    with patch.object(Backpressure, "take", lambda _self, confirms: confirms):
        yield


@contextmanager
def held_confirms_are_overtaken() -> Iterator[None]:
    """Only what is stored waits for room; refusals and duplicates behind it do not."""
    original = Backpressure.take

    def take(self: Backpressure, confirms: list[Confirm]) -> list[Confirm]:
        leaving = original(self, [one for one in confirms if one.status == STORED])
        return leaving + [one for one in confirms if one.status != STORED]

    with patch.object(Backpressure, "take", take):
        yield


@contextmanager
def held_confirms_are_forgotten() -> Iterator[None]:
    """Room that consumers make is not noticed."""
    with patch.object(Backpressure, "release", lambda _self: None):
        yield


@contextmanager
def room_for_one_more() -> Iterator[None]:
    """A queue that rejects or drops takes one message beyond its bound."""
    with patch.object(intake, "room", lambda *asked: room(*asked) + 1):
        yield


@contextmanager
def dropping_takes_leased() -> Iterator[None]:
    """The oldest is dropped, whoever holds it."""

    def loose_ranges(self: Group) -> list[tuple[int, int]]:
        return self.open_ranges(dying=True)

    original = Group.take_waiting

    def take_waiting(self: Group, ranges: Sequence[OffsetRange], *rest: int | None) -> list[OffsetRange]:
        if rest:  # they expire
            return original(self, ranges, *rest)
        there = RangeSet(self.open_ranges(dying=True))
        return [part for one in ranges for part in there.within(*one)]

    with patch.object(Group, "loose_ranges", loose_ranges), patch.object(Group, "take_waiting", take_waiting):
        yield


@contextmanager
def the_newest_is_dropped_as_oldest() -> Iterator[None]:
    """What waits longest is kept."""
    original = Group.loose_ranges

    def loose_ranges(self: Group) -> list[tuple[int, int]]:
        return [(end - 1, end) for _, end in original(self)[-1:]]

    with patch.object(Group, "loose_ranges", loose_ranges):
        yield


@contextmanager
def dead_letters_make_no_room() -> Iterator[None]:
    """A dead letter is kept above the bound of a queue that drops its oldest."""
    with patch.object(settling, "bound_dead_letters", lambda *_: None):
        yield


@contextmanager
def nothing_grows_old() -> Iterator[None]:
    """No message is dropped for its age."""
    with patch.object(dropping, "drop_aged", lambda broker, _now_ms: broker.aging_queues.clear()):
        yield


@contextmanager
def dropping_leaves_no_trace() -> Iterator[None]:
    """What is dropped does not use up its sequence."""
    original = Broker.emit

    def emit(self: Broker, durable: bool, fact: Fact) -> None:
        if not isinstance(fact, Overflowed):
            original(self, durable, fact)

    with patch.object(Broker, "emit", emit):
        yield


@contextmanager
def batches_split_anywhere() -> Iterator[None]:
    """A dead letter's copy and the end of its original may be in two batches."""
    with patch.object(Engine, "together", _Apart):
        yield


@contextmanager
def transactions_cut_apart() -> Iterator[None]:
    """A full batch is closed in the middle of a transaction."""
    original = transacting.transact

    def transact(broker: Broker, *rest: Any) -> Any:
        with patch.object(broker.recorder, "together", nullcontext):
            return original(broker, *rest)

    with patch.object(transacting, "transact", transact):
        yield


@contextmanager
def transactions_without_tag_check() -> Iterator[None]:
    """What a transaction names and does not hold is left out, the rest happens."""
    with patch.object(transacting, "_check_acks", lambda *_: None):
        yield


@contextmanager
def state_without_comparing() -> Iterator[None]:
    """Whoever writes last wins."""
    with patch.object(transacting, "has_changed", lambda *_: False):
        yield


@contextmanager
def state_not_in_snapshots() -> Iterator[None]:
    """A snapshot has no state of groups."""
    with patch.object(recovery, "_snapshot_state", lambda _: None):
        yield


@contextmanager
def discard_by_snapshot_alone() -> Iterator[None]:
    """Segments in front of the older snapshot go, needed or not."""

    def discard(self: Housekeeping) -> Cycle:
        older = self._snapshots.older_position
        if older is not None:
            yield Io(lambda: self._journal.discard_before(older))

    with patch.object(Housekeeping, "_discard", discard):
        yield


@contextmanager
def expired_leases_kept() -> Iterator[None]:
    """Leases never end by time."""

    def expire(broker: Broker, now_ms: int) -> None:
        broker.deadlines.pop_due(now_ms)

    with patch.object(settling, "expire_leases", expire):
        yield


@contextmanager
def purge_takes_leased() -> Iterator[None]:
    """A purge ends what consumers hold as well."""

    def take_unleased(self: Group) -> tuple[tuple[int, int], ...]:
        self._returned, self._due = [], []
        self.returned_count = self.delayed_count = 0
        low, end = self.low_offset, self.queue.log.next_offset
        return ((low, self.next_offset), (self.next_offset, end)) if low < end else ()

    with patch.object(Group, "take_unleased", take_unleased):
        yield


@contextmanager
def deliveries_out_of_order() -> Iterator[None]:
    """The deliveries of a turn leave backwards."""
    original = Engine._send

    def send(self: Engine) -> None:
        queues: dict[Queue, None] = {one.queue: None for one in self.broker.deliveries}
        deliveries: list[Delivery] = self.broker.deliveries
        if queues:
            self.broker.deliveries = deliveries[::-1]
        original(self)

    with patch.object(Engine, "_send", send):
        yield


@contextmanager
def reply_addresses_without_epoch() -> Iterator[None]:
    """A reply address of an earlier boot leads to whoever has that session's number now."""
    original = ReplyBoxes.target

    def target(self: ReplyBoxes, address: str) -> int | None:
        head, _, session = address.rpartition(".")
        return original(self, f"{REPLY_PREFIX}{self._boot_epoch}.{session}" if head else address)

    with patch.object(ReplyBoxes, "target", target):
        yield


@contextmanager
def nothing_is_together() -> Iterator[None]:
    """The parts of a scheduled block, and what a cancel leaves of one, may be in different batches."""
    with patch.object(Engine, "together", _Apart):
        yield


@contextmanager
def reply_boxes_without_bound() -> Iterator[None]:
    """Replies pile up for who does not read them."""

    def put(self: ReplyBoxes, session: int, size_bytes: int, message_count: int) -> bool:
        self.delivered_count += message_count
        return True

    with patch.object(ReplyBoxes, "put", put):
        yield


@contextmanager
def released_before_durable() -> Iterator[None]:
    """What became due is visible before that is on disk."""
    original = scheduling.release_due

    def release_due(broker: Broker, now_ms: int) -> None:
        before = set(broker.published_queues)
        original(broker, now_ms)
        for queue in broker.published_queues:
            if queue not in before:
                delivery.make_visible(broker, queue, queue.log.next_offset)

    with patch.object(scheduling, "release_due", release_due):
        yield


@contextmanager
def replies_handed_over_twice() -> Iterator[None]:
    """A full box has its asker given what it was given before."""
    original = replies._Forwarding.hand_over

    def hand_over(self: replies._Forwarding) -> None:
        blocks = dict(self._blocks)
        original(self)
        self._blocks = blocks

    with patch.object(replies._Forwarding, "hand_over", hand_over):
        yield


@contextmanager
def tokens_not_taken() -> Iterator[None]:
    """A rate is looked at and never drawn from."""

    def take(self: Bucket, count: int) -> None:
        """It stays full."""

    with patch.object(Bucket, "take", take):
        yield


@contextmanager
def released_again_after_restart() -> Iterator[None]:
    """That something became due is forgotten, though it was handed out."""
    original = Broker.emit

    def emit(self: Broker, durable: bool, fact: Fact) -> None:
        original(self, durable and not isinstance(fact, Due), fact)

    with patch.object(Broker, "emit", emit):
        yield


@contextmanager
def tokens_not_waited_for() -> Iterator[None]:
    """What a rate holds back is not handed out when its time has come."""

    def next_ms(self: Bucket) -> int:
        return 0

    with patch.object(Bucket, "next_ms", next_ms):
        yield


@contextmanager
def fires_again_after_restart() -> Iterator[None]:
    """That a recurring schedule fired is forgotten, though its message was published."""
    original = Broker.emit

    def emit(self: Broker, durable: bool, fact: Fact) -> None:
        original(self, durable and not isinstance(fact, Fired), fact)

    with patch.object(Broker, "emit", emit):
        yield


@contextmanager
def leases_begin_when_extended() -> Iterator[None]:
    """An extension moves the start of a lease, which a failure's history then tells."""
    original = Session.extend

    def extend(self: Session, first_tag: int, end_tag: int, until_ms: int) -> int:
        held = original(self, first_tag, end_tag, until_ms)
        for lease in self.leases:
            if first_tag <= lease.first_tag < end_tag:
                lease.leased_at_ms = until_ms
        return held

    with patch.object(Session, "extend", extend):
        yield


@contextmanager
def expired_while_leased() -> Iterator[None]:
    """The time of a message is over whoever holds it."""

    def take_waiting(self: Group, ranges: Sequence[OffsetRange], *rest: int | None) -> list[OffsetRange]:
        held = [part for one in ranges for part in self.outstanding.holding_keys(*one)]
        return list(RangeSet([*original(self, ranges, *rest), *held]))

    original = Group.take_waiting
    with patch.object(Group, "take_waiting", take_waiting):
        yield


@contextmanager
def missed_firings_are_late_ones() -> Iterator[None]:
    """What passed while the broker was down is made up for one by one, whatever the rule says."""
    original = Recurrence._fire

    def fire(self: Recurrence, one: Recurring, now_ms: int, started_ms: int) -> None:
        del started_ms
        original(self, one, now_ms, 0)

    with patch.object(Recurrence, "_fire", fire):
        yield


@contextmanager
def filtered_handed_out() -> Iterator[None]:
    """A filtered group hands out what its selector was not applied to yet."""
    original = Group.clear_until

    def clear_until(self: Group, end: int) -> int:
        sieve, self.sieve = self.sieve, None
        try:
            return original(self, end)
        finally:
            self.sieve = sieve

    def ready_count(self: Group) -> int:
        return self.queue.log.visible - self.next_offset - self.passed.count + self.returned_count

    with patch.object(Group, "clear_until", clear_until), patch.object(Group, "ready_count", property(ready_count)):
        yield


@contextmanager
def never_expired_after_coming_back() -> Iterator[None]:
    """A message is looked at when its time comes, and never again."""
    with patch.object(Broker, "look_again", lambda *_: None):
        yield


@contextmanager
def filter_takes_its_neighbour() -> Iterator[None]:
    """What a selector rejects takes the message before it along."""
    original = Sieve.rejected

    def rejected(self: Sieve, first: int, messages: Iterable[Fields]) -> list[tuple[int, int]]:
        return [(max(first, low - 1), end) for low, end in original(self, first, messages)]

    with patch.object(Sieve, "rejected", rejected):
        yield


@contextmanager
def dead_letters_that_nobody_selected() -> Iterator[None]:
    """A filtered group lets go of what its selector was not applied to."""
    original = Group.take_waiting

    def take_waiting(self: Group, ranges: Sequence[OffsetRange], *_: int | None) -> list[OffsetRange]:
        return original(self, ranges)

    with patch.object(Group, "take_waiting", take_waiting):
        yield


@contextmanager
def altered_times_not_heeded() -> Iterator[None]:
    """A queue keeps the time to live that it was declared with."""
    with patch.object(Queue, "take_ttl", lambda _: None):
        yield


@contextmanager
def choosers_go_by_offset() -> Iterator[None]:
    """A consumer with a selector is handed what it selects in the order of offsets."""
    original = Choice.look

    def look(self: Choice, broker: Broker, first: int, messages: list[Fields]) -> None:
        lanes, self.group.lanes = self.group.lanes, None
        original(self, broker, first, messages)
        self.group.lanes = lanes

    with patch.object(Choice, "look", look):
        yield


@contextmanager
def low_priorities_first() -> Iterator[None]:
    """The lowest priority that has something goes first."""
    original = Lanes.next

    def following(self: Lanes, group: Group) -> Next | None:
        active, self._active = self._active, self._active & -self._active
        found = original(self, group)
        self._active |= active ^ (active & -active)
        return found if found is not None or not self._active else following(self, group)

    with patch.object(Lanes, "next", following):
        yield


@contextmanager
def choosers_take_anything_back() -> Iterator[None]:
    """A consumer with a selector is handed whatever is ready again."""

    def first_returned(self: Choice) -> tuple[int, int] | None:
        return min(self.group.returned(), default=None)

    with patch.object(Choice, "first_returned", first_returned):
        yield


@contextmanager
def priorities_not_in_snapshots() -> Iterator[None]:
    """What messages ask for is known from the journal alone."""

    def restore(self: Terms, columns: tuple[bytes, bytes, bytes, bytes]) -> None:
        self._dues.restore(columns[:2])

    with patch.object(Terms, "restore", restore):
        yield


@contextmanager
def publishing_is_no_use() -> Iterator[None]:
    """A queue that expires ends under its producers."""
    original = lifetimes._has_expired

    def has_expired(queue: Queue, usage: Usage, now_ms: int) -> bool:
        if usage.seen is not None:
            usage.seen = (usage.seen[0], queue.log.next_offset, usage.seen[2])
        return original(queue, usage, now_ms)

    with patch.object(lifetimes, "_has_expired", has_expired):
        yield


@contextmanager
def unused_queues_stay() -> Iterator[None]:
    """A queue is used at every look."""
    with patch.object(lifetimes, "_has_expired", lambda *_: False):
        yield


@contextmanager
def ephemeral_queues_stay() -> Iterator[None]:
    """An ephemeral queue ends with its last consumer, and not with who declared it."""
    with patch.object(lifetimes, "remember_queue", lambda session, queue: None):
        yield


@contextmanager
def ephemeral_queues_end_with_any_consumer() -> Iterator[None]:
    """The first consumer that goes takes the queue along."""

    def end_if_left(broker: Broker, queue: Queue) -> None:
        if queue.settings.ephemeral and not queue.deleted:
            lifetimes.remove_queue(broker, queue)

    with patch.object(lifetimes, "end_if_left", end_if_left):
        yield


@contextmanager
def bindings_of_ephemeral_queues_are_recorded() -> Iterator[None]:
    """A binding to what no journal knows is written down."""
    with patch.object(Destination, "is_recorded", True):
        yield


@contextmanager
def namespaces_let_everyone_in() -> Iterator[None]:
    """Nobody counts connections."""
    with patch.object(namespacing, "_check_room_for_session", lambda _: None):
        yield


@contextmanager
def namespaces_take_any_number_of_queues() -> Iterator[None]:
    """Nobody counts queues."""
    with patch.object(definitions, "check_new_queue", namespacing.check_new_name):
        yield


@contextmanager
def namespaces_store_anything() -> Iterator[None]:
    """Nobody counts bytes."""
    with patch.object(namespacing, "_is_full", lambda *_: False):
        yield


@contextmanager
def bytes_of_a_namespace_are_never_counted_again() -> Iterator[None]:
    """What consumers made room for stays refused."""
    original = namespacing._is_full

    def is_full(space: Namespace, now_ms: int) -> bool:
        counted = space.counted_bytes
        original(space, now_ms)
        space.counted_bytes = max(counted, space.counted_bytes)
        return space.counted_bytes >= space.settings.max_bytes

    with patch.object(namespacing, "_is_full", is_full):
        yield


@contextmanager
def namespaces_not_in_snapshots() -> Iterator[None]:
    """A snapshot forgets which namespaces there are."""
    with patch.object(Namespaces, "values", list):
        yield


@contextmanager
def namespaces_go_though_they_are_used() -> Iterator[None]:
    """A namespace is deleted with queues and connections in it."""
    with patch.object(namespacing, "_counts", lambda *_: {}):
        yield


@contextmanager
def full_names_are_told() -> Iterator[None]:
    """Who is inside is told what is outside."""
    with patch.object(ChrootSink, "_sentence", lambda _, text: text):
        yield


MUTANTS: Final = (
    namespaces_let_everyone_in,
    namespaces_take_any_number_of_queues,
    namespaces_store_anything,
    bytes_of_a_namespace_are_never_counted_again,
    namespaces_not_in_snapshots,
    namespaces_go_though_they_are_used,
    full_names_are_told,
    publishing_is_no_use,
    unused_queues_stay,
    ephemeral_queues_stay,
    ephemeral_queues_end_with_any_consumer,
    bindings_of_ephemeral_queues_are_recorded,
    fires_again_after_restart,
    missed_firings_are_late_ones,
    nothing_is_together,
    released_before_durable,
    released_again_after_restart,
    no_sync,
    no_directory_sync,
    sync_again_after_failure,
    tail_not_rewritten,
    confirm_when_written,
    deliver_before_durable,
    settle_without_tag_check,
    credit_off_by_one,
    requeue_at_the_end,
    no_deduplication,
    ids_forgotten_at_restart,
    ids_kept_for_ever,
    duplicates_leave_no_trace,
    confirms_do_not_wait_for_room,
    held_confirms_are_overtaken,
    held_confirms_are_forgotten,
    room_for_one_more,
    dropping_leaves_no_trace,
    dropping_takes_leased,
    the_newest_is_dropped_as_oldest,
    dead_letters_make_no_room,
    nothing_grows_old,
    batches_split_anywhere,
    transactions_cut_apart,
    transactions_without_tag_check,
    state_without_comparing,
    state_not_in_snapshots,
    discard_by_snapshot_alone,
    expired_leases_kept,
    purge_takes_leased,
    deliveries_out_of_order,
    reply_addresses_without_epoch,
    reply_boxes_without_bound,
    replies_handed_over_twice,
    tokens_not_taken,
    tokens_not_waited_for,
    leases_begin_when_extended,
    *BREAKER_MUTANTS,
    *EXCHANGE_MUTANTS,
    filtered_handed_out,
    filter_takes_its_neighbour,
    choosers_take_anything_back,
    expired_while_leased,
    never_expired_after_coming_back,
    dead_letters_that_nobody_selected,
    altered_times_not_heeded,
    choosers_go_by_offset,
    low_priorities_first,
    priorities_not_in_snapshots,
)
