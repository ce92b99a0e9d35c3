"""The index of a prepared dataset: what a plan may know about each video, and where its bytes lie."""

import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from configs.errors import UserError
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.store.files import is_video_name, replacing, video_path
from dali_pipelines.store.fmp4 import Fragment
from dali_pipelines.store.ragged import Ragged
from dali_pipelines.store.storage import is_url, joined, read_file, storage_of

VERSION = 1
INDEX_FILE = "index.npz"
PREPARE = "python -m dali_pipelines.prepare"


Container = Literal["mp4", "file", "pictures", "picture_files"]
"""What the fragments of a video are.

mp4: fragments of an MP4, one after the other, before them the init segment.
file: the only one is a whole video file of any kind.
pictures: each is a JPEG or PNG, at a range of one file.
picture_files: each is a file of its own, numbered from the first on.
"""


class Units(NamedTuple):
    """The fragments of a video, N of them, in the order of its frames.

    init: start and end of the init segment; equal where there is none.
    starts, ends: int64 (N,), bytes of the file.
    frame_ends: int32 (N,), how many frames there are up to the end of each.
    deflated: bool (N,).
    """

    init: tuple[int, int]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    frame_ends: NDArray[np.int32]
    deflated: NDArray[np.bool_]


@dataclass(frozen=True)
class Record:
    """One stored video.

    Attributes:
        init_size: bytes before the first fragment that an MP4 begins with (its init segment), else 0.
        container: how `fragments` lie in the file.
        source: path or URL of a file left in place, else empty; of picture files, that of the first one.
        notes: sentences for the user, with "N videos" before them.
        software_only: why DALI shows other frames on a GPU than FFmpeg, as in "interlaced frames"; else empty.
    """

    num_frames: int
    width: int
    height: int
    fps: float
    codec: str
    pix_fmt: str
    init_size: int
    fragments: tuple[Fragment, ...]
    container: "Container" = "mp4"
    source: str = ""
    notes: tuple[str, ...] = ()
    software_only: str = ""


