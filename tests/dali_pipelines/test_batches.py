"""When a pipeline is asked for another batch, and how its errors surface."""

from types import SimpleNamespace

import numpy as np
import pytest
from nvidia.dali import fn, pipeline_def

from dali_pipelines.batches import Batches

AHEAD = 2


class Counting:
    """A CPU pipeline of one-number batches, which counts its requests for samples.

    device_id: the device that it reports. fails: the batch whose request raises.
    """

    def __init__(self, *, device_id=None, fails=-1):
        self.device_id, self.fails, self.fed = device_id, fails, 0

        @pipeline_def(batch_size=1, num_threads=1, device_id=None, prefetch_queue_depth=AHEAD)
        def pipeline():
            return fn.external_source(self.feed, batch=True)

        self.pipeline = pipeline()
        self.pipeline.build()

    def feed(self):
        self.fed += 1
        if self.fed - 1 == self.fails:
            raise RuntimeError("no sample")
        return [np.array([self.fed - 1])]

    def __getattr__(self, name):
        return getattr(self.pipeline, name)


def take(batches):
    return int(next(batches)["number"])


def test_on_a_cpu_the_next_batch_starts_when_one_is_taken():
    pipeline = Counting()
    batches = Batches(pipeline, ["number"])
    for number in range(4):
        assert take(batches) == number
        assert pipeline.fed == AHEAD + 1 + number
        batches.refill()  # has nothing left to do
        assert pipeline.fed == AHEAD + 1 + number


def test_on_a_gpu_the_next_batch_starts_at_refill_or_the_next_request():
    pipeline = Counting(device_id=0)
    batches = Batches(pipeline, ["number"])
    assert take(batches) == 0
    assert pipeline.fed == AHEAD
    for _ in range(2):
        batches.refill()
        assert pipeline.fed == AHEAD + 1
    assert [take(batches) for _ in range(4)] == [1, 2, 3, 4]
    assert pipeline.fed == AHEAD + 4


@pytest.mark.parametrize("device_id", [None, 0])
def test_an_error_of_a_batch_is_raised_when_it_is_due_and_again_after(device_id):
    """Batches after it would have other samples than those that are due."""
    batches = Batches(Counting(device_id=device_id, fails=AHEAD), ["number"])
    assert take(batches) == 0
    batches.refill()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no sample"):
            take(batches)


def test_batches_are_not_copied():
    """Tensors share the pipeline's memory."""
    output = np.zeros((2, 3), np.float32)
    pipeline = SimpleNamespace(
        device_id=None,
        schedule_run=lambda: None,
        share_outputs=lambda: [SimpleNamespace(as_tensor=lambda: output)],
        release_outputs=lambda: None,
    )
    batch = next(Batches(pipeline, ["clips"]))
    output[1, 2] = 7
    assert batch["clips"][1, 2] == 7
