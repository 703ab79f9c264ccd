"""What every broker under measurement offers to the harness."""

import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from benchmarks.processes import BrokerProcess


@dataclass(slots=True)
class Running:
    """A started broker: its process, port, and helper processes that end with it."""

    process: BrokerProcess
    port: int
    start_seconds: float
    helpers: list[BrokerProcess] = field(default_factory=list)
    stop_signal: signal.Signals = signal.SIGKILL

    def stop(self) -> None:
        """End the broker and its helpers. Its data is thrown away, so most brokers are simply killed."""
        self.process.stop(self.stop_signal)
        for helper in self.helpers:
            helper.stop()


class System(Protocol):
    """One broker in one configuration."""

    name: str
    """Short and unique, such as ``nats-sync``: the key in results and on the command line."""
    label: str
    """For tables."""
    family: str
    """Which client and which raw protocol load it: ``penstock``, ``redis``, ``nats`` or ``rabbitmq``."""
    synced: bool
    """True when a confirm means that the message is on disk."""
    flavour: str
    """What the client must know to create a queue, such as ``quorum``; empty otherwise."""

    def missing(self) -> str:
        """Return why this system cannot be measured here, or an empty string."""

    def version(self) -> str:
        """Return broker and client versions, saying where the broker came from."""

    def start(self, directory: Path) -> Running:
        """Start the broker with its data in ``directory``; returns when it accepts connections."""


def wait_until_listening(process: BrokerProcess, port: int, seconds_max: float = 60.0) -> float:
    """Wait for the port and return the seconds since the process was started. Ends the process on failure."""
    try:
        process.wait_for_port(port, seconds_max)
    except BaseException:
        process.stop(signal.SIGKILL)
        raise
    return time.perf_counter() - process.started_at
