"""NAL units of H.264 and HEVC as MP4 holds them: parameter sets in avcC and hvcC boxes, pictures behind their length.

Source: ISO/IEC 14496-15, 5.3.3.1 (avcC) and 8.3.3.1 (hvcC).
"""

from collections.abc import Iterator

from dali_pipelines.store.headers import H264Sps, HevcSps, read_h264_sps, read_hevc_sps


def parameter_sets(codec: str, config: bytes) -> Iterator[bytes]:
    """Yield each SPS in `config`, the body of an avcC or hvcC box, or NAL units behind start codes."""
    if config[:1] != b"\1":  # of a transport stream, say (H.264 Annex B)
        units = (unit.rstrip(b"\0") for unit in config.split(b"\0\0\1"))
        yield from (nal for nal in units if nal and nal_type(codec, nal[0]) == (7 if codec == "h264" else 33))
        return
    at = 5 if codec == "h264" else 23
    for _ in range(1 if codec == "h264" else config[22]):
        if codec == "h264":
            wanted, count, at = True, config[at] & 0x1F, at + 1
        else:  # one kind of NAL unit after the other; 33 is SPS
            wanted, count, at = config[at] & 0x3F == 33, int.from_bytes(config[at + 1 : at + 3], "big"), at + 3
        for _ in range(count):
            size = int.from_bytes(config[at : at + 2], "big")
            if wanted:
                yield config[at + 2 : at + 2 + size]
            at += 2 + size


def read_sps(codec: str, config: bytes) -> list[H264Sps | HevcSps]:
    """Return every SPS in `config`, the body of an avcC or hvcC box."""
    read = read_h264_sps if codec == "h264" else read_hevc_sps
    return [read(nal) for nal in parameter_sets(codec, config)]


def nal_type(codec: str, header: int) -> int:
    """Return nal_unit_type from the first byte of a NAL unit."""
    return header & 0x1F if codec == "h264" else header >> 1 & 0x3F


def is_idr(codec: str, config: bytes | None, packet: bytes) -> bool:
    """Tell whether a packet starts a new coded sequence: an IDR picture, or a key frame of another codec.

    NAL units stand behind their length, whose own size is in `config`, the body of an avcC or hvcC box.
    """
    if codec not in ("h264", "hevc") or not config:
        return True
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
