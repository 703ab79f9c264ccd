from penstock.core.timers import Timers

NOW_MS = 1_700_000_000_000


class Sleeper:
    """Something that waits for one time."""

    def __init__(self, due_ms: int | None) -> None:
        self.timer_ms: int | None = None
        self.due_ms = due_ms

    def next_ms(self) -> int | None:
        return self.due_ms


def test_alarms_come_in_order_and_only_when_something_changed() -> None:
    timers, one, other = Timers(), Sleeper(NOW_MS + 50), Sleeper(NOW_MS + 20)
    timers.set(1, one)
    timers.set(1, one)
    timers.set(2, other)
    timers.set(3, Sleeper(None))
    assert timers.next_ms() == NOW_MS + 20
    assert timers.pop(NOW_MS + 19) is None
    assert [timers.pop(NOW_MS + 60) for _ in range(3)] == [(NOW_MS + 20, 2), (NOW_MS + 50, 1), None]
    assert not timers.heap
    assert timers.next_ms() is None
