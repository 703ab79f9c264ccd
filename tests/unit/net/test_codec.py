import pytest

from penstock.engine.interface import COLUMNS, BlockColumns
from penstock.net.codec import WireBlockCodec
from penstock_client.wire.blocks import BlockChecker, decode_block, decode_properties, encode_block
from penstock_client.wire.errors import WireError

CODEC = WireBlockCodec()
PROVENANCE = {"queue": "jobs", "offset": 3}


def test_a_dead_letter_is_its_message_with_its_provenance() -> None:
    block = encode_block([b"a", b"b"], keys=["x", "y"], properties=[None, {"message_id": "m"}])

    columns = decode_block(CODEC.dead_letter(block, 1, PROVENANCE))
    assert (columns.bodies, columns.keys) == ([b"b"], ["y"])
    assert columns.properties == [{"message_id": "m", "dead": PROVENANCE}]


def test_a_redriven_message_is_what_it_was_and_remembers() -> None:
    original, queue, group = CODEC.redriven(CODEC.dead_letter(encode_block([b"a"]), 0, PROVENANCE))

    assert (queue, group) == ("jobs", "")
    assert decode_block(original).properties == [{"redriven": PROVENANCE}]


def test_a_redriven_message_knows_its_group() -> None:
    letter = CODEC.dead_letter(encode_block([b"a"]), 0, {**PROVENANCE, "group": "billing"})

    assert CODEC.redriven(letter)[1:] == ("jobs", "billing")


def test_what_is_no_dead_letter_came_from_nowhere() -> None:
    block = encode_block([b"a"])

    assert CODEC.redriven(block) == (block, None, "")


def test_a_second_death_tells_of_the_first() -> None:
    original, _, _ = CODEC.redriven(CODEC.dead_letter(encode_block([b"a"]), 0, PROVENANCE))

    columns = decode_block(CODEC.dead_letter(original, 0, {"queue": "other"}))
    assert columns.properties == [{"dead": {"queue": "other", "earlier": {**PROVENANCE, "earlier": None}}}]


def test_a_message_that_cannot_be_decoded_becomes_a_dead_letter() -> None:
    odd = [None, {"k": "abcde"}]
    poison = encode_block([b"a", b"b"], headers=odd, properties=odd).replace(
        b"\xa5abcde", b"\xd6\x05abcd"
    )  # an extension
    BlockChecker(1_000).check(poison)

    dead = CODEC.dead_letter(poison, 1, PROVENANCE)
    assert decode_properties(dead) == [{"dead": PROVENANCE}]
    assert CODEC.redriven(dead)[1] == "jobs"
    with pytest.raises(WireError):
        decode_block(dead)


def test_only_the_wanted_columns_are_decoded() -> None:
    block = encode_block(
        [b"a", b"b"], keys=["x", None], headers=[{"h": 1}, None], properties=[None, {"message_id": "m"}]
    )

    assert CODEC.columns(block, frozenset()) == BlockColumns()
    assert CODEC.columns(block, frozenset({"headers"})) == BlockColumns(headers=[{"h": 1}, None])
    assert CODEC.columns(block, COLUMNS) == BlockColumns(
        [b"a", b"b"], ["x", None], [{"h": 1}, None], [None, {"message_id": "m"}]
    )
    assert CODEC.columns(encode_block([b"a"]), COLUMNS) == BlockColumns([b"a"])


def test_a_column_that_cannot_be_decoded_is_absent() -> None:
    block = encode_block([b"a"], keys=[5], headers=[{"h": 1}])  # type: ignore[list-item]

    assert CODEC.columns(block, COLUMNS) == BlockColumns([b"a"], headers=[{"h": 1}])


def test_views_are_keys_and_headers_of_each_message() -> None:
    block = encode_block([b"a", b"b"], keys=["k", None], headers=[None, {"h": 1}])

    assert CODEC.views(block) == [("k", {}), (None, {"h": 1})]
    assert CODEC.views(encode_block([b"a", b"b"])) == [(None, {}), (None, {})]
    assert CODEC.views(encode_block([b"a"], keys=[5])) is None  # type: ignore[list-item]
    assert CODEC.views(encode_block([b"a"], headers=["h"])) is None  # type: ignore[list-item]


def test_the_way_is_added_kept_or_refused() -> None:
    plain = encode_block([b"a"])
    routed = CODEC.came_by(plain, "events", "k")

    assert routed == encode_block([b"a"], routing=("events", "k"))
    assert CODEC.came_by(routed, "events", "k") is routed
    assert CODEC.came_by(routed, "events", "l") is None
    assert CODEC.came_by(routed, "other", "k") is None
