"""Deliberately broken exchanges (T27)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final
from unittest.mock import patch

from penstock.core import fanout
from penstock.core.broker import Broker, Confirm
from penstock.core.exchanges import ExchangeStream
from penstock.core.fanout import ExchangeRoute
from penstock.core.log import QueueLog
from penstock.core.routing import Plan
from penstock.engine.housekeeping import Housekeeping
from penstock.engine.shared import SharedBlocks


@contextmanager
def move_for_the_first_queue_only() -> Iterator[None]:
    """Cleaning tells one of the queues that share a block where it is kept now."""
    original = QueueLog.relocate

    def move_shared(self: Housekeeping, position: int, payload: memoryview) -> int:
        told: list[QueueLog] = []

        def relocate(log: QueueLog, first: int, moved_to: int) -> None:
            told.append(log)
            if len(told) == 1:
                original(log, first, moved_to)

        with patch.object(QueueLog, "relocate", relocate):
            return move(self, position, payload)

    move = Housekeeping._move_shared
    with patch.object(Housekeeping, "_move_shared", move_shared):
        yield


@contextmanager
def shared_blocks_end_with_their_first_queue() -> Iterator[None]:
    """A block of several queues is given up when one of them is done with it."""
    original = SharedBlocks.release

    def release(self: SharedBlocks, position: int) -> bool:
        index = self._index(position)
        if index is None:
            return original(self, position)
        first = self._counts[index] > 0
        self._counts[index] = 0
        return first

    with patch.object(SharedBlocks, "release", release):
        yield


@contextmanager
def parts_of_a_block_apart() -> Iterator[None]:
    """What goes to other queues than the rest of its block may be in another batch."""
    original = fanout._Publish.confirms

    def confirms(self: fanout._Publish) -> list[Confirm]:
        with patch.object(self._broker.recorder, "together", nullcontext):
            return original(self)

    with patch.object(fanout._Publish, "confirms", confirms):
        yield


@contextmanager
def routes_never_look_again() -> Iterator[None]:
    """A route goes on to where its exchange led when it was first used."""
    original = ExchangeRoute.current_plan

    def current_plan(self: ExchangeRoute, broker: Broker) -> Plan:
        if self.version:
            self.version = broker.exchanges.version
        return original(self, broker)

    with patch.object(ExchangeRoute, "current_plan", current_plan):
        yield


@contextmanager
def exchanges_forget_sequences() -> Iterator[None]:
    """A block that is sent again through an exchange is stored again."""
    original = ExchangeStream.advance

    def advance(self: ExchangeStream, first_sequence: int, count: int, level: int) -> None:
        original(self, first_sequence, count, level)
        self.last_sequence = 0

    with patch.object(ExchangeStream, "advance", advance):
        yield


@contextmanager
def ids_not_looked_at_through_exchanges() -> Iterator[None]:
    """A queue that deduplicates gets what comes through an exchange again and again."""
    with patch.object(fanout._Publish, "_digests", None):
        yield


@contextmanager
def ids_not_noted_through_exchanges() -> Iterator[None]:
    """What came through an exchange is not known when it is published again."""
    with patch.object(fanout, "note", lambda *_: None):
        yield


@contextmanager
def an_id_twice_in_a_block() -> Iterator[None]:
    """Messages of one block that have the same id are all stored."""
    original = fanout._Publish._run

    def run(self: Any, digests: Any, first: int, end: int, judging: Any) -> Any:
        known, stop = original(self, digests, first, first + 1, judging)
        while stop < end and original(self, digests, stop, stop + 1, judging)[0] == known:
            stop += 1
        return known, stop

    with patch.object(fanout._Publish, "_run", run):
        yield


EXCHANGE_MUTANTS: Final = (
    move_for_the_first_queue_only,
    shared_blocks_end_with_their_first_queue,
    parts_of_a_block_apart,
    routes_never_look_again,
    exchanges_forget_sequences,
    ids_not_looked_at_through_exchanges,
    ids_not_noted_through_exchanges,
    an_id_twice_in_a_block,
)
