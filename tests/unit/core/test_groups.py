from collections.abc import Callable

import pytest
from tests.unit.core.harness import Core, offsets

from penstock.core import definitions, delivery, groups, settling
from penstock.core.facts import (
    Acked,
    Discarded,
    GroupAltered,
    GroupDeclared,
    GroupDeleted,
    Leased,
    Paused,
    Published,
)
from penstock.core.values import (
    ELSEWHERE,
    NACK,
    RELEASE,
    REQUEUE,
    GroupSettings,
    Refused,
    parse_group_settings,
)


@pytest.fixture
def core() -> Core:
    return Core()


def refused_code(call: Callable[..., object], *arguments: object, **options: object) -> str:
    with pytest.raises(Refused) as refused:
        call(*arguments, **options)
    return refused.value.refusal.code


def test_each_group_is_handed_every_message(core: Core) -> None:
    queue = core.queue()
    billing, audit = core.group(queue, "billing"), core.group(queue, "audit")
    worker = core.fill(queue, 3)
    core.consume(worker, queue, number=1, group=billing)
    core.consume(worker, queue, number=2, group=audit)
    assert sorted(offsets(core.dispatch())) == [0, 0, 1, 1, 2, 2]
    core.settle(worker, 1, (1, 6))
    assert queue.log.start_offset == 3
    assert core.recorded(GroupDeclared)[0].name == "billing"


def test_a_message_is_kept_until_every_group_is_done_with_it(core: Core) -> None:
    """SEMANTICS 9."""
    queue = core.queue()
    billing = core.group(queue, "billing")
    core.group(queue, "audit")
    worker = core.fill(queue, 3)
    core.consume(worker, queue, group=billing)
    core.dispatch()
    core.settle(worker, 1, (1, 3))
    assert queue.log.start_offset == 0
    groups.delete_group(core.broker, queue.group_names["audit"])
    assert queue.log.start_offset == 3


def test_the_default_group_is_declared_by_its_first_consumer(core: Core) -> None:
    queue = core.queue()
    worker = core.fill(queue, 2)
    assert not queue.group.declared
    core.consume(worker, queue)
    assert core.recorded(GroupDeclared) == [
        GroupDeclared(queue.number, queue.group.number, "", GroupSettings(), 0, core.now_ms)
    ]
    core.consume(worker, queue, number=2)
    assert len(core.recorded(GroupDeclared)) == 1


def test_what_was_purged_before_the_default_group_was_used_does_not_come_back(core: Core) -> None:
    queue = core.queue()
    core.group(queue, "billing")
    worker = core.fill(queue, 3)
    definitions.purge(core.broker, [queue.group])
    core.fill(queue, 1)
    core.consume(worker, queue)
    assert offsets(core.dispatch()) == [3]


def test_declaring_again_changes_nothing_and_other_settings_are_named(core: Core) -> None:
    queue = core.queue()
    group = core.group(queue, "billing")
    core.facts.clear()
    assert core.group(queue, "billing") is group
    assert core.facts == []
    with pytest.raises(Refused) as refused:
        core.group(queue, "billing", mode="single")
    assert refused.value.refusal.code == "settings-differ"
    assert "mode is 'single', not 'shared'" in refused.value.refusal.message


def test_a_group_begins_where_it_is_told_and_never_before_what_is_stored(core: Core) -> None:
    queue = core.queue()
    core.group(queue, "first")
    core.fill(queue, 5)
    assert core.group(queue, "middle", start=3).next_offset == 3
    assert core.group(queue, "latest", start=1 << 62).next_offset == 5


def test_the_first_lasting_group_may_not_drop_what_waits_for_others(core: Core) -> None:
    queue = core.queue()
    core.fill(queue, 5)
    assert refused_code(core.group, queue, "audit", start=5) == "queue-not-empty"
    assert core.group(queue, "watch", start=5, ephemeral=True).next_offset == 5, "it lets nothing go"
    core.group(queue, "")
    assert core.group(queue, "audit", start=5).next_offset == 5
    assert queue.log.start_offset == 0


