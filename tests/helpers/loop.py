"""Run the training loop on a made-up task (tests/helpers/loop_worker.py) in this process, and read its outputs."""

import json
from pathlib import Path

import torch

from tests.helpers import loop_worker
from tests.helpers.ranks import two_ranks

RECIPE = """
task: fake
backbone: r3d_tiny
work_dir: {work_dir}
data: {{root: nowhere}}
optim: {{lr: 0.05}}
schedule: {{kind: cosine, by: iteration, warmup_iters: 3}}
train: {{epochs: 3, global_batch: 8, checkpoint_every: 4, log_every: 1}}
"""


LOADER = ("unreadable_videos", "replaced_samples")


LATE_ROW = 26  # in the fifth step


STEPS = 15  # 3 epochs of 42 // 8


def write_recipe(tmp_path: Path, name: str) -> Path:
    path = tmp_path / f"{name}.yaml"
    path.write_text(RECIPE.format(work_dir=tmp_path / name))
    return path


def run(tmp_path: Path, *args: str, name: str = "run") -> None:
    """Run `pretrain.py` in tmp_path/name with these arguments."""
    loop_worker.main(["--config", str(write_recipe(tmp_path, name)), "--device", "cpu", *args])


def run_two_ranks(tmp_path: Path, *args: str, name: str = "run", grace: float = 20) -> tuple[list[int | None], str]:
    """Run the same as two ranks; return their exit statuses and rank 0's output."""
    options = ("--config", write_recipe(tmp_path, name), "--device", "cpu", *args)
    return two_ranks(Path(loop_worker.__file__), tmp_path, *options, grace=grace)


def lines(tmp_path: Path, name: str = "run") -> list[dict]:
    return [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]


def history(tmp_path: Path, name: str = "run") -> list[dict]:
    """Return each step's metrics without speed and memory."""
    measured = ("clips_per_s", "data_wait", "rss_mib", "cuda_peak_mib", "amplification", *LOADER, "time")
    return [{key: value for key, value in line.items() if key not in measured} for line in lines(tmp_path, name)]


def weights(tmp_path: Path, step: int = STEPS, name: str = "run") -> dict[str, torch.Tensor]:
    path = tmp_path / name / "checkpoints" / f"step_{step:08d}.pt"
    return torch.load(path, weights_only=True)["model"]


def assert_same_weights(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for key in ours:
        assert torch.equal(ours[key], theirs[key]), key
