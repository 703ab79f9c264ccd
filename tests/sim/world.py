"""One simulated broker on one simulated disk, with its clients, its commit steps, its crashes and its clock."""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import Callable, Sequence

from tests.sim.bodies import uids_of
from tests.sim.client import Asked, Client, Connection, Sent
from tests.sim.disk import Crashed, Loss, SimFileSystem
from tests.sim.faults import Faults
from tests.sim.history import History
from tests.sim.judge import Expected
from tests.sim.namespaces import refusal_of_queue
from tests.sim.options import EXCHANGES, INSIDE, QUEUES, SPACE, Options
from tests.sim.probe import Probe
from tests.sim.recovering import recover
from tests.sim.rot import check_rot
from tests.sim.shadow import Shadow
from tests.sim.state import ShadowQueue
from tests.sim.violation import Violation

from penstock.core.queue import Queue
from penstock.engine.blocks import parse_stored
from penstock.engine.engine import Commit, Engine
from penstock.engine.housekeeping import AwaitDurable, Cycle, Housekeeping, Io, Step
from penstock.engine.interface import Load, StoredBlock
from penstock.engine.recovery import fingerprint
from penstock.storage.errors import Damaged, StorageError, StorageFull
from penstock.storage.journal import Journal

START_MS = 1_700_000_000_000
_BOOT_ATTEMPTS_MAX = 20
_DOWN_MS = (0, 0, 1000, 200_000)
"""How long the broker is down after a crash: things come due meanwhile."""
_KNOWN_UIDS = 12


