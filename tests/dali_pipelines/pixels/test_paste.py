"""Pasting in DALI, and in NumPy on the host, against a slow renderer of the drawn patches."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from dali_pipelines.pixels.paste import PastePatches
from dali_pipelines.plan.patches import Patches, draw_patches
from tests.helpers import dali

T, SIZE, R = 16, 112, 3
DRAW: dict[str, Any] = {"patches": R, "length": T, "size": SIZE, "velocity": 3.0, "growth": 0.025, "visible_prob": 0.8}


def resize(image_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize bilinearly with half-pixel centers and replicated borders, by torch."""
    image = torch.from_numpy(np.ascontiguousarray(image_HWC, dtype=np.float64)).permute(2, 0, 1)[None]
    return interpolate(image, (height, width), mode="bilinear", align_corners=False)[0].permute(1, 2, 0).numpy()


def render(clip: np.ndarray, patches: Patches, truncate: bool = False) -> np.ndarray:
    """Paste by specs/ctp.md 1.1 (e)-(h), one patch and frame at a time: float64 (T, S, S, 3)."""
    result = clip.astype(np.float64)
    sides = (patches.boxes[..., 2:] - patches.boxes[..., :2]).mean(axis=1)
    for patch in np.argsort(-sides[:, 0] * sides[:, 1], kind="stable"):
        frame = patches.source_frame[patch]
        x1, y1, x2, y2 = patches.boxes[patch, frame]
        cut = clip[frame, y1:y2, x1:x2]
        for t in range(len(clip)):
            if patches.opacity[patch, t] == 0:
                continue
            x1, y1, x2, y2 = patches.boxes[patch, t]
            alpha = resize(patches.masks[patch][..., None], y2 - y1, x2 - x1) * patches.opacity[patch, t]
            region = result[t, y1:y2, x1:x2]
            region[:] = region * (1 - alpha) + resize(cut, y2 - y1, x2 - x1) * alpha
        if truncate:
            result = np.floor(result + 1e-4)
    return result


def in_numpy(clips: list[np.ndarray], patches: list[Patches]) -> list[np.ndarray]:
    paste = PastePatches(R, SIZE)
    return [dali.on_host(paste, clip, paste.arrays(drawn)) for clip, drawn in zip(clips, patches, strict=True)]


def in_dali(
    clips: list[np.ndarray], patches: list[Patches], truncate: bool = False, device: str = "cpu"
) -> list[np.ndarray]:
    paste = PastePatches(R, SIZE, truncate=truncate)
    return dali.in_dali(paste, clips, [paste.arrays(drawn) for drawn in patches], device=device)


on_a_gpu = partial(in_dali, device="gpu")


@pytest.fixture(scope="module")
def drawn() -> list[Patches]:
    return [draw_patches(np.random.default_rng(seed), **DRAW) for seed in range(12)]


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (T, SIZE // 4, SIZE // 4, 3), dtype=np.uint8) for _ in range(12)]
    return [np.kron(n, np.ones((1, 4, 4, 1), np.uint8)) for n in noise]


def pastes(patches: Patches) -> np.ndarray:
    """Count the patches that are pasted over each pixel, int (T, SIZE, SIZE)."""
    count = np.zeros((T, SIZE, SIZE), int)
    for patch, t in np.argwhere(patches.opacity > 0):
        x1, y1, x2, y2 = patches.boxes[patch, t]
        count[t, y1:y2, x1:x2] += 1
    return count


every_way = pytest.mark.parametrize(
    "paste", [in_dali, in_numpy, pytest.param(on_a_gpu, marks=pytest.mark.gpu, id="gpu")]
)


@every_way
def test_paste_matches_the_slow_renderer_within_half_a_level_per_paste(clips, drawn, paste):
    """Each paste rounds. 8-bit masks add at most half a step of alpha times 255 levels."""
    errors = []
    for got, clip, patches in zip(paste(clips, drawn), clips, drawn, strict=True):
        expected = render(clip, patches)
        assert got.dtype == np.uint8
        assert (np.abs(got - expected) <= 0.6 + 0.5 * pastes(patches)[..., None]).all()
        assert np.abs(expected - clip).mean() > 1  # something was pasted
        errors.append((got - expected)[pastes(patches) > 0])
    assert abs(np.concatenate(errors).mean()) < 0.01  # rounding is up as often as down


@every_way
def test_pixels_outside_all_visible_boxes_are_untouched(clips, drawn, paste):
    got = paste(clips, drawn)
    for result, clip, patches in zip(got, clips, drawn, strict=True):
        bare = pastes(patches) == 0
        np.testing.assert_array_equal(result[bare], clip[bare])


@every_way
def test_pasting_identical_content_changes_nothing(drawn, paste):
    flat = [np.full((T, SIZE, SIZE, 3), 100, np.uint8)] * len(drawn)
    for result in paste(flat, drawn):
        np.testing.assert_array_equal(result, 100)


def test_truncate_drops_the_fraction_at_every_paste(drawn, device):
    """specs/ctp.md 1.1 (h). 8-bit masks sometimes move the blend across a whole level, at most one per paste."""
    texture = np.random.default_rng(1).integers(0, 256, (T, SIZE, SIZE, 3), dtype=np.uint8)
    both = (in_dali([texture] * len(drawn), drawn, truncate=truncate, device=device) for truncate in (False, True))
    for plain, truncated, patches in zip(*both, drawn, strict=True):
        count = pastes(patches)
        drop = plain.astype(int) - truncated
        assert drop.min() >= 0
        assert (drop <= count[..., None]).all()
        error = truncated - render(texture, patches, truncate=True)
        assert (np.abs(error) <= count[..., None]).all()
        assert drop[count == 1].mean() > 0.2  # half a level, except where patches blend without fractions
        assert np.abs(error)[count > 0].mean() < 0.05


def test_numpy_and_dali_differ_by_at_most_a_level_per_paste(clips, drawn, device):
    for ours, theirs, patches in zip(in_numpy(clips, drawn), in_dali(clips, drawn, device=device), drawn, strict=True):
        difference = np.abs(ours.astype(int) - theirs)
        assert (difference <= pastes(patches)[..., None]).all()
        assert (difference > 0).mean() < 0.002


def test_clips_longer_than_multi_pastes_limit_are_pasted():
    """DALI's `multi_paste` takes 64."""
    length, size = 70, 32
    patches = draw_patches(np.random.default_rng(5), **(DRAW | {"length": length, "size": size, "patches": 1}))
    clip = np.random.default_rng(6).integers(0, 256, (length, size, size, 3), dtype=np.uint8)
    paste = PastePatches(1, size)
    (got,) = dali.in_dali(paste, [clip], [paste.arrays(patches)])
    assert np.abs(got - render(clip, patches)).max() <= 1.1
