"""Clips as plain MP4: the same pictures as their fragments, with a header that counts them."""

import contextlib
import io
from dataclasses import replace

import av
import numpy as np
import pytest
from nvidia.dali import fn, pipeline_def

from dali_pipelines.graph.decode import decode
from dali_pipelines.store.encode import Encoding, write_frames
from dali_pipelines.store.files import video_path
from dali_pipelines.store.headers import surfaces
from dali_pipelines.store.index import Index
from dali_pipelines.store.mp4 import plain_mp4
from dali_pipelines.store.reader import ClipError, EncodedClip, decode_clip, read_clip
from dali_pipelines.store.remux import copy_video, leave_in_place
from tests.media import make_video, run_ffmpeg
from tests.test_store_headers import ONE_SURFACE, traced

FRAMES = 40
ASKED = {
    "within a fragment": np.arange(8, 14),
    "over fragments": np.arange(3, 21),
    "skips fragments": np.array([1, 18, 37]),
    "out of order": np.array([30, 2, 2, 17]),
    "one": np.array([25]),
    "to the end": np.arange(FRAMES - 5, FRAMES),
}


STORES = {
    **{f"{codec} {gop}": (codec, gop) for codec in ("h264", "vp9") for gop in (1, 8)},
    "hevc 8": ("hevc", 8),
    "copy with b frames": ["-bf", "3"],
    "copy with one surface": ONE_SURFACE,
    "copy of an open gop": ["-x264-params", "open-gop=1"],
}


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Index:
    """Videos that were encoded, and copies of others, some with frames that are decoded in another order than shown."""
    root = tmp_path_factory.mktemp("plain")
    rng = np.random.default_rng(0)
    noise = np.kron(rng.integers(0, 256, (20, 22, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    records = {}
    for name, how in STORES.items():
        path = video_path(root, name)
        path.parent.mkdir(exist_ok=True)
        if isinstance(how, tuple):
            frames = (np.roll(noise, 2 * t, axis=1) for t in range(FRAMES))
            records[name] = write_frames(path, frames, fps=25, settings=Encoding(*how))
        else:
            source = make_video(root / "source.mp4", frames=FRAMES, size=(176, 144), gop=12, extra=how)
            records[name] = copy_video(path, source)
    return Index.build(root, records)


def clip_of(index: Index, name: str, frames: np.ndarray) -> EncodedClip:
    return read_clip(index, index.names.texts().index(name), frames)


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("name", STORES)
def test_a_plain_clip_has_the_pictures_of_its_fragments_and_says_how_many(index, name, asked):
    clip = clip_of(index, name, ASKED[asked])
    plain = plain_mp4(clip)
    with av.open(io.BytesIO(plain.tobytes())) as container:
        stream = container.streams.video[0]
        announced = stream.frames
        times = [packet.pts for packet in container.demux(stream) if packet.size]
    assert announced == len(times) == len(set(times))
    assert sorted(times)[: clip.decoded] == list(range(clip.decoded))
    if "b frames" not in name and "open gop" not in name:
        assert announced == clip.decoded  # nothing behind the last wanted frame
    again = EncodedClip(plain, clip.frames, clip.decoded)
    assert (decode_clip(again) == decode_clip(clip)).all()


@pytest.mark.parametrize("name", STORES)
def test_the_ffmpeg_command_line_reads_it_too(index, name, tmp_path):
    clip = clip_of(index, name, np.arange(5, 30))
    path = tmp_path / "clip.mp4"
    path.write_bytes(plain_mp4(clip).tobytes())
    raw = run_ffmpeg("-i", path, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "gray", "-")
    width, height = index.sizes_WH[index.names.texts().index(name)].tolist()
    theirs = np.frombuffer(raw, np.uint8).reshape(-1, height, width)[clip.frames].astype(int)
    ours = (decode_clip(clip) @ np.array([0.299, 0.587, 0.114]) * 219 / 255 + 16)
    assert np.abs(theirs - ours).mean() < 2 or np.abs(theirs - (ours - 16) * 255 / 219).mean() < 2


@pytest.mark.parametrize("name", ["vp9 1", "vp9 8"])
def test_dalis_own_decoder_makes_the_same_pixels_of_both(index, name):
    clips = [clip_of(index, name, frames) for frames in ASKED.values()]
    plain, fragments = (
        decoded_by_dali([make(clip) for clip in clips], clips) for make in (plain_mp4, lambda clip: clip.data)
    )
    for ours, theirs in zip(plain, fragments, strict=True):
        assert (ours == theirs).all()


def decoded_by_dali(media, clips):
    @pipeline_def(batch_size=len(clips), num_threads=1, device_id=None, prefetch_queue_depth=1)
    def pipeline():
        nodes = fn.external_source(lambda: (media, [clip.frames for clip in clips]), num_outputs=2)
        return decode(*nodes, gpu=False)

    built = pipeline()
    built.build()
    (output,) = built.run()
    return [np.array(output.at(place)) for place in range(len(clips))]


def test_a_clip_of_one_surface_is_mended_on_the_way(index):
    clip = clip_of(index, "copy with one surface", np.arange(4))
    with av.open(io.BytesIO(clip.data.tobytes())) as container:
        assert surfaces("h264", container.streams.video[0].codec_context.extradata) == 1
    with av.open(io.BytesIO(plain_mp4(clip).tobytes())) as container:
        assert surfaces("h264", container.streams.video[0].codec_context.extradata) >= 2


def test_parameter_sets_among_the_packets_are_mended_too(tmp_path):
    """A copy of a transport stream has them in front of every key frame."""
    source = make_video(tmp_path / "a.ts", frames=8, size=(176, 144), extra=ONE_SURFACE)
    path = video_path(tmp_path, "a")
    path.parent.mkdir()
    index = Index.build(tmp_path, {"a": copy_video(path, source)})
    clip = read_clip(index, 0, np.arange(8))
    raw = path.with_name("clip.mp4")
    for data, bits in ((clip.data, {1}), (plain_mp4(clip), {0})):
        raw.write_bytes(data.tobytes())
        assert set(traced(raw)["constraint_set3_flag"]) == bits
        assert len(traced(raw)["constraint_set3_flag"]) > 1  # some are in band
    assert (decode_clip(EncodedClip(plain_mp4(clip), clip.frames, 8)) == decode_clip(clip)).all()


def test_an_original_file_passes_untouched(tmp_path):
    source = make_video(tmp_path / "a.mp4", frames=8, size=(176, 144))
    clip = read_clip(Index.build(tmp_path, {"a": leave_in_place(source)}), 0, np.arange(3))
    assert plain_mp4(clip) is clip.data


@pytest.mark.parametrize("name", ["h264 1", "h264 8"])
def test_fragments_that_are_not_whole_are_an_error_of_the_clip(index, name):
    """Cut short at any byte, or with any byte of a header changed: never another error, never fewer frames."""
    clip = clip_of(index, name, np.arange(8))
    for cut in range(clip.init_size, len(clip.data), 397):
        with pytest.raises(ClipError, match="damaged"):
            plain_mp4(replace(clip, data=clip.data[:cut]))
    for place in range(clip.init_size, clip.init_size + 120):
        changed = clip.data.copy()
        changed[place] ^= 0xFF
        with contextlib.suppress(ClipError):
            assert len(plain_mp4(replace(clip, data=changed))) > 0
