from typing import Any

import pytest
from tests.unit.engine.harness import Bench

from penstock.core.values import ACK, Refused
from penstock.engine import recurrence
from penstock.engine import schedule_requests as module
from penstock.engine.recovery import fingerprint
from penstock_client.wire import blocks

MINUTE_MS = 60_000
BLOCK = blocks.encode_block([b"tick"], keys=["k"], properties=[{"message_id": "m"}])


@pytest.fixture
def bench() -> Bench:
    """At the start of a minute, with a queue."""
    bench = Bench()
    bench.now_ms = 1_700_000_040_000
    bench.declare()
    return bench


def add(bench: Bench, **changes: Any) -> dict[str, Any]:
    arguments = {"name": "tick", "cron": "* * * * *", "queue": "jobs", "block": BLOCK} | changes
    return bench.peer().call("schedule_add", **arguments)


def fired(bench: Bench, queue: str = "jobs") -> list[tuple[int, int]]:
    """(minutes since the start, missed) of each firing whose message is in the queue."""
    peer = bench.peer()
    request = peer.ask("peek", queue=queue, count=1000)
    bench.work()
    found = []
    for entry in peer.peeks[request]:
        for one in blocks.decode_properties(entry.block) or ():
            assert one is not None
            schedule = one["schedule"]
            assert (schedule["name"], one["message_id"]) == ("tick", "m")
            found.append(((schedule["at_ms"] - 1_700_000_040_000) // MINUTE_MS, schedule.get("missed", 0)))
    return found


def shown(bench: Bench) -> dict[str, Any]:
    (one,) = bench.peer().call("schedule_list")["schedules"]
    return one  # type: ignore[no-any-return]


def test_a_schedule_fires_at_its_times_and_once_for_each(bench: Bench) -> None:
    assert add(bench) == {"created": True, "next_ms": bench.now_ms + MINUTE_MS}
    bench.pass_time(MINUTE_MS - 1)
    assert fired(bench) == []
    for _ in range(3):
        bench.pass_time(MINUTE_MS)
    assert fired(bench) == [(1, 0), (2, 0), (3, 0)]
    assert bench.engine.next_due_ms() == 1_700_000_040_000 + 4 * MINUTE_MS


def test_the_message_carries_what_was_given_and_which_firing_it_is(bench: Bench) -> None:
    add(bench)
    consumer = bench.peer().consume("jobs")
    bench.pass_time(MINUTE_MS)
    columns = blocks.decode_block(consumer.deliveries[0].block)
    assert (columns.bodies, columns.keys) == ([b"tick"], ["k"])
    assert columns.properties == [{"message_id": "m", "schedule": {"name": "tick", "at_ms": bench.now_ms}}]


def test_a_firing_is_visible_only_when_it_is_durable(bench: Bench) -> None:
    """I3."""
    add(bench)
    consumer = bench.peer().consume("jobs")
    bench.now_ms += MINUTE_MS
    bench.engine.turn()
    assert consumer.deliveries == []
    bench.commit()
    assert consumer.bodies() == [b"tick"]


@pytest.mark.parametrize("synced", [False, True])
def test_a_firing_and_its_message_survive_together_or_not_at_all(bench: Bench, synced: bool) -> None:
    """I14: exactly one message a firing."""
    add(bench)
    bench.now_ms += MINUTE_MS
    bench.engine.turn()
    if synced:
        bench.commit()
    bench.start()
    bench.work()
    assert len(fired(bench)) == 1
    assert shown(bench)["fired_count"] == 1


def test_what_was_late_is_made_up_for_one_by_one(bench: Bench) -> None:
    """The loop stalled, or the disk was full: the broker was up."""
    add(bench, missed="skip")
    bench.engine.broker.storage_full = True
    bench.pass_time(3 * MINUTE_MS)
    assert fired(bench) == []
    assert bench.engine.next_due_ms() is None
    bench.engine.broker.storage_full = False
    bench.work()
    while (due_ms := bench.engine.next_due_ms()) is not None and due_ms <= bench.now_ms:
        bench.engine.turn()
    bench.work()
    assert fired(bench) == [(1, 0), (2, 0), (3, 0)]


@pytest.mark.parametrize(
    ("missed", "wanted", "lost"),
    [
        ("once", [(1, 0), (4, 3), (5, 0)], 0),
        ("skip", [(1, 0), (5, 0)], 1),
        ("all", [(1, 0), (2, 1), (3, 1), (4, 1), (5, 0)], 0),
    ],
)
def test_what_was_missed_while_down_follows_its_rule(
    bench: Bench, missed: str, wanted: list[tuple[int, int]], lost: int
) -> None:
    add(bench, missed=missed)
    bench.pass_time(MINUTE_MS)
    bench.now_ms += 3 * MINUTE_MS + 1000
    bench.start()
    for _ in range(5):
        bench.work()
    bench.start()
    bench.work()
    bench.pass_time(MINUTE_MS)
    assert fired(bench) == wanted
    assert shown(bench)["lost_count"] == lost


def test_missed_firings_of_many_schedules_are_looked_for_over_several_turns(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recurrence, "LOOKUPS_PER_TURN", 15)
    for number in range(5):
        add(bench, name=f"tick-{number}")
    bench.now_ms += 10 * MINUTE_MS + 1
    bench.start()
    counts = []
    while (due_ms := bench.engine.next_due_ms()) is not None and due_ms <= bench.now_ms:
        bench.engine.turn()
        counts.append(sum(one.fired_count for one in bench.engine.broker.recurrings.by_name.values()))
    assert counts == [2, 4, 5]


def test_of_very_many_missed_firings_the_latest_are_made_up_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurrence, "MISSED_MAX", 4)
    add(bench, missed="all")
    bench.now_ms += 10 * MINUTE_MS + 1
    bench.start()
    for _ in range(8):
        bench.work()
    assert fired(bench) == [(7, 1), (8, 1), (9, 1), (10, 1)]
    assert shown(bench)["lost_count"] == 1


def test_of_very_many_missed_firings_one_message_says_the_most_that_was_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recurrence, "MISSED_MAX", 4)
    add(bench)
    bench.now_ms += 10 * MINUTE_MS + 1
    bench.start()
    bench.work()
    assert fired(bench) == [(10, 4)]


