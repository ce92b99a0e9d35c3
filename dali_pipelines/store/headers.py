"""Parse parameter sets of H.264 and HEVC, mainly for how many surfaces (pictures) a decoder needs.

Sources: ITU-T H.264 7.3.2.1.1 (SPS), E.1 (VUI) and Table A-1; ITU-T H.265 7.3.2.2 (SPS) and 7.3.3 (its profile). Fields
are named as in the standards.
"""

from dataclasses import dataclass

INTRA_PROFILES = frozenset({44, 86, 100, 110, 122, 244})
"""Profiles that constraint_set3_flag makes intra-only (H.264 A.2.8 to A.2.11): no picture need be kept."""

_CHROMA_PROFILES = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})
_MAX_DPB_MBS = {  # level_idc -> macroblocks that a decoder keeps
    **{9: 396, 10: 396, 11: 900, 12: 2376, 13: 2376, 20: 2376, 21: 4752, 22: 8100, 30: 8100, 31: 18000, 32: 20480},
    **{40: 32768, 41: 32768, 42: 34816, 50: 110400, 51: 184320, 52: 184320, 60: 696320, 61: 696320, 62: 696320},
}


class _Bits:
    """Bit reader for a NAL unit, starting after its header."""

    def __init__(self, nal: bytes, header: int) -> None:
        payload = nal[header:].replace(b"\0\0\3", b"\0\0")  # emulation prevention (H.264 7.3.1, H.265 7.3.1.1)
        self._text = "".join(f"{byte:08b}" for byte in payload)
        self._at = 0

    def u(self, count: int) -> int:
        """Read an unsigned number of `count` bits; ValueError past the end of the unit."""
        self._at += count
        if self._at > len(self._text):
            raise ValueError(f"a parameter set ends after {len(self._text)} bits")
        return int(self._text[self._at - count : self._at] or "0", 2)

    def ue(self) -> int:
        """Read an unsigned Exp-Golomb number (H.264 9.1)."""
        zeros = 0
        while not self.u(1):
            zeros += 1
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        """Read a signed Exp-Golomb number (H.264 9.1.1)."""
        code = self.ue()
        return (code + 1) // 2 if code % 2 else -(code // 2)


@dataclass(frozen=True)
class H264Sps:
    """A sequence parameter set of H.264; absent fields are 0."""

    profile_idc: int
    constraint_set3_flag: int
    level_idc: int
    max_num_ref_frames: int
    pic_width_in_mbs_minus1: int
    pic_height_in_map_units_minus1: int
    frame_mbs_only_flag: int
    max_dec_frame_buffering: int

    @property
    def intra_only(self) -> bool:
        """Whether the profile says that no picture need be kept."""
        return bool(self.constraint_set3_flag) and self.profile_idc in INTRA_PROFILES

    @property
    def surfaces(self) -> int:
        """Surfaces that NVIDIA's open parser asks for (vk_video_samples, VulkanH264Parser.cpp)."""
        if self.max_dec_frame_buffering or self.intra_only:
            return self.max_dec_frame_buffering + 1
        height = (self.pic_height_in_map_units_minus1 + 1) * (2 - self.frame_mbs_only_flag)
        kept = _MAX_DPB_MBS.get(self.level_idc, 696320) // ((self.pic_width_in_mbs_minus1 + 1) * height)
        return max(min(kept, 16), self.max_num_ref_frames) + 1

    @property
    def fewest_surfaces(self) -> int:
        """The fewest surfaces that a parser may allocate, as it may use any field."""
        return 1 if self.intra_only else min(self.surfaces, self.max_num_ref_frames + 1)


@dataclass(frozen=True)
class HevcSps:
    """What a sequence parameter set of HEVC says about the highest sub-layer."""

    sps_max_dec_pic_buffering_minus1: int

    @property
    def surfaces(self) -> int:
        """Surfaces that a decoder needs."""
        return self.sps_max_dec_pic_buffering_minus1 + 1

    fewest_surfaces = surfaces


