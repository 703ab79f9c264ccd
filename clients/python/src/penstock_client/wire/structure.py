"""Walking msgpack without building it: where values end, whatever they are.

msgpack's own decoder reserves room for as many elements as an array header claims, before it has seen any; 64 KiB of
nested claims would reserve half a gigabyte. A walk allocates nothing, so bytes from a peer are walked first and built
only once every claim is known to be honest. It is also five times faster than building, so what only passes through is
never built at all.

An unpacker keeps its buffer; one is kept for reuse, taken and given back in single steps, so threads may walk at once.
"""

from typing import Any, Final, NoReturn

import msgpack

from penstock_client.wire.limits import BLOCK_BYTES_MULTI_MAX

_REUSED_BYTES_MAX: Final = 2 * BLOCK_BYTES_MULTI_MAX
"""Larger values get an unpacker of their own, so that one large value does not enlarge the kept buffer for good."""

_ARRAY_32: Final = 0xDD

_spare: list[msgpack.Unpacker] = []


def value_ends(data: bytes | memoryview, count: int = 1) -> list[int]:
    """Return where each of the first ``count`` msgpack values in ``data`` ends.

    Raises ValueError when there are fewer, or they are nested deeper than 1,024.
    """
    return _walk(b"", data, count)


def elements_end(data: bytes | memoryview, count: int) -> int:
    """Return where the last of ``count`` array elements ends; ``data`` is an array's content, without its header."""
    return _walk(array_header(count, fixed=True), data, 1)[0] - 5


def _walk(prefix: bytes, data: bytes | memoryview, count: int) -> list[int]:
    size = len(prefix) + len(data)
    unpacker = _take(size)
    base = unpacker.tell()
    try:
        if prefix:
            unpacker.feed(prefix)
        unpacker.feed(data)
        ends = []
        for _ in range(count):
            unpacker.skip()
            ends.append(unpacker.tell() - base)
    except (ValueError, msgpack.UnpackException) as error:
        raise ValueError("not as many whole msgpack values as announced") from error
    if size <= _REUSED_BYTES_MAX:
        if ends[-1] < size:
            unpacker.read_bytes(size - ends[-1])
        _spare.append(unpacker)
    return ends


def _take(size: int) -> msgpack.Unpacker:
    if size > _REUSED_BYTES_MAX:
        return msgpack.Unpacker(max_buffer_size=size, read_size=size)
    try:
        return _spare.pop()
    except IndexError:
        return msgpack.Unpacker(max_buffer_size=2 * _REUSED_BYTES_MAX, read_size=_REUSED_BYTES_MAX)


def array_extent(data: bytes, offset: int) -> tuple[int, int]:
    """Return (elements, header bytes) of the msgpack array at ``offset``; (-1, 0) when there is none."""
    first = data[offset]
    if 0x90 <= first <= 0x9F:
        return first & 0x0F, 1
    if first == 0xDC:
        return int.from_bytes(data[offset + 1 : offset + 3], "big"), 3
    if first == _ARRAY_32:
        return int.from_bytes(data[offset + 1 : offset + 5], "big"), 5
    return -1, 0


def array_header(count: int, *, fixed: bool = False) -> bytes:
    """Return the shortest header of an array of ``count`` elements; with ``fixed`` always the one of 5 bytes."""
    if not fixed:
        if count <= 0x0F:
            return bytes((0x90 | count,))
        if count <= 0xFFFF:
            return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")


def bin_bytes(data: bytes, offset: int, size: int) -> int:
    """Return the length of the bin value that fills the ``size`` bytes at ``offset``; -1 when they are not one."""
    if size < 2:
        return -1
    kind = data[offset]
    if kind == 0xC4:
        length, header = data[offset + 1], 2
    elif kind == 0xC5 and size >= 3:
        length, header = int.from_bytes(data[offset + 1 : offset + 3], "big"), 3
    elif kind == 0xC6 and size >= 5:
        length, header = int.from_bytes(data[offset + 1 : offset + 5], "big"), 5
    else:
        return -1
    return length if header + length == size else -1


def build(data: bytes, *, unicode_errors: str = "strict", strict_map_key: bool = True) -> Any:
    """Return the one value ``data`` is. Raises ValueError for anything else; extension types are refused.

    Bytes that nobody has walked yet are to be walked first.
    """
    try:
        return msgpack.unpackb(
            data,
            unicode_errors=unicode_errors,
            strict_map_key=strict_map_key,
            max_ext_len=0,  # refuses all extensions, timestamps too, but the empty ones: those meet the hook
            ext_hook=_refuse_extension,
        )
    except (TypeError, RecursionError, msgpack.UnpackException) as error:
        raise ValueError(f"not a msgpack value: {error}") from error


def _refuse_extension(code: int, _: bytes) -> NoReturn:
    raise ValueError(f"extension type {code} is not part of the protocol")
