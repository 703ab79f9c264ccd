"""From a disk to an engine, in the order that the broker's composition has."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.sim.disk import SimFileSystem
from tests.sim.options import Options

from penstock.core.values import QueueSettings
from penstock.cron import CronCalendar
from penstock.engine.engine import Engine
from penstock.engine.housekeeping import Housekeeping
from penstock.engine.interface import EngineLimits
from penstock.engine.recovery import Recovery
from penstock.net.codec import WireBlockCodec
from penstock.storage.journal import Journal
from penstock.storage.snapshot import SnapshotStore


class Recovered(NamedTuple):
    """An engine ready to serve. Everything below position ``end`` was recovered, nothing above it."""

    engine: Engine
    housekeeping: Housekeeping
    end: int


def recover(fs: SimFileSystem, options: Options, boot_epoch: int, clock_ms: Callable[[], int]) -> Recovered:
    """Recover from a disk; raises StorageError, or Crashed where the disk's hook says so."""
    snapshots = SnapshotStore(fs, "snapshots")
    snapshot = snapshots.load()
    end = snapshot.position if snapshot else 0
    journal = Journal.open(fs, "journal", segment_bytes=options.segment_bytes, boot_epoch=boot_epoch, replay_from=end)
    limits = EngineLimits(
        cache_bytes=options.cache_bytes,
        snapshot_bytes=options.snapshot_bytes,
        reply_bytes_max=options.reply_bytes_max,
        dead_letters=QueueSettings(**options.dead_letters),
    )
    engine = Engine(journal, WireBlockCodec(), limits, boot_epoch, clock_ms, CronCalendar())
    recovery = Recovery(engine)
    if snapshot:
        recovery.restore(snapshot.parts)
    for batch in journal.replay():
        recovery.replay(batch)
        end = max(end, batch.end)
    recovery.check_end(snapshot.position if snapshot else 0, "journal")
    journal.accept()
    recovery.finish()
    return Recovered(engine, Housekeeping(engine, journal, snapshots, options.segment_bytes), end)
