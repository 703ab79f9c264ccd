"""Cutting the same blocks again and again: where their elements end is found once, not from the front for every part.

Keyed and filtered groups, retries and searches take single messages out of blocks; ``slice_block`` walks to each of
them. From the second part on, walking once over all of the block is cheaper. A keyed group goes to and fro between the
blocks that its consumers hold messages of, so some are remembered, not only the last.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from penstock_client.wire import structure
from penstock_client.wire.blocks import (
    ASKS,
    BLOCK_HEADER_BYTES,
    assemble_block,
    block_columns,
    block_count,
    column_sizes,
    slice_block,
)
from penstock_client.wire.errors import ErrorCode, WireError

REMEMBERED_MAX: Final = 32
"""Blocks; of several messages, so each has 256 KiB at most."""


class _Cuts(NamedTuple):
    """For each column where in the block its elements begin and the last ends, None for an absent one."""

    edges: list[Sequence[int] | None]
    routing: bytes
    asks: int


class BlockSlicer:
    """``slice_block`` with a memory of some blocks of several messages. For one thread."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[bytes, _Cuts | None]] = {}
        """By identity, the latest cut last. The block is kept with it, so that the identity stays its own."""

    def slice(self, block: bytes, start: int, stop: int) -> bytes:
        """Return a block of the messages ``start`` to ``stop`` (exclusive). Raises WireError (BAD_BLOCK)."""
        if start == 0 and stop == block_count(block):
            return block
        known = self._known.pop(id(block), None)
        if known is None:
            self._remember(block, None)
            return slice_block(block, start, stop)
        cuts = known[1] or _cuts_of(block)
        self._remember(block, cuts)
        header = structure.array_header(stop - start)
        parts = [b"" if edges is None else header + block[edges[start] : edges[stop]] for edges in cuts.edges]
        return assemble_block(stop - start, [*parts, cuts.routing], cuts.asks)

    def _remember(self, block: bytes, cuts: _Cuts | None) -> None:
        self._known[id(block)] = block, cuts
        if len(self._known) > REMEMBERED_MAX:
            del self._known[next(iter(self._known))]


def _cuts_of(block: bytes) -> _Cuts:
    sizes = column_sizes(block)
    *starts, routing, end = accumulate(sizes, initial=BLOCK_HEADER_BYTES)
    edges = [_edges_of(block, start, size) if size else None for start, size in zip(starts, sizes, strict=False)]
    return _Cuts(edges, block[routing:end], block_columns(block) & ASKS)


def _edges_of(block: bytes, start: int, size: int) -> Sequence[int]:
    count, end = block_count(block), start + size
    first = start + structure.array_extent(block, start)[1]
    try:
        return [first, *(first + end for end in structure.value_ends(memoryview(block)[first:end], count))]
    except ValueError as error:
        raise WireError(ErrorCode.BAD_BLOCK, f"a column that does not hold {count} elements") from error
