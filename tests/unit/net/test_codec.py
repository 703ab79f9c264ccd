import pytest

from penstock.engine.interface import COLUMNS, BlockColumns
from penstock.net.codec import WireBlockCodec
from penstock_client.wire.blocks import BlockChecker, assemble_block, decode_block, decode_properties, encode_block
from penstock_client.wire.errors import WireError

CODEC = WireBlockCodec()
PROVENANCE = {"queue": "jobs", "offset": 3}
DEEPEST = 1022
"""Maps within one another that a producer may write into its property."""


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


def test_what_a_producer_nested_too_deep_dies_without_its_earlier_life() -> None:
    """A dead letter wraps it once more. It must not be what stops all burying."""
    depths = 0
    for depth in range(1, 1024):
        nested = b"\x91\x81\xa8redriven" + b"\x81\xa1x" * depth + b"\xc0"
        block = assemble_block(1, [b"\x91\xc4\x00", b"", b"", nested, b""], 0)
        try:
            BlockChecker(10_000).check(block)
        except WireError:
            break
        depths += 1
        [properties] = decode_properties(CODEC.dead_letter(block, 0, PROVENANCE)) or [None]
        assert properties is not None
        assert properties["dead"]["queue"] == "jobs"
        assert ("earlier" in properties["dead"]) is (depth < DEEPEST)
    assert depths == DEEPEST


def test_several_messages_die_of_one_cause() -> None:
    odd = [{"message_id": "m"}, None, {"redriven": {"queue": "jobs"}}, {"n": 1}]
    block = encode_block([b"a", b"b", b"c", b"d"], keys=["x", None, "y", "z"], properties=odd)
    columns = decode_block(CODEC.dead_letters(block, 0, 3, PROVENANCE))
    assert (columns.bodies, columns.keys) == ([b"a", b"b", b"c"], ["x", None, "y"])
    assert columns.properties == [
        {"message_id": "m", "dead": PROVENANCE},
        {"dead": PROVENANCE},
        {"dead": {**PROVENANCE, "earlier": {"queue": "jobs", "earlier": None}}},
    ]


def test_one_that_cannot_be_decoded_takes_nothing_from_the_others() -> None:
    odd = [{"message_id": "m"}, {"k": "abcde"}]
    poison = encode_block([b"a", b"b"], properties=odd).replace(b"\xa5abcde", b"\xd6\x05abcd")
    letters = decode_properties(CODEC.dead_letters(poison, 0, 2, PROVENANCE))
    assert letters == [{"message_id": "m", "dead": PROVENANCE}, {"dead": PROVENANCE}]


def test_what_is_edited_keeps_what_the_broker_knows_of_it() -> None:
    routing = ("events", "orders.new")
    letter = CODEC.dead_letter(encode_block([b"a"], properties=[{"message_id": "m"}], routing=routing), 0, PROVENANCE)
    mended = encode_block([b"b"], properties=[{"message_id": "n", "dead": "forged"}])
    columns = decode_block(CODEC.edited(mended, letter, "jobs.dead", 7))
    edited_from = {"queue": "jobs.dead", "offset": 7}
    assert columns.properties == [{"message_id": "n", "dead": PROVENANCE, "edited_from": edited_from}]
    assert (columns.bodies, columns.routing) == ([b"b"], routing)
    assert CODEC.redriven(CODEC.edited(mended, letter, "jobs.dead", 7))[1] == "jobs"


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        (encode_block([b"a"]), ""),
        (encode_block([b"a"], properties=[{"message_id": "m"}]), ""),
        (encode_block([b"a"], properties=[{"delay_ms": 5}]), "later"),
        (encode_block([b"a"], properties=[{"deliver_at_ms": 5}]), "later"),
        (encode_block([b"a", b"b"]), "more than one"),
        (encode_block([b"a"]) + b"x", "more than one"),
        (b"rubbish", "ends inside"),
        ("text", "a str"),
    ],
)
def test_a_single_message_is_for_now_and_alone(block: object, problem: str) -> None:
    found = CODEC.single_problem(block)
    assert problem in found
    assert bool(found) is bool(problem)


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
    routed = CODEC.came_by(plain, "events", "k", "events")

    assert routed == encode_block([b"a"], routing=("events", "k"))
    assert CODEC.came_by(routed, "events", "k", "events") is routed
    assert CODEC.came_by(routed, "events", "l", "events") is None
    assert CODEC.came_by(routed, "other", "k", "other") is None


def test_the_way_into_a_namespace_is_kept_as_it_is_called_there() -> None:
    local = encode_block([b"a"], routing=("events", "k"))
    said = encode_block([b"a"], routing=("billing/events", "k"))
    assert CODEC.came_by(encode_block([b"a"]), "billing/events", "k", "events") == local
    assert CODEC.came_by(said, "billing/events", "k", "events") == local
    assert CODEC.came_by(said, "billing/other", "k", "other") is None
