"""What has to change so that a broker has what a file says: decided from two sets of definitions, and nothing else."""

from collections.abc import Collection, Iterator
from typing import Any, Final, NamedTuple

from penstock.cli.definition_file import (
    GROUP_DEFAULTS,
    NAMESPACE_DEFAULTS,
    QUEUE_DEFAULTS,
    Binding,
    Definitions,
    Exchange,
    Queue,
    Settings,
)
from penstock.core.exchange_settings import ExchangeSettings
from penstock.core.values import ALTERABLE, GROUP_ALTERABLE
from penstock_client.wire.frames import FrameType

CREATE: Final = "create"
ALTER: Final = "alter"
DELETE: Final = "delete"
CONFLICT: Final = "conflict"


class Change(NamedTuple):
    """One request to the broker; a conflict is none, and has no frame: it stands against all the others."""

    action: str
    what: str
    detail: str
    frame: FrameType | None
    arguments: dict[str, Any]

    def as_map(self) -> dict[str, str]:
        """Return it for machines."""
        return {"action": self.action, "what": self.what, "detail": self.detail}


def plan(live: Definitions, wanted: Definitions, *, prune: bool) -> list[Change]:
    """Return the changes in an order in which they can be made.

    With ``prune`` what the file does not name goes, except the dead-letter queues of what it does name.
    """
    changes: list[Change] = []
    for name, limits in wanted.namespaces.items():
        changes += _plan_namespace(name, live.namespaces.get(name), limits)
    for name, queue in wanted.queues.items():
        changes += _plan_queue(name, live.queues.get(name), queue)
    for name, exchange in wanted.exchanges.items():
        changes += _plan_exchange(name, live.exchanges.get(name), exchange)
    changes += _nowhere(live, wanted)
    for name, exchange in wanted.exchanges.items():
        known = live.exchanges[name].bindings if name in live.exchanges else frozenset()
        changes += [_bind(name, binding) for binding in sorted(exchange.bindings - known, key=str)]
        changes += [_unbind(name, binding) for binding in sorted(known - exchange.bindings, key=str)]
    for name, schedule in wanted.schedules.items():
        changes += _plan_schedule(name, live.schedules.get(name), schedule)
    return changes + (list(_pruned(live, wanted)) if prune else [])


def _plan_namespace(name: str, live: Settings | None, wanted: Settings) -> Iterator[Change]:
    what, named = f"namespace {name!r}", {"namespace": name}
    if live is None:
        yield _create(what, FrameType.NAMESPACE_DECLARE, named, wanted, NAMESPACE_DEFAULTS)
    else:
        yield from _alter(what, FrameType.NAMESPACE_ALTER, named, live, wanted, NAMESPACE_DEFAULTS)


def _plan_queue(name: str, live: Queue | None, wanted: Queue) -> Iterator[Change]:
    named = {"queue": name}
    if live is None:
        yield _create(f"queue {name!r}", FrameType.QUEUE_DECLARE, named, wanted.settings, QUEUE_DEFAULTS)
    else:
        yield from _alter(f"queue {name!r}", FrameType.QUEUE_ALTER, named, live.settings, wanted.settings, ALTERABLE)
    groups = {} if live is None else live.groups
    for group, settings in wanted.groups.items():
        what, named = f"group {group!r} of queue {name!r}", {"queue": name, "group": group}
        if group in groups:
            yield from _alter(what, FrameType.GROUP_ALTER, named, groups[group], settings, GROUP_ALTERABLE)
        else:
            yield _create(what, FrameType.GROUP_DECLARE, named, settings, GROUP_DEFAULTS)


def _plan_exchange(name: str, live: Exchange | None, wanted: Exchange) -> Iterator[Change]:
    what, named = f"exchange {name!r}", {"exchange": name}
    if live is None:
        yield _create(what, FrameType.EXCHANGE_DECLARE, named, wanted.settings, ExchangeSettings().as_map())
    else:
        yield from _alter(what, FrameType.EXCHANGE_DECLARE, named, live.settings, wanted.settings, ())


