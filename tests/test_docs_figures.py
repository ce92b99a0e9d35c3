"""Figures in the docs match the committed results."""

from pathlib import Path
from typing import Any

import pytest

import bench.data
from bench import gpu_feed, published, scaling_model
from bench.learning import real_table
from bench.report import committed
from tests.helpers.runs import ROOT


def ratio(ours: dict[str, Any], other: str) -> float:
    """Return our loader's median rate as a multiple of another's."""
    return float(ours["ratios"][other]["median"])


def spread(tasks: dict[str, Any], key: str, form: str) -> str:
    """Return the range of a figure over all tasks, as in `0.9 to 1.2`."""
    values = [task[key] for task in tasks.values()]
    return f"{min(values):{form}} to {max(values):{form}}"


def rows(page: str, first_cell: str) -> dict[str, list[str]]:
    """Return the table whose header begins with `first_cell`, as first cell -> other cells of each row."""
    lines = Path(ROOT, "docs", f"{page}.md").read_text().partition(f"\n| {first_cell} |")[2].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    end = next(number for number, row in enumerate(cells) if len(row) < 2)
    return {row[0].strip("`"): row[1:] for row in cells[:end]}


def test_storage_rates_match_the_results():
    names = {
        "prepared as raw video": "prepared as raw video",
        "prepared, the default": "prepared",
        "folders of JPEGs": "folders of JPEGs",
        "zips of JPEGs, stored": "stored zips of JPEGs",
        "zips of JPEGs, deflated": "deflated zips of JPEGs",
        "a tar of JPEGs": "tar of JPEGs",
        "an LMDB of msgpack lists": "LMDB of msgpack lists",
        "H.264 files": "video files",
        "H.264 files in a tar": "tar of videos",
    }
    found = committed("storages")["storages"]
    shown = rows("storage", "storage")
    assert {*names.values()} == {*found}
    assert shown == {
        name: [f"{found[key]['clips_per_s']['median']:.0f}", f"{found[key]['of_prepared']:g}"]
        for name, key in names.items()
    }
    text = Path(ROOT, "docs", "datasets.md").read_text()
    share = {key: f"{of['of_prepared']:g}" for key, of in found.items()}
    words, both = " ".join(text.split()), {share["tar of JPEGs"], share["LMDB of msgpack lists"]}
    assert f"folders of JPEGs give {share['folders of JPEGs']} times the clips/s of the prepared store" in words
    assert f"zips {share['stored zips of JPEGs']} (deflated {share['deflated zips of JPEGs']})" in words
    assert f"a tar or an LMDB {', '.join(both)}, and H.264 files {share['video files']}." in words


def test_injected_faults_match_the_results():
    faults = committed("faults")["faults"]
    beginnings = {
        "SIGKILL at any moment": "SIGKILL at any moment: ",
        "SIGKILL to one of two ranks": "SIGKILL to one of two ranks",
        "SIGKILL to a worker of the loader": "SIGKILL to a random worker",
        "a full or read-only disk": ("full disk: ", "disk filled"),
        "ranks and workers changed": "ranks ",
        "damaged videos": "damaged videos: ",
        "a run of two ranks": "a run of two ranks with damaged videos",
    }
    shown = {fault.split(",")[0]: int(times.replace(",", "")) for fault, (times,) in rows("training", "fault").items()}
    assert len(shown) == len(beginnings)
    for fault, beginning in beginnings.items():
        found = [row for name, row in faults.items() if name.startswith(beginning)]
        assert all(row["survived"] == row["injected"] and not row["lost_or_repeated"] for row in found)
        assert all(row["bits_equal"] for row in found)
        (times,) = (times for name, times in shown.items() if name.startswith(fault))
        assert sum(row["injected"] for row in found) == times


def test_gop_costs_match_the_results():
    keys = {
        "H.264, GOP 1": "--codec h264 --gop 1 --short-side 144",
        "H.264, GOP 8": "--codec h264 --gop 8 --short-side 144",
        "original files, one GOP for the whole video": "--codec original",
    }
    stored, shown = committed("storage")["stored"], rows("storage", "stored as | kB a video")
    tasks = ("ctp", "recognition", "vcop")
    assert shown == {
        name: [f"{stored[key]['kb_per_video']:,.0f}", *(str(stored[key]["tasks"][t]["amplification"]) for t in tasks)]
        for name, key in keys.items()
    }


