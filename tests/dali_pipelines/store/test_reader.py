"""Decoding a clip gives the same pixels as decoding the whole file, on the host and in DALI."""

import io
import zlib

import numpy as np
import pytest
from nvidia.dali import fn, pipeline_def, types
from PIL import Image

from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.store.encode import Encoding, write_video
from dali_pipelines.store.files import video_path
from dali_pipelines.store.fmp4 import Fragment
from dali_pipelines.store.in_place import leave_in_place
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import EncodedClip, read_clip
from dali_pipelines.store.record import ClipError, Record
from dali_pipelines.store.remux import copy_video
from dali_pipelines.store.units import PackedFragments
from tests.helpers.h264 import drop_usability
from tests.helpers.media import BT601, SHARED_MEDIA, make_video, read_video, run_ffmpeg

pytestmark = pytest.mark.slow

B_FRAMES = ["-bf", "3", "-x264-params", "keyint=9:min-keyint=3:scenecut=0"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Store a moving picture in many ways; return the index, and name -> row."""
    root = tmp_path_factory.mktemp("data")
    source = make_video(root / "source.mp4", frames=50, size=(160, 160))
    records = {}
    for codec in ("vp9", "h264", "hevc"):
        for gop in (1, 8, 16):
            name = f"{codec}-{gop}"
            settings = Encoding(codec=codec, gop=gop)
            records[name] = write_video(video_path(root, name), source, settings)
    copies = {
        "h264-copy": make_video(root / "b.mkv", frames=50, size=(98, 70), extra=B_FRAMES),
        "hevc-copy": make_video(root / "x.mp4", frames=50, size=(98, 70), codec="hevc", gop=12),
        "vp9-copy": make_video(root / "v.webm", frames=50, size=(98, 70), codec="vp9", gop=12),
        "av1-copy": make_video(root / "a.mkv", frames=50, size=(98, 70), codec="av1", gop=12),
        "10bit-copy": make_video(root / "t.mp4", frames=50, gop=12, extra=["-pix_fmt", "yuv420p10le"]),
    }
    # Its frames are out of order by an undeclared number: a decoder must wait for the largest possible one.
    copies["unsaid-copy"] = drop_usability(
        make_video(root / "unsaid.mp4", frames=50, extra=[*B_FRAMES[:2], "-g", "12"])
    )
    records["unsaid-original"] = leave_in_place(copies["unsaid-copy"])
    for name, path in copies.items():
        records[name] = copy_video(video_path(root, name), path)
    for codec in ("mpeg4", "mjpeg", "vp8"):
        path = make_video(root / f"{codec}.mkv", frames=20, codec=codec)
        records[f"{codec}-original"] = leave_in_place(path)
    sound = ["-f", "lavfi", "-i", "sine", "-t", "2", "-c:v", "flv", "-c:a", "mp3", "-ar", "44100"]
    run_ffmpeg("-i", source, *sound, root / "sound.flv")  # its header does not list its streams
    records["flv-original"] = leave_in_place(root / "sound.flv")
    index = Index.build(root, records)
    return index, {index.info(i).name: i for i in range(len(index))}


NAMES = [
    *(f"{codec}-{gop}" for codec in ("vp9", "h264", "hevc") for gop in (1, 8, 16)),
    *("h264-copy", "hevc-copy", "vp9-copy", "av1-copy", "10bit-copy"),
    *("mpeg4-original", "mjpeg-original", "vp8-original", "flv-original"),
    *("unsaid-copy", "unsaid-original"),
]


def frame_lists(num_frames):
    rng = np.random.default_rng(0)
    yield np.arange(num_frames)
    yield np.array([0, num_frames - 1, num_frames - 1, 3])  # ends, repeats, backwards
    yield np.arange(5, num_frames, 4)
    for _ in range(4):
        yield rng.integers(0, num_frames, 6)


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_decodes_like_the_whole_file(dataset, name):
    index, row_of = dataset
    row = row_of[name]
    whole = decode_rgb(
        EncodedClip(np.fromfile(index.path(row), np.uint8), np.arange(index.num_frames[row], dtype=np.int32))
    )
    by_ffmpeg = read_video(index.path(row), f"scale={BT601}", "format=rgb24").astype(int)
    assert np.abs(whole - by_ffmpeg).max() <= 1
    for frames in frame_lists(len(whole)):
        assert np.array_equal(decode_rgb(read_clip(index, row, frames)), whole[frames])


def test_copied_h264_has_b_frames_and_several_fragments(dataset):
    """This guards the test above, which would prove little without both."""
    index, row_of = dataset
    assert len(index.units(row_of["h264-copy"]).ends) == 6
    assert len(index.units(row_of["vp9-copy"]).ends) == 5


@pipeline_def(batch_size=1, num_threads=1, device_id=None, prefetch_queue_depth=1)
def decode_with_dali(data, frames):
    encoded = fn.external_source(source=lambda: [data], batch=True, dtype=types.UINT8)
    frame_numbers = fn.external_source(source=lambda: [frames], batch=True, dtype=types.INT32)
    return fn.decoders.video(encoded, frames=frame_numbers, pad_mode="none")


def dali_frames(data, frames):
    pipeline = decode_with_dali(data, np.asarray(frames, np.int32))
    pipeline.build()
    return np.array(pipeline.run()[0].at(0))


@pytest.mark.parametrize("name", ["vp9-1", "vp9-8", "vp9-16", "vp9-copy", "vp8-original", "mjpeg-original"])
def test_dali_decodes_a_clip_like_the_whole_file_and_pyav(dataset, name):
    index, row_of = dataset
    row = row_of[name]
    whole = np.fromfile(index.path(row), np.uint8)
    for frames in list(frame_lists(int(index.num_frames[row])))[1:4]:
        clip = read_clip(index, row, frames)
        decoded = dali_frames(clip.data, clip.frames)
        assert np.array_equal(decoded, dali_frames(whole, frames))
        difference = np.abs(decoded.astype(int) - decode_rgb(clip))
        assert difference.max() == 0


@pytest.mark.parametrize(
    "tags",
    [
        ["-pix_fmt", "yuv444p"],
        ["-vf", "scale=out_range=pc", "-color_range", "pc"],
        ["-vf", "scale=out_color_matrix=bt709", "-colorspace", "bt709"],
        ["-pix_fmt", "yuv420p10le"],
    ],
)
def test_colors_of_any_format_match_dali(tmp_path, tags):
    """Both ignore the matrix tag and honor the range."""
    path = make_video(tmp_path / "a.webm", codec="vp9", frames=4, extra=tags)
    data, frames = np.fromfile(path, np.uint8), np.arange(4, dtype=np.int32)
    here = decode_rgb(EncodedClip(data, frames)).astype(int)
    assert np.abs(here - dali_frames(data, frames)).max() <= 1


def test_the_matrix_tag_is_ignored(tmp_path):
    plain = make_video(tmp_path / "plain.mp4", frames=3)
    tagged = tmp_path / "tagged.mp4"
    run_ffmpeg("-i", plain, "-c", "copy", "-bsf:v", "h264_metadata=matrix_coefficients=1", tagged)
    frames = np.arange(3, dtype=np.int32)
    first, second = (decode_rgb(EncodedClip(np.fromfile(path, np.uint8), frames)) for path in (plain, tagged))
    assert np.array_equal(first, second)
    assert not np.array_equal(read_video(plain), read_video(tagged))  # the binary applies it


def test_damaged_bytes_are_a_clip_error(dataset):
    index, row_of = dataset
    clip = read_clip(index, row_of["h264-16"], np.array([40, 3]))
    for data in (clip.data[: len(clip.data) // 2], clip.data[:100], np.zeros(500, np.uint8), clip.data[:0]):
        with pytest.raises(ClipError, match=r"of 2 frames of the clip could be decoded|no video stream"):
            decode_rgb(EncodedClip(data, clip.frames))


def test_a_clip_without_video_stream_is_a_clip_error(tmp_path):
    run_ffmpeg("-f", "lavfi", "-i", "sine", "-t", "1", tmp_path / "sound.mp4")
    data = np.fromfile(tmp_path / "sound.mp4", np.uint8)
    with pytest.raises(ClipError, match="no video stream"):
        decode_rgb(EncodedClip(data, np.zeros(1, np.int32)))


@pytest.mark.skipif(not SHARED_MEDIA.is_dir(), reason="needs the shared media")
@pytest.mark.parametrize("name", ["kinetics_arm_wrestling.mp4", "nasa_h264_480x270_aac.mp4", "unordered_pts.mov"])
def test_copies_of_real_clips_decode_like_their_source(tmp_path, name):
    index = Index.build(tmp_path, {"a": copy_video(video_path(tmp_path, "a"), SHARED_MEDIA / name)})
    original = Index.build(tmp_path, {"a": leave_in_place(SHARED_MEDIA / name)})
    frames = np.array([0, int(index.num_frames[0]) - 1, int(index.num_frames[0]) // 2])
    assert index.num_frames[0] == original.num_frames[0]
    copied, plain = (decode_rgb(read_clip(rows, 0, frames)) for rows in (index, original))
    assert np.array_equal(copied, plain)


def jpegs(count: int) -> list[bytes]:
    frames = np.random.default_rng(0).integers(0, 256, (count, 6, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    files = [io.BytesIO() for _ in frames]
    for file, frame in zip(files, frames, strict=True):
        Image.fromarray(frame).save(file, "JPEG", quality=95)
    return [file.getvalue() for file in files]


@pytest.mark.parametrize("container", ["pictures", "picture_files"])
def test_pictures_are_fragments_of_one_frame(tmp_path, container):
    pictures = jpegs(12)
    if container == "pictures":  # with gaps, every other one deflated, in any order
        parts = [zlib.compress(p)[2:-4] if i % 2 else p for i, p in enumerate(pictures)]
        offsets = {i: 3 + sum(len(parts[k]) + 3 for k in range(11, i, -1)) for i in range(12)}
        (tmp_path / "a").write_bytes(b"...".join([b"", *reversed(parts)]))
        fragments = tuple(Fragment(offsets[i], len(parts[i]), 1, deflated=bool(i % 2)) for i in range(12))
        source = tmp_path / "a"
    else:
        for i, picture in enumerate(pictures):
            (tmp_path / f"img_{i + 95:02d}.jpg").write_bytes(picture)
        fragments, source = tuple(Fragment(0, len(p), 1) for p in pictures), tmp_path / "img_95.jpg"
    record = Record(
        12, 64, 48, 25.0, "mjpeg", "yuvj420p", 0, PackedFragments.of(fragments), container=container, source=str(source)
    )
    index = Index.build(tmp_path, {"a": record})
    clip = read_clip(index, 0, np.array([11, 2, 3, 2]))
    assert (clip.decoded, clip.codec, len(clip.fragments)) == (3, "mjpeg", 3)
    expected = [np.asarray(Image.open(io.BytesIO(pictures[i])).convert("RGB")).astype(int) for i in (11, 2, 3, 2)]
    assert np.abs(decode_rgb(clip) - expected).mean() < 2  # libjpeg interpolates chroma differently


def test_a_file_that_was_replaced_after_prepare_is_named(tmp_path):
    """FFmpeg decodes the beginning of a longer raw stream, so wrong frames would come without an error."""
    source = make_video(tmp_path / "a.ts", frames=20, codec="mpeg4")
    index = Index.build(tmp_path, {"a": leave_in_place(source)})
    assert read_clip(index, 0, np.array([3])).decoded == 4
    make_video(source, frames=40, codec="mpeg4")
    with pytest.raises(ClipError, match=r"a\.ts: it has \d+ bytes, and had \d+ when it was prepared: it was replaced"):
        read_clip(index, 0, np.array([3]))


def test_a_picture_that_was_replaced_after_prepare_is_named(tmp_path):
    pictures = jpegs(3)
    for i, picture in enumerate(pictures):
        (tmp_path / f"{i:05d}.jpg").write_bytes(picture)
    fragments, source = tuple(Fragment(0, len(p), 1) for p in pictures), str(tmp_path / "00000.jpg")
    record = Record(
        3, 64, 48, 25.0, "mjpeg", "yuvj420p", 0, PackedFragments.of(fragments), container="picture_files", source=source
    )
    index = Index.build(tmp_path, {"a": record})
    (tmp_path / "00002.jpg").write_bytes(pictures[2] + b"more")
    assert len(read_clip(index, 0, np.array([0, 1])).fragments) == 2
    with pytest.raises(ClipError, match=r"cannot read .*00002\.jpg: it has \d+ bytes"):
        read_clip(index, 0, np.array([2]))
    (tmp_path / "00002.jpg").unlink()
    with pytest.raises(ClipError, match=r"cannot read .*00002\.jpg: No such file"):
        read_clip(index, 0, np.array([2]))
