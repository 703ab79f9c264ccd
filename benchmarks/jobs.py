"""What a load process is told to do and what it answers; both travel as one line of JSON."""

import json
import mmap
import struct
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

UNLIMITED: Final = 1 << 62
_GOAL: Final = struct.Struct("<q")


@dataclass(frozen=True, slots=True)
class Job:
    """One load, done by one process. ``seconds`` bounds it in time and ``count`` (0 = none) in messages."""

    action: str
    family: str
    port: int
    queue: str = "bench"
    flavour: str = ""
    raw: bool = False
    body_bytes: int = 100
    seconds: float = 1.0
    count: int = 0
    goal: str = ""
    """File that tells a consumer how many messages there will be once its producer knows; see Goal."""
    batch: int = 500
    """Messages in one frame or pipeline, where the protocol has such a thing."""
    queues: int = 1
    connections: int = 1
    rate: int = 1000
    durable: bool = True
    callback: bool = False
    """Receive through the client's callback interface where that is not the usual one (nats-py)."""
    separate: bool = False
    """Publish to many queues through a publisher of each (Penstock); else one publisher serves them all."""
    feature: str = ""
    """What the load makes use of beside the plain queue (Penstock): see ``clients.features``."""
    copies: int = 1
    """How many consumers get each message: groups (Penstock)."""
    awaiting: bool = False
    """The message handler awaits (yields to the event loop) once per message."""
    stuck: bool = False
    """Beside it, producers wait for room in another queue (Penstock)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a load reached. ``samples`` are seconds: latencies or confirm times."""

    count: int = 0
    seconds: float = 0.0
    samples: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Messages per second."""
        return self.count / self.seconds if self.seconds else 0.0


def encode_line(value: Job | Outcome) -> str:
    """Return one line of JSON."""
    return json.dumps(asdict(value)) + "\n"


def decode_job(line: str) -> Job:
    """Return the job of a line."""
    return Job(**json.loads(line))


def decode_outcome(line: str) -> Outcome:
    """Return the outcome of a line."""
    fields: dict[str, Any] = json.loads(line)
    return Outcome(**fields)


class Goal:
    """A number shared by a producer and a consumer process: how many messages were published, once that is known."""

    def __init__(self, path: str) -> None:
        with Path(path).open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _GOAL.size)

    @staticmethod
    def create(path: Path) -> str:
        """Make the file, saying "not yet known"; return its path."""
        path.write_bytes(_GOAL.pack(-1))
        return str(path)

    def announce(self, count: int) -> None:
        """Say that ``count`` messages were published in all."""
        _GOAL.pack_into(self._memory, 0, count)

    def limit(self) -> int:
        """Return the announced count, or UNLIMITED while it is not known."""
        count: int = _GOAL.unpack_from(self._memory)[0]
        return UNLIMITED if count < 0 else count


@dataclass(slots=True)
class Tally:
    """What a running load has done, read by the watcher beside it while it runs."""

    count: int = 0
    limit: int = UNLIMITED
    stopping: bool = False
