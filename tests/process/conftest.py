"""Real broker processes for tests; each is ended by its own process id, however the test ends."""

import contextlib
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio
from tests.process.broker import BrokerProcess, MakeBroker


@pytest_asyncio.fixture
async def make_broker(tmp_path: Path) -> AsyncIterator[MakeBroker]:
    """Return a function that makes brokers, on a directory of the test's own unless one is named."""
    made: list[BrokerProcess] = []

    def make(directory: Path = tmp_path, port: int = 0, settings: Mapping[str, str] | None = None) -> BrokerProcess:
        made.append(BrokerProcess(directory, port, settings))
        return made[-1]

    yield make
    for broker in made:
        await broker.kill()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Return a function that mounts a file system of so many bytes. Skips where mounting is not allowed."""
    with contextlib.ExitStack() as mounted:

        def mount(size_bytes: int) -> Path:
            place = tmp_path / "disk"
            place.mkdir()
            command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(place)]
            try:
                done = subprocess.run(command, capture_output=True, text=True)
            except FileNotFoundError:
                pytest.skip("there is no mount command here")
            if done.returncode:
                pytest.skip(f"mounting a small file system is not allowed here: {done.stderr.strip()}")
            mounted.callback(subprocess.run, ["umount", "-l", str(place)], check=True)
            return place

        yield mount
