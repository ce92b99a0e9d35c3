"""Source videos: what is refused and why, what is copied, what is left in place."""

import av
import numpy as np
import pytest

from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.store.files import video_path
from dali_pipelines.store.fmp4 import Fragment
from dali_pipelines.store.in_place import leave_in_place
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import read_clip
from dali_pipelines.store.remux import copy_video
from dali_pipelines.store.source import Source, VideoError
from tests.helpers.media import SHARED_MEDIA, make_video, read_video, run_ffmpeg


def decoded_frames(path):
    with Source(path) as source:
        return sum(1 for _ in source.frames())


def cut(path, share=0.5):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


BROKEN = {
    "empty.mp4": ("^is empty", lambda p: p.write_bytes(b"")),  # as kernel files are, some of which never end
    "device.mp4": ("^is no regular file", lambda p: p.symlink_to("/dev/null")),
    "text.mp4": ("not a video file", lambda p: p.write_text("hello\n" * 100)),
    "random.avi": ("not a video file", lambda p: p.write_bytes(np.random.default_rng(0).bytes(50_000))),
    "no_header.mp4": ("not a video file", lambda p: cut(make_video(p))),
    "folder.mp4": ("^is no regular file", lambda p: p.mkdir()),
    "gone.mp4": ("cannot be opened: No such file", lambda p: None),
    "sound.mp4": ("has no video stream", lambda p: run_ffmpeg("-f", "lavfi", "-i", "sine", "-t", "1", p)),
    "one.mp4": ("has only one frame", lambda p: make_video(p, frames=1)),
    "picture.png": ("has only one frame", lambda p: run_ffmpeg("-f", "lavfi", "-i", "testsrc2", "-frames:v", "1", p)),
    "cut.avi": (
        r"truncated: the header says 40 frames, (19|2\d) decoded",
        lambda p: cut(make_video(p, codec="mpeg4")),
    ),
    "cut.webm": (r"truncated: the header says 1\.6 s, 0\.\d s decoded", lambda p: cut(make_video(p, codec="vp9"))),
    "cut.mp4": (
        r"decode error after \d+ frames|truncated: the header says 40 frames, \d+ decoded",
        lambda p: cut(make_video(p, extra=["-movflags", "+faststart", "-bf", "0"])),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_sources_are_refused_with_a_one_line_reason(tmp_path, name):
    reason, make = BROKEN[name]
    make(tmp_path / name)
    with pytest.raises(VideoError, match=reason) as raised:
        decoded_frames(tmp_path / name)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "codec", "of_frame", "damaged", "reason"),
    [
        ("a.y4m", ["-c:v", "rawvideo"], b"FRAME\n", b"FLAME\n", "Invalid data found"),
        ("a.ivf", ["-c:v", "libvpx"], (5).to_bytes(8, "little"), b"\0\0\0\xc0" * 3, "Cannot allocate memory"),
    ],
)
def test_a_damaged_container_is_refused_like_damaged_frames(tmp_path, name, codec, of_frame, damaged, reason):
    """The search for encryption reads the container again, and fails at the same place."""
    path = tmp_path / name
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=96x64", "-frames:v", "8", "-pix_fmt", "yuv420p", *codec, path)
    data = path.read_bytes()
    if name == "a.ivf":  # a frame's head is its size and its number
        at = data.index(of_frame, 32) - 4
        path.write_bytes(data[:at] + damaged + data[at + 12 :])
    else:
        parts = data.split(of_frame)
        path.write_bytes(of_frame.join(parts[:6]) + damaged + of_frame.join(parts[6:]))
    with pytest.raises(VideoError, match=rf"^decode error after 5 frames: {reason}") as raised:
        decoded_frames(path)
    assert raised.value.__cause__ is None or "memory" not in reason


def test_damage_in_the_middle_is_refused(tmp_path):
    path = make_video(tmp_path / "a.mp4", frames=60, size=(320, 240))
    content = np.fromfile(path, np.uint8)
    rng = np.random.default_rng(0)
    content[rng.integers(3000, int(len(content) * 0.9), 300)] = 0
    content.tofile(path)
    with pytest.raises(VideoError, match=r"decode error after \d+ frames|\d+ of \d+ frames damaged"):
        decoded_frames(path)


def test_only_frames_that_decode_are_counted(tmp_path):
    path = make_video(tmp_path / "a.avi", codec="mpeg4", frames=100)
    cut(path, 0.96)
    with av.open(str(path)) as container:
        announced = container.streams.video[0].frames
    assert announced == 100
    assert decoded_frames(path) == len(read_video(path)) < 100


