"""What an exchange may be declared with and what a binding may say; wrong ones are refused with place and reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.core.exchange_settings import (
    ARGUMENTS_MAX,
    ExchangeSettings,
    check_binding,
    check_exchange_name,
    check_routing_key,
    compared_headers,
    parse_exchange_settings,
)
from penstock.core.values import Refused


def refusal(call: Any, *arguments: Any) -> tuple[str, str]:
    with pytest.raises(Refused) as refused:
        call(*arguments)
    return refused.value.refusal.code, refused.value.refusal.message


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"type": "topic", "alternate": "other"},
        {"type": "consistent-hash", "hash_by": "key"},
        {"type": "consistent-hash", "hash_by": "header", "hash_header": "tenant"},
        {"type": "fanout", "hash_by": "routing-key", "hash_header": None},
    ],
)
def test_settings_that_make_sense_are_taken(arguments: dict[str, Any]) -> None:
    settings = parse_exchange_settings(arguments)
    assert settings.as_map() == {**ExchangeSettings().as_map(), **arguments}


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ({"types": "topic"}, "bad-setting", "no setting 'types'"),
        ({"type": "tpoic"}, "bad-setting", "type must be one of direct, fanout"),
        ({"type": ["topic"]}, "bad-setting", "type must be one of"),
        ({"alternate": ""}, "bad-name", "default exchange"),
        ({"alternate": 5}, "bad-name", "a name must be a text"),
        ({"alternate": "amq.x"}, "bad-name", "reserved"),
        ({"type": "topic", "hash_by": "key"}, "bad-setting", "this one is topic"),
        ({"type": "consistent-hash", "hash_by": "body"}, "bad-setting", "hash_by must be one of"),
        ({"type": "consistent-hash", "hash_by": "header"}, "bad-setting", "hash_header names"),
        ({"type": "consistent-hash", "hash_header": "x"}, "bad-setting", "hash_header names"),
        ({"type": "consistent-hash", "hash_by": "header", "hash_header": 7}, "bad-setting", "must be a text"),
        ({"type": "consistent-hash", "hash_by": "header", "hash_header": ""}, "bad-setting", "must be a text"),
    ],
)
def test_settings_that_do_not_are_refused_by_name(arguments: dict[str, Any], code: str, reason: str) -> None:
    found, message = refusal(parse_exchange_settings, arguments)
    assert found == code
    assert reason in message


@pytest.mark.parametrize(
    ("settings", "looks"),
    [
        ({"type": "topic"}, False),
        ({"type": "headers"}, True),
        ({"type": "consistent-hash"}, False),
        ({"type": "consistent-hash", "hash_by": "key"}, True),
    ],
)
def test_an_exchange_looks_into_messages_where_its_type_needs_it(settings: dict[str, Any], looks: bool) -> None:
    assert parse_exchange_settings(settings).by_content is looks


@pytest.mark.parametrize("name", ["", "amq.direct", "bell\x07", "x" * 256, 5])
def test_names_an_exchange_may_not_have(name: Any) -> None:
    assert refusal(check_exchange_name, name)[0] == "bad-name"


@pytest.mark.parametrize("key", ["", "a.b", "ü" * 127])
def test_routing_keys_may_be_anything_short(key: str) -> None:
    assert check_routing_key(key) == key


@pytest.mark.parametrize("key", ["ü" * 128, "\ud800", None, 7, b"x"])
def test_routing_keys_that_none_can_have(key: Any) -> None:
    assert refusal(check_routing_key, key)[0] == "bad-binding"


@pytest.mark.parametrize(
    ("kind", "key", "arguments", "reason"),
    [
        ("topic", "orders.n*.x", {}, "word 2 ('n*'): '*' stands for whole words"),
        ("topic", "##", {}, "word 1 ('##'): '#' stands for whole words"),
        ("topic", "a", {"x": 1}, "arguments 'x': a binding of a topic exchange has none"),
        ("direct", "a", {"x-match": "all"}, "direct exchange has none"),
        ("fanout", "", [], "arguments must be a map"),
        ("consistent-hash", "", {}, "weight"),
        ("consistent-hash", "0", {}, "from 1 to 100"),
        ("consistent-hash", "101", {}, "from 1 to 100"),
        ("consistent-hash", "²", {}, "weight"),
        ("consistent-hash", "-1", {}, "weight"),
        ("headers", "", {"x-match": "some"}, "'all' or 'any', not 'some'"),
        ("headers", "", {"x-match": "any"}, "no header to compare"),
        ("headers", "", {"x-match": "any", "x-other": 1}, "no header to compare"),
        ("headers", "", {"deep": {}}, "argument 'deep'"),
        ("headers", "", {"bytes": b"x"}, "argument 'bytes'"),
        ("headers", "", {"nan": float("nan")}, "argument 'nan'"),
        ("headers", "", {"long": "x" * 1025}, "argument 'long'"),
        ("headers", "", {"": 1}, "argument ''"),
        ("headers", "", {5: 1}, "argument 5"),
        ("headers", "", {f"h{n}": n for n in range(ARGUMENTS_MAX + 1)}, "at most 64"),
    ],
)
def test_a_wrong_binding_is_refused_with_the_place_and_the_reason(
    kind: str, key: str, arguments: Any, reason: str
) -> None:
    code, message = refusal(check_binding, ExchangeSettings(type=kind), key, arguments)
    assert code == "bad-binding"
    assert reason in message


def test_arguments_become_canonical() -> None:
    settings = ExchangeSettings(type="headers")
    one = check_binding(settings, "", {"b": 1, "a": None})
    assert one == check_binding(settings, "", {"a": None, "x-match": "all", "b": 1})
    assert json.loads(one) == {"a": None, "b": 1, "x-match": "all"}
    assert one != check_binding(settings, "", {"a": None, "b": True})
    assert compared_headers(json.loads(one)) == [("a", None), ("b", 1)]
    assert check_binding(ExchangeSettings(), "any", {}) == "{}"


def test_differences_name_both_values() -> None:
    assert ExchangeSettings().differences(ExchangeSettings()) == ""
    text = ExchangeSettings(type="topic").differences(ExchangeSettings(alternate="x"))
    assert text == "type is 'topic', not 'direct', alternate is None, not 'x'"
