"""Estimate how many clips/s reach each GPU, and what bounds them: `python -m bench.scaling_model`.

Each part has a rate that it could serve alone, and the slowest part is the bound. Nothing else is modeled: no queue, no
jitter, no cores for training. docs/scaling.md says where the figures come from.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.report import committed, markdown

FRAMES = 16  # of a clip
GPUS_PER_NODE = 8
GPUS, CORES = (1, 8, 64), (8, 32, 128)


@dataclass(frozen=True)
class Cluster:
    """Rates of the parts, in GB/s (10^9 bytes), clips/s or frames/s; all defaults but the decoders' are assumed.

    trains: clips/s of a GPU's network, R3D-18 at 16x112x112 in bf16. decodes: frames/s of a GPU's decoders.
    disk: a node's own NVMe disk. server: one file server or bucket for all nodes. link: a node's network.
    pcie: a GPU's PCIe bus.
    """

    trains: float = 1400
    decodes: float = 5500
    disk: float = 3.0
    server: float = 10.0
    link: float = 3.1
    pcie: float = 25.0


@dataclass(frozen=True)
class Way:
    """Costs of a clip by one way: CPU ms of one core, kB (10^3 bytes) from disk and to the device, NVDEC or not."""

    name: str
    cpu_ms: float
    disk_kb: float
    device_kb: float
    nvdec: bool


def ways(storage: Mapping[str, Any]) -> Iterator[Way]:
    """Yield the ways to feed a GPU that were measured for the task of `storage.json`."""
    task = storage["settings"]["task"]
    for name, codec, way in (
        ("H.264, NVDEC decodes", "h264", "encoded"),
        ("H.264, cores decode", "h264", "planes"),
        ("raw video", "rawvideo", "planes"),
    ):
        key = f"--codec {codec} --gop 1 --short-side 144"
        costs = storage["feeding_a_gpu"][key]["ways"][way]
        disk_kb = storage["stored"][key]["tasks"][task]["kb_per_clip"]
        yield Way(name, costs["ms_per_clip"], disk_kb, costs["kb_per_clip"], way == "encoded")


def limits(way: Way, *, gpus: int, cores: int, cluster: Cluster, local: bool) -> dict[str, float]:
    """Return the clips/s per GPU that each part could serve.

    Args:
        gpus: of the whole run, up to GPUS_PER_NODE per node. cores: per node.
        local: the data are on each node's disk; else on one server.
    """
    on_node = min(gpus, GPUS_PER_NODE)
    found = {"network": cluster.trains, "cores": cores * 1000 / way.cpu_ms / on_node}
    if way.nvdec:
        found["NVDEC"] = cluster.decodes / FRAMES
    found["PCIe"] = cluster.pcie * 1e6 / way.device_kb
    if local:
        return found | {"disk": cluster.disk * 1e6 / way.disk_kb / on_node}
    return found | {
        "link": cluster.link * 1e6 / way.disk_kb / on_node,
        "server": cluster.server * 1e6 / way.disk_kb / gpus,
    }


def bound(served: Mapping[str, float]) -> tuple[str, float]:
    """Return the slowest part and its rate."""
    part = min(served, key=served.__getitem__)
    return part, served[part]


def table(storage: Mapping[str, Any], cluster: Cluster, *, local: bool) -> str:
    """Return Markdown: clips/s per GPU and the bound, for each way, number of GPUs and number of cores per node."""
    rows = []
    for way in ways(storage):
        for gpus in GPUS:
            cells = (bound(limits(way, gpus=gpus, cores=cores, cluster=cluster, local=local)) for cores in CORES)
            rows.append([way.name, gpus, *(f"{rate:,.0f}, {part}" for part, rate in cells)])
    return "\n".join(markdown(["stored and decoded", "GPUs", *(f"{cores} cores a node" for cores in CORES)], rows))


if __name__ == "__main__":
    for on_disk, where in ((True, "each node's own disk"), (False, "one file server for all")):
        print(f"from {where}\n\n{table(committed('storage'), Cluster(), local=on_disk)}\n")
