"""Find the videos that a command names."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from configs.errors import UserError, first_names
from configs.words import counted
from dali_pipelines.datasets.search import DATA_FILE, PassedOver, Search
from dali_pipelines.store import listing
from dali_pipelines.store.archives import SUFFIXES, kind_of, read_archive
from dali_pipelines.store.files import is_video_name
from dali_pipelines.store.place import Place
from dali_pipelines.store.source import VideoError
from dali_pipelines.store.storage import is_url, is_web, unquoted

ALONE = "RGB_frames"
"""CtP's name for the only zip in the folder of a video (specs/ctp.md 4)."""


@dataclass(frozen=True)
class Found:
    """The videos of the sources by name, sorted, and the labels of those whose archive has them.

    Notes are sentences for the user, mainly on what was passed over.
    """

    videos: Mapping[str, Place]
    labels: Mapping[str, str]
    notes: tuple[str, ...]


class _Video(NamedTuple):
    """A video with its preferred name, and a longer one in case another video has the same."""

    name: str
    longer: str
    place: Place
    label: str | None = None


def find_videos(sources: Iterable[Path | str], *, outside: Path) -> Found:
    """Find the videos of `sources`, but not in the own folders of the dataset `outside`.

    Folders are searched recursively, following links. A video is a file with a video suffix, a folder of numbered
    pictures without video files, or a video in an archive (zip, tar, LMDB). A source that is a file is taken whatever
    its suffix; its first bytes decide whether it is an archive.

    Names are paths below the source without the suffix; for sources that are files, below the folder that all of them
    share. Videos of an archive with several keep their names in it, preceded by its path if it is a zip found in a
    folder. Videos with the same name get longer ones: with the suffix of the file, or preceded by the archive's path.
    UserError if a source is neither a file nor a folder, two videos still have the same name, or there is no video.
    """
    given = [str(source) for source in sources]
    passed = PassedOver()
    found: list[_Video] = []
    kinds = dict(_kinds(given))
    files = [root for root, kind in kinds.items() if kind == "file" and not is_url(root)]
    shared = os.path.commonpath([os.path.dirname(file) for file in files]) if files else ""
    for root, kind in kinds.items():
        if kind == "folder":
            for place in Search(passed, outside=outside).below(root):
                found += _named(place, root, passed)
        else:
            found += _named(Place(root), os.path.dirname(root) if is_url(root) else shared, passed, given=True)
    videos, notes = _by_name(found)
    notes += passed.sentences()
    if not videos:
        notes += ["a URL at which a server sends a web page counts as a folder"] * any(map(is_web, kinds))
        raise UserError(
            f"no video files in {', '.join(given)}, and no folders of numbered pictures; files with another suffix "
            f"can be given by their path{''.join(f'; {note}' for note in notes)}"
        )
    labels = {name: video.label for name, video in videos.items() if video.label is not None}
    return Found({name: video.place for name, video in videos.items()}, labels, tuple(notes))


def _kinds(sources: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each source and whether it is a "file" or a "folder"; UserError if it is neither.

    Paths become absolute. A URL with braces or stars becomes the files that it names.
    """
    for source in sources:
        named = listing.expand(source) if is_url(source) else []
        if named and named != [source]:  # too many to query each
            yield from ((url, "file") for url in named)
            continue
        try:
            kind = listing.kind(source)
        except OSError as error:
            raise UserError(f"cannot read {source}: {error.strerror or error}") from error
        if kind not in ("file", "folder"):
            raise UserError(f"{source} is a {kind} and no file" if kind else f"no such file or folder: {source}")
        yield source.rstrip("/") if is_url(source) else os.path.abspath(source), kind


def _named(place: Place, root: str, passed: PassedOver, *, given: bool = False) -> Iterator[_Video]:
    """Yield the video at a place below a root, or the videos of an archive there."""
    if place.kind == "folder":
        name = _relative(place.location, root) or _basename(root if is_url(root) else os.path.realpath(root))
        yield _Video(name, name, place)
        return
    path = place.location.removesuffix(f"/{DATA_FILE}")
    relative = _relative(path, root) or _basename(path)
    stem = _stem(relative, given=given)
    if PurePosixPath(stem).name == ALONE:
        stem = os.path.dirname(stem) or os.path.basename(os.path.dirname(path))
    kind, contents = "", None
    try:
        if given or path != place.location or path.lower().endswith(SUFFIXES):
            kind = kind_of(place.location)
            contents = read_archive(place.location, kind) if kind or not given else None
    except VideoError as error:
        yield _Video(stem, relative, replace(place, fault=str(error)))
        return
    except OSError:  # will recur, and be handled, when the file is opened
        yield _Video(stem, relative, replace(place, kind="zip"))
        return
    if contents is None:
        yield _Video(stem, relative, place)
        return
    passed.suffixes.update(contents.others)
    for name, video in contents.videos.items():
        label = contents.labels.get(name)
        if not name:
            # The members of a zip are listed again when it is opened: thousands of zips have millions of members.
            yield _Video(stem, relative, replace(video, parts=None, series=None) if kind == "zip" else video, label)
            continue
        inner = name if video.is_pictures else _stem(name)
        yield _Video(f"{stem}/{inner}" if kind == "zip" and not given else inner, f"{stem}/{name}", video, label)


def _relative(path: str, root: str) -> str:
    """Return the path below a root, unquoted if the root is a web URL."""
    path = path.removeprefix(root).strip("/")
    return unquoted(path) if is_web(root) else path


def _basename(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return _relative(path, folder) if folder else name


def _stem(name: str, *, given: bool = False) -> str:
    """Drop a known suffix from a path; if the source itself is the file, any suffix."""
    if given or is_video_name(name):
        return PurePosixPath(name).with_suffix("").as_posix()
    known = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(known)]


def _by_name(found: Iterable[_Video]) -> tuple[dict[str, _Video], list[str]]:
    """Give each video a unique name, sorted, and note which got longer ones; UserError if two are still the same."""
    unique = {str(video.place): video for video in found}.values()
    counts = Counter(video.name for video in unique)
    repeated = [name for name, count in counts.items() if count > 1]
    named: dict[str, _Video] = {}
    for video in unique:
        name = video.longer if counts[video.name] > 1 else video.name
        before = named.setdefault(name, video)
        if before is not video:
            raise UserError(
                f"two videos would both be named {name!r}: {before.place} and {video.place}; give the folder "
                "that holds both instead, or rename one"
            )
    notes = [f"videos that share {counted(len(repeated), 'name')} get longer names: {first_names(repeated)}"]
    return dict(sorted(named.items())), notes if repeated else []