def test_a_start_hidden_by_an_edit_list_is_not_truncation(tmp_path):
    whole = make_video(tmp_path / "whole.mp4", frames=100, gop=50)
    trimmed = tmp_path / "trimmed.mp4"
    run_ffmpeg("-ss", "1.5", "-i", whole, "-t", "1", "-c", "copy", trimmed)
    shown = len(read_video(trimmed))
    assert decoded_frames(trimmed) == shown < 40
    record = copy_video(tmp_path / "copy.mp4", trimmed)  # hidden frames are needed to decode the others
    assert record.num_frames == len(read_video(tmp_path / "copy.mp4")) > shown
    assert any("the frames that players hide are copied too" in note for note in record.notes)
    assert not copy_video(tmp_path / "whole_copy.mp4", whole).notes


def test_a_cover_picture_is_not_taken_for_the_video(tmp_path):
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=size=320x240", "-frames:v", "1", tmp_path / "cover.png")
    video, both = make_video(tmp_path / "video.mp4"), tmp_path / "both.mp4"
    cover_first = ["-map", "0", "-map", "1", "-c", "copy", "-disposition:v:0", "attached_pic"]
    run_ffmpeg("-i", tmp_path / "cover.png", "-i", video, *cover_first, both)
    assert leave_in_place(both).num_frames == 40


def fragment_frames(record):
    return [fragment.frames for fragment in record.fragments]


@pytest.mark.parametrize(
    ("codec", "options", "expected"),
    [
        ("h264", "keyint=10:min-keyint=10:scenecut=0:open-gop=0", [10, 10, 10, 10]),
        ("h264", "keyint=10:min-keyint=10:scenecut=0:open-gop=1", [40]),  # x264's only IDR is the first
        ("hevc", "keyint=10:min-keyint=10:scenecut=0:open-gop=0", [10, 10, 10, 10]),
        ("hevc", "keyint=10:min-keyint=10:scenecut=0:open-gop=1", [40]),
    ],
)
def test_fragments_of_an_open_gop_are_joined(tmp_path, codec, options, expected):
    flag, quiet = {"h264": ("-x264-params", ""), "hevc": ("-x265-params", ":log-level=none")}[codec]
    source = make_video(tmp_path / "source.mp4", codec=codec, extra=["-bf", "2", flag, options + quiet])
    record = copy_video(tmp_path / "copy.mp4", source)
    assert fragment_frames(record) == expected
    assert np.array_equal(read_video(tmp_path / "copy.mp4"), read_video(source))


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_fragments_that_need_their_predecessor_are_joined_even_if_idr(tmp_path, monkeypatch, codec):
    monkeypatch.setattr("dali_pipelines.store.remux.is_idr", lambda *_: True)
    flag, quiet = {"h264": ("-x264-params", ""), "hevc": ("-x265-params", ":log-level=none")}[codec]
    options = "keyint=9:min-keyint=9:scenecut=0:open-gop=1:b-adapt=0:bframes=2" + quiet  # B before each I
    source = make_video(tmp_path / "source.mp4", codec=codec, extra=["-bf", "2", flag, options])
    assert fragment_frames(copy_video(tmp_path / "copy.mp4", source)) == [40]


def test_only_open_gops_are_joined(tmp_path):
    """Concatenated streams make key frames alternate between IDR and not."""
    open_gop = ["-bf", "2", "-x264-params", "keyint=10:min-keyint=10:scenecut=0:open-gop=1"]
    parts = [
        make_video(tmp_path / f"{i}.ts", frames=20, extra=[*open_gop, "-output_ts_offset", str(i)]) for i in range(3)
    ]
    source = tmp_path / "all.ts"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    record = copy_video(video_path(tmp_path, "a"), source)
    assert fragment_frames(record) == [20, 20, 20]
    index = Index.build(tmp_path, {"a": record})
    frames = np.array([3, 25, 45, 59])
    whole = decode_rgb(read_clip(index, 0, np.arange(60)))
    assert np.array_equal(decode_rgb(read_clip(index, 0, frames)), whole[frames])


