import pytest

from penstock.core.asks import DELAY_MS_MAX, NOTHING, Ask, parse_asks
from penstock.core.values import Refused

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
    ],
)
def test_what_makes_no_sense_is_refused_naming_the_message(properties: dict[str, object]) -> None:
    with pytest.raises(Refused, match="message 1 of the block") as refused:
        parse_asks([None, properties], NOW_MS)
    assert refused.value.refusal.code == "bad-setting"
