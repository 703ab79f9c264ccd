"""T9 on a real process: ``fdatasync`` begins to fail under load. No false confirm, and the broker stops with 74.

libfiu makes the C library's own call fail (Debian: ``fiu-utils``); without it these tests are skipped.
"""

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.process.broker import MakeBroker

from penstock_client import Client, PenstockError, connect

IO_ERROR = 74
FIU_RUN, FIU_CTRL = shutil.which("fiu-run"), shutil.which("fiu-ctrl")
EIO = 5
CONFIRMS_BEFORE_FAILURE = 200

pytestmark = pytest.mark.skipif(not (FIU_RUN and FIU_CTRL), reason="libfiu (fiu-utils) is not installed")


def fail_syncs(control: Path, pid: int) -> None:
    """Let every fsync and fdatasync of the process fail from now on."""
    for call in ("fdatasync", "fsync"):
        order = f"enable name=posix/io/sync/{call},failinfo={EIO}"
        subprocess.run([str(FIU_CTRL), "-f", str(control), "-c", order, str(pid)], check=True, timeout=10)


async def publish_until_it_fails(client: Client, number: int, confirmed: set[bytes], under_load: asyncio.Event) -> None:
    queue = client.queue("jobs")
    for index in range(1_000_000):
        body = b"%d/%d" % (number, index)
        try:
            await queue.publish(body)
        except PenstockError:
            return
        confirmed.add(body)
        if len(confirmed) == CONFIRMS_BEFORE_FAILURE:
            under_load.set()


async def bodies_of(client: Client) -> set[bytes]:
    found: set[bytes] = set()
    count = (await client.queue("jobs").info()).messages
    async for message in client.queue("jobs").peek(start=0, count=count):
        found.add(message.body)
    return found


@pytest.mark.timeout(60)
async def test_a_failing_sync_stops_the_broker_and_confirms_nothing_more(
    make_broker: MakeBroker, tmp_path: Path
) -> None:
    broker = make_broker()
    control = tmp_path / "fiu"
    broker.wrapper = [str(FIU_RUN), "-x", "-f", str(control)]
    await broker.start()
    confirmed: set[bytes] = set()
    under_load = asyncio.Event()
    async with connect(broker.url) as client:
        await client.queue("jobs").declare()
        loads = [
            asyncio.create_task(publish_until_it_fails(client, number, confirmed, under_load)) for number in range(4)
        ]
        await under_load.wait()
        await asyncio.to_thread(fail_syncs, control, broker.pid)
        code = await broker.wait()
        after_end = len(confirmed)
        await client.close()
        await asyncio.gather(*loads)
    assert code == IO_ERROR, broker.log_tail()
    assert len(confirmed) == after_end
    broker.wrapper = ()
    await broker.start()
    async with connect(broker.url) as client:
        assert confirmed <= await bodies_of(client)


@pytest.mark.timeout(60)
async def test_a_broker_whose_first_sync_fails_does_not_come_up(make_broker: MakeBroker) -> None:
    broker = make_broker()
    broker.wrapper = [str(FIU_RUN), "-x", "-c", f"enable name=posix/io/sync/fdatasync,failinfo={EIO}"]
    broker.wrapper = [*broker.wrapper, "-c", f"enable name=posix/io/sync/fsync,failinfo={EIO}"]
    await broker.spawn()
    assert await broker.wait() == IO_ERROR, broker.log_tail()