def test_many_schedules_that_fire_at_once_do_so_in_slices(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurrence, "FIRINGS_PER_TURN", 2)
    for number in range(5):
        add(bench, name=f"s{number}")
    bench.now_ms += MINUTE_MS
    counts = []
    for _ in range(3):
        bench.engine.turn()
        counts.append(bench.engine.broker.names["jobs"].log.next_offset)
    assert counts == [2, 4, 5]


def test_a_paused_schedule_does_not_fire_and_does_not_make_up_for_it(bench: Bench) -> None:
    add(bench, missed="all")
    assert bench.peer().call("schedule_pause", name="tick")["next_ms"] is None
    bench.pass_time(3 * MINUTE_MS + 10)
    bench.start()
    resumed = bench.peer().call("schedule_pause", name="tick", paused=False)
    assert resumed["next_ms"] == 1_700_000_040_000 + 4 * MINUTE_MS
    bench.pass_time(MINUTE_MS)
    assert fired(bench) == [(4, 0)]


def test_a_removed_schedule_does_not_fire(bench: Bench) -> None:
    add(bench)
    assert bench.peer().call("schedule_remove", name="tick") == {}
    bench.pass_time(5 * MINUTE_MS)
    assert fired(bench) == []
    assert bench.engine.next_due_ms() is None


def test_everything_survives_restarts_and_snapshots(bench: Bench) -> None:
    add(bench, missed="skip", time_zone="Europe/Berlin")
    bench.pass_time(MINUTE_MS)
    before = list(fingerprint(bench.engine.broker))
    bench.start()
    assert list(fingerprint(bench.engine.broker)) == before
    bench.keep_house()
    bench.keep_house()
    bench.start()
    assert list(fingerprint(bench.engine.broker)) == before
    assert shown(bench) == {
        "name": "tick",
        "cron": "* * * * *",
        "time_zone": "Europe/Berlin",
        "queue": "jobs",
        "block": BLOCK,
        "missed": "skip",
        "paused": False,
        "next_ms": bench.now_ms + MINUTE_MS,
        "last_ms": bench.now_ms,
        "fired_count": 1,
        "lost_count": 0,
        "created_at_ms": bench.now_ms - MINUTE_MS,
    }


def test_messages_of_a_queue_in_memory_are_published_there(bench: Bench) -> None:
    bench.declare("memory", durable=False)
    add(bench, queue="memory")
    consumer = bench.peer().consume("memory")
    bench.pass_time(MINUTE_MS)
    assert consumer.bodies() == [b"tick"]
    consumer.settle(ACK, (1, 1))
    bench.start()
    bench.work()
    assert fired(bench, "memory") == []
    assert shown(bench)["fired_count"] == 1


