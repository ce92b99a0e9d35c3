"""Videos as smooth as photos, which slide to the right."""

from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate

from dali_pipelines.store.encode import Encoding, write_frames
from dali_pipelines.store.files import video_path
from dali_pipelines.store.index import Index


def picture(seed: int, height: int, width: int) -> np.ndarray:
    """Return a picture as smooth as a photo, in strong colors: uint8 (height, width, 3)."""
    rng = torch.Generator().manual_seed(seed)
    octaves = [torch.rand((1, 3, n * 3 // 4 + 1, n + 1), generator=rng) - 0.5 for n in (4, 8, 16, 32)]
    total = sum((interpolate(o, (height, width), mode="bicubic") / o.shape[3] for o in octaves), torch.zeros(()))
    return (128 + 120 * total / total.abs().max())[0].permute(1, 2, 0).round().to(torch.uint8).numpy()


def make_photos(root: Path, *, codec: str) -> None:
    """Write two videos that slide to the right, one portrait, long enough for every task."""
    records = {}
    for number, size in enumerate([(208, 160), (176, 240)]):
        path = video_path(root, f"v{number}")
        path.parent.mkdir(parents=True, exist_ok=True)
        still = picture(number, *size)
        shown = (np.roll(still, t, axis=1) for t in range(130 + number))
        records[f"v{number}"] = write_frames(path, shown, fps=25, settings=Encoding(codec=codec))
    Index.build(root, records, labels={"v0": 0, "v1": 1}, class_names=("a", "b")).save()


def blocks(levels: np.ndarray) -> np.ndarray:
    """Average 4 x 4 pixels."""
    frames, height, width, _ = levels.shape
    return levels.reshape(frames, height // 4, 4, width // 4, 4, 3).mean((2, 4))