def _plan_schedule(name: str, live: Settings | None, wanted: Settings) -> Iterator[Change]:
    """One that differs is replaced: it is younger then, and fires no less."""
    what = f"schedule {name!r}"
    if live is not None and live != wanted:
        yield Change(DELETE, what, "to be added anew", FrameType.SCHEDULE_REMOVE, {"name": name})
    if live != wanted:
        detail = f"{wanted['cron']!r} in {wanted['time_zone']} to queue {wanted['queue']!r}"
        yield Change(CREATE, what, detail, FrameType.SCHEDULE_ADD, {"name": name, **wanted})


def _nowhere(live: Definitions, wanted: Definitions) -> Iterator[Change]:
    """Bindings and schedules that lead to nothing."""
    queues, exchanges = live.queues.keys() | wanted.queues.keys(), live.exchanges.keys() | wanted.exchanges.keys()
    for name, exchange in wanted.exchanges.items():
        for binding in sorted(exchange.bindings, key=str):
            if binding.destination not in (queues if binding.kind == "queue" else exchanges):
                detail = f"{binding}: there is no {binding.kind} {binding.destination!r}, here or there"
                yield Change(CONFLICT, f"binding of exchange {name!r}", detail, None, {})
    for name, schedule in wanted.schedules.items():
        if schedule["queue"] not in queues:
            detail = f"there is no queue {schedule['queue']!r}, here or there"
            yield Change(CONFLICT, f"schedule {name!r}", detail, None, {})


def _create(what: str, frame: FrameType, named: Settings, settings: Settings, defaults: Settings) -> Change:
    given = {name: value for name, value in settings.items() if value != defaults[name]}
    return Change(CREATE, what, ", ".join(f"{name} {value!r}" for name, value in given.items()), frame, named | given)


def _alter(
    what: str, frame: FrameType, named: Settings, live: Settings, wanted: Settings, alterable: Collection[str]
) -> Iterator[Change]:
    changed = {name: value for name, value in wanted.items() if value != live[name]}
    fixed = [name for name in changed if name not in alterable]
    for name in fixed:
        detail = f"{name} is {live[name]!r} and cannot become {wanted[name]!r}: delete it first, or keep that"
        yield Change(CONFLICT, what, detail, None, {})
    if changed and not fixed:
        detail = ", ".join(f"{name} {live[name]!r} -> {value!r}" for name, value in changed.items())
        yield Change(ALTER, what, detail, frame, named | changed)


def _bind(exchange: str, binding: Binding) -> Change:
    arguments = {"exchange": exchange, **binding.as_map()}
    return Change(CREATE, f"binding of exchange {exchange!r}", str(binding), FrameType.EXCHANGE_BIND, arguments)


def _unbind(exchange: str, binding: Binding) -> Change:
    arguments = {"exchange": exchange, **binding.as_map()}
    return Change(DELETE, f"binding of exchange {exchange!r}", str(binding), FrameType.EXCHANGE_UNBIND, arguments)


def _pruned(live: Definitions, wanted: Definitions) -> Iterator[Change]:
    """What leads to queues first. A queue goes only when it is empty, so that no message is lost."""
    for name in sorted(live.schedules.keys() - wanted.schedules.keys()):
        yield Change(DELETE, f"schedule {name!r}", "", FrameType.SCHEDULE_REMOVE, {"name": name})
    for name in sorted(live.exchanges.keys() - wanted.exchanges.keys()):
        yield Change(DELETE, f"exchange {name!r}", "", FrameType.EXCHANGE_DELETE, {"exchange": name})
    kept = {queue.settings["dead_letter"] or f"{name}.dead" for name, queue in wanted.queues.items()}
    for name, queue in sorted(live.queues.items()):
        if name not in wanted.queues:
            if name not in kept:
                arguments = {"queue": name, "if_empty": True}
                yield Change(DELETE, f"queue {name!r}", "if it is empty", FrameType.QUEUE_DELETE, arguments)
            continue
        for group in sorted(queue.groups.keys() - wanted.queues[name].groups.keys()):
            detail, arguments = "with all that it is not done with", {"queue": name, "group": group}
            yield Change(DELETE, f"group {group!r} of queue {name!r}", detail, FrameType.GROUP_DELETE, arguments)
    for name in sorted(live.namespaces.keys() - wanted.namespaces.keys()):
        yield Change(DELETE, f"namespace {name!r}", "if it is empty", FrameType.NAMESPACE_DELETE, {"namespace": name})