def test_schedules_are_listed_by_name_in_pages(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b", "a", "c", "other"):
        add(bench, name=name)
    peer = bench.peer()

    def names(**arguments: Any) -> tuple[list[str], bool]:
        page = peer.call("schedule_list", **arguments)
        return [one["name"] for one in page["schedules"]], page["more"]

    assert names() == (["a", "b", "c", "other"], False)
    assert names(prefix="o") == (["other"], False)
    assert names(after="a", limit=2) == (["b", "c"], True)
    monkeypatch.setattr(module, "PAGE_BYTES", 1)
    assert names() == (["a"], True)


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"cron": "61 * * * *"}, "bad-setting", "characters 1 to 2"),
        ({"cron": 5}, "bad-setting", "cron"),
        ({"time_zone": "Mars/Base"}, "bad-setting", "time zone"),
        ({"missed": "twice"}, "bad-setting", "once, skip, all"),
        ({"queue": "nowhere"}, "unknown-queue", "nowhere"),
        ({"name": ""}, "bad-name", "name"),
        ({"block": "text"}, "bad-setting", "not bytes"),
        ({"block": b"junk"}, "bad-setting", "block"),
        ({"block": BLOCK + b"x"}, "bad-setting", "bytes follow"),
        ({"block": blocks.encode_block([b"a", b"b"])}, "bad-setting", "more than one"),
        ({"block": blocks.encode_block([b"a"], properties=[{"delay_ms": 5}])}, "bad-setting", "later"),
        ({"colour": "red"}, "bad-setting", "colour"),
    ],
)
def test_a_wrong_schedule_is_refused_saying_why(bench: Bench, changes: dict[str, Any], code: str, said: str) -> None:
    arguments = {"name": "tick", "cron": "* * * * *", "queue": "jobs", "block": BLOCK} | changes
    refusal = bench.peer().refusal("schedule_add", **arguments)
    assert refusal.code == code
    assert said in refusal.message


def test_what_does_not_exist_is_refused(bench: Bench) -> None:
    for command in ("schedule_remove", "schedule_pause"):
        assert bench.peer().refusal(command, name="tick").code == "unknown-schedule"


class FinalCalendar:
    """Fires once, in a minute, and never again."""

    def check(self, cron: str, zone: str) -> None:
        """Everything is right."""

    def next_ms(self, cron: str, zone: str, after_ms: int) -> int | None:
        del cron, zone
        return None if after_ms >= 1_700_000_040_000 + MINUTE_MS else 1_700_000_040_000 + MINUTE_MS

    def previous_ms(self, cron: str, zone: str, before_ms: int) -> int | None:
        del cron, zone, before_ms
        return None


def test_a_line_that_fires_no_more_is_at_rest(bench: Bench) -> None:
    bench.engine.calendar = FinalCalendar()
    add(bench)
    bench.pass_time(MINUTE_MS)
    assert fired(bench) == [(1, 0)]
    assert shown(bench)["next_ms"] is None
    assert bench.engine.next_due_ms() is None
    refusal = bench.peer().refusal("schedule_add", name="n", cron="c", queue="jobs", block=BLOCK)
    assert "never fires" in refusal.message


def test_a_broker_without_a_calendar_knows_no_recurring_schedules(bench: Bench) -> None:
    bench.engine.calendar = None
    refusal = bench.peer().refusal("schedule_add", name="n", cron="* * * * *", queue="jobs", block=BLOCK)
    assert refusal.code == "unsupported"


class ForgetfulCalendar(FinalCalendar):
    """Knows no time zone any more."""

    def next_ms(self, cron: str, zone: str, after_ms: int) -> int | None:
        raise Refused("bad-setting", f"there is no time zone {zone!r}")

    def previous_ms(self, cron: str, zone: str, before_ms: int) -> int | None:
        return self.next_ms(cron, zone, before_ms)


@pytest.mark.parametrize("missed", ["once", "skip", "all"])
@pytest.mark.parametrize("restarted", [True, False])
def test_a_schedule_whose_time_zone_is_not_known_any_more_is_paused(bench: Bench, missed: str, restarted: bool) -> None:
    add(bench, missed=missed)
    calendar, bench.engine.calendar = bench.engine.calendar, ForgetfulCalendar()
    bench.now_ms += 3 * MINUTE_MS
    if restarted:
        bench.start()
        calendar, bench.engine.calendar = bench.engine.calendar, ForgetfulCalendar()
    bench.work()
    assert fired(bench) == []
    assert shown(bench)["paused"]
    assert "no time zone" in bench.peer().refusal("schedule_pause", name="tick", paused=False).message
    bench.engine.calendar = calendar
    bench.peer().call("schedule_pause", name="tick", paused=False)
    bench.pass_time(MINUTE_MS)
    assert fired(bench) == [(4, 0)]
