"""Show what the network will see: `clipfeed preview --config C --out FILE`, a picture, a page or a video.

A .png has a row of frames for each view of a clip; .html and .mp4 play them. The pixels are those of the first batch of
the loader, normalization undone; what is drawn on them comes from the task's annotations of the very same plan.
"""

import argparse
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL.Image import Image
from torch import Tensor

from configs.errors import UserError, shown
from configs.load import load
from configs.options import add_overrides, overrides, whole_number
from configs.words import counted
from dali_pipelines.datasets.dataset import Dataset
from dali_pipelines.datasets.open import open_data
from dali_pipelines.draw import GAP, PLAY_FPS, Sample, View, stack, text, tile
from dali_pipelines.inspection import spread
from dali_pipelines.loader import ClipLoader
from dali_pipelines.pixels.normalize import NORMALIZATIONS
from dali_pipelines.preview_page import page
from dali_pipelines.samples import plan_of_row
from dali_pipelines.store.files import write_file
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task
from dali_pipelines.web import encoded

SECONDS = 12  # minimum length of a video
SCREEN = 16 / 9  # width to height
ROW = 8  # frames side by side in a .png, of one view or of several


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clipfeed preview", description=__doc__)
    parser.add_argument("--config", required=True, metavar="YAML", help="the recipe, see configs/")
    add_overrides(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=".png, .html or .mp4")
    parser.add_argument("--samples", type=whole_number(1), default=4, help="videos (4)")
    frames = "frames of a view in a .png, evenly spread (8)"
    parser.add_argument("--frames", type=whole_number(1), default=8, help=frames)
    return parser


def main(argv: list[str]) -> None:
    args = make_parser().parse_args(argv)
    writers: dict[str, Callable[[list[Sample]], bytes]] = {
        ".png": lambda samples: encoded(sheet(samples, args.frames), "png"),
        ".html": lambda samples: page(samples, task, facts).encode(),
        ".mp4": mp4,
    }
    if args.out.suffix not in writers:
        raise UserError(f"--out {args.out}: give a name that ends in {', '.join(writers)}")
    config = load(args.config, overrides(args))
    task = Task(config.task, config.plan)

    dataset = open_data(config.data)
    for note in dataset.notes:
        print(f"note: {note}")
    samples = first_samples(dataset.index, task, config.seed, args.samples)
    videos = f"{len(dataset.index):,} of {dataset.list_file or dataset.index.root}"
    facts = {"recipe": args.config, "videos": videos}
    write_file(args.out, writers[args.out.suffix](samples))
    names = ", ".join(shown(sample.name) for sample in samples)
    print(f"{args.out}: {counted(len(samples), 'clip')} of {config.task}: {names}")


def first_samples(index: Index, task: Task, seed: int, count: int) -> list[Sample]:
    """Make the first `count` samples of epoch 0, fewer if the dataset is smaller."""
    index = Dataset(index).long_enough(task).index
    batch = next(iter(ClipLoader(index, task, batch_size=min(count, len(index)), seed=seed)))
    return samples_of(index, task, seed, 0, batch)


def samples_of(index: Index, task: Task, seed: int, epoch: int, batch: Mapping[str, Tensor]) -> list[Sample]:
    """Convert a batch to samples; index, task, seed and epoch are those of its loader."""
    samples = []
    for place, row in enumerate(batch["index"].tolist()):  # rows that were read, stand-ins included
        video = index.info(row)
        plan = plan_of_row(index, task, seed=seed, epoch=epoch, row=row)
        outputs = {name: batch[name][place].cpu().numpy() for name in task.batch_schema}
        views = views_of(task, plan, outputs)
        samples.append(Sample(video.name, views, class_name=index.class_name(row), num_frames=video.num_frames))
    return samples


