"""Make the same videos as H.264 files, zips of JPEGs and prepared stores, and the loader's clips for peers."""

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from PIL import Image
from tqdm import tqdm

from bench import data
from bench.peers.transforms import Transforms, transforms_of
from dali_pipelines.decode.cut import Region
from dali_pipelines.loader import ClipLoader
from dali_pipelines.plan.boxes import Box
from dali_pipelines.samples import plan_of_row
from dali_pipelines.store.encode import Encoding, write_video
from dali_pipelines.store.files import INDEX_FILE, replacing, video_path
from dali_pipelines.store.index import Index
from dali_pipelines.web import encoded

SOURCE_SIZE = (340, 256)  # width, height of the usual copies of Kinetics
SOURCE_GOP = 250
JPEG_QUALITY = 90


@dataclass(frozen=True, kw_only=True)
class PeerView(Region):
    """Consecutive frames of a sample that show one part of the picture, in whole pixels of the peer's files.

    frames: their numbers in the video. transforms: applied once the part is cut, scaled and mirrored.
    """

    frames: list[int]
    transforms: Transforms

    @property
    def distinct(self) -> tuple[list[int], list[int]]:
        """Return the distinct frames, ascending, and the index of the one at each place of the view."""
        shown, order = np.unique(self.frames, return_inverse=True)
        return shown.tolist(), order.tolist()


@dataclass(frozen=True)
class PeerClip:
    """One sample of the loader, for a peer: the files, and the views to make of them."""

    video: Path
    jpegs: Path
    views: list[PeerView]

    @property
    def frames(self) -> list[int]:
        """Return the distinct frames to decode, ascending."""
        return sorted({number for view in self.views for number in view.frames})


def peer_store(root: Path, *, videos: int, settings: Encoding) -> Index:
    """Return the dataset in `root`, prepared with `settings`, its sources next to it; make only what is missing."""
    if not (root / INDEX_FILE).is_file():
        records = {}
        for number in tqdm(range(videos), desc=f"bench videos in {root}", unit="video"):
            name = f"video{number:03d}"
            video, jpegs = sources(root, name)
            data.source_video(video, number, size=SOURCE_SIZE, g=str(SOURCE_GOP))  # else x264's: B-frames, CRF 23
            if not jpegs.is_file():
                pictures = (frame.to_ndarray(format="rgb24") for frame in decoded(video))
                write_zip(jpegs, (encode_jpeg(picture, JPEG_QUALITY) for picture in pictures))
            records[name] = write_video(video_path(root, name), video, settings)
        Index.build(root, records).save()
    return Index.load(root)


def sources(root: Path, name: str) -> tuple[Path, Path]:
    """Return the H.264 file and the zip of JPEGs that a video of a store was made from."""
    return root.parent / "h264" / f"{name}.mp4", root.parent / "jpegs" / f"{name}.zip"


def equal_zip(root: Path, name: str) -> Path:
    """Return the zip of JPEGs with the size and quality of a video of a store (`bench.peers.quality`)."""
    return root.parent / f"jpegs_like_{root.name}" / f"{name}.zip"


def decoded(video: Path) -> Iterator[VideoFrame]:
    """Yield the frames of a video file."""
    with av.open(str(video)) as container:
        yield from container.decode(video=0)


def encode_jpeg(picture: np.ndarray, quality: int) -> bytes:
    """Return uint8 (H, W, 3) as a JPEG with 4:2:0 chroma."""
    return encoded(Image.fromarray(picture), "jpeg", quality=quality, subsampling="4:2:0")


def write_zip(path: Path, jpegs: Iterable[bytes]) -> None:
    """Write JPEGs as 00000.jpg ... into one zip, not compressed again."""
    with replacing(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for number, jpeg in enumerate(jpegs):
            archive.writestr(f"{number:05d}.jpg", jpeg)


def peer_clips(loader: ClipLoader, start: int, batches: int, *, prepared: bool = False) -> list[PeerClip]:
    """Return the samples of `batches` batches of a loader from step `start` on, in its order.

    The task's views must not share frames. Everything comes from the loader's own plans, so peers need not draw them.
    Crops are in whole pixels.

    prepared: for a peer that reads the store, or JPEGs of its size; else the sources.
    """
    root, order, program = Path(loader.index.root), loader.order, loader.task.program
    clips = []
    for step in range(start, start + batches):
        epoch, place = order.at(step)
        for row in order.rows(epoch, place).tolist():
            info = loader.index.info(row)
            plan = plan_of_row(loader.index, loader.task, seed=order.seed, epoch=epoch, row=row)
            stored = info.width, info.height
            size = stored if prepared else SOURCE_SIZE
            views = [
                PeerView(
                    **vars(region) | {"box": _scaled(region.box, stored, size)},
                    frames=plan["frames"][view.places].tolist(),
                    transforms=transforms,
                )
                for view, region, transforms in zip(
                    program.views, program.regions(plan), transforms_of(program, plan), strict=True
                )
            ]
            files = (video_path(root, info.name), equal_zip(root, info.name)) if prepared else sources(root, info.name)
            clips.append(PeerClip(*files, views))
    return clips


def _scaled(box: Box, stored: tuple[int, int], size: tuple[int, int]) -> Box:
    """Scale a box from a picture of width and height `stored` to one of `size`, rounded to whole pixels."""
    top, left, height, width = box
    xs = [round(x * size[0] / stored[0]) for x in (left, left + width)]
    ys = [round(y * size[1] / stored[1]) for y in (top, top + height)]
    return ys[0], xs[0], ys[1] - ys[0], xs[1] - xs[0]
