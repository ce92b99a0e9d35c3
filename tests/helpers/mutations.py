"""Damaged inputs, the same in every run."""

import os
import random
from collections.abc import Iterator

INPUTS = int(os.environ.get("MUTATIONS", "1000"))
"""Inputs per test. After changing a parser, run `make test MUTATIONS=10000`: these and nine times as many more."""


def mutations(data: bytes, count: int, *, seed: int) -> Iterator[bytes]:
    """Yield `data` with bytes changed, numbers made extreme, pieces cut out, doubled or moved."""
    rng = random.Random(seed)
    extremes = [bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\x00\x00\x00\x01"]
    for _ in range(count):
        changed = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            if not changed:
                break
            at, length = rng.randrange(len(changed)), rng.randint(1, 64)
            match rng.randrange(6):
                case 0:
                    changed[at] = rng.randrange(256)
                case 1:
                    changed[at : at + 4] = rng.choice(extremes)
                case 2:
                    del changed[at : at + length]
                case 3:
                    changed[at:at] = changed[at : at + length]
                case 4:
                    del changed[max(at, 16) :]
                case 5:  # most numbers are at the head of a file
                    changed[at % min(900, len(changed))] = rng.randrange(256)
        yield bytes(changed)
