"""ClipLoader where scripts and notebooks put it: interrupted, and in a process that another one started or forked."""

import json
import os
import signal
from pathlib import Path

import pytest

from configs.errors import UserError
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task, rot3d
from tests.helpers.processes import join, start

pytestmark = pytest.mark.slow

ROT3D = Task("rot3d", rot3d.Config(num_frames=4, strides=(1,)))


def rows(loader: ClipLoader) -> list[list[int]]:
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


def write_rows(root: str, out: Path) -> None:
    loader = ClipLoader(Index.load(root), ROT3D, batch_size=2, seed=5, workers=1)
    out.write_text(json.dumps(rows(loader)))
    loader.close()


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
