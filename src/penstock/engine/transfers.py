"""TRANSFER: cancels, redrives, moves, copies or replaces the messages that an operator names, a slice a turn.

Each message is one step, in one batch of the journal (I14); the request answers how many were done, and which were not
and why. Which messages those are is the client's business: it finds them with FIND, and so knows how far it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from penstock.core import transfers
from penstock.core.asks import Ask, lone_ask
from penstock.core.definitions import find_queue
from penstock.core.group import Group
from penstock.core.groups import find_group
from penstock.core.log import BlockRef
from penstock.core.names import full_name, namespace_of
from penstock.core.queue import Queue
from penstock.core.storing import append_internal
from penstock.core.values import Refused

if TYPE_CHECKING:
    from penstock.engine.arguments import Call
    from penstock.engine.engine import Engine
    from penstock.engine.interface import StoredBlock

OFFSETS_MAX: Final = 1000
"""Messages of one request: it is answered when all of them are done."""
REFUSALS_MAX: Final = 100
"""Refused messages that a reply names; more are counted."""
_SLICE_MESSAGES: Final = 100
_SLICE_BYTES: Final = 1024 * 1024
"""Done at once: about 5 ms of work, and what is read for it."""
_LOOKED_THROUGH_MAX: Final = 50_000
"""Ranges of waiting messages looked through in one turn, about 10 ms: to take one of them costs a look at all."""
_STAGED_BYTES_MAX: Final = 8 * 1024 * 1024
"""Copies that wait for the disk: past it the next slice waits for a commit."""

CANCEL: Final = "cancel"
REDRIVE: Final = "redrive"
MOVE: Final = "move"
COPY: Final = "copy"
REPLACE: Final = "replace"
ACTIONS: Final = (CANCEL, REDRIVE, MOVE, COPY, REPLACE)


class Order(NamedTuple):
    """What is to be done with messages of a group. ``block`` is the one that replaces, a message alone."""

    action: str
    group: Group
    offsets: tuple[int, ...]
    target: Queue | None = None
    block: bytes = b""


def transfer(call: Call) -> None:
    """Answer TRANSFER, some turns later."""
    Transfer(call.engine, (call.session.number, call.request), _read_order(call)).start()


def _read_order(call: Call) -> Order:
    action = call.arguments.text("action", None)
    if action not in ACTIONS:
        raise Refused("bad-setting", f"action must be one of {', '.join(ACTIONS)}, not {action!r}")
    offsets = _read_offsets(call.arguments.optional("offsets"), 1 if action == REPLACE else OFFSETS_MAX)
    name, block = call.arguments.optional("target"), call.arguments.optional("block")
    if (name is not None) != (action in (MOVE, COPY)) or (block is not None) != (action == REPLACE):
        raise Refused("bad-setting", f"{MOVE} and {COPY} have a target, {REPLACE} has a block, and no other action has")
    target = find_queue(call.engine.broker, name) if name is not None else None
    if action == REPLACE and (problem := call.engine.codec.single_problem(block)):
        raise Refused("bad-block", f"block must be the block of one message: {problem}")
    group = call.group()
    if action == MOVE and target is group.queue:
        raise Refused("bad-setting", f"{group.queue.name!r} is where the messages are: move them to another queue")
    return Order(action, group, offsets, target, block or b"")


def _read_offsets(value: Any, count_max: int) -> tuple[int, ...]:
    fits = isinstance(value, list) and 1 <= len(value) <= count_max
    if not fits or not all(type(offset) is int and offset >= 0 for offset in value):
        raise Refused("bad-setting", f"offsets must be a list of 1 to {count_max} offsets")
    return tuple(dict.fromkeys(value))


class Transfer:
    """One order under way."""

    def __init__(self, engine: Engine, asker: tuple[int, int], order: Order) -> None:
        self._engine = engine
        self._asker = asker
        self._order = order
        self._waiting = deque(order.offsets)
        self._loading = False
        self._done = 0
        self._refused: list[tuple[int, str, str]] = []
        self._refused_count = 0
        self._actions: dict[str, Callable[[int, bytes], object]] = {
            CANCEL: self._cancel,
            REDRIVE: self._redrive,
            MOVE: self._move,
            COPY: self._copy,
            REPLACE: self._replace,
        }

    def start(self) -> None:
        """Begin with the next turn."""
        self._engine.jobs.append(self._step)
        self._engine.wake()

    def _step(self) -> bool:
        """Called every turn; True when all is done."""
        if self._loading or self._engine.gathered_bytes > _STAGED_BYTES_MAX or self._engine.broker.storage_full:
            return False
        if self._order.group.deleted:
            self._refuse_rest()
        if not self._waiting:
            reply = {"done": self._done, "refused": self._refused, "refused_count": self._refused_count}
            self._engine.later(*self._asker, reply)
            return True
        self._begin_slice()
        self._engine.wake()
        return False

    def _begin_slice(self) -> None:
        offsets, missing = self._next_slice()

        def arrived(loaded: dict[int, StoredBlock]) -> None:
            self._loading = False
            for offset in offsets:
                self._do(offset, loaded)
            self._engine.wake()

        if missing:
            self._loading = True
            self._engine.load(missing, arrived)
        else:
            arrived({})

    def _next_slice(self) -> tuple[list[int], list[BlockRef]]:
        offsets: list[int] = []
        missing: dict[int, BlockRef] = {}
        group = self._order.group
        size_bytes = looked_through = 0
        while self._waiting and len(offsets) < _SLICE_MESSAGES and size_bytes < _SLICE_BYTES:
            if looked_through > _LOOKED_THROUGH_MAX:
                break
            offset = self._waiting.popleft()
            offsets.append(offset)
            looked_through += 0 if group.is_untouched(offset) else group.waiting_range_count
            block = self._block_of(offset)
            if block is not None and self._engine.blocks.get(block.position) is None:
                size_bytes += 0 if block.position in missing else block.size_bytes
                missing[block.position] = block
        return offsets, list(missing.values())

    def _block_of(self, offset: int) -> BlockRef | None:
        """Where the message is stored; None when it is not there, or its content is not needed."""
        group = self._order.group
        is_there = not group.deleted and offset < group.queue.log.next_offset and group.is_open(offset)
        if self._order.action == CANCEL or not is_there:
            return None
        return group.queue.log.block_at(offset)

    def _do(self, offset: int, loaded: dict[int, StoredBlock]) -> None:
        block, message = self._block_of(offset), b""
        if block is not None:
            stored = loaded.get(block.position) or self._engine.blocks.get(block.position)
            if stored is None:  # evicted or moved meanwhile: once more
                self._waiting.append(offset)
                return
            message = self._engine.codec.slice(stored[1], offset - block.first, offset - block.first + 1)
        try:
            if self._order.group.deleted or (self._order.target is not None and self._order.target.deleted):
                raise Refused("queue-deleted", "the queue or group was deleted meanwhile")
            self._actions[self._order.action](offset, message)
        except Refused as refused:
            self._note(offset, refused)
        else:
            self._done += 1

    def _note(self, offset: int, refused: Refused) -> None:
        self._refused_count += 1
        if len(self._refused) < REFUSALS_MAX:
            self._refused.append((offset, *refused.refusal))

    def _refuse_rest(self) -> None:
        while self._waiting:
            self._note(self._waiting.popleft(), Refused("group-deleted", "the group was deleted meanwhile"))

    # -- one message ---------------------------------------------------------------------------------------------------

    def _cancel(self, offset: int, message: bytes) -> None:
        del message
        transfers.cancel(self._engine.broker, self._order.group, offset)

    def _move(self, offset: int, message: bytes) -> None:
        assert self._order.target is not None, "an order to move has a target"
        engine = self._engine
        transfers.check_takeable(self._order.group, offset)
        group, target = self._order.group, self._order.target
        transfers.move_to_queue(engine.broker, group, offset, target, message, engine.clock_ms(), self._ask(message))

    def _copy(self, offset: int, message: bytes) -> None:
        assert self._order.target is not None, "an order to copy has a target"
        transfers.check_there(self._order.group, offset)
        broker, now_ms = self._engine.broker, self._engine.clock_ms()
        with broker.recorder.together():
            append_internal(broker, self._order.target, message, now_ms, asks=(self._ask(message),))

    def _replace(self, offset: int, message: bytes) -> None:
        engine, group = self._engine, self._order.group
        transfers.check_takeable(group, offset)
        if offset in group.queue.markers:
            raise Refused(
                "unsupported",
                f"message {offset} of {group.queue.name!r} stands for one that is held in its place, which an edited"
                " one would not have: redrive it, or cancel it and publish another",
            )
        edited = engine.codec.edited(self._order.block, message, group.queue.local_name, offset)
        transfers.move(engine.broker, group, offset, group, edited, engine.clock_ms(), self._ask(edited))

    def _ask(self, message: bytes) -> Ask:
        """What the copy of a message asks for: what the message did, its time to live anew."""
        return lone_ask(self._engine.codec.properties(message), self._engine.clock_ms())

    def _redrive(self, offset: int, message: bytes) -> None:
        engine, group = self._engine, self._order.group
        transfers.check_takeable(group, offset)
        if offset in group.queue.markers:
            transfers.resume(engine.broker, group, offset)
            return
        original, queue_name, group_name = engine.codec.redriven(message)
        if queue_name is None:
            raise Refused(
                "not-dead", f"message {offset} of {group.queue.name!r} is no dead letter: it came from nowhere"
            )
        origin = full_name(namespace_of(group.queue.name), queue_name)
        target = find_group(find_queue(engine.broker, origin), group_name)
        transfers.move(engine.broker, group, offset, target, original, engine.clock_ms(), self._ask(original))
