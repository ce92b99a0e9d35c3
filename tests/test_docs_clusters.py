"""The commands in docs/clusters.md and docs/examples/ exist, and the job script does what the page says."""

import importlib
import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from configs.command import COMMANDS
from tests.helpers.runs import ROOT

JOB = ROOT / "docs" / "examples" / "pretrain.sbatch"
POD = yaml.safe_load((ROOT / "docs" / "examples" / "pytorchjob.yaml").read_text())["spec"]
CONTAINER = (SPEC := POD["pytorchReplicaSpecs"]["Worker"]["template"]["spec"])["containers"][0]


def commands() -> list[str]:
    """Return every `clipfeed ...` command of the page, the examples and the Dockerfile."""
    files = [ROOT / "docs" / "clusters.md", *sorted((ROOT / "docs" / "examples").glob("*.sbatch")), ROOT / "Dockerfile"]
    text = "\n".join(re.sub(r"^# ?", "", path.read_text(), flags=re.MULTILINE) for path in files)
    found = re.findall(rf"clipfeed (?:{'|'.join(COMMANDS)})(?: [^`&'\n)]*)?(?=['\n)])", text.replace("\\\n", " "))
    return [*found, shlex.join([*CONTAINER["command"][2:], *CONTAINER["args"]])]


@pytest.mark.parametrize("command", commands())
def test_every_command_parses(command):
    _, name, *arguments = shlex.split(command, comments=True)
    module = importlib.import_module(COMMANDS[name][0])
    if arguments not in (["$@"], ["..."]):
        own = getattr(module, "parse_args", None) or getattr(module, "_parse", None)
        parse = own or module.make_parser().parse_args
        parse([word for word in arguments if word != "$@"])


def test_the_pod_has_nvdec_a_rank_per_gpu_and_shared_memory():
    capabilities = {each["name"]: each["value"] for each in CONTAINER["env"]}["NVIDIA_DRIVER_CAPABILITIES"]
    assert set(capabilities.split(",")) == {"compute", "utility", "video"}
    assert POD["nprocPerNode"] == CONTAINER["resources"]["limits"]["nvidia.com/gpu"]
    assert CONTAINER["name"] == "pytorch"
    mounts = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in SPEC["volumes"]}
    assert mounts.keys() == volumes.keys()
    assert mounts["shm"] == "/dev/shm"
    assert volumes["shm"]["emptyDir"]["medium"] == "Memory"


def test_the_image_enables_nvdec():
    text = (ROOT / "Dockerfile").read_text()
    (capabilities,) = re.findall(r"NVIDIA_DRIVER_CAPABILITIES=(\S+)", text)
    assert set(capabilities.split(",")) == {"compute", "utility", "video"}


def test_the_image_gets_every_file_of_the_wheel():
    """.dockerignore excludes everything else."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    included = re.search(r"include =\n((?:    .*\n)+)", (ROOT / "setup.cfg").read_text())
    assert included
    packages = {line.strip().rstrip("*") for line in included[1].splitlines()}
    files = {"setup.cfg", "setup.py", "pyproject.toml", "constraints.txt", "README.md", "LICENSE", "clipfeed.py"}
    assert allowed == packages | files


STUBS = {
    "scontrol": '[ "$1 $2" = "show hostnames" ] && printf "node1\\nnode2\\n" || echo "scontrol $*" >> log',
    "srun": 'while [ "$1" != bash ]; do shift; done; exec "$@"',
    "torchrun": 'echo "torchrun $*" >> log; [ -z "$STATUS" ] || exit "$STATUS"\n'
    "kill -USR1 $$; echo started >> log; until [ -e saved ]; do sleep 0.02; done",
    "scancel": 'echo "scancel $*" >> log; sleep 0.1; touch saved',
}
"""Slurm's commands, and a torchrun that ends once the step gets the signal and dies unless SIGUSR1 is ignored."""


def submit(folder: Path, **env: str) -> "subprocess.Popen[bytes]":
    """Start the job script with `STUBS` in place of Slurm's commands."""
    (folder / "bin").mkdir()
    for name, body in STUBS.items():
        (folder / "bin" / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / "bin" / name).chmod(0o755)
    job = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "123456",
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_NNODES": "2",
        "SLURM_GPUS_ON_NODE": "8",
        "SLURM_CPUS_PER_TASK": "64",
    }
    return subprocess.Popen(["bash", JOB, "--config", "a b.yaml"], cwd=folder, env={**os.environ, **job, **env})


def test_a_job_out_of_time_is_saved_and_requeued(tmp_path):
    job, log = submit(tmp_path), tmp_path / "log"
    while not (log.exists() and "started" in log.read_text()):
        assert job.poll() is None
        time.sleep(0.02)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(30) == 0
    first, *others = log.read_text().splitlines()
    assert others == ["started", "scancel --signal=USR1 123456", "scontrol requeue 123456"]
    words = first.split(" ")
    for word in ("--nnodes=2", "--nproc-per-node=8", "--rdzv-id=123456", "--rdzv-endpoint=node1:23456"):
        assert word in words
    assert first.endswith("-m clipfeed pretrain --config a b.yaml")


@pytest.mark.parametrize("status", [0, 1])
def test_a_finished_job_is_not_requeued_and_passes_on_the_status(tmp_path, status):
    assert submit(tmp_path, STATUS=str(status)).wait(30) == status
    assert "requeue" not in (tmp_path / "log").read_text()
