"""Headers of stored videos, against the FFmpeg binary's own parser, and what NVDEC derives from them."""

import re
from dataclasses import asdict, replace

import numpy as np
import pytest

from dali_pipelines.store.encode import Encoding, write_frames
from dali_pipelines.store.encoders import ENCODERS
from dali_pipelines.store.fmp4 import decoder_config, read_layout
from dali_pipelines.store.headers import H264Sps, read_h264_sps
from dali_pipelines.store.nvdec import read_sps, why_unfit
from tests.helpers.bits import bits
from tests.helpers.h264 import drop_usability
from tests.helpers.media import make_video

FRAGMENTED = ["-movflags", "frag_keyframe+empty_moov+default_base_moof"]


def store(path, codec, gop, frames=20):
    x = np.arange(160)
    pictures = (np.stack([x + 9 * t + 0 * x[:, None]] * 3, -1).astype(np.uint8) for t in range(frames))
    return write_frames(path, pictures, fps=25, settings=Encoding(codec=codec, gop=gop))


def parameter_set(path, codec):
    """Return the only parameter set in a file's header."""
    (sps,) = read_sps(codec, decoder_config(memoryview(path.read_bytes()), {"h264": b"avcC", "hevc": b"hvcC"}[codec]))
    return sps


def assert_ffmpeg_agrees(path, codec):
    fields = bits(path)
    for name, value in asdict(parameter_set(path, codec)).items():
        assert set(fields.get(name, [0])) == {value}, name


@pytest.mark.parametrize("gop", [1, 2, 8])
def test_h264_declares_two_surfaces_and_idr_key_frames(tmp_path, gop):
    store(tmp_path / "a.mp4", "h264", gop)
    fields = bits(tmp_path / "a.mp4")
    assert min(fields["max_num_ref_frames"]) >= 1
    assert set(fields["constraint_set3_flag"]) == {0}
    assert min(fields["max_dec_frame_buffering"]) >= 1
    slices = [kind for kind in fields["nal_unit_type"] if kind in (1, 5)]  # 5 is IDR
    assert slices == [5 if number % gop == 0 else 1 for number in range(20)]
    assert_ffmpeg_agrees(tmp_path / "a.mp4", "h264")


@pytest.mark.parametrize("gop", [1, 8])
def test_hevc_declares_two_surfaces_and_idr_key_frames(tmp_path, gop):
    store(tmp_path / "a.mp4", "hevc", gop)
    fields = bits(tmp_path / "a.mp4")
    assert min(fields["sps_max_dec_pic_buffering_minus1"]) >= 1
    slices = [kind in (19, 20) for kind in fields["nal_unit_type"] if kind < 32]
    assert slices == [number % gop == 0 for number in range(20)]
    assert_ffmpeg_agrees(tmp_path / "a.mp4", "hevc")


@pytest.mark.parametrize(
    ("codec", "extra"),
    [
        ("h264", ["-preset", "medium", "-bf", "3"]),
        ("h264", ["-profile:v", "baseline"]),
        ("h264", ["-x264-params", "nal-hrd=vbr:vbv-maxrate=500:vbv-bufsize=500:fake-interlaced=1"]),
        ("h264", ["-x264-params", "keyint=1:sar=4/3:overscan=show:range=pc:colorprim=bt709:chromaloc=1"]),
        ("h264", ["-pix_fmt", "yuv444p", "-preset", "medium"]),
        ("h264", ["-vf", "scale=100:72", "-x264-params", "interlaced=1"]),
        ("hevc", ["-vf", "scale=98:70", "-bf", "3"]),
        ("hevc", ["-pix_fmt", "yuv444p10le"]),
        ("hevc", ["-x265-params", "temporal-layers=2:log-level=none", "-preset", "medium"]),
    ],
)
def test_headers_with_other_settings_are_read_as_by_ffmpeg(tmp_path, codec, extra):
    path = make_video(tmp_path / "a.mp4", codec=codec, frames=12, size=(160, 160), extra=extra)
    if codec == "h264":
        assert_ffmpeg_agrees(path, codec)
        return
    sps, fields = parameter_set(path, codec), bits(path)
    for name, value in asdict(sps).items():  # [-1] is the highest sub-layer
        assert fields[name][-1] == value, name


def test_scaling_lists_are_skipped_as_by_ffmpeg(tmp_path):
    """x264's SPS has no scaling lists, so add three: one that ends at once, one of 16 numbers, one of 64."""
    data = make_video(tmp_path / "a.h264", frames=2, extra=["-preset", "medium"]).read_bytes()
    start = data.index(b"\0\0\1\x67") + 3
    end = data.index(b"\0\0\0\1", start)
    bits_of = "".join(f"{byte:08b}" for byte in data[start:end].replace(b"\0\0\3", b"\0\0"))
    assert bits_of[32:40] == "10101100"  # id 0, 4:2:0, two depths of 8, no bypass, no list
    lists = "1" + "1" + "000010001" + "0" + "1" + "1" * 16 + "000" + "1" + "00100" + "1" * 63 + "0"
    changed = bits_of[:39] + lists + bits_of[40:]
    changed += "0" * (-len(changed) % 8)
    new = bytes(int(changed[at : at + 8], 2) for at in range(0, len(changed), 8)).rstrip(b"\0")
    new = re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", new)
    (tmp_path / "b.h264").write_bytes(data[:start] + new + data[end:])
    fields = bits(tmp_path / "b.h264")
    assert set(fields["seq_scaling_matrix_present_flag"]) == {1}
    sps = read_h264_sps(new)
    assert sps.max_num_ref_frames > 1
    for name, value in asdict(sps).items():
        assert set(fields[name]) == {value}, name


def test_undeclared_surfaces_follow_from_the_level(tmp_path):
    """Level 1.1 holds 900 macroblocks (H.264, Table A-1), or 9 pictures of 160x160."""
    made = make_video(tmp_path / "a.mp4", frames=12, size=(160, 160), extra=["-bf", "2", "-level", "1.1"])
    assert parameter_set(made, "h264").surfaces == parameter_set(made, "h264").max_dec_frame_buffering + 1
    assert parameter_set(drop_usability(made), "h264").surfaces == 9 + 1


def test_a_truncated_parameter_set_is_an_error():
    with pytest.raises(ValueError, match="ends after 32 bits"):
        read_h264_sps(bytes([0x67, 100, 0x10, 11, 0xAC]))


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9"])
def test_stored_videos_are_fit_for_gpus(tmp_path, codec):
    for gop in (1, 2, 8):
        record = store(tmp_path / "a.mp4", codec, gop)
        assert why_unfit(tmp_path / "a.mp4", codec, record.init_size, record.fragments) == ""


def test_default_x264_headers_of_key_frames_alone_are_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(ENCODERS, "h264", replace(ENCODERS["h264"], of_key_frames={}))
    with pytest.raises(RuntimeError, match=r"libx264 .* asks for 1 surface, 2 are needed .* use --codec vp9"):
        store(tmp_path / "a.mp4", "h264", 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_non_idr_key_frames_are_refused(tmp_path, codec):
    flag, quiet = {"h264": ("-x264-params", ""), "hevc": ("-x265-params", ":log-level=none")}[codec]
    for open_gop in (0, 1):
        options = f"keyint=10:min-keyint=10:scenecut=0:bframes=2:b-adapt=0:open-gop={open_gop}{quiet}"
        path = make_video(tmp_path / "a.mp4", codec=codec, extra=[flag, options, *FRAGMENTED])
        init_size, fragments = read_layout(path)
        assert len(fragments) > 3
        reason = why_unfit(path, codec, init_size, fragments)
        assert reason == (f"the key frame of the fragment at byte {fragments[1].offset} is no IDR picture" * open_gop)


def test_any_single_field_lowers_the_declared_surfaces():
    good = H264Sps(100, 0, 11, 1, 9, 9, 1, 1)
    assert good.fewest_surfaces == 2
    assert replace(good, max_num_ref_frames=0).fewest_surfaces == 1
    assert replace(good, constraint_set3_flag=1).fewest_surfaces == 1
    assert replace(good, constraint_set3_flag=1, profile_idc=77).fewest_surfaces == 2  # there the flag means level 1b
    assert replace(good, constraint_set3_flag=1, max_dec_frame_buffering=0).surfaces == 1
    assert replace(good, max_dec_frame_buffering=0).surfaces == 10