def test_costs_of_feeding_a_gpu_match_the_results():
    keys = {
        "H.264, GOP 1 (default)": "--codec h264 --gop 1 --short-side 144",
        "H.264, GOP 8": "--codec h264 --gop 8 --short-side 144",
        "HEVC, GOP 8": "--codec hevc --gop 8 --short-side 160",
        "MJPEG": "--codec mjpeg --gop 1 --short-side 144",
        "raw video": "--codec rawvideo --gop 1 --short-side 144",
        "original files": "--codec original",
    }
    storage, expected = committed("storage"), {}
    seconds = bench.data.NUM_FRAMES / bench.data.FPS
    for name, key in keys.items():
        feed, ways = storage["feeding_a_gpu"][key]["feed"], storage["feeding_a_gpu"][key]["ways"]
        expected[name] = [
            f"{storage['stored'][key]['kb_per_video'] / seconds:.0f}",
            feed,
            f"{ways[feed]['ms_per_clip']:.1f}",
            f"{ways[feed]['cores_per_gpu']}",
            f"{ways[feed]['kb_per_clip'] * gpu_feed.TRAINS_AT / 1e6:.2f}",
            *(f"{ways[way]['ms_per_clip']:.1f}" for way in ("planes", "frames")),
        ]
    assert rows("gpu", "stored as | disk, kB / s of video") == expected
    ways = {key: of["ways"] for key, of in storage["feeding_a_gpu"].items()}
    raw = ways.pop(keys["raw video"])
    shares = [of["planes"]["ms_per_clip"] / of["frames"]["ms_per_clip"] for of in (raw, *ways.values())]
    words = " ".join(Path(ROOT, "docs", "gpu.md").read_text().split())
    assert f"{shares[0]:.1f} times as long as RGB frames for raw video" in words
    assert f"and {min(shares[1:]):.1f} to {max(shares[1:]):.1f} times for the codecs" in words
    assert f"{raw['planes']['kb_per_clip'] / raw['frames']['kb_per_clip']:.1f} times the bytes for frames of" in words
    cores = ways[keys["H.264, GOP 1 (default)"]]["encoded"]["cores_per_gpu"]
    text = " ".join(Path(ROOT, "docs", "performance.md").read_text().split())
    assert f"workers only read and plan: {cores} cores serve 1,400 clips/s" in text


def test_sizes_of_codecs_are_the_same_on_all_pages():
    sizes = {name.split("`")[0]: float(cells[1]) for name, cells in rows("storage", "`--codec`").items() if cells[1]}
    stored = committed("storage")["stored"]
    gops = [stored[f"--codec h264 --gop {gop} --short-side 144"]["kb_per_video"] for gop in (1, 8)]
    times = {11: "eleven"}[round(sizes["rawvideo"] / sizes["h264"])]
    for page, figure in (
        ("datasets", f"Raw video takes {times} times the disk space"),
        ("performance", f"`--codec rawvideo` if there is {times} times the disk space"),
        ("performance", f"`--gop 8` takes {gops[1] / gops[0]:.1f} times the bytes"),
        ("gpu", f"Real videos take {times} times the disk space of H.264"),
    ):
        assert figure in " ".join(Path(ROOT, "docs", f"{page}.md").read_text().split())


def test_leads_over_other_loaders_match_the_results():
    tasks, shown = committed("loader_peers")["tasks"], rows("performance", "task")
    assert shown.keys() == tasks.keys()
    for name, cells in shown.items():
        default, raw = (tasks[name]["contenders"][store]["this_loader"] for store in ("h264", "rawvideo"))
        expected = [f"{of['clips_per_s']:.0f}" for of in (default, raw)]
        expected += [f"{ratio(default, 'torchcodec_prepared'):.2f}", f"{ratio(default, 'torchcodec'):.1f}"]
        expected += [f"{ratio(default, peer):.2f}" for peer in ("jpeg_zip", "jpeg_zip_prepared", "decode_and_cut")]
        assert cells == [*expected, f"{ratio(raw, 'jpeg_zip_prepared'):.2f}"]