@dataclass(frozen=True)
class Index:
    """The videos of a dataset as flat arrays, one row a video."""

    root: Path | str
    """The folder of the dataset, or its URL."""
    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    num_frames: NDArray[np.int32]
    sizes_WH: NDArray[np.int32]
    fps: NDArray[np.float64]
    formats: tuple[str, ...]
    """Codec, pixel format and container, as in "h264 yuv420p mp4"; older versions wrote no container."""
    format_ids: NDArray[np.int32]
    init_sizes: NDArray[np.int64]
    names: Ragged
    sources: Ragged
    fragment_ends: Ragged
    fragment_frame_ends: Ragged
    fragment_starts: Ragged | None = None
    """None where each fragment begins where the one before it ends, the first after the init segment."""
    fragment_deflated: Ragged | None = None
    software_only: Ragged | None = None
    """`Record.software_only` of each video; None in an index that an older version wrote."""
    chunks: NDArray[np.int32] | None = None
    """`VideoInfo.chunk` of each row; None where all are 0."""

    def __len__(self) -> int:
        return len(self.labels)

    def info(self, i: int) -> VideoInfo:
        """Return what a plan may know about video i."""
        width, height = self.sizes_WH[i].tolist()
        return VideoInfo(
            name=self.names.text(i),
            num_frames=int(self.num_frames[i]),
            width=width,
            height=height,
            fps=float(self.fps[i]),
            label=int(self.labels[i]),
            chunk=0 if self.chunks is None else int(self.chunks[i]),
        )

    def file(self, i: int) -> str:
        """Return the file that holds video i, from the root on; an absolute path or a URL stands for itself."""
        return self.sources.text(i) or str(video_path(Path(), self.names.text(i)))

    def location(self, i: int) -> str:
        """Return the path or URL of the file that holds video i."""
        return joined(self.root, self.file(i))

    def path(self, i: int) -> Path:
        """Return the file that holds video i, of local datasets."""
        return Path(self.location(i))

    def units(self, i: int) -> Units:
        """Return where the bytes of video i lie."""
        ends, init_size = self.fragment_ends[i], int(self.init_sizes[i])
        if self.fragment_starts is None:
            starts = np.concatenate([[init_size], ends[:-1]])
        else:
            starts = self.fragment_starts[i]
        deflated = np.zeros(len(ends), np.bool_) if self.fragment_deflated is None else self.fragment_deflated[i]
        first = int(starts[0])
        return Units((first - init_size, first), starts, ends, self.fragment_frame_ends[i], deflated)

    def container(self, i: int) -> Container:
        """Return how the fragments of video i lie in its file."""
        words = self.formats[int(self.format_ids[i])].split()
        if len(words) == 2:  # of an older version
            return "mp4" if self.init_sizes[i] else "file"
        return cast(Container, words[2])

    def codec(self, i: int) -> str:
        """Return FFmpeg's name of the codec: "vp9", "h264", "hevc", "mpeg4" ..."""
        return self.formats[int(self.format_ids[i])].split()[0]

    def pix_fmt(self, i: int) -> str:
        """Return FFmpeg's name of the pixel format: "yuv420p" ..."""
        return self.formats[int(self.format_ids[i])].split()[1]

    def select(self, rows: Sequence[int] | NDArray[np.integer]) -> "Index":
        """Return the videos `rows`, in that order, as an index of their own; class names and ids stay."""
        rows = np.asarray(rows, dtype=np.int64)
        chosen: dict[str, Any] = {}
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                chosen[name] = value[rows]
            elif isinstance(value, Ragged):
                chosen[name] = value.take(rows)
        return replace(self, **chosen)

    def repeat(self, counts: Sequence[int]) -> "Index":
        """Return each video `counts` times in a row, numbered by `VideoInfo.chunk` from 0."""
        repeated = self.select(np.repeat(np.arange(len(self)), counts))
        return replace(repeated, chunks=np.concatenate([np.arange(count, dtype=np.int32) for count in counts]))

    @classmethod
    def build(
        cls,
        root: Path,
        records: Mapping[str, Record],
        *,
        labels: Mapping[str, int] | None = None,
        class_names: Iterable[str] = (),
    ) -> "Index":
        """Make an index of `records` (name -> record), rows in the order of the names."""
        names = sorted(records)
        rows = [records[name] for name in names]
        kinds = [f"{r.codec} {r.pix_fmt} {r.container}" for r in rows]
        formats = sorted(set(kinds))
        return cls(
            root=Path(root),
            class_names=tuple(class_names),
            labels=np.array([labels[name] if labels else -1 for name in names], np.int64),
            num_frames=np.array([r.num_frames for r in rows], np.int32),
            sizes_WH=np.array([(r.width, r.height) for r in rows], np.int32).reshape(-1, 2),
            fps=np.array([r.fps for r in rows], np.float64),
            formats=tuple(formats),
            format_ids=np.array([formats.index(kind) for kind in kinds], np.int32),
            init_sizes=np.array([r.init_size for r in rows], np.int64),
            names=Ragged.of_texts(names),
            sources=Ragged.of_texts([r.source for r in rows]),
            fragment_ends=Ragged.of([[f.offset + f.size for f in r.fragments] for r in rows], np.int64),
            fragment_frame_ends=Ragged.of([np.cumsum([f.frames for f in r.fragments]) for r in rows], np.int32),
            fragment_starts=Ragged.of([[f.offset for f in r.fragments] for r in rows], np.int64),
            fragment_deflated=Ragged.of([[f.deflated for f in r.fragments] for r in rows], np.bool_),
            software_only=Ragged.of_texts([r.software_only for r in rows]),
        )

    def save(self) -> None:
        """Write `root/index.npz` atomically: a reader sees the old one or the new one."""
        arrays: dict[str, NDArray[Any]] = {"version": np.array(VERSION)}
        for name, value in vars(self).items():
            if isinstance(value, Ragged):
                arrays[name], arrays[f"{name}.starts"] = value.values, value.starts
            elif isinstance(value, tuple):
                texts = Ragged.of_texts(value)
                arrays[name], arrays[f"{name}.starts"] = texts.values, texts.starts
            elif isinstance(value, np.ndarray):
                arrays[name] = value
        with replacing(Path(self.root, INDEX_FILE)) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, root: str | Path) -> "Index":
        """Read `root/index.npz`; UserError when it is missing, without videos, or not an index."""
        path = f"{root}/{INDEX_FILE}"
        storage_of(root)  # UserError for a URL without one
        try:
            data = read_file(joined(root, INDEX_FILE))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UserError(_why_no_index(root)) from error
        try:
            with np.load(io.BytesIO(data.data), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            version = int(arrays.pop("version"))
        except (zipfile.BadZipFile, ValueError, EOFError, KeyError) as error:
            raise UserError(f"{path} is damaged or not an index ({error}); run `{PREPARE}` again") from error
        if version != VERSION:
            raise UserError(f"{path} has format {version}, not {VERSION}; run `{PREPARE}` again")
        ragged = {name: Ragged(arrays[name], arrays[f"{name}.starts"]) for name in arrays if f"{name}.starts" in arrays}
        flat = {name: value for name, value in arrays.items() if not name.endswith(".starts")}
        index = cls(
            **flat
            | ragged
            | {
                "root": root if is_url(root) else Path(root),
                "class_names": ragged["class_names"].texts(),
                "formats": ragged["formats"].texts(),
            }
        )
        if not len(index):
            raise UserError(f"{path} holds no videos; see its quarantine.csv for the reasons")
        return index


def _why_no_index(root: Path | str) -> str:
    """Return what is at a root without an index, and the way to a dataset."""
    if is_url(root):
        return f"{root} is no prepared dataset (it has no {INDEX_FILE})"
    root = Path(root)
    if not root.is_dir():
        what = "is a file and not the folder of a dataset" if root.exists() else "does not exist"
        return f"{root} {what}; make a dataset with `{PREPARE} SRC --out DIR` and give DIR, to a recipe with --data-dir"
    if any(is_video_name(path) for path in root.rglob("*")):
        return (
            f"{root} holds videos that are not prepared; run `{PREPARE} {root} --out DIR` and give DIR "
            "(`--codec original` only indexes them where they are)"
        )
    return f"{root} is no prepared dataset (it has no {INDEX_FILE}); make one with `{PREPARE} SRC --out {root}`"
