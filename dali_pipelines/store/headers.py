"""What the headers of H.264 and HEVC promise a hardware decoder, and the mend of a promise that makes it fail.

NVDEC's parser makes as many decode surfaces as the sequence parameter set (SPS) says the decoded picture buffer holds,
and one more. x264 writes streams of key frames alone with a buffer of none. That leaves a single surface, with which
DALI 2.4 fails at the second picture.
"""

from collections.abc import Iterator

from dali_pipelines.store.sps import CONSTRAINT_SET3, h264_buffering, hevc_buffering

SPS = {"h264": 7, "hevc": 33}
"""The nal_unit_type of a sequence parameter set."""
FEWEST_SURFACES = 2


def parameter_sets(codec: str, extradata: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield where each SPS of a stream starts in its header, and the SPS, NAL header included.

    Args:
        codec: "h264" or "hevc".
        extradata: an avcC or hvcC record (ISO/IEC 14496-15 5.3.3.1 and 8.3.3.1), or NAL units behind start codes.
    """
    if not extradata:
        return
    if extradata[0] != 1:
        at = 0
        for unit in extradata.split(b"\x00\x00\x01"):
            nal = unit.rstrip(b"\x00")
            if nal and nal_type(codec, nal[0]) == SPS[codec]:
                yield at, nal
            at += len(unit) + 3
        return
    at, arrays = (6, 1) if codec == "h264" else (23, extradata[22])
    for _ in range(arrays):
        if codec == "h264":
            kind, count = SPS[codec], extradata[5] & 0x1F
        else:
            kind, count = extradata[at] & 0x3F, int.from_bytes(extradata[at + 1 : at + 3], "big")
            at += 3
        for _ in range(count):
            size = int.from_bytes(extradata[at : at + 2], "big")
            if kind == SPS[codec]:
                yield at + 2, extradata[at + 2 : at + 2 + size]
            at += 2 + size


def nal_type(codec: str, first_byte: int) -> int:
    """The nal_unit_type in the first byte of a NAL unit."""
    return first_byte & 0x1F if codec == "h264" else first_byte >> 1 & 0x3F


def surfaces(codec: str, extradata: bytes | None) -> int:
    """Return the decode surfaces that a stream asks NVDEC for; FEWEST_SURFACES where its header does not say.

    VP9 always has 9. ValueError for a header that is cut off.
    """
    if codec not in SPS:
        return 9
    read = h264_buffering if codec == "h264" else hevc_buffering
    counts = [read(sps).surfaces for _, sps in parameter_sets(codec, extradata or b"")]
    return min(counts, default=FEWEST_SURFACES)


def mended(avcc: bytes) -> bytes:
    """Return an avcC record without constraint_set3_flag, so that a decoder reserves what the level allows.

    The flag promises a buffer of no pictures; without it the stream decodes to the same pictures.
    """
    changed = bytearray(avcc)
    changed[2] &= ~CONSTRAINT_SET3
    for at, _ in parameter_sets("h264", avcc):
        changed[at + 2] &= ~CONSTRAINT_SET3
    return bytes(changed)


def mend_in_band(packet: bytearray, length_size: int) -> None:
    """Do the same, in place, to parameter sets among the NAL units of an H.264 packet."""
    at = 0
    while at + length_size < len(packet):
        start = at + length_size
        if nal_type("h264", packet[start]) == SPS["h264"]:
            packet[start + 2] &= ~CONSTRAINT_SET3
        at = start + int.from_bytes(packet[at:start], "big")


def is_idr(codec: str, extradata: bytes | None, packet: bytes | memoryview) -> bool:
    """Tell whether a packet starts a new coded sequence: an IDR picture, or a key frame of VP9 or AV1.

    ISO/IEC 14496-15: NAL units stand behind their length, whose size is in the avcC or hvcC box (`extradata`).
    """
    if codec not in SPS or not extradata:
        return True
    length_size = (extradata[4 if codec == "h264" else 21] & 3) + 1
    at = 0
    while at + length_size < len(packet):
        kind = nal_type(codec, packet[at + length_size])
        if codec == "h264" and 1 <= kind <= 5:  # the first slice; 5 is IDR
            return kind == 5
        if codec == "hevc" and kind < 32:  # IDR_W_RADL, IDR_N_LP
            return kind in (19, 20)
        at += length_size + int.from_bytes(packet[at : at + length_size], "big")
    return False
