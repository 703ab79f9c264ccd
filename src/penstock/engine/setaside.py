"""Dropping into the dead letters: what a queue must not keep, because it is full or too old, moved a slice a turn.

Unlike a message that dies, such a message stays where it is until its block is in memory: it may still be handed out,
and then it is not dropped. The copy and the end of the original are in one batch (I14). Meanwhile the queue is a little
above its bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from penstock.core import dropping, overflow
from penstock.core.group import Group
from penstock.core.log import BlockRef
from penstock.core.queue import Queue
from penstock.engine.interface import StoredBlock

if TYPE_CHECKING:
    from penstock.engine.engine import Engine

_SLICE_MESSAGES: Final = 100
"""Moved at once: about 8 ms of work."""
_STAGED_BYTES_MAX: Final = 8 * 1024 * 1024
"""Copies that wait for the disk: past it, this waits for a commit."""


class SettingAside:
    """Works on the queues that core found to hold too much."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._busy = False
        self._loading = False

    def begin(self) -> None:
        """Have a step every turn until no queue holds too much."""
        if not self._busy:
            self._busy = True
            self._engine.jobs.append(self._step)
        self._engine.wake()

    def _step(self) -> bool:
        """Called every turn; True when nothing is left to do."""
        engine, queues = self._engine, self._engine.broker.overfull_queues
        if self._loading or engine.gathered_bytes > _STAGED_BYTES_MAX:
            return False  # goes on when the blocks are there, or a commit is done
        if queues:
            queue = next(iter(queues))
            picked = [] if queue.deleted else dropping.next_to_set_aside(queue, _SLICE_MESSAGES)
            if picked:
                self._set_aside_all(queue, picked)
            else:
                del queues[queue]
            engine.wake()
        self._busy = bool(queues)
        return not self._busy

    def _set_aside_all(self, queue: Queue, offsets: list[int]) -> None:
        get = self._engine.blocks.get
        refs = {offset: queue.log.block_at(offset) for offset in offsets}
        missing = {ref.position: ref for ref in refs.values() if get(ref.position) is None}

        def arrived(loaded: dict[int, StoredBlock]) -> None:
            self._loading = False
            wanted = offsets
            if loaded:
                wanted = [] if queue.deleted else dropping.next_to_set_aside(queue, _SLICE_MESSAGES)
            stored = {ref.position: loaded.get(ref.position) or get(ref.position) for ref in refs.values()}
            there: dict[int, tuple[BlockRef, StoredBlock]] = {}
            for offset in wanted:
                ref = refs.get(offset)
                if ref is None:  # others have to go by now: in the next step
                    break
                if (block := stored[ref.position]) is not None:  # else it was moved meanwhile, and is picked once more
                    there[offset] = ref, block
            for group, offset in dropping.take_aside(queue, list(there)):
                self._set_aside(group, offset, *there[offset])
            self._engine.wake()

        if missing:
            self._loading = True
            self._engine.load(list(missing.values()), arrived)
        else:
            arrived({})

    def _set_aside(self, group: Group, offset: int, ref: BlockRef, stored: StoredBlock) -> None:
        engine = self._engine
        block = engine.codec.dead_letter(stored[1], offset - ref.first, _provenance(group, offset, stored[0]))
        dropping.set_aside(engine.broker, group, offset, block, engine.clock_ms())


def _provenance(group: Group, offset: int, published_at_ms: int) -> dict[str, Any]:
    run = group.outstanding.find(offset)
    aged = group.queue.ages is not None and offset < group.queue.ages.aged_offset
    return {
        "queue": group.queue.local_name,
        **({"group": group.name} if group.name else {}),
        "offset": offset,
        "attempts": run.attempts if run else 0,
        "reason": overflow.TOO_OLD if aged else overflow.FULL,
        "published_at_ms": published_at_ms,
        "failures": [failure._asdict() for failure in group.history.get(offset, [])],
    }
