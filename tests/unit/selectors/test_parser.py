from typing import Any

import pytest

from penstock.core.operands import Tree
from penstock.selectors import SelectorError, parse_selector
from penstock.selectors.parser import SELECTOR_BYTES_MAX

A: Tree = ("name", "a")
B: Tree = ("name", "b")


def value(literal: Any) -> Tree:
    return ("value", literal)


def tree(selector: str) -> Tree:
    return parse_selector(selector).tree


def refused(selector: str) -> SelectorError:
    with pytest.raises(SelectorError) as error:
        parse_selector(selector)
    return error.value


def test_the_original_text_is_kept() -> None:
    assert parse_selector(" a  =\t1 ").text == " a  =\t1 "


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        ("57", 57),
        ("-957", -957),
        ("+62", 62),
        ("0", 0),
        ("017", 15),
        ("0x1F", 31),
        ("12L", 12),
        ("0xFl", 15),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("7E3", 7000.0),
        ("-57.9E2", -5790.0),
        ("7.", 7.0),
        ("-95.7", -95.7),
        ("+6.2", 6.2),
        (".5", 0.5),
        ("1e-3", 0.001),
        ("2d", 2.0),
        ("2.5F", 2.5),
    ],
)
def test_numbers_have_the_syntax_of_java(literal: str, expected: Any) -> None:
    found = tree(f"a = {literal}")

    assert found == ("=", A, value(expected))
    assert type(found[2][1]) is type(expected)


@pytest.mark.parametrize(
    ("literal", "expected"),
    [("''", ""), ("'it''s'", "it's"), ("'\"'", '"'), ("'a\nb'", "a\nb"), ("'%_é\U0001f600'", "%_é\U0001f600")],
)
def test_texts_stand_in_single_quotes_which_are_doubled_within(literal: str, expected: str) -> None:
    assert tree(f"a = {literal}") == ("=", A, value(expected))


@pytest.mark.parametrize(
    "name", ["a", "_a1", "$a", "é", "NULLable", "android", "nothing", "isnt", "JMSX_own", "TRUEst"]
)
def test_names_are_identifiers_of_java(name: str) -> None:
    assert tree(f"{name} = 1") == ("=", ("name", name), value(1))


def test_names_keep_their_case_and_keywords_have_none() -> None:
    assert tree("Kind = 1 aNd nOt a iS nUlL") == (
        "and",
        ("=", ("name", "Kind"), value(1)),
        ("not", ("is null", A)),
    )
    assert tree("a = true OR a = False") == ("or", ("=", A, value(True)), ("=", A, value(False)))


@pytest.mark.parametrize("blank", [" ", "\t", "\f", "\n", "\r\n"])
def test_white_space_separates(blank: str) -> None:
    assert tree(f"{blank}a{blank}IS{blank}NULL{blank}") == ("is null", A)


def test_a_name_that_is_no_identifier_stands_in_double_quotes() -> None:
    assert tree('"a-b" = 1') == ("=", ("name", "a-b"), value(1))
    assert tree('"say ""hi""" = 1') == ("=", ("name", 'say "hi"'), value(1))
    assert tree('"and" = 1') == ("=", ("name", "and"), value(1))
    assert tree('"JMSPriority" = 1') == ("=", ("name", "JMSPriority"), value(1)), "a header of that name, no JMS field"
    assert tree('"a-b" = "c-d"') == ("=", ("name", "a-b"), ("name", "c-d"))


def test_header_fields_of_jms_are_told_from_headers() -> None:
    assert tree("JMSPriority > 5") == (">", ("field", "JMSPriority"), value(5))
    assert tree("JMSXGroupSeq > 5") == (">", ("name", "JMSXGroupSeq"), value(5))


