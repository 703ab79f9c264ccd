"""Streams of exchanges: what became of each stretch of what was sent."""

from __future__ import annotations

from collections import deque

import pytest

from penstock.core import exchanges
from penstock.core.exchange_settings import ExchangeSettings
from penstock.core.exchanges import Exchange, ExchangeStream
from penstock.core.values import MEMORY, SYNCED


def outcomes(stream: ExchangeStream, first: int, end: int) -> list[tuple[int, bool, bool]]:
    return [(cut, stream.was_taken(cut), stream.was_in_memory(cut)) for cut in stream.cuts(first, end)[:-1]]


def test_what_may_have_been_refused_longer_ago_than_is_remembered_is_not_taken_for_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """I1."""
    monkeypatch.setattr(exchanges, "_GAPS_MAX", 2)
    stream = ExchangeStream()
    stream.gaps = deque(maxlen=2)
    for sequence in (2, 4, 6):  # 1, 3 and 5 were refused; 1 is forgotten
        stream.advance(sequence, 1, SYNCED)
    for seen in (stream, stream.between(1, 7)):
        taken = [sequence for sequence in range(1, 7) if seen.was_taken(sequence)]
        assert taken == [4, 6]
        assert outcomes(seen, 1, 5) == [(1, False, False), (3, False, False), (4, True, False)]


def test_a_new_stream_has_seen_nothing() -> None:
    assert outcomes(ExchangeStream(), 1, 5) == [(1, False, False)]


def test_gaps_and_memory_cut_a_stretch() -> None:
    stream = ExchangeStream()
    stream.advance(1, 3, SYNCED)
    stream.advance(6, 2, MEMORY)
    stream.advance(8, 1, MEMORY)
    stream.advance(9, 1, SYNCED)
    assert outcomes(stream, 1, 12) == [
        (1, True, False),
        (4, False, False),
        (6, True, True),
        (9, True, False),
        (10, False, False),
    ]
    assert outcomes(stream, 2, 4) == [(2, True, False)]
    assert stream.values() == (9, [(4, 6)], [(6, 9)])


def test_each_producer_has_a_stream_of_its_own() -> None:
    exchange = Exchange(1, "x", ExchangeSettings(), 0)
    exchange.stream_of(1).advance(1, 5, SYNCED)
    assert exchange.stream_of(1).last_sequence == 5
    assert exchange.stream_of(2).last_sequence == 0


def test_what_is_known_of_a_stretch_answers_for_it_as_the_whole_would() -> None:
    stream = ExchangeStream()
    for first in range(2, 2000, 3):
        stream.advance(first, 2, MEMORY if first % 4 else SYNCED)
    for first, end in ((1, 2), (500, 560), (1990, 2010), (2500, 2600)):
        part = stream.between(first, end)
        assert outcomes(part, first, end) == outcomes(stream, first, end)
        assert len(part.gaps) + len(part.in_memory) <= end - first
