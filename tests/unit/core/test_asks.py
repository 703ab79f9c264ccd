from typing import Any

import pytest

from penstock.core.asks import DELAY_MS_MAX, NOTHING, Ask, Asks, lone_ask, parse_asks
from penstock.core.facts import AskedRun
from penstock.core.values import TTL_MS_MAX, Refused

NOW_MS = 1_700_000_000_000


def test_messages_without_properties_that_ask_ask_nothing() -> None:
    assert parse_asks([None, {}, {"message_id": "a"}], NOW_MS) == [NOTHING, NOTHING, NOTHING]
    assert NOTHING.due_ms(NOW_MS) == NOW_MS


def test_a_delay_counts_from_now() -> None:
    assert parse_asks([{"delay_ms": 1500}], NOW_MS)[0].due_ms(NOW_MS) == NOW_MS + 1500


def test_a_time_is_what_it_says() -> None:
    assert parse_asks([{"deliver_at_ms": NOW_MS + 7}], NOW_MS)[0].due_ms(NOW_MS) == NOW_MS + 7


def test_a_past_time_is_now() -> None:
    assert Ask(deliver_at_ms=NOW_MS - 1).due_ms(NOW_MS) == NOW_MS


def test_ten_years_ahead_is_the_most() -> None:
    most = [{"delay_ms": DELAY_MS_MAX}, {"deliver_at_ms": NOW_MS + DELAY_MS_MAX}]
    assert [ask.due_ms(NOW_MS) for ask in parse_asks(most, NOW_MS)] == [NOW_MS + DELAY_MS_MAX] * 2


@pytest.mark.parametrize(
    "properties",
    [
        {"delay_ms": DELAY_MS_MAX + 1},
        {"delay_ms": -1},
        {"delay_ms": 1.5},
        {"delay_ms": "5"},
        {"delay_ms": True},
        {"deliver_at_ms": NOW_MS + DELAY_MS_MAX + 1},
        {"deliver_at_ms": [NOW_MS]},
        {"delay_ms": 1, "deliver_at_ms": NOW_MS},
        {"ttl_ms": 0},
        {"ttl_ms": TTL_MS_MAX + 1},
        {"ttl_ms": 1.0},
        {"priority": -1},
        {"priority": 256},
        {"priority": True},
        {"priority": "high"},
    ],
)
def test_what_makes_no_sense_is_refused_naming_the_message(properties: dict[str, object]) -> None:
    with pytest.raises(Refused, match="message 1 of the block") as refused:
        parse_asks([None, properties], NOW_MS)
    assert refused.value.refusal.code == "bad-setting"


def test_a_message_may_ask_for_a_time_to_live_and_a_priority_beside_a_delay() -> None:
    properties = [{"delay_ms": 5, "ttl_ms": 1}, {"priority": 0}, {"ttl_ms": TTL_MS_MAX, "priority": 255}]
    assert parse_asks(properties, NOW_MS) == [
        Ask(delay_ms=5, ttl_ms=1),
        Ask(priority=0),
        Ask(ttl_ms=TTL_MS_MAX, priority=255),
    ]


def test_neighbours_that_ask_the_same_are_one_run_and_priorities_are_bounded() -> None:
    asks = Asks(10, [Ask(), Ask(ttl_ms=5), Ask(ttl_ms=5), Ask(priority=200), Ask(priority=9), Ask()])
    assert asks.runs(10, 6, priority_max=9) == (
        AskedRun(0, 1, 4),
        AskedRun(5, 2, 4),
        AskedRun(0, 2, 9),
        AskedRun(0, 1, 4),
    )
    assert asks.runs(12, 2, priority_max=255) == (AskedRun(5, 1, 4), AskedRun(0, 1, 200))


def test_a_part_that_asks_for_neither_has_no_runs() -> None:
    assert Asks(1, [Ask(delay_ms=5), Ask(), Ask(priority=9)]).runs(1, 2, 9) == ()


def test_a_message_that_the_broker_moves_asks_what_it_did_unless_it_is_dead_or_says_nonsense() -> None:
    assert lone_ask([{"priority": 9, "ttl_ms": 5}], NOW_MS) == Ask(priority=9, ttl_ms=5)
    asking_nothing: list[list[dict[str, Any] | None] | None] = [
        None,
        [None],
        [{}],
        [{"priority": 9, "dead": {}}],
        [{"priority": "high"}],
    ]
    for nothing in asking_nothing:
        assert lone_ask(nothing, NOW_MS) == NOTHING
