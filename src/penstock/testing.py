"""The real broker, in this process, for tests: with a clock that tests move and faults they can ask for.

    with TestBroker() as broker:                    # in memory; TestBroker(directory=tmp_path) uses the disk
        async with connect(broker.url) as client:
            ...
            broker.clock.advance(30)                # every lease of 30 s is over now
            broker.drop_connections()               # the network fails; clients reconnect
            broker.fail_next_sync()                 # the disk fails: nothing is confirmed any more, the broker stops

It listens on a free loopback port and runs in a thread of its own, so that blocking and asyncio tests use it alike.
As a pytest plugin this module offers the fixture ``penstock_broker``.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from penstock.app import Broker
from penstock.observe.logging import make_silent_logger
from penstock.settings import Settings
from penstock.storage.errors import StorageFailed
from penstock.storage.filesystem import RealFileSystem
from penstock.storage.memory import MemoryFileSystem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.storage.interface import Buffer, File, FileSystem, Lock

try:
    import pytest
except ImportError:  # usable without pytest
    pytest = None  # type: ignore[assignment]

WAIT_S: Final = 10.0
"""A guard against hanging: nothing here takes anywhere near it."""

_Result = TypeVar("_Result")


class Clock:
    """The broker's time, ms since 1970. It stands still until a test moves it."""

    def __init__(self) -> None:
        self._now_ms = int(time.time() * 1000)
        self._moved: Callable[[], None] = lambda: None

    def __call__(self) -> int:
        """Return now, ms since 1970."""
        return self._now_ms

    def advance(self, seconds: float) -> None:
        """Let time pass; returns when the broker has acted on it."""
        self._now_ms += int(seconds * 1000)
        self._moved()

    def start_at(self, last_ms: int) -> Clock:
        """Never run behind what was recovered."""
        self._now_ms = max(self._now_ms, last_ms)
        return self

    def on_moved(self, moved: Callable[[], None]) -> None:
        """Call ``moved`` after every advance."""
        self._moved = moved


