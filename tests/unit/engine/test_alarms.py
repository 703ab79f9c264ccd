from typing import Any

import pytest
from tests.unit.engine.harness import Bench, Peer

from penstock.core.values import ACK, NACK
from penstock.engine.alarms import Alarm


@pytest.fixture
def told(bench: Bench) -> list[tuple[str, Alarm]]:
    """What was told of alarms, in order."""
    told: list[tuple[str, Alarm]] = []
    bench.engine.alarms.on_raised = lambda alarm: told.append(("raised", alarm))
    bench.engine.alarms.on_released = lambda alarm: told.append(("released", alarm))
    return told


def filled(bench: Bench, count: int, **settings: Any) -> Peer:
    bench.declare(**settings)
    peer = bench.peer().open("jobs").consume("jobs", prefetch=1000)
    if count:
        peer.publish(1, *[b"x"] * count)
    bench.work()
    return peer


def alarms(bench: Bench) -> list[tuple[str, str, int, int]]:
    listed = bench.peer().call("status")["alarms"]
    return [(one["queue"], one["what"], one["value"], one["limit"]) for one in listed]


def test_a_queue_without_an_alarm_raises_none(bench: Bench, told: list[tuple[str, Alarm]]) -> None:
    filled(bench, 100)
    bench.engine.alarms.check()
    assert (alarms(bench), told) == ([], [])


def test_an_alarm_is_raised_once_at_its_limit_and_released_a_tenth_below(
    bench: Bench, told: list[tuple[str, Alarm]]
) -> None:
    peer = filled(bench, 9, alarm_messages=10)
    assert alarms(bench) == []
    peer.publish(10, b"x")
    bench.work()
    since_ms = bench.now_ms
    assert alarms(bench) == [("jobs", "messages", 10, 10)]
    bench.now_ms += 500
    peer.settle(ACK, (1, 1))
    bench.work()
    assert alarms(bench) == [("jobs", "messages", 9, 10)]
    assert told == [("raised", Alarm("jobs", None, "messages", 10, 10, since_ms))]
    peer.settle(ACK, (2, 2))
    bench.work()
    assert alarms(bench) == []
    assert told[1:] == [("released", Alarm("jobs", None, "messages", 9, 10, since_ms))]


def test_an_alarm_goes_by_the_age_of_the_oldest_message_in_the_journal_too(bench: Bench) -> None:
    peer = filled(bench, 1, alarm_age_ms=5000)
    bench.empty_cache()
    bench.now_ms += 4999
    assert alarms(bench) == []
    bench.now_ms += 1
    assert alarms(bench) == [("jobs", "age_ms", 5000, 5000)]
    peer.settle(ACK, (1, 1))
    bench.work()
    assert alarms(bench) == []


def test_while_an_age_is_looked_up_nothing_is_looked_at_twice(bench: Bench) -> None:
    filled(bench, 1, alarm_age_ms=1, alarm_messages=1)
    bench.now_ms += 1
    bench.empty_cache()
    bench.engine.alarms.check()
    bench.engine.alarms.check()
    assert len(bench.engine.loads) == 1
    bench.load()
    assert [one["what"] for one in bench.engine.alarms.raised()] == ["messages", "age_ms"]


def test_a_queue_that_is_deleted_while_its_age_is_looked_up_has_no_alarm(
    bench: Bench, told: list[tuple[str, Alarm]]
) -> None:
    filled(bench, 1, alarm_age_ms=1)
    bench.now_ms += 1
    assert [what for what, _ in told] == []
    assert alarms(bench) == [("jobs", "age_ms", 1, 1)]
    bench.engine.oldest._read.clear()
    bench.empty_cache()
    bench.engine.alarms.check()
    bench.peer().ask("queue_delete", queue="jobs")
    bench.load()
    assert bench.engine.alarms.raised() == []
    assert [what for what, _ in told] == ["raised", "released"]


