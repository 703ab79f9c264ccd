"""What the figures were measured on: processor, kernel, file system, versions, and the speed of its disk."""

import os
import platform
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import NamedTuple


class Machine(NamedTuple):
    """The facts that every benchmark report must carry."""

    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    filesystem: str
    python: str
    load: float
    """Load average of the last minute, before the run: above about 0.5 others were working too."""


def describe_machine(directory: Path) -> Machine:
    """Return the facts of this machine; ``directory`` is where the brokers keep their data."""
    return Machine(
        cpu=_cpu_model(),
        cores=os.cpu_count() or 1,
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        kernel=f"{platform.system()} {platform.release()}",
        filesystem=filesystem_of(directory),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        load=os.getloadavg()[0],
    )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def filesystem_of(directory: Path) -> str:
    """Return the type of the file system that holds ``directory``, such as ``ext4``."""
    path, best, kind = str(directory.resolve()), "", "unknown"
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, filesystem, *_ = line.split()
        inside = path == mount or path.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) > len(best):
            best, kind = mount, filesystem
    return kind


def package_version(name: str) -> str:
    """Return the installed version of a Python package, or ``not installed``."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def program_version(command: list[str]) -> str:
    """Return the first line a program prints about its version."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0].strip() if lines else "unknown"


def debian_package_version(name: str) -> str | None:
    """Return the version of an installed Debian package, or None where dpkg does not know it."""
    try:
        done = subprocess.run(
            ["dpkg-query", "-W", "-f=${Version}", name], capture_output=True, text=True, timeout=20, check=False
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None


def append_sync_seconds(directory: Path, size_bytes: int = 200, rounds: int = 300) -> list[float]:
    """Append ``size_bytes`` and fdatasync, ``rounds`` times; return the seconds each took.

    The file grows with every write, as a journal's does, so each sync commits the new size too.
    """
    path = directory / "append-sync"
    data = os.urandom(size_bytes)
    taken: list[float] = []
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        for _ in range(rounds):
            start = time.perf_counter()
            os.write(descriptor, data)
            os.fdatasync(descriptor)
            taken.append(time.perf_counter() - start)
    finally:
        os.close(descriptor)
        path.unlink()
    return taken


def main() -> None:
    """Print the machine and its append + fdatasync time."""
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else "/tmp")
    print(describe_machine(directory))
    taken = append_sync_seconds(directory)
    print(f"write + fdatasync of 200 B: p50 {statistics.median(taken) * 1e3:.3f} ms, max {max(taken) * 1e3:.3f} ms")


if __name__ == "__main__":
    main()
