"""What `clipfeed doctor` finds; nothing that it examines may make it fail."""

import importlib
import json
import resource
import shutil
from importlib.metadata import version

import numpy as np
import pytest

from configs.errors import UserError
from configs.schema import Data
from dali_pipelines.store.encoders import ENCODERS
from tests.helpers.runs import write_recipe
from tests.helpers.stores import make_store
from trainers.commands import doctor
from trainers.diagnosis import Finding, Subject, codecs, dataset, gpu, machine, packages

GB = 2**30
H100 = gpu.Gpu("H100", 70 * GB, 80 * GB, {"h264": 7, "hevc": 7, "vp9": 7, "jpeg": 8})


def by_subject(findings) -> dict[str, Finding]:
    return {finding.about: finding for finding in findings}


def run_doctor(capsys, *argv: str) -> tuple[int, dict[str, Finding]]:
    """Run the command with --json; return its status and findings."""
    status = doctor.main([*argv, "--device", "cpu", "--json"])
    return status, by_subject(Finding(**finding) for finding in json.loads(capsys.readouterr().out))


@pytest.fixture
def skip_codec_checks(monkeypatch):
    """Skip the codec checks, which have their own test."""
    monkeypatch.setattr(doctor, "CHECKS", ("packages", "machine", "dataset"))


def test_a_recipe_with_its_dataset_has_no_problem(h264_store, tmp_path, skip_codec_checks, capsys):
    status, found = run_doctor(capsys, "--config", str(write_recipe(tmp_path, h264_store.root)))
    assert [finding for finding in found.values() if finding.state == "problem"] == []
    assert status == 0
    assert found["dataset"].text.startswith(f"{len(h264_store)} videos of {h264_store.root}, ")
    assert found["samples"].text == f"a clip each of {len(h264_store)} videos decodes"
    assert found["torch"].text == f"{version('torch')}, torchvision {version('torchvision')}"


def test_a_dataset_can_be_checked_without_a_recipe(h264_store, skip_codec_checks, capsys):
    assert run_doctor(capsys, "--data-dir", str(h264_store.root))[1]["samples"].state == "ok"


def test_changes_without_a_recipe_are_refused():
    with pytest.raises(UserError, match=r"^--set data\.workers=9 changes a recipe: name one with --config$"):
        doctor.main(["--set", "data.workers=9"])


def test_a_problem_says_what_to_do_and_exits_with_1(tmp_path, skip_codec_checks, capsys):
    argv = ["--config", str(write_recipe(tmp_path, tmp_path / "gone")), "--device", "cpu"]
    assert doctor.main(argv) == 1
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if line.startswith("problem")]
    assert line.split()[:2] == ["problem", "dataset"]
    assert "gone does not exist" in line
    assert " -> " in line
    assert lines[-1].startswith("1 problem, ")


def test_damaged_videos_are_counted_and_named(tmp_path, skip_codec_checks, capsys):
    index = make_store(tmp_path / "data", codec="h264", videos=4)
    path = index.path(2)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    status, found = run_doctor(capsys, "--data-dir", str(index.root))
    assert status == 1
    assert found["samples"].text.startswith(
        f"1 of 4 sampled videos could not be decoded, the first {index.info(2).name} ("
    )


def test_a_dataset_smaller_than_a_batch_is_a_problem(h264_store, tmp_path, skip_codec_checks, capsys):
    recipe = str(write_recipe(tmp_path, h264_store.root))
    found = run_doctor(capsys, "--config", recipe, "--set", "train.global_batch=64")[1]["dataset"]
    assert (found.state, found.do) == ("problem", f"--set train.global_batch={len(h264_store)} or less")


@pytest.mark.parametrize("name", ["gone", "bad"])
def test_an_invalid_recipe_is_a_problem_and_other_checks_run(tmp_path, skip_codec_checks, capsys, name):
    (tmp_path / "bad.yaml").write_text("task: ctp\nbackbon: r3d18\n")
    status, found = run_doctor(capsys, "--config", str(tmp_path / f"{name}.yaml"))
    assert (status, found["recipe"].state, found["torch"].state) == (1, "problem", "ok")


