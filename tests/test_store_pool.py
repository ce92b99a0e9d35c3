"""Work in processes that crash. Few imports: every process that is started repeats them."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from configs.errors import UserError
from dali_pipelines.store.pool import run_jobs


def double(number):
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 99:
        raise UserError("the disk is full")
    return number * 2


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_that_kills_its_process_costs_only_itself(workers):
    jobs = [1, 2, -1, 3, 4, 5, -2, 6]
    results = dict(run_jobs(double, jobs, workers=workers))
    assert results == {1: 2, 2: 4, 3: 6, 4: 8, 5: 10, 6: 12, -1: None, -2: None}


def test_an_error_of_a_job_ends_the_run():
    with pytest.raises(UserError, match="the disk is full"):
        list(run_jobs(double, [1, 99, 2, 3, 4, 5, 6], workers=1))


def test_a_job_that_comes_when_a_process_has_just_died_is_not_lost():
    def jobs():
        yield -1
        time.sleep(2)  # by now the pool is broken and takes no job
        yield 3

    assert dict(run_jobs(double, jobs(), workers=1)) == {-1: None, 3: 6}


def sleep(seconds):
    time.sleep(seconds)


def test_processes_end_when_the_main_one_is_killed():
    script = "from tests.test_store_pool import *; list(run_jobs(sleep, [300, 300], workers=2))"
    main = subprocess.Popen([sys.executable, "-c", script])
    helpers = []
    while len(helpers) < 3:  # two workers, and the helper of the multiprocessing module
        assert main.poll() is None
        time.sleep(0.05)
        helpers = psutil.Process(main.pid).children()
    time.sleep(1)  # they begin to watch
    main.kill()
    main.wait()
    assert psutil.wait_procs(helpers, timeout=30)[1] == []


def test_no_jobs_are_no_results():
    assert list(run_jobs(double, [], workers=1)) == []