@pytest.mark.parametrize(
    ("durable", "name", "settings", "code"),
    [
        (True, "", {"mode": "single"}, "bad-setting"),
        (True, "", {"ephemeral": True}, "bad-setting"),
        (False, "billing", {}, "bad-setting"),
        (True, "a\nb", {}, "bad-name"),
    ],
)
def test_a_group_that_makes_no_sense_is_refused(
    core: Core, durable: bool, name: str, settings: dict[str, object], code: str
) -> None:
    assert refused_code(core.group, core.queue(durable=durable), name, **settings) == code


@pytest.mark.parametrize("arguments", [{"mode": "loud"}, {"ephemeral": 1}, {"where": "a = 1"}, {"colour": "red"}])
def test_a_wrong_setting_is_named(arguments: dict[str, object]) -> None:
    with pytest.raises(Refused) as refused:
        parse_group_settings(arguments)
    assert refused.value.refusal.code == "bad-setting"
    assert str(next(iter(arguments))) in refused.value.refusal.message


def test_groups_of_a_queue_are_bounded(core: Core) -> None:
    queue = core.queue()
    for number in range(3):
        groups.declare_group(core.broker, queue, f"g{number}", GroupSettings(), 0, core.now_ms, 3)
    settings = GroupSettings()
    code = refused_code(groups.declare_group, core.broker, queue, "one more", settings, 0, core.now_ms, 3)
    assert code == "limit-reached"


def test_a_living_group_gets_other_settings(core: Core) -> None:
    queue = core.queue()
    group = core.group(queue, "billing", mode="single", on_dead="hold")
    assert groups.alter_group(core.broker, group, {"on_dead": "skip"}) == {"on_dead": ("hold", "skip")}
    assert core.recorded(GroupAltered) == [
        GroupAltered(queue.number, group.number, GroupSettings(mode="single", on_dead="skip"))
    ]
    assert groups.alter_group(core.broker, group, {"on_dead": "skip"}) == {}
    assert refused_code(groups.alter_group, core.broker, group, {"mode": "shared"}) == "bad-setting"


def test_an_unknown_group_is_told_so(core: Core) -> None:
    queue = core.queue()
    assert refused_code(groups.find_group, queue, "nobody") == "unknown-group"
    assert refused_code(groups.find_group, queue, 7) == "bad-name"
    assert groups.named_groups(queue, None) == [queue.group]


def test_deleting_a_group_tells_its_consumers_and_voids_its_leases(core: Core) -> None:
    queue = core.queue()
    group = core.group(queue, "billing")
    worker = core.fill(queue, 3)
    core.consume(worker, queue, group=group, messages=2)
    core.dispatch()
    assert groups.delete_group(core.broker, group) == 3
    assert [(one.consumer, one.refusal.code) for one in core.broker.cancelled] == [(1, "group-deleted")]
    assert core.settle(worker, 1, (1, 2)) == [(1, 2)], "I10"
    assert core.recorded(GroupDeleted) == [GroupDeleted(queue.number, group.number)]
    assert queue.low_offset == 0, "without a group everything is kept"


def test_an_ephemeral_group_ends_with_its_last_consumer_and_leaves_no_fact(core: Core) -> None:
    queue = core.queue()
    group = core.group(queue, "watch", ephemeral=True)
    worker, other = core.fill(queue, 3), core.session()
    core.facts.clear()
    first = core.consume(worker, queue, group=group)
    core.consume(other, queue, group=group)
    core.dispatch()
    delivery.remove_consumer(core.broker, first)
    assert "watch" in queue.group_names
    settling.close_session(core.broker, other, True, core.now_ms)
    assert group.deleted
    assert "watch" not in queue.group_names
    assert core.facts == []


