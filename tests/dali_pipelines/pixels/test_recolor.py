"""Colors changed in NumPy against what DALI's graph makes of the same frames, and beside the decoder."""

import numpy as np
import pytest

from dali_pipelines.graph.color import color_map
from dali_pipelines.plan import color_map as maps
from dali_pipelines.plan.color_map import ColorMap, color_arrays, color_maps, series
from dali_pipelines.plan.cuts import Cut
from dali_pipelines.store.encode import Encoding, write_frames
from dali_pipelines.store.files import video_path
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import decode_clip, read_clip
from dali_pipelines.store.recolor import recolor
from tests.helpers.dali import run_graph

SHIFTED = ColorMap(np.eye(3), 0 * np.eye(3), np.array([5.0, 0, -5]))
MAPS = {
    "gain": maps.gain(1.3),
    "shift": maps.shift(-40.5),
    "hue": maps.hue(33),
    "gray": maps.saturation(0.0),
    "channels": SHIFTED,
    "contrast": maps.contrast(0.4),
    "all": series([maps.gain(0.8), maps.contrast(1.4), maps.saturation(1.5), maps.hue(-60), SHIFTED]),
}


def recolored(picture: np.ndarray, color: ColorMap | None) -> np.ndarray:
    out = np.empty_like(picture)
    recolor(picture.transpose(2, 0, 1), color, out)
    return out


@pytest.mark.parametrize("name", MAPS)
def test_a_change_of_color_is_dalis(name):
    picture = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    sample = {"clip": picture[None], **color_arrays([MAPS[name]])}
    (theirs,) = run_graph(lambda n: color_map(n["clip"], n), [sample], {"clip": "FHWC"})
    (color,) = color_maps(sample)
    ours = recolored(picture, color)
    assert (ours.dtype, ours.shape) == (np.uint8, picture.shape)
    difference = np.abs(ours.astype(int) - theirs[0])
    assert difference.max() <= 1  # halves and what is next to them, in another order of sums
    assert difference.mean() < 0.01
    assert np.abs(ours.astype(int) - picture).mean() > 1


def test_rounding_is_to_the_nearest_level_and_nothing_wraps_around():
    levels = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    for shift in (-0.4, 0.4, 0.6, 300, -300):
        expected = np.clip(np.rint(np.arange(256) + shift), 0, 255)
        assert (recolored(levels, maps.shift(shift))[0] == expected[:, None]).all()


def test_nothing_to_change_is_no_map():
    arrays = color_arrays([maps.IDENTITY, maps.gain(1.0), maps.gain(1.1)])
    assert [color is None for color in color_maps(arrays)] == [True, True, False]


def test_the_decoder_gives_each_place_its_own_colors_though_they_show_one_frame(tmp_path):
    path = video_path(tmp_path, "v")
    path.parent.mkdir(parents=True)
    shown = np.random.default_rng(1).integers(60, 190, (4, 6, 8, 3), dtype=np.uint8).repeat(16, 1).repeat(16, 2)
    index = Index.build(tmp_path, {"v": write_frames(path, shown, fps=25, settings=Encoding())})
    clip = read_clip(index, 0, np.array([2, 2, 0, 2, 3]))
    box = (0, 16, 96, 96)
    plain = decode_clip(clip, [Cut(0, 5, box, 48, False, False)])
    colors = [None, maps.shift(20), maps.gain(0.5), maps.shift(20), None]
    halves = [
        Cut(0, 3, box, 48, False, False, colors=colors[:3]),
        Cut(3, 5, box, 48, False, False, colors=colors[3:]),
    ]
    got = decode_clip(clip, halves)
    for place, color in enumerate(colors):
        assert (got[place] == recolored(plain[place], color)).all()
    assert (got[1] == plain[1] + 20).all()
