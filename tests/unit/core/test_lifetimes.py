"""Queues that end by themselves."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.core.harness import Core

from penstock.core import definitions, delivery, firing, groups, holders, lifetimes, scheduling, settling
from penstock.core.bindings import bind, declare_exchange, unbind
from penstock.core.exchange_settings import ExchangeSettings
from penstock.core.facts import (
    Bound,
    Declared,
    Deleted,
)
from penstock.core.matching import Destination
from penstock.core.queue import Queue
from penstock.core.scheduling import Part
from penstock.core.session import Session
from penstock.core.values import ACK, EPHEMERAL_NUMBERS_FROM, REJECT, QueueSettings, Refused, parse_settings

LIFE_MS = 8_000
STEP_MS = LIFE_MS // lifetimes.LOOKS_PER_LIFE


class Time:
    """Moves a core's clock as the engine does: it looks whenever a look is due."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.expired: list[lifetimes.Expired] = []

    def look(self) -> None:
        self.expired += lifetimes.end_unused(self._core.broker, self._core.now_ms)

    def lets_pass(self, duration_ms: int) -> None:
        end_ms, deadlines = self._core.now_ms + duration_ms, self._core.broker.use_deadlines
        self.look()
        while deadlines and deadlines[0][0] <= end_ms:
            self._core.now_ms = max(self._core.now_ms, deadlines[0][0])
            self.look()
        self._core.now_ms = end_ms


@pytest.fixture
def time(core: Core) -> Time:
    return Time(core)


def expiring(core: Core, name: str = "jobs", **settings: Any) -> Queue:
    return core.queue(name, expires_ms=LIFE_MS, **settings)


def test_a_queue_that_nobody_uses_ends_after_its_time_and_takes_its_messages_along(core: Core, time: Time) -> None:
    queue = expiring(core)
    core.fill(queue, 3)
    time.lets_pass(LIFE_MS - 1)
    assert core.broker.names
    time.lets_pass(1)
    assert not core.broker.names
    assert time.expired == [lifetimes.Expired("jobs", LIFE_MS, 3)]
    assert core.recorded(Deleted) == [Deleted(queue.number)]
    time.lets_pass(10 * LIFE_MS)
    assert len(time.expired) == 1
    assert not core.broker.use_deadlines


def test_a_queue_without_an_expiry_is_not_looked_at(core: Core) -> None:
    queue = core.queue()
    assert queue.usage is None
    assert not core.broker.use_deadlines
    queue.touch()


def publish(core: Core, queue: Queue) -> None:
    core.fill(queue, 1)


def declare_again(core: Core, queue: Queue) -> None:
    definitions.declare(core.broker, queue.name, queue.settings, core.now_ms, 100)


def consume_and_leave(core: Core, queue: Queue) -> None:
    delivery.remove_consumer(core.broker, core.consume(core.session(), queue))


def consume_and_disconnect(core: Core, queue: Queue) -> None:
    session = core.session()
    core.consume(session, queue)
    settling.close_session(core.broker, session, True, core.now_ms)


def schedule_and_cancel(core: Core, queue: Queue) -> None:
    schedule(core, queue, core.now_ms + 1)
    scheduling.cancel_all(core.broker, queue)


def schedule(core: Core, queue: Queue, due_ms: int) -> None:
    session = core.session()
    core.route(session, 1, queue.name)
    scheduling.publish(core.broker, session, (1, 0, 1, 1, b"x"), [Part(0, 1, due_ms, b"x")], core.now_ms)


