"""Dropping from the front: what goes, what stays, and in whose eyes."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.core.harness import Core, offsets

from penstock.core import definitions, delivery, dropping, overflow, settling
from penstock.core.asks import Ask
from penstock.core.definitions import describe
from penstock.core.facts import Discarded
from penstock.core.groups import delete_group
from penstock.core.intake import look_at_bounds
from penstock.core.queue import Queue
from penstock.core.values import (
    ACK,
    CANCELLED,
    DROPPED,
    HOLD_MS_MAX,
    NACK,
    REJECT,
    RELEASE,
    REQUEUE,
    Refused,
    parse_settings,
)
from penstock_client.wire import blocks


def dropped(core: Core) -> list[tuple[int, int]]:
    return [part for fact in core.recorded(Discarded) if fact.reason == DROPPED for part in fact.ranges]


def oldest_queue(core: Core, max_messages: int = 5, **settings: Any) -> Queue:
    return core.queue(max_messages=max_messages, overflow="drop_oldest", **settings)


def pass_time(core: Core, duration_ms: int) -> None:
    core.pass_time(duration_ms)
    dropping.drop_aged(core.broker, core.now_ms)


def set_aside(core: Core, queue: Queue, *offsets: int) -> None:
    for group, offset in dropping.take_aside(queue, offsets):
        dropping.set_aside(core.broker, group, offset, b"copy", core.now_ms)


def test_the_oldest_leaves_when_there_is_no_room(core: Core) -> None:
    queue = oldest_queue(core)
    core.fill(queue, 3, 2, 4)
    assert dropped(core) == [(0, 4)]
    assert (queue.group.next_offset, queue.group.open_count) == (4, 5)
    assert describe(core.broker, queue)["dropped"] == 4


def test_a_block_larger_than_the_bound_keeps_its_end(core: Core) -> None:
    queue = oldest_queue(core)
    core.fill(queue, 8)
    assert dropped(core) == [(0, 3)]
    assert not core.broker.full_queues


def test_what_is_leased_is_never_dropped(core: Core) -> None:
    """SEMANTICS 15."""
    queue = oldest_queue(core)
    worker = core.fill(queue, 5)
    core.consume(worker, queue, messages=3)
    core.dispatch()
    core.fill(queue, 4)
    assert dropped(core) == [(3, 7)]
    core.settle(worker, ACK, (1, 3))
    assert queue.group.open_count == 2


def test_with_everything_leased_what_comes_is_dropped_at_once(core: Core) -> None:
    queue = oldest_queue(core, max_messages=2)
    worker = core.fill(queue, 2)
    core.consume(worker, queue)
    core.dispatch()
    core.fill(queue, 3)
    assert dropped(core) == [(2, 5)]


def test_what_waits_for_another_attempt_goes_first(core: Core) -> None:
    queue = oldest_queue(core)
    worker = core.fill(queue, 5)
    core.consume(worker, queue, messages=3)
    core.dispatch()
    core.settle(worker, RELEASE, (2, 2))
    core.settle(worker, NACK, (3, 3), duration_ms=60_000)
    core.fill(queue, 3)
    assert dropped(core) == [(1, 4)]
    assert (queue.group.returned_count, queue.group.delayed_count) == (0, 0)
    assert queue.group.open_count == 5


def test_what_dies_is_not_dropped_and_takes_no_room(core: Core) -> None:
    queue = oldest_queue(core)
    worker = core.fill(queue, 5)
    core.consume(worker, queue, messages=2)
    core.dispatch()
    core.settle(worker, REJECT, (1, 2))
    core.fill(queue, 2)
    assert dropped(core) == []
    core.fill(queue, 1)
    assert dropped(core) == [(2, 3)]


def test_a_bound_in_bytes_drops_as_many_as_it_takes(core: Core) -> None:
    queue = core.queue(max_bytes=5 * 148, overflow="drop_oldest")
    core.fill(queue, *[1] * 7)
    assert dropped(core) == [(0, 1), (1, 2)]


def test_a_message_is_dropped_for_every_group_or_for_none(core: Core) -> None:
    queue = oldest_queue(core, max_messages=3)
    first, _ = core.group(queue, "a"), core.group(queue, "b")
    worker = core.fill(queue, 3)
    core.consume(worker, queue, messages=1, group=first)
    assert offsets(core.dispatch()) == [0]
    core.fill(queue, 1)
    assert dropped(core) == [(1, 2), (1, 2)], "the first is leased in one of them"
    assert [group.open_count for group in queue.keepers()] == [3, 3]


def test_what_nobody_took_in_time_is_dropped(core: Core) -> None:
    queue = core.queue(max_age_ms=1000)
    core.fill(queue, 3)
    pass_time(core, 500)
    core.fill(queue, 2)
    pass_time(core, 500)
    assert dropped(core) == []
    pass_time(core, 10)
    assert dropped(core) == [(0, 3)]
    pass_time(core, 10_000)
    assert queue.group.open_count == 0
    assert core.broker.age_deadlines == []


def test_a_queue_of_a_hundred_thousand_exceptions_drops_some_at_once(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them is looked through to drop one: not with every publish."""
    monkeypatch.setattr(dropping, "LOOKED_THROUGH_MAX", 10)
    queue = oldest_queue(core, max_messages=100, max_failures=0)
    worker = core.fill(queue, 100)
    core.consume(worker, queue)
    core.dispatch()
    for tag in range(1, 101):
        core.settle(worker, NACK, (tag, tag), duration_ms=60_000)
    most = 0
    for sequence in range(101, 141):
        core.publish(worker, (sequence, 1))
        most = max(most, queue.group.open_count)
    assert most == 109
    assert len(core.recorded(Discarded)) == 4
    assert describe(core.broker, queue)["dropped"] == 36, "10, 9, 9 and 8: the fewer wait, the fewer at once"


