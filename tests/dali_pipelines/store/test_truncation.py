"""Truncated and whole files, told apart by their outermost structure and by what decodes."""

import io
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dali_pipelines.store.source import Source, VideoError
from dali_pipelines.store.truncation import missing_share
from tests.helpers.media import FFMPEG, make_video, read_video, run_ffmpeg

CONTAINERS = {
    "mp4": ["-c:v", "libx264"],
    "mov": ["-c:v", "libx264", "-movflags", "+faststart"],
    "mkv": ["-c:v", "libx264"],
    "webm": ["-c:v", "libvpx", "-deadline", "realtime"],
    "avi": ["-c:v", "mpeg4"],
    "wmv": ["-c:v", "wmv2"],
    "flv": ["-c:v", "flv1"],
    "ogv": ["-c:v", "libtheora"],
    "ts": ["-c:v", "mpeg2video"],
}
OF_BYTES = ("mov", "mkv", "webm", "avi", "wmv")
"""Containers whose structure gives the number of bytes; flv and ogv only mark the end.

An MP4 without its end has no header."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a folder with a file of 40 frames in each container."""
    folder = tmp_path_factory.mktemp("whole")
    picture = ["-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=1.6"]
    run_ffmpeg(*picture, "-c:v", "ffv1", folder / "all.nut")
    for container, options in CONTAINERS.items():
        run_ffmpeg("-i", folder / "all.nut", *options, folder / f"a.{container}")
    return folder


def share(data):
    return missing_share(io.BytesIO(data))


def frames_of(path):
    with Source(path) as source:
        return sum(1 for _ in source.frames())


def num_decodable(path):
    return len(read_video(path))


@pytest.mark.parametrize("container", CONTAINERS)
def test_nothing_is_missing_from_a_whole_file(files, container):
    assert share((files / f"a.{container}").read_bytes()) == (None if container == "ts" else pytest.approx(0, abs=1e-3))


@pytest.mark.parametrize("container", OF_BYTES)
@pytest.mark.parametrize("kept", [0.25, 0.5, 0.95])
def test_the_missing_share_of_a_truncated_file(files, container, kept):
    data = (files / f"a.{container}").read_bytes()
    cut = data[: int(len(data) * kept)]
    assert share(cut) == pytest.approx(1 - kept, abs=0.01)
    assert share(cut + bytes(len(data) - len(cut))) == pytest.approx(1 - kept, abs=0.01)  # a download's zeros


@pytest.mark.parametrize("container", ["flv", "ogv"])
def test_truncated_flv_and_ogv_have_no_known_share(files, container):
    data = (files / f"a.{container}").read_bytes()
    assert share(data[: len(data) // 2]) is None


def test_a_box_of_huge_size_counts_as_missing():
    huge = b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\1mdat" + b"\xff" * 8 + b"x" * 100
    assert share(huge) == pytest.approx(1)


@given(st.sampled_from(list(CONTAINERS)), st.data())
def test_any_damaged_header_gives_a_share_or_none(files, container, data):
    content = bytearray((files / f"a.{container}").read_bytes())
    for at in data.draw(st.lists(st.integers(0, 200), max_size=8)):
        content[at] = data.draw(st.integers(0, 255))
    found = share(bytes(content[: data.draw(st.integers(0, len(content)))]))
    assert found is None or 0 <= found <= 1


@pytest.mark.parametrize("container", ["mkv", "avi"])
def test_a_segment_with_a_late_start_time_is_whole(tmp_path, container):
    """Pieces of a longer file are such files."""
    codec = "h264" if container == "mkv" else "mpeg4"
    make_video(tmp_path / f"long.{container}", codec=codec, frames=75, gop=25, extra=["-bf", "0"])
    pieces = tmp_path / f"piece%d.{container}"
    run_ffmpeg("-i", tmp_path / f"long.{container}", "-c", "copy", "-f", "segment", "-segment_time", "1", pieces)
    for number in range(3):
        piece = tmp_path / f"piece{number}.{container}"
        assert frames_of(piece) == num_decodable(piece) == 25
        cut = tmp_path / f"cut{number}.{container}"
        cut.write_bytes(piece.read_bytes()[: piece.stat().st_size // 2])
        with pytest.raises(VideoError, match=r"truncated: |damaged"):
            frames_of(cut)


def test_dropped_frames_of_an_avi_are_not_missing(tmp_path):
    """The AVI holds null frames in their place."""
    source = make_video(
        tmp_path / "nulls.avi",
        codec="mpeg4",
        frames=40,
        extra=["-vf", r"select=not(mod(n\,2))", "-fps_mode", "passthrough"],
    )
    with Source(source) as video:
        assert video.stream.frames > 70
    assert frames_of(source) == num_decodable(source) == 40


@pytest.mark.parametrize("container", ["avi", "mkv", "flv", "ogv"])
def test_headers_written_to_a_pipe_are_not_truncation(files, tmp_path, container):
    """The header of such an AVI says 2**30 frames."""
    muxer = {"mkv": "matroska", "ogv": "ogg"}.get(container, container)
    command = [FFMPEG, "-v", "error", "-i", files / f"a.{container}", "-c", "copy", "-f", muxer, "-"]
    piped = tmp_path / f"piped.{container}"
    piped.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    if container == "avi":
        with Source(piped) as video:
            assert video.stream.frames == 2**30
    assert frames_of(piped) == num_decodable(piped) == 40


@pytest.mark.parametrize("container", ["mp4", "mkv", "webm", "wmv", "flv", "ogv", "ts"])
def test_a_long_last_frame_is_not_truncation(tmp_path, container):
    """The last picture lasts 8 s, as in a screen recording."""
    source = tmp_path / f"long_last.{container}"
    long_last = "setts=duration='if(eq(N,39),8/TB,DURATION)'"
    picture = ["-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=1.6"]
    run_ffmpeg(*picture, *CONTAINERS[container], "-bf", "0", "-bsf:v", long_last, source)
    assert frames_of(source) == num_decodable(source) == 40


@pytest.mark.parametrize(("container", "sound"), [("mkv", "aac"), ("webm", "libopus")])
def test_a_truncated_file_with_sound_is_detected(tmp_path, container, sound):
    """The duration that counts is that of the video stream."""
    source = tmp_path / f"a.{container}"
    inputs = ["-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=2", "-f", "lavfi", "-i", "sine=d=2"]
    run_ffmpeg(*inputs, *CONTAINERS[container], "-c:a", sound, source)
    assert frames_of(source) == 50
    data = source.read_bytes()
    for percent in (25, 50, 75):
        source.write_bytes(data[: len(data) * percent // 100])
        with pytest.raises(VideoError, match=r"truncated: the header says 2.0 s, \d.\d s decoded"):
            frames_of(source)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_stream_cut_at_its_head_is_whole(tmp_path, codec):
    """As of a recording that began within a GOP: what precedes the first key frame does not decode."""
    data = make_video(tmp_path / "a.ts", codec=codec, gop=12).read_bytes()
    cut = tmp_path / "cut.ts"
    cut.write_bytes(data[len(data) // 20 // 188 * 188 :])
    shown = len(read_video(cut))
    assert frames_of(cut) == shown < 40
