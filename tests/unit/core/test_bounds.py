"""How full a queue is, and what a publish meets there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.core.harness import Core

from penstock.core import bounds
from penstock.core.definitions import alter, describe, purge
from penstock.core.delivery import make_visible
from penstock.core.facts import Overflowed, Published
from penstock.core.queue import Queue
from penstock.core.records import PUBLISHED_HEADER_BYTES
from penstock.core.session import Session
from penstock.core.values import (
    ACK,
    DROPPED_NEWEST,
    DUPLICATE,
    MEMORY,
    OFFSET_UNKNOWN,
    REFUSED,
    REJECT,
    STORED,
    Refused,
    parse_settings,
)
from penstock_client.wire.blocks import decode_block, encode_block

Outcome = tuple[int, str, int, int, int]


def block_of(count: int) -> bytes:
    return encode_block([b"%d" % index for index in range(count)])


def publish(core: Core, session: Session, first: int, count: int) -> list[Outcome]:
    """Publish a block; return (status, code, first sequence, count, offset) of its confirms."""
    core.publish(session, (first, count), block=block_of(count))
    confirms, core.broker.confirms = core.broker.confirms, []
    return [(one.status, one.code, one.first_sequence, one.message_count, one.offset) for one in confirms]


def bounded(core: Core, **settings: Any) -> tuple[Queue, Session]:
    queue = core.queue(**settings)
    session = core.session()
    core.route(session, 1, "jobs")
    return queue, session


def test_what_is_needed_is_what_no_one_is_done_with(core: Core) -> None:
    queue = core.queue(max_messages=10)
    worker = core.fill(queue, 4)
    core.consume(worker, queue, messages=3)
    core.dispatch()
    core.settle(worker, ACK, (2, 2))
    assert bounds.needed_messages(queue) == 3, "leased ones are needed"
    core.settle(worker, REJECT, (1, 1))
    assert bounds.needed_messages(queue) == 3, "so are dying ones"
    purge(core.broker, [queue.group])
    assert bounds.needed_messages(queue) == 2


def two_groups(core: Core, **settings: Any) -> tuple[Queue, Session]:
    """A queue of ten messages, of which one group needs 0 to 5 and 8 to 10, another 3 to 10."""
    queue, session = bounded(core, **settings)
    core.group(queue, "audit")
    publish(core, session, 1, 10)
    group = core.consume(session, queue).group
    make_visible(core.broker, queue, 10)
    core.dispatch()
    core.settle(session, ACK, (6, 8))
    core.consume(session, queue, number=2, group=queue.group_names["audit"])
    core.dispatch()
    core.settle(session, ACK, (11, 13))
    assert group.open_count == 7
    return queue, session


@pytest.mark.parametrize(
    ("settings", "over", "room", "excess"),
    [
        ({"max_messages": 10}, False, 0, 0),
        ({"max_messages": 9}, True, 0, 1),
        ({"max_messages": 30}, False, 20, -20),
        ({"max_messages": 6}, True, 0, 4),
        ({"max_bytes": 1_000_000}, False, 9_998, 0),
    ],
)
def test_what_several_groups_need_is_counted_once(
    core: Core, settings: dict[str, int], over: bool, room: int, excess: int
) -> None:
    queue, _ = two_groups(core, **settings)
    assert bounds.needed_messages(queue) == 10
    assert bounds.is_over(queue) is over
    assert bounds.excess_messages(queue) == excess
    queue.settings = replace(queue.settings, overflow="reject")
    assert bounds.room(queue, 100) == room


@pytest.mark.parametrize("overflow", ["backpressure", "reject", "drop_oldest"])
@pytest.mark.parametrize("settings", [{"max_messages": 30}, {"max_bytes": 1_000_000}])
def test_groups_far_from_a_bound_are_not_walked_through(
    core: Core, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], overflow: str
) -> None:
    """Their runs may be a hundred thousand, and every publish asks."""
    queue, session = two_groups(core, **settings)
    queue.settings = replace(queue.settings, overflow=overflow)
    monkeypatch.setattr(bounds, "_union_count", None)
    publish(core, session, 11, 1)
    assert queue.log.next_offset == 11


def test_groups_far_above_a_bound_are_not_walked_through(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    queue, _ = two_groups(core, max_messages=4)
    monkeypatch.setattr(bounds, "_union_count", None)
    assert bounds.is_over(queue)


def test_how_many_messages_fit_into_bytes_agrees_with_the_bytes_of_messages(core: Core) -> None:
    queue, session = bounded(core)
    for first, count in ((1, 3), (4, 1), (5, 7)):
        publish(core, session, first, count)
    for size_bytes in range(0, queue.log.live_bytes + 100, 7):
        count = bounds._count_within(queue, size_bytes)
        assert bounds._bytes_of(queue, count) <= size_bytes < bounds._bytes_of(queue, count + 1)


def test_one_stuck_message_does_not_hold_the_bytes_of_what_is_done_behind_it(core: Core) -> None:
    queue = core.queue(max_bytes=1000)
    worker = core.fill(queue, *[1] * 10)
    core.consume(worker, queue)
    core.dispatch()
    core.settle(worker, ACK, (2, 10))
    assert queue.log.live_bytes == 10 * (100 + PUBLISHED_HEADER_BYTES), "blocks leave from the front only"
    assert bounds.needed_bytes(queue) == 100 + PUBLISHED_HEADER_BYTES
    assert not bounds.is_over(queue)


def test_an_empty_queue_needs_no_bytes(core: Core) -> None:
    assert bounds.needed_bytes(core.queue(max_bytes=1)) == 0


def test_backpressure_stores_and_says_that_the_queue_is_full(core: Core) -> None:
    queue, session = bounded(core, max_messages=3)
    assert publish(core, session, 1, 3) == [(STORED, "", 1, 3, 0)]
    assert not core.broker.full_queues
    assert publish(core, session, 4, 1) == [(STORED, "", 4, 1, 3)]
    assert list(core.broker.full_queues) == [queue]


def test_a_re_send_to_a_full_queue_finds_it_full(core: Core) -> None:
    """After a restart no publish has found out yet."""
    queue, session = bounded(core, max_messages=1)
    publish(core, session, 1, 3)
    core.broker.full_queues.clear()
    assert publish(core, session, 1, 3) == [(DUPLICATE, "", 1, 3, 0)]
    assert list(core.broker.full_queues) == [queue]


def test_a_bound_in_bytes_counts_blocks(core: Core) -> None:
    queue, session = bounded(core, max_bytes=len(block_of(1)) + PUBLISHED_HEADER_BYTES)
    publish(core, session, 1, 1)
    assert not core.broker.full_queues
    publish(core, session, 2, 1)
    assert list(core.broker.full_queues) == [queue]


@pytest.mark.parametrize("settings", [{"max_messages": 2}, {"max_bytes": 100}, {"durable": False}])
def test_far_above_its_bound_a_queue_refuses(
    core: Core, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """I13: producers that come and go must not fill memory and disk."""
    monkeypatch.setattr(bounds, "OVERRUN_MESSAGES", 5)
    monkeypatch.setattr(bounds, "OVERRUN_BYTES", 700)
    queue, session = bounded(core, **{"memory_bytes_max": 200, **settings})
    outcomes = [publish(core, session, first, 1)[0][:2] for first in range(1, 50)]
    stored = outcomes.index((REFUSED, "queue-full"))
    assert set(outcomes[:stored]) == {(STORED, "")}
    assert set(outcomes[stored:]) == {(REFUSED, "queue-full")}
    assert bounds.is_over(queue)


def test_a_queue_that_rejects_takes_what_fits_of_a_block(core: Core) -> None:
    _, session = bounded(core, max_messages=5, overflow="reject")
    assert publish(core, session, 1, 3) == [(STORED, "", 1, 3, 0)]
    assert publish(core, session, 4, 4) == [(STORED, "", 4, 2, 3), (REFUSED, "queue-full", 6, 2, OFFSET_UNKNOWN)]
    assert publish(core, session, 8, 1) == [(REFUSED, "queue-full", 8, 1, OFFSET_UNKNOWN)]
    assert not core.broker.full_queues, "no one waits"


def test_what_was_rejected_is_stored_by_a_re_send_once_there_is_room(core: Core) -> None:
    queue, session = bounded(core, max_messages=2, overflow="reject")
    publish(core, session, 1, 4)
    purge(core.broker, [queue.group])
    assert publish(core, session, 1, 4) == [(DUPLICATE, "", 1, 2, 0), (STORED, "", 3, 2, 2)]


def test_a_block_that_was_stored_in_part_is_no_duplicate_after_its_queue_was_altered(core: Core) -> None:
    """I1: its confirm was lost, and the queue does not cut blocks any more."""
    queue, session = bounded(core, max_messages=5, overflow="reject")
    publish(core, session, 1, 10)
    alter(core.broker, queue, {"max_messages": 0, "overflow": "backpressure"}, core.now_ms)
    publish(core, session, 11, 1)
    assert publish(core, session, 1, 10) == [(REFUSED, "sequence-order", 1, 10, OFFSET_UNKNOWN)]
    assert publish(core, session, 1, 5) == [(DUPLICATE, "", 1, 5, 0)]


def test_a_queue_that_rejects_by_bytes_takes_none_larger_than_its_bound(core: Core) -> None:
    _, session = bounded(core, max_bytes=10, overflow="reject")
    assert publish(core, session, 1, 1) == [(REFUSED, "queue-full", 1, 1, OFFSET_UNKNOWN)]


def test_a_queue_that_drops_the_newest_says_so_and_counts(core: Core) -> None:
    queue, session = bounded(core, max_messages=2, overflow="drop_newest")
    assert publish(core, session, 1, 3) == [(STORED, "", 1, 2, 0), (DROPPED_NEWEST, "", 3, 1, OFFSET_UNKNOWN)]
    assert core.recorded(Overflowed) == [Overflowed(1, 1, session.producer, 3, core.now_ms)]
    assert describe(core.broker, queue)["dropped_newest"] == 1
    assert "jobs.dead" not in core.broker.names


def test_a_re_send_of_what_was_dropped_is_dropped_and_counted_once(core: Core) -> None:
    """I9: also when there is room by then, and when later ones were stored."""
    queue, session = bounded(core, max_messages=2, overflow="drop_newest")
    publish(core, session, 1, 3)
    purge(core.broker, [queue.group])
    assert publish(core, session, 1, 3) == [(DUPLICATE, "", 1, 2, 0), (DROPPED_NEWEST, "", 3, 1, OFFSET_UNKNOWN)]
    publish(core, session, 4, 1)
    assert publish(core, session, 3, 1) == [(DROPPED_NEWEST, "", 3, 1, OFFSET_UNKNOWN)]
    assert queue.dropped_newest == 1


def test_what_is_dropped_becomes_a_dead_letter_where_the_queue_says_so(core: Core) -> None:
    _, session = bounded(core, max_messages=1, overflow="drop_newest", overflow_dead_letter=True)
    publish(core, session, 1, 3)
    letters = [decode_block(fact.block) for fact in core.recorded(Published) if not fact.producer]
    assert [letter.bodies for letter in letters] == [[b"1", b"2"]]
    assert letters[0].properties == 2 * [
        {
            "dead": {
                "queue": "jobs",
                "attempts": 0,
                "reason": "dropped: the queue was full",
                "published_at_ms": core.now_ms,
                "failures": [],
            }
        }
    ]
    assert core.broker.names["jobs.dead"].log.next_offset == 2


def test_thousands_that_are_dropped_become_dead_letters_in_blocks_of_some(core: Core) -> None:
    _, session = bounded(core, max_messages=1, overflow="drop_newest", overflow_dead_letter=True)
    publish(core, session, 1, 1001)
    assert [fact.message_count for fact in core.recorded(Published) if not fact.producer] == [256, 256, 256, 232]


def test_a_queue_that_is_its_own_dead_letter_queue_drops_for_good(core: Core) -> None:
    queue, session = bounded(
        core, max_messages=1, overflow="drop_newest", overflow_dead_letter=True, dead_letter="jobs"
    )
    publish(core, session, 1, 3)
    assert (queue.log.next_offset, queue.dropped_newest) == (1, 2)


def test_message_ids_come_before_bounds(core: Core) -> None:
    """A duplicate needs no room."""
    _, session = bounded(core, max_messages=1, overflow="reject", dedup_window_ms=1000)
    block = encode_block([b"a"], properties=[{"message_id": "a"}])
    core.publish(session, (1, 1), (2, 1), block=block)
    assert [one.status for one in core.broker.confirms] == [STORED, DUPLICATE]


@pytest.mark.parametrize("durable", [True, False])
def test_low_disk_stops_publishes_to_durable_queues_full_memory_to_all(core: Core, durable: bool) -> None:
    _, session = bounded(core, durable=durable)
    for disk_low, memory_full, code in ((True, False, "disk-full"), (False, True, "memory-full"), (False, False, "")):
        core.broker.set_watermarks(disk_low, memory_full)
        [outcome] = publish(core, session, 1, 1)
        expected = "" if disk_low and not durable else code
        assert outcome[1] == expected
        if not expected:
            break


def test_a_full_disk_and_a_low_disk_end_one_by_one(core: Core) -> None:
    broker = core.broker
    broker.storage_full = True
    broker.set_watermarks(disk_low=True, memory_full=False)
    broker.storage_full = False
    assert (broker.storage_full, broker.stops_producers) == (False, True)
    broker.set_watermarks(disk_low=False, memory_full=False)
    assert not broker.stops_producers


def test_a_memory_queue_with_a_bound_confirms_in_memory(core: Core) -> None:
    queue, session = bounded(core, durable=False, max_messages=1, overflow="drop_newest")
    core.facts.clear()
    core.publish(session, (1, 2), block=block_of(2))
    assert [(one.status, one.level) for one in core.broker.confirms] == [(STORED, MEMORY), (DROPPED_NEWEST, MEMORY)]
    assert (core.facts, queue.dropped_newest) == ([], 1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_messages": -1}, "max_messages"),
        ({"max_bytes": True}, "max_bytes"),
        ({"overflow": "drop"}, "backpressure, reject, drop_oldest, drop_newest"),
        ({"overflow": 7}, "overflow"),
        ({"overflow_dead_letter": 1}, "overflow_dead_letter"),
        ({"overflow_dead_letter": True, "overflow": "reject"}, "overflow_dead_letter"),
    ],
)
def test_wrong_bounds_are_refused_by_name(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said) as refused:
        parse_settings(settings)
    assert refused.value.refusal.code == "bad-setting"


def test_bounds_without_room_are_no_bounds() -> None:
    assert parse_settings({"overflow": "reject"}).overflow == "reject"
