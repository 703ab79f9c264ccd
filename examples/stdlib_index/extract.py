"""What the index says about one source file: a pure function from its bytes to a record.

A file that the running interpreter cannot parse (the standard library ships some on purpose, as test data) is read
token by token instead: fewer certainties, but the same kind of record.
"""

import ast
import hashlib
import io
import json
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple


class Definition(NamedTuple):
    """One class or function: its kind, its name with the enclosing names before it, and its line."""

    kind: str
    name: str
    line: int


@dataclass(frozen=True, slots=True)
class FileIndex:
    """What was found in one file. ``sha256`` is of the source as the finder saw it."""

    file: str
    size_bytes: int
    sha256: str
    lines: int
    parsed_by: str
    definitions: tuple[Definition, ...]
    imports: tuple[str, ...]

    def encode(self) -> bytes:
        """Return the record as JSON."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> "FileIndex":
        """Read what ``encode`` wrote."""
        fields: dict[str, Any] = json.loads(data)
        fields["definitions"] = tuple(Definition(*each) for each in fields["definitions"])
        fields["imports"] = tuple(fields["imports"])
        return cls(**fields)


def index_source(file: str, source: bytes) -> FileIndex:
    """Return the record of one file. Never fails: what cannot be parsed is tokenized as far as that goes."""
    try:
        tree = _parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        parsed_by, (definitions, imports) = "tokenize", _read_tokens(source)
    else:
        parsed_by, (definitions, imports) = "ast", _read_tree(tree)
    return FileIndex(
        file=file,
        size_bytes=len(source),
        sha256=hashlib.sha256(source).hexdigest(),
        lines=len(source.splitlines()),
        parsed_by=parsed_by,
        definitions=tuple(definitions),
        imports=tuple(sorted(imports)),
    )


def _parse(source: bytes) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old escapes in test data are not this program's concern
        return ast.parse(source)


def _read_tree(tree: ast.Module) -> tuple[list[Definition], set[str]]:
    definitions: list[Definition] = []
    imports: set[str] = set()
    pending: list[tuple[ast.AST, str]] = [(tree, "")]
    while pending:
        node, prefix = pending.pop()
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                kind = "class" if isinstance(node, ast.ClassDef) else "function"
                definitions.append(Definition(kind, prefix + node.name, node.lineno))
                prefix = f"{prefix}{node.name}."
            case ast.Import():
                imports.update(alias.name for alias in node.names)
            case ast.ImportFrom():
                imports.add("." * node.level + (node.module or ""))
        blocks = ast.iter_child_nodes(node)
        pending += [
            (child, prefix) for child in blocks if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case)
        ]
    definitions.sort(key=lambda each: (each.line, each.name))
    return definitions, imports


def _read_tokens(source: bytes) -> tuple[list[Definition], set[str]]:
    definitions: list[Definition] = []
    imports: set[str] = set()
    previous = ""
    try:
        for token in _tokens(source):
            if token.type == tokenize.NAME and previous in ("def", "class"):
                kind = "class" if previous == "class" else "function"
                definitions.append(Definition(kind, token.string, token.start[0]))
            elif token.type == tokenize.NAME and previous in ("import", "from"):
                imports.add(token.string)
            previous = token.string
    except (SyntaxError, tokenize.TokenError):
        pass  # what stands before the broken place is still worth having
    return definitions, imports


def _tokens(source: bytes) -> Iterator[tokenize.TokenInfo]:
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
        text = source.decode(encoding)
    except (SyntaxError, UnicodeDecodeError):
        text = source.decode("latin-1")
    return tokenize.generate_tokens(io.StringIO(text).readline)
