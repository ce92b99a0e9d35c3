"""ClipLoader: the same samples in every setup, exact resume, and videos that fail."""

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool3d

from bench.faults.killer import living_workers
from configs.errors import UserError
from dali_pipelines import delivery, limits
from dali_pipelines.loader import ClipLoader
from dali_pipelines.samples import ATTEMPTS, Sample, SampleSource
from dali_pipelines.tasks import Task, ctp, recognition

pytestmark = pytest.mark.slow

CTP = Task("ctp", ctp.Config(num_frames=8, size=64, short_sides=(64, 80), strides=(1, 2)))
CLIPS = Task("evaluation", recognition.Config(num_frames=8, test=recognition.Test(clips=2)))

Batch = dict[str, torch.Tensor]


def epoch(loader: ClipLoader) -> list[Batch]:
    return list(loader)


def same(a: Batch, b: Batch) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def two_epochs(vp9_store) -> list[Batch]:
    loader = ClipLoader(vp9_store, CTP, batch_size=4, seed=5)
    return epoch(loader) + epoch(loader)


def test_samples_do_not_depend_on_workers_or_threads(vp9_store, two_epochs, spawned):
    loader = ClipLoader(vp9_store, CTP, batch_size=4, seed=5, workers=2, threads=1)
    assert all(same(a, b) for a, b in zip(two_epochs, epoch(loader) + epoch(loader), strict=True))
    loader.close()


def test_samples_do_not_depend_on_available_memory(vp9_store, two_epochs, monkeypatch):
    monkeypatch.setattr(limits, "memory", lambda: 2**20)
    loader = ClipLoader(vp9_store, CTP, batch_size=4, seed=5, workers=2)
    assert all(same(a, b) for a, b in zip(two_epochs, epoch(loader) + epoch(loader), strict=True))
    assert loader._delivery.batches_ahead(loader.source) == 1
    loader.close()


def test_kept_batches_do_not_change_later(vp9_store):
    loader = ClipLoader(vp9_store, CTP, batch_size=4, seed=5)
    kept, copies = [], []
    for _ in range(3):
        for batch in loader:
            kept.append(batch)
            copies.append({name: tensor.clone() for name, tensor in batch.items()})
    assert all(same(a, b) for a, b in zip(kept, copies, strict=True))


@pytest.mark.parametrize("steps", [1, 3, 4])
def test_resume_is_bit_identical(vp9_store, two_epochs, steps):
    first = ClipLoader(vp9_store, CTP, batch_size=4, seed=5)
    seen = 0
    while seen < steps:
        for _ in first:
            seen += 1
            if seen == steps:
                break
    state = first.state_dict()
    again = ClipLoader(vp9_store, CTP, batch_size=4, seed=5)
    again.load_state_dict(state)
    rest = epoch(again)
    assert len(rest) == 3 - steps % 3
    assert all(same(a, b) for a, b in zip(two_epochs[steps:], rest, strict=False))


def test_boxes_surround_the_patches(vp9_store):
    """Without patches, the same plan gives the same pixels everywhere outside the boxes."""

    class WithoutPatches(Task):
        def graph(self, frames, plan, *, steps=0):
            plan["patch_rows"] = plan["patch_rows"] * np.float32(0)  # these hold the opacity
            return super().graph(frames, plan, steps=steps)

    cfg = ctp.Config(strides=(1, 2))
    with_patches, plain = (
        epoch(ClipLoader(vp9_store, task, batch_size=4, seed=5))[0]
        for task in (Task("ctp", cfg), WithoutPatches("ctp", cfg))
    )
    changed = (with_patches["clips"] - plain["clips"]).abs().amax(dim=1) > 1e-3  # (B, T, H, W)
    for sample, boxes in zip(changed, with_patches["boxes"].long(), strict=True):
        inside = torch.zeros_like(sample)
        for t in range(inside.shape[0]):
            for x1, y1, x2, y2 in boxes[:, t].tolist():
                inside[t, y1:y2, x1:x2] = True
        assert not (sample & ~inside).any()
        assert sample.any()


def test_pyav_and_dali_give_identical_uncut_batches(vp9_store):
    dali, pyav = (ClipLoader(vp9_store, CLIPS, batch_size=4, decoder=decoder) for decoder in ("dali", "pyav"))
    assert all(same(a, b) for a, b in zip(dali, pyav, strict=True))


