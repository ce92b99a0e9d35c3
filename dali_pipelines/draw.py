"""Pictures of clips with what is known of them: frame numbers, captions, boxes, an arrow for what is up."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

COLORS = ("red", "lime", "cyan", "yellow", "magenta")
"""Colors of a frame's boxes, in order."""
SHOWN_SIDE = 224
"""Height to which smaller frames are enlarged, by a whole number: about so many pixels."""
GAP = 4
"""White pixels between pictures."""
BOX_LINE = 2  # pixels
SHADE = 4  # by which contrast is divided
TEXT_SIZE = 15  # pixels
LINE = 19  # pixels from line to line
PLAY_FPS = 8  # slow enough to follow


@dataclass(frozen=True)
class View:
    """A clip as the network gets it, and what is known of it."""

    pixels_THW3: np.ndarray
    """uint8."""
    caption: str = ""
    numbers_T: np.ndarray | None = None
    """The number of each frame in the video."""
    boxes_RT4: np.ndarray | None = None
    """x1, y1, x2, y2 in pixels of the clip; ends are exclusive. A box without area is not drawn."""
    up: float | None = None
    """Counter-clockwise degrees by which the upward direction was turned."""
    shaded_RC: np.ndarray | None = None
    """bool, rows and columns of cells: those that the network does not see."""

    def __len__(self) -> int:
        return len(self.pixels_THW3)

    @property
    def shown_THW3(self) -> np.ndarray:
        """The pixels, with little contrast in cells that are shaded."""
        if self.shaded_RC is None:
            return self.pixels_THW3
        cell = self.pixels_THW3.shape[1] // len(self.shaded_RC)
        shaded_HW1 = np.kron(self.shaded_RC, np.ones((cell, cell), bool))[..., None]
        return np.where(shaded_HW1, self.pixels_THW3 // SHADE + (255 - 255 // SHADE) // 2, self.pixels_THW3)


@dataclass(frozen=True)
class Sample:
    """What the network gets of a video."""

    name: str
    views: list[View]
    class_name: str = ""
    """Empty where the video has no class."""
    num_frames: int = 0
    """Of the video."""

    @property
    def title(self) -> str:
        """The name, and the class if there is one and no folder has its name."""
        named = not self.class_name or self.class_name in self.name.split("/")
        return self.name if named else f"{self.name} ({self.class_name})"


def zoom(height: int) -> int:
    """Return the whole number by which frames of that height are enlarged."""
    return max(1, round(SHOWN_SIDE / height))


def tile(view: View, t: int) -> Image.Image:
    """Draw frame `t` of a view, enlarged, with everything on it and the number of the frame below."""
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
    """Draw words in black on white, in as many lines as a picture of that width needs."""
    font = ImageFont.load_default(TEXT_SIZE)
    letter = font.getlength(words) / max(len(words), 1)  # mean width
    lines = textwrap.wrap(words, max(8, int(0.95 * width / max(letter, 1)))) or [""]
    picture = Image.new("RGB", (width, LINE * len(lines)), "white")
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        draw.text((0, LINE * number), line, fill="black", font=font)
    return picture


def stack(pictures: Sequence[Image.Image], *, across: bool = False, gap: int = GAP) -> Image.Image:
    """Stack pictures on white, below each other or side by side with `across`."""
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
    """Draw an arrow in the top right corner; 0 degrees points to the top, 90 to the left."""
    turn, radius = math.radians(degrees), width / 12
    ahead, aside = np.array([-math.sin(turn), -math.cos(turn)]), np.array([math.cos(turn), -math.sin(turn)])
    center = np.array([width - 1.3 * radius, 1.3 * radius])
    tip, tail = center + radius * ahead, center - radius * ahead
    for color, line in (("black", 5), ("white", 2)):  # seen on any ground
        for end in (tail, center + radius / 2 * aside, center - radius / 2 * aside):
            draw.line([*tip, *end], fill=color, width=line)
