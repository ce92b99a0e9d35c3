"""Decode fragments without a demuxer, against PyAV's demuxer on the same bytes."""

import ctypes
import io
from collections.abc import Iterable

import av
import numpy as np
import pytest

from dali_pipelines.decode import packets
from dali_pipelines.store.encode import Encoding, write_frames
from dali_pipelines.store.fmp4 import Fragment, read_layout, sample_table
from dali_pipelines.store.reader import EncodedClip
from dali_pipelines.store.remux import copy_video
from tests.helpers.media import make_video


def drift(frames: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    still = np.kron(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), np.ones((12, 12, 1), np.uint8))
    return np.stack([np.roll(still, 3 * t, axis=1) for t in range(frames)])


def store(tmp_path, kind: str):
    """Return the bytes of a prepared video and its layout."""
    path = tmp_path / "stored.mp4"
    if kind == "copy":  # B-frames, so packets are not in display order
        copy_video(path, make_video(tmp_path / "a.mp4", frames=40, size=(96, 96), gop=12))
    else:
        codec, gop = kind.split("-")
        write_frames(path, iter(drift(20)), fps=25, settings=Encoding(codec=codec, gop=int(gop), size=(96, 96)))
    return path.read_bytes(), read_layout(path)


def demuxed(data: bytes) -> list[np.ndarray]:
    with av.open(io.BytesIO(data)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def pictures(data: bytes, init_size: int, fragments: Iterable[Fragment]) -> list[np.ndarray]:
    return [frame.to_ndarray(format="rgb24") for frame in packets.frames(clip_of(data, init_size, fragments))]


def clip_of(data: bytes, init_size: int, fragments: Iterable[Fragment]) -> EncodedClip:
    """Return a clip of whole fragments; which frames it requests does not matter here."""
    sizes = [(fragment.size, fragment.frames) for fragment in fragments]
    return EncodedClip(np.frombuffer(data, np.uint8), np.zeros(1, np.int32), init_size, sizes)


@pytest.mark.parametrize("kind", ["h264-1", "h264-8", "vp9-8", "mjpeg-1", "rawvideo-1", "copy"])
def test_frames_match_a_demuxer_in_display_order(tmp_path, kind):
    data, layout = store(tmp_path, kind)
    expected = demuxed(data)
    for init_size in (layout.init_size, 0):
        got = pictures(data, init_size, layout.fragments)
        assert len(got) == len(expected) >= 20
        assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


def test_an_unfinished_clip_does_not_leak_into_the_next(tmp_path):
    data, layout = store(tmp_path, "copy")
    expected = demuxed(data)
    first, second = layout.fragments[:2]
    for _ in range(3):
        unfinished = packets.frames(clip_of(data, layout.init_size, [first]))
        assert np.array_equal(next(unfinished).to_ndarray(format="rgb24"), expected[0])
    clip = data[: layout.init_size] + data[second.offset : second.offset + second.size]
    assert np.array_equal(pictures(clip, layout.init_size, [second]), expected[first.frames :][: second.frames])


@pytest.mark.parametrize("kind", ["h264-1", "vp9-8", "rawvideo-1", "copy"])
def test_sample_sizes_match_the_demuxers_packets(tmp_path, kind):
    data, layout = store(tmp_path, kind)
    sizes: list[int] = []
    for offset, size, frames, _ in layout.fragments:
        moof = int.from_bytes(data[offset : offset + 4], "big")
        found, _ = sample_table(memoryview(data)[offset + 8 : offset + moof])
        assert len(found) == frames
        assert sum(found) + moof + 8 == size
        sizes += found
    with av.open(io.BytesIO(data)) as container:
        assert sizes == [packet.size for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize("kind", ["h264-8", "rawvideo-1"])
def test_a_truncated_fragment_is_an_error(tmp_path, kind):
    data, layout = store(tmp_path, kind)
    with pytest.raises(ValueError, match=r"box b'mdat' claims \d+ bytes, \d+ are left"):
        pictures(data[: layout.fragments[1].offset - 5], layout.init_size, layout.fragments)


@pytest.mark.parametrize("kind", ["h264-8", "rawvideo-1"])
@pytest.mark.parametrize("size", ["64 bits", "to the end"])
def test_box_sizes_may_be_64_bit_or_open_ended(tmp_path, kind, size):
    """ISO/IEC 14496-12, 4.2: 1 means a 64-bit size after the type, 0 a box that extends to the end."""
    data, layout = store(tmp_path, kind)
    first = layout.fragments[0]
    fragment = data[first.offset : first.offset + first.size]
    moof = int.from_bytes(fragment[:4])
    body = fragment[moof + 8 :]
    head = b"\0\0\0\1mdat" + (len(body) + 16).to_bytes(8) if size == "64 bits" else b"\0\0\0\0mdat"
    changed = data[: first.offset] + fragment[:moof] + head + body
    (tmp_path / "changed.mp4").write_bytes(changed)
    read = read_layout(tmp_path / "changed.mp4")
    assert read.fragments == (Fragment(first.offset, len(changed) - first.offset, first.frames),)
    expected = pictures(data[: first.offset + first.size], layout.init_size, [first])
    got = pictures(changed, read.init_size, read.fragments)
    assert len(got) == first.frames
    assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


def test_a_damaged_head_loses_only_its_own_fragment(tmp_path):
    data, layout = store(tmp_path, "rawvideo-1")
    damaged = bytearray(data)
    damaged[layout.fragments[2].offset] = 255
    assert len(pictures(bytes(damaged), layout.init_size, layout.fragments)) == 19


def test_a_fragment_shorter_than_its_head_says_is_refused(tmp_path):
    data, layout = store(tmp_path, "h264-8")
    first = layout.fragments[0]
    moof = int.from_bytes(data[first.offset : first.offset + 4], "big")
    body = first.size - moof
    shorter = (body - 5).to_bytes(4, "big") + data[first.offset + moof + 4 : first.offset + first.size - 5]
    with pytest.raises(ValueError, match="ends within a frame"):
        pictures(data[: first.offset + moof] + shorter, layout.init_size, [first])


def test_packets_end_in_ffmpegs_padding():
    """AV_INPUT_BUFFER_PADDING_SIZE is 64: decoders read that far past the last byte, and show it if that is damaged."""
    packet = packets._packet(memoryview(bytes([255]) * 200)[:100])
    assert ctypes.string_at(packet.buffer_ptr, 100 + 64) == bytes([255]) * 100 + bytes(64)
