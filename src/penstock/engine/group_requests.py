"""Commands about groups."""

from __future__ import annotations

from functools import partial
from typing import Any

from penstock.core import definitions, groups, lifetimes
from penstock.core.groupstate import state_values
from penstock.core.queue import Queue
from penstock.core.values import GroupSettings, Refusal, Refused, parse_group_settings
from penstock.engine.arguments import Call
from penstock.engine.timesearch import TimeSearch


def queue_pause(call: Call) -> dict[str, Any]:
    """Stop the hand-outs of a queue or of one of its groups, or let them go on."""
    paused = call.arguments.flag("paused", True)
    group = call.arguments.optional("group")
    queue = call.queue()
    owner = queue if group is None else groups.find_group(queue, group)
    return {"changed": groups.pause(call.engine.broker, owner, paused)}


def group_declare(call: Call) -> dict[str, Any] | None:
    """Make a group, or find that it is there with the same settings."""
    name = call.arguments.text("group", None)
    start = call.arguments.optional("start")
    start_ms = call.arguments.optional("start_ms")
    queue = definitions.find_queue(call.engine.broker, call.arguments.text("queue", None))
    settings = parse_group_settings(call.arguments.rest())
    if start_ms is None:
        return _declared_group(call, queue, name, settings, _start_offset(queue, start))
    if start is not None or not isinstance(start_ms, int) or isinstance(start_ms, bool):
        raise Refused("bad-setting", f"start_ms is a time, ms since 1970, given instead of start; not {start_ms!r}")
    TimeSearch(call.engine, queue, start_ms, partial(_declare_late, call, queue, name, settings)).step()
    return None


def _declared_group(call: Call, queue: Queue, name: str, settings: GroupSettings, start: int) -> dict[str, Any]:
    engine = call.engine
    limit = engine.limits.groups_per_queue_max
    group, created = groups.declare_group(engine.broker, queue, name, settings, start, engine.clock_ms(), limit)
    if created:
        groups.remember_ephemeral(call.session, group)
    return {"queue": queue.name, "group": name, "id": group.number, "created": created, "start": group.next_offset}


def _declare_late(call: Call, queue: Queue, name: str, settings: GroupSettings, start: int) -> None:
    """The offset of the asked-for time was found; meanwhile anything may have happened."""
    if call.session.number not in call.engine.sinks:
        return
    try:
        if queue.deleted:
            raise Refused("queue-deleted", f"queue {queue.name!r} was deleted")
        result: dict[str, Any] | Refusal = _declared_group(call, queue, name, settings, start)
    except Refused as refused:
        result = refused.refusal
    call.engine.later(call.session.number, call.request, result)


def _start_offset(queue: Queue, start: Any) -> int:
    if start is None or start == "earliest":
        return 0
    if start == "latest":
        return queue.log.next_offset
    if isinstance(start, int) and not isinstance(start, bool) and start >= 0:
        return start
    raise Refused("bad-setting", f"start must be 'earliest', 'latest' or an offset, not {start!r}")


def group_alter(call: Call) -> dict[str, Any]:
    """Give a living group other settings."""
    queue = definitions.find_queue(call.engine.broker, call.arguments.text("queue", None))
    group = groups.find_group(queue, call.arguments.text("group", None))
    return {"changed": groups.alter_group(call.engine.broker, group, call.arguments.rest())}


def group_delete(call: Call) -> dict[str, Any]:
    """Remove a group."""
    if_unused = call.arguments.flag("if_unused", False)
    name = call.arguments.text("group", None)
    group = groups.find_group(call.queue(), name)
    if if_unused and group.consumers:
        raise Refused("group-in-use", f"group {group.name!r} has {len(group.consumers)} consumers")
    count = groups.delete_group(call.engine.broker, group)
    lifetimes.end_if_left(call.engine.broker, group.queue)
    return {"deleted": count}


def group_describe(call: Call) -> None:
    """Describe one group."""
    group = call.group()
    info = definitions.describe_group(group)
    call.answer_with_ages([info], [call.engine.oldest.of_group(group)], info)


def group_state(call: Call) -> dict[str, Any]:
    """Return what a group's consumers keep in its state: by key, the version and the value."""
    group = call.group()
    return {"id": group.number, "state": {key: [*value] for key, value in sorted(state_values(group).items())}}


def group_list(call: Call) -> None:
    """Describe the groups of a queue, by name."""
    queue = call.queue()
    found = sorted((group for group in queue.groups.values() if group.declared), key=lambda group: group.name)
    infos = [definitions.describe_group(group) for group in found]
    oldest = [call.engine.oldest.of_group(group) for group in found]
    call.answer_with_ages(infos, oldest, {"groups": infos})
