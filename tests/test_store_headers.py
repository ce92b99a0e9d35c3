"""What stored videos promise a GPU's decoder, against FFmpeg's own reading of their headers."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from dali_pipelines.store import encode
from dali_pipelines.store.encode import Encoding, write_frames
from dali_pipelines.store.headers import is_idr, mended, parameter_sets, surfaces
from dali_pipelines.store.remux import copy_video, leave_in_place
from dali_pipelines.store.sps import h264_buffering, hevc_buffering
from tests.media import FFMPEG, make_video

ONE_SURFACE = ["-preset", "veryfast", "-g", "1", "-bf", "0"]  # x264 sets constraint_set3_flag, and no reference frames


def traced(path: Path) -> dict[str, list[int]]:
    """Every field of every header, by FFmpeg's trace_headers: name -> the values in order."""
    command = [FFMPEG, "-v", "trace", "-i", path, "-c", "copy", "-bsf:v", "trace_headers", "-f", "null", "-"]
    log = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stderr
    fields: dict[str, list[int]] = {}
    for name, value in re.findall(r"trace_headers.*?\d+ +(\w+)(?:\[\d+\])* +[01]+ = (-?\d+)", log):
        fields.setdefault(name, []).append(int(value))
    return fields


def picture(t: int) -> np.ndarray:
    return np.roll(np.random.default_rng(0).integers(0, 256, (160, 176, 3), dtype=np.uint8), t, axis=1)


def stored(path: Path, codec: str, gop: int, frames: int = 20) -> Path:
    write_frames(path, (picture(t) for t in range(frames)), fps=25, settings=Encoding(codec, gop))
    return path


def extradata(path: Path) -> bytes:
    with av.open(str(path)) as container:
        return container.streams.video[0].codec_context.extradata or b""


@pytest.mark.parametrize("gop", [1, 2, 8])
def test_h264_leaves_a_gpus_decoder_two_surfaces_and_starts_with_idr(tmp_path, gop):
    path = stored(tmp_path / "a.mp4", "h264", gop)
    fields = traced(path)
    assert set(fields["constraint_set3_flag"]) == {0}
    assert min(fields["max_num_ref_frames"]) >= 1
    assert min(fields["max_dec_frame_buffering"]) >= 1
    slices = [kind for kind in fields["nal_unit_type"] if kind in (1, 5)]
    assert slices == [5 if number % gop == 0 else 1 for number in range(20)]
    ((_, sps),) = parameter_sets("h264", extradata(path))
    found = h264_buffering(sps)
    assert found.profile == fields["profile_idc"][0]
    assert found.max_num_ref_frames == fields["max_num_ref_frames"][0]
    assert found.max_dec_frame_buffering == fields["max_dec_frame_buffering"][0]
    assert surfaces("h264", extradata(path)) >= 2


@pytest.mark.parametrize("gop", [1, 8])
def test_hevc_does_so_too(tmp_path, gop):
    path = stored(tmp_path / "a.mp4", "hevc", gop)
    fields = traced(path)
    assert min(fields["sps_max_dec_pic_buffering_minus1"]) >= 1
    slices = [kind for kind in fields["nal_unit_type"] if kind < 32]
    assert [kind in (19, 20) for kind in slices] == [number % gop == 0 for number in range(20)]
    ((_, sps),) = parameter_sets("hevc", extradata(path))
    assert hevc_buffering(sps).max_dec_frame_buffering == fields["sps_max_dec_pic_buffering_minus1"][-1]


@pytest.mark.parametrize(
    ("codec", "extra"),
    [
        ("h264", ONE_SURFACE),
        ("h264", ["-refs", "3", "-bf", "2"]),
        ("h264", ["-x264-params", "nal-hrd=vbr:vbv-maxrate=500:vbv-bufsize=500", "-aspect", "3:2"]),
        ("h264", ["-profile:v", "baseline"]),
        ("h264", ["-x264-params", "cqm=jvt"]),
        ("h264", ["-pix_fmt", "yuv444p", "-color_range", "pc", "-colorspace", "bt709"]),
        ("h264", ["-x264-params", "interlaced=1"]),
        ("hevc", ["-x265-params", "log-level=none:bframes=4:b-pyramid=1:temporal-layers=3"]),
        ("hevc", ["-pix_fmt", "yuv444p"]),
    ],
)
def test_the_headers_of_others_are_read_as_ffmpeg_reads_them(tmp_path, codec, extra):
    path = make_video(tmp_path / "a.mp4", codec=codec, size=(176, 148), extra=extra)
    fields = traced(path)
    ((_, sps),) = parameter_sets(codec, extradata(path))
    if codec == "hevc":
        highest = fields["sps_max_sub_layers_minus1"][0] if fields["sps_sub_layer_ordering_info_present_flag"][0] else 0
        assert hevc_buffering(sps).max_dec_frame_buffering == fields["sps_max_dec_pic_buffering_minus1"][highest]
        return
    found = h264_buffering(sps)
    assert found.profile == fields["profile_idc"][0]
    assert found.constraint_set3 == fields["constraint_set3_flag"][0]
    assert found.max_num_ref_frames == fields["max_num_ref_frames"][0]
    assert found.max_dec_frame_buffering == fields.get("max_dec_frame_buffering", [None])[0]


