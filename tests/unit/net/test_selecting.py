from typing import Any

from penstock.core.selectors import Selector
from penstock.net.selecting import parse_where


def test_a_selector_becomes_its_value() -> None:
    arguments: dict[str, Any] = {"queue": "jobs", "where": "a = 1"}

    assert parse_where(arguments) is None
    assert arguments == {"queue": "jobs", "where": Selector("a = 1", ("=", ("name", "a"), ("value", 1)))}


def test_an_empty_selector_is_none() -> None:
    """JMS 2.0, 3.8.1."""
    for nothing in ("", None):
        arguments = {"where": nothing}
        assert parse_where(arguments) is None
        assert arguments == {"where": None}


def test_a_wrong_selector_is_refused_with_its_place() -> None:
    refusal = parse_where({"where": "region = = 'eu'"})

    assert refusal is not None
    assert refusal.code == "bad-selector"
    assert refusal.message.splitlines()[1:] == ["  region = = 'eu'", "           ^"]


def test_a_selector_that_is_no_text_is_refused() -> None:
    for wrong in (5, b"a = 1", ["a", "b"]):
        refusal = parse_where({"where": wrong})
        assert refusal is not None
        assert refusal.code == "bad-selector"
