"""The GPU report without a GPU: processes that crash and hang, and a rehearsal of its parts on the CPU."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from importlib.metadata import packages_distributions, requires

import psutil
import pytest
import torch
from packaging.requirements import Requirement

from bench import gpu_report
from bench.gpu_checks import items
from bench.gpu_checks.__main__ import main
from configs.errors import UserError
from nets.tasks import pretext_tasks
from trainers.diagnosis.packages import DALIS
from trainers.diagnosis.packages import installed as has

pytestmark = pytest.mark.slow

WORKER = """
import json, os, pathlib, signal, subprocess, sys, time
names = sys.argv[1:sys.argv.index("--device")]
results = pathlib.Path(sys.argv[-1])
for name in names:
    with open(os.environ["RAN"], "a") as ran:
        ran.write(name + "\\n")
    if name == "decode.h264_gop1":
        print("about to fall", flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    if name == "decode.hevc_gop16":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        pathlib.Path(os.environ["CHILD"]).write_text(str(child.pid))
        time.sleep(60)
    result = {"ok": name != "facts.gpu", "answer": f"5 of {name}", "rows": {"a": {"mean": 1}}}
    result["error 1"] = "two\\nlines"
    record = {"status": "done", "seconds": 0.1, "result": result}
    part = results / "part"
    part.write_text(json.dumps(record))
    part.rename(results / f"{name}.json")
    if name == "facts.machine":
        sys.exit(75)
"""
PARTS = ["facts", "default_store", "parity", "networks", "decode", "loader", "training", "questions", "recovery"]


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """Replace the measuring processes; return the folder that the stand-ins write to."""
    monkeypatch.setattr(gpu_report, "WORKER", [sys.executable, "-c", WORKER])
    monkeypatch.setenv("RAN", str(tmp_path / "ran"))
    monkeypatch.setenv("CHILD", str(tmp_path / "child"))
    return tmp_path


def is_dead(pid: int) -> bool:
    """Return whether a killed process soon disappears or becomes a zombie that its new parent has yet to reap."""
    for _ in range(100):
        try:
            if psutil.Process(pid).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def test_a_crash_and_a_hang_cost_one_item_each_and_the_next_run_does_the_rest(worker, monkeypatch, capsys):
    monkeypatch.setattr(gpu_report, "time_limit", lambda name: 3)
    arguments = ["--out", str(worker / "out"), "--only", "decode", "facts", "--device", "cpu"]
    gpu_report.main(arguments)
    report = json.loads((worker / "out/gpu_report.json").read_text())
    status = {name: record["status"] for name, record in report["items"].items()}
    assert status == {
        **{f"facts.{item}": "done" for item in items.ITEMS["facts"]},
        **{f"decode.{item}": "done" for item in items.ITEMS["decode"]},
        **{"decode.h264_gop1": "crashed", "decode.hevc_gop16": "timed out"},
    }
    names = [f"{part}.{item}" for part in ("facts", "decode") for item in items.ITEMS[part]]
    assert (worker / "ran").read_text().split() == names  # in order, each once, although processes ended early
    assert report["items"]["decode.h264_gop1"]["error"].startswith("SIGSEGV\nabout to fall")
    assert is_dead(int((worker / "child").read_text()))
    page = (worker / "out/gpu_report.md").read_text()
    assert "To look at: facts.gpu, decode.h264_gop1, decode.hevc_gop16." in page
    assert "| decode.repeat |  | 5 of decode.repeat | 0.1 |" in page
    assert report["items"]["decode.repeat"]["result"]["error 1"] == "two\nlines"
    assert "A rehearsal" in page
    printed = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert list(printed) == names
    assert "5 of decode.h264_gop8  [0.1 s]" in printed["decode.h264_gop8"]
    assert "NOT OK: 5 of facts.gpu" in printed["facts.gpu"]
    assert "CRASHED: SIGSEGV / about to fall" in printed["decode.h264_gop1"]
    assert {path.name for path in (worker / "out").iterdir()} == {f"gpu_report.{end}" for end in ("json", "md", "log")}

    (worker / "ran").unlink()
    monkeypatch.setattr(gpu_report, "WORKER", [sys.executable, "-c", WORKER.replace("SIGSEGV", "SIGCONT")])
    gpu_report.main(arguments)
    report = json.loads((worker / "out/gpu_report.json").read_text())
    assert report["items"]["decode.h264_gop1"]["status"] == "done"
    assert report["items"]["decode.hevc_gop16"]["status"] == "timed out"
    again = (worker / "ran").read_text().split()
    assert again == ["decode.h264_gop1", "decode.hevc_gop16"]  # the rest is not repeated
    with pytest.raises(UserError, match="holds a report of --device cpu"):
        gpu_report.main(["--out", str(worker / "out")])


def test_without_time_left_the_report_lists_what_was_not_run(tmp_path, capsys):
    gpu_report.main(["--out", str(tmp_path), "--minutes", "0", "--only", "facts"])
    assert "not run: 3 items" in capsys.readouterr().out
    assert "Not run: facts.machine" in (tmp_path / "gpu_report.md").read_text()


def test_a_hanging_item_is_killed_when_time_is_up(worker, capsys):
    only = ["decode.h264_gop8", "decode.hevc_gop16", "decode.repeat"]
    gpu_report.main(["--out", str(worker / "out"), "--minutes", "0.06", "--only", *only])
    assert "not run: 2 items" in capsys.readouterr().out
    assert is_dead(int((worker / "child").read_text()))
    assert list(json.loads((worker / "out/gpu_report.json").read_text())["items"]) == ["decode.h264_gop8"]


def test_a_part_that_keeps_hanging_is_skipped(worker, monkeypatch, capsys):
    monkeypatch.setattr(gpu_report, "time_limit", lambda name: 3)
    monkeypatch.setattr(gpu_report, "MAX_HANGS", 1)
    only = ["decode.hevc_gop16", "decode.repeat", "loader.ctp"]
    gpu_report.main(["--out", str(worker / "out"), "--only", *only])
    assert (worker / "ran").read_text().split() == ["decode.hevc_gop16", "loader.ctp"]
    assert "not run: 1 item;" in capsys.readouterr().out


def test_an_unknown_item_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no item decode\.av1; there are the parts facts, "):
        gpu_report.main(["--out", str(tmp_path), "--only", "decode.av1"])


def test_the_real_process_reports_machine_and_packages(tmp_path):
    gpu_report.main(
        ["--out", str(tmp_path), "--only", "facts", "--device", "cpu", "--work-dir", str(tmp_path / "work")]
    )
    found = json.loads((tmp_path / "gpu_report.json").read_text())["items"]
    assert found["facts.machine"]["result"]["versions"]["torch"] == torch.__version__.split("+")[0]
    assert set(found["facts.packages"]["result"]["rows"]) >= {"python", "torch", "DALI"}
    assert found["facts.gpu"]["result"]["answer"] == "GPU: not asked for: --device cpu"


def test_a_lost_gpu_leaves_its_record_and_asks_for_a_new_process(tmp_path, monkeypatch):
    state = {"answers": True}
    monkeypatch.setattr("bench.gpu_checks.__main__.run_item", lambda name, target: {"status": "failed", "error": name})
    monkeypatch.setattr("bench.gpu_checks.__main__.gpu_answers", lambda: state["answers"])
    arguments = ["decode.repeat", "decode.h264_gop1", "--device", "cuda", "--work-dir", "w", "--results", str(tmp_path)]
    assert main(arguments) == 0
    assert len(list(tmp_path.iterdir())) == 2
    (tmp_path / "decode.h264_gop1.json").unlink()
    state["answers"] = False
    assert main(arguments) == gpu_report.EXIT_GPU_LOST
    assert [path.name for path in tmp_path.iterdir()] == ["decode.repeat.json"]


BARE = """
import importlib, sys
from importlib.machinery import PathFinder

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.split(".")[0] in HIDDEN else PathFinder.find_spec(name, path, target)

HIDDEN, modules = sys.argv[1].split(","), sys.argv[2:]
sys.meta_path[:] = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
for name in modules:
    importlib.import_module(name)
"""


def needed_by(distributions: Iterable[str]) -> set[str]:
    """Return these distributions and all that they require, normalized."""
    found: set[str] = set()
    waiting = [*distributions]
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name not in found:
            found.add(name)
            requirements = [Requirement(line) for line in requires(name) or ()]
            waiting += [each.name for each in requirements if not each.marker or each.marker.evaluate({"extra": ""})]
    return found


def test_a_bare_machine_needs_no_more_packages_than_the_readme_names():
    text = " ".join((gpu_report.ROOT / "bench/README.md").read_text().split())
    named = text.partition("without a package index, you need ")[2].partition(", with what they need")[0]
    names = {"DALI": next(name for name in DALIS if has(name)), "PyAV": "av"}
    there = needed_by(names.get(name, name) for name in re.findall(r"\w+", named) if name != "and")
    of_names = packages_distributions()
    own = {path.stem for path in gpu_report.ROOT.iterdir()}
    hidden = {top for top, of in of_names.items() if not there & {name.lower().replace("_", "-") for name in of}} - own
    assert "pytest" in hidden
    modules = ["bench.gpu_report", *(f"bench.gpu_checks.{part}" for part in PARTS)]
    subprocess.run([sys.executable, "-c", BARE, ",".join(hidden), *modules], cwd=gpu_report.ROOT, check=True)


def test_items_are_ordered_by_value_and_fit_in_eleven_minutes():
    assert list(items.ITEMS) == PARTS
    assert items.ITEMS["default_store"][:3] == ("made", "clips", "old_encoder")
    assert items.ITEMS["parity"][0] == "ctp"
    assert set(items.ITEMS["networks"]) == {*pretext_tasks(), "augment", "compile"}
    assert set(items.ITEMS["loader"]) >= {"ctp", "recognition", "evaluation"}
    start = 5  # seconds for the process of a part to import torch and DALI
    total = sum(start + sum(of_part.values()) for of_part in items.SECONDS.values())
    assert total < 11 * 60
    for part in PARTS:
        __import__(f"bench.gpu_checks.{part}")
