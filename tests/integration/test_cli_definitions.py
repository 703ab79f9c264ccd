"""A broker's definitions as a file: exported, compared, applied."""

from pathlib import Path

from tests.integration.commands import Broker

FILE = """
[queues.jobs]
lease_ms = 60000
alarm_messages = 1000
ttl_ms = 3600000
on_expired = "dead-letter"
priority_max = 255

[queues.jobs.groups.billing]
mode = "keyed"
breaker_failures = 20

[exchanges.events]
type = "topic"

[[exchanges.events.bindings]]
queue = "jobs"
routing_key = "orders.#"

[schedules.tick]
cron = "0 3 1 1 *"
queue = "jobs"
body = "happy new year"
key = "tick"
"""


def test_what_is_exported_can_be_applied_and_then_nothing_differs(tmp_path: Path) -> None:
    file, export = tmp_path / "definitions.toml", tmp_path / "export.toml"
    file.write_text(FILE)
    broker = Broker(tmp_path / "data")
    try:
        different = broker.run("definitions", "diff", file)
        assert (different.exit_code, different.stdout.count(b"create ")) == (1, 5)
        assert [change["action"] for change in broker.lines("definitions", "apply", file, "--json")] == ["create"] * 5
        assert broker.run("definitions", "diff", file).stdout == b"nothing to change\n"
        export.write_bytes(broker.run("definitions", "export").stdout)
        assert broker.run("definitions", "diff", export, "--prune").exit_code == 0
        assert "queues.jobs.groups.billing" in export.read_text()
        again = broker.run("definitions", "apply", "-", stdin=export.read_bytes())
        assert (again.exit_code, again.stdout) == (0, b"nothing to change\n")
        broker.run("publish", "jobs", "kept")
        _check_changes(broker, file)
        _check_pruning(broker, file)
    finally:
        broker.stop()


def _check_changes(broker: Broker, file: Path) -> None:
    file.write_text(FILE.replace("= 60000", "= 5000").replace('"keyed"', '"single"'))
    refused = broker.run("definitions", "apply", file)
    assert (refused.exit_code, "group 'billing'" in refused.stderr, "Traceback" in refused.stderr) == (78, True, False)
    assert broker.json("queue", "show", "jobs", "--json")["lease"] == 60.0, "nothing was changed"
    file.write_text(FILE.replace("= 60000", "= 5000").replace("3600000", "0").replace('on_expired = "dead-letter"', ""))
    applied = broker.run("definitions", "apply", file).stdout
    assert [part in applied for part in (b"lease_ms 60000 -> 5000", b"ttl_ms 3600000 -> 0")] == [True, True]
    shown = broker.json("queue", "show", "jobs", "--json")
    assert (shown["lease"], shown["ttl"], shown["on_expired"], shown["priority_max"]) == (5.0, 0.0, "drop", 255)


def _check_pruning(broker: Broker, file: Path) -> None:
    broker.declare("old")
    file.write_text("[queues.old]\n")
    asked = broker.run("definitions", "apply", file, "--prune")
    assert (asked.exit_code, "--yes" in asked.stderr) == (64, True)
    kept = broker.run("definitions", "apply", file, "--prune", "--yes")
    assert kept.exit_code == 75, "a queue that is not empty stays"
    assert broker.count("jobs") == 1
    broker.run("queue", "purge", "jobs", "--yes")
    assert broker.run("definitions", "apply", file, "--prune", "--yes").exit_code == 0
    assert [one["name"] for one in broker.lines("queue", "list", "--json")] == ["old"]


def test_a_file_that_is_not_there_or_wrong_is_said_in_a_line(broker: Broker, tmp_path: Path) -> None:
    missing = broker.run("definitions", "diff", tmp_path / "no.toml")
    assert (missing.exit_code, "cannot read" in missing.stderr) == (66, True)
    wrong = broker.run("definitions", "diff", "-", stdin=b"[queues.jobs]\nlease = 3\n")
    assert (wrong.exit_code, "standard input, queues.jobs" in wrong.stderr) == (65, True)
    assert b"penstock definitions export" in broker.run("definitions").stdout
