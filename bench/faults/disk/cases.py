"""The commands that `disk` runs, and their inputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torchvision.models.video import r3d_18

from bench.data import drift
from bench.faults.disk.forked import run
from bench.faults.disk.small import FRAMES
from dali_pipelines.store.encode import Encoding, write_frames

SIDE = 64
VIDEOS = 6
"""Videos in each of the two classes."""
PLAN = {"num_frames": 8, "size": 32, "short_sides": [32, 40]}
RECIPE: dict[str, Any] = {
    "backbone": "r3d_tiny",
    "data": {"root": "data", "list": "train.txt", "workers": 0, "threads": 1},
    "optim": {"name": "adamw", "lr": 1e-3},
    "train": {"epochs": 2, "global_batch": 4, "checkpoint_every": 1, "log_every": 1, "loggers": ["tensorboard", "csv"]},
}
RECIPES: dict[str, dict[str, Any]] = {
    "ctp": RECIPE | {"task": "ctp", "work_dir": "runs/ctp", "plan": PLAN | {"strides": [1]}, "net": {"hidden": 16}},
    "classes": RECIPE
    | {
        "task": "recognition",
        "work_dir": "runs/classes",
        "data": RECIPE["data"] | {"test_list": "test.txt"},
        "plan": PLAN,
        "validation": {"every": 1, "share": 0.4},
    },
}
PRETRAIN = "pretrain --config ctp.yaml --device cpu --work-dir disk/run"
FINETUNE = "finetune --config classes.yaml --device cpu --mode scratch --work-dir disk/run"
PREPARE = "prepare videos --out disk/data --short-side 48 --workers 1"
TEST = "test --checkpoint runs/classes --device cpu --out disk/test --protocol"
ON = "--config classes.yaml --checkpoint disk/ctp --device cpu --out disk/test --protocol"


@dataclass(frozen=True)
class Case:
    """A command, run in a folder in which `disk` is the small disk."""

    command: str
    before: Sequence[str] = ()
    """Earlier commands that had room, or folders to copy."""
    work_dir: bool = False
    """Whether the command leaves a run in disk/run; timings and the number of starts vary there."""
    timed: bool = False
    """Whether the command writes timings."""


CASES = {
    "recipe": Case("recipe ctp/demo --out disk/mine.yaml"),
    "prepare": Case(PREPARE, [PREPARE.replace("videos", "videos/left")]),
    "prepare, without re-encoding": Case(f"{PREPARE[: PREPARE.index(' --short')]} --codec copy --workers 1"),
    "prepare, into shards": Case(f"{PREPARE} --shards 100kB"),
    "prepare, in parts": Case(f"{PREPARE} --shard 1/2", [f"{PREPARE} --shard 0/2"]),
    "prepare, merge of parts": Case(
        "prepare --out disk/data --merge", [f"{PREPARE} --shard 0/2", f"{PREPARE} --shard 1/2"]
    ),
    "lists": Case("lists auto lists/train.txt lists/test.txt --data-dir disk/data", [PREPARE]),
    "inspect, page": Case("inspect data --out disk/page.html", timed=True),
    "inspect, JSON": Case("inspect data --out disk/facts.json", timed=True),
    **{
        f"preview, .{kind}": Case(f"preview --config ctp.yaml --out disk/preview.{kind} --samples 1")
        for kind in ("png", "html", "mp4", "gif", "webp")
    },
    "pretrain": Case(PRETRAIN, [f"{PRETRAIN} --max-steps 1"], work_dir=True),
    "finetune": Case(FINETUNE, [f"{FINETUNE} --max-steps 1"], work_dir=True),
    "test, video": Case(f"{TEST} video"),
    "test, retrieval": Case(f"test {ON} retrieval", ["runs/ctp"]),
    "test, linear": Case(f"test {ON} linear", ["runs/ctp"]),
    "features": Case("features data --checkpoint runs/ctp --out disk/features.npz --device cpu --workers 0"),
    **{f"export, .{kind}": Case(f"export runs/ctp --out disk/net.{kind}") for kind in ("safetensors", "pt2", "onnx")},
    "export, folder": Case("export runs/ctp --out disk/net"),
    "import": Case("import r3d_18.pt --from torchvision --out disk/imported.pt"),
    "report": Case("report --work-dir runs/ctp --out disk/loss.png"),
    "probe": Case("probe --work-dir runs/ctp --train train.txt --test test.txt --json disk/probe.json --device cpu"),
}


def prepare(folder: Path) -> None:
    """Create the inputs of all commands, once: videos, a dataset with lists, two runs and a foreign checkpoint."""
    if (done := folder / "made").exists():
        return
    for number in range(2 * VIDEOS):
        frames = (np.ascontiguousarray(frame[:SIDE, : SIDE + 16]) for frame in islice(drift(number), FRAMES))
        path = folder / "videos" / ("left", "right")[number % 2] / f"{number:02d}.mp4"
        write_frames(path, frames, fps=25, settings=Encoding(gop=8))
    (folder / "lists").mkdir(exist_ok=True)
    names = [f"{('left', 'right')[number % 2]}/{number:02d}" for number in range(2 * VIDEOS)]
    for split, some in {"train": names[: VIDEOS + 2], "test": names[VIDEOS + 2 :]}.items():
        (folder / "lists" / f"{split}.txt").write_text("".join(f"{name}\n" for name in some))
    for name, recipe in RECIPES.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    torch.manual_seed(0)
    torch.save(r3d_18().state_dict(), folder / "r3d_18.pt")
    in_place = [command.replace("disk/", "") for command in (PREPARE, CASES["lists"].command)]
    for words in (*in_place, PRETRAIN.replace("disk/run", "runs/ctp"), FINETUNE.replace("disk/run", "runs/classes")):
        status, said = run(words, folder)
        assert status == 0, said
    done.touch()
