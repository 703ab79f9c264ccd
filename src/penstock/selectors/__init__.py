"""Selectors at the edge: their text becomes a value that core evaluates, or an error that points at the place."""

from penstock.selectors.errors import SelectorError
from penstock.selectors.parser import parse_selector

__all__ = ["SelectorError", "parse_selector"]
