"""The benches run, so that none rots; their figures are not judged here."""

import json

import numpy as np
import pytest

from bench.loader_throughput import main
from configs.errors import UserError
from dali_pipelines.plan.rng import Stream, generator
from dali_pipelines.store.reader import read_clip
from dali_pipelines.tasks import Task, ctp


def test_the_loader_bench_writes_every_figure_with_the_machine_it_belongs_to(vp9_store, tmp_path, capsys):
    file = tmp_path / "results" / "loader.json"
    options = ["--batch-size", "2", "--batches", "2", "--rounds", "1", "--device", "cpu", "--json", str(file)]
    main(["--data-dir", str(vp9_store.root), *options])
    report = json.loads(file.read_text())
    figures = report["tasks"]["ctp"]
    assert figures["clips_per_s"] > 0
    assert figures["frames_per_s"] == pytest.approx(16 * figures["clips_per_s"], rel=0.05)
    assert 0 < figures["decode_ceiling_share"] < 10
    assert figures["batch_ms_p95"] >= figures["batch_ms_p50"] > 0
    assert report["machine"]["versions"]["torch"]
    assert report["data"]["decoder"] == "dali"
    assert "clips_per_s" in capsys.readouterr().out


def test_amplification_is_what_the_index_says_before_anything_is_decoded(vp9_store, tmp_path):
    file = tmp_path / "loader.json"
    options = ["--batch-size", "12", "--batches", "1", "--rounds", "1", "--device", "cpu", "--json", str(file)]
    main(["--data-dir", str(vp9_store.root), *options])
    task = Task("ctp", ctp.Config())
    # One batch an epoch: the first one, three that are not counted in time, and one that is.
    decoded = [
        read_clip(
            vp9_store, row, task.plan(vp9_store.info(row), generator(0, Stream.SAMPLE, epoch, row))["frames"]
        ).decoded
        for epoch in range(5)
        for row in range(12)
    ]
    assert json.loads(file.read_text())["tasks"]["ctp"]["amplification"] == round(np.mean(decoded) / 16, 2)


def test_a_senseless_option_is_refused():
    with pytest.raises(UserError, match="--batches 0"):
        main(["--batches", "0"])
