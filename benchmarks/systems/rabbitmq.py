"""RabbitMQ with durable queues, persistent messages and publisher confirms: quorum or classic queues."""

import shutil
import signal
from pathlib import Path

from benchmarks.machine import debian_package_version, package_version
from benchmarks.processes import BrokerProcess, free_port
from benchmarks.systems.base import Running, wait_until_listening

_SERVER_PLACES = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "/opt/rabbitmq/sbin/rabbitmq-server")
"""The server script itself; the one on PATH of a Debian package changes user first and writes to system directories."""


def find_rabbitmq_server() -> str | None:
    """Return the path of the server script, or None."""
    for place in _SERVER_PLACES:
        if Path(place).exists():
            return place
    return shutil.which("rabbitmq-server")


class RabbitMQ:
    """rabbitmq-server with its own node name, directories, ports and port mapper; nothing of the system's is used."""

    family = "rabbitmq"
    synced = True

    def __init__(self, quorum: bool) -> None:
        self.flavour = "quorum" if quorum else "classic"
        self.name = f"rabbitmq-{self.flavour}"
        self.label = "RabbitMQ quorum queue (one node)" if quorum else "RabbitMQ classic durable queue"

    def missing(self) -> str:
        """Return why RabbitMQ cannot be measured here, or an empty string."""
        if not find_rabbitmq_server():
            return "rabbitmq-server is not installed"
        if not shutil.which("epmd"):
            return "epmd (Erlang's port mapper) is not on PATH"
        if package_version("aio-pika") == "not installed":
            return "the Python package aio-pika is not installed"
        return ""

    def version(self) -> str:
        """Return the versions of server and client."""
        debian = debian_package_version("rabbitmq-server")
        origin = f"{debian} (Debian package: old)" if debian else "(version unknown)"
        return f"rabbitmq-server {origin}, aio-pika {package_version('aio-pika')}"

    def start(self, directory: Path) -> Running:
        """Start rabbitmq-server and its own epmd."""
        port, mapper_port = free_port(), free_port()
        mapper_directory = directory / "epmd"
        mapper_directory.mkdir()
        mapper = BrokerProcess(
            [shutil.which("epmd") or "epmd", "-port", str(mapper_port), "-address", "127.0.0.1"], mapper_directory
        )
        try:
            wait_until_listening(mapper, mapper_port, 10)
            environment = self._environment(directory, port, mapper_port)
            process = BrokerProcess(
                [
                    find_rabbitmq_server() or "",
                ],
                directory,
                environment,
                program="beam.smp",
            )
            seconds = wait_until_listening(process, port)
        except BaseException:
            mapper.stop()
            raise
        return Running(process, port, seconds, [mapper], signal.SIGTERM)

    def _environment(self, directory: Path, port: int, mapper_port: int) -> dict[str, str]:
        configuration = directory / "rabbitmq.conf"
        configuration.write_text("vm_memory_high_watermark.relative = 0.8\ndisk_free_limit.absolute = 50MB\n")
        (directory / "plugins").write_text("[].\n")
        (directory / "environment").write_text("")
        return {
            "HOME": str(directory),
            "ERL_EPMD_PORT": str(mapper_port),
            "RABBITMQ_NODENAME": f"benchmark{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
            "RABBITMQ_CONFIG_FILE": str(configuration),
            "RABBITMQ_CONF_ENV_FILE": str(directory / "environment"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }
