"""Encoding into the store: fragments, sizes, quality, colors and orientation."""

import itertools
from pathlib import Path

import av
import numpy as np
import pytest

from configs.errors import UserError
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.prepare.settings import GOP
from dali_pipelines.store.encode import Encoding, write_frames, write_video
from dali_pipelines.store.files import video_path
from dali_pipelines.store.fmp4 import read_layout
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import read_clip
from dali_pipelines.store.source import VideoError
from tests.helpers.bits import bits
from tests.helpers.media import SHARED_MEDIA, make_video, read_video

pytestmark = pytest.mark.slow

BEST = {"h264": 2, "mjpeg": 2, "vp9": 4}  # crf with almost no error; raw video has no crf


def moving_frames(count, width=64, height=48):
    x, y = np.arange(width), np.arange(height)[:, None]
    for t in range(count):
        yield np.stack([x + 9 * t + 0 * y, y + 5 * t + 0 * x, x + y], -1).astype(np.uint8)


def natural_frames(count, width=192, height=160):
    """Return a drifting texture with weak colors and the spectrum of a small video (1/f**1.5)."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf
    noise = np.random.default_rng(0).standard_normal((3, height, width))
    planes = np.fft.irfft2(np.fft.rfft2(noise) / frequency**1.5, (height, width)).transpose(1, 2, 0)
    planes /= planes.std(axis=(0, 1))
    picture = np.clip(128 + 60 * planes[..., :1] + 10 * planes, 0, 255).astype(np.uint8)
    return np.stack([np.roll(picture, (t, 3 * t), axis=(0, 1)) for t in range(count)])


def key_frames(path):
    with av.open(str(path)) as container:
        return [i for i, packet in enumerate(container.demux(video=0)) if packet.size and packet.is_keyframe]


@pytest.mark.parametrize(
    ("codec", "gop"), [*itertools.product(("vp9", "h264", "hevc"), (1, 5, 16)), ("mjpeg", 1), ("rawvideo", 1)]
)
def test_each_gop_is_one_fragment_and_the_fragments_fill_the_file(tmp_path, codec, gop):
    path = tmp_path / "a" / "b.mp4"
    frames = moving_frames(33, width=160, height=160)
    record = write_frames(path, frames, fps=25, settings=Encoding(codec=codec, gop=gop))
    assert (record.num_frames, record.width, record.height, record.codec, record.pix_fmt, record.fps) == (
        *(33, 160, 160, codec, "yuvj420p" if codec == "mjpeg" else "yuv420p", 25.0),
    )
    assert key_frames(path) == list(range(0, 33, gop))
    assert [f.frames for f in record.fragments] == [min(gop, 33 - start) for start in range(0, 33, gop)]
    layout = read_layout(path)
    assert (layout.init_size, layout.fragments) == (record.init_size, tuple(record.fragments))
    at = record.init_size
    for fragment in record.fragments:
        assert fragment.offset == at
        assert path.read_bytes()[at + 4 : at + 8] == b"moof"
        at += fragment.size


@pytest.mark.parametrize("gop", [1, 4])
def test_h264_has_no_arithmetic_coding_or_deblocking(tmp_path, gop):
    write_frames(tmp_path / "a.mp4", moving_frames(8), fps=25, settings=Encoding(codec="h264", gop=gop))
    fields = bits(tmp_path / "a.mp4")
    assert fields["entropy_coding_mode_flag"] == [0]  # 1 is CABAC
    assert fields["disable_deblocking_filter_idc"] == [1] * 8  # in every slice
    default = bits(make_video(tmp_path / "usual.mp4", frames=8, extra=["-preset", "medium"]))
    assert default["entropy_coding_mode_flag"] == [1]
    assert set(default["disable_deblocking_filter_idc"]) == {0}


@pytest.mark.parametrize(("codec", "min_psnr"), [("h264", 33.5), ("mjpeg", 33.5), ("vp9", 37), ("hevc", 37)])
def test_luma_psnr_at_the_default_quality(tmp_path, codec, min_psnr):
    """The worst frames measure 34.2, 34.4, 37.6 and 37.9 dB."""
    frames = natural_frames(24)
    write_frames(tmp_path / "a.mp4", frames, fps=25, settings=Encoding(codec=codec, gop=GOP[codec]))
    luma = read_video(tmp_path / "a.mp4", "scale=out_range=pc", "format=gray")[..., 0]
    error = ((luma - frames @ [0.299, 0.587, 0.114]) ** 2).mean(axis=(1, 2))
    assert (10 * np.log10(255**2 / error)).min() > min_psnr


def test_key_frames_do_not_follow_the_source(tmp_path):
    source = make_video(tmp_path / "source.mp4", frames=24, gop=5)
    write_video(tmp_path / "out.mp4", source, Encoding(codec="h264", gop=8))
    assert key_frames(tmp_path / "out.mp4") == [0, 8, 16]


def test_frames_are_stored_in_order(tmp_path):
    frames = list(moving_frames(20))
    write_frames(tmp_path / "a.mp4", frames, fps=10, settings=Encoding(codec="vp9", gop=4, crf=4))
    decoded = read_video(tmp_path / "a.mp4")
    assert decoded.shape == (20, 48, 64, 3)
    nearest = [np.abs(np.stack(frames).astype(int) - image).mean(axis=(1, 2, 3)).argmin() for image in decoded]
    assert nearest == list(range(20))


@pytest.mark.parametrize(
    ("settings", "source", "stored"),
    [
        (Encoding(short_side=128), (340, 256), (176, 128)),
        (Encoding(short_side=128), (256, 340), (128, 176)),
        (Encoding(short_side=128), (1920, 1080), (224, 128)),
        (Encoding(short_side=130), (320, 240), (176, 128)),  # then 130 is rounded to 128, 173.3 to 176
        (Encoding(short_side=256), (100, 70), (96, 64)),  # never enlarged
        (Encoding(), (340, 256), (336, 256)),
        (Encoding(size=(171, 128)), (320, 240), (176, 128)),
        (Encoding(size=(320, 240)), (32, 32), (320, 240)),  # an exact size is exact
        (Encoding(codec="hevc", short_side=160), (320, 240), (208, 160)),
    ],
)
def test_the_stored_size_is_a_multiple_of_16(settings, source, stored):
    assert settings.target(*source) == stored


def test_hevc_refuses_sizes_too_small_for_gpus():
    with pytest.raises(UserError, match="128 pixels is too small for hevc: 160"):
        Encoding(codec="hevc", short_side=128)
    with pytest.raises(VideoError, match=r"200x128 is too small for hevc.*--codec h264"):
        Encoding(codec="hevc", short_side=160).target(200, 128)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"codec": "av1"}, "'av1' is not one of vp9, hevc, h264, mjpeg, rawvideo"),
        ({"gop": 0}, "gop 0 must be at least 1"),
        ({"codec": "vp9", "crf": 64}, "crf 64 is outside 0 to 63"),
        ({"codec": "mjpeg", "crf": 1}, "crf 1 is outside 2 to 31, the scale of mjpeg"),
        ({"codec": "mjpeg", "gop": 8}, "gop 8: every frame of mjpeg is a key frame"),
        ({"codec": "rawvideo", "gop": 8}, "gop 8: every frame of rawvideo is a key frame"),
        ({"codec": "rawvideo", "crf": 5}, "crf 5 is outside 0 to 0, the scale of rawvideo"),
        ({"codec": "h264", "crf": 52}, "crf 52 is outside 0 to 51"),
        ({"short_side": 4}, "4 pixels is too small"),
        ({"size": (128, 0)}, "0 pixels is too small"),
        ({"size": (128, 32768)}, "32768 pixels is too large: 16384"),
        ({"short_side": 128, "size": (128, 128)}, "not both"),
    ],
)
def test_impossible_settings_are_refused(wrong, message):
    with pytest.raises(UserError, match=message):
        Encoding(**wrong)


def by_ffmpeg(path, size, count):
    return read_video(path, f"scale={size[0]}:{size[1]}:flags=area")[:count].astype(int)


def blocks(video):
    """Average 16 x 16 pixels: colors without the detail that chroma subsampling loses."""
    t, h, w, c = video.shape
    return video.reshape(t, h // 16, 16, w // 16, 16, c).mean(axis=(2, 4))


@pytest.mark.parametrize(
    ("codec", "stored_tags"),
    [("h264", (5, 1)), ("mjpeg", (5, 2)), ("rawvideo", (2, 0))],  # 5: BT.470BG = BT.601; limited, full, unspecified
)
@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
@pytest.mark.parametrize("full_range", [True, False])
def test_colors_survive_any_matrix_and_range_of_the_source(tmp_path, matrix, full_range, codec, stored_tags):
    pixel_range = "pc" if full_range else "tv"
    filters = f"gblur=sigma=6,scale=out_color_matrix={matrix}:out_range={pixel_range}"
    tags = ["-colorspace", matrix, "-color_range", pixel_range, "-crf", "4"]
    source = make_video(tmp_path / "source.mp4", frames=4, size=(128, 96), extra=["-vf", filters, *tags])
    write_video(tmp_path / "out.mp4", source, Encoding(codec, crf=BEST.get(codec)))
    expected = by_ffmpeg(source, (128, 96), 4)
    assert np.abs(read_video(tmp_path / "out.mp4") - expected).mean() < 2  # the wrong matrix is off by 8
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (int(context.colorspace), int(context.color_range)) == stored_tags


@pytest.mark.parametrize("codec", ["h264", "mjpeg", "rawvideo", "vp9"])
def test_gray_and_color_ramps_are_read_back_by_ffmpeg_and_our_reader(tmp_path, codec):
    ramp = np.linspace(0, 255, 192).astype(np.uint8)
    gray, red, blue = np.zeros((3, 64, 192, 3), np.uint8)
    gray[:], red[..., 0], blue[..., 2] = ramp[:, None], ramp, ramp
    frames = [np.concatenate(rows) for rows in ((gray, red, blue), (blue, gray, red))]
    path = video_path(tmp_path, "a")
    path.parent.mkdir()
    index = Index.build(
        tmp_path, {"a": write_frames(path, frames, fps=25, settings=Encoding(codec, crf=BEST.get(codec)))}
    )
    shown = read_video(path, "scale=flags=bilinear+full_chroma_int+accurate_rnd").astype(int)
    assert np.abs(shown - frames).mean() < 1.5  # confusing 16 to 235 with 0 to 255 is off by 9
    assert np.abs(shown - decode_rgb(read_clip(index, 0, np.arange(2)))).max() <= 1


@pytest.mark.skipif(not SHARED_MEDIA.is_dir(), reason="needs the shared media")
@pytest.mark.parametrize(
    "name", ["bt709_full_range.mp4", "rotated_90.mov", "h264_10bit.mp4", "ucf101_xvid_320x240.avi"]
)
def test_stored_real_clips_look_as_in_ffmpeg(tmp_path, name):
    record = write_video(tmp_path / "out.mp4", SHARED_MEDIA / name, Encoding(codec="h264", short_side=64, crf=2))
    stored = read_video(tmp_path / "out.mp4")
    expected = by_ffmpeg(SHARED_MEDIA / name, (record.width, record.height), record.num_frames)
    assert len(stored) == record.num_frames == len(expected)
    assert np.abs(blocks(stored) - blocks(expected)).mean() < 4  # BT.709 full range taken as BT.601: 10


def test_a_variable_frame_rate_keeps_every_frame(tmp_path):
    source = make_video(
        tmp_path / "vfr.mkv", frames=30, extra=["-vf", "select=not(mod(n\\,3))+lt(n\\,6)", "-fps_mode", "vfr"]
    )
    shown = len(read_video(source))
    record = write_video(tmp_path / "out.mp4", source, Encoding())
    assert record.num_frames == shown == len(read_video(tmp_path / "out.mp4"))


def test_a_failing_source_leaves_no_file(tmp_path):
    source = make_video(tmp_path / "source.avi", codec="mpeg4", frames=50)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(VideoError, match="truncated: the header says 50 frames"):
        write_video(tmp_path / "out" / "a.mp4", source, Encoding())
    assert list((tmp_path / "out").iterdir()) == []


def test_a_video_without_frames_is_refused(tmp_path):
    with pytest.raises(VideoError, match="no frames"):
        write_frames(tmp_path / "a.mp4", [], fps=25, settings=Encoding())


@pytest.mark.parametrize("cut", [10, 60, -3])
def test_a_truncated_file_has_no_layout(tmp_path, cut):
    path = tmp_path / "a.mp4"
    write_frames(path, moving_frames(6), fps=25, settings=Encoding(gop=3))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"claims|cut off|no fragment"):
        read_layout(path)


def test_an_mp4_without_fragments_has_no_layout(tmp_path):
    with pytest.raises(ValueError, match="no fragment"):
        read_layout(make_video(Path(tmp_path / "plain.mp4"), frames=3))