def views_of(task: Task, plan: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> list[View]:
    """Return all views of a sample, annotated: those in `clips`, then those of its other pictures."""
    mean, std = (np.array(numbers, np.float32) for numbers in NORMALIZATIONS[task.program.normalization])
    pictures = sorted((name for name, array in outputs.items() if array.ndim >= 4), key=lambda name: name != "clips")
    clips = [(name, clip) for name in pictures for clip in outputs[name].reshape(-1, *outputs[name].shape[-4:])]
    lengths = [clip.shape[1] for _, clip in clips]
    numbers: list[np.ndarray | None] = [None] * len(clips)
    if plan["frames"].size == sum(lengths):  # else some frame is shown twice or altered
        numbers = [*np.split(plan["frames"], np.cumsum(lengths)[:-1])]
    annotations = task.annotate(plan)
    views = []
    for place, (name, clip_3THW) in enumerate(clips):
        clip_THW3 = np.nan_to_num(np.moveaxis(clip_3THW, 0, -1) * std + mean)
        pixels_THW3 = (clip_THW3.clip(0, 1) * 255).round().astype(np.uint8)
        views.append(
            View(
                pixels_THW3,
                caption=_of_view(annotations.captions, place) or name,
                numbers_T=numbers[place],
                boxes_RT4=_of_view(annotations.boxes, place),
                up=_of_view(annotations.up, place),
                shaded_RC=_of_view(annotations.shaded, place),
            )
        )
    return views


def _of_view(of_views: Any, place: int) -> Any:
    """Return the annotation of one view, or None."""
    return of_views[place] if of_views is not None and place < len(of_views) else None


def sheet(samples: Sequence[Sample], frames: int, *, row: int = ROW) -> Image:
    """Draw frames of each view side by side, with the caption below; short views and samples share rows.

    A view gets at most `frames` tiles, evenly spread over its frames; `row` tiles fit in a row.
    """
    shown = min(frames, max(len(view) for sample in samples for view in sample.views))
    columns = max(1, row // shown)
    blocks = []
    for sample in samples:
        strips = []
        for view in sample.views:
            strip = stack([tile(view, t) for t in spread(len(view), frames)], across=True)
            strips.append(stack([strip, text(view.caption, strip.width)], gap=0))
        views = _grid(strips, columns)
        blocks.append(stack([text(sample.title, views.width), views]) if sample.title else views)
    views_across = min(columns, max(len(sample.views) for sample in samples))
    return _grid(blocks, max(1, columns // views_across), gap=4 * GAP)


def mp4(samples: Sequence[Sample]) -> bytes:
    """Encode a video of the samples in a grid, repeated for at least `SECONDS`."""
    sheets = _sheets(samples)
    width, height = (side - side % 2 for side in sheets[0].size)  # 4:2:0 needs even sides
    codec = next(name for name in ("libx264", "libvpx-vp9", "mpeg4") if name in av.codecs_available)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=PLAY_FPS, width=width, height=height)
        stream.pix_fmt = "yuv420p"
        for sheet in sheets * math.ceil(SECONDS * PLAY_FPS / len(sheets)):
            container.mux(stream.encode(av.VideoFrame.from_image(sheet.crop((0, 0, width, height)))))
        container.mux(stream.encode(None))
    return file.getvalue()


def _sheets(samples: Sequence[Sample]) -> list[Image]:
    """Draw all samples at each step of the longest view, in a grid whose shape is closest to a screen's."""
    length = max(len(view) for sample in samples for view in sample.views)
    blocks = [[_playing(sample, t) for sample in samples] for t in range(length)]
    width, height = (max(sides) for sides in zip(*(block.size for block in blocks[0]), strict=True))

    def shape_error(columns: int) -> float:
        return abs(math.log(columns * width / (math.ceil(len(samples) / columns) * height) / SCREEN))

    columns = min(range(1, len(samples) + 1), key=shape_error)
    return [_grid(of_step, columns, gap=4 * GAP) for of_step in blocks]


def _playing(sample: Sample, t: int) -> Image:
    """Draw frame `t` of all views; shorter ones loop."""
    cells = [
        stack([picture, text(view.caption, picture.width)], gap=0)
        for view in sample.views
        for picture in [tile(view, t % len(view))]
    ]
    row = stack(cells, across=True)
    return stack([text(sample.title, row.width), row], gap=0)


def _grid(pictures: Sequence[Image], columns: int, *, gap: int = GAP) -> Image:
    """Lay out pictures in rows."""
    starts = range(0, len(pictures), columns)
    return stack([stack(pictures[at : at + columns], across=True, gap=gap) for at in starts], gap=gap)
