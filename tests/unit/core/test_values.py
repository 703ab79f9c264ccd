from collections.abc import Callable
from typing import Any

import pytest

from penstock.core.values import (
    NAME_BYTES_MAX,
    QueueSettings,
    Refused,
    backoff_ms,
    check_name,
    differences,
    parse_group_settings,
    parse_settings,
)


@pytest.mark.parametrize("name", ["jobs", "ünïcödé 名前", "a" * NAME_BYTES_MAX, "with space", "a/../b"])
def test_any_printable_name_up_to_its_limit_is_legal(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", None, 7, b"jobs", "a" * (NAME_BYTES_MAX + 1), "ä" * 128, "a\nb", "a\x7f", "\ud800"]
)
def test_other_names_are_refused(name: Any) -> None:
    with pytest.raises(Refused) as refused:
        check_name(name)
    assert refused.value.refusal.code == "bad-name"


def test_settings_name_each_difference_with_both_values() -> None:
    ours, theirs = QueueSettings(lease_ms=100), QueueSettings(max_failures=9)
    assert differences(ours.as_map(), theirs.as_map()) == "lease_ms is 100, not 30000, max_failures is 5, not 9"
    assert differences(ours.as_map(), QueueSettings(lease_ms=100).as_map()) == ""


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"lease": 3}, "'lease'"),
        ({"durable": 1}, "durable"),
        ({"lease_ms": 99}, "lease_ms"),
        ({"lease_ms": True}, "lease_ms"),
        ({"lease_ms": 30_000.5}, "lease_ms"),
        ({"lease_ms": 12 * 3_600_000 + 1}, "lease_ms"),
        ({"max_failures": -1}, "max_failures"),
        ({"backoff_min_ms": "1"}, "backoff_min_ms"),
        ({"memory_bytes_max": 1}, "memory_bytes_max"),
        ({"backoff_min_ms": 5, "backoff_max_ms": 4}, "backoff_min_ms"),
    ],
)
def test_a_bad_setting_is_refused_by_name(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(Refused, match=named) as refused:
        parse_settings(arguments)
    assert refused.value.refusal.code == "bad-setting"


def test_a_dead_letter_queue_needs_a_legal_name() -> None:
    with pytest.raises(Refused) as refused:
        parse_settings({"dead_letter": ""})
    assert refused.value.refusal.code == "bad-name"


def test_settings_have_their_defaults() -> None:
    assert parse_settings({}) == QueueSettings()
    assert parse_settings({"durable": False, "dead_letter": None}) == QueueSettings(durable=False)


def test_backoff_doubles_up_to_its_maximum_half_of_it_jitter() -> None:
    settings = QueueSettings(backoff_min_ms=1000, backoff_max_ms=10_000)
    for failures, longest in ((1, 1000), (2, 2000), (4, 8000), (5, 10_000), (500, 10_000)):
        waits = [backoff_ms(settings, failures, offset) for offset in range(200)]
        assert longest // 2 <= min(waits) < longest * 0.55
        assert longest * 0.95 < max(waits) <= longest


def test_backoff_is_the_same_in_a_replay() -> None:
    """I17."""
    settings = QueueSettings()
    assert backoff_ms(settings, 3, 42) == backoff_ms(settings, 3, 42)
    assert backoff_ms(QueueSettings(backoff_min_ms=0, backoff_max_ms=0), 3, 42) == 0


@pytest.mark.parametrize("parse", [parse_settings, parse_group_settings])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate_per_s": 0}, "rate_per_s must be messages a second from 1.15741e-05 to 1e+06, or nil, not 0"),
        ({"rate_per_s": -1.5}, "rate_per_s must be messages a second"),
        ({"rate_per_s": 2_000_000}, "rate_per_s must be messages a second"),
        ({"rate_per_s": "100/s"}, "rate_per_s must be messages a second"),
        ({"rate_per_s": True}, "rate_per_s must be messages a second"),
        ({"rate_per_s": float("nan")}, "rate_per_s must be messages a second"),
        ({"rate_per_s": 5, "rate_burst": 0}, "rate_burst must be a whole number from 1 to 1e+06, or nil, not 0"),
        ({"rate_per_s": 5, "rate_burst": 1.5}, "rate_burst must be a whole number"),
        ({"rate_burst": 5}, "rate_burst without a rate_per_s means nothing"),
    ],
)
def test_a_rate_that_makes_no_sense_is_refused(
    parse: Callable[..., Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(Refused) as raised:
        parse(settings)
    assert raised.value.refusal.code == "bad-setting"
    assert message in raised.value.refusal.message


@pytest.mark.parametrize("parse", [parse_settings, parse_group_settings])
def test_a_rate_may_be_whole_or_not_and_may_be_nil(parse: Callable[..., Any]) -> None:
    assert parse({"rate_per_s": 100, "rate_burst": 7}) == parse({"rate_per_s": 100.0, "rate_burst": 7})
    assert parse({"rate_per_s": 0.5}).rate_per_s == 0.5
    assert parse({"rate_per_s": None, "rate_burst": None}) == parse({})
