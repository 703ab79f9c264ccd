"""Operators' hands on single messages (S16): each is one step, whole or not at all (I14)."""

import pytest
from tests.unit.core.harness import Core
from tests.unit.core.test_holding import Bench

from penstock.core import transfers
from penstock.core.facts import (
    Acked,
    Discarded,
    GroupDeclared,
    Published,
    Resumed,
)
from penstock.core.group import Group
from penstock.core.values import ACK, CANCELLED, ELSEWHERE, REJECT, TRANSFERRED, Refused


@pytest.fixture
def core() -> Core:
    return Core()


@pytest.fixture
def group(core: Core) -> Group:
    queue = core.queue()
    core.fill(queue, 5)
    return queue.group


def test_what_is_cancelled_is_never_handed_out(core: Core, group: Group) -> None:
    transfers.cancel(core.broker, group, 2)
    worker = core.session()
    core.consume(worker, group.queue, messages=9)
    assert [offset for one in core.dispatch() for offset in range(one.first, one.end)] == [0, 1, 3, 4]
    assert core.recorded(Discarded)[0] == Discarded(group.queue.number, group.number, CANCELLED, ((2, 3),))


def test_what_nobody_was_handed_is_not_looked_for_among_what_waits(
    core: Core, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred thousand may wait for another attempt."""
    monkeypatch.setattr(Group, "take_waiting", None)
    transfers.cancel(core.broker, group, 2)
    assert group.open_count == 4


def test_what_a_consumer_holds_is_refused_until_its_lease_is_revoked(core: Core, group: Group) -> None:
    worker = core.session()
    core.consume(worker, group.queue, messages=1)
    core.dispatch()
    with pytest.raises(Refused) as refused:
        transfers.cancel(core.broker, group, 0)
    assert refused.value.refusal[0] == "message-leased"
    assert not core.recorded(Discarded)


@pytest.mark.parametrize("offset", [0, 99])
def test_what_is_done_or_never_was_is_refused(core: Core, group: Group, offset: int) -> None:
    transfers.cancel(core.broker, group, 0)
    with pytest.raises(Refused) as refused:
        transfers.cancel(core.broker, group, offset)
    assert refused.value.refusal[0] == "unknown-message"


def test_what_is_on_its_way_to_the_dead_letters_is_refused(core: Core, group: Group) -> None:
    worker = core.session()
    core.consume(worker, group.queue, messages=1)
    [delivery] = core.dispatch()
    core.settle(worker, REJECT, (delivery.first_tag, delivery.first_tag))
    with pytest.raises(Refused) as refused:
        transfers.cancel(core.broker, group, 0)
    assert refused.value.refusal[0] == "message-dying"


def test_the_copy_and_the_end_of_the_original_are_neighbours(core: Core, group: Group) -> None:
    other = core.queue("other")
    core.facts.clear()
    assert transfers.move_to_queue(core.broker, group, 1, other, b"copy", core.now_ms) == 0
    assert [type(fact) for fact in core.facts] == [Published, Discarded]
    assert core.recorded(Discarded)[0].reason == TRANSFERRED
    assert (group.is_open(1), other.group.is_open(0)) == (False, True)


def test_a_copy_for_one_group_is_for_no_other(core: Core, group: Group) -> None:
    other = core.group(group.queue, "billing")
    core.facts.clear()
    copied = transfers.move(core.broker, group, 1, group, b"edited", core.now_ms)
    assert [type(fact) for fact in core.facts] == [Published, Discarded, Discarded], "one batch"
    assert [fact.reason for fact in core.recorded(Discarded)] == [ELSEWHERE, TRANSFERRED]
    assert (group.is_open(copied), other.is_open(copied)) == (True, False)


def test_a_refused_move_appends_nothing(core: Core, group: Group) -> None:
    other = core.queue("other")
    transfers.cancel(core.broker, group, 1)
    with pytest.raises(Refused):
        transfers.move_to_queue(core.broker, group, 1, other, b"copy", core.now_ms)
    assert other.log.next_offset == 0


def test_what_was_cancelled_before_anyone_consumed_is_counted_once(core: Core, group: Group) -> None:
    """Found by the simulator: a default group that begins behind what was cancelled in it."""
    transfers.cancel(core.broker, group, 1)
    core.broker.emit(True, GroupDeclared(group.queue.number, group.number, "", group.settings, 3, core.now_ms))
    assert (group.next_offset, group.untouched_count) == (3, 2)


def test_what_is_held_goes_on_when_its_marker_is_redriven() -> None:
    bench = Bench()
    bench.core.facts.clear()
    assert transfers.resume(bench.core.broker, bench.dead.group, 0) is bench.group
    assert [type(fact) for fact in bench.core.facts] == [Resumed, Discarded], "one batch (I14)"
    [again] = bench.core.dispatch()
    assert (again.first, again.failures) == (0, 0)
    bench.core.settle(bench.worker, ACK, (again.first_tag, again.first_tag))
    assert bench.core.recorded(Acked)
    assert not bench.dead.is_open(0)
