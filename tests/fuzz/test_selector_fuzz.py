"""T16 for selectors: whatever the text, a selector that can be evaluated or an error that points into it."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.selectors import strategies

from penstock.core.operands import Fields
from penstock.core.selectors import Selector, compile_selector
from penstock.selectors import SelectorError, parse_selector

WORDS = (
    "a", "key", "JMSPriority", "JMSReplyTo", '"a-b"', '"a"', "'x'", "'%_'", "'!'", "1", "-1", "0x1F", "09", "1e999",
    ".5", "9223372036854775808", "AND", "OR", "NOT", "BETWEEN", "IN", "LIKE", "ESCAPE", "IS", "NULL", "TRUE", "=", "<>",
    "<=", "(", ")", ",", "+", "-", "*", "/", "!", "'", '"', "\n", "\ud800", "é",
)  # fmt: skip
SEEDS = (
    "kind = 'a' AND amount > 10 AND region IN ('eu', 'us') AND name LIKE 'x%'",
    'NOT (a BETWEEN 1 AND 2.5 OR "b-c" IS NOT NULL) AND -d * 2 <> e / 0x10',
    "a NOT LIKE '%!%_%' ESCAPE '!' OR JMSPriority >= 5 AND b NOT IN ('x') OR c",
)
SHARDS = 4
MUTANTS_PER_EXAMPLE = 40
"""Wounded selectors for each example of the profile: 4,000 by default, 400,000 nightly, over all shards."""


def exercise(text: str, fields: Fields) -> None:
    parsed = parsed_or_refused(text)
    if isinstance(parsed, SelectorError):
        assert 0 <= parsed.offset <= len(text)
        line, mark = parsed.pointer.split("\n")
        assert mark.endswith("^")
        assert len(line) <= 92
    else:
        assert compile_selector(parsed.tree)(fields) in (True, False)


def parsed_or_refused(text: str) -> Selector | SelectorError:
    try:
        return parse_selector(text)
    except SelectorError as error:
        return error


@given(st.text(max_size=80), strategies.fields)
def test_fuzz_any_text_is_a_selector_or_an_error_with_a_place(text: str, fields: Fields) -> None:
    exercise(text, fields)


@given(st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join), strategies.fields)
def test_fuzz_any_words_are_a_selector_or_an_error_with_a_place(text: str, fields: Fields) -> None:
    exercise(text, fields)


def wounded(rng: random.Random, text: str) -> str:
    """Return ``text`` with one to three small wounds."""
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(text) + 1)
        cut = rng.choice((0, 0, 1, 1, 5))
        text = text[:place] + rng.choice(("", *WORDS)) + text[place + cut :]
    return text


@pytest.mark.parametrize("shard", range(SHARDS))
def test_fuzz_wounded_selectors_are_parsed_or_refused(shard: int) -> None:
    rng = random.Random(shard)
    fields = Fields({"a": 1, "kind": "a", "b-c": None, "d": 2.5}, {"e": "x"})
    for _ in range(settings().max_examples * MUTANTS_PER_EXAMPLE // SHARDS):
        exercise(wounded(rng, rng.choice(SEEDS)), fields)
