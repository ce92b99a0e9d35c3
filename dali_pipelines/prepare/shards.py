"""Pack prepared videos into tar shards, from which clips are read as from loose files.

WebDataset reads them too: a video is `<key>.mp4`, its class id, if any, `<key>.cls`. The key is the name with the dots
of its last part escaped (%2E), since WebDataset takes everything after the first dot for the extension.
"""

import hashlib
import os
import re
import tarfile
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from configs.errors import UserError
from configs.words import counted
from dali_pipelines.store.files import SHARD_FOLDER, cannot_write, replacing, sync, temporary_path, video_path
from dali_pipelines.store.journal import Journal, Packed
from dali_pipelines.store.record import Record

UNITS = {"": 1, "b": 1} | {
    f"{prefix}{unit}b": base**power
    for unit, base in (("", 1000), ("i", 1024))
    for power, prefix in enumerate("kmgt", start=1)
}
BLOCK = tarfile.BLOCKSIZE


def parse_size(text: str) -> int:
    """Parse a size in bytes: "1GiB", "500MB" or "1000000"; UserError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([a-z]*)", text.strip().lower())
    if not match or match[2] not in UNITS or not 1 <= (size := float(match[1]) * UNITS[match[2]]) < 2**63:
        raise UserError(f"--shards {text!r} must be a size, as 1GiB or 500MB")
    return int(size)


def name_hash(name: str) -> int:
    """Return the SHA-256 of a name as a number; sorting by it mixes the classes reproducibly."""
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogateescape")).digest())


def member_key(name: str) -> str:
    """Return the unique name of a video in a shard, without suffix."""
    folder, slash, last = name.replace("%", "%25").rpartition("/")
    return folder + slash + last.replace(".", "%2E")


class Packer:
    """Move the loose videos of a dataset into shards of at most `limit` bytes, unless a single video is larger.

    A shard is claimed, written and recorded in the journal before its videos are removed from `videos/`. A run
    interrupted at any point resumes from there. UserError if there is a shard that the journal does not know, or the
    disk is full. `prefix` begins the shards' names, if several runs write into one folder.
    """

    def __init__(
        self, root: Path, journal: Journal, labels: Mapping[str, int], limit: int, *, prefix: str = ""
    ) -> None:
        self.root, self.journal, self.labels, self.limit, self.prefix = root, journal, labels, limit, prefix
        self._loose: list[str] = []
        self._bytes = 0
        for path in sorted((root / SHARD_FOLDER).glob(f"{prefix}*.tar")):
            if f"{SHARD_FOLDER}/{path.name}" not in journal.shards:
                raise UserError(f"{path} is in the way, it is no shard of this dataset: move it, or give another --out")

    def add(self, name: str) -> None:
        """Add a video from `videos/`; first write the pending shard if the video does not fit in."""
        size = video_path(self.root, name).stat().st_size
        size = -(-size // BLOCK) * BLOCK + 8 * BLOCK  # at most, with its class and long names
        if self._loose and self._bytes + size + tarfile.RECORDSIZE > self.limit:
            self.flush()
        self._loose.append(name)
        self._bytes += size

    def add_loose(self, names: Iterable[str]) -> None:
        """Add those of `names` that an earlier run left in `videos/`."""
        for name in sorted(names, key=name_hash):
            record = self.journal.entries[name].record
            if record is not None and not record.source:
                self.add(name)

    def flush(self) -> None:
        """Write the added videos to a shard."""
        if not self._loose:
            return
        shards = self.journal.shards
        source = next((source for source, members in shards.items() if not members), None)  # begun by an earlier run
        if source is None:
            source = f"{SHARD_FOLDER}/{self.prefix}{len(shards):06d}.tar"
            self.journal.set_shard(source, {})
        labels = {name: self.labels.get(name, -1) for name in self._loose}
        try:
            members = write_shard(self.root / source, self.root, labels)
        except OSError as error:
            raise cannot_write(self.root / source, error) from error
        self.journal.set_shard(source, members)
        _remove_loose(self.root, self.journal, source)
        self._loose, self._bytes = [], 0


def finish_moves(root: Path, journal: Journal) -> None:
    """Clean up after a run interrupted while packing: remove half-written shards, or loose copies of packed videos."""
    for source, videos in journal.shards.items():
        if not videos:
            for path in (root / source, temporary_path(root / source)):
                path.unlink(missing_ok=True)
    if journal.shards:
        _remove_loose(root, journal, next(reversed(journal.shards)))


def write_shard(path: Path, root: Path, labels: Mapping[str, int]) -> dict[str, Packed]:
    """Write loose videos and their class ids to the tar file `path`; return where each video is in it."""
    with replacing(path) as temporary:
        with tarfile.open(temporary, "w", format=tarfile.GNU_FORMAT) as tar:
            for name, label in labels.items():
                with video_path(root, name).open("rb") as video:
                    _add(tar, f"{member_key(name)}.mp4", video)
                if label >= 0:
                    _add(tar, f"{member_key(name)}.cls", BytesIO(b"%d" % label))
        with tarfile.open(temporary) as tar:
            found = {member.name: member for member in tar}
    sync(path.parent)
    members = {name: found[f"{member_key(name)}.mp4"] for name in labels}
    return {name: Packed(member.offset_data, member.size, labels[name]) for name, member in members.items()}


def packing_notes(journal: Journal, records: Mapping[str, Record], labels: Mapping[str, int]) -> list[str]:
    """Return sentences on the shards, if any: how many, and how much of them is dead."""
    packed = {(source, name): at for source, members in journal.shards.items() for name, at in members.items()}
    live = {(record.source, name) for name, record in records.items() if record.source in journal.shards}
    dead = packed.keys() - live
    shards = counted(sum(map(bool, journal.shards.values())), "shard")
    notes = [f"{counted(len(live), 'video')} in {shards}"] if packed else []
    if dead:
        size = sum(packed[key].size for key in dead) / 1e6
        notes.append(
            f"note: {size:.1f} MB in the shards are dead, {counted(len(dead), 'video')} changed or gone since. "
            "WebDataset does not know and reads dead samples too: a new --out has none"
        )
    relabeled = sum(packed[source, name].label != labels.get(name, -1) for source, name in live)
    if relabeled:
        notes.append(
            f"note: the shards' .cls files have an outdated class for {counted(relabeled, 'video')}; clipfeed goes by "
            "the index"
        )
    return notes


def _remove_loose(root: Path, journal: Journal, source: str) -> None:
    """Remove the loose files of a shard's videos."""
    for name in journal.shards[source]:
        entry = journal.entries.get(name)
        if entry and entry.record and entry.record.source == source:
            video_path(root, name).unlink(missing_ok=True)


def _add(tar: tarfile.TarFile, name: str, file: BinaryIO) -> None:
    member = tarfile.TarInfo(name)
    member.size = file.seek(0, os.SEEK_END)
    file.seek(0)
    tar.addfile(member, file)
