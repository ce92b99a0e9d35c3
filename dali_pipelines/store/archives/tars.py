"""Tars: shards of videos in WebDataset's layout (KEY.mp4 with KEY.cls or KEY.json), or folders of pictures."""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from dali_pipelines.store.archives.members import Contents, Member, contents
from dali_pipelines.store.source import VideoError
from dali_pipelines.store.storage import open_ranged

MAX_LABEL_BYTES = 2**16
LABEL_SUFFIXES = (".cls", ".json")


def read_tar(location: str) -> Contents:
    """List the videos of a tar and their labels; VideoError if it is damaged or cannot be read in place."""
    labels: dict[str, str] = {}
    with open_ranged(location) as file:
        found = contents(location, "tar", _members(file, labels))
    named = {name: labels[_key(name)] for name in found.videos if _key(name) in labels}
    return replace(found, labels=named)


def _members(file: BinaryIO, labels: dict[str, str]) -> Iterator[Member]:
    """Yield the files of a tar; put labels into `labels` by key instead."""
    for info in _headers(file):
        fault = ""
        if info.issym() or info.islnk():
            fault = f"is a link to {info.linkname!r}: make the tar with `tar --dereference --hard-dereference`"
        elif info.issparse():
            fault = "is sparse: make the tar again without --sparse"
        elif not info.isreg():
            continue
        if not fault and info.name.endswith(LABEL_SUFFIXES):
            file.seek(info.offset_data)
            label = read_label(file.read(min(info.size, MAX_LABEL_BYTES)), info.name.rpartition(".")[2])
            if label is not None:
                labels[_key(info.name)] = label
            continue
        yield Member(info.name, info.offset_data, info.size, fault=fault)


def _headers(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    length = file.seek(0, 2)
    file.seek(0)
    try:
        tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 - closing it closes nothing
        offset = -1
        while (info := tar.next()) is not None:
            if info.offset <= offset or info.size < 0:
                raise VideoError(f"is no whole tar: the member after byte {offset} has no place of its own")
            if info.isreg() and not info.issparse() and info.offset_data + info.size > length:
                raise VideoError(f"is cut off: its member {info.name!r} ends at byte {info.offset_data + info.size}")
            offset = info.offset
            tar.members.clear()  # type: ignore[attr-defined]  # else it keeps all
            yield info
        file.seek(tar.offset)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):  # tarfile takes a damaged header for the end
            raise VideoError(f"is damaged: there is no header at byte {tar.offset}")
    except (VideoError, GeneratorExit):
        raise
    except Exception as error:  # damaged files raise more than the documented TarError
        raise VideoError(f"is no whole tar: {' '.join(str(error).split())}") from error


def _key(name: str) -> str:
    """Return WebDataset's key of a member: its path up to the first dot of the file name."""
    folder, slash, base = name.removeprefix("./").rpartition("/")
    return folder + slash + base.partition(".")[0]


def read_label(data: bytes, suffix: str) -> str | None:
    """Return the class id or name in a .cls or .json file, None if it has none."""
    try:
        text = data.decode().strip()
        value = text if suffix == "cls" else json.loads(text)["label"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return str(value) if isinstance(value, str | int) and value != "" else None
