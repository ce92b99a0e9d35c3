"""The network bench runs, and its cost of a clip is what a server counts."""

import json

import numpy as np
import pytest

from bench.file_server import served
from bench.remote import WAYS, clip_costs, main
from dali_pipelines.plan.order import Order
from dali_pipelines.samples import SampleSource
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task, recognition

pytestmark = pytest.mark.slow


def test_clip_costs_are_the_requests_and_bytes_a_server_sees(vp9_store):
    task = Task("recognition", recognition.Config(num_frames=4, size=32))
    with served(vp9_store.root) as files:
        index = Index.load(files.url)
        files.asked.clear()
        source = SampleSource(index, task, Order(len(index), 1, 0, 1, 0, shuffle=True), media="encoded")
        for row in range(len(index)):
            source.read(0, row)
    spans = [span.removeprefix("bytes=").split("-") for _, span in files.asked]
    assert clip_costs(index, task) == {
        "requests": round(len(spans) / len(index), 1),
        "kb": round(np.mean([int(end) + 1 - int(start) for start, end in spans]) * len(spans) / len(index) / 1000, 1),
    }


def test_the_command_compares_the_four_ways(vp9_store, tmp_path):
    options = ["--rounds", "1", "--batches", "1", "--batch-size", "2", "--workers", "0", "--delay-ms", "1"]
    main(["--data-dir", str(vp9_store.root), *options, "--json", str(tmp_path / "remote.json")])
    figures = json.loads((tmp_path / "remote.json").read_text())["ways"]
    assert figures.keys() == WAYS.keys()
    assert all(of_way["clips_per_s"]["median"] > 0 for of_way in figures.values())
