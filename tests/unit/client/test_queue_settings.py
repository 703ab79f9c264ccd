from typing import Any

import pytest

from penstock_client.queue_settings import altered, declared


def test_durations_and_rates_become_those_of_the_protocol() -> None:
    assert declared({"lease": 7, "backoff": (0.5, 60), "rate": "60/min", "max_age": 0, "durable": False}) == {
        "lease_ms": 7000,
        "backoff_min_ms": 500,
        "backoff_max_ms": 60_000,
        "rate_per_s": 1.0,
        "max_age_ms": 0,
        "durable": False,
    }


def test_what_is_none_is_not_said() -> None:
    assert declared({"lease": None, "max_failures": 3}) == {"max_failures": 3}


def test_a_rate_of_zero_takes_the_rate_away_when_altered() -> None:
    assert altered({"rate": 0, "lease": 1}) == {"lease_ms": 1000, "rate_per_s": None, "rate_burst": None}
    assert altered({"rate_burst": 5}) == {"rate_burst": 5}
    assert altered({"rate": "10/s", "rate_burst": 2}) == {"rate_per_s": 10.0, "rate_burst": 2}


@pytest.mark.parametrize("given", [{"leese": 3}, {"lease_ms": 3000}])
def test_what_is_no_setting_is_a_mistake_of_the_caller(given: Any) -> None:
    with pytest.raises(TypeError, match="there are alarm_age"):
        declared(given)


@pytest.mark.parametrize("given", [{"lease": float("inf")}, {"rate": "often"}])
def test_what_is_no_duration_and_no_rate_is_one_too(given: Any) -> None:
    with pytest.raises(ValueError, match=r"is no rate|is seconds"):
        declared(given)
