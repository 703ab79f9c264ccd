"""Topic patterns: the trie against the definition (AMQP 0-9-1, 3.1.3.3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sim.exchanges import topic_matches

from penstock.core.topics import TopicTrie, words_of

_words = st.sampled_from(["a", "b", "", "*", "#"])
_patterns = st.lists(_words, max_size=5).map(".".join)
_keys = st.lists(st.sampled_from(["a", "b", "c", "", "*", "#"]), max_size=5).map(".".join)


def trie_of(*patterns: str) -> TopicTrie[str]:
    trie: TopicTrie[str] = TopicTrie()
    for pattern in patterns:
        trie.add(pattern, pattern)
    return trie


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("orders.eu.new", ["orders.eu.new"], ["orders.eu", "orders.eu.new.x", "orders.us.new", ""]),
        ("orders.*.new", ["orders.eu.new", "orders..new"], ["orders.new", "orders.eu.x.new"]),
        ("#", ["", "a", "a.b.c", "."], []),
        ("*", ["a", "*"], ["", "a.b"]),
        ("a.#", ["a", "a.b", "a.b.c"], ["", "b", "b.a"]),
        ("#.z", ["z", "a.z", "a.b.z"], ["", "z.a"]),
        ("a.#.z", ["a.z", "a.b.z", "a.b.c.z"], ["a", "z", "a.b"]),
        ("#.a.#", ["a", "b.a", "a.b", "c.a.b"], ["", "b"]),
        ("*.#", ["a", "a.b"], [""]),
        ("#.*", ["a", "a.b"], [""]),
        ("", [""], ["a"]),
    ],
)
def test_a_pattern_matches_what_the_definition_says(pattern: str, matching: list[str], others: list[str]) -> None:
    trie = trie_of(pattern)
    assert [key for key in matching if not trie.match(key)] == []
    assert [key for key in others if trie.match(key)] == []


@given(patterns=st.lists(_patterns, max_size=8), key=_keys)
def test_the_trie_finds_what_trying_out_every_pattern_finds(patterns: list[str], key: str) -> None:
    found = trie_of(*patterns).match(key)
    words = words_of(key)
    plain = [word if word not in ("*", "#") else f"literal {word}" for word in words]  # wildcards of a key are words
    assert set(found) == {pattern for pattern in patterns if topic_matches(words_of(pattern), plain)}


@given(patterns=st.lists(_patterns, max_size=8, unique=True), removed=st.data(), key=_keys)
def test_what_was_removed_leaves_nothing_behind(patterns: list[str], removed: st.DataObject, key: str) -> None:
    trie = trie_of(*patterns)
    gone = removed.draw(st.lists(st.sampled_from(patterns), unique=True)) if patterns else []
    for pattern in gone:
        trie.remove(pattern, pattern)
    kept = [pattern for pattern in patterns if pattern not in gone]
    assert set(trie.match(key)) == set(trie_of(*kept).match(key))
    for pattern in kept:
        trie.remove(pattern, pattern)
    assert not trie._root.children


def test_an_item_under_several_matching_patterns_is_found_once() -> None:
    trie: TopicTrie[str] = TopicTrie()
    for pattern in ("a.*", "a.#", "#"):
        trie.add(pattern, "queue")
    assert list(trie.match("a.b")) == ["queue"]
    trie.remove("a.#", "queue")
    assert list(trie.match("a.b")) == ["queue"]


def test_many_hashes_take_no_exponential_time() -> None:
    """As many tries of "what does each # stand for" as this has would outlive the test's guard."""
    trie = trie_of(".".join(["#", "a"] * 30))
    assert trie.match(".".join(["a"] * 60 + ["b"])) == {}
    assert len(trie.match(".".join(["a"] * 60))) == 1
