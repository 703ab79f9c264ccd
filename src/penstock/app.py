"""Composition: the one place where the parts of a broker are put together, started and stopped.

    settings --> data directory (locked) --> snapshot, journal --> engine (recovered) --> driver --> hub --> server

Stopping goes the other way: accept and read no more, finish the commit and send its confirms, tell the clients, close.
A broker that cannot go on (a failed sync, a broken invariant) tells its clients and stops with the code of its failure;
``run`` turns every expected failure into one line and one exit code.
"""

import asyncio
import gc
import os
import secrets
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from penstock import __version__
from penstock.auth.guard import Guard, ListenRefusedError
from penstock.core.lifetimes import Expired
from penstock.core.values import QueueSettings
from penstock.cron import CronCalendar
from penstock.engine.alarms import BREAKER, Alarm
from penstock.engine.clock import BrokerClock
from penstock.engine.driver import Driver
from penstock.engine.engine import Engine
from penstock.engine.housekeeping import Housekeeping
from penstock.engine.interface import EngineLimits
from penstock.engine.recovery import Recovery
from penstock.engine.watermarks import Marks, Probes, Watermarks
from penstock.failures import EXIT_OK, EXIT_SOFTWARE, Failure, describe
from penstock.net.codec import WireBlockCodec
from penstock.net.hub import Hub, NetOptions, rss_bytes
from penstock.net.server import Server
from penstock.observe.logging import forward_standard_logging, make_logger
from penstock.storage.directory import DataDirectory
from penstock.storage.errors import StorageError, StorageFull
from penstock.storage.filesystem import RealFileSystem
from penstock.storage.journal import Journal
from penstock.storage.snapshot import SnapshotStore

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from penstock.settings import Settings
    from penstock.storage.interface import FileSystem

FAILED_STOP_S: Final = 0.3
"""How long clients get to read that the storage failed: the process ends within a second of it."""

FILES_BESIDE_CONNECTIONS: Final = 256
"""Descriptors for segments, the listener, the loop and the lock."""

CLOCK_BEHIND_MS_MAX: Final = 1_000
"""How far the wall clock may be behind the journal's last time without a warning: two clocks are never quite equal."""

EXPIRE_PRODUCERS_S: Final = 3600.0
LOOK_AROUND_S: Final = 1.0
"""Between two looks at the watermarks and the alarms."""

Clock = Callable[[], int]
"""Returns milliseconds since 1970; never runs backward."""


