"""Check that every pretext task trains on this GPU: compare its loss with the CPU's, then train in bf16."""

import copy
import time
import warnings
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.data import default_task
from bench.gpu_checks import Target
from bench.gpu_checks.parity import GRAY_LEVEL, MAX_MEAN
from bench.gpu_checks.videos import chosen_store
from bench.training_rounds import built_run
from bench.training_throughput import default_recipes
from configs.load import load
from configs.options import as_overrides
from dali_pipelines.loader import ClipLoader
from dali_pipelines.pixels.normalize import NORMALIZATIONS
from dali_pipelines.tasks import Task
from nets.batch_augment import BatchAugment
from nets.classifier import Config
from nets.tasks import Pretext
from trainers.engine.build import build_net
from trainers.engine.distributed import start
from trainers.engine.loop import endless, train_step
from trainers.engine.run import Run

SAMPLES, STEPS = 2, 3
BATCH, THREADS = 8, 14
CLASSES = 10
MAX_APART = {"float32": 0.05, "bfloat16": 0.2}
"""Largest relative difference of loss and gradient from the CPU's: convolutions use TF32, bfloat16 has 8 bits."""


def measure(item: str, target: Target) -> dict[str, Any]:
    """Check a pretext task; `compile` is `ctp` with torch.compile, `augment` the augmentation of finetuning.

    `waits` are the lines of a forward and backward pass where the host waits for the GPU: there should be none.
    """
    if item == "augment":
        return augmented(target)
    if item == "compile":
        return steps("ctp", target, {"train.compile": not target.rehearsal})
    rows = losses(item, target)
    apart = {
        (name, figure): abs(rows[name][figure] / rows["cpu"][figure] - 1)
        for name in MAX_APART
        for figure in ("loss", "grad_norm")
    }
    made = steps(item, target, {})
    texts = ", ".join(f"{name} {figure} {100 * share:.2f} %" for (name, figure), share in apart.items())
    return made | {
        "ok": made["ok"] and all(share <= MAX_APART[name] for (name, _), share in apart.items()),  # nan is not
        "answer": f"beside the CPU's: {texts} apart; {made['answer']}",
        "rows": rows,
    }


def losses(task: str, target: Target) -> dict[str, dict[str, float]]:
    """Return the demo network's loss and gradient norm on the CPU, and in float32 and bfloat16 on the device.

    The network is in eval mode. A rehearsal uses only float32, as training on a CPU does.
    """
    config, index = load(f"{task}/demo"), chosen_store(target)[1]
    with closing(ClipLoader(index, Task(task, config.plan), batch_size=SAMPLES, decoder="pyav")) as loader:
        batch = next(iter(loader))
    torch.manual_seed(0)
    net = build_net(config).eval()
    ways = {"cpu": ("cpu", False), "float32": (target.device, False), "bfloat16": (target.device, True)}
    return {name: _loss(copy.deepcopy(net).to(device), batch, device, bf16) for name, (device, bf16) in ways.items()}


def _loss(net: Pretext, batch: Mapping[str, Tensor], device: str, bf16: bool) -> dict[str, float]:
    with torch.autocast(device, torch.bfloat16, enabled=bf16 and device == "cuda"):
        loss = net({name: value.to(device) for name, value in batch.items()})["loss"]
    loss.backward()
    gradients = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
    return {"loss": loss.item(), "grad_norm": float(torch.nn.utils.get_total_norm(gradients))}


def augmented(target: Target) -> dict[str, Any]:
    """Compare batches augmented on the device with the CPU's.

    All random numbers are drawn on the host, so they are the same. There are enough batches for each of RandAugment's
    operations. Differences are in units of normalized clips, as in `parity`.
    """
    cfg = Config(rand_augment=(2, 9), erase_prob=0.25, mixup=0.8, cutmix=1.0)
    augment = BatchAugment(cfg, classes=CLASSES, normalization=NORMALIZATIONS["imagenet"])
    samples, seeds = (2, 3) if target.rehearsal else (8, 20)
    index = chosen_store(target)[1]
    with closing(ClipLoader(index, default_task("recognition"), batch_size=samples, decoder="pyav")) as loader:
        batch = next(iter(loader))
    there = copy.deepcopy(augment).to(target.device)
    means, shares = [], []
    for seed in range(seeds):
        made = []
        for layer, device in ((augment, "cpu"), (there, target.device)):
            torch.manual_seed(seed)
            made.append(layer(batch["clips"].to(device), batch["labels"].to(device)))
        (expected, wanted), (actual, got) = made
        means.append(float((actual.cpu() - expected).abs().mean()))
        shares.append(float((got.cpu() - wanted).abs().max()))
    worst, label = max(means), max(shares)
    return {
        "ok": all(mean <= MAX_MEAN for mean in means) and all(share <= 1e-5 for share in shares),
        "answer": f"{seeds} batches: at most {worst / GRAY_LEVEL:.2f} gray levels and {label:.1e} of a label apart",
    }


def steps(task: str, target: Target, changes: Mapping[str, object]) -> dict[str, Any]:
    """Train some steps of a recipe of the task in bfloat16, from the chosen store."""
    recipe, *_ = default_recipes([task], gpu=not target.rehearsal)
    batch, threads = (2, 2) if target.rehearsal else (BATCH, THREADS)
    store, index = chosen_store(target)
    changes = {
        # Without workers, which take seconds to start: a few small batches do not need them.
        **{"data.root": str(index.root), "data.list": None, "data.workers": 0, "data.threads": threads},
        **{"train.global_batch": batch, "train.accumulate": 1, "train.amp": "bf16", "optim.lr": 1e-9},
        **changes,
    }
    config = load(recipe, as_overrides(changes))
    with start(target.device) as ranks, built_run(config, ranks, index) as run:
        batches = endless(run.loader)
        for step in range(STEPS):
            began = time.perf_counter()
            last = train_step(run, batches, step)
            took = time.perf_counter() - began
        found = [] if target.rehearsal else waits(run, last.batch)
        peak = 0 if target.rehearsal else torch.cuda.max_memory_allocated() >> 20
        decoder = run.loader.decoder
    wait = f"; the host waits {'at ' + ', '.join(found) if found else 'nowhere'}" * (not target.rehearsal)
    return {
        "ok": not found,
        "answer": f"{STEPS} steps, the last in {1000 * took:.0f} ms{wait}",
        "settings": f"{recipe}, {config.backbone}, {store}, batch {batch}, {decoder}",
        "last": {name: value.item() for name, value in last.terms.items()} | {"grad_norm": last.grad_norm},
        "waits": found,
        "peak_mib": peak,
    }


def waits(run: Run, batch: Mapping[str, Tensor]) -> list[str]:
    """Return the distinct lines, "file:line", where the host waits for the GPU in a forward and backward pass."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with torch.autocast("cuda", torch.bfloat16):
                loss = run.model(batch)["loss"]
            loss.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    run.optimizer.zero_grad(set_to_none=True)
    places = {f"{Path(w.filename).name}:{w.lineno}" for w in caught if "synchroniz" in str(w.message)}
    return sorted(places)
