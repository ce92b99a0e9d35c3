"""Small runs of the real commands, as processes and under torchrun."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRETRAIN = ROOT / "trainers" / "pretrain.py"
PROBE = ROOT / "trainers" / "probe.py"
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")

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
    """A CtP recipe for the dataset at `root` that trains in folder/name."""
    path = folder / f"{name}.yaml"
    path.write_text(RECIPE.format(work_dir=folder / name, root=root))
    return path


def command(*args: object, torchrun: bool = False) -> list[str]:
    """A Python command line, of two ranks with `torchrun`."""
    return [sys.executable, *(TORCHRUN if torchrun else ()), *map(str, args)]


def run(*args: object, torchrun: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a Python command to its end in an interpreter of its own; output and errors apart, as text.

    This costs 4 s of CPU time, and 12 s with `torchrun`: where that is not the question, call `main` or
    `tests.helpers.ranks.two_ranks`.
    """
    done = subprocess.run(command(*args, torchrun=torchrun), capture_output=True, text=True, timeout=120, check=False)
    print(done.stdout, done.stderr)  # pytest shows it when the test fails
    return done
