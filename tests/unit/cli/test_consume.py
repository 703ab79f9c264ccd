"""What is acknowledged and what is released: the printer of `penstock.cli.consume`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from penstock.cli.consume import Printer, Wanted
from penstock.cli.messages import MessageFormat
from penstock.cli.pipes import PipeWriter, StopRequestedError


@dataclass
class FakeMessage:
    """A delivery that notes what became of it."""

    offset: int
    fate: list[str]
    body: bytes = b"body"
    queue: str = "jobs"
    attempt: int = 1
    failures: int = 0
    key: str | None = None
    published_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    async def ack(self) -> None:
        self.fate.append(f"ack {self.offset}")

    async def release(self) -> None:
        self.fate.append(f"release {self.offset}")


@dataclass
class FakeWriter:
    """Takes so many writes, then fails."""

    fate: list[str]
    is_pipe: bool = False
    writes_taken: int = 1_000_000
    failure: BaseException = field(default_factory=BrokenPipeError)

    def write(self, data: bytes) -> None:
        if self.writes_taken == 0:
            raise self.failure
        self.writes_taken -= 1
        self.fate.append(f"write {len(data.splitlines())}")


def printer(writer: FakeWriter, count: int | None = None) -> Printer:
    return Printer(cast(PipeWriter, writer), Wanted(count, follow=True, form=MessageFormat.RAW))


def batch(fate: list[str], size: int) -> Any:
    messages: Sequence[FakeMessage] = [FakeMessage(offset, fate) for offset in range(size)]
    return messages


async def test_a_batch_is_acknowledged_after_it_was_written() -> None:
    fate: list[str] = []
    await printer(FakeWriter(fate)).print(batch(fate, 3))
    assert fate == ["write 3", "ack 0", "ack 1", "ack 2"]


async def test_into_a_pipe_the_first_messages_go_one_at_a_time() -> None:
    fate: list[str] = []
    await printer(FakeWriter(fate, is_pipe=True)).print(batch(fate, 3))
    assert fate == ["write 1", "ack 0", "write 1", "ack 1", "write 1", "ack 2"]


async def test_into_a_pipe_more_goes_at_once_as_more_is_taken() -> None:
    fate: list[str] = []
    subject = printer(FakeWriter(fate, is_pipe=True))
    await subject.print(batch(fate, 1000))
    assert subject.printed == 1000
    sizes = [int(event.split()[1]) for event in fate if event.startswith("write")]
    assert sizes[:100] == [1] * 100
    assert sizes == sorted(sizes[:-1]) + sizes[-1:]
    assert max(sizes) == 9


@pytest.mark.parametrize("failure", [BrokenPipeError(), StopRequestedError()], ids=["broken pipe", "stopped"])
async def test_what_was_not_written_is_released(failure: BaseException) -> None:
    fate: list[str] = []
    writer = FakeWriter(fate, is_pipe=True, writes_taken=2, failure=failure)
    with pytest.raises(type(failure)):
        await printer(writer).print(batch(fate, 4))
    assert fate == ["write 1", "ack 0", "write 1", "ack 1", "release 2", "release 3"]


async def test_what_is_not_wanted_is_released() -> None:
    fate: list[str] = []
    subject = printer(FakeWriter(fate), count=2)
    await subject.print(batch(fate, 4))
    assert fate == ["write 2", "ack 0", "ack 1", "release 2", "release 3"]
    assert subject.complete
