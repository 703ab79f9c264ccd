"""How each type of exchange chooses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.exchange_settings import ExchangeSettings, check_binding
from penstock.core.exchanges import Binding
from penstock.core.matching import NO_MESSAGE, Destination, Matcher, MessageView, make_matcher

A, B, X = Destination.to_queue(1), Destination.to_queue(2), Destination.to_exchange(1)


class Bound:
    """A matcher, bound as through the commands."""

    def __init__(self, **settings: Any) -> None:
        self.settings = ExchangeSettings(**settings)
        self.matcher: Matcher = make_matcher(self.settings)

    def bind(self, destination: Destination, key: str = "", **arguments: Any) -> Bound:
        self.matcher.add(destination, key, self._values(key, arguments))
        return self

    def unbind(self, destination: Destination, key: str = "", **arguments: Any) -> Bound:
        self.matcher.remove(destination, key, self._values(key, arguments))
        return self

    def _values(self, key: str, arguments: dict[str, Any]) -> dict[str, Any]:
        given = {name.replace("x_", "x-"): value for name, value in arguments.items()}
        return Binding(0, A, key, check_binding(self.settings, key, given)).values()

    def match(self, key: str = "", message: MessageView = NO_MESSAGE) -> list[Destination]:
        return list(self.matcher.match(key, message))

    def of_headers(self, **headers: Any) -> list[Destination]:
        return self.match("", MessageView(None, headers))


def test_direct_compares_the_whole_key() -> None:
    bound = Bound(type="direct").bind(A, "k").bind(B, "k").bind(X, "other").bind(A, "")
    assert bound.match("k") == [A, B]
    assert bound.match("") == [A]
    assert bound.match("K") == []
    assert bound.unbind(A, "k").unbind(B, "k").match("k") == []


def test_fanout_takes_everything_and_ignores_keys() -> None:
    bound = Bound(type="fanout").bind(A, "k").bind(A, "l").bind(X)
    assert bound.match("whatever") == [A, X]
    assert bound.unbind(A, "k").match() == [A, X], "another binding of the same queue is left"
    assert bound.unbind(A, "l").match() == [X]


def test_topic_matches_patterns() -> None:
    bound = Bound(type="topic").bind(A, "a.*").bind(B, "#").bind(A, "a.#")
    assert set(bound.match("a.b")) == {A, B}
    assert bound.match("c") == [B]
    assert bound.unbind(B, "#").match("c") == []


@pytest.mark.parametrize(
    ("arguments", "headers", "matches"),
    [
        ({"a": 1, "b": "x"}, {"a": 1, "b": "x", "c": 9}, True),
        ({"a": 1, "b": "x"}, {"a": 1}, False),
        ({"x_match": "any", "a": 1, "b": "x"}, {"b": "x"}, True),
        ({"x_match": "any", "a": 1, "b": "x"}, {"b": "y"}, False),
        ({}, {}, True),
        ({"x_more": 1}, {}, True),
        ({"a": None}, {"a": "whatever"}, True),
        ({"a": None}, {}, False),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": True}, {"a": 1}, False),
        ({"a": True}, {"a": True}, True),
        ({"a": "1"}, {"a": 1}, False),
        ({"a": 1}, {"a": {"deep": 1}}, False),
    ],
)
def test_headers_compare_as_amqp_does(arguments: dict[str, Any], headers: dict[str, Any], matches: bool) -> None:
    assert Bound(type="headers").bind(A, **arguments).of_headers(**headers) == ([A] if matches else [])


def test_headers_find_a_destination_once_and_rules_are_removed_by_what_they_say() -> None:
    bound = Bound(type="headers").bind(A, a=1).bind(A, b=1).bind(B, a=1)
    assert bound.of_headers(a=1, b=1) == [A, B]
    assert bound.unbind(A, a=1).of_headers(a=1, b=1) == [A, B]
    assert bound.unbind(A, b=1).of_headers(a=1, b=1) == [B]


@pytest.mark.parametrize(
    ("settings", "views"),
    [
        ({}, [MessageView(None, {})]),
        ({"hash_by": "key"}, [MessageView(f"k{n}", {}) for n in range(200)]),
        ({"hash_by": "header", "hash_header": "t"}, [MessageView(None, {"t": n}) for n in range(200)]),
    ],
)
def test_a_hash_chooses_one_by_what_it_was_told_to_look_at(settings: dict[str, Any], views: list[MessageView]) -> None:
    bound = Bound(type="consistent-hash", **settings).bind(A, "1").bind(B, "1")
    keys = [f"r{n}" for n in range(200)] if not settings else ["same"]
    found = [bound.match(key, view) for key in keys for view in views]
    assert {len(one) for one in found} == {1}
    assert {one[0] for one in found} == {A, B}
    assert found == [bound.match(key, view) for key in keys for view in views]


def test_a_hash_of_nothing_is_one_value_and_an_empty_ring_takes_nothing() -> None:
    bound = Bound(type="consistent-hash", hash_by="key").bind(A, "1").bind(B, "1")
    assert bound.match("", MessageView(None, {})) == bound.match("", MessageView("", {}))
    assert bound.unbind(A, "1").unbind(B, "1").match() == []


NAMES = st.sampled_from(["x", "y", "z"])
VALUES: st.SearchStrategy[Any] = st.sampled_from(["a", "b", 1, 1.0, True, 0, False, None])
RULES = st.tuples(st.integers(1, 4), st.dictionaries(NAMES, VALUES, max_size=3), st.sampled_from(["all", "any"]))


@given(
    st.lists(RULES, max_size=8, unique_by=repr),
    st.dictionaries(NAMES, st.one_of(VALUES, st.just([1])), max_size=3),
    st.integers(0, 3),
)
def test_headers_find_what_comparing_every_rule_would(
    rules: list[tuple[int, dict[str, Any], str]], headers: dict[str, Any], removed: int
) -> None:
    bindings = [(Destination.to_queue(n), {**wanted, "x_match": how if wanted else "all"}) for n, wanted, how in rules]
    bindings = list({repr(one): one for one in bindings}.values())
    bound = Bound(type="headers")
    for destination, arguments in bindings:
        bound.bind(destination, **arguments)
    for destination, arguments in bindings[:removed]:
        bound.unbind(destination, **arguments)
    alone = [Bound(type="headers").bind(*one[:1], **one[1]).of_headers(**headers) for one in bindings[removed:]]
    assert bound.of_headers(**headers) == list(dict.fromkeys(found for one in alone for found in one))
