"""Memory shared with worker processes, in slots with one writer at a time."""

import mmap
import os
import pickle
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np

SLOT = 1 << 30
"""Bytes of a slot. This is address space; only what was written to takes memory."""
ALIGN = 64

Spans = list[tuple[int, int]]


class SharedMemory:
    """Anonymous slots of `size` bytes of shared memory; nothing is left behind when all processes are killed.

    The size of /dev/shm, 64 MB in a container by default, is no limit. Pass it to spawned processes as an argument.
    """

    def __init__(self, slots: int, size: int = SLOT, inherited: Any = None) -> None:
        self.slots, self.size = slots, size
        self.file = os.fdopen(inherited.detach() if inherited else os.memfd_create("clipfeed"), "r+b", buffering=0)
        if not inherited:
            os.truncate(self.file.fileno(), slots * size)
        self.map = mmap.mmap(self.file.fileno(), slots * size)
        self.map.madvise(mmap.MADV_DONTDUMP)  # a core dump would visit every page

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedMemory, (self.slots, self.size, DupFd(self.file.fileno()))

    def room(self, slot: int) -> np.ndarray:
        """Return the bytes of a slot that hold results, uint8 (size - ALIGN,)."""
        return np.frombuffer(self.map, np.uint8, self.size - ALIGN, slot * self.size)

    def mark(self, slot: int, *, begun: bool) -> None:
        """Record whether a worker has begun to write to a slot."""
        self.map[(slot + 1) * self.size - 1] = begun

    def is_begun(self, slot: int) -> bool:
        """Return whether a worker has begun to write to a slot."""
        return bool(self.map[(slot + 1) * self.size - 1])


def pack(thing: object, room: np.ndarray) -> tuple[bytes, Spans]:
    """Pickle `thing` with the bytes of its arrays in `room`; return the pickle and the spans of the arrays.

    ValueError if the arrays do not fit.
    """
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(thing, protocol=5, buffer_callback=buffers.append)
    spans, end = [], 0
    for buffer in buffers:
        raw = buffer.raw()
        begin = -(-end // ALIGN) * ALIGN
        end = begin + raw.nbytes
        if end > len(room):
            raise ValueError(f"a result has arrays of more than {len(room)} bytes")
        room.data[begin:end] = raw
        spans.append((begin, end))
    return head, spans


def unpack(head: bytes, spans: Spans, room: np.ndarray) -> Any:
    """Restore what `pack` was given; its arrays are views of `room`."""
    return pickle.loads(head, buffers=[room[begin:end] for begin, end in spans])
