"""The patches that CtP pastes into a clip: where each is in every frame, and how it looks (specs/ctp.md 1.1)."""

from dataclasses import dataclass

import numpy as np

from dali_pipelines.plan.keyframes import interpolate, sample_keys
from dali_pipelines.plan.rng import pick

SIDES = (16, 24, 28, 32, 48, 64)
RATIOS = (0.5, 0.67, 0.75, 1.0, 1.33, 1.5, 2.0)
ANCHOR_SIDES, ANCHOR_RATIOS = (axis.ravel() for axis in np.meshgrid(SIDES, RATIOS, indexing="ij"))
SIDE_JITTER = 0.18
KEY_PROBS = (0.5, 0.3, 0.2)
SHAPES = ("rectangle", "ellipse", "rhombus")
SHAPE_PROBS = (0.5, 0.35, 0.15)
SOFT_PROB = 0.5
SOFT_START = (0.30, 0.45)
OPACITY = (0.8, 1.0)


@dataclass(frozen=True, eq=False)
class Patches:
    """R patches over T frames of a clip of `size` x `size` pixels.

    Attributes:
        boxes: int64 (R, T, 4), x1 y1 x2 y2 with exclusive ends: where the patch is pasted, and the ground truth.
        source_frame: int64 (R,), the frame that the patch is cut from, at its box there.
        opacity: float64 (R, T) in [0.8, 1], or 0 where the patch is hidden.
        masks: float64 (h, w) in [0, 1] per patch, at the size of its source box.
    """

    size: int
    boxes: np.ndarray
    source_frame: np.ndarray
    opacity: np.ndarray
    masks: tuple[np.ndarray, ...]

    @property
    def paste_order(self) -> np.ndarray:
        """The patches by decreasing mean width times mean height: small ones end up on top."""
        width, height = (self.boxes[..., 2:] - self.boxes[..., :2]).mean(axis=1).T
        return np.argsort(-width * height, kind="stable")


def draw_boxes(
    rng: np.random.Generator, *, patches: int, length: int, size: int, velocity: float, growth: float
) -> np.ndarray:
    """Draw box trajectories, int64 (patches, length, 4).

    The center moves by up to `velocity` pixels and the log of each side by up to `growth` a frame, both drawn at
    key frames that all patches of the clip share. Boxes are clipped to the picture and rounded, at least a pixel wide.
    """
    anchor = rng.integers(len(ANCHOR_SIDES), size=patches)
    stretch = np.sqrt(ANCHOR_RATIOS[anchor])
    sides = ANCHOR_SIDES[anchor, None] * np.stack([stretch, 1 / stretch], axis=1)  # (patches, xy)
    sides = np.clip(sides * np.exp(rng.uniform(-SIDE_JITTER, SIDE_JITTER, size=(patches, 2))), 1, size - 1)
    center = rng.uniform(0, size - sides) + sides / 2

    keys = sample_keys(length, rng, KEY_PROBS)
    centers = [center]
    for gap in np.diff(keys):
        step = rng.uniform(-velocity * gap, velocity * gap, size=(patches, 2))
        centers.append(np.clip(centers[-1] + step, sides / 2, size - sides / 2))
    center_t = interpolate(keys, np.stack(centers), rng)  # (T, patches, xy)

    keys = sample_keys(length, rng, KEY_PROBS)
    sides_at = [sides]
    for gap in np.diff(keys):
        sides_at.append(sides_at[-1] * np.exp(rng.uniform(-growth * gap, growth * gap, size=(patches, 2))))
    sides_t = interpolate(keys, np.stack(sides_at), rng)

    low = np.rint(np.clip(center_t - sides_t / 2, 0, size - 1))
    high = np.rint(np.clip(center_t + sides_t / 2, low + 1, size))
    return np.concatenate([low, high], axis=-1).astype(np.int64).transpose(1, 0, 2)


def draw_mask(rng: np.random.Generator, *, height: int, width: int) -> np.ndarray:
    """Draw an alpha mask of a random shape, hard or with a soft edge; float64 (height, width) in [0, 1]."""
    shape = SHAPES[pick(rng, SHAPE_PROBS)]
    soft, start = rng.random() < SOFT_PROB, rng.uniform(*SOFT_START)
    v = np.abs(np.arange(height) - (height - 1) // 2)[:, None] / height
    u = np.abs(np.arange(width) - (width - 1) // 2)[None, :] / width
    distance = {"rectangle": np.maximum, "ellipse": np.hypot, "rhombus": np.add}[shape](u, v)
    mask = np.ones_like(distance) if shape == "rectangle" else (distance < 0.5).astype(np.float64)
    return mask * np.clip((0.5 - distance) / (0.5 - start), 0, 1) if soft else mask


def draw_patches(
    rng: np.random.Generator,
    *,
    patches: int,
    length: int,
    size: int,
    velocity: float,
    growth: float,
    visible_prob: float,
) -> Patches:
    """Draw all patches of one clip. A patch is always visible in frame 0 and in its source frame."""
    boxes = draw_boxes(rng, patches=patches, length=length, size=size, velocity=velocity, growth=growth)
    source_frame = rng.integers(length, size=patches)
    hidden = rng.random((patches, length)) > visible_prob
    hidden[:, 0] = False
    hidden[np.arange(patches), source_frame] = False
    opacity = np.empty((patches, length))
    masks = []
    for patch in range(patches):
        keys = sample_keys(length, rng, KEY_PROBS)
        opacity[patch] = interpolate(keys, rng.uniform(*OPACITY, size=len(keys)))
        x1, y1, x2, y2 = boxes[patch, source_frame[patch]]
        masks.append(draw_mask(rng, height=y2 - y1, width=x2 - x1))
    return Patches(size, boxes, source_frame, np.where(hidden, 0.0, opacity), tuple(masks))
