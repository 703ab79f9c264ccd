from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from penstock.core.values import Refused
from penstock.cron import LINE_CHARACTERS_MAX, CronCalendar

CALENDAR = CronCalendar()
BERLIN = "Europe/Berlin"


def ms(text: str, zone: str = "UTC", fold: int = 0) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp() * 1000)


def firings(cron: str, zone: str, after: str, count: int) -> list[str]:
    """The next firings after a local time, as local times with their offsets from UTC."""
    found, at_ms = [], ms(after, zone)
    for _ in range(count):
        following = CALENDAR.next_ms(cron, zone, at_ms)
        assert following is not None
        at_ms = following
        found.append(datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(zone)).strftime("%d %H:%M %z"))
    return found


def test_the_next_and_the_last_firing_are_never_the_time_itself() -> None:
    five = ms("2026-03-01T10:05")
    assert CALENDAR.next_ms("*/5 * * * *", "UTC", five) == ms("2026-03-01T10:10")
    assert CALENDAR.next_ms("*/5 * * * *", "UTC", five - 1) == five
    assert CALENDAR.previous_ms("*/5 * * * *", "UTC", five) == ms("2026-03-01T10:00")
    assert CALENDAR.previous_ms("*/5 * * * *", "UTC", five + 1) == five


def test_hours_are_those_of_the_time_zone() -> None:
    assert CALENDAR.next_ms("30 2 * * *", BERLIN, ms("2026-07-01T00:00")) == ms("2026-07-01T00:30")
    assert CALENDAR.next_ms("30 2 * * *", "Asia/Tokyo", ms("2026-07-01T00:00")) == ms("2026-07-01T17:30")


def test_six_fields_begin_with_the_second() -> None:
    assert CALENDAR.next_ms("*/10 * * * * *", "UTC", ms("2026-03-01T10:00:05")) == ms("2026-03-01T10:00:10")


def test_a_line_may_wait_for_years() -> None:
    assert CALENDAR.next_ms("0 0 29 2 *", "UTC", ms("2026-01-01T00:00")) == ms("2028-02-29T00:00")


def test_a_fixed_time_that_a_gap_skips_fires_when_the_gap_is_over_and_only_then() -> None:
    """Clocks go from 02:00 to 03:00."""
    assert firings("30 2 * * *", BERLIN, "2026-03-28T12:00", 2) == ["29 03:00 +0200", "30 02:30 +0200"]


def test_a_fixed_time_that_comes_twice_fires_the_first_time_only() -> None:
    """Clocks go from 03:00 back to 02:00."""
    assert firings("30 2 * * *", BERLIN, "2026-10-24T12:00", 2) == ["25 02:30 +0200", "26 02:30 +0100"]


def test_a_line_with_every_hour_goes_by_the_clock_on_the_wall() -> None:
    assert firings("30 * * * *", BERLIN, "2026-03-29T01:00", 3) == [
        "29 01:30 +0100",
        "29 03:30 +0200",
        "29 04:30 +0200",
    ]
    assert firings("30 * * * *", BERLIN, "2026-10-25T02:00", 3) == [
        "25 02:30 +0200",
        "25 02:30 +0100",
        "25 03:30 +0100",
    ]


@pytest.mark.parametrize("cron", ["30 2 * * *", "*/30 * * * *", "0 */2 * * *", "15 1,2,3 * * *"])
@pytest.mark.parametrize("start", ["2026-03-28T12:00", "2026-10-24T12:00"])
def test_going_back_finds_what_going_forward_found(cron: str, start: str) -> None:
    times = [ms(start, BERLIN)]
    for _ in range(40):
        following = CALENDAR.next_ms(cron, BERLIN, times[-1])
        assert following is not None
        times.append(following)
    assert all(later > earlier for earlier, later in pairwise(times))
    backward = [times[-1] + 1]
    while backward[-1] > times[1]:
        before = CALENDAR.previous_ms(cron, BERLIN, backward[-1])
        assert before is not None
        backward.append(before)
    assert backward[:0:-1] == times[1:]


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("61 * * * *", "the minute of the cron line '61 * * * *', characters 1 to 2, is '61'; it has to be 0 to 59"),
        ("* 24 * * *", "the hour of the cron line '* 24 * * *', characters 3 to 4"),
        ("* *  32 * *", "the day-of-month of the cron line '* *  32 * *', characters 6 to 7"),
        ("* * * 13 *", "the month"),
        ("* * * * 8", "the day-of-week"),
        ("* * * * MOO", "the day-of-week"),
        ("60 * * * * *", "the second of the cron line '60 * * * * *', characters 1 to 2"),
        ("*/0 * * * *", "the minute"),
        ("5-1 * * * *", "the minute"),
        ("1,,2 * * * *", "the minute"),
        ("1/2/3 * * * *", "the minute"),
        ("* * L/2 * *", "the day-of-month"),
        ("* * * * 1#6", "the day-of-week"),
        ("* * * * 1#2/3", "the day-of-week"),
        ("0 0 31 2 *", "the day-of-month"),
        ("* * * *", "has 4 fields; it has to have 5"),
        ("@daily", "has 1 fields"),
        ("", "has 0 fields"),
        ("* " * (LINE_CHARACTERS_MAX // 2) + "*", "at most 256 characters"),
        ("\u0661 * * * *", "the minute"),
    ],
)
def test_a_wrong_line_is_refused_with_the_place_and_the_reason(cron: str, said: str) -> None:
    with pytest.raises(Refused) as refused:
        CALENDAR.check(cron, "UTC")
    assert refused.value.refusal.code == "bad-setting"
    assert said in refused.value.refusal.message


@pytest.mark.parametrize(
    "zone", ["Mars/Olympus", "", "../etc/passwd", "/etc/localtime", "Europe", "a\x00b", "x" * 5000]
)
def test_a_wrong_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(Refused, match="there is no time zone"):
        CALENDAR.check("* * * * *", zone)


@pytest.mark.parametrize("cron", ["0 9 * * MON-FRI", "0 0 L * *", "0 0 LW * *", "0 12 * * 5L", "0 8 * JAN,jul 1#2"])
def test_what_cron_knows_is_taken(cron: str) -> None:
    CALENDAR.check(cron, BERLIN)
    assert CALENDAR.next_ms(cron, BERLIN, ms("2026-01-01T00:00")) is not None