def test_an_ephemeral_group_that_nobody_consumes_from_ends_with_its_session(core: Core) -> None:
    queue, session = core.queue(), core.session()
    group = core.group(queue, "watch", ephemeral=True)
    groups.remember_ephemeral(session, group)
    groups.remember_ephemeral(session, core.group(queue, "billing"))
    settling.close_session(core.broker, session, True, core.now_ms)
    assert group.deleted
    assert "billing" in queue.group_names


def test_numbers_of_ephemeral_groups_are_of_this_life(core: Core) -> None:
    """SEMANTICS 24: never used again, though no journal remembers them."""
    queue = core.queue()
    before = core.broker.next_number
    numbers = {core.group(queue, name, ephemeral=True).number for name in ("one", "two")}
    assert numbers == {(1 << 40) + 1, (1 << 40) + 2}
    assert core.broker.next_number == before


def test_a_paused_queue_or_group_hands_out_nothing(core: Core) -> None:
    queue = core.queue()
    billing, audit = core.group(queue, "billing"), core.group(queue, "audit")
    worker = core.fill(queue, 1)
    core.consume(worker, queue, number=1, group=billing)
    core.consume(worker, queue, number=2, group=audit)
    groups.pause(core.broker, billing, True)
    assert [one.consumer for one in core.dispatch()] == [2]
    groups.pause(core.broker, queue, True)
    groups.pause(core.broker, billing, False)
    assert core.dispatch() == []
    assert not groups.pause(core.broker, queue, True), "it is already"
    groups.pause(core.broker, queue, False)
    assert [one.consumer for one in core.dispatch()] == [1]
    assert core.recorded(Paused)[1] == Paused(queue.number, 0, True)


def test_one_consumer_of_a_single_group_is_active_until_it_goes(core: Core) -> None:
    queue = core.queue()
    group = core.group(queue, "billing", mode="single")
    first, second = core.fill(queue, 4), core.session()
    core.consume(first, queue, group=group, messages=2)
    core.consume(second, queue, group=group, priority=5)
    assert [one.session for one in core.dispatch()] == [first.number], "priority chooses the next, not the present one"
    core.settle(first, 1, (1, 1))
    assert offsets(core.dispatch()) == [2]
    settling.close_session(core.broker, first, True, core.now_ms)
    core.pass_time(60_000)
    handed_out = core.dispatch()
    assert {one.session for one in handed_out} == {second.number}
    assert offsets(handed_out) == [1, 2, 3]


def test_the_next_consumer_waits_for_what_the_one_before_holds(core: Core) -> None:
    queue = core.queue()
    group = core.group(queue, "billing", mode="single")
    first, second = core.fill(queue, 3), core.session()
    consumer = core.consume(first, queue, group=group, messages=1)
    core.consume(second, queue, group=group)
    core.dispatch()
    delivery.remove_consumer(core.broker, consumer)
    assert core.dispatch() == []
    core.settle(first, 1, (1, 1))
    assert offsets(core.dispatch()) == [1, 2]


def test_a_message_that_waits_holds_up_a_single_group(core: Core) -> None:
    """SEMANTICS 10."""
    queue = core.queue()
    group = core.group(queue, "billing", mode="single")
    worker = core.fill(queue, 3)
    core.consume(worker, queue, group=group, messages=1)
    core.dispatch()
    core.settle(worker, NACK, (1, 1), duration_ms=500)
    assert core.dispatch() == []
    core.pass_time(500)
    assert offsets(core.dispatch()) == [0]


def test_an_exclusive_consumer_is_the_only_one(core: Core) -> None:
    queue = core.queue()
    worker = core.session()
    consumer = core.consume(worker, queue, exclusive=True, name="alone")
    with pytest.raises(Refused) as refused:
        delivery.check_exclusive(queue.group, False)
    assert refused.value.refusal.code == "exclusive-consumer"
    assert "alone" in refused.value.refusal.message
    delivery.remove_consumer(core.broker, consumer)
    delivery.check_exclusive(queue.group, True)
    core.consume(worker, queue)
    delivery.check_exclusive(queue.group, False)
    assert refused_code(delivery.check_exclusive, queue.group, True) == "exclusive-consumer"


