"""Jobs whose worker dies. Few imports: every worker repeats them."""

import os
import signal
import time
from itertools import count
from typing import Any

import pytest

from bench.faults.killer import SETTLE, Killer, living_workers
from configs.errors import UserError
from dali_pipelines.workers import CHANCES, Crashed, Pool, _Pending, run_jobs
from tests.helpers.jobs import arrays, double, same

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("ordered", [False, True])
def test_a_crashing_job_loses_only_itself_and_names_the_signal(workers, ordered):
    jobs = [1, 2, -1, 3, 4, 5, -2, 6]
    crashed = Crashed("SIGSEGV")
    with Pool[Any, Any](double, workers=workers, ahead=4) as pool:
        results = list(pool.run(jobs, ordered=ordered))
    assert dict(results) == {1: 2, 2: 4, 3: 6, 4: 8, 5: 10, 6: 12, -1: crashed, -2: crashed}
    assert len(results) == len(jobs)
    if ordered:
        assert [job for job, _ in results] == jobs


def die_once(marker):
    """Die by SIGKILL unless `marker` exists; then return its name."""
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return marker.name


def test_a_job_whose_worker_dies_once_is_retried(tmp_path):
    markers = [tmp_path / str(number) for number in range(6)]
    with Pool[Any, Any](die_once, workers=2, ahead=4) as pool:
        assert list(pool.run(markers)) == [(marker, marker.name) for marker in markers]


def exit_worker(code):
    os._exit(code)


def test_a_worker_that_exits_counts_as_crashed():
    assert list(run_jobs(exit_worker, [3, 0], workers=1)) == [(3, Crashed("exit code 3")), (0, Crashed("exit code 0"))]


def test_a_job_submitted_after_a_death_is_not_lost():
    def jobs():
        yield -1
        time.sleep(2)
        yield 3

    assert dict(run_jobs(double, jobs(), workers=1)) == {-1: Crashed("SIGSEGV"), 3: 6}


def test_a_job_given_to_dead_workers_is_not_blamed():
    with Pool[Any, Any](double, workers=1, ahead=1) as pool:
        assert list(pool.run([1])) == [(1, 2)]
        task = _Pending(2)
        pool._pending.append(task)
        for _ in range(CHANCES):
            (worker,) = pool._workers
            if not worker.open:
                pool._read(worker)  # its message that it has started
            worker.process.kill()
            worker.process.join()
            pool._hand_out()  # the pool has not noticed its end
            pool._replace(worker)
        assert task.deaths == 0
        assert list(pool._pending) == [task]


def megabytes(number):
    return bytes([number]) * 20_000_000  # not an array, so it goes through the pipe, which holds less


def test_a_worker_killed_within_a_message_is_detected():
    with Pool[Any, Any](megabytes, workers=2, ahead=4) as pool:
        results = pool.run(range(8))
        assert next(results) == (0, megabytes(0))
        time.sleep(1)  # both block on writing to full pipes
        for worker in living_workers():
            worker.kill()
        assert list(results) == [(job, megabytes(job)) for job in range(1, 8)]


def fork_and_die(marker):
    """Die once and leave a child that keeps the worker's end of the pipe open; return the child's id."""
    if not marker.exists():
        child = os.fork()
        if not child:
            signal.pause()
        marker.write_text(str(child))
        os.kill(os.getpid(), signal.SIGKILL)
    return int(marker.read_text())


def test_a_death_is_detected_even_if_a_child_holds_the_pipe(tmp_path, spawned):
    ((_, child),) = run_jobs(fork_and_die, [tmp_path / "child"], workers=1)
    assert isinstance(child, int)
    os.kill(child, signal.SIGKILL)


def test_workers_killed_during_startup_are_replaced(spawned):
    with Pool[Any, Any](arrays, workers=2, ahead=4) as pool:
        for _ in range(2):
            for worker in pool._workers:
                worker.process.kill()
            time.sleep(0.2)
            pool._step(0)
        assert all(same(result, arrays(job)) for job, result in pool.run(range(10)))


class NoWorker:
    def __call__(self, job):
        return job

    def __reduce__(self):
        return int, ("no number",)


def test_workers_that_cannot_start_end_the_run(capfd, spawned):
    with pytest.raises(UserError, match=r"ended while it started \(exit code 1\)"):
        list(run_jobs(NoWorker(), [1, 2, 3], workers=2))
    assert "no number" in capfd.readouterr().err


def test_random_kills_lose_and_repeat_nothing(spawned):
    killer = Killer(seed=0)
    with Pool[Any, Any](arrays, workers=3, ahead=SETTLE - 1, spare=2) as pool:
        for expected, (job, result) in zip(count(), pool.run(count()), strict=True):
            assert job == expected
            assert same(result, arrays(job))
            killer.delivered += 1
            if job == 0:
                killer.begin(15)
            if not killer.at_work and killer.delivered > 50:
                break
    assert killer.kills == 15
