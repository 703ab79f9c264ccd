"""The token bucket: never more than the rate and one burst, never less than the rate, and no drift."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.rates import RATE_PER_S_MAX, RATE_PER_S_MIN, Bucket, default_burst, make_bucket

START_MS = 1_700_000_000_000


def filling(per_s: float, burst: int) -> Bucket:
    """A bucket that is looked at from START_MS on."""
    bucket = Bucket(per_s, burst)
    assert bucket.available(START_MS) == 0
    return bucket


def test_a_bucket_starts_empty() -> None:
    bucket = filling(100, 50)
    assert bucket.available(START_MS) == 0


def test_it_fills_from_the_first_look_on_and_not_from_the_time_before() -> None:
    bucket = Bucket(100, 50)
    assert [bucket.available(START_MS + ms) for ms in (5000, 5010, 5100)] == [0, 1, 10]


def test_it_fills_by_its_rate() -> None:
    bucket = filling(100, 50)
    assert [bucket.available(START_MS + ms) for ms in (9, 10, 19, 20, 100)] == [0, 1, 1, 2, 10]


def test_it_holds_no_more_than_its_burst() -> None:
    bucket = filling(100, 5)
    assert bucket.available(START_MS + 3_600_000) == 5
    bucket.take(5)
    assert bucket.available(START_MS + 3_600_000) == 0
    assert bucket.available(START_MS + 3_600_010) == 1


def test_time_that_stands_still_or_goes_back_gives_nothing() -> None:
    bucket = filling(1000, 10)
    assert bucket.available(START_MS + 5) == 5
    bucket.take(5)
    assert bucket.available(START_MS + 5) == 0
    assert bucket.available(START_MS - 1000) == 0
    assert bucket.available(START_MS + 6) == 1


@pytest.mark.parametrize(
    ("per_s", "burst", "wait_ms"),
    [
        (1, 1, 1000),
        (100, 10, 10),
        (100, 1, 10),
        (1000, 100, 10),
        (1000, 3, 3),
        (3, 1, 334),
        (1 / 60, 1, 60_000),
        (RATE_PER_S_MIN, 1, 86_400_000),
        (RATE_PER_S_MAX, 100_000, 10),
    ],
)
def test_an_empty_bucket_is_worth_a_look_when_a_token_or_ten_milliseconds_of_them_are_there(
    per_s: float, burst: int, wait_ms: int
) -> None:
    bucket = filling(per_s, burst)
    assert bucket.next_ms() == pytest.approx(START_MS + wait_ms, abs=wait_ms // 1000)
    assert bucket.available(bucket.next_ms()) >= 1


def test_a_bucket_with_enough_is_worth_a_look_at_once() -> None:
    bucket = filling(100, 10)
    bucket.available(START_MS + 50)
    assert bucket.next_ms() == START_MS + 50


def test_handing_out_more_than_there_is_is_a_bug() -> None:
    bucket = filling(100, 10)
    with pytest.raises(AssertionError):
        bucket.take(1)


def test_nothing_drifts_in_an_hour_though_a_token_takes_no_whole_milliseconds() -> None:
    bucket = filling(7, 2)
    now_ms, taken = START_MS, 0
    while now_ms < START_MS + 3_600_000:
        now_ms = bucket.next_ms()
        count = bucket.available(now_ms)
        bucket.take(count)
        taken += count
    assert taken == 7 * 3600


@given(
    per_s=st.floats(RATE_PER_S_MIN, 10_000, allow_nan=False),
    burst=st.integers(1, 1000),
    steps=st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 500)), max_size=50),
)
def test_in_any_span_there_is_at_most_the_rate_and_one_burst(
    per_s: float, burst: int, steps: list[tuple[int, int]]
) -> None:
    bucket = filling(per_s, burst)
    now_ms = START_MS
    taken: list[tuple[int, int]] = []
    for wait_ms, wanted in steps:
        now_ms += wait_ms
        count = min(wanted, bucket.available(now_ms))
        bucket.take(count)
        taken.append((now_ms, count))
    for first in range(len(taken)):
        total = 0
        for at_ms, count in taken[first:]:
            total += count
            assert total <= burst + per_s * (at_ms - taken[first][0]) / 1000 * 1.0001 + 0.001


@pytest.mark.parametrize(("per_s", "burst"), [(0.01, 1), (1, 1), (14, 1), (100, 10), (5000, 500)])
def test_a_burst_is_a_tenth_of_a_second_s_worth(per_s: float, burst: int) -> None:
    assert default_burst(per_s) == burst


def test_settings_make_a_bucket_or_none() -> None:
    assert make_bucket(None, None) is None
    for burst, expected in ((None, 10), (3, 3)):
        bucket = make_bucket(100, burst)
        assert bucket is not None
        bucket.available(START_MS)
        assert bucket.available(START_MS + 60_000) == expected
