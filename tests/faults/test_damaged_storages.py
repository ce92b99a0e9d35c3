"""Damage of any kind, in any storage: the video is named and replaced, or it decodes; no other video changes.

The videos are damaged after the dataset is opened, so only the decoder meets the damage.
"""

from collections import Counter
from collections.abc import Mapping
from contextlib import closing

import numpy as np
import pytest

from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task, ctp
from tests.helpers.every_storage import IN_BYTES, IN_FILES, STORAGES, WHOLE_FILES, damage, write_storages

TASK = Task("ctp", ctp.Config(num_frames=4, size=32, short_sides=(32,), strides=(1,), patches=1))
KINDS = IN_BYTES + IN_FILES
DAMAGED, SOUND = len(KINDS), 3
"""Videos of a storage."""
BATCH = 12
"""Divides the videos of a storage, and so of all."""

Sample = tuple[int, bytes]
"""The row that was read, and the pixels."""


def load(index: Index, *, ranks: int = 1, known: Mapping[str, str] | None = None) -> tuple[dict[int, Sample], dict]:
    """Load an epoch, one rank after the other; return the sample of each row, and the reasons of unreadable videos."""
    samples: dict[int, Sample] = {}
    reasons: dict[str, str] = {}
    for rank in range(ranks):
        size = BATCH // ranks
        loader = ClipLoader(index, TASK, batch_size=size, rank=rank, world_size=ranks, threads=1, most_unreadable=1.0)
        loader.remember(known or {})
        with closing(loader):
            for step, batch in enumerate(loader):
                read = zip(batch["index"].tolist(), (clip.numpy().tobytes() for clip in batch["clips"]), strict=True)
                samples |= zip(loader.order.rows(0, step).tolist(), read, strict=True)
            reasons |= loader.unreadable
    return samples, reasons


@pytest.mark.slow
def test_damage_in_any_storage_affects_only_the_damaged_videos(tmp_path):
    every = write_storages(tmp_path, videos=DAMAGED + SOUND)
    vp9 = every.select(np.flatnonzero([name.startswith("vp9/") for name in every.names.texts()]))
    datasets = (every, vp9)  # DALI decodes a dataset of VP9 alone on a CPU, PyAV a mixed one
    sound = [load(index) for index in datasets]
    damaged = {}
    for row, name in enumerate(every.names.texts()):
        storage, _, number = name.partition("/")
        kinds = KINDS if storage in WHOLE_FILES else IN_BYTES
        if int(number) < DAMAGED:
            damaged[name] = kinds[int(number) % len(kinds)]
            damage(every, row, damaged[name])
    for index, (before, no_reasons) in zip(datasets, sound, strict=True):
        names = index.names.texts()
        assert len(before) == len(names)
        assert not no_reasons
        after, reasons = load(index)
        again, _ = load(index, ranks=2, known=dict([*reasons.items()][::2]))  # as after a restart
        wrong = []
        for row, name in enumerate(names):
            (came, pixels), replaced = after[row], after[row][0] != row
            if name in damaged:
                fine = bool(reasons.get(name)) == replaced
            else:
                fine = after[row] == before[row] and name not in reasons
            fine &= again[row][0] == came
            if names[came] not in damaged:  # a sound video, in its own place or as a replacement
                fine &= pixels == again[row][1] == before[came][1]
            wrong += [] if fine else [f"{name}, {damaged.get(name, 'sound')}: {reasons.get(name)}"]
        assert not wrong
        named = Counter(name.partition("/")[0] for name in reasons)
        assert named.keys() == (set(STORAGES) if index is every else {"vp9"})
        assert min(named.values()) > 1
