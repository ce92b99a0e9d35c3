"""Use arrays of an .npz file in place: mapped, so all processes of a machine share their pages.

`np.load` cannot map members of a zip. `np.savez` and `write_npz` store them uncompressed, so each is a range of the
file; `write_npz` aligns it.
"""

import io
import mmap
import zipfile
from collections.abc import Mapping
from math import prod
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

Buffer: TypeAlias = "mmap.mmap | bytes | memoryview[int]"
ALIGN = 64
LOCAL_HEADER = 30
"""Bytes before the name of a member; the last four are the lengths of name and extra field (APPNOTE.TXT 4.3.7)."""
PADDING_FIELD = b"\x35\xd9"
"""ID of the extra field that zipalign pads with."""
MAX_HEADER_BYTES = 12_000


def write_npz(file: BinaryIO, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as `np.savez` does, each at a multiple of 64 bytes."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            info = zipfile.ZipInfo(f"{name}.npy")
            info.file_size = array.nbytes + MAX_HEADER_BYTES  # says whether 64-bit sizes are needed
            padding = -(file.tell() + LOCAL_HEADER + len(info.filename) + 4) % ALIGN
            info.extra = PADDING_FIELD + padding.to_bytes(2, "little") + bytes(padding)
            with archive.open(info, "w") as member:
                npy.write_array(member, np.ascontiguousarray(array), allow_pickle=False)


def read_npz(data: Buffer) -> dict[str, NDArray[Any]]:
    """Return the arrays of an .npz file as views of its bytes.

    ValueError if a member is compressed, longer than the file, or not a numeric array of at most two dimensions;
    whatever `zipfile` and `np.lib.format` raise on bytes that are not an .npz file.
    """
    with zipfile.ZipFile(data if isinstance(data, mmap.mmap) else io.BytesIO(data)) as archive:  # type: ignore[arg-type]
        members = archive.infolist()
    return {info.filename.removesuffix(".npy"): _member(data, info) for info in members}


def _member(data: Buffer, info: zipfile.ZipInfo) -> NDArray[Any]:
    at = info.header_offset
    lengths = np.frombuffer(data[at + LOCAL_HEADER - 4 : at + LOCAL_HEADER], "<u2")
    begin = at + LOCAL_HEADER + int(lengths.sum())
    if info.compress_type != zipfile.ZIP_STORED or not 0 <= at < begin <= begin + info.file_size <= len(data):
        raise ValueError(f"{info.filename} is compressed or longer than the file")
    head = io.BytesIO(data[begin : min(begin + MAX_HEADER_BYTES, begin + info.file_size)])
    version = npy.read_magic(head)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read_header(head)
    size = prod(shape) * dtype.itemsize
    if fortran or dtype.kind not in "iufb" or len(shape) > 2 or min(shape, default=0) < 0:
        raise ValueError(f"{info.filename} holds {dtype} {shape}")
    if size > info.file_size - head.tell():
        raise ValueError(f"{info.filename} claims {shape}, more than its bytes")
    return np.frombuffer(data, dtype, prod(shape), begin + head.tell()).reshape(shape)
