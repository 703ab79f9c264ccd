"""Inside a namespace: every request works with local names, and no full name is ever told."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from tests.unit.engine.harness import Bench, Peer

from penstock.core.transacting import Transaction
from penstock.core.values import ACK, REJECT, Refusal
from penstock.engine import requests
from penstock.engine.interface import ReplyIn
from penstock_client.wire import blocks

SPACE = "billing"
FULL = f"{SPACE}/"


class Insider(Peer):
    """A connection in the namespace that notes what it asks, and whether anything it is told has a full name."""

    def __init__(self, bench: Bench) -> None:
        self.asked: set[str] = set()
        super().__init__(bench, "insider", SPACE)

    def ask(self, command: str, **arguments: Any) -> int:
        self.asked.add(command)
        return super().ask(command, **arguments)

    def told(self) -> list[Any]:
        """Everything that reached it."""
        entries = [*self.deliveries, *(entry for entries in self.peeks.values() for entry in entries)]
        return [
            *self.replies.values(), *self.refusals.values(), *self.cancels, *self.aborts, *self.confirms, *self.stales,
            *self.replied_blocks, *(vars_of(entry.block) for entry in entries),
        ]  # fmt: skip


def vars_of(block: bytes) -> Any:
    return bytes(block), blocks.decode_block(block)


@pytest.fixture
def inside(bench: Bench) -> Iterator[Insider]:
    bench.peer().call("namespace_declare", namespace=SPACE)
    peer = Insider(bench)
    yield peer
    leaked = [one for one in peer.told() if FULL in repr(one)]
    assert not leaked, "full names were told"


def block(*bodies: bytes) -> bytes:
    return blocks.encode_block(bodies or (b"x",))


def test_every_request_works_and_tells_local_names_only(bench: Bench, inside: Insider) -> None:
    root = bench.peer("root")
    define(inside)
    publish_and_consume(bench, inside)
    look_around(inside, root)
    take_away(inside)
    missing = set(requests._COMMANDS) - inside.asked
    assert not missing, "requests that nothing is known of"


def define(inside: Insider) -> None:
    inside.call("queue_declare", queue="jobs", dead_letter="lost", max_failures=1, backoff_min_ms=0)
    inside.call("queue_declare", queue="other")
    assert inside.call("queue_alter", queue="other", dead_letter="lost")["changed"]["dead_letter"] == [None, "lost"]
    inside.call("group_declare", queue="jobs", group="audit", start="earliest")
    inside.call("group_alter", queue="jobs", group="audit", rate_per_s=5)
    inside.call("exchange_declare", exchange="events", type="fanout", alternate="strays")
    inside.call("exchange_declare", exchange="strays", type="fanout")
    inside.call("exchange_bind", exchange="events", queue="jobs")
    inside.call("exchange_bind", exchange="events", to_exchange="strays")
    inside.call("schedule_add", name="tick", cron="* * * * *", queue="other", block=block())
    assert inside.call("schedule_pause", name="tick", paused=True)["name"] == "tick"
    for command in ("declare", "alter", "describe", "delete", "list"):
        arguments = {} if command == "list" else {"namespace": SPACE}
        assert inside.refusal(f"namespace_{command}", **arguments).code == "unsupported"


def publish_and_consume(bench: Bench, inside: Insider) -> None:
    inside.call("producer_open")
    assert inside.call("route_open", route=1, routing_key="jobs")["queue_id"]
    inside.call("route_open", route=2, exchange="events", routing_key="k")
    inside.publish(1, b"dies", b"lives")
    inside.publish(1, b"through", route=2)
    bench.engine.publish(inside.session, [(9, 0, 1, 1, block())])
    inside.call("consume", consumer=1, queue="jobs", group="")
    bench.work()
    assert inside.bodies() == [b"dies", b"lives", b"through"]
    inside.settle(REJECT, (1, 1), reason="no good")
    inside.settle(ACK, (2, 3))
    bench.work()
    inside.call("flow", consumer=1, prefetch_messages=10)
    inside.call("cancel", consumer=1)
    inside.call("consume", consumer=2, queue="lost")
    bench.work()
    [letter] = [one for one in inside.deliveries if one.consumer == 2]
    properties = blocks.decode_block(letter.block).properties
    assert properties is not None
    assert properties[0] is not None
    assert properties[0]["dead"]["queue"] == "jobs"
    inside.call("cancel", consumer=2, release=True)
    bench.work()
    assert inside.call("queue_redrive", queue="jobs")["redriven"] == 1
    bench.work()


def look_around(inside: Insider, root: Peer) -> None:
    assert [one["queue"] for one in inside.call("queue_list")["queues"]] == ["jobs", "lost", "other"]
    assert [one["queue"] for one in inside.call("queue_list", prefix="o", after="lost")["queues"]] == ["other"]
    assert inside.call("queue_describe", queue="jobs")["dead_letter"] == "lost"
    assert [one["queue"] for one in root.call("queue_list")["queues"]] == [
        f"{FULL}{name}" for name in ("jobs", "lost", "other")
    ]
    exchanges = inside.call("exchange_list")["exchanges"]
    assert [(one["exchange"], one["alternate"]) for one in exchanges] == [("events", "strays"), ("strays", None)]
    assert inside.call("exchange_describe", exchange="events")["alternate"] == "strays"
    bound = inside.call("exchange_bindings", exchange="events")["bindings"]
    assert [one["destination"] for one in bound] == ["jobs", "strays"]
    assert [one["name"] for one in inside.call("schedule_list", prefix="t")["schedules"]] == ["tick"]
    assert [one["group"] for one in inside.call("group_list", queue="jobs")["groups"]] == ["", "audit"]
    assert inside.call("group_describe", queue="jobs", group="audit")["queue"] == "jobs"
    inside.call("group_state", queue="jobs", group="audit")
    assert inside.call("find", queue="jobs", group="audit")["queue"] == "jobs"
    inside.ask("peek", queue="jobs")
    inside.ask("scheduled_peek", queue="jobs")
    assert inside.refusal("scheduled_cancel", queue="jobs", id=7).code == "not-scheduled"
    inside.call("message_describe", queue="jobs", offset=3)
    status = inside.call("status")
    assert (status["queues"], status["connections"], "journal_bytes" in status) == (3, 1, False)
    assert [one["session"] for one in inside.call("connection_list")["connections"]] == [inside.session]
    assert len(root.call("connection_list")["connections"]) >= 2
    assert inside.refusal("connection_close", session=root.session).code == "unknown-session"
    assert inside.refusal("lease_revoke", queue="jobs", offset=0).code == "not-leased"
    address = inside.call("reply_open")["address"]
    inside.bench.engine.reply(inside.session, [ReplyIn(address, 1, block())], 0)


def take_away(inside: Insider) -> None:
    moved = inside.call("transfer", queue="jobs", action="move", offsets=[3], target="other")
    assert moved["done"] == 1
    refused = inside.call("transfer", queue="jobs", action="redrive", offsets=[3, 99])["refused"]
    assert [code for _, code, _ in refused] == ["unknown-message", "unknown-message"]
    assert "'jobs'" in refused[0][2]
    inside.call("consume", consumer=3, queue="jobs", group="audit")
    assert {one["queue"] for one in inside.call("consumer_list", queue="jobs")["consumers"]} == {"jobs"}
    assert len(inside.call("consumer_list")["consumers"]) == 1
    inside.call("consumer_close", session=inside.session, consumer=3)
    inside.call("queue_pause", queue="jobs", paused=True)
    inside.call("queue_purge", queue="jobs")
    inside.call("route_close", route=2)
    inside.call("consume", consumer=4, queue="other")
    inside.call("exchange_unbind", exchange="events", queue="jobs")
    inside.call("exchange_delete", exchange="strays")
    inside.call("schedule_remove", name="tick")
    inside.call("group_delete", queue="jobs", group="audit")
    inside.call("queue_delete", queue="other")
    assert inside.cancels[-1] == (4, Refusal("queue-deleted", "queue 'other' was deleted"))


@pytest.mark.parametrize(
    ("command", "arguments", "code", "said"),
    [
        ("queue_describe", {"queue": "nope"}, "unknown-queue", "'nope'"),
        ("queue_declare", {"queue": "it's", "lease_ms": 1}, "bad-setting", ""),
        ("queue_describe", {"queue": "it's"}, "unknown-queue", '"it\'s"'),
        ("queue_declare", {"queue": ""}, "bad-name", "at least one character"),
        ("queue_declare", {"queue": "$reply.1.2"}, "bad-name", "reply addresses"),
        ("queue_declare", {"queue": 5}, "bad-setting", "must be a text"),
        ("queue_declare", {"queue": "a\n"}, "bad-name", "control characters"),
        ("queue_declare", {"queue": "x" * 250}, "bad-name", "255 bytes"),
        ("queue_declare", {"queue": "jobs", "dead_letter": 3}, "bad-name", ""),
        ("exchange_declare", {"exchange": "amq.x"}, "bad-name", "reserved"),
        ("exchange_declare", {"exchange": ""}, "bad-name", "default exchange"),
        ("exchange_describe", {"exchange": "nope"}, "unknown-exchange", "'nope'"),
        ("exchange_bind", {"exchange": "nope", "queue": "q"}, "unknown-exchange", "'nope'"),
        ("route_open", {"route": 1, "routing_key": 5}, "bad-setting", "routing_key"),
        ("route_open", {"route": 1, "routing_key": "nope"}, "no-producer", ""),
        ("queue_list", {"prefix": 5}, "bad-setting", "prefix"),
        ("schedule_pause", {"name": "nope"}, "unknown-schedule", "'nope'"),
        ("consume", {"consumer": 1, "queue": "nope", "name": FULL}, "unknown-queue", "'nope'"),
    ],
)
def test_refusals_say_local_names(
    inside: Insider, command: str, arguments: dict[str, Any], code: str, said: str
) -> None:
    refusal = inside.refusal(command, **arguments)
    assert refusal.code == code
    assert said in refusal.message


def test_what_is_outside_is_not_there(bench: Bench, inside: Insider) -> None:
    root = bench.peer()
    root.call("queue_declare", queue="jobs")
    root.call("namespace_declare", namespace="sales")
    root.call("queue_declare", queue="sales/jobs")
    assert inside.refusal("queue_describe", queue="jobs").code == "unknown-queue"
    assert inside.refusal("queue_describe", queue="sales/jobs").code == "unknown-queue"
    assert inside.call("queue_list")["queues"] == []
    inside.call("queue_declare", queue="sales/jobs")
    assert root.call("queue_describe", queue=f"{FULL}sales/jobs")["messages"] == 0


def test_a_transaction_has_local_names(bench: Bench, inside: Insider) -> None:
    inside.call("queue_declare", queue="jobs")
    inside.call("group_declare", queue="jobs", group="audit")
    writes = [("jobs", "audit", "seen", 0, b"\x01")]
    bench.engine.transact(inside.session, 90, Transaction([], [("", "jobs", 1, block())], writes))
    bench.engine.transact(inside.session, 91, Transaction([], [("events", "k", 1, block())], []))
    bench.engine.transact(inside.session, 92, Transaction([], [("", "nope", 1, block())], []))
    bench.work()
    assert inside.replies[90]["placed"] == [[[0, 1, False]]]
    assert "'events'" in inside.refusals[91].message
    assert "'nope'" in inside.refusals[92].message
    assert list(inside.call("group_state", queue="jobs", group="audit")["state"]) == ["seen"]


def test_a_route_finds_its_queue_and_exchange_again_after_they_were_declared_anew(
    bench: Bench, inside: Insider
) -> None:
    inside.call("queue_declare", queue="jobs")
    inside.call("exchange_declare", exchange="events", type="fanout")
    inside.call("producer_open")
    inside.call("route_open", route=1, routing_key="jobs")
    inside.call("route_open", route=2, exchange="events", routing_key="k")
    assert bench.engine.way_of(inside.session, 1) == ("", "jobs")
    assert bench.engine.way_of(inside.session, 2) == ("events", "k")
    inside.call("queue_delete", queue="jobs")
    inside.call("exchange_delete", exchange="events")
    inside.call("queue_declare", queue="jobs")
    inside.call("exchange_declare", exchange="events", type="fanout")
    inside.call("exchange_bind", exchange="events", queue="jobs")
    inside.publish(1, b"a")
    inside.publish(1, b"b", route=2)
    bench.work()
    assert [entry[1] for entry in inside.confirms] == [0, 0]
    inside.call("consume", consumer=1, queue="jobs")
    bench.work()
    assert [blocks.decode_routing(one.block) for one in inside.deliveries] == [None, ("events", "k")]


def test_what_the_root_publishes_through_an_exchange_of_the_namespace_is_local_in_it(
    bench: Bench, inside: Insider
) -> None:
    inside.call("queue_declare", queue="jobs")
    inside.call("exchange_declare", exchange="events", type="fanout")
    inside.call("exchange_bind", exchange="events", queue="jobs")
    root = bench.peer().open()
    root.ask("route_open", route=1, exchange=f"{FULL}events", routing_key="k")
    root.publish(1, b"a")
    inside.call("consume", consumer=1, queue="jobs")
    bench.work()
    assert [blocks.decode_routing(one.block) for one in inside.deliveries] == [("events", "k")]


def test_a_recurring_message_names_its_schedule_locally(bench: Bench, inside: Insider) -> None:
    inside.call("queue_declare", queue="jobs")
    inside.call("schedule_add", name="tick", cron="* * * * *", queue="jobs", block=block())
    bench.work()
    bench.now_ms += 120_000
    bench.work()
    inside.call("consume", consumer=1, queue="jobs")
    bench.work()
    properties = blocks.decode_block(inside.deliveries[0].block).properties
    assert properties is not None
    assert properties[0] is not None
    assert properties[0]["schedule"]["name"] == "tick"
    values = bench.engine.broker.recurrings.by_name[f"{FULL}tick"].values()
    assert values["block64"] == base64.b64encode(block()).decode()


def test_an_edited_and_a_dropped_message_say_their_queue_locally(bench: Bench, inside: Insider) -> None:
    inside.call("queue_declare", queue="jobs", max_messages=1, overflow="drop_newest", overflow_dead_letter=True)
    inside.call("queue_declare", queue="old", max_messages=1, overflow="drop_oldest", overflow_dead_letter=True)
    inside.open("jobs", "old")
    inside.publish(1, b"a", b"b")
    inside.publish(1, b"c", b"d", route=2)
    bench.work()
    inside.call("transfer", queue="jobs", action="replace", offsets=[0], block=block(b"new"))
    for number, queue in enumerate(("jobs", "jobs.dead", "old.dead"), 1):
        inside.call("consume", consumer=number, queue=queue)
    bench.work()
    found = {}
    for one in inside.deliveries:
        properties = blocks.decode_block(one.block).properties
        found[one.consumer] = properties[0] if properties else None
    told = repr(found)
    assert told.count("'queue': 'jobs'") == 2
    assert told.count("'queue': 'old'") == 1


def test_replies_do_not_cross_namespaces_but_for_the_roots(bench: Bench, inside: Insider) -> None:
    root = bench.peer()
    root.call("namespace_declare", namespace="sales")
    seller, colleague = bench.peer("seller", "sales"), bench.peer("colleague", SPACE)
    addresses = [peer.call("reply_open")["address"] for peer in (root, seller, colleague)]
    entries = [ReplyIn(address, 1, block()) for address in addresses]
    bench.engine.reply(inside.session, entries, 70)
    bench.engine.reply(root.session, entries, 71)
    assert inside.replies[70]["outcomes"] == ["delivered", "gone", "delivered"]
    assert root.replies[71]["outcomes"] == ["delivered"] * 3


def test_a_closed_connection_is_told_in_local_words(bench: Bench, inside: Insider) -> None:
    bench.peer().call("connection_close", session=inside.session)
    assert inside.aborts[0].code == "closed-by-operator"
    assert inside.unsent_bytes() == 0


def test_namespaces_survive_a_restart_with_and_without_a_snapshot(bench: Bench) -> None:
    root = bench.peer()
    root.call("namespace_declare", namespace="old")
    root.call("namespace_declare", namespace=SPACE, max_queues=2, max_bytes=10_000)
    root.call("queue_declare", queue=f"{FULL}jobs")
    root.call("namespace_alter", namespace=SPACE, max_queues=1)
    root.call("namespace_delete", namespace="old")
    for snapshot in (False, True):
        if snapshot:
            bench.keep_house()
        bench.start()
        [told] = bench.peer().call("namespace_list")["namespaces"]
        limits = (told["namespace"], told["max_queues"], told["max_connections"], told["max_bytes"], told["queues"])
        assert limits == (SPACE, 1, 0, 10_000, 1)
        assert bench.peer("insider", SPACE).refusal("queue_declare", queue="more").code == "namespace-full"


def test_the_root_administers_namespaces(bench: Bench) -> None:
    root = bench.peer()
    for name in ("a", "b", "c"):
        assert root.call("namespace_declare", namespace=name, max_queues=1) == {"namespace": name, "created": True}
    assert root.call("namespace_declare", namespace="a", passive=True) == {"namespace": "a", "created": False}
    assert root.refusal("namespace_declare", namespace="d", passive=True).code == "unknown-namespace"
    page = root.call("namespace_list", limit=2)
    assert ([one["namespace"] for one in page["namespaces"]], page["more"]) == (["a", "b"], True)
    page = root.call("namespace_list", after="b")
    assert ([one["namespace"] for one in page["namespaces"]], page["more"]) == (["c"], False)
    assert root.call("namespace_describe", namespace="a")["max_queues"] == 1
    status = root.call("status")["namespaces"]
    assert [(one["namespace"], one["queues"], one["max_queues"]) for one in status] == [(n, 0, 1) for n in "abc"]
    assert root.refusal("namespace_delete", namespace="a", force=True).code == "bad-setting"


def test_alarms_inside_are_told_inside(bench: Bench, inside: Insider) -> None:
    bench.declare("outside", alarm_messages=1)
    inside.call("queue_declare", queue="jobs", alarm_messages=1)
    inside.open("jobs")
    inside.publish(1, b"x")
    root = bench.peer().open("outside")
    root.publish(1, b"x")
    bench.work()
    bench.engine.alarms.check()
    bench.work()
    assert [alarm["queue"] for alarm in inside.call("status")["alarms"]] == ["jobs"]
    assert {alarm["queue"] for alarm in root.call("status")["alarms"]} == {f"{FULL}jobs", "outside"}
