"""Interpolate values between key frames with easing (specs/ctp.md 0.4)."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from dali_pipelines.plan.rng import pick

EASING_PROBS = (0.70, 0.15, 0.15)  # uniform, accelerate, decelerate


def sample_keys(length: int, rng: np.random.Generator, probs: Sequence[float]) -> np.ndarray:
    """Draw sorted key frames of a clip, always including 0 and length-1, int64 (keys,).

    `probs[k]` is the probability of k inner keys; they are near the k even divisions of the clip, moved by up to a
    third of a division.
    """
    inner = pick(rng, probs)
    division = length / (inner + 1)
    reach = int(division / 3)
    moves = rng.integers(-reach, reach, size=inner).tolist() if inner and reach else [0] * inner
    ticks = (int(division * place) + move for place, move in enumerate(moves, start=1))
    return np.array(sorted({0, length - 1, *(min(max(tick, 0), length - 1) for tick in ticks)}))


def interpolate(keys: np.ndarray, values: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """Interpolate values at the key frames, float (keys, ...), to every frame, float64 (keys[-1] + 1, ...).

    `rng` draws one easing per segment, shared by all trailing dimensions; None keeps every segment linear.
    """
    frames = np.empty((keys[-1] + 1, *values.shape[1:]))
    for (first, last), start, end in zip(pairwise(keys.tolist()), values[:-1], values[1:], strict=True):
        tau = np.arange(last - first + 1) / (last - first)
        easing = 0 if rng is None else pick(rng, EASING_PROBS)
        if easing:
            tau = tau**2 if easing == 1 else 1 - (1 - tau) ** 2
        frames[first : last + 1] = start + (end - start) * tau.reshape(-1, *[1] * (values.ndim - 1))
    return frames
