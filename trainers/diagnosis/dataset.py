"""The dataset: whether it opens, fits the recipe, has a decoder on the device, and sampled clips can be read."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from configs.errors import UserError, printable, shown
from configs.schema import Data
from configs.words import counted
from dali_pipelines.datasets.open import open_data
from dali_pipelines.decode.choose import choose
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.inspection import spread
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import locate_clip
from dali_pipelines.store.record import ClipError
from dali_pipelines.store.storage import is_url
from dali_pipelines.tasks import Task
from trainers.diagnosis import Finding, Subject
from trainers.engine.devices import why_no_gpu

SAMPLED, FRAMES = 32, 16
"""Number of evenly spaced videos to read and decode a clip of, and its frames."""
SLOW = 0.1
"""Seconds per clip above which even eight workers read fewer than a hundred clips a second."""


def check(subject: Subject) -> Iterator[Finding]:
    """Check the dataset of the recipe or of --data-dir; without either, nothing."""
    if subject.data_dir is None:
        return
    config = subject.config
    data: Data = config.data if config else Data(root=subject.data_dir)
    try:
        dataset = open_data(data, "train")
        dataset = dataset.long_enough(Task(config.task, config.plan)) if config else dataset
    except (UserError, OSError) as error:
        yield Finding("problem", "dataset", str(error), "see docs/datasets.md")
        return
    index = dataset.index
    text = f"{counted(len(index), 'video')} of {index.root}, {int(index.num_frames.sum())} frames, {_formats(index)}"
    if config and len(index) < config.train.global_batch:
        do = f"--set train.global_batch={len(index)} or less"
        yield Finding("problem", "dataset", f"{text}: fewer than one batch", do)
    else:
        yield Finding("ok", "dataset", text)
    for note in dataset.notes:
        yield Finding("warning", "dataset", note)
    if dataset.too_short:
        yield Finding("warning", "dataset", f"{counted(len(dataset.too_short), 'video')} too short, left out")
    yield decoder(index, data, subject.device)
    yield from samples(index)


def decoder(index: Index, data: Data, device: str) -> Finding:
    """Report which decoder the dataset gets on this device, and why."""
    gpu = device != "cpu" and not why_no_gpu()
    try:
        dali, why_not = choose(index, data.decoder, device_id=0 if gpu else None)
    except UserError as error:
        return Finding("problem", "decoder", str(error), "--set data.decoder=auto")
    if dali:
        return Finding("ok", "decoder", f"DALI, on {'the GPU' if gpu else 'a CPU'}")
    text = "PyAV, in the workers" + f": {why_not}" * bool(why_not)
    return Finding("warning" if gpu else "ok", "decoder", text, "see docs/gpu.md, How to store videos" if gpu else "")


def samples(index: Index) -> Iterator[Finding]:
    """Read a clip from the middle of each sampled video, bypassing the page cache if possible, and decode it."""
    rows = spread(len(index), SAMPLED)
    bad: dict[str, str] = {}
    seconds, size = list[float](), 0
    for row in rows:
        last = int(index.num_frames[row]) - 1
        try:
            clip = locate_clip(index, row, np.minimum(last // 2 + np.arange(FRAMES), last))
            for place in {span.location for span in clip.spans}:
                _forget(place)
            start = time.perf_counter()
            encoded = clip.read()
            seconds.append(time.perf_counter() - start)
            size += clip.nbytes
            decode_rgb(encoded)
        except (ClipError, OSError) as error:
            bad[index.names.text(row)] = str(error)
    if seconds:
        each = sum(seconds) / len(seconds)
        text = f"{1000 * each:.1f} ms for a clip of {FRAMES} frames, {size / sum(seconds) / 1e6:.0f} MB/s, one by one"
        do = "copy the dataset to a local disk, or take more data.workers" if each > SLOW else ""
        yield Finding("warning" if each > SLOW else "ok", "reading", text, do)
    if not bad:
        yield Finding("ok", "samples", f"a clip each of {counted(len(rows), 'video')} decodes")
        return
    name, reason = next(iter(bad.items()))
    of = f"{len(bad)} of {counted(len(rows), 'sampled video')}"
    text = f"{of} could not be decoded, the first {printable(name)} ({shown(reason)})"
    do = "run the same `clipfeed prepare` again: it stores anew what is damaged"
    yield Finding("problem" if len(bad) > len(rows) // 10 else "warning", "samples", text, do)


def _forget(place: Path | str) -> None:
    """Drop a local file from the page cache, so that the disk is measured and not memory."""
    if not is_url(place) and os.path.exists(place):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _formats(index: Index) -> str:
    forms, counts = np.unique(index.format_ids, return_counts=True)
    return ", ".join(f"{count} {index.formats[form]}" for form, count in zip(forms.tolist(), counts, strict=True))
