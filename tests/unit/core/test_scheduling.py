from collections.abc import Iterator
from unittest.mock import patch

import pytest
from tests.unit.core.harness import BLOCK, Core

from penstock.core import definitions, dropping, publishing, scheduling
from penstock.core.bounds import needed_messages
from penstock.core.broker import Confirm
from penstock.core.facts import (
    Discarded,
    Due,
    Published,
    Scheduled,
    Unscheduled,
)
from penstock.core.queue import Queue
from penstock.core.records import SCHEDULED_HEADER_BYTES
from penstock.core.scheduling import Part, runs_of
from penstock.core.session import Session
from penstock.core.values import (
    DUPLICATE_SCHEDULED,
    MEMORY,
    OFFSET_UNKNOWN,
    REFUSED,
    SCHEDULED,
    STORED,
    Refused,
)


@pytest.fixture
def core() -> Core:
    return Core()


def connected(core: Core, queue: str = "jobs") -> Session:
    session = core.session()
    if queue in core.broker.names:
        core.route(session, 1, queue)
    return session


def schedule(core: Core, session: Session, first: int, *dues_ms: int, level: int = 0) -> Confirm:
    """Publish one block whose messages are due at these times."""
    parts = [Part(start, stop, due_ms, BLOCK[start:]) for start, stop, due_ms in runs_of(dues_ms)]
    publication = (1, level, first, len(dues_ms), BLOCK)
    scheduling.publish(core.broker, session, publication, parts, core.now_ms)
    return core.broker.confirms.pop()


def release(core: Core, queue: Queue, delay_ms: int) -> list[tuple[int, int]]:
    """Let time pass; return (first offset, end) of each block in the log."""
    core.now_ms += delay_ms
    while (next_ms := core.broker.timers.next_ms()) is not None and next_ms <= core.now_ms:
        scheduling.release_due(core.broker, core.now_ms)
    return [(block.first, block.end) for block in queue.log.all_blocks()]


def test_neighbours_that_are_due_together_are_one_run() -> None:
    assert runs_of([5, 5, 7, 5]) == [(0, 2, 5), (2, 3, 7), (3, 4, 5)]


def test_a_scheduled_block_has_no_offset_until_it_is_due(core: Core) -> None:
    """SEMANTICS 8."""
    queue = core.queue()
    session = connected(core)
    confirm = schedule(core, session, 1, *[core.now_ms + 500] * 3)
    assert (confirm.status, confirm.offset, confirm.message_count) == (SCHEDULED, 1, 3)
    core.publish(session, (4, 1))
    assert core.broker.confirms.pop()[2::5] == (STORED, 0)
    assert release(core, queue, 499) == [(0, 1)]
    assert release(core, queue, 1) == [(0, 1), (1, 4)]
    assert core.recorded(Due) == [Due(queue.number, 1, ((1, 4),))]
    assert queue in core.broker.published_queues, "it becomes visible when the fact is durable (I3)"


def test_the_log_points_at_the_block_where_it_was_stored(core: Core) -> None:
    queue = core.queue()
    schedule(core, connected(core), 1, core.now_ms + 5)
    fact = core.recorded(Scheduled)[0]
    release(core, queue, 5)
    block = queue.log.block_at(0)
    assert (block.size_bytes, block.position) == (len(BLOCK) + SCHEDULED_HEADER_BYTES, core.facts.index(fact) + 1)
    assert core.recorded(Published) == []


def test_messages_enter_the_log_in_the_order_of_their_times(core: Core) -> None:
    queue = core.queue()
    session = connected(core)
    for first, delay_ms in enumerate((900, 300, 600), 1):
        schedule(core, session, first, core.now_ms + delay_ms)
    release(core, queue, 1000)
    assert core.recorded(Due)[-1].ranges == ((2, 4), (1, 2))


def test_a_block_with_different_times_is_stored_as_several_entries_with_consecutive_ids(core: Core) -> None:
    queue = core.queue()
    late, early = core.now_ms + 900, core.now_ms + 100
    assert schedule(core, connected(core), 1, late, late, early).offset == 1
    assert [(fact.first, fact.message_count, fact.first_sequence) for fact in core.recorded(Scheduled)] == [
        (1, 2, 1),
        (3, 1, 3),
    ]
    release(core, queue, 1000)
    assert core.recorded(Due)[-1].ranges == ((3, 4), (1, 3))


