"""Count the bytes that a peer has to read for a clip, from the packets of its video or the directory of its zip."""

import statistics
import zipfile
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import av
import numpy as np

from bench.peers.data import PeerClip


def read_kib(clips: Sequence[PeerClip], *, jpegs: bool) -> float:
    """Return the mean KiB of the clips' frames; for videos, with all that is decoded before them."""
    sizes = [jpeg_bytes(clip.jpegs, clip.frames) if jpegs else video_bytes(clip.video, clip.frames) for clip in clips]
    return round(statistics.fmean(sizes) / 1024, 1)


def jpeg_bytes(path: Path, frames: Iterable[int]) -> int:
    """Return the bytes of some pictures in a zip."""
    sizes = _members(path)
    return sum(sizes[f"{number:05d}.jpg"] for number in frames)


def video_bytes(path: Path, frames: Iterable[int]) -> int:
    """Return the bytes of the distinct packets from the key frame of each wanted frame up to the frame."""
    sizes, keys, place = _packets(path)
    needed = {packet for number in frames for packet in range(keys[place[number]], place[number] + 1)}
    return sum(sizes[packet] for packet in needed)


@cache
def _members(path: Path) -> dict[str, int]:
    with zipfile.ZipFile(path) as archive:
        return {member.filename: member.compress_size for member in archive.infolist()}


@cache
def _packets(path: Path) -> tuple[list[int], list[int], list[int]]:
    """Return bytes and preceding key frame of each packet, in decoding order, and the packet of each frame."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    keys = np.maximum.accumulate([number if packet.is_keyframe else 0 for number, packet in enumerate(packets)])
    shown = np.argsort([packet.pts or 0 for packet in packets], kind="stable")
    return [packet.size for packet in packets], keys.tolist(), shown.tolist()
