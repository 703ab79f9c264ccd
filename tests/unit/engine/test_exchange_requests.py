"""Named commands on exchanges: arguments checked, answers as the protocol says."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.engine.harness import Bench

from penstock.engine.interface import EngineLimits


def test_an_exchange_from_declaring_to_deleting(bench: Bench) -> None:
    bench.declare("jobs")
    peer = bench.peer()
    made = peer.call("exchange_declare", exchange="events", type="topic")
    assert made == {"exchange": "events", "id": made["id"], "created": True}
    assert peer.call("exchange_declare", exchange="events", passive=True)["created"] is False
    assert peer.call("exchange_bind", exchange="events", queue="jobs", routing_key="#") == {
        "created": True,
        "cycle": False,
    }
    assert peer.call("exchange_bind", exchange="events", to_exchange="events", arguments=None)["cycle"] is True
    listed = peer.call("exchange_list", prefix="ev")
    assert ([one["bindings"] for one in listed["exchanges"]], listed["more"]) == ([2], False)
    page = peer.call("exchange_bindings", exchange="events", start=1, limit=5)
    assert [one["kind"] for one in page["bindings"]] == ["exchange"]
    assert peer.call("exchange_unbind", exchange="events", queue="jobs", routing_key="#") == {"removed": True}
    assert peer.call("exchange_unbind", exchange="events", queue="jobs", routing_key="#") == {"removed": False}
    assert peer.call("exchange_delete", exchange="events") == {"deleted_bindings": 1}
    assert peer.call("exchange_list")["exchanges"] == []


@pytest.mark.parametrize(
    ("command", "arguments", "code"),
    [
        ("exchange_declare", {}, "bad-setting"),
        ("exchange_declare", {"exchange": "amq.x"}, "bad-name"),
        ("exchange_declare", {"exchange": "x", "typ": "topic"}, "bad-setting"),
        ("exchange_declare", {"exchange": "nowhere", "passive": True}, "unknown-exchange"),
        ("exchange_describe", {"exchange": "nowhere"}, "unknown-exchange"),
        ("exchange_describe", {"exchange": "events", "more": 1}, "bad-setting"),
        ("exchange_list", {"limit": 0}, "bad-setting"),
        ("exchange_bindings", {"exchange": "events", "limit": 1001}, "bad-setting"),
        ("exchange_delete", {"exchange": "events", "if_unused": 1}, "bad-setting"),
        ("exchange_bind", {"exchange": "events"}, "bad-binding"),
        ("exchange_bind", {"exchange": "events", "queue": "jobs", "to_exchange": "events"}, "bad-binding"),
        ("exchange_bind", {"exchange": "events", "queue": "nowhere"}, "unknown-queue"),
        ("exchange_bind", {"exchange": "events", "to_exchange": "nowhere"}, "unknown-exchange"),
        ("exchange_bind", {"exchange": "", "queue": "jobs"}, "bad-name"),
        ("exchange_bind", {"exchange": "events", "queue": "jobs", "routing_key": "a*"}, "bad-binding"),
        ("exchange_bind", {"exchange": "events", "queue": "jobs", "arguments": []}, "bad-binding"),
        ("exchange_unbind", {"exchange": "events", "queue": "jobs", "routing_key": 5}, "bad-setting"),
        ("route_open", {"route": 1, "exchange": "nowhere", "routing_key": ""}, "unknown-exchange"),
        ("route_open", {"route": 1, "exchange": "events", "routing_key": "x" * 300}, "bad-binding"),
        ("route_open", {"route": 1, "routing_key": "jobs", "mandatory": False}, "bad-setting"),
    ],
)
def test_wrong_arguments_are_refused(bench: Bench, command: str, arguments: dict[str, Any], code: str) -> None:
    bench.declare("jobs")
    peer = bench.peer()
    peer.call("exchange_declare", exchange="events", type="topic")
    peer.call("producer_open")
    assert peer.refusal(command, **arguments).code == code


def test_limits_are_those_of_the_engine() -> None:
    bench = Bench(exchanges_max=1, bindings_max=1)
    assert (EngineLimits().exchanges_max, EngineLimits().bindings_max) == (10_000, 100_000)
    bench.declare("jobs")
    peer = bench.peer()
    peer.call("exchange_declare", exchange="one", type="fanout")
    assert peer.refusal("exchange_declare", exchange="two").code == "limit-reached"
    peer.call("exchange_bind", exchange="one", queue="jobs")
    assert peer.refusal("exchange_bind", exchange="one", queue="jobs", routing_key="2").code == "limit-reached"


def test_the_way_of_a_route_is_known(bench: Bench) -> None:
    bench.declare("jobs")
    peer = bench.peer().open("jobs")
    peer.call("exchange_declare", exchange="events")
    peer.call("route_open", route=2, exchange="events", routing_key="k")
    ways = [bench.engine.way_of(peer.session, route) for route in (1, 2, 3)]
    assert ways == [("", "jobs"), ("events", "k"), None]
