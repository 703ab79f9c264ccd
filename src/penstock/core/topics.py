"""Topic patterns in a trie: matching a routing key costs what its words and its matches cost, not what is bound.

A routing key is words between dots; an empty one has no words. In a pattern ``*`` stands for exactly one word and ``#``
for any number of words, none included (AMQP 0-9-1, 3.1.3.3). The trie is read as a machine that takes one word after
the other and may be in many nodes at once:

    in a node, a word leads to the child of that word, to the child ``*``, and in a ``#`` node back to the node itself;
    the child ``#`` of a node is entered together with the node, for it may stand for nothing.

Each node is entered at most once per word, so a pattern like ``#.a.#.a.#`` costs words times nodes at the worst, and
never the exponential time of trying out what each ``#`` stands for.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

ONE_WORD: Final = "*"
ANY_WORDS: Final = "#"

Item = TypeVar("Item")


class _Node(Generic[Item]):
    """A place in the trie. Most have either children or items; an empty dict would be memory that a match touches."""

    __slots__ = ("children", "items", "repeats")

    def __init__(self, repeats: bool) -> None:
        self.children: dict[str, _Node[Item]] | None = None
        self.items: dict[Item, None] | None = None
        self.repeats = repeats


class TopicTrie(Generic[Item]):
    """Items under topic patterns; an item may be under several, and is found once."""

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root: _Node[Item] = _Node(False)

    def add(self, pattern: str, item: Item) -> None:
        """Put an item under a pattern."""
        node = self._root
        for word in words_of(pattern):
            children = node.children
            if children is None:
                children = node.children = {}
            child = children.get(word)
            if child is None:
                child = children[word] = _Node(word == ANY_WORDS)
            node = child
        if node.items is None:
            node.items = {}
        node.items[item] = None

    def remove(self, pattern: str, item: Item) -> None:
        """Take away an item that is under this pattern, and the nodes that led to nothing else."""
        node, path = self._root, []
        words = words_of(pattern)
        for word in words:
            assert node.children is not None, "the pattern is there"
            path.append((node.children, word))
            node = node.children[word]
        assert node.items is not None, "the item is there"
        del node.items[item]
        while path and not node.items and not node.children:
            children, word = path.pop()
            del children[word]
            if children:
                break
            node = path[-1][0][path[-1][1]] if path else self._root
            node.children = None

    def match(self, routing_key: str) -> dict[Item, None]:
        """Return the items whose pattern matches, each once."""
        active: dict[_Node[Item], None] = {}
        _enter(active, self._root)
        for word in words_of(routing_key):
            following: dict[_Node[Item], None] = {}
            for node in active:
                if node.repeats:
                    _enter(following, node)
                children = node.children
                if children is None:
                    continue
                if (child := children.get(word)) is not None and word not in _WILDCARDS:
                    _enter(following, child)
                if (child := children.get(ONE_WORD)) is not None:
                    _enter(following, child)
            active = following
        found: dict[Item, None] = {}
        for node in active:
            if node.items:
                found.update(node.items)
        return found


_WILDCARDS: Final = frozenset({ONE_WORD, ANY_WORDS})
"""In a routing key these are words like any other, which no pattern can name."""


def words_of(text: str) -> list[str]:
    """Return the words of a routing key or pattern."""
    return text.split(".") if text else []


def _enter(active: dict[_Node[Item], None], node: _Node[Item] | None) -> None:
    """Be in a node, and in those that follow it without a word."""
    while node is not None and node not in active:
        active[node] = None
        node = node.children.get(ANY_WORDS) if node.children else None
