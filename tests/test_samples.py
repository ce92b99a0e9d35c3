"""What a sample asks of the decoder."""

import numpy as np
import pytest

from dali_pipelines.pipeline import build_pipeline
from dali_pipelines.plan.order import Order
from dali_pipelines.samples import SampleSource
from dali_pipelines.store.reader import decode_clip, read_clip

FRAMES = np.array([9, 3, 3, 30, 9], np.int32)


class Repeats:
    """A task whose clip shows some frames twice, and out of order."""

    plan_schema = {"frames": ((len(FRAMES),), "int32")}

    def plan(self, video, rng):
        return {"frames": FRAMES.copy()}


@pytest.mark.parametrize("pyav", [False, True])
def test_a_frame_that_a_plan_names_twice_is_decoded_once_and_shown_twice(vp9_store, pyav):
    source = SampleSource(vp9_store, Repeats(), Order(len(vp9_store), 2, 0, 1, 0, shuffle=False), pyav)
    sample = dict(zip(source.names, source.read(0, 4), strict=True))
    assert len(sample["frames"]) == 3
    assert (np.diff(sample["frames"]) > 0).all()
    pipeline, names = build_pipeline(
        source, lambda frames, plan: {"clips": frames}, batch_size=2, device_id=None, threads=1, workers=0
    )
    clip = np.array(pipeline.run()[names.index("clips")].at(0))
    assert (clip == decode_clip(read_clip(vp9_store, 0, FRAMES))).all()
