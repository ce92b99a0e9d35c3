"""What NVIDIA's hardware decoder (NVDEC) requires of a video."""

from collections.abc import Iterable
from pathlib import Path

from dali_pipelines.store.fmp4 import Fragment, decoder_config, samples
from dali_pipelines.store.headers import H264Sps, HevcSps
from dali_pipelines.store.nal import is_idr, read_sps

MULTIPLE = 16
"""Sides a multiple of this many pixels: DALI keeps a decoding session only where coded size equals display size."""

NVDEC_MIN: dict[str, tuple[int, int]] = {
    "h264": (48, 16),
    "hevc": (160, 160),  # it takes 144x144; the next multiple of 16 is on the safe side
    "vp8": (128, 128),
    "vp9": (128, 128),
}
"""The least (width, height) in pixels of each codec that it decodes through DALI; smaller ones need a CPU."""

MIN_SURFACES = 2
"""Surfaces that a header must ask for. DALI 2.4 lets NVDEC make as many as the header says and then uses more."""

_CONFIGS = {"h264": b"avcC", "hevc": b"hvcC"}  # VP9 always has 9 surfaces, and no kind of key frame but one


def why_unfit(path: Path, codec: str, init_size: int, fragments: Iterable[Fragment]) -> str:
    """Return why NVDEC, used by DALI, cannot decode every fragment of a stored video by itself; "" where it can.

    Checks the surfaces, and whether each fragment begins with an IDR picture, but not size and pixel format.
    """
    if codec not in _CONFIGS:
        return ""
    with path.open("rb") as file:
        config = decoder_config(memoryview(file.read(init_size)), _CONFIGS[codec])
        for sps in read_sps(codec, config):
            if (surfaces := _fewest_surfaces(sps)) < MIN_SURFACES:
                return f"its header asks for {surfaces} surface, {MIN_SURFACES} are needed ({sps})"
        for fragment in fragments:
            if not is_idr(codec, config, bytes(next(samples(memoryview(file.read(fragment.size)), fragment.frames)))):
                return f"the key frame of the fragment at byte {fragment.offset} is no IDR picture"
    return ""


def _fewest_surfaces(sps: H264Sps | HevcSps) -> int:
    """Return the fewest surfaces that a parser may allocate: of H.264 it may go by any field."""
    if isinstance(sps, HevcSps):
        return sps.surfaces
    return 1 if sps.intra_only else min(sps.surfaces, sps.max_num_ref_frames + 1)
