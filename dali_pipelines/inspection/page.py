"""Render the sections of a dataset as a self-contained web page: tables, SVG plots, and frames of some videos."""

import html
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from configs.words import counted
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.inspection import Section, spread
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import read_clip
from dali_pipelines.store.record import ClipError
from dali_pipelines.web import data_url, document

PICTURES = 24
HEIGHT = 90
"""Height of a picture, pixels."""
PLOT = (640, 180)
"""Width and height of a plot of many bars."""
MANY = 12
"""More bars than this are drawn upright, without a label each."""
ROWS = 40


def page(index: Index, sections: Sequence[Section]) -> str:
    """Return the page as HTML; hovering over a bar shows its label and value."""
    title = f"{index.root}: {counted(len(index), 'video', spec=',')}"
    parts = [f"<h1>{html.escape(title)}</h1>"]
    parts += ['<div class="film">', *_film(index), '</div><div class="columns">', *map(_card, sections), "</div>"]
    return document(title, "\n".join(parts))


def _film(index: Index) -> Iterator[str]:
    """Yield the middle frames of some videos as pictures."""
    for row in spread(len(index), PICTURES):
        try:
            (frame,) = decode_rgb(read_clip(index, row, np.array([index.num_frames[row] // 2])))
        except ClipError:
            continue
        picture = Image.fromarray(frame)
        small = picture.resize((round(picture.width * 2 * HEIGHT / picture.height), 2 * HEIGHT))
        name = html.escape(index.names.text(row))
        yield f'<img alt="{name}" title="{name}" src="{data_url(small, "jpeg", quality=80)}">'


def _card(section: Section) -> str:
    bars = section.bars
    plot = "" if len(bars) < 2 else _columns(bars, section.unit) if len(bars) > MANY else _rows(bars, section.unit)
    head = "".join(f"<th>{html.escape(cell)}" for cell in section.header)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}" for cell in row) for row in section.rows[:ROWS])
    more = [f"{len(section.rows) - ROWS} more"] * (len(section.rows) > ROWS)
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in (*more, *section.notes))
    table = f'<div class="scroll"><table><tr>{head}{rows}</table></div>'
    return f'<div class="card"><h2>{html.escape(section.title)}</h2>{plot}{table}{notes}</div>'


def _columns(bars: Sequence[tuple[str, float]], unit: str) -> str:
    """Draw upright bars, of the same width, with the highest value and the first and last label."""
    width, height = PLOT
    most, step = max(value for _, value in bars) or 1, width / len(bars)
    shapes = [
        f'<rect x="{place * step:.1f}" y="{height - value / most * height + 16:.1f}" width="{max(step - 1, 0.5):.1f}" '
        f'height="{value / most * height:.1f}"><title>{html.escape(label)}: {value:g} {unit}</title></rect>'
        for place, (label, value) in enumerate(bars)
    ]
    texts = f'<text x="0" y="11">{most:g} {unit}</text><text x="0" y="{height + 32}">{_short(bars[0][0], 40)}</text>'
    texts += f'<text x="{width}" y="{height + 32}" text-anchor="end">{_short(bars[-1][0], 40)}</text>'
    return f'<svg class="plot" width="{width}" viewBox="0 0 {width} {height + 36}">{"".join(shapes)}{texts}</svg>'


def _rows(bars: Sequence[tuple[str, float]], unit: str) -> str:
    """Draw horizontal bars, one per line, with label and value."""
    most, line, left = max(value for _, value in bars) or 1, 20, 200
    width = PLOT[0] - left - 60
    shapes = [
        f'<text x="{left - 8}" y="{place * line + 14}" text-anchor="end">{_short(label, 26)}</text>'
        f'<rect x="{left}" y="{place * line + 3}" width="{value / most * width:.1f}" height="14">'
        f"<title>{html.escape(label)}: {value:g} {unit}</title></rect>"
        f'<text x="{left + value / most * width + 6:.1f}" y="{place * line + 14}">{value:.4g}</text>'
        for place, (label, value) in enumerate(bars)
    ]
    return f'<svg class="plot" width="{PLOT[0]}" viewBox="0 0 {PLOT[0]} {len(bars) * line}">{"".join(shapes)}</svg>'


def _short(label: str, most: int) -> str:
    """Shorten a label to `most` characters, as HTML."""
    return html.escape(label if len(label) <= most else f"{label[: most - 1]}…")
