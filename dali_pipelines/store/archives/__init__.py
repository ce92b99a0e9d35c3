"""Read archives in place. To add a kind, write its module here and add it to `ARCHIVES`."""

from collections.abc import Callable, Mapping

from dali_pipelines.store.archives.lmdb import MAGIC, MAGIC_AT, read_lmdb
from dali_pipelines.store.archives.members import Contents
from dali_pipelines.store.archives.tars import read_tar
from dali_pipelines.store.archives.zips import read_zip
from dali_pipelines.store.source import VideoError
from dali_pipelines.store.storage import Span, storage_of

ARCHIVES: Mapping[str, Callable[[str], Contents]] = {"LMDB": read_lmdb, "tar": read_tar, "zip": read_zip}
SUFFIXES = (".zip", ".tar", ".lmdb", ".mdb", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".gz", ".7z", ".rar")
"""Suffixes of files whose first bytes are checked."""

_SIGNATURES = (
    ("LMDB", MAGIC_AT, MAGIC.to_bytes(4, "little")),
    ("tar", 257, b"ustar"),
    ("zip", 0, b"PK\3\4"),
    ("zip", 0, b"PK\5\6"),
    ("gzip", 0, b"\x1f\x8b"),
    ("bzip2", 0, b"BZh"),
    ("xz", 0, b"\xfd7zXZ\0"),
    ("zstd", 0, b"\x28\xb5\x2f\xfd"),
    ("7-Zip", 0, b"7z\xbc\xaf\x27\x1c"),
    ("RAR", 0, b"Rar!\x1a\x07"),
    ("HDF5", 0, b"\x89HDF\r\n\x1a\n"),
)
_LONGEST = max(at + len(sign) for _, at, sign in _SIGNATURES)


def kind_of(location: str) -> str:
    """Return the kind of archive by a file's first bytes, "" if it is none; OSError if it cannot be read."""
    end = min(_LONGEST, storage_of(location).size(location))
    head = storage_of(location).read([Span(location, 0, end)]).tobytes()
    return next((kind for kind, at, sign in _SIGNATURES if head[at : at + len(sign)] == sign), "")


def read_archive(location: str, kind: str) -> Contents:
    """List the videos of an archive of `kind`; OSError if it cannot be read.

    VideoError if it is damaged, holds no videos, or is of a kind that cannot be read in place.
    """
    if not kind:
        raise VideoError(f"is none of {', '.join(ARCHIVES)}, whatever its suffix says")
    if kind not in ARCHIVES:
        raise VideoError(f"is compressed as a whole or not to be read in place ({kind}): unpack it and give the folder")
    return ARCHIVES[kind](location)
