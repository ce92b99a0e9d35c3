"""Apply a task's transforms to a cut view: values from the loader's own plan, steps by a peer's own library.

The order is that of every task's `graph`: paste, rotate, colors, blur, normalize. The library implements each step
(`bench.peers.opencv`, `bench.peers.torchvision`); steps that change nothing are left out, as in the graphs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from dali_pipelines.pixels.color import SCALED, WITH_MEAN, Recolor
from dali_pipelines.pixels.normalize import NORMALIZATIONS
from dali_pipelines.pixels.operation import Plan, View
from dali_pipelines.pixels.program import Program
from dali_pipelines.plan.color_map import gain, shift


@dataclass(frozen=True, eq=False)
class Patch:
    """One patch of CtP.

    frame, box: its source, (left, top, right, bottom). mask: float32 (h, w) in 0..1, of that box.
    places: the frames that show it, each with the box to scale it to and its opacity.
    """

    frame: int
    box: tuple[int, int, int, int]
    mask: np.ndarray
    places: list[tuple[int, tuple[int, int, int, int], float]]


@dataclass(frozen=True, eq=False)
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


def transforms_of(program: Program, plan: Plan) -> list[Transforms]:
    """Return the transforms of each view of a plan; arrays that are not read here must not change pixels."""
    mean, std = ([255 * value for value in part] for part in NORMALIZATIONS[program.normalization])
    rot90, degrees, sigmas = (plan.get(name, np.zeros(len(program.views))) for name in ("rot90", "degrees", "sigma"))
    rotations = (90 * rot90 + degrees) % 360
    patches = list(_patches(plan)) if "patch_box" in plan else []
    return [
        Transforms(patches, float(rotations[v]), list(_colors(plan, view)), float(sigmas[v]), mean, std)
        for v, view in enumerate(program.views)
    ]


def _patches(plan: Plan) -> Iterator[Patch]:
    """Yield the patches of `pixels.paste.PastePatches`."""
    names = ("start", "shape", "mask", "box", "opacity")
    for start, shape, mask, boxes, opacity in zip(*(plan[f"patch_{name}"] for name in names), strict=True):
        (frame, y, x), (_, height, width) = start.tolist(), shape.tolist()
        shown = enumerate(zip(boxes.tolist(), (255 * opacity).tolist(), strict=True))
        places = [(t, (left, top, left + w, top + h), alpha) for t, ((top, left, h, w), alpha) in shown if alpha]
        yield Patch(frame, (x, y, x + width, y + height), mask[:height, :width, 0] / np.float32(255), places)


def _colors(plan: Plan, view: View) -> Iterator[Colors]:
    """Yield the color changes of a view that change something, in order."""
    changes = [{name: plan[name][view.places] for name in plan if name.startswith("color_")}]
    for name, make in (("brightness", shift), ("contrast", gain)):
        if name in plan:
            changes.append(Recolor.arrays([make(value) for value in plan[name][view.places].tolist()]))
    for arrays in changes:
        if arrays and (kind := int(arrays["color_kind"].max())):
            yield Colors(kind, *(arrays[f"color_{part}"] for part in ("matrix", "pivot", "offset")))