@pytest.mark.parametrize(
    ("name", "codec", "reason"),
    [
        ("a.avi", "mpeg4", "mpeg4 video cannot be copied, only h264, hevc, vp9, av1; prepare it with --codec h264"),
        ("a.mkv", "mjpeg", "mjpeg video cannot be copied"),
        ("a.avi", "h264", "order of its frames is not in the time stamps"),
    ],
)
def test_uncopyable_videos_suggest_a_codec(tmp_path, name, codec, reason):
    source = make_video(tmp_path / name, codec=codec, extra=["-bf", "2"] if codec == "h264" else [])
    with pytest.raises(VideoError, match=f"{reason}.*") as raised:
        copy_video(tmp_path / "out" / "a.mp4", source)
    assert str(raised.value).endswith("prepare it with --codec h264")
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_a_stream_with_missing_pictures_is_not_copied(tmp_path):
    """A live recording may lack some: it decodes, with them concealed, but its clips would be unreadable."""
    lost = ["-bf", "3", "-bsf:v", r"noise=drop=not(mod(n\,7))*not(key)"]
    source = make_video(tmp_path / "a.mp4", frames=50, extra=lost)
    assert decoded_frames(source) == len(read_video(source)) == 43
    with pytest.raises(VideoError, match="do not decode to the same frames when copied; prepare it with --codec h264"):
        copy_video(tmp_path / "copy.mp4", source)


@pytest.mark.parametrize("store", [lambda path: copy_video(path.with_name("out.mp4"), path), leave_in_place])
@pytest.mark.parametrize(
    ("second", "changes"),
    [
        (["-pix_fmt", "yuv444p"], True),
        (["-vf", "scale=out_range=pc", "-color_range", "pc"], True),
        (["-color_range", "tv"], False),
    ],
    ids=["444", "full", "tagged"],
)
def test_videos_that_change_format_are_not_copied_or_left_in_place(tmp_path, store, second, changes):
    """Two files are concatenated without re-encoding. A tag for the usual range is not a change."""
    for name, extra in (("a.ts", []), ("b.ts", second)):
        make_video(tmp_path / name, frames=10, extra=["-bf", "0", *extra])
    (tmp_path / "list.txt").write_text("file a.ts\nfile b.ts\n")
    both = tmp_path / "both.mkv"
    run_ffmpeg("-f", "concat", "-i", tmp_path / "list.txt", "-c", "copy", both)
    if changes:
        with pytest.raises(VideoError, match="change pixel format or range midway; prepare it with --codec h264"):
            store(both)
    else:
        assert store(both).num_frames == 20


@pytest.mark.slow
def test_pictures_too_large_to_decode_are_not_left_in_place(tmp_path):
    """They have more pixels than a clip's decoder accepts."""
    huge = tmp_path / "huge.mkv"
    run_ffmpeg("-f", "lavfi", "-i", "color=s=8208x8208", "-frames:v", "2", "-pix_fmt", "gray", "-c:v", "ffv1", huge)
    with pytest.raises(VideoError, match=r"has pictures of 8208x8208 pixels, .*; prepare it with --codec h264"):
        leave_in_place(huge)


@pytest.mark.parametrize("store", [lambda path: copy_video(path.with_name("out.mp4"), path), leave_in_place])
def test_videos_that_change_size_are_not_copied_or_left_in_place(tmp_path, store):
    parts = [make_video(tmp_path / f"{w}.ts", frames=10, size=(w, 64)) for w in (96, 128)]
    changing = tmp_path / "changing.ts"
    changing.write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.raises(VideoError, match="change size midway; prepare it with --codec h264"):
        store(changing)


def test_a_source_left_in_place_is_one_fragment(tmp_path):
    source = make_video(tmp_path / "a.avi", codec="mpeg4", frames=30, extra=["-bf", "2"])
    record = leave_in_place(source)
    assert (record.init_size, record.source) == (0, str(source))
    assert [*record.fragments] == [Fragment(0, source.stat().st_size, 30)]
    index = Index.build(tmp_path, {"a": record})
    clip = read_clip(index, 0, np.array([20, 5]))
    assert clip.data.tobytes() == source.read_bytes()
    assert (clip.frames.tolist(), clip.decoded) == ([20, 5], 21)


def test_sizes_unfit_for_gpu_decoders_are_noted(tmp_path):
    odd = leave_in_place(make_video(tmp_path / "odd.mp4", frames=5, size=(98, 64)))
    assert [note.split(":")[1] for note in odd.notes] == [" no GPU decoder is used"]


@pytest.mark.skipif(not SHARED_MEDIA.is_dir(), reason="needs the shared media")
def test_real_clips_have_their_documented_number_of_frames():
    for name, frames in {
        "kinetics_arm_wrestling.mp4": 280,
        "ucf101_xvid_320x240.avi": 164,
        "nasa_h264_480x270_aac.mp4": 390,
        "hevc_small.mp4": 10,
        "rotated_90.mov": 3,
        "unordered_pts.mov": 4,
    }.items():
        assert decoded_frames(SHARED_MEDIA / name) == frames
    with pytest.raises(VideoError, match="decode error after 28 frames"):
        decoded_frames(SHARED_MEDIA / "corrupted.mp4")
