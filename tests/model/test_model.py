"""T2: core against a naive model, message by message, in whatever order Hypothesis finds (I1 to I14).

``PENSTOCK_MODEL_EXAMPLES`` and ``PENSTOCK_MODEL_STEPS`` say how much; nightly is 20,000 x 200.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.model.core import CoreUnderTest, Publishing
from tests.sim.bodies import SELECTOR, block_of

from penstock.core.group import Group
from penstock.core.groupstate import ANY_VERSION
from penstock.core.queue import Queue
from penstock.core.session import Session
from penstock.core.transacting import StateWrite, TransactedBlock, Transaction
from penstock.core.values import (
    ACK,
    EXPIRED_FATES,
    EXTEND,
    NACK,
    NO_DELAY,
    REJECT,
    RELEASE,
    REQUEUE,
    STARTED,
    SYNCED,
    WRITTEN,
    GroupSettings,
    QueueSettings,
    Refused,
)

EXAMPLES = int(os.environ.get("PENSTOCK_MODEL_EXAMPLES", "500"))
STEPS = int(os.environ.get("PENSTOCK_MODEL_STEPS", "50"))

_NAMES = ("a", "b", "m")
_some = st.integers(0, 1 << 16)
_settings = st.builds(
    QueueSettings,
    lease_ms=st.sampled_from([100, 1000, 30_000]),
    max_failures=st.sampled_from([0, 1, 2, 3]),
    backoff_min_ms=st.sampled_from([0, 100]),
    backoff_max_ms=st.sampled_from([100, 3000]),
    dead_letter=st.sampled_from([None, "graveyard"]),
    dedup_window_ms=st.sampled_from([0, 0, 500, 1 << 31]),
    dedup_count_max=st.sampled_from([1, 4, 100_000]),
    breaker_failures=st.sampled_from([0, 0, 1, 2, 5]),
    breaker_wait_ms=st.sampled_from([99, 1000]),
    ttl_ms=st.sampled_from([0, 0, 200, 5000]),
    on_expired=st.sampled_from(EXPIRED_FATES),
    expires_ms=st.sampled_from([0, 0, 1000, 40_000, 100_000]),
)


_GROUPS = {
    "": GroupSettings(),
    "billing": GroupSettings(mode="single", breaker_failures=1, breaker_wait_ms=100),
    "audit": GroupSettings(mode="keyed", on_dead="hold", breaker_failures=2, breaker_wait_ms=99),
    "europe": GroupSettings(where=SELECTOR, breaker_failures=3, breaker_wait_ms=1),
    "orders": GroupSettings(mode="keyed", where=SELECTOR),
    "watch": GroupSettings(ephemeral=True),
}


class CoreMachine(RuleBasedStateMachine):
    """Commands in any order, some of them nonsense."""

    def __init__(self) -> None:
        super().__init__()
        self.core = CoreUnderTest()
        self.sequences: dict[tuple[int, str], int] = {}
        self.sent: list[tuple[int, str, Publishing]] = []
        self.settings: dict[str, QueueSettings] = {}

    # -- choosing ------------------------------------------------------------------------------------------------------

    def _session(self, choice: int) -> Session | None:
        sessions = list(self.core.broker.sessions.values())
        return sessions[choice % len(sessions)] if sessions else None

    def _queue(self, choice: int) -> Queue | None:
        queues = list(self.core.broker.queues.values())
        return queues[choice % len(queues)] if queues else None

    def _group(self, queue: Queue | None, choice: int) -> Group | None:
        groups = list(queue.groups.values()) if queue is not None else []
        return groups[choice % len(groups)] if groups else None

    # -- definitions ---------------------------------------------------------------------------------------------------

    @initialize(first=_settings, second=_settings, third=_settings, filtered=st.booleans())
    def begin(self, first: QueueSettings, second: QueueSettings, third: QueueSettings, filtered: bool) -> None:
        values = {**third.as_map(), "durable": False}
        self.settings = {"a": first, "b": second, "m": QueueSettings(**values)}
        for name in _NAMES:
            self.core.declare(name, self.settings[name])
        for number in range(2):
            self.connect(producer=0)
            for queue in range(3):
                self.consume(number, queue, 0, (3 + queue, 1 << 20), 0)
        if filtered:
            self.declare_group(0, "audit", 0)
            self.consume(0, 0, 1, (5, 1 << 20), 0)

    @rule(name=st.sampled_from(_NAMES))
    def declare(self, name: str) -> None:
        self.core.declare(name, self.settings[name])

    @rule(producer=_some)
    def connect(self, producer: int) -> None:
        if len(self.core.broker.sessions) < 4:
            session = self.core.open_session()
            known = [None, *self.core.broker.producers]
            self.core.open_producer(session, known[producer % len(known)])
            for number, name in enumerate(_NAMES, 1):
                if name in self.core.broker.names:
                    self.core.open_route(session, number, name)

    @rule(choice=_some, lost=st.booleans())
    def disconnect(self, choice: int, lost: bool) -> None:
        session = self._session(choice)
        if session is not None:
            self.core.close_session(session, lost)

    @rule(choice=_some)
    def purge(self, choice: int) -> None:
        queue = self._queue(choice)
        if queue is not None and choice % 3 != 1:
            self.core.purge(queue)

    @rule(choice=_some)
    def delete(self, choice: int) -> None:
        queue = self._queue(choice)
        if queue is not None and choice % 3 == 0:
            self.core.delete(queue)

    @rule(choice=_some, name=st.sampled_from(list(_GROUPS)), start=st.sampled_from([0, 0, 3, 1 << 62]))
    def declare_group(self, choice: int, name: str, start: int) -> None:
        queue = self._queue(choice)
        if queue is not None and (queue.durable or name in ("", "watch")):
            lasting = self.core.shadow.queues[queue.number].lasting()
            if start and not lasting and name != "watch":
                start = 0  # the first one may not drop anything
            self.core.declare_group(queue, name, _GROUPS[name], start)

    @rule(choice=_some, group=_some)
    def delete_group(self, choice: int, group: int) -> None:
        found = self._group(self._queue(choice), group)
        if found is not None and choice % 3 == 0:
            self.core.delete_group(found)

    @rule(choice=_some, group=_some, paused=st.sampled_from([True, False, False]))
    def pause(self, choice: int, group: int, paused: bool) -> None:
        queue = self._queue(choice)
        owner = queue if group % 2 else self._group(queue, group)
        if owner is not None:
            self.core.pause(owner, paused)

    @rule()
    def expire_producers(self) -> None:
        self.core.expire_producers()

    # -- publishing ----------------------------------------------------------------------------------------------------

    @rule(
        choice=_some,
        blocks=st.lists(
            st.tuples(st.integers(0, 2), st.integers(1, 6), st.sampled_from([0, 0, 0, 1])), min_size=1, max_size=3
        ),
        level=st.sampled_from([SYNCED, WRITTEN]),
        commit=st.sampled_from([True, True, False]),
        again=st.sampled_from([False, False, True]),
        asks=st.sampled_from([False, False, True]),
    )
    def publish(
        self, choice: int, blocks: list[tuple[int, int, int]], level: int, commit: bool, again: bool, asks: bool
    ) -> None:
        session = self._session(choice)
        if session is None:
            return
        frame = []
        for index, count, gap in blocks:
            stream = (session.producer, _NAMES[index])
            first = self.sequences.get(stream, 1) + gap
            self.sequences[stream] = first + count
            uids = self.core.new_uids(count)
            if again and self.sent:  # some of them were published before
                uids = (*self.sent[-1][2].uids, *uids)[:count]
            frame.append(Publishing(index + 1, level, first, uids, asks))
            self.sent.append((session.producer, _NAMES[index], frame[-1]))
        self.core.publish(session, frame)
        if commit:
            for number in self.core.broker.queues:
                self.core.make_visible(number, part=9)
            self.core.dispatch()

    @rule(choice=_some, block=_some)
    def publish_again(self, choice: int, block: int) -> None:
        session = self._session(choice)
        mine = [sent for sent in self.sent if session is not None and sent[0] == session.producer]
        if session is not None and mine:
            self.core.publish(session, [mine[block % len(mine)][2]])

    @rule(full=st.booleans())
    def fill_disk(self, full: bool) -> None:
        self.core.broker.storage_full = self.core.shadow.storage_full = full

    @rule(choice=_some, part=st.integers(0, 5))
    def commit(self, choice: int, part: int) -> None:
        queue = self._queue(choice)
        if queue is not None:
            self.core.make_visible(queue.number, part)

    # -- consuming -----------------------------------------------------------------------------------------------------

    @rule(
        choice=_some,
        queue=_some,
        group=_some,
        credit=st.sampled_from([(1, 1 << 20), (3, 1 << 20), (20, 500), (9, 1)]),
        priority=st.sampled_from([0, 0, 0, 2]),
        choosy=st.booleans(),
    )
    def consume(
        self, choice: int, queue: int, group: int, credit: tuple[int, int], priority: int, choosy: bool = False
    ) -> None:
        session, found = self._session(choice), self._group(self._queue(queue), group)
        if session is not None and found is not None and len(session.consumers) < 4:
            number = max(session.consumers, default=0) + 1
            self.core.consume(session, found, number, credit, priority, choosy)

    @precondition(lambda self: any(session.consumers for session in self.core.broker.sessions.values()))
    @rule(choice=_some, number=_some, credit=st.sampled_from([(0, 0), (1, 100), (30, 1 << 20)]))
    def flow(self, choice: int, number: int, credit: tuple[int, int]) -> None:
        session = self._session(choice)
        if session is not None and session.consumers:
            self.core.set_credit(session, list(session.consumers)[number % len(session.consumers)], *credit)

    @precondition(lambda self: any(session.consumers for session in self.core.broker.sessions.values()))
    @rule(choice=_some, number=_some, release=st.booleans())
    def cancel(self, choice: int, number: int, release: bool) -> None:
        session = self._session(choice)
        if session is not None and session.consumers:
            self.core.cancel(session, list(session.consumers)[number % len(session.consumers)], release)

    @rule()
    def dispatch(self) -> None:
        self.core.dispatch()

    @precondition(lambda self: self.core.broker.sifting)
    @rule(number=_some, count=st.sampled_from([1, 3, 100]))
    def sift(self, number: int, count: int) -> None:
        self.core.sift(number, count)

    @rule()
    def bury(self) -> None:
        self.core.bury()

    @rule(duration_ms=st.sampled_from([1, 99, 100, 1000, 31_000]), dispatch=st.booleans())
    def pass_time(self, duration_ms: int, dispatch: bool) -> None:
        self.core.pass_time(duration_ms)
        if dispatch:
            self.core.dispatch()

    # -- settling ------------------------------------------------------------------------------------------------------

    @precondition(lambda self: any(session.leases for session in self.core.broker.sessions.values()))
    @rule(
        choice=_some,
        outcome=st.sampled_from([ACK, ACK, ACK, NACK, NACK, RELEASE, REJECT, EXTEND, STARTED, REQUEUE]),
        starts=st.lists(st.tuples(_some, st.integers(0, 9)), min_size=1, max_size=4),
        duration_ms=st.sampled_from([NO_DELAY, 0, 150, 40_000]),
        stale=st.sampled_from([False, False, False, True]),
        dispatch=st.booleans(),
    )
    def settle(
        self, choice: int, outcome: int, starts: list[tuple[int, int]], duration_ms: int, stale: bool, dispatch: bool
    ) -> None:
        sessions = [session for session in self.core.broker.sessions.values() if session.leases]
        session = sessions[choice % len(sessions)]
        held = list(self.core.shadow.sessions[session.number].tags)
        tags = range(session.next_tag + 1) if stale else held
        ranges = []
        for start, length in starts:
            first = tags[start % len(tags)]
            last = first + length if stale else max(tag for tag in held if first <= tag <= first + length)
            ranges.append((first, last))
        self.core.settle(session, outcome, ranges, duration_ms, f"reason {choice % 3}")
        if dispatch:
            self.core.dispatch()

    @rule(
        choice=_some,
        starts=st.lists(st.tuples(_some, st.integers(0, 3)), max_size=3),
        names=st.lists(st.sampled_from(["a", "b", "a", "b", "m", "graveyard"]), max_size=3),
        writes=st.lists(
            st.tuples(_some, _some, st.sampled_from(["x", "y"]), st.sampled_from([0, 0, 0, 1])), max_size=3
        ),
        stale=st.sampled_from([False, False, False, True]),
    )
    def transact(
        self,
        choice: int,
        starts: list[tuple[int, int]],
        names: list[str],
        writes: list[tuple[int, int, str, int]],
        stale: bool,
    ) -> None:
        session = self._session(choice)
        if session is None:
            return
        held = list(self.core.shadow.sessions[session.number].tags)
        tags = range(session.next_tag + 1) if stale else held
        acked = {tags[(start + more) % len(tags)] for start, length in starts for more in range(length + 1) if tags}
        blocks = [self._transacted(name, choice % 3 + 1) for name in names]
        drawn = [self._write(*write) for write in writes]
        distinct = {write[:3]: write for write in drawn if write is not None}
        self.core.transact(session, Transaction([(t, t) for t in sorted(acked)], blocks, list(distinct.values())))

    def _transacted(self, name: str, count: int) -> TransactedBlock:
        return "", name, count, block_of(self.core.new_uids(count), with_ids=True)

    def _write(self, queue: int, group: int, key: str, error: int) -> StateWrite | None:
        found = self._group(self._queue(queue), group)
        if found is None:
            return None
        version = self.core.shadow.queues[found.queue.number].groups[found.number].state.get(key, (0, b""))[0]
        value = bytes((group % 128,)) if group % 3 else b""
        return found.queue.name, found.name, key, ANY_VERSION if group % 5 == 0 else version + error, value

    @precondition(lambda self: any(session.leases for session in self.core.broker.sessions.values()))
    @rule(choice=_some, tag=_some, other=_some)
    def move(self, choice: int, tag: int, other: int) -> None:
        session, group = self._session(choice), self._group(self._queue(other), tag)
        if session is not None and group is not None and group in group.queue.keepers():
            if other % 2:
                self.core.resume(session, tag % (session.next_tag + 1))
            else:
                self.core.move(session, tag % (session.next_tag + 1), group)

    # -- restarts and refusals -----------------------------------------------------------------------------------------

    @rule(lost=st.sampled_from([0, 0, 1, 2, 5]))
    def restart(self, lost: int) -> None:
        definitions = 8  # the queues and producers that every example begins with stay
        self.core.restart(min(lost, max(0, len(self.core.facts) - definitions)))

    @rule(choice=_some)
    def a_refused_command_changes_nothing(self, choice: int) -> None:
        session, queue = self._session(choice), self._queue(choice)
        if session is None or queue is None:
            return
        refused: list[Any] = [
            lambda: self.core.open_producer(session, None),
            lambda: self.core.open_route(session, 9, "nowhere"),
            lambda: self.core.cancel(session, 999, False),
            lambda: self.core.declare(queue.name, QueueSettings(lease_ms=12_345)),
        ]
        try:
            refused[choice % len(refused)]()
        except Refused:
            return
        raise AssertionError("a command that had to be refused was carried out")

    @invariant()
    def both_agree(self) -> None:
        self.core.check()


CoreMachine.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    derandomize="PENSTOCK_MODEL_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
TestCoreAgainstTheModel = CoreMachine.TestCase
