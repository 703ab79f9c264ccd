import ast
import hashlib

import pytest
from examples.stdlib_index.extract import Definition, FileIndex, index_source
from examples.stdlib_index.library import find_library, standard_library_root

SOURCE = b"""\
import os, sys as system
from . import sibling
from ..package.module import name

class Outer(Base):
    def method(self):
        import json
        def inner(): pass

try:
    async def fallback(): pass
except ImportError:
    from late import thing
match value:
    case 1:
        def matched(): pass
"""


def test_definitions_carry_their_kind_enclosing_names_and_line() -> None:
    assert index_source("a.py", SOURCE).definitions == (
        Definition("class", "Outer", 5),
        Definition("function", "Outer.method", 6),
        Definition("function", "Outer.method.inner", 8),
        Definition("function", "fallback", 11),
        Definition("function", "matched", 16),
    )


def test_imports_are_found_wherever_they_stand() -> None:
    assert index_source("a.py", SOURCE).imports == (".", "..package.module", "json", "late", "os", "sys")


def test_the_record_carries_size_lines_and_checksum_of_the_source() -> None:
    record = index_source("a.py", SOURCE)
    assert (record.file, record.size_bytes, record.lines) == ("a.py", len(SOURCE), 16)
    assert (record.sha256, record.parsed_by) == (hashlib.sha256(SOURCE).hexdigest(), "ast")


def test_an_empty_file_has_an_empty_record() -> None:
    record = index_source("__init__.py", b"")
    assert (record.lines, record.definitions, record.imports, record.parsed_by) == (0, (), (), "ast")


@pytest.mark.parametrize(
    "source",
    [
        b'import os\nclass Old:\n    def method(self):\n        print "hello"\n',
        b"# coding: no-such-coding\nimport os\nclass Old:\n    def method(self): pass\n",
        b"import os\nclass Old:\n    def method(self): return '\xf6'\n",
        b"import os\nclass Old:\n    def method(self):\n        return (\n",
    ],
    ids=["old syntax", "unknown encoding", "not UTF-8", "ends inside brackets"],
)
def test_a_file_that_does_not_parse_is_read_token_by_token(source: bytes) -> None:
    record = index_source("old.py", source)
    assert record.parsed_by == "tokenize"
    assert [(each.kind, each.name) for each in record.definitions] == [("class", "Old"), ("function", "method")]
    assert record.imports == ("os",)


def test_source_that_is_not_text_still_gives_a_record() -> None:
    assert index_source("x.py", b"\x00\xff\x00" * 10).parsed_by == "tokenize"


def test_a_warning_of_the_parser_does_not_make_a_file_unparsable() -> None:
    assert index_source("x.py", b'escape = "\\d"\n').parsed_by == "ast"


def test_a_record_survives_its_encoding() -> None:
    record = index_source("a.py", SOURCE)
    assert FileIndex.decode(record.encode()) == record


def test_definitions_are_those_of_a_full_walk_over_the_tree() -> None:
    library = find_library(standard_library_root(), limit=40)
    for name in library.names:
        source = (library.root / name).read_bytes()
        kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        expected = sorted((node.lineno, node.name) for node in ast.walk(ast.parse(source)) if isinstance(node, kinds))
        found = sorted((each.line, each.name.rpartition(".")[2]) for each in index_source(name, source).definitions)
        assert found == expected, name
