from typing import Any

import pytest
from tests.unit.core.harness import Core, offsets

from penstock.core.group import Group
from penstock.core.operands import Fields
from penstock.core.sieve import Sieve
from penstock.core.values import FILTERED, RELEASE
from penstock.selectors import parse_selector


def sieve(where: str = "n = 1") -> Sieve:
    return Sieve(Core().queue().group, parse_selector(where))


def rows(*values: Any) -> list[Fields]:
    return [Fields({"n": value}, {}) for value in values]


@pytest.mark.parametrize(
    ("values", "rejected"),
    [
        ((), []),
        ((1, 1), []),
        ((2,), [(10, 11)]),
        ((2, 3, None), [(10, 13)]),
        ((1, 2, 1, 3), [(11, 12), (13, 14)]),
        ((2, 1, 2, 2), [(10, 11), (12, 14)]),
    ],
)
def test_what_is_not_selected_is_rejected_in_runs(values: tuple[Any, ...], rejected: list[tuple[int, int]]) -> None:
    assert sieve().rejected(10, rows(*values)) == rejected


def test_a_sieve_knows_the_columns_it_reads() -> None:
    assert sieve("JMSXGroupID = 'k'").columns == {"keys"}


def test_a_consumer_is_handed_nothing_that_its_group_has_not_looked_at(core: Core) -> None:
    """It may be further ahead than the group: what the group rejects later is not its to choose."""
    queue = core.queue()
    group = core.group(queue, "low", where=parse_selector("n < 2"))
    worker = core.fill(queue, 6)
    consumer = core.consume(worker, queue, group=group, where=parse_selector("n > 0"))
    assert group.sieve is not None
    assert consumer.choice is not None
    consumer.choice.look(core.broker, 0, rows(0, 0, 1, 2, 2, 1))
    group.sieve.look(core.broker, 0, rows(0, 0, 1))
    assert offsets(core.dispatch()) == [2]
    group.sieve.look(core.broker, 3, rows(2, 2, 1))
    assert offsets(core.dispatch()) == [5]
    assert group.counters.discarded[FILTERED] == 2


def test_what_fits_and_is_the_lowest_is_found_without_a_look_at_the_rest(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred thousand may be ready again, each by itself."""
    queue = core.queue()
    worker = core.fill(queue, 4)
    core.consume(worker, queue)
    core.dispatch()
    core.settle(worker, RELEASE, (2, 2), (3, 3), (1, 1))
    chooser = core.session(producer=False)
    consumer = core.consume(chooser, queue, messages=2, where=parse_selector("n > 0"))
    assert consumer.choice is not None
    consumer.choice.look(core.broker, 0, rows(1, 1, 1, 1))
    worker.consumers[1].prefetch_messages = 0
    monkeypatch.setattr(Group, "returned", None)
    assert offsets(core.dispatch()) == [0, 1]
