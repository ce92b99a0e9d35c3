"""What the network will see: `python -m dali_pipelines.preview --config C --out FILE.png`, .html or .mp4.

A .png has a row for each view of a clip, .html and .mp4 play them. The pixels are those of the first batch of the
loader, normalization undone; what is drawn on them comes from the task's annotations of the very same plan.
"""

import argparse
import base64
import html
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL.Image import Image

from configs.errors import UserError, run_cli, shown
from configs.load import load
from dali_pipelines.datasets.open import Dataset, open_data
from dali_pipelines.draw import GAP, View, stack, text, tile
from dali_pipelines.loader import ClipLoader
from dali_pipelines.pixels.normalize import NORMALIZATIONS
from dali_pipelines.plan.rng import Stream, generator
from dali_pipelines.store.files import replacing
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task

PLAY_FPS = 8  # slow enough to follow
REPEATS = 3  # of a clip in a video


@dataclass(frozen=True)
class Sample:
    """What a video came to."""

    name: str
    views: list[View]


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clipfeed preview", description=__doc__)
    parser.add_argument("--config", required=True, metavar="YAML", help="the recipe, see configs/")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key")
    parser.add_argument("--data-dir", metavar="DIR", help="the dataset, instead of data.root")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .png, .html or .mp4 to write")
    parser.add_argument("--samples", type=int, default=4, help="videos (4)")
    parser.add_argument("--frames", type=int, default=8, help="frames of a view in a .png, evenly spread (8)")
    return parser


def main(argv: list[str]) -> None:
    args = make_parser().parse_args(argv)
    for option in ("samples", "frames"):
        if getattr(args, option) < 1:
            raise UserError(f"--{option} {getattr(args, option)}: at least 1")
    writers: dict[str, Callable[[list[Sample]], bytes]] = {
        ".png": lambda samples: png(samples, args.frames),
        ".html": page,
        ".mp4": mp4,
    }
    if args.out.suffix not in writers:
        raise UserError(f"--out {args.out}: give a name that ends in {', '.join(writers)}")
    config = load(args.config, args.set)

    data = replace(config.data, root=args.data_dir) if args.data_dir else config.data
    index = open_data(data).index
    samples = first_samples(index, Task(config.task, config.plan), config.seed, args.samples)
    content = writers[args.out.suffix](samples)
    with replacing(args.out) as temporary:
        temporary.write_bytes(content)
    print(f"{args.out}: {len(samples)} clips of {config.task}: {', '.join(shown(sample.name) for sample in samples)}")


def first_samples(index: Index, task: Task, seed: int, count: int) -> list[Sample]:
    """Make the first samples of epoch 0, as many as the dataset has up to `count`."""
    index = Dataset(index).long_enough(task).index
    batch = next(iter(ClipLoader(index, task, batch_size=min(count, len(index)), seed=seed)))
    samples = []
    for place, row in enumerate(batch["index"].tolist()):  # of the videos that were read, stand-ins among them
        video = index.info(row)
        plan = task.plan(video, generator(seed, Stream.SAMPLE, 0, row))
        outputs = {name: batch[name][place].numpy() for name in task.batch_schema}
        samples.append(Sample(video.name, views_of(task, plan, outputs)))
    return samples


def views_of(task: Task, plan: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> list[View]:
    """Return every view of a sample with its annotations: those in `clips`, then those of its other pictures."""
    mean, std = (np.array(numbers, np.float32) for numbers in NORMALIZATIONS[task.program.normalization])
    pictures = sorted((name for name, array in outputs.items() if array.ndim >= 4), key=lambda name: name != "clips")
    clips = [(name, clip) for name in pictures for clip in outputs[name].reshape(-1, *outputs[name].shape[-4:])]
    lengths = [clip.shape[1] for _, clip in clips]
    numbers: list[np.ndarray | None] = [None] * len(clips)
    if plan["frames"].size == sum(lengths):  # else some frame is shown twice, or not as it is
        numbers = [*np.split(plan["frames"], np.cumsum(lengths)[:-1])]
    annotations = task.annotate(plan)
    views = []
    for place, (name, clip_3THW) in enumerate(clips):
        pixels_THW3 = ((np.moveaxis(clip_3THW, 0, -1) * std + mean).clip(0, 1) * 255).round().astype(np.uint8)
        views.append(
            View(
                pixels_THW3,
                caption=_of_view(annotations.captions, place) or name,
                numbers_T=numbers[place],
                boxes_RT4=_of_view(annotations.boxes, place),
                up=_of_view(annotations.up, place),
            )
        )
    return views


def _of_view(of_views: Any, place: int) -> Any:
    """Return what is known of one view, None where nothing is."""
    return of_views[place] if of_views is not None and place < len(of_views) else None


def png(samples: Sequence[Sample], frames: int) -> bytes:
    """Draw a picture: a row for each view, some of its frames beside each other, the caption above."""
    blocks = []
    for sample in samples:
        rows = []
        for view in sample.views:
            times = np.linspace(0, len(view) - 1, min(frames, len(view))).round().astype(int)
            strip = stack([tile(view, t) for t in times], across=True)
            rows += [text(view.caption, strip.width), strip]
        blocks.append(stack([text(sample.name, max(row.width for row in rows)), *rows]))
    file = io.BytesIO()
    stack(blocks, gap=4 * GAP).save(file, "PNG")
    return file.getvalue()


def page(samples: Sequence[Sample]) -> bytes:
    """Write a self-contained web page in which every view plays, next to the others of its video."""
    parts = ["<!doctype html><meta charset=utf-8><title>preview</title>"]
    parts.append("<style>body{font:14px sans-serif} figure{display:inline-block;margin:4px;vertical-align:top}</style>")
    for sample in samples:
        parts.append(f"<h3>{html.escape(sample.name)}</h3>")
        for view in sample.views:
            first, *others = (tile(view, t) for t in range(len(view)))
            file = io.BytesIO()
            first.save(file, "WEBP", save_all=True, append_images=others, duration=1000 // PLAY_FPS, loop=0, quality=90)
            data = base64.b64encode(file.getvalue()).decode()
            parts.append(f'<figure style="width:{first.width}px"><img src="data:image/webp;base64,{data}">')
            parts.append(f"<figcaption>{html.escape(view.caption)}</figcaption></figure>")
    return "\n".join(parts).encode()


def mp4(samples: Sequence[Sample]) -> bytes:
    """Encode a video: a row for each sample, its views side by side, the captions below."""
    length = max(len(view) for sample in samples for view in sample.views)
    sheets = [stack([_playing(sample, t) for sample in samples]) for t in range(length)]
    width, height = (side - side % 2 for side in sheets[0].size)  # 4:2:0 has even sides
    codec = next(name for name in ("libx264", "libvpx-vp9", "mpeg4") if name in av.codecs_available)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=PLAY_FPS, width=width, height=height)
        stream.pix_fmt = "yuv420p"
        for sheet in sheets * REPEATS:
            container.mux(stream.encode(av.VideoFrame.from_image(sheet.crop((0, 0, width, height)))))
        container.mux(stream.encode(None))
    return file.getvalue()


def _playing(sample: Sample, t: int) -> Image:
    """Draw frame `t` of all views; a shorter one begins again."""
    cells = [
        stack([picture, text(view.caption, picture.width)], gap=0)
        for view in sample.views
        for picture in [tile(view, t % len(view))]
    ]
    row = stack(cells, across=True)
    return stack([text(sample.name, row.width), row], gap=0)


if __name__ == "__main__":
    run_cli(main)
