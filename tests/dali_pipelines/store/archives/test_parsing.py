"""Zips, tars and LMDBs against the libraries that write them, and refusals that name file and reason."""

import io
import os
import random
import subprocess
import tarfile
import zipfile

import lmdb
import msgpack
import pytest
from PIL import Image

from configs.errors import UserError
from dali_pipelines.datasets.discover import find_videos
from dali_pipelines.store import reader
from dali_pipelines.store.archives.lmdb import elements, entries
from dali_pipelines.store.pictures import PictureSource
from dali_pipelines.store.place import Place
from dali_pipelines.store.source import VideoError
from tests.helpers.archives import jpeg, write_lmdb, write_tar, write_zip

PICTURES = {f"{i:05d}.jpg": jpeg(i) for i in range(1, 4)}


def fault(path) -> str:
    """Return the reason why the only video of a file cannot be read."""
    (place,) = find_videos([path], outside=path.parent / "out").videos.values()
    if place.fault:
        return place.fault
    with pytest.raises(VideoError) as raised:
        PictureSource(place)
    return str(raised.value)


@pytest.mark.parametrize("count", [0, 1, 7, 3000])
def test_lmdb_keys_and_values_match_the_lmdb_package(tmp_path, count):
    rng, path = random.Random(count), tmp_path / "a.lmdb"
    expected = {
        f"{rng.randrange(10**9):09d}".encode(): rng.randbytes(rng.choice([0, 3, 900, 9000])) for _ in range(count)
    }
    with lmdb.open(str(path), subdir=False, map_size=2**26) as env:
        for part in (expected, [*expected][::3]):
            with env.begin(write=True) as transaction:  # twice, so that pages are freed and used again
                for key in part:
                    transaction.put(key, expected[key])
    with path.open("rb") as file:
        found = list(entries(file))
    data = path.read_bytes()
    assert {key: data[begin:end] for key, begin, end in found} == expected
    assert [key for key, _, _ in found] == sorted(expected)


@pytest.mark.parametrize("old", [False, True])
def test_list_elements_match_msgpack(old):
    values = [b"x" * length for length in (0, 1, 31, 32, 255, 256, 65535, 65536)] + [b"y"] * 20
    for expected in (values, values[:15], [], [b"z"] * 70000):
        packed = b"..." + msgpack.dumps(expected, use_bin_type=not old) + b"behind"
        spans = elements(io.BytesIO(packed), 3, len(packed) - 6)
        assert [packed[begin:end] for begin, end in spans] == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (msgpack.dumps({"a": 1}), "is no list: it begins with 0x81"),
        (msgpack.dumps([jpeg(), 7]), "is no list of bytes: element 1 begins with 0x07"),
        (msgpack.dumps([b"abc"])[:-1], "is cut off: element 0 claims 3 bytes, 2 are left"),
        (b"\xdd\xff\xff\xff\xff", "is cut off"),
        (b"", "is cut off"),
        (jpeg(), "is no list: it begins with 0xff"),
        (msgpack.dumps([]), "has no pictures"),
        (msgpack.dumps([jpeg(1)]), "has only one picture, a clip needs motion"),
        (msgpack.dumps([jpeg(1), b"hello", jpeg(2)]), "its picture number 2 does not decode: it is no JPEG or PNG"),
        (msgpack.dumps([jpeg(1), jpeg(2)[:-20]]), "its picture number 2 does not decode: it is cut off"),
        (msgpack.dumps([jpeg(1), b""]), "its picture number 2 is empty"),
        (msgpack.dumps([jpeg(1), jpeg(1, (16, 16))]), "its picture number 2 is 16x16, those before it 32x16"),
        (msgpack.dumps([jpeg(1), jpeg(1, format="PNG")]), "its picture number 2 is png, those before it mjpeg"),
    ],
)
def test_values_other_than_lists_of_pictures_are_refused(tmp_path, value, reason):
    with lmdb.open(str(tmp_path / "a.lmdb"), subdir=False) as env, env.begin(write=True) as transaction:
        transaction.put(b"000000000", value)
    assert fault(tmp_path / "a.lmdb").startswith(reason)


