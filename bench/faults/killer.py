"""Kill random workers at random moments. Few imports: spawned workers import this with the tests."""

import random
import threading
import time
from contextlib import suppress
from multiprocessing import active_children

import psutil

SETTLE = 4
"""Results between two kills: more than are prefetched, so no job is hit twice and blamed for it."""
GAP_S = 0.2
"""Maximum seconds from the last of those results to the kill."""


class Killer:
    """Kill workers of this process in a thread; the consumer of the batches increments `delivered`."""

    def __init__(self, seed: int) -> None:
        self.kills = self.delivered = 0
        self.random = random.Random(seed)
        self._thread = threading.Thread()

    @property
    def at_work(self) -> bool:
        return self._thread.is_alive()

    def begin(self, kills: int) -> None:
        """Start killing, until `kills` workers have been killed in total."""
        self._thread = threading.Thread(target=self._run, args=(kills,), daemon=True)
        self._thread.start()

    def _run(self, kills: int) -> None:
        while self.kills < kills:
            time.sleep(self.random.uniform(0, GAP_S))
            if self.delivered >= SETTLE and (victims := living_workers()):
                self.delivered = 0
                self.random.choice(victims).kill()
                self.kills += 1


def living_workers() -> list[psutil.Process]:
    """Return the workers of this process, working or still starting."""
    living = []
    for worker in active_children():
        with suppress(psutil.NoSuchProcess):  # its server may have seen its end first
            living.append(psutil.Process(worker.pid))
    return living
