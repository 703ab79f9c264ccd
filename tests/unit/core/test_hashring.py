"""Consistent hashing: shares by weight, and few values move when destinations come and go."""

from __future__ import annotations

from collections import Counter

import pytest

from penstock.core.hashring import HashRing, hash_of

HASH_OF_NOTHING = 0xB4B2797457A0A6E4
VALUES = [f"value-{number}" for number in range(4000)]


def ring_of(**weights: int) -> HashRing[str]:
    ring: HashRing[str] = HashRing()
    for item, weight in weights.items():
        ring.add(item, str(weight), weight)
    return ring


def test_an_empty_ring_has_nothing() -> None:
    assert HashRing[str]().find("x") is None
    ring = ring_of(a=1)
    ring.remove("a", "1")
    assert ring.find("x") is None


def test_the_same_value_finds_the_same_item_whatever_the_order_of_adding() -> None:
    one, other = ring_of(a=1, b=2, c=1), ring_of(c=1, b=2, a=1)
    assert [one.find(value) for value in VALUES] == [other.find(value) for value in VALUES]


def test_hashes_are_the_same_in_every_process() -> None:
    assert hash_of("") == HASH_OF_NOTHING
    assert hash_of("a") != hash_of("b")


@pytest.mark.parametrize("weights", [{"a": 1, "b": 1, "c": 1, "d": 1}, {"a": 1, "b": 3}])
def test_shares_follow_the_weights(weights: dict[str, int]) -> None:
    ring = ring_of(**weights)
    counts = Counter(ring.find(value) for value in VALUES)
    for item, weight in weights.items():
        wanted = len(VALUES) * weight / sum(weights.values())
        assert wanted * 0.6 < counts[item] < wanted * 1.4


def test_a_new_item_takes_its_share_and_moves_nothing_between_the_others() -> None:
    ring = ring_of(a=1, b=1, c=1)
    before = {value: ring.find(value) for value in VALUES}
    ring.add("d", "1", 1)
    moved = [value for value in VALUES if ring.find(value) != before[value]]
    assert {ring.find(value) for value in moved} == {"d"}
    assert len(moved) < len(VALUES) * 0.45
    ring.remove("d", "1")
    assert {value: ring.find(value) for value in VALUES} == before


def test_an_item_may_have_several_entries() -> None:
    ring = ring_of(a=1)
    ring.add("a", "2", 2)
    ring.add("b", "1", 1)
    ring.remove("a", "1")
    assert {ring.find(value) for value in VALUES} == {"a", "b"}


def test_what_comes_and_goes_before_it_is_asked_leaves_no_trace() -> None:
    ring, other = ring_of(a=1, b=1), ring_of(a=1, b=1)
    other.find("x")
    for one in (ring, other):
        one.add("c", "1", 1)
        one.remove("c", "1")
        one.remove("b", "1")
        one.add("b", "1", 1)
    assert [ring.find(value) for value in VALUES] == [other.find(value) for value in VALUES]
