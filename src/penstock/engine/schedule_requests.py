"""Named commands about what is scheduled, once or again and again."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from penstock.core import definitions, firing, scheduling
from penstock.core.recurring import MISSED, NEVER, Recurring
from penstock.core.values import Refused

if TYPE_CHECKING:
    from penstock.engine.arguments import Call

COUNT_MAX: Final = 1000
BYTES_MAX: Final = 1024 * 1024
"""Shown at once, as for a peek."""
PAGE_BYTES: Final = 512 * 1024
"""Messages in one page of recurring schedules: it fits a frame."""


def scheduled_peek(call: Call) -> None:
    """Show a queue's scheduled messages, by id."""
    first = call.arguments.number("first", 0)
    count = call.arguments.number("count", 100, 1, COUNT_MAX)
    bytes_max = min(call.arguments.number("bytes_max", BYTES_MAX, 1), BYTES_MAX)
    queue = call.queue()
    call.engine.scheduler.look(queue, first, count, bytes_max, call.session.number, call.request)


def scheduled_cancel(call: Call) -> dict[str, Any] | None:
    """Cancel one scheduled message."""
    number = call.arguments.number("id", None)
    queue = call.queue()
    done = call.engine.scheduler.cancel(queue, number, call.session.number, call.request)
    return {"cancelled": 1} if done else None


def purge(call: Call) -> dict[str, Any]:
    """Drop what is not leased; what is scheduled only where asked to."""
    with_scheduled = call.arguments.flag("scheduled", False)
    broker, groups = call.engine.broker, call.groups()
    cancelled = scheduling.cancel_all(broker, groups[0].queue) if with_scheduled and groups else 0
    return {"purged": definitions.purge(broker, groups), "cancelled": cancelled}


def schedule_add(call: Call) -> dict[str, Any]:
    """Add a recurring schedule."""
    engine, arguments = call.engine, call.arguments
    definition: dict[str, Any] = {name: arguments.text(name, None) for name in ("name", "cron", "queue")}
    definition["zone"] = arguments.text("time_zone", "UTC")
    definition["missed"] = arguments.text("missed", "once")
    block = arguments.optional("block")
    arguments.end()
    if definition["missed"] not in MISSED:
        raise Refused("bad-setting", f"missed must be one of {', '.join(MISSED)}, not {definition['missed']!r}")
    problem = engine.codec.single_problem(block)
    if problem:
        raise Refused("bad-setting", f"block must be the block of one message: {problem}")
    definition["block64"] = base64.b64encode(block).decode()
    calendar = engine.recurrence.calendar
    calendar.check(definition["cron"], definition["zone"])
    next_ms = calendar.next_ms(definition["cron"], definition["zone"], call.now_ms)
    if next_ms is None:
        raise Refused("bad-setting", f"the cron line {definition['cron']!r} never fires")
    created = firing.add(engine.broker, definition, next_ms, call.now_ms)
    return {"created": created, "next_ms": firing.find(engine.broker, definition["name"]).next_ms}


def schedule_list(call: Call) -> dict[str, Any]:
    """Describe the schedules whose names start with a prefix, by name."""
    prefix = call.arguments.text("prefix", "")
    after = call.arguments.text("after", "")
    limit = call.arguments.number("limit", 500, 1, 1000)
    call.arguments.end()
    known = call.engine.broker.recurrings.by_name
    names = sorted(name for name in known if name.startswith(prefix) and name > after)
    page: list[dict[str, Any]] = []
    page_bytes = 0
    for name in names[:limit]:
        page.append(_described(known[name]))
        page_bytes += len(page[-1]["block"])
        if page_bytes > PAGE_BYTES:
            break
    return {"schedules": page, "more": len(names) > len(page)}


def schedule_remove(call: Call) -> dict[str, Any]:
    """Remove a schedule."""
    firing.remove(call.engine.broker, _named(call))
    return {}


def schedule_pause(call: Call) -> dict[str, Any]:
    """Pause a schedule, or let it go on."""
    paused = call.arguments.flag("paused", True)
    one = _named(call)
    next_ms = call.engine.recurrence.calendar.next_ms(one.cron, one.zone, call.now_ms)
    firing.pause(call.engine.broker, one, paused, NEVER if next_ms is None else next_ms)
    return _described(one)


def _named(call: Call) -> Recurring:
    name = call.arguments.text("name", None)
    call.arguments.end()
    return firing.find(call.engine.broker, name)


def _described(one: Recurring) -> dict[str, Any]:
    values = one.values()
    del values["number"]
    values["time_zone"] = values.pop("zone")
    values["block"] = base64.b64decode(values.pop("block64"))
    values["next_ms"] = None if one.paused or one.next_ms == NEVER else one.next_ms
    values["last_ms"] = one.last_ms or None
    return values
