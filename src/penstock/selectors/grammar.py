"""The selector language of JMS 2.0 (3.8.1), for lark.

Operands are one ladder of rules, conditions another, and a condition in parentheses may stand where an operand does:
whether each of them makes sense there (a text is not added to a number) is decided where the tree is built, which knows
more than "unexpected token" to say about it.

Beyond JMS: a name in double quotes (SQL-92's delimited identifier), for headers that are no identifiers.
"""

from __future__ import annotations

from typing import Final

GRAMMAR: Final = r"""
?start: condition

?condition: conjunction
    | conjunction (OR conjunction)+                  -> any_of
?conjunction: negation
    | negation (AND negation)+                       -> all_of
?negation: predicate
    | NOT negation                                   -> negated

?predicate: sum
    | sum COMPARISON sum                             -> comparison
    | sum BETWEEN sum AND sum                        -> between
    | sum NOT BETWEEN sum AND sum                    -> not_between
    | sum IN "(" TEXT ("," TEXT)* ")"                -> one_of
    | sum NOT IN "(" TEXT ("," TEXT)* ")"            -> not_one_of
    | sum LIKE TEXT [ESCAPE TEXT]                    -> like
    | sum NOT LIKE TEXT [ESCAPE TEXT]                -> not_like
    | sum IS NULL                                    -> is_null
    | sum IS NOT NULL                                -> is_not_null

?sum: product
    | sum (PLUS | MINUS) product                     -> arithmetic
?product: factor
    | product (STAR | SLASH) factor                  -> arithmetic
?factor: primary
    | PLUS factor                                    -> positive
    | MINUS factor                                   -> negative

?primary: NAME                                       -> name
    | QUOTED                                         -> quoted_name
    | TEXT                                           -> text
    | NUMBER                                         -> number
    | (TRUE | FALSE)                                 -> boolean
    | "(" condition ")"

COMPARISON: "<>" | "<=" | ">=" | "=" | "<" | ">"
PLUS: "+"
MINUS: "-"
STAR: "*"
SLASH: "/"
TEXT: /'(?:[^']|'')*'/
QUOTED: /"(?:[^"]|"")*"/
NUMBER: /0[xX][0-9a-fA-F]+[lL]?|(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)(?:[eE][+-]?[0-9]+)?[lLfFdD]?/
NAME: /(?:[^\W\d]|\$)(?:\w|\$)*/

%declare AND OR NOT BETWEEN IN LIKE ESCAPE IS NULL TRUE FALSE
%ignore /[ \t\f\r\n]+/
"""
"""``NAME`` tokens that are reserved words become the declared terminals, whatever their case."""

RESERVED: Final = frozenset(
    {"AND", "OR", "NOT", "BETWEEN", "IN", "LIKE", "ESCAPE", "IS", "NULL", "TRUE", "FALSE"},
)

_OPERATORS: Final = "a comparison (=, <>, <, <=, >, >=, BETWEEN, IN, LIKE, IS NULL)"

EXPECTED: Final = (
    ("NAME", "a name or a value"),
    ("TEXT", "a text in single quotes"),
    ("COMPARISON", _OPERATORS),
    ("BETWEEN", "BETWEEN"),
    ("IN", "IN"),
    ("LIKE", "LIKE"),
    ("ESCAPE", "ESCAPE"),
    ("NULL", "NULL"),
    ("NOT", "NOT"),
    ("AND", "AND"),
    ("OR", "OR"),
    ("LPAR", '"("'),
    ("COMMA", '","'),
    ("RPAR", '")"'),
    ("$END", "the end"),
)
"""What may come next, in the order it is said: a terminal and its words."""

IMPLIED: Final[dict[str, frozenset[str]]] = {
    "NAME": frozenset({"TEXT", "NOT", "LPAR"}),
    "COMPARISON": frozenset({"BETWEEN", "IN", "LIKE", "NOT"}),
}
"""Terminals whose words cover those of others."""
