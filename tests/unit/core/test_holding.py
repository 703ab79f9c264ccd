"""Groups that hold (SEMANTICS 12): a dead message keeps its place, and what is behind it waits."""

from typing import Any

import pytest
from tests.unit.core.harness import Core, offsets

from penstock.core import definitions, dropping, groups, settling
from penstock.core.facts import (
    Acked,
    Discarded,
    Held,
    Published,
    Resumed,
)
from penstock.core.group import Group
from penstock.core.histories import history_of
from penstock.core.queue import Queue
from penstock.core.session import Session
from penstock.core.values import CANCELLED, DROPPED, REJECT, Refused


class Bench:
    """A single group that holds, with its first message dead, and a worker that also takes its dead letters."""

    def __init__(self, buried: bool = True, **settings: Any) -> None:
        self.core = Core()
        self.queue = self.core.queue(**settings)
        self.group: Group = self.core.group(self.queue, "billing", mode="single", on_dead="hold")
        self.worker: Session = self.core.fill(self.queue, 3)
        self.core.consume(self.worker, self.queue, group=self.group, messages=1)
        self.core.dispatch()
        self.core.settle(self.worker, REJECT, (1, 1))
        if buried:
            self.bury()

    @property
    def dead(self) -> Queue:
        return self.core.broker.names["jobs.dead"]

    def pass_time(self, duration_ms: int) -> None:
        self.core.now_ms += duration_ms
        dropping.drop_aged(self.core.broker, self.core.now_ms)

    def bury(self) -> None:
        dying, self.core.broker.dying = self.core.broker.dying, []
        for one in dying:
            settling.bury(self.core.broker, one, b"marker", self.core.now_ms, 100)

    def take_marker(self) -> int:
        """Lease the marker; return its tag."""
        dead = self.dead
        dead.log.visible = dead.log.next_offset
        self.core.consume(self.worker, dead, number=9)
        [marker] = [one for one in self.core.dispatch() if one.consumer == 9]
        return marker.first_tag


def test_a_dead_message_keeps_its_place_and_holds_up_what_is_behind_it() -> None:
    bench = Bench()
    assert bench.core.recorded(Held) == [Held(bench.queue.number, bench.group.number, 0, bench.dead.number, 0)]
    assert bench.core.dispatch() == []
    info = definitions.describe_group(bench.group)
    assert (info["held"], info["leased"], info["messages"], info["dead_lettered"]) == (1, 0, 3, 0)
    assert bench.group.low_offset == 0
    assert history_of(bench.core.broker, bench.group, 0, bench.core.now_ms).state == "held"


def test_the_marker_and_the_hold_are_one_step() -> None:
    """I14."""
    bench = Bench(buried=False)
    bench.core.facts.clear()
    bench.bury()
    assert [type(fact) for fact in bench.core.facts][-2:] == [Published, Held]


def test_a_redrive_tries_it_again_in_its_place() -> None:
    bench = Bench()
    tag = bench.take_marker()
    bench.core.facts.clear()
    assert settling.resume(bench.core.broker, bench.worker, tag, bench.dead, 0)
    assert [type(fact) for fact in bench.core.facts] == [Resumed, Acked], "one batch (I14)"
    [again] = bench.core.dispatch()
    assert (again.first, again.attempt, again.failures) == (0, 2, 0), "a new epoch of failures (SEMANTICS 4)"
    assert not bench.group.held
    assert len(bench.group.history[0]) == 1, "its history goes on"
    assert not settling.resume(bench.core.broker, bench.worker, tag, bench.dead, 0)


def test_acknowledging_its_dead_letter_skips_it() -> None:
    bench = Bench()
    tag = bench.take_marker()
    bench.core.settle(bench.worker, 1, (tag, tag))
    settling.skip_orphans(bench.core.broker)
    assert bench.core.facts[-1] == Discarded(bench.queue.number, bench.group.number, CANCELLED, ((0, 1),))
    assert offsets(bench.core.dispatch()) == [1]
    assert bench.group.counters.discarded[CANCELLED] == 1


def test_purging_or_deleting_the_dead_letters_skips_it() -> None:
    purged, deleted = Bench(), Bench()
    definitions.purge(purged.core.broker, purged.dead.keepers())
    definitions.delete(deleted.core.broker, deleted.dead, False, False)
    for bench in (purged, deleted):
        settling.skip_orphans(bench.core.broker)
        assert offsets(bench.core.dispatch()) == [1]


def test_a_marker_of_a_group_that_is_gone_is_an_ordinary_dead_letter() -> None:
    bench = Bench()
    groups.delete_group(bench.core.broker, bench.group)
    tag = bench.take_marker()
    bench.core.settle(bench.worker, 1, (tag, tag))
    bench.core.facts.clear()
    settling.skip_orphans(bench.core.broker)
    assert bench.core.facts == []


def test_after_a_restart_a_message_whose_marker_is_gone_is_skipped() -> None:
    bench = Bench()
    broker = bench.core.broker
    for queue in broker.queues.values():
        queue.markers.clear()
    broker.reopen()
    assert bench.dead.markers == {0: (bench.group, 0)}
    definitions.purge(broker, bench.dead.keepers())
    broker.orphans.clear()
    broker.reopen()
    assert broker.orphans == [(bench.group, 0)]


@pytest.mark.parametrize(
    "settings",
    [{"mode": "shared", "on_dead": "hold"}, {"mode": "keyed", "on_dead": "hold", "ephemeral": True}],
)
def test_only_lasting_groups_with_an_order_hold(settings: dict[str, object]) -> None:
    from penstock.core.values import parse_group_settings

    with pytest.raises(Refused, match="order"):
        parse_group_settings(settings)
    with pytest.raises(Refused, match="on_dead"):
        parse_group_settings({"on_dead": "explode"})


def test_what_is_dead_in_its_place_is_not_too_old_until_it_is_resumed() -> None:
    """Nothing looks at it meanwhile, however long it stays; other groups are not held up by it."""
    bench = Bench(max_age_ms=1_000)
    broker, audit = bench.core.broker, bench.core.group(bench.queue, "audit")
    tag = bench.take_marker()
    bench.pass_time(1)
    bench.pass_time(2_000)
    dropped = [fact for fact in bench.core.recorded(Discarded) if fact.reason == DROPPED]
    assert [(fact.group, fact.ranges) for fact in dropped] == [
        (bench.group.number, ((1, 3),)),
        (audit.number, ((0, 3),)),
    ]
    assert broker.age_deadlines == []
    assert settling.resume(broker, bench.worker, tag, bench.dead, 0)
    bench.pass_time(0)
    assert bench.group.open_count == 0
