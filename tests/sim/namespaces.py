"""The one namespace of the simulator: its limits, what is in it, and what that forbids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.sim.options import SPACE
from tests.sim.violation import Violation

from penstock.core.broker import Broker
from penstock.core.facts import NamespaceDeleted, NamespaceSet

if TYPE_CHECKING:
    from tests.sim.shadow import Shadow
    from tests.sim.state import ShadowQueue

_NAMES = ("queue", "target", "dead_letter")
PREFIX = f"{SPACE}/"


def said(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return a request's arguments as they are said inside."""
    inside = {key: _local(value) if key in _NAMES else value for key, value in arguments.items()}
    if "routing_key" in arguments and "exchange" not in arguments:
        inside["routing_key"] = _local(arguments["routing_key"])
    return inside


def _local(name: Any) -> Any:
    return name.removeprefix(PREFIX) if isinstance(name, str) else name


def check_told(value: object) -> None:
    """Nobody inside is told a full name."""
    if f"'{PREFIX}" in repr(value):
        raise Violation("I12", f"a full name was told inside: {value!r}")


def apply(shadow: Shadow, fact: NamespaceSet | NamespaceDeleted) -> None:
    """Note a fact."""
    if isinstance(fact, NamespaceSet):
        shadow.namespaces[fact.name] = fact
    else:
        if _queues(shadow):
            raise Violation("I18", f"{fact}, which has {[queue.name for queue in _queues(shadow)]}")
        del shadow.namespaces[fact.name]


def _queues(shadow: Shadow) -> list[ShadowQueue]:
    return [queue for queue in shadow.queues.values() if queue.name.startswith(PREFIX)]


def refusal_of_queue(shadow: Shadow, name: str) -> str:
    """Why a new queue of this name has to be refused; empty when it has not."""
    if not name.startswith(PREFIX):
        return ""
    limits = shadow.namespaces.get(SPACE)
    if limits is None:
        return "unknown-namespace"
    return "namespace-full" if 0 < limits.max_queues <= len(_queues(shadow)) else ""


def refusal_of_session(shadow: Shadow) -> str:
    """Why a connection has to be refused."""
    limits = shadow.namespaces.get(SPACE)
    if limits is None:
        return "unknown-namespace"
    return "namespace-full" if 0 < limits.max_connections <= insiders(shadow) else ""


def insiders(shadow: Shadow) -> int:
    """How many sessions are in it."""
    return sum(session.namespace == SPACE for session in shadow.sessions.values())


def refusal_of_publish(shadow: Shadow, queue: ShadowQueue) -> str:
    """Why a publish has to be refused for where its queue is."""
    limits = shadow.namespaces.get(SPACE)
    if limits is None or not queue.name.startswith(PREFIX):
        return ""
    return "namespace-full" if 0 < limits.max_bytes <= shadow.space_bytes else ""


def refusal_of_deletion(shadow: Shadow) -> str:
    """Why it has to stay."""
    if SPACE not in shadow.namespaces:
        return "unknown-namespace"
    return "namespace-in-use" if _queues(shadow) or insiders(shadow) else ""


def compare_namespaces(broker: Broker, shadow: Shadow) -> None:
    """Names, limits, and what is in them."""
    known = broker.namespaces
    found = (known.values(), {name: (sorted(one.queues), len(one.sessions)) for name, one in known.by_name.items()})
    numbers = sorted(queue.number for queue in _queues(shadow))
    inside = {name: (numbers, insiders(shadow)) for name in shadow.namespaces}
    wanted = ([(*fact,) for fact in shadow.namespaces.values()], inside)
    if found != wanted:
        raise Violation("I18", f"namespaces: the broker has {found}, it must be {wanted}")
    for space in known.by_name.values():
        stored = sum(block.size_bytes for queue in space.queues.values() for block in queue.log.all_blocks())
        schedules = [queue.schedule for queue in space.queues.values() if queue.schedule is not None]
        stored += sum(entry.size_bytes for schedule in schedules for entry in schedule.entries())
        if space.stored_bytes != stored:
            raise Violation("I12", f"namespace {space.name} stores {stored} bytes, and says {space.stored_bytes}")