def test_what_is_leased_when_it_is_too_old_is_dropped_when_it_comes_back(core: Core) -> None:
    queue = core.queue(max_age_ms=1000, lease_ms=60_000)
    worker = core.fill(queue, 2)
    core.consume(worker, queue, messages=1)
    core.dispatch()
    pass_time(core, 2000)
    assert dropped(core) == [(1, 2)]
    core.settle(worker, RELEASE, (1, 1))
    pass_time(core, dropping.RECHECK_MS)
    assert dropped(core) == [(1, 2), (0, 1)]
    assert core.broker.age_deadlines == []


def test_what_is_needed_again_because_a_group_begins_anew_is_dropped_if_it_is_too_old(core: Core) -> None:
    queue = core.queue(max_age_ms=1000)
    worker = core.fill(queue, 5)
    core.consume(worker, queue, messages=1)
    core.dispatch()
    pass_time(core, 2000)
    assert dropped(core) == [(1, 5)], "the first is leased"
    delete_group(core.broker, queue.group)
    assert queue.group.open_count == 5
    pass_time(core, 1)
    assert queue.group.open_count == 0


def test_one_stuck_message_is_looked_at_once_a_second_however_much_is_published(core: Core) -> None:
    queue = core.queue(max_age_ms=1000, lease_ms=HOLD_MS_MAX)
    worker = core.fill(queue, 1)
    core.consume(worker, queue, messages=1)
    core.dispatch()
    for sequence in range(2, 502):
        pass_time(core, 10)
        core.publish(worker, (sequence, 1))
    assert len(core.broker.age_deadlines) <= 2, "I13: one for what is stuck, one for what is to come"
    assert queue.group.open_count <= 103, "what is old and with nobody is dropped meanwhile"