@pytest.mark.parametrize("check", doctor.CHECKS)
def test_a_failing_check_is_a_finding(monkeypatch, capsys, check):
    def fail(subject):
        raise RuntimeError("something that nobody thought of")

    monkeypatch.setattr(doctor, "CHECKS", (check,))
    monkeypatch.setattr(f"trainers.diagnosis.{check}.check", fail)
    status, found = run_doctor(capsys)
    assert (status, found[check].state) == (1, "problem")
    assert "something that nobody thought of" in found[check].text


def test_a_check_that_cannot_be_imported_is_a_finding(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "CHECKS", ("not_there",))
    assert "ModuleNotFoundError" in run_doctor(capsys)[1]["not_there"].text


def test_every_codec_decodes_and_a_failing_one_is_named(monkeypatch):
    found = by_subject(codecs.check(Subject("cpu")))
    assert {name: finding.state for name, finding in found.items()} == dict.fromkeys(ENCODERS, "ok")
    assert found["vp9"].text == "DALI decodes it on a CPU"
    assert found["h264"].text.startswith("PyAV decodes it on the CPU (DALI has no decoder for h264")
    monkeypatch.setattr(codecs, "ENCODERS", ("h264", "vp9"))
    monkeypatch.setattr(codecs, "decode_rgb", lambda clip: np.zeros((4, 160, 160, 3), np.uint8))
    found = by_subject(codecs.check(Subject("cpu")))
    assert (found["h264"].state, found["vp9"].state) == ("problem", "warning")
    assert "another picture" in found["h264"].text


