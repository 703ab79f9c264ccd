"""Commands on namespaces, and what their limits say to whoever declares, connects or publishes.

Queues are counted when someone declares one. A dead-letter queue that appears by itself is counted too and never
refused, for its message would be lost. Bytes are what is stored: a publish into a namespace at its bound is refused,
as one into a broker at its watermarks, and consumers go on. What the broker moves or publishes by itself (dead letters,
redrives, due and recurring messages, transfers) is counted and not refused.

The bytes of many queues are not added up for every block: they are counted every COUNT_MS, what is published
meanwhile is added, and before a publish is refused they are counted again.
"""

from __future__ import annotations

from typing import Any, Final

from penstock.core.broker import Broker
from penstock.core.facts import NamespaceDeleted, NamespaceSet
from penstock.core.names import namespace_of
from penstock.core.namespaces import Namespace, NamespaceSettings, check_namespace_name, parse_namespace_settings
from penstock.core.queue import Queue
from penstock.core.session import Session
from penstock.core.values import Refused, changes_between, check_name, differences

NAMESPACES_MAX: Final = 10_000
"""All of them are in every snapshot's head."""
COUNT_MS: Final = 1_000
"""How long what enters past the bound may go unnoticed."""
RECOUNT_MS: Final = 10
"""How soon the bytes are counted again while publishes are refused: about 50 us for a thousand queues."""

FULL: Final = "namespace-full"


def find_namespace(broker: Broker, name: Any) -> Namespace:
    """Return the namespace of that name; raises Refused (unknown-namespace)."""
    space = broker.namespaces.by_name.get(name) if isinstance(name, str) else None
    if space is None:
        check_name(name)
        raise Refused("unknown-namespace", f"there is no namespace {name!r}; declare it first")
    return space


def declare_namespace(broker: Broker, name: Any, settings: NamespaceSettings, now_ms: int) -> tuple[Namespace, bool]:
    """Return the namespace and whether it is new. Raises Refused: settings-differ names every difference."""
    space = broker.namespaces.by_name.get(check_namespace_name(name))
    if space is not None:
        different = differences(settings.as_map(), space.settings.as_map())
        if different:
            raise Refused("settings-differ", f"namespace {name!r} exists with other limits: {different} there")
        return space, False
    if len(broker.namespaces.by_name) >= NAMESPACES_MAX:
        raise Refused("limit-reached", f"there are {NAMESPACES_MAX} namespaces already")
    broker.emit(True, NamespaceSet(name, **settings.as_map(), created_at_ms=now_ms))
    return broker.namespaces.by_name[name], True


def alter_namespace(broker: Broker, space: Namespace, changes: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Give a namespace other limits; return each that changed with its value before and after.

    What is above a new limit stays: nothing more is let in.
    """
    settings = parse_namespace_settings({**space.settings.as_map(), **changes})
    changed = changes_between(space.settings.as_map(), settings.as_map())
    if changed:
        broker.emit(True, NamespaceSet(space.name, **settings.as_map(), created_at_ms=space.created_at_ms))
    return changed


def delete_namespace(broker: Broker, space: Namespace) -> None:
    """Remove a namespace that nothing is in; raises Refused (namespace-in-use) saying what is."""
    counts = {name: count for name, count in _counts(broker, space).items() if count}
    if counts:
        held = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise Refused("namespace-in-use", f"namespace {space.name!r} has {held}; it can be deleted when it is empty")
    broker.emit(True, NamespaceDeleted(space.name))


def describe_namespace(broker: Broker, space: Namespace) -> dict[str, Any]:
    """Its limits and what it holds."""
    return {
        "namespace": space.name,
        **space.settings.as_map(),
        **_counts(broker, space),
        "bytes": space.stored_bytes,
        "created_at_ms": space.created_at_ms,
    }


def _counts(broker: Broker, space: Namespace) -> dict[str, int]:
    return {
        "queues": len(space.queues),
        "exchanges": sum(namespace_of(name) == space.name for name in broker.exchanges.names),
        "schedules": sum(namespace_of(name) == space.name for name in broker.recurrings.by_name),
        "connections": len(space.sessions),
    }


# -- limits ------------------------------------------------------------------------------------------------------------


def check_new_name(broker: Broker, name: str) -> Namespace | None:
    """Return the namespace in which something of that name would be. Raises Refused (unknown-namespace)."""
    space = namespace_of(name)
    found = broker.namespaces.by_name.get(space)
    if space and found is None:
        raise Refused(
            "unknown-namespace",
            f"{name!r} would be in namespace {space!r}, which there is not: declare the namespace first, or give a"
            " name without '/'",
        )
    return found


def check_new_queue(broker: Broker, name: str) -> None:
    """Raise Refused (unknown-namespace, namespace-full) unless a queue of that name may be declared."""
    space = check_new_name(broker, name)
    if space is not None and 0 < space.settings.max_queues <= len(space.queues):
        raise Refused(
            FULL,
            f"namespace {space.name!r} has {len(space.queues)} queues, max_queues is {space.settings.max_queues}:"
            " delete one, or have the limit raised",
        )


def enter(broker: Broker, session: Session, name: str) -> None:
    """Have a new session be in a namespace. Raises Refused (unknown-namespace, namespace-full)."""
    space = broker.namespaces.by_name.get(name)
    if space is None:
        raise Refused(
            "unknown-namespace",
            f"there is no namespace {name!r}: declare it over a connection to the root"
            " (penstock namespace declare), or leave it out of the URL",
        )
    _check_room_for_session(space)
    session.namespace = name
    space.sessions.add(session.number)


def leave(broker: Broker, session: Session) -> None:
    """A session has ended."""
    if session.namespace:
        broker.namespaces.by_name[session.namespace].sessions.discard(session.number)


def _check_room_for_session(space: Namespace) -> None:
    if 0 < space.settings.max_connections <= len(space.sessions):
        raise Refused(
            FULL,
            f"namespace {space.name!r} has {len(space.sessions)} connections, max_connections is"
            f" {space.settings.max_connections}: close some, or have the limit raised",
        )


def check_together(name: str, other: str, what: str, code: str) -> None:
    """Raise Refused (``code``) unless both names are in one namespace: nothing leads from one into another."""
    if namespace_of(name) != namespace_of(other):
        raise Refused(code, f"{what} of {name!r} would be in another namespace: {other!r}")


def stop_code(queue: Queue, now_ms: int) -> str:
    """Why nothing new is published to this queue now, though it has room itself: its namespace; empty when it is."""
    space = queue.space
    return FULL if space is not None and space.settings.max_bytes and _is_full(space, now_ms) else ""


def _is_full(space: Namespace, now_ms: int) -> bool:
    over = space.counted_bytes >= space.settings.max_bytes
    if now_ms - space.counted_ms >= (RECOUNT_MS if over else COUNT_MS):
        space.counted_bytes, space.counted_ms = space.stored_bytes, now_ms
    return space.counted_bytes >= space.settings.max_bytes


def note_stored(queue: Queue, size_bytes: int) -> None:
    """A producer's block entered the queue."""
    if queue.space is not None:
        queue.space.counted_bytes += size_bytes


def full_text(queue: Queue) -> str:
    """Say that a queue's namespace is at its bound."""
    assert queue.space is not None, "it was found full"
    return (
        f"namespace {queue.space.name!r} stores {queue.space.counted_bytes} bytes, max_bytes is"
        f" {queue.space.settings.max_bytes}; it takes messages again when consumers have made room"
    )
