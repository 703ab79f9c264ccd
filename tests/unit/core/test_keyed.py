"""Keyed groups (SEMANTICS 10): one message of a key at a time, in order; keys in parallel."""

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import pytest
from tests.unit.core.harness import Core, offsets

from penstock.core import definitions, keyed, settling
from penstock.core.facts import (
    Discarded,
    Leased,
    Published,
)
from penstock.core.group import Group
from penstock.core.keyed import KeyIndex, Line, look_at, wants_to_look
from penstock.core.records import PUBLISHED_HEADER_BYTES
from penstock.core.session import Session
from penstock.core.values import CANCELLED, NACK, REJECT, RELEASE

Keys = Sequence[str | None]


class Bench:
    """A keyed group with its messages' keys, and a worker."""

    def __init__(self, *blocks: Keys, prefetch: int = 100, **settings: Any) -> None:
        self.core = Core()
        self.queue = self.core.queue(**settings)
        self.group: Group = self.core.group(self.queue, "billing", mode="keyed")
        self.keys: list[str | None] = []
        self.blocks: list[tuple[int, Keys]] = []
        self.add(*blocks)
        self.worker: Session = self.core.session()
        self.consumer = self.core.consume(self.worker, self.queue, group=self.group, messages=prefetch)

    @property
    def index(self) -> KeyIndex:
        assert self.group.index is not None
        return self.group.index

    def add(self, *blocks: Keys) -> None:
        for keys in blocks:
            self.blocks.append((len(self.keys), keys))
            self.keys += keys
            self.core.fill(self.queue, len(keys))

    def restart(self) -> list[int]:
        """Have a new broker that knows the facts; return what is dying."""
        facts, self.core = self.core.facts, Core()
        broker = self.core.broker
        for position, fact in enumerate(facts):
            if isinstance(fact, Published):
                size = len(fact.block) + PUBLISHED_HEADER_BYTES
                queue = broker.queues[fact.queue]
                broker.apply_published(queue, fact.message_count, size, position, 0, 0, fact.time_ms)
            else:
                broker.apply(fact)
        broker.reopen()
        self.core.facts = facts
        self.queue = broker.queues[self.queue.number]
        self.group = self.queue.groups[self.group.number]
        self.worker = self.core.session()
        self.core.consume(self.worker, self.queue, group=self.group)
        return [dying.offset for dying in broker.dying]

    def look(self) -> None:
        while wants_to_look(self.group):
            at = self.index.next_look
            first, keys = next((first, keys) for first, keys in self.blocks if first <= at < first + len(keys))
            if look_at(self.group, first, keys):
                self.core.broker.delayed_groups[self.group] = None
        self.core.broker.ready_groups[self.group] = None

    def handed_out(self) -> list[int]:
        self.look()
        found = offsets(self.core.dispatch())
        self.look()
        return found + offsets(self.core.dispatch())

    def tag_of(self, offset: int) -> int:
        return next(
            lease.first_tag + offset - lease.first
            for lease in self.worker.leases
            if lease.first <= offset < lease.first + lease.count
        )

    def settle(self, outcome: int, *settled: int, duration_ms: int = 0) -> None:
        for offset in settled:
            tag = self.tag_of(offset)
            assert self.core.settle(self.worker, outcome, (tag, tag), duration_ms=duration_ms) == []

    def ack(self, *acked: int) -> list[int]:
        self.settle(1, *acked)
        return self.handed_out()


def test_one_message_of_a_key_at_a_time_and_keys_in_parallel() -> None:
    bench = Bench(["a", "a", "b", "a", "c", "b"])
    assert bench.handed_out() == [0, 2, 4]
    assert bench.ack(0) == [1]
    assert bench.ack(2, 4) == [5]
    assert bench.ack(1) == [3]
    assert bench.ack(3, 5) == []
    assert (bench.group.open_count, bench.index.in_play, bench.index.lines) == (0, set(), {})
    assert bench.group.low_offset == 6


