"""Clips as plain MP4: the same frames, as many as the sample table says, and a header for GPU decoders."""

import io
from dataclasses import replace

import av
import numpy as np
import pytest
from nvidia.dali import fn

from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.store import encode
from dali_pipelines.store.encode import Encoding, write_video
from dali_pipelines.store.encoders import ENCODERS
from dali_pipelines.store.files import video_path
from dali_pipelines.store.in_place import leave_in_place
from dali_pipelines.store.index import Index
from dali_pipelines.store.mp4 import plain_mp4
from dali_pipelines.store.reader import EncodedClip, read_clip
from dali_pipelines.store.record import ClipError
from dali_pipelines.store.remux import copy_video
from tests.helpers.bits import bits
from tests.helpers.dali import run_graph
from tests.helpers.media import make_video, read_video

pytestmark = pytest.mark.slow

STORED = [("h264", 1), ("h264", 8), ("hevc", 1), ("hevc", 8), ("vp9", 1), ("vp9", 8), ("mjpeg", 1), ("rawvideo", 1)]
B_FRAMES = ["-bf", "3", "-b_strategy", "0", "-x264-params", "keyint=9:min-keyint=9:scenecut=0"]
OPEN = ["-bf", "3", "-b_strategy", "0", "-x264-params", "keyint=9:min-keyint=9:scenecut=0:open-gop=1"]


def without_surface_fix(write):
    """Write as older versions did, with x264 told that all frames are key frames."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENCODERS, "h264", replace(ENCODERS["h264"], of_key_frames={}))
        patch.setattr(encode, "why_unfit", lambda *_: "")
        return write()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Store a moving picture in many ways; return the index, and name -> row."""
    root = tmp_path_factory.mktemp("data")
    source = make_video(root / "source.mp4", frames=40, size=(160, 160))
    records = {
        f"{codec}-{gop}": write_video(video_path(root, f"{codec}-{gop}"), source, Encoding(codec=codec, gop=gop))
        for codec, gop in STORED
    }
    old = video_path(root, "h264-old")
    records["h264-old"] = without_surface_fix(lambda: write_video(old, source, Encoding()))
    copies = {
        "b-copy": make_video(root / "b.mkv", frames=40, size=(98, 70), extra=B_FRAMES),
        "open-copy": make_video(root / "open.mp4", frames=40, size=(98, 70), extra=OPEN),
        "hevc-copy": make_video(root / "x.mp4", frames=40, size=(160, 160), codec="hevc", gop=12),
        "intra-copy": make_video(root / "i.ts", frames=20, extra=["-preset", "medium", "-g", "1"]),
    }
    for name, path in copies.items():
        records[name] = copy_video(video_path(root, name), path)
    records["original"] = leave_in_place(copies["b-copy"])
    index = Index.build(root, records)
    return index, {index.info(i).name: i for i in range(len(index))}


NAMES = [*(f"{codec}-{gop}" for codec, gop in STORED), "h264-old", "b-copy", "open-copy", "hevc-copy", "intra-copy"]


def frame_lists(num_frames):
    yield np.arange(num_frames)
    yield np.array([0])
    yield np.arange(3, num_frames - 1, 4)
    rng = np.random.default_rng(0)
    for _ in range(6):
        first = rng.integers(num_frames - 4)
        yield np.arange(first, rng.integers(first + 1, num_frames))


def demuxed(data):
    """Return the packets of a file in memory, and the number that its header declares."""
    with av.open(io.BytesIO(data)) as container:
        announced = container.streams.video[0].frames
        return [packet for packet in container.demux(video=0) if packet.size], announced


def all_frames(data):
    """Decode a file in memory to RGB, in display order."""
    with av.open(io.BytesIO(data)) as container:
        times = [frame.pts for frame in container.decode(video=0)]
    assert times == sorted(set(times))
    return decode_rgb(EncodedClip(data, np.arange(len(times), dtype=np.int32)))


@pytest.mark.parametrize("name", NAMES)
def test_plain_mp4_holds_and_announces_the_frames_of_the_fragments(dataset, name):
    index, row_of = dataset
    for frames in frame_lists(int(index.num_frames[row_of[name]])):
        clip = read_clip(index, row_of[name], frames)
        data = plain_mp4(clip)
        packets, announced = demuxed(data)
        decoded = all_frames(data)
        assert len(decoded) == len(packets) == announced
        assert np.array_equal(decoded[clip.frames], decode_rgb(clip))
        begins = np.cumsum([0, *(count for _, count in clip.fragments)]).tolist()
        if name != "open-copy":  # there FFmpeg also flags key frames that are not IDR, from their content
            assert [packet.is_keyframe for packet in packets] == [number in begins for number in range(announced)]
        # The last packet's frame is wanted or precedes a wanted one: none is decoded in vain.
        assert sorted(packet.pts for packet in packets).index(packets[-1].pts) < clip.decoded
        if name not in ("b-copy", "open-copy", "hevc-copy"):  # the others have no frames out of order
            assert announced == clip.decoded


