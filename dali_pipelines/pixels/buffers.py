"""Reusable per-thread work buffers; avoids repeated allocation.

Asking the system for new ones took up to three times as long as the work itself (bench/NOTES.md): what one picture
needs is just large enough for the C library to hand it back when it is freed.
"""

import threading
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def buffer(name: str, *shape: int) -> NDArray[np.float32]:
    """Return this thread's float32 buffer of that name and shape, with whatever it was left with."""
    return _allocated(name, shape, threading.get_ident())


@lru_cache(maxsize=64)
def _allocated(name: str, shape: tuple[int, ...], thread: int) -> NDArray[np.float32]:
    return np.empty(shape, np.float32)
