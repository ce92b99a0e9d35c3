"""What each process that runs tests loads: shared datasets, how workers start, the order of the tests."""

import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from hypothesis import settings

from configs.errors import run_cli
from dali_pipelines import worker
from dali_pipelines.demo_data import make_demo
from dali_pipelines.store.index import Index
from tests.helpers.media import make_video
from tests.helpers.mutations import INPUTS
from tests.helpers.processes import preload
from tests.helpers.stores import MakeOnce, make_store

# A busy machine is no failure. Other examples come in every run.
settings.register_profile("busy", deadline=None, max_examples=INPUTS // 20)
settings.load_profile("busy")

# What a shell starts in the background ignores Ctrl-C, and so would the commands that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    # The other tests say what a CPU does: their commands may choose the device, and some have it that there is no GPU.
    if "gpu" not in config.getoption("markexpr"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    preload()  # first: the commands that the server becomes start their workers as users have them
    worker.CONTEXT = get_context("forkserver")  # 0.05 s of CPU time for each worker, where one that imports takes 1 s


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start workers as users have them, from nothing."""
    monkeypatch.setattr(worker, "CONTEXT", get_context("spawn"))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Keep torch to one thread: on a busy machine several take five times the CPU time for networks this small.

    A command that ran in this process may have set it to all cores (trainers.engine.distributed.start).
    """
    torch.set_num_threads(1)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Let this process have half a gigabyte more, so that a larger array is a MemoryError."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Where DALI's operators run: the same test for both backends."""
    return str(request.param)


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Call a command as its `__main__` does; return its only line on stderr after checking the status."""

    def call(main: Callable[[list[str]], int], *args: object) -> str:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            run_cli(main)
        assert end.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        return line

    return call


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    long_files = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long_files)  # so that no process is left with one of them at the end
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU and -m gpu"))


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """`made_once(name, make)` returns a folder that `make(folder)` filled, once for all processes that run tests."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = root / name, root / f"{name}.done"
        with FileLock(root / f"{name}.lock"):
            if not done.exists():
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def vp9_store(made_once: MakeOnce) -> Index:
    return Index.load(made_once("vp9", make_store))


@pytest.fixture
def own_store(vp9_store: Index, tmp_path: Path) -> Index:
    """Copy `vp9_store` for a test that damages it."""
    return Index.load(shutil.copytree(vp9_store.root, tmp_path / "store"))


@pytest.fixture(scope="session")
def long_store(made_once: MakeOnce) -> Index:
    """Two videos that are long enough for every task."""
    return Index.load(made_once("long", lambda root: make_store(root, videos=2, frames=130)))


@pytest.fixture(scope="session")
def h264_store(made_once: MakeOnce) -> Index:
    return Index.load(made_once("h264", lambda root: make_store(root, codec="h264")))


@pytest.fixture(scope="session")
def demo_set(made_once: MakeOnce) -> Path:
    """The demo videos: of each class two to train with and one to test with."""
    return made_once("demo", lambda root: make_demo(root, train=16, test=8, seed=0, workers=2))


@pytest.fixture(scope="session")
def videos(made_once: MakeOnce) -> Path:
    """Two classes, three videos, among them a file that is no video and one in a sub-folder."""
    return made_once("videos", make_videos)


def make_videos(root: Path) -> None:
    make_video(root / "run" / "a.mp4", frames=20)
    make_video(root / "run" / "deep" / "b.b.avi", codec="mpeg4", frames=20)
    make_video(root / "jump" / "c.webm", codec="vp9", frames=20)
    (root / "jump" / "notes.txt").write_text("no video")
    (root / "jump" / "._c.webm").write_text("what another system leaves behind")
