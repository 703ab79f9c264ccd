"""Operators' hands on single messages: cancel, redrive, move, copy, replace. Each message is one step, whole or not at
all (I14).

A message can be taken only while nobody holds it and it is not on its way to the dead letters.
"""

from __future__ import annotations

from penstock.core.asks import NOTHING, Ask
from penstock.core.broker import Broker
from penstock.core.group import Group
from penstock.core.queue import Queue
from penstock.core.settling import append_for, discard, resume_held
from penstock.core.storing import append_internal
from penstock.core.values import CANCELLED, TRANSFERRED, Refused


def check_there(group: Group, offset: int) -> None:
    """Raise Refused (unknown-message) unless the group is not done with the message."""
    if offset >= group.queue.log.next_offset or not group.is_open(offset):
        raise Refused("unknown-message", f"{_where(group, offset)} is not there: done, or never published")


def check_takeable(group: Group, offset: int) -> None:
    """Raise Refused (unknown-message, message-dying) for what is done, or on its way to the dead letters."""
    check_there(group, offset)
    run = group.outstanding.find(offset)
    if run is not None and (run.dying or offset in group.held):
        raise Refused("message-dying", f"{_where(group, offset)} is dead: its dead letter stands for it")


def cancel(broker: Broker, group: Group, offset: int) -> None:
    """Have the group be done with a message that nobody holds. Raises Refused."""
    _take(group, offset)
    discard(broker, group, offset, CANCELLED)


def resume(broker: Broker, marker_group: Group, marker_offset: int) -> Group:
    """Have a held message tried again; its marker, which nobody may hold, is done. Returns the message's group."""
    _take(marker_group, marker_offset)
    with broker.recorder.together():
        group = resume_held(broker, marker_group.queue, marker_offset)
        discard(broker, marker_group, marker_offset, TRANSFERRED)
    return group


def move(
    broker: Broker, group: Group, offset: int, target: Group, block: bytes, now_ms: int, ask: Ask = NOTHING
) -> int:
    """Append a message's copy for one group alone, and end the original.

    Returns the copy's offset.
    """
    _take(group, offset)
    with broker.recorder.together():
        copied = append_for(broker, target, block, now_ms, ask)
        discard(broker, group, offset, TRANSFERRED)
    return copied


def move_to_queue(
    broker: Broker, group: Group, offset: int, target: Queue, block: bytes, now_ms: int, ask: Ask = NOTHING
) -> int:
    """Append a message's copy for every group of another queue, and end the original; return the copy's offset."""
    _take(group, offset)
    with broker.recorder.together():
        copied = append_internal(broker, target, block, now_ms, asks=(ask,))
        discard(broker, group, offset, TRANSFERRED)
    return copied


def _where(group: Group, offset: int) -> str:
    return f"message {offset} of group {group.name!r} of queue {group.queue.name!r}"


def _take(group: Group, offset: int) -> None:
    check_takeable(group, offset)
    if not group.is_untouched(offset) and not group.take_waiting(((offset, offset + 1),)):
        raise Refused(
            "message-leased", f"{_where(group, offset)} is with a consumer: wait for it, or revoke its lease first"
        )
