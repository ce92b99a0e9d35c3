"""The bench of prepare: its rate computed by hand, and a run of the command."""

import json
import resource
import time
from types import SimpleNamespace

import pytest

from bench.prepare_throughput import SIZES, Rate, made_up, main, measure
from dali_pipelines import prepare
from tests.helpers.media import make_video, read_video

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make two videos of 2 and 3 s."""
    folder = tmp_path_factory.mktemp("sources")
    make_video(folder / "a.mp4", frames=50, size=(320, 240))
    make_video(folder / "b.mp4", frames=75, size=(320, 240))
    return folder


def test_rate_is_clips_per_second_and_core(folder, monkeypatch):
    clock = {"wall": 100.0, "cpu": 7.0}
    run = prepare.main

    def takes_8_s(argv):
        run(argv)
        clock.update(wall=108.0, cpu=10.0)

    monkeypatch.setattr(prepare, "main", takes_8_s)
    monkeypatch.setattr(time, "perf_counter", lambda: clock["wall"])
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_utime=clock["cpu"], ru_stime=1.0))
    assert measure([folder], "h264", None, workers=2) == Rate(0.5 / 8 / 2, 3.0 / 0.5, (192, 144))


def test_the_command_measures_both_sizes(folder, tmp_path, capsys, spawned):
    main([str(folder), "--rounds", "1", "--workers", "1", "--json", str(tmp_path / "figures.json")])
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["floor_clips_per_s_core"] == 0.137
    assert list(figures["stored"]) == list(SIZES)
    assert [of["stored_size"] for of in figures["stored"].values()] == [[320, 240], [192, 144]]
    assert all(of["clips_per_s_core"]["min"] > 0 < of["cpu_s_per_clip"]["min"] for of in figures["stored"].values())
    assert figures["machine"]["cpu"]
    assert "| source | 320x240 |" in capsys.readouterr().out


def test_synthetic_videos_last_ten_seconds_and_move(tmp_path):
    (video,) = made_up(tmp_path, "64x48", 1).iterdir()
    shown = read_video(video)
    assert shown.shape == (300, 48, 64, 3)
    assert abs(shown[0].astype(int) - shown[150]).mean() > 5
