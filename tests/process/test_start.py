"""A broker that cannot start says why, what to do, and ends with the exit code of its kind."""

import asyncio
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.process.broker import BrokerProcess, MakeBroker, free_port

from penstock_client import connect

UNAVAILABLE, CANNOT_CREATE, LOCKED, CONFIG = 69, 73, 75, 78


async def refusal(broker: BrokerProcess) -> tuple[int, str]:
    await broker.spawn()
    return await broker.wait(), broker.log_tail()


async def test_a_second_broker_on_the_same_directory_is_refused_and_told_who_holds_it(make_broker: MakeBroker) -> None:
    first = make_broker()
    await first.start()
    code, said = await refusal(make_broker())
    assert code == LOCKED
    assert str(first.pid) in said
    async with connect(first.url) as client:
        await client.queue("jobs").declare()


async def test_a_directory_is_free_again_once_its_broker_was_killed(make_broker: MakeBroker) -> None:
    first = make_broker()
    await first.start()
    await first.kill()
    await make_broker().start()


async def test_a_port_in_use_is_refused_by_its_number(make_broker: MakeBroker, tmp_path: Path) -> None:
    port = free_port()
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", port)
    async with listener:
        code, said = await refusal(make_broker(port=port))
    assert code == UNAVAILABLE
    assert str(port) in said


async def test_a_port_in_use_leaves_the_directory_usable(make_broker: MakeBroker) -> None:
    first = make_broker()
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", first.port)
    async with listener:
        await refusal(first)
    await first.start()


async def test_a_file_in_place_of_the_data_directory_is_refused_by_its_path(make_broker: MakeBroker) -> None:
    broker = make_broker()
    broker.data.write_text("not a directory")
    code, said = await refusal(broker)
    assert code == CANNOT_CREATE
    assert str(broker.data) in said
    assert broker.data.read_text() == "not a directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_directory_without_write_permission_is_refused_by_its_path(make_broker: MakeBroker) -> None:
    broker = make_broker()
    broker.data.mkdir(mode=0o500)
    code, said = await refusal(broker)
    assert code == CANNOT_CREATE
    assert str(broker.data) in said


async def test_a_place_where_no_directory_can_be_made_is_refused_by_its_path(make_broker: MakeBroker) -> None:
    broker = make_broker()
    broker.data = Path("/proc/penstock-data")
    code, said = await refusal(broker)
    assert code == CANNOT_CREATE
    assert str(broker.data) in said


async def test_a_bad_setting_is_refused_by_its_name(make_broker: MakeBroker) -> None:
    code, said = await refusal(make_broker(settings={"PENSTOCK_STORAGE__SEGMENT_BYTES": "12"}))
    assert code == CONFIG
    assert "segment_bytes" in said


async def test_a_directory_mounted_read_only_is_refused_by_its_path(
    make_broker: MakeBroker, small_disk: Callable[[int], Path]
) -> None:
    broker = make_broker()
    broker.data = small_disk(1024 * 1024) / "data"
    remounted = await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,ro", str(broker.data.parent)])
    assert remounted.returncode == 0
    code, said = await refusal(broker)
    assert code == CANNOT_CREATE
    assert str(broker.data) in said
