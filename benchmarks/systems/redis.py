"""Redis streams with every write synced before its reply (``appendfsync always``)."""

import shutil
from pathlib import Path

from benchmarks.machine import debian_package_version, package_version, program_version
from benchmarks.processes import BrokerProcess, free_port
from benchmarks.systems.base import Running, wait_until_listening


class Redis:
    """redis-server as a durable work queue: XADD, XREADGROUP, XACK."""

    name = "redis"
    label = "Redis streams, appendfsync always"
    family = "redis"
    synced = True
    flavour = ""

    def missing(self) -> str:
        """Return why Redis cannot be measured here, or an empty string."""
        if not shutil.which("redis-server"):
            return "redis-server is not on PATH"
        if package_version("redis") == "not installed":
            return "the Python package redis is not installed"
        return ""

    def version(self) -> str:
        """Return the versions of server and client."""
        words = program_version(["redis-server", "--version"]).split()
        number = next((word.removeprefix("v=") for word in words if word.startswith("v=")), "unknown")
        debian = debian_package_version("redis-server")
        origin = f" (Debian package {debian}: old)" if debian else ""
        return f"redis-server {number}{origin}, redis-py {package_version('redis')}"

    def start(self, directory: Path) -> Running:
        """Start redis-server. Log rewriting is off: it would fork in the middle of a measurement."""
        port = free_port()
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(directory)]
        command += ["--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"]
        command += ["--save", "", "--daemonize", "no"]
        process = BrokerProcess(command, directory)
        return Running(process, port, wait_until_listening(process, port))
