"""Lines in, bytes out: `penstock.cli.pipes`."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.pipes import LineReader, LineTooLongError, PipeWriter, StopRequestedError

Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            pass  # the test closed it


def lines_of(data: bytes, path: Path, line_bytes_max: int = 1 << 20) -> list[bytes]:
    path.write_bytes(data)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        reader = LineReader(descriptor, threading.Event(), line_bytes_max)
        return [line for lines in reader for line in lines]
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"\n", [b""]),
        (b"one", [b"one"]),
        (b"one\n", [b"one"]),
        (b"one\n\ntwo\n", [b"one", b"", b"two"]),
        (b"one\r\ntwo", [b"one\r", b"two"]),
        (b"\x00\xff\n\xfe", [b"\x00\xff", b"\xfe"]),
    ],
)
def test_a_line_is_what_stands_before_a_line_feed(data: bytes, lines: list[bytes], tmp_path: Path) -> None:
    assert lines_of(data, tmp_path / "input") == lines


def test_a_line_longer_than_a_read_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.cli.pipes.READ_BYTES", 3)
    assert lines_of(b"abcdefgh\nij\n\nk", tmp_path / "input") == [b"abcdefgh", b"ij", b"", b"k"]


def test_a_line_over_the_limit_is_refused_with_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.cli.pipes.READ_BYTES", 4)
    with pytest.raises(LineTooLongError, match=r"^line 3 is longer than 6 bytes$"):
        lines_of(b"one\ntwo\nseven.." + b"\n", tmp_path / "input", line_bytes_max=6)


@given(st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line)), st.integers(1, 9))
def test_property_any_chunking_gives_the_same_lines(lines: list[bytes], read_bytes: int) -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, b"".join(line + b"\n" for line in lines))
        os.close(writing)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("penstock.cli.pipes.READ_BYTES", read_bytes)
            reader = LineReader(reading, threading.Event(), 1 << 20)
            assert [line for group in reader for line in group] == lines
    finally:
        os.close(reading)


def test_lines_arrive_before_the_input_ends(pipe: Pipe) -> None:
    reading, writing = pipe
    reader = LineReader(reading, threading.Event(), 1 << 20)
    os.write(writing, b"first\nsec")
    assert reader.read() == [b"first"]
    os.write(writing, b"ond\n")
    assert reader.read() == [b"second"]
    assert reader.bytes_read == len(b"first\nsecond\n")


def test_a_stop_ends_the_wait_for_input_and_drops_a_line_cut_short(pipe: Pipe) -> None:
    reading, writing = pipe
    stop = threading.Event()
    reader = LineReader(reading, stop, 1 << 20)
    os.write(writing, b"whole\nhal")
    assert reader.read() == [b"whole"]
    stop.set()
    assert reader.read() == []


def test_a_write_returns_when_the_reader_has_taken_everything(pipe: Pipe) -> None:
    reading, writing = pipe
    data = os.urandom(300_000)
    received: list[bytes] = []

    def read() -> None:
        while sum(map(len, received)) < len(data):
            received.append(os.read(reading, 10_000))

    reader = threading.Thread(target=read)
    reader.start()
    PipeWriter(writing, threading.Event()).write(data)
    reader.join()
    assert b"".join(received) == data


def test_a_write_into_a_closed_pipe_is_a_broken_pipe(pipe: Pipe) -> None:
    reading, writing = pipe
    writer = PipeWriter(writing, threading.Event())
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        writer.write(b"nobody reads this\n")


def test_what_a_closing_reader_left_in_the_pipe_is_not_written(pipe: Pipe) -> None:
    reading, writing = pipe
    writer = PipeWriter(writing, threading.Event())
    outcome: list[BaseException | None] = []

    def write() -> None:
        try:
            writer.write(b"taken\nleft\n")
            outcome.append(None)
        except BrokenPipeError as error:
            outcome.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    assert os.read(reading, 6) == b"taken\n"
    os.close(reading)
    thread.join()
    assert isinstance(outcome[0], BrokenPipeError)


def test_a_stop_ends_the_wait_for_a_reader_that_does_not_read(pipe: Pipe) -> None:
    _, writing = pipe
    stop = threading.Event()
    stop.set()
    with pytest.raises(StopRequestedError):
        PipeWriter(writing, stop).write(b"x" * 1_000_000)
    with pytest.raises(StopRequestedError):
        PipeWriter(writing, stop).write(b"y")


def test_a_file_is_written_without_waiting_for_a_reader(tmp_path: Path) -> None:
    with (tmp_path / "output").open("wb") as file:
        writer = PipeWriter(file.fileno(), threading.Event())
        assert not writer.is_pipe
        writer.write(b"x" * 2_500_000)
    assert (tmp_path / "output").stat().st_size == 2_500_000
