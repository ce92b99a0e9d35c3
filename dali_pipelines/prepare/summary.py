"""The summary that `prepare` prints."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from configs.words import counted
from dali_pipelines.store.journal import Entry
from dali_pipelines.store.place import Place
from dali_pipelines.store.record import Record


def summary(
    out: Path, entries: Mapping[str, Entry], videos: Mapping[str, Place], *, tried: Collection[str]
) -> Iterator[str]:
    """Yield lines about what was prepared; `tried` are the names of the videos that this run tried to store."""
    stored = {name: (entry.record, entry.stamp) for name, entry in entries.items() if entry.record is not None}
    if stored:
        size = sum(record.size for record, _ in stored.values())
        yield from _of_records(out, [record for record, _ in stored.values()], size, new=len(stored.keys() & tried))
        # One archive may hold many videos.
        sources = sum({videos[name].location: stamp.size for name, (_, stamp) in stored.items()}.values())
        saved = f", {abs(1 - size / sources):.0%} {'saved' if size < sources else 'more now'}" if sources else ""
        yield f"sources: {sources / 1e6:.1f} MB{saved}"
    if passing := Counter(entry.passing for entry in entries.values() if entry.passing):
        causes = ", ".join(f"{count} {cause}" for cause, count in passing.most_common())
        count = counted(passing.total(), "video")
        yield f"{count} failed for a passing cause ({causes}): the same command tries again"


def _of_records(out: Path, rows: list[Record], size: int, *, new: int) -> Iterator[str]:
    frames = sum(row.num_frames for row in rows)
    minutes = sum(row.num_frames / row.fps for row in rows if row.fps) / 60
    duration = f"{minutes / 60:.1f} hours" if minutes >= 60 else f"{minutes:.1f} minutes"
    fragments = sum(len(row.fragments) for row in rows)
    shapes = Counter(f"{row.width}x{row.height}" for row in rows).most_common()
    more = f" and {counted(len(shapes) - 3, 'other size')}" * (len(shapes) > 3)
    videos = counted(len(rows), "video")
    yield f"{out}: {videos} ({new} stored now), {frames} frames, {duration}, {size / 1e6:.1f} MB"
    yield f"mean GOP {frames / fragments:.1f} frames, {fragments / len(rows):.1f} fragments a video"
    yield "sizes: " + ", ".join(f"{shape} ({count})" for shape, count in shapes[:3]) + more
    for note, count in Counter(note for row in rows for note in row.notes).items():
        yield f"note: {counted(count, 'video')} {note}"
    for reason, count in Counter(row.software_only for row in rows if row.software_only).items():
        videos = counted(count, "video")
        yield f"note: {videos} may have {reason}, which DALI gets wrong on a GPU: PyAV decodes this dataset"
