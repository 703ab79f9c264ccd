"""Any selector, any message: the parser reads what the printer writes, and core decides as the standard's words do."""

import json

from hypothesis import assume, given
from tests.unit.selectors import naive, strategies
from tests.unit.selectors.printer import printed

from penstock.core.operands import Fields, Tree, columns_of
from penstock.core.selectors import compile_selector, selector_from_json
from penstock.selectors import SelectorError, parse_selector


def parsed(tree: Tree) -> Tree:
    try:
        return parse_selector(printed(tree)).tree
    except SelectorError as error:
        assume(not error.reason.endswith(("with _ between two %", "compared from the left")))
        raise


@given(strategies.condition)
def test_a_printed_selector_is_parsed_to_itself(tree: Tree) -> None:
    assert parsed(tree) == tree


@given(strategies.condition)
def test_a_selector_survives_json(tree: Tree) -> None:
    assert selector_from_json(json.loads(json.dumps(["text", tree]))).tree == tree


@given(strategies.condition, strategies.fields)
def test_a_compiled_selector_decides_as_the_standard_says(tree: Tree, fields: Fields) -> None:
    assert compile_selector(tree)(fields) is naive.selects(tree, fields)


@given(strategies.condition, strategies.fields)
def test_a_selector_reads_only_the_columns_it_names(tree: Tree, fields: Fields) -> None:
    read = columns_of(tree)
    without = fields._replace(
        headers=fields.headers if "headers" in read else {},
        properties=fields.properties if "properties" in read else {},
        key=fields.key if "keys" in read else None,
    )

    assert compile_selector(tree)(without) is compile_selector(tree)(fields)
