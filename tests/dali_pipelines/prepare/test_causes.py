"""A video that cannot be stored: what is its own fault, and what may pass."""

import errno

import av
import pytest

from dali_pipelines.prepare import job as jobs
from dali_pipelines.prepare.job import Failure, Job, store_video
from dali_pipelines.store import source
from dali_pipelines.store.encode import Encoding
from dali_pipelines.store.source import VideoError
from tests.helpers.media import make_video, run_ffmpeg

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "permission"),
        (OSError(errno.EIO, "Input/output error"), "disk"),
        (OSError(errno.ESTALE, "Stale file handle"), "disk"),
        (MemoryError(), "memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory"),
        (VideoError("its header is damaged"), ""),
        (ValueError("odd"), ""),
    ],
)
def test_failures_are_told_apart_by_cause(monkeypatch, tmp_path, error, cause):
    """This includes errors that were re-raised as another."""

    def fail(*_):
        raise error

    def fail_as_video_error(*_):
        raise VideoError("cannot be read") from error

    for raising in (fail, fail_as_video_error):
        monkeypatch.setattr(jobs, "write_video", raising)
        found = store_video(Job("a", tmp_path, tmp_path, Encoding()))
        assert isinstance(found, Failure)
        assert found.passing == cause


def test_operation_not_permitted_by_a_decoder_means_damage(tmp_path):
    """FFmpeg's DV decoder reports a truncated frame this way."""
    source = tmp_path / "a.avi"
    picture = ["-f", "lavfi", "-i", "testsrc2=s=720x480:r=30000/1001", "-frames:v", "4", "-pix_fmt", "yuv411p"]
    run_ffmpeg(*picture, "-c:v", "dvvideo", source)
    source.write_bytes(source.read_bytes()[: source.stat().st_size * 3 // 5])
    failed = store_video(Job("a", source, tmp_path / "out.mp4", Encoding()))
    assert isinstance(failed, Failure)
    assert "Operation not permitted" in failed.reason
    assert failed.passing == ""


def test_input_output_error_by_a_demuxer_means_damage_unless_the_file_cannot_be_read(monkeypatch, tmp_path):
    """FFmpeg reports a Matroska file that ends in its header this way, or as "End of file"."""
    whole = make_video(tmp_path / "a.mkv").read_bytes()
    cut = tmp_path / "cut.mkv"
    for kept in (45, 200):
        cut.write_bytes(whole[:kept])
        failed = store_video(Job("a", cut, tmp_path / "out.mp4", Encoding()))
        assert failed == Failure("not a video file, or its header is damaged")

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(source, "open_ranged", fail)
    failed = store_video(Job("a", cut, tmp_path / "out.mp4", Encoding()))
    assert failed == Failure("cannot be opened: Input/output error", "disk")


def test_out_of_memory_by_a_decoder_means_damage_unless_memory_is_short(monkeypatch, tmp_path):
    """An AV1 decoder reports headers with too large a picture this way; if memory is short, the cause stays memory."""

    def fail_decoding(*_):
        raise av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory")

    video = make_video(tmp_path / "a.mp4")
    monkeypatch.setattr(source, "decoded", fail_decoding)
    for room, cause in ((1, ""), (1 << 60, "memory")):
        monkeypatch.setattr(jobs, "ROOM", room)
        failed = store_video(Job("a", video, tmp_path / "out.mp4", Encoding()))
        assert isinstance(failed, Failure)
        assert "Cannot allocate memory" in failed.reason
        assert failed.passing == cause


def test_a_decode_error_with_short_memory_is_a_passing_cause(monkeypatch, tmp_path):
    """A decoder without memory reports "Invalid data"."""
    (tmp_path / "a.mp4").write_text("no video")
    job = Job("a", tmp_path / "a.mp4", tmp_path / "out.mp4", Encoding())
    failed = store_video(job)
    assert isinstance(failed, Failure)
    assert failed.passing == ""
    monkeypatch.setattr(jobs, "ROOM", 1 << 60)  # more than any machine has
    failed = store_video(job)
    assert isinstance(failed, Failure)
    assert failed.passing == "memory"


@pytest.mark.parametrize("how", [Encoding(), "copy"])
def test_a_video_of_more_fragments_than_an_index_takes_fails_alone(monkeypatch, tmp_path, how):
    video = make_video(tmp_path / "a.mp4", frames=12, gop=1)
    monkeypatch.setattr("dali_pipelines.store.units.MAX_UNITS", 11)
    failed = store_video(Job("a", video, tmp_path / "out.mp4", how))
    assert isinstance(failed, Failure)
    assert "it has 12 fragments, 1 to 11 are allowed" in failed.reason
    assert not (tmp_path / "out.mp4").exists()
