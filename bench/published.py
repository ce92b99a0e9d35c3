"""Estimate what repeating published figures would cost: `python -m bench.published`.

Nothing here was timed on a GPU. FLOPs are counted on the real networks, clips follow from the recipes, the CPU time of
a clip was measured. All assumptions are in `Assumptions`, and all parts are in the JSON. docs/published.md has the
tables.
"""

import argparse
import csv
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.data import default_task
from bench.machine import save_json
from bench.report import RESULTS, committed, markdown
from bench.scaling_model import Cluster
from configs.errors import run_cli
from configs.load import load
from configs.schema import Config, Recognition
from dali_pipelines.tasks import Task
from trainers.engine.build import build_net

LARGE = ("cstp", "dpc", "cpc_transformer", "videomae", "vjepa")
"""Tasks that need videos of the larger short side: docs/storage.md."""


@dataclass(frozen=True)
class Dataset:
    """The training videos of an official split."""

    videos: int
    classes: int


DATASETS = {
    "ucf101": Dataset(9537, 101),  # split 1
    "hmdb51": Dataset(3570, 51),  # split 1
    "kinetics400": Dataset(240_000, 400),  # about: the videos still available differ from copy to copy
}
"""By the folder that a recipe reads."""


@dataclass(frozen=True)
class Assumptions:
    """What was not measured.

    peak_tflops: of the GPU in dense bfloat16, a multiply-add counted as two. The utilizations are shares of it.
    large_side: short side of the videos for LARGE tasks and clips above 144 pixels. The CPU time of a clip is assumed
    proportional to its frames and to the pixels of a stored frame.
    """

    gpu: str = "H100 SXM"
    peak_tflops: float = 989
    convolution_utilization: float = 0.25
    transformer_utilization: float = 0.40
    large_side: int = 240


def clips_seen(config: Config) -> int:
    """Return epochs x training videos, without held-out ones; docs/published.md on too short and leftover videos."""
    held_out = config.validation.share if isinstance(config, Recognition) else 0
    return round(config.train.epochs * dataset(config).videos * (1 - held_out))


def dataset(config: Config) -> Dataset:
    """Return the dataset that a recipe reads."""
    return DATASETS[Path(config.data.root).name]


def training_flops(config: Config) -> float:
    """Return the FLOPs per sample, forward and backward, a multiply-add counted as two.

    Counted on the recipe's network with its batch size, on one GPU: convolutions, matrix products and attention,
    including frozen and momentum networks, but not norms, activations and the optimizer.
    """
    schema, batch = Task(config.task, config.plan).batch_schema, config.train.global_batch
    # The meta device computes nothing and has no autocast, which would change no count.
    with torch.device("meta"), mock.patch.object(torch, "autocast", return_value=nullcontext()):
        if isinstance(config, Recognition):  # eval mode augments nothing; mixing cannot be built here
            plain = replace(config, net=replace(config.net, mixup=0.0, cutmix=0.0))
            net = build_net(plain, dataset(config).classes).eval()
        else:
            net = build_net(config)
        samples = {
            name: torch.empty(batch, *shape, dtype=getattr(torch, kind)) for name, (shape, kind) in schema.items()
        }
        with FlopCounterMode(display=False) as counter:
            net(samples)["loss"].backward()
    total: int = counter.get_total_flops()
    return total / batch


def decoding(config: Config, loaders: Mapping[str, Any], assumed: Assumptions) -> dict[str, Any]:
    """Return the CPU ms per clip from the default store: the measured value and its scale factors.

    Args:
        loaders: `loader_peers.json`.
    """
    measured_as = config.task if config.task in loaders["tasks"] else "recognition"
    measured = loaders["tasks"][measured_as]["contenders"]["h264"]["this_loader"]["cpu_s_per_1000_clips"]
    frames = Task(config.task, config.plan).program.frames / default_task(measured_as).program.frames
    stored = min(loaders["data"]["h264"]["stored_size"])
    large = config.task in LARGE or config.plan.size > stored
    pixels = (assumed.large_side / stored) ** 2 if large else 1.0
    return {
        "measured_as": measured_as,
        "measured_ms": measured,  # s / 1000 clips
        "times_frames": round(frames, 3),
        "times_pixels": round(pixels, 3),
        "ms_per_clip": round(measured * frames * pixels, 1),
    }


def gpu_hours(clips: float, flops: float, *, utilization: float, peak_tflops: float) -> float:
    """Return the hours of one GPU for `flops` per clip."""
    return clips * flops / (utilization * peak_tflops * 1e12) / 3600


def cost(config: Config, loaders: Mapping[str, Any], assumed: Assumptions) -> dict[str, Any]:
    """Return the cost of training with a recipe, with its parts; `loaders` as for `decoding`."""
    clips, flops = clips_seen(config), training_flops(config)
    of_transformer = config.backbone.startswith("vit_")
    utilization = assumed.transformer_utilization if of_transformer else assumed.convolution_utilization
    cpu = decoding(config, loaders, assumed)
    return {
        "epochs": config.train.epochs,
        "videos": dataset(config).videos,
        "clips": clips,
        "gflops_per_clip": round(flops / 1e9, 1),
        "utilization": utilization,
        "gpu_hours": round(gpu_hours(clips, flops, utilization=utilization, peak_tflops=assumed.peak_tflops), 3),
        "decoding": cpu,
        "core_hours": round(clips * cpu["ms_per_clip"] / 3.6e6, 2),
    }


