"""Does the GPU decode `prepare`'s default store? Check this first, clip by clip against PyAV, which needs no GPU."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.data import FPS
from bench.gpu_checks import Target
from bench.gpu_checks.compare import compare
from bench.gpu_checks.pipelines import constant_feed, pixels, video_pipeline
from bench.gpu_checks.videos import CHOICE, DEFAULT, choose_store, chosen_store, dataset, encode_clip, supported_codec
from dali_pipelines.decode.dali import first_cause
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.store.files import video_path, write_file
from dali_pipelines.store.fmp4 import decoder_config, read_layout
from dali_pipelines.store.headers import H264Sps
from dali_pipelines.store.index import Index
from dali_pipelines.store.nvdec import read_sps
from dali_pipelines.store.reader import read_clip
from dali_pipelines.store.record import Record
from dali_pipelines.store.units import PackedFragments

OTHERS = ("h264_gop8", "hevc_gop16", "vp9_gop16")
OLD_SIZE = (192, 144)


def measure(item: str, target: Target) -> dict[str, Any]:
    """Answer a question about the default store, or about its replacement."""
    return {"made": create, "clips": default_clips, "old_encoder": old_encoder, "instead": fallback}[item](target)


def create(target: Target) -> dict[str, Any]:
    """Make the store; report its size and the time to make it."""
    began = time.perf_counter()
    index = dataset(DEFAULT, target)
    took, frames = time.perf_counter() - began, int(index.num_frames.sum())
    mib = sum(path.stat().st_size for path in Path(index.root).rglob("*.mp4")) / 2**20
    width, height = index.sizes_WH[0].tolist()
    flag = constraint_set3(index)
    answer = f"{len(index)} videos of {width}x{height}, {frames} frames, {mib:.1f} MiB in {took:.1f} s"
    return {"answer": f"{answer}, constraint_set3 {'unknown' if flag is None else int(flag)}"}


def constraint_set3(index: Index) -> bool | None:
    """Return whether the first video's SPS sets the flag; None if it is not H.264.

    Encoders set it for at most one reference frame; decoders then allocate one picture.
    """
    if index.codec(0) != "h264":
        return None
    init = memoryview(index.path(0).read_bytes())[: index.record(0).init_size]
    (sps,) = read_sps("h264", decoder_config(init, b"avcC"))
    assert isinstance(sps, H264Sps)
    return bool(sps.constraint_set3_flag)


def default_clips(target: Target) -> dict[str, Any]:
    """Check that the default store decodes."""
    (target.work_dir / CHOICE).unlink(missing_ok=True)
    result = clips(dataset(DEFAULT, target), target)
    if result["ok"]:
        choose_store(DEFAULT, target)
    return result


def clips(index: Index, target: Target) -> dict[str, Any]:
    """Compare clips of every kind with PyAV, each in its own pipeline, then all in one batch, twice.

    `error 1` and so on are the full texts of the distinct failures.
    """
    last = int(index.num_frames[0]) - 1
    requests = {
        "neighbors": np.arange(13, 29),
        "strided": np.arange(20, 100, 5),
        "scattered": np.array([3, 4, 40, 41, 90, 122]),
        "first_frame": np.array([0]),
        "single_frame": np.array([77]),
        "end_of_video": np.arange(last - 15, last + 1),
    }
    encoded = [read_clip(index, place % len(index), frames) for place, frames in enumerate(requests.values())]
    expected = [decode_rgb(clip) for clip in encoded]
    rows: dict[str, dict[str, Any]] = {}
    errors: dict[str, str] = {}
    for name, clip, right in zip(requests, encoded, expected, strict=True):
        try:
            pipeline = video_pipeline(constant_feed([clip]), target, batch_size=1, threads=1)
            rows[name] = compare(pixels(pipeline)[0], right)
        except RuntimeError as error:  # DALI raises no other kind
            rows[name], errors[name] = {"ok": False, "error": first_cause(error)}, str(error)
    together = video_pipeline(constant_feed(encoded), target, batch_size=len(encoded), threads=4)
    for again in ("batch", "batch_again"):  # a reused decoder must be right again
        try:
            compared = [compare(got, right) for got, right in zip(pixels(together), expected, strict=True)]
            rows[again] = max(compared, key=lambda row: (not row["ok"], row.get("worst_frame_mean", 0)))
        except RuntimeError as error:
            rows[again], errors[again] = {"ok": False, "error": first_cause(error)}, str(error)
    bad = [name for name, row in rows.items() if not row["ok"]]
    worst = max((row["worst_frame_mean"] for row in rows.values() if "worst_frame_mean" in row), default=0.0)
    answer = f"{len(rows) - len(bad)}/{len(rows)} clips equal PyAV's within {worst} gray levels"
    if bad:
        answer += f"; {bad[0]}: {rows[bad[0]].get('error', rows[bad[0]])}"
    texts = dict.fromkeys(errors.values())
    return {"ok": not bad, "answer": answer, "rows": rows, **{f"error {n}": text for n, text in enumerate(texts, 1)}}


def old_encoder(target: Target) -> dict[str, Any]:
    """Check a store as `prepare` once wrote it, with x264's own GOP of 1, which sets constraint_set3."""
    root, records, codec = target.work_dir / "old_encoder", {}, supported_codec("h264", target)
    for number in range(2):
        path = video_path(root, f"video{number}")
        write_file(path, encode_clip(codec, *OLD_SIZE, frames=130, seed=number, gop=1).tobytes())
        layout = read_layout(path)
        fragments = PackedFragments.of(layout.fragments)
        records[path.stem] = Record(130, *OLD_SIZE, float(FPS), codec, "yuv420p", layout.init_size, fragments)
    Index.build(root, records).save()
    index = Index.load(root)
    if constraint_set3(index) is False:
        raise RuntimeError("this x264 does not set constraint_set3: the question needs a file of an older one")
    return clips(index, target)


def fallback(target: Target) -> dict[str, Any]:
    """Choose the store for all further items: the default one, else the first that decodes."""
    if (target.work_dir / CHOICE).is_file():
        return {"answer": f"{chosen_store(target)[0]} is what the further items read"}
    reasons = {}
    for name in OTHERS:
        result = clips(dataset(name, target), target)
        if result["ok"]:
            choose_store(name, target)
            return {"ok": False, "answer": f"the default store does not decode: all further items read {name}"}
        reasons[name] = result["answer"]
    return {"ok": False, "answer": f"no store decodes: {reasons}"}
