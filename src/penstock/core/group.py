"""Groups: named cursors over a queue with a state per message; the durable side of delivery.

A group is a cursor (``next_offset``: the first untouched message), the *outstanding* runs, and what was *passed* above
the cursor:

- below the cursor, and in no run: done;
- in a run: handed out at least once, and not done;
- at or above the cursor and passed: handed out early (then in a run as well), or discarded (filtered, expired, ...);
- everything else at or above the cursor: untouched, and costs nothing.

The cursor never rests on a passed message. ``apply_*`` methods are the only ones that change durable state; deciding
and recovery both go through them (I18). What waits to be handed out again is volatile: heaps of ranges.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from penstock.core.breaker import CLOSED, Breaker, make_breaker
from penstock.core.groupstate import GroupState
from penstock.core.keyed import KeyIndex
from penstock.core.priorities import Lanes, Priorities
from penstock.core.ranges import OffsetRange, RangeSet
from penstock.core.rates import Bucket, make_bucket
from penstock.core.runs import OutstandingRuns
from penstock.core.sieve import Choice, Sieve
from penstock.core.values import (
    DISCARD_REASONS,
    DYING_EXPIRED,
    EXCEPTIONS_MAX,
    FAILURES_KEPT_MAX,
    Failure,
    GroupSettings,
)

if TYPE_CHECKING:
    from penstock.core.facts import (
        Acked,
        Dead,
        Discarded,
        Expired,
        Failed,
        GroupDeclared,
        GroupStateSet,
        Held,
        Leased,
        Resumed,
    )
    from penstock.core.queue import Queue
    from penstock.core.session import Consumer


_Waiting = tuple[int, int, int]
"""(what it is ordered by, first, end)"""


class Counters:
    """What a group has done since it was declared, in messages; durable (SEMANTICS 23)."""

    __slots__ = ("acked", "dead", "discarded", "redelivered")

    def __init__(self) -> None:
        self.acked = 0
        self.dead = 0
        self.redelivered = 0
        self.discarded = [0] * len(DISCARD_REASONS)
        """By reason."""

    def values(self) -> tuple[int, int, int, tuple[int, ...]]:
        """All of them, for snapshots and fingerprints."""
        return self.acked, self.dead, self.redelivered, tuple(self.discarded)

    def restore(self, values: tuple[int, int, int, tuple[int, ...]]) -> None:
        """Take over the values of a snapshot."""
        self.acked, self.dead, self.redelivered, discarded = values
        self.discarded[: len(discarded)] = discarded


class Group:
    """A named cursor over a queue; see the module for its state."""

    __slots__ = (
        "_due",
        "_returned",
        "_tail",
        "active",
        "breaker",
        "bucket",
        "consumers",
        "counters",
        "declared",
        "delayed_count",
        "deleted",
        "durable",
        "dying_count",
        "gate_due_ms",
        "held",
        "history",
        "index",
        "is_gated",
        "lanes",
        "name",
        "next_offset",
        "number",
        "outstanding",
        "passed",
        "paused",
        "plain_consumers",
        "queue",
        "returned_count",
        "returned_total",
        "settings",
        "sieve",
        "sieves",
        "state",
        "tail_count",
        "turn",
        "unrecorded",
    )

    def __init__(self, queue: Queue, number: int, name: str = "", settings: GroupSettings | None = None) -> None:
        self.queue = queue
        self.number = number
        self.name = name
        self.settings = settings or GroupSettings()
        self.durable = queue.durable and not self.settings.ephemeral
        """Its facts go to the journal."""
        self.sieve = Sieve(self, self.settings.where) if self.settings.where else None
        """Not None: only what it has looked at and let through is handed out."""
        self.sieves: list[Sieve | Choice] = [self.sieve] if self.sieve else []
        """This one, and those of its consumers."""
        self.declared = False
        """False for a default group that nobody has used yet: it keeps messages only while no other group does."""
        self.deleted = False
        self.paused = False
        self.breaker: Breaker | None = None
        self.is_gated = False
        """True while not everything that is ready may be handed out at once: by its rate, or while its breaker is not
        closed."""
        self.take_pace()
        self.next_offset = queue.log.start_offset
        self.passed = RangeSet()
        self.outstanding = OutstandingRuns()
        self.history: dict[int, list[Failure]] = {}
        self.held: dict[int, tuple[int, int]] = {}
        """Messages that died and stay in their places: the dead-letter queue and the offset of each one's marker."""
        self.counters = Counters()
        self.state: GroupState | None = None
        """What its consumers keep here; None until a transaction sets something."""
        self.consumers: list[Consumer] = []
        self.plain_consumers = True
        """False while consumers differ in priority, or only one of them may be handed anything."""
        self.active: Consumer | None = None
        """Mode ``single``: whose turn it is, the first of those with the highest priority; until it goes."""
        self.index: KeyIndex | None = None
        """Mode ``keyed``: which keys are in play."""
        self.turn = 0
        self.unrecorded = 0
        """During a dispatch: hand-outs from here up to the cursor are not recorded yet."""
        self.lanes: Lanes | None = None
        """What is ready by priority, while its queue has messages with priorities of their own."""
        self._returned: list[OffsetRange] = []
        self._due: list[_Waiting] = []
        self._tail: list[_Waiting] = []
        self.returned_count = 0
        self.returned_total = 0
        """Of all times: tells whether anything was given back meanwhile."""
        self.delayed_count = 0
        self.tail_count = 0
        self.dying_count = 0
        self.gate_due_ms = 0
        """Not 0: messages and consumers wait for the bucket, or for the breaker, until then."""

    def take_pace(self) -> None:
        """Hold the rate of its settings from now on, with their breaker; the default group has those of its queue."""
        paced = self.settings if self.name else self.queue.settings
        self.bucket: Bucket | None = make_bucket(paced.rate_per_s, paced.rate_burst)
        if self.breaker is None or self.breaker.settings != (paced.breaker_failures, paced.breaker_wait_ms):
            self.breaker = make_breaker(paced.breaker_failures, paced.breaker_wait_ms)
        self.is_gated = self.bucket is not None or self.is_tripped

    # -- the breaker ---------------------------------------------------------------------------------------------------

    @property
    def is_tripped(self) -> bool:
        """True while its breaker is open, or tries."""
        return self.breaker is not None and self.breaker.state != CLOSED

    @property
    def tries_in_turn(self) -> bool:
        """True when what is handed out is of a trial run, and the group has no order to keep."""
        return self.is_tripped and self.settings.mode != "single"

    def trips(self, first: int, end: int, now_ms: int) -> bool:
        """Attempts failed; True when its breaker opens for that."""
        if self.breaker is None or not self.breaker.failed(first, end, self.counters.acked, now_ms):
            return False
        self.is_gated = True
        return True

    def recovers(self, now_ms: int) -> bool:
        """True when its breaker closes now, for all of the last trial run was acknowledged."""
        if self.breaker is None or not self.breaker.look(now_ms):
            return False
        self.is_gated = self.bucket is not None
        return True

    def close_breaker(self) -> bool:
        """Somebody knows better: hand out everything again. False when it was closed already."""
        if self.breaker is None or not self.is_tripped:
            return False
        self.breaker.close()
        self.is_gated = self.bucket is not None
        return True

    def allowed(self, now_ms: int) -> int:
        """Return how many messages its breaker and its rate allow to hand out now."""
        allowed = self.ready_count
        if self.breaker is not None and self.is_tripped:
            allowed = min(allowed, self.breaker.allowed())
        return min(allowed, self.bucket.available(now_ms)) if self.bucket is not None else allowed

    def take_settings(self, settings: GroupSettings) -> None:
        """Have other settings from now on. Another selector looks at all that nobody was handed yet, before that is
        handed out; what was filtered stays so (SEMANTICS 14).
        """
        before, self.settings = self.settings, settings
        self.take_pace()
        if settings.where != before.where:
            self.sieve = Sieve(self, settings.where) if settings.where else None
            self._look_at_consumers()
            if self.index is not None:
                self.index.begin_anew(self)

    # -- what is where -------------------------------------------------------------------------------------------------

    @property
    def ready_count(self) -> int:
        """Messages that a consumer could have now."""
        if self.index is not None:
            return self.returned_count + self.index.ready_count
        visible = self.queue.log.visible
        if self.sieve is not None:
            visible = max(self.sieve.until, self.next_offset)
        fresh = visible - self.next_offset
        if fresh < 0:  # purged before it was durable
            return self.returned_count
        if self.passed.count:
            fresh -= self.passed.count_below(visible)
        return fresh + self.returned_count

    @property
    def untouched_count(self) -> int:
        """Messages that were never handed out, those included that are not durable yet."""
        return self.queue.log.next_offset - self.next_offset - self.passed.count

    @property
    def leased_count(self) -> int:
        """Messages that consumers hold."""
        out = self.outstanding.message_count() - (self.index.unseen_count if self.index is not None else 0)
        waiting = self.returned_count + self.delayed_count + self.tail_count
        return out - waiting - self.dying_count - len(self.held)

    @property
    def open_count(self) -> int:
        """Messages that it is not done with."""
        return self.untouched_count + self.outstanding.message_count()

    def open_ranges(self, dying: bool) -> list[OffsetRange]:
        """Return where those are, with what is ``dying`` or without; not in order."""
        outstanding = [(run.first, run.end) for run in self.outstanding if dying or not run.dying]
        return [*outstanding, *self.passed.gaps(self.next_offset, self.queue.log.next_offset)]

    @property
    def low_offset(self) -> int:
        """Everything below is done."""
        firsts = self.outstanding.firsts
        return min(firsts[0], self.next_offset) if firsts else self.next_offset

    def is_open(self, offset: int) -> bool:
        """True unless this group is done with the message."""
        if offset >= self.next_offset and offset not in self.passed:
            return True
        return self.outstanding.find(offset) is not None

    def is_untouched(self, offset: int) -> bool:
        """True when nobody was ever handed the message, and it is not done."""
        return offset >= self.next_offset and offset not in self.passed

    def untouched_until(self, offset: int) -> int:
        """Return where the untouched messages end that begin at ``offset``."""
        gaps = self.passed.gaps(offset, self.queue.log.next_offset) if self.passed.count else ()
        return gaps[0][1] if gaps else self.queue.log.next_offset

    def untouched_ranges(self, first: int, end: int) -> list[OffsetRange]:
        """Return the untouched messages of [first, end)."""
        return self.passed.gaps(max(first, self.next_offset), end)

    @property
    def may_grow(self) -> bool:
        """True while more messages may differ from "untouched" (SEMANTICS 31)."""
        return max(len(self.outstanding), len(self.history), len(self.passed)) <= EXCEPTIONS_MAX

    # -- consumers -----------------------------------------------------------------------------------------------------

    def add_consumer(self, consumer: Consumer) -> None:
        """A consumer came."""
        self.consumers.append(consumer)
        self._look_at_consumers()

    def remove_consumer(self, consumer: Consumer) -> None:
        """A consumer went; its leases may live on."""
        self.consumers.remove(consumer)
        if self.active is consumer:
            self.active = None
        self._look_at_consumers()

    def _look_at_consumers(self) -> None:
        choices = [consumer.choice for consumer in self.consumers if consumer.choice is not None]
        self.sieves = [self.sieve, *choices] if self.sieve else [*choices]
        same = len({consumer.priority for consumer in self.consumers}) < 2
        self.plain_consumers = same and self.settings.mode != "single"
        if self.settings.mode == "single" and self.active is None and self.consumers:
            self.active = max(self.consumers, key=lambda consumer: consumer.priority)

    def tiers(self) -> list[list[Consumer]]:
        """The consumers that may be handed messages now: those of the highest priority first, lower ones what they
        leave.

        Mode ``single``: the active one alone. Nobody while another one has deliveries, and while a message waits for
        its next attempt or is held: what is behind it must wait too (SEMANTICS 10, 12).
        """
        if self.plain_consumers:
            return [self.consumers]
        if self.settings.mode == "single":
            active = self.active
            if active is None or self.delayed_count or self.held or self.leased_count != active.leased_messages:
                return []
            return [[active]]
        priorities = sorted({consumer.priority for consumer in self.consumers}, reverse=True)
        return [[consumer for consumer in self.consumers if consumer.priority == one] for one in priorities]

    # -- durable changes: each applies one fact ------------------------------------------------------------------------

    def apply_declared(self, fact: GroupDeclared) -> None:
        """It begins before message ``start``."""
        self.declared = True
        self.advance(fact.start)
        if self.settings.mode == "keyed":
            self.index = KeyIndex(fact.start)

    def apply_leased(self, fact: Leased) -> None:
        """Messages were handed out, for the first time or again."""
        if fact.first == self.next_offset:
            self.outstanding.append_fresh(fact.first, fact.end)
            self.advance(fact.end)
        elif fact.first > self.next_offset and fact.first not in self.passed:
            self.outstanding.insert_fresh(fact.first, fact.end)
            self.passed.add(fact.first, fact.end)
        else:
            self.outstanding.handed_out(fact.first, fact.end)
            self.counters.redelivered += fact.end - fact.first

    def apply_acked(self, fact: Acked) -> None:
        """Messages are done."""
        remove = self.outstanding.remove
        for first, end in fact.ranges:
            self.counters.acked += remove(first, end)
        if self.history:
            self._forget(fact.ranges)
        if self.index is not None:
            self.index.finish(fact.ranges)

    def apply_failed(self, fact: Failed) -> None:
        """Messages failed once more."""
        self.outstanding.failed(fact.first, fact.end, fact.due_ms, fact.dying)
        for offset in range(fact.first, fact.end):
            failures = self.history.setdefault(offset, [])
            failures.append(fact.failure)
            if len(failures) > FAILURES_KEPT_MAX:
                del failures[1]

    def apply_expired(self, fact: Expired) -> None:
        """The time of messages is over, wherever they are but with a consumer: they go to the dead letters."""
        for first, end in fact.ranges:
            for start, stop in self.passed.gaps(max(first, self.next_offset), end):
                self.outstanding.insert_fresh(start, stop, attempts=0)
                self.passed.add(start, stop)
            self.outstanding.condemn(first, end, DYING_EXPIRED)
        self.advance(self.next_offset)
        if self.index is not None:  # it holds its key no longer: what is behind it need not wait for its burial
            self.index.forget(self, fact.ranges)

    def apply_dead(self, fact: Dead) -> None:
        """A message went to the dead letters."""
        one = fact.offset, fact.offset + 1
        if self.index is not None and self.outstanding.holding_keys(*one):
            self.index.finish((one,))
        self.counters.dead += self.outstanding.remove(*one)
        self.history.pop(fact.offset, None)

    def apply_held(self, fact: Held) -> None:
        """A message died and keeps its place."""
        self.held[fact.offset] = (fact.target, fact.target_offset)

    def apply_resumed(self, fact: Resumed) -> None:
        """A held message is to be tried again."""
        del self.held[fact.offset]
        self.outstanding.resumed(fact.offset)

    def apply_discarded(self, fact: Discarded) -> None:
        """Messages are done unprocessed, wherever they are but with a consumer."""
        discarded = 0
        if self.held:
            self._let_go(fact.ranges)
        for first, end in fact.ranges:
            discarded += self.outstanding.remove(first, end)
            if end > self.next_offset:
                before = self.passed.count
                self.passed.add(max(first, self.next_offset), end)
                discarded += self.passed.count - before
        self.counters.discarded[fact.reason] += discarded
        self.advance(self.next_offset)
        self._forget(fact.ranges)
        if self.index is not None:
            self.index.forget(self, fact.ranges)

    def apply_state(self, fact: GroupStateSet) -> None:
        """A key of its state was set, or removed."""
        if self.state is None:
            self.state = GroupState(fact.version)
        self.state.apply(fact)

    def advance(self, offset: int) -> None:
        """Move the cursor to ``offset``, and on over what was passed."""
        self.next_offset = self.passed.pop_below(offset) if self.passed.count else offset
        if self._tail:
            self.reach_tail()

    def _let_go(self, ranges: tuple[OffsetRange, ...]) -> None:
        for first, end in ranges:
            for offset in [offset for offset in self.held if first <= offset < end]:
                del self.held[offset]

    def begin_at(self, low: int) -> None:
        """Nobody uses this group, and everything below is gone: also what was to go to the dead letters for it."""
        self.dying_count -= self.outstanding.remove(0, low)
        if self.next_offset < low:
            self.advance(low)

    def _forget(self, ranges: tuple[OffsetRange, ...]) -> None:
        history = self.history
        for first, end in ranges:
            if end - first < len(history):
                for offset in range(first, end):
                    history.pop(offset, None)
            else:
                for offset in [offset for offset in history if first <= offset < end]:
                    del history[offset]

    # -- volatile: what waits to be handed out again -------------------------------------------------------------------

    def give_back(self, first: int, end: int) -> None:
        """Make messages ready again, each in its own place (I8)."""
        self.returned_count += end - first
        self.returned_total += end - first
        if self.lanes is not None:
            self.lanes.put(first, end)
        else:
            heappush(self._returned, (first, end))

    def delay(self, first: int, end: int, due_ms: int) -> None:
        """Keep messages back until ``due_ms``."""
        heappush(self._due, (due_ms, first, end))
        self.delayed_count += end - first

    def put_at_tail(self, first: int, end: int) -> None:
        """Keep messages back until everything that is in the queue now was handed out; by priority: all of theirs."""
        if self.lanes is not None:
            self.returned_count += end - first
            self.returned_total += end - first
            self.lanes.put(first, end, self.queue.log.next_offset)
            return
        heappush(self._tail, (self.queue.log.next_offset, first, end))
        self.tail_count += end - first
        self.reach_tail()

    def wake(self, now_ms: int) -> bool:
        """Make ready what is due; True when anything was, or when what is ready may be handed out now."""
        woke = 0 < self.gate_due_ms <= now_ms
        if woke:
            self.gate_due_ms = 0
        while self._due and self._due[0][0] <= now_ms:
            _, first, end = heappop(self._due)
            self.delayed_count -= end - first
            self.give_back(first, end)
            woke = True
        return woke

    def clear_until(self, end: int) -> int:
        """Return how far, up to ``end``, untouched messages may be handed out from the cursor on in one run."""
        if self.sieve is not None:
            end = min(end, self.sieve.until)
        if self.passed.count:
            end = min(end, self.passed.first)
        if self._tail:
            end = min(end, self._tail[0][0])
        return end

    def reach_tail(self) -> None:
        """Make ready what waited for the cursor to get where it is."""
        while self._tail and self._tail[0][0] <= self.next_offset:
            _, first, end = heappop(self._tail)
            self.tail_count -= end - first
            self.give_back(first, end)

    def first_returned(self) -> OffsetRange | None:
        """The lowest range that is ready again."""
        return self._returned[0] if self._returned else None

    def returned_after(self, offset: int) -> OffsetRange | None:
        """The lowest range that is ready again from ``offset`` on. It looks at all of them: for trial runs."""
        return min(((max(first, offset), end) for first, end in self._returned if end > offset), default=None)

    def returned(self) -> Sequence[OffsetRange]:
        """All ranges that are ready again, in no order."""
        return self._returned if self.lanes is None else [(one.first, one.end) for one in self.lanes.returned()]

    def take_returned(self, first: int, end: int) -> None:
        """Take messages that are ready again; those of the lowest range cost least."""
        self.returned_count -= end - first
        if self.lanes is not None:
            self.lanes.take_returned(first, end)
            return
        returned = self._returned
        if returned[0][0] == first:
            _, last = heappop(returned)
        else:
            low, last = next(one for one in returned if one[0] <= first < one[1])
            returned.remove((low, last))
            heapify(returned)
            if low < first:
                heappush(returned, (low, first))
        if end < last:
            heappush(returned, (end, last))

    def go_by(self, priorities: Priorities | None) -> None:
        """Hand out by these priorities from now on, where the mode lets it; for None in the order of offsets."""
        if self.settings.mode != "shared" or (priorities is None) == (self.lanes is None):
            return
        if priorities is not None:
            self.lanes = Lanes(priorities)
            for first, end in self._returned:
                self.lanes.put(first, end)
            for place, first, end in self._tail:
                self.lanes.put(first, end, place)
            self.returned_count += self.tail_count
            self.returned_total += self.tail_count
            self._returned, self._tail, self.tail_count = [], [], 0
            return
        returned = self.lanes.take_all() if self.lanes is not None else []
        self.lanes, self.returned_count = None, 0
        for place, first, end in returned:
            if place > first:
                heappush(self._tail, (place, first, end))
                self.tail_count += end - first
            else:
                self.give_back(first, end)
        self.reach_tail()

    def take_waiting(self, ranges: Sequence[OffsetRange], untouched_end: int | None = None) -> list[OffsetRange]:
        """Take what nobody holds out of these ranges; return it, by offset. It includes the untouched messages, where
        ``untouched_end`` is given those below it.
        """
        taken: list[OffsetRange] = []
        if self.returned_count or self.delayed_count or self.tail_count:
            wanted = RangeSet(ranges)
            returned, back = _without([(first, first, end) for first, end in self._returned], wanted)
            if back:
                self._returned = [(first, end) for _, first, end in returned]
            self._due, delayed = _without(self._due, wanted)
            self._tail, behind = _without(self._tail, wanted)
            if self.lanes is not None:
                back += self.lanes.take_within(wanted)
            self.returned_count -= _count(back)
            self.delayed_count -= _count(delayed)
            self.tail_count -= _count(behind)
            taken = back + delayed + behind
        if self.index is not None and self.index.unseen_count:
            unseen = self.index.unseen(self.outstanding, ranges)
            self.index.unseen_count -= _count(unseen)
            taken += unseen
        for first, end in ranges:
            taken += self.untouched_ranges(first, end if untouched_end is None else min(end, untouched_end))
        return list(RangeSet(taken))

    def take_unleased(self) -> tuple[OffsetRange, ...]:
        """Empty what is ready, delayed or at the tail; return its ranges, the untouched rest of the log included."""
        ranges = [*self._returned, *((first, end) for _, first, end in (*self._due, *self._tail))]
        if self.lanes is not None:
            ranges += [(first, end) for _, first, end in self.lanes.take_all()]
        self._returned, self._due, self._tail = [], [], []
        self.returned_count = self.delayed_count = self.tail_count = 0
        if self.index is not None and self.index.unseen_count:
            unseen = self.outstanding.within(self.index.next_look, self.queue.log.next_offset)
            ranges += [(max(run.first, self.index.next_look), run.end) for run in unseen if not run.dying]
            self.index.unseen_count = 0
        return (*sorted(ranges), *self.passed.gaps(self.next_offset, self.queue.log.next_offset))

    @property
    def waiting_range_count(self) -> int:
        """In how many ranges messages wait to be handed out again: to take one of them all are looked through."""
        returned = len(self._returned) if self.lanes is None else self.lanes.returned_range_count
        return returned + len(self._due) + len(self._tail)

    def loose_ranges(self) -> list[OffsetRange]:
        """Return where messages wait that nobody holds and that are not dying; not in order."""
        waiting = [*self.returned(), *((first, end) for _, first, end in (*self._due, *self._tail))]
        return waiting + self.passed.gaps(self.next_offset, self.queue.log.next_offset)

    def next_due_ms(self) -> int | None:
        """When the next delayed message is due, or may be handed out by rate and breaker."""
        times = [self._due[0][0]] if self._due else []
        return min([*times, self.gate_due_ms] if self.gate_due_ms else times, default=None)

    def reopen(self) -> list[int]:
        """After recovery nothing is leased: sort what is outstanding into ready and delayed; return what is dying."""
        dying: list[int] = []
        for run in self.outstanding:
            if run.dying:
                dying += [offset for offset in range(run.first, run.end) if offset not in self.held]
            elif self.index is not None:
                continue  # it is put into play when its key is known
            elif run.due_ms:
                self.delay(run.first, run.end, run.due_ms)
            else:
                self.give_back(run.first, run.end)
        self.dying_count = len(dying)
        if self.index is not None:
            unseen_count = self.outstanding.message_count() - len(dying) - len(self.held)
            self.index = KeyIndex(self.low_offset, self.outstanding.end, unseen_count)
        return dying


def _without(heap: list[_Waiting], wanted: RangeSet) -> tuple[list[_Waiting], list[OffsetRange]]:
    """Return a heap without what is wanted, and that. Most of a long one is passed over at the speed of a filter."""
    low, high = (wanted.first, max(end for _, end in wanted)) if wanted else (0, 0)
    touched = [entry for entry in heap if entry[1] < high and entry[2] > low]
    if not touched:
        return heap, []
    kept = [entry for entry in heap if entry[1] >= high or entry[2] <= low]
    taken: list[OffsetRange] = []
    for order, first, end in touched:
        found = wanted.within(first, end)
        taken += found
        kept += [(order, *gap) for gap in wanted.gaps(first, end)] if found else [(order, first, end)]
    heapify(kept)
    return kept, taken


def _count(ranges: list[OffsetRange]) -> int:
    return sum(end - first for first, end in ranges)