def read_h264_sps(nal: bytes) -> H264Sps:
    """Parse an H.264 NAL unit of type 7; ValueError if it is cut off."""
    bits = _Bits(nal, 1)
    profile, constraints, level = bits.u(8), bits.u(8), bits.u(8)
    bits.ue()  # seq_parameter_set_id
    if profile in _CHROMA_PROFILES:
        chroma = bits.ue()
        bits.u(1 if chroma == 3 else 0)  # separate_colour_plane_flag
        bits.ue(), bits.ue(), bits.u(1)  # bit depths, qpprime_y_zero_transform_bypass_flag
        if bits.u(1):
            for number in range(12 if chroma == 3 else 8):
                if bits.u(1):
                    _skip_scaling_list(bits, 16 if number < 6 else 64)
    bits.ue()  # log2_max_frame_num_minus4
    order = bits.ue()
    if order == 0:
        bits.ue()  # log2_max_pic_order_cnt_lsb_minus4
    elif order == 1:
        bits.u(1), bits.se(), bits.se()
        for _ in range(bits.ue()):
            bits.se()
    references = bits.ue()
    bits.u(1)  # gaps_in_frame_num_value_allowed_flag
    width, height, frames_only = bits.ue(), bits.ue(), bits.u(1)
    bits.u(2 - frames_only)  # mb_adaptive_frame_field_flag, direct_8x8_inference_flag
    if bits.u(1):
        bits.ue(), bits.ue(), bits.ue(), bits.ue()  # cropping
    buffering = _read_h264_vui(bits) if bits.u(1) else 0
    return H264Sps(profile, constraints >> 4 & 1, level, references, width, height, frames_only, buffering)


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def _read_h264_vui(bits: _Bits) -> int:
    """Return max_dec_frame_buffering, 0 without a bitstream_restriction."""
    if bits.u(1) and bits.u(8) == 255:
        bits.u(32)  # sample aspect ratio
    if bits.u(1):
        bits.u(1)  # overscan
    if bits.u(1):
        bits.u(4)  # video_format, video_full_range_flag
        bits.u(24 if bits.u(1) else 0)
    if bits.u(1):
        bits.ue(), bits.ue()  # chroma sample location
    if bits.u(1):
        bits.u(65)  # timing
    rate_models = 0
    for _ in ("nal", "vcl"):
        if bits.u(1):
            rate_models += 1
            count = bits.ue() + 1
            bits.u(8)
            for _ in range(count):
                bits.ue(), bits.ue(), bits.u(1)
            bits.u(20)
    bits.u(1 if rate_models else 0)  # low_delay_hrd_flag
    bits.u(1)  # pic_struct_present_flag
    if not bits.u(1):
        return 0
    bits.u(1), bits.ue(), bits.ue(), bits.ue(), bits.ue(), bits.ue()  # up to max_num_reorder_frames
    return bits.ue()


def read_hevc_sps(nal: bytes) -> HevcSps:
    """Parse an HEVC NAL unit of type 33; ValueError if it is cut off."""
    bits = _Bits(nal, 2)
    bits.u(4)  # sps_video_parameter_set_id
    layers = bits.u(3)
    bits.u(1 + 96)  # sps_temporal_id_nesting_flag, profile, tier and level
    present = [(bits.u(1), bits.u(1)) for _ in range(layers)]
    bits.u(2 * (8 - layers) if layers else 0)
    for profile, level in present:
        bits.u(88 * profile + 8 * level)
    bits.ue()  # sps_seq_parameter_set_id
    bits.u(1 if bits.ue() == 3 else 0)  # chroma_format_idc, separate_colour_plane_flag
    bits.ue(), bits.ue()  # width, height
    if bits.u(1):
        bits.ue(), bits.ue(), bits.ue(), bits.ue()  # conformance window
    bits.ue(), bits.ue(), bits.ue()  # bit depths, log2_max_pic_order_cnt_lsb_minus4
    described = layers + 1 if bits.u(1) else 1  # sps_sub_layer_ordering_info_present_flag
    buffering, _, _ = [(bits.ue(), bits.ue(), bits.ue()) for _ in range(described)][-1]
    return HevcSps(buffering)
