"""Selectors and messages that mean something, drawn at random."""

from hypothesis import strategies as st

from penstock.core.operands import LONG_MAX, LONG_MIN, Fields, Tree

NAMES = st.sampled_from(["a", "b", "kind", "key", "a-b", 'select "x"', "not", "JMSPriority"])
FIELD = st.sampled_from(["JMSXGroupID", "JMSXDeliveryCount"])
NUMBERS = (
    st.integers(-3, 3)
    | st.sampled_from([LONG_MIN, LONG_MAX, 1 << 53, (1 << 53) + 1, 7])
    | st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0)
    | st.sampled_from([0.5, -2.0, 1e308])
)
TEXTS = st.text("ab%_'", max_size=4)

name: st.SearchStrategy[Tree] = st.tuples(st.just("name"), NAMES) | st.tuples(st.just("field"), FIELD)
number_value: st.SearchStrategy[Tree] = st.tuples(st.just("value"), NUMBERS)
text_value: st.SearchStrategy[Tree] = st.tuples(st.just("value"), TEXTS)
boolean_value: st.SearchStrategy[Tree] = st.tuples(st.just("value"), st.booleans())


def _larger_number(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    return st.tuples(st.sampled_from("+-*/"), inner, inner) | st.tuples(st.just("negative"), inner.filter(_no_literal))


def _no_literal(tree: Tree) -> bool:
    tag: str = tree[0]
    return tag != "value"


number: st.SearchStrategy[Tree] = st.recursive(name | number_value, _larger_number, max_leaves=4)
equality = st.sampled_from(["=", "<>"])
order = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])


predicate: st.SearchStrategy[Tree] = st.one_of(
    st.tuples(order, number, number),
    st.tuples(equality, name, text_value | boolean_value),
    st.tuples(equality, text_value, name),
    st.tuples(st.sampled_from(["between", "not between"]), number, number, number),
    st.builds(lambda n, texts: ("in", n, *texts), name, st.lists(TEXTS, min_size=1, max_size=3)),
    st.tuples(st.just("like"), name, TEXTS, st.just("")),
    st.tuples(
        st.just("like"), name, st.lists(st.sampled_from(["a", "!%", "!_", "!!", "%", "_"])).map("".join), st.just("!")
    ),
    st.tuples(st.just("is null"), name),
)


def _larger_condition(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    several = st.lists(inner, min_size=2, max_size=3)
    return st.one_of(
        several.map(lambda parts: ("or", *parts)),
        several.map(lambda parts: ("and", *parts)),
        st.tuples(st.just("not"), inner),
        st.tuples(equality, inner, name | boolean_value),
    )


condition: st.SearchStrategy[Tree] = st.recursive(predicate | name | boolean_value, _larger_condition, max_leaves=6)

VALUES = st.none() | st.booleans() | NUMBERS | TEXTS | st.sampled_from([b"a", [1], {"a": 1}, 2**64 - 1, float("nan")])
MAPS = st.dictionaries(NAMES, VALUES, max_size=5)
fields: st.SearchStrategy[Fields] = st.builds(
    Fields, MAPS, MAPS, st.none() | TEXTS, st.none() | st.integers(1, 3), st.just(1)
)
