"""Times the journal alone: staging, writing, recovering, reading back. Prints wall and CPU seconds.

python benchmarks/journal.py [DIRECTORY]        # a new directory inside it takes up to 1.5 GiB and is removed again
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable

from penstock.storage.filesystem import RealFileSystem
from penstock.storage.journal import Journal


def timed(name: str, call: Callable[[], int]) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    count = call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"  {name:<10} {wall:7.2f} s wall {cpu:7.2f} s CPU {cpu / count * 1e6:8.3f} us CPU a record", flush=True)


def opened(directory: str) -> Journal:
    journal = Journal.open(RealFileSystem(), directory)
    for _ in journal.replay():
        pass
    journal.accept()
    return journal


def stage_only(record: bytes, count: int) -> int:
    journal = opened(tempfile.mkdtemp())
    for start in range(0, count, 4000):
        for _ in range(min(4000, count - start)):
            journal.stage((record,), len(record))
        journal.take(0)
    return count


def fill(directory: str, record: bytes, count: int, batch_count: int) -> int:
    journal = opened(directory)
    for start in range(0, count, batch_count):
        for _ in range(min(batch_count, count - start)):
            journal.stage((record,), len(record))
        batch = journal.take(0)
        assert batch is not None
        journal.write(batch)
    journal.sync()
    journal.close()
    return count


def recover(directory: str) -> int:
    journal = Journal.open(RealFileSystem(), directory)
    return sum(len(batch.records) for batch in journal.replay())


def read_back(directory: str, count: int) -> None:
    journal = Journal.open(RealFileSystem(), directory)
    places: list[tuple[int, int]] = []
    for batch in journal.replay():
        if len(places) < count:
            places += [(position, len(payload)) for position, payload in batch.records]
    journal.accept()

    def read_all() -> int:
        for position, nbytes in places:
            journal.read(position, nbytes)
        return len(places)

    timed("read back", read_all)


def main(parent: str | None) -> None:
    timed("stage only", lambda: stage_only(os.urandom(270), 1_000_000))
    for record_bytes, count, batch_count in ((100_000, 10_737, 10), (270, 5_000_000, 4000), (270, 300_000, 1)):
        print(f"{count:,} records of {record_bytes:,} bytes, {batch_count} in a batch")
        record = os.urandom(record_bytes)
        root = tempfile.mkdtemp(dir=parent)
        directory = f"{root}/journal"
        try:
            timed("fill", lambda: fill(directory, record, count, batch_count))  # noqa: B023
            timed("recover", lambda: recover(directory))  # noqa: B023
            timed("recover", lambda: recover(directory))  # noqa: B023
            if batch_count > 1:
                read_back(directory, 100_000)
        finally:
            shutil.rmtree(root)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
