"""Zips of the pictures of one video, as in CtP (specs/ctp.md 5), or of many videos."""

import zipfile
from collections.abc import Iterator
from typing import BinaryIO

from dali_pipelines.store.archives.members import Contents, Member, contents
from dali_pipelines.store.files import is_video_name
from dali_pipelines.store.reader import MAX_INFLATED
from dali_pipelines.store.source import VideoError
from dali_pipelines.store.storage import open_ranged

LOCAL_HEADER = 30  # bytes before the name; the lengths of name and extra field are at 26 and 28
ENCRYPTED = 1
_WAYS = {zipfile.ZIP_STORED: False, zipfile.ZIP_DEFLATED: True}


def read_zip(location: str) -> Contents:
    """List the videos of a zip; VideoError if it is damaged or cannot be read in place."""
    with open_ranged(location) as file:
        return contents(location, "zip", _members(file))


def _members(file: BinaryIO) -> Iterator[Member]:
    try:
        infos = zipfile.ZipFile(file).infolist()
    except Exception as error:  # damaged files raise BadZipFile, as documented, and six others
        raise VideoError(f"is no whole zip: {' '.join(str(error).split())}") from error
    for info in infos:
        name, fault, begin = info.filename.replace("\\", "/"), "", info.header_offset
        if name.endswith("/"):
            continue
        if info.flag_bits & ENCRYPTED:
            fault = "is encrypted: unpack the zip"
        elif info.compress_type not in _WAYS:
            fault = f"is compressed by method {info.compress_type}, and not stored or deflated: unpack the zip"
        elif info.file_size > MAX_INFLATED and _WAYS[info.compress_type]:
            fault = f"claims to inflate to {info.file_size} bytes, {MAX_INFLATED} are the most"
        elif is_video_name(name):
            if info.compress_type == zipfile.ZIP_DEFLATED:
                fault = "is a deflated video, of which no part can be read: unpack the zip, or make it with `zip -0`"
            else:
                begin = data_begin(file, begin, info.compress_size)
        yield Member(name, begin, info.compress_size, _WAYS.get(info.compress_type, False), fault)


def data_begin(file: BinaryIO, header: int, size: int) -> int:
    """Return where a member's bytes start, after its local header; VideoError if they are not there.

    The lengths of the local header's fields may differ from those in the directory.
    """
    length = file.seek(0, 2)
    file.seek(min(max(header, 0), length))  # a damaged directory may say anything
    head = file.read(LOCAL_HEADER)
    name, extra = (int.from_bytes(head[at : at + 2], "little") for at in (26, 28))
    begin = header + LOCAL_HEADER + name + extra
    if header < 0 or not head.startswith(b"PK\3\4") or begin + size > length:
        raise VideoError(f"is no whole zip: there is no member of {size} bytes at byte {header}")
    return begin
