"""Are these frames the same pictures? Differences in gray levels."""

from typing import Any

import numpy as np

MOST = 3.0
"""Gray levels of mean difference that are still the same picture: how chroma is interpolated differs by as much."""
CLEARLY = 0.25
"""Gray levels by which another frame must be nearer: in a video that stands still all are about equally near."""


def compare(got: np.ndarray, wanted: np.ndarray) -> dict[str, Any]:
    """Differences of frames uint8 (T, H, W, 3) in gray levels; `misplaced` counts those that look more like another."""
    if got.shape != wanted.shape:
        return {"ok": False, "shape": str(got.shape), "wanted": str(wanted.shape)}
    got, wanted = got.astype(np.int16), wanted.astype(np.int16)
    distance = np.array([[np.abs(mine - other).mean() for other in wanted] for mine in got])
    own = distance.diagonal()
    misplaced = int((own > distance.min(axis=1) + CLEARLY).sum())
    difference = np.abs(got - wanted)
    return {
        "ok": misplaced == 0 and bool(own.max() < MOST),
        "frames": len(got),
        "max": int(difference.max()),
        "mean": round(float(difference.mean()), 3),
        "worst_frame_mean": round(float(own.max()), 3),
        "misplaced": misplaced,
    }
