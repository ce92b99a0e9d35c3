"""The setup of each test process: shared datasets, how workers start, the order of the tests."""

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
from dali_pipelines.tasks import task_module
from tests.helpers.media import make_video
from tests.helpers.mutations import INPUTS
from tests.helpers.processes import preload
from tests.helpers.stores import MakeOnce, make_store

# No deadline: a busy machine is not a failure. Examples differ from run to run.
settings.register_profile("busy", deadline=None, max_examples=INPUTS // 20)
settings.load_profile("busy")

# A shell's background jobs ignore Ctrl-C, and so would the commands that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    # All other tests are about the CPU: commands may choose their device, and some tests expect that there is no GPU.
    if "gpu" not in config.getoption("markexpr"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    preload()  # before CONTEXT changes: commands that the server forks must spawn workers as users' do
    worker.CONTEXT = get_context("forkserver")  # 0.05 s of CPU time per worker; one that imports takes 1 s


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spawn new interpreters as workers, as for users."""
    monkeypatch.setattr(worker, "CONTEXT", get_context("spawn"))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Limit torch to one thread: for networks this small, several take five times the CPU time on a busy machine.

    An earlier command in this process may have set all cores (trainers.engine.distributed.start).
    """
    torch.set_num_threads(1)


@pytest.fixture
def own_pkg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder of a package `own_pkg`, which is forgotten after the test."""
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "own_pkg"
    folder.mkdir()
    yield folder
    task_module.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "own_pkg"]:
        del sys.modules[name]


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Limit this process to half a gigabyte more, so that a larger array raises MemoryError."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Run the same test on both of DALI's backends."""
    return str(request.param)


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Call a command as its `__main__` does, check the exit status and return its only line on stderr."""

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
    items.sort(key=lambda item: item.path not in long_files)  # else one process may end with a long file
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU and -m gpu"))


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """Return `made_once(name, make)`, which gives a folder that `make(folder)` fills once for all test processes."""
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
    """Return two videos, long enough for every task."""
    return Index.load(made_once("long", lambda root: make_store(root, videos=2, frames=130)))


@pytest.fixture(scope="session")
def h264_store(made_once: MakeOnce) -> Index:
    return Index.load(made_once("h264", lambda root: make_store(root, codec="h264")))


@pytest.fixture(scope="session")
def demo_set(made_once: MakeOnce) -> Path:
    """Return the demo videos: two training and one test video of each class."""
    return made_once("demo", lambda root: make_demo(root, train=16, test=8, seed=0, workers=2))


@pytest.fixture(scope="session")
def videos(made_once: MakeOnce) -> Path:
    """Return three videos of two classes, one in a subfolder, along with files that are not videos."""
    return made_once("videos", make_videos)


def make_videos(root: Path) -> None:
    make_video(root / "run" / "a.mp4", frames=20)
    make_video(root / "run" / "deep" / "b.b.avi", codec="mpeg4", frames=20)
    make_video(root / "jump" / "c.webm", codec="vp9", frames=20)
    (root / "jump" / "notes.txt").write_text("no video")
    (root / "jump" / "._c.webm").write_text("what another system leaves behind")
