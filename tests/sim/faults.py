"""When the simulated disk fails, and how: at which operation the process dies, a sync fails, or there is no room."""

from __future__ import annotations

import random

from tests.sim.disk import Crashed, SimFileSystem
from tests.sim.options import Options

from penstock.storage.errors import StorageFailed, StorageFull
from penstock.storage.memory import Hook, Operation, PartialWrite

_READS = ("read", "open", "list_directory")


class Faults:
    """Draws a plan of faults for every life of the process."""

    def __init__(self, rng: random.Random, options: Options) -> None:
        self._rng = rng
        self._options = options

    def at_boot(self, fs: SimFileSystem, quiet: bool) -> Hook | None:
        """Recovery: it may crash at any operation."""
        if quiet or self._rng.random() >= self._options.recovery_crash_odds:
            return None
        return _Plan(self._rng, fs, crash_after=self._rng.randint(1, 12))

    def running(self, fs: SimFileSystem, quiet: bool) -> Hook | None:
        """Normal work: a crash, a failing sync, a full disk."""
        if quiet:
            return None
        crash_after = (
            self._rng.randint(1, self._rng.choice([10, 40, 150]))
            if self._rng.random() < self._options.crash_odds
            else 0
        )
        fail_after = self._rng.randint(1, 20) if self._rng.random() < self._options.sync_failure_odds else 0
        return _Plan(self._rng, fs, crash_after, fail_after, self._options.full_odds)


class _Plan:
    """The hook of one life. Zeros mean never."""

    def __init__(
        self, rng: random.Random, fs: SimFileSystem, crash_after: int = 0, sync_fails: int = 0, full_odds: float = 0.0
    ) -> None:
        self._rng = rng
        self._crash_after = crash_after
        self._sync_fails = sync_fails
        self._full_odds = full_odds
        self._count = 0
        self._syncs = 0
        self._full_writes = 0

    def __call__(self, operation: Operation) -> None:
        """Decide about one operation."""
        if operation.kind not in _READS:
            self._count += 1
            if self._count == self._crash_after:
                self._crash(operation)
        if operation.kind in ("sync", "sync_directory"):
            self._syncs += 1
            if self._syncs == self._sync_fails:
                raise StorageFailed("simulated", path=operation.path)
        if operation.kind in ("write", "create") and self._full_odds:
            self._fill(operation)

    def _crash(self, operation: Operation) -> None:
        raise Crashed(f"{operation.kind} {operation.path} {operation.nbytes}")

    def _fill(self, operation: Operation) -> None:
        if not self._full_writes and self._rng.random() < self._full_odds:
            self._full_writes = self._rng.randint(1, 6)
        if self._full_writes:
            self._full_writes -= 1
            full = StorageFull("simulated", path=operation.path)
            if operation.kind == "write":
                raise PartialWrite(self._rng.randint(0, operation.nbytes), full)
            raise full
