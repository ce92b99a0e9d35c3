"""Run the jobs of `prepare` in processes of this machine or on a Ray cluster."""

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from configs.errors import UserError
from dali_pipelines.workers import Crashed, run_jobs

Job = TypeVar("Job")
Result = TypeVar("Result")

CHANCES = 4
"""Deaths of a job's process or node before it is given up; more than on one machine, since nodes come and go."""
AHEAD = 2
"""Jobs handed to Ray for each core of the cluster, so no core waits for this process."""
CONNECT_SECONDS = 10.0
"""How long to wait for an address to answer: Ray itself tries for many minutes."""


def run_on_ray(
    function: Callable[[Job], Result], jobs: Iterable[Job], *, workers: int
) -> Iterator[tuple[Job, Result | Crashed]]:
    """Yield (job, function(job)) as jobs finish on a Ray cluster; `Crashed` for a job that kept killing workers.

    The cluster is that of RAY_ADDRESS or of this machine (`ray start`); if there is none, one of `workers` cores is
    started here for the run. Every node needs clipfeed and the same paths of sources and dataset. UserError if Ray is
    not installed, or there is no cluster at RAY_ADDRESS. What the function raises is raised here.
    """
    try:
        import ray
        from ray.exceptions import RayError, RayTaskError
    except ImportError as error:
        raise UserError(f"--engine ray needs Ray ({error}): pip install 'clipfeed[ray]'") from error
    started = not ray.is_initialized()
    if started:
        _connect(ray, workers)
    task = ray.remote(num_cpus=1, max_retries=CHANCES - 1)(function)
    try:
        ahead = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
        remaining = iter(jobs)
        pending: dict[Any, Job] = {}
        while True:
            while len(pending) < ahead and (job := next(remaining, None)) is not None:
                pending[task.remote(job)] = job
            if not pending:
                return
            for done in ray.wait(list(pending))[0]:
                job = pending.pop(done)
                try:
                    yield job, ray.get(done)
                except RayTaskError as error:  # the function raised
                    raise error.cause from error
                except RayError as error:
                    yield job, Crashed(type(error).__name__, CHANCES)
    finally:
        if started:
            ray.shutdown()


def _connect(ray: Any, workers: int) -> None:
    """Connect to the cluster of RAY_ADDRESS or of this machine, or start one of `workers` cores."""
    if address := os.environ.get("RAY_ADDRESS"):
        host, _, port = address.removeprefix("ray://").rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
        except (OSError, ValueError) as error:
            raise UserError(f"there is no Ray cluster at RAY_ADDRESS={address}: {error}") from error
    try:
        ray.init(address="auto", log_to_driver=False)
    except ConnectionError:
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)


ENGINES: Mapping[str, Callable[..., Iterator[tuple[Any, Any]]]] = {"local": run_jobs, "ray": run_on_ray}
"""Engine -> how it maps a function over jobs."""
