"""Rotated, mirrored, cropped videos, and those of odd pixels or changing sizes, are stored as FFmpeg shows them."""

import itertools
import struct

import numpy as np
import pytest

from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.store.encode import Encoding, write_video
from dali_pipelines.store.in_place import leave_in_place
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import read_clip
from dali_pipelines.store.remux import copy_video
from dali_pipelines.store.source import VideoError
from tests.helpers.media import difference, make_video, read_video, run_ffmpeg

FINE = Encoding(codec="h264", gop=2, crf=2)


@pytest.mark.parametrize(("rotation", "mirror"), list(itertools.product((0, 90, 180, 270), (False, True))))
def test_all_eight_orientations_are_stored_upright(plain, tmp_path, rotation, mirror):
    """The display matrix turns and mirrors the picture."""
    tagged = tmp_path / "tagged.mp4"
    run_ffmpeg("-display_rotation", rotation, *["-display_hflip"] * mirror, "-i", plain, "-c", "copy", tagged)
    record = write_video(tmp_path / "out.mp4", tagged, FINE)
    assert (record.width, record.height) == ((64, 96) if rotation % 180 else (96, 64))
    assert difference(tmp_path / "out.mp4", of=tagged) < 3
    if rotation == 180 or (mirror and not rotation):
        assert difference(tmp_path / "out.mp4", of=plain) > 8


