"""Good but odd source videos: what is stored, against what the FFmpeg binary shows."""

import os
import shutil
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.store.encode import Encoding, write_video
from dali_pipelines.store.files import video_path
from dali_pipelines.store.in_place import leave_in_place
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import EncodedClip, read_clip
from dali_pipelines.store.record import ClipError
from dali_pipelines.store.remux import copy_video
from dali_pipelines.store.source import Source, VideoError
from tests.helpers.media import difference, make_video, read_video, run_ffmpeg

FINE = Encoding(codec="h264", gop=2, crf=2)


@pytest.mark.parametrize("codec", ["h264", "original"])
def test_tags_need_not_be_utf8(tmp_path, codec):
    """The title is in a Windows code page; the video is encoded or read in place."""
    source = make_video(
        tmp_path / "a.avi", codec="mpeg4", extra=["-vf", "gblur=sigma=3", "-metadata", "title=XXXXXXXX"]
    )
    source.write_bytes(source.read_bytes().replace(b"XXXXXXXX", bytes(range(0x8C, 0x94))))
    if codec == "original":
        index = Index.build(tmp_path, {"a": leave_in_place(source)})
        clip = decode_rgb(read_clip(index, 0, np.arange(40)))
        assert np.abs(clip.astype(int) - read_video(source)).mean() < 3
    else:
        assert write_video(tmp_path / "out.mp4", source, FINE).num_frames == len(read_video(source)) == 40


def test_a_second_video_stream_is_noted_but_not_a_cover(plain, tmp_path):
    cover, two, film = tmp_path / "cover.png", tmp_path / "two.mp4", tmp_path / "film.mp4"
    run_ffmpeg("-i", plain, "-frames:v", "1", cover)
    run_ffmpeg("-i", plain, "-i", plain, "-map", "0", "-map", "1", "-c", "copy", two)
    as_cover = ["-c", "copy", "-disposition:v:1", "attached_pic"]
    run_ffmpeg("-i", plain, "-i", cover, "-map", "0", "-map", "1", *as_cover, film)
    for store in (leave_in_place, lambda path: write_video(tmp_path / "out.mp4", path, FINE)):
        assert any("several video streams" in note for note in store(two).notes)
        assert not store(film).notes


def test_unannounced_late_sound_is_ignored(tmp_path):
    """It starts 8 s after the pictures, as in a live recording."""
    source = tmp_path / "a.flv"
    pictures = ["-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=9,gblur=sigma=3"]
    sound = ["-itsoffset", "8", "-f", "lavfi", "-i", "sine=d=1:r=44100"]
    run_ffmpeg(*pictures, *sound, "-c:v", "libx264", "-crf", "4", "-c:a", "libmp3lame", source)
    header = bytearray(source.read_bytes())
    header[4] = 1  # video only
    source.write_bytes(header)
    shown = read_video(source)
    for record in (leave_in_place(source), copy_video(tmp_path / "videos" / "a.mp4", source)):
        index = Index.build(tmp_path, {"a": record})
        assert np.abs(decode_rgb(read_clip(index, 0, np.arange(225))).astype(int) - shown).mean() < 3


@pytest.mark.parametrize("codec", ["h264", "original"])
def test_packets_without_bytes_that_repeat_a_frame_are_passed_over(tmp_path, codec):
    """Theora's encoder writes them where the picture stands still, as in a recording of slides."""
    source, slides = tmp_path / "a.ogv", "testsrc2=s=96x64:r=5:d=2,gblur=sigma=3,fps=25"
    run_ffmpeg("-f", "lavfi", "-i", slides, "-c:v", "libtheora", "-q:v", "10", source)
    with av.open(source) as container:
        assert any(packet.size == 0 and packet.pts is not None for packet in container.demux(video=0))
    if codec == "original":
        shown = read_video(source)
        index = Index.build(tmp_path, {"a": leave_in_place(source)})
        clip = decode_rgb(read_clip(index, 0, np.arange(len(shown))))
        assert np.abs(clip.astype(int) - shown).mean() < 3
    else:
        write_video(tmp_path / "out.mp4", source, FINE)
        assert difference(tmp_path / "out.mp4", of=source) < 3


@pytest.mark.parametrize("name", ["a.dv", "a.avi", "slow.avi", "fast.mkv"])
def test_frame_rate_comes_from_the_frames(tmp_path, name):
    """FFmpeg's average is 60,000 for raw DV, and 600 for an AVI with B-frames, which gives no other rate."""
    rate, path = {"slow.avi": 1, "fast.mkv": 10000}.get(name, 25), tmp_path / name
    if name == "a.dv":
        picture = ["-f", "lavfi", "-i", "testsrc2=s=720x576:r=25", "-frames:v", "5", "-pix_fmt", "yuv420p"]
        run_ffmpeg(*picture, "-c:v", "dvvideo", path)
    else:
        run_ffmpeg("-i", make_video(tmp_path / "a.mp4", frames=50, fps=rate, extra=["-bf", "2"]), "-c", "copy", path)
    with Source(path) as source:
        assert source.fps == rate


@pytest.mark.parametrize(
    ("number", "name"),
    [(1, "BT.709"), (4, "FCC"), (5, ""), (6, ""), (7, "SMPTE 240M"), (9, "BT.2020"), (2, "")],
)
def test_every_matrix_but_bt601_is_noted(plain, tmp_path, number, name):
    """Notes concern pictures that are not encoded again."""
    tagged = tmp_path / "tagged.mp4"
    run_ffmpeg("-i", plain, "-c", "copy", "-bsf:v", f"h264_metadata=matrix_coefficients={number}", tagged)
    noted = [note for note in leave_in_place(tagged).notes if "BT.601" in note]
    assert noted == [f"tagged {name} but decoded as BT.601: colors shift a little"] * bool(name)


