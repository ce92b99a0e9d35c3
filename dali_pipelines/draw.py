"""Draw clips with their annotations: frame numbers, captions, boxes, and an arrow that points up."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

COLORS = ("red", "lime", "cyan", "yellow", "magenta")
"""Colors of a frame's boxes, in order."""
SHOWN_SIDE = 224
"""Approximate height, in pixels, to which smaller frames are enlarged by an integer factor."""
GAP = 4
"""White pixels between pictures."""
BOX_LINE = 2  # pixels
SHADE = 4  # divisor of the contrast of shaded cells
TEXT_SIZE = 15  # pixels
LINE = 19  # line height, pixels
PLAY_FPS = 8  # slow enough to follow


@dataclass(frozen=True, eq=False)
class View:
    """A clip as the network sees it, with its annotations."""

    pixels_THW3: np.ndarray
    """uint8."""
    caption: str = ""
    numbers_T: np.ndarray | None = None
    """Each frame's number in the video."""
    boxes_RT4: np.ndarray | None = None
    """x1, y1, x2, y2 in pixels of the clip; ends are exclusive. Empty boxes are not drawn."""
    up: float | None = None
    """Counter-clockwise degrees by which the upward direction was rotated."""
    shaded_RC: np.ndarray | None = None
    """bool, rows and columns of cells: True where hidden from the network."""

    def __len__(self) -> int:
        return len(self.pixels_THW3)

    @property
    def shown_THW3(self) -> np.ndarray:
        """The pixels, with little contrast in shaded cells."""
        if self.shaded_RC is None:
            return self.pixels_THW3
        cell = self.pixels_THW3.shape[1] // len(self.shaded_RC)
        shaded_HW1 = np.kron(self.shaded_RC, np.ones((cell, cell), bool))[..., None]
        return np.where(shaded_HW1, self.pixels_THW3 // SHADE + (255 - 255 // SHADE) // 2, self.pixels_THW3)


@dataclass(frozen=True)
class Sample:
    """The views of a video that the network sees."""

    name: str
    views: list[View]
    class_name: str = ""
    """Empty where the video has no class."""
    num_frames: int = 0
    """Of the video."""

    @property
    def title(self) -> str:
        """The name, with the class if there is one and no folder is named after it."""
        named = not self.class_name or self.class_name in self.name.split("/")
        return self.name if named else f"{self.name} ({self.class_name})"


def zoom(height: int) -> int:
    """Return the integer factor by which frames of this height are enlarged."""
    return max(1, round(SHOWN_SIDE / height))


def tile(view: View, t: int) -> Image.Image:
    """Draw frame `t` of a view, enlarged and annotated, with the frame number below."""
    pixels_HW3 = view.shown_THW3[t]
    factor = zoom(len(pixels_HW3))
    picture = Image.fromarray(pixels_HW3.repeat(factor, axis=0).repeat(factor, axis=1))
    draw = ImageDraw.Draw(picture)
    for number, (x1, y1, x2, y2) in enumerate(() if view.boxes_RT4 is None else view.boxes_RT4[:, t] * factor):
        if x1 < x2 and y1 < y2:
            draw.rectangle((x1, y1, x2 - 1, y2 - 1), outline=COLORS[number % len(COLORS)], width=BOX_LINE)
    if view.up is not None:
        _arrow(draw, picture.width, view.up)
    if view.numbers_T is None:
        return picture
    return stack([picture, text(f"frame {view.numbers_T[t]}", picture.width)], gap=0)


def text(words: str, width: int) -> Image.Image:
    """Draw words in black on white, wrapped to `width` pixels."""
    font = ImageFont.load_default(TEXT_SIZE)
    letter = font.getlength(words) / max(len(words), 1)  # mean width
    lines = textwrap.wrap(words, max(8, int(0.95 * width / max(letter, 1)))) or [""]
    picture = Image.new("RGB", (width, LINE * len(lines)), "white")
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        draw.text((0, LINE * number), line, fill="black", font=font)
    return picture


def stack(pictures: Sequence[Image.Image], *, across: bool = False, gap: int = GAP) -> Image.Image:
    """Stack pictures on white, vertically or, with `across`, side by side."""
    sizes = [(each.width, each.height) for each in pictures]
    along, aside = (0, 1) if across else (1, 0)
    length = sum(size[along] for size in sizes) + gap * (len(sizes) - 1)
    breadth = max(size[aside] for size in sizes)
    sheet = Image.new("RGB", (length, breadth) if across else (breadth, length), "white")
    place = 0
    for each, size in zip(pictures, sizes, strict=True):
        sheet.paste(each, (place, 0) if across else (0, place))
        place += size[along] + gap
    return sheet


def _arrow(draw: ImageDraw.ImageDraw, width: int, degrees: float) -> None:
    """Draw an arrow in the top right corner; 0 degrees points up, 90 left."""
    turn, radius = math.radians(degrees), width / 12
    ahead, aside = np.array([-math.sin(turn), -math.cos(turn)]), np.array([math.cos(turn), -math.sin(turn)])
    center = np.array([width - 1.3 * radius, 1.3 * radius])
    tip, tail = center + radius * ahead, center - radius * ahead
    for color, line in (("black", 5), ("white", 2)):  # visible on any background
        for end in (tail, center + radius / 2 * aside, center - radius / 2 * aside):
            draw.line([*tip, *end], fill=color, width=line)
