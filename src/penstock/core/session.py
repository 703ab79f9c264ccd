"""Sessions, consumers and leases: the volatile side of delivery. Nothing here survives a restart.

A session is a connection. Its deliveries carry session-wide, increasing delivery tags, and a tag is the fence: a settle
that names a tag the session does not hold changes nothing (SEMANTICS 1). A lease is a run of consecutive tags over
consecutive offsets; acknowledging a range shrinks or splits it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final, NamedTuple

from penstock.core.names import local_name
from penstock.core.values import DEADLINE_STEP_MS, Refused

if TYPE_CHECKING:
    from penstock.core.group import Group
    from penstock.core.sieve import Choice
from penstock.core.queue import Queue, Stream

_new: Final = tuple.__new__
"""Builds a NamedTuple in a third of the time that calling its class takes; for what is built per delivery."""
_REBUILD_ENTRIES_MIN: Final = 1024


class Consumer:
    """One subscription of a session: its credit is what it may hold minus what it holds."""

    __slots__ = (
        "choice",
        "exclusive",
        "group",
        "leased_bytes",
        "leased_messages",
        "name",
        "number",
        "prefetch_bytes",
        "prefetch_messages",
        "priority",
        "session",
    )

    def __init__(
        self,
        session: Session,
        number: int,
        group: Group,
        prefetch_messages: int,
        prefetch_bytes: int,
        name: str,
        priority: int = 0,
        exclusive: bool = False,
        choice: Choice | None = None,
    ) -> None:
        self.session = session
        self.number = number
        self.group = group
        self.prefetch_messages = prefetch_messages
        self.prefetch_bytes = prefetch_bytes
        self.name = name
        self.priority = priority
        self.exclusive = exclusive
        self.choice = choice
        """Not None: it is handed only what this selects."""
        self.leased_messages = 0
        self.leased_bytes = 0

    def wants(self) -> bool:
        """True when it has credit for at least one more message."""
        return self.leased_messages < self.prefetch_messages and self.leased_bytes < self.prefetch_bytes

    def room_for(self, unit_bytes: int) -> int:
        """How many messages of this size it may be given (I13).

        One is always allowed to a consumer that holds nothing, however large, or it could never be delivered.
        """
        messages = self.prefetch_messages - self.leased_messages
        by_bytes = (self.prefetch_bytes - self.leased_bytes) // unit_bytes
        if by_bytes < 1 and not self.leased_messages:
            by_bytes = 1
        return min(messages, by_bytes)


class Lease:
    """Messages ``first`` .. ``first + count`` of one group, held by a consumer under tags ``first_tag`` and on."""

    __slots__ = (
        "attempts",
        "consumer",
        "count",
        "deadline_ms",
        "failures",
        "first",
        "first_tag",
        "leased_at_ms",
        "started",
        "unit_bytes",
    )

    def __init__(
        self,
        first_tag: int,
        first: int,
        count: int,
        consumer: Consumer,
        attempts: int,
        failures: int,
        unit_bytes: int,
        leased_at_ms: int,
        deadline_ms: int,
        started: bool,
    ) -> None:
        self.first_tag = first_tag
        self.first = first
        self.count = count
        self.consumer = consumer
        self.attempts = attempts
        self.failures = failures
        self.unit_bytes = unit_bytes
        self.leased_at_ms = leased_at_ms
        self.deadline_ms = deadline_ms
        self.started = started

    def split(self, count: int) -> Lease:
        """Keep the first ``count`` messages; return a lease of the others."""
        rest = Lease(
            self.first_tag + count,
            self.first + count,
            self.count - count,
            self.consumer,
            self.attempts,
            self.failures,
            self.unit_bytes,
            self.leased_at_ms,
            self.deadline_ms,
            self.started,
        )
        self.count = count
        return rest


class Deadlines:
    """When leases end. Entries of settled leases are skipped lazily and swept when they are the most of it."""

    __slots__ = ("_heap", "_order", "live_count")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Lease]] = []
        self._order = 0
        self.live_count = 0

    def add(self, lease: Lease) -> None:
        """Watch a lease."""
        self.live_count += 1
        self._order += 1
        heappush(self._heap, (lease.deadline_ms, self._order, lease))
        if len(self._heap) > _REBUILD_ENTRIES_MIN and len(self._heap) > 4 * self.live_count:
            self._heap = [entry for entry in self._heap if entry[2].count]
            heapify(self._heap)

    def pop_due(self, now_ms: int) -> list[Lease]:
        """Return the leases whose deadline has passed; extended ones go back."""
        due: list[Lease] = []
        heap = self._heap
        while heap and heap[0][0] <= now_ms:
            _, order, lease = heappop(heap)
            if not lease.count:
                continue
            if lease.deadline_ms > now_ms:
                heappush(heap, (lease.deadline_ms, order, lease))
            else:
                due.append(lease)
        return due

    def next_ms(self) -> int | None:
        """Return when to look again, or None."""
        heap = self._heap
        while heap and not heap[0][2].count:
            heappop(heap)
        return heap[0][0] if heap else None


class Taken(NamedTuple):
    """Part of a lease that ended: offsets ``first`` to ``end`` (exclusive)."""

    consumer: Consumer
    first: int
    end: int
    attempts: int
    failures: int
    started: bool
    leased_at_ms: int


class Route:
    """Where a session publishes under one number (AMQP: an exchange and a routing key)."""

    __slots__ = ("exchange", "name", "queue", "routing_key", "stream")

    def __init__(self, exchange: str, routing_key: str, name: str, queue: Queue, stream: Stream) -> None:
        self.exchange = exchange
        self.routing_key = routing_key
        self.name = name
        """The full name of the exchange, or of the queue; the two before are as the client says them."""
        self.queue = queue
        self.stream = stream


class Session:
    """One connection: its consumers, routes and leases."""

    __slots__ = (
        "_deadlines",
        "_tags",
        "confirms_in_line",
        "consumers",
        "ephemeral_groups",
        "ephemeral_queues",
        "leases",
        "marks_started",
        "name",
        "namespace",
        "next_tag",
        "number",
        "opened_ms",
        "producer",
        "routes",
    )

    def __init__(self, number: int, name: str, deadlines: Deadlines, opened_ms: int = 0) -> None:
        self.number = number
        self.name = name
        self.opened_ms = opened_ms
        self.namespace = ""
        self.consumers: dict[int, Consumer] = {}
        self.routes: dict[int, Route] = {}
        self.ephemeral_groups: list[Group] = []
        """Those it declared: they end with it when nobody consumes from them."""
        self.ephemeral_queues: list[Queue] = []
        """In the same way."""
        self.producer = 0
        self.marks_started = False
        self.confirms_in_line = False
        """True once a publish was refused without reaching a queue: that refusal waits for a commit, and no confirm of
        a memory queue may overtake it from then on (I9)."""
        self.next_tag = 1
        self._deadlines = deadlines
        self._tags: list[int] = []
        self.leases: list[Lease] = []

    def said(self, name: str) -> str:
        """Return how a full name of this session's namespace is said in it."""
        return local_name(name) if self.namespace else name

    def check_route(self, number: int, routes_max: int) -> None:
        """Raise Refused (no-producer, limit-reached) unless a route may be opened under this number."""
        if not self.producer:
            raise Refused("no-producer", "open a producer before a route")
        if number not in self.routes and len(self.routes) >= routes_max:
            raise Refused("limit-reached", f"a connection may have {routes_max} routes; close some")

    def lease(
        self,
        consumer: Consumer,
        first: int,
        count: int,
        attempts: int,
        failures: int,
        unit_bytes: int,
        now_ms: int,
        lease_ms: int,
    ) -> int:
        """Hold messages for a consumer; return the first of their tags."""
        tag = self.next_tag
        self.next_tag = tag + count
        consumer.leased_messages += count
        consumer.leased_bytes += count * unit_bytes
        deadline_ms = -(-(now_ms + lease_ms) // DEADLINE_STEP_MS) * DEADLINE_STEP_MS
        if self.leases:
            last = self.leases[-1]
            if (
                last.consumer is consumer
                and last.first + last.count == first
                and last.first_tag + last.count == tag
                and last.deadline_ms == deadline_ms
                and last.unit_bytes == unit_bytes
                and last.attempts == attempts
                and last.failures == failures
                and not last.started
            ):
                last.count += count
                return tag
        lease = Lease(tag, first, count, consumer, attempts, failures, unit_bytes, now_ms, deadline_ms, False)
        self._tags.append(tag)
        self.leases.append(lease)
        self._deadlines.add(lease)
        return tag

    def leases_of(self, first_tag: int, end_tag: int) -> list[Lease]:
        """Return the leases that hold any of these tags; nothing is changed."""
        low = max(0, bisect_right(self._tags, first_tag) - 1)
        high = bisect_left(self._tags, end_tag, low)
        return [lease for lease in self.leases[low:high] if lease.first_tag + lease.count > first_tag]

    def take(self, first_tag: int, end_tag: int) -> list[Taken]:
        """End the leases of these tags; return what was still held."""
        low = bisect_right(self._tags, first_tag) - 1
        lease, count = self.leases[low] if low >= 0 else None, end_tag - first_tag
        if lease is not None and lease.first_tag == first_tag and count <= lease.count:
            if count < lease.count:  # the common cases: from the front of one lease, and all of it
                taken = self._end(lease, count)
                lease.first_tag = self._tags[low] = end_tag
                lease.first += count
                lease.count -= count
                return [taken]
            high = low + 1
        else:
            low, high = self._isolate(first_tag, end_tag)
        ended = []
        for lease in self.leases[low:high]:
            ended.append(self._end(lease, lease.count))
            lease.count = 0
        self._deadlines.live_count -= high - low
        del self._tags[low:high]
        del self.leases[low:high]
        return ended

    def take_all(self) -> list[Taken]:
        """End every lease."""
        return self.take(0, self.next_tag)

    def mark_started(self, first_tag: int, end_tag: int) -> int:
        """Note that the application has these messages; return how many are held."""
        self.marks_started = True
        low, high = self._isolate(first_tag, end_tag)
        for lease in self.leases[low:high]:
            lease.started = True
        return sum(lease.count for lease in self.leases[low:high])

    def extend(self, first_tag: int, end_tag: int, until_ms: int) -> int:
        """Move the deadline of these messages; return how many are held."""
        low, high = self._isolate(first_tag, end_tag)
        deadline_ms = -(-until_ms // DEADLINE_STEP_MS) * DEADLINE_STEP_MS
        for lease in self.leases[low:high]:
            if deadline_ms < lease.deadline_ms:  # the watch must not sleep past a shortened deadline
                lease.deadline_ms = deadline_ms
                self._deadlines.add(lease)
                self._deadlines.live_count -= 1
            lease.deadline_ms = deadline_ms
        return sum(lease.count for lease in self.leases[low:high])

    def counts_as_failed(self, started: bool) -> bool:
        """Whether a lost or expired delivery counts a failure (SEMANTICS 2)."""
        return started or not self.marks_started

    def _end(self, lease: Lease, count: int) -> Taken:
        consumer = lease.consumer
        consumer.leased_messages -= count
        consumer.leased_bytes -= count * lease.unit_bytes
        end = lease.first + count
        part = (consumer, lease.first, end, lease.attempts, lease.failures, lease.started, lease.leased_at_ms)
        return _new(Taken, part)

    def _isolate(self, first_tag: int, end_tag: int) -> tuple[int, int]:
        return self._split_at(first_tag), self._split_at(end_tag)

    def _split_at(self, tag: int) -> int:
        index = bisect_right(self._tags, tag) - 1
        if index < 0:
            return 0
        lease = self.leases[index]
        if lease.first_tag == tag:
            return index
        if lease.first_tag + lease.count > tag:
            rest = lease.split(tag - lease.first_tag)
            self._tags.insert(index + 1, tag)
            self.leases.insert(index + 1, rest)
            self._deadlines.add(rest)
        return index + 1
