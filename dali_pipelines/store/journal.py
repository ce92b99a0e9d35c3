"""The journal of `prepare`: a line of JSON for each finished video; the next run resumes from it."""

import base64
import fcntl
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from configs.errors import UserError
from dali_pipelines.store.files import INDEX_FILE, JOURNAL_FILE, Appended, cannot_write, sync
from dali_pipelines.store.listing import list_folder, size_and_time
from dali_pipelines.store.place import Place
from dali_pipelines.store.record import Record
from dali_pipelines.store.storage import is_url, joined
from dali_pipelines.store.units import PackedFragments, unpack_units

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stamp:
    """Size and modification time of a source file, to detect changes."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, place: Place) -> "Stamp":
        """Return the stamp of a file; for a folder, the total size and latest time of it and its files.

        Zeros if nothing is there, as at the end of a broken link, and for a folder at a URL.
        """
        location, is_folder = place.location, place.kind == "folder"
        try:
            if is_url(location):
                return cls(0, 0) if is_folder else cls(*size_and_time(location))
            found = [os.stat(location)]
            if is_folder:
                found += [os.stat(joined(location, each.name)) for each in list_folder(location) if each.kind == "file"]
        except OSError:
            return cls(0, 0)
        return cls(sum(status.st_size for status in found), max(status.st_mtime_ns for status in found))


@dataclass(frozen=True)
class Entry:
    """A finished video: its record, or the reason why it is quarantined.

    `passing` is the cause, such as "memory", if it is not the file's fault and the next run retries; else empty.
    """

    stamp: Stamp
    record: Record | None
    reason: str = ""
    passing: str = ""

    @property
    def full_reason(self) -> str:
        """The reason, and whether the next run retries."""
        return f"{self.reason} (the next run tries again: {self.passing})" if self.passing else self.reason


def to_line(entry: Entry) -> dict[str, Any]:
    """Return an entry as JSON."""
    stamp = asdict(entry.stamp)
    if entry.record is None:
        return {"stamp": stamp, "reason": entry.reason, "passing": entry.passing}
    packed = base64.b64encode(entry.record.fragments.table).decode()
    return {"stamp": stamp, "record": {**vars(entry.record), "fragments": packed}}


def from_line(line: dict[str, Any]) -> Entry:
    """Return the entry of a line; errors of any kind if it is damaged."""
    stamp = Stamp(**line["stamp"])
    if "reason" in line:
        return Entry(stamp, None, line["reason"], line["passing"])
    fields = line["record"]
    packed = PackedFragments(base64.b64decode(fields["fragments"], validate=True))
    unpack_units(packed.table)  # ValueError for a damaged line
    return Entry(stamp, Record(**{**fields, "fragments": packed, "notes": tuple(fields["notes"])}))


class Packed(NamedTuple):
    """A video in a shard: offset and size in bytes, and class id (-1 for none)."""

    offset: int
    size: int
    label: int


class Journal:
    """The journal of the dataset in `root`, locked while it is open.

    A last line cut off by a kill is dropped. An empty journal leaves no file. UserError if the dataset has other
    settings, another run is writing it, or it cannot be written.

    Attributes:
        entries: the latest for each name.
        known: names of all videos whose files were ever begun or written for this dataset.
        shards: the videos of each shard; empty if it was only begun.
    """

    def __init__(self, root: Path, settings: Mapping[str, Any]) -> None:
        self.entries: dict[str, Entry] = {}
        self.known: set[str] = set()
        self.shards: dict[str, dict[str, Packed]] = {}
        self.path = path = root / JOURNAL_FILE
        self._heading: Mapping[str, Any] | None = None
        try:
            root.mkdir(parents=True, exist_ok=True)
            self._lines = Appended(path)
        except OSError as error:
            raise UserError(f"cannot write the dataset to {root}: {error.strerror}; give another --out") from error
        try:
            fcntl.flock(self._lines.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another prepare run is writing {root}: wait for it, or end it") from error
        except OSError as error:  # Lustre and NFS may be mounted without locks
            log.warning("%s cannot be locked (%s): make sure that no other run writes it", root, error.strerror)
        self._read(path, settings)

    def _read(self, path: Path, settings: Mapping[str, Any]) -> None:
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):  # half a line of a killed run
            self._lines.truncate(len(whole))
        if not whole:
            self._heading = settings
            return
        try:
            first, *lines = (json.loads(line) for line in whole.splitlines())
            made = in_words(first)
            for line in lines:
                if "begun" in line:
                    self.known.add(line["begun"])
                elif "shard" in line:
                    self._move(line["shard"], {name: Packed(*at) for name, at in line["videos"].items()})
                else:
                    if "record" in line and not line["record"].get("source"):
                        self.known.add(line["name"])
                    self.entries[line["name"]] = from_line(line)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            way_out = f"to prepare everything again, delete it, {INDEX_FILE} and videos/"
            raise UserError(f"{path} is damaged ({error}); {way_out}") from error
        if first != json.loads(json.dumps(settings)):
            now = in_words(settings)
            raise UserError(f"{path.parent} was prepared with {made}, not {now}; give those options, or another --out")

    def begin(self, name: str) -> None:
        """Claim the file of a video before its first byte is written."""
        if name not in self.known:
            self._append({"begun": name})
            self.known.add(name)

    def add(self, name: str, entry: Entry) -> None:
        """Append the entry of a finished video at once, so a kill loses only what was in progress."""
        self.entries[name] = entry
        self._append({"name": name, **to_line(entry)})

    def set_shard(self, source: str, videos: Mapping[str, Packed]) -> None:
        """Record which videos a shard holds; their entries point into it from then on.

        `source` is its path below the root. `videos` is empty to claim the shard before it is written.
        """
        self._append({"shard": source, "videos": videos})
        sync(self.path)
        self._move(source, videos)

    def _move(self, source: str, videos: Mapping[str, Packed]) -> None:
        self.shards[source] = dict(videos)
        for name in videos.keys() & self.entries.keys():
            entry = self.entries[name]
            if entry.record is not None:
                moved = entry.record.fragments.moved(videos[name].offset)
                self.entries[name] = replace(entry, record=replace(entry.record, source=source, fragments=moved))

    def _append(self, line: Mapping[str, Any]) -> None:
        data = b"".join(json.dumps(one).encode() + b"\n" for one in (self._heading, line) if one is not None)
        try:
            self._lines.add(data)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self._heading = None

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *error: object) -> None:
        if self._lines.size == 0:
            self.path.unlink(missing_ok=True)
        self._lines.close()


def in_words(settings: Mapping[str, Any]) -> str:
    """Format the settings of a dataset for a message."""
    return " ".join(f"{key}={value}" for key, value in settings.items())
