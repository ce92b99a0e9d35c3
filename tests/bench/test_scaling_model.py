"""The model of docs/scaling.md on round figures."""

import pytest

from bench.scaling_model import Cluster, Way, bound, limits

CLUSTER = Cluster(trains=1000, decodes=3200, disk=2.0, server=4.0, link=1.0, pcie=10.0)
WAY = Way("planes", cpu_ms=2.0, disk_kb=500, device_kb=1000, nvdec=False)


def test_each_limit_is_divided_by_the_gpus_that_share_it():
    served = limits(WAY, gpus=16, cores=32, cluster=CLUSTER, local=False)
    assert served == pytest.approx(
        {"network": 1000, "cores": 2000, "PCIe": 10_000, "link": 250, "server": 500}
    )  # 8 GPUs share a link, all 16 the server
    part, clips = bound(served)
    assert (part, round(clips)) == ("link", 250)
    assert limits(WAY, gpus=2, cores=32, cluster=CLUSTER, local=True)["disk"] == pytest.approx(2000)


def test_nvdec_bounds_only_what_it_decodes():
    assert "NVDEC" not in limits(WAY, gpus=1, cores=8, cluster=CLUSTER, local=True)
    encoded = Way("encoded", cpu_ms=0.5, disk_kb=100, device_kb=100, nvdec=True)
    assert bound(limits(encoded, gpus=1, cores=8, cluster=CLUSTER, local=True)) == ("NVDEC", 200)
