"""Cutting one block again and again: where its elements end is found once, not from the front for every part.

A filtered group, a retry, a search takes single messages out of a block; ``slice_block`` walks to each of them. From
the second part on, walking once over all of the block is cheaper.
"""

from collections.abc import Sequence
from typing import NamedTuple

from penstock_client.wire import structure
from penstock_client.wire.blocks import ASKS, assemble_block, block_columns, block_count, slice_block, split_columns
from penstock_client.wire.errors import ErrorCode, WireError


class _Column(NamedTuple):
    """A column's elements, without the array header, and where each begins and the last ends."""

    content: bytes
    edges: Sequence[int]


class BlockSlicer:
    """``slice_block`` with a memory of one block of several messages. For one thread."""

    def __init__(self) -> None:
        self._block = b""
        self._columns: list[_Column | None] | None = None
        self._routing = b""

    def slice(self, block: bytes, start: int, stop: int) -> bytes:
        """Return a block of the messages ``start`` to ``stop`` (exclusive). Raises WireError (BAD_BLOCK)."""
        if start == 0 and stop == block_count(block):
            return block
        if block is not self._block:
            self._block, self._columns = block, None
            return slice_block(block, start, stop)
        if self._columns is None:
            *columns, self._routing = split_columns(block)
            self._columns = [_elements_of(column, block_count(block)) if column else None for column in columns]
        header = structure.array_header(stop - start)
        parts = [
            b"" if column is None else header + column.content[column.edges[start] : column.edges[stop]]
            for column in self._columns
        ]
        return assemble_block(stop - start, [*parts, self._routing], block_columns(block) & ASKS)


def _elements_of(column: bytes, count: int) -> _Column:
    content = column[structure.array_extent(column, 0)[1] :]
    try:
        return _Column(content, [0, *structure.value_ends(content, count)])
    except ValueError as error:
        raise WireError(ErrorCode.BAD_BLOCK, f"a column that does not hold {count} elements") from error
