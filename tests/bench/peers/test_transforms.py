"""Views made by the peers' libraries against our loader, from the same cropped frames and plans."""

import pytest
import torch

from bench.peers import check
from bench.peers.data import peer_clips
from bench.peers.opencv import OpenCV
from bench.peers.torchvision import Torch
from bench.peers.transforms import apply_transforms
from dali_pipelines.loader import ClipLoader
from dali_pipelines.plan.rng import Stream, generator
from dali_pipelines.store.reader import read_clip
from dali_pipelines.tasks import Task, task_module

pytestmark = pytest.mark.slow

SAMPLES = 12
STEPS = {
    "recognition": ("scale", "mix"),
    "concepts": ("mix",),
    "cstp": ("rotate", "mix", "blur"),
    "ctp": ("paste", "mix", "scale"),
    "rot3d": ("rotate", "scale"),
    "cpc_transformer": ("mix",),
}
"""Task -> transforms that its first samples use."""

MAX_DIFFERENCE = 0.5
"""Mean over a view, in gray levels. OpenCV rounds to 8 bits up to four times (patch, hue, brightness, contrast), torch
not even where our loader does; each rounding shifts by a quarter of a level on average, up or down."""


@pytest.fixture(scope="module", params=STEPS)
def samples(request, h264_store):
    """Return the task, and for each view of its first samples our loader's output, transforms and cropped frames."""
    task = Task(request.param, task_module(request.param).Config())
    loader = ClipLoader(h264_store, task, batch_size=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "CHECKED", SAMPLES)
        ours = check.our_views(loader)
    transforms = [view.transforms for clip in peer_clips(loader, 0, SAMPLES // 4) for view in clip.views]
    places = [loader.order.at(step) for step in range(SAMPLES // 4)]
    rows = [(epoch, row) for epoch, step in places for row in loader.order.rows(epoch, step).tolist()]
    frames = [part for epoch, row in rows for part in cut_frames(h264_store, task, epoch, row)]
    return task, list(zip(ours, transforms, frames, strict=True))


def cut_frames(index, task, epoch, row):
    """Return the cropped frames of each view, uint8 (T, size, size, 3), in the video's colors."""
    plan = task.plan(index.info(row), generator(0, Stream.SAMPLE, epoch, row))
    frames = task.program.host(read_clip(index, row, plan["frames"]), plan, steps=1)
    return [frames[view.places].copy() for view in task.program.views]


def differences(samples, library):
    """Yield the mean difference of each view, in gray levels."""
    task, views = samples
    for ours, transforms, frames in views:
        given = frames.copy() if library.channels == 3 else torch.from_numpy(frames).permute(0, 3, 1, 2)
        theirs = apply_transforms(given, transforms, library()).movedim(library.channels, -1)
        assert theirs.dtype == torch.float32
        yield float((check.levels(theirs, task) - ours).abs().mean())


@pytest.mark.parametrize("library", [OpenCV, Torch])
def test_each_library_matches_our_loader_and_needs_every_step(samples, library):
    if library is OpenCV:
        pytest.importorskip("cv2")
    assert max(differences(samples, library)) < MAX_DIFFERENCE
    for step in STEPS[samples[0].name]:
        lacking = type("Lacking", (library,), {step: lambda _, frames, *given: frames})
        assert any(difference > 2 * MAX_DIFFERENCE for difference in differences(samples, lacking)), step
