"""Good but odd source videos: what is stored, against what the FFmpeg binary shows."""

import itertools
import os
import shutil
import struct
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
from tests.helpers.media import make_video, read_video, run_ffmpeg

FINE = Encoding(codec="h264", gop=2, crf=2)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Make a blurred test picture, whose colors survive chroma subsampling."""
    blurred = ["-crf", "4", "-vf", "gblur=sigma=3"]
    return make_video(tmp_path_factory.mktemp("odd") / "plain.mp4", frames=4, size=(96, 64), extra=blurred)


def difference(stored, *filters, of):
    """Return the mean difference, in gray levels, between a stored video and the binary's frames of `of`."""
    shown, ours = read_video(of, *filters), read_video(stored)
    assert ours.shape == shown.shape
    return np.abs(ours.astype(int) - shown).mean()


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


def test_a_second_video_stream_is_noted_but_not_a_cover(plain, tmp_path):
    cover, two, film = tmp_path / "cover.png", tmp_path / "two.mp4", tmp_path / "film.mp4"
    run_ffmpeg("-i", plain, "-frames:v", "1", cover)
    run_ffmpeg("-i", plain, "-i", plain, "-map", "0", "-map", "1", "-c", "copy", two)
    as_cover = ["-c", "copy", "-disposition:v:1", "attached_pic"]
    run_ffmpeg("-i", plain, "-i", cover, "-map", "0", "-map", "1", *as_cover, film)
    for store in (leave_in_place, lambda path: write_video(tmp_path / "out.mp4", path, FINE)):
        assert any("several video streams" in note for note in store(two).notes)
        assert not store(film).notes


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