class World:
    """Everything of one seed."""

    engine: Engine
    journal: Journal
    housekeeping: Housekeeping
    probe: Probe

    def __init__(self, seed: int, rng: random.Random, options: Options, print_trace: bool = False) -> None:
        self.rng = rng
        self.options = options
        self.now_ms = START_MS
        self.boot_epoch = 0
        self.fs = SimFileSystem(seed)
        self.faults = Faults(rng, options)
        self.history = History()
        self.clients = [Client(number, self) for number in range(options.clients + 1)]
        self.storage_failed = False
        self.delivered = 0
        self.crashes = 0
        self.commit: Commit | None = None
        self._commit_state = ""
        self._cycle: Cycle | None = None
        self._cycle_step: Step | None = None
        self._loads: deque[tuple[Load, dict[int, StoredBlock] | None]] = deque()
        self._wants_turn = False
        self._requests = 0
        self._uids = 0
        self._known_uids: dict[str, deque[int]] = {}
        self._print = print_trace
        self._hash = hashlib.sha256()
        self.quiet = False
        self.boot()

    # -- the trace -----------------------------------------------------------------------------------------------------

    def trace(self, line: str) -> None:
        """Note what happens: the same for the same seed (I17)."""
        self._hash.update(line.encode())
        if self._print:
            print(f"{self.now_ms - START_MS:>9} {line}", flush=True)

    @property
    def trace_hash(self) -> str:
        """The hash of everything that happened so far."""
        return self._hash.hexdigest()

    def next_request(self) -> int:
        """Return a request id."""
        self._requests += 1
        return self._requests

    def new_uids(self, count: int) -> tuple[int, ...]:
        """Return numbers for new messages."""
        first = self._uids + 1
        self._uids += count
        return tuple(range(first, first + count))

    def draw_uids(self, queue: str, count: int) -> tuple[int, ...]:
        """Return new messages for a queue; where it deduplicates, some that were published there before."""
        uids = self.new_uids(count)
        if not self.options.deduplicates(queue):
            return uids
        known = self._known_uids.setdefault(queue, deque(maxlen=_KNOWN_UIDS))
        drawn = tuple(self.rng.choice(known) if known and self.rng.random() < 0.3 else uid for uid in uids)
        for uid in drawn:
            if uid not in uids:
                self.history.resent[uid] = None  # after its window, and after a deletion, it is stored once more
        known.extend(drawn)
        return drawn

    def draw_uids_for(self, exchange: str, routing_key: str, count: int) -> tuple[int, ...]:
        """Return new messages for this way, and some that went it before: queues that deduplicate know them."""
        uids = self.new_uids(count)
        known = self._known_uids.setdefault(f"{exchange}/{routing_key}", deque(maxlen=_KNOWN_UIDS))
        drawn = tuple(self.rng.choice(known) if known and self.rng.random() < 0.2 else uid for uid in uids)
        self.history.resent |= dict.fromkeys(uid for uid in drawn if uid not in uids)
        known.extend(drawn)
        return drawn

    @property
    def shadow(self) -> Shadow:
        """What must hold."""
        return self.probe.shadow

    # -- boot, crash, restart ------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Recover and start; recovery may crash, and is tried again."""
        for _ in range(_BOOT_ATTEMPTS_MAX):
            self.boot_epoch += 1
            self.fs.hook = self.faults.at_boot(self.fs, self.quiet)
            try:
                self._recover()
                return
            except Damaged as damaged:
                raise Violation("I1", f"synced data is missing or damaged: {damaged}") from damaged
            except Crashed as crashed:
                mode = self.draw_loss()
                self.trace(f"recovery crashes at {crashed}, {mode.value}")
                self.crashes += 1
                self.fs = self.fs.crash(mode)
        raise Violation("I20", "recovery never ends")

    def _recover(self) -> None:
        recovered = recover(self.fs, self.options, self.boot_epoch, lambda: self.now_ms)
        self.housekeeping = recovered.housekeeping
        self.fs.hook = self.faults.running(self.fs, self.quiet)
        self._start(recovered.engine, recovered.engine.journal, recovered.end)

    def _start(self, engine: Engine, journal: Journal, end: int) -> None:
        self.engine, self.journal = engine, journal
        shadow = self.history.after_crash(end, self.boot_epoch)
        engine.wake = self._wake
        for queue in shadow.queues.values():
            queue.used_ms = self.now_ms
        self.probe = Probe(engine, shadow, self.history)
        self.probe.compare()
        self._recount()
        self.trace(f"started, epoch {self.boot_epoch}, {sum(q.open_count() for q in shadow.queues.values())} messages")
        self._wants_turn = True

    def _recount(self) -> None:
        """Every open message is on disk, as it was published (I1, I6, I12)."""
        for number, queue in self.engine.broker.queues.items():
            if not queue.settings.durable:
                continue
            self._recount_schedule(queue)
            for block in queue.log.all_blocks():
                try:
                    uids = uids_of(parse_stored(self.journal.read(block.position, block.size_bytes))[1])
                except StorageError as error:
                    raise Violation("I1", f"{queue.name} {block} cannot be read: {error}") from error
                wanted = tuple(self.history.identity[number, offset] for offset in range(block.first, block.end))
                if uids != wanted:
                    raise Violation("I6", f"{queue.name} {block}: {uids} on disk, {wanted} published")

    def _recount_schedule(self, queue: Queue) -> None:
        for entry in queue.schedule.entries() if queue.schedule is not None else ():
            try:
                uids = uids_of(parse_stored(self.journal.read(entry.position, entry.size_bytes))[1])
            except StorageError as error:
                raise Violation("I1", f"{queue.name} scheduled {entry} cannot be read: {error}") from error
            ids = range(entry.first_id, entry.end_id)
            wanted = tuple(self.history.waiting[queue.number, number] for number in ids)
            if uids != wanted:
                raise Violation("I6", f"{queue.name} scheduled {entry}: {uids} on disk, {wanted} published")

    def draw_loss(self) -> Loss:
        """Choose what a crash loses."""
        return self.rng.choice(list(Loss))

    def crash(self, reason: str, mode: Loss) -> None:
        """The process is gone, now; start again on what the disk kept."""
        self.trace(f"crash: {reason}, {mode.value}")
        self.crashes += 1
        self.fs = self.fs.crash(mode)
        self._forget_process()
        if self.rng.random() < self.options.rot_odds:
            self.trace(f"rot: {check_rot(self.fs, self.rng, self.options, self.history)}")
        if not self.quiet:
            self.now_ms += self.rng.choice(_DOWN_MS)
        self.boot()

    def restart(self) -> None:
        """Stop in good order and start again: nothing may change (I18)."""
        self.trace("restart")
        self.pump(lambda: self.commit is None and not self.engine.gathered_bytes and not self.engine.urgent)
        self.probe.compare()
        # What an ephemeral group held back is gone after a restart, and nothing else is.
        queues = self.shadow.queues.values()
        ephemeral = any(group.settings.ephemeral for queue in queues for group in queue.groups.values())
        before = [repr(part) for part in fingerprint(self.engine.broker)]
        try:
            self.journal.close()
        except StorageError as error:
            self.storage_failure(error)
            return
        self.fs = self.fs.crash(self.draw_loss())
        self._forget_process()
        self.boot()
        after = [repr(part) for part in fingerprint(self.engine.broker)]
        if before != after and not ephemeral:
            raise Violation("I18", f"before the restart {before}, after it {after}")

    def _forget_process(self) -> None:
        self.commit = None
        self._cycle = self._cycle_step = None
        self._loads.clear()
        self.storage_failed = False
        for client in self.clients:
            client.connection = None

    # -- the driver's part ---------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._wants_turn = True

    def turn(self) -> bool:
        """Have a turn if one was asked for, or is due."""
        due_ms = self.engine.next_due_ms()
        if not self._wants_turn and (due_ms is None or due_ms > self.now_ms):
            return False
        self._wants_turn = False
        self.engine.turn()
        return True

    def commit_step(self) -> bool:
        """Take the commit under way one step further: begin, write, sync, committed."""
        if self.commit is None:
            self.commit = self.engine.begin()
            self._commit_state = "begun"
            return self.commit is not None
        try:
            self._commit_step(self.commit)
        except StorageFull:
            self.trace("disk full")
            self.engine.broker.storage_full = self.shadow.storage_full = True
        except StorageError as error:
            self.storage_failure(error)
        return True

    def _commit_step(self, commit: Commit) -> None:
        self.trace(f"commit {commit.batch.position:#x} {self._commit_state}")
        if self._commit_state == "begun":
            self.journal.write(commit.batch)
            self.history.written_end = commit.batch.end
            self._commit_state = "written"
            if commit.pending.has_written:
                self.engine.written(commit)
        elif self._commit_state == "written":
            self.history.synced_end = self.journal.sync()
            self._commit_state = "synced"
        else:
            self.commit = None
            self.engine.committed(commit)
            self._consider_housekeeping(idle=False)

    def _consider_housekeeping(self, idle: bool) -> None:
        if self._cycle is None and self.housekeeping.is_due(idle=idle):
            self.trace("housekeeping")
            self._cycle = self.housekeeping.cycle()

    def house_step(self) -> bool:
        """Take housekeeping one step further, as the driver does; False when it waits or has nothing to do."""
        if self._cycle is None:
            return False
        step, result = self._cycle_step, None
        try:
            if isinstance(step, Io):
                self.trace("housekeeping I/O")
                result = step.call()
            elif isinstance(step, AwaitDurable) and self._is_waiting_for(step.position):
                return False
            self._cycle_step = self._cycle.send(result)
        except StopIteration:
            self._cycle = self._cycle_step = None
        except StorageFull:
            self.engine.broker.storage_full = self.shadow.storage_full = True
            self._cycle = self._cycle_step = None
        except StorageError as error:
            self.storage_failure(error)
        return True

    def _is_waiting_for(self, position: int) -> bool:
        if self.engine.blocks.durable_position >= position:
            return False
        if self.commit is None:
            self.commit_step()
        return self.commit is not None

    def find_room(self) -> None:
        """The disk has room again."""
        self.engine.broker.storage_full = self.shadow.storage_full = False

    def storage_failure(self, error: StorageError) -> None:
        """Storage failed for good: everyone is told, nothing is confirmed, the process ends (I2)."""
        self.trace(f"storage failed: {type(error).__name__}")
        self.engine.failed(error, "storage-failed")
        for client in self.clients:
            if client.connection is not None and not client.connection.aborted:
                raise Violation("I2", f"{client.name} was not told that storage failed")
        self.storage_failed = True
        self.crash("storage failed", self.draw_loss())

    def mark(self) -> None:
        """Write the idle mark, as the driver does after a quiet second."""
        if self.commit is None and not self.journal.staged_bytes:
            try:
                self.journal.mark(self.now_ms)
            except StorageFull:
                return
            except StorageError as error:
                self.storage_failure(error)
            else:
                self._consider_housekeeping(idle=True)

    def load_step(self) -> bool:
        """Take the oldest load one step further: read, then hand over."""
        self._loads += [(load, None) for load in self.engine.loads]
        self.engine.loads.clear()
        if not self._loads:
            return False
        load, blocks = self._loads.popleft()
        if blocks is not None:
            load.done(blocks)
            self._wake()
            return True
        try:
            blocks = {ref.position: load.parse(self.journal.read(ref.position, ref.size_bytes)) for ref in load.blocks}
        except StorageError as error:
            raise Violation("I1", f"a block that is needed cannot be read: {error}") from error
        self._loads.appendleft((load, blocks))
        return True

    def pump(self, done: Callable[[], bool], steps_max: int = 100_000) -> None:
        """Work without new commands until ``done``; what never ends is a violation of I20."""
        for _ in range(steps_max):
            busy = self.load_step()
            busy = self.turn() or busy
            busy = self.house_step() or busy
            if self.commit is not None or self.engine.urgent or self.journal.staged_bytes:
                busy = self.commit_step() or busy
            if not busy and done():
                return
            if not busy and not self._next_time():
                raise Violation("I20", "nothing is left to do, and it is not done")
        raise Violation("I20", f"not done after {steps_max} steps")

    def _next_time(self) -> bool:
        due_ms = self.engine.next_due_ms()
        if due_ms is None:
            return False
        self.now_ms = max(self.now_ms, due_ms)
        return True

    # -- what clients need ---------------------------------------------------------------------------------------------

    def ensure_declared(self, connection: Connection, name: str) -> None:
        """Declare a queue if it does not exist."""
        if name == INSIDE and SPACE not in self.shadow.namespaces:
            connection.request("namespace_declare", namespace=SPACE, **self.options.limits)
        if name not in self.shadow.names and name in (*QUEUES, INSIDE):
            settings = self.options.settings[name] | ({"expires_ms": 0} if self.quiet else {})
            code = refusal_of_queue(self.shadow, name)
            connection.declare(Asked("queue_declare", -1, code=code), name, settings)

    def ensure_exchange(self, connection: Connection, name: str) -> None:
        """Declare an exchange if it does not exist."""
        if name not in self.shadow.exchanges.names and name in EXCHANGES:
            connection.request("exchange_declare", exchange=name, **self.options.exchanges[name])

    def check_stored_once(self, blocks: list[Sent]) -> None:
        """Note which messages may rightly be stored twice: their first queue was deleted, or lived in memory."""
        for sent in blocks:
            for uid in sent.uids:
                if uid in self.history.stored_uids and not self._stored_in(sent, uid):
                    self.history.resent[uid] = None

    def _stored_in(self, sent: Sent, uid: int) -> bool:
        queue: ShadowQueue | None = self.shadow.names.get(sent.queue)
        places = [*self.history.identity.items(), *self.history.waiting.items()]
        return queue is not None and any(number == queue.number and stored == uid for (number, _), stored in places)

    def check_confirmed(self, uids: Sequence[int], expected: Expected) -> None:
        """A confirmed message was stored (I1)."""
        for uid in uids:
            if uid not in self.history.stored_uids:
                raise Violation("I1", f"message {uid} was confirmed ({expected}) and never stored")
