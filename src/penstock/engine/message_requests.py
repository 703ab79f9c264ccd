"""Commands about one message."""

from __future__ import annotations

from typing import Any

from penstock.core.groups import find_group
from penstock.core.histories import history_of
from penstock.core.values import Refused
from penstock.engine.arguments import Call
from penstock.engine.interface import StoredBlock


def message_describe(call: Call) -> None:
    """Tell what became of a message, now or when its block was read."""
    offset = call.arguments.number("offset", None)
    group_name = call.arguments.text("group", "")
    queue = call.queue()
    group = find_group(queue, group_name)
    engine = call.engine
    history_of(engine.broker, group, offset, call.now_ms)  # refused before anything is read
    block = queue.log.block_at(offset)

    def arrived(stored: dict[int, StoredBlock]) -> None:
        """While the block was read anything may have happened to the message."""
        sink = engine.sinks.get(call.session.number)
        if sink is None:
            return
        try:
            found = history_of(engine.broker, group, offset, call.now_ms)
        except Refused as refused:
            sink.refuse(call.request, refused.refusal)
            return
        time_ms, data = stored[block.position]
        index = offset - block.first
        told: dict[str, Any] = found._asdict() | {"history": [failure._asdict() for failure in found.history]}
        one = engine.codec.slice(data, index, index + 1)
        place = {"queue": queue.name, "group": group.name, "offset": offset, "published_at_ms": time_ms, "block": one}
        sink.reply(call.request, told | place)

    at_hand = engine.blocks.get(block.position)
    if at_hand is None:
        engine.load([block], arrived)
    else:
        arrived({block.position: at_hand})
