"""Sifting: has selectors look at messages ahead of where their groups are, a slice a turn.

Selectors take turns. One that has seen everything, or has found enough, is forgotten until a dispatch looks at its
group again: when something is published, handed out, settled or asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from penstock.core.log import BlockRef
from penstock.core.sieve import Choice, Sieve
from penstock.engine.interface import StoredBlock
from penstock.engine.rows import rows_of

if TYPE_CHECKING:
    from penstock.engine.engine import Engine

SLICE_BYTES: Final = 256 * 1024
SLICE_MESSAGES: Final = 1000
"""Looked at in one turn, about 2 ms: a block is at most 4,096 messages and is not cut."""


class Sifter:
    """Has one selector look at one slice a turn."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loading: set[Sieve | Choice] = set()

    def step(self) -> None:
        """Called in every turn in which a group with selectors was looked at."""
        waiting = self._engine.broker.sifting
        sieve = next(iter(waiting))
        del waiting[sieve]
        if sieve not in self._loading and not _is_over(sieve):
            self._load(sieve, _next_blocks(sieve))
        if waiting:
            self._engine.wake()

    def _load(self, sieve: Sieve | Choice, blocks: list[BlockRef]) -> None:
        at_hand: dict[int, StoredBlock] = {}
        missing: list[BlockRef] = []
        for block in blocks:
            stored = self._engine.blocks.get(block.position)
            if stored is None:
                missing.append(block)
            else:
                at_hand[block.position] = stored

        def arrived(loaded: dict[int, StoredBlock]) -> None:
            self._loading.discard(sieve)
            self._look(sieve, blocks, {**at_hand, **loaded})

        if missing:
            self._loading.add(sieve)
            self._engine.load(missing, arrived)
        elif blocks:
            arrived({})

    def _look(self, sieve: Sieve | Choice, blocks: list[BlockRef], stored: dict[int, StoredBlock]) -> None:
        queue, codec = sieve.group.queue, self._engine.codec
        for block in blocks:
            start = None if _is_over(sieve) else sieve.next_look()
            if start is None:
                break
            first, end = max(block.first, start), min(block.end, queue.log.visible)
            if first < end:
                time_ms, data = stored[block.position]
                rows = rows_of(
                    codec.columns(data, sieve.columns), block.end - block.first, None, time_ms, queue.durable
                )
                sieve.look(self._engine.broker, first, rows[first - block.first : end - block.first])
        self._engine.wake()


def _is_over(sieve: Sieve | Choice) -> bool:
    """Its group, or its consumer, is gone."""
    return sieve.group.deleted or sieve.group.queue.deleted or sieve not in sieve.group.sieves


def _next_blocks(sieve: Sieve | Choice) -> list[BlockRef]:
    start, log = sieve.next_look(), sieve.group.queue.log
    blocks: list[BlockRef] = []
    for block in () if start is None else log.blocks_from(start, SLICE_BYTES):
        if block.first >= log.visible or (blocks and block.first - blocks[0].first >= SLICE_MESSAGES):
            break
        blocks.append(block)
    return blocks
