"""A finished video as a line of the journal of `prepare`."""

import base64
import os
from dataclasses import asdict, dataclass
from typing import Any

from dali_pipelines.store.listing import list_folder, size_and_time
from dali_pipelines.store.place import Place
from dali_pipelines.store.record import Record
from dali_pipelines.store.storage import is_url, joined
from dali_pipelines.store.units import PackedFragments, unpack_units


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
    table = PackedFragments.of(entry.record.fragments).table
    return {"stamp": stamp, "record": {**vars(entry.record), "fragments": base64.b64encode(table).decode()}}


def from_line(line: dict[str, Any]) -> Entry:
    """Return the entry of a line; errors of any kind if it is damaged."""
    stamp = Stamp(**line["stamp"])
    if "reason" in line:
        return Entry(stamp, None, line["reason"], line["passing"])
    fields = line["record"]
    packed = PackedFragments(base64.b64decode(fields["fragments"], validate=True))
    unpack_units(packed.table)  # ValueError for a damaged line
    return Entry(stamp, Record(**{**fields, "fragments": packed, "notes": tuple(fields["notes"])}))
