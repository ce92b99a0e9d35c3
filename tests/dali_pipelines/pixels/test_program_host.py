"""Programs on the host, against the ffmpeg binary and against their operations one by one."""

import io
from pathlib import Path

import av
import numpy as np
import pytest

from configs.errors import UserError
from dali_pipelines.decode.cut import Cutter, Region
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.pixels.blur import GaussianBlur
from dali_pipelines.pixels.color import Recolor
from dali_pipelines.pixels.crop import CropBox, CropResize
from dali_pipelines.pixels.program import consecutive_views
from dali_pipelines.pixels.rotate import Rot90
from dali_pipelines.plan import color_map
from dali_pipelines.store.reader import EncodedClip, read_clip
from dali_pipelines.store.record import ClipError
from tests.helpers.dali import on_host
from tests.helpers.media import make_video, run_ffmpeg

BOXES = [(0, 0, 70, 98), (10, 20, 48, 48), (11, 21, 33, 47)]


def clip_of(path: Path, frames: list[int]) -> EncodedClip:
    return EncodedClip(np.fromfile(path, np.uint8), np.array(frames, np.int32))


def test_host_crop_matches_ffmpeg(tmp_path):
    path = make_video(tmp_path / "a.mp4", frames=12, size=(160, 128), gop=4)
    program = consecutive_views([3], CropBox(64))
    plan = CropBox.arrays([(16, 30, 96, 96)], np.array([False]))
    got = program.host(clip_of(path, [5, 0, 11]), plan, steps=1)
    chain = (
        "crop=96:96:30:16,scale=64:64:in_color_matrix=bt601:flags=bilinear+full_chroma_int+accurate_rnd,format=rgb24"
    )
    output = run_ffmpeg("-i", path, "-vf", chain, "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    theirs = np.frombuffer(output, np.uint8).reshape(12, 64, 64, 3)[[5, 0, 11]]
    inside = slice(2, -2)  # at the border, FFmpeg does not see the chroma outside
    difference = np.abs(got.astype(int) - theirs)[:, inside, inside]
    assert difference.max() <= 1
    assert difference.mean() < 0.01


@pytest.mark.parametrize("codec", ["h264", "mjpeg", "vp9"])
def test_views_of_shared_frames_are_cut_by_their_own_boxes(tmp_path, codec):
    """Frames appear repeatedly, backwards, frozen, and in two views."""
    path = make_video(tmp_path / f"a.{'webm' if codec == 'vp9' else 'mp4'}", codec=codec, frames=12, size=(98, 70))
    frames, lengths, mirror = [3, 5, 3, 9, 7, 5, 3, 3, 3, 3], [4, 3, 3], [False, True, False]
    program = consecutive_views(lengths, CropBox(48, cubic=True))
    got = program.host(clip_of(path, frames), CropBox.arrays(BOXES, np.array(mirror)), steps=1)
    assert got.shape == (10, 48, 48, 3)
    with av.open(io.BytesIO(path.read_bytes())) as container:
        pictures = list(container.decode(video=0))
    shown = zip(frames, np.repeat(np.arange(3), lengths).tolist(), got, strict=True)
    for number, view, picture in shown:
        region = Region(box=BOXES[view], size=48, mirror=mirror[view], cubic=True)
        expected = np.empty((48, 48, 3), np.uint8)
        Cutter(region)(pictures[number], expected)
        np.testing.assert_array_equal(picture, expected)
    assert (got[7] == got[9]).all()
    assert len({got[place].tobytes() for place in (0, 6, 7)}) == 3  # one frame, three parts


def test_operations_run_in_order_with_colors_per_frame(store):
    """A frame appears several times in two views, which differ in color, rotation and blur."""
    clip = read_clip(store, 0, np.array([2, 2, 0, 2, 3]))
    lengths, maps = [3, 2], [color_map.IDENTITY, color_map.shift(20), color_map.gain(0.5), *[color_map.shift(9)] * 2]
    operations = CropBox(48), Rot90(), Recolor(), GaussianBlur()
    program = consecutive_views(lengths, *operations)
    plan = {
        **CropBox.arrays([(0, 16, 96, 96)] * 2, np.array([False, True])),
        "rot90": np.array([0, 1], np.float32),
        **Recolor.arrays(maps),
        "sigma": np.array([0, 1.5], np.float32),
    }
    got, expected = (program.host(clip, plan, steps=steps) for steps in (4, 1))
    for view in program.views:
        for operation in operations[1:]:
            expected[view.places] = on_host(operation, expected[view.places], plan, view=view)
    np.testing.assert_array_equal(got, expected)
    assert (got[0] != got[1]).any()


def test_an_operation_that_returns_a_new_clip_is_refused(store):
    """The new clip was dropped: on a CPU, the operation did nothing."""

    class Invert(Rot90):
        def host(self, clip, plan, view):
            return 255 - clip

    clip, program = read_clip(store, 0, np.array([0, 1])), consecutive_views([2], CropBox(48), Invert())
    plan = CropBox.arrays([(0, 16, 96, 96)], np.array([False]))
    with pytest.raises(UserError, match=r"^host of Invert in tests.* returned ndarray: it must change its clip in pla"):
        program.host(clip, plan, steps=2)


def test_recolor_fused_with_the_cut_equals_recolor_alone(store):
    """A frame appears twice with different colors, one of which uses the frame's mean."""
    clip = read_clip(store, 0, np.array([2, 2, 0]))
    program = consecutive_views([3], CropBox(48), Recolor(), GaussianBlur())
    maps = [color_map.IDENTITY, color_map.contrast(0.3).then(color_map.hue(40)), color_map.shift(9)]
    plan = {
        **CropBox.arrays([(0, 16, 96, 96)], np.array([True])),
        **Recolor.arrays(maps),
        "sigma": np.array([1.5], np.float32),
    }
    got, expected = (program.host(clip, plan, steps=steps) for steps in (3, 1))
    for operation in (Recolor(), GaussianBlur()):
        expected = on_host(operation, expected, plan, view=program.views[0])
    np.testing.assert_array_equal(got, expected)
    assert (got[0] != got[1]).any()


def test_a_box_outside_the_picture_is_a_clip_error(tmp_path):
    path = make_video(tmp_path / "a.mjpeg", codec="mjpeg", frames=2, size=(64, 48))
    plan = CropBox.arrays([(0, 0, 96, 128)], np.array([False]))
    with pytest.raises(ClipError, match="0 of 2 frames"):
        consecutive_views([2], CropBox(32)).host(clip_of(path, [0, 1]), plan, steps=1)


def test_without_steps_the_host_returns_whole_frames(store):
    clip = read_clip(store, 1, np.array([7, 1, 7]))
    whole = consecutive_views([3], CropResize(32)).host(clip, {}, steps=0)
    np.testing.assert_array_equal(whole, decode_rgb(clip))
    assert (whole[0] == whole[2]).all()
