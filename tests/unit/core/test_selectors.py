import json
from typing import Any

import pytest

from penstock.core.operands import Fields
from penstock.core.selectors import Selector, compile_selector, selector_from_json
from penstock.selectors import parse_selector


def selected(selector: str, **headers: Any) -> bool:
    return compile_selector(parse_selector(selector).tree)(Fields(headers, {}))


def truth(condition: str, **headers: Any) -> bool | None:
    """What a condition is: selected itself, its opposite, or neither."""
    if selected(condition, **headers):
        assert not selected(f"NOT ({condition})", **headers)
        return True
    return False if selected(f"NOT ({condition})", **headers) else None


NULL = None
UNKNOWN = None


def test_the_example_of_the_documentation() -> None:
    example = "kind = 'a' AND amount > 10 AND region IN ('eu', 'us') AND name LIKE 'x%'"

    assert selected(example, kind="a", amount=11, region="us", name="xyz")
    assert selected(example, kind="a", amount=10.5, region="us", name="x")
    assert not selected(example, kind="a", amount=10, region="us", name="xyz")
    assert not selected(example, kind="a", amount=11, region="asia", name="xyz")
    assert not selected(example, kind="a", amount=11, region="us")


@pytest.mark.parametrize(
    ("left", "right", "both", "either"),
    [
        (True, True, True, True),
        (True, False, False, True),
        (True, NULL, UNKNOWN, True),
        (False, False, False, False),
        (False, NULL, False, UNKNOWN),
        (NULL, NULL, UNKNOWN, UNKNOWN),
    ],
)
def test_and_and_or_follow_the_truth_tables_of_sql(
    left: bool | None, right: bool | None, both: bool | None, either: bool | None
) -> None:
    for one, other in ((left, right), (right, left)):
        assert truth("a AND b", a=one, b=other) is both
        assert truth("a OR b", a=one, b=other) is either


def test_not_unknown_is_unknown() -> None:
    assert truth("NOT a", a=True) is False
    assert truth("NOT a", a=False) is True
    assert truth("NOT a") is UNKNOWN


def test_not_binds_closer_than_and_and_and_closer_than_or() -> None:
    assert selected("a OR b AND c", a=True, b=False, c=False)
    assert not selected("(a OR b) AND c", a=True, b=False, c=False)
    assert selected("NOT a AND b", a=False, b=True)
    assert not selected("NOT (a AND b)", a=True, b=True)
    assert selected("NOT a OR b", a=True, b=True)


@pytest.mark.parametrize("sign", ["=", "<>", "<", "<=", ">", ">="])
def test_a_comparison_with_null_is_unknown(sign: str) -> None:
    assert truth(f"a {sign} 1") is UNKNOWN
    assert truth(f"a {sign} b", a=1) is UNKNOWN
    assert truth(f"1 {sign} b") is UNKNOWN


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("a = 2", True),
        ("a <> 2", False),
        ("a < 2.5", True),
        ("a <= 2", True),
        ("a > 2", False),
        ("a >= 2.0", True),
        ("a = 2.0", True),
        ("2 = a", True),
        ("3 > a", True),
        ("a = b", True),
        ("a < b", False),
    ],
)
def test_exact_and_approximate_numbers_are_compared(condition: str, expected: bool) -> None:
    assert truth(condition, a=2, b=2.0) is expected


def test_a_long_compared_with_a_double_becomes_a_double() -> None:
    assert selected("a = 9007199254740992.0", a=9007199254740993)
    assert not selected("a = 9007199254740992", a=9007199254740993)


@pytest.mark.parametrize("value", ["2", True, b"2", [2], {"a": 2}])
@pytest.mark.parametrize("sign", ["=", "<>", "<", "<=", ">", ">="])
def test_values_that_are_not_alike_are_neither_equal_nor_unequal(sign: str, value: Any) -> None:
    assert truth(f"a {sign} 2", a=value) is False
    assert truth(f"a {sign} b", a=value, b=2) is False
    assert truth(f"b {sign} a", a=value, b=2) is False


def test_texts_and_booleans_are_compared_for_equality_alone() -> None:
    assert truth("a = 'x'", a="x") is True
    assert truth("a <> 'x'", a="y") is True
    assert truth("a = TRUE", a=True) is True
    assert truth("a <> b", a=True, b=False) is True
    assert truth("a < b", a="x", b="y") is False
    assert truth("a < b", a=False, b=True) is False
    assert truth("a = b", a=b"x", b=b"x") is False
    assert truth("a = b", a=[1], b=[1]) is False


