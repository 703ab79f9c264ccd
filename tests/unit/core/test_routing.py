"""From an exchange to queues: chains, cycles, alternates."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from tests.unit.core.harness import Core

from penstock.core import bindings
from penstock.core.exchange_settings import parse_exchange_settings
from penstock.core.exchanges import Exchange
from penstock.core.matching import Destination, MessageView
from penstock.core.routing import ASK_EACH, Plan, leads_to, plan_for, plan_of
from penstock.core.values import Refused


def exchange(core: Core, name: str, kind: str = "fanout", **settings: Any) -> Exchange:
    parsed = parse_exchange_settings({"type": kind, **settings})
    return bindings.declare_exchange(core.broker, name, parsed, core.now_ms, 100)[0]


def bind(core: Core, source: Exchange, target: str, key: str = "", **arguments: Any) -> bindings.BindOutcome:
    """Bind a queue, or where there is none of that name an exchange."""
    queue = core.broker.names.get(target)
    if queue is not None:
        destination = Destination.to_queue(queue.number)
    else:
        destination = Destination.to_exchange(core.broker.exchanges.names[target].number)
    return bindings.bind(core.broker, source, destination, key, arguments, 1000)


def names(plan: Plan) -> list[str]:
    return [queue.name for queue in plan.queues]


def test_a_queue_reached_by_several_ways_is_there_once_and_in_order_of_declaring(core: Core) -> None:
    for name in "abc":
        core.queue(name)
    outer, inner = exchange(core, "outer"), exchange(core, "inner")
    for source, target in ((outer, "c"), (outer, "inner"), (inner, "c"), (inner, "a"), (outer, "a")):
        bind(core, source, target)
    plan = plan_of(core.broker, outer, "k")
    assert (names(plan), plan.cycles) == (["a", "c"], 0)


def test_a_diamond_is_no_cycle(core: Core) -> None:
    core.queue("a")
    top, left, right, end = (exchange(core, name) for name in ("top", "left", "right", "end"))
    for source, target in ((top, "left"), (top, "right"), (left, "end"), (right, "end"), (end, "a")):
        assert not bind(core, source, target).cycle
    assert plan_of(core.broker, top, "").cycles == 0


def test_cycles_are_legal_said_broken_and_counted(core: Core) -> None:
    core.queue("a")
    one, two = exchange(core, "one"), exchange(core, "two")
    assert bind(core, one, "two") == (True, False)
    assert bind(core, two, "one") == (True, True)
    assert bind(core, two, "one") == (False, True)
    assert bind(core, one, "one").cycle
    bind(core, two, "a")
    plan = plan_of(core.broker, one, "")
    assert (names(plan), plan.cycles) == (["a"], 2)


def test_a_long_chain_is_followed_to_its_end(core: Core) -> None:
    core.queue("a")
    chain = [
        bindings.declare_exchange(core.broker, f"x{n}", parse_exchange_settings({"type": "fanout"}), 0, 5000)[0]
        for n in range(3000)
    ]
    for source, target in pairwise(chain):
        destination = Destination.to_exchange(target.number)
        bindings.bind(core.broker, source, destination, "", {}, 5000)
    bindings.bind(core.broker, chain[-1], Destination.to_queue(core.broker.names["a"].number), "", {}, 5000)
    assert names(plan_of(core.broker, chain[0], "")) == ["a"]
    assert leads_to(core.broker, chain[0], chain[-1])


def test_the_alternate_takes_what_no_binding_took(core: Core) -> None:
    for name in "ab":
        core.queue(name)
    source = exchange(core, "source", "direct", alternate="spare")
    bind(core, source, "a", "known")
    assert names(plan_of(core.broker, source, "other")) == [], "an alternate that does not exist takes nothing"
    bind(core, exchange(core, "spare"), "b")
    assert names(plan_of(core.broker, source, "known")) == ["a"]
    assert names(plan_of(core.broker, source, "other")) == ["b"]


def test_an_alternate_is_not_asked_when_a_binding_led_to_nothing_further_on(core: Core) -> None:
    core.queue("b")
    source = exchange(core, "source", "direct", alternate="spare")
    exchange(core, "empty")
    bind(core, source, "empty", "k")
    bind(core, exchange(core, "spare"), "b")
    assert names(plan_of(core.broker, source, "k")) == []


def test_alternates_in_a_circle_end(core: Core) -> None:
    one, two = exchange(core, "one", alternate="two"), exchange(core, "two", alternate="one")
    assert plan_of(core.broker, one, "") == Plan((), 1)
    assert leads_to(core.broker, one, two)
    assert leads_to(core.broker, two, one)


@pytest.mark.parametrize("deep", [False, True])
def test_an_exchange_that_looks_into_messages_is_asked_for_each(core: Core, deep: bool) -> None:
    core.queue("a")
    looking = exchange(core, "looking", "headers")
    bind(core, looking, "a", kind="new")
    start = looking
    if deep:
        start = exchange(core, "start")
        bind(core, start, "looking")
    assert plan_of(core.broker, start, "") is ASK_EACH
    assert names(plan_for(core.broker, start, "", MessageView(None, {"kind": "new"}))) == ["a"]
    assert names(plan_for(core.broker, start, "", MessageView(None, {"kind": "old"}))) == []


def test_leads_to_ignores_what_is_not_on_the_way(core: Core) -> None:
    core.queue("a")
    one, two = exchange(core, "one"), exchange(core, "two")
    bind(core, two, "one")
    bind(core, one, "a")
    bind(core, one, "one")
    assert not leads_to(core.broker, one, two)


def test_a_binding_beyond_the_limit_is_refused(core: Core) -> None:
    core.queue("a")
    one = exchange(core, "one", "direct")
    destination = Destination.to_queue(core.broker.names["a"].number)
    bindings.bind(core.broker, one, destination, "1", {}, 1)
    with pytest.raises(Refused, match="bindings_max"):
        bindings.bind(core.broker, one, destination, "2", {}, 1)
    assert bindings.bind(core.broker, one, destination, "1", {}, 1) == (False, False)
