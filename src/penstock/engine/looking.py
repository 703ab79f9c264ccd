"""Looking ahead: brings the keys of messages to the keyed groups that want them, from memory or from the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from penstock.core.keyed import look_at, wants_to_look
from penstock.engine.outbox import READ_AHEAD_BYTES

if TYPE_CHECKING:
    from penstock.core.group import Group
    from penstock.core.log import BlockRef
    from penstock.engine.engine import Engine
    from penstock.engine.interface import StoredBlock

BLOCKS_PER_TURN: Final = 64
"""About 5 ms of blocks of 500 messages: the rest is for the next turn."""


class Looker:
    """Serves ``broker.looking``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def look(self) -> None:
        """Look at what is in memory, up to a turn's worth; begin to read what is not."""
        broker = self._engine.broker
        left = BLOCKS_PER_TURN
        while broker.looking and left:
            group = next(iter(broker.looking))
            block = self._next_block(group)
            if block is None:
                del broker.looking[group]
                continue
            stored = self._engine.blocks.get(block.position)
            if stored is None:
                del broker.looking[group]
                self._load(group, block)
            else:
                left -= 1
                self._look_at(group, block, stored)

    def _next_block(self, group: Group) -> BlockRef | None:
        if group.deleted or group.index is None or not wants_to_look(group):
            return None
        return group.queue.log.block_at(group.index.next_look)

    def _look_at(self, group: Group, block: BlockRef, stored: StoredBlock) -> None:
        broker = self._engine.broker
        if look_at(group, block.first, self._engine.codec.keys(stored[1])):
            broker.delayed_groups[group] = None
        broker.ready_groups[group] = None

    def _load(self, group: Group, block: BlockRef) -> None:
        engine = self._engine
        ahead = group.queue.log.blocks_from(block.first, READ_AHEAD_BYTES)
        missing = [ref for ref in ahead if engine.blocks.get(ref.position) is None]
        index = group.index
        assert index is not None, "only keyed groups look ahead"
        index.loading = True

        def arrived(loaded: dict[int, StoredBlock]) -> None:
            index.loading = False
            while (block := self._next_block(group)) is not None:
                stored = loaded.get(block.position) or engine.blocks.get(block.position)
                if stored is None:
                    break
                self._look_at(group, block, stored)
            for position, stored in loaded.items():
                engine.blocks.keep(position, stored)
            if not group.deleted:
                engine.broker.ready_groups[group] = None
            engine.wake()

        engine.load(missing, arrived)