def rates(flops: float, assumed: Assumptions) -> dict[str, float]:
    """Return clips/s of R3D-18 at 16x112x112 on one GPU by several accounts, for its FLOPs per clip.

    `assumed` here, the `upper_end` of estimates in docs/scaling.md, and `published` by SPDL: 8 H100, batches of 16,
    cached data, 3,405 clips/s. Then the utilizations that the last two imply.
    """
    peak = assumed.peak_tflops * 1e12
    upper_end, published = Cluster().trains, 3405 / 8
    return {
        "assumed": round(assumed.convolution_utilization * peak / flops),
        "upper_end": upper_end,
        "published": round(published),
        "upper_end_utilization": round(upper_end * flops / peak, 3),
        "published_utilization": round(published * flops / peak, 3),
    }


def rows_table(found: Mapping[str, Any]) -> str:
    """Return Markdown: each published row with its recipe and the recipe's cost."""
    head = ["task", "backbone", "pretrained on", "UCF101", "HMDB51", "source", "recipe", "GPU hours", "core hours"]
    rows = []
    for row in found["rows"]:
        figures = ["-" if row[name] is None else f"{row[name]:.1f}" for name in ("ucf101", "hmdb51")]
        recipe = "; ".join(filter(None, [f"`{row['recipe']}`" if row["recipe"] else "none", row["differs"]]))
        of_all = [_hours(found["costs"][name]) for name in (row["recipe"], *row["finetune"]) if name]
        costs = [" + ".join(hours) for hours in zip(*of_all, strict=True)] or ["", ""]
        rows.append([row["task"], row["backbone"], row["data"], *figures, row["source"], recipe, *costs])
    return "\n".join(markdown(head, rows))


def costs_table(found: Mapping[str, Any]) -> str:
    """Return Markdown: the parts of each recipe's cost."""
    head = (
        "recipe",
        "epochs",
        "million clips",
        "GFLOP a clip",
        "utilization",
        "GPU hours",
        "CPU ms a clip",
        "core hours",
    )
    rows = []
    for recipe, of in found["costs"].items():
        gpu, core = _hours(of)
        cpu = of["decoding"]
        scaled = [
            f" x {cpu[key]:.3g} {word}"
            for key, word in (("times_frames", "frames"), ("times_pixels", "pixels"))
            if cpu[key] != 1
        ]
        ms = f"{cpu['measured_ms']}{''.join(scaled)}" + (f" = {cpu['ms_per_clip']}" if scaled else "")
        clips, share = f"{of['clips'] / 1e6:.2f}", f"{100 * of['utilization']:.0f} %"
        rows.append([f"`{recipe}`", of["epochs"], clips, f"{of['gflops_per_clip']:,}", share, gpu, ms, core])
    return "\n".join(markdown(head, rows))


def _hours(of: Mapping[str, Any]) -> tuple[str, str]:
    """Format GPU hours and core hours with two digits or as whole numbers."""
    gpu, core = (f"{of[key]:,.0f}" if of[key] >= 10 else f"{of[key]:.2g}" for key in ("gpu_hours", "core_hours"))
    return gpu, core


def published_rows() -> list[dict[str, Any]]:
    """Return the rows of published_rows.csv, the columns of the first table in docs/published.md.

    `ucf101` and `hmdb51` are top-1 in percent, of split 1 if the source names one, or None. `recipe` is our pretraining
    recipe or None, `finetune` our finetuning recipes, UCF101's first; `differs` says how they differ from the row or,
    without a recipe, what is missing.
    """
    with Path(__file__).with_name("published_rows.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    return [
        {
            **row,
            **{name: float(row[name]) if row[name] else None for name in ("ucf101", "hmdb51")},
            "recipe": row["recipe"] or None,
            "finetune": row["finetune"].split(),
        }
        for row in rows
    ]


def recipes_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the distinct recipes of rows, pretraining first."""
    pretraining = [row["recipe"] for row in rows if row["recipe"]]
    return list(dict.fromkeys([*pretraining, *(recipe for row in rows for recipe in row["finetune"])]))


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.published", description="What would published figures cost?")
    parser.parse_args(argv)  # there are no options; --help must not rewrite the result
    assumed, loaders, rows = Assumptions(), committed("loader_peers"), published_rows()
    found = {
        "assumed": asdict(assumed),
        "r3d18_clips_per_s": rates(training_flops(load("recognition/ctp_r3d18_ucf101")), assumed),
        "rows": rows,
        "costs": {recipe: cost(load(recipe), loaders, assumed) for recipe in recipes_of(rows)},
    }
    save_json(RESULTS / "published.json", **found)
    print(f"{rows_table(found)}\n\n{costs_table(found)}")


if __name__ == "__main__":
    run_cli(main)
