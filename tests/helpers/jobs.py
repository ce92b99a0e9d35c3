"""Jobs for a pool of workers. Few imports: every worker repeats them."""

import os
import signal
import time

import numpy as np

from configs.errors import UserError


def double(number):
    if number < 0:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 99:
        raise UserError("the disk is full")
    return number * 2


def arrays(number):
    rng = np.random.default_rng(number)
    noise = rng.integers(0, 256, (1 + number % 7, 300, 3), dtype=np.uint8)
    return {"noise": noise, "turned": noise.swapaxes(0, 1), "none": noise[:0], "scalar": np.array(number)}


def same(a, b):
    return a.keys() == b.keys() and all(
        a[name].dtype == b[name].dtype and a[name].shape == b[name].shape and (a[name] == b[name]).all() for name in a
    )


def sleep(seconds):
    time.sleep(seconds)


def sleep_in_steps(steps):
    """Sleep 0.1 s at a time: what is left when a process is suspended is left when it goes on. Return its id."""
    for _ in range(steps):
        time.sleep(0.1)
    return os.getpid()
