"""Commands on exchanges: each decides, records one fact, and says what it did."""

from __future__ import annotations

import pytest
from tests.unit.core.harness import Core
from tests.unit.core.test_routing import bind, exchange

from penstock.core import bindings, definitions
from penstock.core.exchange_settings import ExchangeSettings
from penstock.core.exchanges import Exchanges
from penstock.core.facts import (
    Bound,
    ExchangeDeclared,
    ExchangeDeleted,
    ExchangeFact,
    Unbound,
)
from penstock.core.matching import Destination
from penstock.core.records import decode, encode
from penstock.core.values import Refused


def test_declaring_again_changes_nothing_and_other_settings_are_named(core: Core) -> None:
    events = exchange(core, "events", "topic")
    assert exchange(core, "events", "topic") is events
    assert len(core.recorded(ExchangeDeclared)) == 1
    with pytest.raises(Refused, match="type is 'direct', not 'topic'") as refused:
        exchange(core, "events", "direct")
    assert refused.value.refusal.code == "settings-differ"


def test_there_may_be_so_many(core: Core) -> None:
    bindings.declare_exchange(core.broker, "one", ExchangeSettings(), 0, 1)
    with pytest.raises(Refused, match="exchanges_max"):
        bindings.declare_exchange(core.broker, "two", ExchangeSettings(), 0, 1)


def test_queues_and_exchanges_share_numbers_and_not_names(core: Core) -> None:
    queue, events = core.queue("same"), exchange(core, "same")
    assert events.number > queue.number
    assert core.queue("next").number > events.number


@pytest.mark.parametrize(("name", "code"), [("nowhere", "unknown-exchange"), ("", "bad-name"), (7, "bad-name")])
def test_looking_for_what_is_not_there(core: Core, name: object, code: str) -> None:
    with pytest.raises(Refused) as refused:
        bindings.find_exchange(core.broker, name)
    assert refused.value.refusal.code == code


def test_a_binding_is_there_once_and_goes_once(core: Core) -> None:
    queue, events = core.queue("a"), exchange(core, "events", "topic")
    destination = Destination.to_queue(queue.number)
    assert bind(core, events, "a", "x.*").created
    assert not bind(core, events, "a", "x.*").created
    assert bindings.unbind(core.broker, events, destination, "x.*", {})
    assert not bindings.unbind(core.broker, events, destination, "x.*", {})
    assert (len(core.recorded(Bound)), len(core.recorded(Unbound))) == (1, 1)
    assert core.broker.exchanges.binding_count == 0


def test_deleting_a_queue_takes_its_bindings(core: Core) -> None:
    queue, events = core.queue("a"), exchange(core, "events")
    core.queue("b")
    for target, key in (("a", ""), ("a", "again"), ("b", "")):
        bind(core, events, target, key)
    version = core.broker.exchanges.version
    definitions.delete(core.broker, queue, if_empty=False, if_unused=False)
    described, more = bindings.list_bindings(core.broker, events, 0, 10)
    assert ([one["destination"] for one in described], more) == (["b"], False)
    assert core.broker.exchanges.version > version


def test_deleting_an_exchange_takes_the_bindings_from_it_and_to_it(core: Core) -> None:
    core.queue("a")
    one, two = exchange(core, "one"), exchange(core, "two")
    for source, target in ((one, "a"), (one, "two"), (two, "one"), (one, "one")):
        bind(core, source, target)
    with pytest.raises(Refused) as refused:
        bindings.delete_exchange(core.broker, one, if_unused=True)
    assert refused.value.refusal.code == "exchange-in-use"
    assert bindings.delete_exchange(core.broker, one, if_unused=False) == 4
    assert core.recorded(ExchangeDeleted) == [ExchangeDeleted(one.number)]
    assert (one.deleted, two.bindings, core.broker.exchanges.binding_count) == (True, {}, 0)
    assert bindings.delete_exchange(core.broker, two, if_unused=True) == 0


def test_lists_come_in_pages(core: Core) -> None:
    for name in ("b", "a.2", "a.1", "a.3"):
        exchange(core, name, "direct")
    page, more = bindings.list_exchanges(core.broker, "a.", "", 2)
    assert ([one.name for one in page], more) == (["a.1", "a.2"], True)
    page, more = bindings.list_exchanges(core.broker, "a.", "a.2", 2)
    assert ([one.name for one in page], more) == (["a.3"], False)
    core.queue("q")
    events = core.broker.exchanges.names["b"]
    for key in ("3", "1", "2"):
        bind(core, events, "q", key)
    bind(core, events, "a.1", "e")
    first, more = bindings.list_bindings(core.broker, events, 0, 3)
    assert ([one["routing_key"] for one in first], more) == (["3", "1", "2"], True)
    last, more = bindings.list_bindings(core.broker, events, 3, 3)
    assert (last, more) == ([{"kind": "exchange", "destination": "a.1", "routing_key": "e", "arguments": {}}], False)


def test_a_description_has_settings_and_counts(core: Core) -> None:
    events = exchange(core, "events", "topic", alternate="spare")
    described = bindings.describe_exchange(events)
    assert described == {
        "exchange": "events",
        "id": events.number,
        "type": "topic",
        "alternate": "spare",
        "hash_by": "routing-key",
        "hash_header": None,
        "bindings": 0,
        "published": 0,
        "unrouted": 0,
        "unroutable": 0,
        "cycles_broken": 0,
        "created_at_ms": core.now_ms,
    }


def test_facts_come_back_from_their_records_and_rebuild_the_same(core: Core) -> None:
    core.queue("a")
    events, spare = exchange(core, "events", "headers"), exchange(core, "spare")
    bind(core, events, "a", "ü", kind="new", size=None)
    bind(core, events, "spare", "", x=1)
    bind(core, spare, "a")
    bindings.unbind(core.broker, spare, Destination.to_queue(core.broker.names["a"].number), "", {})
    rebuilt = Exchanges()
    for fact in core.facts:
        kept = decode(memoryview(encode(fact)))
        assert kept == fact
        if isinstance(kept, ExchangeFact):
            rebuilt.apply(kept)
    found = {e.name: list(e.bindings) for e in rebuilt.by_number.values()}
    assert found == {e.name: list(e.bindings) for e in core.broker.exchanges.by_number.values()}


def test_the_weights_of_one_exchange_are_bounded(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bindings, "WEIGHTS_MAX", 5)
    core.queue("a")
    core.queue("b")
    shares = exchange(core, "shares", "consistent-hash")
    assert bind(core, shares, "a", "3").created
    with pytest.raises(Refused, match="add up to 6; at most 5"):
        bind(core, shares, "b", "3")
    assert bind(core, shares, "b", "2").created
    assert not bind(core, shares, "a", "3").created
