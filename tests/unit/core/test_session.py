from penstock.core.group import Group
from penstock.core.queue import Queue
from penstock.core.session import Consumer, Deadlines, Session
from penstock.core.values import QueueSettings

UNIT = 10
LEASE_MS = 50


class Holder:
    """A session with one consumer and its deadlines."""

    def __init__(self) -> None:
        self.deadlines = Deadlines()
        self.session = Session(1, "peer", self.deadlines)
        queue = Queue(1, 2, "jobs", QueueSettings(), 0, 0)
        self.group: Group = queue.group
        self.consumer = Consumer(self.session, 1, self.group, 100, 1000, "worker")

    def lease(self, first: int, count: int, until_ms: int = 1000, attempts: int = 1) -> int:
        return self.session.lease(self.consumer, first, count, attempts, 0, UNIT, until_ms - LEASE_MS, LEASE_MS)

    def held(self) -> list[tuple[int, int, int]]:
        return [(lease.first_tag, lease.first, lease.count) for lease in self.session.leases]


def test_tags_increase_over_the_whole_session() -> None:
    holder = Holder()
    assert [holder.lease(0, 3), holder.lease(7, 2), holder.lease(3, 1)] == [1, 4, 6]
    assert holder.session.next_tag == 7


def test_adjacent_hand_outs_share_a_lease_when_nothing_tells_them_apart() -> None:
    holder = Holder()
    holder.lease(0, 3, until_ms=901)
    holder.lease(3, 2, until_ms=1000)  # the same step of 100 ms
    assert holder.held() == [(1, 0, 5)]
    holder.lease(5, 1, until_ms=1001)
    holder.lease(6, 1, until_ms=1001, attempts=2)
    holder.lease(9, 1, until_ms=1001, attempts=2)
    assert holder.held() == [(1, 0, 5), (6, 5, 1), (7, 6, 1), (8, 9, 1)]


def test_a_lease_knows_since_when_it_is_held_through_splits_and_extensions() -> None:
    holder = Holder()
    holder.lease(0, 3, until_ms=901)
    holder.lease(3, 2, until_ms=1000)  # shares the lease: the first hand-out counts
    holder.lease(9, 1, until_ms=1000)
    holder.session.extend(2, 5, 5000)
    taken = holder.session.take_all()
    assert [(part.first, part.end, part.leased_at_ms) for part in taken] == [
        (0, 1, 851),
        (1, 4, 851),
        (4, 5, 851),
        (9, 10, 950),
    ]


def test_started_messages_share_no_lease_with_new_ones() -> None:
    holder = Holder()
    holder.lease(0, 1)
    holder.session.mark_started(1, 2)
    holder.lease(1, 1)
    assert holder.held() == [(1, 0, 1), (2, 1, 1)]


def test_a_lease_shrinks_from_the_front_and_splits_in_the_middle() -> None:
    holder = Holder()
    holder.lease(0, 10)
    [front] = holder.session.take(1, 3)
    assert (front.first, front.end) == (0, 2)
    [middle] = holder.session.take(5, 6)
    assert (middle.first, middle.end) == (4, 5)
    assert holder.held() == [(3, 2, 2), (6, 5, 5)]
    assert holder.consumer.leased_messages == 7
    assert holder.consumer.leased_bytes == 70


def test_taking_over_several_leases_gives_each_part() -> None:
    holder = Holder()
    holder.lease(0, 3)
    holder.lease(10, 3)
    assert [(part.first, part.end) for part in holder.session.take(2, 6)] == [(1, 3), (10, 12)]
    assert holder.held() == [(1, 0, 1), (6, 12, 1)]


def test_tags_that_are_not_held_give_nothing() -> None:
    """I10."""
    holder = Holder()
    assert holder.session.take(1, 5) == []
    holder.lease(0, 3)
    holder.session.take(1, 4)
    assert holder.session.take(1, 4) == []
    assert holder.session.take(50, 60) == []
    assert holder.session.take_all() == []


def test_extending_moves_the_deadline_of_those_messages_only() -> None:
    """I11."""
    holder = Holder()
    holder.lease(0, 4, until_ms=1000)
    assert holder.session.extend(2, 4, 5000) == 2
    assert holder.session.extend(9, 12, 5000) == 0
    due = holder.deadlines.pop_due(1000)
    assert [(lease.first, lease.count) for lease in due] == [(0, 1), (3, 1)]
    assert holder.deadlines.pop_due(4999) == []
    assert [(lease.first, lease.count) for lease in holder.deadlines.pop_due(5000)] == [(1, 2)]


def test_a_shortened_lease_ends_at_its_new_deadline() -> None:
    holder = Holder()
    holder.lease(0, 1, until_ms=60_000)
    holder.session.extend(1, 2, 500)
    assert holder.deadlines.next_ms() == 500
    assert [lease.first for lease in holder.deadlines.pop_due(500)] == [0]
    assert holder.deadlines.live_count == 1, "it is still held until it is taken"


def test_deadlines_are_rounded_up_to_their_step() -> None:
    holder = Holder()
    holder.lease(0, 1, until_ms=1001)
    assert holder.deadlines.pop_due(1099) == []
    assert len(holder.deadlines.pop_due(1100)) == 1


def test_settled_leases_are_no_deadline() -> None:
    holder = Holder()
    holder.lease(0, 1, until_ms=100)
    holder.lease(5, 1, until_ms=900)
    holder.session.take(1, 2)
    assert holder.deadlines.next_ms() == 900
    assert holder.deadlines.pop_due(500) == []
    holder.session.take(2, 3)
    assert holder.deadlines.next_ms() is None
    assert holder.deadlines.live_count == 0


def test_the_watch_does_not_grow_with_what_was_settled() -> None:
    """I13."""
    holder = Holder()
    for index in range(5000):
        tag = holder.lease(2 * index, 1)
        holder.session.take(tag, tag + 1)
    assert len(holder.deadlines._heap) < 1100
    assert holder.deadlines.live_count == 0


def test_a_session_that_never_marks_fails_everything_it_loses() -> None:
    """SEMANTICS 2."""
    session = Holder().session
    assert session.counts_as_failed(started=False)
    session.mark_started(1, 2)
    assert not session.counts_as_failed(started=False)
    assert session.counts_as_failed(started=True)


def test_a_consumer_that_holds_nothing_may_have_one_message_however_large() -> None:
    """I13."""
    consumer = Holder().consumer
    assert consumer.room_for(10) == 100
    assert consumer.room_for(100) == 10
    assert consumer.room_for(5000) == 1
    consumer.leased_messages, consumer.leased_bytes = 1, 900
    assert consumer.room_for(101) == 0
    assert consumer.wants()
    consumer.leased_bytes = 1000
    assert not consumer.wants()
    consumer.leased_messages, consumer.leased_bytes = 100, 10
    assert not consumer.wants()
