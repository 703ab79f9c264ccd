import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.wildcards import compile_pattern, searches, split_pattern


def likes(pattern: str, text: str, escape: str = "") -> bool:
    return compile_pattern(pattern, escape)(text)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("12%3", "123", True),
        ("12%3", "12993", True),
        ("12%3", "1234", False),
        ("l_se", "lose", True),
        ("l_se", "loose", False),
        ("", "", True),
        ("", "a", False),
        ("%", "", True),
        ("%", "anything", True),
        ("%%", "", True),
        ("_", "", False),
        ("_", "a", True),
        ("a%a", "a", False),
        ("%b_d%", "abcd", True),
        ("%b_d%", "abbbbbbxd", True),
        ("%b_d%", "bd", False),
        ("%__%", "a", False),
        ("%__%", "ab", True),
        ("_%_b", "xab", True),
        ("_%_b", "ab", False),
        ("a%bc%d_", "axbcxxdx", True),
        ("a%bc%d_", "axbxcdx", False),
        ("%é%", "café au lait", True),
        ("a\n%", "a\nb", True),
    ],
)
def test_a_pattern_covers_the_whole_text(pattern: str, text: str, expected: bool) -> None:
    assert likes(pattern, text) is expected


def test_an_escape_takes_the_next_character_as_it_is() -> None:
    assert likes("\\_%", "_foo", "\\")
    assert not likes("\\_%", "bar", "\\")
    assert likes("!%!!", "%!", "!")
    assert not likes("!%!!", "x!", "!")


@pytest.mark.parametrize(("pattern", "index"), [("a!", 1), ("!a", 0), ("%!!!x", 3)])
def test_an_escape_that_escapes_nothing_is_refused_with_its_place(pattern: str, index: int) -> None:
    with pytest.raises(ValueError, match=str(index)) as refused:
        compile_pattern(pattern, "!")
    assert refused.value.args == (index,)


def test_only_a_wild_piece_between_two_percents_needs_a_search() -> None:
    assert searches(split_pattern("%a_b%"))
    assert not searches(split_pattern("a_b%c%_d"))


LETTERS = "ab_%"


@given(st.text(LETTERS, max_size=8), st.text("ab", max_size=12))
def test_a_pattern_matches_what_the_regular_expression_of_the_same_meaning_does(pattern: str, text: str) -> None:
    expression = "".join({"%": ".*", "_": "."}.get(char, char) for char in pattern)

    assert likes(pattern, text) is (re.fullmatch(expression, text, re.DOTALL) is not None)


def test_a_hostile_pattern_looks_at_each_character_once() -> None:
    class Counted(str):
        looks = 0

        def __getitem__(self, index: object) -> str:
            Counted.looks += 1
            return super().__getitem__(index)  # type: ignore[index]

    text = Counted("a" * 5_000)

    assert not likes("%a_a%" + "a_" * 300 + "b%", text)
    assert Counted.looks <= len(text)