def test_a_block_sent_again_is_a_duplicate_that_says_its_schedule_id(core: Core) -> None:
    queue = core.queue()
    session = connected(core)
    schedule(core, session, 1, core.now_ms + 5)
    schedule(core, session, 2, core.now_ms + 5, core.now_ms + 9)
    again = schedule(core, session, 2, core.now_ms + 5, core.now_ms + 9)
    assert (again.status, again.offset, again.message_count) == (DUPLICATE_SCHEDULED, 2, 2)
    release(core, queue, 10)
    assert schedule(core, session, 2, core.now_ms + 5, core.now_ms + 9)[2::5] == (DUPLICATE_SCHEDULED, 2)
    assert queue.log.next_offset == 3


def test_a_memory_queue_takes_nothing_that_is_to_wait(core: Core) -> None:
    core.queue(durable=False)
    session = connected(core)
    confirm = schedule(core, session, 1, core.now_ms + 5)
    assert (confirm.status, confirm.level, confirm.code) == (REFUSED, MEMORY, "unsupported")
    assert session.confirms_in_line, "no later confirm may overtake the refusal (I9)"


def test_what_any_publish_is_refused_for_refuses_a_scheduled_one(core: Core) -> None:
    queue = core.queue()
    session = connected(core)
    core.broker.storage_full = True
    assert schedule(core, session, 1, core.now_ms + 5).code == "disk-full"
    core.broker.storage_full = False
    definitions.delete(core.broker, queue, if_empty=False, if_unused=False)
    assert schedule(core, session, 1, core.now_ms + 5).code == "unknown-queue"
    assert schedule(core, core.session(), 1, core.now_ms + 5).code == "unknown-route"
    assert schedule(core, core.session(), 1, core.now_ms + 5).offset == OFFSET_UNKNOWN


def test_thousands_that_are_due_at_once_are_released_in_slices(core: Core) -> None:
    queue = core.queue()
    session = connected(core)
    for first in range(1, 31):
        schedule(core, session, first, core.now_ms + 5)
    core.now_ms += 5
    with patch.object(scheduling, "MOVES_MAX", 10):
        sizes = []
        while core.broker.timers.heap:
            scheduling.release_due(core.broker, core.now_ms)
            sizes.append(queue.log.next_offset)
    assert sizes == [10, 20, 30]


def test_one_message_of_several_is_cancelled_and_the_others_keep_their_ids_and_time(core: Core) -> None:
    queue = core.queue()
    schedule(core, connected(core), 1, *[core.now_ms + 50] * 5)
    entry = scheduling.find_scheduled(queue, 3)
    rest = [Part(0, 2, entry.due_ms, b"left"), Part(3, 5, entry.due_ms, b"right")]
    scheduling.cancel(core.broker, queue, entry, rest, 77)
    assert core.recorded(Unscheduled) == [Unscheduled(queue.number, 1, 6, 1)]
    assert [(fact.first, fact.message_count, fact.producer, fact.time_ms) for fact in core.recorded(Scheduled)[1:]] == [
        (1, 2, 0, 77),
        (4, 2, 0, 77),
    ]
    with pytest.raises(Refused, match="no scheduled message 3"):
        scheduling.find_scheduled(queue, 3)
    assert [block.size_bytes for block in core.broker.dropped] == [len(BLOCK) + SCHEDULED_HEADER_BYTES]
    assert release(core, queue, 50) == [(0, 2), (2, 4)]


def test_a_cancelled_message_is_never_released(core: Core) -> None:
    queue = core.queue()
    session = connected(core)
    schedule(core, session, 1, core.now_ms + 50)
    schedule(core, session, 2, core.now_ms + 90)
    scheduling.cancel(core.broker, queue, scheduling.find_scheduled(queue, 1), (), 0)
    assert release(core, queue, 100) == [(0, 1)]
    assert core.recorded(Due) == [Due(queue.number, 0, ((2, 3),))]
    assert definitions.describe(core.broker, queue)["unscheduled"] == 1


def test_a_queue_that_never_had_a_scheduled_message_has_none_to_cancel(core: Core) -> None:
    queue = core.queue()
    assert scheduling.cancel_all(core.broker, queue) == 0
    assert scheduling.scheduled_count(queue) == 0
    with pytest.raises(Refused) as refused:
        scheduling.find_scheduled(queue, 1)
    assert refused.value.refusal.code == "not-scheduled"


