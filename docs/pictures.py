"""Draw the pictures of the docs from synthetic videos: `python -m docs.pictures`, from the root of the repository.

Writes docs/images/tasks/NAME.png for each task and docs/images/strip.png. A seed is chosen so that its samples show
what the task is about.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from configs.load import load
from dali_pipelines.demo_data import make_demo
from dali_pipelines.draw import GAP, Sample, stack, text
from dali_pipelines.preview import first_samples, sheet
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task, about

IMAGES = Path(__file__).parent / "images"
VIDEOS = 64
COLORS = 192  # of a PNG, so that it is small


@dataclass(frozen=True)
class Look:
    """Which samples of a task are drawn, and how: frames of a view, tiles in a row, changes to the demo's recipe."""

    seed: int
    samples: int
    frames: int
    row: int
    settings: tuple[str, ...] = ()


PAGES = {
    "ctp": Look(121, samples=2, frames=5, row=5),
    "moco": Look(5, samples=1, frames=5, row=5),
    "memdpc": Look(5, samples=1, frames=1, row=5),
    "rot3d": Look(8, samples=4, frames=1, row=4),
    "speednet": Look(78, samples=3, frames=5, row=5),
    "vcop": Look(16, samples=2, frames=2, row=6),
    "cstp": Look(94, samples=1, frames=3, row=6),
    "concepts": Look(9, samples=1, frames=3, row=6),
    "cpc_transformer": Look(5, samples=2, frames=5, row=5, settings=("plan.crop_size=112",)),
    "dpc": Look(9, samples=1, frames=1, row=5, settings=("plan.crop_size=112",)),
    "videomae": Look(5, samples=2, frames=5, row=5),
    "vjepa": Look(5, samples=2, frames=5, row=5),
}
STRIP = {
    "ctp": Look(102, samples=1, frames=4, row=4),
    "cstp": Look(94, samples=1, frames=2, row=4),
    "vcop": Look(16, samples=1, frames=1, row=4),
    "rot3d": Look(8, samples=4, frames=1, row=4),
    "speednet": Look(3, samples=1, frames=4, row=4),
    "concepts": Look(9, samples=1, frames=1, row=4),
}


def main() -> None:
    """Make the videos and draw all pictures."""
    with tempfile.TemporaryDirectory() as folder:
        make_demo(Path(folder), train=VIDEOS, test=8, seed=0, workers=2)
        index = Index.load(folder)
        for name, look in PAGES.items():
            save(sheet(samples_of(index, name, look, size=112), look.frames, row=look.row), f"tasks/{name}.png")
        cells = []
        for name, look in STRIP.items():
            drawn = sheet(samples_of(index, name, look, size=150), look.frames, row=look.row)
            cells.append(stack([text(about(name), 4 * 150 + 3 * GAP), drawn]))
        rows = [stack(cells[at : at + 2], across=True, gap=4 * GAP) for at in range(0, len(cells), 2)]
        save(stack(rows, gap=4 * GAP), "strip.png")


def samples_of(index: Index, name: str, look: Look, *, size: int) -> list[Sample]:
    """Make the samples, with clips of `size` pixels a side."""
    config = load(f"{name}/demo", [f"plan.size={size}", *look.settings])
    samples = first_samples(index, Task(name, config.plan), look.seed, look.samples)
    return [Sample("", sample.views) for sample in samples]  # names of these videos say nothing


def save(picture: Image.Image, name: str) -> None:
    """Write a small PNG, and say so."""
    path = IMAGES / name
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(COLORS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(path, "PNG", optimize=True)
    print(f"{path}: {picture.width}x{picture.height}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