@pytest.mark.parametrize("field", ["JMSDestination", "JMSExpiration", "JMSRedelivered", "JMSReplyTo"])
def test_header_fields_that_jms_keeps_out_of_selectors_are_refused(field: str) -> None:
    assert refused(f"a = 1 AND {field} IS NULL").offset == 10


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("a AND b AND a", ("and", A, B, A)),
        ("a OR b AND a", ("or", A, ("and", B, A))),
        ("(a OR b) AND a", ("and", ("or", A, B), A)),
        ("NOT a = 1", ("not", ("=", A, value(1)))),
        ("NOT NOT a", ("not", ("not", A))),
        ("a + b * 2 > -b", (">", ("+", A, ("*", B, value(2))), ("negative", B))),
        ("a - b - 1 = 0", ("=", ("-", ("-", A, B), value(1)), value(0))),
        ("-(1) = a", ("=", value(-1), A)),
        ("+a = 1", ("=", ("+", value(0), A), value(1))),
        ("a BETWEEN b AND 2 AND b", ("and", ("between", A, B, value(2)), B)),
        ("a NOT BETWEEN 1 AND b + 1", ("not between", A, value(1), ("+", B, value(1)))),
        ("a IN ('x')", ("in", A, "x")),
        ("a NOT IN ('x', 'y')", ("not", ("in", A, "x", "y"))),
        ("a LIKE '%x'", ("like", A, "%x", "")),
        ("a NOT LIKE '!%x' ESCAPE '!'", ("not", ("like", A, "!%x", "!"))),
        ("a LIKE '''''%' ESCAPE ''''", ("like", A, "''%", "'")),
        ("a IS NOT NULL", ("not", ("is null", A))),
        ("(a > 1) = b", ("=", (">", A, value(1)), B)),
        ("((((((((a))))))))", A),
    ],
)
def test_precedence_and_forms(selector: str, expected: Tree) -> None:
    assert tree(selector) == expected


@pytest.mark.parametrize(
    ("selector", "offset", "reason"),
    [
        ("region = = 'eu'", 9, 'found "=", expected a name or a value'),
        ("a b", 2, 'found "b", expected a comparison'),
        ("a = 1 b", 6, 'found "b", expected AND, OR or the end'),
        ("a = 3 = b", 6, "expected AND, OR or the end"),
        ("(a = 1", 6, 'found the end, expected ")"'),
        ("a = 1)", 5, 'found ")", expected the end'),
        ("a <  ", 3, "found the end, expected a name or a value"),
        ("a IN ('x' 'y')", 10, 'expected "," or ")"'),
        ("a IN (1)", 6, "expected a text in single quotes"),
        ("a IN 'x'", 5, 'expected "("'),
        ("a NOT = 1", 6, "expected BETWEEN, IN or LIKE"),
        ("a IS 5", 5, "expected NULL or NOT"),
        ("a BETWEEN 1 OR 2", 12, "expected AND"),
        ("and = 1", 0, 'a header of that name stands in double quotes: "and"'),
        ("a = NULL", 4, "write IS NULL"),
        ('a IN ("x")', 6, "a text stands in single quotes"),
        ("a != 1", 2, "not equal is written <>"),
        ("a && b", 2, "joined by AND"),
        ("a || b", 2, "allowed by OR"),
        ("a = 'x", 4, "no ' at its end"),
        ('a = 1 AND "b', 10, 'no " at its end'),
        ("a.b = 1", 1, "stands in double quotes"),
        ("a = 1;", 5, "without an end mark"),
        ("a # 1", 2, "the character '#' has no meaning here"),
        ("a = 1\x00", 5, "'\\x00' has no meaning here"),
        ("", 0, "the selector is empty"),
        (" \n", 0, "the selector is empty"),
        ("a = '\ud800'", 5, "no valid Unicode character"),
    ],
)
def test_an_error_points_at_its_place_and_says_what_was_expected(selector: str, offset: int, reason: str) -> None:
    error = refused(selector)

    assert reason in error.reason
    assert error.offset == offset


def test_a_selector_longer_than_the_limit_is_refused() -> None:
    longest = "a = '" + "x" * (SELECTOR_BYTES_MAX - 6) + "'"

    assert tree(longest)[0] == "="
    assert "4097 bytes, 4096 at the most" in refused(longest + " ").reason
    assert "at the most" in refused("a = '" + "é" * 2_046 + "'").reason


def test_many_conditions_side_by_side_are_no_nesting() -> None:
    assert len(tree(" OR ".join(["a=1"] * 580))) == 581
    assert tree("(" * 2_000 + "a" + ")" * 2_000) == A
