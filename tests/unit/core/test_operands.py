from typing import Any

import pytest

from penstock.core.operands import (
    FIELD_NAMES,
    HEADERS,
    KEYS,
    LONG_MAX,
    LONG_MIN,
    PRIORITY_DEFAULT,
    PROPERTIES,
    Fields,
    Tree,
    columns_of,
    compile_operand,
)

EMPTY = Fields({}, {})


def value_of(tree: Tree, fields: Fields = EMPTY) -> Any:
    return compile_operand(tree)(fields)


def calculated(left: Any, sign: str, right: Any) -> Any:
    return value_of((sign, ("value", left), ("value", right)))


@pytest.mark.parametrize(
    ("left", "sign", "right", "result"),
    [
        (7, "/", 2, 3),
        (-7, "/", 2, -3),
        (7, "/", -2, -3),
        (-7, "/", -2, 3),
        (7, "/", 2.0, 3.5),
        (7.0, "/", 2, 3.5),
        (2, "*", 3, 6),
        (2, "-", 3.5, -1.5),
        (0, "/", 5, 0),
    ],
)
def test_exact_numbers_stay_exact_and_division_cuts_towards_zero(left: Any, sign: str, right: Any, result: Any) -> None:
    found = calculated(left, sign, right)

    assert (found, type(found)) == (result, type(result))


@pytest.mark.parametrize(
    ("left", "sign", "right"),
    [
        (1, "/", 0),
        (1.0, "/", 0),
        (LONG_MAX, "+", 1),
        (LONG_MIN, "-", 1),
        (LONG_MIN, "/", -1),
        (1e308, "*", 10),
        (10**400, "+", 1.0),
        (float("nan"), "+", 1),
        ("1", "+", 1),
        (1, "+", True),
        (None, "*", 2),
        (b"1", "-", 1),
    ],
)
def test_a_result_that_is_no_number_is_null(left: Any, sign: str, right: Any) -> None:
    assert calculated(left, sign, right) is None


def test_a_negated_value_is_a_number_or_null() -> None:
    assert value_of(("negative", ("name", "a")), Fields({"a": 2.5}, {})) == -2.5
    assert value_of(("negative", ("name", "a")), Fields({"a": "2"}, {})) is None
    assert value_of(("negative", ("name", "a"))) is None
    assert value_of(("negative", ("value", LONG_MIN))) is None


def test_a_name_is_a_header_first_then_a_property() -> None:
    fields = Fields(
        {"content_type": "from the header", "gone": None}, {"content_type": "x", "reply_to": "r", "gone": 1}
    )

    assert value_of(("name", "content_type"), fields) == "from the header"
    assert value_of(("name", "reply_to"), fields) == "r"
    assert value_of(("name", "gone"), fields) == 1, "a header that is nil is not there"
    assert value_of(("name", "other"), fields) is None


def test_the_name_key_is_the_key_unless_a_header_has_that_name() -> None:
    assert value_of(("name", "key"), Fields({}, {}, "acc-7")) == "acc-7"
    assert value_of(("name", "key"), Fields({"key": "k"}, {}, "acc-7")) == "k"
    assert value_of(("name", "key"), EMPTY) is None


def test_header_fields_of_jms_are_the_properties_that_mean_the_same() -> None:
    properties = {"message_id": "m", "correlation_id": "c", "type": "order", "priority": 9}
    fields = Fields({"JMSType": "a header does not hide it"}, properties, "acc-7", 3, 1_000, persistent=False)
    expected = {
        "JMSMessageID": "m",
        "JMSCorrelationID": "c",
        "JMSType": "order",
        "JMSPriority": 9,
        "JMSTimestamp": 1_000,
        "JMSDeliveryMode": "NON_PERSISTENT",
        "JMSXDeliveryCount": 3,
        "JMSXGroupID": "acc-7",
    }

    assert {name: value_of(("field", name), fields) for name in FIELD_NAMES} == expected


def test_header_fields_of_jms_that_are_not_set_are_null_but_for_their_defaults() -> None:
    set_ones = {name: value_of(("field", name)) for name in FIELD_NAMES if value_of(("field", name)) is not None}

    assert set_ones == {"JMSDeliveryMode": "PERSISTENT", "JMSPriority": PRIORITY_DEFAULT}


def test_the_columns_that_are_read_are_told_beforehand() -> None:
    assert columns_of(("=", ("name", "a"), ("value", 1))) == {HEADERS, PROPERTIES}
    assert columns_of(("in", ("name", "key"), "a", "b")) == {HEADERS, PROPERTIES, KEYS}
    assert columns_of(("or", ("is null", ("field", "JMSXGroupID")), ("value", True))) == {KEYS}
    assert columns_of((">", ("field", "JMSTimestamp"), ("value", 1))) == set()
