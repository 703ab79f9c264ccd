"""T2 for exchanges: core against a router without cleverness, in whatever order Hypothesis finds (I5, I9, I18).

``PENSTOCK_MODEL_EXAMPLES`` and ``PENSTOCK_MODEL_STEPS`` say how much, as for ``test_model``.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.model.core import CoreUnderTest
from tests.model.test_model import EXAMPLES, STEPS
from tests.sim.bodies import routed_block_of
from tests.sim.exchanges import Way
from tests.sim.judge import Publication

from penstock.core import bindings, fanout
from penstock.core.exchange_settings import ExchangeSettings
from penstock.core.exchanges import Exchange
from penstock.core.matching import Destination
from penstock.core.session import Session
from penstock.core.values import SYNCED, WRITTEN, QueueSettings

_QUEUES = ("a", "b", "c", "m")
_EXCHANGES = ("x", "y", "z")
_KEYS = ("", "a", "a.b")
_some = st.integers(0, 1 << 16)
_exchange_settings = st.one_of(
    st.builds(
        ExchangeSettings,
        type=st.sampled_from(["direct", "fanout", "topic", "headers", "consistent-hash"]),
        alternate=st.sampled_from([None, *_EXCHANGES]),
    ),
    st.builds(ExchangeSettings, type=st.just("consistent-hash"), hash_by=st.just("key")),
)
_blocks = st.tuples(
    st.sampled_from(_EXCHANGES), st.sampled_from(_KEYS), st.integers(1, 6), st.sampled_from([SYNCED, WRITTEN])
)
_rules: dict[str, st.SearchStrategy[tuple[str, dict[str, Any]]]] = {
    "direct": st.tuples(st.sampled_from(_KEYS), st.just({})),
    "fanout": st.tuples(st.sampled_from(_KEYS), st.just({})),
    "topic": st.tuples(st.sampled_from(["#", "*", "a.#", "#.a", "*.*", "#.b.#", "a.b"]), st.just({})),
    "consistent-hash": st.tuples(st.sampled_from(["1", "2", "3"]), st.just({})),
    "headers": st.tuples(
        st.just(""),
        st.sampled_from(
            [{}, {"shape": "round"}, {"x-match": "any", "shape": "square", "size": 0}, {"size": None, "shape": "round"}]
        ),
    ),
}


class RoutingMachine(RuleBasedStateMachine):
    """Exchanges, bindings and queues come and go while producers publish, and send again."""

    def __init__(self) -> None:
        super().__init__()
        self.core = CoreUnderTest()
        self.sequences: dict[tuple[int, str], int] = {}
        self.sent: list[tuple[int, str, Publication]] = []

    def _exchange(self, choice: int) -> Exchange | None:
        found = list(self.core.broker.exchanges.by_number.values())
        return found[choice % len(found)] if found else None

    def _session(self, choice: int) -> Session | None:
        sessions = list(self.core.broker.sessions.values())
        return sessions[choice % len(sessions)] if sessions else None

    def _destination(self, choice: int) -> Destination | None:
        broker = self.core.broker
        found = [*map(Destination.to_queue, broker.queues), *map(Destination.to_exchange, broker.exchanges.by_number)]
        return found[choice % len(found)] if found else None

    @initialize(declared=st.lists(_exchange_settings, min_size=3, max_size=3), data=st.data())
    def begin(self, declared: list[ExchangeSettings], data: st.DataObject) -> None:
        for name in _QUEUES:
            self.declare_queue(name)
        for name, chosen in zip(_EXCHANGES, declared, strict=True):
            self.declare_exchange(name, chosen)
        for choice in range(9):
            self.bind(choice, choice * 5, data)
        self.connect(0)

    @rule(name=st.sampled_from(_QUEUES))
    def declare_queue(self, name: str) -> None:
        if name not in self.core.broker.names:
            self.core.declare(name, QueueSettings(durable=name != "m", memory_bytes_max=8192))

    @rule(choice=_some)
    def delete_queue(self, choice: int) -> None:
        queues = list(self.core.broker.queues.values())
        if queues and choice % 4 == 0:
            self.core.delete(queues[choice % len(queues)])

    @rule(name=st.sampled_from(_EXCHANGES), chosen=_exchange_settings)
    def declare_exchange(self, name: str, chosen: ExchangeSettings) -> None:
        if name not in self.core.broker.exchanges.names:
            bindings.declare_exchange(self.core.broker, name, chosen, self.core.now_ms, 10)

    @rule(choice=_some)
    def delete_exchange(self, choice: int) -> None:
        exchange = self._exchange(choice)
        if exchange is not None and choice % 4 == 0:
            bindings.delete_exchange(self.core.broker, exchange, if_unused=False)

    @rule(choice=_some, where=_some, data=st.data())
    def bind(self, choice: int, where: int, data: st.DataObject) -> None:
        exchange, destination = self._exchange(choice), self._destination(where)
        if exchange is not None and destination is not None:
            key, arguments = data.draw(_rules[exchange.settings.type])
            bindings.bind(self.core.broker, exchange, destination, key, arguments, 1000)

    @rule(choice=_some, which=_some)
    def unbind(self, choice: int, which: int) -> None:
        exchange = self._exchange(choice)
        if exchange is not None and exchange.bindings:
            known = list(exchange.bindings)
            one = known[which % len(known)]
            assert bindings.unbind(self.core.broker, exchange, one.destination, one.routing_key, one.values())

    @rule(producer=_some)
    def connect(self, producer: int) -> None:
        if len(self.core.broker.sessions) < 3:
            session = self.core.open_session()
            known = [None, *self.core.broker.producers]
            self.core.open_producer(session, known[producer % len(known)])

    @rule(choice=_some, lost=st.booleans())
    def disconnect(self, choice: int, lost: bool) -> None:
        session = self._session(choice)
        if session is not None:
            self.core.close_session(session, lost)

    @rule(
        choice=_some,
        blocks=st.lists(_blocks, min_size=1, max_size=4),
        mandatory=st.sampled_from([True, True, False]),
        where=_some,
        data=st.data(),
    )
    def publish(
        self, choice: int, blocks: list[tuple[str, str, int, int]], mandatory: bool, where: int, data: st.DataObject
    ) -> None:
        """Blocks, a new binding, and blocks the same ways again."""
        if not self.core.broker.sessions:
            self.connect(choice)
        session = self._session(choice)
        assert session is not None
        for block in blocks:
            self._publish_one(session, *block, mandatory)
        if where % 2:
            self.bind(where, choice, data)
            for block in blocks:
                self._publish_one(session, *block, mandatory)

    def _publish_one(self, session: Session, name: str, key: str, count: int, level: int, mandatory: bool) -> None:
        route = self._open(session, name, key, mandatory)
        first = self.sequences.get((session.producer, name), 1)
        self.sequences[session.producer, name] = first + count
        uids = self.core.new_uids(count)
        entry = (route, level, first, count, routed_block_of(uids, (name, key) if count % 2 else None))
        self.sent.append((session.producer, name, entry))
        self.core.publish_entries(session, [entry])

    @rule(choice=_some, which=_some)
    def publish_again(self, choice: int, which: int) -> None:
        session = self._session(choice)
        mine = [one for one in self.sent if session is not None and one[0] == session.producer]
        if session is not None and mine:
            entry = mine[which % len(mine)][2]
            if entry[0] in session.routes:
                self.core.publish_entries(session, [entry])

    def _open(self, session: Session, name: str, key: str, mandatory: bool) -> int:
        """Open the route of this way, one number for each; it stays closed while there is no such exchange."""
        route = 1 + _EXCHANGES.index(name) * 100 + _KEYS.index(key) * 10 + mandatory
        source = self.core.broker.exchanges.names.get(name)
        mine = self.core.shadow.sessions[session.number]
        if route not in session.routes and source is not None:
            fanout.open_exchange_route(self.core.broker, session, route, name, key, mandatory, 1000)
            mine.ways[route] = Way(name, source.number, key, mandatory)
        return route

    @rule(full=st.sampled_from([False, False, True]))
    def fill_disk(self, full: bool) -> None:
        self.core.broker.storage_full = self.core.shadow.storage_full = full

    @rule()
    def expire_producers(self) -> None:
        self.core.expire_producers()

    @rule(lost=st.sampled_from([0, 0, 1, 3]))
    def restart(self, lost: int) -> None:
        definitions = len(_QUEUES) + len(_EXCHANGES)  # what every example begins with stays
        self.core.restart(min(lost, max(0, len(self.core.facts) - definitions)))

    @invariant()
    def both_agree(self) -> None:
        self.core.check()


RoutingMachine.TestCase.settings = settings(
    max_examples=max(1, EXAMPLES * 2 // 5),  # a step here is several publishes, each held against everything
    stateful_step_count=STEPS,
    deadline=None,
    derandomize="PENSTOCK_MODEL_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
TestRoutingAgainstTheModel = RoutingMachine.TestCase
