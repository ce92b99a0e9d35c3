"""Numbered pictures that are the frames of a video."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

PICTURE = re.compile(r"(?P<prefix>(?!\.).*?)(?P<number>[0-9]*)(?P<suffix>\.(?:jpg|jpeg|png))", re.IGNORECASE)
FLOW = re.compile(r"(?:flow_?.*|[xy]_)", re.IGNORECASE)
"""What names of optical flow begin with, before the number: flow_x_00001.jpg, x_00001.jpg (mmaction2's rawframes)."""


@dataclass(frozen=True)
class Series:
    """Names of pictures that are numbered without a gap, from any number on.

    The numbers have at least `width` digits: 4 in img_0001.jpg, 1 in 1.jpg to 10.jpg.

    Attributes:
        flow: how many pictures of optical flow lie beside them.
    """

    prefix: str
    width: int
    suffix: str
    first: int
    count: int
    flow: int = 0

    @classmethod
    def of(cls, names: Iterable[str]) -> "Series | None":
        """Return the series of the files of a folder, None when no picture among them has a number.

        Of a series in color and optical flow beside it, the one in color.

        Raises:
            ValueError: they are not one whole series of two pictures or more.
        """
        found = {name: match for name in sorted(names) if (match := PICTURE.fullmatch(name))}
        if not any(match["number"] for match in found.values()):
            return None
        color = {name: match for name, match in found.items() if not FLOW.fullmatch(match["prefix"])} or found
        kinds = {(m["prefix"], m["suffix"], bool(m["number"])): name for name, m in reversed(color.items())}
        if len(kinds) > 1:
            raise ValueError(f"its pictures are not one numbered series: {', '.join(sorted(kinds.values())[:3])}")
        (prefix, suffix, _), numbers = next(iter(kinds)), [match["number"] for match in color.values()]
        width, first = min(map(len, numbers)), min(map(int, numbers))
        series = cls(prefix, width, suffix, first, len(color), len(found) - len(color))
        missing = next((name for name in map(series.name, range(len(color))) if name not in color), None)
        if missing is not None:
            raise ValueError(f"its picture {missing} is missing")
        if len(color) == 1:
            raise ValueError("has only one picture, a clip needs motion")
        return series

    def name(self, i: int) -> str:
        """Return the file name of picture i, counted from 0."""
        return f"{self.prefix}{self.first + i:0{self.width}d}{self.suffix}"
