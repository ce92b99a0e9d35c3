"""Read from sequence parameter sets (SPS) of H.264 and HEVC how many pictures a decoder must hold."""

from typing import NamedTuple

HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
INTRA_PROFILES = frozenset({44, 86, 100, 110, 122, 244})
"""H.264 profiles in which constraint_set3_flag means a buffer of no pictures (ITU-T H.264 E.2.1)."""
CONSTRAINT_SET3 = 0x10


class Buffering(NamedTuple):
    """What an SPS says of the decoded picture buffer; `max_dec_frame_buffering` is None where it is not written."""

    profile: int
    constraint_set3: bool
    max_num_ref_frames: int
    max_dec_frame_buffering: int | None

    @property
    def surfaces(self) -> int:
        """The decode surfaces that NVIDIA's parser asks for: the pictures of the buffer, and the current one."""
        if self.max_dec_frame_buffering is not None:
            held = self.max_dec_frame_buffering
        elif self.constraint_set3 and self.profile in INTRA_PROFILES:
            held = 0
        else:  # up to what the level allows; at least the pictures that are referred to
            held = max(self.max_num_ref_frames, 1)
        return held + 1


class Bits:
    """Reads bits and Exp-Golomb codes (ITU-T H.264 7.2 and 9.1) of a NAL unit."""

    def __init__(self, nal: bytes) -> None:
        payload = nal.replace(b"\x00\x00\x03", b"\x00\x00")  # emulation prevention
        self.value, self.left = int.from_bytes(payload, "big"), 8 * len(payload)

    def u(self, count: int) -> int:
        """The next `count` bits; ValueError past the end."""
        self.left -= count
        if self.left < 0:
            raise ValueError("a parameter set ends early")
        return self.value >> self.left & (1 << count) - 1

    def skip(self, count: int) -> None:
        self.u(count)

    def ue(self) -> int:
        zeros = 0
        while not self.u(1):
            zeros += 1
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        code = self.ue()
        return (code + 1) // 2 if code % 2 else -code // 2


def h264_buffering(sps: bytes) -> Buffering:
    """Read an H.264 SPS, its NAL header included (ITU-T H.264 7.3.2.1.1 and E.1.1); ValueError when it is cut off."""
    bits = Bits(sps)
    bits.skip(8)
    profile, flags = bits.u(8), bits.u(8)
    bits.skip(8)  # level
    bits.ue()
    if profile in HIGH_PROFILES:
        chroma = bits.ue()
        bits.skip(1 if chroma == 3 else 0)
        bits.ue(), bits.ue()  # bit depths
        bits.skip(1)
        if bits.u(1):
            for number in range(12 if chroma == 3 else 8):
                _skip_scaling_list(bits, 16 if number < 6 else 64)
    bits.ue()
    order = bits.ue()
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.skip(1)
        bits.se(), bits.se()
        for _ in range(bits.ue()):
            bits.se()
    references = bits.ue()
    bits.skip(1)
    bits.ue(), bits.ue()  # width and height
    bits.skip(0 if bits.u(1) else 1)
    bits.skip(1)
    if bits.u(1):
        [bits.ue() for _ in range(4)]  # cropping
    buffering = _max_dec_frame_buffering(bits) if bits.u(1) else None
    return Buffering(profile, bool(flags & CONSTRAINT_SET3), references, buffering)


def _skip_scaling_list(bits: Bits, size: int) -> None:
    if not bits.u(1):
        return
    last = next_scale = 8
    for _ in range(size):
        if next_scale:
            next_scale = (last + bits.se()) % 256
        last = next_scale or last


def _max_dec_frame_buffering(bits: Bits) -> int | None:
    """That of the VUI, None where it has no bitstream_restriction."""
    if bits.u(1) and bits.u(8) == 255:  # aspect ratio
        bits.skip(32)
    if bits.u(1):  # overscan
        bits.skip(1)
    if bits.u(1):  # video signal
        bits.skip(4)
        bits.skip(24 if bits.u(1) else 0)
    if bits.u(1):  # place of chroma
        bits.ue(), bits.ue()
    if bits.u(1):  # timing
        bits.skip(65)
    hypothetical_decoders = 0
    for _ in range(2):
        if bits.u(1):
            hypothetical_decoders += 1
            count = bits.ue() + 1
            bits.skip(8)
            for _ in range(count):
                bits.ue(), bits.ue()
                bits.skip(1)
            bits.skip(20)
    bits.skip(1 if hypothetical_decoders else 0)
    bits.skip(1)
    if not bits.u(1):
        return None
    bits.skip(1)
    [bits.ue() for _ in range(5)]
    return bits.ue()


def hevc_buffering(sps: bytes) -> Buffering:
    """Read an HEVC SPS, its NAL header included (ITU-T H.265 7.3.2.2.1); ValueError when it is cut off."""
    bits = Bits(sps)
    bits.skip(16)
    bits.skip(4)
    layers = bits.u(3)
    bits.skip(1)
    bits.skip(3)
    profile = bits.u(5)
    bits.skip(32 + 48 + 8)  # compatibility, constraints, level
    present = [(bits.u(1), bits.u(1)) for _ in range(layers)]
    bits.skip(2 * (8 - layers) if layers else 0)
    for has_profile, has_level in present:
        bits.skip(88 * has_profile + 8 * has_level)
    bits.ue()
    if bits.ue() == 3:
        bits.skip(1)
    bits.ue(), bits.ue()  # width and height
    if bits.u(1):
        [bits.ue() for _ in range(4)]  # cropping
    bits.ue(), bits.ue(), bits.ue()  # bit depths, length of the order count
    for_all_layers = bits.u(1)
    held = 0
    for _ in range(layers + 1 if for_all_layers else 1):
        held = bits.ue()
        bits.ue(), bits.ue()
    return Buffering(profile, False, held, held)