def test_a_header_of_one_surface_is_recognized_and_mended_to_the_same_pictures(tmp_path):
    path = make_video(tmp_path / "a.mp4", size=(176, 144), extra=ONE_SURFACE)
    before = extradata(path)
    assert surfaces("h264", before) == 1
    after = mended(before)
    assert surfaces("h264", after) >= 2
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 2
    fixed = tmp_path / "fixed.mp4"
    fixed.write_bytes(path.read_bytes().replace(before, after))
    assert set(traced(fixed)["constraint_set3_flag"]) == {0}
    a, b = (decode_all(file) for file in (path, fixed))
    assert len(a) == 40
    assert (a == b).all()


def decode_all(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray() for frame in container.decode(video=0)])


def test_old_and_new_key_frames_of_the_default_store_are_the_same_pictures(tmp_path, monkeypatch):
    """The mend of the encoder's options changes headers alone: both stores decode to the same pixels."""
    new = stored(tmp_path / "new.mp4", "h264", 1)
    old_encoder = encode._ENCODERS["h264"]
    monkeypatch.setitem(encode._ENCODERS, "h264", replace(old_encoder, key_frames={}))
    monkeypatch.setattr(encode, "_check_hardware_decodes", lambda *args: None)
    old = stored(tmp_path / "old.mp4", "h264", 1)
    assert surfaces("h264", extradata(old)) == 1
    assert abs(old.stat().st_size - new.stat().st_size) < 200
    a, b = decode_all(old).astype(int), decode_all(new)
    assert np.abs(a - b).mean() < 0.5


def test_a_store_that_a_gpu_cannot_decode_is_not_written(tmp_path, monkeypatch):
    encoder = encode._ENCODERS["h264"]
    monkeypatch.setitem(encode._ENCODERS, "h264", replace(encoder, key_frames={}))
    with pytest.raises(RuntimeError, match=r"libx264.*1 surface at a GOP of 1: use another --gop"):
        stored(tmp_path / "a.mp4", "h264", 1)
    assert list(tmp_path.iterdir()) == []
    encoder = encode._ENCODERS["hevc"]
    open_gop = encoder.fixed["x265-params"].replace("open-gop=0", "open-gop=1")
    monkeypatch.setitem(encode._ENCODERS, "hevc", replace(encoder, fixed={**encoder.fixed, "x265-params": open_gop}))
    with pytest.raises(RuntimeError, match="libx265 began frame 8 with a key frame that is no IDR"):
        stored(tmp_path / "a.mp4", "hevc", 8)
    assert list(tmp_path.iterdir()) == []


def test_videos_of_others_with_one_surface_are_mended_as_copies_and_not_left_to_a_gpu_as_originals(tmp_path):
    for suffix in (".mp4", ".ts"):
        source = make_video(tmp_path / f"a{suffix}", size=(176, 144), extra=ONE_SURFACE)
        assert leave_in_place(source).software_only == "a single decode surface"
        assert copy_video(tmp_path / "copy.mp4", source).software_only == ""
    # Of Baseline x264 writes a buffer of 0 pictures in so many words: no flag to clear.
    source = make_video(tmp_path / "b.mp4", size=(176, 144), extra=["-g", "1"])
    assert set(traced(source)["max_dec_frame_buffering"]) == {0}
    assert copy_video(tmp_path / "copy.mp4", source).software_only == "a single decode surface"


def test_a_header_that_ends_early_is_an_error():
    with pytest.raises(ValueError, match="ends early"):
        h264_buffering(bytes.fromhex("67640014ac"))
    assert surfaces("h264", b"") == 2  # nothing is known
    assert surfaces("vp9", b"") == 9


def test_idr_pictures_are_told_from_other_key_frames():
    avcc = bytes.fromhex("0164001effe1000467640014010001 68".replace(" ", ""))
    sei, idr, recovery_point = bytes([6, 0]), bytes([0x65, 0]), bytes([0x41, 0])
    packet = lambda *units: b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)  # noqa: E731
    assert is_idr("h264", avcc, packet(sei, idr))
    assert not is_idr("h264", avcc, packet(sei, recovery_point))
    assert is_idr("vp9", None, b"anything")
