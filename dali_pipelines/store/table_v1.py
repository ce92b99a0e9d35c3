"""Upgrade indexes of version 1, which took eight bytes or more for each number of each fragment."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dali_pipelines.store.ragged import Ragged
from dali_pipelines.store.units import pack_units


def upgraded(arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the columns of a `Table`; ValueError, KeyError or IndexError if the arrays are inconsistent.

    It takes some 0.1 ms a video; `prepare` writes a new index from its journal without decoding.
    """

    def rows_of(name: str) -> Ragged:
        values, starts = arrays[name], arrays[f"{name}.starts"]
        if starts.min() < 0 or starts.max() > len(values) or (np.diff(starts) < 0).any():
            raise ValueError(f"the rows of {name} are out of order")
        return Ragged(values, starts)

    ends, frame_ends = rows_of("fragment_ends"), rows_of("fragment_frame_ends")
    starts = rows_of("fragment_starts") if "fragment_starts" in arrays else None
    deflated = rows_of("fragment_deflated") if "fragment_deflated" in arrays else None
    tables = []
    for row, init_size in enumerate(arrays["init_sizes"].tolist()):
        begins = starts[row] if starts else np.append(init_size, ends[row][:-1])
        packed = deflated[row] if deflated else np.zeros(len(begins), np.bool_)
        shown = frame_ends[row].astype(np.int64)
        sizes, frames = ends[row] - begins, shown - np.append(0, shown[:-1])
        if not len(begins) == len(frames) == len(packed):
            raise ValueError(f"the fragments of row {row} do not fit each other")
        tables.append(pack_units(begins.astype(np.int64), sizes.astype(np.int64), frames, packed != 0))

    named = [rows_of("formats").text(form) for form in arrays["format_ids"].tolist()]
    whole = ["mp4" if size else "file" for size in arrays["init_sizes"].tolist()]
    formats = Ragged.of_distinct(
        text if len(text.split()) > 2 else f"{text} {container}" for text, container in zip(named, whole, strict=True)
    )
    return {
        **{name: arrays[name] for name in ("labels", "num_frames", "sizes_WH", "fps", "init_sizes")},
        "names": rows_of("names"),
        "sources": Ragged.of_distinct(rows_of("sources").texts()),
        "software_only": Ragged.of_distinct(rows_of("software_only").texts()) if "software_only" in arrays else None,
        "fragments": Ragged.of_bytes(tables),
        "class_names": rows_of("class_names").texts(),
        "formats": Ragged(formats.values, formats.starts).texts(),
        "format_ids": formats.rows,
    }
