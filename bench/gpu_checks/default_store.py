"""Does the GPU decode what `prepare` makes? Clip by clip against PyAV, which needs no GPU; first of all."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.data import FPS
from bench.gpu_checks import Where
from bench.gpu_checks.compare import compare
from bench.gpu_checks.pipelines import feed_of, pixels, video_pipeline
from bench.gpu_checks.videos import DEFAULT, dataset, encoded, note_working, save, stand_in, working
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.recovery import first_cause
from dali_pipelines.store.files import replacing, video_path
from dali_pipelines.store.fmp4 import decoder_config, read_layout
from dali_pipelines.store.headers import H264Sps
from dali_pipelines.store.index import Index, Record
from dali_pipelines.store.nal import read_sps
from dali_pipelines.store.reader import read_clip

OTHERS = ("h264_gop8", "hevc_gop16", "vp9_gop16")
OLD_SIZE = (192, 144)


def measure(item: str, where: Where) -> dict[str, Any]:
    """One question about the default store, or about what can take its place."""
    return {"made": made, "clips": default_clips, "old_encoder": old_encoder, "instead": instead}[item](where)


def made(where: Where) -> dict[str, Any]:
    """Makes the store and says what it is."""
    began = time.perf_counter()
    index = dataset(DEFAULT, where)
    took, frames = time.perf_counter() - began, int(index.num_frames.sum())
    mib = sum(path.stat().st_size for path in Path(index.root).rglob("*.mp4")) / 2**20
    width, height = index.sizes_WH[0].tolist()
    flag = constraint_set3(index)
    answer = f"{len(index)} videos of {width}x{height}, {frames} frames, {mib:.1f} MiB in {took:.1f} s"
    return {"answer": f"{answer}, constraint_set3 {'unknown' if flag is None else int(flag)}"}


def constraint_set3(index: Index) -> bool | None:
    """Return whether the first video's SPS sets the flag; None where it is not H.264.

    It comes from an encoder that knows of one reference frame at most; a decoder then makes room for one picture.
    """
    if index.codec(0) != "h264":
        return None
    init = memoryview(index.path(0).read_bytes())[: int(index.init_sizes[0])]
    (sps,) = read_sps("h264", decoder_config(init, b"avcC"))
    assert isinstance(sps, H264Sps)
    return bool(sps.constraint_set3_flag)


def default_clips(where: Where) -> dict[str, Any]:
    """Whether the default store decodes."""
    (where.work_dir / "working").unlink(missing_ok=True)
    found = clips(dataset(DEFAULT, where), where)
    if found["ok"]:
        note_working(DEFAULT, where)
    return found


def clips(index: Index, where: Where) -> dict[str, Any]:
    """Differences over clips of every kind, each in a pipeline of its own, then all in one batch, twice.

    `error 1` and so on are the whole texts of the failures, each once.
    """
    last = int(index.num_frames[0]) - 1
    asked = {
        "neighbors": np.arange(13, 29),
        "strided": np.arange(20, 100, 5),
        "scattered": np.array([3, 4, 40, 41, 90, 122]),
        "first_frame": np.array([0]),
        "single_frame": np.array([77]),
        "end_of_video": np.arange(last - 15, last + 1),
    }
    taken = [read_clip(index, place % len(index), frames) for place, frames in enumerate(asked.values())]
    wanted = [decode_rgb(clip) for clip in taken]
    rows: dict[str, dict[str, Any]] = {}
    errors: dict[str, str] = {}
    for name, clip, right in zip(asked, taken, wanted, strict=True):
        try:
            rows[name] = compare(pixels(video_pipeline(feed_of([clip]), where, batch_size=1, threads=1))[0], right)
        except RuntimeError as error:  # DALI raises no other kind
            rows[name], errors[name] = {"ok": False, "error": first_cause(error)}, str(error)
    together = video_pipeline(feed_of(taken), where, batch_size=len(taken), threads=4)
    for again in ("batch", "batch_again"):  # a decoder that is used again must be right again
        try:
            compared = [compare(got, right) for got, right in zip(pixels(together), wanted, strict=True)]
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


def old_encoder(where: Where) -> dict[str, Any]:
    """The same for a store as `prepare` wrote it with x264's own GOP of 1, which sets constraint_set3."""
    root, records = where.work_dir / "old_encoder", {}
    for number in range(2):
        path = video_path(root, f"video{number}")
        with replacing(path) as part:
            part.write_bytes(encoded(stand_in("h264", where), *OLD_SIZE, frames=130, seed=number, gop=1).tobytes())
        layout = read_layout(path)
        codec = stand_in("h264", where)
        records[path.stem] = Record(130, *OLD_SIZE, float(FPS), codec, "yuv420p", layout.init_size, layout.fragments)
    save(root, records)
    index = Index.load(root)
    if constraint_set3(index) is False:
        raise RuntimeError("this x264 does not set constraint_set3: the question needs a file of an older one")
    return clips(index, where)


def instead(where: Where) -> dict[str, Any]:
    """The store for all further items: the default one, or where that does not decode the first that does."""
    if (where.work_dir / "working").is_file():
        return {"answer": f"{working(where)[0]} is what the further items read"}
    reasons = {}
    for name in OTHERS:
        found = clips(dataset(name, where), where)
        if found["ok"]:
            note_working(name, where)
            return {"ok": False, "answer": f"the default store does not decode: all further items read {name}"}
        reasons[name] = found["answer"]
    return {"ok": False, "answer": f"no store decodes: {reasons}"}
