"""The pool of workers: results, errors, signals and its end. Few imports: every worker repeats them."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from bench.faults.killer import living_workers
from configs.errors import UserError
from dali_pipelines.worker import CONTEXT
from dali_pipelines.workers import Pool, run_jobs
from tests.helpers.jobs import arrays, double, same, sleep, sleep_in_steps
from tests.helpers.processes import join, start

pytestmark = pytest.mark.slow

IMPORTS = "from dali_pipelines.workers import Pool, run_jobs; from tests.helpers.jobs import *"


@pytest.mark.parametrize("workers", [1, 3])
def test_results_are_bit_identical_and_in_job_order(workers):
    with Pool[Any, Any](arrays, workers=workers, ahead=5, spare=2) as pool:
        for _ in range(2):
            for expected, (job, result) in zip(range(50), pool.run(range(50)), strict=True):
                assert job == expected
                assert same(result, arrays(job))


@pytest.mark.parametrize("spare", [0, 3, 30])
def test_kept_results_neither_change_nor_block_the_pool(spare):
    with Pool[Any, Any](arrays, workers=2, ahead=4, spare=spare) as pool:
        kept = list(pool.run(range(25))) + list(pool.run(range(25, 50)))
    assert [job for job, _ in kept] == list(range(50))
    assert all(same(result, arrays(job)) for job, result in kept)


@pytest.mark.parametrize(("limit", "most"), [(7 * 10**6, 6), (4 * 10**6, 3), (2 * 10**6, 1), (1, 1)])
def test_large_results_limit_the_jobs_in_flight(limit, most, caplog):
    drawn_jobs: list[int] = []

    def jobs():
        for job in range(30):
            drawn_jobs.append(job)
            yield job

    with Pool[Any, Any](megabyte, workers=2, ahead=6, spare=1, limit=limit) as pool:
        for number, (job, result) in enumerate(pool.run(jobs())):
            assert job == number
            assert isinstance(result, np.ndarray)
            assert (result == number).all()
            assert number == 0 or len(drawn_jobs) - number <= most
    assert ("are made ahead" in caplog.text) == (most < 6)


def megabyte(number):
    return np.full(10**6, number, np.uint8)


def test_a_jobs_error_is_raised_with_its_traceback():
    with pytest.raises(UserError, match="the disk is full") as caught:
        list(run_jobs(double, [1, 99, 2, 3, 4, 5, 6], workers=1))
    assert "in double\n" in caught.value.__notes__[0]


class TwoPartError(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


def fail_in_two_parts(job):
    raise TwoPartError(job, job + 1)


def test_an_unpicklable_error_is_reported():
    with pytest.raises(RuntimeError, match="TwoPartError: 3 and 4"):
        list(run_jobs(fail_in_two_parts, [3], workers=1))


def test_a_pool_survives_errors_and_abandoned_runs():
    with Pool[Any, Any](double, workers=2, ahead=6) as pool:
        for _ in range(5):
            with pytest.raises(UserError):
                list(pool.run([1, 2, 99, 3, 4, -1, 5]))
            left = pool.run(iter([7, 8, 9, -1, 10, 11, 12]))
            assert next(left) == (7, 14)
            left.close()
        assert list(pool.run(range(20))) == [(job, 2 * job) for job in range(20)]


def test_runs_can_be_nested():
    with Pool[Any, Any](arrays, workers=2, ahead=3, spare=1) as pool:
        for job, result in pool.run(range(12)):
            ((_, other),) = pool.run([100 + job])
            assert same(result, arrays(job))
            assert same(other, arrays(100 + job))


def test_closing_kills_busy_workers():
    before = living_workers()
    with Pool[Any, Any](sleep, workers=2, ahead=4) as pool:
        results = pool.run([0, 0, 600, 600])
        assert list(islice(results, 2)) == [(0, None), (0, None)]
        new_workers = [worker for worker in living_workers() if worker not in before]
        assert len(new_workers) == 2
    assert not any(process.is_running() for process in new_workers)


def test_killing_the_main_process_ends_workers_and_frees_shared_memory():
    script = f"{IMPORTS}; list(run_jobs(sleep, [300, 300], workers=2))"
    main = subprocess.Popen([sys.executable, "-c", script])
    helpers: list[psutil.Process] = []
    while len(helpers) < 3:  # two workers, and multiprocessing's own helper
        assert main.poll() is None
        time.sleep(0.05)
        helpers = psutil.Process(main.pid).children()
    time.sleep(1)  # until they watch the main process
    mapped = [entry.path for process in (psutil.Process(main.pid), *helpers) for entry in process.memory_maps()]
    assert any("memfd:clipfeed" in path for path in mapped)
    assert not [path for path in mapped if "/dev/shm/" in path and "(deleted)" not in path]  # these would remain
    main.kill()
    main.wait()
    assert psutil.wait_procs(helpers, timeout=30)[1] == []


def interrupt_a_start(out: Path) -> None:
    """Get Ctrl-C while the second worker starts; keep the traceback, as an interpreter does, and exit."""

    def start(process: BaseProcess) -> None:
        BaseProcess.start(process)
        if len(multiprocessing.active_children()) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    CONTEXT.Process.start = start  # type: ignore[method-assign, assignment]
    try:
        Pool[Any, Any](double, workers=3, ahead=3)
    except KeyboardInterrupt as error:
        sys.last_value = error
        out.touch()


def test_a_process_interrupted_while_it_starts_workers_ends(tmp_path):
    """It used to wait forever at exit for the workers that had started."""
    assert join([start(interrupt_a_start, tmp_path / "interrupted")]) == [0]
    assert (tmp_path / "interrupted").exists()


def open_files_after_dropping_a_pool() -> int:
    pool = Pool[Any, Any](double, workers=2, ahead=2)
    assert list(pool.run([1])) == [(1, 2)]
    del pool
    return psutil.Process().num_fds()


def test_a_dropped_pool_leaves_no_files_open():
    """Nor zombies: those of workers that ended and were not waited for."""
    with Pool[Any, Any](double, workers=1, ahead=1):  # starts multiprocessing's own helper
        pass
    gc.collect()  # what other tests left would close its files later
    before = psutil.Process().num_fds()
    assert open_files_after_dropping_a_pool() == before


def test_no_jobs_give_no_results():
    assert list(run_jobs(double, [], workers=1)) == []


def receives_ctrl_c(_):
    return signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_workers_ignore_ctrl_c_even_during_startup(spawned):
    """It used to print a traceback. A signal blocked at the first instruction is still blocked after the start."""
    with Pool[Any, Any](receives_ctrl_c, workers=1, ahead=1) as pool:
        assert list(pool.run([0])) == [(0, False)]
    assert receives_ctrl_c(0)


def test_signals_to_the_process_group_do_not_end_workers():
    """torchrun and Slurm send them; the main process needs the workers to finish its step."""
    with Pool[Any, Any](process_id, workers=2, ahead=4) as pool:
        results = pool.run(range(8))
        next(results)
        workers = living_workers()
        for worker in workers:
            for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT):
                os.kill(worker.pid, number)
        assert {process for _, process in results} <= {worker.pid for worker in workers}


def process_id(_):
    return os.getpid()


def test_a_script_that_never_closes_its_pool_ends_without_a_warning():
    script = f"{IMPORTS}; pool = Pool(double, workers=1, ahead=1); print(next(pool.run([2])))"
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", script]
    ended = subprocess.run(command, check=True, timeout=60, stderr=subprocess.PIPE, text=True)
    assert ended.stderr == ""


def run_through_a_suspension(out: Path) -> None:
    """Run two jobs whose limit passes while all processes are stopped; write who did them."""
    with Pool[Any, Any](sleep_in_steps, workers=1, ahead=2, timeout=5) as pool:
        results = pool.run([1, 30])
        first = next(results)[1]
        out.with_suffix(".begun").touch()
        out.write_text(str(next(results)[1] == first))


def test_a_suspended_process_group_costs_no_worker(tmp_path):
    """As Ctrl-Z does, or Slurm's preemption: healthy workers were killed as hanging when it went on."""
    out = tmp_path / "same"
    main = start(run_through_a_suspension, out)
    while not out.with_suffix(".begun").exists():
        assert main.is_alive()
        time.sleep(0.02)
    of_group = [psutil.Process(main.pid), *psutil.Process(main.pid).children(recursive=True)]
    time.sleep(0.5)  # the second job has begun
    for process in of_group:
        process.suspend()
    time.sleep(7)
    for process in of_group:
        process.resume()
    assert join([main]) == [0]
    assert out.read_text() == "True"
