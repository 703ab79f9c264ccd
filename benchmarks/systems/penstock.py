"""Penstock itself, as a user starts it."""

import importlib.util
import sys
from pathlib import Path

from benchmarks.machine import package_version
from benchmarks.processes import BrokerProcess, free_port
from benchmarks.systems.base import Running, wait_until_listening


class Penstock:
    """The Penstock daemon on a data directory of its own."""

    name = "penstock"
    label = "Penstock, synced"
    family = "penstock"
    synced = True
    flavour = ""

    def missing(self) -> str:
        """Return why Penstock cannot be measured here, or an empty string."""
        for module in ("penstock.app", "penstock_client"):
            if importlib.util.find_spec(module) is None:
                return f"{module} cannot be imported: run make install"
        return ""

    def version(self) -> str:
        """Return the versions of broker and SDK."""
        return f"penstock {package_version('penstock')}, penstock-client {package_version('penstock-client')}"

    def start(self, directory: Path) -> Running:
        """Start the daemon; the data directory is ``directory/data`` and is opened again if it exists."""
        port = free_port()
        command = [sys.executable, "-m", "penstock", "serve", "--data", str(directory / "data")]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        process = BrokerProcess(command, directory)
        return Running(process, port, wait_until_listening(process, port))
