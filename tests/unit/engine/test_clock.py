"""The broker's clock neither jumps nor runs backward (I11)."""

from penstock.engine.clock import BrokerClock


class Clocks:
    """A wall clock and a monotonic one, in seconds, set by the test."""

    def __init__(self, wall_s: float, monotonic_s: float) -> None:
        self.wall_s = wall_s
        self.monotonic_s = monotonic_s

    def make(self, last_ms: int) -> BrokerClock:
        return BrokerClock(last_ms, lambda: self.wall_s, lambda: self.monotonic_s)


def test_it_starts_at_wall_time_and_goes_on_with_monotonic_time() -> None:
    clocks = Clocks(1_000.0, 50.0)
    clock = clocks.make(0)
    assert clock() == 1_000_000
    clocks.monotonic_s += 2.5
    assert clock() == 1_002_500


def test_a_wall_clock_that_is_set_changes_nothing() -> None:
    clocks = Clocks(1_000.0, 50.0)
    clock = clocks.make(0)
    for wall_s in (0.0, 1e9, 4e9):
        clocks.wall_s = wall_s
        assert clock() == 1_000_000


def test_after_a_start_behind_the_journal_it_goes_on_from_the_journals_time_and_says_how_far() -> None:
    clocks = Clocks(10.0, 50.0)
    clock = clocks.make(25_000)
    assert clock.behind_ms == 15_000
    assert clock() == 25_000
