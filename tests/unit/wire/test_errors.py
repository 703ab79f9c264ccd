from penstock_client.wire.errors import ErrorCode, WireError


def test_codes_below_a_hundred_are_fatal_and_the_others_are_not() -> None:
    assert ErrorCode.SLOW_PEER.fatal
    assert not ErrorCode.UNKNOWN_QUEUE.fatal
    assert {code.fatal for code in ErrorCode if code < 100} == {True}
    assert {code.fatal for code in ErrorCode if code >= 100} == {False}


def test_a_label_is_the_name_in_lower_case_with_dashes() -> None:
    assert ErrorCode.UNKNOWN_QUEUE.label == "unknown-queue"


def test_labels_are_unique() -> None:
    assert len({code.label for code in ErrorCode}) == len(ErrorCode)


def test_codes_fit_the_field_of_a_confirm() -> None:
    assert max(ErrorCode) <= 0xFFFF


def test_an_error_becomes_the_map_of_an_error_frame() -> None:
    error = WireError(ErrorCode.BAD_NAME, "a name with a line break")

    assert error.as_map() == {"code": 101, "error": "bad-name", "message": "a name with a line break"}
    assert str(error) == "a name with a line break"
