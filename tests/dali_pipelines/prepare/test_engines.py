"""Engines: a Ray cluster stores the same as this machine, even if one of its nodes dies."""

import importlib.util
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from configs.errors import UserError
from dali_pipelines.prepare.engines import CHANCES, run_on_ray
from dali_pipelines.store.index import Index
from dali_pipelines.workers import Crashed
from tests.helpers.media import make_video
from tests.helpers.prepared import prepare

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra `ray`")
STORE = {"object_store_memory": 80 * 2**20}


def test_missing_ray_names_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"--engine ray needs Ray .*: pip install 'clipfeed\[ray\]'"):
        list(run_on_ray(len, ["job"], workers=1))


@needs_ray
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "head", "head:port"])
def test_an_address_without_a_ray_cluster_is_named(address, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=f"there is no Ray cluster at RAY_ADDRESS={address}: "):
        list(run_on_ray(len, ["job"], workers=1))


def kill_a_node(cluster):
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)


@pytest.fixture
def cluster(head):
    """Return a cluster of two nodes with one core each."""
    while len(head.worker_nodes) < 2:
        head.add_node(num_cpus=1, **STORE)
    return head


@pytest.fixture(scope="module")
def head():
    """Start a head node without cores and set RAY_ADDRESS to it."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **STORE})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", cluster.address)
        yield cluster
    cluster.shutdown()


def log_and_wait(file: str) -> str:
    with open(file, "a") as log:
        log.write("begun ")
    time.sleep(3.0)
    with open(file, "a") as log:
        log.write("done ")
    return file


def fail(job: str) -> str:
    if job == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "raise":
        raise UserError("the disk is full")
    return job.upper()


@pytest.mark.slow
@needs_ray
def test_a_crashing_job_is_named_and_the_others_are_done(cluster):
    results = dict(run_on_ray(fail, ["a", "die", "b"], workers=1))
    assert results == {"a": "A", "b": "B", "die": Crashed("WorkerCrashedError", CHANCES)}


@pytest.mark.slow
@needs_ray
def test_jobs_lost_with_a_node_are_redone(cluster, tmp_path):
    files = [str(tmp_path / f"{i}") for i in range(5)]

    def num_running():
        return sum(Path(file).exists() and Path(file).read_text() == "begun " for file in files)

    def wait_and_kill():
        while num_running() < 2:
            time.sleep(0.05)
        kill_a_node(cluster)

    killer = threading.Thread(target=wait_and_kill, daemon=True)
    killer.start()
    found = list(run_on_ray(log_and_wait, files, workers=1))
    killer.join()
    assert sorted(found) == [(file, file) for file in files]
    assert sorted(Path(file).read_text() for file in files) == ["begun begun done ", *4 * ["begun done "]]


@pytest.mark.slow
@needs_ray
def test_user_errors_of_a_job_are_raised(cluster):
    with pytest.raises(UserError, match=r"^the disk is full$"):
        list(run_on_ray(fail, ["raise"], workers=1))


@pytest.mark.slow
@needs_ray
def test_ray_with_a_dying_node_makes_the_same_dataset(cluster, tmp_path):
    source = tmp_path / "source"
    first = make_video(source / "run" / "v0.mp4", frames=100, size=(320, 240))
    for i in range(1, 12):
        (source / f"class{i % 3}").mkdir(exist_ok=True)
        os.link(first, source / f"class{i % 3}" / f"v{i}.mp4")
    (source / "bad.mp4").write_text("no video")
    options = ("--short-side", 32, "--workers", 1)
    assert prepare(source, "--out", tmp_path / "local", *options) == 3

    journal, done = tmp_path / "ray" / "prepare.jsonl", []

    def wait_and_kill():
        while not journal.exists() or (lines := journal.read_bytes().count(b"\n")) < 4:
            time.sleep(0.01)
        kill_a_node(cluster)
        done.append(lines - 1)

    killer = threading.Thread(target=wait_and_kill, daemon=True)
    killer.start()
    assert prepare(source, "--out", tmp_path / "ray", *options, "--engine", "ray") == 3
    killer.join()
    assert done[0] < 11  # of 13: the node still had work to do
    assert len(cluster.worker_nodes) == 1
    assert len(Index.load(tmp_path / "ray")) == 12
    for file in ("index.npz", "quarantine.csv"):
        assert (tmp_path / "ray" / file).read_bytes() == (tmp_path / "local" / file).read_bytes()
    for path in (tmp_path / "local" / "videos").rglob("*.mp4"):
        assert (tmp_path / "ray" / path.relative_to(tmp_path / "local")).read_bytes() == path.read_bytes()
