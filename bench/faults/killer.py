"""Kills random workers at random moments. Few imports: workers that start from nothing import it with the tests."""

import random
import threading
import time
from contextlib import suppress
from multiprocessing import active_children

import psutil

SETTLE = 4
"""Results between two kills. More than are ahead, so that no job is hit twice, which would make it the culprit."""
GAP_S = 0.2
"""The most seconds from the last of those results to the kill."""


class Killer:
    """Kills workers of this process in a thread; `delivered` is counted up by whoever takes batches."""

    def __init__(self, seed: int) -> None:
        self.kills = self.delivered = 0
        self.random = random.Random(seed)
        self._thread = threading.Thread()

    @property
    def at_work(self) -> bool:
        return self._thread.is_alive()

    def begin(self, kills: int) -> None:
        """Start to kill, until `kills` workers have been killed in all."""
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
    """Return the workers of this process, at work or still starting."""
    living = []
    for worker in active_children():
        with suppress(psutil.NoSuchProcess):  # its server may have seen its end first
            living.append(psutil.Process(worker.pid))
    return living