def test_lmdb_names_come_from_its_order_entry_or_its_keys(tmp_path):
    pictures = list(PICTURES.values())
    write_lmdb(tmp_path / "a.lmdb", {f"run/{i}": pictures for i in range(12)})
    assert set(find_videos([tmp_path / "a.lmdb"], outside=tmp_path / "out").videos) == {f"run/{i}" for i in range(12)}
    with lmdb.open(str(tmp_path / "b")) as env, env.begin(write=True) as transaction:
        transaction.put(b"swim/x", msgpack.dumps(pictures))
    assert list(find_videos([tmp_path / "b"], outside=tmp_path / "out").videos) == ["swim/x"]
    found = find_videos([tmp_path], outside=tmp_path / "out")
    assert (
        len(found.videos),
        {str(place) for place in found.videos.values()} >= {f"{tmp_path}/b/data.mdb/swim/x"},
    ) == (13, True)
    write_lmdb(tmp_path / "c.lmdb", {"../../x": pictures})
    assert fault(tmp_path / "c.lmdb") == "its key '000000000' has the name '../../x', which is no path below a folder"


ZIPS = {
    "a member that points up": ({"../00001.jpg": b"", **PICTURES}, "its member '../00001.jpg' points outside"),
    "an absolute member": ({"/etc/00001.jpg": b""}, "its member '/etc/00001.jpg' points outside"),
    "a Windows path that points up": ({"a\\..\\..\\b.jpg": b""}, "its member 'a/../../b.jpg' points outside"),
    "no pictures": ({"readme.txt": b"x"}, "has no video files and no folders of numbered pictures"),
    "a gap": ({"00001.jpg": jpeg(), "00003.jpg": jpeg()}, "its picture 00002.jpg is missing"),
    "one picture": ({"00001.jpg": jpeg()}, "has only one picture, a clip needs motion"),
    "text": ({**PICTURES, "00002.jpg": b"hello"}, "its picture 00002.jpg does not decode: it is no JPEG or PNG"),
}


@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.parametrize("name", ZIPS)
def test_an_unreadable_archive_names_the_member(tmp_path, write, name):
    files, reason = ZIPS[name]
    if write is write_tar:
        files = {name.replace("\\", "/"): data for name, data in files.items()}
    assert fault(write(tmp_path / "a", files)).startswith(reason)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_in_a_tar_is_refused(tmp_path, kind):
    path = write_tar(tmp_path / "a.tar", PICTURES)
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("00004.jpg")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    assert fault(path).startswith("its member '00004.jpg' is a link to '/etc/passwd': make the tar with")


def test_a_sparse_file_in_a_tar_is_refused(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"x" * 9999)
    os.truncate(tmp_path / "a.mp4", 2**20)
    subprocess.run(["tar", "--sparse", "-cf", "a.tar", "a.mp4"], cwd=tmp_path, check=True)
    assert fault(tmp_path / "a.tar") == "its member 'a.mp4' is sparse: make the tar again without --sparse"


def test_zip_members_without_random_access_are_refused(tmp_path):
    packed = write_zip(tmp_path / "a.zip", {"a/x.mp4": b"x" * 99}, method=zipfile.ZIP_DEFLATED)
    assert fault(packed).startswith("its member 'a/x.mp4' is a deflated video, of which no part can be read: unpack")
    packed = write_zip(tmp_path / "b.zip", PICTURES, method=zipfile.ZIP_BZIP2)
    assert fault(packed).startswith("its member '00001.jpg' is compressed by method 12, and not stored or deflated")
    data = bytearray(write_zip(tmp_path / "c.zip", PICTURES).read_bytes())
    for sign, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(sign) + at] |= 1
    (tmp_path / "c.zip").write_bytes(data)
    assert fault(tmp_path / "c.zip") == "its member '00001.jpg' is encrypted: unpack the zip"