def test_a_breaker_that_is_not_closed_raises_an_alarm_of_its_group(bench: Bench, told: list[tuple[str, Alarm]]) -> None:
    bench.declare(max_failures=0)
    bench.peer().call("group_declare", queue="jobs", group="billing", breaker_failures=2)
    peer = bench.peer().open("jobs")
    peer.ask("consume", consumer=1, queue="jobs", group="billing")
    peer.publish(1, b"a", b"b", b"c")
    bench.work()
    since_ms = bench.now_ms
    peer.settle(NACK, (1, 3))
    bench.pass_time(10)
    [alarm] = bench.peer().call("status")["alarms"]
    wanted: dict[str, Any] = {
        "queue": "jobs",
        "group": "billing",
        "what": "breaker",
        "value": 3,
        "limit": 2,
        "since_ms": since_ms,
    }
    assert alarm == wanted
    assert bench.peer().call("queue_describe", queue="jobs")["alarms"] == [wanted]
    bench.peer().call("queue_pause", queue="jobs", group="billing", paused=False)
    assert bench.peer().call("status")["alarms"] == []
    assert told == [("raised", Alarm(**wanted)), ("released", Alarm(**wanted))]


def test_a_breaker_is_closed_after_a_restart(bench: Bench) -> None:
    peer = filled(bench, 3, breaker_failures=1)
    peer.settle(NACK, (1, 1))
    bench.work()
    assert [one["what"] for one in bench.peer().call("status")["alarms"]] == ["breaker"]
    bench.start()
    assert bench.peer().call("status")["alarms"] == []
    described = bench.peer().call("group_describe", queue="jobs", group="")
    assert (described["breaker"]["state"], described["breaker"]["since_ms"]) == ("closed", None)


def test_an_open_breaker_wakes_the_broker_when_its_wait_is_over(bench: Bench) -> None:
    peer = filled(bench, 3, breaker_failures=3)
    peer.settle(NACK, (1, 3))
    bench.work()
    due_ms = bench.now_ms + 1000
    assert bench.engine.next_due_ms() is not None
    peer.deliveries.clear()
    bench.now_ms = due_ms - 1
    bench.work()
    assert peer.deliveries == []
    assert bench.engine.next_due_ms() == due_ms
    bench.now_ms = due_ms
    bench.work()
    assert [one.message_count for one in peer.deliveries] == [1]


def test_a_described_queue_lists_its_own_alarms(bench: Bench) -> None:
    filled(bench, 2, alarm_messages=1)
    bench.declare("other", alarm_messages=1)
    bench.peer().open("other").publish(1, b"x")
    bench.pass_time(7)
    bench.engine.alarms.check()
    assert len(alarms(bench)) == 2
    [mine] = bench.peer().call("queue_describe", queue="jobs")["alarms"]
    assert mine == {
        "queue": "jobs",
        "group": None,
        "what": "messages",
        "value": 2,
        "limit": 1,
        "since_ms": bench.now_ms,
    }


def test_an_alarm_is_set_and_taken_away_on_a_living_queue_and_survives_a_restart(bench: Bench) -> None:
    filled(bench, 3)
    peer = bench.peer()
    peer.call("queue_alter", queue="jobs", alarm_messages=3)
    bench.start()
    assert alarms(bench) == [("jobs", "messages", 3, 3)]
    bench.keep_house()
    bench.start()
    assert alarms(bench) == [("jobs", "messages", 3, 3)]
    bench.peer().call("queue_alter", queue="jobs", alarm_messages=0)
    assert alarms(bench) == []
    assert not bench.engine.broker.watched_queues


@pytest.mark.parametrize("name", ["alarm_messages", "alarm_age_ms"])
@pytest.mark.parametrize("value", [-1, 1.5, True, "many", None, 1 << 60])
def test_a_wrong_alarm_is_refused_by_name(bench: Bench, name: str, value: Any) -> None:
    assert name in bench.peer().refusal("queue_declare", queue="jobs", **{name: value}).message
