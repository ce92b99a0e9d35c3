"""Small runs of the real commands."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
PRETRAIN = ROOT / "trainers" / "pretrain.py"
PROBE = ROOT / "trainers" / "probe.py"

RECIPE = """
task: ctp
backbone: r3d_tiny
work_dir: {work_dir}
data: {{root: {root}, workers: 0, threads: 1}}
plan: {{num_frames: 8, size: 64, short_sides: [64], strides: [1, 2], patches: 2}}
net: {{hidden: 32}}
train: {{epochs: 4, global_batch: 4, checkpoint_every: 4, log_every: 1, loggers: []}}
"""


def write_recipe(folder: Path, root: Path, *, name: str = "run") -> Path:
    """Write a CtP recipe for the dataset at `root` that trains in folder/name."""
    path = folder / f"{name}.yaml"
    path.write_text(RECIPE.format(work_dir=folder / name, root=root))
    return path
