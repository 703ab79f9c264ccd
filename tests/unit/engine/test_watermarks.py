"""Watermarks with probes that a test sets."""

from __future__ import annotations

import pytest
from tests.unit.core.harness import Core

from penstock.engine.watermarks import Marks, Probes, Watermarks

GB = 1_000_000_000


class Machine:
    """A machine whose disk and memory are what a test says."""

    def __init__(self, **marks: int) -> None:
        self.free_bytes = 10 * GB
        self.used_bytes = 0
        self.broker = Core().broker
        self.said: list[str] = []
        probes = Probes(lambda: self.free_bytes, lambda: self.used_bytes)
        self.watermarks = Watermarks(self.broker, Marks(**marks), probes, self.said.append)

    def stops(self, free_bytes: int = 10 * GB, used_bytes: int = 0) -> bool:
        """Let that much be free and used; return whether producers are stopped then."""
        self.free_bytes, self.used_bytes = free_bytes, used_bytes
        self.watermarks.check()
        return self.broker.stops_producers


def test_producers_stop_below_the_mark_and_go_on_a_tenth_above_it() -> None:
    machine = Machine(disk_free_bytes_min=2 * GB)
    free = [2 * GB, 2 * GB - 1, 2 * GB, 2 * GB + GB // 5 - 1, 2 * GB + GB // 5, 2 * GB]
    assert [machine.stops(free_bytes=one) for one in free] == [False, True, True, True, False, False]


def test_producers_stop_above_the_memory_and_go_on_a_tenth_below_it() -> None:
    machine = Machine(memory_bytes_max=GB)
    used = [GB, GB + 1, GB, GB - GB // 10 + 1, GB - GB // 10, GB]
    assert [machine.stops(used_bytes=one) for one in used] == [False, True, True, True, False, False]


def test_without_marks_nothing_is_asked() -> None:
    machine = Machine()
    assert not machine.stops(free_bytes=0, used_bytes=1 << 60)
    assert machine.watermarks.status() == {"memory": "ok"}


def test_the_reason_is_in_the_status_and_in_the_log() -> None:
    machine = Machine(disk_free_bytes_min=2 * GB, memory_bytes_max=GB)
    machine.stops(free_bytes=1_200_000_000)
    assert machine.watermarks.status() == {"memory": "ok", "storage": "full (1.2 GB free, 2.0 GB wanted)"}
    machine.stops(free_bytes=1_100_000_000, used_bytes=1_500_000_000)
    assert machine.watermarks.status() == {
        "memory": "full (1.5 GB used, 1.0 GB at most)",
        "storage": "full (1.1 GB free, 2.0 GB wanted)",
    }
    machine.stops()
    assert machine.watermarks.status() == {"memory": "ok"}
    assert machine.said == [
        "producers are stopped: disk 1.2 GB free, 2.0 GB wanted",
        "producers are stopped: disk 1.1 GB free, 2.0 GB wanted, memory 1.5 GB used, 1.0 GB at most",
        "producers may publish again",
    ]


def test_what_does_not_change_is_not_said_again() -> None:
    machine = Machine(disk_free_bytes_min=2 * GB)
    for _ in range(5):
        machine.stops(free_bytes=GB)
    assert len(machine.said) == 1


@pytest.mark.parametrize(("size", "text"), [(1, "1 B"), (2_500, "2.5 kB"), (7_300_000_000_000, "7.3 TB")])
def test_sizes_are_told_in_units_that_fit(size: int, text: str) -> None:
    machine = Machine(disk_free_bytes_min=1 << 60)
    machine.stops(free_bytes=size)
    assert f"({text} free" in machine.watermarks.status()["storage"]


def test_what_the_system_does_not_tell_stays_as_it_was_and_is_said_once() -> None:
    machine = Machine(disk_free_bytes_min=2 * GB, memory_bytes_max=GB)
    assert machine.stops(free_bytes=GB)

    def refused() -> int:
        raise OSError(24, "Too many open files")

    told = machine.watermarks._probes
    machine.watermarks._probes = Probes(refused, refused)
    machine.said.clear()
    assert machine.stops()
    assert machine.stops()
    assert machine.said == ["watermarks cannot be looked at: [Errno 24] Too many open files"]
    machine.watermarks._probes = told
    assert not machine.stops()
    machine.watermarks._probes = Probes(refused, refused)
    assert not machine.stops()
    assert len(machine.said) == 3, "it went away, and came again"
