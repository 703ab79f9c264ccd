"""Namespaces: which there are, with which limits, what is in them, and how facts change them.

A namespace is a chroot of names: see ``names``. It is found by its name and has no number: what is in it, is so by
name, and it can only go when nothing is. Recovery may meet a queue before its namespace, since each queue's part of a
snapshot is of a moment of its own: a namespace takes in what is there when it comes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Final

from penstock.core.facts import NamespaceDeleted, NamespaceSet
from penstock.core.names import SEPARATOR, namespace_of
from penstock.core.queue import Queue
from penstock.core.values import Refused, check_name

LIMIT_MAX: Final = 1 << 50


@dataclass(frozen=True, slots=True)
class NamespaceSettings:
    """The limits of a namespace; 0 is none. ``max_bytes`` is what is stored for its queues."""

    max_queues: int = 0
    max_connections: int = 0
    max_bytes: int = 0

    def as_map(self) -> dict[str, int]:
        """Every limit by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def parse_namespace_settings(arguments: dict[str, Any]) -> NamespaceSettings:
    """Build settings from a declare's arguments; raises Refused (bad-setting) naming the first wrong one."""
    known = [field.name for field in fields(NamespaceSettings)]
    for name, value in arguments.items():
        if name not in known:
            raise Refused("bad-setting", f"a namespace has no setting {name!r}; there are {', '.join(known)}")
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LIMIT_MAX:
            raise Refused("bad-setting", f"{name} must be a whole number from 0 to {LIMIT_MAX}, not {value!r}")
    return NamespaceSettings(**arguments)


def check_namespace_name(name: Any) -> str:
    """Return a legal name of a namespace, or raise Refused (bad-name)."""
    if SEPARATOR in check_name(name):
        raise Refused("bad-name", f"namespaces are not nested: {name!r} may not have a {SEPARATOR!r}")
    return str(name)


class Namespace:
    """A namespace: its limits, its queues, and the sessions that are in it."""

    __slots__ = ("counted_bytes", "counted_ms", "created_at_ms", "name", "queues", "sessions", "settings")

    def __init__(self, name: str, settings: NamespaceSettings, created_at_ms: int) -> None:
        self.name = name
        self.settings = settings
        self.created_at_ms = created_at_ms
        self.queues: dict[int, Queue] = {}
        self.sessions: set[int] = set()
        self.counted_bytes = 0
        """What was stored when it was counted, and what was published since."""
        self.counted_ms = 0

    def take_in(self, queue: Queue) -> None:
        """A queue is in it, and is looked at before it stores anything if there is a bound."""
        self.queues[queue.number] = queue
        queue.space = self
        queue.look_whether_judged()

    def let_go(self, queue: Queue) -> None:
        """A queue is in it no more."""
        del self.queues[queue.number]
        queue.space = None
        queue.look_whether_judged()

    @property
    def stored_bytes(self) -> int:
        """What is stored for its queues now, scheduled messages included."""
        logs = sum(queue.log.live_bytes for queue in self.queues.values())
        return logs + sum(queue.schedule.live_bytes for queue in self.queues.values() if queue.schedule is not None)


class Namespaces:
    """All namespaces, by name."""

    def __init__(self) -> None:
        self.by_name: dict[str, Namespace] = {}

    def of(self, name: str) -> Namespace | None:
        """Return the namespace that a full name is in; None in the root, and where it is not declared."""
        return self.by_name.get(namespace_of(name))

    def take_in(self, queue: Queue) -> None:
        """A queue came to be."""
        if (space := self.of(queue.name)) is not None:
            space.take_in(queue)

    def apply(self, fact: NamespaceSet | NamespaceDeleted, queues: Iterable[Queue]) -> None:
        """Change them as a fact says; ``queues`` are all there are."""
        if isinstance(fact, NamespaceDeleted):
            gone = self.by_name.pop(fact.name)
            for queue in list(gone.queues.values()):
                gone.let_go(queue)
            return
        settings = NamespaceSettings(fact.max_queues, fact.max_connections, fact.max_bytes)
        space = self.by_name.get(fact.name) or Namespace(fact.name, settings, fact.created_at_ms)
        space.settings = settings
        self.by_name[fact.name] = space
        for queue in queues:
            if namespace_of(queue.name) == fact.name:
                space.take_in(queue)

    def values(self) -> list[tuple[Any, ...]]:
        """All of them, for snapshots and fingerprints: the fields of NamespaceSet."""
        return [(one.name, *one.settings.as_map().values(), one.created_at_ms) for one in self.by_name.values()]
