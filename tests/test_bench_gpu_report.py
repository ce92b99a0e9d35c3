"""The GPU report without a GPU: its machinery on processes that crash and hang, its parts as a rehearsal on the CPU."""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from bench import gpu_report, loader_throughput, training_throughput
from bench.gpu_checks import NotHere, Where, decode, items, nvdec, parity, questions, recovery, throughput, videos
from bench.gpu_checks.__main__ import attempt
from configs.errors import UserError

WORKER = """
import json, os, pathlib, signal, subprocess, sys, time
names = sys.argv[1:sys.argv.index("--device")]
results = pathlib.Path(sys.argv[-1])
for name in names:
    if name == "decode.vp9":
        print("about to fall", flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    if name == "decode.hevc":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        pathlib.Path(os.environ["CHILD"]).write_text(str(child.pid))
        time.sleep(60)
    record = {"status": "done", "seconds": 0.1, "result": {"ok": name != "videos.h264", "rows": {"a": {"mean": 1}}}}
    part = results / "part"
    part.write_text(json.dumps(record))
    part.rename(results / f"{name}.json")
    with open(os.environ["RAN"], "a") as ran:
        ran.write(name + "\\n")
"""


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Where:
    """A rehearsal with its VP9 videos made."""
    place = Where("cpu", tmp_path_factory.mktemp("gpu_report"))
    videos.measure("vp9", place)
    return place


def is_dead(pid: int) -> bool:
    """Whether a killed process is gone, or a zombie that its new parent has yet to look at."""
    try:
        return psutil.Process(pid).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return True


def test_a_crash_and_a_hang_lose_one_item_each_and_the_next_run_does_what_is_left(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu_report, "WORKER", [sys.executable, "-c", WORKER])
    monkeypatch.setitem(items.LIMITS, "decode", 2)
    monkeypatch.setenv("RAN", str(tmp_path / "ran"))
    monkeypatch.setenv("CHILD", str(tmp_path / "child"))
    arguments = ["--out", str(tmp_path / "out"), "--only", "videos", "decode", "--device", "cpu"]
    gpu_report.main(arguments)
    report = json.loads((tmp_path / "out/gpu_report.json").read_text())
    status = {name: record["status"] for name, record in report["items"].items()}
    assert status == {
        **{f"videos.{codec}": "done" for codec in ("vp9", "hevc", "h264")},
        **{"decode.vp9": "crashed", "decode.hevc": "timed out", "decode.h264": "done"},
    }
    assert report["items"]["decode.vp9"]["error"].startswith("SIGSEGV\nabout to fall")
    assert is_dead(int((tmp_path / "child").read_text()))
    page = (tmp_path / "out/gpu_report.md").read_text()
    assert "To look at: videos.h264, decode.vp9, decode.hevc." in page
    assert "| a | 1 |" in page
    assert "A rehearsal" in page
    assert "videos.h264" in next(line for line in capsys.readouterr().out.splitlines() if "NOT OK" in line)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"gpu_report.{end}" for end in ("json", "md", "log")
    }

    monkeypatch.setattr(gpu_report, "WORKER", [sys.executable, "-c", WORKER.replace("SIGSEGV", "SIGCONT")])
    gpu_report.main(arguments)
    report = json.loads((tmp_path / "out/gpu_report.json").read_text())
    assert report["items"]["decode.vp9"]["status"] == "done"
    assert report["items"]["decode.hevc"]["status"] == "timed out"
    ran = (tmp_path / "ran").read_text().split()
    assert sorted(ran) == sorted(set(ran))  # what was done is not done again
    with pytest.raises(UserError, match="holds a report of --device cpu"):
        gpu_report.main(["--out", str(tmp_path / "out")])


def test_out_of_time_nothing_is_begun_and_the_report_says_what_is_left(tmp_path, capsys):
    gpu_report.main(["--out", str(tmp_path), "--minutes", "0", "--only", "facts"])
    assert "out of time for 4 items" in capsys.readouterr().out
    assert "Not run: facts.machine" in (tmp_path / "gpu_report.md").read_text()


def test_an_unknown_item_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no item decode\.av1; there are the parts facts, "):
        gpu_report.main(["--out", str(tmp_path), "--only", "decode.av1"])


