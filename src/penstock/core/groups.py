"""Groups as definitions: declare, find, pause, delete; and the end of ephemeral ones."""

from __future__ import annotations

from typing import Any

from penstock.core.broker import Broker, Cancelled
from penstock.core.expiring import look_through
from penstock.core.facts import (
    GroupAltered,
    GroupDeclared,
    GroupDeleted,
    Paused,
)
from penstock.core.group import Group
from penstock.core.queue import Queue
from penstock.core.session import Session
from penstock.core.values import (
    GROUP_ALTERABLE,
    GroupSettings,
    Refusal,
    Refused,
    changes_between,
    check_name,
    differences,
    parse_group_settings,
)


def find_group(queue: Queue, name: Any) -> Group:
    """Return the queue's group of that name ("": the default one); raises Refused (unknown-group)."""
    group = queue.group_names.get(name) if isinstance(name, str) else None
    if group is None:
        check_name(name)
        raise Refused("unknown-group", f"queue {queue.name!r} has no group {name!r}; declare it first")
    return group


def named_groups(queue: Queue, name: Any) -> list[Group]:
    """Return the group of that name; for None all groups that the queue's messages are kept for."""
    return queue.keepers() if name is None else [find_group(queue, name)]


def declare_group(
    broker: Broker, queue: Queue, name: str, settings: GroupSettings, start: int, now_ms: int, groups_max: int
) -> tuple[Group, bool]:
    """Return the group and whether it is new; a new one begins at ``start``, or at what is still there.

    Raises Refused: settings-differ names every difference; limit-reached.
    """
    group = queue.group_names.get(name and check_name(name))
    if group is not None and group.declared:
        different = differences(settings.as_map(), group.settings.as_map())
        if different:
            where = f"group {name!r} of queue {queue.name!r}"
            raise Refused("settings-differ", f"{where} exists with other settings: {different} there")
        return group, False
    _check_new_group(queue, name, settings, groups_max)
    number = _new_number(broker, settings) if name else queue.group.number
    earliest = queue.log.start_offset if settings.ephemeral else queue.durable_low_offset
    if not name:
        earliest = max(earliest, queue.group.next_offset)  # it may have been purged before anybody used it
    start = min(max(start, earliest), queue.log.next_offset)
    if not settings.ephemeral:
        _check_nothing_is_lost(queue, name, start)
    fact = GroupDeclared(queue.number, number, name, settings, start, now_ms)
    broker.emit(queue.durable and not settings.ephemeral, fact)
    look_through(broker, queue)
    group = queue.groups[number]
    broker.ready_groups[group] = None
    return group, True


def _new_number(broker: Broker, settings: GroupSettings) -> int:
    return broker.new_ephemeral_number() if settings.ephemeral else broker.next_number


def _check_new_group(queue: Queue, name: str, settings: GroupSettings, groups_max: int) -> None:
    if not name and settings != GroupSettings():
        raise Refused(
            "bad-setting", "the default group '' is shared and durable; give a group with other settings a name"
        )
    if name and not queue.durable and not settings.ephemeral:
        raise Refused(
            "bad-setting",
            f"queue {queue.name!r} is kept in memory and loses its messages in a restart: its groups must be ephemeral",
        )
    if len(queue.groups) > groups_max:
        raise Refused(
            "limit-reached", f"queue {queue.name!r} has {groups_max} groups already (limits.groups_per_queue_max)"
        )


def _check_nothing_is_lost(queue: Queue, name: str, start: int) -> None:
    """The first lasting group decides what a queue keeps. It may not drop what waits for the workers to come."""
    lasting = any(group.declared and not group.settings.ephemeral for group in queue.groups.values())
    low = queue.durable_low_offset if name else max(queue.durable_low_offset, queue.group.next_offset)
    if not lasting and start > low:  # what is below the default group's own cursor is on its way to the dead letters
        raise Refused(
            "queue-not-empty",
            f"queue {queue.name!r} holds messages before offset {start} that nobody would get if {name!r} were its"
            " first group: purge them, or declare a group for them first ('' is the one of plain consumers)",
        )


