"""Operators on some samples of a batch leave the others unchanged, in any combination."""

import numpy as np
import pytest
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.data_node import DataNode

from dali_pipelines.pixels.conditional import apply_where

BATCHES = ["000", "101", "111", "000", "010", "111"]
"""Consecutive batches of one pipeline: which of three samples change."""


def clip(batch: int, place: int, dtype: type) -> np.ndarray:
    """Return a clip with its own size, uint8 or float32 (T, H, W, 3)."""
    rng = np.random.default_rng(10 * batch + place)
    return rng.integers(0, 100, (2 + place, 4 + batch, 5, 3)).astype(dtype)


def run(dtype: type, kind: types.DALIDataType, device: str, *, twice: bool = False) -> list[list[np.ndarray]]:
    """Run the batches: add place + 1 to samples that change and, with `twice`, 50 to the others."""
    samples = range(3)

    @pipeline_def(batch_size=3, num_threads=2, device_id=0 if device == "gpu" else None, prefetch_queue_depth=1)
    def pipeline():
        which = fn.external_source(iter([[np.bool_(c == "1") for c in b] for b in BATCHES]), dtype=types.BOOL)
        clips = fn.external_source(
            iter([[clip(b, place, dtype) for place in samples] for b in range(len(BATCHES))]), dtype=kind, layout="FHWC"
        )
        clips = clips.gpu() if device == "gpu" else clips
        levels = fn.external_source(lambda: [np.uint8(place + 1) for place in samples])

        def change(clips: DataNode, levels: DataNode) -> DataNode:
            return fn.cast(clips + levels, dtype=kind)

        changed = apply_where(which, clips, change, levels)
        return (
            apply_where(which == np.bool_(False), changed, lambda c: fn.cast(c + 50, dtype=kind)) if twice else changed
        )

    built = pipeline()
    built.build()
    batches = []
    for _ in BATCHES:
        (output,) = built.run()
        assert output.layout() == "FHWC"
        batches.append([np.array(output.as_cpu().at(place)) for place in samples])
    return batches


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize(("dtype", "kind"), [(np.uint8, types.UINT8), (np.float32, types.FLOAT)])
def test_only_selected_samples_change_each_by_its_own_arguments(dtype, kind, twice, device):
    for batch, (which, got) in enumerate(zip(BATCHES, run(dtype, kind, device, twice=twice), strict=True)):
        for place, picture in enumerate(got):
            other = 50 if twice else 0
            expected = clip(batch, place, dtype) + (place + 1 if which[place] == "1" else other)
            assert picture.dtype == dtype
            np.testing.assert_array_equal(picture, expected)
