"""Compare frames that should show the same pictures."""

from typing import Any

import numpy as np

MAX_DIFFERENCE = 3.0
"""Maximum mean difference of the same picture, gray levels: chroma interpolation may differ that much."""
CLEARLY = 0.25
"""Gray levels by which another frame must be nearer: in a still video all frames are about equally near."""


def compare(actual: np.ndarray, expected: np.ndarray) -> dict[str, Any]:
    """Return the differences of frames, uint8 (T, H, W, 3), in gray levels.

    `misplaced` counts the frames that are more like another frame of the clip.
    """
    if actual.shape != expected.shape:
        return {"ok": False, "shape": str(actual.shape), "expected": str(expected.shape)}
    actual, expected = actual.astype(np.int16), expected.astype(np.int16)
    distance = np.array([[np.abs(mine - other).mean() for other in expected] for mine in actual])
    own = distance.diagonal()
    misplaced = int((own > distance.min(axis=1) + CLEARLY).sum())
    difference = np.abs(actual - expected)
    return {
        "ok": misplaced == 0 and bool(own.max() < MAX_DIFFERENCE),
        "frames": len(actual),
        "max": int(difference.max()),
        "mean": round(float(difference.mean()), 3),
        "worst_frame_mean": round(float(own.max()), 3),
        "misplaced": misplaced,
    }