def test_messages_without_a_key_wait_for_nobody() -> None:
    bench = Bench([None, None, "a", None, "a"])
    assert bench.handed_out() == [0, 1, 2, 3]
    assert bench.ack(0, 1, 3) == []
    assert bench.ack(2) == [4]


def test_a_block_of_keys_that_nobody_has_is_handed_out_as_one_run() -> None:
    bench = Bench(["a", "b", "c"], ["d", "e"])
    bench.look()
    assert [(one.first, one.end) for one in bench.core.dispatch()] == [(0, 3), (3, 5)]
    assert [(fact.first, fact.end) for fact in bench.core.recorded(Leased)] == [(0, 5)], "one fact"


def test_a_key_in_backoff_stalls_only_itself() -> None:
    """SEMANTICS 10."""
    bench = Bench(["a", "b", "a", "b"])
    bench.handed_out()
    bench.settle(NACK, 0, duration_ms=500)
    assert bench.ack(1) == [3]
    bench.core.pass_time(499)
    assert bench.handed_out() == []
    bench.core.pass_time(1)
    assert bench.handed_out() == [0], "before what is behind it"
    assert bench.ack(0) == [2]


def test_a_released_message_keeps_its_place() -> None:
    bench = Bench(["a", "a"])
    bench.handed_out()
    bench.settle(RELEASE, 0)
    assert bench.handed_out() == [0]


def test_a_noisy_key_takes_one_place_among_the_others() -> None:
    bench = Bench(["noisy"] * 50 + ["a", "b"], prefetch=1)
    served: list[int] = []
    for _ in range(4):
        [offset] = bench.handed_out()
        served.append(offset)
        bench.settle(1, offset)
    assert served == [0, 50, 51, 1]


def test_a_lost_connection_gives_everything_back_to_its_place() -> None:
    bench = Bench(["a", "b", "a"])
    bench.handed_out()
    settling.close_session(bench.core.broker, bench.worker, False, bench.core.now_ms)
    bench.worker = bench.core.session()
    bench.core.consume(bench.worker, bench.queue, group=bench.group)
    assert bench.handed_out() == [0, 1]
    assert bench.ack(0) == [2]


def test_a_dead_message_lets_its_key_go_on() -> None:
    bench = Bench(["a", "a"], max_failures=1)
    bench.handed_out()
    bench.settle(REJECT, 0)
    assert bench.handed_out() == [], "not before it is buried (I14)"
    [dying] = bench.core.broker.dying
    settling.bury(bench.core.broker, dying, b"copy", bench.core.now_ms, 100)
    assert bench.handed_out() == [1]


def test_after_a_restart_what_was_handed_out_is_in_play_first() -> None:
    bench = Bench(["a", "b", "a", "c", "b"])
    bench.handed_out()
    assert bench.ack(3) == []
    bench.settle(NACK, 1, duration_ms=500)
    assert bench.restart() == []
    assert (bench.index.unseen_count, bench.group.leased_count) == (2, 0)
    assert definitions.describe_group(bench.group)["ready"] == 4
    assert bench.handed_out() == [0]
    assert bench.index.unseen_count == 0
    bench.core.pass_time(500)
    assert bench.handed_out() == [1]
    assert bench.ack(0, 1) == [2, 4]


def test_what_is_dying_after_a_restart_keeps_its_key_until_it_is_buried() -> None:
    bench = Bench(["a", "a"], max_failures=1)
    bench.handed_out()
    bench.settle(REJECT, 0)
    assert bench.restart() == [0]
    assert bench.handed_out() == []
    settling.bury(bench.core.broker, bench.core.broker.dying[0], b"copy", bench.core.now_ms, 100)
    assert bench.handed_out() == [1]


