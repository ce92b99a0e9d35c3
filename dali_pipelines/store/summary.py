"""What `prepare` says at its end."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from dali_pipelines.store.index import Record


def summary(out: Path, records: Mapping[str, Record], *, new: int) -> Iterator[str]:
    """Yield lines on a dataset of at least one video.

    Args:
        new: how many of its videos this run has stored.
    """
    rows = list(records.values())
    frames = sum(row.num_frames for row in rows)
    fragments = sum(len(row.fragments) for row in rows)
    size = sum(row.fragments[-1].offset + row.fragments[-1].size for row in rows)
    shapes = Counter(f"{row.width}x{row.height}" for row in rows).most_common()
    more = f" and {len(shapes) - 3} other sizes" * (len(shapes) > 3)
    yield f"{out}: {len(rows)} videos ({new} stored now), {frames} frames, {size / 1e6:.1f} MB"
    yield f"mean GOP {frames / fragments:.1f} frames, {fragments / len(rows):.1f} fragments a video"
    yield "sizes: " + ", ".join(f"{shape} ({count})" for shape, count in shapes[:3]) + more
    for note, count in Counter(note for row in rows for note in row.notes).items():
        yield f"note: {count} videos {note}"
    for reason, count in Counter(row.software_only for row in rows if row.software_only).items():
        yield f"note: {count} videos may have {reason}, which DALI gets wrong on a GPU: PyAV decodes this dataset"
