"""Reading ahead in threads. Few imports: every worker repeats them."""

import os
import signal
import threading
from dataclasses import dataclass

import pytest

from dali_pipelines import read_ahead
from dali_pipelines.read_ahead import ReadAhead
from dali_pipelines.workers import Crashed, Pool


@dataclass(frozen=True)
class Part:
    """A job's input: its number, at a cost of `nbytes`."""

    job: int
    nbytes: int = 100

    def read(self):
        if self.job == 13:
            raise OSError("it cannot be read")
        return self.job, threading.current_thread() is threading.main_thread()


def test_jobs_that_fit_in_memory_are_read_ahead_and_others_when_due(monkeypatch):
    monkeypatch.setattr(read_ahead, "MAX_BYTES", 350)
    monkeypatch.setattr(read_ahead, "THREADS", 1)  # so that jobs begin in order
    ahead = ReadAhead(Part)
    for _ in range(3):  # used parts free their room
        reads = [ahead.begin(job) for job in range(6)]
        ahead.begin(100)()
        assert [read()[1] for read in reads] == [(job, job >= 3) for job in range(6)]
    ahead.close()


def test_a_failed_read_raises_in_its_own_job_and_frees_its_memory(monkeypatch):
    monkeypatch.setattr(read_ahead, "MAX_BYTES", 100)
    ahead = ReadAhead(Part)
    for _ in range(3):
        with pytest.raises(OSError, match="it cannot be read"):
            ahead.begin(13)()
    assert ahead.begin(1)() == (Part(1), (1, False))
    ahead.close()


def use(job, read):
    if job == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return job, *read()[1]


@pytest.mark.slow
def test_a_crash_is_blamed_on_its_job_not_on_those_read_ahead():
    with Pool(use, workers=2, ahead=8, find=Part) as pool:
        results = dict(pool.run([*range(12), *range(20, 40)]))
    assert results.pop(7) == Crashed("SIGKILL")
    assert results == {job: (job, job, False) for job in results}
