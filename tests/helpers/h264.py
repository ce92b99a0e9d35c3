"""H.264 whose header omits the reorder depth, as some encoders write it."""

from pathlib import Path


class _Bits:
    def __init__(self, data: bytes) -> None:
        self.text = "".join(f"{byte:08b}" for byte in data)
        self.at = 0

    def flag(self) -> bool:
        self.at += 1
        return self.text[self.at - 1] == "1"

    def number(self) -> int:
        """Read an unsigned Exp-Golomb code; signed ones are as long."""
        zeros = self.text.index("1", self.at) - self.at
        self.at += 2 * zeros + 1
        return int(self.text[self.at - zeros - 1 : self.at], 2) - 1


def drop_usability(path: Path) -> Path:
    """Remove the VUI (ITU-T H.264, E.1) from the parameter set of an x264 MP4, in place and at the same size."""
    data = bytearray(path.read_bytes())
    start = data.index(b"avcC") + 4 + 8
    size = int.from_bytes(data[start - 2 : start], "big")
    bits = _Bits(bytes(data[start : start + size]).replace(b"\0\0\3", b"\0\0"))
    bits.at = 8 * 4  # NAL header, profile, constraints, level
    bits.number()
    if data[start + 1] >= 100:  # high profiles: 4:2:0, two depths, two flags
        assert [bits.number() for _ in range(3)] == [1, 0, 0]
        assert [bits.flag(), bits.flag()] == [False, False]
    bits.number()
    assert bits.number() == 0  # x264's type of picture order count
    bits.number(), bits.number(), bits.flag(), bits.number(), bits.number()
    if not bits.flag():  # frames only
        bits.flag()
    bits.flag()
    if bits.flag():  # cropped
        assert all(bits.number() >= 0 for _ in range(4))
    assert bits.flag(), "there is a VUI"
    kept = bits.text[: bits.at - 1] + "01"  # no VUI, stop bit
    kept += "0" * (-len(kept) % 8)
    new = bytes(int(kept[at : at + 8], 2) for at in range(0, len(kept), 8))
    assert b"\0\0" not in new
    data[start : start + size] = new.ljust(size, b"\0")
    path.write_bytes(data)
    return path