def alter_group(broker: Broker, group: Group, changes: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Give a living group other settings; return each that changed with its value before and after."""
    for name in changes:
        if name not in GROUP_ALTERABLE:
            able = ", ".join(sorted(GROUP_ALTERABLE))
            raise Refused("bad-setting", f"{name!r} of a group cannot be altered; {able} can. Declare another group")
    if not group.name and changes.get("where") is not None:
        raise Refused("bad-setting", "the default group '' selects nothing; declare a group with a name for that")
    settings = parse_group_settings({**group.settings.as_json(), **changes})
    changed = changes_between(group.settings.as_map(), settings.as_map())
    if changed:
        broker.emit(group.durable, GroupAltered(group.queue.number, group.number, settings))
        broker.look_again(group, group.low_offset, group.queue.log.next_offset)
        broker.ready_groups[group] = None
    return changed


def default_group(broker: Broker, queue: Queue, now_ms: int) -> Group:
    """Return the default group; from its first use on messages are kept for it (SEMANTICS 9)."""
    if not queue.group.declared:
        declare_group(broker, queue, "", GroupSettings(), 0, now_ms, len(queue.groups))
    return queue.group


def delete_group(broker: Broker, group: Group) -> int:
    """Remove a group; its consumers are told, its leases are void. Returns how many messages it was not done with."""
    queue, count = group.queue, group.open_count
    refusal = Refusal("group-deleted", f"group {group.name!r} of queue {queue.name!r} was deleted")
    end_deliveries(broker, group, refusal)
    broker.emit(group.durable, GroupDeleted(queue.number, group.number))
    look_through(broker, queue)
    return count


def end_if_ephemeral(broker: Broker, group: Group) -> None:
    """An ephemeral group vanishes with its last consumer."""
    if group.settings.ephemeral and not group.consumers and not group.deleted:
        delete_group(broker, group)


def end_deliveries(broker: Broker, group: Group, refusal: Refusal) -> None:
    """Cancel a group's consumers and void every lease on it, those of consumers cancelled before included."""
    for consumer in group.consumers:
        del consumer.session.consumers[consumer.number]
        broker.cancelled.append(Cancelled(consumer.session.number, consumer.number, refusal))
    for session in broker.sessions.values() if group.leased_count else ():
        for lease in [lease for lease in session.leases if lease.consumer.group is group]:
            session.take(lease.first_tag, lease.first_tag + lease.count)
    group.consumers.clear()
    for waiting in (broker.ready_groups, broker.delayed_groups, broker.looking, broker.tripped_groups):
        waiting.pop(group, None)
    broker.dying = [dying for dying in broker.dying if dying.group is not group]


def pause(broker: Broker, owner: Queue | Group, paused: bool) -> bool:
    """Stop the hand-outs of a queue or of one group, or let them go on; False when that was so already.

    What is leased stays leased, publishing goes on. To let them go on closes breakers, too.
    """
    groups = list(owner.groups.values()) if isinstance(owner, Queue) else [owner]
    changed = owner.paused != paused
    if changed and isinstance(owner, Queue):  # a memory queue's definition survives as well
        broker.emit(not owner.settings.ephemeral, Paused(owner.number, 0, paused))
    elif changed:
        broker.emit(groups[0].durable, Paused(groups[0].queue.number, groups[0].number, paused))
    if not paused:
        closed = [group for group in groups if _close_breaker(broker, group)]
        changed = changed or bool(closed)
    if changed:
        broker.ready_groups |= dict.fromkeys(groups)
    return changed


def _close_breaker(broker: Broker, group: Group) -> bool:
    broker.tripped_groups.pop(group, None)
    return group.close_breaker()


def remember_ephemeral(session: Session, group: Group) -> None:
    """The group ends with the session that declared it, unless someone consumes from it."""
    if group.settings.ephemeral:
        session.ephemeral_groups = [one for one in session.ephemeral_groups if not one.deleted]
        session.ephemeral_groups.append(group)