def test_what_died_in_its_place_is_not_looked_at_with_every_publish(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = core.queue(max_age_ms=1000, max_failures=1)
    worker = core.fill(queue, 1)
    core.consume(worker, queue, messages=1)
    core.dispatch()
    core.settle(worker, NACK, (1, 1))
    pass_time(core, 2000)
    looks: list[int] = []
    look = dropping._drop_aged

    def noted(*arguments: Any) -> None:
        looks.append(core.now_ms)
        look(*arguments)

    monkeypatch.setattr(dropping, "_drop_aged", noted)
    for sequence in range(2, 102):
        core.publish(worker, (sequence, 1))
        pass_time(core, 1)
    assert len(looks) <= 1
    assert len(core.broker.age_deadlines) == 1


def test_a_deleted_queue_is_not_looked_at(core: Core) -> None:
    from penstock.core.definitions import delete

    queue = core.queue(max_age_ms=1000)
    core.fill(queue, 2)
    pass_time(core, 1)
    delete(core.broker, queue, False, False)
    pass_time(core, 5000)
    assert dropped(core) == []


def test_what_goes_to_the_dead_letters_is_left_to_who_has_the_blocks(core: Core) -> None:
    queue = oldest_queue(core, max_messages=2, overflow_dead_letter=True)
    core.fill(queue, 4)
    assert (dropped(core), list(core.broker.overfull_queues)) == ([], [queue])
    assert dropping.next_to_set_aside(queue, 1) == [0]
    assert dropping.next_to_set_aside(queue, 100) == [0, 1]
    set_aside(core, queue, 0)
    assert dropping.next_to_set_aside(queue, 100) == [1]
    assert core.broker.names["jobs.dead"].log.next_offset == 1


def test_what_is_held_by_then_is_not_set_aside(core: Core) -> None:
    """I14: no copy of what is worked on."""
    queue = oldest_queue(core, max_messages=1, overflow_dead_letter=True)
    worker = core.fill(queue, 2)
    assert dropping.next_to_set_aside(queue, 100) == [0]
    core.consume(worker, queue, messages=1)
    core.dispatch()
    set_aside(core, queue, 0)
    assert "jobs.dead" not in core.broker.names
    assert dropping.next_to_set_aside(queue, 100) == [1]


def test_a_queue_without_dead_letters_of_its_own_drops_for_good(core: Core) -> None:
    queue = oldest_queue(core, max_messages=1, overflow_dead_letter=True, dead_letter="jobs")
    core.fill(queue, 3)
    assert dropped(core) == [(0, 2)]


@pytest.mark.parametrize("settings", [{"overflow": "drop_oldest"}, {"max_age_ms": 5}, {"overflow": "drop_newest"}])
def test_whatever_drops_may_drop_into_the_dead_letters(settings: dict[str, Any]) -> None:
    assert parse_settings({**settings, "overflow_dead_letter": True}).overflow_dead_letter


def test_an_age_has_bounds() -> None:
    with pytest.raises(Refused, match="max_age_ms"):
        parse_settings({"max_age_ms": -1})


def dies(core: Core, queue: Queue, *offsets: int) -> None:
    """Messages that the caller rejected are buried."""
    for dying, offset in zip(core.broker.dying, offsets, strict=True):
        assert dying.offset == offset
        settling.bury(core.broker, dying, b"dead", core.now_ms, 100)
    core.broker.dying.clear()
    assert queue.group.dying_count == 0


def rejecting(core: Core, count: int, **settings: Any) -> tuple[Queue, Queue]:
    """A queue whose messages are all dying, and its declared dead-letter queue."""
    target = core.queue("jobs.dead", dead_letter="jobs.dead", **settings)
    queue = core.queue()
    worker = core.fill(queue, count)
    core.consume(worker, queue)
    core.dispatch()
    core.settle(worker, REJECT, (1, count))
    return queue, target


def test_a_dead_letter_pushes_out_the_oldest_where_its_queue_drops_that(core: Core) -> None:
    queue, target = rejecting(core, 4, max_messages=2, overflow="drop_oldest")
    dies(core, queue, 0, 1, 2, 3)
    assert (target.group.next_offset, target.group.open_count) == (2, 2)
    assert [fact.queue for fact in core.recorded(Discarded)] == [target.number] * 2


@pytest.mark.parametrize("at_bound", ["backpressure", "reject", "drop_newest"])
def test_a_dead_letter_is_kept_above_any_other_bound(core: Core, at_bound: str) -> None:
    queue, target = rejecting(core, 3, max_messages=1, overflow=at_bound)
    dies(core, queue, 0, 1, 2)
    assert target.group.open_count == 3


def test_a_dead_letter_never_pushes_out_what_is_leased(core: Core) -> None:
    queue, target = rejecting(core, 3, max_messages=1, overflow="drop_oldest")
    operator = core.session()
    core.consume(operator, target, messages=1)
    for dying in core.broker.dying:
        settling.bury(core.broker, dying, b"dead", core.now_ms, 100)
        delivery.make_visible(core.broker, target, target.log.next_offset)
        core.dispatch()
    assert (target.group.leased_count, target.group.open_count) == (1, 1)
    assert queue.group.open_count == 0


def test_the_message_of_a_marker_that_is_pushed_out_is_skipped(core: Core) -> None:
    target = core.queue("graveyard", dead_letter="graveyard", max_messages=1, overflow="drop_oldest")
    first, second = (core.queue(name, dead_letter="graveyard") for name in ("first", "second"))
    held = []
    for queue in (first, second):
        group = core.group(queue, "billing", mode="single", on_dead="hold")
        worker = core.fill(queue, 1)
        core.consume(worker, queue, group=group)
        core.dispatch()
        core.settle(worker, REJECT, (1, 1))
        settling.bury(core.broker, core.broker.dying.pop(), b"dead", core.now_ms, 100)
        settling.skip_orphans(core.broker)
        held.append(group)
    assert (target.group.open_count, target.markers) == (1, {1: (held[1], 0)})
    assert [group.open_count for group in held] == [0, 1]
    assert held[0].counters.discarded[CANCELLED] == 1


def test_what_is_dropped_as_newest_makes_its_room_in_the_dead_letters(core: Core) -> None:
    target = core.queue("jobs.dead", dead_letter="jobs.dead", max_messages=2, overflow="drop_oldest")
    queue = core.queue(max_messages=1, overflow="drop_newest", overflow_dead_letter=True)
    core.fill(queue, 5, block=blocks.encode_block([b"x"] * 5))
    assert (queue.group.open_count, target.group.open_count, target.group.next_offset) == (1, 2, 2)


def test_what_is_dropped_as_oldest_makes_its_room_in_the_dead_letters(core: Core) -> None:
    target = core.queue("jobs.dead", dead_letter="jobs.dead", max_messages=2, overflow="drop_oldest")
    queue = oldest_queue(core, 1, overflow_dead_letter=True)
    core.fill(queue, 5)
    set_aside(core, queue, *dropping.next_to_set_aside(queue, 10))
    assert (queue.group.open_count, target.group.open_count) == (1, 2)


def test_a_dead_letter_queue_that_nobody_declared_has_the_bounds_of_the_broker(core: Core) -> None:
    core.broker.dead_letter_settings = parse_settings({"max_messages": 7, "overflow": "drop_oldest"})
    queue = core.queue(lease_ms=500)
    settings = overflow.dead_letter_queue(core.broker, queue, core.now_ms, 100).settings
    assert (settings.max_messages, settings.overflow, settings.lease_ms) == (7, "drop_oldest", 500)
    assert (settings.max_failures, settings.dead_letter) == (0, "jobs.dead")


def test_what_is_both_expired_and_too_old_is_counted_once(core: Core) -> None:
    """I12: as expired, for that is what its producer asked for."""
    queue = core.queue(max_age_ms=1280, ttl_ms=1290)
    core.fill(queue, 3)
    core.pass_time(2000)
    core.expire()
    dropping.drop_aged(core.broker, core.now_ms)
    told = describe(core.broker, queue)
    assert (told["expired"], told["dropped"], told["messages"]) == (3, 0, 0)


def test_what_was_dropped_does_not_expire_as_well(core: Core) -> None:
    """I12."""
    queue = core.queue(max_age_ms=128, ttl_ms=1000)
    core.fill(queue, 3)
    pass_time(core, 300)
    core.pass_time(1000)
    core.expire()
    told = describe(core.broker, queue)
    assert (told["expired"], told["dropped"], told["messages"]) == (0, 3, 0)


def test_what_waits_to_be_a_dead_letter_for_its_time_is_not_dropped(core: Core) -> None:
    queue = oldest_queue(core, max_messages=3, ttl_ms=1000, on_expired="dead-letter")
    core.fill(queue, 3)
    core.pass_time(1000)
    core.expire()
    assert queue.group.dying_count == 3
    core.fill(queue, 3)
    assert dropped(core) == []
    core.fill(queue, 1)
    assert dropped(core) == [(3, 4)]


def test_the_oldest_leaves_whatever_its_priority(core: Core) -> None:
    queue, session = oldest_queue(core, max_messages=3), core.session()
    core.route(session, 1, "jobs")
    core.publish_asking(session, 1, Ask(priority=9), Ask(), Ask(priority=9))
    core.consume(session, queue, messages=3)
    core.dispatch()
    core.settle(session, RELEASE, (1, 1))
    core.settle(session, REQUEUE, (2, 2))
    session.consumers[1].prefetch_messages = 0
    core.publish_asking(session, 4, Ask(), Ask(), Ask())
    assert dropped(core) == [(0, 1), (2, 4)], "what is leased stays"
    assert queue.group.returned_count == 0
    assert [(run.first, run.end) for run in queue.group.outstanding] == [(1, 2)]


# Bounds that are altered


def alter(core: Core, queue: Queue, **changes: Any) -> None:
    definitions.alter(core.broker, queue, changes, core.now_ms)
    look_at_bounds(core.broker, queue)


def test_a_lower_bound_is_kept_at_once(core: Core) -> None:
    queue = core.queue()
    core.fill(queue, 4, 4)
    alter(core, queue, max_messages=3, overflow="drop_oldest")
    assert dropped(core) == [(0, 5)]
    core.fill(queue, 2)
    assert dropped(core) == [(0, 5), (5, 7)]
    alter(core, queue, max_messages=0)
    core.fill(queue, 9)
    assert queue.group.open_count == 12


def test_a_queue_altered_to_have_no_room_holds_confirms_and_one_with_room_lets_them_go(core: Core) -> None:
    queue = core.queue()
    core.fill(queue, 4)
    alter(core, queue, max_messages=3)
    assert queue in core.broker.full_queues
    alter(core, queue, max_messages=4)
    assert queue in core.broker.relieved_queues


def test_what_was_there_before_an_age_is_as_old_as_the_alteration(core: Core) -> None:
    queue = core.queue()
    core.fill(queue, 2)
    pass_time(core, 50_000)
    alter(core, queue, max_age_ms=12_800)
    pass_time(core, 12_799)
    assert not dropped(core)
    pass_time(core, 101)
    assert dropped(core) == [(0, 2)]


def test_an_age_is_made_shorter_longer_and_taken_away(core: Core) -> None:
    queue = core.queue(max_age_ms=12_800)
    core.fill(queue, 1)
    pass_time(core, 5_000)
    alter(core, queue, max_age_ms=4_000)
    pass_time(core, 0)
    assert dropped(core) == [(0, 1)]
    core.fill(queue, 1)
    alter(core, queue, max_age_ms=100_000)
    pass_time(core, 50_000)
    alter(core, queue, max_age_ms=0)
    pass_time(core, 500_000)
    assert queue.group.open_count == 1


def test_a_queue_that_is_gone_has_nothing_that_is_too_old(core: Core) -> None:
    queue = core.queue(max_age_ms=1000)
    worker = core.fill(queue, 2)
    core.consume(worker, queue)
    core.dispatch()
    pass_time(core, 5_000)
    core.settle(worker, RELEASE, (1, 2))
    core.broker.aging_queues[queue] = None  # as when a group ends
    definitions.delete(core.broker, queue, if_empty=False, if_unused=False)
    core.facts.clear()
    pass_time(core, 1)
    assert core.facts == []
