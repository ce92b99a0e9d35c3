"""Find the videos among the members of a zip or tar: folders of pictures, and video files."""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

import numpy as np

from dali_pipelines.store.files import is_video_name
from dali_pipelines.store.place import PICTURE, Place, Series
from dali_pipelines.store.source import VideoError


class Member(NamedTuple):
    """A file in an archive: `size` bytes from `begin` on, deflated or plain; `fault`: why it cannot be read."""

    name: str
    begin: int
    size: int
    deflated: bool = False
    fault: str = ""


@dataclass(frozen=True)
class Contents:
    """The videos of an archive by their names in it, empty if the whole archive is one video.

    Also their classes, if it has them, and the number of other files by suffix.
    """

    videos: Mapping[str, Place]
    labels: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, int] = field(default_factory=dict)


def is_inside(name: str) -> bool:
    """Tell whether a relative path stays below its folder."""
    return bool(name.strip("/.")) and "\0" not in name and not name.startswith("/") and ".." not in name.split("/")


def contents(location: str, kind: Literal["zip", "tar"], members: Iterable[Member]) -> Contents:
    """Group the members of an archive into videos.

    A folder of numbered pictures is one video, as is each video file. If there is just one series of pictures and no
    video file, the archive itself is the video. VideoError if there is no video, a member points outside, or a picture
    cannot be read.
    """
    files: dict[str, Member] = {}
    folders: dict[str, dict[str, Member]] = defaultdict(dict)
    others: Counter[str] = Counter()
    for member in members:
        if not is_inside(member.name):
            raise VideoError(
                f"its member {member.name!r} points outside of the archive: make the archive again without it"
            )
        name = posixpath.normpath(member.name)
        folder, _, base = name.rpartition("/")
        if "/." in f"/{name}" or name.startswith("__MACOSX"):
            continue
        if PICTURE.fullmatch(base):
            if member.fault:
                raise VideoError(f"its member {name!r} {member.fault}")
            folders[folder][base] = member
        elif is_video_name(base):
            files[name] = member
        else:
            others[PurePosixPath(base).suffix or "none"] += 1
    videos = {}
    for name, member in files.items():
        parts = np.array([[member.begin, member.size, 0]], np.int64)
        fault = f"its member {name!r} {member.fault}" if member.fault else ""
        videos[name] = Place(location, "file", name, parts, fault=fault)
    if not files and len(folders) == 1:  # the archive itself is the video
        folders = {"": next(iter(folders.values()))}
    else:
        others["loose pictures"] += len(folders.pop("", ()))
    found = {name: _pictures(location, kind, name, of) for name, of in folders.items()}
    videos |= {name: place for name, place in found.items() if place is not None}
    if not videos:
        raise VideoError("has no video files and no folders of numbered pictures")
    return Contents(videos, others=+others)


def _pictures(location: str, kind: Literal["zip", "tar"], name: str, of: Mapping[str, Member]) -> Place | None:
    """Return the place of a folder of pictures; None if they have no numbers."""
    try:
        series = Series.of(of)
    except ValueError as error:
        return Place(location, kind, name, fault=str(error))
    if series is None:
        return None
    used = [of[series.name(i)] for i in range(series.count)]
    parts = np.array([(member.begin, member.size, member.deflated) for member in used], np.int64)
    return Place(location, kind, name, parts, series)