def test_pyav_and_dali_crops_differ_only_by_the_filter(vp9_store):
    """Hard edges between squares of noise are the worst case: means of 4 x 4 pixels differ by 1.1 gray levels."""
    task = Task("ctp", ctp.Config())
    dali, pyav = (ClipLoader(vp9_store, task, batch_size=4, decoder=decoder) for decoder in ("dali", "pyav"))
    for a, b in zip(dali, pyav, strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a.keys() - {"clips"})
        ours, theirs = (avg_pool3d(batch["clips"], (1, 4, 4)) for batch in (a, b))
        assert (ours - theirs).abs().mean() * 0.226 * 255 < 1.6
        assert (ours.flip(-1) - theirs).abs().mean() * 0.226 * 255 > 16


def test_codecs_dali_cannot_decode_are_decoded_by_pyav(h264_store, vp9_store):
    loader = ClipLoader(h264_store, CLIPS, batch_size=4, shuffle=False, workers=1)
    assert loader.decoder == "pyav"
    reference = epoch(ClipLoader(vp9_store, CLIPS, batch_size=4, shuffle=False))
    for a, b in zip(epoch(loader), reference, strict=True):
        assert (a["clips"] - b["clips"]).abs().mean() * 0.226 * 255 < 8  # the same scene, another codec
    loader.close()


def test_unshuffled_epochs_show_every_video_once_then_padding(vp9_store):
    rows = torch.cat([b["index"] for b in ClipLoader(vp9_store, CLIPS, batch_size=5, shuffle=False)])
    assert rows.tolist() == [*range(12), -1, -1, -1]


def test_a_truncated_video_is_replaced_alike_on_every_rank(own_store, two_epochs):
    row = int(two_epochs[0]["index"][1])
    path = own_store.path(row)
    path.write_bytes(path.read_bytes()[:900])
    loader = ClipLoader(own_store, CTP, batch_size=4, seed=5)
    first = epoch(loader)
    assert list(loader.unreadable) == [own_store.info(row).name]
    assert loader.replaced_by == {own_store.info(row).name: own_store.info(int(first[0]["index"][1])).name}
    assert row not in torch.cat([b["index"] for b in first])
    assert torch.equal(first[0]["clips"][0], two_epochs[0]["clips"][0])
    ranks = [epoch(ClipLoader(own_store, CTP, batch_size=2, rank=r, world_size=2, seed=5)) for r in range(2)]
    for whole, *parts in zip(first, *ranks, strict=True):
        assert same(whole, {name: torch.cat([part[name] for part in parts]) for name in whole})


@pytest.mark.parametrize("workers", [0, 2])
def test_undecodable_bytes_cost_one_video_but_no_batch(own_store, two_epochs, workers):
    row = int(two_epochs[1]["index"][2])
    path = own_store.path(row)
    data = bytearray(path.read_bytes())
    data[900:] = np.random.default_rng(0).integers(0, 256, len(data) - 900, dtype=np.uint8).tobytes()
    path.write_bytes(data)
    loader = ClipLoader(own_store, CTP, batch_size=4, seed=5, workers=workers)
    batches = epoch(loader)
    assert len(batches) == 3
    assert list(loader.unreadable) == [own_store.info(row).name]
    others = two_epochs[1]["index"] != row
    assert torch.equal(batches[1]["clips"][others], two_epochs[1]["clips"][others])
    assert same(batches[0], two_epochs[0])
    assert same(batches[2], two_epochs[2])
    loader.close()


def test_unshuffled_unreadable_videos_are_marked_not_replaced(own_store):
    own_store.path(3).unlink()
    loader = ClipLoader(own_store, CLIPS, batch_size=4, shuffle=False)
    rows = torch.cat([b["index"] for b in loader])
    assert rows.tolist() == [0, 1, 2, -1, *range(4, 12)]
    assert list(loader.unreadable) == [own_store.info(3).name]


