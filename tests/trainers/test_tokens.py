"""Tokens of videos against feature maps computed and averaged one clip at a time."""

from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from configs.errors import UserError
from configs.schema import Data
from dali_pipelines import limits
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task
from dali_pipelines.tasks.evaluation import parts
from dali_pipelines.tasks.recognition import Config, Test
from nets.backbones import Backbone, create
from tests.helpers.ranks import ALONE
from trainers.evaluation.features import Features, extract
from trainers.evaluation.tokens import extract_tokens

VIDEOS = [0, 5, 11]  # 40, 50 and 51 frames; 12, 15 and 16 windows


class Blocks(Backbone):
    """Backbone of patch means over 2 x 8 x 8 pixels, with one channel per color."""

    out_channels, stride = 3, (2, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool3d(self.stride)


def config(clips: int | Literal["windows"], crops: Literal["center", "three", "ten"] = "center") -> Config:
    test = Test(clips=clips, crops=crops, short_side=80)
    return Config(num_frames=8, stride=2, size=64, short_sides=(64,), test=test)


def tokens(backbone: Backbone, store: Index, cfg: Config) -> Features:
    return extract_tokens(backbone, store.select(VIDEOS), cfg, ALONE, Data(root=str(store.root), workers=0, threads=1))


def maps_of(backbone: Backbone, store: Index, cfg: Config, video: int) -> Tensor:
    """Return the maps of a video's clips, concatenated in time and averaged over crops: (C, times, H', W')."""
    index = parts(store.select([VIDEOS[video]]), cfg)
    loader = ClipLoader(index, Task("evaluation", cfg), batch_size=1, shuffle=False)
    clips = torch.cat([batch["clips"][0][:, : int(batch["clips_known"][0])] for batch in loader], dim=1)
    with torch.no_grad():
        made = torch.stack([torch.cat([backbone(clip[None]) for clip in crop], 2)[0] for crop in clips])
    loader.close()
    return made.mean(0)


def averaged(map_CTHW: Tensor) -> np.ndarray:
    """Average a map over 4 x 4 x 4 equal blocks, by slicing: (64, C)."""
    sizes = [n // 4 for n in map_CTHW.shape[1:]]
    cells = [
        map_CTHW[:, t * sizes[0] :][:, : sizes[0], y * sizes[1] :][:, :, : sizes[1], x * sizes[2] :][..., : sizes[2]]
        for t, y, x in np.ndindex(4, 4, 4)
    ]
    return torch.stack([cell.mean((1, 2, 3)) for cell in cells]).numpy()


@pytest.mark.parametrize(("clips", "crops"), [(1, "center"), (2, "three"), (8, "three"), (4, "ten")])
def test_tokens_are_block_means_of_feature_maps_in_time(vp9_store, clips, crops):
    """8 clips with three crops take two parts of a video."""
    cfg = config(clips, crops)
    found = tokens(Blocks().eval(), vp9_store, cfg)
    assert found.values.shape == (3, 64, 3)
    assert found.values.dtype == np.float16
    for video in range(3):
        expected = averaged(maps_of(Blocks(), vp9_store, cfg, video))
        np.testing.assert_allclose(found.values[video], expected, atol=4e-3)
    assert np.ptp(found.values[0].reshape(4, 4, 4, 3), axis=0).max() > 0.05  # otherwise time could be any axis


def test_the_number_of_tokens_does_not_depend_on_windows(vp9_store):
    cfg = config("windows")
    found = tokens(Blocks().eval(), vp9_store, cfg)
    assert found.values.shape == (3, 64, 3)
    map_CTHW = maps_of(Blocks(), vp9_store, cfg, 0)
    clip_means = map_CTHW.unflatten(1, (-1, 4)).mean(2)
    bins = torch.nn.functional.adaptive_avg_pool3d(clip_means, (4, 4, 4))
    np.testing.assert_allclose(found.values[0], bins.flatten(1).T.numpy(), atol=4e-3)


def test_small_maps_are_kept_and_average_to_the_pooled_feature(vp9_store):
    torch.manual_seed(0)
    backbone = create("r3d_tiny").eval()
    cfg = config(2)
    found = tokens(backbone, vp9_store, cfg)
    assert 1 < found.values.shape[1] < 64
    index = vp9_store.select(VIDEOS)
    (pooled,) = extract([backbone], index, cfg, ALONE, Data(root=str(index.root), workers=0, threads=1))
    np.testing.assert_allclose(found.values.astype(np.float32).mean(1), pooled.values, rtol=2e-3, atol=2e-3)


def test_tokens_too_large_for_memory_are_refused_before_decoding(vp9_store, monkeypatch):
    needed = 3 * 4 * 16 * 3 * 2  # videos, clips, positions, channels, bytes
    monkeypatch.setattr(limits, "memory", lambda: 4 * needed)
    assert tokens(Blocks().eval(), vp9_store, config(4)).readable.all()
    monkeypatch.setattr(limits, "memory", lambda: 4 * needed - 4)
    with pytest.raises(UserError, match=r"the tokens of 3 videos, 12 views of 1 x 4 x 4 positions, .*--clips"):
        tokens(Blocks().eval(), vp9_store, config(4))


def test_an_unreadable_video_has_no_tokens(own_store):
    own_store.path(VIDEOS[1]).unlink()
    found = tokens(Blocks().eval(), own_store, config(1))
    assert found.readable.tolist() == [True, False, True]
    assert [*found.unreadable] == [found.names[1]]
    assert np.isnan(found.values[1]).all()
