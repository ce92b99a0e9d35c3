"""Choose the decoder of a dataset: DALI, on the CPU or with the GPU's own decoders (NVDEC), or PyAV."""

from collections import Counter
from typing import Any, Literal

import numpy as np
from nvidia.dali import fn, pipeline_def
from nvidia.dali.data_node import DataNode

from configs.errors import UserError, shown
from configs.words import counted
from dali_pipelines import limits
from dali_pipelines.decode.dali import decode, first_cause
from dali_pipelines.decode.driver import engines, has_nvdec
from dali_pipelines.decode.frames import PLANAR, decode_rgb
from dali_pipelines.store.index import Index
from dali_pipelines.store.mp4 import plain_mp4
from dali_pipelines.store.nvdec import MULTIPLE, NVDEC_MIN
from dali_pipelines.store.reader import EncodedClip, read_clip
from dali_pipelines.store.record import ClipError

Wanted = Literal["auto", "dali", "pyav"]

# Codecs of DALI 2.4. NVDEC takes 8-bit 4:2:0 only; A100, H100 and H200 have no AV1.
CPU_CODECS = frozenset({"vp8", "vp9"})  # and MJPEG, which PyAV decodes faster: it crops before it converts to RGB
GPU_CODECS = frozenset(NVDEC_MIN)

NO_NVDEC = "the driver's libnvcuvid.so.1 is missing (in a container: NVIDIA_DRIVER_CAPABILITIES=compute,video,utility)"
PROBED_FRAMES = 8
PROBED_VIDEOS = 5
MAX_DIFFERENCE = 8.0
"""Mean difference from PyAV, in gray levels, above which a decoder shows another picture; chroma alone makes 3."""

_PASSED: set[tuple[str, tuple[str, ...], int | None]] = set()
"""Root, formats and device of each probe that passed in this process."""


def choose(index: Index, wanted: Wanted, *, device_id: int | None) -> tuple[bool, str]:
    """Decide whether DALI decodes the videos of a dataset, and return the reason if "auto" cannot use it.

    "pyav" rules it out, "dali" insists on it: UserError if it cannot decode them. `device_id` is the GPU, None for
    DALI's CPU backend.
    """
    if wanted == "pyav":
        return False, ""
    reasons = obstacles(index, gpu=device_id is not None)
    if device_id is not None and not has_nvdec():
        reasons = {NO_NVDEC: len(index)}
    listed = "; ".join(f"{count} of {counted(len(index), 'video')}: {reason}" for reason, count in reasons.items())
    if wanted == "auto" and listed:
        return False, listed
    fault = ""
    probed = (str(index.root), index.formats, device_id)
    if probed not in _PASSED and (wanted == "dali" or device_id is not None):
        fault = probe(index, device_id=device_id)
        if not fault:
            _PASSED.add(probed)  # each validation creates a new loader
    if fault and wanted == "dali":
        reason = fault + f" ({listed})" * bool(listed)
        raise UserError(f"data.decoder=dali, but DALI does not decode {index.root}: {reason}; auto takes PyAV")
    return not fault, fault


def obstacles(index: Index, *, gpu: bool) -> dict[str, int]:
    """Count the videos that DALI cannot decode on a backend, or decodes to wrong frames, by reason.

    A GPU is assumed to have decoders.
    """
    counts: Counter[str] = Counter()
    kinds, numbers = np.unique(np.column_stack([index.format_ids, index.sizes_WH]), axis=0, return_counts=True)
    for (form, width, height), number in zip(kinds.tolist(), numbers.tolist(), strict=True):
        codec, pix_fmt = index.formats[form].split()[:2]
        if reason := _obstacle(codec, pix_fmt, width, height, gpu=gpu):
            counts[reason] += number
    if gpu:
        flaws = index.texts("software_only")
        flagged = np.flatnonzero(flaws.lengths).tolist()
        counts.update(f"{shown(flaws.text(row))}, which GPU decoders get wrong" for row in flagged)
    return dict(counts)


def _obstacle(codec: str, pix_fmt: str, width: int, height: int, *, gpu: bool) -> str:
    if not gpu:
        return "" if codec in CPU_CODECS else f"DALI has no decoder for {codec} on a CPU"
    if codec not in GPU_CODECS:
        return f"DALI has no decoder for {codec} on a GPU"
    if pix_fmt not in PLANAR:
        return f"GPU decoders take no {pix_fmt}"
    least = NVDEC_MIN[codec]
    if width < least[0] or height < least[1]:
        return f"{width}x{height} is too small for a GPU's {codec} decoder, {least[0]}x{least[1]} is the least"
    if width % MULTIPLE or height % MULTIPLE:  # DALI's decoder cache always misses: a new decoder for every clip
        return f"sides that are no multiples of {MULTIPLE} ({width}x{height}): DALI opens a GPU decoder for every clip"
    return ""


def probe(index: Index, *, device_id: int | None) -> str:
    """Decode a clip of each format on the device; return the fault, or "".

    PyAV is the reference: a video that it cannot decode says nothing about the device.
    """
    for form in np.unique(index.format_ids).tolist():
        for row in np.flatnonzero(index.format_ids == form)[:PROBED_VIDEOS].tolist():
            try:
                clip = read_clip(index, row, np.arange(min(PROBED_FRAMES, index.num_frames[row])))
                wanted = decode_rgb(clip)
            except (ClipError, OSError):
                continue
            codec, pix_fmt, _ = index.formats[form].split()
            where = f"{shown(index.names.text(row))} ({codec} {pix_fmt}, {wanted.shape[2]}x{wanted.shape[1]})"
            try:
                got = _decoded(clip, device_id)
            except RuntimeError as error:
                return f"{where}: {first_cause(error)}"
            apart = np.abs(got.astype(np.float32) - wanted).mean()
            if apart > MAX_DIFFERENCE:
                return f"{where} comes out {apart:.0f} of 255 gray levels from what PyAV decodes"
            break
    return ""


def _decoded(clip: EncodedClip, device_id: int | None) -> np.ndarray:
    """Decode the frames of a clip with DALI, uint8 (T, H, W, 3)."""

    @pipeline_def(batch_size=1, num_threads=1, device_id=device_id, prefetch_queue_depth=1)
    def pipeline() -> DataNode:
        media, frames = fn.external_source(lambda: ([plain_mp4(clip)], [clip.frames]), num_outputs=2)
        return decode(media, frames, gpu=device_id is not None)

    built: Any = pipeline()
    built.build()
    (frames,) = built.run()
    return np.array(frames.as_cpu().at(0))


def decoding_threads(wanted: int | Literal["auto"], *, nvdec: bool) -> int:
    """Return the number of DALI threads; with NVDEC, each is one decoding session.

    Sessions wait for their engine, so two per engine keep it busy. The limit is this process's share of the cores, but
    at least one per engine. More than 20 get slower (SPDL, on an H100).
    """
    if wanted != "auto":
        return wanted
    cores = max(1, limits.cores() // limits.local_ranks())
    if not nvdec:
        return min(4, cores)
    return max(engines(), min(2 * engines(), cores))