@pytest.mark.parametrize("decoder", ["dali", "pyav"])
def test_a_dataset_without_its_videos_ends_the_run(own_store, decoder):
    shutil.rmtree(Path(own_store.root, "videos"))
    root = own_store.root
    reason = rf"cannot read {root}/videos/.*was the dataset moved or prepared again during the run"
    message = rf"^{root}: 20 videos in a row could not be read \({reason}.*run `clipfeed prepare`"
    with pytest.raises(UserError, match=message):
        epoch(ClipLoader(own_store, CTP, batch_size=4, decoder=decoder))


@pytest.mark.parametrize("decoder", ["dali", "pyav"])
def test_a_dataset_whose_videos_were_all_found_unreadable_earlier_ends_the_run(vp9_store, decoder):
    """A stand-in that may be tried was looked for, of which there was none: "generator raised StopIteration"."""
    loader = ClipLoader(vp9_store, CTP, batch_size=4, decoder=decoder)
    loader.remember(dict.fromkeys(vp9_store.names.texts(), "gone"))
    with pytest.raises(UserError, match=r"videos in a row could not be read \(it was read this time"):
        next(iter(loader))


def test_a_storage_that_fails_for_a_moment_changes_no_batch(vp9_store, monkeypatch):
    """No stand-in of the first sample could be read; by the time that this was noticed, all could, and it was zeros."""
    expected = epoch(ClipLoader(vp9_store, CTP, batch_size=4, decoder="pyav"))
    read, failures = SampleSource.read, iter(range(ATTEMPTS))

    def failing_at_first(*args: Any) -> Sample:
        if next(failures, None) is not None:
            raise OSError("the server does not answer")
        return read(*args)

    monkeypatch.setattr(SampleSource, "read", failing_at_first)
    loader = ClipLoader(vp9_store, CTP, batch_size=4, decoder="pyav")
    assert all(same(a, b) for a, b in zip(epoch(loader), expected, strict=True))
    assert loader.unreadable == {}


def test_a_storage_that_fails_again_and_again_ends_the_run(vp9_store, monkeypatch):
    def read(*_: Any) -> Sample:
        raise OSError("too many open files")

    monkeypatch.setattr(SampleSource, "read", read)
    monkeypatch.setattr(delivery, "samples_of", lambda source: [])  # as if all could be read now
    loader = ClipLoader(vp9_store, CTP, batch_size=4, decoder="pyav")
    with pytest.raises(UserError, match=r"^step 0: 10 times, a video and its stand-ins could not"):
        next(iter(loader))


@pytest.mark.parametrize("idle", [False, True])
def test_killed_workers_change_no_batch(vp9_store, two_epochs, idle):
    before = living_workers()
    loader = ClipLoader(vp9_store, CTP, batch_size=4, seed=5, workers=2)
    batches = [next(iter(loader))]
    workers = [worker for worker in living_workers() if worker not in before]
    assert len(workers) == 2
    if idle:  # all requested samples are made
        until_idle(workers)
    for worker in workers if idle else workers[:1]:
        os.kill(worker.pid, signal.SIGKILL)
    batches += epoch(loader) + epoch(loader)
    assert len(batches) == 6
    assert all(same(a, b) for a, b in zip(two_epochs, batches, strict=True))
    loader.close()


class Deadly(Task):
    """A task that kills the process that plans a clip of `video03`."""

    def plan(self, info, rng):
        if info.name.endswith("video03"):
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().plan(info, rng)


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_video_that_kills_workers_counts_as_unreadable(vp9_store, own_store, shuffle):
    (row,) = (row for row in range(len(vp9_store)) if vp9_store.info(row).name.endswith("video03"))
    own_store.path(row).unlink()
    settings = {"batch_size": 4, "seed": 5, "shuffle": shuffle}
    reference = ClipLoader(own_store, CTP, **settings)
    loader = ClipLoader(vp9_store, Deadly("ctp", CTP.cfg), workers=2, **settings)
    expected, batches = ([*epoch(one), *epoch(one)] for one in (reference, loader))
    assert all(same(a, b) for a, b in zip(expected, batches, strict=True))
    assert loader.unreadable == {vp9_store.info(row).name: "its process was killed twice, by SIGSEGV"}
    loader.close()


def until_idle(processes):
    spent = None
    while spent != (now := [sum(process.cpu_times()[:2]) for process in processes]):
        spent = now
        time.sleep(0.5)
