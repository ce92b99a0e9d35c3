"""Pictures as the frames of a video: find, identify and decode them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from dali_pipelines.decode import packets
from dali_pipelines.decode.frames import PLANAR
from dali_pipelines.store.archives import kind_of, read_archive
from dali_pipelines.store.archives.lmdb import elements
from dali_pipelines.store.archives.zips import data_begin
from dali_pipelines.store.fmp4 import Fragment
from dali_pipelines.store.index import Index
from dali_pipelines.store.listing import list_folder
from dali_pipelines.store.picture import UPRIGHT, Header, pix_fmt_of, read_header, reason_of
from dali_pipelines.store.place import Place, Series
from dali_pipelines.store.reader import inflate, read_clip
from dali_pipelines.store.record import ClipError, Record
from dali_pipelines.store.source import DEFAULT_FPS, Source, VideoError
from dali_pipelines.store.storage import is_url, joined, open_ranged, read_file
from dali_pipelines.store.units import PackedFragments

BATCH = 16  # pictures read at once


class PictureSource:
    """A video made of pictures. They have no frame rate and get DEFAULT_FPS. VideoError for any fault.

    The record points to the pictures in place. To make it, all are read and one of each kind is decoded.
    """

    fps: Fraction = DEFAULT_FPS
    pixel_aspect = Fraction(1)
    notes: tuple[str, ...] = ()

    def __init__(self, place: Place) -> None:
        self._place = _resolved(place)
        self.record = _record(self._place)
        self.codec = self.record.codec

    def frames(self) -> Iterator[VideoFrame]:
        """Decode all pictures, as clips of a dataset do; VideoError at the first damaged one."""
        index, count = Index.build(Path(), {"": self.record}), 0
        try:
            for first in range(0, self.record.num_frames, BATCH):
                numbers = np.arange(first, min(first + BATCH, self.record.num_frames))
                for frame in packets.frames(read_clip(index, 0, numbers)):
                    yield frame
                    count += 1
        except (FFmpegError, ClipError) as error:
            raise VideoError(f"its picture {_name(self._place, count)} does not decode: {reason_of(error)}") from error


def open_source(source: Place | Path | str) -> AbstractContextManager[Source | PictureSource]:
    """Open a source video of any kind; VideoError for any fault."""
    place = Place.of(source)
    return nullcontext(PictureSource(place)) if place.is_pictures else Source(place)


def _record(place: Place) -> Record:
    """Read all pictures; OSError if one cannot be read, VideoError if they differ in size or codec."""
    fragments: list[Fragment] = []
    formats: dict[Header, str] = {}
    for i, (fragment, data) in enumerate(_units(place)):
        what = f"its picture {_name(place, i)}"
        header = read_header(data, what)
        before = next(iter(formats), header)
        if header.size != before.size:
            now, then = ("x".join(map(str, of.size)) for of in (header, before))
            raise VideoError(f"{what} is {now}, those before it {then}")
        if header.codec != before.codec:
            raise VideoError(f"{what} is {header.codec}, those before it {before.codec}")
        if header not in formats:
            formats[header] = pix_fmt_of(data, header.codec, what)
        fragments.append(fragment)
    if len(fragments) < 2:
        raise VideoError("has only one picture, a clip needs motion" if fragments else "has no pictures")
    first, series = next(iter(formats)), place.series
    notes = {
        "with an EXIF rotation, which is ignored; --codec h264 turns the pictures": any(
            of.orientation != UPRIGHT for of in formats
        ),
        "with optical flow beside the pictures, which is passed over": series is not None and series.flow > 0,
    }
    return Record(
        num_frames=len(fragments),
        width=first.size[0],
        height=first.size[1],
        fps=float(DEFAULT_FPS),
        codec=first.codec,
        # Of mixed formats, one that is not planar 4:2:0, so no decoder takes all for such planes.
        pix_fmt=next((of for of in formats.values() if of not in PLANAR), formats[first]),
        init_size=0,
        fragments=PackedFragments.of(fragments),
        container="picture_files" if place.kind == "folder" else "pictures",
        source=joined(place.location, series.name(0)) if series and place.kind == "folder" else place.location,
        notes=tuple(note for note, holds in notes.items() if holds),
    )


def _resolved(place: Place) -> Place:
    """Fill in what a place leaves open: the file names in a folder, or the members of an archive."""
    if place.fault:
        raise VideoError(place.fault)
    if place.kind == "folder":
        try:
            series = Series.of(entry.name for entry in list_folder(place.location) if entry.kind == "file")
        except ValueError as error:
            raise VideoError(str(error)) from error
        return replace(place, series=series)
    if place.parts is not None:
        return place
    found = read_archive(place.location, kind_of(place.location)).videos.get(place.member)
    if found is None or found.fault:
        raise VideoError(found.fault if found else "is no longer one series of pictures")
    return found


def _name(place: Place, i: int) -> str:
    return place.series.name(i) if place.series else f"number {i + 1}"


def _units(place: Place) -> Iterator[tuple[Fragment, bytes]]:
    """Yield each picture's fragment and its inflated bytes; OSError if one cannot be read."""
    if place.kind == "folder":
        names = [_name(place, i) for i in range(place.series.count if place.series else 0)]
        for picture in _read_files([joined(place.location, name) for name in names]):
            yield Fragment(0, len(picture), 1), picture.tobytes()
        return
    with open_ranged(place.location) as file:
        for i, (begin, end, deflated) in enumerate(_spans(place, file)):
            file.seek(begin)
            data = file.read(end - begin)
            try:
                yield Fragment(begin, end - begin, 1, deflated), inflate(data) if deflated else data
            except ClipError as error:
                raise VideoError(f"its picture {_name(place, i)} is damaged: {error}") from error


def _read_files(locations: Sequence[str]) -> Iterator[NDArray[np.uint8]]:
    """Yield the bytes of each file; at a URL, some are read at once, since a server takes a while to answer each."""
    with ThreadPoolExecutor(BATCH) as threads:  # starts no thread before the first job
        for first in range(0, len(locations), BATCH):
            some = locations[first : first + BATCH]
            yield from (threads.map if is_url(some[0]) else map)(read_file, some)


def _spans(place: Place, file: BinaryIO) -> Iterator[tuple[int, int, bool]]:
    """Yield start and end of each picture in an archive, and whether it is deflated."""
    assert place.parts is not None
    for begin, size, deflated in place.parts.tolist():
        if place.kind == "lmdb":
            try:
                yield from ((*span, False) for span in elements(file, begin, begin + size))
            except ValueError as error:
                raise VideoError(str(error)) from error
        else:
            start = data_begin(file, begin, size) if place.kind == "zip" else begin
            yield start, start + size, bool(deflated)
