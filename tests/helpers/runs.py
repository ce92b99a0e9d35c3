"""Small runs of the real commands, as processes and under torchrun."""

import os
import socket
import subprocess
import sys
import time
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


def two_ranks(script: object, folder: Path, *args: object) -> tuple[list[int], str]:
    """Runs a script as the two ranks of one run; their exit statuses, and what rank 0 said.

    What torchrun does, with both statuses to be seen: where one rank fails, the other may end by itself for a while
    and is killed then. `folder` receives the outputs.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    outputs = [folder / f"rank{rank}.out" for rank in range(2)]
    processes = []
    for rank, output in enumerate(outputs):
        environment = os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        with output.open("w") as file:
            processes.append(subprocess.Popen(command(script, *args), env=environment, stdout=file, stderr=file))
    end = time.monotonic() + 120
    while time.monotonic() < end and any(process.poll() is None for process in processes):
        if any(process.poll() for process in processes):
            end = min(end, time.monotonic() + 20)
        time.sleep(0.1)
    for process in processes:
        process.kill()
    print(*(path.read_text() for path in outputs))  # pytest shows it when the test fails
    return [process.wait() for process in processes], outputs[0].read_text()
