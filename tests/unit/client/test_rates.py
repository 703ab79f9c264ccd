"""Rates as people write them."""

import pytest

from penstock_client.rates import Rate, per_second


@pytest.mark.parametrize(
    ("rate", "per_s"),
    [("100/s", 100), ("30/min", 0.5), ("5/h", 5 / 3600), ("2/d", 2 / 86_400), (" 1.5 / s ", 1.5), (7, 7), (0.25, 0.25)],
)
def test_a_rate_is_messages_and_a_unit(rate: Rate, per_s: float) -> None:
    assert per_second(rate) == per_s


@pytest.mark.parametrize("rate", ["", "100", "100/m", "/s", "-1/s", "1e3/s", "100/s/s", "a/s"])
def test_anything_else_is_refused_with_an_example(rate: str) -> None:
    with pytest.raises(ValueError, match=r"is no rate: write messages and a unit, as in 100/s, 30/min"):
        per_second(rate)
