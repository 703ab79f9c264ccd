"""Message bodies that can be made again: from the seed and the message's name, 0 B to 1 MiB."""

import hashlib
import random
from typing import Final

from tests.process.history import MessageId

BODY_BYTES_MAX: Final = 1024 * 1024

_SIZES: Final = ((0, 0), (1, 200), (201, 16_384), (16_385, 262_144), (BODY_BYTES_MAX, BODY_BYTES_MAX))
_WEIGHTS: Final = (10, 60, 26, 3, 1)


def body_of(seed: int, message: MessageId) -> bytes:
    """Return the body of a message: most are small, some empty, a few of the largest size allowed."""
    source = random.Random(f"{seed}/{message.producer}/{message.number}")
    least, most = source.choices(_SIZES, _WEIGHTS)[0]
    return source.randbytes(source.randint(least, most))


def checksum(body: bytes) -> bytes:
    """Return what a body is compared by."""
    return hashlib.blake2b(body, digest_size=16).digest()