@pytest.mark.parametrize(
    "use", [publish, declare_again, consume_and_leave, consume_and_disconnect, schedule_and_cancel]
)
def test_every_use_between_two_looks_begins_the_time_anew(core: Core, time: Time, use: Any) -> None:
    queue = expiring(core)
    time.lets_pass(LIFE_MS - STEP_MS // 2)
    use(core, queue)
    time.lets_pass(LIFE_MS - 1)
    assert not queue.deleted, "it ended early"
    time.lets_pass(STEP_MS + 1)
    assert queue.deleted, "it ended late"


def test_a_queue_with_a_consumer_of_any_group_is_used(core: Core, time: Time) -> None:
    queue = expiring(core)
    session = core.session()
    core.consume(session, queue, group=core.group(queue, "audit"))
    time.lets_pass(5 * LIFE_MS)
    assert not queue.deleted
    settling.close_session(core.broker, session, True, core.now_ms)
    time.lets_pass(LIFE_MS + STEP_MS)
    assert queue.deleted


def test_what_is_leased_dying_or_scheduled_keeps_its_queue(core: Core, time: Time) -> None:
    leased, dying, waiting = (expiring(core, name) for name in ("leased", "dying", "waiting"))
    session = core.session()
    for number, queue in enumerate((leased, dying), 1):
        core.fill(queue, 1)
        core.consume(session, queue, number=number)
    core.dispatch()
    for number in (1, 2):
        delivery.remove_consumer(core.broker, session.consumers[number])
    core.settle(session, REJECT, (2, 2))
    schedule(core, waiting, core.now_ms + 3 * LIFE_MS)
    time.lets_pass(2 * LIFE_MS)
    assert set(core.broker.queues.values()) == {leased, dying, waiting}
    core.settle(session, ACK, (1, 1))
    settling.bury(core.broker, core.broker.dying[0], b"x", core.now_ms, 100)
    time.lets_pass(LIFE_MS + STEP_MS)
    assert core.broker.names.keys() == {"waiting", "dying.dead"}
    core.now_ms += LIFE_MS
    scheduling.release_due(core.broker, core.now_ms)
    time.lets_pass(LIFE_MS + STEP_MS)
    assert waiting.deleted


def test_a_dead_letter_queue_lives_as_long_as_what_it_takes_dead_letters_of(core: Core, time: Time) -> None:
    target = expiring(core, "jobs.dead", dead_letter="jobs.dead")
    source = core.queue("jobs")
    time.lets_pass(3 * LIFE_MS)
    assert not target.deleted
    definitions.delete(core.broker, source, False, False)
    time.lets_pass(LIFE_MS + STEP_MS)
    assert target.deleted


def test_a_queue_that_a_schedule_publishes_to_lives_while_that_is_not_paused(core: Core, time: Time) -> None:
    queue = expiring(core)
    definition = {
        "name": "nightly",
        "cron": "0 3 * * *",
        "zone": "UTC",
        "queue": "jobs",
        "block64": "",
        "missed": "once",
    }
    firing.add(core.broker, definition, core.now_ms + 100 * LIFE_MS, core.now_ms)
    time.lets_pass(3 * LIFE_MS)
    assert not queue.deleted
    firing.pause(core.broker, firing.find(core.broker, "nightly"), True, 0)
    time.lets_pass(LIFE_MS + STEP_MS)
    assert queue.deleted


def test_an_altered_expiry_begins_anew_and_none_ends_the_looking(core: Core, time: Time) -> None:
    queue = expiring(core)
    time.lets_pass(LIFE_MS - 1)
    definitions.alter(core.broker, queue, {"expires_ms": 2 * LIFE_MS}, core.now_ms)
    time.lets_pass(2 * LIFE_MS - 1)
    assert not queue.deleted
    definitions.alter(core.broker, queue, {"expires_ms": 0}, core.now_ms)
    time.lets_pass(5 * LIFE_MS)
    assert not queue.deleted
    assert not core.broker.use_deadlines
    definitions.alter(core.broker, queue, {"expires_ms": LIFE_MS}, core.now_ms)
    definitions.alter(core.broker, queue, {"lease_ms": 1000}, core.now_ms)
    time.lets_pass(LIFE_MS)
    assert queue.deleted


def test_after_recovery_the_time_begins_anew(core: Core, time: Time) -> None:
    queue = expiring(core)
    time.lets_pass(LIFE_MS - 1)
    core.broker.reopen(core.now_ms)
    time.lets_pass(LIFE_MS - 1)
    assert not queue.deleted
    time.lets_pass(1)
    assert queue.deleted


def test_many_that_end_at_once_end_a_part_a_turn(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifetimes, "LOOKS_PER_TURN", 3)
    for number in range(7):
        core.queue(f"q{number}", expires_ms=LIFE_MS)
    ended = []
    for now_ms in (core.now_ms, core.now_ms + LIFE_MS):
        while core.broker.use_deadlines and core.broker.use_deadlines[0][0] <= now_ms:
            ended.append(len(lifetimes.end_unused(core.broker, now_ms)))
    assert sum(ended) == 7
    assert max(ended) <= 3


@pytest.mark.parametrize(
    "arguments",
    [
        {"expires_ms": 999},
        {"expires_ms": -1},
        {"expires_ms": True},
        {"expires_ms": "1h"},
        {"ephemeral": 1},
        {"ephemeral": True, "durable": True},
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        parse_settings(arguments)
    assert refused.value.refusal.code == "bad-setting"


# -- ephemeral ---------------------------------------------------------------------------------------------------------


def ephemeral(core: Core, session: Session | None = None, name: str = "temp") -> Queue:
    settings = parse_settings({"ephemeral": True})
    queue, created = definitions.declare(core.broker, name, settings, core.now_ms, 100)
    if created and session is not None:
        lifetimes.remember_queue(session, queue)
    return queue


def test_an_ephemeral_queue_is_in_memory_and_leaves_no_fact(core: Core) -> None:
    session = core.session()
    before = len(core.facts), core.broker.next_number
    queue = ephemeral(core, session)
    assert not queue.durable
    assert queue.number >= EPHEMERAL_NUMBERS_FROM <= queue.group.number
    groups.pause(core.broker, queue, True)
    groups.pause(core.broker, queue, False)
    definitions.alter(core.broker, queue, {"lease_ms": 1000}, core.now_ms)
    core.consume(session, queue)
    settling.close_session(core.broker, session, False, core.now_ms)
    assert queue.deleted
    assert (len(core.facts), core.broker.next_number) == before
    assert not core.recorded(Declared)


def test_it_ends_with_its_last_consumer_though_its_declarer_stays(core: Core) -> None:
    queue = ephemeral(core, core.session())
    first, second = core.session(), core.session()
    core.fill(queue, 4)
    core.consume(first, queue)
    core.consume(second, queue, group=core.group(queue, "watch", ephemeral=True))
    settling.close_session(core.broker, first, True, core.now_ms)
    assert core.broker.names
    holders.close_consumer(core.broker, second, 1, core.now_ms)
    assert queue.deleted
    assert not core.broker.dying


def test_without_a_consumer_it_ends_with_the_connection_that_declared_it(core: Core) -> None:
    declarer, consumer = core.session(), core.session()
    left, kept = ephemeral(core, declarer, "left"), ephemeral(core, declarer, "kept")
    core.consume(consumer, kept)
    settling.close_session(core.broker, declarer, False, core.now_ms)
    assert left.deleted
    assert core.broker.names == {"kept": kept}
    settling.close_session(core.broker, consumer, False, core.now_ms)
    assert kept.deleted


def test_a_session_forgets_queues_that_ended_before_it(core: Core) -> None:
    session = core.session()
    for number in range(5):
        queue = ephemeral(core, session, f"temp-{number}")
        definitions.delete(core.broker, queue, False, False)
    assert len(session.ephemeral_queues) == 1


def test_bindings_to_it_are_not_recorded_and_go_with_it(core: Core) -> None:
    exchange, _ = declare_exchange(core.broker, "events", ExchangeSettings("fanout"), core.now_ms, 10)
    queue = ephemeral(core, core.session())
    destination = Destination.to_queue(queue.number)
    bind(core.broker, exchange, destination, "", {}, 10)
    assert unbind(core.broker, exchange, destination, "", {})
    bind(core.broker, exchange, destination, "", {}, 10)
    assert not core.recorded(Bound)
    assert exchange.bindings
    lifetimes.end_if_left(core.broker, queue)
    assert not exchange.bindings


def test_nobodys_dead_letters_may_go_to_it(core: Core) -> None:
    ephemeral(core)
    memory = QueueSettings(durable=False, dead_letter="temp")
    with pytest.raises(Refused, match="is ephemeral"):
        definitions.declare(core.broker, "m", memory, core.now_ms, 100)
    core.queue("jobs", durable=False, dead_letter="later")
    with pytest.raises(Refused, match="takes the dead letters of memory queue 'jobs'"):
        ephemeral(core, name="later")
    own = parse_settings({"ephemeral": True, "dead_letter": "own"})
    assert definitions.declare(core.broker, "own", own, core.now_ms, 100)[1]


def test_numbers_of_ephemeral_queues_are_of_this_life() -> None:
    numbers = {ephemeral(Core(boot_epoch=epoch)).number for epoch in (1, 2)}
    assert len(numbers) == 2
