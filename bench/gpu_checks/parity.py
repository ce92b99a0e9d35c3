"""Does a task make the same sample on the GPU as on the CPU? One plan, two loaders."""

from contextlib import closing
from itertools import islice
from typing import Any

import torch

from bench.gpu_checks import Where
from bench.gpu_checks.videos import dataset
from dali_pipelines.decoders import Wanted
from dali_pipelines.loader import ClipLoader
from dali_pipelines.tasks import Task, task_module

MOST_MEAN = 0.06
"""Mean difference that passes, in the unit of normalised clips: one of 255 grey levels is about 0.017."""


def measure(item: str, where: Where) -> dict[str, Any]:
    """Largest and mean differences of two batches, tensor by tensor.

    `graph` feeds both sides the frames that PyAV decodes, so that only the operators differ; `whole` lets each side
    decode as it does in a run. A rehearsal has the CPU on both sides and compares DALI's decoder with PyAV.
    """
    task = Task(item, task_module(item).Config())
    device = where.device
    result: dict[str, Any] = {"ok": True, "rows": {}}
    kinds: dict[str, Wanted] = {"graph": "pyav", "whole": "auto"}
    for kind, decoder in kinds.items():
        cpu_decoder: Wanted = "pyav" if where.rehearsal else decoder
        expected, _ = batches(task, where, "cpu", cpu_decoder)
        got, used = batches(task, where, device, decoder)
        result[f"{kind}_decoder"] = used
        for name in expected[0]:
            row = difference([batch[name] for batch in got], [batch[name] for batch in expected])
            result["rows"][f"{kind} {name}"] = row
            result["ok"] = result["ok"] and row["ok"]
    return result


def batches(task: Task, where: Where, device: str, decoder: Wanted) -> tuple[list[dict[str, torch.Tensor]], str]:
    """Two batches of two samples on the CPU, and what decoded them."""
    count = 1 if where.rehearsal else 2
    index = dataset("vp9", where)
    loader = ClipLoader(index, task, batch_size=2, seed=1, device=device, threads=4, decoder=decoder)
    with closing(loader):
        taken = [{name: value.cpu() for name, value in batch.items()} for batch in islice(loader, count)]
    return taken, loader.decoder


def difference(got: list[torch.Tensor], wanted: list[torch.Tensor]) -> dict[str, Any]:
    """Clips may differ a little; everything else must be equal."""
    first, second = torch.stack(got), torch.stack(wanted)
    if first.shape != second.shape or first.dtype != second.dtype:
        return {
            "ok": False,
            "got": f"{first.dtype} {tuple(first.shape)}",
            "wanted": f"{second.dtype} {tuple(second.shape)}",
        }
    apart = (first.double() - second.double()).abs()
    is_clip = first.is_floating_point() and first.ndim >= 6  # rounds, batch, channels, frames, height, width
    largest, mean = float(apart.max()), float(apart.mean())
    ok = mean <= MOST_MEAN if is_clip else bool(torch.equal(first, second))
    return {"ok": ok, "max": round(largest, 4), "mean": round(mean, 5)}
