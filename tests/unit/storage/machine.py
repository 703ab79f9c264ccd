"""A process with a journal and snapshots on some file system, and what it may expect to find after a crash."""

from dataclasses import dataclass, field

from penstock.storage.errors import StorageFull
from penstock.storage.interface import FileSystem
from penstock.storage.journal import Journal
from penstock.storage.snapshot import SnapshotStore

JOURNAL = "data/journal"
SNAPSHOTS = "data/snapshots"
SEGMENT_BYTES = 700
"""Two to four batches of these tests, so that segments end often."""

Record = tuple[int, bytes]


@dataclass
class Promises:
    """What was staged, in batches, and how much of it must survive. One object for all lives of a directory."""

    batches: list[list[Record]] = field(default_factory=list)
    synced: int = 0
    """Batches that must survive: a sync returned after them."""
    count: int = 0

    def payload(self, nbytes: int) -> bytes:
        """Return bytes that no other record has."""
        self.count += 1
        return (b"%d." % self.count).ljust(nbytes, b"x")


class Machine:
    """One life of a process. The state it keeps is simply every record so far."""

    def __init__(self, fs: FileSystem, promises: Promises) -> None:
        self.promises = promises
        self.snapshots = SnapshotStore(fs, SNAPSHOTS)
        snapshot = self.snapshots.load()
        replay_from = snapshot.position if snapshot is not None else 0
        self.state: list[Record] = _unpack(snapshot.parts) if snapshot is not None else []
        self.journal = Journal.open(fs, JOURNAL, segment_bytes=SEGMENT_BYTES, replay_from=replay_from, journal_id=7)
        for batch in self.journal.replay():
            self.state += [(position, bytes(payload)) for position, payload in batch.records]
        self._check_promises()
        self.journal.accept()
        promises.synced = len(promises.batches)
        self.time_ms = 1000

    def step(self, action: str) -> None:
        """Do one action: b(atch), B(ig batch), p(ipelined: two batches), s(ync), m(ark), n(ew snapshot), d(iscard)."""
        if action in "bBp":
            self.batch(400 if action == "B" else 30)
            if action == "p":
                self.batch(90)
        elif action == "s":
            self.sync()
        elif action == "m":
            self.sync()
            self.journal.mark(self.time_ms)
        elif action == "n":
            self.sync()
            self.snapshots.write(self.journal.durable_position, _pack(self.state))
        elif action == "d":
            older = self.snapshots.older_position
            if older is not None:
                self.journal.discard_before(older)
        elif action == "c":
            self.journal.close()

    def batch(self, nbytes: int) -> None:
        """Stage three records, take and write them; give up where there is no room."""
        payloads = [self.promises.payload(size) for size in (nbytes, 0, 20)]
        records = [(self.journal.stage([payload[:3], payload[3:]], len(payload)), payload) for payload in payloads]
        self.time_ms += 1
        taken = self.journal.take(self.time_ms)
        assert taken is not None
        self.promises.batches.append(records)
        while True:
            try:
                self.journal.write(taken)
                break
            except StorageFull:
                continue
        self.state += records

    def sync(self) -> None:
        """Sync: from here on everything written must survive."""
        assert self.journal.sync() == self.journal.durable_position
        self.promises.synced = len(self.promises.batches)

    def _check_promises(self) -> None:
        """The recovered state is a prefix of whole batches (I5, I2), with all that was synced (I1), unaltered (I6)."""
        expected: list[Record] = []
        batches = self.promises.batches
        for count in range(len(batches) + 1):
            if len(expected) == len(self.state):
                break
            expected += batches[count] if count < len(batches) else []
        else:
            raise AssertionError("I5: a batch was recovered in part")
        assert self.state == expected, "I6: recovered records differ from those staged"
        assert count >= self.promises.synced, "I1: a synced batch is lost"
        del batches[count:]
        positions = [position for position, _ in self.state]
        assert positions == sorted(set(positions)), "I6: a position was used twice"


def _pack(state: list[Record]) -> list[bytes]:
    return [b"".join(position.to_bytes(8, "big") + len(p).to_bytes(4, "big") + p for position, p in state)]


def _unpack(parts: list[bytes]) -> list[Record]:
    data, records, offset = parts[0], [], 0
    while offset < len(data):
        nbytes = int.from_bytes(data[offset + 8 : offset + 12], "big")
        payload = data[offset + 12 : offset + 12 + nbytes]
        records.append((int.from_bytes(data[offset : offset + 8], "big"), payload))
        offset += 12 + nbytes
    return records
