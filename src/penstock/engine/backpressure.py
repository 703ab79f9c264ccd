"""Confirms that wait for room: the backpressure of queues at their bound.

A queue above its bound takes publishes in and lets their confirms wait until consumers have made room, so only that
queue's producers stall. What core found full is in ``Broker.full_queues``; while there is none, and none of ours waits,
nothing is looked at. Confirms of one stream keep their order (I9): behind one that waits, all later ones of its stream
wait, refusals too.

A confirm comes here when its level holds, and leaves from here to its connection. Memory queues' come at once; behind
a refusal that waits for a commit they wait for that as well.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from penstock.core.bounds import is_over
from penstock.core.broker import Confirm
from penstock.core.queue import Queue
from penstock.core.values import MEMORY, REFUSED

if TYPE_CHECKING:
    from penstock.engine.engine import Engine

Stream = tuple[int, int]
"""(session, route)"""
Waiting = tuple[Queue | None, Confirm]
"""A confirm that waits, and the queue it is about if that had no room: another one than it waits for where that was
deleted and declared again meanwhile.
"""


class Backpressure:
    """What waits for room, by queue and stream."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._held: dict[Queue, dict[Stream, deque[Waiting]]] = {}
        self._queues: dict[Stream, Queue] = {}

    @property
    def is_holding(self) -> bool:
        """True while any confirm waits for room."""
        return bool(self._held)

    def stalled_count(self, queue: Queue) -> int:
        """How many producers wait for room in this queue."""
        return len(self._held.get(queue, ()))

    def take_memory(self, confirms: list[Confirm]) -> list[Confirm]:
        """Send or hold the confirms of memory queues, whose level holds at once; return those that wait for a commit:
        the others, and what is in line behind a refusal.
        """
        sessions = self._engine.broker.sessions
        at_once: list[Confirm] = []
        later: list[Confirm] = []
        for confirm in confirms:
            session = sessions.get(confirm.session)
            in_line = confirm.level != MEMORY or (session is not None and session.confirms_in_line)
            (later if in_line else at_once).append(confirm)
        self._engine.send_confirms(self.take(at_once))
        return later

    def take(self, confirms: list[Confirm]) -> list[Confirm]:
        """Hold the confirms whose queue has no room; return those that may leave."""
        if not self._held and not self._engine.broker.full_queues:
            return confirms
        leaving: list[Confirm] = []
        for confirm in confirms:
            stream = stream_of(confirm)
            own = self._full_queue(stream) if confirm.status != REFUSED else None
            queue = self._queues.get(stream) or own
            if queue is None:
                leaving.append(confirm)
            else:
                self._queues[stream] = queue
                self._held.setdefault(queue, {}).setdefault(stream, deque()).append((own, confirm))
        return leaving

    def _full_queue(self, stream: Stream) -> Queue | None:
        session = self._engine.broker.sessions.get(stream[0])
        route = session.routes.get(stream[1]) if session else None
        return route.queue if route and route.queue in self._engine.broker.full_queues else None

    def release(self) -> None:
        """Let go what waits for queues that have room again, or are gone."""
        broker = self._engine.broker
        relieved, broker.relieved_queues = broker.relieved_queues, {}
        for queue in relieved:
            if queue.deleted or not is_over(queue):
                broker.full_queues.pop(queue, None)
                for stream, waiting in self._held.pop(queue, {}).items():
                    del self._queues[stream]
                    self._let_go(stream, waiting)

    def _let_go(self, stream: Stream, waiting: deque[Waiting]) -> None:
        """Send the confirms of a stream up to one that is about another queue without room."""
        full_queues = self._engine.broker.full_queues
        leaving: list[Confirm] = []
        while waiting:
            own, confirm = waiting[0]
            if own is not None and own in full_queues:
                self._queues[stream] = own
                self._held.setdefault(own, {})[stream] = waiting
                break
            leaving.append(confirm)
            waiting.popleft()
        self._engine.send_confirms(leaving)

    def forget(self, session: int) -> None:
        """The session is gone: nothing of it waits any more."""
        for stream in [stream for stream in self._queues if stream[0] == session]:
            queue = self._queues.pop(stream)
            del self._held[queue][stream]
            if not self._held[queue]:
                del self._held[queue]


def stream_of(confirm: Confirm) -> Stream:
    """Return whose order a confirm keeps. The route of a block that was refused for what it is stands as its
    complement, so that no queue is found under it.
    """
    route = confirm.route
    return confirm.session, route if route >= 0 else ~route
