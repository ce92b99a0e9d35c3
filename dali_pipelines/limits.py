"""Cores and memory available to a process; containers and batch systems limit them with control groups."""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from configs.environment import from_environment

MEMBERSHIP, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def cores() -> int:
    """Return the number of usable cores: those of the process's affinity, or its quota rounded down if less."""
    quotas = [line.split() for line in _read("cpu", "cpu.max")]  # version 2: "150000 100000" or "max 100000"
    version_1 = zip(_read("cpu", "cpu.cfs_quota_us"), _read("cpu", "cpu.cfs_period_us"), strict=True)  # "-1": no limit
    quotas += map(list, version_1)
    shares = [int(quota) / int(period) for quota, period in quotas if quota.isdecimal()]
    return max(1, math.floor(min([len(os.sched_getaffinity(0)), *shares])))


def memory() -> int:
    """Return the bytes of memory that the processes of this one's control group may use in total."""
    files = (*_read("memory", "memory.max"), *_read("memory", "memory.limit_in_bytes"))
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([total, *(int(limit) for limit in files if limit.isdecimal())])


def local_ranks() -> int:
    """Return how many ranks of a run share this machine, according to torchrun; UserError if that is no number."""
    return from_environment("LOCAL_WORLD_SIZE", 1, least=1)


def _read(controller: str, name: str) -> Iterator[str]:
    """Yield a file's content from this process's control group and each parent, in version 1 or 2."""
    memberships: list[str] = []
    with suppress(OSError):
        memberships = MEMBERSHIP.read_text().splitlines()
    for membership in memberships:
        _, controllers, group = membership.split(":", 2)
        if not controllers or controller in controllers.split(","):
            root = GROUPS / controllers
            own = root / group.strip("/")
            for folder in (own, *own.parents):
                with suppress(OSError):
                    yield (folder / name).read_text().strip()
                if folder == root:
                    break