def test_all_are_cancelled_at_once_and_their_blocks_given_up_in_slices(core: Core) -> None:
    queue = core.queue()
    session = connected(core)
    for first in range(1, 6):
        schedule(core, session, first, core.now_ms + first)
    assert scheduling.cancel_all(core.broker, queue) == 5
    assert scheduling.cancel_all(core.broker, queue) == 0
    while core.broker.draining:
        core.broker.drain()
    assert len(core.broker.dropped) == 5
    assert release(core, queue, 10) == []
    assert scheduling.scheduled_count(queue) == 0


def test_a_purge_leaves_what_is_scheduled(core: Core) -> None:
    queue = core.queue()
    session = connected(core)
    schedule(core, session, 1, core.now_ms + 5)
    core.publish(session, (2, 3))
    assert definitions.purge(core.broker, [queue.group]) == 3
    assert scheduling.scheduled_count(queue) == 1


def test_a_deleted_queue_takes_what_is_scheduled_with_it(core: Core) -> None:
    queue = core.queue()
    schedule(core, connected(core), 1, core.now_ms + 5, core.now_ms + 5)
    with pytest.raises(Refused, match="holds 2 messages"):
        definitions.delete(core.broker, queue, if_empty=True, if_unused=False)
    assert definitions.delete(core.broker, queue, if_empty=False, if_unused=False) == 2
    core.now_ms += 10
    scheduling.release_due(core.broker, core.now_ms)
    assert core.recorded(Due) == []
    assert not core.broker.timers.heap


def test_counts_tell_what_waits_from_what_is_ready(core: Core) -> None:
    """I12."""
    queue = core.queue()
    session = connected(core)
    schedule(core, session, 1, core.now_ms + 5, core.now_ms + 5, core.now_ms + 50)
    core.publish(session, (4, 2))
    release(core, queue, 5)
    info = definitions.describe(core.broker, queue)
    assert {key: info[key] for key in ("ready", "upcoming", "scheduled", "messages", "published")} == {
        "ready": 4, "upcoming": 1, "scheduled": 0, "messages": 4, "published": 4,
    }  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_is_left_in_line(core: Core) -> Iterator[None]:
    yield
    assert core.broker.confirms == [] or core.broker.confirms[0].status == STORED


def test_the_plain_publish_path_knows_nothing_of_schedules(core: Core) -> None:
    queue = core.queue()
    session = connected(core)
    publishing.publish(core.broker, session, [(1, 0, 1, 2, BLOCK)], core.now_ms)
    core.broker.confirms.clear()
    assert queue.schedule is None


@pytest.mark.parametrize("overflow", ["reject", "drop_newest", "backpressure"])
def test_what_waits_for_its_time_does_not_fill_a_queue(core: Core, overflow: str) -> None:
    """When it is due it enters past the bound, as what moves within the broker does (SEMANTICS 11)."""
    queue = core.queue(max_messages=1, overflow=overflow)
    session = connected(core)
    core.publish(session, (1, 1))
    assert schedule(core, session, 2, *[core.now_ms + 5] * 2).status == SCHEDULED
    assert needed_messages(queue) == 1
    release(core, queue, 5)
    assert needed_messages(queue) == 3


def test_a_scheduled_block_that_is_sent_again_when_it_is_due_is_known_in_a_queue_that_rejects(core: Core) -> None:
    """I9: by then it looks like any other block."""
    core.queue(max_messages=1, overflow="reject")
    session = connected(core)
    schedule(core, session, 1, core.now_ms + 5)
    core.publish(session, (1, 1))
    confirm = core.broker.confirms.pop()
    assert (confirm.status, confirm.code, confirm.offset) == (DUPLICATE_SCHEDULED, "", 1)


def test_what_came_due_long_ago_is_too_old(core: Core) -> None:
    """Its age is counted from when it was due, not from when it was published."""
    queue = core.queue(max_age_ms=1_000)
    schedule(core, connected(core), 1, core.now_ms + 5_000)
    release(core, queue, 5_900)
    dropping.drop_aged(core.broker, core.now_ms)
    assert needed_messages(queue) == 1
    core.now_ms += 200
    dropping.drop_aged(core.broker, core.now_ms)
    assert needed_messages(queue) == 0


def test_what_is_due_makes_the_oldest_leave_where_that_is_the_rule(core: Core) -> None:
    queue = core.queue(max_messages=2, overflow="drop_oldest")
    session = connected(core)
    for first in range(1, 6):
        schedule(core, session, first, core.now_ms + first)
    release(core, queue, 5)
    assert needed_messages(queue) == 2
    assert sum(end - first for fact in core.recorded(Discarded) for first, end in fact.ranges) == 3
