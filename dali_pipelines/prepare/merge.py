"""Merge the parts of a dataset into its index and its quarantine."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from configs.errors import UserError
from configs.words import counted
from dali_pipelines.datasets.fates import QUARANTINE_FILE, read_quarantine, write_reasons
from dali_pipelines.prepare.parts import all_parts, missing, ranges
from dali_pipelines.store.index import Index
from dali_pipelines.store.record import Record


def merge(root: Path) -> tuple[Index, int]:
    """Merge the parts' indexes and quarantines into the dataset's; return the index and how many are quarantined.

    UserError if a part is not finished, or the parts have not seen the same videos and classes.
    """
    parts = all_parts(root)
    if unfinished := missing(root):
        raise UserError(f"{root}: parts are not finished, run them again (sbatch --array={unfinished}), then --merge")
    done = [part.done(root) for part in parts]
    usual, seen_by = Counter(one["seen"] for one in done).most_common(1)[0]
    if seen_by < len(parts):
        others = ranges(part.first + part.number for part, one in zip(parts, done, strict=True) if one["seen"] != usual)
        counts = " and ".join(map(str, sorted({one["of"] for one in done})))
        raise UserError(
            f"{root}: the parts have not seen the same videos and classes ({counts} videos): run the parts that differ "
            f"from most again (sbatch --array={others}), or all parts, then --merge"
        )
    reasons: dict[str, str] = {}
    for part in parts:
        reasons |= read_quarantine(part.folder(root))
    write_reasons(root / QUARANTINE_FILE, dict(sorted(reasons.items())), key="path")
    stored = [part for part, one in zip(parts, done, strict=True) if one["stored"]]
    if not stored:
        raise UserError(f"0 of {counted(done[0]['of'], 'video')} can be used, see {root / QUARANTINE_FILE}")
    index = combined(root, [Index.load(part.folder(root)) for part in stored])
    index.save()
    return index, len(reasons)


def combined(root: Path, indexes: Sequence[Index]) -> Index:
    """Combine several indexes into one index of the dataset `root`, sorted by name."""
    records: dict[str, Record] = {}
    labels: dict[str, int] = {}
    for index in indexes:
        names = index.names.texts()
        labels |= zip(names, index.labels.tolist(), strict=True)
        records |= {name: index.record(row) for row, name in enumerate(names)}
    return Index.build(root, records, labels=labels, class_names=indexes[0].class_names)
