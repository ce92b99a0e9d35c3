"""Apply a task's transforms to a cut view: values from the loader's own plan, steps by a peer's own library.

The order is that of every task's `graph`: paste, rotate, colors, blur, normalize. The library implements each step
(`bench.peers.opencv`, `bench.peers.torchvision`); steps that change nothing are left out, as in the graphs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from dali_pipelines.pixels.color import SCALED, WITH_MEAN, Recolor
from dali_pipelines.pixels.normalize import NORMALIZATIONS
from dali_pipelines.pixels.operation import View
from dali_pipelines.plan.color_map import gain, shift
from dali_pipelines.plan.patches import Patches
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.tasks import Task, ctp


@dataclass(frozen=True)
class Patch:
    """One patch of CtP.

    frame, box: its source, (left, top, right, bottom). mask: float32 (h, w) in 0..1, of that box.
    places: the frames that show it, each with the box to scale it to and its opacity.
    """

    frame: int
    box: tuple[int, int, int, int]
    mask: np.ndarray
    places: list[tuple[int, tuple[int, int, int, int], float]]


@dataclass(frozen=True)
class Colors:
    """A map of `plan.color_map` for each frame: float32 matrix and pivot (T, 3, 3), offset (T, 3); `kind` of most."""

    kind: int
    matrix: np.ndarray
    pivot: np.ndarray
    offset: np.ndarray


@dataclass(frozen=True)
class Transforms:
    """The transforms of one cropped view of T frames.

    patches: in the order of pasting; all are cut out before any is pasted. degrees: counter-clockwise, about the
    center. colors: one after the other, clamped to 0..255 after each. sigma: of a Gaussian, pixels. mean, std: of the
    normalization, gray levels.
    """

    patches: list[Patch]
    degrees: float
    colors: list[Colors]
    sigma: float
    mean: list[float]
    std: list[float]


class Library(Protocol):
    """The steps in one library, on T frames in the library's own form; `channels` is their axis of R, G and B."""

    channels: int

    def paste(self, frames: Any, patches: Sequence[Patch]) -> Any: ...
    def rotate(self, frames: Any, degrees: float) -> Any: ...
    def means(self, frames: Any) -> np.ndarray: ...  # (T, 3), of each frame
    def scale(self, frames: Any, factor: np.ndarray, shift: np.ndarray) -> Any: ...  # (T,) each
    def mix(self, frames: Any, matrix: np.ndarray, offset: np.ndarray) -> Any: ...  # (T, 3, 3), (T, 3)
    def blur(self, frames: Any, sigma: float) -> Any: ...
    def normalize(self, frames: Any, mean: Sequence[float], std: Sequence[float]) -> Tensor: ...  # float32


def apply_transforms(frames: Any, transforms: Transforms, library: Library) -> Tensor:
    """Return a view for the network, float32, in the library's order of axes; `frames` may be overwritten."""
    if transforms.patches:
        frames = library.paste(frames, transforms.patches)
    if transforms.degrees:
        frames = library.rotate(frames, transforms.degrees)
    for colors in transforms.colors:
        if colors.kind == SCALED:
            frames = library.scale(frames, colors.matrix[:, 0, 0], colors.offset[:, 0])
            continue
        offset = colors.offset
        if colors.kind == WITH_MEAN:
            offset = offset + np.einsum("tij,tj->ti", colors.pivot, library.means(frames))
        frames = library.mix(frames, colors.matrix, offset.astype(np.float32))
    if transforms.sigma:
        frames = library.blur(frames, transforms.sigma)
    return library.normalize(frames, transforms.mean, transforms.std)


def transforms_of(
    task: Task, video: VideoInfo, plan: Mapping[str, np.ndarray], rng: np.random.Generator
) -> list[Transforms]:
    """Return the transforms of each view of a plan, for tasks whose graph takes no arrays other than those read here.

    rng: the generator of `plan`, at its start: CtP's patches and colors are read before they become arrays.
    """
    views = task.program.views
    mean, std = ([255 * value for value in part] for part in NORMALIZATIONS[task.program.normalization])
    if task.name == "ctp":
        patches, steps = _ctp_transforms(task, video, rng)
        return [Transforms(patches, 0.0, steps, 0.0, mean, std)]
    rot90, degrees, sigmas = (plan.get(name, np.zeros(len(views))) for name in ("rot90", "degrees", "sigma"))
    rotations = (90 * rot90 + degrees) % 360
    return [
        Transforms([], float(rotations[v]), _changing(_colors_of(plan, view)), float(sigmas[v]), mean, std)
        for v, view in enumerate(views)
    ]


def _ctp_transforms(task: Task, video: VideoInfo, rng: np.random.Generator) -> tuple[list[Patch], list[Colors]]:
    drawn = ctp.draw(video, rng, task.cfg)
    maps = (
        [drawn.tint] * len(drawn.frames),
        [shift(levels) for levels in drawn.brightness.tolist()],
        [gain(factor) for factor in drawn.contrast.tolist()],
    )
    return list(_patches(drawn.patches)), [c for map_ in maps for c in _changing(Recolor.arrays(map_))]


def _patches(patches: Patches) -> Iterator[Patch]:
    for one in patches.paste_order.tolist():
        boxes, opacity, frame = patches.boxes[one].tolist(), patches.opacity[one].tolist(), patches.source_frame[one]
        places = [(t, tuple(box), alpha) for t, (box, alpha) in enumerate(zip(boxes, opacity, strict=True)) if alpha]
        yield Patch(int(frame), tuple(boxes[frame]), patches.masks[one].astype(np.float32), places)


def _colors_of(plan: Mapping[str, np.ndarray], view: View) -> dict[str, np.ndarray]:
    return {name: plan[name][view.places] for name in plan if name.startswith("color_")}


def _changing(arrays: Mapping[str, np.ndarray]) -> list[Colors]:
    """Return the colors of `pixels.color.Recolor`, or [] if they change nothing."""
    kind = int(arrays["color_kind"].max()) if arrays else 0
    return [Colors(kind, *(arrays[f"color_{part}"] for part in ("matrix", "pivot", "offset")))] if kind else []
