from penstock.core.log import BlockRef, QueueLog

ALL = 1 << 62


def log_of(*counts: int, start: int = 0) -> QueueLog:
    log = QueueLog(start)
    for index, count in enumerate(counts):
        log.append(count, 10 * count, 1000 + index)
    return log


def test_offsets_are_consecutive() -> None:
    log = log_of(3, 1, 2, start=5)
    assert [(block.first, block.end) for block in log.all_blocks()] == [(5, 8), (8, 9), (9, 11)]
    assert (log.start_offset, log.next_offset, log.block_count, log.live_bytes) == (5, 11, 3, 60)


def test_a_block_is_found_by_any_of_its_offsets() -> None:
    log = log_of(3, 1, 2)
    assert [log.block_at(offset).position for offset in range(6)] == [1000, 1000, 1000, 1001, 1002, 1002]
    assert log.block_at(4) == BlockRef(4, 6, 20, 1002)


def test_reading_ahead_gives_at_least_one_block() -> None:
    log = log_of(3, 1, 2)
    assert [block.position for block in log.blocks_from(1, 1)] == [1000]
    assert [block.position for block in log.blocks_from(1, 40)] == [1000, 1001]
    assert [block.position for block in log.blocks_from(3, 1000)] == [1001, 1002]


def test_blocks_leave_when_they_are_done_whole() -> None:
    log = log_of(3, 1, 2)
    assert log.release(2, ALL) == []
    assert log.start_offset == 2
    assert [block.position for block in log.release(5, ALL)] == [1000, 1001]
    assert (log.block_count, log.live_bytes) == (1, 20)
    assert [block.position for block in log.release(6, ALL)] == [1002]
    assert (log.block_count, log.live_bytes, log.next_offset) == (0, 0, 6)
    assert log.append(2, 20, 7) == 6, "offsets go on (I6)"


def test_many_blocks_leave_in_slices() -> None:
    log = log_of(1, 1, 1, 1)
    assert len(log.release(4, 3)) == 3
    assert len(log.release(4, 3)) == 1


def test_the_front_is_cut_once_it_is_most_of_the_log() -> None:
    log = log_of(*[1] * 3000)
    log.release(2000, ALL)
    assert [block.first for block in log.all_blocks()] == list(range(2000, 3000))
    assert log.block_at(2500) == BlockRef(2500, 2501, 10, 3500)


def test_a_block_that_moved_is_read_from_its_new_place() -> None:
    log = log_of(3, 1)
    log.relocate(0, 77)
    log.relocate(1, 88)
    assert [block.position for block in log.all_blocks()] == [77, 1001], "1 is no block's first offset"
    assert (log.position_of(0), log.position_of(1), log.position_of(3)) == (77, None, 1001)
    log.release(3, ALL)
    assert log.position_of(0) is None
    log.relocate(0, 99)
    assert log.position_of(3) == 1001


def test_columns_give_the_same_log_back() -> None:
    log = log_of(3, 1, 2)
    log.release(3, ALL)
    again = QueueLog()
    again.append(9, 9, 9)
    again.restore(log.start_offset, log.next_offset, log.columns())
    assert again.all_blocks() == log.all_blocks()
    assert (again.start_offset, again.visible, again.live_bytes) == (3, 6, 30)