def test_the_readme_has_the_range_of_the_leads():
    words = " ".join(Path(ROOT, "README.md").read_text().split())
    ours = [of["contenders"]["h264"]["this_loader"] for of in committed("loader_peers")["tasks"].values()]
    for peer, over in (("torchcodec_prepared", "torchcodec"), ("jpeg_zip_prepared", "a loader of equally large")):
        leads = [ratio(of, peer) for of in ours]
        assert f"{min(leads):.2f} to {max(leads):.2f} times as many as {over}" in words


def test_estimates_of_disk_and_time_follow_from_measured_costs():
    speed = committed("prepare_throughput")["stored"]["ours"]["clips_per_s_core"]["median"]
    (kb_per_frame,) = (cells[1] for name, cells in rows("storage", "`--codec`").items() if name.startswith("h264"))
    for dataset, frames_per_s in (("UCF101", 25), ("Kinetics-400", 30)):
        hours, disk_gb, core_hours = map(float, rows("datasets", "dataset | hours of video")[dataset])
        assert disk_gb == pytest.approx(hours * 3600 * frames_per_s * float(kb_per_frame) / 1e6, rel=0.05)
        assert core_hours == pytest.approx(hours * 360 / speed / 3600, rel=0.05)


def test_figures_in_sentences_of_performance_match_the_results():
    text = " ".join(Path(ROOT, "docs", "performance.md").read_text().split())
    tasks = committed("loader_peers")["tasks"]
    ctp = tasks["ctp"]["contenders"]["h264"]
    ours, ceilings = ctp["this_loader"], ("decode_only", "decode_and_cut", "augment_only")
    first = [of["contenders"]["h264"]["this_loader"]["first_batch_s"] for of in tasks.values()]
    tried, shares = ours["tried_workers"], [ratio(ours, name) for name in ceilings]
    epochs = committed("loader_epochs")["tasks"]
    storages, prepared = committed("storages")["storages"], committed("prepare_throughput")
    kills = committed("faults")["faults"]["SIGKILL to a random worker of a loader"]
    of_files = 1 / storages["video files"]["of_prepared"]
    of_floor = prepared["stored"]["ours"]["clips_per_s_core"]["median"] / prepared["floor_clips_per_s_core"]
    in_words = {5: "five"}
    for words in (
        f"decode only makes {ctp['decode_only']['clips_per_s']:.0f} clips/s, decode and cut "
        f"{ctp['decode_and_cut']['clips_per_s']:.0f}, augment only {ctp['augment_only']['clips_per_s']:,.0f} "
        f"and the loader {ours['clips_per_s']:.0f}",
        f"shares of {shares[0]:.2f}, {shares[1]:.2f} and {shares[2]:.2f}",
        f"{tried['0']:.0f} clips/s without workers, {tried['1']:.0f} with one, {tried['2']:.0f} with two",
        f"takes {min(first):.1f} to {max(first):.1f} s",
        f"took {spread(epochs, 'p99_to_median', '.1f')} times the median",
        f"begin an epoch {spread(epochs, 'epoch_start_to_median', '.2f')} times",
        f"On two cores it is {spread(committed('loader_processes')['tasks'], 'efficiency', '.2f')}, by task",
        f"{of_files:.1f} times the clips/s of H.264 files",
        f"raw video {of_files * storages['prepared as raw video']['of_prepared']:.0f} times",
        f"{prepared['stored']['ours']['clips_per_s_core']['median']:.2f} ten-second clips",
        f"published, {prepared['floor_clips_per_s_core']:.2f}",
        f"{in_words[round(of_floor)]} times the only lower bound",
        f"{kills['injected']:,} kills in {kills['details']['batches']:,} batches",
    ):
        assert words in text
    assert kills["bits_equal"]
    small_shm = committed("faults")["faults"]["64 MB of /dev/shm for two ranks with two workers each"]
    assert (small_shm["survived"], small_shm["lost_or_repeated"], small_shm["bits_equal"]) == (1, 0, True)


