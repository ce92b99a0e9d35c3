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

from bench import gpu_report
from bench.gpu_checks import (
    Where,
    compare,
    decode,
    default_store,
    items,
    loader,
    nvdec,
    parity,
    pipelines,
    questions,
    recovery,
    training,
    videos,
)
from bench.gpu_checks.__main__ import attempt, main
from configs.errors import UserError
from dali_pipelines import prepare
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.store.reader import read_clip

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
    result = {"ok": name != "facts.driver", "answer": f"5 of {name}", "rows": {"a": {"mean": 1}}}
    result["error 1"] = "two\\nlines"
    record = {"status": "done", "seconds": 0.1, "result": result}
    part = results / "part"
    part.write_text(json.dumps(record))
    part.rename(results / f"{name}.json")
    if name == "facts.machine":
        sys.exit(75)
"""
PARTS = ["facts", "default_store", "parity", "decode", "loader", "training", "questions", "recovery"]


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Where:
    """A rehearsal with its default store made."""
    place = Where("cpu", tmp_path_factory.mktemp("gpu_report"))
    default_store.made(place)
    return place


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """Stands in for the processes that measure; the files that they write."""
    monkeypatch.setattr(gpu_report, "WORKER", [sys.executable, "-c", WORKER])
    monkeypatch.setenv("RAN", str(tmp_path / "ran"))
    monkeypatch.setenv("CHILD", str(tmp_path / "child"))
    return tmp_path


def is_dead(pid: int) -> bool:
    """Whether a killed process is gone soon, or a zombie that its new parent has yet to look at."""
    for _ in range(100):
        try:
            if psutil.Process(pid).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def test_a_crash_and_a_hang_lose_one_item_each_and_the_next_run_does_what_is_left(worker, monkeypatch, capsys):
    monkeypatch.setattr(gpu_report, "limit", lambda name: 3)
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
    assert (worker / "ran").read_text().split() == names  # in order, each once, though three processes ended early
    assert report["items"]["decode.h264_gop1"]["error"].startswith("SIGSEGV\nabout to fall")
    assert is_dead(int((worker / "child").read_text()))
    page = (worker / "out/gpu_report.md").read_text()
    assert "To look at: facts.driver, decode.h264_gop1, decode.hevc_gop16." in page
    assert "| decode.repeat |  | 5 of decode.repeat | 0.1 |" in page
    assert "| a | 1 |" in page
    assert "error 1:\n```\ntwo\nlines\n```" in page
    assert "A rehearsal" in page
    printed = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert list(printed) == names
    assert "5 of decode.h264_gop8  [0.1 s]" in printed["decode.h264_gop8"]
    assert "NOT OK: 5 of facts.driver" in printed["facts.driver"]
    assert "CRASHED: SIGSEGV / about to fall" in printed["decode.h264_gop1"]
    assert {path.name for path in (worker / "out").iterdir()} == {f"gpu_report.{end}" for end in ("json", "md", "log")}

    (worker / "ran").unlink()
    monkeypatch.setattr(gpu_report, "WORKER", [sys.executable, "-c", WORKER.replace("SIGSEGV", "SIGCONT")])
    gpu_report.main(arguments)
    report = json.loads((worker / "out/gpu_report.json").read_text())
    assert report["items"]["decode.h264_gop1"]["status"] == "done"
    assert report["items"]["decode.hevc_gop16"]["status"] == "timed out"
    assert (worker / "ran").read_text().split() == [
        "decode.h264_gop1",
        "decode.hevc_gop16",
    ]  # the rest is not done again
    with pytest.raises(UserError, match="holds a report of --device cpu"):
        gpu_report.main(["--out", str(worker / "out")])


def test_out_of_time_nothing_is_begun_and_the_report_says_what_is_left(tmp_path, capsys):
    gpu_report.main(["--out", str(tmp_path), "--minutes", "0", "--only", "facts"])
    assert "not run: 4 items" in capsys.readouterr().out
    assert "Not run: facts.machine" in (tmp_path / "gpu_report.md").read_text()


def test_nothing_is_waited_for_beyond_the_end(worker, capsys):
    only = ["decode.h264_gop8", "decode.hevc_gop16", "decode.repeat"]
    gpu_report.main(["--out", str(worker / "out"), "--minutes", "0.06", "--only", *only])
    assert "not run: 2 items" in capsys.readouterr().out
    assert is_dead(int((worker / "child").read_text()))
    assert list(json.loads((worker / "out/gpu_report.json").read_text())["items"]) == ["decode.h264_gop8"]


def test_a_part_that_hangs_again_and_again_leaves_time_for_the_others(worker, monkeypatch, capsys):
    monkeypatch.setattr(gpu_report, "limit", lambda name: 3)
    monkeypatch.setattr(gpu_report, "MOST_HANGS", 1)
    only = ["decode.hevc_gop16", "decode.repeat", "loader.ctp"]
    gpu_report.main(["--out", str(worker / "out"), "--only", *only])
    assert (worker / "ran").read_text().split() == ["decode.hevc_gop16", "loader.ctp"]
    assert "not run: 1 items" in capsys.readouterr().out


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


def test_a_worker_whose_gpu_is_lost_leaves_its_record_and_asks_for_a_fresh_process(tmp_path, monkeypatch):
    state = {"answers": True}
    monkeypatch.setattr("bench.gpu_checks.__main__.attempt", lambda name, where: {"status": "failed", "error": name})
    monkeypatch.setattr("bench.gpu_checks.__main__.gpu_answers", lambda: state["answers"])
    arguments = ["decode.repeat", "decode.h264_gop1", "--device", "cuda", "--work-dir", "w", "--results", str(tmp_path)]
    assert main(arguments) == 0
    assert len(list(tmp_path.iterdir())) == 2
    (tmp_path / "decode.h264_gop1.json").unlink()
    state["answers"] = False
    assert main(arguments) == gpu_report.FRESH
    assert [path.name for path in tmp_path.iterdir()] == ["decode.repeat.json"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", [f"{part}.{names[0]}" for part, names in items.ITEMS.items() if part != "facts"])
def test_without_a_gpu_every_part_says_so(name, tmp_path):
    record = attempt(name, Where("cuda", tmp_path))
    assert record["status"] == "not here"
    assert "no GPU" in record["error"]


def test_the_items_come_by_value_and_fit_into_eight_minutes():
    assert list(items.ITEMS) == PARTS
    assert items.ITEMS["default_store"][:3] == ("made", "clips", "old_encoder")
    assert items.ITEMS["parity"][0] == "ctp"
    assert set(items.ITEMS["loader"]) >= {"ctp", "recognition", "evaluation"}
    total = sum(items.START + sum(of_part.values()) for of_part in items.SECONDS.values())
    assert total < 8 * 60
    for part in PARTS:
        __import__(f"bench.gpu_checks.{part}")


def test_the_default_store_is_what_prepare_makes(tmp_path, monkeypatch):
    monkeypatch.setattr(videos, "VIDEOS", 1)
    made = []
    write = videos.write_frames
    monkeypatch.setattr(videos, "write_frames", lambda *a, **more: made.append(more["settings"]) or write(*a, **more))
    index = videos.dataset(videos.DEFAULT, Where("cuda", tmp_path))
    options = prepare._parse(["SRC", "--out", "OUT"])
    assert made == [prepare._settings(options)]
    assert index.codec(0) == "h264"
    assert len(index.fragment_ends[0]) == index.num_frames[0]  # a key frame every frame


def test_the_file_of_an_older_encoder_sets_constraint_set3_and_decodes_in_pyav(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(default_store, "clips", lambda index, where: seen.append(index) or {"ok": True})
    default_store.old_encoder(Where("cuda", tmp_path))
    (index,) = seen
    assert default_store.constraint_set3(index) is True
    head = index.path(0).read_bytes()
    assert head.count(bytes([0x67, 100, head[head.find(b"avcC") + 6]])) == 1  # the SPS says the same as the avcC
    assert decode_rgb(read_clip(index, 0, np.array([3, 100]))).shape == (2, 144, 192, 3)


def test_every_clip_of_the_default_store_is_compared_and_a_failure_is_told_in_full(where, monkeypatch):
    found = default_store.default_clips(where)
    assert found["answer"] == "8/8 clips equal PyAV's within 0.0 gray levels"  # DALI and PyAV agree on a CPU
    assert videos.working(where)[0] == "h264_gop1"
    build = default_store.video_pipeline

    def failing(feed, where, *, batch_size, threads):
        if len(feed(0)[1][0]) == 6:  # the scattered clip
            raise RuntimeError("Error in decoders.video\nencountered:\nCUDA_ERROR_INVALID_VALUE here\nand there")
        return build(feed, where, batch_size=batch_size, threads=threads)

    monkeypatch.setattr(default_store, "video_pipeline", failing)
    found = default_store.default_clips(where)
    assert not found["ok"]
    assert found["answer"].startswith("7/8 clips equal PyAV's")
    assert "scattered: CUDA_ERROR_INVALID_VALUE here" in found["answer"]
    assert "and there" in found["error 1"]
    assert not (where.work_dir / "working").exists()


def test_another_store_is_read_where_the_default_one_does_not_decode(tmp_path, monkeypatch):
    where = Where("cpu", tmp_path)
    good = {"h264_gop8": False, "hevc_gop16": True}
    monkeypatch.setattr(default_store, "dataset", lambda name, where: name)
    monkeypatch.setattr(default_store, "clips", lambda name, where: {"ok": good[name], "answer": "no"})
    found = default_store.instead(where)
    assert (found["ok"], found["answer"].split()[-1]) == (False, "hevc_gop16")
    monkeypatch.setattr(videos, "dataset", lambda name, where: name)
    assert videos.working(where) == ("hevc_gop16", "hevc_gop16")


def test_compare_sees_frames_that_are_swapped_and_pixels_that_are_off():
    frames = np.random.default_rng(0).integers(0, 200, (4, 8, 8, 3), dtype=np.uint8)
    assert compare.compare(frames, frames)["ok"]
    assert compare.compare(frames[[1, 0, 2, 3]], frames)["misplaced"] == 2
    off = compare.compare(frames + np.uint8(9), frames)
    assert (off["ok"], off["max"], off["mean"]) == (False, 9, 9)
    assert not compare.compare(frames[:3], frames)["ok"]


def test_parity_compares_every_tensor_of_a_task(where):
    found = parity.measure("ctp", where)
    assert found["ok"]
    assert {"graph clips", "graph boxes", "whole clips", "whole boxes", "whole index"} <= set(found["rows"])
    assert (found["graph_decoder"], found["whole_decoder"]) == ("pyav", "dali")
    assert "whole clips" in found["answer"]
    assert "all else equal" in found["answer"]


def test_parity_sees_values_that_are_off_everywhere_or_far_off_somewhere_and_labels_that_differ():
    clips = torch.zeros(2, 3, 4, 10, 10)
    assert parity.difference([clips + 0.05], [clips])["ok"]
    assert not parity.difference([clips + 0.07], [clips])["ok"]
    patch = clips.clone()
    patch[..., :1, :2] = 1.0  # two pixels in a hundred come from elsewhere
    row = parity.difference([patch], [clips])
    assert (row["ok"], row["mean"], row["far"]) == (False, 0.02, 0.02)
    assert not parity.difference([torch.tensor([1, 2])], [torch.tensor([1, 3])])["ok"]
    assert "not equal: labels" in parity.answer({"labels": {"ok": False}})


def test_the_stores_have_rates_by_threads(where):
    found = decode.measure("h264_gop1", where)
    assert set(found["rows"]) == {"1 threads", "2 threads"}
    assert found["decoded_frames_per_clip"] == 16  # with a GOP of 1 no frame is decoded for nothing
    assert all(row["clips_per_s"] > 0 for row in found["rows"].values())


def test_a_batch_that_changes_is_seen(where, monkeypatch):
    assert decode.repeat(where)["answer"].startswith("20 of 20 batches")
    build = decode.video_pipeline

    def drifting(feed, where, **how):
        other = decode.feed_of(decode.clips_of(videos.working(where)[1], 2, stride=2))
        return build(lambda iteration: (other if iteration == 7 else feed)(iteration), where, **how)

    monkeypatch.setattr(decode, "video_pipeline", drifting)
    found = decode.repeat(where)
    assert not found["ok"]
    assert found["answer"].startswith("19 of 20 batches")


def test_the_loader_of_a_task_is_timed_beside_its_decoding_alone(where):
    found = loader.measure("ctp", where)
    assert found["ok"]
    assert set(found["rows"]) == {"decoding alone", "loader"}
    assert found["frames_per_s"] == pytest.approx(16 * found["rows"]["loader"]["clips_per_s"], abs=1)
    assert "% of decoding alone" in found["answer"]


def test_training_is_timed_beside_a_cached_batch_and_the_loader_alone(where):
    found = training.measure("batch_16", where)
    ours, cached = found["rows"]["training"], found["rows"]["cached batch"]
    assert ours["ratio"] == pytest.approx(ours["clips_per_s"] / cached["clips_per_s"], rel=0.01)
    assert f"{100 * ours['ratio']:.0f} % of the cached-batch ceiling (published best 171 and 44 %" in found["answer"]
    assert "r3d_tiny, h264_gop1, batch 2" in found["settings"]


@pytest.mark.parametrize("item", ["size_128x128", "gop_strides", "cut", "small_hevc", "jpeg"])
def test_a_question_has_an_answer(item, where):
    found = questions.measure(item, where)
    json.dumps(found)
    assert found["answer"]
    assert all(row.get("clips_per_s", 1) > 0 and row.get("ok", True) for row in found["rows"].values())


def test_a_bad_sample_fails_its_run_alone_and_the_loader_names_its_video(where):
    found = recovery.measure("garbage_h264", where)
    assert found["ok"]
    assert "Failed to create video decoder" in found["raised"]
    found = recovery.measure("loader_h264", where)
    assert found["ok"]
    assert list(found["replaced"]) == ["video001"]


def test_cpu_time_is_that_of_the_process_group():
    wanted = 0.0
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == os.getpgrp():
                times = process.cpu_times()
                wanted += times.user + times.system
        except (psutil.NoSuchProcess, ProcessLookupError):
            pass
    assert pipelines.cpu_seconds() == pytest.approx(wanted, abs=1)


def test_the_watch_says_why_it_knows_nothing_where_there_is_no_driver():
    if Path("/dev/nvidia0").exists():
        pytest.skip("there is a driver")
    with nvdec.watched() as busy:
        assert os.getpid()
    assert "libnvidia-ml" in busy["utilization"]
