"""Damage that once ended a run or went unnoticed.

tests/faults/test_damaged_storages.py damages videos of every storage.
"""

import io
import resource
import struct

import numpy as np
import pytest
from PIL import Image

from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.in_place import leave_in_place
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import EncodedClip, read_clip
from dali_pipelines.store.record import ClipError
from dali_pipelines.tasks import Task, ctp, rot3d
from tests.helpers.media import make_video

PLAN = ctp.Config(num_frames=4, size=32, short_sides=(32,), patches=1)


def picture(kind: str) -> bytearray:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(file, kind)
    return bytearray(file.getvalue())


def decoded(data: bytes, codec: str) -> np.ndarray:
    one = np.zeros(1, np.int32)
    return decode_rgb(EncodedClip(np.frombuffer(data, np.uint8), one, fragments=[(len(data), 1)], codec=codec))


def test_a_header_without_codec_is_a_clip_error(h264_store):
    """Once an AttributeError, which ended the run."""
    clip = read_clip(h264_store, 0, np.arange(4))
    at = bytes(clip.data[: clip.init_size]).index(b"avc1")
    clip.data[at : at + 4] = np.frombuffer(b"zzzz", np.uint8)
    with pytest.raises(ClipError, match="0 of 4 frames of the clip could be decoded"):
        decode_rgb(clip)


def test_a_damaged_frame_is_not_concealed_from_another_video(h264_store):
    """FFmpeg conceals damage with earlier frames of the decoder, which clips share."""
    clip = read_clip(h264_store, 0, np.arange(4))
    start, size = clip.init_size, clip.fragments[0][0]
    clip.data[start + size // 2 : start + size * 3 // 4] ^= 0x55
    with pytest.raises(ClipError, match="of 4 frames of the clip could be decoded: Invalid data found when processing"):
        decode_rgb(clip)


@pytest.mark.parametrize(("suffix", "encoder"), [(".avi", ["mjpeg"]), (".mkv", ["ffv1", "-level", "1"])])
def test_a_damaged_frame_of_a_file_in_place_looks_the_same_in_every_clip(tmp_path, suffix, encoder):
    """FFmpeg reports nothing, and leaves below the damage what an earlier frame of the file left there."""
    path = make_video(tmp_path / f"a{suffix}", frames=12, extra=["-c:v", *encoder])
    sound = decode_rgb(read_clip(Index.build(tmp_path, {"a": leave_in_place(path)}), 0, np.arange(12)))
    data = bytearray(path.read_bytes())
    middle = len(data) * 2 // 3
    data[middle : middle + 200] = bytes(200)
    path.write_bytes(data)
    index = Index.build(tmp_path, {"a": leave_in_place(path)})
    whole = decode_rgb(read_clip(index, 0, np.arange(12)))
    assert (whole != sound).any()
    for frames in ([11], [3, 7], [0, 1, 10, 11]):
        assert (decode_rgb(read_clip(index, 0, np.array(frames))) == whole[frames]).all()


@pytest.mark.parametrize("task", [Task("ctp", PLAN), Task("rot3d", rot3d.Config(num_frames=4, size=32))])
def test_a_video_replaced_by_a_smaller_one_is_named(tmp_path, task):
    """Frames of a smaller video do not fit the plan: DALI once failed on a sound video, which ended the run."""
    paths = [make_video(tmp_path / f"{number}.avi", codec="mjpeg", size=(128, 96)) for number in range(4)]
    index = Index.build(tmp_path, {path.stem: leave_in_place(path) for path in paths})
    small = make_video(tmp_path / "small.avi", codec="mjpeg", size=(64, 48)).read_bytes()
    paths[2].write_bytes(small.ljust(paths[2].stat().st_size, b"\0"))
    loader = ClipLoader(index, task, batch_size=2, threads=1, most_unreadable=1)
    rows = np.concatenate([batch["index"] for batch in loader])
    assert loader.unreadable == {
        "2": "0 of 4 frames of the clip could be decoded: frames of 64x48, which should be 128x96"
    }
    assert sorted(loader.replaced_by) == ["2"]
    assert 2 not in rows


def test_png_checksums_are_verified():
    data = picture("PNG")
    assert decoded(bytes(data), "png").shape == (1, 64, 64, 3)
    data[-14] ^= 1  # checksum of the last chunk of pixels
    with pytest.raises(ClipError, match="0 of 1 frame of"):
        decoded(bytes(data), "png")


def test_a_header_of_a_huge_picture_allocates_no_memory():
    data = picture("JPEG")
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 16_000, 16_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ClipError, match="0 of 1 frame of"):
        decoded(bytes(data), "mjpeg")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB; the planes would take 375,000
