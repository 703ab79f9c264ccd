import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.selectors import strategies

from penstock.core import records
from penstock.core.facts import (
    Acked,
    Altered,
    Asked,
    AskedRun,
    Dead,
    Declared,
    Deleted,
    Discarded,
    Expired,
    Fact,
    Failed,
    GroupAltered,
    GroupDeclared,
    GroupDeleted,
    GroupStateSet,
    Held,
    Leased,
    Moved,
    Noted,
    Paused,
    ProducerOpened,
    ProducersExpired,
    Published,
    Repeated,
    Resumed,
)
from penstock.core.records import (
    decode,
    encode,
    stored_header,
)
from penstock.core.selectors import Selector
from penstock.core.values import Failure, GroupSettings, QueueSettings

U64 = st.integers(0, (1 << 64) - 1)
RANGES = st.lists(st.tuples(U64, U64), max_size=5).map(tuple)
BLOCKS = st.tuples(U64, U64, st.integers(0, (1 << 32) - 1), U64, U64, st.integers(0, 255), U64, st.binary(max_size=99))
SELECTORS = st.none() | st.builds(Selector, st.text(), strategies.condition)
FACTS = st.one_of(
    BLOCKS.map(lambda fields: Published(*fields)),
    BLOCKS.map(lambda fields: Moved(*fields)),
    st.builds(Leased, U64, U64, U64, U64),
    st.builds(Acked, U64, U64, RANGES),
    st.builds(Discarded, U64, U64, st.integers(0, 255), RANGES),
    st.builds(Failed, U64, U64, U64, U64, U64, st.booleans(), st.builds(Failure, U64, U64, st.text(), st.text())),
    st.builds(Dead, U64, U64, U64, U64, U64),
    st.builds(Noted, U64, U64, U64, st.binary(max_size=60)),
    st.builds(
        Asked,
        U64,
        U64,
        U64,
        st.lists(st.builds(AskedRun, U64, st.integers(0, (1 << 32) - 1), st.integers(0, 255)), max_size=5).map(tuple),
        st.booleans(),
    ),
    st.builds(Expired, U64, U64, st.lists(st.tuples(U64, U64), max_size=5).map(tuple)),
    st.builds(Repeated, U64, U64, st.integers(0, (1 << 32) - 1), U64, U64, U64),
    st.builds(GroupStateSet, U64, U64, U64, st.text(st.characters(exclude_categories=["Cs"])), st.binary(max_size=60)),
    st.builds(Declared, U64, U64, st.text(), st.builds(QueueSettings), U64),
    st.builds(Deleted, U64),
    st.builds(GroupDeclared, U64, U64, st.text(), st.builds(GroupSettings, where=SELECTORS), U64, U64),
    st.builds(GroupDeleted, U64, U64),
    st.builds(Altered, U64, st.builds(QueueSettings), U64),
    st.builds(GroupAltered, U64, U64, st.builds(GroupSettings)),
    st.builds(Held, U64, U64, U64, U64, U64),
    st.builds(Resumed, U64, U64, U64),
    st.builds(Paused, U64, U64, st.booleans()),
    st.builds(ProducerOpened, U64, U64),
    st.builds(ProducersExpired, st.lists(U64, max_size=5).map(tuple)),
)


@given(fact=FACTS)
def test_a_fact_comes_back_from_its_record(fact: Fact) -> None:
    """I18."""
    assert decode(encode(fact)) == fact
    assert decode(memoryview(encode(fact))) == fact


def u64(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}Q", *numbers)


GOLDEN = [
    (Published(1, 2, 3, 4, 5, 1, 6, b"block"), b"\1\1\0\0\3\0\0\0" + u64(1, 2, 4, 5, 6) + b"block"),
    (Moved(1, 2, 3, 4, 5, 0, 6, b"b"), b"\7\0\0\0\3\0\0\0" + u64(1, 2, 4, 5, 6) + b"b"),
    (GroupStateSet(1, 2, 3, "kä", b"v"), b"\x3c\0\0\0\3\0\0\0" + u64(1, 2, 3) + b"k\xc3\xa4v"),
    (Leased(1, 2, 3, 4), b"\2" + bytes(7) + u64(1, 2, 3, 4)),
    (Acked(1, 2, ((3, 4), (7, 9))), b"\3\0\0\0\2\0\0\0" + u64(1, 2, 3, 4, 7, 9)),
    (Discarded(1, 2, 3, ((3, 4),)), b"\6\3\0\0\1\0\0\0" + u64(1, 2, 3, 4)),
    (Dead(1, 2, 3, 4, 5), b"\5" + bytes(7) + u64(1, 2, 3, 4, 5)),
    (
        Failed(1, 2, 3, 4, 5, True, Failure(6, 7, "w", "why", 5)),
        b"\4\1\0\0\0\0\0\0" + u64(1, 2, 3, 4, 5) + b'[6, 7, "w", "why", 5]',
    ),
    (GroupDeleted(1, 2), b'\x15{"queue": 1, "group": 2}'),
    (Paused(1, 0, True), b'\x16{"queue": 1, "group": 0, "paused": true}'),
    (Deleted(7), b'\x11{"queue": 7}'),
    (ProducerOpened(7, 8), b'\x12{"producer": 7, "time_ms": 8}'),
    (ProducersExpired((7, 8)), b'\x13{"producers": [7, 8]}'),
]


@pytest.mark.parametrize(("fact", "record"), GOLDEN, ids=lambda value: type(value).__name__)
def test_records_have_their_drawn_form(fact: Fact, record: bytes) -> None:
    assert encode(fact) == record
    assert decode(record) == fact


def test_a_declaration_holds_every_setting_by_name() -> None:
    record = encode(Declared(1, 2, "jobs", QueueSettings(lease_ms=7), 3))
    fields = json.loads(record[1:])
    assert record[0] == 16
    assert fields["settings"] == QueueSettings(lease_ms=7).as_map()


def test_a_stored_header_is_the_record_without_its_block() -> None:
    fact = Published(1, 2, 3, 4, 5, 1, 6, b"block")
    assert stored_header(fact) + b"block" == encode(fact)
    assert len(stored_header(fact)) == 48


def test_a_record_of_a_newer_version_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind 99"):
        decode(b"\x63{}")


def test_a_kind_of_record_stands_for_one_fact() -> None:
    numbers = [
        number
        for name, number in vars(records).items()
        if name.isupper() and isinstance(number, int) and not name.endswith("_BYTES")
    ]
    assert len(numbers) == len(set(numbers))
