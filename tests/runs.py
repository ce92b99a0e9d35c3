"""Small runs of the real commands, as processes and under torchrun."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
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
train: {{epochs: 4, global_batch: 4, checkpoint_every: 4, log_every: 1}}
"""


def write_recipe(folder: Path, root: Path, *, name: str = "run") -> Path:
    """A CtP recipe for the dataset at `root` that trains in folder/name."""
    path = folder / f"{name}.yaml"
    path.write_text(RECIPE.format(work_dir=folder / name, root=root))
    return path


def command(*args: object, torchrun: bool = False) -> list[str]:
    """A Python command line, of two ranks with `torchrun`."""
    return [sys.executable, *(TORCHRUN if torchrun else ()), *map(str, args)]


def run(*args: object, torchrun: bool = False) -> subprocess.CompletedProcess:
    """Runs a Python command to its end; output and errors apart, as text."""
    done = subprocess.run(command(*args, torchrun=torchrun), capture_output=True, text=True, timeout=120, check=False)
    print(done.stdout, done.stderr)  # pytest shows it when the test fails
    return done


def start_ranks(*args: object, count: int = 2) -> list[subprocess.Popen]:
    """Starts a Python command once per rank of one run: torchrun without its own seconds. Output and errors in one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run_of = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        subprocess.Popen(
            command(*args),
            env=os.environ
            | {key: str(value) for key, value in run_of.items()}
            | {"RANK": str(r), "LOCAL_RANK": str(r)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for r in range(count)
    ]
