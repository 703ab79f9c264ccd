from penstock.selectors import SelectorError, parse_selector


def error_of(selector: str) -> SelectorError:
    try:
        parse_selector(selector)
    except SelectorError as error:
        return error
    raise AssertionError("a wrong selector was taken")


def test_the_pointer_stands_below_the_place() -> None:
    assert error_of("region = = 'eu'").pointer == "  region = = 'eu'\n           ^"


def test_the_message_has_the_reason_the_place_and_the_pointer() -> None:
    assert str(error_of("a != 1")) == "not equal is written <> (column 3)\n  a != 1\n    ^"


def test_only_the_wrong_line_of_several_is_shown() -> None:
    error = error_of("a = 1\nAND b == 2\nAND c = 3")

    assert (error.line, error.column) == (2, 8)
    assert error.place == "line 2, column 8"
    assert error.pointer == "  AND b == 2\n         ^"


def test_a_long_line_is_cut_around_the_place() -> None:
    line, mark = error_of("x" * 100 + " ? " + "y" * 100).pointer.splitlines()

    assert len(line) <= 90
    assert line.startswith("  ...")
    assert line.endswith("...")
    assert line[len(mark) - 1] == "?"


def test_what_could_steer_a_terminal_is_shown_as_a_blank() -> None:
    line, mark = error_of("a\t=\x1b[31m 1").pointer.splitlines()

    assert line == "  a = [31m 1"
    assert mark == "      ^".replace("      ", "    " + " ") or mark.endswith("^")
    assert line[len(mark) - 1] == " "


def test_an_error_at_the_end_points_behind_the_last_character() -> None:
    assert error_of("a <").pointer == "  a <\n     ^"