def test_the_scaling_page_matches_the_model():
    page = Path(ROOT, "docs", "scaling.md").read_text()
    storage = committed("storage")
    for local in (True, False):
        assert scaling_model.table(storage, scaling_model.Cluster(), local=local) in page
    cluster, words = scaling_model.Cluster(), " ".join(page.split())
    by_nvdec, by_cores, raw = scaling_model.ways(storage)
    for figure in (
        f"| {by_nvdec.cpu_ms} | measured here",
        f"planes | {by_cores.cpu_ms} | measured here",
        f"planes | {raw.cpu_ms} | measured here",
        f"| {by_cores.disk_kb:g}, {raw.disk_kb:g} | measured here",
        f"| {by_nvdec.device_kb}, {raw.device_kb} | measured here",
        f"| {cluster.decodes:,} | published",
        f"| {cluster.trains:,} | assumed",
        f"| {cluster.disk:g}, {cluster.link:g}, {cluster.server:g}, {cluster.pcie:g} | assumed",
        f"cores 32 x 1000 / {raw.cpu_ms} / 8 = {32000 / raw.cpu_ms / 8:,.0f}",
        f"PCIe 25,000,000 / {raw.device_kb} = {25e6 / raw.device_kb:,.0f}",
        f"3,000,000 / {raw.disk_kb:g} / 8 = {3e6 / raw.disk_kb / 8:,.0f}",
        f"bound it at {cluster.decodes / scaling_model.FRAMES:.0f} clips/s",
        f"serves {3e6 / raw.disk_kb:,.0f} clips/s in all",
        f"it has {10e6 / raw.disk_kb / 64:.0f} clips/s for each",
    ):
        assert figure in words
    loaders = [of["contenders"]["h264"]["this_loader"] for of in committed("loader_peers")["tasks"].values()]
    measured = [of["clips_per_s"] * of["cpu_s_per_1000_clips"] / 2000 for of in loaders]
    assert f"measured is {min(measured):.2f} to {max(measured):.2f} times" in words


def test_costs_of_published_figures_match_the_results():
    page, found = Path(ROOT, "docs", "published.md").read_text(), committed("published")
    assert published.rows_table(found) in page
    assert published.costs_table(found) in page
    assumed, speeds = found["assumed"], found["r3d18_clips_per_s"]
    of_cpc, words = found["costs"]["cpc_transformer/resnet18_5pred3_ucf101"], " ".join(page.split())
    side = committed("loader_peers")["data"]["h264"]["stored_size"][1]
    for figure in (
        *(f"{dataset.videos:,} of" for dataset in published.DATASETS.values()),
        f"x {assumed['peak_tflops']:g} TFLOP/s), the peak of an {assumed['gpu']}",
        f"{100 * assumed['convolution_utilization']:.0f} % for convolutions",
        f"{100 * assumed['transformer_utilization']:.0f} % for vision transformers",
        f"({assumed['large_side']} / {side})² = {(assumed['large_side'] / side) ** 2:.2f}",
        f"({found['costs']['recognition/ctp_r3d18_ucf101']['gflops_per_clip']} GFLOP)",
        f"| this page | {speeds['assumed']:,} | {100 * assumed['convolution_utilization']:.0f} % |",
        f"upper end of estimates | {speeds['upper_end']:,} | {100 * speeds['upper_end_utilization']:.0f} % |",
        f"in a cache | {speeds['published']} | {100 * speeds['published_utilization']:.0f} % |",
        f"are {speeds['assumed'] / speeds['published']:.1f} times as many",
        f"that is {of_cpc['clips'] * of_cpc['gflops_per_clip'] / 28 / 3600 / 1000:.1f} TFLOP/s",
        f"at {of_cpc['clips'] / 28 / 3600:.0f} clips/s",
    ):
        assert figure in words


def test_real_motion_figures_match_the_results():
    budgets, page = (320_000, 1_280_000, 5_120_000), Path(ROOT, "docs", "real_motion.md").read_text()
    found = {frames: committed(f"real_motion_{frames}") for frames in budgets}
    for frames, content in found.items():
        assert real_table.table(content["figures"]).rstrip() in page
        assert f"{frames:,} frames" in page
    del found[5_120_000]  # of one task
    assert real_table.curve(found, protocol="linear", seed=0, splits=["mocap", "ut_sequences"]) in page
