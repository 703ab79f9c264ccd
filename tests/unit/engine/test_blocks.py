from penstock.core.facts import Published
from penstock.core.log import BlockRef
from penstock.core.records import PUBLISHED_HEADER_BYTES, encode
from penstock.engine.blocks import MEMORY_POSITION, BlockStore, parse_stored

SEGMENT = 1 << 40
BLOCK = b"x" * 100
STORED_BYTES = len(BLOCK) + PUBLISHED_HEADER_BYTES


def ref(position: int) -> BlockRef:
    return BlockRef(0, 1, STORED_BYTES, position)


def test_a_block_is_in_memory_until_the_cache_is_full() -> None:
    store = BlockStore(1000)
    store.durable_position = 1 << 60
    for position in range(10):
        store.add(position, 7, BLOCK)
    assert store.get(0) is None
    assert store.get(9) == (7, BLOCK)
    assert store.cache_bytes <= 1000


def test_what_is_not_durable_stays_in_memory_however_full_the_cache_is() -> None:
    """It could not be read back."""
    store = BlockStore(0)
    store.durable_position = 3
    for position in range(6):
        store.add(position, 7, BLOCK)
    assert [store.get(position) is not None for position in range(6)] == [False, False, False, True, True, True]


def test_live_bytes_are_counted_by_segment() -> None:
    """I12, in bytes."""
    store = BlockStore(1 << 20)
    for position in (SEGMENT + 1, SEGMENT + 500, 2 * SEGMENT + 1):
        store.add(position, 0, BLOCK)
    store.count_live(2 * SEGMENT + 900, 1000)
    assert dict(store.live_bytes_by_segment) == {1: 2 * STORED_BYTES, 2: STORED_BYTES + 1000}
    store.drop([ref(SEGMENT + 1), ref(SEGMENT + 500)])
    assert dict(store.live_bytes_by_segment) == {2: STORED_BYTES + 1000}
    assert store.live_bytes == STORED_BYTES + 1000


def test_a_dropped_block_frees_its_memory() -> None:
    """I13."""
    store = BlockStore(1 << 20)
    store.add(1, 0, BLOCK)
    store.count_live(2, STORED_BYTES)
    store.drop([ref(1), ref(2)])
    assert store.cache_bytes == 0
    assert store.get(1) is None


def test_memory_blocks_stay_until_they_are_dropped() -> None:
    store = BlockStore(0)
    positions = [store.hold(5, BLOCK), store.hold(5, b"y")]
    assert all(position & MEMORY_POSITION for position in positions)
    assert store.get(positions[1]) == (5, b"y")
    store.drop([ref(positions[0])])
    assert store.get(positions[0]) is None
    assert store.live_bytes == 0, "they take nothing in the journal"


def test_a_block_that_was_read_back_is_kept_once() -> None:
    store = BlockStore(1 << 20)
    store.keep(1, (0, BLOCK))
    before = store.cache_bytes
    store.keep(1, (0, BLOCK))
    assert store.cache_bytes == before
    small = BlockStore(0)
    small.durable_position = 9
    small.keep(1, (0, BLOCK))
    assert small.get(1) is None


def test_a_stored_record_gives_its_time_and_block() -> None:
    record = encode(Published(1, 2, 3, 4, 5, 0, 66, BLOCK))
    assert parse_stored(memoryview(record)) == (66, BLOCK)
