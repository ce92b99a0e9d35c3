"""Check the effects of a bad sample on DALI's pipeline and on the loader."""

import shutil
from contextlib import closing
from typing import Any

import numpy as np

from bench.data import default_task
from bench.gpu_checks import Target
from bench.gpu_checks.compare import MAX_DIFFERENCE
from bench.gpu_checks.pipelines import pixels, video_pipeline
from bench.gpu_checks.videos import dataset, decode_reference, encode_clip, supported_codec
from dali_pipelines.decode.dali import first_cause
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.fmp4 import boxes
from dali_pipelines.store.index import Index

STORES = {"h264": "h264_gop1", "hevc": "hevc_gop16", "vp9": "vp9_gop16"}
BAD = 2  # the iteration with a bad sample


def measure(item: str, target: Target) -> dict[str, Any]:
    """Check one kind of damage to a file of one codec."""
    kind, codec = item.rsplit("_", 1)
    if kind == "loader":
        return check_loader(STORES[codec], target)
    return check_pipeline(kind, supported_codec(codec, target), target)


def check_pipeline(kind: str, codec: str, target: Target) -> dict[str, Any]:
    """Run a pipeline over a bad sample.

    `raised`: the error of the bad run, or null if the decoder is silent. `after`: gray levels by which the two runs
    after it are off, at most. `bad_mean`: for a silent decoder, gray levels by which the bad sample is off.
    """
    good, frames = encode_clip(codec, 320, 240), np.arange(16, dtype=np.int32)
    bad, bad_frames = damage(kind, good), frames + (100 if kind == "beyond" else 0)
    expected = decode_reference(good, frames)

    def feed(iteration: int) -> Any:
        if iteration == BAD:
            return [good, bad, good, good], [frames, bad_frames, frames, frames]
        return [good] * 4, [frames] * 4

    def distance(actual: np.ndarray) -> float:
        return round(float(np.abs(actual.astype(np.int16) - expected).mean()), 3)

    pipeline = video_pipeline(feed, target, batch_size=4, threads=4)
    result: dict[str, Any] = {"raised": None}
    after = []
    for iteration in range(BAD + 3):
        try:
            actual = pixels(pipeline)
        except RuntimeError as error:  # DALI raises no other kind
            if iteration != BAD:
                cause = first_cause(error)
                return result | {"ok": False, "answer": f"a good batch fails: {cause}", "fails_later": cause}
            result["raised"] = first_cause(error)
            continue
        if iteration == BAD:
            result["bad_mean"] = distance(actual[1])
        elif iteration > BAD:
            after += [distance(sample) for sample in actual]
    answer = (
        f"raises: {result['raised'].split('. ')[0]}"
        if result["raised"]
        else f"silent, {result['bad_mean']} gray levels off"
    )
    answer += f"; the batches after it are {max(after)} off"
    return {"ok": max(after) < MAX_DIFFERENCE, "answer": answer, **result, "after": max(after)}


def damage(kind: str, good: np.ndarray) -> np.ndarray:
    """Return a damaged copy of a file."""
    if kind == "garbage":
        return np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8)
    if kind == "cut_off":
        return good[: len(good) * 2 // 3].copy()
    bad = good.copy()
    if kind == "damaged":
        bad[len(bad) // 3 : len(bad) // 2] = np.random.default_rng(0).integers(0, 256, len(bad) // 2 - len(bad) // 3)
    return bad


def check_loader(store: str, target: Target) -> dict[str, Any]:
    """Check that the loader replaces a damaged video, and no other, in two epochs.

    Its pictures are blanked and its fragments keep their headers, so that only a decoder finds the damage.
    """
    root = target.work_dir / f"{store}_damaged"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(dataset(store, target).root, root)
    index = Index.load(root).select([0, 1])
    path = index.path(1)
    data = bytearray(path.read_bytes())
    for kind, body, _ in boxes(memoryview(data)):
        if kind == b"mdat":
            body[:] = bytes(len(body))
    path.write_bytes(data)
    loader = ClipLoader(index, default_task("recognition"), batch_size=2, device=target.device)
    rows = []
    with closing(loader):
        for _ in range(2):
            rows += [batch["index"].tolist() for batch in loader]
    bad = index.names.text(1)
    ok = list(loader.unreadable) == [bad]
    answer = f"{bad} is damaged, {loader.decoder} decodes; unreadable: {loader.unreadable or 'nothing'}"
    return {"ok": ok, "answer": answer, "replaced": loader.unreadable, "batches": str(rows)}
