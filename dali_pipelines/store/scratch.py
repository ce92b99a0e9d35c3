"""Arrays to work on, kept from picture to picture.

To ask the system for new ones each time took up to three times as long as the work itself (bench/NOTES.md): what one
picture takes is just large enough for the C library to hand it back when it is freed.
"""

import threading
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def scratch(name: str, *shape: int) -> NDArray[np.float32]:
    """A float32 array of this thread for what `name` says. It holds what was left in it."""
    return _made(name, shape, threading.get_ident())


@lru_cache(maxsize=64)
def _made(name: str, shape: tuple[int, ...], thread: int) -> NDArray[np.float32]:
    return np.empty(shape, np.float32)