@pytest.mark.parametrize(
    ("device", "answers", "states"),
    [
        ("cpu", gpu.Answers(), {"GPU": "ok"}),
        ("auto", gpu.Answers("", "sees no GPU"), {"GPU": "ok"}),
        ("auto", gpu.Answers("470.1", "driver too old"), {"GPU": "warning"}),
        ("cuda", gpu.Answers("", "sees no GPU"), {"GPU": "problem"}),
        ("auto", gpu.Answers("580.1", "", (H100,), True), {"GPU 0": "ok", "NVDEC 0": "ok"}),
        ("auto", gpu.Answers("580.1", "", (H100,), False), {"GPU 0": "ok", "NVDEC 0": "warning"}),
        (
            "auto",
            gpu.Answers("580.1", "", (gpu.Gpu("full", GB // 2, 80 * GB, {"jpeg": 1}),), True),
            {"GPU 0": "problem", "NVDEC 0": "warning"},
        ),
    ],
)
def test_gpu_driver_and_decoders(monkeypatch, device, answers, states):
    monkeypatch.setattr(gpu, "ask", lambda: answers)
    found = by_subject(gpu.check(Subject(device)))
    assert {about: finding.state for about, finding in found.items()} == states
    assert all(finding.do for finding in found.values() if finding.state != "ok")


def test_the_number_of_gpu_decoders_is_reported(monkeypatch):
    monkeypatch.setattr(gpu, "ask", lambda: gpu.Answers("580.1", "", (H100,), True))
    found = by_subject(gpu.check(Subject("auto")))
    assert found["NVDEC 0"].text == "h264 on 7 decoders, hevc on 7 decoders, vp9 on 7 decoders"


@pytest.mark.parametrize(
    ("torch", "needs", "do"),
    [
        ("2.11.0+cu130", ["numpy", "torch==2.11.0"], []),
        ("2.13.0+cpu", ["numpy", "torch==2.11.0"], ["pip install 'torch==2.11.0'"]),
        ("2.11.0", [], []),
    ],
)
def test_torchvision_must_match_torch(torch, needs, do, monkeypatch):
    monkeypatch.setattr(packages, "installed", {"torch": torch, "torchvision": "0.26.0", "numpy": "2.0"}.get)
    monkeypatch.setattr(packages, "requires", lambda name: needs)
    assert [found.do for found in packages.outside_bounds("torchvision")] == do


def test_a_missing_torch_is_a_problem():
    found = packages.torch_and_torchvision("", "0.26.0")
    assert (found.state, found.text, found.do) == ("problem", "torch not installed", "pip install torch")
    assert packages.torch_and_torchvision("2.11.0", "0.26.0").state == "ok"
    assert [*packages.outside_bounds("no-such-package")] == []


def test_a_version_out_of_bounds_is_a_problem(monkeypatch):
    assert [*packages.outside_bounds("clipfeed")] == []
    lines = ["numpy>=99", "av>=1", "gone>=1", "pytest>=99; extra == 'dev'"]
    monkeypatch.setattr(packages, "requires", lambda name: lines)
    (found,) = packages.outside_bounds("clipfeed")
    assert (found.state, found.about, found.do) == ("problem", "numpy", "pip install 'numpy>=99'")


@pytest.mark.parametrize(
    ("found", "cuda", "state"),
    [
        (["nvidia-dali-cuda130"], "13.0", "ok"),
        (["nvidia-dali-cuda130"], "", "ok"),
        (["nvidia-dali-cuda120"], "12.6", "ok"),
        (["nvidia-dali-cuda130"], "12.6", "warning"),
        (["nvidia-dali-cuda120", "nvidia-dali-cuda130"], "12.6", "problem"),
        ([], "13.0", "problem"),
    ],
)
def test_exactly_one_dali_must_match_torchs_cuda(found, cuda, state):
    assert packages.one_dali(found, cuda).state == state


def test_a_package_that_cannot_be_imported_is_a_problem(monkeypatch):
    def fail(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(importlib, "import_module", fail)
    assert "torchvision::nms" in packages.loads("torchvision", "torchvision.ops", "do").text
    assert packages.pyav().state == "problem"


def test_uncompiled_pixel_operations_are_a_warning():
    assert packages.pixels(compiled=True).state == "ok"
    finding = packages.pixels(compiled=False)
    assert finding.state == "warning"
    assert "C compiler" in finding.do


@pytest.mark.parametrize(
    ("count", "workers", "gpus", "state"),
    [(2, 4, 0, "warning"), (8, 4, 0, "ok"), (8, 4, 8, "warning"), (1, 0, 0, "ok")],
)
def test_too_few_cores_for_all_workers_are_a_warning(count, workers, gpus, state):
    assert machine.cores(count, Data(root="", workers=workers), gpus).state == state


@pytest.mark.parametrize(
    ("limit", "state", "way"),
    [
        ((1024, 4096), "ok", ""),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), "ok", ""),
        ((64, 4096), "problem", "ulimit -n 288"),
        ((64, 64), "problem", "have the hard limit raised"),
    ],
)
def test_low_open_file_limits_are_a_problem(limit, state, way):
    found = machine.open_files(Data(root="", workers=4), limit)
    assert (found.state, found.do) == (state, way)


@pytest.mark.parametrize(("size", "gpus", "state"), [(64 << 20, 1, "ok"), (64 << 20, 8, "warning"), (GB, 8, "ok")])
def test_small_shared_memory_is_a_warning_only_with_several_gpus(size, gpus, state):
    assert machine.shared_memory(size, gpus).state == state


@pytest.mark.parametrize(("free", "state"), [(100 * GB, "ok"), (5 * GB, "warning"), (GB // 2, "problem")])
def test_free_disk_space_is_checked_for_a_new_folder(monkeypatch, tmp_path, free, state):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: type("Usage", (), {"free": free}))
    found = machine.space("work dir", tmp_path / "runs" / "new")
    assert found.state == state
    assert found.text.endswith(str(tmp_path))
    assert not (tmp_path / "runs").exists()


def test_slow_reads_are_a_warning(h264_store, monkeypatch):
    assert [finding.state for finding in dataset.samples(h264_store)] == ["ok", "ok"]
    monkeypatch.setattr(dataset, "SLOW", 0.0)
    assert [finding.state for finding in dataset.samples(h264_store)] == ["warning", "ok"]


def test_a_requested_decoder_that_cannot_decode_is_a_problem(h264_store):
    assert dataset.decoder(h264_store, Data(root=""), "cpu").state == "ok"
    assert dataset.decoder(h264_store, Data(root="", decoder="dali"), "cpu").state == "problem"
