from typing import Any

import pytest
from tests.unit.core.harness import Core

from penstock.core.operands import Fields
from penstock.core.sieve import Sieve
from penstock.selectors import parse_selector


def sieve(where: str = "n = 1") -> Sieve:
    return Sieve(Core().queue().group, parse_selector(where))


def rows(*values: Any) -> list[Fields]:
    return [Fields({"n": value}, {}) for value in values]


@pytest.mark.parametrize(
    ("values", "rejected"),
    [
        ((), []),
        ((1, 1), []),
        ((2,), [(10, 11)]),
        ((2, 3, None), [(10, 13)]),
        ((1, 2, 1, 3), [(11, 12), (13, 14)]),
        ((2, 1, 2, 2), [(10, 11), (12, 14)]),
    ],
)
def test_what_is_not_selected_is_rejected_in_runs(values: tuple[Any, ...], rejected: list[tuple[int, int]]) -> None:
    assert sieve().rejected(10, rows(*values)) == rejected


def test_a_sieve_knows_the_columns_it_reads() -> None:
    assert sieve("JMSXGroupID = 'k'").columns == {"keys"}
