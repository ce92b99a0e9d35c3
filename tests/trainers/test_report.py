"""The report of a run, whatever is missing from its files."""

import json
from pathlib import Path

import pytest
from PIL import Image

from configs.errors import UserError
from configs.load import dump, load
from trainers.commands import report

pytestmark = pytest.mark.slow


def work_dir(folder: Path, *, recipe: str = "ctp/demo", end: str = "", **terms: float) -> Path:
    """Write the files of a run of two steps; `end` follows their lines."""
    (folder / "config.yaml").write_text(dump(load(recipe)))
    lines = [json.dumps({"step": step, "loss": 2.0 / step, **terms}) for step in (1, 2)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n" + end)
    return folder


def run(folder: Path, out: str = "loss.png", *options: object) -> None:
    report.main(["--work-dir", str(folder), "--out", str(folder / out), *map(str, options)])


@pytest.mark.parametrize("end", ['{"step": 3, "lo', '{"step": 3, "loss": 1.0}', "7\n", '{"loss": 1.0}\n', "\0\0"])
def test_a_line_that_a_kill_cut_is_left_out(tmp_path, capsys, end):
    run(work_dir(tmp_path, end=end, iou=0.5, chance=0.4))
    assert f"{tmp_path}: 2 steps\n  loss              2.00 ->     1.00\n" in capsys.readouterr().out


def test_a_run_without_its_metric_has_the_other_curves(tmp_path, capsys):
    """As of a network of another package that returns the loss alone."""
    run(work_dir(tmp_path))
    assert "iou" not in capsys.readouterr().out
    assert Image.open(tmp_path / "loss.png").size == (960, 780)


def test_tensorboard_is_named_only_where_it_was_a_logger(tmp_path, capsys):
    run(work_dir(tmp_path))
    assert "TensorBoard" not in capsys.readouterr().out
    (tmp_path / "tensorboard").mkdir()
    run(tmp_path)
    assert capsys.readouterr().out.endswith(f"  TensorBoard   tensorboard --logdir {tmp_path}\n")


def test_a_run_of_finetune_is_reported_by_its_accuracy(tmp_path, capsys):
    run(work_dir(tmp_path, recipe="recognition/demo", accuracy=0.5, chance=0.125))
    assert "  accuracy          0.50 ->     0.50\n  chance " in capsys.readouterr().out


def test_a_picture_of_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"loss\.txt: no picture is a \.txt; there are .*png"):
        run(work_dir(tmp_path), "loss.txt")


@pytest.mark.parametrize("content", ["top-1", "[]", "{}"])
def test_a_file_that_the_probe_did_not_write_is_refused(tmp_path, content):
    (tmp_path / "probe.json").write_text(content)
    with pytest.raises(UserError, match=r"probe\.json is no file that probe\.py --json wrote"):
        run(work_dir(tmp_path), "loss.png", "--probe", tmp_path / "probe.json")
    assert not (tmp_path / "loss.png").exists()
