"""Does a task make the same sample on the GPU as on the CPU? One plan, two loaders."""

from contextlib import closing
from itertools import islice
from typing import Any

import torch

from bench.data import default_task
from bench.gpu_checks import Target
from bench.gpu_checks.videos import chosen_store
from dali_pipelines.decode.choose import Wanted
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task

GRAY_LEVEL = 0.017
"""One of 255 gray levels, in units of normalized clips."""
MAX_MEAN = 0.06
"""Maximum mean difference, in these units."""
FAR, MAX_FAR = 30 * GRAY_LEVEL, 0.01
"""A value this far off belongs to another picture; this share passes, for edges that move by a part of a pixel."""


def measure(item: str, target: Target) -> dict[str, Any]:
    """Return the largest and mean differences of two batches, tensor by tensor.

    `graph` and `cut` feed both sides frames decoded by PyAV, so only the operators differ: `graph` as planes of luma
    and chroma, `cut` already cut and scaled by the host, as when planes would be too large. `whole` lets each side
    decode as in a run. A rehearsal uses the CPU on both sides and compares DALI's decoder with PyAV.
    """
    task = default_task(item)
    store, index = chosen_store(target)
    result: dict[str, Any] = {"ok": True, "answer": "", "store": store, "rows": {}}
    kinds: dict[str, Wanted] = {"graph": "pyav", "cut": "pyav", "whole": "auto"}
    for kind, decoder in kinds.items():
        cpu_decoder: Wanted = "pyav" if target.rehearsal else decoder
        expected, _ = batches(index, task, target, "cpu", cpu_decoder)
        actual, used = batches(index, task, target, target.device, decoder, cut=kind == "cut")
        result[f"{kind}_decoder"] = used
        for name in expected[0]:
            row = difference([batch[name] for batch in actual], [batch[name] for batch in expected])
            result["rows"][f"{kind} {name}"] = row
            result["ok"] = result["ok"] and row["ok"]
    result["answer"] = answer(result["rows"])
    return result


def batches(
    index: Index, task: Task, target: Target, device: str, decoder: Wanted, *, cut: bool = False
) -> tuple[list[dict[str, torch.Tensor]], str]:
    """Return two batches of two samples on the CPU, and the decoder."""
    count = 1 if target.rehearsal else 2
    loader = ClipLoader(index, task, batch_size=2, seed=1, device=device, threads=4, decoder=decoder)
    if cut:
        loader.media = "frames"
    with closing(loader):
        copies = [{name: value.cpu() for name, value in batch.items()} for batch in islice(loader, count)]
    return copies, loader.decoder


def difference(actual: list[torch.Tensor], expected: list[torch.Tensor]) -> dict[str, Any]:
    """Compare tensors: clips may differ a little, everything else must be equal."""
    first, second = torch.stack(actual), torch.stack(expected)
    if first.shape != second.shape or first.dtype != second.dtype:
        return {
            "ok": False,
            "actual": f"{first.dtype} {tuple(first.shape)}",
            "expected": f"{second.dtype} {tuple(second.shape)}",
        }
    apart = (first.double() - second.double()).abs()
    is_clip = first.is_floating_point() and first.ndim >= 6  # rounds, batch, channels, frames, height, width
    largest, mean, far = float(apart.max()), float(apart.mean()), float((apart > FAR).double().mean())
    ok = mean <= MAX_MEAN and far <= MAX_FAR if is_clip else bool(torch.equal(first, second))
    return {"ok": ok, "max": round(largest, 4), "mean": round(mean, 5), **({"far": round(far, 5)} if is_clip else {})}


def answer(rows: dict[str, dict[str, Any]]) -> str:
    """Return the differences of each kind of clips, and the other tensors that are not equal."""
    clips = {name: row for name, row in rows.items() if "far" in row}
    apart = ", ".join(f"{name} {row['mean'] / GRAY_LEVEL:.2f}" for name, row in clips.items())
    far = 100 * max((row["far"] for row in clips.values()), default=0.0)
    unequal = [name for name, row in rows.items() if not row["ok"] and name not in clips]
    rest = f"not equal: {', '.join(unequal)}" if unequal else "all else equal"
    return f"gray levels apart: {apart}; {far:.2f} % of the values far off; {rest}"
