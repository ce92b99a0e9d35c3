"""R3D-18 on 16 frames of 112x112, the workload with the closest published figures: is the network the only limit?"""

from functools import partial
from itertools import repeat
from typing import Any

from bench.gpu_checks import Target
from bench.gpu_checks.pipelines import alternate
from bench.gpu_checks.videos import chosen_store, dataset
from bench.training_rounds import built_run
from configs.load import load
from configs.options import as_overrides
from configs.words import counted
from trainers.engine.distributed import start
from trainers.engine.loop import endless, train_step

RECIPE = "recognition/torchvision_r3d18_kinetics"
CLASSES = 400
BATCH, THREADS, WORKERS = 32, 14, 4
HOST_WORKERS = 14  # for stores that workers decode
SMALL = ("backbone=r3d_tiny", "plan.num_frames=8", "plan.size=64", "plan.short_sides=[64]", "plan.test.short_side=64")
TRAINED = "published best 171 and 44 %, aim 340 and 90 %"  # a GPU, by SPDL on 8 H100 with a batch of 16
DELIVERED = "published best 5,500"  # by AgiBot's VideoDataset on an H100


def measure(item: str, target: Target) -> dict[str, Any]:
    """Measure training from the chosen store at a batch size, or from a store that workers decode."""
    if item.startswith("batch_"):
        store, index = chosen_store(target)
        batch, workers = int(item.removeprefix("batch_")), WORKERS
    else:
        store, index, batch, workers = item, dataset(item, target), BATCH, HOST_WORKERS
    batch, workers, threads = (2, 0, 2) if target.rehearsal else (batch, workers, THREADS)
    changes = {
        "data.root": str(index.root),
        **{"data.list": None, "data.test_list": None, "data.workers": workers, "data.threads": threads},
        **{"train.global_batch": batch, "train.amp": "bf16", "optim.lr": 1e-9},  # nothing is learned here
    }
    config = load(RECIPE, [*as_overrides(changes), *(SMALL if target.rehearsal else ())])
    with start(target.device) as ranks, built_run(config, ranks, index, classes=CLASSES) as run:
        batches, middle = endless(run.loader), run.total_steps // 2
        rows = alternate(
            {
                "cached batch": partial(train_step, run, repeat(next(batches)), middle),
                "training": partial(train_step, run, batches, middle),
                "loader alone": partial(next, batches),
            },
            target,
            batch_size=batch,
            seconds=1.5,
        )
        decoder = run.loader.decoder
    each = f"{counted(threads, 'thread')}, {counted(workers, 'worker')}"
    for row in rows.values():
        row["frames_per_s"] = round(row["clips_per_s"] * config.plan.num_frames)
    return {
        "answer": answer(rows),
        "settings": f"{config.backbone}, {store}, batch {batch}, {each}, {decoder}",
        "rows": rows,
    }


def answer(rows: dict[str, dict[str, Any]]) -> str:
    """Return the rate, its share of the ceiling and the published figures on one line."""
    ours, cached, alone = rows["training"], rows["cached batch"], rows["loader alone"]
    return (
        f"{ours['clips_per_s']:,.0f} clips/s, {100 * ours['ratio']:.0f} % of the cached-batch ceiling ({TRAINED}); "
        f"the loader alone {alone['clips_per_s']:,.0f} clips/s, {alone['frames_per_s']:,} frames/s ({DELIVERED}); "
        f"cached batch {cached['clips_per_s']:,.0f} clips/s; while training {ours['frames_per_s']:,} frames/s"
    )
