"""A preview as a web page: every view plays, with its boxes, frame numbers and position in the video."""

import dataclasses
import html
import json
from collections.abc import Iterator, Mapping, Sequence

from PIL import Image

from configs.convert import flat
from dali_pipelines.draw import COLORS, PLAY_FPS, Sample, View
from dali_pipelines.tasks import Task, about
from dali_pipelines.web import data_url, document

QUALITY = 85  # of the pictures

CONTROLS = """\
<div class="controls">
<button id="play">Play</button>
<label>Frame <input id="step" type="range" min="0" max="{last}" value="0"></label>
<label>Speed <input id="speed" type="range" min="1" max="25" value="{fps}"><span id="rate">{fps} frames/s</span></label>
<span class="quiet">Space plays and pauses, arrow keys step.</span>
</div>"""


def page(samples: Sequence[Sample], task: Task, facts: Mapping[str, object]) -> str:
    """Render the page: `facts`, what the task predicts, its batch and plan settings, and a card for each sample."""
    name, colon, predicts = about(task.name).partition(": ")
    lead = f"The network predicts {predicts}." if colon else name
    name = name if colon else task.name
    holds = [f"{key} {'×'.join(map(str, shape))} {dtype}" for key, (shape, dtype) in task.batch_schema.items()]
    values = flat(dataclasses.asdict(task.cfg))
    settings = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    last = max((len(view) for sample in samples for view in sample.views), default=1) - 1
    parts = [
        f'<header><h1>{html.escape(name)}</h1><p class="lead">{html.escape(lead)}</p>',
        _list({"task": task.name, **facts, "a sample is": ", ".join(holds)}),
        f"<details open><summary>Settings of the plan</summary>{_list(settings)}</details></header>",
        CONTROLS.format(last=last, fps=PLAY_FPS),
        '<main class="samples">',
        *map(_card, samples),
        "</main>",
    ]
    return document(f"{name}: what the network sees", "\n".join(parts), script="player.js")


def _list(facts: Mapping[str, object]) -> str:
    items = (f"<div><dt>{html.escape(key)}<dd>{html.escape(str(value))}</div>" for key, value in facts.items())
    return f"<dl>{''.join(items)}</dl>"


def _card(sample: Sample) -> str:
    views = "".join(_figure(view, sample.num_frames) for view in sample.views)
    return f'<section class="card"><h2>{html.escape(sample.title)}</h2><div class="views">{views}</div></section>'


def _figure(view: View, num_frames: int) -> str:
    """Render a view: its frames stacked in one picture, and what `player.js` draws on them."""
    length, height, width, _ = view.pixels_THW3.shape
    numbers = None if view.numbers_T is None else view.numbers_T.tolist()
    boxes = [] if view.boxes_RT4 is None else view.boxes_RT4.round(1).tolist()
    moves = [[[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in box] for box in boxes]
    caption = html.escape(view.caption)
    data = html.escape(json.dumps({"frames": length, "numbers": numbers, "boxes": moves}))
    strip = data_url(Image.fromarray(view.shown_THW3.reshape(-1, width, 3)), "webp", quality=QUALITY, method=4)
    return "".join(
        [
            f'<figure class="view" data-view="{data}"><div class="screen">',
            f'<canvas width="{width}" height="{height}" role="img" aria-label="{caption}"></canvas>',
            f'<img hidden alt="" src="{strip}"><svg viewBox="0 0 {width} {height}" aria-hidden="true">',
            *(f'<rect stroke="{COLORS[number % len(COLORS)]}"/>' for number in range(len(moves))),
            *_arrow(view, width),
            "</svg></div>",
            *_track(view, num_frames),
            f'<div class="number"></div><figcaption>{caption}</figcaption></figure>',
        ]
    )


def _arrow(view: View, width: int) -> Iterator[str]:
    """Yield the arrow of `draw.tile`, in the top right corner."""
    if view.up is not None:
        place, scale = f"translate({0.9 * width} {0.1 * width})", f"scale({width / 120})"
        yield f'<path stroke="#fff" transform="{place} rotate({-view.up}) {scale}" d="M0 9V-9M-5 -4L0 -9L5 -4"/>'


def _track(view: View, num_frames: int) -> Iterator[str]:
    """Yield a timeline of the video that marks the frames of the view."""
    if view.numbers_T is not None and num_frames:
        marks = "".join(f"M{number + 0.5} 0v1" for number in sorted({*view.numbers_T.tolist()}))
        yield (
            f'<svg class="track" viewBox="0 0 {num_frames} 1" preserveAspectRatio="none" aria-hidden="true">'
            f'<path d="{marks}"/><rect width="1" height="1"/></svg>'
        )