class TestBroker:
    """A broker for tests; a context manager, for ``with`` and ``async with``.

    ``directory`` None keeps everything in memory, which survives ``restart`` and nothing else. ``settings`` are
    sections as in the settings file, such as ``{"limits": {"body_bytes_max": 65536}}``.
    """

    __test__ = False  # not a test class, whatever its name says to pytest

    def __init__(self, directory: Path | str | None = None, settings: dict[str, dict[str, Any]] | None = None) -> None:
        self.clock = Clock()
        self.port = 0
        inner: FileSystem = MemoryFileSystem() if directory is None else RealFileSystem()
        self._fs = _FaultyFileSystem(inner)
        self._sections = {name: dict(section) for name, section in (settings or {}).items()}
        storage = self._sections.setdefault("storage", {})
        storage["data_dir"] = str(directory) if directory is not None else "memory"
        storage.setdefault("disk_reserve_bytes", 0)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._broker: Broker

    @property
    def url(self) -> str:
        """Where to connect."""
        return f"penstock://127.0.0.1:{self.port}"

    @property
    def failure(self) -> str | None:
        """Why the broker stopped by itself, if it did."""
        return self._broker.failure.message if self._broker.failure else None

    def start(self) -> None:
        """Start listening; on the port it had before, after a restart."""
        assert self._thread is None, "the broker is running"
        started: threading.Event = threading.Event()
        errors: list[BaseException] = []
        self._thread = threading.Thread(
            target=self._run, args=(started, errors), name="penstock-test-broker", daemon=True
        )
        self._thread.start()
        assert started.wait(WAIT_S), "the broker did not start"
        if errors:
            self._thread.join()
            self._thread = None
            raise errors[0]

    def stop(self) -> None:
        """Stop as on SIGTERM: what was accepted is finished."""
        if self._thread is not None:
            with contextlib.suppress(RuntimeError):  # it has stopped by itself, as after a failed sync
                self._loop.call_soon_threadsafe(self._broker.want_stop)
            self._thread.join(WAIT_S)
            assert not self._thread.is_alive(), "the broker did not stop"
            self._thread = None

    def restart(self) -> None:
        """Stop and start again: what is durable is there, leases are not."""
        self.stop()
        self.start()

    def drop_connections(self) -> None:
        """Cut every connection without a word, as a failing network does."""
        self._call(self._cut_all)

    def fail_next_sync(self) -> None:
        """Have the disk fail at the next sync; the broker then stops, as it must."""
        self._fs.fail_next_sync = True

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.to_thread(self.stop)

    def _run(self, started: threading.Event, errors: list[BaseException]) -> None:
        with asyncio.Runner() as runner:
            try:
                runner.run(self._serve(started))
            except BaseException as error:  # noqa: BLE001  handed to the thread that waits for the start
                errors.append(error)
                started.set()

    async def _serve(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        server = {"port": self.port, **self._sections.get("server", {})}
        settings = Settings.model_validate({**self._sections, "server": server})
        broker = self._broker = Broker(settings, make_silent_logger(), fs=self._fs, make_clock=self.clock.start_at)
        try:
            self.port = (await broker.listen())[0][1]
            self.clock.on_moved(self._time_moved)
            started.set()
            await broker.wait()
        finally:
            self.clock.on_moved(lambda: None)
            await broker.stop()

    def _time_moved(self) -> None:
        self._call(self._take_turns)

    async def _take_turns(self) -> None:
        for _ in range(2):  # what is due may make more due: a dead letter, a hand-out
            self._broker.driver.wake()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def _cut_all(self) -> None:
        for connection in list(self._broker.hub.connections):
            connection.cut_off()

    def _call(self, make: Callable[[], Coroutine[Any, Any, _Result]]) -> _Result:
        return asyncio.run_coroutine_threadsafe(make(), self._loop).result(WAIT_S)


class _FaultyFileSystem:
    """A file system whose next sync of a file can be made to fail."""

    def __init__(self, inner: FileSystem) -> None:
        self._inner = inner
        self.fail_next_sync = False

    def make_directory(self, path: str) -> bool:
        return self._inner.make_directory(path)

    def list_directory(self, path: str) -> list[str]:
        return self._inner.list_directory(path)

    def exists(self, path: str) -> bool:
        return self._inner.exists(path)

    def create(self, path: str) -> File:
        return _FaultyFile(self, self._inner.create(path))

    def open(self, path: str, *, writable: bool = False) -> File:
        return _FaultyFile(self, self._inner.open(path, writable=writable))

    def rename(self, source: str, target: str) -> None:
        self._inner.rename(source, target)

    def remove(self, path: str) -> None:
        self._inner.remove(path)

    def sync_directory(self, path: str) -> None:
        self._inner.sync_directory(path)

    def allocate(self, path: str, nbytes: int) -> None:
        self._inner.allocate(path, nbytes)

    def lock(self, path: str, holder: str) -> Lock:
        return self._inner.lock(path, holder)


class _FaultyFile:
    def __init__(self, system: _FaultyFileSystem, inner: File) -> None:
        self._system = system
        self._inner = inner

    def write_at(self, offset: int, buffers: Sequence[Buffer]) -> None:
        self._inner.write_at(offset, buffers)

    def read_at(self, offset: int, nbytes: int) -> bytes:
        return self._inner.read_at(offset, nbytes)

    def truncate(self, nbytes: int) -> None:
        self._inner.truncate(nbytes)

    def sync(self) -> None:
        if self._system.fail_next_sync:
            self._system.fail_next_sync = False
            raise StorageFailed("the sync was made to fail by a test")
        self._inner.sync()

    def size(self) -> int:
        return self._inner.size()

    def close(self) -> None:
        self._inner.close()


if pytest is not None:

    @pytest.fixture
    def penstock_broker() -> Iterator[TestBroker]:
        """A broker in memory, gone after the test."""
        with TestBroker() as broker:
            yield broker