def test_the_real_process_reports_facts_and_the_library_that_is_missing(tmp_path):
    gpu_report.main(
        ["--out", str(tmp_path), "--only", "facts", "--device", "cpu", "--work-dir", str(tmp_path / "work")]
    )
    found = json.loads((tmp_path / "gpu_report.json").read_text())["items"]
    assert found["facts.machine"]["result"]["torch"] == torch.__version__.split("+")[0]
    assert set(found["facts.libraries"]["result"]) >= {"ldconfig", "libnvcuvid.so.1"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", [f"{part}.{names[0]}" for part, names in items.ITEMS.items() if part != "facts"])
def test_without_a_gpu_every_part_says_so(name, tmp_path):
    record = attempt(name, Where("cuda", tmp_path))
    assert record["status"] == "not here"
    assert "no GPU" in record["error"]


def test_every_item_of_the_list_has_a_module_that_can_be_imported():
    for part in items.ITEMS:
        __import__(f"bench.gpu_checks.{part}")
        assert items.LIMITS[part] > 0
    assert set(items.ITEMS["parity"]) >= {"ctp", "recognition", "evaluation"}
    assert items.LIMITS["throughput"] > throughput.SECONDS


def test_decode_finds_equal_pixels_and_names_what_the_cpu_lacks(where):
    found = decode.measure("vp9", where)
    assert found["ok"]
    assert all(row["max"] == 0 for row in found["rows"].values())  # DALI and PyAV agree to the bit on the CPU
    with pytest.raises(NotHere, match="does not decode hevc"):
        decode.measure("hevc", where)


def test_compare_sees_frames_that_are_swapped_and_pixels_that_are_off():
    frames = np.random.default_rng(0).integers(0, 200, (4, 8, 8, 3), dtype=np.uint8)
    assert decode.compare(frames, frames)["ok"]
    assert decode.compare(frames[[1, 0, 2, 3]], frames)["misplaced"] == 2
    off = decode.compare(frames + np.uint8(9), frames)
    assert (off["ok"], off["max"], off["mean"]) == (False, 9, 9)
    assert not decode.compare(frames[:3], frames)["ok"]


def test_parity_compares_every_tensor_of_a_task(where):
    found = parity.measure("ctp", where)
    assert found["ok"]
    assert {"graph clips", "graph boxes", "whole clips", "whole boxes", "whole index"} <= set(found["rows"])
    assert (found["graph_decoder"], found["whole_decoder"]) == ("pyav", "dali")
    clips = torch.zeros(2, 3, 4, 8, 8)
    assert parity.difference([clips + 0.05], [clips])["ok"]
    assert not parity.difference([clips + 0.07], [clips])["ok"]
    assert not parity.difference([torch.tensor([1, 2])], [torch.tensor([1, 3])])["ok"]


@pytest.mark.parametrize("item", ["codecs_128x128", "cut", "small_hevc", "jpeg", "multi_paste"])
def test_a_question_has_an_answer(item, where):
    found = questions.measure(item, where)
    json.dumps(found)
    if item == "multi_paste":
        assert found["takes_sequences"] is False  # on the CPU backend of DALI 2.4
    else:
        assert all(row.get("clips_per_s", 1) > 0 and row.get("ok", True) for row in found["rows"].values())


def test_a_bad_sample_fails_its_run_alone_and_the_loader_names_its_video(where):
    found = recovery.measure("garbage_vp9", where)
    assert found["ok"]
    assert "Failed to create video decoder" in found["raised"]
    found = recovery.measure("loader_vp9", where)
    assert found["ok"]
    assert list(found["replaced"]) == ["video001"]


def test_the_benches_take_the_settings_that_they_are_called_with():
    for device in ("cuda", "cpu"):
        for item in items.ITEMS["throughput"]:
            script, *options = throughput.command(item, Where(device, Path("work")))
            module = {"loader": loader_throughput, "training": training_throughput}[Path(script).stem.split("_")[0]]
            options += ["--data-dir", "data", "--device", device, "--json", "file"]
            assert module.parse_args(options).json == Path("file")


def test_a_bench_that_is_stopped_keeps_what_it_has_written(where, monkeypatch):
    script = where.work_dir / "bench.py"
    script.write_text(
        "import pathlib, sys, time\n"
        'pathlib.Path(sys.argv[-1]).write_text(\'{"tasks": {"ctp": {"clips_per_s": 3}}}\')\n'
        "time.sleep(60)\n"
    )
    monkeypatch.setattr(throughput, "SECONDS", 1)
    monkeypatch.setattr(throughput, "command", lambda item, where: [str(script)])
    began = time.monotonic()
    found = throughput.measure("loader_vp9", where)
    assert (found["ok"], found["status"]) == (False, "stopped after 1 s")
    assert found["tasks"]["ctp"]["clips_per_s"] == 3
    assert time.monotonic() - began < 30


def test_the_watch_says_why_it_knows_nothing_where_there_is_no_driver():
    if Path("/dev/nvidia0").exists():
        pytest.skip("there is a driver")
    with nvdec.watched() as busy:
        assert os.getpid()
    assert "libnvidia-ml" in busy["utilisation"]
