"""Cores and memory that control groups leave to a process."""

import os

import pytest

from dali_pipelines import limits

GIB = 2**30


@pytest.fixture
def group(tmp_path, monkeypatch):
    """Return `group(membership, files)`, which puts this process of 8 cores into control groups with these files."""

    def join(membership, files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text + "\n")
        (tmp_path / "membership").write_text(membership)
        monkeypatch.setattr(limits, "MEMBERSHIP", tmp_path / "membership")
        monkeypatch.setattr(limits, "GROUPS", tmp_path)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))

    return join


def test_limits_of_the_container_apply(group):
    group("0::/\n", {"cpu.max": "350000 100000", "memory.max": str(GIB)})
    assert limits.cores() == 3
    assert limits.memory() == GIB


def test_the_smallest_limit_of_nested_cgroups_applies(group):
    group(
        "0::/slurm/job_7/step_0\n",
        {
            "slurm/cpu.max": "600000 100000",
            "slurm/job_7/cpu.max": "200000 100000",
            "slurm/job_7/step_0/cpu.max": "max 100000",
            "slurm/memory.max": str(4 * GIB),
            "slurm/job_7/memory.max": "max",
        },
    )
    assert limits.cores() == 2
    assert limits.memory() == min(4 * GIB, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def test_cgroup_version_1_limits_apply(group):
    group(
        "4:memory:/job\n3:cpu,cpuacct:/job\n0::/\n",
        {
            "cpu,cpuacct/job/cpu.cfs_quota_us": "75000",
            "cpu,cpuacct/job/cpu.cfs_period_us": "50000",
            "cpu,cpuacct/cpu.cfs_quota_us": "-1",
            "cpu,cpuacct/cpu.cfs_period_us": "100000",
            "memory/job/memory.limit_in_bytes": str(GIB),
            "memory/memory.limit_in_bytes": "9223372036854771712",
        },
    )
    assert limits.cores() == 1
    assert limits.memory() == GIB


def test_without_cgroups_the_machine_is_the_limit(group, tmp_path):
    group("0::/\n", {})
    assert limits.cores() == 8
    (tmp_path / "membership").unlink()
    assert limits.cores() == 8
    assert limits.memory() > GIB
