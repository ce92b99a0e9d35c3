"""Requirements for every task: fixed shapes for any video, and a batch that fits the network."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import UserError
from dali_pipelines.loader import ClipLoader
from dali_pipelines.plan.rng import Stream, generator
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.tasks import Task, task_module, task_names

pytestmark = pytest.mark.slow

videos = st.builds(
    VideoInfo,
    name=st.just("v"),
    num_frames=st.integers(1, 500),
    width=st.integers(16, 2000),
    height=st.integers(16, 2000),
    fps=st.just(25.0),
    label=st.integers(-1, 400),
)


def default(name: str) -> Task:
    return Task(name, task_module(name).Config())


@pytest.mark.parametrize("name", task_names())
@given(video=videos, seed=st.integers(0, 2**63), index=st.integers(0, 2**40))
def test_plans_have_their_declared_shapes_and_are_reproducible(name, video, seed, index):
    task = default(name)
    plan, again = (task.plan(video, generator(seed, Stream.SAMPLE, 2, index)) for _ in range(2))
    assert {key: (np.shape(a), np.asarray(a).dtype.name) for key, a in plan.items()} == {
        key: (tuple(shape), dtype) for key, (shape, dtype) in task.plan_schema.items()
    }
    assert all(np.asarray(plan[key]).tobytes() == np.asarray(again[key]).tobytes() for key in plan)
    assert plan["frames"].min() >= 0
    assert plan["frames"].max() < video.num_frames
    for corners in (plan[name] for name in ("crop_start", "crop_end") if name in plan):
        assert (corners >= -0.01).all()
        assert (corners <= (video.height + 0.01, video.width + 0.01)).all()


@pytest.mark.parametrize("name", task_names())
def test_batches_match_the_schema(name, long_store):
    loader = ClipLoader(long_store, default(name), batch_size=2)
    batch = next(iter(loader))
    index = batch.pop("index")
    assert {key: (tuple(t.shape[1:]), str(t.dtype).removeprefix("torch.")) for key, t in batch.items()} == (
        loader.task.batch_schema
    )
    assert index.shape == (2,)


def test_unknown_task_lists_the_known_ones():
    with pytest.raises(UserError, match=r"'cpt'.*ctp"):
        task_module("cpt")