@pytest.mark.parametrize("number", [8, 10, 14])
def test_a_matrix_unknown_to_ffmpeg_is_the_reason(plain, tmp_path, number):
    """The binary cannot convert it either."""
    tagged = tmp_path / "tagged.mp4"
    run_ffmpeg("-i", plain, "-c", "copy", "-bsf:v", f"h264_metadata=matrix_coefficients={number}", tagged)
    with pytest.raises(AssertionError):
        read_video(tagged)
    with pytest.raises(VideoError, match=f"color matrix .number {number} of H.273. that FFmpeg does not convert"):
        write_video(tmp_path / "out.mp4", tagged, FINE)


@pytest.mark.parametrize("stem", ["x" * 247, "x" * 251, "x" * 255, "é" * 127, os.fsdecode(b"\xe9" * 255)])
def test_long_names_get_distinct_file_names(plain, tmp_path, stem):
    """The index keeps the name; only the file name is shortened."""
    names = [f"class/{stem}", f"class/{stem[:-1]}y"]
    records = {name: write_video(video_path(tmp_path, name), plain, FINE) for name in names}
    index = Index.build(tmp_path, records)
    assert sorted(index.info(i).name for i in range(2)) == sorted(names)
    assert len(list((tmp_path / "videos" / "class").iterdir())) == 2
    assert len(decode_rgb(read_clip(index, 1, np.arange(4)))) == 4


def test_short_names_are_kept_as_file_names():
    """Existing datasets keep their file names."""
    assert str(video_path(Path("d"), "a/" + "x" * 251)) == f"d/videos/a/{'x' * 251}.mp4"
    assert len(os.fsencode(video_path(Path("d"), "x" * 252).name)) == 255


def first_packet(path):
    """Return the offset and size of a file's first packet, in bytes."""
    with av.open(path) as container:
        packet = next(container.demux())
        return packet.pos, packet.size


def test_encrypted_and_mislabeled_files_are_named_as_such(plain, tmp_path):
    """One file has Common Encryption, the other AVC labeled as MPEG-4 part 2."""
    scheme = ["-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "76" * 16, "-encryption_kid", "a7" * 16]
    run_ffmpeg("-i", plain, "-c", "copy", *scheme, tmp_path / "secret.mp4")
    clear, secret = tmp_path / "clear.mp4", bytearray((tmp_path / "secret.mp4").read_bytes())
    (at, _), (their_at, size) = map(first_packet, (tmp_path / "secret.mp4", plain))
    secret[at : at + size] = plain.read_bytes()[their_at : their_at + size]  # a wrong key may give a picture by chance
    clear.write_bytes(secret)
    renamed = tmp_path / "renamed.mp4"
    renamed.write_bytes(plain.read_bytes().replace(b"avc1", b"mp4v"))
    for path, reason in (
        (tmp_path / "secret.mp4", "^is encrypted$"),
        (clear, "^is encrypted$"),
        (renamed, r"decode error after 0 frames: .* \(is it mpeg4 at all, as its header says\?\)"),
    ):
        with pytest.raises(VideoError, match=reason), Source(path) as source:
            list(source.frames())


@pytest.mark.parametrize(("muxer", "codec"), [("mp3", "libmp3lame"), ("flac", "flac"), ("mp4", "aac")])
def test_sound_with_a_cover_picture_is_named_as_such(plain, tmp_path, muxer, codec):
    cover, song = tmp_path / "cover.jpg", tmp_path / "song.mp4"
    run_ffmpeg("-i", plain, "-frames:v", "1", cover)
    both = ["-f", "lavfi", "-i", "sine", "-i", cover, "-map", "0", "-map", "1", "-t", "1"]
    run_ffmpeg(*both, "-c:v", "copy", "-c:a", codec, "-disposition:v", "attached_pic", "-f", muxer, song)
    with pytest.raises(VideoError, match=r"^has no video, only a cover picture"):
        Source(song)


def test_an_animated_webp_is_named_as_such(plain, tmp_path):
    with Image.open(BytesIO(run_ffmpeg("-i", plain, "-f", "image2pipe", "-c:v", "png", "-frames:v", "1", "-"))) as one:
        one.save(tmp_path / "moves.webp", save_all=True, append_images=[one.rotate(180)])
        one.save(tmp_path / "still.webp")
    (tmp_path / "damaged.webp").write_bytes((tmp_path / "still.webp").read_bytes()[:40])
    for name, reason in (
        ("moves", "^is an animated WebP, which FFmpeg does not decode: convert it to GIF$"),
        ("still", "has only one frame"),
        ("damaged", r"decode error after 0 frames: .* \(is it webp at all"),
    ):
        with pytest.raises(VideoError, match=reason), Source(tmp_path / f"{name}.webp") as source:
            list(source.frames())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.mp4", "ffconcat version 1.0\nfile plain.mp4\nfile plain.mp4\n"),
        ("list.m3u8", "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\nplain.ts\n#EXT-X-ENDLIST\n"),
        ("list.mp4", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"),
    ],
    ids=["ffconcat", "hls", "sdp"],
)
def test_playlists_are_not_videos(plain, tmp_path, monkeypatch, name, text):
    """A video's suffix does not change that: FFmpeg would show frames of other files, or access the network."""
    shutil.copy(plain, tmp_path / "plain.mp4")
    run_ffmpeg("-i", plain, "-c", "copy", tmp_path / "plain.ts")
    path = tmp_path / name
    path.write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VideoError, match="is a playlist, which names other files"):
        Source(path)
    clip = EncodedClip(np.fromfile(path, np.uint8), np.zeros(1, np.int32), 1)
    with pytest.raises(ClipError):
        decode_rgb(clip)