@pytest.mark.parametrize("forget_max", [0, 1000])
def test_a_purge_takes_what_is_ready_and_what_is_in_line(forget_max: int) -> None:
    bench = Bench(["a", "a", "b"], ["c", "a"], prefetch=1)
    with patch.object(keyed, "FORGET_MAX", forget_max):
        assert bench.handed_out() == [0]
        assert definitions.purge(bench.core.broker, [bench.group]) == 4
    bench.add(["a", "b"])
    assert bench.ack(0) == [5]
    assert bench.ack(5) == [6]
    assert bench.ack(6) == []
    assert (bench.index.in_play, bench.index.ready_count, bench.index.line_count) == (set(), 0, 0)


def test_a_purge_before_anything_was_looked_at_again_takes_all_of_it() -> None:
    bench = Bench(["a", "b", "a"])
    bench.handed_out()
    bench.restart()
    assert definitions.purge(bench.core.broker, [bench.group]) == 3
    assert bench.group.open_count == 0


@pytest.mark.parametrize("gone", [0, 1, 2, 3])
def test_a_message_that_is_cancelled_is_out_of_its_line(gone: int) -> None:
    bench = Bench(["a", "a", "b", "a"], prefetch=1)
    bench.look()
    fact = Discarded(bench.queue.number, bench.group.number, CANCELLED, ((gone, gone + 1),))
    bench.core.broker.emit(True, fact)
    served = []
    while found := bench.handed_out():
        served += found
        bench.settle(1, *found)
    assert sorted(served) == [offset for offset in range(4) if offset != gone]
    assert [offset for offset in served if bench.keys[offset] == "a"] == sorted({0, 1, 3} - {gone})
    assert bench.index.in_play == set()


def test_little_is_looked_at_ahead() -> None:
    bench = Bench(*[[f"{block}-{n}" for n in range(10)] for block in range(10)], prefetch=5)
    with patch.object(keyed, "READY_AHEAD", 15):
        bench.look()
        assert bench.index.next_look == 20
        bench.handed_out()
        assert bench.index.next_look == 20, "15 are left"


def test_a_full_line_holds_up_what_is_behind_it() -> None:
    bench = Bench(["a"] * 5, ["b"], prefetch=1)
    with patch.object(keyed, "LINE_MAX", 4):
        assert bench.handed_out() == [0]
        assert bench.index.next_look == 5
        bench.settle(1, 0)
        bench.look()
        assert bench.index.next_look == 6


def test_keys_of_a_block_are_thinned_out_when_little_of_it_is_left() -> None:
    bench = Bench([f"k{n}" for n in range(40)] + ["k3"])
    bench.handed_out()
    bench.ack(*(offset for offset in range(40) if offset != 3))
    [known] = bench.index._known
    known.thin_out(bench.group)
    assert known.left == 2
    assert list(known.of(3, 4)) == ["k3"]
    assert bench.ack(3) == [40]
    assert bench.ack(40) == []
    assert bench.index._known == []


def test_blocks_of_which_little_is_left_are_thinned_out_now_and_then() -> None:
    with patch.object(keyed, "THIN_OUT_BLOCKS", 2):
        bench = Bench([f"k{n}" for n in range(20)], ["a", "b"])
        bench.index.next_look = 0
        with patch.object(keyed, "READY_AHEAD", 1):
            bench.handed_out()
        bench.ack(*range(1, 20))
    assert list(bench.index._known[0].of(0, 1)) == ["k0"]
    assert len(bench.index._known) == 2


def test_an_ack_of_several_ranges_of_one_block_frees_every_key() -> None:
    bench = Bench([f"k{n}" for n in range(20)])
    bench.handed_out()
    assert bench.core.settle(bench.worker, 1, (1, 9), (11, 20)) == []
    assert bench.index.in_play == {"k9"}


def test_a_line_gives_its_messages_in_order_and_lets_go_of_what_it_gave() -> None:
    line = Line(0)
    for offset in range(1, 500):
        line.append(offset)
    assert [line.pop() for _ in range(400)] == list(range(400))
    assert len(line) == 100
    assert line.remove(450)
    assert not line.remove(450)
    assert not line.remove(3)
    assert [line.pop() for _ in range(len(line))] == [offset for offset in range(400, 500) if offset != 450]
