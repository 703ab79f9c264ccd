"""Penstock: a message broker. One log with every way to read it."""

from typing import Final

__version__: Final = "0.1.0"
