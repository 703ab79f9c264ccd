"""What all connections of one server share: the engine, the limits on how many they are, and one flush per loop turn.

The engine calls a connection many times in one turn. Each call only appends to the connection's outgoing list; the hub
writes every list once, at the start of the loop's next turn, so a connection costs one system call per turn.
"""

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from penstock.net.budget import WriteBudget
from penstock.net.heartbeat import TimerWheel
from penstock_client.wire.blocks import BlockChecker
from penstock_client.wire.limits import (
    BODY_BYTES_MAX_DEFAULT,
    FRAME_BYTES_MAX_SLACK,
    HEARTBEAT_MS_DEFAULT,
)

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from penstock.auth.guard import Guard
    from penstock.engine.engine import Engine
    from penstock.net.connection import Connection
    from penstock.net.sink import FrameSink

TOLD_TO_ALL: Final = ("version", "boot_epoch", "uptime_ms", "storage", "memory")
"""What STATUS tells those who are in a namespace: who they talk to, and why their publishes are refused."""
REFUSED_LINGERING_MAX: Final = 128
"""Connections over the limit that are told so and given a moment to read it; any more are cut off unheard."""


@dataclass(frozen=True, slots=True)
class NetOptions:
    """The shell's settings; ``penstock.settings`` documents each with its reason."""

    connections_max: int = 10_000
    connections_per_address_max: int = 2_000
    handshake_timeout_ms: int = 5_000
    heartbeat_ms: int = HEARTBEAT_MS_DEFAULT
    body_bytes_max: int = BODY_BYTES_MAX_DEFAULT
    prefetch_bytes_max: int = 64 * 1024 * 1024
    reply_bytes_max: int = 8 * 1024 * 1024
    window_messages: int = 50_000
    window_bytes: int = 16 * 1024 * 1024

    @property
    def frame_bytes_max(self) -> int:
        """Payload bytes of the largest frame."""
        return self.body_bytes_max + FRAME_BYTES_MAX_SLACK


class Hub:
    """The shared side of connections. One per server."""

    def __init__(
        self,
        engine: "Engine",
        guard: "Guard",
        options: NetOptions,
        log: "FilteringBoundLogger",
        *,
        version: str,
        boot_epoch: int,
        data_dir: str,
        more_status: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self.engine = engine
        self.guard = guard
        self.options = options
        self.log = log
        self.version = version
        self.boot_epoch = boot_epoch
        self.data_dir = data_dir
        self.more_status = more_status
        self.wheel = TimerWheel()
        self.connections: set[Connection] = set()
        self.pressure = False
        self.stopping = False
        self.engine_stopped = False
        self.everyone_left = asyncio.Event()
        self.everyone_left.set()
        self.check_block = BlockChecker(options.body_bytes_max).check
        self._loop = asyncio.get_running_loop()
        self._started_at = time.monotonic()
        self._admitted_count = 0
        self._refused_count = 0
        self._by_address: Counter[str] = Counter()
        self._dirty: list[FrameSink] = []
        self._held: list[Connection] = []

    # Admission

    def admit(self, connection: "Connection", address: str) -> str:
        """Count a connection in; return why not, or nothing."""
        options = self.options
        self.connections.add(connection)
        self.everyone_left.clear()
        if self.stopping:
            return "the broker is stopping"
        if self._admitted_count >= options.connections_max:
            return f"the broker serves {options.connections_max} connections already (server.connections_max)"
        if self._by_address[address] >= options.connections_per_address_max:
            return (
                f"{address} has {options.connections_per_address_max} connections already"
                " (server.connections_per_address_max)"
            )
        self._admitted_count += 1
        self._by_address[address] += 1
        return ""

    def may_linger_refused(self) -> bool:
        """Count a refused connection that waits for its peer to read why; False when too many do."""
        if self._refused_count >= REFUSED_LINGERING_MAX:
            return False
        self._refused_count += 1
        return True

    def leave(self, connection: "Connection", admitted_address: str, refused: bool) -> None:
        """Count a connection out, as it was counted in."""
        self.connections.discard(connection)
        if not self.connections:
            self.everyone_left.set()
        if refused:
            self._refused_count -= 1
        if admitted_address:
            self._admitted_count -= 1
            self._by_address[admitted_address] -= 1
            if not self._by_address[admitted_address]:
                del self._by_address[admitted_address]

    # Writing

    def mark_dirty(self, sink: "FrameSink") -> None:
        """Flush ``sink`` in the loop's next turn."""
        if not self._dirty:
            self._loop.call_soon(self.flush)
        self._dirty.append(sink)

    def flush(self) -> None:
        """Write what connections have gathered."""
        dirty = self._dirty
        self._dirty = []
        for sink in dirty:
            sink.flush()

    def write_budget(self) -> WriteBudget:
        """Return the budget of a new session."""
        options = self.options
        return WriteBudget(options.prefetch_bytes_max, options.reply_bytes_max, options.frame_bytes_max)

    # Reading

    def hold_reading(self, connection: "Connection") -> None:
        """Remember a connection that stopped reading because of pressure."""
        self._held.append(connection)

    def set_pressure(self, pressure: bool) -> None:
        """Take from the engine whether it holds too much that is not durable yet.

        Connections notice as they receive, and are resumed from here, so the quiet ones cost nothing.
        """
        self.pressure = pressure
        if not pressure:
            held = self._held
            self._held = []
            for connection in held:
                connection.relieve()

    def soon(self, callback: Any) -> None:
        """Call back in the loop's next turn: outside of the engine's."""
        self._loop.call_soon(callback)

    # Telling

    def status(self, *, sees_all: bool = True) -> dict[str, Any]:
        """Return the shell's part of STATUS; for who is in a namespace, what is no business of others."""
        status = {
            "version": self.version,
            "boot_epoch": self.boot_epoch,
            "uptime_ms": round((time.monotonic() - self._started_at) * 1000),
            "connections": self._admitted_count,
            "data_dir": self.data_dir,
            "rss_bytes": rss_bytes(),
            **self.more_status(),
        }
        return status if sees_all else {name: status[name] for name in TOLD_TO_ALL if name in status}


def rss_bytes() -> int:
    """Return this process's resident memory; where the system does not tell, its peak."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
