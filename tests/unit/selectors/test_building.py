import pytest

from penstock.selectors import SelectorError, parse_selector
from penstock.selectors.building import DEPTH_MAX, SEARCHES_MAX


def refused(selector: str) -> SelectorError:
    with pytest.raises(SelectorError) as error:
        parse_selector(selector)
    return error.value


@pytest.mark.parametrize(
    ("selector", "offset", "reason"),
    [
        ("5", 0, "a condition is expected here, this is a number"),
        ("a AND 'x'", 6, "a condition is expected here, this is a text"),
        ("NOT (a + 1)", 5, "a condition is expected here, this is a number"),
        ("a = 1 OR b + 1", 9, "this is a number"),
        ("a + 'x' > 1", 4, "a number is expected here, this is a text"),
        ("a + TRUE > 1", 4, "a number is expected here, this is a condition"),
        ("-'x' = a", 1, "a number is expected here"),
        ("+'x' = a", 1, "a number is expected here"),
        ("a BETWEEN 'x' AND 'y'", 10, "a number is expected here"),
        ("'x' = 5", 4, "a text is never compared with a number"),
        ("(a > 1) = 5", 8, "a condition is never compared with a number"),
        ("name < 'x'", 5, "a text is compared by = and <> only"),
        ("a >= TRUE", 2, "a condition is compared by = and <> only"),
        ("5 IN ('x')", 0, "before IN stands the name"),
        ("a + 1 LIKE 'x'", 0, "before LIKE stands the name"),
        ("'x' not like 'x'", 0, "before LIKE stands the name"),
        ("(a = 1) IS NULL", 1, "before IS stands the name"),
        ("a LIKE 'x!y' ESCAPE '!'", 9, "the escape ! stands before %, _ or itself only"),
        ("a LIKE 'it''s!' ESCAPE '!'", 13, "the escape ! stands before"),
        ("a LIKE 'x' ESCAPE ''", 18, "an escape is one character"),
        ("a LIKE 'x' ESCAPE 'ab'", 18, "an escape is one character"),
        ("a = 08", 4, "octal"),
        ("a = 1e999", 4, "too large for a double"),
        ("a = 9223372036854775808", 4, "too large for a long"),
        ("a = 0x8000000000000001", 4, "too large for a long"),
        ("1 + 9223372036854775808 > a", 4, "too large for a long"),
        ("- -9223372036854775808 = a", 0, "too large for a long"),
        ("+9223372036854775808 = a", 1, "too large for a long"),
        ('a = "eu"', 4, "a text stands in single quotes: 'eu'"),
        ('a = "eu-west"', 4, "compared from the left"),
        ('"" = 1', 0, "a name in double quotes is empty"),
    ],
)
def test_what_could_never_be_right_is_refused_at_its_place(selector: str, offset: int, reason: str) -> None:
    error = refused(selector)

    assert reason in error.reason
    assert error.offset == offset


def test_nesting_is_bounded() -> None:
    assert parse_selector("NOT " * DEPTH_MAX + "a")
    assert "within one another" in refused("NOT " * (DEPTH_MAX + 1) + "a").reason
    assert parse_selector("a" + " + 1" * (DEPTH_MAX - 1) + " > 0")
    assert "within one another" in refused("a" + " + 1" * DEPTH_MAX + " > 0").reason
    assert "within one another" in refused("-" * 4_000 + "a > 0").reason


def test_slow_patterns_are_bounded() -> None:
    slow = "a LIKE '%x_y%'"

    assert parse_selector(" OR ".join([slow] * SEARCHES_MAX + ["a LIKE '_x%y%_'"] * 20))
    assert "with _ between two %" in refused(" OR ".join([slow] * (SEARCHES_MAX + 1))).reason