def test_the_copies_have_b_frames_and_open_gops(dataset):
    """This guards the test above: frames are out of order, and one index fragment spans several in the file."""
    index, row_of = dataset
    with av.open(str(index.path(row_of["b-copy"]))) as container:
        times = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert times != sorted(times)
    assert len(index.units(row_of["b-copy"]).ends) == 5
    assert len(index.units(row_of["open-copy"]).ends) == 1
    assert index.path(row_of["open-copy"]).read_bytes().count(b"moof") == 5


@pytest.mark.parametrize("name", ["h264-1", "h264-8", "hevc-8", "vp9-8", "b-copy", "open-copy"])
def test_ffmpeg_reads_the_plain_mp4(dataset, tmp_path, name):
    index, row_of = dataset
    clip = read_clip(index, row_of[name], np.arange(5, 21))
    path = tmp_path / "a.mp4"
    plain_mp4(clip).tofile(path)
    shown = read_video(path, "scale=flags=bilinear+full_chroma_int+accurate_rnd", "format=rgb24").astype(int)
    assert np.abs(shown[clip.frames] - decode_rgb(clip)).max() <= 1


def dali_frames(data, frames):
    sample = {"data": data, "frames": frames}
    (decoded,) = run_graph(lambda n: fn.decoders.video(n["data"], frames=n["frames"], pad_mode="none"), [sample])
    return decoded


@pytest.mark.parametrize("name", ["vp9-1", "vp9-8"])
def test_dali_decodes_plain_mp4_and_fragments_alike(dataset, name):
    index, row_of = dataset
    for frames in (np.arange(5, 21), np.array([39, 3, 3]), np.array([8])):
        clip = read_clip(index, row_of[name], frames)
        decoded = dali_frames(plain_mp4(clip), clip.frames)
        assert np.array_equal(decoded, dali_frames(clip.data, clip.frames))
        assert np.array_equal(decoded, decode_rgb(clip))


def test_other_video_files_pass_through(dataset):
    index, row_of = dataset
    clip = read_clip(index, row_of["original"], np.arange(3))
    assert plain_mp4(clip) is clip.data


@pytest.mark.parametrize("name", ["h264-old", "intra-copy"])
def test_one_surface_headers_are_fixed(dataset, tmp_path, name):
    index, row_of = dataset
    clip = read_clip(index, row_of[name], np.arange(2, 7))
    clip.data.tofile(tmp_path / "stored.mp4")
    plain_mp4(clip).tofile(tmp_path / "plain.mp4")
    stored, plain = bits(tmp_path / "stored.mp4"), bits(tmp_path / "plain.mp4")
    assert set(stored["constraint_set3_flag"]) == {1}
    assert set(plain["constraint_set3_flag"]) == {0}
    assert {field: values for field, values in plain.items() if field != "constraint_set3_flag"} == {
        field: values for field, values in stored.items() if field != "constraint_set3_flag"
    }
    assert len(plain["constraint_set3_flag"]) > 5 * (name == "intra-copy")  # there it precedes each picture too
    with av.open(str(tmp_path / "plain.mp4")) as container:
        config = container.streams.video[0].codec_context.extradata
    assert config[2] & 0x10 == 0  # the same flag in avcC


@pytest.mark.parametrize("name", ["h264-1", "h264-8", "hevc-1", "b-copy"])
def test_headers_with_enough_surfaces_are_left_alone(dataset, name):
    index, row_of = dataset
    clip = read_clip(index, row_of[name], np.arange(2, 7))
    configs = []
    for data in (clip.data, plain_mp4(clip)):
        with av.open(io.BytesIO(data.tobytes())) as container:
            configs.append(container.streams.video[0].codec_context.extradata)
    assert configs[0] == configs[1]


def test_old_and_new_stores_hold_the_same_pictures(dataset):
    index, row_of = dataset
    frames = np.arange(0, 40, 3)
    old, new = (decode_rgb(read_clip(index, row_of[name], frames)) for name in ("h264-old", "h264-1"))
    assert np.array_equal(old, new)


@pytest.mark.parametrize("name", ["h264-1", "h264-8", "vp9-8"])
def test_damaged_fragments_are_a_clip_error(dataset, name):
    index, row_of = dataset
    clip = read_clip(index, row_of[name], np.arange(5, 21))
    zeros, head = clip.data.copy(), clip.data.copy()
    zeros[clip.init_size :] = 0
    head[: clip.init_size] = 0
    for data in (clip.data[:-9], clip.data[: clip.init_size + 3], zeros, head):
        with pytest.raises(ClipError, match="the fragments of the clip are damaged"):
            plain_mp4(replace(clip, data=data))
