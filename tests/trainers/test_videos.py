"""Every view of every video exactly once, against frames decoded and cropped without the loader."""

import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import av
import numpy as np
import pytest
import torch

from configs.errors import UserError
from configs.schema import Data
from dali_pipelines.store.index import Index
from dali_pipelines.tasks.evaluation import clips_per_part
from dali_pipelines.tasks.recognition import Config, Test
from tests.helpers.ranks import ALONE, on_ranks
from trainers.engine.distributed import start
from trainers.evaluation import videos
from trainers.evaluation.videos import CHUNK, Views, per_video

SIDE = 64
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WINDOWS = Config(num_frames=4, stride=2, size=SIDE, short_sides=(SIDE,), test=Test(clips="windows", short_side=160))


def blocks(clips: torch.Tensor) -> torch.Tensor:
    """Average 16 blocks of each frame, enough to tell frames apart: (N, 3, T, H, W) -> (N, T*3*16)."""
    return torch.nn.functional.adaptive_avg_pool3d(clips, (clips.shape[2], 4, 4)).flatten(1)


def view_videos(index: Index, cfg: Config = WINDOWS) -> Views:
    data = Data(root=str(index.root), workers=0, threads=1)
    return per_video(blocks, index, cfg, ALONE, data, desc="test")


def output(views: Views, row: int) -> np.ndarray:
    found = views.outputs[row]
    assert found is not None
    return found


def test_a_recipe_limits_the_time_of_a_sample_in_tests_too(vp9_store):
    """A worker that hung in a validation or a test was waited for without end."""
    data = Data(root=str(vp9_store.root), timeout_s=7)
    with (
        patch.object(videos, "ClipLoader", side_effect=UserError("made")) as made,
        pytest.raises(UserError, match=r"^made$"),
    ):
        per_video(blocks, vp9_store, WINDOWS, ALONE, data, desc="test")
    assert made.call_args.kwargs["timeout_s"] == 7


def error_with_other_videos(rank: int, root: Path) -> str:
    """Return a rank's error when its copy of the dataset has one video less on rank 1."""
    index = Index.load(root)
    with start("cpu") as ranks, pytest.raises(UserError) as caught:
        per_video(blocks, index.select(range(rank, len(index))), WINDOWS, ranks, Data(root=str(root)), desc="test")
    return str(caught.value)


def test_ranks_with_other_videos_are_refused(vp9_store):
    """`features` and `probe` gave videos the features of others."""
    for error in on_ranks(error_with_other_videos, vp9_store.root):
        assert "the ranks differ in videos: 12 on rank 0, 11 on rank 1" in error


def decoded(path: Path) -> np.ndarray:
    """Decode the middle 64 x 64 pixels of all frames, normalized, float32 (F, 3, 64, 64)."""
    with av.open(str(path)) as file:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
    top, left = ((side - SIDE) // 2 for side in frames.shape[1:3])
    middle = frames[:, top : top + SIDE, left : left + SIDE].astype(np.float32)
    return ((middle / 255 - IMAGENET_MEAN) / IMAGENET_STD).transpose(0, 3, 1, 2).astype(np.float32)


def slow_windows(frames: np.ndarray, cfg: Config) -> list[np.ndarray]:
    """Return a window every half window minus one frame, and one that ends with the video (specs/evaluation.md 1)."""
    span = cfg.num_frames * cfg.stride
    start, starts = 0, []
    while start <= len(frames) - span:
        starts.append(start)
        start += span // 2 - 1
    if starts[-1] != len(frames) - span:
        starts.append(len(frames) - span)
    return [frames[start : start + span : cfg.stride] for start in starts]


@pytest.fixture(scope="module")
def three_videos(vp9_store) -> Index:
    """Return videos of 40, 50 and 51 frames, with 12, 15 and 16 windows."""
    return vp9_store.select([0, 5, 11])


@pytest.fixture(scope="module")
def views_of_three(three_videos) -> Views:
    return view_videos(three_videos)


def test_each_window_comes_once_and_in_order(three_videos, views_of_three):
    counts = []
    for row, out in enumerate(views_of_three.outputs):
        windows = slow_windows(decoded(three_videos.path(row)), WINDOWS)
        expected = blocks(torch.from_numpy(np.stack(windows)).transpose(1, 2)).numpy()
        assert out.shape == expected.shape
        apart = np.abs(out[:, None] - expected[None]).mean(-1)
        assert apart.diagonal().max() < 0.05  # three gray levels
        assert (apart + 10 * np.eye(len(apart))).min() > 0.08
        counts.append(len(out))
    assert counts == [12, 15, 16]
    assert max(counts) > clips_per_part(WINDOWS)  # more than one sample holds
    assert views_of_three.unreadable == {}


def test_outputs_do_not_depend_on_neighboring_videos(vp9_store, three_videos, views_of_three):
    others = view_videos(vp9_store.select([11, 2, 0]))
    assert np.array_equal(output(others, 0), output(views_of_three, 2))
    assert np.array_equal(output(others, 2), output(views_of_three, 0))


def test_all_views_come_in_chunks_of_limited_size(three_videos):
    cfg = replace(WINDOWS, test=Test(clips=10, crops="ten", short_side=160))
    sizes = []

    def count(clips: torch.Tensor) -> torch.Tensor:
        sizes.append(len(clips))
        return blocks(clips)

    data = Data(root=str(three_videos.root), workers=0, threads=1)
    views = per_video(count, three_videos.select([0]), cfg, ALONE, data, desc="test")
    assert output(views, 0).shape[0] == sum(sizes) == 100
    assert max(sizes) <= CHUNK
    assert len(np.unique(output(views, 0), axis=0)) == 100


def test_a_video_with_one_damaged_part_is_unreadable(three_videos, views_of_three, tmp_path):
    shutil.copytree(three_videos.root, tmp_path / "store")
    store = replace(three_videos, root=tmp_path / "store")
    data = store.path(2).read_bytes()
    store.path(2).write_bytes(data[: 3 * len(data) // 4])  # the first 8 of 16 windows are intact
    views = view_videos(store)
    assert [out is None for out in views.outputs] == [False, False, True]
    assert list(views.unreadable) == [store.info(2).name]
    assert all(np.array_equal(output(views, row), output(views_of_three, row)) for row in (0, 1))
