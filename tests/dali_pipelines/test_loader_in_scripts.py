"""ClipLoader where scripts and notebooks put it: interrupted, copied, in a process that another started or forked."""

import copy
import json
import os
import pickle
import signal
import subprocess
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest import mock

import pytest
from torch.utils.data import DataLoader, IterableDataset

from configs.errors import UserError
from dali_pipelines.batches import Batches
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task, rot3d
from dali_pipelines.workers import Pool
from tests.helpers.processes import join, start
from tests.helpers.runs import ROOT

pytestmark = pytest.mark.slow

ROT3D = Task("rot3d", rot3d.Config(num_frames=4, strides=(1,)))


def rows(loader: ClipLoader | DataLoader) -> list[list[int]]:
    return [batch["index"].tolist() for batch in loader]


class Interrupted(Task):
    """A task whose planning raises once in this process, at the fifth sample."""

    calls = 0
    error: BaseException = KeyboardInterrupt()

    def plan(self, video, rng):
        Interrupted.calls += 1
        if Interrupted.calls == 5:
            raise Interrupted.error
        return super().plan(video, rng)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("of the task"), UserError("of the task")])
def test_after_an_interrupt_the_loader_goes_on_at_the_exact_next_batch(vp9_store, monkeypatch, error):
    monkeypatch.setattr(Interrupted, "calls", 0)
    monkeypatch.setattr(Interrupted, "error", error)
    whole = rows(ClipLoader(vp9_store, ROT3D, batch_size=2, seed=5))
    loader = ClipLoader(vp9_store, Interrupted("rot3d", ROT3D.cfg), batch_size=2, seed=5)
    with pytest.raises(type(error)):
        rows(loader)
    done = loader.state_dict()["step"]
    assert rows(loader) == whole[done:]
    assert not loader.unreadable


class Late(Batches):
    """Batches that only `refill` asks for, as on a GPU."""

    def __init__(self, *args):
        super().__init__(*args)
        self._late = True


def test_after_an_interrupt_in_refill_the_loader_goes_on_too(vp9_store, monkeypatch):
    monkeypatch.setattr("dali_pipelines.delivery.Batches", Late)
    loader = ClipLoader(vp9_store, ROT3D, batch_size=2, seed=5, workers=1)
    next(iter(loader))
    with mock.patch.object(Pool, "_step", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        loader.refill()
    assert rows(loader) == rows(ClipLoader(vp9_store, ROT3D, batch_size=2, seed=5))[1:]
    loader.close()


def test_a_second_ctrl_c_while_workers_end_costs_no_batch(vp9_store, monkeypatch):
    """It used to leave workers behind that the next batch waited for in vain."""
    due = {"_read", "join"}

    def interrupted(function):
        def call(*args):
            if function.__name__ in due:
                due.remove(function.__name__)
                raise KeyboardInterrupt
            return function(*args)

        return call

    loader = ClipLoader(vp9_store, ROT3D, batch_size=2, seed=5, workers=1)
    monkeypatch.setattr(Pool, "_read", interrupted(Pool._read))
    monkeypatch.setattr(BaseProcess, "join", interrupted(BaseProcess.join))
    with pytest.raises(KeyboardInterrupt):
        rows(loader)
    assert not due
    assert rows(loader) == rows(ClipLoader(vp9_store, ROT3D, batch_size=2, seed=5))
    loader.close()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda loader: pickle.loads(pickle.dumps(loader))])
def test_a_copy_of_a_loader_in_use_goes_on_where_it_stopped(vp9_store, workers, copied):
    loader = ClipLoader(vp9_store, ROT3D, batch_size=2, seed=5, workers=workers)
    next(iter(loader))
    other = copied(loader)
    assert rows(other) == rows(loader) == rows(ClipLoader(vp9_store, ROT3D, batch_size=2, seed=5))[1:]
    loader.close()
    other.close()


def write_rows(root: str, out: Path) -> None:
    loader = ClipLoader(Index.load(root), ROT3D, batch_size=2, seed=5, workers=1)
    out.write_text(json.dumps(rows(loader)))
    loader.close()


class Epoch(IterableDataset):
    """An epoch of a loader that a worker of torch's DataLoader makes."""

    def __init__(self, root: str, workers: int) -> None:
        self.root, self.workers = root, workers

    def __iter__(self):
        return iter(ClipLoader(Index.load(self.root), ROT3D, batch_size=2, seed=5, workers=self.workers))


def load_in_a_worker(root: str, out: Path) -> None:
    loader = DataLoader(Epoch(root, workers=0), batch_size=None, num_workers=1)
    out.write_text(json.dumps(rows(loader)))
    with pytest.raises(UserError, match="may start no workers: use workers=0"):
        next(iter(DataLoader(Epoch(root, workers=1), batch_size=None, num_workers=1)))


def test_a_worker_of_torch_may_have_a_loader_without_workers(vp9_store, tmp_path):
    out = tmp_path / "rows.json"
    assert join([start(load_in_a_worker, vp9_store.root, out)]) == [0]
    assert json.loads(out.read_text()) == rows(ClipLoader(vp9_store, ROT3D, batch_size=2, seed=5))


def test_a_process_of_multiprocessing_may_have_workers_of_its_own(vp9_store, tmp_path):
    """As one of torch.multiprocessing.spawn has."""
    out = tmp_path / "rows.json"
    assert join([start(write_rows, vp9_store.root, out)]) == [0]
    assert json.loads(out.read_text()) == rows(ClipLoader(vp9_store, ROT3D, batch_size=2, seed=5))


def fork(root: str, out: Path) -> None:
    """Use and close a loader in a fork, then go on here; write the fork's error, its status and our rows."""
    loader = ClipLoader(Index.load(root), ROT3D, batch_size=2, seed=5, workers=1)
    batches = iter(loader)
    ours = [next(batches)["index"].tolist()]
    child = os.fork()
    if not child:
        signal.alarm(60)  # ends it if it hangs
        try:
            next(batches)
        except UserError as error:
            out.with_suffix(".txt").write_text(str(error))
        loader.close()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    out.write_text(json.dumps([status, ours + rows(loader)]))
    loader.close()


def test_a_fork_leaves_the_loader_of_its_parent_alone(vp9_store, tmp_path):
    out = tmp_path / "rows.json"
    assert join([start(fork, vp9_store.root, out)]) == [0]
    assert json.loads(out.read_text()) == [0, rows(ClipLoader(vp9_store, ROT3D, batch_size=2, seed=5))]
    assert out.with_suffix(".txt").read_text().startswith("a forked process cannot use its parent's loader")


PREFETCHING = """
import sys, threading, time
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task, rot3d

def load():
    while True:
        for _ in loader:
            begun.set()

loader = ClipLoader(Index.load(sys.argv[1]), Task("rot3d", rot3d.Config(num_frames=4)), batch_size=2, workers=1)
begun = threading.Event()
threading.Thread(target=load, daemon=True).start()
begun.wait()
"""


def test_a_script_ends_while_a_thread_of_its_loads(vp9_store):
    """DALI ends its pipelines first; the thread used to build another, with workers that were waited for forever."""
    command = [sys.executable, "-c", PREFETCHING, vp9_store.root]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=90, cwd=ROOT, check=True)
    assert ended.stderr == ""
