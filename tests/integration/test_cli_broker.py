"""`penstock serve`, `verify`, `repair` and `bench` as an operator uses them."""

import json
from pathlib import Path

import pytest
from tests.integration.commands import Broker


def damage(data: Path) -> Path:
    """Change one byte in the middle of the journal's first segment."""
    segment = min((data / "journal").iterdir())
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 0xFF
    segment.write_bytes(content)
    return segment


@pytest.fixture
def stopped(tmp_path: Path) -> Broker:
    """A broker that was stopped cleanly with 1,000 messages in it."""
    broker = Broker(tmp_path / "data")
    broker.declare("jobs")
    broker.run("publish", "jobs", "--lines", "-", stdin=b"".join(b"line %d\n" % n for n in range(1000)))
    broker.run("publish", "jobs", "the last")
    assert broker.stop() == 0
    return broker


def test_a_whole_directory_verifies(stopped: Broker) -> None:
    report = stopped.json("verify", stopped.data)
    assert report["whole"] is True
    assert report["records"] > 0
    assert "every stored byte is what was written" in stopped.run("verify", stopped.data).stdout.decode()


def test_damage_is_named_refused_and_repaired(stopped: Broker) -> None:
    segment = damage(stopped.data)
    verified = stopped.run("verify", stopped.data, "--json")
    assert verified.exit_code == 65
    (found,) = json.loads(verified.stdout)["damage"]
    assert found["path"] == str(segment)
    assert "penstock repair" in verified.stderr

    refused = stopped.run("serve", "--data", stopped.data, "--port", "0")
    assert refused.exit_code == 65
    assert segment.name in refused.stderr

    asked = stopped.run("repair", stopped.data)
    assert asked.exit_code == 64
    assert "--yes" in asked.stderr
    assert stopped.run("verify", stopped.data).exit_code == 65

    repaired = stopped.json("repair", stopped.data, "--yes")
    assert [lost["path"] for lost in repaired["lost"]] == [str(segment)]
    assert all(Path(original).exists() for original in repaired["originals"])
    assert stopped.json("verify", stopped.data)["whole"] is True
    again = Broker(stopped.data)
    assert again.stop() == 0


def test_a_whole_directory_needs_no_repair(stopped: Broker) -> None:
    assert stopped.json("repair", stopped.data) == {"lost": [], "originals": []}


def test_a_running_broker_is_not_repaired(broker: Broker) -> None:
    done = broker.run("repair", broker.data, "--yes")
    assert done.exit_code == 75
    assert str(broker.process.pid) in done.stderr


@pytest.mark.parametrize("command", ["verify", "repair"])
def test_a_directory_that_is_not_there_is_named(broker: Broker, command: str, tmp_path: Path) -> None:
    done = broker.run(command, tmp_path / "nothing")
    assert done.exit_code == 66
    assert str(tmp_path / "nothing") in done.stderr


def test_a_setting_out_of_bounds_is_refused_by_name(broker: Broker, tmp_path: Path) -> None:
    done = broker.run("serve", "--data", tmp_path / "data", "--port", "70000")
    assert done.exit_code == 78
    assert "server.port" in done.stderr
    assert done.stderr.count("\n") == 1


def test_bench_measures_and_leaves_nothing_behind(broker: Broker) -> None:
    result = broker.json("bench", "--messages", "2000", "--size", "50")
    assert result["messages"] == 2000
    assert result["publish_per_second"] > 0
    assert result["consume_per_second"] > 0
    assert 0 < result["confirm_p50_ms"] <= result["confirm_p99_ms"]
    assert 0 < result["delivery_p50_ms"] <= result["delivery_p99_ms"]
    assert broker.lines("queue", "list", "--prefix", "penstock-bench-", "--json") == []