def test_texts_are_not_turned_into_numbers_nor_truths_into_ones() -> None:
    assert not selected("a = 1", a="1")
    assert not selected("a = 1", a=True)
    assert not selected("a = '1'", a=1)
    assert not selected("a = TRUE", a=1)


def test_a_name_alone_is_true_when_it_is_the_boolean() -> None:
    assert truth("a", a=True) is True
    assert truth("a", a=False) is False
    assert truth("a") is UNKNOWN
    assert truth("a", a="true") is False
    assert truth("a", a=1) is False
    assert truth("TRUE") is True
    assert truth("FALSE") is False


def test_a_condition_may_be_compared_as_the_boolean_it_is() -> None:
    assert truth("(a > 1) = TRUE", a=2) is True
    assert truth("b = (a > 1)", a=2, b=False) is False
    assert truth("(a > 1) <> (b > 1)", a=2, b=0) is True
    assert truth("(a > 1) = b", b=True) is UNKNOWN


@pytest.mark.parametrize(
    ("value", "inside"),
    [(14, False), (15, True), (17.5, True), (19, True), (20, False), (NULL, UNKNOWN), ("17", False)],
)
def test_between_includes_its_ends(value: Any, inside: bool | None) -> None:
    assert truth("age BETWEEN 15 AND 19", age=value) is inside
    assert truth("age >= 15 AND age <= 19", age=value) is inside


@pytest.mark.parametrize("value", [14, 15, 17.5, 19, 20, NULL, "17", float("nan")])
def test_not_between_is_below_or_above(value: Any) -> None:
    assert truth("age NOT BETWEEN 15 AND 19", age=value) is truth("age < 15 OR age > 19", age=value)


def test_between_with_an_unknown_end_is_false_where_the_other_end_decides() -> None:
    assert truth("5 BETWEEN a AND 4") is False
    assert truth("5 BETWEEN a AND 6") is UNKNOWN
    assert truth("5 NOT BETWEEN a AND 4") is True
    assert truth("5 NOT BETWEEN a AND 6") is UNKNOWN


def test_in_names_texts() -> None:
    assert truth("country IN ('UK', 'US', 'France')", country="UK") is True
    assert truth("country IN ('UK', 'US', 'France')", country="Peru") is False
    assert truth("country NOT IN ('UK', 'US', 'France')", country="Peru") is True
    assert truth("country IN ('UK')") is UNKNOWN
    assert truth("country NOT IN ('UK')") is UNKNOWN
    assert truth("country IN ('5')", country=5) is False
    assert truth("country IN ('5')", country=[5]) is False


def test_like_matches_texts() -> None:
    assert truth("phone LIKE '12%3'", phone="12993") is True
    assert truth("phone NOT LIKE '12%3'", phone="1234") is True
    assert truth("word LIKE 'l_se'", word="lose") is True
    assert truth(r"underscored LIKE '\_%' ESCAPE '\'", underscored="_foo") is True
    assert truth(r"underscored LIKE '\_%' ESCAPE '\'", underscored="bar") is False
    assert truth("phone LIKE '%'") is UNKNOWN
    assert truth("phone NOT LIKE '%'") is UNKNOWN
    assert truth("phone LIKE '%'", phone=12) is False


def test_is_null_is_never_unknown() -> None:
    assert truth("a IS NULL") is True
    assert truth("a IS NOT NULL") is False
    assert truth("a IS NULL", a=0) is False
    assert truth("a IS NOT NULL", a=[]) is True


def test_arithmetic_binds_as_usual_and_goes_left_to_right() -> None:
    assert selected("a + 2 * 3 = 7", a=1)
    assert selected("(a + 2) * 3 = 9", a=1)
    assert selected("10 - 3 - a = 6", a=1)
    assert selected("100 / 10 / a = 5", a=2)
    assert selected("-a + 3 = 2", a=1)
    assert selected("- - a = +a", a=1)
    assert selected("a -1 = 0", a=1)


def test_what_cannot_be_calculated_is_unknown() -> None:
    assert truth("1 / a = 1", a=0) is UNKNOWN
    assert truth("a + 1 > 0", a=2**63 - 1) is UNKNOWN
    assert truth("a + 1 > 0", a="1") is UNKNOWN
    assert truth("a * 1E308 > 0", a=1e9) is UNKNOWN


def test_a_selector_is_the_same_after_a_fact_held_it_as_json() -> None:
    selector = parse_selector("""a = 'it''s' OR b BETWEEN -1 AND 1.5E300 AND c NOT IN ('x') AND NOT "d-e" = TRUE""")

    again = selector_from_json(json.loads(json.dumps(selector)))

    assert again == selector
    assert isinstance(again, Selector)
    assert hash(again) == hash(selector)