def test_consumers_of_higher_priority_are_served_as_long_as_they_have_credit(core: Core) -> None:
    queue = core.queue()
    low, high = core.fill(queue, 4, 4), core.session()
    core.consume(low, queue, messages=10)
    core.consume(high, queue, messages=3, priority=1)
    assert [(one.session, one.first, one.end) for one in core.dispatch()] == [
        (high.number, 0, 3),
        (low.number, 3, 4),
        (low.number, 4, 8),
    ]
    core.settle(high, RELEASE, (1, 3))
    assert {one.session for one in core.dispatch()} == {high.number}


def test_consumers_of_one_priority_share(core: Core) -> None:
    queue = core.queue()
    low, one, two = core.fill(queue, 10), core.session(), core.session()
    core.consume(low, queue)
    core.consume(one, queue, priority=1)
    core.consume(two, queue, priority=1)
    shares = {delivery.session: delivery.end - delivery.first for delivery in core.dispatch()}
    assert set(shares) == {one.number, two.number}


def test_given_back_with_a_delay_it_is_no_failure(core: Core) -> None:
    queue = core.queue()
    worker = core.fill(queue, 1)
    core.consume(worker, queue)
    core.dispatch()
    core.facts.clear()
    core.settle(worker, RELEASE, (1, 1), duration_ms=700)
    assert core.facts == []
    core.pass_time(699)
    assert core.dispatch() == []
    core.pass_time(1)
    assert [(one.attempt, one.failures) for one in core.dispatch()] == [(2, 0)]


def test_put_back_at_the_tail_it_comes_behind_what_is_there_now(core: Core) -> None:
    queue = core.queue()
    worker = core.fill(queue, 3)
    core.consume(worker, queue, messages=1)
    core.dispatch()
    core.settle(worker, REQUEUE, (1, 1))
    core.fill(queue, 1)
    handed_out = []
    for tag in range(2, 6):
        handed_out += offsets(core.dispatch())
        core.settle(worker, 1, (tag, tag))
    assert handed_out == [1, 2, 0, 3]


def test_a_group_with_an_order_releases_instead(core: Core) -> None:
    queue = core.queue()
    group = core.group(queue, "billing", mode="single")
    worker = core.fill(queue, 2)
    core.consume(worker, queue, group=group, messages=1)
    core.dispatch()
    core.settle(worker, REQUEUE, (1, 1))
    assert offsets(core.dispatch()) == [0]


def test_a_redriven_message_is_for_one_group_alone(core: Core) -> None:
    """SEMANTICS 11."""
    dead, target = core.queue("dead"), core.queue("target")
    billing, audit = core.group(target, "billing"), core.group(target, "audit")
    worker = core.fill(dead, 1)
    core.consume(worker, dead)
    core.dispatch()
    core.facts.clear()
    assert settling.move(core.broker, worker, 1, billing, b"one", core.now_ms)
    assert [type(fact) for fact in core.facts] == [Published, Discarded, Acked], "one batch (I14)"
    assert core.facts[1] == Discarded(target.number, audit.number, ELSEWHERE, ((0, 1),))
    assert (billing.open_count, audit.open_count) == (1, 0)


def test_hand_outs_around_what_was_passed_are_recorded_apart(core: Core) -> None:
    queue = core.queue()
    worker = core.fill(queue, 6)
    core.consume(worker, queue)
    core.broker.emit(True, Discarded(queue.number, queue.group.number, ELSEWHERE, ((2, 4),)))
    assert offsets(core.dispatch()) == [0, 1, 4, 5]
    assert [(fact.first, fact.end) for fact in core.recorded(Leased)] == [(0, 2), (4, 6)]
