"""GPU results against CPU results: each task's whole graph, and a stored clip.

On the CPU the same tests compare a sample in a batch with the sample alone, and DALI's decoder with PyAV's.
"""

from pathlib import Path

import numpy as np
import pytest

from dali_pipelines.decode.driver import has_nvdec
from dali_pipelines.pipeline import build_pipeline
from dali_pipelines.pixels.normalize import NORMALIZATIONS
from dali_pipelines.plan.order import Order
from dali_pipelines.samples import Media, SampleSource
from dali_pipelines.store.encode import Encoding, write_frames
from dali_pipelines.store.files import video_path
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task, task_module, task_names
from tests.helpers.dali import run_graph
from tests.helpers.photos import blocks, picture
from tests.helpers.processes import join, start_command
from tests.helpers.runs import ROOT

pytestmark = pytest.mark.slow

Sample = dict[str, np.ndarray]

TASKS = {name: Task(name, task_module(name).Config()) for name in task_names()}
TASKS["ctp, truncated"] = Task("ctp", task_module("ctp").Config(reference=task_module("ctp").Reference(True)))


def source(index: Index, task: Task, media: Media) -> SampleSource:
    order = Order(len(index), 2, 0, 1, 0, shuffle=True)
    return SampleSource(index, task, order, media=media)


def gray_levels(task: Task, samples: list[Sample], device: str) -> list[np.ndarray]:
    """Return the clips of a batch in levels of 0 to 255."""
    clips = run_graph(lambda n: task.graph(n["media"], n)["clips"], samples, {"media": "FHWC"}, device)
    mean, deviation = (np.array(values) for values in NORMALIZATIONS[task.program.normalization])
    return [255 * (clip * deviation + mean) for clip in clips]


@pytest.mark.parametrize("name", TASKS)
def test_samples_match_those_made_alone_on_the_cpu(name, device, long_store):
    """Backends differ in rounding of halves and order of sums, which color factors amplify.

    Rotation by a few degrees picks different nearest pixels in places.
    """
    task = TASKS[name]
    ours = source(long_store, task, "frames")
    epochs = 1 if device == "cpu" else 3  # on the CPU, two samples show if plans are swapped
    samples = [dict(zip(ours.names, ours.read(epoch, row), strict=True)) for epoch in range(epochs) for row in range(2)]
    for got, sample in zip(gray_levels(task, samples, device), samples, strict=True):
        (expected,) = gray_levels(task, [sample], "cpu")
        assert got.shape == expected.shape
        difference = np.abs(got - expected)
        if device == "cpu":
            assert difference.max() == 0
        assert difference.mean() < 0.1
        assert (difference > 3).mean() < 0.01


def test_stored_clips_decode_as_in_pyav(tmp_path, device):
    """Decoders interpolate chroma differently, and a GPU treats every video as BT.601."""
    if device == "gpu" and not has_nvdec():
        pytest.skip("the driver has no libnvcuvid.so.1")
    settings = Encoding() if device == "gpu" else Encoding(codec="vp9")
    path = video_path(tmp_path, "v")
    path.parent.mkdir(parents=True)
    still = picture(0, 208, 160)
    record = write_frames(path, (np.roll(still, 4 * t, axis=1) for t in range(60)), fps=25, settings=settings)
    index, task = Index.build(tmp_path, {"v": record}), TASKS["recognition"]
    ours = source(index, task, "encoded")
    pipeline, names = build_pipeline(
        ours,
        graph=lambda frames, plan: {"frames": frames},
        batch_size=2,
        device_id=0 if device == "gpu" else None,
        threads=2,
        feed=lambda info: ours.read(info.iteration, 0),
    )
    theirs = source(index, task, "frames")
    for epoch in range(3):
        output = dict(zip(names, pipeline.run(), strict=True))["frames"].as_cpu()
        expected = dict(zip(theirs.names, theirs.read(epoch, 0), strict=True))["media"]
        for place in range(2):
            got = blocks(np.array(output.at(place)).astype(float))
            assert np.abs(got - blocks(expected.astype(float))).mean() < 1.5
            for wrong in (np.roll(expected, 1, axis=0), np.roll(expected, 4, axis=1)):
                assert np.abs(got - blocks(wrong.astype(float))).mean() > 3


def test_skipped_gpu_tests_are_named(tmp_path):
    only = "tests/dali_pipelines/pixels/test_color.py::test_normalize_uses_imagenets_mean_and_std"
    output = tmp_path / "output"
    assert pytest.__file__
    script = Path(pytest.__file__).with_name("__main__.py")
    process = start_command(script, ROOT / only, output=output, env={"CUDA_VISIBLE_DEVICES": ""})
    assert join([process]) == [0], output.read_text()
    assert f"not run without a GPU and -m gpu, 1 in all: {only.split('::')[1]}" in output.read_text()
