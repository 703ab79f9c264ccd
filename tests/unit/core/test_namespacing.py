"""Namespaces: declared before anything is in them, with limits on what is."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.core.harness import BLOCK, Core

from penstock.core import (
    definitions,
    delivery,
    fanout,
    firing,
    namespaces,
    namespacing,
    scheduling,
    settling,
    transacting,
)
from penstock.core.bindings import bind, declare_exchange
from penstock.core.exchange_settings import ExchangeSettings
from penstock.core.facts import NamespaceDeleted, NamespaceSet
from penstock.core.matching import Destination
from penstock.core.namespaces import Namespace, NamespaceSettings, parse_namespace_settings
from penstock.core.overflow import dead_letter_queue
from penstock.core.queue import Queue
from penstock.core.records import PUBLISHED_HEADER_BYTES
from penstock.core.scheduling import Part
from penstock.core.storing import append_internal
from penstock.core.transacting import Transaction, TransactionLimits
from penstock.core.values import ACK, REFUSED, STORED, QueueSettings, Refused
from penstock_client.wire import blocks

STORED_BYTES = len(BLOCK) + PUBLISHED_HEADER_BYTES


def space(core: Core, name: str = "billing", **limits: int) -> Namespace:
    return namespacing.declare_namespace(core.broker, name, NamespaceSettings(**limits), core.now_ms)[0]


def declare(core: Core, name: str, **settings: Any) -> Queue:
    return definitions.declare(core.broker, name, QueueSettings(**settings), core.now_ms, 100)[0]


def refusal(call: Any, *arguments: Any) -> tuple[str, str]:
    with pytest.raises(Refused) as refused:
        call(*arguments)
    return refused.value.refusal


# -- definitions -------------------------------------------------------------------------------------------------------


def test_a_namespace_is_declared_once_and_found(core: Core) -> None:
    found, created = namespacing.declare_namespace(core.broker, "billing", NamespaceSettings(5, 6, 7), core.now_ms)
    assert created
    assert namespacing.declare_namespace(core.broker, "billing", NamespaceSettings(5, 6, 7), 0) == (found, False)
    assert namespacing.find_namespace(core.broker, "billing") is found
    assert core.facts == [NamespaceSet("billing", 5, 6, 7, core.now_ms)]
    code, message = refusal(namespacing.declare_namespace, core.broker, "billing", NamespaceSettings(5), 0)
    assert code == "settings-differ"
    assert "max_connections is 0, not 6" in message


@pytest.mark.parametrize("name", ["", "a/b", "/", "$reply.1", "x" * 256, "a\n", 5])
def test_a_namespace_has_a_name_and_no_other_in_it(core: Core, name: Any) -> None:
    assert refusal(namespacing.declare_namespace, core.broker, name, NamespaceSettings(), 0)[0] == "bad-name"


@pytest.mark.parametrize("arguments", [{"max_queues": -1}, {"max_bytes": True}, {"max_connections": "5"}, {"max_x": 1}])
def test_limits_that_make_no_sense_are_refused(arguments: dict[str, Any]) -> None:
    assert refusal(parse_namespace_settings, arguments)[0] == "bad-setting"


def test_there_are_not_any_number_of_namespaces(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespacing, "NAMESPACES_MAX", 1)
    space(core)
    assert refusal(namespacing.declare_namespace, core.broker, "b", NamespaceSettings(), 0)[0] == "limit-reached"


def test_an_unknown_namespace_is_refused_by_name(core: Core) -> None:
    assert refusal(namespacing.find_namespace, core.broker, "nope") == (
        "unknown-namespace",
        "there is no namespace 'nope'; declare it first",
    )
    assert refusal(namespacing.find_namespace, core.broker, 5)[0] == "bad-name"
    assert refusal(namespacing.enter, core.broker, core.session(), "nope")[0] == "unknown-namespace"


def test_nothing_is_in_a_namespace_that_is_not_declared(core: Core) -> None:
    declare(core, "jobs")
    schedule = {"name": "billing/tick", "cron": "", "zone": "", "queue": "jobs", "block64": "", "missed": ""}
    assert refusal(declare, core, "billing/jobs")[0] == "unknown-namespace"
    assert refusal(declare_exchange, core.broker, "billing/x", ExchangeSettings(), 0, 9)[0] == "unknown-namespace"
    assert refusal(firing.add, core.broker, schedule, 1, 1)[0] == "unknown-namespace"


def test_nothing_leads_from_one_namespace_into_another(core: Core) -> None:
    space(core)
    space(core, "sales")
    billing, sales = declare(core, "billing/jobs"), declare(core, "sales/jobs")
    for other in ("dead", "sales/dead"):
        with pytest.raises(Refused, match="would be in another namespace"):
            declare(core, "billing/other", dead_letter=other)
    assert refusal(definitions.alter, core.broker, billing, {"dead_letter": "sales/dead"}, 0)[0] == "bad-setting"
    exchange, _ = declare_exchange(core.broker, "billing/events", ExchangeSettings("fanout"), 0, 9)
    target = Destination.to_queue(sales.number)
    code, message = refusal(bind, core.broker, exchange, target, "", {}, 9)
    assert (code, "'sales/jobs'" in message) == ("bad-binding", True)
    stray = ExchangeSettings(alternate="sales/strays")
    assert refusal(declare_exchange, core.broker, "billing/x", stray, 0, 9)[0] == "bad-setting"
    schedule = {"name": "billing/tick", "cron": "", "zone": "", "queue": "sales/jobs", "block64": "", "missed": ""}
    assert refusal(firing.add, core.broker, schedule, 1, 1)[0] == "bad-setting"


def test_a_namespace_goes_when_nothing_is_in_it(core: Core) -> None:
    one = space(core)
    queue = declare(core, "billing/jobs")
    session = core.session()
    namespacing.enter(core.broker, session, "billing")
    code, message = refusal(namespacing.delete_namespace, core.broker, one)
    assert (code, "has 1 queues, 1 connections" in message) == ("namespace-in-use", True)
    definitions.delete(core.broker, queue, False, False)
    settling.close_session(core.broker, session, False, core.now_ms)
    namespacing.delete_namespace(core.broker, one)
    assert core.facts[-1] == NamespaceDeleted("billing")
    assert not core.broker.namespaces.by_name


def test_altering_says_what_changed_and_leaves_what_is_there(core: Core) -> None:
    one = space(core, max_queues=2)
    for name in ("billing/a", "billing/b"):
        declare(core, name)
    assert namespacing.alter_namespace(core.broker, one, {"max_queues": 1}) == {"max_queues": (2, 1)}
    assert namespacing.alter_namespace(core.broker, one, {"max_queues": 1}) == {}
    assert (len(one.queues), one.settings.max_queues, one.created_at_ms) == (2, 1, core.now_ms)
    assert refusal(namespacing.alter_namespace, core.broker, one, {"max_queues": -1})[0] == "bad-setting"


def test_a_description_has_limits_and_use(core: Core) -> None:
    one = space(core, max_bytes=1_000_000)
    core.fill(declare(core, "billing/jobs"), 3)
    declare_exchange(core.broker, "billing/events", ExchangeSettings("fanout"), 0, 9)
    told = namespacing.describe_namespace(core.broker, one)
    assert told == {
        "namespace": "billing",
        "max_queues": 0,
        "max_connections": 0,
        "max_bytes": 1_000_000,
        "queues": 1,
        "exchanges": 1,
        "schedules": 0,
        "connections": 0,
        "bytes": STORED_BYTES,
        "created_at_ms": core.now_ms,
    }


# -- limits ------------------------------------------------------------------------------------------------------------


def test_queues_are_counted_when_they_are_declared(core: Core) -> None:
    space(core, max_queues=1)
    first = declare(core, "billing/a")
    code, message = refusal(declare, core, "billing/b")
    assert (code, "has 1 queues, max_queues is 1" in message) == ("namespace-full", True)
    assert declare(core, "billing/a") is first, "it is there"
    declare(core, "elsewhere")
    definitions.delete(core.broker, first, False, False)
    declare(core, "billing/b")


def test_a_dead_letter_queue_is_counted_and_never_refused(core: Core) -> None:
    one = space(core, max_queues=1)
    queue = declare(core, "billing/a")
    assert dead_letter_queue(core.broker, queue, core.now_ms, 100).name == "billing/a.dead"
    assert len(one.queues) == 2


def test_dead_letters_of_a_long_name_stay_in_the_namespace(core: Core) -> None:
    space(core)
    queue = declare(core, "billing/" + "x" * 247)
    assert queue.dead_letter_name == f"billing/dead-letters-{queue.number}"
    assert queue.local_name == "x" * 247


def test_connections_are_counted_when_they_come(core: Core) -> None:
    one = space(core, max_connections=1)
    first, second = core.session(), core.session()
    namespacing.enter(core.broker, first, "billing")
    code, message = refusal(namespacing.enter, core.broker, second, "billing")
    assert (code, "has 1 connections, max_connections is 1" in message) == ("namespace-full", True)
    assert (first.namespace, second.namespace) == ("billing", "")
    settling.close_session(core.broker, first, True, core.now_ms)
    namespacing.enter(core.broker, second, "billing")
    assert one.sessions == {second.number}


def publish(core: Core, queue: Queue, sequence: int = 1, session: Any = None) -> tuple[int, str]:
    session = session or core.session()
    core.route(session, 1, queue.name)
    core.publish(session, (sequence, 1))
    confirm = core.broker.confirms.pop()
    return confirm.status, confirm.code


def test_publishes_are_refused_at_the_bound_and_go_on_when_consumers_made_room(core: Core) -> None:
    space(core, max_bytes=2 * STORED_BYTES)
    one, other, outside = declare(core, "billing/a"), declare(core, "billing/b"), declare(core, "c")
    assert [publish(core, queue) for queue in (one, other, one, outside)] == [
        (STORED, ""),
        (STORED, ""),
        (REFUSED, "namespace-full"),
        (STORED, ""),
    ]
    delivery.make_visible(core.broker, one, one.log.next_offset)
    consumer = core.session()
    core.consume(consumer, one)
    core.dispatch()
    core.settle(consumer, ACK, (1, 1))
    core.now_ms += namespacing.RECOUNT_MS
    assert publish(core, other) == (STORED, "")


def test_a_resend_is_recognised_whatever_the_bound(core: Core) -> None:
    space(core, max_bytes=STORED_BYTES)
    queue, session = declare(core, "billing/a"), core.session()
    assert publish(core, queue, 1, session) == (STORED, "")
    assert publish(core, queue, 1, session)[0] not in (STORED, REFUSED)
    assert publish(core, queue, 2, session) == (REFUSED, "namespace-full")


def test_what_entered_otherwise_is_noticed_within_a_second(core: Core) -> None:
    space(core, max_bytes=3 * STORED_BYTES)
    source, queue = declare(core, "billing/a"), declare(core, "billing/b")
    assert publish(core, queue) == (STORED, "")
    for _ in range(3):
        append_internal(core.broker, source, BLOCK, core.now_ms)
    assert publish(core, queue) == (STORED, "")
    core.now_ms += namespacing.COUNT_MS
    assert publish(core, queue) == (REFUSED, "namespace-full")


def test_a_full_namespace_takes_no_scheduled_message_and_no_transaction(core: Core) -> None:
    space(core, max_bytes=1)
    queue, session = declare(core, "billing/a"), core.session()
    publish(core, queue, 1, session)
    due_ms = core.now_ms + 10_000
    scheduling.publish(core.broker, session, (1, 0, 2, 1, BLOCK), [Part(0, 1, due_ms, BLOCK)], core.now_ms)
    assert core.broker.confirms.pop().code == "namespace-full"
    scheduling.publish(core.broker, session, (1, 0, 1, 1, BLOCK), [Part(0, 1, due_ms, BLOCK)], core.now_ms)
    assert core.broker.confirms.pop().code == "", "it was sent before"
    transaction = Transaction([], [("", "billing/a", 1, BLOCK)], [])
    limits = TransactionLimits(100, 100_000)
    code, message = refusal(transacting.transact, core.broker, session, transaction, limits, core.now_ms)
    assert code == "namespace-full"
    assert message.startswith("nothing was done: namespace 'billing' stores")


def test_scheduled_messages_count(core: Core) -> None:
    one = space(core, max_bytes=1_000_000)
    queue, session = declare(core, "billing/a"), core.session()
    core.route(session, 1, queue.name)
    scheduling.publish(core.broker, session, (1, 0, 1, 1, BLOCK), [Part(0, 1, core.now_ms + 9, BLOCK)], core.now_ms)
    assert one.stored_bytes > len(BLOCK)


def test_an_exchange_passes_nothing_into_a_full_namespace(core: Core) -> None:
    space(core, max_bytes=1)
    queue, session = declare(core, "billing/a"), core.session()
    exchange, _ = declare_exchange(core.broker, "billing/events", ExchangeSettings("fanout"), 0, 9)
    bind(core.broker, exchange, Destination.to_queue(queue.number), "", {}, 9)
    fanout.open_exchange_route(core.broker, session, 1, "billing/events", "k", True, 9)
    block = blocks.encode_block([b"x"])
    core.publish(session, (1, 1), block=block)
    core.publish(session, (2, 1), block=block)
    core.now_ms += namespacing.COUNT_MS
    core.publish(session, (3, 1), block=block)
    assert [confirm.code for confirm in core.broker.confirms] == ["", "", "namespace-full"]


def test_a_bound_that_comes_or_goes_holds_for_queues_that_are_there(core: Core) -> None:
    one, queue = space(core), declare(core, "billing/a")
    assert not queue.is_judged
    namespacing.alter_namespace(core.broker, one, {"max_bytes": 1})
    assert [queue.is_judged, bool(namespacing.alter_namespace(core.broker, one, {"max_bytes": 0}))] == [True, True]
    assert [publish(core, queue)[0] for _ in range(3)] == [STORED] * 3
    namespacing.alter_namespace(core.broker, one, {"max_bytes": 1})
    definitions.alter(core.broker, queue, {"max_messages": 9}, core.now_ms)
    definitions.alter(core.broker, queue, {"max_messages": 0}, core.now_ms)
    assert publish(core, queue)[0] == REFUSED


# -- recovery ----------------------------------------------------------------------------------------------------------


def test_a_namespace_that_recovery_meets_after_its_queue_takes_it_in(core: Core) -> None:
    queue = core.queue("other")
    queue.name = "billing/a"
    core.broker.apply(NamespaceSet("billing", 0, 0, 1, 5))
    one = core.broker.namespaces.by_name["billing"]
    assert (queue.space, list(one.queues)) == (one, [queue.number])
    core.broker.apply(NamespaceDeleted("billing"))
    assert queue.space is None
    assert namespaces.Namespaces().of("billing/a") is None