def test_zip_bombs_are_refused_at_the_size_limit(tmp_path, monkeypatch):
    files = {**PICTURES, "00002.jpg": bytes(2**20)}
    packed = write_zip(tmp_path / "a.zip", files, method=zipfile.ZIP_DEFLATED)
    monkeypatch.setattr("dali_pipelines.store.archives.zips.MAX_INFLATED", 2**18)
    assert fault(packed) == "its member '00002.jpg' claims to inflate to 1048576 bytes, 262144 are the most"
    monkeypatch.undo()
    monkeypatch.setattr(reader, "MAX_INFLATED", 2**18)  # the declared size is false
    assert fault(packed).endswith("does not decompress: it has more than 262144 bytes")


def test_a_truncated_or_damaged_tar_is_refused(tmp_path):
    data = write_tar(tmp_path / "a.tar", PICTURES).read_bytes()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        third = archive.getmembers()[2].offset
    (tmp_path / "a.tar").write_bytes(data[: third + 600])
    assert fault(tmp_path / "a.tar").startswith("is cut off: its member '00003.jpg' ends at byte ")
    (tmp_path / "a.tar").write_bytes(data[:third] + b"?" + data[third + 1 :])
    assert fault(tmp_path / "a.tar") == f"is damaged: there is no header at byte {third}"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x1f\x8b\x08", "gzip"),
        (b"Rar!\x1a\x07\x01", "RAR"),
        (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
    ],
)
def test_other_archive_kinds_are_refused_with_advice(tmp_path, content, kind):
    (tmp_path / "a.bin").write_bytes(content + bytes(300))
    assert fault(tmp_path / "a.bin").endswith(f"({kind}): unpack it and give the folder")


def test_a_given_files_kind_is_known_by_its_first_bytes(tmp_path):
    write_zip(tmp_path / "a.mp4", PICTURES)
    write_zip(tmp_path / "b.dat", {name.replace(".jpg", ".JPG"): data for name, data in PICTURES.items()})
    write_lmdb(tmp_path / "c", {"run/c": list(PICTURES.values()), "run/d": list(PICTURES.values())})
    found = find_videos([tmp_path / name for name in ("a.mp4", "b.dat", "c")], outside=tmp_path / "out")
    assert {name: place.kind for name, place in found.videos.items()} == {
        "a": "zip",
        "b": "zip",
        "run/c": "lmdb",
        "run/d": "lmdb",
    }


@pytest.mark.parametrize(
    ("options", "pix_fmt"),
    [
        ({"progressive": True}, "yuvj420p"),
        ({"subsampling": 0}, "yuvj444p"),
        ({"subsampling": 1}, "yuvj422p"),
        ({"mode": "L"}, "gray"),
    ],
)
def test_pixel_formats_match_the_pictures(tmp_path, options, pix_fmt):
    packed = write_zip(tmp_path / "a.zip", {f"{i}.jpg": jpeg(i, **options) for i in range(3)})
    assert PictureSource(Place(str(packed), "zip")).record.pix_fmt == pix_fmt
    mixed = write_zip(tmp_path / "b.zip", {"0.jpg": jpeg(), "1.jpg": jpeg(**options)})
    assert PictureSource(Place(str(mixed), "zip")).record.pix_fmt == pix_fmt


def test_an_exif_rotation_is_noted(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    packed = write_zip(tmp_path / "a.zip", {**PICTURES, "00004.jpg": jpeg(exif=exif)})
    assert PictureSource(Place(str(packed), "zip")).record.notes == (
        "with an EXIF rotation, which is ignored; --codec h264 turns the pictures",
    )


def test_a_damaged_archive_names_the_reason(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK\3\4" + bytes(100))
    with pytest.raises(UserError, match="no such"):
        find_videos([tmp_path / "b.zip"], outside=tmp_path / "out")
    assert fault(tmp_path / "a.zip") == "is no whole zip: File is not a zip file"
