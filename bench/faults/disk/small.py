"""Mount a file system of any small size, and check the files that a full one left."""

import csv
import io
import json
import os
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from configs.errors import UserError
from dali_pipelines.store.files import TEMPORARY

PAGE = os.sysconf("SC_PAGESIZE")
ROOMY: Mapping[str, int] = {"pages": 2**16, "inodes": 10**5}
FRAMES = 16
"""Frames per video."""
Files = dict[str, bytes]


class SmallDisk:
    """A tmpfs, mounted for a `with` block. UserError if this process has no right to mount it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> "SmallDisk":
        self.folder.mkdir(parents=True, exist_ok=True)
        done = _mount("-t", "tmpfs", "tmpfs", self.folder)
        if done.returncode:
            raise UserError(f"a file system cannot be mounted here, which takes root: {done.stderr.strip()}")
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", self.folder], check=True)

    def begin(self, before: Files) -> None:
        """Replace all files by these and one of a user's, with room for more."""
        self.limit()
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        write_files(self.folder, {"users.bin": bytes(PAGE)} | before)  # for tmpfs, 0 pages means no limit

    def used(self) -> dict[str, int]:
        """Return the pages and the inodes in use."""
        found = os.statvfs(self.folder)
        return {"pages": found.f_blocks - found.f_bfree, "inodes": found.f_files - found.f_ffree}

    def limit(self, limits: Mapping[str, int] = ROOMY, *, read_only: bool = False) -> None:
        """Limit the pages and inodes; unnamed ones are practically unlimited."""
        most = {**ROOMY, **limits}
        size = f"size={most['pages'] * PAGE},nr_inodes={most['inodes']}"
        if (done := _mount("-o", f"remount,{'ro' if read_only else 'rw'},{size}", self.folder)).returncode:
            raise RuntimeError(done.stderr)

    @contextmanager
    def filled(self) -> Iterator[None]:
        """Leave no page free during the block."""
        while True:
            with suppress(RuntimeError):  # more pages are in use by now
                self.limit({"pages": self.used()["pages"]})
                break
        yield
        self.limit()


def read_files(folder: Path) -> Files:
    """Return relative path -> content of all files below a folder."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def write_files(folder: Path, files: Files) -> None:
    """Write files into a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _mount(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["mount", *args], capture_output=True, text=True, check=False)


def damage(files: Files, before: Files, whole: Files) -> list[str]:
    """Return the files that are neither as before, nor as after the whole command, nor intact by their format.

    Args:
        before: files before the disk was full.
        whole: files that a command with enough room leaves.
    """
    found = [f"{name} is gone" for name in before.keys() & whole.keys() - files.keys()]
    for name, data in files.items():
        if Path(name).match(TEMPORARY.format("*")) or Path(name).parts[0].startswith(".parts-"):
            found.append(f"{name} is left")
        elif data not in (before.get(name), whole.get(name)) and not _is_whole(name, data):
            found.append(f"{name} is half written")
    return found


def _is_whole(name: str, data: bytes) -> bool:
    read = next((read for end, read in READERS.items() if Path(name).match(end)), None)
    if read is None:
        return False
    try:
        read(data)
    except Exception:  # each reader has its own errors
        return False
    return True


def _lines(data: bytes) -> None:
    assert data.endswith(b"\n") or not data
    for line in data.splitlines():
        json.loads(line)


def _table(data: bytes) -> None:
    head, *rows = csv.reader(io.StringIO(data.decode(), newline=""))
    assert data.endswith(b"\n")
    assert all(len(row) == len(head) for row in rows)


def _events(data: bytes) -> None:
    """Walk over TensorBoard's records: a length, its checksum, so many bytes, their checksum."""
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        assert len(data) >= length + 16
        data = data[length + 16 :]


def _members(data: bytes) -> None:
    assert len(data) % tarfile.RECORDSIZE == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        tar.getmembers()


def _frames(data: bytes) -> None:
    with av.open(io.BytesIO(data)) as video:
        assert sum(1 for _ in video.decode(video=0)) == FRAMES


def _npz(data: bytes) -> None:
    with np.load(io.BytesIO(data)) as file:
        assert all(file[name] is not None for name in file)


READERS: Mapping[str, Callable[[bytes], Any]] = {
    "*.pt": lambda data: torch.load(io.BytesIO(data), weights_only=True),
    "*.npz": _npz,
    "*.jsonl": _lines,
    "*.json": json.loads,
    "*.csv": _table,
    "*.tar": _members,
    "*.mp4": _frames,
    "events.out.tfevents.*": _events,
    ".lock": bytes,
}
"""Name -> a function that reads such a file to its end, for files that may differ from the undisturbed run's."""
