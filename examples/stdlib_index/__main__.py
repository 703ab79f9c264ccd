"""``python -m examples.stdlib_index``, or this directory by its path."""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from examples.stdlib_index.run import main

if __name__ == "__main__":
    sys.exit(main())
