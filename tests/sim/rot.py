"""Media corruption (I19): one bit flips, and what is recovered is an exact prefix, or a refusal that names a file."""

from __future__ import annotations

import random

from tests.sim.bodies import uids_of
from tests.sim.comparison import compare
from tests.sim.disk import SimFileSystem
from tests.sim.history import History
from tests.sim.options import Options
from tests.sim.recovering import recover
from tests.sim.replay import replayed
from tests.sim.violation import Violation

from penstock.engine.blocks import parse_stored
from penstock.engine.engine import Engine
from penstock.storage.errors import StorageError


def check_rot(fs: SimFileSystem, rng: random.Random, options: Options, history: History) -> str:
    """Flip a bit in a copy of the disk and recover from that; return what came of it."""
    files = {path: content for path, content in fs.files().items() if content}
    if not files:
        return "nothing to rot"
    path = rng.choice(sorted(files))
    offset, bit = rng.randrange(len(files[path])), rng.randrange(8)
    content = bytearray(files[path])
    content[offset] ^= 1 << bit
    copy = SimFileSystem("rot")
    copy.make_directory("journal")
    copy.make_directory("snapshots")
    for name, kept in files.items():
        copy.replace(name, bytes(content) if name == path else kept)
    where = f"{path} byte {offset} bit {bit}"
    try:
        recovered = recover(copy, options, 1 << 20, lambda: 0)
        _check_content(recovered.engine, history)
    except StorageError as error:
        if not error.path:
            raise Violation("I19", f"{where}: refused without naming a file: {error}") from error
        return f"{where}: {type(error).__name__}"
    survivors = [known for known in history.facts if known.position < recovered.end]
    compare(recovered.engine.broker, replayed(survivors, 1 << 20))
    return f"{where}: recovered"


def _check_content(engine: Engine, history: History) -> None:
    for number, queue in engine.broker.queues.items():
        if queue.settings.durable:
            for block in queue.log.all_blocks():
                uids = uids_of(parse_stored(engine.journal.read(block.position, block.size_bytes))[1])
                wanted = tuple(history.identity.get((number, offset)) for offset in range(block.first, block.end))
                if uids != wanted:
                    raise Violation("I19", f"{queue.name} {block}: {uids} read, {wanted} published")
