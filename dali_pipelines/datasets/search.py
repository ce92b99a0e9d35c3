"""Search a folder for videos of every kind, and count what is passed over."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from configs.errors import first_names
from configs.words import counted
from dali_pipelines.store.archives import SUFFIXES
from dali_pipelines.store.files import INDEX_FILE, JOURNAL_FILE, PART_FOLDER, SHARD_FOLDER, VIDEO_FOLDER, is_video_name
from dali_pipelines.store.listing import Entry, list_folder
from dali_pipelines.store.place import PICTURE, Place, is_numbered
from dali_pipelines.store.storage import is_url, joined

OWN_FOLDERS = (VIDEO_FOLDER, SHARD_FOLDER, PART_FOLDER)
DATA_FILE = "data.mdb"
"""The file that makes a folder an LMDB."""
FOREIGN = ("@", "__MACOSX", "lost+found", "#recycle", "$RECYCLE.BIN", "System Volume Information")
"""Prefixes of folders that belong to other programs; @eaDir is a NAS's."""
PARTIAL = re.compile(r".*\.(temp|f[0-9]+(-[0-9a-z]+)?)\.[a-z0-9]+", re.IGNORECASE)
"""Leftovers of yt-dlp: audio alone, video alone, or an unfinished file."""


class PassedOver:
    """The things that a search passes over, by reason."""

    def __init__(self) -> None:
        self.things: dict[tuple[str, str], list[str]] = defaultdict(list)
        self.suffixes: Counter[str] = Counter()

    def add(self, kind: str, thing: str, reason: str = "") -> None:
        """Add a path or name: its kind, in the singular, and the reason if the kind does not say it."""
        self.things[kind, reason].append(thing)

    def sentences(self) -> list[str]:
        """Return one sentence per reason, with its first things."""
        found = [
            f"passed over {counted(len(of), kind)}{reason and ' '}{reason}: {first_names(of)}"
            for (kind, reason), of in self.things.items()
        ]
        if self.suffixes:
            counts = ", ".join(f"{suffix} ({count})" for suffix, count in self.suffixes.most_common())
            found.append(f"passed over {counted(self.suffixes.total(), 'file')} without a video suffix: {counts}")
        return found


class Search:
    """Search folders for video files, folders of numbered pictures and archives.

    Links are followed last, so a folder that is also linked keeps its own path. The own folders of the dataset
    `outside` are not searched.
    """

    def __init__(self, passed: PassedOver, *, outside: Path) -> None:
        self._passed = passed
        self._outside = {os.path.realpath(outside / name) for name in OWN_FOLDERS}
        self._seen: dict[tuple[int, int | str], str] = {}

    def below(self, root: str) -> Iterator[Place]:
        """Yield the places below a folder; archives as unopened files."""
        links = [root]
        while links:
            yield from self._walk(links.pop(0), links, is_root=len(self._seen) == 0)

    def _walk(self, folder: str, links: list[str], *, is_root: bool) -> Iterator[Place]:
        try:
            here = (0, folder) if is_url(folder) else os.stat(folder)[1:3]
            entries = list_folder(folder)
        except OSError as error:
            self._passed.add("folder", folder, f"that cannot be read ({error.strerror or error})")
            return
        if here in self._seen:
            if os.path.islink(folder) and not folder.startswith(self._seen[here] + "/"):
                self._passed.add("link", f"{folder} -> {self._seen[here]}", "to what is searched by its own name")
            return
        if os.path.realpath(folder) in self._outside:
            return
        self._seen[here] = folder
        kinds = {entry.name: entry.kind for entry in entries}
        if kinds.get(DATA_FILE) == "file":
            yield Place(joined(folder, DATA_FILE))
            return
        # The journal counts as well: `prepare` writes the index at its end.
        is_store = any(kinds.get(name) == "file" for name in (INDEX_FILE, JOURNAL_FILE)) and any(
            kinds.get(name) == "folder" for name in OWN_FOLDERS
        )
        if is_store and not is_root:
            self._passed.add("prepared dataset", folder)
            return
        yield from self._files(folder, entries)
        for entry in entries:
            path = joined(folder, entry.name)
            if entry.kind != "folder":
                continue
            if entry.name.startswith((".", *FOREIGN)):
                self._passed.add("folder", path, "hidden or of another program")
            elif is_store and entry.name in OWN_FOLDERS:
                self._passed.add("prepared dataset", folder)
            elif entry.linked:
                links.append(path)
            else:
                yield from self._walk(path, links, is_root=False)

    def _files(self, folder: str, entries: list[Entry]) -> Iterator[Place]:
        """Yield the video files and archives of a folder, or the folder itself if it is a video of pictures."""
        pictures, videos = [], 0
        for entry in entries:
            path, name = joined(folder, entry.name), entry.name
            if entry.kind == "folder" or name.startswith("."):
                continue
            if entry.kind not in ("file", "broken link"):
                self._passed.add(entry.kind, path)
            elif PICTURE.fullmatch(name):
                pictures.append(name)
            elif is_video_name(name) and PARTIAL.fullmatch(name):
                self._passed.add("file", path, "that a download left unfinished")
            elif is_video_name(name) or name.lower().endswith(SUFFIXES):
                videos += is_video_name(name)
                yield Place(path)
            elif entry.kind == "broken link":
                self._passed.add("broken link", path)
            else:
                self._passed.suffixes[PurePosixPath(name).suffix.lower() or "none"] += 1
        if any(map(is_numbered, pictures)) and not videos:
            yield Place(folder, "folder")
        elif pictures:
            where = "beside videos" if videos else "without numbers"
            self._passed.add("folder", folder, f"with pictures {where}")
