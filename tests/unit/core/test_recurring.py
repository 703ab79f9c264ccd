from typing import Any

import pytest
from tests.unit.core.harness import Core

from penstock.core import bounds, definitions, firing
from penstock.core.bounds import needed_messages
from penstock.core.facts import (
    Discarded,
    Fired,
    Published,
    RecurringAdded,
)
from penstock.core.records import decode, encode
from penstock.core.recurring import NEVER, Recurring, Recurrings
from penstock.core.values import Refused


@pytest.fixture
def core() -> Core:
    core = Core()
    core.queue()
    return core


def definition(**changes: Any) -> dict[str, Any]:
    whole = {"name": "tick", "cron": "* * * * *", "zone": "UTC", "queue": "jobs", "block64": "AAAA", "missed": "once"}
    return whole | changes


def added(core: Core, next_ms: int = 2_000_000, **changes: Any) -> Recurring:
    assert firing.add(core.broker, definition(**changes), next_ms, core.now_ms)
    return firing.find(core.broker, changes.get("name", "tick"))


def refusal(core: Core, **changes: Any) -> str:
    with pytest.raises(Refused) as refused:
        firing.add(core.broker, definition(**changes), 1, core.now_ms)
    return f"{refused.value.refusal.code}: {refused.value.refusal.message}"


def test_a_schedule_is_added_once_and_found_by_name(core: Core) -> None:
    one = added(core)
    assert (one.next_ms, one.paused, one.fired_count, one.created_at_ms) == (2_000_000, False, 0, core.now_ms)
    assert not firing.add(core.broker, definition(), 3_000_000, core.now_ms)
    assert one.next_ms == 2_000_000, "adding it again changes nothing"


def test_ids_are_shared_with_queues_and_never_reused(core: Core) -> None:
    first = added(core)
    firing.remove(core.broker, first)
    assert added(core).number > first.number
    assert core.queue("other").number > first.number + 1


def test_another_definition_under_the_same_name_is_refused_naming_what_differs(core: Core) -> None:
    added(core)
    assert "cron line, message" in refusal(core, cron="5 * * * *", block64="BBBB")
    assert refusal(core, zone="Asia/Tokyo").startswith("settings-differ")


def test_what_cannot_be_is_refused(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(core, queue="nowhere").startswith("unknown-queue")
    assert refusal(core, queue="").startswith("bad-name")
    assert refusal(core, name="").startswith("bad-name")
    monkeypatch.setattr(firing, "RECURRING_MAX", 0)
    assert refusal(core).startswith("limit-reached")
    with pytest.raises(Refused, match="no recurring schedule 'tick'"):
        firing.find(core.broker, "tick")


def test_a_firing_is_a_message_and_a_fact(core: Core) -> None:
    one = added(core)
    firing.fire(core.broker, one, b"block", 2_000_000, 2_060_000, 2_000_007)
    assert [type(fact) for fact in core.facts[-2:]] == [Published, Fired]
    assert (one.last_ms, one.next_ms, one.fired_count, one.lost_count) == (2_000_000, 2_060_000, 1, 0)
    assert core.broker.names["jobs"].log.next_offset == 1


def test_a_firing_that_finds_no_queue_is_lost_and_counted(core: Core) -> None:
    one = added(core)
    definitions.delete(core.broker, core.broker.names["jobs"], if_empty=False, if_unused=False)
    firing.fire(core.broker, one, b"block", 2_000_000, 2_060_000, 2_000_007)
    assert (one.fired_count, one.lost_count) == (0, 1)
    assert core.recorded(Published) == []


def test_the_earliest_fires_first_and_a_paused_one_not_at_all(core: Core) -> None:
    late, early = added(core, 3_000, name="late"), added(core, 2_000, name="early")
    paused = added(core, 1_000, name="paused")
    firing.pause(core.broker, paused, paused=True, next_ms=1_000)
    recurrings = core.broker.recurrings
    assert recurrings.next_ms == 2_000
    assert recurrings.due(3_000) == [early, late]
    assert recurrings.due(2_999) == [early]


def test_a_resumed_schedule_goes_on_with_its_next_time(core: Core) -> None:
    one = added(core)
    firing.pause(core.broker, one, paused=True, next_ms=2_000_000)
    recorded = len(core.facts)
    firing.pause(core.broker, one, paused=True, next_ms=2_000_000)
    assert len(core.facts) == recorded, "pausing again changes nothing"
    assert core.broker.recurrings.next_ms == NEVER
    firing.pause(core.broker, one, paused=False, next_ms=9_000_000)
    assert core.broker.recurrings.next_ms == 9_000_000


def test_all_of_it_comes_back_from_a_snapshot(core: Core) -> None:
    one = added(core)
    firing.skip(core.broker, one, 2_000_000, 2_060_000)
    again = Recurrings()
    again.restore([one.values()])
    assert again.by_name == core.broker.recurrings.by_name
    assert again.next_ms == 2_060_000


def test_facts_come_back_from_their_records(core: Core) -> None:
    one = added(core)
    firing.fire(core.broker, one, b"block", 2_000_000, 2_060_000, 2_000_007)
    firing.pause(core.broker, one, paused=True, next_ms=5)
    firing.remove(core.broker, one)
    for fact in core.facts:
        assert decode(encode(fact)) == fact
    assert isinstance(core.recorded(RecurringAdded)[0].block64, str)


def test_a_firing_into_a_full_queue_drops_the_oldest_where_that_is_the_rule(core: Core) -> None:
    full = core.queue("full", max_messages=2, overflow="drop_oldest")
    one = added(core, queue="full")
    for at_ms in (2_000_000, 2_060_000, 2_120_000):
        firing.fire(core.broker, one, b"block", at_ms, at_ms + 60_000, at_ms)
    assert (one.fired_count, needed_messages(full)) == (3, 2)
    assert [type(fact) for fact in core.facts[-3:]] == [Published, Fired, Discarded]


def test_a_firing_into_a_memory_queue_that_takes_nothing_any_more_is_lost_and_counted(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I13: nobody waits for its confirm, so nothing else would bound it."""
    monkeypatch.setattr(bounds, "OVERRUN_BYTES", 10)
    queue = core.queue("volatile", durable=False, memory_bytes_max=1024 * 1024)
    one = added(core, queue="volatile")
    for minute in range(5):
        firing.fire(core.broker, one, bytes(512 * 1024), minute, minute + 1, minute)
    assert (one.fired_count, one.lost_count, needed_messages(queue)) == (2, 3, 2)
