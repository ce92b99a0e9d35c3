"""The journal of a prepare run: one JSON line a video, so that the next run continues from there."""

import base64
import fcntl
import itertools
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from configs.errors import UserError
from dali_pipelines.store.fmp4 import Fragment
from dali_pipelines.store.index import Record
from dali_pipelines.store.listing import list_folder
from dali_pipelines.store.place import Place
from dali_pipelines.store.remote_folders import size_and_time
from dali_pipelines.store.remux import UNENCODED
from dali_pipelines.store.storage import is_url, joined
from dali_pipelines.store.units import PackedFragments, unpack_units

JOURNAL_FILE = "prepare.jsonl"


@dataclass(frozen=True)
class Stamp:
    """Size and time of a source file, which tell it from a later version."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, place: Place) -> "Stamp":
        """Return the stamp of a file; of a folder that of all its bytes and the newest of all times.

        Zeros where there is nothing, as at the end of a broken link, and for a folder at a URL.
        """
        location = place.location
        try:
            if is_url(location) and place.kind == "folder":
                return cls(0, 0)
            if is_url(location):
                return cls(*size_and_time(location))
            found = [os.stat(location)]
            if place.kind == "folder":
                names = [entry.name for entry in list_folder(location) if entry.kind == "file"]
                found += [os.stat(joined(location, name)) for name in names]
        except OSError:
            return cls(0, 0)
        return cls(sum(status.st_size for status in found), max(status.st_mtime_ns for status in found))


@dataclass(frozen=True)
class Entry:
    """A finished video: its record, or None and why it is quarantined."""

    stamp: Stamp
    record: Record | None
    reason: str = ""


class Journal:
    """The journal of the dataset folder `root`, locked while open; `entries` has the last one of each name.

    A last line that was cut off by a kill is dropped.

    Raises:
        UserError: other settings made the dataset, or another run is writing it.
    """

    def __init__(self, root: Path, settings: Mapping[str, Any]) -> None:
        self.entries: dict[str, Entry] = {}
        path = root / JOURNAL_FILE
        try:
            root.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
        except OSError as error:
            raise UserError(f"cannot write the dataset to {root}: {error.strerror}; give another --out") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another prepare run is writing {root}: wait for it, or end it") from error
        self._read(path, settings)

    def _read(self, path: Path, settings: Mapping[str, Any]) -> None:
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._file.truncate(len(whole))
        if not whole:
            self._append(settings)
            return
        try:
            first, *lines = (json.loads(line) for line in whole.splitlines())
            self.entries = {line["name"]: _entry(line) for line in lines if not _is_outdated(line, first)}
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error}); delete it to prepare everything again") from error
        if first != json.loads(json.dumps(settings)):
            made, now = (" ".join(f"{k}={v}" for k, v in s.items()) for s in (first, settings))
            way_out = "give those options, another --out, or delete it"
            raise UserError(f"{path.parent} was prepared with {made}, not {now}; {way_out}")

    def add(self, name: str, entry: Entry) -> None:
        """Write a finished video to the disk at once, so that a kill loses only what was in progress."""
        self.entries[name] = entry
        line: dict[str, Any] = {"name": name, "stamp": asdict(entry.stamp)}
        if entry.record is None:
            line["reason"] = entry.reason
        else:
            packed = PackedFragments.of(entry.record.fragments)
            self.entries[name] = replace(entry, record=replace(entry.record, fragments=packed))
            line["record"] = {**vars(entry.record), "fragments": base64.b64encode(packed.table).decode()}
        self._append(line)

    def _append(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def _is_outdated(line: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Tell whether an older version wrote the line, which did not check for what a GPU's decoder gets wrong."""
    return settings["codec"] in UNENCODED and "software_only" not in line.get("record", {"software_only": ""})


def _entry(line: dict[str, Any]) -> Entry:
    stamp = Stamp(**line["stamp"])
    if "reason" in line:
        return Entry(stamp, None, line["reason"])
    fields = line["record"]
    if isinstance(fields["fragments"], str):
        packed = PackedFragments(base64.b64decode(fields["fragments"], validate=True))
        unpack_units(packed.table)  # ValueError for a damaged line
    else:  # an older version wrote all numbers out
        packed = PackedFragments.of(_all_numbers(fields))
    return Entry(stamp, Record(**{**fields, "fragments": packed, "notes": tuple(fields["notes"])}))


def _all_numbers(fields: dict[str, Any]) -> list[Fragment]:
    """Return the fragments of a line; the oldest ones have only their sizes and frames."""
    lines: list[list[int]] = fields["fragments"]
    if len(lines[0]) == 4:
        return [Fragment(offset, size, frames, bool(deflated)) for offset, size, frames, deflated in lines]
    fields["container"] = "mp4" if fields["init_size"] else "file"
    starts = itertools.accumulate((size for size, _ in lines), initial=fields["init_size"])
    return [Fragment(start, size, frames) for start, (size, frames) in zip(starts, lines, strict=False)]
