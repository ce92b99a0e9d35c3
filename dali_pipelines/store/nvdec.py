"""Check the NAL units of a video for what NVIDIA's hardware decoder (NVDEC) requires.

For H.264 and HEVC in MP4, parameter sets are in avcC and hvcC boxes, and pictures follow their length (ISO/IEC
14496-15, 5.3.3.1 and 8.3.3.1).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from dali_pipelines.store.fmp4 import Fragment, decoder_config, samples
from dali_pipelines.store.headers import H264Sps, HevcSps, read_h264_sps, read_hevc_sps

MULTIPLE = 16
"""Sides are multiples of this many pixels: DALI keeps a decoding session only if coded and display size are equal."""

NVDEC_MIN: dict[str, tuple[int, int]] = {
    "h264": (48, 16),
    "hevc": (160, 160),  # it takes 144x144; the next multiple of 16 is on the safe side
    "vp8": (128, 128),
    "vp9": (128, 128),
}
"""Codec -> least (width, height) in pixels that NVDEC decodes through DALI; smaller ones need a CPU."""

MIN_SURFACES = 2
"""Fewest surfaces a header may ask for. DALI 2.4 lets NVDEC make as many as the header says and then uses more."""

CONFIGS = {"h264": b"avcC", "hevc": b"hvcC"}  # VP9 always has 9 surfaces and just one kind of key frame


def why_unfit(path: Path, codec: str, init_size: int, fragments: Iterable[Fragment]) -> str:
    """Return why NVDEC, used by DALI, cannot decode each fragment of a stored video independently; "" if it can.

    Checks the surfaces, and whether each fragment begins with an IDR picture, but not size and pixel format.
    """
    if codec not in CONFIGS:
        return ""
    with path.open("rb") as file:
        config = decoder_config(memoryview(file.read(init_size)), CONFIGS[codec])
        for sps in read_sps(codec, config):
            if (surfaces := sps.fewest_surfaces) < MIN_SURFACES:
                return f"its header asks for {surfaces} surface, {MIN_SURFACES} are needed ({sps})"
        for fragment in fragments:
            if not is_idr(codec, config, file.read(fragment.size), fragment.frames):
                return f"the key frame of the fragment at byte {fragment.offset} is no IDR picture"
    return ""


def parameter_sets(codec: str, config: bytes) -> Iterator[bytes]:
    """Yield each SPS in `config`, the body of an avcC or hvcC box, or NAL units with start codes."""
    if config[:1] != b"\1":  # H.264 Annex B, as in a transport stream
        units = (unit.rstrip(b"\0") for unit in config.split(b"\0\0\1"))
        yield from (nal for nal in units if nal and nal_type(codec, nal[0]) == (7 if codec == "h264" else 33))
        return
    at = 5 if codec == "h264" else 23
    for _ in range(1 if codec == "h264" else config[22]):
        if codec == "h264":
            wanted, count, at = True, config[at] & 0x1F, at + 1
        else:  # one list per type of NAL unit; 33 is SPS
            wanted, count, at = config[at] & 0x3F == 33, int.from_bytes(config[at + 1 : at + 3], "big"), at + 3
        for _ in range(count):
            size = int.from_bytes(config[at : at + 2], "big")
            if wanted:
                yield config[at + 2 : at + 2 + size]
            at += 2 + size


def read_sps(codec: str, config: bytes) -> list[H264Sps | HevcSps]:
    """Parse every SPS in `config`, the body of an avcC or hvcC box."""
    read = read_h264_sps if codec == "h264" else read_hevc_sps
    return [read(nal) for nal in parameter_sets(codec, config)]


def nal_type(codec: str, header: int) -> int:
    """Return nal_unit_type from the first byte of a NAL unit."""
    return header & 0x1F if codec == "h264" else header >> 1 & 0x3F


def is_idr(codec: str, config: bytes | None, fragment: bytes, frames: int) -> bool:
    """Tell whether a fragment begins with an IDR picture, or with a key frame of a codec that has just one kind.

    Each NAL unit follows its length, whose size is in `config`, the body of an avcC or hvcC box.
    """
    if not config:
        return True
    packet = bytes(next(samples(memoryview(fragment), frames)))
    length_size = (config[4 if codec == "h264" else 21] & 3) + 1
    at = 0
    while at + length_size < len(packet):
        kind = nal_type(codec, packet[at + length_size])
        if codec == "h264" and 1 <= kind <= 5:  # the first slice; 5 is IDR
            return kind == 5
        if codec == "hevc" and kind < 32:  # IDR_W_RADL, IDR_N_LP
            return kind in (19, 20)
        at += length_size + int.from_bytes(packet[at : at + length_size], "big")
    return False
