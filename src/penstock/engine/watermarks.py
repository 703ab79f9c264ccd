"""Watermarks: producers stop before the disk or the memory has come to its end, consumers go on and make room.

    free disk   0 ........ disk_free_bytes_min ........ + 10 % .........
                   stopped                      as it was        taken again

    memory      0 ........ memory_bytes_max - 10 % ...... memory_bytes_max ....
                   taken again                  as it was        stopped

What the operating system says is asked for by whoever composes the broker, about once a second. In between the reserve
covers the disk (storage rule 9), and windows and bounds the memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from penstock.core.broker import Broker

HYSTERESIS_DIVISOR: Final = 10
"""Producers go on when a tenth of the watermark more is free: not at once, to be stopped again by the next message."""
_UNITS: Final = ("B", "kB", "MB", "GB")


@dataclass(frozen=True, slots=True)
class Marks:
    """Where the watermarks are, in bytes; 0 switches one off."""

    disk_free_bytes_min: int = 0
    memory_bytes_max: int = 0


@dataclass(frozen=True, slots=True)
class Probes:
    """How much there is, in bytes: free on the disk of the data directory, and used by this process."""

    disk_free_bytes: Callable[[], int]
    memory_used_bytes: Callable[[], int]


class Watermarks:
    """Stops producers and lets them go on. ``on_change`` is told every change, as a sentence for the log."""

    def __init__(self, broker: Broker, marks: Marks, probes: Probes, on_change: Callable[[str], None]) -> None:
        self._broker = broker
        self._marks = marks
        self._probes = probes
        self._on_change = on_change
        self._disk_free_bytes = 0
        self._memory_used_bytes = 0
        self._disk_low = False
        self._memory_full = False
        self._unanswered = ""

    def check(self) -> None:
        """Look at both; to be called about once a second."""
        before = (self._disk_low, self._memory_full)
        try:
            self._look_at_disk()
            self._look_at_memory()
            self._unanswered = ""
        except OSError as error:  # no descriptor just now, a file system that went away: it stays as it was
            if str(error) != self._unanswered:
                self._unanswered = str(error)
                self._on_change(f"watermarks cannot be looked at: {error}")
        if before != (self._disk_low, self._memory_full):
            self._broker.set_watermarks(self._disk_low, self._memory_full)
            stopped = self._disk_low or self._memory_full
            self._on_change(f"producers are stopped: {self._reasons()}" if stopped else "producers may publish again")

    def status(self) -> dict[str, str]:
        """Return the lines of STATUS that say why producers are stopped, ``storage`` only if it is the reason."""
        status = {"memory": f"full ({self._memory_text()})" if self._memory_full else "ok"}
        if self._disk_low:
            status["storage"] = f"full ({self._disk_text()})"
        return status

    def _look_at_disk(self) -> None:
        wanted = self._marks.disk_free_bytes_min
        if wanted:
            self._disk_free_bytes = self._probes.disk_free_bytes()
            if self._disk_low:
                wanted += wanted // HYSTERESIS_DIVISOR
            self._disk_low = self._disk_free_bytes < wanted

    def _look_at_memory(self) -> None:
        most = self._marks.memory_bytes_max
        if most:
            self._memory_used_bytes = self._probes.memory_used_bytes()
            if self._memory_full:
                most -= most // HYSTERESIS_DIVISOR
            self._memory_full = self._memory_used_bytes > most

    def _reasons(self) -> str:
        disk = [f"disk {self._disk_text()}"] if self._disk_low else []
        memory = [f"memory {self._memory_text()}"] if self._memory_full else []
        return ", ".join(disk + memory)

    def _disk_text(self) -> str:
        return f"{_text(self._disk_free_bytes)} free, {_text(self._marks.disk_free_bytes_min)} wanted"

    def _memory_text(self) -> str:
        return f"{_text(self._memory_used_bytes)} used, {_text(self._marks.memory_bytes_max)} at most"


def _text(size_bytes: int) -> str:
    amount = float(size_bytes)
    for unit in _UNITS:
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
