"""Store the same videos in several ways, count costs without decoding, and time their clips."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.data import for_batches, source_video
from bench.loader.ours import loader_rate
from bench.report import in_words, lead, markdown, median_range
from configs.errors import UserError
from configs.words import counted
from dali_pipelines import prepare
from dali_pipelines.datasets.dataset import Dataset
from dali_pipelines.datasets.discover import find_videos
from dali_pipelines.inspection.costs import clip_costs
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task

VIDEOS = 8
DRAWS = 4  # plans per video whose frames are counted


def synthetic_videos(folder: Path) -> Path:
    """Make a folder of videos like downloads: 336x256, 6 s, x264's own GOP (250)."""
    for number in range(VIDEOS):
        source_video(folder / f"video{number:03d}.mp4", number, preset="veryfast")
    return folder


def store_all_ways(sources: list[Path], ways: Iterable[str], folder: Path) -> tuple[dict[str, Index], list[str]]:
    """Prepare the sources in each way, the options of `prepare`, in a subfolder named for it.

    Returns the indices, all with the same videos in the same order, and notes on ways that can store none of the
    videos and on the number of videos that not every way can store. UserError if no video is left.
    """
    find_videos(sources, outside=folder)  # UserError for sources without videos, whatever the way
    indices: dict[str, Index] = {}
    notes = []
    for way in dict.fromkeys(ways):
        out = folder / way.replace("--", "").replace(" ", "_")
        try:
            prepare.main([*map(str, sources), "--out", str(out), "--labels", "none", *way.split()])
            indices[way] = Index.load(out)
        except UserError as error:
            notes.append(f"left out: {way}: {error}")
    names = [set(index.names.texts()) for index in indices.values()]
    common = sorted(set.intersection(*names)) if names else []
    if not common:
        raise UserError(
            "no video can be stored in every way that is left: " + "; ".join(notes or ["give other videos"])
        )
    if lost := len(set.union(*names)) - len(common):
        videos = counted(lost, "video")
        notes.append(f"left out: {videos} that not every way can store, see quarantine.csv below {folder}")
    rows = {way: {name: row for row, name in enumerate(index.names.texts())} for way, index in indices.items()}
    return {way: index.select([rows[way][name] for name in common]) for way, index in indices.items()}, notes


def costs(index: Index, tasks: list[Task]) -> dict[str, Any]:
    """Count bytes on disk, and the costs of a clip of each task for which some video is long enough.

    `amplification` is frames decoded / frames delivered, counted from the index and the plans.
    """
    of_tasks = {}
    for task in tasks:
        try:
            videos = Dataset(index).long_enough(task).index
        except UserError:
            continue
        of_clips = clip_costs(videos, task, rows=range(len(videos)), draws=DRAWS)
        of_tasks[task.name] = {
            "amplification": round(of_clips.amplification, 2),
            "kb_per_clip": round(of_clips.bytes / 1000, 1),
        }
    size = "x".join(map(str, index.sizes_WH[0].tolist()))
    total = sum(index.record(row).size for row in range(len(index)))
    return {"first_size": size, "kb_per_video": round(total / len(index) / 1000, 1), "tasks": of_tasks}


def rounds(
    stored: Mapping[str, Index],
    task: Task,
    settings: Mapping[str, Any],
    figures: Mapping[str, dict[str, Any]],
    *,
    rounds: int,
    batches: int,
) -> Iterator[dict[str, list[float]]]:
    """Time the clips of a task from every store in turn; after each round, yield the clips/s of all rounds so far.

    Args:
        settings: of the loader.
        figures: get the `decoder` of each store and its `clips_per_s`.
    """
    rates: dict[str, list[float]] = {way: [] for way in stored}
    for _ in range(rounds):
        for way, index in stored.items():
            enough = for_batches(index, task, settings["batch_size"])
            rate, decoder = loader_rate(enough, task, settings, batches)
            rates[way].append(rate)
            figures[way].update(decoder=decoder, clips_per_s=median_range(rates[way]))
        yield rates


def table(figures: Mapping[str, Mapping[str, Any]], rates: Mapping[str, list[float]], task: str, *, base: str) -> str:
    """Format the figures as a Markdown table, with a column of rates relative to `base`, the originals, if stored."""
    head = ("stored as", "size", "kB / video", "kB / clip", "amplification", "decoder", "clips/s", "/ original")
    rows = []
    for way, of_way in figures.items():
        clip = of_way["tasks"][task]
        rows.append(
            (
                way.replace("--", ""),
                of_way["first_size"],
                f"{of_way['kb_per_video']:.0f}",
                f"{clip['kb_per_clip']:.0f}",
                f"{clip['amplification']:.2f}",
                of_way["decoder"],
                in_words(of_way["clips_per_s"], 0),
                f"{lead(rates, way, base):.2f}" if base in rates else "",
            )
        )
    return "\n".join([f"clips of {task}", *markdown(head, rows)])