@pytest.mark.parametrize("store", [lambda path: copy_video(path.with_name("out.mp4"), path), leave_in_place])
def test_rotated_videos_cannot_be_copied_or_left_in_place(plain, tmp_path, store):
    """Feature extraction has no --codec option. Mirroring counts like turning."""
    for flag in (["-display_rotation", "90"], ["-display_hflip"]):
        run_ffmpeg(*flag, "-i", plain, "-c", "copy", tmp_path / "tagged.mp4")
        with pytest.raises(VideoError, match=r"players turn or mirror it, .*; prepare it with --codec h264$"):
            store(tmp_path / "tagged.mp4")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_container_crops_apply_before_rotation(plain, tmp_path, suffix):
    """MP4 crops by its clap box, here 64x48 pixels, 8 right of and 4 above the center; Matroska by PixelCrop."""
    tagged, cropped = tmp_path / f"tagged{suffix}", tmp_path / "cropped.mp4"
    run_ffmpeg("-display_rotation", "90", "-i", plain, "-c", "copy", cropped)
    data = bytearray(cropped.read_bytes())
    moov, boxes = data.index(b"moov"), (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1")
    starts = [data.index(box, moov) - 4 for box in boxes]
    sizes = [int.from_bytes(data[start : start + 4]) for start in starts]
    for start, size in zip(starts, sizes, strict=True):
        data[start : start + 4] = (size + 40).to_bytes(4)
    end = starts[-1] + sizes[-1]
    data[end:end] = struct.pack(">I4s8i", 40, b"clap", 64, 1, 48, 1, 8, 1, -4, 1)
    cropped.write_bytes(data)
    sound = ["-f", "lavfi", "-i", "sine=d=0.2"]
    run_ffmpeg(*sound, "-i", cropped, "-map", "0", "-map", "1", "-c:v", "copy", tagged)
    shown = read_video(tagged)
    assert shown.shape == (4, 64, 48, 3)
    record = write_video(tmp_path / "out.mp4", tagged, FINE)
    assert (record.width, record.height) == (48, 64)
    assert difference(tmp_path / "out.mp4", of=tagged) < 3
    with pytest.raises(VideoError, match=r"players crop it, .*; prepare it with --codec h264$"):
        leave_in_place(tagged)


@pytest.mark.parametrize("change", ["rotate=90", "flip=horizontal", "rotate=180:flip=horizontal"])
def test_an_orientation_in_key_frames_applies_to_all_frames(plain, tmp_path, change):
    """An H.264 SEI message tells it, and the binary applies it to all frames."""
    tagged = tmp_path / "tagged.mkv"
    run_ffmpeg("-i", plain, "-c", "copy", "-bsf:v", f"h264_metadata=display_orientation=insert:{change}", tagged)
    write_video(tmp_path / "out.mp4", tagged, FINE)
    assert difference(tmp_path / "out.mp4", of=tagged) < 3


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_left_and_top_crops_of_the_stream_are_applied(tmp_path, codec):
    """FFmpeg's decoders keep it for memory alignment; the binary and GPUs do not."""
    crop = f"{codec}_metadata=crop_left=6:crop_top=10:crop_right=2"
    extra = ["-crf", "4", "-vf", "gblur=sigma=3", "-bsf:v", crop]
    source = make_video(tmp_path / "a.mp4", codec=codec, frames=6, size=(192, 160), extra=extra)
    shown = read_video(source)
    assert shown.shape == (6, 150, 184, 3)
    write_video(tmp_path / "out.mp4", source, FINE)
    assert difference(tmp_path / "out.mp4", "scale=176:144:flags=area", of=source) < 3
    for record in (leave_in_place(source), copy_video(tmp_path / "videos" / "a.mp4", source)):
        index = Index.build(tmp_path, {"a": record})
        assert index.sizes_WH.tolist() == [[184, 150]]
        assert np.abs(decode_rgb(read_clip(index, 0, np.arange(6))).astype(int) - shown).mean() < 3


@pytest.mark.parametrize("aspect", ["16/11", "64/45", "8/9"])
@pytest.mark.parametrize("rotation", [0, 90])
def test_non_square_pixels_become_square(plain, tmp_path, aspect, rotation):
    """The reference is FFmpeg's scale=iw*sar:ih."""
    wide, tagged = tmp_path / "wide.mp4", tmp_path / "tagged.mp4"
    run_ffmpeg("-i", plain, "-vf", f"setsar={aspect}", "-c:v", "libx264", "-crf", "4", wide)
    run_ffmpeg("-display_rotation", rotation, "-i", wide, "-c", "copy", tagged)
    record = write_video(tmp_path / "out.mp4", tagged, FINE)
    assert "with pixels that are not square: stored with square ones" in record.notes
    square = "scale=iw*sar:ih" if rotation == 0 else "scale=iw:ih/sar"  # the binary turns first
    shown = read_video(tagged, square)
    assert abs(record.width - shown.shape[2]) < 16 > abs(record.height - shown.shape[1])
    assert difference(tmp_path / "out.mp4", square, f"scale={record.width}:{record.height}:flags=area", of=tagged) < 3


def test_only_non_square_pixels_left_in_place_are_noted(plain, tmp_path):
    """An aspect that can only be a mistake has no note either."""
    assert write_video(tmp_path / "out.mp4", plain, FINE).notes == ()
    for aspect, notes in (("16/11", 1), ("1/99", 0)):
        run_ffmpeg("-i", plain, "-vf", f"setsar={aspect}", "-c:v", "libx264", tmp_path / "odd.mp4")
        assert sum("not square" in note for note in leave_in_place(tmp_path / "odd.mp4").notes) == notes


def test_a_size_change_is_noted_and_the_first_size_used(tmp_path):
    """The transport stream has three sizes."""
    sizes = ((160, 128), (96, 160), (320, 240))
    parts = [make_video(tmp_path / f"{w}.ts", frames=5, size=(w, h), extra=["-bf", "0"]) for w, h in sizes]
    source = tmp_path / "all.ts"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    record = write_video(tmp_path / "out.mp4", source, FINE)
    assert (record.num_frames, record.width, record.height) == (15, 160, 128)
    assert read_video(tmp_path / "out.mp4").shape == (15, 128, 160, 3)
    assert record.notes == ("with a change of size midway: all pictures get the size of the first",)


@pytest.mark.parametrize(
    ("size", "settings", "noted"),
    [((160, 120), {}, True), ((160, 120), {"size": (160, 112)}, False), ((340, 256), {"short_side": 144}, False)],
)
def test_large_changes_of_shape_by_rounding_are_noted(tmp_path, size, settings, noted):
    """160x120 becomes 160x112, which is noted unless that size was requested."""
    record = write_video(
        tmp_path / "out.mp4", make_video(tmp_path / "a.mp4", frames=3, size=size), Encoding(**settings)
    )
    note = "made wider or narrower by more than 2%: sides are multiples of 16"
    assert record.notes == ((note,) if noted else ())
