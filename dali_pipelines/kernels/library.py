"""Find and load the library that setuptools compiled from kernels.c."""

import ctypes
from importlib.util import find_spec

VERSION = 2
"""Version of the functions in kernels.c, to reject a library left over from another version."""

POINTER, INT, LONG = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
ARGUMENTS = {
    "cut": [*[POINTER] * 3, *[LONG] * 3, *[POINTER] * 4],
    "recolor": [POINTER, POINTER, INT, INT],
    "gather": [POINTER, POINTER, INT, INT, POINTER],
    "blur": [POINTER, INT, INT, INT, POINTER, INT, POINTER],
    "paste": [POINTER, INT, INT, POINTER, INT, INT, POINTER, POINTER, POINTER],
}
"""Argument types of each function."""


def load() -> ctypes.CDLL | None:
    """Load the library; return None if there is none for this machine and version."""
    found = find_spec("dali_pipelines.kernels.native")
    if found is None or found.origin is None:
        return None
    try:
        library = ctypes.CDLL(found.origin)
        if ctypes.c_int.in_dll(library, "version").value != VERSION:
            return None
    except (OSError, ValueError):  # for another kind of machine; without a version
        return None
    for name, arguments in ARGUMENTS.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, None
    return library
