"""The model card of an export: what users need to know about it, with YAML metadata for Hugging Face."""

import html
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from configs.errors import shown
from configs.load import dump
from configs.words import counted
from nets.tasks import net_module
from trainers.engine.metrics import whole_lines
from trainers.engine.work_dir import CHECKPOINTS, run_in
from trainers.weights import Weights

WINDOW = 0.1
"""Last share of the logged steps, over which a run's own metrics are averaged."""
MEASURED = {
    "result": "top-1",
    "linear": "top-1 of a linear classifier",
    "attentive": "top-1 of an attentive classifier",
    "knn": "top-1 of a vote of 20 neighbors",
    "retrieval": "R@1",
}
"""Result file of `clipfeed test`, without suffix -> name of its metric in the card."""
TEXT = """
# {backbone}, trained with {task}

A backbone of {parameters:.1f} million parameters. It maps clips (B, 3, {num_frames}, {size}, {size}) to features
(B, {out_channels}, T', H', W'); their mean over the last three axes describes a clip.

## Load

```python
{load}
```

## Input

| | |
|---|---|
| frames of a clip | {num_frames} |
| frame step in training | {strides} |
| pixels | short side scaled to {short_side}, {size} x {size} cut out, RGB in 0..1 |
| mean | {mean} |
| standard deviation | {std} |

## Training

{training}

## Results

{results}

## Not known

- The license of these weights and of the videos behind them. Set `license` in the head before you publish this.
- What the videos show, and whom: what is rare in them is learned badly.
- Anything that is not measured above.
"""


def card(weights: Weights, facts: Mapping[str, Any], load: str, *, parameters: int) -> str:
    """Return the card as Markdown. `facts` are those of the export's .json, `load` is Python that loads it."""
    assert weights.config is not None
    head = {
        "license": "unknown",
        "library_name": "clipfeed",
        "pipeline_tag": "feature-extraction",
        "tags": ["video", "self-supervised-learning", weights.config.task, weights.backbone],
    }
    body = TEXT.format(
        **{**facts, "strides": " or ".join(map(str, facts["strides"]))},
        backbone=weights.backbone,
        parameters=parameters / 1e6,
        short_side=weights.views().test.short_side,
        load=load,
        training=_training(weights),
        results=_results(weights, facts["sha256"]),
    )
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n{body}"


def _training(weights: Weights) -> str:
    """Describe the data, the steps and the recipe. Only the last name of each path is published."""
    config = weights.config
    assert config is not None
    paths = {key: getattr(config.data, key, None) for key in ("root", "list", "test_list")}
    names: dict[str, Any] = {key: Path(path).name for key, path in paths.items() if path}
    if weights.origin:
        how = (
            f"Imported from a checkpoint of {weights.origin}, which tells neither its data nor its steps. The recipe "
            "that comes nearest to its published training:"
        )
    else:
        listed = f"those videos of {names['root']} that {names['list']} names" if "list" in names else names["root"]
        steps = counted(weights.step, "optimizer step")
        how = (
            f"Task `{config.task}`, {steps} of {counted(config.train.global_batch, 'video')} each, on "
            f"{listed}. The number of videos is not recorded. The recipe:"
        ).replace("\n", " ")
    recipe = dump(replace(config, work_dir=Path(config.work_dir).name, data=replace(config.data, **names)))
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", recipe)), default=0))  # names may hold backticks
    return f"{html.escape(how, quote=False)}\n\n{fence}yaml\n{recipe}{fence}"


def _results(weights: Weights, sha256: str) -> str:
    """Make a table of the results in the run's folder that were measured with exactly these weights."""
    folder = weights.path.parent  # of a run's checkpoints, or of a single file
    folder = folder.parent if folder.name == CHECKPOINTS else folder
    rows, notes = _measured(folder, sha256)
    rows += _logged(weights, folder)
    if not rows:
        return "None: nothing has been measured with these weights, as far as the folder of their run tells."
    lines = ["| what | on | value | 95 % interval | by chance |", "|---|---|---|---|---|"]
    lines += [
        "| " + " | ".join(html.escape(cell, quote=False).replace("|", "\\|") for cell in row) + " |" for row in rows
    ]
    return "\n".join(lines + [""] * bool(notes) + [f"- {html.escape(shown(note), quote=False)}" for note in notes])


def _measured(folder: Path, sha256: str) -> tuple[list[tuple[str, ...]], list[str]]:
    rows, notes = list[tuple[str, ...]](), dict[str, None]()
    for path in sorted(path for name in MEASURED for path in folder.glob(f"test_*/{name}.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["sha256"] != sha256:
            continue  # of another checkpoint
        if "recall" in found:
            share, interval, chance = found["recall"]["1"], found["recall_1_interval"], found["chance_1"]
        else:
            share, interval = found["top1"], found.get("top1_interval") or found["interval"]
            chance = found.get("chance")
        videos = found.get("videos", found.get("queries"))
        where = f"{counted(videos, 'video')} of {shown(Path(found['data']['root']).name)}"
        rows.append(
            (MEASURED[path.stem], where, _percent(share), " to ".join(map(_percent, interval)), _percent(chance))
        )
        notes |= dict.fromkeys(found["notes"])
    return rows, [*notes]


def _logged(weights: Weights, folder: Path) -> list[tuple[str, ...]]:
    """Return table rows of the run's own metrics in training: the loss, and the task's metric."""
    config, log = weights.config, folder / "metrics.jsonl"
    if config is None or not weights.run or run_in(folder) != weights.run or not log.is_file():
        return []
    lines = [line for line, _ in whole_lines(log) if line["step"] <= weights.step]
    last = lines[-max(1, round(WINDOW * len(lines))) :]
    metric = None if config.task == "recognition" else net_module(config.task).METRIC
    rows = list[tuple[str, ...]]()
    for name in ("loss", metric):
        if name and last and name in last[0]:
            mean = {key: sum(line[key] for line in last) / len(last) for key in (name, "chance") if key in last[0]}
            chance = f"{mean['chance']:.3g}" if name == metric and "chance" in mean else ""
            steps = f"training videos, mean of {counted(len(last), 'logged step')} up to {last[-1]['step']}"
            rows.append((name, steps, f"{mean[name]:.4g}", "", chance))
    return rows


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"