class Broker:
    """A running broker: opened on its data directory, then listening, then stopped, once."""

    def __init__(
        self,
        settings: "Settings",
        log: "FilteringBoundLogger",
        *,
        fs: "FileSystem | None" = None,
        make_clock: Callable[[int], Clock] = BrokerClock,
        probes: Probes | None = None,
    ) -> None:
        """Lock the data directory and recover what is in it; needs a running loop. Raises StorageError.

        ``make_clock`` gets the time of the last recovered fact, ms since 1970, and returns the broker's clock. Without
        ``probes`` the watermarks follow the machine; the disk's does so only where the file system is the machine's.
        """
        real_disk = fs is None
        fs = fs or RealFileSystem()
        self.settings = settings
        self.log = log
        self.failure: Failure | None = None
        self._stop_wanted = asyncio.Event()
        self._stopped = False
        self._expiry_timer: asyncio.TimerHandle | None = None
        self._look_timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.data = _open_data_directory(fs, str(settings.storage.data_dir))
        collecting = gc.isenabled()
        gc.disable()  # recovery makes millions of objects and no cycles: to look for those took a fifth of its time
        try:
            self._recover(fs, make_clock)
        except BaseException:
            self.data.close()
            raise
        finally:
            if collecting:
                gc.enable()
        self.watermarks = Watermarks(
            self.engine.broker,
            Marks(
                settings.storage.disk_free_bytes_min if real_disk or probes else 0,
                settings.limits.memory_bytes_max,
            ),
            probes or Probes(partial(free_bytes, self.data.path), rss_bytes),
            self._on_watermark,
        )
        self.engine.alarms.on_raised = self._on_alarm
        self.engine.alarms.on_released = self._on_alarm_released
        self.hub = self._make_hub()
        self.server = Server(self.hub)
        self.driver = Driver(
            self.engine,
            self.engine.journal,
            self._loop,
            housekeeping=self._housekeeping,
            reserve=self.data if settings.storage.disk_reserve_bytes else None,
            reserve_bytes=settings.storage.disk_reserve_bytes,
            on_failure=self._on_storage_failure,
            on_pressure=self.hub.set_pressure,
            on_effects=self.hub.flush,
        )

    def _recover(self, fs: "FileSystem", make_clock: Callable[[int], Clock]) -> None:
        storage, data = self.settings.storage, self.data
        snapshots = SnapshotStore(fs, data.snapshot_path)
        snapshot = snapshots.load()
        for damage in snapshots.damaged:
            self.log.warning("snapshot skipped", reason=str(damage), advice="an older one and the journal replace it")
        journal = Journal.open(
            fs,
            data.journal_path,
            segment_bytes=storage.segment_bytes,
            replay_from=snapshot.position if snapshot else 0,
            boot_epoch=data.boot_epoch,
            journal_id=data.journal_id,
        )
        limits, epoch = _engine_limits(self.settings), data.boot_epoch
        self.engine = Engine(journal, WireBlockCodec(), limits, epoch, BrokerClock(0), CronCalendar())
        recovery = Recovery(self.engine)
        if snapshot:
            recovery.restore(snapshot.parts)
        for batch in journal.replay():
            recovery.replay(batch)
        recovery.check_end(snapshot.position if snapshot else 0, str(data.journal_path))
        if storage.disk_reserve_bytes and not data.keep_reserve(storage.disk_reserve_bytes):
            self.log.warning("no room for the disk reserve", advice="free space, or acks may fail on a full disk")
        self._accept(journal)
        recovery.finish()
        self.engine.clock_ms = make_clock(recovery.last_ms)
        self.engine.on_expired = self._on_expired
        self._warn_of_clock(getattr(self.engine.clock_ms, "behind_ms", 0))
        self._housekeeping = Housekeeping(self.engine, journal, snapshots, storage.segment_bytes)
        self.log.debug("recovered", records=recovery.record_count, queues=len(self.engine.broker.queues))

    def _accept(self, journal: Journal) -> None:
        """Have the journal ready; a full disk gets the reserve, which covers what this writes (SEMANTICS 32)."""
        try:
            journal.accept()
        except StorageFull:
            if not self.data.release_reserve():
                raise
            self.log.warning("the disk is full", advice="free space: the reserve is in use")
            journal.accept()

    def _warn_of_clock(self, behind_ms: int) -> None:
        if behind_ms > CLOCK_BEHIND_MS_MAX:
            advice = "set the clock; until it has caught up, the broker's time goes on from where it stopped"
            self.log.warning("the wall clock is behind the journal", behind_ms=behind_ms, advice=advice)

    def _make_hub(self) -> Hub:
        return Hub(
            self.engine,
            Guard(self.settings.server.allow_anonymous),
            _net_options(self.settings),
            self.log,
            version=__version__,
            boot_epoch=self.data.boot_epoch,
            data_dir=self.data.path,
            more_status=lambda: {"last_sync_us": self.driver.last_sync_us} | self.watermarks.status(),
        )

    async def listen(self) -> list[tuple[str, int]]:
        """Accept connections; return the addresses. Raises OSError or ListenRefusedError."""
        addresses = await self.server.listen(self.settings.server.host, self.settings.server.port)
        self._expire_producers()
        self._look_around()
        self.driver.wake()  # what was recovered may be due, whether or not anyone connects
        return addresses

    def want_stop(self) -> None:
        """Have ``wait`` return."""
        self._stop_wanted.set()

    async def wait(self) -> None:
        """Return when the broker shall stop: it was asked to, or it failed."""
        await self._stop_wanted.wait()

    async def stop(self) -> None:
        """Finish what was accepted, tell the clients and close everything. Again: nothing."""
        if self._stopped:
            return
        self._stopped = True
        for timer in (self._expiry_timer, self._look_timer):
            if timer:
                timer.cancel()
        self.server.stop_accepting()
        timeout_s = FAILED_STOP_S if self.failure else self.settings.server.stop_timeout_ms / 1000
        ends_at = self._loop.time() + timeout_s
        try:  # a broker that failed finishes nothing: what it would write may be half right
            if not await self.driver.stop(0 if self.failure else timeout_s / 2) and not self.failure:
                self.log.warning("stopped before everything was on disk", advice="what was not is not confirmed")
        except StorageError as error:
            self._on_storage_failure(error)
        await self.server.close(max(FAILED_STOP_S, ends_at - self._loop.time()))
        self.data.close()

    def fail(self, failure: Failure) -> None:
        """Stop because the broker cannot go on. The first failure is the one that counts."""
        self.failure = self.failure or failure
        self.want_stop()

    def _on_storage_failure(self, error: Exception) -> None:
        self.fail(describe(error, self.settings))

    def _on_expired(self, expired: Expired) -> None:
        unused_s = expired.unused_ms / 1000
        self.log.info("queue expired", queue=expired.queue, unused_s=unused_s, messages=expired.message_count)

    def _on_watermark(self, change: str) -> None:
        self.log.warning("watermark", reason=change)

    def _on_alarm(self, alarm: Alarm) -> None:
        event = "breaker opened, the group tries with little" if alarm.what == BREAKER else "alarm raised"
        self.log.warning(event, **_named(alarm))

    def _on_alarm_released(self, alarm: Alarm) -> None:
        if alarm.what == BREAKER:
            self.log.warning("breaker closed, the group hands out everything", **_named(alarm))
        else:
            self.log.info("alarm released", **_named(alarm))

    def _look_around(self) -> None:
        self._look_timer = self._loop.call_later(LOOK_AROUND_S, self._look_around)
        self.watermarks.check()
        self.engine.alarms.check()

    def _expire_producers(self) -> None:
        self.engine.expire_idle_producers()
        self._expiry_timer = self._loop.call_later(EXPIRE_PRODUCERS_S, self._expire_producers)


