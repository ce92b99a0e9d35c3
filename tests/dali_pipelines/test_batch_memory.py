"""Host memory of batches: DALI keeps it instead of requesting it anew from the system."""

import os
import resource
import subprocess
import sys

import pytest

PAGES = 12 * 2**20 / resource.getpagesize()
"""Pages of a batch of the code below."""
FAULTS = """
import resource
import numpy as np
from nvidia.dali import fn, pipeline_def, types
import dali_pipelines.pipeline

black = [np.zeros((3, 2**18), np.uint8)] * 4

@pipeline_def(batch_size=4, num_threads=1, device_id=None, prefetch_queue_depth=2)
def floats():
    return fn.cast(fn.external_source(lambda: black), dtype=types.FLOAT)

pipe, faults = floats(), []
for _ in range(30):
    held = np.from_dlpack(pipe.run()[0].as_tensor())
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print((faults[-1] - faults[9]) / 20)
"""


@pytest.mark.slow
def test_small_batches_reuse_memory_unless_the_user_changes_it():
    """With DALI's own default, memory comes from `malloc`, which is told to take it from the system each time.

    Otherwise the C library would keep some of it, as much as chance has it.
    """
    own = {key: value for key, value in os.environ.items() if key != "DALI_MALLOC_POOL_THRESHOLD"}
    own["MALLOC_MMAP_THRESHOLD_"] = str(2**20)
    faults = []
    for env in (own, own | {"DALI_MALLOC_POOL_THRESHOLD": "32M"}):
        done = subprocess.run([sys.executable, "-c", FAULTS], env=env, capture_output=True, text=True, check=True)
        faults.append(float(done.stdout))
    assert faults[0] < 0.05 * PAGES
    assert faults[1] > 0.5 * PAGES