def run(settings: "Settings") -> int:
    """Serve until SIGTERM or SIGINT, or until the broker cannot go on; return the exit code of the process."""
    log = make_logger(settings.log.format, settings.log.level)
    forward_standard_logging(log)
    _allow_files(settings.server.connections_max + FILES_BESIDE_CONNECTIONS)
    try:
        import uvloop

        new_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    except ImportError:  # not built for this platform
        new_loop = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        failure = runner.run(serve(settings, log))
    if failure:
        log.error(failure.message, exit_code=failure.exit_code)
    return failure.exit_code if failure else EXIT_OK


async def serve(settings: "Settings", log: "FilteringBoundLogger") -> Failure | None:
    """Serve until told to stop; return why not, or why no longer. Installs signal handlers."""
    try:
        Guard(settings.server.allow_anonymous).check_listen(settings.server.host)
        broker = Broker(settings, log)
    except (ListenRefusedError, StorageError) as error:
        return describe(error, settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, broker.want_stop)
    loop.set_exception_handler(partial(_on_unhandled, broker))
    try:
        for host, port in await broker.listen():
            log.info("listening", host=host, port=port, data_dir=broker.data.path, version=__version__, pid=os.getpid())
        gc.collect()
        gc.freeze()  # what was recovered stays: collecting again would only look at it again
        await broker.wait()
        log.info("stopping")
    except (OSError, ListenRefusedError) as error:
        broker.fail(describe(error, settings))
    await broker.stop()
    log.info("stopped")
    return broker.failure


def _on_unhandled(broker: Broker, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what no one caught. A bug in what all connections share ends the broker: it must not go on half right.

    asyncio has closed the connection whose own handling failed; what the operating system refuses (no descriptors) is
    its everyday business.
    """
    del loop
    error = context.get("exception")
    broker.log.error(context["message"], exc_info=error)
    own = "transport" in context or "protocol" in context
    if isinstance(error, AssertionError) or not (own or error is None or isinstance(error, OSError)):
        broker.fail(Failure(EXIT_SOFTWARE, f"internal error: {error!r}; nothing confirmed is lost, please report this"))


def _named(alarm: Alarm) -> dict[str, Any]:
    return {name: value for name, value in alarm._asdict().items() if name != "since_ms" and value is not None}


def free_bytes(path: str) -> int:
    """Return how much of the disk under ``path`` an ordinary process may still take."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def _open_data_directory(fs: "FileSystem", path: str) -> DataDirectory:
    holder = f"process {os.getpid()} on {socket.gethostname()}"
    return DataDirectory.open(fs, path, holder=holder, new_journal_id=secrets.randbits(64))


def _engine_limits(settings: "Settings") -> EngineLimits:
    limits = settings.limits
    return EngineLimits(
        queues_max=limits.queues_max,
        groups_per_queue_max=limits.groups_per_queue_max,
        exchanges_max=limits.exchanges_max,
        bindings_max=limits.bindings_max,
        transaction_operations_max=limits.transaction_operations_max,
        transaction_bytes_max=limits.transaction_bytes_max,
        prefetch_messages_max=limits.prefetch_messages_max,
        prefetch_bytes_max=limits.prefetch_bytes_max,
        reply_bytes_max=limits.reply_bytes_max,
        window_messages=limits.window_messages,
        window_bytes=limits.window_bytes,
        cache_bytes=settings.storage.cache_bytes,
        snapshot_bytes=settings.storage.snapshot_bytes,
        dead_letters=QueueSettings(**settings.dead_letters.model_dump()),
        producer_idle_ms=limits.producer_idle_days * 24 * 3600 * 1000,
    )


def _net_options(settings: "Settings") -> NetOptions:
    server, limits = settings.server, settings.limits
    return NetOptions(
        connections_max=server.connections_max,
        connections_per_address_max=server.connections_per_address_max,
        handshake_timeout_ms=server.handshake_timeout_ms,
        heartbeat_ms=server.heartbeat_ms,
        body_bytes_max=limits.body_bytes_max,
        prefetch_bytes_max=limits.prefetch_bytes_max,
        reply_bytes_max=limits.reply_bytes_max,
        window_messages=limits.window_messages,
        window_bytes=limits.window_bytes,
    )


def _allow_files(count: int) -> None:
    """Raise this process's limit of open files to what all connections need, as far as the system lets it."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # a sandbox may forbid it; then it has set the limit itself
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
